/* measure.c: what chapter 4's page wants beyond the program's own run: loss and gradient of one
   pixel as curves; where other forms of the cross-entropy break in float; how long one confidently
   wrong pixel needs to come back; the length of the gradient under three conventions; and what the
   cross-entropy cannot fall below. It includes the program, whose run comes first. */
#define main loss_main
#include "loss.c"
#undef main

/* The derivative of the loss of one pixel with respect to its logit: by the functions that train
   the network, on a batch of one image with one pixel. */
double logit_slope(enum loss kind, double logit, double pixel) {
    real s = (real)logit, x = (real)pixel, xhat, dxhat = 0, dlogit = 0;
    double example;
    loss_forward(kind, &example, &xhat, &s, &x, 1, 1);
    loss_backward(kind, &dlogit, &dxhat, &xhat, &s, &x, 1, 1);
    return (double)dlogit;
}

/* Loss and gradient of a black pixel against its logit. */
void draw_gradients(void) {
    enum { POINTS = 201 };
    double row[POINTS][1 + 2 * LOSSES];
    for (int k = 0; k < POINTS; k++) {
        real s = (real)(k - 100) / 10, black = 0, xhat;
        double example;
        row[k][0] = (double)s;
        for (int i = 0; i < LOSSES; i++) {
            row[k][1 + i] = loss_forward((enum loss)i, &example, &xhat, &s, &black, 1, 1);
            row[k][1 + LOSSES + i] = logit_slope((enum loss)i, (double)s, 0);
        }
    }
    write_table("gradient.tsv", "logit\tbce\tsquared\tabsolute\tbce'\tsquared'\tabsolute'", row[0],
                POINTS, 1 + 2 * LOSSES);
}

/* The cross-entropy of one pixel, as one would first write it ... */
real bce_by_probability(real s, real x) {
    real xhat = sigmoid(s);
    return -x * log(xhat) - (1 - x) * log(1 - xhat);
}

/* ... its gradient, as the chain rule gives it ... */
real bce_slope_by_chain(real s, real x) {
    real xhat = sigmoid(s), dxhat = (xhat - x) / (xhat * (1 - xhat));
    return dxhat * xhat * (1 - xhat);
}

/* ... and with the logarithms put together, but the exponent free to grow. */
real bce_by_exponential(real s, real x) {
    return log(1 + exp(s)) - s * x;
}

/* In double and in the stable form, for a black pixel: what the others are measured against. */
double exact_bce(double s) {
    return (s > 0 ? s : 0) + log1p(exp(-fabs(s)));
}

/* Some systems print a minus sign before nan, some do not. */
double unsigned_nan(real value) {
    return isnan(value) ? (double)NAN : (double)value;
}

/* The forms in float, for a black pixel: a table, a figure, and where each first breaks. */
void show_breakdown(void) {
    static const double shown[] = {-104, -50, -18, -5, 5, 12, 16, 17, 50, 88, 89, 200};
    enum { FORMS = 3, POINTS = 22001, EVERY = 20, KEPT = POINTS / EVERY + 1 };
    static double row[KEPT][1 + FORMS];
    double worst[FORMS] = {0}, first[FORMS] = {0}, slope_first = 0;
    printf("\nthe cross-entropy of a black pixel (x = 0) in float, by its logit s\n"
           "       s        exact  by probability  log(1+e^s)-sx        stable   slope by chain\n");
    for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
        real s = (real)shown[k];
        printf("  %6g %12.7g %15.7g %14.7g %13.7g %16.7g\n", shown[k], exact_bce(shown[k]),
               unsigned_nan(bce_by_probability(s, 0)), (double)bce_by_exponential(s, 0),
               (double)bce_of_logit(s, 0), unsigned_nan(bce_slope_by_chain(s, 0)));
    }
    for (int k = 0; k < POINTS; k++) {
        real s = (real)(k - 11000) / 100;
        double exact = exact_bce((double)s), *r = row[k / EVERY];
        double value[FORMS] = {(double)bce_by_probability(s, 0), (double)bce_by_exponential(s, 0),
                               (double)bce_of_logit(s, 0)};
        for (int i = 0; i < FORMS; i++) {
            double error = fabs(value[i] - exact) / exact;
            if (s > 0 && !isfinite(value[i]) && first[i] == 0)
                first[i] = (double)s;
            if (s > 0 && isfinite(error))
                worst[i] = fmax(worst[i], error);
            if (k % EVERY == 0) /* 24 binary digits: what is better than that is chance */
                r[1 + i] = isfinite(error) ? fmax(error, 0x1p-26) : (double)NAN;
        }
        if (k % EVERY == 0)
            r[0] = (double)s;
        if (s > 0 && !isfinite(bce_slope_by_chain(s, 0)) && slope_first == 0)
            slope_first = (double)s;
    }
    write_table("float.tsv", "logit\tprobability\texponential\tstable", row[0], KEPT, 1 + FORMS);
    printf("  by probability: infinite from s = %.2f on; before that, wrong by up to %.1f %%\n",
           result(first[0], "", "breaks_probability"),
           result(100 * worst[0], "%", "worst_probability"));
    printf("  log(1+e^s)-sx:  infinite from s = %.2f on\n",
           result(first[1], "", "breaks_exponential"));
    printf("  stable:         relative error at most %.1e for s from 0 to 110\n\n",
           result(worst[2], "", "worst_stable"));
    result(slope_first, "", "breaks_chain");
}

