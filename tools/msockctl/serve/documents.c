/* What is sent: the same functions as those of the commands make it. */
#include "serve.h"

#include "common/text.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

#define EVENT_ROWS_MAX 1000
#define TIMED_ROWS_MAX 250 /* as many as the page shows */

#define JSON_FLAGS (JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15))

/* Gives up the reference. */
static struct document
document_json(json_t *json, bool failed)
{
    struct document d = {.text = json_dumps(json, JSON_FLAGS), .failed = failed};

    MS_ASSERT(d.text != NULL);
    d.len = strlen(d.text);
    json_decref(json);
    return d;
}

/* What the last look said. */
static void
error_text(struct serve *s, char text[512])
{
    size_t n = s->error.len > 0 ? strcspn(buffer_cstr(&s->error), "\n") : 0;

    snprintf(text, 512, "%.*s", (int)n, n > 0 ? buffer_cstr(&s->error) : "");
}

static json_t *
error_json(struct serve *s)
{
    char text[512];

    error_text(s, text);
    return json_pack("{s:o}", "error", json_text(text));
}

static bool
look(struct serve *s, struct snapshot *out)
{
    buffer_clear(&s->error);
    return snapshot_take(&s->ctl, out) == EX_OK;
}

static json_t *
tail_json(struct serve *s, bool *failed_out)
{
    struct snapshot now;
    json_t *rows = NULL;

    if (look(s, &now)) {
        rows = journal_tail(now.data_dir);
        if (rows == NULL)
            buffer_printf(&s->error, "%s/journal: %s", now.data_dir, strerror(errno));
        snapshot_fini(&now);
    }
    *failed_out = rows == NULL;
    return rows != NULL ? rows : error_json(s);
}

static const struct ctl_command *
command_find(const char *name)
{
    for (size_t i = 0; ctl_commands[i] != NULL; i++)
        if (ctl_commands[i]->rows != NULL && strcmp(ctl_commands[i]->name, name) == 0)
            return ctl_commands[i];
    return NULL;
}

struct document
document_api(struct serve *s, const char *name)
{
    const struct ctl_command *command = command_find(name);
    struct snapshot now;
    bool failed = false;
    json_t *json;

    if (strcmp(name, "journal") == 0) {
        json = tail_json(s, &failed);
    } else if (strcmp(name, "stats") == 0) {
        failed = !look(s, &now);
        json = failed ? error_json(s) : json_snapshot(&now, NULL);
        if (!failed)
            snapshot_fini(&now);
    } else if (command != NULL) {
        buffer_clear(&s->error);
        failed = command->rows(&s->ctl, &json) != EX_OK;
        if (failed)
            json = error_json(s);
    } else {
        return (struct document){0};
    }
    return document_json(json, failed);
}

/* --- what the machine has for it --- */

struct resources {
    uint64_t disk, disk_free;        /* bytes; 0: not known */
    uint64_t memory, memory_machine; /* of all processes of the msockd; of the machine */
};

