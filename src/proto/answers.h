/* The answers of one connection, in order. Most are known at once and go to `ready`; the final
 * answer of a message whose handler has not settled yet keeps its place in the queue, and what
 * comes after it waits behind it. Invariant: ready holds what may be sent now; while no place
 * waits, everything is in ready. */
#ifndef PROTO_ANSWERS_H
#define PROTO_ANSWERS_H

#include "common/buffer.h"

#include <stdbool.h>

#define ANSWERS_PREFIX_MAX 16 /* bytes that may move behind a place's front */

struct answer; /* the place of an answer that is not known yet */

struct answers {
    struct buffer ready;         /* may be sent */
    struct answer *first, *last; /* places not settled yet, those behind the last answer included */
    uint32_t waiting;            /* places whose answer will be sent */
    bool closing;                /* the last answer is known, at whatever place it is */
    bool ended;                  /* the last answer is in ready, or sent */
};

void answers_init(struct answers *a);
void answers_fini(struct answers *a); /* places still open become invalid */

/* Appends an answer that is known now. last: the connection ends with it; what is appended or
 * settled behind it is dropped, and `ended` is set once it is ready. */
void answers_append(struct answers *a, const void *data, size_t n, bool last);

/* Takes a place for an answer that comes later. prefix_len bytes at the end of what was appended
 * last and not sent yet move behind the place's front, to leave together with the answer (fewer
 * than prefix_len where part of it was sent already: then none). prefix_len is at most
 * ANSWERS_PREFIX_MAX. Every place must be settled, or answers_fini be called. Never NULL. */
struct answer *answers_reserve(struct answers *a, size_t prefix_len);

/* Fills the place; the place is gone, and all that is now in order becomes ready. last: as
 * above. */
void answers_settle(struct answers *a, struct answer *place, const void *data, size_t n, bool last);

/* Nothing to send and nothing to come. */
static inline bool
answers_idle(const struct answers *a)
{
    return a->ready.len == 0 && a->waiting == 0;
}

#endif
