/* reparameterization.c: chapter 10 of "Autoencoders by Hand".

   The code of a picture becomes a cloud: the encoder says where it is and how wide, and the code is
   drawn from it. How does a gradient get through a draw? There are two ways, the score function and
   the path. This program lets both go downhill on a toy whose every number is known, and then
   trains a small network on digits by either way.

   Build it alone:  cc -O2 reparameterization.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Contents                                                           line
     I.   The network, from chapters 1, 2 and 4                      87
     II.  Two ways through a draw, and a network with noise: new    389
     III. Tools, to look up rather than to read                     603
     IV.  The program                                               980

   Letters: B examples in a batch, one a row; d numbers in a code; code (B,2d) what the encoder says
   of each example, mu (d) and then logvar (d); sigma = e^(logvar/2); noise (B,d) draws from N(0,1);
   z (B,d) = mu + sigma noise; q the density that z was drawn from; f a loss that looks at z. */
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

#define PROGRAM "reparameterization"
#define CHAPTER "10-reparameterization"

/* --- precision (chapter 1) -------------------------------------------------- */
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

/* --- tools in short (chapter 1) --------------------------------------------- */
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

/* === I. The network, from earlier chapters ================================== */

/* --- dense layer (chapter 1) ------------------------------------------------ */
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

/* --- activations (chapter 1) ------------------------------------------------ */
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

/* --- tensors (chapter 1) ---------------------------------------------------- */
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

/* --- stack of layers (chapter 1) -------------------------------------------- */
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

/* --- initialisation (chapter 1) --------------------------------------------- */
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

/* --- adam (chapter 2) ------------------------------------------------------- */
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

/* --- sigmoid (chapter 4) ---------------------------------------------------- */
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

/* --- bce on logits (chapter 4) ---------------------------------------------- */
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

/* === II. This chapter: two ways through a draw, and a network with noise ==== */

/* --- normal numbers --------------------------------------------------------- */
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

/* --- averages --------------------------------------------------------------- */
/* Of numbers that are added one by one: their mean, their variance, and how far the mean is
   probably off. */
struct average {
    size_t n;
    double sum, squares;
};

void average_add(struct average *a, double value) {
    a->n++;
    a->sum += value;
    a->squares += value * value;
}

double average_value(const struct average *a) {
    return a->sum / (double)a->n;
}

/* E f^2 - (E f)^2, with n - 1 for n because the mean is made of the same numbers. Rounding must not
   make it negative. */
double average_variance(const struct average *a) {
    double mean = average_value(a), n = (double)a->n;
    return n > 1 ? fmax(0, (a->squares - n * mean * mean) / (n - 1)) : 0;
}

/* The standard error of the mean. */
double average_error(const struct average *a) {
    return sqrt(average_variance(a) / (double)a->n);
}

/* --- toy with a known answer ------------------------------------------------ */
/* f = |z - c|^2: the squared distance of z (d) from the point (c, c, ... c) */
double distance_forward(const real *z, real c, size_t d) {
    double f = 0;
    for (size_t j = 0; j < d; j++) {
        double away = (double)(z[j] - c);
        f += away * away;
    }
    return f;
}

/* dz (d) += 2 (z - c) */
void distance_backward(real *dz, const real *z, real c, size_t d) {
    for (size_t j = 0; j < d; j++)
        dz[j] += 2 * (z[j] - c);
}

/* --- density of a normal ---------------------------------------------------- */
/* logq (B) = the logarithm of the density of N(mu, sigma^2) at each row of z (B,d):
     -1/2 sum over j of (log 2 pi + logvar_j + (z_j - mu_j)^2 / e^logvar_j) */
void log_normal_forward(double *logq, const real *z, const real *code, size_t B, size_t d) {
    const double log_2_pi = log(2 * acos(-1.0));
    for (size_t r = 0; r < B; r++) {
        logq[r] = 0;
        for (size_t j = 0; j < d; j++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            double away = (double)z[r * d + j] - mu;
            logq[r] -= 0.5 * (log_2_pi + logvar + away * away / exp(logvar));
        }
    }
}

