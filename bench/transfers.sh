# shellcheck shell=bash
# Large transfers: file (1 GiB to the disk), discard (1 GiB to nowhere), files (2,000 of 64 KiB).

GIB=$((1 << 30))
FILES=2000

# Random bytes, so that nothing on the way can make them fewer.
random_bytes() { # COUNT
    openssl enc -aes-128-ctr -pass pass:bench -nosalt -pbkdf2 </dev/zero 2>/dev/null | head -c "$1"
}

make_big_source() {
    [ -e "$SHM/big" ] || random_bytes "$GIB" >"$SHM/big"
    BIG_SHA256=$(openssl dgst -sha256 -r "$SHM/big" | cut -d ' ' -f 1)
}

make_many_source() {
    mkdir "$SHM/many"
    random_bytes $((FILES * 65536)) | (cd "$SHM/many" && split -b 65536 -a 4 -d - f)
}

# A page that the machine has not touched lately can cost several times as much as one that it has,
# so as many as a transfer needs are touched and given back before each.
warm_pages() { # BYTES
    [ "${SHM#/dev/shm}" != "$SHM" ] || return 0
    head -c "$1" /dev/zero >"$SHM/warm"
    rm -f "$SHM/warm"
}

# Runs and times COMMAND once nothing else waits to be written.
timed() { # KEY METRIC AMOUNT COMMAND...
    local key=$1 metric=$2 amount=$3 begin end
    shift 3
    sync -f "$WORK"
    begin=$EPOCHREALTIME
    "$@" >"$WORK/timed.log" 2>&1 || {
        cat "$WORK/timed.log" >&2
        die "failed: $*"
    }
    end=$EPOCHREALTIME
    sample "$key" "$metric" "$(awk -v a="$amount" -v b="$begin" -v e="$end" \
        'BEGIN {printf "%.6g", a / (e - b)}')"
}

timed_big() { # KEY COMMAND...
    local key=$1
    shift
    warm_pages $((5 * GIB / 2))
    timed "$key" mb_per_s 1073.741824 "$@"
}

expect_big() { # PATH
    [ "$(stat -c %s "$1" 2>/dev/null)" = "$GIB" ] || die "$1 is not whole"
    rm -f "$1"
}

# --- what is timed ---

send_big() { # PORT
    noted timeout 120 "$B/msock" send-file -q --no-progress -u "msp://127.0.0.1:$1" "$SHM/big"
}

put_big() { # PORT DIRECTORY
    local sum
    note_command curl -sS -f -H Expect: -T "$SHM/big" "http://127.0.0.1:$1/up/big" '&&' \
        openssl dgst -sha256 '...'
    timeout 120 curl -sS -f -H Expect: -T "$SHM/big" "http://127.0.0.1:$1/up/big" || return 1
    sum=$(openssl dgst -sha256 -r "$2/www/up/big" | cut -d ' ' -f 1)
    [ "$sum" = "$BIG_SHA256" ]
}

rsync_big() { # PORT
    noted timeout 120 rsync -W --fsync "$SHM/big" "rsync://127.0.0.1:$1/up/"
}

copy_big() { # DIRECTORY
    cp "$SHM/big" "$1/big" && sync "$1/big"
}

group_file() {
    local nginx_port rsync_port nginx_dir rsync_dir
    make_big_source
    start_both msp journal -o dedup_window=0 # the same file comes again and again
    start_nginx 1024 && nginx_port=$PORT nginx_dir=$DIRECTORY
    start_rsync && rsync_port=$PORT rsync_dir=$DIRECTORY
    for _ in $(seq "$REPS"); do
        timed_big file.w1 send_big "$ONE_PORT"
        expect_big "$ONE_DIR/files/big"
        timed_big file.nginx put_big "$nginx_port" "$nginx_dir"
        expect_big "$nginx_dir/www/up/big"
        timed_big file.w2 send_big "$TWO_PORT"
        expect_big "$TWO_DIR/files/big"
        timed_big file.rsync rsync_big "$rsync_port"
        expect_big "$rsync_dir/up/big"
        timed_big file.cp-and-fsync copy_big "$WORK"
        expect_big "$WORK/big"
    done
    stop_all
    row 'file of 1 GiB, fsync, late digest' 'nginx PUT, then openssl dgst -sha256' \
        file file.nginx mb_per_s '>=' 1.5 MB/s
    row 'the same' 'rsync daemon, fsync' file file.rsync mb_per_s '>=' 1.1 MB/s
}

