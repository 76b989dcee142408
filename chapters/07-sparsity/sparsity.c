/* sparsity.c: chapter 7 of "Autoencoders by Hand".

   A code that is wider than the image needs no bottleneck's cunning: it may copy. A penalty on the
   activations keeps it honest: only few of its units may speak at a time. This program trains an
   overcomplete code without a penalty, with L1 and with KL, and with two penalties that people take
   for these and that do something else; it counts who speaks, and shows what the units draw.

   Build it alone:  cc -O3 -march=native -fopenmp sparsity.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Letters: B images in a batch, one a row; n pixels in an image; d units of the code; x (B,n); a
   (B,d) = f(W x + b) the code, its numbers called activations; xhat (B,n) = V a the
   reconstruction; column j of V is the stroke of unit j, and lies in memory as row j; lambda the
   strength of a penalty; rho the mean activation that is wanted, mean (d) the one that there is. */
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

#define PROGRAM "sparsity"
#define CHAPTER "07-sparsity"

/* --- precision (chapter 1) ----------------------------------------------- */
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

/* --- errors (chapter 1) -------------------------------------------------- */
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

/* --- random numbers (chapter 1) ------------------------------------------ */
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

/* --- reading IDX files (chapter 1) --------------------------------------- */
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

/* --- writing files (chapter 1) ------------------------------------------- */
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

/* --- pictures (chapter 1) ------------------------------------------------ */
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

/* --- sizes (chapter 5) --------------------------------------------------- */
enum { MAX_LAYERS = 32 };

/* --- options (chapter 1) ------------------------------------------------- */
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

/* --- adam (chapter 2) ---------------------------------------------------- */
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

/* --- batches (chapter 2) ------------------------------------------------- */
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

/* --- progress (chapter 2) ------------------------------------------------ */
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

/* --- a team of cores (chapter 5) ----------------------------------------- */
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

/* --- matrix product (chapter 5) ------------------------------------------ */
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

/* --- transposing (chapter 5) --------------------------------------------- */
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

/* --- exponential (chapter 5) --------------------------------------------- */
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

/* --- activations of a deep network (chapter 5) --------------------------- */
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

/* --- layer by tiles (chapter 5) ------------------------------------------ */
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

/* --- learning rate (chapter 5) ------------------------------------------- */
/* Full at first, then falling along half a cosine to zero: large steps find the valley, small ones
   its floor. done runs from 0 to 1. */
double cosine_rate(double rate, double done) {
    return rate * 0.5 * (1 + cos(acos(-1.0) * done));
}

/* --- one hidden layer -------------------------------------------------------- */
/* One row of the table of everything that can be learned. */
struct tensor {
    const char *name;
    size_t rows, cols;
    real *value, *grad; /* (rows,cols) */
};

struct autoencoder {
    size_t n, d, batch;      /* pixels, units of the code, rows for which there is room */
    struct layer encoder;    /* a = f(W x + b) */
    struct layer decoder;    /* xhat = V a, with a bias that stays 0 */
    struct tensor tensor[3]; /* W (n,d), b (d), V (d,n): as they lie in memory */
    size_t parameters;
    real *value, *grad; /* (parameters + n): W, b, V, and behind them the decoder's bias */
    real *activity;     /* every s, h, ds, dh */
    real *Vt;           /* (n,d) V transposed, for the way back */
};

/* --- memory of the autoencoder ------------------------------------------------- */
/* Memory for n numbers that begins where a vector may begin. All zero; free() gives it back. */
real *numbers(size_t n) {
    size_t bytes = (n * sizeof(real) + 64) / 64 * 64;
    real *p = aligned_alloc(64, bytes);
    if (!p)
        die("not enough memory for %zu numbers; try a smaller --code or --batch", n);
    return memset(p, 0, bytes);
}

struct autoencoder autoencoder_new(size_t n, size_t d, enum activation f, size_t batch) {
    struct autoencoder m = {.n = n, .d = d, .batch = batch, .parameters = 2 * n * d + d};
    m.value = numbers(m.parameters + n);
    m.grad = numbers(m.parameters + n);
    m.activity = numbers(batch * (4 * d + 2 * n));
    m.Vt = numbers(n * d);
    real *W = m.value, *b = W + n * d, *V = b + d, *c = V + d * n;
    real *dW = m.grad, *db = dW + n * d, *dV = db + d, *dc = dV + d * n;
    real *s = m.activity, *a = s + batch * d, *ds = a + batch * d, *da = ds + batch * d;
    real *xhat = da + batch * d, *dxhat = xhat + batch * n;
    m.encoder = (struct layer){n, d, f, W, b, dW, db, NULL, s, a, ds, da};
    m.decoder = (struct layer){d, n, IDENTITY, V, c, dV, dc, m.Vt, xhat, xhat, dxhat, dxhat};
    m.tensor[0] = (struct tensor){"W", n, d, W, dW};
    m.tensor[1] = (struct tensor){"b", 1, d, b, db};
    m.tensor[2] = (struct tensor){"V", d, n, V, dV};
    return m;
}

void autoencoder_free(struct autoencoder *m) {
    free(m->value);
    free(m->grad);
    free(m->activity);
    free(m->Vt);
}

