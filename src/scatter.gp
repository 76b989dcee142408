# scatter.gp: points coloured by digit, each digit written at the middle of its points, because ten colours
# are too many to tell apart. After load 'src/figure.gp' and set output:
#     call 'src/scatter.gp' FILE "x label" "y label"      FILE has columns label, x, y and a header
set terminal pngcairo size 700,700
set size ratio 1
set xlabel ARG2
set ylabel ARG3
unset key
set style textbox opaque fillcolor "white" border linecolor "#888888" margins 0.8,0.6
do for [d=0:9] {
    stats ARG1 using 2:($1 == d ? $3 : NaN) name "D" nooutput
    if (D_records > 0) { set label d+1 sprintf("%d", d) at D_mean_x, D_mean_y center front boxed font ",18" }
}
plot ARG1 using 2:3:(digit($1)) with points pointtype 7 pointsize 0.5 linecolor rgb variable
unset label
set size noratio
set terminal pngcairo size 900,560
set key default noenhanced spacing 1.2
