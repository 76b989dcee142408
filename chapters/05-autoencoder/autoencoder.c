/* autoencoder.c: chapter 5 of "Autoencoders by Hand".

   The whole: 784 -> 400 -> 100 -> 6 -> 100 -> 400 -> 784, trained by backpropagation on
   mini-batches with Adam. Any depth, width, code size and activation by option; weights can be
   saved, loaded and opened elsewhere; a picture of your own can go through it. One product of
   matrices does nearly all the work, and does it close to the speed of the machine.

   Build it alone:  cc -O3 -march=native -fopenmp autoencoder.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: B examples in a batch, one a row; in, out the widths of a layer; x (B,784) pixels; s
   (B,out) affine sums, the logits in the last layer; h (B,out) outputs; z (B,d) the code; xhat =
   sigmoid(s) the reconstruction. W is (out,in) in the text and in files, its transpose (in,out) in
   memory. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <tgmath.h>
#include <time.h>
#include <unistd.h>

#include <png.h>
#include <zlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#define PROGRAM "autoencoder"
#define CHAPTER "05-autoencoder"

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

/* --- sizes ------------------------------------------------------------------- */
enum { MAX_LAYERS = 32 };

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

/* --- covariance (chapter 2) -------------------------------------------------- */
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

/* --- orthonormal basis (chapter 2) ------------------------------------------- */
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

/* --- jacobi (chapter 2) ------------------------------------------------------ */
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

/* --- matrix products (chapter 2) --------------------------------------------- */
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

/* --- pca (chapter 2) --------------------------------------------------------- */
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

/* --- what pca leaves (chapter 2) --------------------------------------------- */
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

/* --- a team of cores -------------------------------------------------------------- */
/* What follows TEAM is done by all cores at once, each with a number of its own. Without OpenMP the
   team is one core. */
#ifdef _OPENMP
#define TEAM _Pragma("omp parallel")
size_t core(void) {
    return (size_t)omp_get_thread_num();
}
size_t cores(void) {
    return (size_t)omp_get_num_threads();
}
#else
#define TEAM
size_t core(void) {
    return 0;
}
size_t cores(void) {
    return 1;
}
#endif

/* Here each core of the team waits until all have come. */
void meet(void){
#ifdef _OPENMP
#pragma omp barrier
#endif
}

size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Where core t's share begins, of n things that come in units. It ends where that of core t+1
 * begins. */
size_t share(size_t n, size_t unit, size_t t) {
    return least(n, (n + unit - 1) / unit * t / cores() * unit);
}

/* --- matrix product ------------------------------------------------------------- */
/* A vector is what one instruction works on. A tile is a piece of the result, TILE_ROWS rows of
   TILE_VECTORS vectors, that stays in the registers for the whole sum; how large it may be depends
   on how many registers there are. */
#if defined(__AVX512F__) /* 32 registers of 64 bytes */
enum { VECTOR_BYTES = 64, TILE_ROWS = 8, TILE_VECTORS = 3 };
#elif defined(__AVX__) /* 16 registers of 32 bytes */
enum { VECTOR_BYTES = 32, TILE_ROWS = 6, TILE_VECTORS = 2 };
#else                  /* SSE2 has 16 registers of 16 bytes, NEON has 32 */
enum { VECTOR_BYTES = 16, TILE_ROWS = 6, TILE_VECTORS = 2 };
#endif
enum { WIDTH = VECTOR_BYTES / sizeof(real), DEPTH = 512 };
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* C += A B for one tile. `vectors` is a constant wherever we call this, so the loops over i and j
   unroll and c never leaves the registers. Rows beyond the last repeat the last one and are not
   stored. */
static inline __attribute__((always_inline)) void tile(real *C, size_t ldc, const real *A,
                                                       size_t row, size_t col, const real *B,
                                                       size_t ldb, size_t depth, size_t rows,
                                                       size_t cols, const size_t vectors) {
    vector c[TILE_ROWS][TILE_VECTORS] = {{{0}}};
    size_t at[TILE_ROWS];
    for (size_t i = 0; i < TILE_ROWS; i++)
        at[i] = least(i, rows - 1) * row;
    for (size_t i = 0; i < rows;
         i++) /* we need these after the sum only: they can be on their way */
        for (size_t j = 0; j < cols; j += WIDTH)
            __builtin_prefetch(C + i * ldc + j, 1);
    for (size_t k = 0; k < depth; k++)
        for (size_t i = 0; i < TILE_ROWS; i++)
            for (size_t j = 0; j < vectors; j++)
                c[i][j] += A[at[i] + k * col] * ((const vector *)(B + k * ldb))[j];
    const real *sum = (const real *)c;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            C[i * ldc + j] += sum[i * TILE_VECTORS * WIDTH + j];
}

/* C (M,N) += A (M,K) B (K,N), with A_mk = A[m * row + k * col]: (row, col) is (K, 1) for A as it
   lies in memory and (1, M) for A that lies there transposed. We go through B in strips as wide as
   a tile and DEPTH rows long, which stay in the cache while all of A passes by. */
void multiply(real *C, const real *A, size_t row, size_t col, const real *B, size_t M, size_t N,
              size_t K) {
    const size_t all = (N + WIDTH - 1) / WIDTH, strips = (all + TILE_VECTORS - 1) / TILE_VECTORS;
    real padded[DEPTH * TILE_VECTORS * WIDTH];
    for (size_t k = 0; k < K; k += DEPTH)
        for (size_t s = 0; s < strips; s++) {
            size_t v = all * s / strips, vectors = all * (s + 1) / strips - v, n = v * WIDTH;
            size_t depth = least(DEPTH, K - k), cols = least(vectors * WIDTH, N - n), ldb = N;
            const real *b = B + k * N + n;
            if (cols <
                vectors * WIDTH) { /* the last strip ends inside a vector: fill up with zeros */
                ldb = vectors * WIDTH;
                for (size_t i = 0; i < depth; i++)
                    for (size_t j = 0; j < ldb; j++)
                        padded[i * ldb + j] = j < cols ? b[i * N + j] : 0;
                b = padded;
            }
            for (size_t m = 0; m < M; m += TILE_ROWS) {
                const real *a = A + m * row + k * col;
                real *c = C + m * N + n;
                size_t rows = least(TILE_ROWS, M - m);
                if (vectors == TILE_VECTORS)
                    tile(c, N, a, row, col, b, ldb, depth, rows, cols, TILE_VECTORS);
                else if (vectors == TILE_VECTORS - 1)
                    tile(c, N, a, row, col, b, ldb, depth, rows, cols, TILE_VECTORS - 1);
                else
                    tile(c, N, a, row, col, b, ldb, depth, rows, cols, 1);
            }
        }
}

/* --- transposing ---------------------------------------------------------------- */
enum { SQUARE = 16, HALF = SQUARE * SQUARE / 2 };

/* Wt = W transposed, for one square of 16 x 16. Write the place of a number in the square as eight
   bits, four for its row and four for its column. A perfect shuffle, as of a deck of cards, rotates
   these bits by one place. Four shuffles rotate them by four: row and column have changed places. A
   shuffle is a few instructions for a whole vector, where sixteen single numbers would be fetched
   one by one. */
void transpose_square(real *Wt, size_t ldt, const real *W, size_t ldw) {
    real a[SQUARE * SQUARE], b[SQUARE * SQUARE];
    for (size_t i = 0; i < SQUARE; i++)
        memcpy(a + i * SQUARE, W + i * ldw, SQUARE * sizeof *a);
    for (int twice = 0; twice < 2; twice++) {
        for (size_t k = 0; k < HALF; k++) {
            b[2 * k] = a[k];
            b[2 * k + 1] = a[k + HALF];
        }
        for (size_t k = 0; k < HALF; k++) {
            a[2 * k] = b[k];
            a[2 * k + 1] = b[k + HALF];
        }
    }
    for (size_t j = 0; j < SQUARE; j++)
        memcpy(Wt + j * ldt, a + j * SQUARE, SQUARE * sizeof *a);
}

