/* The growing half of the buffer. Bytes are moved to the front only when at least a fifth of what
 * is there was consumed, so that a peer who takes a byte at a time cannot make us move a long queue
 * for each of them; otherwise the memory grows. */
#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUFFER_FIRST   64u
#define BUFFER_DOUBLES (1u << 20) /* a larger one grows by a quarter */
#define BUFFER_MAX     (UINT32_C(1) << 31)

void
buffer_init(struct buffer *b)
{
    *b = (struct buffer){0};
}

void
buffer_init_in(struct buffer *b, struct ledger *ledger)
{
    *b = (struct buffer){.ledger = ledger};
}

void
buffer_fini(struct buffer *b)
{
    free(b->data);
    ledger_give(b->ledger, b->cap);
    buffer_init_in(b, b->ledger);
}

struct buffer
buffer_steal(struct buffer *b)
{
    struct buffer stolen = *b;

    buffer_init_in(b, b->ledger);
    return stolen;
}

static size_t
buffer_next_cap(const struct buffer *b, size_t need)
{
    size_t cap = b->cap != 0 ? b->cap : BUFFER_FIRST;

    if (need > BUFFER_DOUBLES)
        return need + need / 4;
    while (cap < need)
        cap *= 2;
    return cap;
}

/* False where there is no memory; the buffer is as it was then. A large one is moved by the kernel,
 * so that two of them never stand beside each other. */
static bool
buffer_grow(struct buffer *b, size_t need)
{
    size_t cap = buffer_next_cap(b, need);
    char *data;

    MS_ASSERT(need <= BUFFER_MAX);
    if (b->head > 0)
        memmove(b->data, b->data + b->head, b->len);
    b->head = 0;
    data = realloc(b->data, cap);
    if (data == NULL)
        return ms_out_of_memory(cap) != NULL;
    ledger_take(b->ledger, cap - b->cap);
    b->data = data;
    b->cap = (uint32_t)cap;
    return true;
}

char *
buffer_reserve(struct buffer *b, size_t n)
{
    if (n <= b->cap - b->head - b->len)
        return b->data == NULL ? NULL : b->data + b->head + b->len;
    if (n <= b->cap - b->len && b->head >= b->len / 4) {
        memmove(b->data, b->data + b->head, b->len);
        b->head = 0;
    } else {
        MS_ASSERT(n <= BUFFER_MAX);
        if (!buffer_grow(b, b->len + n > b->cap ? b->len + n : (size_t)b->cap + 1))
            return NULL;
    }
    return b->data + b->len;
}

void
buffer_added(struct buffer *b, size_t n)
{
    MS_ASSERT(n <= b->cap - b->head - b->len);
    b->len += (uint32_t)n;
}

void
buffer_append_str(struct buffer *b, const char *s)
{
    buffer_append(b, s, strlen(s));
}

void
buffer_printf(struct buffer *b, const char *fmt, ...)
{
    size_t room = b->cap - b->head - b->len;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buffer_reserve(b, 0), room, fmt, ap);
    va_end(ap);
    MS_ASSERT(n >= 0);
    if ((size_t)n >= room) {
        char *to = buffer_reserve(b, (size_t)n + 1);

        if (to == NULL)
            return;
        va_start(ap, fmt);
        n = vsnprintf(to, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    buffer_added(b, (size_t)n);
}

void
buffer_consume(struct buffer *b, size_t n)
{
    MS_ASSERT(n <= b->len);
    b->len -= (uint32_t)n;
    b->head = b->len == 0 ? 0 : b->head + (uint32_t)n;
}

void
buffer_unappend(struct buffer *b, size_t n)
{
    MS_ASSERT(n <= b->len);
    b->len -= (uint32_t)n;
    if (b->len == 0)
        b->head = 0;
}

void
buffer_clear(struct buffer *b)
{
    b->head = 0;
    b->len = 0;
}

const char *
buffer_cstr(struct buffer *b)
{
    char *end = buffer_reserve(b, 1);

    if (end == NULL)
        return "";
    *end = '\0';
    return b->data + b->head;
}
