/* weave.c: holds the pages of this book to its programs and to their runs.

   The C files and the runs are the truth; the pages quote them. A quotation that nobody compares
   goes stale, so this tool compares all of them:

     ```c NAME                  shows block NAME of the chapter's program
     ```c FILE: NAME            shows a block of another file (beside the page, else from the root)
     ```console FILE TOL        quotes lines of build/NN-name/FILE, numbers within TOL
     98.3<!-- =NAME TOL -->     states a result: NAME is looked up in build/NN-name/results.tsv,
                                NN-name/foo in another chapter's, record:foo in recorded/record.tsv
     [text](target#anchor)      and images must lead somewhere

   A block starts at a banner and ends before the next one, the next part, or the guard of main:

     / * --- NAME ------------ * /              this program is the block's home
     / * --- NAME (chapter 3) ------------ * /  a copy, byte by byte, of NAME in chapter 3's program
     / * === II. TITLE ======= * /              a part

   A program's header comment may list its contents, after a line with that word and until a blank
   one: the title of a part (from its numeral on) or the name of a block, two or more spaces, and
   the number of the line where it starts.

   TOL is 3% (of the measured value), x10 (within that factor), +-0.5 (absolute). Without one, a
   stated number must be the result rounded to the digits printed, and a quoted console line exact.

   Every finding is one line, `file:line: what; what to do`, on stderr; stdout counts what was
   looked at. Of markdown we read what the pages use, and say where we meet something else.

   Build:  cc -std=c11 -O2 weave.c -o weave -lm */
#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What differs is reported. WRITE repairs in memory what it can, reports the rest, and saves in the
   end; a finding that forbids to write sets CHECK. */
static enum { CHECK, VERIFY, WRITE } mode = CHECK;
static const char *root = ""; /* what stands before a path in a message: "" or "folder/" */

static struct {
    size_t findings, chapters, listings, carried, links, external;
    size_t numbers, consoles, waiting_numbers, waiting_consoles;
} count;

/* --- memory and strings ----------------------------------------------------------------------- */

/* A run takes milliseconds and a few megabytes, so nothing is freed. What is not touched of this
   pool costs nothing, and it starts as zeros. */
static _Alignas(max_align_t) char pool[64 << 20];
static size_t used;

