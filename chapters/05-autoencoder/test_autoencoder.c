/* test_autoencoder.c: every gradient of chapter 5 against finite differences, in double: for each
   activation and both losses, and every one of the 710,190 parameters of the full-size network;
   then the parts one by one; and the exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured.

   It has much to calculate, so it is built like the program. Where QUICK stands in the environment
   the longest parts are left out; mutants and valgrind are content with the rest. */
#define WORKBOOK_TEST
#define REAL double
#include "autoencoder.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"

enum { B = 3, DEPTH_MOST = 8 };

void fill(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

/* The activation's slope at each of n sums, measured rather than taken from the program. */
void measure_slopes(double *slope, const real *s, enum activation f, size_t n) {
    for (size_t i = 0; i < n; i++) {
        real t[2] = {s[i] + 1e-6, s[i] - 1e-6}, h[2];
        activation_forward(h, t, f, 2);
        slope[i] = (h[0] - h[1]) / (t[0] - t[1]);
    }
}

/* --- the check of a network ------------------------------------------------------ */
/* A network with a batch, and a loss: of its images, or where `images` is 0 an invented one, the
   sum of all logits, each times a weight c of its own. */
struct whole {
    struct network net;
    struct trainer trainer;
    struct images images;
    size_t order[B];
    real *x, *c;               /* (B,in), (B,out) */
    double *slope[DEPTH_MOST]; /* (B,out) of each layer, for the diagnosis */
    real *before[2];           /* W of the last layer at the start, and before the last step */
    double *guess[64];         /* what foreseen mistakes would give, to be freed */
    size_t guesses;
    struct losses example[B];
};

/* The loss from layer `from` on; below it nothing is evaluated, because nothing has changed. */
double loss_from(struct whole *w, double *example, size_t from) {
    struct network *net = &w->net;
    const real *below = from ? net->layer[from - 1].h : w->x;
    const real *logits = network_forward(net, below, from, net->depth, 0, B);
    size_t out = net->layer[net->depth - 1].out;
    double loss = 0;
    if (w->images.count)
        losses_of_images(w->example, NULL, logits, w->x, B, BCE, 0, B);
    for (size_t r = 0; r < B; r++) {
        if (w->images.count)
            example[r] = (w->trainer.loss == BCE ? w->example[r].bce : w->example[r].squared) / B;
        else {
            example[r] = 0;
            for (size_t j = 0; j < out; j++)
                example[r] += w->c[r * out + j] * logits[r * out + j];
        }
        loss += example[r];
    }
    return loss;
}

/* The loss from the sums of layer l on. */
double loss_from_sums(struct whole *w, double *example, size_t l) {
    struct layer *y = &w->net.layer[l];
    activation_forward(y->h, y->s, y->f, B * y->out);
    return loss_from(w, example, l + 1);
}

/* The checker wants a function for each place to begin. */
#define FROM(l)                                                                                    \
    double from_##l(void *w, double *example) {                                                    \
        return loss_from(w, example, l);                                                           \
    }                                                                                              \
    double from_sums_##l(void *w, double *example) {                                               \
        return loss_from_sums(w, example, l);                                                      \
    }
FROM(0)
FROM(1)
FROM(2)
FROM(3)
FROM(4)
FROM(5)
double (*const from_layer[])(void *, double *) = {from_0, from_1, from_2, from_3, from_4, from_5};
double (*const from_sums[])(void *, double *) = {from_sums_0, from_sums_1, from_sums_2,
                                                 from_sums_3, from_sums_4, from_sums_5};

/* All gradients. Those of a loss of images come from a step of training itself, at rate zero. */
void whole_backward(void *context) {
    struct whole *w = context;
    struct network *net = &w->net;
    if (w->images.count) {
        train_step(&w->trainer, &w->images, w->order, B, 0);
        return;
    }
    double example[B];
    network_transpose(net);
    network_zero(net, 0, B);
    loss_from(w, example, 0);
    struct layer *last = &net->layer[net->depth - 1];
    for (size_t k = 0; k < B * last->out; k++)
        last->ds[k] += w->c[k];
    network_backward_inputs(net, NULL, 0, net->depth, 0, B);
    network_backward_weights(net, w->x, 0, net->depth, B);
}

/* --- end of the check of a network ------------------------------------------------ */

/* Sets the biases so that each ReLU is off for one image and on for the two others. Any two units
   are then on together for at least one image, so no weight between them goes untested. A unit of
   each layer is put close to its corner, by `corner`, unless that is 0: a check that never meets a
   corner says nothing about corners. */
void off_for_one(struct whole *w, double corner) {
    struct network *net = &w->net;
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        const real *below = l ? y[-1].h : w->x;
        layer_forward(y, below, 0, B);
        for (size_t j = 0; j < y->out && y->f != IDENTITY; j++) {
            double lowest = INFINITY, second = INFINITY;
            for (size_t r = 0; r < B; r++) {
                double s = y->s[r * y->out + j];
                second = fmin(second, fmax(s, lowest));
                lowest = fmin(s, lowest);
            }
            y->b[j] -= corner > 0 && j == 3 ? lowest + corner : (lowest + second) / 2;
        }
        layer_forward(y, below, 0, B);
    }
}

/* With pictures of dense noise: the gradient of a black pixel's weights would be zero. */
struct whole whole_new(const size_t *size, size_t count, enum activation f, int images,
                       enum loss loss, struct random *r) {
    struct whole w = {.net = network_new(size, count, 1, f, B)};
    struct network *net = &w.net;
    w.x = numbers(B * size[0]);
    w.c = numbers(B * size[0]);
    w.trainer = (struct trainer){.adam = adam_new(net->parameters),
                                 .x = w.x,
                                 .example = allocate(B, sizeof(struct losses)),
                                 .loss = loss};
    fill(w.x, B * size[0], 0, 1, r);
    fill(w.c, B * size[0], -1, 1, r);
    if (images) {
        w.images.count = B;
        w.images.pixel = allocate(B, PIXELS);
        for (size_t k = 0; k < B * PIXELS; k++)
            w.images.pixel[k] = (unsigned char)random_uniform(r, 1, 256);
    }
    for (size_t k = 0; k < B; k++)
        w.order[k] = k;
    network_start(net, r);
    fill(net->layer[net->depth - 1].b, net->layer[net->depth - 1].out, -0.5, 0.5, r);
    if (images)
        brightness(w.x, w.images.pixel, B * PIXELS);
    off_for_one(&w, 0);
    network_transpose(net);
    return w;
}

void whole_free(struct whole *w) {
    for (size_t l = 0; l < w->net.depth && l < DEPTH_MOST; l++)
        free(w->slope[l]);
    network_free(&w->net);
    adam_free(&w->trainer.adam);
    free(w->trainer.example);
    free_images(&w->images);
    free(w->x);
    free(w->c);
    free(w->before[0]);
    free(w->before[1]);
    for (size_t k = 0; k < w->guesses; k++)
        free(w->guess[k]);
}

/* Foresees a mistake in a tensor: n numbers to be filled in, factors or a whole gradient. */
double *foresee(struct whole *w, struct gc_tensor *t, const char *says, int factors) {
    double *guess = w->guess[w->guesses++] = allocate(t->rows * t->cols, sizeof *guess);
    assert_true(w->guesses < sizeof w->guess / sizeof *w->guess);
    gc_foresee(t, says, factors ? guess : NULL, factors ? NULL : guess);
    return guess;
}

/* In ds = dh f'(s): wrong slopes, over the right one. */
void foresee_slopes(struct whole *w, struct gc_tensor *t, size_t l) {
    static const char *const says[ACTIVATIONS][2] = {
        [ELU] = {"Below zero the slope is e^s = 1 + h: the 1 is missing.",
                 "Below zero the slope is e^s = 1 + h; here stands s where h is meant."},
        [SILU] = {"A product has two slopes: of s q the second, s q (1-q), is missing.",
                  "This is the slope of the sigmoid; that of SiLU, s q, has two terms."},
        [TANH] = {"The slope of tanh is 1 - h^2: h is not squared.",
                  "The slope of tanh is 1 - h^2; here stands s where h is meant."},
        [SIGMOID] = {"The slope of the sigmoid is h (1-h): the factor h is missing.",
                     "The slope of the sigmoid is h (1-h); here stands s where h is meant."}};
    const struct layer *y = &w->net.layer[l];
    double *as_it_came = foresee(w, t,
                                 "The activation's derivative is missing: ds is dh as it came, and "
                                 "where f'(s) = 0 nothing may pass.",
                                 0);
    double *twice = foresee(w, t, "The activation's derivative is there twice.", 1);
    memcpy(as_it_came, y->dh, B * y->out * sizeof *as_it_came);
    memcpy(twice, w->slope[l], B * y->out * sizeof *twice);
    for (size_t k = 0; k < 2 && says[y->f][k]; k++) {
        double *factor = foresee(w, t, says[y->f][k], 1);
        for (size_t i = 0; i < B * y->out; i++) {
            double at = y->s[i], q = 1 / (1 + exp(-at)), h = tanh(at);
            double wrong = y->f == ELU    ? (at > 0 ? 1
                                             : k    ? 1 + at
                                                    : exp(at) - 1)
                           : y->f == SILU ? (k ? q * (1 - q) : q)
                           : y->f == TANH ? (k ? 1 - at * at : 1 - h)
                                          : (k ? at * (1 - at) : 1 - q);
            factor[i] = wrong / w->slope[l][i];
        }
    }
}

