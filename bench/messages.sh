# shellcheck shell=bash
# Small messages: small (one at a time), ahead (16 in flight), durable (fsync before the answer).

# Runs the generator; its figures become samples of KEY.
load() { # KEY OPTION...
    local key=$1
    shift
    noted timeout 120 "$B/msock" bench --json "$@" >"$WORK/measured" || die "the load failed: $*"
    figures "$key" <"$WORK/measured"
}

# In blocks, with what it costs the server and the disk.
measure() { # KEY PROTOCOL PORT PID OPTION...
    load "$1" --blocks -u "$2://127.0.0.1:$3" -d "$DURATION" --cpu-of "$(cpu_pids "$4")" \
        --flushes-of "$WORK" "${@:5}"
}

# A stream that has grown is dropped before the next run, which thereby finds memory warm.
drop_stream() { # PORT
    redis-cli -p "$1" del st >/dev/null
}

# Nobody parses here: messages are plain. msp's bytes around one: 50 of the first packet's header,
# 10 of the trailer.
#
# Each round also speaks to the same daemon message by message: blocks made beforehand should agree.
compare_discard() { # NAME AHEAD
    local name=$1 ahead=$2 redis ping redis_port ping_port
    start_both msp discard
    start_redis --appendonly no && redis=$STARTED redis_port=$PORT
    start_ping $((50 + 256 + 10)) && ping=$STARTED ping_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" msp "$ONE_PORT" "$ONE" -c 50 -s 256 --ahead "$ahead"
        measure "$name.redis" redis "$redis_port" "$redis" -c 50 -s 256 --ahead "$ahead"
        drop_stream "$redis_port"
        measure "$name.w2" msp "$TWO_PORT" "$TWO" -c 50 -s 256 --ahead "$ahead"
        measure "$name.ping" raw "$ping_port" "$ping" -c 50 -s 256 --ahead "$ahead"
        load "$name.spoken.w1" -u "msp://127.0.0.1:$ONE_PORT" -s 256 -c 50 --ahead "$ahead" \
            -d "$DURATION"
    done
    stop_all
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
    local size=$1 conns=$2 name="durable.$1.c$2" redis bean redis_port bean_port
    start_both msp journal
    start_redis_durable && redis=$STARTED redis_port=$PORT
    start_beanstalkd && bean=$STARTED bean_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" msp "$ONE_PORT" "$ONE" -c "$conns" -s "$size"
        measure "$name.redis" redis "$redis_port" "$redis" -c "$conns" -s "$size"
        measure "$name.w2" msp "$TWO_PORT" "$TWO" -c "$conns" -s "$size"
        measure "$name.beanstalkd" beanstalkd "$bean_port" "$bean" -c "$conns" -s "$size"
    done
    stop_all
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

# JSON is parsed by jansson, so jansson alone, on one core, is what it stands beside.
group_json() {
    start_both msp discard
    for _ in $(seq "$REPS"); do
        measure json.w1 msp "$ONE_PORT" "$ONE" -k json -c 50 -s 256 --ahead 16
        load json.jansson --jansson -s 256 -d "$DURATION"
        measure json.w2 msp "$TWO_PORT" "$TWO" -k json -c 50 -s 256 --ahead 16
    done
    stop_all
    row '256 B JSON, discard, 16 ahead' 'jansson alone on the same document' \
        json json.jansson rate '' '' msg/s
}

load_ids() { # KEY PORT PID AHEAD
    load "$1" -u "msp://127.0.0.1:$2" -s 256 -c 50 --ahead "$4" --ids -d "$DURATION" \
        --cpu-of "$(cpu_pids "$3")"
}

# The table of ids is full before anything is measured, so that each id displaces another one.
compare_ids() { # HANDLER
    local handler=$1 on off on_port off_port port ahead
    start_msockd_at msp 1 "$handler" && on=$STARTED on_port=$PORT
    start_msockd_at msp 1 "$handler" -o dedup_window=0 && off=$STARTED off_port=$PORT
    for port in "$on_port" "$off_port"; do
        noted timeout 120 "$B/msock" bench --json -u "msp://127.0.0.1:$port" -s 256 -c 50 --ahead 16 \
            --ids --messages 1100000 >/dev/null || die "the table of ids cannot be filled"
    done
    for _ in $(seq "$REPS"); do
        for ahead in 1 16; do
            load_ids "ids.$handler.$ahead.w1" "$on_port" "$on" "$ahead"
            load_ids "ids.$handler.$ahead.off" "$off_port" "$off" "$ahead"
        done
    done
    stop_all
    for ahead in 1 16; do
        row "256 B plain with ids, $handler, $ahead ahead" 'the same with dedup_window=0' \
            "ids.$handler.$ahead" "ids.$handler.$ahead.off" rate '>=' 0.97 msg/s
    done
}

group_ids() {
    compare_ids discard
    compare_ids journal
}

# On schedule: latency from the moment when a message was due, at a rate that both can keep.
group_rate() {
    local redis redis_port
    start_both msp journal
    start_redis_durable && redis=$STARTED redis_port=$PORT
    for _ in $(seq "$REPS"); do
        measure rate.w1 msp "$ONE_PORT" "$ONE" -c 50 -s 256 --rate 10000
        measure rate.redis redis "$redis_port" "$redis" -c 50 -s 256 --rate 10000
        measure rate.w2 msp "$TWO_PORT" "$TWO" -c 50 -s 256 --rate 10000
    done
    stop_all
    row '256 B plain, journal, fsync, 10,000/s on schedule: p99' 'Redis XADD, appendfsync always' \
        rate rate.redis p99_us '' '' us
}
