# The completion of a program for zsh, from its rows (tools/completions.sh).
BEGIN {
    FS = "\037"
}
function quoted(text) {
    gsub(/'/, "'\\''", text)
    return text
}
function described(text) {
    gsub(/[\[\]:\\]/, "\\\\&", text)
    return quoted(text)
}
function action(words) {
    if (words == "@files")
        return "_files"
    if (words == "@directories")
        return "_files -/"
    if (words ~ /^@/)
        return "_" program "_" substr(words, 2)
    return words == "" ? " " : "(" quoted(words) ")"
}
function spec(short, long, arg, words, text,   names) {
    names = (short != "" && long != "") ? "{-" short ",--" long (arg != "" ? "=" : "") "}" : \
        (short != "" ? "-" short : "--" long (arg != "" ? "=" : ""))
    return "        " names "'[" described(text) "]" (arg != "" ? ":" described(arg) ":" action(words) : "") "' \\\n"
}
$1 == "command" {
    order[++count] = $2
    commands = commands "        '" $2 ":" described($3) "'\n"
}
$1 == "option" {
    specs[$2] = specs[$2] spec($3, $4, $5, $6, $7)
}
$1 == "operand" && $3 != "" {
    specs[$2] = specs[$2] "        '*:argument:" action($3) "' \\\n"
}
END {
    print "#compdef " program
    print "# Completion of " program ", made from its --help.\n"
    print "_" program "_settings() {\n    compadd -S '' -- " ENVIRON["SETTINGS"] "\n}\n"
    print "_" program "_urls() {"
    print "    local -a urls=(" ENVIRON["URLS"] " ${MSOCK_URL:-} ${(f)\"$(msockctl listeners 2>/dev/null | awk -F '  +' 'NR > 1 {"
    print "        sub(/, .*/, \"\", $2); sub(/^unix:/, \"/\", $2); print $3 \"://\" $2}')\"})"
    print "    compadd -S '' -- $urls\n}\n"
    print "_" program "_listeners() {\n    compadd -- ${(f)\"$(msockctl listeners 2>/dev/null | awk 'NR > 1 {print $1}')\"}\n}\n"
    print "_" program "_conns() {"
    print "    compadd -- ${(f)\"$(msockctl conns --json 2>/dev/null | sed -n 's/^ *\"id\": \"\\(.*\\)\".*/\\1/p')\"}\n}\n"
    print "_" program "() {"
    print "    local context state line"
    print "    typeset -A opt_args"
    if (commands == "") {
        print "    _arguments -s \\\n" specs[""] "        && return"
    } else {
        print "    local -a commands=(\n" commands "    )"
        print "    _arguments -C -s \\\n" specs[""] "        '1:command:->command' '*::argument:->argument' && return"
        print "    if [[ $state == command ]]; then\n        _describe command commands\n        return\n    fi"
        print "    case $words[1] in"
        for (i = 1; i <= count; i++)
            print "    " order[i] ")\n        _arguments -s \\\n" specs[order[i]] "            && return ;;"
        print "    esac"
    }
    print "}\n\n_" program " \"$@\""
}