/* Wt (cols,rows) = W (rows,cols) transposed, for rows first to last of W */
void transpose(real *Wt, const real *W, size_t rows, size_t cols, size_t first, size_t last) {
    for (size_t i = first; i < last; i += SQUARE)
        for (size_t j = 0; j < cols; j += SQUARE)
            if (i + SQUARE <= last && j + SQUARE <= cols)
                transpose_square(Wt + j * rows + i, rows, W + i * cols + j, cols);
            else
                for (size_t q = j; q < least(cols, j + SQUARE); q++)
                    for (size_t p = i; p < least(last, i + SQUARE); p++)
                        Wt[q * rows + p] = W[p * cols + q];
}

/* --- exponential ---------------------------------------------------------------- */
/* e^x for x <= 0. The library's exp is a call for one number; this is arithmetic only, so a loop
   over it works on a vector at a time. x = n log 2 + r with |r| <= log(2)/2, so e^x = 2^n e^r: a
   polynomial gives e^r, and n goes into the exponent bits of a float. The coefficients are those of
   the Cephes library; the error is below 2e-7 of the value. */
static inline real exp_negative(real x) {
    if (sizeof(real) > sizeof(float))
        return exp(x); /* the checks want every digit of a double */
    float y = x > -87 ? (float)x : -87.0f;
    float n = (y * 1.44269504f + 12582912.0f) - 12582912.0f; /* rounds to a whole number */
    float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    union {
        int32_t bits;
        float value;
    } power = {.bits = ((int32_t)n + 127) * (1 << 23)};
    return (real)(p * power.value);
}

/* 1 / (1 + e^-s), with an exponent that is never positive */
static inline real logistic(real s) {
    real e = exp_negative(-fabs(s)), q = 1 / (1 + e);
    return s < 0 ? e * q : q;
}

/* --- activations of a deep network ------------------------------------------------ */
enum activation { IDENTITY, RELU, ELU, SILU, TANH, SIGMOID, ACTIVATIONS };
const char *activation_name[ACTIVATIONS] = {"identity", "relu", "elu", "silu", "tanh", "sigmoid"};

