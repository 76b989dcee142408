/* test_encoder.c: every gradient of chapter 1 against finite differences, in double; and the
   exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "encoder.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"

/* --- the check of one layer --------------------------------------------------- */
/* L = sum of c h, with fixed random c, so that dL/dh = c. */
enum { B = 3, IN = 4, OUT = 7 };
struct one_layer {
    enum activation f;
    real x[B * IN], W[IN * OUT], b[OUT], c[B * OUT];
    real s[B * OUT], h[B * OUT];
    real dW[IN * OUT], db[OUT], dx[B * IN], ds[B * OUT], dh[B * OUT];
    real slope[B * OUT];
};

double one_layer_loss(void *net, double *example) {
    struct one_layer *y = net;
    double loss = 0;
    dense_forward(y->s, y->x, y->W, y->b, B, IN, OUT);
    activation_forward(y->h, y->s, y->f, B * OUT);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t j = 0; j < OUT; j++)
            example[r] += y->c[r * OUT + j] * y->h[r * OUT + j];
        loss += example[r];
    }
    return loss;
}

void one_layer_backward(void *net) {
    struct one_layer *y = net;
    double example[B];
    memset(y->dW, 0, sizeof y->dW);
    memset(y->db, 0, sizeof y->db);
    memset(y->dx, 0, sizeof y->dx);
    memset(y->ds, 0, sizeof y->ds);
    one_layer_loss(y, example);
    memcpy(y->dh, y->c, sizeof y->dh);
    activation_backward(y->ds, y->dh, y->h, y->f, B * OUT);
    dense_backward(y->dW, y->db, y->dx, y->ds, y->x, y->W, B, IN, OUT);
    /* For the diagnosis only: the slope, measured rather than taken from the program. */
    for (size_t i = 0; i < B * OUT; i++)
        y->slope[i] = (activate(y->f, y->s[i] + 1e-6) - activate(y->f, y->s[i] - 1e-6)) / 2e-6;
}

/* --- end of the check of one layer ---------------------------------------------- */

void fill(real *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, -1, 1);
}

/* What dx would be if the sum over the outputs were overwritten at each step. */
void last_output_only(double *guess, const struct one_layer *y) {
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < IN; i++)
            guess[r * IN + i] = y->ds[r * OUT + OUT - 1] * y->W[i * OUT + OUT - 1];
}

/* What dx would be if W were read with its indices exchanged. */
void weights_transposed(double *guess, const struct one_layer *y) {
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < IN; i++) {
            guess[r * IN + i] = 0;
            for (size_t j = 0; j < OUT; j++)
                guess[r * IN + i] += y->ds[r * OUT + j] * y->W[j * IN + i];
        }
}

int check_one_layer(enum activation f) {
    static struct one_layer y;
    memset(&y, 0, sizeof y);
    struct random r;
    random_seed(&r, 7);
    y.f = f;
    fill(y.x, B * IN, &r);
    fill(y.W, IN * OUT, &r);
    fill(y.b, OUT, &r);
    fill(y.c, B * OUT, &r);
    char title[64];
    snprintf(title, sizeof title, "chapter 1, one %s layer", activation_name[f]);
    struct gradcheck check = {.title = title,
                              .loss = one_layer_loss,
                              .backward = one_layer_backward,
                              .net = &y,
                              .batch = B};
    double last[B * IN], transposed[B * IN];
    one_layer_backward(&y);
    last_output_only(last, &y);
    weights_transposed(transposed, &y);
    struct gc_tensor *x = gc_add(&check, "x", y.x, y.dx, B, IN);
    gc_foresee(x, "This is the last output's share alone: in dx, an = stands where += is meant.",
               NULL, last);
    gc_foresee(x, "W is read transposed: its indices are exchanged in dx.", NULL, transposed);
    gc_add(&check, "W", y.W, y.dW, IN, OUT)->slope = y.slope;
    gc_add(&check, "b", y.b, y.db, 1, OUT)->slope = y.slope;
    return gc_run(&check);
}

void each_activation(void **state) {
    (void)state;
    int failed = 0;
    for (int f = 0; f < ACTIVATIONS; f++)
        failed += check_one_layer(f);
    assert_int_equal(failed, 0);
}

/* --- the check of a stack ----------------------------------------------------- */
struct stack {
    struct network net;
    real x[B * 6], dx[B * 6], c[B * 3];
};

double stack_loss(void *context, double *example) {
    struct stack *t = context;
    const real *z = network_forward(&t->net, t->x, B);
    double loss = 0;
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t j = 0; j < 3; j++)
            example[r] += t->c[r * 3 + j] * z[r * 3 + j];
        loss += example[r];
    }
    return loss;
}

void stack_backward(void *context) {
    struct stack *t = context;
    double example[B];
    network_zero(&t->net);
    memset(t->dx, 0, sizeof t->dx);
    stack_loss(t, example);
    memcpy(t->net.dlast, t->c, sizeof t->c);
    network_backward(&t->net, t->dx, t->x, B);
}

/* --- end of the check of a stack ------------------------------------------------ */

