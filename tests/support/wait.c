/* One clock and one loop for everything that waits. */
#include "support/wait.h"

#include <time.h>

#define NAP_FIRST_NS 200000 /* between two looks at a condition; then twice as long, up to: */
#define NAP_MAX_NS   8000000

uint64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

struct waiting
waiting_begin(unsigned ms)
{
    return (struct waiting){.deadline_us = now_us() + (uint64_t)ms * 1000 * WAIT_SCALE,
                            .nap_ns = NAP_FIRST_NS};
}

bool
waiting_more(struct waiting *w)
{
    struct timespec nap = {.tv_nsec = w->nap_ns};

    if (w->over)
        return false;
    w->over = now_us() >= w->deadline_us;
    if (w->nap_ns < NAP_MAX_NS)
        w->nap_ns *= 2;
    nanosleep(&nap, NULL);
    return true;
}
