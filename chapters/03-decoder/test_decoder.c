/* test_decoder.c: every gradient of chapter 3 against finite differences, in double; the reading of
   coordinates with all that can be wrong with them; and the exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "decoder.c"

#include <setjmp.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "gradcheck.h"

enum { B = 4 };

void fill(real *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, -1, 1);
}

/* Brightness, as pictures have it: between 0 and 1. */
void fill_picture(real *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, 0, 1);
}

/* --- the check of the decoder ------------------------------------------------- */
enum { DOTS = 12 };
struct drawing {
    struct network net; /* 6-7-9-12 */
    real z[B * KNOBS], dz[B * KNOBS], x[B * DOTS];
    real slope[3][B * DOTS]; /* f'(s) of each layer, for the diagnosis */
};

double drawing_loss(void *context, double *example) {
    struct drawing *t = context;
    const real *xhat = network_forward(&t->net, t->z, B);
    double loss = squared_error_forward(example, xhat, t->x, B, DOTS);
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

/* Moves the bias of unit j so that its sum is `s` for example r: close to the corner of the ReLU,
   and the check will step across it. */
void put_near_corner(struct drawing *t, size_t l, size_t r, size_t j, real s) {
    double example[B];
    drawing_loss(t, example);
    struct layer *y = &t->net.layer[l];
    y->b[j] += s - y->s[r * y->out + j];
}

/* --- end of the check of the decoder -------------------------------------------- */

void decoder_through_relu_and_sigmoid(void **state) {
    (void)state;
    static struct drawing t;
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
    drawing_backward(&t);
    for (size_t l = 0; l < 3; l++) {
        const struct layer *y = &t.net.layer[l];
        for (size_t i = 0; i < B * y->out; i++) /* measured, not taken from the program */
            t.slope[l][i] =
                (activate(y->f, y->s[i] + 1e-6) - activate(y->f, y->s[i] - 1e-6)) / 2e-6;
        for (size_t i = 2 * l; i < 2 * l + 2; i++) {
            struct tensor *p = &t.net.tensor[i];
            gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols)->slope = t.slope[l];
        }
    }
    gc_size(&check, "the number of pixels", DOTS);
    int failed = gc_run(&check);
    network_free(&t.net);
    assert_int_equal(failed, 0);
    assert_true(check.kinks > 0); /* a check that never meets a corner says nothing about corners */
}

/* --- the check of the transposed layer ---------------------------------------- */
/* As in chapter 1, each output gets a weight of its own, and L is the sum. */
enum { IN = 7, OUT = 4 };
struct turned {
    real h[B * OUT], W[IN * OUT], c[IN], s[B * IN], weight[B * IN];
    real dh[B * OUT], dW[IN * OUT], dc[IN];
};

double turned_loss(void *context, double *example) {
    struct turned *t = context;
    double loss = 0;
    transposed_forward(t->s, t->h, t->W, t->c, B, IN, OUT);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t i = 0; i < IN; i++)
            example[r] += t->weight[r * IN + i] * t->s[r * IN + i];
        loss += example[r];
    }
    return loss;
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
    fill(t.W, IN * OUT, &r);
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
    gc_add(&check, "W", t.W, t.dW, IN, OUT);
    gc_add(&check, "c", t.c, t.dc, 1, IN);
    assert_int_equal(gc_run(&check), 0);
}

/* --- the check of tied weights ------------------------------------------------ */
enum { N = 10, D = 4 };
struct knot {
    struct tied t;
    real x[B * N], dx[B * N], target[B * N];
    real Wd[N * D]; /* the decoder's own copy of W, when `apart` is set */
    int apart;
};

/* The input and the target are two arrays here, although in use they are one: the derivative with
   respect to the input is a claim about the input alone. */
double knot_loss(void *context, double *example) {
    struct knot *k = context;
    struct tied *t = &k->t;
    if (k->apart) { /* the same network with two matrices, from chapter 1's layer */
        real turned[N * D];
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < D; j++)
                turned[j * N + i] = k->Wd[i * D + j];
        dense_forward(t->s1, k->x, t->W, t->b, B, N, D);
        activation_forward(t->z, t->s1, t->f, B * D);
        dense_forward(t->s2, t->z, turned, t->c, B, D, N);
        activation_forward(t->xhat, t->s2, SIGMOID, B * N);
    } else
        tied_forward(t, k->x, B);
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
    k->apart = 0;
    knot_loss(k, example);
    squared_error_backward(k->t.dxhat, k->t.xhat, k->target, B, N);
    tied_backward_decoder(&k->t, B);
    tied_backward_encoder(&k->t, k->dx, k->x, B);
}

