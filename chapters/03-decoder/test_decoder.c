/* test_decoder.c: every gradient of chapter 3 against finite differences, in double. Run with a
   file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "decoder.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 4 };

/* Brightness, as pictures have it: between 0 and 1. */
void fill_picture(real *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, 0, 1);
}

/* For the diagnosis only: f'(s) of n sums, measured rather than taken from the program. */
void measure_slopes(double *slope, const real *s, enum activation f, size_t n) {
    double unused;
    for (size_t i = 0; i < n; i++)
        slope[i] = (activate(&unused, s[i] + 1e-6, f) - activate(&unused, s[i] - 1e-6, f)) / 2e-6;
}

/* --- the check of the decoder ------------------------------------------------- */
enum { DOTS = 12 };
struct drawing {
    struct stack net; /* 6-7-9-12 */
    real z[B * KNOBS], dz[B * KNOBS], x[B * DOTS];
};

double drawing_loss(void *context, double *example) {
    struct drawing *t = context;
    double loss = squared_error_forward(example, stack_forward(&t->net, t->z, B), t->x, B, DOTS);
    for (size_t r = 0; r < B; r++)
        example[r] /= B; /* what each example adds to the mean */
    return loss;
}

void drawing_backward(void *context) {
    struct drawing *t = context;
    double example[B];
    memset(t->dz, 0, sizeof t->dz);
    decoder_gradient(&t->net, t->dz, example, t->z, t->x, B);
}

/* s (B,out) = the sums of layer l, in whose place the program has put h. */
void find_sums(real *s, struct drawing *t, size_t l) {
    double example[B];
    drawing_loss(t, example);
    const struct dense *y = &t->net.layer[l];
    dense_forward(s, l > 0 ? t->net.layer[l - 1].h : t->z, y->W, y->b, B, y->in, y->out);
}

/* Moves the bias of unit j so that its sum is `s` for example r: close to the corner of the ReLU,
   and the check will step across it. */
void put_near_corner(struct drawing *t, size_t l, size_t r, size_t j, real s) {
    real now[B * DOTS];
    find_sums(now, t, l);
    t->net.layer[l].b[j] += s - now[r * t->net.layer[l].out + j];
}

/* --- end of the check of the decoder -------------------------------------------- */

void decoder_through_relu_and_sigmoid(void **state) {
    (void)state;
    static struct drawing t;
    static double slope[3][B * DOTS];
    struct random r;
    random_seed(&r, 3);
    t.net = decoder_new((size_t[]){KNOBS, 7, 9, DOTS}, 3, B);
    fill(t.net.value, t.net.parameters, &r);
    for (size_t l = 0; l < 2; l++) /* positive biases: few units are off for every example */
        fill_picture(t.net.layer[l].b, t.net.layer[l].out, &r);
    fill(t.z, B * KNOBS, &r);
    fill_picture(t.x, B * DOTS, &r);
    put_near_corner(&t, 0, 1, 2, 3e-4);
    put_near_corner(&t, 1, 2, 4, -6e-4);
    struct gradcheck check = {.title = "chapter 3, a decoder 6-7-9-12 (relu, relu, sigmoid)",
                              .loss = drawing_loss,
                              .backward = drawing_backward,
                              .net = &t,
                              .batch = B};
    gc_add(&check, "z", t.z, t.dz, B, KNOBS);
    for (size_t l = 0; l < 3; l++) {
        const struct dense *y = &t.net.layer[l];
        const struct tensor *W = &t.net.tensor[2 * l], *b = W + 1;
        real s[B * DOTS];
        find_sums(s, &t, l);
        measure_slopes(slope[l], s, y->f, B * y->out);
        gc_add_weight(&check, W->name, y->W, y->dW, y->out, y->in)->slope = slope[l];
        gc_add_weight(&check, b->name, y->b, y->db, y->out, 1)->slope = slope[l];
    }
    gc_size(&check, "the number of pixels", DOTS);
    assert_int_equal(gc_run(&check), 0);
    assert_true(check.kinks > 0); /* a check that never meets a corner says nothing about corners */
    free(t.net.value);
}

/* --- the check of the transposed layer ---------------------------------------- */
/* As in chapter 1, each output gets a weight of its own, and L is the sum. */
enum { IN = 7, OUT = 4 };
struct turned {
    real h[B * OUT], W[OUT * IN], c[IN], s[B * IN], weight[B * IN];
    real dh[B * OUT], dW[OUT * IN], dc[IN];
};

double turned_loss(void *context, double *example) {
    struct turned *t = context;
    transposed_forward(t->s, t->h, t->W, t->c, B, IN, OUT);
    return weighted_sum(example, t->weight, t->s, B, IN);
}

void turned_backward(void *context) {
    struct turned *t = context;
    memset(t->dh, 0, sizeof t->dh);
    memset(t->dW, 0, sizeof t->dW);
    memset(t->dc, 0, sizeof t->dc);
    transposed_backward(t->dW, t->dc, t->dh, t->weight, t->h, t->W, B, IN, OUT);
}

