/* measure.c: what chapter 12's page wants beyond the program's own run: the ELBO of all test images
   from ten draws, the draws from the prior, how few draws carry the weight, the gap on images that
   were trained, and with a code of two numbers log p(x) by an ordinary sum over a grid of codes. */
#define main evidence_main
#include "evidence.c"
#undef main

enum { NOISE_OF_TESTS = 4000000 }; /* a stream of its own, as chapter 11's */

/* The negative ELBO of the test images: the mean over ten draws of the noise for each. Two things
   make it uncertain. Other images would give another mean: that we see from how much the images
   differ among themselves. Other noise would, too: that we see from how much the ten means over all
   images differ. */
void judge_test(void) {
    enum { TIMES = 10 };
    struct vae *v = &model.vae;
    struct random noise;
    random_seed(&noise, seed + NOISE_OF_TESTS);
    double *loss = allocate(tests, sizeof *loss); /* of each image, the mean over the draws */
    struct average images = {0}, draws = {0};
    struct parts mean = {0, 0, 0};
    for (size_t k = 0; k < TIMES; k++) {
        double before = mean.bce + mean.kl;
        for (size_t start = 0; start < tests; start += v->net.batch) {
            size_t B = least(v->net.batch, tests - start);
            struct images some = {B, test_set.pixel + start * PIXELS, NULL};
            vae_evaluate(v, &some, B, &noise, NULL, NULL); /* fills example and kl */
            add_parts(&mean, v, B, 1 / (double)(TIMES * tests));
            for (size_t r = 0; r < B; r++)
                loss[start + r] += (v->example[r].bce + v->kl[r]) / TIMES;
        }
        average_add(&draws, (mean.bce + mean.kl - before) * TIMES);
    }
    for (size_t r = 0; r < tests; r++)
        average_add(&images, loss[r]);
    printf("\non %zu test images, nats an image: -ELBO = bce %.2f + kl %.2f = %.2f\n", tests,
           result(mean.bce, "nats", "elbo_bce"), result(mean.kl, "nats", "kl"),
           result(average_value(&draws), "nats", "neg_elbo"));
    printf("  +- %.2f for the choice of the images, +- %.3f for that of the noise\n",
           result(average_error(&images), "nats", "neg_elbo_se"),
           result(average_error(&draws), "nats", "neg_elbo_noise_se"));
    free(loss);
}

/* The same bounds from draws that know nothing of the image: q is p(z) itself. */
void ask_the_prior(void) {
    enum { COLUMNS = 3 };
    double *minus = allocate(weighted * SIZES, sizeof *minus), row[SIZES * COLUMNS];
    real *none = allocate(weighted * 2 * model.vae.net.code, sizeof *none); /* mu = logvar = 0 */
    struct average best = {0};
    if (weigh(minus, &best, none, 1) < weighted)
        return;
    printf("\n-log p(x), nats, of the same images from K draws of p(z)\n      K      -log p(x)\n");
    for (size_t k = 0; k < SIZES; k++) {
        struct average here = {0};
        for (size_t i = 0; i < weighted; i++)
            average_add(&here, minus[i * SIZES + k]);
        row[k * COLUMNS] = (double)group[k];
        row[k * COLUMNS + 1] = result(average_value(&here), "nats", "prior_%zu", group[k]);
        row[k * COLUMNS + 2] = result(average_error(&here), "nats", "prior_se_%zu", group[k]);
        printf("  %5zu %8.2f +- %.2f\n", group[k], row[k * COLUMNS + 1], row[k * COLUMNS + 2]);
    }
    printf("  the best of the %d draws has %.1f %% of all the weight\n", DRAWS,
           result(average_value(&best), "%", "prior_best_share"));
    write_table("prior.tsv", "K\tprior\tprior_se", row, SIZES, COLUMNS);
    free(minus);
    free(none);
}

int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* ranks.tsv: the share of the whole weight that the heaviest 1, 2, ... draws have together, a mean
   over the images, for draws from the encoder's q, from the best q and from p(z). And how many
   draws of equal weight would be worth as much: (sum of w)^2 / sum of w^2. */
