/* judge.c: judges exercise 10. Built with -DEXERCISE='"exercise.c"' or "solution.c". The first part
   draws z with sigma = softplus(s); the second is the divergence from a learned prior. */
#define WORKBOOK_TEST
#define REAL double
#include "reparameterization.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 4, D = 3 };

/* A batch of codes with mu and s (or logvar) apart, and a prior with m and logv apart. */
struct belief {
    real mu[B * D], s[B * D], dmu[B * D], ds[B * D];
    real code[B * 2 * D], dcode[B * 2 * D], noise[B * D], z[B * D], dz[B * D], c[B * D];
    real m[D], logv[D], dm[D], dlogv[D], prior[2 * D], dprior[2 * D];
};

void fill_between(real *t, size_t n, double low, double high, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, low, high);
}

void new_belief(struct belief *p, uint64_t seed) {
    struct random r;
    real unused[B];
    random_seed(&r, seed);
    memset(p, 0, sizeof *p);
    fill_between(p->mu, B * D, -2, 2, &r);
    fill_between(p->s, B * D, -2, 1, &r);
    fill_between(p->c, B * D, -3, 3, &r);
    fill_between(unused, B, 0, 1, &r);
    random_normal(p->noise, B * D, &r);
    random_seed(&r, 23);
    fill(p->m, D, &r);
    fill(p->logv, D, &r);
}

void pack(struct belief *p) {
    memset(p->dcode, 0, sizeof p->dcode);
    memset(p->dprior, 0, sizeof p->dprior);
    for (size_t k = 0; k < B * D; k++) {
        p->code[k / D * 2 * D + k % D] = p->mu[k];
        p->code[k / D * 2 * D + D + k % D] = p->s[k];
    }
    memcpy(p->prior, p->m, sizeof p->m);
    memcpy(p->prior + D, p->logv, sizeof p->logv);
}

void unpack(struct belief *p) {
    for (size_t k = 0; k < B * D; k++) {
        p->dmu[k] = p->dcode[k / D * 2 * D + k % D];
        p->ds[k] = p->dcode[k / D * 2 * D + D + k % D];
    }
    memcpy(p->dm, p->dprior, sizeof p->dm);
    memcpy(p->dlogv, p->dprior + D, sizeof p->dlogv);
}

double softplus_loss(void *net, double *example) {
    struct belief *p = net;
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
    struct belief *p = net;
    double example[B];
    softplus_loss(p, example);
    for (size_t k = 0; k < B * D; k++)
        p->dz[k] = p->c[k] + p->z[k];
    softplus_draw_backward(p->dcode, p->dz, p->code, p->noise, B, D);
    unpack(p);
}

void softplus_part(void **state) {
    (void)state;
    static struct belief p;
    static double copied[B * D], of_sigmoid[B * D], missing[B * D], raw[B * D], no_noise[B * D],
        itself[B * D], mirrored[B * D];
    new_belief(&p, 21);
    for (size_t k = 0; k < B * D; k++) {
        double s = p.s[k], slope = 1 / (1 + exp(-s));
        copied[k] = log(1 + exp(s)) / 2 / slope;
        itself[k] = log(1 + exp(s)) / slope;
        of_sigmoid[k] = 1 - slope;
        missing[k] = 1 / slope;
        mirrored[k] = (1 - slope) / slope;
        raw[k] = exp(s) / slope;
        no_noise[k] = 1 / p.noise[k];
    }
    struct gradcheck check = {.title = "exercise 10, part 1: z = mu + softplus(s) noise",
                              .loss = softplus_loss,
                              .backward = softplus_backward,
                              .net = &p,
                              .batch = B};
    gc_add(&check, "mu", p.mu, p.dmu, B, D);
    struct gc_tensor *s = gc_add(&check, "s", p.s, p.ds, B, D);
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

double prior_loss(void *net, double *example) {
    struct belief *p = net;
    double loss = 0, kl[B];
    pack(p);
    prior_forward(kl, p->code, p->prior, B, D);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = kl[r] / B;
    return loss;
}

void prior_gradient(void *net) {
    struct belief *p = net;
    pack(p);
    prior_backward(p->dcode, p->dprior, p->code, p->prior, 1 / (real)B, B, D);
    unpack(p);
}

void prior_part(void **state) {
    (void)state;
    static struct belief p;
    static double standard[B * D], by_root[B * D], undivided[B * D], old_logvar[B * D], no_away[D],
        no_square[D], no_one[D], whole[D], v_squared[D], plus[D], only_exp[B * D], plus_one[B * D];
    new_belief(&p, 22);
    for (size_t k = 0; k < B * D; k++) {
        double v = exp(p.logv[k % D]);
        standard[k] = p.mu[k] / B;
        by_root[k] = sqrt(v);
        undivided[k] = v;
        old_logvar[k] = (exp(p.s[k]) - 1) / 2 / B;
        only_exp[k] = exp(p.s[k]) / v / 2 / B;
        plus_one[k] = only_exp[k] + 0.5 / B;
        double far = exp(p.s[k]) + pow(p.mu[k] - p.m[k % D], 2);
        whole[k % D] += (1 - far) / 2 / B;
        v_squared[k % D] += (1 - far / v / v) / 2 / B;
        plus[k % D] += (1 + far / v) / 2 / B;
        no_away[k % D] += (1 - exp(p.s[k]) / v) / 2 / B;
        no_square[k % D] += (1 - (p.mu[k] - p.m[k % D]) * (p.mu[k] - p.m[k % D]) / v) / 2 / B;
        no_one[k % D] -= far / v / 2 / B;
    }
    struct gradcheck check = {.title = "exercise 10, part 2: the divergence from a learned prior",
                              .loss = prior_loss,
                              .backward = prior_gradient,
                              .net = &p,
                              .batch = B};
    struct gc_tensor *mu = gc_add(&check, "mu", p.mu, p.dmu, B, D);
    struct gc_tensor *logvar = gc_add(&check, "logvar", p.s, p.ds, B, D);
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
int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(softplus_part),
        cmocka_unit_test(prior_part),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
