/* test_evidence.c: every gradient of chapter 12 against finite differences, in double: the bound
   from K draws through the whole network, its weights alone, and the code of a single image. Run
   with a file name it writes there what the check measured. It has much to calculate, so it is
   built like the program. */
#define WORKBOOK_TEST
#define REAL double
#include "evidence.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { MOST = 9, HIDDEN = 4, D = 2 };

/* --- the check of the bound --------------------------------------------------- */
struct whole {
    struct iwae y; /* 784-4-(2,2)-4-784 */
    struct images images;
    size_t order[MOST], B;
    int cores;
};

/* The loss of the whole batch, -L_K, from the logits on. The program's own, to the
   last operation. */
double from_logits(void *context, double *example) {
    struct whole *w = context;
    struct iwae *y = &w->y;
    size_t K = y->draws;
    double loss = 0;
    iwae_losses(y, NULL, y->vae.net.layer[y->vae.net.depth - 1].h, w->B, w->B * K);
    for (size_t r = 0; r < w->B; r++)
        loss += example[r] = -importance_bound(y->logw + r * K, K, K) / (double)w->B;
    return loss;
}

double from_z(void *context, double *example) {
    struct whole *w = context;
    struct network *net = &w->y.vae.net;
    network_forward(net, w->y.vae.z, net->half, net->depth, w->B * w->y.draws);
    return from_logits(w, example);
}

/* From the code on: what the encoder says is nudged, so it must not say it again. */
double from_code(void *context, double *example) {
    struct whole *w = context;
    struct vae *v = &w->y.vae;
    reparameterize(v->z, v->net.layer[v->net.half - 1].h, v->noise, w->B * w->y.draws, D);
    return from_z(w, example);
}

double whole_loss(void *context, double *example) {
    struct whole *w = context;
    vae_forward(&w->y.vae, w->B * w->y.draws);
    return from_logits(w, example);
}

/* All gradients, from a step of training itself, at rate zero. */
void whole_backward(void *context) {
    struct whole *w = context;
    USE_CORES(w->cores);
    iwae_step(&w->y, &w->images, w->order, w->B, 0);
    USE_CORES(1);
}

/* --- end of the check of the bound ---------------------------------------------- */

/* Black and white: then no pixel is nearly right, and no gradient too small to be seen. */
struct images some_images(size_t n, struct random *r) {
    struct images images = {n, allocate(n * PIXELS, 1), NULL};
    for (size_t i = 0; i < n * PIXELS; i++)
        images.pixel[i] = random_uniform(r, 0, 1) < 0.5 ? 0 : 255;
    return images;
}

/* The last layer's weights are small. 784 pixels differ by so many nats from draw to draw that one
   draw would have all the weight, and the others would not be tested. */
struct vae small_vae(size_t rows, struct random *r) {
    struct vae v = vae_new((size_t[]){PIXELS, HIDDEN, D}, 3, 2, SILU, rows, 1);
    network_start(&v.net, r);
    for (size_t l = 0; l < v.net.depth; l++)
        fill(v.net.layer[l].b, v.net.layer[l].out, r);
    struct layer *last = &v.net.layer[v.net.depth - 1];
    for (size_t k = 0; k < last->in * last->out; k++)
        last->W[k] *= 0.05;
    random_normal(v.noise, rows * D, r);
    network_transpose(&v.net);
    return v;
}

/* Mistakes that the check can name. Each is the right gradient with something changed:
     dlogits = w A (xhat - x) / B     dmu = (w A c + w P z) / B
     dlogvar = (w A c + w P z) noise sigma / 2B - w Q / B
   with c the derivative of the cross-entropy with respect to z, and A = P = 1, Q = 1/2. */
