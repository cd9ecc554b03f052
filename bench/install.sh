# shellcheck shell=bash
# Installs the peers where they are missing, and says so. A distribution's own service that begins to
# run because of that is stopped again; one that was there before is left alone.

PEERS='redis-server redis-tools beanstalkd nginx-light libnginx-mod-http-dav-ext rsync curl openssl'

die() {
    echo "bench: $*" >&2
    exit 1
}

missing_peers() {
    local package
    for package in $PEERS; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

stop_service() { # PACKAGE
    local service=${1%-light}
    [ -e "/etc/init.d/$service" ] || [ -e "/lib/systemd/system/$service.service" ] || return 0
    echo "stopping the service $service, which the installation may have started" >&2
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now --quiet "$service" >/dev/null 2>&1
    else
        as_root service "$service" stop >/dev/null 2>&1
    fi
    return 0
}

install_peers() {
    local missing package
    command -v dpkg-query >/dev/null || return 0
    mapfile -t missing < <(missing_peers)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "not root and no sudo; as root: apt-get install ${missing[*]}"
    echo "installing: ${missing[*]}" >&2
    as_root apt-get update -qq || die 'apt-get update failed'
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
    for package in "${missing[@]}"; do
        case $package in
        redis-server | beanstalkd | nginx-light | rsync) stop_service "$package" ;;
        esac
    done
}
