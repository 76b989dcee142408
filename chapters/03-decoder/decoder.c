/* decoder.c: chapter 3 of "Autoencoders by Hand".

   A decoder turns six numbers into a picture. Here the six are known: each picture shows a curve
   through three random points, and the coordinates of the points are its code. The program trains
   a decoder alone, from coordinates to pictures; then it turns one coordinate at a time and looks.
   At the end of part II stands an autoencoder whose decoder has the encoder's weights, transposed;
   measure.c trains it, and compares the decoder with a lookup in the curves that it has seen.

   Build it alone:  cc -O2 decoder.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has the files that src/curves.c writes

   Contents                                                           line
     I.   Layers, squared error, Adam: from chapters 1 and 2             90
     II.  Knobs, the decoder; tied weights: new in this chapter         365
     III. Tools, to look up rather than to read                         533
     IV.  The program                                                   941

   Letters: B examples in a batch, one a row; z (B,6) the coordinates, turned into knobs from -1 to
   1; h (B,..) hidden layers; s the sums before an activation; xhat (B,784) the drawing and x
   (B,784) the picture it should be; W (out,in) and b (out) the weights and biases of a layer; d the
   units of the tied autoencoder's code, n its pixels and c (n) their biases. dW is the derivative
   of the loss with respect to W, and so on. In memory W_ji stands at W[i * out + j]. */
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

/* === I. Layers, squared error, Adam ============================================ */

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

/* === II. This chapter: knobs, the decoder; tied weights ========================= */

/* --- knobs -------------------------------------------------------------------- */
/* Each curve has six knobs, x0 y0 x1 y1 x2 y2, which say where its three points lie. They turn from
   -1 (left, top) to 1 (right, bottom). */
enum { KNOBS = 6 };

/* z (steps,6): the curve `from` (6) again and again, with one knob turned from -1 to 1. */
void turn_knob(real *z, const real *from, size_t knob, size_t steps) {
    for (size_t t = 0; t < steps; t++) {
        memcpy(z + t * KNOBS, from, KNOBS * sizeof *z);
        z[t * KNOBS + knob] = -1 + 2 * (real)t / (real)(steps - 1);
    }
}

/* Read from its other end, a curve has the knobs x2 y2 x1 y1 x0 y0: which of its own is
   the j-th? */
size_t from_other_end(size_t j) {
    return 2 * (2 - j / 2) + j % 2;
}

/* --- decoder ------------------------------------------------------------------ */
/* xhat = sigmoid(W3 h2 + b3), h2 = relu(W2 h1 + b2), h1 = relu(W1 z + b1): ReLU between the layers,
   a sigmoid at the end. size[0] is the number of knobs, size[depth] that of the pixels. */
struct stack decoder_new(const size_t *size, size_t depth, size_t batch) {
    enum activation f[MAX_LAYERS];
    for (size_t l = 0; l < depth; l++)
        f[l] = l + 1 < depth ? RELU : SIGMOID;
    return stack_new(size, f, depth, batch);
}

/* The inverse of the sigmoid: which s has sigmoid(s) = p? */
double logit(double p) {
    return log(p / (1 - p));
}

/* He's start below a ReLU, Xavier's below the sigmoid, and the last biases so that a fresh decoder
   paints pictures of the mean brightness `mean`. */
void decoder_start(struct stack *net, double mean, struct random *r) {
    for (size_t l = 0; l < net->depth; l++) {
        struct dense *y = &net->layer[l];
        int last = l + 1 == net->depth;
        dense_start(y, last ? xavier_limit(y->in, y->out) : he_limit(y->in, y->out), r);
        for (size_t j = 0; last && j < y->out; j++)
            y->b[j] = (real)logit(mean);
    }
}

/* Draws B curves z (B,6) and compares them with their pictures x (B,pixels). Returns the loss and
   leaves its gradient in the network; example (B) gets each picture's error. dz (B,6) += the
   gradient of the knobs; it may be NULL, for in training they are what they are. */
double decoder_gradient(struct stack *net, real *dz, double *example, const real *z, const real *x,
                        size_t B) {
    size_t pixels = net->layer[net->depth - 1].out;
    stack_zero(net);
    const real *xhat = stack_forward(net, z, B);
    double loss = squared_error_forward(example, xhat, x, B, pixels);
    squared_error_backward(net->dlast, xhat, x, B, pixels);
    stack_backward(net, dz, z, B);
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

/* --- transposed layer --------------------------------------------------------- */
/* s (B,in) = W^T h + c for each row of h (B,out), with the W (out,in) of a layer that leads the
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
     dW_ji (out,in) += sum over r of h_rj ds_ri
     dc_i (in)      += sum over r of ds_ri
     dh_rj (B,out)  += sum over i of ds_ri W_ji     (chapter 1's forward sum) */
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
    real *value, *grad;              /* (parameters) W, b, c one after another */
    real *W, *b, *c, *dW, *db, *dc;  /* (d,n), (d), (n) */
    real *z, *slope_z, *dz;          /* (batch,d) the code, f'(s), the derivative */
    real *xhat, *slope_xhat, *dxhat; /* (batch,n) the same of the drawing */
    struct tensor tensor[3];
};

