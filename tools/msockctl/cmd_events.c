/* msockctl events and crashes: the flight recorders of the workers, also of those that have died,
 * and what the dead ones left. All of it may come from a worker that went wrong, so it is copied
 * first, and only shown. */
#include "ctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

/* --- what both have --- */

/* Monotonic time as the time of day, by the two clocks at the master's start. */
static json_t *
time_json(const struct stats_control *control, uint64_t us)
{
    char text[CLOCK_RFC3339_LEN];

    clock_format(control->started_real_us + us - control->started_us, text);
    return json_string(text);
}

static void
put_worker(json_t *row, unsigned index, int pid)
{
    const bool is_relay = index == STATS_RELAY;

    json_put(row, "kind", json_string(is_relay ? "relay" : "worker"));
    json_put(row, "worker", is_relay ? json_null() : json_count(index));
    json_put(row, "pid", json_integer(pid));
}

/* As `conns` names it; null: none. */
static json_t *
conn_id(int pid, uint64_t id)
{
    return id != 0 ? json_sprintf("%d.%" PRIu64, pid, id) : json_null();
}

static json_t *
listener_url(const struct stats_reader *sr, unsigned id)
{
    struct stats_listener_view view;

    return json_text(stats_reader_listener(sr, id, &view) ? view.url : "");
}

/* --- events --- */

struct event_row {
    json_t *json;
    uint64_t time_us, number;
};

struct events {
    struct stats_reader sr;
    const char *worker, *conn; /* which are wanted; NULL: all */
    struct buffer rows;        /* struct event_row */
};

static const char *
event_name(unsigned kind)
{
    static const char *const names[] = {"unknown",
#define X(name, value) #name,
                                        STATS_EVENT_LIST(X)
#undef X
    };

    return kind < MS_ARRAY_LEN(names) ? names[kind] : names[0];
}

static json_t *
event_detail(const struct stats_event_view *e)
{
    if (e->kind == STATS_EVENT_state)
        return json_string(conn_state_name((enum stats_conn_state)e->value));
    if (e->kind == STATS_EVENT_penalty)
        return json_string(stats_blame_words(e->value));
    return json_text(e->code);
}

static bool
event_counts(unsigned kind)
{
    return kind == STATS_EVENT_committed || kind == STATS_EVENT_answered;
}

static json_t *
event_json(const struct events *events, const struct stats_event_view *e)
{
    const bool has_peer = e->peer[0] != '\0';
    json_t *row = json_object();

    json_put(row, "id", json_sprintf("%d.%" PRIu64, e->worker_pid, e->number));
    json_put(row, "time", time_json(events->sr.control, e->time_us));
    put_worker(row, e->worker_index, e->worker_pid);
    json_put(row, "event", json_string(event_name(e->kind)));
    json_put(row, "detail", event_detail(e));
    json_put(row, "count", event_counts(e->kind) ? json_count(e->value) : json_null());
    json_put(row, "conn", conn_id(e->worker_pid, e->conn));
    json_put(row, "peer", has_peer ? json_text(e->peer) : json_null());
    json_put(row, "listener", has_peer ? listener_url(&events->sr, e->listener) : json_null());
    return row;
}

static bool
event_is_wanted(const struct events *events, const json_t *row)
{
    const char *conn = json_string_value(json_object_get(row, "conn"));
    const json_t *worker = json_object_get(row, "worker");
    char number[16] = "relay";

    if (json_is_integer(worker))
        snprintf(number, sizeof(number), "%d", (int)json_integer_value(worker));
    if (events->worker != NULL && strcmp(events->worker, number) != 0)
        return false;
    return events->conn == NULL || (conn != NULL && strcmp(events->conn, conn) == 0);
}

static void
events_add(void *arg, const struct stats_event_view *e)
{
    struct events *events = arg;
    struct event_row row = {event_json(events, e), e->time_us, e->number};

    if (event_is_wanted(events, row.json))
        buffer_append(&events->rows, &row, sizeof(row));
    else
        json_decref(row.json);
}

static int
event_compare(const void *a, const void *b)
{
    const struct event_row *x = a, *y = b;

    if (x->time_us != y->time_us)
        return x->time_us < y->time_us ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static json_t *
events_sorted(struct events *events)
{
    struct event_row *rows = (void *)events->rows.data;
    size_t n = events->rows.len / sizeof(rows[0]);
    json_t *array = json_array();

    if (n > 0)
        qsort(rows, n, sizeof(rows[0]), event_compare);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, rows[i].json);
    buffer_fini(&events->rows);
    return array;
}

