# shellcheck shell=bash
# The temporary directories, and the processes started here, which are known and ended by pid.

PIDS=()
LOGS=0   # how many logs of processes there are
WORK=    # on the disk that is measured
SHM=     # in memory: sources of transfers, runtime directories
PORT=7900
STARTED= # pid of what was started last

process_begin() {
    local memory=/dev/shm
    WORK=$(mktemp -d "${BENCH_DIR:-/var/tmp}/msock-bench.XXXXXX") || exit 1
    [ -w "$memory" ] && [ "$(free_kib "$memory")" -gt 6000000 ] || memory=$WORK
    SHM=$(mktemp -d "$memory/msock-bench.XXXXXX") || exit 1
    MAIN=$BASHPID
    trap process_end EXIT
    trap 'exit 130' INT TERM HUP
    ulimit -n "$(ulimit -Hn)"
    case $(stat -f -c %T "$WORK") in
    tmpfs | ramfs) note "$WORK is in memory: durable figures mean nothing; set BENCH_DIR" ;;
    esac
    [ "$memory" = /dev/shm ] || note "/dev/shm is small: sources of transfers are on the disk"
}

process_end() {
    [ "$BASHPID" = "$MAIN" ] || return 0
    trap '' INT TERM HUP
    stop_all
    rm -rf "$WORK" "$SHM"
}

free_kib() { # DIRECTORY
    df -Pk "$1" | awk 'NR == 2 {print $4}'
}

# Runs in the background until stop; wait_port shows its output where it does not come up.
start() { # COMMAND...
    note_command "$@"
    LOGS=$((LOGS + 1))
    "$@" >"$WORK/log.$LOGS" 2>&1 </dev/null &
    STARTED=$!
    PIDS+=("$STARTED")
}

stop() { # PID
    local i
    for i in "${!PIDS[@]}"; do
        [ "${PIDS[i]}" = "$1" ] && unset "PIDS[i]"
    done
    kill "$1" 2>/dev/null || return 0
    for _ in {1..100}; do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.05
    done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    return 0
}

stop_all() {
    local pid
    for pid in ${PIDS[@]+"${PIDS[@]}"}; do
        stop "$pid"
    done
}

port_taken() { # PORT
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Chooses the next port of 7901 to 7999 that nobody listens on.
next_port() {
    for _ in {1..99}; do
        PORT=$((PORT < 7999 ? PORT + 1 : 7901))
        port_taken "$PORT" || return 0
    done
    die 'no free port from 7901 to 7999'
}

wait_port() { # PORT PID
    for _ in {1..200}; do
        port_taken "$1" && return 0
        kill -0 "$2" 2>/dev/null || break
        sleep 0.05
    done
    cat "$WORK/log.$LOGS" >&2
    die "no server on port $1 (pid $2)"
}

# A process and its children.
family() { # PID
    cat "/proc/$1/task"/*/children 2>/dev/null | awk -v p="$1" '{$1 = $1; printf "%s ", $0} END {print p}'
}

# The part that is not backed by files on a disk: of program text and libraries, what counts depends
# on who else has them mapped.
family_pss_kib() { # PID
    local pid fields='^Pss_(Anon|Shmem):'
    [ "${SHM#/dev/shm}" != "$SHM" ] || fields='^Pss:'
    for pid in $(family "$1"); do
        grep -E "$fields" "/proc/$pid/smaps_rollup"
    done | awk '{s += $2} END {print s + 0}'
}

# The same, once it no longer changes.
settled_pss_kib() { # PID
    local now=0 before=-1
    for _ in {1..50}; do
        sleep 0.2
        now=$(family_pss_kib "$1")
        [ "$now" = "$before" ] && break
        before=$now
    done
    echo "$now"
}

cpu_pids() { # PID
    local pids
    pids=$(family "$1")
    echo "${pids// /,}"
}
