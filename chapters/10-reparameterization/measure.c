/* measure.c: what chapter 10's page wants beyond the program's own run: the variances of the three
   estimates against theory, draws, dimension and the width of the cloud; functions on which the
   path loses; the largest rate of a descent; slips in drawing z; the divergence from draws; and the
   gradients that ten digits give. It includes the program, whose run comes first. */
#define main reparameterization_main
#include "reparameterization.c"
#undef main

/* Streams of random numbers, beside the program's. */
enum { WAYS_DRAWN, DRAWS = 2, DIMENSION, WIDTH_OF_CLOUD, WOBBLE, SIGMA = 7, DIVERGENCE, FUNNEL };

enum { MU, LOGVAR, HALVES };
const char *const half_name[HALVES] = {"mu", "logvar"};

/* --- moments of a normal number ----------------------------------------------- */
/* E e^k for e from N(0,1): 1, 0, 1, 0, 3, 0, 15, 0, 105 */
double normal_moment(size_t k) {
    return k == 0 ? 1 : k == 1 ? 0 : (double)(k - 1) * normal_moment(k - 2);
}

/* a[0] + a[1] e + a[2] e^2 + ... */
enum { DEGREE = 8 };
struct polynomial {
    double a[DEGREE + 1];
};

struct polynomial times(struct polynomial p, struct polynomial q) {
    struct polynomial product = {{0}};
    for (size_t i = 0; i <= DEGREE; i++)
        for (size_t j = 0; i + j <= DEGREE; j++)
            product.a[i + j] += p.a[i] * q.a[j];
    return product;
}

/* E p(e) */
double expect(struct polynomial p) {
    double sum = 0;
    for (size_t k = 0; k <= DEGREE; k++)
        sum += p.a[k] * normal_moment(k);
    return sum;
}

double variance_of(struct polynomial p) {
    return expect(times(p, p)) - expect(p) * expect(p);
}

/* The variance of one draw's estimate of dE/dmu_j (or dE/dlogvar_j, where `logvar` is set), when
   all d coordinates have the same sigma and the same distance away = mu - c. */
double toy_variance(enum way way, int logvar, double away, double sigma, double baseline,
                    size_t d) {
    struct polynomial u = {{away, sigma}}, one = {{1}}, half = {{0, sigma / 2}}; /* u = z - c */
    if (way == PATH)
        return 4 * variance_of(times(u, logvar ? half : one)); /* 2 (z - c) times dz */
    struct polynomial own = times(u, u), score = {{0, 1 / sigma}},
                      score_of_logvar = {{-0.5, 0, 0.5}};
    struct polynomial weight = logvar ? score_of_logvar : score;
    double others = (double)(d - 1), square = expect(times(weight, weight));
    /* f - baseline is a polynomial of our own noise, plus what the others vary around
       their mean. */
    own.a[0] += others * expect(times(u, u)) - (way == BASELINE ? baseline : 0);
    return variance_of(times(own, weight)) + others * variance_of(times(u, u)) * square;
}

/* --- how far to trust a variance ---------------------------------------------- */
enum { BLOCKS = 50 };

/* A number that was measured in BLOCKS independent parts: their mean and its error. */
struct measured {
    double value, error;
};

struct measured over_blocks(const double *part) {
    struct average a = {0, 0, 0};
    for (size_t k = 0; k < BLOCKS; k++)
        average_add(&a, part[k]);
    return (struct measured){average_value(&a), average_error(&a)};
}

/* sum a / sum b, with its error by the jackknife: leave out each part in turn, and see how much the
   ratio moves. */
struct measured ratio_of(const double *a, const double *b) {
    double above = 0, below = 0;
    struct average without = {0, 0, 0};
    for (size_t k = 0; k < BLOCKS; k++) {
        above += a[k];
        below += b[k];
    }
    for (size_t k = 0; k < BLOCKS; k++)
        average_add(&without, (above - a[k]) / (below - b[k]));
    return (struct measured){above / below, (BLOCKS - 1) * average_error(&without)};
}

