/* vae.c: chapter 11 of "Autoencoders by Hand".

   The variational autoencoder: 784 -> 400 -> 100 -> (mu, logvar) -> z -> 100 -> 400 -> 784. It is
   chapter 5's network with a random number in its middle and one more term in its loss, and it can
   do what that could not: invent digits, and say how probable a picture is.

   Build it alone:  cc -O3 -march=native -fopenmp vae.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: B examples in a batch, one a row; d the width of the code z; K draws of z for one image;
   x (B,784) pixels; code (B,2d) what the encoder says of each, mu (d) then logvar (d); noise (B,d);
   z (B,d); s (B,784) logits; xhat = sigmoid(s). q(z|x) is the encoder's distribution, p(x|z) the decoder's,
   p(z) the standard normal. */
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

#define PROGRAM "vae"
#define CHAPTER "11-vae"

/* --- precision (chapter 1) -------------------------------------------------- */
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

/* --- errors (chapter 1) ----------------------------------------------------- */
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

/* --- random numbers (chapter 1) --------------------------------------------- */
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

/* --- reading IDX files (chapter 1) ------------------------------------------ */
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

/* --- writing files (chapter 1) ---------------------------------------------- */
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

/* --- pictures (chapter 1) --------------------------------------------------- */
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

/* --- sizes (chapter 5) ------------------------------------------------------ */
enum { MAX_LAYERS = 32 };

/* --- options (chapter 1) ---------------------------------------------------- */
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

/* --- adam (chapter 2) ------------------------------------------------------- */
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

/* --- batches (chapter 2) ---------------------------------------------------- */
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

/* --- progress (chapter 2) --------------------------------------------------- */
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

/* --- a team of cores (chapter 5) -------------------------------------------- */
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

/* --- matrix product (chapter 5) --------------------------------------------- */
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

/* --- transposing (chapter 5) ------------------------------------------------ */
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

/* --- exponential (chapter 5) ------------------------------------------------ */
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

/* --- activations of a deep network (chapter 5) ------------------------------ */
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

/* --- layer by tiles (chapter 5) --------------------------------------------- */
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

/* --- network (chapter 5) ---------------------------------------------------- */
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

/* --- loss of an image (chapter 5) ------------------------------------------- */
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

/* --- weights in a file (chapter 5) ------------------------------------------ */
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

/* --- weights from a file (chapter 5) ---------------------------------------- */
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

/* --- learning rate (chapter 5) ---------------------------------------------- */
/* Full at first, then falling along half a cosine to zero: large steps find the valley, small ones
   its floor. done runs from 0 to 1. */
double cosine_rate(double rate, double done) {
    return rate * 0.5 * (1 + cos(acos(-1.0) * done));
}

/* --- training (chapter 5) --------------------------------------------------- */
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

/* --- choices and measures (chapter 5) --------------------------------------- */
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

/* --- normal numbers (chapter 10) -------------------------------------------- */
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

/* --- reparameterization (chapter 10) ---------------------------------------- */
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

/* --- divergence from a standard normal (chapter 10) ------------------------- */
/* kl (B) = KL(N(mu, sigma^2) || N(0, 1)) of each row of code (B,2d), in nats:
     -1/2 sum over j of (1 + logvar_j - mu_j^2 - e^logvar_j) */
void kl_forward(double *kl, const real *code, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++) {
        kl[r] = 0;
        for (size_t j = 0; j < d; j++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            kl[r] -= 0.5 * (1 + logvar - mu * mu - exp(logvar));
        }
    }
}

/* dmu += scale mu   and   dlogvar += scale (e^logvar - 1) / 2,   both in dcode (B,2d) */
void kl_backward(real *dcode, const real *code, real scale, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
            dcode[2 * r * d + j] += scale * mu;
            dcode[(2 * r + 1) * d + j] += scale * (exp(logvar) - 1) / 2;
        }
}

/* --- six values --------------------------------------------------------------- */
/* A toy whose p(x) can be summed: a number of the code takes one of six values, all equally
   probable, and explains what it is to explain with the probability that stands here. */
enum { VALUES = 6 };
const double explains[VALUES] = {0.10, 0.20, 0.15,
                                 0.25, 0.05, 0.25}; /* p(x|z), not of sum 1 by law */

/* p(x) = sum over z of p(x|z) p(z), by brute force, where z consists of d such numbers and x of d
   parts, each explained by its own: one term for each of the 6^d codes. */
double sum_over_codes(size_t d, uint64_t *terms) {
    double sum = 0, codes = pow(VALUES, d);
    for (*terms = 0; (double)*terms < codes; ++*terms) {
        uint64_t code = *terms; /* its digits to the base of six are z */
        double term = 1;
        for (size_t j = 0; j < d; j++, code /= VALUES)
            term *= explains[code % VALUES] / VALUES;
        sum += term;
    }
    return sum;
}

/* --- variational autoencoder -------------------------------------------------- */
/* Chapter 5's network, whose encoder says two numbers for each of the code's, with what a batch
   needs beside it. All is allocated once. */
struct vae {
    struct network net; /* its encoder's last layer says code (batch,2d): mu, then logvar */
    struct adam adam;
    real *x;                /* (batch,784) the images of the batch */
    real *noise;            /* (batch,d) standard normal, drawn by the caller */
    real *z, *dz;           /* (batch,d) */
    struct losses *example; /* (batch) of the reconstruction of each image */
    double *kl;             /* (batch) nats, of the code of each image */
    double beta;            /* weight of the KL in the loss; 1 makes it the negative ELBO */
};

struct vae vae_new(const size_t *size, size_t count, enum activation f, size_t batch, double beta) {
    struct vae v = {.net = network_new(size, count, 2, f, batch), .beta = beta};
    size_t d = v.net.code;
    v.adam = adam_new(v.net.parameters);
    v.x = numbers(batch * PIXELS);
    v.noise = numbers(batch * d);
    v.z = numbers(batch * d);
    v.dz = numbers(batch * d);
    v.example = allocate(batch, sizeof *v.example);
    v.kl = allocate(batch, sizeof *v.kl);
    return v;
}

void vae_free(struct vae *v) {
    network_free(&v->net);
    adam_free(&v->adam);
    free(v->x);
    free(v->noise);
    free(v->z);
    free(v->dz);
    free(v->example);
    free(v->kl);
}

/* --- forward and back through a vae --------------------------------------- */
/* Of some rows: encoder, code, z = mu + sigma noise, decoder. Returns the logits (batch,784). The
   decoder is the layers from `half` on: what it gets is z, not what the layer below it says. */
const real *vae_forward(struct vae *v, size_t first, size_t rows) {
    struct network *net = &v->net;
    size_t d = net->code, half = net->half;
    const real *code = network_forward(net, v->x, 0, half, first, rows);
    reparameterize(v->z + first * d, code + 2 * first * d, v->noise + first * d, rows, d);
    return network_forward(net, v->z, half, net->depth, first, rows);
}

/* The loss of some rows: example (batch) and kl (batch); and where ds is not NULL, what the logits
   collect, for the mean over B rows. */
void vae_losses(struct vae *v, real *ds, const real *logits, size_t B, size_t first, size_t rows) {
    size_t d = v->net.code;
    const real *code = v->net.layer[v->net.half - 1].h;
    losses_of_images(v->example, ds, logits, v->x, B, BCE, first, rows);
    kl_forward(v->kl + first, code + 2 * first * d, rows, d);
}

/* The way back for some rows, from ds of the logits down to ds of the first layer. What the encoder
   says is used twice, for z and for the KL, and collects from both. dz is no layer's, so
   network_zero does not know of it, and it is cleared here. */
