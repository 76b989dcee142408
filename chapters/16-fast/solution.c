/* A solution of exercise 16. */

void multiply_in_blocks(real *C, const real *A, size_t row, size_t col, const real *B, size_t M,
                        size_t N, size_t K, real *block, size_t depth, size_t width) {
    for (size_t k = 0; k < K; k += depth)
        for (size_t n = 0; n < N; n += width) {
            size_t deep = least(depth, K - k), wide = least(width, N - n);
            for (size_t i = 0; i < deep; i++)
                for (size_t j = 0; j < wide; j++)
                    block[i * wide + j] = B[(k + i) * N + n + j];
            for (size_t m = 0; m < M; m++)
                for (size_t i = 0; i < deep; i++) {
                    const real a = A[m * row + (k + i) * col];
                    for (size_t j = 0; j < wide; j++)
                        C[m * N + n + j] += a * block[i * wide + j];
                }
        }
}
