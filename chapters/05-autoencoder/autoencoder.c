/* autoencoder.c: chapter 5 of "Autoencoders by Hand".

   The whole: 784 -> 400 -> 100 -> 6 -> 100 -> 400 -> 784, trained by backpropagation on
   mini-batches with Adam. Any depth, width, code size and activation by option; weights can be
   saved, loaded and opened elsewhere.

   Build it alone:  cc -O3 -march=native -fopenmp autoencoder.c -lpng -lz -lm
   Run it:          ./a.out --data DIR      where DIR has MNIST's four IDX files, gzipped or not

   Contents                                                           line
     I.   Adam and batches, from chapter 2; what can be learned         137
     II.  The network, backpropagation, training: new in this chapter   204
     III. Tools, to look up rather than to read                         580
     IV.  The program                                                  1207

   Letters: B examples in a batch, one a row; in, out the widths of a layer; x (B,784) pixels; s
   (B,out) affine sums, the logits in the last layer; h (B,out) outputs; z (B,code) the code; xhat =
   sigmoid(s) the reconstruction; d (B,out) the derivative of the loss with respect to h, and once a
   layer has been passed on the way back, to s. W is (out,in), W_ji from input i to output j; in
   memory it stands at W[i * out + j]. */
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

#define PROGRAM "autoencoder"
#define CHAPTER "05-autoencoder"

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

/* --- team of cores (chapter 16) ---------------------------------------------- */
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

/* --- product in short (chapter 16) ------------------------------------------- */
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

/* === I. From earlier chapters =================================================== */

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

/* --- adam (chapter 2) -------------------------------------------------------- */
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

/* === II. This chapter: the network, backpropagation, training ==================== */

/* --- activations of a deep network ------------------------------------------------ */
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

/* --- layer ---------------------------------------------------------------------- */
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

/* --- network -------------------------------------------------------------------- */
enum { MAX_LAYERS = 32, MAX_DEPTH = 2 * MAX_LAYERS };

struct network {
    size_t depth, half; /* layers, and those of the encoder */
    size_t code, batch; /* width of the code, room for rows */
    struct layer layer[MAX_DEPTH];
    struct tensor tensor[2 * MAX_DEPTH]; /* named as PyTorch does: encoder.0.weight */
    size_t tensors, parameters;
    real *value, *grad; /* (parameters) all weights and biases, and all their gradients */
    real *dlogits;      /* (batch,784) the last layer's d: here the way back begins */
};

/* The encoder size[0] -> ... -> size[count-1] and the decoder that is its mirror image. For each
   number of the code the encoder says `heads` numbers: one, unless a later chapter wants two. The
   activation f stands between layers; the code and the logits at the end are affine sums as they
   are. All zero, in one block of memory that begins at value. */
struct network network_new(const size_t *size, size_t count, size_t heads, enum activation f,
                           size_t batch) {
    struct network net = {.half = count - 1, .depth = 2 * (count - 1), .batch = batch};
    size_t units = 0, turned = 0;
    net.code = size[net.half];
    for (size_t l = 0; l < net.depth; l++) {
        struct layer *y = &net.layer[l];
        y->in = size[l < net.half ? l : net.depth - l];
        y->out = size[l < net.half ? l + 1 : net.depth - l - 1] * (l + 1 == net.half ? heads : 1);
        y->f = l + 1 == net.half || l + 1 == net.depth ? IDENTITY : f;
        net.parameters += y->in * y->out + y->out;
        units += y->out;
        turned += l ? y->in * y->out : 0;
    }
    size_t room = (net.parameters + 15) / 16 * 16; /* what follows begins where a vector may */
    real *block = allocate(2 * room + 3 * batch * units + turned, sizeof(real));
    real *value = net.value = take(&block, room), *grad = net.grad = take(&block, room);
    for (size_t l = 0; l < net.depth; l++) {
        struct layer *y = &net.layer[l];
        y->W = take(&value, y->in * y->out);
        y->b = take(&value, y->out);
        y->dW = take(&grad, y->in * y->out);
        y->db = take(&grad, y->out);
        y->h = take(&block, batch * y->out);
        y->slope = take(&block, batch * y->out);
        net.dlogits = y->d = take(&block, batch * y->out);
        struct tensor *W = &net.tensor[net.tensors++], *b = &net.tensor[net.tensors++];
        *W = (struct tensor){"", y->out, y->in, y->W, y->dW};
        *b = (struct tensor){"", y->out, 1, y->b, y->db};
        const char *part = l < net.half ? "encoder" : "decoder";
        int number = 2 * (int)(l < net.half ? l : l - net.half); /* activations are counted, too */
        snprintf(W->name, sizeof W->name, "%s.%d.weight", part, number);
        snprintf(b->name, sizeof b->name, "%s.%d.bias", part, number);
    }
    for (size_t l = 1; l < net.depth; l++)
        net.layer[l].Wt = take(&block, net.layer[l].in * net.layer[l].out);
    return net;
}

