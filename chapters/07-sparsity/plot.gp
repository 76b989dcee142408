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

# What sparsity costs. The codes without a penalty, then those of L1 and of KL, from weak to strong.
if (has('tradeoff.tsv')) {
    set output out.'/tradeoff.png'
    set logscale x
    set xrange [1:100]
    set yrange [0:*]
    set xtics (1, 2, 5, 10, 20, 50, 100)
    set xlabel "active units per test image, %"
    set ylabel "squared error of a test image"
    set key top right
    line(kind) = sprintf("<awk -F'\t' '$1 == \"%d\"' '".out."/tradeoff.tsv'", kind)
    plot line(0) using 3:4 every ::0::0 with points linetype 5 pointsize 2 title "no penalty, ReLU", \
         line(0) using 3:4 every ::1::1 with points linetype 5 pointtype 12 pointsize 2 title "no penalty, sigmoid", \
         line(1) using 3:4 with linespoints linetype 1 pointsize 1.3 title "L1", \
         line(1) using 3:4:(sprintf("%g", $2)) with labels textcolor "#0072B2" offset 2.4,0.6 notitle, \
         line(2) using 3:4 with linespoints linetype 3 pointsize 1.3 title "KL of the mean", \
         line(2) using 3:4:(sprintf("%g", $2)) with labels textcolor "#009E73" offset -2.8,-0.2 notitle
    unset logscale
}