void vae_backward_inputs(struct vae *v, size_t B, size_t first, size_t rows) {
    struct network *net = &v->net;
    size_t d = net->code, half = net->half;
    struct layer *encoder = &net->layer[half - 1];
    const real *code = encoder->h + 2 * first * d;
    real *dcode = encoder->dh + 2 * first * d;
    memset(v->dz + first * d, 0, rows * d * sizeof(real));
    network_backward_inputs(net, v->dz, half, net->depth, first, rows);
    reparameterize_backward(dcode, v->dz + first * d, code, v->noise + first * d, rows, d);
    kl_backward(dcode, code, (real)(v->beta / (double)B), rows, d);
    network_backward_inputs(net, NULL, 0, half, first, rows);
}

/* This core's share of the gradient of every parameter. What came into the decoder is z. */
void vae_backward_weights(struct vae *v, size_t B) {
    struct network *net = &v->net;
    network_backward_weights(net, v->z, net->half, net->depth, B);
    network_backward_weights(net, v->x, 0, net->half, B);
}

/* --- training a vae ------------------------------------------------------------ */
/* Sums or means over images: cross-entropy and KL in nats, squared error. bce + kl is the negative
   ELBO. */
struct parts {
    double bce, kl, squared;
};

void add_parts(struct parts *sum, const struct vae *v, size_t B, double scale) {
    for (size_t r = 0; r < B; r++) {
        sum->bce += scale * v->example[r].bce;
        sum->kl += scale * v->kl[r];
        sum->squared += scale * v->example[r].squared;
    }
}

/* One step on the B images whose numbers stand in which (B), with the noise in v->noise: chapter
   5's, with another middle. Returns the sums of the losses over the batch.

   Up and down, a core is alone with its rows, and needs nobody. A weight collects from all rows, so
   the cores meet before each takes its share of the weights; and they meet again before the weights
   change, because what comes after shares them out in another way. */
struct parts vae_step(struct vae *v, const struct images *images, const size_t *which, size_t B,
                      double rate) {
    struct network *net = &v->net;
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        gather(v->x + first * PIXELS, images, which + first, rows);
        network_zero(net, first, rows);
        const real *logits = vae_forward(v, first, rows);
        vae_losses(v, net->layer[net->depth - 1].ds, logits, B, first, rows);
        vae_backward_inputs(v, B, first, rows);
        meet();
        vae_backward_weights(v, B);
        meet();
        network_update(net, &v->adam, rate, 0);
    }
    v->adam.steps++;
    struct parts sum = {0, 0, 0};
    add_parts(&sum, v, B, 1);
    return sum;
}

/* --- evaluating a vae ----------------------------------------------------- */
/* The means over the first `count` images, with fresh noise from r, or at z = mu where r is NULL.
   Where they are not NULL, code (count,2d) and xhat (count,784) keep what comes out for each.
   Nothing is learned here: no gradient is asked for, and none is zeroed. */
struct parts vae_evaluate(struct vae *v, const struct images *images, size_t count,
                          struct random *r, real *code, real *xhat) {
    struct network *net = &v->net;
    struct parts mean = {0, 0, 0};
    size_t d = net->code;
    for (size_t start = 0; start < count; start += net->batch) {
        size_t B = least(net->batch, count - start);
        if (r)
            random_normal(v->noise, B * d, r);
        else
            memset(v->noise, 0, B * d * sizeof(real)); /* z = mu + sigma 0 */
        TEAM {
            size_t first = share(B, TILE_ROWS, core()),
                   rows = share(B, TILE_ROWS, core() + 1) - first, at = start + first;
            brightness(v->x + first * PIXELS, images->pixel + at * PIXELS, rows * PIXELS);
            const real *logits = vae_forward(v, first, rows);
            vae_losses(v, NULL, logits, B, first, rows);
            if (code)
                memcpy(code + at * 2 * d, net->layer[net->half - 1].h + first * 2 * d,
                       rows * 2 * d * sizeof(real));
            if (xhat)
                activation_forward(xhat + at * PIXELS, logits + first * PIXELS, SIGMOID,
                                   rows * PIXELS);
        }
        /* One core adds up, always in the same order: a sum of rounded numbers depends on it. */
        add_parts(&mean, v, B, 1 / (double)count);
    }
    return mean;
}

/* --- log of a mean -------------------------------------------------------- */
/* log ((e^a_1 + ... + e^a_n) / n). The largest is taken out, so that no power overflows and at
   least one is 1. */
double log_mean_exp(const double *a, size_t n) {
    double most = a[0], sum = 0;
    for (size_t k = 1; k < n; k++)
        most = fmax(most, a[k]);
    for (size_t k = 0; k < n; k++)
        sum += exp(a[k] - most);
    return most + log(sum / (double)n);
}

/* L_k of Burda and others (2016) from K draws, K a multiple of k: the draws in groups of k, the
   mean over the groups of the log of the mean weight. L_1 is the ELBO. */
double importance_bound(const double *logw, size_t K, size_t k) {
    double sum = 0;
    for (size_t start = 0; start < K; start += k)
        sum += log_mean_exp(logw + start, k);
    return sum / (double)(K / k);
}

/* --- importance weights --------------------------------------------------- */
/* logw (K) = log p(x|z) + log p(z) - log q(z) for K draws z from q, the normal distribution of
   which code (2d) says mu and logvar: the encoder's for x (784), or p(z) itself where all are 0.
   With noise = (z - mu) / sigma,
     log p(z) - log q(z) = sum over j of (noise_j^2 - z_j^2 + logvar_j) / 2
   because the 2 pi cancel. Each draw has a stream of random numbers of its own, so the cores can
   draw at the same time, and the result does not depend on how many there are. */
void importance_weights(double *logw, struct vae *v, const real *x, const real *code, size_t K,
                        uint64_t seed) {
    struct network *net = &v->net;
    size_t d = net->code;
    TEAM {
        size_t first = share(net->batch, TILE_ROWS, core()),
               room = share(net->batch, TILE_ROWS, core() + 1) - first;
        for (size_t r = first; r < first + room; r++)
            memcpy(v->x + r * PIXELS, x, PIXELS * sizeof(real));
        for (size_t k = first; k < K; k += net->batch) { /* draw k + r in row first + r */
            size_t rows = least(room, K - k);
            for (size_t r = first; r < first + rows; r++) {
                struct random own; /* number k + r - first of this image */
                random_seed(&own, seed + k + r - first);
                random_normal(v->noise + r * d, d, &own);
                reparameterize(v->z + r * d, code, v->noise + r * d, 1, d);
            }
            const real *logits = network_forward(net, v->z, net->half, net->depth, first, rows);
            losses_of_images(v->example, NULL, logits, v->x, 1, BCE, first, rows);
            for (size_t r = first; r < first + rows; r++) {
                double sum = 0;
                for (size_t j = 0; j < d; j++) {
                    double noise = (double)v->noise[r * d + j], z = (double)v->z[r * d + j];
                    sum += (noise * noise - z * z + (double)code[d + j]) / 2;
                }
                logw[k + r - first] = sum - v->example[r].bce;
            }
        }
    }
}

/* --- active units ------------------------------------------------------------- */
/* For each number of the code, from code (count,2d), what the encoder says of many images: activity
   (d), the variance over the images of its mu, and kl (d), its mean part of the KL in nats. */
void active_units(double *activity, double *kl, const real *code, size_t count, size_t d) {
    for (size_t j = 0; j < d; j++) {
        double mean = 0, square = 0;
        kl[j] = 0;
        for (size_t r = 0; r < count; r++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            mean += mu / (double)count;
            square += mu * mu / (double)count;
            kl[j] -= 0.5 * (1 + logvar - mu * mu - exp(logvar)) / (double)count;
        }
        activity[j] = square - mean * mean;
    }
}

/* --- normal quantile ---------------------------------------------------------- */
/* The x below which a standard normal number falls with probability p: the inverse of its
   distribution function, which the library has as erfc, by halving an interval. */
double normal_quantile(double p) {
    double low = -10, high = 10;
    for (int i = 0; i < 60; i++) {
        double x = (low + high) / 2;
        *(0.5 * erfc(-x / sqrt(2.0)) < p ? &low : &high) = x;
    }
    return (low + high) / 2;
}

