/* loss.c: chapter 4 of "Autoencoders by Hand".

   A loss says in one number how wrong a reconstruction is. Everything that the network learns, it
   learns from the derivative of that number. This program takes three losses, binary cross-entropy,
   squared error and absolute error, and shows what each does: its gradient for one pixel, where its
   formula breaks in float, how long one confidently wrong pixel needs to come back, what cross-
   entropy cannot fall below, and how the same small autoencoder learns under each of the three.

   Build it alone:  cc -O2 loss.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: B images in a batch, one a row; n pixels in an image; x (B,n) the images, between 0 and
   1; s or logit (B,n) what the last layer computes; xhat (B,n) = sigmoid(s) the reconstruction; L
   the loss: summed over the pixels of an image, averaged over the images of a batch. dxhat and
   dlogit are the derivatives of L with respect to xhat and to the logits. */
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

#define PROGRAM "loss"
#define CHAPTER "04-loss"

/* --- precision (chapter 1) ------------------------------------------------- */
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

/* --- errors (chapter 1) ---------------------------------------------------- */
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

/* --- random numbers (chapter 1) -------------------------------------------- */
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

/* --- activations (chapter 1) ----------------------------------------------- */
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

/* --- dense layer (chapter 1) ----------------------------------------------- */
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

/* --- network (chapter 1) --------------------------------------------------- */
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

/* --- initialisation (chapter 1) -------------------------------------------- */
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

/* --- reading IDX files (chapter 1) ----------------------------------------- */
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

/* --- writing files (chapter 1) --------------------------------------------- */
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

/* --- pictures (chapter 1) -------------------------------------------------- */
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

/* --- options (chapter 1) --------------------------------------------------- */
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

/* --- squared error (chapter 2) --------------------------------------------- */
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

/* --- adam (chapter 2) ------------------------------------------------------ */
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

/* --- batches (chapter 2) --------------------------------------------------- */
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

/* --- progress (chapter 2) -------------------------------------------------- */
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

/* --- bce on probabilities ------------------------------------------------------- */
/* Writes each image's binary cross-entropy to example (B), in nats, summed over its n pixels, and
   returns their mean: L = 1/B sum over r and i of -x log xhat - (1-x) log(1-xhat). Good for
   derivations only: xhat must be neither 0 nor 1. */
double bce_forward(double *example, const real *xhat, const real *x, size_t B, size_t n) {
    double loss = 0;
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++)
            sum -= x[i] * log(xhat[i]) + (1 - x[i]) * log(1 - xhat[i]);
        example[r] = sum;
        loss += sum / (double)B;
    }
    return loss;
}

/* dxhat (B,n) += (xhat - x) / (xhat (1 - xhat)) / B */
void bce_backward(real *dxhat, const real *xhat, const real *x, size_t B, size_t n) {
    for (size_t i = 0; i < B * n; i++)
        dxhat[i] += (xhat[i] - x[i]) / (xhat[i] * (1 - xhat[i])) / (real)B;
}

/* --- sigmoid -------------------------------------------------------------------- */
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

/* --- bce on logits -------------------------------------------------------------- */
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

/* --- forms that break ----------------------------------------------------------- */
/* The cross-entropy of one pixel, as one would first write it ... */
real bce_by_probability(real s, real x) {
    real xhat = sigmoid(s);
    return -x * log(xhat) - (1 - x) * log(1 - xhat);
}

/* ... its gradient, as the chain rule gives it ... */
real bce_slope_by_chain(real s, real x) {
    real xhat = sigmoid(s), dxhat = (xhat - x) / (xhat * (1 - xhat));
    return dxhat * xhat * (1 - xhat);
}

/* ... and with the logarithms put together, but the exponent free to grow. */
real bce_by_exponential(real s, real x) {
    return log(1 + exp(s)) - s * x;
}

/* --- absolute error ------------------------------------------------------------- */
/* Writes each image's absolute error to example (B), summed over its n pixels, and returns their
   mean: L = 1/B sum over r and i of |xhat - x|. */
double absolute_error_forward(double *example, const real *xhat, const real *x, size_t B,
                              size_t n) {
    double loss = 0;
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++)
            sum += fabs((double)xhat[i] - (double)x[i]);
        example[r] = sum;
        loss += sum / (double)B;
    }
    return loss;
}

/* dxhat (B,n) += sign(xhat - x) / B. At xhat = x, where |xhat - x| has a kink and no derivative, we
   take 0. */
void absolute_error_backward(real *dxhat, const real *xhat, const real *x, size_t B, size_t n) {
    for (size_t i = 0; i < B * n; i++)
        dxhat[i] += (real)((xhat[i] > x[i]) - (xhat[i] < x[i])) / (real)B;
}

