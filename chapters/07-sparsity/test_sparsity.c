/* test_sparsity.c: every gradient of chapter 7 against finite differences, in double: without a
   penalty, with L1 on both sides of its corner, with KL of the mean over a batch; whether a penalty
   couples the images of a batch; two slips that must not pass; and training steps on one core, two
   and three. Run with a file name it writes there what the check measured.

   The steps on several cores need OpenMP, so it is built like the program. */
#define WORKBOOK_TEST
#define REAL double
#include "sparsity.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

#include "gradcheck.h"
#include "testing.h"

enum { B = 3, N = 6, D = 8 };

/* --- a small code ------------------------------------------------------------------ */
enum slip { NO_SLIP, KL_OF_EACH, L1_OF_WEIGHTS };

/* Its loss is the program's own, from its forward pass on; what is nudged may be the sums
   s = W x + b or the code. The program keeps no s, so we have a copy. */
struct small {
    struct sparse m;
    real x[B * N], s[B * D], slope[B * D];
    size_t batch; /* B, or 1 */
    enum slip slip;
    double without[B * D];  /* ds without the penalty */
    double guess[8][B * D]; /* ds with a mistake, for the diagnosis */
};

/* The program tells what each image costs; the check wants its share of the mean. */
double loss_from_code(void *small, double *example) {
    struct small *w = small;
    struct cost c = sparse_cost(&w->m, w->x, w->batch);
    for (size_t r = 0; r < w->batch; r++)
        example[r] = w->m.example[r] / (double)w->batch;
    return c.squared + c.penalty;
}

double loss_from_s(void *small, double *example) {
    struct small *w = small;
    struct layer *y = &w->m.encoder;
    activation_forward(y->h, y->slope, w->s, y->f, w->batch * D);
    return loss_from_code(w, example);
}

double whole_loss(void *small, double *example) {
    struct small *w = small;
    forward_by_all(&w->m.encoder, w->x, w->batch);
    return loss_from_code(w, example);
}

/* The program's gradient; or, for a slip, that of the squared error and another penalty: KL of each
   activation instead of the mean, or the absolute values of the weights. */
void whole_backward(void *small) {
    struct small *w = small;
    struct sparse *m = &w->m;
    const struct penalty p = m->penalty;
    if (w->slip == NO_SLIP) {
        sparse_gradient(m, w->x, w->batch);
        return;
    }
    sparse_zero(m, w->batch);
    forward_by_all(&m->encoder, w->x, w->batch);
    sparse_cost(m, w->x, w->batch);
    squared_error_backward(m->decoder.d, m->decoder.h, w->x, w->batch, N);
    for (size_t k = 0; k < w->batch * D && w->slip == KL_OF_EACH; k++)
        m->encoder.d[k] += p.lambda * coin_kl_slope(p.rho, m->encoder.h[k]) / (double)w->batch;
    for (size_t k = 0; k < m->parameters && w->slip == L1_OF_WEIGHTS; k++)
        m->grad[k] += p.lambda * ((m->value[k] > 0) - (m->value[k] < 0));
    sparse_backward(m, w->x, w->batch);
}

/* With a ReLU each unit is on for some images and off for others. Where `corner` is not 0, the sum
   of unit 3 for image 0 is that, within reach of a step from the corner. */
void small_new(struct small *w, enum activation f, struct penalty p, size_t batch, double corner) {
    struct random r;
    random_seed(&r, 7);
    memset(w, 0, sizeof *w);
    struct sparse *m = &w->m;
    *m = sparse_new(N, D, f, batch);
    w->batch = batch;
    fill(m->value, m->parameters, &r);
    for (size_t k = 0; k < batch * N; k++)
        w->x[k] = random_uniform(&r, 0.1, 1);
    for (size_t k = 0; k < N * D; k++) /* strokes with ink only, but for one */
        m->decoder.W[k] = random_uniform(&r, 0.05, 0.5) * (k < N ? -1 : 1);
    struct layer sums = m->encoder;
    sums.f = IDENTITY;
    sums.h = w->s;
    for (int twice = 0; twice < 2; twice++) {
        forward_by_all(&sums, w->x, batch);
        for (size_t j = 0; j < D && !twice && f == RELU && batch > 1; j++)
            m->encoder.b[j] -= (w->s[j] + w->s[D + j]) / 2; /* between the first two images */
        if (!twice && corner != 0)
            m->encoder.b[3] -= (f == RELU ? (w->s[3] - w->s[D + 3]) / 2 : w->s[3]) - corner;
    }
    transpose(m->decoder.Wt, m->decoder.W, D, N, 0, D);
    forward_by_all(&m->encoder, w->x, batch);
    memcpy(w->slope, m->encoder.slope, batch * D * sizeof(real));
    whole_backward(w);
    memcpy(w->without, m->encoder.d, sizeof(real) * batch * D); /* penalty: none so far */
    m->penalty = p;
}

