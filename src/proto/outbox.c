/* The queue of whole messages for a peer. Invariant: a filled place moves to the messages that
 * may leave only when no place before it is open. */
#include "proto/queues.h"

#include <stdlib.h>

void
outbox_init(struct outbox *ob)
{
    *ob = (struct outbox){0};
}

static void
outbox_item_destroy(struct outbox_item *item)
{
    free(item->data);
    free(item);
}

static void
outbox_list_destroy(struct outbox_item *item)
{
    struct outbox_item *next;

    for (; item != NULL; item = next) {
        next = item->next;
        outbox_item_destroy(item);
    }
}

void
outbox_fini(struct outbox *ob)
{
    outbox_list_destroy(ob->first);
    outbox_list_destroy(ob->reserved_first);
    *ob = (struct outbox){.results = ob->results};
}

/* Empty messages need memory too, so they count towards the limit. */
static size_t
outbox_item_bytes(const struct outbox_item *item)
{
    return sizeof(*item) + item->len;
}

static void
outbox_item_set(struct outbox *ob, struct outbox_item *item, const void *data, size_t n)
{
    item->complete = true;
    item->data = n > 0 ? ms_malloc(n) : NULL;
    item->len = item->data != NULL ? n : 0;
    ob->bytes += outbox_item_bytes(item);
    if (item->len > 0)
        memcpy(item->data, data, n);
}

static void
outbox_append(struct outbox_item **first, struct outbox_item **last, struct outbox_item *item)
{
    item->next = NULL;
    if (*last != NULL)
        (*last)->next = item;
    else
        *first = item;
    *last = item;
}

void
outbox_push(struct outbox *ob, const void *data, size_t n)
{
    struct outbox_item *item = ms_calloc(1, sizeof(*item));

    if (item == NULL)
        return;
    outbox_item_set(ob, item, data, n);
    outbox_append(&ob->first, &ob->last, item);
}

struct outbox_item *
outbox_reserve(struct outbox *ob)
{
    struct outbox_item *item = ms_calloc(1, sizeof(*item));

    if (item != NULL)
        outbox_append(&ob->reserved_first, &ob->reserved_last, item);
    return item;
}

/* Replies that are complete and next in order may leave. */
static void
outbox_release(struct outbox *ob)
{
    while (ob->reserved_first != NULL && ob->reserved_first->complete) {
        struct outbox_item *item = ob->reserved_first;

        ob->reserved_first = item->next;
        if (ob->reserved_first == NULL)
            ob->reserved_last = NULL;
        if (item->cancelled)
            outbox_item_destroy(item);
        else
            outbox_append(&ob->first, &ob->last, item);
    }
}

void
outbox_fill(struct outbox *ob, struct outbox_item *item, const void *data, size_t n)
{
    if (item == NULL)
        return;
    MS_ASSERT(!item->complete);
    outbox_item_set(ob, item, data, n);
    outbox_release(ob);
}

void
outbox_cancel(struct outbox *ob, struct outbox_item *item)
{
    if (item == NULL)
        return;
    MS_ASSERT(!item->complete);
    item->complete = item->cancelled = true;
    outbox_release(ob);
}

void
outbox_end(struct outbox *ob, struct outbox_item *item)
{
    if (item == NULL)
        return;
    MS_ASSERT(!item->complete);
    item->ends = true;
    outbox_item_set(ob, item, NULL, 0);
    outbox_release(ob);
}

void
outbox_pop(struct outbox *ob)
{
    struct outbox_item *item = ob->first;

    MS_ASSERT(item != NULL);
    ob->first = item->next;
    if (ob->first == NULL)
        ob->last = NULL;
    ob->bytes -= outbox_item_bytes(item);
    outbox_item_destroy(item);
}

void
outbox_save(const struct outbox *ob, struct buffer *out)
{
    for (const struct outbox_item *item = ob->first; item != NULL; item = item->next) {
        uint64_t len = item->len;

        buffer_append(out, &len, sizeof(len));
        buffer_append(out, item->data, item->len);
    }
}

int
outbox_restore(struct outbox *ob, const void *data, size_t n)
{
    const uint8_t *at = data;
    uint64_t len;

    while (n >= sizeof(len)) {
        memcpy(&len, at, sizeof(len));
        at += sizeof(len);
        n -= sizeof(len);
        if (len > n)
            return -1;
        outbox_push(ob, at, (size_t)len);
        at += len;
        n -= (size_t)len;
    }
    return n == 0 ? 0 : -1;
}
