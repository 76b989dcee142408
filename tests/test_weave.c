/* test_weave.c: each test writes a small book that agrees with its programs and runs, breaks one
   thing, and requires the one finding, with its file and line, that should come of it. `finds` also
   fails on a finding too many, so a tool that complained about everything would not pass either. */
#define _POSIX_C_SOURCE 200809L
#include "run.h"

#define ONE "chapters/01-first/README.md"
#define TWO "chapters/02-second/README.md"

static const char first_c[] = "/* first.c: the smallest program with blocks. */\n"    /*  1 */
                              "#include <stdio.h>\n"                                  /*  2 */
                              "\n"                                                    /*  3 */
                              "/* --- sum ------------------------------------- */\n" /*  4 */
                              "int sum(int a, int b) {\n"                             /*  5 */
                              "\n"                                                    /*  6 */
                              "    return a + b;\n"                                   /*  7 */
                              "}\n"                                                   /*  8 */
                              "\n"                                                    /*  9 */
                              "/* --- twice ----------------------------------- */\n" /* 10 */
                              "int twice(int a) {\n"                                  /* 11 */
                              "    return sum(a, a);\n"                               /* 12 */
                              "}\n"                                                   /* 13 */
                              "\n"                                                    /* 14 */
                              "#ifndef WORKBOOK_TEST\n"                               /* 15 */
                              "int main(void) {\n"                                    /* 16 */
                              "    return printf(\"%d\\n\", twice(1)) < 0;\n"         /* 17 */
                              "}\n"                                                   /* 18 */
                              "#endif\n";                                             /* 19 */

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
    "\n"                                                                        /*  4 */
    "> ```c sum\n"                                                              /*  5 */
    "> int sum(int a, int b) {\n"                                               /*  6 */
    ">\n"                                                                       /*  7 */
    ">     return a + b;\n"                                                     /*  8 */
    "> }\n"                                                                     /*  9 */
    "> ```\n"                                                                   /* 10 */
    "\n"                                                                        /* 11 */
    "```c twice\n"                                                              /* 12 */
    "int twice(int a) {\n"                                                      /* 13 */
    "    return sum(a, a);\n"                                                   /* 14 */
    "}\n"                                                                       /* 15 */
    "```\n"                                                                     /* 16 */
    "\n"                                                                        /* 17 */
    "It takes 3,136<!-- =entries --> steps, off by 4e-9<!-- =worst x10 -->,\n"  /* 18 */
    "and falls to \u22120.52<!-- =slope +-0.05 --> at 98.3<!-- =loss 3% -->.\n" /* 19 */
    "\n"                                                                        /* 20 */
    "```console\n"                                                              /* 21 */
    "$ make chapter1 \\\n"                                                      /* 22 */
    "    ARGS=--help\n"                                                         /* 23 */
    "# and then\n"                                                              /* 24 */
    "```\n"                                                                     /* 25 */
    "\n"                                                                        /* 26 */
    "```console check.txt x10\n"                                                /* 27 */
    "$ make check1\n"                                                           /* 28 */
    "  W1   8 x 784   3.1e-09   […]   ok\n"                                     /* 29 */
    "  ...\n"                                                                   /* 30 */
    "every one of 6272 derivatives agrees\n"                                    /* 31 */
    "```\n";                                                                    /* 32 */

static const char second_md[] =
    "# Second\n"                         /*  1 */
    "\n"                                 /*  2 */
    "1. A list holds a listing:\n"       /*  3 */
    "\n"                                 /*  4 */
    "   ```c three times\n"              /*  5 */
    "   int three_times(int a) {\n"      /*  6 */
    "       return sum(a, sum(a, a));\n" /*  7 */
    "   }\n"                             /*  8 */
    "   ```\n"                           /*  9 */
    "\n"                                 /* 10 */
    "~~~c ../01-first/first.c: twice\n"  /* 11 */
    "int twice(int a) {\n"               /* 12 */
    "    return sum(a, a);\n"            /* 13 */
    "}\n"                                /* 14 */
    "~~~\n"                              /* 15 */
    "\n"                                 /* 16 */
    "```c src/tool.h: limit\n"           /* 17 */
    "#define LIMIT 3\n"                  /* 18 */
    "```\n"                              /* 19 */
    "\n"                                 /* 20 */
    "Before, it was 98<!-- =01-first/loss --> and, on all of MNIST, 71.25<!-- =mnist:loss -->.\n";

