/* test_weights.c: chapter 5's files and pictures with all that can be wrong with them. Weights that
   are cut short, foreign or nonsense are refused with one line, whatever their bytes are; drawings
   may be of any kind; nothing is left half written. */
#define WORKBOOK_TEST
#include "../chapters/05-autoencoder/autoencoder.c"

#include "run.h"

/* --- reading in a child ----------------------------------------------------------- */
/* The program ends when it refuses a file. So each file is read by a child, and we look at its
   status and at what it said. */

static const size_t sizes[] = {5, 4, 2};
static unsigned char good[4096]; /* a file that is right, in its parts */
static size_t good_size, good_header;

static char said[4096];

/* What a child has not given back when it refuses a file is no leak. */
static void leave(void) {
    _exit(1);
}

static int load_in_child(const char *path) {
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        atexit(leave);
        alarm(20); /* a reader that hangs is a fault, too */
        struct network net = network_new(sizes, 3, 1, RELU, 1);
        for (size_t k = 0; k < net.parameters; k++)
            net.value[k] = 7;
        load_weights(&net, path);
        for (size_t k = 0; k < net.parameters; k++)
            if (!isfinite(net.value[k]))
                _exit(99);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got = 1; got > 0 && length<sizeof said - 1; length += got> 0 ? (size_t)got : 0)
        got = read(ends[0], said + length, sizeof said - 1 - length);
    said[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Reads these bytes as a file of weights. */
static int load_bytes(const void *bytes, size_t n) {
    put_bytes("w.safetensors", bytes, n);
    char path[128];
    snprintf(path, sizeof path, "%s/w.safetensors", scratch());
    return load_in_child(path);
}

/* One line, with the program's name, the file's and a reason. */
static int refused_well(int status) {
    return status == 1 && count_lines(said) == 1 && strncmp(said, "autoencoder: ", 13) == 0 &&
           strstr(said, ".safetensors: ");
}

static void refused(const void *bytes, size_t n, const char *says) {
    int status = load_bytes(bytes, n);
    if (!refused_well(status) || !strstr(said, says))
        fail_msg("status %d, \"%s\" expected, said:\n%s", status, says, said);
}

/* A file with this header and so many bytes of data, all 0x3c: each float is 0.0115. */
static size_t compose(unsigned char *file, const char *header, size_t data) {
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(file + 8, header, length);
    memset(file + 8 + length, 0x3c, data);
    return 8 + length + data;
}

/* The header of the good file with `from` replaced by `to`, before data as in the good file. */
static void refused_header(const char *from, const char *to, const char *says) {
    static char header[4096];
    static unsigned char file[8192];
    memcpy(header, good + 8, good_header);
    header[good_header] = 0;
    char *at = strstr(header, from);
    assert_non_null(at);
    char rest[4096];
    strcpy(rest, at + strlen(from));
    strcpy(at, to);
    strcat(header, rest);
    refused(file, compose(file, header, good_size - 8 - good_header), says);
}

static int setup(void **state) {
    (void)state;
    struct network net = network_new(sizes, 3, 1, RELU, 1);
    struct random r;
    random_seed(&r, 1);
    network_start(&net, &r);
    char path[128];
    snprintf(path, sizeof path, "%s/good.safetensors", scratch());
    save_weights(&net, path);
    free(net.value);
    unsigned char *bytes = read_file(&good_size, path, sizeof good);
    memcpy(good, bytes, good_size);
    free(bytes);
    good_header = good[0] + 256u * good[1];
    return 0;
}

static void loads_what_is_right(void **state) {
    (void)state;
    assert_int_equal(load_bytes(good, good_size), 0);
    assert_string_equal(said, "");
    /* As PyTorch's safetensors writes it: in the order of the alphabet. */
    static unsigned char file[8192];
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"decoder.0.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
        "\"decoder.0.weight\":{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[16,48]},"
        "\"decoder.2.bias\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[48,68]},"
        "\"decoder.2.weight\":{\"dtype\":\"F32\",\"shape\":[5,4],\"data_offsets\":[68,148]},"
        "\"encoder.0.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[148,164]},"
        "\"encoder.0.weight\":{\"dtype\":\"F32\",\"shape\":[4,5],\"data_offsets\":[164,244]},"
        "\"encoder.2.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[244,252]},"
        "\"encoder.2.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[252,284]}}  ";
    int status = load_bytes(file, compose(file, header, 284));
    if (status != 0)
        fail_msg("status %d, said %s", status, said);
}

static void refuses_files_cut_short(void **state) {
    (void)state;
    for (size_t n = 0; n < good_size; n += n < 9 || n > good_header ? 1 : 7)
        refused(good, n, "cut short");
    unsigned char longer[4097];
    memcpy(longer, good, good_size);
    longer[good_size] = 0;
    refused(longer, good_size + 1, "holds more than this network");
}

static void refuses_lying_headers(void **state) {
    (void)state;
    unsigned char file[4096];
    static const uint64_t length[] = {
        0,          1,          7,          4000,           1u << 31,  UINT32_MAX,
        1ull << 32, 1ull << 62, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
    for (size_t k = 0; k < sizeof length / sizeof *length; k++) {
        memcpy(file, good, good_size);
        for (int i = 0; i < 8; i++)
            file[i] = (unsigned char)(length[k] >> 8 * i);
        refused(file, good_size, length[k] > good_size ? "cut short" : "has no");
    }
}

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } wrong[] = {
        {"[4,5]", "[5,4]",
         "has no \"encoder.0.weight\":{\"dtype\":\"F32\",\"shape\":[4,5]; give the"},
        {"[4,5]", "[20]", "has no \"encoder.0.weight\""},
        {"[4,5]", "[4,5,1]", "has no \"encoder.0.weight\""},
        {"F32", "F64", "has no \"encoder.0.weight\""},
        {"\"relu\"", "\"tanh\"",
         "was trained with tanh between the layers; give --activation tanh"},
        {"\"relu\"", "\"\\n\\n\"", "was trained with"},
        {"encoder.0.bias", "encoder.0.Bias", "has no \"encoder.0.bias\""},
        {"[0,80]", "[80,0]", "the place of encoder.0.weight does not fit its shape"},
        {"[0,80]", "[0,84]", "the place of encoder.0.weight does not fit its shape"},
        {"[0,80]", "[-1,79]", "is cut short"},
        {"[0,80]", "[x,80]", "the place of encoder.0.weight does not fit its shape"},
        {"[0,80]", "[205,285]", "is cut short: encoder.0.weight does not fit"},
        {"[0,80]", "[99999999999999999999,80]", "is cut short"},
        {"{\"__metadata__\"", "[\"__metadata__\"", "is not a safetensors file"},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        refused_header(wrong[k].from, wrong[k].to, wrong[k].says);
    /* An extra tensor, with its bytes. */
    static char header[4096];
    unsigned char file[8192];
    memcpy(header, good + 8, good_header);
    strcpy(strstr(header, "}}") + 1,
           ",\"encoder.4.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[284,288]}}");
    refused(file, compose(file, header, 288), "holds more than this network");
    refused(file, compose(file, "{}", 284), "has no \"encoder.0.weight\"");
    refused("# a text, not weights\n", 22, "is not a safetensors file");
}

static void refuses_numbers_that_are_none(void **state) {
    (void)state;
    static const unsigned char bad[][4] = {
        {0, 0, 0xc0, 0x7f}, {1, 0, 0x80, 0xff}, {0, 0, 0x80, 0x7f}, {0, 0, 0x80, 0xff}};
    unsigned char file[4096];
    for (size_t k = 0; k < 4; k++)
        for (size_t at = 8 + good_header; at + 4 <= good_size; at += 68) {
            memcpy(file, good, good_size);
            memcpy(file + at, bad[k], 4);
            refused(file, good_size, "holds a number that is not finite");
        }
}

static void refuses_what_is_no_file(void **state) {
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/none.safetensors", scratch());
    int status = load_in_child(path);
    if (!refused_well(status) || !strstr(said, "No such file"))
        fail_msg("status %d, said:\n%s", status, said);
    snprintf(path, sizeof path, "%s/dir.safetensors", scratch());
    put("dir.safetensors/x", "");
    status = load_in_child(path);
    if (!refused_well(status) || !strstr(said, "Is a directory"))
        fail_msg("status %d, said:\n%s", status, said);
    /* Without end: memory must not be filled with it. */
    snprintf(path, sizeof path, "%s/zero.safetensors", scratch());
    assert_int_equal(symlink("/dev/zero", path), 0);
    status = load_in_child(path);
    if (!refused_well(status) || !strstr(said, "too many"))
        fail_msg("status %d, said:\n%s", status, said);
}

/* Thousands of damaged files: each is loaded or refused with one line, and none crashes, hangs, or
   brings in a number that is none. */
static void survives_any_damage(void **state) {
    (void)state;
    static unsigned char file[4096];
    static const char json[] = "{}[]\",:0123456789.-\\ ";
    struct random r;
    random_seed(&r, 2024);
    size_t loaded = 0, rejected = 0;
    for (int k = 0; k < 1000; k++) {
        memcpy(file, good, good_size);
        size_t n = good_size, changes = 1 + (size_t)random_uniform(&r, 0, 4);
        for (size_t c = 0; c < changes; c++) {
            /* Mostly in the header: a number may be any number. */
            size_t area = random_uniform(&r, 0, 1) < 0.6 ? 8 + good_header : n;
            size_t at = (size_t)random_uniform(&r, 0, (double)least(area, n));
            double what = random_uniform(&r, 0, 1);
            if (what < 0.4)
                file[at] ^= (unsigned char)(1 << (int)random_uniform(&r, 0, 8));
            else if (what < 0.7)
                file[at] = (unsigned char)json[(size_t)random_uniform(&r, 0, sizeof json - 1)];
            else if (what < 0.8)
                file[at] = (unsigned char)random_bits(&r);
            else if (what < 0.9 && at + 20 < n) { /* a piece is copied over another */
                size_t from = (size_t)random_uniform(&r, 0, (double)(n - 20));
                memmove(file + at, file + from, (size_t)random_uniform(&r, 1, 20));
            } else if (what < 0.95 && n > at + 1) { /* a byte is lost */
                memmove(file + at, file + at + 1, n - at - 1);
                n--;
            } else if (what >= 0.98)
                n = at + 1; /* the end is lost */
        }
        int status = load_bytes(file, n);
        if (status != 0 && !refused_well(status))
            fail_msg("file %d: status %d, said:\n%s", k, status, said);
        loaded += status == 0;
        rejected += status == 1;
    }
    if (loaded < 30 || rejected < 300) /* both must happen, or one was not tested */
        fail_msg("%zu loaded, %zu rejected", loaded, rejected);
}

/* --- the program -------------------------------------------------------------------- */

#define PROGRAM_AND_DATA PROGRAM_OR("autoencoder")
#define MEASURE_AND_DATA PROGRAM_OR("measure_autoencoder")
#define PROGRAM_OR(name)                                                                           \
    "build/bin/" name " --data data/digits --images 60 --tests 20 --layers 784,5,2 "               \
    "--batch 20 --threads 1 "

static const char *say(struct run *r) {
    static char text[600];
    snprintf(text, sizeof text, "status %d, said: %.500s", r->status, r->err);
    return text;
}

/* The program must refuse, with one line that says so, before it trains. */
static void refuses(const char *command, const char *options, const char *says) {
    struct run r = run("%s --epochs 1 --out '%s/out' %s", command, scratch(), options);
    if (r.status != 1 || count_lines(r.err) != 1 || !strstr(r.err, says) ||
        strncmp(r.err, "autoencoder: ", 13) != 0 || strstr(r.out, "epoch"))
        fail_msg("%s: \"%s\" expected, %s\n%s", options, says, say(&r), r.out);
}

static void program_refuses(const char *options, const char *says) {
    refuses(PROGRAM_AND_DATA, options, says);
}

static void saves_and_loads(void **state) {
    (void)state;
    struct run r =
        run("cd '%s' && rm -rf out*; cd - >/dev/null; " PROGRAM_AND_DATA
            "--epochs 2 --out '%s/out1' --save '%s/a.safetensors' >/dev/null && " PROGRAM_AND_DATA
            "--epochs 0 --out '%s/out2' --load '%s/a.safetensors' "
            "--save '%s/b.safetensors' --seed 9 > /dev/null && "
            "cmp '%s/a.safetensors' '%s/b.safetensors' && "
            "for k in 1 2; do grep '^test_' '%s'/out$k/results.tsv > '%s'/t$k; done; "
            "cmp '%s/t1' '%s/t2' && wc -l < '%s/t1'",
            scratch(), scratch(), scratch(), scratch(), scratch(), scratch(), scratch(), scratch(),
            scratch(), scratch(), scratch(), scratch(), scratch());
    if (r.status != 0 || atoi(r.out) != 2)
        fail_msg("%s", say(&r));
    char options[256];
    snprintf(options, sizeof options, "--load '%s/a.safetensors' --activation silu", scratch());
    program_refuses(options, "was trained with relu between the layers; give --activation relu");
    snprintf(options, sizeof options, "--load '%s/a.safetensors' --layers 784,6,2", scratch());
    program_refuses(options, "give the --layers it was saved with");
    snprintf(options, sizeof options, "--load '%s/a.safetensors' --layers 784,5,5,2", scratch());
    program_refuses(options, "give the --layers it was saved with");
    program_refuses("--load no/such/file", "no/such/file: No such file or directory");
    program_refuses("--load src", "src: Is a directory");
    program_refuses("--load data/README.md", "is not a safetensors file");
}

static void refuses_places_it_cannot_write(void **state) {
    (void)state;
    program_refuses("--save no/such/folder/x", "no/such/folder/x: cannot be written");
    program_refuses("--save src", "src: is not a file; name one with --save");
    program_refuses("--save /dev/null", "/dev/null: is not a file");
    if (access("/dev/full", W_OK) == 0)
        program_refuses("--save /dev/full", "/dev/full: is not a file");
}

/* A disk that is full when the training is over: what was there before is still there. */
static void a_full_disk_leaves_the_old_weights(void **state) {
    (void)state;
    put("keep/w.safetensors", "precious");
    struct run r = run("trap '' XFSZ; ulimit -f 16; " PROGRAM_AND_DATA
                       "--epochs 1 --out '%s/out' --save '%s/keep/w.safetensors'",
                       scratch(), scratch());
    if (r.status != 1 || count_lines(r.err) != 1 || !strstr(r.err, "cannot be written"))
        fail_msg("%s", say(&r));
    r = run("ls '%s/keep' && cat '%s/keep/w.safetensors'", scratch(), scratch());
    assert_string_equal(r.out, "w.safetensors\nprecious");
}

/* A batch of a hundred thousand would need memory for as many. */
static void no_batch_is_larger_than_the_set(void **state) {
    (void)state;
    struct run r = run(PROGRAM_AND_DATA "--epochs 1 --batch 100000 --out '%s/out'", scratch());
    if (r.status != 0)
        fail_msg("%s", say(&r));
    assert_contains(r.out, "60 training images, 20 test images, batches of 60\n");
}

static void a_diverging_run_says_so(void **state) {
    (void)state;
    static const char *const options[] = {"--rate 10", "--rate 1e6", "--rate 1e6 --images 20",
                                          "--rate 1e9 --activation elu --loss squared",
                                          "--rate 1000 --activation tanh"};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        struct run r = run("rm -rf '%s/out'; build/bin/autoencoder --data data/digits --images 300 "
                           "--tests 20 --epochs 9 --schedule constant --out '%s/out' %s; s=$?; ls "
                           "'%s/out'; exit $s",
                           scratch(), scratch(), options[k], scratch());
        if (r.status != 1 || count_lines(r.err) != 1 ||
            !strstr(r.err, "the steps are too large; try a smaller --rate than 1"))
            fail_msg("%s: %s", options[k], say(&r));
        assert_null(strstr(r.out, ".tmp"));
        assert_null(strstr(r.out, "results.tsv"));
    }
}

