/* What the screen shows: two looks give rates, many a graph. The tables are the rows of the other
 * commands, so a new one needs nothing here. */
#include "top.h"

#include <stdlib.h>
#include <sysexits.h>

/* What is worth its place on a narrow screen, in this order; all other columns follow. */
static const char *const column_order[] = {
    "time",     "event", "detail", "end",         "source",      "url",   "peer",
    "worker",   "proto", "state",  "penalty",     "why",         "rate",  "bytes_rate",
    "messages", "open",  "memory", "lag_records", "lag_seconds", "nack1", "nack2",
    "rej",      "age",   "pid",    "restarts",    "accepted",
};

void
top_model_init(struct top_model *m, const struct ctl *ctl)
{
    *m = (struct top_model){.ctl = *ctl};
    buffer_init(&m->error);
    m->ctl.errors = &m->error;
    for (size_t i = 0; ctl_commands[i] != NULL && m->view_count < TOP_VIEWS_MAX; i++)
        if (ctl_commands[i]->rows != NULL)
            m->views[m->view_count++] = ctl_commands[i];
}

void
top_model_fini(struct top_model *m)
{
    snapshot_fini(&m->now);
    snapshot_fini(&m->before);
    json_decref(m->rows);
    json_decref(m->shown);
    json_decref(m->rows_before);
    buffer_fini(&m->error);
}

/* --- columns --- */

static size_t
column_rank(const char *key)
{
    size_t i = 0;

    while (i < MS_ARRAY_LEN(column_order) && strcmp(column_order[i], key) != 0)
        i++;
    return i;
}

/* Behind those of the same or a better rank. */
static void
column_insert(struct top_model *m, const struct column *column)
{
    size_t at = m->column_count;

    if (m->column_count == TOP_COLUMNS)
        return;
    for (; at > 0 && column_rank(m->columns[at - 1].key) > column_rank(column->key); at--)
        m->columns[at] = m->columns[at - 1];
    m->columns[at] = *column;
    m->column_count++;
}

bool
top_model_column(const struct top_model *m, const char *key, size_t *column_out)
{
    for (size_t i = 0; i < m->column_count; i++) {
        if (strcmp(m->columns[i].key, key) != 0)
            continue;
        *column_out = i;
        return true;
    }
    return false;
}

/* Those of the view, with two of our own where it counts messages. */
static void
columns_choose(struct top_model *m)
{
    static const struct column rates[] = {{"rate", "MSG/S", COLUMN_SECONDS},
                                          {"bytes_rate", "BYTES/S", COLUMN_BYTES}};
    const struct ctl_command *v = m->views[m->view];
    size_t at;

    m->column_count = 0;
    for (size_t i = 0; i < v->column_count; i++)
        column_insert(m, &v->columns[i]);
    for (size_t i = 0; top_model_column(m, "messages", &at) && i < MS_ARRAY_LEN(rates); i++)
        column_insert(m, &rates[i]);
    m->upside_down = top_model_column(m, "time", &at); /* the newest first */
    if (!m->upside_down && !top_model_column(m, "bytes_rate", &at) &&
        !top_model_column(m, "penalty", &at))
        at = 0;
    m->sort = at;
}

/* --- rows --- */

const char *
top_row_key(const struct top_model *m, const json_t *row)
{
    static char number[32];
    const json_t *value = json_object_get(row, m->views[m->view]->key);

    if (json_is_string(value))
        return json_string_value(value);
    snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
    return number;
}

json_t *
top_model_row(const struct top_model *m, const char *key)
{
    json_t *row;
    size_t i;

    json_array_foreach(m->rows, i, row)
    {
        if (strcmp(top_row_key(m, row), key) == 0)
            return row;
    }
    return NULL;
}

static double
row_rate(const json_t *now, const json_t *before, const char *key, uint64_t us)
{
    json_int_t n = json_integer_value(json_object_get(now, key)) -
                   json_integer_value(json_object_get(before, key));

    return before != NULL && us > 0 && n > 0 ? (double)n * 1e6 / (double)us : 0;
}

/* "rate" and "bytes_rate" of rows that count messages; a command may have a "rate" of its own. */
static void
rows_rate(struct top_model *m)
{
    const uint64_t us = m->rows_us - m->before_us;
    json_t *row;
    size_t i;

    json_array_foreach(m->rows, i, row)
    {
        const json_t *before = json_object_get(m->rows_before, top_row_key(m, row));

        if (json_object_get(row, "messages") == NULL)
            continue;
        json_put(row, "rate", json_real(row_rate(row, before, "messages", us)));
        json_put(row, "bytes_rate",
                 json_count((uint64_t)(row_rate(row, before, "bytes_in", us) +
                                       row_rate(row, before, "bytes_out", us))));
    }
}

