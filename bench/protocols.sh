# shellcheck shell=bash
# The smaller protocols: echo (frame and tinyproto, round trips), burst (cnp with and without a
# window), fanout (broadcast).

# Echoes of SIZE bytes over PROTOCOL with CONNECTIONS, beside the ping-pong of a frame's bytes.
compare_echo() { # PROTOCOL SIZE CONNECTIONS
    local protocol=$1 size=$2 conns=$3 name="echo.$1.$2.c$3" ping ping_port
    start_both "$protocol" echo
    start_ping $((4 + size)) $((4 + size)) && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" "$protocol" "$ONE_PORT" "$ONE" -c "$conns" -s "$size"
        measure "$name.ping" frame "$ping_port" "$ping" -c "$conns" -s "$size"
        measure "$name.w2" "$protocol" "$TWO_PORT" "$TWO" -c "$conns" -s "$size"
    done
    stop_all
}

group_echo() {
    local conns protocol target
    for conns in 1 50 200; do
        target=
        [ "$conns" != 50 ] || target=0.85
        compare_echo frame 64 "$conns"
        row "frame, echo of 64 B, $conns connections" 'bare epoll ping-pong of the same bytes' \
            "echo.frame.64.c$conns" "echo.frame.64.c$conns.ping" rate "${target:+>=}" "$target" trips/s
        [ "$conns" != 50 ] || target=0.3
        compare_echo tinyproto 64 "$conns"
        row "tinyproto, echo of 64 B, $conns connections" 'bare epoll ping-pong, one trip for three' \
            "echo.tinyproto.64.c$conns" "echo.tinyproto.64.c$conns.ping" rate "${target:+>=}" \
            "$target" echoes/s
    done
    for protocol in frame tinyproto; do
        for conns in 1 50 200; do
            compare_echo "$protocol" 65536 "$conns"
            row "$protocol, echo of 64 KiB, $conns connections" \
                'bare epoll ping-pong of the same bytes' "echo.$protocol.65536.c$conns" \
                "echo.$protocol.65536.c$conns.ping" mb_per_s '' '' MB/s
        done
    done
}

measure_burst() { # KEY PORT BYTES MODE WINDOW
    load "$1" --blocks -u "cnp://127.0.0.1:$2?mode=$4" -c 1 -s "$3" --ahead "$5" -d "$DURATION"
}

group_burst() {
    start_both cnp discard
    for _ in $(seq "$REPS"); do
        measure_burst burst.1024.w1 "$ONE_PORT" 1024 burst 64
        measure_burst burst.step.w1 "$ONE_PORT" 1024 step-by-step 1
        measure_burst burst.1024.w2 "$TWO_PORT" 1024 burst 64
        measure_burst burst.step.w2 "$TWO_PORT" 1024 step-by-step 1
        measure_burst burst.65536.w1 "$ONE_PORT" 65536 burst 64
        openssl_speed burst.md5 md5 65536
        measure_burst burst.65536.w2 "$TWO_PORT" 65536 burst 64
    done
    stop_all
    row 'cnp, 1 KiB packets, window 64, one connection' 'step-by-step' \
        burst.1024 burst.step. rate '>=' 20 packets/s
    row 'cnp, 64 KiB packets, window 64, one connection' 'openssl speed of MD5' \
        burst.65536 burst.md5 mb_per_s '>=' 0.7 MB/s
}

# The target is a number of deliveries; the ping-pong, which delivers once for each message it gets,
# is there to tell what the machine was able to do in this run.
group_fanout() {
    local ping ping_port
    start_both frame broadcast
    start_ping 260 260 && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure_fanout fanout.w1 "$ONE_PORT"
        measure_fanout fanout.w2 "$TWO_PORT"
        measure fanout.ping frame "$ping_port" "$ping" -c 50 -s 256
    done
    stop_all
    sample fanout.floor rate 200000
    row 'broadcast of 256 B to 1,000 members, 64 in flight' 'the target, 200,000 deliveries a second' \
        fanout fanout.floor rate '>=' 1.0 deliveries/s
    row 'the same' 'bare epoll ping-pong of the same bytes' fanout fanout.ping rate '' '' deliveries/s
}

measure_fanout() { # KEY PORT
    load "$1" -u "frame://127.0.0.1:$2" --members 1000 -s 256 --ahead 64 -d "$DURATION"
}