enum {
    ALIKE,
    UNNORMALISED,
    FORGOTTEN,
    MIXED,
    SQUARED_WEIGHT,
    FROM_HERE,
    NO_Z,
    MINUS_Z,
    WHOLE_Z,
    NO_LOGVAR,
    NO_HALF,
    PLUS_LOGVAR,
    UNWEIGHTED_PRIOR,
    KL_TOO,
    KL_INSTEAD,
    SLIPS
};
static const char *const slip_says[] = {
    "Every draw counts alike: this is the mean of the logarithms, not the logarithm of the mean.",
    "The weights are not normalised: each must be divided by the sum of the weights of its image.",
    "The weights w~ are forgotten: each draw counts as if it were alone.",
    "The weights are normalised over the whole batch; each image has a sum of its own.",
    "The cross-entropy's share is weighted twice.",
    "",
    "z does not collect from log p(z): w~ z / B is missing in dz.",
    "The sign of what z collects from log p(z) is flipped: -log p(z) = z^2/2 pulls z to 0.",
    "What z collects from log p(z) is not divided by B.",
    "logvar's own term in -log q is forgotten: -w~ / 2B.",
    "logvar stands in log w with a factor 1/2, and it is forgotten.",
    "The sign of logvar's own term is flipped: a wide q has a small density, which makes w large.",
    "What comes from log p(z) - log q is not weighted with w~.",
    "The KL in closed form is added, but log p(z) - log q stands in log w already.",
    "The KL in closed form stands where log p(z) - log q belongs, draw by draw."};

/* What mistake `slip` makes of dlogits (rows,784) and dcode (rows,2d). */
void predict(struct whole *w, int slip, double *dlogits, double *dcode) {
    struct vae *v = &w->y.vae;
    struct layer *said = &v->net.layer[v->net.half - 1], *last = &v->net.layer[v->net.depth - 1];
    size_t K = w->y.draws, rows = w->B * K;
    double example[MOST], B = (double)w->B, total = 0, h = 1e-5;
    whole_loss(w, example);
    double *logw = allocate(rows, sizeof *logw), *sum = allocate(rows, sizeof *sum);
    double *c = allocate(rows * D, sizeof *c);
    for (size_t r = 0; r < rows; r++) { /* once more, without the program's help */
        logw[r] = -v->example[r].bce;
        for (size_t j = 0; j < D; j++) {
            double e = v->noise[r * D + j], z = v->z[r * D + j];
            logw[r] += (e * e - z * z + said->h[2 * r * D + D + j]) / 2;
        }
        sum[r / K] += exp(logw[r] - logw[0]);
        total += exp(logw[r] - logw[0]);
    }
    for (size_t i = 0; i < rows * PIXELS; i++)
        dlogits[i] = 1 / (1 + exp(-last->h[i])) - v->x[i];
    for (size_t k = 0; k < rows * D; k++) {
        double keep = v->z[k];
        v->z[k] = keep + h;
        from_z(w, example);
        c[k] = v->example[k / D].bce / (2 * h);
        v->z[k] = keep - h;
        from_z(w, example);
        c[k] -= v->example[k / D].bce / (2 * h);
        v->z[k] = keep;
    }
    from_z(w, example);
    for (size_t r = 0; r < rows; r++) {
        double top = -INFINITY;
        for (size_t k = r / K * K; k < (r / K + 1) * K; k++)
            top = fmax(top, logw[k]);
        double right = exp(logw[r] - logw[0]) / sum[r / K], part = right;
        part = slip == ALIKE ? 1 / (double)K : slip == FORGOTTEN ? 1 : part;
        part = slip == UNNORMALISED ? exp(logw[r] - top) : part;
        part = slip == MIXED ? exp(logw[r] - logw[0]) / total : part;
        double prior = slip == UNWEIGHTED_PRIOR ? 1 : part;
        double A = slip == SQUARED_WEIGHT ? part * part : part;
        double P = slip == NO_Z || slip == KL_INSTEAD ? 0 : slip == MINUS_Z ? -1 : 1;
        P *= slip == WHOLE_Z ? B : 1;
        double Q = slip == NO_LOGVAR || slip == KL_INSTEAD ? 0 : slip == NO_HALF ? 1 : 0.5;
        Q *= slip == PLUS_LOGVAR ? -1 : 1;
        for (size_t i = 0; i < PIXELS; i++)
            dlogits[r * PIXELS + i] *= A / B;
        for (size_t j = 0; j < D; j++) {
            double mu = said->h[2 * r * D + j], logvar = said->h[2 * r * D + D + j];
            double dz = (A * c[r * D + j] + prior * P * v->z[r * D + j]) / B;
            double kl = slip == KL_TOO || slip == KL_INSTEAD ? 1 / B : 0;
            dcode[2 * r * D + j] = dz + kl * mu;
            dcode[2 * r * D + D + j] = dz * v->noise[r * D + j] * exp(logvar / 2) / 2 -
                                       prior * Q / B + kl * (exp(logvar) - 1) / 2;
        }
    }
    free(logw);
    free(sum);
    free(c);
}

