/* Tests of src/setup.sh on systems that we make up. Its PATH holds impostors only: a package
   manager that "installs" by putting the commands of a package there, a compiler that knows the
   installed libraries, a sudo that notes what it was asked. So nothing is installed by these tests,
   whoever runs them. */
#define _POSIX_C_SOURCE 200809L
#include "run.h"

/* The world's folder: bin is the PATH, shelf holds the commands that can be installed,
   installed/NAME stands for an installed package, and log lists the calls of managers and of sudo.
   uid holds the user's number. */
static const char world[] =
    "set -e; root=$PWD; w=$root/%s/world; rm -rf \"$w\"; mkdir -p \"$w/bin\" \"$w/shelf\" "
    "\"$w/installed\"\n"
    "cd \"$w\"; cp \"$root/src/setup.sh\" .; mkdir tmp; : >log; echo 0 >uid\n"
    "for tool in sh mktemp rm cp cat head env touch mkdir ls grep sed; do ln -s \"$(command -v "
    "$tool)\" bin/$tool; done\n"
    "script() { { echo '#!/bin/sh'; cat; } >\"$1\"; chmod +x \"$1\"; }\n"
    "echo 'echo Linux' | script bin/uname\n"
    "echo 'cat \"$WORLD/uid\"' | script bin/id\n"
    "echo '[ ! -e \"$WORLD/installed/font\" ] || echo x.ttf' | script bin/find\n"
    /* cc -o OUT FILE -lNAME: links with what is installed, and wants the headers' package there
       too. */
    "script shelf/cc <<'END'\n"
    "grep -q . \"$3\" || exit 1\n"
    "case $(cat \"$3\") in *png.h*) [ -e \"$WORLD/installed/png\" ] || exit 1 ;; esac\n"
    "case $(cat \"$3\") in *zlib.h*) [ -e \"$WORLD/installed/zlib\" ] || exit 1 ;; esac\n"
    "case $(cat \"$3\") in *cmocka.h*) [ -e \"$WORLD/installed/cmocka\" ] || exit 1 ;; esac\n"
    "case \" $* \" in *' -fopenmp '*) [ -e \"$WORLD/installed/omp\" ] || exit 1 ;; esac\n"
    "END\n"
    "cp shelf/cc shelf/clang\n"
    "echo 'case $2 in *pngcairo*output*) f=${2#*output ?}; echo png >\"${f%%%%?;*}\" ;; esac' | "
    "script shelf/gnuplot\n"
    "for name in make clang-format valgrind pandoc git curl; do echo : | script shelf/$name; done\n"
    /* Any package name brings what it is for. */
    "script shelf/install <<'END'\n"
    "for p in \"$@\"; do case $p in\n"
    "  gcc) cp \"$WORLD/shelf/cc\" \"$WORLD/bin/cc\" ;;\n"
    "  clang) cp \"$WORLD/shelf/clang\" \"$WORLD/bin/clang\"; [ -z \"$ARCH\" ] || cp "
    "\"$WORLD/shelf/clang-format\" \"$WORLD/bin/\" ;;\n"
    "  clang-tools-extra) cp \"$WORLD/shelf/clang-format\" \"$WORLD/bin/\" ;;\n"
    "  llvm) cp \"$WORLD/shelf/clang\" \"$WORLD/bin/clang\" ;;\n"
    "  gnuplot*) cp \"$WORLD/shelf/gnuplot\" \"$WORLD/bin/gnuplot\" ;;\n"
    "  pandoc*) cp \"$WORLD/shelf/pandoc\" \"$WORLD/bin/pandoc\" ;;\n"
    "  make|clang-format|valgrind|git|curl) cp \"$WORLD/shelf/$p\" \"$WORLD/bin/$p\" ;;\n"
    "  libpng*) : >\"$WORLD/installed/png\" ;;\n"
    "  zlib*) : >\"$WORLD/installed/zlib\" ;;\n"
    "  libcmocka*|cmocka) : >\"$WORLD/installed/cmocka\" ;;\n"
    "  *dejavu*) : >\"$WORLD/installed/font\" ;;\n"
    "  libomp*|openmp) : >\"$WORLD/installed/omp\" ;;\n"
    "esac; done\n"
    "END\n"
    /* apt: `lists` says whether package lists are there, `stale` that they are outdated, `broken`
       that nothing works. */
    "script shelf/apt-get <<'END'\n"
    "echo \"apt-get $* ($DEBIAN_FRONTEND)\" >>\"$WORLD/log\"\n"
    "[ ! -e \"$WORLD/broken\" ] || { echo 'E: no network' >&2; exit 100; }\n"
    "[ \"$2\" != update ] || { : >\"$WORLD/lists\"; rm -f \"$WORLD/stale\"; exit 0; }\n"
    "[ ! -e \"$WORLD/stuck\" ] || { echo 'E: disk full' >&2; exit 100; }\n"
    "[ ! -e \"$WORLD/stale\" ] || { echo 'E: 404' >&2; exit 100; }\n"
    "[ -e \"$WORLD/useless\" ] || exec \"$WORLD/shelf/install\" \"$@\"\n"
    "END\n"
    "echo '[ -e \"$WORLD/lists\" ]' | script shelf/apt-cache\n"
    "for m in dnf pacman; do echo \"echo $m \\\"\\$@\\\" >>\\\"\\$WORLD/log\\\"; ARCH=yes exec "
    "\\\"\\$WORLD/shelf/install\\\" \\\"\\$@\\\"\" | script shelf/$m; done\n"
    "script shelf/brew <<'END'\n"
    "[ \"$1\" != --prefix ] || { echo /no/prefix; exit; }\n"
    "echo brew \"$@\" >>\"$WORLD/log\"; exec \"$WORLD/shelf/install\" \"$@\"\n"
    "END\n"
    "echo 'echo sudo \"$@\" >>\"$WORLD/log\"; exec \"$@\"' | script shelf/sudo\n";

