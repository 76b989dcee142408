/* loss.c: chapter 4 of "Autoencoders by Hand".

   A loss says in one number how wrong a reconstruction is. Everything that the network learns, it
   learns from the derivative of that number. This program takes three losses, binary cross-entropy,
   squared error and absolute error, and lets the same small autoencoder learn under each of them:
   from an ordinary start, and from outputs that are confidently wrong.

   Build it alone:  cc -O2 loss.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Contents                                                           line
     I.   The network, squared error, Adam, from earlier chapters      87
     II.  Three losses and their gradients: new in this chapter       362
     III. Tools, to look up rather than to read                       527
     IV.  The program                                                 904

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

/* === I. The network, from earlier chapters ===================================== */

/* --- dense layer (chapter 1) -------------------------------------------------- */
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

/* --- activations (chapter 1) -------------------------------------------------- */
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

/* --- tensors (chapter 1) ------------------------------------------------------ */
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

/* --- stack of layers (chapter 1) ---------------------------------------------- */
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

/* --- initialisation (chapter 1) ----------------------------------------------- */
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

/* --- squared error (chapter 2) ------------------------------------------------ */
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

/* --- adam (chapter 2) --------------------------------------------------------- */
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

/* --- batches (chapter 2) ------------------------------------------------------ */
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

/* === II. This chapter: three losses and their gradients ======================== */

/* --- bce on probabilities ----------------------------------------------------- */
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

/* --- sigmoid ------------------------------------------------------------------ */
/* 1 / (1 + e^-s), from e^-|s|, which cannot overflow. It is chapter 1's sigmoid with one
   exponential for both cases. */
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

/* --- bce on logits ------------------------------------------------------------ */
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

/* --- absolute error ----------------------------------------------------------- */
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

/* --- three losses ------------------------------------------------------------- */
enum loss { BCE, SQUARED, ABSOLUTE, LOSSES };
const char *const loss_name[] = {"bce", "squared", "absolute", "all", NULL};

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

/* --- a network and its loss --------------------------------------------------- */
/* A stack that ends in logits, the loss that it learns from, and room for what lies between. */
struct learner {
    struct stack net;
    enum loss kind;
    real *xhat, *dxhat; /* (batch,n) */
    double *example;    /* (batch) the loss of each image */
};

/* n -> hidden, ReLU -> n logits. The sigmoid belongs to the loss. */
struct learner learner_new(enum loss kind, size_t n, size_t hidden, size_t batch) {
    struct stack net =
        stack_new((size_t[]){n, hidden, n}, (enum activation[]){RELU, IDENTITY}, 2, batch);
    return (struct learner){net, kind, allocate(batch * n, sizeof(real)),
                            allocate(batch * n, sizeof(real)), allocate(batch, sizeof(double))};
}

/* The loss of B images x (B,n) whose reconstruction should be target (B,n). */
double learner_loss(struct learner *a, const real *x, const real *target, size_t B) {
    const real *logit = stack_forward(&a->net, x, B);
    return loss_forward(a->kind, a->example, a->xhat, logit, target, B, a->net.layer[1].out);
}

/* All its gradients, left in the stack; dx (B,n) may be NULL. Every gradient is divided by `share`:
   1 for a sum over the pixels, n for a mean. Returns the loss, undivided. */
double learner_gradient(struct learner *a, real *dx, const real *x, const real *target, size_t B,
                        double share) {
    size_t n = a->net.layer[1].out;
    stack_zero(&a->net);
    memset(a->dxhat, 0, B * n * sizeof(real));
    double loss = learner_loss(a, x, target, B);
    loss_backward(a->kind, a->net.dlast, a->dxhat, a->xhat, a->net.layer[1].h, target, B, n);
    for (size_t i = 0; i < B * n; i++)
        a->net.dlast[i] /= (real)share;
    stack_backward(&a->net, dx, x, B);
    return loss;
}

/* === III. Tools ================================================================ */

/* --- errors (chapter 1) ------------------------------------------------------- */
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

/* --- random numbers (chapter 1) ----------------------------------------------- */
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

