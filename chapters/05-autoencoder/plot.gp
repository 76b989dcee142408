# The figures of chapter 5. Run by make chapter5 as  gnuplot -e "out='build/05-autoencoder'" plot.gp
load 'src/figure.gp'
has(file) = int(system("awk 'END { print (NR > 1) }' '".out."/".file."' 2>/dev/null || echo 0"))
# What a run found out, by name; NaN where it did not come so far.
found(name) = real(system("awk -F '\t' '$1 == \"".name."\" { v = $2 } END { print v == \"\" ? \"nan\" : v }' '".out."/results.tsv' 2>/dev/null || echo nan"))

$digits << end
0
1
2
3
4
5
6
7
8
9
end

# Both losses over the epochs, on training and on test images.
if (has('losses.tsv')) {
    pca = found("pca_sq")
    set output out.'/losses.png'
    set multiplot layout 1,2
    set xlabel "epoch"
    epochs = int(system("awk 'END { print NR - 1 }' '".out."/losses.tsv'"))
    set xrange [0:epochs + 0.5]
    set key top right maxrows 3
    set ylabel "cross-entropy of an image, nats"
    plot out.'/losses.tsv' using 1:2 with linespoints linetype 1 pointsize 0.6 title "training images", \
         '' using 1:3 with linespoints linetype 2 pointsize 0.6 title "test images"
    set ylabel "squared error of an image, summed over 784 pixels"
    set yrange [0:*]
    plot out.'/losses.tsv' using 1:4 with linespoints linetype 1 pointsize 0.6 title "training images", \
         '' using 1:5 with linespoints linetype 2 pointsize 0.6 title "test images", \
         pca with lines linetype 5 title "PCA with as many numbers"
    unset multiplot
    set xrange [*:*]
    set yrange [*:*]
}

if (has('codes.tsv')) {
    d = int(system("awk 'NR == 1 { print NF - 1; exit }' '".out."/codes.tsv'"))

    # The plane in which the codes spread most. A code of one number has no plane.
    if (d > 1) {
        set output out.'/axes.png'
        call 'src/scatter.gp' out.'/axes.tsv' "first principal axis of the code" "second principal axis"
    }

    # The numbers of the code, two at a time: each panel has one across and one up.
    n = d < 6 ? d : 6
    if (n > 1) {
        set terminal pngcairo size 900,900 font "DejaVu Sans,11" background "white"
        set output out.'/pairs.png'
        set multiplot
        cell = 0.94 / (n - 1)
        unset key
        unset grid
        set border 15 linewidth 0.6 linecolor "#888888"
        set format x ""
        set format y ""
        set tics scale 0.5
        set offsets graph 0.04, graph 0.04, graph 0.04, graph 0.04
        do for [i=2:n] {
            do for [j=1:i-1] {
                set lmargin at screen 0.055 + (j - 1) * cell
                set rmargin at screen 0.055 + (j - 1) * cell + 0.94 * cell
                set bmargin at screen 0.05 + (n - i) * cell
                set tmargin at screen 0.05 + (n - i) * cell + 0.94 * cell
                if (i == n) { set xlabel sprintf("z%d", j) } else { unset xlabel }
                if (j == 1) { set ylabel sprintf("z%d", i) } else { unset ylabel }
                plot out.'/codes.tsv' skip 1 using (column(j+1)):(column(i+1)):(digit($1)) \
                     with points pointtype 7 pointsize 0.3 linecolor rgb variable
            }
        }
        # Which colour is which digit, in the corner that is left free.
        set lmargin at screen 0.62
        set rmargin at screen 0.98
        set bmargin at screen 0.80
        set tmargin at screen 0.95
        unset border
        unset tics
        set offsets
        unset xlabel
        unset ylabel
        set xrange [-0.5:4.5]
        set yrange [-0.7:1.7]
        plot $digits using (int($1) % 5):(1 - int($1) / 5):(digit($1)) with points pointtype 7 pointsize 2.4 \
                 linecolor rgb variable, \
             $digits using (int($1) % 5 + 0.3):(1 - int($1) / 5):(sprintf("%d", $1)) with labels font ",14"
        unset multiplot
        reset
        load 'src/figure.gp'
    }
}

# The run of the paper's network that was recorded, beside the paper's figures.
reset
load 'src/figure.gp'
set output out.'/paper.png'
set xlabel "epoch"
set ylabel "squared error of an image, summed over 784 pixels"
set logscale y
set yrange [1.5:40]
set ytics (2, 3, 5, 8, 13, 20, 30)
set key top right
curve = 'chapters/05-autoencoder/recorded/paper_mnist.losses'
plot 13.87 with lines linetype 5 title "PCA, 30 numbers: 13.87", \
     8.01 with lines linetype 4 title "logistic PCA (2006): 8.01", \
     3.00 with lines linetype 2 title "autoencoder (2006): 3.00", \
     curve using 1:5 with lines linetype 1 title "ours, test images", \
     curve using 1:4 with lines linetype 6 dashtype 2 title "ours, training images"
unset logscale
set ytics autofreq
set yrange [*:*]

# The curve of learning once more, in the terminal.
if (has('losses.tsv')) {
    set terminal dumb 79 22
    unset output
    unset grid
    unset key
    set xlabel "epoch"
    set ylabel ""
    set xrange [0:epochs + 0.5]
    set offsets 0, 0, graph 0.05, graph 0.05
    set title "cross-entropy of an image in nats: training (*) and test images (#)"
    plot out.'/losses.tsv' using 1:2 with points pointtype "*" notitle, \
         out.'/losses.tsv' using 1:3 with points pointtype "#" notitle
}