/* He's start: weights uniform with variance 2/in where a bend follows, 1/in where none does; biases
   zero. */
void network_start(struct network *net, struct random *r) {
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        double a = sqrt((y->f == IDENTITY ? 3.0 : 6.0) / (double)y->in);
        for (size_t k = 0; k < y->in * y->out; k++)
            y->W[k] = (real)random_uniform(r, -a, a);
        memset(y->b, 0, y->out * sizeof(real));
    }
}

/* What one core works on: the same network, for the rows of the batch from `first` on. Its
   parameters and gradients are those of the whole. */
struct network network_view(const struct network *net, size_t first) {
    struct network view = *net;
    for (size_t l = 0; l < net->depth; l++)
        view.layer[l] = layer_view(&net->layer[l], first);
    view.dlogits = view.layer[net->depth - 1].d;
    return view;
}

/* --- backpropagation ------------------------------------------------------------ */
/* x (rows,in) through layers `from` up to, not including, `to`. Returns the last h (rows,out). */
const real *network_forward(struct network *net, const real *x, size_t from, size_t to,
                            size_t rows) {
    for (size_t l = from; l < to; l++) {
        layer_forward(&net->layer[l], x, rows);
        x = net->layer[l].h;
    }
    return x;
}

/* The one place where gradients are set to zero: this core's share of those of the parameters, and
   every d of these rows. */
void network_zero(struct network *net, size_t rows) {
    size_t from = share(net->parameters, WIDTH, core());
    size_t to = share(net->parameters, WIDTH, core() + 1);
    memset(net->grad + from, 0, (to - from) * sizeof(real));
    for (size_t l = 0; l < net->depth; l++)
        memset(net->layer[l].d, 0, rows * net->layer[l].out * sizeof(real));
}

/* The way back, its first half: from the d of layer to-1 down to that of layer `from`, and where dx
   (rows,in) is not NULL, to what came into it. */
void network_backward_inputs(struct network *net, real *dx, size_t from, size_t to, size_t rows) {
    for (size_t l = to; l-- > from;)
        layer_backward_input(&net->layer[l], l > from ? net->layer[l - 1].d : dx, rows);
}

/* Its second half, of the whole network: from the d of all B rows, this core's share of the
   gradient of every parameter of these layers; x (B,in) is what came into the first of them. */
void network_backward_weights(struct network *net, const real *x, size_t from, size_t to,
                              size_t B) {
    for (size_t l = to; l-- > from;)
        layer_backward_weights(&net->layer[l], l > from ? net->layer[l - 1].h : x, B);
}

/* This core's share of every Wt: when the parameters have changed, the transposed ones
   must, too. */
void network_transpose(struct network *net) {
    for (size_t l = 1; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        size_t first = share(y->in, SQUARE, core()), last = share(y->in, SQUARE, core() + 1);
        transpose(y->Wt, y->W, y->in, y->out, first, last);
    }
}

/* --- loss of an image ----------------------------------------------------------- */
enum loss { BCE, SQUARED };

struct losses {
    double bce, squared; /* nats, and squared error; both summed over the pixels of an image */
};

/* The sum of 784 numbers, or their product; they are used up. The upper half is taken into the
   lower, again and again, a vector at a time: 784, 392, 196, 98, 49. The rest is done in double. */
double fold(real *a, int product) {
    double all = product;
    for (size_t half = PIXELS / 2; half >= PIXELS / 16; half /= 2)
        for (size_t i = 0; i < half; i++)
            a[i] = product ? a[i] * a[half + i] : a[i] + a[half + i];
    for (size_t i = 0; i < PIXELS / 16; i++)
        all = product ? all * (double)a[i] : all + (double)a[i];
    return all;
}

