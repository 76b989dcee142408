/* encoder.c: chapter 1 of "Autoencoders by Hand".

   An encoder turns the 784 pixels of a digit into a few numbers: layer after layer of h = f(W x +
   b). This program builds one, sends real digits through it before it has learned anything, and
   measures three things: the shape and the number of its parameters, how large the signal is at
   each layer under several ways to start, and how well a finite difference knows a derivative.

   Build it alone:  cc -O2 encoder.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: B examples in a batch, one a row; in, out the widths of a layer; x (B,in) its input; s
   (B,out) its affine sums; h (B,out) its output; W the weights, (out,in) in the text, its transpose
   (in,out) in memory; b (out) the biases. dW is the derivative of the loss with respect to W, and
   so on. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tgmath.h>

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

/* Where the compiler has OpenMP, PARALLEL shares the rounds of a loop among the cores, and LANES lets one
   core add several terms at a time to a variable that must be called sum. Each result is still computed by one core in one
   order, so a run does not depend on the number of cores. */
#ifdef _OPENMP
#define PARALLEL _Pragma("omp parallel for schedule(static)")
#define LANES    _Pragma("omp simd reduction(+ : sum)")
#else
#define PARALLEL
#define LANES
#endif

/* --- errors ------------------------------------------------------------------- */
/* The file being written, under its temporary name; empty when there is none. */
char unfinished[PATH_MAX + 8];

/* Prints one line, printf-style, removes a half-written file and ends the program with status 1. */
void die(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s: ", PROGRAM);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    if (unfinished[0])
        remove(unfinished);
    exit(1);
}

/* n things of the given size, all zero; never NULL. */
void *allocate(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p)
        die("not enough memory for %zu numbers; try a smaller network or batch", n);
    return p;
}

/* --- random numbers ----------------------------------------------------------- */
/* xoshiro256** by Blackman and Vigna (2018), its state filled by splitmix64 as they advise. The state is
   explicit: only its holder draws from it. The same seed gives the same stream
   everywhere. */
struct random {
    uint64_t state[4];
};

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

/* Uniform in [low, high): the upper 53 bits, as a fraction of 2^53. */
double random_uniform(struct random *r, double low, double high) {
    return low + (high - low) * ((double)(random_bits(r) >> 11) * 0x1p-53);
}

/* --- activations -------------------------------------------------------------- */
enum activation { IDENTITY, SIGMOID, TANH, RELU, ACTIVATIONS };
const char *activation_name[ACTIVATIONS] = {"identity", "sigmoid", "tanh", "relu"};

/* h = f(s) */
real activate(enum activation f, real s) {
    switch (f) {
    case SIGMOID: /* the exponent is never positive, so that exp cannot overflow */
        return s >= 0 ? 1 / (1 + exp(-s)) : exp(s) / (1 + exp(s));
    case TANH:
        return tanh(s);
    case RELU:
        return s > 0 ? s : 0;
    default:
        return s;
    }
}

/* f'(s), written in terms of h = f(s), which the forward pass has left behind. */
real activation_slope(enum activation f, real h) {
    switch (f) {
    case SIGMOID:
        return h * (1 - h);
    case TANH:
        return 1 - h * h;
    case RELU:
        return h > 0 ? 1 : 0;
    default:
        return 1;
    }
}

/* h (n) = f(s), entry by entry */
void activation_forward(real *h, const real *s, enum activation f, size_t n) {
    for (size_t i = 0; i < n; i++)
        h[i] = activate(f, s[i]);
}

/* ds (n) += dh * f'(s) */
void activation_backward(real *ds, const real *dh, const real *h, enum activation f, size_t n) {
    for (size_t i = 0; i < n; i++)
        ds[i] += dh[i] * activation_slope(f, h[i]);
}

/* --- dense layer -------------------------------------------------------------- */
/* s (B,out) = W x + b, for each row of x (B,in). In memory W[i * out + j] is the weight from input
   i to output j: the innermost loop then runs through consecutive numbers of both s and W. */
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
     dW (in,out) += sum over r of x_ri ds_rj
     db (out)    += sum over r of ds_rj
     dx (B,in)   += sum over j of ds_rj W_ji
   dx may be NULL: nobody wants to change the pixels. */