/* --- reading files (chapter 1) ------------------------------------------------ */
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

/* --- writing files (chapter 1) ------------------------------------------------ */
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

/* --- pictures (chapter 1) ----------------------------------------------------- */
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

/* --- options (chapter 1) ------------------------------------------------------ */
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

/* --- progress (chapter 1) ----------------------------------------------------- */
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

/* === IV. The program =========================================================== */
#ifndef WORKBOOK_TEST

size_t seed = 1, threads, hidden = 32, epochs = 10, batch = 64, steps = 300;
double rate = 1e-3, descent_rate = 5e-3, bias = 5;
int chosen = LOSSES, take_mean; /* --loss, as an index into loss_name; --pixels */
const char *const pixels_name[] = {"sum", "mean", NULL};

struct images train_set, test_set;
real *some; /* (batch,784) */

/* Networks that learn side by side: one for each loss. Of each: all three losses on the test
   images, now and at the start, and the step at which half of its squared error was gone, 0
   for never. */
struct learner runner[LOSSES];
size_t runners;
double score[LOSSES][LOSSES], start[LOSSES][LOSSES], escaped[LOSSES];

/* Every network starts here, from the same seed: the same weights for each loss. */
void start_learner(struct learner *a, double output_bias) {
    struct random r;
    random_seed(&r, seed);
    struct dense *in = &a->net.layer[0], *out = &a->net.layer[1];
    dense_start(in, he_limit(in->in, in->out), &r);
    dense_start(out, xavier_limit(out->in, out->out), &r);
    for (size_t j = 0; j < out->out; j++)
        out->b[j] = (real)output_bias;
}

/* loss (LOSSES) = all three, on the first `count` test images, whichever the network
   learns from. */
void test_losses(double *loss, struct learner *a, size_t count) {
    memset(loss, 0, LOSSES * sizeof *loss);
    for (size_t at = 0; at < count; at += batch) {
        size_t B = count - at < batch ? count - at : batch;
        brightness(some, test_set.pixel + at * PIXELS, B * PIXELS);
        const real *logit = stack_forward(&a->net, some, B);
        for (int k = 0; k < LOSSES; k++)
            loss[k] += (double)B / (double)count *
                       loss_forward((enum loss)k, a->example, a->xhat, logit, some, B, PIXELS);
    }
}

/* Ends the program when a loss is no number, or far above where it began. A batch may jump a little
   in the first steps. Squared and absolute error cannot grow far, for xhat stays between 0 and 1;
   what runs away are the logits, and that shows in the cross-entropy of the test images. */
enum { JUMP = 1000, RUNAWAY = 20 };

void require_sense(double now, double most, const char *what, enum loss kind, int plain) {
    if (now <= most) /* false for a NaN */
        return;
    hide_progress();
    die("trained on %s, %s came to %.4g: the steps are too large; try %s %g", loss_name[kind], what,
        now, plain ? "--descent-rate" : "--rate", (plain ? descent_rate : rate) / 10);
}

/* One step of network k on the B images in `some`. In plain descent squared and absolute error get
   twice the rate: at xhat = 1/2 that makes their steps as long as those of the cross-entropy. */
void learn(size_t k, size_t B, struct adam *adam, double most) {
    struct learner *a = &runner[k];
    double loss = learner_gradient(a, NULL, some, some, B, take_mean ? PIXELS : 1);
    require_sense(loss, most, "the loss", a->kind, !adam);
    double length = descent_rate * (a->kind == BCE ? 1 : 2);
    if (adam)
        adam_step(adam, a->net.value, a->net.grad, rate);
    else
        for (size_t i = 0; i < a->net.parameters; i++)
            a->net.value[i] -= (real)length * a->net.grad[i];
}

/* Judges every network; `at` says where we are, in epochs, or steps of the plain descent, which is
   judged on 500 images. row (1 + 3 for each network) = the same for the file. */
