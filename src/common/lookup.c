/* See the header. A thread that looks a name up touches nothing but its struct lookup, so it may
 * outlive whoever asked; the last of both to leave frees it. */
#include "common/lookup.h"

#include "common/fd.h"
#include "common/thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOKUP_FRESH_US 30000000 /* an answer that came while nobody waited may be so old */

struct lookup {
    pthread_mutex_t lock; /* for done, late and left */
    int ended;            /* an eventfd, written to once */
    bool done;            /* the answer below is there */
    bool late;            /* it counts as late_lookups */
    bool left;            /* by whoever asked: the thread frees it */
    pthread_t thread;
    pid_t pid; /* of the process that has the thread */
    int rc;    /* of getaddrinfo, with errno in error */
    int error;
    uint64_t ended_us;
    struct addrinfo *found;
    char port[8];
    char host[256];
};

/* How many lookups of this process are late; below its pid, since a child that is forked has none
 * of the threads. */
static _Atomic uint64_t late_lookups;

static unsigned
late_lookups_add(int n)
{
    uint64_t pid = (uint64_t)getpid() << 32, before = atomic_load(&late_lookups), after;

    do {
        after = (before >> 32 << 32 == pid ? before : pid) + (uint64_t)n;
    } while (!atomic_compare_exchange_weak(&late_lookups, &before, after));
    return (unsigned)after;
}

/* The code of a thread must stay, also where the program unloads the library. */
static void
lookup_pin_code(void)
{
    static atomic_bool pinned;
    Dl_info self;

    if (!atomic_exchange(&pinned, true) && dladdr((void *)&late_lookups, &self) != 0)
        (void)dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

int
lookup_ask(const char *host, const char *port, int flags, struct addrinfo **found_out)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};

    return getaddrinfo(host, port, &hints, found_out);
}

static void
lookup_free(struct lookup *l)
{
    if (l->found != NULL)
        freeaddrinfo(l->found);
    pthread_mutex_destroy(&l->lock);
    fd_close(&l->ended);
    free(l);
}

static void *
lookup_main(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo *found = NULL;
    bool late, left;
    int rc, error;

    (void)pthread_setname_np(pthread_self(), "msock-lookup");
    rc = lookup_ask(l->host, l->port, 0, &found);
    error = errno;
    pthread_mutex_lock(&l->lock);
    l->rc = rc;
    l->error = error;
    l->found = rc == 0 ? found : NULL;
    l->ended_us = clock_mono_us();
    l->done = true;
    late = l->late;
    left = l->left;
    (void)!eventfd_write(l->ended, 1); /* within the lock: afterwards it may be closed */
    pthread_mutex_unlock(&l->lock);
    if (late)
        late_lookups_add(-1);
    if (left)
        lookup_free(l);
    return NULL;
}

struct lookup *
lookup_start(const char *host, uint16_t port)
{
    struct lookup *l = ms_calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    snprintf(l->host, sizeof(l->host), "%s", host);
    snprintf(l->port, sizeof(l->port), "%u", (unsigned)port);
    l->pid = getpid();
    pthread_mutex_init(&l->lock, NULL);
    lookup_pin_code();
    l->ended = fd_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (l->ended >= 0 && thread_start(&l->thread, lookup_main, l) == 0)
        return l;
    lookup_free(l); /* errno stays */
    return NULL;
}

int
lookup_fd(const struct lookup *l)
{
    return l->ended;
}

void
lookup_give_up(struct lookup *l)
{
    pthread_mutex_lock(&l->lock);
    if (!l->done && !l->late) {
        l->late = true;
        late_lookups_add(1);
    }
    pthread_mutex_unlock(&l->lock);
}

void
lookup_leave(struct lookup *l)
{
    bool done;

    if (l == NULL)
        return;
    if (l->pid != getpid()) { /* forked: its thread, and who has its lock, are the parent's */
        fd_close(&l->ended);
        free(l);
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->left = true;
    done = l->done;
    if (!done)
        pthread_detach(l->thread);
    pthread_mutex_unlock(&l->lock);
    if (!done)
        return;
    pthread_join(l->thread, NULL);
    lookup_free(l);
}

bool
lookup_is_useful(struct lookup *l)
{
    bool useful;

    if (l == NULL || l->pid != getpid())
        return false;
    pthread_mutex_lock(&l->lock);
    useful = !l->done || (l->rc == 0 && clock_mono_us() - l->ended_us < LOOKUP_FRESH_US);
    pthread_mutex_unlock(&l->lock);
    return useful;
}

unsigned
lookup_late_count(void)
{
    return late_lookups_add(0);
}

const struct addrinfo *
lookup_answer(const struct lookup *l, int *rc_out, int *error_out)
{
    *rc_out = l->rc;
    *error_out = l->error;
    return l->found;
}
