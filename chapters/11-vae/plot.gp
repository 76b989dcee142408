# The figures of chapter 11. Run by make chapter11 as  gnuplot -e "out='build/11-vae'" plot.gp
load 'src/figure.gp'
has(file) = int(system("awk 'END { print (NR > 1) }' '".out."/".file."' 2>/dev/null || echo 0"))
# What a run found out, by name; NaN where it did not come so far.
found(name) = real(system("awk -F '\t' '$1 == \"".name."\" { v = $2 } END { print v == \"\" ? \"nan\" : v }' '".out."/results.tsv' 2>/dev/null || echo nan"))
title_of(file, n) = system("awk -F '\t' 'NR == 1 { print $".n."; exit }' '".out."/".file."'")

# The two parts of the loss and their sum, each on a scale of its own.
if (has('losses.tsv')) {
    epochs = int(system("awk 'END { print NR - 1 }' '".out."/losses.tsv'"))
    set terminal pngcairo size 1080,480 font "DejaVu Sans,12" background "white"
    set output out.'/losses.png'
    set multiplot layout 1,3
    set xlabel "epoch"
    set xrange [0:epochs + 0.5]
    set offsets 0, 0, graph 0.04, graph 0.04
    set key samplen 2
    set title "cross-entropy, nats an image"
    set key top right
    plot out.'/losses.tsv' using 1:2 with linespoints linetype 1 pointsize 0.5 title "VAE, training", \
         '' using 1:4 with linespoints linetype 2 pointsize 0.5 title "VAE, test", \
         '' using 1:10 with linespoints linetype 3 pointsize 0.5 title "autoencoder, test"
    set title "KL, nats an image"
    set key bottom right
    plot out.'/losses.tsv' using 1:3 with linespoints linetype 1 pointsize 0.5 title "VAE, training", \
         '' using 1:5 with linespoints linetype 2 pointsize 0.5 title "VAE, test"
    set title "their sum, −ELBO, nats an image"
    set key top right
    plot out.'/losses.tsv' using 1:($2 + $3) with linespoints linetype 1 pointsize 0.5 title "VAE, training", \
         '' using 1:($4 + $5) with linespoints linetype 2 pointsize 0.5 title "VAE, test"
    unset multiplot
    reset
    load 'src/figure.gp'
}

# The first epoch, step by step: what the KL does before the decoder can read the code.
if (has('start.tsv')) {
    set output out.'/start.png'
    set multiplot layout 2,1
    set xlabel "step of the first epoch"
    set logscale x
    steps = int(system("awk 'END { print NR - 1 }' '".out."/start.tsv'"))
    set xrange [0.9:steps * 1.1]
    set lmargin 9
    unset key
    set ylabel "cross-entropy, nats"
    plot out.'/start.tsv' using 1:2 with lines linetype 1
    set ylabel "KL, nats"
    set key top right
    set yrange [0:20]
    plot out.'/start.tsv' using 1:3 with lines linetype 1 title "KL", \
         '' using 1:4 with lines linetype 2 title "of it, common to all images"
    unset multiplot
    reset
    load 'src/figure.gp'
}

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
    plot out.'/weights.tsv' using 1:6:7 with yerrorbars linetype 2 linewidth 1.5 dashtype 1 pointsize 1 title "draws from p(z)", \
         '' using 1:6 with lines linetype 2 linewidth 1 notitle, \
         '' using 1:2:3 with yerrorbars linetype 1 linewidth 1.5 pointsize 1 title "draws from q(z|x), weighted", \
         '' using 1:2 with lines linetype 1 linewidth 1 notitle, \
         found("iw_1") with lines linetype 5 title "−ELBO"
    set ylabel "below −ELBO, nats (paired, image by image)"
    unset key
    set label "−ELBO" at 1000,0.1
    set yrange [-0.1:*]
    plot out.'/weights.tsv' using 1:4:5 with yerrorbars linetype 1 linewidth 1.5 pointsize 1 title "draws from q(z|x), weighted", \
         '' using 1:4 with lines linetype 1 linewidth 1 notitle, \
         0 with lines linetype 5 title "−ELBO"
    unset multiplot
    reset
    load 'src/figure.gp'
}