/* Both losses of logits s (rows,784) against x (rows,784), into example (rows). Where d (rows,784)
   is not NULL, it gets the gradient of the chosen one's mean over the B rows of the whole batch:
     BCE      d += (xhat - x) / B
     SQUARED  d += 2 (xhat - x) xhat (1 - xhat) / B

   The cross-entropy of a pixel is max(s,0) - s x + log(1 + e^-|s|). The logarithms we take all at
   once: their sum is the logarithm of the product, and 784 factors between 1 and 2 stay below
   2^784, which a double can hold. */
void losses_of_images(struct losses *example, real *d, const real *s, const real *x, size_t B,
                      enum loss kind, size_t rows) {
    const real scale = 1 / (real)B;
    for (size_t r = 0; r < rows; r++) {
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
        for (size_t i = 0; d && i < PIXELS; i++)
            d[at + i] += scale * slope[i];
        example[r].bce = fold(linear, 0) + log(fold(factor, 1));
        example[r].squared = fold(square, 0);
    }
}

/* --- learning rate -------------------------------------------------------------- */
/* Full at first, then falling along half a cosine to zero: large steps find the valley, small ones
   its floor. done runs from 0 to 1. */
double cosine_rate(double rate, double done) {
    return rate * 0.5 * (1 + cos(acos(-1.0) * done));
}

/* --- update --------------------------------------------------------------------- */
/* This core's share of a step of Adam, with decay of the weights; when all have done theirs, of the
   transposed copies. The caller counts the step, once for all cores. */
void network_update(struct network *net, const struct adam *a, double rate, double decay) {
    size_t from = share(net->parameters, WIDTH, core());
    size_t to = share(net->parameters, WIDTH, core() + 1);
    struct adam mine = {a->m + from, a->v + from, to - from, a->steps};
    for (size_t k = from; decay > 0 && k < to; k++)
        net->value[k] *= (real)(1 - rate * decay);
    adam_step(&mine, net->value + from, net->grad + from, rate);
    meet();
    network_transpose(net);
}

/* --- training ------------------------------------------------------------------- */
/* Everything that one step of training needs, allocated once. */
struct trainer {
    struct network *net;
    struct adam adam;
    real *x;                /* (batch,784) the images of the batch */
    struct losses *example; /* (batch) */
    enum loss loss;
    double decay; /* every parameter shrinks by rate * decay of itself in a step */
};

struct trainer trainer_new(struct network *net, enum loss loss, double decay) {
    return (struct trainer){.net = net,
                            .adam = adam_new(net->parameters),
                            .x = allocate(net->batch * PIXELS, sizeof(real)),
                            .example = allocate(net->batch, sizeof(struct losses)),
                            .loss = loss,
                            .decay = decay};
}

/* One step on the B images whose numbers stand in which (B). Each core takes some of the images all
   the way: forward, loss, and backward to every d. Then the cores wait for each other, because the
   gradient of a weight is a sum over all images. After that each takes some of the parameters:
   gradient, Adam, and at last the transposed copies. Returns the sums of the losses. */
struct losses train_step(struct trainer *t, const struct images *images, const size_t *which,
                         size_t B, double rate) {
    TEAM {
        size_t first = share(B, TILE_ROWS, core()), rows = share(B, TILE_ROWS, core() + 1) - first;
        struct network mine = network_view(t->net, first);
        real *x = t->x + first * PIXELS;
        gather(x, images, which + first, rows);
        network_zero(&mine, rows);
        const real *logits = network_forward(&mine, x, 0, mine.depth, rows);
        losses_of_images(t->example + first, mine.dlogits, logits, x, B, t->loss, rows);
        network_backward_inputs(&mine, NULL, 0, mine.depth, rows);
        meet();
        network_backward_weights(t->net, t->x, 0, mine.depth, B);
        meet();
        network_update(t->net, &t->adam, rate, t->decay);
    }
    t->adam.steps++;
    struct losses sum = {0, 0};
    for (size_t r = 0; r < B; r++) {
        sum.bce += t->example[r].bce;
        sum.squared += t->example[r].squared;
    }
    return sum;
}

