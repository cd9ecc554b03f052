/* The race of the addresses: see the header. */
#include "common/dial_state.h"
#include "common/fd.h"
#include "common/lookup.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#define WATCHED_MAX (URL_SERVERS_MAX * DIAL_MAX)

bool
dial_is_self(int fd)
{
    struct endpoint own = {.len = sizeof(own.addr)}, other = own;

    return getsockname(fd, (struct sockaddr *)&own.addr, &own.len) == 0 &&
           getpeername(fd, (struct sockaddr *)&other.addr, &other.len) == 0 &&
           own.addr.ss_family != AF_UNIX && endpoint_equal(&own, &other);
}

void
dial_reset(int *fd)
{
    const struct linger now = {.l_onoff = 1};

    if (*fd >= 0)
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    fd_close(fd);
}

/* --- one try --- */

/* Ends a try. It may be connected meanwhile: a server could take that for a message of no bytes. */
static void
dial_drop(struct dialer *d, struct dial_address *a, int error)
{
    dial_reset(&a->fd);
    a->error = error;
    a->worked = false;
    d->is_starved |= error == ENOMEM;
    dial_record_failure(d, &a->record);
}

static void
dial_begin(struct dialer *d, struct dial_address *a)
{
    int on = 1;

    a->tried = true;
    a->begun = ++d->begun;
    a->fd = fd_above_standard(
        socket(a->at.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (a->fd >= 0 && setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
        (connect(a->fd, (const struct sockaddr *)&a->at.addr, a->at.len) == 0 ||
         errno == EINPROGRESS || errno == EINTR))
        return;
    dial_drop(d, a, errno);
}

/* Something has happened to a try. True where it is connected; otherwise it is ended. */
static bool
dial_has_won(struct dialer *d, struct dial_address *a)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0 && dial_is_self(a->fd))
        error = ECONNREFUSED;
    if (error != 0)
        dial_drop(d, a, error);
    return error == 0;
}

/* --- all of them --- */

/* How long the newest try is left alone: where time is short, all get their turn. */
static uint64_t
dial_patience_us(struct dialer *d, uint64_t now_us)
{
    uint64_t left = d->deadline_us > now_us ? d->deadline_us - now_us : 0;
    uint64_t share = left / (dial_left(d) + 1);
    uint64_t most = dial_choose(d).rests ? DIAL_REST_STAGGER_US : DIAL_STAGGER_US;

    return share < most ? share : most;
}

/* What is under way, in an order that lasts until something is decided. */
static unsigned
dial_list_watched(const struct dialer *d, struct pollfd watched[WATCHED_MAX])
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->count; i++) {
        const struct dial_server *s = &d->servers[i];

        if (s->state == DIAL_ASKING)
            watched[n++] = (struct pollfd){.fd = lookup_fd(s->lookup), .events = POLLIN};
        for (unsigned k = 0; s->state == DIAL_FOUND && k < s->count; k++)
            watched[n++] = (struct pollfd){.fd = s->list[k].fd, .events = POLLOUT};
    }
    return n;
}

/* Deals with what has happened. Returns the address that is connected, or NULL. */
static struct dial_address *
dial_look(struct dialer *d, const struct pollfd *watched)
{
    for (unsigned i = 0; i < d->count; i++) {
        struct dial_server *s = &d->servers[i];
        unsigned count = s->state == DIAL_FOUND ? s->count : 0;

        if (s->state == DIAL_ASKING && watched++->revents != 0)
            dial_found(d, s);
        for (unsigned k = 0; k < count; k++)
            if (watched++->revents != 0 && dial_has_won(d, &s->list[k]))
                return &s->list[k];
    }
    return NULL;
}

/* Waits until something is decided, or the time is until_us. */
static struct dial_address *
dial_watch(struct dialer *d, uint64_t until_us, bool *decided_out)
{
    struct pollfd watched[WATCHED_MAX];
    unsigned n = dial_list_watched(d, watched);
    uint64_t now = clock_mono_us(), left = now < until_us ? (until_us - now + 999) / 1000 : 0;

    *decided_out = wait_poll(d->waiter, watched, n, left > 3600000 ? 3600000 : (int)left) > 0;
    return *decided_out ? dial_look(d, watched) : NULL;
}

static bool
dial_is_under_way(const struct dialer *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        const struct dial_server *s = &d->servers[i];

        if (s->state == DIAL_ASKING)
            return true;
        for (unsigned k = 0; s->state == DIAL_FOUND && k < s->count; k++)
            if (s->list[k].fd >= 0)
                return true;
    }
    return false;
}

/* Begins what comes next. True where it is under way then. */
static bool
dial_go(struct dialer *d, const struct dial_choice *next)
{
    if (next->address == NULL) {
        dial_find(d, next->server);
        return next->server->state == DIAL_ASKING;
    }
    dial_begin(d, next->address);
    return next->address->fd >= 0;
}

static bool
dial_has_waiter(const struct dialer *d)
{
    return d->waiter != NULL && d->waiter->fn != NULL;
}

static bool
dial_is_ended(const struct dialer *d)
{
    return d->waiter != NULL && d->waiter->is_ended;
}

/* Returns the address that connects first; NULL: none does in time. Each try is looked at before
 * the next one begins: a process that had to wait for a processor has not waited for the server. */
