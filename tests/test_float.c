/* test_float.c: chapter 5's arithmetic as the program has it, in float. The chapter's own test runs
   in double, which takes other branches and other sizes of tiles. So that these are the tiles of
   this machine, it is built like the program. */
#define WORKBOOK_TEST
#include "../chapters/05-autoencoder/autoencoder.c"

#include "run.h"

/* Whole numbers, so that sums are exact in any order and can be compared with ==. */
static void fill_whole(float *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = (float)floor(random_uniform(r, -4, 5));
}

static void product_of_any_shape(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 1);
    const size_t tile = TILE_VECTORS * WIDTH;
    const size_t shape[][3] = {{1, 1, 1},
                               {7, 100, 6},
                               {128, 784, 400},
                               {TILE_ROWS, tile, 3},
                               {TILE_ROWS + 1, tile + 1, 2},
                               {TILE_ROWS - 1, tile - 1, DEPTH + 1},
                               {3, WIDTH, 4},
                               {3, WIDTH + 1, 4},
                               {3, 2 * tile + 5, DEPTH},
                               {1, 6, 784}};
    for (size_t c = 0; c < sizeof shape / sizeof *shape; c++)
        for (int turned = 0; turned < 2; turned++) {
            size_t M = shape[c][0], N = shape[c][1], K = shape[c][2];
            size_t row = turned ? 1 : K, col = turned ? M : 1;
            float *A = allocate(M * K, sizeof *A), *B = allocate(K * N, sizeof *B);
            float *C = allocate(M * N, sizeof *C), *slow = allocate(M * N, sizeof *slow);
            fill_whole(A, M * K, &r);
            fill_whole(B, K * N, &r);
            fill_whole(C, M * N, &r);
            memcpy(slow, C, M * N * sizeof *C);
            for (size_t m = 0; m < M; m++)
                for (size_t k = 0; k < K; k++)
                    for (size_t n = 0; n < N; n++)
                        slow[m * N + n] += A[m * row + k * col] * B[k * N + n];
            multiply(C, A, row, col, B, M, N, K);
            for (size_t k = 0; k < M * N; k++)
                if (C[k] != slow[k])
                    fail_msg("(%zu,%zu) times (%zu,%zu)%s: entry %zu is %g, not %g", M, K, K, N,
                             turned ? ", transposed" : "", k, (double)C[k], (double)slow[k]);
            free(A);
            free(B);
            free(C);
            free(slow);
        }
}

/* e^x for x <= 0, from 0 to where a float ends, and beyond. */
static void exponential(void **state) {
    (void)state;
    double worst = 0;
    enum { STEPS = 3000000 };
    for (int k = 0; k <= STEPS; k++) {
        float x = -100.0f * (float)k / STEPS, e = exp_negative(x);
        double right = exp((double)x);
        if (x > -87)
            worst = fmax(worst, fabs((double)e / right - 1));
        else
            assert_true(e >= 0 && e < 2e-38f);
    }
    if (worst > 2e-7)
        fail_msg("e^x is wrong by %g of its value, the comment promises 2e-7", worst);
    assert_true(worst > 1e-8); /* a float could not do better: this is the branch we mean */
    assert_true(exp_negative(0) == 1 && exp_negative(-0.0f) == 1);
    assert_true(exp_negative(-INFINITY) < 2e-38f && exp_negative(-1e30f) < 2e-38f);
}

static void activations(void **state) {
    (void)state;
    for (int k = -4000; k <= 4000; k++) {
        float s = (float)k / 40, h[ACTIVATIONS], slope[ACTIVATIONS];
        for (int f = 0; f < ACTIVATIONS; f++)
            activation_forward(&h[f], &slope[f], &s, (enum activation)f, 1);
        double d = (double)s, q = 1 / (1 + exp(-d));
        double right[] = {d, fmax(0, d), d > 0 ? d : exp(d) - 1, d * q, tanh(d), q};
        double bend[] = {
            1, d > 0, d > 0 ? 1 : exp(d), q + d * q * (1 - q), 1 - tanh(d) * tanh(d), q * (1 - q)};
        for (int f = 0; f < ACTIVATIONS; f++)
            if (!(fabs((double)h[f] - right[f]) < 4e-7 * fmax(1, fabs(d)) &&
                  fabs((double)slope[f] - bend[f]) < 1e-6))
                fail_msg("%s of %g is %g and its slope %g, not %g and %g", activation_name[f], d,
                         (double)h[f], (double)slope[f], right[f], bend[f]);
    }
}

