/* test_sparsity.c: every gradient of chapter 7 against finite differences, in double: without a
   penalty, with each penalty, and whether a penalty couples the images of a batch; and the exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "sparsity.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"

/* --- a small autoencoder ------------------------------------------------------ */
enum { B = 3, N = 6, D = 8 };
struct small {
    struct autoencoder m;
    struct penalty penalty;
    size_t batch;                            /* B, or 1 */
    real x[B * N], target[B * N], dx[B * N]; /* input and target are one image; here they are two */
    double example[B], mean[D];
    int slip; /* 1: the gradient is that of KL_EACH, the loss is not */
    real *Wt; /* (D,N) the encoder's weights transposed, which only dx needs */
    double slope[B * D], guess[16][N * D];
    size_t guesses;
};

void fill(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

/* The program tells what each image costs. The check wants each image's share of the mean. */
double as_shares(struct small *w, double *example, struct losses l) {
    for (size_t r = 0; r < w->batch; r++)
        example[r] = w->example[r] / (double)w->batch;
    return l.squared + l.penalty;
}

double loss_from_a(void *context, double *example) {
    struct small *w = context;
    return as_shares(w, example,
                     loss_from_code(&w->m, &w->penalty, w->example, w->mean, w->target, w->batch));
}

double loss_from_s(void *context, double *example) {
    struct small *w = context;
    struct layer *y = &w->m.encoder;
    activation_forward(y->h, y->s, y->f, w->batch * D);
    return loss_from_a(w, example);
}

double whole_loss(void *context, double *example) {
    struct small *w = context;
    encode(&w->m, w->x, w->batch);
    return loss_from_a(w, example);
}

void whole_backward(void *context) {
    struct small *w = context;
    struct penalty p = w->penalty;
    if (w->slip)
        p.kind = KL_EACH;
    turn_strokes(&w->m);
    transpose(w->Wt, w->m.encoder.W, N, D, 0, N);
    memset(w->dx, 0, sizeof w->dx);
    autoencoder_gradient(&w->m, &p, w->example, w->mean, w->dx, w->x, w->target, w->batch);
}

/* An activation within reach of a step stands on each side of a corner: `corner` of unit 3 of image
   0. With a ReLU each unit is off for some images and on for others. */
void new_small(struct small *w, enum activation f, struct penalty p, size_t batch, double corner,
               uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    memset(w, 0, sizeof *w);
    w->m = autoencoder_new(N, D, f, batch);
    w->m.encoder.Wt = w->Wt = numbers(N * D);
    w->penalty = p;
    w->batch = batch;
    fill(w->x, batch * N, 0.1, 1, &r);
    fill(w->target, batch * N, 0.1, 1, &r);
    fill(w->m.tensor[0].value, N * D, -1, 1, &r);
    fill(w->m.tensor[1].value, D, -0.5, 0.5, &r);
    fill(w->m.tensor[2].value, D * N, 0.05, 0.5, &r);
    struct layer *y = &w->m.encoder;
    encode(&w->m, w->x, batch);
    if (f == RELU) /* the median image of each unit is on, the lowest is off */
        for (size_t j = 0; j < D; j++) {
            double low = INFINITY, next = INFINITY;
            for (size_t i = 0; i < batch; i++) {
                next = fmin(next, fmax(low, y->s[i * D + j]));
                low = fmin(low, y->s[i * D + j]);
            }
            y->b[j] -= (low + next) / 2;
        }
    encode(&w->m, w->x, batch);
    if (corner != 0)
        y->b[3] -= y->s[3] - corner;
    encode(&w->m, w->x, batch);
    for (size_t i = 0; i < batch * D; i++) {
        real t[2] = {y->s[i] + 1e-6, y->s[i] - 1e-6}, h[2];
        activation_forward(h, t, f, 2);
        w->slope[i] = (h[0] - h[1]) / (t[0] - t[1]);
    }
}

void free_small(struct small *w) {
    autoencoder_free(&w->m);
    free(w->Wt);
}

/* --- what may go wrong ---------------------------------------------------------- */
/* Where the claim is what the text derives, and the difference is not, the loss itself is wrong. */
const char *loss_is_wrong = "This gradient is the one that the text derives. The loss is another: "
                            "look at the forward pass.";

/* A foreseen gradient of tensor t: n numbers that begin as `base`, to which a mistake is added. */
double *foresee(struct small *w, struct gc_tensor *t, const char *says, const double *base) {
    double *guess = w->guess[w->guesses++];
    assert_true(w->guesses <= sizeof w->guess / sizeof *w->guess);
    if (base)
        memcpy(guess, base, t->rows * t->cols * sizeof *guess);
    gc_foresee(t, says, NULL, guess);
    return guess;
}

/* In da. `back` (B,D) is what comes back from the reconstruction alone. */
void foresee_code(struct small *w, struct gc_tensor *t, const double *back) {
    const struct penalty *p = &w->penalty;
    const real *a = w->m.encoder.h;
    size_t n = w->batch * D;
    double images = (double)w->batch;
    if (p->kind == NONE)
        return;
    foresee(w, t, "This is the gradient without the penalty.", back);
    double *right = foresee(w, t, loss_is_wrong, back);
    if (p->kind == L1) {
        double *count = foresee(w, t,
                                "The sign of the activation is missing: the pull of |a| goes "
                                "towards 0 from both sides.",
                                back),
               *square = foresee(w, t,
                                 "This is the slope of lambda a^2: the pull fades where a is "
                                 "small. That of |a| does not.",
                                 back),
               *value = foresee(w, t, "The activation itself stands where only its sign is meant.",
                                back),
               *sum = foresee(w, t, "The penalty's pull is not divided by B.", back),
               *away = foresee(w, t, "The penalty pulls away from 0: its sign is flipped.", back),
               *twice = foresee(w, t, "The penalty is counted twice.", back);
        for (size_t k = 0; k < n; k++) {
            double pull = p->lambda / images, sign = (a[k] > 0) - (a[k] < 0);
            count[k] += pull;
            square[k] += 2 * pull * a[k];
            value[k] += pull * a[k];
            sum[k] += pull * images * sign;
            away[k] -= pull * sign;
            twice[k] += 2 * pull * sign;
            right[k] += pull * sign;
        }
        return;
    }
    if (p->kind == KL) {
        double *each = foresee(w, t,
                               "This is the KL of one example's activation: the slope must be "
                               "taken at the batch mean.",
                               back),
               *sum = foresee(w, t,
                              "The penalty's slope is not divided by B: each activation has a "
                              "share of 1/B in the mean.",
                              back),
               *away = foresee(
                   w, t, "The penalty drives the mean away from rho: its sign is flipped.", back),
               *silent = foresee(w, t,
                                 "Only the half that keeps a unit from falling silent is there: "
                                 "(1-rho)/(1-mean) is missing.",
                                 back),
               *first = foresee(w, t,
                                "The penalty acts on image 0 alone: all images have a share in "
                                "the mean.",
                                back),
               *loud = foresee(w, t,
                               "Only the half that keeps a unit from being loud is there: "
                               "-rho/mean is missing.",
                               back);
        for (size_t k = 0; k < n; k++) {
            double m = 0, pull = p->lambda / images, rho = p->rho, one = a[k];
            for (size_t r = 0; r < w->batch; r++)
                m += a[r * D + k % D] / images;
            double slope = -rho / m + (1 - rho) / (1 - m);
            each[k] += pull * (-rho / one + (1 - rho) / (1 - one));
            sum[k] += p->lambda * slope;
            away[k] -= pull * slope;
            first[k] += k < D ? pull * slope : 0;
            silent[k] -= pull * rho / m;
            loud[k] += pull * (1 - rho) / (1 - m);
            right[k] += pull * slope;
        }
        return;
    }
    if (p->kind == KL_EACH) {
        double *sum = foresee(w, t, "The penalty's slope is not divided by B.", back);
        for (size_t k = 0; k < n; k++) {
            double slope = -p->rho / a[k] + (1 - p->rho) / (1 - a[k]);
            right[k] += p->lambda / images * slope;
            sum[k] += p->lambda * slope;
        }
    }
}

/* Adds all tensors in the order of the way up, with hints. Call when the backward pass has run. */
void add_tensors(struct gradcheck *check, struct small *w) {
    struct autoencoder *m = &w->m;
    size_t n = w->batch;
    gc_add(check, "x", w->x, w->dx, n, N);
    struct gc_tensor *W = gc_add(check, "W", m->encoder.W, m->encoder.dW, N, D);
    W->slope = w->slope;
    gc_add(check, "b", m->encoder.b, m->encoder.db, 1, D)->slope = w->slope;
    struct gc_tensor *s = gc_add(check, "s", m->encoder.s, m->encoder.ds, n, D);
    s->loss = loss_from_s;
    s->slope = w->slope;
    struct gc_tensor *a = gc_add(check, "a", m->encoder.h, m->encoder.dh, n, D);
    a->loss = loss_from_a;
    struct gc_tensor *V = gc_add(check, "V", m->decoder.W, m->decoder.dW, D, N);
    double back[B * D] = {0}, back_V[D * N] = {0}, xhat[B * N] = {0};
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < D; j++)
                xhat[r * N + i] += m->encoder.h[r * D + j] * m->decoder.W[j * N + i];
            double dxhat = 2 * (xhat[r * N + i] - w->target[r * N + i]) / (double)n;
            for (size_t j = 0; j < D; j++) {
                back[r * D + j] += dxhat * m->decoder.W[j * N + i];
                back_V[j * N + i] += dxhat * m->encoder.h[r * D + j];
            }
        }
    foresee_code(w, a, back);
    double *from_sums = foresee(w, V,
                                "The gradient of V is taken from the sums s: it is the code a "
                                "that V is multiplied with.",
                                NULL);
    for (size_t k = 0; k < D * N; k++) {
        from_sums[k] = 0;
        for (size_t r = 0; r < n; r++)
            from_sums[k] += m->encoder.s[r * D + k / N] * 2 *
                            (xhat[r * N + k % N] - w->target[r * N + k % N]) / (double)n;
        if (w->penalty.kind == L1_WEIGHTS)
            from_sums[k] += w->penalty.lambda * (m->decoder.W[k] > 0 ? 1 : -1);
    }
    double *slopeless = foresee(w, s, "The activation's derivative is missing: ds is da.", NULL);
    memcpy(slopeless, m->encoder.dh, n * D * sizeof *slopeless);
    if (w->penalty.kind == L1_WEIGHTS) {
        foresee(w, V, "This is the gradient without the penalty.", back_V);
        double *square = foresee(w, V,
                                 "This is the slope of a square: the weight itself stands "
                                 "where only its sign is meant.",
                                 back_V);
        for (size_t k = 0; k < D * N; k++)
            square[k] += w->penalty.lambda * m->decoder.W[k];
    }
}

