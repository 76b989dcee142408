/* weave.c: holds the pages of this book to its programs and to their runs.

   The C files and the runs are the truth; the pages quote them. A quotation that nobody compares
   goes stale, so this tool compares all of them:

     ```c NAME                  shows block NAME of the chapter's program
     ```c FILE: NAME            shows a block of another file (beside the page, else from the root)
     ```console FILE TOL        quotes lines of build/NN-name/FILE, numbers within TOL
     98.3<!-- =NAME TOL -->     states a result: NAME is looked up in build/NN-name/results.tsv,
                                NN-name/foo in another chapter's, record:foo in recorded/record.tsv
     [text](target#anchor)      and images must lead somewhere

   A block of a program starts at a banner and ends before the next one, before the next part, or
   where the guarded main starts or ends:

     / * --- NAME ------------ * /              this program is the block's home
     / * --- NAME (chapter 3) ------------ * /  a copy, byte by byte, of NAME in chapter 3's program
     / * === II. TITLE ======= * /              a part

   The header comment of a program may hold a list of contents: after a line with that word, until a
   blank line, each line is the title of a part (from its numeral on) or the name of a block, two or
   more spaces, and the number of the line where it starts.

   TOL is 3% (of the measured value), x10 (within that factor), +-0.5 (absolute). Without one, a
   stated number must be the result rounded to the digits printed, and a quoted console line is
   exact.

   Every finding is one line, `file:line: what; what to do`, on stderr. What was looked at, and what
   was left for another mode, is counted in the last line on stdout. Of markdown we read what the
   pages use, and say so where we meet something else.

   Build:  cc -std=c11 -O2 weave.c -o weave -lm */
#define _XOPEN_SOURCE 700 /* POSIX and realpath */

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- state ------------------------------------------------------------------------------------ */

/* What differs is reported; WRITE repairs in memory what it can, reports the rest, and saves. */
static enum { CHECK, VERIFY, WRITE } mode = CHECK;
static const char *root = ""; /* what stands before a path in a message: "" or "folder/" */
static char *here;            /* the root's whole path */
static bool refused;          /* something was found that forbids to write */

static struct {
    size_t findings, chapters, listings, carried, links, external;
    size_t numbers, consoles, waiting_numbers, waiting_consoles, left_alone;
} count;

__attribute__((format(printf, 3, 4))) static void report(const char *path, size_t line,
                                                         const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s%s:%zu: ", root, path, line);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    count.findings++;
}

/* --- memory and strings ----------------------------------------------------------------------- */

/* A run takes milliseconds and a few megabytes, so nothing is freed. One list holds it all, which
   shows a leak checker that we know. */
struct kept {
    struct kept *next;
    max_align_t bytes[];
};
static struct kept *kept;

static void *take(size_t n) {
    struct kept *k = calloc(1, sizeof *k + n);
    if (!k) {
        fprintf(stderr, "weave: out of memory\n");
        exit(1);
    }
    k->next = kept;
    kept = k;
    return k->bytes;
}