void whole_stack(void **state) {
    (void)state;
    static struct stack t;
    const size_t size[] = {6, 8, 5, 3};
    const enum activation f[] = {RELU, TANH, IDENTITY};
    t.net = network_new(size, f, 3, B);
    struct random r;
    random_seed(&r, 3);
    fill(t.net.value, t.net.parameters, &r);
    fill(t.x, B * 6, &r);
    fill(t.c, B * 3, &r);
    struct gradcheck check = {.title = "chapter 1, a stack 6-8-5-3 (relu, tanh, identity)",
                              .loss = stack_loss,
                              .backward = stack_backward,
                              .net = &t,
                              .batch = B};
    gc_add(&check, "x", t.x, t.dx, B, 6);
    for (size_t i = 0; i < t.net.tensors; i++) {
        struct tensor *p = &t.net.tensor[i];
        gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols);
    }
    int failed = gc_run(&check);
    network_free(&t.net);
    assert_int_equal(failed, 0);
}

/* Small numbers that can be done in the head. */
void layer_by_hand(void **state) {
    (void)state;
    real x[] = {1, 2}, W[] = {1, 0, -1, 3, 1, 2}, b[] = {0.5, 0, 1}, s[3];
    dense_forward(s, x, W, b, 1, 2, 3);
    assert_true(s[0] == 7.5 && s[1] == 2 && s[2] == 4); /* 1*1+2*3+0.5, 1*0+2*1+0, 1*(-1)+2*2+1 */
    assert_true(activate(RELU, -2) == 0 && activate(RELU, 2) == 2 && activate(SIGMOID, 0) == 0.5);
    /* Neither form of the sigmoid alone survives both: one gives NaN, the other loses small values. */
    assert_true(activate(SIGMOID, 800) == 1 && activate(SIGMOID, -800) == 0);
    assert_true(fabs(activate(SIGMOID, -740) / exp(-740.0) - 1) < 0.1);
}

/* The first numbers of both generators for the states their authors' reference code
   was tried with. */
void random_numbers_are_the_published_ones(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 1234567);
    assert_true(r.state[0] == 6457827717110365317u && r.state[1] == 3203168211198807973u);
    r = (struct random){{1, 2, 3, 4}};
    assert_true(random_bits(&r) == 11520 && random_bits(&r) == 0 && random_bits(&r) == 1509978240);
    random_seed(&r, 5);
    double mean = 0;
    for (int i = 0; i < 10000; i++) {
        double u = random_uniform(&r, -1, 3);
        assert_true(u >= -1 && u < 3);
        mean += u / 10000;
    }
    assert_true(fabs(mean - 1) < 0.05); /* standard error 0.0115 */
}

/* He: a layer of ReLU keeps the mean square of what comes in. */
void he_keeps_the_size(void **state) {
    (void)state;
    enum { WIDE = 400, ROWS = 20 };
    struct network net = network_new((size_t[]){WIDE, WIDE}, (enum activation[]){RELU}, 1, ROWS);
    struct random r;
    random_seed(&r, 1);
    layer_start(&net.layer[0], he_limit(WIDE, WIDE), &r);
    real *x = allocate(ROWS * WIDE, sizeof *x);
    fill(x, ROWS * WIDE, &r);
    const real *h = network_forward(&net, x, ROWS);
    double before = 0, after = 0;
    for (size_t i = 0; i < ROWS * WIDE; i++) {
        before += x[i] * x[i];
        after += h[i] * h[i];
    }
    assert_true(fabs(after / before - 1) < 0.1);
    network_free(&net);
    free(x);
}

#ifdef EXERCISE
#include EXERCISE

double exercise_loss(void *net, double *example) {
    struct one_layer *y = net;
    double loss = 0;
    softplus_forward(y->s, y->h, y->x, y->W, y->b, B, IN, OUT);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t j = 0; j < OUT; j++)
            example[r] += y->c[r * OUT + j] * y->h[r * OUT + j];
        loss += example[r];
    }
    return loss;
}

void exercise_backward(void *net) {
    struct one_layer *y = net;
    double example[B];
    memset(y->dW, 0, sizeof y->dW);
    memset(y->db, 0, sizeof y->db);
    memset(y->dx, 0, sizeof y->dx);
    memset(y->ds, 0, sizeof y->ds);
    exercise_loss(y, example);
    memcpy(y->dh, y->c, sizeof y->dh);
    softplus_backward(y->dW, y->db, y->dx, y->ds, y->dh, y->s, y->x, y->W, B, IN, OUT);
    for (size_t i = 0; i < B * OUT; i++)
        y->slope[i] = (softplus(y->s[i] + 1e-6) - softplus(y->s[i] - 1e-6)) / 2e-6;
}

void exercise(void **state) {
    (void)state;
    static struct one_layer y;
    struct random r;
    random_seed(&r, 11);
    fill(y.x, B * IN, &r);
    fill(y.W, IN * OUT, &r);
    fill(y.b, OUT, &r);
    fill(y.c, B * OUT, &r);
    struct gradcheck check = {.title = "exercise 1, a softplus layer",
                              .loss = exercise_loss,
                              .backward = exercise_backward,
                              .net = &y,
                              .batch = B};
    gc_add(&check, "x", y.x, y.dx, B, IN);
    gc_add(&check, "W", y.W, y.dW, IN, OUT)->slope = y.slope;
    gc_add(&check, "b", y.b, y.db, 1, OUT)->slope = y.slope;
    int failed = gc_run(&check);
    assert_int_equal(failed, 0);
    assert_true(isfinite(softplus(1000)) && softplus(-1000) == 0);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {cmocka_unit_test(exercise)};
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_activation),
        cmocka_unit_test(whole_stack),
        cmocka_unit_test(layer_by_hand),
        cmocka_unit_test(random_numbers_are_the_published_ones),
        cmocka_unit_test(he_keeps_the_size),
    };
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
