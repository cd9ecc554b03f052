/* A JSON document: the run, the time, the totals and those of each worker alive then; of the
 * histogram the buckets that are not empty. */
#include "ctl.h"

#include "common/base.h"
#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define FILE_MAX ((size_t)16 << 20)

static json_t *
totals_save(const struct stats_totals *totals)
{
    json_t *object = json_object(), *latency = json_object();
    char key[16];

    json_put_counters(object, &totals->counts);
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++) {
        if (totals->latency[i] == 0)
            continue;
        snprintf(key, sizeof(key), "%u", i);
        json_put(latency, key, json_count(totals->latency[i]));
    }
    json_put(object, "latency", latency);
    return object;
}

static uint64_t
count_load(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));

    return n > 0 ? (uint64_t)n : 0;
}

static void
totals_load(const json_t *object, struct stats_totals *totals)
{
    const json_t *latency = json_object_get(object, "latency");
    char key[16];

    memset(totals, 0, sizeof(*totals));
#define X(name, help) totals->counts.name = count_load(object, #name);
    COUNTERS(X)
#undef X
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++) {
        snprintf(key, sizeof(key), "%u", i);
        totals->latency[i] = count_load(latency, key);
    }
}

/* An incarnation is one worker's life, unique in a run. */
static void
worker_key(const struct stats_worker_view *worker, char key[32])
{
    snprintf(key, 32, "%" PRIu64, worker->incarnation);
}

static json_t *
baseline_build(const struct snapshot *s)
{
    json_t *document = json_object(), *workers = json_object();
    char key[32], time[CLOCK_RFC3339_LEN];

    clock_format(clock_real_us(), time);
    json_put(document, "boot_id", json_string(s->boot_id));
    json_put(document, "time", json_string(time));
    json_put(document, "total", totals_save(&s->total));
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_key(&s->workers[i], key);
        json_put(workers, key, totals_save(&s->workers[i].totals));
    }
    json_put(document, "workers", workers);
    return document;
}

/* Creates path with the document; one that has appeared meanwhile stays (EEXIST). */
static int
baseline_write(const char *path, const json_t *document)
{
    FILE *file = fopen(path, "wxe");
    bool written;
    int error;

    if (file == NULL)
        return -1;
    written = json_dumpf(document, file, JSON_COMPACT) == 0 && fputc('\n', file) != EOF;
    if (fclose(file) == 0 && written)
        return 0;
    error = errno;
    unlink(path);
    errno = error;
    return -1;
}

static int
baseline_create(const struct ctl *ctl, const char *path, const struct snapshot *snapshot,
                json_t **baseline_out)
{
    json_t *document = baseline_build(snapshot);

    if (baseline_write(path, document) < 0) {
        ctl_error(ctl, "cannot create the baseline %s: %s", path, strerror(errno));
        json_decref(document);
        return EX_CANTCREAT;
    }
    *baseline_out = document;
    return EX_OK;
}

static const char *
baseline_boot_id(const json_t *baseline)
{
    return json_string_value(json_object_get(baseline, "boot_id"));
}

const char *
baseline_time(const json_t *baseline)
{
    return json_string_value(json_object_get(baseline, "time"));
}

int
baseline_open(const struct ctl *ctl, const char *path, const struct snapshot *snapshot,
              json_t **baseline_out)
{
    json_t *document;
    char *text;
    size_t len;

    if (fd_read_file(path, FILE_MAX, &text, &len) < 0) {
        if (errno == ENOENT)
            return baseline_create(ctl, path, snapshot, baseline_out);
        ctl_error(ctl, "cannot read the baseline %s: %s", path, strerror(errno));
        return EX_NOINPUT;
    }
    document = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    if (baseline_boot_id(document) == NULL || baseline_time(document) == NULL) {
        ctl_error(ctl, "%s is no baseline that stats --since made: name another file, or remove it",
                  path);
        json_decref(document);
        return EX_DATAERR;
    }
    *baseline_out = document;
    return EX_OK;
}

/* now - before for everything that only grows, never below 0; `open` stays as it is now. */
static void
totals_subtract(struct stats_totals *now, const struct stats_totals *before)
{
#define X(name, help)   \
    now->counts.name -= \
        before->counts.name < now->counts.name ? before->counts.name : now->counts.name;
    COUNTERS(X)
#undef X
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++)
        now->latency[i] -=
            before->latency[i] < now->latency[i] ? before->latency[i] : now->latency[i];
}

void
baseline_subtract(const json_t *baseline, struct snapshot *s)
{
    const json_t *workers = json_object_get(baseline, "workers");
    struct stats_totals before;
    char key[32];

    if (strcmp(baseline_boot_id(baseline), s->boot_id) != 0)
        return;
    totals_load(json_object_get(baseline, "total"), &before);
    totals_subtract(&s->total, &before);
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_key(&s->workers[i], key);
        totals_load(json_object_get(workers, key), &before);
        totals_subtract(&s->workers[i].totals, &before);
    }
}