/* --- forward and back -------------------------------------------------------- */
/* From x (B,n) the code a (B,d), from the code xhat (B,n). Each core takes some of the images. */
void encode(struct autoencoder *m, const real *x, size_t B) {
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        layer_forward(&m->encoder, x, first, rows);
    }
}

void decode(struct autoencoder *m, size_t B) {
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        layer_forward(&m->decoder, m->encoder.h, first, rows);
    }
}

/* The one place where gradients are set to zero. */
void autoencoder_zero(struct autoencoder *m) {
    memset(m->grad, 0, (m->parameters + m->n) * sizeof(real));
    memset(m->encoder.ds, 0, 2 * m->batch * m->d * sizeof(real)); /* ds and da lie side by side */
    memset(m->decoder.ds, 0, m->batch * m->n * sizeof(real));
}

/* From dxhat and what the penalty has put into da: all gradients. dx (B,n) may be NULL. */
void autoencoder_backward(struct autoencoder *m, real *dx, const real *x, size_t B) {
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        layer_backward_input(&m->decoder, m->encoder.dh, first, rows);
        layer_backward_input(&m->encoder, dx, first, rows);
        meet(); /* the gradient of a weight is a sum over all images */
        layer_backward_weights(&m->decoder, m->encoder.h, B);
        layer_backward_weights(&m->encoder, x, B);
    }
}

/* --- ink --------------------------------------------------------------------- */
/* After each step: a stroke, row j of V (d,n), has ink or none, but no negative ink; and it is no
   longer than `longest`, so that a code cannot be small because strokes are long. */
void keep_strokes(real *V, size_t d, size_t n, double longest) {
    PARALLEL
    for (size_t j = 0; j < d; j++) {
        real *v = V + j * n, sum = 0;
        for (size_t i = 0; i < n; i++)
            v[i] = v[i] > 0 ? v[i] : 0;
        LANES
        for (size_t i = 0; i < n; i++)
            sum += v[i] * v[i];
        real shrink = sqrt(sum) > (real)longest ? (real)longest / sqrt(sum) : 1;
        for (size_t i = 0; i < n; i++)
            v[i] *= shrink;
    }
}

/* V transposed, for the way back: after every change of V. */
void turn_strokes(struct autoencoder *m) {
    TEAM {
        size_t first = share(m->d, SQUARE, core()), last = share(m->d, SQUARE, core() + 1);
        transpose(m->Vt, m->decoder.W, m->d, m->n, first, last);
    }
}

/* --- l1 on activations ------------------------------------------------------- */
/* Adds lambda * sum over j of |a_rj| to each example (B). Returns the mean of what it added. */
double l1_forward(double *example, const real *a, double lambda, size_t B, size_t d) {
    double mean = 0;
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++)
            sum += (double)fabs(a[r * d + j]);
        example[r] += lambda * sum;
        mean += lambda * sum / (double)B;
    }
    return mean;
}

/* da (B,d) += lambda sign(a) / B. At 0, where |a| has its corner, we take 0. */
void l1_backward(real *da, const real *a, double lambda, size_t B, size_t d) {
    const real pull = (real)(lambda / (double)B);
    for (size_t k = 0; k < B * d; k++)
        da[k] += pull * (real)((a[k] > 0) - (a[k] < 0));
}

/* --- two coins --------------------------------------------------------------- */
/* No mean is taken to be nearer than this to 0 or 1: the logarithm and the slope stay finite. */
const double coin_edge = 1e-6;

double off_the_edge(double q) {
    return fmin(fmax(q, coin_edge), 1 - coin_edge);
}

/* KL(p || q) in nats: what betting on coin q costs when p is thrown, above p's entropy. */
double coin_kl(double p, double q) {
    q = off_the_edge(q);
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q));
}

/* Its derivative with respect to q. */
double coin_kl_slope(double p, double q) {
    q = off_the_edge(q);
    return -p / q + (1 - p) / (1 - q);
}

/* --- kl of the mean ---------------------------------------------------------- */
/* mean (d) = the mean of each unit over the B images of the batch: rho-hat */
void mean_activation(double *mean, const real *a, size_t B, size_t d) {
    memset(mean, 0, d * sizeof *mean);
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++)
            mean[j] += (double)a[r * d + j] / (double)B;
}

/* lambda * sum over j of KL(rho || mean_j). No `example` gets it: it is the whole batch's. */
double kl_forward(const double *mean, double lambda, double rho, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += coin_kl(rho, mean[j]);
    return lambda * sum;
}

/* da (B,d) += lambda / B (-rho / mean_j + (1 - rho) / (1 - mean_j)), for all B images the same */
void kl_backward(real *da, const double *mean, double lambda, double rho, size_t B, size_t d) {
    for (size_t j = 0; j < d; j++) {
        real pull = (real)(lambda * coin_kl_slope(rho, mean[j]) / (double)B);
        for (size_t r = 0; r < B; r++)
            da[r * d + j] += pull;
    }
}

/* --- the first slip: kl of each example -------------------------------------- */
/* Adds lambda * sum over j of KL(rho || a_rj) to each example (B). Returns the mean. */
double kl_each_forward(double *example, const real *a, double lambda, double rho, size_t B,
                       size_t d) {
    double mean = 0;
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++)
            sum += coin_kl(rho, (double)a[r * d + j]);
        example[r] += lambda * sum;
        mean += lambda * sum / (double)B;
    }
    return mean;
}