void dense_backward(real *dW, real *db, real *dx, const real *ds, const real *x, const real *W,
                    size_t B, size_t in, size_t out) {
    PARALLEL
    for (size_t i = 0; i < in; i++)
        for (size_t r = 0; r < B; r++)
            for (size_t j = 0; j < out; j++)
                dW[i * out + j] += x[r * in + i] * ds[r * out + j];
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

/* --- network ------------------------------------------------------------------ */
enum { MAX_LAYERS = 32 };

/* One row of the table of everything that can be learned. */
struct tensor {
    char name[24];
    size_t rows, cols;
    real *value, *grad; /* (rows,cols) */
};

struct layer {
    size_t in, out;
    enum activation f;
    real *W, *b, *dW, *db; /* (in,out) and (out): places in the network's two blocks */
    real *s, *h, *ds, *dh; /* (batch,out) */
};

struct network {
    size_t depth, batch; /* layers, and the rows for which there is room */
    struct layer layer[MAX_LAYERS];
    struct tensor tensor[2 * MAX_LAYERS];
    size_t tensors, parameters;
    real *value, *grad; /* (parameters) all weights and biases, and all their gradients */
    size_t units;       /* outputs of all layers, for one example */
    real *activity;     /* (4 * batch * units) every s, h, ds and dh */
    real *dlast;        /* dh of the last layer */
};

/* Cuts the next n numbers off a block. */
real *take(real **block, size_t n) {
    real *start = *block;
    *block += n;
    return start;
}

/* A stack of layers: size[0] inputs, then layer l with size[l+1] outputs and activation f[l].
   Everything is zero; network_free gives it back. */
struct network network_new(const size_t *size, const enum activation *f, size_t depth,
                           size_t batch) {
    struct network net = {.depth = depth, .batch = batch};
    for (size_t l = 0; l < depth; l++) {
        net.parameters += size[l] * size[l + 1] + size[l + 1];
        net.units += size[l + 1];
    }
    net.value = allocate(net.parameters, sizeof(real));
    net.grad = allocate(net.parameters, sizeof(real));
    net.activity = allocate(4 * batch * net.units, sizeof(real));
    real *value = net.value, *grad = net.grad;
    real *forward = net.activity, *backward = net.activity + 2 * batch * net.units;
    for (size_t l = 0; l < depth; l++) {
        struct layer *y = &net.layer[l];
        y->in = size[l];
        y->out = size[l + 1];
        y->f = f[l];
        y->W = take(&value, y->in * y->out);
        y->b = take(&value, y->out);
        y->dW = take(&grad, y->in * y->out);
        y->db = take(&grad, y->out);
        y->s = take(&forward, batch * y->out);
        y->h = take(&forward, batch * y->out);
        y->ds = take(&backward, batch * y->out);
        y->dh = take(&backward, batch * y->out);
        net.dlast = y->dh;
        struct tensor *W = &net.tensor[net.tensors++], *b = &net.tensor[net.tensors++];
        *W = (struct tensor){"", y->in, y->out, y->W, y->dW};
        *b = (struct tensor){"", 1, y->out, y->b, y->db};
        snprintf(W->name, sizeof W->name, "W%zu", l + 1);
        snprintf(b->name, sizeof b->name, "b%zu", l + 1);
    }
    return net;
}

void network_free(struct network *net) {
    free(net->value);
    free(net->grad);
    free(net->activity);
}

/* The one place where gradients are set to zero. */
void network_zero(struct network *net) {
    memset(net->grad, 0, net->parameters * sizeof(real));
    size_t half = 2 * net->batch * net->units;
    memset(net->activity + half, 0, half * sizeof(real));
}

/* h1 = f1(W1 x + b1), h2 = f2(W2 h1 + b2), ... for B rows x (B,in). Returns the last h (B,out). */
const real *network_forward(struct network *net, const real *x, size_t B) {
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        dense_forward(y->s, x, y->W, y->b, B, y->in, y->out);
        activation_forward(y->h, y->s, y->f, B * y->out);
        x = y->h;
    }
    return x;
}

/* The same layers, last to first. The caller has zeroed the network, run it forward on the same x,
   and put dL/dh of the last layer into dlast. dx (B,in) may be NULL. */
void network_backward(struct network *net, real *dx, const real *x, size_t B) {
    for (size_t l = net->depth; l-- > 0;) {
        struct layer *y = &net->layer[l];
        const real *below = l > 0 ? net->layer[l - 1].h : x;
        real *dbelow = l > 0 ? net->layer[l - 1].dh : dx;
        activation_backward(y->ds, y->dh, y->h, y->f, B * y->out);
        dense_backward(y->dW, y->db, dbelow, y->ds, below, y->W, B, y->in, y->out);
    }
}

