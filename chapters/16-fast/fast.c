/* fast.c: chapter 16 of "Autoencoders by Hand".

   The matrix product, from three loops to near the speed of the machine, a rung at a time: order of
   the loops, registers, vectors, cache, cores, and steps that are done in one. Each rung is timed
   in turns with the peak, a loop that does nothing but multiply and add.

   Build it alone:  cc -O3 -march=native -fopenmp fast.c -lm
   Run it:          ./a.out

   Contents                                                           line
     team of cores                                                     85
     product in short                                                 110
     I.   Nothing carried but tools                                   134
     II.  This chapter: from three loops to the peak                  136
     III. Tools, to look up rather than to read                       517
     IV.  The program                                                 789

   Letters: C (M,N) += A (M,K) B (K,N), entries m, n, k; B examples in a batch, in and out the
   widths of a layer, W (out,in) its weights. In memory W_ji stands at W[i * out + j], for speed. */
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

#ifdef _OPENMP
#include <omp.h>
#endif

#define PROGRAM "fast"
#define CHAPTER "16-fast"

/* --- precision (chapter 1) ------------------------------------------------ */
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

/* --- tools in short (chapter 1) ------------------------------------------- */
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

/* === I. Nothing carried but tools ============================================== */

/* === II. This chapter: from three loops to the peak =========================== */

/* --- three loops -------------------------------------------------------------- */
/* Every rung is a function of this kind: C (M,N) += A (M,K) B (K,N), with the two strides of A. */
typedef void product(real *C, const real *A, size_t row, size_t col, const real *B, size_t M,
                     size_t N, size_t K);

/* The compiler finds vectors by itself in some loops. On the first rungs it must not, so that we
   see what each gives alone. Only gcc knows the word; under clang the second rung has
   vectors already. */
#if defined(__GNUC__) && !defined(__clang__)
#define ONE_BY_ONE __attribute__((optimize("no-tree-vectorize")))
#else
#define ONE_BY_ONE
#endif

/* The definition. */
ONE_BY_ONE void multiply_by_definition(real *C, const real *A, size_t row, size_t col,
                                       const real *B, size_t M, size_t N, size_t K) {
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++)
            for (size_t k = 0; k < K; k++)
                C[m * N + n] += A[m * row + k * col] * B[k * N + n];
}

/* --- order of the loops ------------------------------------------------------- */
/* The same sums, each in the same order; but now a row of sums grows together. */
ONE_BY_ONE void multiply_row_by_row(real *C, const real *A, size_t row, size_t col, const real *B,
                                    size_t M, size_t N, size_t K) {
    for (size_t m = 0; m < M; m++)
        for (size_t k = 0; k < K; k++) {
            const real a = A[m * row + k * col];
            for (size_t n = 0; n < N; n++)
                C[m * N + n] += a * B[k * N + n];
        }
}

/* The same loops, and the compiler may do with them what it can. */
void multiply_by_the_compiler(real *C, const real *A, size_t row, size_t col, const real *B,
                              size_t M, size_t N, size_t K) {
    for (size_t m = 0; m < M; m++)
        for (size_t k = 0; k < K; k++) {
            const real a = A[m * row + k * col];
            for (size_t n = 0; n < N; n++)
                C[m * N + n] += a * B[k * N + n];
        }
}

/* --- registers ---------------------------------------------------------------- */
/* A piece of C, 4 x 3 numbers, stays in registers until its sums are complete. What would lie
   beyond the last row or column repeats it, and is not stored. */
ONE_BY_ONE void multiply_in_registers(real *C, const real *A, size_t row, size_t col, const real *B,
                                      size_t M, size_t N, size_t K) {
    enum { DOWN = 4, ACROSS = 3 };
    for (size_t m = 0; m < M; m += DOWN)
        for (size_t n = 0; n < N; n += ACROSS) {
            real c[DOWN][ACROSS] = {{0}};
            for (size_t k = 0; k < K; k++)
                for (size_t i = 0; i < DOWN; i++)
                    for (size_t j = 0; j < ACROSS; j++)
                        c[i][j] +=
                            A[least(m + i, M - 1) * row + k * col] * B[k * N + least(n + j, N - 1)];
            for (size_t i = 0; i < least(DOWN, M - m); i++)
                for (size_t j = 0; j < least(ACROSS, N - n); j++)
                    C[(m + i) * N + n + j] += c[i][j];
        }
}

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

