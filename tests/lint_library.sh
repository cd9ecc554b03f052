#!/bin/sh
# libmsock of a build directory ($1, "build" by default) can stand in for that of the last release: what
# tests/libmsock.abi has is there as it was. Says what was added. debian/libmsock0.symbols has each name,
# with the version that brought it. The public headers compile as C99 to C23 and as C++17. "--release" as $2 writes tests/libmsock.abi anew, at a release.
set -eu
cd "$(dirname "$0")/.."
release=tests/libmsock.abi
now=$(mktemp)
trap 'rm -f "$now"' EXIT

# The types of the public headers alone, and no places of this machine.
abidw --headers-dir include --drop-private-types --drop-undefined-syms --exported-interfaces-only \
    --no-corpus-path --no-architecture --no-show-locs --no-comp-dir-path --no-parameter-names \
    --out-file "$now" "$(readlink -f "${1:-build}/libmsock.so")"
if [ "${2:-}" = --release ]; then
    cat "$now" >$release
    exit
fi

abidiff --no-added-syms $release "$now" || {
    echo "$release has the interface of the last release, and this libmsock breaks it" >&2
    exit 1
}
added=$(abidiff $release "$now") || printf 'libmsock has more than at the last release:\n%s\n' "$added"

nm -D --defined-only "${1:-build}/libmsock.so" | sed -n 's/.* T \(.*\)@@/ \1@/p' | while read -r name; do
    grep -q "^ $name [0-9]" debian/libmsock0.symbols || {
        echo "debian/libmsock0.symbols lacks $name" >&2
        exit 1
    }
done

for header in include/*.h; do
    for standard in c99 c11 c17 c2x; do
        gcc -std=$standard -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c "$header"
    done
    g++ -std=c++17 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c++ "$header"
done