/* --- initialisation ----------------------------------------------------------- */
/* Weights uniform in (-a, a), which have the variance a*a/3; biases zero. */
void layer_start(struct layer *y, double a, struct random *r) {
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

/* --- derivatives by difference ------------------------------------------------ */
/* f'(t) from two values of f. The error is f'''(t) h^2 / 6 + ..., and what rounding adds. */
double central_difference(double (*f)(double), double t, double h) {
    return (f(t + h) - f(t - h)) / (2 * h);
}

/* From f here and one step ahead. The error is f''(t) h / 2 + ... */
double forward_difference(double (*f)(double), double t, double h) {
    return (f(t + h) - f(t)) / h;
}

/* Richardson: the errors of D(h) and D(h/2) are e and e/4 to leading order, so this sum
   has lost e. */
double richardson_difference(double (*f)(double), double t, double h) {
    return (4 * central_difference(f, t, h / 2) - central_difference(f, t, h)) / 3;
}

/* --- reading IDX files -------------------------------------------------------- */
/* Images and their labels, as they lie in the file: one byte a pixel. */
struct images {
    size_t count;
    unsigned char *pixel; /* (count,784) 0 is black, 255 white */
    unsigned char *label; /* (count) or NULL where there is no label file */
};

enum { SIDE = 28, PIXELS = SIDE * SIDE };

/* Finds DIR/NAME or DIR/NAME.gz. Returns 0 when there is neither. */
int find_file(char *path, size_t size, const char *dir, const char *name) {
    struct stat info;
    for (int zipped = 0; zipped < 2; zipped++) {
        int n = snprintf(path, size, "%s/%s%s", dir, name, zipped ? ".gz" : "");
        if (n < 0 || (size_t)n >= size)
            die("%s: the name is too long", dir);
        if (stat(path, &info) == 0) {
            if (S_ISDIR(info.st_mode))
                die("%s: is a folder, not a file", path);
            return 1;
        }
    }
    return 0;
}

/* Reads an IDX file whole: a magic number, the sizes of its dimensions, then the data. `item` is
   the number of bytes of one thing. We believe the header only as far as the data go: memory grows
   with what was really read, so a header that claims four billion images costs nothing. */
unsigned char *read_idx(size_t *count, const char *path, uint32_t magic, size_t dimensions,
                        size_t item, const char *things) {
    unsigned char head[16];
    size_t head_size = 4 + 4 * dimensions;
    gzFile file = gzopen(path, "rb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    int n = gzread(file, head, (unsigned)head_size);
    if (n >= 0 && (size_t)n < head_size)
        die("%s: ends within its header; it is empty or cut short", path);
    uint32_t word[4] = {0};
    for (size_t i = 0; n > 0 && i < head_size; i++)
        word[i / 4] = word[i / 4] << 8 | head[i];
    if (n > 0 && word[0] != magic)
        die("%s: begins with 0x%08x, not 0x%08x; it is not an IDX file of %s", path, word[0], magic,
            things);
    if (n > 0 && dimensions == 3 && (word[2] != SIDE || word[3] != SIDE))
        die("%s: its images are %u x %u; we need 28 x 28", path, word[2], word[3]);
    size_t claimed = word[1], have = 0, room = 1 << 20;
    unsigned char *data = allocate(room, 1);
    while (n > 0) { /* until the end, or until more has come than was claimed */
        if (have == room && !(data = realloc(data, room *= 2)))
            die("%s: not enough memory to read it", path);
        size_t want = room - have < 1 << 20 ? room - have : 1 << 20;
        n = gzread(file, data + have, (unsigned)want);
        have += n > 0 ? (size_t)n : 0;
        if (have / item > claimed)
            break;
    }
    int code;
    const char *why = gzerror(file, &code);
    if (code == Z_BUF_ERROR)
        die("%s: is cut short; fetch it again", path);
    if (code != Z_OK && code != Z_STREAM_END)
        die("%s: cannot be read (%s)", path, code == Z_ERRNO ? strerror(errno) : why);
    gzclose(file);
    if (have < claimed * item)
        die("%s: holds %zu %s, its header says %zu", path, have / item, things, claimed);
    if (have > claimed * item)
        die("%s: goes on after its %zu %s; it is damaged, or its header is wrong", path, claimed,
            things);
    if (claimed == 0)
        die("%s: holds no %s", path, things);
    *count = claimed;
    return data;
}

/* Reads DIR/SET-images-idx3-ubyte and, where there is one, DIR/SET-labels-idx1-ubyte; SET is
   "train" or "t10k". Whatever is wrong ends the program with one line. */
struct images read_images(const char *dir, const char *set) {
    struct images images = {0};
    char path[PATH_MAX], name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", set);
    if (!find_file(path, sizeof path, dir, name))
        die("%s: has no %s, plain or .gz; name a folder of IDX files with --data", dir, name);
    images.pixel = read_idx(&images.count, path, 0x803, 3, PIXELS, "images");
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", set);
    if (find_file(path, sizeof path, dir, name)) {
        size_t labels;
        images.label = read_idx(&labels, path, 0x801, 1, 1, "labels");
        if (labels != images.count)
            die("%s: holds %zu labels for %zu images", path, labels, images.count);
        for (size_t i = 0; i < labels; i++)
            if (images.label[i] > 9)
                die("%s: label %zu is %d; we know the digits 0 to 9", path, i, images.label[i]);
    }
    return images;
}

void free_images(struct images *images) {
    free(images->pixel);
    free(images->label);
}

/* x (n) = bytes as brightness between 0 and 1 */
void brightness(real *x, const unsigned char *pixel, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = pixel[i] * ((real)1 / 255);
}

/* --- writing files ------------------------------------------------------------ */
/* A file is written under a temporary name and gets its own when it is complete, so that a full
   disk or an interruption never leaves half a file, nor destroys the one that was there. */
struct output {
    FILE *file;
    char path[PATH_MAX];
};

/* Makes the folder and those above it, like mkdir -p. */
void make_folder(const char *dir) {
    char path[PATH_MAX];
    struct stat info;
    int n = snprintf(path, sizeof path, "%s/", dir);
    if (n < 0 || (size_t)n >= sizeof path - 64)
        die("%s: the name is too long", dir);
    for (size_t i = 1; path[i]; i++)
        if (path[i] == '/') {
            path[i] = 0;
            if (mkdir(path, 0777) != 0 &&
                (errno != EEXIST || stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
                die("%s: %s; name another folder with --out", path, strerror(errno));
            path[i] = '/';
        }
}

/* Opens DIR/NAME for writing, or NAME as it is where dir is NULL. */
struct output open_output(const char *dir, const char *name) {
    struct output o;
    snprintf(o.path, sizeof o.path, "%s%s%s", dir ? dir : "", dir ? "/" : "", name);
    snprintf(unfinished, sizeof unfinished, "%s.tmp", o.path);
    o.file = fopen(unfinished, "wb");
    if (!o.file) {
        unfinished[0] = 0;
        die("%s: cannot be written: %s", o.path, strerror(errno));
    }
    return o;
}

void close_output(struct output *o) {
    int bad = fflush(o->file) != 0 || ferror(o->file);
    bad |= fclose(o->file) != 0;
    if (bad || rename(unfinished, o->path) != 0)
        die("%s: cannot be written: %s", o->path, strerror(errno));
    unfinished[0] = 0;
}

/* What the run found out, collected in memory until it is complete: lines of name, value, unit. */
struct results {
    FILE *file;
    char *text;
    size_t size;
};

void open_results(struct results *r) {
    r->file = open_memstream(&r->text, &r->size);
    if (!r->file)
        die("not enough memory for the results");
}

/* Adds a line. The name is printf-style. */
void result(struct results *r, double value, const char *unit, const char *name, ...) {
    va_list list;
    va_start(list, name);
    vfprintf(r->file, name, list);
    va_end(list);
    fprintf(r->file, "\t%.9g\t%s\n", value, unit);
}

/* Writes DIR/results.tsv and gives the memory back. What the program has printed must have got
   through as well: standard output may be a file on a full disk. */
void close_results(struct results *r, const char *dir) {
    if (fclose(r->file) != 0)
        die("not enough memory for the results");
    if (fflush(stdout) != 0 || ferror(stdout))
        die("the report on standard output could not be written; is the disk full?");
    struct output o = open_output(dir, "results.tsv");
    fwrite(r->text, 1, r->size, o.file);
    close_output(&o);
    free(r->text);
}

/* --- pictures ----------------------------------------------------------------- */
/* Writes a sheet of rows x cols images as a gray PNG, each pixel drawn zoom x zoom, on white. image
   (rows*cols,784) holds brightness; what lies outside 0..1 is cut off. */
void write_sheet(const char *dir, const char *name, const real *image, size_t rows, size_t cols,
                 size_t zoom) {
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
    struct output o = open_output(dir, name);
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_GRAY};
    if (!png_image_write_to_stdio(&png, o.file, 0, sheet, 0, NULL))
        die("%s: cannot be written: %s", o.path, png.message);
    close_output(&o);
    free(sheet);
}

/* --- options ------------------------------------------------------------------ */
/* A program lists its options in a table; its last row has no name. */
struct option {
    const char *name, *help;
    char kind;   /* 's' text, 'n' whole number, 'x' number, 'l' list of sizes a,b,c */
    void *value; /* const char **, size_t *, double *, struct sizes * */
    double low, high;
};

struct sizes {
    size_t n, size[MAX_LAYERS + 1];
};

/* One line about a bad option, and where to find help; exit status 2. */
void bad_option(const char *name, const char *given, const char *wanted) {
    fprintf(stderr, "%s: %s%s%s: %s; try --help\n", PROGRAM, name, given ? " " : "",
            given ? given : "", wanted);
    exit(2);
}

/* A number in [low, high]; whole where `whole` is set. Returns the text after it, NULL where it is
 * none. */
const char *parse_number(double *value, const char *text, double low, double high, int whole) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    int plain = end != text && strspn(text, "0123456789.eE+-") >= (size_t)(end - text);
    return plain && !errno && *value >= low && *value <= high && (!whole || *value == floor(*value))
               ? end
               : NULL;
}

void set_option(const struct option *o, const char *text) {
    char wanted[128];
    double value;
    if (o->kind == 's') {
        *(const char **)o->value = text;
        if (!*text)
            bad_option(o->name, "\"\"", "needs a name");
    } else if (o->kind == 'l') {
        struct sizes *list = o->value;
        list->n = 0;
        for (const char *p = text; p; p = *p ? p + 1 : NULL) {
            if (list->n > MAX_LAYERS || !(p = parse_number(&value, p, o->low, o->high, 1)) ||
                (*p && *p != ','))
                bad_option(o->name, text, "wants up to 33 sizes between commas, such as 784,100,6");
            list->size[list->n++] = (size_t)value;
        }
    } else {
        const char *end = parse_number(&value, text, o->low, o->high, o->kind == 'n');
        if (!end || *end) {
            snprintf(wanted, sizeof wanted, "wants a %snumber from %g to %g",
                     o->kind == 'n' ? "whole " : "", o->low, o->high);
            bad_option(o->name, text, wanted);
        }
        if (o->kind == 'n')
            *(size_t *)o->value = (size_t)value;
        else
            *(double *)o->value = value;
    }
}

/* Prints what the program is and its options, with the values they have now. */
void print_help(const struct option *table, const char *about) {
    printf("%s: %s\n\noptions, with their defaults:\n", PROGRAM, about);
    for (const struct option *o = table; o->name; o++) {
        char value[256] = "";
        if (o->kind == 's')
            snprintf(value, sizeof value, "%s",
                     *(const char **)o->value ? *(const char **)o->value : "");
        else if (o->kind == 'n')
            snprintf(value, sizeof value, "%zu", *(size_t *)o->value);
        else if (o->kind == 'x')
            snprintf(value, sizeof value, "%g", *(double *)o->value);
        else
            for (size_t i = 0, n = 0; i < ((struct sizes *)o->value)->n && n < sizeof value; i++)
                n += (size_t)snprintf(value + n, sizeof value - n, "%s%zu", i ? "," : "",
                                      ((struct sizes *)o->value)->size[i]);
        printf("  %-13s %-18s %s\n", o->name, value, o->help);
    }
}

void parse_options(int argc, char **argv, const struct option *table, const char *about) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(table, about);
            exit(0);
        }
        const struct option *o = table;
        size_t n = strcspn(argv[i], "=");
        while (o->name && (strncmp(argv[i], o->name, n) != 0 || o->name[n]))
            o++;
        if (!o->name)
            bad_option(argv[i], NULL, "no such option");
        if (argv[i][n])
            set_option(o, argv[i] + n + 1);
        else if (++i < argc)
            set_option(o, argv[i]);
        else
            bad_option(o->name, NULL, "needs a value after it");
    }
}

