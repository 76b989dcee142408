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
    set title "cross-entropy"
    set ylabel "nats an image"
    set key top right
    plot out.'/losses.tsv' using 1:2 with linespoints linetype 1 pointsize 0.5 title "VAE, training images", \
         '' using 1:4 with linespoints linetype 2 pointsize 0.5 title "VAE, test images", \
         '' using 1:10 with linespoints linetype 3 pointsize 0.5 title "autoencoder, test images"
    set title "KL"
    unset ylabel
    set key bottom right
    plot out.'/losses.tsv' using 1:3 with linespoints linetype 1 pointsize 0.5 title "VAE, training images", \
         '' using 1:5 with linespoints linetype 2 pointsize 0.5 title "VAE, test images"
    set title "their sum, −ELBO"
    set key top right
    plot out.'/losses.tsv' using 1:($2 + $3) with linespoints linetype 1 pointsize 0.5 title "VAE, training images", \
         '' using 1:($4 + $5) with linespoints linetype 2 pointsize 0.5 title "VAE, test images"
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
    set key bottom right
    set yrange [-0.1:*]
    plot out.'/weights.tsv' using 1:4:5 with yerrorbars linetype 1 linewidth 1.5 pointsize 1 title "draws from q(z|x), weighted", \
         '' using 1:4 with lines linetype 1 linewidth 1 notitle, \
         0 with lines linetype 5 title "−ELBO"
    unset multiplot
    reset
    load 'src/figure.gp'
}

# What each number of the code tells.
if (has('active.tsv')) {
    units = int(system("awk 'END { print NR - 1 }' '".out."/active.tsv'"))
    set output out.'/active.png'
    set multiplot layout 1,2
    set boxwidth 0.7
    set style fill solid 0.85 noborder
    set xlabel "number of the code"
    set xrange [0.4:units + 0.6]
    set xtics (units > 12 ? 5 : 1)
    unset key
    set ylabel "KL, nats (mean over test images)"
    set yrange [0:*]
    plot out.'/active.tsv' using 1:3 with boxes linetype 1
    set ylabel "variance of μ over the test images"
    set key top right
    set logscale y
    set yrange [1e-4:3]
    set format y "10^{%L}"
    plot out.'/active.tsv' using 1:($2 > 1e-4 ? $2 : 1e-4) with boxes linetype 1 notitle, \
         0.01 with lines linetype 2 title "above: active"
    unset multiplot
    reset
    load 'src/figure.gp'
}

# Where the digits lie: the VAE's two most used numbers, and the autoencoder's two widest axes.
if (has('codes.tsv')) {
    set output out.'/scatter.png'
    call 'src/scatter.gp' out.'/codes.tsv' title_of('codes.tsv', 2) title_of('codes.tsv', 3)
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
