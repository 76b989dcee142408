/* bottleneck.c: chapter 2 of "Autoencoders by Hand".

   Between the encoder and the decoder a picture of 784 pixels has to fit through d numbers. How
   much is lost? Without activations the best answer is known: principal component analysis, PCA.
   This program trains linear autoencoders by gradient descent and computes PCA directly, and
   compares the two: their errors, and the angles between the planes they have found.

   Build it alone:  cc -O2 bottleneck.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: n = 784 pixels, d units in the code, N images, B of them in a mini-batch, one a row; x
   (B,n) pixels, z (B,d) code, xhat (B,n) reconstruction; C (n,n) covariance, Q (d,n) orthonormal
   rows that span a plane. "Plane" means a flat surface of any dimension d. */
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

#define PROGRAM "bottleneck"
#define CHAPTER "02-bottleneck"

/* --- precision (chapter 1) --------------------------------------------------- */
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

/* --- errors (chapter 1) ------------------------------------------------------ */
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

/* --- random numbers (chapter 1) ---------------------------------------------- */
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

/* --- activations (chapter 1) ------------------------------------------------- */
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

/* --- dense layer (chapter 1) ------------------------------------------------- */
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

/* --- network (chapter 1) ----------------------------------------------------- */
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

/* --- initialisation (chapter 1) ---------------------------------------------- */
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

/* --- reading IDX files (chapter 1) ------------------------------------------- */
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

/* --- writing files (chapter 1) ----------------------------------------------- */
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

/* --- pictures (chapter 1) ---------------------------------------------------- */
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

/* --- options (chapter 1) ----------------------------------------------------- */
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

/* --- squared error ----------------------------------------------------------- */
/* Writes each image's squared error to example (B), summed over its n pixels, and returns their
   mean: L = 1/B sum over r of |xhat_r - x_r|^2. */
double squared_error_forward(double *example, const real *xhat, const real *x, size_t B, size_t n) {
    double loss = 0;
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            double difference = (double)xhat[r * n + i] - (double)x[r * n + i];
            sum += difference * difference;
        }
        example[r] = sum;
        loss += sum / (double)B;
    }
    return loss;
}

/* dxhat (B,n) += 2 (xhat - x) / B */
void squared_error_backward(real *dxhat, const real *xhat, const real *x, size_t B, size_t n) {
    for (size_t i = 0; i < B * n; i++)
        dxhat[i] += 2 * (xhat[i] - x[i]) / (real)B;
}

/* --- covariance --------------------------------------------------------------- */
/* mean (n) and covariance C (n,n) of a set of images, n = 784 pixels each:
     mean_i = 1/N sum of x_i,   C_ij = 1/N sum of (x_i - mean_i)(x_j - mean_j).
   The second is also 1/N sum of x_i x_j, minus mean_i mean_j, and we use that form because four
   fifths of a digit's pixels are black: a product with 0 can be left out. */
void covariance(double *C, double *mean, const struct images *images) {
    enum { n = PIXELS, ROOM = 128 };
    double *x = allocate(ROOM * n, sizeof *x), N = (double)images->count;
    memset(C, 0, sizeof(double) * n * n);
    memset(mean, 0, sizeof(double) * n);
    for (size_t first = 0; first < images->count; first += ROOM) {
        size_t B = images->count - first < ROOM ? images->count - first : ROOM;
        for (size_t k = 0; k < B * n; k++)
            x[k] = images->pixel[first * n + k] / 255.0;
        PARALLEL
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < B; r++) {
                double xi = x[r * n + i];
                mean[i] += xi;
                if (xi > 0)
                    for (size_t j = 0; j < n; j++)
                        C[i * n + j] += xi * x[r * n + j];
            }
    }
    for (size_t i = 0; i < n; i++)
        mean[i] /= N;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            C[i * n + j] = C[i * n + j] / N - mean[i] * mean[j];
    free(x);
}

/* --- orthonormal basis -------------------------------------------------------- */
double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    LANES
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Makes the rows of Q (d,n) perpendicular to each other and of length 1, without changing the plane
   they span: Gram and Schmidt. From each row we take away its shadow on the rows before it; the
   second round takes away what rounding left behind. A row that is all shadow becomes 0. */
void orthonormalise(double *Q, size_t d, size_t n) {
    for (size_t k = 0; k < d; k++) {
        double *q = Q + k * n, before = sqrt(dot(q, q, n));
        for (int round = 0; round < 2; round++)
            for (size_t l = 0; l < k; l++) {
                double shadow = dot(q, Q + l * n, n);
                for (size_t i = 0; i < n; i++)
                    q[i] -= shadow * Q[l * n + i];
            }
        double length = sqrt(dot(q, q, n));
        for (size_t i = 0; i < n; i++)
            q[i] = length > 1e-10 * before ? q[i] / length : 0;
    }
}

/* --- jacobi ------------------------------------------------------------------- */
/* Turns two rows of V (d,n) by an angle with the given cosine and sine. */
void turn_rows(double *V, size_t p, size_t q, double cosine, double sine, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double a = V[p * n + i], b = V[q * n + i];
        V[p * n + i] = cosine * a - sine * b;
        V[q * n + i] = sine * a + cosine * b;
    }
}

/* All eigenvectors of a small symmetric H (d,d), by Jacobi (1846): turn two axes at a time by the
   angle that makes their off-diagonal entry 0, until all are. H becomes diagonal, with the
   eigenvalues on it in falling order; row k of V (d,d) becomes the k-th eigenvector. */
