/* test_loss.c: every line of chapter 4's derivation against finite differences, in double; and the
   exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "loss.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"

/* --- the parts of a check ----------------------------------------------------- */
/* A batch of small images, and everything between their logits and the loss. */
enum { B = 3, N = 7 };
struct picture {
    real x[B * N], s[B * N], xhat[B * N], dxhat[B * N], ds[B * N];
    real c[B * N];     /* for a sigmoid alone, which has no loss: L = sum of c xhat */
    real slope[B * N]; /* of the sigmoid, measured; for the diagnosis only */
    real weight;       /* of the exercise */
};

/* The program tells what each image costs. The check wants each image's share of the mean. */
double as_shares(double *example, double loss) {
    for (size_t r = 0; r < B; r++)
        example[r] /= B;
    return loss;
}

/* First line: bce on probabilities. Here xhat is what we nudge. */
double first_line_loss(void *net, double *example) {
    struct picture *p = net;
    return as_shares(example, bce_forward(example, p->xhat, p->x, B, N));
}

void first_line_backward(void *net) {
    struct picture *p = net;
    memset(p->dxhat, 0, sizeof p->dxhat);
    bce_backward(p->dxhat, p->xhat, p->x, B, N);
}

/* Second line: the sigmoid alone. */
double second_line_loss(void *net, double *example) {
    struct picture *p = net;
    double loss = 0;
    sigmoid_forward(p->xhat, p->s, B, N);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t i = r * N; i < (r + 1) * N; i++)
            example[r] += p->c[i] * p->xhat[i];
        loss += example[r];
    }
    return loss;
}

void second_line_backward(void *net) {
    struct picture *p = net;
    double example[B];
    memset(p->ds, 0, sizeof p->ds);
    second_line_loss(p, example);
    sigmoid_backward(p->ds, p->c, p->xhat, B, N);
}

/* Both lines, one after the other: what the product should be. */
double chain_loss(void *net, double *example) {
    struct picture *p = net;
    sigmoid_forward(p->xhat, p->s, B, N);
    return as_shares(example, bce_forward(example, p->xhat, p->x, B, N));
}

void chain_backward_of_chapter(void *net) {
    struct picture *p = net;
    double example[B];
    memset(p->dxhat, 0, sizeof p->dxhat);
    memset(p->ds, 0, sizeof p->ds);
    chain_loss(p, example);
    bce_backward(p->dxhat, p->xhat, p->x, B, N);
    sigmoid_backward(p->ds, p->dxhat, p->xhat, B, N);
}

/* Third line: the product in one piece. */
double third_line_loss(void *net, double *example) {
    struct picture *p = net;
    return as_shares(example, bce_on_logits_forward(example, p->s, p->x, B, N));
}

void third_line_backward(void *net) {
    struct picture *p = net;
    memset(p->ds, 0, sizeof p->ds);
    bce_on_logits_backward(p->ds, p->s, p->x, B, N);
}

/* Squared error through the sigmoid. */
double squared_loss(void *net, double *example) {
    struct picture *p = net;
    return as_shares(example, loss_forward(SQUARED, example, p->xhat, p->s, p->x, B, N));
}

void squared_backward(void *net) {
    struct picture *p = net;
    double example[B];
    memset(p->dxhat, 0, sizeof p->dxhat);
    memset(p->ds, 0, sizeof p->ds);
    squared_loss(p, example);
    loss_backward(SQUARED, p->ds, p->dxhat, p->xhat, p->s, p->x, B, N);
}

/* Absolute error, seen from xhat, where its kinks are. */
double absolute_loss(void *net, double *example) {
    struct picture *p = net;
    return as_shares(example, absolute_error_forward(example, p->xhat, p->x, B, N));
}

void absolute_backward(void *net) {
    struct picture *p = net;
    memset(p->dxhat, 0, sizeof p->dxhat);
    absolute_error_backward(p->dxhat, p->xhat, p->x, B, N);
}