/* --- the toy's variances ------------------------------------------------------ */
/* E|z - c|^2 with z from N(mu, sigma^2) in each of d coordinates; away = mu - c. */
struct toy {
    size_t d;
    double away, sigma;
};

double toy_value(struct toy t) {
    return (double)t.d * (t.away * t.away + t.sigma * t.sigma);
}

double toy_slope(struct toy t, int half) {
    return half == MU ? 2 * t.away : t.sigma * t.sigma;
}

double toy_theory(struct toy t, enum way way, int half) {
    return toy_variance(way, half, t.away, t.sigma, toy_value(t), t.d);
}

/* Means and variances of estimates, averaged over the coordinates, in each block. */
struct spread {
    double mean[BLOCKS], variance[BLOCKS];
} spread[WAYS][HALVES];

/* Fills spread from `estimates` estimates, each the mean of K draws. */
void measure_toy(uint64_t experiment, uint64_t point, struct toy t, size_t K, size_t estimates) {
    size_t d = t.d, n = estimates / BLOCKS < 2 ? 2 : estimates / BLOCKS;
    real *code = allocate(2 * d, sizeof *code);
    for (size_t j = 0; j < d; j++) {
        code[j] = (real)t.away + goal;
        code[d + j] = (real)(2 * log(t.sigma));
    }
    PARALLEL
    for (size_t k = 0; k < BLOCKS; k++) {
        struct random r = stream(experiment, point, k);
        real *block = allocate((3 + 2 * WAYS) * d, sizeof *block), *room = block;
        real *noise = take(&room, d), *z = take(&room, d), *dz = take(&room, d), *g = room;
        struct average *entry = allocate(WAYS * 2 * d, sizeof *entry);
        for (size_t e = 0; e < n; e++) {
            memset(g, 0, WAYS * 2 * d * sizeof *g);
            for (size_t draw = 0; draw < K; draw++) {
                random_normal(noise, d, &r);
                for (size_t w = 0; w < WAYS; w++)
                    toy_estimate((enum way)w, g + w * 2 * d, z, dz, code, noise, goal, toy_value(t),
                                 d);
            }
            for (size_t i = 0; i < WAYS * 2 * d; i++)
                average_add(&entry[i], (double)g[i] / (double)K);
        }
        for (size_t i = 0; i < WAYS * HALVES; i++) {
            struct spread *s = &spread[i / HALVES][i % HALVES];
            s->mean[k] = s->variance[k] = 0;
            for (size_t j = i * d; j < (i + 1) * d; j++) {
                s->mean[k] += average_value(&entry[j]) / (double)d;
                s->variance[k] += average_variance(&entry[j]) / (double)d;
            }
        }
        free(block);
        free(entry);
    }
    free(code);
}

struct measured variance(enum way way, int half) {
    return over_blocks(spread[way][half].variance);
}

/* How often the variance by one way is that by the path. */
struct measured over_path(enum way way, int half) {
    return ratio_of(spread[way][half].variance, spread[PATH][half].variance);
}

/* The toy that the text follows: ten coordinates, one away from where they should be. */
const struct toy plain_toy = {COORDINATES, 1, 0.5};

