/* measure.c: what chapter 5's page wants beyond the program's own run: curves drawn afresh for
   every epoch, a picture of your own, the plane in which the codes spread most, PCA with as many
   numbers, and what the nearest neighbours say. It includes the program, whose run comes first. */
#define MEASURE_OPTIONS                                                                            \
    {"--fresh", "train on so many curves, drawn anew each epoch", 'n', &fresh, 0, 1e8, NULL},      \
        {"--image", "reconstruct this PNG, too", 't', &image_path, 0, 0, NULL},
#define MEASURE_START measure_start();
#define MEASURE_EPOCH measure_epoch();
#include <stddef.h>

size_t fresh;                /* --fresh */
const char *image_path = ""; /* --image */
void measure_start(void);
void measure_epoch(void);

#define main autoencoder_main
#include "autoencoder.c"
#undef main
#include <sys/resource.h>

/* --- a picture of your own --------------------------------------------------------- */
/* Brings any PNG to the form that MNIST's digits have, x (784): bright ink on black, the drawing
   scaled to fit 20 x 20 pixels, its centre of mass in the middle of 28 x 28.
     1. gray, from red, green and blue as the eye weighs them; what is transparent is white paper
     2. the ground is what the border shows: if that is light, dark and light are exchanged
     3. the box around all that is brighter than a quarter of the brightest is cut out
     4. each of our pixels is the mean of the part of the box that it covers, and then the brightest
        of them becomes white: a thin pen in a large drawing leaves only a trace in the mean */
void read_picture(real *x, const char *path) {
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&png, path))
        die("%s: %s; --image wants a PNG file", path, png.message);
    png.format = PNG_FORMAT_RGBA;
    size_t w = png.width, h = png.height;
    if (w * h > 100000000)
        die("%s: %zu x %zu pixels are too many; make it smaller", path, w, h);
    unsigned char *rgba = allocate(w * h, 4);
    if (!png_image_finish_read(&png, NULL, rgba, 0, NULL))
        die("%s: %s; the file is damaged or cut short", path, png.message);
    double *gray = allocate(w * h, sizeof *gray), border = 0, brightest = 0;
    for (size_t i = 0; i < w * h; i++) {
        const unsigned char *p = rgba + 4 * i;
        double opaque = p[3] / 255.0;
        gray[i] = (0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]) / 255 * opaque + (1 - opaque);
    }
    for (size_t i = 0; i < w; i++)
        border += (gray[i] + gray[(h - 1) * w + i]) / (double)(2 * (w + h));
    for (size_t i = 0; i < h; i++)
        border += (gray[i * w] + gray[i * w + w - 1]) / (double)(2 * (w + h));
    for (size_t i = 0; i < w * h; i++) {
        gray[i] = border > 0.5 ? fmax(0, border - gray[i]) : fmax(0, gray[i] - border);
        brightest = fmax(brightest, gray[i]);
    }
    if (brightest < 0.05)
        die("%s: has one colour throughout; draw something dark on light, or light on dark", path);
    size_t left = w, right = 0, top = h, bottom = 0;
    for (size_t i = 0; i < w * h; i++)
        if (gray[i] > brightest / 4) {
            left = least(left, i % w);
            right = i % w > right ? i % w : right;
            top = least(top, i / w);
            bottom = i / w;
        }
    double across = (double)(right - left + 1), down = (double)(bottom - top + 1);
    double scale = fmax(across, down) / 20; /* pixels of the picture to one of ours */
    double small[PIXELS] = {0}, mass = 0, middle_x = 0, middle_y = 0, white = 0;
    for (size_t k = 0; k < 400; k++) { /* the drawing in the upper left 20 x 20 */
        double x0 = (double)left + (double)(k % 20) * scale,
               y0 = (double)top + (double)(k / 20) * scale;
        double x1 = fmin(x0 + scale, (double)(right + 1)),
               y1 = fmin(y0 + scale, (double)(bottom + 1)), sum = 0;
        for (size_t y = (size_t)y0; (double)y < y1; y++)
            for (size_t u = (size_t)x0; (double)u < x1; u++) {
                double wide = fmin(x1, (double)u + 1) - fmax(x0, (double)u);
                double high = fmin(y1, (double)y + 1) - fmax(y0, (double)y);
                sum += gray[y * w + u] * fmax(0, wide) * fmax(0, high);
            }
        double value = sum / (scale * scale);
        small[k / 20 * SIDE + k % 20] = value;
        white = fmax(white, value);
        mass += value;
        middle_x += value * ((double)(k % 20) + 0.5);
        middle_y += value * ((double)(k / 20) + 0.5);
    }
    /* Not so far that a part of the drawing would leave the picture. */
    double room_x = SIDE - ceil(across / scale - 1e-9), room_y = SIDE - ceil(down / scale - 1e-9);
    long shift_x = lround(fmax(0, fmin(room_x, SIDE / 2.0 - middle_x / mass))),
         shift_y = lround(fmax(0, fmin(room_y, SIDE / 2.0 - middle_y / mass)));
    for (long y = 0; y < SIDE; y++)
        for (long u = 0; u < SIDE; u++) {
            long from_y = y - shift_y, from_x = u - shift_x;
            int within = from_y >= 0 && from_x >= 0;
            x[y * SIDE + u] = within ? (real)(small[from_y * SIDE + from_x] / white) : 0;
        }
    free(gray);
    free(rgba);
}