# --- nowhere ---

# What a digest alone does on one core.
openssl_speed() { # KEY DIGEST BYTES
    noted openssl speed -mr -seconds 1 -bytes "$3" -evp "$2" 2>/dev/null >"$WORK/measured"
    sample "$1" mb_per_s "$(awk -F: '/^\+F:/ {printf "%.6g", $4 / 1e6}' "$WORK/measured")"
}

# What the receiver can take: the generator has its sums ready, so that it does not hash on the core
# that the receiver's other half needs.
generate_big() { # KEY PORT
    load "$1" -u "msp://127.0.0.1:$2" --size $GIB --messages 1 --connections 1 --late-digest
}

group_discard() {
    make_big_source
    start_both msp discard
    for _ in $(seq "$REPS"); do
        generate_big discard.w1 "$ONE_PORT"
        openssl_speed discard.openssl sha256 1048576
        generate_big discard.w2 "$TWO_PORT"
        timed_big discard-file.w1 send_big "$ONE_PORT"
        timed_big discard-file.w2 send_big "$TWO_PORT"
    done
    stop_all
    row 'one message of 1 GiB, discard' 'openssl speed of SHA-256, 1 MiB blocks' \
        discard discard.openssl mb_per_s '>=' 0.6 MB/s
    row 'the same by msock send-file, which hashes too' 'the same' \
        discard-file discard.openssl mb_per_s '' '' MB/s
}

# --- many ---

# Eight senders at once, a connection and a part of the files each.
send_many() { # PORT DIRECTORY
    local files=("$SHM/many"/*) part=$((FILES / 8)) i pids=() failed=0
    note_command timeout 120 "$B/msock" send-file -q --no-progress -u "msp://127.0.0.1:$1" --as DIR/ \
        FILE... '# 8 at once, 250 files each'
    for i in {0..7}; do
        timeout 120 "$B/msock" send-file -q --no-progress -u "msp://127.0.0.1:$1" --as "$2/" \
            "${files[@]:i*part:part}" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || failed=1
    done
    return "$failed"
}

rsync_many() { # PORT DIRECTORY
    noted timeout 120 rsync -rW --fsync "$SHM/many/" "rsync://127.0.0.1:$1/up/$2/"
}

timed_many() { # KEY COMMAND...
    local key=$1
    shift
    warm_pages $((GIB / 2))
    timed "$key" files_per_s "$FILES" "$@"
}

expect_many() { # DIRECTORY
    [ "$(find "$1" -type f -size 64k | wc -l)" = "$FILES" ] || die "$1 is not complete"
}

# Nothing is deleted and each run has a directory of its own: ext4 creates files slowly where many
# were deleted a short time ago.
group_files() {
    local rsync_port rsync_dir rep
    make_many_source
    start_both msp journal
    start_rsync && rsync_port=$PORT rsync_dir=$DIRECTORY
    for rep in $(seq "$REPS"); do
        timed_many files.w1 send_many "$ONE_PORT" "run$rep"
        expect_many "$ONE_DIR/files/run$rep"
        timed_many files.rsync rsync_many "$rsync_port" "run$rep"
        expect_many "$rsync_dir/up/run$rep"
        timed_many files.w2 send_many "$TWO_PORT" "run$rep"
        expect_many "$TWO_DIR/files/run$rep"
    done
    stop_all
    row '2,000 files of 64 KiB, 8 connections, fsync' 'rsync daemon, fsync' \
        files files.rsync files_per_s '>=' 1.3 files/s
}
