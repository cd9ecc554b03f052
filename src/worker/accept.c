/* Takes new connections, a fair share of those of all workers. Invariant: while a worker is
 * parked, none of its listeners is in its epoll set. */
#include "worker/worker_state.h"

#include "common/fd.h"
#include "worker/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ACCEPT_BATCH 16    /* connections taken in one turn from one listener */
#define PARK_US      20000 /* how long to leave the listeners to others */
#define SAY_US       10000000
#define PAUSE_US     100000 /* how long to leave them alone when nothing can be accepted */

static int
accept_watch(struct worker_socket *s)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &s->watch};

    return epoll_ctl(s->listener->worker->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev);
}

/* The listeners are out of this worker's epoll set until the timer fires: then the kernel wakes the
 * others, which it would not do for one that is asked and declines. */
static void
accept_park(struct worker *w, uint64_t us)
{
    if (!w->parked) {
        for (size_t i = 0; i < w->socket_count; i++)
            (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->sockets[i].fd, NULL);
        w->parked = true;
    }
    timer_set(&w->wheel, &w->park_timer, w->now_us + us);
}

/* No descriptor is left: the spare one is given up for a moment to tell the peer. Returns false
 * where even that fails. */
static bool
accept_without_descriptor(struct worker *w, const struct worker_socket *s)
{
    static const struct conn_refusal why = {"busy",
                                            "the server is out of descriptors; try again later"};
    bool taken;
    int fd;

    fd_close(&w->spare_fd);
    fd = fd_above_standard(accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    taken = fd >= 0;
    if (taken) {
        stats_record(&w->stats, STATS_EVENT_turned_away, NULL, w->now_us, 0, why.code);
        conn_refuse_at_once(s->listener, fd, &why, 0);
    }
    w->spare_fd = fd_above_standard(open("/dev/null", O_RDONLY | O_CLOEXEC));
    return taken || w->spare_fd >= 0;
}

void
accept_say_full(struct worker *w)
{
    if (w->full_said_us != 0 && w->now_us < w->full_said_us + SAY_US)
        return;
    w->full_said_us = w->now_us;
    log_line(LOG_no_descriptors, "out of descriptors: connections are turned away");
}

static void
accept_let_go(struct worker *w, struct worker_socket *s)
{
    if (s->fd < 0)
        return;
    (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    fd_close(&s->fd);
}

/* Returns false where this turn should take no more. */
static bool
accept_failed(struct worker *w, struct worker_socket *s)
{
    char more[WORKER_MORE_LEN];
    int error = errno;

    switch (error) {
    case EAGAIN:
        return false;
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
        return true;
    case EMFILE:
    case ENFILE:
        accept_say_full(w);
        if (w->spare_fd >= 0 && accept_without_descriptor(w, s))
            return true;
        break;
    default:
        if (worker_may_say(w, more))
            log_line(LOG_cannot_accept, "%s: cannot accept: %s%s", s->listener->child->config->name,
                     strerror(error), more);
        break;
    }
    accept_park(w, PAUSE_US);
    w->parked_for_share = false;
    return false;
}

void
accept_peer(struct worker_listener *l, int fd, const struct endpoint *peer)
{
    const struct source from = source_of_peer(fd, peer);
    struct conn_source source = {0};
    const struct conn_refusal *why = conn_admit(l, &from, &source);

    if (why == NULL) {
        conn_open(l, fd, peer, &source);
        return;
    }
    stats_record_peer(&l->worker->stats, STATS_EVENT_turned_away, l->child->stats_id, peer,
                      l->worker->now_us, why->code);
    conn_refuse(l, fd, why, source.wait_s);
}

static void
accept_one(struct worker_listener *l, int fd, struct endpoint *peer)
{
    endpoint_unmap(peer); /* a socket that was given may take IPv4 beside IPv6 */
    if (listener_is_proxied(l->child->config))
        proxied_begin(l, fd, peer);
    else
        accept_peer(l, fd, peer);
}

/* This worker was woken and declines or leaves, so it has used up the wake-up: tells the others
 * that connections may wait. The bell is never read; edge-triggered, it wakes each of them once. */
static void
accept_tell_others(const struct worker *w)
{
    if (w->child->accept_bell >= 0)
        fd_ring_bell(w->child->accept_bell);
}

/* may_decline: leave the rest to others once this worker has more than its share; but never the
 * first, of which nobody else was told. */
static unsigned
accept_batch(struct worker_socket *s, bool may_decline)
{
    struct worker *w = s->listener->worker;
    unsigned taken = 0;

    for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
        struct endpoint peer = {.len = sizeof(peer.addr)};
        int fd;

        if (may_decline && taken > 0 && stats_writer_overfull(&w->stats)) {
            accept_park(w, PARK_US);
            w->parked_for_share = true;
            accept_tell_others(w);
            break;
        }
        fd = fd_above_standard(
            accept4(s->fd, (struct sockaddr *)&peer.addr, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (fd < 0) {
            if (!accept_failed(w, s))
                break;
            continue;
        }
        accept_one(s->listener, fd, &peer);
        taken++;
    }
    return taken;
}

/* While this worker drains. A reload that wants the address again has made the socket the next
 * generation's, and an error says that the master has ended it. */
static void
accept_lingering(struct worker *w, struct worker_socket *s)
{
    struct endpoint peer = {.len = sizeof(peer.addr)};
    int fd = -1;

    errno = EINVAL;
    if (listen_is_retired(s->fd))
        fd = accept4(s->fd, (struct sockaddr *)&peer.addr, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        accept_one(s->listener, fd, &peer);
        return;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED || errno == EPROTO)
        return;
    accept_let_go(w, s);
    w->lingering--;
    accept_tell_others(w);
}

static void
accept_ready(struct watch *watch, uint32_t events)
{
    struct worker_socket *s = (struct worker_socket *)watch;
    struct worker *w = s->listener->worker;

    (void)events;
    if (w->draining && s->fd >= 0)
        accept_lingering(w, s);
    else if (!w->parked && !w->draining)
        (void)accept_batch(s, true);
}

void
accept_unpark(struct worker *w)
{
    if (!w->parked || w->draining)
        return;
    /* Connections that wait now have waited all the time: no other worker takes them. */
    for (size_t i = 0; i < w->socket_count; i++)
        (void)accept_batch(&w->sockets[i], false);
    if (stats_writer_overfull(&w->stats)) {
        accept_park(w, PARK_US);
        w->parked_for_share = true;
        return;
    }
    w->parked = w->parked_for_share = false;
    for (size_t i = 0; i < w->socket_count; i++)
        if (accept_watch(&w->sockets[i]) < 0)
            log_line(LOG_listener_not_watched, "%s: cannot watch the listener: %s",
                     w->sockets[i].listener->child->config->name, strerror(errno));
}

void
accept_reconsider(struct worker *w)
{
    if (w->parked && w->parked_for_share && !w->draining && !stats_writer_overfull(&w->stats))
        accept_unpark(w);
}

void
accept_look(struct worker *w)
{
    if (w->accept_watch.ready == NULL || w->draining || stats_writer_overfull(&w->stats))
        return;
    accept_unpark(w);
    for (size_t i = 0; i < w->socket_count && !w->parked; i++)
        (void)accept_batch(&w->sockets[i], true);
}

static void
accept_bell(struct watch *watch, uint32_t events)
{
    (void)events;
    accept_look((struct worker *)((char *)watch - offsetof(struct worker, accept_watch)));
}

int
accept_start(struct worker *w)
{
    struct epoll_event bell = {.events = EPOLLIN | EPOLLET, .data.ptr = &w->accept_watch};

    w->spare_fd = fd_above_standard(open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (size_t i = 0; i < w->socket_count; i++) {
        struct worker_socket *s = &w->sockets[i];

        s->watch.ready = accept_ready;
        if (accept_watch(s) < 0)
            return -1;
    }
    w->accept_watch.ready = accept_bell;
    if (w->child->accept_bell >= 0 &&
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->child->accept_bell, &bell) < 0)
        return -1;
    stats_writer_accepting(&w->stats, true);
    return 0;
}

void
accept_stop(struct worker *w)
{
    stats_writer_accepting(&w->stats, false);
    timer_cancel(&w->wheel, &w->park_timer);
    if (w->child->accept_bell >= 0)
        (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->child->accept_bell, NULL);
    for (size_t i = 0; i < w->socket_count; i++) {
        struct worker_socket *s = &w->sockets[i];

        if (!listen_is_retired(s->fd) || (w->parked && accept_watch(s) < 0))
            accept_let_go(w, s);
        else
            w->lingering++;
    }
    w->parked = true;
    fd_close(&w->spare_fd);
    accept_tell_others(w);
}

void
accept_end(struct worker *w)
{
    for (size_t i = 0; i < w->socket_count; i++)
        accept_let_go(w, &w->sockets[i]);
    w->lingering = 0;
}
