/* gradcheck.h: is this gradient right, and if not, what is the mistake?

   A backward pass claims that the gradient of the loss L with respect to a parameter t is a. We
   nudge t up and down, and get a second opinion n from the two values of L. Both opinions share the
   forward pass: where they agree, a is the gradient of the loss that it computes. Whether that is
   the loss that was meant, no check of gradients can say.

   Use, in a test that has included a chapter's program with REAL set to double:

       struct gradcheck check = {.title = "layer", .loss = loss, .backward = backward, .batch = 3};
       gc_add(&check, "x", x, dx, 3, 5);
       gc_add_weight(&check, "W", W, dW, 4, 5);
       assert_int_equal(gc_run(&check), 0);

   gc_run prints a table, a row for each tensor. Where a tensor is wrong it shows the worst entry
   and then tries the classic mistakes, one after another, until one of them explains every number.

   What the caller provides is a loss, a backward pass, and for better diagnoses a few hints (struct
   gc_tensor). The check itself knows nothing about networks. */
#ifndef GRADCHECK_H
#define GRADCHECK_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GC_TENSORS = 32, GC_SUSPECTS = 24, GC_SIZES = 8 };

/* --- what the caller provides ------------------------------------------------ */

/* A mistake that only the caller can foresee, as a prediction of what the wrong gradient would be:
   either the right derivative times a factor of its own for every entry, or a whole gradient. */
struct gc_suspect {
    const char *says;       /* the sentence to print when the prediction fits */
    const double *factor;   /* (rows,cols) or NULL: predicts factor * right */
    const double *gradient; /* (rows,cols) or NULL: predicts exactly this */
};

struct gc_tensor {
    const char *name;
    size_t rows, cols;  /* rows = 1 for a vector */
    double *value;      /* (rows,cols) the parameters or inputs that we nudge */
    const double *grad; /* (rows,cols) what the backward pass claims */
    int turned;         /* memory holds the transpose of what a reader calls this: print it so */

    /* Hints, all optional. */
    const double *slope; /* (batch,cols) the activation's derivative at each output of this layer */
    double (*loss)(void *net, double *example); /* cheaper loss: only what this tensor can reach */
    struct gc_suspect suspect[GC_SUSPECTS];
    size_t suspects;

    /* A caller who knows the loss better than we do may have measured the differences already,
       because nudging one number at a time takes too long. Then we nudge nothing, and judge, print
       and diagnose what was found. `loss` and `backward` are still called. */
    const double *measured; /* (rows,cols) the finite differences, or NULL */
    const double *noise;    /* (rows,cols) what rounding may do to each */
    const char *kink;       /* (rows,cols) or NULL: 1 where a kink was stepped around */
    const double *share;    /* (batch,rows,cols) or NULL: each example's share of `measured` */
};

struct gradcheck {
    const char *title;

    /* Returns the loss at the current values. It also writes each example's share of it to
       example[0.. batch-1]; a term that belongs to no example (weight decay) is in the result only.
       The same values must give the same loss: noise is frozen, not drawn. */
    double (*loss)(void *net, double *example);

    /* Sets every gradient: from zero, forward, backward. */
    void (*backward)(void *net);

    void *net;    /* handed to both */
    size_t batch; /* examples in the loss, at least 1 */
    int order;   /* 2: central difference; 4 (or 0, the default): with Richardson's extrapolation */
    double step; /* 0: the step that suits the order */
    const char *how; /* NULL, or how the differences were measured: stands in place of the step */
    FILE *out;       /* NULL: stdout */

    struct gc_tensor tensor[GC_TENSORS]; /* in the order of the forward pass */
    size_t tensors;
    struct {
        const char *name;
        size_t n;
    } size[GC_SIZES]; /* sizes by which a sum may have been divided by mistake */
    size_t sizes;

    /* What gc_run found, for tables and texts. */
    double worst_error; /* worst relative error among the entries that were resolved */
    size_t entries, resolved, kinks;
};

/* All checks of one test program together, for the texts that quote them. */
static struct gc_total {
    double worst_error;
    size_t entries, resolved, kinks;
} gc_total;

/* --- one derivative ---------------------------------------------------------- */

/* What one nudged parameter told us. */
struct gc_slope {
    double value;       /* the derivative */
    double left, right; /* the one-sided differences at the larger step: they part at a kink */
    double noise;       /* r: what rounding alone may do to `value` */
};

/* The loss with entry k of the tensor moved to `at`. */
static double gc_loss_at(const struct gradcheck *c, const struct gc_tensor *t, size_t k, double at,
                         double *example) {
    double keep = t->value[k];
    t->value[k] = at;
    double loss = t->loss ? t->loss(c->net, example) : c->loss(c->net, example);
    t->value[k] = keep;
    return loss;
}

