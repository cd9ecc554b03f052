#!/usr/bin/env bash
# Measures msockd beside its peers on this machine and prints the ratios. docs/benchmarks.md says
# what each row means. usage: bench/run.sh [GROUP...]; without one, all of them.
#   B=build        where the programs were built
#   REPS=3         times that each side of a comparison runs, in turn
#   DURATION=1     seconds that a load is measured, after 0.2 s of warm-up
#   BENCH_DIR=/var/tmp   a directory on the disk that is to be measured
#   BENCH_OUT=FILE       also all figures as one JSON object
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/.." || exit 1
B=${B:-build}
REPS=${REPS:-3}
DURATION=${DURATION:-1}
ALL_GROUPS=(small ahead json durable ids rate file discard files memory scale echo burst fanout nats relay python dropins tls sandbox reload)

# shellcheck source=bench/install.sh
. "$HERE/install.sh"
# shellcheck source=bench/process.sh
. "$HERE/process.sh"
# shellcheck source=bench/servers.sh
. "$HERE/servers.sh"
# shellcheck source=bench/results.sh
. "$HERE/results.sh"
# shellcheck source=bench/messages.sh
. "$HERE/messages.sh"
# shellcheck source=bench/protocols.sh
. "$HERE/protocols.sh"
# shellcheck source=bench/transfers.sh
. "$HERE/transfers.sh"
# shellcheck source=bench/tls.sh
. "$HERE/tls.sh"
# shellcheck source=bench/sandbox.sh
. "$HERE/sandbox.sh"
# shellcheck source=bench/connections.sh
. "$HERE/connections.sh"
# shellcheck source=bench/nats.sh
. "$HERE/nats.sh"
# shellcheck source=bench/python.sh
. "$HERE/python.sh"
# shellcheck source=bench/reload.sh
. "$HERE/reload.sh"

usage() {
    echo "usage: bench/run.sh [GROUP...]   groups: ${ALL_GROUPS[*]}" >&2
    exit 64
}

check_arguments() {
    local group
    for group in "$@"; do
        [[ " ${ALL_GROUPS[*]} " == *" $group "* ]] || usage
    done
    [[ $REPS =~ ^[1-9][0-9]*$ && $DURATION =~ ^[0-9]+([.][0-9]+)?$ ]] || usage
}

check_programs() {
    local program
    for program in msockd msock; do
        [ -x "$B/$program" ] || die "no $B/$program; build it by: make B=$B all"
    done
}

main() {
    local group
    check_arguments "$@"
    check_programs
    install_peers
    process_begin
    [ $# -gt 0 ] || set -- "${ALL_GROUPS[@]}"
    for group in "$@"; do
        echo "measuring: $group" >&2
        "group_$group"
    done
    print_results "$@"
}

main "$@"
