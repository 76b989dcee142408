/* bottleneck.c: chapter 2 of "Autoencoders by Hand".

   Between the encoder and the decoder a picture of 784 pixels has to fit through d numbers. How
   much is lost? This program trains linear autoencoders, first by plain gradient descent, then by
   Adam. Without activations the best answer is known: principal component analysis, PCA. It
   computes that, too, and compares the two.

   Build it alone:  cc -O2 bottleneck.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Contents                                                           line
     I.   The network, from chapter 1                                  87
     II.  New here: an autoencoder learns, and the floor below it     290
     III. Tools, to look up rather than to read                       608
     IV.  The program                                                 985

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

/* --- tools in short (chapter 1) ---------------------------------------------- */
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

/* === I. The network, from chapter 1 ============================================ */

/* --- dense layer (chapter 1) ------------------------------------------------- */
/* s (B,out) = W x + b, for each row of x (B,in). The innermost loop runs through consecutive
   numbers of both s and W. */
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
     dW_ji (out,in) += sum over r of ds_rj x_ri
     db_j (out)     += sum over r of ds_rj
     dx_ri (B,in)   += sum over j of ds_rj W_ji
   dx may be NULL: nobody wants to change the pixels. */
void dense_backward(real *dW, real *db, real *dx, const real *ds, const real *x, const real *W,
                    size_t B, size_t in, size_t out) {
    PARALLEL
    for (size_t i = 0; i < in; i++)
        for (size_t r = 0; r < B; r++)
            for (size_t j = 0; j < out; j++)
                dW[i * out + j] += ds[r * out + j] * x[r * in + i];
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

/* --- activations (chapter 1) ------------------------------------------------- */
enum activation { IDENTITY, SIGMOID, TANH, RELU, ACTIVATIONS };
const char *const activation_name[] = {"identity", "sigmoid", "tanh", "relu", NULL};

/* Returns h = f(s). The way back will need the slope f'(s): the best time to find it is now,
   because it can be written with h. */
real activate(real *slope, real s, enum activation f) {
    real h = s;
    *slope = 1;
    switch (f) {
    case SIGMOID: /* the exponent is never positive, so that exp cannot overflow */
        h = s >= 0 ? 1 / (1 + exp(-s)) : exp(s) / (1 + exp(s));
        *slope = h * (1 - h);
        break;
    case TANH:
        h = tanh(s);
        *slope = 1 - h * h;
        break;
    case RELU:
        h = s > 0 ? s : 0;
        *slope = s > 0 ? 1 : 0;
        break;
    default: /* the identity has nothing to do */
        break;
    }
    return h;
}

/* h (n) = f(s) and slope (n) = f'(s), entry by entry. h may be s itself. */
void activation_forward(real *h, real *slope, const real *s, enum activation f, size_t n) {
    for (size_t i = 0; i < n; i++)
        h[i] = activate(&slope[i], s[i], f);
}

/* d (n) comes in as the derivative with respect to h and goes out as that with respect to s. */
void activation_backward(real *d, const real *slope, size_t n) {
    for (size_t i = 0; i < n; i++)
        d[i] *= slope[i];
}

/* --- tensors (chapter 1) ----------------------------------------------------- */
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

/* --- stack of layers (chapter 1) --------------------------------------------- */
enum { MAX_LAYERS = 32 };

struct dense {
    size_t in, out;
    enum activation f;
    real *W, *b, *dW, *db; /* (out,in), (out): places in the stack's two blocks */
    real *h, *slope;       /* (batch,out) the output f(s), and f'(s) */
    real *d;               /* (batch,out) the derivative, first of h, then of s */
};

struct stack {
    size_t depth, batch; /* layers, and the rows for which there is room */
    struct dense layer[MAX_LAYERS];
    struct tensor tensor[2 * MAX_LAYERS];
    size_t tensors, parameters, units; /* units: outputs of all layers, for one example */
    real *value, *grad;                /* (parameters) all weights and biases, all gradients */
    real *d;                           /* (batch * units) every layer's d */
    real *dlast;                       /* that of the last layer: here a backward pass begins */
};

/* A stack of layers: size[0] inputs, then layer l with size[l+1] outputs and activation f[l].
   Everything is zero, in one block of memory that begins at value. */
struct stack stack_new(const size_t *size, const enum activation *f, size_t depth, size_t batch) {
    struct stack net = {.depth = depth, .batch = batch};
    for (size_t l = 0; l < depth; l++) {
        net.parameters += (size[l] + 1) * size[l + 1];
        net.units += size[l + 1];
    }
    real *block = allocate(2 * net.parameters + 3 * batch * net.units, sizeof(real));
    real *value = net.value = take(&block, net.parameters);
    real *grad = net.grad = take(&block, net.parameters);
    real *d = net.d = take(&block, batch * net.units);
    for (size_t l = 0; l < depth; l++) {
        struct dense *y = &net.layer[l];
        y->in = size[l];
        y->out = size[l + 1];
        y->f = f[l];
        y->W = take(&value, y->out * y->in);
        y->b = take(&value, y->out);
        y->dW = take(&grad, y->out * y->in);
        y->db = take(&grad, y->out);
        y->h = take(&block, batch * y->out);
        y->slope = take(&block, batch * y->out);
        net.dlast = y->d = take(&d, batch * y->out);
        struct tensor *W = &net.tensor[net.tensors++], *b = &net.tensor[net.tensors++];
        *W = (struct tensor){"", y->out, y->in, y->W, y->dW};
        *b = (struct tensor){"", y->out, 1, y->b, y->db};
        snprintf(W->name, sizeof W->name, "W%zu", l + 1);
        snprintf(b->name, sizeof b->name, "b%zu", l + 1);
    }
    return net;
}

/* The one place where gradients are set to zero. */
void stack_zero(struct stack *net) {
    memset(net->grad, 0, net->parameters * sizeof(real));
    memset(net->d, 0, net->batch * net->units * sizeof(real));
}

/* h1 = f1(W1 x + b1), h2 = f2(W2 h1 + b2), ... for B rows x (B,in). Returns the last h (B,out). */
const real *stack_forward(struct stack *net, const real *x, size_t B) {
    for (size_t l = 0; l < net->depth; l++) {
        struct dense *y = &net->layer[l];
        dense_forward(y->h, x, y->W, y->b, B, y->in, y->out); /* s, in the place of h */
        activation_forward(y->h, y->slope, y->h, y->f, B * y->out);
        x = y->h;
    }
    return x;
}

/* The same layers, last to first. The caller has zeroed the stack, run it forward on the same x,
   and put dL/dh of the last layer into dlast. dx (B,in) may be NULL. */
void stack_backward(struct stack *net, real *dx, const real *x, size_t B) {
    for (size_t l = net->depth; l-- > 0;) {
        struct dense *y = &net->layer[l];
        const real *below = l > 0 ? net->layer[l - 1].h : x;
        real *dbelow = l > 0 ? net->layer[l - 1].d : dx;
        activation_backward(y->d, y->slope, B * y->out);
        dense_backward(y->dW, y->db, dbelow, y->d, below, y->W, B, y->in, y->out);
    }
}

/* --- initialisation (chapter 1) ---------------------------------------------- */
/* Weights uniform in (-a, a), which have the variance a*a/3; biases zero. */
void dense_start(struct dense *y, double a, struct random *r) {
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

/* === II. This chapter: an autoencoder learns, and the floor below it =========== */

/* --- squared error ------------------------------------------------------------ */
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

/* --- linear autoencoder ------------------------------------------------------- */
/* z = W_e x + b_e,  xhat = W_d z + b_d: a stack of two layers, 784-d-784, without activation.
   Weights uniform, the decoder a transposed copy of the encoder, biases zero. */
struct stack linear_autoencoder(size_t d, size_t batch, struct random *r) {
    const size_t size[] = {PIXELS, d, PIXELS};
    const enum activation f[] = {IDENTITY, IDENTITY};
    struct stack net = stack_new(size, f, 2, batch);
    /* A variance of 1/784 gives the d rows of W_e a length of about 1. */
    dense_start(&net.layer[0], sqrt(3.0 / PIXELS), r);
    for (size_t i = 0; i < PIXELS; i++)
        for (size_t j = 0; j < d; j++)
            net.layer[1].W[j * PIXELS + i] = net.layer[0].W[i * d + j];
    return net;
}

/* The stack rebuilds x (B,in), as wide as its output: writes each image's error to example (B) and
   returns the mean. */
double rebuild_forward(double *example, struct stack *net, const real *x, size_t B) {
    const real *xhat = stack_forward(net, x, B);
    return squared_error_forward(example, xhat, x, B, net->layer[0].in);
}

/* After rebuild_forward: all gradients of that mean. dx (B,in) may be NULL; it gets what x does as
   the input, not what it does as the target. */
void rebuild_backward(struct stack *net, real *dx, const real *x, size_t B) {
    const real *xhat = net->layer[net->depth - 1].h;
    stack_zero(net);
    squared_error_backward(net->dlast, xhat, x, B, net->layer[0].in);
    stack_backward(net, dx, x, B);
}

/* --- adam --------------------------------------------------------------------- */
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

/* --- batches ------------------------------------------------------------------ */
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

/* --- mean image --------------------------------------------------------------- */
/* mean (784) = 1/N sum of the images, pixel by pixel */
void mean_image(double *mean, const struct images *images) {
    memset(mean, 0, PIXELS * sizeof *mean);
    for (size_t k = 0; k < images->count * PIXELS; k++)
        mean[k % PIXELS] += images->pixel[k] / 255.0;
    for (size_t i = 0; i < PIXELS; i++)
        mean[i] /= (double)images->count;
}

/* x (B,784) -= mean (784), in each row */
void subtract_mean(real *x, const double *mean, size_t B) {
    for (size_t k = 0; k < B * PIXELS; k++)
        x[k] -= (real)mean[k % PIXELS];
}

/* --- training ----------------------------------------------------------------- */
/* One mini-batch: forward, backward, a step downhill, which is Adam's or, without one (NULL), that
   of plain gradient descent. Returns the error before the step. */
double linear_step(struct stack *net, struct adam *adam, double *example, const real *x, size_t B,
                   double rate) {
    double loss = rebuild_forward(example, net, x, B);
    rebuild_backward(net, NULL, x, B);
    if (adam)
        adam_step(adam, net->value, net->grad, rate);
    for (size_t k = 0; !adam && k < net->parameters; k++)
        net->value[k] -= (real)rate * net->grad[k];
    return loss;
}

/* --- covariance --------------------------------------------------------------- */
/* C (n,n), the covariance of images around their mean (n), n = 784 pixels each:
     C_ij = 1/N sum of (x_i - mean_i)(x_j - mean_j).
   That is also 1/N sum of x_i x_j, minus mean_i mean_j, and we use this form because four fifths of
   a digit's pixels are black: a product with 0 can be left out. */
void covariance(double *C, const double *mean, const struct images *images) {
    enum { n = PIXELS, ROOM = 128 }; /* so many at a time stay in the processor's fast memory */
    double *x = allocate(ROOM * n, sizeof *x), N = (double)images->count;
    memset(C, 0, sizeof(double) * n * n);
    for (size_t first = 0; first < images->count; first += ROOM) {
        size_t B = images->count - first < ROOM ? images->count - first : ROOM;
        for (size_t k = 0; k < B * n; k++)
            x[k] = images->pixel[first * n + k] / 255.0;
        PARALLEL
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < B; r++)
                for (size_t j = 0; x[r * n + i] > 0 && j < n; j++)
                    C[i * n + j] += x[r * n + i] * x[r * n + j];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            C[i * n + j] = C[i * n + j] / N - mean[i] * mean[j];
    free(x);
}

/* --- pca ---------------------------------------------------------------------- */
/* How these three do it stands further down. */
void orthonormalise(double *Q, size_t d, size_t n); /* rows of Q (d,n) perpendicular, of length 1 */
void jacobi(double *V, double *H, size_t d);        /* the eigenvectors of a small matrix H (d,d) */
double dot(const double *a, const double *b, size_t n);

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

/* The flat surface of d dimensions that fits a cloud of points best. */
struct pca {
    size_t n, d;      /* coordinates of a point (pixels), directions wanted */
    double *mean;     /* (n) the middle of the cloud */
    double *Q;        /* (d,n) the directions, of length 1 and perpendicular to each other */
    double *variance; /* (d) the cloud's variance along each, falling */
    size_t rounds;    /* how many it took */
};

/* The d leading eigenvectors of the covariance C (n,n), by orthogonal iteration: multiply a basis
   by C, make it orthonormal again, repeat. Ten spare directions beyond the d wanted, and in each
   round the exact solution of the small problem within the basis, save most of the rounds. The
   mean (n) is only kept with the rest. */
struct pca pca_find(double *mean, const double *C, size_t n, size_t d, struct random *r) {
    enum { SPARE = 10, ROUNDS = 1000 };
    const double enough = 1e-9;
    size_t m = d + SPARE < n ? d + SPARE : n;
    double *Q = allocate(m * n, sizeof *Q), *variance = allocate(d, sizeof *variance);
    struct pca p = {n, d, mean, Q, variance, 0};
    double *CQ = allocate(2 * m * n + 2 * m * m, sizeof *CQ), *turned = CQ + m * n;
    double *H = turned + m * n, *V = H + m * m, residual = 1;
    for (size_t k = 0; k < m * n; k++)
        turned[k] = random_uniform(r, -1, 1);
    for (; p.rounds < ROUNDS && residual > enough; p.rounds++) {
        memcpy(Q, turned, m * n * sizeof *Q); /* what C made of the last basis is the next one */
        orthonormalise(Q, m, n);
        dot_products(CQ, Q, C, m, n, n); /* C is symmetric: its rows are its columns */
        /* H = Q C Q': the Rayleigh quotients q.Cq on its diagonal, what mixes them beside it. */
        dot_products(H, Q, CQ, m, m, n);
        jacobi(V, H, m);
        product(turned, V, Q, m, m, n);
        memcpy(Q, turned, m * n * sizeof *Q);
        product(turned, V, CQ, m, m, n);
        residual = 0; /* the largest |C q - variance q|, as a fraction of the largest variance */
        for (size_t k = 0; k < d; k++) {
            variance[k] = H[k * m + k];
            double miss = 0;
            for (size_t i = 0; i < n; i++)
                miss += pow(turned[k * n + i] - variance[k] * Q[k * n + i], 2);
            /* Less than 1e-6 is no variance but rounding: all images are the same. */
            residual = fmax(residual, sqrt(miss) / fmax(variance[0], 1e-6));
        }
    }
    free(CQ);
    return p;
}

/* --- what pca leaves ---------------------------------------------------------- */
/* error (d+1): the mean squared error of the images when k = 0, 1, ... d directions are kept. Each
   direction explains the square of the shadow that x - mean throws on it. */
void pca_errors(double *error, const struct pca *p, const struct images *images) {
    size_t n = p->n, d = p->d, N = images->count;
    double *part = allocate(N * (d + 1), sizeof *part); /* of each image, to be summed in order */
    PARALLEL
    for (size_t r = 0; r < N; r++) {
        double x[PIXELS], *left = part + r * (d + 1);
        for (size_t i = 0; i < n; i++)
            x[i] = images->pixel[r * n + i] / 255.0 - p->mean[i];
        left[0] = dot(x, x, n);
        for (size_t k = 0; k < d; k++)
            left[k + 1] = left[k] - pow(dot(x, p->Q + k * n, n), 2);
    }
    memset(error, 0, (d + 1) * sizeof *error);
    for (size_t k = 0; k < N * (d + 1); k++)
        error[k % (d + 1)] += part[k] / (double)N;
    free(part);
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
/* Turns the plane of two axes by an angle with this cosine and sine: a (n) and b (n) are the
   coordinates along them, `step` apart in memory. */
void turn(double *a, double *b, size_t step, double cosine, double sine, size_t n) {
    for (size_t i = 0; i < n * step; i += step) {
        double was = a[i];
        a[i] = cosine * was - sine * b[i];
        b[i] = sine * was + cosine * b[i];
    }
}

/* All eigenvectors of a small symmetric H (d,d), by Jacobi (1846): turn two axes at a time by the
   angle that makes their off-diagonal entry 0, and the first diagonal entry the larger one, until
   none needs it. H becomes diagonal, with the eigenvalues on it in falling order; row k of V (d,d)
   becomes the k-th eigenvector. */
void jacobi(double *V, double *H, size_t d) {
    double rounding = 0;
    memset(V, 0, d * d * sizeof *V);
    for (size_t k = 0; k < d; k++) {
        V[k * d + k] = 1;
        rounding = fmax(rounding, 1e-15 * fabs(H[k * d + k]));
    }
    for (int sweep = 0, turns = 1; turns && sweep < 50; sweep++) {
        turns = 0;
        for (size_t p = 0; p < d; p++)
            for (size_t q = p + 1; q < d; q++) {
                double beside = H[p * d + q], more = H[p * d + p] - H[q * d + q];
                if (fabs(beside) <= rounding && more >= -rounding)
                    continue;
                double angle = 0.5 * atan2(-2 * beside, more), c = cos(angle), s = sin(angle);
                turn(H + p * d, H + q * d, 1, c, s, d); /* two rows of H, and then its columns */
                turn(H + p, H + q, d, c, s, d);
                turn(V + p * d, V + q * d, 1, c, s, d);
                turns++;
            }
    }
}

/* === III. Tools, to look up rather than to read ================================= */

/* --- errors (chapter 1) ------------------------------------------------------ */
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

/* --- random numbers (chapter 1) ---------------------------------------------- */
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

/* --- reading files (chapter 1) ----------------------------------------------- */
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

/* --- writing files (chapter 1) ----------------------------------------------- */
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

/* --- pictures (chapter 1) ---------------------------------------------------- */
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

/* --- options (chapter 1) ----------------------------------------------------- */
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

/* --- progress (chapter 1) ---------------------------------------------------- */
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

/* === IV. The program ============================================================ */
#ifndef WORKBOOK_TEST

enum { MOST_CODES = 33, SHOWN = 10 };

/* One set of images, the networks trained on it, and its principal components. */
struct study {
    const char *name; /* "digits" or "curves" */
    struct images train, test;
    double mean[PIXELS]; /* of the training images */
    struct stack net[MOST_CODES];
    size_t nets;                      /* how many of the codes asked for are trained */
    double own[MOST_CODES][2];        /* their errors, on training and on test images */
    struct pca pca;                   /* of the training images, too */
    double *train_error, *test_error; /* (pca.d + 1) what PCA leaves with 0, 1, ... directions */
};

size_t seed = 1, threads, epochs = 10, batch = 100, most_images = 10000;
size_t code[MOST_CODES], codes, widest; /* the codes to train, how many, the widest */
size_t finished, planned;               /* how many trainings, for the bar */
double rate = 0.005, *history; /* (epochs) the mean error during each epoch of a training */
double worst;                  /* the most by which a network's error is above that of PCA, in % */
const char *curves_dir = "build/curves", *code_list = "1,2,3,6,10,18,30";
struct study on_digits = {.name = "digits"}, on_curves = {.name = "curves"};

/* The name of a table or picture about a study; it holds until the next one is asked for. */
const char *file_of(const struct study *y, const char *format) {
    static char name[64];
    snprintf(name, sizeof name, format, y->name);
    return name;
}

/* Of the training images the first so many. */
void read_study(struct study *y, const char *dir) {
    y->train = read_images(dir, "train");
    y->test = read_images(dir, "t10k");
    if (y->train.count > most_images)
        y->train.count = most_images;
    mean_image(y->mean, &y->train);
}

/* The mean squared error of the network over a set, a batch at a time. */
double error_over(struct stack *net, const struct images *images, const double *mean) {
    size_t room = net->batch, N = images->count;
    real *x = allocate(room * PIXELS, sizeof *x);
    double *example = allocate(room, sizeof *example), sum = 0;
    for (size_t first = 0; first < N; first += room) {
        size_t B = N - first < room ? N - first : room;
        brightness(x, images->pixel + first * PIXELS, B * PIXELS);
        subtract_mean(x, mean, B);
        sum += rebuild_forward(example, net, x, B) * (double)B;
    }
    free(x);
    free(example);
    return sum / (double)N;
}

/* Trains a network with a code of d, by Adam or by plain gradient descent; the rate falls to 0 in a
   straight line. */
struct stack train(const struct study *y, const double *mean, size_t d, int by_adam,
                   double first_rate) {
    struct random r;
    random_seed(&r, seed);
    size_t N = y->train.count, B = batch < N ? batch : N, batches = N / B, step = 0;
    struct stack net = linear_autoencoder(d, B, &r);
    struct adam adam = adam_new(net.parameters);
    size_t *order = allocate(N, sizeof *order);
    real *x = allocate(B * PIXELS, sizeof *x);
    double *example = allocate(B, sizeof *example);
    char what[64];
    snprintf(what, sizeof what, "%s, %zu", y->name, d);
    for (size_t epoch = 0; epoch < epochs && !interrupted; epoch++) {
        shuffle(order, N, &r);
        history[epoch] = 0;
        for (size_t b = 0; b < batches && !interrupted; b++, step++) {
            double done = (double)step / (double)(epochs * batches);
            gather(x, &y->train, order + b * B, B);
            subtract_mean(x, mean, B);
            double loss =
                linear_step(&net, by_adam ? &adam : NULL, example, x, B, first_rate * (1 - done));
            history[epoch] += loss / (double)batches;
            show_progress(((double)finished + done) / (double)planned, what);
        }
        if (!(history[epoch] < 1e6)) /* or a NaN */
            history[epoch] = INFINITY;
    }
    hide_progress();
    finished++;
    free(adam.m);
    free(order);
    free(x);
    free(example);
    return net;
}

/* Plain gradient descent at two rates, and Adam, on the same digits from the same start: first with
   the pixels as they are, then with the mean subtracted. */
void race_rules(size_t d) {
    enum { RUNS = 6, COLS = RUNS + 1 };
    static const char *const name[] = {"slow", "fast", "adam"};
    static const double nothing[PIXELS], rates[] = {0.015, 0.1, 0.005};
    double *row = allocate(epochs * COLS, sizeof *row);
    printf("a race on digits, code of %zu: mean error during the epoch\n"
           "                                 first   second     last\n",
           d);
    for (size_t k = 0; k < RUNS; k++) {
        int centred = k > 2, by_adam = k % 3 == 2;
        free(train(&on_digits, centred ? on_digits.mean : nothing, d, by_adam, rates[k % 3]).value);
        if (interrupted)
            break;
        for (size_t e = 0; e < epochs; e++) {
            row[e * COLS] = (double)e + 1;
            row[e * COLS + k + 1] = history[e];
        }
        printf("  %-5s  %-5s rate %-5g   %8.3f %8.3f %8.3f\n", centred ? "x - m" : "x",
               by_adam ? "Adam" : "plain", rates[k % 3], history[0], history[epochs > 1],
               result(history[epochs - 1], "squared error", "race_%s_%s",
                      centred ? "centred" : "raw", name[k % 3]));
    }
    printf("\n");
    write_table("race.tsv", "epoch\tslow\tfast\tadam\tcentred_slow\tcentred_fast\tcentred_adam",
                row, interrupted ? 0 : epochs, COLS);
    free(row);
}

/* Trains a network for each code. */
void train_all(struct study *y) {
    printf("%s: %zu images to learn from, %zu to test\n"
           "  trained network: code   training error   test error\n",
           y->name, y->train.count, y->test.count);
    while (y->nets < codes) {
        size_t d = code[y->nets];
        double start = seconds(), *own = y->own[y->nets];
        struct stack net = train(y, y->mean, d, 1, rate);
        double time = (seconds() - start) / (double)(epochs ? epochs : 1);
        if (interrupted) {
            printf("  interrupted while training a code of %zu; what was finished is kept\n", d);
            break;
        }
        own[0] = error_over(&net, &y->train, y->mean);
        own[1] = error_over(&net, &y->test, y->mean);
        printf("                   %5zu   %14.3f   %10.3f\n", d,
               result(own[0], "squared error", "%s_net_train_%zu", y->name, d),
               result(own[1], "squared error", "%s_net_test_%zu", y->name, d));
        result(time, "s", "%s_epoch_seconds_%zu", y->name, d);
        if (d == code[codes - 1] && y->test.label)
            result(time, "s", "epoch_seconds");
        y->net[y->nets++] = net;
    }
}

/* a in percent of b; 0 where b is 0, as with a single image. */
double percent(double a, double b) {
    return b > 0 ? 100 * a / b : 0;
}

/* Finds the principal components of the training images, what they leave of both sets, and by how
   much the error of each network is above that. */
void find_floor(struct study *y, size_t directions) {
    double *C = allocate(PIXELS * PIXELS, sizeof *C), start = seconds();
    double *row = allocate(directions * 4, sizeof *row);
    struct random r;
    random_seed(&r, seed);
    covariance(C, y->mean, &y->train);
    y->pca = pca_find(y->mean, C, PIXELS, directions, &r);
    y->train_error = allocate(directions + 1, sizeof(double));
    y->test_error = allocate(directions + 1, sizeof(double));
    pca_errors(y->train_error, &y->pca, &y->train);
    pca_errors(y->test_error, &y->pca, &y->test);
    printf("  PCA: %zu directions after %g rounds of orthogonal iteration, %.1f s\n", directions,
           result((double)y->pca.rounds, "rounds", "%s_pca_rounds", y->name),
           result(seconds() - start, "s", "%s_pca_seconds", y->name));
    printf("  the mean image alone leaves %.2f squared error per test image\n", y->test_error[0]);
    for (size_t k = 0; k < directions; k++) {
        row[4 * k] = (double)k;
        row[4 * k + 1] = result(y->train_error[k], "squared error", "%s_pca_train_%zu", y->name, k);
        row[4 * k + 2] = result(y->test_error[k], "squared error", "%s_pca_test_%zu", y->name, k);
        row[4 * k + 3] =
            result(percent(y->test_error[k], y->test_error[0]), "%", "%s_left_%zu", y->name, k);
    }
    write_table(file_of(y, "pca-%s.tsv"), "d\ttrain\ttest\tleft", row, directions, 4);
    free(C);
    free(row);
}

/* Holds the networks against PCA. */
void compare(struct study *y) {
    double row[MOST_CODES][5];
    printf("            training error              test error\n"
           "  code    PCA  network  excess      PCA  network  excess\n");
    for (size_t c = 0; c < y->nets; c++) {
        size_t d = code[c];
        row[c][0] = (double)d;
        printf("  %4zu", d);
        for (int t = 0; t < 2; t++) {
            double pca = t ? y->test_error[d] : y->train_error[d], own = y->own[c][t];
            double excess = percent(own - pca, pca);
            printf(" %s%7.3f %7.3f %6.2f %%", t ? " " : "", pca, own,
                   result(excess, "%", "%s_excess_%s_%zu", y->name, t ? "test" : "train", d));
            worst = fmax(worst, fabs(excess));
            row[c][2 * t + 1] = pca;
            row[c][2 * t + 2] = own;
        }
        printf("\n");
    }
    printf("\n");
    write_table(file_of(y, "net-%s.tsv"), "d\tpca_train\ttrain\tpca_test\ttest", row[0], y->nets,
                5);
}

/* The images for the pictures: where there are labels the first of each digit, else the first. */
void choose_shown(size_t *which, const struct images *images) {
    for (size_t k = 0; k < SHOWN; k++) {
        which[k] = k % images->count;
        for (size_t i = images->label ? images->count : 0; i-- > 0;)
            if (images->label[i] == k)
                which[k] = i;
    }
}

/* A sheet: ten images in the first row, and below what each network makes of them. */
void draw_reconstructions(struct study *y) {
    size_t which[SHOWN], n = SHOWN * PIXELS;
    real *sheet = allocate((y->nets + 1) * n, sizeof *sheet);
    choose_shown(which, &y->test);
    gather(sheet, &y->test, which, SHOWN);
    subtract_mean(sheet, y->mean, SHOWN);
    for (size_t k = 0; k < y->nets * SHOWN; k++)
        memcpy(sheet + n + k * PIXELS,
               stack_forward(&y->net[k / SHOWN], sheet + k % SHOWN * PIXELS, 1),
               PIXELS * sizeof *sheet);
    for (size_t k = 0; k < (y->nets + 1) * n; k++)
        sheet[k] += (real)y->mean[k % PIXELS];
    write_sheet(file_of(y, "%s-network.png"), sheet, y->nets + 1, SHOWN, 2);
    free(sheet);
}

/* --codes, such as 2,6,30 */
void parse_codes(void) {
    double value;
    for (const char *p = code_list; p; p = *p ? p + 1 : NULL) {
        p = codes < MOST_CODES ? parse_number(&value, p, 1, 100, 1) : NULL;
        if (!p || (*p && *p != ','))
            bad_option("--codes %s: wants up to %d sizes from 1 to 100 between commas, such as "
                       "2,6,30",
                       code_list, MOST_CODES);
        code[codes++] = (size_t)value;
        widest = (size_t)fmax((double)widest, value);
    }
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 't', &data_dir, 0, 0, NULL},
        {"--curves", "folder of curves, made by src/curves.c", 't', &curves_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--codes", "sizes of code to train", 't', &code_list, 0, 0, NULL},
        {"--images", "training images of each set, at most", 'n', &most_images, 1, 1e6, NULL},
        {"--epochs", "passes over the training images", 'n', &epochs, 0, 1e6, NULL},
        {"--batch", "images in a mini-batch", 'n', &batch, 1, 60000, NULL},
        {"--rate", "step size of Adam at the start; it falls to 0", 'x', &rate, 1e-9, 10, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table,
                  "linear autoencoders beside the plane that PCA finds directly");
    parse_codes();
    USE_CORES(threads);
    read_study(&on_digits, data_dir);
    size_t count;
    int have_curves = read_idx(&count, curves_dir, "train-images-idx3-ubyte", 0x803, "images", SIDE,
                               SIDE) != NULL;
    if (have_curves)
        read_study(&on_curves, curves_dir);
    else
        printf("%s: %s: holds no curves; going on without them (src/curves.c makes them)\n\n",
               PROGRAM, curves_dir);
    make_out_dir();
    catch_interrupts();

    planned = 6 + codes + have_curves * codes;
    write_table("race.tsv", "none", NULL, 0, 1); /* an earlier run's tables are not ours */
    write_table("net-curves.tsv", "none", NULL, 0, 1);
    history = allocate(epochs, sizeof *history);
    if (epochs)
        race_rules(widest);
    struct study *const all[] = {&on_digits, &on_curves};
    for (int k = 0; k < 1 + (have_curves && !interrupted); k++) {
        train_all(all[k]);
        /* One direction more than we use, to see how far the last of these stands out. */
        find_floor(all[k], (widest > 30 ? widest : 30) + 1);
        compare(all[k]);
        draw_reconstructions(all[k]);
    }
    result(worst, "%", "worst_excess");
    if (on_digits.nets) {
        result(on_digits.own[on_digits.nets - 1][1], "squared error", "test_sq");
        result((double)code[on_digits.nets - 1], "units", "test_sq_code");
    }
    write_results();
    return interrupted ? 130 : 0; /* as the shell says it: ended by signal 2 */
}
#endif
