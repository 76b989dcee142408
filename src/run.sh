#!/bin/sh
# run.sh: what the Makefile's targets do once everything is compiled. Called from the project's root:
#
#     sh src/run.sh chapter 03-decoder [options of the program]
#     sh src/run.sh program 03-decoder [options of the program]
#     sh src/run.sh check | exercise | unsolved | figures | record 03-decoder
#     sh src/run.sh help | progress 01-encoder 02-bottleneck ...
#     sh src/run.sh test "01-encoder 02-bottleneck ..." test_gradcheck test_weave ...
set -u

name_of() { # 03-decoder -> decoder
    printf '%s\n' "${1#*-}"
}

number_of() { # 03-decoder -> 3
    n=${1%%-*}
    printf '%s\n' "${n#0}"
}

# The subject of a chapter: the first heading of its page, without "Chapter 3:".
subject_of() {
    sed -n 's/^# *\(Chapter *[0-9]*[:.] *\)\{0,1\}//p' "chapters/$1/README.md" 2>/dev/null | head -n 1
}

# What `make chapterN` runs: the chapter's measurements, which run its program first, or else the program.
run_of() {
    if [ -f "chapters/$1/measure.c" ]; then
        printf 'build/bin/measure_%s\n' "$(name_of "$1")"
    else
        printf 'build/bin/%s\n' "$(name_of "$1")"
    fi
}

# Ctrl-C goes to everything that runs at the terminal: the program, which ends by itself with status 130; this script, which
# goes on and draws what there is; and make, which waits for us and then ends with an error.
interrupted=
on_interrupt() {
    trap 'interrupted=yes' INT
}

# Ends with the program's status. Where make was interrupted as well, it fails without our help, and silently.
leave() {
    [ "$1" -eq 130 ] && [ "$interrupted" ] && exit 0
    exit "$1"
}

# Runs a command, showing what it prints and keeping a copy in a file. Returns the command's status, or 1 where
# the copy could not be written. The left side of the pipe is a shell of its own: it needs a trap, too, or Ctrl-C
# would end it before it has noted the status. tee -i outlives a Ctrl-C, so that the program can still say what it did.
keep() {
    copy=$1
    shift
    { trap : INT; "$@"; echo $? >"$copy.status"; } | tee -i "$copy"
    copied=$?
    status=$(cat "$copy.status" 2>/dev/null)
    rm -f "$copy.status"
    case $status in
    '' | *[!0-9]*) return 1 ;; # the disk is full
    0) return "$copied" ;;
    *) return "$status" ;;
    esac
}

# A gradient check as a table, without the test runner's own lines: these go to an XML file.
run_judge() { # program, text file, results file
    report=build/tests/$(basename "$1").xml
    mkdir -p build/tests
    rm -f "$report" "$3"
    CMOCKA_MESSAGE_OUTPUT=XML CMOCKA_XML_FILE=$report keep "$2" "./$1" "$3"
    judged=$?
    # A test that failed without a table (an assertion on plain numbers) is shown as well.
    if [ "$judged" -ne 0 ] && [ -f "$report" ]; then
        grep -A 1 '<failure' "$report" | sed -n 's/.*CDATA\[\(.*\)/\1/p' | sed 's/\]\]>.*//' |
            grep -v '^0x[0-9a-f]* != 0*$' >&2
    fi
    return "$judged"
}

check() {
    mkdir -p "build/$1"
    on_interrupt
    run_judge "build/bin/test_$(name_of "$1")" "build/$1/check.txt" "build/$1/check.tsv"
}

# The same in one line where all is well. Where something is wrong, all that the check says.
check_in_one_line() {
    number=$(number_of "$1") said=build/$1/check.said
    mkdir -p "build/$1"
    check "$1" >"$said" 2>&1
    checked=$?
    if [ "$checked" -eq 0 ]; then
        awk -F '\t' -v n="$number" '
            $1 == "check_entries" { entries = $2 }
            $1 == "check_worst_error" { worst = sprintf("%.0e", $2); sub(/e-0/, "e-", worst) }
            END { if (entries)
                      printf "chapter %s: every one of %d derivatives agrees with its finite difference, the worst to %s; make check%s shows the tables\n", n, entries, worst, n
                  else
                      printf "chapter %s: the gradient check passes; make check%s shows it\n", n, n }' "build/$1/check.tsv"
    elif [ "$checked" -ne 130 ]; then
        cat "$said"
        echo "make: the gradient check of chapter $number fails; what stands above says where to look" >&2
    fi
    rm -f "$said"
    return "$checked"
}

