#!/bin/sh
# Runs the test programs it is given, one after the other, and says at the end what passed and failed.
# usage: run.sh BUILD-DIRECTORY PROGRAM...    RUNNER="valgrind ..." runs each of them under another
set -u
build=$1
shift
MSOCK_BUILD=$(cd "$build" && pwd) || exit 1
MSOCK_SOURCE=$(cd "$(dirname "$0")/.." && pwd)
export MSOCK_BUILD MSOCK_SOURCE
passed=0 failed=0 skipped=0 broken=
for program in "$@"; do
    printf '== %s\n' "${program#"$build"/}"
    log=$(mktemp)
    ${RUNNER:-} "$program" >"$log" 2>&1
    status=$?
    grep -E '^\[  (PASSED|FAILED|SKIPPED) |^\[ +(ERROR|  LINE) ' "$log"
    p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    s=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ $status -ne 0 ] || [ "$p" -eq 0 ]; then
        broken="$broken ${program##*/}"
        [ "$f" -eq 0 ] && failed=$((failed + 1))
        echo "-- output of ${program##*/} (exit status $status):"
        tail -n 200 "$log"
    fi
    rm -f "$log"
done
[ -z "$broken" ] || echo "failed:$broken"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
