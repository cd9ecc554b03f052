/* Waiting, and the end of it: see the header. */
#include "common/wait.h"

#include <errno.h>

int
wait_poll(struct waiter *w, struct pollfd *fds, unsigned n, int timeout_ms)
{
    int rc;

    if (w == NULL || w->fn == NULL || timeout_ms == 0)
        return poll(fds, n, timeout_ms);
    if (!w->is_ended) {
        rc = w->fn(w->arg, fds, n, timeout_ms);
        if (rc >= 0 || errno == EINTR)
            return rc;
        w->is_ended = true;
    }
    errno = ECANCELED;
    return -1;
}

bool
wait_until(struct waiter *w, int fd, short events, uint64_t deadline_us)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = clock_mono_us();
        uint64_t left = now < deadline_us ? (deadline_us - now + 999) / 1000 : 0;
        int n = wait_poll(w, &p, fd >= 0, left > 3600000 ? 3600000 : (int)left);

        if (n > 0 || (n < 0 && errno != EINTR))
            return true;
        if (n == 0 && clock_mono_us() >= deadline_us)
            return false;
    }
}