/* The derivative of the loss with respect to entry k, whose value is x. `here` is the loss there.

   Central difference: D(h) = (L(x+h) - L(x-h)) / 2h. Its error is L'''h^2/6 + ..., even powers
   only. Richardson: D(h) and D(h/2) have errors e and e/4, so (4 D(h/2) - D(h)) / 3 is wrong by h^4
   only. A larger step then gives the same accuracy, and a larger step is good: each loss carries a
   rounding error of about epsilon*|L|, and we divide it by h. */
static struct gc_slope gc_derivative(const struct gradcheck *c, const struct gc_tensor *t, size_t k,
                                     double step, double here, double *scratch) {
    struct gc_slope d = {0};
    double x = t->value[k], h = step * fmax(1, fabs(x)), largest = fabs(here);
    double central[2] = {0, 0};
    for (int half = 0; half < (c->order == 2 ? 1 : 2); half++, h /= 2) {
        /* x + h is rounded (volatile makes sure of it); we divide by the distance covered. */
        volatile double up = x + h, down = x - h;
        double above = gc_loss_at(c, t, k, up, scratch), below = gc_loss_at(c, t, k, down, scratch);
        central[half] = (above - below) / (up - down);
        if (half == 0) {
            d.right = (above - here) / (up - x);
            d.left = (here - below) / (x - down);
        }
        largest = fmax(largest, fmax(fabs(above), fabs(below)));
    }
    double rounding = 4 * DBL_EPSILON * largest / (step * fmax(1, fabs(x)));
    d.value = c->order == 2 ? central[0] : (4 * central[1] - central[0]) / 3;
    d.noise = c->order == 2 ? rounding : 3 * rounding;
    return d;
}

/* --- agreement ---------------------------------------------------------------- */

static const double gc_tolerance = 1e-7;

/* |a-n| <= 1e-7 max(|a|,|n|) + r. The comparison is false for a NaN. */
static int gc_close(double a, double n, double tolerance, double noise) {
    return fabs(a - n) <= tolerance * fmax(fabs(a), fabs(n)) + noise;
}

enum gc_verdict { GC_AGREES, GC_KINK, GC_WRONG };

/* Compares the claim a with the difference. Where the two disagree, a kink may be to blame: a
   corner of ReLU or |x| between t-h and t+h, across which no difference can be trusted. We then
   come closer. A kink gives itself away, because the difference changes with the step; that of a
   smooth function does not. */
static enum gc_verdict gc_judge(const struct gradcheck *c, const struct gc_tensor *t, size_t k,
                                double a, double here, struct gc_slope *d, double *scratch) {
    *d = gc_derivative(c, t, k, c->step, here, scratch);
    if (gc_close(a, d->value, gc_tolerance, d->noise))
        return GC_AGREES;
    struct gc_slope first = *d, last = *d;
    double step = c->step;
    for (int closer = 0; closer < 4; closer++) {
        step /= 16;
        struct gc_slope next = gc_derivative(c, t, k, step, here, scratch);
        double moved = fabs(next.value - first.value);
        int kink = moved > 8 * (first.noise + next.noise) + gc_tolerance * fabs(next.value);
        if (kink && gc_close(a, next.value, gc_tolerance, next.noise)) {
            *d = next;
            return GC_KINK;
        }
        last = next;
    }
    /* Exactly on the kink the two sides disagree at every step. Any value between them is a
     * subgradient. */
    double gap = fabs(last.right - last.left), gap_before = fabs(first.right - first.left);
    if (gap > 8 * last.noise + 1e-6 * fabs(last.value) && gap > gap_before / 64) {
        double low = fmin(last.left, last.right), high = fmax(last.left, last.right);
        if (a >= low - last.noise && a <= high + last.noise)
            return GC_KINK;
    }
    return GC_WRONG;
}

/* The same for a difference that the caller has measured: whoever measured it came closer
   where there was a kink. */
static enum gc_verdict gc_judge_measured(const struct gc_tensor *t, size_t k, double a,
                                         struct gc_slope *d) {
    *d = (struct gc_slope){.value = t->measured[k], .noise = t->noise[k]};
    if (!gc_close(a, d->value, gc_tolerance, d->noise))
        return GC_WRONG;
    return t->kink && t->kink[k] ? GC_KINK : GC_AGREES;
}

/* --- the mistakes we know ------------------------------------------------------ */

/* Everything that a diagnosis may look at, for one wrong tensor. N = rows*cols entries. */
struct gc_case {
    const struct gradcheck *c;
    const struct gc_tensor *t;
    size_t N;
    const double *a;      /* (N) the claim */
    const double *n;      /* (N) the finite difference */
    const double *noise;  /* (N) what rounding may do to n */
    const double *share;  /* (batch,N) the finite difference of each example's share of the loss */
    const double *before; /* (N) the claim of the call before this one */
    double *guess;        /* (N) scratch: the gradient that a mistake would give */
};