struct tied tied_new(size_t n, size_t d, enum activation f, size_t batch) {
    struct tied t = {.n = n, .d = d, .batch = batch, .f = f, .parameters = n * d + d + n};
    real *block = allocate(2 * t.parameters + 3 * batch * (d + n), sizeof(real));
    t.value = t.W = take(&block, n * d);
    t.b = take(&block, d);
    t.c = take(&block, n);
    t.grad = t.dW = take(&block, n * d);
    t.db = take(&block, d);
    t.dc = take(&block, n);
    t.dz = take(&block, batch * d); /* these two behind the gradients, to be zeroed with them */
    t.dxhat = take(&block, batch * n);
    t.z = take(&block, batch * d);
    t.slope_z = take(&block, batch * d);
    t.xhat = take(&block, batch * n);
    t.slope_xhat = take(&block, batch * n);
    t.tensor[0] = (struct tensor){"W", d, n, t.W, t.dW};
    t.tensor[1] = (struct tensor){"b", d, 1, t.b, t.db};
    t.tensor[2] = (struct tensor){"c", n, 1, t.c, t.dc};
    return t;
}

void tied_zero(struct tied *t) {
    memset(t->grad, 0, (t->parameters + t->batch * (t->d + t->n)) * sizeof(real));
}

/* Returns xhat (B,n). */
const real *tied_forward(struct tied *t, const real *x, size_t B) {
    dense_forward(t->z, x, t->W, t->b, B, t->n, t->d); /* s, in the place of z */
    activation_forward(t->z, t->slope_z, t->z, t->f, B * t->d);
    transposed_forward(t->xhat, t->z, t->W, t->c, B, t->n, t->d);
    activation_forward(t->xhat, t->slope_xhat, t->xhat, SIGMOID, B * t->n);
    return t->xhat;
}

/* The decoder's half: from dxhat, which the caller has filled, to dc, dz, and the first share of
   dW. */
void tied_backward_decoder(struct tied *t, size_t B) {
    activation_backward(t->dxhat, t->slope_xhat, B * t->n);
    transposed_backward(t->dW, t->dc, t->dz, t->dxhat, t->z, t->W, B, t->n, t->d);
}

/* The encoder's half: from dz to db and the second share of dW, on top of the first. dx (B,n) may
   be NULL. */
