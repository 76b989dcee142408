/* test_weave.c: each test writes a small book that agrees with its programs and runs, breaks one
   thing, and requires the one finding, with its file and line, that should come of it. `finds` also
   fails on a finding too many, so a tool that complained about everything would not pass either. */
#define _POSIX_C_SOURCE 200809L
#include "run.h"

#define ONE    "chapters/01-first/README.md"
#define TWO    "chapters/02-second/README.md"
#define FIRST  "chapters/01-first/first.c"
#define SECOND "chapters/02-second/second.c"

static const char first_c[] = "/* first.c: the smallest program with blocks.\n"     /*  1 */
                              "\n"                                                  /*  2 */
                              "   Contents                            line\n"       /*  3 */
                              "     I.   What is new                     9\n"       /*  4 */
                              "          twice                          15\n"       /*  5 */
                              "     II.  The program                    20\n"       /*  6 */
                              "\n"                                                  /*  7 */
                              "   Letters: none */\n"                               /*  8 */
                              "/* === I. What is new ======================== */\n" /*  9 */
                              "/* --- sum ----------------------------------- */\n" /* 10 */
                              "int sum(int a, int b) {\n"                           /* 11 */
                              "\n"                                                  /* 12 */
                              "    return a + b;\n"                                 /* 13 */
                              "}\n"                                                 /* 14 */
                              "/* --- twice --------------------------------- */\n" /* 15 */
                              "int twice(int a) {\n"                                /* 16 */
                              "    return sum(a, a);\n"                             /* 17 */
                              "}\n"                                                 /* 18 */
                              "\n"                                                  /* 19 */
                              "/* === II. The program ======================= */\n" /* 20 */
                              "#ifndef WORKBOOK_TEST\n"                             /* 21 */
                              "int main(void) {\n"                                  /* 22 */
                              "    return twice(0);\n"                              /* 23 */
                              "}\n"                                                 /* 24 */
                              "#endif\n";                                           /* 25 */

/* The form of old: no parts, no contents. */
static const char second_c[] = "/* --- sum (chapter 1) ------------------------- */\n" /*  1 */
                               "int sum(int a, int b) {\n"                             /*  2 */
                               "\n"                                                    /*  3 */
                               "    return a + b;\n"                                   /*  4 */
                               "}\n"                                                   /*  5 */
                               "\n"                                                    /*  6 */
                               "/* --- three times ----------------------------- */\n" /*  7 */
                               "int three_times(int a) {\n"                            /*  8 */
                               "    return sum(a, sum(a, a));\n"                       /*  9 */
                               "}\n"                                                   /* 10 */
                               "\n"                                                    /* 11 */
                               "#ifndef WORKBOOK_TEST\n"                               /* 12 */
                               "int main(void) {\n"                                    /* 13 */
                               "    return three_times(0);\n"                          /* 14 */
                               "}\n"                                                   /* 15 */
                               "#endif\n";                                             /* 16 */

static const char first_md[] =
    "# First\n"                                                                 /*  1 */
    "\n"                                                                        /*  2 */
    "## Why $\\hat x$ and `sum`?\n"                                             /*  3 */
    "> ```c sum\n"                                                              /*  4 */
    "> int sum(int a, int b) {\n"                                               /*  5 */
    ">\n"                                                                       /*  6 */
    ">     return a + b;\n"                                                     /*  7 */
    "> }\n"                                                                     /*  8 */
    "> ```\n"                                                                   /*  9 */
    "\n"                                                                        /* 10 */
    "```c twice\n"                                                              /* 11 */
    "int twice(int a) {\n"                                                      /* 12 */
    "    return sum(a, a);\n"                                                   /* 13 */
    "}\n"                                                                       /* 14 */
    "```\n"                                                                     /* 15 */
    "\n"                                                                        /* 16 */
    "It takes 3,136<!-- =entries --> steps, off by 4e-9<!-- =worst x10 -->,\n"  /* 17 */
    "and falls to \u22120.52<!-- =slope +-0.05 --> at 98.3<!-- =loss 3% -->.\n" /* 18 */
    "\n"                                                                        /* 19 */
    "```console\n"                                                              /* 20 */
    "$ make chapter1   # as a student types it\n"                               /* 21 */
    "```\n"                                                                     /* 22 */
    "```console check.txt x10\n"                                                /* 23 */
    "  W1   8 x 784   3.1e-09   […]   ok\n"                                     /* 24 */
    "  ...\n"                                                                   /* 25 */
    "every one of 6272 derivatives agrees\n"                                    /* 26 */
    "```\n";                                                                    /* 27 */

