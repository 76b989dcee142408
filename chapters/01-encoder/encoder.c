/* encoder.c: chapter 1 of "Autoencoders by Hand".

   An encoder turns the 784 pixels of a digit into a few numbers, layer after layer: h = f(W x + b).
   This program builds one, counts its parameters, and sends real digits through it, fresh as it is.
   Then a small one learns, by the plainest rule there is: every weight goes a little way against
   its derivative. (measure.c compares ways to start, and finite differences.)

   Build it alone:  cc -O2 encoder.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Contents                                                           line
     I.   Nothing carried: this is the first chapter                   88
     II.  A layer, a stack of layers, how they start and learn         90
     III. Tools, to look up rather than to read                       349
     IV.  The program                                                 741

   Letters: B examples in a batch, one a row; in, out the widths of a layer; x (B,in) its input; s
   (B,out) its affine sums; h (B,out) its output; W (out,in) the weights, W_ji from input i to
   output j; b (out) the biases. dW is the derivative of the loss with respect to W, and so on. In
   memory W_ji stands at W[i * out + j], for speed; nothing else depends on it. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tgmath.h>
#include <time.h>
#include <unistd.h>

#include <png.h>
#include <zlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#define PROGRAM "encoder"
#define CHAPTER "01-encoder"

/* --- precision ---------------------------------------------------------------- */
/* All arithmetic is in real: float to be fast, double when the gradients are checked. */
#ifndef REAL
#define REAL float
#endif
typedef REAL real;

/* Where the compiler has OpenMP, PARALLEL shares the rounds of a loop among the cores, and LANES
   lets one core add several terms at a time to a variable that must be called sum. Each result is
   still computed by one core in one order, so a run does not depend on the number of cores. */
#ifdef _OPENMP
#define PARALLEL     _Pragma("omp parallel for schedule(static)")
#define LANES        _Pragma("omp simd reduction(+ : sum)")
#define USE_CORES(n) omp_set_num_threads((n) ? (int)(n) : omp_get_num_procs())
#else
#define PARALLEL
#define LANES
#define USE_CORES(n) ((void)(n))
#endif

/* --- tools in short ----------------------------------------------------------- */
/* What parts I and II need of part III. */
void quit(int status, const char *after, const char *format, ...);
#define die(...)        quit(1, "", __VA_ARGS__)             /* one line to stderr, and the end */
#define bad_option(...) quit(2, "; try --help", __VA_ARGS__) /* the same, about the command line */
void *allocate(size_t n, size_t size); /* n things of that size, all zero; never NULL */

/* A stream of random numbers: only its holder draws from it. The same seed gives the same stream
   everywhere. */
struct random {
    uint64_t state[4];
};
void random_seed(struct random *r, uint64_t seed);
double random_uniform(struct random *r, double low, double high); /* in [low,high) */

/* Images and their labels, as they lie in the file: one byte a pixel. */
enum { SIDE = 28, PIXELS = SIDE * SIDE };
struct images {
    size_t count;
    unsigned char *pixel; /* (count,784) 0 is black, 255 white */
    unsigned char *label; /* (count) or NULL where there is no label file */
};
void brightness(real *x, const unsigned char *pixel, size_t n); /* x (n) = pixels as 0 to 1 */

/* === I. Nothing carried ======================================================= */

/* === II. This chapter: a layer, a stack, how they start and learn ============== */

/* --- dense layer -------------------------------------------------------------- */
/* s (B,out) = W x + b, for each row of x (B,in). The innermost loop runs through consecutive
   numbers of both s and W. */
void dense_forward(real *s, const real *x, const real *W, const real *b, size_t B, size_t in,
                   size_t out) {
    PARALLEL
    for (size_t r = 0; r < B; r++) {
        for (size_t j = 0; j < out; j++)
            s[r * out + j] = b[j];
        for (size_t i = 0; i < in; i++)
            for (size_t j = 0; j < out; j++)
                s[r * out + j] += x[r * in + i] * W[i * out + j];
    }
}

/* From ds (B,out), the derivatives of the loss with respect to the sums:
     dW_ji (out,in) += sum over r of ds_rj x_ri
     db_j (out)     += sum over r of ds_rj
     dx_ri (B,in)   += sum over j of ds_rj W_ji
   dx may be NULL: nobody wants to change the pixels. */
