/* The life of a connection: how it begins, becomes another protocol's, moves, and ends. */
#include "worker/conn.h"

#include "common/fd.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CONN_HANDSHAKE_US 10000000 /* for TLS to begin */

#define TO(phase) (1u << CONN_##phase)

/* The phases: the next ones, and how long a phase lasts before the connection is closed. 0: it has
 * no end of its own. A serving connection has its protocol's deadlines (conn_deadline); an overrun
 * one ends with the turn; a closing one waits for our handler. Besides, in each phase, a peer that
 * reads nothing has until send_end_us. */
static const struct {
    unsigned next;
    uint64_t lasts_us;
} phases[CONN_PHASES] = {
    [CONN_HANDSHAKING] = {TO(SERVING) | TO(LINGERING) | TO(DEAD), CONN_HANDSHAKE_US},
    [CONN_SERVING] = {TO(HANDSHAKING) | TO(LEAVING) | TO(TURNED_AWAY) | TO(OVERRUN) | TO(CLOSING) |
                          TO(DEAD),
                      0},
    [CONN_LEAVING] = {TO(OVERRUN) | TO(CLOSING) | TO(DEAD), 0},
    [CONN_TURNED_AWAY] = {TO(CLOSING) | TO(DEAD), CONN_LINGER_US},
    [CONN_OVERRUN] = {TO(DEAD), 0},
    [CONN_CLOSING] = {TO(LINGERING) | TO(DEAD), 0},
    [CONN_LINGERING] = {TO(DEAD), CONN_LINGER_US},
    [CONN_DEAD] = {0, 0},
};

void
conn_enter(struct conn *c, enum conn_phase phase)
{
    struct worker *w = conn_worker(c);
    uint64_t lasts_us = phases[phase].lasts_us;

    MS_ASSERT((phases[c->phase].next & (1u << phase)) != 0);
    c->phase = (uint8_t)phase;
    c->phase_end_us = lasts_us != 0 ? w->now_us + lasts_us : UINT64_MAX;
    conn_touch(c);
}

void
conn_touch(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->is_touched)
        return;
    c->is_touched = true;
    STAILQ_INSERT_TAIL(&w->touched, c, touched);
}

void
conn_read_later(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->is_unread)
        return;
    c->is_unread = true;
    TAILQ_INSERT_TAIL(&w->unread, c, unread);
}

void
conn_pause(struct conn *c)
{
    struct worker *w = conn_worker(c);

    w->paused_by_memory |= ledger_is_full(&w->store.ledger);
    w->paused_by_scarcity |= ledger_is_scarce(&w->store.ledger);
    w->paused_by_files |= ledger_is_out_of_files(&w->store.ledger);
    if (c->read_paused)
        return;
    c->read_paused = true;
    TAILQ_INSERT_TAIL(&w->paused, c, paused);
}

void
conn_resume(struct conn *c)
{
    if (c->read_paused)
        TAILQ_REMOVE(&conn_worker(c)->paused, c, paused);
    c->read_paused = false;
}

void
conn_set_unknown(struct conn *c, bool is_unknown)
{
    struct worker *w = conn_worker(c);

    if (c->is_unknown == is_unknown)
        return;
    c->is_unknown = is_unknown;
    if (is_unknown)
        TAILQ_INSERT_TAIL(&w->unknown, c, unknown);
    else
        TAILQ_REMOVE(&w->unknown, c, unknown);
}

/* --- the end of a connection --- */

void
conn_free(struct conn *c)
{
    struct worker *w = conn_worker(c);

    MS_ASSERT(c->phase == CONN_DEAD && c->waiting == 0 && !c->is_touched && !c->is_unread);
    MS_ASSERT(c->fd < 0 && c->slot == NULL && !c->is_opened);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    w->conn_count--;
    w->refused -= c->is_refused;
    free(c->identity);
    ledger_give_standing(&w->store.ledger, sizeof(*c));
    free(c);
}

