/* test_bottleneck.c: every gradient of chapter 2 against finite differences, in double, and PCA
   against a cloud whose directions are known. Run with a file name it writes there what the check
   measured. */
#define WORKBOOK_TEST
#define REAL double
#include "bottleneck.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3, N = 6 };

/* --- the check of the error --------------------------------------------------- */
/* Beside the squared error, xhat here has a second use: a sum with the weights c. Its gradient is
   in dxhat already when the squared error's comes, and must survive. */
struct error {
    real x[B * N], xhat[B * N], c[B * N], dxhat[B * N];
};

double error_loss(void *error, double *example) {
    struct error *y = error;
    double own[B], loss = squared_error_forward(own, y->xhat, y->x, B, N);
    loss += weighted_sum(example, y->c, y->xhat, B, N);
    for (size_t r = 0; r < B; r++)
        example[r] += own[r] / B; /* each example's share of the loss */
    return loss;
}

void error_backward(void *error) {
    struct error *y = error;
    memcpy(y->dxhat, y->c, sizeof y->dxhat);
    squared_error_backward(y->dxhat, y->xhat, y->x, B, N);
}

/* --- end of the check of the error -------------------------------------------- */

void squared_error_alone(void **state) {
    (void)state;
    static struct error y;
    static double overwritten[B * N], no_target[B * N], no_square[B * N];
    struct random r;
    random_seed(&r, 5);
    fill(y.x, B * N, &r);
    fill(y.xhat, B * N, &r);
    fill(y.c, B * N, &r);
    for (size_t k = 0; k < B * N; k++) { /* what three likely mistakes would give */
        overwritten[k] = 2 * (y.xhat[k] - y.x[k]) / B;
        no_target[k] = 2 * y.xhat[k] / B + y.c[k];
        no_square[k] = ((y.xhat[k] > y.x[k]) - (y.xhat[k] < y.x[k])) / (double)B + y.c[k];
    }
    struct gradcheck check = {.title = "chapter 2, the squared error",
                              .loss = error_loss,
                              .backward = error_backward,
                              .net = &y,
                              .batch = B};
    gc_size(&check, "the number of pixels n", N);
    struct gc_tensor *t = gc_add(&check, "xhat", y.xhat, y.dxhat, B, N);
    gc_foresee(t, "What dxhat held already is gone: an = stands where += is meant.", NULL,
               overwritten);
    gc_foresee(t, "The target x does not appear: this is the gradient of |xhat|^2.", NULL,
               no_target);
    gc_foresee(t, "This is the sign of xhat - x: the gradient of |xhat - x| without the square.",
               NULL, no_square);
    assert_int_equal(gc_run(&check), 0);
}

/* --- the check of the autoencoder --------------------------------------------- */
/* A whole autoencoder. x is used twice, as the input and as the target, so it collects two
   derivatives: what comes back through the network, and -dL/dxhat. That is the d of the last layer,
   as the error has left it: its layer has no activation, and d stays what it was. */
struct autoencoder {
    struct stack net;
    real x[B * N], dx[B * N];
};

double autoencoder_loss(void *autoencoder, double *example) {
    struct autoencoder *t = autoencoder;
    double loss = rebuild_forward(example, &t->net, t->x, B);
    for (size_t r = 0; r < B; r++)
        example[r] /= B; /* its share of the mean */
    return loss;
}

void autoencoder_backward(void *autoencoder) {
    struct autoencoder *t = autoencoder;
    double example[B];
    memset(t->dx, 0, sizeof t->dx);
    rebuild_forward(example, &t->net, t->x, B);
    rebuild_backward(&t->net, t->dx, t->x, B);
    for (size_t k = 0; k < B * N; k++)
        t->dx[k] -= t->net.dlast[k];
}

/* --- end of the check of the autoencoder -------------------------------------- */

/* For the diagnosis only: each layer's slopes, measured rather than taken from the program. */
void measure_slopes(double slope[][B * N], struct stack *net, const real *x) {
    stack_forward(net, x, B);
    for (size_t l = 0; l < net->depth; l++) {
        const struct dense *y = &net->layer[l];
        double s[B * N], ignored;
        dense_forward(s, l ? net->layer[l - 1].h : x, y->W, y->b, B, y->in, y->out);
        for (size_t k = 0; k < B * y->out; k++)
            slope[l][k] =
                (activate(&ignored, s[k] + 1e-6, y->f) - activate(&ignored, s[k] - 1e-6, y->f)) /
                2e-6;
    }
}

