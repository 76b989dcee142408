#!/bin/sh
# bench.sh: how fast is the training step, beside what the machine can do and beside its peers? Run by make bench from the
# project's root:   CC=... CFLAGS=... LIBS=... sh chapters/05-autoencoder/bench.sh [rounds]
#
# Machines are noisy, so nothing is measured once and everything in turns: in each round the peak, our program, the same program
# on OpenBLAS, PyTorch and NumPy, on one core and on two. What is quoted is the median over the rounds of the ratio within
# a round. Peers that are not installed are named and left out.
set -u
rounds=${1:-5}
here=chapters/05-autoencoder
out=build/05-autoencoder/bench
data=data/mnist
[ -d "$data" ] || data=data/digits
mkdir -p "$out"
# On a quiet machine a core that spins while it waits is faster than one that sleeps, for us and for our peers: every
# program here waits as its OpenMP does by default.
unset OMP_WAIT_POLICY

# The same flags as the program's own.
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS "$here/bench.c" -o "$out/bench" $LIBS || exit 1
sed 's/^void multiply(/void multiply_by_tiles(/' "$here/autoencoder.c" >"$out/renamed.c"
blas=
# shellcheck disable=SC2086
if $CC -std=c11 $CFLAGS -DBLAS -I"$out" -I"$here" "$here/bench.c" -o "$out/bench_blas" $LIBS -lopenblas 2>/dev/null; then
    blas=yes
else
    echo "bench: there is no OpenBLAS with headers here; left out" >&2
fi
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
images=60000
"$out/bench" weights "$out/weights" || exit 1
: >"$out/raw.tsv"
# The second of two epochs: the first also warms up. name, threads, seconds, and the mean
# training loss of that epoch.
run() { # name, threads, command ...
    name=$1 threads=$2
    shift 2
    [ -t 2 ] && printf '\r  round %s of %s: %-10s on %s   ' "$round" "$rounds" "$name" "$threads" >&2
    OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads OPENBLAS_CORETYPE=$kernels ATEN_CPU_CAPABILITY=${kernels:+avx512} "$@" |
        awk -v name="$name" -v threads="$threads" -v round="$round" '
            NF { seconds = $1; loss = $2 } END { if (NR) print round "\t" name "\t" threads "\t" seconds "\t" loss }' >>"$out/raw.tsv"
}
round=1
while [ "$round" -le "$rounds" ]; do
    for threads in 1 2; do
        run peak $threads "$out/bench" peak
        run ours $threads "$out/bench" train "$data" 2 128 $images 100
        if [ -n "$blas" ]; then run openblas $threads env OPENBLAS_NUM_THREADS=1 "$out/bench_blas" train "$data" 2 128 $images 100; fi
        if [ -n "$torch" ]; then run torch $threads "$python" "$here/bench.py" torch $threads "$data" 2 128 $images "$out/weights"; fi
        if [ -n "$python" ]; then run numpy $threads "$python" "$here/bench.py" numpy $threads "$data" 2 128 $images "$out/weights"; fi
    done
    round=$((round + 1))
done
# How the cost grows, in images, width, batch: the second of two epochs, three times each.
round=0
for again in 1 2 3; do
    for n in 10000 20000 40000 60000; do run "images_$n" 2 "$out/bench" train "$data" 2 128 $n 100; done
    for w in 25 50 100 200 400; do run "width_$w" 2 "$out/bench" train "$data" 2 128 10000 $w; done
    for b in 8 32 128 512; do run "batch_$b" 2 "$out/bench" train "$data" 2 $b 10000 100; done
done
[ -t 2 ] && printf '\r%60s\r' '' >&2