/* sprintf into memory of its own. */
__attribute__((format(printf, 1, 2))) static char *print(const char *format, ...) {
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int n = vsnprintf(NULL, 0, format, list);
    char *s = take((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, format, again);
    va_end(again);
    va_end(list);
    return s;
}

static char *copy(const char *s, size_t n) {
    return print("%.*s", (int)n, s);
}

static bool starts(const char *s, const char *word) {
    return strncmp(s, word, strlen(word)) == 0;
}

/* A copy without the spaces around it. */
static char *trim(const char *s) {
    s += strspn(s, " \t");
    size_t n = strlen(s);
    while (n > 0 && isblank((unsigned char)s[n - 1]))
        n--;
    return copy(s, n);
}

/* A line as a message shows it: short, and without control characters. */
static const char *quote(const char *line) {
    char *s = trim(line);
    if (!*s)
        return "an empty line";
    for (char *c = s; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
    size_t n = strlen(s);
    if (n > 72)
        for (n = 70; ((unsigned char)s[n] & 0xC0) == 0x80;)
            n--; /* not in the middle of a UTF-8 character */
    return print("\"%.*s%s\"", (int)n, s, s[n] ? "…" : "");
}

/* Matches an extended regular expression; `part` takes the places of the whole and of up to three
   parentheses. Each expression is a literal, so its address tells whether we compiled it before. */
static bool match(const char *expression, const char *s, regmatch_t part[4]) {
    static struct {
        const char *expression;
        regex_t compiled;
    } known[16];
    size_t k = 0;
    while (known[k].expression && known[k].expression != expression)
        k++;
    if (!known[k].expression && regcomp(&known[k].compiled, expression, REG_EXTENDED) == 0)
        known[k].expression = expression;
    return regexec(&known[k].compiled, s, 4, part, 0) == 0;
}

static char *matched(const char *s, regmatch_t part) {
    return copy(s + part.rm_so, (size_t)(part.rm_eo - part.rm_so));
}

/* --- files ------------------------------------------------------------------------------------ */

/* A banner or a part line, and the lines first … end-1 of its block. All lines count from 0. */
struct mark {
    const char *name;
    long chapter; /* the home of a carried block, 0 for a block at home, or PART */
    size_t line, first, end;
    const struct file *shown_on; /* the page that showed it last, and where */
    size_t shown_line;
};
enum { PART = -1 };

/* A text file in memory. One that cannot be read has a fault instead of lines. */
struct file {
    const char *path, *fault;
    char **line;
    size_t lines;
    bool changed;
    struct mark *mark; /* NULL until find_marks */
    size_t marks;
    const char *told; /* the page that was told of the fault; a table's lines were looked at */
    bool looked_at;
    struct file *next;
};
static struct file *files; /* all, so that none is loaded twice */

static const char *read_file(struct file *f) {
    struct stat info;
    if (stat(f->path, &info) != 0)
        return errno == ENOENT ? "is missing" : strerror(errno);
    if (!S_ISREG(info.st_mode)) /* a pipe would make us wait for ever */
        return "is not a regular file";
    FILE *in = fopen(f->path, "rb");
    if (!in)
        return print("cannot be opened: %s", strerror(errno));
    char *text = take((size_t)info.st_size + 1);
    size_t size = fread(text, 1, (size_t)info.st_size, in);
    bool failed = ferror(in) != 0;
    fclose(in);
    if (failed || size == 0)
        return failed ? "cannot be read" : "is empty";
    if (strlen(text) < size || strchr(text, '\r'))
        return "is no text with plain line ends: it holds a NUL byte or a carriage return";
    size_t lines = 1;
    for (const char *s = text; *s; s++)
        lines += *s == '\n';
    f->line = take(lines * sizeof *f->line);
    for (char *s = text, *end; *s; s = end) {
        end = s + strcspn(s, "\n");
        f->line[f->lines++] = s;
        if (*end)
            *end++ = 0;
    }
    return NULL;
}

static struct file *load(const char *path) {
    for (struct file *f = files; f; f = f->next)
        if (strcmp(f->path, path) == 0)
            return f;
    struct file *f = take(sizeof *f);
    f->path = print("%s", path);
    f->next = files;
    files = f;
    f->fault = read_file(f);
    return f;
}

/* A file that must be there. */
static struct file *require(const char *path) {
    struct file *f = load(path);
    if (f->fault && !f->told)
        report(path, 1, "%s; a readable text belongs here", f->fault);
    f->told = path;
    return f;
}

/* Puts n lines, each after a prefix, in the place of lines first … end-1. */
static void replace(struct file *f, size_t first, size_t end, char *const *with, size_t n,
                    const char *prefix) {
    size_t lines = f->lines - (end - first) + n;
    char **line = take((lines + 1) * sizeof *line);
    memcpy(line, f->line, first * sizeof *line);
    for (size_t i = 0; i < n; i++) /* a blank line gets no trailing space */
        line[first + i] = *with[i] ? print("%s%s", prefix, with[i]) : trim(prefix);
    memcpy(line + first + n, f->line + end, (f->lines - end) * sizeof *line);
    for (size_t i = 0; i < f->marks; i++)
        if (f->mark[i].line >= end) {
            f->mark[i].line += lines - f->lines;
            f->mark[i].first += lines - f->lines;
            f->mark[i].end += lines - f->lines;
        } else if (f->mark[i].first == first) {
            f->mark[i].end = first + n;
        }
    f->line = line;
    f->lines = lines;
    f->changed = true;
}

/* A file is replaced whole or not at all: we write a neighbour and rename it. */
static bool save(const struct file *f) {
    const char *temporary = print("%s.tmp", f->path);
    struct stat info;
    FILE *out = fopen(temporary, "wb");
    bool good = out && stat(f->path, &info) == 0 && fchmod(fileno(out), info.st_mode & 07777) == 0;
    for (size_t i = 0; good && i < f->lines; i++)
        good = fprintf(out, "%s\n", f->line[i]) >= 0;
    good = good && fflush(out) == 0;
    int error = errno; /* the first failure is the one to tell */
    if (out && fclose(out) != 0 && good) {
        good = false;
        error = errno;
    }
    if (good && rename(temporary, f->path) != 0) {
        good = false;
        error = errno;
    }
    if (good) {
        printf("weave: wrote %s%s\n", root, f->path);
        return true;
    }
    if (out)
        remove(temporary);
    fprintf(stderr, "weave: %s%s: cannot be written: %s; it is as it was\n", root, f->path,
            strerror(error));
    return false;
}

/* The first line in which two pieces of code differ, SIZE_MAX when they are the same. */
static size_t first_difference(char *const *a, size_t n, char *const *b, size_t m) {
    size_t k = 0;
    while (k < n && k < m && strcmp(a[k], b[k]) == 0)
        k++;
    return k == n && k == m ? SIZE_MAX : k;
}

static const char *quote_line(char *const *line, size_t n, size_t k) {
    return k < n ? quote(line[k]) : "nothing more";
}

/* --- programs and their blocks ---------------------------------------------------------------- */

static struct mark *find_block(const struct file *f, const char *name) {
    for (size_t i = 0; i < f->marks; i++)
        if (f->mark[i].chapter != PART && strcmp(f->mark[i].name, name) == 0)
            return &f->mark[i];
    return NULL;
}

/* Ends a block before line k. The blank lines around its text do not belong to it. */
static void end_block(const struct file *f, struct mark *m, size_t k, bool strict) {
    while (k > m->first && !*trim(f->line[k - 1]))
        k--;
    while (m->first < k && !*trim(f->line[m->first]))
        m->first++;
    m->end = k;
    if (m->first == k && strict)
        report(f->path, m->line + 1, "block \"%s\" has no lines; fill it or remove its banner",
               m->name);
    for (size_t i = m->first; i < k; i++)
        if (starts(trim(f->line[i]), "```")) {
            report(f->path, i + 1,
                   "a line of block \"%s\" starts with three backticks, which "
                   "would end its listing; write it in another way (nothing is "
                   "written before)",
                   m->name);
            refused = true;
        }
}

/* The block whose banner is line k; NULL when there is none. */
static struct mark *open_block(struct file *f, size_t k, bool strict) {
    regmatch_t part[4];
    const char *line = f->line[k];
    char *name = match("^[ \t]*/\\* --- +(.*[^- ]) *----* *\\*/[ \t]*$", line, part)
                     ? matched(line, part[1])
                     : "";
    const char *mark = strstr(line, "(chapter");
    struct mark m = {.name = name, .line = k, .first = k + 1};
    bool good = *name;
    if (mark) { /* a copy must say whose: a mistyped number must not make it a block at home */
        good = good && match("^(.*[^ ]) *\\(chapter ([1-9][0-9]*)\\)$", name, part);
        if (good) {
            m.name = matched(name, part[1]);
            m.chapter = strtol(name + part[2].rm_so, NULL, 10);
        }
    }
    /* A test or an exercise may use banners as it likes; there (not `strict`) only copies count. */
    bool counts = strict || mark;
    const struct mark *twin = find_block(f, m.name);
    if (counts && !good)
        report(f->path, k + 1,
               "broken banner; write /* --- NAME --- */ or /* --- NAME (chapter N) --- */");
    else if (counts && *line != '/')
        report(f->path, k + 1, "banner \"%s\" is indented; start it in the first column", m.name);
    else if (counts && twin)
        report(f->path, k + 1, "block \"%s\" is already in line %zu; give one of them another name",
               m.name, twin->line + 1);
    if (!good || *line != '/')
        return NULL;
    f->mark[f->marks] = m;
    return &f->mark[f->marks++];
}

static void find_marks(struct file *f, bool strict) {
    if (f->mark || f->fault)
        return;
    f->mark = take(f->lines * sizeof *f->mark);
    struct mark *open = NULL;
    int depth = 0; /* of #if, from the one that guards main */
    for (size_t k = 0; k < f->lines; k++) {
        const char *line = f->line[k];
        regmatch_t part[4];
        bool is_part = match("^/\\* === ([IVX]+\\.) .*=== \\*/[ \t]*$", line, part);
        bool is_banner = starts(line + strspn(line, " \t"), "/* --- "), is_guard = false;
        if (depth > 0 ? starts(line, "#if") : starts(line, "#ifndef WORKBOOK_TEST"))
            is_guard = ++depth == 1;
        else if (depth > 0 && starts(line, "#endif"))
            is_guard = --depth == 0;
        if (open && (is_part || is_banner || is_guard)) {
            end_block(f, open, k, strict);
            open = NULL;
        }
        if (is_banner)
            open = open_block(f, k, strict);
        else if (is_part)
            f->mark[f->marks++] = (struct mark){matched(line, part[1]), PART, k, k, k, NULL, 0};
    }
    if (open)
        end_block(f, open, f->lines, strict);
}

/* --- chapters --------------------------------------------------------------------------------- */

struct chapter {
    const char *folder; /* "05-autoencoder" */
    long number;        /* 5; 0 for a folder without a number */
    struct file *program;
};
static struct chapter *chapters;
static glob_t folders, sources; /* both sorted */

static struct chapter *find_chapter(long number) {
    for (size_t i = 0; i < count.chapters; i++)
        if (chapters[i].number == number)
            return &chapters[i];
    return NULL;
}

static void load_chapters(void) {
    size_t n = glob("chapters/*/", 0, NULL, &folders) == 0 ? folders.gl_pathc : 0;
    chapters = take((n + 1) * sizeof *chapters);
    for (size_t i = 0; i < n; i++) {
        char *path = folders.gl_pathv[i], *folder = copy(path + 9, strlen(path) - 10);
        const char *dash = strchr(folder, '-');
        long number = strtol(folder, NULL, 10);
        path = print("chapters/%s", folder);
        if (number > 0 && find_chapter(number))
            report(path, 1, "has the number of %s; renumber one of them",
                   find_chapter(number)->folder);
        struct chapter *c = &chapters[count.chapters++];
        *c = (struct chapter){folder, number,
                              load(print("%s/%s.c", path, dash ? dash + 1 : folder))};
        find_marks(c->program, true);
        if (c->program->fault)
            report(path, 1, "%s %s; a chapter's program has the name of its folder",
                   c->program->path, c->program->fault);
        else if (c->program->marks == 0)
            report(c->program->path, 1,
                   "has no banner, so no page can show a part of it; open its blocks with /* --- "
                   "NAME --- */");
    }
    if (n == 0)
        report("chapters", 1, "no chapter is here; name the root of the book as the last argument");
}

static void hold_carried(struct file *f) {
    for (size_t i = 0; i < f->marks; i++) {
        const struct mark *m = &f->mark[i];
        if (m->chapter <= 0)
            continue;
        count.carried++;
        const struct chapter *c = find_chapter(m->chapter);
        if (!c || c->program == f) {
            report(f->path, m->line + 1, "block \"%s\" says chapter %ld, %s; correct the number",
                   m->name, m->chapter, c ? "which is this one" : "and there is no such chapter");
            continue;
        }
        const struct file *home = c->program;
        if (home->fault)
            continue; /* reported where it was loaded */
        const struct mark *origin = find_block(home, m->name);
        if (!origin || origin->chapter) {
            report(f->path, m->line + 1, "block \"%s\" is %s in %s; %s", m->name,
                   origin ? "itself a copy" : "not", home->path,
                   origin ? print("name its home, chapter %ld", origin->chapter)
                          : "correct the name or the chapter");
            continue;
        }
        char **mine = f->line + m->first, **theirs = home->line + origin->first;
        size_t mine_n = m->end - m->first, theirs_n = origin->end - origin->first;
        size_t k = first_difference(mine, mine_n, theirs, theirs_n);
        if (k == SIZE_MAX)
            continue;
        if (mode == WRITE)
            replace(f, m->first, m->end, theirs, theirs_n, "");
        else
            report(f->path, m->first + k + 1,
                   "carried block \"%s\" differs: here %s, %s%s:%zu has %s; `make weave` copies it "
                   "again, or give this block a name of its own",
                   m->name, quote_line(mine, mine_n, k), root, home->path, origin->first + k + 1,
                   quote_line(theirs, theirs_n, k));
    }
}

/* The part or the block that a line of the contents names. */
static size_t find_title(const struct file *f, const char *title) {
    for (size_t i = 0; i < f->marks; i++) {
        const struct mark *m = &f->mark[i];
        if (m->chapter == PART ? starts(title, print("%s ", m->name)) : !strcmp(title, m->name))
            return i;
    }
    return SIZE_MAX;
}

static void hold_contents(struct file *f) {
    bool *listed = take(f->marks + 1);
    size_t k = 0;
    regmatch_t part[4];
    if (f->fault || !starts(f->line[0], "/*"))
        k = f->lines;
    while (k < f->lines && !strstr(f->line[k], "Contents"))
        k = strstr(f->line[k], "*/") ? f->lines : k + 1;
    bool over = k == f->lines;
    for (k++; !over && k < f->lines && *trim(f->line[k]); k++) {
        char *line = f->line[k];
        over = strstr(line, "*/");
        if (!match("^ *(.*[^ ])  +([0-9]+) *(\\*/)?$", line, part)) {
            if (!starts(trim(line), "*/"))
                report(f->path, k + 1,
                       "broken line in the contents; write a title, two spaces and a line number");
            continue;
        }
        const char *title = matched(line, part[1]);
        size_t at = find_title(f, title);
        if (at == SIZE_MAX) {
            report(f->path, k + 1,
                   "the contents name \"%s\", which is no part and no block here; correct the "
                   "title, or its numeral",
                   title);
            continue;
        }
        listed[at] = true;
        const char *right = print("%zu", f->mark[at].line + 1), *wrong = matched(line, part[2]);
        if (strcmp(right, wrong) == 0)
            continue;
        if (mode == WRITE) { /* right-aligned, as it was, where there is room */
            int gap = (int)(part[2].rm_eo - part[1].rm_eo - (regoff_t)strlen(right));
            f->line[k] = print("%.*s%*s%s%s", (int)part[1].rm_eo, line, gap > 2 ? gap : 2, "",
                               right, line + part[2].rm_eo);
            f->changed = true;
        } else {
            report(f->path, k + 1,
                   "the contents have \"%s\" in line %s, but it is in line %s; `make weave` "
                   "corrects it",
                   title, wrong, right);
        }
    }
    for (size_t i = 0; i < f->marks; i++)
        if (f->mark[i].chapter == PART && !listed[i])
            report(f->path, f->mark[i].line + 1,
                   "part %s is not in the contents; add a line for it to the header comment",
                   f->mark[i].name);
}

/* Copies move lines, so the contents come after them. */
static void hold_programs(void) {
    if (glob("chapters/*/*.c", 0, NULL, &sources) != 0)
        return;
    for (size_t i = 0; i < sources.gl_pathc; i++) {
        struct file *f = require(sources.gl_pathv[i]);
        find_marks(f, false);
        hold_carried(f);
        hold_contents(f);
    }
}

/* --- numbers ---------------------------------------------------------------------------------- */

#define FRACTION "(\\.[0-9]+)?([eE](-|\\+|\u2212)?[0-9]+)?"

struct number {
    double value, half_digit; /* half of its last digit: what rounding may have changed */
};

struct tolerance {
    enum { EXACT, ROUNDED, RELATIVE, FACTOR, ABSOLUTE, ANYTHING } kind;
    double size;
};

/* Reads the n bytes of a number: strtod knows no commas and only one minus. */
static struct number read_number(const char *s, size_t n) {
    char plain[64];
    size_t p = 0;
    for (size_t i = 0; i < n && p + 1 < sizeof plain; i++)
        if (starts(s + i, "\u2212")) {
            plain[p++] = '-';
            i += strlen("\u2212") - 1;
        } else if (s[i] != ',') {
            plain[p++] = s[i];
        }
    plain[p] = 0;
    const char *e = strpbrk(plain, "eE"), *point = strchr(plain, '.');
    double digits = point ? (double)strspn(point + 1, "0123456789") : 0;
    return (struct number){strtod(plain, NULL), 0.5 * pow(10, (e ? atof(e + 1) : 0) - digits)};
}

/* Prints a value with the digits, the signs and the commas of another number. */
static const char *print_like(const char *form, double value) {
    const char *e = strpbrk(form, "eE"), *point = strchr(form, '.');
    const char *exponent = e ? e + 1 : "";
    int decimals = point ? (int)strspn(point + 1, "0123456789") : 0;
    char *s = e ? print("%.*e", decimals, fabs(value)) : print("%.*f", decimals, fabs(value));
    size_t mantissa = strcspn(s, "e"), whole = strcspn(s, ".e");
    /* A rounded zero has no minus; a number that grew past 999 gets commas, as in 3,136. */
    bool negative = value < 0 && strcspn(s, "123456789") < mantissa;
    bool commas = strchr(form, ',') || strspn(form + strcspn(form, "0123456789"), "0123456789") < 4;
    char *out = print("%s", !negative ? "" : *form == '-' ? "-" : "\u2212");
    for (size_t i = 0; i < mantissa; i++)
        out =
            print("%s%s%c", out, commas && i && i < whole && (whole - i) % 3 == 0 ? "," : "", s[i]);
    if (!e)
        return out;
    long power = strtol(s + mantissa + 1, NULL, 10);
    const char *sign = power >= 0                   ? (*exponent == '+' ? "+" : "")
                       : starts(exponent, "\u2212") ? "\u2212"
                                                    : "-";
    int width = (int)strlen(exponent + strcspn(exponent, "0123456789"));
    return print("%se%s%0*ld", out, sign, width, labs(power));
}

/* A number that is the result rounded to its own digits agrees under every tolerance but EXACT,
   which compares texts: what --write prints must always pass. */
static bool agree(struct number stated, struct tolerance t, double actual) {
    if (t.kind == ANYTHING)
        return true;
    if (!isfinite(actual))
        return false;
    double off = fabs(actual - stated.value) / (1 + 1e-9); /* 98.25 may print as 98.2 or 98.3 */
    if (off <= stated.half_digit)
        return true;
    if (t.kind == RELATIVE)
        return off <= t.size / 100 * fabs(actual);
    if (t.kind == FACTOR)
        return stated.value * actual > 0 && fabs(actual) <= t.size * fabs(stated.value) &&
               fabs(stated.value) <= t.size * fabs(actual);
    return t.kind == ABSOLUTE && off <= t.size;
}

/* 3%, x10, +-0.5. */
static bool read_tolerance(const char *s, struct tolerance *t) {
    t->kind = *s == 'x' ? FACTOR : starts(s, "+-") ? ABSOLUTE : RELATIVE;
    s += t->kind == FACTOR ? 1 : t->kind == ABSOLUTE ? 2 : 0;
    char *end;
    t->size = strtod(s, &end);
    return isdigit((unsigned char)*s) && strcmp(end, t->kind == RELATIVE ? "%" : "") == 0 &&
           (t->kind != FACTOR || t->size >= 1);
}

/* --- results ---------------------------------------------------------------------------------- */

/* The number, from 1, of the line of a table that holds a result; 0 when none does. */
static size_t find_result(const struct file *t, const char *name) {
    size_t n = strlen(name);
    for (size_t k = 0; k < t->lines; k++)
        if (starts(t->line[k], name) && t->line[k][n] == '\t')
            return k + 1;
    return 0;
}

static struct file *load_table(const char *path) {
    struct file *t = load(path);
    for (size_t k = 0; k < t->lines && !t->looked_at; k++) {
        char *line = t->line[k], *end = NULL;
        size_t n = strcspn(line, "\t");
        if (*line == '#')
            continue;
        if (n && line[n])
            strtod(line + n + 1, &end);
        if (!end || end == line + n + 1 || *end != '\t' || strchr(end + 1, '\t'))
            report(path, k + 1,
                   "%s is not a name, a number and a unit with tabs between; correct what writes "
                   "it",
                   quote(line));
        else if (find_result(t, copy(line, n)) != k + 1)
            report(path, k + 1, "%s stands here twice; write each result once", copy(line, n));
    }
    t->looked_at = true;
    return t;
}

static const char *run_hint(const struct chapter *c) {
    return c && c->number > 0 ? print("run `make chapter%ld` first", c->number)
                              : "run the chapter first";
}

/* --- listings --------------------------------------------------------------------------------- */

/* A fenced block of a page: what its lines hold after the prefix ("> " in a quotation). */
struct fence {
    size_t line, end; /* of its two marks, from 0 */
    const char *prefix, *info;
    char **inside;
    size_t n;
};

static const char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? copy(path, (size_t)(slash - path)) : ".";
}

/* A path from the root, without . and ..; NULL when nothing is there, "" when that is outside. */
static const char *inside_tree(const char *path) {
    char *real = realpath(path, NULL);
    if (!real)
        return NULL;
    size_t n = strlen(here);
    const char *rest = !starts(real, here) ? ""
                       : real[n] == '/'    ? copy(real + n + 1, strlen(real))
                       : real[n]           ? ""
                                           : ".";
    free(real);
    return rest;
}

/* ```c NAME and ```c FILE: NAME. A file's name has a dot and no space, a block's before ": " has
   not. Returns how many lines the page has more than before. */
static size_t check_listing(struct file *page, const struct chapter *c, const struct fence *f,
                            const char *name) {
    regmatch_t part[4];
    struct file *program = c ? c->program : NULL;
    if (match("^([^ :]+\\.[^ :]+): +(.*)$", name, part)) {
        const char *file = matched(name, part[1]);
        const char *path = inside_tree(print("%s/%s", folder_of(page->path), file));
        if (!path)
            path = inside_tree(file);
        if (!path || !*path) {
            report(page->path, f->line + 1,
                   "listing of %s, which is neither beside this page nor under the root; correct "
                   "the path",
                   file);
            return 0;
        }
        program = require(path);
        find_marks(program, false);
        name = matched(name, part[2]);
    } else if (!c) {
        report(page->path, f->line + 1,
               "listing \"%s\" on a page without a program; write c FILE: NAME", name);
    }
    if (!program || program->fault)
        return 0; /* reported where it was loaded */
    struct mark *m = find_block(program, name);
    if (!m) {
        report(
            page->path, f->line + 1,
            "listing of block \"%s\", which is not in %s; correct the name, here or in its banner",
            name, program->path);
        return 0;
    }
    count.listings++;
    if (m->shown_on == page)
        report(page->path, f->line + 1, "block \"%s\" is already shown in line %zu; show it once",
               name, m->shown_line + 1);
    m->shown_on = page;
    m->shown_line = f->line;
    char **block = program->line + m->first;
    size_t n = m->end - m->first, k = first_difference(f->inside, f->n, block, n);
    if (k == SIZE_MAX)
        return 0;
    if (mode == WRITE) {
        replace(page, f->line + 1, f->end, block, n, f->prefix);
        return n - f->n;
    }
    report(page->path, f->line + k + 2,
           "listing \"%s\" has drifted: here %s, %s%s:%zu has %s; `make weave` rewrites it from "
           "the program",
           name, quote_line(f->inside, f->n, k), root, program->path, m->first + k + 1,
           quote_line(block, n, k));
    return 0;
}

/* --- console blocks --------------------------------------------------------------------------- */

/* The length of the number at s (which has a character before it), 0 when none starts there. */
static size_t number_at(const char *s) {
    regmatch_t part[4];
    if (isalnum((unsigned char)s[-1]) || strchr("_.", s[-1]) ||
        !match("^(-|\u2212)?[0-9]+" FRACTION, s, part))
        return 0;
    return (size_t)part[0].rm_eo;
}

/* Whether a quoted line is this line of the output: numbers agree within the tolerance, and … stands
   for anything. `reach` tells how far into the quotation the two went together. */
static bool same_line(const char *quoted, const char *line, struct tolerance t,
                      const char **reach) {
    for (;;) {
        *reach = quoted > *reach ? quoted : *reach;
        size_t p = t.kind == EXACT ? 0 : number_at(quoted), q = p ? number_at(line) : 0;
        if (starts(quoted, "…")) {
            for (quoted += strlen("…"); *line && !same_line(quoted, line, t, reach);)
                line++;
            return *line || !*quoted;
        }
        if (p && q) {
            if (!agree(read_number(quoted, p), t, read_number(line, q).value))
                return false;
            quoted += p;
            line += q;
        } else if (*quoted != *line || !*quoted) {
            return *quoted == *line;
        } else {
            quoted++;
            line++;
        }
    }
}

static bool is_gap(const char *line) {
    return strcmp(trim(line), "...") == 0 || strcmp(trim(line), "…") == 0;
}

/* Lines with one space before them, one for each run of spaces in them, and none after. */
static char **squeeze(char *const *line, size_t n) {
    char **out = take((n + 1) * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        char *to = out[i] = print(" %s", trim(line[i]));
        for (const char *s = to; (*to = *s); s++)
            if (!isblank((unsigned char)*s))
                to++;
            else if (to == out[i] || to[-1] != ' ')
                *to++ = ' ';
    }
    return out;
}

/* Holds quoted lines to the output. Each stretch between gaps must stand in one piece, after the
   one before it; the first place that fits is as good as any. */
static void match_console(const struct file *page, const struct fence *f, size_t k,
                          const struct file *output, struct tolerance t) {
    char **quoted = squeeze(f->inside, f->n), **line = squeeze(output->line, output->lines);
    for (size_t at = 0, n; k < f->n; k += n + 1) {
        for (n = 0; k + n < f->n && !is_gap(quoted[k + n]);)
            n++;
        /* The nearest place has most lines in common; when not even the first line fits, it is
           the one that goes along furthest if any number will do. */
        size_t best = 0, nearest = SIZE_MAX;
        bool found = n == 0;
        const char *reach = quoted[k] + 1;
        for (size_t from = at; from < output->lines && !found; from++) {
            size_t same = 0;
            const char *far = quoted[k] + 1, *unused = far;
            while (same < n && from + same < output->lines &&
                   same_line(quoted[k + same] + 1, line[from + same] + 1, t, &unused))
                same++;
            found = same == n;
            if (found)
                at = from + n;
            same_line(quoted[k] + 1, line[from] + 1, (struct tolerance){ANYTHING, 0}, &far);
            if (same > best || (best == 0 && far > reach)) {
                best = same;
                nearest = from + same;
                reach = far;
            }
        }
        if (found)
            continue;
        const char *there = nearest == SIZE_MAX ? "and no line is like it"
                            : nearest >= output->lines
                                ? "which ends there"
                                : print("where line %zu comes nearest: %s", nearest + 1,
                                        quote(output->line[nearest]));
        report(page->path, f->line + k + best + 2,
               "%s is not %sin %s%s, %s; quote the run again, or widen the tolerance",
               quote(f->inside[k + best]), at || best ? "next " : "", root, output->path, there);
        return;
    }
    count.consoles++;
}

static void check_console(const struct file *page, const struct chapter *c, const struct fence *f,
                          const char *arguments) {
    char file[256], size[32], more;
    int words = sscanf(arguments, "%255s %31s %c", file, size, &more);
    struct tolerance t = {EXACT, 0};
    size_t k = 0;
    if (words < 1) { /* commands to type */
        for (; k < f->n; k++)
            if (*trim(f->inside[k]) && !starts(f->inside[k], "$ "))
                report(page->path, f->line + k + 2,
                       "%s looks like output that nothing is held to; write ```console FILE, or $ "
                       "before a command",
                       quote(f->inside[k]));
        return;
    }
    while (k < f->n && starts(f->inside[k], "$ "))
        k++; /* the command that printed it */
    if (words > 2 || (words == 2 && !read_tolerance(size, &t))) {
        report(page->path, f->line + 1,
               "unknown tolerance in \"%s\"; write console FILE, and then 3%%, x10 or +-0.5",
               f->info);
    } else if (k == f->n) {
        report(page->path, f->line + 1,
               "nothing is quoted from %s; quote its lines, or write ```console alone", file);
    } else if (mode != VERIFY) {
        count.waiting_consoles++;
    } else {
        const struct file *output =
            load(c ? print("build/%s/%s", c->folder, file) : print("build/%s", file));
        if (output->fault)
            report(page->path, f->line + 1, "%s%s %s; %s", root, output->path, output->fault,
                   run_hint(c));
        else
            match_console(page, f, k, output, t);
    }
}

/* --- numbers in sentences --------------------------------------------------------------------- */

/* The table that holds a result, and in `name` what it is called there; NULL after a report. */
static struct file *table_of(const struct file *page, size_t k, const struct chapter *c,
                             const char *full, const char **name, const char **hint) {
    regmatch_t part[4];
    if (!match("^([^/:]+/)?([^/:]+:)?([^/:]+)$", full, part))
        c = NULL;
    else if (part[1].rm_so >= 0) {
        const char *folder = copy(full, (size_t)part[1].rm_eo - 1);
        c = NULL;
        for (size_t i = 0; i < count.chapters; i++)
            if (strcmp(chapters[i].folder, folder) == 0)
                c = &chapters[i];
    }
    if (!c) {
        report(page->path, k + 1,
               "=%s names no chapter's result; write NAME, NN-name/NAME or record:NAME", full);
        return NULL;
    }
    *name = full + part[3].rm_so;
    *hint = run_hint(c);
    if (part[2].rm_so < 0) {
        count.waiting_numbers += mode != VERIFY; /* only a record is there without a run */
        return mode == CHECK ? NULL : load_table(print("build/%s/results.tsv", c->folder));
    }
    *hint = print("`make record%ld` writes it", c->number);
    return load_table(print("chapters/%s/recorded/%.*s.tsv", c->folder,
                            (int)(part[2].rm_eo - part[2].rm_so) - 1, full + part[2].rm_so));
}

/* Holds the number right before a comment; returns what --write puts in its place, or NULL. */
static const char *check_number(const struct file *page, size_t k, const struct chapter *c,
                                const char *stated, const char *comment) {
    char full[128], size[32] = "", more;
    int words = sscanf(comment, "=%127s %31s %c", full, size, &more);
    struct tolerance t = {ROUNDED, 0};
    const char *name, *hint;
    if (*comment != '=') {
        if (*stated)
            report(page->path, k + 1,
                   "the comment right after %s does not say which result that is; write <!-- "
                   "=NAME TOL -->",
                   stated);
    } else if (words < 1 || words > 2 || comment[1] == ' ') {
        report(page->path, k + 1,
               "broken number comment %s; write <!-- =NAME --> or <!-- =NAME TOL -->",
               quote(comment));
    } else if (words == 2 && !read_tolerance(size, &t)) {
        report(page->path, k + 1, "unknown tolerance \"%s\" for =%s; write 3%%, x10 or +-0.5", size,
               full);
    } else if (!*stated) {
        report(page->path, k + 1,
               "no number stands right before =%s; put the comment directly after one", full);
    } else {
        struct file *table = table_of(page, k, c, full, &name, &hint);
        size_t at = table ? find_result(table, name) : 0;
        double value = at ? strtod(strchr(table->line[at - 1], '\t'), NULL) : (double)NAN;
        bool recorded = strchr(full, ':');
        if (mode == WRITE && table && isfinite(value))
            return print_like(stated, value);
        if (mode == WRITE && table && !recorded) {
            count.left_alone++;
        } else if (table && table->fault) {
            if (table->told != page->path) /* once a page is enough */
                report(page->path, k + 1, "%s%s %s, so no number from it can be held; %s", root,
                       table->path, table->fault, hint);
            table->told = page->path;
        } else if (table && !at) {
            report(page->path, k + 1,
                   "=%s is not in %s%s; correct the name, or let the program write it", full, root,
                   table->path);
        } else if (table) {
            count.numbers++;
            if (!agree(read_number(stated, strlen(stated)), t, value))
                report(page->path, k + 1,
                       "states %s for %s, but %s%s has %.6g (%s%s); `make weave` rewrites it",
                       stated, full, root, table->path, value,
                       *size ? "tolerance " : "no tolerance", size);
        }
    }
    return NULL;
}

/* --- links ------------------------------------------------------------------------------------ */

/* The anchor that git hosts make of a heading: small letters, digits, - and _; a space becomes -,
   the rest goes. Beyond ASCII we know that U+2000 to U+2BFF are dashes, arrows and signs. */
static const char *anchor_of(const char *heading) {
    char *anchor = trim(heading), *to = anchor;
    for (const char *s = anchor; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == 0xE2 && (unsigned char)s[1] < 0xB0)
            s += 2;
        else if (c == ' ' || strchr("-_", c) || isalnum(c) || c >= 0x80)
            *to++ = c == ' ' ? '-' : (char)tolower(c);
    }
    *to = 0;
    return anchor;
}

