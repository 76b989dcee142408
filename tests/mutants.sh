#!/bin/sh
# mutants.sh: plants mistakes in the chapters' programs, one at a time, and requires that the gradient
# check fails and that its diagnosis names the mistake.
#
#     sh tests/mutants.sh 01-encoder 02-bottleneck ...
#
# chapters/NN-name/mutants lists them:
#
#     = bias-forgotten
#     - db[j] += ds[r * out + j];
#     + (void)0;
#     says: The bias is forgotten
#
# "-" is a line of the program without its indentation, which must stand there exactly once ("-@2" means
# the second of several); "+" is what replaces it. Several pairs make one mistake together. "says: -"
# stands for a mistake that the check must catch but for which there is no diagnosis.
# What the check printed is kept in build/NN-name/mutants/NAME.txt. QUICK in the environment tells a
# test to leave out what is long.
#
# Compiling takes longer than most checks, so a chapter's mistakes are compiled together. The program is
# rewritten once: a function in which mistakes are listed gets its whole body again for each of them,
#
#     if (planted_mistake == 3) { the body with mistake 3 } else { the body as it is }
#
# and PLANTED=3 in the environment chooses. Without it the check must pass: that shows that what fails later
# fails because of the mistake. One that lies outside of all functions, or a chapter whose mistakes do
# not compile together, is compiled alone.
set -u
export QUICK=1
CC=${CC:-cc} CFLAGS=${CFLAGS:-} LIBS=${LIBS:--lcmocka -lpng -lz -lm}
export CC CFLAGS LIBS

# Compiles the check in a folder, which has the program to be checked beside it, like make checkN does.
compile() { # folder, chapter
    work=$1 test=test_${2#*-}.c
    speed=${TEST_SPEED:--O1}
    if grep -q 'built like the program' "$work/$test"; then speed=${SPEED:--O3}; fi
    # shellcheck disable=SC2086
    $CC -std=c11 -w $speed $CFLAGS -Isrc "$work/$test" "build/mutants/$2/choose.c" -o "$work/check" $LIBS >"$work/log" 2>&1
}

# All mistakes of a chapter in one program. Leaves build/mutants/NN-name/check, or nothing where that fails.
together() {
    work=build/mutants/$1
    if ! compile "$work" "$1"; then
        rm -f "$work/check"
        echo "mutants: the mistakes of $1 do not compile together, so each is compiled alone: $(grep -m 1 error "$work/log")" >&2
    elif ! PLANTED=0 timeout 120 "$work/check" >"$work/output" 2>&1; then
        rm -f "$work/check"
        echo "mutants: without any mistake the check of $1 fails, see $work/output" >&2
        echo "BROKEN  $1: the check fails without a mistake" >"$work/report"
    fi
}

# One mistake: run the check with it, judge. Prints one line.
one() {
    work=$1 mutant=$(basename "$1") chapter=$(basename "$(dirname "$1")")
    label="$chapter $mutant"
    check=$(dirname "$work")/check
    PLANTED=$(cat "$work/number") # where it can be chosen; "alone" where it cannot
    export PLANTED
    if [ "$PLANTED" = alone ] || [ ! -x "$check" ]; then
        cp "chapters/$chapter"/test_*.c "$work/"
        if ! compile "$work" "$chapter"; then
            echo "BROKEN  $label: does not compile: $(grep -m 1 error "$work/log")"
            return
        fi
        check=$work/check
    fi
    # The first test that fails says enough, as a rule. All of them run where it does not name the mistake, and where the
    # page quotes what they print. A mutant may loop for ever; two minutes are enough for any check, even on a busy machine.
    says=$(cat "$work/says") status=0
    if ! grep -qF "mutants/$mutant.txt" "chapters/$chapter/README.md"; then
        CMOCKA_TEST_ABORT=1 timeout 120 "$check" >"$work/output" 2>"$work/errors"
        status=$?
    fi
    if [ "$status" -eq 0 ] || ! { [ "$says" = - ] || grep -qF -- "$says" "$work/output"; }; then
        timeout 120 "$check" >"$work/output" 2>"$work/errors"
        status=$?
    fi
    sed '/^\[ *[A-Z=-]* *\]/d' "$work/output" >"build/$chapter/mutants/$mutant.txt"
    rm -f "$work/check"
    if [ "$status" -eq 0 ]; then
        echo "LIVES   $label: the check passes"
    elif [ "$status" -eq 124 ]; then
        echo "ENDLESS $label: the check does not end"
    elif [ "$says" = - ]; then
        echo "found   $label (no diagnosis exists)"
    elif grep -qF -- "$says" "$work/output"; then
        echo "named   $label"
    else
        echo "UNNAMED $label: the check fails but does not say \"$says\""
    fi
}

case ${1:-} in
--together) together "$2"; exit 0 ;;
--one) one "$2"; exit 0 ;;
esac