void rank_weights(void) {
    enum { KINDS = 3, COLUMNS = KINDS + 1 };
    static const char *const kind_name[KINDS] = {"encoder", "own", "prior"};
    size_t d = model.vae.net.code;
    double *logw = allocate(DRAWS, sizeof *logw);
    double *row = allocate(DRAWS * COLUMNS, sizeof *row);
    real *none = allocate(2 * d, sizeof *none), *x = allocate(PIXELS, sizeof *x);
    struct average worth[KINDS] = {{0}};
    for (size_t i = 0; i < weighted && !interrupted; i++)
        for (size_t kind = 0; kind < KINDS; kind++) {
            const real *codes[KINDS] = {code + 2 * i * d, own_code + 2 * i * d, none};
            uint64_t first_draw = ((uint64_t)(seed + 1) << 32) + (2 * i + (kind == 2)) * DRAWS;
            brightness(x, test_set.pixel + i * PIXELS, PIXELS);
            importance_weights(logw, &model.vae, x, codes[kind], DRAWS, first_draw);
            double mean = log_mean_exp(logw, DRAWS), sum = 0, squares = 0;
            qsort(logw, DRAWS, sizeof *logw, falling);
            for (size_t k = 0; k < DRAWS; k++) {
                double part = exp(logw[k] - mean) / DRAWS;
                sum += part;
                squares += part * part;
                row[k * COLUMNS] = (double)(k + 1);
                row[k * COLUMNS + 1 + kind] += 100 * sum / (double)weighted;
            }
            average_add(&worth[kind], 1 / squares);
        }
    printf("\n%d weighted draws are worth, in draws of equal weight:", DRAWS);
    for (size_t kind = 0; kind < KINDS; kind++)
        printf(" %.1f (%s)",
               result(average_value(&worth[kind]), "draws", "worth_%s", kind_name[kind]),
               kind_name[kind]);
    printf("\n");
    write_table("ranks.tsv", "rank\tencoder\town\tprior", row, DRAWS, COLUMNS);
    free(logw);
    free(row);
    free(none);
    free(x);
}

/* The same split for images that the network has been trained on. */
void split_training(void) {
    struct average best = {0};
    struct images keep = test_set;
    test_set = train_set;
    weighted = least(weighted, used);
    real *keep_code = code, *keep_own = own_code;
    code = allocate(weighted * 2 * model.vae.net.code, sizeof *code);
    vae_evaluate(&model.vae, &test_set, weighted, NULL, code, NULL);
    if (weigh(bound, &best, code, 0) == weighted) {
        printf("\nand of images that were trained:");
        split_gap("train_");
    }
    test_set = keep;
    code = keep_code;
    own_code = keep_own;
}

/* With a code of two numbers, log p(x) can be had by an ordinary sum: over a grid of codes as far
   as p(z) reaches, STEP apart, log of the sum of p(x|z) p(z) STEP^2. */
enum { GRID = 401, SHOWN = 3, WINDOW = 81 };
static const double reach = 5, spacing = 0.025;

/* softplus (GRID) and logits (GRID,784) of a row of the grid, whose z2 is fixed. */
void grid_row(double *softplus, real *logits, double z2) {
    struct network *net = &model.vae.net;
    for (size_t start = 0; start < GRID; start += net->batch) {
        size_t some = least(net->batch, GRID - start);
        TEAM {
            size_t first = share(some, TILE_ROWS, core());
            size_t rows = share(some, TILE_ROWS, core() + 1) - first;
            struct vae mine = vae_view(&model.vae, first);
            for (size_t r = 0; r < rows; r++) {
                mine.z[2 * r] = (real)(-reach + spacing * (double)(start + first + r));
                mine.z[2 * r + 1] = (real)z2;
            }
            memcpy(logits + (start + first) * PIXELS,
                   network_forward(&mine.net, mine.z, net->half, net->depth, rows),
                   rows * PIXELS * sizeof(real));
        }
    }
    PARALLEL
    for (size_t r = 0; r < GRID; r++) {
        softplus[r] = 0;
        for (size_t i = 0; i < PIXELS; i++) {
            double s = (double)logits[r * PIXELS + i];
            softplus[r] += fmax(s, 0) + log1p(exp(-fabs(s)));
        }
    }
}

