#!/bin/sh
# Completions of the programs in a build directory ($1) for bash, zsh and fish, into $1/completions. All that
# they know comes from the programs themselves: commands and options from --help, words for values from what
# the programs say where a value is none.
set -eu
B=$1
out=$B/completions
table=$(mktemp)
trap 'rm -f "$table"' EXIT
mkdir -p "$out/bash" "$out/zsh" "$out/fish"

# Rows "option COMMAND SHORT LONG ARG TEXT" of a help text, with tabs between them. A text may begin in the
# line below its option.
options() { # COMMAND
    awk -v command="$1" '
    function row(text) {
        if (head != "") print head "\t" text
        head = ""
    }
    /^  +-/ {
        row("")
        sub(/^ +/, "")
        short = long = arg = ""
        if (match($0, /^-[^-],? ?/)) {short = substr($0, 2, 1); $0 = substr($0, RLENGTH + 1)}
        if (match($0, /^--[a-z-]+/)) {long = substr($0, 3, RLENGTH - 2); $0 = substr($0, RLENGTH + 1)}
        else $0 = " " $0
        if (match($0, /^ [^ ]+/)) {arg = substr($0, 2, RLENGTH - 1); $0 = substr($0, RLENGTH + 1)}
        head = "option\t" command "\t" short "\t" long "\t" arg
        if (sub(/^ +/, "") || $0 != "") row($0)
        next
    }
    {sub(/^ +/, ""); row($0)}
    END {row("")}'
}

# "COMMAND SUMMARY" of a program's help text.
commands() {
    sed -nE '/^commands:/,/^$/s/^  ([a-z-]+) +(.*)/\1\t\2/p'
}

# The words in "...: expected a, b or c"; nothing where a value is no word.
expected() {
    sed -nE 's/.*[:,] expected (.*)/\1/p' | sed 's/, /\n/g; s/ or /\n/g' | tr -d '"' | awk '
        /^[a-z0-9][a-z0-9_.]*$/ {words = words " " $0; next} {exit} END {print substr(words, 2)}'
}

value() { # PROGRAM COMMAND OPTION ARG
    case $2:$3:$4 in
    :handler:NAME) "$B/msockd" -t -o 'handler=?' 2>&1 | expected ;;
    conns:sort:*) "$B/msockctl" conns --sort '' 2>&1 | expected ;;
    top:sort:*) echo "rate bytes_rate $("$B/msockctl" conns --sort '' 2>&1 | expected)" ;;
    top:view:*) "$B/msockctl" top --view '' 2>&1 | expected ;;
    bench:kind:*) echo plain json file ;;
    *:listener:TEXT) echo @listeners ;;
    *:conn:ID) echo @conns ;;
    *:set:*) echo @settings ;;
    *:on\|off) echo on off ;;
    *:URL) echo @urls ;;
    *:DIR) echo @directories ;;
    *:FILE | *:PATH) echo @files ;;
    esac
}

operand() { # COMMAND
    case $1 in
    explain) "$B/msockctl" explain | awk 'NR > 1 {print $1}' ;;
    pki) "$B/msockctl" pki -h | sed -nE 's/.* msockctl pki ([a-z]+).*/\1/p' ;;
    verify | segments) echo @directories ;;
    send-file | send-json) echo @files ;;
    esac | tr '\n' ' ' | sed 's/ $//'
}

# All that is known of a program: its rows "command", "option" with a seventh column of values, "operand".
program() { # PROGRAM
    "$B/$1" --help | commands >"$table"
    {
        "$B/$1" --help | options ''
        while IFS='	' read -r command summary; do
            printf 'command\t%s\t%s\n' "$command" "$summary"
            "$B/$1" "$command" --help | options "$command"
            printf 'operand\t%s\t%s\n' "$command" "$(operand "$command")"
        done <"$table"
    } | tr '\t' '\037' | while IFS="$(printf '\037')" read -r kind command short long arg text; do
        case $kind in
        option) printf '%s\037%s\037%s\037%s\037%s\037%s\037%s\n' option "$command" "$short" "$long" "$arg" \
            "$(value "$1" "$command" "$long" "$arg")" "$text" ;;
        *) printf '%s\037%s\037%s\n' "$kind" "$command" "$short" ;;
        esac
    done
}

# "NAME=" of each setting, and "NAME=WORD" where its values are words.
settings() {
    "$B/msockd" -h | sed -nE '/^Options of -o/,/^$/s/^[* ] ([a-z_]+)=.*/\1/p' | while read -r name; do
        words=$("$B/msockd" -t -o "$name=?" 2>&1 | expected)
        for word in ${words:-''}; do printf '%s=%s ' "$name" "$word"; done
    done
}

# How URLs begin: those of listeners, and those of servers.
urls() { # PROGRAM
    for word in $("$B/msockd" -t -l 'none://127.0.0.1:1' 2>&1 | expected); do
        printf '%s:// ' "$word"
        [ "$1" != msock ] || [ "$word" = auto ] || printf '%s+tls:// ' "$word"
    done
    [ "$1" != msockd ] || echo systemd:
}

SETTINGS=$(settings)
export SETTINGS URLS
for name in msockd msockctl msock; do
    URLS=$(urls "$name")
    program "$name" >"$out/$name.table"
    for shell in bash zsh fish; do
        case $shell in
        bash) file=$out/bash/$name ;;
        zsh) file=$out/zsh/_$name ;;
        fish) file=$out/fish/$name.fish ;;
        esac
        awk -v program="$name" -f "tools/completions.$shell.awk" "$out/$name.table" >"$file"
    done
done
