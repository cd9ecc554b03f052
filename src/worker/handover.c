/* Gives connections away when this worker leaves, and takes those of workers that leave.
 * Invariant: a connection goes on only at a listener that reads its bytes in the same way. */
#include "worker/worker_state.h"

#include "common/fd.h"
#include "common/log.h"
#include "worker/conn.h"
#include "worker/handover_packet.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDOVER_MARK_MAX 4096 /* bytes of a handler's own */
#define HANDOVER_BATCH    64   /* connections taken in one turn */

/* A worker without room for a descriptor leaves connections to others and looks again after
 * HANDOVER_WAIT_US. What nobody has taken for HANDOVER_MAX_US is told that it has to go. */
#define HANDOVER_WAIT_US 50000
#define HANDOVER_MAX_US  2000000

/* There are newer workers than this one. */
static bool
handover_is_old(const struct worker *w)
{
    return atomic_load_explicit(&w->stats.control->generation, memory_order_acquire) >
           w->child->generation;
}

/* The new configuration has that listener as well, and reads the bytes of its connections in the
 * same way. */
static bool
handover_has_place(const struct worker_listener *listener)
{
    const struct stats_control *control = listener->worker->stats.control;
    const struct stats_listener *row = &control->listener[listener->child->stats_id];

    return atomic_load_explicit(&row->active, memory_order_acquire) != 0 &&
           atomic_load_explicit(&row->meaning, memory_order_relaxed) == listener->meaning;
}

bool
handover_wanted(const struct worker_listener *listener, const struct proto_ops *proto)
{
    const struct worker *w = listener->worker;
    const struct worker_handler *wh = listener->handler;
    bool moves =
        wh->ops->moves != NULL ? wh->ops->moves(wh->handler) : wh->ops->conn_opened == NULL;

    return w->child->handover_fds[1] >= 0 && handover_is_old(w) && handover_has_place(listener) &&
           proto->adopt != NULL && listener->tls == NULL && moves;
}

/* One worker can end the socket for all: it would be ready for ever. */
static void
handover_lost(struct worker *w)
{
    if (!w->handover_is_lost)
        log_line(LOG_handover_lost,
                 "the socket through which connections move was shut down: at the next reload "
                 "they end instead, and its workers get a new one");
    w->handover_is_lost = true;
    handover_stop(w);
}

/* --- giving --- */

static void
handover_fill(const struct conn *c, struct handover_packet *packet)
{
    memset(packet, 0, sizeof(*packet)); /* what lies between the members as well */
    packet->size = sizeof(*packet);
    packet->proto = (uint32_t)proto_row(c->proto);
    packet->began_us = c->slot->began_us;
    packet->peer_family = c->slot->family;
    packet->peer_port = c->slot->port;
    memcpy(packet->peer_address, c->slot->address, sizeof(packet->peer_address));
    packet->stats_id = c->listener->child->stats_id;
    packet->meaning = c->listener->meaning;
    packet->state = c->state;
}

/* Returns 0, or -1 where a message that waits cannot be read. */
static int
handover_fill_rest(struct conn *c, struct handover_packet *packet, struct buffer *rest)
{
    struct worker_handler *wh = c->listener->handler;

    if (wh->ops->conn_moving != NULL) {
        char *mark = buffer_reserve(rest, HANDOVER_MARK_MAX);

        packet->mark_len = (uint32_t)wh->ops->conn_moving(wh->handler, c, mark, HANDOVER_MARK_MAX);
        buffer_added(rest, packet->mark_len);
    }
    if (outbox_save(&c->outbox, rest) < 0)
        return -1;
    packet->outbox_len = rest->len - packet->mark_len;
    packet_window_save(c->window_held, rest);
    packet->window_len = rest->len - packet->mark_len - packet->outbox_len;
    return 0;
}

enum handover
handover_give(struct conn *c)
{
    const struct worker *w = conn_worker(c);
    const char *name = c->listener->child->config->name;
    struct handover_packet packet;
    enum handover given = HANDOVER_NO;
    struct buffer rest;

    if (strlen(name) >= sizeof(packet.listener) || c->outbox.bytes > HANDOVER_REST_MAX / 2)
        return HANDOVER_NO;
    buffer_init(&rest);
    handover_fill(c, &packet);
    memcpy(packet.listener, name, strlen(name));
    if (handover_fill_rest(c, &packet, &rest) < 0 || rest.len > HANDOVER_REST_MAX)
        given = HANDOVER_NO;
    else if (handover_send(w->child->handover_fds[1], &packet, &rest, c->fd) >= 0)
        given = HANDOVER_DONE;
    /* The queue is full, or too many descriptors are on their way. */
    else if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ETOOMANYREFS)
        given = HANDOVER_AGAIN;
    else if (errno == EPIPE)
        handover_lost(conn_worker(c));
    buffer_fini(&rest);
    return given;
}

/* --- taking --- */