/* --- without strips ----------------------------------------------------------- */
/* The tile alone: for each few rows of A all of B passes by. */
void multiply_without_strips(real *C, const real *A, size_t row, size_t col, const real *B,
                             size_t M, size_t N, size_t K) {
    for (size_t m = 0; m < M; m += TILE_ROWS)
        multiply(C + m * N, A + m * row, row, col, B, least(TILE_ROWS, M - m), N, K);
}

/* --- peak --------------------------------------------------------------------- */
/* Nothing but multiply-adds, in registers: sixteen sums that do not wait for each other. Returns
   how many operations that were, two for each number in a vector. */
double multiply_adds(size_t times) {
    enum { SUMS = 16 };
    volatile real start = (real)0.999, end;
    vector c[SUMS], x = start - (vector){0}, sum = {0};
    for (int j = 0; j < SUMS; j++)
        c[j] = x * (real)j; /* all different, or the compiler computes one for all */
    for (size_t t = 0; t < times; t++)
        for (int j = 0; j < SUMS; j++)
            c[j] = c[j] * x + x;
    for (int j = 0; j < SUMS; j++)
        sum += c[j];
    end = sum[0]; /* somebody must want the result, or nothing is computed */
    (void)end;
    return 2.0 * SUMS * WIDTH * (double)times;
}

/* Nothing but traffic: a (n) = b + x c. Returns how many bytes are read and written. */
double triad(real *a, const real *b, const real *c, real x, size_t n) {
    for (size_t i = 0; i < n; i++)
        a[i] = b[i] + x * c[i];
    return 3.0 * (double)n * sizeof(real);
}

/* --- all cores ---------------------------------------------------------------- */
/* This core's share of a product, on any rung; called by all cores of a team. Each takes some rows
   of C: a sum is never split, so the result is the same, to the last bit, for any number
   of cores. */
void multiply_my_share(product *rung, real *C, const real *A, size_t row, size_t col, const real *B,
                       size_t M, size_t N, size_t K) {
    size_t first = share(M, TILE_ROWS, core()), end = share(M, TILE_ROWS, core() + 1);
    rung(C + first * N, A + first * row, row, col, B, end - first, N, K);
}

/* --- transposing -------------------------------------------------------------- */
/* A perfect shuffle of a square of numbers, as of a deck of cards: one from the upper half, one
   from the lower, and so on. */
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
   down to -87 the error is below 2e-7 of the value, and what lies lower is taken for -87. */
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

/* --- training step ------------------------------------------------------------ */
/* Chapter 5's network as far as it takes time: its weights, without the biases. */
enum { STAGES = 6 };

struct stage {
    size_t in, out, at; /* W (out,in) begins at that place of all weights */
    int bent;           /* a ReLU follows; not after the code, nor after the logits */
    real *Wt, *h, *d;   /* (in,out) W transposed; (B,out) outputs; (B,out) derivatives of sums */
};

struct model {
    struct stage stage[STAGES];
    size_t B, parameters, steps;
    real *W, *dW, *m, *v; /* (parameters) those of all stages; m and v are Adam's */
    real *x;              /* (B,in) the images */
};

