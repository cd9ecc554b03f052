/* Copies first, so that what is printed is of one moment and cannot change while it is printed; and
 * from counters to JSON, by the lists in stats_layout.h. */
#include "ctl.h"

#include "common/base.h"
#include "common/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void
field_copy(char *out, const char *field, size_t n)
{
    memcpy(out, field, n);
    out[n - 1] = '\0';
}

static void
control_copy(struct snapshot *s, const struct stats_control *c)
{
    s->pid = atomic_load(&c->master_pid);
    s->started_us = c->started_us;
    s->started_real_us = c->started_real_us;
    s->generation = atomic_load(&c->generation);
    s->reloads = atomic_load_explicit(&c->reloads, memory_order_acquire);
    s->verdict = (enum stats_verdict)atomic_load(&c->reload_verdict);
    field_copy(s->version, c->version_text, sizeof(s->version));
    s->workers_wanted = atomic_load(&c->workers);
    s->stopping = atomic_load(&c->stopping) != 0;
    field_copy(s->reload_text, c->reload_text, sizeof(s->reload_text));
    field_copy(s->config_file, c->config_file, sizeof(s->config_file));
    field_copy(s->data_dir, c->data_dir, sizeof(s->data_dir));
    field_copy(s->cwd, c->cwd, sizeof(s->cwd));
    snprintf(s->boot_id, sizeof(s->boot_id), "%016" PRIx64 "%016" PRIx64, c->boot_id[0],
             c->boot_id[1]);
}

static enum snapshot_alive
alive(const char *dir)
{
    int held = stats_reader_lock_held(dir);

    if (held < 0)
        return SNAPSHOT_UNKNOWN;
    return held ? SNAPSHOT_ALIVE : SNAPSHOT_DEAD;
}

static void
snapshot_count_sources(struct stats_reader *sr, struct snapshot *s)
{
    struct stats_source_view *views;

    s->sources = stats_reader_sources(sr, s->taken_us, &views);
    for (size_t i = 0; i < s->sources; i++)
        s->sources_penalized += views[i].penalty_s > 0;
    free(views);
}

static void
snapshot_certificates(const struct stats_reader *sr, struct snapshot *s)
{
    struct stats_listener_view view;

    for (unsigned i = 0; i < STATS_LISTENERS; i++)
        if (stats_reader_listener(sr, i, &view) && view.active && view.certificate_until != 0 &&
            (s->certificate_until == 0 || view.certificate_until < s->certificate_until))
            s->certificate_until = view.certificate_until;
}

static void
snapshot_relays(struct stats_reader *sr, struct snapshot *s)
{
    s->relays = ms_calloc(s->worker_count + 1, sizeof(s->relays[0]));
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].index == STATS_RELAY &&
            stats_reader_relay(sr, &s->workers[i], &s->relays[i]))
            s->relay = &s->relays[i];
}

int
snapshot_take(const struct ctl *ctl, struct snapshot *out)
{
    struct stats_reader sr;
    int status = ctl_open(ctl, &sr);

    if (status != EX_OK)
        return status;
    *out = (struct snapshot){.alive = alive(ctl->dir), .taken_us = clock_mono_us()};
    control_copy(out, sr.control);
    stats_reader_totals(&sr, &out->total);
    out->workers = ms_calloc(STATS_REGIONS, sizeof(out->workers[0]));
    out->worker_count = stats_reader_workers(&sr, out->workers, STATS_REGIONS);
    snapshot_count_sources(&sr, out);
    snapshot_certificates(&sr, out);
    snapshot_relays(&sr, out);
    ctl_close(ctl, &sr);
    if (out->alive == SNAPSHOT_DEAD && ctl_explain(ctl) == out->pid)
        out->alive = SNAPSHOT_ALIVE; /* only its lock is not there any more */
    return EX_OK;
}

void
snapshot_fini(struct snapshot *snapshot)
{
    free(snapshot->workers);
    free(snapshot->relays);
    *snapshot = (struct snapshot){0};
}

unsigned
snapshot_ready(const struct snapshot *snapshot)
{
    unsigned n = 0;

    for (unsigned i = 0; i < snapshot->worker_count; i++)
        n += snapshot->workers[i].state == STATS_WORKER_READY &&
             snapshot->workers[i].index != STATS_RELAY;
    return n;
}

const char *
snapshot_unhealthy(const struct snapshot *s, bool ready)
{
    if (s->alive == SNAPSHOT_DEAD)
        return "no msockd runs here";
    if (ready && (snapshot_ready(s) == 0 || s->stopping))
        return "no worker takes connections";
    return NULL;
}

