/* judge.c: judges exercise 4. Built with -DEXERCISE='"exercise.c"', or "solution.c". */
#define WORKBOOK_TEST
#define REAL double
#include "loss.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

#include EXERCISE

/* A batch of small images, and everything between their logits and the loss. */
enum { B = 3, N = 7 };
struct picture {
    real x[B * N], s[B * N], xhat[B * N], dxhat[B * N], ds[B * N];
    real weight;
};

void new_picture(struct picture *p, uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    memset(p, 0, sizeof *p);
    fill(p->x, B * N, &r);
    fill(p->s, B * N, &r);
    p->weight = 5;
    for (size_t i = 0; i < B * N; i++) {
        p->x[i] = 0.5 + 0.45 * p->x[i];
        p->s[i] *= 3;
        p->xhat[i] = 1 / (1 + exp(-p->s[i]));
    }
}

/* The program tells what each image costs. The check wants each image's share of the mean. */
double as_shares(double *example, double loss) {
    for (size_t r = 0; r < B; r++)
        example[r] /= B;
    return loss;
}

struct gradcheck check_of(const char *title, struct picture *p, double (*loss)(void *, double *),
                          void (*backward)(void *)) {
    struct gradcheck check = {
        .title = title, .loss = loss, .backward = backward, .net = p, .batch = B};
    gc_size(&check, "the number of pixels n", N);
    return check;
}

/* Part 1. */
double first_line_loss(void *net, double *example) {
    struct picture *p = net;
    return as_shares(example, bce_forward(example, p->xhat, p->x, B, N));
}

double chain_loss(void *net, double *example) {
    struct picture *p = net;
    sigmoid_forward(p->xhat, p->s, B, N);
    return first_line_loss(p, example);
}

void exercise_chain(void *net) {
    struct picture *p = net;
    memset(p->dxhat, 0, sizeof p->dxhat);
    memset(p->ds, 0, sizeof p->ds);
    sigmoid_forward(p->xhat, p->s, B, N);
    chain_backward(p->ds, p->dxhat, p->xhat, p->x, B, N);
}

void foresee_slips(struct gc_tensor *t, const struct picture *p) {
    static double above[B * N], below[B * N], both[B * N], product[B * N];
    for (size_t i = 0; i < B * N; i++) {
        double x = p->x[i], y = p->xhat[i];
        above[i] = (1 - y) / (1 - x);
        below[i] = y / x;
        both[i] = y * (1 - y) / (x * (1 - x));
        product[i] = y * (1 - y);
    }
    gc_foresee(t, "The ratio equals (1-xhat)/(1-x): a factor that should contain xhat contains x.",
               above, NULL);
    gc_foresee(t, "The ratio equals xhat/x: a factor that should contain xhat contains x.", below,
               NULL);
    gc_foresee(t, "The ratio equals xhat(1-xhat) / x(1-x): x stands where xhat is meant.", both,
               NULL);
    gc_foresee(t, "The ratio equals xhat(1-xhat): the division by it is missing.", product, NULL);
}

void repaired_chain(void **state) {
    (void)state;
    static struct picture p;
    new_picture(&p, 21);
    struct gradcheck check = check_of("exercise 4, part 1: the chain rule, step by step", &p,
                                      chain_loss, exercise_chain);
    foresee_slips(gc_add(&check, "logit", p.s, p.ds, B, N), &p);
    struct gc_tensor *xhat = gc_add(&check, "xhat", p.xhat, p.dxhat, B, N);
    xhat->loss = first_line_loss; /* nudged directly, so the sigmoid must not overwrite it */
    foresee_slips(xhat, &p);
    assert_int_equal(gc_run(&check), 0);
}

/* Part 2. */
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
    static double plain[B * N], everywhere[B * N], on_x_only[B * N], other_half[B * N];
    static double to_xhat[B * N], no_inner[B * N];
    new_picture(&p, 22);
    for (size_t i = 0; i < B * N; i++) {
        double w = p.weight, x = p.x[i], y = p.xhat[i];
        plain[i] = (y - x) / B;
        everywhere[i] = w * (y - x) / B;
        on_x_only[i] = (y - w * x) / B;
        other_half[i] = (w * (1 - x) * y - x * (1 - y)) / B;
        to_xhat[i] = ((1 - x) / (1 - y) - w * x / y) / B;
        no_inner[i] = ((1 - x) * y - w * x) / B;
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
    if (!(d[0] == 1 && d[1] == 0 && d[2] == 0 && d[3] == -5))
        fail_msg("At the logits 800 and -800 the derivative is not right, or not a number: divide "
                 "by nothing that can become 0.");
    p.weight = 1;
    weighted_backward(&p);
    for (size_t i = 0; i < B * N; i++)
        if (!(fabs(p.ds[i] - plain[i]) < 1e-14))
            fail_msg("With the weight 1 it must be the derivative without a weight, and is not.");
}

int main(void) {
    const struct CMUnitTest parts[] = {
        cmocka_unit_test(repaired_chain),
        cmocka_unit_test(weighted_bce),
    };
    return cmocka_run_group_tests(parts, NULL, NULL);
}
