/* test_gradcheck.c: is the checker itself to be trusted? First on functions whose gradient we know,
   then by its order of convergence, then by planting every mistake that it claims to name. */
#include "run.h"

#include "../src/gradcheck.h"

/* --- functions with known gradients --- */

enum { N = 6 };
static double value[N], grad[N];

static void fill_values(void) {
    for (int k = 0; k < N; k++)
        value[k] = sin(1.7 * k + 0.3) + 0.1 * k;
}

/* L = sum_k sin(k t_k) + t_k^3: no two entries alike. */
static double smooth_loss(void *net, double *example) {
    (void)net;
    double sum = 0;
    for (int k = 0; k < N; k++)
        sum += sin((k + 1) * value[k]) + value[k] * value[k] * value[k];
    example[0] = sum;
    return sum;
}

static void smooth_backward(void *net) {
    (void)net;
    for (int k = 0; k < N; k++)
        grad[k] = (k + 1) * cos((k + 1) * value[k]) + 3 * value[k] * value[k];
}

/* The table goes to a file, so that a test can read it. */
static char text[65536];
static int run_check(struct gradcheck *c) {
    c->out = tmpfile();
    assert_non_null(c->out);
    int failed = gc_run(c);
    rewind(c->out);
    text[fread(text, 1, sizeof text - 1, c->out)] = 0;
    fclose(c->out);
    return failed;
}

static void accepts_right_gradients(void **state) {
    (void)state;
    for (int order = 2; order <= 4; order += 2) {
        fill_values();
        struct gradcheck c = {
            .title = "smooth", .loss = smooth_loss, .backward = smooth_backward, .order = order};
        gc_add(&c, "t", value, grad, 2, 3);
        assert_int_equal(run_check(&c), 0);
        assert_int_equal(c.entries, N);
        assert_int_equal(c.resolved, N);
        assert_true(c.worst_error < 1e-7);
        assert_contains(text, "every one of 6 derivatives agrees");
    }
}

/* One line where all is well, and the whole table where it is not. */
static void one_line_where_all_is_well(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        fill_values();
        struct gradcheck c = {.title = "smooth", .loss = smooth_loss, .backward = smooth_backward};
        gc_add(&c, "t", value, wrong ? value : grad, 2, 3);
        c.out = tmpfile();
        assert_non_null(c.out);
        assert_int_equal(gc_run_in_one_line(&c), wrong);
        rewind(c.out);
        text[fread(text, 1, sizeof text - 1, c.out)] = 0;
        fclose(c.out);
        assert_contains(text, wrong ? "WRONG in 6" : "6 derivatives agree, worst error ");
        assert_int_equal(strchr(text, '\n') == text + strlen(text) - 1, !wrong);
    }
}

/* Values are put back exactly: a check must not change the network. */
static void leaves_values_as_they_were(void **state) {
    (void)state;
    double keep[N];
    fill_values();
    memcpy(keep, value, sizeof keep);
    struct gradcheck c = {.title = "smooth", .loss = smooth_loss, .backward = smooth_backward};
    gc_add(&c, "t", value, grad, 1, N);
    run_check(&c);
    assert_memory_equal(keep, value, sizeof keep);
}

/* Halving the step must quarter the error of order 2, and divide that of order 4 by sixteen. */
static void converges_with_its_order(void **state) {
    (void)state;
    fill_values();
    smooth_backward(NULL);
    double scratch[2], here = smooth_loss(NULL, scratch);
    for (int order = 2; order <= 4; order += 2) {
        struct gradcheck c = {.loss = smooth_loss, .order = order};
        struct gc_tensor *t = gc_add(&c, "t", value, grad, 1, N);
        double expected = order == 2 ? 4 : 16, largest = 0;
        for (int k = 0; k < N; k++) {
            double h = 0.02, wide = gc_derivative(&c, t, k, h, here, scratch).value - grad[k],
                   narrow = gc_derivative(&c, t, k, h / 2, here, scratch).value - grad[k];
            assert_true(fabs(wide / narrow - expected) < 0.05 * expected);
            largest = fmax(largest, fabs(wide));
        }
        assert_true(largest > 1e-9); /* the errors above were truncation, not rounding */
    }
}

