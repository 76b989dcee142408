/* test_vae.c: every gradient of chapter 11 against finite differences, in double and with the noise
   frozen: for each activation and several beta, the KL alone, and every one of the 710,796
   parameters of the full-size network; then the parts one by one; and the exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured.

   It has much to calculate, so it is built like the program. */
#define WORKBOOK_TEST
#define REAL double
#include "vae.c"

#include <setjmp.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "gradcheck.h"

enum { B = 3 };

void fill(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

/* Images of dense noise with `grays` levels, none of them black: the gradient of a black pixel's
   weights would be zero. */
struct images some_images(size_t count, size_t grays, struct random *r) {
    struct images images = {count, allocate(count, PIXELS), NULL};
    for (size_t k = 0; k < count * PIXELS; k++)
        images.pixel[k] =
            (unsigned char)(255 / grays * (1 + (size_t)random_uniform(r, 0, (double)grays)));
    return images;
}

/* --- the check of a vae ----------------------------------------------------------- */
struct whole {
    struct vae v;
    struct images images;
    size_t order[B];
    struct random noise;
    int drawn_anew;     /* 1: each evaluation draws noise of its own, 2: each gradient does */
    double *guess[128]; /* what foreseen mistakes would give, to be freed */
    size_t guesses;
};

/* The loss of what the decoder says: the mean over the batch of bce + beta KL. */
double loss_of(struct whole *w, const real *logits, double *example) {
    struct vae *v = &w->v;
    double loss = 0;
    vae_losses(v, NULL, logits, B, 0, B);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = (v->example[r].bce + v->beta * v->kl[r]) / B;
    return loss;
}

/* From z on, from the code on, and from layer `from` on: what lies below is not evaluated, because
   nothing has changed there. */
double from_z(void *context, double *example) {
    struct whole *w = context;
    struct network *net = &w->v.net;
    return loss_of(w, network_forward(net, w->v.z, net->half, net->depth, 0, B), example);
}

double from_code(void *context, double *example) {
    struct vae *v = &((struct whole *)context)->v;
    reparameterize(v->z, v->net.layer[v->net.half - 1].h, v->noise, B, v->net.code);
    return from_z(context, example);
}

double from_layer(struct whole *w, double *example, size_t from) {
    struct vae *v = &w->v;
    struct network *net = &v->net;
    if (w->drawn_anew == 1)
        random_normal(v->noise, B * net->code, &w->noise);
    if (from == 0)
        return loss_of(w, vae_forward(v, 0, B), example);
    if (from == net->half)
        return from_z(w, example);
    size_t to = from < net->half ? net->half : net->depth;
    const real *h = network_forward(net, net->layer[from - 1].h, from, to, 0, B);
    return to == net->half ? from_code(w, example) : loss_of(w, h, example);
}

double from_sums(struct whole *w, double *example, size_t l) {
    struct layer *y = &w->v.net.layer[l];
    activation_forward(y->h, y->s, y->f, B * y->out);
    return from_layer(w, example, l + 1);
}

/* The checker wants a function for each place to begin. */
#define FROM(l)                                                                                    \
    double from_##l(void *w, double *example) {                                                    \
        return from_layer(w, example, l);                                                          \
    }                                                                                              \
    double from_sums_##l(void *w, double *example) {                                               \
        return from_sums(w, example, l);                                                           \
    }
FROM(0)
FROM(1)
FROM(2)
FROM(3)
FROM(4)
FROM(5)
FROM(6)
double (*const loss_from[])(void *, double *) = {from_0, from_1, from_2, from_3,
                                                 from_4, from_5, from_6};
double (*const loss_from_sums[])(void *, double *) = {
    from_sums_0, from_sums_1, from_sums_2, from_sums_3, from_sums_4, from_sums_5, from_sums_6};

/* All gradients, from a step of training itself, at rate zero. */
void whole_backward(void *context) {
    struct whole *w = context;
    struct vae *v = &w->v;
    size_t n = B * v->net.code;
    real *frozen = numbers(n);
    memcpy(frozen, v->noise, n * sizeof *frozen);
    if (w->drawn_anew == 2)
        random_normal(v->noise, n, &w->noise);
    vae_step(v, &w->images, w->order, B, 0);
    memcpy(v->noise, frozen, n * sizeof *frozen);
    free(frozen);
}

/* --- end of the check of a vae ------------------------------------------------------ */

/* Sets the biases so that each unit's sum is below zero for one of the three images and above for
   two: with ReLU, any two units are then on together for at least one. */
void off_for_one(struct whole *w) {
    struct network *net = &w->v.net;
    vae_forward(&w->v, 0, B);
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        const real *below = l == 0 ? w->v.x : l == net->half ? w->v.z : y[-1].h;
        layer_forward(y, below, 0, B);
        for (size_t j = 0; j < y->out && y->f != IDENTITY; j++) {
            const real *s = y->s + j;
            double highest = fmax(s[0], fmax(s[y->out], s[2 * y->out]));
            y->b[j] -= (s[0] + s[y->out] + s[2 * y->out] - highest) / 2; /* between the others */
        }
        vae_forward(&w->v, 0, B);
    }
}

/* Takes three steps of training, with other noise in each, so that nothing is as it was at the
   start and old transposed copies would be noticed. The noise of the third stays. */
struct whole whole_new(const size_t *size, size_t count, enum activation f, double beta,
                       size_t grays) {
    struct whole w = {.v = vae_new(size, count, f, B, beta), .order = {0, 1, 2}};
    struct network *net = &w.v.net;
    struct random r;
    random_seed(&r, 10);
    w.images = some_images(B, grays, &r);
    network_start(net, &r);
    for (size_t l = 0; l < net->depth; l++)
        fill(net->layer[l].b, net->layer[l].out, -0.5, 0.5, &r);
    network_transpose(net);
    random_seed(&w.noise, 11);
    for (int step = 0; step < 3; step++) {
        random_normal(w.v.noise, B * net->code, &w.noise);
        vae_step(&w.v, &w.images, w.order, B, 5e-4);
    }
    off_for_one(&w);
    whole_backward(&w);
    return w;
}

void whole_free(struct whole *w) {
    vae_free(&w->v);
    free_images(&w->images);
    for (size_t k = 0; k < w->guesses; k++)
        free(w->guess[k]);
}

/* Foresees a mistake in a tensor: a gradient to be filled in. */
double *foresee(struct whole *w, struct gc_tensor *t, const char *says) {
    assert_true(w->guesses < sizeof w->guess / sizeof *w->guess);
    double *guess = w->guess[w->guesses++] = allocate(t->rows * t->cols, sizeof *guess);
    gc_foresee(t, says, NULL, guess);
    return guess;
}