/* --- three losses ----------------------------------------------------------------- */
enum loss { BCE, SQUARED, ABSOLUTE, LOSSES };
const char *loss_name[LOSSES] = {"bce", "squared", "absolute"};

/* From logits to a loss, whichever it is. The cross-entropy does not need the reconstruction; the
   other two leave it in xhat (B,n), because their way back begins there. */
double loss_forward(enum loss kind, double *example, real *xhat, const real *logit, const real *x,
                    size_t B, size_t n) {
    if (kind == BCE)
        return bce_on_logits_forward(example, logit, x, B, n);
    sigmoid_forward(xhat, logit, B, n);
    return kind == SQUARED ? squared_error_forward(example, xhat, x, B, n)
                           : absolute_error_forward(example, xhat, x, B, n);
}

/* And back to the logits: dlogit (B,n) +=. The cross-entropy takes the short way. The other two go
   through xhat; dxhat (B,n) is theirs to use, and like all gradients it comes in zeroed. */
void loss_backward(enum loss kind, real *dlogit, real *dxhat, const real *xhat, const real *logit,
                   const real *x, size_t B, size_t n) {
    if (kind == BCE) {
        bce_on_logits_backward(dlogit, logit, x, B, n);
        return;
    }
    if (kind == SQUARED)
        squared_error_backward(dxhat, xhat, x, B, n);
    else
        absolute_error_backward(dxhat, xhat, x, B, n);
    sigmoid_backward(dlogit, dxhat, xhat, B, n);
}

/* --- one pixel -------------------------------------------------------------------- */
/* The derivative of the loss of one pixel with respect to its logit. */
double logit_slope(enum loss kind, double logit, double pixel) {
    real s = (real)logit, x = (real)pixel, xhat, dxhat = 0, dlogit = 0;
    double example;
    loss_forward(kind, &example, &xhat, &s, &x, 1, 1);
    loss_backward(kind, &dlogit, &dxhat, &xhat, &s, &x, 1, 1);
    return (double)dlogit;
}

/* A black pixel whose logit is at s, so that it shows nearly white. Plain gradient descent brings
   it down to 0, medium gray. Returns how long that takes: the number of steps times the rate. */
double time_to_escape(enum loss kind, double s, double rate) {
    double time = 0;
    for (; s > 0; time += rate)
        s -= rate * logit_slope(kind, s, 0);
    return time;
}

/* --- gradient of the autoencoder ---------------------------------------------------- */
/* A network that ends in logits, the loss that judges it, and room for what lies between. */
struct autoencoder {
    struct network net;
    enum loss kind;
    real *xhat, *dxhat; /* (batch,784) */
    double *example;    /* (batch) the loss of each image */
};

/* 784 -> hidden, ReLU -> 784 logits */
struct autoencoder autoencoder_new(enum loss kind, size_t inputs, size_t hidden, size_t batch) {
    const size_t size[] = {inputs, hidden, inputs};
    const enum activation f[] = {RELU, IDENTITY};
    return (struct autoencoder){
        network_new(size, f, 2, batch), kind, allocate(batch * inputs, sizeof(real)),
        allocate(batch * inputs, sizeof(real)), allocate(batch, sizeof(double))};
}

void autoencoder_free(struct autoencoder *a) {
    network_free(&a->net);
    free(a->xhat);
    free(a->dxhat);
    free(a->example);
}

/* The loss of B images x (B,n) whose reconstruction should be target (B,n). */
double autoencoder_loss(struct autoencoder *a, const real *x, const real *target, size_t B) {
    size_t n = a->net.layer[1].out;
    const real *logit = network_forward(&a->net, x, B);
    return loss_forward(a->kind, a->example, a->xhat, logit, target, B, n);
}

/* All its gradients, left in the network; dx (B,n) may be NULL. Every gradient is divided by
   `share`: 1 for a sum over the pixels, n for a mean. */
double autoencoder_gradient(struct autoencoder *a, real *dx, const real *x, const real *target,
                            size_t B, double share) {
    size_t n = a->net.layer[1].out;
    network_zero(&a->net);
    memset(a->dxhat, 0, B * n * sizeof(real));
    double loss = autoencoder_loss(a, x, target, B);
    loss_backward(a->kind, a->net.dlast, a->dxhat, a->xhat, a->net.layer[1].h, target, B, n);
    for (size_t i = 0; i < B * n; i++)
        a->net.dlast[i] /= (real)share;
    network_backward(&a->net, dx, x, B);
    return loss;
}

/* --- floor of the cross-entropy --------------------------------------------------- */
/* -x log x, which goes to 0 with x: log alone would make 0 times minus infinity of it, not a
   number. */
