/* judge.c: judges exercise 11. Built with -DEXERCISE='"exercise.c"' or "solution.c". */
#define WORKBOOK_TEST
#define REAL double
#include "vae.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

/* Of six numbers of the code, three say more than they may for nothing, two less; and one says
   little on average but much about one image, another much on average but nothing about
   one image. */
enum { B = 3, D = 6 };
const double nats = 0.5;

struct code {
    real code[B * 2 * D], dcode[B * 2 * D];
    double mean[D];
};

double free_loss(void *code, double *example) {
    struct code *c = code;
    for (size_t r = 0; r < B; r++)
        example[r] = 0; /* the penalty is the whole batch's */
    return free_bits_forward(c->mean, c->code, nats, B, D);
}

void free_gradient(void *code) {
    struct code *c = code;
    double example[B];
    memset(c->dcode, 0, sizeof c->dcode);
    free_loss(c, example);
    free_bits_backward(c->dcode, c->mean, c->code, nats, B, D);
}

void exercise(void **state) {
    (void)state;
    static struct code c;
    static double all[B * 2 * D], each[B * 2 * D], last[B * 2 * D], whole[B * 2 * D];
    const real mu[D] = {2, -1.5, 0.3, 0.1, 0.1, 2}, v[D] = {-1, 0.5, 0.2, -0.3, -0.3, -1};
    struct random r;
    random_seed(&r, 4);
    for (size_t k = 0; k < B * D; k++) {
        size_t at = k / D * 2 * D + k % D;
        c.code[at] = mu[k % D] + random_uniform(&r, -0.2, 0.2);
        c.code[at + D] = v[k % D] + random_uniform(&r, -0.1, 0.1);
    }
    c.code[4] = 1.2; /* image 0 says more in number 4, */
    c.code[5] = 0.1; /* and less in number 5 */
    c.code[5 + D] = 0.1;
    free_gradient(&c);
    for (size_t k = 0; k < B * D; k++) { /* for the diagnosis */
        size_t j = k % D, at = k / D * 2 * D + j;
        double m = c.code[at], s = c.code[at + D], own = 0.5 * (m * m + exp(s) - 1 - s);
        double claim[2] = {m / B, (exp(s) - 1) / 2 / B};
        for (size_t half = 0; half < 2; half++) {
            size_t to = at + half * D;
            all[to] = claim[half];
            each[to] = own > nats ? claim[half] : 0;
            last[to] = c.mean[j] > nats ? 0 : claim[half];
            whole[to] = c.mean[j] > nats ? B * claim[half] : 0;
        }
    }
    struct gradcheck check = {.title = "exercise 11, free bits",
                              .loss = free_loss,
                              .backward = free_gradient,
                              .net = &c,
                              .batch = B};
    struct gc_tensor *t = gc_add(&check, "code", c.code, c.dcode, B, 2 * D);
    gc_foresee(t,
               "This is the KL's gradient: nothing is free. Where m_j is below `free`, the "
               "maximum does not move with it.",
               NULL, all);
    gc_foresee(t,
               "Each image decides for itself; but the maximum is taken of the mean over the "
               "batch.",
               NULL, each);
    gc_foresee(t, "The two cases are exchanged: above `free` the maximum is m_j.", NULL, last);
    gc_foresee(t, "1/B is missing: m_j is a mean over the batch.", NULL, whole);
    assert_int_equal(gc_run(&check), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(exercise)};
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
