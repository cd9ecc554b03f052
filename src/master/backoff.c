/* How long to wait before a worker that died is replaced. */
#include "master/generation.h"

uint64_t
backoff_died(struct backoff *b, uint64_t started_us, uint64_t now_us)
{
    uint64_t delay;

    if (now_us >= started_us && now_us - started_us >= BACKOFF_STABLE_US)
        b->next_us = 0;
    delay = b->next_us;
    if (delay == 0)
        b->next_us = BACKOFF_FIRST_US;
    else if (delay < BACKOFF_MAX_US / 2)
        b->next_us = delay * 2;
    else
        b->next_us = BACKOFF_MAX_US;
    return delay;
}