/* size[0] -> size[1] -> ... -> size[6], everything zero. */
struct model model_new(const size_t *size, size_t B) {
    struct model net = {.B = B};
    size_t room = B * size[0];
    for (size_t l = 0; l < STAGES; l++) {
        net.stage[l] = (struct stage){.in = size[l], .out = size[l + 1], .at = net.parameters};
        net.stage[l].bent = 2 * (l + 1) != STAGES && l + 1 != STAGES;
        net.parameters += size[l] * size[l + 1];
        room += 2 * B * size[l + 1];
    }
    net.W = allocate(5 * net.parameters + room, sizeof(real));
    net.dW = net.W + net.parameters;
    net.m = net.dW + net.parameters;
    net.v = net.m + net.parameters;
    net.x = net.v + net.parameters;
    real *block = net.x + B * size[0];
    for (size_t l = 0; l < STAGES; l++) {
        struct stage *y = &net.stage[l];
        y->h = block;
        y->d = y->h + B * y->out;
        y->Wt = y->d + B * y->out;
        block = y->Wt + y->in * y->out;
    }
    return net;
}

/* Some images all the way: forward, (xhat - x) / B at the logits, and back to every d. */
void model_pass(struct model *net, size_t first, size_t rows) {
    const real *below = net->x + first * net->stage[0].in;
    for (size_t l = 0; l < STAGES; l++) {
        struct stage *y = &net->stage[l];
        real *h = y->h + first * y->out;
        memset(h, 0, rows * y->out * sizeof *h);
        multiply(h, below, y->in, 1, net->W + y->at, rows, y->out, y->in);
        for (size_t k = 0; y->bent && k < rows * y->out; k++)
            h[k] = h[k] > 0 ? h[k] : 0;
        below = h;
    }
    struct stage *top = &net->stage[STAGES - 1];
    for (size_t k = first * top->out; k < (first + rows) * top->out; k++)
        top->d[k] = (logistic(top->h[k]) - net->x[k]) / (real)net->B;
    for (size_t l = STAGES - 1; l-- > 0;) {
        struct stage *y = &net->stage[l], *above = y + 1;
        real *d = y->d + first * y->out, *h = y->h + first * y->out;
        memset(d, 0, rows * y->out * sizeof *d);
        multiply(d, above->d + first * above->out, above->out, 1, above->Wt, rows, y->out,
                 above->out);
        for (size_t k = 0; y->bent && k < rows * y->out; k++)
            d[k] = h[k] > 0 ? d[k] : 0;
    }
}

/* dW (out,in) += d' x for the inputs first to end, whose share lies at dW. */
void stage_gradient(real *dW, const struct model *net, size_t l, size_t first, size_t end) {
    const struct stage *y = &net->stage[l];
    const real *x = l ? net->stage[l - 1].h : net->x;
    multiply(dW, x + first, 1, y->in, y->d, end - first, y->out, net->B);
}

/* Adam (chapter 2) moves the n weights from `at` on, whose gradient lies at dW. The caller has
   counted this step. */
void model_update(struct model *net, size_t at, const real *dW, size_t n, double rate) {
    const real keep_m = (real)0.9, keep_v = (real)0.999, tiny = (real)1e-30;
    const real step = (real)(rate / (1 - pow(0.9, (double)net->steps)));
    const real correct_v = (real)(1 / (1 - pow(0.999, (double)net->steps)));
    real *W = net->W + at, *m = net->m + at, *v = net->v + at;
    for (size_t k = 0; k < n; k++) {
        real mk = keep_m * m[k] + (1 - keep_m) * dW[k];
        real vk = keep_v * v[k] + (1 - keep_v) * dW[k] * dW[k];
        m[k] = mk = fabs(mk) < tiny ? 0 : mk;
        v[k] = vk = vk < tiny ? 0 : vk;
        W[k] -= step * mk / (sqrt(vk * correct_v) + (real)1e-8);
    }
}

/* One step as chapter 5 takes it: the gradient of everything, Adam, and the transposed copies, with
   the cores waiting for each other in between. */