/* Rounding must stay inside the r that we print: make r the only excuse and see it suffice. */
static void noise_estimate_holds(void **state) {
    (void)state;
    fill_values();
    smooth_backward(NULL);
    double scratch[2], here = smooth_loss(NULL, scratch);
    for (int order = 2; order <= 4; order += 2) {
        struct gradcheck c = {.loss = smooth_loss, .order = order};
        struct gc_tensor *t = gc_add(&c, "t", value, grad, 1, N);
        int close = 0;
        for (int k = 0; k < N; k++) {
            struct gc_slope d = gc_derivative(&c, t, k, 1e-9, here, scratch); /* pure rounding */
            assert_true(fabs(d.value - grad[k]) <= d.noise);
            close += fabs(d.value - grad[k]) > d.noise / 1000;
        }
        assert_true(close > 0); /* and it is not absurdly large either */
    }
}

/* --- what must never pass --- */

static double flat_loss(void *net, double *example) {
    (void)net;
    return example[0] = 3;
}

static void zero_backward(void *net) {
    (void)net;
    memset(grad, 0, sizeof grad);
}

static void all_zero_is_not_tested(void **state) {
    (void)state;
    fill_values();
    struct gradcheck c = {.title = "flat", .loss = flat_loss, .backward = zero_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "NOT TESTED");
    assert_contains(text, "nothing was tested");
}

static double faint = 1e-14;
static double faint_loss(void *net, double *example) {
    return example[0] = 1000 + faint * smooth_loss(net, example);
}

static void faint_backward(void *net) {
    smooth_backward(net);
    for (int k = 0; k < N; k++)
        grad[k] *= faint;
}

/* Right, but so small beside the loss that no difference could tell. */
static void unresolved_is_not_tested(void **state) {
    (void)state;
    fill_values();
    struct gradcheck c = {.title = "faint", .loss = faint_loss, .backward = faint_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "NOT TESTED");
    assert_contains(text, "too small to be told from rounding");
}

static void nan_backward(void *net) {
    smooth_backward(net);
    grad[4] = NAN;
}

static void nan_gradient_is_wrong(void **state) {
    (void)state;
    fill_values();
    struct gradcheck c = {.title = "nan", .loss = smooth_loss, .backward = nan_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "WRONG in 1");
    assert_contains(text, "[4]");
}

static double nan_loss(void *net, double *example) {
    (void)net;
    return example[0] = NAN;
}

static void nan_loss_is_said(void **state) {
    (void)state;
    struct gradcheck c = {.title = "nan", .loss = nan_loss, .backward = smooth_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "nothing can be checked");
}

/* One part in a million is far above the tolerance, and must be seen. */
static void slightly_off_backward(void *net) {
    smooth_backward(net);
    grad[2] *= 1 + 1e-6;
}

static void sees_one_part_in_a_million(void **state) {
    (void)state;
    fill_values();
    struct gradcheck c = {
        .title = "slightly", .loss = smooth_loss, .backward = slightly_off_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "WRONG in 1");
    assert_contains(text, "[2]");
    assert_contains(text, "agree to five digits");
}

static double noisy_loss(void *net, double *example) {
    static int calls;
    return smooth_loss(net, example) + 1e-3 * (++calls % 7);
}

static void redrawn_noise_is_named(void **state) {
    (void)state;
    fill_values();
    struct gradcheck c = {.title = "noisy", .loss = noisy_loss, .backward = smooth_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "noise is redrawn");
}

/* --- kinks --- */

static double corner; /* L = sum of |t_k - corner_k|, one corner within reach of the step, one
                         exactly on it */
static double kink_loss(void *net, double *example) {
    (void)net;
    double sum = 0;
    for (int k = 0; k < N; k++)
        sum += fabs(value[k] - (k == 0 ? corner : 0)) * (k + 1);
    return example[0] = sum;
}

static double at_corner; /* the subgradient that the backward pass picks at a corner */
static void kink_backward(void *net) {
    (void)net;
    for (int k = 0; k < N; k++) {
        double d = value[k] - (k == 0 ? corner : 0);
        grad[k] = (k + 1) * (d > 0 ? 1 : d < 0 ? -1 : at_corner);
    }
}