/* Does the guess explain the claim? In every entry, and not only because both are zero. */
static int gc_explains(const struct gc_case *q, const double *guess) {
    size_t told = 0;
    for (size_t k = 0; k < q->N; k++) {
        if (!gc_close(q->a[k], guess[k], 1e-5, 30 * q->noise[k]))
            return 0;
        told += fabs(guess[k]) > 1e4 * q->noise[k];
    }
    return told > 0;
}

static int gc_explains_factor(const struct gc_case *q, double factor) {
    for (size_t k = 0; k < q->N; k++)
        q->guess[k] = factor * q->n[k];
    return gc_explains(q, q->guess);
}

/* Tries a factor and its inverse, each with both signs. Says which and returns 1 when one fits. */
static int gc_try_size(const struct gc_case *q, FILE *out, size_t size, const char *name) {
    static const char *sign[2] = {"", " A sign is flipped, too."};
    for (int flip = 0; size > 1 && flip < 2; flip++) {
        double f = (flip ? -1.0 : 1.0) * (double)size;
        if (gc_explains_factor(q, f)) {
            fprintf(out,
                    "  Every entry is %zu times too large, and %zu is %s: a sum stands where the "
                    "loss has a mean (a division is missing).%s\n",
                    size, size, name, sign[flip]);
            return 1;
        }
        if (gc_explains_factor(q, 1 / f)) {
            fprintf(out,
                    "  Every entry is %zu times too small, and %zu is %s: a mean stands where the "
                    "loss has a sum (a division too many).%s\n",
                    size, size, name, sign[flip]);
            return 1;
        }
    }
    return 0;
}

/* Sign, factors, sums and means. */
static int gc_try_factors(const struct gc_case *q, FILE *out) {
    const struct gradcheck *c = q->c;
    if (gc_explains_factor(q, -1)) {
        fprintf(out,
                "  Every entry is the negative of what it should be: a sign is flipped, or the two "
                "sides of a difference are swapped.\n");
        return 1;
    }
    int named = gc_try_size(q, out, c->batch, "the batch size B");
    for (size_t i = 0; i < c->sizes; i++)
        named |= gc_try_size(q, out, c->size[i].n, c->size[i].name);
    static const double factor[] = {2, 0.5, -2, -0.5};
    static const char *says[] = {
        "twice what it should be: a factor 2 is left over (the 2 of a square, or a term added "
        "twice)",
        "half of what it should be: a factor 2 is missing (the 2 of a square, or one of two equal "
        "terms)",
        "minus twice what it should be: a sign is flipped and a factor 2 is left over",
        "minus half of what it should be: a sign is flipped and a factor 2 is missing"};
    for (int i = 0; i < 4; i++)
        if (gc_explains_factor(q, factor[i])) {
            fprintf(out, "  Every entry is %s.\n", says[i]);
            named = 1;
        }
    return named;
}

/* Never written, or the loss never looks at it. */
static int gc_try_zero(const struct gc_case *q, FILE *out) {
    int claim = 0, truth = 0;
    for (size_t k = 0; k < q->N; k++) {
        claim |= q->a[k] != 0;
        truth |= fabs(q->n[k]) > q->noise[k];
    }
    if (!claim && (q->t->name[0] == 'b' || strstr(q->t->name, "bias")))
        fprintf(out,
                "  The gradient of %s is zero everywhere: it is never written. The bias is "
                "forgotten in the backward pass.\n",
                q->t->name);
    else if (!claim)
        fprintf(out, "  The gradient of %s is zero everywhere: it is never written.\n", q->t->name);
    else if (!truth)
        fprintf(out,
                "  The loss does not change when %s does: it is forgotten in the forward pass.\n",
                q->t->name);
    return !claim || !truth;
}

/* Written as (cols,rows) instead of (rows,cols), or displaced by one. */
static int gc_try_places(const struct gc_case *q, FILE *out) {
    size_t rows = q->t->rows, cols = q->t->cols;
    if (rows > 1 && cols > 1) {
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++)
                q->guess[j * rows + i] = q->n[i * cols + j];
        if (gc_explains(q, q->guess)) {
            fprintf(
                out,
                "  Every number is right but stands in the wrong place: the gradient is transposed "
                "(an index [i][j] where [j][i] is meant).\n");
            return 1;
        }
    }
    for (int up = 0; up < 2; up++)
        for (int whole_row = 0; whole_row < (rows > 1 ? 2 : 1); whole_row++) {
            size_t shift = whole_row ? cols : 1;
            for (size_t k = 0; k < q->N; k++)
                q->guess[(k + (up ? shift : q->N - shift)) % q->N] = q->n[k];
            /* What leaves at one end may have been lost: compare the rest only. */
            for (size_t k = 0; k < shift; k++) {
                size_t edge = up ? k : q->N - 1 - k;
                q->guess[edge] = q->a[edge];
            }
            if (q->N > shift && gc_explains(q, q->guess)) {
                fprintf(
                    out,
                    "  Every number is right but displaced by one %s: an index is off by one.\n",
                    !whole_row     ? "entry"
                    : q->t->turned ? "column"
                                   : "row");
                return 1;
            }
        }
    return 0;
}