void jacobi(double *V, double *H, size_t d) {
    memset(V, 0, d * d * sizeof *V);
    for (size_t k = 0; k < d; k++)
        V[k * d + k] = 1;
    for (int sweep = 0; sweep < 50; sweep++) {
        double largest = 0, off = 0; /* on the diagonal, and beside it */
        for (size_t p = 0; p < d; p++) {
            largest = fmax(largest, fabs(H[p * d + p]));
            for (size_t q = p + 1; q < d; q++)
                off = fmax(off, fabs(H[p * d + q]));
        }
        if (off <= 1e-15 * largest)
            break;
        for (size_t p = 0; p < d; p++)
            for (size_t q = p + 1; q < d; q++) {
                if (fabs(H[p * d + q]) <= 1e-17 * largest)
                    continue;
                double angle = 0.5 * atan2(2 * H[p * d + q], H[q * d + q] - H[p * d + p]);
                double cosine = cos(angle), sine = sin(angle);
                turn_rows(H, p, q, cosine, sine, d); /* rows of H, and then its columns */
                for (size_t i = 0; i < d; i++) {
                    double a = H[i * d + p], b = H[i * d + q];
                    H[i * d + p] = cosine * a - sine * b;
                    H[i * d + q] = sine * a + cosine * b;
                }
                turn_rows(V, p, q, cosine, sine, d);
            }
    }
    for (size_t k = 0; k < d; k++) /* sort: the largest that is left comes to place k */
        for (size_t l = k + 1; l < d; l++)
            if (H[l * d + l] > H[k * d + k]) {
                double keep = H[k * d + k];
                H[k * d + k] = H[l * d + l];
                H[l * d + l] = keep;
                turn_rows(V, k, l, 0, 1, d);
            }
}

/* --- matrix products ------------------------------------------------------ */
/* Y (d,n) = V (d,m) times X (m,n) */
void product(double *Y, const double *V, const double *X, size_t d, size_t m, size_t n) {
    PARALLEL
    for (size_t k = 0; k < d; k++) {
        memset(Y + k * n, 0, n * sizeof *Y);
        for (size_t l = 0; l < m; l++)
            for (size_t i = 0; i < n; i++)
                Y[k * n + i] += V[k * m + l] * X[l * n + i];
    }
}

/* Y (d,m) = X (d,n) times the transpose of Z (m,n): all dot products of their rows */
void dot_products(double *Y, const double *X, const double *Z, size_t d, size_t m, size_t n) {
    PARALLEL
    for (size_t l = 0; l < m; l++)
        for (size_t k = 0; k < d; k++)
            Y[k * m + l] = dot(X + k * n, Z + l * n, n);
}

/* --- pca ---------------------------------------------------------------------- */
/* The flat surface of d dimensions that fits a cloud of points best. */
struct pca {
    size_t n, d;      /* coordinates of a point (pixels), directions wanted */
    double *mean;     /* (n) the middle of the cloud */
    double *Q;        /* (d,n) the directions, of length 1 and perpendicular to each other */
    double *variance; /* (d) the cloud's variance along each, falling */
    double total;  /* its variance along all n, which is its mean squared distance from the mean */
    size_t rounds; /* how many it took */
    double residual; /* the largest |C q - variance q|, as a fraction of the largest variance */
};

/* The d leading eigenvectors of the covariance C (n,n), by orthogonal iteration: multiply a basis
   by C, make it orthonormal again, repeat. Ten spare directions beyond the d wanted, and in each
   round the exact solution of the small problem within the basis, save most of the rounds. The
   mean (n) is only kept with the rest; pca_free gives its memory back, too. */
struct pca pca_find(double *mean, const double *C, size_t n, size_t d, struct random *r) {
    enum { SPARE = 10, ROUNDS = 1000 };
    const double enough = 1e-9;
    size_t m = d + SPARE < n ? d + SPARE : n;
    struct pca p = {.n = n, .d = d, .mean = mean};
    p.Q = allocate(m * n, sizeof(double));
    p.variance = allocate(m, sizeof(double));
    double *CQ = allocate(m * n, sizeof *CQ), *turned = allocate(m * n, sizeof *turned);
    double *H = allocate(2 * m * m, sizeof *H), *V = H + m * m;
    for (size_t i = 0; i < n; i++)
        p.total += C[i * n + i];
    for (size_t k = 0; k < m * n; k++)
        p.Q[k] = random_uniform(r, -1, 1);
    for (p.residual = 1; p.rounds < ROUNDS && p.residual > enough; p.rounds++) {
        orthonormalise(p.Q, m, n);
        dot_products(CQ, p.Q, C, m, n, n); /* C is symmetric: its rows are its columns */
        /* H = Q C Q': the Rayleigh quotients q.Cq on its diagonal, what mixes them beside it. */
        dot_products(H, p.Q, CQ, m, m, n);
        jacobi(V, H, m);
        product(turned, V, p.Q, m, m, n);
        memcpy(p.Q, turned, m * n * sizeof *turned);
        product(turned, V, CQ, m, m, n);
        p.residual = 0;
        for (size_t k = 0; k < d; k++) {
            p.variance[k] = H[k * m + k];
            double miss = 0;
            for (size_t i = 0; i < n; i++)
                miss += pow(turned[k * n + i] - p.variance[k] * p.Q[k * n + i], 2);
            /* Less than 1e-6 is no variance but rounding: all images are the same. */
            p.residual = fmax(p.residual, sqrt(miss) / fmax(p.variance[0], 1e-6));
        }
        /* What C made of the basis is the next one, unless this one stays. */
        if (p.residual > enough && p.rounds + 1 < ROUNDS)
            memcpy(p.Q, turned, m * n * sizeof *turned);
    }
    free(CQ);
    free(turned);
    free(H);
    return p;
}

void pca_free(struct pca *p) {
    free(p->mean);
    free(p->Q);
    free(p->variance);
}

/* --- what pca leaves ------------------------------------------------------ */
/* error (d+1): the mean squared error of the images when k = 0, 1, ... d directions are kept. Each
   direction explains the square of the shadow that x - mean throws on it. */
void pca_errors(double *error, const struct pca *p, const struct images *images) {
    size_t n = p->n, d = p->d, N = images->count;
    double *part = allocate(N * (d + 1), sizeof *part); /* of each image, to be summed in order */
    PARALLEL
    for (size_t r = 0; r < N; r++) {
        double x[PIXELS];
        for (size_t i = 0; i < n; i++)
            x[i] = images->pixel[r * n + i] / 255.0 - p->mean[i];
        part[r * (d + 1)] = dot(x, x, n);
        for (size_t k = 0; k < d; k++)
            part[r * (d + 1) + k + 1] = part[r * (d + 1) + k] - pow(dot(x, p->Q + k * n, n), 2);
    }
    for (size_t k = 0; k <= d; k++) {
        error[k] = 0;
        for (size_t r = 0; r < N; r++)
            error[k] += part[r * (d + 1) + k] / (double)N;
    }
    free(part);
}