void kl_each_backward(real *da, const real *a, double lambda, double rho, size_t B, size_t d) {
    for (size_t k = 0; k < B * d; k++)
        da[k] += (real)(lambda * coin_kl_slope(rho, (double)a[k]) / (double)B);
}

/* --- the second slip: l1 on weights ------------------------------------------ */
/* lambda * sum of |w| over n weights, and dw (n) += lambda sign(w) */
double l1_weights_forward(const real *w, double lambda, size_t n) {
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)fabs(w[k]);
    return lambda * sum;
}

void l1_weights_backward(real *dw, const real *w, double lambda, size_t n) {
    for (size_t k = 0; k < n; k++)
        dw[k] += (real)lambda * (real)((w[k] > 0) - (w[k] < 0));
}

/* --- loss with a penalty ----------------------------------------------------- */
enum penalty_kind { NONE, L1, KL, KL_EACH, L1_WEIGHTS, PENALTIES };
const char *penalty_name[PENALTIES] = {"none", "L1", "KL", "KL of each", "L1 on weights"};

struct penalty {
    enum penalty_kind kind;
    double lambda, rho; /* its strength; the mean activation that KL wants */
};

struct losses {
    double squared, penalty; /* both are means over the batch */
};

/* From the code on: xhat, its squared error against target (B,n), and the penalty. What belongs to
   one image is left in example (B); mean (d) is room for the mean activations. */
struct losses loss_from_code(struct autoencoder *m, const struct penalty *p, double *example,
                             double *mean, const real *target, size_t B) {
    const real *a = m->encoder.h;
    decode(m, B);
    struct losses l = {squared_error_forward(example, m->decoder.h, target, B, m->n), 0};
    if (p->kind == L1)
        l.penalty = l1_forward(example, a, p->lambda, B, m->d);
    if (p->kind == KL) {
        mean_activation(mean, a, B, m->d);
        l.penalty = kl_forward(mean, p->lambda, p->rho, m->d);
    }
    if (p->kind == KL_EACH)
        l.penalty = kl_each_forward(example, a, p->lambda, p->rho, B, m->d);
    if (p->kind == L1_WEIGHTS)
        for (size_t i = 0; i < 3; i += 2) /* W and V, not b */
            l.penalty += l1_weights_forward(m->tensor[i].value, p->lambda, m->n * m->d);
    return l;
}

/* All gradients of a batch, from zero. dx (B,n) may be NULL. */
struct losses autoencoder_gradient(struct autoencoder *m, const struct penalty *p, double *example,
                                   double *mean, real *dx, const real *x, const real *target,
                                   size_t B) {
    real *da = m->encoder.dh, *a = m->encoder.h;
    autoencoder_zero(m);
    encode(m, x, B);
    struct losses l = loss_from_code(m, p, example, mean, target, B);
    squared_error_backward(m->decoder.ds, m->decoder.h, target, B, m->n);
    if (p->kind == L1)
        l1_backward(da, a, p->lambda, B, m->d);
    if (p->kind == KL)
        kl_backward(da, mean, p->lambda, p->rho, B, m->d);
    if (p->kind == KL_EACH)
        kl_each_backward(da, a, p->lambda, p->rho, B, m->d);
    if (p->kind == L1_WEIGHTS)
        for (size_t i = 0; i < 3; i += 2)
            l1_weights_backward(m->tensor[i].grad, m->tensor[i].value, p->lambda, m->n * m->d);
    autoencoder_backward(m, dx, x, B);
    return l;
}

/* --- how sparse -------------------------------------------------------------- */
/* The fraction of the d activations of one image that are above the threshold. */
double active_fraction(const real *a, double threshold, size_t d) {
    size_t count = 0;
    for (size_t j = 0; j < d; j++)
        count += (double)a[j] > threshold;
    return (double)count / (double)d;
}

/* Treves and Rolls: the square of the mean over the mean of the squares. 1 where all units say the
   same, 1/d where one speaks alone; no threshold, and no change when the code is scaled. */
double treves_rolls(const real *a, size_t d) {
    double sum = 0, squares = 0;
    for (size_t j = 0; j < d; j++) {
        sum += (double)a[j];
        squares += (double)a[j] * (double)a[j];
    }
    return squares > 0 ? sum * sum / ((double)d * squares) : 0;
}

#ifndef WORKBOOK_TEST

/* === the program ============================================================= */

struct settings {
    const char *data, *out;
    size_t units, epochs, batch, seed, threads, images, tests, runs;
    double rate, l1, kl, each, weights, rho, length;
};

/* A ReLU that is silent says 0. A sigmoid that is silent murmurs; it counts as active only when it
   speaks aloud. */
const double aloud = 0.1;

/* Further points of the trade-off: these multiples of the --l1 and --kl given; 0 for none. */
enum { STRENGTHS = 3, MOST_RUNS = 16, BINS = 60 };
const double strength[STRENGTHS][2] = {{0.2, 0.2}, {2, 0}, {5, 5}};