void dense_backward(real *dW, real *db, real *dx, const real *ds, const real *x, const real *W,
                    size_t B, size_t in, size_t out) {
    PARALLEL
    for (size_t i = 0; i < in; i++)
        for (size_t r = 0; r < B; r++)
            for (size_t j = 0; j < out; j++)
                dW[i * out + j] += ds[r * out + j] * x[r * in + i];
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < out; j++)
            db[j] += ds[r * out + j];
    if (!dx)
        return;
    PARALLEL
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < in; i++) {
            real sum = 0;
            LANES
            for (size_t j = 0; j < out; j++)
                sum += ds[r * out + j] * W[i * out + j];
            dx[r * in + i] += sum;
        }
}

/* --- activations -------------------------------------------------------------- */
enum activation { IDENTITY, SIGMOID, TANH, RELU, ACTIVATIONS };
const char *const activation_name[] = {"identity", "sigmoid", "tanh", "relu", NULL};

/* Returns h = f(s). The way back will need the slope f'(s): the best time to find it is now,
   because it can be written with h. */
real activate(real *slope, real s, enum activation f) {
    real h = s;
    *slope = 1;
    switch (f) {
    case SIGMOID: /* the exponent is never positive, so that exp cannot overflow */
        h = s >= 0 ? 1 / (1 + exp(-s)) : exp(s) / (1 + exp(s));
        *slope = h * (1 - h);
        break;
    case TANH:
        h = tanh(s);
        *slope = 1 - h * h;
        break;
    case RELU:
        h = s > 0 ? s : 0;
        *slope = s > 0 ? 1 : 0;
        break;
    default: /* the identity has nothing to do */
        break;
    }
    return h;
}

/* h (n) = f(s) and slope (n) = f'(s), entry by entry. h may be s itself. */
void activation_forward(real *h, real *slope, const real *s, enum activation f, size_t n) {
    for (size_t i = 0; i < n; i++)
        h[i] = activate(&slope[i], s[i], f);
}

/* d (n) comes in as the derivative with respect to h and goes out as that with respect to s. */
void activation_backward(real *d, const real *slope, size_t n) {
    for (size_t i = 0; i < n; i++)
        d[i] *= slope[i];
}

/* --- tensors ------------------------------------------------------------------ */
/* One row of the table of everything that can be learned. A weight W (out,in) has rows = out and
   cols = in, and entry (j,i) at value[i * rows + j]; a bias b (out) has cols = 1. */
struct tensor {
    char name[32];
    size_t rows, cols;
    real *value, *grad;
};

/* Cuts the next n numbers off a block of memory. */
real *take(real **block, size_t n) {
    real *start = *block;
    *block += n;
    return start;
}

/* --- stack of layers ---------------------------------------------------------- */
enum { MAX_LAYERS = 32 };

struct dense {
    size_t in, out;
    enum activation f;
    real *W, *b, *dW, *db; /* (out,in), (out): places in the stack's two blocks */
    real *h, *slope;       /* (batch,out) the output f(s), and f'(s) */
    real *d;               /* (batch,out) the derivative, first of h, then of s */
};

struct stack {
    size_t depth, batch; /* layers, and the rows for which there is room */
    struct dense layer[MAX_LAYERS];
    struct tensor tensor[2 * MAX_LAYERS];
    size_t tensors, parameters, units; /* units: outputs of all layers, for one example */
    real *value, *grad;                /* (parameters) all weights and biases, all gradients */
    real *d;                           /* (batch * units) every layer's d */
    real *dlast;                       /* that of the last layer: here a backward pass begins */
};

/* A stack of layers: size[0] inputs, then layer l with size[l+1] outputs and activation f[l].
   Everything is zero, in one block of memory that begins at value. */
struct stack stack_new(const size_t *size, const enum activation *f, size_t depth, size_t batch) {
    struct stack net = {.depth = depth, .batch = batch};
    for (size_t l = 0; l < depth; l++) {
        net.parameters += (size[l] + 1) * size[l + 1];
        net.units += size[l + 1];
    }
    real *block = allocate(2 * net.parameters + 3 * batch * net.units, sizeof(real));
    real *value = net.value = take(&block, net.parameters);
    real *grad = net.grad = take(&block, net.parameters);
    real *d = net.d = take(&block, batch * net.units);
    for (size_t l = 0; l < depth; l++) {
        struct dense *y = &net.layer[l];
        y->in = size[l];
        y->out = size[l + 1];
        y->f = f[l];
        y->W = take(&value, y->out * y->in);
        y->b = take(&value, y->out);
        y->dW = take(&grad, y->out * y->in);
        y->db = take(&grad, y->out);
        y->h = take(&block, batch * y->out);
        y->slope = take(&block, batch * y->out);
        net.dlast = y->d = take(&d, batch * y->out);
        struct tensor *W = &net.tensor[net.tensors++], *b = &net.tensor[net.tensors++];
        *W = (struct tensor){"", y->out, y->in, y->W, y->dW};
        *b = (struct tensor){"", y->out, 1, y->b, y->db};
        snprintf(W->name, sizeof W->name, "W%zu", l + 1);
        snprintf(b->name, sizeof b->name, "b%zu", l + 1);
    }
    return net;
}

