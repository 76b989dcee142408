/* test_encoder.c: every gradient of chapter 1 against finite differences, in double. Run with a
   file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "encoder.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

/* --- the check of one layer --------------------------------------------------- */
/* L = sum of c h, with fixed random c, so that dL/dh = c. */
enum { B = 3, IN = 4, OUT = 7 };
struct one_layer {
    enum activation f;
    real x[B * IN], W[OUT * IN], b[OUT], c[B * OUT];
    real s[B * OUT], h[B * OUT], slope[B * OUT];
    real dx[B * IN], dW[OUT * IN], db[OUT], d[B * OUT];
};

double one_layer_loss(void *layer, double *example) {
    struct one_layer *y = layer;
    dense_forward(y->s, y->x, y->W, y->b, B, IN, OUT);
    activation_forward(y->h, y->slope, y->s, y->f, B * OUT);
    return weighted_sum(example, y->c, y->h, B, OUT);
}

void one_layer_backward(void *layer) {
    struct one_layer *y = layer;
    double example[B];
    memset(y->dx, 0, sizeof y->dx);
    memset(y->dW, 0, sizeof y->dW);
    memset(y->db, 0, sizeof y->db);
    one_layer_loss(y, example);
    memcpy(y->d, y->c, sizeof y->d);
    activation_backward(y->d, y->slope, B * OUT);
    dense_backward(y->dW, y->db, y->dx, y->d, y->x, y->W, B, IN, OUT);
}

/* --- end of the check of one layer ---------------------------------------------- */

/* For the diagnosis only: the slopes, measured rather than taken from the program; what dx would be
   if the sum over the outputs were overwritten at each step, or W read with its
   indices exchanged. */
struct guesses {
    double slope[B * OUT], last[B * IN], exchanged[B * IN];
};

void guess(struct guesses *g, const struct one_layer *y) {
    memset(g, 0, sizeof *g);
    for (size_t k = 0; k < B * OUT; k++) {
        double ignored;
        g->slope[k] =
            (activate(&ignored, y->s[k] + 1e-6, y->f) - activate(&ignored, y->s[k] - 1e-6, y->f)) /
            2e-6;
    }
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < IN; i++) {
            g->last[r * IN + i] = y->d[r * OUT + OUT - 1] * y->W[i * OUT + OUT - 1];
            for (size_t j = 0; j < OUT; j++)
                g->exchanged[r * IN + i] += y->d[r * OUT + j] * y->W[j * IN + i];
        }
}

int check_one_layer(enum activation f) {
    static struct one_layer y;
    static struct guesses g;
    struct random r;
    random_seed(&r, 7);
    y.f = f;
    fill(y.x, B * IN, &r);
    fill(y.W, OUT * IN, &r);
    fill(y.b, OUT, &r);
    fill(y.c, B * OUT, &r);
    one_layer_backward(&y);
    guess(&g, &y);
    char title[64];
    snprintf(title, sizeof title, "chapter 1, one %s layer", activation_name[f]);
    struct gradcheck check = {.title = title,
                              .loss = one_layer_loss,
                              .backward = one_layer_backward,
                              .net = &y,
                              .batch = B};
    struct gc_tensor *x = gc_add(&check, "x", y.x, y.dx, B, IN);
    gc_foresee(x, "This is the last output's share alone: in dx, an = stands where += is meant.",
               NULL, g.last);
    gc_foresee(x, "W is read transposed: its indices are exchanged in dx.", NULL, g.exchanged);
    gc_add_weight(&check, "W", y.W, y.dW, OUT, IN)->slope = g.slope;
    gc_add_weight(&check, "b", y.b, y.db, OUT, 1)->slope = g.slope;
    return gc_run(&check);
}

void each_activation(void **state) {
    (void)state;
    int failed = 0;
    for (int f = 0; f < ACTIVATIONS; f++)
        failed += check_one_layer((enum activation)f);
    assert_int_equal(failed, 0);
}

/* --- the check of a stack ----------------------------------------------------- */
/* The whole way that learning goes: a stack, and the squared distance from the label as
   the loss. */
struct pupil {
    struct stack net;
    real x[B * 6], dx[B * 6];
    unsigned char label[B];
};

double pupil_loss(void *pupil, double *example) {
    struct pupil *t = pupil;
    double loss = 0, unused[B * DIGITS];
    const real *h = stack_forward(&t->net, t->x, B);
    for (size_t r = 0; r < B; r++) /* each example's share of the mean */
        loss += example[r] = distance_from_label(unused, h + r * DIGITS, t->label + r, 1) / B;
    return loss;
}

void pupil_backward(void *pupil) {
    struct pupil *t = pupil;
    stack_zero(&t->net);
    memset(t->dx, 0, sizeof t->dx);
    distance_from_label(t->net.dlast, stack_forward(&t->net, t->x, B), t->label, B);
    stack_backward(&t->net, t->dx, t->x, B);
}

