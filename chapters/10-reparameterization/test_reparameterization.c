/* test_reparameterization.c: every gradient of chapter 10 against finite differences, in double: of
   each part, of the expectation itself by both ways through a draw, and of a whole network with its
   noise frozen; then the same network with its noise drawn anew, which must fail. */
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
enum part { DRAW, DIVERGENCE, DENSITY };
struct cloud {
    enum part part; /* what is checked */
    real mu[B * D], logvar[B * D], dmu[B * D], dlogvar[B * D];
    real code[B * 2 * D], dcode[B * 2 * D], noise[B * D], z[B * D];
    double c[B * D], y[B * D]; /* L = sum of c y; y is z, or the divergence or log q of each row */
};

void new_cloud(struct cloud *p, enum part part) {
    struct random r;
    random_seed(&r, part + 1);
    memset(p, 0, sizeof *p);
    p->part = part;
    fill_between(p->mu, B * D, -2, 2, &r);
    fill_between(p->logvar, B * D, -2, 1, &r);
    fill_between(p->c, B * D, -3, 3, &r);
    random_normal(p->noise, B * D, &r);
    fill_between(p->z, B * D, -2, 2, &r);
    for (size_t i = 0; i < B && part == DIVERGENCE; i++)
        p->c[i] = 1.0 / B; /* its backward pass knows one scale for all rows */
}

double part_loss(void *net, double *example) {
    struct cloud *p = net;
    for (size_t k = 0; k < B * D; k++) {
        p->code[k / D * 2 * D + k % D] = p->mu[k];
        p->code[k / D * 2 * D + D + k % D] = p->logvar[k];
    }
    if (p->part == DRAW)
        reparameterize(p->y, p->code, p->noise, B, D);
    else if (p->part == DIVERGENCE)
        normal_kl_forward(p->y, p->code, B, D);
    else
        log_normal_forward(p->y, p->z, p->code, B, D);
    return weighted_sum(example, p->c, p->y, B, p->part == DRAW ? D : 1);
}

/* The code has two gradients, one through z and one from the divergence, so a backward pass must
   add to what is there. Here ones are there. */
void part_backward(void *net) {
    struct cloud *p = net;
    double example[B];
    part_loss(p, example);
    for (size_t k = 0; k < B * 2 * D; k++)
        p->dcode[k] = 1;
    if (p->part == DRAW)
        reparameterize_backward(p->dcode, p->c, p->code, p->noise, B, D);
    else if (p->part == DIVERGENCE)
        normal_kl_backward(p->dcode, p->code, p->c[0], B, D);
    else
        log_normal_backward(p->dcode, p->c, p->z, p->code, B, D);
    for (size_t k = 0; k < B * D; k++) {
        p->dmu[k] = p->dcode[k / D * 2 * D + k % D] - 1;
        p->dlogvar[k] = p->dcode[k / D * 2 * D + D + k % D] - 1;
    }
}

/* A mistake that we can foresee in a part: a sentence, and what the wrong gradient would be, as a
   FACTOR of the right one or as a whole GRADIENT: a formula in mu, variance, sigma and so on. */
enum { GRADIENT, FACTOR };
#define FORESEE(which, tensor, kind, formula, says)                                                \
    if (part == which) {                                                                           \
        static double found[B * D];                                                                \
        for (size_t k = 0; k < B * D; k++) {                                                       \
            double mu = p.mu[k], variance = exp(p.logvar[k]), sigma = sqrt(variance);              \
            double noise = p.noise[k], away = p.z[k] - mu, weight = p.c[k / D];                    \
            (void)sigma, (void)noise, (void)away, (void)weight;                                    \
            found[k] = formula;                                                                    \
        }                                                                                          \
        gc_foresee(tensor, says, kind ? found : NULL, kind ? NULL : found);                        \
    }

/* Where the claim is what the text derives, and the difference is not, the loss itself is wrong. */
#define LOSS_IS_WRONG "This gradient is right. The loss is another: look at the forward pass."