/* Of headings of the same name, the second gets -1, the third -2. */
static bool has_anchor(const struct file *page, const char *anchor) {
    bool fenced = false;
    for (size_t k = 0; k < page->lines; k++) {
        const char *line = page->line[k] + strspn(page->line[k], " >"), *own;
        size_t level = strspn(line, "#"), same = 0;
        if (starts(line, "```"))
            fenced = !fenced;
        if (fenced || level == 0 || line[level] != ' ')
            continue;
        own = anchor_of(line + level);
        for (size_t i = 0; i < k; i++)
            if (page->line[i][0] == '#' &&
                strcmp(own, anchor_of(page->line[i] + strspn(page->line[i], "#"))) == 0)
                same++;
        if (strcmp(anchor, same ? print("%s-%zu", own, same) : own) == 0)
            return true;
    }
    return false;
}

static void check_link(const struct file *page, size_t k, const char *target) {
    if (strstr(target, "://")) {
        count.external++;
        return;
    }
    count.links++;
    const char *hash = strchr(target, '#');
    const char *path = copy(target, strcspn(target, "#"));
    const char *to = *path ? inside_tree(print("%s/%s", folder_of(page->path), path)) : page->path;
    if (!*target)
        report(page->path, k + 1, "link to nothing leads nowhere; give it a target");
    else if (*target == '/')
        report(page->path, k + 1,
               "link to %s starts at /, which differs from host to host; write it relative to "
               "this page",
               target);
    else if (!to)
        report(page->path, k + 1, "\"%s\" leads nowhere: there is no %s%s; correct the link",
               target, root, print("%s/%s", folder_of(page->path), path));
    else if (!*to || starts(print("%s/", to), "build/"))
        report(page->path, k + 1, "\"%s\" leads %s; link to something that is in the tree", target,
               *to ? "into build/, which readers do not have" : "out of the tree");
    else if (hash && (strlen(to) < 3 || strcmp(to + strlen(to) - 3, ".md") != 0))
        report(page->path, k + 1,
               "\"%s\": only a markdown page has anchors; name a block instead of a line", target);
    else if (hash && !has_anchor(load(to), hash + 1))
        report(page->path, k + 1, "no heading of %s%s has the anchor %s; correct the link", root,
               to, hash);
}