/* h (n) = f(s) */
void activation_forward(real *h, const real *s, enum activation f, size_t n) {
    switch (f) {
    case RELU: /* max(0, s) */
        for (size_t i = 0; i < n; i++)
            h[i] = s[i] > 0 ? s[i] : 0;
        break;
    case ELU: /* s where it is positive, e^s - 1 where it is not: bent, but nowhere flat */
        for (size_t i = 0; i < n; i++) {
            real below = exp_negative(s[i] < 0 ? s[i] : 0) - 1;
            h[i] = s[i] > 0 ? s[i] : below;
        }
        break;
    case SILU: /* s sigmoid(s) */
        for (size_t i = 0; i < n; i++)
            h[i] = s[i] * logistic(s[i]);
        break;
    case TANH: /* 2 sigmoid(2s) - 1 */
        for (size_t i = 0; i < n; i++)
            h[i] = 2 * logistic(2 * s[i]) - 1;
        break;
    case SIGMOID:
        for (size_t i = 0; i < n; i++)
            h[i] = logistic(s[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            h[i] = s[i];
    }
}

/* ds (n) += dh f'(s). The slopes are written with h where that is possible. */
void activation_backward(real *ds, const real *dh, const real *s, const real *h, enum activation f,
                         size_t n) {
    switch (f) {
    case RELU:
        for (size_t i = 0; i < n; i++)
            ds[i] += h[i] > 0 ? dh[i] : 0;
        break;
    case ELU: /* (e^s - 1)' = e^s = 1 + h */
        for (size_t i = 0; i < n; i++)
            ds[i] += dh[i] * (h[i] > 0 ? 1 : 1 + h[i]);
        break;
    case SILU: /* (s q)' = q + s q (1 - q) = q + h (1 - q) */
        for (size_t i = 0; i < n; i++) {
            real q = logistic(s[i]);
            ds[i] += dh[i] * (q + h[i] * (1 - q));
        }
        break;
    case TANH:
        for (size_t i = 0; i < n; i++)
            ds[i] += dh[i] * (1 - h[i] * h[i]);
        break;
    case SIGMOID:
        for (size_t i = 0; i < n; i++)
            ds[i] += dh[i] * h[i] * (1 - h[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            ds[i] += dh[i];
    }
}

/* --- layer by tiles --------------------------------------------------------------- */
struct layer {
    size_t in, out;
    enum activation f;
    real *W, *b, *dW, *db; /* (in,out), (out): places in the two blocks of the network */
    real *Wt;              /* (out,in) W transposed, for the way back; NULL in the first layer */
    real *s, *h, *ds, *dh; /* (batch,out); with the identity, h is s and dh is ds */
};

/* s = W x + b and h = f(s), for some of the rows of x (batch,in): `rows` of them, from the first-th
 * on. */
void layer_forward(struct layer *y, const real *x, size_t first, size_t rows) {
    real *s = y->s + first * y->out;
    for (size_t r = 0; r < rows; r++)
        memcpy(s + r * y->out, y->b, y->out * sizeof(real));
    multiply(s, x + first * y->in, y->in, 1, y->W, rows, y->out, y->in);
    if (y->h != y->s)
        activation_forward(y->h + first * y->out, s, y->f, rows * y->out);
}

/* For the same rows:  ds += dh f'(s)  and  dx (batch,in) += ds W'. dx may be NULL. */
void layer_backward_input(struct layer *y, real *dx, size_t first, size_t rows) {
    size_t at = first * y->out;
    if (y->h != y->s)
        activation_backward(y->ds + at, y->dh + at, y->s + at, y->h + at, y->f, rows * y->out);
    if (dx)
        multiply(dx + first * y->in, y->ds + at, y->out, 1, y->Wt, rows, y->in, y->out);
}

/* dW (in,out) += x' ds, for this core's share of the rows of dW, and db (out) += sum of ds over the
   batch. Each entry is a sum over all B examples, done by one core: a sum is never split, so the
   result is the same, to the last bit, for any number of cores. */
void layer_backward_weights(struct layer *y, const real *x, size_t B) {
    size_t first = share(y->in, TILE_ROWS, core()),
           rows = share(y->in, TILE_ROWS, core() + 1) - first;
    multiply(y->dW + first * y->out, x + first, 1, y->in, y->ds, rows, y->out, B);
    size_t from = share(y->out, WIDTH, core()), to = share(y->out, WIDTH, core() + 1);
    for (size_t r = 0; r < B; r++)
        for (size_t j = from; j < to; j++)
            y->db[j] += y->ds[r * y->out + j];
}

/* --- network ---------------------------------------------------------------------- */
enum { MAX_DEPTH = 2 * MAX_LAYERS };

/* One row of the table of everything that can be learned. */
struct tensor {
    char name[32]; /* such as PyTorch gives it: encoder.0.weight */
    size_t rows, cols;
    real *value, *grad; /* (rows,cols) */
};

struct network {
    size_t depth, half, code,
        batch; /* layers, those of the encoder, width of the code, room for rows */
    struct layer layer[MAX_DEPTH];
    struct tensor tensor[2 * MAX_DEPTH];
    size_t tensors, parameters;
    real *value, *grad; /* (parameters) all weights and biases, and all their gradients */
    size_t units;       /* outputs of all layers, for one example */
    real *activity;     /* (4 * batch * units) every s, h, ds, dh */
    real *transposed;   /* every Wt */
};

/* Memory for n numbers that begins where a vector may begin. All zero; free() gives it back. */
real *numbers(size_t n) {
    size_t bytes = (n * sizeof(real) + 64) / 64 * 64;
    real *p = aligned_alloc(64, bytes);
    if (!p)
        die("not enough memory for %zu numbers; try a smaller network or batch", n);
    return memset(p, 0, bytes);
}

/* Cuts the next n numbers off a block. */
real *take(real **block, size_t n) {
    real *start = *block;
    *block += n;
    return start;
}

/* The encoder size[0] -> ... -> size[count-1] and the decoder that is its mirror image. For each
   number of the code the encoder says `heads` numbers: one, unless a later chapter wants two. The
   activation f stands between layers; the code and the logits at the end are affine sums as they
   are. All zero. */
struct network network_new(const size_t *size, size_t count, size_t heads, enum activation f,
                           size_t batch) {
    struct network net = {.half = count - 1, .depth = 2 * (count - 1), .batch = batch};
    net.code = size[net.half];
    size_t turned = 0;
    for (size_t l = 0; l < net.depth; l++) {
        struct layer *y = &net.layer[l];
        y->in = size[l < net.half ? l : net.depth - l];
        y->out = size[l < net.half ? l + 1 : net.depth - l - 1] * (l + 1 == net.half ? heads : 1);
        y->f = l + 1 == net.half || l + 1 == net.depth ? IDENTITY : f;
        net.parameters += y->in * y->out + y->out;
        net.units += y->out;
        turned += l ? y->in * y->out : 0;
    }
    net.value = numbers(net.parameters);
    net.grad = numbers(net.parameters);
    net.activity = numbers(4 * batch * net.units);
    net.transposed = numbers(turned);
    real *value = net.value, *grad = net.grad, *Wt = net.transposed;
    real *forward = net.activity, *backward = net.activity + 2 * batch * net.units;
    for (size_t l = 0; l < net.depth; l++) {
        struct layer *y = &net.layer[l];
        y->W = take(&value, y->in * y->out);
        y->b = take(&value, y->out);
        y->dW = take(&grad, y->in * y->out);
        y->db = take(&grad, y->out);
        y->Wt = l ? take(&Wt, y->in * y->out) : NULL;
        y->s = take(&forward, batch * y->out);
        y->ds = take(&backward, batch * y->out);
        y->h = y->f == IDENTITY ? y->s : take(&forward, batch * y->out);
        y->dh = y->f == IDENTITY ? y->ds : take(&backward, batch * y->out);
        const char *part = l < net.half ? "encoder" : "decoder";
        int number =
            2 * (int)(l < net.half ? l : l - net.half); /* an activation stands between two */
        struct tensor *W = &net.tensor[net.tensors++], *b = &net.tensor[net.tensors++];
        *W = (struct tensor){"", y->in, y->out, y->W, y->dW};
        *b = (struct tensor){"", 1, y->out, y->b, y->db};
        snprintf(W->name, sizeof W->name, "%s.%d.weight", part, number);
        snprintf(b->name, sizeof b->name, "%s.%d.bias", part, number);
    }
    return net;
}

void network_free(struct network *net) {
    free(net->value);
    free(net->grad);
    free(net->activity);
    free(net->transposed);
}

/* He's start: weights uniform with variance 2/in where a bend follows, 1/in where none does; biases
 * zero. */
void network_start(struct network *net, struct random *r) {
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        double a = sqrt((y->f == IDENTITY ? 3.0 : 6.0) / (double)y->in);
        for (size_t k = 0; k < y->in * y->out; k++)
            y->W[k] = (real)random_uniform(r, -a, a);
        memset(y->b, 0, y->out * sizeof(real));
    }
}

/* The one place where gradients are set to zero: this core's share of those of the parameters, and
   for some rows all that is on the way. */
void network_zero(struct network *net, size_t first, size_t rows) {
    size_t from = share(net->parameters, WIDTH, core()),
           to = share(net->parameters, WIDTH, core() + 1);
    memset(net->grad + from, 0, (to - from) * sizeof(real));
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        memset(y->ds + first * y->out, 0, rows * y->out * sizeof(real));
        memset(y->dh + first * y->out, 0, rows * y->out * sizeof(real));
    }
}

/* x through layers `from` up to, not including, `to`, for some rows. Returns the last h
 * (batch,out). */
const real *network_forward(struct network *net, const real *x, size_t from, size_t to,
                            size_t first, size_t rows) {
    for (size_t l = from; l < to; l++) {
        layer_forward(&net->layer[l], x, first, rows);
        x = net->layer[l].h;
    }
    return x;
}

/* Backpropagation, its first half: for some rows, from the ds of layer to-1 down to that of layer
   `from`, and where dx (batch,in) is not NULL, to what came into it. */
void network_backward_inputs(struct network *net, real *dx, size_t from, size_t to, size_t first,
                             size_t rows) {
    for (size_t l = to; l-- > from;)
        layer_backward_input(&net->layer[l], l > from ? net->layer[l - 1].dh : dx, first, rows);
}

/* Its second half: from the ds of all B rows, this core's share of the gradient
   of every parameter of these layers; x (B,in) is what came into the first of them. */
void network_backward_weights(struct network *net, const real *x, size_t from, size_t to,
                              size_t B) {
    for (size_t l = to; l-- > from;)
        layer_backward_weights(&net->layer[l], l > from ? net->layer[l - 1].h : x, B);
}

/* This core's share of every Wt. The parameters have changed, so the transposed ones must, too. */
void network_transpose(struct network *net) {
    for (size_t l = 1; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        size_t first = share(y->in, SQUARE, core()), last = share(y->in, SQUARE, core() + 1);
        transpose(y->Wt, y->W, y->in, y->out, first, last);
    }
}

/* --- loss of an image --------------------------------------------------------------- */
enum loss { BCE, SQUARED };

struct losses {
    double bce, squared; /* nats, and squared error; both summed over the pixels of an image */
};

/* The sum, or the product, of 784 numbers, which are used up. The upper half is added to the lower,
   again and again, a vector at a time: 784, 392, 196, 98, 49. The rest is done in double. */
double sum_of(real *a) {
    double sum = 0;
    for (size_t half = PIXELS / 2; half >= PIXELS / 16; half /= 2)
        for (size_t i = 0; i < half; i++)
            a[i] += a[half + i];
    for (size_t i = 0; i < PIXELS / 16; i++)
        sum += (double)a[i];
    return sum;
}

double product_of(real *a) {
    double product = 1;
    for (size_t half = PIXELS / 2; half >= PIXELS / 16; half /= 2)
        for (size_t i = 0; i < half; i++)
            a[i] *= a[half + i];
    for (size_t i = 0; i < PIXELS / 16; i++)
        product *= (double)a[i];
    return product;
}

/* Both losses of some rows of logits s (batch,784) against x (batch,784), into example (batch).
   Where ds is not NULL, it gets the gradient of the chosen one's mean over the B rows of the batch:
     BCE      ds += (xhat - x) / B
     SQUARED  ds += 2 (xhat - x) xhat (1 - xhat) / B

   The cross-entropy of a pixel is max(s,0) - s x + log(1 + e^-|s|). The logarithms we take all at
   once: their sum is the logarithm of the product, and 784 factors between 1 and 2 stay below
   2^784, which a double can hold. */
void losses_of_images(struct losses *example, real *ds, const real *s, const real *x, size_t B,
                      enum loss kind, size_t first, size_t rows) {
    const real scale = 1 / (real)B;
    for (size_t r = first; r < first + rows; r++) {
        real linear[PIXELS], factor[PIXELS], square[PIXELS], slope[PIXELS];
        const size_t at = r * PIXELS;
        for (size_t i = 0; i < PIXELS; i++) {
            real t = s[at + i], e = exp_negative(-fabs(t)), q = 1 / (1 + e);
            real xhat = t < 0 ? e * q : q, difference = xhat - x[at + i];
            linear[i] = (t > 0 ? t : 0) - t * x[at + i];
            factor[i] = 1 + e;
            square[i] = difference * difference;
            slope[i] = kind == BCE ? difference : 2 * difference * xhat * (1 - xhat);
        }
        for (size_t i = 0; ds && i < PIXELS; i++)
            ds[at + i] += scale * slope[i];
        example[r].bce = sum_of(linear) + log(product_of(factor));
        example[r].squared = sum_of(square);
    }
}

/* --- weights in a file ---------------------------------------------------------------- */
/* Ends the program unless a file can be written at this path: better now than after the training.
   What is there and is no file, such as a folder or /dev/null, stays what it is. */
void check_place(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        die("%s: is not a file; name one with --save", path);
    struct output o = open_output(NULL, path);
    fclose(o.file);
    remove(unfinished);
    unfinished[0] = 0;
}

/* The safetensors format: eight bytes with the length of a header, the header, the numbers. The
   header is JSON: for each tensor its type, its shape and the place of its bytes. A weight is
   stored as (out,in), as PyTorch has it. */
void save_weights(const struct network *net, const char *path) {
    char *header;
    size_t length, offset = 0;
    FILE *text = open_memstream(&header, &length);
    if (!text)
        die("%s: not enough memory to save", path);
    fprintf(text, "{\"__metadata__\":{\"activation\":\"%s\"}", activation_name[net->layer[0].f]);
    for (size_t i = 0; i < net->tensors; i++) {
        const struct tensor *t = &net->tensor[i];
        size_t bytes = t->rows * t->cols * sizeof(float);
        fprintf(text, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", t->name);
        if (t->rows > 1 || strstr(t->name, "weight"))
            fprintf(text, "%zu,%zu", t->cols, t->rows);
        else
            fprintf(text, "%zu", t->cols);
        fprintf(text, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
        offset += bytes;
    }
    fputc('}', text);
    while ((ftell(text) + 8) % 8) /* the numbers begin at a multiple of eight */
        fputc(' ', text);
    if (fclose(text) != 0)
        die("%s: not enough memory to save", path);
    struct output o = open_output(NULL, path);
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)length >> 8 * i & 255), o.file);
    fwrite(header, 1, length, o.file);
    for (size_t i = 0; i < net->tensors; i++) {
        const struct tensor *t = &net->tensor[i];
        for (size_t j = 0; j < t->cols; j++)
            for (size_t k = 0; k < t->rows; k++) {
                union {
                    float value;
                    uint32_t bits;
                } f = {(float)t->value[k * t->cols + j]};
                for (int byte = 0; byte < 4; byte++)
                    fputc((int)(f.bits >> 8 * byte & 255), o.file);
            }
    }
    close_output(&o);
    free(header);
}

/* --- weights from a file --------------------------------------------------------------- */
/* A place in a header of JSON, for error messages with the file's name. */
struct reader {
    const char *path, *at, *end;
};

void not_weights(const struct reader *r, const char *what) {
    die("%s: %s; it is not a safetensors file that we can read", r->path, what);
}

/* Skips white space and, if the next character is c, that one. Returns whether it was. */
int accept(struct reader *r, char c) {
    while (r->at < r->end && strchr(" \t\r\n", *r->at))
        r->at++;
    return r->at < r->end && *r->at == c ? (r->at++, 1) : 0;
}

void expect(struct reader *r, char c) {
    char what[48];
    snprintf(what, sizeof what, "its header lacks a '%c' where one must be", c);
    if (!accept(r, c))
        not_weights(r, what);
}

/* A string without escapes, as names of tensors are. */
void read_string(struct reader *r, char *text, size_t size) {
    size_t n = 0;
    for (expect(r, '"'); r->at < r->end && *r->at != '"'; r->at++) {
        if (n + 1 == size || *r->at == '\\' || (unsigned char)*r->at < ' ')
            not_weights(r, "its header holds a name that is too long or has escapes");
        text[n++] = *r->at;
    }
    text[n] = 0;
    expect(r, '"');
}

/* A list of up to `most` whole numbers. Returns how many. */
size_t read_list(struct reader *r, uint64_t *list, size_t most) {
    size_t n = 0;
    expect(r, '[');
    if (accept(r, ']'))
        return 0;
    do {
        accept(r, 0); /* skips white space */
        size_t digits = 0;
        uint64_t value = 0;
        for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, digits++)
            value = 10 * value + (uint64_t)(*r->at - '0');
        if (digits == 0 || digits > 18 || n == most)
            not_weights(r, "its header holds a list that makes no sense");
        list[n++] = value;
    } while (accept(r, ','));
    expect(r, ']');
    return n;
}

