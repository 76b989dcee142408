/* A solution of exercise 4.

   Part 1: d/dxhat of -x log xhat is -x/xhat, that of -(1-x) log(1-xhat) is (1-x)/(1-xhat). Over a
   common denominator the sum is (xhat - x) / (xhat (1 - xhat)): no x below the fraction.

   Part 2: d/ds of -log xhat is xhat - 1, that of -log(1 - xhat) is xhat. */

/* dxhat (rows,n) and dlogit (rows,n) from xhat and x (rows,n); both come in zeroed. */
void chain_backward(real *dlogit, real *dxhat, const real *xhat, const real *x, size_t rows,
                    size_t n) {
    for (size_t i = 0; i < rows * n; i++) {
        dxhat[i] += (xhat[i] - x[i]) / (xhat[i] * (1 - xhat[i])) / (real)rows;
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
    for (size_t i = 0; i < rows * n; i++) {
        real xhat = sigmoid(logit[i]), black = sigmoid(-logit[i]);
        dlogit[i] += ((1 - x[i]) * xhat - weight * x[i] * black) / (real)rows;
    }
}