static const char readme[] =
    "# The book\n"                                                                      /*  1 */
    "\n"                                                                                /*  2 */
    "[One](chapters/01-first/README.md#why-hat-x-and-sum), [the\n"                      /*  3 */
    "second](./chapters/02-second/) and [web](https://example.org/x) \\[not](a link)\n" /*  4 */
    "![a plot](figures/a%20plot.png \"title\") <img src='figures/a plot.png'>\n"        /*  5 */
    "<a id=\"here\" href=\"chapters/01-first/first.c\">c</a> [up](#the-book-1) [h](#here)\n" /*  6
                                                                                              */
    "[by label][Tool] and [tool][] but not `[code](nowhere)` nor $f[i](x)$ nor [^1]\n" /*  7 */
    "\n"                                                                               /*  8 */
    "```text\n"                                                                        /*  9 */
    "[not a link](nowhere) 5<!-- =nothing -->\n"                                       /* 10 */
    "```\n"                                                                            /* 11 */
    "\n"                                                                               /* 12 */
    "[tool]: <src/tool.h>\n"                                                           /* 13 */
    "# The book\n"                                                                     /* 14 */
    "\n"                                                                               /* 15 */
    "<!-- nothing here is shown\n"                                                     /* 16 */
    "```c gone\n"                                                                      /* 17 */
    "[gone](gone) -->\n"                                                               /* 18 */
    "$5 and [$6](src/tool.h) `` ` [x](y) `` and $$[a](b)$$\n";                         /* 19 */

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
    book("chapters/01-first/first.c", first_c);
    book("chapters/01-first/test_first.c", "/* --- sum --- */\n");
    book("chapters/02-second/second.c", second_c);
    book("chapters/02-second/recorded/mnist.tsv",
         "# ./second --data data/mnist\nloss\t71.254\tnats\n");
    book("src/tool.h", "/* --- limit --- */\n#define LIMIT 3\n");
    book("figures/a plot.png", "png");
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
    assert_int_equal(count_lines(r.out) >= 1, 1);
    char total[64];
    snprintf(total, sizeof total, "weave: %zu finding%s in ", n, n == 1 ? "" : "s");
    if (n)
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

static void test_a_book_that_agrees(void **state) {
    (void)state;
    agrees(
        "--check",
        "weave: 2 chapters, 5 listings, 1 carried block, 9 links, 1 number agree; 1 external link "
        "not followed, 5 numbers and 1 console block left to --verify\n");
    agrees("", "2 chapters, 5 listings");
    agrees("--verify", "weave: 2 chapters, 5 listings, 1 carried block, 9 links, 6 numbers, 1 "
                       "console block agree; "
                       "1 external link not followed\n");
    struct run r = run("cd '%s/book' && ../../../bin/weave --verify", scratch());
    assert_int_equal(r.status, 0);
}

static void test_options(void **state) {
    (void)state;
    struct run r = run("build/bin/weave --help");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "--verify");
    const char *const wrong[] = {"--chek", "--check --write", ". ."};
    for (size_t i = 0; i < 3; i++) {
        r = run("build/bin/weave %s", wrong[i]);
        assert_int_equal(r.status, 2);
        assert_int_equal(count_lines(r.err), 1);
        assert_contains(r.err, "--help");
    }
    r = run("build/bin/weave --check '%s/nowhere'", scratch());
    assert_int_equal(r.status, 1);
    assert_int_equal(count_lines(r.err), 1);
    assert_contains(r.err, "nowhere: ");
    r = run("build/bin/weave --check '%s/book' >/dev/full", scratch());
    assert_int_equal(r.status, 1);
    assert_contains(r.err, "stdout");
}

static void test_no_chapters_is_a_finding(void **state) {
    (void)state;
    run("rm -r '%s/book/chapters'", scratch());
    book("README.md", "# Book\n");
    finds("--check", "chapters:1: no chapter is here");
}

static void test_listing_that_drifted(void **state) {
    (void)state;
    change(ONE, "> int sum(int a, int b) {", "> int sum(int a, int c) {");
    finds("--check", ONE ":6: \"sum\" has drifted: here \"int sum(int a, int c) {\"");
    change(ONE, "int c", "int b");
    change("chapters/01-first/first.c", "return sum(a, a);\n",
           "return sum(a, a);\n    /* more */\n");
    finds("--check", ONE ":15: here \"}\"", TWO ":14: has \"/* more */\"");
    finds("--check", ONE ":15: first.c:13 has \"/* more */\"", TWO ":14: twice");
    change(ONE, "    return sum(a, a);\n}\n", "    return sum(a, a);\n    /* more */\n");
    finds("--check", ONE ":16: here nothing more", TWO ":14: twice");
}

