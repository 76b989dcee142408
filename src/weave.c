/* weave.c: holds the pages of this book to its programs and to their runs.

   The C files and the runs are the truth; the pages quote them. A quotation that nobody compares
   goes stale, so this tool compares all of them:

     ```c NAME                  shows block NAME of the chapter's program
     ```c FILE: NAME            shows a block of another file (beside the page, else from the root)
     ```console FILE TOL        quotes lines of build/NN-name/FILE, numbers within TOL
     98.3<!-- =NAME TOL -->     states a result: NAME is looked up in build/NN-name/results.tsv,
                                NN-name/foo in another chapter's, record:foo in recorded/record.tsv
     [text](target#anchor)      and images, references, <a href> and <img src> must lead somewhere

   A block of a program starts at a banner and ends before the next one, or where the guarded main
   starts:

     / * --- NAME ------------ * /              this program is the block's home
     / * --- NAME (chapter 3) ------------ * /  a copy, byte by byte, of NAME in chapter 3's program

   TOL is 3% (of the measured value), x10 (within that factor), +-0.5 (absolute). Without one, a
   stated number must be the result rounded to the digits printed, and a quoted console line is
   exact.

   Every finding is one line, `file:line: what; what to do`, on stderr. What was looked at, and what
   was left for another mode, is counted in the last line on stdout.

   Build:  cc -std=c11 -O2 weave.c -o weave -lm */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <math.h>
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

/* --write makes three passes: copies in the programs, then the pages, then a check of the result.
   The first two say nothing about what they cannot repair, because the third will. */
enum pass { PROGRAMS, PAGES, CHECK };

static enum pass pass = CHECK;
static bool verify;           /* hold numbers and console blocks as well */
static const char *root = ""; /* what stands before a path in a message: "" or "folder/" */

static struct {
    size_t findings, chapters, listings, carried, links, external;
    size_t numbers, consoles, waiting_numbers, waiting_consoles;
} count;
static size_t left_alone; /* numbers that --write found no result for */

/* --- memory ----------------------------------------------------------------------------------- */

/* Everything lives until the pass ends: one list holds it all, and nothing is freed on its own. */
struct chunk {
    struct chunk *next;
    max_align_t bytes[];
};
static struct chunk *chunks;

static void *take(size_t n) {
    struct chunk *c = calloc(1, sizeof *c + n);
    if (!c) {
        fprintf(stderr, "weave: out of memory\n");
        exit(1);
    }
    c->next = chunks;
    chunks = c;
    return c->bytes;
}

static void release_all(void) {
    while (chunks) {
        struct chunk *next = chunks->next;
        free(chunks);
        chunks = next;
    }
}

static char *copy(const char *s, size_t n) {
    return memcpy(take(n + 1), s, n);
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

/* Room for one more item. A list is full exactly when its length is 0 or a power of two, so the
   length is all there is to remember. */
static void *grow(void *items, size_t length, size_t size) {
    if (length & (length - 1))
        return items;
    void *wider = take((length ? 2 * length : 1) * size);
    return length ? memcpy(wider, items, length * size) : wider;
}

/* --- findings --------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void report(const char *path, size_t line,
                                                         const char *format, ...) {
    if (pass != CHECK)
        return;
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s%s:%zu: ", root, path, line);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    count.findings++;
}

/* --- text ------------------------------------------------------------------------------------- */

struct span {
    const char *s;
    size_t n;
};

/* A file in memory. One that cannot serve as text has a fault instead of lines. */
struct text {
    const char *path, *fault;
    size_t fault_line;
    char *bytes;
    size_t size, *start, lines; /* line k is bytes[start[k]] up to its '\n' at start[k+1]-1 */
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

/* Whether s begins with `word`. Strings here need not end in NUL, hence the length. */
static bool starts(const char *s, size_t n, const char *word) {
    size_t m = strlen(word);
    return n >= m && memcmp(s, word, m) == 0;
}

static bool equal(struct span a, struct span b) {
    return a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
}

static struct span trim(const char *s, size_t n) {
    size_t from = 0;
    while (from < n && is_space(s[from]))
        from++;
    while (n > from && is_space(s[n - 1]))
        n--;
    return (struct span){s + from, n - from};
}

/* Takes the next word off `rest`; its length is 0 when there is none. */
static struct span next_word(struct span *rest) {
    *rest = trim(rest->s, rest->n);
    size_t n = 0;
    while (n < rest->n && !is_space(rest->s[n]))
        n++;
    struct span word = {rest->s, n};
    *rest = trim(rest->s + n, rest->n - n);
    return word;
}

/* A line as a message shows it: quoted, short, and without control characters. */
static const char *quote(struct span line) {
    struct span t = trim(line.s, line.n);
    size_t n = t.n;
    if (n > 72)
        for (n = 70; n > 60 && ((unsigned char)t.s[n] & 0xC0) == 0x80;)
            n--; /* not in the middle of a UTF-8 character */
    char *s = copy(t.s, n);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 127)
            s[i] = '?';
    return t.n ? print("\"%s%s\"", s, n < t.n ? "…" : "") : "an empty line";
}

static struct text *fault(struct text *t, size_t line, const char *what) {
    t->fault = what;
    t->fault_line = line;
    return t;
}

static struct text *load_text(const char *path) {
    struct text *t = take(sizeof *t);
    t->path = path;
    struct stat info;
    if (stat(path, &info) != 0)
        return fault(t, 1, errno == ENOENT ? "is missing" : strerror(errno));
    if (!S_ISREG(info.st_mode)) /* a pipe would make us wait for ever */
        return fault(t, 1, "is not a regular file");
    FILE *f = fopen(path, "rb");
    if (!f)
        return fault(t, 1, print("cannot be opened: %s", strerror(errno)));
    t->bytes = take((size_t)info.st_size + 2);
    t->size = fread(t->bytes, 1, (size_t)info.st_size, f);
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed)
        return fault(t, 1, "cannot be read");
    if (t->size == 0)
        return fault(t, 1, "is empty");
    if (t->bytes[t->size - 1] != '\n')
        t->bytes[t->size++] = '\n';
    for (size_t i = 0, from = 0; i < t->size; i++) {
        if (t->bytes[i] == 0)
            return fault(t, t->lines + 1, "holds a NUL byte, so it is not text");
        if (t->bytes[i] != '\n')
            continue;
        if (i > from && t->bytes[i - 1] == '\r')
            return fault(t, t->lines + 1, "a line ends in CR LF where LF is wanted");
        t->start = grow(t->start, t->lines, sizeof *t->start);
        t->start[t->lines++] = from;
        from = i + 1;
    }
    t->start = grow(t->start, t->lines, sizeof *t->start);
    t->start[t->lines] = t->size;
    return t;
}

static void report_fault(const struct text *t) {
    report(t->path, t->fault_line, "%s; %s", t->fault,
           t->bytes ? "nothing else in it was looked at before that is mended"
                    : "a readable file belongs here");
}

static struct span line_of(const struct text *t, size_t k) {
    return (struct span){t->bytes + t->start[k], t->start[k + 1] - 1 - t->start[k]};
}

/* The number, from 1, of the line that holds a byte. */
static size_t line_at(const struct text *t, size_t at) {
    size_t low = 0, high = t->lines;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        *(t->start[middle] <= at ? &low : &high) = middle;
    }
    return low + 1;
}

/* Lines of a file that stand for code: a block of a program, or the inside of a fence, where each
   line may come after quote marks and an indent. */
struct body {
    const struct text *text;
    size_t first, end; /* lines first … end-1 */
    int quotes;
    size_t indent;
};

/* The length of up to `most` quote marks, each `>` with a space before or after it. `seen` counts
 * them. */
static size_t skip_quotes(struct span line, int most, int *seen) {
    size_t i = 0;
    for (*seen = 0; *seen < most; (*seen)++) {
        size_t k = i;
        while (k < line.n && line.s[k] == ' ')
            k++;
        if (k == line.n || line.s[k] != '>')
            break;
        i = k + 1 + (k + 1 < line.n && line.s[k + 1] == ' ');
    }
    return i;
}

static struct span body_line(const struct body *b, size_t k) {
    struct span line = line_of(b->text, b->first + k);
    int seen;
    size_t from = skip_quotes(line, b->quotes, &seen);
    for (size_t i = 0; i < b->indent && from < line.n && is_space(line.s[from]); i++)
        from++;
    return (struct span){line.s + from, line.n - from};
}