static void kinks_are_counted(void **state) {
    (void)state;
    /* At a third of the step the extrapolation is misled in one way, at other places in others. */
    static const double distance[] = {1e-12, 1e-9, 1e-8, 1e-7, 1e-5, 1e-4, 2.4e-4, 3.7e-4, 6e-4};
    for (size_t i = 0; i < sizeof distance / sizeof *distance; i++) {
        fill_values();
        corner = value[0] - distance[i];
        value[3] = 0;
        at_corner = 0;
        struct gradcheck c = {.title = "kinks", .loss = kink_loss, .backward = kink_backward};
        gc_add(&c, "t", value, grad, 1, N);
        assert_int_equal(run_check(&c), 0);
        assert_true(c.kinks >= 1 && c.kinks <= 2);
        assert_contains(text, "stepped around");
    }
}

static void a_wrong_sign_beside_a_kink_is_wrong(void **state) {
    (void)state;
    fill_values();
    corner = value[0] - 1e-4;
    at_corner = 1.5; /* no subgradient: outside [-1,1] */
    value[3] = 0;
    struct gradcheck c = {.title = "kinks", .loss = kink_loss, .backward = kink_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "WRONG in 1");
    assert_contains(text, "[3]");
}

static double all_kinks_loss(void *net, double *example) {
    (void)net;
    double sum = 5;
    for (int k = 0; k < N; k++)
        sum += fabs(value[k]);
    return example[0] = sum;
}

static void half_backward(void *net) {
    (void)net;
    for (int k = 0; k < N; k++)
        grad[k] = 0.5;
}

static void nothing_but_kinks_is_not_tested(void **state) {
    (void)state;
    memset(value, 0, sizeof value);
    struct gradcheck c = {.title = "kinks", .loss = all_kinks_loss, .backward = half_backward};
    gc_add(&c, "t", value, grad, 1, N);
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "NOT TESTED");
    assert_contains(text, "stand on a kink");
}

/* --- every mistake that the checker claims to name --- */

/* A layer with everything that can go wrong: h = f(x W + b), L = mean_r sum_j (h - y)^2 / 2 + decay
   |W|^2 / 2
   + lasso |W|_1, with B examples, I inputs, O outputs. */
enum { B = 3, I = 4, O = 5 };
enum mistake {
    NONE,
    SIGN,
    DOUBLE,
    HALF,
    TIMES_B,
    OVER_B,
    TIMES_O,
    OVER_O,
    TRANSPOSED,
    NEVER,
    NO_BIAS,
    BIAS_UNUSED,
    ASSIGN,
    ASSIGN_FIRST,
    NOT_ZEROED,
    NO_FIRST,
    NO_LAST,
    NO_ROW,
    NO_COLUMN,
    ONE_ENTRY,
    NO_SLOPE,
    SLOPE_TWICE,
    WRONG_SLOPE,
    NO_DECAY,
    DECAY_TWICE,
    NO_LASSO,
    SHIFTED,
    SHIFTED_ROW,
    FORESEEN,
    FORESEEN_WHOLE,
    CONSTANT,
    NONSENSE
};
static struct {
    enum mistake mistake;
    int relu, unused_bias;
    double decay, lasso;
    double W[I * O], b[O], x[B * I], y[B * O], dW[I * O], db[O], slope[B * O], factor[I * O],
        whole[I * O];
} net;

static double unit(double s) {
    return net.relu ? (s > 0 ? s : 0) : 1 / (1 + exp(-s));
}

static double unit_slope(double s) {
    return net.relu ? s > 0 : unit(s) * (1 - unit(s));
}

static double affine(int r, int j) {
    double s = net.mistake == BIAS_UNUSED ? 0 : net.b[j];
    for (int i = 0; i < I; i++)
        s += net.x[r * I + i] * net.W[i * O + j];
    return s;
}

static double layer_loss(void *context, double *example) {
    (void)context;
    double sum = 0;
    for (int r = 0; r < B; r++) {
        example[r] = 0;
        for (int j = 0; j < O; j++)
            example[r] += pow(unit(affine(r, j)) - net.y[r * O + j], 2) / 2 / B;
        sum += example[r];
    }
    for (int k = 0; k < I * O; k++)
        sum += net.decay * net.W[k] * net.W[k] / 2 + net.lasso * fabs(net.W[k]);
    return sum;
}

