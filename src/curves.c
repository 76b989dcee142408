/* curves.c: draws curves whose six true numbers are known.

   Hinton & Salakhutdinov (Reducing the dimensionality of data with neural networks, Science 313,
   2006) test their autoencoder on pictures "generated from three randomly chosen points in two
   dimensions": six numbers are behind the 784 pixels, so a code of six numbers can be enough. Here
   we make such pictures: a quadratic Bezier curve with three uniformly random control points,
   drawn with soft edges on 28 x 28 pixels.

       cc -std=c11 -O2 -ffp-contract=off src/curves.c -o build/bin/curves -lm
       build/bin/curves --out build/curves

   It writes four files in the IDX format of MNIST (data/README.md explains it byte by byte):

       train-images-idx3-ubyte   20,000 x 28 x 28 bytes, 0 black ... 255 white
       t10k-images-idx3-ubyte    10,000 x 28 x 28 bytes, other curves, for testing
       train-points-idx2-float   20,000 x 6 floats (IDX type 0x0D, big-endian): x0 y0 x1 y1 x2 y2
       t10k-points-idx2-float    10,000 x 6 floats

   The curve starts at point 0 and ends at point 2; point 1 pulls it and mostly does not lie on it.
   A coordinate is a fraction of the picture's width: x from 0 (left edge) to 1 (right edge), y from
   0 (top edge) DOWN to 1 (bottom edge), as the rows of a picture run. Pixel (row, col) is the
   square from (col/28, row/28) to ((col+1)/28, (row+1)/28).

   The same seed gives the same bytes on every machine. Addition, subtraction, multiplication,
   division and sqrt are rounded exactly as IEEE 754 says, sin or pow are not, so we use only the
   first five, in double. One thing can still spoil it: a compiler may contract a*b+c into one
   instruction that rounds once instead of twice. -ffp-contract=off forbids it, and so does the
   pragma below where the compiler knows it. (gcc does not, but keeps from contracting under
   -std=c11; under -std=gnu11 on a machine with FMA it needs the flag.) */

#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

enum { SIDE = 28, PIXELS = SIDE * SIDE };

/* Half the width of a stroke in pixels, calibrated: with this radius and seed 1, PCA with 18
   components, fitted to the 20,000 training pictures, leaves 5.90 squared error per test picture
   (summed over the pixels, white = 1), the figure that Hinton & Salakhutdinov report on theirs. The
   error grows by about 0.014 for every 0.001 pixels; seeds 2 and 3 give 5.85 and 5.94. PCA
   with 6 components leaves 7.51. */
#define RADIUS 0.506

/* The points lie in the middle 20 x 20 pixels, as the digits of MNIST do. A Bezier curve stays
   inside the triangle of its points, so no stroke is cut off by the edge as long as its radius is
   under the margin. */
#define MARGIN 4

/* --- random numbers ---------------------------------------------------------------------- */

/* xoshiro256** 1.0 by David Blackman and Sebastiano Vigna (2018), seeded by Vigna's splitmix64
   (2015), both given to the public domain: https://prng.di.unimi.it. The state is ours to hold:
   same seed, same stream. */
struct rng {
    uint64_t s[4];
};

