/* Cells are collected first, since a width is known only at the end. */
#include "table.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CELL_MAX 1024

struct table {
    const struct table_column *columns;
    size_t *widths;
    size_t n;           /* columns */
    char **cells;       /* row after row */
    size_t count, room; /* of cells */
};

struct table *
table_create(const struct table_column *columns, size_t n)
{
    struct table *table = ms_calloc(1, sizeof(*table));

    table->columns = columns;
    table->n = n;
    table->widths = ms_calloc(n, sizeof(table->widths[0]));
    for (size_t i = 0; i < n; i++)
        table->widths[i] = strlen(columns[i].title);
    return table;
}

void
table_destroy(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table->widths);
    free(table);
}

static void
table_grow(struct table *table)
{
    size_t room = table->room == 0 ? 64 : table->room * 2;
    char **cells = ms_calloc(room, sizeof(cells[0]));

    if (table->count > 0)
        memcpy(cells, table->cells, table->count * sizeof(cells[0]));
    free(table->cells);
    table->cells = cells;
    table->room = room;
}

void
table_add(struct table *table, const char *fmt, ...)
{
    char raw[CELL_MAX], safe[4 * CELL_MAX];
    size_t *width = &table->widths[table->count % table->n];
    size_t len;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    len = text_escape(raw, strlen(raw), safe, sizeof(safe));
    if (len > *width)
        *width = len;
    if (table->count == table->room)
        table_grow(table);
    table->cells[table->count++] = ms_strdup(safe);
}

static void
table_cell_print(const struct table *table, size_t column, const char *text, FILE *out)
{
    int width = (int)table->widths[column];
    int last = column + 1 == table->n;

    if (table->columns[column].right)
        fprintf(out, "%*s", width, text);
    else
        fprintf(out, "%-*s", last ? 0 : width, text);
    fputs(last ? "\n" : "  ", out);
}

void
table_print(const struct table *table, FILE *out)
{
    for (size_t i = 0; i < table->n; i++)
        table_cell_print(table, i, table->columns[i].title, out);
    for (size_t i = 0; i < table->count; i++)
        table_cell_print(table, i % table->n, table->cells[i], out);
}

const char *
unit_bytes(uint64_t bytes, char out[UNIT_LEN])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(out, UNIT_LEN, "%u B", (unsigned)bytes);
        return out;
    }
    while (value >= 1024 && i + 1 < MS_ARRAY_LEN(units)) {
        value /= 1024;
        i++;
    }
    snprintf(out, UNIT_LEN, "%.1f %s", value, units[i]);
    return out;
}

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
