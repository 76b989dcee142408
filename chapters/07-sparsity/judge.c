/* judge.c: judges exercise 7. Built with -DEXERCISE='"exercise.c"' or "solution.c". */
#define WORKBOOK_TEST
#define REAL double
#include "sparsity.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3, D = 8 };

struct exercise {
    real a[B * D], da[B * D];
    double m[D], q[D], lambda, rho;
};

double exercise_kl_loss(void *context, double *example) {
    struct exercise *e = context;
    memset(example, 0, B * sizeof *example); /* the penalty belongs to no image */
    mean_activation(e->m, e->a, B, D);
    return mean_kl_forward(e->m, e->lambda, e->rho, D);
}

void exercise_kl_gradient(void *context) {
    struct exercise *e = context;
    memset(e->da, 0, sizeof e->da);
    exercise_kl_backward(e->da, e->a, e->lambda, e->rho, B, D);
}

double selectivity_loss(void *context, double *example) {
    struct exercise *e = context;
    memset(example, 0, B * sizeof *example);
    return selectivity_forward(e->m, e->q, e->a, e->lambda, B, D);
}

void selectivity_gradient(void *context) {
    struct exercise *e = context;
    double example[B];
    memset(e->da, 0, sizeof e->da);
    selectivity_loss(e, example);
    selectivity_backward(e->da, e->a, e->m, e->q, e->lambda, B, D);
}

void new_exercise(struct exercise *e, uint64_t seed) {
    struct random r;
    random_seed(&r, seed);
    memset(e, 0, sizeof *e);
    for (size_t k = 0; k < B * D; k++)
        e->a[k] = random_uniform(&r, 0.05, 0.9);
    e->lambda = 2;
    e->rho = 0.05;
}

void repaired_kl(void **state) {
    (void)state;
    static struct exercise e;
    static double each_sum[B * D], each[B * D], silent[B * D];
    new_exercise(&e, 21);
    for (size_t k = 0; k < B * D; k++) {
        double m = (e.a[k % D] + e.a[D + k % D] + e.a[2 * D + k % D]) / B, one = e.a[k];
        each_sum[k] = e.lambda * (-e.rho / one + (1 - e.rho) / (1 - one));
        each[k] = each_sum[k] / B;
        silent[k] = -e.lambda * e.rho / m / B;
    }
    struct gradcheck check = {.title = "exercise 7, part 1: KL of the batch mean",
                              .loss = exercise_kl_loss,
                              .backward = exercise_kl_gradient,
                              .net = &e,
                              .batch = B};
    struct gc_tensor *a = gc_add(&check, "a", e.a, e.da, B, D);
    gc_foresee(a,
               "This is the KL of one example's activation, and without 1/B: the slope must be "
               "taken at the batch mean, and each activation has a share of 1/B in it.",
               NULL, each_sum);
    gc_foresee(a,
               "This is the KL of one example's activation: the slope must be taken at the batch "
               "mean.",
               NULL, each);
    gc_foresee(a, "The half of 1 - rho is missing.", NULL, silent);
    assert_int_equal(gc_run(&check), 0);
}

void selectivity(void **state) {
    (void)state;
    static struct exercise e;
    static double fixed_q[B * D], fixed_m[B * D], no_square[B * D], once[B * D], added[B * D],
        no_share[B * D];
    new_exercise(&e, 22);
    double example[B];
    selectivity_loss(&e, example);
    for (size_t k = 0; k < B * D; k++) {
        double m = e.m[k % D], q = e.q[k % D], l = e.lambda;
        fixed_q[k] = 2 * l * m / (B * q);
        fixed_m[k] = -2 * l * m * m * e.a[k] / (B * q * q);
        no_square[k] = 2 * l * m / (B * q) - 2 * l * m * m * e.a[k] / (B * q);
        once[k] = 2 * l * m / (B * q) - l * m * m * e.a[k] / (B * q * q);
        added[k] = fixed_q[k] - fixed_m[k];
        no_share[k] = fixed_q[k] + B * fixed_m[k];
    }
    struct gradcheck check = {.title = "exercise 7, part 2: selectivity",
                              .loss = selectivity_loss,
                              .backward = selectivity_gradient,
                              .net = &e,
                              .batch = B};
    struct gc_tensor *a = gc_add(&check, "a", e.a, e.da, B, D);
    gc_foresee(a, "The activation stands in q, too: this half of the quotient rule is missing.",
               NULL, fixed_q);
    gc_foresee(a, "The activation stands in m, too: this half of the quotient rule is missing.",
               NULL, fixed_m);
    gc_foresee(a, "In the second half of the quotient rule q must be squared.", NULL, no_square);
    gc_foresee(a, "The square in q has the slope 2 a: the 2 is missing.", NULL, once);
    gc_foresee(a, "The second half of the quotient rule is subtracted, not added.", NULL, added);
    gc_foresee(a, "The activation has a share of 1/B in q, too: there it is missing.", NULL,
               no_share);
    assert_int_equal(gc_run(&check), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(repaired_kl),
        cmocka_unit_test(selectivity),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