/* The same: what db1 would be if the way back read the decoder's weights with exchanged indices. */
void exchange_decoder(double *guess, struct autoencoder *t) {
    const struct dense *y = &t->net.layer[1];
    autoencoder_backward(t);
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < y->out; j++)
            for (size_t i = 0; i < y->in; i++)
                guess[i] += y->d[r * y->out + j] * y->W[j * y->in + i];
}

int check_autoencoder(const char *title, const size_t *size, const enum activation *f,
                      size_t depth) {
    static struct autoencoder t;
    static double slope[MAX_LAYERS][B * N];
    double exchanged[N] = {0};
    struct random r;
    random_seed(&r, 3);
    t.net = stack_new(size, f, depth, B);
    fill(t.net.value, t.net.parameters, &r);
    fill(t.x, B * N, &r);
    measure_slopes(slope, &t.net, t.x);
    struct gradcheck check = {.title = title,
                              .loss = autoencoder_loss,
                              .backward = autoencoder_backward,
                              .net = &t,
                              .batch = B};
    gc_size(&check, "the number of pixels n", N);
    gc_size(&check, "the number of values in the batch, B times n", B * N);
    gc_add(&check, "x", t.x, t.dx, B, N);
    for (size_t i = 0; i < t.net.tensors; i++) {
        const struct tensor *p = &t.net.tensor[i];
        struct gc_tensor *q = gc_add_weight(&check, p->name, p->value, p->grad, p->rows, p->cols);
        if (f[i / 2] != IDENTITY) /* a slope of 1 everywhere would tell nothing */
            q->slope = slope[i / 2];
        if (depth == 2 && i == 1) {
            exchange_decoder(exchanged, &t);
            gc_foresee(q, "The weights are read transposed on the way back through the decoder.",
                       NULL, exchanged);
        }
    }
    int failed = gc_run(&check);
    free(t.net.value);
    return failed;
}

void linear_network(void **state) {
    (void)state;
    int failed = check_autoencoder("chapter 2, the linear autoencoder 6-2-6", (size_t[]){N, 2, N},
                                   (enum activation[]){IDENTITY, IDENTITY}, 2);
    assert_int_equal(failed, 0);
}

void bent_network(void **state) {
    (void)state;
    int failed = check_autoencoder("chapter 2, an autoencoder 6-5-2-4-6 with tanh inside",
                                   (size_t[]){N, 5, 2, 4, N},
                                   (enum activation[]){TANH, IDENTITY, TANH, IDENTITY}, 4);
    assert_int_equal(failed, 0);
}

/* --- by hand ------------------------------------------------------------------ */
int near(double a, double b, double tolerance) {
    return fabs(a - b) <= tolerance;
}

/* Two steps of Adam. With the gradient 2 at first, m = 0.2 and v = 0.004; corrected they are 2 and
   4, and the step is rate * 2/2. Then, with gradient 0, m = 0.18, v = 0.003996; corrected 0.18/0.19
   and 0.003996/0.001999. */
void adam_by_hand(void **state) {
    (void)state;
    struct adam a = adam_new(2);
    real value[2] = {1, 1}, grad[2] = {2, -50};
    adam_step(&a, value, grad, 0.1);
    assert_true(near(value[0], 0.9, 1e-8) && near(value[1], 1.1, 1e-8)); /* whatever the size */
    grad[0] = 0;
    adam_step(&a, value, grad, 0.1);
    assert_true(near(value[0], 0.9 - 0.1 * (0.18 / 0.19) / sqrt(0.003996 / 0.001999), 1e-8));
    free(a.m);
}

/* Every number from 0 to 99 once, and not where it was. */
void shuffling_keeps_everybody(void **state) {
    (void)state;
    size_t order[100], seen[100] = {0}, moved = 0;
    struct random r;
    random_seed(&r, 1);
    shuffle(order, 100, &r);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(seen[order[i]]++, 0);
        moved += order[i] != i;
    }
    assert_true(moved > 80);
}

