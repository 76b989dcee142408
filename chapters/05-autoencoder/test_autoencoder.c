/* test_autoencoder.c: every gradient of chapter 5 against finite differences, in double. A small
   network entry by entry, through a step of training itself; each activation; both losses; and the
   network of full size, too large for that, with all entries of a tensor nudged at once, on one
   core and on two. Run with a file name it writes there what the check measured.

   It has much to calculate, so it is built like the program. Where QUICK stands in the environment
   all is smaller; mutants and valgrind are content with that. */
#define WORKBOOK_TEST
#define REAL double
#include "autoencoder.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

/* --- the check of a network ------------------------------------------------------ */
/* A network and a batch of images. Its loss is the program's own forward pass. Its gradients come
   from a step of training itself, at rate zero. */
struct whole {
    struct network net;
    struct trainer trainer;
    struct images images;
    size_t B, order[32];
};

/* The loss from layer `from` on; below it nothing is evaluated, because nothing has changed. */
double loss_from(struct whole *w, double *example, size_t from) {
    const real *below = from ? w->net.layer[from - 1].h : w->trainer.x;
    const real *logits = network_forward(&w->net, below, from, w->net.depth, w->B);
    double loss = 0;
    struct losses *of = w->trainer.example;
    losses_of_images(of, NULL, logits, w->trainer.x, w->B, BCE, w->B);
    for (size_t r = 0; r < w->B; r++) {
        example[r] = (w->trainer.loss == BCE ? of[r].bce : of[r].squared) / (double)w->B;
        loss += example[r];
    }
    return loss;
}

double whole_loss(void *whole, double *example) {
    return loss_from(whole, example, 0);
}

void whole_backward(void *whole) {
    struct whole *w = whole;
    train_step(&w->trainer, &w->images, w->order, w->B, 0);
}

/* --- end of the check of a network ------------------------------------------------ */

/* Sets the biases so that each ReLU is off for one image and on for the others, and its corner half
   way between the two lowest sums. Any two units are then on together for some image, so no weight
   between them goes untested; and a nudge does not reach the corner. The first unit of a layer is
   on for all images. */
void off_for_one(struct network *net, const real *x, size_t rows) {
    for (size_t l = 0; l < net->depth; l++) {
        struct layer *y = &net->layer[l], sums = *y;
        sums.f = IDENTITY;
        layer_forward(&sums, x, rows);
        for (size_t j = 0; j < y->out && y->f != IDENTITY; j++) {
            double lowest = INFINITY, second = INFINITY;
            for (size_t r = 0; r < rows; r++) {
                double s = y->h[r * y->out + j];
                second = fmin(second, fmax(s, lowest));
                lowest = fmin(s, lowest);
            }
            y->b[j] -= j ? (lowest + second) / 2 : lowest - 1; /* the first is on for all */
        }
        layer_forward(y, x, rows);
        x = y->h;
    }
}

/* With pictures of dense noise: the gradient of a black pixel's weights would be zero. Two steps of
   training come first, so that nothing is as it was at the start; early (as many numbers as the
   last layer has weights) keeps its transposed copy of before. */
void whole_new(struct whole *w, const size_t *size, size_t count, enum loss loss, size_t B,
               real *early) {
    struct random r;
    random_seed(&r, 10);
    w->net = network_new(size, count, 1, RELU, B);
    w->trainer = trainer_new(&w->net, loss, 0);
    w->images = (struct images){B, allocate(B, PIXELS), NULL};
    w->B = B;
    struct layer *last = &w->net.layer[w->net.depth - 1];
    network_start(&w->net, &r);
    network_transpose(&w->net);
    if (early)
        memcpy(early, last->Wt, last->in * last->out * sizeof *early);
    for (size_t k = 0; k < B * PIXELS; k++)
        w->images.pixel[k] = (unsigned char)random_uniform(&r, 1, 256);
    for (size_t k = 0; k < B; k++)
        w->order[k] = k;
    for (int step = 0; step < 2; step++)
        train_step(&w->trainer, &w->images, w->order, B, 5e-4);
    off_for_one(&w->net, w->trainer.x, B);
    whole_backward(w);
}