/* --- what may go wrong ---------------------------------------------------------- */
/* Foreseen mistakes: other pulls at each activation, beside what comes without the penalty. */
enum { MISTAKES = 7 };
const char *const l1_mistake[MISTAKES] = {
    "This is the gradient without the penalty.",
    "This gradient is what the text derives. The loss is another: look at the forward pass.",
    "The sign of the activation is missing: the pull of |a| goes towards 0 from both sides.",
    "This is the slope of lambda a^2: the pull fades where a is small. That of |a| does not.",
    "The activation itself stands where only its sign is meant.",
    "The penalty's pull is not divided by B.",
    "The penalty pulls away from 0: its sign is flipped."};
const char *const kl_mistake[MISTAKES] = {
    "This is the gradient without the penalty.",
    "This gradient is what the text derives. The loss is another: look at the forward pass.",
    "This is the KL of one example's activation: the slope must be taken at the batch mean.",
    "The penalty's slope is not divided by B: each activation has a share of 1/B in the mean.",
    "The penalty drives the mean away from rho: its sign is flipped.",
    "Only the half that keeps a unit from falling silent is there: (1-rho)/(1-mean) is missing.",
    "Only the half that keeps a unit from being loud is there: -rho/mean is missing."};

void foresee(struct small *w, struct gc_tensor *s) {
    const struct penalty *p = &w->m.penalty;
    const real *a = w->m.encoder.h;
    const double images = (double)w->batch;
    for (size_t n = 0; n < MISTAKES && p->kind != NONE; n++)
        gc_foresee(s, p->kind == L1 ? l1_mistake[n] : kl_mistake[n], NULL, w->guess[n]);
    if (p->kind == KL)
        gc_foresee(s, "The penalty acts on image 0 alone: all images have a share in the mean.",
                   NULL, w->guess[MISTAKES]);
    for (size_t k = 0; k < w->batch * D; k++) {
        double m = 0, rho = p->rho, sign = (a[k] > 0) - (a[k] < 0);
        for (size_t r = 0; r < w->batch; r++)
            m += a[r * D + k % D] / images;
        double down = -rho / m, up = (1 - rho) / (1 - m), each = coin_kl_slope(rho, a[k]);
        const double l1_pull[] = {0, sign, 1, 2 * a[k], a[k], sign * images, -sign, 0};
        const double kl_pull[] = {0,          down + up, each, images * (down + up),
                                  -down - up, down,      up,   k < D ? down + up : 0};
        for (size_t n = 0; n <= MISTAKES; n++)
            w->guess[n][k] = w->without[k] + (p->kind == L1 ? l1_pull[n] : kl_pull[n]) * p->lambda /
                                                 images * w->slope[k];
    }
}

/* Checks the sums of the code alone, or everything. Returns the number of tensors that fail. */
int check_small(struct small *w, struct gradcheck *c, int all) {
    struct sparse *m = &w->m;
    whole_backward(w);
    if (all) {
        gc_size(c, "the number of pixels n", N);
        gc_size(c, "the number of units d", D);
        add_tensors(c, m->tensor, 2);
        c->tensor[0].slope = c->tensor[1].slope = w->slope;
    }
    struct gc_tensor *s = gc_add(c, "s", w->s, m->encoder.d, w->batch, D);
    s->loss = loss_from_s;
    s->slope = w->slope;
    foresee(w, s);
    if (!all)
        return gc_run(c);
    add_tensors(c, m->tensor + 2, 1);
    /* A penalty too weak to be seen would be no test: it must make a thousandth of each entry. */
    double least_share = INFINITY;
    for (size_t k = 0; k < w->batch * D; k++)
        if (m->encoder.d[k] != w->without[k])
            least_share = fmin(least_share, fabs(1 - w->without[k] / m->encoder.d[k]));
    int failed = gc_run(c);
    if (!failed && least_share < 1e-3)
        printf("%s: the penalty is too weak to be tested\n", c->title), failed++;
    return failed;
}

