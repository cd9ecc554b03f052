# shellcheck shell=bash
# Small messages: small (one at a time), ahead (16 in flight), durable (fsync before the answer).

# One measured run of the load; its figures become samples of KEY.
measure() { # KEY PROTOCOL PORT PID OPTION...
    local key=$1 protocol=$2 at=$3 pid=$4
    shift 4
    set -- "$B/msock" bench --json --blocks -u "$protocol://127.0.0.1:$at" -d "$DURATION" \
        --cpu-of "$(cpu_pids "$pid")" --flushes-of "$WORK" "$@"
    note_command "$@"
    timeout 120 "$@" >"$WORK/measured" || die "the load failed: $*"
    figures "$key" <"$WORK/measured"
}

# A stream that has grown is dropped before the next run, which thereby finds memory warm.
drop_stream() { # PORT
    redis-cli -p "$1" del st >/dev/null
}

# The same daemon, spoken to message by message: blocks made beforehand should agree with it.
cross_check() { # KEY PORT CONNECTIONS AHEAD
    set -- "$1" "$B/msock" bench -u "msp://127.0.0.1:$2" -s 256 -c "$3" --ahead "$4" \
        -d "$DURATION" --json
    note_command "${@:2}"
    timeout 120 "${@:2}" >"$WORK/measured" || die "msock bench failed: ${*:2}"
    figures "$1" <"$WORK/measured"
}

# What jansson alone does with the documents, on one core.
measure_jansson() { # KEY
    set -- "$1" "$B/msock" bench --jansson -s 256 -d "$DURATION" --json
    note_command "${@:2}"
    timeout 120 "${@:2}" >"$WORK/measured" || die "msock bench failed: ${*:2}"
    figures "$1" <"$WORK/measured"
}

# Nobody parses here: messages are plain. msp's bytes around one: 50 of the first packet's header, 10 of
# the trailer.
compare_discard() { # NAME AHEAD
    local name=$1 ahead=$2 one two redis ping one_port two_port redis_port ping_port
    start_msockd 1 discard && one=$STARTED one_port=$PORT
    start_msockd 2 discard && two=$STARTED two_port=$PORT
    start_redis_memory && redis=$STARTED redis_port=$PORT
    start_ping $((50 + 256 + 10)) && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" msp "$one_port" "$one" -c 50 -s 256 --ahead "$ahead"
        measure "$name.redis" redis "$redis_port" "$redis" -c 50 -s 256 --ahead "$ahead"
        drop_stream "$redis_port"
        measure "$name.w2" msp "$two_port" "$two" -c 50 -s 256 --ahead "$ahead"
        measure "$name.ping" raw "$ping_port" "$ping" -c 50 -s 256 --ahead "$ahead"
        cross_check "$name.spoken.w1" "$one_port" 50 "$ahead"
    done
    stop "$one"
    stop "$two"
    stop "$redis"
    stop "$ping"
}

group_small() {
    compare_discard small 1
    row '256 B plain, discard, sent ahead' 'Redis XADD, no persistence' \
        small small.redis rate '>=' 1.2 msg/s
    row 'the same' 'bare epoll ping-pong of the same bytes' small small.ping rate '>=' 0.85 msg/s
}

group_ahead() {
    compare_discard ahead 16
    row '256 B plain, discard, 16 ahead' 'Redis XADD, 16 pipelined' \
        ahead ahead.redis rate '>=' 1.5 msg/s
}

compare_durable() { # SIZE CONNECTIONS
    local size=$1 conns=$2 name="durable.$1.c$2" one two redis bean
    local one_port two_port redis_port bean_port
    start_msockd 1 journal && one=$STARTED one_port=$PORT
    start_msockd 2 journal && two=$STARTED two_port=$PORT
    start_redis_durable && redis=$STARTED redis_port=$PORT
    start_beanstalkd && bean=$STARTED bean_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" msp "$one_port" "$one" -c "$conns" -s "$size"
        measure "$name.redis" redis "$redis_port" "$redis" -c "$conns" -s "$size"
        measure "$name.w2" msp "$two_port" "$two" -c "$conns" -s "$size"
        measure "$name.beanstalkd" beanstalkd "$bean_port" "$bean" -c "$conns" -s "$size"
    done
    stop "$one"
    stop "$two"
    stop "$redis"
    stop "$bean"
}

durable_rows() { # SIZE CONNECTIONS
    local what="$1 B plain, journal, fsync, $2 connections" name="durable.$1.c$2"
    row "$what" 'Redis XADD, appendfsync always' "$name" "$name.redis" rate '>=' 1.2 msg/s
    row "$what: p99" 'Redis XADD, appendfsync always' "$name" "$name.redis" p99_us '<=' 1.0 us
    row "$what" 'beanstalkd -f0' "$name" "$name.beanstalkd" rate '>=' 8 msg/s
    row "$what: p99" 'beanstalkd -f0' "$name" "$name.beanstalkd" p99_us '<=' 1.0 us
}

group_durable() {
    local size conns
    for size in 256 1024; do
        for conns in 50 200; do
            compare_durable "$size" "$conns"
            durable_rows "$size" "$conns"
        done
    done
}

# JSON is parsed by jansson, so jansson alone is what it stands beside.
group_json() {
    local one two one_port two_port
    start_msockd 1 discard && one=$STARTED one_port=$PORT
    start_msockd 2 discard && two=$STARTED two_port=$PORT
    for _ in $(seq "$REPS"); do
        measure json.w1 msp "$one_port" "$one" -k json -c 50 -s 256 --ahead 16
        measure_jansson json.jansson
        measure json.w2 msp "$two_port" "$two" -k json -c 50 -s 256 --ahead 16
    done
    stop "$one"
    stop "$two"
    row '256 B JSON, discard, 16 ahead' 'jansson alone on the same document' \
        json json.jansson rate '' '' msg/s
}

# On schedule: latency from the moment when a message was due, at a rate that both can keep.
group_rate() {
    local one two redis one_port two_port redis_port
    start_msockd 1 journal && one=$STARTED one_port=$PORT
    start_msockd 2 journal && two=$STARTED two_port=$PORT
    start_redis_durable && redis=$STARTED redis_port=$PORT
    for _ in $(seq "$REPS"); do
        measure rate.w1 msp "$one_port" "$one" -c 50 -s 256 --rate 10000
        measure rate.redis redis "$redis_port" "$redis" -c 50 -s 256 --rate 10000
        measure rate.w2 msp "$two_port" "$two" -c 50 -s 256 --rate 10000
    done
    stop "$one"
    stop "$two"
    stop "$redis"
    row '256 B plain, journal, fsync, 10,000/s on schedule: p99' 'Redis XADD, appendfsync always' \
        rate rate.redis p99_us '' '' us
}
