# The figures of chapter 10. Run by make chapter10 as  gnuplot -e "out='build/10-reparameterization'" plot.gp
load 'src/figure.gp'
# A way has the same colour in every figure.
has(file) = int(system("awk 'END { print (NR > 2) }' '".out."/".file."' 2>/dev/null || echo 0"))
array way[3] = ["score function", "with baseline", "path"]
array colour[3] = ["#D55E00", "#E69F00", "#0072B2"]

# Two ways to move an average: change the weights of the draws, or move the draws.
set output out.'/ways.png'
set multiplot layout 1,2
q(z, m) = exp(-(z - m)**2 / (2 * 0.25)) / (0.5 * sqrt(2 * pi))
set xrange [0.2:3.8]
set xlabel "z"
set samples 200
set key top left Left reverse maxrows 4 samplen 2
set yrange [0:1.25]
set ylabel "density q(z)"
set title "score function: the draws stay, their weights change"
plot q(x, 2) linetype 5 dashtype 1 title "mu = 2", q(x, 2.3) linetype 5 title "mu = 2.3", \
     out.'/ways.tsv' using 1:($3 > 0 ? q($1, 2) : 1/0) with impulses linetype 3 dashtype 1 title "draw that will count more", \
     '' using 1:($3 < 0 ? q($1, 2) : 1/0) with impulses linetype 4 dashtype 1 title "draw that will count less"
set yrange [0:5]
set ylabel "f(z) = (z - 1)^2"
set title "path: the draws move, their weights stay"
plot (x - 1)**2 linetype 5 dashtype 1 title "f", \
     out.'/ways.tsv' using 1:2 with points pointtype 7 pointsize 1 linecolor rgb colour[3] title "draw", \
     '' using 1:2:(0.3):(0) with vectors head filled size 0.07,20 linetype 3 dashtype 1 linewidth 2 title "it moves as far as mu does,", \
     '' using ($1 + 0.3):2:(0):(0.3 * $4) with vectors head filled size 0.07,20 linetype 2 dashtype 1 linewidth 2 title "and f rises by its slope"
unset multiplot
unset title
set xrange [*:*]
set yrange [*:*]

# The variance against the number of draws, and against the number of coordinates.
if (has('dimension.tsv')) {
    set output out.'/scaling.png'
    set multiplot layout 1,2
    set logscale xy
    set format y "10^{%T}"
    set ylabel "variance of the estimate of dE/dmu"
    set xlabel "draws in one estimate"
    set xrange [0.8:260]
    set yrange [*:1e5]
    set key top right maxrows 3
    plot for [k=1:3] out.'/samples.tsv' using 1:(column(3*k-1)) with lines linecolor rgb colour[k] linewidth 1.5 dashtype 1 notitle, \
         for [k=1:3] out.'/samples.tsv' using 1:(column(3*k)):(column(3*k+1)) with yerrorbars linecolor rgb colour[k] linewidth 1.5 dashtype 1 pointtype 4+2*k pointsize 1 title way[k]
    set xlabel "coordinates d"
    set xrange [0.8:1300]
    set yrange [0.3:1e9]
    set key top left Left reverse maxrows 3
    plot for [k=1:3] out.'/dimension.tsv' using 1:(column(3*k-1)) with lines linecolor rgb colour[k] linewidth 1.5 dashtype 1 notitle, \
         for [k=1:3] out.'/dimension.tsv' using 1:(column(3*k)):(column(3*k+1)) with yerrorbars linecolor rgb colour[k] linewidth 1.5 dashtype 1 pointtype 4+2*k pointsize 1 title way[k]
    unset multiplot
}

# And against the width of the cloud.
if (has('sigma.tsv')) {
    set output out.'/sigma.png'
    set logscale xy
    set format y "10^{%T}"
    set xlabel "sigma, the width of the cloud"
    set ylabel "variance of the estimate of dE/dmu"
    set xrange [0.008:13]
    set yrange [1e-4:1e7]
    set key bottom right noreverse Right maxrows 3
    plot for [k=1:3] out.'/sigma.tsv' using 1:(column(3*k-1)) with lines linecolor rgb colour[k] linewidth 1.5 dashtype 1 notitle, \
         for [k=1:3] out.'/sigma.tsv' using 1:(column(3*k)):(column(3*k+1)) with yerrorbars linecolor rgb colour[k] linewidth 1.5 dashtype 1 pointtype 4+2*k pointsize 1 title way[k]
}
unset logscale
set format
set xrange [*:*]
set yrange [*:*]

# Downhill by each of them.
if (has('descent.tsv')) {
    set output out.'/descent.png'
    set multiplot layout 1,2
    set xlabel "first coordinate of mu"
    set ylabel "second coordinate of mu"
    set key top right maxrows 4 noreverse Right
    set size ratio -1
    set xrange [-0.2:4.6]
    set yrange [-1.7:3.1]
    plot for [k=1:3] out.'/descent.tsv' using (column(3*k-1)):(column(3*k)) with lines linecolor rgb colour[k] linewidth (k == 3 ? 2.5 : 1.2) dashtype 1 title way[k], \
         '+' using (1):(1) every ::::0 with points pointtype 2 pointsize 2 linecolor "black" title "goal"
    set size noratio
    set xrange [*:*]
    set xtics 1000
    set xlabel "step"
    set ylabel "distance from the goal"
    set logscale y
    set yrange [0.08:10]
    plot for [k=1:3] out.'/descent.tsv' using 1:(column(3*k+1)) with lines linecolor rgb colour[k] dashtype 1 title way[k]
    set xtics autofreq
    unset logscale
    set yrange [*:*]
    unset multiplot
}

# The divergence from draws: a funnel around the formula.
if (has('kl.tsv')) {
    set output out.'/kl.png'
    set logscale x 2
    set format x "%g"
    set xlabel "draws in one mean"
    set ylabel "log q - log p on average, nats"
    set xrange [0.8:5000]
    set yrange [-1.8:2]
    set key top right maxrows 4
    plot out.'/kl.tsv' using 1:($3 - 2 * $4) with lines linetype 6 linewidth 1.5 title "two errors away", \
         '' using 1:($3 + 2 * $4) with lines linetype 6 linewidth 1.5 notitle, \
         '' using 1:3 with lines linetype 2 dashtype 1 title "formula", \
         '' using 1:2 with points pointtype 7 pointsize 0.5 linecolor "#0072B2" title "Monte Carlo, 30 times each", \
         0 with lines linetype 5 notitle
    unset logscale
    set format
    set xrange [*:*]
    set yrange [*:*]
}

# The main curve once more, in the terminal.
if (has('dimension.tsv')) {
    set terminal dumb 79 22
    unset output
    unset grid
    unset key
    set logscale xy
    set format y "10^{%T}"
    set xlabel "coordinates d"
    set ylabel ""
    set xrange [0.8:1300]
    set yrange [0.3:1e8]
    set title "variance of the gradient: score function (s), with baseline (b), path (p)"
    plot out.'/dimension.tsv' using 1:3 with points pointtype "s" notitle, \
         out.'/dimension.tsv' using 1:6 with points pointtype "b" notitle, \
         out.'/dimension.tsv' using 1:9 with points pointtype "p" notitle
}
