/* measure.c: what chapter 2's page wants beyond the program's own run: the angles between the
   networks' planes and PCA's, a code that copies, other codes for the same network, the codes of
   two numbers as a picture, and a sliding bar. It includes the program, whose run comes first. */
#define main bottleneck_main
#include "bottleneck.c"
#undef main

/* --- principal angles --------------------------------------------------------- */
/* angle (d), rising, in degrees, between two planes of d dimensions given by orthonormal rows P and
   Q (d,n). The first is the smallest angle between a direction of one and a direction of the other;
   the second the smallest among directions perpendicular to those; and so on. M = P Q' holds the
   cosines between the rows; its singular values are the cosines of the angles, and their squares
   are the eigenvalues of M M'. */
void principal_angles(double *angle, const double *P, const double *Q, size_t d, size_t n) {
    double *M = allocate(3 * d * d, sizeof *M), *H = M + d * d, *V = H + d * d;
    dot_products(M, P, Q, d, d, n);
    dot_products(H, M, M, d, d, d);
    jacobi(V, H, d);
    for (size_t k = 0; k < d; k++) {
        double square = fmin(fmax(H[k * d + k], 0), 1);
        angle[k] = atan2(sqrt(1 - square), sqrt(square)) * (180 / acos(-1.0));
    }
    free(M);
}

/* --- other codes -------------------------------------------------------------- */
/* Two changes of the code that the decoder undoes. From them, one after another, every invertible
   matrix A can be built: W_e becomes A W_e, and W_d becomes W_d A^-1. */

/* z_j *= a. Row j of W_e and b_e grow by a, column j of W_d shrinks by it. */
void stretch_code(struct stack *net, size_t j, real a) {
    struct dense *e = &net->layer[0], *d = &net->layer[1];
    for (size_t i = 0; i < e->in; i++)
        e->W[i * e->out + j] *= a;
    e->b[j] *= a;
    for (size_t i = 0; i < d->out; i++)
        d->W[j * d->out + i] /= a;
}

/* z_j += a z_k, for another k. The decoder gets a z_k too much from unit j: its column k takes it
   back. */
void mix_code(struct stack *net, size_t j, size_t k, real a) {
    struct dense *e = &net->layer[0], *d = &net->layer[1];
    for (size_t i = 0; i < e->in; i++)
        e->W[i * e->out + j] += a * e->W[i * e->out + k];
    e->b[j] += a * e->b[k];
    for (size_t i = 0; i < d->out; i++)
        d->W[k * d->out + i] -= a * d->W[j * d->out + i];
}

/* --- sliding bar -------------------------------------------------------------- */
/* N pictures with one true coordinate: a bright bar, 3 pixels wide, whose middle slides from the
   left to the right. A pixel that the bar covers in part is gray. */
struct images sliding_bar(size_t N) {
    struct images bar = {N, allocate(N, PIXELS), NULL};
    for (size_t k = 0; k < N; k++) {
        double middle = 2 + 24 * ((double)k + 0.5) / (double)N;
        for (size_t i = 0; i < PIXELS; i++) {
            double left = (double)(i % SIDE);
            double covered = fmin(left + 1, middle + 1.5) - fmax(left, middle - 1.5);
            bar.pixel[k * PIXELS + i] = (unsigned char)(255 * fmax(covered, 0) + 0.5);
        }
    }
    return bar;
}

/* --- what is measured --------------------------------------------------------- */
/* x (B,784) = these images, each minus the mean of the study's training images */
void gather_centred(real *to, const struct study *y, const size_t *which, size_t B) {
    gather(to, &y->test, which, B);
    subtract_mean(to, y->mean, B);
}

/* Q (d,784) = an orthonormal basis of what the decoder can paint, around the mean. */
void decoder_plane(double *Q, const struct stack *net) {
    const struct dense *decoder = &net->layer[1];
    for (size_t k = 0; k < decoder->in * decoder->out; k++)
        Q[k] = (double)decoder->W[k];
    orthonormalise(Q, decoder->in, decoder->out);
}