/* In dW += x' ds and dx += ds W': the wrong x, the wrong ds, W as it is. */
void foresee_products(struct whole *w, struct gc_tensor *W, size_t l) {
    const struct layer *y = &w->net.layer[l], *below = y - 1;
    if (l == 0 || below->f == IDENTITY)
        return;
    double *sums = foresee(w, W, "The layer got h from below; here stands s, of before f.", 0);
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < y->in; i++)
            for (size_t j = 0; j < y->out; j++)
                sums[i * y->out + j] += below->s[r * y->in + i] * y->ds[r * y->out + j];
}

void foresee_way_down(struct whole *w, struct gc_tensor *h, size_t l) {
    const struct layer *y = &w->net.layer[l + 1];
    double *late = y->f == IDENTITY
                       ? NULL
                       : foresee(w, h,
                                 "dh stands where ds is meant: what goes on down must have "
                                 "passed f'(s).",
                                 0);
    double *as_it_is = foresee(w, h, "W stands where its transpose is meant.", 0);
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < y->in; i++)
            for (size_t j = 0; j < y->out; j++) {
                size_t at = r * y->in + i;
                as_it_is[at] += y->ds[r * y->out + j] * y->W[j * y->in + i];
                if (late)
                    late[at] += y->dh[r * y->out + j] * y->W[i * y->out + j];
            }
}

/* What the way down through the last layer would give with W of before. */
void foresee_stale(struct whole *w, struct gc_tensor *h, const real *W) {
    const struct layer *y = &w->net.layer[w->net.depth - 1];
    double *stale = foresee(w, h,
                            "This is what the weights of before would give: they have changed "
                            "since, and their transposed copies have not.",
                            0);
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < y->in; i++)
            for (size_t j = 0; j < y->out; j++)
                stale[r * y->in + i] += y->ds[r * y->out + j] * W[i * y->out + j];
}

/* Adds to a check, in the order of the way up: every weight, every bias, and in between all sums s
   and all outputs h. */
void add_tensors(struct gradcheck *check, struct whole *w) {
    static const char *const sums[] = {"s 1", "s 2", "s 3", "s 4", "s 5"};
    static const char *const outputs[] = {"h 1", "h 2", "h 3", "h 4", "h 5"};
    struct network *net = &w->net;
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        w->slope[l] = allocate(B * y->out, sizeof(double));
        measure_slopes(w->slope[l], y->s, y->f, B * y->out);
        for (size_t i = 2 * l; i < 2 * l + 2; i++) {
            struct tensor *p = &net->tensor[i];
            struct gc_tensor *t = gc_add(check, p->name, p->value, p->grad, p->rows, p->cols);
            t->loss = from_layer[l];
            t->slope = w->slope[l];
            if (i == 2 * l)
                foresee_products(w, t, l);
        }
        if (l + 1 == net->depth)
            break;
        if (y->f != IDENTITY) {
            struct gc_tensor *s = gc_add(check, sums[l], y->s, y->ds, B, y->out);
            s->loss = from_sums[l];
            foresee_slopes(w, s, l);
        }
        struct gc_tensor *h =
            gc_add(check, l + 1 == net->half ? "z" : outputs[l], y->h, y->dh, B, y->out);
        h->loss = from_layer[l + 1];
        foresee_way_down(w, h, l);
        for (size_t k = 0; l + 2 == net->depth && k < 2 && w->before[k]; k++)
            foresee_stale(w, h, w->before[k]);
    }
}

/* Takes two steps of training, so that nothing is as it was at the start, and checks the third. */
int check_whole(const size_t *size, size_t count, enum activation f, enum loss loss, int table) {
    struct random r;
    random_seed(&r, 10);
    struct whole w = whole_new(size, count, f, 1, loss, &r);
    struct network *net = &w.net;
    w.trainer.net = net;
    struct layer *last = &net->layer[net->depth - 1];
    for (int step = 0; step < 2; step++) {
        w.before[step] = numbers(last->in * last->out);
        memcpy(w.before[step], last->W, last->in * last->out * sizeof(real));
        train_step(&w.trainer, &w.images, w.order, B, 5e-4);
    }
    off_for_one(&w, 0);
    whole_backward(&w);
    char title[96];
    int n = snprintf(title, sizeof title, "chapter 5, 784");
    for (size_t l = 1; l < count; l++)
        n += snprintf(title + n, sizeof title - (size_t)n, "-%zu", size[l]);
    snprintf(title + n, sizeof title - (size_t)n, " and back, %s, %s", activation_name[f],
             loss == BCE ? "cross-entropy" : "squared error");
    struct gradcheck check = {
        .title = title, .loss = from_0, .backward = whole_backward, .net = &w, .batch = B};
    check.step = 1.4e-3; /* a loss of 500 nats is rounded more than most, so we step further */
    gc_size(&check, "the number of pixels", PIXELS);
    add_tensors(&check, &w);
    int failed = table ? gc_run(&check) : gc_run_in_one_line(&check);
    whole_free(&w);
    return failed;
}

void relu_and_cross_entropy(void **state) {
    (void)state;
    int failed = gc_quick() ? check_whole((size_t[]){PIXELS, 4, 3}, 3, RELU, BCE, 1)
                            : check_whole((size_t[]){PIXELS, 7, 5, 3}, 4, RELU, BCE, 1);
    assert_int_equal(failed, 0);
}

void each_activation_with_each_loss(void **state) {
    (void)state;
    if (gc_quick())
        skip();
    int failed = 0;
    for (int f = 0; f < ACTIVATIONS; f++)
        for (int loss = 0; loss < 2; loss++)
            failed += check_whole((size_t[]){PIXELS, 4, 3}, 3, f, loss, 0);
    assert_int_equal(failed, 0);
}

/* Without images, so that all is small enough to be checked in no time. */
void each_activation(void **state) {
    (void)state;
    int failed = 0;
    for (int f = 0; f < ACTIVATIONS; f++) {
        struct random r;
        random_seed(&r, 7);
        struct whole w = whole_new((size_t[]){9, 7, 5, 3}, 4, f, 0, BCE, &r);
        whole_backward(&w);
        char title[64];
        snprintf(title, sizeof title, "chapter 5, 9-7-5-3 and back, %s", activation_name[f]);
        struct gradcheck check = {
            .title = title, .loss = from_0, .backward = whole_backward, .net = &w, .batch = B};
        add_tensors(&check, &w);
        failed += gc_run_in_one_line(&check);
        whole_free(&w);
    }
    assert_int_equal(failed, 0);
}

/* --- the check of the losses ----------------------------------------------------- */
struct judged {
    enum loss kind;
    real s[B * PIXELS], x[B * PIXELS], ds[B * PIXELS];
    struct losses example[B];
};

double judged_loss(void *context, double *example) {
    struct judged *t = context;
    double loss = 0;
    losses_of_images(t->example, NULL, t->s, t->x, B, t->kind, 0, B);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = (t->kind == BCE ? t->example[r].bce : t->example[r].squared) / B;
    return loss;
}

void judged_backward(void *context) {
    struct judged *t = context;
    memset(t->ds, 0, sizeof t->ds);
    losses_of_images(t->example, t->ds, t->s, t->x, B, t->kind, 0, B);
}

/* --- end of the check of the losses ------------------------------------------------ */

void both_losses(void **state) {
    (void)state;
    static struct judged t;
    static double slope[B * PIXELS], inverse[B * PIXELS], other[B * PIXELS], logit[B * PIXELS],
        early[B * PIXELS];
    struct random r;
    random_seed(&r, 9);
    int failed = 0;
    for (int kind = 0; kind < 2; kind++) {
        t.kind = kind;
        fill(t.s, B * PIXELS, -3, 3, &r);
        fill(t.x, B * PIXELS, 0, 1, &r);
        for (size_t k = 0; k < B * PIXELS; k++) {
            double xhat = 1 / (1 + exp(-t.s[k])), d = xhat - t.x[k];
            slope[k] = xhat * (1 - xhat);
            inverse[k] = 1 / slope[k];
            other[k] = (kind == BCE ? 2 * d * slope[k] : d) / B;
            logit[k] = (t.s[k] - t.x[k]) * (kind == BCE ? 1 : 2 * slope[k]) / B;
            early[k] = 2 * d * t.x[k] * (1 - t.x[k]) / B;
        }
        struct gradcheck check = {.title = kind == BCE ? "chapter 5, cross-entropy of three images"
                                                       : "chapter 5, squared error of three images",
                                  .loss = judged_loss,
                                  .backward = judged_backward,
                                  .net = &t,
                                  .batch = B};
        gc_size(&check, "the number of pixels", PIXELS);
        struct gc_tensor *s = gc_add(&check, "logits", t.s, t.ds, B, PIXELS);
        gc_foresee(s,
                   kind == BCE ? "The slope of the sigmoid is multiplied in: with the "
                                 "cross-entropy it cancels."
                               : "The slope of the sigmoid, xhat(1-xhat), is there twice.",
                   slope, NULL);
        gc_foresee(s,
                   kind == BCE ? "This is the derivative with respect to xhat, not to the logit."
                               : "The slope of the sigmoid, xhat(1-xhat), is missing.",
                   inverse, NULL);
        gc_foresee(s, "This is the gradient of the other loss.", NULL, other);
        gc_foresee(s, "The logit itself stands where xhat = sigmoid(logit) is meant.", NULL, logit);
        if (kind == SQUARED)
            gc_foresee(s, "The slope of the sigmoid is taken at x instead of xhat.", NULL, early);
        failed += gc_run_in_one_line(&check);
    }
    assert_int_equal(failed, 0);
}