/* The mean losses over the first `count` images. Where they are not NULL, code (count,code) and
   xhat (count,784) keep what the network makes of each. */
struct losses evaluate(struct trainer *t, const struct images *images, size_t count, real *code,
                       real *xhat) {
    struct losses sum = {0, 0};
    size_t n = t->net->code, half = t->net->half;
    for (size_t start = 0; start < count; start += t->net->batch) {
        size_t B = least(t->net->batch, count - start);
        TEAM {
            size_t first = share(B, TILE_ROWS, core()), at = start + first;
            size_t rows = share(B, TILE_ROWS, core() + 1) - first;
            struct network mine = network_view(t->net, first);
            real *x = t->x + first * PIXELS;
            brightness(x, images->pixel + at * PIXELS, rows * PIXELS);
            const real *z = network_forward(&mine, x, 0, half, rows);
            const real *logits = network_forward(&mine, z, half, mine.depth, rows);
            losses_of_images(t->example + first, NULL, logits, x, B, BCE, rows);
            if (code)
                memcpy(code + at * n, z, rows * n * sizeof *z);
            for (size_t i = 0; xhat && i < rows * PIXELS; i++)
                xhat[at * PIXELS + i] = logistic(logits[i]);
        }
        for (size_t r = 0; r < B; r++) {
            sum.bce += t->example[r].bce / (double)count;
            sum.squared += t->example[r].squared / (double)count;
        }
    }
    return sum;
}

/* === III. Tools ================================================================ */

/* --- matrix product (chapter 16) --------------------------------------------- */
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

/* --- transposing (chapter 16) ------------------------------------------------ */
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

/* --- exponential (chapter 16) ------------------------------------------------ */
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

/* --- layer sizes (chapter 1) ------------------------------------------------- */
/* Reads widths between commas, such as 784,100,6, of which the first must be 784. Returns how many
   there are: 2 to MAX_LAYERS + 1. */
size_t parse_layers(size_t *size, const char *text) {
    size_t n = 0;
    double value = 0;
    for (const char *p = text; p; p = *p ? p + 1 : NULL) {
        p = n <= MAX_LAYERS ? parse_number(&value, p, 1, 100000, 1) : NULL;
        if (!p || (*p && *p != ',') || (n == 0 && value != PIXELS) || (n == 0 && !*p))
            bad_option("--layers %s: wants 784 and up to 32 more widths, such as 784,100,6", text);
        size[n++] = (size_t)value;
    }
    return n;
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

/* --- weights in a file ---------------------------------------------------------- */
/* The safetensors format: eight bytes with the length of a header, the header, the numbers. The
   header is JSON: for each tensor its type, its shape and the place of its bytes. This writes it up
   to that place; a weight has the shape (out,in), as in PyTorch. */
void describe_tensor(char *text, size_t size, const struct tensor *t) {
    int n = snprintf(text, size, "\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu", t->name, t->rows);
    if (strstr(t->name, "weight"))
        n += snprintf(text + n, size - (size_t)n, ",%zu", t->cols);
    snprintf(text + n, size - (size_t)n, "],\"data_offsets\":[");
}

/* Ends the program unless a file can be written at this path: better now than after the training.
   What is there and is no file, such as a folder or /dev/null, stays what it is. */
void check_place(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        die("%s: is not a file; name one with --save", path);
    fclose(create("%s", path));
    remove(unfinished);
    unfinished[0] = 0;
}

void save_weights(const struct network *net, const char *path) {
    char *header, text[128];
    size_t length, offset = 0;
    FILE *json = open_memstream(&header, &length);
    if (!json)
        die("%s: not enough memory to save", path);
    fprintf(json, "{\"__metadata__\":{\"activation\":\"%s\"}", activation_name[net->layer[0].f]);
    for (size_t i = 0; i < net->tensors; i++) {
        size_t bytes = net->tensor[i].rows * net->tensor[i].cols * sizeof(float);
        describe_tensor(text, sizeof text, &net->tensor[i]);
        fprintf(json, ",%s%zu,%zu]}", text, offset, offset + bytes);
        offset += bytes;
    }
    fputc('}', json);
    while ((ftell(json) + 8) % 8) /* the numbers begin at a multiple of eight */
        fputc(' ', json);
    if (fclose(json) != 0)
        die("%s: not enough memory to save", path);
    FILE *file = create("%s", path);
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)length >> 8 * i & 255), file);
    fwrite(header, 1, length, file);
    for (size_t i = 0; i < net->tensors; i++) {
        const struct tensor *t = &net->tensor[i];
        for (size_t k = 0; k < t->rows * t->cols; k++) {
            union {
                float value;
                uint32_t bits;
            } f = {(float)t->value[k % t->cols * t->rows + k / t->cols]};
            for (int byte = 0; byte < 4; byte++)
                fputc((int)(f.bits >> 8 * byte & 255), file);
        }
    }
    finish(file);
    free(header);
}

