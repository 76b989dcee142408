/* judge.c: judges exercise 1. Built with -DEXERCISE='"exercise.c"' or "solution.c", whose softplus
   layer is put where chapter 1's test has the program's layer. */
#define WORKBOOK_TEST
#define REAL double
#include "encoder.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

/* L = sum of c h, with fixed random c, so that dL/dh = c. */
enum { B = 3, IN = 4, OUT = 7 };
struct softplus_layer {
    real x[B * IN], W[OUT * IN], b[OUT], c[B * OUT];
    real s[B * OUT], h[B * OUT];
    real dx[B * IN], dW[OUT * IN], db[OUT], ds[B * OUT], dh[B * OUT];
    double slope[B * OUT]; /* measured, for the diagnosis */
};

double softplus_loss(void *layer, double *example) {
    struct softplus_layer *y = layer;
    softplus_forward(y->s, y->h, y->x, y->W, y->b, B, IN, OUT);
    return weighted_sum(example, y->c, y->h, B, OUT);
}

void softplus_gradients(void *layer) {
    struct softplus_layer *y = layer;
    double example[B];
    memset(y->dx, 0, sizeof y->dx);
    memset(y->dW, 0, sizeof y->dW);
    memset(y->db, 0, sizeof y->db);
    memset(y->ds, 0, sizeof y->ds);
    softplus_loss(y, example);
    memcpy(y->dh, y->c, sizeof y->dh);
    softplus_backward(y->dW, y->db, y->dx, y->ds, y->dh, y->s, y->x, y->W, B, IN, OUT);
    for (size_t i = 0; i < B * OUT; i++)
        y->slope[i] = (softplus(y->s[i] + 1e-6) - softplus(y->s[i] - 1e-6)) / 2e-6;
}

void exercise(void **state) {
    (void)state;
    static struct softplus_layer y;
    struct random r;
    random_seed(&r, 11);
    fill(y.x, B * IN, &r);
    fill(y.W, OUT * IN, &r);
    fill(y.b, OUT, &r);
    fill(y.c, B * OUT, &r);
    struct gradcheck check = {.title = "exercise 1, a softplus layer",
                              .loss = softplus_loss,
                              .backward = softplus_gradients,
                              .net = &y,
                              .batch = B};
    gc_add(&check, "x", y.x, y.dx, B, IN);
    gc_add_weight(&check, "W", y.W, y.dW, OUT, IN)->slope = y.slope;
    gc_add_weight(&check, "b", y.b, y.db, OUT, 1)->slope = y.slope;
    assert_int_equal(gc_run(&check), 0);
    assert_true(isfinite(softplus(1000)) && softplus(-1000) == 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(exercise)};
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
