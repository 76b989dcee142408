# The figures of chapter 1. Run by make chapter1 as  gnuplot -e "out='build/01-encoder'" plot.gp
load 'src/figure.gp'

# Four activations and their slopes.
set output out.'/activations.png'
set multiplot layout 1,2
set xlabel "affine sum s"
set key top left
set yrange [-1.4:4.2]
set ylabel "output h = f(s)"
plot for [k=0:3] out.'/activations.tsv' using 1:(column(2*k+2)) title columnheader(2*k+2)
set ylabel "slope f'(s)"
set yrange [-0.05:1.45]
set key top right
plot for [k=0:3] out.'/activations.tsv' using 1:(column(2*k+3)) title columnheader(2*k+3)
unset multiplot
set yrange [*:*]

# The size of the signal through a tower of layers.
set output out.'/tower.png'
set logscale y
set format y "10^{%T}"
set xlabel "layer"
set ylabel "root mean square of the layer's outputs"
set key top left
set xrange [1:20]
set xtics 1,1,20
plot out.'/tower.tsv' using 1:4 with linespoints linetype 2 title "weights in (-1, 1)", \
     '' using 1:2 with linespoints linetype 1 title "He", \
     '' using 1:3 with linespoints linetype 3 title "Xavier", \
     '' using 1:5 with linespoints linetype 4 title "weights in (-0.05, 0.05)"
set xrange [*:*]
set xtics autofreq

# The V: the error of a finite difference against the step.
set output out.'/v-curve.png'
set logscale x
set format x "10^{%T}"
set xlabel "step h"
set ylabel "relative error of the derivative"
set yrange [1e-16:1e4]
set key at graph 0.5,0.98 center top maxrows 4 samplen 3
plot out.'/v-curve.tsv' using 1:2 linetype 2 title "forward difference", \
     '' using 1:3 linetype 1 title "central difference", \
     '' using 1:4 linetype 3 title "Richardson", \
     '' using 1:5 linetype 4 title "central, in float", \
     '' using 1:6 linecolor "#888888" linewidth 1.2 dashtype 1 title "theory: |f'''|h²/6", \
     '' using 1:7 linecolor "#888888" linewidth 1.2 dashtype 2 title "theory: rounding"
unset logscale
set format
set yrange [*:*]

# Where a network that has learned nothing puts the digits.
set output out.'/codes.png'
call 'src/scatter.gp' out.'/codes.tsv' "first number of the code" "second number of the code"

# What the small encoder has learned.
set output out.'/learning.png'
set xlabel "epoch"
set ylabel "test digits recognised, of 100"
set y2label "training loss"
set yrange [0:100]
set y2range [0:*]
set y2tics
set ytics nomirror
set key at graph 0.97,0.6 right
plot out.'/learning.tsv' using 1:3 with linespoints linetype 1 title "recognised", \
     '' using 1:2 axes x1y2 with linespoints linetype 2 title "loss (right)"
unset y2label
unset y2tics
set yrange [*:*]
set key default noenhanced spacing 1.2

# The V once more, in the terminal.
set terminal dumb 79 22
unset output
unset grid
set logscale xy
set format x "1e%T"
set format y "1e%T"
set xlabel "step h"
set ylabel ""
set title "relative error of the central difference, in double (*) and in float (#)"
set yrange [1e-12:1]
plot out.'/v-curve.tsv' using 1:3 with points pointtype "*" notitle, \
     '' using 1:5 with points pointtype "#" notitle