/* With z held where it is, from dlogq (B):
   dmu += dlogq (z - mu) / sigma^2   and   dlogvar += dlogq ((z - mu)^2 / sigma^2 - 1) / 2 */
void log_normal_backward(real *dcode, const double *dlogq, const real *z, const real *code,
                         size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
            real away = z[r * d + j] - mu, per_variance = away / exp(logvar);
            dcode[2 * r * d + j] += (real)dlogq[r] * per_variance;
            dcode[(2 * r + 1) * d + j] += (real)dlogq[r] * (away * per_variance - 1) / 2;
        }
}

/* --- reparameterization ----------------------------------------------------- */
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

/* --- two ways through a draw -------------------------------------------------- */
enum way { SCORE, BASELINE, PATH, WAYS };
const char *const way_name[WAYS] = {"score", "baseline", "path"};

/* dcode (2d) += one draw's estimate of the gradient of E|z - c|^2. z (d) and dz (d) are ours to
   use. The baseline is a number that does not depend on this draw. */
void toy_estimate(enum way way, real *dcode, real *z, real *dz, const real *code, const real *noise,
                  real c, double baseline, size_t d) {
    reparameterize(z, code, noise, 1, d);
    if (way == PATH) {
        memset(dz, 0, d * sizeof *dz);
        distance_backward(dz, z, c, d);
        reparameterize_backward(dcode, dz, code, noise, 1, d);
    } else {
        double dlogq = distance_forward(z, c, d) - (way == BASELINE ? baseline : 0);
        log_normal_backward(dcode, &dlogq, z, code, 1, d);
    }
}

/* --- divergence from a standard normal -------------------------------------- */
/* kl (B) = KL(N(mu, sigma^2) || N(0, 1)) of each row of code (B,2d), in nats:
     -1/2 sum over j of (1 + logvar_j - mu_j^2 - e^logvar_j) */
void normal_kl_forward(double *kl, const real *code, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++) {
        kl[r] = 0;
        for (size_t j = 0; j < d; j++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            kl[r] -= 0.5 * (1 + logvar - mu * mu - exp(logvar));
        }
    }
}

/* dmu += scale mu   and   dlogvar += scale (e^logvar - 1) / 2,   both in dcode (B,2d) */
void normal_kl_backward(real *dcode, const real *code, real scale, size_t B, size_t d) {
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++) {
            real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
            dcode[2 * r * d + j] += scale * mu;
            dcode[(2 * r + 1) * d + j] += scale * (exp(logvar) - 1) / 2;
        }
}

/* --- room for a code with noise ----------------------------------------------- */
/* x (B,n) -> encoder -> code (B,2d) -> z (B,d) -> decoder -> logits (B,n) */
struct coder {
    struct stack encoder, decoder;
    size_t n, d;
    const real *code, *logit; /* (batch,2d), (batch,n) what encoder and decoder said last */
    real *z, *dz;             /* (batch,d) */
    double *bce, *kl, *dlogq; /* (batch) of each example; dlogq is the score function's factor */
};

/* n -> hidden, ReLU -> 2d   and   d -> hidden, ReLU -> n logits */
struct coder coder_new(size_t n, size_t hidden, size_t d, size_t batch) {
    const enum activation f[] = {RELU, IDENTITY};
    struct coder c = {.n = n, .d = d};
    c.encoder = stack_new((size_t[]){n, hidden, 2 * d}, f, 2, batch);
    c.decoder = stack_new((size_t[]){d, hidden, n}, f, 2, batch);
    c.z = allocate(2 * batch * d, sizeof(real));
    c.dz = c.z + batch * d;
    c.bce = allocate(3 * batch, sizeof(double));
    c.kl = c.bce + batch;
    c.dlogq = c.kl + batch;
    return c;
}

