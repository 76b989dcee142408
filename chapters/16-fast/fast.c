/* fast.c: chapter 16 of "Autoencoders by Hand".

   The matrix product from three loops to near the speed of the machine, a rung at a time.

   Build it alone:  cc -O3 -march=native -fopenmp fast.c -lpng -lz -lm
   Run it:          ./a.out

   Contents                                                           line
     II.  From three loops to the peak                                  0

*/
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

#define PROGRAM "fast"
#define CHAPTER "16-fast"

/* --- precision (chapter 1) ---------------------------------------------------- */
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

/* --- tools in short (chapter 1) ----------------------------------------------- */
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

/* --- team of cores ------------------------------------------------------------ */
/* What follows TEAM is done by all cores at once, each with a number of its own; at meet() each
   waits until all have come. Without OpenMP the team is one core. */
#ifdef _OPENMP
#define TEAM    _Pragma("omp parallel")
#define meet()  _Pragma("omp barrier")
#define core()  ((size_t)omp_get_thread_num())
#define cores() ((size_t)omp_get_num_threads())
#else
#define TEAM
#define meet()  ((void)0)
#define core()  ((size_t)0)
#define cores() ((size_t)1)
#endif

size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Where core t's share begins, of n things that come in units. It ends where that of core t+1
   begins. */
size_t share(size_t n, size_t unit, size_t t) {
    return least(n, (n + unit - 1) / unit * t / cores() * unit);
}

/* --- product in short --------------------------------------------------------- */
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
enum { WIDTH = VECTOR_BYTES / sizeof(real), SQUARE = 16 };

/* C (M,N) += A (M,K) B (K,N), with A_mk = A[m * row + k * col]: (row, col) is (K, 1) for A as it
   lies in memory and (1, M) for A that lies there transposed. */
void multiply(real *C, const real *A, size_t row, size_t col, const real *B, size_t M, size_t N,
              size_t K);

/* Wt (cols,rows) = W (rows,cols) transposed, for rows first to last of W */
void transpose(real *Wt, const real *W, size_t rows, size_t cols, size_t first, size_t last);

static inline real exp_negative(real x); /* e^x for x <= 0 */
static inline real logistic(real s);     /* 1 / (1 + e^-s) */

/* === II. This chapter: from three loops to the peak ============================ */

/* --- matrix product ----------------------------------------------------------- */
enum { STRIP = TILE_VECTORS * WIDTH, DEPTH = 512 };
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* C += A B for one tile. `vectors` is a constant wherever we call this, so the loops over i and j
   unroll and c never leaves the registers. Rows beyond the last repeat it and are not stored. */
static inline __attribute__((always_inline)) void tile(real *C, size_t ldc, const real *A,
                                                       size_t row, size_t col, const real *B,
                                                       size_t ldb, size_t depth, size_t rows,
                                                       size_t cols, const size_t vectors) {
    vector c[TILE_ROWS][TILE_VECTORS] = {{{0}}};
    size_t at[TILE_ROWS];
    for (size_t i = 0; i < TILE_ROWS; i++)
        at[i] = least(i, rows - 1) * row;
    for (size_t i = 0; i < rows; i++) /* we need these after the sum: they can be on their way */
        for (size_t j = 0; j < cols; j += WIDTH)
            __builtin_prefetch(C + i * ldc + j, 1);
    for (size_t k = 0; k < depth; k++)
        for (size_t i = 0; i < TILE_ROWS; i++)
            for (size_t j = 0; j < vectors; j++)
                c[i][j] += A[at[i] + k * col] * ((const vector *)(B + k * ldb))[j];
    const real *sum = (const real *)c;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            C[i * ldc + j] += sum[i * STRIP + j];
}

/* We go through B in strips as wide as a tile, or a vector less, and DEPTH rows long, which stay in
   the cache while all of A passes by. A strip that ends inside a vector is filled up with zeros. */
