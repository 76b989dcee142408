/* reparameterization.c: chapter 10 of "Autoencoders by Hand".

   The code of a picture becomes a cloud: the encoder says where it is and how wide, and the code is
   drawn from it. How does a gradient get through a draw? There are two ways, the score function and
   the path. This program measures both on a toy whose every number is known, lets them go downhill,
   counts the nats of the divergence that keeps the clouds together, and then trains a small network
   on digits by either way.

   Build it alone:  cc -O2 reparameterization.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: B examples in a batch, one a row; d numbers in a code; code (B,2d) what the encoder says
   of each example, mu (d) and then logvar (d); sigma = e^(logvar/2); noise (B,d) draws from N(0,1);
   z (B,d) = mu + sigma noise; q the density that z was drawn from; f a loss that looks at z. */
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

#define PROGRAM "reparameterization"
#define CHAPTER "10-reparameterization"

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

/* --- squared error (chapter 2) ----------------------------------------------- */
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

/* --- adam (chapter 2) -------------------------------------------------------- */
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

/* --- batches (chapter 2) ----------------------------------------------------- */
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

/* --- progress (chapter 2) ---------------------------------------------------- */
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

/* --- sigmoid (chapter 4) ----------------------------------------------------- */
/* 1 / (1 + e^-s), from e^-|s|, which cannot overflow. It is chapter 1's sigmoid without the jump:
   both cases share one exponential, and a processor can do several pixels at a time. */
real sigmoid(real s) {
    real e = exp(-fabs(s));
    return (s >= 0 ? 1 : e) / (1 + e);
}

/* xhat (B,n) = sigmoid(logit) */
void sigmoid_forward(real *xhat, const real *logit, size_t B, size_t n) {
    for (size_t i = 0; i < B * n; i++)
        xhat[i] = sigmoid(logit[i]);
}

/* dlogit (B,n) += dxhat xhat (1 - xhat) */
void sigmoid_backward(real *dlogit, const real *dxhat, const real *xhat, size_t B, size_t n) {
    for (size_t i = 0; i < B * n; i++)
        dlogit[i] += dxhat[i] * xhat[i] * (1 - xhat[i]);
}

/* --- bce on logits (chapter 4) ----------------------------------------------- */
/* The cross-entropy of one pixel from its logit, -x log sigmoid(s) - (1-x) log(1 - sigmoid(s)), in
   the form that holds for every s. log1p(e) is log(1 + e) that does not lose a small e. */
real bce_of_logit(real s, real x) {
    return (s > 0 ? s : 0) - s * x + log1p(exp(-fabs(s)));
}

/* Writes each image's cross-entropy to example (B), in nats, and returns their mean. */
double bce_on_logits_forward(double *example, const real *logit, const real *x, size_t B,
                             size_t n) {
    PARALLEL
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++)
            sum += bce_of_logit(logit[i], x[i]);
        example[r] = sum;
    }
    double loss = 0;
    for (size_t r = 0; r < B; r++)
        loss += example[r] / (double)B;
    return loss;
}

/* dlogit (B,n) += (sigmoid(logit) - x) / B */
void bce_on_logits_backward(real *dlogit, const real *logit, const real *x, size_t B, size_t n) {
    PARALLEL
    for (size_t i = 0; i < B * n; i++)
        dlogit[i] += (sigmoid(logit[i]) - x[i]) / (real)B;
}

/* --- normal numbers ---------------------------------------------------------- */
/* noise (n) = numbers from the standard normal distribution, by Box and Muller (1958): a point of
   the plane whose two coordinates are normal has an angle that is uniform and a squared distance
   from 0 that is exponential, so we draw these two and take the coordinates. */
void random_normal(real *noise, size_t n, struct random *r) {
    for (size_t k = 0; k < n; k += 2) {
        double distance = sqrt(-2 * log(1 - random_uniform(r, 0, 1)));
        double angle = random_uniform(r, 0, 2 * acos(-1.0));
        noise[k] = (real)(distance * cos(angle));
        if (k + 1 < n)
            noise[k + 1] = (real)(distance * sin(angle));
    }
}

/* --- averages ----------------------------------------------------------------- */
/* Of numbers that are added one by one: their mean, their variance, and how far the mean is
   probably off. */
struct average {
    size_t n;
    double sum, squares;
};

void average_add(struct average *a, double value) {
    a->n++;
    a->sum += value;
    a->squares += value * value;
}

double average_value(const struct average *a) {
    return a->sum / (double)a->n;
}

/* E f^2 - (E f)^2, with n - 1 for n because the mean is made of the same numbers. Rounding must not
   make it negative. */
double average_variance(const struct average *a) {
    double mean = average_value(a), n = (double)a->n;
    return n > 1 ? fmax(0, (a->squares - n * mean * mean) / (n - 1)) : 0;
}

/* The standard error of the mean. */
double average_error(const struct average *a) {
    return sqrt(average_variance(a) / (double)a->n);
}

/* --- toy with a known answer --------------------------------------------------- */
/* f (B) = |z - c|^2 for each row of z (B,d): its squared distance from the point (c, c, ... c) */
void distance_forward(double *f, const real *z, real c, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++) {
        f[r] = 0;
        for (size_t j = 0; j < d; j++) {
            double away = (double)(z[r * d + j] - c);
            f[r] += away * away;
        }
    }
}

/* dz (B,d) += 2 (z - c) */
void distance_backward(real *dz, const real *z, real c, size_t B, size_t d) {
    for (size_t i = 0; i < B * d; i++)
        dz[i] += 2 * (z[i] - c);
}

/* --- density of a normal ------------------------------------------------------- */
/* logq (B) = the logarithm of the density of N(mu, sigma^2) at each row of z (B,d):
     -1/2 sum over j of (log 2 pi + logvar_j + (z_j - mu_j)^2 / e^logvar_j) */
void log_normal_forward(double *logq, const real *z, const real *code, size_t B, size_t d) {
    const double log_2_pi = log(2 * acos(-1.0));
    for (size_t r = 0; r < B; r++) {
        logq[r] = 0;
        for (size_t j = 0; j < d; j++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            double away = (double)z[r * d + j] - mu;
            logq[r] -= 0.5 * (log_2_pi + logvar + away * away / exp(logvar));
        }
    }
}

/* With z held where it is, from dlogq (B):
   dmu += dlogq (z - mu) / sigma^2   and   dlogvar += dlogq ((z - mu)^2 / sigma^2 - 1) / 2 */
void log_normal_backward(real *dcode, const double *dlogq, const real *z, const real *code,
                         size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
            real away = z[r * d + j] - mu, per_variance = away / exp(logvar);
            dcode[2 * r * d + j] += (real)dlogq[r] * per_variance;
            dcode[(2 * r + 1) * d + j] += (real)dlogq[r] * (away * per_variance - 1) / 2;
        }
}

/* --- reparameterization ------------------------------------------------------ */
/* z (B,d) = mu + sigma noise, with sigma = e^(logvar/2). A row of code (B,2d) is what the encoder
   says of one example: mu (d), then logvar (d). The noise (B,d) is an input like any other. */
void reparameterize(real *z, const real *code, const real *noise, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
            z[r * d + j] = mu + exp(logvar / 2) * noise[r * d + j];
        }
}

/* dmu += dz   and   dlogvar += dz noise sigma / 2,   both in dcode (B,2d) */
void reparameterize_backward(real *dcode, const real *dz, const real *code, const real *noise,
                             size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real sigma = exp(code[(2 * r + 1) * d + j] / 2);
            dcode[2 * r * d + j] += dz[r * d + j];
            dcode[(2 * r + 1) * d + j] += dz[r * d + j] * noise[r * d + j] * sigma / 2;
        }
}

