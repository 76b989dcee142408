#!/bin/sh
# setup.sh: installs what is missing to build and run the book, with apt, dnf, pacman or brew.
#
#     sh src/setup.sh          what a reader needs: C compiler, make, libpng, zlib, cmocka, gnuplot
#     sh src/setup.sh --dev    and what the full checks need: clang, clang-format, valgrind, pandoc, git
#
# It tries each thing (a header by compiling with it, gnuplot by drawing with it), says what it is going to
# install, and installs only that. Where nothing is missing it says nothing and needs no rights.

set -u
me=setup.sh

complain() {
    printf '%s: %s\n' "$me" "$*" >&2
}

have() {
    command -v "$1" >/dev/null 2>&1
}

dev=
for option in "$@"; do
    case $option in
    --dev) dev=yes ;;
    --help)
        echo "usage: sh src/setup.sh [--dev]"
        exit 0
        ;;
    *)
        complain "$option: no such option; usage: sh src/setup.sh [--dev]"
        exit 2
        ;;
    esac
done

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

# --- is it there? -------------------------------------------------------------------------------------

# builds COMPILER FLAGS: does the program on standard input compile and link? Homebrew keeps headers and
# libraries where not every compiler looks, so with brew around we look there too.
builds() {
    cat >"$scratch/try.c"
    prefix=
    have brew && prefix=$(brew --prefix 2>/dev/null)
    # CC may hold a compiler with options, so neither it nor the flags are quoted.
    # shellcheck disable=SC2086
    $1 -o "$scratch/try" "$scratch/try.c" $2 >/dev/null 2>&1 ||
        { [ "$prefix" ] && $1 -I"$prefix/include" -L"$prefix/lib" -o "$scratch/try" "$scratch/try.c" $2 >/dev/null 2>&1; }
}

has_compiler() {
    echo '#include <stdio.h>
int main(void) { return puts("") < 0; }' | builds "${CC:-cc}" ''
}

# has_library HEADERS FLAG NAME: without a compiler we can only ask pkg-config.
has_library() {
    if [ "$compiler" ]; then
        {
            for header in $1; do echo "#include <$header>"; done
            echo 'int main(void) { return 0; }'
        } | builds "${CC:-cc}" "$2"
    else
        have pkg-config && pkg-config --exists "$3"
    fi
}

# A gnuplot without pngcairo exists, and pictures are what we need it for.
has_gnuplot() {
    have gnuplot || return 1
    gnuplot -e "set terminal pngcairo; set output '$scratch/try.png'; plot x" >/dev/null 2>&1
    [ -s "$scratch/try.png" ]
}

# Without any font gnuplot draws empty boxes for letters. macOS always has some.
has_font() {
    [ "$(uname)" = Darwin ] && return 0
    for folder in /usr/share/fonts /usr/local/share/fonts "${HOME:-/}/.local/share/fonts" "${HOME:-/}/.fonts"; do
        [ -z "$(find "$folder" -name '*.[to]tf' 2>/dev/null | head -n 1)" ] || return 0
    done
    return 1
}

# gcc brings OpenMP along. clang needs a library for it, without which the book runs, on one thread.
has_clang_openmp() {
    [ "$(uname)" = Darwin ] && return 0
    echo '#include <omp.h>
int main(void) { return omp_get_max_threads() < 1; }' | builds clang -fopenmp
}

# --- what is missing ----------------------------------------------------------------------------------

manager=
for name in apt-get dnf pacman brew; do
    if have "$name"; then
        manager=$name
        break
    fi
done

# need WHAT APT DNF PACMAN BREW: notes that WHAT is missing, and the packages that bring it.
need() {
    missing="${missing:+$missing, }$1"
    case $manager in
    dnf) packages="$packages $3" ;;
    pacman) packages="$packages $4" ;;
    brew) packages="$packages $5" ;;
    *) packages="$packages $2" ;;
    esac
}

look() {
    missing=
    packages=
    compiler=
    if has_compiler; then
        compiler=yes
    else
        need 'a C compiler' 'gcc libc6-dev' 'gcc glibc-devel' gcc gcc
    fi
    have make || need make make make make make
    has_library png.h -lpng libpng || need libpng libpng-dev libpng-devel libpng libpng
    has_library zlib.h -lz zlib || need zlib zlib1g-dev zlib-devel zlib zlib
    has_library 'stdarg.h stddef.h setjmp.h stdint.h cmocka.h' -lcmocka cmocka ||
        need cmocka libcmocka-dev libcmocka-devel cmocka cmocka
    has_gnuplot || need 'gnuplot (with pngcairo)' gnuplot-nox gnuplot gnuplot gnuplot
    has_font || need 'a font for the figures' fonts-dejavu-core dejavu-sans-fonts ttf-dejavu font-dejavu
    [ "$dev" ] || return 0

    have clang || need clang clang clang clang llvm
    have clang-format || need clang-format clang-format clang-tools-extra clang clang-format
    has_clang_openmp || need 'OpenMP for clang' libomp-dev libomp-devel openmp libomp
    [ "$(uname)" = Darwin ] || have valgrind ||
        need valgrind 'valgrind libc6-dbg' valgrind valgrind valgrind
    have pandoc || need pandoc pandoc pandoc pandoc-cli pandoc
    have git || need git git git git git
    # `make data` takes whichever is there. npm would bring hundreds of packages, so we do not install it.
    have npm || have curl || have wget ||
        need 'curl (for make data)' 'curl ca-certificates' curl curl curl
}

# --- installing it ------------------------------------------------------------------------------------

# Without rights only the last line below helps; brew wants to be run by the user.
as_root=
if [ "$manager" != brew ] && [ "$(id -u)" != 0 ]; then
    as_root=sudo
fi

# $packages is a list of words, and $as_root may be empty.
# shellcheck disable=SC2086
install_packages() {
    case $manager in
    apt-get)
        # A fresh system has no package lists, an old one has outdated ones. Only then we fetch them.
        updated=
        for package in $packages; do
            if ! apt-cache show "$package" >/dev/null 2>&1; then
                apt update || return 1
                updated=yes
                break
            fi
        done
        apt install -y --no-install-recommends $packages && return 0
        [ -z "$updated" ] && apt update && apt install -y --no-install-recommends $packages
        ;;
    dnf) $as_root dnf install -y $packages ;;
    pacman) $as_root pacman -S --needed --noconfirm $packages ;;
    brew) brew install $packages ;;
    esac
}

# apt ...: apt-get, never asking anything (sudo would drop the variable, so env sets it behind sudo).
# shellcheck disable=SC2086
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

look
[ "$missing" ] || exit 0

case $manager in
pacman) command='pacman -S' ;;
*) command="$manager install" ;;
esac
if [ -z "$manager" ]; then
    complain "missing: $missing; found no apt-get, dnf, pacman or brew; please install by hand (Debian's names):$packages"
    exit 1
fi
if [ "$as_root" ] && ! have sudo; then
    complain "missing: $missing; neither root nor sudo here; please run as root: $command$packages"
    exit 1
fi

echo "$me: missing: $missing"
echo "$me: installing with $manager:$packages"
if ! install_packages; then
    complain "$manager could not install it all, see above; please install by hand: ${as_root:+sudo }$command$packages"
    exit 1
fi

tried=$packages
look
if [ "$missing" ]; then
    complain "installed$tried, but this still does not work: $missing; please install it by hand"
    exit 1
fi
echo "$me: done"
