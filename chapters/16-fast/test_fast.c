/* test_fast.c: chapter 16's check, built like the program, in its own arithmetic: every rung of the
   ladder against the definition, for every shape that could have a remainder of its own, and on one
   core and several; turning; the exponential; and the fused step against the plain one. judge.c
   does all of it once more in double.

   With whole numbers small enough, sums are exact in any order, so results are compared with ==.
   Then with other numbers: rungs that add in the same order must agree to the last bit, the others
   within what rounding allows. Run with a file name it writes there what was measured. */
#define WORKBOOK_TEST
#include "fast.c"

#include <setjmp.h>
#include <stddef.h>

#include <cmocka.h>

enum { SMALLEST = 40, SHAPES = 160, GUARD = 64 };
const size_t network[STAGES + 1] = {784, 400, 100, 6, 100, 400, 784};

size_t products, entries_compared;
double worst_rounding, worst_exponential;

/* One product: A, B, what stands in C before, and what must stand there after it. */
struct problem {
    size_t M, N, K, row, col;
    real *A, *B, *before, *right;
};

/* What a rung did wrong, over all products: a fact that held for every wrong entry so far. */
enum fact { CORES, STRIPS, TURNED, LAST_ROW, LAST_COL, ROWS_LEFT, COLS_LEFT, LONG, PLACES };
enum cause {
    NOTHING_ADDED,
    ASSIGNED,
    TWICE,
    LAST_STEP,
    FIRST_STEP,
    SHORT_STRIP,
    REST_OF_K,
    EXCHANGED,
    CAUSES
};

struct verdict {
    const char *name;
    size_t down, across, deep; /* rows, columns, and steps of a sum that it treats together */
    size_t entries, wrong, outside;
    int place[PLACES], cause[CAUSES];
    char first[160];
};

struct verdict verdict_new(const char *name, size_t down, size_t across) {
    struct verdict v = {.name = name, .down = down, .across = across, .deep = DEPTH};
    for (int i = 0; i < PLACES; i++)
        v.place[i] = 1;
    for (int i = 0; i < CAUSES; i++)
        v.cause[i] = 1;
    return v;
}

/* Whole numbers from -4 to 4, or anything between. */
void fill_with(real *t, size_t n, int whole, struct random *r) {
    for (size_t i = 0; i < n; i++) {
        double x = random_uniform(r, -4, 5);
        t[i] = (real)(whole ? floor(x) : x);
    }
}

struct problem problem_new(size_t M, size_t N, size_t K, int turned, int whole, struct random *r) {
    struct problem p = {M, N, K, turned ? 1 : K, turned ? M : 1, NULL, NULL, NULL, NULL};
    p.A = allocate(M * K, sizeof *p.A);
    p.B = allocate(K * N, sizeof *p.B);
    p.before = allocate(M * N, sizeof *p.before);
    p.right = allocate(M * N, sizeof *p.right);
    fill_with(p.A, M * K, whole, r);
    fill_with(p.B, K * N, whole, r);
    fill_with(p.before, M * N, whole, r);
    memcpy(p.right, p.before, M * N * sizeof *p.right);
    for (size_t m = 0; m < M; m++)
        for (size_t k = 0; k < K; k++)
            for (size_t n = 0; n < N; n++)
                p.right[m * N + n] += p.A[m * p.row + k * p.col] * p.B[k * N + n];
    return p;
}

void problem_free(struct problem *p) {
    free(p->A);
    free(p->B);
    free(p->before);
    free(p->right);
}

/* A[m,k] B[k,n], or what it is with the two strides of A exchanged. */
real term(const struct problem *p, size_t m, size_t n, size_t k, int exchanged) {
    size_t at = exchanged ? m * p->col + k * p->row : m * p->row + k * p->col;
    return at < p->M * p->K ? p->A[at] * p->B[k * p->N + n] : 0;
}