/* --- encoder, noise, decoder -------------------------------------------------- */
/* The mean over the batch of cross-entropy plus divergence. The noise (B,d) comes from outside. */
double coder_loss(struct coder *c, const real *x, const real *target, const real *noise, size_t B) {
    c->code = stack_forward(&c->encoder, x, B);
    reparameterize(c->z, c->code, noise, B, c->d);
    normal_kl_forward(c->kl, c->code, B, c->d);
    c->logit = stack_forward(&c->decoder, c->z, B);
    double loss = bce_on_logits_forward(c->bce, c->logit, target, B, c->n);
    for (size_t r = 0; r < B; r++)
        loss += c->kl[r] / (double)B;
    return loss;
}

/* All gradients, left in the two stacks; dx (B,n) may be NULL. The ways differ in one place. */
double coder_gradient(struct coder *c, enum way way, double baseline, real *dx, const real *x,
                      const real *target, const real *noise, size_t B) {
    stack_zero(&c->encoder);
    stack_zero(&c->decoder);
    memset(c->dz, 0, B * c->d * sizeof(real));
    double loss = coder_loss(c, x, target, noise, B);
    real *dcode = c->encoder.dlast;
    bce_on_logits_backward(c->decoder.dlast, c->logit, target, B, c->n);
    stack_backward(&c->decoder, c->dz, c->z, B);
    if (way == PATH)
        reparameterize_backward(dcode, c->dz, c->code, noise, B, c->d);
    else {
        for (size_t r = 0; r < B; r++)
            c->dlogq[r] = (c->bce[r] - (way == BASELINE ? baseline : 0)) / (double)B;
        log_normal_backward(dcode, c->dlogq, c->z, c->code, B, c->d);
    }
    normal_kl_backward(dcode, c->code, 1 / (real)B, B, c->d);
    stack_backward(&c->encoder, dx, x, B);
    return loss;
}

/* === III. Tools, to look up rather than to read ============================= */

/* --- errors (chapter 1) ----------------------------------------------------- */
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

/* --- random numbers (chapter 1) --------------------------------------------- */
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

/* --- reading files (chapter 1) ---------------------------------------------- */
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

/* --- writing files (chapter 1) ---------------------------------------------- */
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

/* --- pictures (chapter 1) --------------------------------------------------- */
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

/* --- options (chapter 1) ---------------------------------------------------- */
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

/* --- progress (chapter 1) --------------------------------------------------- */
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

/* === IV. The program ======================================================== */

#ifndef WORKBOOK_TEST

size_t seed = 1, threads, draws = 10000, epochs = 4, batch = 64, hidden = 64, numbers = 6;
double rate = 5e-4, descent_rate = 5e-4;
struct images train_set, test_set;

/* Every experiment, every point on its axis, and every part of a point draws from a stream of its
   own. So parts can be shared among the cores, and nothing changes when another is left out. */
enum { TOY = 1, DESCENT = 6, TRAINING = 10, TESTING = 11, TEN_DIGITS = 12 };

struct random stream(uint64_t experiment, uint64_t point, uint64_t part) {
    struct random r;
    random_seed(&r, seed * 0x100000001b3u + experiment * 1000000 + point * 1000 + part);
    return r;
}

/* The toy that the text follows: in each of ten coordinates z is from N(mu, 1/2^2) and should be
   near 1. Here mu is 2. */
enum { COORDINATES = 10 };
const real goal = 1;
const double toy_sigma = 0.5;

void toy_code(real *code, real mu) {
    for (size_t j = 0; j < COORDINATES; j++) {
        code[j] = mu;
        code[COORDINATES + j] = (real)(2 * log(toy_sigma));
    }
}

