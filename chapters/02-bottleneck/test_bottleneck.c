/* test_bottleneck.c: every gradient of chapter 2 against finite differences, in double; PCA against
   planes that are known; and the exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "bottleneck.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"

enum { B = 3, N = 6 };

void fill(real *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, -1, 1);
}

/* --- the check of the error ----------------------------------------------------- */
/* Beside the squared error, xhat here has a second use: a sum with the weights c. Its gradient is
   in dxhat already when the squared error's comes, and must survive. */
struct error {
    real x[B * N], xhat[B * N], c[B * N], dxhat[B * N];
};

double error_loss(void *net, double *example) {
    struct error *y = net;
    double loss = squared_error_forward(example, y->xhat, y->x, B, N);
    for (size_t r = 0; r < B; r++) {
        double sum = 0;
        for (size_t i = 0; i < N; i++)
            sum += y->c[r * N + i] * y->xhat[r * N + i];
        example[r] = example[r] / B + sum;
        loss += sum;
    }
    return loss;
}

void error_backward(void *net) {
    struct error *y = net;
    memcpy(y->dxhat, y->c, sizeof y->dxhat);
    squared_error_backward(y->dxhat, y->xhat, y->x, B, N);
}

/* --- end of the check of the error ---------------------------------------------- */

void squared_error_alone(void **state) {
    (void)state;
    static struct error y;
    static double overwritten[B * N], no_target[B * N], no_square[B * N];
    struct random r;
    random_seed(&r, 5);
    fill(y.x, B * N, &r);
    fill(y.xhat, B * N, &r);
    fill(y.c, B * N, &r);
    for (size_t k = 0; k < B * N; k++) {
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
    int failed = gc_run(&check);
    assert_int_equal(failed, 0);
}

/* --- the check of the autoencoder ------------------------------------------------ */
/* A whole autoencoder. x is used twice, as the input and as the target, so it collects two
   derivatives: what comes back through the network, and -dL/dxhat. */
struct autoencoder {
    struct network net;
    real x[B * N], dx[B * N], slope[MAX_LAYERS][B * N];
};

double autoencoder_loss(void *context, double *example) {
    struct autoencoder *t = context;
    double loss = rebuild_forward(example, &t->net, t->x, B);
    for (size_t r = 0; r < B; r++)
        example[r] /= B; /* its share of the mean */
    return loss;
}

void autoencoder_backward(void *context) {
    struct autoencoder *t = context;
    double example[B];
    memset(t->dx, 0, sizeof t->dx);
    rebuild_forward(example, &t->net, t->x, B);
    rebuild_backward(&t->net, t->dx, t->x, B);
    for (size_t k = 0; k < B * N; k++)
        t->dx[k] -= t->net.dlast[k];
    /* For the diagnosis only: the slopes, measured rather than taken from the program. */
    for (size_t l = 0; l < t->net.depth; l++) {
        const struct layer *y = &t->net.layer[l];
        for (size_t k = 0; k < B * y->out; k++)
            t->slope[l][k] =
                (activate(y->f, y->s[k] + 1e-6) - activate(y->f, y->s[k] - 1e-6)) / 2e-6;
    }
}

/* --- end of the check of the autoencoder ----------------------------------------- */

/* What db1 would be if the way back read the decoder's weights as if they lay in memory as (out,in). */
void transposed_decoder(double *guess, struct autoencoder *t) {
    const struct layer *decoder = &t->net.layer[1];
    autoencoder_backward(t);
    memset(guess, 0, decoder->in * sizeof *guess);
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < decoder->out; j++)
            for (size_t i = 0; i < decoder->in; i++)
                guess[i] += decoder->ds[r * decoder->out + j] * decoder->W[j * decoder->in + i];
}