/* --- what may go wrong ---------------------------------------------------------- */
void fill(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

/* xhat as it belongs to the logits: a check leaves behind that of its last nudge. */
void restore(struct picture *p) {
    for (size_t i = 0; i < B * N; i++)
        p->xhat[i] = 1 / (1 + exp(-p->s[i]));
}

/* Gray pixels, and logits of a network that is neither sure nor lost. */
void new_picture(struct picture *p, uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    memset(p, 0, sizeof *p);
    fill(p->x, B * N, 0.05, 0.95, &r);
    fill(p->s, B * N, -3, 3, &r);
    fill(p->c, B * N, -1, 1, &r);
    for (size_t i = 0; i < B * N; i++) {
        double e = 1e-6, up = 1 / (1 + exp(-p->s[i] - e)), down = 1 / (1 + exp(-p->s[i] + e));
        p->slope[i] = (up - down) / (2 * e);
    }
    p->weight = 5;
    restore(p);
}

/* Where the claim is what the text derives, and the difference is not, the loss itself is wrong. */
const char *loss_is_wrong = "This gradient is the one that the text derives. The loss is another: "
                            "look at the forward pass.";

/* Mistakes that people make in the first line, or that put it where another belongs. */
void foresee_first_line(struct gc_tensor *t, const struct picture *p) {
    static double x_above[B * N], x_below[B * N], x_both[B * N], product[B * N];
    static double lit[B * N], dark[B * N], right[B * N];
    for (size_t i = 0; i < B * N; i++) {
        double x = p->x[i], y = p->xhat[i];
        x_above[i] = (1 - y) / (1 - x);
        x_below[i] = y / x;
        x_both[i] = y * (1 - y) / (x * (1 - x));
        product[i] = y * (1 - y);
        lit[i] = -x / y / B;
        dark[i] = (1 - x) / (1 - y) / B;
        right[i] = (y - x) / (y * (1 - y)) / B;
    }
    gc_foresee(t, "The ratio equals (1-xhat)/(1-x): a factor that should contain xhat contains x.",
               x_above, NULL);
    gc_foresee(t, "The ratio equals xhat/x: a factor that should contain xhat contains x.", x_below,
               NULL);
    gc_foresee(t, "The ratio equals xhat(1-xhat) / x(1-x): x stands where xhat is meant.", x_both,
               NULL);
    gc_foresee(t,
               "The ratio equals xhat(1-xhat): the division by it is missing. This is the "
               "derivative with respect to the logit, one line too early.",
               product, NULL);
    gc_foresee(t, "This is the half that belongs to x alone: the half of 1-x is missing.", NULL,
               lit);
    gc_foresee(t, "This is the half that belongs to 1-x alone: the half of x is missing.", NULL,
               dark);
    gc_foresee(t, loss_is_wrong, NULL, right);
}

/* The same for the product. */
void foresee_third_line(struct gc_tensor *t, const struct picture *p) {
    static double again[B * N], never[B * N], raw[B * N], right[B * N];
    for (size_t i = 0; i < B * N; i++) {
        again[i] = p->slope[i];
        never[i] = 1 / p->slope[i];
        raw[i] = (p->s[i] - p->x[i]) / B;
        right[i] = (p->xhat[i] - p->x[i]) / B;
    }
    gc_foresee(t,
               "The ratio equals xhat(1-xhat): the slope of the sigmoid is multiplied in again, "
               "but it has cancelled.",
               again, NULL);
    gc_foresee(t,
               "The ratio equals 1 / xhat(1-xhat): this is the derivative with respect to xhat, "
               "not to the logit.",
               never, NULL);
    gc_foresee(t, "The logit itself stands where xhat = sigmoid(logit) is meant.", NULL, raw);
    gc_foresee(t, loss_is_wrong, NULL, right);
}

/* --- the checks ------------------------------------------------------------------- */
struct gradcheck check_of(const char *title, struct picture *p, double (*loss)(void *, double *),
                          void (*backward)(void *)) {
    struct gradcheck check = {
        .title = title, .loss = loss, .backward = backward, .net = p, .batch = B};
    gc_size(&check, "the number of pixels n", N);
    return check;
}

void each_line(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, 1);
    struct gradcheck one = check_of("chapter 4, line 1: bce on probabilities", &p, first_line_loss,
                                    first_line_backward);
    foresee_first_line(gc_add(&one, "xhat", p.xhat, p.dxhat, B, N), &p);
    int failed = gc_run(&one);

    /* The same with pixels that are black or white. */
    static struct picture hard;
    new_picture(&hard, 2);
    for (size_t i = 0; i < B * N; i++)
        hard.x[i] = i % 2;
    struct gradcheck black = check_of("chapter 4, line 1: the same for black and white pixels",
                                      &hard, first_line_loss, first_line_backward);
    gc_add(&black, "xhat", hard.xhat, hard.dxhat, B, N);
    failed += gc_run(&black);

    struct gradcheck two =
        check_of("chapter 4, line 2: the sigmoid", &p, second_line_loss, second_line_backward);
    struct gc_tensor *s = gc_add(&two, "logit", p.s, p.ds, B, N);
    static double confused[B * N];
    for (size_t i = 0; i < B * N; i++)
        confused[i] = p.c[i] * p.s[i] * (1 - p.s[i]);
    s->slope = p.slope;
    gc_foresee(s, "The logit itself stands where xhat = sigmoid(logit) is meant.", NULL, confused);
    failed += gc_run(&two);

    struct gradcheck both = check_of("chapter 4, lines 1 and 2: the chain rule, step by step", &p,
                                     chain_loss, chain_backward_of_chapter);
    restore(&p);
    s = gc_add(&both, "logit", p.s, p.ds, B, N);
    s->slope = p.slope;
    foresee_first_line(s, &p);
    failed += gc_run(&both);

    struct gradcheck three =
        check_of("chapter 4, line 3: bce on logits", &p, third_line_loss, third_line_backward);
    restore(&p);
    foresee_third_line(gc_add(&three, "logit", p.s, p.ds, B, N), &p);
    failed += gc_run(&three);
    assert_int_equal(failed, 0);
}