/* --- weights from a file -------------------------------------------------------- */
/* Fills one tensor from the data (size bytes), from the place that the header names. */
void load_tensor(const struct tensor *t, const char *header, const unsigned char *data, size_t size,
                 const char *path) {
    char text[128], *end;
    size_t n = t->rows * t->cols;
    describe_tensor(text, sizeof text, t);
    const char *found = strstr(header, text);
    if (!found)
        die("%s: has no %.*s; give the --layers it was saved with", path,
            (int)(strlen(text) - strlen(",\"data_offsets\":[")), text);
    size_t at = strtoull(found + strlen(text), &end, 10);
    if (at > size || size - at < n * sizeof(float))
        die("%s: is cut short: %s does not fit in its %zu bytes of data", path, t->name, size);
    if (*end != ',' || strtoull(end + 1, NULL, 10) != at + n * sizeof(float))
        die("%s: the place of %s does not fit its shape", path, t->name);
    for (size_t k = 0; k < n; k++) {
        const unsigned char *byte = data + at + 4 * k;
        union {
            uint32_t bits;
            float value;
        } f = {byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 |
               (uint32_t)byte[3] << 24};
        if (!isfinite(f.value))
            die("%s: %s holds a number that is not finite; the run that saved it had diverged",
                path, t->name);
        t->value[k % t->cols * t->rows + k / t->cols] = f.value;
    }
}

/* Fills the network from a file that save_weights or PyTorch wrote: each tensor must be described
   as we would describe it, wherever its numbers lie. Whatever does not match ends the program. */
void load_weights(struct network *net, const char *path) {
    enum { HEADER = 1 << 16 }; /* more than any header of ours, or with a word from PyTorch */
    size_t size, length = 0, data = net->parameters * sizeof(float);
    unsigned char *bytes = read_file(&size, path, data + HEADER);
    for (int i = 7; size >= 8 && i >= 0; i--)
        length = length << 8 | bytes[i];
    if (size < 8 || length > size - 8 || bytes[8] != '{')
        die("%s: is not a safetensors file, or it is cut short", path);
    /* Moved by one byte, so that there is room for the 0 that ends a string. */
    char *header = memmove(bytes + 7, bytes + 8, length);
    header[length] = 0;
    const char *key = "\"activation\":\"", *f = strstr(header, key);
    int letters = f ? (int)strspn(f += strlen(key), "abcdefghijklmnopqrstuvwxyz") : 0;
    const char *ours = activation_name[net->layer[0].f];
    if (f && (strncmp(f, ours, strlen(ours)) != 0 || letters != (int)strlen(ours)))
        die("%s: was trained with %.*s between the layers; give --activation %.*s", path, letters,
            f, letters, f);
    for (size_t i = 0; i < net->tensors; i++)
        load_tensor(&net->tensor[i], header, bytes + 8 + length, size - 8 - length, path);
    if (size - 8 - length != data)
        die("%s: holds more than this network; give the --layers it was saved with", path);
    free(bytes);
}

/* === IV. The program =========================================================== */
#ifndef WORKBOOK_TEST

size_t seed = 1, threads, epochs = 25, batch = 64, code_width, used = 1000000, tests = 1000000;
double rate = 0.002, decay, turn = 1;
int inside = RELU, loss_kind = BCE, schedule; /* which of the words below */
const char *layers = "784,400,100,6", *save_path = "", *load_path = "";
const char *const loss_name[] = {"bce", "squared", NULL};
const char *const schedule_name[] = {"cosine", "constant", NULL};