int check(const char *title, enum activation f, struct penalty p, size_t batch, double corner) {
    static struct small w;
    small_new(&w, f, p, batch, corner);
    struct gradcheck c = {
        .title = title, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = batch};
    int failed = check_small(&w, &c, 1);
    if (!failed && corner != 0 && c.kinks == 0)
        printf("%s: no kink was met\n", title), failed++;
    return failed;
}

/* --- the checks ------------------------------------------------------------------- */
const struct penalty none = {NONE, 0, 0}, l1 = {L1, 0.7, 0}, kl = {KL, 2, 0.05};

void without_penalty(void **state) {
    (void)state;
    assert_int_equal(check("chapter 7, no penalty, ReLU code", RELU, none, B, 1e-4) +
                         check("chapter 7, no penalty, sigmoid code", SIGMOID, none, B, 0),
                     0);
}

/* With a ReLU, |a| = a and the corner is ReLU's. Where a may be negative, |a| has a corner of its
   own: an identity and a tanh code have it. */
void l1_and_its_corner(void **state) {
    (void)state;
    assert_int_equal(check("chapter 7, L1, ReLU code", RELU, l1, B, 1e-4) +
                         check("chapter 7, L1, identity code", IDENTITY, l1, B, 1e-4) +
                         check("chapter 7, L1, tanh code", TANH, l1, B, 1e-4),
                     0);
    /* On the corner itself: 0, which lies between the slopes of the two sides. */
    real a[] = {0, -2, 3, 0}, da[4] = {0};
    l1_backward(da, a, 0.5, 2, 2);
    assert_true(da[0] == 0 && da[1] == -0.25 && da[2] == 0.25 && da[3] == 0);
}

void kl_of_the_batch_mean(void **state) {
    (void)state;
    assert_int_equal(check("chapter 7, KL of the batch mean, B = 3", SIGMOID, kl, B, 0) +
                         check("chapter 7, KL of the batch mean, B = 1", SIGMOID, kl, 1, 0),
                     0);
}

/* A slip's gradient against the chapter's loss. With one image in the batch, KL of one example's
   activation is KL of the mean, and no check can tell. With three it can. */
void planted(const char *title, enum slip slip, enum activation f, struct penalty p, size_t batch,
             int wrong) {
    static struct small w;
    small_new(&w, f, p, batch, 0);
    w.slip = slip;
    struct gradcheck c = {
        .title = title, .loss = whole_loss, .backward = whole_backward, .net = &w, .batch = batch};
    struct gc_total before = gc_total; /* a mistake made on purpose does not count */
    int failed = check_small(&w, &c, 0);
    gc_total = before;
    printf("  (planted: this one must %s)\n\n", wrong ? "fail" : "pass, though it is wrong");
    assert_int_equal(failed, wrong);
}

void slips(void **state) {
    (void)state;
    planted("chapter 7, planted slip: KL of each image, B = 1", KL_OF_EACH, SIGMOID, kl, 1, 0);
    planted("chapter 7, planted slip: KL of each image, B = 3", KL_OF_EACH, SIGMOID, kl, B, 1);
    planted("chapter 7, planted slip: L1 on weights", L1_OF_WEIGHTS, RELU, l1, B, 1);
}

/* We nudge what unit 0 says to image 0, and look at the penalty's gradient at each image. */
void coupling(void **state) {
    (void)state;
    real a[B * D];
    struct random r;
    random_seed(&r, 3);
    for (size_t k = 0; k < B * D; k++)
        a[k] = random_uniform(&r, 0.05, 0.4);
    const double lambda = 2, p = 0.05, h = 1e-5, keep = a[0];
    double moved[2][B], m = (a[0] + a[D] + a[2 * D]) / B;
    for (int which = 0; which < 2; which++) {
        double da[2][B * D] = {{0}}, mean[D];
        for (int side = 0; side < 2; side++) {
            a[0] = keep + (side ? h : -h);
            mean_activation(mean, a, B, D);
            if (which)
                mean_kl_backward(da[side], mean, lambda, p, B, D);
            else
                l1_backward(da[side], a, lambda, B, D);
            a[0] = keep;
        }
        for (size_t k = 0; k < B; k++)
            moved[which][k] = (da[1][k * D] - da[0][k * D]) / (2 * h);
    }
    double theory = lambda / (B * B) * (p / (m * m) + (1 - p) / ((1 - m) * (1 - m)));
    printf(
        "chapter 7, coupling: unit 0 says a little more to image 0; the penalty's gradient moves\n"
        "              at image 0   at image 1   at image 2   by the formula\n"
        "  L1        %12.4f %12.4f %12.4f %12.4f, 0, 0\n"
        "  KL        %12.4f %12.4f %12.4f %12.4f everywhere\n\n",
        moved[0][0], moved[0][1], moved[0][2], 0.0, moved[1][0], moved[1][1], moved[1][2], theory);
    for (size_t k = 0; k < B; k++)
        if (moved[0][k] != 0 || !(fabs(moved[1][k] / theory - 1) < 1e-6))
            fail_msg("at image %zu the coupling is not what the formula says", k);
}