#ifndef WORKBOOK_TEST

/* === the program ============================================================= */

struct settings {
    const char *data, *out, *activation, *schedule, *save, *load;
    size_t epochs, batch, seed, threads, code, images, tests, weighted, sample;
    double rate, beta;
    struct sizes layers;
};

/* Streams of random numbers, beside that of the start and the order of the images: what is added to
   the seed. With a stream for each purpose, to ask for more of one thing changes no other. */
enum {
    NOISE_OF_TRAINING = 1000000,
    NOISE_OF_EPOCHS = 2000000,
    CODES_AT_RANDOM = 3000000,
    NOISE_OF_TESTS = 4000000
};

void print_network(const struct network *net) {
    for (size_t l = 0; l <= net->depth; l++)
        if (l == net->half)
            printf(" -> (mu %zu, logvar %zu) -> z %zu", net->code, net->code, net->code);
        else
            printf("%s%zu", l ? " -> " : "", l ? net->layer[l - 1].out : net->layer[0].in);
    printf(", %s inside, %zu parameters\n", activation_name[net->layer[0].f], net->parameters);
}

/* The mean of many measurements and its standard error, s / sqrt(n) with the spread s of the
   measurements, from their sum and their sum of squares. */
struct mean {
    double sum, squares;
    size_t n;
};

void add(struct mean *m, double value) {
    m->sum += value;
    m->squares += value * value;
    m->n++;
}

double mean_of(const struct mean *m) {
    return m->sum / (double)m->n;
}

double error_of(const struct mean *m) {
    double mean = mean_of(m), n = (double)m->n;
    return n > 1 ? sqrt(fmax(0, m->squares / n - mean * mean) / (n - 1)) : 0;
}

/* p(x) of the toy for codes of 1, 2, 3 ... numbers, and how long the sum takes. */
void toy(struct results *results) {
    enum { LONGEST = 9, BEYOND = 20 };
    double took = 0; /* by the last sum, which is the longest */
    uint64_t terms = 0;
    printf("six values: p(x) = sum of p(x|z) p(z), every term added up\n"
           "  numbers in z         terms     the sum   known answer    seconds\n");
    for (size_t d = 1; d <= LONGEST; d++) {
        double start = seconds(), p = sum_over_codes(d, &terms);
        took = seconds() - start;
        printf("  %12zu  %12llu  %10.4g     %10.4g  %9.4f\n", d, (unsigned long long)terms, p,
               pow(1.0 / VALUES, d), took);
        result(results, p, "", "toy_p_%zu", d);
        result(results, (double)terms, "terms", "toy_terms_%zu", d);
        result(results, took, "seconds", "toy_seconds_%zu", d);
    }
    /* Longer sums take longer in proportion to their terms, and we need not wait to know. */
    double far = pow(VALUES, BEYOND), years = took / (double)terms * far / (365.25 * 86400);
    printf("  %12d  %12.4g                          %9.2f years at this speed\n\n", BEYOND, far,
           years);
    result(results, far, "terms", "toy_terms_%d", BEYOND);
    result(results, years * 365.25 * 86400, "seconds", "toy_seconds_%d", BEYOND);
}

/* Of the KL of the batch, the part that tells no image from another: half the squared length of the
   mean of all mu. */
double common_part(const struct vae *v, size_t B) {
    size_t d = v->net.code;
    const real *code = v->net.layer[v->net.half - 1].h;
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        double mean = 0;
        for (size_t r = 0; r < B; r++)
            mean += (double)code[2 * r * d + j] / (double)B;
        sum += mean * mean / 2;
    }
    return sum;
}

/* What an epoch was like: means over the images that were seen, and the seconds it took. */
struct epoch {
    struct parts vae;
    double ae_bce, took[2];
    size_t seen;
};

/* An epoch of the VAE, then one of the autoencoder, on the same batches, so that their times can be
   compared. Where first_steps (steps,3) is not NULL, it gets bce, kl and its common part of each
   step of the VAE. */
struct epoch train_epoch(struct vae *v, struct trainer *t, const struct settings *s,
                         const struct images *train_set, size_t count, const size_t *order,
                         size_t number, struct random *noise, double *first_steps,
                         struct progress *bar) {
    struct epoch e = {{0, 0, 0}, 0, {0, 0}, 0};
    size_t steps = (count + s->batch - 1) / s->batch, ae_seen = 0;
    /* One after the other, not step by step in turns, so that each can be timed. */
    for (int which = 0; which < 2; which++) {
        double start = seconds();
        for (size_t k = 0; k < steps && !interrupted; k++) {
            double done = (double)(number * steps + k) / (double)(s->epochs * steps);
            double rate = strcmp(s->schedule, "cosine") == 0 ? cosine_rate(s->rate, done) : s->rate;
            size_t B = least(s->batch, count - k * s->batch);
            const size_t *batch = order + k * s->batch;
            if (which == 0) {
                /* by one core, before the team begins: so it does not depend on how many there are */
                random_normal(v->noise, B * v->net.code, noise);
                struct parts p = vae_step(v, train_set, batch, B, rate);
                e.vae.bce += p.bce;
                e.vae.kl += p.kl;
                e.seen += B;
                if (first_steps) {
                    first_steps[3 * k] = p.bce / (double)B;
                    first_steps[3 * k + 1] = p.kl / (double)B;
                    first_steps[3 * k + 2] = common_part(v, B);
                }
            } else {
                e.ae_bce += train_step(t, train_set, batch, B, rate).bce;
                ae_seen += B;
            }
            if (k % 8 == 0)
                show_progress(bar, done, which ? "the autoencoder" : "the VAE");
        }
        e.took[which] = seconds() - start;
    }
    e.vae.bce /= (double)(e.seen ? e.seen : 1); /* none are seen after a Ctrl-C */
    e.vae.kl /= (double)(e.seen ? e.seen : 1);
    e.ae_bce /= (double)(ae_seen ? ae_seen : 1);
    return e;
}

/* start.tsv: the first epoch step by step. A step that was not taken, because of a Ctrl-C, has a
   bce of 0. */
void write_start(const struct settings *s, const double *first_steps, size_t steps,
                 struct results *results) {
    size_t top = 0;
    struct output o = open_output(s->out, "start.tsv");
    fprintf(o.file, "step\tbce\tkl\tcommon\n");
    for (size_t k = 0; k < steps && first_steps[3 * k] > 0; k++) {
        fprintf(o.file, "%zu\t%g\t%g\t%g\n", k + 1, first_steps[3 * k], first_steps[3 * k + 1],
                first_steps[3 * k + 2]);
        top = first_steps[3 * k + 1] > first_steps[3 * top + 1] ? k : top;
    }
    close_output(&o);
    result(results, (double)(top + 1), "", "start_step_most");
    result(results, first_steps[3 * top + 1], "nats", "start_kl_most");
    result(results, first_steps[3 * top + 2], "nats", "start_common_most");
}

