/* Exercise 16: blocking for your own cache.

   The second rung goes through all of B for every row of A. When B is larger than a cache, it comes
   from the next, slower one each time. The cure is to go through B in blocks:

       for each block of B, `depth` rows long and `width` columns wide
           copy it to `block`, row after row, so that it lies in one piece
           for each row m of A
               add to C[m,n], for the columns n of the block, the part of the sum
               whose steps k are the rows of the block

   The last block of a row or a column may be smaller: it has what is left of K and N. Write the
   function, then run

       make exercise16

   Every rung of fast.c may serve as a model. The result must be C += A B for every shape and every
   size of block; when it is, the judge times some sizes on your machine. */

/* C (M,N) += A (M,K) B (K,N), with A_mk = A[m * row + k * col]. block has room for depth * width
   numbers, not more. */
void multiply_in_blocks(real *C, const real *A, size_t row, size_t col, const real *B, size_t M,
                        size_t N, size_t K, real *block, size_t depth, size_t width) {
    /* Yours. Delete the next lines when you begin: they only keep the compiler quiet. */
    (void)C, (void)A, (void)row, (void)col, (void)B, (void)M, (void)N, (void)K;
    (void)block, (void)depth, (void)width;
}