/* The first line in which two bodies differ, SIZE_MAX when they are the same. */
static size_t first_difference(const struct body *a, const struct body *b) {
    size_t n = a->end - a->first, m = b->end - b->first;
    for (size_t k = 0; k < n && k < m; k++)
        if (!equal(body_line(a, k), body_line(b, k)))
            return k;
    return n == m ? SIZE_MAX : n < m ? n : m;
}

static const char *quote_line(const struct body *b, size_t k) {
    return b->first + k < b->end ? quote(body_line(b, k)) : "nothing more";
}

/* --- writing ---------------------------------------------------------------------------------- */

/* What is to change in the file at hand: bytes from … to-1 become `with`. */
struct edit {
    size_t from, to;
    const char *with;
};
static struct edit *edits;
static size_t edit_count;

static void replace(size_t from, size_t to, const char *with) {
    edits = grow(edits, edit_count, sizeof *edits);
    edits[edit_count++] = (struct edit){from, to, with};
}

static int by_offset(const void *a, const void *b) {
    const struct edit *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

/* Applies the edits. A file is replaced whole or not at all: we write a neighbour and rename it. */
static void save_edits(const struct text *t) {
    size_t n = edit_count, at = 0, grown = t->size + 1;
    for (size_t i = 0; i < n; i++)
        grown += strlen(edits[i].with);
    char *bytes = take(grown);
    size_t size = 0;
    if (n)
        qsort(edits, n, sizeof *edits, by_offset);
    for (size_t i = 0; i <= n; i++) {
        size_t upto = i < n ? edits[i].from : t->size;
        memcpy(bytes + size, t->bytes + at, upto - at);
        size += upto - at;
        if (i < n) {
            size_t added = strlen(edits[i].with);
            memcpy(bytes + size, edits[i].with, added);
            size += added;
            at = edits[i].to;
        }
    }
    edits = NULL;
    edit_count = 0;
    if (size == t->size && memcmp(bytes, t->bytes, size) == 0)
        return;
    const char *temporary = print("%s.tmp", t->path);
    struct stat info;
    FILE *f = fopen(temporary, "wb");
    bool good = f && fwrite(bytes, 1, size, f) == size && fflush(f) == 0 &&
                stat(t->path, &info) == 0 && fchmod(fileno(f), info.st_mode & 07777) == 0;
    int error = errno; /* the first failure is the one to tell */
    if (f && fclose(f) != 0 && good) {
        good = false;
        error = errno;
    }
    if (good && rename(temporary, t->path) != 0) {
        good = false;
        error = errno;
    }
    if (!good) {
        if (f)
            remove(temporary);
        fprintf(stderr, "weave: %s%s: cannot be written: %s; it is as it was\n", root, t->path,
                strerror(error));
        exit(1);
    }
    printf("weave: wrote %s%s\n", root, t->path);
}

/* --- programs and their blocks ---------------------------------------------------------------- */

struct page;

struct block {
    const char *name;
    long chapter; /* the home of a carried block, 0 for a block at home */
    size_t line;  /* of the banner, from 1 */
    struct body body;
    const struct page *shown_on; /* the page that showed it last, and where */
    size_t shown_line;
};

struct program {
    struct text *text;
    struct block *block;
    size_t blocks;
    struct program *next;
};
static struct program *programs; /* all that were loaded, so that none is loaded twice */

/* The name in a banner, which ends in at least three dashes; NULL when the line is not a whole
 * banner. */
static const char *read_banner(struct span line, long *chapter) {
    struct span t = trim(line.s + 7, line.n - 7);
    size_t n = t.n;
    if (n < 2 || memcmp(t.s + n - 2, "*/", 2) != 0)
        return NULL;
    n = trim(t.s, n - 2).n;
    size_t dashes = 0;
    while (n > 0 && t.s[n - 1] == '-')
        n--, dashes++;
    struct span name = trim(t.s, n);
    if (dashes < 3 || name.n == 0)
        return NULL;
    char *s = copy(name.s, name.n), *mark = strstr(s, "(chapter");
    *chapter = 0;
    if (mark) { /* a copy must say whose: a mistyped number must not make it a block at home */
        char *rest;
        *chapter = strtol(mark + 8, &rest, 10);
        if (*chapter < 1 || strcmp(rest, ")") != 0)
            return NULL;
        s = copy(s, trim(s, (size_t)(mark - s)).n);
    }
    return *s ? s : NULL;
}

static struct block *find_block(const struct program *p, const char *name) {
    for (size_t i = 0; i < p->blocks; i++)
        if (strcmp(p->block[i].name, name) == 0)
            return &p->block[i];
    return NULL;
}

/* Ends the open block before line k. The blank lines around its text do not belong to it. */
static void end_block(struct program *p, bool open, size_t k) {
    if (!open)
        return;
    struct block *b = &p->block[p->blocks - 1];
    while (k > b->body.first && trim(line_of(p->text, k - 1).s, line_of(p->text, k - 1).n).n == 0)
        k--;
    while (b->body.first < k && line_of(p->text, b->body.first).n == 0)
        b->body.first++;
    b->body.end = k;
    if (b->body.first == k)
        report(p->text->path, b->line, "block \"%s\" has no lines; fill it or remove its banner",
               b->name);
}

/* An exercise or a solution may use banners as it likes; there (not `strict`) only copies count. */
static struct program *load_program(const char *path, bool strict) {
    for (struct program *p = programs; p; p = p->next)
        if (strcmp(p->text->path, path) == 0)
            return p;
    struct program *p = take(sizeof *p);
    p->text = load_text(path);
    p->next = programs;
    programs = p;
    if (p->text->fault) {
        report_fault(p->text);
        return p;
    }
    bool open = false, guarded = false;
    for (size_t k = 0; k < p->text->lines; k++) {
        struct span line = line_of(p->text, k), t = trim(line.s, line.n);
        if (starts(line.s, line.n, "#ifndef WORKBOOK_TEST")) {
            end_block(p, open, k);
            open = false;
            guarded = true;
        }
        if (!starts(t.s, t.n, "/* --- "))
            continue;
        long chapter = 0;
        const char *name = read_banner(t, &chapter);
        bool counts = strict || chapter;
        if (!guarded) {
            end_block(p, open, k);
            open = false;
        }
        if (!name)
            report(path, k + 1,
                   "broken banner; write /* --- NAME --- */ or /* --- NAME (chapter N) --- */");
        else if (!counts)
            continue;
        else if (guarded)
            report(path, k + 1,
                   "banner \"%s\" stands after #ifndef WORKBOOK_TEST, where there are no blocks; "
                   "move the "
                   "block up or write a plain comment",
                   name);
        else if (t.s != line.s)
            report(path, k + 1, "banner \"%s\" is indented; start it in the first column", name);
        else {
            const struct block *twin = find_block(p, name);
            if (twin)
                report(path, k + 1,
                       "block \"%s\" is already in line %zu; give one of them another name", name,
                       twin->line);
            p->block = grow(p->block, p->blocks, sizeof *p->block);
            p->block[p->blocks++] = (struct block){.name = name,
                                                   .chapter = chapter,
                                                   .line = k + 1,
                                                   .body = {.text = p->text, .first = k + 1}};
            open = true;
        }
    }
    end_block(p, open, p->text->lines);
    return p;
}

/* --- chapters --------------------------------------------------------------------------------- */

struct chapter {
    const char *folder; /* "05-autoencoder" */
    long number;        /* 5; 0 for a folder without a number */
    struct program *program;
    struct program *companion[2]; /* exercise.c and solution.c, where present */
};
static struct chapter *chapters;

static const char *const companions[2] = {"exercise.c", "solution.c"};

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in a folder, sorted, since readdir gives them in any order. */
static const char **list_folder(const char *path, size_t *n) {
    const char **names = NULL;
    *n = 0;
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));)
        if (e->d_name[0] != '.') {
            names = grow(names, *n, sizeof *names);
            names[(*n)++] = copy(e->d_name, strlen(e->d_name));
        }
    if (folder)
        closedir(folder);
    if (*n)
        qsort(names, *n, sizeof *names, by_name);
    return names;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static struct chapter *find_chapter(long number) {
    for (size_t i = 0; i < count.chapters; i++)
        if (chapters[i].number == number)
            return &chapters[i];
    return NULL;
}