void compare_with_theory(void) {
    struct toy t = plain_toy;
    measure_toy(TOY, 0, t, 1, draws * 20);
    printf(
        "the gradient of E|z - c|^2 from one draw: %zu coordinates, mu - c = %g, sigma = %g, %zu "
        "draws\n"
        "                              value     measured        variance     measured\n",
        t.d, t.away, t.sigma, draws * 20 / BLOCKS * BLOCKS);
    for (int half = 0; half < HALVES; half++)
        for (int w = 0; w < WAYS; w++) {
            const char *h = half_name[half], *name = way_name[w];
            struct measured mean = over_blocks(spread[w][half].mean), v = variance(w, half);
            double slope = toy_slope(t, half);
            printf("  dE/d%-6s %-8s %10.4f %9.4f +- %-7.4f %10.4f %9.4f +- %.4f\n", h, name, slope,
                   result(mean.value, "", "toy_mean_%s_%s", h, name), mean.error,
                   result(toy_theory(t, w, half), "", "toy_theory_%s_%s", h, name),
                   result(v.value, "", "toy_variance_%s_%s", h, name), v.error);
            result(mean.error, "", "toy_mean_error_%s_%s", h, name);
            result((mean.value - slope) / mean.error, "errors", "toy_mean_off_%s_%s", h, name);
        }
    for (int half = 0; half < HALVES; half++)
        for (int w = 0; w < PATH; w++) {
            const char *h = half_name[half], *name = way_name[w];
            struct measured q = over_path(w, half);
            double theory = toy_theory(t, w, half) / toy_theory(t, PATH, half);
            printf(
                "  variance of %-8s over that of path, %-6s  %10.2f +- %-8.2f in theory %10.2f\n",
                name, h, result(q.value, "", "ratio_%s_%s", h, name),
                result(q.error, "", "ratio_error_%s_%s", h, name),
                result(theory, "", "ratio_theory_%s_%s", h, name));
        }
    printf("\n");
}

/* One row of a table of variances: a place on the axis, then for each way theory,
   measured, error. */
enum { COLS = 1 + 3 * WAYS };

void variances(double *row, double at, struct toy t, size_t K) {
    *row++ = at;
    for (int w = 0; w < WAYS; w++) {
        struct measured v = variance(w, MU);
        *row++ = toy_theory(t, w, MU) / (double)K;
        *row++ = v.value;
        *row++ = v.error;
    }
}

#define VARIANCES                                                                                  \
    "\tscore_theory\tscore\tscore_error\tbaseline_theory\tbaseline\tbaseline_error\tpath_theory"   \
    "\tpath\tpath_error"

/* Slope on two logarithmic axes between two rows. */
void print_slopes(const double *a, const double *b, const char *what) {
    for (int w = 0; w < WAYS; w++) {
        double slope = log(b[3 * w + 2] / a[3 * w + 2]) / log(b[0] / a[0]);
        printf(" %11.3f", result(slope, "", "slope_%s_%s", what, way_name[w]));
    }
    printf("\n");
}

/* The variance of the estimate of dE/dmu against draws, coordinates, and the width of the cloud. */
void scale(void) {
    enum { POINTS = 10, FEW = 8 };
    static const size_t many[POINTS] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
    static const double wide[POINTS] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};
    double row[POINTS][COLS];
    for (size_t k = 0; k < FEW && !interrupted; k++) {
        measure_toy(DRAWS, k, plain_toy, many[k], draws / 4);
        variances(row[k], (double)many[k], plain_toy, many[k]);
    }
    if (interrupted)
        return;
    write_table("samples.tsv", "draws" VARIANCES, row[0], FEW, COLS);
    printf("the variance of the estimate of dE/dmu: slope on two logarithmic axes\n"
           "                                            score    baseline        path\n"
           "  against the draws, 1 to 200        ");
    print_slopes(row[0], row[FEW - 1], "draws");
    for (size_t k = 0; k < POINTS && !interrupted; k++) {
        struct toy t = {many[k], plain_toy.away, plain_toy.sigma};
        measure_toy(DIMENSION, k, t, 1, many[k] > 100 ? draws : draws * 4);
        variances(row[k], (double)t.d, t, 1);
    }
    if (interrupted)
        return;
    write_table("dimension.tsv", "d" VARIANCES, row[0], POINTS, COLS);
    printf("  against the dimension, 100 to 1000 ");
    print_slopes(row[6], row[9], "dimension");
    for (int w = 0; w < PATH; w++) {
        double unit = w == SCORE ? 1e6 : 1e3;
        const char *name = w == SCORE ? "millions" : "thousands";
        struct measured q = over_path(w, MU);
        result(q.value / unit, name, "ratio_thousand_%s", way_name[w]);
        result(q.error / unit, name, "ratio_thousand_error_%s", way_name[w]);
        printf("  in 1000 dimensions: %s over path  %.4g +- %.2g\n", way_name[w], q.value, q.error);
    }
    for (size_t k = 0; k < POINTS && !interrupted; k++) {
        struct toy t = {plain_toy.d, plain_toy.away, wide[k]};
        measure_toy(WIDTH_OF_CLOUD, k, t, 1, draws * 2);
        variances(row[k], wide[k], t, 1);
        struct measured q = over_path(SCORE, MU);
        if (k != 0 && k != POINTS - 1)
            continue;
        const char *name = k == 0 ? "narrow" : "wide";
        printf("  at sigma = %-5g  score over path  %.4g +- %.2g\n", wide[k], q.value, q.error);
        result(q.value, "", "ratio_%s", name);
        result(q.error, "", "ratio_%s_error", name);
        result(variance(BASELINE, MU).value, "", "baseline_%s", name);
    }
    if (!interrupted)
        write_table("sigma.tsv", "sigma" VARIANCES, row[0], POINTS, COLS);
    printf("\n");
}

