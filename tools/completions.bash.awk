# The completion of a program for bash, from its rows (tools/completions.sh).
BEGIN {
    FS = "\037"
    name = "_" program
}
$1 == "command" {
    order[++count] = $2
    commands = commands " " $2
}
$1 == "option" {
    if ($3 != "")
        options[$2] = options[$2] " -" $3
    if ($4 != "")
        options[$2] = options[$2] " --" $4
    if ($5 == "")
        next
    both = ($3 != "" ? $2 ":-" $3 : "") ($3 != "" && $4 != "" ? " | " : "") ($4 != "" ? $2 ":--" $4 : "")
    values = values "    " both ") words=\"" $6 "\" ;;\n"
    if ($2 == "")
        before = before ($3 != "" ? " | -" $3 : "") ($4 != "" ? " | --" $4 : "")
}
$1 == "operand" {
    operands[$2] = $3
}
END {
    print "# Completion of " program ", made from its --help."
    print name "_values() {"
    print "    case $1 in"
    print "    @files) compgen -f -- \"$2\" ;;"
    print "    @directories) compgen -d -S / -- \"$2\" ;;"
    print "    @settings) printf '%s\\n' " ENVIRON["SETTINGS"] " ;;"
    print "    @urls)"
    print "        printf '%s\\n' " ENVIRON["URLS"] " \"${MSOCK_URL:-}\""
    print "        msockctl listeners 2>/dev/null | awk -F '  +' 'NR > 1 {"
    print "            sub(/, .*/, \"\", $2); sub(/^unix:/, \"/\", $2); print $3 \"://\" $2}' ;;"
    print "    @listeners) msockctl listeners 2>/dev/null | awk 'NR > 1 {print $1}' ;;"
    print "    @conns) msockctl conns --json 2>/dev/null | sed -n 's/^ *\"id\": \"\\(.*\\)\".*/\\1/p' ;;"
    print "    esac"
    print "}\n"
    print name "() {"
    print "    local line=${COMP_LINE:0:COMP_POINT} command= words= options= word all i"
    print "    read -ra all <<<\"$line\""
    print "    [[ $line == *[[:space:]] ]] && all+=(\"\")"
    print "    local last=${all[-1]} option=${all[-2]}"
    print "    for ((i = 1; i < ${#all[@]} - 1; i++)); do"
    print "        case ${all[i]} in"
    if (commands != "" && before != "")
        print "        " substr(before, 4) ") ((i++)) ;;"
    print "        -*) ;;"
    if (commands != "") {
        print "        *)"
        print "            command=${all[i]}"
        print "            break ;;"
    }
    print "        esac"
    print "    done"
    print "    if [[ $last == --*=* ]]; then"
    print "        option=${last%%=*} last=${last#*=}"
    print "    fi"
    print "    case $command in"
    for (i = 0; i <= count; i++) {
        command = order[i]
        print "    " (command == "" ? "\"\"" : command) ") options=\"" substr(options[command], 2) \
            (command == "" ? commands : "") "\" words=\"" operands[command] "\" ;;"
    }
    print "    esac"
    print "    words=\"$options $words\""
    print "    case $command:$option in"
    printf "%s", values
    print "    esac"
    print "    # What readline takes for a word begins behind the last of these."
    print "    local behind=${last%\"${last##*[:=]}\"}"
    print "    mapfile -t COMPREPLY < <("
    print "        for word in $words; do"
    print "            case $word in @*) " name "_values \"$word\" \"$last\" ;; *) printf '%s\\n' \"$word\" ;; esac"
    print "        done | sort -u | while IFS= read -r word; do"
    print "            [[ -n $word && $word == \"$last\"* ]] && printf '%s\\n' \"${word#\"$behind\"}\""
    print "        done)"
    print "    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:/] ]] && compopt -o nospace 2>/dev/null"
    print "    return 0"
    print "}\n"
    print "complete -F " name " " program
}