/* The program of a chapter is the one .c file that is no test, benchmark, exercise or solution. */
static void load_chapter(struct chapter *c) {
    const char *folder = print("chapters/%s", c->folder), *first = NULL;
    size_t n;
    const char **names = list_folder(folder, &n);
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(names[i]);
        const char *path = print("%s/%s", folder, names[i]);
        bool companion = false;
        for (size_t k = 0; k < 2; k++)
            if (strcmp(names[i], companions[k]) == 0) {
                c->companion[k] = load_program(path, false);
                companion = true;
            }
        if (companion || length < 3 || strcmp(names[i] + length - 2, ".c") != 0 ||
            starts(names[i], length, "test_") || strcmp(names[i], "bench.c") == 0)
            continue;
        if (first) {
            report(path, 1, "is a second program beside %s; a chapter has one", first);
            continue;
        }
        first = names[i];
        c->program = load_program(path, true);
        if (c->program->blocks == 0 && !c->program->text->fault)
            report(path, 1,
                   "has no banner, so no page can show a part of it; open its blocks with /* --- "
                   "NAME --- */");
    }
    if (!first)
        report(folder, 1,
               "holds no program; a chapter needs one .c file that is no test, benchmark, exercise "
               "or solution");
}

static void load_chapters(void) {
    size_t n;
    const char **names = list_folder("chapters", &n);
    for (size_t i = 0; i < n; i++) {
        if (!is_folder(print("chapters/%s", names[i])))
            continue;
        long number = strtol(names[i], NULL, 10);
        if (number > 0 && find_chapter(number))
            report(print("chapters/%s", names[i]), 1, "has the number of %s; renumber one of them",
                   find_chapter(number)->folder);
        chapters = grow(chapters, count.chapters, sizeof *chapters);
        chapters[count.chapters++] = (struct chapter){.folder = names[i], .number = number};
    }
    for (size_t i = 0; i < count.chapters; i++)
        load_chapter(&chapters[i]);
    if (count.chapters == 0)
        report("chapters", 1, "no chapter is here; name the root of the book as the last argument");
}

static void check_carried(const struct chapter *c, const struct program *p) {
    for (size_t i = 0; p && i < p->blocks; i++) {
        const struct block *b = &p->block[i];
        if (b->chapter == 0)
            continue;
        count.carried++;
        const struct chapter *home = find_chapter(b->chapter);
        if (!home || (home == c && p == c->program)) {
            report(p->text->path, b->line, "block \"%s\" says chapter %ld, %s; correct the number",
                   b->name, b->chapter,
                   home ? "which is this one" : "and there is no such chapter");
            continue;
        }
        if (!home->program || home->program->text->fault)
            continue; /* reported where it was loaded */
        const char *path = home->program->text->path;
        const struct block *origin = find_block(home->program, b->name);
        if (!origin) {
            report(p->text->path, b->line,
                   "block \"%s\" is not in %s; correct the name or the chapter", b->name, path);
        } else if (origin->chapter) {
            report(p->text->path, b->line,
                   "block \"%s\" is itself a copy in %s; name its home, chapter %ld", b->name, path,
                   origin->chapter);
        } else {
            size_t k = first_difference(&b->body, &origin->body);
            if (k == SIZE_MAX)
                continue;
            report(p->text->path, b->body.first + k + 1,
                   "carried block \"%s\" differs: here %s, %s%s:%zu has %s; `make weave` copies it "
                   "again, or "
                   "give this block a name of its own",
                   b->name, quote_line(&b->body, k), root, path, origin->body.first + k + 1,
                   quote_line(&origin->body, k));
            size_t from = origin->body.text->start[origin->body.first];
            replace(p->text->start[b->body.first], p->text->start[b->body.end],
                    copy(origin->body.text->bytes + from,
                         origin->body.text->start[origin->body.end] - from));
        }
    }
    if (p && !p->text->fault && pass == PROGRAMS)
        save_edits(p->text);
    edit_count = 0;
    edits = NULL;
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* A number as printed: its value, and enough of its form to print another one in the same way. */
struct number {
    double value;
    size_t sign; /* bytes of the sign: 0, 1 for '-', 3 for U+2212 */
    size_t whole;
    int decimals, exponent;
    size_t exponent_sign, exponent_digits; /* 0 digits: no e-notation */
    bool commas, plus;
};

enum kind { EXACT, ROUNDED, RELATIVE, FACTOR, ABSOLUTE, ANYTHING };
struct tolerance {
    enum kind kind;
    double size;
};

static size_t minus(const char *s, size_t n) {
    return starts(s, n, "-") ? 1 : starts(s, n, "\u2212") ? 3 : 0;
}

static size_t digits(const char *s, size_t n) {
    size_t k = 0;
    while (k < n && is_digit(s[k]))
        k++;
    return k;
}

/* Reads the number at the start of s; returns its length, 0 when there is none. */
static size_t read_number(const char *s, size_t n, bool commas, struct number *out) {
    struct number x = {.sign = minus(s, n)};
    char plain[64] = "-"; /* what strtod understands */
    size_t p = x.sign ? 1 : 0, i = x.sign;
    while (i < n && p < 32) {
        if (is_digit(s[i])) {
            plain[p++] = s[i++];
            x.whole++;
        } else if (commas && s[i] == ',' && (x.commas || x.whole <= 3) && x.whole &&
                   digits(s + i + 1, n - i - 1) == 3) {
            x.commas = true;
            i++;
        } else {
            break;
        }
    }
    if (x.whole == 0)
        return 0;
    if (i + 1 < n && s[i] == '.' && is_digit(s[i + 1]))
        for (plain[p++] = s[i++]; i < n && is_digit(s[i]) && p < 48; x.decimals++)
            plain[p++] = s[i++];
    if (i + 1 < n && (s[i] == 'e' || s[i] == 'E')) {
        x.exponent_sign = minus(s + i + 1, n - i - 1);
        x.plus = s[i + 1] == '+';
        size_t from = i + 1 + (x.plus ? 1 : x.exponent_sign), k = digits(s + from, n - from);
        if (k > 0 && k < 5) {
            x.exponent_digits = k;
            x.exponent = (x.exponent_sign ? -1 : 1) * (int)strtol(copy(s + from, k), NULL, 10);
            p += (size_t)snprintf(plain + p, sizeof plain - p, "e%d", x.exponent);
            i = from + k;
        }
    }
    if (i < n && is_digit(s[i])) /* longer than anything we print */
        return 0;
    plain[p] = 0;
    x.value = strtod(plain, NULL);
    *out = x;
    return i;
}

/* Where the number that ends right before `end` starts; SIZE_MAX when none does. A digit that
   belongs to a name (W1), to a version (1.2.3) or to a list (12,34) is no number. */
static size_t number_before(const char *s, size_t end, struct number *x) {
    size_t from = end;
    while (from > 0 && end - from < 48 &&
           (is_digit(s[from - 1]) || strchr(",.eE+-\xe2\x88\x92", s[from - 1])))
        from--;
    for (; from < end; from++) {
        char before = from ? s[from - 1] : ' ';
        if (is_digit(before) || is_letter(before) || before == '_' || before == '.' ||
            (before == ',' && from > 1 && is_digit(s[from - 2])))
            continue;
        if (read_number(s + from, end - from, true, x) == end - from)
            return from;
    }
    return SIZE_MAX;
}

/* Prints a value with the digits, the sign and the separators of another number. */
static const char *print_like(struct number form, double value) {
    char s[512];
    snprintf(s, sizeof s, form.exponent_digits ? "%.*e" : "%.*f", form.decimals, fabs(value));
    size_t mantissa = strcspn(s, "e"), whole = strcspn(s, ".e");
    bool negative =
        value < 0 && strcspn(s, "123456789") < mantissa; /* no minus before a rounded zero */
    /* A number that grew past 999 gets commas, since the book writes 3,136. */
    bool commas = form.commas || form.whole < 4;
    char *out = take(2 * sizeof s);
    size_t n = (size_t)sprintf(out, "%s", !negative ? "" : form.sign == 1 ? "-" : "\u2212");
    for (size_t i = 0; i < mantissa; i++) {
        if (commas && i && i < whole && (whole - i) % 3 == 0)
            out[n++] = ',';
        out[n++] = s[i];
    }
    if (form.exponent_digits) {
        long e = strtol(s + mantissa + 1, NULL, 10);
        const char *sign = e >= 0                    ? (form.plus ? "+" : "")
                           : form.exponent_sign == 3 ? "\u2212"
                                                     : "-";
        sprintf(out + n, "e%s%0*ld", sign, (int)form.exponent_digits, labs(e));
    }
    return out;
}

/* A number that is the result rounded to its own digits agrees under every tolerance but EXACT,
   which compares texts: what --write prints must always pass. */
static bool agree(struct number stated, struct tolerance t, double actual) {
    if (t.kind == ANYTHING)
        return true;
    if (!isfinite(actual))
        return false;
    double off = fabs(actual - stated.value) / (1 + 1e-9); /* 98.25 may print as 98.2 or 98.3 */
    if (off <= 0.5 * pow(10, stated.exponent - stated.decimals))
        return true;
    if (t.kind == RELATIVE)
        return off <= t.size / 100 * fabs(actual);
    if (t.kind == FACTOR)
        return stated.value * actual > 0 && fabs(actual) <= t.size * fabs(stated.value) &&
               fabs(stated.value) <= t.size * fabs(actual);
    return t.kind == ABSOLUTE && off <= t.size;
}

/* 3%, x10 or ×10, +-0.5 or ±0.5. */
static bool read_tolerance(struct span w, struct tolerance *t) {
    static const struct {
        const char *mark;
        enum kind kind;
    } marks[] = {{"x", FACTOR}, {"×", FACTOR}, {"+-", ABSOLUTE}, {"±", ABSOLUTE}, {"", RELATIVE}};
    size_t k = 0;
    while (!starts(w.s, w.n, marks[k].mark)) /* the last one always fits */
        k++;
    size_t from = strlen(marks[k].mark);
    struct number x;
    size_t n = read_number(w.s + from, w.n - from, false, &x);
    *t = (struct tolerance){marks[k].kind, n ? x.value : 0};
    if (n == 0 || x.value < 0 || (t->kind == FACTOR && x.value < 1))
        return false;
    return t->kind == RELATIVE ? from + n + 1 == w.n && w.s[w.n - 1] == '%' : from + n == w.n;
}

/* --- results ---------------------------------------------------------------------------------- */

struct row {
    const char *name;
    double value;
};

struct table {
    struct text *text;
    struct row *row;
    size_t rows;
    const struct page *told; /* the page that was told that this table is not there */
    struct table *next;
};
static struct table *tables;

static const struct row *find_row(const struct table *t, const char *name) {
    for (size_t i = 0; i < t->rows; i++)
        if (strcmp(t->row[i].name, name) == 0)
            return &t->row[i];
    return NULL;
}

static struct table *load_table(const char *path) {
    for (struct table *t = tables; t; t = t->next)
        if (strcmp(t->text->path, path) == 0)
            return t;
    struct table *t = take(sizeof *t);
    t->text = load_text(path);
    t->next = tables;
    tables = t;
    for (size_t k = 0; k < t->text->lines && !t->text->fault; k++) {
        struct span line = line_of(t->text, k);
        if (starts(line.s, line.n, "#"))
            continue;
        char *name = copy(line.s, line.n), *value = strchr(name, '\t');
        char *unit = value ? strchr(value + 1, '\t') : NULL, *rest = NULL;
        if (!unit || value == name || strchr(unit + 1, '\t')) {
            report(path, k + 1,
                   "%s is not name, value and unit with tabs between; correct what writes it",
                   quote(line));
            continue;
        }
        *value++ = *unit = 0;
        struct row row = {name, strtod(value, &rest)};
        if (rest == value || *rest)
            report(path, k + 1, "\"%s\" is not a number; correct what writes it", value);
        else if (find_row(t, name))
            report(path, k + 1, "\"%s\" stands here twice; write each result once", name);
        t->row = grow(t->row, t->rows, sizeof *t->row);
        t->row[t->rows++] = row;
    }
    return t;
}

/* --- pages ------------------------------------------------------------------------------------ */

struct fence {
    size_t line; /* of its opening, from 1 */
    struct body body;
    const char *prefix; /* what stands before each of its lines */
    const char *info;
};

struct link {
    size_t at;
    const char *target;
};

struct page {
    struct text *text;
    const struct chapter *chapter; /* NULL for a page outside the chapters */
    char *prose;                   /* the text with fences, code, maths and comments blanked out */
    struct fence *fence;
    struct link *link, *use,
        *comment; /* links, uses of [references], and comments (or what is in maths) */
    const char **anchor, **label;
    size_t fences, links, uses, comments, anchors, labels;
    struct page *next;
};
static struct page *pages;

static void blank(char *s, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (s[i] != '\n')
            s[i] = ' ';
}

static void add_link(struct link **list, size_t *n, size_t at, const char *s, size_t length) {
    *list = grow(*list, *n, sizeof **list);
    (*list)[(*n)++] = (struct link){at, copy(s, length)};
}

static bool has_string(const char *const *list, size_t n, const char *s) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], s) == 0)
            return true;
    return false;
}