void multiply(real *C, const real *A, size_t row, size_t col, const real *B, size_t M, size_t N,
              size_t K) {
    const size_t all = (N + WIDTH - 1) / WIDTH, strips = (all + TILE_VECTORS - 1) / TILE_VECTORS;
    real filled[DEPTH * STRIP];
    for (size_t k = 0; k < K; k += DEPTH)
        for (size_t s = 0; s < strips; s++) {
            size_t n = all * s / strips * WIDTH, end = least(N, all * (s + 1) / strips * WIDTH);
            size_t cols = end - n, depth = least(DEPTH, K - k), ldb = N,
                   wide = cols > STRIP - WIDTH;
            const real *b = B + k * N + n;
            if (cols < (wide ? STRIP : STRIP - WIDTH)) {
                for (size_t i = 0; i < depth; i++)
                    for (size_t j = 0; j < STRIP; j++)
                        filled[i * STRIP + j] = j < cols ? b[i * N + j] : 0;
                b = filled;
                ldb = STRIP;
            }
            for (size_t m = 0; m < M; m += TILE_ROWS) {
                const real *a = A + m * row + k * col;
                real *c = C + m * N + n;
                size_t rows = least(TILE_ROWS, M - m);
                if (wide)
                    tile(c, N, a, row, col, b, ldb, depth, rows, cols, TILE_VECTORS);
                else
                    tile(c, N, a, row, col, b, ldb, depth, rows, cols, TILE_VECTORS - 1);
            }
        }
}

/* --- transposing -------------------------------------------------------------- */
/* A perfect shuffle of a square of numbers, as of a deck of cards: one from the upper half, one from
   the lower, and so on. */
static inline void shuffle_square(real *to, const real *from) {
    for (size_t k = 0; k < SQUARE * SQUARE / 2; k++) {
        to[2 * k] = from[k];
        to[2 * k + 1] = from[k + SQUARE * SQUARE / 2];
    }
}

/* Write the place of a number in a square of 16 x 16 as eight bits, four for its row and four for
   its column. A shuffle rotates these bits by one place, four rotate them by four: row and column
   have changed places. A shuffle is a few instructions for a whole vector, where sixteen single
   numbers would be fetched one by one. */
void transpose(real *Wt, const real *W, size_t rows, size_t cols, size_t first, size_t last) {
    real a[SQUARE * SQUARE], b[SQUARE * SQUARE];
    for (size_t i = first; i < last; i += SQUARE)
        for (size_t j = 0; j < cols; j += SQUARE)
            if (i + SQUARE <= last && j + SQUARE <= cols) {
                for (size_t p = 0; p < SQUARE; p++)
                    memcpy(a + p * SQUARE, W + (i + p) * cols + j, SQUARE * sizeof *a);
                for (int twice = 0; twice < 2; twice++) {
                    shuffle_square(b, a);
                    shuffle_square(a, b);
                }
                for (size_t q = 0; q < SQUARE; q++)
                    memcpy(Wt + (j + q) * rows + i, a + q * SQUARE, SQUARE * sizeof *a);
            } else /* less than a square is left */
                for (size_t q = j; q < least(cols, j + SQUARE); q++)
                    for (size_t p = i; p < least(last, i + SQUARE); p++)
                        Wt[q * rows + p] = W[p * cols + q];
}

/* --- exponential -------------------------------------------------------------- */
/* The library's exp is a call for one number; this is arithmetic only, so a loop over it works on a
   vector at a time. x = n log 2 + r with |r| <= log(2)/2, so e^x = 2^n e^r: a polynomial gives e^r,
   and n goes into the exponent bits of a float. The coefficients are those of the Cephes library;
   the error is below 2e-7 of the value. */
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
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    memcpy(&y, &bits, sizeof y); /* 2^n */
    return (real)(p * y);
}

/* The exponent is never positive. */
static inline real logistic(real s) {
    real e = exp_negative(-fabs(s)), q = 1 / (1 + e);
    return s < 0 ? e * q : q;
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
    if (unfinished[0])
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

/* === IV. The program =========================================================== */
#ifndef WORKBOOK_TEST
int main(void) {
    real A[6] = {1, 2, 3, 4, 5, 6}, B[6] = {1, 0, 0, 1, 1, 1}, C[4] = {0};
    multiply(C, A, 3, 1, B, 2, 2, 3);
    printf("%g %g %g %g\n", (double)C[0], (double)C[1], (double)C[2], (double)C[3]);
    return 0;
}
#endif