void squared_through_sigmoid(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, 3);
    struct gradcheck check = check_of("chapter 4, squared error through the sigmoid", &p,
                                      squared_loss, squared_backward);
    static double right[B * N], absolute[B * N];
    for (size_t i = 0; i < B * N; i++) {
        real difference = p.xhat[i] - p.x[i];
        right[i] = 2 * difference * p.slope[i] / B;
        absolute[i] = (difference > 0 ? 1 : -1) * p.slope[i] / B;
    }
    struct gc_tensor *s = gc_add(&check, "logit", p.s, p.ds, B, N);
    s->slope = p.slope;
    gc_foresee(s, loss_is_wrong, NULL, right);
    gc_foresee(s, "This is the gradient of absolute error.", NULL, absolute);
    assert_int_equal(gc_run(&check), 0);
}

/* Three of the 21 pixels are so nearly right that a step of the check crosses the kink. */
void absolute_error_and_its_kink(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, 4);
    p.xhat[2] = p.x[2] + 1e-4;
    p.xhat[9] = p.x[9] - 1e-4;
    p.xhat[17] = p.x[17] + 2e-4;
    static double difference[B * N], right[B * N];
    for (size_t i = 0; i < B * N; i++) {
        difference[i] = (p.xhat[i] - p.x[i]) / B;
        right[i] = (difference[i] > 0 ? 1.0 : -1.0) / B;
    }
    struct gradcheck check =
        check_of("chapter 4, absolute error", &p, absolute_loss, absolute_backward);
    struct gc_tensor *t = gc_add(&check, "xhat", p.xhat, p.dxhat, B, N);
    gc_foresee(t, "The difference itself stands where only its sign is meant.", NULL, difference);
    gc_foresee(t, loss_is_wrong, NULL, right);
    int failed = gc_run(&check);
    assert_int_equal(failed, 0);
    assert_int_equal(check.kinks, 3);

    /* On the kink itself: 0, which lies between the slopes of the two sides. */
    p.xhat[2] = p.x[2];
    absolute_backward(&p);
    assert_true(p.dxhat[2] == 0 && p.dxhat[9] == -1.0 / B && p.dxhat[17] == 1.0 / B);
}

/* --- the whole autoencoder --------------------------------------------------------- */
enum { HIDDEN = 5 };
struct whole {
    struct autoencoder a;
    real x[B * N], target[B * N], dx[B * N];
};

double whole_loss(void *context, double *example) {
    struct whole *w = context;
    double loss = autoencoder_loss(&w->a, w->x, w->target, B);
    memcpy(example, w->a.example, B * sizeof *example);
    return as_shares(example, loss);
}

void whole_backward(void *context) {
    struct whole *w = context;
    memset(w->dx, 0, sizeof w->dx);
    autoencoder_gradient(&w->a, w->dx, w->x, w->target, B, 1);
}

/* The image is input and target at once. Here they are two tensors: the derivative that we check is
   that of the input. */
