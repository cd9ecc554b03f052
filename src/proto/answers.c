/* The queue of answers. A settled place does not stay: what it holds moves to the end of the place
 * before it, or to what is ready. So the queue has open places only, each with its front and with
 * what came after it. Places behind the last answer wait, emptied, for their settling. */
#include "proto/queues.h"

#include <stdlib.h>

struct answer {
    struct answer *prev, *next;
    struct chain behind; /* appended after this place */
    bool dropped;        /* behind the last answer: never sent */
    uint8_t front_len;
    char front[ANSWERS_PREFIX_MAX];
};

void
answers_init(struct answers *a, struct ledger *ledger)
{
    *a = (struct answers){0};
    chain_init(&a->ready, ledger);
}

static void
answer_destroy(struct answer *place)
{
    ledger_give(place->behind.bytes.ledger, sizeof(*place));
    chain_fini(&place->behind);
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
    chain_fini(&a->ready);
    answers_init(a, a->ready.bytes.ledger);
}

uint64_t
answers_held(const struct answers *a)
{
    uint64_t held = 0;

    for (const struct answer *place = a->first; place != NULL; place = place->next)
        held += chain_len(&place->behind);
    return held;
}

/* Where bytes go that come after all places; not while closing, when dropped places are last. */
static struct chain *
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
    chain_append(answers_tail(a), data, n);
    if (last)
        answers_close(a);
}

struct answer *
answers_reserve(struct answers *a, size_t prefix_len)
{
    struct answer *place = ms_calloc(1, sizeof(*place));

    MS_ASSERT(prefix_len <= sizeof(place->front));
    if (place == NULL)
        return NULL;
    ledger_take(a->ready.bytes.ledger, sizeof(*place));
    chain_init(&place->behind, a->ready.bytes.ledger);
    place->dropped = a->closing;
    if (!place->dropped) {
        if (chain_cut(answers_tail(a), place->front, prefix_len))
            place->front_len = (uint8_t)prefix_len;
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
        chain_fini(&place->behind);
        place->dropped = true;
        a->waiting--;
    }
}

/* The bytes are in their order now: with the place goes its front, not what came after it. */
static void
answers_end_place(struct answers *a, struct answer *place, struct chain *to, bool last)
{
    a->waiting--;
    if (last) {
        a->closing = true;
        answers_drop_from(a, place->next);
    } else {
        chain_move(to, &place->behind);
    }
    if (a->closing)
        answers_close(a);
    answers_unlink(a, place);
    answer_destroy(place);
}

/* Where the answer of a place goes, its front first; NULL: nowhere, and the place is gone. */
static struct chain *
answers_begin_place(struct answers *a, struct answer *place)
{
    struct chain *to = place->prev == NULL ? &a->ready : &place->prev->behind;

    if (!place->dropped) {
        chain_append(to, place->front, place->front_len);
        return to;
    }
    answers_unlink(a, place);
    answer_destroy(place);
    return NULL;
}

void
answers_settle(struct answers *a, struct answer *place, const void *data, size_t n, bool last)
{
    struct chain *to = answers_begin_place(a, place);

    if (to == NULL)
        return;
    chain_append(to, data, n);
    answers_end_place(a, place, to, last);
}

void
answers_give(struct answers *a, struct answer *place, struct chain *given, bool last)
{
    struct chain *to = place != NULL ? answers_begin_place(a, place) : answers_tail(a);

    if (to == NULL || (place == NULL && a->closing)) {
        chain_fini(given);
        return;
    }
    chain_move(to, given);
    if (place != NULL)
        answers_end_place(a, place, to, last);
    else if (last)
        answers_close(a);
}