void whole_free(struct whole *w) {
    free(w->net.value);
    free(w->trainer.adam.m);
    free(w->trainer.x);
    free(w->trainer.example);
    free(w->images.pixel);
}

/* For the diagnosis: slope (B,out) of the layer below, measured rather than taken from
   the program. */
void measure_slopes(double *slope, const struct layer *y, const real *x, size_t B) {
    for (size_t k = 0; k < B * y->out; k++) {
        size_t r = k / y->out, j = k % y->out;
        double s = y->b[j], ignored[2];
        for (size_t i = 0; i < y->in; i++)
            s += x[r * y->in + i] * y->W[i * y->out + j];
        double t[2] = {s + 1e-6, s - 1e-6};
        activation_forward(t, ignored, t, y->f, 2);
        slope[k] = (t[0] - t[1]) / 2e-6;
    }
}

/* For the diagnosis: the gradient of W (out,in) in layer y, if the one above had sent down not W' d
   but a product with other numbers, turned (out,in of the layer above). */
void foresee(struct gc_tensor *t, const char *says, double *guess, const struct layer *y,
             const real *x, const double *slope, const real *turned, size_t B) {
    const struct layer *above = y + 1;
    memset(guess, 0, y->in * y->out * sizeof *guess);
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < y->out; j++) {
            double d = 0;
            for (size_t k = 0; k < above->out; k++)
                d += above->d[r * above->out + k] * turned[k * y->out + j];
            for (size_t i = 0; i < y->in; i++)
                guess[i * y->out + j] += slope[r * y->out + j] * d * x[r * y->in + i];
        }
    gc_foresee(t, says, NULL, guess);
}

/* Every entry of every weight and bias. */
int check_whole(const size_t *size, size_t count, enum loss loss) {
    enum { B = 3, ROOM = 16 * PIXELS };
    static double slope[8][ROOM], guess[2][ROOM], early[ROOM];
    struct whole w = {0};
    whole_new(&w, size, count, loss, B, early);
    struct network *net = &w.net;
    char title[96];
    snprintf(title, sizeof title, "chapter 5, 784-%zu-%zu and back, relu, %s", size[1], size[2],
             loss == BCE ? "cross-entropy" : "squared error");
    struct gradcheck check = {
        .title = title, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = B};
    check.step = 1.4e-3; /* a loss of 500 nats is rounded more than most, so we step further */
    gc_size(&check, "the number of pixels", PIXELS);
    add_tensors(&check, net->tensor, net->tensors);
    for (size_t l = 0; l < net->depth; l++) {
        const struct layer *y = &net->layer[l];
        const real *x = l ? y[-1].h : w.trainer.x;
        measure_slopes(slope[l], y, x, B);
        check.tensor[2 * l].slope = check.tensor[2 * l + 1].slope = slope[l];
        if (l + 2 != net->depth)
            continue;
        foresee(&check.tensor[2 * l], "W stands where its transpose is meant.", guess[0], y, x,
                slope[l], y[1].W, B);
        foresee(&check.tensor[2 * l],
                "This is what the weights of before would give: they have changed since, and their "
                "transposed copies have not.",
                guess[1], y, x, slope[l], early, B);
    }
    int failed = loss == BCE ? gc_run(&check) : gc_run_in_one_line(&check);
    whole_free(&w);
    return failed;
}

void a_step_of_training(void **state) {
    (void)state;
    int failed = check_whole((size_t[]){PIXELS, gc_quick() ? 5 : 7, 3}, 3, BCE);
    failed += check_whole((size_t[]){PIXELS, 4, 3}, 3, SQUARED);
    assert_int_equal(failed, 0);
}