static void
rows_keep(struct top_model *m)
{
    json_t *row;
    size_t i;

    json_decref(m->rows_before);
    m->rows_before = json_object();
    json_array_foreach(m->rows, i, row)
    {
        json_object_set(m->rows_before, top_row_key(m, row), row);
    }
    m->before_us = m->rows_us;
}

static bool
row_has(const struct top_model *m, const json_t *row)
{
    char cell[TABLE_CELL_MAX];
    bool has = m->filter[0] == '\0';

    for (size_t i = 0; i < m->column_count && !has; i++) {
        (void)table_cell(row, &m->columns[i], cell);
        has = strcasestr(cell, m->filter) != NULL;
    }
    return has;
}

struct order {
    const struct column *column;
    bool upside_down;
};

/* Text rises and numbers fall, as in `conns --sort`. */
static int
row_compare(const void *a, const void *b, void *arg)
{
    const struct order *order = arg;
    json_t *const *x = a, *const *y = b;
    const char *latency = order->column->kind == COLUMN_LATENCY ? "latency_us" : NULL;
    const json_t *from = latency != NULL ? json_object_get(*x, latency) : *x;
    const json_t *from_y = latency != NULL ? json_object_get(*y, latency) : *y;
    const json_t *v = json_object_get(from, order->column->key);
    const json_t *w = json_object_get(from_y, order->column->key);
    const double m = json_number_value(v), n = json_number_value(w);
    int way = m == n ? 0 : m > n ? -1 : 1;

    if (json_is_string(v) && json_is_string(w))
        way = strcmp(json_string_value(v), json_string_value(w));
    return order->upside_down ? -way : way;
}

void
top_model_order(struct top_model *m)
{
    struct order order = {&m->columns[m->sort], m->upside_down};
    size_t n = json_array_size(m->rows), k = 0;
    json_t **rows = ms_calloc(n + 1, sizeof(rows[0])), *sorted = json_array();

    for (size_t i = 0; i < n; i++)
        if (row_has(m, json_array_get(m->rows, i)))
            rows[k++] = json_array_get(m->rows, i);
    qsort_r(rows, k, sizeof(rows[0]), row_compare, &order);
    for (size_t i = 0; i < k; i++)
        json_array_append(sorted, rows[i]);
    free(rows);
    json_decref(m->shown);
    m->shown = sorted;
}

/* --- looks --- */

static double
grown(uint64_t now, uint64_t before)
{
    return now > before ? (double)(now - before) : 0;
}

static void
history_add(struct top_model *m)
{
    const struct stats_totals *now = &m->now.total, *old = &m->before.total;
    const double s = (double)(m->now.taken_us - m->before.taken_us) / 1e6;
    const size_t at = m->history_count++ % TOP_HISTORY;
    uint64_t latency[STATS_HISTOGRAM];

    for (unsigned i = 0; i < TOP_GRAPHS; i++)
        m->history[i][at] = 0;
    if (!m->rated || s <= 0)
        return;
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++)
        latency[i] = (uint64_t)grown(now->latency[i], old->latency[i]);
    m->history[TOP_MESSAGES][at] = grown(now->counts.messages, old->counts.messages) / s;
    m->history[TOP_BYTES][at] = grown(now->counts.bytes_in, old->counts.bytes_in) / s;
    m->history[TOP_LATENCY][at] = (double)stats_percentile(latency, 0.99);
}

static void
rows_look(struct top_model *m)
{
    json_t *rows;

    if (m->views[m->view]->rows(&m->ctl, &rows) != EX_OK)
        rows = json_array();
    if (m->rows != NULL)
        rows_keep(m);
    json_decref(m->rows);
    m->rows = rows;
    m->rows_us = clock_mono_us();
    rows_rate(m);
    top_model_order(m);
}

void
top_model_look(struct top_model *m)
{
    struct snapshot now;

    buffer_clear(&m->error);
    m->away = snapshot_take(&m->ctl, &now) != EX_OK;
    if (m->away)
        return;
    snapshot_fini(&m->before);
    m->before = m->now;
    m->now = now;
    m->rated = m->known && strcmp(m->now.boot_id, m->before.boot_id) == 0;
    m->known = true;
    history_add(m);
    rows_look(m);
}

void
top_model_view(struct top_model *m, size_t view)
{
    json_decref(m->rows);
    json_decref(m->rows_before);
    m->rows = m->rows_before = NULL;
    m->view = view;
    columns_choose(m);
    rows_look(m);
}
