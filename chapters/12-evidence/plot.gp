# The figures of chapter 12. Run by make chapter12 as  gnuplot -e "out='build/12-evidence'" plot.gp
load 'src/figure.gp'
has(file) = int(system("awk 'END { print (NR > 1) }' '".out."/".file."' 2>/dev/null || echo 0"))
# What a run found out, by name; NaN where it did not come so far.
found(name) = real(system("awk -F '\t' '$1 == \"".name."\" { v = $2 } END { print v == \"\" ? \"nan\" : v }' '".out."/results.tsv' 2>/dev/null || echo nan"))

# Estimates of -log p(x) from K draws.
if (has('weights.tsv')) {
    set terminal pngcairo size 1080,480 font "DejaVu Sans,12" background "white"
    set output out.'/weights.png'
    set multiplot layout 1,2
    set logscale x
    set xrange [0.7:7000]
    set xlabel "K, draws for an image"
    set ylabel "estimate of −log p(x), nats"
    set key top right
    if (has('prior.tsv')) {
        plot out.'/prior.tsv' using 1:2:3 with yerrorbars linetype 2 linewidth 1.5 pointsize 1 title "draws from p(z)", \
             '' using 1:2 with lines linetype 2 linewidth 1 notitle, \
             out.'/weights.tsv' using 1:2:3 with yerrorbars linetype 1 linewidth 1.5 pointsize 1 title "draws from q(z|x), weighted", \
             '' using 1:2 with lines linetype 1 linewidth 1 notitle, \
             found("iw_1") with lines linetype 5 title "−ELBO"
    } else {
        plot out.'/weights.tsv' using 1:2:3 with yerrorbars linetype 1 linewidth 1.5 pointsize 1 title "draws from q(z|x), weighted", \
             '' using 1:2 with lines linetype 1 linewidth 1 notitle, \
             found("iw_1") with lines linetype 5 title "−ELBO"
    }
    set ylabel "below −ELBO, nats (paired, image by image)"
    set key bottom right
    set yrange [-0.1:*]
    plot out.'/weights.tsv' using 1:4:5 with yerrorbars linetype 1 linewidth 1.5 pointsize 1 title "draws from q(z|x), weighted", \
         '' using 1:4 with lines linetype 1 linewidth 1 notitle, \
         found("gap") with lines linetype 3 title "the best code of each image, K = 5000", \
         0 with lines linetype 5 title "−ELBO"
    unset multiplot
    reset
    load 'src/figure.gp'
}

# The gap of each image, the largest first: what no normal q can do below, what the encoder does not do above.
if (has('gap.tsv') && has('train_gap.tsv')) {
    sorted(file) = "< awk 'NR > 1 { print $1 - $3 \"\t\" $2 - $3 }' '".out."/".file."' | LC_ALL=C sort -rg"
    set terminal pngcairo size 1080,480 font "DejaVu Sans,12" background "white"
    set output out.'/gap.png'
    set multiplot layout 1,2
    set style fill solid 0.85 noborder
    set boxwidth 0.9
    set xlabel "image, the largest gap first"
    set ylabel "nats between ELBO and L_{5000}"
    stats sorted('gap.tsv') using 1 name "GAP" nooutput
    set xrange [-0.6:GAP_records - 0.4]
    set yrange [0:GAP_max * 1.05]
    set title "test images"
    plot sorted('gap.tsv') using 0:1 with boxes linetype 1 title "amortisation", \
         sorted('gap.tsv') using 0:2 with boxes linetype 2 title "approximation"
    set title "images that were trained"
    unset key
    plot sorted('train_gap.tsv') using 0:1 with boxes linetype 1, \
         sorted('train_gap.tsv') using 0:2 with boxes linetype 2
    unset multiplot
    reset
    load 'src/figure.gp'
}