/* --- each activation ---------------------------------------------------------------- */
/* A network without images, small enough to be checked in no time: L = sum of c times
   the logits. */
enum { ROWS = 3, WIDE = 9 };
struct bare {
    struct network net;
    real x[ROWS * WIDE], c[ROWS * WIDE], dx[ROWS * WIDE];
};

double bare_loss(void *bare, double *example) {
    struct bare *t = bare;
    const real *logits = network_forward(&t->net, t->x, 0, t->net.depth, ROWS);
    return weighted_sum(example, t->c, logits, ROWS, WIDE);
}

void bare_backward(void *bare) {
    struct bare *t = bare;
    double example[ROWS];
    network_transpose(&t->net);
    network_zero(&t->net, ROWS);
    memset(t->dx, 0, sizeof t->dx);
    transpose(t->net.layer[0].Wt, t->net.layer[0].W, WIDE, t->net.layer[0].out, 0, WIDE);
    bare_loss(t, example);
    memcpy(t->net.dlogits, t->c, sizeof t->c);
    network_backward_inputs(&t->net, t->dx, 0, t->net.depth, ROWS);
    network_backward_weights(&t->net, t->x, 0, t->net.depth, ROWS);
}

void each_activation(void **state) {
    (void)state;
    int failed = 0;
    for (int f = 0; f < ACTIVATIONS; f++) {
        static double slope[8][ROWS * WIDE];
        static real Wt[WIDE * WIDE];
        struct bare t;
        struct random r;
        random_seed(&r, 7);
        t.net = network_new((size_t[]){WIDE, 7, 5, 3}, 4, 1, (enum activation)f, ROWS);
        t.net.layer[0].Wt = Wt; /* the program has none here: nobody wants to change the pixels */
        fill(t.x, ROWS * WIDE, &r);
        fill(t.c, ROWS * WIDE, &r);
        network_start(&t.net, &r);
        off_for_one(&t.net, t.x, ROWS);
        char title[64];
        snprintf(title, sizeof title, "chapter 5, 9-7-5-3 and back, %s", activation_name[f]);
        struct gradcheck check = {
            .title = title, .loss = bare_loss, .backward = bare_backward, .net = &t, .batch = ROWS};
        gc_add(&check, "x", t.x, t.dx, ROWS, WIDE);
        add_tensors(&check, t.net.tensor, t.net.tensors);
        for (size_t l = 0; l < t.net.depth; l++) {
            measure_slopes(slope[l], &t.net.layer[l], l ? t.net.layer[l - 1].h : t.x, ROWS);
            check.tensor[2 * l + 1].slope = check.tensor[2 * l + 2].slope = slope[l];
        }
        failed += gc_run_in_one_line(&check);
        free(t.net.value);
    }
    assert_int_equal(failed, 0);
}

/* --- the check of the losses ----------------------------------------------------- */
struct judged {
    enum loss kind;
    real s[ROWS * PIXELS], x[ROWS * PIXELS], d[ROWS * PIXELS];
    struct losses example[ROWS];
};

double judged_loss(void *judged, double *example) {
    struct judged *t = judged;
    double loss = 0;
    losses_of_images(t->example, NULL, t->s, t->x, ROWS, t->kind, ROWS);
    for (size_t r = 0; r < ROWS; r++)
        loss += example[r] = (t->kind == BCE ? t->example[r].bce : t->example[r].squared) / ROWS;
    return loss;
}

void judged_backward(void *judged) {
    struct judged *t = judged;
    memset(t->d, 0, sizeof t->d);
    losses_of_images(t->example, t->d, t->s, t->x, ROWS, t->kind, ROWS);
}

/* --- end of the check of the losses ------------------------------------------------ */

