/* test_house.c: what a student types. A copy of the house with one chapter, in a folder with a
   space in its name, is built, broken, repaired and extended. */
#include "run.h"

static char tree[128];

/* Runs a command in the copy. A make inside make must not inherit the outer one's flags. */
#define in_tree(command) run("cd '%s' && unset MAKEFLAGS MFLAGS MAKELEVEL SAN; " command, tree)

static int setup(void **state) {
    (void)state;
    snprintf(tree, sizeof tree, "%s/a house", scratch());
    struct run r = run("mkdir -p '%s/chapters' && cp -R Makefile src tests README.md '%s/' && cp "
                       "-R chapters/01-encoder '%s/chapters/' && "
                       "mkdir '%s/data' && cp -R data/digits '%s/data/'",
                       tree, tree, tree, tree, tree);
    return r.status;
}

static void lists_what_there_is(void **state) {
    (void)state;
    struct run r = in_tree("make");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "make chapter1   The encoder");
    assert_contains(r.out, "make exerciseN");
    r = in_tree("make chapter77");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.err, "there is no chapter 77");
}

static void runs_a_chapter(void **state) {
    (void)state;
    struct run r = in_tree("make -j2 chapter1");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "every one of 137 derivatives agrees");
    assert_contains(r.out, "354,706 parameters in all");
    assert_contains(r.out, "Next: read chapters/01-encoder/README.md, then make exercise1");
    assert_null(strstr(r.out, "[ RUN"));
    r = in_tree("grep -c . build/01-encoder/results.tsv && grep check_entries "
                "build/01-encoder/results.tsv");
    assert_int_equal(r.status, 0);
    r = in_tree("make chapter1 ARGS='--layers 784,5 --out build/elsewhere' && ls "
                "build/elsewhere/results.tsv");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "3,925 parameters in all");
    r = in_tree("make chapter1 ARGS='--seed none'");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.err, "--seed none: wants a whole number");
}

static void a_wrong_gradient_stops_the_run(void **state) {
    (void)state;
    struct run r = in_tree("cd chapters/01-encoder && cp encoder.c right && sed 's/dx\\[r \\* in + "
                           "i\\] += sum/dx[r * in + i] -= sum/' right > encoder.c && "
                           "! cmp -s right encoder.c && cd ../.. && make check1");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.out, "Every entry is the negative");
    r = in_tree("make chapter1");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.err, "the gradient check of chapter 1 fails");
    assert_null(strstr(r.out, "parameters in all"));
    r = in_tree("mv chapters/01-encoder/right chapters/01-encoder/encoder.c && touch "
                "chapters/01-encoder/encoder.c && make check1");
    assert_int_equal(r.status, 0);
}

static void judges_an_exercise(void **state) {
    (void)state;
    struct run r = in_tree("make exercise1");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.out, "Not yet. Edit chapters/01-encoder/exercise.c");
    r = in_tree("make progress");
    assert_contains(r.out, "0 of 1 exercises solved");
    r = in_tree(
        "cp chapters/01-encoder/solution.c chapters/01-encoder/exercise.c && make exercise1");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "Exercise 1 is solved.");
    r = in_tree("make progress");
    assert_contains(r.out, "1 of 1 exercises solved");
    r = in_tree("echo 'int broken(' > chapters/01-encoder/exercise.c; make progress");
    assert_contains(r.out, "does not compile");
}

static void does_without_gnuplot_and_cmocka(void **state) {
    (void)state;
    /* A PATH with everything but gnuplot. */
    struct run r =
        in_tree("mkdir -p few && IFS=: && for d in $PATH; do for f in \"$d\"/*; do [ -x \"$f\" ] "
                "&& ln -sf \"$f\" few/ 2>/dev/null; done; done; "
                "rm -f few/gnuplot*; rm -f build/01-encoder/*.png; PATH=$PWD/few make chapter1");
    assert_int_equal(r.status, 0);
    assert_contains(r.err,
                    "gnuplot is missing, so no curves are drawn; sh src/setup.sh installs it");
    assert_contains(r.out, "354,706 parameters in all");
    r = in_tree("make HAVE_CMOCKA= check1");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.err, "cmocka is missing, which the checks need; sh src/setup.sh installs it");
    r = in_tree("make HAVE_CMOCKA= chapter1 && true");
    assert_int_equal(r.status, 0);
}

/* Adding a chapter is adding a folder. */
static void finds_a_new_chapter(void **state) {
    (void)state;
    struct run r = in_tree(
        "cp -R chapters/01-encoder chapters/42-again && cd chapters/42-again && mv encoder.c "
        "again.c && "
        "sed 's/\"encoder.c\"/\"again.c\"/' test_encoder.c > test_again.c && rm test_encoder.c && "
        "echo '# Chapter 42: Once more' > README.md && cd ../.. && make && make check42");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "make chapter42  Once more");
    assert_contains(r.out, "every one of 137 derivatives agrees");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_what_there_is),
        cmocka_unit_test(runs_a_chapter),
        cmocka_unit_test(a_wrong_gradient_stops_the_run),
        cmocka_unit_test(judges_an_exercise),
        cmocka_unit_test(does_without_gnuplot_and_cmocka),
        cmocka_unit_test(finds_a_new_chapter),
    };
    return cmocka_run_group_tests(tests, setup, remove_scratch);
}
