/* test_vae.c: every gradient of chapter 11 against finite differences, in double and with the noise
   frozen: a small VAE entry by entry, through a step of training itself; the KL alone; and the
   network of full size, with all entries of a tensor nudged at once, on one core and on two. Run
   with a file name it writes there what the check measured.

   It has much to calculate, so it is built like the program. */
#define WORKBOOK_TEST
#define REAL double
#include "vae.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3 };

/* --- the check of a vae ----------------------------------------------------------- */
/* A VAE and a batch of images. Its loss is the program's own forward pass, with the noise that was
   drawn once; its gradients come from a step of training itself, at rate zero. */
struct whole {
    struct vae v;
    struct images images;
    size_t order[32], rows;
    struct random noise;
    int drawn_anew; /* 1: each evaluation draws noise of its own, 2: each gradient does */
};

/* The mean over the batch of bce + beta KL. */
double loss_of(struct whole *w, double *example, const real *logits) {
    double loss = 0;
    vae_losses(&w->v, NULL, logits, w->rows, w->rows);
    for (size_t r = 0; r < w->rows; r++)
        loss += example[r] = (w->v.example[r].bce + w->v.beta * w->v.kl[r]) / (double)w->rows;
    return loss;
}

double whole_loss(void *whole, double *example) {
    struct whole *w = whole;
    if (w->drawn_anew == 1)
        random_normal(w->v.noise, w->rows * w->v.net.code, &w->noise);
    return loss_of(w, example, vae_forward(&w->v, w->rows));
}

/* From z on, and from the code on: what lies below has not changed. */
double from_z(void *whole, double *example) {
    struct whole *w = whole;
    struct network *net = &w->v.net;
    return loss_of(w, example, network_forward(net, w->v.z, net->half, net->depth, w->rows));
}

double from_code(void *whole, double *example) {
    struct whole *w = whole;
    struct network *net = &w->v.net;
    reparameterize(w->v.z, net->layer[net->half - 1].h, w->v.noise, w->rows, net->code);
    return from_z(whole, example);
}

void whole_backward(void *whole) {
    struct whole *w = whole;
    struct vae drawn = w->v;
    if (w->drawn_anew == 2) {
        drawn.noise = allocate(w->rows * w->v.net.code, sizeof(real));
        random_normal(drawn.noise, w->rows * w->v.net.code, &w->noise);
    }
    vae_step(&drawn, &w->images, w->order, w->rows, 0);
}

/* --- end of the check of a vae ------------------------------------------------------ */

/* With pictures of dense noise: the gradient of a black pixel's weights would be zero. Three steps
   of training come first, with other noise in each, so that nothing is as it was at the start and
   old transposed copies would be noticed. The noise of the third stays. */
void whole_new(struct whole *w, const size_t *size, size_t count, enum activation f, double weight,
               size_t rows) {
    struct random r;
    random_seed(&r, 10);
    *w = (struct whole){.v = vae_new(size, count, 2, f, rows, weight), .rows = rows};
    struct network *net = &w->v.net;
    w->images = (struct images){rows, allocate(rows, PIXELS), NULL};
    for (size_t k = 0; k < rows * PIXELS; k++)
        w->images.pixel[k] = (unsigned char)random_uniform(&r, 1, 256);
    for (size_t k = 0; k < rows; k++)
        w->order[k] = k;
    network_start(net, &r);
    for (size_t l = 0; l < net->depth; l++)
        for (size_t j = 0; j < net->layer[l].out; j++)
            net->layer[l].b[j] = random_uniform(&r, -0.5, 0.5);
    network_transpose(net);
    random_seed(&w->noise, 11);
    for (int step = 0; step < 3; step++) {
        random_normal(w->v.noise, rows * net->code, &w->noise);
        vae_step(&w->v, &w->images, w->order, rows, 5e-4);
    }
    whole_backward(w);
}

/* For the diagnosis: room for what foreseen mistakes would give. */
double guesses[64][B * PIXELS];
size_t guessed;

double *foresee(struct gc_tensor *t, const char *says) {
    assert_true(guessed < 64 && t->rows * t->cols <= B * PIXELS);
    gc_foresee(t, says, NULL, guesses[guessed]);
    return memset(guesses[guessed++], 0, sizeof guesses[0]);
}