/* What mu and logvar would collect from z and from the KL with this chapter's own mistakes. */
void foresee_code(struct whole *w, struct gc_tensor *t, const real *code, const real *dz,
                  const real *noise, double beta, size_t d) {
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
        guess[n] = foresee(w, t, says[n]);
    for (size_t k = 0; k < B * d; k++) {
        size_t to = k / d * 2 * d + k % d;
        double mu = code[to], logvar = code[to + d], variance = exp(logvar), scale = beta / B;
        double z = dz[k], e = noise[k], sigma = sqrt(variance), path = z * e * sigma / 2;
        double m = scale * mu, v = scale * (variance - 1) / 2;
        const double wrong[MISTAKES][2] = {{z - m, path - v},
                                           {z, path},
                                           {m, v},
                                           {z + B * m, path + B * v},
                                           {z + m / B, path + v / B},
                                           {z + m / beta, path + v / beta},
                                           {z * beta + m / beta, path * beta + v / beta},
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
    double *from_mu = foresee(w, W, "What came into the decoder is z; here stands mu."),
           *from_noise = foresee(w, W, "What came into the decoder is z; here stands the noise."),
           *kl = foresee(w, z,
                         "The KL's gradient has been added to dz. It belongs to mu and logvar: z, "
                         "and with it the decoder, is not in the KL."),
           *kl_z = foresee(w, z,
                           "beta z / B has been added to dz, as if the KL were a penalty on z. It "
                           "is in mu and logvar; z, and with it the decoder, is not in it.");
    for (size_t r = 0; r < B; r++)
        for (size_t i = 0; i < y->in; i++) {
            size_t at = r * y->in + i;
            double mu = code[2 * r * y->in + i];
            for (size_t j = 0; j < y->out; j++) {
                from_mu[i * y->out + j] += mu * y->ds[r * y->out + j];
                from_noise[i * y->out + j] += v->noise[at] * y->ds[r * y->out + j];
                kl[at] += y->ds[r * y->out + j] * y->W[i * y->out + j];
            }
            kl_z[at] = kl[at] + v->beta / B * v->z[at];
            kl[at] += v->beta / B * mu;
        }
}

/* Adds to a check, in the order of the way up: every weight and bias, and in between all sums and
   outputs of layers, the code, z and the logits. */
void add_tensors(struct gradcheck *check, struct whole *w) {
    static const char *const sums[] = {"s 1", "s 2", "s 3", "s 4", "s 5", "s 6"},
                             *const outputs[] = {"h 1", "h 2", "h 3", "h 4", "h 5", "h 6"};
    struct network *net = &w->v.net;
    struct gc_tensor *t, *W = NULL, *z = NULL;
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l];
        for (size_t i = 2 * l; i < 2 * l + 2; i++) {
            struct tensor *p = &net->tensor[i];
            t = gc_add(check, p->name, p->value, p->grad, p->rows, p->cols);
            t->loss = loss_from[l];
            W = i == 2 * net->half ? t : W;
        }
        if (l + 1 == net->half) {
            t = gc_add(check, "code", y->h, y->dh, B, y->out);
            t->loss = from_code;
            foresee_code(w, t, y->h, w->v.dz, w->v.noise, w->v.beta, net->code);
            z = gc_add(check, "z", w->v.z, w->v.dz, B, net->code);
            z->loss = from_z;
            continue;
        }
        if (y->f != IDENTITY)
            gc_add(check, sums[l], y->s, y->ds, B, y->out)->loss = loss_from_sums[l];
        int logits = l + 1 == net->depth;
        if (logits && gc_quick())
            break;
        gc_add(check, logits ? "logits" : outputs[l], y->h, y->dh, B, y->out)->loss =
            loss_from[l + 1];
    }
    foresee_decoder(w, W, z);
}

/* What the decoder gets must be mu + sigma noise. */
int z_is_wrong(struct whole *w) {
    struct vae *v = &w->v;
    size_t d = v->net.code, wrong = 0, mean = 0;
    const real *code = v->net.layer[v->net.half - 1].h;
    vae_forward(v, 0, B);
    for (size_t k = 0; k < B * d; k++) {
        double mu = code[k / d * 2 * d + k % d], logvar = code[k / d * 2 * d + d + k % d];
        wrong += !(fabs(v->z[k] - mu - sqrt(exp(logvar)) * v->noise[k]) < 1e-12);
        mean += v->z[k] == mu;
    }
    if (wrong)
        printf("%s: look at the forward pass.\n",
               mean == B * d ? "The decoder gets mu itself, and the noise has no part in it"
                             : "What the decoder gets is not mu + sigma noise");
    return wrong > 0;
}

/* The KL's share of what the code collects must be large against what the check lets pass, or a
   mistake in it would go unseen. Returns how many of its 2 B d numbers are 10,000 times as large. */
size_t felt(const struct whole *w) {
    const struct network *net = &w->v.net;
    const struct layer *y = &net->layer[net->half - 1];
    real *kl = numbers(B * y->out);
    size_t n = 0;
    kl_backward(kl, y->h, w->v.beta / B, B, net->code);
    for (size_t k = 0; k < B * y->out; k++)
        n += fabs(kl[k]) > 1e4 * (gc_tolerance * fabs(y->dh[k]) + 1.5e-9);
    free(kl);
    return n;
}

int check_whole(const size_t *size, size_t count, enum activation f, double beta, int table) {
    struct whole w = whole_new(size, count, f, beta, 255);
    struct network *net = &w.v.net;
    size_t d = net->code;
    char title[96];
    int n = snprintf(title, sizeof title, "chapter 11, 784");
    for (size_t l = 1; l + 1 < count; l++)
        n += snprintf(title + n, sizeof title - (size_t)n, "-%zu", size[l]);
    snprintf(title + n, sizeof title - (size_t)n, "-(%zu+%zu) and back, %s, beta %g", d, d,
             activation_name[f], beta);
    struct gradcheck check = {
        .title = title, .loss = from_0, .backward = whole_backward, .net = &w, .batch = B};
    check.step = 1.4e-3; /* a loss of 500 nats is rounded more than most, so we step further */
    gc_size(&check, "the number of pixels", PIXELS);
    gc_size(&check, "the width of the code", d);
    add_tensors(&check, &w);
    int failed = z_is_wrong(&w);
    if (!failed)
        failed = table ? gc_run(&check) : gc_run_in_one_line(&check);
    assert_true(beta == 0 || 4 * felt(&w) >= 3 * B * 2 * d);
    whole_free(&w);
    return failed;
}

void silu_and_beta_4(void **state) {
    (void)state;
    int failed = gc_quick() ? check_whole((size_t[]){PIXELS, 3, 5}, 3, SILU, 4, 1)
                            : check_whole((size_t[]){PIXELS, 7, 6, 5}, 4, SILU, 4, 1);
    assert_int_equal(failed, 0);
}

void each_activation(void **state) {
    (void)state;
    if (gc_quick())
        skip();
    int failed = 0;
    for (int f = 0; f < ACTIVATIONS; f++)
        failed += check_whole((size_t[]){PIXELS, 4, 3}, 3, f, 1, 0);
    assert_int_equal(failed, 0);
}

void several_betas(void **state) {
    (void)state;
    static const double beta[] = {0, 0.5, 4};
    if (gc_quick())
        skip();
    int failed = 0;
    for (size_t k = 0; k < 3; k++)
        failed += check_whole((size_t[]){PIXELS, 4, 3}, 3, SILU, beta[k], 0);
    assert_int_equal(failed, 0);
}

/* --- the KL alone -------------------------------------------------------------------- */
enum { D = 6 };

struct alone {
    real code[B * 2 * D], dcode[B * 2 * D];
    double scale;
};

