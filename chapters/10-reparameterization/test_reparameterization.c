/* test_reparameterization.c: every gradient of chapter 10 against finite differences, in double: of
   each part, of the expectation itself by both ways through a draw, and of a whole network with its
   noise frozen; then the same network with its noise drawn anew, which must fail; and the exercise.

   Built plainly it checks the chapter. Built with -DEXERCISE='"exercise.c"' (or "solution.c") it
   judges that file instead. Run with a file name it writes there what the check measured. */
#define WORKBOOK_TEST
#define REAL double
#include "reparameterization.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"

enum { B = 4, D = 3, N = 7, HIDDEN = 5 };

void fill(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

/* Where the claim is what the text derives, and the difference is not, the loss itself is wrong. */
const char *loss_is_wrong = "This gradient is the one that the text derives. The loss is another: "
                            "look at the forward pass.";

/* --- the parts of a check ------------------------------------------------------ */
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
    fill(p->mu, B * D, -2, 2, &r);
    fill(p->logvar, B * D, -2, 1, &r);
    fill(p->c, B * D, -3, 3, &r);
    fill(p->weight, B, 0.5, 2, &r);
    random_normal(p->noise, B * D, &r);
    fill(p->z, B * D, -2, 2, &r);
}

void pack(struct cloud *p) {
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
    memset(p->dcode, 0, sizeof p->dcode);
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
    memset(p->dcode, 0, sizeof p->dcode);
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
    memset(p->dcode, 0, sizeof p->dcode);
    pack(p);
    log_normal_backward(p->dcode, p->weight, p->z, p->code, B, D);
    unpack(p);
}

double distance_loss(void *net, double *example) {
    struct cloud *p = net;
    double loss = 0;
    distance_forward(example, p->z, 1.25, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r];
    return loss;
}

void distance_gradient(void *net) {
    struct cloud *p = net;
    memset(p->dz, 0, sizeof p->dz);
    distance_backward(p->dz, p->z, 1.25, B, D);
}

struct gradcheck check_of(const char *title, void *net, double (*loss)(void *, double *),
                          void (*backward)(void *), size_t batch) {
    struct gradcheck check = {
        .title = title, .loss = loss, .backward = backward, .net = net, .batch = batch};
    return check;
}

/* --- what may go wrong --------------------------------------------------------- */
/* Mistakes in z = mu + sigma noise and in its way back, as factors of the right derivative. */
void foresee_draw(struct gc_tensor *mu, struct gc_tensor *logvar, const struct cloud *p) {
    static double over_sigma[B * D], over_noise[B * D], sigma[B * D], noise[B * D];
    static double half_over_sigma[B * D], half_sigma[B * D], twice[B * D], of_mu[B * D],
        of_logvar[B * D], over_variance[B * D];
    for (size_t k = 0; k < B * D; k++) {
        double s = exp(p->logvar[k] / 2), e = p->noise[k];
        sigma[k] = s;
        noise[k] = e;
        over_sigma[k] = 1 / s;
        over_noise[k] = 1 / e;
        over_variance[k] = 1 / (s * s);
        half_over_sigma[k] = 1 / (2 * s);
        half_sigma[k] = s / 2;
        twice[k] = 2 * s;
        of_mu[k] = 1 / (1 + s);
        of_logvar[k] = e / (p->mu[k] + 2 * s * e);
    }
    gc_foresee(logvar,
               "The forward pass multiplies the noise by the variance e^logvar, where sigma = "
               "e^(logvar/2) is meant: the ratio equals 1 / (2 sigma).",
               half_over_sigma, NULL);
    gc_foresee(logvar,
               "The forward pass multiplies the noise by logvar itself, where sigma = "
               "e^(logvar/2) is meant: the ratio equals sigma / 2.",
               half_sigma, NULL);
    gc_foresee(logvar,
               "The way back has the derivative of e^logvar, 2 sigma times too much: that of sigma "
               "= e^(logvar/2) is sigma/2.",
               twice, NULL);
    gc_foresee(logvar,
               "A factor sigma is missing: the derivative of e^(logvar/2) contains it again.",
               over_sigma, NULL);
    gc_foresee(logvar, "A factor sigma is there once too often.", sigma, NULL);
    gc_foresee(logvar, "It is divided by sigma, where it should be multiplied.", over_variance,
               NULL);
    gc_foresee(logvar, "The noise is missing: logvar moves z by sigma/2 times the noise.",
               over_noise, NULL);
    gc_foresee(logvar,
               "The noise was drawn from N(mu, sigma), so it holds mu and sigma already: draw it "
               "from N(0,1).",
               of_logvar, NULL);
    gc_foresee(mu,
               "The ratio equals 1 / (1 + sigma): the noise was drawn from N(mu, sigma), so it "
               "moves with mu. Draw it from N(0,1).",
               of_mu, NULL);
    gc_foresee(mu, "A factor sigma too many: mu moves z one to one.", sigma, NULL);
    gc_foresee(mu, "A factor noise too many: mu moves z one to one.", noise, NULL);
}

