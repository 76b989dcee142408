/* Exercise 3: a layer applied twice.

   The same layer, one after the other: h1 = tanh(W x + b), h2 = tanh(W h1 + b). There is one W and
   one b, each used in two places; networks that read a sequence word by word are made of this. The
   forward pass is here. Write the backward pass, then run

       make exercise3

   Go backwards through the two applications. Each has a share in dW and in db. Everything that
   decoder.c defines may be used. */

/* h1, h2 (rows,n) and the slopes of both, from x (rows,n), W (n,n), b (n) */
void twice_forward(real *h1, real *slope1, real *h2, real *slope2, const real *x, const real *W,
                   const real *b, size_t rows, size_t n) {
    dense_forward(h1, x, W, b, rows, n, n);
    activation_forward(h1, slope1, h1, TANH, rows * n);
    dense_forward(h2, h1, W, b, rows, n, n);
    activation_forward(h2, slope2, h2, TANH, rows * n);
}

/* dW (n,n), db (n), dx (rows,n). d2 (rows,n) comes in as the derivative with respect to h2; d1
   (rows,n) is yours to use for that with respect to h1. Like the three gradients it comes in
   zeroed. */
void twice_backward(real *dW, real *db, real *dx, real *d1, real *d2, const real *slope1,
                    const real *slope2, const real *h1, const real *x, const real *W, size_t rows,
                    size_t n) {
    /* Yours. Delete the next lines when you begin: they only keep the compiler quiet. */
    (void)dW, (void)db, (void)dx, (void)d1, (void)d2, (void)slope1, (void)slope2, (void)h1;
    (void)x, (void)W, (void)rows, (void)n;
}