int check_autoencoder(const char *title, const size_t *size, const enum activation *f,
                      size_t depth) {
    static struct autoencoder t;
    memset(&t, 0, sizeof t);
    t.net = network_new(size, f, depth, B);
    struct random r;
    random_seed(&r, 3);
    fill(t.net.value, t.net.parameters, &r);
    fill(t.x, B * N, &r);
    struct gradcheck check = {.title = title,
                              .loss = autoencoder_loss,
                              .backward = autoencoder_backward,
                              .net = &t,
                              .batch = B};
    double transposed[N] = {0};
    if (depth == 2)
        transposed_decoder(transposed, &t);
    gc_size(&check, "the number of pixels n", N);
    gc_size(&check, "the number of values in the batch, B times n", B * N);
    gc_add(&check, "x", t.x, t.dx, B, N);
    for (size_t i = 0; i < t.net.tensors; i++) {
        struct tensor *p = &t.net.tensor[i];
        /* A linear layer has the slope 1 everywhere, and nothing could be told from it. */
        struct gc_tensor *q = gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols);
        if (t.net.layer[i / 2].f != IDENTITY)
            q->slope = t.slope[i / 2];
        if (depth == 2 && i == 1)
            gc_foresee(q, "The weights are read transposed on the way back through the decoder.",
                       NULL, transposed);
    }
    int failed = gc_run(&check);
    network_free(&t.net);
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

int near(double a, double b, double tolerance) {
    return fabs(a - b) <= tolerance;
}

/* Two steps of Adam by hand. With the gradient 2 at first, m = 0.2 and v = 0.004; corrected they
   are 2 and 4, and the step is rate * 2/2. Then, with gradient 0, m = 0.18, v = 0.003996; corrected
   0.18/0.19 and 0.003996/0.001999. */
void adam_by_hand(void **state) {
    (void)state;
    struct adam a = adam_new(2);
    real value[2] = {1, 1}, grad[2] = {2, -50};
    adam_step(&a, value, grad, 0.1);
    assert_true(near(value[0], 0.9, 1e-8) && near(value[1], 1.1, 1e-8)); /* whatever the size */
    grad[0] = 0;
    adam_step(&a, value, grad, 0.1);
    assert_true(near(value[0], 0.9 - 0.1 * (0.18 / 0.19) / sqrt(0.003996 / 0.001999), 1e-8));
    adam_free(&a);
}

void shuffling_keeps_everybody(void **state) {
    (void)state;
    size_t order[100], seen[100] = {0}, moved = 0;
    struct random r;
    random_seed(&r, 1);
    shuffle(order, 100, &r);
    for (size_t i = 0; i < 100; i++) {
        seen[order[i]]++;
        moved += order[i] != i;
    }
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 80);
}

/* Two images with one bright pixel each: the two pixels never shine together. */
void covariance_by_hand(void **state) {
    (void)state;
    static unsigned char pixel[2 * PIXELS];
    static double C[PIXELS * PIXELS], mean[PIXELS];
    pixel[0] = pixel[PIXELS + 1] = 255;
    struct images images = {2, pixel, NULL};
    covariance(C, mean, &images);
    assert_true(mean[0] == 0.5 && mean[1] == 0.5 && mean[2] == 0);
    assert_true(C[0] == 0.25 && C[PIXELS + 1] == 0.25 && C[2 * PIXELS + 2] == 0);
    assert_true(C[1] == -0.25 && C[PIXELS] == -0.25);
}

/* [2 1; 1 2] stretches (1,1) by 3 and (1,-1) by 1. */
void jacobi_by_hand(void **state) {
    (void)state;
    double H[] = {2, 1, 1, 2}, V[4];
    jacobi(V, H, 2);
    assert_true(near(H[0], 3, 1e-14) && near(H[3], 1, 1e-14));
    assert_true(near(V[0] * V[1], 0.5, 1e-14) && near(V[2] * V[3], -0.5, 1e-14));
}

