# The picture of the tile: C (M,N) += A (M,K) B (K,N). Part of plot.gp; draws no data.
reset
set terminal pngcairo size 900,620 font "DejaVu Sans,12" background "white"
set output out.'/tile.png'
unset border; unset tics; unset key; unset grid
set xrange [0:17.4]; set yrange [0:12]
ink = "#0072B2"; warm = "#D55E00"; pale = "#cfe3f1"; soft = "#f7dfcf"
# A at the left, B at the top right, C below it.
set object 1 rectangle from 0.5,0.5 to 5.5,5.5 fillcolor rgb "#f4f4f0" fillstyle solid border linecolor "#444444"
set object 2 rectangle from 6.5,6.5 to 12.5,11.5 fillcolor rgb "#f4f4f0" fillstyle solid border linecolor "#444444"
set object 3 rectangle from 6.5,0.5 to 12.5,5.5 fillcolor rgb "#f4f4f0" fillstyle solid border linecolor "#444444"
# Eight rows of A, a strip of B, the tile of C.
set object 4 rectangle from 0.5,2.7 to 5.5,3.7 fillcolor rgb soft fillstyle solid noborder
set object 5 rectangle from 8.3,6.5 to 10.3,11.5 fillcolor rgb pale fillstyle solid noborder
set object 6 rectangle from 8.3,2.7 to 10.3,3.7 fillcolor rgb "#009E73" fillstyle solid 0.55 border linecolor "#00694d" linewidth 2
# One k: a column of eight numbers in A, a row of three vectors in B.
set object 7 rectangle from 3.0,2.7 to 3.25,3.7 fillcolor rgb warm fillstyle solid noborder
do for [v=0:2] {
    set object 8+v rectangle from 8.3+v*0.667,8.85 to 8.3+(v+1)*0.667-0.04,9.1 fillcolor rgb ink fillstyle solid noborder
}
set label 1 "A  (M, K)" at 3,5.8 center
set label 2 "B  (K, N)" at 9.5,11.8 center
set label 3 "C  (M, N)" at 9.5,0.15 center
set label 4 "8 rows" at 0.6,3.95 left textcolor rgb warm
set label 5 "k" at 3.12,2.45 center textcolor rgb warm
set label 6 "k" at 8.1,8.97 right textcolor rgb ink
set label 7 "a strip of 48 columns:\nthree vectors of 16" at 13,9.1 left textcolor rgb ink
set label 8 "the tile: 8 x 48 sums,\n24 registers, kept there\nuntil k has run through" at 13,3.6 left textcolor rgb "#00694d"
set label 9 "for each k: 8 numbers, each\ncopied to all lanes of a vector" at 0.5,1.9 left textcolor rgb warm
set arrow 1 from 12.9,9.0 to 10.4,9.0 linecolor rgb ink filled
set arrow 2 from 12.9,3.2 to 10.4,3.2 linecolor rgb "#00694d" filled
plot NaN notitle