/* --- adam -------------------------------------------------------------------- */
/* Adam (Kingma and Ba, 2015): each parameter has a step of its own, its mean gradient m over the
   root of its mean squared gradient v. Both means are running ones and start at zero, hence the
   corrections. */
struct adam {
    real *m, *v; /* (n) */
    size_t n, steps;
};

struct adam adam_new(size_t n) {
    return (struct adam){allocate(n, sizeof(real)), allocate(n, sizeof(real)), n, 0};
}

void adam_free(struct adam *a) {
    free(a->m);
    free(a->v);
}

/* value (n) -= rate * m / (sqrt(v) + 1e-8), with m and v brought up to date from grad (n) first. */
void adam_step(struct adam *a, real *value, const real *grad, double rate) {
    const real keep_m = (real)0.9, keep_v = (real)0.999, tiny = (real)1e-30;
    double steps = (double)++a->steps;
    real correct_m = (real)(1 / (1 - pow(0.9, steps)));
    real correct_v = (real)(1 / (1 - pow(0.999, steps)));
    real step = (real)rate * correct_m;
    PARALLEL
    for (size_t k = 0; k < a->n; k++) {
        real m = keep_m * a->m[k] + (1 - keep_m) * grad[k];
        real v = keep_v * a->v[k] + (1 - keep_v) * grad[k] * grad[k];
        /* A parameter without gradient has m and v that shrink for ever. Below about 1e-38 a float
           becomes denormal, and processors are slow with those: we stop long before. */
        a->m[k] = m = fabs(m) < tiny ? 0 : m;
        a->v[k] = v = v < tiny ? 0 : v;
        value[k] -= step * m / (sqrt(v * correct_v) + (real)1e-8);
    }
}