/* And in the divergence. */
void foresee_kl(struct gc_tensor *mu, struct gc_tensor *logvar, const struct cloud *p) {
    static double right[B * D], plain[B * D], no_one[B * D], no_exp[B * D], by_sigma[B * D];
    for (size_t k = 0; k < B * D; k++) {
        double v = exp(p->logvar[k]), s = sqrt(v);
        right[k] = (v - 1) / 2 / B;
        plain[k] = p->mu[k] / B;
        no_one[k] = v / 2 / B;
        no_exp[k] = -0.5 / B;
        by_sigma[k] = (s - 1) / 2 / B;
    }
    gc_foresee(logvar, "The -1 is missing: it is the derivative of the term logvar.", NULL, no_one);
    gc_foresee(logvar, "The term e^logvar is missing: only logvar itself was derived.", NULL,
               no_exp);
    gc_foresee(logvar, "sigma stands where sigma^2 = e^logvar is meant.", NULL, by_sigma);
    gc_foresee(logvar, loss_is_wrong, NULL, right);
    gc_foresee(mu, loss_is_wrong, NULL, plain);
}

/* And in the logarithm of the density. */
void foresee_density(struct gc_tensor *mu, struct gc_tensor *logvar, const struct cloud *p) {
    static double by_sigma[B * D], raw[B * D], no_one[B * D], right[B * D], plain[B * D];
    for (size_t k = 0; k < B * D; k++) {
        double v = exp(p->logvar[k]), away = p->z[k] - p->mu[k], w = p->weight[k / D];
        by_sigma[k] = sqrt(v);
        raw[k] = v;
        no_one[k] = w * away * away / v / 2;
        right[k] = w * (away * away / v - 1) / 2;
        plain[k] = w * away / v;
    }
    gc_foresee(mu, "The distance is divided by sigma, where sigma^2 is meant.", by_sigma, NULL);
    gc_foresee(mu, "The distance is not divided by sigma^2.", raw, NULL);
    gc_foresee(mu, loss_is_wrong, NULL, plain);
    gc_foresee(logvar,
               "The -1 is missing: a wider cloud is also a thinner one, and the term logvar in log "
               "q says so.",
               NULL, no_one);
    gc_foresee(logvar, loss_is_wrong, NULL, right);
}

/* --- the checks ---------------------------------------------------------------- */
void each_part(void **state) {
    (void)state;
    static struct cloud p;
    new_cloud(&p, 1);
    struct gradcheck draw = check_of("chapter 10, z = mu + sigma noise, the noise frozen", &p,
                                     draw_loss, draw_backward, B);
    struct gc_tensor *mu = gc_add(&draw, "mu", p.mu, p.dmu, B, D);
    struct gc_tensor *logvar = gc_add(&draw, "logvar", p.logvar, p.dlogvar, B, D);
    foresee_draw(mu, logvar, &p);
    int failed = gc_run(&draw);

    new_cloud(&p, 2);
    struct gradcheck kl =
        check_of("chapter 10, the divergence from N(0,1)", &p, kl_loss, kl_gradient, B);
    mu = gc_add(&kl, "mu", p.mu, p.dmu, B, D);
    logvar = gc_add(&kl, "logvar", p.logvar, p.dlogvar, B, D);
    foresee_kl(mu, logvar, &p);
    failed += gc_run(&kl);

    new_cloud(&p, 3);
    struct gradcheck density = check_of("chapter 10, log q(z), with z held where it is", &p,
                                        density_loss, density_backward, B);
    mu = gc_add(&density, "mu", p.mu, p.dmu, B, D);
    logvar = gc_add(&density, "logvar", p.logvar, p.dlogvar, B, D);
    foresee_density(mu, logvar, &p);
    failed += gc_run(&density);

    new_cloud(&p, 4);
    struct gradcheck distance =
        check_of("chapter 10, the toy's f(z)", &p, distance_loss, distance_gradient, B);
    gc_add(&distance, "z", p.z, p.dz, B, D);
    failed += gc_run(&distance);
    assert_int_equal(failed, 0);
}