/* --- one z at a time ---------------------------------------------------------- */
/* Functions of one z from N(mu, sigma^2): sin(omega z); for omega = 0 the step, 1 where z > 0. */
double wobble(double omega, double z) {
    return omega > 0 ? sin(omega * z) : z > 0;
}

double wobble_slope(double omega, double z) {
    return omega > 0 ? omega * cos(omega * z) : 0;
}

/* The mean and the variance of a block's average. */
void keep_block(double *mean, double *spread_of, const struct average *a) {
    *mean = average_value(a);
    *spread_of = average_variance(a);
}

void show_wobble(void) {
    static const double omegas[] = {1, 4, 16, 0};
    const double mu = 0.5, sigma = 0.5;
    printf("functions of one z from N(%g, %g^2): dE/dmu, and the variances of one draw's estimate\n"
           "  f(z)            exact          score function              path   variances: score   "
           "    path\n",
           mu, sigma);
    for (size_t k = 0; k < sizeof omegas / sizeof *omegas; k++) {
        double w = omegas[k], mean[2][BLOCKS], scatter[2][BLOCKS];
        double exact = w > 0 ? w * cos(w * mu) * exp(-w * w * sigma * sigma / 2)
                             : exp(-mu * mu / (2 * sigma * sigma)) / (sigma * sqrt(2 * acos(-1.0)));
        exact = fabs(exact) < 1e-9 ? 0 : exact; /* e^-32 is none, and should not print as -0 */
        PARALLEL
        for (size_t b = 0; b < BLOCKS; b++) {
            struct random r = stream(WOBBLE, k, b);
            struct average of[2] = {{0, 0, 0}};
            for (size_t e = 0; e < draws * 20 / BLOCKS; e++) {
                real noise;
                random_normal(&noise, 1, &r);
                double z = mu + sigma * (double)noise;
                average_add(&of[0], wobble(w, z) * (double)noise / sigma);
                average_add(&of[1], wobble_slope(w, z));
            }
            for (int i = 0; i < 2; i++)
                keep_block(&mean[i][b], &scatter[i][b], &of[i]);
        }
        struct measured score = over_blocks(mean[0]), path = over_blocks(mean[1]);
        char name[32] = "step at 0", tag[32] = "step";
        if (w > 0) {
            snprintf(name, sizeof name, "sin %gz", w);
            snprintf(tag, sizeof tag, "sin_%g", w);
        }
        printf("  %-10s %10.5f %11.5f +- %.5f %11.5f +- %.5f %12.4f %10.4f\n", name,
               result(exact, "", "%s_exact", tag), result(score.value, "", "%s_score", tag),
               score.error, result(path.value, "", "%s_path", tag), path.error,
               result(over_blocks(scatter[0]).value, "", "%s_variance_score", tag),
               result(over_blocks(scatter[1]).value, "", "%s_variance_path", tag));
    }
    printf("\n");
}

