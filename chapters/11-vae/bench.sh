#!/bin/sh
# bench.sh: what does the random number in the middle cost, and how fast is the training step beside PyTorch's? Run by make bench
# from the project's root:   CC=... CFLAGS=... LIBS=... sh chapters/11-vae/bench.sh [rounds]
#
# In each round: the autoencoder, the VAE, PyTorch's VAE. src/bench.sh says how it is measured.
set -u
rounds=${1:-11}
. src/bench.sh
begin 11-vae

compile bench || exit 1
"$out/bench" weights "$out/weights" || exit 1
round=1
while [ "$round" -le "$rounds" ]; do
    for threads in 1 2; do
        # They differ by little, so neither is always the first.
        if [ $((round % 2)) -eq 0 ]; then pair="autoencoder vae"; else pair="vae autoencoder"; fi
        for rival in $pair; do run $rival $threads "$out/bench" $rival "$data" 2 128 $images; done
        if [ -n "$torch" ]; then run torch $threads "$python" src/bench.py torch-vae $threads "$data" 2 128 $images "$out/weights"; fi
    done
    round=$((round + 1))
done

report '
    END {
        printf "an epoch of %d images, batch 128, Adam, float\n", images
        printf "  %-34s %10s %10s\n", "seconds (median of " rounds " rounds)", "1 core", "2 cores"
        text["autoencoder"] = "autoencoder, no random number"; text["vae"] = "this chapter"; text["torch"] = "the same in PyTorch"
        names = split("autoencoder vae torch", list, " ")
        for (k = 1; k <= names; k++) {
            n = list[k]; if (!seen[n]) continue
            printf "  %-34s %10.3f %10.3f", text[n], middle(n, 1), middle(n, 2)
            if (n == "torch") printf "   %.2f and %.2f times ours; loss %.2f against %.2f", ratio(n, "vae", 1), ratio(n, "vae", 2), loss[n, 1], loss["vae", 1]
            if (n == "vae") printf "   %.3f and %.3f times the autoencoder", ratio(n, "autoencoder", 1), ratio(n, "autoencoder", 2)
            print ""
            for (t = 1; t <= 2; t++) { say("seconds_" n "_" t, middle(n, t), "seconds"); say("loss_" n "_" t, loss[n, t], "nats") }
        }
        for (t = 1; t <= 2; t++) {
            say("ratio_autoencoder_" t, ratio("vae", "autoencoder", t), "")
            if (seen["torch"]) say("ratio_torch_" t, ratio("torch", "vae", t), "")
        }
    }'
