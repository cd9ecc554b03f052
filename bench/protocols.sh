# shellcheck shell=bash
# The smaller protocols: echo (frame and tinyproto, round trips), burst (cnp with and without a window),
# fanout (broadcast).

# Echoes of SIZE bytes over PROTOCOL with CONNECTIONS, beside the ping-pong of a frame's bytes.
compare_echo() { # PROTOCOL SIZE CONNECTIONS
    local protocol=$1 size=$2 conns=$3 name="echo.$1.$2.c$3" one two ping one_port two_port ping_port
    start_msockd_at "$protocol" 1 echo && one=$STARTED one_port=$PORT
    start_msockd_at "$protocol" 2 echo && two=$STARTED two_port=$PORT
    start_ping $((4 + size)) $((4 + size)) && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" "$protocol" "$one_port" "$one" -c "$conns" -s "$size"
        measure "$name.ping" frame "$ping_port" "$ping" -c "$conns" -s "$size"
        measure "$name.w2" "$protocol" "$two_port" "$two" -c "$conns" -s "$size"
    done
    stop "$one"
    stop "$two"
    stop "$ping"
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

measure_burst() { # KEY PORT BYTES WINDOW
    set -- "$1" "$B/msock" bench --json --blocks -u "cnp://127.0.0.1:$2?mode=$([ "$4" = 1 ] &&
        echo step-by-step || echo burst)" -c 1 -s "$3" --ahead "$4" -d "$DURATION"
    note_command "${@:2}"
    timeout 120 "${@:2}" >"$WORK/measured" || die "the burst failed: ${*:2}"
    figures "$1" <"$WORK/measured"
}

# What MD5 alone does on one core, in blocks of 64 KiB.
measure_md5() { # KEY
    set -- "$1" openssl speed -mr -seconds 1 -bytes 65536 -evp md5
    note_command "${@:2}"
    "${@:2}" 2>/dev/null | awk -F: '/^\+F/ {printf "mb_per_s=%.1f\n", $NF / 1e6}' >"$WORK/measured"
    [ -s "$WORK/measured" ] || die "openssl speed failed"
    samples "$1" <"$WORK/measured"
}

group_burst() {
    local one two one_port two_port
    start_msockd_at cnp 1 discard && one=$STARTED one_port=$PORT
    start_msockd_at cnp 2 discard && two=$STARTED two_port=$PORT
    for _ in $(seq "$REPS"); do
        measure_burst burst.1024.w1 "$one_port" 1024 64
        measure_burst burst.step.w1 "$one_port" 1024 1
        measure_burst burst.1024.w2 "$two_port" 1024 64
        measure_burst burst.step.w2 "$two_port" 1024 1
        measure_burst burst.65536.w1 "$one_port" 65536 64
        measure_md5 burst.md5
        measure_burst burst.65536.w2 "$two_port" 65536 64
    done
    stop "$one"
    stop "$two"
    row 'cnp, 1 KiB packets, window 64, one connection' 'step-by-step' \
        burst.1024 burst.step. rate '>=' 20 packets/s
    row 'cnp, 64 KiB packets, window 64, one connection' 'openssl speed of MD5' \
        burst.65536 burst.md5 mb_per_s '>=' 0.7 MB/s
}

# The target is a number of deliveries; the ping-pong, which delivers once for each message it gets, is
# there to tell what the machine was able to do in this run.
group_fanout() {
    local one two ping one_port two_port ping_port
    start_msockd_at frame 1 broadcast && one=$STARTED one_port=$PORT
    start_msockd_at frame 2 broadcast && two=$STARTED two_port=$PORT
    start_ping 260 260 && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure_fanout fanout.w1 "$one_port"
        measure_fanout fanout.w2 "$two_port"
        measure fanout.ping frame "$ping_port" "$ping" -c 50 -s 256
    done
    stop "$one"
    stop "$two"
    stop "$ping"
    sample fanout.floor rate 200000
    row 'broadcast of 256 B to 1,000 members, 64 in flight' 'the target, 200,000 deliveries a second' \
        fanout fanout.floor rate '>=' 1.0 deliveries/s
    row 'the same' 'bare epoll ping-pong of the same bytes' fanout fanout.ping rate '' '' deliveries/s
}

measure_fanout() { # KEY PORT
    set -- "$1" "$B/msock" bench --json -u "frame://127.0.0.1:$2" --members 1000 -s 256 --ahead 64 \
        -d "$DURATION"
    note_command "${@:2}"
    timeout 120 "${@:2}" >"$WORK/measured" || die "the fan-out failed: ${*:2}"
    figures "$1" <"$WORK/measured"
}