/* The angles between the plane of each network and that of PCA. */
void measure_angles(struct study *y) {
    size_t rows = 0;
    double row[MOST_CODES * 100][3];
    printf("%s: angles between the plane of the network and that of PCA\n"
           "  code   smallest    largest\n",
           y->name);
    for (size_t c = 0; c < y->nets; c++) {
        size_t d = code[c];
        double angle[100], *Q = allocate(d * PIXELS, sizeof *Q);
        decoder_plane(Q, &y->net[c]);
        principal_angles(angle, Q, y->pca.Q, d, PIXELS);
        free(Q);
        printf("  %4zu %6.2f deg %6.2f deg\n", d,
               result(angle[0], "degrees", "%s_angle_smallest_%zu", y->name, d),
               result(angle[d - 1], "degrees", "%s_angle_%zu", y->name, d));
        for (size_t k = 0; k < d; k++) {
            row[rows][0] = (double)d;
            row[rows][1] = (double)k + 1;
            row[rows++][2] = angle[k];
        }
        /* How far the last direction that fits in stands out from the first that does not. */
        double last = y->pca.variance[d - 1], next = y->pca.variance[d];
        result(percent(last - next, next), "%", "%s_gap_%zu", y->name, d);
    }
    printf("\n");
    write_table(file_of(y, "angles-%s.tsv"), "d\tk\tangle", row[0], rows, 3);
}

/* What PCA makes of the sliding bar, and of the others beside it. */
void compare_manifolds(void) {
    static struct study bar = {.name = "bar"};
    bar.train = sliding_bar(1000);
    bar.test = sliding_bar(997);
    mean_image(bar.mean, &bar.train);
    printf("sliding bar: %zu images to learn from, %zu to test\n", bar.train.count, bar.test.count);
    find_floor(&bar, 31);
    const struct study *const all[] = {&on_digits, &on_curves, &bar};
    static const char *const text[] = {"digits", "curves (6 numbers)", "sliding bar (1 number)"};
    static const size_t d[] = {1, 2, 3, 6, 10, 18, 30};
    printf("\nhow much PCA leaves of each, in percent of the error of the mean image (test)\n"
           "  directions           ");
    for (size_t k = 0; k < 7; k++)
        printf("%8zu", d[k]);
    printf("\n");
    for (int a = 0; a < 3; a++) {
        if (!all[a]->train.count)
            continue;
        printf("  %-22s", text[a]);
        for (size_t k = 0; k < 7; k++)
            printf("%8.2f", percent(all[a]->test_error[d[k]], all[a]->test_error[0]));
        printf("\n");
    }
    printf("\n");
    real *sheet = allocate(8 * PIXELS, sizeof *sheet);
    for (size_t k = 0; k < 8; k++)
        brightness(sheet + k * PIXELS, bar.train.pixel + k * 999 / 7 * PIXELS, PIXELS);
    for (size_t k = 0; k < 8 * PIXELS; k++)
        sheet[k] *= (real)0.7; /* so that a bar is not taken for the white between the pictures */
    write_sheet("bar.png", sheet, 1, 8, 2);
    free(sheet);
}

/* From one image to another on the straight line between them, pixel by pixel. */
void draw_blends(const struct study *y) {
    enum { STEPS = 7, PAIRS = 2 };
    size_t which[SHOWN];
    choose_shown(which, &y->test);
    real *ends = allocate(SHOWN * PIXELS, sizeof *ends);
    real *sheet = allocate(PAIRS * STEPS * PIXELS, sizeof *sheet);
    gather(ends, &y->test, which, SHOWN);
    for (size_t k = 0; k < PAIRS * STEPS * PIXELS; k++) {
        size_t pair = k / PIXELS / STEPS, i = k % PIXELS;
        real t = (real)(k / PIXELS % STEPS) / (STEPS - 1);
        sheet[k] = (1 - t) * ends[2 * pair * PIXELS + i] + t * ends[(2 * pair + 1) * PIXELS + i];
    }
    write_sheet(file_of(y, "blend-%s.png"), sheet, PAIRS, STEPS, 2);
    free(ends);
    free(sheet);
}

/* What PCA makes of the ten digits that the program's sheet shows, at the same sizes of code. */
void draw_pca(const struct study *y) {
    size_t which[SHOWN], n = SHOWN * PIXELS;
    real *sheet = allocate((y->nets + 1) * n, sizeof *sheet);
    choose_shown(which, &y->test);
    gather_centred(sheet, y, which, SHOWN);
    for (size_t k = 0; k < y->nets * SHOWN; k++)
        for (size_t j = 0; j < code[k / SHOWN]; j++) {
            const real *u = sheet + k % SHOWN * PIXELS;
            const double *q = y->pca.Q + j * PIXELS;
            double z = 0;
            for (size_t i = 0; i < PIXELS; i++)
                z += q[i] * (double)u[i];
            for (size_t i = 0; i < PIXELS; i++)
                sheet[n + k * PIXELS + i] += (real)(z * q[i]);
        }
    for (size_t k = 0; k < (y->nets + 1) * n; k++)
        sheet[k] += (real)y->mean[k % PIXELS];
    write_sheet("digits-pca.png", sheet, y->nets + 1, SHOWN, 2);
    free(sheet);
}

