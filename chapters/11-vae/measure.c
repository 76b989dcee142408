/* measure.c: what chapter 11's page wants beyond the program's own run: a p(x) that can be summed;
   pictures of made-up codes beside the training images; the negative ELBO of the test images from
   ten draws; and for a code of two numbers all that it can say. It includes the program, whose run
   comes first. */
#define main vae_main
#include "vae.c"
#undef main

enum { NOISE_OF_TESTS = 4000000 }; /* one more stream of random numbers */

/* --- averages (chapter 10) ------------------------------------------------ */
/* Of numbers that are added one by one: their mean, their variance, and how far the mean is
   probably off. */
struct average {
    size_t n;
    double sum, squares;
};

void average_add(struct average *a, double value) {
    a->n++;
    a->sum += value;
    a->squares += value * value;
}

double average_value(const struct average *a) {
    return a->sum / (double)a->n;
}

/* E f^2 - (E f)^2, with n - 1 for n because the mean is made of the same numbers. Rounding must not
   make it negative. */
double average_variance(const struct average *a) {
    double mean = average_value(a), n = (double)a->n;
    return n > 1 ? fmax(0, (a->squares - n * mean * mean) / (n - 1)) : 0;
}

/* The standard error of the mean. */
double average_error(const struct average *a) {
    return sqrt(average_variance(a) / (double)a->n);
}

/* --- six values ----------------------------------------------------------- */
/* A toy whose p(x) can be summed: a number of the code takes one of six values, all equally
   probable. Of two pictures stands here how probable each value makes them, p(x|z). */
enum { VALUES = 6, TOY_PICTURES = 2 };
const double explains[TOY_PICTURES][VALUES] = {{0.10, 0.20, 0.15, 0.25, 0.05, 0.25},
                                               {0.30, 0.10, 0.02, 0.01, 0.05, 0.06}};

/* p(x) = sum over z of p(x|z) p(z), by brute force, where z consists of d such numbers and x of d
   parts, each explained by its own: one term for each of the 6^d codes. */
double sum_over_codes(const double *explain, size_t d, uint64_t *terms) {
    double sum = 0, codes = pow(VALUES, d);
    for (*terms = 0; (double)*terms < codes; ++*terms) {
        uint64_t digits = *terms; /* to the base of six: they are z */
        double term = 1;
        for (size_t j = 0; j < d; j++, digits /= VALUES)
            term *= explain[digits % VALUES] / VALUES;
        sum += term;
    }
    return sum;
}

/* --- end of the toy's sum ------------------------------------------------- */
/* p(x) of both for codes of 1, 2, 3 ... numbers, and how long a sum takes. */
void show_sums(void) {
    enum { LONGEST = 9, BEYOND = 20 };
    double took = 0, p[TOY_PICTURES]; /* took: by the last sum, which is the longest */
    uint64_t terms = 0;
    printf("\nsix values: p(x) = sum of p(x|z) p(z), every term added up, for two pictures\n"
           "  numbers in z       terms   the first   its answer  the second   its answer  "
           "seconds\n");
    for (size_t d = 1; d <= LONGEST; d++) {
        printf("  %12zu", d);
        for (size_t k = 0; k < TOY_PICTURES; k++) {
            double start = seconds(), alone = 0;
            p[k] = sum_over_codes(explains[k], d, &terms);
            took = seconds() - start;
            for (size_t j = 0; j < VALUES; j++)
                alone += explains[k][j] / VALUES;
            if (k == 0)
                printf("%12.0f", (double)terms);
            printf("%12.4g %12.4g", result(p[k], "", "toy_p%zu_%zu", k + 1, d),
                   pow(alone, (double)d));
        }
        printf("%9.4f\n", result(took, "seconds", "toy_seconds_%zu", d));
    }
    /* Longer sums take longer in proportion to their terms, and we need not wait to know. */
    double far = pow(VALUES, BEYOND), years = took / (double)terms * far / (365.25 * 86400);
    printf("  %12d%12.4g %58.0f years at this speed\n", BEYOND, far,
           result(years, "years", "toy_years_%d", BEYOND));
}

/* --- how like digits ------------------------------------------------------ */
enum { NEAR = 10, MADE_UP = 1000 };

/* Brings the NEAR nearest of a picture up to date with training images start to start+n-1: who they
   are and how far, nearest first. From their dot products with it and their squared lengths the
   squared distance follows but for the picture's own square, which is the same for all. */
void keep_nearest(size_t *who, real *far, const real *dots, const real *length, size_t start,
                  size_t n) {
    for (size_t i = 0; i < n; i++) {
        real distance = length[i] - 2 * dots[i];
        size_t at = least(start + i, NEAR); /* its place: behind all that are nearer */
        for (; at > 0 && distance < far[at - 1]; at--)
            if (at < NEAR) {
                far[at] = far[at - 1];
                who[at] = who[at - 1];
            }
        if (at < NEAR) {
            far[at] = distance;
            who[at] = start + i;
        }
    }
}