double kl_loss(void *context, double *example) {
    struct alone *a = context;
    double kl[B], loss = 0;
    kl_forward(kl, a->code, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = a->scale * kl[r];
    return loss;
}

void kl_gradient(void *context) {
    struct alone *a = context;
    memset(a->dcode, 0, sizeof a->dcode);
    kl_backward(a->dcode, a->code, a->scale, B, D);
}

/* --- end of the KL alone --------------------------------------------------------------- */

void the_kl_alone(void **state) {
    (void)state;
    static const real nothing[B * D], noise[B * D];
    struct whole w = {.guesses = 0};
    struct alone a = {.scale = 4.0 / B};
    struct random r;
    random_seed(&r, 3);
    fill(a.code, B * 2 * D, -2, 2, &r);
    struct gradcheck check = {.title = "chapter 11, the KL alone, (6+6), beta 4",
                              .loss = kl_loss,
                              .backward = kl_gradient,
                              .net = &a,
                              .batch = B};
    gc_size(&check, "the width of the code", D);
    struct gc_tensor *t = gc_add(&check, "code", a.code, a.dcode, B, 2 * D);
    foresee_code(&w, t, a.code, nothing, noise, 4, D);
    int failed = gc_run_in_one_line(&check);
    for (size_t k = 0; k < w.guesses; k++)
        free(w.guess[k]);
    assert_int_equal(failed, 0);
}

/* Runs a check that must fail and must say this. Its errors do not count among the chapter's. */
void must_say(struct gradcheck *check, const char *says) {
    char *text;
    size_t size;
    double worst_error = gc_total.worst_error;
    size_t entries = gc_total.entries, resolved = gc_total.resolved, kinks = gc_total.kinks;
    check->out = open_memstream(&text, &size);
    assert_non_null(check->out);
    int failed = gc_run(check);
    fclose(check->out);
    gc_total.worst_error = worst_error;
    gc_total.entries = entries;
    gc_total.resolved = resolved;
    gc_total.kinks = kinks;
    if (!failed || !strstr(text, says))
        fail_msg("the check should fail and say \"%s\"; it says:\n%s", says, text);
    free(text);
}

/* Noise that is drawn anew, by the loss or by the gradient, must be noticed. */
void noise_must_be_frozen(void **state) {
    (void)state;
    static const char *const says[] = {"noise is redrawn between evaluations",
                                       "something is kept from one call to the next, or drawn "
                                       "anew"};
    for (int how = 1; how <= 2; how++) {
        struct whole w = whole_new((size_t[]){PIXELS, 3, 2}, 3, SILU, 1, 255);
        w.drawn_anew = how;
        struct gradcheck check = {
            .title = "noise", .loss = from_0, .backward = whole_backward, .net = &w, .batch = B};
        check.step = 1.4e-3;
        struct network *net = &w.v.net;
        gc_add(&check, "code", net->layer[1].h, net->layer[1].dh, B, 4)->loss = from_code;
        must_say(&check, says[how - 1]);
        whole_free(&w);
    }
}

/* The KL is between two distributions of the code, and the decoder is in neither: whatever beta is,
   the decoder's gradient is the same to the last bit. */
void the_decoder_is_not_in_the_kl(void **state) {
    (void)state;
    struct whole w = whole_new((size_t[]){PIXELS, 8, 5, 3}, 4, SILU, 0, 255);
    struct network *net = &w.v.net;
    size_t n = net->parameters, same[2] = {0, 0}, all[2] = {0, 0};
    real *plain = numbers(n);
    memcpy(plain, net->grad, n * sizeof *plain);
    w.v.beta = 4;
    whole_backward(&w);
    size_t first = (size_t)(net->layer[net->half].dW - net->grad);
    for (size_t k = 0; k < n; k++) {
        all[k >= first]++;
        same[k >= first] += plain[k] == net->grad[k];
    }
    printf("beta 0 or 4: of the decoder's %zu derivatives %zu change, of the encoder's %zu all "
           "but %zu\n",
           all[1], all[1] - same[1], all[0], same[0]);
    assert_int_equal(same[1], all[1]);
    assert_true(same[0] < all[0] / 100);
    free(plain);
    whole_free(&w);
}

/* --- every parameter -------------------------------------------------------------- */
/* The whole network at full size has 710,796 parameters. A parameter of layer l moves one sum of
   that layer, and what lies below does not depend on it: to begin there is exact. As in chapter 5
   many nudged copies are the rows of one product of matrices, and we carry not the nudged values
   but how far they have moved, so that no digit is lost. All of what follows is algebra; no
   derivative is taken. With u = e^d - 1 and q = sigmoid(s):

       sigmoid(s+d) - sigmoid(s)  =  q (1-q) u / (1 + q u)
       silu(s+d) - silu(s)        =  d q + (s+d) (sigmoid(s+d) - sigmoid(s))
       cross-entropy of a pixel      moves by  log(1 + q u) - x d
       KL                            moves by  dmu (mu + dmu/2)  and  (e^logvar u - dlogvar) / 2
       z = mu + sigma noise          moves by  dmu + sigma noise (e^(dlogvar/2) - 1)

   Two parameters of a unit whose inputs are equal move its sum alike, so one copy serves both: with
   images of five grays the 785 parameters of a unit of the first layer need five copies. */
enum { ROWS = 128 }; /* nudged copies at a time */

struct reach {
    const struct vae *v;
    double *q[MAX_DEPTH]; /* (B,out) the sigmoid of every sum */
    size_t widest;
};

/* e^d - 1 for |d| < 1/1000; the terms left out are below 1e-17 of it. */
static inline double rise(double d) {
    return d * (1 + d / 2 * (1 + d / 3 * (1 + d / 4 * (1 + d / 5))));
}

static inline double silu_moves(double d, double s, double q) {
    double u = rise(d);
    return d * q + (s + d) * q * (1 - q) * u / (1 + q * u);
}

/* log(1 + u) by its series, which for so small a u has all digits, too */
static inline double pixel_moves(double d, double q, double x) {
    double u = q * rise(d);
    return u * (1 - u * (1.0 / 2 - u * (1.0 / 3 - u * (1.0 / 4 - u * (1.0 / 5 - u / 6))))) - x * d;
}

/* How far the loss of an image moves, in nats, and the sum of what it is made of without signs. */
struct moved {
    double by, terms;
};

/* The code of image r moves by s (n,2d): the KL's part of how the loss moves, and how z moves
   (n,d). */
void middle_moves(struct moved *moved, real *z, const real *s, const struct reach *q, size_t r,
                  size_t n) {
    const struct network *net = &q->v->net;
    size_t d = net->code;
    const real *code = net->layer[net->half - 1].h + 2 * r * d, *noise = q->v->noise + r * d;
    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < d; j++) {
            double mu = code[j], logvar = code[d + j], sigma = exp(logvar / 2);
            double dmu = s[2 * k * d + j], dlogvar = s[(2 * k + 1) * d + j];
            double kl_mu = q->v->beta * dmu * (mu + dmu / 2);
            double kl_logvar = q->v->beta * (sigma * sigma * rise(dlogvar) - dlogvar) / 2;
            moved[k].by += kl_mu + kl_logvar;
            moved[k].terms += fabs(kl_mu) + fabs(kl_logvar);
            z[k * d + j] = dmu + sigma * noise[j] * rise(dlogvar / 2);
        }
}

/* What happens to the loss of image r when in n <= ROWS copies sum j of layer l moves, in copy k by
   d[k]. space has room for 2 * ROWS * widest. */
void move(struct moved *moved, const struct reach *q, size_t r, size_t l, size_t j, const double *d,
          size_t n, real *space) {
    const struct network *net = &q->v->net;
    const struct layer *y = &net->layer[l];
    size_t last = net->depth - 1;
    real *s = space, *h = space + ROWS * q->widest;
    for (size_t k = 0; k < n; k++)
        moved[k] = (struct moved){0, 0};
    memset(s, 0, n * y->out * sizeof *s);
    for (size_t k = 0; k < n; k++)
        s[k * y->out + j] = d[k];
    for (size_t m = l; m < last; m++) {
        size_t out = net->layer[m].out, above = net->layer[m + 1].out;
        const real *at = net->layer[m].s + r * out, *sigmoid = q->q[m] + r * out;
        if (m + 1 == net->half) {
            middle_moves(moved, h, s, q, r, n);
            out = net->code;
        } else if (m == l) { /* one unit alone: times its row of the next W */
            for (size_t k = 0; k < n; k++) {
                double by = silu_moves(d[k], at[j], sigmoid[j]);
                for (size_t p = 0; p < above; p++)
                    s[k * above + p] = by * net->layer[m + 1].W[j * above + p];
            }
            continue;
        } else
            for (size_t k = 0; k < n; k++)
                for (size_t p = 0; p < out; p++)
                    h[k * out + p] = silu_moves(s[k * out + p], at[p], sigmoid[p]);
        memset(s, 0, n * above * sizeof *s);
        multiply(s, h, out, 1, net->layer[m + 1].W, n, above, out);
    }
    const real *sigmoid = q->q[last] + r * PIXELS, *x = q->v->x + r * PIXELS;
    for (size_t k = 0; k < n; k++) {
        double by = 0, terms = 0;
        size_t from = l == last ? j : 0, to = l == last ? j + 1 : PIXELS;
#ifdef _OPENMP
#pragma omp simd reduction(+ : by, terms)
#endif
        for (size_t p = from; p < to; p++) {
            double pixel = pixel_moves(s[k * PIXELS + p], sigmoid[p], x[p]);
            by += pixel;
            terms += fabs(pixel);
        }
        moved[k].by += by;
        moved[k].terms += terms;
    }
}

