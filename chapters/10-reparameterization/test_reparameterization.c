/* test_reparameterization.c: every gradient of chapter 10 against finite differences, in double: of
   each part, of the expectation itself by both ways through a draw, and of a whole network with its
   noise frozen; then the same network with its noise drawn anew, which must fail. Run with a file
   name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "reparameterization.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 4, D = 3, N = 7, HIDDEN = 5 };

void fill_between(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

/* --- the parts ------------------------------------------------------------------ */
/* A batch of codes. mu and logvar stand apart here, so that the check can speak of each; a code has
   them side by side in a row. */
struct cloud {
    real mu[B * D], logvar[B * D], dmu[B * D], dlogvar[B * D];
    real code[B * 2 * D], dcode[B * 2 * D], noise[B * D], z[B * D], dz[B * D];
    real c[B * D];    /* L = sum of c z + z^2/2, so that each entry has a slope of its own */
    double weight[B]; /* L = sum of weight log q */
    double kl[B], logq[B];
    enum way way; /* for the expectation over all noise */
};

void new_cloud(struct cloud *p, uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    memset(p, 0, sizeof *p);
    fill_between(p->mu, B * D, -2, 2, &r);
    fill_between(p->logvar, B * D, -2, 1, &r);
    fill_between(p->c, B * D, -3, 3, &r);
    fill_between(p->weight, B, 0.5, 2, &r);
    random_normal(p->noise, B * D, &r);
    fill_between(p->z, B * D, -2, 2, &r);
}

void pack(struct cloud *p) {
    memset(p->dcode, 0, sizeof p->dcode);
    for (size_t k = 0; k < B * D; k++) {
        p->code[k / D * 2 * D + k % D] = p->mu[k];
        p->code[k / D * 2 * D + D + k % D] = p->logvar[k];
    }
}

void unpack(struct cloud *p) {
    for (size_t k = 0; k < B * D; k++) {
        p->dmu[k] = p->dcode[k / D * 2 * D + k % D];
        p->dlogvar[k] = p->dcode[k / D * 2 * D + D + k % D];
    }
}

double draw_loss(void *net, double *example) {
    struct cloud *p = net;
    double loss = 0;
    pack(p);
    reparameterize(p->z, p->code, p->noise, B, D);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t k = r * D; k < (r + 1) * D; k++)
            example[r] += p->c[k] * p->z[k] + p->z[k] * p->z[k] / 2;
        loss += example[r];
    }
    return loss;
}

void draw_backward(void *net) {
    struct cloud *p = net;
    double example[B];
    draw_loss(p, example);
    for (size_t k = 0; k < B * D; k++)
        p->dz[k] = p->c[k] + p->z[k];
    reparameterize_backward(p->dcode, p->dz, p->code, p->noise, B, D);
    unpack(p);
}