/* A few draws for a figure: each with its weight in the score function's estimate, and with the
   slope that the path follows. */
void draw_ways(void) {
    enum { SHOWN = 8 };
    const double mu = 2, c = (double)goal;
    struct random r = stream(WAYS_DRAWN, 0, 3);
    real noise[SHOWN];
    double row[SHOWN][4];
    random_normal(noise, SHOWN, &r);
    for (size_t k = 0; k < SHOWN; k++) {
        double z = row[k][0] = mu + toy_sigma * (double)noise[k];
        row[k][1] = (z - c) * (z - c);
        row[k][2] = (double)noise[k] / toy_sigma;
        row[k][3] = 2 * (z - c);
    }
    write_table("ways.tsv", "z\tf\tweight\tslope", row[0], SHOWN, 4);
}

/* From small rates to large ones, until a run ends further away than it began. */
void show_largest_rates(void) {
    enum { TRIAL = 500, SMALLEST = 14 };
    static double track[TRIAL + 1][3];
    printf("the largest rate, of 1, 1/2, 1/4 ..., at which %d runs of %d steps of the descent come "
           "nearer:\n ",
           RUNS, TRIAL);
    for (int w = 0; w < WAYS; w++) {
        int halvings = SMALLEST + 1, home = 1;
        while (home && halvings > 0) {
            for (size_t run = 0; run < RUNS && home; run++) {
                toy_descend(track[0], w, ldexp(1, 1 - halvings), 100 + run, TRIAL);
                home = track[TRIAL][2] < track[0][2]; /* false for what is not a number */
            }
            halvings -= home;
        }
        printf("%s%s 1/%g", w ? "  " : " ", way_name[w], ldexp(1, halvings));
        result(ldexp(1, -halvings), "", "largest_rate_%s", way_name[w]);
    }
    printf("\n\n");
}

/* Mean and variance of z for some ways to write the line that makes it. */
void show_sigma(void) {
    enum { FORMS = 3 };
    static const char *const says[FORMS] = {"z = mu + 0.7071 noise", "z = mu + 0.5 noise",
                                            "z = mu + 0.7071 noise, noise from N(mu, sigma)"};
    static const char *const name[FORMS] = {"right", "half", "shifted"};
    const double mu = 2, sigma = sqrt(0.5);
    double mean[FORMS][BLOCKS], scatter[FORMS][BLOCKS];
    PARALLEL
    for (size_t b = 0; b < BLOCKS; b++) {
        struct random r = stream(SIGMA, 0, b);
        struct average z[FORMS] = {{0, 0, 0}};
        for (size_t e = 0; e < draws * 20 / BLOCKS; e++) {
            real noise;
            random_normal(&noise, 1, &r);
            average_add(&z[0], mu + sigma * (double)noise);
            average_add(&z[1], mu + 0.5 * (double)noise);
            average_add(&z[2], mu + sigma * (mu + sigma * (double)noise));
        }
        for (int i = 0; i < FORMS; i++)
            keep_block(&mean[i][b], &scatter[i][b], &z[i]);
    }
    printf("z should come from N(2, 0.5): mean 2, variance 0.5\n"
           "                                                       mean of z            variance "
           "of z\n");
    for (int i = 0; i < FORMS; i++) {
        struct measured m = over_blocks(mean[i]), v = over_blocks(scatter[i]);
        printf("  %-46s %9.4f +- %.4f %12.4f +- %.4f\n", says[i],
               result(m.value, "", "z_mean_%s", name[i]), m.error,
               result(v.value, "", "z_variance_%s", name[i]),
               result(v.error, "", "z_variance_error_%s", name[i]));
    }
    printf("\n");
}