/* --- pages ------------------------------------------------------------------------------------ */

/* Code and maths that are open where a line ends. */
struct opaque {
    const char *mark; /* what closes them, NULL when nothing is open */
    size_t line;
};

/* A copy of a line with code and maths blanked out: what is in them is no link and no number. */
static char *blank_opaque(const struct file *page, size_t k, struct opaque *open) {
    static const char *const marks[] = {"``", "`", "$$", "$"};
    char *s = print("%s", page->line[k]);
    for (size_t i = 0; s[i];) {
        size_t n = s[i] == '\\' && s[i + 1] && (!open->mark || *open->mark == '$') ? 2 : 1;
        const char *mark = NULL;
        for (size_t m = 0; m < 4 && !mark; m++)
            if (open->mark ? starts(s + i, open->mark) : starts(s + i, marks[m]))
                mark = open->mark ? open->mark : marks[m];
        if (mark)
            n = strlen(mark);
        if (open->mark && *open->mark == '$' && starts(s + i, "<!--"))
            report(page->path, k + 1,
                   "a comment inside $…$ is printed as maths; end the maths before the number");
        if (mark || open->mark || n == 2)
            memset(s + i, ' ', n);
        if (mark)
            *open = (struct opaque){open->mark ? NULL : mark, k};
        i += n;
    }
    return s;
}