void whole_autoencoder(void **state) {
    (void)state;
    int failed = 0;
    for (int kind = 0; kind < LOSSES; kind++) {
        static struct whole w;
        w.a = autoencoder_new(kind, N, HIDDEN, B);
        struct random r;
        random_seed(&r, 16);
        fill(w.a.net.value, w.a.net.parameters, -1, 1, &r);
        fill(w.x, B * N, 0, 1, &r);
        fill(w.target, B * N, 0, 1, &r);
        char title[80];
        snprintf(title, sizeof title, "chapter 4, autoencoder 7-5-7 with loss %s", loss_name[kind]);
        struct gradcheck check = {
            .title = title, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = B};
        gc_size(&check, "the number of pixels n", N);
        gc_add(&check, "x", w.x, w.dx, B, N);
        for (size_t i = 0; i < w.a.net.tensors; i++) {
            struct tensor *p = &w.a.net.tensor[i];
            gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols);
        }
        failed += gc_run(&check);

        /* The mean over the pixels is the sum, divided. */
        whole_backward(&w);
        double one = w.a.net.grad[0], last = w.a.net.grad[w.a.net.parameters - 1];
        autoencoder_gradient(&w.a, NULL, w.x, w.target, B, N);
        assert_true(one != 0 && fabs(w.a.net.grad[0] * N / one - 1) < 1e-12);
        assert_true(fabs(w.a.net.grad[w.a.net.parameters - 1] * N / last - 1) < 1e-12);
        autoencoder_free(&w.a);
    }
    assert_int_equal(failed, 0);
}

/* --- fused against unfused --------------------------------------------------------- */
/* The two ways to the same derivative, for pixels of all kinds and logits of growing size. */
void fused_against_unfused(void **state) {
    (void)state;
    printf("chapter 4, fused against unfused: the largest relative difference, in double\n"
           "  |logit|            1         5        10        20        30        36\n");
    static const double size[] = {1, 5, 10, 20, 30, 36};
    double worst_loss[6], worst_slope[6];
    for (int k = 0; k < 6; k++) {
        worst_loss[k] = worst_slope[k] = 0;
        for (int i = 0; i <= 20; i++)
            for (int sign = -1; sign <= 1; sign += 2) {
                /* none equal to a sigmoid at these logits, so that the derivative is not zero */
                real x = i / (real)20, s = sign * size[k], xhat, dxhat = 0, slow = 0, fast = 0;
                double example;
                sigmoid_forward(&xhat, &s, 1, 1);
                double by_probability = bce_forward(&example, &xhat, &x, 1, 1);
                double by_logit = bce_on_logits_forward(&example, &s, &x, 1, 1);
                bce_backward(&dxhat, &xhat, &x, 1, 1);
                sigmoid_backward(&slow, &dxhat, &xhat, 1, 1);
                bce_on_logits_backward(&fast, &s, &x, 1, 1);
                worst_loss[k] = fmax(worst_loss[k], fabs(by_probability / by_logit - 1));
                worst_slope[k] = fmax(worst_slope[k], fabs(slow / fast - 1));
            }
    }
    printf("  loss       ");
    for (int k = 0; k < 6; k++)
        printf("   %.1e", worst_loss[k]);
    printf("\n  derivative ");
    for (int k = 0; k < 6; k++)
        printf("   %.1e", worst_slope[k]);
    printf("\n\n");
    for (int k = 0; k < 2; k++)
        assert_true(worst_loss[k] < 1e-13 && worst_slope[k] < 1e-13);
}

/* --- numbers that can be done by hand ------------------------------------------------ */
void losses_by_hand(void **state) {
    (void)state;
    double example[2];
    /* Two images of two pixels, all gray at one half: each pixel costs log 2, whatever x is. */
    real half[] = {0.5, 0.5, 0.5, 0.5}, x[] = {0, 1, 0.25, 0.5}, zero[4] = {0}, d[4] = {0};
    assert_true(fabs(bce_forward(example, half, x, 2, 2) - 2 * log(2)) < 1e-15);
    assert_true(fabs(bce_on_logits_forward(example, zero, x, 2, 2) - 2 * log(2)) < 1e-15);
    assert_true(fabs(example[0] - 2 * log(2)) < 1e-15);
    bce_on_logits_backward(d, zero, x, 2, 2); /* (1/2 - x) / 2 */
    assert_true(d[0] == 0.25 && d[1] == -0.25 && d[2] == 0.125 && d[3] == 0);
    assert_true(absolute_error_forward(example, half, x, 2, 2) == 0.625);  /* (1 + 1/4) / 2 */
    assert_true(squared_error_forward(example, half, x, 2, 2) == 0.28125); /* (1/2 + 1/16) / 2 */
    /* One pixel at s = 0: squared error has half the slope, absolute error a quarter
       of the sign. */
    assert_true(logit_slope(BCE, 0, 0) == 0.5 && logit_slope(SQUARED, 0, 0) == 0.25 &&
                logit_slope(ABSOLUTE, 0, 0) == 0.25);
}

