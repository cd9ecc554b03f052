#!/bin/sh
# Each row of docs/threat-model.md names its test as `PROGRAM`, or `PROGRAM:BEGINNING` of a test's
# name. Prints every name that is no test, and exits 1 where there is one. A row of a table whose
# last column is for tests has to name one, or say in brackets why not.
set -eu
cd "$(dirname "$0")/.."

found=$(awk -F'|' '
    /^\| .*(proven|shown) by \|$/ {named = 1; next}
    !/^\|/ {named = 0}
    /^\|-/ {next}
    {
        cell = named ? $(NF - 1) : $0
        form = named ? "^[a-z0-9_]+(:[a-z0-9_]+)?$" : "^[a-z0-9_]+:[a-z][a-z0-9_]+$"
        names = 0
        n = split(cell, part, "`")
        for (i = 2; i < n; i += 2) # between two of them
            if (part[i] ~ form) {
                print NR, part[i]
                names++
            }
        if (named && names == 0 && cell !~ /`make |^ \(.*\) $/)
            print NR, "-"
    }' docs/threat-model.md | while read -r line name; do
    program=${name%%:*} test=
    [ "$program" = "$name" ] || test=${name#*:}
    files=$(ls "tests/unit/test_$program.c" "tests/system/test_$program.c" 2>/dev/null) || true
    # shellcheck disable=SC2086 # one name, or two
    [ -n "$files" ] && grep -q "^$test" $files && continue
    echo "docs/threat-model.md:$line: $name"
done)
[ -z "$found" ] && exit 0
echo "$found"
echo 'lint_threats.sh: there is no such test' >&2
exit 1