/* The two shares of dW, each by nudging one of the two copies and leaving the other. */
void measure_shares(struct knot *k, double *encoder, double *decoder) {
    double example[B], h = 1e-6;
    memcpy(k->Wd, k->t.W, sizeof k->Wd);
    k->apart = 1;
    for (size_t copy = 0; copy < 2; copy++)
        for (size_t i = 0; i < N * D; i++) {
            real *w = copy ? &k->Wd[i] : &k->t.W[i], keep = *w;
            *w = keep + h;
            double up = knot_loss(k, example);
            *w = keep - h;
            double down = knot_loss(k, example);
            *w = keep;
            (copy ? decoder : encoder)[i] = (up - down) / (2 * h);
        }
    k->apart = 0;
}

/* --- end of the check of tied weights --------------------------------------------- */

int check_tied(enum activation f, double near_corner) {
    static struct knot k;
    double encoder[N * D], decoder[N * D], example[B], slope[B * D], slope_out[B * N];
    memset(&k, 0, sizeof k);
    k.t = tied_new(N, D, f, B);
    struct random r;
    random_seed(&r, 12);
    fill(k.t.value, k.t.parameters, &r);
    fill_picture(k.t.b, D, &r); /* positive: few units are off for every example */
    fill_picture(k.x, B * N, &r);
    fill_picture(k.target, B * N, &r);
    knot_loss(&k, example);
    k.t.b[1] += near_corner - k.t.s1[2 * D + 1]; /* example 2's sum of unit 1 */
    knot_backward(&k);
    for (size_t i = 0; i < B * D; i++)
        slope[i] = (activate(f, k.t.s1[i] + 1e-6) - activate(f, k.t.s1[i] - 1e-6)) / 2e-6;
    for (size_t i = 0; i < B * N; i++)
        slope_out[i] =
            (activate(SIGMOID, k.t.s2[i] + 1e-6) - activate(SIGMOID, k.t.s2[i] - 1e-6)) / 2e-6;
    /* These nudges are a hundred times smaller than the way to the nearest corner, so that they do
       not meet it. */
    measure_shares(&k, encoder, decoder);
    char title[80];
    snprintf(title, sizeof title, "chapter 3, tied weights (%s, sigmoid)", activation_name[f]);
    struct gradcheck check = {
        .title = title, .loss = knot_loss, .backward = knot_backward, .net = &k, .batch = B};
    gc_size(&check, "the number of pixels", N);
    gc_add(&check, "x", k.x, k.dx, B, N);
    struct gc_tensor *W = gc_add(&check, "W", k.t.W, k.t.dW, N, D);
    gc_foresee(W,
               "This is the encoder's share alone: the decoder's is lost. W is used twice and "
               "collects two gradients, so the second must be added with +=.",
               NULL, encoder);
    gc_foresee(W,
               "This is the decoder's share alone: the encoder's is lost. W is used twice and "
               "collects two gradients, so both must be added with +=.",
               NULL, decoder);
    gc_add(&check, "b", k.t.b, k.t.db, 1, D)->slope = slope;
    gc_add(&check, "c", k.t.c, k.t.dc, 1, N)->slope = slope_out;
    int failed = gc_run(&check);
    tied_free(&k.t);
    assert_true(f != RELU || failed || check.kinks > 0);
    return failed;
}

void tied_weights(void **state) {
    (void)state;
    int failed = check_tied(RELU, 3e-4) + check_tied(SIGMOID, 1) + check_tied(IDENTITY, 1);
    assert_int_equal(failed, 0);
}

/* Chapter 1's sum, and the two lines that define a transpose: <W^T h, x> = <h, W x>. */
void transposed_by_hand(void **state) {
    (void)state;
    real W[] = {1, 2, 3, 4, 5, 6}; /* (3,2) */
    real h[] = {1, -1}, c[] = {10, 20, 30}, s[3];
    transposed_forward(s, h, W, c, 1, 3, 2);
    assert_true(s[0] == 9 && s[1] == 19 && s[2] == 29); /* 10+1-2, 20+3-4, 30+5-6 */
    real x[] = {1, 2, 3}, none[3] = {0}, sum[2];
    dense_forward(sum, x, W, none, 1, 3, 2); /* 1+6+15, 2+8+18 */
    transposed_forward(s, h, W, none, 1, 3, 2);
    assert_true(x[0] * s[0] + x[1] * s[1] + x[2] * s[2] == h[0] * sum[0] + h[1] * sum[1]);
    assert_true(sum[0] == 22 && sum[1] == 28);
}