void plain_step(struct model *net, double rate) {
    net->steps++;
    TEAM {
        size_t first = share(net->B, TILE_ROWS, core()), end = share(net->B, TILE_ROWS, core() + 1);
        model_pass(net, first, end - first);
        size_t from = share(net->parameters, WIDTH, core());
        size_t to = share(net->parameters, WIDTH, core() + 1);
        memset(net->dW + from, 0, (to - from) * sizeof(real));
        meet();
        for (size_t l = STAGES; l-- > 0;) {
            struct stage *y = &net->stage[l];
            first = share(y->in, TILE_ROWS, core());
            end = share(y->in, TILE_ROWS, core() + 1);
            stage_gradient(net->dW + y->at + first * y->out, net, l, first, end);
        }
        meet();
        model_update(net, from, net->dW + from, to - from, rate);
        meet();
        for (size_t l = STAGES; l-- > 1;) {
            struct stage *y = &net->stage[l];
            transpose(y->Wt, net->W + y->at, y->in, y->out, share(y->in, SQUARE, core()),
                      share(y->in, SQUARE, core() + 1));
        }
    }
}

/* --- fused steps -------------------------------------------------------------- */
/* A dW is computed for PANEL inputs at a time, as many rows of it in memory: a whole number of
   tiles and of squares on any processor. */
enum { PANEL = 48, WIDEST = 1024 };

/* The same step. A core computes a panel of dW, and while that is in its cache moves the weights to
   which it belongs and turns them. There is no gradient in memory, and one place to wait. */
void fused_step(struct model *net, double rate) {
    net->steps++;
    TEAM {
        size_t first = share(net->B, TILE_ROWS, core()), end = share(net->B, TILE_ROWS, core() + 1);
        real panel[PANEL * WIDEST];
        model_pass(net, first, end - first);
        meet();
        for (size_t l = STAGES; l-- > 0;) {
            struct stage *y = &net->stage[l];
            end = share(y->in, SQUARE, core() + 1);
            for (first = share(y->in, SQUARE, core()); first < end; first += PANEL) {
                size_t last = least(first + PANEL, end), n = (last - first) * y->out;
                memset(panel, 0, n * sizeof *panel);
                stage_gradient(panel, net, l, first, last);
                model_update(net, y->at + first * y->out, panel, n, rate);
                if (l)
                    transpose(y->Wt, net->W + y->at, y->in, y->out, first, last);
            }
        }
    }
}

/* === III. Tools, to look up rather than to read ================================ */

/* --- errors (chapter 1) --------------------------------------------------- */
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

/* --- random numbers (chapter 1) ------------------------------------------- */
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

/* --- writing files (chapter 1) -------------------------------------------- */
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

/* --- options (chapter 1) -------------------------------------------------- */
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

/* --- progress (chapter 1) ------------------------------------------------- */
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

/* === IV. The program ========================================================== */
#ifndef WORKBOOK_TEST

size_t seed = 1, threads, rounds = 7, batch = 128;
size_t size[STAGES + 1] = {784, 400, 100, 6, 100, 400, 784};
struct model net;
double most = 1; /* cores */

/* One product of a training step, C (M,N) += A (M,K) B (K,N), and what it is. */
struct task {
    const char *name;
    real *C;
    const real *A, *B;
    size_t row, col, M, N, K;
};
enum { TASKS = 3 * STAGES - 1 };
struct task task[TASKS];

/* Of each layer: forward, the gradient of the weights, and that of the inputs but for the pixels.
   The results go to places of their own, so that nothing grows from one measurement to the next. */
void list_tasks(real *C) {
    struct task *t = task;
    for (size_t l = 0; l < STAGES; l++) {
        const struct stage *y = &net.stage[l];
        const real *x = l ? net.stage[l - 1].h : net.x, *W = net.W + y->at;
        *t++ = (struct task){"forward", C, x, W, y->in, 1, batch, y->out, y->in};
        *t++ = (struct task){"weights", C, x, y->d, 1, y->in, y->in, y->out, batch};
        if (l)
            *t++ = (struct task){"inputs", C, y->d, y->Wt, y->out, 1, batch, y->in, y->out};
    }
    for (size_t k = 0; k < TASKS; k++) {
        task[k].C = C;
        C += task[k].M * task[k].N;
    }
}

double operations(const struct task *t) {
    return 2.0 * (double)t->M * (double)t->N * (double)t->K;
}