/* The one place where gradients are set to zero. */
void stack_zero(struct stack *net) {
    memset(net->grad, 0, net->parameters * sizeof(real));
    memset(net->d, 0, net->batch * net->units * sizeof(real));
}

/* h1 = f1(W1 x + b1), h2 = f2(W2 h1 + b2), ... for B rows x (B,in). Returns the last h (B,out). */
const real *stack_forward(struct stack *net, const real *x, size_t B) {
    for (size_t l = 0; l < net->depth; l++) {
        struct dense *y = &net->layer[l];
        dense_forward(y->h, x, y->W, y->b, B, y->in, y->out); /* s, in the place of h */
        activation_forward(y->h, y->slope, y->h, y->f, B * y->out);
        x = y->h;
    }
    return x;
}

/* The same layers, last to first. The caller has zeroed the stack, run it forward on the same x,
   and put dL/dh of the last layer into dlast. dx (B,in) may be NULL. */
void stack_backward(struct stack *net, real *dx, const real *x, size_t B) {
    for (size_t l = net->depth; l-- > 0;) {
        struct dense *y = &net->layer[l];
        const real *below = l > 0 ? net->layer[l - 1].h : x;
        real *dbelow = l > 0 ? net->layer[l - 1].d : dx;
        activation_backward(y->d, y->slope, B * y->out);
        dense_backward(y->dW, y->db, dbelow, y->d, below, y->W, B, y->in, y->out);
    }
}

/* --- derivatives by difference ------------------------------------------------ */
/* f'(t) from two values of f. The error is f'''(t) h^2 / 6 + ..., and what rounding adds. */
double central_difference(double (*f)(double), double t, double h) {
    return (f(t + h) - f(t - h)) / (2 * h);
}

/* Richardson: the errors of D(h) and D(h/2) are e and e/4 to leading order, so this sum
   has lost e. */
double richardson_difference(double (*f)(double), double t, double h) {
    return (4 * central_difference(f, t, h / 2) - central_difference(f, t, h)) / 3;
}

/* --- initialisation ----------------------------------------------------------- */
/* Weights uniform in (-a, a), which have the variance a*a/3; biases zero. */
void dense_start(struct dense *y, double a, struct random *r) {
    for (size_t k = 0; k < y->in * y->out; k++)
        y->W[k] = (real)random_uniform(r, -a, a);
    memset(y->b, 0, y->out * sizeof(real));
}

/* He et al. (2015), for ReLU: variance 2/in. */
double he_limit(size_t in, size_t out) {
    (void)out;
    return sqrt(6.0 / (double)in);
}

/* Glorot and Bengio (2010), called Xavier, for tanh and sigmoid: variance 2/(in+out). */
double xavier_limit(size_t in, size_t out) {
    return sqrt(6.0 / (double)(in + out));
}

/* --- gradient descent --------------------------------------------------------- */
enum { DIGITS = 10 };

/* What is wanted of the last layer: 1 from the unit whose number is the label, 0 from the other
   nine. L = 1/B sum over r and j of (h_rj - wanted_rj)^2, the squared distance from it. Returns L;
   dh (B,10) += dL/dh = 2/B (h - wanted). */
double distance_from_label(real *dh, const real *h, const unsigned char *label, size_t B) {
    double loss = 0;
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < DIGITS; j++) {
            real off = h[r * DIGITS + j] - (label[r] == j ? 1 : 0);
            loss += (double)off * (double)off / (double)B;
            dh[r * DIGITS + j] += 2 * off / (real)B;
        }
    return loss;
}

/* One step of gradient descent on B examples x (B,in): forward, loss, backward, and then every
   parameter goes against its derivative. Returns the loss before the step. */
double descend(struct stack *net, const real *x, const unsigned char *label, size_t B,
               double rate) {
    stack_zero(net);
    const real *h = stack_forward(net, x, B);
    double loss = distance_from_label(net->dlast, h, label, B);
    stack_backward(net, NULL, x, B);
    for (size_t k = 0; k < net->parameters; k++)
        net->value[k] -= (real)rate * net->grad[k];
    return loss;
}

