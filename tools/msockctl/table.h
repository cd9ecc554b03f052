/* A table on standard output: columns as wide as their widest cell, numbers to the right. */
#ifndef MSOCKCTL_TABLE_H
#define MSOCKCTL_TABLE_H

#include "common/base.h"

#include <stdio.h>

struct table;

struct table_column {
    const char *title;
    int right; /* 1: to the right */
};

/* The columns must live as long as the table. */
struct table *table_create(const struct table_column *columns, size_t n);
void table_destroy(struct table *table);

/* The next cell, row after row; text is escaped, so it may come from anywhere. */
void table_add(struct table *table, const char *fmt, ...) MS_PRINTF(2, 3);

void table_print(const struct table *table, FILE *out);

#define UNIT_LEN 32

/* "1.2 MiB", "512 B" */
const char *unit_bytes(uint64_t bytes, char out[UNIT_LEN]);
/* "250 us", "1.5 ms", "2.3 s" */
const char *unit_duration(uint64_t us, char out[UNIT_LEN]);
/* "3d 04:05:06", "04:05:06" */
const char *unit_age(uint64_t us, char out[UNIT_LEN]);

#endif
