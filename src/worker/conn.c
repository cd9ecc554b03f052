#include "worker/conn.h"

#include "common/clock.h"
#include "common/fd.h"
#include "stats/stats_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SHARE      (1024 * 1024) /* bytes of one connection in one turn */
#define WAITING_MAX     1024          /* messages of one connection with their handler */
#define READY_MAX       (256 * 1024)  /* bytes of answers a peer may leave unread */
#define FIRST_WORD_US   1000000       /* for a new connection to send something while we drain */
#define LINGER_US       2000000       /* for a peer to read its last answer */
#define SEND_TIMEOUT_US 60000000      /* for a peer to read any of its answers */

enum conn_phase {
    CONN_SERVING,
    CONN_CLOSING,   /* nothing more is read; the last answers go out */
    CONN_LINGERING, /* all is sent: reading on, so that the peer gets it, until it closes */
    CONN_DEAD,      /* the socket is gone; messages are still with a handler */
};

struct conn {
    struct watch watch;
    struct worker_listener *listener;
    int fd;
    uint8_t phase; /* enum conn_phase */
    bool is_touched;
    bool is_unread;
    bool peer_done;          /* the peer has shut down its writing side */
    bool watches_write;      /* epoll tells when there is room to send */
    bool read_paused;        /* left unread until there is room for its answers again */
    uint32_t waiting;        /* messages with the handler */
    uint32_t window;         /* worker->window when it last sent something */
    struct stats_slot *slot; /* NULL for one that is turned away */
    struct message *message; /* being built */
    struct answers answers;
    struct timer timer;
    uint64_t phase_end_us;     /* closing, lingering, or unsent answers: when patience ends */
    struct conn *next, **link; /* all connections of the worker */
    struct conn *next_touched, *next_unread;
    union proto_state state;
};

static struct worker *
conn_worker(const struct conn *c)
{
    return c->listener->worker;
}

static void
conn_touch(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->is_touched)
        return;
    c->is_touched = true;
    c->next_touched = w->touched;
    w->touched = c;
}

static void
conn_read_later(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->is_unread)
        return;
    c->is_unread = true;
    c->next_unread = w->unread;
    w->unread = c;
}

/* --- counting --- */

static void
conn_add(struct conn *c, size_t cell, uint64_t n)
{
    struct stats_block *block = conn_worker(c)->stats.block;

    if (n == 0)
        return;
    stats_add((_Atomic uint64_t *)((char *)&block->counters + cell), n);
    if (c->slot != NULL)
        stats_add((_Atomic uint64_t *)((char *)&c->slot->counters + cell), n);
}

/* The cells that a connection and its worker both count stand at the same offsets. */
#define X(name, help)                                               \
    static_assert(offsetof(struct stats_conn_counters, name) ==     \
                      offsetof(struct stats_worker_counters, name), \
                  "one offset for both");
STATS_CONN_COUNTERS(X)
#undef X

static void
conn_count(struct conn *c, const struct proto_tally *tally)
{
#define CELL(name) conn_add(c, offsetof(struct stats_conn_counters, name), tally->name)
    CELL(acks);
    CELL(nack1);
    CELL(nack2);
    CELL(rej);
    CELL(err);
    CELL(messages);
    CELL(packets);
#undef CELL
}

static struct proto_io
conn_io(struct conn *c, struct proto_tally *tally)
{
    struct worker *w = conn_worker(c);

    return (struct proto_io){
        .limits = &c->listener->limits,
        .store = &w->store,
        .answers = &c->answers,
        .message = &c->message,
        .tally = tally,
        .now_us = w->now_us,
        .keep_max = c->listener->handler->keep_max,
        .memory_low = w->store.memory_used > w->store.memory_limit / 2,
    };
}

/* --- the end of a connection --- */

static void
conn_free(struct conn *c)
{
    struct worker *w = conn_worker(c);

    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    w->conn_count--;
    free(c);
}

/* The socket is gone. What is in the lists of this turn is freed at its end. */
static void
conn_close(struct conn *c)
{
    struct worker *w = conn_worker(c);

    MS_ASSERT(c->phase != CONN_DEAD);
    c->phase = CONN_DEAD;
    timer_cancel(&w->wheel, &c->timer);
    fd_close(&c->fd);
    answers_fini(&c->answers);
    message_destroy(c->message);
    c->message = NULL;
    if (c->slot != NULL) {
        stats_writer_release(&w->stats, c->slot);
        c->slot = NULL;
    }
    conn_touch(c);
}

/* All is said: waits for the peer to close first, so that no reset destroys what it has not read. */
static void
conn_linger(struct conn *c)
{
    c->phase = CONN_LINGERING;
    if (shutdown(c->fd, SHUT_WR) < 0) {
        conn_close(c);
        return;
    }
    c->phase_end_us = conn_worker(c)->now_us + LINGER_US;
    conn_touch(c);
    conn_read_later(c);
}