/* A black pixel whose logit is at s, so that it shows nearly white. Plain gradient descent brings
   it down to 0, medium gray. Returns how long that takes: the number of steps times their rate. The
   logit is a double: a float near 12 would not notice a step of this length. */
double time_to_escape(enum loss kind, double s, double step_rate) {
    double time = 0;
    for (; s > 0; time += step_rate)
        s -= step_rate * logit_slope(kind, s, 0);
    return time;
}

/* What calculus says, with steps so small that they are a flow: the integral of 1 / (dL/ds) from 0
   to s. */
double time_by_calculus(enum loss kind, double s) {
    double up = exp(s), down = exp(-s);
    switch (kind) {
    case SQUARED: /* half the integral of e^s (1 + e^-s)^3 */
        return (up - 1 + 3 * s + 3 * (1 - down) + (1 - down * down) / 2) / 2;
    case ABSOLUTE: /* the integral of e^s (1 + e^-s)^2 */
        return up + 2 * s - down;
    default: /* the integral of 1 + e^-s */
        return s + 1 - down;
    }
}

void show_escape(void) {
    enum { MOST = 10 };
    double row[MOST][1 + 2 * LOSSES];
    printf(
        "one black pixel that starts white: steps times rate until it is gray\n"
        "  logit s    xhat shown        bce      squared     absolute   (squared by calculus)\n");
    for (int k = 1; k <= MOST; k++) {
        double *r = row[k - 1];
        r[0] = k;
        for (int i = 0; i < LOSSES; i++) {
            r[1 + i] = time_to_escape((enum loss)i, k, 0.02);
            r[1 + LOSSES + i] = time_by_calculus((enum loss)i, k);
        }
        if (k != 1 && k != 3 && k != 5 && k != 8 && k != MOST)
            continue;
        printf("  %7d %13.5f %10.2f %12.1f %12.1f %16.1f\n", k, 1 / (1 + exp(-(double)k)), r[1],
               r[2], r[3], result(r[5], "", "escape_calculus_%d", k));
        for (int i = 0; i < LOSSES; i++)
            result(r[1 + i], "", "escape_%s_%d", loss_name[i], k);
    }
    printf("\n");
    write_table("escape.tsv",
                "logit\tbce\tsquared\tabsolute\tbce_flow\tsquared_flow\tabsolute_flow", row[0],
                MOST, 1 + 2 * LOSSES);
}

/* The length of the gradient at the fresh network, for three batches. */
void show_conventions(void) {
    enum { SIZES = 3, MOST = 256 };
    static const size_t images[SIZES] = {16, 64, MOST};
    struct learner a = learner_new(BCE, PIXELS, hidden, MOST);
    real *picture = allocate(MOST * PIXELS, sizeof *picture);
    double length[SIZES], all[SIZES], mean[SIZES];
    for (int k = 0; k < SIZES; k++) {
        size_t B = images[k] < train_set.count ? images[k] : train_set.count;
        brightness(picture, train_set.pixel, B * PIXELS);
        start_learner(&a, 0);
        learner_gradient(&a, NULL, picture, picture, B, 1);
        double sum = 0;
        for (size_t i = 0; i < a.net.parameters; i++)
            sum += (double)a.net.grad[i] * (double)a.net.grad[i];
        length[k] = result(sqrt(sum), "", "gradient_sum_mean_%zu", images[k]);
        all[k] = result(length[k] * (double)B, "", "gradient_sum_sum_%zu", images[k]);
        mean[k] = result(length[k] / PIXELS, "", "gradient_mean_mean_%zu", images[k]);
    }
    printf("length of the whole gradient at the fresh network, cross-entropy\n"
           "  images in the batch                   16         64        256\n"
           "  sum over pixels, sum over images  %10.4g %10.4g %10.4g\n"
           "  sum over pixels, mean over images %10.4g %10.4g %10.4g   (this book)\n"
           "  mean over both                    %10.4g %10.4g %10.4g\n\n",
           all[0], all[1], all[2], length[0], length[1], length[2], mean[0], mean[1], mean[2]);
}

/* The cross-entropy of one pixel, in double. 0 log 0 goes to 0; log alone would make of it 0 times
   minus infinity, which is not a number. */
double bce_of_pixel(double xhat, double t) {
    return (t > 0 ? -t * log(xhat) : 0) + (t < 1 ? -(1 - t) * log(1 - xhat) : 0);
}

