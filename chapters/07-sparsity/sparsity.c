/* sparsity.c: chapter 7 of "Autoencoders by Hand".

   A code that is wider than the image may copy it. Two things keep it from doing so: a penalty on
   its activations, so that few units speak at a time, and strokes that have ink but no eraser. This
   program switches both on and off, one without the other, and looks at what the units draw; then
   it holds the penalty that asks for quiet, L1, against the one that asks for a quiet mean, KL.

   Build it alone:  cc -O3 -march=native -fopenmp sparsity.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Contents                                                        line
     I.   The layers, from chapters 1 to 5                          138
     II.  Strokes, L1, KL of the mean: new in this chapter          337
     III. Tools, to look up rather than to read                     586
     IV.  The program                                              1083

   Letters: B images in a batch, one a row; n pixels in an image; d units of the code; x (B,n); a
   (B,d) = f(W x + b) the code, its numbers called activations; xhat (B,n) = V a the
   reconstruction; column j of V (n,d) is the stroke of unit j, and lies in memory as 784 numbers
   side by side; lambda the strength of a penalty; rho the mean activation that is wanted, mean (d)
   the one that there is. */
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

/* --- team of cores (chapter 16) ------------------------------------------- */
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

/* --- product in short (chapter 16) ---------------------------------------- */
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

/* === I. The layers, from chapters 1 to 5 ================================== */

/* --- tensors (chapter 1) -------------------------------------------------- */
/* One row of the table of everything that can be learned. A weight W (out,in) has rows = out and
   cols = in, and entry (j,i) at value[i * rows + j]; a bias b (out) has cols = 1. */
struct tensor {
    char name[32];
    size_t rows, cols;
    real *value, *grad;
};

/* Cuts the next n numbers off a block of memory. */
real *take(real **block, size_t n) {
    real *start = *block;
    *block += n;
    return start;
}

/* --- squared error (chapter 2) -------------------------------------------- */
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

/* --- adam (chapter 2) ----------------------------------------------------- */
/* Adam (Kingma and Ba, 2015): each parameter has a step of its own, its mean gradient m over the
   root of its mean squared gradient v. Both means are running ones and start at zero, hence the
   corrections. */
struct adam {
    real *m, *v; /* (n) */
    size_t n, steps;
};