/* One training with its penalty, and what came of it. */
struct run {
    const char *key, *label; /* for results.tsv, for the table */
    enum activation f;
    struct penalty penalty;
    int main;                                                        /* is it looked at closely? */
    double sq, active, aloud, treves, dead, silenced, mean, longest; /* on the test images */
    double small_weights; /* of 100 weights of the encoder, those between -0.001 and 0.001 */
    double dead_mean;     /* what the dead units say on average */
    double seconds;       /* for an epoch */
};

/* What all runs share. */
struct bench {
    const struct settings *s;
    struct images train, test;
    size_t count, tests;
    size_t *order;   /* (count) */
    real *x;         /* (batch,784) */
    double *example; /* (batch) */
    double *mean;    /* (units) */
    real *code;      /* (tests,units) of the run judged last */
    real *xhat;      /* (tests,784) */
    struct progress bar;
    size_t done, all; /* epochs of all runs, for the bar */
};

/* He's start for the encoder. The strokes begin as a breath of ink everywhere. A sigmoid code
   begins nearly silent: its biases are -3, and sigmoid(-3) is 0.05. */
void start_autoencoder(struct autoencoder *m, size_t seed, double longest) {
    struct random r;
    random_seed(&r, seed);
    double a = sqrt(6.0 / (double)m->n), most = 0.05 * sqrt(3.0 / (double)m->n);
    for (size_t k = 0; k < m->n * m->d; k++)
        m->encoder.W[k] = (real)random_uniform(&r, -a, a);
    for (size_t k = 0; k < m->n * m->d; k++)
        m->decoder.W[k] = (real)fabs(random_uniform(&r, -most, most));
    for (size_t j = 0; j < m->d; j++)
        m->encoder.b[j] = m->encoder.f == SIGMOID ? -3 : 0;
    keep_strokes(m->decoder.W, m->d, m->n, longest);
    turn_strokes(m);
}

/* Where --length is 0, strokes may be as long as they like. */
double longest_stroke(const struct settings *s) {
    return s->length > 0 ? s->length : INFINITY;
}

/* Moves all parameters, and sees to the strokes. Each core takes a part of the numbers; when all have
   moved, some of the strokes. To send the cores to work once instead of three times saves a tenth
   of the run. */
void update(struct autoencoder *m, struct adam *adam, double rate, double longest) {
    real *V = m->decoder.W;
    TEAM {
        size_t from = share(m->parameters, WIDTH, core());
        size_t count = share(m->parameters, WIDTH, core() + 1) - from;
        struct adam mine = {adam->m + from, adam->v + from, count, adam->steps};
        adam_step(&mine, m->value + from, m->grad + from, rate);
        meet();
        size_t first = share(m->d, SQUARE, core()), last = share(m->d, SQUARE, core() + 1);
        keep_strokes(V + first * m->n, last - first, m->n, longest);
        transpose(m->Vt, V, m->d, m->n, first, last);
    }
    adam->steps++;
}

/* Trains from the start that all runs share. */
void train(struct autoencoder *m, struct run *run, struct bench *b) {
    const struct settings *s = b->s;
    struct adam adam = adam_new(m->parameters);
    struct random r;
    random_seed(&r, s->seed + 1);
    start_autoencoder(m, s->seed, longest_stroke(s));
    /* The slope of a sigmoid that is nearly silent is small: it needs larger steps. */
    double rate = run->f == SIGMOID ? 3 * s->rate : s->rate;
    size_t steps = (b->count + s->batch - 1) / s->batch;
    double begin = seconds();
    for (size_t epoch = 0; epoch < s->epochs && !interrupted; epoch++) {
        shuffle(b->order, b->count, &r);
        for (size_t k = 0; k < steps && !interrupted; k++) {
            size_t B = least(s->batch, b->count - k * s->batch);
            gather(b->x, &b->train, b->order + k * s->batch, B);
            struct losses l =
                autoencoder_gradient(m, &run->penalty, b->example, b->mean, NULL, b->x, b->x, B);
            /* An image has a squared length of about 80. The comparison is false for a NaN. */
            if (!(l.squared < 1e5)) {
                hide_progress(&b->bar);
                die("%s: the squared error has grown to %.3g: the steps are too large; try a "
                    "smaller --rate than %g",
                    run->label, l.squared, s->rate);
            }
            double done = (double)(epoch * steps + k) / (double)(s->epochs * steps);
            update(m, &adam, cosine_rate(rate, done), longest_stroke(s));
            if (k % 8 == 0)
                show_progress(&b->bar,
                              ((double)b->done + (double)k / (double)steps) / (double)b->all,
                              run->label);
        }
        b->done++;
        run->seconds = (seconds() - begin) / (double)(epoch + 1);
    }
    adam_free(&adam);
    hide_progress(&b->bar);
}

