#!/bin/sh
# Tries the packages of build/packages in a clean Debian without a network: packages/inside.sh says what.
# piuparts has a look too, where it is installed.
set -eu
cd "$(dirname "$0")/.."
. packages/chroot.sh

# The same packages with a higher version.
raise() { # DEB
    dpkg-deb -R "$1" "$root/raise"
    version=$(dpkg-deb -f "$1" Version)
    sed -i "s/^Version: .*/&+next/; s/(= $version)/(= $version+next)/" "$root/raise/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$root/raise" "$root/debs/next" >/dev/null
    rm -rf "$root/raise"
}

ls "$packages"/msockd_*.deb >/dev/null 2>&1 || fail "first: make deb"
chroot_create
mkdir -p "$root/debs/now" "$root/debs/next"
for deb in "$packages"/*.deb; do
    case $deb in *-dbgsym_*) continue ;; esac
    cp "$deb" "$root/debs/now/"
    raise "$deb"
done
chroot_run sh -c 'apt-get install -y --download-only --no-install-recommends /debs/now/*.deb' \
    >>"$packages/apt.log" 2>&1 || fail "what the packages need cannot be had: see $packages/apt.log"
cp packages/inside.sh "$root/debs/"
LIMIT=600 chroot_run_alone sh /debs/inside.sh

# What the package systemd leaves, on which msockd depends, is not ours.
if command -v piuparts >/dev/null; then
    timeout 600 unshare --mount piuparts -b "$packages/base.tgz" -d "$release" \
        --keep-sources-list --no-eatmydata -I '/root/.ssh/$' -I '/var/(cache|lib|log)/private/$' \
        -I '/var/lib/systemd/(coredump|pstore)/$' "$root"/debs/now/*.deb >"$packages/piuparts.log" 2>&1 ||
        fail "piuparts: see $packages/piuparts.log"
    echo "piuparts: passed"
fi