struct images train_set, test_set;
struct network net;
struct trainer trainer;
real *code, *sheet;   /* (tests,code) of the test images; (30,784) room for three rows of ten */
struct random stream; /* the weights at the start, and the order of the images */

/* measure.c has options of its own, looks at them before the training, and may draw other images
   before each epoch. */
#ifndef MEASURE_OPTIONS
#define MEASURE_OPTIONS
#define MEASURE_START
#define MEASURE_EPOCH
#endif

void print_network(void) {
    for (size_t l = 0; l <= net.depth; l++)
        printf("%s%zu", l ? " -> " : "", l ? net.layer[l - 1].out : net.layer[0].in);
    printf(", %s inside, %.0f parameters\n", activation_name[inside],
           result((double)net.parameters, "parameters", "parameters"));
    printf("%zu training images, %zu test images, batches of %zu\n", used, tests, batch);
}

/* Trains, prints a line an epoch and writes losses.tsv. The time of an epoch is without the
   measuring on test images that stands between two. */
void train(void) {
    enum { COLUMNS = 6 };
    size_t *order = allocate(used, sizeof *order), steps = (used + batch - 1) / batch, epoch = 0;
    double *row = allocate(epochs * COLUMNS, sizeof *row), spent = 0;
    printf("  epoch   bce: train    test   squared error: train    test   seconds\n");
    while (epoch < epochs && !interrupted) {
        MEASURE_EPOCH
        if ((double)epoch >= turn * (double)epochs)
            trainer.loss = SQUARED;
        shuffle(order, used, &stream);
        struct losses sum = {0, 0};
        double start = seconds(), seen = 0;
        for (size_t k = 0; k < steps && !interrupted; k++) {
            double done = (double)(epoch * steps + k) / (double)(epochs * steps);
            size_t B = least(batch, used - k * batch);
            double now = schedule == 0 ? cosine_rate(rate, done) : rate;
            struct losses some = train_step(&trainer, &train_set, order + k * batch, B, now);
            sum.bce += some.bce;
            sum.squared += some.squared;
            seen += (double)B;
            show_progress(done, "training");
        }
        double took = seconds() - start;
        hide_progress();
        if (seen == 0) /* Ctrl-C between two epochs */
            break;
        struct losses test = evaluate(&trainer, &test_set, tests, NULL, NULL);
        /* A network that knows nothing guesses gray, log 2 a pixel. Ten times that is no learning.
           The comparison is false for a NaN. */
        double hopeless = 10 * PIXELS * log(2.0);
        if (!(sum.bce / seen < hopeless && test.bce < hopeless))
            die("the loss has grown beyond all bounds in epoch %zu: the steps are too large; try a "
                "smaller --rate than %g",
                epoch + 1, rate);
        double *p = row + COLUMNS * epoch;
        memcpy(p,
               (double[]){(double)epoch + 1, sum.bce / seen, test.bce, sum.squared / seen,
                          test.squared, took},
               COLUMNS * sizeof *p);
        printf("  %5.0f %12.2f %7.2f %22.2f %7.2f %9.2f%s\n", p[0], p[1], p[2], p[3], p[4], p[5],
               interrupted ? "  (stopped)" : "");
        spent += took;
        epoch++;
    }
    write_table("losses.tsv", "epoch\ttrain_bce\ttest_bce\ttrain_sq\ttest_sq\tseconds", row, epoch,
                COLUMNS);
    free(order);
    free(row);
    result(epoch ? spent / (double)epoch : 0, "seconds", "epoch_seconds");
}

/* codes.tsv: label and code of each of up to 2,000 test images. */
void write_codes(void) {
    size_t d = net.code, rows = least(tests, 2000);
    double *row = allocate(rows * (d + 1), sizeof *row);
    char *names = allocate(16 * (d + 1), 1), *end = names + sprintf(names, "label");
    for (size_t j = 0; j < d; j++)
        end += sprintf(end, "\tz%zu", j + 1);
    for (size_t r = 0; r < rows; r++) {
        row[r * (d + 1)] = test_set.label ? test_set.label[r] : 0;
        for (size_t j = 0; j < d; j++)
            row[r * (d + 1) + j + 1] = (double)code[r * d + j];
    }
    write_table("codes.tsv", names, row, rows, d + 1);
    free(row);
    free(names);
}