/* What one draw says about the gradient by the first mu, for each way. */
void show_toy(void) {
    real code[2 * COORDINATES], noise[COORDINATES], z[COORDINATES], dz[COORDINATES];
    const double value = COORDINATES * (1 + toy_sigma * toy_sigma); /* E f, as baseline */
    struct random r = stream(TOY, 1, 0);
    struct average estimate[WAYS] = {{0, 0, 0}};
    toy_code(code, 2);
    for (size_t k = 0; k < draws && !interrupted; k++) {
        random_normal(noise, COORDINATES, &r);
        for (int w = 0; w < WAYS; w++) {
            real g[2 * COORDINATES] = {0};
            toy_estimate(w, g, z, dz, code, noise, goal, value, COORDINATES);
            average_add(&estimate[w], (double)g[0]);
        }
    }
    printf("dE/dmu of the toy is 2; what %zu draws say of it, each for itself\n"
           "                     mean   variance\n",
           draws);
    for (int w = 0; w < WAYS; w++)
        printf("  %-8s %8.3f +- %.3f %10.3f\n", way_name[w], average_value(&estimate[w]),
               average_error(&estimate[w]),
               result(average_variance(&estimate[w]), "", "first_variance_%s", way_name[w]));
    printf("\n");
}

/* Plain gradient descent on mu of the toy, sigma fixed, one draw a step. track (steps+1,3) gets,
   before each step, two coordinates of mu and the squared distance from the goal. */
void toy_descend(double *track, enum way way, double size, size_t run, size_t steps) {
    real code[2 * COORDINATES], noise[COORDINATES], z[COORDINATES], dz[COORDINATES];
    struct random r = stream(DESCENT, 0, run);
    toy_code(code, -1); /* two away from the goal, on one side or the other */
    code[0] = 3;
    for (size_t k = 0; k <= steps; k++) {
        real g[2 * COORDINATES] = {0};
        double square = distance_forward(code, goal, COORDINATES);
        memcpy(track + 3 * k, (double[]){(double)code[0], (double)code[1], square},
               3 * sizeof square);
        random_normal(noise, COORDINATES, &r);
        toy_estimate(way, g, z, dz, code, noise, goal, square + COORDINATES * toy_sigma * toy_sigma,
                     COORDINATES);
        for (size_t j = 0; j < COORDINATES; j++)
            code[j] -= (real)size * g[j];
    }
}

enum { RUNS = 20, STEPS = 4000, COLUMNS = 1 + 3 * WAYS };

void show_descent(void) {
    static double track[STEPS + 1][3], row[STEPS + 1][COLUMNS];
    for (int w = 0; w < WAYS; w++)
        for (size_t run = 0; run < RUNS; run++) {
            toy_descend(track[0], w, descent_rate, run, STEPS);
            if (!(track[STEPS][2] < 1e6)) /* also where it is not a number */
                die("the descent by %s has flown away: the steps are too large; try "
                    "--descent-rate %g",
                    way_name[w], descent_rate / 10);
            for (size_t k = 0; k <= STEPS; k++) {
                row[k][3 * w + 1] = run ? row[k][3 * w + 1] : track[k][0];
                row[k][3 * w + 2] = run ? row[k][3 * w + 2] : track[k][1];
                row[k][3 * w + 3] += track[k][2] / RUNS;
            }
        }
    printf("plain descent on mu, %d coordinates, one draw a step, rate %g: distance from the goal\n"
           "    step      score   baseline       path   (root of the mean square of %d runs)\n",
           COORDINATES, descent_rate, RUNS);
    for (size_t k = 0; k <= STEPS; k++) {
        row[k][0] = (double)k;
        for (int w = 0; w < WAYS; w++)
            row[k][3 * w + 3] = sqrt(row[k][3 * w + 3]);
        if (k % 800 == 0)
            printf("  %6zu %10.4f %10.4f %10.4f\n", k, row[k][3], row[k][6], row[k][9]);
    }
    printf("\n");
    for (int w = 0; w < WAYS; w++)
        result(row[STEPS][3 * w + 3], "", "descent_%s", way_name[w]);
    write_table("descent.tsv",
                "step\tscore_1\tscore_2\tscore_mean\tbaseline_1\tbaseline_2\tbaseline_mean\t"
                "path_1\tpath_2\tpath_mean",
                row[0], STEPS + 1, COLUMNS);
}