/* log p(x,z) on the grid for each image, in joint (weighted,GRID,GRID). */
void fill_grid(float *joint) {
    double *softplus = allocate(GRID, sizeof *softplus);
    real *logits = allocate(GRID * PIXELS, sizeof *logits);
    real *turned = allocate(PIXELS * weighted, sizeof *turned); /* (784,weighted) the images */
    real *dot = allocate(GRID * weighted, sizeof *dot), x[PIXELS];
    for (size_t i = 0; i < weighted; i++) {
        brightness(x, test_set.pixel + i * PIXELS, PIXELS);
        for (size_t p = 0; p < PIXELS; p++)
            turned[p * weighted + i] = x[p];
    }
    for (size_t row = 0; row < GRID && !interrupted; row++) {
        double z2 = -reach + spacing * (double)row;
        grid_row(softplus, logits, z2);
        memset(dot, 0, GRID * weighted * sizeof *dot);
        multiply(dot, logits, PIXELS, 1, turned, GRID, weighted, PIXELS);
        for (size_t i = 0; i < weighted; i++)
            for (size_t r = 0; r < GRID; r++) {
                double z1 = -reach + spacing * (double)r;
                double prior = -(z1 * z1 + z2 * z2) / 2 - log(2 * acos(-1.0));
                joint[(i * GRID + row) * GRID + r] =
                    (float)((double)dot[r * weighted + i] - softplus[r] + prior);
            }
        show_progress((double)row / GRID, "grid");
    }
    hide_progress();
    free(softplus);
    free(logits);
    free(turned);
    free(dot);
}

/* posterior1.tsv and on: p(z|x) of the first images near its highest point, as a part of its value
   there; and ellipses.tsv: the codes of the encoder and the best ones. */
void draw_posteriors(const float *joint) {
    enum { COLUMNS = 8 };
    double row[SHOWN * COLUMNS];
    double *window = allocate(WINDOW * WINDOW * 3, sizeof *window);
    for (size_t i = 0; i < SHOWN && i < weighted; i++) {
        const float *p = joint + i * GRID * GRID;
        size_t top = 0;
        for (size_t k = 1; k < GRID * GRID; k++)
            top = p[k] > p[top] ? k : top;
        size_t left = least(top % GRID > WINDOW / 2 ? top % GRID - WINDOW / 2 : 0, GRID - WINDOW);
        size_t low = least(top / GRID > WINDOW / 2 ? top / GRID - WINDOW / 2 : 0, GRID - WINDOW);
        for (size_t k = 0; k < WINDOW * WINDOW; k++) {
            size_t r = left + k % WINDOW, s = low + k / WINDOW;
            window[3 * k] = -reach + spacing * (double)r;
            window[3 * k + 1] = -reach + spacing * (double)s;
            window[3 * k + 2] = exp((double)(p[s * GRID + r] - p[top]));
        }
        char name[32];
        snprintf(name, sizeof name, "posterior%zu.tsv", i + 1);
        write_table(name, "z1\tz2\tdensity", window, WINDOW * WINDOW, 3);
        for (size_t j = 0; j < 4; j++) {
            row[i * COLUMNS + j] = (double)code[4 * i + j];
            row[i * COLUMNS + 4 + j] = (double)own_code[4 * i + j];
        }
    }
    write_table("ellipses.tsv",
                "mu1\tmu2\tlogvar1\tlogvar2\town_mu1\town_mu2\town_logvar1\town_logvar2", row,
                least(SHOWN, weighted), COLUMNS);
    free(window);
}

void sum_over_grid(void) {
    float *joint = allocate(weighted * GRID * GRID, sizeof *joint);
    double *all = allocate(GRID * GRID, sizeof *all);
    struct average truth = {0}, encoder = {0}, own = {0};
    fill_grid(joint);
    for (size_t i = 0; i < weighted && !interrupted; i++) {
        for (size_t k = 0; k < GRID * GRID; k++)
            all[k] = (double)joint[i * GRID * GRID + k];
        double log_p =
            log_mean_exp(all, GRID * GRID) + 2 * log(GRID * spacing); /* the mean, times the area */
        average_add(&truth, -log_p);
        average_add(&encoder, bound[i * SIZES + SIZES - 1] + log_p);
        average_add(&own, own_bound[i * SIZES + SIZES - 1] + log_p);
    }
    if (!interrupted) {
        printf("\nlog p(x) by a sum over %d x %d codes:\n", GRID, GRID);
        print_average("-log p(x)", &truth, "grid_", "log_p");
        print_average("the encoder's L_5000 lies below", &encoder, "grid_", "encoder");
        print_average("the best codes' L_5000 lies below", &own, "grid_", "own");
        draw_posteriors(joint);
    }
    free(joint);
    free(all);
}

int main(int argc, char **argv) {
    int status = evidence_main(argc, argv);
    if (status != 0)
        return status;
    judge_test();
    if (weighted) {
        ask_the_prior();
        if (local_steps && !interrupted) {
            rank_weights();
            if (model.vae.net.code == 2)
                sum_over_grid();
            split_training();
        }
    }
    write_results();
    return interrupted ? 130 : 0;
}
