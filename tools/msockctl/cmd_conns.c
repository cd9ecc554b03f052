/* msockctl conns: every open connection. One table says what its columns are; the printed table,
 * the JSON and --sort follow it. */
#include "conns.h"
#include "json.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* What a column holds: a number where text is NULL. */
struct cell {
    const char *text;
    uint64_t number;
};

enum column_kind { COLUMN_TEXT, COLUMN_COUNT, COLUMN_BYTES, COLUMN_TIME };

struct column {
    const char *name; /* JSON key and --sort */
    const char *title;
    enum column_kind kind;
    struct cell (*cell)(const struct conns *conns, const struct stats_conn_view *conn);
};

static struct cell
cell_worker(const struct conns *conns, const struct stats_conn_view *conn)
{
    (void)conns;
    return (struct cell){.number = conn->worker_index};
}

static struct cell
cell_peer(const struct conns *conns, const struct stats_conn_view *conn)
{
    (void)conns;
    return (struct cell){.text = conn->peer};
}

static struct cell
cell_listener(const struct conns *conns, const struct stats_conn_view *conn)
{
    return (struct cell){.text = conns_listener(conns, conn)->url};
}

static struct cell
cell_proto(const struct conns *conns, const struct stats_conn_view *conn)
{
    (void)conns;
    return (struct cell){.text = conn->proto};
}

static struct cell
cell_state(const struct conns *conns, const struct stats_conn_view *conn)
{
    (void)conns;
    return (struct cell){.text = conn_state_name(conn->state)};
}

#define X(counter, help)                                                  \
    static struct cell cell_##counter(const struct conns *conns,          \
                                      const struct stats_conn_view *conn) \
    {                                                                     \
        (void)conns;                                                      \
        return (struct cell){.number = conn->counts.counter};             \
    }
STATS_CONN_COUNTERS(X)
#undef X

static uint64_t
us_since(const struct conns *conns, uint64_t us)
{
    return us < conns->now_us ? conns->now_us - us : 0;
}

static struct cell
cell_age(const struct conns *conns, const struct stats_conn_view *conn)
{
    return (struct cell){.number = us_since(conns, conn->began_us)};
}

static struct cell
cell_idle(const struct conns *conns, const struct stats_conn_view *conn)
{
    return (struct cell){.number = us_since(conns, conn->active_us)};
}

static const struct column columns[] = {
    {"worker", "WORKER", COLUMN_COUNT, cell_worker},
    {"peer", "PEER", COLUMN_TEXT, cell_peer},
    {"listener", "LISTENER", COLUMN_TEXT, cell_listener},
    {"proto", "PROTO", COLUMN_TEXT, cell_proto},
    {"state", "STATE", COLUMN_TEXT, cell_state},
    {"acks", "ACKS", COLUMN_COUNT, cell_acks},
    {"nack1", "NACK1", COLUMN_COUNT, cell_nack1},
    {"nack2", "NACK2", COLUMN_COUNT, cell_nack2},
    {"rej", "REJ", COLUMN_COUNT, cell_rej},
    {"err", "ERR", COLUMN_COUNT, cell_err},
    {"messages", "MESSAGES", COLUMN_COUNT, cell_messages},
    {"bytes_in", "IN", COLUMN_BYTES, cell_bytes_in},
    {"bytes_out", "OUT", COLUMN_BYTES, cell_bytes_out},
    {"packets", "PACKETS", COLUMN_COUNT, cell_packets},
    {"cut", "CUT", COLUMN_COUNT, cell_cut},
    {"age", "AGE", COLUMN_TIME, cell_age},
    {"idle", "IDLE", COLUMN_TIME, cell_idle},
};

static const struct column *
column_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(columns); i++)
        if (strcmp(columns[i].name, name) == 0)
            return &columns[i];
    return NULL;
}

/* --- sorting and filtering --- */

struct sorting {
    const struct conns *conns;
    const struct column *column; /* NULL: none */
};

/* Text rises and numbers fall. */
static int
cell_compare(struct cell x, struct cell y)
{
    if (x.text != NULL)
        return strcmp(x.text, y.text);
    return x.number == y.number ? 0 : x.number > y.number ? -1 : 1;
}

/* Equal ones are in the order of the workers and their connections. */
static int
conn_compare(const void *a, const void *b, void *arg)
{
    const struct sorting *sorting = arg;
    const struct stats_conn_view *x = a, *y = b;
    int order = 0;

    if (sorting->column != NULL)
        order = cell_compare(sorting->column->cell(sorting->conns, x),
                             sorting->column->cell(sorting->conns, y));
    if (order == 0 && x->worker_index != y->worker_index)
        order = x->worker_index < y->worker_index ? -1 : 1;
    if (order == 0 && x->id != y->id)
        order = x->id < y->id ? -1 : 1;
    return order;
}