/* --- every parameter -------------------------------------------------------------- */
/* The whole network at full size has 710,190 parameters. Two evaluations of the loss for each, and
   three images: that would take minutes. We need not evaluate it all. A parameter of layer l
   changes one sum s_j of that layer. What lies below does not depend on it, so it is as it was: to
   begin at layer l is exact. Many nudged copies of a layer are the rows of one product of matrices.

   We carry not the nudged values but how far they have moved. A sum minus a sum is the sum of the
   differences, so the next layer moves by dS = dH W. A ReLU that is on, and stays on, hands the
   difference on as it is, and one that stays off hands on nothing, so its row of W can be left out.
   And the loss, pixel by pixel, moves by

       log(1 + e^(s+d)) - log(1 + e^s) - x d  =  log(1 + sigmoid(s) (e^d - 1)) - x d.

   All of this is algebra, no derivative is taken. It is worth the trouble: two losses of 500 nats
   that differ by a millionth have seven digits of their difference left, differences that are never
   added to something large keep fifteen. */
enum { ROWS = 128 }; /* nudged copies at a time */

struct reach {
    const struct network *net;
    const real *x;                /* (B,784) */
    size_t on[B][DEPTH_MOST];     /* how many units of each layer are on */
    size_t *which[B][DEPTH_MOST]; /* and which */
    real *W[B][DEPTH_MOST];       /* (on below, out) the rows of W that belong to them */
    double sigmoid[B * PIXELS];   /* of the logits as they are */
};

int is_on(const struct reach *q, size_t l, size_t r, size_t j) {
    const struct layer *y = &q->net->layer[l];
    return y->f == IDENTITY || y->s[r * y->out + j] > 0;
}

/* How a pixel's cross-entropy moves when its logit moves by d, |d| < 1/1000, from where its sigmoid
   is q. The two series are those of e^d - 1 and log(1 + u); the terms left out are below 1e-17 of
   the result. */
static inline double pixel_moves(double d, double q, double x) {
    double u = q * d * (1 + d / 2 * (1 + d / 3 * (1 + d / 4 * (1 + d / 5))));
    double log_1_u =
        u * (1 - u * (1.0 / 2 - u * (1.0 / 3 - u * (1.0 / 4 - u * (1.0 / 5 - u / 6)))));
    return log_1_u - x * d;
}

struct moved {
    double by, terms; /* the loss of the image, and the sum of what it is made of without signs */
    int corner;       /* whether some ReLU went on or off */
};

/* What happens to the loss of image r when n <= ROWS copies of parameter (i,j) of layer l move,
   copy k by d[k] with input i[k]; i = in is the bias. space has room for 3 * ROWS * widest. */
void move(struct moved *moved, const struct reach *q, size_t r, size_t l, size_t j, const size_t *i,
          const double *d, size_t n, real *space, size_t widest) {
    const struct network *net = q->net;
    const struct layer *y = &net->layer[l];
    const real *below = l ? y[-1].h + r * y->in : q->x + r * y->in;
    size_t last = net->depth - 1;
    real *now = space, *next = space + ROWS * widest, *kept = space + 2 * ROWS * widest;
    for (size_t k = 0; k < n; k++) {
        double by = d[k] * (i[k] < y->in ? below[i[k]] : 1), s = y->s[r * y->out + j];
        moved[k] = (struct moved){0, 0, y->f != IDENTITY && (s + by > 0) != (s > 0)};
        now[k] = by;
    }
    if (l == last) { /* one pixel */
        for (size_t k = 0; k < n; k++) {
            double by = pixel_moves(now[k], q->sigmoid[r * PIXELS + j], q->x[r * PIXELS + j]);
            moved[k].by = by;
            moved[k].terms = fabs(by);
        }
        return;
    }
    if (!is_on(q, l, r, j))
        return;
    for (size_t k = 0; k < n; k++) /* the one unit that moves, times its row of the next W */
        for (size_t p = 0; p < y[1].out; p++)
            next[k * y[1].out + p] = now[k] * y[1].W[j * y[1].out + p];
    for (size_t m = l + 1; m < last; m++) {
        size_t out = net->layer[m].out, on = q->on[r][m], above = net->layer[m + 1].out;
        const real *s = net->layer[m].s + r * out;
        for (size_t k = 0; k < n; k++) {
            int corner = 0;
            for (size_t p = 0; p < out && net->layer[m].f != IDENTITY; p++)
                corner |= (s[p] + next[k * out + p] > 0) != (s[p] > 0);
            moved[k].corner |= corner;
            for (size_t p = 0; p < on; p++)
                kept[k * on + p] = next[k * out + q->which[r][m][p]];
        }
        memset(next, 0, n * above * sizeof *next);
        multiply(next, kept, on, 1, q->W[r][m + 1], n, above, on);
    }
    for (size_t k = 0; k < n; k++) {
        double by = 0, terms = 0;
        const real *step = next + k * PIXELS, *at = q->sigmoid + r * PIXELS, *x = q->x + r * PIXELS;
#ifdef _OPENMP
#pragma omp simd reduction(+ : by, terms)
#endif
        for (size_t p = 0; p < PIXELS; p++) {
            double move_p = pixel_moves(step[p], at[p], x[p]);
            by += move_p;
            terms += fabs(move_p);
        }
        moved[k].by = by;
        moved[k].terms = terms;
    }
}

/* What was measured of one tensor. */
struct measured {
    double *numeric, *noise, *share; /* (entries), (entries), (B,entries) */
    char *kink;
};

/* Measures the derivatives of all parameters of unit j of layer l: its column of W, and its bias.
   Those that lead some ReLU across its corner are measured again with a smaller step. */
void measure_unit(struct measured *tensor, const struct reach *q, size_t l, size_t j) {
    const struct layer *y = &q->net->layer[l];
    size_t widest = PIXELS, left = y->in + 1, *todo = allocate(left, sizeof *todo);
    for (size_t m = 0; m < q->net->depth; m++)
        widest = q->net->layer[m].out > widest ? q->net->layer[m].out : widest;
    real *space = numbers(3 * ROWS * widest);
    for (size_t k = 0; k < left; k++)
        todo[k] = k;
    double step = 0x1p-20;
    for (int closer = 0; closer < 6 && left > 0; closer++, step /= 16) {
        size_t again = 0;
        for (size_t first = 0; first < left; first += ROWS / 2) {
            size_t n = least(ROWS / 2, left - first), i[ROWS];
            double d[ROWS], wide[ROWS / 2];
            char corner[ROWS / 2] = {0};
            for (size_t k = 0; k < n;
                 k++) { /* x + h is rounded: take the distance really covered */
                double w = y->W[todo[first + k] * y->out + j]; /* b is the last row, below W */
                volatile double up = w + step, down = w - step;
                i[2 * k] = i[2 * k + 1] = todo[first + k];
                d[2 * k] = up - w;
                d[2 * k + 1] = down - w;
                wide[k] = up - down;
            }
            for (size_t r = 0; r < B; r++) {
                struct moved moved[ROWS];
                move(moved, q, r, l, j, i, d, 2 * n, space, widest);
                for (size_t k = 0; k < n; k++) {
                    const struct moved *up = &moved[2 * k], *down = up + 1;
                    int bias = i[2 * k] == y->in;
                    struct measured *t = &tensor[2 * l + (size_t)bias];
                    size_t at = bias ? j : i[2 * k] * y->out + j;
                    size_t entries = bias ? y->out : y->in * y->out;
                    double part = (up->by - down->by) / wide[k] / B;
                    double noise = 16 * DBL_EPSILON * (up->terms + down->terms) / wide[k] / B;
                    t->share[r * entries + at] = part;
                    t->numeric[at] = r ? t->numeric[at] + part : part;
                    t->noise[at] = r ? t->noise[at] + noise : noise;
                    corner[k] |= (char)(up->corner || down->corner);
                    t->kink[at] |= corner[k];
                }
            }
            for (size_t k = 0; k < n; k++)
                if (corner[k])
                    todo[again++] = i[2 * k];
        }
        left = again;
    }
    free(todo);
    free(space);
}