/* The trained network with a code of d; NULL where there is none. */
struct stack *find_network(struct study *y, size_t d) {
    for (size_t c = 0; c < y->nets; c++)
        if (code[c] == d)
            return &y->net[c];
    return NULL;
}

/* The 2-d codes of the test digits, by PCA and by the network, and the mean for each digit. */
void list_codes(struct study *y) {
    enum { LISTED = 2000, COLUMNS = 5 };
    static double row[LISTED][COLUMNS], mean[10][COLUMNS], count[10];
    static const char columns[] = "label\tpca1\tpca2\tnet1\tnet2";
    struct stack *net = find_network(y, 2);
    size_t rows = net && y->test.label ? y->test.count : 0, labels = 0;
    rows = rows < LISTED ? rows : LISTED;
    for (size_t k = 0; k < rows; k++) {
        real u[PIXELS];
        int label = y->test.label[k];
        gather_centred(u, y, &k, 1);
        stack_forward(net, u, 1);
        for (size_t j = 0; j < 2; j++) {
            for (size_t i = 0; i < PIXELS; i++)
                row[k][1 + j] += y->pca.Q[j * PIXELS + i] * (double)u[i];
            row[k][3 + j] = (double)net->layer[0].h[j];
        }
        row[k][0] = label;
        count[label]++;
        for (int i = 0; i < COLUMNS; i++)
            mean[label][i] += (row[k][i] - mean[label][i]) / count[label]; /* a running mean */
    }
    write_table("codes.tsv", columns, row[0], rows, COLUMNS);
    for (int c = 0; c < 10; c++)
        if (count[c] > 0)
            memcpy(mean[labels++], mean[c], sizeof mean[c]);
    write_table("code-means.tsv", columns, mean[0], labels, COLUMNS);
}

/* As many units as pixels: a code that copies. Its weights need no training. It rebuilds digits
   without error, and everything else just as well; the trained bottleneck does not. */
void show_copying(struct study *y) {
    enum { FEW = 100 };
    size_t B = y->test.count < FEW ? y->test.count : FEW, d = code[y->nets - 1];
    struct random r;
    random_seed(&r, 1);
    struct stack *net = &y->net[y->nets - 1], copier = linear_autoencoder(PIXELS, B, &r);
    memset(copier.value, 0, copier.parameters * sizeof *copier.value);
    for (size_t i = 0; i < PIXELS; i++)
        copier.layer[0].W[i * PIXELS + i] = copier.layer[1].W[i * PIXELS + i] = 1;
    /* The same digits with their pixels in a random order: as bright, but no digits. */
    struct images shown = {B, y->test.pixel, NULL}, noise = {B, allocate(B, PIXELS), NULL};
    size_t order[PIXELS];
    for (size_t k = 0; k < B; k++) {
        shuffle(order, PIXELS, &r);
        for (size_t i = 0; i < PIXELS; i++)
            noise.pixel[k * PIXELS + i] = shown.pixel[k * PIXELS + order[i]];
    }
    printf("a wide code may copy: squared error on %zu %s, and on their pixels in random order\n"
           "  %4d units, weights that copy  %8.3f %8.3f\n"
           "  %4zu units, trained            %8.3f %8.3f\n\n",
           B, y->name, PIXELS,
           result(error_over(&copier, &shown, y->mean), "squared error", "copy_digits"),
           result(error_over(&copier, &noise, y->mean), "squared error", "copy_noise"), d,
           result(error_over(net, &shown, y->mean), "squared error", "trained_digits"),
           result(error_over(net, &noise, y->mean), "squared error", "trained_noise"));
    free(copier.value);
    free(noise.pixel);
}