awk -F '\t' -v images=$images -v results="$out/results.tsv" -v bars="$out/bars.tsv" -v grow="$out/grow.tsv" '
    function median(list, n,   i, j, t) {
        for (i = 2; i <= n; i++) for (j = i; j > 1 && list[j] < list[j-1]; j--) { t = list[j]; list[j] = list[j-1]; list[j-1] = t }
        return n % 2 ? list[(n+1)/2] : (list[n/2] + list[n/2+1]) / 2
    }
    function middle(name, threads, how,   i, n, v, list) {
        n = 0
        for (i = 1; i <= rounds; i++) {
            v = value[i, name, threads]
            if (v == "" || (how != "self" && value[i, "ours", threads] == "")) continue
            if (how == "ratio") v /= value[i, "ours", threads]
            if (how == "fraction") v = flop / value[i, "peak", threads] / v
            list[++n] = v
        }
        return n ? median(list, n) : 0
    }
    function say(name, v, unit) { printf "%s\t%.6g\t%s\n", name, v, unit > results }
    { value[$1, $2, $3] = $4; loss[$2, $3] = $5; seen[$2] = 1; if ($1 > rounds) rounds = $1
      if ($1 == 0) { if (!($2 in times)) names[++kinds] = $2; many[$2, ++times[$2]] = $4 } }
    END {
        for (k = 1; k <= kinds; k++) {
            for (i = 1; i <= times[names[k]]; i++) turn[i] = many[names[k], i]
            split(names[k], part, "_"); print part[1] "\t" part[2] "\t" median(turn, times[names[k]]) > grow
        }
        # Multiply-adds of one image: forward, weights, and inputs of all layers but the first.
        flop = 2e-9 * images * (2 * 708400 + 394800)
        printf "an epoch of %d images, batch 128, Adam, float: %.0f billion operations\n", images, flop
        printf "  %-34s %10s %10s\n", "seconds (median of " rounds " rounds)", "1 core", "2 cores"
        printf "  %-34s %10.3f %10.3f\n", "floor: multiply-adds alone", flop / middle("peak", 1, "self"), flop / middle("peak", 2, "self")
        text["ours"] = "this chapter"; text["openblas"] = "the same program on OpenBLAS"; text["torch"] = "PyTorch"; text["numpy"] = "NumPy"
        for (k = split("ours openblas torch numpy", list, " "); k > 0; k--) order[5-k] = list[5-k]
        print "name\tone\ttwo" > bars
        print "multiply-adds alone\t" flop / middle("peak", 1, "self") "\t" flop / middle("peak", 2, "self") > bars
        for (k = 1; k <= 4; k++) {
            n = list[k]; if (!seen[n]) continue
            printf "  %-34s %10.3f %10.3f", text[n], middle(n, 1, "self"), middle(n, 2, "self")
            print text[n] "\t" middle(n, 1, "self") "\t" middle(n, 2, "self") > bars
            if (n == "ours") printf "   %.2f and %.2f of the floor\n", middle(n, 1, "fraction"), middle(n, 2, "fraction")
            else printf "   %.2f and %.2f times ours; loss %.3f against %.3f\n", middle(n, 1, "ratio"), middle(n, 2, "ratio"), loss[n, 1], loss["ours", 1]
            for (t = 1; t <= 2; t++) {
                say("seconds_" n "_" t, middle(n, t, "self"), "seconds")
                if (n != "ours") say("ratio_" n "_" t, middle(n, t, "ratio"), "")
                say("loss_" n "_" t, loss[n, t], "nats")
            }
        }
        for (t = 1; t <= 2; t++) { say("peak_" t, middle("peak", t, "self"), "GFLOP/s"); say("fraction_" t, middle("ours", t, "fraction"), "") }
    }' "$out/raw.tsv"
if [ -n "${RECORD:-}" ]; then # for the numbers in the text
    { echo "# made by make bench RECORD=1"; cat "$out/results.tsv"; } >"$here/recorded/bench.tsv"
fi
if command -v gnuplot >/dev/null 2>&1; then
    gnuplot -e "out='$out'" "$here/bench.gp" && echo "Pictures:" && ls "$out"/*.png | sed 's/^/  /'
fi
