#!/usr/bin/env bash
# The completions of a build directory ($1), looked at from outside.
#   completions.bash BUILD              prints each command and option of --help that a shell lacks
#   completions.bash BUILD PROGRAM LINE what bash completes LINE to, a word a line, and what fish does not,
#                                       where there is one
set -u # without a prompt compopt fails
B=$1
PATH=$B:$PATH

completed() { # PROGRAM LINE
    (
        . "$B/completions/bash/$1"
        COMP_LINE=$2 COMP_POINT=${#2}
        "_$1"
        printf '%s\n' "${COMPREPLY[@]}"
    )
}

in_fish() { # PROGRAM LINE
    fish --no-config -c 'source $argv[1]; complete -C $argv[2]' "$B/completions/fish/$1.fish" "$2"
}

if [ $# -gt 1 ]; then
    words=$(completed "$2" "$3")
    echo "$words"
    ! command -v fish >/dev/null || all=$(in_fish "$2" "$3")
    for word in ${all+$words}; do grep -qF -e "$word" <<<"$all" || echo "fish: $word"; done
    exit
fi

# The options of a help text, as lint_manuals.sh knows them, and the short ones.
in_help() {
    "$@" --help | sed -nE 's/^  (-., |    )(--[a-z-]+).*/\2/p; s/^  (--[a-z-]+).*/\1/p'
    "$@" --help | sed -nE 's/^  (-.),? .*/\1/p'
}

# "OPTION NAME" of those with a value.
with_value() {
    "$@" --help | sed -nE 's/^  (-., |    )?(--[a-z-]+) ([^ ]+).*/\2 \3/p'
}

lacks() { # PROGRAM COMMAND
    local word long fish="-n '__fish_seen_subcommand_from $2'"
    local all
    [ -n "$2" ] || fish=""
    all=$(completed "$1" "$1 $2 ")
    for word in $(in_help "$1" $2); do
        grep -qxe "$word" <<<"$all" || echo "bash: $1 $2 $word"
        grep -qe "[ {,]$word[=,}']" "$B/completions/zsh/_$1" || echo "zsh: $1 $2 $word"
        long=${word#--}
        [ "$long" != "$word" ] && long="-l $long" || long="-s ${word#-}"
        grep -F -e "$fish" "$B/completions/fish/$1.fish" | grep -qe " $long " || echo "fish: $1 $2 $word"
    done
    while read -r word long; do
        grep -q -e "$word=[}'].*\]:$long:" "$B/completions/zsh/_$1" || echo "zsh: $1 $2 $word $long"
    done < <(with_value "$1" $2 | sed "s/:/.:/g")
}

for program in msockd msockctl msock; do
    lacks $program ""
    for command in $($program --help | sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'); do
        completed $program "$program $command" | grep -qx "$command" || echo "bash: $program $command"
        grep -q "^    $command)" "$B/completions/zsh/_$program" || echo "zsh: $program $command"
        grep -q -- "-a $command -d" "$B/completions/fish/$program.fish" || echo "fish: $program $command"
        lacks $program "$command"
    done
    for word in $(grep -oE ":_${program}_[a-z]+" "$B/completions/zsh/_$program" | sort -u); do
        grep -q "^${word#:}() {" "$B/completions/zsh/_$program" || echo "zsh: there is no ${word#:}"
    done
    bash -n "$B/completions/bash/$program" || echo "bash: $program"
    ! command -v zsh >/dev/null || zsh -n "$B/completions/zsh/_$program" || echo "zsh: $program"
    ! command -v fish >/dev/null || fish -n "$B/completions/fish/$program.fish" || echo "fish: $program"
done