/* --- the divergence from draws ------------------------------------------------ */
/* One draw's log q(z) - log p(z), with p = N(0,1). */
double one_divergence(const real *code, struct random *r) {
    static const real standard[2] = {0, 0};
    real noise, z;
    double logq, logp;
    random_normal(&noise, 1, r);
    reparameterize(&z, code, &noise, 1, 1);
    log_normal_forward(&logq, &z, code, 1, 1);
    log_normal_forward(&logp, &z, standard, 1, 1);
    return logq - logp;
}

void show_divergence(void) {
    static const double clouds[][2] = {{0, 1}, {1, 1}, {0, 2}, {0.5, 0.5}, {3, 0.1}, {0, 0.01}};
    size_t n = draws * 50 / BLOCKS;
    printf("KL(N(mu, sigma^2) || N(0,1)) in nats, by the formula and as a mean over %zu draws\n"
           "    mu  sigma    formula    Monte Carlo              off by   draws below 0\n",
           n * BLOCKS);
    for (size_t k = 0; k < sizeof clouds / sizeof *clouds; k++) {
        real code[2] = {(real)clouds[k][0], (real)(2 * log(clouds[k][1]))};
        double exact, mean[BLOCKS], negative[BLOCKS];
        normal_kl_forward(&exact, code, 1, 1);
        PARALLEL
        for (size_t b = 0; b < BLOCKS; b++) {
            struct random r = stream(DIVERGENCE, k, b);
            double sum = 0, below = 0;
            for (size_t e = 0; e < n; e++) {
                double one = one_divergence(code, &r);
                sum += one;
                below += one < 0;
            }
            mean[b] = sum / (double)n;
            negative[b] = 100 * below / (double)n;
        }
        struct measured m = over_blocks(mean);
        double off = m.error > 0 ? (m.value - exact) / m.error : 0;
        printf("  %4g %6g %10.5f %10.5f +- %.5f %8.1f errors %10.1f %%\n", clouds[k][0],
               clouds[k][1], result(exact, "nats", "kl_exact_%zu", k),
               result(m.value, "nats", "kl_sampled_%zu", k),
               result(m.error, "nats", "kl_error_%zu", k), result(off, "errors", "kl_off_%zu", k),
               result(over_blocks(negative).value, "%", "kl_negative_%zu", k));
    }
    printf("\n");
}

/* Thirty means over K draws each, for a figure. */
void draw_funnel(void) {
    enum { REPEATS = 30, DOUBLINGS = 13 };
    static double row[DOUBLINGS][REPEATS][4];
    const double mu = 0.5, sigma = 0.5;
    real code[2] = {(real)mu, (real)(2 * log(sigma))};
    double exact, one = sqrt(mu * mu * sigma * sigma + pow(sigma * sigma - 1, 2) / 2);
    size_t negative = 0;
    normal_kl_forward(&exact, code, 1, 1);
    for (size_t k = 0; k < DOUBLINGS; k++)
        for (size_t i = 0; i < REPEATS; i++) {
            struct random r = stream(FUNNEL, k, i);
            size_t K = (size_t)1 << k;
            double mean = 0;
            for (size_t e = 0; e < K; e++)
                mean += one_divergence(code, &r) / (double)K;
            memcpy(row[k][i], (double[]){(double)K, mean, exact, one / sqrt((double)K)},
                   sizeof row[k][i]);
            negative += K == 4 && mean < 0;
        }
    write_table("kl.tsv", "draws\tsampled\texact\terror", row[0][0], DOUBLINGS * REPEATS, 4);
    result((double)negative, "of 30", "kl_negative_means_of_4");
}

/* --- the gradients of ten digits ---------------------------------------------- */
/* One block: n draws of z for the code of one image, a batch at a time; code (batch,2d) and x
   (batch,784) hold the same row again and again. Adds each draw's estimates to entry (WAYS,2d) and
   returns the mean cross-entropy. Where entry is NULL, that is all. */