static void test_listing_of_nothing(void **state) {
    (void)state;
    change(ONE, "```c twice", "```c thrice");
    finds("--check", ONE ":12: block \"thrice\", which is not in chapters/01-first/first.c",
          "chapters/01-first/first.c:10: never shown");
    fresh(NULL);
    change(TWO, "src/tool.h: limit", "src/tol.h: limit");
    finds("--check", TWO ":17: neither beside this page nor under the root");
    fresh(NULL);
    change(TWO, "src/tool.h: limit", "src/tool.h: limits");
    finds("--check", TWO ":17: \"limits\", which is not in src/tool.h");
    fresh(NULL);
    change("README.md", "```text", "```c sum");
    finds("--check", "README.md:9: page without a program");
}

static void test_listing_shown_twice(void **state) {
    (void)state;
    change(ONE, "# First\n", "```c twice\nint twice(int a) {\n    return sum(a, a);\n}\n```\n");
    finds("--check", ONE ":16: already shown in line 1");
}

static void test_home_block_never_shown(void **state) {
    (void)state;
    change("chapters/02-second/second.c", "#ifndef", "/* --- four --- */\nint four;\n\n#ifndef");
    finds("--check", "chapters/02-second/second.c:12: block \"four\" is never shown");
}

static void test_banners(void **state) {
    (void)state;
    const char *c = "chapters/01-first/first.c";
    change(c, "int main", "/* --- main --- */\nint main");
    finds("--check", "chapters/01-first/first.c:16: after #ifndef WORKBOOK_TEST");
    fresh(NULL);
    change(c, "\n#ifndef", "\n/* --- twice --- */\nint again;\n#ifndef");
    finds("--check", "chapters/01-first/first.c:15: already in line 10",
          "chapters/01-first/first.c:15: never shown");
    fresh(NULL);
    change(c, "\n#ifndef", "\n  /* --- indented --- */\n#ifndef");
    finds("--check", "chapters/01-first/first.c:15: indented");
    fresh(NULL);
    change(c, "\n#ifndef", "\n/* --- open\n   */\n#ifndef");
    finds("--check", "chapters/01-first/first.c:15: broken banner");
    fresh(NULL);
    change(c, "\n#ifndef", "\n/* --- two dashes -- */\n#ifndef");
    finds("--check", "chapters/01-first/first.c:15: broken banner");
    fresh(NULL);
    change(c, "int twice", "\n\nint twice"); /* blank lines around a block do not belong to it */
    agrees("--check", "5 listings");
    fresh(NULL);
    change(c, "\n#ifndef", "\n/* --- sum (chapter one) --- */\n#ifndef");
    finds("--check", "chapters/01-first/first.c:15: broken banner");
    fresh(NULL);
    change(c, "\n#ifndef", "\n/* --- hollow --- */\n\n#ifndef");
    finds("--check", "chapters/01-first/first.c:15: \"hollow\" has no lines",
          "chapters/01-first/first.c:15: never shown");
}

static void test_carried_blocks(void **state) {
    (void)state;
    const char *c = "chapters/02-second/second.c";
    change(c, "return a + b;", "return b + a;");
    finds("--check", "chapters/02-second/second.c:4: here \"return b + a;\"");
    finds("--check",
          "chapters/02-second/second.c:4: chapters/01-first/first.c:7 has \"return a + b;\"");
    fresh(NULL);
    change(c, "(chapter 1)", "(chapter 7)");
    finds("--check", "chapters/02-second/second.c:1: says chapter 7, and there is no such chapter");
    fresh(NULL);
    change(c, "(chapter 1)", "(chapter 2)");
    finds("--check", "chapters/02-second/second.c:1: which is this one");
    fresh(NULL);
    change(c, "sum (chapter 1)", "some (chapter 1)");
    finds("--check", "chapters/02-second/second.c:1: \"some\" is not in chapters/01-first/first.c");
    fresh(NULL);
    book("chapters/03-third/third.c", "/* --- sum (chapter 2) --- */\nint sum;\n");
    book("chapters/03-third/README.md", "# Third\n");
    finds("--check", "chapters/03-third/third.c:1: itself a copy in chapters/02-second/second.c; "
                     "name its home, chapter 1");
    fresh(NULL); /* an exercise may have banners of its own, but a copy is a copy */
    book("chapters/02-second/exercise.c",
         "  /* --- yours --- */\n/* --- sum (chapter 1) --- */\nint sum;\n");
    finds("--check", "chapters/02-second/exercise.c:3: carried block \"sum\" differs");
}

