/* measure.c: what chapter 3's page wants beyond the program's own run: whether the decoder is
   better than a lookup in the curves that it has seen, whether its pictures move or jump when a
   knob is turned, where it draws badly; and four autoencoders with tied weights and without. It
   includes the program, whose run comes first. */
#define main decoder_main
#include "decoder.c"
#undef main

/* --- nearest curves ----------------------------------------------------------- */
/* The squared distance between two curves in knobs, or rather of the nearer of their two readings:
   a curve that is read from its other end is the same curve. */
real curve_distance(const real *z, const real *other) {
    real there = 0, back = 0;
    for (size_t j = 0; j < KNOBS; j++) {
        size_t k = from_other_end(j);
        there += (z[j] - other[j]) * (z[j] - other[j]);
        back += (z[j] - other[k]) * (z[j] - other[k]);
    }
    return there < back ? there : back;
}

/* which (k) = the k known curves that are nearest to z (6), nearest first. */
void nearest_curves(size_t *which, size_t k, const real *z) {
    enum { MOST = 32 };
    real distance[MOST];
    size_t have = 0;
    for (size_t i = 0; i < known.count; i++) {
        real d = curve_distance(z, known.z + i * KNOBS);
        if (have == k && d >= distance[k - 1])
            continue;
        /* The new one goes to its place; what is farther moves up, and the last falls out. */
        size_t at = have < k ? have++ : k - 1;
        for (; at > 0 && distance[at - 1] > d; at--) {
            distance[at] = distance[at - 1];
            which[at] = which[at - 1];
        }
        distance[at] = d;
        which[at] = i;
    }
}

/* The number of the known picture that is nearest to x (784) in pixels. This one looks at the
   answer: no lookup in the known pictures can do better. */
size_t nearest_picture(const unsigned char *x) {
    size_t best = 0;
    int smallest = INT_MAX;
    for (size_t i = 0; i < known.count; i++) {
        int sum = 0;
        LANES
        for (size_t p = 0; p < PIXELS; p++) {
            int difference = x[p] - known.images.pixel[i * PIXELS + p];
            sum += difference * difference;
        }
        if (sum < smallest) {
            smallest = sum;
            best = i;
        }
    }
    return best;
}

/* --- is it more than a lookup? ------------------------------------------------ */
/* |a - b|^2 over 784 pixels */
double picture_distance(const real *a, const real *b) {
    double example[1];
    return squared_error_forward(example, a, b, 1, PIXELS);
}

void show(real *picture, const struct curves *c, size_t i) {
    brightness(picture, c->images.pixel + i * PIXELS, PIXELS);
}

double mean_over(const double *value, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += value[i] / (double)n;
    return sum;
}

void print_error(const char *who, double value, const char *name, const char *remark) {
    printf("  %-38s %8.3f%s\n", who, result(value, "", "%s", name), remark);
}

double *nearest_error; /* each unknown curve's error by lookup */