/* How much of each da (or dV) comes from the penalty: the smallest share, over entries where it acts at
   all. A check that cannot see the penalty proves nothing about it. */
double smallest_share(struct small *w) {
    int weights = w->penalty.kind == L1_WEIGHTS;
    const real *grad = weights ? w->m.decoder.dW : w->m.encoder.dh;
    size_t n = weights ? D * N : w->batch * D;
    double with[D * N], share = INFINITY, lambda = w->penalty.lambda;
    whole_backward(w);
    memcpy(with, grad, n * sizeof *with);
    w->penalty.lambda = 0;
    whole_backward(w);
    w->penalty.lambda = lambda;
    for (size_t k = 0; k < n; k++)
        if (with[k] != grad[k])
            share = fmin(share, fabs(1 - grad[k] / with[k]));
    return share;
}

/* Checks everything. Returns the number of tensors that fail. */
int check_small(struct small *w, const char *title, size_t *kinks) {
    struct gradcheck check = {.title = title,
                              .loss = whole_loss,
                              .backward = whole_backward,
                              .net = w,
                              .batch = w->batch};
    gc_size(&check, "the number of pixels n", N);
    gc_size(&check, "the number of units d", D);
    whole_backward(w);
    add_tensors(&check, w);
    int failed = gc_run(&check);
    if (kinks)
        *kinks = check.kinks;
    return failed;
}

