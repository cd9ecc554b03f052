/* The lists of packets of a connection with a window. Invariant: a packet and its bytes count in
 * the ledger of the message store. */
#include "proto/queues.h"

#include <errno.h>
#include <stdlib.h>

#define WINDOW_COST (sizeof(struct packet_window) + 1024) /* with its contexts of MD5 */

struct packet_window *
packet_window_create(struct message_store *store)
{
    struct cnp_sum *sum = cnp_sum_create();
    struct packet_window *pw;

    if (sum == NULL)
        return NULL;
    pw = ms_calloc(1, sizeof(*pw));
    if (pw == NULL) {
        cnp_sum_destroy(sum);
        return NULL;
    }
    pw->sum = sum;
    pw->store = store;
    ledger_take_standing(&store->ledger, WINDOW_COST);
    buffer_init_in(&pw->control, &store->ledger);
    buffer_init_in(&pw->farewell, &store->ledger);
    buffer_init_in(&pw->step, &store->ledger);
    return pw;
}

static struct packet *
packet_create(struct packet_window *pw, uint16_t sequence, bool ends)
{
    struct packet *p = ms_calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    ledger_take(&pw->store->ledger, sizeof(*p));
    buffer_init_in(&p->bytes, &pw->store->ledger);
    p->sequence = sequence;
    p->ends = ends;
    return p;
}

void
packet_destroy(struct packet *p)
{
    ledger_give(p->bytes.ledger, sizeof(*p));
    buffer_fini(&p->bytes);
    blob_unref(p->blob);
    free(p);
}

static void
packet_list_destroy(struct packet_list *list)
{
    struct packet *next;

    for (struct packet *p = list->first; p != NULL; p = next) {
        next = p->next;
        packet_destroy(p);
    }
    *list = (struct packet_list){0};
}

static void
packet_list_append(struct packet_list *list, struct packet *p)
{
    p->next = NULL;
    if (list->last != NULL)
        list->last->next = p;
    else
        list->first = p;
    list->last = p;
    list->count++;
}

static void
packet_list_remove(struct packet_list *list, struct packet *p)
{
    struct packet **at = &list->first, *before = NULL;

    for (; *at != p; at = &(*at)->next) {
        MS_ASSERT(*at != NULL);
        before = *at;
    }
    *at = p->next;
    if (list->last == p)
        list->last = before;
    list->count--;
}

void
packet_window_destroy(struct packet_window *pw)
{
    if (pw == NULL)
        return;
    packet_window_drop(pw);
    packet_window_forget(pw);
    packet_list_destroy(&pw->flight);
    buffer_fini(&pw->control);
    buffer_fini(&pw->farewell);
    buffer_fini(&pw->step);
    message_destroy(pw->aside);
    blob_reader_fini(&pw->sending);
    cnp_sum_destroy(pw->sum);
    ledger_give(&pw->store->ledger, pw->marks_cap * sizeof(*pw->marks));
    ledger_give_standing(&pw->store->ledger, WINDOW_COST);
    free(pw->marks);
    free(pw);
}

bool
packet_window_idle(const struct packet_window *pw)
{
    return pw == NULL || (pw->early.count == 0 && pw->flight.count == 0 && pw->arriving == NULL &&
                          pw->aside == NULL);
}

size_t
packet_window_bytes(const struct packet_window *pw)
{
    return pw == NULL ? 0 : pw->bytes;
}

/* --- before their turn --- */

bool
packet_window_begin(struct packet_window *pw, uint64_t index, uint16_t sequence, bool ends)
{
    struct packet *p = packet_create(pw, sequence, ends);

    MS_ASSERT(pw->arriving == NULL);
    if (p == NULL)
        return false;
    p->index = index;
    pw->arriving = p;
    return true;
}

void
packet_window_append(struct packet_window *pw, const void *data, size_t n)
{
    struct buffer *bytes = &pw->arriving->bytes;
    size_t before = bytes->len;

    buffer_append(bytes, data, n);
    pw->bytes += bytes->len - before;
}

void
packet_window_keep(struct packet_window *pw)
{
    struct packet *p = pw->arriving;
    struct packet **at = &pw->early.first;

    pw->arriving = NULL;
    if (pw->early.last == NULL || pw->early.last->index < p->index) {
        packet_list_append(&pw->early, p);
        return;
    }
    while ((*at)->index < p->index)
        at = &(*at)->next;
    MS_ASSERT((*at)->index != p->index);
    p->next = *at;
    *at = p;
    pw->early.count++;
}