void each_part(void **state) {
    (void)state;
    static const char *const title[] = {"chapter 10, z = mu + sigma noise, the noise frozen",
                                        "chapter 10, the divergence from N(0,1)",
                                        "chapter 10, log q(z), with z held where it is"};
    static struct cloud p;
    int failed = 0;
    for (enum part part = DRAW; part <= DENSITY; part++) {
        struct gradcheck check = {title[part], part_loss, part_backward, &p, .batch = B};
        new_cloud(&p, part);
        struct gc_tensor *m = gc_add(&check, "mu", p.mu, p.dmu, B, D);
        struct gc_tensor *s = gc_add(&check, "logvar", p.logvar, p.dlogvar, B, D);
        FORESEE(DRAW, s, FACTOR, 1 / (2 * sigma),
                "The forward pass multiplies the noise by the variance e^logvar, not by sigma.")
        FORESEE(DRAW, s, FACTOR, sigma / 2,
                "The forward pass multiplies the noise by logvar itself, not by sigma.")
        FORESEE(DRAW, s, FACTOR, 2 * sigma,
                "This is the derivative of e^logvar, 2 sigma times too much for e^(logvar/2).")
        FORESEE(DRAW, s, FACTOR, 1 / sigma,
                "A factor sigma is missing: the derivative of e^(logvar/2) contains it again.")
        FORESEE(DRAW, s, FACTOR, sigma, "A factor sigma is there once too often.")
        FORESEE(DRAW, s, FACTOR, 1 / variance, "It is divided by sigma, not multiplied.")
        FORESEE(DRAW, s, FACTOR, 1 / noise, "The noise is missing, which logvar stretches.")
        FORESEE(DRAW, m, FACTOR, 1 / (1 + sigma),
                "The noise was drawn from N(mu, sigma), so it moves with mu. Draw it from N(0,1).")
        FORESEE(DRAW, m, GRADIENT, p.c[k] - 1,
                "A backward pass forgets what was in the gradient before: = stands for +=.")
        FORESEE(DRAW, m, FACTOR, sigma, "A factor sigma too many: mu moves z one to one.")
        FORESEE(DIVERGENCE, s, GRADIENT, weight * variance / 2,
                "The -1 is missing: it is the derivative of the term logvar.")
        FORESEE(DIVERGENCE, s, GRADIENT, weight * (sigma - 1) / 2,
                "sigma stands where sigma^2 = e^logvar is meant.")
        FORESEE(DIVERGENCE, s, GRADIENT, weight * (variance - 1) / 2, LOSS_IS_WRONG)
        FORESEE(DIVERGENCE, m, GRADIENT, weight * mu, LOSS_IS_WRONG)
        FORESEE(DENSITY, m, FACTOR, sigma,
                "The distance is divided by sigma, where sigma^2 is meant.")
        FORESEE(DENSITY, s, GRADIENT, weight * away * away / variance / 2,
                "The -1 is missing: a wider cloud is also a thinner one.")
        FORESEE(DENSITY, s, GRADIENT, weight * (away * away / variance - 1) / 2, LOSS_IS_WRONG)
        failed += gc_run(&check);
    }
    assert_int_equal(failed, 0);
}

/* --- the expectation itself ----------------------------------------------------- */
struct toy {
    enum way way;
    real code[4], grad[4], estimate[4]; /* two coordinates: mu, mu, logvar, logvar */
};

/* A sum over a grid of noise, weighted with its density, is the expectation: for a smooth function
   the error of such a sum vanishes faster than any power of the spacing. The estimates of the
   gradient are summed over the same grid. */
double expectation(void *net, double *example) {
    enum { GRID = 49 };
    struct toy *t = net;
    example[0] = 0;
    memset(t->estimate, 0, sizeof t->estimate);
    for (size_t k = 0; k < GRID * GRID; k++) {
        real noise[2] = {-12 + 0.5 * (double)(k / GRID), -12 + 0.5 * (double)(k % GRID)};
        real z[2], dz[2], g[4] = {0};
        double square = noise[0] * noise[0] + noise[1] * noise[1];
        double at = 0.25 / (2 * acos(-1.0)) * exp(-square / 2);
        toy_estimate(t->way, g, z, dz, t->code, noise, 1.25, 3, 2);
        example[0] += at * distance_forward(z, 1.25, 2);
        for (size_t i = 0; i < 4; i++)
            t->estimate[i] += at * g[i];
    }
    return example[0];
}

void expected_estimate(void *net) {
    struct toy *t = net;
    double example;
    expectation(t, &example);
    memcpy(t->grad, t->estimate, sizeof t->grad);
}

