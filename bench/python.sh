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

# Of the client of KEY and the server at PORT.
measure_echo() { # KEY WHOSE PROTOCOL PORT PID CLIENTS AS
    python_load "$1" echo "$2" "$3" "$4" "$6" "$7" "$DURATION" \
        --cpu-of "$(cpu_pids "$5")"
}

# The ping-pong, which computes nothing and is in C, tells how many trips this machine can do at all.
compare_dropin() { # LIBRARY PROTOCOL HANDLER CLIENTS AS
    local plain plain_port own own_port ping ping_port key="dropin.$2.$4.$5"
    local what="drop-in $1, 64 B, $4 client $5"
    [ "$4" != 1 ] || what="drop-in $1, 64 B, 1 client"
    start_python plain "$2" && plain=$STARTED plain_port=$PORT
    start_python dropin "$2" && own=$STARTED own_port=$PORT
    start_msockd_at "$2" 1 "$3" && ONE=$STARTED ONE_PORT=$PORT
    start_ping 68 68 && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$key.ping" frame "$ping_port" "$ping" -c "$4" -s 64
        measure_echo "$key.w1" dropin "$2" "$own_port" "$own" "$4" "$5"
        measure_echo "$key.plain" plain "$2" "$plain_port" "$plain" "$4" "$5"
        measure_echo "$key.msockd.w1" dropin "$2" "$ONE_PORT" "$ONE" "$4" "$5"
    done
    stop_all
    row "$what" 'a server and a client in plain Python' "$key" "$key.plain" rate '>=' 3.0 trips/s
    row 'the same with msockd as the server' 'the same' \
        "$key.msockd" "$key.plain" rate '>=' 3.0 trips/s
    row 'the same with its own server' 'bare epoll ping-pong of 68 bytes, in C' \
        "$key" "$key.ping" rate '' '' trips/s
}

group_dropins() {
    local clients
    has_python || return 0
    for clients in '1 program' '8 programs' '8 threads' '50 threads'; do
        # shellcheck disable=SC2086 # two words
        set -- $clients
        compare_dropin minimalsockets msp discard "$@"
        compare_dropin tinyproto tinyproto echo "$@"
        compare_dropin gruv_socks frame echo "$@"
    done
}