static const struct column event_columns[] = {
    {"time", NULL, COLUMN_TEXT},  {"worker", NULL, COLUMN_COUNT}, {"pid", NULL, COLUMN_COUNT},
    {"event", NULL, COLUMN_TEXT}, {"detail", NULL, COLUMN_TEXT},  {"count", NULL, COLUMN_COUNT},
    {"conn", NULL, COLUMN_TEXT},  {"peer", NULL, COLUMN_TEXT},    {"listener", NULL, COLUMN_TEXT},
};

/* Those that events wants. */
static int
events_read(const struct ctl *ctl, struct events *events, json_t **rows_out)
{
    int status = ctl_open(ctl, &events->sr);

    if (status != EX_OK)
        return status;
    buffer_init(&events->rows);
    stats_reader_events(&events->sr, events_add, events);
    ctl_close(ctl, &events->sr);
    *rows_out = events_sorted(events);
    return EX_OK;
}

static int
events_rows(const struct ctl *ctl, json_t **rows_out)
{
    struct events events = {0};

    return events_read(ctl, &events, rows_out);
}

static int
events_run(struct ctl *ctl, int argc, char *argv[])
{
    struct events events = {0};
    bool json = false;
    const struct ctl_option options[] = {
        {"json", &json, NULL}, {"worker", NULL, &events.worker}, {"conn", NULL, &events.conn}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    uint64_t number;
    json_t *rows;

    if (status != CTL_GO_ON)
        return status;
    if (events.worker != NULL && strcmp(events.worker, "relay") != 0 &&
        text_parse_number(events.worker, 0, UINT32_MAX, &number) < 0)
        return ctl_usage(ctl, "--worker: \"%s\" is no number of a worker", events.worker);
    if ((status = events_read(ctl, &events, &rows)) != EX_OK)
        return status;
    return rows_print(ctl, rows, json, event_columns, MS_ARRAY_LEN(event_columns));
}

const struct ctl_command ctl_events = {
    .name = "events",
    .summary = "what the workers did last, also those that have died",
    .help =
        "usage: msockctl [-r DIR] events [OPTION]...\n"
        "The last 256 events of each worker, and those of the last 8 workers that have died,\n"
        "the oldest first: connections, what became of their messages, and commits. A state is\n"
        "told at the end of a turn of the worker, so a short one may be left out.\n\n"
        "  --json      an array of objects: id, time, kind, worker, pid, event, detail, count,\n"
        "              conn, peer, listener\n"
        "  --worker N  only of the worker with that number, or of the relay\n"
        "  --conn ID   only of the connection with that id, as in conns --json\n",
    .run = events_run,
    .rows = events_rows,
    .columns = event_columns,
    .column_count = MS_ARRAY_LEN(event_columns),
    .key = "id",
};

/* --- crashes --- */

static json_t *
crash_end(int status)
{
    char text[96];

    if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
    return json_string(text);
}

static json_t *
crash_reading(const struct stats_reader *sr, const struct stats_crash *crash)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < STATS_READING; i++) {
        const struct stats_slot *slot = &crash->reading[i];
        char peer[ENDPOINT_TEXT_LEN];
        json_t *row;

        if (slot->id == 0)
            continue;
        row = json_object();
        stats_peer_format(slot->family, slot->address, slot->port, peer);
        json_put(row, "conn", conn_id(crash->pid, slot->id));
        json_put(row, "peer", json_text(peer));
        json_put(row, "listener", listener_url(sr, slot->listener));
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *
crash_backtrace(const struct stats_crash_note *note)
{
    uint32_t n = atomic_load(&note->frame_count);
    json_t *list = json_array();
    char text[STATS_FRAME_LEN];

    for (uint32_t i = 0; i < n && i < STATS_FRAMES; i++) {
        (void)stats_frame_format(&note->frames[i], text);
        json_array_append_new(list, json_text(text));
    }
    return list;
}

static json_t *
json_or_null(json_t *value)
{
    return value != NULL ? json_incref(value) : json_null();
}

static json_t *
crash_json(const struct stats_reader *sr, const struct stats_crash *crash)
{
    const struct stats_crash_note *note = &crash->recorder.note;
    json_t *reading = crash_reading(sr, crash), *backtrace = crash_backtrace(note);
    json_t *row = json_object();

    json_put(row, "time", time_json(sr->control, crash->time_us));
    put_worker(row, crash->index, crash->pid);
    json_put(row, "generation", json_count(crash->generation));
    json_put(row, "end", crash_end(crash->status));
    json_put(row, "signal",
             WIFSIGNALED(crash->status) ? json_integer(WTERMSIG(crash->status)) : json_null());
    json_put(row, "address",
             atomic_load(&note->signal) != 0 && note->address != STATS_NO_ADDRESS
                 ? json_sprintf("0x%" PRIx64, note->address)
                 : json_null());
    json_put(row, "peer", json_or_null(json_object_get(json_array_get(reading, 0), "peer")));
    json_put(row, "function", json_or_null(json_array_get(backtrace, 0)));
    json_put(row, "reading", reading);
    json_put(row, "backtrace", backtrace);
    return row;
}

static int
crash_compare(const void *a, const void *b)
{
    const struct stats_crash *x = a, *y = b;

    return atomic_load(&x->number) < atomic_load(&y->number) ? -1 : 1;
}

/* For tables, which have no room for all of reading and backtrace. */
static const struct column crash_columns[] = {
    {"time", NULL, COLUMN_TEXT},     {"kind", NULL, COLUMN_TEXT}, {"worker", NULL, COLUMN_COUNT},
    {"pid", NULL, COLUMN_COUNT},     {"end", NULL, COLUMN_TEXT},  {"peer", NULL, COLUMN_TEXT},
    {"function", NULL, COLUMN_TEXT},
};

static int
crashes_rows(const struct ctl *ctl, json_t **rows_out)
{
    struct stats_crash *crashes;
    struct stats_reader sr;
    int status = ctl_open(ctl, &sr);
    size_t n = 0;

    if (status != EX_OK)
        return status;
    crashes = ms_calloc(STATS_CRASHES, sizeof(crashes[0]));
    for (unsigned i = 0; i < STATS_CRASHES; i++)
        n += stats_reader_crash(&sr, i, &crashes[n]);
    qsort(crashes, n, sizeof(crashes[0]), crash_compare);
    *rows_out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(*rows_out, crash_json(&sr, &crashes[i]));
    free(crashes);
    ctl_close(ctl, &sr);
    return EX_OK;
}

static void
crash_print(const json_t *row)
{
    const char *time, *kind, *end, *conn, *peer, *listener;
    const json_t *worker = json_object_get(row, "worker"), *one;
    char number[16] = "";
    json_int_t pid;
    size_t i;

    if (json_unpack((json_t *)(uintptr_t)row, "{s:s,s:s,s:I,s:s}", "time", &time, "kind", &kind,
                    "pid", &pid, "end", &end) < 0)
        return;
    if (json_is_integer(worker))
        snprintf(number, sizeof(number), " %d", (int)json_integer_value(worker));
    ctl_print("%s %s%s (pid %d) died: %s", time, kind, number, (int)pid, end);
    json_array_foreach(json_object_get(row, "reading"), i, one)
    {
        if (json_unpack((json_t *)(uintptr_t)one, "{s:s,s:s,s:s}", "conn", &conn, "peer", &peer,
                        "listener", &listener) == 0)
            ctl_print("    was reading connection %s, from %s over %s", conn, peer, listener);
    }
    json_array_foreach(json_object_get(row, "backtrace"), i, one)
    {
        ctl_print("    %s %s", i == 0 ? "in" : "  ", json_string_value(one));
    }
}

static int
crashes_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const struct ctl_option options[] = {{"json", &json, NULL}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    json_t *list, *row;
    size_t i;

    if (status != CTL_GO_ON)
        return status;
    if ((status = crashes_rows(ctl, &list)) != EX_OK)
        return status;
    if (json) {
        json_print(list, false);
    } else {
        json_array_foreach(list, i, row)
        {
            crash_print(row);
        }
        json_decref(list);
    }
    return ctl_finish(ctl, EX_OK);
}

const struct ctl_command ctl_crashes = {
    .name = "crashes",
    .summary = "the last workers that died, where in the code, and over whose bytes",
    .help = "usage: msockctl [-r DIR] crashes [--json]\n"
            "The last 8 workers that have died without being told to, since msockd began, the\n"
            "oldest first: the signal, the connection whose bytes the worker was reading, and its\n"
            "functions, the innermost first. msockctl events has what it did before.\n\n"
            "  --json  an array of objects: time, kind, worker, pid, generation, end, signal,\n"
            "          address, peer, function, reading (conn, peer, listener), backtrace; peer\n"
            "          and function are the first of these two\n",
    .run = crashes_run,
    .rows = crashes_rows,
    .columns = crash_columns,
    .column_count = MS_ARRAY_LEN(crash_columns),
    .key = "pid",
};
