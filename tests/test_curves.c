/* Tests of build/bin/curves: the files, what the pictures show, that they are the same everywhere,
   and errors. The drawing is judged by a slow one that works differently, so that both would have
   to be wrong alike. */
#define _POSIX_C_SOURCE 200809L
#include "run.h"

#include <math.h>

/* The program itself too, for its generator and its drawing. */
#define main curves_main
#include "../src/curves.c"
#undef main

static unsigned char bytes[4000000]; /* the file that load() read last, and its size */
static size_t size;

static void load(const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s", scratch(), folder, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
}

/* FNV-1a, 64 bits: any change of a byte changes it. */
static uint64_t hash(const unsigned char *data, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h;
}

static uint32_t get32(size_t at) {
    assert_true(at + 4 <= size);
    return (uint32_t)bytes[at] << 24 | (uint32_t)bytes[at + 1] << 16 |
           (uint32_t)bytes[at + 2] << 8 | bytes[at + 3];
}

static double get_float(size_t at) {
    uint32_t bits = get32(at);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void draw(const char *folder, const char *options) {
    struct run r = run("build/bin/curves --out '%s/%s' %s", scratch(), folder, options);
    if (r.status != 0)
        fail_msg("curves %s ended with %d: %s", options, r.status, r.err);
    assert_string_equal(r.err, "");
}

/* The outputs that Blackman and Vigna's own program gives from the state 1, 2, 3, 4; and the first
   that splitmix64 gives from the seed 1234567. */
static void test_generator(void **state) {
    (void)state;
    struct rng g = {{1, 2, 3, 4}};
    const uint64_t expected[] = {11520u, 0u, 1509978240u, 1215971899390074240u};
    for (int i = 0; i < 4; i++)
        assert_true(rng_next(&g) == expected[i]);
    rng_seed(&g, 1234567);
    assert_true(g.s[0] == 6457827717110365317u);
    assert_true(g.s[1] == 3203168211198807973u);
    for (int i = 0; i < 1000; i++) {
        double u = rng_uniform(&g);
        assert_true(u >= 0 && u < 1);
    }
}

/* The bytes of a small run, which must be these with every compiler and on every machine. */
static void test_known_bytes(void **state) {
    (void)state;
    const uint64_t expected[FILES] = {0x861c6fca592e184fu, 0x890bc8ef58d7a9e0u, 0xac135f05ee1d9040u,
                                      0xd9c74fd9e71c1d22u};
    draw("known", "--train 300 --test 100 --seed 7");
    for (int i = 0; i < FILES; i++) {
        load("known", file_name[i]);
        if (hash(bytes, size) != expected[i])
            fail_msg("%s: hash 0x%016llx, not 0x%016llx", file_name[i],
                     (unsigned long long)hash(bytes, size), (unsigned long long)expected[i]);
    }
}

static void test_same_and_different(void **state) {
    (void)state;
    draw("one", "--train 20 --test 10 --seed 3");
    draw("two", "--train 20 --test 10 --seed 3");
    draw("more", "--train 40 --test 30 --seed 3");
    draw("other", "--train 20 --test 10 --seed 4");
    for (int i = 0; i < FILES; i++) {
        load("one", file_name[i]);
        size_t n = size, header = i % 2 ? 12 : 16;
        uint64_t whole = hash(bytes, n), body = hash(bytes + header, n - header);
        load("two", file_name[i]);
        assert_true(size == n && hash(bytes, n) == whole);
        /* Asking for more curves begins with the same ones, in the test set too. */
        load("more", file_name[i]);
        assert_true(size > n && hash(bytes + header, n - header) == body);
        load("other", file_name[i]);
        assert_true(size == n && hash(bytes + header, n - header) != body);
    }
    /* The test curves are none of the training curves. */
    load("one", "t10k-points-idx2-float");
    uint64_t test = hash(bytes + 12, 24);
    load("more", "train-points-idx2-float");
    for (int i = 0; i < 40; i++)
        assert_true(hash(bytes + 12 + 24 * (size_t)i, 24) != test);
}

static void test_headers(void **state) {
    (void)state;
    draw("headers/deep/er", "--train 300 --test 7");
    for (int set = 0; set < 2; set++) {
        uint32_t count = set ? 7 : 300;
        load("headers/deep/er", file_name[2 * set]);
        assert_int_equal(get32(0), 0x803);
        assert_int_equal(get32(4), count);
        assert_int_equal(get32(8), 28);
        assert_int_equal(get32(12), 28);
        assert_int_equal(size, 16 + 784 * count);
        load("headers/deep/er", file_name[2 * set + 1]);
        assert_int_equal(get32(0), 0xd02);
        assert_int_equal(get32(4), count);
        assert_int_equal(get32(8), 6);
        assert_int_equal(size, 12 + 24 * count);
    }
}

/* The points fill the middle 20 x 20 pixels evenly: inside, close to each edge, right mean and
 * variance. */
static void test_points(void **state) {
    (void)state;
    enum { N = 5000 };
    draw("points", "--train 5000 --test 1");
    load("points", "train-points-idx2-float");
    for (size_t k = 0; k < 6; k++) {
        double sum = 0, squares = 0, low = 1, high = 0;
        for (size_t n = 0; n < N; n++) {
            double x = get_float(12 + 24 * n + 4 * k);
            sum += x;
            squares += x * x;
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        double mean = sum / N, variance = squares / N - mean * mean, width = 20.0 / 28;
        assert_true(low >= 4.0 / 28 - 1e-7 && low < 4.1 / 28);
        assert_true(high < 24.0 / 28 && high > 23.9 / 28);
        assert_true(fabs(mean - 0.5) < 0.015);
        assert_true(fabs(variance / (width * width / 12) - 1) < 0.06);
    }
}

/* Draws each curve again from its stored points, with 4,000 dots in place of 64 straight pieces. */
static void test_pictures(void **state) {
    (void)state;
    enum { N = 30 };
    static double p[N][6];
    const char *radius[] = {"0.506", "1.7"};
    for (int which = 0; which < 2; which++) {
        char options[64];
        snprintf(options, sizeof options, "--train %d --test 1 --seed 5 --radius %s", N,
                 radius[which]);
        draw("pictures", options);
        load("pictures", "train-points-idx2-float");
        for (size_t n = 0; n < N; n++)
            for (size_t k = 0; k < 6; k++)
                p[n][k] = get_float(12 + 24 * n + 4 * k);
        load("pictures", "train-images-idx3-ubyte");
        for (size_t n = 0; n < N; n++) {
            static double nearest[784];
            for (int i = 0; i < 784; i++)
                nearest[i] = 1e9;
            for (int dot = 0; dot <= 4000; dot++) {
                double t = dot / 4000.0, c[2];
                for (int d = 0; d < 2; d++) { /* de Casteljau: halfway points of halfway points */
                    double a = p[n][d] + t * (p[n][2 + d] - p[n][d]);
                    double b = p[n][2 + d] + t * (p[n][4 + d] - p[n][2 + d]);
                    c[d] = 28 * (a + t * (b - a));
                }
                for (int i = 0; i < 784; i++) {
                    double distance = hypot(i % 28 + 0.5 - c[0], i / 28 + 0.5 - c[1]);
                    nearest[i] = distance < nearest[i] ? distance : nearest[i];
                }
            }
            int brightest = 0;
            for (int i = 0; i < 784; i++) {
                double light = strtod(radius[which], NULL) + 0.5 - nearest[i];
                double level = 255 * (light < 0 ? 0 : light > 1 ? 1 : light);
                int pixel = bytes[16 + 784 * n + (size_t)i];
                if (fabs(pixel - level) > 2)
                    fail_msg("picture %d, pixel %d is %d, not %.1f", (int)n, i, pixel, level);
                brightest = pixel > brightest ? pixel : brightest;
                if (i < 56 || i >= 728 || i % 28 < 2 || i % 28 >= 26)
                    assert_int_equal(pixel, 0); /* nothing is cut off by the edge */
            }
            assert_true(brightest > 100);
        }
    }
}

/* Three points in one place, and three on a line: no division by zero, and a picture all the same.
 */
static void test_degenerate(void **state) {
    (void)state;
    unsigned char pixel[PIXELS];
    const double dot[6] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5},
                 line[6] = {0.25, 0.5, 0.5, 0.5, 0.75, 0.5};
    draw_curve(pixel, dot, 1.0);
    int sum = 0;
    for (int i = 0; i < PIXELS; i++)
        sum += pixel[i];
    assert_int_equal(sum, 4 * pixel[13 * 28 + 13]); /* the four pixels around the middle */
    assert_int_equal(pixel[14 * 28 + 14], (int)(255 * (1.5 - sqrt(0.5)) + 0.5));
    draw_curve(pixel, line, 1.0);
    for (int col = 8; col < 20; col++)
        assert_int_equal(pixel[14 * 28 + col], 255);
    assert_int_equal(pixel[16 * 28 + 14], 0);
}

/* A run that cannot write says so in one line, leaves nothing of its own and what was there as it
 * was. */
static void test_failures(void **state) {
    (void)state;
    draw("kept", "--train 5 --test 5 --seed 1");
    load("kept", file_name[0]);
    uint64_t before = hash(bytes, size);
    for (int i = 0; i < FILES && access("/dev/full", W_OK) == 0; i++) {
        struct run r = run("ln -s /dev/full '%s/kept/%s.tmp' && build/bin/curves --train 9 --seed "
                           "2 --out '%s/kept'",
                           scratch(), file_name[i], scratch());
        assert_int_equal(r.status, 1);
        assert_int_equal(count_lines(r.err), 1);
        assert_contains(r.err, "No space left on device");
        assert_contains(r.err, file_name[i]);
        r = run("ls '%s/kept' | wc -l", scratch());
        assert_int_equal(atoi(r.out), FILES);
        load("kept", file_name[0]);
        assert_true(hash(bytes, size) == before);
    }

    put("file", "not a folder");
    const char *folder[] = {"file", "file/below"};
    for (int i = 0; i < 2; i++) {
        struct run r = run("build/bin/curves --out '%s/%s'", scratch(), folder[i]);
        assert_int_equal(r.status, 1);
        assert_int_equal(count_lines(r.err), 1);
        assert_contains(r.err, "a file stands where a folder should be");
    }
    if (getuid() != 0) { /* nothing is closed to root */
        struct run r =
            run("mkdir '%s/closed' && chmod 555 '%s/closed' && build/bin/curves --out '%s/closed'",
                scratch(), scratch(), scratch());
        assert_int_equal(r.status, 1);
        assert_int_equal(count_lines(r.err), 1);
        assert_contains(r.err, "choose another folder with --out");
    }
    struct run r =
        run("mkdir -p '%s/taken/%s' && build/bin/curves --train 5 --test 5 --out '%s/taken'",
            scratch(), file_name[0], scratch());
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    r = run("ls '%s/taken'", scratch());
    assert_null(strstr(r.out, ".tmp"));
    if (access("/dev/full", W_OK) == 0) {
        r = run("build/bin/curves --help >/dev/full");
        assert_int_equal(r.status, 1);
        assert_int_equal(count_lines(r.err), 1);
    }
}

static void test_options(void **state) {
    (void)state;
    const char *bad[] = {"--bogus",      "extra",        "--train",
                         "--train 0",    "--train -3",   "--train 5x",
                         "--train ''",   "--test 1e3",   "--seed -1",
                         "--seed x",     "--radius 0",   "--radius 3.1",
                         "--radius nan", "--radius 1px", "--radius ''",
                         "--out ''",     "--out",        "--train 18446744073709551617"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct run r = run("cd '%s' && ../../bin/curves %s", scratch(), bad[i]);
        if (r.status != 2 || count_lines(r.err) != 1)
            fail_msg("curves %s ended with %d and: %s", bad[i], r.status, r.err);
        assert_contains(r.err, "try --help");
    }
    struct run r = run("ls '%s/build'", scratch());
    assert_int_not_equal(r.status, 0); /* none of them drew anything */

    r = run("build/bin/curves --help");
    assert_int_equal(r.status, 0);
    const char *option[] = {"--out DIR", "--train N", "--test N", "--seed N", "--radius PX"};
    for (size_t i = 0; i < sizeof option / sizeof *option; i++)
        assert_contains(r.out, option[i]);
    assert_contains(r.out, "build/curves");

    /* A wider stroke is brighter. */
    draw("thin", "--train 5 --test 1 --radius 0.3");
    load("thin", file_name[0]);
    long thin = 0, wide = 0;
    for (size_t i = 16; i < size; i++)
        thin += bytes[i];
    draw("wide", "--train 5 --test 1 --radius 3");
    load("wide", file_name[0]);
    for (size_t i = 16; i < size; i++)
        wide += bytes[i];
    assert_true(wide > 2 * thin && thin > 0);
}

int main(void) {
    run_h_uses_all();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator),
        cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_same_and_different),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_degenerate),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests_name("curves", tests, NULL, remove_scratch);
}
