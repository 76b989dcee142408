#!/bin/sh
# bench.sh: how fast is the training step, beside what the machine can do and beside its peers? Run by make bench from the
# project's root:   CC=... CFLAGS=... LIBS=... sh chapters/16-fast/bench.sh [rounds]
#
# In each round: the peak, chapter 5's program, the same program on OpenBLAS, PyTorch and NumPy. src/bench.sh says how it is measured.
set -u
rounds=${1:-5}
. src/bench.sh
begin 16-fast

compile bench || exit 1
sed 's/^void multiply(/void multiply_by_tiles(/' chapters/05-autoencoder/autoencoder.c >"$out/renamed.c"
blas=
(LIBS="$LIBS -lopenblas" && compile bench_blas -DBLAS -I"$out" -I"$here") 2>/dev/null && blas=yes
[ -n "$blas" ] || echo "bench: there is no OpenBLAS with headers here; left out" >&2
"$out/bench" weights "$out/weights" || exit 1

round=1
while [ "$round" -le "$rounds" ]; do
    for threads in 1 2; do
        run peak $threads "$out/bench" peak
        run ours $threads "$out/bench" train "$data" 2 128 $images 100
        if [ -n "$blas" ]; then run openblas $threads env OPENBLAS_NUM_THREADS=1 "$out/bench_blas" train "$data" 2 128 $images 100; fi
        if [ -n "$torch" ]; then run torch $threads "$python" src/bench.py torch $threads "$data" 2 128 $images "$out/weights"; fi
        if [ -n "$python" ]; then run numpy $threads "$python" src/bench.py numpy $threads "$data" 2 128 $images "$out/weights"; fi
    done
    round=$((round + 1))
done
# How the cost grows, in images, width, batch: three rounds more, which the report keeps apart by the names.
round=1
while [ "$round" -le 3 ]; do
    for n in 10000 20000 40000 60000; do run "images_$n" 2 "$out/bench" train "$data" 2 128 $n 100; done
    for w in 25 50 100 200 400; do run "width_$w" 2 "$out/bench" train "$data" 2 128 10000 $w; done
    for b in 8 32 128 512; do run "batch_$b" 2 "$out/bench" train "$data" 2 $b 10000 100; done
    round=$((round + 1))
done

report '
    END {
        bars = out "/bars.tsv"; grow = out "/grow.tsv"
        for (n in seen) if (split(n, part, "_") == 2) print part[1] "\t" part[2] "\t" middle(n, 2) | ("sort -k1,1 -k2,2n >" grow)
        # Multiply-adds of one image: forward, weights, and inputs of all layers but the first.
        flop = 2e-9 * images * (2 * 708400 + 394800)
        for (t = 1; t <= 2; t++) for (i = 1; i <= rounds; i++) value[i, "floor", t] = flop / value[i, "peak", t]
        printf "an epoch of %d images, batch 128, Adam, float: %.0f billion operations\n", images, flop
        printf "  %-34s %10s %10s\n", "seconds (median of " rounds " rounds)", "1 core", "2 cores"
        text["floor"] = "multiply-adds alone"; text["ours"] = "chapter 5"; text["openblas"] = "the same program on OpenBLAS"
        text["torch"] = "PyTorch"; text["numpy"] = "NumPy"
        print "name\tone\ttwo" > bars
        names = split("floor ours openblas torch numpy", list, " ")
        for (k = 1; k <= names; k++) {
            n = list[k]; if (n != "floor" && !seen[n]) continue
            printf "  %-34s %10.3f %10.3f", text[n], middle(n, 1), middle(n, 2)
            print text[n] "\t" middle(n, 1) "\t" middle(n, 2) > bars
            if (n == "floor") { print ""; continue }
            if (n == "ours") printf "   %.2f and %.2f of that\n", ratio("floor", n, 1), ratio("floor", n, 2)
            else printf "   %.2f and %.2f times ours; loss %.3f against %.3f\n", ratio(n, "ours", 1), ratio(n, "ours", 2), loss[n, 1], loss["ours", 1]
            for (t = 1; t <= 2; t++) {
                say("seconds_" n "_" t, middle(n, t), "seconds")
                if (n != "ours") say("ratio_" n "_" t, ratio(n, "ours", t), "")
                say("loss_" n "_" t, loss[n, t], "nats")
            }
        }
        for (t = 1; t <= 2; t++) { say("peak_" t, middle("peak", t), "GFLOP/s"); say("fraction_" t, ratio("floor", "ours", t), "") }
    }'
if command -v gnuplot >/dev/null 2>&1; then
    gnuplot -e "out='$out'" "$here/bench.gp" && echo "Pictures:" && ls "$out"/*.png | sed 's/^/  /'
fi
