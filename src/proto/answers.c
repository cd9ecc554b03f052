/* The queue of answers. A settled place does not stay: what it holds moves to the end of the place
 * before it, or to what is ready. So the queue has open places only, each with its front and with
 * what came after it. Places behind the last answer wait, emptied, for their settling. */
#include "proto/queues.h"

#include <stdlib.h>

struct answer {
    struct answer *prev, *next;
    struct buffer behind; /* appended after this place */
    bool dropped;         /* behind the last answer: never sent */
    uint8_t front_len;
    char front[ANSWERS_PREFIX_MAX];
};

void
answers_init(struct answers *a)
{
    *a = (struct answers){0};
    buffer_init(&a->ready);
}

static void
answer_destroy(struct answer *place)
{
    buffer_fini(&place->behind);
    free(place);
}

void
answers_fini(struct answers *a)
{
    struct answer *next;

    for (struct answer *place = a->first; place != NULL; place = next) {
        next = place->next;
        answer_destroy(place);
    }
    buffer_fini(&a->ready);
    answers_init(a);
}

/* Where bytes go that come after all places; not while closing, when dropped places are last. */
static struct buffer *
answers_tail(struct answers *a)
{
    return a->last == NULL ? &a->ready : &a->last->behind;
}

static void
answers_close(struct answers *a)
{
    a->closing = true;
    a->ended = a->waiting == 0;
}

void
answers_append(struct answers *a, const void *data, size_t n, bool last)
{
    if (a->closing)
        return;
    buffer_append(answers_tail(a), data, n);
    if (last)
        answers_close(a);
}

/* Takes the last n bytes of from, where all of them are still there. */
static void
answer_take_front(struct answer *place, struct buffer *from, size_t n)
{
    if (n == 0 || from->len < n)
        return;
    memcpy(place->front, buffer_bytes(from) + from->len - n, n);
    place->front_len = (uint8_t)n;
    buffer_unappend(from, n);
}

struct answer *
answers_reserve(struct answers *a, size_t prefix_len)
{
    struct answer *place = ms_calloc(1, sizeof(*place));

    MS_ASSERT(prefix_len <= sizeof(place->front));
    if (place == NULL)
        return NULL;
    place->dropped = a->closing;
    if (!place->dropped) {
        answer_take_front(place, answers_tail(a), prefix_len);
        a->waiting++;
    }
    place->prev = a->last;
    if (a->last != NULL)
        a->last->next = place;
    else
        a->first = place;
    a->last = place;
    return place;
}

static void
answers_unlink(struct answers *a, struct answer *place)
{
    if (place->prev != NULL)
        place->prev->next = place->next;
    else
        a->first = place->next;
    if (place->next != NULL)
        place->next->prev = place->prev;
    else
        a->last = place->prev;
}

static void
answers_drop_from(struct answers *a, struct answer *place)
{
    for (; place != NULL && !place->dropped; place = place->next) {
        buffer_fini(&place->behind);
        place->dropped = true;
        a->waiting--;
    }
}

void
answers_settle(struct answers *a, struct answer *place, const void *data, size_t n, bool last)
{
    struct buffer *to = place->prev == NULL ? &a->ready : &place->prev->behind;

    if (place->dropped) {
        answers_unlink(a, place);
        answer_destroy(place);
        return;
    }
    buffer_append(to, place->front, place->front_len);
    buffer_append(to, data, n);
    a->waiting--;
    if (last) {
        a->closing = true;
        answers_drop_from(a, place->next);
    } else {
        buffer_append(to, buffer_bytes(&place->behind), place->behind.len);
    }
    if (a->closing)
        answers_close(a);
    answers_unlink(a, place);
    answer_destroy(place);
}
