/* The memory of one worker, and its descriptors, in one sum each: everything that holds some for a
 * peer takes it here, and gives it back when it lets go. Plain counters, so one thread alone uses
 * them. NULL counts nothing. */
#ifndef COMMON_LEDGER_H
#define COMMON_LEDGER_H

#include "common/base.h"

struct ledger {
    uint64_t used, max; /* bytes */
    uint64_t standing;  /* of these, what connections hold as long as they last */
    unsigned descriptors, descriptors_max; /* of connections, and of bodies in files */
};

static inline void
ledger_take(struct ledger *l, size_t n)
{
    if (l != NULL)
        l->used += n;
}

static inline void
ledger_give(struct ledger *l, size_t n)
{
    if (l == NULL)
        return;
    MS_ASSERT(l->used >= n);
    l->used -= n;
}

static inline void
ledger_take_standing(struct ledger *l, size_t n)
{
    l->standing += n;
    ledger_take(l, n);
}

static inline void
ledger_give_standing(struct ledger *l, size_t n)
{
    MS_ASSERT(l->standing >= n);
    l->standing -= n;
    ledger_give(l, n);
}

/* Connections alone hold much: a source that has many of them gets no more. */
static inline bool
ledger_is_occupied(const struct ledger *l)
{
    return l->standing > l->max / 4;
}

/* They hold all that they may: messages need the rest, and nobody but the peer ends an idle one. */
static inline bool
ledger_is_fully_occupied(const struct ledger *l)
{
    return l->standing > l->max / 2;
}

/* Little is granted. */
static inline bool
ledger_is_low(const struct ledger *l)
{
    return l->used > l->max / 2;
}

/* A body that is still coming grows in a file. The last quarter is for what was
 * begun: answers, lines of the journal, what handlers hold. */
static inline uint64_t
ledger_scarce_at(const struct ledger *l)
{
    return l->max / 4 * 3;
}

static inline bool
ledger_is_scarce(const struct ledger *l)
{
    return l->used >= ledger_scarce_at(l);
}

/* n bytes more leave that quarter to the others. */
static inline bool
ledger_has_room(const struct ledger *l, uint64_t n)
{
    return n <= ledger_scarce_at(l) && l->used <= ledger_scarce_at(l) - n;
}

/* Nothing new begins. */
static inline bool
ledger_is_full(const struct ledger *l)
{
    return l->used > l->max;
}

static inline void
ledger_take_descriptor(struct ledger *l)
{
    if (l != NULL)
        l->descriptors++;
}

static inline void
ledger_give_descriptor(struct ledger *l)
{
    if (l == NULL)
        return;
    MS_ASSERT(l->descriptors > 0);
    l->descriptors--;
}

/* Connections are turned away, and each has one body in a file with its handler at a time. The last
 * quarter is for the bodies of those that are here. */
static inline bool
ledger_is_crowded(const struct ledger *l)
{
    return l->descriptors >= l->descriptors_max / 4 * 3;
}

/* A body that needs a file waits for one. */
static inline bool
ledger_is_out_of_files(const struct ledger *l)
{
    return l->descriptors >= l->descriptors_max;
}

#endif
