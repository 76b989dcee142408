# figure.gp: how all figures of the book look. A chapter's plot.gp begins with  load 'src/figure.gp'
# and is given the folder of its data as the variable out.
set terminal pngcairo size 900,560 font "DejaVu Sans,12" background "white"
set encoding utf8
set datafile separator "\t"
set border 3 linecolor "#444444"
set tics nomirror
set grid linecolor "#dddddd" linewidth 1
set key noenhanced spacing 1.2
set style data lines

# Okabe and Ito's colours, told apart by readers with any kind of colour vision; each also has a dash and a
# point of its own, so that the figures survive a black-and-white printer.
set linetype 1 linecolor "#0072B2" linewidth 2.5 dashtype 1 pointtype 7
set linetype 2 linecolor "#D55E00" linewidth 2.5 dashtype 2 pointtype 5
set linetype 3 linecolor "#009E73" linewidth 2.5 dashtype 4 pointtype 9
set linetype 4 linecolor "#CC79A7" linewidth 2.5 dashtype 5 pointtype 11
set linetype 5 linecolor "#000000" linewidth 1.5 dashtype 3 pointtype 13
set linetype 6 linecolor "#56B4E9" linewidth 2.5 dashtype 1 pointtype 4
set linetype 7 linecolor "#E69F00" linewidth 2.5 dashtype 2 pointtype 6
set linetype 8 linecolor "#F0E442" linewidth 2.5 dashtype 4 pointtype 8
set linetype cycle 8

# Ten colours for ten digits, for scatter plots: linecolor rgb digit(label). Ten are too many to be safe by
# colour alone, so a scatter plot also writes each digit at the middle of its points.
array digit_colour[10] = [0x000000, 0xE69F00, 0x56B4E9, 0x009E73, 0xC8B400, 0x0072B2, 0xD55E00, 0xCC79A7, 0x882255, 0x999999]
digit(label) = label < 0 ? 0x999999 : digit_colour[int(label) + 1] # no label: gray