/* --- fresh curves ------------------------------------------------------------------ */
/* Draws the quadratic Bezier curve of the points p = x0 y0 x1 y1 x2 y2 (in [0,1], y downwards) with
   soft edges, as src/curves.c does, which explains each step: 64 straight pieces, and for each
   pixel its distance to the nearest of them. */
void draw_curve(unsigned char *pixel, const double *p) {
    enum { PIECES = 64 };
    const double reach =
        0.506 + 0.5;     /* half the width of the stroke, and half a pixel of softness */
    double near[PIXELS]; /* squared distance of the pixel's centre from the curve so far */
    for (size_t i = 0; i < PIXELS; i++)
        near[i] = reach * reach;
    double ax = SIDE * p[0], ay = SIDE * p[1];
    for (int k = 1; k <= PIECES; k++) {
        double t = (double)k / PIECES, w0 = (1 - t) * (1 - t), w1 = 2 * t * (1 - t), w2 = t * t;
        double bx = SIDE * (w0 * p[0] + w1 * p[2] + w2 * p[4]),
               by = SIDE * (w0 * p[1] + w1 * p[3] + w2 * p[5]);
        double dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
        double left = fmin(ax, bx) - reach - 0.5, right = fmax(ax, bx) + reach - 0.5;
        double top = fmin(ay, by) - reach - 0.5, bottom = fmax(ay, by) + reach - 0.5;
        for (int row = top > 0 ? (int)top : 0; row < SIDE && row <= bottom; row++)
            for (int col = left > 0 ? (int)left : 0; col < SIDE && col <= right; col++) {
                double cx = col + 0.5 - ax, cy = row + 0.5 - ay,
                       u = length > 0 ? (cx * dx + cy * dy) / length : 0;
                u = fmin(fmax(u, 0), 1);
                double ex = cx - u * dx, ey = cy - u * dy;
                near[row * SIDE + col] = fmin(near[row * SIDE + col], ex * ex + ey * ey);
            }
        ax = bx;
        ay = by;
    }
    for (size_t i = 0; i < PIXELS; i++)
        pixel[i] = (unsigned char)(255 * fmin(reach - sqrt(near[i]), 1) + 0.5);
}

/* Fills the set with curves nobody has seen. Every hundred of them have a stream of random numbers
   of their own, so the cores can draw at the same time and the result does not depend on how many
   there are. */
void draw_fresh_curves(struct images *images, uint64_t start) {
    enum { HUNDRED = 100 };
    PARALLEL
    for (size_t k = 0; k < images->count; k += HUNDRED) {
        struct random r;
        random_seed(&r, start + k);
        for (size_t i = k; i < least(images->count, k + HUNDRED); i++) {
            double p[6];
            for (int j = 0; j < 6; j++) /* in the middle 20 x 20 pixels */
                p[j] = random_uniform(&r, 4.0 / SIDE, 24.0 / SIDE);
            draw_curve(images->pixel + i * PIXELS, p);
        }
    }
}