/* The whole file in memory, unless it is larger than `most` bytes; the caller frees it. */
unsigned char *read_file(const char *path, size_t *size, size_t most) {
    FILE *f = fopen(path, "rb");
    if (!f)
        die("%s: %s", path, strerror(errno));
    unsigned char *bytes = NULL;
    size_t room = 0;
    for (*size = 0;;) {
        if (*size == room && !(bytes = realloc(bytes, room = room ? 2 * room : 1 << 20)))
            die("%s: not enough memory to read it", path);
        size_t n = fread(bytes + *size, 1, room - *size, f);
        *size += n;
        if (*size > most)
            die("%s: is too large to hold the weights of this network", path);
        if (n == 0)
            break;
    }
    if (ferror(f)) {
        const char *why = strerror(errno);
        free(bytes);
        die("%s: cannot be read: %s", path, why);
    }
    fclose(f);
    return bytes;
}

/* Where the bytes of a tensor lie among the data; end is 0 as long as it was not found. */
struct place {
    uint64_t start, end;
};

/* Checks that one tensor of the file is one of ours, of its shape, whole and finite, and copies it
   to `into`, which is laid out like the network's parameters. `found` remembers which
   we have had. */
void load_tensor(const struct network *net, real *into, struct place *found, struct reader *r,
                 const char *name, const unsigned char *data, size_t size) {
    char key[16], type[8] = "";
    uint64_t shape[2] = {0, 1}, place[2] = {1, 0};
    size_t dimensions = 0, i = 0;
    expect(r, '{');
    do {
        read_string(r, key, sizeof key);
        expect(r, ':');
        if (strcmp(key, "dtype") == 0)
            read_string(r, type, sizeof type);
        else if (strcmp(key, "shape") == 0)
            dimensions = read_list(r, shape, 2);
        else if (strcmp(key, "data_offsets") == 0)
            read_list(r, place, 2);
        else
            not_weights(r, "its header says something else than type, shape and place of a tensor");
    } while (accept(r, ','));
    expect(r, '}');
    while (i < net->tensors && strcmp(net->tensor[i].name, name) != 0)
        i++;
    if (i == net->tensors)
        die("%s: has a tensor %s, which this network has not; give the --layers it was saved with",
            r->path, name);
    const struct tensor *t = &net->tensor[i];
    int matrix = strstr(name, "weight") != NULL;
    if (found[i].end)
        die("%s: has %s twice", r->path, name);
    if (strcmp(type, "F32") != 0)
        die("%s: %s has numbers of type %s; we read F32", r->path, name, type);
    if (dimensions != (matrix ? 2u : 1u) || shape[0] != t->cols || (matrix && shape[1] != t->rows))
        die("%s: %s is %zu-dimensional, %llu x %llu; this network needs %zu x %zu: give the "
            "--layers it was saved with",
            r->path, name, dimensions, (unsigned long long)shape[0], (unsigned long long)shape[1],
            t->cols, t->rows);
    if (place[0] > place[1] || place[1] - place[0] != t->rows * t->cols * sizeof(float))
        not_weights(r, "the place of a tensor does not fit its shape");
    if (place[1] > size)
        die("%s: is cut short: %s should end at byte %llu of %zu", r->path, name,
            (unsigned long long)place[1], size);
    found[i] = (struct place){place[0], place[1]};
    const unsigned char *byte = data + place[0];
    real *value = into + (t->value - net->value);
    for (size_t j = 0; j < t->cols; j++)
        for (size_t k = 0; k < t->rows; k++, byte += 4) {
            union {
                uint32_t bits;
                float value;
            } f = {byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 |
                   (uint32_t)byte[3] << 24};
            if (!isfinite(f.value))
                die("%s: %s holds a number that is not finite; the run that saved it had diverged",
                    r->path, name);
            value[k * t->cols + j] = f.value;
        }
}

/* Fills the network from a file that save_weights (or PyTorch) wrote. Whatever does not match ends
   the program with one line, before anything of the network is changed. */