/* All three estimates are right on average: no bias, shown without a single random number. */
void unbiased(void **state) {
    (void)state;
    static const char *const title[WAYS] = {
        "chapter 10, the score function's estimate, averaged over all noise",
        "chapter 10, the same with a baseline",
        "chapter 10, the path's estimate, averaged over all noise"};
    int failed = 0;
    for (enum way way = SCORE; way < WAYS; way++) {
        struct toy t = {.way = way, .code = {-0.4, 1.7, 0.3, -0.9}};
        struct gradcheck check = {title[way], expectation, expected_estimate, &t, .batch = 1};
        gc_add(&check, "mu", t.code, t.grad, 1, 2);
        gc_add(&check, "logvar", t.code + 2, t.grad + 2, 1, 2);
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

void new_whole(struct whole *w) {
    memset(w, 0, sizeof *w);
    random_seed(&w->random, 10);
    w->c = coder_new(N, HIDDEN, D, B);
    for (int i = 0; i < 2; i++) {
        struct stack *part = i ? &w->c.decoder : &w->c.encoder;
        fill(part->value, part->parameters, &w->random);
        fill_between(part->layer[0].b, HIDDEN, 0.5, 1.5, &w->random); /* open most ReLUs */
        for (size_t k = 0; k < part->tensors; k++) { /* W1 becomes "encoder W1" or "decoder W1" */
            memmove(part->tensor[k].name + 8, part->tensor[k].name, 3);
            memcpy(part->tensor[k].name, i ? "decoder " : "encoder ", 8);
        }
    }
    fill_between(w->x, B * N, 0, 1, &w->random);
    fill_between(w->target, B * N, 0, 1, &w->random);
    random_normal(w->noise, B * D, &w->random);
}

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

/* The code gets its gradient from two sides, and the parts have been checked: what if one of them
   is forgotten, or put together wrongly? */
void foresee_code(struct gc_tensor *code, struct whole *w) {
    static const char *const says[] = {
        "This is the cross-entropy's share alone: the divergence is missing.",
        "This is the divergence's share alone: what comes back through z is lost.",
        "The divergence is summed over the batch: the scale of its mean is 1/B.",
        "The divergence is subtracted, where the loss has it added.",
        "The way back is given z where the noise is meant."};
    static double found[5][B * 2 * D];
    const double scale[] = {0, 1.0 / B, 1, -1.0 / B, 1.0 / B};
    struct coder *c = &w->c;
    whole_backward(w);
    memset(found, 0, sizeof found);
    for (int i = 0; i < 5; i++) {
        if (i != 1)
            reparameterize_backward(found[i], c->dz, c->code, i == 4 ? c->z : w->noise, B, D);
        normal_kl_backward(found[i], c->code, scale[i], B, D);
        gc_foresee(code, says[i], NULL, found[i]);
    }
}

struct gradcheck check_whole(const char *title, struct whole *w) {
    struct gradcheck check = {title, whole_loss, whole_backward, w, .batch = B};
    struct stack *encoder = &w->c.encoder, *decoder = &w->c.decoder;
    gc_size(&check, "the number of pixels n", N);
    gc_add(&check, "x", w->x, w->dx, B, N);
    add_tensors(&check, encoder->tensor, encoder->tensors);
    struct gc_tensor *code = gc_add(&check, "code", encoder->layer[1].h, encoder->dlast, B, 2 * D);
    code->loss = loss_from_code;
    foresee_code(code, w);
    gc_add(&check, "z", w->c.z, w->c.dz, B, D)->loss = loss_from_z;
    add_tensors(&check, decoder->tensor, decoder->tensors);
    return check;
}

/* Then the same network and the same right gradient, only that the noise is drawn anew each time
   somebody asks for the loss. The check must fail, and nudges nothing. */
void whole_network(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w);
    struct gradcheck check =
        check_whole("chapter 10, encoder, noise, decoder 7-5-(3,3)-3-5-7, the noise frozen", &w);
    assert_int_equal(gc_run(&check), 0);

    new_whole(&w);
    w.redrawn = 1;
    check =
        check_whole("chapter 10, the same network, the noise drawn anew in each evaluation", &w);
    printf("this check must fail, and it does:\n");
    assert_int_equal(gc_run(&check), (int)check.tensors);
}

/* Why: the difference of two draws, divided by the step. */
void differences_with_and_without(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w);
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
    enum { MANY = 100000 };
    static real e[MANY];
    real half[] = {0, log(0.5)}, one = 1, away;
    reparameterize(&away, half, &one, 1, 1);
    assert_true(near(away, sqrt(0.5), 1e-15));
    static const double moment[] = {0, 0, 1, 0, 3};
    struct random r;
    random_seed(&r, 8);
    random_normal(e, MANY, &r);
    for (int m = 1; m <= 4; m++) {
        struct average power = {0, 0, 0};
        for (size_t k = 0; k < MANY; k++)
            average_add(&power, pow(e[k], m));
        assert_true(near(average_value(&power), moment[m], 4 * average_error(&power)));
    }
}

/* The network by the score function: the code gets (bce - baseline) times the derivative of log q,
   and its share of the divergence. */
void score_through_the_network(void **state) {
    (void)state;
    static struct whole w;
    new_whole(&w);
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
        cmocka_unit_test(each_part),     cmocka_unit_test(unbiased),
        cmocka_unit_test(whole_network), cmocka_unit_test(differences_with_and_without),
        cmocka_unit_test(draws_by_hand), cmocka_unit_test(score_through_the_network),
    };
    return finish_checks(cmocka_run_group_tests(tests, NULL, NULL), argc, argv);
}