/* The number of cores to use; 0 leaves the choice to OpenMP. */
void use_threads(size_t threads) {
#ifdef _OPENMP
    if (threads)
        omp_set_num_threads((int)threads);
#else
    (void)threads;
#endif
}

#ifndef WORKBOOK_TEST

/* === the program
 * ==================================================================================== */

struct settings {
    const char *data, *out, *activation;
    size_t seed, threads, images;
    struct sizes layers;
};

/* A way to start: the weights of a layer are uniform in (-limit, limit). */
struct start {
    const char *name, *text;
    double (*limit)(size_t in, size_t out);
};

double large_limit(size_t in, size_t out) {
    (void)in, (void)out;
    return 1;
}

double small_limit(size_t in, size_t out) {
    (void)in, (void)out;
    return 0.05;
}

enum { STARTS = 4 };
const struct start starts[STARTS] = {
    {"he", "He", he_limit},
    {"xavier", "Xavier", xavier_limit},
    {"large", "(-1, 1)", large_limit},
    {"small", "(-0.05, 0.05)", small_limit},
};

enum activation find_activation(const char *name) {
    for (int f = 0; f < ACTIVATIONS; f++)
        if (strcmp(name, activation_name[f]) == 0)
            return f;
    bad_option("--activation", name, "is none of identity, sigmoid, tanh, relu");
    return IDENTITY;
}