void load_weights(struct network *net, const char *path) {
    enum { HEADER = 1 << 20 }; /* more than any header of ours, or with a word from PyTorch */
    size_t size, data = net->parameters * sizeof(float);
    unsigned char *bytes = read_file(path, &size, data + HEADER);
    uint64_t length = 0;
    for (int i = 7; size >= 8 && i >= 0; i--)
        length = length << 8 | bytes[i];
    struct reader r = {path, (const char *)bytes + 8, NULL};
    if (size < 8)
        not_weights(&r, "it is shorter than eight bytes");
    if (length > size - 8)
        die("%s: its header claims %llu bytes, the file has %zu; it is cut short or not a "
            "safetensors file",
            path, (unsigned long long)length, size);
    r.end = r.at + length;
    real *into = numbers(net->parameters);
    struct place *found = allocate(net->tensors, sizeof *found);
    char name[64], key[32], text[32];
    expect(&r, '{');
    do {
        read_string(&r, name, sizeof name);
        expect(&r, ':');
        if (strcmp(name, "__metadata__") != 0) {
            load_tensor(net, into, found, &r, name, bytes + 8 + length, size - 8 - length);
            continue;
        }
        expect(&r, '{');
        if (accept(&r, '}'))
            continue;
        do {
            read_string(&r, key, sizeof key);
            expect(&r, ':');
            read_string(&r, text, sizeof text);
            if (strcmp(key, "activation") == 0 &&
                strcmp(text, activation_name[net->layer[0].f]) != 0)
                die("%s: was trained with %s between the layers; give --activation %s", path, text,
                    text);
        } while (accept(&r, ','));
        expect(&r, '}');
    } while (accept(&r, ','));
    expect(&r, '}');
    accept(&r, 0);
    if (r.at != r.end)
        not_weights(&r, "its header goes on after its end");
    for (size_t i = 0; i < net->tensors; i++) {
        if (!found[i].end)
            die("%s: has no tensor %s; give the --layers it was saved with", path,
                net->tensor[i].name);
        for (size_t j = 0; j < i; j++)
            if (found[i].start < found[j].end && found[j].start < found[i].end)
                not_weights(&r, "two of its tensors overlap");
    }
    if (size - 8 - length != data)
        not_weights(&r, "it goes on after its tensors");
    memcpy(net->value, into, net->parameters * sizeof(real));
    free(found);
    free(into);
    free(bytes);
}

/* --- a picture of your own --------------------------------------------------------------- */
/* Brings any PNG to the form that MNIST's digits have, x (784): bright ink on black, the drawing
   scaled to fit 20 x 20 pixels, its centre of mass in the middle of 28 x 28.
     1. gray, from red, green and blue as the eye weighs them; what is transparent is white paper
     2. the ground is what the border shows: if that is light, dark and light are exchanged
     3. the box around all that is brighter than a quarter of the brightest is cut out
     4. each of our pixels is the mean of the part of the box that it covers, and then the brightest
        of them becomes white: a thin pen in a large drawing leaves only a trace in the mean */
void read_picture(real *x, const char *path) {
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&png, path))
        die("%s: %s; --image wants a PNG file", path, png.message);
    png.format = PNG_FORMAT_RGBA;
    size_t w = png.width, h = png.height;
    if (w * h > 100000000)
        die("%s: %zu x %zu pixels are too many; make it smaller", path, w, h);
    unsigned char *rgba = allocate(w * h, 4);
    if (!png_image_finish_read(&png, NULL, rgba, 0, NULL))
        die("%s: %s; the file is damaged or cut short", path, png.message);
    double *gray = allocate(w * h, sizeof *gray), border = 0, brightest = 0;
    for (size_t i = 0; i < w * h; i++) {
        const unsigned char *p = rgba + 4 * i;
        double opaque = p[3] / 255.0;
        gray[i] = (0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]) / 255 * opaque + (1 - opaque);
    }
    for (size_t i = 0; i < w; i++)
        border += (gray[i] + gray[(h - 1) * w + i]) / (double)(2 * (w + h));
    for (size_t i = 0; i < h; i++)
        border += (gray[i * w] + gray[i * w + w - 1]) / (double)(2 * (w + h));
    for (size_t i = 0; i < w * h; i++) {
        gray[i] = border > 0.5 ? fmax(0, border - gray[i]) : fmax(0, gray[i] - border);
        brightest = fmax(brightest, gray[i]);
    }
    if (brightest < 0.05)
        die("%s: has one colour throughout; draw something dark on light, or light on dark", path);
    size_t left = w, right = 0, top = h, bottom = 0;
    for (size_t i = 0; i < w * h; i++)
        if (gray[i] > brightest / 4) {
            left = least(left, i % w);
            right = i % w > right ? i % w : right;
            top = least(top, i / w);
            bottom = i / w;
        }
    double across = (double)(right - left + 1), down = (double)(bottom - top + 1);
    double scale = fmax(across, down) / 20; /* pixels of the picture to one of ours */
    double small[PIXELS] = {0}, mass = 0, middle_x = 0, middle_y = 0, white = 0;
    for (size_t k = 0; k < 400; k++) { /* the drawing in the upper left 20 x 20 */
        double x0 = (double)left + (double)(k % 20) * scale,
               y0 = (double)top + (double)(k / 20) * scale;
        double x1 = fmin(x0 + scale, (double)(right + 1)),
               y1 = fmin(y0 + scale, (double)(bottom + 1)), sum = 0;
        for (size_t y = (size_t)y0; (double)y < y1; y++)
            for (size_t u = (size_t)x0; (double)u < x1; u++) {
                double wide = fmin(x1, (double)u + 1) - fmax(x0, (double)u);
                double high = fmin(y1, (double)y + 1) - fmax(y0, (double)y);
                sum += gray[y * w + u] * fmax(0, wide) * fmax(0, high);
            }
        double value = sum / (scale * scale);
        small[k / 20 * SIDE + k % 20] = value;
        white = fmax(white, value);
        mass += value;
        middle_x += value * ((double)(k % 20) + 0.5);
        middle_y += value * ((double)(k / 20) + 0.5);
    }
    /* Not so far that a part of the drawing would leave the picture. */
    double room_x = SIDE - ceil(across / scale - 1e-9), room_y = SIDE - ceil(down / scale - 1e-9);
    long shift_x = lround(fmax(0, fmin(room_x, SIDE / 2.0 - middle_x / mass))),
         shift_y = lround(fmax(0, fmin(room_y, SIDE / 2.0 - middle_y / mass)));
    for (long y = 0; y < SIDE; y++)
        for (long u = 0; u < SIDE; u++) {
            long from_y = y - shift_y, from_x = u - shift_x;
            int inside = from_y >= 0 && from_x >= 0;
            x[y * SIDE + u] = inside ? (real)(small[from_y * SIDE + from_x] / white) : 0;
        }
    free(gray);
    free(rgba);
}

/* --- learning rate ------------------------------------------------------------------------- */
/* Full at first, then falling along half a cosine to zero: large steps find the valley, small ones
   its floor. done runs from 0 to 1. */
double cosine_rate(double rate, double done) {
    return rate * 0.5 * (1 + cos(acos(-1.0) * done));
}

/* --- fresh curves -------------------------------------------------------------------------- */
/* Draws the quadratic Bezier curve of the points p = x0 y0 x1 y1 x2 y2 (in [0,1], y downwards) with
   soft edges, as src/curves.c does, which explains each step: 64 straight pieces, and for each
   pixel its distance to the nearest of them. */
void draw_curve(unsigned char *pixel, const double *p) {
    enum { PIECES = 64 };
    const double reach =
        0.506 + 0.5;     /* half the width of the stroke, and half a pixel of softness */
    double near[PIXELS]; /* squared distance of the pixel's centre from the curve so far */
    for (size_t i = 0; i < PIXELS; i++)
        near[i] = reach * reach;
    double ax = SIDE * p[0], ay = SIDE * p[1];
    for (int k = 1; k <= PIECES; k++) {
        double t = (double)k / PIECES, w0 = (1 - t) * (1 - t), w1 = 2 * t * (1 - t), w2 = t * t;
        double bx = SIDE * (w0 * p[0] + w1 * p[2] + w2 * p[4]),
               by = SIDE * (w0 * p[1] + w1 * p[3] + w2 * p[5]);
        double dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
        double left = fmin(ax, bx) - reach - 0.5, right = fmax(ax, bx) + reach - 0.5;
        double top = fmin(ay, by) - reach - 0.5, bottom = fmax(ay, by) + reach - 0.5;
        for (int row = top > 0 ? (int)top : 0; row < SIDE && row <= bottom; row++)
            for (int col = left > 0 ? (int)left : 0; col < SIDE && col <= right; col++) {
                double cx = col + 0.5 - ax, cy = row + 0.5 - ay,
                       u = length > 0 ? (cx * dx + cy * dy) / length : 0;
                u = fmin(fmax(u, 0), 1);
                double ex = cx - u * dx, ey = cy - u * dy;
                near[row * SIDE + col] = fmin(near[row * SIDE + col], ex * ex + ey * ey);
            }
        ax = bx;
        ay = by;
    }
    for (size_t i = 0; i < PIXELS; i++)
        pixel[i] = (unsigned char)(255 * fmin(reach - sqrt(near[i]), 1) + 0.5);
}