for chapter; do
    list=chapters/$chapter/mutants
    work=build/mutants/$chapter
    [ -f "$list" ] || { echo "mutants: $list is missing: a chapter lists its mistakes there" >&2; exit 1; }
    rm -rf "$work" "build/$chapter/mutants"
    mkdir -p "$work" "build/$chapter/mutants"
    cp "chapters/$chapter"/test_*.c "$work/"
    cat >"$work/choose.c" <<'END'
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int planted_mistake;
/* cmocka calls abort() between two lines of output, so this may print what stdio still holds. */
static void leave(int number) {
    (void)number;
    fflush(stdout);
    _exit(1);
}
__attribute__((constructor)) static void choose(void) {
    const char *number = getenv("PLANTED");
    planted_mistake = number ? atoi(number) : 0;
    signal(SIGABRT, leave);
}
END
    # Takes the list apart, applies each mistake to the program and writes one folder for each; then the program with
    # all of them.
    awk -v program="chapters/$chapter/${chapter#*-}.c" -v into="$work" \
        -v file="${chapter#*-}.c" -v list="$list" '
        function fail(text) { print list ":" FNR ": " text > "/dev/stderr"; failed = 1; exit 1 }
        function trim(s) { sub(/^[ \t]+/, "", s); return s }

        # The bodies of functions: from a line in which one opens to the "}" in the first column.
        function find_bodies(   i, open, k) {
            for (i = 1; i <= lines; i++)
                if (!open && original[i] ~ /\{$/) open = i
                else if (open && original[i] ~ /^\}/) {
                    for (k = open + 1; original[i] == "}" && k < i; k++) { first[k] = open + 1; last[k] = i - 1 }
                    open = 0
                }
        }

        function flush_mutant(   i, out, where, number) {
            if (name == "") return
            if (says == "") fail("mistake \"" name "\" has no line says:")
            if (changes == 0) fail("mistake \"" name "\" changes nothing")
            out = into "/" name
            system("mkdir -p \"" out "\"")
            for (i = 1; i <= lines; i++) print text[i] > (out "/" file)
            close(out "/" file)
            # Every function that it touches gets a body for it.
            number = ++mistakes
            for (i in changed) if (!(i in first)) number = "alone"
            if (number != "alone")
                for (i in changed)
                    if (!((first[i], number) in done)) {
                        done[first[i], number] = 1
                        bodies[first[i]] = bodies[first[i]] "if (planted_mistake == " number ") {\n"
                        for (where = first[i]; where <= last[i]; where++)
                            bodies[first[i]] = bodies[first[i]] text[where] "\n"
                        bodies[first[i]] = bodies[first[i]] "} else "
                    }
            print says > (out "/says"); close(out "/says")
            print number > (out "/number"); close(out "/number")
            print out
            name = ""
        }

        # The first line is extended, not preceded, so that line numbers in messages stay near.
        function write_all(   i, out) {
            out = into "/" file
            printf "extern int planted_mistake; " > out
            for (i = 1; i <= lines; i++) {
                if (i in bodies) printf "%s{\n", bodies[i] > out
                print original[i] > out
                if ((i in first) && last[i] == i && (first[i] in bodies)) print "}" > out
            }
            close(out)
        }

        BEGIN { while ((getline line < program) > 0) original[++lines] = line
                if (!lines) { print "mutants: " program ": cannot be read" > "/dev/stderr"; exit 1 }
                find_bodies() }
        /^#/ || /^[ \t]*$/ { next }
        /^= / { flush_mutant(); name = trim(substr($0, 3)); says = ""; changes = 0; at = 0
                if (name in seen) fail("mistake \"" name "\" is listed twice")
                seen[name] = 1
                for (i = 1; i <= lines; i++) text[i] = original[i]
                split("", changed)
                next }
        /^says: / { says = substr($0, 7); next }
        /^-/ { wanted = 0; s = substr($0, 2)
               if (s ~ /^@[0-9]+ /) { wanted = substr(s, 2) + 0; sub(/^@[0-9]+ /, " ", s) }
               s = trim(s); found = 0
               for (i = 1; i <= lines; i++) if (trim(original[i]) == s && (++found == wanted || !wanted)) at = i
               if (!found) fail("the program has no line: " s)
               if (!wanted && found > 1) fail("stands " found " times, say which with -@2: " s)
               if (wanted > found) fail("stands only " found " times: " s)
               next }
        /^\+/ { if (!at) fail("a + without a - before it")
                text[at] = trim(substr($0, 2)); changed[at] = 1; at = 0; changes++; next }
        { fail("neither = - + says: nor a comment") }
        END { if (!failed) { flush_mutant(); write_all() } exit failed }' "$list" >"$work/list" || exit 1
done

at_a_time=$(getconf _NPROCESSORS_ONLN)
for chapter; do echo "$chapter"; done | xargs -P "$at_a_time" -n 1 sh "$0" --together
for chapter; do cat "build/mutants/$chapter/list"; done | xargs -P "$at_a_time" -n 1 sh "$0" --one >build/mutants/lines
for chapter; do cat "build/mutants/$chapter/report" 2>/dev/null; done >>build/mutants/lines
sort build/mutants/lines >build/mutants/report
cat build/mutants/report
planted=$(for chapter; do cat "build/mutants/$chapter/list"; done | wc -l)
named=$(grep -c '^named' build/mutants/report)
without=$(grep -c '^found' build/mutants/report)
broken=$(grep -cv '^named\|^found' build/mutants/report)
echo "$((planted)) planted, $((named + without)) found, $((named)) named, $((without)) without a diagnosis"
[ "$planted" -gt 0 ] && [ "$((named + without))" -eq "$planted" ] && [ "$broken" -eq 0 ]