double kl_loss(void *net, double *example) {
    struct cloud *p = net;
    double loss = 0;
    pack(p);
    normal_kl_forward(p->kl, p->code, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = p->kl[r] / B;
    return loss;
}

void kl_gradient(void *net) {
    struct cloud *p = net;
    pack(p);
    normal_kl_backward(p->dcode, p->code, 1 / (real)B, B, D);
    unpack(p);
}

double density_loss(void *net, double *example) {
    struct cloud *p = net;
    double loss = 0;
    pack(p);
    log_normal_forward(p->logq, p->z, p->code, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = p->weight[r] * p->logq[r];
    return loss;
}

void density_backward(void *net) {
    struct cloud *p = net;
    pack(p);
    log_normal_backward(p->dcode, p->weight, p->z, p->code, B, D);
    unpack(p);
}

/* --- what may go wrong ---------------------------------------------------------- */
/* A mistake that we can foresee: a sentence, and what the wrong gradient would be, as a FACTOR of
   the right one or as a whole GRADIENT, a formula in mu, variance, sigma, noise, away = z -
   mu, weight. */
#define FACTOR   1
#define GRADIENT 0
#define FORESEE(tensor, kind, formula, says)                                                       \
    do {                                                                                           \
        static double found[B * D];                                                                \
        for (size_t k = 0; k < B * D; k++) {                                                       \
            double mu = p.mu[k], variance = exp(p.logvar[k]), sigma = sqrt(variance);              \
            double noise = p.noise[k], away = p.z[k] - mu, weight = p.weight[k / D];               \
            (void)sigma, (void)noise, (void)away, (void)weight;                                    \
            found[k] = formula;                                                                    \
        }                                                                                          \
        gc_foresee(tensor, says, kind ? found : NULL, kind ? NULL : found);                        \
    } while (0)

/* Where the claim is what the text derives, and the difference is not, the loss itself is wrong. */
#define LOSS_IS_WRONG                                                                              \
    "This gradient is the one that the text derives. The loss is another: look at the forward "    \
    "pass."

struct gradcheck check_of(const char *title, void *net, double (*loss)(void *, double *),
                          void (*backward)(void *), size_t batch) {
    struct gradcheck check = {
        .title = title, .loss = loss, .backward = backward, .net = net, .batch = batch};
    return check;
}

void each_part(void **state) {
    (void)state;
    static struct cloud p;
    new_cloud(&p, 1);
    struct gradcheck check = check_of("chapter 10, z = mu + sigma noise, the noise frozen", &p,
                                      draw_loss, draw_backward, B);
    struct gc_tensor *m = gc_add(&check, "mu", p.mu, p.dmu, B, D);
    struct gc_tensor *s = gc_add(&check, "logvar", p.logvar, p.dlogvar, B, D);
    FORESEE(s, FACTOR, 1 / (2 * sigma),
            "The forward pass multiplies the noise by the variance e^logvar, where sigma = "
            "e^(logvar/2) is meant: the ratio equals 1 / (2 sigma).");
    FORESEE(s, FACTOR, sigma / 2,
            "The forward pass multiplies the noise by logvar itself, where sigma = e^(logvar/2) is "
            "meant: the ratio equals sigma / 2.");
    FORESEE(s, FACTOR, 2 * sigma,
            "The way back has the derivative of e^logvar, 2 sigma times too much: that of sigma = "
            "e^(logvar/2) is sigma/2.");
    FORESEE(s, FACTOR, 1 / sigma,
            "A factor sigma is missing: the derivative of e^(logvar/2) contains it again.");
    FORESEE(s, FACTOR, sigma, "A factor sigma is there once too often.");
    FORESEE(s, FACTOR, 1 / variance, "It is divided by sigma, where it should be multiplied.");
    FORESEE(s, FACTOR, 1 / noise,
            "The noise is missing: logvar moves z by sigma/2 times the noise.");
    FORESEE(m, FACTOR, 1 / (1 + sigma),
            "The ratio equals 1 / (1 + sigma): the noise was drawn from N(mu, sigma), so it moves "
            "with mu. Draw it from N(0,1).");
    FORESEE(m, FACTOR, sigma, "A factor sigma too many: mu moves z one to one.");
    int failed = gc_run(&check);

    new_cloud(&p, 2);
    check = check_of("chapter 10, the divergence from N(0,1)", &p, kl_loss, kl_gradient, B);
    m = gc_add(&check, "mu", p.mu, p.dmu, B, D);
    s = gc_add(&check, "logvar", p.logvar, p.dlogvar, B, D);
    FORESEE(s, GRADIENT, variance / 2 / B,
            "The -1 is missing: it is the derivative of the term logvar.");
    FORESEE(s, GRADIENT, (sigma - 1) / 2 / B, "sigma stands where sigma^2 = e^logvar is meant.");
    FORESEE(s, GRADIENT, (variance - 1) / 2 / B, LOSS_IS_WRONG);
    FORESEE(m, GRADIENT, mu / B, LOSS_IS_WRONG);
    failed += gc_run(&check);

    new_cloud(&p, 3);
    check = check_of("chapter 10, log q(z), with z held where it is", &p, density_loss,
                     density_backward, B);
    m = gc_add(&check, "mu", p.mu, p.dmu, B, D);
    s = gc_add(&check, "logvar", p.logvar, p.dlogvar, B, D);
    FORESEE(m, FACTOR, sigma, "The distance is divided by sigma, where sigma^2 is meant.");
    FORESEE(m, GRADIENT, weight * away / variance, LOSS_IS_WRONG);
    FORESEE(s, GRADIENT, weight * away * away / variance / 2,
            "The -1 is missing: a wider cloud is also a thinner one, and the term logvar in log q "
            "says so.");
    FORESEE(s, GRADIENT, weight * (away * away / variance - 1) / 2, LOSS_IS_WRONG);
    failed += gc_run(&check);
    assert_int_equal(failed, 0);
}

/* --- the expectation itself ----------------------------------------------------- */
/* A sum over a grid of noise, weighted with its density, is the expectation: for a smooth function
   the error of such a sum vanishes faster than any power of the spacing. Two coordinates. Where
   gradient (4) is not NULL it gets the sum of the estimates over the same grid. */
double over_all_noise(struct cloud *p, real *gradient) {
    enum { GRID = 49 };
    real code[4] = {p->mu[0], p->mu[1], p->logvar[0], p->logvar[1]}, z[2], dz[2];
    double sum = 0, f;
    for (size_t k = 0; k < GRID * GRID; k++) {
        real noise[2] = {-12 + 0.5 * (double)(k / GRID), -12 + 0.5 * (double)(k % GRID)},
             g[4] = {0};
        double at = 0.25 / (2 * acos(-1.0)) * exp(-(noise[0] * noise[0] + noise[1] * noise[1]) / 2);
        reparameterize(z, code, noise, 1, 2);
        distance_forward(&f, z, 1.25, 1, 2);
        sum += at * f;
        toy_estimate(p->way, g, z, dz, code, noise, 1.25, 3, 2);
        for (size_t i = 0; gradient && i < 4; i++)
            gradient[i] += at * g[i];
    }
    return sum;
}

double expectation(void *net, double *example) {
    return example[0] = over_all_noise(net, NULL);
}

void expected_estimate(void *net) {
    struct cloud *p = net;
    real gradient[4] = {0};
    over_all_noise(p, gradient);
    memcpy(p->dmu, gradient, 2 * sizeof *gradient);
    memcpy(p->dlogvar, gradient + 2, 2 * sizeof *gradient);
}

/* All three estimates are right on average: no bias, shown without a single random number. */
void unbiased(void **state) {
    (void)state;
    static const char *const title[WAYS] = {
        "chapter 10, the score function's estimate, averaged over all noise",
        "chapter 10, the same with a baseline",
        "chapter 10, the path's estimate, averaged over all noise"};
    static struct cloud p;
    int failed = 0;
    for (int way = 0; way < WAYS; way++) {
        new_cloud(&p, 5);
        p.way = way;
        struct gradcheck check = check_of(title[way], &p, expectation, expected_estimate, 1);
        gc_add(&check, "mu", p.mu, p.dmu, 1, 2);
        gc_add(&check, "logvar", p.logvar, p.dlogvar, 1, 2);
        failed += gc_run(&check);
    }
    assert_int_equal(failed, 0);
}

/* --- the whole network ---------------------------------------------------------- */
struct whole {
    struct coder c;
    real x[B * N], target[B * N], dx[B * N], noise[B * D];
    struct random random;
    int redrawn; /* draw the noise anew in each evaluation */
};

/* From the coder's last forward pass: each example's share of the mean. */
double shares(struct whole *w, double *example) {
    double loss = 0;
    for (size_t r = 0; r < B; r++)
        loss += example[r] = (w->c.bce[r] + w->c.kl[r]) / B;
    return loss;
}

double whole_loss(void *context, double *example) {
    struct whole *w = context;
    if (w->redrawn)
        random_normal(w->noise, B * D, &w->random);
    double loss = coder_loss(&w->c, w->x, w->target, w->noise, B);
    shares(w, example);
    return loss;
}

void whole_backward(void *context) {
    struct whole *w = context;
    memset(w->dx, 0, sizeof w->dx);
    if (w->redrawn)
        random_normal(w->noise, B * D, &w->random);
    coder_gradient(&w->c, PATH, 0, w->dx, w->x, w->target, w->noise, B);
}

/* From z on, and from the code on: what stands before is not computed again, because it would
   overwrite what the check has nudged. */
double loss_from_z(void *context, double *example) {
    struct whole *w = context;
    const real *logit = stack_forward(&w->c.decoder, w->c.z, B);
    bce_on_logits_forward(w->c.bce, logit, w->target, B, N);
    return shares(w, example);
}

double loss_from_code(void *context, double *example) {
    struct whole *w = context;
    reparameterize(w->c.z, w->c.code, w->noise, B, D);
    normal_kl_forward(w->c.kl, w->c.code, B, D);
    return loss_from_z(w, example);
}

void new_whole(struct whole *w, uint64_t seed) {
    memset(w, 0, sizeof *w);
    random_seed(&w->random, seed);
    w->c = coder_new(N, HIDDEN, D, B);
    fill(w->c.encoder.value, w->c.encoder.parameters, &w->random);
    fill(w->c.decoder.value, w->c.decoder.parameters, &w->random);
    /* so that each ReLU is open for some example, and no weight behind it goes untested */
    fill_between(w->c.encoder.layer[0].b, HIDDEN, 0.5, 1.5, &w->random);
    fill_between(w->c.decoder.layer[0].b, HIDDEN, 0.5, 1.5, &w->random);
    fill_between(w->x, B * N, 0, 1, &w->random);
    fill_between(w->target, B * N, 0, 1, &w->random);
    random_normal(w->noise, B * D, &w->random);
}

/* The right derivatives of the two terms by the code, by differences of our own. */
void measure_terms(struct whole *w, real *code, double *bce, double *kl) {
    double example[B], h = 1e-5;
    whole_loss(w, example);
    for (size_t k = 0; k < B * 2 * D; k++) {
        double keep = code[k];
        bce[k] = kl[k] = 0;
        for (int sign = -1; sign < 2; sign += 2) {
            code[k] = keep + sign * h;
            loss_from_code(w, example);
            for (size_t r = 0; r < B; r++) {
                bce[k] += sign * w->c.bce[r] / B / (2 * h);
                kl[k] += sign * w->c.kl[r] / B / (2 * h);
            }
        }
        code[k] = keep;
    }
    reparameterize(w->c.z, w->c.code, w->noise, B, D);
}

void foresee_code(struct gc_tensor *code, struct whole *w) {
    static double bce[B * 2 * D], kl[B * 2 * D], summed[B * 2 * D], minus[B * 2 * D],
        by_z[B * 2 * D];
    measure_terms(w, code->value, bce, kl);
    for (size_t k = 0; k < B * 2 * D; k++) {
        size_t of = k / (2 * D) * D + k % D; /* the noise that this mu or logvar goes with */
        summed[k] = bce[k] + kl[k] * B;
        minus[k] = bce[k] - kl[k];
        by_z[k] = (k / D % 2 ? bce[k] * w->c.z[of] / w->noise[of] : bce[k]) + kl[k];
    }
    gc_foresee(code, "This is the cross-entropy's share alone: the divergence is missing.", NULL,
               bce);
    gc_foresee(code, "This is the divergence's share alone: what comes back through z is lost.",
               NULL, kl);
    gc_foresee(code,
               "The divergence is summed over the batch, where the loss has its mean: its scale is "
               "1/B.",
               NULL, summed);
    gc_foresee(code, "The divergence is subtracted, where the loss has it added.", NULL, minus);
    gc_foresee(code, "The way back is given z where the noise is meant.", NULL, by_z);
}

struct gradcheck check_whole(const char *title, struct whole *w) {
    static char name[2][4][16];
    struct gradcheck check = check_of(title, w, whole_loss, whole_backward, B);
    gc_size(&check, "the number of pixels n", N);
    gc_add(&check, "x", w->x, w->dx, B, N);
    for (int part = 0; part < 2; part++) {
        struct stack *net = part ? &w->c.decoder : &w->c.encoder;
        for (size_t i = 0; i < net->tensors; i++) {
            struct tensor *p = &net->tensor[i];
            snprintf(name[part][i], sizeof name[0][0], "%s %.4s", part ? "decoder" : "encoder",
                     p->name);
            gc_add_weight(&check, name[part][i], p->value, p->grad, p->rows, p->cols);
        }
        if (part)
            continue;
        struct dense *last = &net->layer[1];
        struct gc_tensor *code = gc_add(&check, "code", last->h, last->d, B, 2 * D);
        code->loss = loss_from_code;
        foresee_code(code, w);
        gc_add(&check, "z", w->c.z, w->c.dz, B, D)->loss = loss_from_z;
    }
    return check;
}

void noise_frozen(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w, 10);
    struct gradcheck check =
        check_whole("chapter 10, encoder, noise, decoder 7-5-(3,3)-3-5-7, the noise frozen", &w);
    assert_int_equal(gc_run(&check), 0);
}

/* The same network and the same right gradient. Only the noise is drawn anew each time somebody
   asks for the loss. The check must fail, and say why. */
void noise_redrawn(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w, 10);
    w.redrawn = 1;
    char *text;
    size_t size;
    struct gradcheck check =
        check_whole("chapter 10, the same network, the noise drawn anew in each evaluation", &w);
    check.out = open_memstream(&text, &size);
    assert_non_null(check.out);
    int failed = gc_run(&check);
    fclose(check.out);
    printf("this check must fail, and it does:\n%s", text);
    assert_int_equal(failed, (int)check.tensors);
    assert_non_null(strstr(text, "The same point gives two losses"));
    assert_non_null(
        strstr(text, "noise is redrawn between evaluations. Draw it once and keep it."));
    free(text);
}