/* --- the checks ------------------------------------------------------------------- */
/* The size of the penalty in each check is such that it makes at least this part of a gradient. */
const double seen = 1e-3;

int check_penalty(const char *title, enum activation f, struct penalty p, double corner,
                  size_t least_kinks) {
    static struct small w;
    size_t kinks;
    new_small(&w, f, p, B, corner, 7);
    if (p.kind == L1_WEIGHTS) /* two weights within reach of a step from their corners */
        w.m.encoder.W[5] = w.m.decoder.W[7] = 1e-4;
    int failed = check_small(&w, title, &kinks);
    int visible = p.kind == NONE || smallest_share(&w) > seen;
    free_small(&w);
    if (failed == 0) {
        assert_true(visible);
        assert_true(kinks >= least_kinks);
    }
    return failed;
}

void without_penalty(void **state) {
    (void)state;
    int failed = check_penalty("chapter 7, no penalty, ReLU code", RELU,
                               (struct penalty){NONE, 0, 0}, 1e-4, 1);
    failed += check_penalty("chapter 7, no penalty, sigmoid code", SIGMOID,
                            (struct penalty){NONE, 0, 0}, 0, 0);
    assert_int_equal(failed, 0);
}

/* With a ReLU, |a| = a and the corner is ReLU's. Where a may be negative, |a| has a corner of its
   own: an identity and a tanh code have it. */
