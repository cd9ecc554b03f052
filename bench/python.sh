# shellcheck shell=bash
# The Python module: python (one message after the other, and ahead, beside the client in C) and
# dropins (echoes of the drop-ins beside peers in plain Python).

PYTHON=${PYTHON:-/usr/bin/python3}

# Its figure becomes a sample of KEY.
python_load() { # KEY WORD...
    local key=$1
    shift
    noted timeout 120 env B="$B" "$PYTHON" bench/python.py "$@" >"$WORK/measured" ||
        die "bench/python.py failed: $*"
    samples "$key" <"$WORK/measured"
}

has_python() {
    [ -e "$B/python/msock/_msock.abi3.so" ] && return 0
    note "the Python module is not built (make python): left out"
    return 1
}

measure_python() { # WORKERS PORT
    local url="msp://127.0.0.1:$2"
    python_load "python.send.w$1" send "$url" 65536 "$DURATION"
    load "python.send.c.w$1" -u "$url" -c 1 -s 65536 -d "$DURATION"
    python_load "python.many.w$1" many "$url" 256 "$DURATION"
}

group_python() {
    has_python || return 0
    start_both msp discard
    for _ in $(seq "$REPS"); do
        measure_python 1 "$ONE_PORT"
        measure_python 2 "$TWO_PORT"
    done
    stop_all
    sample python.floor rate 150000
    row 'Python, 64 KiB, one at a time' 'the client in C' python.send python.send.c. rate '>=' 0.7 msg/s
    row 'Python, 256 B, send_many of a generator' 'the target, 150,000 messages a second' \
        python.many python.floor rate '>=' 1.0 msg/s
}

start_python() { # WHOSE PROTOCOL
    next_port
    start env B="$B" "$PYTHON" bench/python.py serve "$1" "$2" "$PORT"
    wait_port "$PORT" "$STARTED"
}

# The ping-pong, which computes nothing and is in C, tells how many trips this machine can do at all.
compare_dropin() { # LIBRARY PROTOCOL CONNECTIONS
    local plain_port own_port ping ping_port key="dropin.$2.c$3"
    start_python plain "$2" && plain_port=$PORT
    start_python dropin "$2" && own_port=$PORT
    start_ping 68 68 && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$key.ping" frame "$ping_port" "$ping" -c "$3" -s 64
        python_load "$key.w1" echo dropin "$2" "$own_port" "$3" "$DURATION"
        python_load "$key.plain" echo plain "$2" "$plain_port" "$3" "$DURATION"
    done
    stop_all
    row "$1, 64 B, $3 connections" 'a server and a client in plain Python' \
        "$key" "$key.plain" rate '>=' 3.0 trips/s
    row 'the same' 'bare epoll ping-pong of 68 bytes, in C' "$key" "$key.ping" rate '' '' trips/s
}

group_dropins() {
    local conns
    has_python || return 0
    for conns in 1 32; do
        compare_dropin 'drop-in minimalsockets' msp "$conns"
        compare_dropin 'drop-in tinyproto' tinyproto "$conns"
        compare_dropin 'drop-in gruv_socks' frame "$conns"
    done
}