/* Code and maths end with their paragraph. Left open, they would hide what follows. */
static void close_opaque(const struct file *page, struct opaque *open) {
    if (open->mark)
        report(page->path, open->line + 1,
               "%s is not closed in this paragraph; close it, or write a \\ before it", open->mark);
    open->mark = NULL;
}

static void check_prose(struct file *page, size_t k, const struct chapter *c, struct opaque *open) {
    char *line = page->line[k], *prose = blank_opaque(page, k, open), *done = "", *at, *end;
    size_t from = 0; /* the line up to here is in `done`, as --write wants it */
    regmatch_t part[4];
    while ((at = strstr(prose, "<!--"))) {
        size_t here_at = (size_t)(at - prose);
        end = strstr(at, "-->");
        if (!end) {
            report(page->path, k + 1, "this comment is never closed; end it with --> in its line");
            break;
        }
        /* A digit that belongs to a name (W1), a version (1.2.3) or a list (1,23) is no number. */
        *at = 0;
        bool number =
            match("(^|[^0-9A-Za-z_.,])((-|\u2212)?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)" FRACTION ")$",
                  prose, part);
        size_t number_from = number ? (size_t)part[2].rm_so : here_at;
        const char *with = check_number(page, k, c, prose + number_from,
                                        trim(copy(at + 4, (size_t)(end - at) - 4)));
        if (with) {
            done = print("%s%.*s%s", done, (int)(number_from - from), line + from, with);
            from = here_at;
        }
        memset(at, ' ', (size_t)(end + 3 - at));
    }
    if (from && strcmp(print("%s%s", done, line + from), line) != 0) {
        page->line[k] = print("%s%s", done, line + from);
        page->changed = true;
    }
    if (match("\\]\\[|^ *\\[[^]^]*\\]:|\\]\\([^)]*$|\\]\\([^)]*\\(|<(a|img) |~~~", prose, part))
        report(page->path, k + 1,
               "%s is a form that nothing is held to; write [text](target) in one line, and ``` "
               "at the start of one",
               quote(matched(prose, part[0])));
    for (const char *s = prose; match("\\]\\(([^()]*)\\)", s, part); s += part[0].rm_eo)
        check_link(page, k, trim(matched(s, part[1])));
}

