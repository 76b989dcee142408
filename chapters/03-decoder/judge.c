/* judge.c: judges exercise 3. Built with -DEXERCISE='"exercise.c"' or "solution.c". */
#define WORKBOOK_TEST
#define REAL double
#include "decoder.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 4, WIDE = 5 };
struct echo {
    real x[B * WIDE], W[WIDE * WIDE], b[WIDE], c[B * WIDE];
    real h1[B * WIDE], slope1[B * WIDE], h2[B * WIDE], slope2[B * WIDE];
    real dW[WIDE * WIDE], db[WIDE], dx[B * WIDE], d1[B * WIDE], d2[B * WIDE];
    real W2[WIDE * WIDE], b2[WIDE]; /* the second application's own copies, when `apart` is set */
    int apart;
};

/* L = sum of c h2, with fixed random c, so that dL/dh2 = c. */
double echo_loss(void *context, double *example) {
    struct echo *y = context;
    twice_forward(y->h1, y->slope1, y->h2, y->slope2, y->x, y->W, y->b, B, WIDE);
    if (y->apart) {
        dense_forward(y->h2, y->h1, y->W2, y->b2, B, WIDE, WIDE);
        activation_forward(y->h2, y->slope2, y->h2, TANH, B * WIDE);
    }
    return weighted_sum(example, y->c, y->h2, B, WIDE);
}

void echo_backward(void *context) {
    struct echo *y = context;
    double example[B];
    memset(y->dW, 0, sizeof y->dW);
    memset(y->db, 0, sizeof y->db);
    memset(y->dx, 0, sizeof y->dx);
    memset(y->d1, 0, sizeof y->d1);
    echo_loss(y, example);
    memcpy(y->d2, y->c, sizeof y->d2);
    twice_backward(y->dW, y->db, y->dx, y->d1, y->d2, y->slope1, y->slope2, y->h1, y->x, y->W, B,
                   WIDE);
}

/* The share of one application in the gradient of n numbers: nudge one copy, leave the other. */
void echo_share(struct echo *y, double *share, real *copy, size_t n) {
    double example[B], h = 1e-6;
    memcpy(y->W2, y->W, sizeof y->W2);
    memcpy(y->b2, y->b, sizeof y->b2);
    y->apart = 1;
    for (size_t i = 0; i < n; i++) {
        real keep = copy[i];
        copy[i] = keep + h;
        share[i] = echo_loss(y, example) / (2 * h);
        copy[i] = keep - h;
        share[i] -= echo_loss(y, example) / (2 * h);
        copy[i] = keep;
    }
    y->apart = 0;
}

/* The slips that are made most often, each with what it says. */
static const char *const slip_says[] = {
    "In the share of the second application stands x, which is the input of the first. Its own "
    "input is h1.",
    "In the share of the first application stands h1, which is its output. Its input is x.",
    "The slope of the first application is taken at h2, the output of the second, instead of h1.",
    "The way back through the first application leaves out the slope of its tanh.",
    "The way back through the second application leaves out the slope of its tanh.",
    "The first application begins with d2. What it must begin with is d1, which the second hands "
    "down."};
enum { SLIPS = sizeof slip_says / sizeof *slip_says };

/* dW and db as slip number k makes them. */
void echo_slip(struct echo *y, size_t k, double *dW, double *db) {
    double example[B], d1[B * WIDE] = {0}, d2[B * WIDE], none[B * WIDE];
    for (size_t i = 0; i < B * WIDE; i++)
        none[i] = 1;
    echo_loss(y, example);
    memcpy(d2, y->c, sizeof d2);
    activation_backward(d2, k == 4 ? none : y->slope2, B * WIDE);
    dense_backward(dW, db, d1, d2, k == 0 ? y->x : y->h1, y->W, B, WIDE, WIDE);
    double *d = k == 5 ? d2 : d1;
    activation_backward(d, k == 2 ? y->slope2 : k == 3 ? none : y->slope1, B * WIDE);
    dense_backward(dW, db, NULL, d, k == 1 ? y->h1 : y->x, y->W, B, WIDE, WIDE);
}

void exercise(void **state) {
    (void)state;
    static struct echo y;
    static double W1[WIDE * WIDE], W2[WIDE * WIDE], b1[WIDE], b2[WIDE];
    static double slip_W[SLIPS][WIDE * WIDE], slip_b[SLIPS][WIDE];
    struct random r;
    random_seed(&r, 13);
    fill(y.x, B * WIDE, &r);
    fill(y.W, WIDE * WIDE, &r);
    fill(y.b, WIDE, &r);
    fill(y.c, B * WIDE, &r);
    echo_share(&y, W1, y.W, WIDE * WIDE);
    echo_share(&y, W2, y.W2, WIDE * WIDE);
    echo_share(&y, b1, y.b, WIDE);
    echo_share(&y, b2, y.b2, WIDE);
    struct gradcheck check = {.title = "exercise 3, a layer applied twice",
                              .loss = echo_loss,
                              .backward = echo_backward,
                              .net = &y,
                              .batch = B};
    static const char *first = "This is the share of the first application alone: that of the "
                               "second is lost. Both must be added with +=.";
    static const char *second = "This is the share of the second application alone: that of the "
                                "first is lost. Both must be added with +=.";
    gc_add(&check, "x", y.x, y.dx, B, WIDE);
    struct gc_tensor *W = gc_add_weight(&check, "W", y.W, y.dW, WIDE, WIDE);
    gc_foresee(W, first, NULL, W1);
    gc_foresee(W, second, NULL, W2);
    struct gc_tensor *b = gc_add_weight(&check, "b", y.b, y.db, WIDE, 1);
    gc_foresee(b, first, NULL, b1);
    gc_foresee(b, second, NULL, b2);
    for (size_t k = 0; k < SLIPS; k++) {
        echo_slip(&y, k, slip_W[k], slip_b[k]);
        gc_foresee(W, slip_says[k], NULL, slip_W[k]);
        if (k > 1) /* the first two do not touch b */
            gc_foresee(b, slip_says[k], NULL, slip_b[k]);
    }
    assert_int_equal(gc_run(&check), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(exercise)};
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
