/* Counters are totals, which outlive workers; what is per worker is what changes hands with it. */
#include "ctl.h"

#include <inttypes.h>

/* Powers of two of microseconds: 16 us to 18 minutes. Each is the low end of a bucket. */
#define EXPONENT_MIN 4
#define EXPONENT_MAX 30

/* Where it is printed, and in which of the two formats. */
struct exposition {
    FILE *out;
    bool openmetrics;
};

/* OpenMetrics names a counter without the "_total" of its sample. */
static void
head(const struct exposition *x, const char *name, const char *type, const char *help)
{
    int n = (int)strlen(name);

    if (x->openmetrics && strcmp(type, "counter") == 0)
        n -= (int)sizeof("_total") - 1;
    fprintf(x->out, "# HELP msockd_%.*s %s\n# TYPE msockd_%.*s %s\n", n, name, help, n, name, type);
}

static void
metric(const struct exposition *x, const char *name, const char *type, const char *help,
       uint64_t value)
{
    head(x, name, type, help);
    fprintf(x->out, "msockd_%s %" PRIu64 "\n", name, value);
}

void
prometheus_gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
    metric(&(struct exposition){out, false}, name, "gauge", help, value);
}

static void
prometheus_latency(const struct exposition *x, const uint64_t latency[STATS_HISTOGRAM])
{
    const char *name = "message_duration_seconds";
    uint64_t count = 0;
    double sum_us = 0;
    unsigned i = 0;

    head(x, name, "histogram", "time from a message's first byte to its final answer");
    for (unsigned e = EXPONENT_MIN; e <= EXPONENT_MAX; e++) {
        for (; i < STATS_HISTOGRAM && stats_histogram_low(i) < (uint64_t)1 << e; i++) {
            count += latency[i];
            sum_us += (double)latency[i] * (double)stats_histogram_value(i);
        }
        fprintf(x->out, "msockd_%s_bucket{le=\"%.10g\"} %" PRIu64 "\n", name,
                (double)((uint64_t)1 << e) / 1e6, count);
    }
    for (; i < STATS_HISTOGRAM; i++) {
        count += latency[i];
        sum_us += (double)latency[i] * (double)stats_histogram_value(i);
    }
    fprintf(x->out, "msockd_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    fprintf(x->out, "msockd_%s_sum %.6f\n", name,
            sum_us / 1e6); /* from the middles of the buckets */
    fprintf(x->out, "msockd_%s_count %" PRIu64 "\n", name, count);
}

static void
worker_label(const struct exposition *x, const char *name, const struct stats_worker_view *w)
{
    fprintf(x->out, "msockd_%s{worker=\"", name);
    if (w->index == STATS_RELAY)
        fputs("relay", x->out);
    else
        fprintf(x->out, "%u", w->index);
    fprintf(x->out, "\",generation=\"%" PRIu64 "\"} ", w->generation);
}

static void
prometheus_workers(const struct exposition *x, const struct snapshot *s)
{
    head(x, "worker_connections_open", "gauge", "connections open now, by worker");
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_label(x, "worker_connections_open", &s->workers[i]);
        fprintf(x->out, "%" PRIu64 "\n", s->workers[i].totals.open);
    }
    head(x, "worker_ready", "gauge", "1 where the worker takes new connections");
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_label(x, "worker_ready", &s->workers[i]);
        fprintf(x->out, "%d\n", s->workers[i].state == STATS_WORKER_READY);
    }
    head(x, "worker_restarts", "gauge", "replacements of the worker since its generation began");
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_label(x, "worker_restarts", &s->workers[i]);
        fprintf(x->out, "%u\n", s->workers[i].restarts);
    }
}

static void
prometheus_relay(const struct exposition *x, const struct stats_relay *r)
{
    uint64_t now_us = clock_real_us();
    bool waits = r->oldest_us != 0 && r->oldest_us < now_us;

    metric(x, "relay_lag_records", "gauge", "records that are not relayed yet", r->records);
    metric(x, "relay_lag_bytes", "gauge", "bytes of these records in the journal", r->bytes);
    head(x, "relay_lag_seconds", "gauge", "since the oldest of them was written");
    fprintf(x->out, "msockd_relay_lag_seconds %.3f\n",
            waits ? (double)(now_us - r->oldest_us) / 1e6 : 0);
    head(x, "relay_last_error_seconds", "gauge",
         "when the relay's last error was, since 1970; 0: never");
    fprintf(x->out, "msockd_relay_last_error_seconds %.3f\n", (double)r->error_us / 1e6);
}

static void
label_text(const struct exposition *x, const char *text)
{
    for (; *text != '\0'; text++)
        putc(*text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '?' : *text, x->out);
}

void
prometheus_print(FILE *out, const struct snapshot *s, bool openmetrics)
{
    const struct exposition *x = &(struct exposition){out, openmetrics};

    head(x, "info", "gauge", "the version that runs");
    fprintf(x->out, "msockd_info{version=\"");
    label_text(x, s->version);
    fprintf(x->out, "\"} 1\n");
    if (s->alive != SNAPSHOT_UNKNOWN)
        metric(x, "up", "gauge", "1 while the master lives", s->alive == SNAPSHOT_ALIVE);
    head(x, "start_time_seconds", "gauge", "when the master started, since 1970");
    fprintf(x->out, "msockd_start_time_seconds %.3f\n", (double)s->started_real_us / 1e6);
    metric(x, "generation", "gauge", "generation of the configuration", s->generation);
    metric(x, "reloads_total", "counter", "reloads finished", s->reloads);
    head(x, "last_reload_successful", "gauge", "0 where the last reload failed");
    fprintf(x->out, "msockd_last_reload_successful %d\n", s->verdict != STATS_VERDICT_FAILED);
#define X(name, help) metric(x, #name "_total", "counter", help, s->total.counts.name);
    COUNTERS(X)
#undef X
    metric(x, "workers", "gauge", "workers that are configured", s->workers_wanted);
    metric(x, "connections_open", "gauge", "connections open now", s->total.open);
    metric(x, "held_bytes", "gauge", "memory that workers hold for peers", s->total.memory);
    metric(x, "held_max_bytes", "gauge", "its bound: worker_memory_max of all workers",
           s->total.memory_max);
    metric(x, "sources", "gauge", "sources that are known", s->sources);
    metric(x, "sources_penalized", "gauge", "of these, turned away now", s->sources_penalized);
    if (s->certificate_until != 0)
        metric(x, "certificate_end_seconds", "gauge",
               "when the first certificate of a listener ends, since 1970", s->certificate_until);
    prometheus_workers(x, s);
    if (s->relay != NULL)
        prometheus_relay(x, s->relay);
    prometheus_latency(x, s->total.latency);
}