static const char second_md[] =
    "# Second\n"                            /*  1 */
    "```c three times\n"                    /*  2 */
    "int three_times(int a) {\n"            /*  3 */
    "    return sum(a, sum(a, a));\n"       /*  4 */
    "}\n"                                   /*  5 */
    "```\n"                                 /*  6 */
    "```c measure.c: the rest: of it all\n" /*  7 */
    "int rest;\n"                           /*  8 */
    "```\n"                                 /*  9 */
    "```c src/tool.h: limit\n"              /* 10 */
    "#define LIMIT 3\n"                     /* 11 */
    "```\n"                                 /* 12 */
    "Before, it was 98<!-- =01-first/loss --> and, on all of MNIST, 71.25<!-- =mnist:loss -->.\n";

static const char readme[] =
    "# The book\n"                                                                 /*  1 */
    "\n"                                                                           /*  2 */
    "[One](chapters/01-first/README.md#why-hat-x-and-sum), [the\n"                 /*  3 */
    "second](chapters/02-second/README.md) and [web](https://example.org/x), $5\n" /*  4 */
    "![a plot](figures/plot.png) [up](#the-book) but not `[code](nowhere)`\n"      /*  5 */
    "```text\n"                                                                    /*  6 */
    "[not a link](nowhere) 5<!-- =nothing -->\n"                                   /*  7 */
    "```\n";                                                                       /*  8 */

static void book(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "book/%s", name);
    put(path, text);
}

/* The book that agrees, before each test. */
static int fresh(void **state) {
    (void)state;
    run("rm -rf '%s/book'", scratch());
    book("README.md", readme);
    book(ONE, first_md);
    book(TWO, second_md);
    book(FIRST, first_c);
    book("chapters/01-first/solution.c", "/* --- sum --- */\n/* --- end --- */\n");
    book(SECOND, second_c);
    book("chapters/02-second/measure.c", "/* --- the rest: of it all --- */\n\nint rest;\n");
    book("chapters/02-second/recorded/mnist.tsv",
         "# ./second --data data/mnist\nloss\t71.254\tnats\n");
    book("src/tool.h", "/* --- limit --- */\n#define LIMIT 3\n#endif\n");
    book("figures/plot.png", "png");
    book("build/01-first/results.tsv",
         "loss\t98.44\tnats\nentries\t3136\t\nworst\t1.2e-"
         "9\t\nslope\t-0.5\t\nbad\tnan\t\nendless\tinf\t\nbig\t1234567.8\t\n");
    book("build/01-first/check.txt", "chapter 1\n   W1  8 x 784   2.0e-09   [7,0]   ok\n   b1  8\n"
                                     "every one of 6272 derivatives agrees\n");
    return 0;
}

/* Puts `with` in the place of the first `old` in a file of the book. */
static void change(const char *name, const char *old, const char *with) {
    static char text[65536], changed[131072];
    char path[256];
    snprintf(path, sizeof path, "%s/book/%s", scratch(), name);
    slurp(text, sizeof text, path);
    const char *at = strstr(text, old);
    if (!at)
        fail_msg("\"%s\" is not in %s", old, name);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, with, at + strlen(old));
    book(name, changed);
}

/* Runs weave and requires exactly these findings, each given as "file:line: words of the message".
 */
#define finds(mode, ...) finds_all(mode, (const char *[]){__VA_ARGS__, NULL})
static void finds_all(const char *mode, const char *const *expected) {
    struct run r = run("build/bin/weave %s '%s/book'", mode, scratch());
    size_t n = 0;
    for (; expected[n]; n++) {
        char location[512];
        const char *colon = strstr(expected[n], ": ");
        snprintf(location, sizeof location, "%s/book/%.*s: ", scratch(), (int)(colon - expected[n]),
                 expected[n]);
        const char *line = strstr(r.err, location);
        while (line && strstr(line, colon + 2) == NULL)
            line = NULL;
        const char *words = line ? strstr(line, colon + 2) : NULL,
                   *end = line ? strchr(line, '\n') : NULL;
        while (line && words > end) { /* another finding of the same line */
            line = strstr(end, location);
            end = line ? strchr(line, '\n') : NULL;
            words = line ? strstr(line, colon + 2) : NULL;
        }
        if (!words)
            fail_msg("\"%s\" is not among the findings:\n%s", expected[n], r.err);
        const char *advice = memchr(line, ';', (size_t)(end - line));
        if (!advice)
            fail_msg("no advice in: %.*s", (int)(end - line), line);
    }
    if (count_lines(r.err) != (int)n)
        fail_msg("%zu findings were expected:\n%s", n, r.err);
    assert_int_equal(r.status, n ? 1 : 0);
    char total[64];
    snprintf(total, sizeof total, "weave: findings: %zu;", n);
    assert_contains(r.out, total);
}