void judge_all(int plain, double at, double *row) {
    size_t count = plain && test_set.count > 500 ? 500 : test_set.count;
    row[0] = at;
    for (size_t k = 0; k < runners; k++) {
        enum loss kind = runner[k].kind;
        test_losses(score[k], &runner[k], count);
        if (at == 0)
            memcpy(start[k], score[k], sizeof start[k]);
        require_sense(score[k][BCE], RUNAWAY * start[k][BCE], "the cross-entropy", kind, plain);
        memcpy(row + 1 + k * LOSSES, score[k], sizeof score[k]);
        if (plain && escaped[k] == 0 && score[k][SQUARED] < start[k][SQUARED] / 2)
            escaped[k] = at;
        if (!plain && at > 0 && at == floor(at))
            result(score[k][SQUARED], "", "sq_%s_epoch_%.0f", loss_name[kind], at);
    }
}

/* Prints a row: where we are, and of each network squared error and cross-entropy. */
void print_scores(const char *unit, double at) {
    printf("  %-5s %4.*f", unit, at == floor(at) ? 0 : 2, at);
    for (size_t k = 0; k < runners; k++)
        printf("  %10.2f %10.2f", score[k][SQUARED], score[k][BCE]);
    printf("\n");
}

/* What stands above the rows; names (...) is the same for the file, which has all three losses. */
void print_heads(char *names, size_t size, const char *unit) {
    size_t n = (size_t)snprintf(names, size, "%s", unit);
    printf("            ");
    for (size_t k = 0; k < runners; k++) {
        const char *name = loss_name[runner[k].kind];
        printf("%*s%s", (int)(24 - strlen(name)), "trained on ", name);
        for (int by = 0; by < LOSSES; by++)
            n += (size_t)snprintf(names + n, size - n, "\t%s_%s", name, loss_name[by]);
    }
    printf("\n            ");
    for (size_t k = 0; k < runners; k++)
        printf("    sq.error   bce nats");
    printf("\n");
}

/* All networks from one start, on the same batches: with Adam for --epochs; or plain, by gradient
   descent for --steps, from outputs that are confidently wrong, on full batches only. Judged after
   every epoch, or every five steps. */
void race(int plain, const char *file) {
    size_t count = train_set.count, step = 0, rows = 0;
    size_t per_epoch = plain ? count / batch : (count + batch - 1) / batch;
    size_t length = plain ? steps : epochs * per_epoch, every = plain ? 5 : per_epoch;
    size_t cols = 1 + LOSSES * runners, *order = allocate(count, sizeof *order);
    double *row = allocate((length / every + 2) * cols, sizeof *row), at, spent = 0;
    const char *unit = plain ? "step" : "epoch";
    char names[256];
    struct adam adam[LOSSES];
    struct random random;
    random_seed(&random, seed + (plain ? 2 : 1));
    for (size_t k = 0; k < runners; k++) {
        start_learner(&runner[k], plain ? bias : 0);
        adam[k] = adam_new(plain ? 0 : runner[k].net.parameters);
    }
    print_heads(names, sizeof names, unit);
    for (;; step++) {
        int last = step == length || interrupted;
        at = (double)step / (plain ? 1 : (double)per_epoch);
        if (step % every == 0 || last) {
            hide_progress();
            judge_all(plain, at, row + rows++ * cols);
            if (!plain || last || step % (steps < 10 ? 1 : steps / 10) == 0)
                print_scores(unit, at);
        }
        if (last)
            break;
        size_t first = step % per_epoch * batch, B = count - first < batch ? count - first : batch;
        if (first == 0)
            shuffle(order, count, &random);
        gather(some, &train_set, order + first, B);
        for (size_t k = 0; k < runners; k++) {
            double began = seconds();
            learn(k, B, plain ? NULL : &adam[k], JUMP * start[k][runner[k].kind]);
            spent += k == 0 ? seconds() - began : 0;
        }
        show_progress((double)step / (double)length, plain ? "descending" : "learning");
    }
    if (step < length)
        printf("  interrupted after %.2f of %zu %ss\n", at, plain ? steps : epochs, unit);
    if (!plain && step > 0)
        result(spent / at, "s", "epoch_seconds");
    write_table(file, names, row, rows, cols);
}