static void test_one_program_a_chapter(void **state) {
    (void)state;
    book("chapters/01-first/other.c", "int other;\n");
    finds("--check", "chapters/01-first/other.c:1: second program beside first.c");
    fresh(NULL);
    run("mkdir '%s/book/chapters/03-third'", scratch());
    finds("--check", "chapters/03-third:1: holds no program",
          "chapters/03-third/README.md:1: is missing");
    fresh(NULL);
    book("chapters/03-third/README.md", "# Third\n");
    book("chapters/03-third/third.c", "int third;\n");
    finds("--check", "chapters/03-third/third.c:1: no banner");
    fresh(NULL);
    book("chapters/02-another/README.md", "# Another\n");
    book("chapters/02-another/another.c",
         "/* --- sum (chapter 1) --- */\nint sum(int a, int b) {\n\n    return a + b;\n}\n");
    finds("--check", "chapters/02-second:1: has the number of 02-another");
}

static void test_fences(void **state) {
    (void)state;
    change(TWO, "# Second\n", "# Second\n```text\n");
    finds("--check", TWO ":2: not closed by line 5");
}

static void test_unterminated_fence(void **state) {
    (void)state;
    change(ONE, "# and then\n```\n", "# and then\n");
    finds("--check", ONE ":21: not closed by line 25");
    fresh(NULL);
    change(ONE, "> }\n> ```\n", "> }\nplain\n");
    finds("--check", ONE ":5: not closed by line 9", "chapters/01-first/first.c:4: never shown");
    fresh(NULL); /* a quotation that ends takes its fence along, even when a closing mark follows it
                  */
    change(ONE, "> }\n> ```\n", "> }\n```\n");
    finds("--check", ONE ":5: not closed by line 9", ONE ":10: not closed by line 11",
          "chapters/01-first/first.c:4: never shown");
}

static void test_info_strings(void **state) {
    (void)state;
    change("README.md", "```text", "```python");
    finds("--check", "README.md:9: unknown info string \"python\"");
    change("README.md", "```python", "```");
    finds("--check", "README.md:9: fence without an info string");
    change("README.md", "```\n[not", "```sh now\n[not");
    finds("--check", "README.md:9: unknown info string \"sh now\"");
}