/* What was in a gradient before must still be in it: later a tensor is used in two places. */
void gradients_are_added(void **state) {
    (void)state;
    static struct picture p;
    double once[B * N], *out[] = {p.dxhat, p.ds, p.ds, p.dxhat};
    static const char *name[] = {"bce_backward", "sigmoid_backward", "bce_on_logits_backward",
                                 "absolute_error_backward"};
    for (int k = 0; k < 4; k++)
        for (int before = 0; before < 2; before++) {
            new_picture(&p, 5);
            for (size_t i = 0; i < B * N; i++)
                out[k][i] = before;
            if (k == 0)
                bce_backward(p.dxhat, p.xhat, p.x, B, N);
            else if (k == 1)
                sigmoid_backward(p.ds, p.c, p.xhat, B, N);
            else if (k == 2)
                bce_on_logits_backward(p.ds, p.s, p.x, B, N);
            else
                absolute_error_backward(p.dxhat, p.xhat, p.x, B, N);
            for (size_t i = 0; i < B * N; i++) {
                if (!before)
                    once[i] = out[k][i];
                else if (fabs(out[k][i] - 1 - once[i]) > 1e-14) {
                    printf("  %s forgets what was in the gradient before: an = stands where += is "
                           "meant.\n",
                           name[k]);
                    fail();
                }
            }
        }
}

void logits_of_any_size(void **state) {
    (void)state;
    assert_true(bce_of_logit(1000, 0) == 1000 && bce_of_logit(1000, 1) == 0);
    assert_true(bce_of_logit(-1000, 1) == 1000 && bce_of_logit(-1000, 0) == 0);
    assert_true(fabs(bce_of_logit(-40, 0) / exp(-40) - 1) < 1e-14); /* a small e is not lost */
    assert_true(sigmoid(1000) == 1 && sigmoid(-1000) == 0 && sigmoid(0) == 0.5);
    for (double s = -30; s <= 30; s += 0.7) /* the branch-free form is chapter 1's sigmoid */
        assert_true(fabs(sigmoid(s) / activate(SIGMOID, s) - 1) < 1e-14);
}

/* Cross-entropy is smallest at xhat = x, and there it is the entropy of x, not 0. */
void floor_is_the_entropy(void **state) {
    (void)state;
    double example, loss;
    for (real x = (real)0.05; x < 1; x += (real)0.05) {
        double lowest = entropy(&example, &x, 1, 1);
        assert_true(lowest > 0 && fabs(bce_forward(&loss, &x, &x, 1, 1) - lowest) < 1e-15);
        for (real xhat = (real)0.01; xhat < 1; xhat += (real)0.01)
            assert_true(bce_forward(&loss, &xhat, &x, 1, 1) >= lowest - 1e-15);
    }
    real hard[] = {0, 1, 1, 0}, gray[] = {0.5, 0.5};
    assert_true(entropy(&example, hard, 1, 4) == 0);
    assert_true(fabs(entropy(&example, gray, 1, 2) - 2 * log(2)) < 1e-15);
}

/* Small steps follow the flow, for which calculus gives the time: s + 1 - e^-s, and for the others
   the integrals in the text. */
void escape_follows_calculus(void **state) {
    (void)state;
    double up = exp(4), down = exp(-4);
    assert_true(fabs(time_to_escape(BCE, 4, 1e-3) - (5 - down)) < 0.01);
    assert_true(fabs(time_to_escape(ABSOLUTE, 4, 1e-3) - (up + 8 - down)) < 0.02);
    double squared = (up - 1 + 12 + 3 * (1 - down) + (1 - down * down) / 2) / 2;
    assert_true(fabs(time_to_escape(SQUARED, 4, 1e-3) - squared) < 0.02);
}

#ifdef EXERCISE
#include EXERCISE

/* --- the exercise --------------------------------------------------------------------- */
void exercise_chain(void *net) {
    struct picture *p = net;
    double example[B];
    memset(p->dxhat, 0, sizeof p->dxhat);
    memset(p->ds, 0, sizeof p->ds);
    chain_loss(p, example);
    chain_backward(p->ds, p->dxhat, p->xhat, p->x, B, N);
}