/* The handler is told once, while it can still ask about the connection. */
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
    (void)conn_is_starved(c);
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
    conn_set_unknown(c, false);
    buffer_fini(&c->unfed);
    message_destroy(c->message);
    c->message = NULL;
}

void
conn_close(struct conn *c)
{
    struct worker *w = conn_worker(c);

    conn_leave_tls(c);
    conn_enter(c, CONN_DEAD);
    timer_cancel(&w->wheel, &c->timer);
    conn_resume(c);
    conn_tell_closed(c, false);
    conn_end_tls(c);
    fd_close(&c->fd);
    ledger_give_descriptor(&w->store.ledger);
    conn_forget(c);
    conn_source_end(w, &c->source);
    if (c->slot != NULL) {
        conn_record(c, STATS_EVENT_closed, 0, NULL);
        stats_writer_release(&w->stats, c->slot);
        c->slot = NULL;
    }
}

void
conn_close_in_order(struct conn *c)
{
    if (c->tls != NULL)
        tls_shutdown(c->tls);
    conn_close(c);
}

void
conn_linger(struct conn *c)
{
    conn_enter(c, CONN_LINGERING);
    if (c->tls != NULL)
        tls_shutdown(c->tls);
    if (shutdown(c->fd, SHUT_WR) < 0)
        conn_close(c);
    else
        conn_read_later(c);
}

void
conn_begin_closing(struct conn *c)
{
    if (!conn_is_reading(c))
        return;
    conn_enter(c, CONN_CLOSING);
    buffer_fini(&c->lookahead);
    conn_set_unknown(c, false);
    message_destroy(c->message);
    c->message = NULL;
}

void
conn_move(struct conn *c)
{
    switch (handover_give(c)) {
    case HANDOVER_DONE:
        conn_record(c, STATS_EVENT_moved, 0, NULL);
        conn_tell_closed(c, true);
        /* Another process has the socket, so closing it here would not end what epoll says of
         * it. */
        (void)epoll_ctl(conn_worker(c)->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        conn_close(c);
        break;
    case HANDOVER_AGAIN:
        break;
    case HANDOVER_NO:
        conn_enter(c, CONN_LEAVING);
        break;
    }
}

void
conn_shutdown(struct conn *c)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    c->proto->shutdown(&c->state, &io);
    conn_count(c, &tally);
    conn_begin_closing(c);
}

void
conn_disconnect(struct conn *c)
{
    if (c->phase == CONN_SERVING)
        conn_enter(c, CONN_LEAVING);
}

/* --- the beginning of a connection --- */

