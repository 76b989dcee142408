/* A solution of exercise 11. The derivative of log (w_1 + ... + w_K) with respect to log w_k is
   w_k / (w_1 + ... + w_K): each draw has its share, and the shares are 1 together. The loss has a
   minus, and so has bce_k in log w_k: two signs make plus. log p(z) takes z_k times its share. The
   logvar that stands in log w_k itself collects -1/2 of each share, so -1/2 in all. */

/* logw (K) from the cross-entropies bce (K) of K draws z (K,d) for one code (2d). Returns the loss. */
double bound_forward(double *logw, const double *bce, const real *z, const real *code,
                     const real *noise, size_t K, size_t d) {
    for (size_t k = 0; k < K; k++) {
        logw[k] = -bce[k];
        for (size_t j = k * d; j < (k + 1) * d; j++)
            logw[k] += (noise[j] * noise[j] - z[j] * z[j] + code[d + j % d]) / 2;
    }
    return -log_mean_exp(logw, K);
}

/* share (K) = the derivative of the loss with respect to each bce_k */
void bound_shares(double *share, const double *logw, size_t K) {
    double mean = log_mean_exp(logw, K);
    for (size_t k = 0; k < K; k++)
        share[k] = exp(logw[k] - mean) / (double)K;
}

/* dcode (2d) += what mu and logvar collect from all K draws. */
void bound_backward(real *dcode, const real *dz, const double *share, const real *z,
                    const real *code, const real *noise, size_t K, size_t d) {
    for (size_t k = 0; k < K; k++)
        for (size_t j = 0; j < d; j++) {
            real from_z = dz[k * d + j] + share[k] * z[k * d + j], sigma = exp(code[d + j] / 2);
            dcode[j] += from_z;
            dcode[d + j] += from_z * noise[k * d + j] * sigma / 2 - share[k] / 2;
        }
}
