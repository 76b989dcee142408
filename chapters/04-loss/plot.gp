# The figures of chapter 4. Run by make chapter4 as  gnuplot -e "out='build/04-loss'" plot.gp
load 'src/figure.gp'
# A loss has the same line in every figure, also where it is the only one.
line_of(name) = name eq "bce" ? 1 : name eq "squared" ? 2 : 3
has(file) = int(system('test -s "'.out.'/'.file.'" && echo 1 || echo 0'))

# Loss and gradient of a black pixel against its logit.
if (has('gradient.tsv')) {
    set output out.'/gradient.png'
    set multiplot layout 1,2
    set xlabel "logit s of a black pixel (x = 0)"
    set xrange [-10:10]
    set key top left
    set ylabel "loss"
    set yrange [-0.2:6]
    plot for [k=2:4] out.'/gradient.tsv' using 1:k linetype k-1 title columnheader(k)
    set ylabel "gradient dL/ds"
    set yrange [-0.04:1.2]
    plot for [k=5:7] out.'/gradient.tsv' using 1:k linetype k-4 title columnheader(k-3)
    unset multiplot
}

# What rounding does to three forms of one formula.
if (has('float.tsv')) {
    set output out.'/float.png'
    set xrange [-40:110]
    set xlabel "logit s of a black pixel (x = 0)"
    set ylabel "relative error of the loss, in float"
    set logscale y
    set format y "10^{%T}"
    set yrange [1e-8:100]
    set key at graph 0.97,0.98 top right maxrows 3 samplen 2
    set arrow 1 from 16.64,1e-8 to 16.64,1 nohead linetype 5
    set label 1 "infinite from here on" at 17.5,0.5 textcolor rgb "#D55E00"
    set arrow 2 from 88.73,1e-8 to 88.73,1e-2 nohead linetype 5
    set label 2 "infinite" at 89.5,5e-3 textcolor rgb "#009E73"
    plot out.'/float.tsv' using 1:2 linetype 2 dashtype 1 linewidth 1.5 title "by probability", \
         '' using 1:3 linetype 3 dashtype 1 linewidth 1.5 title "log(1+e^s) - sx", \
         '' using 1:4 linetype 1 linewidth 1.5 title "stable"
    unset label
    unset arrow
    unset logscale
    set format
}

# How long one pixel, and a whole network, need to come back from a confident mistake.
if (has('escape.tsv') && has('stall.tsv')) {
    set output out.'/stall.png'
    set multiplot layout 1,2
    set key inside top left Left reverse maxrows 4
    set xlabel "logit s at the start (black pixel)"
    set ylabel "time until gray: steps times rate"
    set xrange [0.5:10.5]
    set xtics 1
    set logscale y
    set yrange [1:1e6]
    set format y "10^{%T}"
    plot for [k=2:4] out.'/escape.tsv' using 1:k with points linetype k-1 pointsize 1.3 title columnheader(k), \
         for [k=5:7] out.'/escape.tsv' using 1:k linetype 5 title k == 5 ? "calculus" : ""
    unset logscale
    set format
    set xtics autofreq
    set xrange [*:*]
    set key inside top right noreverse Right maxrows 3
    set xlabel "steps of plain gradient descent"
    set ylabel "squared error of an image, 500 test images"
    set yrange [0:*]
    set offsets 0, 0, graph 0.35, 0 # room for the key, wherever the curves begin
    losses = int(system("head -n 1 '".out."/stall.tsv' | awk '{ print int((NF - 1) / 3) }'"))
    name(k) = system("head -n 1 '".out."/stall.tsv' | awk '{ sub(/_bce/, \"\", $".(3*k+2)."); print $".(3*k+2)." }'")
    plot for [k=0:losses-1] out.'/stall.tsv' using 1:(column(3*k+3)) linetype line_of(name(k)) title name(k)
    unset offsets
    unset multiplot
}

# The cross-entropy of gray pixels, and its floor.
if (has('floor.tsv')) {
    set output out.'/floor.png'
    set key at graph 0.5,0.98 center top maxrows 5 noreverse Right samplen 4
    set xlabel "reconstruction xhat"
    set ylabel "cross-entropy of one pixel, nats"
    set xrange [0:1]
    set yrange [0:2]
    plot out.'/floor.tsv' using 1:2 linetype 1 title "x = 0", '' using 1:3 linetype 2 title "x = 0.1", \
         '' using 1:4 linetype 3 title "x = 0.3", '' using 1:5 linetype 4 title "x = 0.5", \
         '' using 1:6 linetype 5 title "entropy of x, at xhat = x"
}

# How the same network learns under each loss, judged by two measures.
if (has('training.tsv')) {
    losses = int(system("head -n 1 '".out."/training.tsv' | awk '{ print int((NF - 1) / 3) }'"))
    name(k) = system("head -n 1 '".out."/training.tsv' | awk '{ sub(/_bce/, \"\", $".(3*k+2)."); print $".(3*k+2)." }'")
    set output out.'/training.png'
    set multiplot layout 1,2
    set key inside top right maxrows 3 noreverse Right
    set xlabel "epoch"
    set xrange [0:*]
    set logscale y
    set ylabel "squared error of a test image"
    set yrange [10:200]
    set ytics add (10, 15, 20, 30, 50, 100, 200)
    plot for [k=0:losses-1] out.'/training.tsv' using 1:(column(3*k+3)) with linespoints linetype line_of(name(k)) title "trained on ".name(k)
    set ylabel "cross-entropy of a test image, nats"
    set yrange [50:1000]
    set ytics add (50, 100, 200, 500, 1000)
    set key at graph 0.98,0.75
    plot for [k=0:losses-1] out.'/training.tsv' using 1:(column(3*k+2)) with linespoints linetype line_of(name(k)) title "trained on ".name(k)
    unset multiplot
    unset logscale
    set ytics autofreq
}

# The gradient once more, in the terminal.
if (has('gradient.tsv')) {
    set terminal dumb 79 22
    unset output
    unset grid
    set key inside top left maxrows 4
    set xlabel "logit s of a black pixel"
    set ylabel ""
    set title "gradient of the loss: cross-entropy (b), squared error (s), absolute error (a)"
    set xrange [-10:10]
    set yrange [0:1.1]
    plot out.'/gradient.tsv' using 1:5 every 4 with points pointtype "b" notitle, \
         '' using 1:6 every 4 with points pointtype "s" notitle, \
         '' using 1:7 every 4 with points pointtype "a" notitle
}
