/* The queue for the GIL: one thread at a time asks for it. Many that ask make each other slow. The
 * interpreter wakes one of them whenever the GIL is let go, mostly in vain, since the GIL is taken
 * again before that one runs; and each that has waited for 5 ms makes the holder stop. With 50 busy
 * threads a round trip took 7 switches, and takes 2 with the queue.
 * Invariant: nothing depends on the queue. A thread that waits for too long goes past it, since the
 * first one may never come back: at its end the interpreter keeps those that ask. */
#include "ext.h"

#include <errno.h>
#include <time.h>

#define QUEUE_NS 5000000 /* at most in the queue: as long as the interpreter lets threads wait */

static pthread_mutex_t queue = PTHREAD_MUTEX_INITIALIZER;

/* For at most so long. */
static int
mutex_lock(pthread_mutex_t *mutex, long ns)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ns;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}

void
ext_restore(PyThreadState *state)
{
    bool is_first = mutex_lock(&queue, QUEUE_NS) == 0;

    PyEval_RestoreThread(state);
    if (is_first)
        pthread_mutex_unlock(&queue);
}

/* At its very end the interpreter cannot even be asked. */
static bool
interpreter_ends(void)
{
    PyObject *ask = PySys_GetObject("is_finalizing");
    PyObject *answer = ask != NULL ? PyObject_CallObject(ask, NULL) : NULL;
    bool ends = answer != Py_False;

    Py_XDECREF(answer);
    PyErr_Clear();
    return ends;
}

bool
ext_lock(pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_trylock(mutex);

    while (rc == EBUSY || rc == ETIMEDOUT) {
        PyThreadState *state = PyEval_SaveThread();

        rc = mutex_lock(mutex, EXT_LOOK_MS * 1000000L);
        ext_restore(state);
        if (rc == ETIMEDOUT && PyErr_CheckSignals() < 0)
            return false;
        if (rc == ETIMEDOUT && interpreter_ends())
            break;
    }
    if (rc == 0)
        return true;
    error_usage("this client or server is in use: by %s",
                rc == EDEADLK ? "the call that has called this callback"
                              : "a thread that has ended with the interpreter");
    return false;
}

void
ext_forget_queue(void)
{
    queue = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