/* --- two ways through a draw --------------------------------------------------- */
enum way { SCORE, BASELINE, PATH, WAYS };
const char *way_name[WAYS] = {"score", "baseline", "path"};

/* dcode (2d) += one draw's estimate of the gradient of E|z - c|^2. z (d) and dz (d) are ours to
   use. The baseline is a number that does not depend on this draw. */
void estimate(enum way way, real *dcode, real *z, real *dz, const real *code, const real *noise,
              real c, double baseline, size_t d) {
    reparameterize(z, code, noise, 1, d);
    if (way == PATH) {
        memset(dz, 0, d * sizeof *dz);
        distance_backward(dz, z, c, 1, d);
        reparameterize_backward(dcode, dz, code, noise, 1, d);
    } else {
        double f;
        distance_forward(&f, z, c, 1, d);
        double dlogq = way == BASELINE ? f - baseline : f;
        log_normal_backward(dcode, &dlogq, z, code, 1, d);
    }
}

/* --- moments of a normal number ------------------------------------------------ */
/* E e^k for e from N(0,1): 1, 0, 1, 0, 3, 0, 15, 0, 105 */
double normal_moment(size_t k) {
    return k == 0 ? 1 : k == 1 ? 0 : (double)(k - 1) * normal_moment(k - 2);
}

/* a[0] + a[1] e + a[2] e^2 + ... */
enum { DEGREE = 8 };
struct polynomial {
    double a[DEGREE + 1];
};

struct polynomial times(struct polynomial p, struct polynomial q) {
    struct polynomial product = {{0}};
    for (size_t i = 0; i <= DEGREE; i++)
        for (size_t j = 0; i + j <= DEGREE; j++)
            product.a[i + j] += p.a[i] * q.a[j];
    return product;
}

/* E p(e) */
double expect(struct polynomial p) {
    double sum = 0;
    for (size_t k = 0; k <= DEGREE; k++)
        sum += p.a[k] * normal_moment(k);
    return sum;
}

double variance_of(struct polynomial p) {
    return expect(times(p, p)) - expect(p) * expect(p);
}

/* The variance of one draw's estimate of dE/dmu_j (or dE/dlogvar_j, where `logvar` is set), when all
   d coordinates have the same sigma and the same distance away = mu - c. */
double toy_variance(enum way way, int logvar, double away, double sigma, double baseline,
                    size_t d) {
    struct polynomial u = {{away, sigma}}, one = {{1}}, half = {{0, sigma / 2}}; /* u = z - c */
    if (way == PATH)
        return 4 * variance_of(times(u, logvar ? half : one)); /* 2 (z - c) times dz */
    struct polynomial own = times(u, u), score = {{0, 1 / sigma}},
                      score_of_logvar = {{-0.5, 0, 0.5}};
    struct polynomial weight = logvar ? score_of_logvar : score;
    double others = (double)(d - 1), square = expect(times(weight, weight));
    /* f - baseline is a polynomial of our own noise, plus what the others vary around their mean. */
    own.a[0] += others * expect(times(u, u)) - (way == BASELINE ? baseline : 0);
    return variance_of(times(own, weight)) + others * variance_of(times(u, u)) * square;
}

/* --- how far to trust a variance ----------------------------------------------- */
enum { BLOCKS = 50 };

/* A number that was measured in BLOCKS independent parts: its mean and the error of this mean. */
struct measured {
    double value, error;
};

struct measured mean_of(const double *part) {
    double sum = 0, square = 0;
    for (size_t k = 0; k < BLOCKS; k++)
        sum += part[k] / BLOCKS;
    for (size_t k = 0; k < BLOCKS; k++)
        square += (part[k] - sum) * (part[k] - sum);
    return (struct measured){sum, sqrt(square / (BLOCKS - 1) / BLOCKS)};
}

/* sum a / sum b, with its error by the jackknife: leave out each part in turn, and see how much the
   ratio moves. */
struct measured ratio_of(const double *a, const double *b) {
    double above = 0, below = 0, mean = 0, square = 0, without[BLOCKS];
    for (size_t k = 0; k < BLOCKS; k++) {
        above += a[k];
        below += b[k];
    }
    for (size_t k = 0; k < BLOCKS; k++) {
        without[k] = (above - a[k]) / (below - b[k]);
        mean += without[k] / BLOCKS;
    }
    for (size_t k = 0; k < BLOCKS; k++)
        square += (without[k] - mean) * (without[k] - mean);
    return (struct measured){above / below, sqrt(square * (BLOCKS - 1) / BLOCKS)};
}

/* --- divergence from a standard normal --------------------------------------- */
/* kl (B) = KL(N(mu, sigma^2) || N(0, 1)) of each row of code (B,2d), in nats:
     -1/2 sum over j of (1 + logvar_j - mu_j^2 - e^logvar_j) */
void normal_kl_forward(double *kl, const real *code, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++) {
        kl[r] = 0;
        for (size_t j = 0; j < d; j++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            kl[r] -= 0.5 * (1 + logvar - mu * mu - exp(logvar));
        }
    }
}

/* dmu += scale mu   and   dlogvar += scale (e^logvar - 1) / 2,   both in dcode (B,2d) */
void normal_kl_backward(real *dcode, const real *code, real scale, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
            dcode[2 * r * d + j] += scale * mu;
            dcode[(2 * r + 1) * d + j] += scale * (exp(logvar) - 1) / 2;
        }
}

/* --- room for a code with noise ------------------------------------------------ */
/* x (B,n) -> encoder -> code (B,2d) -> z (B,d) -> decoder -> logits (B,n) */
struct coder {
    struct network encoder, decoder;
    size_t n, d;
    const real *code;         /* (batch,2d) what the encoder said last */
    real *z, *dz;             /* (batch,d) */
    double *bce, *kl, *dlogq; /* (batch) */
};

/* n -> hidden, ReLU -> 2d   and   d -> hidden, ReLU -> n logits */
struct coder coder_new(size_t n, size_t hidden, size_t d, size_t batch) {
    const size_t down[] = {n, hidden, 2 * d}, up[] = {d, hidden, n};
    const enum activation f[] = {RELU, IDENTITY};
    return (struct coder){.encoder = network_new(down, f, 2, batch),
                          .decoder = network_new(up, f, 2, batch),
                          .n = n,
                          .d = d,
                          .z = allocate(batch * d, sizeof(real)),
                          .dz = allocate(batch * d, sizeof(real)),
                          .bce = allocate(batch, sizeof(double)),
                          .kl = allocate(batch, sizeof(double)),
                          .dlogq = allocate(batch, sizeof(double))};
}

void coder_free(struct coder *c) {
    network_free(&c->encoder);
    network_free(&c->decoder);
    free(c->z);
    free(c->dz);
    free(c->bce);
    free(c->kl);
    free(c->dlogq);
}

/* --- encoder, noise, decoder --------------------------------------------------- */
/* The mean over the batch of cross-entropy plus divergence. The noise (B,d) comes from outside. */
double coder_loss(struct coder *c, const real *x, const real *target, const real *noise, size_t B) {
    c->code = network_forward(&c->encoder, x, B);
    reparameterize(c->z, c->code, noise, B, c->d);
    normal_kl_forward(c->kl, c->code, B, c->d);
    const real *logit = network_forward(&c->decoder, c->z, B);
    double loss = bce_on_logits_forward(c->bce, logit, target, B, c->n);
    for (size_t r = 0; r < B; r++)
        loss += c->kl[r] / (double)B;
    return loss;
}

