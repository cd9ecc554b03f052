#!/bin/sh
# What a machine goes through with the packages; runs inside a root that packages/test.sh has made, with
# the packages in /debs/now and the same ones with a higher version in /debs/next.
set -eu

say() {
    echo "deb-test: $*"
}

fail() {
    say "FAILED: $*"
    exit 1
}

quietly() {
    "$@" >/tmp/output 2>&1 || {
        cat /tmp/output
        fail "$*"
    }
}

install_all() { # FOLDER [OPTION]...
    from=$1
    shift
    quietly apt-get install -y --no-install-recommends "$@" "$from"/*.deb
}

purge_all() {
    quietly apt-get purge -y msockd msock libmsock0 libmsock-dev msockd-nats python3-msock
}

files() {
    find / -xdev \( -path /proc -o -path /tmp -o -path /debs -o -path /var/cache -o -path /var/log -o \
        -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/msockd \) -prune -o -print | sort
}

# As systemd starts it: the command of the unit, its user, its two directories.
start() {
    command=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/msockd.service)
    setpriv --reuid msockd --regid msockd --clear-groups env RUNTIME_DIRECTORY=/run/msockd \
        sh -c "exec $command" 2>>/tmp/msockd.log &
    wait_until msockctl workers
}

wait_until() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "for 30 s: $*"
        sleep 0.1
    done
}

# Sends numbered messages until /tmp/enough is there. Each that is acknowledged is a line of
# /tmp/acknowledged, each other one of /tmp/refused.
load() {
    n=0
    until [ -e /tmp/enough ]; do
        n=$((n + 1))
        if msock send "load $1 $n." >/dev/null 2>>/tmp/refused; then
            echo "load $1 $n." >>/tmp/acknowledged
        fi
    done
}

# The process of before, with the program that is installed now.
runs_what_is_installed() {
    [ "$(cat /run/msockd/msockd.pid)" = "$master" ] || fail "another process"
    [ "$(readlink "/proc/$master/exe")" = /usr/sbin/msockd ] || fail "the program of before"
}

version() {
    dpkg-query -Wf '${Version}' msockd
}

say "install, and purge where nothing was received: nothing stays"
install_all /debs/now
purge_all
! getent passwd msockd >/dev/null || fail "the user is still there"
find / -xdev \( -path /debs -o -path /proc -o -path /var/cache \) -prune -o -name '*msock*' -print >/tmp/left
[ ! -s /tmp/left ] || fail "left behind: $(cat /tmp/left)"
files >/tmp/before # with what the packages depend on

say "install, start, send over each package"
install_all /debs/now
[ "$(stat -c '%U %G %a' /var/lib/msockd /run/msockd | uniq)" = "msockd msockd 750" ] || fail "directories"
start
quietly msock send one
quietly msock send-file /bin/true
quietly python3 -c 'import msock
with msock.Client("msp://127.0.0.1:8000") as client: client.send_json({"from": "Python"})'
PYTHONPATH=/usr/lib/python3/dist-packages/msock/dropins quietly python3 -c 'import minimalsockets, tinyproto, gruv_socks'
msockctl workers | grep -q seccomp || fail "workers without a sandbox"
[ "$(cat /var/lib/msockd/journal/*.ndjson | wc -l)" = 3 ] || fail "the journal has not three lines"
cmp /bin/true /var/lib/msockd/files/true
msockctl stats | grep -q '^messages  *3 ' || fail "the statistics have not three messages"
quietly msockd -t -c /etc/msockd/msockd.conf \
    -l 'msp://127.0.0.1:1?handler=nats&servers=nats://127.0.0.1:1&stream=s'

say "reload, with a file of conf.d"
echo 'listen = "msp://127.0.0.1:8001"' >/etc/msockd/conf.d/more.conf
quietly msockctl reload
quietly msock -u msp://127.0.0.1:8001 send two
echo 'tiemout = 1s' >/etc/msockd/conf.d/wrong.conf
! msockctl reload >/tmp/output 2>&1 || fail "a wrong file was taken"
grep -q 'conf.d/wrong.conf:1: unknown option "tiemout"' /tmp/output || fail "$(cat /tmp/output)"
rm /etc/msockd/conf.d/*.conf
quietly msockctl reload

say "upgrade under load"
master=$(cat /run/msockd/msockd.pid)
senders=
for sender in 1 2 3; do
    load $sender &
    senders="$senders $!"
done
wait_until grep -q 'load 3' /tmp/acknowledged
install_all /debs/next
[ "$(version)" = "$(dpkg-deb -f /debs/next/msockd_*.deb Version)" ] || fail "not the higher version"
runs_what_is_installed
wc -l </tmp/acknowledged >/tmp/count
wait_until sh -c '[ $(wc -l </tmp/acknowledged) -gt $(($(cat /tmp/count) + 30)) ]'
: >/tmp/enough
wait $senders
[ ! -s /tmp/refused ] || fail "refused: $(head -n 3 /tmp/refused)"
grep -ho 'load [0-9]* [0-9]*\.' /var/lib/msockd/journal/*.ndjson | sort >/tmp/kept
sort /tmp/acknowledged | comm -23 - /tmp/kept >/tmp/lost
[ ! -s /tmp/lost ] || fail "lost: $(head -n 3 /tmp/lost)"
say "$(wc -l </tmp/acknowledged) acknowledged, all kept, none refused"

say "downgrade, with the data of before"
install_all /debs/now --allow-downgrades
runs_what_is_installed
quietly msock send three
quietly msockctl verify
quietly msockctl quit

say "remove, purge: data stays, and nothing else"
mkdir /run/systemd/system /tmp/stub # as where systemd runs, and hears which units stop
printf '#!/bin/sh\necho "$*" >>/tmp/invoked\n' >/tmp/stub/deb-systemd-invoke
chmod +x /tmp/stub/deb-systemd-invoke
quietly apt-get remove -y -o "DPkg::Path=/tmp/stub:$PATH" msockd
[ "$(cat /tmp/invoked)" = "stop msockd.socket
stop msockd.service" ] || fail "stopped: $(cat /tmp/invoked)"
rm -r /run/systemd/system
[ -e /etc/msockd/msockd.conf ] && [ ! -e /usr/sbin/msockd ] || fail "remove"
purge_all
[ -e /var/lib/msockd/files/true ] || fail "the data is gone"
getent passwd msockd >/dev/null || fail "nobody owns the data"
files | comm -13 /tmp/before - >/tmp/left
[ ! -s /tmp/left ] || fail "left behind: $(cat /tmp/left)"
say "passed"
