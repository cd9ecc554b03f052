# shellcheck shell=bash
# handler=nats beside libnats alone, which publishes to the same server, and beside mosquitto.

start_nats() {
    next_port
    next_directory nats
    cat >"$DIRECTORY/nats.conf" <<CONFIGURATION
listen: 127.0.0.1:$PORT
jetstream { store_dir: "$DIRECTORY/store" }
CONFIGURATION
    start "$(command -v nats-server || echo /usr/sbin/nats-server)" -c "$DIRECTORY/nats.conf"
    wait_port "$PORT" "$STARTED"
}

# In memory, with a session that subscribes, sleeps and gets all that is published: so what is
# acknowledged is kept, as a stream keeps it.
start_mosquitto() {
    next_port
    next_directory mosquitto
    cat >"$DIRECTORY/mosquitto.conf" <<CONFIGURATION
listener $PORT 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
log_type error
CONFIGURATION
    start "$(command -v mosquitto || echo /usr/sbin/mosquitto)" -c "$DIRECTORY/mosquitto.conf"
    wait_port "$PORT" "$STARTED"
}

# CONNECT as "keep", with a new session or the old one; SUBSCRIBE to t with QoS 1; DISCONNECT.
mosquitto_session() { # PORT
    local flags
    for flags in '\x02' '\x00'; do
        exec 3<>"/dev/tcp/127.0.0.1/$1" || die 'no connection to mosquitto'
        printf '%b' "\\x10\\x10\\x00\\x04MQTT\\x04$flags\\x00\\x00\\x00\\x04keep" >&3
        head -c 4 <&3 >/dev/null
        [ "$flags" = '\x02' ] || { printf '\x82\x06\x00\x01\x00\x01t\x01' >&3; head -c 5 <&3 >/dev/null; }
        printf '\xe0\x00' >&3
        exec 3>&-
    done
}

nats_direct() { # KEY PORT HEADERS UNDER-WAY
    noted timeout 120 "$B/bench/nats_publish" "nats://127.0.0.1:$2" "direct" "$3" 256 "$4" \
        "$DURATION" >"$WORK/measured" || die 'libnats alone failed'
    figures "$1" <"$WORK/measured"
}

start_msockd_nats() { # STREAM WORKERS NATS-PORT AHEAD
    local handler="nats&servers=nats://127.0.0.1:$3&stream=$1&subject=$1.{kind}&nats_ahead=$4"
    start_msockd_at msp "$2" "$handler&stream_create=yes&duplicate_window=2m"
}

# As many messages are under way from libnats alone as from all connections.
compare_nats() { # AHEAD NATS-AHEAD
    local ahead=$1 name="nats.$1.$2" one one_port two two_port broker broker_port nats_port
    start_nats && nats_port=$PORT
    start_msockd_nats one 1 "$nats_port" "$2" && one=$STARTED one_port=$PORT
    start_msockd_nats two 2 "$nats_port" "$2" && two=$STARTED two_port=$PORT
    start_mosquitto && broker=$STARTED broker_port=$PORT
    for _ in $(seq "$REPS"); do
        measure "$name.w1" msp "$one_port" "$one" -c 50 -s 256 --ahead "$ahead"
        nats_direct "$name.same" "$nats_port" all $((50 * ahead))
        mosquitto_session "$broker_port"
        measure "$name.mosquitto" mqtt "$broker_port" "$broker" -c 50 -s 256 --ahead "$ahead"
        measure "$name.w2" msp "$two_port" "$two" -c 50 -s 256 --ahead "$ahead"
        nats_direct "$name.id" "$nats_port" id $((50 * ahead))
        nats_direct "$name.bare" "$nats_port" none $((50 * ahead))
    done
    stop_all
}

nats_rows() { # WHAT NAME UNDER-WAY
    row "$1" "libnats alone, the same messages, $3 under way" "$2" "$2.same" rate '>=' 0.7 msg/s
    row "$1" "libnats alone, only an id with each" "$2" "$2.id" rate '' '' msg/s
    row "$1" 'mosquitto QoS 1, in memory' "$2" "$2.mosquitto" rate '>=' 1.2 msg/s
}

# The order of a connection holds over any failure only with nats_ahead=1, which is the default; no
# order of libnats' does.
group_nats() {
    compare_nats 1 1
    nats_rows '256 B plain, nats, 1 ahead' nats.1.1 50
    compare_nats 16 1
    nats_rows '256 B plain, nats, 16 ahead' nats.16.1 800
    compare_nats 16 16
    nats_rows '256 B plain, nats, 16 ahead, nats_ahead=16' nats.16.16 800
}

# --- the relay ---

# A journal of that many messages, which nobody has relayed.
RELAY_MESSAGES=200000

relayed() { # RUNTIME-DIR
    "$B/msockctl" -r "$1" stats --json | awk -F'[:,]' '/"relayed"/ {print $2 + 0; exit}'
}

# From the first record that the stream has confirmed to the last one.
relay_catches_up() { # KEY JOURNAL NATS-PORT STREAM
    local runtime relay first from n
    runtime=$(mktemp -d "$SHM/run.XXXXXX")
    rm -f "$2/relay.position"
    relay="nats://127.0.0.1:$3?stream=$4&subject=$4.{kind}&stream_create=yes"
    next_port
    start "$B/msockd" -q -w 1 -l "msp://127.0.0.1:$PORT" -d "$2" -r "$runtime" -o "relay=$relay"
    wait_port "$PORT" "$STARTED"
    until first=$(relayed "$runtime") && [ "${first:-0}" -gt 0 ]; do sleep 0.01; done
    from=$EPOCHREALTIME
    until n=$(relayed "$runtime") && [ "$n" -ge "$RELAY_MESSAGES" ]; do sleep 0.05; done
    awk -v n="$((n - first))" -v from="$from" -v to="$EPOCHREALTIME" \
        'BEGIN {printf "{\"messages_per_second\":%.0f}\n", n / (to - from)}' | figures "$1"
    stop "$STARTED"
}

# As many are under way from libnats alone as from the relay.
group_relay() {
    local i nats_port journal
    start_nats && nats_port=$PORT
    start_msockd_at msp 2 journal && journal=$DIRECTORY
    noted "$B/msock" -u "msp://127.0.0.1:$PORT" bench -c 50 -s 256 --ahead 64 -n "$RELAY_MESSAGES" \
        >/dev/null || die 'no journal to relay'
    stop "$STARTED"
    for i in $(seq "$REPS"); do
        relay_catches_up relay "$journal" "$nats_port" "relay$i"
        nats_direct relay.same "$nats_port" all 4096
    done
    stop_all
    row '256 B, the relay catches up' 'libnats alone, the same messages, 4096 under way' relay \
        relay.same rate '>=' 0.8 msg/s
}