struct adam adam_new(size_t n) {
    real *m = allocate(2 * n, sizeof *m);
    return (struct adam){m, m + n, n, 0};
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

/* --- batches (chapter 2) -------------------------------------------------- */
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

/* --- activations of a deep network (chapter 5) ---------------------------- */
enum activation { IDENTITY, RELU, ELU, SILU, TANH, SIGMOID, ACTIVATIONS };
const char *const activation_name[] = {"identity", "relu", "elu", "silu", "tanh", "sigmoid", NULL};

/* h (n) = f(s) and slope (n) = f'(s), entry by entry; h may be s itself. As in chapter 1, with more
   functions to choose from, and for each of them a loop of its own that works on a whole vector at
   a time. */
void activation_forward(real *h, real *slope, const real *s, enum activation f, size_t n) {
    if (h != s)
        memcpy(h, s, n * sizeof *h);
    switch (f) {
    case RELU: /* max(0, s) */
        for (size_t i = 0; i < n; i++) {
            slope[i] = h[i] > 0 ? 1 : 0;
            h[i] = h[i] > 0 ? h[i] : 0;
        }
        break;
    case ELU: /* s where it is positive, e^s - 1 where it is not: bent, but nowhere flat */
        for (size_t i = 0; i < n; i++) {
            real below = exp_negative(h[i] < 0 ? h[i] : 0) - 1;
            slope[i] = h[i] > 0 ? 1 : 1 + below;
            h[i] = h[i] > 0 ? h[i] : below;
        }
        break;
    case SILU: /* s q with q = sigmoid(s): the slope of a product has two terms */
        for (size_t i = 0; i < n; i++) {
            real q = logistic(h[i]);
            h[i] *= q;
            slope[i] = q + h[i] * (1 - q);
        }
        break;
    case TANH: /* 2 sigmoid(2s) - 1 */
        for (size_t i = 0; i < n; i++) {
            h[i] = 2 * logistic(2 * h[i]) - 1;
            slope[i] = 1 - h[i] * h[i];
        }
        break;
    case SIGMOID:
        for (size_t i = 0; i < n; i++) {
            h[i] = logistic(h[i]);
            slope[i] = h[i] * (1 - h[i]);
        }
        break;
    default: /* the identity */
        for (size_t i = 0; i < n; i++)
            slope[i] = 1;
    }
}

/* d (n) comes in as the derivative with respect to h and goes out as that with respect to s. */
void activation_backward(real *d, const real *slope, size_t n) {
    for (size_t i = 0; i < n; i++)
        d[i] *= slope[i];
}

/* --- layer (chapter 5) ---------------------------------------------------- */
struct layer {
    size_t in, out;
    enum activation f;
    real *W, *b, *dW, *db; /* (out,in), (out): places in the network's block of memory */
    real *Wt;              /* (in,out) W transposed, for the way back; NULL in the first layer */
    real *h, *slope;       /* (batch,out) the output f(s), and f'(s) */
    real *d;               /* (batch,out) the derivative, first of h, then of s */
};

/* The same layer for a part of the batch: its rows begin at row `first` of the whole. */
struct layer layer_view(const struct layer *y, size_t first) {
    struct layer view = *y;
    view.h += first * y->out;
    view.slope += first * y->out;
    view.d += first * y->out;
    return view;
}

/* h = f(W x + b) for each row of x (rows,in) */
void layer_forward(struct layer *y, const real *x, size_t rows) {
    for (size_t r = 0; r < rows; r++)
        memcpy(y->h + r * y->out, y->b, y->out * sizeof(real));
    multiply(y->h, x, y->in, 1, y->W, rows, y->out, y->in);
    activation_forward(y->h, y->slope, y->h, y->f, rows * y->out);
}

/* d becomes the derivative with respect to s, and with it dx (rows,in) += W' d. dx may be NULL. */
void layer_backward_input(struct layer *y, real *dx, size_t rows) {
    activation_backward(y->d, y->slope, rows * y->out);
    if (dx)
        multiply(dx, y->d, y->out, 1, y->Wt, rows, y->in, y->out);
}

/* When all rows have come so far:  dW (out,in) += d x', for this core's share of the inputs, and
   db (out) += sum of d over the batch. Each entry is a sum over all B examples, done by one core: a
   sum is never split, so the result is the same, to the last bit, for any number of cores. */
void layer_backward_weights(struct layer *y, const real *x, size_t B) {
    size_t first = share(y->in, TILE_ROWS, core());
    size_t some = share(y->in, TILE_ROWS, core() + 1) - first;
    multiply(y->dW + first * y->out, x + first, 1, y->in, y->d, some, y->out, B);
    size_t from = share(y->out, WIDTH, core()), to = share(y->out, WIDTH, core() + 1);
    for (size_t r = 0; r < B; r++)
        for (size_t j = from; j < to; j++)
            y->db[j] += y->d[r * y->out + j];
}

/* --- learning rate (chapter 5) -------------------------------------------- */
/* Full at first, then falling along half a cosine to zero: large steps find the valley, small ones
   its floor. done runs from 0 to 1. */
double cosine_rate(double rate, double done) {
    return rate * 0.5 * (1 + cos(acos(-1.0) * done));
}

/* === II. This chapter: strokes, L1, KL of the mean ======================== */

/* --- one wide layer ------------------------------------------------------- */
enum penalty_kind { NONE, L1, KL };

struct penalty {
    enum penalty_kind kind;
    double lambda, rho; /* its strength; the mean activation that KL wants */
};

struct sparse {
    size_t n, d, batch;      /* pixels, units of the code, rows for which there is room */
    struct layer encoder;    /* a = f(W x + b) */
    struct layer decoder;    /* xhat = V a, with a bias that stays 0 */
    struct tensor tensor[3]; /* W (d,n), b (d), V (n,d) */
    size_t parameters;
    real *value, *grad; /* (parameters + n): W, b, V, and behind them the decoder's bias */
    struct adam adam;
    struct penalty penalty;
    double longest;         /* no stroke is longer; INFINITY: as long as it likes */
    int eraser;             /* whether strokes may be negative */
    double *example, *mean; /* (batch) what each image costs; (d) mean activations */
};

/* --- memory of a wide layer ----------------------------------------------- */
struct sparse sparse_new(size_t n, size_t d, enum activation f, size_t batch) {
    struct sparse m = {.n = n, .d = d, .batch = batch, .parameters = 2 * n * d + d, .longest = 1};
    size_t room = (m.parameters + n + 15) / 16 * 16; /* what follows begins where a vector may */
    real *block = allocate(2 * room + n * d + 3 * batch * (d + n), sizeof *block);
    real *value = m.value = take(&block, room), *grad = m.grad = take(&block, room);
    struct layer *e = &m.encoder, *c = &m.decoder;
    *e = (struct layer){.in = n, .out = d, .f = f};
    *c = (struct layer){.in = d, .out = n, .f = IDENTITY, .Wt = take(&block, n * d)};
    for (struct layer *y = e; y; y = y == e ? c : NULL) {
        y->W = take(&value, n * d);
        y->dW = take(&grad, n * d);
        y->b = take(&value, y->out);
        y->db = take(&grad, y->out);
        y->h = take(&block, batch * y->out);
        y->slope = take(&block, batch * y->out);
        y->d = take(&block, batch * y->out);
    }
    m.tensor[0] = (struct tensor){"W", d, n, e->W, e->dW};
    m.tensor[1] = (struct tensor){"b", d, 1, e->b, e->db};
    m.tensor[2] = (struct tensor){"V", n, d, c->W, c->dW};
    m.adam = adam_new(m.parameters);
    m.example = allocate(batch, sizeof *m.example);
    m.mean = allocate(d, sizeof *m.mean);
    return m;
}

/* --- forward and back ----------------------------------------------------- */
/* A layer forward for B rows of x: each core takes some of them. */
void forward_by_all(struct layer *y, const real *x, size_t B) {
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        struct layer mine = layer_view(y, first);
        layer_forward(&mine, x + first * y->in, rows);
    }
}