/* What mu and logvar would collect from z and from the KL with this chapter's own mistakes. */
void foresee_code(struct gc_tensor *t, const real *code, const real *dz, const real *noise,
                  double weight, size_t d) {
    static const char *const says[] = {
        "The KL is subtracted. E[log p(x|z)] - KL is the ELBO, which is to be large; the loss is "
        "its negative, cross-entropy plus KL.",
        "What comes from z is there, what comes from the KL is missing: the code is used twice and "
        "must collect from both, with +=.",
        "What comes from the KL is there, what comes from z is missing: the code is used twice and "
        "must collect from both, with +=.",
        "The KL is not divided by B: the loss is a mean over the batch, of both parts.",
        "The KL is divided by B twice.",
        "beta is missing before the gradient of the KL.",
        "beta stands before what comes from z; its place is before the gradient of the KL.",
        "The KL is counted twice.",
        "The KL is divided by the width of the code: it is a sum over the code, not a mean.",
        "The KL is divided by the number of pixels, and the cross-entropy is not.",
        "dz does not reach mu: dz/dmu = 1.",
        "On the way from z to mu stands sigma: dz/dmu = 1.",
        "dz does not reach logvar.",
        "From z to logvar a half is missing: sigma is e^(logvar/2).",
        "From z to logvar stands e^logvar, the variance, where sigma is meant.",
        "From z to logvar sigma is missing.",
        "From z to logvar the noise is missing.",
        "In the KL's gradient for logvar a half is missing: it is (e^logvar - 1) / 2.",
        "In the KL's gradient for logvar the -1 is missing: it is (e^logvar - 1) / 2.",
        "In the KL's gradient for logvar a sign is flipped: it is (e^logvar - 1) / 2.",
        "In the KL's gradient for logvar stands sigma where the variance e^logvar is meant.",
        "mu and logvar are swapped: the first d numbers of a row are mu, the others logvar.",
        "The KL's gradient is cut off where logvar is below 0, and the KL is not.",
        "The KL's gradient is added without its derivative: mu and logvar stand for dKL/dmu and "
        "dKL/dlogvar."};
    enum { MISTAKES = sizeof says / sizeof *says };
    double *guess[MISTAKES];
    for (size_t n = 0; n < MISTAKES; n++)
        guess[n] = foresee(t, says[n]);
    for (size_t k = 0; k < B * d; k++) {
        size_t to = k / d * 2 * d + k % d;
        double mu = code[to], logvar = code[to + d], variance = exp(logvar), scale = weight / B;
        double z = dz[k], e = noise[k], sigma = sqrt(variance), path = z * e * sigma / 2;
        double m = scale * mu, v = scale * (variance - 1) / 2;
        const double wrong[MISTAKES][2] = {{z - m, path - v},
                                           {z, path},
                                           {m, v},
                                           {z + B * m, path + B * v},
                                           {z + m / B, path + v / B},
                                           {z + m / weight, path + v / weight},
                                           {z * weight + m / weight, path * weight + v / weight},
                                           {z + 2 * m, path + 2 * v},
                                           {z + m / (double)d, path + v / (double)d},
                                           {z + m / PIXELS, path + v / PIXELS},
                                           {m, path + v},
                                           {z * sigma + m, path + v},
                                           {z + m, v},
                                           {z + m, 2 * path + v},
                                           {z + m, path * sigma + v},
                                           {z + m, path / sigma + v},
                                           {z + m, path / e + v},
                                           {z + m, path + 2 * v},
                                           {z + m, path + scale * variance / 2},
                                           {z + m, path - v},
                                           {z + m, path + scale * (sigma - 1) / 2},
                                           {path + v, z + m},
                                           {z + m, path + (logvar < 0 ? 0 : v)},
                                           {z + scale * mu, path + scale * logvar}};
        for (size_t n = 0; n < MISTAKES; n++) {
            guess[n][to] = wrong[n][0];
            guess[n][to + d] = wrong[n][1];
        }
    }
}

