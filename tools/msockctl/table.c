/* Rows of a JSON document as a table: what is printed for people and for programs is the same. */
#include "ctl.h"

#include "common/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

const char *
unit_duration(uint64_t us, char out[UNIT_LEN])
{
    if (us < 1000)
        snprintf(out, UNIT_LEN, "%u us", (unsigned)us);
    else if (us < 1000000)
        snprintf(out, UNIT_LEN, "%.2f ms", (double)us / 1e3);
    else
        snprintf(out, UNIT_LEN, "%.2f s", (double)us / 1e6);
    return out;
}

const char *
unit_age(uint64_t us, char out[UNIT_LEN])
{
    uint64_t s = us / 1000000;
    int n = 0;

    if (s >= 86400)
        n = snprintf(out, UNIT_LEN, "%llud ", (unsigned long long)(s / 86400));
    snprintf(out + n, UNIT_LEN - (size_t)n, "%02u:%02u:%02u", (unsigned)(s / 3600 % 24),
             (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    return out;
}

static const char *
cell_unit(const json_t *value, const struct column *column, char out[UNIT_LEN])
{
    switch (column->kind) {
    case COLUMN_TEXT:
    case COLUMN_RIGHT:
        return json_is_string(value) ? json_string_value(value) : "-";
    case COLUMN_COUNT:
        if (json_is_null(value))
            return "-";
        snprintf(out, UNIT_LEN, "%lld", (long long)json_integer_value(value));
        return out;
    case COLUMN_BYTES:
        return text_bytes((double)json_integer_value(value), out);
    case COLUMN_SECONDS:
        snprintf(out, UNIT_LEN, "%.1f", json_real_value(value));
        return out;
    case COLUMN_AGE:
        return unit_age((uint64_t)(json_real_value(value) * 1e6), out);
    case COLUMN_LATENCY:
        return unit_duration((uint64_t)json_integer_value(value), out);
    case COLUMN_ACTIVE:
        return json_is_true(value) ? "yes" : "draining";
    }
    return "";
}

size_t
table_cell(const json_t *row, const struct column *column, char out[TABLE_CELL_MAX])
{
    const json_t *from = column->kind == COLUMN_LATENCY ? json_object_get(row, "latency_us") : row;
    char unit[UNIT_LEN];
    const char *text = cell_unit(json_object_get(from, column->key), column, unit);

    return text_escape(text, strlen(text), out, TABLE_CELL_MAX);
}

bool
table_is_left(const struct column *column)
{
    return column->kind == COLUMN_TEXT || column->kind == COLUMN_ACTIVE;
}

static void
cell_print(const struct column *column, const char *text, size_t width, bool last)
{
    if (table_is_left(column))
        printf("%-*s", last ? 0 : (int)width, text);
    else
        printf("%*s", (int)width, text);
    fputs(last ? "\n" : "  ", stdout);
}

const char *
table_title(const struct column *column, char out[TABLE_CELL_MAX])
{
    const char *name = column->title;
    size_t n = 0;

    if (name != NULL)
        return name;
    name = column->key + (strncmp(column->key, "bytes_", 6) == 0 ? 6 : 0);
    for (; n < TABLE_CELL_MAX - 1 && name[n] != '\0'; n++)
        out[n] = (char)toupper((unsigned char)name[n]);
    out[n] = '\0';
    return out;
}

/* A width is known when all cells of a column were looked at, so each cell is made twice. */
static size_t
column_width(const json_t *rows, const struct column *column)
{
    char cell[TABLE_CELL_MAX];
    size_t width = strlen(table_title(column, cell)), len;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        len = table_cell(json_array_get(rows, i), column, cell);
        width = len > width ? len : width;
    }
    return width;
}

void
table_print(const json_t *rows, const struct column *columns, size_t n)
{
    size_t *widths = ms_calloc(n, sizeof(widths[0]));
    char cell[TABLE_CELL_MAX];

    for (size_t k = 0; k < n; k++) {
        widths[k] = column_width(rows, &columns[k]);
        cell_print(&columns[k], table_title(&columns[k], cell), widths[k], k + 1 == n);
    }
    for (size_t i = 0; i < json_array_size(rows); i++) {
        for (size_t k = 0; k < n; k++) {
            (void)table_cell(json_array_get(rows, i), &columns[k], cell);
            cell_print(&columns[k], cell, widths[k], k + 1 == n);
        }
    }
    free(widths);
}

int
rows_print(const struct ctl *ctl, json_t *rows, bool json, const struct column *columns, size_t n)
{
    if (json) {
        json_print(rows, false);
    } else {
        if (json_array_size(rows) == 0 && ctl->command->none != NULL)
            puts(ctl->command->none);
        else
            table_print(rows, columns, n);
        json_decref(rows);
        if (stats_reader_lock_held(ctl->dir) == 0 && ctl_explain(ctl) == 0)
            ctl_error(ctl, "msockd is not running any more; this is what it left");
    }
    return ctl_finish(ctl, EX_OK);
}

int
table_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const struct ctl_option options[] = {{"json", &json, NULL}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    json_t *rows;

    if (status != CTL_GO_ON)
        return status;
    status = ctl->command->rows(ctl, &rows);
    if (status != EX_OK)
        return status;
    return rows_print(ctl, rows, json, ctl->command->columns, ctl->command->column_count);
}