/* who (n,NEAR) and far (n,NEAR): for each of n pictures its nearest training images. A thousand of
   these and 64 pictures at a time are one product of matrices. */
void find_nearest(size_t *who, real *far, const real *picture, size_t n) {
    enum { MANY = 1024, ROWS = 64 };
    real *block = allocate(2 * MANY * PIXELS + MANY + n * MANY, sizeof *block), *all = block;
    real *x = take(&block, MANY * PIXELS), *xt = take(&block, MANY * PIXELS);
    real *length = take(&block, MANY), *dots = take(&block, n * MANY);
    for (size_t start = 0; start < used; start += MANY) {
        size_t m = least(MANY, used - start);
        brightness(x, train_set.pixel + start * PIXELS, m * PIXELS);
        transpose(xt, x, m, PIXELS, 0, m);
        memset(length, 0, MANY * sizeof *length);
        for (size_t i = 0; i < m * PIXELS; i++)
            length[i / PIXELS] += x[i] * x[i];
        memset(dots, 0, n * MANY * sizeof *dots);
        PARALLEL
        for (size_t first = 0; first < n; first += ROWS) {
            size_t rows = least(ROWS, n - first);
            multiply(dots + first * m, picture + first * PIXELS, PIXELS, 1, xt, rows, m, PIXELS);
            for (size_t r = first; r < first + rows; r++)
                keep_nearest(who + r * NEAR, far + r * NEAR, dots + r * m, length, start, m);
        }
    }
    free(all);
}

/* A row of the table, means over n pictures: the squared distance to the nearest training image;
   how many of the ten nearest show the digit that most of the ten show, where there are labels; and
   the entropy of the pixels in nats, each taken for the probability of ink: blurred pictures are
   near to many others, so a distance must be read beside this. */
void judge_pictures(const char *what, const char *name, const real *picture, size_t n) {
    struct average nearest = {0}, same = {0}, gray = {0};
    real *far = allocate(n * NEAR, sizeof *far);
    size_t *who = allocate(n * NEAR, sizeof *who);
    find_nearest(who, far, picture, n);
    for (size_t i = 0; i < n; i++) {
        double square = 0, entropy = 0; /* square: what keep_nearest has left out */
        for (size_t k = i * PIXELS; k < (i + 1) * PIXELS; k++) {
            double p = (double)picture[k];
            square += p * p;
            entropy -= (p > 0 ? p * log(p) : 0) + (p < 1 ? (1 - p) * log(1 - p) : 0);
        }
        size_t votes[10] = {0}, most = 0;
        for (size_t j = 0; train_set.label && j < least(NEAR, used); j++) {
            size_t now = ++votes[train_set.label[who[i * NEAR + j]] % 10];
            most = now > most ? now : most;
        }
        average_add(&nearest, (double)far[i * NEAR] + square);
        average_add(&same, (double)most);
        average_add(&gray, entropy);
    }
    printf("  %-40s %6.2f +- %.2f   %5.2f +- %.2f %9.1f\n", what,
           result(average_value(&nearest), "", "nearest_%s", name),
           result(average_error(&nearest), "", "nearest_se_%s", name),
           result(average_value(&same), "of 10", "same_%s", name),
           result(average_error(&same), "of 10", "same_se_%s", name),
           result(average_value(&gray), "nats", "gray_%s", name));
    free(far);
    free(who);
}

/* z (MADE_UP,d) = normal numbers with the mean and the covariance of the autoencoder's codes of the
   test images: the mean plus a sum of all the codes' deviations from it, each times a standard
   normal number of its own and divided by the root of their number. */
void draw_like_codes(real *z, struct random *r) {
    size_t d = plain.net.code;
    real *own = allocate(tests, sizeof *own), *mean = allocate(d, sizeof *mean);
    for (size_t i = 0; i < tests * d; i++)
        mean[i % d] += plain_code[i] / (real)tests;
    for (size_t k = 0; k < MADE_UP; k++, z += d) {
        random_normal(own, tests, r);
        memcpy(z, mean, d * sizeof *z);
        for (size_t i = 0; i < tests * d; i++)
            z[i % d] += own[i / d] * (plain_code[i] - mean[i % d]) / (real)sqrt((double)tests);
    }
    free(own);
    free(mean);
}

/* Pictures of codes that belong to no image: the table, and the first thirty of each kind side by
   side in invent.png, with a white column between two kinds. */