/* Checks the fence that opens in line k, after `at` bytes; returns its last line. */
static size_t check_fence(struct file *page, size_t k, size_t at, const struct chapter *c) {
    static const char known[] = " c console sh text make diff math mermaid gnuplot markdown tsv ";
    struct fence f = {.line = k, .end = k + 1, .prefix = copy(page->line[k], at)};
    f.info = trim(page->line[k] + at + 3);
    f.inside = take((page->lines - k) * sizeof *f.inside);
    for (; f.end < page->lines; f.end++) {
        char *line = page->line[f.end];
        bool blank = strcmp(line, trim(f.prefix)) == 0;
        if (!blank && !starts(line, f.prefix))
            break; /* a quotation that is over takes its fence along */
        f.inside[f.n] = blank ? "" : line + at;
        if (starts(trim(f.inside[f.n]), "```"))
            break;
        f.n++;
    }
    if (f.end == page->lines || strcmp(trim(page->line[f.end]), trim(print("%s```", f.prefix)))) {
        report(page->path, k + 1,
               "this fence is not closed by line %zu; end it with its mark on a line of its own",
               f.end);
        return f.end - 1;
    }
    const char *language = copy(f.info, strcspn(f.info, " ")),
               *rest = trim(f.info + strlen(language));
    if (strcmp(language, "console") == 0)
        check_console(page, c, &f, rest);
    else if (strcmp(language, "c") == 0 && *rest)
        return f.end + check_listing(page, c, &f, rest);
    else if (*rest || !*language || !strstr(known, print(" %s ", language)))
        report(page->path, k + 1,
               "%s; write c, c NAME, c FILE: NAME, console, console FILE, or one of: sh text make "
               "diff math mermaid gnuplot markdown tsv",
               *f.info ? print("unknown info string \"%s\"", f.info)
                       : "fence without an info string");
    return f.end;
}

