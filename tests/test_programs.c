/* test_programs.c: the chapters' programs as a student runs them, above all with what goes wrong:
   data that are missing, cut short or foreign, options that make no sense, disks that are full,
   Ctrl-C. Each program found under chapters/ is put through all of it, so a new chapter is tested
   without a word here. */
#include "run.h"

#include <glob.h>
#include <zlib.h>

enum { MAX_PROGRAMS = 32, TRAIN = 300, TEST = 100, PIXELS = 784 };
static char program[MAX_PROGRAMS][64]; /* build/bin/encoder ... */
static char folder[MAX_PROGRAMS][64];  /* 01-encoder ... */
static char help[MAX_PROGRAMS][8192];
static int programs;

/* --- small data ------------------------------------------------------------------ */

static unsigned char train_pixels[TRAIN * PIXELS], test_pixels[TEST * PIXELS];
static unsigned char train_labels[TRAIN], test_labels[TEST];

static void read_prefix(unsigned char *bytes, size_t n, size_t header, const char *path) {
    gzFile f = gzopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(gzseek(f, (z_off_t)header, SEEK_SET), header);
    assert_int_equal(gzread(f, bytes, (unsigned)n), n);
    gzclose(f);
}

/* An IDX file in memory: `count` as the header claims it, then n bytes of data. Returns its length.
 */
static size_t idx(unsigned char *file, uint32_t magic, uint32_t count, uint32_t side,
                  const unsigned char *data, size_t n) {
    uint32_t word[4] = {magic, count, side, side};
    size_t at = 0;
    for (size_t i = 0; i < (magic == 0x803 ? 4u : 2u); i++)
        for (int shift = 24; shift >= 0; shift -= 8)
            file[at++] = (unsigned char)(word[i] >> shift);
    memcpy(file + at, data, n);
    return at + n;
}

static unsigned char buffer[16 + TRAIN * PIXELS + 16];

static void put_images(const char *dir, const char *set, uint32_t magic, uint32_t count,
                       uint32_t side, const unsigned char *data, size_t n) {
    char name[128];
    snprintf(name, sizeof name, "%s/%s-images-idx3-ubyte", dir, set);
    put_bytes(name, buffer, idx(buffer, magic, count, side, data, n));
}

static void put_labels(const char *dir, const char *set, uint32_t count, const unsigned char *data,
                       size_t n) {
    char name[128];
    snprintf(name, sizeof name, "%s/%s-labels-idx1-ubyte", dir, set);
    put_bytes(name, buffer, idx(buffer, 0x801, count, 0, data, n));
}

/* A folder of small, faultless data, with the true coordinates that curves have. */
static void put_data(const char *dir) {
    put_images(dir, "train", 0x803, TRAIN, 28, train_pixels, sizeof train_pixels);
    put_images(dir, "t10k", 0x803, TEST, 28, test_pixels, sizeof test_pixels);
    put_labels(dir, "train", TRAIN, train_labels, TRAIN);
    put_labels(dir, "t10k", TEST, test_labels, TEST);
    struct run r =
        run("build/bin/curves --out '%s/points' --train %d --test %d >/dev/null && "
            "cp '%s/points/train-points-idx2-float' '%s/points/t10k-points-idx2-float' '%s/%s/'",
            scratch(), TRAIN, TEST, scratch(), scratch(), scratch(), dir);
    assert_int_equal(r.status, 0);
}

/* Both image files of a folder, with the same fault. */
static void put_fault(const char *dir, uint32_t magic, uint32_t count, uint32_t side, size_t n) {
    put_data(dir);
    put_images(dir, "train", magic, count, side, train_pixels, n);
    put_images(dir, "t10k", magic, count, side, train_pixels, n);
}

static int setup(void **state) {
    (void)state;
    glob_t found;
    if (glob("chapters/[0-9][0-9]-*/README.md", 0, NULL, &found) != 0)
        return -1;
    for (size_t i = 0; i < found.gl_pathc && programs < MAX_PROGRAMS; i++) {
        if (sscanf(found.gl_pathv[i], "chapters/%63[^/]/", folder[programs]) != 1)
            return -1;
        snprintf(program[programs], sizeof program[0], "build/bin/%.50s",
                 strchr(folder[programs], '-') + 1);
        struct run r = run("%s --help", program[programs]);
        snprintf(help[programs], sizeof help[0], "%.8000s", r.out);
        programs++;
    }
    globfree(&found);
    read_prefix(train_pixels, sizeof train_pixels, 16, "data/digits/train-images-idx3-ubyte.gz");
    read_prefix(test_pixels, sizeof test_pixels, 16, "data/digits/t10k-images-idx3-ubyte.gz");
    read_prefix(train_labels, sizeof train_labels, 8, "data/digits/train-labels-idx1-ubyte.gz");
    read_prefix(test_labels, sizeof test_labels, 8, "data/digits/t10k-labels-idx1-ubyte.gz");
    put_data("good");
    return 0;
}