/* Runs weave, requires success, and this among what it says. */
static void agrees(const char *mode, const char *words) {
    struct run r = run("build/bin/weave %s '%s/book'", mode, scratch());
    if (r.err[0] || r.status != 0)
        fail_msg("status %d:\n%s", r.status, r.err);
    assert_contains(r.out, words);
}

/* Requires these words in a file of the book. */
static void holds(const char *name, const char *words) {
    static char text[65536];
    char path[256];
    snprintf(path, sizeof path, "%s/book/%s", scratch(), name);
    slurp(text, sizeof text, path);
    assert_contains(text, words);
}

/* One change of the fresh book each, and the one finding of it; none: the book still agrees. */
struct broken {
    const char *mode, *file, *old, *with, *finding;
};
static void try_all(const struct broken *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        fresh(NULL);
        change(cases[i].file, cases[i].old, cases[i].with);
        if (cases[i].finding)
            finds(cases[i].mode, cases[i].finding);
        else
            agrees(cases[i].mode, "findings: 0;");
    }
}
#define try_each(cases) try_all(cases, sizeof cases / sizeof *cases)

static void test_a_book_that_agrees(void **state) {
    (void)state;
    agrees(
        "--check",
        "weave: findings: 0; chapters 2, listings 5, carried blocks 1, links 4, numbers 1, "
        "console blocks 0; left to --verify: numbers 5, console blocks 1; not followed: external "
        "links 1\n");
    agrees("", "listings 5, carried blocks 1, links 4, numbers 1,");
    agrees("--verify", "numbers 6, console blocks 1; left to --verify: numbers 0,");
    struct run r = run("cd '%s/book' && ../../../bin/weave --verify", scratch());
    assert_int_equal(r.status, 0);
    r = run("build/bin/weave --write '%s/book' && rm -r '%s/book/chapters'", scratch(), scratch());
    assert_int_equal(count_lines(r.out), 2); /* what it wrote are the numbers as measured */
    book("README.md", "# Book\n");
    finds("--check", "chapters:1: no chapter is here");
}

static void test_options(void **state) {
    (void)state;
    struct run r = run("build/bin/weave --help");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "--verify");
    const char *const wrong[] = {"--chek", "--check --write x", ". ."};
    for (size_t i = 0; i < 3; i++) {
        r = run("build/bin/weave %s", wrong[i]);
        assert_int_equal(r.status, 2);
        assert_contains(r.err, "usage: ");
    }
    r = run("build/bin/weave --check '%s/nowhere'", scratch());
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "nowhere: ");
    r = run("build/bin/weave --check '%s/book' >/dev/full", scratch());
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "stdout");
}

