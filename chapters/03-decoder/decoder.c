/* decoder.c: chapter 3 of "Autoencoders by Hand".

   A decoder turns six numbers into a picture. Here the six are known: each picture shows a curve
   through three random points, and the coordinates of the points are its code. The program trains
   the decoder alone, from coordinates to pictures; then it turns one coordinate at a time and
   looks, measures where in the space of curves it draws well and where badly, and compares it with
   the nearest curve among those it was trained on. At the end it trains an autoencoder whose
   decoder has the encoder's weights, transposed.

   Build it alone:  cc -O2 decoder.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has the files that src/curves.c writes

   Letters: B examples in a batch, one a row; z (B,6) the coordinates, turned into knobs from -1 to
   1; h (B,..) hidden layers; s the sums before an activation; xhat (B,784) the drawing and x
   (B,784) the picture it should be; W (in,out) and b (out) the weights and biases of a layer; d the
   units of the tied autoencoder's code, c (784) the biases of its pixels. dW is the derivative of
   the loss with respect to W, and so on. */
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

#define PROGRAM "decoder"
#define CHAPTER "03-decoder"

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

/* --- reading coordinates ------------------------------------------------------ */
/* The six true numbers behind each curve, x0 y0 x1 y1 x2 y2: where its three points lie. Each is a
   fraction of the picture's width, from 0 (left, top) to 1 (right, bottom). */
enum { KNOBS = 6 };
struct points {
    size_t count;
    float *coordinate; /* (count,6) */
};

/* Reads DIR/SET-points-idx2-float. It must have one line of six numbers for each of the `images`
   images, and every number must be one: a single NaN would spread through all weights at the first
   step. */
struct points read_points(const char *dir, const char *set, size_t images) {
    char path[PATH_MAX], name[64];
    snprintf(name, sizeof name, "%s-points-idx2-float", set);
    if (!find_file(path, sizeof path, dir, name))
        die("%s: has no %s; the decoder needs the true numbers behind the pictures, which "
            "src/curves.c writes",
            dir, name);
    /* Chapter 1's reader knows one size of dimension 2 only, so we look at the header ourselves:
       0x0d stands for floats, 3 dimensions would be pictures, and the second size is at byte 8. */
    unsigned char head[12] = {0};
    gzFile file = gzopen(path, "rb");
    int n = file ? gzread(file, head, sizeof head) : 0;
    if (file)
        gzclose(file);
    unsigned columns = (unsigned)head[8] << 24 | head[9] << 16 | head[10] << 8 | head[11];
    if (n == 12 && head[2] == 0x0d && head[3] == 2 && columns != KNOBS)
        die("%s: has %u numbers to a curve; we need 6", path, columns);

    struct points points;
    unsigned char *bytes = read_idx(&points.count, path, 0xd02, 2, 4 * KNOBS, "curves");
    if (points.count != images)
        die("%s: holds %zu curves for %zu images", path, points.count, images);
    points.coordinate = allocate(points.count * KNOBS, sizeof(float));
    for (size_t i = 0; i < points.count * KNOBS; i++) {
        const unsigned char *b = bytes + 4 * i; /* big-endian, whatever this machine is */
        uint32_t word = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        float value;
        memcpy(&value, &word, sizeof value);
        if (!(value >= 0 && value <= 1)) /* false for a NaN, too */
            die("%s: number %zu of curve %zu is %g; a coordinate lies between 0 and 1", path,
                i % KNOBS, i / KNOBS, value);
        points.coordinate[i] = value;
    }
    free(bytes);
    return points;
}

/* --- knobs -------------------------------------------------------------------- */
/* z (n) = coordinates as knobs that turn from -1 to 1. The points lie in the middle 20 of the 28
   pixels, so a coordinate is 1/2 plus or minus 10/28. */
void knobs(real *z, const float *coordinate, size_t n) {
    for (size_t i = 0; i < n; i++)
        z[i] = (real)((coordinate[i] - 0.5) * SIDE / 10);
}

/* z (steps,6): the curve `from` (6) again and again, with one knob turned from -1 to 1. */
void turn_knob(real *z, const real *from, size_t knob, size_t steps) {
    for (size_t t = 0; t < steps; t++) {
        memcpy(z + t * KNOBS, from, KNOBS * sizeof *z);
        z[t * KNOBS + knob] = -1 + 2 * (real)t / (real)(steps - 1);
    }
}

/* --- decoder ------------------------------------------------------------------ */
/* xhat = sigmoid(W3 h2 + b3), h2 = relu(W2 h1 + b2), h1 = relu(W1 z + b1): ReLU between the layers,
   a sigmoid at the end. size[0] is the number of knobs, size[depth] that of the pixels. */
struct network decoder_new(const size_t *size, size_t depth, size_t batch) {
    enum activation f[MAX_LAYERS];
    for (size_t l = 0; l < depth; l++)
        f[l] = l + 1 < depth ? RELU : SIGMOID;
    return network_new(size, f, depth, batch);
}

/* The inverse of the sigmoid: which s has sigmoid(s) = p? */
double logit(double p) {
    return log(p / (1 - p));
}

/* He's start below a ReLU, Xavier's below the sigmoid, and the last biases so that a fresh decoder
   paints pictures of the mean brightness `mean`. */
