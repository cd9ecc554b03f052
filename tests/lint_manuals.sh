#!/bin/sh
# The manuals and the programs of a build directory ($1, "build" by default) know the same commands, long
# options, exit statuses and counters, and the manuals have each of them once. Every code in
# docs/protocol.md is in the code, and so is every kind of log line that msockctl explains. Prints what is on one side only, and exits 1 where there is something.
set -eu
cd "$(dirname "$0")/.."
B=${1:-build}
found=$(mktemp)
trap 'rm -f "$found" "$found.help"' EXIT

say() {
    echo "$*" >>"$found"
}

# The long options of a help text: those of its own rows.
in_help() {
    "$@" --help >"$found.help" || say "$* --help ends with $?"
    sed -nE 's/^  (-., |    )--([a-z-]+).*/\2/p; s/^  --([a-z-]+).*/\1/p' "$found.help" | sort -u
}

# "SECTION OPTION" for each long option of a manual that has an entry.
entries() {
    awk '/^\.S[hs] / {section = substr($0, 5); gsub(/[ "]/, "-", section)}
         /^\.It Cm / {command = $3}
         /^\.It Fl / {for (i = 3; i <= NF; i++)
             if ($i ~ /^-[a-z][a-z-]+$/) print section, substr($i, 2), command}' "$1"
}

# The long options of a manual, wherever they stand.
in_manual() {
    grep -E '^\..*Fl ' "$1" | grep -oE ' -[a-z][a-z-]+' | sed 's/^ -//' | sort -u
}

# Two lists of words: each word of the first one is in the second one.
each() { # WHAT IT-IS MISSING-FROM LIST LIST
    for word in $4; do
        echo "$5" | grep -qxe "$word" || say "$2: $1 $word is not in $3"
    done
}

statuses() {
    sed -n '/^exit status/,$p' | grep -oE '\<[0-9]+\>' | sort -un
}

whole() { # MANUAL HELP-OPTIONS
    each --option "the program" "$1" "$2" "$(in_manual "$1")"
    each --option "$1" "any help" "$(in_manual "$1")" "$2"
    entries "$1" | sort | uniq -d | while read -r double; do say "$1: twice: $double"; done
}

commands() {
    "$1" --help | sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

# --- each page, as lintian reads it ---

for page in docs/man/*.[1-8]; do
    groff -mandoc -Tutf8 -rLL=117n -rLT=117n -ww -z "$page" 2>&1 | while read -r warning; do say "$page: $warning"; done
done

# --- each program ---

whole docs/man/msockd.8 "$(in_help "$B/msockd")"

all=$(in_help "$B/msockctl")
for command in $(commands "$B/msockctl"); do
    all=$(printf '%s\n' "$all" "$(in_help "$B/msockctl" "$command")")
    grep -qE "^\.(It )?Cm ([a-z]+ [|] )*$command( |$)" docs/man/msockctl.1 || say "msockctl.1 lacks $command"
done
whole docs/man/msockctl.1 "$all"

page=docs/man/msock.1
all=$(in_help "$B/msock")
for command in $(commands "$B/msock"); do
    help=$(in_help "$B/msock" "$command")
    all=$(printf '%s\n' "$all" "$help")
    [ "$(grep -cx "\.Ss $command" $page)" = 1 ] || say "$page: $command has not one section"
    own=$(entries $page | awk -v s="$command" '$1 == s {print $2}')
    common=$(entries $page | awk '$1 == "DESCRIPTION" {print $2}')
    case $command in
    send*) common=$(entries $page | awk '$1 == "DESCRIPTION" || $1 == "Options-for-sending" {print $2}') ;;
    esac
    each --option "msock $command --help" "$page" "$help" "$(printf '%s\n' "$own" "$common")"
    each --option "$page" "msock $command --help" "$own" "$help"
    each status "msock $command --help" "$page" "$("$B/msock" "$command" --help | statuses)" \
        "$(sed -n 's/^\.It \([0-9]*\)$/\1/p' $page)"
done
whole $page "$all"

# --- kinds of log lines: the compiler asks for a row for each ---

used=$(grep -rhoE '\<LOG_[a-z][a-z_0-9]*' src --include=*.c | sed 's/^LOG_//' | sort -u)
each "kind of log line" src/common/log_kinds.h "any code" \
    "$(sed -n 's/^    X(\([a-z0-9_]*\), .*/\1/p' src/common/log_kinds.h)" "$used"

# --- counters and codes ---

counters=$(sed -n '/define STATS_CONN_LIST/,/^#define X/s/^ *[XNB](\([a-z0-9_]*\), ".*/\1/p' src/stats/stats_layout.h)
each counter stats_layout.h msockctl.1 "$counters" \
    "$(sed -n '/^\.Ss JSON/,/^\.Sh/s/^\.It Cm //p' docs/man/msockctl.1 | tr -d ' ' | tr , '\n')"
each code docs/protocol.md "src/" \
    "$(sed -n 's/^| `\([a-z]*-*[a-z]*\)`\(, `[a-z-]*`\)* |.*/\1/p' docs/protocol.md | sort -u)" \
    "$(grep -rhoE '"[a-z]+(-[a-z]+)*"' src | tr -d '"' | sort -u)"

[ -s "$found" ] || exit 0
cat "$found"
exit 1