/* Two networks from one start, on the same batches with the same noise: one learns by the path, the
   other by the score function with a baseline. The gradient of the decoder is the same for both
   ways. What differs is what the encoder is told. */
enum { LEARNERS = 2 };
struct pupil {
    enum way way;
    struct coder net;
    struct adam down, up;        /* of the encoder, of the decoder */
    double baseline, start;      /* recent cross-entropy; the loss before training */
    double bce, kl, square, sum; /* on the test images; square is the squared error */
} learner[LEARNERS] = {{.way = PATH}, {.way = BASELINE}};
real *images, *dice; /* (batch,784), (batch,numbers): the pixels and the noise of a batch */

/* Ends the program when a loss is far above that of the start, or not a number. */
void require_loss(const struct pupil *y, double loss) {
    if (loss <= 100 * y->start) /* false where it is not a number */
        return;
    hide_progress();
    die("trained by the %s, the loss went from %.4g to %.4g: the steps are too large; try --rate "
        "%g",
        y->way == PATH ? "path" : "score function", y->start, fabs(loss), rate / 10);
}

/* Each test image with one draw of noise, the same at every call. */
void test_learner(struct pupil *y) {
    struct coder *c = &y->net;
    struct random r = stream(TESTING, 0, 0);
    double N = (double)test_set.count;
    y->bce = y->kl = y->square = 0;
    for (size_t at = 0; at < test_set.count; at += batch) {
        size_t B = test_set.count - at < batch ? test_set.count - at : batch;
        brightness(images, test_set.pixel + at * PIXELS, B * PIXELS);
        random_normal(dice, B * numbers, &r);
        coder_loss(c, images, images, dice, B);
        for (size_t i = 0; i < B; i++) {
            y->bce += c->bce[i] / N;
            y->kl += c->kl[i] / N;
        }
        for (size_t k = 0; k < B * PIXELS; k++)
            y->square += pow((double)sigmoid(c->logit[k]) - (double)images[k], 2) / N;
    }
    y->sum = y->bce + y->kl;
}

void start_pupil(struct pupil *y) {
    struct random r = stream(TRAINING, 0, 0);
    y->net = coder_new(PIXELS, hidden, numbers, batch);
    struct stack *part[] = {&y->net.encoder, &y->net.decoder};
    for (int i = 0; i < 2; i++) {
        dense_start(&part[i]->layer[0], he_limit(part[i]->layer[0].in, hidden), &r);
        dense_start(&part[i]->layer[1], xavier_limit(hidden, part[i]->layer[1].out), &r);
    }
    y->down = adam_new(y->net.encoder.parameters);
    y->up = adam_new(y->net.decoder.parameters);
    test_learner(y);
    y->start = y->sum;
    y->baseline = y->bce;
}

/* One step on B images: the gradient by the learner's own way, then Adam. */
void learn(struct pupil *y, size_t B) {
    double bce = 0;
    require_loss(y, coder_gradient(&y->net, y->way, y->baseline, NULL, images, images, dice, B));
    for (size_t i = 0; i < B; i++)
        bce += y->net.bce[i] / (double)B;
    y->baseline += (bce - y->baseline) / 10; /* of the batches before, not of this one */
    adam_step(&y->down, y->net.encoder.value, y->net.encoder.grad, rate);
    adam_step(&y->up, y->net.decoder.value, y->net.decoder.grad, rate);
}