/* Ten test images, one of each digit where the labels are there, and what each network makes of
   them. */
void draw_reconstructions(void) {
    enum { SHOWN = 10 };
    size_t which[SHOWN] = {0};
    for (size_t d = 0; d < SHOWN; d++)
        for (size_t r = test_set.count; r-- > 0;)
            if (test_set.label ? test_set.label[r] == d : r == d)
                which[d] = r;
    real *sheet = allocate((runners + 1) * SHOWN * PIXELS, sizeof *sheet);
    gather(sheet, &test_set, which, SHOWN);
    for (size_t k = 0; k < runners; k++)
        for (size_t d = 0; d < SHOWN; d++) {
            const real *logit = stack_forward(&runner[k].net, sheet + d * PIXELS, 1);
            sigmoid_forward(sheet + ((k + 1) * SHOWN + d) * PIXELS, logit, 1, PIXELS);
        }
    write_sheet("reconstructions.png", sheet, runners + 1, SHOWN, 2);
}

/* From an ordinary start, with Adam. */
void train(void) {
    printf("an autoencoder 784-%zu-784 from one start on the same batches of %zu: Adam, rate %g\n",
           hidden, batch, rate);
    race(0, "training.tsv");
    result(score[0][SQUARED], "", "test_sq");
    result(score[0][BCE], "nats", "test_bce");
    for (size_t k = 0; k < runners; k++) {
        const char *name = loss_name[runner[k].kind];
        result(score[k][SQUARED], "", "test_sq_%s", name);
        result(score[k][BCE], "nats", "test_bce_%s", name);
        result(score[k][ABSOLUTE], "", "test_abs_%s", name);
    }
    draw_reconstructions();
}

/* By plain descent from outputs that are confidently wrong: every bias of the last layer at --bias,
   so that every picture comes out nearly white. */
void stall(void) {
    printf(
        "\nthe same start, but every output bias at %g (%.1f %% white): plain descent, rate %g\n",
        bias, 100 / (1 + exp(-bias)), descent_rate);
    race(1, "stall.tsv");
    printf("  half of the squared error is gone: ");
    for (size_t k = 0; k < runners; k++) {
        const char *name = loss_name[runner[k].kind];
        printf("%s%s", k ? "; " : "", name);
        if (escaped[k] > 0)
            printf(" after %g steps", result(escaped[k], "steps", "escaped_%s", name));
        else
            printf(" not yet");
        result(score[k][SQUARED], "", "stall_sq_%s", name);
    }
    printf("\n");
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--data", "folder of IDX files; try build/curves", 't', &data_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--loss", "train with", 'w', &chosen, 0, 0, loss_name},
        {"--pixels", "in the gradients, over the pixels", 'w', &take_mean, 0, 0, pixels_name},
        {"--hidden", "units of the hidden layer", 'n', &hidden, 1, 10000, NULL},
        {"--epochs", "passes over the training images", 'n', &epochs, 1, 100000, NULL},
        {"--batch", "images a step", 'n', &batch, 1, 60000, NULL},
        {"--rate", "step size of Adam", 'x', &rate, 1e-9, 100, NULL},
        {"--bias", "output bias at the start of the plain descent", 'x', &bias, -50, 50, NULL},
        {"--descent-rate", "step size of the plain descent", 'x', &descent_rate, 1e-9, 100, NULL},
        {"--steps", "steps of the plain descent", 'n', &steps, 1, 1e7, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table, "three losses: what each asks for, and how each learns");
    USE_CORES(threads);
    catch_interrupts();
    train_set = read_images(data_dir, "train");
    test_set = read_images(data_dir, "t10k");
    batch = batch < train_set.count ? batch : train_set.count;
    some = allocate(batch * PIXELS, sizeof *some);
    make_out_dir();
    for (int k = 0; k < LOSSES; k++)
        if (chosen == k || chosen == LOSSES)
            runner[runners++] = learner_new((enum loss)k, PIXELS, hidden, batch);
    train();
    if (!interrupted)
        stall();
    write_results();
    return interrupted ? 130 : 0;
}
#endif
