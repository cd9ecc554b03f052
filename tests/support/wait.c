/* One clock and one loop for everything that waits. */
#include "support/wait.h"

#include <time.h>

#define NAP_FIRST_US 200 /* between two looks at a condition; then twice as long, up to: */
#define NAP_MAX_US   8000
#define NAP_LOOK_US  500000 /* or as long as the look took, up to this: it may be a program */

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
    uint64_t now = now_us();

    return (struct waiting){.deadline_us = now + (uint64_t)ms * 1000 * WAIT_SCALE,
                            .looked_us = now,
                            .nap_us = NAP_FIRST_US};
}

bool
waiting_more(struct waiting *w)
{
    uint64_t now = now_us(), nap_us = now - w->looked_us;
    struct timespec nap;

    if (w->over)
        return false;
    w->over = now >= w->deadline_us;
    nap_us = nap_us < w->nap_us ? w->nap_us : nap_us > NAP_LOOK_US ? NAP_LOOK_US : nap_us;
    if (w->nap_us < NAP_MAX_US)
        w->nap_us *= 2;
    nap = (struct timespec){.tv_nsec = (long)(nap_us * 1000)};
    nanosleep(&nap, NULL);
    w->looked_us = now_us();
    return true;
}