/* ReLU (or what was asked for) between the layers, the identity at the end: a code may have any
 * sign. */
void choose_activations(enum activation *f, size_t depth, enum activation inside) {
    for (size_t l = 0; l < depth; l++)
        f[l] = l + 1 < depth ? inside : IDENTITY;
}

/* Every way to start draws from the same seed, so that two of them differ by a factor only. */
void start_network(struct network *net, double (*limit)(size_t, size_t), size_t seed) {
    struct random r;
    random_seed(&r, seed);
    for (size_t l = 0; l < net->depth; l++)
        layer_start(&net->layer[l], limit(net->layer[l].in, net->layer[l].out), &r);
}

double root_mean_square(const real *h, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)h[i] * h[i];
    return sqrt(sum / (double)n);
}

/* How much the rows of h (B,n) differ from each other: the root of the mean variance of its columns. */
double spread_of_rows(const real *h, size_t B, size_t n) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        double mean = 0;
        for (size_t r = 0; r < B; r++)
            mean += (double)h[r * n + j] / (double)B;
        for (size_t r = 0; r < B; r++)
            sum += pow((double)h[r * n + j] - mean, 2) / (double)(B * n);
    }
    return sqrt(sum);
}

double percent_zero(const real *h, size_t n) {
    size_t zero = 0;
    for (size_t i = 0; i < n; i++)
        zero += h[i] == 0;
    return 100.0 * (double)zero / (double)n;
}