/* --- the expectation itself ---------------------------------------------------- */
/* A sum over a grid of noise, weighted with its density, is the expectation: for a smooth function
   the error of such a sum vanishes faster than any power of the spacing. Two coordinates. */
enum { GRID = 49 };

double grid_noise(size_t k) {
    return -12 + 0.5 * (double)k;
}

double grid_weight(size_t k) {
    return 0.5 * exp(-grid_noise(k) * grid_noise(k) / 2) / sqrt(2 * acos(-1.0));
}

double expectation(void *net, double *example) {
    struct cloud *p = net;
    real code[4] = {p->mu[0], p->mu[1], p->logvar[0], p->logvar[1]}, z[2];
    double sum = 0, f;
    for (size_t i = 0; i < GRID; i++)
        for (size_t j = 0; j < GRID; j++) {
            real noise[2] = {grid_noise(i), grid_noise(j)};
            reparameterize(z, code, noise, 1, 2);
            distance_forward(&f, z, 1.25, 1, 2);
            sum += grid_weight(i) * grid_weight(j) * f;
        }
    return example[0] = sum;
}

/* What the estimate is on average, over all noise. */
void expected_estimate(void *net) {
    struct cloud *p = net;
    real code[4] = {p->mu[0], p->mu[1], p->logvar[0], p->logvar[1]}, z[2], dz[2], sum[4] = {0};
    for (size_t i = 0; i < GRID; i++)
        for (size_t j = 0; j < GRID; j++) {
            real noise[2] = {grid_noise(i), grid_noise(j)}, g[4] = {0};
            estimate(p->way, g, z, dz, code, noise, 1.25, 3, 2);
            for (size_t k = 0; k < 4; k++)
                sum[k] += grid_weight(i) * grid_weight(j) * g[k];
        }
    for (size_t k = 0; k < 2; k++) {
        p->dmu[k] = sum[k];
        p->dlogvar[k] = sum[2 + k];
    }
}