static void make_world(void) {
    char text[sizeof world + 128];
    snprintf(text, sizeof text, world, scratch());
    put("world.sh", text);
    struct run r = run("sh '%s/world.sh'", scratch());
    if (r.status != 0)
        fail_msg("no world: %s", r.err);
}

/* Does `before` in the world's folder, then runs the script there. HOME has no fonts, and TMPDIR
   shows whether the script cleans up. */
static struct run setup(const char *before, const char *arguments) {
    return run(
        "cd '%s/world' && { %s\n}; : >log; WORLD=$PWD PATH=$PWD/bin HOME=/nowhere TMPDIR=$PWD/tmp"
        " CC= \"$(command -v sh)\" -c 'unset CC ARCH DEBIAN_FRONTEND; . ./setup.sh' setup.sh %s",
        scratch(), before, arguments);
}

/* The calls of package managers and of sudo in the last setup(). */
static const char *calls(void) {
    static char text[sizeof(struct run)];
    struct run r = run("cat '%s/world/log'; ls -A '%s/world/tmp'", scratch(), scratch());
    snprintf(text, sizeof text, "%s", r.out);
    return text;
}

#define EVERYTHING                                                                                 \
    "a C compiler, make, libpng, zlib, cmocka, gnuplot (with pngcairo), a font for the figures"
#define DEBIAN                                                                                     \
    " gcc libc6-dev make libpng-dev zlib1g-dev libcmocka-dev gnuplot-nox fonts-dejavu-core"
#define APT      "cp shelf/apt-get shelf/apt-cache bin; touch lists; "
#define COMPLETE "shelf/install gcc make libpng zlib cmocka gnuplot dejavu; "

static const char install_all[] =
    "apt-get -q install -y --no-install-recommends" DEBIAN " (noninteractive)\n";

static void test_nothing_missing(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT "WORLD=$PWD; export WORLD; " COMPLETE "echo 1000 >uid", "");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    assert_string_equal(calls(), "");
}