/* --- end of every parameter --------------------------------------------------------- */

/* Prepares what `move` needs. The sums of all layers must be those of the network as it is. */
struct reach reach_new(const struct whole *w) {
    struct reach q = {.net = &w->net, .x = w->x};
    const struct layer *y = w->net.layer;
    size_t last = w->net.depth - 1;
    for (size_t r = 0; r < B; r++)
        for (size_t l = 0; l < last; l++) {
            q.which[r][l] = allocate(y[l].out, sizeof(size_t));
            q.W[r][l + 1] = numbers(y[l].out * y[l + 1].out);
            for (size_t j = 0; j < y[l].out; j++)
                if (is_on(&q, l, r, j)) {
                    memcpy(q.W[r][l + 1] + q.on[r][l] * y[l + 1].out, y[l + 1].W + j * y[l + 1].out,
                           y[l + 1].out * sizeof(real));
                    q.which[r][l][q.on[r][l]++] = j;
                }
        }
    for (size_t k = 0; k < B * PIXELS; k++)
        q.sigmoid[k] = 1 / (1 + exp(-y[last].s[k]));
    return q;
}

void reach_free(struct reach *q) {
    for (size_t r = 0; r < B; r++)
        for (size_t l = 0; l < DEPTH_MOST; l++) {
            free(q->which[r][l]);
            free(q->W[r][l]);
        }
}

/* The short way against the long one: some parameters of each tensor are really moved, and the
   program evaluates the loss from the pixels on. Returns how many disagree. */
size_t long_way(struct whole *w, const struct reach *q) {
    struct network *net = &w->net;
    size_t wrong = 0, compared = 0, space_for = PIXELS;
    real *space = numbers(3 * ROWS * space_for);
    double before[B], after[B];
    struct random r;
    random_seed(&r, 77);
    for (size_t l = 0; l < net->depth; l++)
        for (int k = 0; k < 60; k++) {
            struct layer *y = &net->layer[l];
            size_t i = k < 50 ? (size_t)random_uniform(&r, 0, (double)y->in) : y->in;
            size_t j = (size_t)random_uniform(&r, 0, (double)y->out);
            real *value = &y->W[i * y->out + j], keep = *value;
            volatile double up = keep + 1e-4;
            double d = up - keep;
            struct moved moved[B];
            loss_from(w, before, 0);
            for (size_t e = 0; e < B; e++)
                move(&moved[e], q, e, l, j, &i, &d, 1, space, space_for);
            *value = up;
            loss_from(w, after, 0);
            *value = keep;
            for (size_t e = 0; e < B; e++)
                if (!moved[e].corner) {
                    compared++;
                    wrong += !(fabs(after[e] - before[e] - moved[e].by / B) < 4e-12);
                }
        }
    loss_from(w, before, 0);
    free(space);
    if (wrong)
        printf("  The short way is not the long way in %zu of %zu comparisons: the forward pass is "
               "not that of W x + b and ReLU.\n",
               wrong, compared);
    return wrong + (compared < 100 * net->depth);
}

/* Checks every parameter of 784-...-code-...-784 with ReLU and cross-entropy. */
int check_every_parameter(const size_t *size, size_t count, const char *title, int table) {
    struct random r;
    random_seed(&r, 21);
    struct whole w = whole_new(size, count, RELU, 1, BCE, &r);
    struct network *net = &w.net;
    w.trainer.net = net;
    off_for_one(&w, 4e-7);
    double example[B];
    loss_from(&w, example, 0);
    struct reach q = reach_new(&w);
    struct measured tensor[2 * MAX_DEPTH];
    struct gradcheck check = {
        .title = title, .loss = from_0, .backward = whole_backward, .net = &w, .batch = B};
    check.how = "three images; each parameter is nudged by 1e-6 up and down";
    gc_size(&check, "the number of pixels", PIXELS);
    for (size_t i = 0; i < net->tensors; i++) {
        struct tensor *p = &net->tensor[i];
        size_t n = p->rows * p->cols;
        tensor[i] = (struct measured){allocate(n, sizeof(double)), allocate(n, sizeof(double)),
                                      allocate(B * n, sizeof(double)), allocate(n, 1)};
        struct gc_tensor *t = gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols);
        t->measured = tensor[i].numeric;
        t->noise = tensor[i].noise;
        t->share = tensor[i].share;
        t->kink = tensor[i].kink;
    }
    size_t unit[2 * MAX_DEPTH], units = 0; /* where the units of each layer begin */
    for (size_t l = 0; l < net->depth; l++) {
        unit[l] = units;
        units += net->layer[l].out;
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
    for (size_t u = 0; u < units; u++) {
        size_t l = net->depth - 1;
        while (unit[l] > u)
            l--;
        measure_unit(tensor, &q, l, u - unit[l]);
    }
    int failed = table ? gc_run(&check) : gc_run_in_one_line(&check);
    failed += long_way(&w, &q) != 0;
    int all = check.entries == net->parameters && check.resolved == check.entries;
    if (!failed && !all)
        printf("  Only %zu of %zu parameters were tested.\n", check.resolved, net->parameters);
    for (size_t i = 0; i < net->tensors; i++) {
        free(tensor[i].numeric);
        free(tensor[i].noise);
        free(tensor[i].share);
        free(tensor[i].kink);
    }
    reach_free(&q);
    whole_free(&w);
    return failed || !all;
}

void every_parameter(void **state) {
    (void)state;
    assert_int_equal(check_every_parameter((size_t[]){PIXELS, 9, 5, 3}, 4,
                                           "chapter 5, 784-9-5-3 and back, the short way", 0),
                     0);
}

void every_parameter_at_full_size(void **state) {
    (void)state;
    if (gc_quick())
        skip();
    int failed = check_every_parameter((size_t[]){PIXELS, 400, 100, 6}, 4,
                                       "chapter 5, all of 784-400-100-6-100-400-784", 1);
    assert_int_equal(failed, 0);
}

/* --- the parts, one by one --------------------------------------------------------- */

/* Whole numbers, so that sums are exact in any order and can be compared with ==. */
void fill_whole(real *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = floor(random_uniform(r, -4, 5));
}

/* C += A B against three plain loops, with A as it lies and with A transposed. The arrays are
   exactly as long as they must be, so that the sanitizers see a step too far. */
void product_of_any_shape(void **state) {
    (void)state;
    static const size_t shape[][3] = {{1, 1, 1},
                                      {7, 100, 6},
                                      {128, 784, 400},
                                      {3, TILE_VECTORS * WIDTH, 5},
                                      {TILE_ROWS, TILE_VECTORS * WIDTH + 1, 1},
                                      {TILE_ROWS + 1, TILE_VECTORS * WIDTH - 1, 2},
                                      {2 * TILE_ROWS - 1, 4 * WIDTH, 9},
                                      {5, WIDTH, DEPTH},
                                      {5, WIDTH + 3, DEPTH + 1},
                                      {9, 5 * WIDTH - 1, 2 * DEPTH + 7},
                                      {1, 6, 784},
                                      {784, 6, 1},
                                      {0, 5, 5},
                                      {5, 0, 5},
                                      {5, 5, 0}};
    struct random r;
    random_seed(&r, 4);
    for (size_t c = 0; c < sizeof shape / sizeof *shape; c++)
        for (int turned = 0; turned < 2; turned++) {
            size_t M = shape[c][0], N = shape[c][1], K = shape[c][2];
            size_t row = turned ? 1 : K, col = turned ? M : 1;
            real *A = allocate(M * K, sizeof *A), *Bm = allocate(K * N, sizeof *Bm);
            real *C = allocate(M * N, sizeof *C), *slow = allocate(M * N, sizeof *slow);
            fill_whole(A, M * K, &r);
            fill_whole(Bm, K * N, &r);
            fill_whole(C, M * N, &r); /* += : what is there stays */
            memcpy(slow, C, M * N * sizeof *C);
            for (size_t m = 0; m < M; m++)
                for (size_t n = 0; n < N; n++)
                    for (size_t k = 0; k < K; k++)
                        slow[m * N + n] += A[m * row + k * col] * Bm[k * N + n];
            multiply(C, A, row, col, Bm, M, N, K);
            size_t wrong = 0;
            for (size_t k = 0; k < M * N; k++)
                wrong += C[k] != slow[k];
            if (wrong)
                printf("multiply differs from three plain loops in %zu of %zu numbers: (%zu,%zu) "
                       "times (%zu,%zu)%s\n",
                       wrong, M * N, M, K, K, N, turned ? ", the first transposed" : "");
            free(A);
            free(Bm);
            free(C);
            free(slow);
            assert_int_equal(wrong, 0);
        }
}