/* Whether a program reads images. One that only measures the machine does not. */
static int reads(int p) {
    return strstr(help[p], "  --data ") != NULL;
}

/* The options that make a run of this program short, on the good data: one epoch, where it has
   epochs, and less of whatever else it does many times by default. */
static const char *briefly(int p) {
    static const char *const shorter[][2] = {
        {"--epochs ", "1"}, {"--images ", "200"}, {"--codes ", "2,6"},  {"--steps ", "30"},
        {"--runs ", "2"},   {"--draws ", "500"},  {"--weighted ", "2"}, {"--rounds ", "1"}};
    static char options[512];
    options[0] = 0;
    if (reads(p))
        snprintf(options, sizeof options, "--data '%s/good' ", scratch());
    for (size_t i = 0; i < sizeof shorter / sizeof *shorter; i++) {
        const char *name = shorter[i][0], *value = shorter[i][1], *at = strstr(help[p], name);
        size_t used = strlen(options);
        if (at && (strchr(value, ',') || atof(at + strlen(name)) > atof(value)))
            snprintf(options + used, sizeof options - used, "%s%s ", name, value);
    }
    return options;
}

/* Every program must refuse DIR with exit status 1 and one line that names the program, and says
 * `says`. */
static void refuse(const char *dir, const char *says) {
    for (int p = 0; p < programs; p++) {
        if (!reads(p))
            continue;
        struct run r = run("%s --out '%s/out' %s --data '%s/%s'", program[p], scratch(), briefly(p),
                           scratch(), dir);
        if (r.status != 1 || count_lines(r.err) != 1 || !strstr(r.err, says) ||
            strncmp(r.err, program[p] + strlen("build/bin/"),
                    strlen(program[p]) - strlen("build/bin/")) != 0)
            fail_msg("%s on %s: status %d, \"%s\" expected, said:\n%s", program[p], dir, r.status,
                     says, r.err);
        char left[128];
        snprintf(left, sizeof left, "%s/out/results.tsv", scratch());
        assert_int_not_equal(access(left, F_OK), 0);
    }
}

/* --- data ------------------------------------------------------------------------ */

static void refuses_missing_data(void **state) {
    (void)state;
    refuse("nowhere", "-images-idx3-ubyte, plain or .gz; name a folder of IDX files with --data");
    put("void/readme", "nothing here");
    refuse("void", "-images-idx3-ubyte, plain or .gz; name a folder of IDX files with --data");
}

static void refuses_empty_files(void **state) {
    (void)state;
    put_data("empty");
    put("empty/train-images-idx3-ubyte", "");
    put("empty/t10k-images-idx3-ubyte", "");
    refuse("empty", "ends within its header");
}

static void refuses_short_files(void **state) {
    (void)state;
    put_fault("short", 0x803, 250, 28, 41 * PIXELS + 5);
    refuse("short", "holds 41 images and 5 bytes, its header says 250 images");
}

static void refuses_huge_headers(void **state) {
    (void)state;
    put_fault("huge", 0x803, 4294967295u, 28, TRAIN * PIXELS);
    refuse("huge", "holds 300 images and 0 bytes, its header says 4294967295 images");
}

static void refuses_trailing_bytes(void **state) {
    (void)state;
    put_fault("long", 0x803, 100, 28, 100 * PIXELS + 1);
    refuse("long", "holds 100 images and 1 bytes, its header says 100 images");
}

static void refuses_no_images(void **state) {
    (void)state;
    put_fault("none", 0x803, 0, 28, 0);
    refuse("none", "holds 0 images and 0 bytes, its header says 0 images");
}