void decoder_start(struct network *net, double mean, struct random *r) {
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        int last = l + 1 == net->depth;
        layer_start(y, last ? xavier_limit(y->in, y->out) : he_limit(y->in, y->out), r);
        for (size_t j = 0; last && j < y->out; j++)
            y->b[j] = (real)logit(mean);
    }
}

/* Draws B curves z (B,6) and compares them with their pictures x (B,pixels). Returns the loss and
   leaves its gradient in the network; example (B) gets each picture's error. dz (B,6) += the
   gradient of the knobs; it may be NULL, for in training they are what they are. */
double decoder_gradient(struct network *net, real *dz, double *example, const real *z,
                        const real *x, size_t B) {
    size_t pixels = net->layer[net->depth - 1].out;
    network_zero(net);
    const real *xhat = network_forward(net, z, B);
    double loss = squared_error_forward(example, xhat, x, B, pixels);
    squared_error_backward(net->dlast, xhat, x, B, pixels);
    network_backward(net, dz, z, B);
    return loss;
}

/* --- falling rate ------------------------------------------------------------- */
/* The learning rate when a part `done` (0 to 1) of the training is over: half a period of a cosine,
   from `rate` down to a hundredth of it. Large steps first, to get there; small ones at the end, to
   settle. */
double falling_rate(double rate, double done) {
    const double pi = 3.14159265358979323846;
    return rate * (0.01 + 0.99 * (1 + cos(pi * done)) / 2);
}

/* --- nearest curves ----------------------------------------------------------- */
/* Read from its other end, a curve has the knobs x2 y2 x1 y1 x0 y0: which of its own is the j-th? */
size_t from_other_end(size_t j) {
    return 2 * (2 - j / 2) + j % 2;
}

/* The squared distance between two curves in knobs, or rather of the nearer of their two readings:
   a curve that is read from its other end is the same curve. */
real curve_distance(const real *z, const real *other) {
    real there = 0, back = 0;
    for (size_t j = 0; j < KNOBS; j++) {
        size_t k = from_other_end(j);
        there += (z[j] - other[j]) * (z[j] - other[j]);
        back += (z[j] - other[k]) * (z[j] - other[k]);
    }
    return there < back ? there : back;
}

/* which (k) = the k of `count` known curves (count,6) that are nearest to z (6), nearest first. */
void nearest_curves(size_t *which, size_t k, const real *z, const real *known, size_t count) {
    enum { MOST = 32 };
    real distance[MOST];
    size_t have = 0;
    k = k < MOST ? k : MOST;
    for (size_t i = 0; i < count; i++) {
        real d = curve_distance(z, known + i * KNOBS);
        if (have == k && d >= distance[k - 1])
            continue;
        /* The new one goes to its place; what is farther moves up, and the last falls out. */
        size_t at = have < k ? have++ : k - 1;
        for (; at > 0 && distance[at - 1] > d; at--) {
            distance[at] = distance[at - 1];
            which[at] = which[at - 1];
        }
        distance[at] = d;
        which[at] = i;
    }
}

/* The number of the known image (count,784) that is nearest to x (784) in pixels. This one looks at
   the answer: no lookup in the training pictures can do better. */
size_t nearest_image(const unsigned char *x, const unsigned char *known, size_t count) {
    size_t best = 0;
    int smallest = INT_MAX;
    for (size_t i = 0; i < count; i++) {
        int sum = 0;
        LANES
        for (size_t p = 0; p < PIXELS; p++) {
            int difference = x[p] - known[i * PIXELS + p];
            sum += difference * difference;
        }
        if (sum < smallest) {
            smallest = sum;
            best = i;
        }
    }
    return best;
}

/* --- transposed layer --------------------------------------------------------- */
/* s (B,in) = W^T h + c for each row of h (B,out), with the W (in,out) of a layer that leads the
   other way. It is the sum by which chapter 1 computes dx, and a bias. */
void transposed_forward(real *s, const real *h, const real *W, const real *c, size_t B, size_t in,
                        size_t out) {
    PARALLEL
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < in; i++) {
            real sum = c[i];
            LANES
            for (size_t j = 0; j < out; j++)
                sum += h[r * out + j] * W[i * out + j];
            s[r * in + i] = sum;
        }
}

/* From ds (B,in):
     dW (in,out) += sum over r of ds_ri h_rj
     dc (in)     += sum over r of ds_ri
     dh (B,out)  += sum over i of ds_ri W_ji     (chapter 1's forward sum) */
void transposed_backward(real *dW, real *dc, real *dh, const real *ds, const real *h, const real *W,
                         size_t B, size_t in, size_t out) {
    PARALLEL
    for (size_t i = 0; i < in; i++)
        for (size_t r = 0; r < B; r++) {
            dc[i] += ds[r * in + i];
            for (size_t j = 0; j < out; j++)
                dW[i * out + j] += ds[r * in + i] * h[r * out + j];
        }
    PARALLEL
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < in; i++)
            for (size_t j = 0; j < out; j++)
                dh[r * out + j] += ds[r * in + i] * W[i * out + j];
}

/* --- tied autoencoder --------------------------------------------------------- */
/* z = f(W x + b), xhat = sigmoid(W^T z + c): one matrix, used twice. */
struct tied {
    size_t n, d, batch; /* pixels, units of the code, room for rows */
    enum activation f;
    size_t parameters;
    real *value, *grad;             /* (parameters) W, b, c one after another */
    real *W, *b, *c, *dW, *db, *dc; /* (n,d), (d), (n) */
    real *activity;                 /* (4 * batch * (d + n)) all of these: */
    real *s1, *z, *s2, *xhat;       /* (batch,d) twice, (batch,n) twice */
    real *ds1, *dz, *ds2, *dxhat;   /* the same */
    struct tensor tensor[3];
};

