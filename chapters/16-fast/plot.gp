# The figures of chapter 16. Run by make chapter16 as  gnuplot -e "out='build/16-fast'" plot.gp
load 'chapters/16-fast/tile.gp'
reset
load 'src/figure.gp'
has(file) = int(system("awk 'END { print (NR > 1) }' '".out."/".file."' 2>/dev/null || echo 0"))
# What a run found out, by name; NaN where it did not come so far.
found(name) = real(system("awk -F '\t' '$1 == \"".name."\" { v = $2 } END { print v == \"\" ? \"nan\" : v }' '".out."/results.tsv' 2>/dev/null || echo nan"))

# The rungs, each as a part of the peak. Row 0 of the table is the peak itself.
array rung[8] = ["three\nloops", "their\norder", "registers", "order and\ncompiler's\nvectors", \
    "registers\nand vectors", "strips\nfor the\ncache", "training\nstep,\nplain", "training\nstep,\nfused"]
if (has('ladder.tsv')) {
    cores = found("cores")
    set output out.'/ladder.png'
    set style data boxes
    set style fill solid 0.9 noborder
    set boxwidth 0.36
    set xrange [0.4:8.6]
    set yrange [0:124]
    set ytics 0,20,100
    set bmargin 4.5
    set ylabel "percent of the peak"
    set key top left
    set grid ytics
    set xtics ("" 1)
    do for [k=1:8] { set xtics add (rung[k] k) }
    plot out.'/ladder.tsv' skip 2 using ($1 - 0.19):3 linetype 1 title "1 core", \
         '' skip 2 using ($1 + 0.19):5 linetype 7 title sprintf("%d cores", cores), \
         '' skip 2 using ($1 - 0.19):3:(sprintf("%.3g", $3)) with labels offset 0,0.6 font ",9" notitle, \
         '' skip 2 using ($1 + 0.19):5:(sprintf("%.3g", $5)) with labels offset 0,0.6 font ",9" notitle, \
         100 with lines linetype 5 title "multiply-adds alone"
    reset
    load 'src/figure.gp'
}

# The roof: what memory can feed, and what the core can compute.
if (has('roofline.tsv')) {
    memory = found("memory_1")
    peak = found("rate_peak_1")
    set output out.'/roofline.png'
    set logscale xy
    set xrange [0.25:100]
    set yrange [5:500]
    set xtics (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
    set ytics (5, 10, 20, 50, 100, 200, 500)
    set xlabel "operations for each byte that must come or go at least once"
    set ylabel "billions of operations a second, 1 core"
    set key bottom right
    roof(x) = memory * x < peak ? memory * x : peak
    plot roof(x) linetype 5 title sprintf("the roof: %.0f GB/s from memory, %.0f billion a second", memory, peak), \
         out.'/roofline.tsv' skip 1 using 1:($3 == 0 ? $2 : NaN) with points linetype 1 pointsize 1.4 title "products of the large layers", \
         '' skip 1 using 1:($3 == 1 ? $2 : NaN) with points linetype 7 pointsize 1.4 title "products with six on one side", \
         '' skip 1 using 1:($3 == 2 ? $2 : NaN) with points linetype 2 pointsize 1.6 title "Adam"
    reset
    load 'src/figure.gp'
}

# The error of e^x, in ten millionths of the value.
if (has('exponential.tsv')) {
    set output out.'/exponential.png'
    set xlabel "x"
    set ylabel "error of our e^x, in units of 10^{-7} of the value"
    set xrange [-2.08:0]
    set yrange [-1.5:1.5]
    set key top left
    half = 2.0**-24 * 1e7
    plot out.'/exponential.tsv' skip 1 using 1:2 with points linetype 1 pointsize 0.4 title "ours", \
         half with lines linetype 5 title "half the distance between two floats, at worst", \
         -half with lines linetype 5 notitle
}