/* 1,234,567 */
const char *thousands(size_t n) {
    static char text[4][32];
    static int turn;
    char *t = text[turn = (turn + 1) % 4], digits[32];
    int length = snprintf(digits, sizeof digits, "%zu", n), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            t[at++] = ',';
        t[at++] = digits[i];
    }
    t[at] = 0;
    return t;
}

void print_shapes(const struct network *net, struct results *results) {
    printf("  layer  shape of W      weights   biases   output\n");
    for (size_t l = 0; l < net->depth; l++) {
        const struct layer *y = &net->layer[l];
        char shape[48];
        snprintf(shape, sizeof shape, "%zu x %zu", y->out, y->in);
        printf("  %-5zu  %-12s %10s %8s   h%zu = %s(W%zu %s%.0zu + b%zu)\n", l + 1, shape,
               thousands(y->in * y->out), thousands(y->out), l + 1, activation_name[y->f], l + 1,
               l ? "h" : "x", l, l + 1);
        result(results, (double)(y->in * y->out + y->out), "parameters", "parameters_%zu", l + 1);
    }
    printf("  %s parameters in all\n\n", thousands(net->parameters));
    result(results, (double)net->parameters, "parameters", "parameters");
}

/* Encodes the images under each way to start and prints how large the signal is
   after each layer. */
void compare_starts(struct network *net, const real *x, size_t B, size_t seed,
                    struct results *results) {
    printf("root mean square of each layer's output (and how many outputs are exactly 0)\n"
           "  weights in       pixels ");
    for (size_t l = 0; l < net->depth; l++)
        printf("         h%zu       ", l + 1);
    printf("\n");
    for (int k = 0; k < STARTS; k++) {
        start_network(net, starts[k].limit, seed);
        network_forward(net, x, B);
        printf("  %-14s %8.3f ", starts[k].text, root_mean_square(x, B * net->layer[0].in));
        for (size_t l = 0; l < net->depth; l++) {
            const struct layer *y = &net->layer[l];
            double rms = root_mean_square(y->h, B * y->out), zero = percent_zero(y->h, B * y->out);
            printf(" %9.4g (%2.0f %%)", rms, zero);
            result(results, rms, "", "rms_%s_%zu", starts[k].name, l + 1);
            result(results, zero, "%", "zero_%s_%zu", starts[k].name, l + 1);
        }
        printf("\n");
    }
    printf("\n");
}

/* Twenty layers of 100 units on top of each other: what one layer does a little, twenty
   do a lot. */