# What each number of the code tells: that of this run, and of the recorded run with a code that is too wide.
units_of(file) = "< awk -F '\t' '/^kl_[0-9]+\t/ { kl[++n] = $2 } /^activity_[0-9]+\t/ { a[++m] = $2 } END { for (j = 1; j <= n; j++) print j \"\t\" kl[j] \"\t\" a[j] }' '".file."'"
do for [name in "active active40"] {
    file = name eq "active" ? out.'/results.tsv' : 'chapters/11-vae/recorded/code40.tsv'
    units = int(system("awk '/^kl_[0-9]+\t/' '".file."' 2>/dev/null | wc -l"))
    if (units > 0) {
        set output out.'/'.name.'.png'
        set multiplot layout 1,2
        set boxwidth 0.7
        set style fill solid 0.85 noborder
        set xlabel "number of the code"
        set xrange [0.4:units + 0.6]
        set xtics 1, (units > 12 ? 5 : 1)
        unset key
        set ylabel "KL, nats, mean over the test images"
        set yrange [0:*]
        plot units_of(file) using 1:2 with boxes linetype 1
        set ylabel "variance of μ over the test images"
        # A logarithmic scale has no foot for a bar to stand on, so these are points. What lies below the
        # scale is drawn on its edge.
        least = real(system("awk '/^activity_[0-9]+\t/ && (low == \"\" || $2 < low) { low = $2 } END { print low }' '".file."'"))
        floor = least < 1e-3 ? 1e-5 : 1e-3
        set label "active above this line" at graph 0.98,first 0.0145 right front
        set logscale y
        set yrange [floor:3]
        set format y "10^{%L}"
        plot 0.01 with lines linetype 2 dashtype 1 notitle, \
             units_of(file) using 1:($3 > floor ? $3 : floor) with points linetype 1 pointtype 7 pointsize 1 notitle
        unset multiplot
        unset label
        reset
        load 'src/figure.gp'
    }
}

# Where the digits lie: the VAE's two most used numbers, and the autoencoder's two widest axes. The circle
# holds 86 of a hundred standard normal pairs.
if (has('codes.tsv')) {
    both = title_of('codes.tsv', 4) ne ""
    set terminal pngcairo size (both ? 1200 : 640),640 font "DejaVu Sans,12" background "white"
    set output out.'/scatter.png'
    set multiplot layout 1,(both ? 2 : 1)
    set size ratio -1
    unset key
    set style textbox opaque fillcolor "white" border linecolor "#888888" margins 0.8,0.6
    set object 1 circle at 0,0 size 2 front fillstyle empty border linecolor "#444444" linewidth 2
    do for [panel = 0:both] {
        across = 2 + 2 * panel # its column; the next goes up
        if (panel == 0) {
            set title "VAE: the two numbers with the largest KL"
            set xlabel title_of('codes.tsv', 2)
            set ylabel title_of('codes.tsv', 3)
        } else {
            set title "autoencoder: the two widest axes of its codes"
            set xlabel "first axis"
            set ylabel "second axis"
        }
        do for [d=0:9] {
            seen = int(system(sprintf("awk '$1 == \"%d\"' '%s/codes.tsv' | wc -l", d, out)))
            if (seen > 0) {
                stats out.'/codes.tsv' using across:($1 == d ? column(across+1) : NaN) name "D" nooutput
                set label d+1 sprintf("%d", d) at D_mean_x, D_mean_y center front boxed font ",16"
            }
        }
        plot out.'/codes.tsv' skip 1 using across:(column(across+1)):(digit($1)) with points pointtype 7 pointsize 0.4 linecolor rgb variable
        unset label
    }
    unset multiplot
    reset
    load 'src/figure.gp'
}

# The sum once more, in the terminal.
if (has('losses.tsv')) {
    set terminal dumb 79 22
    unset output
    unset grid
    unset key
    set xlabel "epoch"
    set ylabel ""
    set xrange [0:epochs + 0.5]
    set offsets 0, 0, graph 0.05, graph 0.05
    set title "-ELBO in nats an image: training (*) and test images (#)"
    plot out.'/losses.tsv' using 1:($2 + $3) with points pointtype "*" notitle, \
         out.'/losses.tsv' using 1:($4 + $5) with points pointtype "#" notitle
}