double minus_x_log_x(double x) {
    return x > 0 ? -x * log(x) : 0;
}

/* Writes each image's entropy to example (B), in nats, and returns their mean: the cross-entropy of
   the perfect reconstruction xhat = x. */
double entropy(double *example, const real *x, size_t B, size_t n) {
    double mean = 0;
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++)
            sum += minus_x_log_x(x[i]) + minus_x_log_x(1 - (double)x[i]);
        example[r] = sum;
        mean += sum / (double)B;
    }
    return mean;
}

#ifndef WORKBOOK_TEST

/* === the program ===================================================================== */

struct settings {
    const char *data, *out, *loss, *pixels;
    size_t seed, threads, hidden, epochs, batch, steps;
    double rate, descent_rate, bias;
};

/* Which losses to train: one that --loss names, or all. Returns how many. */
size_t choose_losses(enum loss *kind, const char *name) {
    for (int k = 0; k < LOSSES; k++) {
        kind[k] = k;
        if (strcmp(name, loss_name[k]) == 0) {
            kind[0] = k;
            return 1;
        }
    }
    if (strcmp(name, "all") != 0)
        bad_option("--loss", name, "is none of all, bce, squared, absolute");
    return LOSSES;
}

/* 1 for the sum over the pixels, 784 for the mean. */
double choose_share(const char *name) {
    if (strcmp(name, "sum") == 0)
        return 1;
    if (strcmp(name, "mean") != 0)
        bad_option("--pixels", name, "is none of sum, mean");
    return PIXELS;
}

/* Loss and gradient of a black pixel against its logit, and of gray ones against
   xhat: for figures. */
void draw_losses(const struct settings *s) {
    struct output o = open_output(s->out, "gradient.tsv");
    fprintf(o.file, "logit\tbce\tsquared\tabsolute\tbce'\tsquared'\tabsolute'\n");
    for (int k = -100; k <= 100; k++) {
        real logit = (real)k / 10, black = 0, xhat;
        double example;
        fprintf(o.file, "%g", (double)logit);
        for (int i = 0; i < LOSSES; i++)
            fprintf(o.file, "\t%g", loss_forward(i, &example, &xhat, &logit, &black, 1, 1));
        for (int i = 0; i < LOSSES; i++)
            fprintf(o.file, "\t%g", logit_slope(i, (double)logit, 0));
        fprintf(o.file, "\n");
    }
    close_output(&o);

    const double gray[] = {0, 0.1, 0.3, 0.5};
    o = open_output(s->out, "floor.tsv");
    fprintf(o.file, "xhat\tbce_0\tbce_0.1\tbce_0.3\tbce_0.5\tentropy\n");
    for (int k = 1; k < 200; k++) {
        double xhat = k / 200.0;
        fprintf(o.file, "%g", xhat);
        for (int i = 0; i < 4; i++)
            fprintf(o.file, "\t%g", -gray[i] * log(xhat) - (1 - gray[i]) * log(1 - xhat));
        fprintf(o.file, "\t%g\n", minus_x_log_x(xhat) + minus_x_log_x(1 - xhat));
    }
    close_output(&o);
}

/* In double and in the stable form: what the others are measured against. */
double exact_bce(double logit, double x) {
    return (logit > 0 ? logit : 0) - logit * x + log1p(exp(-fabs(logit)));
}

/* Some systems print a minus sign before nan, some do not. */
double unsigned_nan(double value) {
    return isnan(value) ? (double)NAN : value;
}