/* Who draws the unknown curves best? As numbers and as a picture. */
void compare_lookups(void) {
    enum { MANY = 8, SHOWN = 14, COSTLY = 1000 };
    size_t n = unknown.count, few = n < COSTLY ? n : COSTLY;
    size_t k = known.count < MANY ? known.count : MANY;
    size_t *near = allocate(n * MANY, sizeof *near), *similar = allocate(few, sizeof *similar);
    double *black = allocate(6 * n, sizeof *black), *mean = black + n, *several = mean + n;
    double *apart = several + n, *wins = apart + n, *best = wins + n;
    const real nothing[PIXELS] = {0};
    nearest_error = allocate(n, sizeof *nearest_error);
    /* The lookups by knobs, which see what the decoder sees. */
    PARALLEL
    for (size_t i = 0; i < n; i++) {
        real x[PIXELS], y[PIXELS], average[PIXELS] = {0};
        nearest_curves(near + i * MANY, k, unknown.z + i * KNOBS);
        show(x, &unknown, i);
        for (size_t m = k; m-- > 0;) { /* the nearest last, so that it stays in y */
            show(y, &known, near[i * MANY + m]);
            for (size_t p = 0; p < PIXELS; p++)
                average[p] += y[p] / (real)k;
        }
        black[i] = picture_distance(x, nothing);
        mean[i] = picture_distance(x, mean_picture);
        several[i] = picture_distance(x, average);
        nearest_error[i] = picture_distance(x, y);
        apart[i] =
            sqrt((double)curve_distance(unknown.z + i * KNOBS, known.z + near[i * MANY] * KNOBS));
        wins[i] = 100.0 * (error[i] < nearest_error[i]);
    }
    /* The lookup by pixels, which sees the answer. It compares 784 numbers where the other compares
       six, so it gets fewer curves. */
    PARALLEL
    for (size_t i = 0; i < few; i++) {
        real x[PIXELS], y[PIXELS];
        similar[i] = nearest_picture(unknown.images.pixel + i * PIXELS);
        show(x, &unknown, i);
        show(y, &known, similar[i]);
        best[i] = picture_distance(x, y);
    }
    char text[64];
    printf("who draws the test curves best? squared error of a picture\n");
    print_error("all black", mean_over(black, n), "black_sq", "");
    print_error("the mean training picture", mean_over(mean, n), "mean_sq", "");
    print_error("the training curve nearest in knobs", mean_over(nearest_error, n), "nearest_sq",
                "");
    snprintf(text, sizeof text, "the mean of the %zu nearest in knobs", k);
    print_error(text, mean_over(several, n), "nearest_mean_sq", "");
    printf("  the decoder                            %8.3f\n", mean_over(error, n));
    printf("  on the first %zu curves only:\n", few);
    print_error("the training picture nearest in pixels", mean_over(best, few), "nearest_pixels_sq",
                "   (it looks at the answer)");
    print_error("the decoder", mean_over(error, few), "test_sq_first", "");
    printf("  The decoder beats the nearest curve on %.1f %% of the test curves.\n\n",
           result(mean_over(wins, n), "%", "wins"));
    /* From the root of a sum over six knobs to pixels a coordinate: a knob of 1 is ten pixels. */
    result(mean_over(apart, n) / sqrt(6) * 10, "pixels", "nearest_pixels_apart");

    /* Rows: true, decoder, nearest curve, nearest picture. */
    size_t cols = few < SHOWN ? few : SHOWN;
    real *sheet = allocate(4 * cols * PIXELS, sizeof *sheet);
    memcpy(sheet + cols * PIXELS, stack_forward(&decoder, unknown.z, cols),
           cols * PIXELS * sizeof *sheet);
    for (size_t i = 0; i < cols; i++) {
        show(sheet + i * PIXELS, &unknown, i);
        show(sheet + (2 * cols + i) * PIXELS, &known, near[i * MANY]);
        show(sheet + (3 * cols + i) * PIXELS, &known, similar[i]);
    }
    write_sheet("compare.png", sheet, 4, cols, 2);
}

/* --- moves and jumps ---------------------------------------------------------- */
/* Each knob once more, in steps a hundred times finer: how far does the picture go in one step of
   1/200, that is 1/20 of a pixel? */
