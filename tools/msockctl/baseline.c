/* A JSON document: the run, the time, the totals and those of each worker alive then; of the
 * histogram the buckets that are not empty. */
#include "baseline.h"

#include "common/base.h"
#include "common/fd.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
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

    json_put_conn_counters(object, &totals->counts);
    json_put_worker_counters(object, &totals->counts);
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
    STATS_CONN_COUNTERS(X)
    STATS_WORKER_COUNTERS(X)
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
baseline_build(const struct snapshot *s, const char *time)
{
    json_t *document = json_object(), *workers = json_object();
    char key[32];

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
    int rc = -1;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    char *text = json_dumps(document, JSON_COMPACT);

    MS_ASSERT(text != NULL);
    if (fd < 0)
        goto out;
    if (fd_write_all(fd, text, strlen(text)) < 0 || fd_write_all(fd, "\n", 1) < 0) {
        int saved = errno;

        unlink(path);
        errno = saved;
        goto out;
    }
    rc = 0;
out:
    free(text);
    fd_close(&fd);
    return rc;
}

static int
baseline_create(const struct ctl *ctl, const char *path, const struct snapshot *snapshot,
                struct baseline *out)
{
    char time[CLOCK_RFC3339_LEN];
    json_t *document;

    clock_format(clock_real_us(), time);
    document = baseline_build(snapshot, time);
    if (baseline_write(path, document) < 0) {
        ctl_error(ctl, "cannot create the baseline %s: %s", path, strerror(errno));
        json_decref(document);
        return EX_CANTCREAT;
    }
    *out = (struct baseline){.document = document};
    snprintf(out->boot_id, sizeof(out->boot_id), "%s", snapshot->boot_id);
    snprintf(out->time, sizeof(out->time), "%s", time);
    return EX_OK;
}

int
baseline_open(const struct ctl *ctl, const char *path, const struct snapshot *snapshot,
              struct baseline *out)
{
    json_error_t error;
    json_t *document;
    const char *boot_id, *time;
    char *text;
    size_t len;

    if (fd_read_file(path, FILE_MAX, &text, &len) < 0) {
        if (errno == ENOENT)
            return baseline_create(ctl, path, snapshot, out);
        ctl_error(ctl, "cannot read the baseline %s: %s", path, strerror(errno));
        return EX_NOINPUT;
    }
    document = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    free(text);
    boot_id = json_string_value(json_object_get(document, "boot_id"));
    time = json_string_value(json_object_get(document, "time"));
    if (boot_id == NULL || time == NULL) {
        ctl_error(ctl, "%s is no baseline that stats --since made: name another file, or remove it",
                  path);
        json_decref(document);
        return EX_DATAERR;
    }
    *out = (struct baseline){.document = document};
    snprintf(out->boot_id, sizeof(out->boot_id), "%s", boot_id);
    snprintf(out->time, sizeof(out->time), "%s", time);
    return EX_OK;
}

void
baseline_close(struct baseline *baseline)
{
    json_decref(baseline->document);
    baseline->document = NULL;
}

void
baseline_subtract(const struct baseline *baseline, struct snapshot *s)
{
    const json_t *workers = json_object_get(baseline->document, "workers");
    struct stats_totals before;
    char key[32];

    if (strcmp(baseline->boot_id, s->boot_id) != 0)
        return;
    totals_load(json_object_get(baseline->document, "total"), &before);
    totals_subtract(&s->total, &before);
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_key(&s->workers[i], key);
        totals_load(json_object_get(workers, key), &before);
        totals_subtract(&s->workers[i].totals, &before);
    }
}