/* Why: the difference of two draws, divided by the step. */
void differences_with_and_without(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w, 10);
    real frozen[B * D];
    memcpy(frozen, w.noise, sizeof frozen);
    double example[B], slope[2];
    whole_backward(&w);
    real *weight = w.c.encoder.layer[0].W, keep = *weight, claim = *w.c.encoder.layer[0].dW;
    printf("one weight of the encoder, its derivative by central differences; the way back says "
           "%.6f\n  step h   noise frozen    noise drawn anew\n",
           claim);
    for (double h = 0.1; h > 5e-7; h /= 10) {
        memcpy(w.noise, frozen, sizeof frozen);
        for (w.redrawn = 0; w.redrawn < 2; w.redrawn++) {
            *weight = keep + h;
            double up = whole_loss(&w, example);
            *weight = keep - h;
            slope[w.redrawn] = (up - whole_loss(&w, example)) / (2 * h);
            *weight = keep;
        }
        printf("  %6.0e %14.6f %19.6f\n", h, slope[0], slope[1]);
    }
    printf("\n");
    assert_true(fabs(slope[0] / claim - 1) < 1e-5 && fabs(slope[1] / claim) > 1e3);
}

/* --- what no difference can say ------------------------------------------------- */
int near(double a, double b, double tolerance) {
    if (fabs(a - b) <= tolerance)
        return 1;
    printf("  %.15g stands where %.15g is right\n", a, b);
    return 0;
}