/* What the network has learned, on the test images. sheet: in its first row ten of them, one of
   each class where there are labels, and in its second what the network makes of them. */
void report(void) {
    code = allocate(tests * net.code, sizeof *code);
    sheet = allocate(3 * 10 * PIXELS, sizeof *sheet);
    real *xhat = allocate(tests * PIXELS, sizeof *xhat);
    struct losses test = evaluate(&trainer, &test_set, tests, code, xhat);
    printf("\non %zu test images, per image      squared error    bce (nats)\n", tests);
    printf("  autoencoder, %2zu numbers         %10.2f    %10.2f\n", net.code,
           result(test.squared, "", "test_sq"), result(test.bce, "nats", "test_bce"));
    write_codes();
    for (size_t k = 0; k < 10 && k < tests; k++) {
        size_t r = 0;
        while (test_set.label && r < tests && test_set.label[r] != k)
            r++;
        r = test_set.label && r < tests ? r : k;
        brightness(sheet + k * PIXELS, test_set.pixel + r * PIXELS, PIXELS);
        memcpy(sheet + (10 + k) * PIXELS, xhat + r * PIXELS, PIXELS * sizeof *sheet);
    }
    write_sheet("reconstructions.png", sheet, 2, 10, 3);
    free(xhat);
}

int main(int argc, char **argv) {
    const struct option table[] = {
        {"--data", "folder of IDX files, gzipped or not; drawn curves are in build/curves", 't',
         &data_dir, 0, 0, NULL},
        {"--out", "folder for results and pictures", 't', &out_dir, 0, 0, NULL},
        {"--layers", "widths of the encoder, from the pixels to the code", 't', &layers, 0, 0,
         NULL},
        {"--code", "width of the code; 0: as --layers says", 'n', &code_width, 0, 784, NULL},
        {"--activation", "between layers", 'w', &inside, 0, 0, activation_name},
        {"--loss", "what is trained", 'w', &loss_kind, 0, 0, loss_name},
        {"--epochs", "times through the training images; 0: none", 'n', &epochs, 0, 1e6, NULL},
        {"--batch", "images in a step", 'n', &batch, 1, 100000, NULL},
        {"--rate", "learning rate at the start", 'x', &rate, 1e-9, 1e9, NULL},
        {"--schedule", "of the learning rate: to zero, or", 'w', &schedule, 0, 0, schedule_name},
        {"--decay", "weight decay: what a parameter loses of itself, in units of the rate", 'x',
         &decay, 0, 100, NULL},
        {"--turn", "from this part of the epochs on, train squared error", 'x', &turn, 0, 1, NULL},
        {"--images", "how many training images to use", 'n', &used, 1, 1e9, NULL},
        {"--tests", "how many test images to use", 'n', &tests, 1, 1e9, NULL},
        {"--save", "write the trained weights here (safetensors)", 't', &save_path, 0, 0, NULL},
        {"--load", "begin with the weights in this file", 't', &load_path, 0, 0, NULL},
        {"--seed", "start of the random numbers", 'n', &seed, 0, 1e15, NULL},
        {"--threads", "cores to use; 0: all", 'n', &threads, 0, 1024, NULL},
        MEASURE_OPTIONS{0}};
    parse_options(argc, argv, table, "trains the whole autoencoder and looks at what it learned");
    size_t size[MAX_LAYERS + 1], count = parse_layers(size, layers);
    if (code_width)
        size[count - 1] = code_width;
    USE_CORES(threads);
    catch_interrupts();
    train_set = read_images(data_dir, "train");
    test_set = read_images(data_dir, "t10k");
    MEASURE_START
    used = least(train_set.count, used);
    tests = least(test_set.count, tests);
    batch = least(batch, used);
    make_out_dir();
    net = network_new(size, count, 1, (enum activation)inside, batch);
    trainer = trainer_new(&net, (enum loss)loss_kind, decay);
    random_seed(&stream, seed);
    network_start(&net, &stream);
    if (*load_path)
        load_weights(&net, load_path);
    if (*save_path)
        check_place(save_path);
    network_transpose(&net);

    print_network();
    if (epochs)
        train();
    if (*save_path) {
        save_weights(&net, save_path);
        printf("weights saved in %s\n", save_path);
    }
    report();
    write_results();
    return interrupted ? 130 : 0;
}
#endif