static uint64_t rotate_left(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

static void rng_seed(struct rng *g, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        g->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rng_next(struct rng *g) {
    uint64_t *s = g->s, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Uniform in [0,1): the upper 53 bits, as many as a double holds. */
static double rng_uniform(struct rng *g) {
    return (double)(rng_next(g) >> 11) * 0x1p-53;
}

/* --- the drawing ------------------------------------------------------------------------- */

/* Three random points. Each coordinate is cut to a multiple of 1/2^24, which a float holds exactly:
   so the six numbers in the file are the very ones behind the picture. (Rounding to float and back
   would say the same, but gcc 12 at -O3 leaves it out for some of the six.) */
static void random_points(double p[6], struct rng *g) {
    const double margin = (double)MARGIN / SIDE;
    for (int i = 0; i < 6; i++) {
        double x = margin + (1 - 2 * margin) * rng_uniform(g);
        p[i] = (double)(int32_t)(x * 0x1p24) * 0x1p-24;
    }
}

/* Draws the curve of p = x0 y0 x1 y1 x2 y2 (in [0,1]) with a stroke of the given radius in pixels.
   A pixel is white where its centre lies deep enough inside the stroke, black outside, and between
   the two it fades over one pixel: 255 * (radius + 1/2 - distance). For the distance we cut the
   curve into 64 straight pieces. Its second derivative is 2 (p0 - 2 p1 + p2), so a piece is off by
   at most |p0 - 2 p1 + p2| / (4 * 64^2), less than 0.005 pixels. Each piece looks only at the
   pixels near it, which is what makes the drawing fast. */
static void draw_curve(unsigned char pixel[PIXELS], const double p[6], double radius) {
    enum { PIECES = 64 };
    const double reach = radius + 0.5; /* beyond this distance a pixel is black */
    double near2[PIXELS]; /* squared distance of the pixel's centre from the curve so far */
    for (int i = 0; i < PIXELS; i++)
        near2[i] = reach * reach;

    double ax = SIDE * p[0], ay = SIDE * p[1]; /* the piece runs from a to b, in pixels */
    for (int k = 1; k <= PIECES; k++) {
        double t = (double)k / PIECES, w0 = (1 - t) * (1 - t), w1 = 2 * t * (1 - t), w2 = t * t;
        double bx = SIDE * (w0 * p[0] + w1 * p[2] + w2 * p[4]);
        double by = SIDE * (w0 * p[1] + w1 * p[3] + w2 * p[5]);
        double dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;

        /* Columns and rows whose centres (col + 1/2, row + 1/2) can be within reach. */
        double left = (ax < bx ? ax : bx) - reach - 0.5, right = (ax > bx ? ax : bx) + reach - 0.5;
        double top = (ay < by ? ay : by) - reach - 0.5, bottom = (ay > by ? ay : by) + reach - 0.5;
        for (int row = top > 0 ? (int)top : 0; row < SIDE && row <= bottom; row++)
            for (int col = left > 0 ? (int)left : 0; col < SIDE && col <= right; col++) {
                /* u says where on the piece the nearest point is: 0 at a, 1 at b. */
                double cx = col + 0.5 - ax, cy = row + 0.5 - ay;
                double u = length2 > 0 ? (cx * dx + cy * dy) / length2 : 0;
                u = u < 0 ? 0 : u > 1 ? 1 : u;
                double ex = cx - u * dx, ey = cy - u * dy, distance2 = ex * ex + ey * ey;
                if (distance2 < near2[row * SIDE + col])
                    near2[row * SIDE + col] = distance2;
            }
        ax = bx;
        ay = by;
    }

    for (int i = 0; i < PIXELS; i++) {
        double light = reach - sqrt(near2[i]);
        pixel[i] = (unsigned char)(255 * (light < 1 ? light : 1) + 0.5);
    }
}

/* --- the files --------------------------------------------------------------------------- */

enum { FILES = 4 };
static const char *const file_name[FILES] = {"train-images-idx3-ubyte", "train-points-idx2-float",
                                             "t10k-images-idx3-ubyte", "t10k-points-idx2-float"};

/* IDX numbers are big-endian, whatever this machine is. */
static void put32(FILE *f, uint32_t x) {
    for (int shift = 24; shift >= 0; shift -= 8)
        putc((int)(x >> shift & 255), f);
}

static void put_float(FILE *f, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put32(f, bits);
}

/* Writes `count` curves as one file of pictures and one of points. What goes wrong is left in the
   streams' error flags, to be seen when they are closed. */
static void write_curves(FILE *images, FILE *points, uint32_t count, uint64_t seed, double radius) {
    struct rng g;
    rng_seed(&g, seed);
    put32(images, 0x00000803); /* bytes, in three dimensions */
    put32(images, count);
    put32(images, SIDE);
    put32(images, SIDE);
    put32(points, 0x00000d02); /* floats, in two dimensions */
    put32(points, count);
    put32(points, 6);
    for (uint32_t n = 0; n < count && !ferror(images) && !ferror(points); n++) {
        double p[6];
        unsigned char pixel[PIXELS];
        random_points(p, &g);
        draw_curve(pixel, p, radius);
        fwrite(pixel, 1, sizeof pixel, images);
        for (int i = 0; i < 6; i++)
            put_float(points, (float)p[i]);
    }
}

/* Makes a folder and those above it. Returns 0, or -1 with errno set. (Should a file have that
   name, opening something below it will tell.) */
static int make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed)
            return -1;
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : -1;
}

static int complain(const char *path, int error) {
    const char *advice = error == ENOSPC    ? "free some space"
                         : error == ENOTDIR ? "a file stands where a folder should be, move it away"
                                            : "choose another folder with --out";
    fprintf(stderr, "curves: %s: %s; %s\n", path, strerror(error), advice);
    return 1;
}

/* Makes all four files under temporary names and renames them only when all are complete: a reader
   never finds half a file. Returns the exit status. */
static int make_files(char *out, uint32_t train, uint32_t test, uint64_t seed, double radius) {
    if (make_folders(out) != 0)
        return complain(out, errno);

    FILE *f[FILES] = {0};
    char *path[FILES], *temporary[FILES];
    size_t room = strlen(out) + 64;
    for (int i = 0; i < FILES; i++) {
        path[i] = malloc(room);
        temporary[i] = malloc(room);
        if (!path[i] || !temporary[i]) {
            fprintf(stderr, "curves: out of memory\n");
            return 1; /* nothing is written yet, and the system frees the rest */
        }
        snprintf(path[i], room, "%s/%s", out, file_name[i]);
        snprintf(temporary[i], room, "%s.tmp", path[i]);
    }

    int error = 0, at = 0; /* the first thing that went wrong, and with which file */
    for (int i = 0; i < FILES && !error; i++) {
        errno = 0;
        f[i] = fopen(temporary[i], "wb");
        if (!f[i])
            error = errno, at = i;
    }
    /* Two seeds, so that the test curves do not depend on how many training curves were asked for.
     */
    if (!error) {
        errno = 0;
        write_curves(f[0], f[1], train, 2 * seed, radius);
        write_curves(f[2], f[3], test, 2 * seed + 1, radius);
    }
    for (int i = 0; i < FILES; i++) {
        if (!f[i])
            continue;
        int bad = ferror(f[i]);
        if ((fclose(f[i]) != 0 || bad) && !error)
            error = errno ? errno : EIO, at = i;
    }
    for (int i = 0; i < FILES && !error; i++)
        if (rename(temporary[i], path[i]) != 0)
            error = errno, at = i;
    if (error)
        for (int i = 0; i < FILES; i++)
            if (f[i])
                unlink(temporary[i]);

    int status = error ? complain(path[at], error) : 0;
    for (int i = 0; i < FILES; i++) {
        free(path[i]);
        free(temporary[i]);
    }
    return status;
}

/* --- options and main -------------------------------------------------------------------- */

static int usage_error(const char *what, const char *option) {
    fprintf(stderr, "curves: %s %s; try --help\n", option, what);
    return 2;
}

/* A whole number from low to high; returns 0 where the text is anything else. */
static int parse_whole(uint64_t *value, const char *text, uint64_t low, uint64_t high) {
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    *value = x;
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && x >= low && x <= high;
}

int main(int argc, char **argv) {
    const char *out = "build/curves";
    uint64_t train = 20000, test = 10000, seed = 1;
    double radius = RADIUS;

    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *value = argv[i + 1];
        if (strcmp(option, "--help") == 0) {
            printf("usage: curves [options]\n"
                   "Draws random curves and keeps the six true numbers behind each.\n"
                   "  --out DIR    folder for the four IDX files (default %s)\n"
                   "  --train N    training curves (default 20000)\n"
                   "  --test N     test curves (default 10000)\n"
                   "  --seed N     the same seed draws the same curves (default 1)\n"
                   "  --radius PX  half the stroke's width in pixels, up to %d (default %g)\n",
                   "build/curves", MARGIN - 1, RADIUS);
            return fflush(stdout) == 0 ? 0 : complain("standard output", errno);
        }
        int is_out = strcmp(option, "--out") == 0, is_train = strcmp(option, "--train") == 0;
        int is_test = strcmp(option, "--test") == 0, is_seed = strcmp(option, "--seed") == 0;
        int is_radius = strcmp(option, "--radius") == 0;
        if (!is_out && !is_train && !is_test && !is_seed && !is_radius)
            return usage_error("is not an option", option);
        if (!value)
            return usage_error("needs a value", option);
        i++;
        if (is_out) {
            if (!value[0])
                return usage_error("needs the name of a folder", option);
            out = value;
        } else if (is_radius) {
            char *end;
            radius = strtod(value, &end);
            if (end == value || *end || !(radius > 0 && radius <= MARGIN - 1))
                return usage_error("needs a number of pixels above 0 and up to 3", option);
        } else if (is_seed) {
            if (!parse_whole(&seed, value, 0, UINT64_MAX / 2))
                return usage_error("needs a whole number from 0 to 9223372036854775807", option);
        } else if (!parse_whole(is_train ? &train : &test, value, 1, 10000000)) {
            return usage_error("needs a whole number from 1 to 10000000", option);
        }
    }

    char *folder = malloc(strlen(out) + 1);
    if (!folder) {
        fprintf(stderr, "curves: out of memory\n");
        return 1;
    }
    strcpy(folder, out);
    int status = make_files(folder, (uint32_t)train, (uint32_t)test, seed, radius);
    if (status == 0) {
        printf("%s: %llu curves to train on and %llu to test\n", folder, (unsigned long long)train,
               (unsigned long long)test);
        if (fflush(stdout) != 0)
            status = complain("standard output", errno);
    }
    free(folder);
    return status;
}
