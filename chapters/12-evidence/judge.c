/* judge.c: judges exercise 12. Built with -DEXERCISE='"exercise.c"' or "solution.c". */
#define WORKBOOK_TEST
#define REAL double
#include "evidence.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3, K = 6 };
struct worth {
    double logw[B * K], dlogw[B * K], moved[B * K];
};

/* The weights are as small as those of images, -500 and further from each other than [-1,1); the
   step of the check grows with the number that it nudges, so the distance is added here. */
double worth_loss(void *context, double *example) {
    struct worth *w = context;
    double loss = 0;
    for (size_t k = 0; k < B * K; k++)
        w->moved[k] = w->logw[k] - 500 - 300 * (double)(k / K);
    for (size_t r = 0; r < B; r++)
        loss += example[r] = worth_forward(w->moved + r * K, K);
    return loss;
}

void worth_gradient(void *context) {
    struct worth *w = context;
    double example[B];
    memset(w->dlogw, 0, sizeof w->dlogw);
    worth_loss(w, example);
    for (size_t r = 0; r < B; r++)
        worth_backward(w->dlogw + r * K, w->moved + r * K, K);
}

/* The slips that are made most often, each with what it says. */
static const char *const slip_says[] = {
    "This is the derivative with respect to w~_k, not log w_k: one more step, dw~ / dlogw.",
    "The sum under w~_k is taken as fixed, but it grows with w_k, too.",
    "Only w~_k is seen to change with log w_k. All the other w~_j change, too: their sum is 1.",
    "The last step is missing: this is dS / dlogw_k, of the sum of squares S; E is 1 / S.",
    "E is 1 / S, and the derivative of 1 / S is -1 / S^2, not 1 / S^2."};
enum { SLIPS = sizeof slip_says / sizeof *slip_says };

double slip(int which, double part, double E) {
    switch (which) {
    case 0:
        return -2 * E * E * part;
    case 1:
        return -2 * E * E * part * part;
    case 2:
        return -2 * E * E * part * part * (1 - part);
    case 3:
        return 2 * part * (part - 1 / E);
    default:
        return -2 * E * part * (1 - E * part);
    }
}

void exercise(void **state) {
    (void)state;
    static struct worth w;
    static double predicted[SLIPS][B * K];
    double example[B];
    struct random r;
    random_seed(&r, 12);
    fill(w.logw, B * K, &r);
    for (size_t k = 0; k < B * K; k++)
        w.logw[k] *= 1.5;
    worth_loss(&w, example);
    struct gradcheck check = {.title = "exercise 12, what weighted draws are worth",
                              .loss = worth_loss,
                              .backward = worth_gradient,
                              .net = &w,
                              .batch = B};
    struct gc_tensor *logw = gc_add(&check, "logw", w.logw, w.dlogw, B, K);
    gc_size(&check, "the number of draws", K);
    for (int s = 0; s < SLIPS; s++) {
        for (size_t k = 0; k < B * K; k++) {
            double sum = 0;
            for (size_t j = k / K * K; j < (k / K + 1) * K; j++)
                sum += exp(w.logw[j] - w.logw[k]);
            predicted[s][k] = slip(s, 1 / sum, example[k / K]);
        }
        gc_foresee(logw, slip_says[s], NULL, predicted[s]);
    }
    assert_int_equal(gc_run(&check), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(exercise)};
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