/* What can be timed. Each returns how much it has done: operations, bytes, or numbers. Without a
   rung do_step does nothing, and says how many operations a step has. */
product *rung;
const struct task *only;
enum { LARGE = 1 << 24, SMALL = 4096 };
real *large;

double do_peak(void) {
    double done = 0;
    TEAM {
        double mine = multiply_adds(300000);
        if (core() == 0)
            done = mine * (double)cores();
    }
    return done;
}

double do_step(void) {
    TEAM {
        for (size_t k = 0; rung && k < TASKS; k++) {
            const struct task *t = &task[k];
            multiply_my_share(rung, t->C, t->A, t->row, t->col, t->B, t->M, t->N, t->K);
        }
    }
    double done = 0;
    for (size_t k = 0; k < TASKS; k++)
        done += operations(&task[k]);
    return done;
}

double do_product(void) {
    const struct task *t = only;
    multiply(t->C, t->A, t->row, t->col, t->B, t->M, t->N, t->K);
    return operations(t);
}

double do_plain_step(void) {
    plain_step(&net, 1e-3);
    return do_step();
}

double do_fused_step(void) {
    fused_step(&net, 1e-3);
    return do_step();
}

double do_traffic(void) {
    double done = 0;
    TEAM {
        size_t first = share(LARGE, WIDTH, core()), n = share(LARGE, WIDTH, core() + 1) - first;
        double mine = triad(large + first, large + LARGE + first, large + 2 * LARGE + first, 3, n);
        if (core() == 0)
            done = mine * (double)cores();
    }
    return done;
}

double do_adam(void) {
    net.steps++;
    model_update(&net, 0, net.dW, net.parameters, 1e-9);
    return (double)net.parameters;
}

double do_exp(void) {
    for (size_t i = 0; i < SMALL; i++)
        large[i] = exp(large[LARGE + i]);
    return SMALL;
}

double do_exp_negative(void) {
    for (size_t i = 0; i < SMALL; i++)
        large[i] = exp_negative(large[LARGE + i]);
    return SMALL;
}

double do_transpose(void) {
    struct stage *y = &net.stage[STAGES - 1];
    transpose(y->Wt, net.W + y->at, y->in, y->out, 0, y->in);
    return (double)(y->in * y->out);
}

double do_transpose_by_definition(void) {
    struct stage *y = &net.stage[STAGES - 1];
    for (size_t i = 0; i < y->in; i++)
        for (size_t j = 0; j < y->out; j++)
            y->Wt[j * y->in + i] = net.W[y->at + i * y->out + j];
    return (double)(y->in * y->out);
}

/* The most it does in a second, in billions: the best of some 20 milliseconds. Other programs can
   only make a time longer. */
double rate_of(double (*work)(void)) {
    double best = 0, began = seconds(), before = began;
    do {
        double done = work(), now = seconds();
        best = fmax(best, 1e-9 * done / (now - before));
        before = now;
    } while (before - began < 0.02);
    return best;
}

/* The rows of the ladder. In each round all take their turn, on one core and on all; what counts is
   the best round. */
const struct {
    const char *name, *text;
    double (*work)(void);
    product *rung;
} ladder[] = {
    {"peak", "peak: multiply-adds alone", do_peak, NULL},
    {"definition", "three loops", do_step, multiply_by_definition},
    {"order", "their order", do_step, multiply_row_by_row},
    {"registers", "registers", do_step, multiply_in_registers},
    {"compiler", "order, and the compiler's vectors", do_step, multiply_by_the_compiler},
    {"vectors", "registers and vectors: the tile", do_step, multiply_without_strips},
    {"strips", "the cache: tiles along strips", do_step, multiply},
    {"plain", "a whole training step, plain", do_plain_step, NULL},
    {"fused", "a whole training step, fused", do_fused_step, NULL},
};
enum { ROWS = sizeof ladder / sizeof *ladder };

