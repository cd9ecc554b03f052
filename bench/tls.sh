# shellcheck shell=bash
# The group tls: handshakes, full and resumed, and 1 GiB over TLS, with the certificate that nginx has
# as well.

make_certificates() {
    "$B/msockctl" pki init --dir "$WORK/pki" >/dev/null &&
        "$B/msockctl" pki issue --dir "$WORK/pki" --server --hosts 127.0.0.1 server >/dev/null ||
        die 'no certificates'
}

# TLS 1.2 too: s_time reads nothing, and the ticket of TLS 1.3 comes behind the handshake.
start_msockd_tls() { # WORKERS
    start_msockd_at msp "$1" journal -o tls=required -o tls_cert="$WORK/pki/server.pem" \
        -o tls_key="$WORK/pki/server.key" -o tls_min=1.2
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

group_tls() {
    local one one_dir two two_dir nginx nginx_dir
    make_certificates
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
