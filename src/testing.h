/* testing.h: what the gradient checks and the judges of several chapters share. Included last,
   after a chapter's program (with WORKBOOK_TEST and REAL double), cmocka.h and gradcheck.h. */
#ifndef TESTING_H
#define TESTING_H

/* t (n) = random numbers in [-1,1). */
static inline void fill(double *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, -1, 1);
}

/* L = sum of c y for n outputs y of each of B examples: with fixed random c, a loss for something
   that has none, and dL/dy = c. Each example's share goes to example (B). */
static inline double weighted_sum(double *example, const double *c, const double *y, size_t B,
                                  size_t n) {
    double loss = 0;
    for (size_t r = 0; r < B; r++) {
        example[r] = 0;
        for (size_t i = 0; i < n; i++)
            example[r] += c[r * n + i] * y[r * n + i];
        loss += example[r];
    }
    return loss;
}

/* Everything in a table of parameters becomes part of the check. */
static inline void add_tensors(struct gradcheck *c, const struct tensor *t, size_t n) {
    for (size_t i = 0; i < n; i++)
        gc_add_weight(c, t[i].name, t[i].value, t[i].grad, t[i].rows, t[i].cols);
}

/* A network too large to be nudged entry by entry. But the derivative along a direction is a sum
   over all entries: with every entry of a tensor nudged at once, up or down by lot, the loss must
   change by the sum of their gradients, each with its sign. One wrong entry changes that sum in
   every direction; several could cancel each other in one, but not in twenty. loss(net, i) is the
   loss when tensor i may have changed, and none else. Prints a table; returns how many
   tensors fail. */
static inline int check_directions(const struct tensor *tensor, size_t tensors,
                                   double (*loss)(void *net, size_t i), void *net, int directions) {
    struct random r;
    int wrong = 0;
    random_seed(&r, 11);
    printf("  %-17s %-10s %9s   worst error   verdict\n", "tensor", "shape", "entries");
    for (size_t i = 0; i < tensors; i++) {
        const struct tensor *t = &tensor[i];
        size_t n = t->rows * t->cols;
        double *start = allocate(2 * n, sizeof *start), *sign = start + n;
        double length = 0, worst = -1, told[2] = {0, 0};
        int failed = 0;
        memcpy(start, t->value, n * sizeof *start);
        for (size_t k = 0; k < n; k++)
            length += t->grad[k] * t->grad[k];
        length = sqrt(length);
        for (int turn = 0; turn < directions; turn++) {
            double claim = 0, slope[2], noise = 0, h = 1e-6;
            for (size_t k = 0; k < n; k++) {
                sign[k] = random_uniform(&r, -1, 1) < 0 ? -1 : 1;
                claim += sign[k] * t->grad[k];
            }
            for (int half = 0; half < 2; half++, h /= 2) { /* Richardson, as in the checker */
                double at[2];
                for (int down = 0; down < 2; down++) {
                    for (size_t k = 0; k < n; k++)
                        t->value[k] = start[k] + (down ? -h : h) * sign[k];
                    at[down] = loss(net, i);
                }
                slope[half] = (at[0] - at[1]) / (2 * h);
                noise = 12 * DBL_EPSILON * fabs(at[0]) / h;
            }
            double numeric = (4 * slope[1] - slope[0]) / 3, error = fabs(claim - numeric) / length;
            /* False for a NaN. A gradient that rounding could have made up is not tested. */
            failed |= !(error < 1e-7 + noise / length) || !(length > 1e6 * noise);
            if (!(error <= worst)) {
                worst = error;
                told[0] = claim;
                told[1] = numeric;
            }
        }
        memcpy(t->value, start, n * sizeof *start);
        free(start);
        loss(net, i); /* everything as it was */
        char shape[48];
        snprintf(shape, sizeof shape, t->cols > 1 ? "%zu x %zu" : "%zu", t->rows, t->cols);
        printf("  %-17s %-10s %9zu   %11.1e   %s\n", t->name, shape, n, worst,
               failed ? "WRONG" : "ok");
        if (failed)
            printf("    along the worst direction: analytic %g, numeric %g; the gradient is %g "
                   "long\n",
                   told[0], told[1], length);
        wrong += failed;
    }
    return wrong;
}

/* Ends a test's main: writes what the checks measured to the file that the command line names. */
static inline int finish_checks(int failed, int argc, char **argv) {
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}

#endif