# How few draws have how much of the weight.
if (has('ranks.tsv')) {
    set output out.'/ranks.png'
    set logscale x
    set xrange [1:5000]
    set yrange [0:102]
    set xlabel "so many of the 5000 draws, the heaviest first"
    set ylabel "have together so many % of the weight"
    set key at graph 0.02,0.8 left Left reverse
    plot out.'/ranks.tsv' using 1:4 with lines linetype 2 dashtype 1 linewidth 2 title "draws from p(z)", \
         '' using 1:2 with lines linetype 1 linewidth 2 title "from the encoder's q", \
         '' using 1:3 with lines linetype 3 linewidth 2 title "from the best q of each image", \
         x / 50 with lines linetype 5 title "all alike"
    reset
    load 'src/figure.gp'
}

# What each of 40 numbers of the code tells, in the recorded run.
if (1) {
    file = 'chapters/12-evidence/recorded/code40.tsv'
    units_of = "< awk -F '\t' '/^kl_[0-9]+\t/ { kl[++n] = $2 } /^activity_[0-9]+\t/ { a[++m] = $2 } END { for (j = 1; j <= n; j++) print j \"\t\" kl[j] \"\t\" a[j] }' '".file."'"
    set terminal pngcairo size 1080,480 font "DejaVu Sans,12" background "white"
    set output out.'/units40.png'
    set multiplot layout 1,2
    set boxwidth 0.7
    set style fill solid 0.85 noborder
    set xlabel "number of the code"
    set xrange [0.4:40.6]
    set xtics 1, 5
    unset key
    set ylabel "KL, nats, mean over the test images"
    set yrange [0:*]
    plot units_of using 1:2 with boxes linetype 1
    set ylabel "variance of μ over the test images"
    # A logarithmic scale has no foot for a bar to stand on, so these are points.
    set label "active above this line" at graph 0.98,first 0.0145 right front
    set logscale y
    set yrange [1e-3:3]
    set format y "10^{%L}"
    plot 0.01 with lines linetype 2 dashtype 1 notitle, \
         units_of using 1:($3 > 1e-3 ? $3 : 1e-3) with points linetype 1 pointtype 7 pointsize 1 notitle
    unset multiplot
    unset label
    reset
    load 'src/figure.gp'
}

# With a code of two numbers p(z|x) can be seen, and beside it the two normal distributions: this run's, or
# that of the recorded run, where make record12 has left it.
where = has('posterior1.tsv') ? out : out.'/code2'
if (has(where eq out ? 'posterior1.tsv' : 'code2/posterior1.tsv')) {
    set terminal pngcairo size 1200,440 font "DejaVu Sans,12" background "white"
    set output out.'/posterior.png'
    set multiplot layout 1,3
    set palette defined (0 "white", 1 "#555555")
    unset colorbox
    set size ratio -1
    set parametric
    set trange [0:2*pi]
    set samples 200
    set xlabel "z_1"
    set ylabel "z_2"
    entry(i, column) = real(system(sprintf("awk -F '\t' 'NR == %d { print $%d }' '%s/ellipses.tsv'", i + 1, column, where)))
    do for [i = 1:3] {
        if (i == 1) { set key top left opaque } else { unset key }
        array e[8]
        do for [c = 1:8] { e[c] = entry(i, c) }
        set title sprintf("test image %d", i)
        set autoscale fix
        plot sprintf('%s/posterior%d.tsv', where, i) using 1:2:3 with image notitle, \
             e[1] + 2 * exp(e[3] / 2) * cos(t), e[2] + 2 * exp(e[4] / 2) * sin(t) with lines linetype 1 linewidth 2 title "encoder", \
             e[5] + 2 * exp(e[7] / 2) * cos(t), e[6] + 2 * exp(e[8] / 2) * sin(t) with lines linetype 2 dashtype 1 linewidth 2 title "best q"
    }
    unset multiplot
    unset parametric
    reset
    load 'src/figure.gp'
}

# The gap once more, in the terminal.
if (has('weights.tsv')) {
    set terminal dumb 79 20
    unset output
    unset grid
    unset key
    set logscale x
    set xrange [0.7:7000]
    set xlabel "K"
    set title "L_K above the ELBO, nats"
    plot out.'/weights.tsv' using 1:4 with points pointtype "*" notitle
}