void l1_and_its_corner(void **state) {
    (void)state;
    struct penalty p = {L1, 0.7, 0};
    int failed = check_penalty("chapter 7, L1, ReLU code", RELU, p, 1e-4, 1);
    failed += check_penalty("chapter 7, L1, identity code", IDENTITY, p, 1e-4, 1);
    failed += check_penalty("chapter 7, L1, tanh code", TANH, p, 1e-4, 1);
    assert_int_equal(failed, 0);

    /* On the corner itself: 0, which lies between the slopes of the two sides. */
    real a[] = {0, -2, 3, 0}, da[4] = {0};
    l1_backward(da, a, 0.5, 2, 2);
    assert_true(da[0] == 0 && da[1] == -0.25 && da[2] == 0.25 && da[3] == 0);
}

void kl_of_the_batch_mean(void **state) {
    (void)state;
    struct penalty p = {KL, 2, 0.05};
    int failed = check_penalty("chapter 7, KL of the batch mean, B = 3", SIGMOID, p, 0, 0);
    static struct small w;
    new_small(&w, SIGMOID, p, 1, 0, 7);
    failed += check_small(&w, "chapter 7, KL of the batch mean, B = 1", NULL);
    free_small(&w);
    assert_int_equal(failed, 0);
}

/* The gradient of the slip, KL of one example's activation, against the loss of the chapter. With
   one image in the batch the two are the same and no check can tell. With three it can. */
void slip_needs_a_batch(void **state) {
    (void)state;
    static struct small w;
    struct penalty p = {KL, 2, 0.05};
    for (size_t batch = 1; batch <= B; batch += B - 1) {
        new_small(&w, SIGMOID, p, batch, 0, 7);
        w.slip = 1;
        char title[64];
        snprintf(title, sizeof title, "chapter 7, planted: the slip with B = %zu", batch);
        struct gradcheck check = {.title = title,
                                  .loss = whole_loss,
                                  .backward = whole_backward,
                                  .net = &w,
                                  .batch = batch};
        whole_backward(&w);
        struct gc_tensor *a = gc_add(&check, "a", w.m.encoder.h, w.m.encoder.dh, batch, D);
        a->loss = loss_from_a;
        double back[B * D];
        w.penalty.lambda = 0;
        whole_backward(&w);
        w.penalty.lambda = p.lambda;
        memcpy(back, w.m.encoder.dh, batch * D * sizeof *back);
        whole_backward(&w);
        foresee_code(&w, a, back);
        double worst = gc_total.worst_error; /* a mistake made on purpose does not count */
        size_t entries = gc_total.entries, resolved = gc_total.resolved;
        int failed = gc_run(&check);
        gc_total.worst_error = worst;
        gc_total.entries = entries;
        gc_total.resolved = resolved;
        free_small(&w);
        assert_int_equal(failed, batch == 1 ? 0 : 1);
    }
}

