#!/bin/sh
# The source of the next version, as releases are: another option, other counters and members. Files
# have the times of those that they are made of, so that make builds only what has changed.
# usage: next_version.sh DIRECTORY
set -eu
cd "$(dirname "$0")/.."
from=$PWD
mkdir -p "$1"
cd "$1"
rm -rf include src tools
cp -Rp "$from/Makefile" "$from/include" "$from/src" "$from/tools" .

# Puts text behind the end of the line that begins so.
add() { # FILE LINE TEXT
    grep -q "^$2" "$1" || { echo "next_version.sh: $1 has no line \"$2\"" >&2; exit 1; }
    TEXT=$3 awk -v line="^$2" '{ printf "%s%s\n", $0, $0 ~ line ? ENVIRON["TEXT"] : "" }' \
        "$1" >"$1.new"
    mv "$1.new" "$1"
    touch -r "$from/$1" "$1"
    [ -z "$(find "$from/tests/next_version.sh" -newer "$1")" ] || touch -r "$from/tests/next_version.sh" "$1"
}

add src/config/config_options.h '    OPTION_DATA_DIR,' ' OPTION_NEXT,'
add src/config/config_options.c 'const struct config_option config_options' '
    [OPTION_NEXT] = {"next", NUMBER(BOTH, 0, 1000, "things"), .initial = "3", .help = ""},'
add src/config/config.h '    bool workers_set;' '
    unsigned next;'
add src/config/config_pack.c '    .VALUE.config, listener_count' ' {VALUE(config, next)},'
add src/config/config.c '    config->sync = ' '
    config->next = (unsigned)number[OPTION_NEXT];'
add src/proto/limits.h 'struct proto_limits {' '
    uint64_t next_limit;'
add src/stats/stats_layout.h '    N.cut, ' ' \
    N(next_conn, "of the next version")'
add src/stats/stats_layout.h '    X.missing, ' ' \
    X(next_total, "of the next version")'
add src/worker/conn.c '    stats_add.*counters.accepted, 1' '
    stats_add(&w->stats.block->counters.next_total, w->child->config->next);'