/* How many of the B examples have their largest output where the label says. */
size_t recognised(struct stack *net, const real *x, const unsigned char *label, size_t B) {
    const real *h = stack_forward(net, x, B);
    size_t right = 0;
    for (size_t r = 0; r < B; r++) {
        size_t best = 0;
        for (size_t j = 1; j < DIGITS; j++)
            if (h[r * DIGITS + j] > h[r * DIGITS + best])
                best = j;
        right += best == label[r];
    }
    return right;
}

/* === III. Tools ================================================================ */

/* --- errors ------------------------------------------------------------------- */
/* The file being written, under its temporary name; empty when there is none. */
char unfinished[PATH_MAX + 32];

/* Ends the program with one line, printf-style. Nothing half-written stays. */
void quit(int status, const char *after, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s: ", PROGRAM);
    vfprintf(stderr, format, list);
    fprintf(stderr, "%s\n", after);
    remove(unfinished);
    exit(status);
}

/* The memory begins where a vector of any processor may begin. */
void *allocate(size_t n, size_t size) {
    void *p = n < SIZE_MAX / 2 / size ? aligned_alloc(64, (n * size / 64 + 1) * 64) : NULL;
    if (!p)
        die("not enough memory for %zu numbers; try a smaller network or batch", n);
    return memset(p, 0, n * size);
}

/* --- random numbers ----------------------------------------------------------- */
/* xoshiro256** by Blackman and Vigna (2018), its state filled by splitmix64 as they advise. */
uint64_t rotate_left(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

void random_seed(struct random *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->state[i] = z ^ (z >> 31);
    }
}