/* The length of a fence's mark at s: three or more ` or ~. */
static size_t fence_mark(struct span line, size_t at) {
    size_t n = 0;
    while (at + n < line.n && line.s[at + n] == line.s[at])
        n++;
    return n >= 3 && (line.s[at] == '`' || line.s[at] == '~') ? n : 0;
}

/* Where the text of a line starts, after spaces and list marks such as "- " and "12. ". */
static size_t skip_list_marks(struct span line, size_t at) {
    for (;;) {
        while (at < line.n && is_space(line.s[at]))
            at++;
        size_t k = at + digits(line.s + at, line.n - at);
        bool mark =
            k < line.n && (k == at ? strchr("-*+", line.s[k]) : strchr(".)", line.s[k])) != NULL;
        if (!mark || k + 1 >= line.n || !is_space(line.s[k + 1]))
            return at;
        at = k + 1;
    }
}

/* Finds the fences and blanks them out of the prose. */
static void find_fences(struct page *page) {
    const struct text *t = page->text;
    for (size_t k = 0; k < t->lines; k++) {
        struct span line = line_of(t, k);
        int quotes, seen;
        size_t quoted = skip_quotes(line, 9, &quotes), at = skip_list_marks(line, quoted);
        if (starts(line.s + at, line.n - at, "<!--")) { /* what is commented out shows nothing */
            while (k < t->lines && !strstr(copy(line_of(t, k).s, line_of(t, k).n), "-->"))
                k++;
            continue;
        }
        size_t mark = at < line.n ? fence_mark(line, at) : 0;
        struct span info = trim(line.s + at + mark, line.n - at - mark);
        if (!mark || (line.s[at] == '`' && memchr(info.s, '`', info.n))) /* ```code``` in a line */
            continue;
        char *prefix = copy(line.s, at);
        for (size_t i = 0; i < at; i++)
            if (prefix[i] != '>')
                prefix[i] = ' ';
        struct body body = {t, k + 1, k + 1, quotes, at - quoted};
        bool closed = false, open = true;
        while (open && !closed && body.end < t->lines) {
            struct span inside = line_of(t, body.end);
            size_t from = skip_quotes(inside, quotes, &seen);
            struct span rest = trim(inside.s + from, inside.n - from);
            size_t again = rest.n && rest.s[0] == line.s[at] ? fence_mark(rest, 0) : 0;
            closed = seen == quotes && again >= mark && again == rest.n;
            /* A quotation that is over takes its fence along. A line that would open a fence is
               text to markdown, but there a closing mark was forgotten. */
            open = seen == quotes && (again < mark || closed);
            body.end += open;
        }
        k = body.end - 1;
        body.end -= closed;
        blank(page->prose, t->start[body.first - 1], t->start[k + 1]);
        if (!closed) {
            report(
                t->path, body.first,
                "this fence is not closed by line %zu; end it with its mark on a line of its own",
                body.end);
            continue;
        }
        page->fence = grow(page->fence, page->fences, sizeof *page->fence);
        page->fence[page->fences++] =
            (struct fence){body.first, body, prefix, copy(info.s, info.n)};
    }
}

/* The end of the paragraph that holds byte i: code and maths never reach over a blank line. */
static size_t paragraph_end(const char *s, size_t n, size_t i) {
    for (; i < n; i++)
        if (s[i] == '\n') {
            size_t k = i + 1;
            while (k < n && (is_space(s[k]) || s[k] == '>'))
                k++;
            if (k >= n || s[k] == '\n')
                return i;
        }
    return n;
}

static size_t find_in(const char *s, size_t from, size_t to, const char *word) {
    for (size_t i = from; i < to; i++)
        if (starts(s + i, to - i, word))
            return i;
    return SIZE_MAX;
}

/* The byte after the code, maths or comment that starts at i, in a paragraph up to `stop`; i when
 * none does. */
