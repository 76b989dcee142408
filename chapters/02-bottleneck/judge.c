/* judge.c: judges exercise 2. Built with -DEXERCISE='"exercise.c"' or "solution.c", whose penalty
   is added to the error of a linear autoencoder. */
#define WORKBOOK_TEST
#define REAL double
#include "bottleneck.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3, N = 6, D = 2 };
const double lambda = 0.3;

struct decayed {
    struct stack net;
    real x[B * N];
};

double decayed_loss(void *decayed, double *example) {
    struct decayed *t = decayed;
    double loss = rebuild_forward(example, &t->net, t->x, B);
    for (size_t r = 0; r < B; r++)
        example[r] /= B; /* its share of the mean */
    return loss + decay_forward(&t->net, lambda);
}

void error_gradients(struct decayed *t) {
    double example[B];
    rebuild_forward(example, &t->net, t->x, B);
    rebuild_backward(&t->net, NULL, t->x, B);
}

void decayed_gradients(void *decayed) {
    struct decayed *t = decayed;
    error_gradients(t);
    decay_backward(&t->net, lambda);
}

void exercise(void **state) {
    (void)state;
    static struct decayed t;
    t.net = stack_new((size_t[]){N, D, N}, (enum activation[]){IDENTITY, IDENTITY}, 2, B);
    struct random r;
    random_seed(&r, 11);
    fill(t.net.value, t.net.parameters, &r);
    fill(t.x, B * N, &r);
    struct gradcheck check = {.title = "exercise 2, weight decay",
                              .loss = decayed_loss,
                              .backward = decayed_gradients,
                              .net = &t,
                              .batch = B};
    /* What dW of each layer would be after three likely mistakes, once the error's own is known. */
    static double overwritten[2][N * D], subtracted[2][N * D], squared[2][N * D];
    error_gradients(&t);
    for (size_t l = 0; l < 2; l++)
        for (size_t k = 0; k < N * D; k++) {
            double w = t.net.layer[l].W[k], dw = t.net.layer[l].dW[k];
            overwritten[l][k] = lambda * w;
            subtracted[l][k] = dw - lambda * w;
            squared[l][k] = dw + lambda / 2 * w * w;
        }
    for (size_t i = 0; i < t.net.tensors; i++) {
        struct tensor *p = &t.net.tensor[i];
        struct gc_tensor *q = gc_add_weight(&check, p->name, p->value, p->grad, p->rows, p->cols);
        if (i % 2) /* the tensors are W1, b1, W2, b2 */
            continue;
        gc_foresee(q, "The error's gradient is gone: an = stands where += is meant.", NULL,
                   overwritten[i / 2]);
        gc_foresee(q, "The penalty's gradient is subtracted, and should be added.", NULL,
                   subtracted[i / 2]);
        gc_foresee(q, "This adds the penalty itself, strength/2 w^2, and not its derivative.", NULL,
                   squared[i / 2]);
    }
    assert_int_equal(gc_run(&check), 0);
    free(t.net.value);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(exercise)};
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