static void test_bare_debian(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT, "");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.err, "");
    assert_string_equal(r.out, "setup.sh: missing: " EVERYTHING
                               "\nsetup.sh: installing with apt-get:" DEBIAN "\nsetup.sh: done\n");
    assert_string_equal(calls(), install_all);
    r = setup(":", "");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "");
    assert_string_equal(calls(), "");
}

/* Lists are fetched where there are none, or where they are outdated; and not twice. */
static void test_package_lists(void **state) {
    (void)state;
    char expected[512];
    make_world();
    struct run r = setup(APT "rm lists", "");
    assert_int_equal(r.status, 0);
    snprintf(expected, sizeof expected, "apt-get -q update (noninteractive)\n%s", install_all);
    assert_string_equal(calls(), expected);

    make_world();
    r = setup(APT "touch stale", "");
    assert_int_equal(r.status, 0);
    snprintf(expected, sizeof expected, "%sapt-get -q update (noninteractive)\n%s", install_all,
             install_all);
    assert_string_equal(calls(), expected);

    make_world();
    r = setup(APT "rm lists; touch stuck", "");
    assert_int_equal(r.status, 1);
    snprintf(expected, sizeof expected, "apt-get -q update (noninteractive)\n%s", install_all);
    assert_string_equal(calls(), expected);
}

/* One thing is missing, and only that is installed. */
static void test_one_missing(void **state) {
    (void)state;
    const struct {
        const char *take, *what, *package;
    } part[] = {
        {"bin/cc", "a C compiler, ", "gcc libc6-dev "},
        {"bin/make", "make\n", "make "},
        {"installed/png", "libpng\n", "libpng-dev "},
        {"installed/zlib", "zlib\n", "zlib1g-dev "},
        {"installed/cmocka", "cmocka\n", "libcmocka-dev "},
        {"bin/gnuplot", "gnuplot (with pngcairo)\n", "gnuplot-nox "},
        {"installed/font", "a font for the figures\n", "fonts-dejavu-core "},
    };
    make_world();
    setup(APT, "");
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        char before[64], expected[128];
        snprintf(before, sizeof before, "rm %s", part[i].take);
        struct run r = setup(before, "");
        assert_int_equal(r.status, 0);
        snprintf(expected, sizeof expected, "setup.sh: missing: %s", part[i].what);
        assert_contains(r.out, expected);
        snprintf(expected, sizeof expected, "--no-install-recommends %s", part[i].package);
        assert_contains(calls(), expected);
        assert_int_equal(count_lines(calls()), 1);
    }
    /* A gnuplot that draws no PNG counts as missing. Its file is there, but empty, or not at all.
     */
    struct run r = setup("printf '#!/bin/sh\\n' >bin/gnuplot", "");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "missing: gnuplot (with pngcairo)\n");
    assert_contains(calls(), "--no-install-recommends gnuplot-nox (");
}

/* Without a compiler the libraries are looked up with pkg-config, where there is one. */
static void test_pkg_config(void **state) {
    (void)state;
    make_world();
    struct run r =
        setup(APT "printf '#!/bin/sh\\n[ $1 = --exists ] && [ $2 != zlib ]\\n' >bin/pkg-config;"
                  "chmod +x bin/pkg-config; cp shelf/make shelf/gnuplot bin;"
                  "touch installed/font installed/png installed/cmocka",
              "");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "missing: a C compiler, zlib\n");
}

static void test_sudo(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT "echo 1000 >uid; cp shelf/sudo bin", "");
    assert_int_equal(r.status, 0);
    char expected[1024];
    snprintf(expected, sizeof expected,
             "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y "
             "--no-install-recommends" DEBIAN "\n%s",
             install_all);
    assert_string_equal(calls(), expected);
}

static void test_no_rights(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT "echo 1000 >uid", "");
    assert_int_equal(r.status, 1);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "setup.sh: missing: " EVERYTHING
                               "; neither root nor sudo here; please run as root:"
                               " apt-get install" DEBIAN "\n");
    assert_string_equal(calls(), "");
}

