/* Exercise 11: the tighter bound as a loss.

   L_K lies above the ELBO, so why not train it (Burda and others, 2016)? For one image the encoder
   says a code (2d), K draws z_k = mu + sigma noise_k go through the decoder, and with

       log w_k = -bce_k + sum over j of (noise_kj^2 - z_kj^2 + logvar_j) / 2

   the loss is  -log of the mean of the w_k.  For K = 1 that is the loss of this chapter, with one
   draw where the KL in closed form has the mean over all.

   The forward pass is here. Write the way back, in two parts, then run

       make exercise11

   Between your two parts the decoder does its own: it multiplies what you say of bce_k into its
   gradients and hands you dz_k, what comes from the cross-entropy. Derive first: what is the
   derivative of the log of a mean? What else in log w_k depends on z_k, and what on logvar outright?
   Mind that w_k is e^-500 or so. Everything that vae.c defines may be used. */

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
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)share, (void)logw, (void)K;
}

/* dcode (2d) += what mu and logvar collect from all K draws: from dz (K,d), which comes from the
   cross-entropies and has its share in it already, and from the rest of log w. */
void bound_backward(real *dcode, const real *dz, const double *share, const real *z,
                    const real *code, const real *noise, size_t K, size_t d) {
    /* Yours, too. */
    (void)dcode, (void)dz, (void)share, (void)z, (void)code, (void)noise, (void)K, (void)d;
}