/* What the decoder's first layer got is z, and of the KL z knows nothing. */
void foresee_decoder(struct whole *w, struct gc_tensor *W, struct gc_tensor *z) {
    const struct vae *v = &w->v;
    const struct layer *y = &v->net.layer[v->net.half];
    const real *code = y[-1].h;
    double *from_mu = foresee(W, "What came into the decoder is z; here stands mu."),
           *from_noise = foresee(W, "What came into the decoder is z; here stands the noise."),
           *kl =
               foresee(z, "The KL's gradient has been added to dz. It belongs to mu and logvar: z, "
                          "and with it the decoder, is not in the KL."),
           *kl_z =
               foresee(z, "beta z / B has been added to dz, as if the KL were a penalty on z. It "
                          "is in mu and logvar; z, and with it the decoder, is not in it.");
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < y->in; i++) {
            size_t at = r * y->in + i;
            double mu = code[2 * r * y->in + i];
            for (size_t j = 0; j < y->out; j++) {
                from_mu[i * y->out + j] += mu * y->d[r * y->out + j];
                from_noise[i * y->out + j] += v->noise[at] * y->d[r * y->out + j];
                kl[at] += y->d[r * y->out + j] * y->W[i * y->out + j];
            }
            kl_z[at] = kl[at] + v->beta / B * v->z[at];
            kl[at] += v->beta / B * mu;
        }
}

/* What the decoder gets must be mu + sigma noise. */
int z_is_wrong(struct whole *w) {
    struct vae *v = &w->v;
    size_t d = v->net.code, wrong = 0, mean = 0;
    const real *said = v->net.layer[v->net.half - 1].h;
    vae_forward(v, B);
    for (size_t k = 0; k < B * d; k++) {
        double mu = said[k / d * 2 * d + k % d], logvar = said[k / d * 2 * d + d + k % d];
        wrong += !(fabs(v->z[k] - mu - sqrt(exp(logvar)) * v->noise[k]) < 1e-12);
        mean += v->z[k] == mu;
    }
    if (wrong)
        printf("%s: look at the forward pass.\n",
               mean == B * d ? "The decoder gets mu itself, and the noise has no part in it"
                             : "What the decoder gets is not mu + sigma noise");
    return wrong > 0;
}

/* Every entry of every weight and bias, and in between the code, z and the logits. */
int check_whole(const size_t *size, size_t count, enum activation f, double weight) {
    struct whole w;
    whole_new(&w, size, count, f, weight, B);
    struct network *net = &w.v.net;
    struct gc_tensor *W = NULL, *z = NULL;
    char title[96];
    snprintf(title, sizeof title, "chapter 11, a VAE 784-%zu-%zu and back, %s, beta %g", size[1],
             size[2], activation_name[f], weight);
    struct gradcheck check = {
        .title = title, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = B};
    check.step = 1.4e-3; /* a loss of 500 nats is rounded more than most, so we step further */
    gc_size(&check, "the number of pixels", PIXELS);
    gc_size(&check, "the width of the code", net->code);
    guessed = 0;
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        add_tensors(&check, &net->tensor[2 * l], 2);
        W = l == net->half ? &check.tensor[check.tensors - 2] : W;
        if (l + 1 != net->half)
            continue;
        struct gc_tensor *t = gc_add(&check, "code", y->h, y->d, B, y->out);
        t->loss = from_code;
        foresee_code(t, y->h, w.v.dz, w.v.noise, weight, net->code);
        z = gc_add(&check, "z", w.v.z, w.v.dz, B, net->code);
        z->loss = from_z;
    }
    foresee_decoder(&w, W, z);
    int failed = weight == 4 ? gc_run(&check) : gc_run_in_one_line(&check);
    failed += z_is_wrong(&w);
    free(w.v.net.value);
    return failed;
}

void a_step_of_training(void **state) {
    (void)state;
    int failed = check_whole((size_t[]){PIXELS, 5, 4, 2}, 4, SILU, 4);
    if (!gc_quick()) {
        failed += check_whole((size_t[]){PIXELS, 4, 2}, 3, TANH, 1);
        failed += check_whole((size_t[]){PIXELS, 4, 3}, 3, ELU, 0.5);
    }
    assert_int_equal(failed, 0);
}

/* --- the KL alone -------------------------------------------------------------------- */
enum { D = 6 };

struct alone {
    real code[B * 2 * D], dcode[B * 2 * D];
    double scale;
};