/* NULL where there is no memory; the descriptor is the caller's still. */
static struct conn *
conn_create(struct worker_listener *listener, int fd)
{
    struct worker *w = listener->worker;
    struct ledger *ledger = &w->store.ledger;
    struct conn *c = ms_calloc(1, sizeof(*c));

    ms_memory_forget(); /* nobody else's connection is hurt */
    if (c == NULL)
        return NULL;
    c->watch.ready = conn_ready;
    c->listener = listener;
    c->fd = fd;
    c->phase = CONN_SERVING;
    c->phase_end_us = UINT64_MAX;
    c->window = w->window - 1;
    c->read_size = CONN_READ_FIRST;
    c->proto = listener->proto;
    ledger_take_standing(ledger, sizeof(*c));
    ledger_take_descriptor(ledger);
    answers_init(&c->answers, ledger);
    outbox_init(&c->outbox, ledger);
    buffer_init_in(&c->lookahead, ledger);
    buffer_init_in(&c->unfed, ledger);
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

static void
conn_init_state(struct conn *c, const struct proto_ops *proto)
{
    struct worker *w = conn_worker(c);
    struct proto_begin begin = {
        .limits = &c->listener->limits,
        .role = PROTO_SERVER,
        .nonce = worker_nonce(w),
        .now_us = w->now_us,
    };

    c->proto = proto;
    if (c->slot != NULL)
        atomic_store_explicit(&c->slot->proto, (uint8_t)proto_row(proto), memory_order_relaxed);
    proto->init(&c->state, &begin);
}

void
conn_begin(struct conn *c, const struct proto_ops *proto)
{
    struct proto_tally tally = {0};
    struct proto_io io;

    conn_init_state(c, proto);
    io = conn_io(c, &tally);
    if (proto->open != NULL)
        proto->open(&c->state, &io);
    conn_count(c, &tally);
}

/* No, in the words of a protocol; 0: it has none. */
static size_t
refusal_line(const struct proto_ops *proto, const struct conn_refusal *why, uint32_t wait_s,
             char line[PROTO_REFUSAL_MAX])
{
    char text[128];

    if (proto->refusal == NULL)
        return 0;
    snprintf(text, sizeof(text), "%s", why->text);
    if (wait_s > 0)
        snprintf(text, sizeof(text), "%s in %u seconds", why->text, (unsigned)wait_s);
    return proto->refusal(why->code, text, line);
}

void
conn_turn_away(struct conn *c)
{
    char line[PROTO_REFUSAL_MAX];
    size_t n = refusal_line(c->proto, c->refusal, c->refusal_wait_s, line);

    CONN_ADD(c, err, 1);
    answers_append(&c->answers, line, n, true);
    conn_begin_closing(c);
}

void
conn_expel(struct conn *c, const struct conn_refusal *why, uint32_t wait_s)
{
    conn_record(c, STATS_EVENT_turned_away, 0, why->code);
    c->refusal = why;
    c->refusal_wait_s = wait_s;
    if (c->proto->refusal != NULL)
        conn_turn_away(c);
    else
        conn_begin_closing(c);
}

void
conn_refuse_at_once(const struct worker_listener *listener, int fd, const struct conn_refusal *why,
                    uint32_t wait_s)
{
    struct worker *w = listener->worker;
    char line[PROTO_REFUSAL_MAX];
    size_t n = refusal_line(listener->proto, why, wait_s, line);

    /* Reads bytes that were sent already, so that the close is no reset that destroys the answer;
     * but no more than once, since a peer may send as fast as this reads. */
    (void)recv(fd, w->read_buf, WORKER_READ_SIZE, MSG_DONTWAIT);
    if (listener->tls == NULL) /* else it would be no word of TLS */
        (void)send(fd, line, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    stats_add(&w->stats.block->counters.refused, 1);
    stats_add(&w->stats.block->counters.err, 1);
    fd_close(&fd);
}

void
conn_refuse(struct worker_listener *listener, int fd, const struct conn_refusal *why,
            uint32_t wait_s)
{
    struct worker *w = listener->worker;
    bool may_wait = w->refused < w->refused_max && listener->tls == NULL;
    struct conn *c = may_wait ? conn_create(listener, fd) : NULL;

    if (c == NULL) {
        conn_refuse_at_once(listener, fd, why, wait_s);
        return;
    }
    stats_add(&w->stats.block->counters.refused, 1);
    c->is_refused = true;
    w->refused++;
    c->refusal = why;
    c->refusal_wait_s = wait_s;
    conn_begin(c, listener->proto);
    if (c->proto->refusal != NULL)
        conn_turn_away(c);
    else
        conn_enter(c, CONN_TURNED_AWAY); /* until it is known what it speaks */
    if (conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
}

/* Whose connection it is, as the kernel says, or else its proxy: its slot (NULL: there is none
 * left) and its source. */
static void
conn_claim(struct conn *c, const struct conn_moved *moved)
{
    struct worker *w = conn_worker(c);
    struct endpoint peer = {.len = sizeof(peer.addr)};
    struct source source = {.kind = SOURCE_NONE};

    if (listener_is_proxied(c->listener->child->config))
        peer = moved->peer;
    else if (getpeername(c->fd, (struct sockaddr *)&peer.addr, &peer.len) < 0)
        peer = (struct endpoint){0}; /* gone meanwhile */
    endpoint_unmap(&peer);
    if (peer.len > 0)
        source = source_of_peer(c->fd, &peer);
    c->slot = stats_writer_claim(&w->stats, c->listener->child->stats_id, &peer,
                                 proto_moved_time(moved->began_us, w->now_us));
    (void)conn_source_begin(w, &source, &c->source); /* it was let in when it came */
}

/* What another worker remembered of it. False where that makes no sense. */
static bool
conn_take_memory(struct conn *c, const struct conn_moved *moved)
{
    conn_init_state(c, moved->proto);
    if (!moved->proto->adopt(&c->state, moved->state))
        return false;
    if (moved->window_len > 0)
        c->window_held =
            packet_window_restore(&conn_worker(c)->store, moved->window, moved->window_len);
    return outbox_restore(&c->outbox, &conn_worker(c)->store, moved->outbox, moved->outbox_len) ==
           0;
}

void
conn_adopt(struct worker_listener *listener, int fd, const struct conn_moved *moved)
{
    struct worker *w = listener->worker;
    struct worker_handler *wh = listener->handler;
    struct conn *c = conn_create(listener, fd);

    if (c == NULL) {
        handover_say_ended(w, listener->child->config->name, "there is no memory");
        fd_close(&fd);
        return;
    }
    conn_claim(c, moved);
    if (!conn_take_memory(c, moved)) {
        handover_say_ended(w, listener->child->config->name, "it makes no sense");
        conn_close(c);
        conn_touch(c);
        return;
    }
    if (c->slot == NULL) {
        handover_say_ended(w, listener->child->config->name, "the worker has all it can count");
        stats_add(&w->stats.block->counters.refused, 1);
        conn_shutdown(c);
        if (conn_watch(c) < 0)
            conn_close(c);
        return;
    }
    conn_note_user(c);
    atomic_store_explicit(&c->slot->active_us, w->now_us, memory_order_relaxed);
    stats_add(&w->stats.block->counters.adopted, 1);
    conn_record(c, STATS_EVENT_adopted, 0, NULL);
    conn_tell_opened(c, true);
    if (wh->ops->conn_adopted != NULL)
        wh->ops->conn_adopted(wh->handler, c, moved->mark, moved->mark_len);
    if (conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
}

void
conn_start(struct conn *c)
{
    conn_begin(c, c->listener->proto);
    conn_tell_opened(c, false);
}

static const struct conn_refusal no_slot = {
    .code = "busy",
    .text = "this worker has all the connections it can count",
};

void
conn_open(struct worker_listener *listener, int fd, const struct endpoint *peer,
          const struct conn_source *source)
{
    struct worker *w = listener->worker;
    struct stats_slot *slot =
        stats_writer_claim(&w->stats, listener->child->stats_id, peer, w->now_us);
    struct conn_source counted = *source;
    struct conn *c;

    if (slot == NULL) {
        conn_source_end(w, &counted);
        stats_record_peer(&w->stats, STATS_EVENT_turned_away, listener->child->stats_id, peer,
                          w->now_us, no_slot.code);
        conn_refuse(listener, fd, &no_slot, 0);
        return;
    }
    c = conn_create(listener, fd);
    if (c == NULL) {
        conn_source_end(w, &counted);
        stats_writer_release(&w->stats, slot);
        stats_add(&w->stats.block->counters.refused, 1);
        fd_close(&fd);
        return;
    }
    c->slot = slot;
    c->source = counted;
    conn_note_user(c);
    stats_add(&w->stats.block->counters.accepted, 1);
    conn_record(c, STATS_EVENT_accepted, 0, NULL);
    conn_init_state(c, listener->proto);
    if (listener->tls == NULL)
        conn_start(c);
    if ((listener->tls != NULL && conn_begin_tls(c) < 0) || conn_watch(c) < 0)
        conn_close(c);
    conn_touch(c);
    if (c->phase == CONN_HANDSHAKING) /* its first word is there already, most likely */
        conn_ready(&c->watch, 0);
}