int check_bound(size_t B, size_t K, int cores) {
    struct whole w = {.B = B, .cores = cores, .order = {0, 1, 2, 3, 4, 5, 6, 7, 8}};
    struct random r;
    random_seed(&r, 3);
    struct vae v = small_vae(B * K, &r);
    w.y = iwae_new(&v, K);
    w.images = some_images(B, &r);
    struct network *net = &w.y.vae.net;
    struct layer *said = &net->layer[net->half - 1], *last = &net->layer[net->depth - 1];
    size_t rows = B * K, wide = rows * PIXELS, narrow = rows * 2 * D;
    char title[96];
    snprintf(title, sizeof title, "chapter 12, the bound: %zu images, %zu draw%s, %d core%s", B, K,
             K > 1 ? "s" : "", cores, cores > 1 ? "s" : "");
    struct gradcheck check = {
        .title = title, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = B};
    whole_backward(&w);
    /* Of the two large weights and of the logits we need not see all where a mistake is planted. */
    int quick = gc_quick();
    for (size_t i = 0; i < 2 * net->half; i++)
        if (!quick || net->tensor[i].cols < PIXELS)
            add_tensors(&check, net->tensor + i, 1);
    struct gc_tensor *code = gc_add(&check, "code", said->h, said->d, rows, 2 * D);
    code->loss = from_code;
    for (size_t i = 2 * net->half; i < net->tensors; i++)
        if (!quick || net->tensor[i].rows < PIXELS || net->tensor[i].cols == 1)
            add_tensors(&check, net->tensor + i, 1);
    struct gc_tensor *logits =
        gc_add(&check, "logits", last->h, net->dlogits, quick ? K : rows, PIXELS);
    logits->loss = from_logits;
    double *predicted = allocate(SLIPS * (wide + narrow), sizeof *predicted);
    for (int slip = K > 1 ? ALIKE : NO_Z; slip < SLIPS; slip++) {
        double *dlogits = predicted + (size_t)slip * (wide + narrow), *dcode = dlogits + wide;
        predict(&w, slip, dlogits, dcode);
        if (slip < FROM_HERE)
            gc_foresee(logits, slip_says[slip], NULL, dlogits);
        else if (slip > FROM_HERE)
            gc_foresee(code, slip_says[slip], NULL, dcode);
    }
    int failed = gc_run(&check);
    free(predicted);
    return failed;
}

void bound_through_the_network(void **state) {
    (void)state;
    int failed = check_bound(2, 3, 1);
    if (!failed && !gc_quick()) /* the others are for what only they can show */
        failed = check_bound(2, 1, 1) + check_bound(MOST, 2, 2);
    assert_int_equal(failed, 0);
}

/* --- the check of the weights ------------------------------------------------- */
enum { GROUPS = 3, K = 5 };
struct alone {
    double logw[GROUPS * K], dlogw[GROUPS * K], part[GROUPS * K], moved[GROUPS * K];
};

/* Real weights are far below what e^x can hold, or far above it. Each group is moved that far, here
   and not in logw: the step of the check grows with the number that it nudges. */
void move(struct alone *a) {
    for (size_t k = 0; k < GROUPS * K; k++)
        a->moved[k] = a->logw[k] + (k < K ? -2000 : k < 2 * K ? 0 : 2000);
}

double alone_loss(void *context, double *example) {
    struct alone *a = context;
    double loss = 0;
    move(a);
    for (size_t r = 0; r < GROUPS; r++)
        loss += example[r] = -importance_bound(a->moved + r * K, K, K) / GROUPS;
    return loss;
}

void alone_backward(void *context) {
    struct alone *a = context;
    move(a);
    for (size_t r = 0; r < GROUPS; r++)
        normalise(a->part + r * K, a->moved + r * K, K);
    for (size_t k = 0; k < GROUPS * K; k++)
        a->dlogw[k] = -a->part[k] / GROUPS;
}

void weights_alone(void **state) {
    (void)state;
    struct alone a;
    struct random r;
    random_seed(&r, 5);
    fill(a.logw, GROUPS * K, &r);
    struct gradcheck check = {.title = "chapter 12, the weights alone",
                              .loss = alone_loss,
                              .backward = alone_backward,
                              .net = &a,
                              .batch = GROUPS};
    gc_size(&check, "the number of draws", K);
    gc_add(&check, "logw", a.logw, a.dlogw, GROUPS, K);
    assert_int_equal(gc_run(&check), 0);
}