/* All gradients, left in the two networks; dx (B,n) may be NULL. The ways differ in one place. */
double coder_gradient(struct coder *c, enum way way, double baseline, real *dx, const real *x,
                      const real *target, const real *noise, size_t B) {
    network_zero(&c->encoder);
    network_zero(&c->decoder);
    memset(c->dz, 0, B * c->d * sizeof(real));
    double loss = coder_loss(c, x, target, noise, B);
    const real *logit = c->decoder.layer[c->decoder.depth - 1].h;
    real *dcode = c->encoder.dlast;
    bce_on_logits_backward(c->decoder.dlast, logit, target, B, c->n);
    network_backward(&c->decoder, c->dz, c->z, B);
    if (way == PATH)
        reparameterize_backward(dcode, c->dz, c->code, noise, B, c->d);
    else {
        for (size_t r = 0; r < B; r++)
            c->dlogq[r] = (c->bce[r] - (way == BASELINE ? baseline : 0)) / (double)B;
        log_normal_backward(dcode, c->dlogq, c->z, c->code, B, c->d);
    }
    normal_kl_backward(dcode, c->code, 1 / (real)B, B, c->d);
    network_backward(&c->encoder, dx, x, B);
    return loss;
}

#ifndef WORKBOOK_TEST
/* === the program ================================================================ */

struct settings {
    const char *data, *out;
    size_t draws, epochs, batch, hidden, code, seed, threads;
    double rate, descent_rate;
};

/* Every experiment, every point on its axis, and every part of a point draws from a stream of its
   own. So parts can be shared among the cores, and nothing changes when another part is left out. */
enum experiment {
    WAYS_DRAWN,
    TOY,
    DRAWS,
    DIMENSION,
    WIDTH_OF_CLOUD,
    WOBBLE,
    DESCENT,
    SIGMA,
    DIVERGENCE,
    FUNNEL,
    TRAINING,
    TESTING,
    DIGITS
};

struct random stream(const struct settings *s, enum experiment experiment, size_t point,
                     size_t part) {
    struct random r;
    random_seed(&r, (uint64_t)s->seed * 0x100000001b3u + (uint64_t)experiment * 1000000 +
                        point * 1000 + part);
    return r;
}

enum { MU, LOGVAR, HALVES };
const char *half_name[HALVES] = {"mu", "logvar"};

/* E|z - c|^2 with z from N(mu, sigma^2) in each of d coordinates; away = mu - c. */
struct toy {
    size_t d;
    double away, sigma;
};

double toy_value(struct toy t) {
    return (double)t.d * (t.away * t.away + t.sigma * t.sigma);
}

double toy_slope(struct toy t, int half) {
    return half == MU ? 2 * t.away : t.sigma * t.sigma;
}

/* Variances and means of estimates, per coordinate, in each block. */
struct toy_result {
    double variance[WAYS][HALVES][BLOCKS], mean[WAYS][HALVES][BLOCKS];
};

/* `estimates` estimates in all, each the mean of K draws. */
void measure_toy(struct toy_result *result, const struct settings *s, enum experiment experiment,
                 size_t point, struct toy t, size_t K, size_t estimates) {
    const real c = 1;
    size_t d = t.d, n = estimates / BLOCKS < 2 ? 2 : estimates / BLOCKS;
    real *code = allocate(2 * d, sizeof *code);
    for (size_t j = 0; j < d; j++) {
        code[j] = (real)(t.away + (double)c);
        code[d + j] = (real)(2 * log(t.sigma));
    }
    PARALLEL
    for (size_t k = 0; k < BLOCKS; k++) {
        struct random r = stream(s, experiment, point, k);
        real *room = allocate(5 * d, sizeof *room);
        real *noise = room, *z = room + d, *dz = room + 2 * d, *g = room + 3 * d;
        double *sum = allocate(WAYS * 4 * d, sizeof *sum),
               *kept = allocate(WAYS * 2 * d, sizeof *kept);
        for (size_t e = 0; e < n; e++) {
            memset(kept, 0, WAYS * 2 * d * sizeof *kept);
            for (size_t draw = 0; draw < K; draw++) {
                random_normal(noise, d, &r);
                for (int w = 0; w < WAYS; w++) {
                    memset(g, 0, 2 * d * sizeof *g);
                    estimate(w, g, z, dz, code, noise, c, toy_value(t), d);
                    for (size_t i = 0; i < 2 * d; i++)
                        kept[(size_t)w * 2 * d + i] += (double)g[i];
                }
            }
            for (size_t i = 0; i < WAYS * 2 * d; i++) {
                double value = kept[i] / (double)K;
                sum[2 * i] += value;
                sum[2 * i + 1] += value * value;
            }
        }
        for (int w = 0; w < WAYS; w++)
            for (int half = 0; half < HALVES; half++) {
                double mean = 0, variance = 0;
                for (size_t j = 0; j < d; j++) {
                    const double *of = sum + 2 * ((size_t)w * 2 * d + (size_t)half * d + j);
                    double m = of[0] / (double)n;
                    mean += m / (double)d;
                    variance += (of[1] - (double)n * m * m) / (double)(n - 1) / (double)d;
                }
                result->mean[w][half][k] = mean;
                result->variance[w][half][k] = variance;
            }
        free(room);
        free(sum);
        free(kept);
    }
    free(code);
}

/* The toy that the text follows: ten coordinates, one away from where they should be. */
const struct toy plain_toy = {10, 1, 0.5};

void show_toy(const struct settings *s, struct results *results) {
    static struct toy_result m;
    struct toy t = plain_toy;
    measure_toy(&m, s, TOY, 0, t, 1, s->draws * 20);
    printf(
        "the gradient of E|z - c|^2 from one draw: %zu coordinates, mu - c = %g, sigma = %g, %zu "
        "draws\n"
        "                              value     measured        variance     measured\n",
        t.d, t.away, t.sigma, s->draws * 20 / BLOCKS * BLOCKS);
    for (int half = 0; half < HALVES; half++)
        for (int w = 0; w < WAYS; w++) {
            struct measured mean = mean_of(m.mean[w][half]), v = mean_of(m.variance[w][half]);
            double theory = toy_variance(w, half, t.away, t.sigma, toy_value(t), t.d);
            printf("  dE/d%-6s %-8s %10.4f %9.4f +- %-7.4f %10.4f %9.4f +- %.4f\n", half_name[half],
                   way_name[w], toy_slope(t, half), mean.value, mean.error, theory, v.value,
                   v.error);
            result(results, mean.value, "", "toy_mean_%s_%s", half_name[half], way_name[w]);
            result(results, mean.error, "", "toy_mean_error_%s_%s", half_name[half], way_name[w]);
            result(results, (mean.value - toy_slope(t, half)) / mean.error, "errors",
                   "toy_mean_off_%s_%s", half_name[half], way_name[w]);
            result(results, v.value, "", "toy_variance_%s_%s", half_name[half], way_name[w]);
            result(results, theory, "", "toy_theory_%s_%s", half_name[half], way_name[w]);
        }
    for (int half = 0; half < HALVES; half++)
        for (int w = 0; w < PATH; w++) {
            struct measured q = ratio_of(m.variance[w][half], m.variance[PATH][half]);
            double theory = toy_variance(w, half, t.away, t.sigma, toy_value(t), t.d) /
                            toy_variance(PATH, half, t.away, t.sigma, 0, t.d);
            printf(
                "  variance of %-8s over that of path, %-6s  %10.2f +- %-8.2f in theory %10.2f\n",
                way_name[w], half_name[half], q.value, q.error, theory);
            result(results, q.value, "", "ratio_%s_%s", half_name[half], way_name[w]);
            result(results, q.error, "", "ratio_error_%s_%s", half_name[half], way_name[w]);
            result(results, theory, "", "ratio_theory_%s_%s", half_name[half], way_name[w]);
        }
    printf("\n");
}