void whole_stack(void **state) {
    (void)state;
    static struct pupil t = {.label = {3, 0, 9}};
    struct random r;
    random_seed(&r, 3);
    t.net = stack_new((size_t[]){6, 8, 5, DIGITS}, (enum activation[]){RELU, TANH, IDENTITY}, 3, B);
    fill(t.net.value, t.net.parameters, &r);
    fill(t.x, B * 6, &r);
    struct gradcheck check = {.title = "chapter 1, a stack 6-8-5-10 (relu, tanh, identity)",
                              .loss = pupil_loss,
                              .backward = pupil_backward,
                              .net = &t,
                              .batch = B};
    gc_add(&check, "x", t.x, t.dx, B, 6);
    add_tensors(&check, t.net.tensor, t.net.tensors);
    assert_int_equal(gc_run(&check), 0);
    free(t.net.value);
}

/* --- by hand ------------------------------------------------------------------ */

/* A step of gradient descent goes against the derivative, by the rate: the parameters before, minus
   those after, are rate times the gradient that the step has left. And the loss falls. */
void a_step_goes_down(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 5);
    struct stack net = stack_new((size_t[]){6, DIGITS}, (enum activation[]){TANH}, 1, B);
    real x[B * 6], before[70];
    const unsigned char label[B] = {3, 0, 9};
    fill(net.value, net.parameters, &r);
    fill(x, B * 6, &r);
    memcpy(before, net.value, sizeof before);
    assert_int_equal(net.parameters, 70);
    double loss = descend(&net, x, label, B, 0.01);
    for (size_t k = 0; k < 70; k++)
        if (fabs(before[k] - net.value[k] - 0.01 * net.grad[k]) > 1e-15) {
            printf("Parameter %zu moved by %g. Its derivative is %g and the rate 0.01: a step goes "
                   "down, by the rate times the derivative.\n",
                   k, net.value[k] - before[k], net.grad[k]);
            fail();
        }
    double then = descend(&net, x, label, B, 0.01);
    if (!(then < loss))
        fail_msg("the loss was %g and is %g after a small step down", loss, then);
    free(net.value);
}

/* Small numbers that can be done in the head. */
void layer_by_hand(void **state) {
    (void)state;
    real x[] = {1, 2}, W[] = {1, 0, -1, 3, 1, 2}, b[] = {0.5, 0, 1}, s[3], slope;
    dense_forward(s, x, W, b, 1, 2, 3);
    assert_true(s[0] == 7.5 && s[1] == 2 && s[2] == 4); /* 1*1+2*3+0.5, 1*0+2*1+0, 1*(-1)+2*2+1 */
    assert_true(activate(&slope, -2, RELU) == 0 && activate(&slope, 2, RELU) == 2);
    /* Neither form of the sigmoid alone survives both: one gives NaN, the other loses
       small values. */
    assert_true(activate(&slope, 800, SIGMOID) == 1 && activate(&slope, -800, SIGMOID) == 0);
    assert_true(fabs(activate(&slope, -740, SIGMOID) / exp(-740.0) - 1) < 0.1);
}

/* He: a layer of ReLU keeps the mean square of what comes in. Xavier, with in = out, halves it. */
void starts_keep_the_size(void **state) {
    (void)state;
    enum { WIDE = 400, ROWS = 20 };
    double (*limit[])(size_t, size_t) = {he_limit, xavier_limit};
    for (int k = 0; k < 2; k++) {
        struct stack net = stack_new((size_t[]){WIDE, WIDE}, (enum activation[]){RELU}, 1, ROWS);
        struct random r;
        random_seed(&r, 1);
        dense_start(&net.layer[0], limit[k](WIDE, WIDE), &r);
        static real x[ROWS * WIDE];
        fill(x, ROWS * WIDE, &r);
        const real *h = stack_forward(&net, x, ROWS);
        double before = 0, after = 0;
        for (size_t i = 0; i < ROWS * WIDE; i++) {
            before += x[i] * x[i];
            after += h[i] * h[i];
        }
        double kept = k == 0 ? 1 : 0.5;
        if (!(fabs(after / before - kept) < 0.1))
            fail_msg("%s keeps %.3f of the mean square, not %.1f", k == 0 ? "He" : "Xavier",
                     after / before, kept);
        free(net.value);
    }
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

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(each_activation),
        cmocka_unit_test(whole_stack),
        cmocka_unit_test(a_step_goes_down),
        cmocka_unit_test(layer_by_hand),
        cmocka_unit_test(starts_keep_the_size),
        cmocka_unit_test(random_numbers_are_the_published_ones),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