struct tied tied_new(size_t n, size_t d, enum activation f, size_t batch) {
    struct tied t = {.n = n, .d = d, .batch = batch, .f = f, .parameters = n * d + d + n};
    t.value = allocate(t.parameters, sizeof(real));
    t.grad = allocate(t.parameters, sizeof(real));
    t.activity = allocate(4 * batch * (d + n), sizeof(real));
    real *value = t.value, *grad = t.grad, *activity = t.activity;
    t.W = take(&value, n * d);
    t.b = take(&value, d);
    t.c = take(&value, n);
    t.dW = take(&grad, n * d);
    t.db = take(&grad, d);
    t.dc = take(&grad, n);
    t.s1 = take(&activity, batch * d); /* forwards: the first half of the block */
    t.z = take(&activity, batch * d);
    t.s2 = take(&activity, batch * n);
    t.xhat = take(&activity, batch * n);
    t.ds1 = take(&activity, batch * d); /* backwards: the second */
    t.dz = take(&activity, batch * d);
    t.ds2 = take(&activity, batch * n);
    t.dxhat = take(&activity, batch * n);
    t.tensor[0] = (struct tensor){"W", n, d, t.W, t.dW};
    t.tensor[1] = (struct tensor){"b", 1, d, t.b, t.db};
    t.tensor[2] = (struct tensor){"c", 1, n, t.c, t.dc};
    return t;
}

void tied_free(struct tied *t) {
    free(t->value);
    free(t->grad);
    free(t->activity);
}

/* As network_zero: all gradients, and the half of the activity that belongs to the way back. */
void tied_zero(struct tied *t) {
    size_t half = 2 * t->batch * (t->d + t->n);
    memset(t->grad, 0, t->parameters * sizeof(real));
    memset(t->activity + half, 0, half * sizeof(real));
}

/* Returns xhat (B,n). */
const real *tied_forward(struct tied *t, const real *x, size_t B) {
    dense_forward(t->s1, x, t->W, t->b, B, t->n, t->d);
    activation_forward(t->z, t->s1, t->f, B * t->d);
    transposed_forward(t->s2, t->z, t->W, t->c, B, t->n, t->d);
    activation_forward(t->xhat, t->s2, SIGMOID, B * t->n);
    return t->xhat;
}

/* The decoder's half: from dxhat, which the caller has filled, to dc, dz, and the first share of
   dW. */
void tied_backward_decoder(struct tied *t, size_t B) {
    activation_backward(t->ds2, t->dxhat, t->xhat, SIGMOID, B * t->n);
    transposed_backward(t->dW, t->dc, t->dz, t->ds2, t->z, t->W, B, t->n, t->d);
}

/* The encoder's half: from dz to db and the second share of dW, on top of the first. dx (B,n) may
   be NULL. */
void tied_backward_encoder(struct tied *t, real *dx, const real *x, size_t B) {
    activation_backward(t->ds1, t->dz, t->z, t->f, B * t->d);
    dense_backward(t->dW, t->db, dx, t->ds1, x, t->W, B, t->n, t->d);
}

#ifndef WORKBOOK_TEST

/* === the program ========================================================================== */

struct settings {
    const char *data, *out, *start;
    size_t epochs, batch, seed, threads, reverse, curve, code, tied_epochs;
    double rate;
    struct sizes layers;
};

/* Curves with their knobs. */
struct curves {
    struct images images;
    struct points points;
    size_t count;
    real *z; /* (count,6) */
};

struct curves read_curves(const char *dir, const char *set) {
    struct curves c = {.images = read_images(dir, set)};
    c.count = c.images.count;
    c.points = read_points(dir, set, c.count);
    c.z = allocate(c.count * KNOBS, sizeof(real));
    knobs(c.z, c.points.coordinate, c.count * KNOBS);
    return c;
}

void free_curves(struct curves *c) {
    free_images(&c->images);
    free(c->points.coordinate);
    free(c->z);
}

/* mean (784) = the mean picture. Returns its mean brightness. */
double mean_picture(real *mean, const struct curves *c) {
    double total = 0;
    for (size_t p = 0; p < PIXELS; p++) {
        double sum = 0;
        for (size_t i = 0; i < c->count; i++)
            sum += c->images.pixel[i * PIXELS + p];
        mean[p] = (real)(sum / 255 / (double)c->count);
        total += mean[p];
    }
    return total / PIXELS;
}

enum { ROWS = 500 }; /* how many pictures we evaluate at once */

/* error (count) = squared error of the decoder's drawing of each curve. Returns their mean. */
double draw_all(struct network *net, double *error, const struct curves *c) {
    real *x = allocate(ROWS * PIXELS, sizeof *x);
    double sum = 0;
    for (size_t i = 0; i < c->count; i += ROWS) {
        size_t B = c->count - i < ROWS ? c->count - i : ROWS;
        const real *xhat = network_forward(net, c->z + i * KNOBS, B);
        brightness(x, c->images.pixel + i * PIXELS, B * PIXELS);
        sum += squared_error_forward(error + i, xhat, x, B, PIXELS) * (double)B;
    }
    free(x);
    return sum / (double)c->count;
}