void logit_undoes_sigmoid(void **state) {
    (void)state;
    for (double p = 0.01; p < 1; p += 0.07)
        assert_true(fabs(activate(SIGMOID, logit(p)) - p) < 1e-15);
    assert_true(logit(0.5) == 0);
}

/* A fresh decoder whose last biases say so paints about the mean brightness. */
void starts_at_the_mean(void **state) {
    (void)state;
    struct network net = decoder_new((size_t[]){KNOBS, 100, 400, 784}, 3, 1);
    struct random r;
    random_seed(&r, 1);
    decoder_start(&net, 0.02, &r);
    real z[KNOBS] = {0.3, -0.4, 0.5, 0.1, -0.9, 0.7}, mean = 0;
    const real *xhat = network_forward(&net, z, 1);
    for (size_t p = 0; p < 784; p++)
        mean += xhat[p] / 784;
    network_free(&net);
    assert_true(mean > 0.015 && mean < 0.03);
}

void rate_falls(void **state) {
    (void)state;
    assert_true(falling_rate(0.1, 0) == 0.1 && fabs(falling_rate(0.1, 1) - 0.001) < 1e-15);
    assert_true(fabs(falling_rate(0.1, 0.5) - 0.0505) < 1e-15);
    for (double t = 0; t < 0.85; t += 0.1)
        assert_true(falling_rate(1, t) > falling_rate(1, t + 0.1));
}

void knobs_turn_from_end_to_end(void **state) {
    (void)state;
    float corner[] = {4 / 28.0f, 14 / 28.0f, 24 / 28.0f};
    real z[5 * KNOBS], from[KNOBS] = {1, 2, 3, 4, 5, 6};
    knobs(z, corner, 3);
    assert_true(fabs(z[0] + 1) < 1e-6 && fabs(z[1]) < 1e-6 && fabs(z[2] - 1) < 1e-6);
    turn_knob(z, from, 2, 5);
    for (size_t t = 0; t < 5; t++)
        for (size_t j = 0; j < KNOBS; j++)
            assert_true(z[t * KNOBS + j] == (j == 2 ? -1 + 0.5 * (double)t : from[j]));
}

void a_curve_read_backwards_is_the_same(void **state) {
    (void)state;
    real z[] = {1, 2, 3, 4, 5, 6}, back[] = {5, 6, 3, 4, 1, 2}, other[] = {1, 2, 3, 5, 5, 8};
    assert_true(curve_distance(z, z) == 0 && curve_distance(z, back) == 0);
    assert_true(curve_distance(z, other) == 5 && curve_distance(back, other) == 5);
    real known[4 * KNOBS] = {0};
    for (size_t j = 0; j < KNOBS; j++) {
        known[j] = z[j] + 2;            /* distance 24 */
        known[KNOBS + j] = other[j];    /* 5 */
        known[2 * KNOBS + j] = 100;     /* far */
        known[3 * KNOBS + j] = back[j]; /* 0 */
    }
    size_t which[3];
    nearest_curves(which, 3, z, known, 4);
    assert_true(which[0] == 3 && which[1] == 1 && which[2] == 0);
    unsigned char x[PIXELS] = {0}, pictures[3 * PIXELS] = {0};
    x[5] = 200;
    pictures[PIXELS + 5] = 190;
    pictures[2 * PIXELS + 6] = 200;
    assert_int_equal(nearest_image(x, pictures, 3), 1);
}

/* Four pictures and their knobs are learned by heart: forward, backward and Adam pull together. */
void learns_four_pictures(void **state) {
    (void)state;
    struct network net = decoder_new((size_t[]){KNOBS, 20, DOTS}, 2, B);
    struct adam adam = adam_new(net.parameters);
    struct random r;
    random_seed(&r, 2);
    decoder_start(&net, 0.3, &r);
    real z[B * KNOBS], x[B * DOTS];
    double example[B], loss = 1;
    fill(z, B * KNOBS, &r);
    fill_picture(x, B * DOTS, &r);
    for (int step = 0; step < 800; step++) {
        loss = decoder_gradient(&net, NULL, example, z, x, B);
        adam_step(&adam, net.value, net.grad, falling_rate(0.02, step / 800.0));
    }
    adam_free(&adam);
    network_free(&net);
    assert_true(loss < 1e-3);
}