/* We nudge what unit 0 says to image 0, and look at the penalty's gradient at each image. */
void coupling(void **state) {
    (void)state;
    real a[B * D];
    struct random r;
    random_seed(&r, 3);
    fill(a, B * D, 0.05, 0.4, &r);
    const double lambda = 2, rho = 0.05, h = 1e-5;
    double moved[2][B], m = (a[0] + a[D] + a[2 * D]) / B;
    for (int kl = 0; kl < 2; kl++) {
        double da[2][B * D] = {{0}}, mean[D], keep = a[0];
        for (int side = 0; side < 2; side++) {
            a[0] = keep + (side ? h : -h);
            mean_activation(mean, a, B, D);
            if (kl)
                kl_backward(da[side], mean, lambda, rho, B, D);
            else
                l1_backward(da[side], a, lambda, B, D);
            a[0] = keep;
        }
        for (size_t k = 0; k < B; k++)
            moved[kl][k] = (da[1][k * D] - da[0][k * D]) / (2 * h);
    }
    double theory = lambda / (B * B) * (rho / (m * m) + (1 - rho) / ((1 - m) * (1 - m)));
    printf(
        "chapter 7, coupling: unit 0 says a little more to image 0; the penalty's gradient moves\n"
        "              at image 0   at image 1   at image 2   by the formula\n"
        "  L1        %12.4f %12.4f %12.4f %12.4f, 0, 0\n"
        "  KL        %12.4f %12.4f %12.4f %12.4f everywhere\n\n",
        moved[0][0], moved[0][1], moved[0][2], 0.0, moved[1][0], moved[1][1], moved[1][2], theory);
    for (size_t k = 0; k < B; k++)
        assert_true(moved[0][k] == 0 && fabs(moved[1][k] / theory - 1) < 1e-6);

    /* Nor is the penalty of a batch the mean of those of its images. */
    double all[D], one[D], sum = 0;
    mean_activation(all, a, B, D);
    for (size_t k = 0; k < B; k++) {
        mean_activation(one, a + k * D, 1, D);
        sum += kl_forward(one, lambda, rho, D) / B;
    }
    assert_true(sum > 1.01 * kl_forward(all, lambda, rho, D)); /* KL is convex: it is larger */
}

void the_two_slips(void **state) {
    (void)state;
    int failed = check_penalty("chapter 7, KL of each image, as a loss of its own", SIGMOID,
                               (struct penalty){KL_EACH, 2, 0.05}, 0, 0);
    failed += check_penalty("chapter 7, L1 on weights", SIGMOID,
                            (struct penalty){L1_WEIGHTS, 0.3, 0}, 0, 2);
    assert_int_equal(failed, 0);
}

/* --- numbers that can be done by hand ------------------------------------------------ */
int near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fmax(1, fabs(b));
}