void bases_are_orthonormal(void **state) {
    (void)state;
    enum { D = 4, LONG = 9 };
    double Q[D * LONG], before[LONG], after[LONG];
    struct random r;
    random_seed(&r, 2);
    fill(Q, D * LONG, &r);
    for (size_t i = 0; i < LONG; i++) { /* the last lies in the plane of the first two */
        before[i] = Q[2 * LONG + i];
        Q[3 * LONG + i] = 2 * Q[i] - Q[LONG + i];
    }
    orthonormalise(Q, D, LONG);
    for (size_t k = 0; k < D; k++)
        for (size_t l = 0; l < D; l++)
            assert_true(near(dot(Q + k * LONG, Q + l * LONG, LONG), k == l && k < 3, 1e-14));
    /* The third row is still in the span: its three shadows add up to it. */
    memset(after, 0, sizeof after);
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < LONG; i++)
            after[i] += dot(before, Q + k * LONG, LONG) * Q[k * LONG + i];
    for (size_t i = 0; i < LONG; i++)
        assert_true(near(after[i], before[i], 1e-14));
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
    double total = 0;
    for (size_t k = 0; k < LONG; k++) {
        double eigenvalue = 1 / (k + 1.0);
        total += eigenvalue;
        for (size_t i = 0; i < LONG; i++)
            for (size_t j = 0; j < LONG; j++)
                C[i * LONG + j] += eigenvalue * Q[k * LONG + i] * Q[k * LONG + j];
    }
    struct pca p = pca_find(allocate(LONG, sizeof(double)), C, LONG, D, &r);
    assert_true(near(p.total, total, 1e-12) && p.residual <= 1e-9 && p.rounds < 100);
    for (size_t k = 0; k < D; k++) {
        assert_true(near(p.variance[k], 1 / (k + 1.0), 1e-12));
        assert_true(near(fabs(dot(p.Q + k * LONG, Q + k * LONG, LONG)), 1, 1e-12));
    }
    pca_free(&p);
}

/* The plane of x and y, against one that shares x and is turned by 30 degrees. */
void angles_by_hand(void **state) {
    (void)state;
    double c = sqrt(0.75), s = 0.5, P[] = {1, 0, 0, 0, 1, 0}, Q[] = {0, c, s, 1, 0, 0}, angle[2];
    principal_angles(angle, P, Q, 2, 3);
    assert_true(near(angle[0], 0, 1e-5) && near(angle[1], 30, 1e-10));
}

void bar_is_three_pixels_wide(void **state) {
    (void)state;
    struct images bar = sliding_bar(50);
    for (size_t k = 0; k < 50; k++) {
        int sum = 0;
        for (size_t i = 0; i < SIDE; i++)
            sum += bar.pixel[k * PIXELS + i];
        assert_true(abs(sum - 3 * 255) <= 2); /* the bytes are rounded */
    }
    free_images(&bar);
}

/* The chapter's claim on something small: 60 bars, a code of 3. And the other claim on the network
   that comes out: its code may be stretched and mixed, and the error stays. */
void training_finds_the_plane_of_pca(void **state) {
    (void)state;
    enum { BARS = 60, D = 3, STEPS = 400 };
    static double C[PIXELS * PIXELS], Q[D * PIXELS];
    double *mean = allocate(PIXELS, sizeof *mean), error[D + 1], angle[D], example[BARS];
    struct images bars = sliding_bar(BARS);
    struct random r;
    random_seed(&r, 1);
    covariance(C, mean, &bars);
    struct pca p = pca_find(mean, C, PIXELS, D, &r);
    pca_errors(error, &p, &bars);
    assert_true(near(error[0], p.total, 1e-9));
    assert_true(near(error[D], p.total - p.variance[0] - p.variance[1] - p.variance[2], 1e-9));

    struct network net = linear_autoencoder(D, BARS, &r);
    struct adam adam = adam_new(net.parameters);
    real *x = allocate(BARS * PIXELS, sizeof *x);
    size_t which[BARS];
    for (size_t k = 0; k < BARS; k++)
        which[k] = k;
    gather_centred(x, &bars, which, p.mean, BARS);
    for (int step = 0; step < STEPS; step++)
        train_step(&net, &adam, example, x, BARS, 0.02 * (1 - (double)step / STEPS));
    double trained = rebuild_forward(example, &net, x, BARS);
    assert_true(trained > error[D] && trained < 1.001 * error[D]);
    for (size_t k = 0; k < D * PIXELS; k++)
        Q[k] = net.layer[1].W[k];
    orthonormalise(Q, D, PIXELS);
    principal_angles(angle, Q, p.Q, D, PIXELS);
    assert_true(angle[D - 1] < 2);

    double code = net.layer[0].h[1];
    stretch_code(&net, 1, -2);
    mix_code(&net, 1, 2, 0.7);
    mix_code(&net, 0, 1, -1.3);
    assert_true(near(rebuild_forward(example, &net, x, BARS), trained, 1e-12));
    assert_false(near(net.layer[0].h[1], code, 1e-3));
    free(x);
    free_images(&bars);
    adam_free(&adam);
    network_free(&net);
    pca_free(&p);
}