void
packet_window_drop(struct packet_window *pw)
{
    if (pw->arriving == NULL)
        return;
    pw->bytes -= pw->arriving->bytes.len;
    packet_destroy(pw->arriving);
    pw->arriving = NULL;
}

const struct packet *
packet_window_kept(const struct packet_window *pw, uint64_t index)
{
    const struct packet *p = pw->early.first;

    if (p == NULL || pw->early.last->index < index)
        return NULL;
    while (p->index < index)
        p = p->next;
    return p->index == index ? p : NULL;
}

struct packet *
packet_window_take(struct packet_window *pw)
{
    struct packet *p = pw->early.first;

    MS_ASSERT(p != NULL);
    packet_list_remove(&pw->early, p);
    pw->bytes -= p->bytes.len;
    return p;
}

void
packet_window_forget(struct packet_window *pw)
{
    while (pw->early.first != NULL)
        packet_destroy(packet_window_take(pw));
}

/* --- on their way --- */

struct packet *
packet_window_send(struct packet_window *pw, uint16_t sequence, bool ends, size_t n)
{
    struct packet *p = packet_create(pw, sequence, ends);

    if (p == NULL)
        return NULL;
    p->blob = blob_ref(pw->sending.blob);
    p->offset = pw->sending.at;
    p->length = n;
    packet_list_append(&pw->flight, p);
    pw->bytes += n;
    return p;
}

void
packet_window_say(const struct packet *p, struct chain *ready)
{
    chain_append(ready, buffer_bytes(&p->bytes), p->bytes.len);
    chain_add_part(ready, blob_ref(p->blob), p->offset, p->length);
}

struct packet *
packet_window_in_flight(struct packet_window *pw, uint16_t sequence)
{
    struct packet *p = pw->flight.first;

    while (p != NULL && p->sequence != sequence)
        p = p->next;
    return p;
}

void
packet_window_arrived(struct packet_window *pw, struct packet *p)
{
    packet_list_remove(&pw->flight, p);
    pw->bytes -= p->length;
    packet_destroy(p);
}

/* --- marks --- */

static bool
packet_marks_grow(struct packet_window *pw)
{
    uint32_t cap = pw->marks_cap != 0 ? pw->marks_cap * 2 : 16;
    struct packet_mark *grown = realloc(pw->marks, cap * sizeof(*grown));

    if (grown == NULL)
        return ms_out_of_memory(cap * sizeof(*grown)) != NULL;
    ledger_take(&pw->store->ledger, (cap - pw->marks_cap) * sizeof(*grown));
    pw->marks = grown;
    pw->marks_cap = cap;
    return true;
}

void
packet_window_mark(struct packet_window *pw, uint16_t sequence)
{
    struct packet_mark *old = packet_window_marked(pw, sequence);

    if (old != NULL && old->refused)
        packet_window_unmark(pw, old);
    if (pw->marks_len == pw->marks_cap && !packet_marks_grow(pw))
        return;
    pw->marks[pw->marks_len++] = (struct packet_mark){.sequence = sequence};
}

struct packet_mark *
packet_window_marked(struct packet_window *pw, uint16_t sequence)
{
    for (uint32_t i = 0; i < pw->marks_len; i++)
        if (pw->marks[i].sequence == sequence)
            return &pw->marks[i];
    return NULL;
}

void
packet_window_unmark(struct packet_window *pw, struct packet_mark *mark)
{
    size_t at = (size_t)(mark - pw->marks);

    memmove(mark, mark + 1, (pw->marks_len - at - 1) * sizeof(*mark));
    pw->marks_len--;
}

void
packet_window_save(const struct packet_window *pw, struct buffer *out)
{
    MS_ASSERT(packet_window_idle(pw));
    if (pw != NULL)
        buffer_append(out, pw->marks, pw->marks_len * sizeof(*pw->marks));
}

struct packet_window *
packet_window_restore(struct message_store *store, const void *data, size_t n)
{
    struct packet_window *pw;

    if (n % sizeof(*pw->marks) != 0) {
        errno = EINVAL;
        return NULL;
    }
    pw = packet_window_create(store);
    for (size_t i = 0; pw != NULL && i < n; i += sizeof(*pw->marks)) {
        const uint8_t *at = (const uint8_t *)data + i;
        uint16_t sequence;

        memcpy(&sequence, at + offsetof(struct packet_mark, sequence), sizeof(sequence));
        packet_window_mark(pw, sequence);
        /* Another process wrote it: no bool, perhaps. */
        pw->marks[pw->marks_len - 1].refused = at[offsetof(struct packet_mark, refused)] != 0;
    }
    return pw;
}
