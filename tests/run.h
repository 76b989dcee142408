/* run.h: what the tests that run programs share. A test writes small files into a fresh folder,
   runs a command through the shell as a student would, and looks at the exit status and at what was
   printed. Everything is relative to the project's root, from which `make test` runs. */
#ifndef RUN_H
#define RUN_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* cmocka.h needs the headers above it, and <setjmp.h>. */
#include <setjmp.h>

#include <cmocka.h>

/* What a command did: its exit status (128 + n when signal n ended it) and its two outputs, each
   cut at the size of its array. */
struct run {
    int status;
    char out[65536], err[16384];
};

/* The folder for this test program's files, made on first use: build/tests/<pid>. */
static const char *scratch(void) {
    static char folder[64];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "build/tests/%ld", (long)getpid());
        mkdir("build", 0777);
        mkdir("build/tests", 0777);
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
            perror(folder);
            exit(1);
        }
    }
    return folder;
}

/* Removes the folder of scratch(). Call it as the group's teardown. */
static int remove_scratch(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+w '%s' 2>/dev/null; rm -rf '%s'", scratch(),
             scratch());
    return system(command) == 0 ? 0 : -1;
}

/* The first size-1 bytes of a file as a string; an empty string where there is none. */
static void slurp(char *text, size_t size, const char *path) {
    text[0] = 0;
    FILE *f = fopen(path, "rb");
    if (!f)
        return;
    text[fread(text, 1, size - 1, f)] = 0;
    fclose(f);
}

/* Writes bytes to scratch()/name, making one level of folder where name has one; fails the test
 * when it cannot. */
static void put_bytes(const char *name, const void *bytes, size_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch(), name);
    for (char *slash = strchr(path + strlen(scratch()) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void put(const char *name, const char *text) {
    put_bytes(name, text, strlen(text));
}

/* Runs a shell command (printf-style) from the project's root and waits for it. */
__attribute__((format(printf, 1, 2))) static struct run run(const char *format, ...) {
    static struct run r;
    char command[4096], line[4600], out[128], err[128];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    snprintf(out, sizeof out, "%s/stdout", scratch());
    snprintf(err, sizeof err, "%s/stderr", scratch());
    snprintf(line, sizeof line, "( %s\n) >'%s' 2>'%s' </dev/null", command, out, err);
    int status = system(line);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    slurp(r.out, sizeof r.out, out);
    slurp(r.err, sizeof r.err, err);
    return r;
}

/* Runs a command at a terminal of its own, where a student would sit, and types Ctrl-C as soon as
   `wait_for` has been printed. All that the terminal shows is in `out`, its lines end in "\r\n". */
static inline struct run run_and_interrupt(const char *command, const char *wait_for) {
    static struct run r;
    r = (struct run){.status = -1};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setsid();
        int screen = open(ptsname(terminal), O_RDWR); /* the new session's terminal */
#ifdef TIOCSCTTY
        ioctl(screen, TIOCSCTTY, 0); /* where opening it is not enough */
#endif
        close(terminal);
        dup2(screen, 0), dup2(screen, 1), dup2(screen, 2);
        signal(SIGINT, SIG_DFL);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    size_t n = 0;
    bool typed = false;
    for (ssize_t got; n + 1 < sizeof r.out; n += (size_t)got) {
        struct pollfd soon = {.fd = terminal, .events = POLLIN};
        if (poll(&soon, 1, 120000) <= 0) /* two minutes without a word: nothing comes any more */
            break;
        if ((got = read(terminal, r.out + n, sizeof r.out - 1 - n)) <= 0)
            break; /* the last process has left the terminal */
        r.out[n + (size_t)got] = 0;
        if (!typed && strstr(r.out, wait_for))
            typed = write(terminal, "\003", 1) == 1;
    }
    close(terminal);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return r;
}

/* The number of lines in a text: error messages are to be exactly one. */
static int count_lines(const char *text) {
    int n = 0;
    for (size_t i = 0; text[i]; i++)
        n += text[i] == '\n';
    return n;
}

/* Fails the test, showing both, unless `text` contains `part`. */
static void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

/* Keeps a test that needs only some of these quiet under -Wunused-function. */
static inline void run_h_uses_all(void) {
    (void)remove_scratch, (void)put, (void)run, (void)count_lines, (void)assert_contains;
}

#endif
