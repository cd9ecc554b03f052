/* Runs msockctl and takes its JSON apart. */
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *
stats_read(const struct daemon *d, const char *command)
{
    struct run_result result = daemon_control(d, command, "--json", NULL);
    json_error_t error;
    json_t *value;

    if (result.status != 0)
        fail_msg("msockctl %s --json: status %d, %s", command, result.status, result.err);
    value = json_loads(result.out, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        fail_msg("msockctl %s --json: %s at line %d: %.300s", command, error.text, error.line,
                 result.out);
    run_result_free(&result);
    return value;
}

static uint64_t
number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value))
        fail_msg("no number \"%s\" in msockctl's JSON", name);
    return (uint64_t)json_integer_value(value);
}

uint64_t
stats_total(const struct daemon *d, const char *name)
{
    json_t *stats = stats_read(d, "stats");
    uint64_t value = number(json_object_get(stats, "total"), name);

    json_decref(stats);
    return value;
}

void
stats_counts(const json_t *object, struct peer_counts *counts_out)
{
#define X(name, help) counts_out->name = number(object, #name);
    STATS_CONN_COUNTERS(X)
#undef X
}

void
stats_totals(const struct daemon *d, struct peer_counts *counts_out)
{
    json_t *stats = stats_read(d, "stats");

    stats_counts(json_object_get(stats, "total"), counts_out);
    json_decref(stats);
}

bool
stats_conn(const struct daemon *d, const char *peer, struct peer_counts *out, char state_out[32])
{
    json_t *conns = stats_read(d, "conns"), *row;
    bool found = false;
    size_t i;

    json_array_foreach(conns, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "peer"));

        if (name == NULL || strcmp(name, peer) != 0)
            continue;
        found = true;
        stats_counts(row, out);
        if (state_out != NULL)
            snprintf(state_out, 32, "%s", json_string_value(json_object_get(row, "state")));
    }
    json_decref(conns);
    return found;
}

bool
counts_equal(const struct peer_counts *a, const struct peer_counts *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

void
counts_add(struct peer_counts *to, const struct peer_counts *more)
{
#define X(name, help) to->name += more->name;
    STATS_CONN_COUNTERS(X)
#undef X
}

const char *
counts_text(const struct peer_counts *c)
{
    static char text[4][512];
    static unsigned next;
    char *out = text[next++ % 4];
    size_t len = 0;

#define X(name, help)                                                         \
    len += (size_t)snprintf(out + len, sizeof(text[0]) - len, #name " %llu ", \
                            (unsigned long long)c->name);
    STATS_CONN_COUNTERS(X)
#undef X
    return out;
}

uint64_t
stats_workers_sum(const struct daemon *d, const char *name)
{
    json_t *stats = stats_read(d, "stats"), *row;
    uint64_t sum = 0;
    size_t i;

    json_array_foreach(json_object_get(stats, "workers"), i, row) sum += number(row, name);
    json_decref(stats);
    return sum;
}