/* Entry (m,n) is `got`: which facts about the wrong entries still hold? */
void look_at(struct verdict *v, const struct problem *p, size_t m, size_t n, real got,
             size_t team) {
    real before = p->before[m * p->N + n], right = p->right[m * p->N + n];
    real other = before, rest = 0, ends = 0, last_strip = 0;
    size_t last = p->K - 1;
    for (size_t k = 0; k < p->K; k++) {
        real one = term(p, m, n, k, 0);
        other += term(p, m, n, k, 1);
        rest += k >= p->K - p->K % v->deep ? one : 0;
        ends += (k + 1) % v->deep == 0 ? one : 0;
        last_strip += k >= last / v->deep * v->deep ? one : 0;
    }
    const int place[PLACES] = {team > 1,
                               v->deep == DEPTH && p->K >= DEPTH,
                               p->row == 1 && p->M > 1,
                               m == p->M - 1,
                               n == p->N - 1,
                               m >= p->M - p->M % v->down,
                               n >= p->N - p->N % v->across,
                               p->K % v->deep != 0};
    const int cause[CAUSES] = {got == before,
                               got == right - before || got == last_strip,
                               got == right + (right - before),
                               got == right - term(p, m, n, last, 0),
                               got == right - term(p, m, n, 0, 0),
                               got == right - ends,
                               got == right - rest,
                               got == other};
    for (int i = 0; i < PLACES; i++)
        v->place[i] &= place[i];
    for (int i = 0; i < CAUSES; i++)
        v->cause[i] &= cause[i];
    if (v->wrong++ == 0)
        snprintf(v->first, sizeof v->first,
                 "(%zu,%zu) times (%zu,%zu)%s, %zu core%s: entry [%zu,%zu] is %g, not %g", p->M,
                 p->K, p->K, p->N, p->row == 1 ? ", A transposed" : "", team, team == 1 ? "" : "s",
                 m, n, (double)got, (double)right);
}

/* Does the product on so many cores and compares every entry, and what lies around C. */
void try_product(struct verdict *v, product *rung, const struct problem *p, size_t team) {
    size_t n = p->M * p->N;
    real *room = allocate(n + 2 * GUARD, sizeof *room), *C = room + GUARD;
    for (size_t i = 0; i < n + 2 * GUARD; i++)
        room[i] = i >= GUARD && i < GUARD + n ? p->before[i - GUARD] : (real)7777;
    USE_CORES(team);
    if (team == 1)
        rung(C, p->A, p->row, p->col, p->B, p->M, p->N, p->K);
    else
        TEAM {
            multiply_my_share(rung, C, p->A, p->row, p->col, p->B, p->M, p->N, p->K);
        }
    for (size_t i = 0; i < n; i++)
        if (!(C[i] == p->right[i]))
            look_at(v, p, i / p->N, i % p->N, C[i], team);
    for (size_t i = 0; i < GUARD; i++)
        v->outside += room[i] != 7777 || C[n + i] != 7777;
    v->entries += n;
    products++;
    free(room);
}

/* A row of the table; where something is wrong, what all wrong entries have in common. */
int report(const struct verdict *v) {
    static const char *const place[PLACES] = {
        "Only on more than one core: shares overlap or leave a gap.",
        "Only in long sums, where a second strip of B begins.",
        "Only where A lies transposed.",
        "Only the last row of C is wrong.",
        "Only the last column of C is wrong.",
        "Only rows that do not fill a tile are wrong: the remainder of M.",
        "Only columns that do not fill a vector or a block are wrong: the remainder of N.",
        "Only where the steps do not fill the last strip or block: the remainder of K.",
    };
    static const char *const cause[CAUSES] = {
        "Nothing was added to them.",
        "What stood in C before is lost: = stands where += is meant.",
        "They were added twice.",
        "The last step of the sum is missing.",
        "The first step of the sum is missing.",
        "The last row of a strip or block is missing: it is one short.",
        "The steps that do not fill the last block are missing.",
        "A was read with its two strides exchanged.",
    };
    int known = 0;
    printf("  %-34s %10zu entries   %s\n", v->name, v->entries,
           v->wrong || v->outside ? "WRONG" : "ok");
    entries_compared += v->entries;
    if (v->wrong)
        printf("  %zu entries are wrong. %s\n", v->wrong, v->first);
    for (int i = 0; v->wrong && i < PLACES; i++)
        if (v->place[i]) {
            printf("  %s\n", place[i]);
            break;
        }
    for (int i = 0; v->wrong && i < CAUSES && !known; i++)
        if (v->cause[i])
            known = printf("  %s\n", cause[i]);
    if (v->wrong && !known)
        printf("  No mistake that we know explains the values.\n");
    if (v->outside)
        printf("  It writes beyond the end of C.\n");
    return v->wrong || v->outside;
}

