# shellcheck shell=bash
# Starts each server on its own port with its own configuration. All leave PORT and STARTED.

next_directory() { # NAME; leaves DIRECTORY
    DIRECTORY=$(mktemp -d "$WORK/$1.XXXXXX") || die "no directory in $WORK"
}

# The runtime directory is in memory, as /run is.
start_msockd_at() { # PROTOCOL WORKERS HANDLER [OPTION...]
    local protocol=$1 workers=$2 handler=$3 runtime
    shift 3
    next_port
    next_directory msockd
    runtime=$(mktemp -d "$SHM/run.XXXXXX")
    start "$B/msockd" -q -w "$workers" -l "$protocol://127.0.0.1:$PORT?handler=$handler&backlog=4096" \
        -d "$DIRECTORY" -r "$runtime" -o idle_timeout=600s "$@"
    wait_port "$PORT" "$STARTED"
}

# One with a worker and one with two: leaves ONE and TWO with _PORT and _DIR of each.
# shellcheck disable=SC2034 # the groups use them
start_both() { # PROTOCOL HANDLER [OPTION...]
    start_msockd_at "$1" 1 "${@:2}" && ONE=$STARTED ONE_PORT=$PORT ONE_DIR=$DIRECTORY
    start_msockd_at "$1" 2 "${@:2}" && TWO=$STARTED TWO_PORT=$PORT TWO_DIR=$DIRECTORY
}

start_redis() { # OPTION...
    next_port
    next_directory redis
    start redis-server --port "$PORT" --bind 127.0.0.1 --save '' --dir "$DIRECTORY" \
        --tcp-backlog 4096 "$@"
    wait_port "$PORT" "$STARTED"
}

start_redis_durable() {
    start_redis --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0
}

start_beanstalkd() {
    next_port
    next_directory beanstalkd
    start beanstalkd -l 127.0.0.1 -p "$PORT" -b "$DIRECTORY" -f0
    wait_port "$PORT" "$STARTED"
}

start_ping() { # REQUEST-BYTES [REPLY-BYTES]
    next_port
    start "$B/msock" bench --pong "$PORT:$1:${2:-10}"
    wait_port "$PORT" "$STARTED"
}

write_nginx_configuration() { # DIRECTORY CONNECTIONS
    mkdir -p "$1/www/up" "$1/body"
    cat >"$1/nginx.conf" <<CONFIGURATION
load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;
daemon off;
user $(id -un);
worker_processes 2;
pid $1/nginx.pid;
error_log $1/error.log error;
events { worker_connections $2; }
http {
    access_log off;
    default_type text/plain;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path $1/body;
    proxy_temp_path $1/proxy;
    fastcgi_temp_path $1/fastcgi;
    uwsgi_temp_path $1/uwsgi;
    scgi_temp_path $1/scgi;
    server {
        listen 127.0.0.1:$PORT ${NGINX_TLS:+ssl} backlog=4096;
        ${NGINX_TLS:+ssl_certificate $NGINX_TLS.pem; ssl_certificate_key $NGINX_TLS.key; ssl_protocols TLSv1.2 TLSv1.3;}
        root $1/www;
        location = /idle { return 204; }
        location /up/ { dav_methods PUT; create_full_put_path on; }
    }
}
CONFIGURATION
}

# NGINX_TLS: the certificate and the key, without .pem and .key; empty: without TLS.
start_nginx() { # CONNECTIONS
    next_port
    next_directory nginx
    write_nginx_configuration "$DIRECTORY" "$1"
    start "$(command -v nginx || echo /usr/sbin/nginx)" -c "$DIRECTORY/nginx.conf" -p "$DIRECTORY"
    wait_port "$PORT" "$STARTED"
}

start_rsync() {
    next_port
    next_directory rsync
    mkdir "$DIRECTORY/up"
    cat >"$DIRECTORY/rsyncd.conf" <<CONFIGURATION
pid file = $DIRECTORY/rsyncd.pid
log file = $DIRECTORY/rsyncd.log
port = $PORT
address = 127.0.0.1
use chroot = no
$([ "$(id -u)" != 0 ] || printf 'uid = root\ngid = root\n')
[up]
path = $DIRECTORY/up
read only = no
CONFIGURATION
    start rsync --daemon --no-detach --config="$DIRECTORY/rsyncd.conf"
    wait_port "$PORT" "$STARTED"
}