static void *take(size_t n) {
    char *start = pool + used;
    if (n > sizeof pool - used) {
        fprintf(stderr, "weave: out of memory\n");
        exit(1);
    }
    used += (n + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    return start;
}

/* sprintf into memory of its own. */
__attribute__((format(printf, 1, 2))) static char *print(const char *format, ...) {
    va_list list;
    va_start(list, format);
    int n = vsnprintf(pool + used, sizeof pool - used, format, list);
    va_end(list);
    return take((size_t)n + 1);
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

/* A line as a message shows it, and no character of UTF-8 cut in two. */
static const char *quote(const char *line) {
    const char *s = trim(line);
    size_t n = strlen(s) > 72 ? 70 : strlen(s);
    while (n > 0 && (s[n] & 0xC0) == 0x80)
        n--;
    return n ? print("\"%.*s%s\"", (int)n, s, s[n] ? "…" : "") : "an empty line";
}

/* Matches an extended regular expression; `part` takes the places of the whole and of up to seven
   parentheses. Each expression is a literal, so its address tells whether we compiled it before. */
static bool match(const char *expression, const char *s, regmatch_t part[8]) {
    static struct {
        const char *expression;
        regex_t compiled;
    } known[16];
    size_t k = 0;
    while (known[k].expression && known[k].expression != expression)
        k++;
    if (!known[k].expression)
        regcomp(&known[k].compiled, expression, REG_EXTENDED);
    known[k].expression = expression;
    return regexec(&known[k].compiled, s, 8, part, 0) == 0;
}

/* What a parenthesis matched; an empty string where it took no part. */
static char *matched(const char *s, regmatch_t part) {
    return part.rm_so < 0 ? "" : copy(s + part.rm_so, (size_t)(part.rm_eo - part.rm_so));
}

/* --- files ------------------------------------------------------------------------------------ */

/* A banner or a part line, and the lines first … end-1 of its block. Lines count from 0. */
struct mark {
    const char *name;
    long chapter; /* the home of a carried block, 0 for a block at home, or PART */
    size_t line, first, end;
    bool listed;                 /* in the contents */
    const struct file *shown_on; /* the page that showed it last */
};
enum { PART = -1 };

/* A text file in memory. One that cannot be read has a fault instead of lines. */
struct file {
    const char *path, *fault;
    char *text, **line;
    size_t lines, marks;
    struct mark *mark;  /* NULL until find_marks */
    bool changed, told; /* that it has a fault */
    struct file *next;
};
static struct file *files; /* all, so that none is loaded twice */

__attribute__((format(printf, 3, 4))) static void report(const struct file *f, size_t line,
                                                         const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s%s:%zu: ", root, f->path, line + 1);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    count.findings++;
}

/* Returns what is wrong with the file, or NULL. */
static const char *read_lines(struct file *f) {
    FILE *in = fopen(f->path, "r");
    if (!in)
        return errno == ENOENT ? "is missing" : strerror(errno);
    size_t room = 0;
    ssize_t size = getdelim(&f->text, &room, 0, in); /* up to a NUL, which no text has */
    fclose(in);
    if (size <= 0 || strlen(f->text) < (size_t)size || strchr(f->text, '\r'))
        return "is no text: it is empty, or has a NUL byte or a carriage return";
    f->line = take(((size_t)size + 1) * sizeof *f->line);
    for (char *s = f->text, *end; *s; s = end) {
        end = s + strcspn(s, "\n");
        f->line[f->lines++] = s;
        if (*end)
            *end++ = 0;
    }
    return NULL;
}

/* Loads a file, or finds it where it was loaded before; cure: what to do when it is missing, or
   NULL when it may be. */
static struct file *load(const char *path, const char *cure) {
    for (struct file *f = files; f; f = f->next)
        if (strcmp(f->path, path) == 0)
            return f;
    struct file *f = take(sizeof *f);
    f->path = print("%s", path);
    f->next = files;
    files = f;
    f->fault = read_lines(f);
    if (f->fault && cure)
        report(f, 0, "%s; %s", f->fault, cure);
    return f;
}

/* A file is replaced whole or not at all: we write a neighbour and rename it. */
static bool save(const struct file *f) {
    const char *temporary = print("%s.tmp", f->path);
    struct stat info;
    FILE *out = fopen(temporary, "w");
    bool good = out && stat(f->path, &info) == 0 && fchmod(fileno(out), info.st_mode & 07777) == 0;
    for (size_t k = 0; good && k < f->lines; k++)
        good = fprintf(out, "%s\n", f->line[k]) > 0;
    good = good && fflush(out) == 0 && rename(temporary, f->path) == 0;
    if (good)
        printf("weave: wrote %s%s\n", root, f->path);
    else
        fprintf(stderr, "weave: %s%s: cannot be written: %s; it is as it was\n", root, f->path,
                strerror(errno));
    if (out && !good)
        remove(temporary);
    if (out)
        fclose(out);
    return good;
}

/* --- quotations of code ----------------------------------------------------------------------- */

/* Lines of a file that come from another: the inside of a fence, where each stands after a prefix
   ("> " in a quotation), or a carried block. */
struct quotation {
    struct file *file;
    size_t first, n;
    char **line; /* without the prefix */
    const char *prefix;
};

/* Puts n lines in the place of those quoted. */
static void replace(const struct quotation *q, char *const *with, size_t n) {
    struct file *f = q->file;
    size_t end = q->first + q->n, lines = f->lines - q->n + n;
    char **line = take((lines + 1) * sizeof *line);
    memcpy(line, f->line, q->first * sizeof *line);
    for (size_t k = 0; k < n; k++) /* a blank line gets no trailing space */
        line[q->first + k] = *with[k] ? print("%s%s", q->prefix, with[k]) : trim(q->prefix);
    memcpy(line + q->first + n, f->line + end, (f->lines - end) * sizeof *line);
    for (struct mark *m = f->mark; m && m < f->mark + f->marks; m++) {
        m->end += m->first >= q->first ? n - q->n : 0;
        m->first += m->line >= end ? n - q->n : 0;
        m->line += m->line >= end ? n - q->n : 0;
    }
    f->line = line;
    f->lines = lines;
    f->changed = true;
}

/* Holds a quotation to its block. */
static void hold_quotation(const struct quotation *q, const struct file *home,
                           const struct mark *block, const char *what) {
    char **line = home->line + block->first;
    size_t n = block->end - block->first, k = 0;
    while (k < q->n && k < n && strcmp(q->line[k], line[k]) == 0)
        k++;
    bool same = k == q->n && k == n;
    if (!same && mode == WRITE)
        replace(q, line, n);
    else if (!same)
        report(q->file, q->first + k, "%s: here %s, %s%s:%zu has %s; `make weave` copies it", what,
               k < q->n ? quote(q->line[k]) : "nothing more", root, home->path,
               block->first + k + 1, k < n ? quote(line[k]) : "nothing more");
}

/* --- programs and their blocks ---------------------------------------------------------------- */

static struct mark *find_block(const struct file *f, const char *name) {
    for (size_t i = 0; i < f->marks; i++)
        if (f->mark[i].chapter != PART && strcmp(f->mark[i].name, name) == 0)
            return &f->mark[i];
    return NULL;
}

/* Ends a block before line k. The blank lines around its text do not belong to it. */
static void end_block(const struct file *f, struct mark *m, size_t k) {
    while (k > m->first && !*f->line[k - 1])
        k--;
    while (m->first < k && !*f->line[m->first])
        m->first++;
    m->end = k;
    for (size_t i = m->first; i < k; i++)
        if (starts(trim(f->line[i]), "```")) {
            report(f, i, "three backticks would end a listing; nothing is written before they go");
            mode = CHECK;
        }
}

/* Finds the banners and the part lines, and with them the blocks. A block also ends where main's
   guard begins, and before an #endif that ends the file. */
static void find_marks(struct file *f) {
    struct mark *open = NULL;
    if (f->mark || f->fault)
        return;
    f->mark = take(f->lines * sizeof *f->mark);
    for (size_t k = 0; k < f->lines; k++) {
        const char *line = f->line[k];
        regmatch_t part[8];
        bool is_part = match("^/\\* === ([IVX]+\\.) .* =+ \\*/$", line, part);
        bool is_guard = starts(line, "#ifndef WORKBOOK_TEST");
        bool is_banner = starts(line, "/* --- "), is_copy = strstr(line, "(chapter");
        if (open && (is_part || is_guard || is_banner)) {
            end_block(f, open, k);
            open = NULL;
        }
        /* A copy must say whose: a mistyped number must not make it a block at home. */
        if (is_banner &&
            !match(is_copy ? "^/\\* --- (.*[^ ]) \\(chapter ([1-9][0-9]*)\\) -{3,} \\*/$"
                           : "^/\\* --- (.*[^ -]) -{3,} \\*/$",
                   line, part)) {
            report(f, k, "broken banner; write /* --- NAME --- */, or with (chapter N) in it");
        } else if (is_part || is_banner) {
            char *name = matched(line, part[1]);
            if (is_banner && find_block(f, name))
                report(f, k, "block \"%s\" is here twice; give one another name", name);
            open = &f->mark[f->marks++];
            *open = (struct mark){.name = name, .line = k, .first = k + 1};
            open->chapter = is_part ? PART : is_copy ? strtol(line + part[2].rm_so, NULL, 10) : 0;
        }
    }
    if (open)
        end_block(f, open, f->lines - starts(f->line[f->lines - 1], "#endif"));
}

/* --- chapters --------------------------------------------------------------------------------- */

/* Calls a function for each path that fits a pattern; a student's file is not ours to judge. */
static size_t visit(const char *pattern, void (*function)(const char *path)) {
    glob_t found;
    size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    for (size_t i = 0; i < n; i++)
        if (!strstr(found.gl_pathv[i], "/exercise.c"))
            function(found.gl_pathv[i]);
    globfree(&found);
    return n;
}

/* "05-autoencoder" of a path in that chapter; NULL outside the chapters. */
static const char *folder_of(const char *path) {
    return starts(path, "chapters/") ? copy(path + 9, strcspn(path + 9, "/")) : NULL;
}

/* A chapter's program has the name of its folder. It may have a fault; NULL where there is none. */
static struct file *program_of(const char *folder) {
    const char *dash = folder ? strchr(folder, '-') : NULL;
    if (!dash)
        return NULL;
    struct file *f = load(print("chapters/%s/%s.c", folder, dash + 1), "a program belongs here");
    find_marks(f);
    return f;
}

static void hold_carried(struct file *f, const struct mark *m) {
    glob_t found;
    bool exists = glob(print("chapters/%02ld-*/", m->chapter), 0, NULL, &found) == 0;
    const struct file *home = exists ? program_of(folder_of(found.gl_pathv[0])) : NULL;
    const struct mark *origin = home ? find_block(home, m->name) : NULL;
    struct quotation q = {f, m->first, m->end - m->first, f->line + m->first, ""};
    count.carried++;
    globfree(&found);
    if (home && home->fault)
        return; /* which was reported */
    if (!origin || origin->chapter)
        report(f, m->line, "block \"%s\" has no home in chapter %ld; correct its name or number",
               m->name, m->chapter);
    else
        hold_quotation(&q, home, origin, print("carried block \"%s\" differs", m->name));
}

/* Holds line k of the contents to where its part or block starts. */
static void hold_title(struct file *f, size_t k) {
    regmatch_t part[8];
    char *line = f->line[k];
    const char *title = match("^ *(.*[^ ])  +([0-9]+)$", line, part) ? matched(line, part[1]) : "";
    struct mark *m = f->mark, *end = f->mark + f->marks;
    while (m < end && (m->chapter == PART ? !starts(title, print("%s ", m->name))
                                          : strcmp(title, m->name) != 0))
        m++;
    if (m == end) {
        report(f, k, "%s is not a part or block, two spaces, and a line; correct the contents",
               quote(line));
        return;
    }
    m->listed = true;
    int width = (int)(part[2].rm_eo - part[1].rm_eo) - 2; /* flush right, as it was */
    char *right = print("%.*s  %*zu", (int)part[1].rm_eo, line, width, m->line + 1);
    bool same = strcmp(right, line) == 0;
    if (!same && mode != WRITE)
        report(f, k, "%s starts in line %zu, not %s; `make weave` corrects the contents", title,
               m->line + 1, matched(line, part[2]));
    f->changed = f->changed || !same;
    f->line[k] = right;
}

/* Holds a C file. Copies move lines, so the contents come after them: what stands in the header
   between a line with that word and a blank one. */
static void hold_source(const char *path) {
    struct file *f = load(path, "a program belongs here");
    find_marks(f);
    for (size_t i = 0; i < f->marks; i++)
        if (f->mark[i].chapter > 0)
            hold_carried(f, &f->mark[i]);
    size_t k = 0;
    while (k < f->lines && !strstr(f->line[k], "Contents"))
        k = strstr(f->line[k], "*/") ? f->lines : k + 1;
    for (k++; k < f->lines && *trim(f->line[k]) && !strstr(f->line[k], "*/"); k++)
        hold_title(f, k);
    for (const struct mark *m = f->mark; m < f->mark + f->marks; m++)
        if (m->chapter == PART && !m->listed)
            report(f, m->line, "part %s is not in the contents; list it in the header", m->name);
}

/* --- numbers ---------------------------------------------------------------------------------- */

#define DIGITS    "0123456789"
#define FRACTION  "(\\.[0-9]+)?(e[-+]?[0-9]+)?"
#define TOLERANCE "( ([0-9.]+%|x[1-9][0-9.]*|[+]-[0-9.]+))?"

struct number {
    double value, half_digit; /* half of its last digit: what rounding may have changed */
};

/* Reads the n bytes of a number: strtod knows no commas and not the book's minus. */
static struct number read_number(const char *s, size_t n) {
    char *plain = copy(s, n), *to = plain;
    bool minus = starts(s, "\u2212");
    for (const char *from = plain + (minus ? strlen("\u2212") : 0); *from; from++)
        if (*from != ',')
            *to++ = *from;
    *to = 0;
    const char *e = strchr(plain, 'e'), *point = strchr(plain, '.');
    double power = e ? strtod(e + 1, NULL) : 0;
    power -= point ? (double)strspn(point + 1, DIGITS) : 0;
    return (struct number){(minus ? -1 : 1) * strtod(plain, NULL), 0.5 * pow(10, power)};
}

/* Prints a value with as many digits as another number, and an e or commas if that has some. */
static const char *print_like(const char *form, double value) {
    const char *point = strchr(form, '.'), *digits = strpbrk(form, DIGITS), *e = strchr(form, 'e');
    int decimals = point ? (int)strspn(point + 1, DIGITS) : 0;
    bool commas = strchr(form, ',') || strspn(digits, DIGITS) < 4; /* past 999: 3,136 */
    char *s = print(e ? "%.*e" : "%.*f", decimals, fabs(value));
    size_t mantissa = strcspn(s, "e"), whole = strcspn(s, ".e");
    bool negative = value < 0 && strcspn(s, "123456789") < mantissa; /* no minus before a zero */
    const char *out = !negative ? "" : *form == '-' ? "-" : "\u2212";
    for (size_t i = 0; i < mantissa; i++) {
        bool comma = commas && i && i < whole && (whole - i) % 3 == 0;
        out = print("%s%s%c", out, comma ? "," : "", s[i]);
    }
    long power = e ? strtol(s + mantissa + 1, NULL, 10) : 0;
    return e ? print("%se%0*ld", out, (int)strlen(e + 1), power) : out;
}

/* A number that is the result rounded to its own digits agrees under every tolerance: what --write
   prints must always pass. */
static bool agree(struct number stated, const char *tolerance, double actual) {
    double off = fabs(actual - stated.value) / (1 + 1e-9); /* 98.25 may print as 98.2 or 98.3 */
    double size = strtod(tolerance + strspn(tolerance, "x+-"), NULL);
    if (!isfinite(actual) || off <= stated.half_digit)
        return isfinite(actual);
    if (*tolerance == 'x')
        return stated.value * actual > 0 && fabs(actual) <= size * fabs(stated.value) &&
               fabs(stated.value) <= size * fabs(actual);
    return off <= (*tolerance == '+' ? size : size / 100 * fabs(actual));
}

/* --- listings and console blocks -------------------------------------------------------------- */

static const char *beside(const struct file *page, const char *name) {
    const char *slash = strrchr(page->path, '/');
    return print("%.*s%s", slash ? (int)(slash + 1 - page->path) : 0, page->path, name);
}

/* ```c NAME and ```c FILE: NAME. A file's name has a dot and no space, a block's before ": " has
   not. */
static void check_listing(const struct quotation *q, const char *what) {
    struct file *page = q->file, *program = program_of(folder_of(page->path));
    regmatch_t part[8];
    match("^(([^ :]+\\.[^ :]+): +)?(.*)$", what, part);
    const char *file = matched(what, part[2]), *name = matched(what, part[3]);
    if (*file) {
        program = load(beside(page, file), NULL);
        program = program->fault ? load(file, NULL) : program;
        find_marks(program);
    }
    struct mark *m = program ? find_block(program, name) : NULL;
    if (!m) {
        report(page, q->first - 1, "block \"%s\" is not in %s; correct the name, here or there",
               name, program ? program->path : "a program of this page");
        return;
    }
    count.listings++;
    if (m->shown_on == page)
        report(page, q->first - 1, "block \"%s\" is already shown here; show it once", name);
    m->shown_on = page;
    hold_quotation(q, program, m, print("listing \"%s\" has drifted", name));
}

/* The length of the number at s (which has a character before it), 0 when none starts there. */
static size_t number_at(const char *s) {
    regmatch_t part[8];
    if (isalnum((unsigned char)s[-1]) || strchr("_.", s[-1]))
        return 0; /* inside a word */
    return match("^-?[0-9]+" FRACTION, s, part) ? (size_t)part[0].rm_eo : 0;
}

/* Whether a quoted line is this line of the output: numbers agree within the tolerance (NULL: they
   are text, too), … stands for anything. `reach` tells how far into the quotation they agree. */
static bool same_line(const char *quoted, const char *line, const char *tolerance, size_t *reach) {
    for (size_t n, m, at = 0;; quoted += m ? n : 1, line += m ? m : 1, at += m ? n : 1) {
        *reach = at > *reach ? at : *reach;
        if (starts(quoted, "…")) {
            for (quoted += strlen("…"); *line && !same_line(quoted, line, tolerance, reach);)
                line++;
            return *line || !*quoted;
        }
        n = tolerance ? number_at(quoted) : 0;
        m = n ? number_at(line) : 0;
        if (m ? !agree(read_number(quoted, n), tolerance, read_number(line, m).value)
              : *quoted != *line)
            return false;
        if (!*quoted)
            return true;
    }
}

/* Lines with a space before them, one for each run of spaces in them, and none after. */
static char **squeeze(char *const *line, size_t n) {
    char **out = take((n + 1) * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        char *to = out[i] = print(" %s", trim(line[i]));
        for (const char *s = to; (*to = *s); s++)
            to += !isblank((unsigned char)*s) || !isblank((unsigned char)s[1]);
    }
    return out;
}

/* Holds quoted lines to the output. Each stretch between gaps must stand in one piece, after the
   one before it; the first place that fits is as good as any. */
static void match_console(const struct quotation *q, const struct file *output, const char *tol) {
    char **quoted = squeeze(q->line, q->n), **line = squeeze(output->line, output->lines);
    for (size_t k = 0, at = 0, n = 0; k < q->n; k += n + 1, n = 0) {
        while (k + n < q->n && strcmp(quoted[k + n], " ...") != 0)
            n++;
        size_t most = 0, far = 0, nearest = at; /* the place that goes along for longest */
        for (size_t from = at; from < output->lines && most < n; from++) {
            size_t same = 0, reach = 0;
            while (same < n && from + same < output->lines &&
                   same_line(quoted[k + same] + 1, line[from + same] + 1, tol, &reach)) {
                same++;
                reach = 0;
            }
            if (same > most || (same == most && reach > far)) {
                most = same;
                far = reach;
                nearest = from + same;
            }
        }
        if (most < n) {
            const char *there = nearest < output->lines ? quote(output->line[nearest]) : "its end";
            report(q->file, q->first + k + most,
                   "%s is not in %s%s, where %s is nearest, in line %zu; quote the run again",
                   quote(q->line[k + most]), root, output->path, there, nearest + 1);
            return;
        }
        at = n ? nearest : at;
    }
    count.consoles++;
}

static void check_console(const struct quotation *q, const char *rest) {
    regmatch_t part[8];
    bool good = match("^([^ ]+)" TOLERANCE "$", rest, part);
    const char *folder = folder_of(q->file->path), *name = good ? matched(rest, part[1]) : "";
    struct file *output = load(print("build/%s/%s", folder ? folder : "", name), NULL);
    if (!*rest) { /* commands to type */
        for (size_t k = 0; k < q->n; k++)
            if (*q->line[k] && !starts(q->line[k], "$ "))
                report(q->file, q->first + k, "%s is held to nothing; write $ or ```console FILE",
                       quote(q->line[k]));
    } else if (!good || q->n == 0) {
        report(q->file, q->first - 1, "unknown tolerance, or no line; write 3%%, x10 or +-0.5");
    } else if (mode != VERIFY) {
        count.waiting_consoles++;
    } else if (output->fault) {
        report(q->file, q->first - 1, "%s%s %s; run it first", root, output->path, output->fault);
    } else {
        match_console(q, output, part[2].rm_so < 0 ? NULL : matched(rest, part[3]));
    }
}

/* --- numbers in sentences --------------------------------------------------------------------- */

/* The value of a result in a table, as text; NULL when it is not there. */
static const char *find_result(const struct file *table, const char *name) {
    const char *found = NULL;
    for (size_t k = 0; k < table->lines; k++)
        if (starts(table->line[k], print("%s\t", name))) {
            if (found)
                report(table, k, "%s stands here twice; write each result once", name);
            found = table->line[k] + strlen(name) + 1;
        }
    return found;
}

/* Holds the number that stands right before a comment, and may be none; returns what --write puts
   in its place, or NULL. */
static const char *check_number(const struct file *page, size_t k, const char *stated,
                                const char *comment) {
    regmatch_t part[8];
    bool good = match("^ =(([^/: ]+)/)?(([^/: ]+):)?([^/: ]+)" TOLERANCE " $", comment, part);
    if (!good && !*stated && !starts(comment, " ="))
        return NULL; /* a remark */
    const char *folder =
        good && part[1].rm_so > 0 ? matched(comment, part[2]) : folder_of(page->path);
    if (!good || !*stated || !folder || access(print("chapters/%s", folder), F_OK) != 0) {
        report(page, k,
               "%s is no result after a number; write =NAME, =NN-name/NAME or =record:NAME",
               quote(comment));
        return NULL;
    }
    const char *record = matched(comment, part[4]);
    if (!*record && mode == CHECK) { /* only a record is there without a run */
        count.waiting_numbers++;
        return NULL;
    }
    struct file *table = load(*record ? print("chapters/%s/recorded/%s.tsv", folder, record)
                                      : print("build/%s/results.tsv", folder),
                              NULL);
    const char *row = find_result(table, matched(comment, part[5]));
    double value = row ? strtod(row, NULL) : (double)NAN;
    if (mode == WRITE && isfinite(value))
        return print_like(stated, value);
    count.numbers += row != NULL;
    count.waiting_numbers += !row;
    if (!row && !table->told && (*record || mode == VERIFY))
        report(page, k, "%s is not in %s%s%s; correct it, or run the chapter", quote(comment), root,
               table->path, table->fault ? ", which cannot be read" : "");
    table->told = table->fault; /* once is enough */
    if (row && !agree(read_number(stated, strlen(stated)), matched(comment, part[7]), value))
        report(page, k, "states %s, but %s%s has %.6g for %s; `make weave` rewrites it", stated,
               root, table->path, value, quote(comment));
    return NULL;
}

/* --- pages and their links -------------------------------------------------------------------- */

/* Whether a page has a heading with this anchor, which a git host makes of small letters, digits, -
   and _; a space becomes -, the rest goes. */
static bool has_anchor(const struct file *page, const char *anchor) {
    for (size_t k = 0; k < page->lines; k++) {
        const char *line = page->line[k] + strspn(page->line[k], "#");
        char *slug = print("%s", line), *to = slug;
        for (const char *s = line + (*line == ' '); *s; s++)
            if (isalnum((unsigned char)*s) || strchr(" -_", *s) || (*s & 0x80))
                *to++ = *s == ' ' ? '-' : (char)tolower((unsigned char)*s);
        *to = 0;
        if (page->line[k][0] == '#' && strcmp(slug, anchor) == 0)
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
    const char *hash = strchr(target, '#'), *path = copy(target, strcspn(target, "#"));
    const char *to = *path ? beside(page, path) : page->path;
    if (!*target || access(to, F_OK) != 0)
        report(page, k, "\"%s\" leads nowhere; correct the link", target);
    else if (strstr(path, "build/"))
        report(page, k, "\"%s\" leads into build/, which readers do not have; correct it", target);
    else if (hash && !has_anchor(load(to, NULL), hash + 1))
        report(page, k, "no heading of %s%s has the anchor %s; correct the link", root, to, hash);
}

static void check_prose(struct file *page, size_t k) {
    char *line = page->line[k], *prose = print("%s", line), *at;
    const char *done = ""; /* what --write makes of the line up to byte `upto` */
    size_t upto = 0;
    regmatch_t part[8];
    while (match("`[^`]+`", prose, part)) /* what stands in code is no link and no number */
        memset(prose + part[0].rm_so, ' ', (size_t)(part[0].rm_eo - part[0].rm_so));
    while ((at = strstr(prose, "<!--"))) {
        size_t comment = (size_t)(at - prose), number = comment;
        char *end = strstr(at, "-->");
        if (!end) {
            report(page, k, "this comment is never closed; end it with --> in its line");
            break;
        }
        *at = 0;
        if (match("^([^$]*[$][^$]*[$])*[^$]*[$][^$]*$", prose, part))
            report(page, k, "a comment inside $…$ is printed as maths; end the maths before it");
        /* What belongs to a name (W1), a version (1.2.3) or a list (1,23) is no number. */
        if (match("(^|[^0-9A-Za-z_.,])((-|\u2212)?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)" FRACTION ")$",
                  prose, part))
            number = (size_t)part[2].rm_so;
        const char *with =
            check_number(page, k, prose + number, copy(at + 4, (size_t)(end - at) - 4));
        if (with) {
            done = print("%s%.*s%s", done, (int)(number - upto), line + upto, with);
            upto = comment;
        }
        memset(at, ' ', (size_t)(end + 3 - at));
    }
    page->line[k] = print("%s%s", done, line + upto);
    page->changed = page->changed || strcmp(page->line[k], line) != 0;
    if (match("\\]\\[|^ *\\[[^]^]*\\]:|\\]\\([^)]*[( ]|\\]\\([^)]*$|<(a|img) |~~~|`", prose, part))
        report(page, k, "%s is a form that nothing is held to; write [text](target), `code`, ```",
               quote(matched(prose, part[0])));
    for (const char *s = prose; match("\\]\\(([^()]*)\\)", s, part); s += part[0].rm_eo)
        check_link(page, k, matched(s, part[1]));
}

/* Checks the fence that opens in line k, after `at` bytes; returns its last line. */
static size_t check_fence(struct file *page, size_t k, size_t at) {
    static const char known[] = " c sh text make diff math mermaid gnuplot markdown tsv ";
    struct quotation q = {.file = page, .first = k + 1, .prefix = copy(page->line[k], at)};
    const char *info = trim(page->line[k] + at + 3), *s = NULL;
    q.line = take(page->lines * sizeof *q.line);
    for (size_t end = k + 1; end < page->lines; end++) {
        s = page->line[end];
        s = strcmp(s, trim(q.prefix)) == 0 ? "" : starts(s, q.prefix) ? s + at : NULL;
        if (!s || starts(trim(s), "```")) /* a quotation that is over takes its fence along */
            break;
        q.line[q.n++] = page->line[end] + (*s ? at : strlen(page->line[end]));
    }
    if (!s || strcmp(trim(s), "```") != 0) {
        report(page, k, "this fence is not closed by line %zu; end it with ```", q.first + q.n);
        return k + q.n;
    }
    const char *language = copy(info, strcspn(info, " ")), *rest = trim(info + strlen(language));
    size_t before = page->lines;
    if (strcmp(language, "console") == 0)
        check_console(&q, rest);
    else if (strcmp(language, "c") == 0 && *rest)
        check_listing(&q, rest);
    else if (*rest || !*language || !strstr(known, print(" %s ", language)))
        report(page, k, "unknown info string \"%s\"; write c NAME, console FILE, or one of%s", info,
               known);
    return k + q.n + 1 + page->lines - before;
}

static void check_page(const char *path) {
    struct file *page = load(path, "a page belongs here"), *program = program_of(folder_of(path));
    for (size_t k = 0; k < page->lines; k++) {
        size_t at = strspn(page->line[k], " >");
        if (starts(page->line[k] + at, "```"))
            k = check_fence(page, k, at);
        else
            check_prose(page, k);
    }
    for (size_t i = 0; program && !page->fault && i < program->marks; i++) {
        const struct mark *m = &program->mark[i];
        if (m->chapter == 0 && m->shown_on != page)
            report(program, m->line, "block \"%s\" is never shown in %s%s; add a listing of it",
                   m->name, root, path);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

int main(int arguments, char **argument) {
    bool given = arguments > 1 && argument[1][0] == '-';
    const char *option = given ? argument[1] : "--check", *folder = argument[1 + given];
    mode = !strcmp(option, "--verify") ? VERIFY : !strcmp(option, "--write") ? WRITE : CHECK;
    if (arguments > 2 + given || (mode == CHECK && strcmp(option, "--check") != 0)) {
        fputs("usage: weave [--check | --verify | --write] [ROOT]\n"
              "Holds the pages under ROOT to the programs (--check, the default), and to their\n"
              "runs in build/ (--verify), or rewrites what differs. Exit status 1: findings.\n",
              strcmp(option, "--help") ? stderr : stdout);
        return strcmp(option, "--help") ? 2 : 0;
    }
    root = folder ? print("%s/", folder) : "";
    if (folder && chdir(folder) != 0) {
        fprintf(stderr, "weave: %s: %s\n", folder, strerror(errno));
        return 1;
    }
    visit("chapters/*/*.c", hold_source);
    check_page("README.md");
    visit("data/README.md", check_page);
    count.chapters = visit("chapters/*/README.md", check_page);
    if (count.chapters == 0)
        report(load("chapters", NULL), 0, "no chapter is here; name the root of the book");
    for (struct file *f = files; f; f = f->next)
        if (f->changed && mode == WRITE && !save(f))
            return 1;
    printf("weave: findings: %zu; chapters %zu, listings %zu, carried blocks %zu, links %zu, "
           "numbers %zu, console blocks %zu; left to --verify: numbers %zu, console blocks %zu; "
           "not followed: external links %zu\n",
           count.findings, count.chapters, count.listings, count.carried, count.links,
           count.numbers, count.consoles, count.waiting_numbers, count.waiting_consoles,
           count.external);
    if (fflush(stdout) != 0)
        perror("weave: stdout");
    return ferror(stdout) || count.findings > 0;
}