/* The four forms in float, for a black pixel: a table, a figure, and where each first breaks. */
void show_breakdown(const struct settings *s, struct results *results) {
    static const double shown[] = {-104, -50, -18, -5, 5, 12, 16, 17, 50, 88, 89, 200};
    printf("the cross-entropy of a black pixel (x = 0) in float, by its logit s\n"
           "       s        exact  by probability  log(1+e^s)-sx        stable   slope by chain\n");
    for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
        real t = (real)shown[k];
        printf("  %6g %12.7g %15.7g %14.7g %13.7g %16.7g\n", shown[k], exact_bce(shown[k], 0),
               unsigned_nan((double)bce_by_probability(t, 0)), (double)bce_by_exponential(t, 0),
               (double)bce_of_logit(t, 0), unsigned_nan((double)bce_slope_by_chain(t, 0)));
    }

    /* Relative errors on a grid, for the figure; and the first s > 0 where the result
       is no number. */
    struct output o = open_output(s->out, "float.tsv");
    fprintf(o.file, "logit\tprobability\texponential\tstable\n");
    double worst[3] = {0}, first[3] = {0}, slope_first = 0;
    for (int k = -11000; k <= 11000; k++) {
        real t = (real)k / 100;
        double exact = exact_bce((double)t, 0);
        double value[3] = {(double)bce_by_probability(t, 0), (double)bce_by_exponential(t, 0),
                           (double)bce_of_logit(t, 0)};
        if (k % 20 == 0)
            fprintf(o.file, "%g", (double)t);
        for (int i = 0; i < 3; i++) {
            double error = fabs(value[i] - exact) / exact;
            if (k > 0 && !isfinite(value[i]) && first[i] == 0)
                first[i] = (double)t;
            if (k > 0 && isfinite(error))
                worst[i] = fmax(worst[i], error);
            if (k % 20 == 0) /* a float has 24 binary digits: what is better than that is chance */
                fprintf(o.file, "\t%g", isfinite(error) ? fmax(error, 0x1p-26) : NAN);
        }
        if (k % 20 == 0)
            fprintf(o.file, "\n");
        if (k > 0 && !isfinite((double)bce_slope_by_chain(t, 0)) && slope_first == 0)
            slope_first = (double)t;
    }
    close_output(&o);
    printf("  by probability: infinite from s = %.2f on; before that, wrong by up to %.1f %%\n"
           "  log(1+e^s)-sx:  infinite from s = %.2f on\n"
           "  stable:         relative error at most %.1e for s from 0 to 110\n\n",
           first[0], 100 * worst[0], first[1], worst[2]);
    result(results, first[0], "", "breaks_probability");
    result(results, 100 * worst[0], "%", "worst_probability");
    result(results, first[1], "", "breaks_exponential");
    result(results, worst[2], "", "worst_stable");
    result(results, slope_first, "", "breaks_chain");
}

/* What calculus says for time_to_escape, with steps so small that they are a flow: the integral of
   1 / (dL/ds) from 0 to s. */
double time_by_calculus(enum loss kind, double s) {
    double up = exp(s), down = exp(-s);
    switch (kind) {
    case SQUARED: /* half the integral of e^s (1 + e^-s)^3 */
        return (up - 1 + 3 * s + 3 * (1 - down) + (1 - down * down) / 2) / 2;
    case ABSOLUTE: /* the integral of e^s (1 + e^-s)^2 */
        return up + 2 * s - down;
    default: /* the integral of 1 + e^-s */
        return s + 1 - down;
    }
}

void show_escape(const struct settings *s, struct results *results) {
    struct output o = open_output(s->out, "escape.tsv");
    fprintf(o.file, "logit\tbce\tsquared\tabsolute\tbce_flow\tsquared_flow\tabsolute_flow\n");
    printf(
        "one black pixel that starts white: steps times rate until it is gray\n"
        "  logit s    xhat shown        bce      squared     absolute   (squared by calculus)\n");
    for (int k = 1; k <= 10; k++) {
        double time[LOSSES];
        fprintf(o.file, "%d", k);
        for (int i = 0; i < LOSSES; i++)
            fprintf(o.file, "\t%g", time[i] = time_to_escape(i, k, 0.02));
        for (int i = 0; i < LOSSES; i++)
            fprintf(o.file, "\t%g", time_by_calculus(i, k));
        fprintf(o.file, "\n");
        if (k == 1 || k == 3 || k == 5 || k == 8 || k == 10) {
            printf("  %7d %13.5f %10.2f %12.1f %12.1f %16.1f\n", k, 1 / (1 + exp(-k)), time[BCE],
                   time[SQUARED], time[ABSOLUTE], time_by_calculus(SQUARED, k));
            for (int i = 0; i < LOSSES; i++)
                result(results, time[i], "", "escape_%s_%d", loss_name[i], k);
            result(results, time_by_calculus(SQUARED, k), "", "escape_calculus_%d", k);
        }
    }
    printf("\n");
    close_output(&o);
}

/* Squared error, cross-entropy and absolute error: each summed over an image, mean over images. */
struct score {
    double sq, bce, absolute;
};

/* The entropy of the pixels, and the best pictures that ignore their input: the mean and the median
   of the training images, pixel by pixel. */