/* All three estimates are right on average: no bias, shown without a single random number. */
void unbiased(void **state) {
    (void)state;
    static const char *title[WAYS] = {
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

/* --- the whole network --------------------------------------------------------- */
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
    const real *logit = network_forward(&w->c.decoder, w->c.z, B);
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
    fill(w->c.encoder.value, w->c.encoder.parameters, -1, 1, &w->random);
    fill(w->c.decoder.value, w->c.decoder.parameters, -1, 1, &w->random);
    /* so that each ReLU is open for some example, and no weight behind it goes untested */
    fill(w->c.encoder.layer[0].b, HIDDEN, 0.5, 1.5, &w->random);
    fill(w->c.decoder.layer[0].b, HIDDEN, 0.5, 1.5, &w->random);
    fill(w->x, B * N, 0, 1, &w->random);
    fill(w->target, B * N, 0, 1, &w->random);
    random_normal(w->noise, B * D, &w->random);
}

/* The right derivatives of the two terms by the code, by differences of our own. */
void measure_terms(struct whole *w, double *bce, double *kl) {
    double example[B], h = 1e-5;
    real *code = w->c.encoder.layer[1].h;
    whole_loss(w, example);
    w->c.code = code;
    for (size_t k = 0; k < B * 2 * D; k++) {
        double keep = code[k], up[2] = {0}, down[2] = {0};
        for (int side = 0; side < 2; side++) {
            code[k] = side ? keep - h : keep + h;
            loss_from_code(w, example);
            for (size_t r = 0; r < B; r++) {
                (side ? down : up)[0] += w->c.bce[r] / B;
                (side ? down : up)[1] += w->c.kl[r] / B;
            }
        }
        code[k] = keep;
        bce[k] = (up[0] - down[0]) / (2 * h);
        kl[k] = (up[1] - down[1]) / (2 * h);
    }
}

struct gradcheck check_whole(const char *title, struct whole *w) {
    static char name[2][4][16];
    struct gradcheck check = check_of(title, w, whole_loss, whole_backward, B);
    gc_size(&check, "the number of pixels n", N);
    gc_add(&check, "x", w->x, w->dx, B, N);
    for (int part = 0; part < 2; part++) {
        struct network *net = part ? &w->c.decoder : &w->c.encoder;
        for (size_t i = 0; i < net->tensors; i++) {
            struct tensor *p = &net->tensor[i];
            snprintf(name[part][i], sizeof name[0][0], "%s %.4s", part ? "decoder" : "encoder",
                     p->name);
            gc_add(&check, name[part][i], p->value, p->grad, p->rows, p->cols);
        }
        if (part)
            continue;
        struct layer *last = &net->layer[1];
        struct gc_tensor *code = gc_add(&check, "code", last->h, last->dh, B, 2 * D);
        code->loss = loss_from_code;
        static double bce[B * 2 * D], kl[B * 2 * D], summed[B * 2 * D], minus[B * 2 * D],
            by_z[B * 2 * D];
        measure_terms(w, bce, kl);
        reparameterize(w->c.z, w->c.code, w->noise, B, D);
        for (size_t k = 0; k < B * 2 * D; k++) {
            size_t of = k / (2 * D) * D + k % D; /* the noise that this mu or logvar goes with */
            summed[k] = bce[k] + kl[k] * B;
            minus[k] = bce[k] - kl[k];
            by_z[k] = (k / D % 2 ? bce[k] * w->c.z[of] / w->noise[of] : bce[k]) + kl[k];
        }
        gc_foresee(code, "This is the cross-entropy's share alone: the divergence is missing.",
                   NULL, bce);
        gc_foresee(code, "This is the divergence's share alone: what comes back through z is lost.",
                   NULL, kl);
        gc_foresee(
            code,
            "The divergence is summed over the batch, where the loss has its mean: its scale "
            "is 1/B.",
            NULL, summed);
        gc_foresee(code, "The divergence is subtracted, where the loss has it added.", NULL, minus);
        gc_foresee(code, "The way back is given z where the noise is meant.", NULL, by_z);
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
    int failed = gc_run(&check);
    coder_free(&w.c);
    assert_int_equal(failed, 0);
}

/* --- noise redrawn ------------------------------------------------------------- */
/* The same network and the same right gradient. Only the noise is drawn anew each time somebody asks
   for the loss. The check must fail, and say why. */
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
    int says =
        strstr(text, "The same point gives two losses") != NULL &&
        strstr(text, "noise is redrawn between evaluations. Draw it once and keep it.") != NULL;
    free(text);
    coder_free(&w.c);
    assert_int_equal(failed, (int)check.tensors);
    assert_true(says);
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
    coder_free(&w.c);
}

/* --- numbers that can be done by hand ------------------------------------------- */
int near(double a, double b, double tolerance) {
    if (fabs(a - b) <= tolerance)
        return 1;
    printf("  %.15g stands where %.15g is right\n", a, b);
    return 0;
}

void draws_by_hand(void **state) {
    (void)state;
    /* Variance 1/2: sigma is 0.7071. */
    real half[] = {0, log(0.5)}, one = 1, away;
    reparameterize(&away, half, &one, 1, 1);
    assert_true(near(away, sqrt(0.5), 1e-15));
    /* One row: mu 2 and -1, sigma 2 and 1/2. */
    real code[] = {2, -1, log(4), log(0.25)}, noise[] = {-1.5, 2}, z[2], dz[] = {1, 3},
         dcode[4] = {0};
    reparameterize(z, code, noise, 1, 2);
    assert_true(near(z[0], -1, 1e-15) && near(z[1], 0, 1e-15));
    reparameterize_backward(dcode, dz, code, noise, 1, 2);
    assert_true(near(dcode[0], 1, 0) && near(dcode[1], 3, 0));
    assert_true(near(dcode[2], -1.5, 1e-15) && near(dcode[3], 1.5, 1e-15));
}

void divergence_by_hand(void **state) {
    (void)state;
    double kl[2];
    real code[] = {0, 0, 1, 0}, wide[] = {0, log(4)}, both[] = {1, 0, 0, log(4)};
    normal_kl_forward(kl, code, 2, 1); /* N(0,1) and N(1,1) */
    assert_true(near(kl[0], 0, 0) && near(kl[1], 0.5, 0));
    normal_kl_forward(kl, wide, 1, 1);
    assert_true(near(kl[0], -0.5 * (1 + log(4) - 4), 1e-15) && near(kl[0], 0.8069, 5e-5));
    normal_kl_forward(kl, both, 1, 2); /* the divergences of the coordinates add up */
    assert_true(near(kl[0], 0.5 + 0.5 * (3 - log(4)), 1e-15));
    /* It is the expectation of log q - log p: the sum over a grid of noise. */
    real q[] = {0.7, -0.9}, p[] = {0, 0};
    double sum = 0, logq, logp;
    for (size_t k = 0; k < GRID; k++) {
        real noise = grid_noise(k), z;
        reparameterize(&z, q, &noise, 1, 1);
        log_normal_forward(&logq, &z, q, 1, 1);
        log_normal_forward(&logp, &z, p, 1, 1);
        sum += grid_weight(k) * (logq - logp);
    }
    normal_kl_forward(kl, q, 1, 1);
    assert_true(near(kl[0], sum, 1e-13));
}

void density_by_hand(void **state) {
    (void)state;
    double logq;
    real standard[] = {0, 0}, zero = 0, code[] = {1, log(4)}, three = 3;
    log_normal_forward(&logq, &zero, standard, 1, 1);
    assert_true(near(logq, -0.918938533204673, 1e-14));
    log_normal_forward(&logq, &three, code, 1, 1); /* one sigma away, and half as high */
    assert_true(near(logq, -0.918938533204673 - log(2) - 0.5, 1e-14));
    double integral = 0;
    for (double z = -20; z <= 20; z += 0.25) {
        log_normal_forward(&logq, &z, code, 1, 1);
        integral += 0.25 * exp(logq);
    }
    assert_true(near(integral, 1, 1e-13));
}

/* Mean 0, variance 1, fourth moment 3, and what lies outside one, two and three sigma: each within
   four of its own errors. */
void normal_numbers(void **state) {
    (void)state;
    enum { MANY = 200000 };
    static real e[MANY + 1], again[MANY + 1];
    struct random r;
    random_seed(&r, 8);
    random_normal(e, MANY, &r);
    double sum[5] = {0}, out[4] = {0}, n = MANY;
    static const double share[] = {0, 0.317310507862914, 0.045500263896358, 0.002699796063260};
    for (size_t k = 0; k < MANY; k++) {
        assert_true(isfinite(e[k]));
        for (int m = 1; m <= 4; m++)
            sum[m] += pow(e[k], m) / n;
        for (int m = 1; m <= 3; m++)
            out[m] += (fabs(e[k]) > m) / n;
    }
    static const double moment[] = {0, 0, 1, 0, 3}, spread[] = {0, 1, 2, 15, 96};
    for (int m = 1; m <= 4; m++)
        assert_true(near(sum[m], moment[m], 4 * sqrt(spread[m] / n)));
    for (int m = 1; m <= 3; m++)
        assert_true(near(out[m], share[m], 4 * sqrt(share[m] * (1 - share[m]) / n)));
    double together = 0; /* the two of a pair know nothing of each other */
    for (size_t k = 0; k < MANY; k += 2)
        together += e[k] * e[k + 1] / (n / 2);
    assert_true(near(together, 0, 4 * sqrt(2 / n)));
    /* The same seed gives the same numbers, and an odd count leaves the rest alone. */
    random_seed(&r, 8);
    again[7] = 99;
    random_normal(again, 7, &r);
    assert_true(memcmp(e, again, 7 * sizeof *e) == 0 && again[7] == 99);
    random_normal(again, 1, &r);
    assert_true(again[0] == e[8]);
}

void variances_by_hand(void **state) {
    (void)state;
    static const double moment[] = {1, 0, 1, 0, 3, 0, 15, 0, 105};
    for (size_t k = 0; k <= 8; k++)
        assert_true(normal_moment(k) == moment[k]);
    /* One coordinate, one away, sigma 1: the text does these by hand. */
    assert_true(near(toy_variance(PATH, 0, 1, 1, 0, 1), 4, 1e-12));
    assert_true(near(toy_variance(PATH, 1, 1, 1, 0, 1), 3, 1e-12));
    assert_true(near(toy_variance(SCORE, 0, 1, 1, 0, 1), 30, 1e-12));
    assert_true(near(toy_variance(BASELINE, 0, 1, 1, 2, 1), 18, 1e-12));
    assert_true(near(toy_variance(BASELINE, 0, 1, 1, 4, 1), 14, 1e-12));
    assert_true(near(toy_variance(SCORE, 0, 1, 0.5, 0, 10), 726, 1e-9));
    /* Against the sum over a grid, for two coordinates and everything there is. */
    real code[] = {1.6, 1.6, -0.8, -0.8}, z[2], dz[2];
    for (int way = 0; way < WAYS; way++)
        for (int half = 0; half < 2; half++) {
            double sum = 0, square = 0;
            for (size_t i = 0; i < GRID; i++)
                for (size_t j = 0; j < GRID; j++) {
                    real noise[2] = {grid_noise(i), grid_noise(j)}, g[4] = {0};
                    double weight = grid_weight(i) * grid_weight(j);
                    estimate(way, g, z, dz, code, noise, 1, 1.5, 2);
                    sum += weight * g[2 * half];
                    square += weight * g[2 * half] * g[2 * half];
                }
            double theory = toy_variance(way, half, 0.6, exp(-0.4), 1.5, 2);
            assert_true(near((square - sum * sum) / theory, 1, 1e-10));
        }
}

/* The parts 0, 1, ... 49: their mean is 24.5, their variance 50*51/12, the error of the mean the root
   of a fiftieth of it. The jackknife of a ratio whose denominator is constant says the same. */
void errors_by_hand(void **state) {
    (void)state;
    double part[BLOCKS], one[BLOCKS], three[BLOCKS];
    for (size_t k = 0; k < BLOCKS; k++) {
        part[k] = (double)k;
        one[k] = 1;
        three[k] = 3 * (double)k;
    }
    double error = sqrt(50 * 51.0 / 12 / 50);
    struct measured mean = mean_of(part), ratio = ratio_of(part, one), same = ratio_of(three, part);
    assert_true(near(mean.value, 24.5, 1e-12) && near(mean.error, error, 1e-12));
    assert_true(near(ratio.value, 24.5, 1e-12) && near(ratio.error, error, 1e-12));
    assert_true(near(same.value, 3, 1e-12) &&
                near(same.error, 0, 1e-12)); /* what rises and falls together */
}

/* What was in a gradient before must still be in it: the code has two gradients, one through z and
   one from the divergence. */
void gradients_are_added(void **state) {
    (void)state;
    static const char *name[] = {"reparameterize_backward", "normal_kl_backward", "log_normal_backward",
                                 "distance_backward"};
    static struct cloud p;
    new_cloud(&p, 9);
    pack(&p);
    real dz[B * D], once[B * 2 * D] = {0};
    fill(dz, B * D, -1, 1, &(struct random){{1, 2, 3, 4}});
    for (int k = 0; k < 4; k++)
        for (int before = 0; before < 2; before++) {
            size_t n = k == 3 ? B * D : B * 2 * D;
            for (size_t i = 0; i < n; i++)
                p.dcode[i] = before;
            if (k == 0)
                reparameterize_backward(p.dcode, dz, p.code, p.noise, B, D);
            else if (k == 1)
                normal_kl_backward(p.dcode, p.code, 1, B, D);
            else if (k == 2)
                log_normal_backward(p.dcode, p.weight, p.z, p.code, B, D);
            else
                distance_backward(p.dcode, p.z, 1, B, D);
            for (size_t i = 0; i < n; i++) {
                if (!before)
                    once[i] = p.dcode[i];
                else if (fabs(p.dcode[i] - 1 - once[i]) > 1e-13) {
                    printf("  %s forgets what was in the gradient before: an = stands where += is "
                           "meant.\n",
                           name[k]);
                    fail();
                }
            }
        }
}

/* The network by the score function: the decoder's gradient is that of the other way, and the code
   gets (bce - baseline) times the derivative of log q, and its share of the divergence. */
void score_through_the_network(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w, 10);
    real *dcode = w.c.encoder.layer[1].dh, expected[B * 2 * D] = {0}, decoder[N];
    coder_gradient(&w.c, PATH, 0, NULL, w.x, w.target, w.noise, B);
    memcpy(decoder, w.c.decoder.tensor[3].grad, sizeof decoder);
    coder_gradient(&w.c, BASELINE, 2.5, NULL, w.x, w.target, w.noise, B);
    assert_true(memcmp(decoder, w.c.decoder.tensor[3].grad, sizeof decoder) == 0);
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < D; j++) {
            double e = w.noise[r * D + j], mu = w.c.code[r * 2 * D + j],
                   logvar = w.c.code[r * 2 * D + D + j];
            expected[r * 2 * D + j] = ((w.c.bce[r] - 2.5) * e / exp(logvar / 2) + mu) / B;
            expected[r * 2 * D + D + j] =
                ((w.c.bce[r] - 2.5) * (e * e - 1) + exp(logvar) - 1) / 2 / B;
        }
    for (size_t k = 0; k < B * 2 * D; k++)
        assert_true(near(dcode[k], expected[k], 1e-12));
    double with = dcode[0], f = w.c.bce[0], push = w.noise[0] / exp(w.c.code[D] / 2) / B;
    coder_gradient(&w.c, SCORE, 2.5, NULL, w.x, w.target, w.noise, B);
    assert_true(near(dcode[0] - with, 2.5 * push, 1e-12) && f > 0); /* SCORE has no baseline */
    coder_free(&w.c);
}

