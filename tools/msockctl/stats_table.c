/* Three parts: who runs, the totals with what each counter means, a row a worker. */
#include "stats_table.h"

#include "common/text.h"
#include "table.h"

#include <inttypes.h>
#include <string.h>

static void
head_print(const struct snapshot *s, const char *since)
{
    char age[UNIT_LEN], version[128], text[2048];

    text_escape(s->version, strlen(s->version), version, sizeof(version));
    text_escape(s->reload_text, strlen(s->reload_text), text, sizeof(text));
    printf("msockd %s, pid %d, ", version, s->pid);
    if (s->alive == SNAPSHOT_DEAD)
        printf("not running any more: these are its last numbers");
    else
        printf("up %s%s", unit_age(s->taken_us - s->started_us, age),
               s->alive == SNAPSHOT_UNKNOWN ? " (if it runs: its lock is not readable)" : "");
    printf(", generation %" PRIu64 "\n", s->generation);
    if (s->reloads > 0)
        printf("reloads %" PRIu64 ", the last one %s%s%s\n", s->reloads, verdict_name(s->verdict),
               text[0] != '\0' ? ": " : "", text);
    if (since != NULL) {
        text_escape(since, strlen(since), text, sizeof(text));
        printf("counted since %s\n", text);
    }
    putchar('\n');
}

/* before_n > n where a reading went astray; then there is no rate. */
static void
rate_add(struct table *table, uint64_t n, const uint64_t *before_n, uint64_t us)
{
    if (before_n != NULL && us > 0 && n >= *before_n)
        table_add(table, "%.1f/s", (double)(n - *before_n) * 1e6 / (double)us);
    else
        table_add(table, "-");
}

static void
count_row(struct table *table, const char *name, const char *help, uint64_t n,
          const uint64_t *before_n, uint64_t us, bool rates)
{
    table_add(table, "%s", name);
    table_add(table, "%" PRIu64, n);
    if (rates)
        rate_add(table, n, before_n, us);
    table_add(table, "%s", help);
}

static void
totals_print(const struct snapshot *s, const struct snapshot *before, bool rates)
{
    static const struct table_column plain[] = {{"TOTAL", 0}, {"", 1}, {"", 0}};
    static const struct table_column rated[] = {{"TOTAL", 0}, {"", 1}, {"RATE", 1}, {"", 0}};
    const struct stats_counts *now = &s->total.counts;
    const struct stats_counts *old = before != NULL ? &before->total.counts : NULL;
    const uint64_t us = before != NULL ? s->taken_us - before->taken_us : 0;
    struct table *table = rates ? table_create(rated, 4) : table_create(plain, 3);

#define X(name, help) \
    count_row(table, #name, help, now->name, old != NULL ? &old->name : NULL, us, rates);
    STATS_CONN_COUNTERS(X)
    STATS_WORKER_COUNTERS(X)
#undef X
    table_add(table, "open");
    table_add(table, "%" PRIu64, s->total.open);
    if (rates)
        table_add(table, "-");
    table_add(table, "connections open now");
    table_print(table, stdout);
    table_destroy(table);
}

static void
stats_table_latency(const struct stats_totals *t)
{
    static const double parts[] = {0.5, 0.9, 0.99, 0.999, 1.0};
    static const char *const names[] = {"p50", "p90", "p99", "p99.9", "max"};
    char text[UNIT_LEN];

    printf("\nfirst byte to final answer: ");
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++)
        printf(" %s %s%s", names[i], unit_duration(stats_percentile(t->latency, parts[i]), text),
               i + 1 < MS_ARRAY_LEN(parts) ? "," : "\n");
    printf("messages a commit:           ");
    if (t->counts.commits > 0)
        printf("%.1f\n", (double)t->counts.committed / (double)t->counts.commits);
    else
        puts("-");
    printf("received, sent:              %s", unit_bytes(t->counts.bytes_in, text));
    printf(", %s\n\n", unit_bytes(t->counts.bytes_out, text));
}

static const struct stats_worker_view *
worker_find(const struct snapshot *s, uint64_t incarnation)
{
    for (unsigned i = 0; s != NULL && i < s->worker_count; i++)
        if (s->workers[i].incarnation == incarnation)
            return &s->workers[i];
    return NULL;
}

static void
worker_row(struct table *table, const struct stats_worker_view *w)
{
    const struct stats_counts *counts = &w->totals.counts;
    char text[UNIT_LEN];

    table_add(table, "%u", w->index);
    table_add(table, "%d", w->pid);
    table_add(table, "%s", worker_state_name(w->state));
    table_add(table, "%" PRIu64, w->generation);
    table_add(table, "%u", w->restarts);
    table_add(table, "%" PRIu64, w->totals.open);
    table_add(table, "%" PRIu64, counts->accepted);
    table_add(table, "%" PRIu64, counts->messages);
    table_add(table, "%" PRIu64, counts->nack1);
    table_add(table, "%" PRIu64, counts->nack2);
    table_add(table, "%" PRIu64, counts->rej);
    table_add(table, "%" PRIu64, counts->err);
    table_add(table, "%s", unit_bytes(counts->bytes_in, text));
    table_add(table, "%s", unit_bytes(counts->bytes_out, text));
    table_add(table, "%s", unit_duration(stats_percentile(w->totals.latency, 0.5), text));
    table_add(table, "%s", unit_duration(stats_percentile(w->totals.latency, 0.99), text));
}

static void
stats_table_workers(const struct snapshot *s, const struct snapshot *before, bool rates)
{
    static const struct table_column columns[] = {
        {"WORKER", 1}, {"PID", 1},       {"STATE", 0},    {"GENERATION", 1}, {"RESTARTS", 1},
        {"OPEN", 1},   {"ACCEPTED", 1},  {"MESSAGES", 1}, {"NACK1", 1},      {"NACK2", 1},
        {"REJ", 1},    {"ERR", 1},       {"IN", 1},       {"OUT", 1},        {"P50", 1},
        {"P99", 1},    {"MESSAGES/S", 1}};
    const uint64_t us = before != NULL ? s->taken_us - before->taken_us : 0;
    struct table *table = table_create(columns, MS_ARRAY_LEN(columns) - (rates ? 0 : 1));

    for (unsigned i = 0; i < s->worker_count; i++) {
        const struct stats_worker_view *w = &s->workers[i];
        const struct stats_worker_view *old = worker_find(before, w->incarnation);

        worker_row(table, w);
        if (rates)
            rate_add(table, w->totals.counts.messages,
                     old != NULL ? &old->totals.counts.messages : NULL, us);
    }
    table_print(table, stdout);
    table_destroy(table);
}

void
stats_table_print(const struct snapshot *s, const struct snapshot *before, const char *since)
{
    const bool rates = before != NULL;

    head_print(s, since);
    totals_print(s, before, rates);
    stats_table_latency(&s->total);
    stats_table_workers(s, before, rates);
}