/* --- what the program asks for ----------------------------------------------------- */
real picture[2 * PIXELS]; /* the student's, and what the network makes of it */

/* Before the training: better now than after it. */
void measure_start(void) {
    if (*image_path)
        read_picture(picture, image_path);
    if (!fresh)
        return;
    train_set = (struct images){fresh, allocate(fresh, PIXELS), NULL};
    draw_fresh_curves(&train_set, seed);
}

void measure_epoch(void) {
    if (fresh)
        draw_fresh_curves(&train_set, random_bits(&stream));
}

/* --- points ------------------------------------------------------------------------ */
/* Points with labels: rows of d numbers, or pixels that become numbers when they are needed. */
struct points {
    size_t count, d;
    const real *number;         /* (count,d), or NULL: then */
    const unsigned char *pixel; /* (count,d) */
    const unsigned char *label; /* (count) */
};

/* to (rows,d) = points first to first+rows-1 */
void copy_points(real *to, const struct points *p, size_t first, size_t rows) {
    if (p->number)
        memcpy(to, p->number + first * p->d, rows * p->d * sizeof *to);
    else
        brightness(to, p->pixel + first * p->d, rows * p->d);
}

/* --- principal axes ---------------------------------------------------------------- */
/* The directions in which a cloud of points spreads most. */
struct axes {
    size_t n, d;         /* coordinates of a point, directions wanted */
    double *mean, *axis; /* (n); (d,n) of length 1 and perpendicular to each other */
};

/* The covariance C (n,n) of points, and their mean (n). */
void spread(double *C, double *mean, const struct points *p) {
    enum { ROOM = 128 };
    size_t n = p->d;
    real *x = allocate(ROOM * n, sizeof *x);
    for (size_t first = 0; first < p->count; first += ROOM) {
        size_t rows = least(ROOM, p->count - first);
        copy_points(x, p, first, rows);
        PARALLEL
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < rows; r++) {
                double xi = (double)x[r * n + i] / (double)p->count;
                mean[i] += xi;
                for (size_t j = 0; xi != 0 && j < n; j++)
                    C[i * n + j] += xi * (double)x[r * n + j];
            }
    }
    for (size_t k = 0; k < n * n; k++)
        C[k] -= mean[k / n] * mean[k % n];
    free(x);
}

/* Takes from each row of Q (d,n) its shadow on those before it, and makes it of length 1. */
void straighten(double *Q, size_t d, size_t n) {
    for (size_t k = 0; k < d; k++) {
        double *q = Q + k * n, length = 0;
        for (size_t l = 0; l < k; l++) {
            double shadow = 0;
            for (size_t i = 0; i < n; i++)
                shadow += q[i] * Q[l * n + i];
            for (size_t i = 0; i < n; i++)
                q[i] -= shadow * Q[l * n + i];
        }
        for (size_t i = 0; i < n; i++)
            length += q[i] * q[i];
        for (size_t i = 0; i < n; i++)
            q[i] = length > 0 ? q[i] / sqrt(length) : 0;
    }
}

/* Orthogonal iteration, plainer than chapter 2's: multiply by C, straighten, repeat, until the
   variance that the directions catch does not grow any more. */
struct axes find_axes(const struct points *p, size_t d) {
    size_t n = p->d;
    struct axes a = {n, d, allocate(n, sizeof *a.mean), allocate(d * n, sizeof *a.axis)};
    double *C = allocate(n * n, sizeof *C), *next = allocate(d * n, sizeof *next);
    double caught = 1, before = 0;
    struct random r;
    random_seed(&r, 1);
    spread(C, a.mean, p);
    for (size_t k = 0; k < d * n; k++)
        next[k] = random_uniform(&r, -1, 1);
    for (int round = 0; round < 3000 && caught > before * (1 + 1e-12); round++) {
        before = round > 1 ? caught : 0;
        straighten(next, d, n);
        memcpy(a.axis, next, d * n * sizeof *next);
        PARALLEL
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < d; k++) {
                double sum = 0;
                LANES
                for (size_t j = 0; j < n; j++)
                    sum += C[i * n + j] * a.axis[k * n + j];
                next[k * n + i] = sum;
            }
        caught = 0;
        for (size_t k = 0; k < d * n; k++)
            caught += next[k] * a.axis[k];
    }
    free(C);
    free(next);
    return a;
}

