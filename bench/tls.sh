# shellcheck shell=bash
# The group tls: handshakes, full and resumed, small messages and 1 GiB over TLS, with the certificate,
# the versions and the ciphers that nginx has as well.

make_certificates() {
    "$B/msockctl" pki init --dir "$WORK/pki" >/dev/null &&
        "$B/msockctl" pki issue --dir "$WORK/pki" --server --hosts 127.0.0.1 server >/dev/null ||
        die 'no certificates'
    TLS_OPTIONS=(-o tls=required -o tls_cert="$WORK/pki/server.pem" -o tls_key="$WORK/pki/server.key"
        -o tls_min=1.2)
}

# TLS 1.2 too: s_time reads nothing, and the ticket of TLS 1.3 comes behind the handshake. The same
# file comes again and again.
start_msockd_tls() { # WORKERS
    start_msockd_at msp "$1" journal -o dedup_window=0 "${TLS_OPTIONS[@]}"
}

# One client, a handshake after the other.
shake() { # KEY PORT OPTION...
    local key=$1 port=$2 begin=$EPOCHREALTIME end
    shift 2
    noted timeout 60 openssl s_time -connect "127.0.0.1:$port" -CAfile "$WORK/pki/ca.pem" \
        -time 2 "$@" >"$WORK/measured" 2>&1 || die "s_time failed: $*"
    end=$EPOCHREALTIME
    sample "$key" rate "$(awk -v b="$begin" -v e="$end" \
        '/ connections in .* real seconds/ {printf "%.6g", $1 / (e - b)}' "$WORK/measured")"
}

send_big_tls() { # PORT
    noted timeout 120 "$B/msock" send-file -q --no-progress -u "msp+tls://127.0.0.1:$1" \
        --ca "$WORK/pki/ca.pem" "$SHM/big"
}

put_big_tls() { # PORT DIRECTORY
    local sum
    note_command curl -sS -f --cacert CA -H Expect: -T "$SHM/big" "https://127.0.0.1:$1/up/big" \
        '&&' openssl dgst -sha256 '...'
    timeout 120 curl -sS -f --cacert "$WORK/pki/ca.pem" -H Expect: -T "$SHM/big" \
        "https://127.0.0.1:$1/up/big" || return 1
    sum=$(openssl dgst -sha256 -r "$2/www/up/big" | cut -d ' ' -f 1)
    [ "$sum" = "$BIG_SHA256" ]
}

# nginx answers a POST without looking at its body, and the connections stay.
compare_messages_tls() {
    local ca=$WORK/pki/ca.pem one one_port two two_port nginx nginx_port
    start_msockd_at msp 1 discard "${TLS_OPTIONS[@]}" && one=$STARTED one_port=$PORT
    start_msockd_at msp 2 discard "${TLS_OPTIONS[@]}" && two=$STARTED two_port=$PORT
    NGINX_TLS=$WORK/pki/server start_nginx 1024 && nginx=$STARTED nginx_port=$PORT
    for _ in $(seq "$REPS"); do
        measure tls-messages.w1 msp+tls "$one_port" "$one" -c 50 -s 256 --ca "$ca"
        measure tls-messages.nginx post+tls "$nginx_port" "$nginx" -c 50 -s 256 --ca "$ca"
        measure tls-messages.w2 msp+tls "$two_port" "$two" -c 50 -s 256 --ca "$ca"
        measure tls-ahead.w1 msp+tls "$one_port" "$one" -c 50 -s 256 --ca "$ca" --ahead 16
        measure tls-ahead.w2 msp+tls "$two_port" "$two" -c 50 -s 256 --ca "$ca" --ahead 16
    done
    stop_all
    row '256 B plain over TLS, discard, 50 connections' 'nginx POST over TLS, answered 204' \
        tls-messages tls-messages.nginx rate '>=' 1.2 msg/s
    row 'the same: CPU a message' 'the same' tls-messages tls-messages.nginx cpu_us '' '' us
    row '256 B plain over TLS, discard, 16 ahead' 'the same, one at a time' \
        tls-ahead tls-messages.nginx rate '' '' msg/s
}

group_tls() {
    local one one_dir two two_dir nginx nginx_dir
    make_certificates
    compare_messages_tls
    make_big_source
    start_msockd_tls 1 && one=$PORT one_dir=$DIRECTORY
    start_msockd_tls 2 && two=$PORT two_dir=$DIRECTORY
    NGINX_TLS=$WORK/pki/server start_nginx 1024 && nginx=$PORT nginx_dir=$DIRECTORY
    for _ in $(seq "$REPS"); do
        shake tls-full.w1 "$one" -new
        shake tls-full.nginx "$nginx" -new
        shake tls-full.w2 "$two" -new
        shake tls-resumed.w1 "$one" -reuse -tls1_2
        shake tls-resumed.nginx "$nginx" -reuse -tls1_2
        shake tls-resumed.w2 "$two" -reuse -tls1_2
        timed_big tls-file.w1 send_big_tls "$one"
        expect_big "$one_dir/files/big"
        timed_big tls-file.nginx put_big_tls "$nginx" "$nginx_dir"
        expect_big "$nginx_dir/www/up/big"
        timed_big tls-file.w2 send_big_tls "$two"
        expect_big "$two_dir/files/big"
    done
    stop_all
    row 'TLS handshakes, full' 'nginx, the same certificate' \
        tls-full tls-full.nginx rate '>=' 1.0 /s
    row 'TLS 1.2 handshakes, resumed' 'the same' tls-resumed tls-resumed.nginx rate '>=' 1.0 /s
    row 'file of 1 GiB over TLS, fsync, late digest' 'nginx PUT over TLS, then openssl dgst -sha256' \
        tls-file tls-file.nginx mb_per_s '>=' 1.5 MB/s
}
