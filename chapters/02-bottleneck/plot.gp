# The figures of chapter 2. Run by make chapter2 as  gnuplot -e "out='build/02-bottleneck'" plot.gp
load 'src/figure.gp'

# Without curves, or after an interruption, some tables are missing or have no lines: lines(name) counts those
# below the header.
lines(name) = int(system("cat '".out."/".name."' 2>/dev/null | grep -c '^[0-9]'"))
# A code's line in net-NAME.tsv is drawn on the curve of PCA in pca-NAME.tsv.
have_curves = lines("net-curves.tsv") > 0
panels = have_curves ? 2 : 1

# One number out of two: a cloud of points, the line through its middle m, and the shadow of one point x.
set terminal pngcairo size 700,420 font "DejaVu Sans,12"
set output out.'/shadow.png'
set size ratio -1
set xrange [-3.6:3.6]
set yrange [-2.1:2.1]
set xlabel "pixel 1, minus its mean"
set ylabel "pixel 2, minus its mean"
unset key
turn = 30 * pi / 180
along(k) = 0.8 * (k - 30.5) / 8 - 0.3 * sin(5.0 * k)
beside(k) = 0.8 * sin(1.1 * k * k) * cos(0.9 * along(k) / 2)
east(a, b) = a * cos(turn) - b * sin(turn)
north(a, b) = a * sin(turn) + b * cos(turn)
a = 2.2 # of x, along the line and beside it
b = -1.2
corner = 0.18
set arrow from east(a,0),north(a,0) to east(a,b),north(a,b) nohead linewidth 2.5 linecolor "#D55E00" dashtype 2 front
set arrow from east(a-corner,0),north(a-corner,0) to east(a-corner,-corner),north(a-corner,-corner) nohead linecolor "#444444" front
set arrow from east(a-corner,-corner),north(a-corner,-corner) to east(a,-corner),north(a,-corner) nohead linecolor "#444444" front
set arrow from 0,0 to east(a,0),north(a,0) nohead linewidth 4 linecolor "#000000" front
set arrow from 0,0 to east(a,b),north(a,b) nohead linewidth 1.5 linecolor "#888888" front
set style textbox opaque fillcolor "white" noborder margins 0.3,0.2
set label "m" at 0,0 right offset -0.8,0.8 front boxed
set label "z" at east(a/2,0),north(a/2,0) right offset -0.8,0.8 front boxed
set label "x" at east(a,b),north(a,b) left offset 1,-0.3 front boxed
set label "x̂ = m + z q" at east(a,0),north(a,0) right offset -0.3,0.9 front boxed
set label "lost" at east(a,b/2),north(a,b/2) left offset 1,0 textcolor "#D55E00" front boxed
set label "direction q" at east(-3.2,0),north(-3.2,0) left offset 1.5,-0.4 textcolor "#0072B2" front boxed
set print $cloud
do for [k=1:60] { print sprintf("%g\t%g", east(along(k), beside(k)), north(along(k), beside(k))) }
set print $line
do for [k=-4:4:8] { print sprintf("%g\t%g", east(k, 0), north(k, 0)) }
set print $three
print sprintf("%g\t%g\n%g\t%g\n0\t0", east(a, b), north(a, b), east(a, 0), north(a, 0))
unset print
plot $cloud with points pointtype 7 pointsize 0.7 linecolor "#999999", $line linetype 1, \
     $three with points pointtype 7 pointsize 1.4 linecolor "#000000"
unset arrow
unset label
set size noratio
set key
set xrange [*:*]
set yrange [*:*]
set terminal pngcairo size 900,560 font "DejaVu Sans,12"

# What is left at each size of code: PCA as a line, the trained networks as circles on it.
if (lines("net-digits.tsv") > 0) {
    set output out.'/errors.png'
    set multiplot layout 1,panels
    set xlabel "numbers in the code, d"
    set xrange [0:31]
    set yrange [0:*]
    set ylabel "squared error per test image"
    do for [name in have_curves ? "digits curves" : "digits"] {
        set title name
        plot out.'/pca-'.name.'.tsv' using 1:3 linetype 1 title "PCA", \
             out.'/net-'.name.'.tsv' using 1:5 with points linetype 2 pointtype 6 pointsize 1.8 title "trained network"
    }
    unset multiplot
    unset title

}

