#include "common/thread.h"

#include <errno.h>
#include <signal.h>

int
thread_start(pthread_t *thread_out, const char *name, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread_out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        (void)pthread_setname_np(*thread_out, name);
    errno = error;
    return error == 0 ? 0 : -1;
}