static size_t opaque_end(const char *s, size_t n, size_t i, size_t stop) {
    size_t mark = 1;
    if (starts(s + i, n - i, "<!--")) {
        size_t end = find_in(s, i + 4, n, "-->");
        return end == SIZE_MAX ? n : end + 3;
    }
    while (i + mark < stop && s[i + mark] == s[i])
        mark++;
    if (s[i] == '`') {
        for (size_t k = i + mark; k < stop; k++) {
            size_t run = 0;
            while (k + run < stop && s[k + run] == '`')
                run++;
            if (run == mark)
                return k + run;
            k += run;
        }
        return i + mark; /* no partner: plain characters, but not the start of a shorter one */
    }
    if (s[i] == '$' && mark == 2) {
        size_t end = find_in(s, i + 2, stop, "$$");
        return end == SIZE_MAX ? i : end + 2;
    }
    /* A single dollar opens maths before something, and closes it after something: "$5 and $6" is
     * money. */
    if (s[i] == '$' && mark == 1 && i + 1 < stop && !is_space(s[i + 1]) && s[i + 1] != '\n')
        for (size_t k = i + 1; k < stop; k++) {
            if (s[k] == '\\')
                k++;
            else if (s[k] == '$' && s[k + 1] == '$')
                k++;
            else if (s[k] == '$' && !is_space(s[k - 1]) && s[k - 1] != '\n' && !is_digit(s[k + 1]))
                return k + 1;
        }
    return i;
}

/* Blanks code, maths and comments out of the prose, and keeps the comments. */
static void blank_opaque(struct page *page) {
    char *s = page->prose;
    size_t n = page->text->size, stop = 0;
    for (size_t i = 0; i < n; i++) {
        if (i >= stop)
            stop = paragraph_end(s, n, i + 1);
        size_t end = i;
        if (s[i] == '\\')
            end = i + 2;
        else if (s[i] == '`' || s[i] == '$' || s[i] == '<')
            end = opaque_end(s, n, i, stop);
        if (end <= i || end > n)
            continue;
        /* In code a comment is an example of one. In maths it would be printed, so we keep it to
         * tell. */
        if (s[i] == '<' || (s[i] == '$' && find_in(s, i, end, "<!--") != SIZE_MAX))
            add_link(&page->comment, &page->comments, i, s + i, end - i);
        blank(s, i, end);
        i = end - 1;
    }
}

/* One character of a heading as GitHub keeps it in an anchor: letters (small), digits, - and _; a
   space becomes -, the rest goes. Beyond ASCII we know Latin, Greek and Cyrillic capitals, and that
   U+2000 to U+2BFF and U+1F000 up are dashes, arrows, signs and pictures. Returns the length of the
   character. */
static size_t slug_character(const char *s, char *out) {
    unsigned char c = (unsigned char)s[0];
    *out = 0;
    if (c < 0x80) {
        if (c == ' ' || c == '-' || c == '_' || is_digit(s[0]) || is_letter(s[0])) {
            out[0] = c == ' ' ? '-' : (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
            out[1] = 0;
        }
        return 1;
    }
    size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2, k = 1;
    unsigned code = c & (0xFFu >> (length + 1));
    for (; k < length && ((unsigned char)s[k] & 0xC0) == 0x80; k++)
        code = code << 6 | ((unsigned char)s[k] & 0x3F);
    bool sign = (code < 0xC0 && code != 0xAA && code != 0xB5 && code != 0xBA) || code == 0xD7 ||
                code == 0xF7 || (code >= 0x2000 && code < 0x2C00) ||
                (code >= 0x3000 && code < 0x3004) || code >= 0x1F000;
    if (sign || k < length)
        return k;
    if ((code >= 0xC0 && code <= 0xDE) || (code >= 0x391 && code <= 0x3A9) ||
        (code >= 0x410 && code <= 0x42F))
        code += 32;
    if (length == 2)
        sprintf(out, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 0x3F)));
    else
        sprintf(out, "%.*s", (int)length, s);
    return length;
}

/* Adds the anchor that GitHub makes of a heading: tags and targets of links dropped, a second
   heading of the same name numbered. */
static void add_heading(struct page *page, size_t from, size_t to) {
    const char *s = page->text->bytes, *prose = page->prose;
    char *slug = take(2 * (to - from) + 8), piece[8];
    for (size_t i = from; i < to;) {
        size_t end = i;
        if (starts(s + i, to - i, "<!--"))
            end = find_in(s, i, to, "-->") == SIZE_MAX ? to : find_in(s, i, to, "-->") + 3;
        else if (prose[i] == '<')
            end = find_in(prose, i, to, ">") + 1;
        else if (starts(prose + i, to - i, "]("))
            end = find_in(prose, i, to, ")") + 1;
        if (end > i && end <= to) {
            i = end;
            continue;
        }
        i += slug_character(s + i, piece);
        strcat(slug, piece);
    }
    const char *name = slug;
    for (size_t k = 1; has_string(page->anchor, page->anchors, name); k++)
        name = print("%s-%zu", slug, k);
    page->anchor = grow(page->anchor, page->anchors, sizeof *page->anchor);
    page->anchor[page->anchors++] = name;
}

static void find_headings(struct page *page) {
    for (size_t k = 0; k < page->text->lines; k++) {
        size_t at = page->text->start[k], end = page->text->start[k + 1] - 1, level = 0;
        int seen;
        at += skip_quotes((struct span){page->prose + at, end - at}, 9, &seen);
        while (at + level < end && page->prose[at + level] == '#')
            level++;
        if (level < 1 || level > 6 || at + level == end || !is_space(page->prose[at + level]))
            continue;
        at += level;
        while (end > at && (is_space(page->prose[end - 1]) || page->prose[end - 1] == '#') &&
               (is_space(page->text->bytes[end - 1]) || page->text->bytes[end - 1] == '#'))
            end--;
        while (at < end && is_space(page->text->bytes[at]))
            at++;
        add_heading(page, at, end);
    }
}

/* A target in markdown starts at byte i: <in angles>, or up to a space or the last parenthesis. */
static void add_target(struct page *page, size_t i) {
    const char *s = page->prose;
    size_t n = page->text->size, from, depth = 0;
    while (i < n && (is_space(s[i]) || s[i] == '\n'))
        i++;
    if (i < n && s[i] == '<') {
        for (from = ++i; i < n && s[i] != '>' && s[i] != '\n';)
            i++;
    } else {
        for (from = i; i < n && !is_space(s[i]) && s[i] != '\n' && (s[i] != ')' || depth); i++)
            depth += s[i] == '(' ? 1 : s[i] == ')' ? (size_t)-1 : 0;
    }
    /* The bytes as written: an underscore escaped in the target has been blanked in the prose. */
    add_link(&page->link, &page->links, from, page->text->bytes + from, i - from);
}

/* The attributes of an HTML tag in prose[from … to-1] that are links or anchors. */
static void find_attributes(struct page *page, size_t from, size_t to) {
    const char *s = page->prose;
    for (size_t i = from; i < to; i++) {
        size_t name = i, end, value;
        while (i < to && is_letter(s[i]))
            i++;
        if (i == name || i + 1 >= to || s[i] != '=')
            continue;
        struct span word = {s + name, i - name};
        char close = s[i + 1];
        bool quoted = close == '"' || close == '\'';
        for (value = end = i + 1 + quoted;
             end < to && (quoted ? s[end] != close : !is_space(s[end]));)
            end++;
        if (equal(word, (struct span){"href", 4}) || equal(word, (struct span){"src", 3})) {
            add_link(&page->link, &page->links, value, s + value, end - value);
        } else if (equal(word, (struct span){"id", 2}) || equal(word, (struct span){"name", 4})) {
            page->anchor = grow(page->anchor, page->anchors, sizeof *page->anchor);
            page->anchor[page->anchors++] = copy(s + value, end - value);
        }
        i = end;
    }
}

/* Labels of reference links are compared without regard to case. */
static char *label_of(const char *s, size_t n) {
    char *label = copy(s, n);
    for (size_t i = 0; i < n; i++)
        label[i] = label[i] == '\n'
                       ? ' '
                       : (char)(label[i] >= 'A' && label[i] <= 'Z' ? label[i] + 32 : label[i]);
    return label;
}

