/* Exercise 12: how many draws are they worth?

   Of K weighted draws some count for much and most for little. The usual measure of how many draws of
   equal weight they are worth is

       E = (w_1 + ... + w_K)^2 / (w_1^2 + ... + w_K^2)  =  1 / (w~_1^2 + ... + w~_K^2)

   with w~_k = w_k / (w_1 + ... + w_K). It is K when all weights are alike and 1 when one has
   everything. Whoever wants a q whose draws are worth more can make E large, by its gradient. Write
   the way back, then run

       make exercise12

   Derive first: what is dE / dw~_j? A change of log w_k changes w~_k and, through the sum, all the
   others: what is dw~_j / dlogw_k, for j = k and for the others? Everything that evidence.c defines
   may be used; log w is about -500. */

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
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)dlogw, (void)logw, (void)K;
}
