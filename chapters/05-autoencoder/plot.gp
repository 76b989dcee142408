# The figures of chapter 5. Run by make chapter5 as  gnuplot -e "out='build/05-autoencoder'" plot.gp
load 'src/figure.gp'

# The loss over the epochs. A run of no epochs has no curve.
stats out.'/losses.tsv' using 1 name "EPOCHS" nooutput
if (EPOCHS_records > 1) {
    set output out.'/losses.png'
    set xlabel "epoch"
    set ylabel "cross-entropy of an image, nats"
    set key top right
    plot out.'/losses.tsv' using 1:2 linetype 2 title "training images", \
         '' using 1:3 linetype 1 title "test images"
}

# The codes in the plane in which they spread most.
set output out.'/axes.png'
call 'src/scatter.gp' out.'/axes.tsv' "first principal axis of the code" "second principal axis of the code"

# Every number of the code against every other, up to six.
set output out.'/pairs.png'
stats out.'/codes.tsv' matrix skip 1 nooutput
d = STATS_size_x - 1
d = d > 6 ? 6 : d
set terminal pngcairo size 1000,1000 font "DejaVu Sans,10"
set multiplot
unset key
unset tics
unset grid
set border 15
do for [i=1:d] {
    do for [j=1:i-1] {
        set size 1.0/(d-1), 1.0/(d-1)
        set origin (j-1)*1.0/(d-1), 1.0-(i-1)*1.0/(d-1)
        set xlabel sprintf("z%d", j) offset 0,0.4
        set ylabel sprintf("z%d", i) offset 1,0
        plot out.'/codes.tsv' skip 1 using (column(j+1)):(column(i+1)):(digit($1)) with points pointtype 7 pointsize 0.25 linecolor rgb variable
    }
}
unset multiplot
set size 1,1
set origin 0,0
load 'chapters/05-autoencoder/tile.gp'

# The loss once more, in the terminal.
if (EPOCHS_records > 1) {
    reset
    set datafile separator "\t"
    set terminal dumb 79 20
    unset output
    set title "cross-entropy, nats: training (.) and test (*)"
    set xlabel "epoch"
    unset key
    plot out.'/losses.tsv' using 1:2 with points pointtype ".", '' using 1:3 with points pointtype "*"
}
