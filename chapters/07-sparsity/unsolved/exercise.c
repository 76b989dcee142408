/* Exercise 7, in two parts. Run

       make exercise7

   after each change. Everything that sparsity.c defines may be used.

   Part 1. Below stands the gradient of the KL penalty as it can be found in programs. Its forward
   pass, mean_kl_forward, is the chapter's own: the KL of the batch mean. Two things are wrong here.
   Find out from what the check says, repair them on paper first, then here.

   Part 2. Treves and Rolls measure how selective unit j is over the images of a batch by

       T_j = m_j^2 / q_j,   m_j = 1/B sum over r of a_rj,   q_j = 1/B sum over r of a_rj^2

   T_j is 1 for a unit that always says the same and 1/B for one that speaks once. It does not
   change when the code is scaled, so as a penalty it cannot be cheated by long strokes. The forward
   pass is there. Write the derivative of L = lambda * sum over j of T_j with respect to a_rj. Like
   KL it couples the images: a_rj stands in m_j and in q_j. */

/* da (rows,d) += the derivative of mean_kl_forward; da comes in zeroed. */
void exercise_kl_backward(real *da, const real *a, double lambda, double rho, size_t rows,
                          size_t d) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++)
            da[r * d + j] += (real)(lambda * coin_kl_slope(rho, (double)a[r * d + j]));
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
    /* Yours. Delete the next line when you begin: it only keeps the compiler quiet. */
    (void)da, (void)a, (void)m, (void)q, (void)lambda, (void)rows, (void)d;
}
