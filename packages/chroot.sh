# Clean Debian roots, to build and to try packages in; to be sourced by a script of root. What is
# mounted for a command is so in a namespace of its own and its processes have one too: both end with
# the command, however it ends.

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "this needs root, for chroot"

B=${B:-build}
packages=$PWD/$B/packages
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=$packages/root.$$
mkdir -p "$packages"
trap 'rm -rf "$root" "$packages/base.$$"' EXIT
trap 'exit 1' HUP INT TERM

# What this machine takes its packages from, as lines of a sources.list. MIRROR= replaces it.
chroot_sources() {
    if [ -n "${MIRROR:-}" ]; then
        echo "deb $MIRROR $release main"
    else
        apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) main' \
            'Created-By: Packages' 'Origin: Debian' 'Component: main' | sort -u
    fi
}

# The base of all roots, made once. `make clean` removes it.
chroot_base() {
    [ ! -e "$packages/base.tgz" ] || return 0
    chroot_sources | grep "^deb .* $release main$" | head -n 1 >"$packages/mirror"
    read -r _ uri _ <"$packages/mirror" || fail "no mirror of Debian is known: set MIRROR="
    debootstrap --variant=minbase --include=ca-certificates "$release" "$packages/base.$$" "$uri" \
        >"$packages/debootstrap.log" || fail "debootstrap failed: see $packages/debootstrap.log"
    chroot_sources >"$packages/base.$$/etc/apt/sources.list"
    tar -C "$packages/base.$$" -czf "$packages/base.new" .
    mv "$packages/base.new" "$packages/base.tgz"
    rm -rf "$packages/base.$$"
}

# Makes $root anew.
chroot_create() {
    chroot_base
    rm -rf "$root"
    mkdir "$root"
    tar -C "$root" -xzf "$packages/base.tgz"
    cp /etc/resolv.conf "$root/etc/"
    chroot_run sh -c 'apt-get update && apt-get dist-upgrade -y' >"$packages/apt.log" 2>&1 ||
        fail "the mirror does not answer: see $packages/apt.log"
}

# Runs a command in $root with the network of this machine.
chroot_run() {
    chroot_enter "" "$@"
}

# The same with a loopback of its own and no other network.
chroot_run_alone() {
    chroot_enter --net "$@"
}

chroot_enter() { # UNSHARE-OPTION COMMAND...
    net=$1
    shift
    timeout --foreground "${LIMIT:-1800}" unshare --mount --pid --fork --kill-child $net sh -euc '
        root=$1
        shift
        [ "$1" = "" ] || ip link set lo up
        shift
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=755 dev "$root/dev"
        for node in null zero full random urandom; do
            : >"$root/dev/$node"
            mount --bind "/dev/$node" "$root/dev/$node"
        done
        ln -s /proc/self/fd "$root/dev/fd"
        mkdir "$root/dev/shm" "$root/dev/pts"
        mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
        ln -s pts/ptmx "$root/dev/ptmx"
        exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive ${http_proxy:+"http_proxy=$http_proxy"} \
            "$@"' sh "$root" "$net" "$@" </dev/null
}