double draw_block(struct average *entry, struct coder *c, const real *x, const real *code, size_t n,
                  double baseline, struct random *r) {
    size_t d = c->d;
    real *noise = allocate(batch * d, sizeof *noise), *g = allocate(batch * 2 * d, sizeof *g);
    double bce = 0;
    for (size_t at = 0; at < n; at += batch) {
        size_t B = n - at < batch ? n - at : batch;
        random_normal(noise, B * d, r);
        reparameterize(c->z, code, noise, B, d);
        const real *logit = stack_forward(&c->decoder, c->z, B);
        bce += bce_on_logits_forward(c->bce, logit, x, B, PIXELS) * (double)B;
        if (!entry)
            continue;
        stack_zero(&c->decoder);
        memset(c->dz, 0, B * d * sizeof(real));
        bce_on_logits_backward(c->decoder.dlast, logit, x, B, PIXELS);
        stack_backward(&c->decoder, c->dz, c->z, B);
        for (size_t k = 0; k < B * d; k++)
            c->dz[k] *= (real)B; /* one draw's gradient, not its share of a mean */
        for (size_t w = 0; w < WAYS; w++) {
            memset(g, 0, B * 2 * d * sizeof *g);
            for (size_t k = 0; k < B; k++)
                c->dlogq[k] = c->bce[k] - (w == BASELINE ? baseline : 0);
            if (w == PATH)
                reparameterize_backward(g, c->dz, code, noise, B, d);
            else
                log_normal_backward(g, c->dlogq, c->z, code, B, d);
            for (size_t k = 0; k < B * 2 * d; k++)
                average_add(&entry[w * 2 * d + k % (2 * d)], (double)g[k]);
        }
    }
    free(noise);
    free(g);
    return bce / (double)n;
}

/* What the estimates for one image did, in each block: their variances, summed over the entries of
   mu and over those of logvar, and the mean of each entry. */
struct digit {
    double scatter[WAYS][HALVES][BLOCKS];
    double *mean;       /* (WAYS,2d,BLOCKS) */
    double least, most; /* of all sigmas so far */
};

void measure_digit(struct digit *m, struct coder *c, const unsigned char *pixel, size_t number,
                   size_t n) {
    size_t d = c->d;
    real *x = allocate(batch * PIXELS, sizeof *x), *code = allocate(batch * 2 * d, sizeof *code);
    struct average *entry = allocate(WAYS * 2 * d, sizeof *entry);
    for (size_t r = 0; r < batch; r++)
        brightness(x + r * PIXELS, pixel, PIXELS);
    const real *said = stack_forward(&c->encoder, x, 1);
    for (size_t r = 0; r < batch; r++)
        memcpy(code + r * 2 * d, said, 2 * d * sizeof *code);
    for (size_t j = 0; j < d; j++) {
        m->least = fmin(m->least, exp((double)said[d + j] / 2));
        m->most = fmax(m->most, exp((double)said[d + j] / 2));
    }
    struct random first = stream(TEN_DIGITS, number, BLOCKS); /* draws for the baseline only */
    double baseline = draw_block(NULL, c, x, code, n, 0, &first);
    for (size_t b = 0; b < BLOCKS; b++) {
        struct random r = stream(TEN_DIGITS, number, b);
        memset(entry, 0, WAYS * 2 * d * sizeof *entry);
        draw_block(entry, c, x, code, n, baseline, &r);
        for (size_t w = 0; w < WAYS; w++)
            for (size_t half = 0; half < HALVES; half++) {
                m->scatter[w][half][b] = 0;
                for (size_t i = w * 2 * d + half * d; i < w * 2 * d + (half + 1) * d; i++) {
                    m->mean[i * BLOCKS + b] = average_value(&entry[i]);
                    m->scatter[w][half][b] += average_variance(&entry[i]);
                }
            }
    }
    free(x);
    free(code);
    free(entry);
}

/* The trained network looks at ten images. How far do the estimates of the gradient of the expected
   cross-entropy, with respect to the code, spread? */