void show_floor(const struct images *train, const struct images *test, struct results *results) {
    size_t *count = allocate((size_t)PIXELS * 256, sizeof *count); /* (784,256) */
    for (size_t k = 0; k < train->count * PIXELS; k++)
        count[k % PIXELS * 256 + train->pixel[k]]++;
    double mean[PIXELS], median[PIXELS];
    size_t black_median = 0;
    for (size_t i = 0; i < PIXELS; i++) {
        double sum = 0;
        size_t below = 0, value = 0;
        for (size_t v = 0; v < 256; v++)
            sum += (double)(v * count[i * 256 + v]);
        while ((below += count[i * 256 + value]) * 2 < train->count)
            value++;
        mean[i] = sum / (255 * (double)train->count);
        median[i] = (double)value / 255;
        black_median += value == 0;
    }
    free(count);

    real x[PIXELS];
    double floor_sum = 0, gray = 0, images = (double)test->count, one;
    struct score of_mean = {0}, of_median = {0};
    for (size_t r = 0; r < test->count; r++) {
        brightness(x, test->pixel + r * PIXELS, PIXELS);
        floor_sum += entropy(&one, x, 1, PIXELS) / images;
        for (size_t i = 0; i < PIXELS; i++) {
            double t = (double)x[i], m = mean[i], to_median = median[i] - t;
            gray += t > 0 && t < 1;
            of_mean.sq += (m - t) * (m - t) / images;
            of_mean.absolute += fabs(m - t) / images;
            /* A pixel that was never lit in training has the mean 0, and no cross-entropy if it is
               lit now: we give it one chance in a million. */
            m = fmax(m, 1e-6);
            of_mean.bce -= (t * log(m) + (1 - t) * log(1 - m)) / images;
            of_median.sq += to_median * to_median / images;
            of_median.absolute += fabs(to_median) / images;
        }
    }
    gray *= 100 / (images * PIXELS);
    printf("what no network can get below, and what none should need, per test image\n"
           "                                    squared error   absolute error   bce, nats\n"
           "  the image itself                  %13.2f %16.2f %11.2f\n"
           "  the mean of the training images   %13.2f %16.2f %11.2f\n"
           "  their median, pixel by pixel      %13.2f %16.2f %11s\n"
           "  %.1f %% of the pixels are gray; the median is black at %zu of %d places\n\n",
           0.0, 0.0, floor_sum, of_mean.sq, of_mean.absolute, of_mean.bce, of_median.sq,
           of_median.absolute, "infinite", gray, black_median, PIXELS);
    result(results, floor_sum, "nats", "floor");
    result(results, gray, "%", "gray_pixels");
    result(results, of_mean.sq, "", "mean_sq");
    result(results, of_mean.absolute, "", "mean_abs");
    result(results, of_mean.bce, "nats", "mean_bce");
    result(results, of_median.sq, "", "median_sq");
    result(results, of_median.absolute, "", "median_abs");
    result(results, (double)black_median, "pixels", "black_medians");
}

/* Every network starts here, from the same seed: the same weights for each loss. */
void start_autoencoder(struct autoencoder *a, size_t seed, double bias) {
    struct random r;
    random_seed(&r, seed);
    struct layer *in = &a->net.layer[0], *out = &a->net.layer[1];
    layer_start(in, he_limit(in->in, in->out), &r);
    layer_start(out, xavier_limit(out->in, out->out), &r);
    for (size_t j = 0; j < out->out; j++)
        out->b[j] = (real)bias;
}

/* What sum and mean do to the gradient: its size at the fresh network, for three batches. */
void show_conventions(const struct settings *s, const struct images *train,
                      struct results *results) {
    static const size_t batch[] = {16, 64, 256};
    struct autoencoder a = autoencoder_new(BCE, PIXELS, s->hidden, 256);
    real *x = allocate(256 * PIXELS, sizeof *x);
    double size[3];
    for (int k = 0; k < 3; k++) {
        size_t B = batch[k] < train->count ? batch[k] : train->count, n = a.net.parameters;
        brightness(x, train->pixel, B * PIXELS);
        start_autoencoder(&a, s->seed, 0);
        autoencoder_gradient(&a, NULL, x, x, B, 1);
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)a.net.grad[i] * (double)a.net.grad[i];
        size[k] = sqrt(sum);
        result(results, size[k], "", "gradient_sum_mean_%zu", batch[k]);
        result(results, size[k] * (double)B, "", "gradient_sum_sum_%zu", batch[k]);
        result(results, size[k] / PIXELS, "", "gradient_mean_mean_%zu", batch[k]);
    }
    printf("length of the whole gradient at the fresh network, cross-entropy\n"
           "  images in the batch                   16         64        256\n"
           "  sum over pixels, sum over images  %10.4g %10.4g %10.4g\n"
           "  sum over pixels, mean over images %10.4g %10.4g %10.4g   (this book)\n"
           "  mean over both                    %10.4g %10.4g %10.4g\n\n",
           size[0] * 16, size[1] * 64, size[2] * 256, size[0], size[1], size[2], size[0] / PIXELS,
           size[1] / PIXELS, size[2] / PIXELS);
    autoencoder_free(&a);
    free(x);
}