/* Every size from 1 to 40 in each dimension with two others drawn, then the edges of tile and
   strip, then the network's products. */
struct problem problem_at(size_t s, struct random *r) {
    const size_t edge[][3] = {{1, 1, 1},
                              {TILE_ROWS, STRIP, DEPTH},
                              {TILE_ROWS + 1, STRIP + 1, DEPTH - 1},
                              {TILE_ROWS - 1, STRIP - 1, DEPTH + 1},
                              {3, WIDTH + 1, 2 * DEPTH + 3},
                              {2 * TILE_ROWS, 2 * STRIP + 5, DEPTH + 2}};
    enum { EDGES = sizeof edge / sizeof *edge };
    size_t d[3], l = s - 3 * SMALLEST - EDGES, B = 128;
    for (int i = 0; i < 3; i++)
        d[i] = (size_t)random_uniform(r, 1, SMALLEST + 1);
    if (s < 3 * SMALLEST)
        d[s % 3] = s / 3 + 1;
    else if (s < 3 * SMALLEST + EDGES)
        memcpy(d, edge[s - 3 * SMALLEST], sizeof d);
    else if (l < 3 * STAGES) {
        size_t in = network[l / 3], out = network[l / 3 + 1];
        const size_t call[3][3] = {{B, out, in}, {in, out, B}, {B, in, out}};
        memcpy(d, call[l % 3], sizeof d);
        return problem_new(d[0], d[1], d[2], l % 3 == 1, 1, r);
    }
    return problem_new(d[0], d[1], d[2], s % 2, 1, r);
}

/* Where QUICK is set, the network's own shapes are left out: they take longest. */
size_t shapes(void) {
    return getenv("QUICK") ? 3 * SMALLEST + 6 : 3 * SMALLEST + 6 + 3 * STAGES;
}

void every_rung(void **state) {
    (void)state;
    product *rung[] = {multiply_by_definition,
                       multiply_row_by_row,
                       multiply_by_the_compiler,
                       multiply_in_registers,
                       multiply,
                       multiply_without_strips};
    struct verdict v[] = {
        verdict_new("three loops", 1, 1),
        verdict_new("their order", 1, 1),
        verdict_new("order, and the compiler's vectors", 1, 1),
        verdict_new("registers", 4, 3),
        verdict_new("tiles along strips", TILE_ROWS, WIDTH),
        verdict_new("tiles without strips", TILE_ROWS, WIDTH),
        verdict_new("on 2, 3 and 5 cores", TILE_ROWS, WIDTH),
    };
    enum { RUNGS = sizeof rung / sizeof *rung };
    struct random r;
    random_seed(&r, 1);
    printf("chapter 16, fast: every rung against the definition, %zu shapes, in %s\n", shapes(),
           sizeof(real) == sizeof(float) ? "float" : "double");
    for (size_t s = 0; s < shapes(); s++) {
        struct problem p = problem_at(s, &r);
        for (size_t k = 0; k < RUNGS; k++)
            try_product(&v[k], rung[k], &p, 1);
        for (size_t team = 2; team <= 5; team += team - 1)
            try_product(&v[RUNGS], multiply, &p, team);
        problem_free(&p);
    }
    USE_CORES(0);
    int bad = 0;
    v[RUNGS].place[CORES] = v[4].wrong == 0; /* what is wrong on one core is wrong on several */
    for (size_t k = 0; k <= RUNGS; k++)
        bad += report(&v[k]);
    assert_int_equal(bad, 0);
}

/* Numbers that are not whole. Two sums of K products in another order may differ by K eps times the
   sum of their sizes; so may two in the same order, because the compiler may round a product before
   it is added, or not. Only where the same code adds in the same order are the bits the same: tiles
   with strips and without, as long as a sum fits into one strip, and any number of cores. */