/* Steps that are far too large throw the weights to where no gradient brings them back. The error is
   then a multiple of what it was before the first step, or not a number. (The 1 is for pictures so
   black that the error before was next to nothing.) */
void require_learning(double error, double before, double rate) {
    if (!(error <= 2 * before + 1))
        die("the test error was %.3g before training and is %.3g now: the steps are too large; try "
            "--rate %g",
            before, error, rate / 10);
}

/* The experiments. Each prints a table and writes what plot.gp needs. */

/* Trains until the epochs are over or Ctrl-C is pressed. */
void train(const struct settings *s, struct network *net, const struct curves *known,
           const struct curves *unknown, struct random *r, struct results *results) {
    size_t B = s->batch < known->count ? s->batch : known->count, steps = known->count / B;
    struct adam adam = adam_new(net->parameters);
    size_t *order = allocate(known->count, sizeof *order);
    real *x = allocate(B * PIXELS, sizeof *x), *z = allocate(B * KNOBS, sizeof *z);
    double *example = allocate(B, sizeof *example);
    double *error = allocate(unknown->count, sizeof *error);
    double *history = allocate(2 * s->epochs, sizeof *history); /* (epochs,2) training, test */
    printf("squared error of a picture, summed over its 784 pixels\n"
           "  epoch  training     test  seconds\n");
    struct progress bar = {0};
    double busy = 0, loss = 0, fresh = draw_all(net, error, unknown), test = fresh;
    size_t epoch = 0;
    for (; epoch < s->epochs && !interrupted; epoch++) {
        double began = seconds(), sum = 0;
        shuffle(order, known->count, r);
        size_t step = 0;
        for (; step < steps && !interrupted; step++) {
            const size_t *which = order + step * B;
            gather(x, &known->images, which, B);
            for (size_t i = 0; i < B; i++) {
                int back = s->reverse && random_bits(r) >> 63; /* toss a coin for each curve */
                for (size_t j = 0; j < KNOBS; j++)
                    z[i * KNOBS + j] = known->z[which[i] * KNOBS + (back ? from_other_end(j) : j)];
            }
            sum += decoder_gradient(net, NULL, example, z, x, B);
            double done = (double)(epoch * steps + step) / (double)(s->epochs * steps);
            adam_step(&adam, net->value, net->grad, falling_rate(s->rate, done));
            show_progress(&bar, done, "training");
        }
        busy += seconds() - began;
        loss = sum / (double)(step ? step : 1);
        test = draw_all(net, error, unknown);
        hide_progress(&bar);
        require_learning(test, fresh, s->rate);
        printf("  %5zu  %8.3f %8.3f %8.2f%s\n", epoch + 1, loss, test, seconds() - began,
               interrupted ? "  interrupted" : "");
        history[2 * epoch] = loss;
        history[2 * epoch + 1] = test;
    }
    printf("\n");
    double gradient = 0; /* of the last step: how much is there left to go by? */
    for (size_t k = 0; k < net->parameters; k++)
        gradient += fabs((double)net->grad[k]) / (double)net->parameters;
    struct output o = open_output(s->out, "learning.tsv");
    fprintf(o.file, "epoch\ttrain\ttest\n0\tnan\t%g\n", fresh);
    for (size_t e = 0; e < epoch; e++)
        fprintf(o.file, "%zu\t%g\t%g\n", e + 1, history[2 * e], history[2 * e + 1]);
    close_output(&o);
    free(history);
    result(results, (double)epoch, "epochs", "epochs");
    if (epoch)
        result(results, loss, "", "train_sq");
    result(results, fresh, "", "fresh_sq");
    result(results, test, "", "test_sq");
    if (epoch) {
        result(results, gradient, "", "last_gradient");
        result(results, busy / (double)epoch, "s", "epoch_seconds");
    }
    adam_free(&adam);
    free(order);
    free(x);
    free(z);
    free(example);
    free(error);
}

/* |a - b|^2 over 784 pixels */
double picture_distance(const real *a, const real *b) {
    double example[1];
    return squared_error_forward(example, a, b, 1, PIXELS);
}

/* Is a lookup in the training curves as good? Writes the comparison as numbers and as a picture,
   and each test curve's error by lookup to nearest_error (count). */
