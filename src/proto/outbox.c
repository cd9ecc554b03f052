/* The queue of whole messages for a peer. Invariant: a filled place moves to the messages that
 * may leave only when no place before it is open. */
#include "proto/queues.h"

#include <stdlib.h>

void
outbox_init(struct outbox *ob, struct ledger *ledger)
{
    *ob = (struct outbox){.ledger = ledger};
}

static struct outbox_item *
outbox_item_create(const struct outbox *ob)
{
    struct outbox_item *item = ms_calloc(1, sizeof(*item));

    if (item != NULL)
        ledger_take(ob->ledger, sizeof(*item));
    return item;
}

static void
outbox_item_destroy(const struct outbox *ob, struct outbox_item *item)
{
    blob_unref(item->blob);
    ledger_give(ob->ledger, sizeof(*item));
    free(item);
}

static void
outbox_list_destroy(const struct outbox *ob, struct outbox_item *item)
{
    struct outbox_item *next;

    for (; item != NULL; item = next) {
        next = item->next;
        outbox_item_destroy(ob, item);
    }
}

void
outbox_fini(struct outbox *ob)
{
    outbox_list_destroy(ob, ob->first);
    outbox_list_destroy(ob, ob->reserved_first);
    *ob = (struct outbox){.ledger = ob->ledger, .results = ob->results};
}

/* Empty messages need memory too, so they count towards the limit. */
static size_t
outbox_item_bytes(const struct outbox_item *item)
{
    return sizeof(*item) + (item->blob != NULL ? (size_t)item->blob->len : 0);
}

static void
outbox_item_set(struct outbox *ob, struct outbox_item *item, struct blob *blob)
{
    item->complete = true;
    item->blob = blob;
    ob->bytes += outbox_item_bytes(item);
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
outbox_push(struct outbox *ob, struct blob *blob)
{
    struct outbox_item *item = blob != NULL ? outbox_item_create(ob) : NULL;

    if (item == NULL) {
        blob_unref(blob);
        return;
    }
    outbox_item_set(ob, item, blob);
    outbox_append(&ob->first, &ob->last, item);
}

struct outbox_item *
outbox_reserve(struct outbox *ob)
{
    struct outbox_item *item = outbox_item_create(ob);

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
        if (item->cancelled) {
            outbox_item_destroy(ob, item);
        } else {
            ob->held -= outbox_item_bytes(item);
            outbox_append(&ob->first, &ob->last, item);
        }
    }
}

static void
outbox_reply(struct outbox *ob, struct outbox_item *item, struct blob *blob)
{
    outbox_item_set(ob, item, blob);
    ob->held += outbox_item_bytes(item);
    outbox_release(ob);
}

void
outbox_fill(struct outbox *ob, struct outbox_item *item, struct blob *blob)
{
    if (item == NULL || blob == NULL) {
        blob_unref(blob);
        return;
    }
    MS_ASSERT(!item->complete);
    outbox_reply(ob, item, blob);
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
    outbox_reply(ob, item, NULL);
}

void
outbox_complain(const struct outbox *ob, const char *complaint)
{
    if (ob->results != NULL)
        ob->results->complaint = complaint;
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
    outbox_item_destroy(ob, item);
}

int
outbox_save(const struct outbox *ob, struct buffer *out)
{
    for (const struct outbox_item *item = ob->first; item != NULL; item = item->next) {
        struct blob *blob = item->blob;
        const uint8_t *bytes = NULL;
        uint64_t len = blob != NULL ? blob->len : 0;

        if (blob != NULL && blob_bytes(blob, &bytes) < 0)
            return -1;
        buffer_append(out, &len, sizeof(len));
        buffer_append(out, bytes, (size_t)len);
        if (blob != NULL)
            blob_release(blob, bytes);
    }
    return 0;
}

int
outbox_restore(struct outbox *ob, struct message_store *store, const void *data, size_t n)
{
    const uint8_t *at = data;
    uint64_t len;

    while (n >= sizeof(len)) {
        memcpy(&len, at, sizeof(len));
        at += sizeof(len);
        n -= sizeof(len);
        if (len > n)
            return -1;
        outbox_push(ob, blob_create(store, at, (size_t)len));
        at += len;
        n -= (size_t)len;
    }
    return n == 0 ? 0 : -1;
}
