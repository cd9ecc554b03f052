#!/bin/sh
# Runs the fuzzers: `tests/fuzz/run.sh BUILD`, or `make fuzz`. Each begins with the inputs of
# corpus/TARGET and may take $FUZZ_S seconds (default 30). FUZZ=word runs those with the word in their
# name. What is found is kept in BUILD/found-TARGET-*, and the status is 1.
set -eu
build=$1
here=$(dirname "$0")
seconds=${FUZZ_S:-30}
# To keep more of what was freed takes a third of the time: each allocation then has new pages.
export ASAN_OPTIONS="quarantine_size_mb=8${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
status=0

# TARGET PROGRAM [NAME=VALUE...]
targets() {
    for proto in $(sed -n "s/^ *X(\([a-z0-9]*\),.*/\1/p" "$here/../../src/proto/proto_table.h"); do
        echo "$proto-server fuzz_proto FUZZ_PROTO=$proto FUZZ_ROLE=server"
        [ $proto = auto ] || echo "$proto-client fuzz_proto FUZZ_PROTO=$proto FUZZ_ROLE=client"
    done
    echo 'json fuzz_json'
    echo 'config fuzz_config'
    echo 'recovery fuzz_recovery'
    echo 'handover fuzz_handover'
    echo 'stats fuzz_stats'
    echo 'proxy fuzz_proxy'
}

chosen=$(targets | grep -e "${FUZZ:-}") || {
    echo "run.sh: no fuzzer has \"${FUZZ:-}\" in its name" >&2
    exit 1
}
while read -r target program env; do
    mkdir -p "$build/corpus/$target"
    seeds=$here/corpus/$target
    [ -d "$seeds" ] || seeds=
    log=$build/$target.log
    # shellcheck disable=SC2086 # env is words, and seeds may be none
    if env $env "$build/tests/fuzz/$program" -max_total_time="$seconds" -timeout=20 \
        -rss_limit_mb=4096 -max_len=65536 -artifact_prefix="$build/found-$target-" \
        "$build/corpus/$target" $seeds >"$log" 2>&1 </dev/null; then
        echo "$target: $(sed -n 's/^Done \([0-9]* runs\).*/\1/p' "$log"), nothing found"
    else
        status=1
        echo "$target: FOUND, see $log:"
        grep -m 3 -E 'ERROR|SUMMARY|runtime error|^Test unit written' "$log" || tail -n 3 "$log"
    fi
done <<EOF
$chosen
EOF
exit $status