/* The one place where gradients are set to zero. */
void sparse_zero(struct sparse *m, size_t B) {
    TEAM {
        size_t from = share(m->parameters + m->n, WIDTH, core());
        size_t to = share(m->parameters + m->n, WIDTH, core() + 1);
        memset(m->grad + from, 0, (to - from) * sizeof(real));
    }
    memset(m->encoder.d, 0, B * m->d * sizeof(real));
    memset(m->decoder.d, 0, B * m->n * sizeof(real));
}

/* From the d of xhat, and what the penalty has put into that of the code: all gradients. */
void sparse_backward(struct sparse *m, const real *x, size_t B) {
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        struct layer encoder = layer_view(&m->encoder, first);
        struct layer decoder = layer_view(&m->decoder, first);
        layer_backward_input(&decoder, encoder.d, rows);
        layer_backward_input(&encoder, NULL, rows);
        meet(); /* the gradient of a weight is a sum over all images */
        layer_backward_weights(&m->decoder, m->encoder.h, B);
        layer_backward_weights(&m->encoder, x, B);
    }
}

/* --- ink ------------------------------------------------------------------ */
/* After each step: a stroke, row j of V as it lies in memory (d,n), has ink or none, but no
   negative ink, unless there is an eraser; and it is no longer than `longest`, so that a code
   cannot be small because strokes are long. */
void keep_strokes(real *V, size_t d, size_t n, double longest, int eraser) {
    for (size_t j = 0; j < d; j++) {
        real *v = V + j * n, sum = 0;
        for (size_t i = 0; i < n; i++)
            v[i] = v[i] > 0 || eraser ? v[i] : 0;
        LANES
        for (size_t i = 0; i < n; i++)
            sum += v[i] * v[i];
        real shrink = sqrt(sum) > (real)longest ? (real)longest / sqrt(sum) : 1;
        for (size_t i = 0; i < n; i++)
            v[i] *= shrink;
    }
}

/* --- l1 on activations ---------------------------------------------------- */
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

/* --- two coins ------------------------------------------------------------ */
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

/* --- kl of the mean ------------------------------------------------------- */
/* mean (d) = the mean of each unit over the B images of the batch: rho-hat */
void mean_activation(double *mean, const real *a, size_t B, size_t d) {
    memset(mean, 0, d * sizeof *mean);
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++)
            mean[j] += (double)a[r * d + j] / (double)B;
}

/* lambda * sum over j of KL(rho || mean_j). No `example` gets it: it is the whole batch's. */
double mean_kl_forward(const double *mean, double lambda, double rho, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += coin_kl(rho, mean[j]);
    return lambda * sum;
}