void compare_lookups(const struct settings *s, struct network *net, const struct curves *known,
                     const struct curves *unknown, const real *mean, const double *error,
                     double *nearest_error, struct results *results) {
    enum { MANY = 8, SHOWN = 14, COSTLY = 1000 };
    const unsigned char *pixel = known->images.pixel;
    size_t n = unknown->count, few = n < COSTLY ? n : COSTLY;
    size_t *near = allocate(n * MANY, sizeof *near), *similar = allocate(few, sizeof *similar);
    double *apart = allocate(n, sizeof *apart), *several = allocate(n, sizeof *several);
    double *best = allocate(few, sizeof *best);
    size_t k = known->count < MANY ? known->count : MANY;
    /* The lookups by knobs, which see what the decoder sees. */
    PARALLEL
    for (size_t i = 0; i < n; i++) {
        real x[PIXELS], y[PIXELS], average[PIXELS] = {0};
        nearest_curves(near + i * MANY, k, unknown->z + i * KNOBS, known->z, known->count);
        brightness(x, unknown->images.pixel + i * PIXELS, PIXELS);
        for (size_t m = k; m-- > 0;) { /* the nearest last, so that it stays in y */
            brightness(y, pixel + near[i * MANY + m] * PIXELS, PIXELS);
            for (size_t p = 0; p < PIXELS; p++)
                average[p] += y[p] / (real)k;
        }
        nearest_error[i] = picture_distance(x, y);
        several[i] = picture_distance(x, average);
        apart[i] = sqrt(curve_distance(unknown->z + i * KNOBS, known->z + near[i * MANY] * KNOBS));
    }
    /* The lookup by pixels, which sees the answer. It compares 784 numbers where the other compares
       six, so it gets fewer curves. */
    PARALLEL
    for (size_t i = 0; i < few; i++) {
        real x[PIXELS], y[PIXELS];
        similar[i] = nearest_image(unknown->images.pixel + i * PIXELS, pixel, known->count);
        brightness(x, unknown->images.pixel + i * PIXELS, PIXELS);
        brightness(y, pixel + similar[i] * PIXELS, PIXELS);
        best[i] = picture_distance(x, y);
    }

    /* Means over the test curves, added up by one core in one order. */
    double black = 0, gray = 0, lookup = 0, average = 0, step = 0, here = 0, here_few = 0;
    double cheat = 0, wins = 0;
    const real nothing[PIXELS] = {0};
    for (size_t i = 0; i < n; i++) {
        real x[PIXELS];
        brightness(x, unknown->images.pixel + i * PIXELS, PIXELS);
        black += picture_distance(x, nothing) / (double)n;
        gray += picture_distance(x, mean) / (double)n;
        lookup += nearest_error[i] / (double)n;
        average += several[i] / (double)n;
        step += apart[i] / (double)n;
        here += error[i] / (double)n;
        wins += 100.0 * (error[i] < nearest_error[i]) / (double)n;
    }
    for (size_t i = 0; i < few; i++) {
        cheat += best[i] / (double)few;
        here_few += error[i] / (double)few;
    }
    printf("who draws the test curves best? squared error of a picture\n"
           "  all black                              %8.3f\n"
           "  the mean training picture              %8.3f\n"
           "  the training curve nearest in knobs    %8.3f\n"
           "  the mean of the %zu nearest in knobs     %8.3f\n"
           "  the decoder                            %8.3f\n"
           "  on the first %zu curves only:\n"
           "  the training picture nearest in pixels %8.3f   (it looks at the answer)\n"
           "  the decoder                            %8.3f\n"
           "  The decoder beats the nearest curve on %.1f %% of the test curves.\n\n",
           black, gray, lookup, k, average, here, few, cheat, here_few, wins);
    result(results, black, "", "black_sq");
    result(results, gray, "", "mean_sq");
    result(results, lookup, "", "nearest_sq");
    result(results, average, "", "nearest_mean_sq");
    result(results, cheat, "", "nearest_pixels_sq");
    result(results, here_few, "", "test_sq_first");
    result(results, wins, "%", "wins");
    /* From the root of a sum over six knobs to pixels a coordinate: a knob of 1 is ten pixels. */
    result(results, step, "", "nearest_distance");
    result(results, step / sqrt(6) * 10, "pixels", "nearest_pixels_apart");

    /* Rows: true, decoder, nearest curve, nearest picture. */
    size_t cols = few < SHOWN ? few : SHOWN;
    real *sheet = allocate(4 * cols * PIXELS, sizeof *sheet);
    brightness(sheet, unknown->images.pixel, cols * PIXELS);
    memcpy(sheet + cols * PIXELS, network_forward(net, unknown->z, cols),
           cols * PIXELS * sizeof *sheet);
    for (size_t i = 0; i < cols; i++) {
        brightness(sheet + (2 * cols + i) * PIXELS, pixel + near[i * MANY] * PIXELS, PIXELS);
        brightness(sheet + (3 * cols + i) * PIXELS, pixel + similar[i] * PIXELS, PIXELS);
    }
    write_sheet(s->out, "compare.png", sheet, 4, cols, 2);
    free(sheet);
    free(near);
    free(similar);
    free(apart);
    free(several);
    free(best);
}

/* Six strips: each turns one knob from end to end and leaves the other five. Then the same in steps
   a hundred times finer, to see whether the picture moves or jumps. */