/* "[k]" in a vector, "[i,j]" in a matrix. */
static void gc_place(char *text, size_t size, const struct gc_tensor *t, size_t k) {
    size_t i = k / t->cols, j = k % t->cols;
    if (t->rows == 1)
        snprintf(text, size, "[%zu]", k);
    else
        snprintf(text, size, "[%zu,%zu]", t->turned ? j : i, t->turned ? i : j);
}

/* Right except for one row or one column. */
static int gc_try_missing_line(const struct gc_case *q, FILE *out) {
    size_t rows = q->t->rows, cols = q->t->cols, wrong = 0, first = 0;
    int one_row = 1, one_column = 1, zero = 1;
    for (size_t k = 0; k < q->N; k++) {
        if (gc_close(q->a[k], q->n[k], 1e-5, 30 * q->noise[k]))
            continue;
        if (!wrong++)
            first = k;
        one_row &= k / cols == first / cols;
        one_column &= k % cols == first % cols;
        zero &= q->a[k] == 0;
    }
    int single = rows == 1 || cols == 1; /* all of a vector is one line */
    if (!wrong || wrong == q->N || (!one_row && !one_column) || (single && wrong > 1))
        return 0;
    const char *what = zero ? "is never written: a loop starts late or stops short"
                            : "is wrong, and all the rest is right: look at the ends of the loops";
    char place[48];
    gc_place(place, sizeof place, q->t, first);
    if (wrong == 1)
        fprintf(out, "  Only entry %s %s.\n", place, what);
    else
        fprintf(out, "  Only %s %zu %s.\n", one_row == !q->t->turned ? "row" : "column",
                one_row ? first / cols : first % cols, what);
    return 1;
}

/* The examples of the batch: one share only, or all but one. */
static int gc_try_examples(const struct gc_case *q, FILE *out) {
    size_t B = q->c->batch;
    for (size_t e = 0; B > 1 && q->share && e < B; e++) {
        const double *share = &q->share[e * q->N];
        if (gc_explains(q, share)) {
            fprintf(out,
                    "  This is the share of example %zu alone, %s of the batch: an = stands where "
                    "+= is meant.\n",
                    e,
                    e == B - 1 ? "the last"
                    : e == 0   ? "the first"
                               : "one");
            return 1;
        }
        for (size_t k = 0; k < q->N; k++)
            q->guess[k] = q->n[k] - share[k];
        if (gc_explains(q, q->guess)) {
            fprintf(out,
                    "  One example is missing: the gradient is that of the batch without example "
                    "%zu. A loop starts late or stops short.\n",
                    e);
            return 1;
        }
    }
    return 0;
}

/* The activation's derivative f'(s). share[e] contains the factor slope[e][j]: without it the layer
   would have collected share/slope, with it twice share*slope. */
static int gc_try_slope(const struct gc_case *q, FILE *out) {
    const double *slope = q->t->slope;
    size_t B = q->c->batch, cols = q->t->cols;
    if (!slope || !q->share)
        return 0;
    for (int twice = 0; twice < 2; twice++) {
        /* Where the slope is 0 (a ReLU switched off) there is nothing to divide by and we predict
         * nothing. */
        size_t predicted = 0, wrong_predicted = 0, wrong_unpredicted = 0;
        int fits = 1;
        for (size_t k = 0; k < q->N; k++) {
            double guess = 0;
            int off = 0;
            for (size_t e = 0; e < B; e++) {
                double s = slope[e * cols + k % cols], part = q->share[e * q->N + k];
                off |= !twice && s == 0;
                guess += twice ? part * s : s == 0 ? 0 : part / s;
            }
            int wrong = !gc_close(q->a[k], q->n[k], 1e-5, 30 * q->noise[k]);
            if (off) {
                wrong_unpredicted += wrong;
                continue;
            }
            predicted += fabs(guess) > 1e4 * q->noise[k];
            wrong_predicted += wrong;
            fits &= gc_close(q->a[k], guess, 1e-5, 30 * q->noise[k]);
        }
        if (!fits || !predicted || !(wrong_predicted + wrong_unpredicted))
            continue;
        if (wrong_predicted)
            fprintf(
                out,
                "  The activation's derivative is %s: each example's share must be multiplied by "
                "f'(s) once.\n",
                twice ? "there twice" : "missing");
        else
            fprintf(out,
                    "  Wrong only where a unit is switched off for some example: the activation's "
                    "derivative is missing (where f'(s) = 0, nothing may pass).\n");
        return 1;
    }
    return 0;
}

/* Off by less than any mistake in the formulas would put it. */
static int gc_try_near(const struct gc_case *q, FILE *out) {
    if (!gc_explains_factor(q, 1))
        return 0;
    fprintf(out, "  The two agree to five digits, so no formula is wrong. Something is rounded on "
                 "the way (a float?), or the difference needs another step.\n");
    return 1;
}

