/* judge.c: judges exercise 16, built like the program. Built with -DEXERCISE='"exercise.c"' or
   "solution.c", whose blocked product is compared with the definition for many shapes and sizes of
   block. Before that, the program's own check runs once more in double. */
#define REAL double
#define main check_main
#include "test_fast.c"
#undef main

#include EXERCISE

/* The size of block that is being tried, its memory, and what lies behind it. */
size_t depth, width, behind;
real block[4096 + GUARD];

/* The exercise as a rung. */
void rung_in_blocks(real *C, const real *A, size_t row, size_t col, const real *B, size_t M,
                    size_t N, size_t K) {
    for (size_t i = 0; i < GUARD; i++)
        block[depth * width + i] = 7777;
    multiply_in_blocks(C, A, row, col, B, M, N, K, block, depth, width);
    for (size_t i = 0; i < GUARD; i++)
        behind += block[depth * width + i] != 7777;
}

void exercise(void **state) {
    (void)state;
    const size_t size[][2] = {{1, 1}, {7, 5}, {16, 48}, {64, 64}};
    struct random r;
    int bad = 0;
    printf("exercise 16, a product in blocks: against the definition, %zu shapes for each size\n",
           (size_t)(3 * SMALLEST + 6));
    for (size_t k = 0; k < sizeof size / sizeof *size && !bad; k++) {
        char name[48];
        depth = size[k][0];
        width = size[k][1];
        snprintf(name, sizeof name, "blocks of %zu x %zu", depth, width);
        struct verdict v = verdict_new(name, 1, width);
        v.deep = depth;
        random_seed(&r, 5);
        for (size_t s = 0; s < 3 * SMALLEST + 6; s++) {
            struct problem p = problem_at(s, &r);
            try_product(&v, rung_in_blocks, &p, 1);
            problem_free(&p);
        }
        bad = report(&v);
        if (behind)
            printf("  It writes behind the end of block. WRONG\n");
        bad += behind > 0;
    }
    assert_int_equal(bad, 0);
}

/* Not judged: which size suits this machine? B is 512 x 2048 here, 8 MB in double. */
void timing(void **state) {
    (void)state;
    enum { M = 32, N = 2048, K = 512, LARGEST = 512 * 2048 };
    const size_t size[][2] = {{512, 2048}, {512, 512}, {256, 256}, {128, 128}, {64, 128}, {32, 64}};
    real *memory = allocate(M * N + M * K + K * N + LARGEST, sizeof *memory);
    real *C = memory, *A = C + M * N, *B = A + M * K, *room = B + K * N;
    printf("what it does in a second, C (%d,%d) += A (%d,%d) B (%d,%d) in double, one core\n", M, N,
           M, K, K, N);
    for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
        double best = INFINITY;
        for (int time = 0; time < 5; time++) {
            double began = seconds();
            multiply_in_blocks(C, A, K, 1, B, M, N, K, room, size[k][0], size[k][1]);
            best = fmin(best, seconds() - began);
        }
        printf("  blocks of %3zu x %4zu, %7.0f kB: %6.1f billion operations\n", size[k][0],
               size[k][1], (double)(size[k][0] * size[k][1] * sizeof *room) / 1024,
               2e-9 * M * N * K / best);
    }
    free(memory);
}

int main(int argc, char **argv) {
    const struct CMUnitTest program[] = {cmocka_unit_test(every_rung), cmocka_unit_test(rounding),
                                         cmocka_unit_test(turning), cmocka_unit_test(exponential),
                                         cmocka_unit_test(steps)};
    const struct CMUnitTest yours[] = {cmocka_unit_test(exercise)};
    const struct CMUnitTest then[] = {cmocka_unit_test(timing)};
    int failed = cmocka_run_group_tests(program, NULL, NULL);
    failed += cmocka_run_group_tests(yours, NULL, NULL);
    (void)argc, (void)argv;
    return failed ? failed : cmocka_run_group_tests(then, NULL, NULL);
}