static struct dial_address *
dial_race(struct dialer *d)
{
    struct dial_address *won = NULL;
    uint64_t next_us = 0;
    bool decided, is_unseen = false;

    while (won == NULL && !dial_is_ended(d)) {
        uint64_t now = clock_mono_us();
        struct dial_choice next = dial_choose(d);
        bool waits = next.server != NULL && (now < next_us || is_unseen);

        if (next.server != NULL && !waits) {
            is_unseen = dial_go(d, &next);
            if (is_unseen)
                next_us = now + dial_patience_us(d, now);
            continue;
        }
        if (!waits && ((now >= d->deadline_us && !is_unseen) || !dial_is_under_way(d)))
            break;
        won = dial_watch(d, waits ? next_us : d->deadline_us, &decided);
        is_unseen = false;
        if (decided)
            next_us = 0;
    }
    return won;
}

#define DIAL_UNIX_PAUSE_US 10000

/* A connect(2) to a Unix socket has failed. True where it is to be tried again. */
static bool
dial_unix_again(struct dialer *d)
{
    if (errno == EAGAIN && dial_has_waiter(d))
        (void)wait_until(d->waiter, -1, 0, clock_mono_us() + DIAL_UNIX_PAUSE_US);
    else if (errno != EINTR)
        return false;
    return clock_mono_us() < d->deadline_us && !dial_is_ended(d);
}

/* A full backlog makes connect(2) on a non-blocking Unix socket fail with EAGAIN and nothing to
 * poll for, so there the kernel does the waiting, unless the program waits by itself. */
static struct dial_address *
dial_unix(struct dialer *d)
{
    const struct timeval limit = {.tv_sec = d->ms / 1000, .tv_usec = d->ms % 1000 * 1000};
    struct dial_address *a;
    int rc = -1;

    dial_find(d, &d->servers[0]);
    if (d->servers[0].state != DIAL_FOUND)
        return NULL;
    a = &d->servers[0].list[0];
    a->tried = true;
    a->fd = fd_above_standard(
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (dial_has_waiter(d) ? SOCK_NONBLOCK : 0), 0));
    if (a->fd >= 0 && setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0)
        do {
            rc = connect(a->fd, (const struct sockaddr *)&a->at.addr, a->at.len);
        } while (rc < 0 && dial_unix_again(d));
    if (rc == 0 && fd_set_nonblock(a->fd) == 0)
        return a;
    dial_drop(d, a, errno == EAGAIN || errno == EINTR ? ETIMEDOUT : errno);
    return NULL;
}

/* --- a connection --- */

static void
dial_prepare(struct dialer *d, unsigned ms)
{
    dial_arrange(d);
    d->ms = ms;
    d->deadline_us = clock_mono_us() + (uint64_t)ms * 1000;
    d->begun = 0;
    d->is_starved = false;
    for (unsigned i = 0; i < d->count; i++)
        d->servers[i].state = DIAL_NEW;
}

/* Ends what is still under way. What began before the one that won was too slow; what began behind
 * it had no time to show what it can do. */
static void
dial_end_others(struct dialer *d, const struct dial_address *won)
{
    unsigned slow = won != NULL ? won->begun : UINT32_MAX;

    for (unsigned i = 0; i < d->count; i++) {
        struct dial_server *s = &d->servers[i];

        for (unsigned k = 0; s->state == DIAL_FOUND && k < s->count; k++)
            if (s->list[k].fd >= 0 && s->list[k].begun < slow)
                dial_drop(d, &s->list[k], ETIMEDOUT);
            else
                dial_reset(&s->list[k].fd);
        if (s->state == DIAL_ASKING && s->begun < slow)
            dial_find_ended(d, s);
        else if (s->state == DIAL_ASKING)
            lookup_give_up(s->lookup);
    }
}

static bool
dial_has_address(const struct dialer *d)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->servers[i].state == DIAL_FOUND)
            return true;
    return false;
}

int
dial_connect(struct dialer *d, unsigned ms, int *fd_out)
{
    struct dial_address *won;
    int fd = -1;

    dial_prepare(d, ms);
    won = d->url->path != NULL ? dial_unix(d) : dial_race(d);
    if (won != NULL) {
        fd = fd_steal(&won->fd);
        dial_has_worked(d, won);
    }
    dial_end_others(d, won);
    dial_say_race(d, won == NULL);
    if (won == NULL) {
        errno = dial_is_ended(d)      ? ECANCELED
                : d->is_starved       ? ENOMEM
                : dial_has_address(d) ? EHOSTUNREACH
                                      : ENXIO;
        return -1;
    }
    *fd_out = fd;
    return 0;
}

static void
dial_name_server(const struct url *url, struct dial_server *s)
{
    if (url->path != NULL)
        snprintf(s->name, sizeof(s->name), "unix:%s", url->path);
    else
        snprintf(s->name, sizeof(s->name), strchr(s->at.host, ':') ? "[%s]:%u" : "%s:%u",
                 s->at.host, s->at.port);
}

int
dialer_init(struct dialer *d, const struct url *url, enum dial_pick pick)
{
    *d = (struct dialer){.url = url, .pick = pick, .round = 1};
    d->servers = ms_calloc(1 + url->more_count, sizeof(*d->servers));
    if (d->servers == NULL)
        return -1;
    d->count = 1 + (unsigned)url->more_count;
    for (unsigned i = 0; i < d->count; i++) {
        d->servers[i].at = url_server_at(url, i);
        dial_name_server(url, &d->servers[i]);
    }
    return 0;
}

void
dialer_fini(struct dialer *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        lookup_leave(d->servers[i].lookup);
        free(d->servers[i].list);
    }
    free(d->servers);
    d->servers = NULL;
    d->count = 0;
}