void compare_towers(const struct settings *s, enum activation inside, const real *x, size_t B,
                    struct results *results) {
    enum { HEIGHT = 20, WIDTH = 100 };
    size_t size[HEIGHT + 1] = {PIXELS};
    enum activation f[HEIGHT];
    for (size_t l = 0; l < HEIGHT; l++) {
        size[l + 1] = WIDTH;
        f[l] = inside;
    }
    struct network net = network_new(size, f, HEIGHT, B);
    double rms[STARTS][HEIGHT], spread[STARTS];
    for (int k = 0; k < STARTS; k++) {
        start_network(&net, starts[k].limit, s->seed);
        network_forward(&net, x, B);
        for (size_t l = 0; l < HEIGHT; l++)
            rms[k][l] = root_mean_square(net.layer[l].h, B * WIDTH);
        spread[k] = spread_of_rows(net.layer[HEIGHT - 1].h, B, WIDTH) / rms[k][HEIGHT - 1];
    }
    struct output o = open_output(s->out, "tower.tsv");
    fprintf(o.file, "layer\the\txavier\tlarge\tsmall\n");
    for (size_t l = 0; l < HEIGHT; l++) {
        fprintf(o.file, "%zu", l + 1);
        for (int k = 0; k < STARTS; k++)
            fprintf(o.file, "\t%g", rms[k][l]);
        fprintf(o.file, "\n");
    }
    close_output(&o);
    printf("a tower of %d layers of %d units with %s: root mean square at layers 1, 10 and 20, and "
           "what part\n"
           "of it, at layer 20, is difference between one picture and another\n",
           HEIGHT, WIDTH, activation_name[inside]);
    for (int k = 0; k < STARTS; k++) {
        printf("  %-14s %10.3g %10.3g %10.3g %14.2g\n", starts[k].text, rms[k][0], rms[k][9],
               rms[k][19], spread[k]);
        result(results, spread[k], "", "tower_%s_spread", starts[k].name);
        result(results, rms[k][0], "", "tower_%s_1", starts[k].name);
        result(results, rms[k][19], "", "tower_%s_20", starts[k].name);
        /* The factor from one layer to the next, on average. */
        result(results, pow(rms[k][19] / rms[k][0], 1.0 / (HEIGHT - 1)), "", "tower_%s_factor",
               starts[k].name);
    }
    printf("\n");
    network_free(&net);
}

/* One sigmoid neuron, as a function of its weight: the smallest thing with a derivative worth
 * checking. */
const double neuron_x = 1.5, neuron_b = -0.4, neuron_w = 0.8;

double neuron(double w) {
    return 1 / (1 + exp(-(w * neuron_x + neuron_b)));
}

double neuron_in_float(double w) {
    float s = (float)w * (float)neuron_x + (float)neuron_b;
    return 1 / (1 + exp(-s));
}

/* Measures the error of four finite differences for steps from 1 to 1e-15. */
void draw_v_curve(const struct settings *s, struct results *results) {
    double h0 = neuron(neuron_w), exact = h0 * (1 - h0) * neuron_x;
    /* f''' of the sigmoid is f'(1 - 6f + 6f^2), times x for each derivative. */
    double third = h0 * (1 - h0) * (1 - 6 * h0 + 6 * h0 * h0) * pow(neuron_x, 3);
    double epsilon = 0x1p-53;
    double best[4] = {1, 1, 1, 1}, best_step[4] = {0};
    struct output o = open_output(s->out, "v-curve.tsv");
    fprintf(o.file, "step\tforward\tcentral\trichardson\tfloat\ttruncation\trounding\n");
    for (int k = 0; k <= 120; k++) {
        double h = pow(10, -k / 8.0);
        double error[4] = {fabs(forward_difference(neuron, neuron_w, h) - exact),
                           fabs(central_difference(neuron, neuron_w, h) - exact),
                           fabs(richardson_difference(neuron, neuron_w, h) - exact),
                           fabs(central_difference(neuron_in_float, neuron_w, h) - exact)};
        fprintf(o.file, "%g", h);
        for (int i = 0; i < 4; i++) {
            fprintf(o.file, "\t%g", error[i] / exact);
            if (error[i] / exact < best[i] && error[i] > 0) {
                best[i] = error[i] / exact;
                best_step[i] = h;
            }
        }
        fprintf(o.file, "\t%g\t%g\n", fabs(third) * h * h / 6 / exact, epsilon * h0 / h / exact);
    }
    close_output(&o);
    static const char *text[4] = {"forward difference", "central difference", "Richardson",
                                  "central, in float"};
    static const char *name[4] = {"forward", "central", "richardson", "float"};
    printf("the derivative of one neuron by difference: best relative error, and the step that "
           "gives it\n");
    for (int i = 0; i < 4; i++) {
        printf("  %-20s %8.1e  at %.1e\n", text[i], best[i], best_step[i]);
        result(results, best[i], "", "best_error_%s", name[i]);
        result(results, best_step[i], "", "best_step_%s", name[i]);
    }
    /* The slope of the error on the logarithmic picture, where truncation rules: from
       0.1 to 0.001. */
    result(results,
           log10(fabs((central_difference(neuron, neuron_w, 0.1) - exact) /
                      (central_difference(neuron, neuron_w, 0.001) - exact))) /
               2,
           "", "slope_central");
    printf("\n");
}