/* Judges a network on the first `count` images, whatever loss it was trained with. */
struct score judge(struct autoencoder *a, const struct images *images, size_t count, real *x) {
    struct score score = {0};
    for (size_t at = 0; at < count; at += a->net.batch) {
        size_t B = count - at < a->net.batch ? count - at : a->net.batch;
        double part = (double)B / (double)count;
        brightness(x, images->pixel + at * PIXELS, B * PIXELS);
        const real *logit = network_forward(&a->net, x, B);
        sigmoid_forward(a->xhat, logit, B, PIXELS);
        score.sq += part * squared_error_forward(a->example, a->xhat, x, B, PIXELS);
        score.bce += part * bce_on_logits_forward(a->example, logit, x, B, PIXELS);
        score.absolute += part * absolute_error_forward(a->example, a->xhat, x, B, PIXELS);
    }
    return score;
}

/* Ends the program when a loss that was `start` is far above it, or not a number: then the steps
   are too large. On a batch we look at the network's own loss, which may jump a little in the first
   steps. Squared and absolute error cannot grow far, for xhat stays between 0 and 1; what runs away
   are the logits, and that shows in the cross-entropy of the test images. */
void require_sense(struct progress *bar, double now, double start, double factor, const char *what,
                   enum loss kind, const char *option, double rate) {
    if (now <= factor * start) /* false where now is not a number */
        return;
    hide_progress(bar);
    die("trained on %s, %s went from %.4g to %.4g: the steps are too large; try %s %g",
        loss_name[kind], what, start, now, option, rate / 10);
}

enum { JUMP = 1000, RUNAWAY = 20 };

/* Of a network's score, what it was trained on. */
double own_loss(const struct score *score, enum loss kind) {
    return kind == BCE ? score->bce : kind == SQUARED ? score->sq : score->absolute;
}

/* Networks that learn side by side: one for each loss, from one start, on the same batches. */
struct race {
    size_t n;
    struct autoencoder runner[LOSSES];
    struct adam adam[LOSSES];
    double seconds[LOSSES]; /* spent on training */
    real *x;                /* (batch,784) */
};

struct race race_new(const struct settings *s, double bias) {
    struct race race = {0};
    enum loss kind[LOSSES];
    race.n = choose_losses(kind, s->loss);
    race.x = allocate(s->batch * PIXELS, sizeof(real));
    for (size_t k = 0; k < race.n; k++) {
        race.runner[k] = autoencoder_new(kind[k], PIXELS, s->hidden, s->batch);
        race.adam[k] = adam_new(race.runner[k].net.parameters);
        start_autoencoder(&race.runner[k], s->seed, bias);
    }
    return race;
}

void race_free(struct race *race) {
    for (size_t k = 0; k < race->n; k++) {
        autoencoder_free(&race->runner[k]);
        adam_free(&race->adam[k]);
    }
    free(race->x);
}

/* One row of the table that a race prints, and of its file. */
void print_scores(const struct race *race, const struct score *score, FILE *file, const char *unit,
                  size_t at) {
    printf("  %-5s %4zu", unit, at);
    fprintf(file, "%zu", at);
    for (size_t k = 0; k < race->n; k++) {
        printf("  %10.2f %10.2f", score[k].sq, score[k].bce);
        fprintf(file, "\t%g\t%g\t%g", score[k].sq, score[k].bce, score[k].absolute);
    }
    printf("\n");
    fprintf(file, "\n");
}

void print_heads(const struct race *race, FILE *file, const char *unit) {
    printf("            ");
    for (size_t k = 0; k < race->n; k++) {
        const char *name = loss_name[race->runner[k].kind];
        printf("%*s%s", (int)(24 - strlen(name)), "trained on ", name);
    }
    printf("\n            ");
    fprintf(file, "%s", unit);
    for (size_t k = 0; k < race->n; k++) {
        const char *name = loss_name[race->runner[k].kind];
        printf("    sq.error   bce nats");
        fprintf(file, "\t%s_sq\t%s_bce\t%s_abs", name, name, name);
    }
    printf("\n");
    fprintf(file, "\n");
}

/* Ten test images, one of each digit where the labels are there, and what each runner makes of
   them. */
void draw_reconstructions(const struct settings *s, struct race *race, const struct images *test,
                          const char *name) {
    enum { SHOWN = 10 };
    size_t which[SHOWN] = {0};
    for (size_t d = 0; d < SHOWN; d++)
        for (size_t r = test->count; r-- > 0;)
            if (test->label ? test->label[r] == d : r == d)
                which[d] = r;
    real *sheet = allocate((race->n + 1) * SHOWN * PIXELS, sizeof *sheet);
    gather(sheet, test, which, SHOWN);
    for (size_t k = 0; k < race->n; k++)
        for (size_t d = 0; d < SHOWN; d++) {
            const real *logit = network_forward(&race->runner[k].net, sheet + d * PIXELS, 1);
            sigmoid_forward(sheet + ((k + 1) * SHOWN + d) * PIXELS, logit, 1, PIXELS);
        }
    write_sheet(s->out, name, sheet, race->n + 1, SHOWN, 2);
    free(sheet);
}