/* A variance of 1/2 is a sigma of 0.7071; and the noise has mean 0, variance 1, fourth moment 3,
   each within four of its own errors. */
void draws_by_hand(void **state) {
    (void)state;
    enum { MANY = 200000 };
    static real e[MANY];
    real half[] = {0, log(0.5)}, one = 1, away;
    reparameterize(&away, half, &one, 1, 1);
    assert_true(near(away, sqrt(0.5), 1e-15));
    struct random r;
    random_seed(&r, 8);
    random_normal(e, MANY, &r);
    static const double moment[] = {0, 0, 1, 0, 3}, spread[] = {0, 1, 2, 15, 96};
    for (int m = 1; m <= 4; m++) {
        double mean = 0;
        for (size_t k = 0; k < MANY; k++)
            mean += pow(e[k], m) / MANY;
        assert_true(near(mean, moment[m], 4 * sqrt(spread[m] / MANY)));
    }
}

/* What was in a gradient before must still be in it: the code has two gradients, one through z and
   one from the divergence. */
void gradients_are_added(void **state) {
    (void)state;
    static struct cloud p;
    new_cloud(&p, 9);
    pack(&p);
    reparameterize_backward(p.dcode, p.c, p.code, p.noise, B, D);
    normal_kl_backward(p.dcode, p.code, 1, B, D);
    log_normal_backward(p.dcode, p.weight, p.z, p.code, B, D);
    real once[B * 2 * D];
    memcpy(once, p.dcode, sizeof once);
    reparameterize_backward(p.dcode, p.c, p.code, p.noise, B, D);
    normal_kl_backward(p.dcode, p.code, 1, B, D);
    log_normal_backward(p.dcode, p.weight, p.z, p.code, B, D);
    for (size_t k = 0; k < B * 2 * D; k++)
        if (fabs(p.dcode[k] - 2 * once[k]) > 1e-12) {
            printf("  A backward pass forgets what was in the gradient before: an = stands where "
                   "+= is meant.\n");
            fail();
        }
}