/* A state comes from shared memory, so a number may have no name. */
const char *
verdict_name(enum stats_verdict verdict)
{
    switch (verdict) {
    case STATS_VERDICT_NONE:
        return "none";
    case STATS_VERDICT_OK:
        return "ok";
    case STATS_VERDICT_FAILED:
        return "failed";
    }
    return "unknown";
}

/* --- JSON --- */

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
json_seconds(uint64_t from_us, uint64_t to_us)
{
    return json_real(from_us < to_us ? (double)((to_us - from_us) / 1000) / 1000 : 0);
}

void
json_put_counters(json_t *object, const struct stats_counts *counts)
{
#define X(name, help) json_put(object, #name, json_count(counts->name));
    COUNTERS(X)
#undef X
}

static void
json_put_totals(json_t *object, const struct stats_totals *totals)
{
    static const struct {
        const char *key;
        double share;
    } percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}};
    json_t *latency = json_object();

    json_put_counters(object, &totals->counts);
    json_put(object, "open", json_count(totals->open));
    json_put(object, "memory", json_count(totals->memory));
    json_put(object, "memory_max", json_count(totals->memory_max));
    for (size_t i = 0; i < MS_ARRAY_LEN(percentiles); i++)
        json_put(latency, percentiles[i].key,
                 json_count(stats_percentile(totals->latency, percentiles[i].share)));
    json_put(latency, "max", json_count(stats_latency_max(totals->latency)));
    json_put(object, "latency_us", latency);
}

static const char *
worker_state_name(enum stats_worker_state state)
{
    switch (state) {
    case STATS_WORKER_NONE:
        return "none";
    case STATS_WORKER_STARTING:
        return "starting";
    case STATS_WORKER_READY:
        return "ready";
    case STATS_WORKER_DRAINING:
        return "draining";
    case STATS_WORKER_WAITING:
        return "waiting";
    }
    return "unknown";
}

static const char *
worker_sandbox_name(const struct stats_worker_view *w)
{
    static const char *const names[] = {"none", "landlock", "seccomp", "landlock+seccomp"};

    return names[w->sandbox % MS_ARRAY_LEN(names)];
}

void
json_put_worker(json_t *row, const struct snapshot *s, const struct stats_worker_view *w)
{
    bool is_relay = w->index == STATS_RELAY;

    json_put(row, "kind", json_string(is_relay ? "relay" : "worker"));
    json_put(row, "worker", is_relay ? json_null() : json_count(w->index));
    json_put(row, "pid", json_integer(w->pid));
    json_put(row, "state", json_string(worker_state_name(w->state)));
    json_put(row, "generation", json_count(w->generation));
    json_put(row, "restarts", json_count(w->restarts));
    json_put(row, "sandbox", json_string(worker_sandbox_name(w)));
    json_put(row, "age", json_seconds(w->started_us, s->taken_us));
}

json_t *
json_workers(const struct snapshot *s)
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < s->worker_count; i++) {
        const struct stats_worker_view *w = &s->workers[i];
        json_t *row = json_object();

        json_put_worker(row, s, w);
        json_put_totals(row, &w->totals);
        json_array_append_new(rows, row);
    }
    return rows;
}

json_t *
json_snapshot(const struct snapshot *s, const char *since)
{
    json_t *document = json_object(), *reload = json_object(), *total = json_object();

    json_put(document, "version", json_text(s->version));
    json_put(document, "pid", json_integer(s->pid));
    json_put(document, "alive",
             s->alive == SNAPSHOT_UNKNOWN ? json_null() : json_boolean(s->alive == SNAPSHOT_ALIVE));
    json_put(document, "uptime",
             s->alive == SNAPSHOT_DEAD ? json_null() : json_seconds(s->started_us, s->taken_us));
    json_put(document, "generation", json_count(s->generation));
    json_put(document, "reloads", json_count(s->reloads));
    json_put(reload, "verdict", json_string(verdict_name(s->verdict)));
    json_put(reload, "text", json_text(s->reload_text));
    json_put(document, "reload", reload);
    if (since != NULL)
        json_put(document, "since", json_text(since));
    json_put_totals(total, &s->total);
    json_put(document, "total", total);
    json_put(document, "workers", json_workers(s));
    return document;
}

void
json_print(json_t *document, bool compact)
{
    json_dump_callback(document, text_json_write, stdout,
                       JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) |
                           (compact ? JSON_COMPACT : JSON_INDENT(2)));
    putchar('\n');
    json_decref(document);
}