/* What was measured of one tensor. */
struct measured {
    double *numeric, *noise, *share; /* (entries), (entries), (B,entries) */
};

/* Measures the derivatives of all parameters of unit j of layer l: its column of W, and its bias,
   whose input is 1. */
void measure_unit(const struct measured *tensor, const struct reach *q, size_t l, size_t j) {
    const struct layer *y = &q->v->net.layer[l];
    size_t in = y->in, *which = allocate(in + 1, sizeof *which);
    real *space = numbers(2 * ROWS * q->widest);
    double *input = allocate(in + 1, sizeof *input), step = 0x1p-20;
    struct moved *moved = allocate(2 * in + 2, sizeof *moved);
    for (size_t r = 0; r < B; r++) {
        const real *below = (l == 0 ? q->v->x : l == q->v->net.half ? q->v->z : y[-1].h) + r * in;
        size_t copies = 0;
        for (size_t i = 0; i <= in; i++) {
            double x = i < in ? below[i] : 1;
            for (which[i] = 0; which[i] < copies && input[which[i]] != x;)
                which[i]++;
            if (which[i] == copies)
                input[copies++] = x;
        }
        for (size_t first = 0; first < copies; first += ROWS / 2) {
            size_t n = least(ROWS / 2, copies - first);
            double d[ROWS];
            for (size_t k = 0; k < n; k++) {
                d[2 * k] = step * input[first + k];
                d[2 * k + 1] = -d[2 * k];
            }
            move(moved + 2 * first, q, r, l, j, d, 2 * n, space);
        }
        for (size_t i = 0; i <= in; i++) {
            const struct moved *up = &moved[2 * which[i]], *down = up + 1;
            const struct measured *t = &tensor[2 * l + (i == in)];
            size_t at = i == in ? j : i * y->out + j, entries = i == in ? y->out : in * y->out;
            double part = (up->by - down->by) / (2 * step) / B;
            t->share[r * entries + at] = part;
            t->numeric[at] += part;
            t->noise[at] += 16 * DBL_EPSILON * (up->terms + down->terms) / (2 * step) / B;
        }
    }
    free(which);
    free(space);
    free(input);
    free(moved);
}

/* --- end of every parameter --------------------------------------------------------- */

/* The short way against the long one: some parameters of each tensor are really moved, and the
   program evaluates the loss from the pixels on. Returns how often they disagree. */
size_t long_way(struct whole *w, const struct reach *q) {
    struct network *net = &w->v.net;
    real *space = numbers(2 * ROWS * q->widest);
    double before[B], after[B];
    size_t wrong = 0;
    struct random random;
    random_seed(&random, 77);
    for (size_t l = 0; l < net->depth; l++)
        for (int k = 0; k < 60; k++) {
            struct layer *y = &net->layer[l];
            size_t i = k < 50 ? (size_t)random_uniform(&random, 0, (double)y->in) : y->in;
            size_t j = (size_t)random_uniform(&random, 0, (double)y->out);
            from_0(w, before);
            struct moved moved[B];
            for (size_t r = 0; r < B; r++) {
                const real *below = l == 0 ? w->v.x : l == net->half ? w->v.z : y[-1].h;
                double d = 1e-4 * (i < y->in ? below[r * y->in + i] : 1);
                move(&moved[r], q, r, l, j, &d, 1, space);
            }
            real *value = &y->W[i * y->out + j], keep = *value; /* b is the last row, below W */
            *value += 1e-4;
            from_0(w, after);
            *value = keep;
            for (size_t r = 0; r < B; r++)
                wrong += !(fabs(after[r] - before[r] - moved[r].by / B) < 4e-12);
        }
    from_0(w, before);
    free(space);
    if (wrong)
        printf(
            "  The short way is not the long way in %zu comparisons: look at the forward pass.\n",
            wrong);
    return wrong;
}

/* Checks every parameter of 784-...-(d+d)-...-784 with SiLU. */
int check_every_parameter(const size_t *size, size_t count, const char *title, int table) {
    struct whole w = whole_new(size, count, SILU, 1, 5);
    struct network *net = &w.v.net;
    struct reach q = {.v = &w.v};
    struct measured tensor[2 * MAX_DEPTH];
    struct gradcheck check = {
        .title = title, .loss = from_0, .backward = whole_backward, .net = &w, .batch = B};
    check.how = "three images, noise frozen; each parameter is nudged by 1e-6 up and down";
    gc_size(&check, "the number of pixels", PIXELS);
    for (size_t i = 0; i < net->tensors; i++) {
        struct tensor *p = &net->tensor[i];
        size_t n = p->rows * p->cols;
        tensor[i] = (struct measured){allocate(n, sizeof(double)), allocate(n, sizeof(double)),
                                      allocate(B * n, sizeof(double))};
        struct gc_tensor *t = gc_add(&check, p->name, p->value, p->grad, p->rows, p->cols);
        t->measured = tensor[i].numeric;
        t->noise = tensor[i].noise;
        t->share = tensor[i].share;
    }
    size_t unit[MAX_DEPTH + 1] = {0}; /* where the units of each layer begin */
    for (size_t l = 0; l < net->depth; l++) {
        const struct layer *y = &net->layer[l];
        unit[l + 1] = unit[l] + y->out;
        q.widest = y->out > q.widest ? y->out : q.widest;
        q.q[l] = allocate(B * y->out, sizeof(double));
        for (size_t k = 0; k < B * y->out; k++)
            q.q[l][k] = 1 / (1 + exp(-y->s[k]));
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic)
#endif
    for (size_t u = 0; u < unit[net->depth]; u++) {
        size_t l = 0;
        while (unit[l + 1] <= u)
            l++;
        measure_unit(tensor, &q, l, u - unit[l]);
    }
    int failed = table ? gc_run(&check) : gc_run_in_one_line(&check);
    failed += long_way(&w, &q) != 0;
    int all = check.entries == net->parameters && check.resolved == check.entries;
    if (!failed && !all)
        printf("  Only %zu of %zu parameters were tested.\n", check.resolved, net->parameters);
    for (size_t i = 0; i < net->tensors; i++) {
        free(tensor[i].numeric);
        free(tensor[i].noise);
        free(tensor[i].share);
    }
    for (size_t l = 0; l < net->depth; l++)
        free(q.q[l]);
    whole_free(&w);
    return failed || !all;
}

void every_parameter(void **state) {
    (void)state;
    assert_int_equal(check_every_parameter((size_t[]){PIXELS, 9, 5, 3}, 4,
                                           "chapter 11, 784-9-5-(3+3) and back, the short way", 0),
                     0);
}

