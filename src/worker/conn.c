#include "worker/conn_state.h"

#include "common/fd.h"
#include "worker/handover.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define MOVE_AGAIN_US 10000   /* how soon to try again to give a connection away */
#define FIRST_WORD_US 1000000 /* for a new connection to send something while we drain */

void
conn_touch(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->is_touched)
        return;
    c->is_touched = true;
    c->next_touched = w->touched;
    w->touched = c;
}

void
conn_read_later(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->is_unread)
        return;
    c->is_unread = true;
    c->next_unread = w->unread;
    w->unread = c;
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

/* The handler is told once, while what it may ask about the connection is still there. */
static void
conn_tell_closed(struct conn *c, bool moved)
{
    struct worker_handler *wh = c->listener->handler;

    if (c->is_opened && wh->ops->conn_closed != NULL)
        wh->ops->conn_closed(wh->handler, c, moved);
    c->is_opened = false;
}

static void
conn_tell_opened(struct conn *c, bool moved)
{
    struct worker_handler *wh = c->listener->handler;

    c->is_opened = true;
    if (wh->ops->conn_opened != NULL)
        wh->ops->conn_opened(wh->handler, c, moved);
}

/* All that it held for its peer and of it. */
static void
conn_forget(struct conn *c)
{
    answers_fini(&c->answers);
    outbox_fini(&c->outbox);
    packet_window_destroy(c->window_held);
    c->window_held = NULL;
    buffer_fini(&c->lookahead);
    message_destroy(c->message);
    c->message = NULL;
}

void
conn_close(struct conn *c)
{
    struct worker *w = conn_worker(c);

    MS_ASSERT(c->phase != CONN_DEAD);
    c->phase = CONN_DEAD;
    timer_cancel(&w->wheel, &c->timer);
    conn_tell_closed(c, false);
    fd_close(&c->fd);
    conn_forget(c);
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
    c->phase_end_us = conn_worker(c)->now_us + CONN_LINGER_US;
    conn_touch(c);
    conn_read_later(c);
}