next_chapter() {
    for d in chapters/[0-9][0-9]-*/README.md; do
        d=${d#chapters/}
        d=${d%/README.md}
        [ "$(number_of "$d")" -gt "$(number_of "$1")" ] && printf '%s\n' "$d" && return
    done
}

chapter() {
    dir=$1 name=$(name_of "$1") number=$(number_of "$1")
    shift
    # The folder for results: the program's default, unless --out names another.
    out=build/$dir previous=
    for argument; do
        case $argument in --out=*) out=${argument#--out=} ;; esac
        [ "$previous" = --out ] && out=$argument
        previous=$argument
    done
    case " $* " in *" --help "*) exec "build/bin/$name" --help ;; esac

    on_interrupt
    if [ -x "build/bin/test_$name" ]; then
        check_in_one_line "$dir" || leave $?
    else
        echo "make: cmocka is missing, so the gradient check is left out; sh src/setup.sh installs it" >&2
    fi

    mkdir -p "build/$dir"
    touch "build/$dir/started"
    keep "build/$dir/run.txt" "$(run_of "$dir")" "$@"
    ended=$?
    [ "$ended" -eq 0 ] || [ "$ended" -eq 130 ] || exit "$ended"
    if [ -f "$out/results.tsv" ] && [ -f "build/$dir/check.tsv" ]; then
        cat "$out/results.tsv" "build/$dir/check.tsv" >"$out/results.tsv.tmp" &&
            mv "$out/results.tsv.tmp" "$out/results.tsv"
    fi
    if command -v gnuplot >/dev/null 2>&1; then
        # In gnuplot's strings an apostrophe is written twice.
        gnuplot -e "out='$(printf '%s\n' "$out" | sed "s/'/''/g")'" "chapters/$dir/plot.gp" >"build/$dir/plot.txt" ||
            { echo "make: gnuplot could not draw the figures of chapter $number" >&2; exit 1; }
        cat "build/$dir/plot.txt"
    else
        echo "make: gnuplot is missing, so no curves are drawn; sh src/setup.sh installs it" >&2
    fi

    echo "Pictures:"
    find "$out" -name '*.png' -newer "build/$dir/started" | sort | sed 's/^/  /'
    rm -f "build/$dir/started"
    echo "Next: read chapters/$dir/README.md, then make exercise$number"
    leave "$ended"
}

# The program alone: no check before it, nothing drawn but what it draws itself.
program() {
    name=$(name_of "$1")
    shift
    on_interrupt
    "build/bin/$name" "$@"
    leave $?
}

exercise() {
    dir=$1 number=$(number_of "$1")
    mkdir -p "build/$dir"
    if run_judge "build/bin/exercise_$(name_of "$1")" "build/$dir/exercise.txt" "build/$dir/exercise.tsv"; then
        next=$(next_chapter "$dir")
        echo "Exercise $number is solved."
        if [ -n "$next" ]; then
            echo "Next: chapters/$next/README.md, with make chapter$(number_of "$next")"
        else
            echo "This was the last chapter there is."
        fi
    else
        echo "Not yet. Edit chapters/$dir/exercise.c and run make exercise$number again."
        exit 1
    fi
}

# What the judge says of the exercise as the book has it, for the page that quotes it.
unsolved() {
    mkdir -p "build/$1"
    run_judge "build/bin/unsolved_$(name_of "$1")" "build/$1/exercise.txt" "build/$1/exercise.tsv"
}

