/* Exercise 4, in two parts. Run

       make exercise4

   after each change. Everything that loss.c defines may be used.

   Part 1. Below stands the derivation of the cross-entropy's gradient, line by line, as it can be
   found in notes on the subject. One line is wrong. Find out which from what the check says, repair
   it on paper first, then here.

   Part 2. A digit is mostly black. Suppose we want missing ink to cost more than spilled ink: the
   half of the cross-entropy that belongs to x gets a weight w,

       L = 1/B sum over r and i of  -w x log xhat - (1-x) log(1-xhat),   xhat = sigmoid(logit)

   The forward pass is there, in a form that is safe for every logit. Write the derivative with
   respect to the logit, in one step as bce_on_logits_backward does, so that it is safe for every
   logit, too. For w = 1 it must be the one you know. */

/* dxhat (rows,n) and dlogit (rows,n) from xhat and x (rows,n); both come in zeroed. */
void chain_backward(real *dlogit, real *dxhat, const real *xhat, const real *x, size_t rows,
                    size_t n) {
    for (size_t i = 0; i < rows * n; i++) {
        dxhat[i] += (xhat[i] - x[i]) / (xhat[i] * (1 - x[i])) / (real)rows;
        dlogit[i] += dxhat[i] * xhat[i] * (1 - xhat[i]);
    }
}

/* bce_of_logit(s, 1) is -log xhat, bce_of_logit(s, 0) is -log(1 - xhat). */
double weighted_bce_forward(double *example, const real *logit, const real *x, real weight,
                            size_t rows, size_t n) {
    double loss = 0;
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t i = r * n; i < (r + 1) * n; i++)
            sum +=
                weight * x[i] * bce_of_logit(logit[i], 1) + (1 - x[i]) * bce_of_logit(logit[i], 0);
        example[r] = sum;
        loss += sum / (double)rows;
    }
    return loss;
}

/* dlogit (rows,n) += the derivative; comes in zeroed. */
void weighted_bce_backward(real *dlogit, const real *logit, const real *x, real weight, size_t rows,
                           size_t n) {
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)dlogit, (void)logit, (void)x, (void)weight, (void)rows, (void)n;
}
