/* From counters to JSON, by the lists in stats_layout.h. */
#include "json.h"

#include "common/text.h"

#include <string.h>

#define PERCENTILES(X) \
    X("p50", 0.5)      \
    X("p90", 0.9)      \
    X("p99", 0.99)     \
    X("p99_9", 0.999)

void
json_put(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, value);

    MS_ASSERT(rc == 0);
}

json_t *
json_text(const char *text)
{
    char safe[4 * 512];

    if (text_is_utf8(text, strlen(text)))
        return json_string(text);
    text_escape(text, strlen(text), safe, sizeof(safe));
    return json_string(safe);
}

json_t *
json_count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

json_t *
json_seconds(uint64_t us)
{
    return json_real((double)(us / 1000) / 1000);
}

void
json_put_conn_counters(json_t *object, const struct stats_counts *counts)
{
#define X(name, help) json_put(object, #name, json_count(counts->name));
    STATS_CONN_COUNTERS(X)
#undef X
}

void
json_put_worker_counters(json_t *object, const struct stats_counts *counts)
{
#define X(name, help) json_put(object, #name, json_count(counts->name));
    STATS_WORKER_COUNTERS(X)
#undef X
}

static void
json_put_totals(json_t *object, const struct stats_totals *totals)
{
    json_t *latency = json_object();

    json_put_conn_counters(object, &totals->counts);
    json_put_worker_counters(object, &totals->counts);
    json_put(object, "open", json_count(totals->open));
#define X(key, p) json_put(latency, key, json_count(stats_percentile(totals->latency, p)));
    PERCENTILES(X)
#undef X
    json_put(latency, "max", json_count(stats_latency_max(totals->latency)));
    json_put(object, "latency_us", latency);
}

json_t *
json_worker(const struct stats_worker_view *worker, uint64_t now_us)
{
    json_t *object = json_object();
    uint64_t age_us = worker->started_us < now_us ? now_us - worker->started_us : 0;

    json_put(object, "worker", json_count(worker->index));
    json_put(object, "pid", json_integer(worker->pid));
    json_put(object, "state", json_string(worker_state_name(worker->state)));
    json_put(object, "generation", json_count(worker->generation));
    json_put(object, "restarts", json_count(worker->restarts));
    json_put(object, "age", json_seconds(age_us));
    json_put_totals(object, &worker->totals);
    return object;
}

static json_t *
json_reload(const struct snapshot *s)
{
    json_t *object = json_object();

    json_put(object, "verdict", json_string(verdict_name(s->verdict)));
    json_put(object, "text", json_text(s->reload_text));
    return object;
}

json_t *
json_snapshot(const struct snapshot *s, const char *since)
{
    json_t *document = json_object(), *total = json_object(), *workers = json_array();

    json_put(document, "version", json_text(s->version));
    json_put(document, "pid", json_integer(s->pid));
    json_put(document, "alive",
             s->alive == SNAPSHOT_UNKNOWN ? json_null() : json_boolean(s->alive == SNAPSHOT_ALIVE));
    json_put(document, "uptime",
             s->alive == SNAPSHOT_DEAD ? json_null() : json_seconds(s->taken_us - s->started_us));
    json_put(document, "generation", json_count(s->generation));
    json_put(document, "reloads", json_count(s->reloads));
    json_put(document, "reload", json_reload(s));
    if (since != NULL)
        json_put(document, "since", json_text(since));
    json_put_totals(total, &s->total);
    json_put(document, "total", total);
    for (unsigned i = 0; i < s->worker_count; i++)
        json_array_append_new(workers, json_worker(&s->workers[i], s->taken_us));
    json_put(document, "workers", workers);
    return document;
}

void
json_print(json_t *document, bool compact)
{
    json_dumpf(document, stdout,
               JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) |
                   (compact ? JSON_COMPACT : JSON_INDENT(2)));
    putchar('\n');
    json_decref(document);
}
