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
set -u
export QUICK=1
CC=${CC:-cc}

# One mistake: compile the mutant in its folder, run the check, judge. Prints one line.
one() {
    work=$1 chapter=$(basename "$(dirname "$1")") mutant=$(basename "$1")
    name=${chapter#*-}
    kept=build/$chapter/mutants
    mkdir -p "$kept"
    label="$chapter $mutant"
    # shellcheck disable=SC2086
    if ! $CC -std=c11 -O1 -w ${CFLAGS:-} -Isrc "$work/test_$name.c" -o "$work/test" $LIBS >"$work/log" 2>&1; then
        echo "BROKEN  $label: does not compile: $(head -n 1 "$work/log")"
        return
    fi
    # A mutant may loop for ever; three minutes are enough for any check, even on a busy machine.
    timeout 180 "$work/test" >"$work/output" 2>"$work/errors"
    status=$?
    sed '/^\[ *[A-Z=-]* *\]/d' "$work/output" >"$kept/$mutant.txt"
    says=$(cat "$work/says")
    if [ "$status" -eq 0 ]; then
        echo "LIVES   $label: the check passes"
    elif [ "$says" = - ]; then
        echo "found   $label (no diagnosis exists)"
    elif grep -qF -- "$says" "$work/output"; then
        echo "named   $label"
    else
        echo "UNNAMED $label: the check fails but does not say \"$says\""
    fi
    rm -f "$work/test"
}
if [ "${1:-}" = --one ]; then
    one "$2"
    exit 0
fi

for chapter; do
    list=chapters/$chapter/mutants
    [ -f "$list" ] || { echo "mutants: $list is missing: a chapter lists its mistakes there" >&2; exit 1; }
    rm -rf "build/mutants/$chapter" "build/$chapter/mutants"
    mkdir -p "build/mutants/$chapter"
    # Takes the list apart, applies each mistake to the program and writes one folder for each.
    awk -v program="chapters/$chapter/${chapter#*-}.c" -v into="build/mutants/$chapter" \
        -v file="${chapter#*-}.c" -v list="$list" '
        function fail(text) { print list ":" FNR ": " text > "/dev/stderr"; failed = 1; exit 1 }
        function trim(s) { sub(/^[ \t]+/, "", s); return s }
        function flush_mutant(   i, out) {
            if (name == "") return
            if (says == "") fail("mistake \"" name "\" has no line says:")
            if (changes == 0) fail("mistake \"" name "\" changes nothing")
            out = into "/" name
            system("mkdir -p \"" out "\"")
            for (i = 1; i <= lines; i++) print text[i] > (out "/" file)
            close(out "/" file)
            print says > (out "/says"); close(out "/says")
            print out
            name = ""
        }
        BEGIN { while ((getline line < program) > 0) original[++lines] = line
                if (!lines) { print "mutants: " program ": cannot be read" > "/dev/stderr"; exit 1 } }
        /^#/ || /^[ \t]*$/ { next }
        /^= / { flush_mutant(); name = trim(substr($0, 3)); says = ""; changes = 0; at = 0
                if (name in seen) fail("mistake \"" name "\" is listed twice")
                seen[name] = 1
                for (i = 1; i <= lines; i++) text[i] = original[i]
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
        /^\+/ { if (!at) fail("a + without a - before it"); text[at] = trim(substr($0, 2)); at = 0; changes++; next }
        { fail("neither = - + says: nor a comment") }
        END { if (!failed) flush_mutant(); exit failed }' "$list" >"build/mutants/$chapter/list" || exit 1
    while IFS= read -r work; do
        for f in "chapters/$chapter"/test_*.c; do cp "$f" "$work/"; done
    done <"build/mutants/$chapter/list"
done
export CC CFLAGS LIBS
for chapter; do cat "build/mutants/$chapter/list"; done |
    xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 sh "$0" --one | sort >build/mutants/report
cat build/mutants/report
planted=$(wc -l <build/mutants/report)
named=$(grep -c '^named' build/mutants/report)
without=$(grep -c '^found' build/mutants/report)
echo "$((planted)) planted, $((named + without)) found, $((named)) named, $((without)) without a diagnosis"
[ "$planted" -gt 0 ] && [ "$((named + without))" -eq "$planted" ]