void measure_steps(void) {
    enum { FINE = 401 };
    real *z = allocate(FINE * KNOBS, sizeof *z), x[PIXELS] = {0}, before[PIXELS];
    double *row = allocate(4 * KNOBS * FINE, sizeof *row);
    double largest = 0, largest_lookup = 0, total = 0, total_lookup = 0;
    size_t jumps = 0, rows = 0;
    for (size_t k = 0; k < KNOBS; k++) {
        turn_knob(z, unknown.z + curve * KNOBS, k, FINE);
        const real *xhat = stack_forward(&decoder, z, FINE);
        for (size_t t = 0; t < FINE; t++) {
            size_t which = 0;
            nearest_curves(&which, 1, z + t * KNOBS);
            memcpy(before, x, sizeof x);
            show(x, &known, which);
            if (!t) /* a first picture has not moved */
                continue;
            double moved = sqrt(picture_distance(xhat + t * PIXELS, xhat + (t - 1) * PIXELS));
            double jumped = sqrt(picture_distance(x, before));
            memcpy(row + 4 * rows++,
                   (double[]){(double)k + 1, (double)z[t * KNOBS + k], moved, jumped},
                   4 * sizeof *row);
            largest = fmax(largest, moved);
            largest_lookup = fmax(largest_lookup, jumped);
            total += moved;
            total_lookup += jumped;
            jumps += jumped > 0;
        }
    }
    write_table("steps.tsv", "knob\tposition\tdecoder\tlookup", row, rows, 4);
    printf("turning each knob of test curve %zu from end to end in %d small steps\n"
           "  the decoder's picture moves at most %6.3f in a step, %7.1f on the whole way\n"
           "  the nearest curve's moves at most   %6.3f in a step, %7.1f on the whole way, in %zu "
           "jumps\n\n",
           curve, FINE - 1, largest, total, largest_lookup, total_lookup, jumps);
    result(largest, "", "largest_move");
    result(largest_lookup, "", "largest_move_lookup");
    result((double)jumps, "jumps", "lookup_jumps");
}

/* Nobody told the decoder that a curve can be read from either end. Does it know? */
void read_backwards(void) {
    real *z = allocate(ROWS * KNOBS, sizeof *z);
    double *example = allocate(ROWS, sizeof *example);
    size_t B = unknown.count < ROWS ? unknown.count : ROWS;
    memcpy(pictures, stack_forward(&decoder, unknown.z, B), B * PIXELS * sizeof *pictures);
    for (size_t i = 0; i < B; i++)
        for (size_t j = 0; j < KNOBS; j++)
            z[i * KNOBS + j] = unknown.z[i * KNOBS + from_other_end(j)];
    double apart =
        squared_error_forward(example, stack_forward(&decoder, z, B), pictures, B, PIXELS);
    printf("the two readings of a curve give drawings that are %.3f apart\n\n",
           result(apart, "", "readings_apart"));
}

/* --- where it draws badly ----------------------------------------------------- */
/* A mean that takes one value after another. */
struct tally {
    double sum, n;
};

void tally_add(struct tally *a, double value) {
    a->sum += value;
    a->n++;
}

double tally_mean(const struct tally *a) {
    return a->n > 0 ? a->sum / a->n : NAN;
}

/* The length in pixels of the curve with knobs z (6), from 64 straight pieces. A knob of 1 is ten
   pixels. */
double curve_length(const real *z) {
    double length = 0, x = (double)z[0], y = (double)z[1];
    for (int k = 1; k <= 64; k++) {
        double t = k / 64.0, a = (1 - t) * (1 - t), b = 2 * t * (1 - t), c = t * t;
        double to_x = a * (double)z[0] + b * (double)z[2] + c * (double)z[4];
        double to_y = a * (double)z[1] + b * (double)z[3] + c * (double)z[5];
        length += 10 * sqrt((to_x - x) * (to_x - x) + (to_y - y) * (to_y - y));
        x = to_x, y = to_y;
    }
    return length;
}

