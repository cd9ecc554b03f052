/* The memory of one worker, in one sum: everything that holds memory for a peer takes it here, and
 * gives it back when it lets go. Plain counters, so one thread alone uses them. NULL counts
 * nothing. */
#ifndef COMMON_LEDGER_H
#define COMMON_LEDGER_H

#include "common/base.h"

struct ledger {
    uint64_t used, max; /* bytes */
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

/* Little is granted. */
static inline bool
ledger_is_low(const struct ledger *l)
{
    return l->used > l->max / 2;
}

/* A body that is still coming grows in a file. The last quarter is for what was
 * begun: answers, lines of the journal, what handlers hold. */
static inline bool
ledger_is_scarce(const struct ledger *l)
{
    return l->used >= l->max / 4 * 3;
}

/* Nothing new begins. */
static inline bool
ledger_is_full(const struct ledger *l)
{
    return l->used > l->max;
}

#endif