void tied_backward_encoder(struct tied *t, real *dx, const real *x, size_t B) {
    activation_backward(t->dz, t->slope_z, B * t->d);
    dense_backward(t->dW, t->db, dx, t->dz, x, t->W, B, t->n, t->d);
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

/* --- reading coordinates ------------------------------------------------------ */
/* z (count,6) = the knobs of a set's curves, from DIR/SET-points-idx2-float. There they are
   fractions of the picture's width, 0 to 1; the points lie in the middle 20 of its 28 pixels, so
   each is 1/2 plus or minus 10/28. Every number must be one: a single NaN would spread through all
   weights at the first step. */
real *read_knobs(const char *dir, const char *set, size_t count) {
    char name[64];
    size_t have;
    snprintf(name, sizeof name, "%s-points-idx2-float", set);
    unsigned char *bytes = read_idx(&have, dir, name, 0xd02, "curves", KNOBS, 1);
    if (!bytes)
        die("%s: has no %s; the decoder needs the true numbers behind the pictures, which "
            "src/curves.c writes",
            dir, name);
    if (have != count)
        die("%s/%s: holds %zu curves for %zu images", dir, name, have, count);
    real *z = allocate(count * KNOBS, sizeof *z);
    for (size_t i = 0; i < count * KNOBS; i++) {
        const unsigned char *b = bytes + 4 * i; /* big-endian, whatever this machine is */
        uint32_t word = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        float value;
        memcpy(&value, &word, sizeof value);
        if (!(value >= 0 && value <= 1)) /* false for a NaN, too */
            die("%s/%s: number %zu of curve %zu is %g; a coordinate lies between 0 and 1", dir,
                name, i % KNOBS, i / KNOBS, (double)value);
        z[i] = (real)((value - 0.5) * SIDE / 10);
    }
    free(bytes);
    return z;
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

enum { ROWS = 500 };      /* how many pictures we evaluate at once */
enum { USUAL_CURVE = 2 }; /* a long one, bent once */
const char *const last_bias_name[] = {"mean", "zero", NULL};

size_t seed = 1, threads, epochs = 12, batch = 100, reverse, curve = USUAL_CURVE;
double rate = 0.008;
int last_bias; /* which of the names above */
const char *layers = "6,100,400,784";
size_t code = 32, tied_epochs = 2; /* measure.c wants to know */

/* Curves: their pictures and their knobs. */
struct curves {
    struct images images;
    size_t count;
    real *z; /* (count,6) */
};
struct curves known, unknown; /* to train on, to be tested on */

struct stack decoder;
real mean_picture[PIXELS]; /* of the known curves */
double mean_brightness;
double *error;  /* the squared error of each unknown curve's drawing */
real *pictures; /* (ROWS or batch,784) room for pictures */

struct curves read_curves(const char *set) {
    struct curves c = {.images = read_images(data_dir, set)};
    c.count = c.images.count;
    c.z = read_knobs(data_dir, set, c.count);
    return c;
}

/* The mean of the known pictures, and the mean of that. */
void find_mean(void) {
    double total = 0;
    for (size_t p = 0; p < PIXELS; p++) {
        double sum = 0;
        for (size_t i = 0; i < known.count; i++)
            sum += known.images.pixel[i * PIXELS + p];
        mean_picture[p] = (real)(sum / 255 / (double)known.count);
        total += (double)mean_picture[p];
    }
    /* Pictures that are all black or all white would have an infinite logit. */
    mean_brightness = fmin(fmax(total / PIXELS, 1e-6), 1 - 1e-6);
}

/* The decoder that --layers asks for. */
struct stack make_decoder(void) {
    size_t size[MAX_LAYERS + 1], n = 0;
    double value;
    for (const char *p = layers; p; p = *p ? p + 1 : NULL) {
        p = n <= MAX_LAYERS ? parse_number(&value, p, 1, 10000, 1) : NULL;
        if (!p || (*p && *p != ','))
            bad_option("--layers %s: wants up to 33 sizes between commas, such as 6,100,784",
                       layers);
        size[n++] = (size_t)value;
    }
    if (n < 2 || size[0] != KNOBS || size[n - 1] != PIXELS)
        bad_option("--layers %s: must begin with 6, the knobs, and end with 784, the pixels",
                   layers);
    return decoder_new(size, n - 1, batch > ROWS ? batch : ROWS);
}

/* Draws all unknown curves and finds their errors. Returns the mean. */
double draw_all(void) {
    double sum = 0;
    for (size_t i = 0; i < unknown.count; i += ROWS) {
        size_t B = unknown.count - i < ROWS ? unknown.count - i : ROWS;
        const real *xhat = stack_forward(&decoder, unknown.z + i * KNOBS, B);
        brightness(pictures, unknown.images.pixel + i * PIXELS, B * PIXELS);
        sum += squared_error_forward(error + i, xhat, pictures, B, PIXELS) * (double)B;
    }
    return sum / (double)unknown.count;
}

/* Steps that are far too large throw the weights to where no gradient brings them back. The error
   is then a multiple of what it was before the first step, or not a number. (The 1 is for pictures
   so black that the error before was next to nothing.) */
void require_learning(double now, double before) {
    if (!(now <= 2 * before + 1))
        die("the test error was %.3g before training and is %.3g now: the steps are too large; try "
            "--rate %g",
            before, now, rate / 10);
}

/* Trains until the epochs are over or Ctrl-C is pressed. */
void train(struct random *r) {
    size_t B = batch < known.count ? batch : known.count, steps = known.count / B, epoch = 0;
    struct adam adam = adam_new(decoder.parameters);
    size_t *order = allocate(known.count, sizeof *order);
    real *z = allocate(B * KNOBS, sizeof *z);
    double *example = allocate(B, sizeof *example);
    double *row = allocate(3 * (epochs + 1), sizeof *row), fresh = draw_all(), busy = 0;
    memcpy(row, (double[]){0, NAN, fresh}, 3 * sizeof *row);
    printf("squared error of a picture, summed over its 784 pixels\n"
           "  epoch  training     test  seconds\n");
    for (; epoch < epochs && !interrupted; epoch++) {
        double began = seconds(), sum = 0;
        size_t step = 0;
        shuffle(order, known.count, r);
        for (; step < steps && !interrupted; step++) {
            const size_t *which = order + step * B;
            gather(pictures, &known.images, which, B);
            for (size_t i = 0; i < B; i++) {
                int back = reverse && random_bits(r) >> 63; /* toss a coin for each curve */
                for (size_t j = 0; j < KNOBS; j++)
                    z[i * KNOBS + j] = known.z[which[i] * KNOBS + (back ? from_other_end(j) : j)];
            }
            sum += decoder_gradient(&decoder, NULL, example, z, pictures, B);
            double done = (double)(epoch * steps + step) / (double)(epochs * steps);
            adam_step(&adam, decoder.value, decoder.grad, falling_rate(rate, done));
            show_progress(done, "training");
        }
        busy += seconds() - began;
        double loss = sum / (double)(step ? step : 1), test = draw_all();
        hide_progress();
        require_learning(test, fresh);
        printf("  %5zu  %8.3f %8.3f %8.2f%s\n", epoch + 1, loss, test, seconds() - began,
               interrupted ? "  interrupted" : "");
        memcpy(row + 3 * (epoch + 1), (double[]){(double)epoch + 1, loss, test}, 3 * sizeof *row);
    }
    printf("\n");
    write_table("learning.tsv", "epoch\ttrain\ttest", row, epoch + 1, 3);
    result((double)epoch, "epochs", "epochs");
    result(fresh, "", "fresh_sq");
    result(row[3 * epoch + 2], "", "test_sq");
    if (epoch) {
        double gradient = 0; /* of the last step: how much is there left to go by? */
        for (size_t k = 0; k < decoder.parameters; k++)
            gradient += fabs((double)decoder.grad[k]) / (double)decoder.parameters;
        result(row[3 * epoch + 1], "", "train_sq");
        result(gradient, "", "last_gradient");
        result(busy / (double)epoch, "s", "epoch_seconds");
    }
}

/* Six strips: each turns one knob from end to end and leaves the other five. */
void turn_knobs(void) {
    enum { FRAMES = 13 };
    real z[FRAMES * KNOBS], *sheet = allocate(KNOBS * FRAMES * PIXELS, sizeof *sheet);
    for (size_t k = 0; k < KNOBS; k++) {
        turn_knob(z, unknown.z + curve * KNOBS, k, FRAMES);
        memcpy(sheet + k * FRAMES * PIXELS, stack_forward(&decoder, z, FRAMES),
               FRAMES * PIXELS * sizeof *sheet);
    }
    write_sheet("strips.png", sheet, KNOBS, FRAMES, 2);
}

int main(int argc, char **argv) {
    data_dir = "build/curves";
    const struct option table[] = {
        {"--data", "folder of curves, pictures and coordinates", 't', &data_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--layers", "widths, from the knobs to the pixels", 't', &layers, 0, 0, NULL},
        {"--epochs", "how often each curve is used", 'n', &epochs, 0, 100000, NULL},
        {"--batch", "curves in a step", 'n', &batch, 1, 10000, NULL},
        {"--rate", "step size of Adam at the start; it falls to 1/100", 'x', &rate, 1e-9, 10, NULL},
        {"--start", "brightness that the last biases give", 'w', &last_bias, 0, 0, last_bias_name},
        {"--reverse", "1: read every other curve from its end", 'n', &reverse, 0, 1, NULL},
        {"--curve", "the test curve whose knobs are turned", 'n', &curve, 0, 1e9, NULL},
        {"--code", "units of the tied autoencoder that measure.c trains", 'n', &code, 1, 10000,
         NULL},
        {"--tied-epochs", "for how long; 0: not at all", 'n', &tied_epochs, 0, 100000, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table,
                  "draws curves from their six true numbers, and turns the knobs");
    decoder = make_decoder();
    USE_CORES(threads);
    catch_interrupts();
    known = read_curves("train");
    unknown = read_curves("t10k");
    if (curve == USUAL_CURVE && curve >= unknown.count)
        curve = unknown.count - 1; /* a tiny set */
    if (curve >= unknown.count)
        bad_option("--curve %zu: is beyond the last test curve, %zu", curve, unknown.count - 1);
    make_out_dir();

    pictures = allocate(decoder.batch * PIXELS, sizeof *pictures);
    error = allocate(unknown.count, sizeof *error);
    struct random r;
    random_seed(&r, seed);
    find_mean();
    decoder_start(&decoder, last_bias ? 0.5 : mean_brightness, &r);
    printf("a decoder %s, %zu parameters; %zu curves to train on, %zu to test; mean brightness "
           "%.4f\n\n",
           layers, decoder.parameters, known.count, unknown.count, mean_brightness);
    result((double)decoder.parameters, "parameters", "parameters");
    result(mean_brightness, "", "mean_brightness");
    result(logit(mean_brightness), "", "mean_logit");
    train(&r);
    turn_knobs();
    write_results();
    return interrupted ? 130 : 0; /* as the shell says it: ended by signal 2 */
}
#endif