/* The mean error of the unknown curves, by where their points lie: cells of 2 x 2 pixels. */
void map_errors(void) {
    enum { CELLS = 10 };
    struct tally middle[CELLS][CELLS] = {0}, end[CELLS][CELLS] = {0}, centre = {0}, corner = {0};
    for (size_t i = 0; i < unknown.count; i++)
        for (size_t point = 0; point < 3; point++) {
            size_t at[2]; /* column and row; rounding may put a point just outside */
            for (size_t axis = 0; axis < 2; axis++) {
                double z = (double)unknown.z[i * KNOBS + 2 * point + axis];
                at[axis] = (size_t)fmin(fmax((z + 1) / 2 * CELLS, 0), CELLS - 1);
            }
            /* Which end comes first is chance: one map for both. */
            tally_add(point == 1 ? &middle[at[1]][at[0]] : &end[at[1]][at[0]], error[i]);
            int to_x = abs(2 * (int)at[0] + 1 - CELLS), to_y = abs(2 * (int)at[1] + 1 - CELLS);
            if (point == 1 && to_x < 4 && to_y < 4) /* 8 x 8 pixels */
                tally_add(&centre, error[i]);
            if (point == 1 && to_x > 6 && to_y > 6) /* 4 x 4 pixels each */
                tally_add(&corner, error[i]);
        }
    double row[CELLS * CELLS][4];
    for (size_t k = 0; k < CELLS * CELLS; k++) {
        row[k][0] = 4 + ((double)(k % CELLS) + 0.5) * 20 / CELLS; /* the cell's middle in pixels */
        row[k][1] = 4 + ((double)(k / CELLS) + 0.5) * 20 / CELLS;
        row[k][2] = tally_mean(&middle[k / CELLS][k % CELLS]); /* nan: gnuplot leaves it out */
        row[k][3] = tally_mean(&end[k / CELLS][k % CELLS]);
    }
    write_table("grid.tsv", "x\ty\tmiddle\tend", row[0], CELLS * CELLS, 4);
    printf("the decoder's error by where the middle point lies\n");
    if (centre.n > 0)
        print_error("in the middle of the picture", tally_mean(&centre), "middle_sq", "");
    if (corner.n > 0)
        print_error("in a corner", tally_mean(&corner), "corner_sq", "");
    printf("\n");
}

/* The same by length: two pixels to a class; the longest share the last. */
void sort_by_length(void) {
    enum { LENGTHS = 14 };
    struct tally drawn[LENGTHS] = {0}, looked_up[LENGTHS] = {0};
    double row[LENGTHS][4];
    size_t rows = 0;
    for (size_t i = 0; i < unknown.count; i++) {
        size_t k = (size_t)fmin(curve_length(unknown.z + i * KNOBS) / 2, LENGTHS - 1);
        tally_add(&drawn[k], error[i]);
        tally_add(&looked_up[k], nearest_error[i]);
    }
    for (size_t k = 0; k < LENGTHS; k++)
        if (drawn[k].n >= 10) { /* a mean of less says little */
            row[rows][0] = 2 * (double)k + 1;
            row[rows][1] = tally_mean(&drawn[k]);
            row[rows][2] = tally_mean(&looked_up[k]);
            row[rows++][3] = drawn[k].n;
        }
    write_table("length.tsv", "length\tdecoder\tlookup\tcurves", row[0], rows, 4);
}

/* --- tied weights ------------------------------------------------------------- */
/* Two matrices, one, and one of whose two shares of the gradient we throw one away. */
enum binding { UNTIED, TIED, ENCODER_LOST, DECODER_LOST, WAYS };
const char *const way_text[WAYS] = {"two matrices", "one matrix, both shares",
                                    "one matrix, the encoder's share lost",
                                    "one matrix, the decoder's share lost"};
const char *const way_name[WAYS] = {"untied", "tied", "tied_encoder_lost", "tied_decoder_lost"};

/* The mean error on the unknown curves, of the tied autoencoder or, where it is given, of net. */
double reconstruct_all(struct tied *t, struct stack *net) {
    static double example[ROWS];
    double sum = 0;
    for (size_t i = 0; i < unknown.count; i += ROWS) {
        size_t B = unknown.count - i < ROWS ? unknown.count - i : ROWS;
        brightness(pictures, unknown.images.pixel + i * PIXELS, B * PIXELS);
        const real *xhat = net ? stack_forward(net, pictures, B) : tied_forward(t, pictures, B);
        sum += squared_error_forward(example, xhat, pictures, B, PIXELS) * (double)B;
    }
    return sum / (double)unknown.count;
}

/* The gradient of the tied autoencoder for a batch of pictures, with one share lost where way
   says so. */