static void find_links(struct page *page) {
    const char *s = page->prose;
    size_t n = page->text->size, stop = 0, open[16],
           depth = 0;  /* where the brackets that are open were opened */
    bool fresh = true; /* only spaces and quote marks came before in this line */
    for (size_t i = 0; i < n; i++) {
        if (i >= stop) {
            stop = paragraph_end(s, n, i + 1);
            depth = 0;
        }
        size_t end = s[i] == '[' || s[i + 1] == '[' ? find_in(s, i + 2, stop, "]") : SIZE_MAX;
        if (s[i] == '[' && fresh && end != SIZE_MAX && s[end + 1] == ':' && s[i + 1] != '^') {
            page->label = grow(page->label, page->labels, sizeof *page->label);
            page->label[page->labels++] = label_of(s + i + 1, end - i - 1);
            add_target(page, end + 2);
        } else if (s[i] == '[') {
            open[depth++ % 16] = i + 1;
        } else if (s[i] == ']' && depth) {
            size_t from = open[--depth % 16];
            if (s[i + 1] == '(')
                add_target(page, i + 2);
            else if (s[i + 1] == '[' && end == i + 2) /* [label][] */
                add_link(&page->use, &page->uses, i, label_of(s + from, i - from), i - from);
            else if (s[i + 1] == '[' && end != SIZE_MAX) /* [text][label] */
                add_link(&page->use, &page->uses, i, label_of(s + i + 2, end - i - 2), end - i - 2);
        } else if (s[i] == '<' && is_letter(s[i + 1])) {
            end = find_in(s, i, stop, ">");
            if (end != SIZE_MAX)
                find_attributes(page, i + 1, end);
        }
        fresh = s[i] == '\n' || (fresh && (s[i] == ' ' || s[i] == '>'));
    }
}

static struct page *load_page(const char *path) {
    for (struct page *p = pages; p; p = p->next)
        if (strcmp(p->text->path, path) == 0)
            return p;
    struct page *p = take(sizeof *p);
    p->text = load_text(path);
    p->next = pages;
    pages = p;
    if (p->text->fault) {
        report_fault(p->text);
        return p;
    }
    p->prose = copy(p->text->bytes, p->text->size);
    find_fences(p);
    blank_opaque(p);
    find_headings(p);
    find_links(p);
    return p;
}

/* --- listings --------------------------------------------------------------------------------- */

/* Resolves a path written on a page against the page's folder (or the root, for ""); NULL when it
   leads out of the tree. */
static const char *resolve(const char *folder, const char *path) {
    char *out = print("%s/%s", folder, path), *joined = copy(out, strlen(out));
    size_t n = 0;
    for (char *part = strtok(joined, "/"); part; part = strtok(NULL, "/")) {
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            if (n == 0)
                return NULL;
            while (n > 0 && out[--n] != '/')
                ;
            continue;
        }
        if (n)
            out[n++] = '/';
        memmove(out + n, part, strlen(part));
        n += strlen(part);
    }
    out[n] = 0;
    return n ? out : ".";
}

static const char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? copy(path, (size_t)(slash - path)) : "";
}

/* ```c NAME and ```c FILE: NAME. A file's name has a dot and no space, a block's before ": " has
 * not. */
static void check_listing(struct page *page, const struct fence *f, struct span what) {
    const char *path = page->text->path, *name = copy(what.s, what.n), *colon = strstr(name, ": ");
    struct span file = {name, colon ? (size_t)(colon - name) : 0};
    struct program *p = page->chapter ? page->chapter->program : NULL;
    if (colon && memchr(file.s, '.', file.n) && !memchr(file.s, ' ', file.n)) {
        const char *beside = resolve(folder_of(path), copy(file.s, file.n)), *from = beside;
        struct stat info;
        if (!beside || stat(beside, &info) != 0)
            from = resolve("", copy(file.s, file.n));
        if (!from || stat(from, &info) != 0) {
            report(path, f->line,
                   "listing of %s, which is neither beside this page nor under the root; correct "
                   "the path",
                   quote(file));
            return;
        }
        p = load_program(from, true);
        name = trim(colon + 2, strlen(colon + 2)).s;
    } else if (!page->chapter) {
        report(path, f->line, "listing \"%s\" on a page without a program; write c FILE: NAME",
               name);
        return;
    }
    if (!p || p->text->fault)
        return; /* reported where it was loaded */
    struct block *b = find_block(p, name);
    if (!b) {
        report(
            path, f->line,
            "listing of block \"%s\", which is not in %s; correct the name, here or in its banner",
            name, p->text->path);
        return;
    }
    count.listings++;
    if (b->shown_on == page)
        report(path, f->line, "block \"%s\" is already shown in line %zu; show it once", name,
               b->shown_line);
    b->shown_on = page;
    b->shown_line = f->line;
    size_t k = first_difference(&f->body, &b->body);
    if (k == SIZE_MAX)
        return;
    report(path, f->body.first + k + 1,
           "listing \"%s\" has drifted: here %s, %s%s:%zu has %s; `make weave` rewrites it from "
           "the program",
           name, quote_line(&f->body, k), root, p->text->path, b->body.first + k + 1,
           quote_line(&b->body, k));
    size_t bare = strlen(f->prefix), size = 0; /* a blank line gets no trailing space */
    while (bare > 0 && f->prefix[bare - 1] == ' ')
        bare--;
    char *with = take(p->text->size + (b->body.end - b->body.first) * (strlen(f->prefix) + 1) + 1);
    for (size_t i = b->body.first; i < b->body.end; i++) {
        struct span line = line_of(p->text, i);
        size += (size_t)sprintf(with + size, "%.*s%.*s\n", (int)(line.n ? strlen(f->prefix) : bare),
                                f->prefix, (int)line.n, line.s);
    }
    replace(page->text->start[f->body.first], page->text->start[f->body.end], with);
}

/* --- console blocks --------------------------------------------------------------------------- */

static bool number_starts(struct span line, size_t i) {
    char before = i ? line.s[i - 1] : ' ';
    size_t sign = minus(line.s + i, line.n - i);
    return i + sign < line.n && is_digit(line.s[i + sign]) && !is_digit(before) &&
           !is_letter(before) && before != '_' && before != '.';
}

/* Whether a quoted line is this line of the output: runs of spaces count as one, numbers agree
   within the tolerance, and … stands for anything. `reach` tells how far the two went together. */
static bool same_line(struct span a, struct span b, struct tolerance t, size_t *reach) {
    a = trim(a.s, a.n);
    b = trim(b.s, b.n);
    size_t i = 0, j = 0, star = SIZE_MAX, retry = 0;
    for (*reach = 0;; *reach = i > *reach ? i : *reach) {
        if (i < a.n && starts(a.s + i, a.n - i, "…")) {
            star = i += strlen("…");
            retry = j;
            continue;
        }
        if (i == a.n && j == b.n)
            return true;
        if (i < a.n && j < b.n) {
            struct number x, y;
            if (t.kind != EXACT && number_starts(a, i) && number_starts(b, j)) {
                size_t p = read_number(a.s + i, a.n - i, false, &x);
                size_t q = read_number(b.s + j, b.n - j, false, &y);
                if (p && q && agree(x, t, y.value)) {
                    i += p;
                    j += q;
                    continue;
                }
            } else if (is_space(a.s[i]) && is_space(b.s[j])) {
                i += (size_t)(trim(a.s + i, a.n - i).s - (a.s + i));
                j += (size_t)(trim(b.s + j, b.n - j).s - (b.s + j));
                continue;
            } else if (a.s[i] == b.s[j]) {
                i++;
                j++;
                continue;
            }
        }
        if (star == SIZE_MAX || retry >= b.n)
            return false;
        i = star;
        j = ++retry; /* let the … take one character more */
    }
}

static bool is_gap(struct span line) {
    struct span t = trim(line.s, line.n);
    return equal(t, (struct span){"...", 3}) || equal(t, (struct span){"…", strlen("…")});
}

/* Holds quoted lines to the output. Each stretch between gaps must stand in one piece, after the
   one before it; the first place that fits is as good as any. */
