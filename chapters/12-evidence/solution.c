/* A solution of exercise 12. With S the sum of the w~_j^2, E = 1 / S and dE = -E^2 dS. The
   derivative of w~_j with respect to log w_k is w~_j (1 - w~_k) for j = k and -w~_j w~_k for the
   others, so

       dS / dlogw_k = 2 w~_k^2 - 2 w~_k (sum of the w~_j^2) = 2 w~_k (w~_k - S)
       dE / dlogw_k = 2 E w~_k (1 - E w~_k)

   A draw that has more than its share, w~_k > 1/E, makes E smaller when it grows. */

/* E, from logw (K) */
double worth_forward(const double *logw, size_t K) {
    double mean = log_mean_exp(logw, K), squares = 0;
    for (size_t k = 0; k < K; k++) {
        double part = exp(logw[k] - mean) / (double)K; /* w~_k */
        squares += part * part;
    }
    return 1 / squares;
}

/* dlogw (K) += the derivative of E with respect to each log w_k. It comes in zeroed. */
void worth_backward(double *dlogw, const double *logw, size_t K) {
    double mean = log_mean_exp(logw, K), E = worth_forward(logw, K);
    for (size_t k = 0; k < K; k++) {
        double part = exp(logw[k] - mean) / (double)K;
        dlogw[k] += 2 * E * part * (1 - E * part);
    }
}