/* Fills the set with curves nobody has seen. Every hundred of them have a stream of random numbers
   of their own, so the cores can draw at the same time and the result does not depend on how many
   there are. */
void draw_fresh_curves(struct images *images, uint64_t seed) {
    enum { HUNDRED = 100 };
    PARALLEL
    for (size_t k = 0; k < images->count; k += HUNDRED) {
        struct random r;
        random_seed(&r, seed + k);
        for (size_t i = k; i < least(images->count, k + HUNDRED); i++) {
            double p[6];
            for (int j = 0; j < 6; j++) /* in the middle 20 x 20 pixels */
                p[j] = random_uniform(&r, 4.0 / SIDE, 24.0 / SIDE);
            draw_curve(images->pixel + i * PIXELS, p);
        }
    }
}

/* --- training ------------------------------------------------------------------------------- */
/* Everything that one step of training needs, allocated once. */
struct trainer {
    struct network *net;
    struct adam adam;
    real *x;                /* (batch,784) the images of the batch */
    struct losses *example; /* (batch) */
    enum loss loss;
    double decay; /* every parameter shrinks by rate * decay of itself in a step */
};

/* This core's share of a step of Adam, with decay of the weights; when all have done theirs, of the
   transposed copies. The caller counts the step, once for all cores. */
void network_update(struct network *net, const struct adam *a, double rate, double decay) {
    size_t from = share(net->parameters, WIDTH, core()),
           to = share(net->parameters, WIDTH, core() + 1);
    struct adam mine = {a->m + from, a->v + from, to - from, a->steps};
    for (size_t k = from; decay > 0 && k < to; k++)
        net->value[k] *= (real)(1 - rate * decay);
    adam_step(&mine, net->value + from, net->grad + from, rate);
    meet();
    network_transpose(net);
}

/* One step on the B images whose numbers stand in which (B). Each core takes some of the images all
   the way: forward, loss, and backward to every ds. Then the cores wait for each other, because the
   gradient of a weight is a sum over all images. After that each takes some of the parameters:
   gradient, Adam, and at last the transposed copies. Returns the sums of the losses. */
struct losses train_step(struct trainer *t, const struct images *images, const size_t *which,
                         size_t B, double rate) {
    struct network *net = t->net;
    real *dlogits = net->layer[net->depth - 1].ds;
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        gather(t->x + first * PIXELS, images, which + first, rows);
        network_zero(net, first, rows);
        const real *logits = network_forward(net, t->x, 0, net->depth, first, rows);
        losses_of_images(t->example, dlogits, logits, t->x, B, t->loss, first, rows);
        network_backward_inputs(net, NULL, 0, net->depth, first, rows);
        meet();
        network_backward_weights(net, t->x, 0, net->depth, B);
        meet();
        network_update(net, &t->adam, rate, t->decay);
    }
    t->adam.steps++;
    struct losses sum = {0, 0};
    for (size_t r = 0; r < B; r++) {
        sum.bce += t->example[r].bce;
        sum.squared += t->example[r].squared;
    }
    return sum;
}

/* The mean losses over the first `count` images. Where they are not NULL, code (count,d) and xhat
   (count,784) keep what the network makes of each. */
struct losses evaluate(struct trainer *t, const struct images *images, size_t count, real *code,
                       real *xhat) {
    struct network *net = t->net;
    struct losses sum = {0, 0};
    size_t d = net->code;
    for (size_t start = 0; start < count; start += net->batch) {
        size_t B = least(net->batch, count - start);
        TEAM {
            size_t first = share(B, TILE_ROWS, core()),
                   rows = share(B, TILE_ROWS, core() + 1) - first;
            size_t at = start + first;
            brightness(t->x + first * PIXELS, images->pixel + at * PIXELS, rows * PIXELS);
            const real *z = network_forward(net, t->x, 0, net->half, first, rows);
            const real *logits = network_forward(net, z, net->half, net->depth, first, rows);
            losses_of_images(t->example, NULL, logits, t->x, B, BCE, first, rows);
            if (code)
                memcpy(code + at * d, z + first * d, rows * d * sizeof *z);
            if (xhat)
                activation_forward(xhat + at * PIXELS, logits + first * PIXELS, SIGMOID,
                                   rows * PIXELS);
        }
        for (size_t r = 0; r < B; r++) {
            sum.bce += t->example[r].bce / (double)count;
            sum.squared += t->example[r].squared / (double)count;
        }
    }
    return sum;
}

/* --- nearest neighbours ---------------------------------------------------------------------- */
/* Points with labels: rows of d numbers, or pixels that become numbers when they are needed. */
struct points {
    size_t count, d;
    const real *number;         /* (count,d), or NULL: then */
    const unsigned char *pixel; /* (count,d) */
    const unsigned char *label; /* (count) */
};

/* x (rows,d) = points first to first+rows-1 */
void copy_points(real *x, const struct points *p, size_t first, size_t rows) {
    if (p->number)
        memcpy(x, p->number + first * p->d, rows * p->d * sizeof(real));
    else
        brightness(x, p->pixel + first * p->d, rows * p->d);
}

/* How many percent of the points b have the label of the nearest among a. The squared distance is
   |a|^2 - 2 a.b + |b|^2, and |b|^2 is the same for all a. All dot products a.b are one product of
   matrices, done for a thousand a and 64 b at a time so that memory stays small. */
double nearest_neighbour_accuracy(const struct points *a, const struct points *b) {
    enum { MANY = 1024, ROWS = 64 };
    size_t d = a->d, groups = (b->count + ROWS - 1) / ROWS, right = 0;
    real *x = numbers(MANY * d), *xt = numbers(d * MANY), *length = numbers(MANY);
    real *least_distance = numbers(b->count);
    unsigned char *label = allocate(b->count, 1);
    for (size_t start = 0; start < a->count; start += MANY) {
        size_t n = least(MANY, a->count - start);
        copy_points(x, a, start, n);
        transpose(xt, x, n, d, 0, n);
        for (size_t i = 0; i < n; i++) {
            length[i] = 0;
            for (size_t k = 0; k < d; k++)
                length[i] += x[i * d + k] * x[i * d + k];
        }
        TEAM {
            real *dots = numbers(ROWS * n), *y = numbers(ROWS * d);
            for (size_t g = share(groups, 1, core()); g < share(groups, 1, core() + 1); g++) {
                size_t first = g * ROWS, rows = least(ROWS, b->count - first);
                copy_points(y, b, first, rows);
                memset(dots, 0, rows * n * sizeof *dots);
                multiply(dots, y, d, 1, xt, rows, n, d);
                for (size_t r = 0; r < rows; r++)
                    for (size_t i = 0; i < n; i++) {
                        real distance = length[i] - 2 * dots[r * n + i];
                        if ((start == 0 && i == 0) || distance < least_distance[first + r]) {
                            least_distance[first + r] = distance;
                            label[first + r] = a->label[start + i];
                        }
                    }
            }
            free(dots);
            free(y);
        }
    }
    for (size_t r = 0; r < b->count; r++)
        right += label[r] == b->label[r];
    free(x);
    free(xt);
    free(length);
    free(least_distance);
    free(label);
    return 100.0 * (double)right / (double)b->count;
}

/* --- choices and measures --------------------------------------------------- */
/* Where `name` stands in a list of names. */
int choose(const char *option, const char *name, const char *const *list, int n) {
    char wanted[128] = "wants one of";
    for (int k = 0; k < n; k++) {
        if (strcmp(name, list[k]) == 0)
            return k;
        size_t used = strlen(wanted);
        snprintf(wanted + used, sizeof wanted - used, " %s", list[k]);
    }
    bad_option(option, name, wanted);
    return 0;
}

/* The middle of a few measurements, which it sorts. */
double median(double *a, size_t n) {
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && a[j] < a[j - 1]; j--) {
            double keep = a[j];
            a[j] = a[j - 1];
            a[j - 1] = keep;
        }
    return n ? a[n / 2] : 0;
}

/* The most memory that the program has had, in MB. */
double peak_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (double)usage.ru_maxrss / 1e6;
#else
    return (double)usage.ru_maxrss * 1024 / 1e6;
#endif
}

#ifndef WORKBOOK_TEST

/* === the program ============================================================= */