/* code (d) = the coordinates of the point x (n) along the axes, and xhat (n) the point that has
   them and lies on the axes; either may be NULL. Returns the squared distance between x
   and xhat. */
double project(real *to, real *xhat, const struct axes *a, const real *x) {
    double left[PIXELS], error = 0;
    for (size_t i = 0; i < a->n; i++)
        left[i] = (double)x[i] - a->mean[i];
    for (size_t k = 0; k < a->d; k++) {
        const double *axis = a->axis + k * a->n;
        double along = 0;
        for (size_t i = 0; i < a->n; i++)
            along += left[i] * axis[i];
        for (size_t i = 0; i < a->n; i++)
            left[i] -= along * axis[i];
        if (to)
            to[k] = (real)along;
    }
    for (size_t i = 0; i < a->n; i++) {
        error += left[i] * left[i];
        if (xhat)
            xhat[i] = (real)((double)x[i] - left[i]);
    }
    return error;
}

/* The same for all points. Returns the mean squared distance. */
double project_all(real *to, const struct axes *a, const struct points *p) {
    double *error = allocate(p->count, sizeof *error), sum = 0;
    PARALLEL
    for (size_t r = 0; r < p->count; r++) {
        real x[PIXELS];
        copy_points(x, p, r, 1);
        error[r] = project(to + r * a->d, NULL, a, x);
    }
    for (size_t r = 0; r < p->count; r++)
        sum += error[r] / (double)p->count;
    free(error);
    return sum;
}

/* --- nearest neighbours -------------------------------------------------------------- */
/* How many percent of the points b have the label of the nearest among a. The squared distance is
   |a|^2 - 2 a.b + |b|^2, and |b|^2 is the same for all a. All dot products a.b are one product of
   matrices, done for a thousand a and 64 b at a time so that memory stays small. */
double nearest_accuracy(const struct points *a, const struct points *b) {
    enum { MANY = 1024, ROWS = 64 };
    size_t d = a->d, groups = (b->count + ROWS - 1) / ROWS, right = 0;
    real *x = allocate(2 * MANY * d, sizeof *x), *xt = x + MANY * d;
    real *closest = allocate(b->count, sizeof *closest), length[MANY];
    unsigned char *label = allocate(b->count, 1);
    for (size_t start = 0; start < a->count; start += MANY) {
        size_t n = least(MANY, a->count - start);
        copy_points(x, a, start, n);
        transpose(xt, x, n, d, 0, n);
        for (size_t i = 0; i < n; i++) {
            length[i] = 0;
            for (size_t k = 0; k < d; k++)
                length[i] += x[i * d + k] * x[i * d + k];
        }
        TEAM {
            real *dots = allocate(ROWS * (n + d), sizeof *dots), *y = dots + ROWS * n;
            for (size_t g = share(groups, 1, core()); g < share(groups, 1, core() + 1); g++) {
                size_t first = g * ROWS, rows = least(ROWS, b->count - first);
                copy_points(y, b, first, rows);
                memset(dots, 0, rows * n * sizeof *dots);
                multiply(dots, y, d, 1, xt, rows, n, d);
                for (size_t k = 0; k < rows * n; k++) {
                    size_t r = first + k / n, i = k % n;
                    real distance = length[i] - 2 * dots[k];
                    if ((start == 0 && i == 0) || distance < closest[r]) {
                        closest[r] = distance;
                        label[r] = a->label[start + i];
                    }
                }
            }
            free(dots);
        }
    }
    for (size_t r = 0; r < b->count; r++)
        right += label[r] == b->label[r];
    free(x), free(closest), free(label);
    return 100.0 * (double)right / (double)b->count;
}