void climb(void) {
    double rate[ROWS][2] = {{0}}, row[ROWS * 5];
    for (size_t done = 0; done < rounds && !interrupted; done++)
        for (size_t all = 0; all < 2; all++) {
            USE_CORES(all ? threads : 1);
            show_progress((double)(2 * done + all) / (double)(2 * rounds), "measuring");
            for (size_t k = 0; k < ROWS; k++) {
                rung = ladder[k].rung;
                rate[k][all] = fmax(rate[k][all], rate_of(ladder[k].work));
            }
        }
    hide_progress();
    printf("\nthe products of a training step, batch %zu: %.0f million operations\n"
           "  billions a second                    1 core   of peak  %3.0f cores   of peak\n",
           batch, result(do_step() * 1e-6, "million operations", "operations"), most);
    for (size_t k = 0; k < ROWS; k++) {
        double *line = row + 5 * k;
        line[0] = (double)k;
        for (size_t all = 0; all < 2; all++) {
            const char *on = all ? "all" : "1";
            line[1 + 2 * all] = result(rate[k][all], "GFLOP/s", "rate_%s_%s", ladder[k].name, on);
            line[2 + 2 * all] =
                result(100 * rate[k][all] / rate[0][all], "%", "part_%s_%s", ladder[k].name, on);
        }
        printf("  %-34s %8.1f %7.1f %% %9.1f %7.1f %%\n", ladder[k].text, line[1], line[2], line[3],
               line[4]);
    }
    printf(
        "  what fusing gains: the time of a plain step is %.3f times that of a fused one, on all "
        "cores %.3f\n",
        result(rate[ROWS - 1][0] / rate[ROWS - 2][0], "", "gain_1"),
        result(rate[ROWS - 1][1] / rate[ROWS - 2][1], "", "gain_all"));
    write_table("ladder.tsv", "row\trate_1\tpart_1\trate_all\tpart_all", row, ROWS, 5);
}

/* A point for each product: how many operations there are to a byte that must come or go at least
   once, and how fast it is on one core. Below them Adam, which is all traffic. */
void look_at_the_roof(void) {
    double row[3 * (TASKS + 1)];
    USE_CORES(1);
    rate_of(do_traffic); /* the first time, memory is not there yet */
    double memory = result(rate_of(do_traffic), "GB/s", "memory_1");
    printf("\non one core; memory moves %.1f GB/s\n"
           "  product    (M,N,K)            operations a byte   billions a second\n",
           memory);
    for (size_t k = 0; k < TASKS; k++) {
        const struct task *t = only = &task[k];
        double bytes = (double)(t->M * t->K + t->K * t->N + 2 * t->M * t->N) * sizeof(real);
        double *point = row + 3 * k;
        point[0] = operations(t) / bytes;
        point[1] = rate_of(do_product);
        point[2] = t->N == 6 || t->K == 6 || t->M == 6;
        printf("  %-10s (%3zu,%3zu,%3zu) %18.1f %19.1f\n", t->name, t->M, t->N, t->K, point[0],
               point[1]);
        result(point[0], "operations/byte", "intensity_%zu", k + 1);
        result(point[1], "GFLOP/s", "product_%zu", k + 1);
    }
    /* Thirteen operations for each parameter, which reads four numbers and writes three. */
    double adam = rate_of(do_adam), *point = row + 3 * TASKS;
    point[0] = 13 / (7.0 * sizeof(real));
    point[1] = 13 * adam;
    point[2] = 2;
    printf("  Adam %33.2f %19.1f\n", point[0], point[1]);
    result(point[0], "operations/byte", "intensity_adam");
    result(point[1], "GFLOP/s", "rate_adam");
    write_table("roofline.tsv", "intensity\trate\tkind", row, TASKS + 1, 3);
    USE_CORES(threads);
    result(rate_of(do_traffic), "GB/s", "memory_all");
}

/* e^x against the library's in double: the largest error in units of the value, and what a Taylor
   polynomial of some degree would leave. */