/* Copies d pictures with signs to a row of a sheet: 0 becomes gray, the largest black or white. */
void draw_signed(real *to, const double *picture, size_t d) {
    for (size_t k = 0; k < d; k++) {
        double largest = 1e-30;
        for (size_t i = 0; i < PIXELS; i++)
            largest = fmax(largest, fabs(picture[k * PIXELS + i]));
        for (size_t i = 0; i < PIXELS; i++)
            to[k * PIXELS + i] = (real)(0.5 + 0.5 * picture[k * PIXELS + i] / largest);
    }
}

/* What the units of the decoder paint, as d pictures with signs: to a row of a sheet, and to W. */
void draw_units(real *to, double *W, const struct stack *net) {
    size_t d = net->layer[1].in;
    for (size_t k = 0; k < d * PIXELS; k++)
        W[k] = (double)net->layer[1].W[k];
    draw_signed(to, W, d);
}

void print_code(struct stack *net, const real *u, const char *when) {
    stack_forward(net, u, 1);
    printf("  code of the first test digit, %-7s", when);
    for (size_t j = 0; j < net->layer[0].out && j < 10; j++)
        printf("%8.2f", (double)net->layer[0].h[j]);
    printf("\n");
}

double largest_angle(const struct study *y, const struct stack *net) {
    size_t d = net->layer[1].in;
    double angle[100], *Q = allocate(d * PIXELS, sizeof *Q);
    decoder_plane(Q, net);
    principal_angles(angle, Q, y->pca.Q, d, PIXELS);
    free(Q);
    return angle[d - 1];
}

/* Changes the code of a trained network again and again, undoing each change in the decoder, and
   shows that the loss does not notice. */
void show_other_codes(struct study *y) {
    struct stack *net = find_network(y, 6);
    if (!net)
        net = &y->net[y->nets - 1];
    size_t d = net->layer[0].out, n = d * PIXELS, first = 0;
    double *W = allocate(n, sizeof *W), most = 0, least = 1;
    real *sheet = allocate(3 * n, sizeof *sheet), u[PIXELS];
    gather_centred(u, y, &first, 1);
    draw_signed(sheet, y->pca.Q, d);
    draw_units(sheet + n, W, net);

    /* Is what a unit paints a principal component? Compare each with the most similar one. */
    printf("the code is not unique: a network with %zu units\n"
           "  cosine between what a unit paints and the nearest principal component:",
           d);
    for (size_t j = 0; j < d; j++) {
        double best = 0, length = sqrt(dot(W + j * PIXELS, W + j * PIXELS, PIXELS));
        for (size_t k = 0; k < d; k++)
            best = fmax(best, fabs(dot(W + j * PIXELS, y->pca.Q + k * PIXELS, PIXELS)) / length);
        printf(" %.2f", best);
        most = fmax(most, best);
        least = fmin(least, best);
    }
    printf("\n");
    result(most, "", "unit_match_best");
    result(least, "", "unit_match_worst");

    double before = error_over(net, &y->test, y->mean), angle_before = largest_angle(y, net);
    print_code(net, u, "before");
    struct random r;
    random_seed(&r, seed);
    for (size_t j = 0; j < d; j++) {
        double a = random_uniform(&r, 0.5, 2);
        stretch_code(net, j, (real)(random_uniform(&r, -1, 1) < 0 ? -a : a));
        for (size_t k = 0; k < d; k++)
            if (k != j)
                mix_code(net, j, k, (real)random_uniform(&r, -0.5, 0.5));
    }
    print_code(net, u, "after");
    double after = error_over(net, &y->test, y->mean);
    printf("  test error %.4f before, %.4f after\n"
           "  changed by %.0e of itself, which is rounding\n"
           "  largest angle to the plane of PCA %.3f degrees before, %.3f after\n\n",
           before, after,
           result(percent(fabs(after - before), before) / 100, "", "mixing_changes_error"),
           angle_before, largest_angle(y, net));
    draw_units(sheet + 2 * n, W, net);
    write_sheet("components.png", sheet, 3, d, 3);
    free(W);
    free(sheet);
}

int main(int argc, char **argv) {
    int status = bottleneck_main(argc, argv);
    if (status != 0)
        return status;
    show_copying(&on_digits);
    measure_angles(&on_digits);
    if (on_curves.train.count)
        measure_angles(&on_curves);
    compare_manifolds();
    draw_pca(&on_digits);
    draw_blends(&on_digits);
    if (on_curves.train.count)
        draw_blends(&on_curves);
    list_codes(&on_digits);
    show_other_codes(&on_digits); /* last: it changes a network */
    write_results();
    return 0;
}
