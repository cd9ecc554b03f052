#!/bin/sh
# Builds the packages of the work tree in a clean Debian, without a network, as an ordinary user, and
# asks lintian. They are in build/packages afterwards. --twice builds them a second time, in another
# folder, another language, time zone and umask, and fails where a byte differs.
set -eu
cd "$(dirname "$0")/.."
. packages/chroot.sh

SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)
name=$(dpkg-parsechangelog -S Source)_$(dpkg-parsechangelog -S Version)

# Copies the work tree into a folder of the root.
copy_to() {
    install -d "$root$1"
    git ls-files -co --exclude-standard -z | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
        tar --mtime "@$SOURCE_DATE_EPOCH" --null -T - -c | tar -C "$root$1" -x
}

build_in() { # FOLDER [VARIABLE=VALUE]...
    folder=$1
    shift
    copy_to "$folder"
    chroot_run chown -R nobody "${folder%/*}"
    chroot_run_alone setpriv --reuid nobody --clear-groups env HOME=/nonexistent "$@" \
        sh -c 'cd "$1" && umask "${MASK:-022}" && dpkg-buildpackage -us -uc' sh "$folder" \
        >"$packages/build.log" 2>&1 || {
        tail -n 20 "$packages/build.log" >&2
        fail "the build failed: see $packages/build.log"
    }
}

chroot_create
copy_to /build/one/msockd
chroot_run sh -ec 'apt-get install -y -qq --no-install-recommends build-essential
    cd /build/one/msockd && apt-get build-dep -y -qq --no-install-recommends .' >>"$packages/apt.log" 2>&1 ||
    fail "what the build needs cannot be installed: see $packages/apt.log"
build_in /build/one/msockd
rm -f "$packages"/*.deb "$packages/$name"*
cp --no-preserve=all "$root"/build/one/*.* "$packages/"
lintian --allow-root --fail-on error,warning "$packages/$name"_*.changes

if [ "${1:-}" = --twice ]; then
    build_in /build/in-another-folder/msockd TZ=Pacific/Kiritimati LC_ALL=C MASK=002 DEB_BUILD_OPTIONS=parallel=1
    for deb in "$packages"/*.deb "$packages/$name".*; do
        cmp "$deb" "$root/build/in-another-folder/${deb##*/}"
    done
    echo "two builds, in two folders, have the same bytes"
fi
ls "$packages"/*.deb