static void match_console(const struct page *page, const struct body *body, size_t k,
                          const struct text *output, struct tolerance t) {
    size_t lines = body->end - body->first, at = 0, reach;
    for (; k < lines; k++) {
        if (is_gap(body_line(body, k)))
            continue;
        size_t n = 1, best = 0, near = 0, nearest = 0;
        while (k + n < lines && !is_gap(body_line(body, k + n)))
            n++;
        bool found = false;
        for (size_t from = at; from < output->lines && !found; from++) {
            size_t same = 0;
            while (same < n && from + same < output->lines &&
                   same_line(body_line(body, k + same), line_of(output, from + same), t, &reach))
                same++;
            found = same == n;
            if (found)
                at = from + n;
            if (same > best) {
                best = same;
                nearest = from + same;
            }
            /* When not even the first line fits, the nearest is the one that
               goes along furthest. */
            same_line(body_line(body, k), line_of(output, from), (struct tolerance){ANYTHING, 0},
                      &reach);
            if (best == 0 && reach > near) {
                near = reach;
                nearest = from;
            }
        }
        if (!found) {
            const char *there = best == 0 && near == 0 ? "and no line is like it"
                                : nearest >= output->lines
                                    ? "which ends there"
                                    : print("where line %zu comes nearest: %s", nearest + 1,
                                            quote(line_of(output, nearest)));
            report(page->text->path, body->first + k + best + 1,
                   "%s is not %sin %s%s, %s; quote the run again, or widen the tolerance",
                   quote(body_line(body, k + best)), at || best ? "next " : "", root, output->path,
                   there);
            return;
        }
        k += n - 1;
    }
    count.consoles++;
}

static const char *run_hint(const struct chapter *c) {
    return c && c->number > 0 ? print("run `make chapter%ld` first", c->number)
                              : "run the chapter first";
}

static void check_console(struct page *page, const struct fence *f, struct span arguments) {
    const char *path = page->text->path;
    size_t lines = f->body.end - f->body.first, k = 0;
    struct span file = next_word(&arguments), word = next_word(&arguments), line;
    struct tolerance t = {EXACT, 0};
    if (file.n == 0) { /* commands to type; what follows a \ belongs to its command */
        for (bool going_on = false; k < lines; k++) {
            line = trim(body_line(&f->body, k).s, body_line(&f->body, k).n);
            if (!going_on && line.n && line.s[0] != '#' && !starts(line.s, line.n, "$ "))
                report(path, f->body.first + k + 1,
                       "%s looks like output that nothing is held to; write ```console FILE, or $ "
                       "before a command",
                       quote(line));
            going_on = line.n && line.s[line.n - 1] == '\\';
        }
        return;
    }
    if (arguments.n || (word.n && !read_tolerance(word, &t))) {
        report(path, f->line,
               "unknown tolerance in \"%s\"; write console FILE, and then 3%%, x10 or +-0.5",
               f->info);
        return;
    }
    while (k < lines && starts(body_line(&f->body, k).s, body_line(&f->body, k).n, "$ "))
        k++; /* the command that printed it */
    if (k == lines) {
        report(path, f->line,
               "nothing is quoted from %s; quote its lines, or write ```console alone",
               copy(file.s, file.n));
        return;
    }
    if (!verify) {
        count.waiting_consoles++;
        return;
    }
    const char *own = page->chapter ? print("build/%s", page->chapter->folder) : "build";
    const char *name = copy(file.s, file.n), *from = resolve(own, name);
    struct text *output = from ? load_text(from) : NULL;
    if (output && output->fault && strchr(name, '/')) { /* NN-name/FILE of another chapter */
        struct text *other = load_text(resolve("build", name) ? resolve("build", name) : "");
        output = other->fault ? output : other;
    }
    if (!output || output->fault)
        report(path, f->line, "%s%s %s; %s", root, from ? from : name,
               output ? output->fault : "leads out of the tree", run_hint(page->chapter));
    else
        match_console(page, &f->body, k, output, t);
}

static void check_fence(struct page *page, const struct fence *f) {
    static const char *const plain[] = {"c",    "console", "sh",      "text",     "make", "diff",
                                        "math", "mermaid", "gnuplot", "markdown", "tsv"};
    struct span rest = {f->info, strlen(f->info)}, word = next_word(&rest);
    const char *language = copy(word.s, word.n);
    if (strcmp(language, "console") == 0)
        check_console(page, f, rest);
    else if (strcmp(language, "c") == 0 && rest.n)
        check_listing(page, f, rest);
    else if (rest.n || !has_string(plain, sizeof plain / sizeof *plain, language))
        report(page->text->path, f->line,
               "%s; write c, c NAME, c FILE: NAME, console, console FILE, or one of: sh text make "
               "diff math mermaid "
               "gnuplot markdown tsv",
               *f->info ? print("unknown info string \"%s\"", f->info)
                        : "fence without an info string");
}

/* --- numbers in sentences --------------------------------------------------------------------- */

/* The table that holds NAME, and in `name` what NAME is called there; NULL after a report. */
static struct table *table_of(struct page *page, size_t line, const char *full, const char **name,
                              const struct chapter **of, bool *recorded) {
    const char *slash = strchr(full, '/'), *rest = slash ? slash + 1 : full,
               *colon = strchr(rest, ':');
    *of = page->chapter;
    if (slash) {
        *of = NULL;
        for (size_t i = 0; i < count.chapters; i++)
            if (equal((struct span){full, (size_t)(slash - full)},
                      (struct span){chapters[i].folder, strlen(chapters[i].folder)}))
                *of = &chapters[i];
    }
    *name = colon ? colon + 1 : rest;
    *recorded = colon != NULL;
    if (!*of || !**name || colon == rest) {
        report(page->text->path, line,
               "=%s names no chapter's result; write NAME, NN-name/NAME or record:NAME", full);
        return NULL;
    }
    if (colon)
        return load_table(
            print("chapters/%s/recorded/%.*s.tsv", (*of)->folder, (int)(colon - rest), rest));
    if (!verify && pass != PAGES) { /* only a record is there without a run */
        count.waiting_numbers++;
        return NULL;
    }
    return load_table(print("build/%s/results.tsv", (*of)->folder));
}

static void check_number(struct page *page, struct link comment) {
    const char *path = page->text->path;
    size_t line = line_at(page->text, comment.at), length = strlen(comment.target);
    if (comment.target[0] == '$') {
        report(path, line,
               "a comment inside $…$ is printed as maths; end the maths before the number");
        return;
    }
    if (length < 7 || strcmp(comment.target + length - 3, "-->") != 0) {
        report(path, line, "this comment is never closed; end it with -->");
        return;
    }
    struct number stated;
    size_t from = number_before(page->text->bytes, comment.at, &stated);
    struct span inside = trim(comment.target + 4, length - 7);
    if (!starts(inside.s, inside.n, "=")) {
        if (from != SIZE_MAX)
            report(path, line,
                   "the comment right after %.*s does not say which result that is; write <!-- "
                   "=NAME TOL -->",
                   (int)(comment.at - from), page->text->bytes + from);
        return;
    }
    struct span rest = {inside.s + 1, inside.n - 1}, word = next_word(&rest),
                size = next_word(&rest);
    struct tolerance t = {ROUNDED, 0};
    const char *full = copy(word.s, word.n), *name, *told = "no tolerance";
    if (word.n == 0 || word.s != inside.s + 1 || rest.n) {
        report(path, line, "broken number comment %s; write <!-- =NAME --> or <!-- =NAME TOL -->",
               quote(inside));
    } else if (size.n && !read_tolerance(size, &t)) {
        report(path, line, "unknown tolerance %s for =%s; write 3%%, x10 or +-0.5", quote(size),
               full);
    } else if (from == SIZE_MAX) {
        report(path, line, "no number stands right before =%s; put the comment directly after one",
               full);
    } else {
        const struct chapter *of;
        bool recorded;
        struct table *table = table_of(page, line, full, &name, &of, &recorded);
        if (!table)
            return;
        const struct row *row = table->text->fault ? NULL : find_row(table, name);
        if (table->text->fault) {
            if (table->told != page) /* once a page is enough */
                report(path, line, "%s%s %s, so no number from it can be held; %s", root,
                       table->text->path, table->text->fault,
                       recorded && of->number > 0 ? print("`make record%ld` writes it", of->number)
                       : recorded                 ? "record the run"
                                                  : run_hint(of));
            table->told = page;
        } else if (!row) {
            report(path, line, "=%s is not in %s%s; correct the name, or let the program write it",
                   name, root, table->text->path);
        } else if (pass == PAGES && isfinite(row->value)) {
            replace(from, comment.at, print_like(stated, row->value));
            return;
        } else {
            if (size.n)
                told = print("tolerance %.*s", (int)size.n, size.s);
            count.numbers++;
            if (!agree(stated, t, row->value))
                report(path, line,
                       "states %.*s for %s, but %s%s has %.6g (%s); `make weave` rewrites it",
                       (int)(comment.at - from), page->text->bytes + from, full, root,
                       table->text->path, row->value, told);
            return;
        }
        left_alone += pass == PAGES;
    }
}

