/* Exercise 3: a layer applied twice.

   The same layer, one after the other: h1 = tanh(W x + b), h2 = tanh(W h1 + b). There is one W and
   one b, each used in two places; networks that read a sequence word by word are made of this. The
   forward pass is here. Write the backward pass, then run

       make exercise3

   Go backwards through the two applications. Each has a share in dW and in db. Everything that
   decoder.c defines may be used. */

/* s1, h1, s2, h2 (rows,n) from x (rows,n), W (n,n), b (n) */
void twice_forward(real *s1, real *h1, real *s2, real *h2, const real *x, const real *W,
                   const real *b, size_t rows, size_t n) {
    dense_forward(s1, x, W, b, rows, n, n);
    activation_forward(h1, s1, TANH, rows * n);
    dense_forward(s2, h1, W, b, rows, n, n);
    activation_forward(h2, s2, TANH, rows * n);
}

/* dW (n,n), db (n), dx (rows,n) from dh2 (rows,n). ds1, dh1, ds2 (rows,n) are yours to use; like
   the three gradients they come in zeroed. */
void twice_backward(real *dW, real *db, real *dx, real *ds1, real *dh1, real *ds2, const real *dh2,
                    const real *h1, const real *h2, const real *x, const real *W, size_t rows,
                    size_t n) {
    /* Yours. Delete the next lines when you begin: they only keep the compiler quiet. */
    (void)dW, (void)db, (void)dx, (void)ds1, (void)dh1, (void)ds2, (void)dh2, (void)h1, (void)h2,
        (void)x, (void)W, (void)rows, (void)n;
}
