# The figures of chapter 7. Run by make chapter7 as  gnuplot -e "out='build/07-sparsity'" plot.gp
load 'src/figure.gp'
has(file) = int(system('test -s "'.out.'/'.file.'" && echo 1 || echo 0'))

# What each penalty makes of an activation that alone would like to be t: the a that is best for
# (a - t)^2 plus the penalty.
set output out.'/shrink.png'
set multiplot layout 1,2
set samples 801
set xrange [-2:2]
set xlabel "activation a"
set ylabel "pull of the penalty towards 0"
set yrange [-2.2:2.2]
set key top left
plot x < 0 ? -1 : (x > 0 ? 1 : 0) linetype 1 title "|a|", x linetype 2 title "a^2 / 2"
set xlabel "what the reconstruction alone wants, t"
set ylabel "what it gets, a"
set yrange [-2:2]
soft(t) = abs(t) <= 0.5 ? 0 : (t > 0 ? t - 0.5 : t + 0.5)
plot x linetype 5 title "no penalty", soft(x) linetype 1 title "|a|", x/1.5 linetype 2 title "a^2 / 2"
unset multiplot

# What it costs when a unit speaks more or less than it should, on average.
set output out.'/kl.png'
set multiplot layout 1,2
set bmargin 4
set key bottom right
rho = 0.02
kl(q) = rho*log(rho/q) + (1-rho)*log((1-rho)/(1-q))
set xlabel "mean activation of a unit over the batch"
set xrange [0.001:0.2]
set xtics 0.05
set yrange [0:0.2]
set ylabel "KL, nats"
plot kl(x) linetype 1 title "KL(0.02 || mean)", (x-rho)**2/(2*rho*(1-rho)) linetype 5 title "its parabola at 0.02"
set yrange [-6:2]
set ylabel "slope of KL"
set key bottom right
plot -rho/x + (1-rho)/(1-x) linetype 1 title "slope", 0 linetype 5 notitle
unset multiplot
set xtics autofreq
unset bmargin

# How activations are spread.
if (has('histogram.tsv')) {
    set output out.'/histogram.png'
    columns = int(system("head -n 1 '".out."/histogram.tsv' | awk -F'\t' '{ print NF }'"))
    set multiplot layout 1,2
    set logscale y
    set yrange [0.001:100]
    set ylabel "activations of test images in a bin, %"
    set key top right
    set xlabel "activation, ReLU code"
    set xrange [-0.05:3]
    plot out.'/histogram.tsv' using ($1*3):2 with linespoints linetype 5 pointsize 0.5 title "no penalty", \
         out.'/histogram.tsv' using ($1*3):(columns > 2 ? column(3) : NaN) with linespoints linetype 1 pointsize 0.5 title "L1", \
         out.'/histogram.tsv' using ($1*3):(columns > 6 ? column(7) : NaN) with linespoints linetype 4 pointsize 0.5 title "L1 on weights"
    set xlabel "activation, sigmoid code"
    set xrange [-0.02:1]
    plot out.'/histogram.tsv' using 1:(columns > 3 ? column(4) : 1e-9) every ::1 with linespoints linetype 5 pointsize 0.5 title "no penalty", \
         out.'/histogram.tsv' using 1:(columns > 4 ? column(5) : 1e-9) every ::1 with linespoints linetype 3 pointsize 0.5 title "KL of the mean", \
         out.'/histogram.tsv' using 1:(columns > 5 ? column(6) : 1e-9) every ::1 with linespoints linetype 2 pointsize 0.5 title "KL of each image"
    unset multiplot
    unset logscale
}

