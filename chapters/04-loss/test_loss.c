/* test_loss.c: every line of chapter 4's derivation against finite differences, in double; the two
   ways to the same gradient against each other; and the whole network under each loss. Run with a
   file name it writes there what the checks measured. */
#define WORKBOOK_TEST
#define REAL double
#include "loss.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

/* --- what is differentiated, and what is claimed ------------------------------ */
/* The three lines of the derivation, the first two after each other, and the two other losses. */
enum what { LINE_1, LINE_2, LINES_1_AND_2, LINE_3, SQUARED_LOSS, ABSOLUTE_LOSS };
const char *const title[] = {"chapter 4, line 1: bce on probabilities",
                             "chapter 4, line 2: the sigmoid",
                             "chapter 4, lines 1 and 2: the chain rule, step by step",
                             "chapter 4, line 3: bce on logits",
                             "chapter 4, squared error through the sigmoid",
                             "chapter 4, absolute error"};

/* A batch of small images, and everything between their logits and the loss. */
enum { B = 3, N = 7 };
struct picture {
    enum what what;
    int from_xhat; /* we nudge xhat itself, not the logits */
    real x[B * N], s[B * N], xhat[B * N], dxhat[B * N], ds[B * N];
    real c[B * N];     /* for a sigmoid alone, which has no loss: L = sum of c xhat */
    real slope[B * N]; /* of the sigmoid; for the diagnosis only */
};

/* The program tells what each image costs. The check wants each image's share of the mean. */
double as_shares(double *example, double loss) {
    for (size_t r = 0; r < B; r++)
        example[r] /= B;
    return loss;
}

/* The loss, by the forward passes of the program. */
double picture_loss(void *net, double *example) {
    struct picture *p = net;
    if (!p->from_xhat)
        sigmoid_forward(p->xhat, p->s, B, N);
    switch (p->what) {
    case LINE_2:
        return weighted_sum(example, p->c, p->xhat, B, N);
    case LINE_3:
        return as_shares(example, bce_on_logits_forward(example, p->s, p->x, B, N));
    case SQUARED_LOSS:
        return as_shares(example, loss_forward(SQUARED, example, p->xhat, p->s, p->x, B, N));
    case ABSOLUTE_LOSS:
        return as_shares(example, absolute_error_forward(example, p->xhat, p->x, B, N));
    default:
        return as_shares(example, bce_forward(example, p->xhat, p->x, B, N));
    }
}

/* The gradient that the program claims: from zero, forward, backward. */
void picture_backward(void *net) {
    struct picture *p = net;
    double example[B];
    memset(p->dxhat, 0, sizeof p->dxhat);
    memset(p->ds, 0, sizeof p->ds);
    picture_loss(p, example);
    if (p->what == LINE_1 || p->what == LINES_1_AND_2)
        bce_backward(p->dxhat, p->xhat, p->x, B, N);
    if (p->what == LINES_1_AND_2)
        sigmoid_backward(p->ds, p->dxhat, p->xhat, B, N);
    if (p->what == LINE_2)
        sigmoid_backward(p->ds, p->c, p->xhat, B, N);
    if (p->what == LINE_3)
        bce_on_logits_backward(p->ds, p->s, p->x, B, N);
    if (p->what == SQUARED_LOSS)
        loss_backward(SQUARED, p->ds, p->dxhat, p->xhat, p->s, p->x, B, N);
    if (p->what == ABSOLUTE_LOSS)
        absolute_error_backward(p->dxhat, p->xhat, p->x, B, N);
}

/* Gray pixels, and logits of a network that is neither sure nor lost. */
void new_picture(struct picture *p, enum what what, uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    *p = (struct picture){.what = what, .from_xhat = what == LINE_1 || what == ABSOLUTE_LOSS};
    fill(p->x, B * N, &r);
    fill(p->s, B * N, &r);
    fill(p->c, B * N, &r);
    for (size_t i = 0; i < B * N; i++) {
        p->x[i] = 0.5 + 0.45 * p->x[i];
        p->s[i] *= 3;
        p->xhat[i] = 1 / (1 + exp(-p->s[i]));
        p->slope[i] = p->xhat[i] * (1 - p->xhat[i]);
    }
}

/* --- mistakes foreseen -------------------------------------------------------- */
/* What a wrong line would give, as a factor of the right derivative or as a whole gradient. Where
   the claim is what the text derives, and the difference is not, the loss itself is wrong. */
