/* Connections that a proxy makes for somebody else (?proxy=required): each waits here until its
 * header is whole, and then comes in as that one's. The header is looked at where it is, and taken
 * out of the socket when it is whole, so whoever reads the connection begins behind it. */
#include "worker/worker_state.h"

#include "common/fd.h"
#include "proto/proxy_header.h"
#include "worker/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PROXIED_US  2000000 /* for the whole header */
#define PROXIED_MAX 1024    /* that wait at a time; more are closed */

struct proxied {
    struct watch watch;
    TAILQ_ENTRY(proxied) link;
    struct worker_listener *listener;
    int fd;
    uint64_t end_us;
    struct endpoint proxy;
};

/* Says why it is closed, in no flood, and closes it. */
static void
proxied_deny(const struct worker_listener *l, int fd, const struct endpoint *proxy, const char *why)
{
    struct worker *w = l->worker;
    char more[WORKER_MORE_LEN], from[ENDPOINT_TEXT_LEN];

    stats_add(&w->stats.block->counters.denied, 1);
    stats_record_peer(&w->stats, STATS_EVENT_turned_away, l->child->stats_id, proxy, w->now_us,
                      "proxy");
    if (worker_may_say(w, more)) {
        endpoint_format(proxy, from);
        log_line(LOG_proxy_refused, "%s: a connection from %s is closed: %s%s",
                 l->child->config->name, from, why, more);
    }
    fd_close(&fd);
}

/* Looks at what has come. PROXY_BAD without a reason where the proxy has ended and said nothing, as
 * it does when it only tries whether we are there. */
static enum proxy_verdict
proxied_look(int fd, bool ended, struct proxy_header *header)
{
    uint8_t bytes[PROXY_HEADER_MAX];
    enum proxy_verdict verdict;
    ssize_t n;

    *header = (struct proxy_header){.why = NULL};
    do {
        n = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PROXY_MORE : PROXY_BAD;
    verdict = proxy_header_read(bytes, (size_t)n, header);
    if (verdict != PROXY_MORE || !ended)
        return verdict;
    header->why = "its PROXY header is cut short";
    return PROXY_BAD;
}

/* It comes in, or is closed. */
static void
proxied_settle(struct worker_listener *l, int fd, const struct endpoint *proxy,
               const struct proxy_header *header)
{
    uint8_t bytes[PROXY_HEADER_MAX];

    if (header->why != NULL)
        proxied_deny(l, fd, proxy, header->why);
    else if (header->len > 0 && recv(fd, bytes, header->len, MSG_DONTWAIT) == (ssize_t)header->len)
        accept_peer(l, fd, &header->peer);
    else
        fd_close(&fd);
}

/* Its descriptor is the caller's. */
static void
proxied_remove(struct proxied *p)
{
    struct worker *w = p->listener->worker;

    (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
    TAILQ_REMOVE(&w->proxied, p, link);
    w->proxied_count--;
    ledger_give(&w->store.ledger, sizeof(*p));
    ledger_give_descriptor(&w->store.ledger);
    free(p);
}

static void
proxied_ready(struct watch *watch, uint32_t events)
{
    struct proxied *p = (struct proxied *)watch, was = *p;
    struct proxy_header header;

    if (proxied_look(p->fd, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0, &header) ==
        PROXY_MORE)
        return;
    proxied_remove(p); /* first: the connection is watched anew */
    proxied_settle(was.listener, was.fd, &was.proxy, &header);
}

/* Edge-triggered: bytes that were looked at stay where they are, and wake nobody again. */
static int
proxied_wait(struct worker_listener *l, int fd, const struct endpoint *proxy)
{
    struct worker *w = l->worker;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    bool room = w->proxied_count < PROXIED_MAX && !ledger_is_crowded(&w->store.ledger);
    struct proxied *p = room ? calloc(1, sizeof(*p)) : NULL;

    if (p == NULL)
        return -1;
    *p = (struct proxied){.watch.ready = proxied_ready,
                          .listener = l,
                          .fd = fd,
                          .end_us = w->now_us + PROXIED_US,
                          .proxy = *proxy};
    ev.data.ptr = &p->watch;
    if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        free(p);
        return -1;
    }
    if (w->proxied_count++ == 0)
        timer_set(&w->wheel, &w->proxied_timer, p->end_us);
    TAILQ_INSERT_TAIL(&w->proxied, p, link);
    ledger_take(&w->store.ledger, sizeof(*p));
    ledger_take_descriptor(&w->store.ledger);
    return 0;
}

void
proxied_begin(struct worker_listener *l, int fd, const struct endpoint *proxy)
{
    const struct source from = source_of_peer(fd, proxy);
    struct proxy_header header;

    if (!source_rules_match(&l->child->config->proxy_from, &from))
        proxied_deny(l, fd, proxy, "it is no proxy of proxy_from");
    else if (proxied_look(fd, false, &header) != PROXY_MORE)
        proxied_settle(l, fd, proxy, &header);
    else if (proxied_wait(l, fd, proxy) < 0)
        proxied_deny(l, fd, proxy, "too many wait for their PROXY header");
}

void
proxied_expire(struct worker *w, bool all)
{
    struct proxied *p;

    while ((p = TAILQ_FIRST(&w->proxied)) != NULL && (all || p->end_us <= w->now_us)) {
        struct proxied was = *p;

        proxied_remove(p);
        proxied_deny(was.listener, was.fd, &was.proxy, "its PROXY header does not come");
    }
    if (p != NULL)
        timer_set(&w->wheel, &w->proxied_timer, p->end_us);
}
