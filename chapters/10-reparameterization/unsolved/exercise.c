/* Exercise 10, in two parts. Run

       make exercise10

   after each change. Everything that reparameterization.c defines may be used.

   Part 1. The encoder says logvar, because e^(logvar/2) is positive whatever it says. Another
   function that is positive everywhere is softplus(s) = log(1 + e^s). Suppose the encoder says s and

       z = mu + softplus(s) noise

   A row of code (rows,2d) is mu (d), then s (d). The forward pass is there. The way back was copied
   from reparameterize_backward, and one line of it is no longer true. Which?

   Part 2. The prior need not be N(0,1). Let it be N(m, v) with its own mean and variance for each
   of the d numbers, and let both be learned. A prior (2d) is m (d), then logv (d), the same for
   every row. For a row of the code,

       KL = 1/2 sum over j of  logv_j - logvar_j + (e^logvar_j + (mu_j - m_j)^2) / e^logv_j - 1

   The forward pass is there. Write the way back to all four: mu, logvar, m and logv. Each is
   multiplied by scale. For m = 0 and logv = 0 the first two must be those you know. */

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
            real sigma = softplus(code[(2 * r + 1) * d + j]);
            dcode[2 * r * d + j] += dz[r * d + j];
            dcode[(2 * r + 1) * d + j] += dz[r * d + j] * noise[r * d + j] * sigma / 2;
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
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)dcode, (void)dprior, (void)code, (void)prior, (void)scale, (void)rows, (void)d;
}