/* --- several cores ------------------------------------------------------------------ */
/* Training steps from one start, on one core, two and three: the same to the last bit. Of 24
   images one of two cores gets eight and the other sixteen, so that one comes first where both
   should meet; and there is room for more images, which nobody may touch. */
void cores_agree(void **state) {
    (void)state;
    enum { PIXELS_HERE = 200, UNITS = 304, IMAGES = 24, STEPS = 4 };
    const char *wrong = NULL;
    for (int with = 0; with < 3; with++) {
        real *one = NULL, untouched = 2;
        for (size_t team = 1; team <= 3; team++) {
            struct random r;
            struct sparse m =
                sparse_new(PIXELS_HERE, UNITS, with == 2 ? SIGMOID : RELU, 2 * IMAGES);
            real *images = allocate(2 * IMAGES * PIXELS_HERE, sizeof *images);
            m.penalty = with == 0 ? none : with == 1 ? l1 : kl;
            m.eraser = with == 1;
            random_seed(&r, 5);
            fill(m.value, m.parameters, &r);
            for (size_t k = 0; k < IMAGES * PIXELS_HERE; k++)
                images[k] = random_uniform(&r, 0, 1);
            keep_strokes(m.decoder.W, UNITS, PIXELS_HERE, 1, m.eraser);
            transpose(m.decoder.Wt, m.decoder.W, UNITS, PIXELS_HERE, 0, UNITS);
            struct layer *both[] = {&m.encoder, &m.decoder};
            for (size_t k = 0; k < IMAGES * PIXELS_HERE; k++)
                for (size_t l = 0; l < 2; l++)
                    both[l]->h[IMAGES * both[l]->out + k] = both[l]->d[IMAGES * both[l]->out + k] =
                        untouched;
            USE_CORES(team);
            for (int step = 0; step < STEPS; step++) {
                sparse_gradient(&m, images, IMAGES);
                sparse_update(&m, 0.01);
            }
            for (size_t k = 0; k < IMAGES * PIXELS_HERE; k++)
                for (size_t l = 0; l < 2; l++)
                    if (both[l]->h[IMAGES * both[l]->out + k] != untouched ||
                        both[l]->d[IMAGES * both[l]->out + k] != untouched)
                        wrong = "a core has worked on rows that are not its share";
            for (size_t j = 0; j < UNITS; j++)
                for (size_t i = 0; i < PIXELS_HERE; i++)
                    if (m.decoder.Wt[i * UNITS + j] != m.decoder.W[j * PIXELS_HERE + i])
                        wrong = "after a step V and its transposed copy differ";
            one = one ? one : m.value;
            if (!wrong && memcmp(one, m.value, m.parameters * sizeof(real)) != 0)
                wrong = "one core and several take different steps: does each wait at meet()?";
        }
    }
    USE_CORES(1);
    printf("%s%s\n\n", wrong ? "WRONG: " : "",
           wrong ? wrong : "one core, two and three take the same steps, to the last bit");
    assert_null(wrong);
}

/* --- numbers that can be done by hand ------------------------------------------------ */
int near(const char *what, double value, double right) {
    int good = fabs(value - right) <= 1e-12 * fmax(1, fabs(right));
    if (!good)
        printf("%s is %.12g and should be %.12g\n", what, value, right);
    return good;
}

