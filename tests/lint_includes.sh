#!/bin/sh
# Who may include whom: arrows between the folders of src/ and tools/ point down only. And a heading
# in a header ("--- the lock (run_dir.c) ---") names only files that are beside it. Prints every
# include that points elsewhere and every such heading as FILE:LINE: text, and exits 1 where there is
# one.
set -eu
cd "$(dirname "$0")/.."

# The folders that a file may include from, besides its own.
allowed() {
    case $1 in
    src/common/*) echo ;;
    src/bus/*) echo common ;;
    src/proto/*) echo common ;;
    src/stats/*) echo common ;;
    src/tls/*) echo common ;;
    src/dedup/*) echo common stats ;;
    src/sources/*) echo common stats ;;
    src/config/*) echo common proto tls ;; # the limits of the protocols
    src/nats/*) echo common ;;
    src/handler/*) echo proto config common bus dedup nats ;;
    src/relay/*) echo common proto stats config nats handler ;;
    src/worker/*) echo common tls proto stats dedup sources config handler bus ;;
    src/master/main.c) echo stats config common worker relay bus ;;
    src/master/*) echo stats dedup sources config common bus tls ;;
    src/client/*) echo proto common tls ;;
    src/embed/*) echo common proto stats dedup config tls ;;
    tools/msockctl/doctor/*) echo stats common config ;;
    tools/msockctl/*) echo stats common ;;
    tools/msock/*) echo common ;;
    tools/bench/*) echo common proto tls msock ;; # the table of subcommands
    *) echo NOTHING ;;
    esac
}

# Headers that a file may include beyond its folders.
excepted() {
    case $1:$2 in
    src/master/*:worker/child.h | src/relay/*:worker/child.h) return 0 ;; # what a worker inherits
    src/relay/*:worker/sandbox/sandbox.h) return 0 ;;
    src/master/main.c:handler/journal/data_dir.h) return 0 ;; # main puts the parts together
    src/master/main.c:handler/handler.h) return 0 ;;  # the checks of -t
    src/master/main.c:handler/nats/target.h) return 0 ;;
    src/client/*:msock.h | tools/msock/*:msock.h) return 0 ;; # the installed header
    src/embed/*:msock_server.h | tools/msock/*:msock_server.h) return 0 ;;
    src/embed/*:worker/worker.h) return 0 ;;          # a worker inside another program
    src/embed/*:handler/handler.h) return 0 ;;
    tools/msockctl/cmd_verify.c:handler/journal/verify.h) return 0 ;; # reads a journal offline
    tools/msockctl/cmd_segments.c:handler/journal/segment_list.h) return 0 ;;
    tools/msockctl/doctor/*:handler/journal/segment_list.h) return 0 ;;
    tools/msockctl/doctor/*:handler/journal/data_dir.h) return 0 ;;
    src/handler/module/*:msock_module.h) return 0 ;;  # what modules are written against
    esac
    return 1
}

check() { # FILE HEADER
    case $2 in
    ../* | */../* | ./*) return 1 ;;
    esac
    excepted "$1" "$2" && return 0
    own=${1#*/}
    own=${own%%/*}
    case $2 in
    */*) from=${2%%/*} ;;
    *) [ -e "${1%/*}/$2" ] && return 0; return 1 ;;
    esac
    [ "$from" = "$own" ] && return 0
    for folder in $(allowed "$1"); do
        [ "$from" = "$folder" ] && return 0
    done
    return 1
}

found=$(find src tools -name '*.[ch]' | LC_ALL=C sort | while IFS= read -r file; do
    grep -n '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file" | while IFS= read -r line; do
        header=${line#*\"}
        header=${header%%\"*}
        check "$file" "$header" || printf '%s:%s\n' "$file" "$line"
    done
done
find src tools -name '*.h' | LC_ALL=C sort | while IFS= read -r file; do
    grep -n '^/\* --- .* --- \*/' "$file" | while IFS= read -r line; do
        for name in $(printf '%s\n' "$line" | grep -oE '[[:alnum:]_]+\.c\>'); do
            [ -e "${file%/*}/$name" ] || printf '%s:%s\n' "$file" "$line"
        done
    done
done)

# A member that is not packed does not come to the workers.
members() { # STRUCT
    sed -n "/^struct $1 {/,/^};/p" src/config/config.h | tr '\n' ' ' |
        sed 's,/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/,,g; s,^[^{]*{,,; s/}.*//; s/\[[^]]*\]//g' | tr ';' '\n' |
        sed 's/^.*[ *]\([a-z_0-9]*, \)/\1/' | grep -o '[a-z_0-9]* *\(,\|$\)' | tr -d ' ,'
}
for struct in config listener_config; do
    for member in $(members $struct); do
        grep -q "[ (&]\(config->\|l->\|$struct, \)$member\b" src/config/config_pack.c ||
            found="$found src/config/config.h: $struct.$member is not in config_pack.c"
    done
done

[ -z "$found" ] && exit 0
printf '%s\n' "$found"
exit 1