void rounding(void **state) {
    (void)state;
    product *rung[] = {multiply_by_definition, multiply_row_by_row,     multiply_by_the_compiler,
                       multiply_in_registers,  multiply_without_strips, multiply};
    enum { RUNGS = sizeof rung / sizeof *rung };
    const double eps = sizeof(real) == sizeof(float) ? 0x1p-23 : 0x1p-52;
    size_t n = 0, differ = 0;
    struct random r;
    random_seed(&r, 2);
    for (size_t s = 0; s < 60; s++) {
        size_t M = (size_t)random_uniform(&r, 1, 80), N = (size_t)random_uniform(&r, 1, 80);
        size_t K = (size_t)random_uniform(&r, 1, DEPTH + 1);
        struct problem p = problem_new(M, N, K, s % 2, 0, &r);
        real *C[RUNGS + 1];
        USE_CORES(3);
        for (size_t k = 0; k <= RUNGS; k++) {
            C[k] = allocate(M * N, sizeof(real));
            memcpy(C[k], p.before, M * N * sizeof(real));
            if (k < RUNGS)
                rung[k](C[k], p.A, p.row, p.col, p.B, M, N, K);
            else
                TEAM {
                    multiply_my_share(multiply, C[k], p.A, p.row, p.col, p.B, M, N, K);
                }
        }
        for (size_t i = 0; i < M * N; i++, n++) {
            double size = fabs((double)p.before[i]);
            for (size_t k = 0; k < K; k++)
                size += fabs((double)term(&p, i / N, i % N, k, 0));
            for (size_t k = 1; k < RUNGS; k++)
                worst_rounding = fmax(worst_rounding, fabs((double)C[0][i] - (double)C[k][i]) /
                                                          ((double)K * eps * size));
            differ += C[RUNGS - 2][i] != C[RUNGS - 1][i] || C[RUNGS][i] != C[RUNGS - 1][i];
        }
        for (size_t k = 0; k <= RUNGS; k++)
            free(C[k]);
        problem_free(&p);
    }
    USE_CORES(0);
    printf("  %-34s %10zu entries   %s\n", "tiles and cores, to the last bit", n,
           differ ? "WRONG" : "ok");
    printf("  all rungs differ by at most %.2g of what rounding allows\n", worst_rounding);
    assert_true(differ == 0 && worst_rounding < 1);
}

void turning(void **state) {
    (void)state;
    size_t wrong = 0, whole = 0, n = 0;
    struct random r;
    random_seed(&r, 3);
    for (size_t s = 0; s < 2 * SMALLEST + STAGES; s++) {
        size_t rows = (size_t)random_uniform(&r, 1, 70), cols = s / 2 + 1;
        if (s >= 2 * SMALLEST) {
            rows = network[s - 2 * SMALLEST];
            cols = network[s - 2 * SMALLEST + 1];
        } else if (s % 2) {
            rows = cols;
            cols = (size_t)random_uniform(&r, 1, 70);
        }
        real *W = allocate(rows * cols, sizeof *W), *Wt = allocate(rows * cols, sizeof *Wt);
        for (size_t i = 0; i < rows * cols; i++)
            W[i] = (real)(i + 1);
        USE_CORES(s % 3 + 1);
        TEAM {
            size_t first = share(rows, SQUARE, core()), last = share(rows, SQUARE, core() + 1);
            transpose(Wt, W, rows, cols, first, last);
        }
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++, n++)
                if (Wt[j * rows + i] != W[i * cols + j]) {
                    wrong++;
                    whole += i / SQUARE < rows / SQUARE && j / SQUARE < cols / SQUARE;
                }
        free(W);
        free(Wt);
    }
    USE_CORES(0);
    printf("  %-34s %10zu entries   %s\n", "transpose", n, wrong ? "WRONG" : "ok");
    if (wrong)
        printf("  %zu are not where they belong, %s\n", wrong,
               whole == wrong ? "all of them in whole squares: the shuffle is wrong."
               : whole        ? "in whole squares and in what is left of them: rows and columns?"
                              : "all of them where less than a square is left.");
    assert_int_equal(wrong, 0);
}

/* The largest error of e^x, and if it is too large, whether one coefficient explains it: then the
   error divided by that power of r is a constant. r is x itself while |x| < log(2)/2. */