void transposes_any_shape(void **state) {
    (void)state;
    static const size_t shape[][2] = {{1, 1},   {16, 16}, {17, 16}, {16, 17},
                                      {15, 33}, {400, 6}, {6, 100}, {784, 400}};
    struct random r;
    random_seed(&r, 4);
    for (size_t c = 0; c < sizeof shape / sizeof *shape; c++)
        for (size_t piece = 1; piece <= 64;
             piece *= 4) { /* whole, and in pieces as by several cores */
            size_t rows = shape[c][0], cols = shape[c][1], step = (rows + piece - 1) / piece;
            real *W = allocate(rows * cols, sizeof *W), *Wt = allocate(rows * cols, sizeof *Wt);
            fill(W, rows * cols, -1, 1, &r);
            for (size_t first = 0; first < rows; first += step)
                transpose(Wt, W, rows, cols, first, least(rows, first + step));
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < cols; j++)
                    assert_true(Wt[j * rows + i] == W[i * cols + j]);
            free(W);
            free(Wt);
        }
}

/* The shares of all cores, put together, are the whole, and each begins where one may. */
void shares_cover_everything(void **state) {
    (void)state;
    for (size_t n = 0; n < 200; n += 7)
        TEAM {
            assert_true(share(n, 8, 0) == 0 && share(n, 8, cores()) == n);
            for (size_t t = 0; t < cores(); t++)
                assert_true(share(n, 8, t) <= share(n, 8, t + 1) &&
                            (share(n, 8, t) % 8 == 0 || share(n, 8, t) == n));
        }
}

void losses_are_the_plain_formulas(void **state) {
    (void)state;
    static real s[B * PIXELS], x[B * PIXELS], ds[B * PIXELS];
    static const double hard[] = {0, -0.0, 1, -1, 37, -37, 100, -100, 708, -745, 1000, -1000};
    struct losses example[B] = {{-1, -1}, {-1, -1}, {-1, -1}};
    size_t wrong = 0;
    struct random r;
    random_seed(&r, 12);
    fill(s, B * PIXELS, -8, 8, &r);
    fill(x, B * PIXELS, 0, 1, &r);
    for (size_t k = 0; k < 120; k++) { /* of every size, for black, gray and white pixels */
        s[PIXELS + k] = hard[k % 12];
        x[PIXELS + k] = (double)(k % 5) / 4;
    }
    for (int kind = 0; kind < 2; kind++) {
        memset(ds, 0, sizeof ds);
        losses_of_images(example, ds, s, x, 10, kind, 1, 2); /* images 1 and 2 of a batch of 10 */
        for (size_t i = 0; i < B; i++) {
            double bce = 0, squared = 0;
            for (size_t k = i * PIXELS; k < (i + 1) * PIXELS; k++) {
                double e = exp(-fabs(s[k])), xhat = (s[k] >= 0 ? 1 : e) / (1 + e), d = xhat - x[k];
                bce += fmax(s[k], 0) - s[k] * x[k] + log1p(e);
                squared += d * d;
                double right = i == 0 ? 0 : (kind == BCE ? d : 2 * d * xhat * (1 - xhat)) / 10;
                wrong += !(fabs(ds[k] - right) < 1e-15);
            }
            if (i > 0 && !(fabs(example[i].bce / bce - 1) < 1e-13)) {
                printf("The cross-entropy is %.9g, not %.9g: look at the forward pass.\n",
                       example[i].bce, bce);
                wrong++;
            }
            if (i > 0 && !(fabs(example[i].squared / squared - 1) < 1e-13)) {
                printf("The squared error is %.9g, not %.9g: look at the forward pass.\n",
                       example[i].squared, squared);
                wrong++;
            }
        }
    }
    assert_true(example[0].bce == -1 && example[0].squared == -1);
    assert_int_equal(wrong, 0);
    double before = example[1].bce;
    losses_of_images(example, NULL, s, x, 3, BCE, 1, 1); /* B concerns the gradient only */
    assert_true(example[1].bce == before);
    s[PIXELS] = NAN; /* a run that diverges must be noticed */
    losses_of_images(example, NULL, s, x, 3, BCE, 1, 1);
    assert_true(isnan(example[1].bce));
}

/* Values and slopes that are known, and identities that must hold for every s. */
void activations_are_themselves(void **state) {
    (void)state;
    enum { N = 7 };
    real s[N] = {0, 1, -1, 2.5, -2.5, 50, -50}, h[N], ds[N], dh[N], slope[ACTIVATIONS][N];
    for (int f = 0; f < ACTIVATIONS; f++) {
        activation_forward(h, s, f, N);
        for (size_t i = 0; i < N; i++) {
            double e = exp(-fabs(s[i])), q = (s[i] > 0 ? 1 : e) / (1 + e);
            double right[] = {s[i],     fmax(0, s[i]), s[i] > 0 ? s[i] : exp(s[i]) - 1,
                              s[i] * q, tanh(s[i]),    q};
            assert_true(fabs(h[i] - right[f]) < 1e-15 * fmax(1, fabs(s[i])));
            dh[i] = 3;
            ds[i] = 10; /* += */
        }
        activation_backward(ds, dh, s, h, f, N);
        for (size_t i = 0; i < N; i++)
            slope[f][i] = (ds[i] - 10) / 3;
    }
    assert_true(fabs(slope[SILU][0] - 0.5) < 1e-14 && fabs(slope[SIGMOID][0] - 0.25) < 1e-14);
    assert_true(fabs(slope[TANH][0] - 1) < 1e-14 && fabs(slope[ELU][2] - exp(-1.0)) < 1e-14);
    assert_true(slope[RELU][1] == 1 && slope[RELU][2] == 0 && slope[RELU][0] == 0);
    for (size_t i = 1; i + 1 < N; i += 2) { /* s[i+1] is -s[i] */
        assert_true(fabs(slope[SILU][i] + slope[SILU][i + 1] - 1) < 1e-14);
        assert_true(fabs(slope[TANH][i] - slope[TANH][i + 1]) < 1e-14);
        assert_true(fabs(slope[SIGMOID][i] - slope[SIGMOID][i + 1]) < 1e-14);
    }
}

void rate_follows_half_a_cosine(void **state) {
    (void)state;
    assert_true(cosine_rate(0.002, 0) == 0.002 && fabs(cosine_rate(0.002, 1)) < 1e-18);
    assert_true(fabs(cosine_rate(0.002, 0.5) - 0.001) < 1e-15);
    assert_true(fabs(cosine_rate(1, 1.0 / 3) - 0.75) < 1e-15);
}

/* Nearest neighbours by hand: five points, of which three lie next to one of their own label. */
void neighbours_by_hand(void **state) {
    (void)state;
    const real a[] = {0, 0, 10, 0, 0, 10, -5, -5}, b[] = {1, 1, 9, -1, 1, 8, -4, -6, 3, 3};
    const unsigned char label_a[] = {1, 2, 3, 4}, label_b[] = {1, 2, 9, 4, 2};
    struct points known = {.count = 4, .d = 2, .number = a, .label = label_a};
    struct points asked = {.count = 5, .d = 2, .number = b, .label = label_b};
    assert_true(nearest_neighbour_accuracy(&known, &asked) == 60);
    /* Many points, in more than one group whatever the size of a group is; each is its own
       neighbour, and of a third of them we claim another label. */
    enum { MANY = 2500, D = 3 };
    real *c = numbers(MANY * D);
    unsigned char label[MANY], other[MANY], *pixel = allocate(MANY, D);
    struct random r;
    random_seed(&r, 8);
    for (size_t k = 0; k < MANY; k++) {
        label[k] = k % 10;
        other[k] = k % 3 ? k % 10 : 11;
        for (size_t j = 0; j < D; j++) /* all different: the digits of k to the base 14 */
            pixel[k * D + j] = (unsigned char)(18 * (k / (j == 0 ? 1 : j == 1 ? 14 : 196) % 14));
    }
    brightness(c, pixel, MANY * D);
    for (int bytes = 0; bytes < 2; bytes++) { /* as numbers, and as pixels */
        struct points all = {.count = MANY, .d = D, .label = label};
        all.number = bytes ? NULL : c;
        all.pixel = bytes ? pixel : NULL;
        struct points judged = all;
        assert_true(nearest_neighbour_accuracy(&all, &judged) == 100);
        judged.label = other;
        assert_true(fabs(nearest_neighbour_accuracy(&all, &judged) - 100.0 * 1666 / MANY) < 1e-9);
    }
    free(c);
    free(pixel);
}

/* A step of training is: zero, forward, loss, backward, Adam, decay, and the transposed copies
   renewed. */