static void refuses_foreign_files(void **state) {
    (void)state;
    put_fault("magic", 0x801, 100, 28, 100 * PIXELS);
    refuse("magic", "begins with 0x00000801 and 0 x 0; an IDX file of images has 0x00000803");
    put_data("text");
    put("text/train-images-idx3-ubyte", "This is a text, not a picture.\n");
    put("text/t10k-images-idx3-ubyte", "This is a text, not a picture.\n");
    refuse("text", "an IDX file of images has 0x00000803");
}

static void refuses_other_sizes(void **state) {
    (void)state;
    put_fault("size", 0x803, 100, 32, 100 * 1024);
    refuse("size",
           "begins with 0x00000803 and 32 x 32; an IDX file of images has 0x00000803 and 28 x 28");
}

static void refuses_a_folder_for_a_file(void **state) {
    (void)state;
    put("folder/train-images-idx3-ubyte/x", "");
    put("folder/t10k-images-idx3-ubyte/x", "");
    refuse("folder", "Is a directory");
}

/* gzip's own two failures: cut short, and damaged. */
static void refuses_bad_gzip(void **state) {
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        const char *dir = damaged ? "damaged" : "cut";
        put_data(dir);
        struct run r = run("cd '%s/%s' && rm train-images* t10k-images*; for s in train t10k; do "
                           "gzip -c ../good/$s-images-idx3-ubyte > $s-images-idx3-ubyte.gz; done; "
                           "for f in *.gz; do %s; mv x $f; done",
                           scratch(), dir,
                           damaged ? "{ head -c 2000 $f; printf 'XXXXXXXX'; tail -c +2009 $f; } > x"
                                   : "head -c 3000 $f > x");
        assert_int_equal(r.status, 0);
        refuse(dir, "the file is damaged or cut short");
    }
}

static void refuses_wrong_labels(void **state) {
    (void)state;
    put_data("labels");
    put_labels("labels", "train", 77, train_labels, 77);
    put_labels("labels", "t10k", 77, train_labels, 77);
    refuse("labels", "holds 77 labels for");
    unsigned char strange[TRAIN] = {0};
    strange[5] = 10;
    put_data("strange");
    put_labels("strange", "train", TRAIN, strange, TRAIN);
    put_labels("strange", "t10k", TEST, strange, TEST);
    refuse("strange", "label 5 is 10");
}

/* The coordinates behind the curves, with all that can be wrong with them. A program that reads
   them says so in its help. */
static void refuses_wrong_coordinates(void **state) {
    (void)state;
    enum { GOOD = 12 + TEST * 24 };
    static unsigned char good[GOOD], bad[GOOD + 1];
    static const struct {
        const char *says;
        size_t at, length;
        unsigned char byte[4];
    } wrong[] = {
        {"an IDX file of curves has 0x00000d02", 0, GOOD, {0, 0, 8, 2}}, /* bytes, not floats */
        {"an IDX file of curves has 0x00000d02", 8, GOOD, {0, 0, 0, 7}}, /* columns */
        {"its header says 101 curves", 4, GOOD, {0, 0, 0, TEST + 1}},
        {"its header says 4294967295 curves", 4, GOOD, {255, 255, 255, 255}},
        {"and 1 bytes, its header says 100 curves", 0, GOOD + 1, {0, 0, 0x0d, 2}},
        {"holds 99 curves and 23 bytes, its header says 100", 0, GOOD - 1, {0, 0, 0x0d, 2}},
        {"ends within its header", 0, 11, {0, 0, 0x0d, 2}},
        {"ends within its header", 0, 0, {0, 0, 0x0d, 2}},
        {"holds 99 curves for 100 images", 4, GOOD - 24, {0, 0, 0, TEST - 1}},
        {"number 1 of curve 0 is nan", 16, GOOD, {0x7f, 0xc0, 0, 0}},
        {"number 0 of curve 1 is inf", 36, GOOD, {0x7f, 0x80, 0, 0}},
        {"number 2 of curve 1 is -0.5", 44, GOOD, {0xbf, 0, 0, 0}},
    };
    char path[128];
    put_data("coordinates");
    snprintf(path, sizeof path, "%s/coordinates/t10k-points-idx2-float", scratch());
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(good, 1, GOOD, f), GOOD);
    fclose(f);
    for (int p = 0; p < programs; p++)
        for (size_t k = 0; strstr(help[p], "coordinates") && k < sizeof wrong / sizeof *wrong;
             k++) {
            memcpy(bad, good, GOOD);
            memcpy(bad + wrong[k].at, wrong[k].byte, 4);
            put_bytes("coordinates/t10k-points-idx2-float", bad, wrong[k].length);
            struct run r = run("%s --out '%s/out' %s --data '%s/coordinates'", program[p],
                               scratch(), briefly(p), scratch());
            if (r.status != 1 || count_lines(r.err) != 1 || !strstr(r.err, wrong[k].says))
                fail_msg("%s: status %d, \"%s\" expected, said:\n%s", program[p], r.status,
                         wrong[k].says, r.err);
        }
}

