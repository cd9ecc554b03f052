/* Counters are totals, which outlive workers; what is per worker is what changes hands with it. */
#include "ctl.h"

#include <inttypes.h>

/* Powers of two of microseconds: 16 us to 18 minutes. Each is the low end of a bucket. */
#define EXPONENT_MIN 4
#define EXPONENT_MAX 30

static void
head(const char *name, const char *type, const char *help)
{
    printf("# HELP msockd_%s %s\n# TYPE msockd_%s %s\n", name, help, name, type);
}

static void
metric(const char *name, const char *type, const char *help, uint64_t value)
{
    head(name, type, help);
    printf("msockd_%s %" PRIu64 "\n", name, value);
}

static void
prometheus_latency(const uint64_t latency[STATS_HISTOGRAM])
{
    const char *name = "message_duration_seconds";
    uint64_t count = 0;
    double sum_us = 0;
    unsigned i = 0;

    head(name, "histogram", "time from a message's first byte to its final answer");
    for (unsigned e = EXPONENT_MIN; e <= EXPONENT_MAX; e++) {
        for (; i < STATS_HISTOGRAM && stats_histogram_low(i) < (uint64_t)1 << e; i++) {
            count += latency[i];
            sum_us += (double)latency[i] * (double)stats_histogram_value(i);
        }
        printf("msockd_%s_bucket{le=\"%.10g\"} %" PRIu64 "\n", name,
               (double)((uint64_t)1 << e) / 1e6, count);
    }
    for (; i < STATS_HISTOGRAM; i++) {
        count += latency[i];
        sum_us += (double)latency[i] * (double)stats_histogram_value(i);
    }
    printf("msockd_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    printf("msockd_%s_sum %.6f\n", name, sum_us / 1e6); /* from the middles of the buckets */
    printf("msockd_%s_count %" PRIu64 "\n", name, count);
}

static void
worker_label(const char *name, const struct stats_worker_view *w)
{
    printf("msockd_%s{worker=\"%u\",generation=\"%" PRIu64 "\"} ", name, w->index, w->generation);
}

static void
prometheus_workers(const struct snapshot *s)
{
    head("worker_connections_open", "gauge", "connections open now, by worker");
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_label("worker_connections_open", &s->workers[i]);
        printf("%" PRIu64 "\n", s->workers[i].totals.open);
    }
    head("worker_ready", "gauge", "1 where the worker takes new connections");
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_label("worker_ready", &s->workers[i]);
        printf("%d\n", s->workers[i].state == STATS_WORKER_READY);
    }
    head("worker_restarts", "gauge", "replacements of the worker since its generation began");
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_label("worker_restarts", &s->workers[i]);
        printf("%u\n", s->workers[i].restarts);
    }
}

static void
label_text(const char *text)
{
    for (; *text != '\0'; text++)
        putchar(*text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '?' : *text);
}

void
prometheus_print(const struct snapshot *s)
{
    head("info", "gauge", "the version that runs");
    printf("msockd_info{version=\"");
    label_text(s->version);
    printf("\"} 1\n");
    if (s->alive != SNAPSHOT_UNKNOWN)
        metric("up", "gauge", "1 while the master lives", s->alive == SNAPSHOT_ALIVE);
    head("start_time_seconds", "gauge", "when the master started, since 1970");
    printf("msockd_start_time_seconds %.3f\n", (double)s->started_real_us / 1e6);
    metric("generation", "gauge", "generation of the configuration", s->generation);
    metric("reloads_total", "counter", "reloads finished", s->reloads);
    head("last_reload_successful", "gauge", "0 where the last reload failed");
    printf("msockd_last_reload_successful %d\n", s->verdict != STATS_VERDICT_FAILED);
#define X(name, help) metric(#name "_total", "counter", help, s->total.counts.name);
    COUNTERS(X)
#undef X
    metric("connections_open", "gauge", "connections open now", s->total.open);
    metric("sources", "gauge", "sources that are known", s->sources);
    metric("sources_penalized", "gauge", "of these, turned away now", s->sources_penalized);
    prometheus_workers(s);
    prometheus_latency(s->total.latency);
}