#ifdef EXERCISE
#include EXERCISE

const double lambda = 0.3;

double exercise_loss(void *context, double *example) {
    struct autoencoder *t = context;
    return autoencoder_loss(t, example) + decay_forward(&t->net, lambda);
}

void exercise_backward(void *context) {
    struct autoencoder *t = context;
    autoencoder_backward(t);
    decay_backward(&t->net, lambda);
}

void exercise(void **state) {
    (void)state;
    static struct autoencoder t;
    t.net = network_new((size_t[]){N, 2, N}, (enum activation[]){IDENTITY, IDENTITY}, 2, B);
    struct random r;
    random_seed(&r, 11);
    fill(t.net.value, t.net.parameters, &r);
    fill(t.x, B * N, &r);
    struct gradcheck check = {.title = "exercise 2, weight decay",
                              .loss = exercise_loss,
                              .backward = exercise_backward,
                              .net = &t,
                              .batch = B};
    /* What dW of each layer would be after three likely mistakes, once the error's own is known. */
    static double overwritten[2][N * 2], subtracted[2][N * 2], squared[2][N * 2];
    autoencoder_backward(&t);
    for (size_t l = 0; l < 2; l++)
        for (size_t k = 0; k < N * 2; k++) {
            double w = t.net.layer[l].W[k], dw = t.net.layer[l].dW[k];
            overwritten[l][k] = lambda * w;
            subtracted[l][k] = dw - lambda * w;
            squared[l][k] = dw + lambda / 2 * w * w;
        }
    for (size_t i = 0; i < t.net.tensors; i++) {
        struct tensor *p = &t.net.tensor[i];
        struct gc_tensor *q = gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols);
        if (i % 2) /* the tensors are W1, b1, W2, b2 */
            continue;
        gc_foresee(q, "The error's gradient is gone: an = stands where += is meant.", NULL,
                   overwritten[i / 2]);
        gc_foresee(q, "The penalty's gradient is subtracted, and should be added.", NULL,
                   subtracted[i / 2]);
        gc_foresee(q, "This adds the penalty itself, strength/2 w^2, and not its derivative.", NULL,
                   squared[i / 2]);
    }
    int failed = gc_run(&check);
    network_free(&t.net);
    assert_int_equal(failed, 0);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {cmocka_unit_test(exercise)};
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squared_error_alone),
        cmocka_unit_test(linear_network),
        cmocka_unit_test(bent_network),
        cmocka_unit_test(adam_by_hand),
        cmocka_unit_test(shuffling_keeps_everybody),
        cmocka_unit_test(covariance_by_hand),
        cmocka_unit_test(jacobi_by_hand),
        cmocka_unit_test(bases_are_orthonormal),
        cmocka_unit_test(pca_finds_known_directions),
        cmocka_unit_test(angles_by_hand),
        cmocka_unit_test(bar_is_three_pixels_wide),
        cmocka_unit_test(training_finds_the_plane_of_pca),
    };
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