static void test_listings(void **state) {
    (void)state;
    const char *const m = "--check";
    const struct broken cases[] = {
        {m, ONE, "> int sum(int a, int b) {", "> int sum(int a, int c) {",
         ONE ":5: \"sum\" has drifted: here \"int sum(int a, int c) {\""},
        {m, ONE, "    return sum(a, a);\n", "", ONE ":13: first.c:17 has \"return sum(a, a);\""},
        {m, ONE, "a);\n}\n", "a);\n", ONE ":14: here nothing more"},
        {m, ONE, "a);\n}\n", "a);\n}\n\n", ONE ":15: has nothing more"},
        {m, TWO, "src/tool.h: limit", "src/tol.h: limit", TWO ":10: \"limit\" is not in src/tol.h"},
        {m, TWO, "of it all", "of it", TWO ":7: is not in chapters/02-second/measure.c"},
        {m, "README.md", "```text", "```c sum", "README.md:6: not in a program of this page"},
        {m, ONE, "# First\n", "```c twice\nint twice(int a) {\n    return sum(a, a);\n}\n```\n",
         ONE ":15: already shown"},
        {m, ONE, "and falls", "```c twice", ONE ":18: not closed by line 19"},
        {m, ONE, "student types it\n```\n", "student types it\n", ONE ":20: not closed by line 21"},
        {m, "README.md", "```text", "```python", "README.md:6: unknown info string \"python\""},
        {m, "README.md", "```text", "```", "README.md:6: unknown info string \"\""},
        {m, "README.md", "```text", "```sh now", "README.md:6: unknown info string \"sh now\""},
        {m, SECOND, "#ifndef", "/* --- four --- */\nint four;\n\n#ifndef",
         SECOND ":12: block \"four\" is never shown"},
        {m, SECOND, "int main", "/* --- main --- */\nint main",
         SECOND ":13: \"main\" is never shown"},
    };
    try_each(cases);
    fresh(NULL);
    change(ONE, "```c twice", "```c thrice");
    finds(m, ONE ":11: \"thrice\" is not in " FIRST, FIRST ":15: never shown");
    fresh(NULL); /* a quotation that ends takes its fence along */
    change(ONE, "> }\n> ```\n", "> }\nplain\n");
    finds(m, ONE ":4: not closed by line 8", FIRST ":10: never shown");
    fresh(NULL); /* a shown block in the program part ends before the file's #endif */
    change(SECOND, "int main", "/* --- main --- */\nint main");
    change(TWO, "# Second\n", "```c main\nint main(void) {\n    return three_times(0);\n}\n```\n");
    agrees(m, "listings 6");
}

static void test_banners(void **state) {
    (void)state;
    const char *const m = "--check";
    const struct broken cases[] = {
        {m, SECOND, "#ifndef", "/* --- open\n   */\n#ifndef", SECOND ":12: broken banner"},
        {m, SECOND, "#ifndef", "/* --- two dashes -- */\n#ifndef", SECOND ":12: broken banner"},
        {m, SECOND, "#ifndef", "/* --- sum (chapter one) --- */\n#ifndef",
         SECOND ":12: broken banner"},
        {m, SECOND, "#ifndef", "/* --- sum (chapter 1) --- */\nint sum;\n#ifndef", NULL},
        {m, SECOND, "int three", "\n\nint three", NULL}, /* blank lines around a block */
    };
    try_all(cases, 3);
    try_all(cases + 4, 1);
    fresh(NULL);
    change(SECOND, "#ifndef", cases[3].with);
    finds(m, SECOND ":12: \"sum\" is here twice", SECOND ":13: differs");
}

static void test_carried_blocks(void **state) {
    (void)state;
    const char *const m = "--check";
    const struct broken cases[] = {
        {m, SECOND, "a + b;", "b + a;", SECOND ":4: carried block \"sum\" differs"},
        {m, SECOND, "a + b;", "b + a;", SECOND ":4: first.c:13 has \"return a + b;\""},
        {m, SECOND, "(chapter 1)", "(chapter 7)", SECOND ":1: no home in chapter 7"},
        {m, SECOND, "(chapter 1)", "(chapter 2)", SECOND ":1: no home in chapter 2"},
        {m, SECOND, "sum (chapter 1)", "some (chapter 1)", SECOND ":1: \"some\" has no home"},
        {m, "chapters/02-second/measure.c", "int rest;\n",
         "int rest;\n/* --- sum (chapter 1) --- */\nint sum;\n",
         "chapters/02-second/measure.c:5: carried block \"sum\" differs"},
        {m, "chapters/01-first/solution.c", "/* --- end",
         "/* --- sum (chapter 2) --- */\n/* --- end",
         "chapters/01-first/solution.c:2: \"sum\" is here twice"},
    };
    try_all(cases, 6);
    fresh(NULL);
    change(cases[6].file, cases[6].old, cases[6].with);
    finds(m, cases[6].finding, "chapters/01-first/solution.c:2: no home in chapter 2");
    fresh(NULL);
    run("mv '%s/book/" SECOND "' '%s/book/chapters/02-second/other.c'", scratch(), scratch());
    finds(m, SECOND ":1: is missing", TWO ":2: \"three times\" is not in " SECOND);
}