/* --- the check of an image's own code ----------------------------------------- */
enum { COUNT = 3, TRIES = 4 };
struct own {
    struct vae v;
    double code[COUNT * 2 * D], dcode[COUNT * 2 * D];
};

/* The sum over the images of cross-entropy and KL, the first a mean over the draws: as chapter 11
   computes it. */
double own_loss(void *context, double *example) {
    struct own *o = context;
    struct network *net = &o->v.net;
    double loss = 0, kl[COUNT];
    for (size_t r = 0; r < COUNT * TRIES; r++)
        reparameterize(o->v.z + r * D, o->code + r / TRIES * 2 * D, o->v.noise + r * D, 1, D);
    losses_of_images(o->v.example, NULL,
                     network_forward(net, o->v.z, net->half, net->depth, COUNT * TRIES), o->v.x, 1,
                     BCE, COUNT * TRIES);
    normal_kl_forward(kl, o->code, COUNT, D);
    for (size_t i = 0; i < COUNT; i++) {
        example[i] = kl[i];
        for (size_t k = 0; k < TRIES; k++)
            example[i] += o->v.example[i * TRIES + k].bce / TRIES;
        loss += example[i];
    }
    return loss;
}

void own_backward(void *context) {
    struct own *o = context;
    memset(o->dcode, 0, sizeof o->dcode);
    network_zero(&o->v.net, COUNT * TRIES);
    code_gradient(&o->v, o->dcode, o->code, COUNT, TRIES);
}

void code_of_an_image(void **state) {
    (void)state;
    struct own o;
    struct random r;
    random_seed(&r, 7);
    o.v = small_vae(COUNT * TRIES, &r);
    struct images images = some_images(COUNT, &r);
    for (size_t k = 0; k < COUNT * TRIES; k++)
        brightness(o.v.x + k * PIXELS, images.pixel + k / TRIES * PIXELS, PIXELS);
    fill(o.code, COUNT * 2 * D, &r);
    struct gradcheck check = {.title = "chapter 12, the code of a single image",
                              .loss = own_loss,
                              .backward = own_backward,
                              .net = &o,
                              .batch = COUNT};
    gc_size(&check, "the number of draws", TRIES);
    struct gc_tensor *code = gc_add(&check, "code", o.code, o.dcode, COUNT, 2 * D);
    double whole_kl[COUNT * 2 * D], no_kl[COUNT * 2 * D]; /* the KL's share TRIES times, never */
    own_backward(&o);
    memset(no_kl, 0, sizeof no_kl);
    normal_kl_backward(no_kl, o.code, 1, COUNT, D);
    double example[COUNT], h = 1e-5;
    for (size_t k = 0; k < COUNT * 2 * D; k++) {
        double keep = o.code[k], kl = no_kl[k];
        o.code[k] = keep + h;
        double slope = own_loss(&o, example) / (2 * h);
        o.code[k] = keep - h;
        slope -= own_loss(&o, example) / (2 * h);
        o.code[k] = keep;
        no_kl[k] = slope - kl;
        whole_kl[k] = slope + (TRIES - 1) * kl;
    }
    gc_foresee(code, "The KL's share is missing.", NULL, no_kl);
    gc_foresee(code, "The KL is added once for each draw; an image has one.", NULL, whole_kl);
    assert_int_equal(gc_run(&check), 0);
}

/* --- by hand ------------------------------------------------------------------ */
/* The logarithm of a mean where no power fits into a double, and where it is known. */
void log_of_a_mean(void **state) {
    (void)state;
    double same[] = {-900, -900, -900}, large[] = {1000, 1000 + log(3.0)}, none[] = {-INFINITY, 0};
    double toy[] = {log(0.8), log(0.2), log(0.2), log(0.2)};
    assert_true(fabs(log_mean_exp(same, 3) + 900) < 1e-12);
    assert_true(fabs(log_mean_exp(large, 2) - 1000 - log(2.0)) < 1e-12);
    assert_true(fabs(log_mean_exp(none, 2) + log(2.0)) < 1e-12);
    assert_true(log_mean_exp(toy, 1) == toy[0]);
    /* groups of 1, 2 and 4: the mean of the logarithms, the logarithm of the mean, between them */
    assert_true(fabs(importance_bound(toy, 4, 1) - (log(0.8) + 3 * log(0.2)) / 4) < 1e-12);
    assert_true(fabs(importance_bound(toy, 4, 2) - (log(0.5) + log(0.2)) / 2) < 1e-12);
    assert_true(fabs(importance_bound(toy, 4, 4) - log(0.35)) < 1e-12);
}