void penalties_by_hand(void **state) {
    (void)state;
    /* Two images, two units: |1| + |-2| = 3 and |0.5| + |0| = 0.5, times 2, mean 3.5. */
    real a[] = {1, -2, 0.5, 0};
    double example[2] = {10, 20};
    assert_true(near(l1_forward(example, a, 2, 2, 2), 3.5));
    assert_true(near(example[0], 16) && near(example[1], 21));
    /* KL(1/2 || 1/4) = log(2)/2 + log(2/3)/2 = log(4/3)/2, slope -2 + 2/3; KL(p || p) = 0. */
    assert_true(coin_kl(0.05, 0.05) == 0 && near(coin_kl_slope(0.05, 0.05), 0));
    assert_true(near(coin_kl(0.5, 0.25), log(4.0 / 3) / 2));
    assert_true(near(coin_kl_slope(0.5, 0.25), -4.0 / 3));
    assert_true(coin_kl(0.05, 0.2) > 0 && coin_kl(0.05, 0.01) > 0);
    /* A unit that says 1 to half of the images has the mean of one that says 1/2 to all. */
    real by_unit[] = {1, 0.5, 0, 0.5}, da[4] = {0}; /* unit 0 says 1 and 0, unit 1 says 0.5 twice */
    double mean[2];
    mean_activation(mean, by_unit, 2, 2);
    assert_true(near(mean[0], 0.5) && near(mean[1], 0.5));
    assert_true(near(kl_forward(mean, 3, 0.25, 2), 6 * (0.25 * log(0.5) + 0.75 * log(1.5))));
    kl_backward(da, mean, 3, 0.25, 2, 2); /* 3/2 (-1/2 + 3/2) = 1.5, for both images */
    for (size_t k = 0; k < 4; k++)
        assert_true(near(da[k], 1.5));
    /* The two, taken image by image: 1 and 0 cost far more than 1/2 and 1/2. */
    double each[2] = {0, 0};
    real first[] = {1, 0}, second[] = {0.5, 0.5};
    double loud = kl_each_forward(each, first, 1, 0.25, 2, 1),
           flat = kl_each_forward(each, second, 1, 0.25, 2, 1);
    assert_true(loud > 10 * flat);
    /* Weights: |1| + |-2| + |0.5| = 3.5, times 0.1; sign 0 at 0. */
    real dw[4] = {0};
    assert_true(near(l1_weights_forward(a, 0.1, 4), 0.35));
    l1_weights_backward(dw, a, 0.1, 4);
    assert_true(near(dw[0], 0.1) && near(dw[1], -0.1) && near(dw[2], 0.1) && dw[3] == 0);
}

/* A mean of 0 or 1 must not make infinities: the cost is finite, the pull goes the right way. */
void coins_at_the_edge(void **state) {
    (void)state;
    assert_true(isfinite(coin_kl(0.05, 0)) && isfinite(coin_kl(0.05, 1)));
    assert_true(coin_kl(0.05, 0) > coin_kl(0.05, 0.001) && coin_kl(0.05, 1) > coin_kl(0.05, 0.999));
    assert_true(coin_kl_slope(0.05, 0) < -1e4 && coin_kl_slope(0.05, 1) > 1e5);
    assert_true(fabs(coin_kl_slope(0.05, 0)) < 1e6 && isfinite((float)coin_kl_slope(0.05, 1)));
}

/* What was in a gradient before must still be in it. */
void gradients_are_added(void **state) {
    (void)state;
    static const char *const name[] = {"l1_backward", "kl_backward", "kl_each_backward",
                                       "l1_weights_backward"};
    real a[] = {0.2, 0.3, 0.4, 0.6};
    double mean[2];
    mean_activation(mean, a, 2, 2);
    for (int k = 0; k < 4; k++) {
        real d[2][4] = {{0, 0, 0, 0}, {1, 1, 1, 1}};
        for (int before = 0; before < 2; before++) {
            if (k == 0)
                l1_backward(d[before], a, 0.5, 2, 2);
            else if (k == 1)
                kl_backward(d[before], mean, 0.5, 0.05, 2, 2);
            else if (k == 2)
                kl_each_backward(d[before], a, 0.5, 0.05, 2, 2);
            else
                l1_weights_backward(d[before], a, 0.5, 4);
        }
        for (int i = 0; i < 4; i++)
            if (fabs(d[1][i] - 1 - d[0][i]) > 1e-14) {
                printf("  %s forgets what was in the gradient before: an = stands where += is "
                       "meant.\n",
                       name[k]);
                fail();
            }
    }
}

/* A stroke of 3, -1, 4 loses its negative ink and becomes 0.6, 0, 0.8; a short one stays; with the
   ReLU code multiplied and the strokes divided by ten, the picture is the same and L1 ten times
   as large: without a limit, shrinking the code costs nothing. */