/* A covariance made from known eigenvectors, with eigenvalues 1, 1/2, 1/3, ... */
void pca_finds_known_directions(void **state) {
    (void)state;
    enum { LONG = 40, D = 7 };
    static double Q[LONG * LONG], C[LONG * LONG];
    struct random r;
    random_seed(&r, 4);
    fill(Q, LONG * LONG, &r);
    orthonormalise(Q, LONG, LONG);
    for (size_t k = 0; k < LONG * LONG; k++)
        assert_true(
            near(dot(Q + k / LONG * LONG, Q + k % LONG * LONG, LONG), k / LONG == k % LONG, 1e-14));
    for (size_t k = 0; k < LONG; k++)
        for (size_t i = 0; i < LONG; i++)
            for (size_t j = 0; j < LONG; j++)
                C[i * LONG + j] += Q[k * LONG + i] * Q[k * LONG + j] / ((double)k + 1);
    struct pca p = pca_find(NULL, C, LONG, D, &r);
    assert_true(p.rounds < 100);
    for (size_t k = 0; k < D; k++) {
        assert_true(near(p.variance[k], 1 / ((double)k + 1), 1e-12));
        assert_true(near(fabs(dot(p.Q + k * LONG, Q + k * LONG, LONG)), 1, 1e-12));
    }
    free(p.Q);
    free(p.variance);
}

/* The chapter's claim, on sixty pictures that are gray mixtures of eight: a network with a code of
   3 comes close to what PCA leaves, and not below it. */
void training_finds_the_floor(void **state) {
    (void)state;
    enum { COUNT = 60, D = 3, STEPS = 400 };
    static unsigned char pixel[COUNT * PIXELS];
    static double C[PIXELS * PIXELS], mean[PIXELS], part[8 * PIXELS];
    static real x[COUNT * PIXELS];
    double error[D + 1], example[COUNT];
    struct images images = {COUNT, pixel, NULL};
    struct random r;
    random_seed(&r, 1);
    fill(part, 8 * PIXELS, &r);
    for (size_t k = 0; k < COUNT; k++)
        for (size_t j = 0; j < 8; j++) {
            double gray = random_uniform(&r, 0, 60) / ((double)j + 1);
            for (size_t i = 0; i < PIXELS; i++)
                pixel[k * PIXELS + i] += (unsigned char)(gray * (part[j * PIXELS + i] > 0));
        }
    mean_image(mean, &images);
    covariance(C, mean, &images);
    struct pca p = pca_find(mean, C, PIXELS, D, &r);
    pca_errors(error, &p, &images);
    double total = 0; /* of the variance, and so of the error with no direction */
    for (size_t i = 0; i < PIXELS; i++)
        total += C[i * PIXELS + i];
    assert_true(near(error[0], total, 1e-9));
    assert_true(near(error[D], total - p.variance[0] - p.variance[1] - p.variance[2], 1e-9));

    struct stack net = linear_autoencoder(D, COUNT, &r);
    struct adam adam = adam_new(net.parameters);
    brightness(x, pixel, COUNT * PIXELS);
    subtract_mean(x, mean, COUNT);
    for (int step = 0; step < STEPS; step++)
        linear_step(&net, &adam, example, x, COUNT, 0.02 * (1 - (double)step / STEPS));
    double trained = rebuild_forward(example, &net, x, COUNT);
    if (!(trained > (1 - 1e-9) * error[D] && trained < 1.001 * error[D]))
        fail_msg("training ends at %g; PCA leaves %g", trained, error[D]);
    /* Without Adam, a step goes against the gradient by the rate. */
    double before = net.value[0];
    linear_step(&net, NULL, example, x, COUNT, 0.01);
    assert_true(near(before - net.value[0], 0.01 * net.grad[0], 1e-12));
    free(net.value);
    free(adam.m);
    free(p.Q);
    free(p.variance);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(squared_error_alone),
        cmocka_unit_test(linear_network),
        cmocka_unit_test(bent_network),
        cmocka_unit_test(adam_by_hand),
        cmocka_unit_test(shuffling_keeps_everybody),
        cmocka_unit_test(pca_finds_known_directions),
        cmocka_unit_test(training_finds_the_floor),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