static void test_contents(void **state) {
    (void)state;
    const char *const m = "--check";
    const struct broken cases[] = {
        {m, FIRST, "new                     9", "new                     8",
         FIRST ":4: starts in line 9, not 8"},
        {m, FIRST, "twice                          15", "twice                          16",
         FIRST ":5: twice starts in line 15, not 16"},
        {m, FIRST, "          twice", "          thrice", FIRST ":5: is not a part or block"},
        {m, FIRST, "program                    20", "program 20", NULL},
        {m, FIRST, "     II.  The program                    20\n", "", NULL},
        {m, FIRST, "=== I. What", "=== IV. What", NULL},
        {m, FIRST, "I.   What is new  ", "I.   Another title", NULL},
    };
    try_all(cases, 3);
    try_all(cases + 6, 1);
    static const char *const also[] = {FIRST ":6: not a part", FIRST ":4: starts in line 8",
                                       FIRST ":4: not a part"};
    for (size_t i = 3; i < 6; i++) {
        fresh(NULL);
        change(FIRST, cases[i].old, cases[i].with);
        if (i == 4) /* one line fewer moves the rest, which --write puts right */
            finds("--write", FIRST ":19: part II. is not in the contents");
        else
            finds(m, also[i - 3],
                  i == 3 ? FIRST ":20: part II. is not in" : FIRST ":9: part IV. is not in");
    }
    fresh(NULL); /* without parts there need be no contents, with a part there must */
    change(SECOND, "#ifndef", "/* === IV. The program === */\n#ifndef");
    finds(m, SECOND ":12: part IV. is not in the contents");
    fresh(NULL); /* a copy that grows moves the parts after it */
    change(SECOND, "/* --- sum",
           "/* Contents\n     three times  9\n     II. End  14\n\n*/\n/* --- sum");
    change(SECOND, "#ifndef", "/* === II. End === */\n#ifndef");
    change(SECOND, "\n    return a + b;\n", "");
    struct run r = run("build/bin/weave --write '%s/book'", scratch());
    assert_string_equal(r.err, "");
    holds(SECOND, "     three times  12\n     II. End  17\n\n*/\n");
    holds(SECOND, "\n\n    return a + b;\n}\n");
    agrees(m, "findings: 0;");
}

static void test_backticks_are_refused(void **state) {
    (void)state;
    change(SECOND, "int three", "  ```\nint three");
    change(ONE, "> int sum", "> int some");
    finds("--write", SECOND ":8: three backticks", TWO ":3: drifted", ONE ":5: drifted");
    holds(ONE, "> int some"); /* nothing at all is written */
    holds(TWO, "```c three times\nint three");
}

static void test_numbers(void **state) {
    (void)state;
    const char *const c = "--check", *const v = "--verify", *const loss = "98.3<!-- =loss 3% -->";
    const char *const broken = ONE ":18: is no result after a number";
    const struct broken cases[] = {
        {c, ONE, loss, "**98.3**<!-- =loss 3% -->", broken},
        {c, ONE, loss, "98.3 <!-- =loss 3% -->", broken},
        {c, ONE, loss, "W3<!-- =loss 3% -->", broken},
        {c, ONE, loss, "1.2.3<!-- =loss 3% -->", broken},
        {c, ONE, loss, "1,23<!-- =loss 3% -->", broken},
        {c, ONE, loss, "98.3<!-- =loss 3 -->", broken},
        {c, ONE, loss, "98.3<!-- =loss x0.5 -->", broken},
        {c, ONE, loss, "98.3<!-- =loss +--1 -->", broken},
        {c, ONE, loss, "98.3<!-- = loss -->", broken},
        {c, ONE, loss, "98.3<!-- =loss 3% more -->", broken},
        {c, ONE, loss, "98.3<!-- loss -->", broken},
        {c, ONE, loss, "98.3<!-- =07-none/loss -->", broken},
        {c, ONE, loss, "98.3<!-- =:loss -->", broken},
        {c, ONE, loss, "<!-- a remark -->", NULL},
        {c, ONE, loss, "98.3<!-- =loss 3%", ONE ":18: never closed"},
        {c, ONE, loss, "$98.3<!-- =loss 3% -->$", ONE ":18: printed as maths"},
        {c, "README.md", "[One]", "5<!-- =loss --> [One]", "README.md:3: is no result"},
        {v, ONE, loss, "101.3<!-- =loss 3% -->", NULL},
        {v, ONE, loss, "101.5<!-- =loss 3% -->", ONE ":18: states 101.5, but "},
        {v, ONE, loss, "98<!-- =loss 0.1% -->", NULL}, /* rounded */
        {v, ONE, loss, "98.4<!-- =loss -->", NULL},
        {v, ONE, loss, "98.5<!-- =loss -->", ONE ":18: has 98.44 for \"=loss\""},
        {v, ONE, loss, "9.8e1<!-- =loss -->", NULL},
        {v, ONE, loss, "9.9e1<!-- =loss -->", ONE ":18: states 9.9e1"},
        {v, ONE, "4e-9", "1.2e-8", NULL},
        {v, ONE, "4e-9", "1.3e-8", ONE ":17: states 1.3e-8"},
        {v, ONE, "4e-9", "1.1e-10", ONE ":17: states 1.1e-10"},
        {v, ONE, "4e-9", "-1e-9", ONE ":17: states -1e-9"},
        {v, ONE, "\u22120.52", "-0.55", NULL},
        {v, ONE, "\u22120.52", "0.52", ONE ":18: states 0.52"},
        {v, ONE, "\u22120.52", "\u22120.56", ONE ":18: =slope +-0.05"},
        {v, ONE, "3,136", "3136", NULL},
        {v, ONE, "3,136", "3,137", ONE ":17: states 3,137"},
        {v, ONE, "=entries", "=bad", ONE ":17: has nan"},
        {v, ONE, "3,136<!-- =entries -->", "3<!-- =endless 3% -->", ONE ":17: has inf"},
        {v, ONE, "=entries", "=nobody", ONE ":17: \"=nobody\" is not in "},
        {v, TWO, "98<", "97<", TWO ":13: states 97"},
        {c, TWO, "71.25", "71.35", TWO ":13: recorded/mnist.tsv has 71.254"}, /* without a run */
        {c, TWO, "mnist:", "fashion:", TWO ":13: recorded/fashion.tsv, which cannot be read"},
        {v, "build/01-first/results.tsv", "big\t", "loss\t", "build/01-first/results.tsv:7: twice"},
    };
    try_all(cases, sizeof cases / sizeof *cases - 1);
    fresh(NULL);
    change("build/01-first/results.tsv", "big\t", "entries\t");
    finds(v, "build/01-first/results.tsv:7: entries stands here twice", ONE ":17: states 3,136");
    run("rm '%s/book/build/01-first/results.tsv'", scratch()); /* told once, not for each number */
    finds(v, ONE ":17: results.tsv, which cannot be read");
}