/* Trains both networks, prints a line an epoch and writes losses.tsv. */
void train(struct vae *v, struct trainer *t, const struct settings *s,
           const struct images *train_set, size_t count, const struct images *test_set,
           size_t tests, struct random *r, struct results *results) {
    size_t *order = allocate(count, sizeof *order), steps = (count + s->batch - 1) / s->batch;
    size_t done = 0, whole = 0;
    double *took[2] = {allocate(s->epochs, sizeof **took), allocate(s->epochs, sizeof **took)};
    double *first_steps = allocate(3 * steps, sizeof *first_steps);
    struct random noise; /* a stream of its own: the order of the images needs none of it */
    random_seed(&noise, s->seed + NOISE_OF_TRAINING);
    struct progress bar = {0};
    struct output o = open_output(s->out, "losses.tsv");
    fprintf(o.file, "epoch\ttrain_bce\ttrain_kl\ttest_bce\ttest_kl\ttest_bce_mu\ttest_sq_mu\t"
                    "seconds\tae_train_bce\tae_test_bce\tae_test_sq\tae_seconds\n");
    printf("         VAE, training images      VAE, test images        at mu          autoencoder\n"
           "  epoch   bce +    kl = -ELBO    bce +    kl = -ELBO  sq. err.    s  test bce sq. err."
           "    s\n");
    while (done < s->epochs && !interrupted) {
        shuffle(order, count, r);
        struct epoch e = train_epoch(v, t, s, train_set, count, order, done, &noise,
                                     done == 0 ? first_steps : NULL, &bar);
        hide_progress(&bar);
        if (e.seen == 0) /* Ctrl-C between two epochs */
            break;
        took[0][done] = e.took[0];
        took[1][done++] = e.took[1];
        whole += !interrupted;
        /* The same noise after each epoch, so that only the weights make the difference between two
           lines of the table. */
        struct random fixed;
        random_seed(&fixed, s->seed + NOISE_OF_EPOCHS);
        struct parts test = vae_evaluate(v, test_set, tests, &fixed, NULL, NULL);
        struct parts at_mu = vae_evaluate(v, test_set, tests, NULL, NULL, NULL);
        struct losses ae_test = evaluate(t, test_set, tests, NULL, NULL);
        /* A network that knows nothing guesses gray, log 2 a pixel. Ten times that is no learning.
           The comparison is false for a NaN. */
        double hopeless = 10 * PIXELS * log(2.0), sum = e.vae.bce + e.vae.kl;
        if (!(sum < hopeless && test.bce + test.kl < hopeless && e.ae_bce < hopeless &&
              ae_test.bce < hopeless))
            die("the loss has grown beyond all bounds in epoch %zu: the steps are too large; try a "
                "smaller --rate than %g",
                done, s->rate);
        printf("  %5zu %6.2f + %5.2f = %6.2f %6.2f + %5.2f = %6.2f", done, e.vae.bce, e.vae.kl, sum,
               test.bce, test.kl, test.bce + test.kl);
        printf(" %9.2f %5.2f %8.2f %8.2f %5.2f%s\n", at_mu.squared, e.took[0], ae_test.bce,
               ae_test.squared, e.took[1], interrupted ? "  (stopped)" : "");
        fprintf(o.file, "%zu\t%g\t%g\t%g\t%g\t%g\t%g\t%g\t%g\t%g\t%g\t%g\n", done, e.vae.bce,
                e.vae.kl, test.bce, test.kl, at_mu.bce, at_mu.squared, e.took[0], e.ae_bce,
                ae_test.bce, ae_test.squared, e.took[1]);
    }
    close_output(&o);
    if (done)
        write_start(s, first_steps, steps, results);
    if (whole) { /* an epoch that was cut short tells nothing of time */
        double vae_took = median(took[0], whole), ae_took = median(took[1], whole);
        printf("an epoch takes the VAE %.2f s, the autoencoder %.2f s: %.3f times as long\n",
               vae_took, ae_took, vae_took / ae_took);
        result(results, vae_took, "seconds", "epoch_seconds");
        result(results, ae_took, "seconds", "ae_epoch_seconds");
        result(results, vae_took / ae_took, "", "epoch_ratio_seconds");
    }
    free(order);
    free(first_steps);
    free(took[0]);
    free(took[1]);
}

/* xhat (n,784) = what the decoder of either network draws for the codes z (n,d). It is the mean of
   p(x|z), brightness: the coins are not thrown. */
void decode(real *xhat, struct network *net, const real *z, size_t n) {
    for (size_t start = 0; start < n; start += net->batch) {
        size_t B = least(net->batch, n - start);
        TEAM {
            size_t first = share(B, TILE_ROWS, core()),
                   rows = share(B, TILE_ROWS, core() + 1) - first;
            const real *logits =
                network_forward(net, z + start * net->code, net->half, net->depth, first, rows);
            activation_forward(xhat + (start + first) * PIXELS, logits + first * PIXELS, SIGMOID,
                               rows * PIXELS);
        }
    }
}

/* A sheet of n pictures, as nearly square as may be. Places that are left over stay white. */
void write_square(const char *dir, const char *name, const real *picture, size_t n) {
    size_t cols = (size_t)ceil(sqrt((double)n)), rows = (n + cols - 1) / cols;
    real *sheet = numbers(rows * cols * PIXELS);
    for (size_t i = 0; i < rows * cols * PIXELS; i++)
        sheet[i] = i < n * PIXELS ? picture[i] : 1;
    write_sheet(dir, name, sheet, rows, cols, 2);
    free(sheet);
}

/* n pictures that nobody has drawn: z from p(z), then the decoder. The codes of the first are the
   same whatever n is. */
void draw_samples(const struct settings *s, struct network *net, size_t n) {
    struct random r;
    random_seed(&r, s->seed + CODES_AT_RANDOM);
    real *z = numbers(n * net->code), *xhat = numbers(n * PIXELS);
    random_normal(z, n * net->code, &r);
    decode(xhat, net, z, n);
    write_square(s->out, "samples.png", xhat, n);
    free(z);
    free(xhat);
}

/* What is known about the codes of a network: the mean (d) over the training images, and the axes of their
   covariance, row by row (d,d), with the variance along each (d). */
struct cloud {
    double *mean, *axis, *variance;
};

/* Of codes (count,d). The axes are the eigenvectors of the covariance, chapter 2's components. */
struct cloud cloud_of(const real *code, size_t count, size_t d) {
    double *H = allocate(d * d, sizeof *H); /* the covariance; jacobi leaves its diagonal */
    struct cloud c = {allocate(d, sizeof *H), allocate(d * d, sizeof *H), allocate(d, sizeof *H)};
    for (size_t r = 0; r < count; r++)
        for (size_t j = 0; j < d; j++)
            c.mean[j] += (double)code[r * d + j] / (double)count;
    for (size_t r = 0; r < count; r++)
        for (size_t j = 0; j < d; j++)
            for (size_t k = 0; k < d; k++)
                H[j * d + k] += ((double)code[r * d + j] - c.mean[j]) *
                                ((double)code[r * d + k] - c.mean[k]) / (double)count;
    jacobi(c.axis, H, d);
    for (size_t j = 0; j < d; j++)
        c.variance[j] = fmax(0, H[j * d + j]); /* rounding may leave a little less than 0 */
    free(H);
    return c;
}

void cloud_free(struct cloud *c) {
    free(c->mean);
    free(c->axis);
    free(c->variance);
}

/* z (n,d) = standard normal numbers, moved and stretched to the mean and covariance of a cloud:
   along each axis as far as the codes spread there, and the axes added up. */
void draw_like(real *z, const struct cloud *c, size_t n, size_t d, struct random *r) {
    real *noise = numbers(d);
    for (size_t i = 0; i < n; i++) {
        random_normal(noise, d, r);
        for (size_t j = 0; j < d; j++) {
            double sum = c->mean[j];
            for (size_t k = 0; k < d; k++)
                sum += c->axis[k * d + j] * sqrt(c->variance[k]) * (double)noise[k];
            z[i * d + j] = (real)sum;
        }
    }
    free(noise);
}

/* What the training images say of some pictures, as means over these: the squared distance to the
   nearest of them; how many of the ten nearest show the digit that most of the ten show, where
   there are labels (all ten around a picture that is clearly one digit, fewer around a mixture);
   and the entropy of the pixels in nats, each taken for the probability of ink: blurred pictures
   are near to many others, so a distance must be read beside this. */
struct verdict {
    struct mean nearest, same, gray;
};

enum { NEAR = 10 };

/* Of a picture from whose dot products with training images start to start+n-1, and from whose
   squared lengths, the squared distance follows but for the picture's own square, which is the same
   for all: brings the NEAR nearest so far up to date, who they are and how far, nearest first. */
