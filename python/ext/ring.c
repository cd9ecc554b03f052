/* The messages that a client has sent ahead: a queue that grows. libmsock reports them in order,
 * but for those that it did not take: they have ended when their call returned. */
#include "client.h"

#include <stdlib.h>
#include <string.h>

struct ring_item {
    PyObject *id;
    bool is_settled;
    enum msock_status status;
    char *text, *code; /* of a failure; NULL without memory for them */
};

struct ring {
    struct ring_item *items;
    size_t room; /* a power of two, or 0 */
    size_t head, tail;
    size_t next; /* all before it are settled */
    size_t pending;
};

struct ring *
ring_create(void)
{
    return calloc(1, sizeof(struct ring));
}

static struct ring_item *
ring_at(const struct ring *ring, size_t i)
{
    return &ring->items[i & (ring->room - 1)];
}

static void
ring_item_fini(struct ring_item *item)
{
    Py_CLEAR(item->id);
    free(item->text);
    free(item->code);
}

void
ring_destroy(struct ring *ring)
{
    if (ring == NULL)
        return;
    for (; ring->head != ring->tail; ring->head++)
        ring_item_fini(ring_at(ring, ring->head));
    free(ring->items);
    free(ring);
}

int
ring_visit(const struct ring *ring, visitproc visit, void *arg)
{
    for (size_t i = ring->head; i != ring->tail; i++)
        Py_VISIT(ring_at(ring, i)->id);
    return 0;
}

static int
ring_grow(struct ring *ring)
{
    size_t room = ring->room > 0 ? ring->room * 2 : 64;
    struct ring_item *items = calloc(room, sizeof(*items));

    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = ring->head; i != ring->tail; i++)
        items[i & (room - 1)] = *ring_at(ring, i);
    free(ring->items);
    ring->items = items;
    ring->room = room;
    return 0;
}

int
ring_push(struct ring *ring)
{
    if (ring->tail - ring->head == ring->room && ring_grow(ring) < 0)
        return -1;
    *ring_at(ring, ring->tail++) = (struct ring_item){.id = NULL};
    ring->pending++;
    return 0;
}

void
ring_pushed(struct ring *ring, PyObject *id)
{
    Py_XINCREF(id);
    ring_at(ring, ring->tail - 1)->id = id;
}

static void
ring_item_settle(struct ring *ring, struct ring_item *item, enum msock_status status,
                 const char *text, const char *code)
{
    item->is_settled = true;
    item->status = status;
    if (status != MSOCK_OK) {
        item->text = strdup(text);
        item->code = strdup(code);
    }
    ring->pending--;
}

void
ring_failed(struct ring *ring, enum msock_status status, const char *text, const char *code)
{
    ring_item_settle(ring, ring_at(ring, ring->tail - 1), status, text, code);
}

void
ring_take_back(struct ring *ring)
{
    struct ring_item *item = ring_at(ring, --ring->tail);

    ring->pending -= !item->is_settled;
    if (ring->next > ring->tail)
        ring->next = ring->tail;
    ring_item_fini(item);
}

void
ring_settle(struct ring *ring, enum msock_status status, const char *text, const char *code)
{
    while (ring->next != ring->tail && ring_at(ring, ring->next)->is_settled)
        ring->next++;
    if (ring->next != ring->tail)
        ring_item_settle(ring, ring_at(ring, ring->next++), status, text, code);
}

size_t
ring_pending(const struct ring *ring)
{
    return ring->pending;
}

bool
ring_has_outcome(const struct ring *ring)
{
    return ring->head != ring->tail && ring_at(ring, ring->head)->is_settled;
}

PyObject *
ring_pop(struct ring *ring, Py_ssize_t number)
{
    PyObject *error = NULL, *outcome;
    struct ring_item item;

    if (!ring_has_outcome(ring))
        return NULL;
    item = *ring_at(ring, ring->head++);
    if (ring->next < ring->head)
        ring->next = ring->head;
    if (item.status != MSOCK_OK)
        error = error_make(item.status, item.text != NULL ? item.text : "",
                           item.code != NULL ? item.code : "");
    outcome =
        item.status == MSOCK_OK || error != NULL ? PyStructSequence_New(ext_types.outcome) : NULL;
    if (outcome != NULL) {
        PyStructSequence_SetItem(outcome, 0, PyLong_FromSsize_t(number));
        PyStructSequence_SetItem(outcome, 1, item.id != NULL ? item.id : ext_none());
        PyStructSequence_SetItem(outcome, 2, error != NULL ? error : ext_none());
        item.id = error = NULL;
    }
    ring_item_fini(&item);
    Py_XDECREF(error);
    return outcome;
}