/* Trains all runners with Adam and judges them after each epoch. */
void train(const struct settings *s, struct race *race, const struct images *train_set,
           const struct images *test, struct results *results) {
    size_t count = train_set->count, *order = allocate(count, sizeof *order), epoch = 0, steps = 0;
    double share = choose_share(s->pixels);
    struct score start[LOSSES], score[LOSSES];
    struct progress bar = {0};
    struct random random;
    random_seed(&random, s->seed + 1);
    struct output o = open_output(s->out, "training.tsv");
    printf("an autoencoder 784-%zu-784 from one start on the same batches of %zu: Adam, rate %g\n",
           s->hidden, s->batch, s->rate);
    print_heads(race, o.file, "epoch");
    for (size_t k = 0; k < race->n; k++)
        start[k] = score[k] = judge(&race->runner[k], test, test->count, race->x);
    print_scores(race, score, o.file, "epoch", 0);
    while (epoch < s->epochs && !interrupted) {
        shuffle(order, count, &random);
        for (size_t at = 0; at < count && !interrupted; at += s->batch) {
            size_t B = count - at < s->batch ? count - at : s->batch;
            gather(race->x, train_set, order + at, B);
            for (size_t k = 0; k < race->n; k++) {
                double began = seconds();
                struct autoencoder *a = &race->runner[k];
                double loss = autoencoder_gradient(a, NULL, race->x, race->x, B, share);
                require_sense(&bar, loss, own_loss(&start[k], a->kind), JUMP, "the loss", a->kind,
                              "--rate", s->rate);
                adam_step(&race->adam[k], a->net.value, a->net.grad, s->rate);
                race->seconds[k] += seconds() - began;
            }
            steps++;
            show_progress(&bar, ((double)epoch + (double)at / (double)count) / (double)s->epochs,
                          "learning");
        }
        hide_progress(&bar);
        epoch++;
        for (size_t k = 0; k < race->n; k++)
            score[k] = judge(&race->runner[k], test, test->count, race->x);
        print_scores(race, score, o.file, "epoch", epoch);
        for (size_t k = 0; k < race->n; k++) {
            enum loss kind = race->runner[k].kind;
            require_sense(&bar, score[k].bce, start[k].bce, RUNAWAY, "the cross-entropy", kind,
                          "--rate", s->rate);
            result(results, score[k].sq, "", "sq_%s_epoch_%zu", loss_name[kind], epoch);
        }
    }
    close_output(&o);
    if (interrupted)
        printf("  interrupted in epoch %zu, which is therefore incomplete\n", epoch);
    double epochs_done = (double)steps * (double)s->batch / (double)count;
    for (size_t k = 0; k < race->n; k++) {
        const char *name = loss_name[race->runner[k].kind];
        if (k == 0) {
            result(results, score[k].sq, "", "test_sq");
            result(results, score[k].bce, "nats", "test_bce");
            result(results, race->seconds[k] / epochs_done, "s", "epoch_seconds");
        }
        result(results, score[k].sq, "", "test_sq_%s", name);
        result(results, score[k].bce, "nats", "test_bce_%s", name);
        result(results, score[k].absolute, "", "test_abs_%s", name);
    }
    printf("\n");
    draw_reconstructions(s, race, test, "reconstructions.png");
    free(order);
}

/* Plain gradient descent from outputs that are confidently wrong: every bias of the last layer at
   --bias, so that every picture comes out nearly white. Squared and absolute error get twice the
   rate: at xhat = 1/2 that makes their steps as long as those of the cross-entropy. */