/* ds itself is wrong, by a factor of its own for each example and output: then column j of the
   claim is a mixture of the examples' shares, sum over e of q[e] share[e], with B unknown q's. A
   mixture that fits every row is no accident. We find the q's by least squares. */
static int gc_try_mixture(const struct gc_case *q, FILE *out) {
    enum { MOST = 8 };
    size_t B = q->c->batch, rows = q->t->rows, cols = q->t->cols, shown = 0;
    double example_factor = 1;
    if (!q->share || rows <= B || B > MOST)
        return 0;
    for (size_t j = 0; j < cols; j++) {
        double M[MOST][MOST + 1] = {{0}}, size = 0; /* the normal equations */
        for (size_t i = 0; i < rows; i++)
            for (size_t e = 0; e < B; e++) {
                double s = q->share[e * q->N + i * cols + j];
                for (size_t f = 0; f < B; f++)
                    M[e][f] += s * q->share[f * q->N + i * cols + j];
                M[e][B] += s * q->a[i * cols + j];
            }
        for (size_t e = 0; e < B; e++)
            size = fmax(size, M[e][e]);
        for (size_t e = 0; e < B;
             e++) { /* Gauss and Jordan; an example with nothing of its own gets q = 0 */
            double pivot = M[e][e] > 1e-10 * size ? M[e][e] : 0;
            for (size_t f = 0; f <= B; f++)
                M[e][f] = pivot > 0 ? M[e][f] / pivot : 0;
            for (size_t g = 0; g < B && pivot > 0; g++) {
                double m = g == e ? 0 : M[g][e];
                for (size_t f = 0; f <= B; f++)
                    M[g][f] -= m * M[e][f];
            }
        }
        for (size_t i = 0; i < rows; i++) {
            q->guess[i * cols + j] = 0;
            for (size_t e = 0; e < B; e++)
                q->guess[i * cols + j] += M[e][B] * q->share[e * q->N + i * cols + j];
        }
        if (fabs(M[0][B] - 1) > fabs(example_factor - 1)) {
            example_factor = M[0][B];
            shown = j;
        }
    }
    double worst = 0, scale = 0;
    for (size_t k = 0; k < q->N; k++) {
        worst = fmax(worst, fabs(q->a[k] - q->guess[k]));
        scale = fmax(scale, fabs(q->a[k]));
    }
    if (!(worst < 1e-5 * scale))
        return 0;
    fprintf(out,
            "  Every share is there, but multiplied by a factor of its own for each example and "
            "output (%.4g for example 0, output %zu): the derivative at the outputs is wrong. Is "
            "f'(s) the right function?\n",
            example_factor, shown);
    return 1;
}

/* A regulariser: the difference is a multiple of the parameter, or of its sign. */
static int gc_try_regulariser(const struct gc_case *q, FILE *out) {
    for (int absolute = 0; absolute < 2; absolute++) {
        double dot = 0, norm = 0;
        for (size_t k = 0; k < q->N; k++) {
            double v = q->t->value[k], p = absolute ? (v > 0) - (v < 0) : v;
            dot += (q->a[k] - q->n[k]) * p;
            norm += p * p;
        }
        double c = norm > 0 ? dot / norm : 0;
        for (size_t k = 0; k < q->N; k++) {
            double v = q->t->value[k], p = absolute ? (v > 0) - (v < 0) : v;
            q->guess[k] = q->n[k] + c * p;
        }
        if (q->N > 2 && gc_explains(q, q->guess)) {
            fprintf(out,
                    "  The difference is %.3g times %s in every entry: the penalty on %s is %s.\n",
                    c, absolute ? "the sign of the parameter" : "the parameter", q->t->name,
                    c < 0 ? "missing (or half of it is)" : "counted twice, or is not in the loss");
            return 1;
        }
    }
    return 0;
}

/* What the caller foresaw. */
static int gc_try_suspects(const struct gc_case *q, FILE *out) {
    for (size_t i = 0; i < q->t->suspects; i++) {
        const struct gc_suspect *s = &q->t->suspect[i];
        for (size_t k = 0; k < q->N; k++)
            q->guess[k] = s->factor ? s->factor[k] * q->n[k] : s->gradient[k];
        if (gc_explains(q, q->guess)) {
            fprintf(out, "  %s\n", s->says);
            return 1;
        }
    }
    return 0;
}

/* Called twice, the backward pass must give the same gradient twice. */
static int gc_try_not_zeroed(const struct gc_case *q, FILE *out) {
    int same = 1;
    for (size_t k = 0; k < q->N; k++) {
        q->guess[k] = q->before[k] + q->n[k];
        same &= q->before[k] == q->a[k];
    }
    if (same)
        return 0;
    if (gc_explains(q, q->guess))
        fprintf(out, "  A second call adds to the first: the gradient is not zeroed in between.\n");
    else
        fprintf(
            out,
            "  Two calls of the backward pass give two gradients: something is kept from one call "
            "to the next, or drawn anew.\n");
    return 1;
}