/* The functions and their slopes, for a figure. */
void draw_activations(const struct settings *s) {
    struct output o = open_output(s->out, "activations.tsv");
    fprintf(o.file, "s\tidentity\tidentity'\tsigmoid\tsigmoid'\ttanh\ttanh'\trelu\trelu'\n");
    for (int k = -200; k <= 200; k++) {
        fprintf(o.file, "%g", k / 50.0);
        for (int f = 0; f < ACTIVATIONS; f++) {
            real h = activate(f, k / (real)50);
            fprintf(o.file, "\t%g\t%g", (double)h, (double)activation_slope(f, h));
        }
        fprintf(o.file, "\n");
    }
    close_output(&o);
}

/* The codes that a fresh network gives to the digits. */
void show_codes(const struct settings *s, struct network *net, const struct images *digits,
                const real *x, size_t B) {
    start_network(net, he_limit, s->seed);
    const real *code = network_forward(net, x, B);
    size_t d = net->layer[net->depth - 1].out;
    printf("codes of the first five digits, fresh network (He)\n");
    for (size_t r = 0; r < 5 && r < B; r++) {
        if (digits->label)
            printf("  a %d -> ", digits->label[r]);
        else
            printf("  -> ");
        for (size_t j = 0; j < d && j < 10; j++)
            printf(" %6.2f", (double)code[r * d + j]);
        printf("%s\n", d > 10 ? " ..." : "");
    }
    printf("\n");
    struct output o = open_output(s->out, "codes.tsv");
    fprintf(o.file, "label\tz1\tz2\n");
    for (size_t r = 0; r < B; r++)
        fprintf(o.file, "%d\t%g\t%g\n", digits->label ? digits->label[r] : -1, (double)code[r * d],
                (double)code[r * d + (d > 1)]);
    close_output(&o);
}

int main(int argc, char **argv) {
    struct settings s = {.data = "data/digits",
                         .out = "build/" CHAPTER,
                         .activation = "relu",
                         .seed = 1,
                         .images = 2000,
                         .layers = {4, {784, 400, 100, 6}}};
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 's', &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--layers", "widths, from the pixels to the code", 'l', &s.layers, 1, 100000},
        {"--activation", "between layers: identity, sigmoid, tanh, relu", 's', &s.activation, 0, 0},
        {"--images", "how many test images to encode", 'n', &s.images, 1, 60000},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table,
                  "sends digits through an encoder that has learned nothing yet");
    use_threads(s.threads);
    enum activation inside = find_activation(s.activation), f[MAX_LAYERS];
    if (s.layers.n < 2 || s.layers.size[0] != PIXELS)
        bad_option("--layers", NULL,
                   "needs 784, the pixels of an image, and at least one more width");

    struct images digits = read_images(s.data, "t10k");
    size_t B = digits.count < s.images ? digits.count : s.images;
    real *x = allocate(B * PIXELS, sizeof *x);
    brightness(x, digits.pixel, B * PIXELS);
    make_folder(s.out);

    size_t depth = s.layers.n - 1;
    choose_activations(f, depth, inside);
    struct network net = network_new(s.layers.size, f, depth, B);
    struct results results;
    open_results(&results);
    print_shapes(&net, &results);
    compare_starts(&net, x, B, s.seed, &results);
    compare_towers(&s, inside, x, B < 500 ? B : 500, &results);
    draw_v_curve(&s, &results);
    draw_activations(&s);
    show_codes(&s, &net, &digits, x, B);
    write_sheet(s.out, "digits.png", x, B < 40 ? 1 : 4, B < 40 ? 1 : 10, 2);
    close_results(&results, s.out);

    network_free(&net);
    free_images(&digits);
    free(x);
    return 0;
}
#endif
