/* A solution of exercise 7.

   Part 1: the penalty looks at the mean over the batch, so its slope is taken at the mean, and each
   activation has a share of 1/B in the mean.

   Part 2: dm/da_r = 1/B and dq/da_r = 2 a_r / B. With the quotient rule
   dT/da_r = 2 m / (B q) - m^2 / q^2 * 2 a_r / B = 2 m / (B q) * (1 - m a_r / q). */

/* da (rows,d) += the derivative of mean_kl_forward; da comes in zeroed. */
void exercise_kl_backward(real *da, const real *a, double lambda, double rho, size_t rows,
                          size_t d) {
    double *mean = allocate(d, sizeof *mean);
    mean_activation(mean, a, rows, d);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++)
            da[r * d + j] += (real)(lambda * coin_kl_slope(rho, mean[j]) / (double)rows);
    free(mean);
}

/* The mean m (d) of each unit over the batch and of its square q (d); then lambda * sum of m^2/q.
   No q is 0 here. */
double selectivity_forward(double *m, double *q, const real *a, double lambda, size_t rows,
                           size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        m[j] = q[j] = 0;
        for (size_t r = 0; r < rows; r++) {
            m[j] += (double)a[r * d + j] / (double)rows;
            q[j] += (double)a[r * d + j] * (double)a[r * d + j] / (double)rows;
        }
        sum += m[j] * m[j] / q[j];
    }
    return lambda * sum;
}

/* da (rows,d) += the derivative, from a (rows,d) and what the forward pass has left in m and q (d);
   da comes in zeroed. */
void selectivity_backward(real *da, const real *a, const double *m, const double *q, double lambda,
                          size_t rows, size_t d) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++)
            da[r * d + j] += (real)(2 * lambda * m[j] / ((double)rows * q[j]) *
                                    (1 - m[j] * (double)a[r * d + j] / q[j]));
}