/* No name, but a help: is it one and the same factor everywhere? */
static int gc_try_constant(const struct gc_case *q, FILE *out) {
    double dot = 0, norm = 0;
    for (size_t k = 0; k < q->N; k++) {
        dot += q->a[k] * q->n[k];
        norm += q->n[k] * q->n[k];
    }
    if (norm == 0 || q->N < 2 || !gc_explains_factor(q, dot / norm))
        return 0;
    fprintf(out,
            "  Every entry is off by the same factor, %.6g. No mistake that we know has this "
            "factor: look for a constant that is missing or wrong.\n",
            dot / norm);
    return 1;
}

/* --- the diagnosis ------------------------------------------------------------- */

/* Names the mistake in one wrong tensor. Hypotheses that predict more exactly come first. */
static void gc_diagnose(const struct gc_case *q, FILE *out, const char *nearer) {
    if (gc_try_not_zeroed(q, out) || gc_try_zero(q, out) || gc_try_factors(q, out) ||
        gc_try_examples(q, out) || gc_try_slope(q, out) || gc_try_places(q, out) ||
        gc_try_suspects(q, out) || gc_try_missing_line(q, out) || gc_try_near(q, out) ||
        gc_try_regulariser(q, out) || gc_try_mixture(q, out) || gc_try_constant(q, out))
        return;
    if (nearer)
        fprintf(out,
                "  This may have the same cause as %s above, which is nearer the loss: mend that "
                "first.\n",
                nearer);
    else
        fprintf(
            out,
            "  No mistake that we know explains this. Ruled out: sign, factors 2%s, an example or "
            "a line missing, = for +=, gradient transposed, displaced, not zeroed%s, a "
            "penalty%s.\n",
            q->c->batch > 1 ? " and B" : "",
            q->t->slope ? ", the activation's derivative missing or there twice" : "",
            q->t->suspects ? ", and what this test foresees" : "");
}

/* Fills share (batch,N): the derivative of each example's part of the loss. Plain central
   differences at the checker's step are accurate enough to tell hypotheses apart. */
static void gc_shares(const struct gradcheck *c, const struct gc_tensor *t, double *share,
                      double *scratch) {
    size_t N = t->rows * t->cols, B = c->batch;
    double *up = scratch, *down = scratch + B;
    for (size_t k = 0; k < N; k++) {
        double x = t->value[k], h = cbrt(DBL_EPSILON) * fmax(1, fabs(x));
        volatile double above = x + h, below = x - h;
        gc_loss_at(c, t, k, above, up);
        gc_loss_at(c, t, k, below, down);
        for (size_t e = 0; e < B; e++)
            share[e * N + k] = (up[e] - down[e]) / (above - below);
    }
}

static void *gc_allocate(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        fprintf(stderr, "gradcheck: not enough memory for the check\n");
        exit(1);
    }
    return p;
}

/* --- the check ------------------------------------------------------------------ */

/* Adds a tensor to the check and returns it, so that hints can be set. */
static inline struct gc_tensor *gc_add(struct gradcheck *c, const char *name, double *value,
                                       const double *grad, size_t rows, size_t cols) {
    if (c->tensors == GC_TENSORS) {
        fprintf(stderr, "gradcheck: more than %d tensors: raise GC_TENSORS\n", GC_TENSORS);
        exit(1);
    }
    struct gc_tensor *t = &c->tensor[c->tensors++];
    *t = (struct gc_tensor){.name = name, .value = value, .grad = grad, .rows = rows, .cols = cols};
    return t;
}

/* Adds a weight W (out,in) of which memory holds the transpose, entry (j,i) at value[i * out + j]:
   the table and the messages speak of (out,in) all the same. With in = 1 it is a bias. */
static inline struct gc_tensor *gc_add_weight(struct gradcheck *c, const char *name, double *value,
                                              const double *grad, size_t out, size_t in) {
    struct gc_tensor *t = gc_add(c, name, value, grad, in, out);
    t->turned = in > 1;
    return t;
}

/* Adds a foreseen mistake; give either a factor or a gradient, the other as NULL. The arrays must
   live until gc_run has returned. */
static inline void gc_foresee(struct gc_tensor *t, const char *says, const double *factor,
                              const double *gradient) {
    if (t->suspects == GC_SUSPECTS) {
        fprintf(stderr, "gradcheck: more than %d suspects: raise GC_SUSPECTS\n", GC_SUSPECTS);
        exit(1);
    }
    t->suspect[t->suspects++] = (struct gc_suspect){says, factor, gradient};
}

/* Names a size by which a sum could have been divided by mistake. */
static inline void gc_size(struct gradcheck *c, const char *name, size_t n) {
    if (c->sizes < GC_SIZES) {
        c->size[c->sizes].name = name;
        c->size[c->sizes++].n = n;
    }
}