void exponential(void **state) {
    (void)state;
    const double promised = sizeof(real) == sizeof(float) ? 2e-7 : 1e-15;
    enum { STEPS = 1000000 };
    for (int k = 0; k <= STEPS; k++) {
        real x = (real)(-87.0 * k / STEPS);
        worst_exponential =
            fmax(worst_exponential, fabs((double)exp_negative(x) / exp((double)x) - 1));
    }
    int good = worst_exponential <= promised && exp_negative(0) == 1 &&
               exp_negative((real)-1e30) < (real)2e-38;
    printf("  %-34s error at most %.1e of the value   %s\n", "e^x, x from -87 to 0",
           worst_exponential, good ? "ok" : "WRONG");
    for (int power = 0; power < 8 && !good; power++) {
        double low = INFINITY, high = -INFINITY;
        for (double x = -0.32; x < -0.1; x += 0.01) {
            double off = ((double)exp_negative((real)x) - exp((double)(real)x)) / pow(x, power);
            low = fmin(low, off);
            high = fmax(high, off);
        }
        if (low * high > 0 && fabs(high - low) < 0.02 * fabs(high + low))
            printf("  The coefficient of r^%d is off by %.2g.\n", power, (low + high) / 2);
    }
    if (!good)
        printf("  The comment promises %.0e.\n", promised);
    double off = 0;
    for (double s = -30; s <= 30; s += 0.01)
        off = fmax(off, fabs((double)logistic((real)s) * (1 + exp(-(double)(real)s)) - 1));
    if (off > 3 * promised)
        printf("  The logistic is wrong by %.1g of its value.\n", off);
    assert_true(good && off <= 3 * promised);
}

/* Both steps, from the same start, on one core and on several. They add in the same order, so every
   weight must be the same to the last bit. */
void steps(void **state) {
    (void)state;
    enum { TIMES = 4, RUNS = 8 };
    const size_t size[STAGES + 1] = {69, 50, 18, 3, 18, 50, 69}, team[] = {1, 2, 3, 5};
    struct model first = {0};
    size_t n = 0;
    const char *said = NULL;
    for (size_t run = 0; run < RUNS && !said; run++) {
        size_t fused = run % 2, on = team[run / 2];
        struct random r;
        random_seed(&r, 4);
        struct model net = model_new(size, 29);
        for (size_t k = 0; k < net.parameters; k++)
            net.W[k] = (real)random_uniform(&r, -0.3, 0.3);
        for (size_t k = 0; k < net.B * size[0]; k++)
            net.x[k] = (real)random_uniform(&r, 0, 1);
        for (size_t l = 0; l < STAGES; l++)
            transpose(net.stage[l].Wt, net.W + net.stage[l].at, size[l], size[l + 1], 0, size[l]);
        USE_CORES(on);
        for (size_t t = 0; t < TIMES; t++)
            fused ? fused_step(&net, 0.01) : plain_step(&net, 0.01);
        size_t differ = 0;
        for (size_t k = 0; run && k < net.parameters; k++)
            differ += net.W[k] != first.W[k] || net.m[k] != first.m[k] || net.v[k] != first.v[k];
        for (size_t l = 1; l < STAGES; l++)
            for (size_t k = 0; k < size[l] * size[l + 1]; k++)
                differ += net.stage[l].Wt[k % size[l + 1] * size[l] + k / size[l + 1]] !=
                          net.W[net.stage[l].at + k];
        n += net.parameters;
        if (differ && on == 1)
            said = fused ? "The fused step gives other weights than the plain one."
                         : "The transposed copies are not those of the weights.";
        else if (differ)
            said =
                fused
                    ? "On several cores the fused step gives other weights: a core does not wait."
                    : "On several cores the plain step gives other weights: a core does not wait.";
        if (run == 0)
            first = net;
        else
            free(net.W);
    }
    free(first.W);
    USE_CORES(0);
    printf("  %-34s %10zu weights   %s\n", "fused step against plain", n, said ? "WRONG" : "ok");
    if (said)
        printf("  %s\n", said);
    assert_null(said);
}

int main(int argc, char **argv) {
    const struct CMUnitTest checks[] = {cmocka_unit_test(every_rung), cmocka_unit_test(rounding),
                                        cmocka_unit_test(turning), cmocka_unit_test(exponential),
                                        cmocka_unit_test(steps)};
    int failed = cmocka_run_group_tests(checks, NULL, NULL);
    FILE *f = argc > 1 ? fopen(argv[1], "w") : NULL;
    if (argc > 1 && !f)
        die("%s: cannot be written", argv[1]);
    if (f) {
        fprintf(f, "check_shapes\t%zu\tshapes\ncheck_products\t%zu\tproducts\n", shapes(),
                products);
        fprintf(f, "check_compared\t%zu\tentries\n", entries_compared);
        fprintf(f, "check_rounding\t%.3g\t\ncheck_exponential\t%.3g\t\n", worst_rounding,
                worst_exponential);
        fclose(f);
    }
    return failed;
}