/* One row of a file of variances: x, then for each way theory, measured, error. */
void write_variances(FILE *file, double x, struct toy t, size_t K, const struct toy_result *m) {
    fprintf(file, "%g", x);
    for (int w = 0; w < WAYS; w++) {
        struct measured v = mean_of(m->variance[w][MU]);
        fprintf(file, "\t%g\t%g\t%g",
                toy_variance(w, MU, t.away, t.sigma, toy_value(t), t.d) / (double)K, v.value,
                v.error);
    }
    fprintf(file, "\n");
}

#define VARIANCES                                                                                  \
    "score_theory\tscore\tscore_error\tbaseline_theory\tbaseline\tbaseline_error\tpath_theory\t"   \
    "path\tpath_error\n"

/* The variance of the estimate of dE/dmu against draws, coordinates, and the width of the cloud. */
void show_scaling(const struct settings *s, struct results *results) {
    static const size_t many[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
    static const double wide[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};
    static struct toy_result m;
    struct output o = open_output(s->out, "samples.tsv");
    fprintf(o.file, "draws\t" VARIANCES);
    double first[WAYS] = {0}, last[WAYS] = {0};
    for (size_t k = 0; k < sizeof many / sizeof *many && many[k] <= 200 && !interrupted; k++) {
        measure_toy(&m, s, DRAWS, k, plain_toy, many[k], s->draws / 4);
        write_variances(o.file, (double)many[k], plain_toy, many[k], &m);
        for (int w = 0; w < WAYS; w++) {
            last[w] = mean_of(m.variance[w][MU]).value;
            first[w] = k == 0 ? last[w] : first[w];
        }
    }
    close_output(&o);
    if (interrupted)
        return;
    printf("the variance of the estimate of dE/dmu: slope on two logarithmic axes\n"
           "                                      score    baseline        path\n"
           "  against the draws, 1 to 200    ");
    for (int w = 0; w < WAYS; w++) {
        double slope = log(last[w] / first[w]) / log(200);
        printf("%11.3f%s", slope, w == PATH ? "\n" : " ");
        result(results, slope, "", "slope_draws_%s", way_name[w]);
    }
    o = open_output(s->out, "dimension.tsv");
    fprintf(o.file, "d\t" VARIANCES);
    struct measured ratio[2] = {{0, 0}};
    for (size_t k = 0; k < sizeof many / sizeof *many && !interrupted; k++) {
        struct toy t = {many[k], plain_toy.away, plain_toy.sigma};
        measure_toy(&m, s, DIMENSION, k, t, 1, many[k] > 100 ? s->draws : s->draws * 4);
        write_variances(o.file, (double)t.d, t, 1, &m);
        for (int w = 0; w < WAYS; w++) {
            last[w] = mean_of(m.variance[w][MU]).value;
            first[w] = t.d == 100 ? last[w] : first[w];
        }
        for (int w = 0; w < PATH; w++)
            ratio[w] = ratio_of(m.variance[w][MU], m.variance[PATH][MU]);
    }
    close_output(&o);
    if (interrupted)
        return;
    printf("  against the dimension, 100 to 1000");
    for (int w = 0; w < WAYS; w++) {
        double slope = log(last[w] / first[w]) / log(10);
        printf("%8.3f%s", slope, w == PATH ? "\n" : "    ");
        result(results, slope, "", "slope_dimension_%s", way_name[w]);
    }
    for (int w = 0; w < PATH; w++) {
        double unit = w == SCORE ? 1e6 : 1e3;
        result(results, ratio[w].value / unit, w == SCORE ? "millions" : "thousands",
               "ratio_thousand_%s", way_name[w]);
        result(results, ratio[w].error / unit, w == SCORE ? "millions" : "thousands",
               "ratio_thousand_error_%s", way_name[w]);
        printf("  in 1000 dimensions: %s over path  %.4g +- %.2g\n", way_name[w], ratio[w].value,
               ratio[w].error);
    }
    o = open_output(s->out, "sigma.tsv");
    fprintf(o.file, "sigma\t" VARIANCES);
    for (size_t k = 0; k < sizeof wide / sizeof *wide && !interrupted; k++) {
        struct toy t = {plain_toy.d, plain_toy.away, wide[k]};
        measure_toy(&m, s, WIDTH_OF_CLOUD, k, t, 1, s->draws * 2);
        write_variances(o.file, wide[k], t, 1, &m);
        struct measured q = ratio_of(m.variance[SCORE][MU], m.variance[PATH][MU]);
        if (wide[k] == 0.01 || wide[k] == 10) {
            printf("  at sigma = %-5g  score over path  %.4g +- %.2g\n", wide[k], q.value, q.error);
            result(results, q.value, "", wide[k] < 1 ? "ratio_narrow" : "ratio_wide");
            result(results, q.error, "", wide[k] < 1 ? "ratio_narrow_error" : "ratio_wide_error");
            result(results, mean_of(m.variance[BASELINE][MU]).value, "",
                   wide[k] < 1 ? "baseline_narrow" : "baseline_wide");
        }
    }
    close_output(&o);
    printf("\n");
}

/* Functions of one z from N(mu, sigma^2): sin(omega z); for omega = 0 the step, 1 where z > 0. */
double wobble(double omega, double z) {
    return omega > 0 ? sin(omega * z) : z > 0;
}

double wobble_slope(double omega, double z) {
    return omega > 0 ? omega * cos(omega * z) : 0;
}

void show_wobble(const struct settings *s, struct results *results) {
    static const double omegas[] = {1, 4, 16, 0};
    const double mu = 0.5, sigma = 0.5;
    printf("functions of one z from N(%g, %g^2): dE/dmu, and the variances of one draw's estimate\n"
           "  f(z)            exact          score function              path   variances: score   "
           "    path\n",
           mu, sigma);
    for (size_t k = 0; k < sizeof omegas / sizeof *omegas; k++) {
        double w = omegas[k], mean[2][BLOCKS], variance[2][BLOCKS];
        size_t n = s->draws * 20 / BLOCKS;
        double exact = w > 0 ? w * cos(w * mu) * exp(-w * w * sigma * sigma / 2)
                             : exp(-mu * mu / (2 * sigma * sigma)) / (sigma * sqrt(2 * acos(-1.0)));
        exact = fabs(exact) < 1e-9 ? 0 : exact; /* e^-32 is none, and should not print as -0 */
        PARALLEL
        for (size_t b = 0; b < BLOCKS; b++) {
            struct random r = stream(s, WOBBLE, k, b);
            double sum[2] = {0}, square[2] = {0};
            for (size_t e = 0; e < n; e++) {
                real noise;
                random_normal(&noise, 1, &r);
                double z = mu + sigma * (double)noise;
                double g[2] = {wobble(w, z) * (double)noise / sigma, wobble_slope(w, z)};
                for (int i = 0; i < 2; i++) {
                    sum[i] += g[i];
                    square[i] += g[i] * g[i];
                }
            }
            for (int i = 0; i < 2; i++) {
                mean[i][b] = sum[i] / (double)n;
                variance[i][b] = (square[i] - sum[i] * mean[i][b]) / (double)(n - 1);
            }
        }
        struct measured score = mean_of(mean[0]), path = mean_of(mean[1]);
        char name[32] = "step at 0", tag[32] = "step";
        if (w > 0) {
            snprintf(name, sizeof name, "sin %gz", w);
            snprintf(tag, sizeof tag, "sin_%g", w);
        }
        printf("  %-10s %10.5f %11.5f +- %.5f %11.5f +- %.5f %12.4f %10.4f\n", name, exact,
               score.value, score.error, path.value, path.error, mean_of(variance[0]).value,
               mean_of(variance[1]).value);
        result(results, exact, "", "%s_exact", tag);
        result(results, score.value, "", "%s_score", tag);
        result(results, path.value, "", "%s_path", tag);
        result(results, mean_of(variance[0]).value, "", "%s_variance_score", tag);
        result(results, mean_of(variance[1]).value, "", "%s_variance_path", tag);
    }
    printf("\n");
}

/* A few draws for a figure: each with its weight in the score function's estimate, and with the
   slope that the path follows. */
void draw_ways(const struct settings *s) {
    enum { SHOWN = 8 };
    const double mu = 2, sigma = 0.5, c = 1;
    struct random r = stream(s, WAYS_DRAWN, 0, 3);
    real noise[SHOWN];
    random_normal(noise, SHOWN, &r);
    struct output o = open_output(s->out, "ways.tsv");
    fprintf(o.file, "z\tf\tweight\tslope\n");
    for (size_t k = 0; k < SHOWN; k++) {
        double z = mu + sigma * (double)noise[k];
        fprintf(o.file, "%g\t%g\t%g\t%g\n", z, (z - c) * (z - c), (double)noise[k] / sigma,
                2 * (z - c));
    }
    close_output(&o);
}

enum { RUNS = 20, STEPS = 4000, TRIAL = 500, D = 10 };

/* Plain descent on mu of the toy, sigma fixed, one draw a step. Writes the distance from the goal
   before each step to away (steps+1), and two coordinates of mu to plane (steps+1,2). */
void descend(const struct settings *s, enum way way, double rate, size_t run, size_t steps,
             double *away, double *plane) {
    const double sigma = plain_toy.sigma;
    const real c = 1;
    struct random r = stream(s, DESCENT, 0, run);
    real code[2 * D], z[D], dz[D], noise[D], g[2 * D];
    for (size_t j = 0; j < D; j++) {
        code[j] = j == 0 ? 3 : -1; /* two away from c, on one side or the other */
        code[D + j] = (real)(2 * log(sigma));
    }
    for (size_t step = 0; step <= steps; step++) {
        double distance;
        distance_forward(&distance, code, c, 1, D);
        away[step] = sqrt(distance);
        plane[2 * step] = (double)code[0];
        plane[2 * step + 1] = (double)code[1];
        memset(g, 0, sizeof g);
        random_normal(noise, D, &r);
        estimate(way, g, z, dz, code, noise, c, distance + D * sigma * sigma, D);
        for (size_t j = 0; j < D; j++)
            code[j] -= (real)rate * g[j];
    }
}

void show_descent(const struct settings *s, struct results *results) {
    static double away[WAYS][RUNS][STEPS + 1], plane[WAYS][RUNS][2 * (STEPS + 1)];
    const double rate = s->descent_rate;
    PARALLEL
    for (size_t run = 0; run < RUNS; run++)
        for (int w = 0; w < WAYS; w++)
            descend(s, w, rate, run, STEPS, away[w][run], plane[w][run]);
    for (int w = 0; w < WAYS; w++)
        for (size_t run = 0; run < RUNS; run++)
            if (!(away[w][run][STEPS] < 1000)) /* also where it is not a number */
                die("the descent by %s has flown away: the steps are too large; try "
                    "--descent-rate %g",
                    way_name[w], rate / 10);
    struct output o = open_output(s->out, "descent.tsv");
    fprintf(o.file, "step");
    for (int w = 0; w < WAYS; w++)
        fprintf(o.file, "\t%s_1\t%s_2\t%s_mean", way_name[w], way_name[w], way_name[w]);
    fprintf(o.file, "\n");
    printf("plain descent on mu, %d coordinates, one draw a step, rate %g: distance from the goal\n"
           "    step      score   baseline       path   (root of the mean square of %d runs)\n",
           D, rate, RUNS);
    for (size_t step = 0; step <= STEPS; step++) {
        double mean[WAYS] = {0};
        fprintf(o.file, "%zu", step);
        for (int w = 0; w < WAYS; w++) {
            for (size_t run = 0; run < RUNS; run++)
                mean[w] += away[w][run][step] * away[w][run][step] / RUNS;
            mean[w] = sqrt(mean[w]);
            fprintf(o.file, "\t%g\t%g\t%g", plane[w][0][2 * step], plane[w][0][2 * step + 1],
                    mean[w]);
        }
        fprintf(o.file, "\n");
        if (step % 800 == 0)
            printf("  %6zu %10.4f %10.4f %10.4f\n", step, mean[SCORE], mean[BASELINE], mean[PATH]);
        for (int w = 0; w < WAYS && step == STEPS; w++)
            result(results, mean[w], "", "descent_%s", way_name[w]);
    }
    close_output(&o);

    /* From small rates to large ones, until a run ends further away than it began. */
    printf("  the largest rate, of 1, 1/2, 1/4 ..., at which %d runs of %d steps come nearer:\n  ",
           RUNS, TRIAL);
    for (int w = 0; w < WAYS; w++) {
        int halvings = 14, home = 1;
        for (; halvings >= 0 && home; halvings--)
            for (size_t run = 0; run < RUNS && home; run++) {
                descend(s, w, ldexp(1, -halvings), 100 + run, TRIAL, away[w][0], plane[w][0]);
                home = away[w][0][TRIAL] < away[w][0][0]; /* false for what is not a number */
            }
        halvings += home ? 1 : 2;
        printf("  %s 1/%g", way_name[w], ldexp(1, halvings));
        result(results, ldexp(1, -halvings), "", "largest_rate_%s", way_name[w]);
    }
    printf("\n\n");
}

/* Mean and variance of z for some ways to write the line that makes it. */
void show_sigma(const struct settings *s, struct results *results) {
    enum { RIGHT, VARIANCE_AS_SIGMA, NOISE_HAS_MU, FORMS };
    static const char *says[FORMS] = {"z = mu + 0.7071 noise", "z = mu + 0.5 noise",
                                      "z = mu + 0.7071 noise, noise from N(mu, sigma)"};
    static const char *name[FORMS] = {"right", "half", "shifted"};
    const double mu = 2, sigma = sqrt(0.5);
    double mean[FORMS][BLOCKS], variance[FORMS][BLOCKS];
    size_t n = s->draws * 20 / BLOCKS;
    PARALLEL
    for (size_t b = 0; b < BLOCKS; b++) {
        struct random r = stream(s, SIGMA, 0, b);
        double sum[FORMS] = {0}, square[FORMS] = {0};
        for (size_t e = 0; e < n; e++) {
            real noise;
            random_normal(&noise, 1, &r);
            double e0 = (double)noise;
            double z[FORMS] = {mu + sigma * e0, mu + 0.5 * e0, mu + sigma * (mu + sigma * e0)};
            for (int i = 0; i < FORMS; i++) {
                sum[i] += z[i];
                square[i] += z[i] * z[i];
            }
        }
        for (int i = 0; i < FORMS; i++) {
            mean[i][b] = sum[i] / (double)n;
            variance[i][b] = (square[i] - sum[i] * mean[i][b]) / (double)(n - 1);
        }
    }
    printf("z should come from N(2, 0.5): mean 2, variance 0.5\n"
           "                                                       mean of z            variance "
           "of z\n");
    for (int i = 0; i < FORMS; i++) {
        struct measured m = mean_of(mean[i]), v = mean_of(variance[i]);
        printf("  %-46s %9.4f +- %.4f %12.4f +- %.4f\n", says[i], m.value, m.error, v.value,
               v.error);
        result(results, m.value, "", "z_mean_%s", name[i]);
        result(results, v.value, "", "z_variance_%s", name[i]);
        result(results, v.error, "", "z_variance_error_%s", name[i]);
    }
    printf("\n");
}

/* One draw's log q(z) - log p(z), with p = N(0,1). */
double one_divergence(const real *code, struct random *r) {
    static const real standard[2] = {0, 0};
    real noise, z;
    double logq, logp;
    random_normal(&noise, 1, r);
    reparameterize(&z, code, &noise, 1, 1);
    log_normal_forward(&logq, &z, code, 1, 1);
    log_normal_forward(&logp, &z, standard, 1, 1);
    return logq - logp;
}

void show_divergence(const struct settings *s, struct results *results) {
    static const double clouds[][2] = {{0, 1}, {1, 1}, {0, 2}, {0.5, 0.5}, {3, 0.1}, {0, 0.01}};
    size_t n = s->draws * 50 / BLOCKS;
    printf("KL(N(mu, sigma^2) || N(0,1)) in nats, by the formula and as a mean over %zu draws\n"
           "    mu  sigma    formula    Monte Carlo              off by   draws below 0\n",
           n * BLOCKS);
    for (size_t k = 0; k < sizeof clouds / sizeof *clouds; k++) {
        real code[2] = {(real)clouds[k][0], (real)(2 * log(clouds[k][1]))};
        double exact, mean[BLOCKS], negative[BLOCKS];
        normal_kl_forward(&exact, code, 1, 1);
        PARALLEL
        for (size_t b = 0; b < BLOCKS; b++) {
            struct random r = stream(s, DIVERGENCE, k, b);
            double sum = 0, below = 0;
            for (size_t e = 0; e < n; e++) {
                double one = one_divergence(code, &r);
                sum += one;
                below += one < 0;
            }
            mean[b] = sum / (double)n;
            negative[b] = 100 * below / (double)n;
        }
        struct measured m = mean_of(mean);
        double off = m.error > 0 ? (m.value - exact) / m.error : 0;
        printf("  %4g %6g %10.5f %10.5f +- %.5f %8.1f errors %10.1f %%\n", clouds[k][0],
               clouds[k][1], exact, m.value, m.error, off, mean_of(negative).value);
        result(results, exact, "nats", "kl_exact_%zu", k);
        result(results, m.value, "nats", "kl_sampled_%zu", k);
        result(results, m.error, "nats", "kl_error_%zu", k);
        result(results, off, "errors", "kl_off_%zu", k);
        result(results, mean_of(negative).value, "%", "kl_negative_%zu", k);
    }
    printf("\n");

    /* Thirty means over K draws each, for a figure. */
    enum { REPEATS = 30, DOUBLINGS = 13 };
    static double dot[DOUBLINGS][REPEATS];
    const double mu = 0.5, sigma = 0.5;
    real code[2] = {(real)mu, (real)(2 * log(sigma))};
    double exact, one = sqrt(mu * mu * sigma * sigma + pow(sigma * sigma - 1, 2) / 2);
    normal_kl_forward(&exact, code, 1, 1);
    PARALLEL
    for (size_t k = 0; k < DOUBLINGS; k++)
        for (size_t i = 0; i < REPEATS; i++) {
            struct random r = stream(s, FUNNEL, k, i);
            size_t K = (size_t)1 << k;
            for (size_t e = 0; e < K; e++)
                dot[k][i] += one_divergence(code, &r) / (double)K;
        }
    struct output o = open_output(s->out, "kl.tsv");
    fprintf(o.file, "draws\tsampled\texact\terror\n");
    size_t negative = 0;
    for (size_t k = 0; k < DOUBLINGS; k++)
        for (size_t i = 0; i < REPEATS; i++) {
            size_t K = (size_t)1 << k;
            fprintf(o.file, "%zu\t%g\t%g\t%g\n", K, dot[k][i], exact, one / sqrt((double)K));
            negative += K == 4 && dot[k][i] < 0;
        }
    close_output(&o);
    result(results, (double)negative, "of 30", "kl_negative_means_of_4");
}

/* Ends the program when a loss that was `start` is far above it, or not a number. */
void require_sense(struct progress *bar, double now, double start, enum way way, double rate) {
    if (now <= 100 * start) /* false where now is not a number */
        return;
    hide_progress(bar);
    die("trained by the %s, the loss went from %.4g to %.4g: the steps are too large; try --rate "
        "%g",
        way == PATH ? "path" : "score function", start, fabs(now), rate / 10);
}

struct score {
    double bce, kl, sq;
};

/* Each image of the set with one draw of noise, the same at every call. */
struct score judge(const struct settings *s, struct coder *c, const struct images *images, real *x,
                   real *noise) {
    struct score score = {0};
    struct random r = stream(s, TESTING, 0, 0);
    real *xhat = allocate(s->batch * PIXELS, sizeof *xhat);
    double *square = allocate(s->batch, sizeof *square);
    for (size_t at = 0; at < images->count; at += s->batch) {
        size_t B = images->count - at < s->batch ? images->count - at : s->batch;
        brightness(x, images->pixel + at * PIXELS, B * PIXELS);
        random_normal(noise, B * c->d, &r);
        coder_loss(c, x, x, noise, B);
        sigmoid_forward(xhat, c->decoder.layer[1].h, B, PIXELS);
        score.sq += squared_error_forward(square, xhat, x, B, PIXELS) * (double)B;
        for (size_t i = 0; i < B; i++) {
            score.bce += c->bce[i];
            score.kl += c->kl[i];
        }
    }
    score.bce /= (double)images->count;
    score.kl /= (double)images->count;
    score.sq /= (double)images->count;
    free(xhat);
    free(square);
    return score;
}

void start_coder(const struct settings *s, struct coder *c) {
    struct random r = stream(s, TRAINING, 0, 0);
    struct network *net[2] = {&c->encoder, &c->decoder};
    for (int i = 0; i < 2; i++)
        for (size_t l = 0; l < 2; l++) {
            struct layer *y = &net[i]->layer[l];
            layer_start(y, l ? xavier_limit(y->in, y->out) : he_limit(y->in, y->out), &r);
        }
}

/* Two networks from one start, on the same batches with the same noise: one learns by the path, the
   other by the score function with a baseline. The gradient of the decoder is the same for both
   ways. What differs is what the encoder is told. */
void train(const struct settings *s, struct coder *coder, const enum way *way, size_t coders,
           const struct images *train_set, const struct images *test, struct results *results) {
    size_t count = train_set->count, *order = allocate(count, sizeof *order), epoch = 0, steps = 0;
    real *x = allocate(s->batch * PIXELS, sizeof *x),
         *noise = allocate(s->batch * s->code, sizeof *noise);
    struct adam adam[WAYS][2];
    struct score start[WAYS], score[WAYS];
    double baseline[WAYS], spent = 0;
    struct progress bar = {0};
    struct random r = stream(s, TRAINING, 0, 1);
    struct output o = open_output(s->out, "training.tsv");
    fprintf(o.file, "epoch");
    printf("digits, %d-%zu-(%zu mu, %zu logvar) and %zu-%zu-%d, Adam with rate %g, batch %zu: test "
           "images\n"
           "            ",
           PIXELS, s->hidden, s->code, s->code, s->code, s->hidden, PIXELS, s->rate, s->batch);
    for (size_t k = 0; k < coders; k++) {
        start_coder(s, &coder[k]);
        adam[k][0] = adam_new(coder[k].encoder.parameters);
        adam[k][1] = adam_new(coder[k].decoder.parameters);
        start[k] = score[k] = judge(s, &coder[k], test, x, noise);
        baseline[k] = start[k].bce;
        fprintf(o.file, "\t%s_bce\t%s_kl\t%s_sum", way_name[way[k]], way_name[way[k]],
                way_name[way[k]]);
        printf(way[k] == PATH ? "%33s" : "%34s",
               way[k] == PATH ? "by the path" : "by the score function");
    }
    fprintf(o.file, "\n");
    printf("\n            ");
    for (size_t k = 0; k < coders; k++)
        printf(way[k] == PATH ? "       bce         kl        sum"
                              : "          bce + kl, with baseline");
    printf("   (nats)\n");
    for (;; epoch++) {
        hide_progress(&bar);
        fprintf(o.file, "%zu", epoch);
        printf("  epoch %4zu", epoch);
        for (size_t k = 0; k < coders; k++) {
            if (epoch > 0)
                score[k] = judge(s, &coder[k], test, x, noise);
            require_sense(&bar, score[k].bce + score[k].kl, start[k].bce + start[k].kl, way[k],
                          s->rate);
            if (way[k] == PATH)
                printf(" %9.2f %10.2f", score[k].bce, score[k].kl);
            printf(way[k] == PATH ? " %10.2f" : " %20.2f", score[k].bce + score[k].kl);
            fprintf(o.file, "\t%g\t%g\t%g", score[k].bce, score[k].kl, score[k].bce + score[k].kl);
        }
        printf("\n");
        fprintf(o.file, "\n");
        if (epoch == s->epochs || interrupted)
            break;
        shuffle(order, count, &r);
        for (size_t at = 0; at < count && !interrupted; at += s->batch, steps++) {
            double began = seconds();
            size_t B = count - at < s->batch ? count - at : s->batch;
            gather(x, train_set, order + at, B);
            random_normal(noise, B * s->code, &r);
            for (size_t k = 0; k < coders; k++) {
                double bce = 0,
                       loss = coder_gradient(&coder[k], way[k], baseline[k], NULL, x, x, noise, B);
                require_sense(&bar, loss, start[k].bce + start[k].kl, way[k], s->rate);
                for (size_t i = 0; i < B; i++)
                    bce += coder[k].bce[i] / (double)B;
                baseline[k] +=
                    (bce - baseline[k]) / 10; /* of the batches before, not of this one */
                adam_step(&adam[k][0], coder[k].encoder.value, coder[k].encoder.grad, s->rate);
                adam_step(&adam[k][1], coder[k].decoder.value, coder[k].decoder.grad, s->rate);
            }
            spent += seconds() - began;
            show_progress(&bar, ((double)epoch + (double)at / (double)count) / (double)s->epochs,
                          "learning");
        }
    }
    close_output(&o);
    if (interrupted)
        printf("  interrupted in epoch %zu, which is therefore incomplete\n", epoch);
    printf("\n");
    for (size_t k = 0; k < coders; k++) {
        if (way[k] == PATH) {
            result(results, score[k].sq, "", "test_sq");
            result(results, score[k].bce, "nats", "test_bce");
        }
        result(results, score[k].bce, "nats", "test_bce_%s", way_name[way[k]]);
        result(results, score[k].kl, "nats", "test_kl_%s", way_name[way[k]]);
        result(results, score[k].bce + score[k].kl, "nats", "test_sum_%s", way_name[way[k]]);
        adam_free(&adam[k][0]);
        adam_free(&adam[k][1]);
    }
    if (steps)
        result(results, spent * (double)count / ((double)s->batch * (double)steps), "s",
               "epoch_seconds");
    free(order);
    free(x);
    free(noise);
}

/* The first test image of each digit; where there are no labels, the first ten. */
void choose_digits(size_t *which, const struct images *test) {
    for (size_t d = 0; d < 10; d++) {
        which[d] = 0;
        for (size_t r = test->count; r-- > 0;)
            if (test->label ? test->label[r] == d : r == d)
                which[d] = r;
    }
}

/* Ten digits, and what each network draws of them when the code is drawn from its cloud. */
void draw_digits(const struct settings *s, struct coder *coder, size_t coders,
                 const struct images *test) {
    size_t which[10];
    choose_digits(which, test);
    real *sheet = allocate((coders + 1) * 10 * PIXELS, sizeof *sheet), noise[64];
    gather(sheet, test, which, 10);
    struct random r = stream(s, DIGITS, 100, 0);
    for (size_t i = 0; i < 10; i++) {
        random_normal(noise, s->code, &r);
        for (size_t k = 0; k < coders; k++) {
            coder_loss(&coder[k], sheet + i * PIXELS, sheet + i * PIXELS, noise, 1);
            sigmoid_forward(sheet + ((k + 1) * 10 + i) * PIXELS, coder[k].decoder.layer[1].h, 1,
                            PIXELS);
        }
    }
    write_sheet(s->out, "digits.png", sheet, coders + 1, 10, 2);
    free(sheet);
}

/* What the estimates for one image did, in each block: their variances, summed over the entries of
   mu and over those of logvar, and the mean of each entry. */
struct digit {
    double variance[WAYS][HALVES][BLOCKS];
    double *mean;       /* (WAYS,2d,BLOCKS) */
    double least, most; /* of the d sigmas */
};

/* One block: `draws` draws of z for the code of one image, B at a time; code (B,2d) and x (B,784)
   hold the same row B times. Adds each entry's sum and sum of squares to sum (WAYS,2d,2) and returns
   the mean cross-entropy. Where sum is NULL, that is all. */
double draw_block(double *sum, struct coder *c, const real *x, const real *code, size_t B,
                  size_t draws, double baseline, struct random *r) {
    size_t d = c->d;
    real *noise = allocate(B * d, sizeof *noise), *g = allocate(B * 2 * d, sizeof *g);
    double bce = 0;
    for (size_t at = 0; at < draws; at += B) {
        size_t rows = draws - at < B ? draws - at : B;
        random_normal(noise, rows * d, r);
        reparameterize(c->z, code, noise, rows, d);
        const real *logit = network_forward(&c->decoder, c->z, rows);
        bce += bce_on_logits_forward(c->bce, logit, x, rows, PIXELS) * (double)rows;
        if (!sum)
            continue;
        network_zero(&c->decoder);
        memset(c->dz, 0, rows * d * sizeof(real));
        bce_on_logits_backward(c->decoder.dlast, logit, x, rows, PIXELS);
        network_backward(&c->decoder, c->dz, c->z, rows);
        for (size_t k = 0; k < rows * d; k++)
            c->dz[k] *= (real)rows; /* one draw's gradient, not its share of a mean */
        for (size_t w = 0; w < WAYS; w++) {
            memset(g, 0, rows * 2 * d * sizeof *g);
            for (size_t k = 0; k < rows; k++)
                c->dlogq[k] = c->bce[k] - (w == BASELINE ? baseline : 0);
            if (w == PATH)
                reparameterize_backward(g, c->dz, code, noise, rows, d);
            else
                log_normal_backward(g, c->dlogq, c->z, code, rows, d);
            for (size_t k = 0; k < rows * 2 * d; k++) {
                double *of = sum + 2 * (w * 2 * d + k % (2 * d));
                of[0] += (double)g[k];
                of[1] += (double)g[k] * (double)g[k];
            }
        }
    }
    free(noise);
    free(g);
    return bce / (double)draws;
}

void measure_digit(struct digit *m, const struct settings *s, struct coder *c,
                   const unsigned char *pixel, size_t number, size_t draws) {
    size_t d = c->d, B = s->batch, entries = WAYS * 2 * d;
    real *x = allocate(B * PIXELS, sizeof *x), *code = allocate(B * 2 * d, sizeof *code);
    double *sum = allocate(2 * entries, sizeof *sum);
    for (size_t r = 0; r < B; r++)
        brightness(x + r * PIXELS, pixel, PIXELS);
    const real *said = network_forward(&c->encoder, x, 1);
    for (size_t r = 0; r < B; r++)
        memcpy(code + r * 2 * d, said, 2 * d * sizeof *code);
    m->least = m->most = exp((double)said[d] / 2);
    for (size_t j = 1; j < d; j++) {
        m->least = fmin(m->least, exp((double)said[d + j] / 2));
        m->most = fmax(m->most, exp((double)said[d + j] / 2));
    }
    struct random first = stream(s, DIGITS, number, BLOCKS); /* draws for the baseline only */
    double baseline = draw_block(NULL, c, x, code, B, draws, 0, &first);
    for (size_t b = 0; b < BLOCKS; b++) {
        struct random r = stream(s, DIGITS, number, b);
        memset(sum, 0, 2 * entries * sizeof *sum);
        draw_block(sum, c, x, code, B, draws, baseline, &r);
        for (size_t w = 0; w < WAYS; w++)
            for (size_t half = 0; half < HALVES; half++) {
                m->variance[w][half][b] = 0;
                for (size_t i = w * 2 * d + half * d; i < w * 2 * d + (half + 1) * d; i++) {
                    double mean = sum[2 * i] / (double)draws;
                    m->mean[i * BLOCKS + b] = mean;
                    m->variance[w][half][b] +=
                        (sum[2 * i + 1] - sum[2 * i] * mean) / (double)(draws - 1);
                }
            }
    }
    free(x);
    free(code);
    free(sum);
}

/* The trained network looks at ten images. How far do the estimates of the gradient of the expected
   cross-entropy, with respect to the code, spread? */
void show_digits(const struct settings *s, struct coder *c, const struct images *test,
                 struct results *results) {
    size_t which[10], d = s->code, agree = 0, entries = 0;
    size_t draws = s->draws / 10 / BLOCKS < 2 ? 2 : s->draws / 10 / BLOCKS; /* in each block */
    static struct digit m, total;
    double worst = 0, least = INFINITY, most = 0;
    memset(&total, 0, sizeof total);
    m.mean = allocate(WAYS * 2 * d * BLOCKS, sizeof *m.mean);
    choose_digits(which, test);
    printf(
        "the gradient of a digit's expected cross-entropy by its mu, %zu draws: variances of one "
        "draw's\nestimate, summed over the %zu numbers\n"
        "  digit       score   baseline       path    score over path   baseline over path\n",
        draws * BLOCKS, d);
    for (size_t i = 0; i < 10 && !interrupted; i++) {
        measure_digit(&m, s, c, test->pixel + which[i] * PIXELS, i, draws);
        for (size_t w = 0; w < WAYS; w++)
            for (size_t k = 0; k < HALVES * BLOCKS; k++)
                total.variance[w][k / BLOCKS][k % BLOCKS] += m.variance[w][k / BLOCKS][k % BLOCKS];
        for (size_t j = 0; j < 2 * d; j++) { /* both are unbiased: do their means agree? */
            double difference[BLOCKS];
            for (size_t b = 0; b < BLOCKS; b++)
                difference[b] = m.mean[(BASELINE * 2 * d + j) * BLOCKS + b] -
                                m.mean[(PATH * 2 * d + j) * BLOCKS + b];
            struct measured off = mean_of(difference);
            worst = fmax(worst, fabs(off.value) / off.error);
            agree += fabs(off.value) < 2 * off.error;
            entries++;
        }
        least = fmin(least, m.least);
        most = fmax(most, m.most);
        struct measured q[PATH];
        for (size_t w = 0; w < PATH; w++)
            q[w] = ratio_of(m.variance[w][MU], m.variance[PATH][MU]);
        printf("  %5zu %11.0f %10.0f %10.1f %8.0f +- %-6.0f %10.1f +- %.1f\n", i,
               mean_of(m.variance[SCORE][MU]).value, mean_of(m.variance[BASELINE][MU]).value,
               mean_of(m.variance[PATH][MU]).value, q[SCORE].value, q[SCORE].error,
               q[BASELINE].value, q[BASELINE].error);
    }
    for (size_t half = 0; half < HALVES && !interrupted; half++) {
        printf("  all ten, %-6s                           ", half_name[half]);
        for (size_t w = 0; w < PATH; w++) {
            struct measured q = ratio_of(total.variance[w][half], total.variance[PATH][half]);
            printf(w == SCORE ? "%8.0f +- %-6.0f" : " %10.1f +- %.1f\n", q.value, q.error);
            result(results, q.value, "", "digits_%s_%s", half_name[half], way_name[w]);
            result(results, q.error, "", "digits_error_%s_%s", half_name[half], way_name[w]);
        }
    }
    if (!interrupted) {
        printf("  the clouds of the ten: sigma from %.3f to %.3f\n", least, most);
        result(results, least, "", "sigma_least");
        result(results, most, "", "sigma_most");
        printf(
            "  baseline and path agree on the gradient: %zu of %zu entries within two errors, the "
            "worst at %.1f\n\n",
            agree, entries, worst);
        result(results, (double)agree, "entries", "digits_agree");
        result(results, (double)entries, "entries", "digits_entries");
        result(results, worst, "errors", "digits_worst");
    }
    free(m.mean);
}

/* Removes what an earlier run left, so that an interrupted run does not show it as its own. */
void forget(const char *dir, const char *name) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    remove(path);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    struct settings s = {.data = "data/digits",
                         .out = "build/" CHAPTER,
                         .draws = 10000,
                         .epochs = 4,
                         .batch = 64,
                         .hidden = 64,
                         .code = 6,
                         .rate = 5e-4,
                         .descent_rate = 5e-4,
                         .seed = 1};
    const struct option table[] = {
        {"--data", "folder of IDX files", 's', &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--draws", "draws for a variance; some tables take up to 50 times as many", 'n', &s.draws,
         500, 1e8},
        {"--epochs", "passes over the training images", 'n', &s.epochs, 1, 100000},
        {"--batch", "images a step", 'n', &s.batch, 1, 60000},
        {"--rate", "step size of Adam", 'x', &s.rate, 1e-9, 100},
        {"--descent-rate", "step size of the plain descent on the toy", 'x', &s.descent_rate, 1e-9,
         1},
        {"--hidden", "units of the hidden layers", 'n', &s.hidden, 1, 10000},
        {"--code", "numbers in a code", 'n', &s.code, 1, 64},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table, "a gradient through a draw: score function against path");
    use_threads(s.threads);

    struct images train_set = read_images(s.data, "train"), test = read_images(s.data, "t10k");
    make_folder(s.out);
    catch_interrupts();
    struct results results;
    open_results(&results);
    static const char *drawn[] = {"training.tsv", "digits.png"};
    for (size_t k = 0; k < sizeof drawn / sizeof *drawn; k++)
        forget(s.out, drawn[k]);

    draw_ways(&s);
    void (*part[])(const struct settings *, struct results *) = {
        show_toy, show_scaling, show_wobble, show_descent, show_sigma, show_divergence};
    for (size_t k = 0; k < sizeof part / sizeof *part && !interrupted; k++)
        part[k](&s, &results);
    if (!interrupted) {
        enum { CODERS = 2 };
        const enum way way[CODERS] = {PATH, BASELINE};
        struct coder coder[CODERS];
        for (size_t k = 0; k < CODERS; k++)
            coder[k] = coder_new(PIXELS, s.hidden, s.code, s.batch);
        train(&s, coder, way, CODERS, &train_set, &test, &results);
        draw_digits(&s, coder, CODERS, &test);
        if (!interrupted)
            show_digits(&s, &coder[0], &test, &results);
        for (size_t k = 0; k < CODERS; k++)
            coder_free(&coder[k]);
    }
    close_results(&results, s.out);
    free_images(&train_set);
    free_images(&test);
    return interrupted ? 130 : 0; /* as the shell says it: ended by signal 2 */
}
#endif