/* --- links ------------------------------------------------------------------------------------ */

static bool is_external(const char *target) {
    size_t n = 0;
    while (is_letter(target[n]) ||
           (n && (is_digit(target[n]) || strchr("+.-", target[n])) && target[n]))
        n++;
    return (n > 0 && target[n] == ':') || strncmp(target, "//", 2) == 0;
}

/* Undoes %20 and the backslashes of markdown. */
static char *decode(const char *s, size_t n) {
    char *out = take(n + 1);
    for (size_t i = 0, k = 0; i < n; i++) {
        char pair[3] = {0}, *end = pair;
        if (s[i] == '%' && i + 2 < n && is_digit(s[i + 1]))
            memcpy(pair, s + i + 1, 2);
        long byte = strtol(pair, &end, 16);
        if (end == pair + 2 && byte > 0) {
            out[k++] = (char)byte;
            i += 2;
        } else if (s[i] != '\\') {
            out[k++] = s[i];
        }
    }
    return out;
}

static void check_link(const struct page *page, struct link link) {
    const char *path = page->text->path, *target = link.target, *hash = strchr(target, '#');
    size_t line = line_at(page->text, link.at);
    if (is_external(target)) {
        count.external++;
        return;
    }
    count.links++;
    const char *written = decode(target, strcspn(target, "#?")), *to = path;
    struct stat info;
    if (!*target || *target == '/') {
        report(path, line,
               *target ? "link to %s starts at /, which differs from host to host; write it "
                         "relative to this page"
                       : "link to %s leads nowhere; give it a target",
               *target ? target : "nothing");
        return;
    }
    if (*written)
        to = resolve(folder_of(path), written);
    if (!to || strcmp(to, "build") == 0 || starts(to, strlen(to), "build/")) {
        report(path, line, "%s leads %s; link to something that is in the tree",
               quote((struct span){target, strlen(target)}),
               to ? "into build/, which readers do not have" : "out of the tree");
        return;
    }
    if (stat(to, &info) != 0) {
        report(path, line, "%s leads nowhere: there is no %s%s; correct the link",
               quote((struct span){target, strlen(target)}), root, to);
        return;
    }
    if (!hash)
        return;
    if (S_ISDIR(info.st_mode))
        to = resolve(to, "README.md"); /* what a git host shows for a folder */
    size_t n = strlen(to);
    if (n < 3 || strcmp(to + n - 3, ".md") != 0 || stat(to, &info) != 0) {
        report(path, line, "%s: only a markdown page has anchors; name a block instead of a line",
               quote((struct span){target, strlen(target)}));
        return;
    }
    const struct page *other = load_page(to);
    if (!other->text->fault &&
        !has_string(other->anchor, other->anchors, decode(hash + 1, strlen(hash + 1))))
        report(path, line, "no heading of %s%s has the anchor %s; correct the link", root, to,
               hash);
}

/* --- the walk --------------------------------------------------------------------------------- */

static void check_page(const char *path, const struct chapter *c) {
    struct page *page = load_page(path);
    if (page->text->fault)
        return;
    page->chapter = c;
    for (size_t i = 0; i < page->fences; i++)
        check_fence(page, &page->fence[i]);
    for (size_t i = 0; i < page->comments; i++)
        check_number(page, page->comment[i]);
    for (size_t i = 0; i < page->links; i++)
        check_link(page, page->link[i]);
    for (size_t i = 0; i < page->uses; i++)
        if (!has_string(page->label, page->labels, page->use[i].target))
            report(path, line_at(page->text, page->use[i].at),
                   "reference [%s] is defined nowhere on this page; add a line [%s]: target",
                   page->use[i].target, page->use[i].target);
    for (size_t i = 0; c && c->program && i < c->program->blocks; i++) {
        const struct block *b = &c->program->block[i];
        if (b->chapter == 0 && b->shown_on != page)
            report(c->program->text->path, b->line,
                   "block \"%s\" is never shown in %s%s; add a listing ```c %s", b->name, root,
                   path, b->name);
    }
    if (pass == PAGES)
        save_edits(page->text);
    edits = NULL;
    edit_count = 0;
}

/* One pass over the tree: README.md, data/README.md where data/ exists, and the chapters. */
static void walk(enum pass which) {
    pass = which;
    memset(&count, 0, sizeof count);
    load_chapters();
    for (size_t i = 0; i < count.chapters; i++) {
        check_carried(&chapters[i], chapters[i].program);
        for (size_t k = 0; k < 2; k++)
            check_carried(&chapters[i], chapters[i].companion[k]);
    }
    if (pass != PROGRAMS) {
        check_page("README.md", NULL);
        if (is_folder("data"))
            check_page("data/README.md", NULL);
        for (size_t i = 0; i < count.chapters; i++)
            check_page(print("chapters/%s/README.md", chapters[i].folder), &chapters[i]);
    }
    chapters = NULL;
    programs = NULL;
    tables = NULL;
    pages = NULL;
    release_all();
}

static const char *plural(size_t n, const char *word) {
    return print("%zu %s%s", n, word, n == 1 ? "" : "s");
}

/* The last line: what was held, and what was not. */
static void sum_up(void) {
    printf("weave: %s%s, %s, %s, %s",
           count.findings ? print("%s in ", plural(count.findings, "finding")) : "",
           plural(count.chapters, "chapter"), plural(count.listings, "listing"),
           plural(count.carried, "carried block"), plural(count.links, "link"));
    if (verify || count.numbers)
        printf(", %s", plural(count.numbers, "number"));
    if (verify)
        printf(", %s", plural(count.consoles, "console block"));
    printf("%s", count.findings ? "" : " agree");
    const char *join = "; ";
    if (count.external)
        printf("%s%s not followed", join, plural(count.external, "external link")), join = ", ";
    if (count.waiting_numbers || count.waiting_consoles)
        printf("%s%s and %s left to --verify", join, plural(count.waiting_numbers, "number"),
               plural(count.waiting_consoles, "console block")),
            join = ", ";
    if (left_alone)
        printf("%s%s without a result not rewritten", join, plural(left_alone, "number"));
    printf("\n");
    release_all();
}

static const char help[] =
    "usage: weave [--check | --verify | --write] [ROOT]\n"
    "Holds the pages under ROOT (default: .) to the programs and to their runs.\n"
    "  --check   listings, carried blocks, links, anchors, and the form of the rest (default)\n"
    "  --verify  the same, and numbers and console blocks against build/\n"
    "  --write   rewrites carried blocks, listings and numbers, then checks\n"
    "Exit status: 0 when all agree, 1 with findings, 2 for a wrong option.\n";

static int usage(const char *what, const char *argument) {
    fprintf(stderr, "weave: %s %s; `weave --help` shows the usage\n", what, argument);
    return 2;
}

int main(int count_of, char **argument) {
    const char *folder = NULL, *mode = NULL;
    for (int i = 1; i < count_of; i++) {
        const char *a = argument[i];
        if (strcmp(a, "--help") == 0) {
            printf("%s", help);
            return fflush(stdout) == 0 ? 0 : 1;
        }
        if (strcmp(a, "--check") == 0 || strcmp(a, "--verify") == 0 || strcmp(a, "--write") == 0) {
            if (mode && strcmp(mode, a) != 0)
                return usage("two modes, the second is", a);
            mode = a;
        } else if (a[0] == '-') {
            return usage("unknown option", a);
        } else if (folder) {
            return usage("more than one root, the second is", a);
        } else {
            folder = a;
        }
    }
    if (folder && strcmp(folder, ".") != 0) {
        static char before[4096];
        size_t n = strlen(folder);
        snprintf(before, sizeof before, "%s%s", folder, n && folder[n - 1] == '/' ? "" : "/");
        root = before;
        if (chdir(folder) != 0) {
            fprintf(stderr, "weave: %s: %s; the root is the folder that holds chapters/\n", folder,
                    strerror(errno));
            return 1;
        }
    }
    verify = mode && strcmp(mode, "--verify") == 0;
    if (mode && strcmp(mode, "--write") == 0) {
        walk(PROGRAMS);
        walk(PAGES);
    }
    walk(CHECK);
    sum_up();
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "weave: stdout: %s\n", strerror(errno));
        return 1;
    }
    return count.findings ? 1 : 0;
}