void one_step_of_training(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 2);
    struct whole w = whole_new((size_t[]){PIXELS, 8, 3}, 3, ELU, 1, BCE, &r);
    struct network *net = &w.net;
    w.trainer.net = net;
    size_t n = net->parameters;
    real *before = numbers(n);
    struct adam plain = adam_new(n);
    for (int step = 0; step < 3; step++) {
        memcpy(before, net->value, n * sizeof(real));
        w.trainer.decay = step == 2 ? 0.5 : 0; /* times 1 - 0.01 * 0.5 */
        struct losses sum = train_step(&w.trainer, &w.images, w.order, B, 0.01), one = {0, 0};
        for (size_t k = 0; k < n && step == 2; k++)
            before[k] *= 0.995;
        adam_step(&plain, before, net->grad, 0.01); /* the gradient itself is checked above */
        for (size_t k = 0; k < n; k++)
            assert_true(fabs(before[k] - net->value[k]) < 1e-12);
        for (size_t e = 0; e < B; e++) {
            one.bce += w.trainer.example[e].bce;
            one.squared += w.trainer.example[e].squared;
        }
        assert_true(sum.bce == one.bce && sum.squared == one.squared);
        size_t stale = 0;
        for (size_t l = 1; l < net->depth; l++)
            for (size_t i = 0; i < net->layer[l].in; i++)
                for (size_t j = 0; j < net->layer[l].out; j++)
                    stale += net->layer[l].Wt[j * net->layer[l].in + i] !=
                             net->layer[l].W[i * net->layer[l].out + j];
        if (stale)
            printf("After a step of training %zu weights have changed and their transposed copies "
                   "have not.\n",
                   stale);
        assert_int_equal(stale, 0);
    }
    assert_int_equal(w.trainer.adam.steps, 3);
    adam_free(&plain);
    free(before);
    whole_free(&w);
}

/* evaluate: means over more images than a batch holds, codes and reconstructions
   in their places. */
void evaluates_in_batches(void **state) {
    (void)state;
    enum { MANY = 2 * B + 2 };
    struct random r;
    random_seed(&r, 6);
    struct whole w = whole_new((size_t[]){PIXELS, 4, 2}, 3, TANH, 1, BCE, &r);
    w.trainer.net = &w.net;
    struct images images = {MANY, allocate(MANY, PIXELS), NULL};
    for (size_t k = 0; k < MANY * PIXELS; k++)
        images.pixel[k] = (unsigned char)random_uniform(&r, 0, 256);
    real code[MANY * 2], *xhat = numbers(MANY * PIXELS);
    struct losses all = evaluate(&w.trainer, &images, MANY, code, xhat), sum = {0, 0};
    for (size_t k = 0; k < MANY; k++) {
        brightness(w.x, images.pixel + k * PIXELS, PIXELS);
        const real *logits = network_forward(&w.net, w.x, 0, w.net.depth, 0, 1);
        struct losses one;
        losses_of_images(&one, NULL, logits, w.x, 1, BCE, 0, 1);
        sum.bce += one.bce / MANY;
        sum.squared += one.squared / MANY;
        assert_memory_equal(code + 2 * k, w.net.layer[1].h, 2 * sizeof(real));
        for (size_t p = 0; p < PIXELS; p++)
            assert_true(fabs(xhat[k * PIXELS + p] - 1 / (1 + exp(-logits[p]))) < 1e-14);
    }
    assert_true(fabs(all.bce - sum.bce) < 1e-10 && fabs(all.squared - sum.squared) < 1e-11);
    free(xhat);
    free_images(&images);
    whole_free(&w);
}

/* The order in which cores finish must not matter: to the last bit, for any number of them. */
void same_for_any_number_of_cores(void **state) {
    (void)state;
    enum { MANY = 50, D = 5 };
    const size_t size[] = {PIXELS, 37, 19, D};
#ifdef _OPENMP
    size_t usual = (size_t)omp_get_max_threads();
#else
    size_t usual = 1;
#endif
    for (int f = 0; f < ACTIVATIONS; f++) {
        struct random r;
        random_seed(&r, 31);
        struct images images = {MANY, allocate(MANY, PIXELS), NULL};
        for (size_t k = 0; k < MANY * PIXELS; k++)
            images.pixel[k] = (unsigned char)random_uniform(&r, 0, 256);
        size_t order[MANY];
        shuffle(order, MANY, &r);
        struct network net[3];
        real *code[3];
        struct losses seen[3][4];
        for (size_t n = 0; n < 3; n++) {
            random_seed(&r, 32);
            net[n] = network_new(size, 4, 1, f, MANY);
            network_start(&net[n], &r);
            network_transpose(&net[n]);
            code[n] = numbers(MANY * D);
            struct trainer t = {.net = &net[n],
                                .adam = adam_new(net[n].parameters),
                                .x = numbers(MANY * PIXELS),
                                .example = allocate(MANY, sizeof(struct losses)),
                                .loss = f % 2 ? BCE : SQUARED};
            use_threads(n + 1);
            for (size_t step = 0; step < 3; step++) /* batches that do not divide evenly, either */
                seen[n][step] = train_step(&t, &images, order, step == 1 ? 43 : MANY, 0.01);
            seen[n][3] = evaluate(&t, &images, 47, code[n], NULL);
            use_threads(usual);
            adam_free(&t.adam);
            free(t.x);
            free(t.example);
        }
        for (size_t n = 1; n < 3; n++) {
            assert_memory_equal(net[0].value, net[n].value, net[0].parameters * sizeof(real));
            assert_memory_equal(code[0], code[n], MANY * D * sizeof(real));
            assert_memory_equal(seen[0], seen[n], sizeof seen[0]);
        }
        for (size_t n = 0; n < 3; n++) {
            network_free(&net[n]);
            free(code[n]);
        }
        free_images(&images);
    }
}

/* Fresh curves are white on black, all different, in the middle, and the same for any number of
   cores. */
void fresh_curves(void **state) {
    (void)state;
    enum { MANY = 250 };
#ifdef _OPENMP
    size_t usual = (size_t)omp_get_max_threads();
#else
    size_t usual = 1;
#endif
    unsigned char *kept = allocate(MANY, PIXELS);
    for (size_t threads = 1; threads <= 3; threads++) {
        struct images curves = {MANY, allocate(MANY, PIXELS), NULL};
        use_threads(threads);
        draw_fresh_curves(&curves, 7);
        use_threads(usual);
        if (threads == 1)
            memcpy(kept, curves.pixel, MANY * PIXELS);
        assert_memory_equal(kept, curves.pixel, MANY * PIXELS);
        draw_fresh_curves(&curves, 8);
        for (size_t k = 0; k < MANY; k++) {
            const unsigned char *now = curves.pixel + k * PIXELS, *old = kept + k * PIXELS;
            assert_int_not_equal(memcmp(now, old, PIXELS), 0);
            for (size_t before = 0; before < k; before++)
                assert_int_not_equal(memcmp(old, kept + before * PIXELS, PIXELS), 0);
            int brightest = 0, edge = 0;
            for (size_t i = 0; i < PIXELS; i++) {
                size_t x = i % SIDE, y = i / SIDE;
                brightest = old[i] > brightest ? old[i] : brightest;
                edge |= (x < 2 || x > 25 || y < 2 || y > 25) && old[i];
            }
            assert_true(brightest > 150 && !edge);
        }
        free_images(&curves);
    }
    free(kept);
}

/* --- files ------------------------------------------------------------------------- */

char folder[] = "build/autoencoderXXXXXX";

const char *in_folder(const char *name) {
    static char path[2][128];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[0], "%s/%s", folder, name);
    return path[turn];
}

