/* msockctl conns and listeners: every open connection, and where they came in. A connection becomes
 * a row when it is read; the printed table and --sort follow the keys of the JSON. */
#include "ctl.h"

#include "common/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct conn_row {
    json_t *json;
    unsigned worker;
    uint64_t id;
};

struct conns {
    struct stats_listener_view *listeners; /* heap; STATS_LISTENERS rows, url "" where unused */
    uint64_t open[STATS_LISTENERS];        /* connections of each, by conns_count */
    uint64_t now_us;
    const char *listener; /* text in the URL or address of those that are wanted; NULL: all */
    struct buffer rows;   /* struct conn_row, by conns_add */
};

static const struct column conn_columns[] = {
    {"worker", NULL, COLUMN_COUNT},
    {"peer", NULL, COLUMN_TEXT},
    {"identity", NULL, COLUMN_TEXT},
    {"listener", NULL, COLUMN_TEXT},
    {"proto", NULL, COLUMN_TEXT},
    {"state", NULL, COLUMN_TEXT},
#define X(name, help) {#name, NULL, COLUMN_COUNT},
#define B(name, help) {#name, NULL, COLUMN_BYTES},
    STATS_CONN_LIST(X, X, B)
#undef B
#undef X
        {"age", NULL, COLUMN_SECONDS},
    {"idle", NULL, COLUMN_SECONDS},
};

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

static json_t *
conn_json(const struct conns *conns, const struct stats_listener_view *listener,
          const struct stats_conn_view *conn)
{
    json_t *row = json_object();

    json_put(row, "id", json_sprintf("%d.%" PRIu64, conn->worker_pid, conn->id));
    json_put(row, "worker", json_count(conn->worker_index));
    json_put(row, "peer", json_text(conn->peer));
    json_put(row, "identity", json_text(conn->identity[0] != '\0' ? conn->identity : "-"));
    json_put(row, "listener", json_text(listener->url));
    json_put(row, "proto", json_text(conn->proto));
    json_put(row, "state", json_string(conn_state_name(conn->state)));
#define X(name, help) json_put(row, #name, json_count(conn->counts.name));
    STATS_CONN_COUNTERS(X)
#undef X
    json_put(row, "age", json_seconds(conn->began_us, conns->now_us));
    json_put(row, "idle", json_seconds(conn->active_us, conns->now_us));
    return row;
}

static void
conns_add(void *arg, const struct stats_conn_view *conn)
{
    static const struct stats_listener_view none;
    struct conns *conns = arg;
    const struct stats_listener_view *view =
        conn->listener < STATS_LISTENERS ? &conns->listeners[conn->listener] : &none;
    struct conn_row row = {.worker = conn->worker_index, .id = conn->id};

    if (conns->listener != NULL && strstr(view->url, conns->listener) == NULL &&
        strstr(view->address, conns->listener) == NULL)
        return;
    row.json = conn_json(conns, view, conn);
    buffer_append(&conns->rows, &row, sizeof(row));
}

/* Reads the listeners and calls add for each connection. Returns EX_OK, or a status after an error
 * message. */
static int
conns_take(const struct ctl *ctl, const char *listener,
           void (*add)(void *conns, const struct stats_conn_view *conn), struct conns *out)
{
    struct stats_reader sr;
    int status = ctl_open(ctl, &sr);

    if (status != EX_OK)
        return status;
    *out = (struct conns){.now_us = clock_mono_us(), .listener = listener};
    buffer_init(&out->rows);
    out->listeners = ms_calloc(STATS_LISTENERS, sizeof(out->listeners[0]));
    for (unsigned i = 0; i < STATS_LISTENERS; i++)
        (void)stats_reader_listener(&sr, i, &out->listeners[i]);
    stats_reader_conns(&sr, add, out);
    ctl_close(ctl, &sr);
    return EX_OK;
}

/* Text rises and numbers fall; equal ones are in the order of the workers and their connections. */
static int
conn_compare(const void *a, const void *b, void *key)
{
    const struct conn_row *x = a, *y = b;
    const json_t *v = json_object_get(x->json, key), *w = json_object_get(y->json, key);
    const double m = json_number_value(v), n = json_number_value(w);
    int order = m == n ? 0 : m > n ? -1 : 1;

    if (json_is_string(v))
        order = strcmp(json_string_value(v), json_string_value(w));
    if (order == 0 && x->worker != y->worker)
        order = x->worker < y->worker ? -1 : 1;
    if (order == 0 && x->id != y->id)
        order = x->id < y->id ? -1 : 1;
    return order;
}

/* The rows in order, as an array; conns has none any more. */
static json_t *
conns_sorted(struct conns *conns, const char *key)
{
    struct conn_row *rows = (void *)conns->rows.data;
    size_t n = conns->rows.len / sizeof(rows[0]);
    json_t *array = json_array();

    if (n > 0)
        qsort_r(rows, n, sizeof(rows[0]), conn_compare, (void *)(uintptr_t)key);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, rows[i].json);
    buffer_fini(&conns->rows);
    return array;
}

static bool
column_is_known(const char *key)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(conn_columns); i++)
        if (strcmp(conn_columns[i].key, key) == 0)
            return true;
    return false;
}

static int
column_unknown(const struct ctl *ctl, const char *key)
{
    const char *keys[MS_ARRAY_LEN(conn_columns) + 1] = {NULL};
    char list[512];

    for (size_t i = 0; i < MS_ARRAY_LEN(conn_columns); i++)
        keys[i] = conn_columns[i].key;
    text_list(keys, list, sizeof(list));
    return ctl_usage(ctl, "--sort %s: expected %s", key, list);
}