void turn_knobs(const struct settings *s, struct network *net, const struct curves *known,
                const struct curves *unknown, struct results *results) {
    enum { FRAMES = 13, FINE = 401 };
    const real *from = unknown->z + s->curve * KNOBS;
    real *z = allocate(FINE * KNOBS, sizeof *z);
    real *sheet = allocate(KNOBS * FRAMES * PIXELS, sizeof *sheet);
    for (size_t k = 0; k < KNOBS; k++) {
        turn_knob(z, from, k, FRAMES);
        memcpy(sheet + k * FRAMES * PIXELS, network_forward(net, z, FRAMES),
               FRAMES * PIXELS * sizeof *sheet);
    }
    write_sheet(s->out, "strips.png", sheet, KNOBS, FRAMES, 2);

    /* How far does the picture go in one step of 1/200, that is 1/20 of a pixel? */
    double largest = 0, largest_lookup = 0, total = 0, total_lookup = 0;
    size_t jumps = 0;
    struct output o = open_output(s->out, "steps.tsv");
    fprintf(o.file, "knob\tposition\tdecoder\tlookup\n");
    for (size_t k = 0; k < KNOBS; k++) {
        turn_knob(z, from, k, FINE);
        const real *xhat = network_forward(net, z, FINE);
        real x[PIXELS] = {0}, before[PIXELS];
        for (size_t t = 0; t < FINE; t++) {
            size_t which = 0;
            nearest_curves(&which, 1, z + t * KNOBS, known->z, known->count);
            memcpy(before, x, sizeof x);
            brightness(x, known->images.pixel + which * PIXELS, PIXELS);
            if (!t) /* a first picture has not moved */
                continue;
            double moved = sqrt(picture_distance(xhat + t * PIXELS, xhat + (t - 1) * PIXELS));
            double jumped = sqrt(picture_distance(x, before));
            fprintf(o.file, "%zu\t%g\t%g\t%g\n", k + 1, (double)z[t * KNOBS + k], moved, jumped);
            largest = fmax(largest, moved);
            largest_lookup = fmax(largest_lookup, jumped);
            total += moved;
            total_lookup += jumped;
            jumps += jumped > 0;
        }
        fprintf(o.file, "\n\n");
    }
    close_output(&o);
    printf("turning each knob of test curve %zu from end to end in %d small steps\n"
           "  the decoder's picture moves at most %6.3f in a step, %7.1f on the whole way\n"
           "  the nearest curve's moves at most   %6.3f in a step, %7.1f on the whole way, in %zu "
           "jumps\n\n",
           s->curve, FINE - 1, largest, total, largest_lookup, total_lookup, jumps);
    result(results, largest, "", "largest_move");
    result(results, largest_lookup, "", "largest_move_lookup");
    result(results, (double)jumps, "jumps", "lookup_jumps");
    free(z);
    free(sheet);
}

/* Nobody told the decoder that a curve can be read from either end. Does it know? */
void read_backwards(struct network *net, const struct curves *unknown, struct results *results) {
    real *z = allocate(ROWS * KNOBS, sizeof *z), *x = allocate(ROWS * PIXELS, sizeof *x);
    double *example = allocate(ROWS, sizeof *example);
    size_t B = unknown->count < ROWS ? unknown->count : ROWS;
    memcpy(x, network_forward(net, unknown->z, B), B * PIXELS * sizeof *x);
    for (size_t i = 0; i < B; i++)
        for (size_t j = 0; j < KNOBS; j++)
            z[i * KNOBS + j] = unknown->z[i * KNOBS + from_other_end(j)];
    double apart = squared_error_forward(example, network_forward(net, z, B), x, B, PIXELS);
    printf("the two readings of a curve give drawings that are %.3f apart\n\n", apart);
    result(results, apart, "", "readings_apart");
    free(z);
    free(x);
    free(example);
}

/* The length of a curve in pixels, from 64 straight pieces. */
double curve_length(const float *p) {
    double length = 0, ax = p[0], ay = p[1];
    for (int k = 1; k <= 64; k++) {
        double t = k / 64.0, a = (1 - t) * (1 - t), b = 2 * t * (1 - t), c = t * t;
        double x = a * p[0] + b * p[2] + c * p[4], y = a * p[1] + b * p[3] + c * p[5];
        length += sqrt((x - ax) * (x - ax) + (y - ay) * (y - ay));
        ax = x, ay = y;
    }
    return length * SIDE;
}

/* The mean error of the test curves, by where their points lie and by their length. */
void map_errors(const struct settings *s, const struct curves *c, const double *error,
                const double *nearest_error, struct results *results) {
    enum { CELLS = 10, LENGTHS = 14 };
    double sum[3][CELLS * CELLS] = {{0}}, n[3][CELLS * CELLS] = {{0}};
    double drawn[LENGTHS] = {0}, looked_up[LENGTHS] = {0}, curves[LENGTHS] = {0};
    for (size_t i = 0; i < c->count; i++) {
        for (size_t point = 0; point < 3; point++) {
            size_t cell[2]; /* column and row; rounding may put a point just outside */
            for (size_t axis = 0; axis < 2; axis++) {
                double at = ((double)c->z[i * KNOBS + 2 * point + axis] + 1) / 2 * CELLS;
                cell[axis] = at < 0 ? 0 : at < CELLS ? (size_t)at : CELLS - 1;
            }
            sum[point][cell[1] * CELLS + cell[0]] += error[i];
            n[point][cell[1] * CELLS + cell[0]]++;
        }
        /* Two pixels to a class; the longest share the last. */
        size_t length = (size_t)(curve_length(c->points.coordinate + i * KNOBS) / 2);
        length = length < LENGTHS ? length : LENGTHS - 1;
        drawn[length] += error[i];
        looked_up[length] += nearest_error[i];
        curves[length]++;
    }
    struct output o = open_output(s->out, "grid.tsv");
    fprintf(o.file, "x\ty\tmiddle\tend\n");
    double inner = 0, outer = 0, inner_n = 0, outer_n = 0;
    for (size_t y = 0; y < CELLS; y++) {
        for (size_t x = 0; x < CELLS; x++) {
            size_t k = y * CELLS + x;
            double ends = n[0][k] + n[2][k]; /* which end comes first is chance: one map for both */
            /* The cell's middle in pixels. A cell without points is nan, which gnuplot leaves out. */
            fprintf(o.file, "%g\t%g", 4 + ((double)x + 0.5) * 20 / CELLS,
                    4 + ((double)y + 0.5) * 20 / CELLS);
            fprintf(o.file, n[1][k] ? "\t%g" : "\tnan", sum[1][k] / n[1][k]);
            fprintf(o.file, ends ? "\t%g\n" : "\tnan\n", (sum[0][k] + sum[2][k]) / ends);
            int corner = (x < 2 || x >= CELLS - 2) && (y < 2 || y >= CELLS - 2);
            int centre = x >= 3 && x < CELLS - 3 && y >= 3 && y < CELLS - 3;
            inner += centre ? sum[1][k] : 0, inner_n += centre ? n[1][k] : 0;
            outer += corner ? sum[1][k] : 0, outer_n += corner ? n[1][k] : 0;
        }
        fprintf(o.file, "\n");
    }
    close_output(&o);
    o = open_output(s->out, "length.tsv");
    fprintf(o.file, "length\tdecoder\tlookup\tcurves\n");
    for (size_t k = 0; k < LENGTHS; k++)
        if (curves[k] >= 10) /* a mean of less says little */
            fprintf(o.file, "%zu\t%g\t%g\t%g\n", 2 * k + 1, drawn[k] / curves[k],
                    looked_up[k] / curves[k], curves[k]);
    close_output(&o);
    if (inner_n > 0 && outer_n > 0) {
        printf("the decoder's error by where the middle point lies\n"
               "  in the middle of the picture  %8.3f\n  in a corner                   %8.3f\n\n",
               inner / inner_n, outer / outer_n);
        result(results, inner / inner_n, "", "middle_sq");
        result(results, outer / outer_n, "", "corner_sq");
    }
}