int make_scratch(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

int remove_scratch(void **state) {
    (void)state;
    static const char *const name[] = {"a.safetensors", "b.safetensors", "picture.png",
                                       "image.png"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        remove(in_folder(name[i]));
    return rmdir(folder);
}

/* A network whose parameters are floats, so that nothing is lost in a file of floats. */
struct network some_network(const size_t *size, size_t count, enum activation f, uint64_t seed) {
    struct network net = network_new(size, count, 1, f, 1);
    struct random r;
    random_seed(&r, seed);
    for (size_t k = 0; k < net.parameters; k++)
        net.value[k] = (float)random_uniform(&r, -1, 1);
    return net;
}

/* What is saved and loaded is the same to the last bit; so is the file that it is
   saved to again. */
void weights_come_back(void **state) {
    (void)state;
    static const size_t size[] = {5, 4, 1, 3};
    for (size_t count = 2; count <= 4; count++) {
        struct network a = some_network(size, count, SILU, 1),
                       b = some_network(size, count, SILU, 2);
        a.value[0] = (float)1e-42; /* a denormal, and both zeros */
        a.value[1] = -0.0;
        a.value[2] = 0;
        save_weights(&a, in_folder("a.safetensors"));
        load_weights(&b, in_folder("a.safetensors"));
        assert_memory_equal(a.value, b.value, a.parameters * sizeof(real));
        save_weights(&b, in_folder("b.safetensors"));
        size_t n[2];
        unsigned char *bytes[2] = {read_file(in_folder("a.safetensors"), &n[0], 10000),
                                   read_file(in_folder("b.safetensors"), &n[1], 10000)};
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        free(bytes[0]);
        free(bytes[1]);
        network_free(&a);
        network_free(&b);
    }
}

/* A reader of its own, as far from the program's as can be: safetensors as its authors describe it,
   and the names and shapes that torch.nn.Sequential gives its Linear layers. */
void the_file_is_as_others_expect_it(void **state) {
    (void)state;
    struct network net = some_network((size_t[]){5, 4, 2}, 3, ELU, 3);
    save_weights(&net, in_folder("a.safetensors"));
    size_t size;
    unsigned char *bytes = read_file(in_folder("a.safetensors"), &size, 10000);
    size_t length = bytes[0] + 256u * bytes[1]; /* little endian, eight bytes */
    for (int i = 2; i < 8; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(length % 8, 0);
    char *header = allocate(length + 1, 1);
    memcpy(header, bytes + 8, length);
    const unsigned char *data = bytes + 8 + length;
    assert_true(header[0] == '{');
    assert_non_null(strstr(header, "\"__metadata__\":{\"activation\":\"elu\"}"));
    static const struct {
        const char *name;
        size_t out, in;
    } wanted[] = {
        {"encoder.0", 4, 5}, {"encoder.2", 2, 4}, {"decoder.0", 4, 2}, {"decoder.2", 5, 4}};
    size_t next = 0; /* no gaps between the tensors */
    for (size_t l = 0; l < 4; l++)
        for (int bias = 0; bias < 2; bias++) {
            char entry[200];
            size_t out = wanted[l].out, in = wanted[l].in, n = bias ? out : out * in;
            if (bias)
                snprintf(
                    entry, sizeof entry,
                    "\"%s.bias\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
                    wanted[l].name, out, next, next + 4 * n);
            else
                snprintf(entry, sizeof entry,
                         "\"%s.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[%"
                         "zu,%zu]}",
                         wanted[l].name, out, in, next, next + 4 * n);
            if (!strstr(header, entry))
                fail_msg("%s is missing in %s", entry, header);
            for (size_t j = 0; j < out; j++)
                for (size_t i = 0; i < (bias ? 1 : in); i++) {
                    const unsigned char *b = data + next + 4 * (bias ? j : j * in + i);
                    uint32_t word = 0; /* sign, exponent, fraction: read without a union */
                    for (int k = 0; k < 4; k++)
                        word |= (uint32_t)b[k] << 8 * k;
                    double value = ldexp((double)((word & 0x7fffff) | 0x800000),
                                         (int)(word >> 23 & 255) - 150);
                    const struct layer *y = &net.layer[l];
                    assert_true((word >> 31 ? -value : value) ==
                                (bias ? y->b[j] : y->W[i * out + j]));
                }
            next += 4 * n;
        }
    assert_int_equal(size, 8 + length + next);
    free(header);
    free(bytes);
    network_free(&net);
}

/* --- pictures ----------------------------------------------------------------------- */

/* Writes a PNG from RGBA and reads it as the program does. */
void see(real *x, const unsigned char *rgba, size_t width, size_t height, int format) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_RGBA};
    unsigned char *flat = allocate(width * height, 4);
    memcpy(flat, rgba, width * height * 4);
    if (format == PNG_FORMAT_GRAY) {
        png.format = PNG_FORMAT_GRAY;
        for (size_t k = 0; k < width * height; k++)
            flat[k] = rgba[4 * k];
    } else if (format == PNG_FORMAT_RGB) {
        png.format = PNG_FORMAT_RGB;
        for (size_t k = 0; k < width * height; k++)
            memmove(flat + 3 * k, flat + 4 * k, 3);
    }
    assert_int_not_equal(png_image_write_to_file(&png, in_folder("picture.png"), 0, flat, 0, NULL),
                         0);
    free(flat);
    read_picture(x, in_folder("picture.png"));
}

/* A letter L, `pen` wide, on a square canvas, in two colours given as red, green, blue, opacity. */
void draw_L(unsigned char *rgba, size_t side, size_t pen, const unsigned char *paper,
            const unsigned char *ink) {
    for (size_t y = 0; y < side; y++)
        for (size_t u = 0; u < side; u++) {
            int down = u >= side / 4 && u < side / 4 + pen && y >= side / 5 && y < side - side / 5;
            int foot = y < side - side / 5 && y >= side - side / 5 - pen && u >= side / 4 &&
                       u < side - side / 3;
            memcpy(rgba + 4 * (y * side + u), down || foot ? ink : paper, 4);
        }
}

double differs(const real *a, const real *b) {
    double most = 0;
    for (size_t i = 0; i < PIXELS; i++)
        most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

void pictures_of_any_kind(void **state) {
    (void)state;
    enum { S = 60 };
    static unsigned char rgba[S * S * 4];
    static const unsigned char black[] = {0, 0, 0, 255}, white[] = {255, 255, 255, 255},
                               clear[] = {9, 99, 200, 0}, navy[] = {0, 0, 80, 255},
                               yellow[] = {255, 240, 90, 255}, gray[] = {100, 100, 100, 255};
    real x[PIXELS], y[PIXELS];
    draw_L(rgba, S, 6, black, white);
    see(x, rgba, S, S, PNG_FORMAT_GRAY);
    double mass = 0, middle_x = 0, middle_y = 0, brightest = 0;
    for (size_t i = 0; i < PIXELS; i++) {
        assert_true(x[i] >= 0 && x[i] <= 1);
        mass += x[i];
        middle_x += x[i] * ((double)(i % SIDE) + 0.5);
        middle_y += x[i] * ((double)(i / SIDE) + 0.5);
        brightest = fmax(brightest, x[i]);
    }
    /* 36 x 25 pixels, which become 20 x 13.9: the middle of its mass is where MNIST has it */
    assert_true(brightest == 1 && mass > 60 && mass < 120);
    assert_true(fabs(middle_x / mass - 14) <= 0.51 && fabs(middle_y / mass - 14) <= 0.51);
    size_t rows = 0, cols = 0;
    for (size_t i = 0; i < SIDE; i++) {
        int row = 0, col = 0;
        for (size_t k = 0; k < SIDE; k++) {
            row |= x[i * SIDE + k] > 0;
            col |= x[k * SIDE + i] > 0;
        }
        rows += (size_t)row;
        cols += (size_t)col;
    }
    assert_int_equal(rows, 20);
    assert_int_equal(cols, 14);

    see(y, rgba, S, S, PNG_FORMAT_RGB); /* other formats of the same */
    assert_true(differs(x, y) < 1e-12);
    draw_L(rgba, S, 6, white, black); /* dark on light */
    see(y, rgba, S, S, PNG_FORMAT_GRAY);
    assert_true(differs(x, y) < 1e-12);
    draw_L(rgba, S, 6, clear, black); /* what is transparent is white paper */
    see(y, rgba, S, S, PNG_FORMAT_RGBA);
    assert_true(differs(x, y) < 1e-12);
    draw_L(rgba, S, 6, navy, yellow); /* coloured, and not of full contrast */
    see(y, rgba, S, S, PNG_FORMAT_RGB);
    assert_true(differs(x, y) < 1e-12);
    draw_L(rgba, S, 6, white, gray);
    see(y, rgba, S, S, PNG_FORMAT_GRAY);
    assert_true(differs(x, y) < 1e-12);
}

void odd_pictures(void **state) {
    (void)state;
    enum { W = 3000, H = 700 };
    real x[PIXELS];
    double ink = 0;
    unsigned char *rgba = allocate(W * H, 4);
    memset(rgba, 255, W * H * 4);
    memset(rgba + 4 * (350 * W + 123), 0, 3); /* one black pixel: a square of ink, 20 x 20 */
    see(x, rgba, W, H, PNG_FORMAT_GRAY);
    for (size_t i = 0; i < PIXELS; i++)
        ink += x[i];
    assert_true(fabs(ink - 400) < 1e-6 && x[4 * SIDE + 4] == 1 && x[3 * SIDE + 4] == 0);

    memset(rgba, 255, W * H * 4);
    for (size_t u = 0; u < W; u++) /* from edge to edge, one pixel high: a line in the middle */
        memset(rgba + 4 * (350 * W + u), 0, 3);
    see(x, rgba, W, H, PNG_FORMAT_GRAY);
    ink = 0;
    for (size_t i = 0; i < PIXELS; i++)
        ink += x[i];
    assert_true(fabs(ink - 20) < 1e-6);
    for (size_t u = 4; u < 24; u++)
        assert_true(fabs(x[14 * SIDE + u] - 1) < 1e-6 || fabs(x[13 * SIDE + u] - 1) < 1e-6);

    memset(rgba, 255, W * H * 4); /* heavy on one side: the thin tail must not be cut off */
    for (size_t v = 250; v < 450; v++)
        memset(rgba + 4 * (v * W), 0, 4 * 200);
    for (size_t v = 348; v < 352; v++)
        memset(rgba + 4 * (v * W), 0, 4 * 500);
    for (size_t k = 3; k < W * H * 4; k += 4)
        rgba[k] = 255;
    see(x, rgba, W, H, PNG_FORMAT_GRAY);
    size_t columns = 0; /* all 20, and no room left at the right */
    for (size_t u = 0; u < SIDE; u++) {
        int inked = 0;
        for (size_t v = 0; v < SIDE; v++)
            inked |= x[v * SIDE + u] > 0;
        columns += (size_t)inked;
    }
    assert_int_equal(columns, 20);
    free(rgba);
    see(x, (unsigned char[]){0, 0, 0, 255, 255, 255, 255, 255}, 2, 1, PNG_FORMAT_RGBA);
}

#ifdef EXERCISE
#include EXERCISE

/* --- the judge of the exercise ------------------------------------------------------ */
enum { IN = 4, WIDE = 5 };

/* A layer with memory of its own. */
struct own_layer {
    struct layer y;
    real W[IN * WIDE + WIDE * WIDE], b[WIDE], dW[IN * WIDE + WIDE * WIDE], db[WIDE];
    real Wt[IN * WIDE + WIDE * WIDE], s[B * WIDE], h[B * WIDE], ds[B * WIDE], dh[B * WIDE];
};

void own(struct own_layer *o, size_t in) {
    o->y = (struct layer){.in = in,
                          .out = WIDE,
                          .f = TANH,
                          .W = o->W,
                          .b = o->b,
                          .dW = o->dW,
                          .db = o->db,
                          .Wt = o->Wt,
                          .s = o->s,
                          .h = o->h,
                          .ds = o->ds,
                          .dh = o->dh};
}

/* `other` is a second copy of the first layer with an input of its own. Where `apart` is set, it
   feeds the bridge, and so the shares of the two ways can be measured one by one. */
struct bridge {
    struct own_layer first, second, other;
    real x[B * IN], other_x[B * IN], dx[B * IN], y[B * WIDE], c[B * WIDE];
    int apart;
};

double bridge_loss(void *context, double *example) {
    struct bridge *t = context;
    double loss = 0;
    bridge_forward(t->y, &t->first.y, &t->second.y, t->x, B);
    if (t->apart) {
        layer_forward(&t->other.y, t->other_x, 0, B);
        for (size_t k = 0; k < B * WIDE; k++)
            t->y[k] = t->second.h[k] + t->other.h[k];
    }
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t j = 0; j < WIDE; j++)
            example[r] += t->c[r * WIDE + j] * t->y[r * WIDE + j];
        loss += example[r];
    }
    return loss;
}