/* da (B,d) += lambda / B (-rho / mean_j + (1 - rho) / (1 - mean_j)), for all B images the same */
void mean_kl_backward(real *da, const double *mean, double lambda, double rho, size_t B, size_t d) {
    for (size_t j = 0; j < d; j++) {
        real pull = (real)(lambda * coin_kl_slope(rho, mean[j]) / (double)B);
        for (size_t r = 0; r < B; r++)
            da[r * d + j] += pull;
    }
}

/* --- loss with a penalty -------------------------------------------------- */
struct cost {
    double squared, penalty; /* both are means over the batch */
};

/* From the code on: xhat, its squared error against x (B,n), and the penalty. What belongs to one
   image is left in example. One core does this: KL has to see the code of all images at once. */
struct cost sparse_cost(struct sparse *m, const real *x, size_t B) {
    const struct penalty *p = &m->penalty;
    const real *a = m->encoder.h;
    forward_by_all(&m->decoder, a, B);
    struct cost c = {squared_error_forward(m->example, m->decoder.h, x, B, m->n), 0};
    if (p->kind == L1)
        c.penalty = l1_forward(m->example, a, p->lambda, B, m->d);
    if (p->kind == KL) {
        mean_activation(m->mean, a, B, m->d);
        c.penalty = mean_kl_forward(m->mean, p->lambda, p->rho, m->d);
    }
    return c;
}

/* All gradients of a batch x (B,n), from zero. */
struct cost sparse_gradient(struct sparse *m, const real *x, size_t B) {
    const struct penalty *p = &m->penalty;
    sparse_zero(m, B);
    forward_by_all(&m->encoder, x, B);
    struct cost c = sparse_cost(m, x, B);
    squared_error_backward(m->decoder.d, m->decoder.h, x, B, m->n);
    if (p->kind == L1)
        l1_backward(m->encoder.d, m->encoder.h, p->lambda, B, m->d);
    if (p->kind == KL)
        mean_kl_backward(m->encoder.d, m->mean, p->lambda, p->rho, B, m->d);
    sparse_backward(m, x, B);
    return c;
}

/* --- step of a wide layer ------------------------------------------------- */
/* A step of Adam for the parameters from number `from` up to, not including, `to`. */
void move(struct sparse *m, size_t from, size_t to, double rate) {
    struct adam some = {m->adam.m + from, m->adam.v + from, to - from, m->adam.steps};
    adam_step(&some, m->value + from, m->grad + from, rate);
}

/* Moves all parameters and keeps the strokes. Each core takes a part of W and b, and then some
   strokes, from first to last: nobody else touches those, so none has to wait for another. */
void sparse_update(struct sparse *m, double rate) {
    size_t before = m->n * m->d + m->d; /* W and b */
    real *V = m->decoder.W;
    TEAM {
        size_t first = share(m->d, SQUARE, core()), last = share(m->d, SQUARE, core() + 1);
        move(m, share(before, WIDTH, core()), share(before, WIDTH, core() + 1), rate);
        move(m, before + first * m->n, before + last * m->n, rate);
        keep_strokes(V + first * m->n, last - first, m->n, m->longest, m->eraser);
        transpose(m->decoder.Wt, V, m->d, m->n, first, last);
    }
    m->adam.steps++;
}

/* --- how sparse ----------------------------------------------------------- */
/* The fraction of the d activations of one image that are above the threshold. */
double active_fraction(const real *a, double threshold, size_t d) {
    size_t count = 0;
    for (size_t j = 0; j < d; j++)
        count += (double)a[j] > threshold;
    return (double)count / (double)d;
}

/* Treves and Rolls: the square of the mean over the mean of the squares. 1 where all numbers have
   the same size, 1/n where all but one are 0; no threshold, and no change with a factor. */
double treves_rolls(const real *a, size_t n) {
    double sum = 0, squares = 0;
    for (size_t j = 0; j < n; j++) {
        sum += (double)fabs(a[j]);
        squares += (double)a[j] * (double)a[j];
    }
    return squares > 0 ? sum * sum / ((double)n * squares) : 0;
}

/* === III. Tools =========================================================== */

/* --- matrix product (chapter 16) ------------------------------------------ */
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

/* --- transposing (chapter 16) --------------------------------------------- */
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

/* --- exponential (chapter 16) --------------------------------------------- */
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