/* --- the measurements ---------------------------------------------------------------- */
/* axes.tsv: where the codes of codes.tsv lie in the plane in which they spread most. */
void draw_axes(void) {
    size_t rows = least(tests, 2000), d = least(2, net.code);
    struct points p = {rows, net.code, code, NULL, NULL};
    struct axes a = find_axes(&p, d);
    double *row = allocate(3 * rows, sizeof *row);
    for (size_t r = 0; r < rows; r++) {
        real at[2] = {0, 0};
        project(at, NULL, &a, code + r * net.code);
        row[3 * r] = test_set.label ? test_set.label[r] : 0;
        row[3 * r + 1] = (double)at[0];
        row[3 * r + 2] = (double)at[1];
    }
    write_table("axes.tsv", "label\tfirst\tsecond", row, rows, 3);
    free(row);
}

/* The autoencoder beside PCA with as many numbers, and the codes beside the pixels as features. */
void compare(void) {
    size_t d = net.code;
    struct points known = {used, PIXELS, NULL, train_set.pixel, train_set.label};
    struct points asked = {tests, PIXELS, NULL, test_set.pixel, test_set.label};
    struct axes a = find_axes(&known, d);
    real *of_known = allocate(used * d, sizeof *of_known);
    real *of_asked = allocate(tests * d, sizeof *of_asked);
    printf("  PCA, %2zu numbers                 %10.2f\n", d,
           result(project_all(of_asked, &a, &asked), "", "pca_sq"));
    for (size_t k = 0; k < 10; k++)
        project(NULL, sheet + (20 + k) * PIXELS, &a, sheet + k * PIXELS);
    write_sheet("beside_pca.png", sheet, 3, 10, 3);
    if (!train_set.label || !test_set.label)
        return;
    double by_pixels = nearest_accuracy(&known, &asked);
    project_all(of_known, &a, &known);
    struct points known_code = {used, d, of_known, NULL, train_set.label};
    struct points asked_code = {tests, d, of_asked, NULL, test_set.label};
    double by_pca = nearest_accuracy(&known_code, &asked_code);
    evaluate(&trainer, &train_set, used, of_known, NULL);
    asked_code.number = code;
    double by_code = nearest_accuracy(&known_code, &asked_code);
    printf(
        "\nthe nearest of %zu training images has the same label, for this many test images in a "
        "hundred\n  by the autoencoder's %2zu numbers  %6.1f\n",
        used, d, result(by_code, "%", "nearest_code"));
    printf("  by PCA's %2zu numbers              %6.1f\n", d, result(by_pca, "%", "nearest_pca"));
    printf("  by all 784 pixels                %6.1f\n", result(by_pixels, "%", "nearest_pixels"));
}

/* The student's picture and what the network makes of it, side by side in image.png. */
void reconstruct_picture(void) {
    const real *z = network_forward(&net, picture, 0, net.half, 1);
    printf("\nthe code of %s:", image_path);
    for (size_t j = 0; j < net.code; j++)
        printf(" %.2f", (double)z[j]);
    const real *logits = network_forward(&net, z, net.half, net.depth, 1);
    struct losses loss;
    losses_of_images(&loss, NULL, logits, picture, 1, BCE, 1);
    for (size_t i = 0; i < PIXELS; i++)
        picture[PIXELS + i] = logistic(logits[i]);
    printf("\n  squared error %.2f, cross-entropy %.2f nats; original and reconstruction: "
           "%s/image.png\n",
           loss.squared, loss.bce, out_dir);
    write_sheet("image.png", picture, 1, 2, 6);
}

/* The most memory that the program has had, in MB. */
double peak_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (double)usage.ru_maxrss / 1e6;
#else
    return (double)usage.ru_maxrss * 1024 / 1e6;
#endif
}

int main(int argc, char **argv) {
    int status = autoencoder_main(argc, argv);
    if (status != 0)
        return status;
    if (net.code <= PIXELS) { /* PCA has no more directions than there are pixels */
        draw_axes();
        compare();
    }
    if (*image_path)
        reconstruct_picture();
    result(peak_memory(), "MB", "peak_memory");
    write_results();
    return interrupted ? 130 : 0;
}
