/* Copies first, so that what is printed is of one moment and cannot change while it is printed. */
#include "snapshot.h"

#include "common/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    field_copy(s->reload_text, c->reload_text, sizeof(s->reload_text));
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

int
snapshot_take(const char *dir, struct snapshot *out, char error[256])
{
    struct stats_reader sr;

    if (stats_reader_open(&sr, dir, error) < 0)
        return -1;
    *out = (struct snapshot){.alive = alive(dir)};
    out->taken_us = clock_mono_us();
    control_copy(out, sr.control);
    stats_reader_totals(&sr, &out->total);
    out->workers = ms_calloc(STATS_REGIONS, sizeof(out->workers[0]));
    out->worker_count = stats_reader_workers(&sr, out->workers, STATS_REGIONS);
    stats_reader_close(&sr);
    return 0;
}

void
snapshot_fini(struct snapshot *snapshot)
{
    free(snapshot->workers);
    *snapshot = (struct snapshot){0};
}

void
totals_subtract(struct stats_totals *now, const struct stats_totals *before)
{
#define X(name, help)   \
    now->counts.name -= \
        before->counts.name < now->counts.name ? before->counts.name : now->counts.name;
    STATS_CONN_COUNTERS(X)
    STATS_WORKER_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++)
        now->latency[i] -=
            before->latency[i] < now->latency[i] ? before->latency[i] : now->latency[i];
}

/* The states come from shared memory, so a number may have no name. */
const char *
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

const char *
conn_state_name(enum stats_conn_state state)
{
    switch (state) {
    case STATS_CONN_FREE:
        return "free";
    case STATS_CONN_IDLE:
        return "idle";
    case STATS_CONN_RECEIVING:
        return "receiving";
    case STATS_CONN_COMMITTING:
        return "committing";
    case STATS_CONN_CLOSING:
        return "closing";
    }
    return "unknown";
}

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