void every_parameter_at_full_size(void **state) {
    (void)state;
    if (gc_quick())
        skip();
    int failed = check_every_parameter((size_t[]){PIXELS, 400, 100, 6}, 4,
                                       "chapter 11, all of 784-400-100-(6+6) and 6-100-400-784", 1);
    assert_int_equal(failed, 0);
}

/* --- the parts, one by one --------------------------------------------------------- */

/* What is right to this many digits, or a line that says what was expected. */
int near(const char *what, double value, double right, double most) {
    if (fabs(value - right) <= most)
        return 1;
    printf("%s is %.12g and should be %.12g\n", what, value, right);
    return 0;
}

/* One sixth of 0.10 + 0.20 + 0.15 + 0.25 + 0.05 + 0.25 = 1; for d numbers the sum is a product. */
void six_values_by_hand(void **state) {
    (void)state;
    uint64_t terms;
    for (size_t d = 1; d <= 5; d++) {
        assert_true(near("p(x)", sum_over_codes(d, &terms), pow(1.0 / 6, (double)d), 1e-15));
        assert_int_equal(terms, (uint64_t)round(pow(6, (double)d)));
    }
}

/* mu = 1: half a nat. Variance 4: (4 - 1 - log 4) / 2 nats. Standard normal: none. */
void kl_by_hand(void **state) {
    (void)state;
    const real code[] = {1, 0, 0, log(4), 0, 0, 0, 0, -2, 0.5, 0, -1};
    double kl[3];
    kl_forward(kl, code, 3, 2);
    assert_true(near("KL of mu = 1 and of variance 4", kl[0], 0.5 + (3 - log(4)) / 2, 1e-15));
    assert_true(near("KL of the prior itself", kl[1], 0, 0));
    assert_true(near("KL of mu = -2, 1/2 and logvar = 0, -1", kl[2], 2.125 + exp(-1) / 2, 1e-15));
}

/* Image k's losses by the plain formulas, with its noise, and its logits and code. */
struct parts plain_parts(struct vae *v, const struct images *images, size_t k, const real *noise,
                         real *code, real *xhat) {
    struct network *net = &v->net;
    size_t d = net->code;
    real x[PIXELS], z[16];
    struct parts sum = {0, 0, 0};
    assert_true(d <= 16);
    brightness(x, images->pixel + k * PIXELS, PIXELS);
    memcpy(code, network_forward(net, x, 0, net->half, 0, 1), 2 * d * sizeof *code);
    for (size_t j = 0; j < d; j++) {
        double mu = code[j], sigma = sqrt(exp(code[d + j]));
        z[j] = mu + sigma * noise[j];
        sum.kl += (sigma * sigma + mu * mu - 1) / 2 - log(sigma);
    }
    const real *logits = network_forward(net, z, net->half, net->depth, 0, 1);
    for (size_t p = 0; p < PIXELS; p++) {
        xhat[p] = 1 / (1 + exp(-logits[p]));
        sum.bce -= x[p] * log(xhat[p]) + (1 - x[p]) * log(1 - xhat[p]);
        sum.squared += (xhat[p] - x[p]) * (xhat[p] - x[p]);
    }
    return sum;
}

/* The means over more images than a batch holds, with noise and without; codes and pictures stand
   in their places. */
void evaluates_in_batches(void **state) {
    (void)state;
    enum { MANY = 2 * B + 2, CODE = 4 };
    struct random r;
    struct whole w = whole_new((size_t[]){PIXELS, 5, CODE}, 3, TANH, 3, 255);
    random_seed(&r, 6);
    struct images images = some_images(MANY, 255, &r);
    real code[MANY * 2 * CODE], noise[MANY * CODE] = {0}, one_code[2 * CODE], one_xhat[PIXELS],
                                             *xhat = numbers(MANY * PIXELS);
    size_t wrong = 0;
    for (int noisy = 0; noisy < 2; noisy++) {
        struct random drawn, again;
        random_seed(&drawn, 8);
        random_seed(&again, 8);
        struct parts sum = {0, 0, 0};
        struct parts all = vae_evaluate(&w.v, &images, MANY, noisy ? &drawn : NULL, code, xhat);
        for (size_t start = 0; noisy && start < MANY; start += B)
            random_normal(noise + start * CODE, least(B, MANY - start) * CODE, &again);
        for (size_t k = 0; k < MANY; k++) {
            struct parts one = plain_parts(&w.v, &images, k, noise + k * CODE, one_code, one_xhat);
            sum.bce += one.bce / MANY;
            sum.kl += one.kl / MANY;
            sum.squared += one.squared / MANY;
            for (size_t j = 0; j < 2 * CODE; j++)
                wrong += !(fabs(code[k * 2 * CODE + j] - one_code[j]) < 1e-13);
            for (size_t p = 0; p < PIXELS; p++)
                wrong += !(fabs(xhat[k * PIXELS + p] - one_xhat[p]) < 1e-13);
        }
        if (wrong)
            printf(
                "%zu numbers of codes and pictures are not what the network says of each image\n",
                wrong);
        wrong += !near("cross-entropy", all.bce, sum.bce, 1e-10);
        wrong += !near("KL", all.kl, sum.kl, 1e-12);
        wrong += !near("squared error", all.squared, sum.squared, 1e-11);
        wrong += !near(noisy ? "-ELBO" : "-ELBO at mu", all.bce + all.kl, sum.bce + sum.kl, 1e-10);
        assert_int_equal(wrong, 0);
    }
    free(xhat);
    free_images(&images);
    whole_free(&w);
}

/* A step moves the parameters as Adam does, renews the transposed copies, and tells the sums over
   the batch, in which beta is not. */
void one_step_of_training(void **state) {
    (void)state;
    struct whole w = whole_new((size_t[]){PIXELS, 8, 3}, 3, ELU, 2, 255);
    struct network *net = &w.v.net;
    size_t n = net->parameters, stale = 0;
    real *before = numbers(n), code[6], xhat[PIXELS];
    struct parts sum = {0, 0, 0};
    for (size_t k = 0; k < B; k++) {
        struct parts one = plain_parts(&w.v, &w.images, k, w.v.noise + 3 * k, code, xhat);
        sum.bce += one.bce;
        sum.kl += one.kl;
        sum.squared += one.squared;
    }
    struct adam plain = adam_new(n);
    memcpy(before, net->value, n * sizeof(real));
    memcpy(plain.m, w.v.adam.m, n * sizeof *plain.m);
    memcpy(plain.v, w.v.adam.v, n * sizeof *plain.v);
    plain.steps = w.v.adam.steps;
    struct parts told = vae_step(&w.v, &w.images, w.order, B, 0.01);
    adam_step(&plain, before, net->grad, 0.01); /* the gradient itself is checked above */
    for (size_t k = 0; k < n; k++)
        assert_true(fabs(before[k] - net->value[k]) < 1e-12);
    assert_int_equal(w.v.adam.steps, plain.steps);
    assert_true(near("cross-entropy of a batch", told.bce, sum.bce, 1e-10) &&
                near("KL of a batch", told.kl, sum.kl, 1e-11) &&
                near("squared error of a batch", told.squared, sum.squared, 1e-10));
    for (size_t l = 1; l < net->depth; l++) {
        const struct layer *y = &net->layer[l];
        for (size_t k = 0; k < y->in * y->out; k++)
            stale += y->Wt[k % y->out * y->in + k / y->out] != y->W[k];
    }
    if (stale)
        printf("After a step of training %zu weights have changed and their transposed copies have "
               "not.\n",
               stale);
    assert_int_equal(stale, 0);
    adam_free(&plain);
    free(before);
    whole_free(&w);
}

/* A batch that does not divide evenly among the cores, evaluation, and weights of draws: the same
   to the last bit for one core, two and three. */