struct settings {
    const char *data, *out, *activation, *loss, *schedule, *save, *load, *image;
    size_t epochs, batch, seed, threads, code, images, tests, fresh;
    double rate, decay, turn;
    struct sizes layers;
};

void print_network(const struct network *net) {
    for (size_t l = 0; l <= net->depth; l++)
        printf("%s%zu", l ? " -> " : "", l ? net->layer[l - 1].out : net->layer[0].in);
    printf(", %s inside, %zu parameters\n", activation_name[net->layer[0].f], net->parameters);
}

/* Trains, prints a line an epoch and writes losses.tsv. Returns the median time of an epoch in
   seconds, without the measuring on test images that stands between. */
double train(struct trainer *t, const struct settings *s, struct images *train_set, size_t count,
             const struct images *test_set, size_t tests, struct random *r) {
    size_t *order = allocate(count, sizeof *order), steps = (count + s->batch - 1) / s->batch;
    double *took = allocate(s->epochs, sizeof *took);
    struct progress bar = {0};
    struct output o = open_output(s->out, "losses.tsv");
    fprintf(o.file, "epoch\ttrain_bce\ttest_bce\ttrain_sq\ttest_sq\tseconds\n");
    printf("  epoch   bce: train    test   squared error: train    test   seconds\n");
    size_t epoch = 0;
    while (epoch < s->epochs && !interrupted) {
        if (s->fresh)
            draw_fresh_curves(train_set, random_bits(r));
        if ((double)epoch >= s->turn * (double)s->epochs)
            t->loss = SQUARED;
        shuffle(order, count, r);
        struct losses sum = {0, 0};
        double start = seconds();
        size_t seen = 0;
        for (size_t k = 0; k < steps && !interrupted; k++) {
            double done = (double)(epoch * steps + k) / (double)(s->epochs * steps);
            size_t B = least(s->batch, count - k * s->batch);
            double rate = strcmp(s->schedule, "cosine") == 0 ? cosine_rate(s->rate, done) : s->rate;
            struct losses batch = train_step(t, train_set, order + k * s->batch, B, rate);
            sum.bce += batch.bce;
            sum.squared += batch.squared;
            seen += B;
            if (k % 8 == 0)
                show_progress(&bar, done, "training");
        }
        took[epoch] = seconds() - start;
        hide_progress(&bar);
        if (seen == 0) /* Ctrl-C between two epochs */
            break;
        epoch++;
        struct losses test = evaluate(t, test_set, tests, NULL, NULL);
        /* A network that knows nothing guesses gray, log 2 a pixel. Ten times that is no learning.
           The comparison is false for a NaN. */
        double mean = sum.bce / (double)seen, hopeless = 10 * PIXELS * log(2.0);
        if (!(mean < hopeless && test.bce < hopeless))
            die("the loss has grown beyond all bounds in epoch %zu: the steps are too large; try a "
                "smaller --rate than %g",
                epoch, s->rate);
        printf("  %5zu %12.2f %7.2f %22.2f %7.2f %9.2f%s\n", epoch, sum.bce / (double)seen,
               test.bce, sum.squared / (double)seen, test.squared, took[epoch - 1],
               interrupted ? "  (stopped)" : "");
        fprintf(o.file, "%zu\t%g\t%g\t%g\t%g\t%g\n", epoch, sum.bce / (double)seen, test.bce,
                sum.squared / (double)seen, test.squared, took[epoch - 1]);
    }
    close_output(&o);
    double middle = median(took, epoch);
    free(order);
    free(took);
    return middle;
}

/* The image x (784) as the d leading directions of p see it: xhat (784) and its coordinates code
 * (d). */
void pca_project(real *xhat, real *code, const struct pca *p, size_t d, const real *x) {
    double centred[PIXELS], sum[PIXELS];
    for (size_t i = 0; i < PIXELS; i++) {
        centred[i] = (double)x[i] - p->mean[i];
        sum[i] = p->mean[i];
    }
    for (size_t k = 0; k < d; k++) {
        double c = dot(centred, p->Q + k * PIXELS, PIXELS);
        code[k] = (real)c;
        for (size_t i = 0; i < PIXELS; i++)
            sum[i] += c * p->Q[k * PIXELS + i];
    }
    for (size_t i = 0; xhat && i < PIXELS; i++)
        xhat[i] = (real)sum[i];
}

/* The codes of all images of a set, N x d, by the network's encoder or by PCA. */
void encode_all(real *code, struct trainer *t, const struct pca *p, const struct images *images,
                size_t N) {
    size_t d = t->net->code;
    if (!p) {
        evaluate(t, images, N, code, NULL);
        return;
    }
    PARALLEL
    for (size_t r = 0; r < N; r++) {
        real x[PIXELS];
        brightness(x, images->pixel + r * PIXELS, PIXELS);
        pca_project(NULL, code + r * d, p, d, x);
    }
}

/* codes.tsv: all numbers of each code; axes.tsv: the two directions in which the
   codes spread most. */
void draw_codes(const struct settings *s, const real *code, const unsigned char *label, size_t N,
                size_t d) {
    struct output o = open_output(s->out, "codes.tsv");
    fprintf(o.file, "label");
    for (size_t j = 0; j < d; j++)
        fprintf(o.file, "\tz%zu", j + 1);
    for (size_t r = 0; r < N; r++) {
        fprintf(o.file, "\n%d", label ? label[r] : 0);
        for (size_t j = 0; j < d; j++)
            fprintf(o.file, "\t%g", (double)code[r * d + j]);
    }
    fprintf(o.file, "\n");
    close_output(&o);
    double *mean = allocate(d, sizeof *mean), *H = allocate(2 * d * d, sizeof *H), *V = H + d * d;
    for (size_t r = 0; r < N; r++)
        for (size_t j = 0; j < d; j++)
            mean[j] += (double)code[r * d + j] / (double)N;
    for (size_t r = 0; r < N; r++)
        for (size_t j = 0; j < d; j++)
            for (size_t k = 0; k < d; k++)
                H[j * d + k] += ((double)code[r * d + j] - mean[j]) *
                                ((double)code[r * d + k] - mean[k]) / (double)N;
    jacobi(V, H, d);
    o = open_output(s->out, "axes.tsv");
    fprintf(o.file, "label\tfirst\tsecond\n");
    for (size_t r = 0; r < N; r++) {
        double along[2] = {0, 0};
        for (size_t axis = 0; axis < 2 && axis < d; axis++)
            for (size_t j = 0; j < d; j++)
                along[axis] += V[axis * d + j] * ((double)code[r * d + j] - mean[j]);
        fprintf(o.file, "%d\t%g\t%g\n", label ? label[r] : 0, along[0], along[1]);
    }
    close_output(&o);
    free(mean);
    free(H);
}

/* Ten test images (of ten classes, where there are labels), what the autoencoder and PCA make of
 * them. */
void draw_reconstructions(const struct settings *s, struct trainer *t, const struct pca *p,
                          const struct images *images, size_t N) {
    enum { SHOWN = 10 };
    real *sheet = numbers(3 * SHOWN * PIXELS), *code = numbers(p->d), *xhat = numbers(N * PIXELS);
    evaluate(t, images, N, NULL, xhat);
    for (size_t k = 0; k < SHOWN && k < N; k++) {
        size_t r = k;
        for (size_t i = 0; images->label && i < N; i++)
            if (images->label[i] == k) {
                r = i;
                break;
            }
        brightness(sheet + k * PIXELS, images->pixel + r * PIXELS, PIXELS);
        memcpy(sheet + (SHOWN + k) * PIXELS, xhat + r * PIXELS, PIXELS * sizeof(real));
        pca_project(sheet + (2 * SHOWN + k) * PIXELS, code, p, p->d, sheet + k * PIXELS);
    }
    write_sheet(s->out, "reconstructions.png", sheet, 3, SHOWN, 3);
    free(sheet);
    free(code);
    free(xhat);
}