/* --- reading files (chapter 1) -------------------------------------------- */
const char *data_dir = "data/digits"; /* --data */

/* All bytes of a file, plain or gzipped; free() gives them back. Memory grows with what was really
   read, whatever a header claims; a file of more than `most` bytes, at most 2^30, is refused. */
unsigned char *read_file(size_t *size, const char *path, size_t most) {
    unsigned char *bytes = NULL;
    size_t room = 0;
    int n = 1, code;
    gzFile file = gzopen(path, "rb");
    if (!file)
        die("%s: %s", path, strerror(errno));
    for (*size = 0; n > 0 && *size <= most; *size += n > 0 ? (size_t)n : 0) {
        if (*size == room && !(bytes = realloc(bytes, room = 2 * room + (1 << 20))))
            die("%s: not enough memory to read it", path);
        n = gzread(file, bytes + *size, (unsigned)(room - *size));
    }
    const char *why = gzerror(file, &code); /* begins with the path */
    if (code != Z_OK && code != Z_STREAM_END)
        die("%s%s", why, code == Z_ERRNO ? "" : "; the file is damaged or cut short");
    if (*size > most)
        die("%s: has more than %zu bytes, which is too many for what it should hold", path, most);
    gzclose(file);
    return bytes;
}

/* Reads DIR/NAME or DIR/NAME.gz, an IDX file of things (rows,cols): a magic number that says the
   type and the number of dimensions, the size of each, then the data. Returns the data and
   their count, or NULL when there is no such file. Whatever is wrong ends the program. */
unsigned char *read_idx(size_t *count, const char *dir, const char *name, uint32_t magic,
                        const char *things, size_t rows, size_t cols) {
    char path[PATH_MAX];
    uint32_t word[4] = {0, 0, 1, 1};
    size_t size, head = 4 + 4 * (magic & 255), item = rows * cols * (magic >> 8 == 0xd ? 4 : 1);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (access(path, F_OK) != 0)
        snprintf(path, sizeof path, "%s/%s.gz", dir, name);
    if (access(path, F_OK) != 0)
        return NULL;
    unsigned char *bytes = read_file(&size, path, 1 << 30);
    if (size < head)
        die("%s: ends within its header; it is empty or cut short", path);
    for (size_t i = 0; i < head; i++)
        word[i / 4] = word[i / 4] << 8 | bytes[i];
    if (word[0] != magic || word[2] != rows || word[3] != cols)
        die("%s: begins with 0x%08x and %u x %u; an IDX file of %s has 0x%08x and %zu x %zu", path,
            word[0], word[2], word[3], things, magic, rows, cols);
    *count = word[1];
    if (*count == 0 || size - head != *count * item)
        die("%s: holds %zu %s and %zu bytes, its header says %zu %s", path, (size - head) / item,
            things, (size - head) % item, *count, things);
    return memmove(bytes, bytes + head, size - head);
}

/* The images of a set, "train" or "t10k", and their labels where there are any. */
struct images read_images(const char *dir, const char *set) {
    struct images images = {0};
    char name[64];
    size_t labels;
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", set);
    images.pixel = read_idx(&images.count, dir, name, 0x803, "images", SIDE, SIDE);
    if (!images.pixel)
        die("%s: has no %s, plain or .gz; name a folder of IDX files with --data", dir, name);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", set);
    images.label = read_idx(&labels, dir, name, 0x801, "labels", 1, 1);
    if (images.label && labels != images.count)
        die("%s/%s: holds %zu labels for %zu images", dir, name, labels, images.count);
    for (size_t i = 0; images.label && i < labels; i++)
        if (images.label[i] > 9)
            die("%s/%s: label %zu is %d; we know the digits 0 to 9", dir, name, i, images.label[i]);
    return images;
}