static void test_console_blocks(void **state) {
    (void)state;
    const char *const c = "--check", *const v = "--verify";
    const struct broken cases[] = {
        {v, ONE, "784   3.1e-09", "784 2.2e-08",
         ONE ":24: \"W1  8 x 784   2.0e-09   [7,0]   ok\" is"},
        {v, ONE, "  W1", "  W2", ONE ":24: is not in "},
        {v, ONE, "  ...\n", "", ONE ":25: \"b1  8\" is nearest, in line 3"},
        {v, ONE, "agrees\n", "agrees\nand more\n", ONE ":27: its end"},
        {v, ONE, "  ...\n", "  b1 8\n", NULL},
        {v, ONE, "[…]", "[7,0]", NULL},
        {v, ONE, "[…]", "[7,1]", ONE ":24: \"W1   8 x 784"},
        {v, ONE, "[…]   ok", "[…", NULL},
        {v, ONE, "[…]   ok", "[…]", ONE ":24: is not in"},
        {v, ONE, "W1   8 x 784", "W1  8  x  784", NULL},
        {v, ONE, "W1   8 x 784", "W1  8 x784", ONE ":24: is not in"},
        {v, ONE, "check.txt x10", "check.txt", ONE ":24: is not in"},
        {v, ONE, "check.txt x10", "other.txt", ONE ":23: other.txt is missing"},
        {v, ONE, "every one of 6272 derivatives agrees", "chapter 1", /* out of order */
         ONE ":26: \"chapter 1\" is not in"},
        {c, ONE, "$ make chapter1", "make chapter1", ONE ":21: is held to nothing"},
        {c, ONE, "check.txt x10", "check.txt ten", ONE ":23: unknown tolerance"},
        {c, ONE, "check.txt x10", "check.txt x10 x10", ONE ":23: unknown tolerance"},
    };
    try_each(cases);
}