void train(void) {
    size_t count = train_set.count, *order = allocate(count, sizeof *order), epoch = 0, steps = 0;
    struct random r = stream(TRAINING, 0, 1);
    double spent = 0;
    images = allocate(batch * PIXELS, sizeof *images);
    dice = allocate(batch * numbers, sizeof *dice);
    printf(
        "digits, %d-%zu-(%zu mu, %zu logvar) and %zu-%zu-%d, Adam with rate %g, batch %zu: test "
        "images\n"
        "                         by the path              by the score function, with baseline\n"
        "                  bce         kl        sum         bce         kl        sum   (nats)\n",
        PIXELS, hidden, numbers, numbers, numbers, hidden, PIXELS, rate, batch);
    for (size_t k = 0; k < LEARNERS; k++)
        start_pupil(&learner[k]);
    for (;; epoch++) {
        hide_progress();
        printf("  epoch %4zu", epoch);
        for (struct pupil *y = learner; y < learner + LEARNERS; y++) {
            test_learner(y);
            require_loss(y, y->sum);
            printf(" %11.2f %10.2f %10.2f", y->bce, y->kl, y->sum);
        }
        printf("\n");
        if (epoch == epochs || interrupted)
            break;
        shuffle(order, count, &r);
        for (size_t at = 0; at < count && !interrupted; at += batch, steps++) {
            double began = seconds();
            size_t B = count - at < batch ? count - at : batch;
            gather(images, &train_set, order + at, B);
            random_normal(dice, B * numbers, &r);
            for (size_t k = 0; k < LEARNERS; k++)
                learn(&learner[k], B);
            spent += seconds() - began;
            show_progress(((double)epoch + (double)at / (double)count) / (double)epochs,
                          "learning");
        }
    }
    if (interrupted)
        printf("  interrupted in epoch %zu, which is therefore incomplete\n", epoch);
    printf("\n");
    for (struct pupil *y = learner; y < learner + LEARNERS; y++) {
        result(y->bce, "nats", "test_bce_%s", way_name[y->way]);
        result(y->kl, "nats", "test_kl_%s", way_name[y->way]);
        result(y->sum, "nats", "test_sum_%s", way_name[y->way]);
    }
    result(learner[0].bce, "nats", "test_bce");
    result(learner[0].square, "", "test_sq");
    if (steps)
        result(spent * (double)count / (double)(batch * steps), "s", "epoch_seconds");
}

/* The first test image of each digit; where there are no labels, the first ten. */
void choose_digits(size_t *which) {
    for (size_t d = 0; d < 10; d++) {
        which[d] = 0;
        for (size_t r = test_set.count; r-- > 0;)
            if (test_set.label ? test_set.label[r] == d : r == d)
                which[d] = r;
    }
}

/* Ten digits, and what each network draws of them when the code is drawn from its cloud. */
void draw_digits(void) {
    static real sheet[LEARNERS + 1][10][PIXELS];
    size_t which[10];
    struct random r = stream(TEN_DIGITS, 100, 0);
    choose_digits(which);
    gather(sheet[0][0], &test_set, which, 10);
    for (size_t i = 0; i < 10; i++) {
        random_normal(dice, numbers, &r);
        for (size_t k = 0; k < LEARNERS; k++) {
            coder_loss(&learner[k].net, sheet[0][i], sheet[0][i], dice, 1);
            sigmoid_forward(sheet[k + 1][i], learner[k].net.logit, 1, PIXELS);
        }
    }
    write_sheet("digits.png", sheet[0][0], LEARNERS + 1, 10, 2);
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not", 't', &data_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--draws", "draws for a variance; some tables take up to 50 times as many", 'n', &draws,
         500, 1e8, NULL},
        {"--epochs", "passes over the training images", 'n', &epochs, 1, 100000, NULL},
        {"--batch", "images a step", 'n', &batch, 1, 60000, NULL},
        {"--rate", "step size of Adam", 'x', &rate, 1e-9, 100, NULL},
        {"--descent-rate", "step size of the plain descent on the toy", 'x', &descent_rate, 1e-9, 1,
         NULL},
        {"--hidden", "units of the hidden layers", 'n', &hidden, 1, 10000, NULL},
        {"--code", "numbers in a code", 'n', &numbers, 1, 64, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        {0}};
    parse_options(argc, argv, table, "a gradient through a draw: score function against path");
    USE_CORES(threads);
    catch_interrupts();
    train_set = read_images(data_dir, "train");
    test_set = read_images(data_dir, "t10k");
    make_out_dir();
    show_toy();
    show_descent();
    train();
    draw_digits();
    write_results();
    return interrupted ? 130 : 0;
}
#endif