/* With one number in the code log p(x) is an ordinary sum of fine steps. The mean weight of many
   draws agrees with it, whether they come from some q or from p(z). */
void many_draws_find_p(void **state) {
    (void)state;
    enum { MANY = 40000 };
    struct random r;
    random_seed(&r, 9);
    struct vae v = vae_new((size_t[]){PIXELS, HIDDEN, 1}, 3, 2, SILU, 64, 1);
    network_start(&v.net, &r);
    struct layer *last = &v.net.layer[v.net.depth - 1];
    for (size_t k = 0; k < last->in * last->out; k++)
        last->W[k] *= 0.2;
    struct images images = some_images(1, &r);
    double x[PIXELS], code[2][2] = {{0, 0}, {0.3, -0.5}}, sum = 0, step = 0.01, first = 0;
    double *logw = allocate(MANY, sizeof *logw);
    brightness(x, images.pixel, PIXELS);
    for (int k = -800; k <= 800; k++) {
        v.z[0] = k * step;
        const real *logits = network_forward(&v.net, v.z, v.net.half, v.net.depth, 1);
        losses_of_images(v.example, NULL, logits, x, 1, BCE, 1);
        first = k == -800 ? v.example[0].bce : first;
        sum += step * exp(first - v.example[0].bce - v.z[0] * v.z[0] / 2) / sqrt(2 * acos(-1.0));
    }
    for (int prior = 0; prior < 2; prior++) {
        importance_weights(logw, &v, x, code[prior], MANY, 1);
        double off = log_mean_exp(logw, MANY) - (log(sum) - first);
        if (fabs(off) > 0.02)
            fail_msg("log p(x) from %d draws is off by %g", MANY, off);
    }
    free(logw);
}

/* A step, the weights and the best codes are the same, to the last bit, on one core and on three.
   And the best codes are better than those they begin with. */
void any_number_of_cores(void **state) {
    (void)state;
    enum { DRAWN = 500, STEPS = 40 };
    double logw[2][DRAWN], code[2][COUNT * 2 * D] = {{0}}, dcode[COUNT * 2 * D], *value[2],
                                               before = 0, after = 0;
    size_t order[MOST] = {8, 7, 6, 5, 4, 3, 2, 1, 0}, parameters = 0;
    for (int many = 0; many < 2; many++) {
        struct random r;
        random_seed(&r, 11);
        USE_CORES(1 + 2 * many);
        struct vae v = small_vae(MOST * TRIES, &r);
        struct iwae y = iwae_new(&v, TRIES);
        struct images images = some_images(MOST, &r);
        double x[PIXELS];
        brightness(x, images.pixel, PIXELS);
        for (int step = 0; step < 3; step++)
            iwae_step(&y, &images, order, MOST, 0.01);
        importance_weights(logw[many], &y.vae, x, code[many], DRAWN, 1);
        before = importance_bound(logw[many], DRAWN, 1);
        struct adam adam = adam_new(COUNT * 2 * D);
        for (int step = 0; step < STEPS; step++)
            improve_codes(code[many], dcode, &adam, &y.vae, &images, COUNT, TRIES,
                          cosine_rate(0.1, (double)step / STEPS), &r);
        importance_weights(logw[many], &y.vae, x, code[many], DRAWN, 1);
        after = importance_bound(logw[many], DRAWN, 1);
        value[many] = y.vae.net.value;
        parameters = y.vae.net.parameters;
    }
    USE_CORES(1);
    assert_memory_equal(value[0], value[1], parameters * sizeof(double));
    assert_memory_equal(code[0], code[1], sizeof code[0]);
    assert_memory_equal(logw[0], logw[1], sizeof logw[0]);
    if (!(after > before))
        printf("the ELBO of the best code, %g, is not above that of the first, %g\n", after,
               before);
    assert_true(after > before);
}

int main(int argc, char **argv) {
    USE_CORES(1);
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(weights_alone),     cmocka_unit_test(bound_through_the_network),
        cmocka_unit_test(code_of_an_image),  cmocka_unit_test(log_of_a_mean),
        cmocka_unit_test(many_draws_find_p), cmocka_unit_test(any_number_of_cores),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
