# The figures of chapter 3. Run by make chapter3 as  gnuplot -e "out='build/03-decoder'" plot.gp
load 'src/figure.gp'

# What a run found out, by name; NaN where it did not come so far.
found(name) = real(system("cat '".out."/results.tsv' | awk -F '\t' '$1 == \"".name."\" { v = $2 } END { print v == \"\" ? \"nan\" : v }'"))
black = found("black_sq")
nearest = found("nearest_sq")
several = found("nearest_mean_sq")
pixels = found("nearest_pixels_sq")
epochs = found("epochs") > 0 ? found("epochs") : 1 # an axis without length cannot be drawn

# The error while the decoder learns, with those it has to beat.
set output out.'/learning.png'
set xlabel "epoch"
set ylabel "squared error of a picture (sum over 784 pixels)"
set yrange [0:*]
set xrange [0:epochs]
set key at graph 0.98,0.2
line_name(y, name) = y == y ? sprintf("set label \"%s\" at graph 0.99,first %g right offset 0,0.6", name, y) : ""
eval line_name(black, "all black")
eval line_name(nearest, "nearest training curve in knobs")
eval line_name(several, "mean of the 8 nearest")
if (pixels == pixels) { set label "nearest in pixels (looks at the answer)" at graph 0.01,first pixels left offset 0,-0.6 }
plot black with lines linetype 5 notitle, nearest with lines linetype 3 notitle, \
     several with lines linetype 4 notitle, pixels with lines linetype 6 dashtype 3 notitle, \
     out.'/learning.tsv' using 1:2 with linespoints linetype 1 title "decoder, training", \
     '' using 1:3 with linespoints linetype 2 title "decoder, test"
unset label
set xrange [*:*]

# What measure.c adds is missing where the training was interrupted.
measured = system("test -f '".out."/steps.tsv' && test -f '".out."/grid.tsv' && test -f '".out."/length.tsv' && echo yes") eq "yes"
if (measured) {

# Does the picture move or jump when a knob is turned? The third knob, x of the middle point.
set output out.'/steps.png'
set xlabel "position of the knob: x of the middle point"
set ylabel "how far the picture moves in one step of 1/200"
set key inside top right
set logscale y
set format y "%g"
set yrange [0.005:60]
plot out.'/steps.tsv' using ($1 == 3 ? $2 : NaN):4 with impulses linetype 3 linewidth 2 dashtype 1 title "nearest training curve", \
     '' using ($1 == 3 ? $2 : NaN):3 with lines linetype 2 dashtype 1 title "decoder"
unset logscale
set format y
set yrange [*:*]

# Where in the picture a point makes a curve hard to draw. Both maps have one scale, from the least error to the most.
extreme(sign) = real(system("awk -F '\t' 'NR > 1 { for (i = 3; i <= 4; i++) if ($i != \"nan\" && $i != \"\" && (!n++ || ".sign." * $i > ".sign." * m)) m = $i } END { print n ? m : 0 }' '".out."/grid.tsv'"))
set output out.'/map.png'
set terminal pngcairo size 900,420 font "DejaVu Sans,12" background "white"
set multiplot layout 1,2
set size square
set xrange [4:24]
set yrange [24:4]
set xtics 4,4,24
set ytics 4,4,24
set xlabel "column"
set ylabel "row"
set cblabel "squared error of a picture"
set cbrange [floor(2 * extreme("-1")) / 2.0:floor(2 * extreme("1")) / 2.0 + 0.5]
set palette defined (0 "#F7FBFF", 0.35 "#9ECAE1", 0.7 "#3182BD", 1 "#08306B")
unset key
unset grid
set title "where the middle point lies"
plot out.'/grid.tsv' using 1:2:3 with image
set title "where an end lies"
plot out.'/grid.tsv' using 1:2:4 with image
unset multiplot
unset title
set terminal pngcairo size 900,560 font "DejaVu Sans,12" background "white"
set size nosquare
set grid linecolor "#dddddd" linewidth 1
set tics autofreq
set xrange [*:*]

# Long curves are hard, because they have more ink to put in the wrong place.
set output out.'/length.png'
set xlabel "length of the curve in pixels"
set ylabel "squared error of a picture (sum over 784 pixels)"
set yrange [0:*]
set key inside top left
plot out.'/length.tsv' using 1:3 with linespoints linetype 3 title "nearest training curve", \
     '' using 1:2 with linespoints linetype 2 title "decoder"
}

# The learning curve once more, in the terminal.
set terminal dumb 79 22
unset output
unset grid
set xlabel "epoch"
set ylabel ""
set xrange [0:epochs]
set yrange [0:*]
unset key
set title "squared error on test curves: decoder (*), nearest training curve (-)"
plot nearest with points pointtype "-" notitle, \
     out.'/learning.tsv' using 1:3 with points pointtype "*" notitle