const char *loss_is_wrong = "This gradient is the one that the text derives. The loss is another: "
                            "look at the forward pass.";
const char *logit_for_xhat = "The logit itself stands where xhat = sigmoid(logit) is meant.";

void foresee_first_line(struct gc_tensor *t, const struct picture *p) {
    static const char *const says[] = {
        "The ratio equals (1-xhat)/(1-x): a factor that should contain xhat contains x.",
        "The ratio equals xhat/x: a factor that should contain xhat contains x.",
        "The ratio equals xhat(1-xhat) / x(1-x): x stands where xhat is meant.",
        "The ratio equals xhat(1-xhat): the division by it is missing.",
        "This is the half that belongs to x alone: the half of 1-x is missing.",
        "This is the half that belongs to 1-x alone: the half of x is missing.",
        "The sign of the half of 1-x is flipped: 1-xhat falls when xhat grows."};
    static double factor[7][B * N], right[B * N];
    for (size_t i = 0; i < B * N; i++) {
        double x = p->x[i], y = p->xhat[i], lit = -x / y, dark = (1 - x) / (1 - y);
        double all = lit + dark, product = y * (1 - y);
        const double f[] = {(1 - y) / (1 - x), y / x,      product / (x * (1 - x)), product,
                            lit / all,         dark / all, (lit - dark) / all};
        right[i] = all / B;
        for (int k = 0; k < 7; k++)
            factor[k][i] = f[k];
    }
    for (int k = 0; k < 7; k++)
        gc_foresee(t, says[k], factor[k], NULL);
    gc_foresee(t, loss_is_wrong, NULL, right);
}

void foresee_second_line(struct gc_tensor *t, const struct picture *p) {
    static double raw[B * N], no_xhat[B * N], no_rest[B * N];
    for (size_t i = 0; i < B * N; i++) {
        raw[i] = p->c[i] * p->s[i] * (1 - p->s[i]);
        no_xhat[i] = 1 / p->xhat[i];
        no_rest[i] = 1 / (1 - p->xhat[i]);
    }
    t->slope = p->slope;
    gc_foresee(t, logit_for_xhat, NULL, raw);
    gc_foresee(t, "The slope is xhat(1-xhat): the factor xhat is missing.", no_xhat, NULL);
    gc_foresee(t, "The slope is xhat(1-xhat): the factor 1-xhat is missing.", no_rest, NULL);
}

void foresee_third_line(struct gc_tensor *t, const struct picture *p) {
    static const char *const says[] = {
        "The slope of the sigmoid is multiplied in again, but it has cancelled.",
        "The ratio is 1 / xhat(1-xhat): the derivative with respect to xhat, not the logit.",
        "sigmoid(-logit), which is 1-xhat, stands where xhat is meant."};
    static double guess[3][B * N], raw[B * N], right[B * N];
    for (size_t i = 0; i < B * N; i++) {
        right[i] = (p->xhat[i] - p->x[i]) / B;
        raw[i] = (p->s[i] - p->x[i]) / B;
        guess[0][i] = right[i] * p->slope[i];
        guess[1][i] = right[i] / p->slope[i];
        guess[2][i] = (1 - p->xhat[i] - p->x[i]) / B;
    }
    for (int k = 0; k < 3; k++)
        gc_foresee(t, says[k], NULL, guess[k]);
    gc_foresee(t, logit_for_xhat, NULL, raw);
    gc_foresee(t, loss_is_wrong, NULL, right);
}

void foresee_other_losses(struct gc_tensor *t, const struct picture *p) {
    static double squared[B * N], absolute[B * N], difference[B * N];
    for (size_t i = 0; i < B * N; i++) {
        double slope = p->from_xhat ? 1 : p->slope[i];
        difference[i] = (p->xhat[i] - p->x[i]) / B;
        squared[i] = 2 * difference[i] * slope;
        absolute[i] = (difference[i] > 0 ? slope : -slope) / B;
    }
    t->slope = p->from_xhat ? NULL : p->slope;
    gc_foresee(t, loss_is_wrong, NULL, p->from_xhat ? absolute : squared);
    gc_foresee(t, "This is the gradient of absolute error.", NULL, absolute);
    gc_foresee(t, "The difference itself stands where only its sign is meant.", NULL, difference);
}

