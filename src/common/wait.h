/* How a client waits: by poll(2), or by what its program has put in the place of that. */
#ifndef COMMON_WAIT_H
#define COMMON_WAIT_H

#include "common/base.h"

#include <poll.h>

/* As poll(2). */
typedef int (*wait_fn)(void *arg, struct pollfd *fds, unsigned n, int timeout_ms);

struct waiter {
    wait_fn fn; /* NULL: poll(2) */
    void *arg;
    bool is_ended; /* the function wants the call to end; who begins a call takes it back */
};

/* As poll(2). Where nothing is to be waited for (timeout_ms is 0) the function is not asked. Once
 * it has failed with another errno than EINTR, there is no waiting any more: -1 with ECANCELED. w
 * may be NULL. */
int wait_poll(struct waiter *w, struct pollfd *fds, unsigned n, int timeout_ms);

/* Waits for one of the events until the monotonic time deadline_us, through signals. False where
 * the time is over; an error, also ECANCELED, counts as an event. fd -1: a pause. */
bool wait_until(struct waiter *w, int fd, short events, uint64_t deadline_us);

#endif