uint64_t random_bits(struct random *r) {
    uint64_t *s = r->state, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* The upper 53 bits, as a fraction of 2^53. */
double random_uniform(struct random *r, double low, double high) {
    return low + (high - low) * ((double)(random_bits(r) >> 11) * 0x1p-53);
}

/* --- reading files ------------------------------------------------------------ */
const char *data_dir = "data/digits"; /* --data */

/* All bytes of a file, plain or gzipped; free() gives them back. Memory grows with what was really
   read, whatever a header claims; a file of more than `most` bytes, at most 2^30, is refused. */
unsigned char *read_file(size_t *size, const char *path, size_t most) {
    unsigned char *bytes = NULL;
    size_t room = 0;
    int n = 1, code;
    gzFile file = gzopen(path, "rb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    for (*size = 0; n > 0 && *size <= most; *size += n > 0 ? (size_t)n : 0) {
        if (*size == room && !(bytes = realloc(bytes, room = 2 * room + (1 << 20))))
            die("%s: not enough memory to read it", path);
        n = gzread(file, bytes + *size, (unsigned)(room - *size));
    }
    const char *why = gzerror(file, &code); /* begins with the path */
    if (code != Z_OK && code != Z_STREAM_END)
        die("%s%s", why, code == Z_ERRNO ? "" : "; the file is damaged or cut short");
    if (*size > most)
        die("%s: has more than %zu bytes, which is too many for what it should hold", path, most);
    gzclose(file);
    return bytes;
}

/* Reads DIR/NAME or DIR/NAME.gz, an IDX file of things (rows,cols): a magic number that says the
   type and the number of dimensions, the size of each, then the data. Returns the data and
   their count, or NULL when there is no such file. Whatever is wrong ends the program. */
unsigned char *read_idx(size_t *count, const char *dir, const char *name, uint32_t magic,
                        const char *things, size_t rows, size_t cols) {
    char path[PATH_MAX];
    uint32_t word[4] = {0, 0, 1, 1};
    size_t size, head = 4 + 4 * (magic & 255), item = rows * cols * (magic >> 8 == 0xd ? 4 : 1);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (access(path, F_OK) != 0)
        snprintf(path, sizeof path, "%s/%s.gz", dir, name);
    if (access(path, F_OK) != 0)
        return NULL;
    unsigned char *bytes = read_file(&size, path, 1 << 30);
    if (size < head)
        die("%s: ends within its header; it is empty or cut short", path);
    for (size_t i = 0; i < head; i++)
        word[i / 4] = word[i / 4] << 8 | bytes[i];
    if (word[0] != magic || word[2] != rows || word[3] != cols)
        die("%s: begins with 0x%08x and %u x %u; an IDX file of %s has 0x%08x and %zu x %zu", path,
            word[0], word[2], word[3], things, magic, rows, cols);
    *count = word[1];
    if (*count == 0 || size - head != *count * item)
        die("%s: holds %zu %s and %zu bytes, its header says %zu %s", path, (size - head) / item,
            things, (size - head) % item, *count, things);
    return memmove(bytes, bytes + head, size - head);
}

/* The images of a set, "train" or "t10k", and their labels where there are any. */
struct images read_images(const char *dir, const char *set) {
    struct images images = {0};
    char name[64];
    size_t labels;
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", set);
    images.pixel = read_idx(&images.count, dir, name, 0x803, "images", SIDE, SIDE);
    if (!images.pixel)
        die("%s: has no %s, plain or .gz; name a folder of IDX files with --data", dir, name);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", set);
    images.label = read_idx(&labels, dir, name, 0x801, "labels", 1, 1);
    if (images.label && labels != images.count)
        die("%s/%s: holds %zu labels for %zu images", dir, name, labels, images.count);
    for (size_t i = 0; images.label && i < labels; i++)
        if (images.label[i] > 9)
            die("%s/%s: label %zu is %d; we know the digits 0 to 9", dir, name, i, images.label[i]);
    return images;
}

void brightness(real *x, const unsigned char *pixel, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = pixel[i] * ((real)1 / 255);
}

/* --- writing files ------------------------------------------------------------ */
const char *out_dir = "build/" CHAPTER; /* --out */
char target[PATH_MAX];                  /* the name that the file being written will get */

/* Makes the folder out_dir and those above it, like mkdir -p, and ends the program unless files can
   be written there: better now than after the training. */
void make_out_dir(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/.", out_dir);
    for (char *slash = path; (slash = strchr(slash + 1, '/')); *slash = '/') {
        *slash = 0;
        mkdir(path, 0777); /* it may be there already */
    }
    if (access(path, W_OK) != 0)
        die("%s: %s; name another folder with --out", out_dir, strerror(errno));
}

/* Opens a file for writing, its name given printf-style. It is written under a temporary name that
   nobody else has, and gets its own when it is complete: a full disk or an interruption never
   leaves half a file, nor destroys the one that was there. */
FILE *create(const char *format, ...) {
    va_list list;
    va_start(list, format);
    int n = vsnprintf(target, sizeof target, format, list);
    va_end(list);
    snprintf(unfinished, sizeof unfinished, "%s.%ld.tmp", target, (long)getpid());
    FILE *f = n < PATH_MAX ? fopen(unfinished, "wbx") : NULL;
    if (!f) {
        unfinished[0] = 0;
        die("%s: cannot be written: %s", target, strerror(errno));
    }
    return f;
}

void finish(FILE *f) {
    int bad = fflush(f) != 0 || ferror(f);
    bad |= fclose(f) != 0;
    if (bad || rename(unfinished, target) != 0)
        die("%s: cannot be written: %s", target, strerror(errno));
    unfinished[0] = 0;
}

/* Writes value (rows,cols) to out_dir/name, below a line with the names of the columns. */
void write_table(const char *name, const char *columns, const double *value, size_t rows,
                 size_t cols) {
    FILE *f = create("%s/%s", out_dir, name);
    fprintf(f, "%s\n", columns);
    for (size_t k = 0; k < rows * cols; k++)
        fprintf(f, "%.7g%c", value[k], (k + 1) % cols ? '\t' : '\n');
    finish(f);
}

/* What the run found out, collected in memory until it is complete. */
FILE *results;
char *results_text;
size_t results_length;

/* Adds a line: name (printf-style), value, unit. Returns the value, so that it can be printed where
   it is recorded. */
double result(double value, const char *unit, const char *name, ...) {
    if (!results && !(results = open_memstream(&results_text, &results_length)))
        die("not enough memory for the results");
    va_list list;
    va_start(list, name);
    vfprintf(results, name, list);
    va_end(list);
    fprintf(results, "\t%.9g\t%s\n", value, unit);
    return value;
}

/* What the program has printed must have got through: standard output may be on a full disk. */
void end_report(void) {
    if (fflush(stdout) != 0 || ferror(stdout))
        die("the report on standard output could not be written; is the disk full?");
}

/* Writes out_dir/results.tsv. */
void write_results(void) {
    end_report();
    FILE *f = create("%s/results.tsv", out_dir);
    fflush(results);
    fwrite(results_text, 1, results_length, f);
    finish(f);
}

/* --- pictures ----------------------------------------------------------------- */
/* Writes a sheet of rows x cols images as a gray PNG, each pixel drawn zoom x zoom, on white. image
   (rows*cols,784) holds brightness; what lies outside 0..1 is cut off. */
void write_sheet(const char *name, const real *image, size_t rows, size_t cols, size_t zoom) {
    size_t cell = SIDE * zoom, gap = 2 * zoom;
    size_t width = cols * (cell + gap) + gap, height = rows * (cell + gap) + gap;
    unsigned char *sheet = allocate(width * height, 1);
    memset(sheet, 255, width * height);
    for (size_t k = 0; k < rows * cols; k++)
        for (size_t y = 0; y < cell; y++)
            for (size_t x = 0; x < cell; x++) {
                real v = image[k * PIXELS + y / zoom * SIDE + x / zoom];
                v = v > 0 ? v < 1 ? v : 1 : 0; /* a NaN becomes 0 */
                size_t top = gap + k / cols * (cell + gap), left = gap + k % cols * (cell + gap);
                sheet[(top + y) * width + left + x] = (unsigned char)(v * 255 + (real)0.5);
            }
    FILE *f = create("%s/%s", out_dir, name);
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_GRAY};
    if (!png_image_write_to_stdio(&png, f, 0, sheet, 0, NULL))
        die("%s: cannot be written: %s (%s)", target, png.message, strerror(errno));
    finish(f);
    free(sheet);
}