void keep_nearest(size_t *who, real *far, const real *dots, const real *length, size_t start,
                  size_t n) {
    for (size_t i = 0; i < n; i++) {
        real distance = length[i] - 2 * dots[i];
        size_t have = least(start + i, NEAR), at = have; /* its place: behind all that are nearer */
        while (at > 0 && distance < far[at - 1])
            at--;
        if (at == NEAR)
            continue;
        for (size_t j = least(have, NEAR - 1); j > at; j--) {
            far[j] = far[j - 1];
            who[j] = who[j - 1];
        }
        far[at] = distance;
        who[at] = start + i;
    }
}

/* who (n,NEAR) and far (n,NEAR): for each of n pictures its nearest training images. A thousand
   images and 64 pictures at a time are one product of matrices. */
void find_nearest(size_t *who, real *far, const real *picture, size_t n,
                  const struct images *train_set, size_t count) {
    enum { MANY = 1024, ROWS = 64 };
    real *x = numbers(MANY * PIXELS), *xt = numbers(MANY * PIXELS), *length = numbers(MANY);
    for (size_t start = 0; start < count; start += MANY) {
        size_t m = least(MANY, count - start), groups = (n + ROWS - 1) / ROWS;
        brightness(x, train_set->pixel + start * PIXELS, m * PIXELS);
        transpose(xt, x, m, PIXELS, 0, m);
        memset(length, 0, MANY * sizeof *length);
        for (size_t i = 0; i < m * PIXELS; i++)
            length[i / PIXELS] += x[i] * x[i];
        TEAM {
            real *dots = numbers(ROWS * m);
            for (size_t g = share(groups, 1, core()); g < share(groups, 1, core() + 1); g++) {
                size_t first = g * ROWS, rows = least(ROWS, n - first);
                memset(dots, 0, rows * m * sizeof *dots);
                multiply(dots, picture + first * PIXELS, PIXELS, 1, xt, rows, m, PIXELS);
                for (size_t r = 0; r < rows; r++)
                    keep_nearest(who + (first + r) * NEAR, far + (first + r) * NEAR, dots + r * m,
                                 length, start, m);
            }
            free(dots);
        }
    }
    free(x);
    free(xt);
    free(length);
}

/* See struct verdict. keep_nearest has left out the picture's own square: it is added here. */
struct verdict judge(const real *picture, size_t n, const struct images *train_set, size_t count) {
    struct verdict v;
    memset(&v, 0, sizeof v);
    real *far = numbers(n * NEAR);
    size_t *who = allocate(n * NEAR, sizeof *who);
    find_nearest(who, far, picture, n, train_set, count);
    for (size_t i = 0; i < n; i++) {
        double square = 0, gray = 0;
        for (size_t k = 0; k < PIXELS; k++) {
            double p = (double)picture[i * PIXELS + k];
            square += p * p;
            gray -= (p > 0 ? p * log(p) : 0) + (p < 1 ? (1 - p) * log(1 - p) : 0);
        }
        size_t votes[10] = {0}, most = 0;
        for (size_t j = 0; train_set->label && j < least(NEAR, count); j++) {
            size_t now = ++votes[train_set->label[who[i * NEAR + j]]];
            most = now > most ? now : most;
        }
        add(&v.nearest, (double)far[i * NEAR] + square);
        add(&v.same, (double)most);
        add(&v.gray, gray);
    }
    free(far);
    free(who);
    return v;
}

/* A row of the table, and its numbers among the results under `name`. */
void report(struct results *results, const char *what, const char *name, const real *picture,
            size_t n, const struct images *train_set, size_t count) {
    if (n == 0)
        return;
    struct verdict v = judge(picture, n, train_set, count);
    printf("  %-43s %6.2f +- %.2f   %5.2f +- %.2f   %6.1f\n", what, mean_of(&v.nearest),
           error_of(&v.nearest), mean_of(&v.same), error_of(&v.same), mean_of(&v.gray));
    result(results, mean_of(&v.nearest), "", "nearest_%s", name);
    result(results, error_of(&v.nearest), "", "nearest_se_%s", name);
    result(results, mean_of(&v.same), "of 10", "same_%s", name);
    result(results, error_of(&v.same), "of 10", "same_se_%s", name);
    result(results, mean_of(&v.gray), "nats", "gray_%s", name);
}

/* A network and its codes of the test images. That of image r begins at code + r * stride: behind
   each mu of the VAE stands a logvar, which is skipped. */
struct encoded {
    struct network *net;
    const real *code;
    size_t stride;
};

/* Pairs of neighbours among the test images whose labels differ; all, where there are no labels.
   pair (2*most) gets their numbers. Returns how many pairs: a rule, so that nobody can choose the
   pretty ones. */
size_t find_pairs(size_t *pair, const struct images *test_set, size_t tests, size_t most) {
    size_t n = 0;
    for (size_t r = 0; r + 1 < tests && n < most; r += 2)
        if (!test_set->label || test_set->label[r] != test_set->label[r + 1]) {
            pair[2 * n] = r;
            pair[2 * n++ + 1] = r + 1;
        }
    return n;
}

/* z (d) = the code that is the part t of the way from image a to image b */
void between(real *z, const struct encoded *e, size_t a, size_t b, real t) {
    for (size_t j = 0; j < e->net->code; j++) {
        real from = e->code[a * e->stride + j], to = e->code[b * e->stride + j];
        z[j] = from + (to - from) * t;
    }
}

/* between.png: for the first pairs a row of the autoencoder, where there is one, above a row of the
   VAE; at the ends the two images, between them nine steps from code to code. */
void draw_between(const struct settings *s, const struct encoded *vae, const struct encoded *ae,
                  const size_t *pair, size_t pairs, const struct images *test_set) {
    enum { SHOWN = 4, STEPS = 9, ACROSS = STEPS + 2 };
    const struct encoded *which[2] = {ae, vae};
    real *sheet = numbers(2 * SHOWN * ACROSS * PIXELS), *row = sheet;
    real *z = numbers(STEPS * vae->net->code);
    for (size_t p = 0; p < least(pairs, SHOWN); p++)
        for (int i = ae ? 0 : 1; i < 2; i++, row += ACROSS * PIXELS) {
            size_t a = pair[2 * p], b = pair[2 * p + 1];
            for (size_t k = 0; k < STEPS; k++)
                between(z + k * vae->net->code, which[i], a, b, (real)k / (STEPS - 1));
            brightness(row, test_set->pixel + a * PIXELS, PIXELS);
            decode(row + PIXELS, which[i]->net, z, STEPS);
            brightness(row + (ACROSS - 1) * PIXELS, test_set->pixel + b * PIXELS, PIXELS);
        }
    if (pairs)
        write_sheet(s->out, "between.png", sheet, (size_t)(row - sheet) / (ACROSS * PIXELS), ACROSS,
                    2);
    free(sheet);
    free(z);
}

/* invent.png: blocks of pictures side by side, with a white column between two. */
enum { BLOCKS = 3, BLOCK_ROWS = 6, BLOCK_COLS = 5, BLOCK_ACROSS = BLOCKS * (BLOCK_COLS + 1) - 1 };

void fill_block(real *sheet, size_t block, const real *picture) {
    for (size_t k = 0; k < BLOCK_ROWS * BLOCK_COLS; k++) {
        size_t row = k / BLOCK_COLS, col = block * (BLOCK_COLS + 1) + k % BLOCK_COLS;
        memcpy(sheet + (row * BLOCK_ACROSS + col) * PIXELS, picture + k * PIXELS,
               PIXELS * sizeof(real));
    }
}

/* Pictures of codes that belong to no image, beside pictures of codes that do: how near are they to
   digits? A row of the table for each kind. Without an autoencoder ae is NULL. */
