# The completion of a program for fish, from its rows (tools/completions.sh).
BEGIN {
    FS = "\037"
    print "# Completion of " program ", made from its --help."
    print "function __" program "_urls"
    print "    string split -n ' ' '" ENVIRON["URLS"] "'\n    echo $MSOCK_URL"
    print "    msockctl listeners 2>/dev/null | awk -F '  +' 'NR > 1 {"
    print "        sub(/, .*/, \"\", $2); sub(/^unix:/, \"/\", $2); print $3 \"://\" $2}'\nend"
    print "function __" program "_listeners\n    msockctl listeners 2>/dev/null | awk 'NR > 1 {print $1}'\nend"
    print "function __" program "_conns"
    print "    msockctl conns --json 2>/dev/null | sed -n 's/^ *\"id\": \"\\(.*\\)\".*/\\1/p'\nend"
    print "function __" program "_settings\n    string split -n ' ' '" ENVIRON["SETTINGS"] "'\nend"
    print "complete -c " program " -f"
}
function quoted(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/'/, "\\'", text)
    return "'" text "'"
}
function values(words) {
    if (words == "@files" || words == "@directories")
        return " -r -F"
    if (words ~ /^@/)
        return " -x -a '(__" program "_" substr(words, 2) ")'"
    return words == "" ? " -x" : " -x -a " quoted(words)
}
function condition(command) {
    if (command != "")
        return " -n '__fish_seen_subcommand_from " command "'"
    return has_commands ? " -n __fish_use_subcommand" : ""
}
$1 == "command" {
    has_commands = 1
    print "complete -c " program " -n __fish_use_subcommand -a " $2 " -d " quoted($3)
}
$1 == "option" {
    print "complete -c " program condition($2) ($3 != "" ? " -s " $3 : "") ($4 != "" ? " -l " $4 : "") \
        ($5 != "" ? values($6) : "") " -d " quoted($7)
}
$1 == "operand" && $3 != "" {
    print "complete -c " program condition($2) ($3 ~ /^@/ ? " -F" : " -a " quoted($3))
}
