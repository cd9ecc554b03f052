#!/usr/bin/env bash
# Runs test programs, several at a time, and says at the end what passed and failed.
# usage: run.sh [-j N] BUILD-DIRECTORY PROGRAM...
#   TEST=journal         only programs with that in their name
#   TEST=journal:torn    and of these only the tests whose names begin so
#   -j 4, or JOBS=4      programs at a time (default: twice the cores; most of them wait)
#   LIMIT=900            seconds for one program, then it is ended
#   RUNNER="valgrind"    runs each program under another
set -u
while getopts j: option; do
    [ "$option" = j ] && JOBS=$OPTARG || exit 64
done
shift $((OPTIND - 1))
build=$1
shift
MSOCK_BUILD=$(cd "$build" && pwd) || exit 1
MSOCK_SOURCE=$(cd "$(dirname "$0")/.." && pwd)
CMOCKA_TEST_FILTER=
name=${TEST:-}
case $name in *:*) CMOCKA_TEST_FILTER="${name#*:}*" name=${name%%:*} ;; esac
export MSOCK_BUILD MSOCK_SOURCE CMOCKA_TEST_FILTER
JOBS=${JOBS:-$((2 * $(nproc)))}
LIMIT=${LIMIT:-900}
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT

# timeout(1) gives each program a process group of its own and hands signals on to it.
stop() {
    local pid
    for pid in "$logs"/*.pid; do
        [ -e "${pid%.pid}.status" ] || kill "$(cat "$pid")" 2>/dev/null
    done
    exit 130
}
trap stop INT TERM

# One program: its output, pid and exit status go to files named after its path, since a unit test
# and a system test may have the same name.
log_of() { # PROGRAM LOGS
    echo "$2/${1//\//-}"
}

run_one() { # PROGRAM LOGS LIMIT
    local log
    log=$(log_of "$1" "$2")
    # shellcheck disable=SC2086 # RUNNER may have arguments
    timeout --kill-after=5 "$3" ${RUNNER:-} "$1" >"$log" 2>&1 </dev/null &
    echo $! >"$log.pid"
    wait $!
    echo $? >"$log.status"
}
export -f run_one log_of

count() { # WORD LOG
    sed -n "s/^\[ *$1 *\] \([0-9]*\) test.*/\1/p" "$2" | awk '{n += $1} END {print n + 0}'
}

passed=0 failed=0 skipped=0 broken=()
report() { # PROGRAM
    local log status p f s
    log=$(log_of "$1" "$logs")
    status=$(cat "$log.status" 2>/dev/null || echo 255)
    p=$(count PASSED "$log") f=$(count FAILED "$log") s=$(count SKIPPED "$log")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ -n "$CMOCKA_TEST_FILTER" ] && [ "$status" -eq 0 ] && return
    # One that was ended before its first test says nothing, and is broken.
    if [ "$status" -eq 0 ] && [ $((p + s)) -gt 0 ]; then
        grep -E '^\[  SKIPPED \] [a-z]' "$log"
        return
    fi
    broken+=("${1##*/}")
    [ "$f" -gt 0 ] || failed=$((failed + 1))
    [ "$status" -ne 124 ] && [ "$status" -ne 137 ] || echo "-- ${1##*/} did not end within $LIMIT s"
    echo "-- output of ${1##*/} (exit status $status):"
    tail -n 200 "$log"
}

programs=()
for program in "$@"; do
    [[ ${program##*/} == *"$name"* ]] && programs+=("$program")
done
[ ${#programs[@]} -gt 0 ] || { echo "run.sh: no test program has \"$name\" in its name" >&2; exit 1; }

# The longest ones first, so that none is left alone at the end: those that compute, and then those
# that wait.
printf '%s\n' "${programs[@]}" |
    awk '{print (/no_memory|power_cut|recovery|soak/ ? 0 : /system/ ? 1 : 2) "\t" $0}' | sort -s -k1,1n |
    cut -f2 | xargs -P "$JOBS" -I{} bash -c 'run_one "$@"' run_one {} "$logs" "$LIMIT" &
runners=$!
if [ -t 1 ]; then
    while kill -0 "$runners" 2>/dev/null; do
        printf '\r%d of %d programs' "$(find "$logs" -name '*.status' | wc -l)" ${#programs[@]}
        sleep 0.2
    done
    printf '\r%*s\r' 40 ''
fi
wait "$runners"
for program in "${programs[@]}"; do
    report "$program"
done
[ ${#broken[@]} -eq 0 ] || echo "failed: ${broken[*]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
