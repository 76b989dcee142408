# bench.sh: what the bench.sh of chapters share. They source it from the project's root, with their chapter's folder name:
#
#   . src/bench.sh;  begin 05-autoencoder
#
# Machines are noisy, so nothing is measured once and everything in turns: each round runs each rival on one core and on two.
# What is quoted is the median over the rounds of the ratio within a round (src/bench.awk). A rival that is not installed is
# named and left out.

# Sets here, out, data, images, python (empty without NumPy), torch (empty without PyTorch); empties raw.tsv.
begin() {
    here=chapters/$1
    out=build/$1/bench
    data=data/mnist
    [ -d "$data" ] || data=data/digits
    images=60000 # of an epoch; from the first again where there are fewer
    mkdir -p "$out"
    # On a quiet machine a core that spins while it waits is faster than one that sleeps, for us and for our peers: every
    # program here waits as its OpenMP does by default.
    unset OMP_WAIT_POLICY
    python=
    for p in python3 /usr/bin/python3; do
        command -v "$p" >/dev/null 2>&1 && "$p" -c 'import numpy' 2>/dev/null && python=$p && break
    done
    torch=
    [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null && torch=yes
    [ -n "$python" ] || echo "bench: python3 has no numpy here; NumPy and PyTorch are left out" >&2
    [ -z "$python" ] || [ -n "$torch" ] || echo "bench: python3 has no torch here; PyTorch is left out" >&2
    # OpenBLAS and PyTorch at their best: the kernels for AVX-512 where the processor has it.
    kernels=
    grep -q avx512f /proc/cpuinfo 2>/dev/null && kernels=SKYLAKEX
    : >"$out/raw.tsv"
}

# compile NAME OPTION ...: the chapter's bench.c with the flags of its program, to $out/NAME.
compile() {
    name=$1
    shift
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS "$@" "$here/bench.c" -o "$out/$name" $LIBS
}

# run NAME THREADS COMMAND ...: adds a line round, name, threads, seconds, loss to raw.tsv, from the last line that the command
# prints. Of two epochs that is the second: the first also warms up.
run() {
    name=$1 threads=$2
    shift 2
    [ -t 2 ] && printf '\r  round %s of %s: %-10s on %s   ' "$round" "$rounds" "$name" "$threads" >&2
    OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads OPENBLAS_CORETYPE=$kernels ATEN_CPU_CAPABILITY=${kernels:+avx512} "$@" |
        awk -v name="$name" -v threads="$threads" -v round="$round" '
            NF { seconds = $1; loss = $2 } END { if (NR) print round "\t" name "\t" threads "\t" seconds "\t" loss }' >>"$out/raw.tsv"
}

# report PROGRAM: the awk program PROGRAM with the functions of src/bench.awk, on all that was measured.
report() {
    [ -t 2 ] && printf '\r%60s\r' '' >&2
    awk -F '\t' -v images=$images -v out="$out" -v results="$out/results.tsv" "$(cat src/bench.awk)
$1" "$out/raw.tsv"
    if [ -n "${RECORD:-}" ]; then # for the numbers in the text
        { echo "# made by make bench RECORD=1"; cat "$out/results.tsv"; } >"$here/recorded/bench.tsv"
    fi
}