/* Writes little files of points and reads them in a child, which may end with one line
   on stderr. Returns the child's exit status; said (256) gets the line. */
char folder[] = "build/pointsXXXXXX";

int read_what(const unsigned char *bytes, size_t n, size_t images, char *said) {
    char path[64];
    snprintf(path, sizeof path, "%s/train-points-idx2-float", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        struct points p = read_points(folder, "train", images);
        int right = p.count == 2 && p.coordinate[0] == 0.25f && p.coordinate[11] == 0.5f;
        free(p.coordinate);
        _exit(right ? 0 : 9);
    }
    close(ends[1]);
    size_t length = 0; /* a line may arrive in several pieces */
    for (ssize_t got = 1; got > 0 && length < 255;) {
        got = read(ends[0], said + length, 255 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    said[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    remove(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void coordinates_are_read_or_refused(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    /* 0x3e800000 is 0.25, 0x3f000000 is 0.5 */
    unsigned char good[12 + 48] = {0, 0, 0x0d, 2, 0, 0, 0, 2, 0, 0, 0, 6}, bad[12 + 49];
    for (size_t i = 0; i < 12; i++)
        memcpy(good + 12 + 4 * i, i ? "\x3f\0\0\0" : "\x3e\x80\0\0", 4);
    char said[256];
    assert_int_equal(read_what(good, sizeof good, 2, said), 0);
    assert_string_equal(said, "");
    static const struct {
        const char *says;
        size_t at, length, images;
        unsigned char byte[4];
    } wrong[] = {
        {"not an IDX file of curves", 2, 60, 2, {8, 2, 0, 0}}, /* bytes, not floats */
        {"has 7 numbers to a curve", 8, 60, 2, {0, 0, 0, 7}},  /* columns */
        {"its header says 3", 4, 60, 2, {0, 0, 0, 3}},         /* fewer than claimed */
        {"its header says 4294967295", 4, 60, 2, {255, 255, 255, 255}},
        {"goes on after its 2 curves", 60, 61, 2, {0}},
        {"holds 1 curves, its header says 2", 12, 59, 2, {0x3e, 0x80, 0, 0}},
        {"ends within its header", 0, 11, 2, {0, 0, 0x0d, 2}},
        {"ends within its header", 0, 0, 2, {0, 0, 0x0d, 2}},
        {"holds 2 curves for 5 images", 0, 60, 5, {0, 0, 0x0d, 2}},
        {"number 1 of curve 0 is nan", 16, 60, 2, {0x7f, 0xc0, 0, 0}},
        {"number 0 of curve 1 is inf", 36, 60, 2, {0x7f, 0x80, 0, 0}},
        {"number 2 of curve 1 is -0.5", 44, 60, 2, {0xbf, 0, 0, 0}},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        memset(bad, 0, sizeof bad);
        memcpy(bad, good, sizeof good);
        for (size_t i = 0; i < 4 && wrong[k].at + i < sizeof bad; i++)
            bad[wrong[k].at + i] = wrong[k].byte[i];
        assert_int_equal(read_what(bad, wrong[k].length, wrong[k].images, said), 1);
        if (!strstr(said, wrong[k].says) || strchr(said, '\n') != said + strlen(said) - 1)
            fail_msg("wanted one line with \"%s\", got: %s", wrong[k].says, said);
    }
    rmdir(folder);
}

#ifdef EXERCISE
#include EXERCISE

/* --- the judge of the exercise ------------------------------------------------ */
enum { WIDE = 5 };
struct echo {
    real x[B * WIDE], W[WIDE * WIDE], b[WIDE], c[B * WIDE];
    real s1[B * WIDE], h1[B * WIDE], s2[B * WIDE], h2[B * WIDE];
    real dW[WIDE * WIDE], db[WIDE], dx[B * WIDE];
    real ds1[B * WIDE], dh1[B * WIDE], ds2[B * WIDE], dh2[B * WIDE];
    real W2[WIDE * WIDE], b2[WIDE]; /* the second application's own copies, when `apart` is set */
    int apart;
};

double echo_loss(void *context, double *example) {
    struct echo *y = context;
    double loss = 0;
    if (y->apart) {
        dense_forward(y->s1, y->x, y->W, y->b, B, WIDE, WIDE);
        activation_forward(y->h1, y->s1, TANH, B * WIDE);
        dense_forward(y->s2, y->h1, y->W2, y->b2, B, WIDE, WIDE);
        activation_forward(y->h2, y->s2, TANH, B * WIDE);
    } else
        twice_forward(y->s1, y->h1, y->s2, y->h2, y->x, y->W, y->b, B, WIDE);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t j = 0; j < WIDE; j++)
            example[r] += y->c[r * WIDE + j] * y->h2[r * WIDE + j];
        loss += example[r];
    }
    return loss;
}

void echo_backward(void *context) {
    struct echo *y = context;
    double example[B];
    memset(y->dW, 0, sizeof y->dW);
    memset(y->db, 0, sizeof y->db);
    memset(y->dx, 0, sizeof y->dx);
    memset(y->ds1, 0, sizeof y->ds1);
    memset(y->dh1, 0, sizeof y->dh1);
    memset(y->ds2, 0, sizeof y->ds2);
    echo_loss(y, example);
    memcpy(y->dh2, y->c, sizeof y->dh2);
    twice_backward(y->dW, y->db, y->dx, y->ds1, y->dh1, y->ds2, y->dh2, y->h1, y->h2, y->x, y->W, B,
                   WIDE);
}

/* The share of one application in the gradient of `n` numbers: nudge one copy, leave the other. */
void echo_share(struct echo *y, double *share, real *copy, size_t n) {
    double example[B], h = 1e-6;
    memcpy(y->W2, y->W, sizeof y->W2);
    memcpy(y->b2, y->b, sizeof y->b2);
    y->apart = 1;
    for (size_t i = 0; i < n; i++) {
        real keep = copy[i];
        copy[i] = keep + h;
        double up = echo_loss(y, example);
        copy[i] = keep - h;
        share[i] = (up - echo_loss(y, example)) / (2 * h);
        copy[i] = keep;
    }
    y->apart = 0;
}

/* The slips that are made most often, each with what it says. */
static const char *slip_says[] = {
    "In the share of the second application stands x, which is the input of the first. Its own "
    "input is h1.",
    "In the share of the first application stands h1, which is its output. Its input is x.",
    "The slope of the first application is taken at h2, the output of the second, instead of h1.",
    "The way back through the first application leaves out the slope of its tanh.",
    "The way back through the second application leaves out the slope of its tanh.",
    "The first application begins with dh2. What it must begin with is dh1, which the second hands "
    "down."};
enum { SLIPS = sizeof slip_says / sizeof *slip_says };

/* dW and db as slip number k makes them. */
void echo_slip(struct echo *y, size_t k, double *dW, double *db) {
    double example[B], ds1[B * WIDE] = {0}, dh1[B * WIDE] = {0}, ds2[B * WIDE] = {0};
    echo_loss(y, example);
    activation_backward(ds2, y->c, y->h2, k == 4 ? IDENTITY : TANH, B * WIDE);
    dense_backward(dW, db, dh1, ds2, k == 0 ? y->x : y->h1, y->W, B, WIDE, WIDE);
    activation_backward(ds1, k == 5 ? y->c : dh1, k == 2 ? y->h2 : y->h1, k == 3 ? IDENTITY : TANH,
                        B * WIDE);
    dense_backward(dW, db, NULL, ds1, k == 1 ? y->h1 : y->x, y->W, B, WIDE, WIDE);
}

/* --- end of the judge of the exercise --------------------------------------------- */

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
    struct gc_tensor *W = gc_add(&check, "W", y.W, y.dW, WIDE, WIDE);
    gc_foresee(W, first, NULL, W1);
    gc_foresee(W, second, NULL, W2);
    struct gc_tensor *b = gc_add(&check, "b", y.b, y.db, 1, WIDE);
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
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {cmocka_unit_test(exercise)};
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoder_through_relu_and_sigmoid),
        cmocka_unit_test(transposed_layer),
        cmocka_unit_test(tied_weights),
        cmocka_unit_test(transposed_by_hand),
        cmocka_unit_test(logit_undoes_sigmoid),
        cmocka_unit_test(starts_at_the_mean),
        cmocka_unit_test(rate_falls),
        cmocka_unit_test(knobs_turn_from_end_to_end),
        cmocka_unit_test(a_curve_read_backwards_is_the_same),
        cmocka_unit_test(learns_four_pictures),
        cmocka_unit_test(coordinates_are_read_or_refused),
    };
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