static void test_no_manager(void **state) {
    (void)state;
    make_world();
    struct run r = setup(":", "");
    assert_int_equal(r.status, 1);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err,
                        "setup.sh: missing: " EVERYTHING "; found no apt-get, dnf, pacman or brew;"
                        " please install by hand (Debian's names):" DEBIAN "\n");
}

static void test_apt_fails(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT "touch broken", "");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "E: no network\n"); /* apt's own reason is not hidden */
    assert_contains(r.err,
                    "setup.sh: apt-get could not install it all, see above; please install by hand:"
                    " apt-get install" DEBIAN "\n");
    assert_null(strstr(r.out, "done"));

    r = setup("rm broken; touch useless", "");
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "but this still does not work: " EVERYTHING);
    assert_null(strstr(r.out, "done"));
    assert_string_equal(calls(), install_all); /* and no temporary folder stays */
}

static void test_other_managers(void **state) {
    (void)state;
    make_world();
    struct run r = setup("cp shelf/dnf bin", "");
    assert_int_equal(r.status, 0);
    assert_string_equal(
        calls(), "dnf install -y gcc glibc-devel make libpng-devel zlib-devel libcmocka-devel"
                 " gnuplot dejavu-sans-fonts\n");
    make_world();
    r = setup("cp shelf/pacman shelf/sudo bin; echo 1000 >uid", "");
    assert_int_equal(r.status, 0);
    assert_contains(
        calls(),
        "sudo pacman -S --needed --noconfirm gcc make libpng zlib cmocka gnuplot ttf-dejavu\n");

    /* brew wants no root, and macOS has fonts. */
    make_world();
    r = setup("cp shelf/brew bin; echo 1000 >uid; echo 'echo Darwin' >bin/uname", "");
    assert_int_equal(r.status, 0);
    assert_string_equal(calls(), "brew install gcc make libpng zlib cmocka gnuplot\n");
}

static void test_dev(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT, "--dev");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "missing: " EVERYTHING
                           ", clang, clang-format, OpenMP for clang, valgrind, pandoc, git,"
                           " curl (for make data)\n");
    assert_contains(calls(),
                    DEBIAN " clang clang-format libomp-dev valgrind libc6-dbg pandoc git curl"
                           " ca-certificates (noninteractive)\n");
    r = setup(":", "--dev");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "");

    /* npm does instead of curl; and a reader needs no OpenMP for clang. */
    r = setup("mv bin/curl bin/npm; rm installed/omp", "");
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "");
    r = setup(":", "--dev");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "missing: OpenMP for clang\n");

    make_world();
    r = setup("cp shelf/dnf bin", "--dev");
    assert_int_equal(r.status, 0);
    assert_contains(calls(), " clang clang-tools-extra libomp-devel valgrind pandoc git curl\n");
    make_world();
    r = setup("cp shelf/pacman bin", "--dev");
    assert_int_equal(r.status, 0);
    assert_contains(calls(), " clang clang openmp valgrind pandoc-cli git curl\n");
}

static void test_options(void **state) {
    (void)state;
    make_world();
    struct run r = setup(APT, "--bogus");
    assert_int_equal(r.status, 2);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, "--bogus: no such option");
    assert_string_equal(calls(), "");
    r = setup(":", "--help");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "usage: sh src/setup.sh [--dev]");
}

int main(void) {
    run_h_uses_all();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_missing),
        cmocka_unit_test(test_bare_debian),
        cmocka_unit_test(test_package_lists),
        cmocka_unit_test(test_one_missing),
        cmocka_unit_test(test_pkg_config),
        cmocka_unit_test(test_sudo),
        cmocka_unit_test(test_no_rights),
        cmocka_unit_test(test_no_manager),
        cmocka_unit_test(test_apt_fails),
        cmocka_unit_test(test_other_managers),
        cmocka_unit_test(test_dev),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests_name("setup", tests, NULL, remove_scratch);
}