void generate(const struct settings *s, const struct encoded *vae, const struct encoded *ae,
              const struct cloud *ae_cloud, const struct images *train_set, size_t count,
              const struct images *test_set, size_t tests, struct results *results) {
    enum { MANY = 1000, SHOWN = 100 };
    size_t d = vae->net->code, n = least(MANY, tests), *pair = allocate(2 * MANY, sizeof *pair);
    size_t pairs = find_pairs(pair, test_set, tests, MANY);
    real *x = numbers(MANY * PIXELS), *z = numbers(MANY * d);
    real *invented = numbers(BLOCK_ROWS * BLOCK_ACROSS * PIXELS);
    for (size_t i = 0; i < BLOCK_ROWS * BLOCK_ACROSS * PIXELS; i++)
        invented[i] = 1;
    /* Every kind of picture goes through the same arrays z and x, one after the other. */
    struct random r;
    random_seed(&r, s->seed + CODES_AT_RANDOM); /* as draw_samples, so --sample draws these again */
    printf("\nhow like digits? the nearest training image; how many of the ten nearest agree; how "
           "gray");
    printf("\nbeside %6zu training images:                squared distance    10 nearest:    "
           "entropy\n%48sof the nearest     same digit       nats\n",
           count, "");
    /* What is nearest to a real digit that the networks have not seen? The measure for all below. */
    brightness(x, test_set->pixel, n * PIXELS);
    report(results, "test images", "test", x, n, train_set, count);
    for (size_t i = 0; i < n; i++)
        between(z + i * d, vae, i, i, 0);
    decode(x, vae->net, z, n);
    report(results, "VAE, reconstructions", "vae_reconstructions", x, n, train_set, count);
    random_normal(z, MANY * d, &r);
    decode(x, vae->net, z, MANY);
    write_square(s->out, "samples.png", x, SHOWN);
    fill_block(invented, 2, x);
    report(results, "VAE, codes drawn from p(z)", "vae_random", x, MANY, train_set, count);
    for (size_t p = 0; p < pairs; p++)
        between(z + p * d, vae, pair[2 * p], pair[2 * p + 1], (real)0.5);
    decode(x, vae->net, z, pairs);
    report(results, "VAE, midpoints of two test codes", "vae_midpoints", x, pairs, train_set,
           count);
    if (ae) {
        decode(x, ae->net, ae->code, n);
        report(results, "autoencoder, reconstructions", "ae_reconstructions", x, n, train_set,
               count);
        random_normal(z, MANY * d, &r);
        decode(x, ae->net, z, MANY);
        fill_block(invented, 0, x);
        report(results, "autoencoder, standard normal codes", "ae_normal", x, MANY, train_set,
               count);
        draw_like(z, ae_cloud, MANY, d, &r);
        decode(x, ae->net, z, MANY);
        fill_block(invented, 1, x);
        report(results, "autoencoder, codes like those of digits", "ae_fitted", x, MANY, train_set,
               count);
        for (size_t p = 0; p < pairs; p++)
            between(z + p * d, ae, pair[2 * p], pair[2 * p + 1], (real)0.5);
        decode(x, ae->net, z, pairs);
        report(results, "autoencoder, midpoints of two test codes", "ae_midpoints", x, pairs,
               train_set, count);
    }
    /* Half way between two pictures instead of two codes: both digits at once, each half as bright. */
    for (size_t p = 0; p < pairs; p++)
        for (size_t i = 0; i < PIXELS; i++)
            x[p * PIXELS + i] = (real)(test_set->pixel[pair[2 * p] * PIXELS + i] +
                                       test_set->pixel[pair[2 * p + 1] * PIXELS + i]) /
                                510;
    report(results, "the mean of two test images, pixel by pixel", "pixel_midpoints", x, pairs,
           train_set, count);
    draw_between(s, vae, ae, pair, pairs, test_set);
    if (ae)
        write_sheet(s->out, "invent.png", invented, BLOCK_ROWS, BLOCK_ACROSS, 2);
    free(invented);
    free(pair);
    free(x);
    free(z);
}

/* Mean and variance of number j among rows of `stride` numbers. */
void moments(double *mean, double *variance, const real *code, size_t count, size_t j,
             size_t stride) {
    *mean = *variance = 0;
    for (size_t r = 0; r < count; r++)
        *mean += (double)code[r * stride + j] / (double)count;
    for (size_t r = 0; r < count; r++) {
        double off = (double)code[r * stride + j] - *mean;
        *variance += off * off / (double)count;
    }
}

/* What each number of the code does, as a table and in active.tsv. Over all images together z has
   the variance of mu and, on top, the mean of sigma^2: were the cloud of all codes just p(z), they
   would add up to 1. */
void describe_units(const struct settings *s, size_t d, const real *code, const real *ae_code,
                    size_t tests, struct results *results) {
    double *activity = allocate(d, sizeof *activity), *kl = allocate(d, sizeof *kl);
    active_units(activity, kl, code, tests, d);
    size_t active = 0, quiet = 0;
    double quiet_kl = 0, mean, variance, low = INFINITY, high = 0, far = 0;
    struct output o = open_output(s->out, "active.tsv");
    fprintf(o.file, "unit\tactivity\tkl\n");
    printf(
        "\nthe codes of %zu test images\n  number   mean of mu   variance of mu   mean sigma^2   "
        "their sum   KL, nats%s\n",
        tests, ae_code ? "   autoencoder: mean   variance" : "");
    for (size_t j = 0; j < d; j++) {
        double noise = 0;
        for (size_t r = 0; r < tests; r++)
            noise += exp((double)code[(2 * r + 1) * d + j]) / (double)tests;
        moments(&mean, &variance, code, tests, j, 2 * d);
        int is = activity[j] > 0.01;
        printf("  %6zu %12.3f %16.4f %14.4f %11.3f %10.3f", j + 1, mean, activity[j], noise,
               activity[j] + noise, kl[j]);
        fprintf(o.file, "%zu\t%g\t%g\n", j + 1, activity[j], kl[j]);
        result(results, kl[j], "nats", "kl_%zu", j + 1);
        result(results, activity[j], "", "activity_%zu", j + 1);
        result(results, activity[j] + noise, "", "variance_%zu", j + 1);
        active += (size_t)is;
        quiet += kl[j] < 0.1;
        quiet_kl += kl[j] < 0.1 ? kl[j] : 0;
        if (ae_code) {
            moments(&mean, &variance, ae_code, tests, j, d);
            printf(" %19.2f %10.2f", mean, variance);
            low = fmin(low, sqrt(variance));
            high = fmax(high, sqrt(variance));
            far = fmax(far, fabs(mean));
        }
        printf("%s\n", is ? "" : "   not active");
    }
    close_output(&o);
    printf("  %zu of %zu are active: the variance of their mu is above 0.01\n", active, d);
    if (quiet)
        printf("  %zu have a KL below 0.1 nats, %.3f nats all together\n", quiet, quiet_kl);
    result(results, (double)active, "units", "active_units");
    result(results, (double)quiet, "units", "quiet_units");
    result(results, quiet_kl, "nats", "quiet_kl");
    if (ae_code) {
        result(results, low, "", "ae_spread_least");
        result(results, high, "", "ae_spread_most");
        result(results, far, "", "ae_mean_farthest");
    }
    free(activity);
    free(kl);
}

/* For the scatter plots: of the VAE the two numbers with the largest KL, of the autoencoder the two
   axes along which its codes spread most. Both are seen from 0, the middle of p(z). */
