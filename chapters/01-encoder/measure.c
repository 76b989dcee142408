/* measure.c: what chapter 1's page wants beyond the program's own run: the size of the signal under
   four ways to start, in the encoder and in a tower of twenty layers; how well a finite difference
   knows a derivative; the activations as curves. It includes the program, whose run comes first. */
#define main encoder_main
#include "encoder.c"
#undef main

/* A way to start: the weights of a layer are uniform in (-limit, limit). */
struct start {
    const char *name, *text;
    double (*limit)(size_t in, size_t out);
};

double large_limit(size_t in, size_t out) {
    (void)in, (void)out;
    return 1;
}

double small_limit(size_t in, size_t out) {
    (void)in, (void)out;
    return 0.05;
}

enum { STARTS = 4 };
const struct start starts[STARTS] = {
    {"he", "He", he_limit},
    {"xavier", "Xavier", xavier_limit},
    {"large", "(-1, 1)", large_limit},
    {"small", "(-0.05, 0.05)", small_limit},
};

double root_mean_square(const real *h, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)h[i] * h[i];
    return sqrt(sum / (double)n);
}

/* How much the rows of h (B,n) differ from each other: the root of the mean variance of
   its columns. */
double spread_of_rows(const real *h, size_t B, size_t n) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        double mean = 0;
        for (size_t r = 0; r < B; r++)
            mean += (double)h[r * n + j] / (double)B;
        for (size_t r = 0; r < B; r++)
            sum += pow((double)h[r * n + j] - mean, 2) / (double)(B * n);
    }
    return sqrt(sum);
}

double percent_zero(const real *h, size_t n) {
    size_t zero = 0;
    for (size_t i = 0; i < n; i++)
        zero += h[i] == 0;
    return 100.0 * (double)zero / (double)n;
}

/* Encodes the images under each way to start and prints how large the signal is
   after each layer. */
void compare_starts(struct stack *net) {
    printf("\nroot mean square of each layer's output (and how many outputs are exactly 0)\n"
           "  weights in       pixels ");
    for (size_t l = 0; l < net->depth; l++)
        printf("         h%zu       ", l + 1);
    for (int k = 0; k < STARTS; k++) {
        start_stack(net, starts[k].limit);
        stack_forward(net, x, tests);
        printf("\n  %-14s %8.3f ", starts[k].text, root_mean_square(x, tests * PIXELS));
        for (size_t l = 0; l < net->depth; l++) {
            size_t n = tests * net->layer[l].out;
            const real *h = net->layer[l].h;
            printf(" %9.4g",
                   result(root_mean_square(h, n), "", "rms_%s_%zu", starts[k].name, l + 1));
            printf(" (%2.0f %%)",
                   result(percent_zero(h, n), "%", "zero_%s_%zu", starts[k].name, l + 1));
        }
    }
    printf("\n\n");
}

/* Twenty layers of 100 units on top of each other: what one layer does a little, twenty
   do a lot. */
void compare_towers(void) {
    enum { HEIGHT = 20, WIDTH = 100, MOST = 500 };
    size_t size[HEIGHT + 1] = {PIXELS}, B = tests < MOST ? tests : MOST;
    enum activation f[HEIGHT];
    for (size_t l = 0; l < HEIGHT; l++) {
        size[l + 1] = WIDTH;
        f[l] = (enum activation)inside;
    }
    struct stack tower = stack_new(size, f, HEIGHT, B);
    double row[HEIGHT][STARTS + 1];
    printf("a tower of %d layers of %d units with %s: root mean square at layers 1, 10 and 20, and "
           "what part\nof it, at layer 20, is difference between one picture and another\n",
           HEIGHT, WIDTH, activation_name[inside]);
    for (int k = 0; k < STARTS; k++) {
        start_stack(&tower, starts[k].limit);
        const real *top = stack_forward(&tower, x, B);
        for (size_t l = 0; l < HEIGHT; l++) {
            row[l][0] = (double)l + 1;
            row[l][k + 1] = root_mean_square(tower.layer[l].h, B * WIDTH);
        }
        double first = row[0][k + 1], last = row[HEIGHT - 1][k + 1];
        printf("  %-14s %10.3g %10.3g", starts[k].text,
               result(first, "", "tower_%s_1", starts[k].name), row[9][k + 1]);
        printf(" %10.3g", result(last, "", "tower_%s_20", starts[k].name));
        printf(" %14.2g\n",
               result(spread_of_rows(top, B, WIDTH) / last, "", "tower_%s_spread", starts[k].name));
        /* The factor from one layer to the next, on average. */
        result(pow(last / first, 1.0 / (HEIGHT - 1)), "", "tower_%s_factor", starts[k].name);
    }
    printf("\n");
    write_table("tower.tsv", "layer\the\txavier\tlarge\tsmall", row[0], HEIGHT, STARTS + 1);
}