/* Returns EX_OK, or a status after an error message. */
static int
conns_read(const struct ctl *ctl, const char *listener, const char *sort, json_t **rows_out)
{
    struct conns conns;
    int status = conns_take(ctl, listener, conns_add, &conns);

    if (status != EX_OK)
        return status;
    free(conns.listeners);
    *rows_out = conns_sorted(&conns, sort);
    return EX_OK;
}

static int
conns_rows(const struct ctl *ctl, json_t **rows_out)
{
    return conns_read(ctl, NULL, "", rows_out);
}

static int
conns_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const char *sort = NULL, *listener = NULL;
    const struct ctl_option options[] = {
        {"json", &json, NULL}, {"sort", NULL, &sort}, {"listener", NULL, &listener}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    json_t *rows;

    if (status != CTL_GO_ON)
        return status;
    if (sort != NULL && !column_is_known(sort))
        return column_unknown(ctl, sort);
    status = conns_read(ctl, listener, sort != NULL ? sort : "", &rows);
    if (status != EX_OK)
        return status;
    return rows_print(ctl, rows, json, conn_columns, MS_ARRAY_LEN(conn_columns));
}

const struct ctl_command ctl_conns = {
    .name = "conns",
    .summary = "every open connection",
    .help = "usage: msockctl [-r DIR] conns [OPTION]...\n"
            "Every open connection with its own counters; AGE and IDLE are seconds.\n\n"
            "  --json           an array of objects\n"
            "  --sort COLUMN    by a column, named as in --json; numbers from the highest down\n"
            "                   (default: by worker, in the order of their arrival)\n"
            "  --listener TEXT  only of listeners with TEXT in their URL or address\n",
    .run = conns_run,
    .rows = conns_rows,
    .columns = conn_columns,
    .column_count = MS_ARRAY_LEN(conn_columns),
    .key = "id",
};

/* --- listeners --- */

static void
conns_count(void *arg, const struct stats_conn_view *conn)
{
    struct conns *conns = arg;

    if (conn->listener < STATS_LISTENERS)
        conns->open[conn->listener]++;
}

/* "127.0.0.1:8000, [::1]:8000" as an array; the path of a Unix socket stays whole. */
static json_t *
listener_addresses(const char *text)
{
    json_t *list = json_array();

    for (const char *next; text != NULL; text = next) {
        char one[sizeof(((struct stats_listener_view *)NULL)->address)];

        next = strncmp(text, "unix:", 5) == 0 ? NULL : strstr(text, ", ");
        snprintf(one, sizeof(one), "%.*s", next != NULL ? (int)(next - text) : (int)strlen(text),
                 text);
        json_array_append_new(list, json_text(one));
        next = next != NULL ? next + 2 : NULL;
    }
    return list;
}

static json_t *
listener_until(uint64_t until_s)
{
    char text[CLOCK_RFC3339_LEN];

    if (until_s == 0)
        return json_null();
    clock_format(until_s * 1000000, text);
    return json_text(text);
}

/* A listener of an earlier configuration is shown as long as it has connections. */
static json_t *
listeners_json(const struct conns *conns)
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < STATS_LISTENERS; i++) {
        const struct stats_listener_view *listener = &conns->listeners[i];
        json_t *row;

        if (listener->url[0] == '\0' || (!listener->active && conns->open[i] == 0))
            continue;
        row = json_object();
        json_put(row, "url", json_text(listener->url));
        json_put(row, "address", json_text(listener->address));
        json_put(row, "addresses", listener_addresses(listener->address));
        json_put(row, "proto", json_text(listener->proto));
        json_put(row, "handler", json_text(listener->handler));
        json_put(row, "active", json_boolean(listener->active));
        json_put(row, "open", json_count(conns->open[i]));
        json_put(row, "certificate_until", listener_until(listener->certificate_until));
        json_array_append_new(rows, row);
    }
    return rows;
}

static const struct column listener_columns[] = {{"url", "URL", COLUMN_TEXT},
                                                 {"address", "ADDRESS", COLUMN_TEXT},
                                                 {"proto", "PROTO", COLUMN_TEXT},
                                                 {"handler", "HANDLER", COLUMN_TEXT},
                                                 {"active", "ACTIVE", COLUMN_ACTIVE},
                                                 {"open", "OPEN", COLUMN_COUNT},
                                                 {"certificate_until", "CERTIFICATE", COLUMN_TEXT}};

static int
listeners_rows(const struct ctl *ctl, json_t **rows_out)
{
    struct conns conns;
    int status = conns_take(ctl, NULL, conns_count, &conns);

    if (status != EX_OK)
        return status;
    *rows_out = listeners_json(&conns);
    free(conns.listeners);
    return EX_OK;
}

const struct ctl_command ctl_listeners = {
    .name = "listeners",
    .summary = "where msockd listens, with the real ports",
    .help = "usage: msockctl [-r DIR] listeners [--json]\n"
            "The listeners of the present configuration, and those of an earlier one that still\n"
            "have connections.\n\n"
            "  --json  an array of objects: url, address, addresses (a list of them), proto,\n"
            "          handler, active, open, certificate_until (when it ends; null without TLS)\n",
    .run = table_run,
    .rows = listeners_rows,
    .columns = listener_columns,
    .column_count = MS_ARRAY_LEN(listener_columns),
    .key = "address",
};