/* --- pictures ------------------------------------------------------------------------ */

static void put_picture(const char *name, size_t width, size_t height, int dot) {
    unsigned char *gray = allocate(width, height);
    memset(gray, 255, width * height);
    if (dot)
        gray[width * height / 2 + width / 2] = 0;
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_GRAY};
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch(), name);
    assert_int_not_equal(png_image_write_to_file(&png, path, 0, gray, 0, NULL), 0);
    free(gray);
}

static void picture_refused(const char *name, const char *says) {
    char options[256];
    snprintf(options, sizeof options, "--image '%s/%s'", scratch(), name);
    refuses(MEASURE_AND_DATA, options, says);
}

static void pictures(void **state) {
    (void)state;
    put_picture("dot.png", 40, 30, 1);
    struct run r = run("rm -rf '%s/out'; " MEASURE_AND_DATA
                       "--epochs 1 --out '%s/out' --image '%s/dot.png' && ls '%s/out'",
                       scratch(), scratch(), scratch(), scratch());
    if (r.status != 0)
        fail_msg("%s", say(&r));
    assert_contains(r.out, "the code of");
    assert_contains(r.out, "\nimage.png\n");

    picture_refused("none.png", "none.png: No such file");
    put("text.png",
        "P3 2 2 255\n0 0 0 0 0 0 0 0 0 0 0 0 and some more so that it is long enough\n");
    picture_refused("text.png", "--image wants a PNG file");
    put("empty.png", "");
    picture_refused("empty.png", "--image wants a PNG file");
    refuses(MEASURE_AND_DATA, "--image src", "--image wants a PNG file");
    put_picture("white.png", 40, 30, 0);
    picture_refused("white.png", "has one colour throughout");
    put_picture("one.png", 1, 1, 0);
    picture_refused("one.png", "has one colour throughout");
    put_picture("black.png", 1, 1, 1);
    picture_refused("black.png", "has one colour throughout");

    /* Cut short at each byte, with a header of each wrong size. */
    unsigned char png[4096];
    char path[256];
    snprintf(path, sizeof path, "%s/dot.png", scratch());
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(png, 1, sizeof png, f);
    fclose(f);
    for (size_t cut = 1; cut < n - 16; cut += 9) { /* the last chunk is empty and not missed */
        put_bytes("cut.png", png, cut);
        picture_refused("cut.png", "");
    }
    unsigned long crc = 0;
    for (int k = 0; k < 4; k++) /* 50,000 pixels wide and high: 2.5 thousand millions */
        png[16 + k] = png[20 + k] = (unsigned char)(50000u >> (24 - 8 * k));
    crc = crc32(crc, png + 12, 17);
    for (int k = 0; k < 4; k++)
        png[29 + k] = (unsigned char)(crc >> (24 - 8 * k));
    put_bytes("huge.png", png, n);
    picture_refused("huge.png", "50000 x 50000 pixels are too many; make it smaller");
    for (int k = 0; k < 4; k++) /* 9,000: allowed, but the file does not hold as many */
        png[16 + k] = png[20 + k] = (unsigned char)(9000u >> (24 - 8 * k));
    crc = crc32(0, png + 12, 17);
    for (int k = 0; k < 4; k++)
        png[29 + k] = (unsigned char)(crc >> (24 - 8 * k));
    put_bytes("short.png", png, n);
    picture_refused("short.png", "the file is damaged or cut short");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_is_right),
        cmocka_unit_test(refuses_files_cut_short),
        cmocka_unit_test(refuses_lying_headers),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(refuses_numbers_that_are_none),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(survives_any_damage),
        cmocka_unit_test(saves_and_loads),
        cmocka_unit_test(refuses_places_it_cannot_write),
        cmocka_unit_test(a_full_disk_leaves_the_old_weights),
        cmocka_unit_test(no_batch_is_larger_than_the_set),
        cmocka_unit_test(a_diverging_run_says_so),
        cmocka_unit_test(pictures),
    };
    return cmocka_run_group_tests(tests, setup, remove_scratch);
}