void scatter_codes(const struct settings *s, size_t d, const real *code, const real *ae_code,
                   const struct cloud *ae_cloud, const struct images *test_set, size_t tests) {
    double *activity = allocate(d, sizeof *activity), *kl = allocate(d, sizeof *kl);
    size_t most[2] = {0, 1};
    active_units(activity, kl, code, tests, d);
    /* the largest; then the largest of the others, beginning with whichever is not the first */
    for (int which = 0; which < 2; which++)
        for (size_t j = 0; j < d; j++)
            if (kl[j] > kl[most[which]] && (which == 0 || j != most[0]))
                most[which] = j;
            else if (which == 1 && most[1] == most[0])
                most[1] = j;
    struct output o = open_output(s->out, "codes.tsv");
    fprintf(o.file, "label\tμ%zu\tμ%zu", most[0] + 1, most[1] + 1);
    fprintf(o.file, ae_code ? "\tae_first\tae_second\n" : "\n");
    for (size_t r = 0; r < least(tests, 2000); r++) {
        fprintf(o.file, "%d\t%g\t%g", test_set->label ? test_set->label[r] : -1,
                (double)code[2 * r * d + most[0]], (double)code[2 * r * d + most[1]]);
        for (size_t k = 0; ae_code && k < 2; k++) {
            double along = 0;
            for (size_t j = 0; j < d; j++)
                along += ae_cloud->axis[k * d + j] * (double)ae_code[r * d + j];
            fprintf(o.file, "\t%g", along);
        }
        fputc('\n', o.file);
    }
    close_output(&o);
    free(activity);
    free(kl);
}

/* The negative ELBO of the test images: the mean over ten draws of the noise for each. Two things
   make it uncertain. Other images would give another mean: that we see from how much the images
   differ among themselves. Other noise would, too: that we see from how much the ten means over all
   images differ. */
void judge_test(const struct settings *s, struct vae *v, const struct images *test_set,
                size_t tests, struct results *results) {
    enum { DRAWS = 10 };
    struct random noise;
    random_seed(&noise, s->seed + NOISE_OF_TESTS);
    double *loss = allocate(tests, sizeof *loss); /* of each image, the mean over the draws */
    struct mean images = {0}, draws = {0};
    double bce = 0, kl = 0;
    for (size_t k = 0; k < DRAWS; k++) {
        double sum = 0;
        for (size_t start = 0; start < tests; start += v->net.batch) {
            size_t B = least(v->net.batch, tests - start);
            struct images some = {B, test_set->pixel + start * PIXELS, NULL};
            vae_evaluate(v, &some, B, &noise, NULL, NULL); /* fills v->example and v->kl */
            for (size_t r = 0; r < B; r++) {
                loss[start + r] += (v->example[r].bce + v->kl[r]) / DRAWS;
                bce += v->example[r].bce / (double)(DRAWS * tests);
                kl += v->kl[r] / (double)(DRAWS * tests);
                sum += (v->example[r].bce + v->kl[r]) / (double)tests;
            }
        }
        add(&draws, sum);
    }
    for (size_t r = 0; r < tests; r++)
        add(&images, loss[r]);
    printf("\non %zu test images, nats an image: -ELBO = bce %.2f + kl %.2f = %.2f\n"
           "  +- %.2f for the choice of the images, +- %.3f for that of the noise\n",
           tests, bce, kl, mean_of(&draws), error_of(&images), error_of(&draws));
    if (s->beta != 1)
        printf("  trained with bce + %g kl; an ELBO has 1 kl, and that is what stands here\n",
               s->beta);
    result(results, mean_of(&draws), "nats", "neg_elbo");
    result(results, error_of(&images), "nats", "neg_elbo_se");
    result(results, error_of(&draws), "nats", "neg_elbo_noise_se");
    result(results, bce, "nats", "elbo_bce");
    result(results, kl, "nats", "kl");
    free(loss);
}

/* -log p(x) of some test images from 1 to 5000 draws, the draws from q(z|x) and from p(z). Each size
   of a group divides the next, so the groups are nested: the estimates come from the same 5000
   draws, and by Jensen's inequality each is at most the one before, not only on average. The images
   differ among themselves by much more than the estimates do. So we also take the difference from
   the ELBO, image by image, and its error is small. */
void estimate(const struct settings *s, struct vae *v, const real *code,
              const struct images *test_set, size_t tests, struct results *results) {
    enum { SIZES = 7, DRAWS = 5000 };
    static const size_t group[SIZES] = {1, 2, 10, 50, 250, 1000, DRAWS};
    size_t n = least(s->weighted, tests), d = v->net.code;
    real *x = numbers(PIXELS), *none = numbers(2 * d); /* mu = 0, logvar = 0: p(z) */
    double *logw = allocate(DRAWS, sizeof *logw);
    struct mean bound[2][SIZES] = {{{0}}}, gain[SIZES] = {{0}}, best[2] = {{0}};
    struct progress bar = {0};
    sig_atomic_t before = interrupted; /* a Ctrl-C in training is not meant for this */
    for (size_t i = 0; i < n && interrupted == before; i++) {
        brightness(x, test_set->pixel + i * PIXELS, PIXELS);
        double elbo = 0;
        for (int prior = 0; prior < 2; prior++) {
            /* no two images, and not q and p(z) either, share a draw */
            uint64_t seed = (((uint64_t)s->seed + 1) << 32) + (2 * i + (size_t)prior) * DRAWS;
            importance_weights(logw, v, x, prior ? none : code + 2 * i * d, DRAWS, seed);
            double most = logw[0]; /* does one draw carry the whole sum? */
            for (size_t k = 1; k < DRAWS; k++)
                most = fmax(most, logw[k]);
            for (size_t k = 0; k < SIZES; k++) {
                double L = importance_bound(logw, DRAWS, group[k]);
                elbo = prior || k ? elbo : L;
                add(&bound[prior][k], -L);
                if (!prior)
                    add(&gain[k], L - elbo);
                if (k + 1 == SIZES) /* the largest weight over the sum of all, in percent */
                    add(&best[prior], 100 * exp(most - L) / DRAWS);
            }
        }
        show_progress(&bar, (double)i / (double)n, "weighing");
    }
    hide_progress(&bar);
    n = bound[0][0].n;
    if (n) {
        struct output o = open_output(s->out, "weights.tsv");
        fprintf(o.file, "K\tiw\tiw_se\tgain\tgain_se\tprior\tprior_se\n");
        printf("\n-log p(x), nats, of the first %zu test images from K draws of z\n"
               "      K   from q(z|x)   below -ELBO           from p(z)\n",
               n);
        for (size_t k = 0; k < SIZES; k++) {
            const struct mean *q = &bound[0][k], *p = &bound[1][k], *g = &gain[k];
            printf("  %5zu %8.2f +- %.2f %6.3f +- %.3f %8.2f +- %.2f\n", group[k], mean_of(q),
                   error_of(q), mean_of(g), error_of(g), mean_of(p), error_of(p));
            fprintf(o.file, "%zu\t%g\t%g\t%g\t%g\t%g\t%g\n", group[k], mean_of(q), error_of(q),
                    mean_of(g), error_of(g), mean_of(p), error_of(p));
            result(results, mean_of(q), "nats", "iw_%zu", group[k]);
            result(results, error_of(q), "nats", "iw_se_%zu", group[k]);
            result(results, mean_of(p), "nats", "prior_%zu", group[k]);
            result(results, error_of(p), "nats", "prior_se_%zu", group[k]);
        }
        close_output(&o);
        printf(
            "  the best of the %d draws has %.1f %% of all the weight, and %.1f %% where they come "
            "from p(z)\n",
            DRAWS, mean_of(&best[0]), mean_of(&best[1]));
        result(results, mean_of(&gain[SIZES - 1]), "nats", "iw_gap");
        result(results, error_of(&gain[SIZES - 1]), "nats", "iw_gap_se");
        result(results, mean_of(&best[0]), "%", "best_share");
        result(results, mean_of(&best[1]), "%", "prior_best_share");
    }
    free(x);
    free(none);
    free(logw);
}

/* A code of two numbers can be shown whole. We cut each axis into 20 parts of equal probability
   under p(z) and take the number in the middle of each, by probability: a grid that is narrow in
   the middle, where codes are frequent, and wide at the edge. */