void same_for_any_number_of_cores(void **state) {
    (void)state;
    enum { MANY = 50, CODE = 5, DRAWS = 130 };
#ifdef _OPENMP
    size_t usual = (size_t)omp_get_max_threads();
#else
    size_t usual = 1;
#endif
    struct random r;
    random_seed(&r, 31);
    struct images images = some_images(MANY, 255, &r);
    size_t order[MANY];
    shuffle(order, MANY, &r);
    struct vae v[3];
    struct parts seen[3][4];
    double logw[3][DRAWS];
    real *code[3], *xhat[3], x[PIXELS];
    brightness(x, images.pixel, PIXELS);
    for (size_t n = 0; n < 3; n++) {
        random_seed(&r, 32);
        v[n] = vae_new((size_t[]){PIXELS, 37, 19, CODE}, 4, SILU, MANY, 1);
        network_start(&v[n].net, &r);
        network_transpose(&v[n].net);
        code[n] = numbers(MANY * 2 * CODE);
        xhat[n] = numbers(MANY * PIXELS);
        use_threads(n + 1);
        for (size_t step = 0; step < 3; step++) {
            random_normal(v[n].noise, MANY * CODE, &r);
            seen[n][step] = vae_step(&v[n], &images, order, step == 1 ? 43 : MANY, 0.01);
        }
        seen[n][3] = vae_evaluate(&v[n], &images, 47, &r, code[n], xhat[n]);
        importance_weights(logw[n], &v[n], x, code[n], DRAWS, 7);
        use_threads(usual);
    }
    for (size_t n = 1; n < 3; n++) {
        assert_memory_equal(v[0].net.value, v[n].net.value, v[0].net.parameters * sizeof(real));
        assert_memory_equal(code[0], code[n], MANY * 2 * CODE * sizeof(real));
        assert_memory_equal(xhat[0], xhat[n], MANY * PIXELS * sizeof(real));
        assert_memory_equal(seen[0], seen[n], sizeof seen[0]);
        assert_memory_equal(logw[0], logw[n], sizeof logw[0]);
    }
    for (size_t n = 0; n < 3; n++) {
        vae_free(&v[n]);
        free(code[n]);
        free(xhat[n]);
    }
    free_images(&images);
}

/* --- what log p(x) is ---------------------------------------------------------------- */

void log_mean_exp_by_hand(void **state) {
    (void)state;
    const double a[] = {0, log(3), -1000, -1000 + log(3), 1000, -1000, log(5), log(7)};
    assert_true(near("log of the mean of 1 and 3", log_mean_exp(a, 2), log(2), 1e-15));
    assert_true(near("the same, both times e^-1000", log_mean_exp(a + 2, 2), log(2) - 1000, 1e-12));
    assert_true(near("of e^1000 and e^-1000", log_mean_exp(a + 4, 2), 1000 - log(2), 1e-12));
    assert_true(near("of one number", log_mean_exp(a + 5, 1), -1000, 0));
    const double w[] = {a[0], a[1], a[6], a[7]}; /* logs of 1, 3, 5, 7 */
    assert_true(near("L_1", importance_bound(w, 4, 1), log(105) / 4, 1e-15));
    assert_true(near("L_2", importance_bound(w, 4, 2), log(2 * 6) / 2, 1e-15));
    assert_true(near("L_4", importance_bound(w, 4, 4), log(4), 1e-15));
}

/* Where each K divides the next, the groups nest, and what Jensen's inequality says of a mean holds
   for every set of draws, not only on average. */
void bounds_rise_for_certain(void **state) {
    (void)state;
    static const size_t K[] = {1, 2, 10, 50, 250, 1000, 5000};
    double logw[5000];
    struct random r;
    for (uint64_t seed = 0; seed < 50; seed++) {
        random_seed(&r, seed);
        for (size_t k = 0; k < 5000; k++)
            logw[k] = random_uniform(&r, -120, -80) * random_uniform(&r, 0, 2);
        for (size_t i = 1; i < sizeof K / sizeof *K; i++)
            assert_true(importance_bound(logw, 5000, K[i]) >=
                        importance_bound(logw, 5000, K[i - 1]));
    }
}

/* log of the density of a normal distribution */
double log_normal(double z, double mu, double logvar) {
    return -(log(2 * acos(-1.0)) + logvar + (z - mu) * (z - mu) / exp(logvar)) / 2;
}

/* The log weight of one draw with its own noise, by the plain formulas. */
double plain_weight(struct vae *v, const real *x, const real *code, const real *noise) {
    size_t d = v->net.code;
    real z[4];
    struct losses example;
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        z[j] = code[j] + exp(code[d + j] / 2) * noise[j];
        sum += log_normal(z[j], 0, 0) - log_normal(z[j], code[j], code[d + j]);
    }
    losses_of_images(&example, NULL, network_forward(&v->net, z, v->net.half, v->net.depth, 0, 1),
                     x, 1, BCE, 0, 1);
    return sum - example.bce;
}

void weights_of_draws(void **state) {
    (void)state;
    enum { DRAWS = 20, CODE = 3 };
    const real code[2 * CODE] = {0.3, -1, 2, -1, 0.5, -3}, prior[2 * CODE] = {0};
    struct whole w = whole_new((size_t[]){PIXELS, 4, CODE}, 3, SILU, 1, 255);
    struct vae *v = &w.v;
    struct layer *first = &v->net.layer[v->net.half];
    double logw[DRAWS];
    real x[PIXELS], noise[CODE];
    brightness(x, w.images.pixel, PIXELS);
    for (int which = 0; which < 2; which++) {
        importance_weights(logw, v, x, which ? prior : code, DRAWS, 40);
        for (uint64_t k = 0; k < DRAWS; k++) {
            struct random own;
            random_seed(&own, 40 + k);
            random_normal(noise, CODE, &own);
            assert_true(near("the log weight of a draw", logw[k],
                             plain_weight(v, x, which ? prior : code, noise), 1e-10));
        }
    }
    /* A decoder that does not listen: the posterior is the prior, all its weights are p(x). */
    memset(first->W, 0, first->in * first->out * sizeof(real));
    importance_weights(logw, v, x, prior, DRAWS, 40);
    for (size_t k = 1; k < DRAWS; k++)
        assert_true(near("a weight with the posterior as q", logw[k], logw[0], 0));
    assert_true(near("log p(x)", logw[0], plain_weight(v, x, prior, noise), 1e-10));
    whole_free(&w);
}

/* With a code of one number the integral can be done by a sum over a fine grid. The mean of the
   weights must hit it within its error bar, whatever q is; the mean of their logs is below. */
void integral_over_one_number(void **state) {
    (void)state;
    enum { DRAWS = 1000 };
    struct whole w = whole_new((size_t[]){PIXELS, 4, 1}, 3, TANH, 1, 255);
    struct vae *v = &w.v;
    struct layer *first = &v->net.layer[v->net.half];
    const real code[][2] = {{0, 0}, {0.4, -0.2}, {-0.3, 0.3}}, prior[2] = {0};
    double *logw = allocate(DRAWS, sizeof *logw), sum = 0, step = 0.05;
    real x[PIXELS];
    for (size_t k = 0; k < first->in * first->out; k++)
        first->W[k] *= 0.01; /* so that p(x|z) is not all at one place */
    brightness(x, w.images.pixel, PIXELS);
    double top = plain_weight(v, x, prior, prior);
    for (double z = -9; z < 9; z += step)
        sum += step * exp(plain_weight(v, x, prior, &z) + log_normal(z, 0, 0) - top);
    double log_p = top + log(sum);
    for (int q = 0; q < 3; q++) {
        importance_weights(logw, v, x, code[q], DRAWS, 1000);
        double mean = exp(log_mean_exp(logw, DRAWS) - log_p), square = 0;
        for (size_t k = 0; k < DRAWS; k++)
            square += pow(exp(logw[k] - log_p) - mean, 2) / DRAWS;
        assert_true(near("the mean weight over p(x)", mean, 1, 4 * sqrt(square / DRAWS)));
        assert_true(square > 1e-4 && importance_bound(logw, DRAWS, 1) < log_p - 1e-4);
    }
    free(logw);
    whole_free(&w);
}