static void
conns_filter(struct conns *conns, const char *listener)
{
    size_t kept = 0;

    for (size_t i = 0; i < conns->n; i++) {
        const struct stats_listener_view *view = conns_listener(conns, &conns->rows[i]);

        if (strstr(view->url, listener) != NULL || strstr(view->address, listener) != NULL)
            conns->rows[kept++] = conns->rows[i];
    }
    conns->n = kept;
}

/* --- output --- */

static json_t *
cell_json(const struct column *column, const struct cell *cell)
{
    switch (column->kind) {
    case COLUMN_TEXT:
        return json_text(cell->text);
    case COLUMN_COUNT:
    case COLUMN_BYTES:
        return json_count(cell->number);
    case COLUMN_TIME:
        return json_seconds(cell->number);
    }
    return json_null();
}

static void
conns_json(const struct conns *conns)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < conns->n; i++) {
        json_t *row = json_object();

        for (size_t k = 0; k < MS_ARRAY_LEN(columns); k++) {
            struct cell cell = columns[k].cell(conns, &conns->rows[i]);

            json_put(row, columns[k].name, cell_json(&columns[k], &cell));
        }
        json_array_append_new(rows, row);
    }
    json_print(rows, false);
}

static void
conns_cell(struct table *table, const struct column *column, const struct cell *cell)
{
    char text[UNIT_LEN];

    switch (column->kind) {
    case COLUMN_TEXT:
        table_add(table, "%s", cell->text);
        break;
    case COLUMN_COUNT:
        table_add(table, "%" PRIu64, cell->number);
        break;
    case COLUMN_BYTES:
        table_add(table, "%s", unit_bytes(cell->number, text));
        break;
    case COLUMN_TIME:
        table_add(table, "%.1f", (double)cell->number / 1e6);
        break;
    }
}

static void
conns_table(const struct conns *conns)
{
    struct table_column titles[MS_ARRAY_LEN(columns)];
    struct table *table;

    for (size_t k = 0; k < MS_ARRAY_LEN(columns); k++)
        titles[k] = (struct table_column){columns[k].title, columns[k].kind != COLUMN_TEXT};
    table = table_create(titles, MS_ARRAY_LEN(columns));
    for (size_t i = 0; i < conns->n; i++) {
        for (size_t k = 0; k < MS_ARRAY_LEN(columns); k++) {
            struct cell cell = columns[k].cell(conns, &conns->rows[i]);

            conns_cell(table, &columns[k], &cell);
        }
    }
    table_print(table, stdout);
    table_destroy(table);
}

static int
conns_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const char *sort = NULL, *listener = NULL;
    const struct ctl_option options[] = {
        {"json", &json, NULL}, {"sort", NULL, &sort}, {"listener", NULL, &listener}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    struct conns conns;
    struct sorting sorting;

    if (status != CTL_GO_ON)
        return status;
    sorting = (struct sorting){.conns = &conns, .column = NULL};
    if (sort != NULL && (sorting.column = column_find(sort)) == NULL)
        return ctl_usage(ctl, "--sort %s: there is no such column; they are named as in --json",
                         sort);
    status = conns_take(ctl, &conns);
    if (status != EX_OK)
        return status;
    if (listener != NULL)
        conns_filter(&conns, listener);
    if (conns.n > 0)
        qsort_r(conns.rows, conns.n, sizeof(conns.rows[0]), conn_compare, &sorting);
    if (json) {
        conns_json(&conns);
    } else {
        conns_table(&conns);
        ctl_note_dead(ctl);
    }
    conns_fini(&conns);
    return ctl_finish(ctl, EX_OK);
}

const struct ctl_command ctl_conns = {
    .name = "conns",
    .summary = "every open connection",
    .help = "usage: msockctl [-r DIR] conns [OPTION]...\n"
            "Every open connection with its own counters; AGE and IDLE are seconds.\n\n"
            "  --json           an array of objects\n"
            "  --sort COLUMN    by worker, peer, listener, proto, state, acks, nack1, nack2, rej,\n"
            "                   err, messages, bytes_in, bytes_out, packets, cut, age or idle;\n"
            "                   numbers from the highest down (default: by worker, in the\n"
            "                   order of their arrival)\n"
            "  --listener TEXT  only of listeners with TEXT in their URL or address\n",
    .run = conns_run,
};