# Copies the pictures that a chapter's page shows to figures/, where they are kept.
figures() {
    mkdir -p "figures/$1"
    for picture in $(grep -o "figures/$1/[A-Za-z0-9_.-]*\.png" "chapters/$1/README.md" | sort -u); do
        drawn=build/$1/$(basename "$picture")
        if [ -f "$drawn" ]; then
            cp "$drawn" "$picture" || exit 1
        elif elsewhere=$(ls -t "build/$1"/*/"$(basename "$picture")" 2>/dev/null | head -n 1) && [ -n "$elsewhere" ]; then
            cp "$elsewhere" "$picture" || exit 1 # drawn by a benchmark or a recorded run
        elif [ -f "$picture" ]; then
            echo "figures: $picture stays as it is; make bench or make record$(number_of "$1") draws it anew"
        else
            echo "figures: $drawn was not drawn; make chapter$(number_of "$1") draws it" >&2
            exit 1
        fi
    done
}

# Runs a chapter again with the arguments on the first line of each chapters/NN-name/recorded/*.tsv, and
# rewrites that file from the run: for numbers whose run is too long to be repeated at every turn.
record() {
    for record in "chapters/$1"/recorded/*.tsv; do
        [ -f "$record" ] || { echo "record: chapters/$1/recorded has no .tsv file; its first line is # args: ..." >&2; exit 1; }
        grep -q '^# args:' "$record" || { echo "record: $record is not made by a run of the program: $(head -n 1 "$record")"; continue; }
        arguments=$(sed -n '1s/^# args: *//p' "$record")
        out=build/$1/$(basename "$record" .tsv)
        # The arguments are words for the program, split here on purpose.
        # shellcheck disable=SC2086
        "$(run_of "$1")" $arguments --out "$out" || exit 1
        { sed -n '/^#/p' "$record"; cat "$out/results.tsv"; } >"$record.tmp" && mv "$record.tmp" "$record" || exit 1
        # Its learning curve, where a figure is drawn from it.
        losses=${record%.tsv}.losses
        if [ -f "$losses" ]; then cp "$out/losses.tsv" "$losses" || exit 1; fi
        echo "$record is that of this run."
    done
}

help() {
    echo "Autoencoders by Hand"
    echo
    for dir; do
        printf '  make chapter%-3s %s\n' "$(number_of "$dir")" "$(subject_of "$dir")"
    done
    cat <<END

  make chapterN    check the gradients, run the experiment, draw the figures
                   ARGS="--help" lists the program's options, ARGS="--seed 2" passes one
  make runN        the program alone, without the check before it; takes ARGS, too
  make checkN      the gradient check alone, with its tables
  make exerciseN   judge chapters/NN-name/exercise.c
  make progress    which exercises are solved
  make chapters    all chapters, one after the other
  make test        the tests of everything but your exercises, in a few minutes
  make data        fetch the full MNIST and Fashion-MNIST into data/
  make book        the chapters as HTML, in build/book
  make clean       remove build/

Who writes a chapter needs these, too (README.md, "Adding a chapter"):
  make weave       bring listings and numbers in the text up to date
  make mutants     plant mistakes and see the checks find and name them; mutantsN
  make verify      run all chapters and hold every number in the text to its run
  make figures     redraw figures/; figuresN
  make recordN     repeat the runs in chapters/NN-name/recorded
  make bench       the speed of the training step
  make lint        the layout of the C files; make format mends it

  CC=clang another compiler   SAN=1 with sanitizers   V=1 show the commands   -j2 compile in parallel
END
}

# Judges every exercise afresh: what counts is that it passes, not that it once did.
progress() {
    printf '  %-4s %-18s %-12s %s\n' "" chapter run exercise
    solved=0 total=0
    for dir; do
        name=$(name_of "$dir")
        ran=-
        [ -f "build/$dir/results.tsv" ] && ran=yes
        if ! ${MAKE:-make} -s "build/bin/exercise_$name" >/dev/null 2>&1; then
            state="does not compile"
        elif CMOCKA_MESSAGE_OUTPUT=TAP "build/bin/exercise_$name" >/dev/null 2>&1; then
            state=solved
            solved=$((solved + 1))
        else
            state="open: make exercise$(number_of "$dir")"
        fi
        total=$((total + 1))
        printf '  %-4s %-18s %-12s %s\n' "$(number_of "$dir")" "$name" "$ran" "$state"
    done
    echo "  $solved of $total exercises solved"
}

# Runs one of what run_tests lists, and prints one line; everything about it where it fails. What it printed is kept in
# build/tests, in NAME.log, and how many tests passed and failed in NAME.count.
one_test() {
    name=$1 log=build/tests/$1.log passed=0 failed=0 remark=
    case $name in
    weave) build/bin/weave --check >"$log" 2>&1 ;;
    *) "build/bin/$name" >"$log" 2>&1 ;;
    esac
    status=$?
    case $name in
    unsolved_*) # fails, and says why
        if [ "$status" -ne 0 ] && grep -q WRONG "$log"; then
            passed=1 remark="  (fails, as it must)"
        else
            failed=1 remark=": the unsolved exercise does not fail with a diagnosis"
        fi
        ;;
    *) # cmocka prints "[  PASSED  ] 12 test(s)."
        if [ "$status" -eq 0 ]; then
            passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | head -n 1)
            passed=${passed:-1}
        else
            failed=$(sed -n 's/^ *\([0-9]*\) FAILED TEST.*/\1/p' "$log" | head -n 1)
            failed=${failed:-1}
        fi
        ;;
    esac
    echo "$passed $failed" >"build/tests/$name.count"
    if [ "$failed" -eq 0 ]; then
        printf 'ok      %-26s %3s%s\n' "$name" "$passed" "$remark"
    else
        { cat "$log"; printf 'FAILED  %s%s\n' "$name" "$remark"; } >"$log.failed"
        cat "$log.failed" # in one piece: another test may be printing, too
        rm -f "$log.failed"
    fi
}

# Runs every test program, as many at a time as there are cores; requires that each exercise fails as the book has it and passes
# when solved, and that texts and programs agree.
run_tests() {
    chapters=$1
    shift
    rm -rf build/tests
    mkdir -p build/tests
    for name; do echo "$name"; done >build/tests/list
    for dir in $chapters; do
        name=$(name_of "$dir")
        echo "test_$name"
        echo "solution_$name"
        echo "unsolved_$name"
    done >>build/tests/list
    echo weave >>build/tests/list
    xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 sh "$0" one_test <build/tests/list
    # A test that left no count has not run to its end.
    while IFS= read -r name; do
        cat "build/tests/$name.count" 2>/dev/null || echo "0 1"
    done <build/tests/list |
        awk '{ passed += $1; failed += $2 } END { printf "\n%d passed, %d failed\n", passed, failed; exit failed > 0 || NR == 0 }'
}

command=$1
shift
case $command in
test) run_tests "$@" ;;
check)
    check "$@"
    leave $?
    ;;
*) "$command" "$@" ;;
esac