/* The network by the score function: the code gets (bce - baseline) times the derivative of log q,
   and its share of the divergence. */
void score_through_the_network(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w, 10);
    for (int way = SCORE; way <= BASELINE; way++) {
        coder_gradient(&w.c, way, 2.5, NULL, w.x, w.target, w.noise, B);
        for (size_t k = 0; k < B * D; k++) {
            size_t at = k / D * 2 * D + k % D;
            double e = w.noise[k], v = exp(w.c.code[at + D]);
            double f = w.c.bce[k / D] - (way == BASELINE ? 2.5 : 0);
            const real *dcode = w.c.encoder.dlast;
            assert_true(near(dcode[at], (f * e / sqrt(v) + w.c.code[at]) / B, 1e-12));
            assert_true(near(dcode[at + D], (f * (e * e - 1) + v - 1) / 2 / B, 1e-12));
        }
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part),
        cmocka_unit_test(unbiased),
        cmocka_unit_test(noise_frozen),
        cmocka_unit_test(noise_redrawn),
        cmocka_unit_test(differences_with_and_without),
        cmocka_unit_test(draws_by_hand),
        cmocka_unit_test(gradients_are_added),
        cmocka_unit_test(score_through_the_network),
    };
    return finish_checks(cmocka_run_group_tests(tests, NULL, NULL), argc, argv);
}