static void test_forms_of_numbers(void **state) {
    (void)state;
    static const struct {
        const char *with, *finding;
    } broken[] = {
        {"**98.3**<!-- =loss 3% -->", ONE ":19: no number stands right before =loss"},
        {"98.3 <!-- =loss 3% -->", ONE ":19: no number stands right before"},
        {"W3<!-- =loss 3% -->", ONE ":19: no number stands right before"},
        {"1.2.3<!-- =loss 3% -->", ONE ":19: no number stands right before"},
        {"1,23<!-- =loss 3% -->", ONE ":19: no number stands right before"},
        {"98.3<!-- =loss 3 -->", ONE ":19: unknown tolerance \"3\""},
        {"98.3<!-- =loss 3%x -->", ONE ":19: unknown tolerance"},
        {"98.3<!-- =loss x0.5 -->", ONE ":19: unknown tolerance"},
        {"98.3<!-- =loss +--1 -->", ONE ":19: unknown tolerance"},
        {"98.3<!-- = loss -->", ONE ":19: broken number comment"},
        {"98.3<!-- = -->", ONE ":19: broken number comment"},
        {"98.3<!-- =loss 3% more -->", ONE ":19: broken number comment"},
        {"98.3<!-- loss -->", ONE ":19: does not say which result"},
        {"98.3<!-- =07-none/loss -->", ONE ":19: names no chapter's result"},
        {"98.3<!-- =:loss -->", ONE ":19: names no chapter's result"},
        {"$98.3<!-- =loss 3% -->$", ONE ":19: printed as maths"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        fresh(NULL);
        change(ONE, "98.3<!-- =loss 3% -->", broken[i].with);
        finds("--check", broken[i].finding);
    }
    fresh(NULL);
    change("README.md", "# The book\n", "# 5<!-- =loss -->\n");
    finds("--check", "README.md:1: names no chapter's result", "README.md:6: no heading");
    fresh(NULL);
    change("README.md", "# The book\n\n<!--", "# The book\n\n<!-- <!--");
    change("README.md", "(gone) -->", "(gone)");
    finds("--check", "README.md:16: never closed");
}

static void test_values_of_numbers(void **state) {
    (void)state;
    static const struct {
        const char *old, *with, *finding; /* no finding: it must agree */
    } cases[] = {
        {"98.3<!-- =loss 3% -->", "101.3<!-- =loss 3% -->", NULL},
        {"98.3<!-- =loss 3% -->", "101.5<!-- =loss 3% -->", ONE ":19: states 101.5 for loss"},
        {"98.3<!-- =loss 3% -->", "98<!-- =loss 0.1% -->", NULL}, /* rounded */
        {"98.3<!-- =loss 3% -->", "98.4<!-- =loss -->", NULL},
        {"98.3<!-- =loss 3% -->", "98.5<!-- =loss -->", ONE ":19: has 98.44 (no tolerance)"},
        {"98.3<!-- =loss 3% -->", "9.8e1<!-- =loss -->", NULL},
        {"98.3<!-- =loss 3% -->", "9.9e1<!-- =loss -->", ONE ":19: states 9.9e1"},
        {"4e-9", "1.2e-8", NULL},
        {"4e-9", "1.2e\u22128", NULL},
        {"4e-9", "1.3e-8", ONE ":18: tolerance x10"},
        {"4e-9", "1.2e-10", NULL},
        {"4e-9", "1.1e-10", ONE ":18: states 1.1e-10"},
        {"4e-9", "-1e-9", ONE ":18: states -1e-9"},
        {"x10 -->", "×2 -->", ONE ":18: tolerance ×2"},
        {"\u22120.52", "-0.55", NULL},
        {"\u22120.52", "0.52", ONE ":19: states 0.52 for slope"},
        {"\u22120.52", "\u22120.56", ONE ":19: for slope"},
        {"+-0.05", "±0.01", ONE ":19: tolerance ±0.01"},
        {"3,136", "3136", NULL},
        {"3,136", "3,137", ONE ":18: states 3,137 for entries"},
        {"=entries", "=bad", ONE ":18: has nan"},
        {"3,136<!-- =entries -->", "3<!-- =endless 3% -->", ONE ":18: has inf"},
        {"=entries", "=nobody", ONE ":18: =nobody is not in "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fresh(NULL);
        change(ONE, cases[i].old, cases[i].with);
        if (cases[i].finding)
            finds("--verify", cases[i].finding);
        else
            agrees("--verify", "6 numbers");
        agrees("--check", "5 numbers and 1 console block left");
    }
    fresh(NULL); /* records need no run, so --check holds them */
    change(TWO, "71.25", "71.35");
    finds("--check", TWO ":21: recorded/mnist.tsv has 71.254");
    change(TWO, "mnist:", "fashion:");
    finds("--check", TWO ":21: recorded/fashion.tsv is missing");
    fresh(NULL);
    change(ONE, "98.3<!-- =loss", "71.2<!-- =02-second/mnist:loss");
    agrees("--check", "2 numbers agree");
    change(TWO, "98<", "97<");
    finds("--verify", TWO ":21: states 97 for 01-first/loss");
}

static void test_results_missing_or_malformed(void **state) {
    (void)state;
    const char *results = "build/01-first/results.tsv";
    static const char *const lines[][2] = {{"loss 98.44 nats", ":1: with tabs between"},
                                           {"loss\t98.44", ":1: with tabs between"},
                                           {"loss\t98.44\tnats\t", ":1: with tabs between"},
                                           {"", ":1: an empty line"},
                                           {"\t98.44\tnats", ":1: with tabs between"}};
    for (size_t i = 0; i < 5; i++) {
        fresh(NULL);
        change(results, "loss\t98.44\tnats", lines[i][0]);
        char finding[128];
        snprintf(finding, sizeof finding, "%s%s", results, lines[i][1]);
        finds("--verify", finding, ONE ":19: =loss is not in", TWO ":21: =loss is not in");
    }
    fresh(NULL);
    change(results, "3136\t", "3136 or so\t");
    finds("--verify", "build/01-first/results.tsv:2: \"3136 or so\" is not a number");
    fresh(NULL);
    change(results, "entries", "loss");
    finds("--verify", "build/01-first/results.tsv:2: stands here twice",
          ONE ":18: =entries is not in");
    run("rm '%s/book/%s'", scratch(), results); /* one finding a page, not one a number */
    finds(
        "--verify",
        ONE
        ":18: results.tsv is missing, so no number from it can be held; run `make chapter1` first",
        TWO ":21: results.tsv is missing");
}

static void test_console_blocks(void **state) {
    (void)state;
    static const struct {
        const char *file, *old, *with, *finding;
    } cases[] = {
        {ONE, "784   3.1e-09", "784 2.2e-08", ONE ":29: where line 2 comes nearest: \"W1  8 x 784"},
        {ONE, "  W1", "  W2", ONE ":29: is not in "},
        {ONE, "  ...\n", "", ONE ":30: line 3 comes nearest: \"b1  8\""},
        {ONE, "agrees\n", "agrees\nand more\n", ONE ":32: which ends there"},
        {ONE, "  ...\n", "  b1 8\n", NULL},
        {ONE, "  ...\n", "  …\n", NULL},
        {ONE, "[…]", "[7,0]", NULL},
        {ONE, "[…]", "[7,1]", ONE ":29: \"W1   8 x 784"},
        {ONE, "[…]   ok", "[…", NULL},
        {ONE, "[…]   ok", "[…]", ONE ":29: is not in"},
        {ONE, "W1   8 x 784", "W1  8  x  784", NULL},
        {ONE, "W1   8 x 784", "W1  8 x784", ONE ":29: is not in"},
        {ONE, "check.txt x10", "check.txt", ONE ":29: widen the tolerance"},
        {ONE, "every one", "~~~~", ONE ":31: is not next in "},
        {ONE, "check.txt x10", "other.txt",
         ONE ":27: other.txt is missing; run `make chapter1` first"},
        {ONE, "check.txt x10", "01-first/check.txt x10", NULL},
        {ONE, "check.txt x10", "../../../check.txt x10", ONE ":27: leads out of the tree"},
        {TWO, "```c src/tool.h: limit\n#define LIMIT 3\n",
         "```console 01-first/check.txt\nchapter 1\n", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fresh(NULL);
        change(cases[i].file, cases[i].old, cases[i].with);
        if (cases[i].finding)
            finds("--verify", cases[i].finding);
        else
            agrees("--verify", "console block");
        agrees("--check", "left to --verify");
    }
    /* The stretch after a gap must come after the one before it. */
    fresh(NULL);
    change(ONE, "every one of 6272 derivatives agrees", "chapter 1");
    finds("--verify", ONE ":31: \"chapter 1\" is not next in");
}

static void test_forms_of_console_blocks(void **state) {
    (void)state;
    change(ONE, "# and then", "and then");
    finds("--check", ONE ":24: \"and then\" looks like output");
    fresh(NULL);
    change(ONE, "check.txt x10", "check.txt ten");
    finds("--check", ONE ":27: unknown tolerance");
    change(ONE, "check.txt ten", "check.txt x10 x10");
    finds("--check", ONE ":27: unknown tolerance");
    fresh(NULL);
    change(ONE,
           "  W1   8 x 784   3.1e-09   […]   ok\n  ...\nevery one of 6272 derivatives agrees\n",
           "");
    finds("--check", ONE ":27: nothing is quoted from check.txt");
}

static void test_links(void **state) {
    (void)state;
    static const struct {
        const char *old, *with, *finding;
    } cases[] = {
        {"(./chapters/02-second/)", "(./chapters/02-secnd/)", "README.md:4: there is no "},
        {"(./chapters/02-second/)", "(../README.md)", "README.md:4: leads out of the tree"},
        {"(./chapters/02-second/)", "(/chapters)", "README.md:4: starts at /"},
        {"(./chapters/02-second/)", "()", "README.md:4: leads nowhere"},
        {"(./chapters/02-second/)", "(build/01-first)", "README.md:4: into build/"},
        {"(./chapters/02-second/)", "(chapters/02-second/#second)", NULL},
        {"(./chapters/02-second/)", "(chapters/02-second/#third)",
         "README.md:4: has the anchor #third"},
        {"a%20plot.png", "a%20plan.png", "README.md:5: there is no "},
        {"'figures/a plot.png'", "'figures/b plot.png'",
         "README.md:5: \"figures/b plot.png\" leads nowhere"},
        {"href=\"chapters/01-first/first.c\"", "href=\"first.c\"",
         "README.md:6: \"first.c\" leads nowhere"},
        {"first.c\"", "first.c#L3\"", "README.md:6: only a markdown page has anchors"},
        {"#why-hat-x-and-sum", "#why-x-and-sum", "README.md:3: no heading of "},
        {"(#the-book-1)", "(#the-book-2)", "README.md:6: the anchor #the-book-2"},
        {"(#here)", "(#there)", "README.md:6: the anchor #there"},
        {"[by label][Tool]", "[by label][tol]", "README.md:7: [tol] is defined nowhere"},
        {"[tool][]", "[tol][]", "README.md:7: [tol] is defined nowhere"},
        {"<src/tool.h>", "<src/tol.h>", "README.md:13: \"src/tol.h\" leads nowhere"},
        {"`[code](nowhere)`", "[code](nowhere)", "README.md:7: \"nowhere\" leads nowhere"},
        {"$f[i](x)$", "f[i](x)", "README.md:7: \"x\" leads nowhere"},
        {"\\[not](a", "[not\\](a", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fresh(NULL);
        change("README.md", cases[i].old, cases[i].with);
        if (cases[i].finding)
            finds("--check", cases[i].finding);
        else
            agrees("--check", "links");
    }
    fresh(NULL); /* a footnote is no link */
    change("README.md", "[tool]: <src/tool.h>\n", "[tool]: <src/tool.h>\n\n[^1]: nowhere\n");
    agrees("--check", " 9 links");
    fresh(NULL);
    book("data/README.md", "# Data\n\n[x](../src/tool.h) [y](tool.h)\n");
    finds("--check", "data/README.md:3: \"tool.h\" leads nowhere");
    run("rm '%s/book/data/README.md'", scratch());
    finds("--check", "data/README.md:1: is missing");
}

static void test_anchors_as_git_hosts_make_them(void **state) {
    (void)state;
    book("README.md",
         "## 1. *What*, why \u2014 & `how_to` (σ')?\n"
         "### Über Σ × 2 ##\n"
         "> # [Linked](src/tool.h) <b>bold</b>\n"
         "#not one\n"
         "\n"
         "[a](#1-what-why---how_to-σ) [b](#über-σ--2) [c](#linked-bold) [d](#not-one)\n");
    finds("--check", "README.md:6: has the anchor #not-one");
}

static void test_write_repairs(void **state) {
    (void)state;
    change("chapters/02-second/second.c", "return a + b;", "return b + a;");
    change(ONE, "> int sum(int a, int b) {\n>\n", "> nothing like it\n");
    change(TWO, "return sum(a, sum(a, a));", "return a;");
    change(ONE, "# First", "# First 7<!-- =loss 0% -->");
    change(ONE, "98.3<!--", "7.1<!--");
    change(ONE, "3,136<!-- =entries", "7<!-- =entries");
    change(ONE, "4e-9<!--", "4.1e\u221209<!--");
    change(ONE, "\u22120.52<!--", "1.234<!--");
    change(TWO, "71.25", "1");
    finds("--check", "chapters/02-second/second.c:4: differs", ONE ":6: drifted", TWO ":7: drifted",
          TWO ":21: recorded");
    struct run r =
        run("chmod 640 '%s/book/" ONE "'; build/bin/weave --write '%s/book'", scratch(), scratch());
    assert_string_equal(r.err, "");
    assert_int_equal(r.status, 0);
    assert_contains(r.out, "book/chapters/02-second/second.c\n");
    assert_contains(r.out, "wrote ");
    assert_int_equal(count_lines(r.out), 4);
    holds("chapters/02-second/second.c", second_c);
    holds(ONE, "> ```c sum\n> int sum(int a, int b) {\n>\n>     return a + b;\n> }\n> ```\n");
    holds(ONE, "# First 98<!-- =loss 0% -->\n");
    holds(ONE, "98.4<!-- =loss 3% -->");
    holds(ONE, "takes 3,136<!-- =entries -->");
    holds(ONE, "by 1.2e\u221209<!-- =worst x10 -->");
    holds(ONE, "to \u22120.500<!-- =slope");
    holds(TWO, "   ```c three times\n   int three_times(int a) {\n       return sum(a, sum(a, "
               "a));\n   }\n   ```\n");
    holds(TWO, ", 71<!-- =mnist:loss -->");
    agrees("--verify", "agree");
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
        {"1.5e+02<!-- =big -->", "1.2e+06<!-- =big -->"},
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
        agrees("--verify", "6 numbers");
    }
}

static void test_write_leaves_what_it_cannot_know(void **state) {
    (void)state;
    run("rm -r '%s/book/build'", scratch());
    change(ONE, "98.3<!--", "7.1<!--");
    agrees("--write", "5 numbers without a result not rewritten");
    holds(ONE, "7.1<!-- =loss 3% -->");
    fresh(NULL); /* what --write cannot repair, it reports like --check */
    change(ONE, "98.3<!-- =loss", "7.1<!-- =bad");
    change(ONE, "```c twice", "```c thrice");
    finds("--write", ONE ":12: \"thrice\"", "chapters/01-first/first.c:10: never shown");
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
    change(TWO, "# Second\n\n", "# Second\n\r\n");
    finds("--check", TWO ":2: CR LF");
    fresh(NULL);
    put_bytes("book/" TWO, "# x\n\0\n", 6);
    finds("--check", TWO ":2: NUL");
    book(TWO, "");
    finds("--check", TWO ":1: is empty");
    run("rm '%s/book/" TWO "'; mkdir '%s/book/" TWO "'", scratch(), scratch());
    finds("--check", TWO ":1: not a regular file");
    run("rmdir '%s/book/" TWO "'; mkfifo '%s/book/" TWO "'", scratch(), scratch());
    finds("--check", TWO ":1: not a regular file");
    fresh(NULL);
    change("chapters/01-first/first.c", "#include <stdio.h>\n", "#include <stdio.h>\r\n");
    finds("--check",
          "chapters/01-first/first.c:2: CR LF"); /* one finding, not one for each listing */
    fresh(NULL);
    book("build/01-first/check.txt", "");
    finds("--verify", ONE ":27: check.txt is empty");
}

/* A page without a last newline, and one with a line of 3 MB, are read like any other. */
static void test_long_and_ragged_lines(void **state) {
    (void)state;
    run("printf '[x](#none)' >> '%s/book/" TWO "'", scratch());
    finds("--check", TWO ":22: the anchor #none");
    run("{ head -c 3000000 /dev/zero | tr '\\0' '`'; echo; echo '[y](none)'; } >> '%s/book/" TWO
        "'",
        scratch());
    finds("--check", TWO ":22: the anchor #none", TWO ":23: \"none\" leads nowhere");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_book_that_agrees, fresh),
        cmocka_unit_test_setup(test_options, fresh),
        cmocka_unit_test_setup(test_no_chapters_is_a_finding, fresh),
        cmocka_unit_test_setup(test_listing_that_drifted, fresh),
        cmocka_unit_test_setup(test_listing_of_nothing, fresh),
        cmocka_unit_test_setup(test_listing_shown_twice, fresh),
        cmocka_unit_test_setup(test_home_block_never_shown, fresh),
        cmocka_unit_test_setup(test_banners, fresh),
        cmocka_unit_test_setup(test_carried_blocks, fresh),
        cmocka_unit_test_setup(test_one_program_a_chapter, fresh),
        cmocka_unit_test_setup(test_fences, fresh),
        cmocka_unit_test_setup(test_unterminated_fence, fresh),
        cmocka_unit_test_setup(test_info_strings, fresh),
        cmocka_unit_test_setup(test_forms_of_numbers, fresh),
        cmocka_unit_test_setup(test_values_of_numbers, fresh),
        cmocka_unit_test_setup(test_results_missing_or_malformed, fresh),
        cmocka_unit_test_setup(test_console_blocks, fresh),
        cmocka_unit_test_setup(test_forms_of_console_blocks, fresh),
        cmocka_unit_test_setup(test_links, fresh),
        cmocka_unit_test_setup(test_anchors_as_git_hosts_make_them, fresh),
        cmocka_unit_test_setup(test_write_repairs, fresh),
        cmocka_unit_test_setup(test_write_keeps_the_form_of_numbers, fresh),
        cmocka_unit_test_setup(test_write_leaves_what_it_cannot_know, fresh),
        cmocka_unit_test_setup(test_write_fails_whole, fresh),
        cmocka_unit_test_setup(test_files_that_are_no_text, fresh),
        cmocka_unit_test_setup(test_long_and_ragged_lines, fresh),
    };
    return cmocka_run_group_tests_name("weave", tests, NULL, remove_scratch);
}
