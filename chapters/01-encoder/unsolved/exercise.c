/* Exercise 1: a layer with another activation.

   Softplus, log(1 + e^s), is a ReLU with its corner rounded off. The forward pass is here. Write
   the backward pass, then run

       make exercise1

   You need the derivative of log(1 + e^s). Work it out on paper; it is a function you know.
   Everything that encoder.c defines may be used. */

/* log(1 + e^s), written so that e never has a positive exponent and cannot overflow. */
real softplus(real s) {
    return (s > 0 ? s : 0) + log(1 + exp(-fabs(s)));
}

/* s (B,out) = W x + b,  h (B,out) = softplus(s) */
void softplus_forward(real *s, real *h, const real *x, const real *W, const real *b, size_t rows,
                      size_t in, size_t out) {
    dense_forward(s, x, W, b, rows, in, out);
    for (size_t i = 0; i < rows * out; i++)
        h[i] = softplus(s[i]);
}

/* dW (out,in), db (out), dx (rows,in) from dh (rows,out). ds (rows,out) is yours to use; like the
   three gradients it comes in zeroed. */
void softplus_backward(real *dW, real *db, real *dx, real *ds, const real *dh, const real *s,
                       const real *x, const real *W, size_t rows, size_t in, size_t out) {
    (void)dW; /* Yours. Delete these lines when you begin: they only keep the compiler quiet. */
    (void)db, (void)dx, (void)ds, (void)dh, (void)s, (void)x, (void)W, (void)rows, (void)in,
        (void)out;
}