/* --- the checks ---------------------------------------------------------------- */
/* Checks one of the six, at the picture p. Returns how many tensors are wrong: 0 or 1. */
int check_picture(struct picture *p, void (*foresee)(struct gc_tensor *, const struct picture *)) {
    struct gradcheck check = {.title = title[p->what],
                              .loss = picture_loss,
                              .backward = picture_backward,
                              .net = p,
                              .batch = B};
    gc_size(&check, "the number of pixels n", N);
    if (p->from_xhat)
        foresee(gc_add(&check, "xhat", p->xhat, p->dxhat, B, N), p);
    else
        foresee(gc_add(&check, "logit", p->s, p->ds, B, N), p);
    return gc_run(&check);
}

void each_line(void **state) {
    (void)state;
    void (*const foresee[])(struct gc_tensor *, const struct picture *) = {
        foresee_first_line, foresee_second_line, foresee_first_line, foresee_third_line};
    int failed = 0;
    for (int what = LINE_1; what <= LINE_3; what++) {
        static struct picture p;
        new_picture(&p, (enum what)what, 1);
        failed += check_picture(&p, foresee[what]);
    }
    assert_int_equal(failed, 0);
}

/* Two ways to the same numbers, for pixels of all kinds and logits of growing size. No pixel equals
   its xhat, so that no derivative is zero. */
void fused_against_unfused(void **state) {
    (void)state;
    enum { SIZES = 6 };
    static const double size[SIZES] = {1, 5, 10, 20, 30, 36};
    double worst[2][SIZES] = {{0}};
    for (int k = 0; k < SIZES; k++)
        for (int i = 0; i < 42; i++) {
            real x = i / 2 / (real)20, s = i % 2 ? size[k] : -size[k], xhat, dxhat = 0, slow = 0;
            real fast = 0;
            double example;
            sigmoid_forward(&xhat, &s, 1, 1);
            double by_probability = bce_forward(&example, &xhat, &x, 1, 1);
            double by_logit = bce_on_logits_forward(&example, &s, &x, 1, 1);
            bce_backward(&dxhat, &xhat, &x, 1, 1);
            sigmoid_backward(&slow, &dxhat, &xhat, 1, 1);
            bce_on_logits_backward(&fast, &s, &x, 1, 1);
            worst[0][k] = fmax(worst[0][k], fabs(by_probability / by_logit - 1));
            worst[1][k] = fmax(worst[1][k], fabs(slow / fast - 1));
        }
    printf("chapter 4, fused against unfused: the largest relative difference, in double\n"
           "  |logit|            1         5        10        20        30        36\n");
    for (int row = 0; row < 2; row++) {
        printf("  %-11s", row ? "derivative" : "loss");
        for (int k = 0; k < SIZES; k++)
            printf("   %.1e", worst[row][k]);
        printf("\n");
        if (!(worst[row][0] < 1e-13 && worst[row][1] < 1e-13))
            fail_msg("at logits of 1 and 5 the two ways to the %s must agree to 13 digits",
                     row ? "derivative" : "loss");
    }
    printf("\n");
}

/* Logits of any size: the loss of a lost bet is the logit; a tiny loss is not lost. */
void logits_of_any_size(void **state) {
    (void)state;
    static const double at[][3] = {/* logit, pixel, loss */
                                   {1000, 0, 1000},
                                   {1000, 1, 0},
                                   {-1000, 1, 1000},
                                   {-1000, 0, 0}};
    for (int k = 0; k < 4; k++)
        if (bce_of_logit(at[k][0], at[k][1]) != at[k][2])
            fail_msg("bce_of_logit(%g, %g) is %g and should be %g", at[k][0], at[k][1],
                     bce_of_logit(at[k][0], at[k][1]), at[k][2]);
    if (!(fabs(bce_of_logit(-40, 0) / exp(-40.0) - 1) < 1e-14))
        fail_msg("bce_of_logit(-40, 0) is %g, not e^-40: 1 + e loses a small e, log1p(e) does not",
                 bce_of_logit(-40, 0));
}

void squared_through_sigmoid(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, SQUARED_LOSS, 3);
    assert_int_equal(check_picture(&p, foresee_other_losses), 0);
}