/* The autoencoder beside PCA with as many numbers, and the codes beside the pixels as features. */
void compare(const struct settings *s, struct trainer *t, const struct images *train_set,
             size_t count, const struct images *test_set, size_t tests, struct random *r,
             struct results *results) {
    size_t d = t->net->code;
    struct images used = *train_set, judged = *test_set;
    used.count = count;
    judged.count = tests;
    double *C = allocate(PIXELS * PIXELS, sizeof *C), *mean = allocate(PIXELS, sizeof *mean);
    double *error = allocate(d + 1, sizeof *error);
    covariance(C, mean, &used);
    struct pca p = pca_find(mean, C, PIXELS, d, r);
    pca_errors(error, &p, &judged);
    real *code = numbers(tests * d);
    struct losses test = evaluate(t, test_set, tests, code, NULL);
    printf("\non %zu test images, per image      squared error    bce (nats)\n", tests);
    printf("  autoencoder, %2zu numbers         %10.2f    %10.2f\n", d, test.squared, test.bce);
    printf("  PCA, %2zu numbers                 %10.2f\n", d, error[d]);
    result(results, test.bce, "nats", "test_bce");
    result(results, test.squared, "", "test_sq");
    result(results, error[d], "", "pca_sq");
    draw_codes(s, code, test_set->label, tests < 2000 ? tests : 2000, d);
    draw_reconstructions(s, t, &p, test_set, tests);

    if (train_set->label && test_set->label) {
        real *codes = numbers(count * d);
        struct points known = {count, d, codes, NULL, train_set->label};
        struct points asked = {tests, d, code, NULL, test_set->label};
        encode_all(codes, t, NULL, train_set, count);
        double by_code = nearest_neighbour_accuracy(&known, &asked);
        encode_all(codes, t, &p, train_set, count);
        encode_all(code, t, &p, test_set, tests);
        double by_pca = nearest_neighbour_accuracy(&known, &asked);
        known = (struct points){count, PIXELS, NULL, train_set->pixel, train_set->label};
        asked = (struct points){tests, PIXELS, NULL, test_set->pixel, test_set->label};
        double by_pixels = nearest_neighbour_accuracy(&known, &asked);
        printf("\nthe nearest of %zu training images has the same label, for this many test images "
               "in a hundred\n",
               count);
        printf("  by the autoencoder's %2zu numbers  %6.1f\n  by PCA's %2zu numbers              "
               "%6.1f\n"
               "  by all 784 pixels                %6.1f\n",
               d, by_code, d, by_pca, by_pixels);
        result(results, by_code, "%", "nearest_code");
        result(results, by_pca, "%", "nearest_pca");
        result(results, by_pixels, "%", "nearest_pixels");
        free(codes);
    }
    pca_free(&p);
    free(C);
    free(error);
    free(code);
}

/* The student's picture, the first half of pair (2,784), and what the network makes of it, side by
   side in image.png. */
void reconstruct_picture(const struct settings *s, struct trainer *t, real *pair) {
    struct network *net = t->net;
    const real *z = network_forward(net, pair, 0, net->half, 0, 1);
    printf("\nthe code of %s:", s->image);
    for (size_t j = 0; j < net->code; j++)
        printf(" %.2f", (double)z[j]);
    const real *logits = network_forward(net, z, net->half, net->depth, 0, 1);
    activation_forward(pair + PIXELS, logits, SIGMOID, PIXELS);
    losses_of_images(t->example, NULL, logits, pair, 1, BCE, 0, 1);
    printf("\n  squared error %.2f, cross-entropy %.2f nats; original and reconstruction: "
           "%s/image.png\n",
           t->example[0].squared, t->example[0].bce, s->out);
    write_sheet(s->out, "image.png", pair, 1, 2, 6);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    static const char *const loss_name[] = {"bce", "squared"}, *const schedule_name[] = {
                                                                   "cosine", "constant"};
    struct settings s = {.data = "data/digits",
                         .out = "build/" CHAPTER,
                         .activation = "relu",
                         .loss = "bce",
                         .schedule = "cosine",
                         .save = "",
                         .load = "",
                         .image = "",
                         .epochs = 25,
                         .batch = 64,
                         .seed = 1,
                         .images = 1000000,
                         .tests = 1000000,
                         .rate = 0.002,
                         .turn = 1,
                         .layers = {4, {784, 400, 100, 6}}};
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not; the drawn curves are in build/curves", 's',
         &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--layers", "widths of the encoder, from the pixels to the code", 'l', &s.layers, 1,
         100000},
        {"--code", "width of the code; 0: as --layers says", 'n', &s.code, 0, 784},
        {"--activation", "between layers: relu, elu, silu, tanh, sigmoid, identity", 's',
         &s.activation, 0, 0},
        {"--loss", "what is trained: bce or squared", 's', &s.loss, 0, 0},
        {"--epochs", "times through the training images; 0: none", 'n', &s.epochs, 0, 1000000},
        {"--batch", "images in a step", 'n', &s.batch, 1, 100000},
        {"--rate", "learning rate at the start", 'x', &s.rate, 1e-9, 1e9},
        {"--schedule", "of the learning rate: cosine (to zero) or constant", 's', &s.schedule, 0,
         0},
        {"--decay", "weight decay: the part of itself a parameter loses, in units of the rate", 'x',
         &s.decay, 0, 100},
        {"--turn", "from this part of the epochs on, train squared error", 'x', &s.turn, 0, 1},
        {"--fresh", "train on this many curves, drawn anew each epoch; 0: on the data", 'n',
         &s.fresh, 0, 1e8},
        {"--images", "how many training images to use", 'n', &s.images, 1, 1e9},
        {"--tests", "how many test images to use", 'n', &s.tests, 1, 1e9},
        {"--save", "write the trained weights here (safetensors)", 's', &s.save, 0, 0},
        {"--load", "begin with the weights in this file", 's', &s.load, 0, 0},
        {"--image", "reconstruct this PNG, too", 's', &s.image, 0, 0},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table,
                  "trains the whole autoencoder and looks at what it has learned");
    use_threads(s.threads);
    enum activation f = choose("--activation", s.activation, activation_name, ACTIVATIONS);
    enum loss loss = choose("--loss", s.loss, loss_name, 2);
    choose("--schedule", s.schedule, schedule_name, 2);
    if (s.layers.n < 2 || s.layers.n > MAX_LAYERS || s.layers.size[0] != PIXELS)
        bad_option("--layers", NULL,
                   "must begin with 784, the pixels of an image, and name a code");
    if (s.code)
        s.layers.size[s.layers.n - 1] = s.code;

    struct images train_set = read_images(s.data, "train"), test_set = read_images(s.data, "t10k");
    if (s.fresh) { /* as many as are wanted, drawn before each epoch, with no label */
        free_images(&train_set);
        train_set = (struct images){s.fresh, allocate(s.fresh, PIXELS), NULL};
        draw_fresh_curves(&train_set, s.seed);
    }
    size_t count = least(train_set.count, s.images), tests = least(test_set.count, s.tests);
    s.batch = least(s.batch, count);
    make_folder(s.out);
    catch_interrupts();
    struct network net = network_new(s.layers.size, s.layers.n, 1, f, s.batch);
    struct random r;
    random_seed(&r, s.seed);
    network_start(&net, &r);
    if (*s.load)
        load_weights(&net, s.load);
    if (*s.save)
        check_place(s.save);
    real *picture = numbers(2 * PIXELS); /* the student's, and what the network makes of it */
    if (*s.image)
        read_picture(picture, s.image);
    struct trainer t = {.net = &net,
                        .adam = adam_new(net.parameters),
                        .x = numbers(s.batch * PIXELS),
                        .example = allocate(s.batch, sizeof *t.example),
                        .loss = loss,
                        .decay = s.decay};
    network_transpose(&net);
    struct results results;
    open_results(&results);
    print_network(&net);
    printf("%zu training images, %zu test images, batches of %zu\n", count, tests, s.batch);
    result(&results, (double)net.parameters, "parameters", "parameters");
    if (s.epochs)
        result(&results, train(&t, &s, &train_set, count, &test_set, tests, &r), "seconds",
               "epoch_seconds");
    if (*s.save) {
        save_weights(&net, s.save);
        printf("weights saved in %s\n", s.save);
    }
    compare(&s, &t, &train_set, count, &test_set, tests, &r, &results);
    if (*s.image)
        reconstruct_picture(&s, &t, picture);
    result(&results, peak_memory(), "MB", "peak_memory");
    close_results(&results, s.out);

    network_free(&net);
    adam_free(&t.adam);
    free(t.x);
    free(t.example);
    free(picture);
    free_images(&train_set);
    free_images(&test_set);
    return 0;
}
#endif