void strokes_are_kept(void **state) {
    (void)state;
    real V[] = {3, -1, 4, 0.3, 0.1, -5};
    keep_strokes(V, 2, 3, 1);
    if (!(near(V[0], 0.6) && V[1] == 0 && near(V[2], 0.8) && near(V[3], 0.3) && near(V[4], 0.1) &&
          V[5] == 0)) {
        printf("  A stroke is not kept: it has negative ink, is longer than 1, or was changed "
               "without need.\n");
        fail();
    }
    static struct small w;
    double none[B];
    new_small(&w, RELU, (struct penalty){L1, 1, 0}, B, 0, 9);
    encode(&w.m, w.x, B);
    struct losses before = loss_from_code(&w.m, &w.penalty, none, w.mean, w.target, B);
    for (size_t k = 0; k < N * D + D; k++) /* W and b, which lie side by side */
        w.m.value[k] *= 0.1;
    for (size_t k = 0; k < D * N; k++)
        w.m.decoder.W[k] *= 10;
    encode(&w.m, w.x, B);
    struct losses after = loss_from_code(&w.m, &w.penalty, none, w.mean, w.target, B);
    assert_true(near(after.squared, before.squared) && near(after.penalty, before.penalty / 10));
    free_small(&w);
}

/* With d >= n an overcomplete code can copy: W the identity, V the identity, no error at all. */
void a_code_can_copy(void **state) {
    (void)state;
    static struct small w;
    double none[B];
    new_small(&w, RELU, (struct penalty){NONE, 0, 0}, B, 0, 11);
    memset(w.m.value, 0, w.m.parameters * sizeof(real));
    for (size_t i = 0; i < N; i++)
        w.m.encoder.W[i * D + i] = w.m.decoder.W[i * N + i] = 1;
    keep_strokes(w.m.decoder.W, D, N, 1);
    encode(&w.m, w.x, B);
    struct losses l = loss_from_code(&w.m, &w.penalty, none, w.mean, w.x, B);
    assert_true(l.squared == 0);
    free_small(&w);
}

void sparsity_by_hand(void **state) {
    (void)state;
    real same[] = {2, 2, 2, 2}, one[] = {0, 0, 7, 0}, half[] = {1, 0, 1, 0}, dead[4] = {0};
    assert_true(treves_rolls(same, 4) == 1 && treves_rolls(one, 4) == 0.25);
    assert_true(treves_rolls(half, 4) == 0.5 && treves_rolls(dead, 4) == 0);
    assert_true(active_fraction(one, 0, 4) == 0.25 && active_fraction(half, 0.1, 4) == 0.5);
}

#ifdef EXERCISE
#include EXERCISE

/* --- the exercise --------------------------------------------------------------------- */
struct exercise {
    real a[B * D], da[B * D];
    double m[D], q[D], lambda, rho;
};

double exercise_kl_loss(void *context, double *example) {
    struct exercise *e = context;
    memset(example, 0, B * sizeof *example); /* the penalty belongs to no image */
    mean_activation(e->m, e->a, B, D);
    return kl_forward(e->m, e->lambda, e->rho, D);
}

void exercise_kl_gradient(void *context) {
    struct exercise *e = context;
    memset(e->da, 0, sizeof e->da);
    exercise_kl_backward(e->da, e->a, e->lambda, e->rho, B, D);
}

double selectivity_loss(void *context, double *example) {
    struct exercise *e = context;
    memset(example, 0, B * sizeof *example);
    return selectivity_forward(e->m, e->q, e->a, e->lambda, B, D);
}

void selectivity_gradient(void *context) {
    struct exercise *e = context;
    double example[B];
    memset(e->da, 0, sizeof e->da);
    selectivity_loss(e, example);
    selectivity_backward(e->da, e->a, e->m, e->q, e->lambda, B, D);
}

void new_exercise(struct exercise *e, uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    memset(e, 0, sizeof *e);
    fill(e->a, B * D, 0.05, 0.9, &r);
    e->lambda = 2;
    e->rho = 0.05;
}