void look_at_the_exponential(void) {
    enum { STEPS = 2000000, SHOWN = 600, LOWEST = 3, HIGHEST = 8 };
    double worst = 0, row[2 * SHOWN];
    for (size_t k = 0; k <= STEPS; k++) {
        real x = (real)(-87.0 * (double)k / STEPS);
        worst = fmax(worst, fabs((double)exp_negative(x) / exp((double)x) - 1));
    }
    printf("\ne^x for x from -87 to 0: the error is at most %.2g of the value\n",
           result(worst, "", "exp_error"));
    for (int degree = LOWEST; degree <= HIGHEST; degree++) {
        double sum = 0, term = 1, r = log(2.0) / 2;
        for (int k = 0; k <= degree; k++, term *= r / k)
            sum += term;
        printf("  Taylor's polynomial of degree %d would leave %.1g\n", degree,
               result(fabs(sum / exp(r) - 1), "", "taylor_%d", degree));
    }
    for (size_t k = 0; k < SHOWN; k++) {
        real x = (real)(-3 * log(2.0) * (double)k / (SHOWN - 1));
        row[2 * k] = (double)x;
        row[2 * k + 1] = 1e7 * ((double)exp_negative(x) / exp((double)x) - 1);
    }
    write_table("exponential.tsv", "x\terror", row, SHOWN, 2);
    for (size_t i = 0; i < SMALL; i++)
        large[LARGE + i] = (real)(-20.0 * (double)i / SMALL);
    printf("  nanoseconds for one: the library %.2f, ours %.2f\n",
           result(1 / rate_of(do_exp), "ns", "ns_exp_library"),
           result(1 / rate_of(do_exp_negative), "ns", "ns_exp"));
    printf("\nturning W (784,400), nanoseconds for a number: one by one %.2f, by shuffles %.2f\n",
           result(1 / rate_of(do_transpose_by_definition), "ns", "ns_transpose_definition"),
           result(1 / rate_of(do_transpose), "ns", "ns_transpose"));
}

/* What processor this is, where the system says so. */
void print_machine(void) {
    char line[256] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f) && strncmp(line, "model name", 10) != 0)
        line[0] = 0;
    if (f)
        fclose(f);
    const char *colon = strchr(line, ':');
    TEAM {
        if (core() == 0)
            most = (double)cores();
    }
    printf("%.*s%s%.0f core%s, vectors of %d bytes, a tile of %d rows and %d vectors\n",
           colon ? (int)strcspn(colon + 2, "\n") : 0, colon ? colon + 2 : "", colon ? ", " : "",
           result(most, "cores", "cores"), most == 1 ? "" : "s", VECTOR_BYTES, TILE_ROWS,
           TILE_VECTORS);
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--out", "folder for results", 't', &out_dir, 0, 0, NULL},
        {"--batch", "images in a step", 'n', &batch, 1, 4096, NULL},
        {"--rounds", "how often all take their turn", 'n', &rounds, 1, 1000, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table, "climbs from three loops to near the machine's peak");
    USE_CORES(threads);
    catch_interrupts();
    make_out_dir();
    print_machine();
    struct random r;
    random_seed(&r, seed);
    net = model_new(size, batch);
    for (size_t l = 0; l < STAGES; l++) {
        struct stage *y = &net.stage[l];
        double a = sqrt(6.0 / (double)y->in);
        for (size_t k = 0; k < y->in * y->out; k++)
            net.W[y->at + k] = (real)random_uniform(&r, -a, a);
        transpose(y->Wt, net.W + y->at, y->in, y->out, 0, y->in);
    }
    for (size_t k = 0; k < batch * size[0]; k++)
        net.x[k] = (real)random_uniform(&r, 0, 1);
    large = allocate(3 * (size_t)LARGE, sizeof *large);
    list_tasks(large);
    model_pass(&net, 0, batch);
    climb();
    if (!interrupted)
        look_at_the_roof();
    if (!interrupted)
        look_at_the_exponential();
    write_results();
    return interrupted ? 130 : 0;
}
#endif
