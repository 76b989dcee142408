# The figures of chapter 11. Run by make chapter11 as  gnuplot -e "out='build/11-vae'" plot.gp
load 'src/figure.gp'
has(file) = int(system("awk 'END { print (NR > 1) }' '".out."/".file."' 2>/dev/null || echo 0"))
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
         '' using 1:9 with linespoints linetype 3 pointsize 0.5 title "autoencoder, test"
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

# Where the digits lie: the first two numbers of either network's code (codes.tsv: label, mu1, ae1, mu2, ae2 ...).
# The circle holds 86 of a hundred standard normal pairs.
if (has('codes.tsv') && title_of('codes.tsv', 4) eq "mu2") {
    both = has('losses.tsv') # without training there is no autoencoder
    set terminal pngcairo size (both ? 1200 : 640),640 font "DejaVu Sans,12" background "white"
    set output out.'/scatter.png'
    set multiplot layout 1,(both ? 2 : 1)
    set size ratio -1
    unset key
    set style textbox opaque fillcolor "white" border linecolor "#888888" margins 0.8,0.6
    set object 1 circle at 0,0 size 2 front fillstyle empty border linecolor "#444444" linewidth 2
    do for [panel = 0:both] {
        across = 2 + panel # its column; that of the second number is two further
        set title (panel ? "autoencoder: its code" : "VAE: μ, the mean of its code")
        set xlabel "first number"
        set ylabel "second number"
        do for [d=0:9] {
            seen = int(system(sprintf("awk '$1 == \"%d\"' '%s/codes.tsv' | wc -l", d, out)))
            if (seen > 0) {
                stats out.'/codes.tsv' using across:($1 == d ? column(across+2) : NaN) name "D" nooutput
                set label d+1 sprintf("%d", d) at D_mean_x, D_mean_y center front boxed font ",16"
            }
        }
        plot out.'/codes.tsv' skip 1 using across:(column(across+2)):(digit($1)) with points pointtype 7 pointsize 0.4 linecolor rgb variable
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