void show_made_up(void) {
    enum { KINDS = 3, DOWN = 6, COLS = 5, ACROSS = KINDS * (COLS + 1) - 1 };
    static const char *const what[KINDS] = {"autoencoder, standard normal codes",
                                            "autoencoder, codes like those of digits",
                                            "VAE, codes drawn from p(z)"};
    static const char *const name[KINDS] = {"ae_normal", "ae_fitted", "vae_random"};
    size_t d = vae.net.code, some = least(MADE_UP, tests);
    real *z = allocate(MADE_UP * d, sizeof *z), *x = allocate(MADE_UP * PIXELS, sizeof *x);
    real *sheet = allocate(DOWN * ACROSS * PIXELS, sizeof *sheet);
    for (size_t i = 0; i < DOWN * ACROSS * PIXELS; i++)
        sheet[i] = 1;
    printf("\nhow like digits? beside %6zu        squared distance    10 nearest:   entropy\n"
           "training images%29sof the nearest     same digit      nats\n",
           used, "");
    brightness(x, test_set.pixel, some * PIXELS);
    judge_pictures("test images, the yardstick", "test", x, some);
    for (size_t kind = epochs ? 0 : KINDS - 1; kind < KINDS && !interrupted; kind++) {
        struct random r; /* the same for all: the VAE's codes are those of samples.png */
        random_seed(&r, seed + CODES_AT_RANDOM);
        if (kind == 1)
            draw_like_codes(z, &r);
        else
            random_normal(z, MADE_UP * d, &r);
        decode(x, kind == KINDS - 1 ? &vae.net : &plain.net, z, MADE_UP);
        judge_pictures(what[kind], name[kind], x, MADE_UP);
        for (size_t k = 0; k < DOWN * COLS; k++)
            memcpy(sheet + (k / COLS * ACROSS + kind * (COLS + 1) + k % COLS) * PIXELS,
                   x + k * PIXELS, PIXELS * sizeof *x);
    }
    write_sheet("invent.png", sheet, DOWN, ACROSS, 2);
    free(z);
    free(x);
    free(sheet);
}

/* --- ten draws ------------------------------------------------------------ */
/* The negative ELBO of the test images: the mean over ten draws of the noise for each. Two things
   make it uncertain. Other images would give another mean: that we see from how much the images
   differ among themselves. Other noise would, too: that we see from how much the ten means over all
   images differ. */
void ten_draws(void) {
    enum { TIMES = 10 };
    struct random noise;
    random_seed(&noise, seed + NOISE_OF_TESTS);
    double *loss = allocate(tests, sizeof *loss); /* of each image, the mean over the draws */
    struct average images = {0}, draws = {0};
    struct parts mean = {0, 0, 0};
    for (size_t k = 0; k < TIMES; k++) {
        double before = mean.bce + mean.kl;
        for (size_t start = 0; start < tests; start += vae.net.batch) {
            size_t B = least(vae.net.batch, tests - start);
            struct images some = {B, test_set.pixel + start * PIXELS, NULL};
            vae_evaluate(&vae, &some, B, &noise, NULL, NULL); /* fills example and kl */
            add_parts(&mean, &vae, B, 1 / (double)(TIMES * tests));
            for (size_t r = 0; r < B; r++)
                loss[start + r] += (vae.example[r].bce + vae.kl[r]) / TIMES;
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
    if (beta != 1)
        printf("  trained with bce + %g kl; an ELBO has 1 kl, and that is what stands here\n",
               beta);
}

/* --- normal quantile ------------------------------------------------------ */
/* The x below which a standard normal number falls with probability p: the inverse of its
   distribution function, which the library has as erfc, by halving an interval. */
double normal_quantile(double p) {
    double low = -10, high = 10;
    for (int i = 0; i < 60; i++) {
        double x = (low + high) / 2;
        *(0.5 * erfc(-x / sqrt(2.0)) < p ? &low : &high) = x;
    }
    return (low + high) / 2;
}

/* --- all that two numbers say --------------------------------------------- */
/* A code of two numbers can be shown whole. We cut each axis into 20 parts of equal probability
   under p(z) and take the number in the middle of each, by probability: a grid that is narrow in
   the middle, where codes are frequent, and wide at the edge. */
void draw_manifold(void) {
    enum { ACROSS = 20 };
    real *z = allocate(2 * ACROSS * ACROSS, sizeof *z);
    real *sheet = allocate(ACROSS * ACROSS * PIXELS, sizeof *sheet);
    for (size_t k = 0; k < ACROSS * ACROSS; k++) { /* z1 to the right, z2 upwards */
        z[2 * k] = (real)normal_quantile(((double)(k % ACROSS) + 0.5) / ACROSS);
        z[2 * k + 1] = (real)normal_quantile(1 - ((double)(k / ACROSS) + 0.5) / ACROSS);
    }
    decode(sheet, &vae.net, z, ACROSS * ACROSS);
    write_sheet("manifold.png", sheet, ACROSS, ACROSS, 1);
    free(z);
    free(sheet);
}

int main(int argc, char **argv) {
    int status = vae_main(argc, argv);
    if (status != 0 || wanted) /* --sample has read no images */
        return status;
    ten_draws();
    show_made_up();
    show_sums();
    if (vae.net.code == 2)
        draw_manifold();
    write_results();
    return interrupted ? 130 : 0;
}