/* --- options ------------------------------------------------------------------ */
/* An option sets a variable. A program lists its options in a table; the last row has no name. */
struct option {
    const char *name, *help;
    char kind;                /* 't' text, 'n' whole number, 'x' number, 'w' one of some words */
    void *place;              /* const char **, size_t *, double *, int * (which word) */
    double low, high;         /* of a number */
    const char *const *words; /* the last is NULL */
};

/* Reads a number in [low, high], whole where `whole` is set, of digits, point and exponent. Returns
   the text after it, or NULL where there is none. */
const char *parse_number(double *value, const char *text, double low, double high, int whole) {
    char *end;
    *value = strtod(text, &end);
    int plain = end > text && strspn(text, "0123456789.eE+-") >= (size_t)(end - text);
    int good = plain && *value >= low && *value <= high && (!whole || *value == floor(*value));
    return good ? end : NULL;
}

void set_option(const struct option *o, const char *text) {
    double value;
    int word = 0, whole = o->kind == 'n';
    const char *end = parse_number(&value, text, o->low, o->high, whole);
    while (o->words && o->words[word] && strcmp(o->words[word], text) != 0)
        word++;
    if (!*text)
        bad_option("%s: needs something after it", o->name);
    else if (o->kind == 't')
        *(const char **)o->place = text;
    else if (o->kind == 'w' && o->words[word])
        *(int *)o->place = word;
    else if (o->kind == 'w')
        bad_option("%s %s: is none of the words that it knows", o->name, text);
    else if (!end || *end)
        bad_option("%s %s: wants a %snumber from %g to %g", o->name, text, whole ? "whole " : "",
                   o->low, o->high);
    else if (whole)
        *(size_t *)o->place = (size_t)value;
    else
        *(double *)o->place = value;
}

/* Prints what the program is and its options, with the values they have now. */
void print_help(const struct option *table, const char *about) {
    printf("%s: %s\n\noptions, with their defaults:\n", PROGRAM, about);
    for (const struct option *o = table; o->name; o++) {
        printf("  %-13s ", o->name);
        if (o->kind == 't')
            printf("%-18s", *(const char **)o->place);
        else if (o->kind == 'w')
            printf("%-18s", o->words[*(int *)o->place]);
        else
            printf("%-18.10g", o->kind == 'n' ? (double)*(size_t *)o->place : *(double *)o->place);
        printf(" %s%s", o->help, o->words ? ":" : "");
        for (size_t k = 0; o->words && o->words[k]; k++)
            printf(" %s", o->words[k]);
        printf("\n");
    }
    end_report();
    exit(0);
}

/* Sets the variables of the table from the command line: --name value or --name=value. */
void parse_options(int argc, char **argv, const struct option *table, const char *about) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    for (int i = 1; i < argc; i++) {
        const struct option *o = table;
        size_t n = strcspn(argv[i], "=");
        if (strcmp(argv[i], "--help") == 0)
            print_help(table, about);
        while (o->name && (strncmp(argv[i], o->name, n) != 0 || o->name[n]))
            o++;
        if (!o->name)
            bad_option("%s: no such option", argv[i]);
        if (!argv[i][n] && i + 1 == argc)
            bad_option("%s: needs something after it", o->name);
        set_option(o, argv[i][n] ? argv[i] + n + 1 : argv[++i]);
    }
}