/* --- end of the check of the transposed layer ------------------------------------ */

void transposed_layer(void **state) {
    (void)state;
    static struct turned t;
    struct random r;
    random_seed(&r, 5);
    fill(t.h, B * OUT, &r);
    fill(t.W, OUT * IN, &r);
    fill(t.c, IN, &r);
    fill(t.weight, B * IN, &r);
    struct gradcheck check = {.title = "chapter 3, a transposed layer",
                              .loss = turned_loss,
                              .backward = turned_backward,
                              .net = &t,
                              .batch = B};
    /* What dh would be if the sum over the pixels were overwritten at each step. */
    double last[B * OUT];
    for (size_t e = 0; e < B; e++)
        for (size_t j = 0; j < OUT; j++)
            last[e * OUT + j] = t.weight[e * IN + IN - 1] * t.W[(IN - 1) * OUT + j];
    struct gc_tensor *h = gc_add(&check, "h", t.h, t.dh, B, OUT);
    gc_foresee(h, "This is the last pixel's share alone: in dh, an = stands where += is meant.",
               NULL, last);
    gc_add_weight(&check, "W", t.W, t.dW, OUT, IN);
    gc_add_weight(&check, "c", t.c, t.dc, IN, 1);
    assert_int_equal(gc_run(&check), 0);
}

/* --- the check of tied weights ------------------------------------------------ */
enum { N = 10, D = 4 };
struct knot {
    struct tied t;
    real x[B * N], dx[B * N], target[B * N];
    real Wd[D * N]; /* the decoder's own copy of W, when `apart` is set */
    int apart;
};

/* The input and the target are two arrays here, although in use they are one: the derivative with
   respect to the input is a claim about the input alone. */
double knot_loss(void *context, double *example) {
    struct knot *k = context;
    struct tied *t = &k->t;
    tied_forward(t, k->x, B);
    if (k->apart) { /* the way out once more, with the other copy */
        transposed_forward(t->xhat, t->z, k->Wd, t->c, B, N, D);
        activation_forward(t->xhat, t->slope_xhat, t->xhat, SIGMOID, B * N);
    }
    double loss = squared_error_forward(example, t->xhat, k->target, B, N);
    for (size_t r = 0; r < B; r++)
        example[r] /= B;
    return loss;
}

void knot_backward(void *context) {
    struct knot *k = context;
    double example[B];
    tied_zero(&k->t);
    memset(k->dx, 0, sizeof k->dx);
    knot_loss(k, example);
    squared_error_backward(k->t.dxhat, k->t.xhat, k->target, B, N);
    tied_backward_decoder(&k->t, B);
    tied_backward_encoder(&k->t, k->dx, k->x, B);
}

/* One share of dW: `copy` is one of the two copies of W, and the other stays. */
void measure_share(struct knot *k, double *share, real *copy) {
    double example[B], h = 1e-6;
    memcpy(k->Wd, k->t.W, sizeof k->Wd);
    k->apart = 1;
    for (size_t i = 0; i < D * N; i++) {
        real keep = copy[i];
        copy[i] = keep + h;
        share[i] = knot_loss(k, example) / (2 * h);
        copy[i] = keep - h;
        share[i] -= knot_loss(k, example) / (2 * h);
        copy[i] = keep;
    }
    k->apart = 0;
}

/* --- end of the check of tied weights --------------------------------------------- */

int check_tied(enum activation f, double near_corner) {
    static struct knot k;
    double encoder[D * N], decoder[D * N], s[B * N], slope[B * D], slope_out[B * N];
    k.t = tied_new(N, D, f, B);
    struct random r;
    random_seed(&r, 12);
    fill(k.t.value, k.t.parameters, &r);
    fill_picture(k.t.b, D, &r); /* positive: few units are off for every example */
    fill_picture(k.x, B * N, &r);
    fill_picture(k.target, B * N, &r);
    dense_forward(s, k.x, k.t.W, k.t.b, B, N, D);
    k.t.b[1] += near_corner - s[2 * D + 1]; /* example 2's sum of unit 1 */
    dense_forward(s, k.x, k.t.W, k.t.b, B, N, D);
    measure_slopes(slope, s, f, B * D);
    tied_forward(&k.t, k.x, B);
    transposed_forward(s, k.t.z, k.t.W, k.t.c, B, N, D);
    measure_slopes(slope_out, s, SIGMOID, B * N);
    /* These nudges are a hundred times smaller than the way to the nearest corner, so that they do
       not meet it. */
    measure_share(&k, encoder, k.t.W);
    measure_share(&k, decoder, k.Wd);
    char title[80];
    snprintf(title, sizeof title, "chapter 3, tied weights (%s, sigmoid)", activation_name[f]);
    struct gradcheck check = {
        .title = title, .loss = knot_loss, .backward = knot_backward, .net = &k, .batch = B};
    gc_size(&check, "the number of pixels", N);
    gc_add(&check, "x", k.x, k.dx, B, N);
    struct gc_tensor *W = gc_add_weight(&check, "W", k.t.W, k.t.dW, D, N);
    gc_foresee(W,
               "This is the encoder's share alone: the decoder's is lost. W is used twice and "
               "collects two gradients, so the second must be added with +=.",
               NULL, encoder);
    gc_foresee(W,
               "This is the decoder's share alone: the encoder's is lost. W is used twice and "
               "collects two gradients, so both must be added with +=.",
               NULL, decoder);
    gc_add_weight(&check, "b", k.t.b, k.t.db, D, 1)->slope = slope;
    gc_add_weight(&check, "c", k.t.c, k.t.dc, N, 1)->slope = slope_out;
    int failed = gc_run(&check);
    free(k.t.value);
    assert_true(f != RELU || failed || check.kinks > 0);
    return failed;
}