#ifdef EXERCISE
#include EXERCISE

/* --- the exercise -------------------------------------------------------------- */
double softplus_loss(void *net, double *example) {
    struct cloud *p = net;
    double loss = 0;
    pack(p);
    softplus_draw(p->z, p->code, p->noise, B, D);
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t k = r * D; k < (r + 1) * D; k++)
            example[r] += p->c[k] * p->z[k] + p->z[k] * p->z[k] / 2;
        loss += example[r];
    }
    return loss;
}

void softplus_backward(void *net) {
    struct cloud *p = net;
    double example[B];
    memset(p->dcode, 0, sizeof p->dcode);
    softplus_loss(p, example);
    for (size_t k = 0; k < B * D; k++)
        p->dz[k] = p->c[k] + p->z[k];
    softplus_draw_backward(p->dcode, p->dz, p->code, p->noise, B, D);
    unpack(p);
}

void softplus_part(void **state) {
    (void)state;
    static struct cloud p;
    static double copied[B * D], of_sigmoid[B * D], missing[B * D], raw[B * D], no_noise[B * D],
        itself[B * D], mirrored[B * D];
    new_cloud(&p, 21);
    for (size_t k = 0; k < B * D; k++) {
        double s = p.logvar[k], slope = 1 / (1 + exp(-s));
        copied[k] = log(1 + exp(s)) / 2 / slope;
        itself[k] = log(1 + exp(s)) / slope;
        of_sigmoid[k] = 1 - slope;
        missing[k] = 1 / slope;
        mirrored[k] = (1 - slope) / slope;
        raw[k] = exp(s) / slope;
        no_noise[k] = 1 / p.noise[k];
    }
    struct gradcheck check = check_of("exercise 10, part 1: z = mu + softplus(s) noise", &p,
                                      softplus_loss, softplus_backward, B);
    gc_add(&check, "mu", p.mu, p.dmu, B, D);
    struct gc_tensor *s = gc_add(&check, "s", p.logvar, p.dlogvar, B, D);
    gc_foresee(s,
               "sigma/2 is the derivative of e^(s/2). Here sigma is log(1 + e^s): what is its "
               "derivative?",
               copied, NULL);
    gc_foresee(s, "This has the derivative of the sigmoid in it; asked for is that of softplus.",
               of_sigmoid, NULL);
    gc_foresee(s, "The derivative of softplus is missing.", missing, NULL);
    gc_foresee(s, "The sigmoid is mirrored: a sign in its exponent is flipped.", mirrored, NULL);
    gc_foresee(s, "softplus itself stands where its derivative is meant.", itself, NULL);
    gc_foresee(s, "The inner derivative e^s is there, the division by 1 + e^s is not.", raw, NULL);
    gc_foresee(s, "The noise is missing.", no_noise, NULL);
    assert_int_equal(gc_run(&check), 0);
    real far[] = {0, 0, 800, -800}, noise[] = {2, 2}, dz[] = {1, 1}, d[4] = {0};
    softplus_draw_backward(d, dz, far, noise, 1, 2);
    if (!(d[2] == 2 && d[3] == 0)) {
        printf("  At s = 800 and -800 the derivative is not right, or not a number: let no "
               "exponential grow.\n\n");
        fail();
    }
}

