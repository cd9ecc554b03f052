# shellcheck shell=bash
# The group reload: a steady load of new and of kept connections, without and with reloads.

RELOAD_S=5
RELOADS=${RELOADS:-20}

start_haproxy() {
    next_port
    next_directory haproxy
    cat >"$DIRECTORY/haproxy.cfg" <<CONFIGURATION
global
    nbthread 2
    stats socket $DIRECTORY/admin.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout client 600s
    timeout http-keep-alive 600s
    timeout connect 5s
    timeout server 5s
frontend bench
    bind 127.0.0.1:$PORT backlog 4096
    http-request return status 204
CONFIGURATION
    start haproxy -W -f "$DIRECTORY/haproxy.cfg"
    wait_port "$PORT" "$STARTED"
}

reload_load() { # KEY PROTOCOL PORT [PID SIGNAL RELOADS]
    local key=$1
    shift
    note_command "$PYTHON" bench/reload.py "$1" "$2" "$RELOAD_S" ${3:+PID "${@:4}"}
    timeout 120 "$PYTHON" bench/reload.py "$1" "$2" "$RELOAD_S" "${@:3}" >"$WORK/measured" ||
        die "bench/reload.py failed: $*"
    samples "$key" <"$WORK/measured"
    sed -E 's/.* p99_us=([0-9]+) .*/\1/' "$WORK/measured"
}

# Signals are HUP and USR2 by number.
measure_reload() { # NAME PROTOCOL PORT PID SIGNAL
    local before calm busy
    before=$(family "$4")
    calm=$(reload_load "reload.calm.$1" "$2" "$3")
    busy=$(reload_load "reload.$1" "$2" "$3" "$4" "$5" "$RELOADS")
    [ "$(family "$4")" != "$before" ] || die "$1 has not reloaded"
    sample "reload.$1" p99_ratio "$(awk -v b="$busy" -v c="$calm" 'BEGIN {printf "%.3f", b / c}')"
}

group_reload() {
    local nginx nginx_port haproxy haproxy_port
    start_both msp discard
    start_nginx 1024 && nginx=$STARTED nginx_port=$PORT
    start_haproxy && haproxy=$STARTED haproxy_port=$PORT
    for _ in $(seq "$REPS"); do
        measure_reload w1 msp "$ONE_PORT" "$ONE" 1
        measure_reload nginx http "$nginx_port" "$nginx" 1
        measure_reload haproxy http "$haproxy_port" "$haproxy" 12
        measure_reload w2 msp "$TWO_PORT" "$TWO" 1
    done
    stop_all
    row "p99 with $RELOADS reloads in $RELOAD_S s, against that without" nginx \
        reload reload.nginx p99_ratio '<=' 1.0 x
    row 'the same' 'HAProxy, master and worker' reload reload.haproxy p99_ratio '<=' 1.0 x
    row 'requests that these reloads failed' nginx reload reload.nginx failed_requests '<=' 0 ''
    row 'the same' 'HAProxy, master and worker' reload reload.haproxy failed_requests '<=' 0 ''
    row 'kept connections closed by these reloads' nginx reload reload.nginx closed '<=' 0 ''
    row 'the same' 'HAProxy, master and worker' reload reload.haproxy closed '<=' 0 ''
}