# What sparsity costs.
if (has('tradeoff.tsv')) {
    set output out.'/tradeoff.png'
    set logscale x
    set xrange [1:100]
    set xtics (1, 2, 5, 10, 20, 50, 100)
    set xlabel "active units per test image, %"
    set ylabel "squared error of a test image"
    set key bottom left
    set arrow 1 from 10, graph 0 to 10, graph 1 nohead linetype 5
    line(name) = "<awk -F'\t' '$1 == \"".name."\"' '".out."/tradeoff.tsv'"
    none = system("awk -F'\t' '$1 == \"none\" { print $4 }' '".out."/tradeoff.tsv'") + 0
    set yrange [0:2.3*none<*] # the line must be in the picture also when only few runs are
    set arrow 2 from 1, 2*none to 100, 2*none nohead linetype 5
    set label 2 "twice the error without a penalty" at 20, 2*none offset 0,0.7
    set label 3 "10 %" at 10.3, graph 0.96
    points(name) = int(system("awk -F'\t' '$1 == \"".name."\"' '".out."/tradeoff.tsv' | wc -l"))
    sigmoids = points("none sigmoid")
    l1s = points("L1")
    kls = points("KL")
    eachs = points("KL of each")
    weights = points("L1 on weights")
    # A curve for which there is no run is plotted where nobody sees it. Each lambda stands beside its point, in the colour of its
    # curve: L1's to the upper right and KL's to the left, but where the two curves meet, the other way round.
    lambda(runs, wanted, value) = wanted && runs ? sprintf("%g", value) : ""
    plot line("none") using 3:4 with points linetype 5 pointsize 2 title "no penalty, ReLU", \
         (sigmoids ? line("none sigmoid") : line("none")) using (sigmoids ? $3 : 1e-9):4 with points linetype 5 pointtype 12 pointsize 2 title sigmoids ? "no penalty, sigmoid" : "", \
         (l1s ? line("L1") : line("none")) using (l1s ? $3 : 1e-9):4 with linespoints linetype 1 pointsize 1.3 title l1s ? "L1" : "", \
         (l1s ? line("L1") : line("none")) using 3:4:(lambda(l1s, $0 == 2, $2)) with labels textcolor "#0072B2" offset -2.4,-0.5 notitle, \
         (l1s ? line("L1") : line("none")) using 3:4:(lambda(l1s, $0 != 2, $2)) with labels textcolor "#0072B2" offset 2.2,0.6 notitle, \
         (kls ? line("KL") : line("none")) using (kls ? $3 : 1e-9):4 with linespoints linetype 3 pointsize 1.3 title kls ? "KL of the mean" : "", \
         (kls ? line("KL") : line("none")) using 3:4:(lambda(kls, $0 == 2, $2)) with labels textcolor "#009E73" offset 1.6,0.5 notitle, \
         (kls ? line("KL") : line("none")) using 3:4:(lambda(kls, $0 != 2, $2)) with labels textcolor "#009E73" offset -3.6,-0.2 notitle, \
         (eachs ? line("KL of each") : line("none")) using (eachs ? $3 : 1e-9):4 with points linetype 2 pointsize 1.6 title eachs ? "KL of each image" : "", \
         (weights ? line("L1 on weights") : line("none")) using (weights ? $3 : 1e-9):4 with points linetype 4 pointsize 1.6 title weights ? "L1 on weights" : ""
    unset arrow
    unset label
    unset logscale

    # The trade-off once more, in the terminal.
    set terminal dumb 79 22
    unset output
    unset grid
    set xtics autofreq
    set xrange [0:50]
    set key top right
    set title "squared error and active units: L1 (1), KL (k), none (n), on weights (w)"
    set xlabel "active units, %"
    set ylabel ""
    plot line("none") using 3:4 with points pointtype "n" notitle, \
         (l1s ? line("L1") : line("none")) using (l1s ? $3 : 1e-9):4 with points pointtype "1" notitle, \
         (kls ? line("KL") : line("none")) using (kls ? $3 : 1e-9):4 with points pointtype "k" notitle, \
         (weights ? line("L1 on weights") : line("none")) using (weights ? $3 : 1e-9):4 with points pointtype "w" notitle
}