# Plain gradient descent and Adam from the same start, and the floor below them. A run of no epochs has nothing
# to show here.
if (lines("race.tsv") > 0 && lines("net-digits.tsv") > 0) {
    set output out.'/race.png'
    floor_of_pca = real(system("tail -n +2 '".out."/net-digits.tsv' | sort -n | tail -n 1 | cut -f 2"))
    set xlabel "epoch"
    set xrange [1:*]
    set yrange [0.97*floor_of_pca:40]
    set logscale y
    set ytics add (14, 15, 16, 18, 20, 25, 30, 35)
    set ylabel "squared error of a training image, during the epoch"
    plot out.'/race.tsv' using 1:2 with linespoints linetype 1 title "x: plain, rate 0.015", \
         '' using 1:4 with linespoints linetype 2 title "x: Adam, rate 0.005", \
         '' using 1:5 with linespoints linetype 6 title "x - m: plain, rate 0.015", \
         '' using 1:6 with linespoints linetype 3 title "x - m: plain, rate 0.1", \
         '' using 1:7 with linespoints linetype 4 title "x - m: Adam, rate 0.005", \
         floor_of_pca linetype 5 title "what PCA leaves"
    unset logscale
    set ytics auto
    set yrange [*:*]
}

if (lines("angles-digits.tsv") > 0) {
    # The angles between what the decoder can paint and the plane of PCA.
    set output out.'/angles.png'
    set multiplot layout 1,panels
    set xlabel "numbers in the code, d"
    set ylabel "principal angles, in degrees"
    set key bottom right
    set yrange [0.1:100]
    set logscale y
    set xrange [0:31]
    do for [name in have_curves ? "digits curves" : "digits"] {
        set title name
        plot out.'/angles-'.name.'.tsv' using 1:3 with points linetype 1 pointtype 6 pointsize 1 title "each angle", \
             '' using ($1 == $2 ? $1 : NaN):3 with points linetype 2 pointtype 7 pointsize 1 title "the largest"
    }
    unset multiplot
    unset logscale
    unset title
    set key top right
}

# Digits, curves and the bar, each as a part of what there is.
if (lines("pca-bar.tsv") > 0) {
    set output out.'/manifolds.png'
    set xlabel "directions kept by PCA"
    set ylabel "left of the test images' squared error"
    set format y "%g %%"
    set xrange [0:30]
    set yrange [0:100]
    set key top right
    plot out.'/pca-digits.tsv' using 1:4 linetype 1 title "digits (nobody knows how many numbers)", \
         out.'/pca-'.(have_curves ? "curves" : "digits").'.tsv' using 1:(have_curves ? $4 : NaN) linetype 2 title (have_curves ? "curves (six numbers)" : ""), \
         out.'/pca-bar.tsv' using 1:4 linetype 3 title "sliding bar (one number)"
    set format y
    set xrange [*:*]
    set yrange [*:*]
}

# The code of two numbers: PCA's on the left, the network's on the right.
if (lines("codes.tsv") > 0) {
    set terminal pngcairo size 1100,580 font "DejaVu Sans,12"
    set output out.'/codes.png'
    set multiplot layout 1,2
    set size ratio 1
    set style textbox opaque fillcolor "white" border linecolor "#888888" margins 0.7,0.5
    unset key
    do for [panel=0:1] {
        set title (panel ? "code of the trained network" : "first two principal components")
        set xlabel "z_1"
        set ylabel "z_2"
        plot out.'/codes.tsv' using 2*panel+2:2*panel+3:(digit($1)) with points pointtype 7 pointsize 0.5 linecolor rgb variable, \
             out.'/code-means.tsv' using 2*panel+2:2*panel+3:1 with labels boxed font ",12"
    }
    unset multiplot
    unset title
    set size noratio
    set key
}

# The errors once more, in the terminal.
set terminal dumb 79 22
unset output
unset grid
set xlabel "numbers in the code, d"
set ylabel ""
set title "squared error per test digit: PCA (.), trained network (O)"
set xrange [0:31]
set yrange [0:*]
if (lines("net-digits.tsv") > 0) {
    plot out.'/pca-digits.tsv' using 1:3 with points pointtype "." notitle, \
         out.'/net-digits.tsv' using 1:5 with points pointtype "O" notitle
} else {
    plot out.'/pca-digits.tsv' using 1:3 with points pointtype "." notitle
}