void bridge_gradient(void *context) {
    struct bridge *t = context;
    double example[B];
    struct own_layer *layer[] = {&t->first, &t->second};
    for (size_t l = 0; l < 2; l++) {
        struct own_layer *o = layer[l];
        memset(o->dW, 0, sizeof o->dW);
        memset(o->db, 0, sizeof o->db);
        memset(o->ds, 0, sizeof o->ds);
        memset(o->dh, 0, sizeof o->dh);
        transpose(o->Wt, o->W, o->y.in, WIDE, 0, o->y.in);
    }
    memset(t->dx, 0, sizeof t->dx);
    bridge_loss(t, example);
    bridge_backward(&t->first.y, &t->second.y, t->dx, t->c, t->x, B);
}

/* The share of one way: nudge the copy that goes it, leave the other. */
void share_of(double *share, struct bridge *t, real *copy, size_t n) {
    double example[B], h = 1e-6;
    memcpy(t->other.W, t->first.W, sizeof t->first.W);
    memcpy(t->other.b, t->first.b, sizeof t->first.b);
    memcpy(t->other_x, t->x, sizeof t->x);
    t->apart = 1;
    for (size_t k = 0; k < n; k++) {
        real keep = copy[k];
        copy[k] = keep + h;
        double up = bridge_loss(t, example);
        copy[k] = keep - h;
        share[k] = (up - bridge_loss(t, example)) / (2 * h);
        copy[k] = keep;
    }
    t->apart = 0;
}

/* --- end of the judge of the exercise ------------------------------------------------ */

void exercise(void **state) {
    (void)state;
    static struct bridge t;
    static double through[3][B * IN + IN * WIDE], over[3][B * IN + IN * WIDE];
    static double slope[2][B * WIDE], late[3][B * IN + IN * WIDE], from_h2[WIDE * WIDE];
    struct random r;
    random_seed(&r, 15);
    own(&t.first, IN);
    own(&t.second, WIDE);
    own(&t.other, IN);
    fill(t.x, B * IN, -1, 1, &r);
    fill(t.c, B * WIDE, -1, 1, &r);
    fill(t.first.W, IN * WIDE, -1, 1, &r);
    fill(t.first.b, WIDE, -1, 1, &r);
    fill(t.second.W, WIDE * WIDE, -1, 1, &r);
    fill(t.second.b, WIDE, -1, 1, &r);
    real *copy[2][3] = {{t.x, t.first.W, t.first.b}, {t.other_x, t.other.W, t.other.b}};
    const size_t n[] = {B * IN, IN * WIDE, WIDE};
    for (size_t k = 0; k < 3; k++) {
        share_of(through[k], &t, copy[0][k], n[k]);
        share_of(over[k], &t, copy[1][k], n[k]);
    }
    bridge_gradient(&t);
    measure_slopes(slope[0], t.first.s, TANH, B * WIDE);
    measure_slopes(slope[1], t.second.s, TANH, B * WIDE);
    for (size_t k = 0; k < 3; k++)
        memcpy(late[k], through[k], n[k] * sizeof(double));
    for (size_t e = 0; e < B; e++)
        for (size_t j = 0; j < WIDE; j++) { /* dy added to ds1 instead of dh1 */
            double dy = t.c[e * WIDE + j];
            late[2][j] += dy;
            for (size_t i = 0; i < IN; i++) {
                late[0][e * IN + i] += dy * t.first.W[i * WIDE + j];
                late[1][i * WIDE + j] += dy * t.x[e * IN + i];
            }
            for (size_t i = 0; i < WIDE; i++) /* h2 taken for what came into the second layer */
                from_h2[i * WIDE + j] += dy * slope[1][e * WIDE + j] * t.second.h[e * WIDE + i];
        }
    struct gradcheck check = {.title = "exercise 5, a layer with a bridge over it",
                              .loss = bridge_loss,
                              .backward = bridge_gradient,
                              .net = &t,
                              .batch = B};
    struct gc_tensor *tensor[3];
    tensor[0] = gc_add(&check, "x", t.x, t.dx, B, IN);
    tensor[1] = gc_add(&check, "W1", t.first.W, t.first.dW, IN, WIDE);
    tensor[2] = gc_add(&check, "b1", t.first.b, t.first.db, 1, WIDE);
    tensor[1]->slope = tensor[2]->slope = slope[0];
    for (size_t k = 0; k < 3; k++) {
        gc_foresee(tensor[k],
                   "This is what comes through the second layer alone: what comes over the bridge "
                   "is lost. h1 is used twice, so dh1 must collect both, with +=, before it is "
                   "used.",
                   NULL, through[k]);
        gc_foresee(tensor[k],
                   "This is what comes over the bridge alone: what comes through the second layer "
                   "is lost. h1 is used twice, so dh1 must collect both, with +=, before it is "
                   "used.",
                   NULL, over[k]);
        gc_foresee(tensor[k],
                   "What comes over the bridge has passed by the slope f'(s1): it belongs to dh1, "
                   "not to ds1.",
                   NULL, late[k]);
    }
    struct gc_tensor *W2 = gc_add(&check, "W2", t.second.W, t.second.dW, WIDE, WIDE);
    W2->slope = slope[1];
    gc_foresee(W2, "What came into the second layer is h1; here stands what left it, h2.", NULL,
               from_h2);
    gc_add(&check, "b2", t.second.b, t.second.db, 1, WIDE)->slope = slope[1];
    assert_int_equal(gc_run(&check), 0);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {cmocka_unit_test(exercise)};
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_of_any_shape),
        cmocka_unit_test(transposes_any_shape),
        cmocka_unit_test(shares_cover_everything),
        cmocka_unit_test(losses_are_the_plain_formulas),
        cmocka_unit_test(activations_are_themselves),
        cmocka_unit_test(relu_and_cross_entropy),
        cmocka_unit_test(each_activation),
        cmocka_unit_test(both_losses),
        cmocka_unit_test(each_activation_with_each_loss),
        cmocka_unit_test(one_step_of_training),
        cmocka_unit_test(evaluates_in_batches),
        cmocka_unit_test(same_for_any_number_of_cores),
        cmocka_unit_test(rate_follows_half_a_cosine),
        cmocka_unit_test(neighbours_by_hand),
        cmocka_unit_test(fresh_curves),
        cmocka_unit_test(weights_come_back),
        cmocka_unit_test(the_file_is_as_others_expect_it),
        cmocka_unit_test(pictures_of_any_kind),
        cmocka_unit_test(odd_pictures),
        cmocka_unit_test(every_parameter),
        cmocka_unit_test(every_parameter_at_full_size),
    };
#endif
    int failed = cmocka_run_group_tests(tests, make_scratch, remove_scratch);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