static void check_page(const char *path, const struct chapter *c) {
    struct file *page = require(path);
    struct opaque open = {NULL, 0};
    for (size_t k = 0; k < page->lines; k++) {
        size_t at = strspn(page->line[k], " >");
        bool fence = starts(page->line[k] + at, "```");
        if (fence || !page->line[k][at])
            close_opaque(page, &open);
        if (fence)
            k = check_fence(page, k, at, c);
        else
            check_prose(page, k, c, &open);
    }
    close_opaque(page, &open);
    for (size_t i = 0; c && !page->fault && i < c->program->marks; i++) {
        const struct mark *m = &c->program->mark[i];
        if (m->chapter == 0 && m->shown_on != page)
            report(c->program->path, m->line + 1,
                   "block \"%s\" is never shown in %s%s; add a listing ```c %s", m->name, root,
                   path, m->name);
    }
}

/* --- the walk --------------------------------------------------------------------------------- */

static const char *plural(size_t n, const char *word) {
    return print("%zu %s%s", n, word, n == 1 ? "" : "s");
}

/* The last line: what was held, and what was not. */
static void sum_up(void) {
    printf("weave: %s%s, %s, %s, %s",
           count.findings ? print("%s in ", plural(count.findings, "finding")) : "",
           plural(count.chapters, "chapter"), plural(count.listings, "listing"),
           plural(count.carried, "carried block"), plural(count.links, "link"));
    if (mode == VERIFY || count.numbers)
        printf(", %s", plural(count.numbers, "number"));
    if (mode == VERIFY)
        printf(", %s", plural(count.consoles, "console block"));
    printf("%s", count.findings ? "" : " agree");
    const char *join = "; ";
    if (count.external)
        printf("%s%s not followed", join, plural(count.external, "external link")), join = ", ";
    if (count.waiting_numbers || count.waiting_consoles)
        printf("%s%s and %s left to --verify", join, plural(count.waiting_numbers, "number"),
               plural(count.waiting_consoles, "console block")),
            join = ", ";
    if (count.left_alone)
        printf("%s%s without a result not rewritten", join, plural(count.left_alone, "number"));
    printf("\n");
}