static void layer_backward(void *context) {
    (void)context;
    enum mistake m = net.mistake;
    double scale = m == SIGN       ? -1
                   : m == DOUBLE   ? 2
                   : m == HALF     ? 0.5
                   : m == TIMES_B  ? B
                   : m == OVER_B   ? 1.0 / B
                   : m == TIMES_O  ? O
                   : m == OVER_O   ? 1.0 / O
                   : m == CONSTANT ? 0.3725
                                   : 1;
    if (m != NOT_ZEROED)
        memset(net.dW, 0, sizeof net.dW);
    memset(net.db, 0, sizeof net.db);
    for (int r = m == NO_FIRST; r < B - (m == NO_LAST); r++)
        for (int j = 0; j < O; j++) {
            double s = affine(r, j);
            double slope = net.slope[r * O + j] = unit_slope(s);
            double ds = (unit(s) - net.y[r * O + j]) / B * scale;
            ds *= m == NO_SLOPE      ? 1
                  : m == SLOPE_TWICE ? slope * slope
                  : m == WRONG_SLOPE ? s * s + 0.1
                                     : slope;
            net.db[j] += m == NO_BIAS ? 0 : ds;
            for (int i = 0; i < I; i++) {
                int at = m == TRANSPOSED ? j * I + i : i * O + j;
                double part = ds * net.x[r * I + i];
                if (m == ASSIGN)
                    net.dW[at] = part;
                else if (m != ASSIGN_FIRST || r == 0)
                    net.dW[at] += part;
            }
        }
    for (int k = 0; k < I * O; k++) {
        double w = net.W[k];
        net.dW[k] += (m == NO_DECAY ? 0 : m == DECAY_TWICE ? 2 : 1) * net.decay * w * scale;
        net.dW[k] += m == NO_LASSO ? 0 : net.lasso * (w > 0 ? 1 : -1) * scale;
        net.factor[k] = 1 + 0.1 * sin(k); /* some factor that varies from entry to entry */
        net.whole[k] = cos(3 * k);        /* some other gradient */
        if (m == NEVER || (m == NO_ROW && k / O == 2) || (m == NO_COLUMN && k % O == O - 1))
            net.dW[k] = 0;
        if (m == ONE_ENTRY && k == 7)
            net.dW[k] += 0.01;
        if (m == FORESEEN)
            net.dW[k] *= net.factor[k];
        if (m == FORESEEN_WHOLE)
            net.dW[k] = net.whole[k];
        if (m == NONSENSE)
            net.dW[k] += 0.1 * sin(5 * k);
    }
    if (m == SHIFTED)
        memmove(net.dW + 1, net.dW, (I * O - 1) * sizeof *net.dW);
    if (m == SHIFTED_ROW)
        memmove(net.dW, net.dW + O, (I * O - O) * sizeof *net.dW);
}

static int check_layer(enum mistake mistake, int relu, double decay, double lasso) {
    memset(&net, 0, sizeof net);
    net.mistake = mistake;
    net.relu = relu;
    net.decay = decay;
    net.lasso = lasso;
    for (int k = 0; k < I * O; k++)
        net.W[k] = sin(1.3 * k + 1);
    for (int k = 0; k < O; k++)
        net.b[k] = relu && k == 2 ? 3 : 0.3 * cos(2.0 * k); /* unit 2 is on for every example */
    for (int k = 0; k < B * I; k++)
        net.x[k] = sin(2.1 * k + 2);
    for (int k = 0; k < B * O; k++)
        net.y[k] = 0.5 + 0.4 * sin(0.7 * k);
    struct gradcheck c = {
        .title = "layer", .loss = layer_loss, .backward = layer_backward, .batch = B};
    gc_size(&c, "the number of outputs", O);
    struct gc_tensor *W = gc_add(&c, "W", net.W, net.dW, I, O);
    W->slope = net.slope;
    gc_foresee(W, "The factor that we foresaw.", net.factor, NULL);
    gc_foresee(W, "The gradient that we foresaw.", NULL, net.whole);
    gc_add(&c, "b", net.b, net.db, 1, O)->slope = net.slope;
    return run_check(&c);
}