void penalties_by_hand(void **state) {
    (void)state;
    /* Two images, two units: |1| + |-2| = 3 and |0.5| + |0| = 0.5, times 2, mean 3.5. */
    real a[] = {1, -2, 0.5, 0};
    double example[2] = {10, 20}, mean[2];
    int good = near("L1 of two images", l1_forward(example, a, 2, 2, 2), 3.5);
    good &= near("the first's cost", example[0], 16) & near("the second's", example[1], 21);
    /* KL(1/2 || 1/4) = log(2)/2 + log(2/3)/2 = log(4/3)/2, slope -2 + 2/3; KL(p || p) = 0. */
    good &= near("KL(p || p)", coin_kl(0.05, 0.05), 0);
    good &= near("KL(1/2 || 1/4)", coin_kl(0.5, 0.25), log(4.0 / 3) / 2);
    good &= near("its slope", coin_kl_slope(0.5, 0.25), -4.0 / 3);
    /* A unit that says 1 to half of the images has the mean of one that says 1/2 to all. */
    real by_unit[] = {1, 0.5, 0, 0.5}, da[4] = {0};
    mean_activation(mean, by_unit, 2, 2);
    good &= near("mean of 1 and 0", mean[0], 0.5) & near("mean of two halves", mean[1], 0.5);
    good &= near("KL of two units", mean_kl_forward(mean, 3, 0.25, 2),
                 6 * (0.25 * log(0.5) + 0.75 * log(1.5)));
    mean_kl_backward(da, mean, 3, 0.25, 2, 2); /* 3/2 (-1/2 + 3/2) = 1.5, for both images */
    for (size_t k = 0; k < 4; k++)
        good &= near("KL's pull", da[k], 1.5);
    /* At the edge the cost and the pull are finite, and the pull goes the right way. */
    if (!(isfinite(coin_kl(0.05, 0)) && isfinite(coin_kl(0.05, 1)) &&
          coin_kl_slope(0.05, 0) < -1e4 && coin_kl_slope(0.05, 1) > 1e5))
        printf("a mean of 0 or 1 makes KL or its slope infinite, or pulls the wrong way\n"),
            good = 0;
    /* What was in a gradient before must still be in it. */
    real before[2][4] = {{1, 1, 1, 1}, {1, 1, 1, 1}};
    l1_backward(before[0], a, 0.5, 2, 2);
    mean_kl_backward(before[1], mean, 3, 0.25, 2, 2);
    if (before[0][0] != 1.25 || fabs(before[1][0] - 2.5) > 1e-12)
        printf("%s forgets what was in the gradient before: an = stands where += is meant.\n",
               before[0][0] != 1.25 ? "l1_backward" : "mean_kl_backward"),
            good = 0;
    assert_true(good);
}

/* A stroke of 3, -1, 4 loses its negative ink and becomes 0.6, 0, 0.8; a short one stays; with an
   eraser 3, 0, -4 becomes 0.6, 0, -0.8. Then a code that copies; and what a sparse code scores. */
void strokes_and_codes(void **state) {
    (void)state;
    real V[] = {3, -1, 4, 0.3, 0.1, -5}, free_stroke[] = {3, 0, -4};
    keep_strokes(V, 2, 3, 1, 0);
    keep_strokes(free_stroke, 1, 3, 1, 1);
    const real wanted[] = {0.6, 0, 0.8, 0.3, 0.1, 0};
    int good = near("a free stroke's eraser", free_stroke[2], -0.8);
    for (size_t k = 0; k < 6; k++)
        good &= near("A stroke is not kept: an entry", V[k], wanted[k]);
    static struct small w;
    double example[B];
    small_new(&w, RELU, none, B, 0);
    memset(w.m.value, 0, w.m.parameters * sizeof(real));
    for (size_t i = 0; i < N; i++)
        w.m.encoder.W[i * D + i] = w.m.decoder.W[i * N + i] = 1;
    good &= near("the error of a copy", whole_loss(&w, example), 0);
    real half[] = {1, 0, 1, 0}, silent[4] = {0};
    good &= near("Treves and Rolls of 1 0 1 0", treves_rolls(half, 4), 0.5);
    good &= near("Treves and Rolls of silence", treves_rolls(silent, 4), 0);
    good &= near("the active part of 1 0 1 0", active_fraction(half, 0.1, 4), 0.5);
    assert_true(good);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(without_penalty),
        cmocka_unit_test(l1_and_its_corner),
        cmocka_unit_test(kl_of_the_batch_mean),
        cmocka_unit_test(slips),
        cmocka_unit_test(coupling),
        cmocka_unit_test(cores_agree),
        cmocka_unit_test(penalties_by_hand),
        cmocka_unit_test(strokes_and_codes),
    };
    return finish_checks(cmocka_run_group_tests(checks, NULL, NULL), argc, argv);
}