/* --- options ---------------------------------------------------------------------- */

static void bad_options(const char *options, const char *needs) {
    for (int p = 0; p < programs; p++) {
        if (needs && !strstr(help[p], needs))
            continue;
        struct run r = run("%s %s", program[p], options);
        if (r.status != 2 || count_lines(r.err) != 1 || !strstr(r.err, "try --help"))
            fail_msg("%s %s: status %d, said:\n%s", program[p], options, r.status, r.err);
    }
}

static void refuses_bad_options(void **state) {
    (void)state;
    bad_options("--nonsense", NULL);
    bad_options("--nonsense 3", NULL);
    bad_options("stray", NULL);
    bad_options("--data", NULL);
    bad_options("--data ''", NULL);
    bad_options("--seed abc", NULL);
    bad_options("--seed -1", NULL);
    bad_options("--seed 1.5", NULL);
    bad_options("--seed ''", NULL);
    bad_options("--seed 1e300", NULL);
    bad_options("--threads 100000", NULL);
    bad_options("--epochs 0x10", "--epochs");
    bad_options("--epochs -3", "--epochs");
    bad_options("--batch 0", "--batch");
    bad_options("--batch 1e99", "--batch");
    bad_options("--rate nan", "--rate");
    bad_options("--rate inf", "--rate");
    bad_options("--rate -0.1", "--rate");
    bad_options("--rate 0", "--rate");
    bad_options("--layers 784,,6", "--layers");
    bad_options("--layers 784,0,6", "--layers");
    bad_options("--layers 784", "--layers");
    bad_options("--layers 785,6", "--layers");
    bad_options("--layers 784,6,", "--layers");
    bad_options("--activation bent", "--activation");
}

static void helps(void **state) {
    (void)state;
    for (int p = 0; p < programs; p++) {
        struct run r = run("%s --help", program[p]);
        assert_int_equal(r.status, 0);
        assert_contains(r.out, "--out");
        assert_contains(r.out, "--seed");
        assert_contains(r.out, "--threads");
        assert_string_equal(r.err, "");
    }
}

/* --- writing ----------------------------------------------------------------------- */

static void refuses_an_unusable_out(void **state) {
    (void)state;
    put("file", "in the way");
    for (int p = 0; p < programs; p++)
        for (int deeper = 0; deeper < 2; deeper++) {
            struct run r = run("%s --out '%s/file%s' %s", program[p], scratch(),
                               deeper ? "/deeper" : "", briefly(p));
            if (r.status != 1 || count_lines(r.err) != 1 ||
                !strstr(r.err, "name another folder with --out"))
                fail_msg("%s: status %d, said:\n%s", program[p], r.status, r.err);
        }
}

/* A full disk: the shell that becomes the program lets no file grow beyond one kilobyte, which
   clang's OpenMP needs for itself, and a write beyond that is an error instead of a signal. What
   the program says goes through a pipe, which is no file. */
static void a_full_disk_leaves_nothing(void **state) {
    (void)state;
    for (int p = 0; p < programs; p++) {
        struct run r =
            run("rm -rf '%s/full'; { (trap '' XFSZ; ulimit -f 2; exec %s --out '%s/full' "
                "%s >/dev/null) 2>&1; echo $?; } | cat",
                scratch(), program[p], scratch(), briefly(p));
        if (count_lines(r.out) != 2 || !strstr(r.out, "cannot be written") ||
            !strstr(r.out, "File too large") || !strstr(r.out, "\n1\n"))
            fail_msg("%s: said:\n%s", program[p], r.out);
        r = run("ls '%s/full'", scratch());
        assert_null(strstr(r.out, "results.tsv"));
        assert_null(strstr(r.out, ".tmp"));
        if (access("/dev/full", W_OK) != 0)
            continue;
        r = run("%s --out '%s/full' %s >/dev/full", program[p], scratch(), briefly(p));
        if (r.status != 1 || !strstr(r.err, "report on standard output could not be written"))
            fail_msg("%s: status %d, said:\n%s", program[p], r.status, r.err);
    }
}

