/* judge.c: judges exercise 5. Built with -DEXERCISE='"exercise.c"' or "solution.c", whose bridge is
   built from two of chapter 5's layers. */
#define WORKBOOK_TEST
#define REAL double
#include "autoencoder.c"

#include EXERCISE

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3, IN = 4, WIDE = 5 };

/* A layer with memory of its own. */
struct own_layer {
    struct layer y;
    real W[WIDE * WIDE], b[WIDE], dW[WIDE * WIDE], db[WIDE];
    real Wt[WIDE * WIDE], h[B * WIDE], slope[B * WIDE], d[B * WIDE];
};

void own(struct own_layer *o, size_t in, struct random *r) {
    o->y = (struct layer){in, WIDE, TANH, o->W, o->b, o->dW, o->db, o->Wt, o->h, o->slope, o->d};
    fill(o->W, in * WIDE, r);
    fill(o->b, WIDE, r);
}

/* `other` is a second copy of the first layer with an input of its own. Where `apart` is set, it
   feeds the bridge, and so the shares of the two ways can be measured one by one. */
struct bridge {
    struct own_layer first, second, other;
    real x[B * IN], other_x[B * IN], dx[B * IN], y[B * WIDE], c[B * WIDE];
    int apart;
};

double bridge_loss(void *bridge, double *example) {
    struct bridge *t = bridge;
    bridge_forward(t->y, &t->first.y, &t->second.y, t->x, B);
    if (t->apart) {
        layer_forward(&t->other.y, t->other_x, B);
        for (size_t k = 0; k < B * WIDE; k++)
            t->y[k] = t->second.h[k] + t->other.h[k];
    }
    return weighted_sum(example, t->c, t->y, B, WIDE);
}

void bridge_gradients(void *bridge) {
    struct bridge *t = bridge;
    double example[B];
    struct own_layer *layer[] = {&t->first, &t->second};
    for (size_t l = 0; l < 2; l++) {
        struct own_layer *o = layer[l];
        memset(o->dW, 0, sizeof o->dW);
        memset(o->db, 0, sizeof o->db);
        memset(o->d, 0, sizeof o->d);
        transpose(o->Wt, o->W, o->y.in, WIDE, 0, o->y.in);
    }
    memset(t->dx, 0, sizeof t->dx);
    bridge_loss(t, example);
    bridge_backward(&t->first.y, &t->second.y, t->dx, t->c, t->x, B);
}

/* The share of one way: nudge the copy that goes it, leave the other. */
void share_of(double *part, struct bridge *t, real *copy, size_t n) {
    double example[B], h = 1e-6;
    memcpy(t->other.W, t->first.W, sizeof t->first.W);
    memcpy(t->other.b, t->first.b, sizeof t->first.b);
    memcpy(t->other_x, t->x, sizeof t->x);
    t->apart = 1;
    for (size_t k = 0; k < n; k++) {
        real keep = copy[k];
        copy[k] = keep + h;
        double up = bridge_loss(t, example);
        copy[k] = keep - h;
        part[k] = (up - bridge_loss(t, example)) / (2 * h);
        copy[k] = keep;
    }
    t->apart = 0;
}

void exercise(void **state) {
    (void)state;
    static struct bridge t;
    static double through[3][B * IN + IN * WIDE], over[3][B * IN + IN * WIDE];
    static double late[3][B * IN + IN * WIDE], from_h2[WIDE * WIDE];
    struct random r;
    random_seed(&r, 15);
    fill(t.x, B * IN, &r);
    fill(t.c, B * WIDE, &r);
    own(&t.first, IN, &r);
    own(&t.second, WIDE, &r);
    own(&t.other, IN, &r);
    real *copy[2][3] = {{t.x, t.first.W, t.first.b}, {t.other_x, t.other.W, t.other.b}};
    const size_t n[] = {B * IN, IN * WIDE, WIDE};
    for (size_t k = 0; k < 3; k++) {
        share_of(through[k], &t, copy[0][k], n[k]);
        share_of(over[k], &t, copy[1][k], n[k]);
        memcpy(late[k], through[k], n[k] * sizeof(double));
    }
    bridge_gradients(&t);
    for (size_t e = 0; e < B; e++)
        for (size_t j = 0; j < WIDE; j++) { /* dy added to d1 when it is that of s1 already */
            double dy = t.c[e * WIDE + j];
            late[2][j] += dy;
            for (size_t i = 0; i < IN; i++) {
                late[0][e * IN + i] += dy * t.first.W[i * WIDE + j];
                late[1][i * WIDE + j] += dy * t.x[e * IN + i];
            }
            for (size_t i = 0; i < WIDE; i++) /* h2 taken for what came into the second layer */
                from_h2[i * WIDE + j] +=
                    dy * t.second.slope[e * WIDE + j] * t.second.h[e * WIDE + i];
        }
    struct gradcheck check = {.title = "exercise 5, a layer with a bridge over it",
                              .loss = bridge_loss,
                              .backward = bridge_gradients,
                              .net = &t,
                              .batch = B};
    struct gc_tensor *tensor[3];
    tensor[0] = gc_add(&check, "x", t.x, t.dx, B, IN);
    tensor[1] = gc_add_weight(&check, "W1", t.first.W, t.first.dW, WIDE, IN);
    tensor[2] = gc_add_weight(&check, "b1", t.first.b, t.first.db, WIDE, 1);
    tensor[1]->slope = tensor[2]->slope = t.first.slope;
    for (size_t k = 0; k < 3; k++) {
        gc_foresee(tensor[k],
                   "This is what comes through the second layer alone: what comes over the bridge "
                   "is lost. h1 is used twice, so d1 must collect both, with +=, before it is "
                   "used.",
                   NULL, through[k]);
        gc_foresee(tensor[k],
                   "This is what comes over the bridge alone: what comes through the second layer "
                   "is lost. h1 is used twice, so d1 must collect both, with +=, before it is "
                   "used.",
                   NULL, over[k]);
        gc_foresee(tensor[k],
                   "What comes over the bridge has not passed by the slope f'(s1): it was added "
                   "when d1 was the derivative of s1 already.",
                   NULL, late[k]);
    }
    struct gc_tensor *W2 = gc_add_weight(&check, "W2", t.second.W, t.second.dW, WIDE, WIDE);
    struct gc_tensor *b2 = gc_add_weight(&check, "b2", t.second.b, t.second.db, WIDE, 1);
    W2->slope = b2->slope = t.second.slope;
    gc_foresee(W2, "What came into the second layer is h1; here stands what left it, h2.", NULL,
               from_h2);
    assert_int_equal(gc_run(&check), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(exercise)};
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