void show_digits(struct coder *c) {
    size_t which[10], d = numbers, agree = 0, entries = 0;
    size_t n = draws / 10 / BLOCKS < 2 ? 2 : draws / 10 / BLOCKS; /* in each block */
    static double total[WAYS][HALVES][BLOCKS];
    static struct digit m = {.least = INFINITY};
    double worst = 0;
    m.mean = allocate(WAYS * 2 * d * BLOCKS, sizeof *m.mean);
    choose_digits(which);
    printf(
        "the gradient of a digit's expected cross-entropy by its mu, %zu draws: variances of one "
        "draw's\nestimate, summed over the %zu numbers\n"
        "  digit       score   baseline       path    score over path   baseline over path\n",
        n * BLOCKS, d);
    for (size_t i = 0; i < 10 && !interrupted; i++) {
        measure_digit(&m, c, test_set.pixel + which[i] * PIXELS, i, n);
        for (size_t w = 0; w < WAYS; w++)
            for (size_t k = 0; k < HALVES * BLOCKS; k++)
                total[w][k / BLOCKS][k % BLOCKS] += m.scatter[w][k / BLOCKS][k % BLOCKS];
        for (size_t j = 0; j < 2 * d; j++) { /* both are unbiased: do their means agree? */
            double difference[BLOCKS];
            for (size_t b = 0; b < BLOCKS; b++)
                difference[b] = m.mean[(BASELINE * 2 * d + j) * BLOCKS + b] -
                                m.mean[(PATH * 2 * d + j) * BLOCKS + b];
            struct measured off = over_blocks(difference);
            worst = fmax(worst, fabs(off.value) / off.error);
            agree += fabs(off.value) < 2 * off.error;
            entries++;
        }
        struct measured q[PATH];
        for (size_t w = 0; w < PATH; w++)
            q[w] = ratio_of(m.scatter[w][MU], m.scatter[PATH][MU]);
        printf("  %5zu %11.0f %10.0f %10.1f %8.0f +- %-6.0f %10.1f +- %.1f\n", i,
               over_blocks(m.scatter[SCORE][MU]).value, over_blocks(m.scatter[BASELINE][MU]).value,
               over_blocks(m.scatter[PATH][MU]).value, q[SCORE].value, q[SCORE].error,
               q[BASELINE].value, q[BASELINE].error);
    }
    if (interrupted)
        return;
    for (size_t half = 0; half < HALVES; half++) {
        printf("  all ten, %-6s                           ", half_name[half]);
        for (size_t w = 0; w < PATH; w++) {
            struct measured q = ratio_of(total[w][half], total[PATH][half]);
            printf(w == SCORE ? "%8.0f +- %-6.0f" : " %10.1f +- %.1f\n", q.value, q.error);
            result(q.value, "", "digits_%s_%s", half_name[half], way_name[w]);
            result(q.error, "", "digits_error_%s_%s", half_name[half], way_name[w]);
        }
    }
    printf("  the clouds of the ten: sigma from %.3f to %.3f\n"
           "  baseline and path agree on the gradient: %zu of %zu entries within two errors, the "
           "worst at %.1f\n\n",
           result(m.least, "", "sigma_least"), result(m.most, "", "sigma_most"), agree, entries,
           worst);
    result((double)agree, "entries", "digits_agree");
    result((double)entries, "entries", "digits_entries");
    result(worst, "errors", "digits_worst");
}

int main(int argc, char **argv) {
    int status = reparameterization_main(argc, argv);
    if (status != 0)
        return status;
    draw_ways();
    void (*const study[])(void) = {show_sigma,         compare_with_theory, scale,      show_wobble,
                                   show_largest_rates, show_divergence,     draw_funnel};
    for (size_t k = 0; k < sizeof study / sizeof *study && !interrupted; k++)
        study[k]();
    if (!interrupted)
        show_digits(&learner[0].net);
    write_results();
    return interrupted ? 130 : 0;
}
