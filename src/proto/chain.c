/* The queue of bytes that leave. Invariant: a link whose blob has left is gone, and what was
 * appended behind it is in front. */
#include "proto/blob.h"

#include <stdlib.h>

void
chain_init(struct chain *c, struct ledger *ledger)
{
    *c = (struct chain){0};
    buffer_init_in(&c->bytes, ledger);
}

static void
chain_link_destroy(struct chain *c, struct chain_link *link)
{
    blob_reader_fini(&link->reader);
    buffer_fini(&link->behind);
    ledger_give(c->bytes.ledger, sizeof(*link));
    free(link);
}

void
chain_fini(struct chain *c)
{
    struct chain_link *next;

    for (struct chain_link *link = c->first; link != NULL; link = next) {
        next = link->next;
        chain_link_destroy(c, link);
    }
    buffer_fini(&c->bytes);
    chain_init(c, c->bytes.ledger);
}

static struct buffer *
chain_tail(struct chain *c)
{
    return c->last == NULL ? &c->bytes : &c->last->behind;
}

void
chain_append(struct chain *c, const void *data, size_t n)
{
    struct buffer *tail = chain_tail(c);
    size_t before = tail->len;

    buffer_append(tail, data, n);
    if (c->last != NULL)
        c->linked += tail->len - before;
}

bool
chain_cut(struct chain *c, void *out, size_t n)
{
    struct buffer *tail = chain_tail(c);

    if (n == 0 || tail->len < n)
        return false;
    memcpy(out, buffer_bytes(tail) + tail->len - n, n);
    buffer_unappend(tail, n);
    if (c->last != NULL)
        c->linked -= n;
    return true;
}

static struct chain_link *
chain_add_link(struct chain *c)
{
    struct chain_link *link = ms_calloc(1, sizeof(*link));

    if (link == NULL)
        return NULL;
    ledger_take(c->bytes.ledger, sizeof(*link));
    buffer_init_in(&link->behind, c->bytes.ledger);
    if (c->last != NULL)
        c->last->next = link;
    else
        c->first = link;
    c->last = link;
    return link;
}

void
chain_add_part(struct chain *c, struct blob *blob, uint64_t at, uint64_t n)
{
    bool copies = blob->fd < 0 && n <= CHAIN_COPY_MAX;
    struct chain_link *link = copies || n == 0 ? NULL : chain_add_link(c);

    if (copies)
        chain_append(c, blob->mem + at, (size_t)n);
    if (link == NULL) {
        blob_unref(blob);
        return;
    }
    if (n == blob->len)
        blob_reader_init(&link->reader, blob);
    else
        blob_reader_init_part(&link->reader, blob, at, n);
    c->linked += n;
    c->filed += blob->fd >= 0 ? n : 0;
}

void
chain_add(struct chain *c, struct blob *blob)
{
    chain_add_part(c, blob, 0, blob->len);
}

void
chain_move(struct chain *c, struct chain *from)
{
    struct buffer *tail = chain_tail(c);

    if (tail->len == 0) {
        buffer_fini(tail);
        *tail = buffer_steal(&from->bytes);
        c->linked += c->last != NULL ? tail->len : 0;
    } else {
        chain_append(c, buffer_bytes(&from->bytes), from->bytes.len);
    }
    if (from->first != NULL) {
        *(c->last != NULL ? &c->last->next : &c->first) = from->first;
        c->last = from->last;
        c->linked += from->linked;
        c->filed += from->filed;
        from->first = from->last = NULL;
    }
    chain_fini(from);
}

int
chain_peek(const struct chain *c, void *scratch, size_t size, struct iovec *iov, int max)
{
    const struct buffer *bytes = &c->bytes;
    int count = 0;

    if (bytes->len > 0)
        iov[count++] = (struct iovec){(void *)(uintptr_t)buffer_bytes(bytes), bytes->len};
    for (const struct chain_link *link = c->first; link != NULL && count < max; link = link->next) {
        const uint8_t *data;
        ssize_t n = blob_reader_next(&link->reader, scratch, size, &data);

        if (n < 0)
            return -1;
        iov[count++] = (struct iovec){(void *)(uintptr_t)data, (size_t)n};
        if (data == scratch)
            break;
        bytes = &link->behind;
        if (bytes->len > 0 && count < max)
            iov[count++] = (struct iovec){(void *)(uintptr_t)buffer_bytes(bytes), bytes->len};
        else if (bytes->len > 0)
            break;
    }
    return count;
}

/* Its blob has left. */
static void
chain_drop_first(struct chain *c)
{
    struct chain_link *link = c->first;

    buffer_fini(&c->bytes);
    c->bytes = buffer_steal(&link->behind);
    c->linked -= c->bytes.len;
    c->first = link->next;
    if (c->first == NULL)
        c->last = NULL;
    chain_link_destroy(c, link);
}

/* Takes at most n bytes of what is in front. Returns how many. */
static size_t
chain_sent_front(struct chain *c, const void *scratch, size_t n)
{
    struct blob_reader *r;

    if (c->bytes.len > 0) {
        n = n < c->bytes.len ? n : c->bytes.len;
        buffer_consume(&c->bytes, n);
        return n;
    }
    r = &c->first->reader;
    n = n < r->left ? n : (size_t)r->left;
    blob_reader_take(r, scratch, n);
    c->linked -= n;
    c->filed -= r->blob->fd >= 0 ? n : 0;
    if (r->left == 0)
        chain_drop_first(c);
    return n;
}

void
chain_sent(struct chain *c, const void *scratch, size_t n)
{
    while (n > 0)
        n -= chain_sent_front(c, scratch, n);
}
