# shellcheck shell=bash
# Many connections: memory (10,000 idle), scale (CPU a message with 9,900 idle ones beside 100).

# Fewer where the limit of descriptors is in the way.
connections_possible() {
    local limit
    limit=$(ulimit -n)
    if [ "$limit" != unlimited ] && [ "$limit" -lt 10200 ]; then
        note "only $((limit - 200)) connections: the limit of descriptors is $limit"
        echo $((limit - 200))
    else
        echo 10000
    fi
}

# Opens idle connections, one answered request each, and holds them until release.
hold() { # PROTOCOL PORT COUNT
    set -- "$B/msock" bench --idle --bind-from 8 --blocks -u "$1://127.0.0.1:$2" -c "$3"
    note_command "$@"
    coproc HOLD { exec timeout 300 "$@"; }
    PIDS+=("$HOLD_PID")
    HOLDER=$HOLD_PID
    read -r -t 120 -u "${HOLD[0]}" _ || die "the connections could not be opened: $*"
}

release() {
    local in=${HOLD[1]}
    exec {in}>&-
    wait "$HOLDER" 2>/dev/null
    stop "$HOLDER"
}

# Bytes of memory that each unused place for a connection costs from the start.
place_bytes() { # PSS-OF-FEW PSS-OF-MANY PLACES-MORE
    awk -v a="$1" -v b="$2" -v n="$3" 'BEGIN {printf "%.1f", (b - a) * 1024 / n}'
}

# What the connections add to the server that STARTED names, and what their places had cost before.
measure_memory() { # KEY PROTOCOL COUNT PSS-BEFORE PLACE-BYTES
    local after grown
    hold "$2" "$PORT" "$3"
    after=$(settled_pss_kib "$STARTED")
    release
    grown=$(awk -v a="$4" -v b="$after" -v n="$3" 'BEGIN {printf "%.1f", (b - a) * 1024 / n}')
    sample "$1" grown_bytes "$grown"
    sample "$1" place_bytes "$5"
    sample "$1" pss_bytes "$(awk -v g="$grown" -v p="$5" 'BEGIN {print g + p}')"
}

memory_msockd() { # WORKERS COUNT
    local few many
    start_msockd_at msp "$1" journal -o max_connections=1024
    few=$(settled_pss_kib "$STARTED")
    stop "$STARTED"
    start_msockd_at msp "$1" journal -o max_connections=16384
    many=$(settled_pss_kib "$STARTED")
    measure_memory "memory.w$1" msp "$2" "$many" "$(place_bytes "$few" "$many" $((16384 - 1024)))"
    stop "$STARTED"
}

# Each of the two workers has all the places.
memory_nginx() { # COUNT
    local few many
    start_nginx 512
    few=$(settled_pss_kib "$STARTED")
    stop "$STARTED"
    start_nginx 25000
    many=$(settled_pss_kib "$STARTED")
    measure_memory memory.nginx http "$1" "$many" \
        "$(place_bytes "$few" "$many" $((2 * (25000 - 512))))"
    stop "$STARTED"
}

group_memory() {
    local count
    count=$(connections_possible)
    for _ in $(seq "$REPS"); do
        memory_msockd 1 "$count"
        memory_nginx "$count"
        memory_msockd 2 "$count"
    done
    row "memory (PSS) a connection, $count idle" 'nginx, its preallocated part included' \
        memory memory.nginx pss_bytes '<=' 0.7 B
}

group_scale() {
    local count
    count=$(connections_possible)
    start_both msp discard
    for _ in $(seq "$REPS"); do
        measure scale.few.w1 msp "$ONE_PORT" "$ONE" -c 100 -s 256
        measure scale.many.w1 msp "$ONE_PORT" "$ONE" -c 100 -s 256 --beside $((count - 100))
        measure scale.few.w2 msp "$TWO_PORT" "$TWO" -c 100 -s 256
        measure scale.many.w2 msp "$TWO_PORT" "$TWO" -c 100 -s 256 --beside $((count - 100))
    done
    stop_all
    row "CPU a message, $count connections, 100 of them busy" 'msockd, 100 connections' \
        scale.many scale.few. cpu_us '<=' 1.3 us
}
