/* Exercise 11: free bits.

   Early in training the KL is easier to lower than the cross-entropy, and some numbers of the code
   give up for good. Kingma and others (2016) let each number j of the code have its first few nats
   for nothing. With the mean over the batch of its part of the KL,

       m_j = 1/B sum over r of -1/2 (1 + logvar_rj - mu_rj^2 - e^logvar_rj)

   the penalty is  sum over j of max(m_j, free).  Below `free` there is no reason to say less.

   The forward pass is here. Write the way back, then run

       make exercise11

   Derive first: for which j does mu_rj have a say? Is it what one image costs that decides, or the
   mean? Everything that vae.c defines may be used. */

/* mean (d) = m_j for each number of the code, from code (B,2d): mu, then logvar. Returns the sum over j
   of max(m_j, free). */
double free_bits_forward(double *mean, const real *code, double free_nats, size_t B, size_t d) {
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        mean[j] = 0;
        for (size_t r = 0; r < B; r++) {
            double mu = (double)code[2 * r * d + j], logvar = (double)code[(2 * r + 1) * d + j];
            mean[j] -= 0.5 * (1 + logvar - mu * mu - exp(logvar)) / (double)B;
        }
        sum += fmax(mean[j], free_nats);
    }
    return sum;
}

/* dmu and dlogvar, both in dcode (B,2d), collect what the penalty gives them. mean (d) is what the
   forward pass has left. */
void free_bits_backward(real *dcode, const double *mean, const real *code, double free_nats,
                        size_t B, size_t d) {
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)dcode, (void)mean, (void)code, (void)free_nats, (void)B, (void)d;
}
