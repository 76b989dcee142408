#!/bin/sh
# make.sh: the chapters as HTML pages with MathML in build/book, readable without a network.
#     sh src/book/make.sh 01-encoder 02-bottleneck ...        from the project's root
set -u
command -v pandoc >/dev/null 2>&1 || {
    echo "make: pandoc is missing, which makes the HTML book; sh src/setup.sh --dev installs it" >&2
    exit 1
}
book=build/book
rm -rf "$book.tmp"
mkdir -p "$book.tmp"
cp src/book/style.css "$book.tmp/"
cp -R figures "$book.tmp/figures"

# A page is written from the folder of its source, so that links.lua can tell what a link meant there.
page() { # source, name of the page, prefix of the folder that its links start from
    title=$(sed -n 's/^# *//p' "$1" | head -n 1)
    pandoc -f gfm+tex_math_dollars -t html5 --standalone --mathml --metadata "pagetitle=$title" \
        --metadata "folder=$3" --lua-filter src/book/links.lua --css style.css \
        --include-before-body src/book/head.html -o "$book.tmp/$2" "$1" || exit 1
}

page README.md index.html ""
page data/README.md data.html data
for dir; do
    page "chapters/$dir/README.md" "$dir.html" "chapters/$dir"
    mkdir -p "$book.tmp/$dir"
    cp "chapters/$dir"/*.c "$book.tmp/$dir/"
done
cp LICENSE "$book.tmp/" 2>/dev/null
rm -rf "$book" && mv "$book.tmp" "$book" && echo "The book begins at $book/index.html"
