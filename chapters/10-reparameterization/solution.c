/* A solution of exercise 10.

   Part 1: d/ds of log(1 + e^s) is e^s / (1 + e^s), the sigmoid. dsigma/ds = sigma/2 was true for
   sigma = e^(s/2) only. The sigmoid of chapter 4 holds for s of any size.

   Part 2: in mu and m stands only their distance, so the two derivatives are opposite. logvar
   stands alone and in an exponential, logv alone and below the fraction. The prior is used by every
   row, so its derivatives are sums over the rows. */

/* log(1 + e^s) for s of any size */
real softplus(real s) {
    return (s > 0 ? s : 0) + log1p(exp(-fabs(s)));
}

/* z (rows,d) = mu + softplus(s) noise */
void softplus_draw(real *z, const real *code, const real *noise, size_t rows, size_t d) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++)
            z[r * d + j] =
                code[2 * r * d + j] + softplus(code[(2 * r + 1) * d + j]) * noise[r * d + j];
}

/* dcode (rows,2d) from dz (rows,d); comes in zeroed. */
void softplus_draw_backward(real *dcode, const real *dz, const real *code, const real *noise,
                            size_t rows, size_t d) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++) {
            real slope = sigmoid(code[(2 * r + 1) * d + j]);
            dcode[2 * r * d + j] += dz[r * d + j];
            dcode[(2 * r + 1) * d + j] += dz[r * d + j] * noise[r * d + j] * slope;
        }
}

/* kl (rows), one number for each row of code (rows,2d) */
void prior_forward(double *kl, const real *code, const real *prior, size_t rows, size_t d) {
    for (size_t r = 0; r < rows; r++) {
        kl[r] = 0;
        for (size_t j = 0; j < d; j++) {
            real logvar = code[(2 * r + 1) * d + j], logv = prior[d + j];
            real away = code[2 * r * d + j] - prior[j];
            kl[r] += 0.5 * (logv - logvar + (exp(logvar) + away * away) / exp(logv) - 1);
        }
    }
}

/* dcode (rows,2d) += and dprior (2d) +=, for the sum of scale * kl over the rows; both come in
   zeroed. */
void prior_backward(real *dcode, real *dprior, const real *code, const real *prior, real scale,
                    size_t rows, size_t d) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++) {
            real away = code[2 * r * d + j] - prior[j], v = exp(prior[d + j]);
            real square = exp(code[(2 * r + 1) * d + j]);
            dcode[2 * r * d + j] += scale * away / v;
            dcode[(2 * r + 1) * d + j] += scale * (square / v - 1) / 2;
            dprior[j] -= scale * away / v;
            dprior[d + j] += scale * (1 - (square + away * away) / v) / 2;
        }
}