static const char help[] =
    "usage: weave [--check | --verify | --write] [ROOT]\n"
    "Holds the pages under ROOT (default: .) to the programs and to their runs.\n"
    "  --check   listings, carried blocks, contents, links, and the form of the rest (default)\n"
    "  --verify  the same, and numbers and console blocks against build/\n"
    "  --write   rewrites carried blocks, contents, listings and numbers, and checks the rest\n"
    "Exit status: 0 when all agree, 1 with findings, 2 for a wrong option.\n";

static int usage(const char *what, const char *argument) {
    fprintf(stderr, "weave: %s %s; `weave --help` shows the usage\n", what, argument);
    return 2;
}

int main(int arguments, char **argument) {
    const char *folder = NULL, *chosen = NULL;
    for (int i = 1; i < arguments; i++) {
        const char *a = argument[i];
        if (strcmp(a, "--help") == 0) {
            printf("%s", help);
            return fflush(stdout) == 0 ? 0 : 1;
        }
        if (strcmp(a, "--check") == 0 || strcmp(a, "--verify") == 0 || strcmp(a, "--write") == 0) {
            if (chosen && strcmp(chosen, a) != 0)
                return usage("two modes, the second is", a);
            chosen = a;
            mode = a[2] == 'v' ? VERIFY : a[2] == 'w' ? WRITE : CHECK;
        } else if (a[0] == '-') {
            return usage("unknown option", a);
        } else if (folder) {
            return usage("more than one root, the second is", a);
        } else {
            folder = a;
        }
    }
    if (folder && strcmp(folder, ".") != 0)
        root = print("%s%s", folder, *folder && folder[strlen(folder) - 1] == '/' ? "" : "/");
    if (chdir(folder ? folder : ".") != 0 || !(here = realpath(".", NULL))) {
        fprintf(stderr, "weave: %s: %s; the root is the folder that holds chapters/\n", folder,
                strerror(errno));
        return 1;
    }
    load_chapters();
    hold_programs();
    check_page("README.md", NULL);
    if (access("data", F_OK) == 0)
        check_page("data/README.md", NULL);
    for (size_t i = 0; i < count.chapters; i++)
        check_page(print("chapters/%s/README.md", chapters[i].folder), &chapters[i]);
    for (struct file *f = files; f; f = f->next)
        if (f->changed && !refused && !save(f))
            return 1;
    sum_up();
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "weave: stdout: %s\n", strerror(errno));
        return 1;
    }
    return count.findings ? 1 : 0;
}