/* Nothing more is read; what is ready still goes out. */
static void
conn_begin_closing(struct conn *c)
{
    if (c->phase != CONN_SERVING)
        return;
    c->phase = CONN_CLOSING;
    c->phase_end_us = conn_worker(c)->now_us + LINGER_US;
    message_destroy(c->message);
    c->message = NULL;
    conn_touch(c);
}

/* --- sending --- */

static void
conn_watch_write(struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             .data.ptr = &c->watch};

    if (c->watches_write)
        return;
    c->watches_write = true;
    c->phase_end_us = conn_worker(c)->now_us + SEND_TIMEOUT_US;
    if (epoll_ctl(conn_worker(c)->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
        conn_close(c);
}

static void
conn_write(struct conn *c)
{
    struct buffer *ready = &c->answers.ready;
    ssize_t n;

    while (ready->len > 0) {
        n = send(c->fd, buffer_bytes(ready), ready->len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            conn_watch_write(c);
            return;
        }
        if (n < 0) {
            conn_close(c);
            return;
        }
        conn_add(c, offsetof(struct stats_conn_counters, bytes_out), (uint64_t)n);
        c->phase_end_us = conn_worker(c)->now_us + SEND_TIMEOUT_US;
        buffer_consume(ready, (size_t)n);
    }
    buffer_fini(ready);
}

/* --- receiving --- */

static void
conn_submit(struct conn *c, struct message *m)
{
    struct worker *w = conn_worker(c);
    struct worker_handler *wh = c->listener->handler;

    m->owner = c;
    m->place = NULL;
    c->waiting++;
    wh->submitted++;
    w->submitting = m;
    wh->ops->submit(wh->handler, m);
    if (w->submitting == m)
        m->place = answers_reserve(&c->answers, c->listener->proto->held_len);
    w->submitting = NULL;
}

static void
conn_feed(struct conn *c, const uint8_t *data, size_t n)
{
    const struct proto_ops *proto = c->listener->proto;
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    while (n > 0 && c->phase == CONN_SERVING) {
        struct message *m = NULL;
        size_t used = 0;
        enum proto_event event = proto->feed(&c->state, &io, data, n, &used, &m);

        data += used;
        n -= used;
        switch (event) {
        case PROTO_MORE:
            break;
        case PROTO_FLUSH:
            conn_write(c);
            break;
        case PROTO_MESSAGE:
            conn_submit(c, m);
            break;
        case PROTO_CLOSE:
            conn_begin_closing(c);
            break;
        }
        if (c->answers.ended)
            conn_begin_closing(c);
    }
    conn_count(c, &tally);
}

static void
conn_drained(struct conn *c)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    if (c->phase == CONN_SERVING && c->listener->proto->drained(&c->state, &io) == PROTO_CLOSE)
        conn_begin_closing(c);
    conn_count(c, &tally);
}

/* The peer sends no more: what it left unfinished is dropped, what is being committed is answered. */
static void
conn_peer_done(struct conn *c)
{
    if (c->phase == CONN_LINGERING || (c->waiting == 0 && c->answers.ready.len == 0)) {
        conn_close(c);
        return;
    }
    c->peer_done = true;
    message_destroy(c->message);
    c->message = NULL;
}

static void
conn_mark_busy(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->window == w->window)
        return;
    c->window = w->window;
    w->busy_now++;
}

static bool
conn_wants_bytes(const struct conn *c)
{
    if (c->phase == CONN_LINGERING)
        return true;
    return c->phase == CONN_SERVING && !c->peer_done && c->waiting < WAITING_MAX &&
           c->answers.ready.len < READY_MAX;
}

/* Reads until the socket is empty or the connection has had its share of this turn. to_end: the peer
 * may have closed behind its last bytes, so a short read is not the end. */
static void
conn_read(struct conn *c, bool to_end)
{
    struct worker *w = conn_worker(c);
    size_t share = READ_SHARE;

    conn_touch(c);
    while (conn_wants_bytes(c)) {
        ssize_t n = recv(c->fd, w->read_buf, WORKER_READ_SIZE, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            conn_drained(c);
            return;
        }
        if (n < 0) {
            conn_close(c);
            return;
        }
        if (n == 0) {
            conn_drained(c);
            if (c->phase != CONN_DEAD)
                conn_peer_done(c);
            return;
        }
        conn_mark_busy(c);
        conn_add(c, offsetof(struct stats_conn_counters, bytes_in), (uint64_t)n);
        if (c->slot != NULL)
            atomic_store_explicit(&c->slot->active_us, w->now_us, memory_order_relaxed);
        conn_feed(c, w->read_buf, (size_t)n);
        if (n < WORKER_READ_SIZE && !to_end) {
            conn_drained(c);
            return;
        }
        share -= (size_t)n < share ? (size_t)n : share;
        if (share == 0) {
            conn_read_later(c);
            return;
        }
    }
    /* Left unread on purpose: conn_finish_turn comes back to it when there is room again. */
    if (c->phase == CONN_SERVING && !c->peer_done)
        c->read_paused = true;
}