void draw_manifold(const struct settings *s, struct network *net) {
    enum { ACROSS = 20 };
    real *z = numbers(2 * ACROSS * ACROSS), *x = numbers(ACROSS * ACROSS * PIXELS);
    for (size_t k = 0; k < ACROSS * ACROSS; k++) { /* z1 to the right, z2 upwards */
        z[2 * k] = (real)normal_quantile(((double)(k % ACROSS) + 0.5) / ACROSS);
        z[2 * k + 1] = (real)normal_quantile(1 - ((double)(k / ACROSS) + 0.5) / ACROSS);
    }
    decode(x, net, z, ACROSS * ACROSS);
    write_sheet(s->out, "manifold.png", x, ACROSS, ACROSS, 1);
    free(z);
    free(x);
}

/* All that is asked of the trained networks. Without an autoencoder t is NULL. */
void examine(const struct settings *s, struct vae *v, struct trainer *t,
             const struct images *train_set, size_t count, const struct images *test_set,
             size_t tests, struct results *results) {
    size_t d = v->net.code;
    real *code = numbers(tests * 2 * d), *ae_code = t ? numbers(tests * d) : NULL;
    struct cloud ae_cloud = {NULL, NULL, NULL};
    judge_test(s, v, test_set, tests, results);
    struct parts at_mu = vae_evaluate(v, test_set, tests, NULL, code, NULL);
    printf("  the VAE at z = mu: bce %.2f, squared error %.2f\n", at_mu.bce, at_mu.squared);
    result(results, at_mu.bce, "nats", "test_bce");
    result(results, at_mu.squared, "", "test_sq");
    if (t) {
        struct losses test = evaluate(t, test_set, tests, ae_code, NULL);
        printf("  the autoencoder:   bce %.2f, squared error %.2f\n", test.bce, test.squared);
        result(results, test.bce, "nats", "ae_bce");
        result(results, test.squared, "", "ae_sq");
        /* Where the codes of the training images lie: these its decoder has been trained for. */
        real *all = numbers(count * d);
        evaluate(t, train_set, count, all, NULL);
        ae_cloud = cloud_of(all, count, d);
        free(all);
    }
    describe_units(s, d, code, ae_code, tests, results);
    if (d > 1)
        scatter_codes(s, d, code, ae_code, &ae_cloud, test_set, tests);
    struct encoded vae = {&v->net, code, 2 * d}, ae = {t ? t->net : NULL, ae_code, d};
    generate(s, &vae, t ? &ae : NULL, &ae_cloud, train_set, count, test_set, tests, results);
    if (d == 2)
        draw_manifold(s, &v->net);
    estimate(s, v, code, test_set, tests, results);
    cloud_free(&ae_cloud);
    free(code);
    free(ae_code);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    static const char *const schedule_name[] = {"cosine", "constant"};
    struct settings s = {.data = "data/digits",
                         .out = "build/" CHAPTER,
                         .activation = "silu",
                         .schedule = "cosine",
                         .save = "",
                         .load = "",
                         .epochs = 25,
                         .batch = 64,
                         .seed = 1,
                         .images = 1000000,
                         .tests = 1000000,
                         .weighted = 100,
                         .rate = 0.002,
                         .beta = 1,
                         .layers = {4, {784, 400, 100, 6}}};
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 's', &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--layers", "widths of the encoder, from the pixels to the code", 'l', &s.layers, 1,
         100000},
        {"--code", "width of the code; 0: as --layers says; 2 draws the whole plane of codes", 'n',
         &s.code, 0, 784},
        {"--activation", "between layers: relu, elu, silu, tanh, sigmoid, identity", 's',
         &s.activation, 0, 0},
        {"--beta", "weight of the KL in the loss; 1: the negative ELBO", 'x', &s.beta, 0, 1000},
        {"--epochs", "times through the training images; 0: none, and no autoencoder", 'n',
         &s.epochs, 0, 1000000},
        {"--batch", "images in a step", 'n', &s.batch, 1, 100000},
        {"--rate", "learning rate at the start", 'x', &s.rate, 1e-9, 1e9},
        {"--schedule", "of the learning rate: cosine (to zero) or constant", 's', &s.schedule, 0,
         0},
        {"--images", "how many training images to use", 'n', &s.images, 1, 1e9},
        {"--tests", "how many test images to use", 'n', &s.tests, 1, 1e9},
        {"--weighted", "estimate log p(x) of this many of them; 0: of none", 'n', &s.weighted, 0,
         1e9},
        {"--save", "write the trained weights here (safetensors)", 's', &s.save, 0, 0},
        {"--load", "begin with the weights in this file", 's', &s.load, 0, 0},
        {"--sample", "only draw this many pictures, with the weights from --load", 'n', &s.sample,
         0, 10000},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table, "trains a variational autoencoder and draws digits with it");
    use_threads(s.threads);
    enum activation f = choose("--activation", s.activation, activation_name, ACTIVATIONS);
    choose("--schedule", s.schedule, schedule_name, 2);
    if (s.layers.n < 2 || s.layers.n > MAX_LAYERS || s.layers.size[0] != PIXELS)
        bad_option("--layers", NULL,
                   "must begin with 784, the pixels of an image, and name a code");
    if (s.code)
        s.layers.size[s.layers.n - 1] = s.code;
    if (s.sample && !*s.load)
        bad_option("--sample", NULL, "needs trained weights from --load");
    if (s.sample && *s.save)
        bad_option("--save", NULL, "has nothing to write: with --sample nothing is trained");

    /* Training needs room for a batch. Where nothing is trained, larger pieces keep more cores busy.
     */
    size_t room = s.batch > 256 ? s.batch : 256;
    struct random r;
    random_seed(&r, s.seed);
    if (s.sample) { /* weights are all it takes: no data, no training */
        struct vae v = vae_new(s.layers.size, s.layers.n, f, room, s.beta);
        load_weights(&v.net, s.load);
        make_folder(s.out);
        draw_samples(&s, &v.net, s.sample);
        printf("%zu pictures drawn: %s/samples.png\n", s.sample, s.out);
        vae_free(&v);
        return 0;
    }

    struct images train_set = read_images(s.data, "train"), test_set = read_images(s.data, "t10k");
    size_t count = least(train_set.count, s.images), tests = least(test_set.count, s.tests);
    s.batch = least(s.batch, count);
    make_folder(s.out);
    catch_interrupts();
    struct vae v = vae_new(s.layers.size, s.layers.n, f, room, s.beta);
    struct network ae = network_new(s.layers.size, s.layers.n, 1, f, room);
    network_start(&v.net, &r);
    network_start(&ae, &r); /* other numbers than the VAE's: their shapes differ */
    if (*s.load)
        load_weights(&v.net, s.load);
    if (*s.save)
        check_place(s.save); /* now, not after the training */
    struct trainer t = {.net = &ae,
                        .adam = adam_new(ae.parameters),
                        .x = numbers(room * PIXELS),
                        .example = allocate(room, sizeof *t.example),
                        .loss = BCE};
    network_transpose(&v.net);
    network_transpose(&ae);
    struct results results;
    open_results(&results);
    toy(&results);
    print_network(&v.net);
    printf("%zu training images, %zu test images, batches of %zu; losses in nats an image\n", count,
           tests, s.batch);
    result(&results, (double)v.net.parameters, "parameters", "parameters");
    if (s.epochs)
        train(&v, &t, &s, &train_set, count, &test_set, tests, &r, &results);
    else
        printf("nothing is trained, so there is no autoencoder to compare with\n");
    if (*s.save) {
        save_weights(&v.net, s.save);
        printf("weights of the VAE saved in %s\n", s.save);
    }
    examine(&s, &v, s.epochs ? &t : NULL, &train_set, count, &test_set, tests, &results);
    result(&results, peak_memory(), "MB", "peak_memory");
    close_results(&results, s.out);

    vae_free(&v);
    network_free(&ae);
    adam_free(&t.adam);
    free(t.x);
    free(t.example);
    free_images(&train_set);
    free_images(&test_set);
    return 0;
}
#endif