static void classic_mistakes_are_named(void **state) {
    (void)state;
    static const struct {
        enum mistake mistake;
        int relu, failed;
        double decay, lasso;
        const char *says;
    } plant[] = {
        {SIGN, 0, 2, 0, 0, "negative of what it should be"},
        {DOUBLE, 0, 2, 0, 0, "twice what it should be"},
        {HALF, 0, 2, 0, 0, "half of what it should be"},
        {TIMES_B, 0, 2, 0, 0, "3 times too large, and 3 is the batch size B"},
        {OVER_B, 0, 2, 0, 0, "3 times too small, and 3 is the batch size B"},
        {TIMES_O, 0, 2, 0, 0, "5 times too large, and 5 is the number of outputs"},
        {OVER_O, 0, 2, 0, 0, "5 times too small, and 5 is the number of outputs"},
        {TRANSPOSED, 0, 1, 0, 0, "transposed"},
        {NEVER, 0, 1, 0, 0, "gradient of W is zero everywhere: it is never written"},
        {NO_BIAS, 0, 1, 0, 0, "bias is forgotten in the backward pass"},
        {BIAS_UNUSED, 0, 1, 0, 0, "forgotten in the forward pass"},
        {ASSIGN, 0, 1, 0, 0,
         "share of example 2 alone, the last of the batch: an = stands where +="},
        {ASSIGN_FIRST, 0, 1, 0, 0, "share of example 0 alone, the first"},
        {NOT_ZEROED, 0, 1, 0, 0, "not zeroed in between"},
        {NO_FIRST, 0, 2, 0, 0, "without example 0"},
        {NO_LAST, 0, 2, 0, 0, "without example 2"},
        {NO_ROW, 0, 1, 0, 0, "Only row 2 is never written"},
        {NO_COLUMN, 0, 1, 0, 0, "Only column 4 is never written"},
        {ONE_ENTRY, 0, 1, 0, 0, "Only entry [1,2] is wrong"},
        {NO_SLOPE, 0, 2, 0, 0, "activation's derivative is missing"},
        {NO_SLOPE, 1, 2, 0, 0, "where f'(s) = 0, nothing may pass"},
        {SLOPE_TWICE, 0, 2, 0, 0, "activation's derivative is there twice"},
        {WRONG_SLOPE, 0, 2, 0, 0, "Is f'(s) the right function?"},
        {NO_DECAY, 0, 1, 0.1, 0, "penalty on W is missing"},
        {DECAY_TWICE, 0, 1, 0.1, 0, "counted twice"},
        {NO_LASSO, 0, 1, 0, 0.1, "the sign of the parameter"},
        {SHIFTED, 0, 1, 0, 0, "displaced by one entry"},
        {SHIFTED_ROW, 0, 1, 0, 0, "displaced by one row"},
        {FORESEEN, 0, 1, 0, 0, "The factor that we foresaw."},
        {FORESEEN_WHOLE, 0, 1, 0, 0, "The gradient that we foresaw."},
        {CONSTANT, 0, 2, 0, 0, "same factor, 0.3725"},
        {NONSENSE, 0, 1, 0, 0, "No mistake that we know explains this"},
    };
    for (int relu = 0; relu < 2; relu++)
        if (check_layer(NONE, relu, 0.1, 0.05) != 0)
            fail_msg("the layer without a mistake fails:\n%s", text);
    for (size_t i = 0; i < sizeof plant / sizeof *plant; i++) {
        int failed = check_layer(plant[i].mistake, plant[i].relu, plant[i].decay, plant[i].lasso);
        if (failed != plant[i].failed)
            fail_msg("mistake %d: %d tensors failed, not %d:\n%s", plant[i].mistake, failed,
                     plant[i].failed, text);
        assert_contains(text, plant[i].says);
        assert_contains(text, "WRONG");
    }
}

/* A tensor further from the loss inherits a fault; the text sends the reader to where it arises. */
static void chain_backward(void *context) {
    net.mistake = NONSENSE;
    layer_backward(context);
    for (int k = 0; k < O; k++)
        net.db[k] += 0.1 * cos(7 * k);
}

static void points_to_the_fault_nearest_the_loss(void **state) {
    (void)state;
    check_layer(NONE, 0, 0, 0);
    struct gradcheck c = {
        .title = "chain", .loss = layer_loss, .backward = chain_backward, .batch = B};
    gc_add(&c, "b", net.b, net.db, 1, O);
    gc_add(&c, "W", net.W, net.dW, I, O);
    assert_int_equal(run_check(&c), 2);
    assert_contains(text, "same cause as W above, which is nearer the loss");
}

/* --- differences that the caller has measured --- */

static double measured[I * O], measured_noise[I * O], measured_share[B * I * O];
static char measured_kink[I * O];

/* Checks the layer's W against differences that we measure here, with each example's share; then
   `spoil` says what is done to them. */
