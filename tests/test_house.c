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
                       /* the student's exercise may be in any state */
                       "cp chapters/01-encoder/unsolved/exercise.c '%s/chapters/01-encoder/' && "
                       "mkdir '%s/data' && cp -R data/digits '%s/data/'",
                       tree, tree, tree, tree, tree, tree);
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
    assert_contains(r.out, "chapter 1: every one of ");
    assert_contains(r.out, "make check1 shows the tables");
    assert_null(strstr(r.out, "verdict")); /* a passing check is one line here */
    assert_contains(r.out, "354706 parameters in all");
    assert_contains(r.out, "Next: read chapters/01-encoder/README.md, then make exercise1");
    assert_null(strstr(r.out, "[ RUN"));
    r = in_tree("grep -c . build/01-encoder/results.tsv && grep check_entries "
                "build/01-encoder/results.tsv");
    assert_int_equal(r.status, 0);
    r = in_tree("make check1");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "verdict");
    r = in_tree("make run1 ARGS='--layers 784,5 --out build/elsewhere' && ls "
                "build/elsewhere/results.tsv");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "3925 parameters in all");
    assert_null(strstr(r.out, "derivatives agree"));
    r = in_tree("make chapter1 ARGS='--layers 784,5 --out \"build/a student'\\''s\"'");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "  build/a student's/tower.png");
    r = in_tree("make run1 ARGS='--seed none'");
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
    assert_contains(r.out, "Every entry is the negative");
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
        in_tree("mkdir few && IFS=: && for d in $PATH; do ln -s \"$d\"/* few/ 2>/dev/null; done; "
                "rm -f few/gnuplot*; rm -f build/01-encoder/*.png; PATH=$PWD/few make chapter1");
    assert_int_equal(r.status, 0);
    assert_contains(r.err,
                    "gnuplot is missing, so no curves are drawn; sh src/setup.sh installs it");
    assert_contains(r.out, "354706 parameters in all");
    r = in_tree("make HAVE_CMOCKA= check1");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.err, "cmocka is missing, which the checks need; sh src/setup.sh installs it");
    r = in_tree("make HAVE_CMOCKA= chapter1 && true");
    assert_int_equal(r.status, 0);
}

/* The book judges its own copy of the exercise: the student's may be broken. (The texts speak of
   chapters that are not in this house, and are another test's subject.) */
static void leaves_the_exercise_alone(void **state) {
    (void)state;
    struct run r = in_tree("echo 'int broken(' > chapters/01-encoder/exercise.c; make -n compile");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "unsolved_encoder");
    assert_null(strstr(r.out, "exercise_encoder"));
    r = in_tree("make build/bin/test_encoder build/bin/solution_encoder build/bin/unsolved_encoder "
                "&& ln -s /bin/true build/bin/weave && sh src/run.sh test 01-encoder");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "(fails, as it must)");
    assert_contains(r.out, " 0 failed");
    r = in_tree("cp chapters/01-encoder/solution.c chapters/01-encoder/unsolved/exercise.c && make "
                "build/bin/unsolved_encoder && sh src/run.sh test 01-encoder");
    assert_int_not_equal(r.status, 0);
    assert_contains(r.out, "the unsolved exercise does not fail with a diagnosis");
}

/* Adding a chapter is adding a folder. */
static void finds_a_new_chapter(void **state) {
    (void)state;
    struct run r = in_tree(
        "cp -R chapters/01-encoder chapters/42-again && cd chapters/42-again && for f in *.c; do "
        "sed 's/\"encoder.c\"/\"again.c\"/' $f > ../f && mv ../f $f; done && mv encoder.c again.c "
        "&& mv test_encoder.c test_again.c && rm -f measure.c && "
        "{ [ -f judge.c ] || echo '#include \"test_again.c\"' > judge.c; } && cp solution.c "
        "exercise.c && echo '# Chapter 42: Once more' > README.md && cd ../.. && make && "
        "make check42 && make exercise42 && grep -c /judge.c build/bin/exercise_again.d");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "make chapter42  Once more");
    assert_contains(r.out, "verdict");
    assert_contains(r.out, "Exercise 42 is solved.");
}

/* What the page wants beyond the program's run: measure.c runs the program and goes on. This one
   measures until somebody types Ctrl-C, and then ends as all programs do: it writes what it has. */
static const char measure[] =
    "#define main again_main\n#include \"again.c\"\n#undef main\n#include <signal.h>\n"
    "static volatile sig_atomic_t stop;\n"
    "static void on_signal(int number) { stop = number; }\n"
    "int main(int argc, char **argv) {\n"
    "    int status = again_main(argc, argv);\n"
    "    if (status != 0) return status;\n"
    "    signal(SIGINT, on_signal);\n"
    "    puts(\"measuring on and on\"); fflush(stdout);\n"
    "    while (!stop) {}\n"
    "    puts(\"what is known so far\");\n"
    "    return 130;\n}\n";

static void draws_what_it_has_on_interrupt(void **state) {
    (void)state;
    put("a house/chapters/42-again/measure.c", measure);
    put("a house/chapters/42-again/plot.gp", "print 'figures of '.out\n");
    struct run r = in_tree("make build/bin/again build/bin/measure_again build/bin/test_again");
    assert_int_equal(r.status, 0);
    char command[512];
    snprintf(command, sizeof command,
             "cd '%s' && unset MAKEFLAGS MFLAGS MAKELEVEL SAN && exec make chapter42", tree);
    r = run_and_interrupt(command, "measuring on and on");
    assert_int_not_equal(r.status, 0);
    assert_int_not_equal(r.status, -1);
    assert_contains(r.out, "354706 parameters in all"); /* the program ran first */
    assert_contains(r.out, "what is known so far");
    assert_contains(r.out, "Next: read chapters/42-again/README.md");
    assert_null(strstr(r.out, "***"));
    assert_null(strstr(r.out, "status"));
    r = in_tree("tail -n 1 build/42-again/run.txt; make run42");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "what is known so far\n");
    assert_null(strstr(r.out, "measuring"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_what_there_is),
        cmocka_unit_test(runs_a_chapter),
        cmocka_unit_test(a_wrong_gradient_stops_the_run),
        cmocka_unit_test(judges_an_exercise),
        cmocka_unit_test(does_without_gnuplot_and_cmocka),
        cmocka_unit_test(finds_a_new_chapter),
        cmocka_unit_test(draws_what_it_has_on_interrupt),
        cmocka_unit_test(leaves_the_exercise_alone),
    };
    return cmocka_run_group_tests(tests, setup, remove_scratch);
}