/* The listener here that such a connection belongs to; NULL: there is none. */
static struct worker_listener *
handover_listener(struct worker *w, const struct handover_packet *packet,
                  const struct proto_ops *proto)
{
    for (size_t i = 0; i < w->listener_count; i++) {
        struct worker_listener *listener = &w->listeners[i];
        const struct child_listener *child = listener->child;

        if (handover_is_of(packet, child->stats_id, w->listeners[i].meaning, child->config->name) &&
            (listener->proto == proto || listener->proto == &auto_protocol))
            return listener;
    }
    return NULL;
}

/* Is there room for a connection? One that comes without room for its descriptor is closed by the
 * kernel, unseen. */
static bool
handover_has_room(const struct worker *w)
{
    int fd = fcntl(w->epoll_fd, F_DUPFD_CLOEXEC, 0);
    bool room = fd >= 0 && !ledger_is_crowded(&w->store.ledger) &&
                !ledger_is_fully_occupied(&w->store.ledger);

    fd_close(&fd);
    return room;
}

void
handover_say_ended(struct worker *w, const char *name, const char *why)
{
    char more[WORKER_MORE_LEN];

    if (worker_may_say(w, more))
        log_line(LOG_handover_ended, "%.255s: a connection that was to move here has ended: %s%s",
                 name, why, more);
}

/* The peer hears what it would hear without a successor. */
static void
handover_turn_away(struct worker *w, const char *name, const struct conn_moved *moved, int fd,
                   const char *why)
{
    char line[PROTO_REFUSAL_MAX];
    size_t n = 0;

    if (moved->proto->refusal != NULL)
        n = moved->proto->refusal("shutdown", "the server leaves; connect again", line);
    (void)send(fd, line, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    handover_say_ended(w, name, why);
    stats_add(&w->stats.block->counters.refused, 1);
    stats_add(&w->stats.block->counters.err, 1);
}

/* False where there was none. With room, the connection goes on here. */
static bool
handover_take(struct worker *w, bool room)
{
    uint8_t *rest = w->read_buf; /* WORKER_READ_SIZE is more than enough */
    struct worker_listener *listener = NULL;
    struct handover_packet packet;
    struct conn_moved moved;
    int fd = -1;
    ssize_t n = handover_receive(w->child->handover_fds[0], &packet, rest, &fd);

    static_assert(WORKER_READ_SIZE >= HANDOVER_REST_MAX, "one of them");
    if (n < 0) {
        if (errno == EPIPE)
            handover_lost(w);
        return false;
    }
    if (fd < 0 || !handover_decode(&packet, rest, (size_t)n, &moved))
        handover_say_ended(w, "(no listener)", "it makes no sense");
    else if ((listener = handover_listener(w, &packet, moved.proto)) == NULL)
        handover_turn_away(w, packet.listener, &moved, fd, "its listener is gone");
    else if (!room || fd_set_nonblock(fd) < 0)
        handover_turn_away(w, listener->child->config->name, &moved, fd, "there is no room");
    else
        conn_adopt(listener, fd_steal(&fd), &moved);
    fd_close(&fd);
    return true;
}

static int
handover_watch(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &w->handover_watch};

    if (w->handover_is_lost)
        return 0;
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->child->handover_fds[0], &ev);
}

/* Leaves connections to others for a while, or, when nobody takes them, turns some away. */
static void
handover_without_room(struct worker *w)
{
    if (w->handover_full_us == 0)
        w->handover_full_us = w->now_us;
    if (w->now_us >= w->handover_full_us + HANDOVER_MAX_US) {
        fd_close(&w->spare_fd);
        for (int i = 0; i < HANDOVER_BATCH && handover_take(w, false); i++)
            ;
        w->spare_fd = fd_above_standard(open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    handover_stop(w);
    timer_set(&w->wheel, &w->handover_timer, w->now_us + HANDOVER_WAIT_US);
}

void
handover_again(struct worker *w)
{
    if (!w->draining && handover_watch(w) < 0)
        log_line(LOG_handover_stopped, "connections cannot move here any more: %s",
                 strerror(errno));
}

static void
handover_ready(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, handover_watch));

    (void)events;
    if (handover_is_old(w)) {
        handover_stop(w); /* to be told to leave in a moment; the new workers are woken as well */
        return;
    }
    for (int i = 0; i < HANDOVER_BATCH; i++) {
        if (!handover_has_room(w)) {
            handover_without_room(w);
            return;
        }
        w->handover_full_us = 0;
        if (!handover_take(w, true))
            return;
    }
}

int
handover_start(struct worker *w)
{
    if (w->child->handover_fds[0] < 0)
        return 0;
    w->handover_watch.ready = handover_ready;
    return handover_watch(w);
}

void
handover_stop(struct worker *w)
{
    timer_cancel(&w->wheel, &w->handover_timer);
    if (w->child->handover_fds[0] >= 0)
        (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->child->handover_fds[0], NULL);
}