/* Three of the 21 pixels are so nearly right that a step of the check crosses the kink. */
void absolute_error_and_its_kink(void **state) {
    (void)state;
    static struct picture p;
    size_t before = gc_total.kinks;
    new_picture(&p, ABSOLUTE_LOSS, 4);
    p.xhat[2] = p.x[2] + 1e-4;
    p.xhat[9] = p.x[9] - 1e-4;
    p.xhat[17] = p.x[17] + 2e-4;
    assert_int_equal(check_picture(&p, foresee_other_losses), 0);
    if (gc_total.kinks != before + 3)
        fail_msg("%zu kinks were stepped around; there are 3", gc_total.kinks - before);
    p.xhat[2] = p.x[2];
    picture_backward(&p);
    if (p.dxhat[2] != 0)
        fail_msg("on the kink, where xhat = x, the derivative is %g; we take 0", p.dxhat[2]);
}

/* --- the whole network --------------------------------------------------------- */
/* The image is input and target at once. Here they are two tensors: the derivative that we check is
   that of the input. */
struct whole {
    struct learner a;
    real x[B * N], target[B * N], dx[B * N];
};

double whole_loss(void *net, double *example) {
    struct whole *w = net;
    double loss = learner_loss(&w->a, w->x, w->target, B);
    memcpy(example, w->a.example, B * sizeof *example);
    return as_shares(example, loss);
}

void whole_backward(void *net) {
    struct whole *w = net;
    memset(w->dx, 0, sizeof w->dx);
    learner_gradient(&w->a, w->dx, w->x, w->target, B, 1);
}

void whole_network(void **state) {
    (void)state;
    int failed = 0;
    for (int kind = 0; kind < LOSSES; kind++) {
        static struct whole w;
        struct random r;
        char name[80];
        random_seed(&r, 16);
        w.a = learner_new((enum loss)kind, N, 5, B);
        fill(w.a.net.value, w.a.net.parameters, &r);
        fill(w.x, B * N, &r);
        fill(w.target, B * N, &r);
        for (size_t i = 0; i < B * N; i++) {
            w.x[i] = (w.x[i] + 1) / 2;
            w.target[i] = (w.target[i] + 1) / 2;
        }
        snprintf(name, sizeof name, "chapter 4, autoencoder 7-5-7 with loss %s", loss_name[kind]);
        struct gradcheck check = {
            .title = name, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = B};
        gc_size(&check, "the number of pixels n", N);
        gc_add(&check, "x", w.x, w.dx, B, N);
        add_tensors(&check, w.a.net.tensor, w.a.net.tensors);
        failed += gc_run(&check);

        /* The mean over the pixels is the sum, divided. */
        whole_backward(&w);
        double sum = w.a.net.grad[0];
        learner_gradient(&w.a, NULL, w.x, w.target, B, N);
        if (!(fabs(w.a.net.grad[0] * N / sum - 1) < 1e-12))
            fail_msg("with the mean over %d pixels the gradient is %g; the sum's is %g", N,
                     w.a.net.grad[0], sum);
    }
    assert_int_equal(failed, 0);
}

/* What was in a gradient before must still be in it: later a tensor is used in two places. */
void gradients_are_added(void **state) {
    (void)state;
    static const char *name[] = {"bce_backward", "sigmoid_backward", "bce_on_logits_backward",
                                 "absolute_error_backward"};
    static struct picture p;
    real d[4][2][B * N];
    new_picture(&p, LINE_1, 5);
    for (int before = 0; before < 2; before++) {
        for (int k = 0; k < 4; k++)
            for (size_t i = 0; i < B * N; i++)
                d[k][before][i] = before;
        bce_backward(d[0][before], p.xhat, p.x, B, N);
        sigmoid_backward(d[1][before], p.c, p.xhat, B, N);
        bce_on_logits_backward(d[2][before], p.s, p.x, B, N);
        absolute_error_backward(d[3][before], p.xhat, p.x, B, N);
    }
    for (int k = 0; k < 4; k++)
        for (size_t i = 0; i < B * N; i++)
            if (!(fabs(d[k][1][i] - d[k][0][i] - 1) < 1e-14)) {
                printf("  %s forgets what was in the gradient before: = stands for +=.\n", name[k]);
                fail();
            }
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(each_line),
        cmocka_unit_test(fused_against_unfused),
        cmocka_unit_test(logits_of_any_size),
        cmocka_unit_test(squared_through_sigmoid),
        cmocka_unit_test(absolute_error_and_its_kink),
        cmocka_unit_test(whole_network),
        cmocka_unit_test(gradients_are_added),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
