/* A solution of exercise 1. The derivative of log(1 + e^s) is e^s / (1 + e^s): the sigmoid. */

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

/* dW (out,in), db (out), dx (rows,in) from dh (rows,out); ds (rows,out) comes in zeroed. */
void softplus_backward(real *dW, real *db, real *dx, real *ds, const real *dh, const real *s,
                       const real *x, const real *W, size_t rows, size_t in, size_t out) {
    for (size_t i = 0; i < rows * out; i++) {
        real unused;
        ds[i] += dh[i] * activate(&unused, s[i], SIGMOID);
    }
    dense_backward(dW, db, dx, ds, x, W, rows, in, out);
}
