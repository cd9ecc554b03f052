/* Runs msockctl and takes its JSON apart. Single numbers, which tests ask for again and again until
 * one is there, are read without it. */
#include "stats.h"

#include "stats/stats_reader.h"

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

static void
reader_open(struct stats_reader *sr, const struct daemon *d)
{
    char error[256];

    if (stats_reader_open(sr, d->runtime_dir, error) < 0)
        fail_msg("%s", error);
}

static uint64_t
count(const struct stats_totals *totals, const char *name)
{
#define X(counter, help)             \
    if (strcmp(name, #counter) == 0) \
        return totals->counts.counter;
    STATS_CONN_COUNTERS(X)
    STATS_WORKER_COUNTERS(X)
#undef X
    if (strcmp(name, "memory") == 0)
        return totals->memory;
    if (strcmp(name, "memory_max") == 0)
        return totals->memory_max;
    assert_string_equal(name, "open");
    return totals->open;
}

uint64_t
stats_total(const struct daemon *d, const char *name)
{
    struct stats_totals totals;
    struct stats_reader sr;

    reader_open(&sr, d);
    stats_reader_totals(&sr, &totals);
    stats_reader_close(&sr);
    return count(&totals, name);
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
    static struct stats_worker_view rows[STATS_REGIONS];
    struct stats_reader sr;
    uint64_t sum = 0;
    unsigned n;

    reader_open(&sr, d);
    n = stats_reader_workers(&sr, rows, MS_ARRAY_LEN(rows));
    stats_reader_close(&sr);
    for (unsigned i = 0; i < n; i++)
        sum += strcmp(name, "restarts") == 0 ? rows[i].restarts : count(&rows[i].totals, name);
    return sum;
}