void stall(const struct settings *s, const struct images *train_set, const struct images *test,
           struct results *results) {
    enum { EVERY = 5 };
    struct race race = race_new(s, s->bias);
    size_t count = train_set->count, *order = allocate(count, sizeof *order), at = count, step = 0;
    size_t judged = test->count < 500 ? test->count : 500;
    double share = choose_share(s->pixels), escaped[LOSSES] = {0};
    struct score start[LOSSES], score[LOSSES];
    struct progress bar = {0};
    struct random random;
    random_seed(&random, s->seed + 2);
    struct output o = open_output(s->out, "stall.tsv");
    printf("the same start, but every output bias at %g (%.1f %% white): plain descent, rate %g\n",
           s->bias, 100 / (1 + exp(-s->bias)), s->descent_rate);
    print_heads(&race, o.file, "step");
    for (;; step++) {
        int last = step == s->steps || interrupted;
        if (step % EVERY == 0 || last) {
            hide_progress(&bar);
            for (size_t k = 0; k < race.n; k++) {
                score[k] = judge(&race.runner[k], test, judged, race.x);
                if (step == 0)
                    start[k] = score[k];
                if (!escaped[k] && score[k].sq < start[k].sq / 2)
                    escaped[k] = (double)step;
            }
            if (step % (s->steps < 10 ? 1 : s->steps / 10) == 0 || last)
                print_scores(&race, score, o.file, "step", step);
            else {
                fprintf(o.file, "%zu", step);
                for (size_t k = 0; k < race.n; k++)
                    fprintf(o.file, "\t%g\t%g\t%g", score[k].sq, score[k].bce, score[k].absolute);
                fprintf(o.file, "\n");
            }
        }
        for (size_t k = 0; k < race.n && step % EVERY == 0; k++)
            require_sense(&bar, score[k].bce, start[k].bce, RUNAWAY, "the cross-entropy",
                          race.runner[k].kind, "--descent-rate", s->descent_rate);
        if (last)
            break;
        if (at + s->batch > count) {
            shuffle(order, count, &random);
            at = 0;
        }
        size_t B = s->batch < count ? s->batch : count;
        gather(race.x, train_set, order + at, B);
        at += B;
        for (size_t k = 0; k < race.n; k++) {
            struct autoencoder *a = &race.runner[k];
            double rate = s->descent_rate * (a->kind == BCE ? 1 : 2);
            double loss = autoencoder_gradient(a, NULL, race.x, race.x, B, share);
            require_sense(&bar, loss, own_loss(&start[k], a->kind), JUMP, "the loss", a->kind,
                          "--descent-rate", s->descent_rate);
            for (size_t i = 0; i < a->net.parameters; i++)
                a->net.value[i] -= (real)rate * a->net.grad[i];
        }
        show_progress(&bar, (double)step / (double)s->steps, "descending");
    }
    close_output(&o);
    printf("  half of the squared error is gone: ");
    for (size_t k = 0; k < race.n; k++) {
        const char *name = loss_name[race.runner[k].kind];
        printf("%s%s", k ? "; " : "", name);
        printf(escaped[k] ? " after %g steps" : " not yet", escaped[k]);
        if (escaped[k])
            result(results, escaped[k], "steps", "escaped_%s", name);
        result(results, score[k].sq, "", "stall_sq_%s", name);
    }
    printf("\n\n");
    draw_reconstructions(s, &race, test, "stall.png");
    race_free(&race);
    free(order);
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
                         .loss = "all",
                         .pixels = "sum",
                         .seed = 1,
                         .hidden = 32,
                         .epochs = 10,
                         .batch = 64,
                         .steps = 300,
                         .rate = 1e-3,
                         .descent_rate = 5e-3,
                         .bias = 5};
    const struct option table[] = {
        {"--data", "folder of IDX files; try build/curves", 's', &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--loss", "train with: all, bce, squared, absolute", 's', &s.loss, 0, 0},
        {"--pixels", "in the gradients, take the sum or the mean", 's', &s.pixels, 0, 0},
        {"--hidden", "units of the hidden layer", 'n', &s.hidden, 1, 10000},
        {"--epochs", "passes over the training images", 'n', &s.epochs, 1, 100000},
        {"--batch", "images a step", 'n', &s.batch, 1, 60000},
        {"--rate", "step size of Adam", 'x', &s.rate, 1e-9, 100},
        {"--bias", "output bias at the start of the plain descent", 'x', &s.bias, -50, 50},
        {"--descent-rate", "step size of the plain descent", 'x', &s.descent_rate, 1e-9, 100},
        {"--steps", "steps of the plain descent", 'n', &s.steps, 1, 1e7},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table, "three losses: what each asks for, and how each learns");
    use_threads(s.threads);
    enum loss unused[LOSSES];
    choose_losses(unused, s.loss);
    choose_share(s.pixels);

    struct images train_set = read_images(s.data, "train"), test = read_images(s.data, "t10k");
    make_folder(s.out);
    catch_interrupts();
    struct results results;
    open_results(&results);
    draw_losses(&s);
    show_breakdown(&s, &results);
    show_escape(&s, &results);
    show_floor(&train_set, &test, &results);
    show_conventions(&s, &train_set, &results);
    struct race race = race_new(&s, 0);
    forget(s.out, "stall.tsv");
    forget(s.out, "stall.png");
    train(&s, &race, &train_set, &test, &results);
    if (!interrupted)
        stall(&s, &train_set, &test, &results);
    close_results(&results, s.out);
    race_free(&race);
    free_images(&train_set);
    free_images(&test);
    return interrupted ? 130 : 0; /* as the shell says it: ended by signal 2 */
}
#endif