void repaired_kl(void **state) {
    (void)state;
    static struct exercise e;
    static double each_sum[B * D], each[B * D], silent[B * D];
    new_exercise(&e, 21);
    for (size_t k = 0; k < B * D; k++) {
        double m = (e.a[k % D] + e.a[D + k % D] + e.a[2 * D + k % D]) / B, one = e.a[k];
        each_sum[k] = e.lambda * (-e.rho / one + (1 - e.rho) / (1 - one));
        each[k] = each_sum[k] / B;
        silent[k] = -e.lambda * e.rho / m / B;
    }
    struct gradcheck check = {.title = "exercise 7, part 1: KL of the batch mean",
                              .loss = exercise_kl_loss,
                              .backward = exercise_kl_gradient,
                              .net = &e,
                              .batch = B};
    struct gc_tensor *a = gc_add(&check, "a", e.a, e.da, B, D);
    gc_foresee(a,
               "This is the KL of one example's activation, and without 1/B: the slope must be "
               "taken at the batch mean, and each activation has a share of 1/B in it.",
               NULL, each_sum);
    gc_foresee(a,
               "This is the KL of one example's activation: the slope must be taken at the batch "
               "mean.",
               NULL, each);
    gc_foresee(a, "The half of 1 - rho is missing.", NULL, silent);
    assert_int_equal(gc_run(&check), 0);
}

void selectivity(void **state) {
    (void)state;
    static struct exercise e;
    static double fixed_q[B * D], fixed_m[B * D], no_square[B * D], once[B * D], added[B * D],
        no_share[B * D];
    new_exercise(&e, 22);
    double example[B];
    selectivity_loss(&e, example);
    for (size_t k = 0; k < B * D; k++) {
        double m = e.m[k % D], q = e.q[k % D], l = e.lambda;
        fixed_q[k] = 2 * l * m / (B * q);
        fixed_m[k] = -2 * l * m * m * e.a[k] / (B * q * q);
        no_square[k] = 2 * l * m / (B * q) - 2 * l * m * m * e.a[k] / (B * q);
        once[k] = 2 * l * m / (B * q) - l * m * m * e.a[k] / (B * q * q);
        added[k] = fixed_q[k] - fixed_m[k];
        no_share[k] = fixed_q[k] + B * fixed_m[k];
    }
    struct gradcheck check = {.title = "exercise 7, part 2: selectivity",
                              .loss = selectivity_loss,
                              .backward = selectivity_gradient,
                              .net = &e,
                              .batch = B};
    struct gc_tensor *a = gc_add(&check, "a", e.a, e.da, B, D);
    gc_foresee(a, "The activation stands in q, too: this half of the quotient rule is missing.",
               NULL, fixed_q);
    gc_foresee(a, "The activation stands in m, too: this half of the quotient rule is missing.",
               NULL, fixed_m);
    gc_foresee(a, "In the second half of the quotient rule q must be squared.", NULL, no_square);
    gc_foresee(a, "The square in q has the slope 2 a: the 2 is missing.", NULL, once);
    gc_foresee(a, "The second half of the quotient rule is subtracted, not added.", NULL, added);
    gc_foresee(a, "The activation has a share of 1/B in q, too: there it is missing.", NULL,
               no_share);
    assert_int_equal(gc_run(&check), 0);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repaired_kl),
        cmocka_unit_test(selectivity),
    };
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_penalty),
        cmocka_unit_test(l1_and_its_corner),
        cmocka_unit_test(kl_of_the_batch_mean),
        cmocka_unit_test(slip_needs_a_batch),
        cmocka_unit_test(coupling),
        cmocka_unit_test(the_two_slips),
        cmocka_unit_test(penalties_by_hand),
        cmocka_unit_test(coins_at_the_edge),
        cmocka_unit_test(gradients_are_added),
        cmocka_unit_test(strokes_are_kept),
        cmocka_unit_test(a_code_can_copy),
        cmocka_unit_test(sparsity_by_hand),
    };
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