/* --- batches ----------------------------------------------------------------- */
/* Puts 0..n-1 into order (n) in a random sequence: Fisher and Yates. */
void shuffle(size_t *order, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++) {
        size_t j = (size_t)random_uniform(r, 0, (double)(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
}

/* x (B,784) = the images whose numbers stand in which (B), as brightness */
void gather(real *x, const struct images *images, const size_t *which, size_t B) {
    for (size_t r = 0; r < B; r++)
        brightness(x + r * PIXELS, images->pixel + which[r] * PIXELS, PIXELS);
}

/* --- progress ---------------------------------------------------------------- */
/* Ctrl-C asks for an end: the training loop looks at this after each batch, and what has been
   learned so far is reported and written. A second Ctrl-C ends the program at once. */
volatile sig_atomic_t interrupted;

void interrupt(int signal_number) {
    interrupted = 1;
    signal(signal_number, SIG_DFL);
}

void catch_interrupts(void) {
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Seconds on a clock that only moves forward. */
double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* On a terminal: a bar that is `done` (0 to 1) full, with the time left, redrawn ten times a
   second. Elsewhere: nothing, the lines that a program prints for each epoch are enough. */
struct progress {
    double start, drawn;
};

void show_progress(struct progress *p, double done, const char *what) {
    double now = seconds();
    if (p->start == 0)
        p->start = now;
    if (!isatty(STDERR_FILENO) || now - p->drawn < 0.1)
        return;
    p->drawn = now;
    char bar[31];
    for (int i = 0; i < 30; i++)
        bar[i] = i < done * 30 ? '#' : '.';
    bar[30] = 0;
    fprintf(stderr, "\r  %s [%s] %3.0f %%, %.0f s left \033[K", what, bar, 100 * done,
            done > 0 ? (now - p->start) * (1 - done) / done : 0);
}

/* Wipes the bar, so that a line can be printed in its place. */
void hide_progress(struct progress *p) {
    if (isatty(STDERR_FILENO) && p->drawn > 0)
        fprintf(stderr, "\r\033[K");
    p->drawn = 0;
}

/* --- linear autoencoder ------------------------------------------------------- */
/* z = W_e x + b_e,  xhat = W_d z + b_d: the network of chapter 1 with two layers, 784-d-784, and no
   activation. Weights uniform, the decoder a transposed copy of the encoder, biases zero. */
struct network linear_autoencoder(size_t d, size_t batch, struct random *r) {
    const size_t size[] = {PIXELS, d, PIXELS};
    const enum activation f[] = {IDENTITY, IDENTITY};
    struct network net = network_new(size, f, 2, batch);
    /* A variance of 1/784 gives the d rows of W_e a length of about 1. */
    layer_start(&net.layer[0], sqrt(3.0 / PIXELS), r);
    for (size_t i = 0; i < PIXELS; i++)
        for (size_t j = 0; j < d; j++)
            net.layer[1].W[j * PIXELS + i] = net.layer[0].W[i * d + j];
    return net;
}

/* --- training ----------------------------------------------------------------- */
/* x (B,784) = the chosen images, each minus the mean (784) */
void gather_centred(real *x, const struct images *images, const size_t *which, const double *mean,
                    size_t B) {
    gather(x, images, which, B);
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < PIXELS; i++)
            x[r * PIXELS + i] -= (real)mean[i];
}

/* The network rebuilds x (B,in), as wide as its output: writes each image's error to example (B)
   and returns the mean. */
double rebuild_forward(double *example, struct network *net, const real *x, size_t B) {
    const real *xhat = network_forward(net, x, B);
    return squared_error_forward(example, xhat, x, B, net->layer[0].in);
}

/* After rebuild_forward: all gradients of that mean. dx (B,in) may be NULL; it gets what x does as
   the input, not what it does as the target. */
void rebuild_backward(struct network *net, real *dx, const real *x, size_t B) {
    const real *xhat = net->layer[net->depth - 1].h;
    network_zero(net);
    squared_error_backward(net->dlast, xhat, x, B, net->layer[0].in);
    network_backward(net, dx, x, B);
}

/* One mini-batch: forward, backward, a step downhill. Returns the error before the step. */
double train_step(struct network *net, struct adam *adam, double *example, const real *x, size_t B,
                  double rate) {
    double loss = rebuild_forward(example, net, x, B);
    rebuild_backward(net, NULL, x, B);
    adam_step(adam, net->value, net->grad, rate);
    return loss;
}

/* --- principal angles --------------------------------------------------------- */
/* angle (d), rising, in degrees, between two planes of d dimensions given by orthonormal rows P and
   Q (d,n). The first is the smallest angle between a direction of one and a direction of the other;
   the second the smallest among directions perpendicular to those; and so on. M = P Q' holds the
   cosines between the rows; its singular values are the cosines of the angles, and their squares
   are the eigenvalues of M M'. */
void principal_angles(double *angle, const double *P, const double *Q, size_t d, size_t n) {
    double *M = allocate(3 * d * d, sizeof *M), *H = M + d * d, *V = H + d * d;
    dot_products(M, P, Q, d, d, n);
    dot_products(H, M, M, d, d, d);
    jacobi(V, H, d);
    for (size_t k = 0; k < d; k++) {
        double square = fmin(fmax(H[k * d + k], 0), 1);
        angle[k] = atan2(sqrt(1 - square), sqrt(square)) * (180 / acos(-1.0));
    }
    free(M);
}

/* --- other codes -------------------------------------------------------------- */
/* Two changes of the code that the decoder undoes. From them, one after another, every invertible
   matrix A can be built: W_e becomes A W_e, and W_d becomes W_d A^-1. */

/* z_j *= a. Row j of W_e and b_e grow by a, column j of W_d shrinks by it. */
void stretch_code(struct network *net, size_t j, real a) {
    struct layer *e = &net->layer[0], *d = &net->layer[1];
    for (size_t i = 0; i < e->in; i++)
        e->W[i * e->out + j] *= a;
    e->b[j] *= a;
    for (size_t i = 0; i < d->out; i++)
        d->W[j * d->out + i] /= a;
}

/* z_j += a z_k, for another k. The decoder gets a z_k too much from unit j: its column k takes it
   back. */
void mix_code(struct network *net, size_t j, size_t k, real a) {
    struct layer *e = &net->layer[0], *d = &net->layer[1];
    for (size_t i = 0; i < e->in; i++)
        e->W[i * e->out + j] += a * e->W[i * e->out + k];
    e->b[j] += a * e->b[k];
    for (size_t i = 0; i < d->out; i++)
        d->W[k * d->out + i] -= a * d->W[j * d->out + i];
}

/* --- sliding bar -------------------------------------------------------------- */
/* N pictures with one true coordinate: a bright bar, 3 pixels wide, whose middle slides from the
   left to the right. A pixel that the bar covers in part is gray. */
struct images sliding_bar(size_t N) {
    struct images bar = {N, allocate(N, PIXELS), NULL};
    for (size_t k = 0; k < N; k++) {
        double middle = 2 + 24 * ((double)k + 0.5) / (double)N;
        for (size_t i = 0; i < PIXELS; i++) {
            double left = (double)(i % SIDE);
            double covered = fmin(left + 1, middle + 1.5) - fmax(left, middle - 1.5);
            bar.pixel[k * PIXELS + i] = (unsigned char)(255 * fmax(covered, 0) + 0.5);
        }
    }
    return bar;
}

#ifndef WORKBOOK_TEST

/* === the program ============================================================== */

enum { SHOWN = 10, LISTED = 2000 };

struct settings {
    const char *data, *curves, *out;
    struct sizes codes;
    size_t images, epochs, batch, seed, threads;
    double rate;
};

/* One set of images, its principal components, and the networks trained on it. */
struct study {
    const char *name; /* "digits" or "curves" */
    struct images train, test;
    struct pca pca;
    double *train_error, *test_error; /* (pca.d + 1) what PCA leaves with 0, 1, ... directions */
    struct network net[MAX_LAYERS + 1];
    size_t nets; /* how many of the codes asked for are trained */
};

/* "pca", "digits" -> "pca-digits.tsv" */
const char *file_name(const char *what, const char *set, const char *end) {
    static char name[80];
    snprintf(name, sizeof name, "%s-%s%s", what, set, end);
    return name;
}

/* a in percent of b; 0 where b is 0, as with a single image. */
double percent(double a, double b) {
    return b > 0 ? 100 * a / b : 0;
}

/* Finds the principal components of the training images and what they leave of both sets. */
void study_pca(struct study *y, size_t directions, const struct settings *s,
               struct results *results) {
    double *C = allocate(PIXELS * PIXELS, sizeof *C), *mean = allocate(PIXELS, sizeof *mean);
    struct random r;
    random_seed(&r, s->seed);
    double start = seconds();
    covariance(C, mean, &y->train);
    y->pca = pca_find(mean, C, PIXELS, directions, &r);
    free(C);
    y->train_error = allocate(directions + 1, sizeof(double));
    y->test_error = allocate(directions + 1, sizeof(double));
    pca_errors(y->train_error, &y->pca, &y->train);
    pca_errors(y->test_error, &y->pca, &y->test);
    double time = seconds() - start;
    printf("%s: %zu images to learn from, %zu to test\n"
           "  PCA: %zu directions after %zu rounds of orthogonal iteration, %.1f s\n"
           "  the mean image alone leaves %.2f squared error per test image\n",
           y->name, y->train.count, y->test.count, directions, y->pca.rounds, time,
           y->test_error[0]);
    result(results, (double)y->pca.rounds, "rounds", "%s_pca_rounds", y->name);
    result(results, time, "s", "%s_pca_seconds", y->name);
    struct output o = open_output(s->out, file_name("pca", y->name, ".tsv"));
    fprintf(o.file, "d\ttrain\ttest\tleft\tvariance\n");
    for (size_t k = 0; k < directions; k++) {
        double left = percent(y->test_error[k], y->test_error[0]);
        fprintf(o.file, "%zu\t%g\t%g\t%g\t%g\n", k, y->train_error[k], y->test_error[k], left,
                k ? y->pca.variance[k - 1] : y->pca.total);
        result(results, y->train_error[k], "squared error", "%s_pca_train_%zu", y->name, k);
        result(results, y->test_error[k], "squared error", "%s_pca_test_%zu", y->name, k);
        result(results, left, "%", "%s_left_%zu", y->name, k);
    }
    close_output(&o);
}

/* The mean squared error of the network over a set. */
double network_error(struct network *net, const struct images *images, const double *mean) {
    size_t room = net->batch, N = images->count, *which = allocate(N, sizeof *which);
    real *x = allocate(room * PIXELS, sizeof *x);
    double *example = allocate(room, sizeof *example), sum = 0;
    for (size_t k = 0; k < N; k++)
        which[k] = k;
    for (size_t first = 0; first < N; first += room) {
        size_t B = N - first < room ? N - first : room;
        gather_centred(x, images, which + first, mean, B);
        sum += rebuild_forward(example, net, x, B) * (double)B;
    }
    free(which);
    free(x);
    free(example);
    return sum / (double)N;
}

/* Trains a network with a code of d. history (epochs) gets the mean error during each epoch. */
struct network train(const struct study *y, const struct settings *s, size_t d, double *history) {
    struct random r;
    random_seed(&r, s->seed);
    size_t N = y->train.count, B = s->batch < N ? s->batch : N, batches = N / B;
    struct network net = linear_autoencoder(d, B, &r);
    struct adam adam = adam_new(net.parameters);
    size_t *order = allocate(N, sizeof *order), step = 0, steps = s->epochs * batches;
    real *x = allocate(B * PIXELS, sizeof *x);
    double *example = allocate(B, sizeof *example);
    struct progress progress = {0};
    char what[64];
    snprintf(what, sizeof what, "%s, code of %zu", y->name, d);
    for (size_t epoch = 0; epoch < s->epochs && !interrupted; epoch++) {
        shuffle(order, N, &r);
        for (size_t b = 0; b < batches && !interrupted; b++, step++) {
            double done = (double)step / (double)steps;
            gather_centred(x, &y->train, order + b * B, y->pca.mean, B);
            double loss = train_step(&net, &adam, example, x, B, s->rate * (1 - done));
            history[epoch] += loss / (double)batches;
            show_progress(&progress, done, what);
        }
    }
    hide_progress(&progress);
    adam_free(&adam);
    free(order);
    free(x);
    free(example);
    return net;
}

/* Q (d,784) = an orthonormal basis of what the decoder can paint, around the mean. */
void decoder_plane(double *Q, const struct network *net) {
    const struct layer *decoder = &net->layer[1];
    for (size_t k = 0; k < decoder->in * decoder->out; k++)
        Q[k] = (double)decoder->W[k];
    orthonormalise(Q, decoder->in, decoder->out);
}

/* Holds a trained network against PCA: writes its errors (2) on training and test images and the
   angles (d) between the two planes, prints a line, and adds to the results. */
void hold_against_pca(double *own, double *angle, struct study *y, struct network *net,
                      struct results *results, double *worst) {
    size_t d = net->layer[0].out;
    double pca[2] = {y->train_error[d], y->test_error[d]}, excess[2];
    own[0] = network_error(net, &y->train, y->pca.mean);
    own[1] = network_error(net, &y->test, y->pca.mean);
    for (int t = 0; t < 2; t++) {
        const char *set = t ? "test" : "train";
        excess[t] = percent(own[t] - pca[t], pca[t]);
        *worst = fmax(*worst, fabs(excess[t]));
        result(results, own[t], "squared error", "%s_net_%s_%zu", y->name, set, d);
        result(results, excess[t], "%", "%s_excess_%s_%zu", y->name, set, d);
    }
    double *Q = allocate(d * PIXELS, sizeof *Q);
    decoder_plane(Q, net);
    principal_angles(angle, Q, y->pca.Q, d, PIXELS);
    free(Q);
    printf("  %4zu %7.3f %7.3f %6.2f %%  %7.3f %7.3f %6.2f %%  %7.2f deg %6.2f deg\n", d, pca[0],
           own[0], excess[0], pca[1], own[1], excess[1], angle[0], angle[d - 1]);
    result(results, angle[0], "degrees", "%s_angle_smallest_%zu", y->name, d);
    result(results, angle[d > 1 ? d - 2 : 0], "degrees", "%s_angle_second_%zu", y->name, d);
    result(results, angle[d - 1], "degrees", "%s_angle_%zu", y->name, d);
    /* How far the last direction that fits in stands out from the first that does not. */
    double last = y->pca.variance[d - 1], next = y->pca.variance[d];
    result(results, percent(last - next, next), "%", "%s_gap_%zu", y->name, d);
}

/* Trains a network for each code and holds it against PCA. */
void compare(struct study *y, const struct settings *s, struct results *results, double *worst) {
    size_t most = y->pca.d, codes = s->codes.n, epochs = s->epochs;
    double *history = allocate(codes * epochs, sizeof *history);
    double *angle = allocate(codes * most, sizeof *angle), own[MAX_LAYERS + 1][2];
    printf("            training error              test error          angle between planes\n"
           "  code    PCA  network  excess      PCA  network  excess    smallest   largest\n");
    for (size_t c = 0; c < codes; c++) {
        size_t d = s->codes.size[c];
        double start = seconds();
        struct network net = train(y, s, d, history + c * epochs);
        double time = (seconds() - start) / (double)(epochs ? epochs : 1);
        if (interrupted) {
            network_free(&net);
            printf("  interrupted while training a code of %zu; what was finished is kept\n", d);
            break;
        }
        hold_against_pca(own[c], angle + c * most, y, &net, results, worst);
        result(results, time, "s", "%s_epoch_seconds_%zu", y->name, d);
        if (c + 1 == codes && y->test.label)
            result(results, time, "s", "epoch_seconds");
        y->net[y->nets++] = net;
    }
    printf("\n");

    /* The same for the figures. */
    struct output o = open_output(s->out, file_name("net", y->name, ".tsv"));
    fprintf(o.file, "d\tpca_train\ttrain\tpca_test\ttest\tangle_smallest\tangle\n");
    for (size_t c = 0; c < y->nets; c++) {
        size_t d = s->codes.size[c];
        const double *a = angle + c * most;
        fprintf(o.file, "%zu\t%g\t%g\t%g\t%g\t%g\t%g\n", d, y->train_error[d], own[c][0],
                y->test_error[d], own[c][1], a[0], a[d - 1]);
    }
    close_output(&o);
    o = open_output(s->out, file_name("learning", y->name, ".tsv"));
    fprintf(o.file, "epoch\td\terror\tpca\texcess\n");
    for (size_t c = 0; c < y->nets; c++) {
        double pca = y->train_error[s->codes.size[c]];
        for (size_t e = 0; e < epochs; e++) {
            double error = history[c * epochs + e];
            fprintf(o.file, "%zu\t%zu\t%g\t%g\t%g\n", e + 1, s->codes.size[c], error, pca,
                    percent(error - pca, pca));
        }
        fprintf(o.file, "\n\n"); /* for gnuplot: here the next line begins */
    }
    close_output(&o);
    o = open_output(s->out, file_name("angles", y->name, ".tsv"));
    fprintf(o.file, "d\tk\tangle\n");
    for (size_t c = 0; c < y->nets; c++)
        for (size_t k = 0; k < s->codes.size[c]; k++)
            fprintf(o.file, "%zu\t%zu\t%g\n", s->codes.size[c], k + 1, angle[c * most + k]);
    close_output(&o);
    free(history);
    free(angle);
}

/* The trained network with a code of d; NULL where there is none. */
struct network *find_network(struct study *y, size_t d) {
    for (size_t c = 0; c < y->nets; c++)
        if (y->net[c].layer[0].out == d)
            return &y->net[c];
    return NULL;
}

/* The images for the pictures: where there are labels the first of each digit, else the first. */
void choose_shown(size_t *which, const struct images *images) {
    for (size_t k = 0; k < SHOWN; k++) {
        which[k] = k % images->count;
        for (size_t i = 0; images->label && i < images->count; i++)
            if (images->label[i] == k) {
                which[k] = i;
                break;
            }
    }
}

/* xhat (784) of PCA with d directions, minus the mean, for a centred x (784) */
void pca_rebuild(real *xhat, const struct pca *p, const real *x, size_t d) {
    memset(xhat, 0, p->n * sizeof *xhat);
    for (size_t k = 0; k < d; k++) {
        double z = 0;
        for (size_t i = 0; i < p->n; i++)
            z += p->Q[k * p->n + i] * (double)x[i];
        for (size_t i = 0; i < p->n; i++)
            xhat[i] += (real)(z * p->Q[k * p->n + i]);
    }
}

/* Two sheets: ten images in the first row, and below what is left of them at each code, once by the
   networks and once by PCA. */
void draw_reconstructions(struct study *y, const struct settings *s) {
    size_t which[SHOWN], row = SHOWN * PIXELS;
    real *x = allocate(row, sizeof *x);
    choose_shown(which, &y->test);
    gather_centred(x, &y->test, which, y->pca.mean, SHOWN);
    for (int by_pca = 0; by_pca < 2; by_pca++) {
        real *sheet = allocate((y->nets + 1) * row, sizeof *sheet);
        memcpy(sheet, x, row * sizeof *x);
        for (size_t c = 0; c < y->nets; c++)
            for (size_t k = 0; k < SHOWN; k++) {
                real *to = sheet + (c + 1) * row + k * PIXELS;
                if (by_pca)
                    pca_rebuild(to, &y->pca, x + k * PIXELS, s->codes.size[c]);
                else
                    memcpy(to, network_forward(&y->net[c], x + k * PIXELS, 1), PIXELS * sizeof *to);
            }
        for (size_t k = 0; k < (y->nets + 1) * row; k++)
            sheet[k] += (real)y->pca.mean[k % PIXELS];
        write_sheet(s->out, file_name(y->name, by_pca ? "pca" : "network", ".png"), sheet,
                    y->nets + 1, SHOWN, 2);
        free(sheet);
    }
    free(x);
}

/* Copies d pictures with signs to a row of a sheet: 0 becomes gray, the largest black or white. */
void draw_signed(real *to, const double *picture, size_t d) {
    for (size_t k = 0; k < d; k++) {
        double largest = 1e-30;
        for (size_t i = 0; i < PIXELS; i++)
            largest = fmax(largest, fabs(picture[k * PIXELS + i]));
        for (size_t i = 0; i < PIXELS; i++)
            to[k * PIXELS + i] = (real)(0.5 + 0.5 * picture[k * PIXELS + i] / largest);
    }
}

void print_code(struct network *net, const real *x, const char *when) {
    network_forward(net, x, 1);
    printf("  code of the first test digit, %-7s", when);
    for (size_t j = 0; j < net->layer[0].out && j < 10; j++)
        printf("%8.2f", (double)net->layer[0].h[j]);
    printf("\n");
}

/* Changes the code of a trained network again and again, undoing each change in the decoder, and
   shows that the loss does not notice. */
void show_other_codes(struct study *y, const struct settings *s, struct results *results) {
    struct network *net = find_network(y, 6);
    if (!net && y->nets)
        net = &y->net[y->nets - 1];
    if (!net)
        return;
    size_t d = net->layer[0].out, n = d * PIXELS, first = 0;
    double *W = allocate(n, sizeof *W), *Q = allocate(n, sizeof *Q);
    double *angle = allocate(d, sizeof *angle), match = 0, worst_match = 1;
    real *sheet = allocate(3 * n, sizeof *sheet), x[PIXELS];
    gather_centred(x, &y->test, &first, y->pca.mean, 1);
    printf("the code is not unique: a network with %zu units\n", d);

    /* Is what a unit paints a principal component? Compare each with the most similar one. */
    for (size_t k = 0; k < n; k++)
        W[k] = (double)net->layer[1].W[k];
    draw_signed(sheet, y->pca.Q, d);
    draw_signed(sheet + n, W, d);
    printf("  cosine between what a unit paints and the nearest principal component:");
    for (size_t j = 0; j < d; j++) {
        double best = 0, length = sqrt(dot(W + j * PIXELS, W + j * PIXELS, PIXELS));
        for (size_t k = 0; k < d; k++)
            best = fmax(best, fabs(dot(W + j * PIXELS, y->pca.Q + k * PIXELS, PIXELS)) / length);
        printf(" %.2f", best);
        match = fmax(match, best);
        worst_match = fmin(worst_match, best);
    }
    printf("\n");
    result(results, match, "", "unit_match_best");
    result(results, worst_match, "", "unit_match_worst");

    double before = network_error(net, &y->test, y->pca.mean);
    decoder_plane(Q, net);
    principal_angles(angle, Q, y->pca.Q, d, PIXELS);
    double angle_before = angle[d - 1];
    print_code(net, x, "before");
    struct random r;
    random_seed(&r, s->seed);
    for (size_t j = 0; j < d; j++) {
        double a = random_uniform(&r, 0.5, 2);
        stretch_code(net, j, (real)(random_uniform(&r, -1, 1) < 0 ? -a : a));
        for (size_t k = 0; k < d; k++)
            if (k != j)
                mix_code(net, j, k, (real)random_uniform(&r, -0.5, 0.5));
    }
    print_code(net, x, "after");
    double after = network_error(net, &y->test, y->pca.mean);
    double changed = percent(fabs(after - before), before) / 100;
    decoder_plane(Q, net);
    principal_angles(angle, Q, y->pca.Q, d, PIXELS);
    printf("  test error %.4f before, %.4f after\n"
           "  changed by %.0e of itself, which is rounding\n"
           "  largest angle to the plane of PCA %.3f degrees before, %.3f after\n\n",
           before, after, changed, angle_before, angle[d - 1]);
    result(results, changed, "", "mixing_changes_error");
    for (size_t k = 0; k < n; k++)
        W[k] = (double)net->layer[1].W[k];
    draw_signed(sheet + 2 * n, W, d);
    write_sheet(s->out, "components.png", sheet, 3, d, 3);
    free(W);
    free(Q);
    free(angle);
    free(sheet);
}

/* As many units as pixels: a code that copies. Its weights need no training. It rebuilds digits
   without error, and everything else just as well; the trained bottleneck does not. */
void show_copying(struct study *y, struct results *results) {
    enum { FEW = 100 };
    if (!y->nets)
        return;
    struct network *net = &y->net[y->nets - 1], copier;
    size_t B = y->test.count < FEW ? y->test.count : FEW, d = net->layer[0].out;
    struct random r;
    random_seed(&r, 1);
    copier = linear_autoencoder(PIXELS, B, &r);
    memset(copier.value, 0, copier.parameters * sizeof *copier.value);
    for (size_t i = 0; i < PIXELS; i++)
        copier.layer[0].W[i * PIXELS + i] = copier.layer[1].W[i * PIXELS + i] = 1;
    /* The same digits with their pixels in a random order: as bright, but no digits. */
    struct images digits = {B, y->test.pixel, NULL}, noise = {B, allocate(B, PIXELS), NULL};
    size_t order[PIXELS];
    for (size_t k = 0; k < B; k++) {
        shuffle(order, PIXELS, &r);
        for (size_t i = 0; i < PIXELS; i++)
            noise.pixel[k * PIXELS + i] = digits.pixel[k * PIXELS + order[i]];
    }
    double error[2][2];
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        const struct images *images = shuffled ? &noise : &digits;
        error[0][shuffled] = network_error(&copier, images, y->pca.mean);
        error[1][shuffled] = network_error(net, images, y->pca.mean);
    }
    printf("a wide code may copy: squared error on %zu %s, and on their pixels in random order\n"
           "  %4d units, weights that copy  %8.3f %8.3f\n"
           "  %4zu units, trained            %8.3f %8.3f\n\n",
           B, y->name, PIXELS, error[0][0], error[0][1], d, error[1][0], error[1][1]);
    result(results, error[0][0], "squared error", "copy_digits");
    result(results, error[0][1], "squared error", "copy_noise");
    result(results, error[1][0], "squared error", "trained_digits");
    result(results, error[1][1], "squared error", "trained_noise");
    network_free(&copier);
    free(noise.pixel);
}

/* The 2-d codes of the test digits, by PCA and by the network, for a figure. */
void list_codes(struct study *y, const struct settings *s) {
    struct network *net = find_network(y, 2);
    if (!net || !y->test.label)
        return;
    double mean[10][4] = {{0}}, count[10] = {0};
    struct output o = open_output(s->out, "codes.tsv");
    fprintf(o.file, "label\tpca1\tpca2\tnet1\tnet2\n");
    for (size_t k = 0; k < y->test.count && k < LISTED; k++) {
        real x[PIXELS];
        int label = y->test.label[k];
        gather_centred(x, &y->test, &k, y->pca.mean, 1);
        network_forward(net, x, 1);
        double z[4] = {0, 0, (double)net->layer[0].h[0], (double)net->layer[0].h[1]};
        for (size_t i = 0; i < PIXELS; i++) {
            z[0] += y->pca.Q[i] * (double)x[i];
            z[1] += y->pca.Q[PIXELS + i] * (double)x[i];
        }
        fprintf(o.file, "%d\t%g\t%g\t%g\t%g\n", label, z[0], z[1], z[2], z[3]);
        count[label]++;
        for (int i = 0; i < 4; i++)
            mean[label][i] += (z[i] - mean[label][i]) / count[label]; /* a running mean */
    }
    close_output(&o);
    o = open_output(s->out, "code-means.tsv");
    fprintf(o.file, "label\tpca1\tpca2\tnet1\tnet2\n");
    for (int c = 0; c < 10; c++)
        if (count[c] > 0)
            fprintf(o.file, "%d\t%g\t%g\t%g\t%g\n", c, mean[c][0], mean[c][1], mean[c][2],
                    mean[c][3]);
    close_output(&o);
}

/* From one image to another on the straight line between them, pixel by pixel. */
void draw_blends(const struct study *y, const struct settings *s) {
    enum { STEPS = 7, PAIRS = 2 };
    size_t which[SHOWN];
    choose_shown(which, &y->test);
    real *x = allocate(SHOWN * PIXELS, sizeof *x);
    real *sheet = allocate(PAIRS * STEPS * PIXELS, sizeof *sheet);
    gather(x, &y->test, which, SHOWN);
    for (size_t k = 0; k < PAIRS * STEPS * PIXELS; k++) {
        size_t pair = k / PIXELS / STEPS, i = k % PIXELS;
        real t = (real)(k / PIXELS % STEPS) / (STEPS - 1);
        sheet[k] = (1 - t) * x[2 * pair * PIXELS + i] + t * x[(2 * pair + 1) * PIXELS + i];
    }
    write_sheet(s->out, file_name("blend", y->name, ".png"), sheet, PAIRS, STEPS, 2);
    free(x);
    free(sheet);
}

void free_study(struct study *y) {
    for (size_t c = 0; c < y->nets; c++)
        network_free(&y->net[c]);
    free_images(&y->train);
    free_images(&y->test);
    pca_free(&y->pca);
    free(y->train_error);
    free(y->test_error);
}

/* What PCA makes of the sliding bar, and of the others beside it. */
void compare_manifolds(const struct study *digits, const struct study *curves,
                       const struct settings *s, struct results *results) {
    struct study bar = {.name = "bar", .train = sliding_bar(1000), .test = sliding_bar(997)};
    study_pca(&bar, 31, s, results);
    const struct study *all[] = {digits, curves, &bar};
    static const char *text[] = {"digits", "curves (6 numbers)", "sliding bar (1 number)"};
    static const size_t d[] = {1, 2, 3, 6, 10, 18, 30};
    printf("\nhow much PCA leaves of each, in percent of the error of the mean image (test)\n"
           "  directions           ");
    for (size_t k = 0; k < 7; k++)
        printf("%8zu", d[k]);
    printf("\n");
    for (int a = 0; a < 3; a++) {
        if (!all[a])
            continue;
        printf("  %-22s", text[a]);
        for (size_t k = 0; k < 7; k++)
            printf("%8.2f", percent(all[a]->test_error[d[k]], all[a]->test_error[0]));
        printf("\n");
    }
    printf("\n");
    real *sheet = allocate(8 * PIXELS, sizeof *sheet);
    for (size_t k = 0; k < 8; k++)
        brightness(sheet + k * PIXELS, bar.train.pixel + k * 999 / 7 * PIXELS, PIXELS);
    for (size_t k = 0; k < 8 * PIXELS; k++)
        sheet[k] *= (real)0.7; /* so that a bar is not taken for the white between the pictures */
    write_sheet(s->out, "bar.png", sheet, 1, 8, 2);
    free(sheet);
    free_study(&bar);
}

/* Reads a set; of the training images the first so many. */
struct study open_study(const char *name, const char *dir, size_t most) {
    struct study y = {.name = name};
    y.train = read_images(dir, "train");
    y.test = read_images(dir, "t10k");
    if (y.train.count > most)
        y.train.count = most;
    return y;
}

/* Removes what an earlier run with curves has left: a run without must not show it as its own. */
void remove_stale(const char *dir) {
    static const char *name[] = {"net-curves.tsv",     "pca-curves.tsv", "learning-curves.tsv",
                                 "angles-curves.tsv",  "codes.tsv",      "code-means.tsv",
                                 "curves-network.png", "curves-pca.png", "blend-curves.png",
                                 "components.png"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        remove(path);
    }
}

/* Is there a training set in dir? */
int has_images(const char *dir) {
    char path[PATH_MAX];
    return find_file(path, sizeof path, dir, "train-images-idx3-ubyte");
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    struct settings s = {.data = "data/digits",
                         .curves = "build/curves",
                         .out = "build/" CHAPTER,
                         .codes = {7, {1, 2, 3, 6, 10, 18, 30}},
                         .images = 10000,
                         .epochs = 10,
                         .batch = 100,
                         .rate = 0.005,
                         .seed = 1};
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 's', &s.data, 0, 0},
        {"--curves", "folder of curves, made by src/curves.c", 's', &s.curves, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--codes", "sizes of code to train", 'l', &s.codes, 1, 100},
        {"--images", "training images of each set, at most", 'n', &s.images, 1, 1e6},
        {"--epochs", "passes over the training images", 'n', &s.epochs, 0, 1e6},
        {"--batch", "images in a mini-batch", 'n', &s.batch, 1, 60000},
        {"--rate", "step size of Adam at the start; it falls to 0", 'x', &s.rate, 1e-9, 10},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table,
                  "linear autoencoders beside the plane that PCA finds directly");
    use_threads(s.threads);
    size_t directions = 30;
    for (size_t c = 0; c < s.codes.n; c++)
        directions = s.codes.size[c] > directions ? s.codes.size[c] : directions;
    directions++; /* one more, to see how far the last that is used stands out */

    struct study digits = open_study("digits", s.data, s.images), curves = {.name = "curves"};
    int have_curves = has_images(s.curves);
    if (have_curves)
        curves = open_study("curves", s.curves, s.images);
    else
        printf("%s: %s: holds no curves; going on without them (src/curves.c makes them)\n\n",
               PROGRAM, s.curves);
    make_folder(s.out);
    remove_stale(s.out);
    catch_interrupts();
    struct results results;
    open_results(&results);
    double worst = 0;

    study_pca(&digits, directions, &s, &results);
    compare(&digits, &s, &results, &worst);
    have_curves = have_curves && !interrupted;
    if (have_curves) {
        study_pca(&curves, directions, &s, &results);
        compare(&curves, &s, &results, &worst);
    }
    result(&results, worst, "%", "worst_excess");
    if (digits.nets) {
        size_t d = digits.net[digits.nets - 1].layer[0].out;
        result(&results, network_error(&digits.net[digits.nets - 1], &digits.test, digits.pca.mean),
               "squared error", "test_sq");
        result(&results, (double)d, "units", "test_sq_code");
    }
    compare_manifolds(&digits, have_curves ? &curves : NULL, &s, &results);
    draw_reconstructions(&digits, &s);
    draw_blends(&digits, &s);
    list_codes(&digits, &s);
    if (have_curves) {
        draw_reconstructions(&curves, &s);
        draw_blends(&curves, &s);
    }
    show_copying(&digits, &results);
    show_other_codes(&digits, &s, &results); /* last: it changes a network */
    close_results(&results, s.out);
    free_study(&digits);
    free_study(&curves);
    return interrupted ? 130 : 0; /* as the shell says it: ended by signal 2 */
}
#endif