/* The first column of the table is as wide as the longest name. */
static int gc_name_width(const struct gradcheck *c) {
    size_t width = 8;
    for (size_t i = 0; i < c->tensors; i++)
        if (strlen(c->tensor[i].name) > width)
            width = strlen(c->tensor[i].name);
    return (int)width;
}

/* Checks one tensor: prints its row and, where it is wrong, what we know. Returns 1
   when it failed. */
static int gc_check_tensor(struct gradcheck *c, const struct gc_tensor *t, const double *before,
                           double here, double *scratch, const char *nearer) {
    FILE *out = c->out;
    size_t N = t->rows * t->cols, resolved = 0, kinks = 0, wrong = 0, zeros = 0, worst = 0, bad = 0;
    double worst_error = -1, bad_error = -1;
    double *n = gc_allocate(3 * N, sizeof *n), *noise = n + N, *guess = n + 2 * N;
    for (size_t k = 0; k < N; k++) {
        struct gc_slope d;
        double a = t->grad[k];
        enum gc_verdict verdict =
            t->measured ? gc_judge_measured(t, k, a, &d) : gc_judge(c, t, k, a, here, &d, scratch);
        n[k] = d.value;
        noise[k] = d.noise;
        kinks += verdict == GC_KINK;
        wrong += verdict == GC_WRONG;
        zeros += a == 0;
        double size = fmax(fabs(a), fabs(d.value)), error = fabs(a - d.value) / size;
        int big = size > d.noise / gc_tolerance;
        resolved += big;
        if (big && (verdict == GC_AGREES || (t->measured && verdict == GC_KINK)) &&
            error > worst_error) {
            worst_error = error;
            worst = k;
        }
        /* The entry to show is the one that is furthest off, in absolute terms; a
           NaN comes first. */
        double off = isnan(a - d.value) ? INFINITY : fabs(a - d.value);
        if (verdict == GC_WRONG && off > bad_error) {
            bad_error = off;
            bad = k;
        }
    }
    /* A gradient that is zero, or too small to be told from rounding, has not been tested. The
       tensor that was never written is caught here too: where a is zero and n is not, the entry is
       wrong. */
    int on_kinks = !t->measured && 2 * kinks > N; /* a caller who measures comes close enough */
    int untested = !wrong && (zeros == N || 2 * resolved < N || on_kinks);
    int failed = wrong || untested;
    char shape[48], place[48];
    if (t->rows == 1)
        snprintf(shape, sizeof shape, "%zu", t->cols);
    else
        snprintf(shape, sizeof shape, "%zu x %zu", t->turned ? t->cols : t->rows,
                 t->turned ? t->rows : t->cols);
    gc_place(place, sizeof place, t, wrong ? bad : worst);
    if (wrong)
        worst_error = fabs(t->grad[bad] - n[bad]) / fmax(fabs(t->grad[bad]), fabs(n[bad]));
    fprintf(out, "  %-*s %-11s %7zu %9zu   %-11.1e   %-9s ", gc_name_width(c), t->name, shape, N,
            resolved, worst_error < 0 ? 0 : worst_error, place);
    if (wrong)
        fprintf(out, "WRONG in %zu\n", wrong);
    else if (untested)
        fprintf(out, "NOT TESTED\n");
    else if (kinks)
        fprintf(out, "ok, %zu kink%s stepped around\n", kinks, kinks == 1 ? "" : "s");
    else
        fprintf(out, "ok\n");
    if (untested)
        fprintf(out, "  %s\n",
                zeros == N ? "The gradient is zero everywhere, and so is the difference: nothing "
                             "was tested. Is the tensor used at all?"
                : on_kinks ? "Most entries stand on a kink. Move the inputs."
                           : "Most entries are too small to be told from rounding. Give the "
                             "check larger inputs, or a smaller loss.");
    if (wrong) {
        fprintf(out, "  at %s: analytic %.6g   numeric %.6g   ratio %.4g\n", place, t->grad[bad],
                n[bad], t->grad[bad] / n[bad]);
        double *share = NULL;
        if (!t->measured && c->batch * N <= 1u << 22) { /* beyond that it would take too long */
            share = gc_allocate(c->batch * N, sizeof *share);
            gc_shares(c, t, share, scratch);
        }
        const double *shares = t->measured ? t->share : share;
        struct gc_case q = {c, t, N, t->grad, n, noise, shares, before, guess};
        gc_diagnose(&q, out, nearer);
        free(share);
    }
    c->entries += N;
    c->resolved += resolved;
    c->kinks += kinks;
    c->worst_error = fmax(c->worst_error, worst_error);
    free(n);
    return failed;
}

/* Checks every entry of every tensor. Prints a table to c->out and returns the number of tensors
   that failed; the values are as they were, the gradients those of the last backward pass.
   Allocates its own scratch memory and frees it. */
