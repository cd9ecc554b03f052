# shellcheck shell=bash
# Keeps what was measured and prints it: $WORK/samples has "KEY METRIC VALUE" lines, $WORK/rows one
# tab-separated line for each row of the table.

note() {
    echo "bench: $*" >&2
    echo "$*" >>"$WORK/notes"
}

# Remembers each kind of command once, without the names of temporary directories.
note_command() {
    local line="$*"
    line=${line//"$WORK"/\$DIR}
    line=${line//"$SHM"/\$SHM}
    # shellcheck disable=SC2016 # the names stand for themselves
    line=$(sed -E 's/(\$DIR\/[a-z]+|\$SHM\/run)\.[A-Za-z0-9]{6}/\1/g; s/\b79[0-9]{2}\b/PORT/g
        s/(--cpu-of )[0-9,]+/\1PIDS/' <<<"$line")
    grep -qxF -e "$line" "$WORK/commands" 2>/dev/null || printf '%s\n' "$line" >>"$WORK/commands"
}

# Runs a command that is to be remembered.
noted() { # COMMAND...
    note_command "$@"
    "$@"
}

sample() { # KEY METRIC VALUE
    echo "$1 $2 $3" >>"$WORK/samples"
}

# From "name=value name=value ..." on standard input.
samples() { # KEY
    awk -v key="$1" '{for (i = 1; i <= NF; i++) {split($i, part, "="); print key, part[1], part[2]}}' \
        >>"$WORK/samples"
}

# From the JSON object of `msock bench` on standard input.
figures() { # KEY
    tr ',{}' '\n' | awk -F: -v key="$1" '
        BEGIN {
            name["messages_per_second"] = "rate"; name["mb_per_second"] = "mb_per_s"
            name["p50"] = "p50_us"; name["p99"] = "p99_us"; name["max"] = "max_us"
            name["generator_cpu"] = "generator_cpu"; name["server_cpu"] = "server_cpu"
            name["cpu_us"] = "cpu_us"; name["flushes"] = "flushes"
        }
        {gsub(/"/, "", $1)}
        $1 in name && !($1 in seen) {seen[$1] = 1; print key, name[$1], $2}' >>"$WORK/samples"
}

# A row of the table: METRIC of OURS.w1 and OURS.w2 against that of THEIRS. Where THEIRS ends with a
# dot, each is compared with its like (THEIRS w1, THEIRS w2). RELATION and TARGET: of ours / theirs.
row() { # LABEL AGAINST OURS THEIRS METRIC RELATION TARGET UNIT
    local IFS=$'\t'
    echo "$*" >>"$WORK/rows"
}

version_of() { # PACKAGE
    dpkg-query -W -f='${Package} ${Version}' "$1" 2>/dev/null
}

disk_of() { # DIRECTORY
    df -PT "$1" | awk 'NR == 2 {print $1 ", " $2}'
}

print_machine() {
    local package
    echo "cores    $(nproc), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    echo "kernel   $(uname -sr)"
    echo "disk     $(disk_of "$WORK"), under ${BENCH_DIR:-/var/tmp}"
    echo "load     $(cut -d ' ' -f 1-3 /proc/loadavg) at the end (1, 5, 15 minutes)"
    echo "msockd   $("$B/msockd" -V)"
    for package in redis-server beanstalkd nginx rsync curl openssl nats-server libnats3.4 mosquitto haproxy; do
        echo "peer     $(version_of "$package")"
    done
    echo "runs     $REPS of each side in turn, ${DURATION} s each after 0.2 s of warm-up"
}

print_footnotes() {
    echo 'Ours and theirs by the same generator, msock bench; the ping-pong is msock bench --pong.'
    echo '(w1), (w2): whether -w 1 or -w 2 counted; a p99 is of the one whose rate is higher.'
    awk -v cross=1 -f "$HERE/table.awk" "$WORK/samples"
}

print_results() { # GROUP...
    echo
    print_machine
    echo
    awk -f "$HERE/table.awk" "$WORK/samples" "$WORK/rows"
    echo
    print_footnotes
    echo
    echo 'all figures: median (lowest to highest)'
    awk -v list=1 -f "$HERE/table.awk" "$WORK/samples"
    echo
    # shellcheck disable=SC2016 # as above
    echo 'commands ($DIR on the disk, $SHM in memory)'
    sed 's/^/  /' "$WORK/commands"
    [ ! -s "$WORK/notes" ] || sed 's/^/note: /' "$WORK/notes"
    [ -z "${BENCH_OUT:-}" ] || write_json "$*"
}

json_string() {
    sed 's/["\\]/\\&/g; s/^/"/; s/$/"/'
}

write_json() { # GROUPS
    {
        printf '{"groups":%s,"machine":[' "$(json_string <<<"$1")"
        print_machine | json_string | paste -s -d ,
        printf '],"commands":['
        json_string <"$WORK/commands" | paste -s -d ,
        printf '],'
        awk -v json=1 -f "$HERE/table.awk" "$WORK/samples" "$WORK/rows"
        printf '}\n'
    } >"$BENCH_OUT"
}
