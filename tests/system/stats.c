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
    counts_out->acks = number(object, "acks");
    counts_out->nack1 = number(object, "nack1");
    counts_out->nack2 = number(object, "nack2");
    counts_out->rej = number(object, "rej");
    counts_out->err = number(object, "err");
    counts_out->messages = number(object, "messages");
    counts_out->bytes_in = number(object, "bytes_in");
    counts_out->bytes_out = number(object, "bytes_out");
    counts_out->packets = number(object, "packets");
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
    to->acks += more->acks;
    to->nack1 += more->nack1;
    to->nack2 += more->nack2;
    to->rej += more->rej;
    to->err += more->err;
    to->messages += more->messages;
    to->bytes_in += more->bytes_in;
    to->bytes_out += more->bytes_out;
    to->packets += more->packets;
}

const char *
counts_text(const struct peer_counts *c)
{
    static char text[4][256];
    static unsigned next;
    char *out = text[next++ % 4];

    snprintf(out, sizeof(text[0]),
             "acks %llu nack1 %llu nack2 %llu rej %llu err %llu messages %llu bytes_in %llu "
             "bytes_out %llu packets %llu",
             (unsigned long long)c->acks, (unsigned long long)c->nack1,
             (unsigned long long)c->nack2, (unsigned long long)c->rej, (unsigned long long)c->err,
             (unsigned long long)c->messages, (unsigned long long)c->bytes_in,
             (unsigned long long)c->bytes_out, (unsigned long long)c->packets);
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