/* Both losses against the plain formulas in double, logits of 1000 included. */
static void losses(void **state) {
    (void)state;
    static float s[PIXELS], x[PIXELS], ds[PIXELS];
    struct random r;
    random_seed(&r, 3);
    for (int large = 0; large < 2; large++)
        for (int kind = 0; kind < 2; kind++) {
            double bce = 0, squared = 0;
            for (size_t i = 0; i < PIXELS; i++) {
                s[i] = (float)random_uniform(&r, -9, 9);
                x[i] = (float)((int)random_uniform(&r, 0, 256)) / 255;
                if (large && i % 7 == 0)
                    s[i] = (i % 2 ? 1 : -1) * (i % 3 ? 1000.0f : 95.0f);
                double t = (double)s[i], e = exp(-fabs(t)), xhat = (t >= 0 ? 1 : e) / (1 + e);
                bce += fmax(t, 0) - t * (double)x[i] + log1p(e);
                squared += pow(xhat - (double)x[i], 2);
                ds[i] = 0;
            }
            struct losses found;
            losses_of_images(&found, ds, s, x, 4, (enum loss)kind, 1);
            assert_true(fabs(found.bce / bce - 1) < 2e-6 &&
                        fabs(found.squared / squared - 1) < 2e-6);
            for (size_t i = 0; i < PIXELS; i++) {
                double t = (double)s[i], e = exp(-fabs(t)), xhat = (t >= 0 ? 1 : e) / (1 + e);
                double d = xhat - (double)x[i], right = kind == BCE ? d : 2 * d * xhat * (1 - xhat);
                assert_true(fabs((double)ds[i] - right / 4) < 1e-7);
            }
        }
    s[300] = NAN;
    struct losses found;
    losses_of_images(&found, NULL, s, x, 1, BCE, 1);
    assert_true(isnan(found.bce)); /* although the exponential has hidden it on its way */
}

static void free_trainer(struct trainer *t) {
    free(t->adam.m);
    free(t->x);
    free(t->example);
}

/* To the last bit for one, two and three cores. */
static void same_for_any_number_of_cores(void **state) {
    (void)state;
    enum { MANY = 61 };
    for (int f = RELU; f < ACTIVATIONS; f++) {
        struct network net[3];
        struct random r;
        random_seed(&r, 31);
        struct images images = {MANY, allocate(MANY, PIXELS), NULL};
        for (size_t k = 0; k < MANY * PIXELS; k++)
            images.pixel[k] = (unsigned char)random_uniform(&r, 0, 256);
        size_t order[MANY];
        shuffle(order, MANY, &r);
        for (size_t n = 0; n < 3; n++) {
            random_seed(&r, 32);
            net[n] = network_new((size_t[]){PIXELS, 45, 19, 5}, 4, 1, (enum activation)f, MANY);
            network_start(&net[n], &r);
            network_transpose(&net[n]);
            struct trainer t = trainer_new(&net[n], f % 2 ? BCE : SQUARED, 0);
            USE_CORES(n + 1);
            for (size_t step = 0; step < 5; step++)
                train_step(&t, &images, order, step == 1 ? 43 : MANY, 0.01);
            free_trainer(&t);
        }
        for (size_t n = 1; n < 3; n++)
            assert_memory_equal(net[0].value, net[n].value, net[0].parameters * sizeof(float));
        for (size_t n = 0; n < 3; n++)
            free(net[n].value);
        free(images.pixel);
    }
}

/* A hundred steps on three images: forward, backward and Adam pull together in float, too. */
static void learns_three_pictures(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 2);
    struct images images = {3, allocate(3, PIXELS), NULL};
    for (size_t k = 0; k < 3 * PIXELS; k++)
        images.pixel[k] = random_uniform(&r, 0, 1) < 0.5 ? 0 : 255;
    struct network net = network_new((size_t[]){PIXELS, 50, 4}, 3, 1, RELU, 3);
    network_start(&net, &r);
    network_transpose(&net);
    struct trainer t = trainer_new(&net, BCE, 0);
    struct losses sum = {0, 0};
    for (int step = 0; step < 100; step++)
        sum = train_step(&t, &images, (size_t[]){0, 1, 2}, 3, 0.01);
    assert_true(sum.bce < 3 && sum.bce > 0); /* from 1600 nats */
    free_trainer(&t);
    free(net.value);
    free(images.pixel);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_of_any_shape),
        cmocka_unit_test(exponential),
        cmocka_unit_test(activations),
        cmocka_unit_test(losses),
        cmocka_unit_test(same_for_any_number_of_cores),
        cmocka_unit_test(learns_three_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
