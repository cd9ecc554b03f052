/* A growable byte string that is filled at its end and consumed at its beginning.
 * Invariant: data[head .. head + len) are the bytes; head + len <= cap; an empty buffer may own no
 * memory at all (idle connections do not). At most 2 GiB. */
#ifndef COMMON_BUFFER_H
#define COMMON_BUFFER_H

#include "common/base.h"

#include <string.h>

struct buffer {
    char *data;
    uint32_t head; /* bytes already consumed */
    uint32_t len;  /* bytes waiting */
    uint32_t cap;  /* bytes allocated */
};

void buffer_init(struct buffer *b);
void buffer_fini(struct buffer *b); /* frees; the buffer is empty and usable afterwards */

static inline const char *
buffer_bytes(const struct buffer *b)
{
    return b->data == NULL ? NULL : b->data + b->head;
}

/* Makes room for n more bytes and returns where to write them (never NULL where n is not 0); add
 * them with buffer_added. Aborts when memory is out: what goes here is bounded by us. */
char *buffer_reserve(struct buffer *b, size_t n);
void buffer_added(struct buffer *b, size_t n);

static inline void
buffer_append(struct buffer *b, const void *data, size_t n)
{
    if (n == 0)
        return;
    memcpy(buffer_reserve(b, n), data, n);
    b->len += (uint32_t)n;
}

void buffer_append_str(struct buffer *b, const char *s);
void buffer_printf(struct buffer *b, const char *fmt, ...) MS_PRINTF(2, 3);

/* Drops n bytes at the beginning (n <= len). */
void buffer_consume(struct buffer *b, size_t n);

/* Drops n bytes at the end (n <= len). */
void buffer_unappend(struct buffer *b, size_t n);

/* Drops all bytes and keeps the memory. */
void buffer_clear(struct buffer *b);

/* Appends a NUL that len does not count, and returns the string (valid until the next call). */
const char *buffer_cstr(struct buffer *b);

#endif