/* --- running ------------------------------------------------------------------------ */

/* A short run on small data: the results are there, no temporary file is, and it can be repeated to
   the last digit, with one thread and with several. Seconds and memory may differ. */
static void runs_and_repeats(void **state) {
    (void)state;
    for (int p = 0; p < programs; p++) {
        for (int turn = 1; reads(p) && turn <= 3; turn++) {
            struct run r = run("%s --out '%s/turn%d' %s --threads %d", program[p], scratch(), turn,
                               briefly(p), turn);
            if (r.status != 0)
                fail_msg("%s: status %d, said:\n%s", program[p], r.status, r.err);
        }
        if (!reads(p)) /* what is measured is never the same twice */
            continue;
        struct run r = run(
            "cd '%s' && ls turn1/results.tsv && ! ls turn1/*.tmp 2>/dev/null && for t in 1 2 3; do "
            "grep -v -e second -e memory turn$t/results.tsv > same$t; done; test -s same1 && cmp "
            "same1 same2 && "
            "cmp same1 same3; s=$?; rm -rf turn?; exit $s",
            scratch());
        if (r.status != 0)
            fail_msg("%s does not repeat:\n%s%s", program[p], r.out, r.err);
    }
}

/* Another seed must give another run: otherwise the test above could not fail. */
static void the_seed_matters(void **state) {
    (void)state;
    if (getenv("QUICK")) /* as with the sanitizers: the same runs once more would find nothing */
        skip();
    for (int p = 0; p < programs; p++) {
        if (!reads(p))
            continue;
        struct run r =
            run("for s in 1 2; do %s --out '%s/seed'$s %s --seed $s >/dev/null || exit "
                "9; grep -v -e second -e memory '%s/seed'$s/results.tsv > "
                "'%s/only'$s; done; cmp '%s/only1' '%s/only2'",
                program[p], scratch(), briefly(p), scratch(), scratch(), scratch(), scratch());
        if (r.status != 1)
            fail_msg("%s: the seed changes nothing (%d)\n%s", program[p], r.status, r.err);
    }
}

/* Ctrl-C in the middle of a long run: what was learned so far is reported and written. Programs
   without epochs are done before anybody could press it. */
static void survives_interruption(void **state) {
    (void)state;
    for (int p = 0; p < programs; p++) {
        if (!strstr(help[p], "--epochs"))
            continue;
        struct run r =
            run("%s --out '%s/stopped' %s --epochs 100000 > '%s/said' & pid=$!; sleep 2; kill -INT "
                "$pid; wait $pid",
                program[p], scratch(), briefly(p), scratch());
        if (r.status != 130)
            fail_msg("%s: status %d after an interruption, said:\n%s", program[p], r.status, r.err);
        r = run("test -s '%s/stopped/results.tsv' && ! ls '%s'/stopped/*.tmp 2>/dev/null; s=$?; rm "
                "-rf '%s/stopped'; exit $s",
                scratch(), scratch(), scratch());
        if (r.status != 0)
            fail_msg("%s left no results, or half a file, after an interruption:\n%s", program[p],
                     r.out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(helps),
        cmocka_unit_test(refuses_missing_data),
        cmocka_unit_test(refuses_empty_files),
        cmocka_unit_test(refuses_short_files),
        cmocka_unit_test(refuses_huge_headers),
        cmocka_unit_test(refuses_trailing_bytes),
        cmocka_unit_test(refuses_no_images),
        cmocka_unit_test(refuses_foreign_files),
        cmocka_unit_test(refuses_other_sizes),
        cmocka_unit_test(refuses_a_folder_for_a_file),
        cmocka_unit_test(refuses_bad_gzip),
        cmocka_unit_test(refuses_wrong_labels),
        cmocka_unit_test(refuses_wrong_coordinates),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(refuses_an_unusable_out),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(runs_and_repeats),
        cmocka_unit_test(the_seed_matters),
        cmocka_unit_test(survives_interruption),
    };
    return cmocka_run_group_tests(tests, setup, remove_scratch);
}