void tied_gradient(struct tied *t, real *decoders_share, enum binding way, size_t B) {
    size_t bytes = t->n * t->d * sizeof(real);
    tied_zero(t);
    squared_error_backward(t->dxhat, tied_forward(t, pictures, B), pictures, B, PIXELS);
    tied_backward_decoder(t, B);
    memcpy(decoders_share, t->dW, bytes);
    if (way == DECODER_LOST)
        memset(t->dW, 0, bytes);
    tied_backward_encoder(t, NULL, pictures, B);
    if (way == ENCODER_LOST)
        memcpy(t->dW, decoders_share, bytes);
}

void untied_gradient(struct stack *net, size_t B) {
    stack_zero(net);
    squared_error_backward(net->dlast, stack_forward(net, pictures, B), pictures, B, PIXELS);
    stack_backward(net, NULL, pictures, B);
}

/* Trains an autoencoder 784-code-784 on the known curves, from the same start each time. */
void train_tied(enum binding way) {
    size_t B = batch < known.count ? batch : known.count, steps = known.count / B;
    size_t *order = allocate(known.count, sizeof *order);
    struct tied t = tied_new(PIXELS, code, RELU, decoder.batch);
    struct stack net = stack_new((size_t[]){PIXELS, code, PIXELS},
                                 (enum activation[]){RELU, SIGMOID}, 2, decoder.batch);
    struct random r;
    random_seed(&r, seed);
    double limit = xavier_limit(PIXELS, code);
    for (size_t k = 0; k < PIXELS * code; k++)
        t.W[k] = (real)random_uniform(&r, -limit, limit);
    for (size_t i = 0; i < PIXELS; i++)
        t.c[i] = (real)logit(mean_brightness);
    /* The untied one begins with the same numbers, and may then let the two copies part. */
    memcpy(net.layer[0].W, t.W, PIXELS * code * sizeof(real));
    for (size_t i = 0; i < PIXELS; i++)
        for (size_t j = 0; j < code; j++)
            net.layer[1].W[j * PIXELS + i] = t.W[i * code + j];
    memcpy(net.layer[1].b, t.c, PIXELS * sizeof(real));

    double before = reconstruct_all(&t, NULL);
    real *decoders_share = allocate(PIXELS * code, sizeof *decoders_share);
    size_t parameters = way == UNTIED ? net.parameters : t.parameters;
    struct adam adam = adam_new(parameters);
    for (size_t epoch = 0; epoch < tied_epochs && !interrupted; epoch++) {
        shuffle(order, known.count, &r);
        for (size_t step = 0; step < steps && !interrupted; step++) {
            gather(pictures, &known.images, order + step * B, B);
            if (way == UNTIED)
                untied_gradient(&net, B);
            else
                tied_gradient(&t, decoders_share, way, B);
            double part = (double)(epoch * steps + step) / (double)(tied_epochs * steps);
            adam_step(&adam, way == UNTIED ? net.value : t.value, way == UNTIED ? net.grad : t.grad,
                      falling_rate(rate, part));
            show_progress(((double)way + part) / WAYS, "tying");
        }
    }
    hide_progress();
    if (interrupted)
        return;
    double after = reconstruct_all(&t, way == UNTIED ? &net : NULL);
    require_learning(after, before);
    printf("  %-38s  %10zu  %10.3f\n", way_text[way], parameters,
           result(after, "", "sq_%s", way_name[way]));
    result((double)parameters, "parameters", "parameters_%s", way_name[way]);
}

int main(int argc, char **argv) {
    int status = decoder_main(argc, argv);
    if (status != 0)
        return status;
    compare_lookups();
    measure_steps();
    read_backwards();
    map_errors();
    sort_by_length();
    bar_start = 0; /* the time left is now that of what follows */
    if (tied_epochs > 0)
        printf("an autoencoder 784-%zu-784 on the curves, %zu epoch%s\n"
               "  weights                                 parameters  test error\n",
               code, tied_epochs, tied_epochs == 1 ? "" : "s");
    for (int way = 0; way < WAYS && tied_epochs > 0; way++)
        train_tied((enum binding)way);
    write_results();
    return interrupted ? 130 : 0;
}