static int check_measured(enum mistake mistake, const double *spoil, struct gradcheck *c) {
    check_layer(mistake, 0, 0, 0);
    *c = (struct gradcheck){.title = "layer",
                            .loss = layer_loss,
                            .backward = layer_backward,
                            .batch = B,
                            .how = "measured elsewhere"};
    struct gc_tensor *W = gc_add(c, "a.rather.long.name", net.W, net.dW, I, O);
    double up[B], down[B], h = 1e-5;
    for (int k = 0; k < I * O; k++) {
        double keep = net.W[k];
        net.W[k] = keep + h;
        double above = layer_loss(NULL, up);
        net.W[k] = keep - h;
        measured[k] = (above - layer_loss(NULL, down)) / (2 * h) * (spoil ? spoil[k] : 1);
        measured_noise[k] = 1e-10;
        for (int e = 0; e < B; e++)
            measured_share[e * I * O + k] = (up[e] - down[e]) / (2 * h);
        net.W[k] = keep;
    }
    W->measured = measured;
    W->noise = measured_noise;
    W->kink = measured_kink;
    W->share = measured_share;
    return run_check(c);
}

static void judges_what_the_caller_measured(void **state) {
    (void)state;
    struct gradcheck c;
    double spoil[I * O];
    memset(measured_kink, 0, sizeof measured_kink);
    assert_int_equal(check_measured(NONE, NULL, &c), 0);
    assert_contains(text, "measured elsewhere\n");
    assert_contains(text, "tensor             shape"); /* as wide as the name below it */
    assert_contains(text, "every one of 20 derivatives agrees");
    assert_true(c.resolved > 0 && c.worst_error > 0 && c.worst_error < 1e-7);
    measured_kink[3] = measured_kink[7] = 1;
    assert_int_equal(check_measured(NONE, NULL, &c), 0);
    assert_contains(text, "ok, 2 kinks stepped around");
    memset(measured_kink, 1, sizeof measured_kink); /* he has come close enough to each */
    assert_int_equal(check_measured(NONE, NULL, &c), 0);
    assert_contains(text, "ok, 20 kinks stepped around");
    assert_true(c.worst_error > 0);
    memset(measured_kink, 0, sizeof measured_kink);
    assert_int_equal(check_measured(SIGN, NULL, &c), 1);
    assert_contains(text, "negative of what it should be");
    assert_int_equal(check_measured(ASSIGN, NULL, &c), 1); /* needs the shares */
    assert_contains(text, "share of example 2 alone");
    for (int k = 0; k < I * O; k++)
        spoil[k] = k == 11 ? NAN : 1;
    assert_int_equal(check_measured(NONE, spoil, &c), 1);
    assert_contains(text, "WRONG in 1");
    for (int k = 0; k < I * O; k++)
        spoil[k] = k == 7 ? 1 + 1e-5 : 1; /* a kink is no excuse for a wrong number */
    assert_int_equal(check_measured(NONE, spoil, &c), 1);
    assert_contains(text, "WRONG in 1");
    assert_contains(text, "[1,2]");
}

static void measured_below_its_noise_is_not_tested(void **state) {
    (void)state;
    struct gradcheck c;
    memset(measured_kink, 0, sizeof measured_kink);
    check_measured(NONE, NULL, &c);
    for (int k = 0; k < I * O; k++)
        measured_noise[k] = 1;
    assert_int_equal(run_check(&c), 1);
    assert_contains(text, "NOT TESTED");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_right_gradients),
        cmocka_unit_test(one_line_where_all_is_well),
        cmocka_unit_test(leaves_values_as_they_were),
        cmocka_unit_test(converges_with_its_order),
        cmocka_unit_test(noise_estimate_holds),
        cmocka_unit_test(all_zero_is_not_tested),
        cmocka_unit_test(unresolved_is_not_tested),
        cmocka_unit_test(nan_gradient_is_wrong),
        cmocka_unit_test(nan_loss_is_said),
        cmocka_unit_test(sees_one_part_in_a_million),
        cmocka_unit_test(redrawn_noise_is_named),
        cmocka_unit_test(kinks_are_counted),
        cmocka_unit_test(a_wrong_sign_beside_a_kink_is_wrong),
        cmocka_unit_test(nothing_but_kinks_is_not_tested),
        cmocka_unit_test(classic_mistakes_are_named),
        cmocka_unit_test(points_to_the_fault_nearest_the_loss),
        cmocka_unit_test(judges_what_the_caller_measured),
        cmocka_unit_test(measured_below_its_noise_is_not_tested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