void both_losses(void **state) {
    (void)state;
    static struct judged t;
    static double slope[ROWS * PIXELS], inverse[ROWS * PIXELS], other[ROWS * PIXELS];
    struct random r;
    random_seed(&r, 9);
    int failed = 0;
    fill(t.s, ROWS * PIXELS, &r);
    for (size_t k = 0; k < ROWS * PIXELS; k++) {
        t.s[k] *= 3;
        t.x[k] = random_uniform(&r, 0, 1);
    }
    for (int kind = 0; kind < 2; kind++) {
        t.kind = (enum loss)kind;
        for (size_t k = 0; k < ROWS * PIXELS; k++) { /* for the diagnosis */
            double xhat = 1 / (1 + exp(-t.s[k])), difference = xhat - t.x[k];
            slope[k] = xhat * (1 - xhat);
            inverse[k] = 1 / slope[k];
            other[k] = (kind == BCE ? 2 * difference * slope[k] : difference) / ROWS;
        }
        struct gradcheck check = {.title = kind == BCE ? "chapter 5, cross-entropy of logits"
                                                       : "chapter 5, squared error",
                                  .loss = judged_loss,
                                  .backward = judged_backward,
                                  .net = &t,
                                  .batch = ROWS,
                                  .step = 1.4e-3};
        gc_size(&check, "the number of pixels", PIXELS);
        struct gc_tensor *s = gc_add(&check, "logits", t.s, t.d, ROWS, PIXELS);
        gc_foresee(s, "This is the gradient of the other loss.", NULL, other);
        if (kind == BCE)
            gc_foresee(s,
                       "The slope of the sigmoid is multiplied in: with the cross-entropy it "
                       "cancels.",
                       slope, NULL);
        else
            gc_foresee(s, "The slope of the sigmoid, xhat(1-xhat), is missing.", inverse, NULL);
        failed += gc_run_in_one_line(&check);
        double wanted = 0; /* the loss itself, by the formula of chapter 4 */
        for (size_t k = 0; k < PIXELS; k++) {
            double x = t.x[k], xhat = 1 / (1 + exp(-t.s[k]));
            wanted -= x * log(xhat) + (1 - x) * log(1 - xhat);
        }
        int right = fabs(t.example[0].bce - wanted) < 1e-9 * wanted;
        if (!right)
            printf("the cross-entropy is not that of chapter 4: look at the forward pass\n");
        failed += !right;
    }
    assert_int_equal(failed, 0);
}

/* --- the network of full size ------------------------------------------------------ */
/* 710,190 parameters are too many to be nudged one by one: all entries of a tensor at once, in
   twenty random directions. */
double full_loss(void *whole, size_t tensor) {
    double example[32];
    return loss_from(whole, example, tensor / 2); /* two tensors a layer */
}

void the_full_size(void **state) {
    (void)state;
    int quick = gc_quick(), directions = quick ? 3 : 20;
    struct whole w = {0};
    USE_CORES(1);
    whole_new(&w, quick ? (size_t[]){PIXELS, 20, 10, 6} : (size_t[]){PIXELS, 400, 100, 6}, 4, BCE,
              19, NULL);
    struct network *net = &w.net;
    double *one = allocate(net->parameters, sizeof *one);
    memcpy(one, net->grad, net->parameters * sizeof *one);
    USE_CORES(2);
    whole_backward(&w);
    printf("chapter 5, 784-%zu-%zu-%zu and back, relu, cross-entropy: %d random directions a "
           "tensor\n",
           net->layer[0].out, net->layer[1].out, net->code, directions);
    int wrong = check_directions(net->tensor, net->tensors, full_loss, &w, directions);
    int same = memcmp(one, net->grad, net->parameters * sizeof *one) == 0;
    printf("one core and two give %s\n",
           same ? "the same gradient, to the last bit" : "WRONG results");
    if (!wrong && same)
        printf("all %zu derivatives take part, and every direction agrees\n", net->parameters);
    whole_free(&w);
    free(one);
    assert_int_equal(wrong + !same, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(both_losses),
        cmocka_unit_test(each_activation),
        cmocka_unit_test(a_step_of_training),
        cmocka_unit_test(the_full_size),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
