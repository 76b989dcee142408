/* measure.c: what chapter 7's page wants beyond the program's own run: other strengths of the
   penalties, other sizes of the batch, and three digits as sums of strokes. It includes the
   program, whose run comes first. */
#define main sparsity_main
#include "sparsity.c"
#undef main

/* What the copy would need, and what an empty page would cost. */
void describe_images(void) {
    double lit = 0, squares = 0;
    for (size_t k = 0; k < tests * PIXELS; k++) {
        lit += (test_set.pixel[k] > 0) / (double)tests;
        squares += pow(test_set.pixel[k] / 255.0, 2) / (double)tests;
    }
    printf("\na test image has %.0f lit pixels of %d, and a squared length of %.0f\n",
           result(lit, "pixels", "lit_pixels"), PIXELS, result(squares, "", "squared_length"));
}

/* Three digits, each in two rows: the digit and its strongest strokes one by one; the whole
   reconstruction and the sum of the strokes so far. */
void draw_parts(const struct run *now) {
    enum { DIGITS = 3, SHOWN = 11, WIDE = SHOWN + 1 };
    size_t some = least(least(DIGITS, tests), batch);
    real *sheet = allocate(2 * DIGITS * WIDE * PIXELS, sizeof *sheet);
    real *ink = allocate(units, sizeof *ink);
    const real *V = net.decoder.W, *a = net.encoder.h;
    memcpy(net.value, now->learned, net.parameters * sizeof(real));
    net.encoder.f = now->f;
    brightness(x, test_set.pixel, some * PIXELS);
    forward_by_all(&net.encoder, x, some);
    forward_by_all(&net.decoder, a, some);
    for (size_t r = 0; r < some; r++) {
        real *top = sheet + 2 * r * WIDE * PIXELS, *below = top + WIDE * PIXELS;
        memcpy(top, x + r * PIXELS, PIXELS * sizeof(real));
        memcpy(below, net.decoder.h + r * PIXELS, PIXELS * sizeof(real));
        for (size_t j = 0; j < units; j++) { /* how much ink each unit brings to this image */
            ink[j] = 0;
            for (size_t i = 0; i < PIXELS; i++)
                ink[j] += a[r * units + j] * V[j * PIXELS + i];
        }
        for (size_t t = 1; t <= SHOWN; t++) {
            size_t best = 0;
            for (size_t j = 1; j < units; j++)
                best = ink[j] > ink[best] ? j : best;
            ink[best] = 0;
            for (size_t i = 0; i < PIXELS; i++) {
                real part = a[r * units + best] * V[best * PIXELS + i];
                top[t * PIXELS + i] = 3 * part; /* brighter than it is, to be seen */
                below[t * PIXELS + i] = part + (t > 1 ? below[(t - 1) * PIXELS + i] : 0);
            }
        }
    }
    write_sheet("parts.png", sheet, 2 * DIGITS, WIDE, 3);
    free(sheet);
    free(ink);
}

/* --- other strengths, other batches ------------------------------------------------- */
enum { OTHERS = 7, ROOM = 64 };

struct other {
    size_t like;         /* the number of the run that it is like */
    double times, share; /* its lambda and its batch are so many times as large */
};
const struct other other[OTHERS] = {{1, 0.2, 1}, {1, 5, 1},   {5, 5, 1}, {1, 1, 0.2},
                                    {1, 1, 2},   {5, 1, 0.2}, {5, 1, 2}};

/* One of them, with as many steps as the rest, whatever its batch. Lambda and batch end its key. */
void other_run(struct run *now, const struct other *o, size_t which) {
    static char text[OTHERS][2][ROOM];
    size_t usual = batch;
    *now = run[o->like];
    now->penalty.lambda *= o->times;
    now->sq = now->active = now->treves = now->silenced = now->dead = now->longest = 0;
    now->pixels = now->negative = 0;
    batch = least(used, (size_t)fmax(1, (double)batch * o->share));
    snprintf(text[which][0], ROOM, "%s_%g_%zu", now->key, now->penalty.lambda, batch);
    snprintf(text[which][1], ROOM, "%s, B = %zu", o->like == 1 ? "L1" : "KL", batch);
    now->key = text[which][0];
    now->label = text[which][1];
    do_run(now, RUNS + which);
    batch = usual;
}

/* tradeoff.tsv: the codes with ink only and the usual batch, those of one penalty from weak to
   strong. */
void write_tradeoff(const struct run *more) {
    enum { LINES = 7, COLUMNS = 4 };
    const struct run *const line[LINES] = {&run[0],  &run[4], &more[0], &run[1],
                                           &more[1], &run[5], &more[2]};
    double row[LINES][COLUMNS];
    for (size_t k = 0; k < LINES; k++) {
        const struct run *now = line[k];
        const double cell[COLUMNS] = {(double)now->penalty.kind, now->penalty.lambda, now->active,
                                      now->sq};
        memcpy(row[k], cell, sizeof cell);
    }
    write_table("tradeoff.tsv", "penalty\tlambda\tactive\tsquared", row[0], LINES, COLUMNS);
}

int main(int argc, char **argv) {
    static struct run more[OTHERS];
    more_runs = OTHERS;
    int status = sparsity_main(argc, argv);
    if (status != 0)
        return status;
    describe_images();
    if (run[0].sq > 0 && done_runs > 1)
        result(run[1].sq / run[0].sq, "", "ratio_l1"); /* what sparsity costs */
    if (run[4].sq > 0)
        result(run[5].sq / run[4].sq, "", "ratio_kl");
    if (done_runs > 1)
        draw_parts(&run[1]);
    if (done_runs == RUNS) {
        size_t room = 2 * batch, n = 0;
        net = sparse_new(PIXELS, units, RELU, room);
        x = allocate(room * PIXELS, sizeof *x);
        printf("\nother strengths, then other sizes of the batch with as many steps\n");
        while (n < OTHERS && !interrupted) {
            other_run(&more[n], &other[n], n);
            n++;
        }
        if (n == OTHERS)
            write_tradeoff(more);
    }
    write_results();
    return interrupted ? 130 : 0;
}