/* The mean test error of a tied autoencoder, or of an untied one (net) where that is given. */
double reconstruct_all(struct tied *t, struct network *net, const struct curves *c) {
    real *x = allocate(ROWS * PIXELS, sizeof *x);
    double *example = allocate(ROWS, sizeof *example), sum = 0;
    for (size_t i = 0; i < c->count; i += ROWS) {
        size_t B = c->count - i < ROWS ? c->count - i : ROWS;
        brightness(x, c->images.pixel + i * PIXELS, B * PIXELS);
        const real *xhat = net ? network_forward(net, x, B) : tied_forward(t, x, B);
        sum += squared_error_forward(example, xhat, x, B, PIXELS) * (double)B;
    }
    free(x);
    free(example);
    return sum / (double)c->count;
}

/* Trains 784-d-784 on the curves, from the same start each time: with two matrices, with one, and
   with one of whose two shares of the gradient we throw one away. */
void train_tied(const struct settings *s, const struct curves *known, const struct curves *unknown,
                double mean, struct results *results) {
    static const char *text[4] = {"two matrices", "one matrix, both shares",
                                  "one matrix, the encoder's share lost",
                                  "one matrix, the decoder's share lost"};
    static const char *name[4] = {"untied", "tied", "tied_encoder_lost", "tied_decoder_lost"};
    size_t d = s->code, B = s->batch < known->count ? s->batch : known->count;
    size_t steps = known->count / B, room = B > ROWS ? B : ROWS;
    size_t *order = allocate(known->count, sizeof *order);
    real *x = allocate(B * PIXELS, sizeof *x), *keep = allocate(PIXELS * d, sizeof *keep);
    double before = 0; /* the error of the common start */
    struct progress bar = {0};
    printf("an autoencoder 784-%zu-784 on the curves, %zu epoch%s\n"
           "  weights                                 parameters  test error\n",
           d, s->tied_epochs, s->tied_epochs == 1 ? "" : "s");
    for (int way = 0; way < 4; way++) {
        struct random r;
        random_seed(&r, s->seed);
        struct tied t = tied_new(PIXELS, d, RELU, room);
        double limit = xavier_limit(PIXELS, d);
        for (size_t k = 0; k < PIXELS * d; k++)
            t.W[k] = (real)random_uniform(&r, -limit, limit);
        for (size_t i = 0; i < PIXELS; i++)
            t.c[i] = (real)logit(mean);
        struct network net =
            network_new((size_t[]){PIXELS, d, PIXELS}, (enum activation[]){RELU, SIGMOID}, 2, room);
        /* The untied one begins with the same numbers, and may then let the two copies part. */
        memcpy(net.layer[0].W, t.W, PIXELS * d * sizeof(real));
        for (size_t i = 0; i < PIXELS; i++)
            for (size_t j = 0; j < d; j++)
                net.layer[1].W[j * PIXELS + i] = t.W[i * d + j];
        memcpy(net.layer[1].b, t.c, PIXELS * sizeof(real));

        if (way == 0)
            before = reconstruct_all(&t, NULL, unknown);
        size_t parameters = way ? t.parameters : net.parameters;
        real *value = way ? t.value : net.value, *grad = way ? t.grad : net.grad;
        struct adam adam = adam_new(parameters);
        for (size_t epoch = 0; epoch < s->tied_epochs && !interrupted; epoch++) {
            shuffle(order, known->count, &r);
            for (size_t step = 0; step < steps && !interrupted; step++) {
                gather(x, &known->images, order + step * B, B);
                if (way) {
                    tied_zero(&t);
                    tied_forward(&t, x, B);
                    squared_error_backward(t.dxhat, t.xhat, x, B, PIXELS);
                    tied_backward_decoder(&t, B);
                    memcpy(keep, t.dW, PIXELS * d * sizeof *keep); /* the decoder's share */
                    if (way == 3)
                        memset(t.dW, 0, PIXELS * d * sizeof *keep);
                    tied_backward_encoder(&t, NULL, x, B);
                    if (way == 2)
                        memcpy(t.dW, keep, PIXELS * d * sizeof *keep);
                } else {
                    network_zero(&net);
                    const real *xhat = network_forward(&net, x, B);
                    squared_error_backward(net.dlast, xhat, x, B, PIXELS);
                    network_backward(&net, NULL, x, B);
                }
                double part = (double)(epoch * steps + step) / (double)(s->tied_epochs * steps);
                adam_step(&adam, value, grad, falling_rate(s->rate, part));
                show_progress(&bar, (way + part) / 4, "tying");
            }
        }
        hide_progress(&bar);
        if (!interrupted) {
            double error = reconstruct_all(&t, way ? NULL : &net, unknown);
            require_learning(error, before, s->rate);
            printf("  %-38s  %10zu  %10.3f\n", text[way], parameters, error);
            result(results, (double)parameters, "parameters", "parameters_%s", name[way]);
            result(results, error, "", "sq_%s", name[way]);
        }
        adam_free(&adam);
        network_free(&net);
        tied_free(&t);
    }
    printf("\n");
    free(order);
    free(x);
    free(keep);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    const size_t usual_curve = 2;     /* a long one, bent once */
    struct settings s = {.data = "build/curves",
                         .out = "build/" CHAPTER,
                         .start = "mean",
                         .epochs = 12,
                         .batch = 100,
                         .rate = 0.008,
                         .seed = 1,
                         .curve = usual_curve,
                         .code = 32,
                         .tied_epochs = 2,
                         .layers = {4, {KNOBS, 100, 400, PIXELS}}};
    const struct option table[] = {
        {"--data", "folder of curves, pictures and coordinates", 's', &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--layers", "widths, from the knobs to the pixels", 'l', &s.layers, 1, 10000},
        {"--epochs", "how often each curve is used", 'n', &s.epochs, 0, 100000},
        {"--batch", "curves in a step", 'n', &s.batch, 1, 10000},
        {"--rate", "step size of Adam at the start; it falls to 1/100", 'x', &s.rate, 1e-9, 10},
        {"--start", "the last biases: mean (brightness) or zero", 's', &s.start, 0, 0},
        {"--reverse", "1: read every other curve from its end", 'n', &s.reverse, 0, 1},
        {"--curve", "the test curve whose knobs are turned", 'n', &s.curve, 0, 1e9},
        {"--code", "units of the tied autoencoder", 'n', &s.code, 1, 10000},
        {"--tied-epochs", "how long it is trained; 0: not at all", 'n', &s.tied_epochs, 0, 100000},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table,
                  "draws curves from their six true numbers, and turns the knobs");
    if (s.layers.n < 2 || s.layers.size[0] != KNOBS || s.layers.size[s.layers.n - 1] != PIXELS)
        bad_option("--layers", NULL, "must begin with 6, the knobs, and end with 784, the pixels");
    int from_mean = strcmp(s.start, "mean") == 0;
    if (!from_mean && strcmp(s.start, "zero") != 0)
        bad_option("--start", s.start, "is neither mean nor zero");
    use_threads(s.threads);
    struct curves known = read_curves(s.data, "train"), unknown = read_curves(s.data, "t10k");
    if (s.curve == usual_curve && s.curve >= unknown.count)
        s.curve = unknown.count - 1; /* a tiny set */
    if (s.curve >= unknown.count)
        bad_option("--curve", NULL, "is beyond the last test curve; they are counted from 0");
    make_folder(s.out);
    catch_interrupts();

    struct results results;
    open_results(&results);
    struct random r;
    random_seed(&r, s.seed);
    real mean[PIXELS];
    /* Pictures that are all black or all white would have an infinite logit. */
    double level = fmin(fmax(mean_picture(mean, &known), 1e-6), 1 - 1e-6);
    struct network net =
        decoder_new(s.layers.size, s.layers.n - 1, s.batch > ROWS ? s.batch : ROWS);
    decoder_start(&net, from_mean ? level : 0.5, &r);
    printf("a decoder");
    for (size_t l = 0; l < s.layers.n; l++)
        printf("%s%zu", l ? "-" : " ", s.layers.size[l]);
    printf(", %zu parameters; %zu curves to train on, %zu to test; mean brightness %.4f\n\n",
           net.parameters, known.count, unknown.count, level);
    result(&results, (double)net.parameters, "parameters", "parameters");
    result(&results, level, "", "mean_brightness");
    result(&results, logit(level), "", "mean_logit");

    train(&s, &net, &known, &unknown, &r, &results);
    double *error = allocate(unknown.count, sizeof *error);
    double *nearest_error = allocate(unknown.count, sizeof *nearest_error);
    draw_all(&net, error, &unknown);
    compare_lookups(&s, &net, &known, &unknown, mean, error, nearest_error, &results);
    turn_knobs(&s, &net, &known, &unknown, &results);
    read_backwards(&net, &unknown, &results);
    map_errors(&s, &unknown, error, nearest_error, &results);
    if (s.tied_epochs && !interrupted)
        train_tied(&s, &known, &unknown, level, &results);
    close_results(&results, s.out);

    free(error);
    free(nearest_error);
    network_free(&net);
    free_curves(&known);
    free_curves(&unknown);
    return interrupted ? 130 : 0; /* as the shell says it: ended by signal 2 */
}
#endif