/* --- layer sizes -------------------------------------------------------------- */
/* Reads widths between commas, such as 784,100,6, of which the first must be 784. Returns how many
   there are: 2 to MAX_LAYERS + 1. */
size_t parse_layers(size_t *size, const char *text) {
    size_t n = 0;
    double value = 0;
    for (const char *p = text; p; p = *p ? p + 1 : NULL) {
        p = n <= MAX_LAYERS ? parse_number(&value, p, 1, 100000, 1) : NULL;
        if (!p || (*p && *p != ',') || (n == 0 && value != PIXELS) || (n == 0 && !*p))
            bad_option("--layers %s: wants 784 and up to 32 more widths, such as 784,100,6", text);
        size[n++] = (size_t)value;
    }
    return n;
}

/* --- progress ----------------------------------------------------------------- */
/* Ctrl-C asks for an end: the training loop looks at this after each batch, and what has been
   learned so far is reported and written. A second Ctrl-C ends the program at once. */
volatile sig_atomic_t interrupted;

void interrupt(int signal_number) {
    if (interrupted) {
        unlink(unfinished);
        _exit(128 + signal_number);
    }
    interrupted = 1;
}

void catch_interrupts(void) {
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* Seconds on a clock that only moves forward. */
double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* On a terminal: a bar that is `done` (0 to 1) full, with the time left, redrawn ten times a
   second. Elsewhere: nothing, the lines that a program prints for each epoch are enough. */
double bar_start, bar_drawn;

void show_progress(double done, const char *what) {
    double now = seconds();
    bar_start = bar_start > 0 ? bar_start : now;
    if (!isatty(STDERR_FILENO) || now - bar_drawn < 0.1)
        return;
    bar_drawn = now;
    int full = (int)(30 * done);
    double left = done > 0 ? (now - bar_start) * (1 - done) / done : 0;
    fprintf(stderr, "\r  %-16s [%.*s%.*s] %4.0f s left ", what, full,
            "##############################", 30 - full, "..............................", left);
}

/* Wipes the bar, so that a line can be printed in its place. */
void hide_progress(void) {
    if (bar_drawn > 0)
        fprintf(stderr, "\r%72s\r", "");
    bar_drawn = 0;
}

/* === IV. The program =========================================================== */
#ifndef WORKBOOK_TEST

size_t seed = 1, threads, tests = 2000, epochs = 10, batch = 50;
double rate = 0.05;
int inside = RELU; /* the activation between layers */
const char *layers = "784,400,100,6";

struct images digits; /* the test images, as brightness in x (tests,784) */
real *x;
struct stack encoder;

/* Fresh weights. The limit of a layer follows from its widths; the seed is always the same, so that
   two ways to start differ by a factor only. */
void start_stack(struct stack *net, double (*limit)(size_t in, size_t out)) {
    struct random r;
    random_seed(&r, seed);
    for (size_t l = 0; l < net->depth; l++)
        dense_start(&net->layer[l], limit(net->layer[l].in, net->layer[l].out), &r);
}

/* ReLU (or what was asked for) between the layers, the identity at the end: a code may have any
   sign. */
struct stack make_encoder(void) {
    size_t size[MAX_LAYERS + 1], depth = parse_layers(size, layers) - 1;
    enum activation f[MAX_LAYERS];
    for (size_t l = 0; l < depth; l++)
        f[l] = l + 1 < depth ? (enum activation)inside : IDENTITY;
    return stack_new(size, f, depth, tests);
}

void print_shapes(const struct stack *net) {
    printf("  layer  shape of W      weights   biases   output\n");
    for (size_t l = 0; l < net->depth; l++) {
        const struct dense *y = &net->layer[l];
        char shape[48];
        snprintf(shape, sizeof shape, "%zu x %zu", y->out, y->in);
        printf("  %-5zu  %-12s %10zu %8zu   h%zu = %s(W%zu %s%.0zu + b%zu)\n", l + 1, shape,
               y->out * y->in, y->out, l + 1, activation_name[y->f], l + 1, l ? "h" : "x", l,
               l + 1);
        result((double)(y->out * y->in + y->out), "parameters", "parameters_%zu", l + 1);
    }
    result((double)net->parameters, "parameters", "parameters");
    printf("  %zu parameters in all\n\n", net->parameters);
}

/* The codes that a fresh encoder gives to the digits: a few are printed, the first two numbers of
   each go to codes.tsv. */
void show_codes(struct stack *net) {
    start_stack(net, he_limit);
    const real *code = stack_forward(net, x, tests);
    size_t d = net->layer[net->depth - 1].out;
    printf("codes of the first five digits, fresh network (He)\n");
    for (size_t r = 0; r < 5 && r < tests; r++) {
        if (digits.label)
            printf("  a %d -> ", digits.label[r]);
        else
            printf("  -> ");
        for (size_t j = 0; j < d && j < 10; j++)
            printf(" %6.2f", (double)code[r * d + j]);
        printf("%s\n", d > 10 ? " ..." : "");
    }
    double *row = allocate(3 * tests, sizeof *row);
    for (size_t r = 0; r < tests; r++) {
        row[3 * r] = digits.label ? digits.label[r] : -1;
        row[3 * r + 1] = (double)code[r * d];
        row[3 * r + 2] = (double)code[r * d + (d > 1)];
    }
    write_table("codes.tsv", "label\tz1\tz2", row, tests, 3);
}

/* An encoder of two layers, 784 -> 32 -> 10, learns to say which digit it sees. */
void learn(void) {
    struct images train = read_images(data_dir, "train");
    if (!train.label || !digits.label) {
        printf("\nthere are no labels, so there is nothing to learn yet\n");
        return;
    }
    size_t most = batch > tests ? batch : tests, steps = train.count / batch, epoch = 0;
    struct stack net = stack_new((size_t[]){PIXELS, 32, DIGITS},
                                 (enum activation[]){(enum activation)inside, IDENTITY}, 2, most);
    real *some = allocate(batch * PIXELS, sizeof *some);
    double *row = allocate(3 * (epochs + 1), sizeof *row), loss = NAN;
    start_stack(&net, he_limit);
    printf("\nan encoder 784 -> 32 -> 10 learns to name the digits, %zu parameters\n"
           "  epoch   loss, training images   recognised, test images\n",
           net.parameters);
    for (;; epoch++) {
        double right = 100.0 * (double)recognised(&net, x, digits.label, tests) / (double)tests;
        hide_progress();
        if (epoch)
            printf("  %5zu %23.4f %23.1f %%\n", epoch, loss, right);
        else
            printf("      0                       - %23.1f %%\n", right);
        memcpy(row + 3 * epoch, (double[]){(double)epoch, loss, right}, 3 * sizeof *row);
        if (epoch == epochs || interrupted)
            break;
        loss = 0;
        for (size_t k = 0; k < steps; k++) { /* an epoch: every training image once */
            brightness(some, train.pixel + k * batch * PIXELS, batch * PIXELS);
            loss += descend(&net, some, train.label + k * batch, batch, rate) / (double)steps;
            show_progress((double)(epoch * steps + k) / (double)(epochs * steps), "learning");
        }
        if (!(loss < 1e3)) /* false for a NaN, too */
            die("the loss has grown beyond all bounds in epoch %zu: the steps are too large; try a "
                "smaller --rate than %g",
                epoch + 1, rate);
    }
    write_table("learning.tsv", "epoch\tloss\trecognised", row, epoch + 1, 3);
    result(row[2], "%", "recognised_fresh");
    result(row[3 * epoch + 2], "%", "recognised");
    result(row[3 * epoch + 1], "", "learning_loss");
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 't', &data_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--layers", "widths, from the pixels to the code", 't', &layers, 0, 0, NULL},
        {"--activation", "between layers", 'w', &inside, 0, 0, activation_name},
        {"--images", "how many test images to encode", 'n', &tests, 1, 60000, NULL},
        {"--epochs", "how often the small encoder sees every image", 'n', &epochs, 0, 1e6, NULL},
        {"--batch", "images in a step of its learning", 'n', &batch, 1, 100000, NULL},
        {"--rate", "learning rate", 'x', &rate, 1e-9, 1e9, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table,
                  "sends digits through an encoder, and teaches a small one to name them");
    USE_CORES(threads);
    catch_interrupts();
    digits = read_images(data_dir, "t10k");
    tests = digits.count < tests ? digits.count : tests;
    x = allocate(tests * PIXELS, sizeof *x);
    brightness(x, digits.pixel, tests * PIXELS);
    make_out_dir();

    encoder = make_encoder();
    print_shapes(&encoder);
    show_codes(&encoder);
    write_sheet("digits.png", x, tests < 40 ? 1 : 4, tests < 40 ? 1 : 10, 2);
    learn();
    write_results();
    return interrupted ? 130 : 0;
}
#endif