double kl_loss(void *alone, double *example) {
    struct alone *a = alone;
    double kl[B], loss = 0;
    normal_kl_forward(kl, a->code, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = a->scale * kl[r];
    return loss;
}

void kl_gradient(void *alone) {
    struct alone *a = alone;
    memset(a->dcode, 0, sizeof a->dcode);
    normal_kl_backward(a->dcode, a->code, a->scale, B, D);
}

/* --- end of the KL alone --------------------------------------------------------------- */

int near(const char *what, double value, double right) {
    int good = fabs(value - right) < 1e-13;
    if (!good)
        printf("%s is %.12g and should be %.12g\n", what, value, right);
    return good;
}

void the_kl_by_hand(void **state) {
    (void)state;
    /* mu = 1: half a nat. Variance 4: (4 - 1 - log 4) / 2 nats. Standard normal: none. */
    const real two[] = {1, 0, 0, log(4), 0, 0, 0, 0};
    double kl[2];
    normal_kl_forward(kl, two, 2, 2);
    assert_true(near("KL of mu = 1 and of variance 4", kl[0], 0.5 + (3 - log(4)) / 2));
    assert_true(near("KL of the prior itself", kl[1], 0));
}

void the_kl_alone(void **state) {
    (void)state;
    static const real nothing[B * D], noise[B * D];
    struct alone a = {.scale = 4.0 / B};
    struct random r;
    random_seed(&r, 3);
    for (size_t k = 0; k < B * 2 * D; k++)
        a.code[k] = random_uniform(&r, -2, 2);
    struct gradcheck check = {.title = "chapter 11, the KL alone, (6+6), beta 4",
                              .loss = kl_loss,
                              .backward = kl_gradient,
                              .net = &a,
                              .batch = B};
    gc_size(&check, "the width of the code", D);
    guessed = 0;
    foresee_code(gc_add(&check, "code", a.code, a.dcode, B, 2 * D), a.code, nothing, noise, 4, D);
    assert_int_equal(gc_run_in_one_line(&check), 0);
}

/* --- what must not pass -------------------------------------------------------------- */
/* Noise that is drawn anew, by the loss or by the gradient, must be noticed. */
void noise_must_be_frozen(void **state) {
    (void)state;
    static const char *const says[] = {"noise is redrawn between evaluations",
                                       "something is kept from one call to the next, or drawn "
                                       "anew"};
    for (int how = 1; how <= 2; how++) {
        struct whole w;
        char *text;
        size_t size;
        whole_new(&w, (size_t[]){PIXELS, 3, 2}, 3, SILU, 1, B);
        w.drawn_anew = how;
        struct gradcheck check = {.title = "noise",
                                  .loss = whole_loss,
                                  .backward = whole_backward,
                                  .net = &w,
                                  .batch = B,
                                  .out = open_memstream(&text, &size)};
        check.step = 1.4e-3;
        gc_add(&check, "code", w.v.net.layer[1].h, w.v.net.layer[1].d, B, 4)->loss = from_code;
        struct gc_total before = gc_total; /* its errors do not count among the chapter's */
        int failed = gc_run(&check);
        gc_total = before;
        fclose(check.out);
        if (!failed || !strstr(text, says[how - 1]))
            fail_msg("the check should fail and say \"%s\"; it says:\n%s", says[how - 1], text);
        free(text);
        free(w.v.net.value);
    }
}

/* A VAE without noise is an autoencoder: its step is that of a VAE whose noise and beta are 0, but
   for rounding, where both begin with the same weights. */
void without_noise_an_autoencoder(void **state) {
    (void)state;
    const size_t size[] = {PIXELS, 6, 1};
    struct whole w;
    whole_new(&w, size, 3, SILU, 0, B);
    struct vae plain = vae_new(size, 3, 1, SILU, B, 0);
    struct network *net = &w.v.net, *other = &plain.net;
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *from = &net->layer[l], *to = &other->layer[l];
        for (size_t i = 0; i < to->in; i++)
            for (size_t j = 0; j < to->out; j++)
                to->W[i * to->out + j] = from->W[i * from->out + j];
        memcpy(to->b, from->b, to->out * sizeof(real));
    }
    network_transpose(other);
    memset(w.v.noise, 0, B * sizeof(real));
    struct parts a = vae_step(&w.v, &w.images, w.order, B, 0);
    struct parts b = vae_step(&plain, &w.images, w.order, B, 0);
    assert_true(near("the cross-entropy of a VAE without noise", a.bce, b.bce));
    assert_true(near("the KL of an autoencoder", b.kl, 0));
    for (size_t k = 0; k < net->layer[0].in * net->layer[0].out; k++)
        assert_true(near("a first weight's derivative in a VAE without noise", net->layer[0].dW[k],
                         other->layer[0].dW[k]));
    free(net->value), free(other->value);
}