static void
conn_ready(struct watch *watch, uint32_t events)
{
    struct conn *c = (struct conn *)watch;

    if (c->phase == CONN_DEAD)
        return;
    conn_touch(c);
    if ((events & EPOLLOUT) != 0)
        conn_write(c);
    if (c->phase != CONN_DEAD && (events & ~(uint32_t)EPOLLOUT) != 0)
        conn_read(c, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    if (c->phase != CONN_DEAD && c->answers.ready.len > 0)
        conn_write(c);
}

void
conn_read_unread(struct worker *w)
{
    struct conn *list = w->unread;

    w->unread = NULL;
    while (list != NULL) {
        struct conn *c = list;

        list = c->next_unread;
        c->is_unread = false;
        conn_touch(c);
        if (c->phase != CONN_DEAD)
            conn_read(c, true);
    }
}

/* --- the beginning of a connection --- */

static struct conn *
conn_create(struct worker_listener *listener, int fd)
{
    struct worker *w = listener->worker;
    struct conn *c = ms_calloc(1, sizeof(*c));

    c->watch.ready = conn_ready;
    c->listener = listener;
    c->fd = fd;
    c->window = w->window - 1;
    answers_init(&c->answers);
    c->next = w->conns;
    c->link = &w->conns;
    if (c->next != NULL)
        c->next->link = &c->next;
    w->conns = c;
    w->conn_count++;
    return c;
}

static int
conn_watch(struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = &c->watch};

    return epoll_ctl(conn_worker(c)->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
}

void
conn_refuse(struct worker_listener *listener, int fd, const char *code, const char *text)
{
    struct conn *c = conn_create(listener, fd);
    char line[PROTO_REFUSAL_MAX];
    size_t n = listener->proto->refusal(code, text, line);

    stats_add(&listener->worker->stats.block->counters.refused, 1);
    conn_add(c, offsetof(struct stats_conn_counters, err), 1);
    answers_append(&c->answers, line, n, true);
    conn_begin_closing(c);
    if (conn_watch(c) < 0)
        conn_close(c);
}

/* Who is at the other end of a Unix socket. */
static void
conn_note_pid(struct conn *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
        stats_writer_peer_pid(c->slot, (uint32_t)cred.pid);
}

void
conn_open(struct worker_listener *listener, int fd, const struct endpoint *peer)
{
    struct worker *w = listener->worker;
    struct stats_slot *slot =
        stats_writer_claim(&w->stats, listener->child->stats_id, peer, w->now_us);
    struct conn *c;

    if (slot == NULL) {
        conn_refuse(listener, fd, "busy", "this worker has all the connections it can count");
        return;
    }
    c = conn_create(listener, fd);
    c->slot = slot;
    if (peer->addr.ss_family == AF_UNIX)
        conn_note_pid(c);
    stats_add(&w->stats.block->counters.accepted, 1);
    listener->proto->init(&c->state, &listener->limits, w->now_us);
    if (conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
}

/* --- answers --- */

static void
conn_note_latency(struct worker *w, uint64_t begun_us)
{
    if (w->settled_count == w->settled_cap) {
        w->settled_cap = w->settled_cap != 0 ? w->settled_cap * 2 : 256;
        w->settled_begun = realloc(w->settled_begun, w->settled_cap * sizeof(uint64_t));
        MS_ASSERT(w->settled_begun != NULL);
    }
    w->settled_begun[w->settled_count++] = begun_us;
}

void
conn_settle(struct worker *w, struct message *m, const struct verdict *verdict)
{
    struct conn *c = m->owner;
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    c->waiting--;
    c->listener->handler->submitted--;
    if (w->submitting == m)
        w->submitting = NULL;
    if (c->phase != CONN_DEAD)
        c->listener->proto->settle(&io, m->place, m, verdict);
    else
        tally.messages = verdict->outcome == PROTO_COMMITTED;
    conn_count(c, &tally);
    conn_note_latency(w, m->begun_us);
    message_destroy(m);
    conn_touch(c);
}

void
conn_origin(struct worker *w, const struct message *m, struct message_origin *origin_out)
{
    const struct conn *c = m->owner;
    const struct stats_slot *slot = c->slot;

    w->peer[0] = '\0';
    if (slot != NULL)
        stats_peer_format(slot->family, slot->address, slot->port, w->peer);
    *origin_out = (struct message_origin){
        .listener = c->listener->child->config->name,
        .proto = c->listener->proto->name,
        .peer = w->peer,
    };
}

/* --- the end of a turn --- */

static void
conn_shutdown(struct conn *c)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    c->listener->proto->shutdown(&c->state, &io);
    conn_count(c, &tally);
    conn_begin_closing(c);
}

static bool
conn_between_messages(const struct conn *c)
{
    return c->waiting == 0 && answers_idle(&c->answers) && c->listener->proto->idle(&c->state);
}

/* Connected just now and silent so far: its first message is on its way, most likely. */
static uint64_t
conn_first_word_until(const struct conn *c)
{
    bool silent = c->slot != NULL && atomic_load(&c->slot->counters.bytes_in) == 0;

    return silent ? c->slot->began_us + FIRST_WORD_US : 0;
}

static enum stats_conn_state
conn_state(const struct conn *c)
{
    if (c->phase != CONN_SERVING)
        return STATS_CONN_CLOSING;
    if (c->waiting > 0)
        return STATS_CONN_COMMITTING;
    return c->listener->proto->idle(&c->state) ? STATS_CONN_IDLE : STATS_CONN_RECEIVING;
}

static uint64_t
conn_deadline(const struct conn *c)
{
    uint64_t first_word = conn_worker(c)->draining ? conn_first_word_until(c) : 0;

    if (c->phase != CONN_SERVING || c->answers.ready.len > 0)
        return c->phase_end_us;
    /* Our own time, not the peer's. */
    if (c->read_paused || c->peer_done)
        return UINT64_MAX;
    if (c->waiting > 0 && c->listener->proto->idle(&c->state))
        return UINT64_MAX;
    if (first_word != 0)
        return first_word;
    return c->listener->proto->deadline(&c->state, &c->listener->limits);
}

/* The worker drains, and the connection is between messages: it can be told to go elsewhere. */
static bool
conn_may_leave(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    return w->draining && conn_between_messages(c) && conn_first_word_until(c) <= w->now_us;
}

/* Sends what is ready and goes on to the phase that follows from it. */
static void
conn_advance(struct conn *c)
{
    if (c->answers.ready.len > 0)
        conn_write(c);
    if (c->phase == CONN_SERVING && c->answers.ended)
        conn_begin_closing(c);
    if (c->phase == CONN_SERVING && conn_may_leave(c)) {
        conn_shutdown(c);
        conn_write(c);
    }
    if (c->answers.ready.len > 0)
        return;
    if (c->phase == CONN_CLOSING && c->answers.ended)
        conn_linger(c);
    else if (c->phase == CONN_CLOSING && c->waiting == 0)
        conn_close(c);
    else if (c->phase == CONN_SERVING && c->peer_done && c->waiting == 0)
        conn_close(c);
    if (c->phase == CONN_SERVING && c->read_paused && conn_wants_bytes(c)) {
        c->read_paused = false;
        conn_read_later(c);
    }
}

static void
conn_finish(struct conn *c)
{
    uint64_t deadline;

    if (c->phase != CONN_DEAD)
        conn_advance(c);
    if (c->phase == CONN_DEAD) {
        if (c->waiting == 0 && !c->is_unread && !c->is_touched)
            conn_free(c);
        return;
    }
    if (c->slot != NULL)
        atomic_store_explicit(&c->slot->state, (uint8_t)conn_state(c), memory_order_relaxed);
    deadline = conn_deadline(c);
    if (deadline != UINT64_MAX)
        timer_set(&conn_worker(c)->wheel, &c->timer, deadline);
}

void
conn_finish_turn(struct worker *w)
{
    while (w->touched != NULL) {
        struct conn *c = w->touched;

        w->touched = c->next_touched;
        c->is_touched = false;
        conn_finish(c);
    }
}

void
conn_timer(struct worker *w, struct timer *timer)
{
    struct conn *c = (struct conn *)((char *)timer - offsetof(struct conn, timer));
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    conn_touch(c);
    if (conn_deadline(c) > w->now_us || conn_may_leave(c))
        return; /* pushed back since, or for conn_finish to deal with */
    if (c->phase != CONN_SERVING || c->answers.ready.len > 0)
        conn_close(c);
    else if (c->listener->proto->expire(&c->state, &io) == PROTO_CLOSE)
        conn_begin_closing(c);
    conn_count(c, &tally);
}

/* --- all of them --- */

void
conn_drain_all(struct worker *w, bool force)
{
    for (struct conn *c = w->conns; c != NULL; c = c->next) {
        if (c->phase != CONN_SERVING)
            continue;
        if (force)
            conn_shutdown(c);
        else
            conn_read(c, true); /* a message that is here already is taken */
        conn_touch(c);
    }
}

void
conn_close_all(struct worker *w)
{
    struct conn *next;

    for (struct conn *c = w->conns; c != NULL; c = next) {
        next = c->next;
        if (c->phase != CONN_DEAD)
            conn_close(c);
    }
}