void
conn_begin_closing(struct conn *c)
{
    if (c->phase != CONN_SERVING)
        return;
    c->phase = CONN_CLOSING;
    message_destroy(c->message);
    c->message = NULL;
    conn_touch(c);
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
    c->proto = listener->proto;
    answers_init(&c->answers);
    outbox_init(&c->outbox);
    buffer_init(&c->lookahead);
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
conn_begin(struct conn *c, const struct proto_ops *proto)
{
    struct worker *w = conn_worker(c);
    struct proto_begin begin = {
        .limits = &c->listener->limits,
        .role = PROTO_SERVER,
        .nonce = worker_nonce(w),
        .now_us = w->now_us,
    };
    struct proto_tally tally = {0};
    struct proto_io io;

    c->proto = proto;
    if (c->slot != NULL)
        atomic_store_explicit(&c->slot->proto, (uint8_t)proto_row(proto), memory_order_relaxed);
    proto->init(&c->state, &begin);
    io = conn_io(c, &tally);
    if (proto->open != NULL)
        proto->open(&c->state, &io);
    conn_count(c, &tally);
}

/* Says no in the connection's protocol, and that is the end of it. */
static void
conn_say_refusal(struct conn *c, const char *code, const char *text)
{
    char line[PROTO_REFUSAL_MAX];
    size_t n = c->proto->refusal(code, text, line);

    conn_add(c, offsetof(struct stats_conn_counters, err), 1);
    answers_append(&c->answers, line, n, true);
    conn_begin_closing(c);
}

void
conn_turn_away(struct conn *c)
{
    conn_say_refusal(c, "busy", "too many connections; try again later");
}

void
conn_refuse(struct worker_listener *listener, int fd, const char *code, const char *text)
{
    struct conn *c = conn_create(listener, fd);

    stats_add(&listener->worker->stats.block->counters.refused, 1);
    conn_begin(c, listener->proto);
    if (c->proto->refusal != NULL)
        conn_say_refusal(c, code, text);
    else
        c->is_turned_away = true; /* when it is known what it speaks */
    if (conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
}

void
conn_adopt(struct worker_listener *listener, int fd, const struct conn_moved *moved)
{
    struct worker *w = listener->worker;
    struct worker_handler *wh = listener->handler;
    struct stats_slot *slot =
        stats_writer_claim(&w->stats, listener->child->stats_id, &moved->peer, moved->began_us);
    struct conn *c;

    if (slot == NULL) {
        fd_close(&fd);
        return;
    }
    c = conn_create(listener, fd);
    c->slot = slot;
    c->proto = moved->proto;
    c->state = *moved->state;
    if (moved->pid != 0)
        stats_writer_peer_pid(slot, moved->pid);
    atomic_store_explicit(&slot->active_us, w->now_us, memory_order_relaxed);
    atomic_store_explicit(&slot->proto, (uint8_t)proto_row(c->proto), memory_order_relaxed);
    stats_add(&w->stats.block->counters.adopted, 1);
    conn_tell_opened(c, true);
    if (wh->ops->conn_adopted != NULL)
        wh->ops->conn_adopted(wh->handler, c, moved->mark, moved->mark_len);
    if (conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
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
    conn_begin(c, listener->proto);
    conn_tell_opened(c, false);
    if (conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
}

/* --- the end of a turn --- */

void
conn_shutdown(struct conn *c)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    c->proto->shutdown(&c->state, &io);
    conn_count(c, &tally);
    conn_begin_closing(c);
}

static bool
conn_between_messages(const struct conn *c)
{
    return c->waiting == 0 && answers_idle(&c->answers) && outbox_idle(&c->outbox) &&
           packet_window_idle(c->window_held) && c->proto->idle(&c->state);
}

/* Connected just now and silent so far: its first message is on its way, most likely. */
static uint64_t
conn_first_word_until(const struct conn *c)
{
    bool silent = c->slot != NULL && atomic_load(&c->slot->counters.bytes_in) == 0;

    return silent ? c->slot->began_us + FIRST_WORD_US : 0;
}

bool
conn_awaits_move(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    return w->draining && !c->is_leaving && !c->peer_done && c->slot != NULL &&
           c->proto->idle(&c->state) && handover_wanted(w, c->listener->handler, c->proto);
}

static enum stats_conn_state
conn_state(const struct conn *c)
{
    if (c->phase != CONN_SERVING)
        return STATS_CONN_CLOSING;
    if (c->waiting > 0)
        return STATS_CONN_COMMITTING;
    return c->proto->idle(&c->state) ? STATS_CONN_IDLE : STATS_CONN_RECEIVING;
}

static uint64_t
conn_deadline(const struct conn *c)
{
    uint64_t first_word = conn_worker(c)->draining ? conn_first_word_until(c) : 0;

    if (c->phase == CONN_LINGERING || c->send_blocked)
        return c->phase_end_us;
    if (c->phase == CONN_SERVING && conn_awaits_move(c) && conn_between_messages(c))
        return conn_worker(c)->now_us + MOVE_AGAIN_US;
    /* Our own time, not the peer's: a commit under way, or answers that leave with this turn. */
    if (c->phase == CONN_CLOSING || c->answers.ready.len > 0 || c->read_paused || c->peer_done)
        return UINT64_MAX;
    if (c->waiting > 0 && c->proto->idle(&c->state))
        return UINT64_MAX;
    if (first_word != 0)
        return first_word;
    return c->proto->deadline(&c->state, &c->listener->limits);
}

/* The connection is between messages and is to end: it can be told to go elsewhere. */
static bool
conn_may_leave(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    if (!conn_between_messages(c))
        return false;
    return c->is_leaving || (w->draining && conn_first_word_until(c) <= w->now_us);
}

static void
conn_leave(struct conn *c)
{
    conn_shutdown(c);
    conn_write(c);
}

/* Gives the connection away; where that has to wait, or cannot be, it stays. */
static void
conn_move(struct conn *c)
{
    switch (handover_give(c)) {
    case HANDOVER_DONE:
        conn_tell_closed(c, true);
        /* Another process has the socket, so closing it here would not end what epoll says of it. */
        (void)epoll_ctl(conn_worker(c)->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        conn_close(c);
        break;
    case HANDOVER_AGAIN:
        break;
    case HANDOVER_NO:
        c->is_leaving = true;
        break;
    }
}

static bool
conn_is_discarding(const struct conn *c)
{
    return c->proto->discarding != NULL && c->proto->discarding(&c->state);
}

/* Sends what is ready and goes on to the phase that follows from it. */
static void
conn_advance(struct conn *c)
{
    if (c->is_overrun) {
        conn_close(c);
        return;
    }
    /* A NACK leaves when all that it drops has been read, or it would drop the answer to it. */
    if (c->answers.ready.len > 0 && !(c->is_unread && conn_is_discarding(c)))
        conn_write(c);
    if (c->phase == CONN_SERVING && c->answers.ended)
        conn_begin_closing(c);
    if (c->phase == CONN_SERVING && conn_awaits_move(c) && conn_between_messages(c))
        conn_move(c);
    else if (c->phase == CONN_SERVING && conn_may_leave(c))
        conn_leave(c);
    if (c->phase == CONN_DEAD || c->answers.ready.len > 0)
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
    /* What came while this worker was held up is not late. */
    if (c->phase == CONN_SERVING && conn_deadline(c) <= w->now_us)
        conn_read(c, true);
    if (c->phase == CONN_DEAD || conn_deadline(c) > w->now_us || conn_may_leave(c))
        return; /* pushed back since, or for conn_finish to deal with */
    if (c->phase != CONN_SERVING || c->send_blocked)
        conn_close(c);
    else
        conn_happened(c, c->proto->expire(&c->state, &io), &io);
    conn_count(c, &tally);
}

void
conn_disconnect(struct conn *c)
{
    c->is_leaving = true;
    conn_touch(c);
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
