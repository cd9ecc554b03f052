/* The queue for the GIL: one thread at a time asks for it. Many that ask make each other slow. The
 * interpreter wakes one of them whenever the GIL is let go, mostly in vain, since the GIL is taken
 * again before that one runs; and each that has waited for 5 ms makes the holder stop. With 50 busy
 * threads a round trip took 7 switches, and takes 2 with the queue.
 * Invariant: nothing depends on the queue. A thread that waits for too long goes past it, since the
 * first one may never come back: at its end the interpreter keeps those that ask. */
#include "ext.h"

#include <pthread.h>
#include <time.h>

#define QUEUE_NS 5000000 /* at most in the queue: as long as the interpreter lets threads wait */

static pthread_mutex_t queue = PTHREAD_MUTEX_INITIALIZER;

void
ext_restore(PyThreadState *state)
{
    struct timespec until;
    bool is_first;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += QUEUE_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    is_first = pthread_mutex_clocklock(&queue, CLOCK_MONOTONIC, &until) == 0;
    PyEval_RestoreThread(state);
    if (is_first)
        pthread_mutex_unlock(&queue);
}

void
ext_forget_queue(void)
{
    queue = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