/* A step renews the transposed copies of what it has changed; and it tells sums over images, an
   evaluation means, in which beta is not. */
void what_is_left_and_told(void **state) {
    (void)state;
    struct whole w;
    size_t stale = 0;
    double example[B];
    whole_new(&w, (size_t[]){PIXELS, 4, 2}, 3, SILU, 3, B);
    for (size_t l = 1; l < w.v.net.depth; l++) {
        const struct layer *y = &w.v.net.layer[l];
        for (size_t k = 0; k < y->in * y->out; k++)
            stale += y->Wt[k % y->out * y->in + k / y->out] != y->W[k];
    }
    if (stale)
        printf("After a step of training %zu weights have changed and their transposed copies have "
               "not.\n",
               stale);
    assert_int_equal(stale, 0);
    struct parts step = vae_step(&w.v, &w.images, w.order, B, 0);
    struct parts at_mu = vae_evaluate(&w.v, &w.images, B, NULL, NULL, NULL);
    double kl = 0, loss;
    for (size_t k = 0; k < B * 2; k++) { /* the formula, on what the encoder said */
        const real *said = w.v.net.layer[1].h + k / 2 * 4 + k % 2;
        kl += (said[0] * said[0] + exp(said[2]) - 1 - said[2]) / 2;
    }
    assert_true(near("KL of a batch", step.kl, kl) &&
                near("B times the mean KL", 3 * at_mu.kl, kl));
    random_normal(w.v.noise, B * 2, &w.noise);
    loss = whole_loss(&w, example);
    step = vae_step(&w.v, &w.images, w.order, B, 0);
    assert_true(fabs(B * loss - step.bce - 3 * step.kl) < 1e-10);
    free(w.v.net.value);
}

/* --- the network of full size ------------------------------------------------------ */

double full_loss(void *whole, size_t i) {
    struct whole *w = whole;
    struct network *net = &w->v.net;
    double example[32];
    size_t l = i / 2;
    if (l == 0)
        return whole_loss(w, example);
    if (l == net->half)
        return from_z(w, example);
    if (l > net->half)
        return loss_of(w, example,
                       network_forward(net, net->layer[l - 1].h, l, net->depth, w->rows));
    network_forward(net, net->layer[l - 1].h, l, net->half, w->rows);
    return from_code(w, example);
}

void the_full_size(void **state) {
    (void)state;
    int quick = gc_quick();
    struct whole w;
    USE_CORES(1);
    whole_new(&w, quick ? (size_t[]){PIXELS, 20, 10, 6} : (size_t[]){PIXELS, 400, 100, 6}, 4, SILU,
              1, 19);
    struct network *net = &w.v.net;
    double *one = allocate(net->parameters, sizeof *one);
    memcpy(one, net->grad, net->parameters * sizeof *one);
    USE_CORES(2);
    whole_backward(&w);
    int same = memcmp(one, net->grad, net->parameters * sizeof *one) == 0;
    printf("chapter 11, the VAE of %zu parameters, silu: %d random directions a tensor\n",
           net->parameters, quick ? 3 : 20);
    int wrong = check_directions(net->tensor, net->tensors, full_loss, &w, quick ? 3 : 20);
    printf("%s\n", same ? "one core and two give the same gradient, to the last bit"
                        : "WRONG: one core and two give different gradients");
    if (!wrong && same)
        printf("all %zu derivatives take part, and every direction agrees\n", net->parameters);
    free(net->value), free(one);
    assert_int_equal(wrong + !same, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(the_kl_by_hand),
        cmocka_unit_test(the_kl_alone),
        cmocka_unit_test(a_step_of_training),
        cmocka_unit_test(noise_must_be_frozen),
        cmocka_unit_test(without_noise_an_autoencoder),
        cmocka_unit_test(what_is_left_and_told),
        cmocka_unit_test(the_full_size),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