static void test_links(void **state) {
    (void)state;
    const char *const m = "--check";
    const struct broken cases[] = {
        {m, "README.md", "02-second/README.md", "02-secnd/README.md", "README.md:4: leads nowhere"},
        {m, "README.md", "(chapters/02-second/README.md)", "()", "README.md:4: leads nowhere"},
        {m, "README.md", "(chapters/02-second/README.md)", "(build/01-first/check.txt)",
         "README.md:4: into build/"},
        {m, "README.md", "figures/plot.png", "figures/plan.png", "README.md:5: leads nowhere"},
        {m, "README.md", "#why-hat-x-and-sum", "#why-x-and-sum",
         "README.md:3: has the anchor #why-x"},
        {m, "README.md", "(#the-book)", "(#the-books)", "README.md:5: no heading of "},
        {m, "README.md", "`[code](nowhere)`", "[code](nowhere)", "README.md:5: leads nowhere"},
        /* Forms of markdown that the pages do not use are told, not skipped. */
        {m, "README.md", "[up](#the-book)", "[up][book]", "README.md:5: \"][\" is a form"},
        {m, "README.md", "[up](#the-book)", "<a href='x'>", "README.md:5: \"<a\" is a form"},
        {m, "README.md", "[up](#the-book)", "[up](#the-book 'title')", NULL},
        {m, "README.md", "`[code]", "[code]", NULL},
    };
    try_all(cases, 9);
    fresh(NULL);
    change("README.md", cases[9].old, cases[9].with);
    finds(m, "README.md:5: is a form", "README.md:5: no heading of");
    fresh(NULL);
    change("README.md", cases[10].old, cases[10].with);
    finds(m, "README.md:5: \"`\" is a form", "README.md:5: \"nowhere\" leads nowhere");
    fresh(NULL);
    book("data/README.md", "# Data\n\n[x](../src/tool.h) [y](tool.h)\n");
    finds(m, "data/README.md:3: \"tool.h\" leads nowhere");
}

static void test_write_repairs(void **state) {
    (void)state;
    change(SECOND, "return a + b;", "return b + a;");
    change(FIRST, "new                     9", "new                   123");
    change(ONE, "> int sum(int a, int b) {\n>\n", "> nothing like it\n");
    change(TWO, "return sum(a, sum(a, a));", "return a;");
    change(ONE, "# First", "# First 7<!-- =loss 0% -->");
    change(ONE, "98.3<!--", "7.1<!--");
    change(ONE, "3,136<!-- =entries", "7<!-- =entries");
    change(ONE, "4e-9<!--", "4.1e-09<!--");
    change(ONE, "\u22120.52<!--", "1.234<!--");
    change(TWO, "71.25", "1");
    finds("--check", SECOND ":4: differs", FIRST ":4: not 123", ONE ":5: drifted",
          TWO ":4: drifted", TWO ":13: recorded");
    struct run r =
        run("chmod 640 '%s/book/" ONE "'; build/bin/weave --write '%s/book'", scratch(), scratch());
    assert_string_equal(r.err, "");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "wrote ");
    assert_int_equal(count_lines(r.out), 5);
    holds(SECOND, second_c);
    holds(FIRST, first_c);
    holds(ONE, "> ```c sum\n> int sum(int a, int b) {\n>\n>     return a + b;\n> }\n> ```\n");
    holds(ONE, "# First 98<!-- =loss 0% -->\n");
    holds(ONE, "98.4<!-- =loss 3% -->");
    holds(ONE, "takes 3,136<!-- =entries -->");
    holds(ONE, "by 1.2e-09<!-- =worst x10 -->");
    holds(ONE, "to \u22120.500<!-- =slope");
    holds(TWO, "    return sum(a, sum(a, a));\n}\n```\n");
    holds(TWO, ", 71<!-- =mnist:loss -->");
    agrees("--verify", "findings: 0;");
    struct stat info;
    char path[256];
    snprintf(path, sizeof path, "%s/book/" ONE, scratch());
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    r = run("build/bin/weave --write '%s/book'",
            scratch()); /* nothing more to do, nothing touched */
    assert_int_equal(r.status, 0);
    assert_int_equal(count_lines(r.out), 1);
    r = run("find '%s/book' -name '*.tmp'", scratch());
    assert_string_equal(r.out, "");
}

