# shellcheck shell=bash
# Installs the peers where they are missing, and says so. A distribution's own service that begins
# to run because of that is stopped again; one that was there before is left alone.

PEERS='redis-server redis-tools beanstalkd nginx-light libnginx-mod-http-dav-ext rsync curl openssl
    nats-server mosquitto haproxy'

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

# The services that the packages bring, of those that run.
running_services() {
    local service
    for service in redis-server beanstalkd nginx rsync nats-server mosquitto haproxy; do
        if [ -d /run/systemd/system ]; then
            systemctl is-active --quiet "$service" && echo "$service"
        elif [ -e "/etc/init.d/$service" ]; then
            as_root service "$service" status >/dev/null 2>&1 && echo "$service"
        fi
    done
    return 0
}

stop_service() { # SERVICE
    echo "stopping the service $1, which the installation has started" >&2
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now --quiet "$1" >/dev/null 2>&1
    else
        as_root service "$1" stop >/dev/null 2>&1
    fi
}

install_packages() { # PACKAGE...
    echo "installing: $*" >&2
    as_root apt-get update -qq || die 'apt-get update failed'
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install: $*"
}

install_peers() {
    local missing before service
    command -v dpkg-query >/dev/null || return 0
    mapfile -t missing < <(missing_peers)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "not root and no sudo; as root: apt-get install ${missing[*]}"
    before=$(running_services)
    install_packages "${missing[@]}"
    for service in $(running_services); do
        grep -qx "$service" <<<"$before" || stop_service "$service"
    done
}
