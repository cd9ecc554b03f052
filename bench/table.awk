# Renders the figures: of the files samples and rows the table; of samples alone, with list=1 every
# figure with its spread, with cross=1 how far both generators agree; with json=1 samples and rows as
# members of a JSON object.

BEGIN { FS = "[ \t]"; pass = 0 }
FNR == 1 { pass++ }
pass == 1 {
    id = $1 SUBSEP $2
    if (!(id in count))
        order[++keys] = id
    value[id, ++count[id]] = $3 + 0
    sorted[id] = 0
    next
}
{
    n = split($0, field, "\t")
    rows++
    for (i = 1; i <= n; i++)
        cell[rows, i] = field[i]
}

function sort_values(id,    i, j, v) {
    for (i = 2; i <= count[id]; i++) {
        v = value[id, i]
        for (j = i - 1; j >= 1 && value[id, j] > v; j--)
            value[id, j + 1] = value[id, j]
        value[id, j + 1] = v
    }
    sorted[id] = 1
}

function median(key, metric,    id, n) {
    id = key SUBSEP metric
    if (!(id in count))
        return ""
    if (!sorted[id])
        sort_values(id)
    n = count[id]
    return n % 2 ? value[id, (n + 1) / 2] : (value[id, n / 2] + value[id, n / 2 + 1]) / 2
}

function shown(x,    digits, text) {
    if (x == "")
        return "-"
    if (x >= 1000000)
        return sprintf("%.2f M", x / 1000000)
    if (x >= 10000)
        return sprintf("%.1f k", x / 1000)
    digits = x >= 100 ? 0 : x >= 10 ? 1 : x >= 0.1 || x == 0 ? 2 : 4
    text = sprintf("%." digits "f", x)
    return text
}

function theirs_of(r, worker) {
    return cell[r, 4] ~ /\.$/ ? median(cell[r, 4] worker, cell[r, 5]) : median(cell[r, 4], cell[r, 5])
}

function ratio_of(r, worker,    ours, theirs) {
    ours = median(cell[r, 3] "." worker, cell[r, 5])
    theirs = theirs_of(r, worker)
    return ours == "" || theirs == "" || theirs == 0 ? "" : ours / theirs
}

# Which of both counts: the one of the higher rate, also for its p99; elsewhere the better ratio.
function counted(r,    one, two, by_rate) {
    by_rate = cell[r, 5] ~ /_us$/ && median(cell[r, 3] ".w1", "rate") != ""
    if (by_rate && cell[r, 4] !~ /\.$/) {
        one = median(cell[r, 3] ".w1", "rate")
        two = median(cell[r, 3] ".w2", "rate")
        return two == "" || one >= two ? "w1" : "w2"
    }
    one = ratio_of(r, "w1")
    two = ratio_of(r, "w2")
    if (one == "" || two == "")
        return two == "" ? "w1" : "w2"
    return (cell[r, 6] != "<=" ? one >= two : one <= two) ? "w1" : "w2"
}

function verdict(r, ratio) {
    if (ratio == "" || cell[r, 6] == "")
        return "-"
    return (cell[r, 6] == ">=" ? ratio >= cell[r, 7] : ratio <= cell[r, 7]) ? "yes" : "NO"
}

function print_table(    r, worker, ratio) {
    print "| what | against | unit | ours, -w 1 | ours, -w 2 | theirs | ours / theirs | target | met |"
    print "|---|---|---|---|---|---|---|---|---|"
    for (r = 1; r <= rows; r++) {
        worker = counted(r)
        ratio = ratio_of(r, worker)
        printf "| %s | %s | %s | %s | %s | %s | %s | %s %s | %s |\n", cell[r, 1], cell[r, 2],
            cell[r, 8], shown(median(cell[r, 3] ".w1", cell[r, 5])),
            shown(median(cell[r, 3] ".w2", cell[r, 5])), shown(theirs_of(r, worker)),
            (ratio == "" ? "-" : sprintf("%.2f (%s)", ratio, worker)), cell[r, 6], cell[r, 7],
            verdict(r, ratio)
    }
}

# One line a key; what only served to compute others is left to the JSON output.
function print_list(    k, part, key) {
    for (k = 1; k <= keys; k++) {
        split(order[k], part, SUBSEP)
        if (part[2] ~ /^(messages|seconds|max_us|server_cpu)$/)
            continue
        if (part[1] != key)
            printf "%s  %-26s", (k > 1 ? "\n" : ""), part[1]
        key = part[1]
        printf "  %s %s (%s to %s)", part[2], shown(median(part[1], part[2])),
            shown(value[order[k], 1]), shown(value[order[k], count[order[k]]])
    }
    print ""
}

function print_cross_check(    i, name, both) {
    name[1] = "small"
    name[2] = "ahead"
    for (i = 1; i <= 2; i++) {
        both = median(name[i] ".spoken.w1", "rate")
        if (both != "")
            printf "Cross-check, %s, -w 1: spoken %s msg/s, in blocks %s msg/s, ratio %.2f.\n",
                name[i], shown(both), shown(median(name[i] ".w1", "rate")),
                both / median(name[i] ".w1", "rate")
    }
}

function print_json(    k, i, r, part, worker, ratio) {
    printf "\"figures\":["
    for (k = 1; k <= keys; k++) {
        split(order[k], part, SUBSEP)
        printf "%s{\"key\":\"%s\",\"metric\":\"%s\",\"median\":%.9g,\"values\":[", (k > 1 ? "," : ""),
            part[1], part[2], median(part[1], part[2])
        for (i = 1; i <= count[order[k]]; i++)
            printf "%s%.9g", (i > 1 ? "," : ""), value[order[k], i]
        printf "]}"
    }
    printf "],\"rows\":["
    for (r = 1; r <= rows; r++) {
        worker = counted(r)
        ratio = ratio_of(r, worker)
        printf "%s{\"what\":\"%s\",\"against\":\"%s\",\"metric\":\"%s\",\"counted\":\"%s\",",
            (r > 1 ? "," : ""), cell[r, 1], cell[r, 2], cell[r, 5], worker
        printf "\"ratio\":%s,\"relation\":\"%s\",\"target\":%s,\"met\":%s}",
            (ratio == "" ? "null" : sprintf("%.4f", ratio)), cell[r, 6],
            (cell[r, 7] == "" ? "null" : cell[r, 7]),
            (verdict(r, ratio) == "yes" ? "true" : "false")
    }
    printf "]"
}

END {
    if (list)
        print_list()
    else if (cross)
        print_cross_check()
    else if (json)
        print_json()
    else
        print_table()
}