void tied_weights(void **state) {
    (void)state;
    int failed = check_tied(RELU, 3e-4) + check_tied(SIGMOID, 1) + check_tied(IDENTITY, 1);
    assert_int_equal(failed, 0);
}

/* --- by hand ------------------------------------------------------------------ */

/* Chapter 1's sum, and the line that defines a transpose: <W^T h, x> = <h, W x>. */
void transposed_by_hand(void **state) {
    (void)state;
    real W[] = {1, 2, 3, 4, 5, 6}; /* (2,3): its rows are 1 3 5 and 2 4 6 */
    real h[] = {1, -1}, c[] = {10, 20, 30}, s[3];
    transposed_forward(s, h, W, c, 1, 3, 2);
    assert_true(s[0] == 9 && s[1] == 19 && s[2] == 29); /* 10+1-2, 20+3-4, 30+5-6 */
    real x[] = {1, 2, 3}, none[3] = {0}, sum[2];
    dense_forward(sum, x, W, none, 1, 3, 2); /* 1+6+15, 2+8+18 */
    transposed_forward(s, h, W, none, 1, 3, 2);
    assert_true(x[0] * s[0] + x[1] * s[1] + x[2] * s[2] == h[0] * sum[0] + h[1] * sum[1]);
    assert_true(sum[0] == 22 && sum[1] == 28);
}

void small_things(void **state) {
    (void)state;
    real unused, from[KNOBS] = {1, 2, 3, 4, 5, 6}, back[KNOBS] = {5, 6, 3, 4, 1, 2}, z[5 * KNOBS];
    for (double p = 0.01; p < 1; p += 0.07) /* logit undoes the sigmoid */
        assert_true(fabs(activate(&unused, logit(p), SIGMOID) - p) < 1e-15);
    assert_true(falling_rate(0.1, 0) == 0.1 && fabs(falling_rate(0.1, 1) - 0.001) < 1e-15);
    assert_true(fabs(falling_rate(0.1, 0.5) - 0.0505) < 1e-15);
    turn_knob(z, from, 2, 5);
    for (size_t t = 0; t < 5; t++)
        for (size_t j = 0; j < KNOBS; j++) {
            assert_true(z[t * KNOBS + j] == (j == 2 ? -1 + 0.5 * (double)t : from[j]));
            assert_true(from[from_other_end(j)] == back[j]);
        }
}

/* A fresh decoder paints about the mean brightness that it was given. Then four pictures and their
   knobs are learned by heart: forward, backward and Adam pull together. */
void learns_four_pictures(void **state) {
    (void)state;
    struct stack net = decoder_new((size_t[]){KNOBS, 20, DOTS}, 2, B);
    struct adam adam = adam_new(net.parameters);
    struct random r;
    random_seed(&r, 2);
    decoder_start(&net, 0.02, &r);
    real z[B * KNOBS], x[B * DOTS];
    double example[B], loss = 1, mean = 0;
    fill(z, B * KNOBS, &r);
    fill_picture(x, B * DOTS, &r);
    const real *xhat = stack_forward(&net, z, B);
    for (size_t i = 0; i < B * DOTS; i++)
        mean += xhat[i] / (B * DOTS);
    assert_true(mean > 0.01 && mean < 0.04);
    for (int step = 0; step < 800; step++) {
        loss = decoder_gradient(&net, NULL, example, z, x, B);
        adam_step(&adam, net.value, net.grad, falling_rate(0.02, step / 800.0));
    }
    assert_true(loss < 1e-3);
    free(net.value);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(decoder_through_relu_and_sigmoid),
        cmocka_unit_test(transposed_layer),
        cmocka_unit_test(tied_weights),
        cmocka_unit_test(transposed_by_hand),
        cmocka_unit_test(small_things),
        cmocka_unit_test(learns_four_pictures),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