void brightness(real *x, const unsigned char *pixel, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = pixel[i] * ((real)1 / 255);
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

/* --- pictures (chapter 1) ------------------------------------------------- */
/* Writes a sheet of rows x cols images as a gray PNG, each pixel drawn zoom x zoom, on white. image
   (rows*cols,784) holds brightness; what lies outside 0..1 is cut off. */
void write_sheet(const char *name, const real *image, size_t rows, size_t cols, size_t zoom) {
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
    FILE *f = create("%s/%s", out_dir, name);
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_GRAY};
    if (!png_image_write_to_stdio(&png, f, 0, sheet, 0, NULL))
        die("%s: cannot be written: %s (%s)", target, png.message, strerror(errno));
    finish(f);
    free(sheet);
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

/* === IV. The program ====================================================== */
#ifndef WORKBOOK_TEST

size_t units = 1024, epochs = 3, batch = 50, seed = 1, threads, used = 1000000, tests = 1000000;
double rate = 0.001, l1 = 0.1, kl = 0.2, rho = 0.02, length = 1;

/* A ReLU that is silent says 0. A sigmoid that is silent murmurs; it counts as active only when it
   speaks aloud. */
const double aloud = 0.1;

/* One training, and what came of it on the test images. */
struct run {
    const char *key, *label; /* for results.tsv, for the table */
    enum activation f;
    int eraser;
    struct penalty penalty;
    real *learned; /* (parameters) */
    double sq, active, treves, silenced, dead, longest;
    double pixels, negative; /* how many pixels a stroke covers; per cent of all ink */
};

/* The plainest come first, for --runs and Ctrl-C. The strengths come from the command line. */
enum { RUNS = 6 };
struct run run[RUNS] = {
    {.key = "none", .label = "ink only, no penalty", .f = RELU},
    {.key = "l1", .label = "ink only, L1", .f = RELU, .penalty = {L1, 0, 0}},
    {.key = "free", .label = "free, no penalty", .f = RELU, .eraser = 1},
    {.key = "free_l1", .label = "free, L1", .f = RELU, .eraser = 1, .penalty = {L1, 0, 0}},
    {.key = "none_sigmoid", .label = "sigmoid, no penalty", .f = SIGMOID},
    {.key = "kl", .label = "sigmoid, KL", .f = SIGMOID, .penalty = {KL, 0, 0}}};
size_t runs = RUNS, done_runs;

struct images train_set, test_set;
struct sparse net;
real *x;          /* (batch,784) */
size_t *order;    /* (used) */
size_t *busy;     /* (units) for how many test images each unit was active, in the last run */
size_t all_steps; /* of a run: the epochs asked for, whatever measure.c makes of the batch */
size_t more_runs; /* that measure.c will add when all of these are done */

/* He's start for the encoder. The strokes begin as a breath of ink everywhere. A sigmoid code
   begins nearly silent: its biases are -3, and sigmoid(-3) is 0.05. */
void start_run(const struct run *now) {
    struct random r;
    random_seed(&r, seed);
    double a = sqrt(6.0 / PIXELS), most = 0.05 * sqrt(3.0 / PIXELS);
    for (size_t k = 0; k < PIXELS * units; k++)
        net.encoder.W[k] = (real)random_uniform(&r, -a, a);
    for (size_t k = 0; k < PIXELS * units; k++)
        net.decoder.W[k] = (real)fabs(random_uniform(&r, -most, most));
    for (size_t j = 0; j < units; j++)
        net.encoder.b[j] = now->f == SIGMOID ? -3 : 0;
    net.encoder.f = now->f;
    net.penalty = now->penalty;
    net.eraser = now->eraser;
    net.longest = length > 0 ? length : INFINITY;
    keep_strokes(net.decoder.W, units, PIXELS, net.longest, net.eraser);
    transpose(net.decoder.Wt, net.decoder.W, units, PIXELS, 0, units);
    memset(net.adam.m, 0, 2 * net.parameters * sizeof(real)); /* m, and v behind it */
    net.adam.steps = 0;
}

/* Trains from the start that all runs share, on the same batches. `which` counts the runs. */
void train_run(const struct run *now, size_t which) {
    struct random r;
    random_seed(&r, seed + 1);
    start_run(now);
    /* The slope of a sigmoid that is nearly silent is small: it needs larger steps. */
    double full = now->f == SIGMOID ? 3 * rate : rate;
    size_t steps = (used + batch - 1) / batch;
    for (size_t k = 0; k < all_steps && !interrupted; k++) {
        size_t at = k % steps * batch, B = least(batch, used - at);
        double done = (double)k / (double)all_steps;
        if (at == 0)
            shuffle(order, used, &r);
        gather(x, &train_set, order + at, B);
        struct cost c = sparse_gradient(&net, x, B);
        /* An image has a squared length of about 80. The comparison is false for a NaN. */
        if (!(c.squared < 1e5)) {
            hide_progress();
            die("%s: the squared error has grown to %.3g: the steps are too large; try a smaller "
                "--rate than %g",
                now->label, c.squared, rate);
        }
        sparse_update(&net, cosine_rate(full, done));
        show_progress(((double)which + done) / (double)(runs + more_runs), now->key);
    }
    hide_progress();
}

/* Encodes and decodes all test images, and measures. */
void measure_code(struct run *now) {
    double each = 1 / (double)tests, threshold = now->f == SIGMOID ? aloud : 0;
    real *a = net.encoder.h;
    memset(busy, 0, units * sizeof *busy);
    for (size_t at = 0; at < tests; at += batch) {
        size_t B = least(batch, tests - at);
        brightness(x, test_set.pixel + at * PIXELS, B * PIXELS);
        forward_by_all(&net.encoder, x, B);
        now->sq += sparse_cost(&net, x, B).squared * (double)B * each;
        for (size_t r = 0; r < B; r++) {
            now->active += 100 * active_fraction(a + r * units, threshold, units) * each;
            now->treves += treves_rolls(a + r * units, units) * each;
        }
        for (size_t k = 0; k < B * units; k++) {
            busy[k % units] += (double)a[k] > threshold;
            a[k] = (double)a[k] > threshold ? a[k] : 0;
        }
        /* Once more, with all the others silenced. */
        now->silenced += sparse_cost(&net, x, B).squared * (double)B * each;
    }
    for (size_t j = 0; j < units; j++)
        now->dead += busy[j] == 0;
}

/* The strokes of the units that are alive: the longest, how much of their ink is negative, and over
   how many pixels they spread, by the measure that does so for codes. */
void measure_strokes(struct run *now) {
    double ink = 0, erased = 0, alive = fmax((double)units - now->dead, 1);
    for (size_t j = 0; j < units; j++) {
        const real *v = net.decoder.W + j * PIXELS;
        double squares = 0;
        for (size_t i = 0; i < PIXELS; i++) {
            squares += (double)v[i] * (double)v[i];
            ink += busy[j] ? (double)fabs(v[i]) : 0;
            erased += busy[j] && v[i] < 0 ? (double)fabs(v[i]) : 0;
        }
        now->longest = fmax(now->longest, sqrt(squares));
        now->pixels += busy[j] ? PIXELS * treves_rolls(v, PIXELS) / alive : 0;
    }
    now->negative = ink > 0 ? 100 * erased / ink : 0;
}

/* One run from its start to its line in the table. */
void do_run(struct run *now, size_t which) {
    const char *key = now->key;
    train_run(now, which);
    measure_code(now);
    measure_strokes(now);
    now->learned =
        memcpy(allocate(net.parameters, sizeof(real)), net.value, net.parameters * sizeof(real));
    result(now->active * (double)units / 100, "units", "active_units_%s", key);
    printf("  %-20s %6.3g %9.2f %8.1f %6.3f %8.2f %5.0f %7.2f %7.0f %7.0f %%%s\n", now->label,
           now->penalty.lambda, result(now->sq, "", "test_sq_%s", key),
           result(now->active, "%", "active_%s", key), result(now->treves, "", "treves_%s", key),
           result(now->silenced, "", "silenced_%s", key),
           result(now->dead, "units", "dead_%s", key), result(now->longest, "", "longest_%s", key),
           result(now->pixels, "pixels", "pixels_%s", key),
           result(now->negative, "%", "negative_%s", key), interrupted ? "  (stopped)" : "");
}

enum { ROWS = 6, COLS = 10, ACROSS = 2 * COLS + 1, DOWN = 2 * ROWS + 1 };

/* Some strokes of the last run, from the busiest unit's to the idlest's that is alive, in ROWS rows
   of a sheet that is `across` pictures wide. Each is as strong as it can be: gray is no ink, white
   the most, and what is darker than gray takes ink away. */
void draw_strokes(real *sheet, size_t across) {
    size_t *rank = allocate(units, sizeof *rank), alive = 0;
    for (size_t i = 0; i < units; i++) { /* insertion: there are a thousand */
        size_t j = i;
        for (; j > 0 && busy[rank[j - 1]] < busy[i]; j--)
            rank[j] = rank[j - 1];
        rank[j] = i;
        alive += busy[i] > 0;
    }
    for (size_t k = 0; k < ROWS * COLS; k++) {
        real *to = sheet + (k / COLS * across + k % COLS) * PIXELS, most = (real)0.01;
        const real *v = net.decoder.W +
                        rank[alive > ROWS * COLS ? k * alive / (ROWS * COLS) : k % units] * PIXELS;
        for (size_t i = 0; i < PIXELS; i++)
            most = fmax(most, fabs(v[i]));
        for (size_t i = 0; i < PIXELS; i++)
            to[i] = k < alive ? (1 + v[i] / most) / 2 : (real)0.5;
    }
    free(rank);
}

/* The four codes: above with an eraser, below with ink only; left without a penalty, right with L1.
   And those of KL, on a sheet of their own. */
void all_runs(void) {
    real *four = allocate(DOWN * ACROSS * PIXELS, sizeof *four);
    real *last = allocate(ROWS * COLS * PIXELS, sizeof *last);
    for (size_t k = 0; k < DOWN * ACROSS * PIXELS; k++)
        four[k] = 1;
    printf("  %-20s %6s %9s %8s %6s %8s %5s %7s %7s %9s\n", "", "lambda", "sq. error", "active %",
           "T.-R.", "silenced", "dead", "longest", "pixels", "negative");
    for (; done_runs < runs && (done_runs == 0 || !interrupted); done_runs++) {
        struct run *now = &run[done_runs];
        size_t top = now->eraser ? 0 : ROWS + 1, left = now->penalty.kind == L1 ? COLS + 1 : 0;
        do_run(now, done_runs);
        if (now->f == RELU)
            draw_strokes(four + (top * ACROSS + left) * PIXELS, ACROSS);
        else
            draw_strokes(last, COLS);
    }
    write_sheet("strokes.png", four, DOWN, ACROSS, 2);
    if (done_runs == RUNS)
        write_sheet("strokes-kl.png", last, ROWS, COLS, 2);
    free(four);
    free(last);
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 't', &data_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--code", "width of the code", 'n', &units, 1, 100000, NULL},
        {"--epochs", "times through the training images, each run; 0: none", 'n', &epochs, 0, 1e6,
         NULL},
        {"--batch", "images in a step", 'n', &batch, 1, 100000, NULL},
        {"--rate", "learning rate at the start; a sigmoid code has three times as much", 'x', &rate,
         1e-9, 1e9, NULL},
        {"--l1", "strength of L1", 'x', &l1, 1e-9, 1e9, NULL},
        {"--kl", "strength of KL", 'x', &kl, 1e-9, 1e9, NULL},
        {"--rho", "the mean activation that KL wants", 'x', &rho, 1e-4, 0.9999, NULL},
        {"--length", "no stroke is longer; 0: as long as it likes", 'x', &length, 0, 1e9, NULL},
        {"--images", "how many training images to use", 'n', &used, 1, 1e9, NULL},
        {"--tests", "how many test images to use", 'n', &tests, 1, 1e9, NULL},
        {"--runs", "how many of the runs, in the order of the table", 'n', &runs, 1, RUNS, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table, "codes that are wider than the image, with penalties");
    USE_CORES(threads);
    train_set = read_images(data_dir, "train");
    test_set = read_images(data_dir, "t10k");
    make_out_dir();
    catch_interrupts();
    used = least(used, train_set.count);
    tests = least(tests, test_set.count);
    batch = least(batch, used);
    all_steps = epochs * ((used + batch - 1) / batch);
    more_runs = runs == RUNS ? more_runs : 0;
    net = sparse_new(PIXELS, units, RELU, batch);
    x = allocate(batch * PIXELS, sizeof *x);
    order = allocate(used, sizeof *order);
    busy = allocate(units, sizeof *busy);
    run[1].penalty.lambda = run[3].penalty.lambda = l1;
    run[5].penalty = (struct penalty){KL, kl, rho};
    printf("784 -> %zu -> 784, %zu training images, %zu test images, batches of %zu, %zu runs of "
           "%zu epoch%s\n",
           units, used, tests, batch, runs, epochs, epochs == 1 ? "" : "s");
    double begin = seconds();
    all_runs();
    result(epochs ? (seconds() - begin) / (double)(done_runs * epochs) : 0, "seconds",
           "epoch_seconds");
    result(run[0].sq, "", "test_sq");
    result((double)net.parameters, "parameters", "parameters");
    write_results();
    return interrupted ? 130 : 0;
}
#endif