/* Encodes and decodes all test images, and measures. */
void judge(struct autoencoder *m, struct run *run, struct bench *b) {
    size_t d = m->d, *used = allocate(d, sizeof *used);
    double tests = (double)b->tests, threshold = run->f == SIGMOID ? aloud : 0;
    run->sq = run->active = run->aloud = run->treves = run->mean = run->silenced = run->dead = 0;
    for (size_t at = 0; at < b->tests; at += m->batch) {
        size_t B = least(m->batch, b->tests - at);
        real *a = m->encoder.h;
        brightness(b->x, b->test.pixel + at * PIXELS, B * PIXELS);
        encode(m, b->x, B);
        decode(m, B);
        memcpy(b->code + at * d, a, B * d * sizeof *a);
        memcpy(b->xhat + at * PIXELS, m->decoder.h, B * PIXELS * sizeof(real));
        run->sq += squared_error_forward(b->example, m->decoder.h, b->x, B, PIXELS) * (double)B;
        for (size_t r = 0; r < B; r++) {
            run->active += active_fraction(a + r * d, threshold, d);
            run->aloud += active_fraction(a + r * d, aloud, d);
            run->treves += treves_rolls(a + r * d, d);
        }
        for (size_t k = 0; k < B * d; k++) {
            run->mean += (double)a[k] / (double)d;
            used[k % d] += (double)a[k] > threshold;
            a[k] = (double)a[k] > threshold ? a[k] : 0;
        }
        decode(m, B); /* once more, with all the others silenced */
        run->silenced +=
            squared_error_forward(b->example, m->decoder.h, b->x, B, PIXELS) * (double)B;
    }
    run->longest = run->dead_mean = 0;
    mean_activation(b->mean, b->code, b->tests, d);
    for (size_t j = 0; j < d; j++) {
        double length = 0;
        for (size_t i = 0; i < PIXELS; i++)
            length += pow((double)m->decoder.W[j * PIXELS + i], 2);
        run->longest = fmax(run->longest, sqrt(length));
        run->dead += used[j] == 0;
        run->dead_mean += used[j] == 0 ? b->mean[j] : 0;
    }
    run->dead_mean /= fmax(run->dead, 1);
    run->small_weights = 0;
    for (size_t k = 0; k < m->n * d; k++)
        run->small_weights += 100.0 * (fabs(m->encoder.W[k]) < (real)0.001) / (double)(m->n * d);
    run->sq /= tests;
    run->active *= 100 / tests;
    run->aloud *= 100 / tests;
    run->treves /= tests;
    run->mean /= tests;
    run->silenced /= tests;
    free(used);
}

/* How the activations of all test images are spread: histogram (BINS) over 0..3 or, for a
   sigmoid, 0..1, in per cent; what is exactly 0 has a bin of its own, the first. */
void count_activations(double *histogram, const struct run *run, const struct bench *b) {
    size_t n = b->tests * b->s->units;
    double top = run->f == SIGMOID ? 1 : 3;
    memset(histogram, 0, BINS * sizeof *histogram);
    for (size_t k = 0; k < n; k++) {
        double a = (double)b->code[k];
        size_t bin = a > 0 ? 1 + (size_t)(fmin(a / top, 1) * (BINS - 2)) : 0;
        histogram[bin] += 100.0 / (double)n;
    }
}

