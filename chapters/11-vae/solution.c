/* A solution of exercise 11. The maximum has the slope 1 where m_j is above `free`, and 0 below: it
   is the mean over the batch that decides, for all images alike. Where it is 1, mu and logvar
   collect what they collect from the KL, with 1/B from the mean. */

/* mean (d) = m_j for each number of the code, from code (B,2d): mu, then logvar. Returns the sum
   over j of max(m_j, free). */
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
    for (size_t r = 0; r < B; r++)
        for (size_t j = 0; j < d; j++)
            if (mean[j] > free_nats) {
                real mu = code[2 * r * d + j], logvar = code[(2 * r + 1) * d + j];
                dcode[2 * r * d + j] += mu / (real)B;
                dcode[(2 * r + 1) * d + j] += (exp(logvar) - 1) / 2 / (real)B;
            }
}