struct belief {
    struct cloud q;
    real m[D], logv[D], dm[D], dlogv[D], prior[2 * D], dprior[2 * D];
};

double prior_loss(void *net, double *example) {
    struct belief *p = net;
    double loss = 0;
    pack(&p->q);
    memcpy(p->prior, p->m, sizeof p->m);
    memcpy(p->prior + D, p->logv, sizeof p->logv);
    prior_forward(p->q.kl, p->q.code, p->prior, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = p->q.kl[r] / B;
    return loss;
}

void prior_gradient(void *net) {
    struct belief *p = net;
    double example[B];
    memset(p->q.dcode, 0, sizeof p->q.dcode);
    memset(p->dprior, 0, sizeof p->dprior);
    prior_loss(p, example);
    prior_backward(p->q.dcode, p->dprior, p->q.code, p->prior, 1 / (real)B, B, D);
    unpack(&p->q);
    memcpy(p->dm, p->dprior, sizeof p->dm);
    memcpy(p->dlogv, p->dprior + D, sizeof p->dlogv);
}

void prior_part(void **state) {
    (void)state;
    static struct belief p;
    static double standard[B * D], by_root[B * D], undivided[B * D], old_logvar[B * D], no_away[D],
        no_square[D], no_one[D], whole[D], v_squared[D], plus[D], only_exp[B * D], plus_one[B * D];
    struct random r;
    new_cloud(&p.q, 22);
    random_seed(&r, 23);
    fill(p.m, D, -1, 1, &r);
    fill(p.logv, D, -1, 1, &r);
    for (size_t k = 0; k < B * D; k++) {
        double v = exp(p.logv[k % D]);
        standard[k] = p.q.mu[k] / B;
        by_root[k] = sqrt(v);
        undivided[k] = v;
        old_logvar[k] = (exp(p.q.logvar[k]) - 1) / 2 / B;
        only_exp[k] = exp(p.q.logvar[k]) / v / 2 / B;
        plus_one[k] = only_exp[k] + 0.5 / B;
        double far = exp(p.q.logvar[k]) + pow(p.q.mu[k] - p.m[k % D], 2);
        whole[k % D] += (1 - far) / 2 / B;
        v_squared[k % D] += (1 - far / v / v) / 2 / B;
        plus[k % D] += (1 + far / v) / 2 / B;
        no_away[k % D] += (1 - exp(p.q.logvar[k]) / v) / 2 / B;
        no_square[k % D] += (1 - (p.q.mu[k] - p.m[k % D]) * (p.q.mu[k] - p.m[k % D]) / v) / 2 / B;
        no_one[k % D] -= far / v / 2 / B;
    }
    struct gradcheck check = check_of("exercise 10, part 2: the divergence from a learned prior",
                                      &p, prior_loss, prior_gradient, B);
    struct gc_tensor *mu = gc_add(&check, "mu", p.q.mu, p.q.dmu, B, D);
    struct gc_tensor *logvar = gc_add(&check, "logvar", p.q.logvar, p.q.dlogvar, B, D);
    struct gc_tensor *m = gc_add(&check, "m", p.m, p.dm, 1, D);
    struct gc_tensor *logv = gc_add(&check, "logv", p.logv, p.dlogv, 1, D);
    gc_foresee(mu, "This is the derivative for the prior N(0,1).", NULL, standard);
    gc_foresee(mu, "The distance is divided by the root of v, where v is meant.", by_root, NULL);
    gc_foresee(mu, "The distance is not divided by v.", undivided, NULL);
    gc_foresee(logvar, "This is the derivative for the prior N(0,1).", NULL, old_logvar);
    gc_foresee(logvar, "The -1 is missing: it is the derivative of -logvar.", NULL, only_exp);
    gc_foresee(logvar, "The derivative of -logvar is -1, not 1.", NULL, plus_one);
    gc_foresee(m, "The distance is not divided by v.", undivided, NULL);
    gc_foresee(logv, "The distance (mu - m)^2 is missing below the fraction's derivative.", NULL,
               no_away);
    gc_foresee(logv, "e^logvar is missing in the fraction's derivative.", NULL, no_square);
    gc_foresee(logv, "The 1 is missing: it is the derivative of the term logv.", NULL, no_one);
    gc_foresee(logv, "The fraction is not divided by v.", NULL, whole);
    gc_foresee(logv,
               "The fraction is divided by v^2: that is its derivative by v. By logv it is v times "
               "as much.",
               NULL, v_squared);
    gc_foresee(logv, "logv stands below the fraction: when it grows, the fraction falls.", NULL,
               plus);
    assert_int_equal(gc_run(&check), 0);
}
#endif

int main(int argc, char **argv) {
#ifdef EXERCISE
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softplus_part),
        cmocka_unit_test(prior_part),
    };
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part),
        cmocka_unit_test(unbiased),
        cmocka_unit_test(noise_frozen),
        cmocka_unit_test(noise_redrawn),
        cmocka_unit_test(differences_with_and_without),
        cmocka_unit_test(draws_by_hand),
        cmocka_unit_test(divergence_by_hand),
        cmocka_unit_test(density_by_hand),
        cmocka_unit_test(normal_numbers),
        cmocka_unit_test(variances_by_hand),
        cmocka_unit_test(errors_by_hand),
        cmocka_unit_test(gradients_are_added),
        cmocka_unit_test(score_through_the_network),
    };
#endif
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}