static uint64_t
process_memory(int pid)
{
    char path[64];
    unsigned long pages = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/statm", pid);
    file = fopen(path, "re");
    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct resources
resources_take(const struct snapshot *now)
{
    struct resources r = {.memory_machine =
                              (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE)};
    struct statvfs fs;

    if (statvfs(now->data_dir, &fs) == 0) {
        r.disk = (uint64_t)fs.f_blocks * fs.f_frsize;
        r.disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    }
    if (now->alive != SNAPSHOT_DEAD)
        r.memory = process_memory(now->pid);
    for (unsigned i = 0; now->alive != SNAPSHOT_DEAD && i < now->worker_count; i++)
        r.memory += process_memory(now->workers[i].pid);
    return r;
}

/* --- metrics and health --- */

struct document
document_metrics(struct serve *s, bool openmetrics)
{
    struct document d = {0};
    struct resources r;
    struct snapshot now;
    FILE *out = open_memstream(&d.text, &d.len);

    MS_ASSERT(out != NULL);
    if (look(s, &now)) {
        prometheus_print(out, &now, openmetrics);
        r = resources_take(&now);
        prometheus_gauge(out, "disk_bytes", "size of the disk of the data directory", r.disk);
        prometheus_gauge(out, "disk_free_bytes", "of these, free", r.disk_free);
        prometheus_gauge(out, "memory_bytes", "memory of all processes", r.memory);
        prometheus_gauge(out, "machine_memory_bytes", "memory of the machine", r.memory_machine);
        snapshot_fini(&now);
    } else {
        prometheus_gauge(out, "up", "1 while the master lives", 0);
    }
    if (openmetrics)
        fputs("# EOF\n", out);
    fclose(out);
    return d;
}

struct document
document_health(struct serve *s, bool ready)
{
    char unread[512];
    const char *wrong = unread;
    struct document d = {0};
    struct buffer text;
    struct snapshot now;

    if (look(s, &now)) {
        wrong = snapshot_unhealthy(&now, ready);
        snapshot_fini(&now);
    } else {
        error_text(s, unread);
    }
    d.failed = wrong != NULL;
    buffer_init(&text);
    buffer_printf(&text, "%s\n", d.failed ? wrong : "ok");
    d.text = ms_strdup(buffer_cstr(&text));
    d.len = strlen(d.text);
    buffer_fini(&text);
    return d;
}

/* --- events --- */

static const char *
kind_name(enum column_kind kind)
{
    switch (kind) {
    case COLUMN_TEXT:
    case COLUMN_RIGHT:
        return "text";
    case COLUMN_COUNT:
        return "count";
    case COLUMN_BYTES:
        return "bytes";
    case COLUMN_SECONDS:
        return "seconds";
    case COLUMN_AGE:
        return "age";
    case COLUMN_LATENCY:
        return "latency";
    case COLUMN_ACTIVE:
        return "active";
    }
    return "text";
}

static json_t *
columns_json(const struct ctl_command *command)
{
    json_t *columns = json_array();
    char title[TABLE_CELL_MAX];

    for (size_t i = 0; i < command->column_count; i++) {
        const struct column *c = &command->columns[i];

        json_array_append_new(columns,
                              json_pack("{s:s, s:s, s:s}", "key", c->key, "title",
                                        table_title(c, title), "kind", kind_name(c->kind)));
    }
    return columns;
}

static int
row_later(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;
    double m = json_number_value(json_object_get(*x, "idle"));
    double n = json_number_value(json_object_get(*y, "idle"));

    return (m > n) - (m < n);
}

/* Of rows that have a time, which come with the oldest first, the newest first. Gives up the
 * reference. */
static json_t *
rows_newest(json_t *rows)
{
    const size_t n = json_array_size(rows);
    json_t *newest;

    if (json_object_get(json_array_get(rows, 0), "time") == NULL)
        return rows;
    newest = json_array();
    for (size_t i = 0; i < n && i < TIMED_ROWS_MAX; i++)
        json_array_append(newest, json_array_get(rows, n - 1 - i));
    json_decref(rows);
    return newest;
}

/* Of very many rows the first ones, of connections those that did something last. Gives up the
 * reference. */
static json_t *
rows_bound(json_t *rows)
{
    const size_t n = json_array_size(rows);
    json_t **all, *some;

    if (n <= EVENT_ROWS_MAX)
        return rows;
    all = ms_calloc(n, sizeof(all[0]));
    some = json_array();
    for (size_t i = 0; i < n; i++)
        all[i] = json_array_get(rows, i);
    if (json_object_get(all[0], "idle") != NULL)
        qsort(all, n, sizeof(all[0]), row_later);
    for (size_t i = 0; i < EVENT_ROWS_MAX; i++)
        json_array_append(some, all[i]);
    free(all);
    json_decref(rows);
    return some;
}

/* Gives up the reference. */
static void
event_say(FILE *out, const char *name, json_t *json)
{
    struct document d = document_json(json, false);

    fprintf(out, "event: %s\ndata: %s\n\n", name, d.text);
    free(d.text);
}

/* The buckets that are not empty, as [lowest microseconds, highest, count]. */
static json_t *
histogram_json(const uint64_t latency[STATS_HISTOGRAM])
{
    json_t *buckets = json_array();

    for (unsigned i = 0; i < STATS_HISTOGRAM; i++)
        if (latency[i] > 0)
            json_array_append_new(buckets, json_pack("[I, I]", (json_int_t)stats_histogram_value(i),
                                                     (json_int_t)latency[i]));
    return buckets;
}

static json_t *
stats_event(const struct snapshot *now)
{
    const struct resources r = resources_take(now);

    return json_pack("{s:I, s:s, s:o, s:o, s:{s:I, s:I, s:I, s:I}}", "taken_us",
                     (json_int_t)now->taken_us, "run", now->boot_id, "stats",
                     json_snapshot(now, NULL), "histogram", histogram_json(now->total.latency),
                     "resources", "disk", (json_int_t)r.disk, "disk_free", (json_int_t)r.disk_free,
                     "memory", (json_int_t)r.memory, "machine_memory",
                     (json_int_t)r.memory_machine);
}

static void
table_event(struct serve *s, FILE *out, const struct ctl_command *command)
{
    json_t *rows;
    size_t of;

    buffer_clear(&s->error);
    if (command->rows(&s->ctl, &rows) != EX_OK)
        return;
    of = json_array_size(rows);
    event_say(out, "table",
              json_pack("{s:s, s:s, s:o, s:I, s:o}", "name", command->name, "key", command->key,
                        "columns", columns_json(command), "of", (json_int_t)of, "rows",
                        rows_bound(rows_newest(rows))));
}

struct document
document_events(struct serve *s)
{
    struct document d = {0};
    FILE *out = open_memstream(&d.text, &d.len);
    struct snapshot now;
    bool failed;

    MS_ASSERT(out != NULL);
    fputs("retry: 1000\n\n", out);
    if (look(s, &now)) {
        event_say(out, "stats", stats_event(&now));
        snapshot_fini(&now);
        for (size_t i = 0; ctl_commands[i] != NULL; i++)
            if (ctl_commands[i]->rows != NULL)
                table_event(s, out, ctl_commands[i]);
        event_say(out, "journal", tail_json(s, &failed));
    } else {
        event_say(out, "away", error_json(s));
    }
    fclose(out);
    return d;
}