void repaired_chain(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, 21);
    struct gradcheck check = check_of("exercise 4, part 1: the chain rule, step by step", &p,
                                      chain_loss, exercise_chain);
    foresee_first_line(gc_add(&check, "logit", p.s, p.ds, B, N), &p);
    struct gc_tensor *xhat = gc_add(&check, "xhat", p.xhat, p.dxhat, B, N);
    xhat->loss = first_line_loss; /* nudged directly, so the sigmoid must not overwrite it */
    foresee_first_line(xhat, &p);
    assert_int_equal(gc_run(&check), 0);
}

double weighted_loss(void *net, double *example) {
    struct picture *p = net;
    return as_shares(example, weighted_bce_forward(example, p->s, p->x, p->weight, B, N));
}

void weighted_backward(void *net) {
    struct picture *p = net;
    memset(p->ds, 0, sizeof p->ds);
    weighted_bce_backward(p->ds, p->s, p->x, p->weight, B, N);
}

void weighted_bce(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, 22);
    static double plain[B * N], everywhere[B * N], on_x_only[B * N], other_half[B * N];
    static double to_xhat[B * N], no_inner[B * N];
    for (size_t i = 0; i < B * N; i++) {
        plain[i] = (p.xhat[i] - p.x[i]) / B;
        everywhere[i] = p.weight * (p.xhat[i] - p.x[i]) / B;
        on_x_only[i] = (p.xhat[i] - p.weight * p.x[i]) / B;
        other_half[i] = (p.weight * (1 - p.x[i]) * p.xhat[i] - p.x[i] * (1 - p.xhat[i])) / B;
        to_xhat[i] = ((1 - p.x[i]) / (1 - p.xhat[i]) - p.weight * p.x[i] / p.xhat[i]) / B;
        no_inner[i] = ((1 - p.x[i]) * p.xhat[i] - p.weight * p.x[i]) / B;
    }
    struct gradcheck check = check_of("exercise 4, part 2: weighted cross-entropy", &p,
                                      weighted_loss, weighted_backward);
    struct gc_tensor *s = gc_add(&check, "logit", p.s, p.ds, B, N);
    gc_foresee(s, "This is the derivative without the weight.", NULL, plain);
    gc_foresee(s, "Both halves are weighted: the weight belongs to the half of x alone.", NULL,
               everywhere);
    gc_foresee(s,
               "The weight is at the x of xhat - x. But xhat came from both halves: derive each "
               "half by itself.",
               NULL, on_x_only);
    gc_foresee(s, "The weight stands at the half of 1-x: it belongs to the half of x.", NULL,
               other_half);
    gc_foresee(s, "This is the derivative with respect to xhat: the sigmoid's slope is missing.",
               NULL, to_xhat);
    gc_foresee(s,
               "The half of x lacks a factor: the derivative of -log xhat with respect to the "
               "logit is xhat - 1, not -1.",
               NULL, no_inner);
    assert_int_equal(gc_run(&check), 0);
    /* Large logits, and the weight 1, which must give the plain derivative. */
    real far[] = {800, -800, 800, -800}, x[] = {0, 0, 1, 1}, d[4] = {0};
    weighted_bce_backward(d, far, x, 5, 1, 4);
    int safe = d[0] == 1 && d[1] == 0 && d[2] == 0 && d[3] == -5;
    if (!safe) {
        printf(
            "  At the logits 800 and -800 the derivative is not right, or not a number: divide by "
            "nothing\n  that can become 0.\n\n");
        fail();
    }
    p.weight = 1;
    weighted_backward(&p);
    for (size_t i = 0; i < B * N; i++)
        assert_true(fabs(p.ds[i] - plain[i]) < 1e-14);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repaired_chain),
        cmocka_unit_test(weighted_bce),
    };
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line),
        cmocka_unit_test(fused_against_unfused),
        cmocka_unit_test(squared_through_sigmoid),
        cmocka_unit_test(absolute_error_and_its_kink),
        cmocka_unit_test(whole_autoencoder),
        cmocka_unit_test(losses_by_hand),
        cmocka_unit_test(gradients_are_added),
        cmocka_unit_test(logits_of_any_size),
        cmocka_unit_test(floor_is_the_entropy),
        cmocka_unit_test(escape_follows_calculus),
    };
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