static int gc_run(struct gradcheck *c) {
    if (!c->out)
        c->out = stdout;
    if (c->order != 2)
        c->order = 4;
    if (c->step ==
        0) /* where truncation and rounding weigh the same: epsilon^(1/3), epsilon^(1/5) */
        c->step = c->order == 2 ? cbrt(DBL_EPSILON) : pow(DBL_EPSILON, 0.2);
    if (c->batch == 0)
        c->batch = 1;
    c->entries = c->resolved = c->kinks = 0;
    c->worst_error = 0;
    double *scratch = gc_allocate(2 * c->batch, sizeof *scratch);
    double *before[GC_TENSORS];

    /* The backward pass runs twice: the first result is kept, the second is judged. */
    for (int call = 0; call < 2; call++) {
        c->backward(c->net);
        for (size_t i = 0; call == 0 && i < c->tensors; i++) {
            size_t bytes = c->tensor[i].rows * c->tensor[i].cols * sizeof(double);
            before[i] = gc_allocate(1, bytes);
            memcpy(before[i], c->tensor[i].grad, bytes);
        }
    }
    double here = c->loss(c->net, scratch), again = c->loss(c->net, scratch);
    double noise = (c->order == 2 ? 4 : 12) * DBL_EPSILON * fabs(here) / c->step;
    fprintf(c->out, "%s: gradients against central differences%s, in double\n", c->title,
            c->order == 2 || c->how ? "" : " (order 4)");
    int failed = 0;
    if (here != again || !isfinite(here)) {
        fprintf(
            c->out,
            here != again && isfinite(here)
                ? "  The same point gives two losses, %.12g and %.12g: noise is redrawn between "
                  "evaluations. Draw it once and keep it.\n"
                : "  The loss is %g: nothing can be checked.\n",
            here, again);
        failed = (int)c->tensors;
    } else {
        if (c->how)
            fprintf(c->out, "  loss %.6g, %s\n", here, c->how);
        else
            fprintf(
                c->out,
                "  loss %.6g, step %.1e: rounding hides %.1e; entries above %.1e are resolved\n",
                here, c->step, noise, noise / gc_tolerance);
        fprintf(c->out, "  %-*s %-11s %7s %9s   %-11s   %-9s %s\n", gc_name_width(c), "tensor",
                "shape", "entries", "resolved", "worst error", "at", "verdict");
        /* From the loss backwards, so that a fault is met where it arises before the tensors that
           inherit it; the rows are printed in that order, too. */
        const char *nearer = NULL;
        for (size_t i = c->tensors; i-- > 0;)
            if (gc_check_tensor(c, &c->tensor[i], before[i], here, scratch, nearer)) {
                failed++;
                nearer = c->tensor[i].name;
            }
    }
    gc_total.worst_error = fmax(gc_total.worst_error, c->worst_error);
    gc_total.entries += c->entries;
    gc_total.resolved += c->resolved;
    gc_total.kinks += c->kinks;
    if (failed)
        fprintf(c->out, "%d of %zu tensors fail the check\n\n", failed, c->tensors);
    else
        fprintf(c->out, "every one of %zu derivatives agrees\n\n", c->entries);
    for (size_t i = 0; i < c->tensors; i++)
        free(before[i]);
    free(scratch);
    return failed;
}

/* The same where all is expected to be well: then one line stands in place of the table. */
static inline int gc_run_in_one_line(struct gradcheck *c) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = c->out ? c->out : stdout;
    c->out = open_memstream(&text, &size);
    if (!c->out) {
        fprintf(stderr, "gradcheck: not enough memory for the check\n");
        exit(1);
    }
    int failed = gc_run(c);
    fclose(c->out);
    c->out = out;
    if (failed)
        fputs(text, out);
    else
        fprintf(out, "%-52s %7zu derivatives agree, worst error %.0e\n", c->title, c->entries,
                c->worst_error);
    free(text);
    return failed;
}

/* Whether a test should leave out what takes long: where QUICK stands in the environment, as it
   does for mutants and valgrind, and in a build with sanitizers. */
static inline int gc_quick(void) {
#ifdef SANITIZED
    return 1;
#endif
    return getenv("QUICK") != NULL;
}

/* Writes the totals as lines of name, value, unit. Returns 0, or -1 when it cannot. */
static inline int gc_save_totals(const char *path) {
    FILE *f = fopen(path, "w");
    if (!f)
        return -1;
    fprintf(f, "check_worst_error\t%.3g\t\n", gc_total.worst_error);
    fprintf(f, "check_entries\t%zu\tentries\n", gc_total.entries);
    fprintf(f, "check_resolved\t%zu\tentries\n", gc_total.resolved);
    fprintf(f, "check_kinks\t%zu\tentries\n", gc_total.kinks);
    return fclose(f) == 0 ? 0 : -1;
}

#endif