/* Two codes of two numbers: mu = 1 and 3 in the first, 1/2 in both in the second. */
void active_units_by_hand(void **state) {
    (void)state;
    const real code[] = {1, 0.5, 0, log(2), 3, 0.5, log(3), 0};
    double activity[2], kl[2], rows[2];
    active_units(activity, kl, code, 2, 2);
    assert_true(near("activity", activity[0], 1, 1e-15));
    assert_true(near("activity of what never moves", activity[1], 0, 1e-15));
    assert_true(near("its KL", kl[0], (0.5 + 4.5 + (2 - log(3)) / 2) / 2, 1e-15));
    assert_true(near("its KL", kl[1], (0.25 + (1 - log(2)) / 2) / 2, 1e-15));
    kl_forward(rows, code, 2, 2);
    assert_true(near("the KL of all", kl[0] + kl[1], (rows[0] + rows[1]) / 2, 1e-15));
}

void quantiles_from_a_table(void **state) {
    (void)state;
    static const double table[][2] = {{0.5, 0},
                                      {0.8413447460685429, 1},
                                      {0.975, 1.959963984540054},
                                      {0.999, 3.090232306167813},
                                      {0.1, -1.2815515655446004},
                                      {1e-6, -4.753424308822899}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        assert_true(near("a normal quantile", normal_quantile(table[k][0]), table[k][1], 1e-12));
}

/* --- files ------------------------------------------------------------------------- */

char scratch[] = "build/vaeXXXXXX";
const char *file(const char *name) {
    static char path[64];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

int make_scratch(void **state) {
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

int remove_scratch(void **state) {
    (void)state;
    remove(file("w.safetensors"));
    return rmdir(scratch);
}

/* What a child has not given back when it refuses a file is no leak. */
void leave(void) {
    _exit(1);
}

/* What is saved comes back; the weights of an autoencoder of the same --layers are refused: its
   encoder says six numbers where ours says twelve. */
void weights_in_a_file(void **state) {
    (void)state;
    static const size_t size[] = {7, 5, 3};
    struct network net[3] = {network_new(size, 3, 2, SILU, 1), network_new(size, 3, 2, SILU, 1),
                             network_new(size, 3, 1, SILU, 1)};
    struct random r;
    random_seed(&r, 9);
    for (size_t k = 0; k < net[0].parameters; k++)
        net[0].value[k] = (float)random_uniform(&r, -1, 1);
    save_weights(&net[0], file("w.safetensors"));
    load_weights(&net[1], file("w.safetensors"));
    assert_memory_equal(net[0].value, net[1].value, net[0].parameters * sizeof(real));
    save_weights(&net[2], file("w.safetensors"));
    char said[512] = "";
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork(); /* the program ends when it refuses a file */
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        atexit(leave);
        load_weights(&net[1], file("w.safetensors"));
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n = 1; n > 0 && length<sizeof said - 1; length += n> 0 ? (size_t)n : 0)
        n = read(ends[0], said + length, sizeof said - 1 - length);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_non_null(strstr(said, "this network needs 6 x 5: give the --layers"));
    assert_ptr_equal(strchr(said, '\n'), said + length - 1);
    for (size_t k = 0; k < 3; k++)
        network_free(&net[k]);
}

#ifdef EXERCISE
#include EXERCISE

/* --- the judge of the exercise ------------------------------------------------------ */
enum { DRAWN = 4, CODE = 3, SEEN = 7 };

/* A batch of codes, the draws from each, and a small decoder: SEEN pixels, logits A z. `more` is
   added to bce twice: to that of each draw, where the check nudges it, and to all, where it makes
   the weights as small as those of an image. */
struct bound {
    real code[B * 2 * CODE], dcode[B * 2 * CODE], noise[B * DRAWN * CODE], z[B * DRAWN * CODE];
    real A[CODE * SEEN], dA[CODE * SEEN], x[B * SEEN];
    double more[B * DRAWN], share[B * DRAWN], logw[B * DRAWN], all;
};

double bound_loss(void *context, double *example) {
    struct bound *t = context;
    double loss = 0;
    for (size_t r = 0; r < B; r++) {
        double bce[DRAWN];
        const real *code = t->code + 2 * r * CODE;
        for (size_t k = 0; k < DRAWN; k++) {
            size_t draw = r * DRAWN + k;
            real *z = t->z + draw * CODE;
            reparameterize(z, code, t->noise + draw * CODE, 1, CODE);
            bce[k] = t->more[draw] + t->all;
            for (size_t p = 0; p < SEEN; p++) {
                double s = 0;
                for (size_t j = 0; j < CODE; j++)
                    s += t->A[j * SEEN + p] * z[j];
                bce[k] += log(1 + exp(s)) - s * t->x[r * SEEN + p];
            }
        }
        size_t at = r * DRAWN;
        loss += example[r] = bound_forward(t->logw + at, bce, t->z + at * CODE, code,
                                           t->noise + at * CODE, DRAWN, CODE);
    }
    return loss;
}

/* What comes back from the decoder, where share says how much each draw's bce counts. dz (rows of
   all draws) and dA. */
void bound_decoder(real *dz, struct bound *t, const double *share) {
    memset(t->dA, 0, sizeof t->dA);
    memset(dz, 0, B * DRAWN * CODE * sizeof *dz);
    for (size_t draw = 0; draw < B * DRAWN; draw++)
        for (size_t p = 0; p < SEEN; p++) {
            double s = 0;
            for (size_t j = 0; j < CODE; j++)
                s += t->A[j * SEEN + p] * t->z[draw * CODE + j];
            double ds = share[draw] * (1 / (1 + exp(-s)) - t->x[draw / DRAWN * SEEN + p]);
            for (size_t j = 0; j < CODE; j++) {
                dz[draw * CODE + j] += ds * t->A[j * SEEN + p];
                t->dA[j * SEEN + p] += ds * t->z[draw * CODE + j];
            }
        }
}

void bound_gradient(void *context) {
    struct bound *t = context;
    double example[B];
    real dz[B * DRAWN * CODE];
    bound_loss(t, example);
    memset(t->share, 0, sizeof t->share);
    memset(t->dcode, 0, sizeof t->dcode);
    for (size_t r = 0; r < B; r++)
        bound_shares(t->share + r * DRAWN, t->logw + r * DRAWN, DRAWN);
    bound_decoder(dz, t, t->share);
    for (size_t r = 0; r < B; r++) {
        size_t at = r * DRAWN;
        bound_backward(t->dcode + 2 * r * CODE, dz + at * CODE, t->share + at, t->z + at * CODE,
                       t->code + 2 * r * CODE, t->noise + at * CODE, DRAWN, CODE);
    }
}

/* --- end of the judge of the exercise ------------------------------------------------ */

/* What the usual mistakes would give, from the shares as they should be. */
void foresee_bound(struct whole *w, struct gc_tensor *bce, struct gc_tensor *code,
                   struct bound *t) {
    static const char *const of_bce[] = {
        "Each draw counts 1/K, as in the ELBO, a mean of logs; here it is w_k over their sum.",
        "These are the weights themselves: they must be divided by their sum.",
        "Only the best draw counts: that is the gradient of the largest, not of the mean."};
    static const char *const of_code[] = {
        "What comes through the decoder is there, the rest of log w is missing: log p(z) depends "
        "on z, log q(z) on logvar.",
        "log p(z) is forgotten: z_k stands in log w_k, too, and adds its share of z_k to dz_k.",
        "In log w_k stands logvar itself: its -1/2, of each share, is missing.",
        "The -1/2 of logvar is there once for each draw: it must be multiplied by the share.",
        "The sign of logvar's own half is flipped: log w_k contains plus logvar / 2, the loss is "
        "minus its log.",
        "z_k from log p(z) is added whole: it must be multiplied by the share of the draw.",
        "z_k from log p(z) is divided by K: it must be multiplied by the share of the draw.",
        "What log p(z) adds to dz reaches mu, and not logvar: z_k depends on both.",
        "logvar's own part is the KL's, (e^logvar - 1) / 2: here e^logvar comes by way of z_k and "
        "noise_k, and only the -1/2 is its own.",
        "The sign of what log p(z) adds is flipped: the loss is minus a log, so z pulls with plus.",
        "dz is multiplied by the share once more: it came with it.",
        "This adds the KL in closed form. It is a mean over all z; here the draws at hand are "
        "weighted, with z_k and noise_k of their own.",
        "What logvar collects from z lacks the noise.",
        "What logvar collects from z lacks sigma.",
        "What logvar collects from z lacks the half: sigma is e^(logvar/2).",
        "Only what log p(z) adds to dz reaches mu, what comes through the decoder is missing.",
        "mu has what the last draw gives: an = stands where += is meant.",
        "logvar has what the last draw gives: an = stands where += is meant.",
        "This is what the last draw gives: an = stands where += is meant."};
    enum { BCES = sizeof of_bce / sizeof *of_bce, CODES = sizeof of_code / sizeof *of_code };
    double *g[BCES], *h[CODES], share[B * DRAWN];
    real dz[B * DRAWN * CODE];
    for (size_t n = 0; n < BCES; n++)
        g[n] = foresee(w, bce, of_bce[n]);
    for (size_t n = 0; n < CODES; n++)
        h[n] = foresee(w, code, of_code[n]);
    for (size_t draw = 0; draw < B * DRAWN; draw++) {
        const double *logw = t->logw + draw / DRAWN * DRAWN;
        double sum = 0, most = -INFINITY;
        for (size_t k = 0; k < DRAWN; k++) {
            sum += exp(logw[k]);
            most = fmax(most, logw[k]);
        }
        share[draw] = exp(t->logw[draw]) / sum;
        g[0][draw] = 1.0 / DRAWN;
        g[1][draw] = exp(t->logw[draw]);
        g[2][draw] = t->logw[draw] == most;
    }
    bound_decoder(dz, t, share);
    for (size_t i = 0; i < B * DRAWN * CODE; i++) {
        size_t draw = i / CODE, to = draw / DRAWN * 2 * CODE + i % CODE;
        double q = share[draw], z = t->z[i], e = t->noise[i], logvar = t->code[to + CODE];
        double slope = e * exp(logvar / 2) / 2, own = -q / 2, a = dz[i] + q * z;
        double kl = draw % DRAWN == 0; /* once for each code */
        const double wrong[CODES][2] = {
            {dz[i], dz[i] * slope},
            {dz[i], dz[i] * slope + own},
            {a, a * slope},
            {a, a * slope - 0.5},
            {a, a * slope - own},
            {dz[i] + z, (dz[i] + z) * slope + own},
            {dz[i] + z / DRAWN, (dz[i] + z / DRAWN) * slope + own},
            {a, dz[i] * slope + own},
            {a, a * slope + q * (exp(logvar) - 1) / 2},
            {dz[i] - q * z, (dz[i] - q * z) * slope + own},
            {q * dz[i] + q * z, (q * dz[i] + q * z) * slope + own},
            {dz[i] + kl * t->code[to], dz[i] * slope + kl * (exp(logvar) - 1) / 2},
            {a, a * slope / e + own},
            {a, a * e / 2 + own},
            {a, a * slope * 2 + own},
            {q * z, q * z * slope + own},
            {a, a * slope + own},
            {a, a * slope + own},
            {a, a * slope + own}};
        for (size_t n = 0; n < CODES; n++) {
            /* In the last three the last draw's takes the place of those before: in mu, in logvar,
               in both. */
            int mu_alone = n + 3 == CODES || n + 1 == CODES, logvar_alone = n + 2 >= CODES;
            h[n][to] = (mu_alone ? 0 : h[n][to]) + wrong[n][0];
            h[n][to + CODE] = (logvar_alone ? 0 : h[n][to + CODE]) + wrong[n][1];
        }
    }
}

void exercise(void **state) {
    (void)state;
    static struct bound t;
    struct whole w = {.guesses = 0};
    struct random r;
    double example[B];
    random_seed(&r, 15);
    fill(t.code, B * 2 * CODE, -1, 1, &r);
    fill(t.A, CODE * SEEN, -1, 1, &r);
    fill(t.x, B * SEEN, 0, 1, &r);
    random_normal(t.noise, B * DRAWN * CODE, &r);
    bound_loss(&t, example);
    struct gradcheck check = {.title = "exercise 11, the tighter bound as a loss",
                              .loss = bound_loss,
                              .backward = bound_gradient,
                              .net = &t,
                              .batch = B};
    gc_size(&check, "the number of draws", DRAWN);
    struct gc_tensor *code = gc_add(&check, "code", t.code, t.dcode, B, 2 * CODE);
    gc_add(&check, "decoder", t.A, t.dA, CODE, SEEN);
    struct gc_tensor *bce = gc_add(&check, "cross-entropies", t.more, t.share, B, DRAWN);
    foresee_bound(&w, bce, code, &t);
    int failed = gc_run(&check);
    double usual[B * DRAWN];
    memcpy(usual, t.share, sizeof usual);
    for (int sign = 1; sign >= -1; sign -= 2) {
        t.all = sign * 1000; /* no share changes when every bce grows */
        bound_gradient(&t);
        for (size_t k = 0; !failed && k < B * DRAWN; k++)
            if (!(fabs(t.share[k] - usual[k]) < 1e-9)) {
                printf("With weights of e^%d the share of draw %zu is %g, not %g: take the largest "
                       "out of the powers first, as log_mean_exp does.\n",
                       -sign * 1000, k, t.share[k], usual[k]);
                failed = 1;
            }
    }
    for (size_t k = 0; k < w.guesses; k++)
        free(w.guess[k]);
    assert_int_equal(failed, 0);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {cmocka_unit_test(exercise)};
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(six_values_by_hand),
        cmocka_unit_test(kl_by_hand),
        cmocka_unit_test(silu_and_beta_4),
        cmocka_unit_test(the_kl_alone),
        cmocka_unit_test(several_betas),
        cmocka_unit_test(each_activation),
        cmocka_unit_test(noise_must_be_frozen),
        cmocka_unit_test(the_decoder_is_not_in_the_kl),
        cmocka_unit_test(evaluates_in_batches),
        cmocka_unit_test(one_step_of_training),
        cmocka_unit_test(same_for_any_number_of_cores),
        cmocka_unit_test(log_mean_exp_by_hand),
        cmocka_unit_test(bounds_rise_for_certain),
        cmocka_unit_test(weights_of_draws),
        cmocka_unit_test(integral_over_one_number),
        cmocka_unit_test(active_units_by_hand),
        cmocka_unit_test(quantiles_from_a_table),
        cmocka_unit_test(weights_in_a_file),
        cmocka_unit_test(every_parameter),
        cmocka_unit_test(every_parameter_at_full_size),
    };
#endif
    int failed = cmocka_run_group_tests(tests, make_scratch, remove_scratch);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