static void test_write_keeps_the_form_of_numbers(void **state) {
    (void)state;
    static const char *const forms[][2] = {
        {"1.00<!-- =big -->", "1,234,567.80<!-- =big -->"},
        {"1000<!-- =big -->", "1234568<!-- =big -->"},
        {"1e2<!-- =big -->", "1e6<!-- =big -->"},
        {"1.5e02<!-- =big -->", "1.2e06<!-- =big -->"},
        {"-3<!-- =slope -->", "-0<!-- =slope -->"},
        {"-3.0<!-- =slope -->", "-0.5<!-- =slope -->"},
        {"1<!-- =worst -->", "0<!-- =worst -->"},
        {"1.0e-1<!-- =worst -->", "1.2e-9<!-- =worst -->"},
        {"1,000<!-- =loss -->", "98<!-- =loss -->"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        fresh(NULL);
        change(ONE, "98.3<!-- =loss 3% -->", forms[i][0]);
        struct run r = run("build/bin/weave --write '%s/book'", scratch());
        assert_int_equal(r.status, 0);
        if (strcmp(forms[i][1], "-0<!-- =slope -->") == 0)
            holds(ONE, "at 0<!-- =slope -->"); /* rounded to zero: no sign */
        else
            holds(ONE, forms[i][1]);
        agrees("--verify", "numbers 6,");
    }
}

static void test_write_leaves_what_it_cannot_know(void **state) {
    (void)state;
    run("rm -r '%s/book/build'", scratch());
    change(ONE, "98.3<!--", "7.1<!--");
    agrees("--write", "left to --verify: numbers 5,");
    holds(ONE, "7.1<!-- =loss 3% -->");
    fresh(NULL); /* what --write cannot repair, it reports like --check */
    change(ONE, "98.3<!-- =loss", "7.1<!-- =bad");
    change(ONE, "```c twice", "```c thrice");
    finds("--write", ONE ":11: \"thrice\"", ONE ":18: has nan", FIRST ":15: never shown");
    holds(ONE, "7.1<!-- =bad 3% -->");
}

static void test_write_fails_whole(void **state) {
    (void)state;
    change(ONE, "> int sum", "> int some");
    run("mkdir '%s/book/" ONE ".tmp'",
        scratch()); /* root may write anywhere, so a folder is in the way */
    struct run r = run("build/bin/weave --write '%s/book'", scratch());
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, ONE ": cannot be written: ");
    holds(ONE, "> int some");
    fresh(NULL); /* no room: the page stays as it was and no .tmp is left */
    change(ONE, "> int sum", "> int some");
    run("head -c 9000 /dev/zero | tr '\\0' x >>'%s/book/" ONE "'", scratch());
    r = run("trap '' XFSZ; ulimit -f 8; build/bin/weave --write '%s/book'", scratch());
    assert_int_equal(r.status, 1);
    assert_contains(r.err, ONE ": cannot be written: ");
    holds(ONE, "> int some");
    r = run("find '%s/book' -name '*.tmp'", scratch());
    assert_string_equal(r.out, "");
}

static void test_files_that_are_no_text(void **state) {
    (void)state;
    change(TWO, "# Second\n", "# Second\r\n");
    finds("--check", TWO ":1: carriage return");
    put_bytes("book/" TWO, "# x\n\0\n", 6);
    finds("--check", TWO ":1: NUL");
    book(TWO, "");
    finds("--check", TWO ":1: is empty");
    fresh(NULL); /* a page without a last newline, and one with a line of 3 MB */
    run("printf '[x](#none)' >> '%s/book/" TWO "'", scratch());
    finds("--check", TWO ":14: the anchor #none");
    run("{ head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo '[y](none)'; } >> '%s/book/" TWO
        "'",
        scratch());
    finds("--check", TWO ":14: the anchor #none", TWO ":15: \"none\" leads nowhere");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_book_that_agrees, fresh),
        cmocka_unit_test_setup(test_options, fresh),
        cmocka_unit_test_setup(test_listings, fresh),
        cmocka_unit_test_setup(test_banners, fresh),
        cmocka_unit_test_setup(test_carried_blocks, fresh),
        cmocka_unit_test_setup(test_contents, fresh),
        cmocka_unit_test_setup(test_backticks_are_refused, fresh),
        cmocka_unit_test_setup(test_numbers, fresh),
        cmocka_unit_test_setup(test_console_blocks, fresh),
        cmocka_unit_test_setup(test_links, fresh),
        cmocka_unit_test_setup(test_write_repairs, fresh),
        cmocka_unit_test_setup(test_write_keeps_the_form_of_numbers, fresh),
        cmocka_unit_test_setup(test_write_leaves_what_it_cannot_know, fresh),
        cmocka_unit_test_setup(test_write_fails_whole, fresh),
        cmocka_unit_test_setup(test_files_that_are_no_text, fresh),
    };
    return cmocka_run_group_tests_name("weave", tests, NULL, remove_scratch);
}