/* The units from the busiest to the idlest: order (d). */
void sort_by_use(size_t *order, const real *code, size_t tests, size_t d, double threshold) {
    size_t *used = allocate(d, sizeof *used);
    for (size_t k = 0; k < tests * d; k++)
        used[k % d] += (double)code[k] > threshold;
    for (size_t i = 0; i < d; i++) { /* insertion: d is a thousand */
        size_t j = i;
        for (; j > 0 && used[order[j - 1]] < used[i]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    free(used);
}

/* A sheet of strokes, and one of the encoder's weights for the same units: every so-manyth of
   those that are in use, from the busiest on. Each stroke is as bright as it can be, unless it has
   next to no ink. All weights have one scale: what is small beside the others looks gray. */
void draw_filters(struct autoencoder *m, const struct run *run, const struct bench *b) {
    enum { ROWS = 6, COLS = 16 };
    size_t d = m->d, *order = allocate(d, sizeof *order), alive = d - (size_t)run->dead;
    real *strokes = numbers(ROWS * COLS * PIXELS), *weights = numbers(ROWS * COLS * PIXELS);
    char name[64];
    real weight = (real)1e-9;
    sort_by_use(order, b->code, b->tests, d, run->f == SIGMOID ? aloud : 0);
    for (size_t k = 0; k < ROWS * COLS && k < alive; k++) {
        size_t j = order[alive > ROWS * COLS ? k * alive / (ROWS * COLS) : k];
        real ink = (real)0.01;
        for (size_t i = 0; i < PIXELS; i++) {
            ink = fmax(ink, m->decoder.W[j * PIXELS + i]);
            weight = fmax(weight, fabs(m->encoder.W[i * d + j]));
        }
        for (size_t i = 0; i < PIXELS; i++) {
            strokes[k * PIXELS + i] = m->decoder.W[j * PIXELS + i] / ink;
            weights[k * PIXELS + i] = m->encoder.W[i * d + j];
        }
    }
    for (size_t k = 0; k < ROWS * COLS * PIXELS; k++)
        weights[k] = (1 + weights[k] / weight) / 2;
    snprintf(name, sizeof name, "strokes-%s.png", run->key);
    write_sheet(b->s->out, name, strokes, ROWS, COLS, 2);
    snprintf(name, sizeof name, "weights-%s.png", run->key);
    write_sheet(b->s->out, name, weights, ROWS, COLS, 2);
    free(order);
    free(strokes);
    free(weights);
}

/* Pictures that no digit is: a digit upside down, its pixels in another order, and noise with about
   as much squared length as a digit. */
enum strange { DIGIT, UPSIDE_DOWN, SHUFFLED, NOISE, STRANGE, EACH_SHOWN = 4 };
const char *strange_name[STRANGE] = {"digits", "upside down", "pixels shuffled", "noise"};

/* x (784) = test image r, made strange. The order of the pixels is the same for all images. */
void make_strange(real *x, const struct bench *b, size_t r, enum strange kind) {
    const unsigned char *pixel = b->test.pixel + r * PIXELS;
    size_t order[PIXELS];
    struct random random;
    random_seed(&random, b->s->seed + (kind == NOISE ? 1000 + r : 2));
    if (kind == SHUFFLED)
        shuffle(order, PIXELS, &random);
    for (size_t i = 0; i < PIXELS; i++) {
        size_t from = kind == UPSIDE_DOWN ? PIXELS - 1 - i : kind == SHUFFLED ? order[i] : i;
        x[i] = kind == NOISE ? (real)(random_uniform(&random, 0, 1) < 0.1)
                             : pixel[from] * ((real)1 / 255);
    }
}

/* The error on strange pictures, in per cent of their squared length; and a few for the sheet:
   shown (STRANGE * EACH_SHOWN, 784) gets the reconstructions, input the pictures themselves. */
void judge_strange(double *error, real *shown, real *input, struct autoencoder *m,
                   const struct bench *b) {
    size_t some = least(b->tests, 200);
    for (enum strange kind = 0; kind < STRANGE; kind++) {
        double wrong = 0, length = 0;
        for (size_t at = 0; at < some; at += m->batch) {
            size_t B = least(m->batch, some - at);
            for (size_t r = 0; r < B; r++)
                make_strange(b->x + r * PIXELS, b, at + r, kind);
            encode(m, b->x, B);
            decode(m, B);
            wrong += squared_error_forward(b->example, m->decoder.h, b->x, B, PIXELS) * (double)B;
            for (size_t i = 0; i < B * PIXELS; i++)
                length += (double)b->x[i] * (double)b->x[i];
            for (size_t r = 0; r < B && at + r < EACH_SHOWN; r++) {
                size_t place = (kind * EACH_SHOWN + at + r) * PIXELS;
                memcpy(shown + place, m->decoder.h + r * PIXELS, PIXELS * sizeof(real));
                memcpy(input + place, b->x + r * PIXELS, PIXELS * sizeof(real));
            }
        }
        error[kind] = length > 0 ? 100 * wrong / length : 0;
    }
}

/* Three digits, each in two rows: the digit and its strongest strokes one by one; the whole
   reconstruction and the sum of the strokes so far. */
void draw_parts(struct autoencoder *m, const struct bench *b) {
    enum { DIGITS = 3, STROKES = 11, COLS = STROKES + 1 };
    real *sheet = numbers(2 * DIGITS * COLS * PIXELS), *ink = numbers(m->d);
    for (size_t k = 0; k < DIGITS && k < b->tests; k++) {
        real *top = sheet + 2 * k * COLS * PIXELS, *below = top + COLS * PIXELS;
        const real *a = b->code + k * m->d;
        brightness(top, b->test.pixel + k * PIXELS, PIXELS);
        memcpy(below, b->xhat + k * PIXELS, PIXELS * sizeof(real));
        for (size_t j = 0; j < m->d; j++) { /* how much ink each unit brings to this image */
            ink[j] = 0;
            for (size_t i = 0; i < PIXELS; i++)
                ink[j] += a[j] * m->decoder.W[j * PIXELS + i];
        }
        for (size_t t = 1; t <= STROKES; t++) {
            size_t best = 0;
            for (size_t j = 1; j < m->d; j++)
                best = ink[j] > ink[best] ? j : best;
            ink[best] = 0;
            for (size_t i = 0; i < PIXELS; i++) {
                real part = a[best] * m->decoder.W[best * PIXELS + i];
                top[t * PIXELS + i] = 3 * part; /* brighter than it is, to be seen */
                below[t * PIXELS + i] = part + (t > 1 ? below[(t - 1) * PIXELS + i] : 0);
            }
        }
    }
    write_sheet(b->s->out, "parts.png", sheet, 2 * DIGITS, COLS, 3);
    free(sheet);
    free(ink);
}

/* The runs: the main ones first, so that Ctrl-C leaves those. Returns how many. */
size_t list_runs(struct run *run, const struct settings *s) {
    size_t n = 0;
    run[n++] = (struct run){"none", "none, ReLU", RELU, {NONE, 0, 0}, .main = 1};
    run[n++] = (struct run){"l1", "L1, ReLU", RELU, {L1, s->l1, 0}, .main = 1};
    run[n++] = (struct run){"none_sigmoid", "none, sigmoid", SIGMOID, {NONE, 0, 0}, .main = 1};
    run[n++] = (struct run){"kl", "KL, sigmoid", SIGMOID, {KL, s->kl, s->rho}, .main = 1};
    run[n++] =
        (struct run){"kl_each", "KL of each image", SIGMOID, {KL_EACH, s->each, s->rho}, .main = 1};
    run[n++] =
        (struct run){"weights", "L1 on weights", RELU, {L1_WEIGHTS, s->weights, 0}, .main = 1};
    for (size_t k = 0; k < 2 * STRENGTHS; k++)
        if (strength[k / 2][k % 2] > 0) {
            struct run point = run[k % 2 ? 3 : 1];
            point.penalty.lambda *= strength[k / 2][k % 2];
            point.main = 0;
            run[n++] = point;
        }
    return n;
}

void print_run(const struct run *run) {
    printf("  %-18s %8.3g %10.2f %9.1f %7.1f %9.3f %9.2f %5.0f %8.2f%s\n", run->label,
           run->penalty.lambda, run->sq, run->active, run->aloud, run->treves, run->silenced,
           run->dead, run->longest, interrupted ? "  (stopped)" : "");
}

void report_run(const struct run *run, double units, struct results *results) {
    const char *key = run->key;
    if (!run->main) {
        result(results, run->sq, "", "%s_%g_sq", key, run->penalty.lambda);
        result(results, run->active, "%", "%s_%g_active", key, run->penalty.lambda);
        result(results, run->silenced, "", "%s_%g_silenced", key, run->penalty.lambda);
        result(results, run->longest, "", "%s_%g_longest", key, run->penalty.lambda);
        return;
    }
    result(results, run->sq, "", "test_sq_%s", key);
    result(results, run->active, "%", "active_%s", key);
    result(results, run->active * units / 100, "units", "active_units_%s", key);
    result(results, run->aloud, "%", "aloud_%s", key);
    result(results, run->treves, "", "treves_%s", key);
    result(results, run->silenced, "", "silenced_%s", key);
    result(results, run->mean, "", "mean_%s", key);
    result(results, run->dead, "units", "dead_%s", key);
    result(results, run->dead_mean, "", "dead_mean_%s", key);
    result(results, run->longest, "", "longest_%s", key);
    result(results, run->small_weights, "%", "small_weights_%s", key);
}

/* Trains, judges, draws. Returns how many of the n runs were done before an interruption: one at
   least. */
size_t all_runs(struct run *run, size_t n, struct bench *b, struct results *results) {
    const struct settings *s = b->s;
    double error[MOST_RUNS][STRANGE], histogram[MOST_RUNS][BINS];
    real *sheet = numbers(5 * STRANGE * EACH_SHOWN * PIXELS);
    size_t done = 0, row = STRANGE * EACH_SHOWN * PIXELS, mains = 0;
    printf("  %-18s %8s %10s %9s %7s %9s %9s %5s %8s\n", "penalty", "lambda", "sq. error",
           "active %", "> 0.1 %", "T.-Rolls", "silenced", "dead", "longest");
    for (; done < n && (done == 0 || !interrupted); done++) {
        struct run *now = &run[done];
        struct autoencoder m = autoencoder_new(PIXELS, s->units, now->f, s->batch);
        train(&m, now, b);
        judge(&m, now, b);
        print_run(now);
        report_run(now, (double)s->units, results);
        if (now->main) {
            count_activations(histogram[done], now, b);
            draw_filters(&m, now, b);
            /* Its row of the sheet: below the pictures themselves, or where nobody looks. */
            size_t place = done == 0 ? 1 : done == 1 ? 2 : done == 3 ? 3 : 4;
            real *shown = sheet + place * row;
            judge_strange(error[done], shown, sheet, &m, b);
            mains++;
        }
        if (now->penalty.kind == L1 && now->main)
            draw_parts(&m, b);
        autoencoder_free(&m);
    }

    printf("\nsquared error in per cent of the picture's own squared length\n  %-18s", "penalty");
    for (int k = 0; k < STRANGE; k++)
        printf(" %16s", strange_name[k]);
    printf("\n");
    for (size_t i = 0; i < mains; i++) {
        printf("  %-18s", run[i].label);
        for (int k = 0; k < STRANGE; k++) {
            printf(" %16.1f", error[i][k]);
            result(results, error[i][k], "%", "strange_%s_%d", run[i].key, k);
        }
        printf("\n");
    }
    write_sheet(s->out, "strange.png", sheet, 4, STRANGE * EACH_SHOWN, 2);
    free(sheet);

    struct output o = open_output(s->out, "histogram.tsv");
    fprintf(o.file, "bin");
    for (size_t i = 0; i < mains; i++)
        fprintf(o.file, "\t%s", run[i].label);
    for (int bin = 0; bin < BINS; bin++) {
        fprintf(o.file, "\n%g", bin ? (bin - 0.5) / (BINS - 2) : 0.0);
        for (size_t i = 0; i < mains; i++)
            fprintf(o.file, "\t%g", histogram[i][bin]);
    }
    fprintf(o.file, "\n");
    close_output(&o);
    return done;
}

/* tradeoff.tsv: a line for each run; those of one penalty stand together, from weak to strong. */
void draw_tradeoff(struct run *run, size_t n, const struct settings *s) {
    struct output o = open_output(s->out, "tradeoff.tsv");
    fprintf(o.file, "penalty\tlambda\tactive\tsquared\ttreves\n");
    for (size_t i = 0; i < n; i++) { /* sorts by insertion */
        struct run now = run[i];
        size_t j = i;
        for (; j > 0 && (run[j - 1].penalty.kind > now.penalty.kind ||
                         (run[j - 1].penalty.kind == now.penalty.kind &&
                          run[j - 1].penalty.lambda > now.penalty.lambda));
             j--)
            run[j] = run[j - 1];
        run[j] = now;
    }
    for (size_t i = 0; i < n; i++)
        fprintf(o.file, "%s%s\t%g\t%g\t%g\t%g\n", penalty_name[run[i].penalty.kind],
                run[i].penalty.kind == NONE && run[i].f == SIGMOID ? " sigmoid" : "",
                run[i].penalty.lambda, run[i].active, run[i].sq, run[i].treves);
    close_output(&o);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line at once, even into a pipe */
    struct settings s = {.data = "data/digits",
                         .out = "build/" CHAPTER,
                         .units = 1024,
                         .epochs = 3,
                         .batch = 50,
                         .seed = 1,
                         .images = 1000000,
                         .tests = 1000000,
                         .runs = MOST_RUNS,
                         .rate = 0.001,
                         .l1 = 0.1,
                         .kl = 0.2,
                         .each = 0.1,
                         .weights = 0.03,
                         .rho = 0.02,
                         .length = 1};
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 's', &s.data, 0, 0},
        {"--out", "folder for results and pictures", 's', &s.out, 0, 0},
        {"--code", "width of the code", 'n', &s.units, 1, 100000},
        {"--epochs", "times through the training images, for each run; 0: none", 'n', &s.epochs, 0,
         1000000},
        {"--batch", "images in a step", 'n', &s.batch, 1, 100000},
        {"--rate", "learning rate at the start; a sigmoid code has three times as much", 'x',
         &s.rate, 1e-9, 1e9},
        {"--l1", "strength of L1 on activations", 'x', &s.l1, 1e-9, 1e9},
        {"--kl", "strength of KL", 'x', &s.kl, 1e-9, 1e9},
        {"--rho", "the mean activation that KL wants", 'x', &s.rho, 1e-4, 0.9999},
        {"--each", "strength of KL taken of each image, the first slip", 'x', &s.each, 1e-9, 1e9},
        {"--weights", "strength of L1 on weights, the second slip", 'x', &s.weights, 1e-9, 1e9},
        {"--length", "no stroke is longer; 0: as long as it likes", 'x', &s.length, 0, 1e9},
        {"--images", "how many training images to use", 'n', &s.images, 1, 1e9},
        {"--tests", "how many test images to use", 'n', &s.tests, 1, 1e9},
        {"--runs", "how many of the runs, in the order of the table", 'n', &s.runs, 1, MOST_RUNS},
        {"--seed", "start of the random numbers", 'n', &s.seed, 0, 1e15},
        {"--threads", "cores to use; 0: all", 'n', &s.threads, 0, 1024},
        {0}};
    parse_options(argc, argv, table, "codes that are wider than the image, with penalties");
    use_threads(s.threads);
    struct bench b = {.s = &s, .train = read_images(s.data, "train")};
    b.test = read_images(s.data, "t10k");
    b.count = least(b.train.count, s.images);
    b.tests = least(b.test.count, s.tests);
    s.batch = least(s.batch, b.count);
    make_folder(s.out);
    catch_interrupts();
    b.order = allocate(b.count, sizeof *b.order);
    b.x = numbers(s.batch * PIXELS);
    b.example = allocate(s.batch, sizeof *b.example);
    b.mean = allocate(s.units, sizeof *b.mean);
    b.code = numbers(b.tests * s.units);
    b.xhat = numbers(b.tests * PIXELS);
    struct run run[MOST_RUNS];
    size_t n = least(list_runs(run, &s), s.runs);
    b.all = n * s.epochs;
    struct results results;
    open_results(&results);
    printf("784 -> %zu -> 784, %zu training images, %zu test images, batches of %zu, %zu runs of "
           "%zu epoch%s\n",
           s.units, b.count, b.tests, s.batch, n, s.epochs, s.epochs == 1 ? "" : "s");
    size_t done = all_runs(run, n, &b, &results);
    double lit = 0, length = 0;
    for (size_t k = 0; k < b.tests * PIXELS; k++) {
        lit += (b.test.pixel[k] > 0) / (double)b.tests;
        length += pow(b.test.pixel[k] / 255.0, 2) / (double)b.tests;
    }
    printf("\na test image has %.0f lit pixels of %d, and a squared length of %.0f\n", lit, PIXELS,
           length);
    result(&results, lit, "pixels", "lit_pixels");
    result(&results, length, "", "squared_length");
    result(&results, run[0].sq, "", "test_sq");
    if (done > 3) { /* what sparsity costs, in errors of the code without a penalty */
        result(&results, run[1].sq / run[0].sq, "", "ratio_l1");
        result(&results, run[3].sq / run[2].sq, "", "ratio_kl");
    }
    result(&results, (double)(2 * PIXELS * s.units + s.units), "parameters", "parameters");
    result(&results, run[0].seconds, "seconds", "epoch_seconds");
    draw_tradeoff(run, done, &s); /* which changes their order */
    close_results(&results, s.out);

    free(b.order);
    free(b.x);
    free(b.example);
    free(b.mean);
    free(b.code);
    free(b.xhat);
    free_images(&b.train);
    free_images(&b.test);
    return 0;
}
#endif
