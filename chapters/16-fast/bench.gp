# The figures of make bench.
load 'src/figure.gp'
set output out.'/bench.png'
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set xtics rotate by -12
set ylabel "seconds for an epoch of 60,000 images"
set yrange [0:*]
set key top left
plot out.'/bars.tsv' skip 1 using 2:xtic(1) linetype 1 title "1 core", '' skip 1 using 3 linetype 7 title "2 cores"

set style data linespoints
set xtics norotate
set output out.'/grow.png'
set terminal pngcairo size 1100,420
set multiplot layout 1,3
set yrange [0:*]
set xrange [0:65000]
set xtics 20000
set ylabel "seconds an epoch, 2 cores"
set xlabel "training images"
unset key
plot '< grep images '.out.'/grow.tsv' using 2:3 linetype 1
set xrange [*:*]
set xtics autofreq
set logscale x 2
set logscale y
set yrange [0.02:1]
set xlabel "width of the hidden layers, %"
set ylabel ""
plot '< grep width '.out.'/grow.tsv' using 2:3 linetype 1
unset logscale y
set yrange [0:*]
set xlabel "batch"
plot '< grep batch '.out.'/grow.tsv' using 2:3 linetype 1
unset multiplot