/* The cross-entropy of gray pixels against xhat, and their entropy: for a figure. */
void draw_floor(void) {
    enum { POINTS = 199, GRAYS = 4 };
    static const double gray[GRAYS] = {0, 0.1, 0.3, 0.5};
    double row[POINTS][GRAYS + 2];
    for (int k = 0; k < POINTS; k++) {
        double xhat = row[k][0] = (k + 1) / 200.0;
        for (int i = 0; i < GRAYS; i++)
            row[k][1 + i] = bce_of_pixel(xhat, gray[i]);
        row[k][1 + GRAYS] = bce_of_pixel(xhat, xhat);
    }
    write_table("floor.tsv", "xhat\tbce_0\tbce_0.1\tbce_0.3\tbce_0.5\tentropy", row[0], POINTS,
                GRAYS + 2);
}

/* mean and median (784) of the training images, pixel by pixel. */
void average_images(double *mean, double *median) {
    size_t *count = allocate((size_t)PIXELS * 256, sizeof *count); /* (784,256) */
    for (size_t k = 0; k < train_set.count * PIXELS; k++)
        count[k % PIXELS * 256 + train_set.pixel[k]]++;
    for (size_t i = 0; i < PIXELS; i++) {
        double sum = 0;
        size_t below = 0, value = 0;
        for (size_t v = 0; v < 256; v++)
            sum += (double)(v * count[i * 256 + v]);
        while ((below += count[i * 256 + value]) * 2 < train_set.count)
            value++;
        mean[i] = sum / (255 * (double)train_set.count);
        median[i] = (double)value / 255;
    }
    free(count);
}

/* loss (LOSSES) = what the pictures xhat cost, mean over the test images: one picture for all of
   them, or, where xhat is NULL, each image itself. For the cross-entropy a picture bets at least
   `least` on black and on white, everywhere. */
void cost_of(double *loss, const double *xhat, double least) {
    real t[PIXELS];
    memset(loss, 0, LOSSES * sizeof *loss);
    for (size_t r = 0; r < test_set.count; r++) {
        brightness(t, test_set.pixel + r * PIXELS, PIXELS);
        for (size_t i = 0; i < PIXELS; i++) {
            double x = (double)t[i], y = xhat ? xhat[i] : x;
            loss[BCE] += bce_of_pixel(fmin(fmax(y, least), 1 - least), x) / (double)test_set.count;
            loss[SQUARED] += (y - x) * (y - x) / (double)test_set.count;
            loss[ABSOLUTE] += fabs(y - x) / (double)test_set.count;
        }
    }
    for (int k = 0; k < LOSSES; k++)
        if (isnan(loss[k]))
            die("the loss %s of a constant picture is not a number", loss_name[k]);
}

/* What no network can get below: the entropy of the pixels; and the best pictures that ignore their
   input, the mean and the median. */
void show_floor(void) {
    double mean[PIXELS], median[PIXELS], itself[LOSSES], of_mean[LOSSES], of_median[LOSSES];
    average_images(mean, median);
    size_t black = 0, gray = 0;
    for (size_t i = 0; i < PIXELS; i++)
        black += median[i] == 0;
    for (size_t k = 0; k < test_set.count * PIXELS; k++)
        gray += test_set.pixel[k] > 0 && test_set.pixel[k] < 255;
    cost_of(itself, NULL, 0);
    /* A pixel that was always black in training, or always white, is an infinite loss when it once
       is not: we give it one chance in a million. */
    cost_of(of_mean, mean, 1e-6);
    cost_of(of_median, median, 0);
    printf("what no network can get below, and what none should need, per test image\n"
           "                                    squared error   absolute error   bce, nats\n"
           "  the image itself                  %13.2f %16.2f %11.2f\n",
           itself[SQUARED], itself[ABSOLUTE], result(itself[BCE], "nats", "floor"));
    printf("  the mean of the training images   %13.2f %16.2f %11.2f\n",
           result(of_mean[SQUARED], "", "mean_sq"), result(of_mean[ABSOLUTE], "", "mean_abs"),
           result(of_mean[BCE], "nats", "mean_bce"));
    printf("  their median, pixel by pixel      %13.2f %16.2f %11.2f\n",
           result(of_median[SQUARED], "", "median_sq"),
           result(of_median[ABSOLUTE], "", "median_abs"), of_median[BCE]);
    printf("  %.1f %% of the pixels are gray; ",
           result(100.0 * (double)gray / (double)(test_set.count * PIXELS), "%", "gray_pixels"));
    printf("the median is black at %g of %d places\n",
           result((double)black, "pixels", "black_medians"), PIXELS);
}

int main(int argc, char **argv) {
    int status = loss_main(argc, argv);
    if (status != 0)
        return status;
    draw_gradients();
    show_breakdown();
    show_escape();
    show_conventions();
    draw_floor();
    show_floor();
    write_results();
    return interrupted ? 130 : 0;
}
