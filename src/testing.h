/* testing.h: what the gradient checks and the judges of several chapters share. Included last, after a
   chapter's program (with WORKBOOK_TEST and REAL double), cmocka.h and gradcheck.h. */
#ifndef TESTING_H
#define TESTING_H

/* t (n) = random numbers in [-1,1). */
static inline void fill(double *t, size_t n, struct random *r) {
    for (size_t i = 0; i < n; i++)
        t[i] = random_uniform(r, -1, 1);
}

/* L = sum of c y for n outputs y of each of B examples: with fixed random c, a loss for something that
   has none, and dL/dy = c. Each example's share goes to example (B). */
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

/* Ends a test's main: writes what the checks measured to the file that the command line names. */
static inline int finish_checks(int failed, int argc, char **argv) {
    if (argc > 1 && gc_save_totals(argv[1]) != 0)
        die("%s: cannot be written", argv[1]);
    return failed;
}

#endif