/* From f here and one step ahead. The error is f''(t) h / 2 + ... */
double forward_difference(double (*f)(double), double t, double h) {
    return (f(t + h) - f(t)) / h;
}

/* One sigmoid neuron, as a function of its weight: the smallest thing with a derivative worth
 * checking. */
const double neuron_x = 1.5, neuron_b = -0.4, neuron_w = 0.8;

double neuron(double w) {
    return 1 / (1 + exp(-(w * neuron_x + neuron_b)));
}

double neuron_in_float(double w) {
    float s = (float)w * (float)neuron_x + (float)neuron_b;
    return 1 / (1 + exp(-s));
}

/* Measures the error of four finite differences for steps from 1 to 1e-15. */
void draw_v_curve(void) {
    enum { STEPS = 121, WAYS = 4 };
    static const char *const text[WAYS] = {"forward difference", "central difference", "Richardson",
                                           "central, in float"};
    static const char *const name[WAYS] = {"forward", "central", "richardson", "float"};
    double h0 = neuron(neuron_w), exact = h0 * (1 - h0) * neuron_x;
    /* f''' of the sigmoid is f'(1 - 6f + 6f^2), times x for each derivative. */
    double third = h0 * (1 - h0) * (1 - 6 * h0 + 6 * h0 * h0) * pow(neuron_x, 3);
    double epsilon = 0x1p-53, row[STEPS][WAYS + 3];
    for (int k = 0; k < STEPS; k++) {
        double h = row[k][0] = pow(10, -k / 8.0);
        row[k][1] = fabs(forward_difference(neuron, neuron_w, h) / exact - 1);
        row[k][2] = fabs(central_difference(neuron, neuron_w, h) / exact - 1);
        row[k][3] = fabs(richardson_difference(neuron, neuron_w, h) / exact - 1);
        row[k][4] = fabs(central_difference(neuron_in_float, neuron_w, h) / exact - 1);
        row[k][5] = fabs(third) * h * h / 6 / exact;
        row[k][6] = epsilon * h0 / h / exact;
    }
    write_table("v-curve.tsv", "step\tforward\tcentral\trichardson\tfloat\ttruncation\trounding",
                row[0], STEPS, WAYS + 3);
    printf("the derivative of one neuron by difference: best relative error, and the step that "
           "gives it\n");
    for (int i = 1; i <= WAYS; i++) {
        int best = 0;
        for (int k = 1; k < STEPS; k++)
            if (row[k][i] < row[best][i] && row[k][i] > 0)
                best = k;
        printf("  %-20s %8.1e", text[i - 1],
               result(row[best][i], "", "best_error_%s", name[i - 1]));
        printf("  at %.1e\n", result(row[best][0], "", "best_step_%s", name[i - 1]));
    }
    /* The slope of the error on the logarithmic picture, where truncation rules: from 0.1 to
       0.001. */
    result(log10(row[8][2] / row[24][2]) / 2, "", "slope_central");
}

/* The functions and their slopes, for a figure. */
void draw_activations(void) {
    enum { POINTS = 401 };
    double row[POINTS][2 * ACTIVATIONS + 1];
    for (int k = 0; k < POINTS; k++) {
        row[k][0] = (k - 200) / 50.0;
        for (int f = 0; f < ACTIVATIONS; f++) {
            real slope, h = activate(&slope, (real)row[k][0], (enum activation)f);
            row[k][2 * f + 1] = (double)h;
            row[k][2 * f + 2] = (double)slope;
        }
    }
    write_table("activations.tsv",
                "s\tidentity\tidentity'\tsigmoid\tsigmoid'\ttanh\ttanh'\trelu\trelu'", row[0],
                POINTS, 2 * ACTIVATIONS + 1);
}

int main(int argc, char **argv) {
    int status = encoder_main(argc, argv);
    if (status != 0)
        return status;
    compare_starts(&encoder);
    compare_towers();
    draw_v_curve();
    draw_activations();
    write_results();
    return 0;
}
