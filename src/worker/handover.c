#include "worker/worker_state.h"

#include "common/fd.h"
#include "worker/conn.h"
#include "worker/handover_packet.h"

#include <errno.h>
#include <sys/epoll.h>

#define HANDOVER_MARK_MAX 4096 /* bytes of a handler's own */
#define HANDOVER_BATCH    64   /* connections taken in one turn */

/* There are newer workers than this one. */
static bool
handover_is_old(const struct worker *w)
{
    return atomic_load_explicit(&w->stats.control->generation, memory_order_acquire) >
           w->child->generation;
}

/* The new configuration has that listener as well. */
static bool
handover_has_place(const struct worker_listener *listener)
{
    const struct stats_control *control = listener->worker->stats.control;
    const struct stats_listener *row = &control->listener[listener->child->stats_id];

    return atomic_load_explicit(&row->active, memory_order_acquire) != 0;
}

bool
handover_wanted(const struct worker_listener *listener, const struct proto_ops *proto)
{
    const struct worker *w = listener->worker;
    const struct worker_handler *wh = listener->handler;
    bool keeps = wh->ops->conn_opened != NULL;
    bool moves = wh->ops->may_move || (wh->ops->moves != NULL && wh->ops->moves(wh->handler));

    return w->child->handover_fds[1] >= 0 && handover_is_old(w) && handover_has_place(listener) &&
           proto->adopt != NULL && (moves || !keeps);
}

/* --- giving --- */

static void
handover_fill(const struct conn *c, struct handover_packet *packet)
{
    memset(packet, 0, sizeof(*packet)); /* what lies between the members as well */
    packet->size = sizeof(*packet);
    packet->proto = (uint32_t)proto_row(c->proto);
    packet->began_us = c->slot->began_us;
    packet->stats_id = c->listener->child->stats_id;
    packet->state = c->state;
}

static void
handover_fill_rest(struct conn *c, struct handover_packet *packet, struct buffer *rest)
{
    struct worker_handler *wh = c->listener->handler;

    if (wh->ops->conn_moving != NULL) {
        char *mark = buffer_reserve(rest, HANDOVER_MARK_MAX);

        packet->mark_len = (uint32_t)wh->ops->conn_moving(wh->handler, c, mark, HANDOVER_MARK_MAX);
        buffer_added(rest, packet->mark_len);
    }
    outbox_save(&c->outbox, rest);
    packet->outbox_len = rest->len - packet->mark_len;
    packet_window_save(c->window_held, rest);
    packet->window_len = rest->len - packet->mark_len - packet->outbox_len;
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
    handover_fill_rest(c, &packet, &rest);
    if (rest.len > HANDOVER_REST_MAX)
        given = HANDOVER_NO;
    else if (handover_send(w->child->handover_fds[1], &packet, &rest, c->fd) >= 0)
        given = HANDOVER_DONE;
    /* The queue is full, or too many descriptors are on their way. */
    else if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ETOOMANYREFS)
        given = HANDOVER_AGAIN;
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

        if (handover_is_of(packet, child->stats_id, child->config->name) &&
            (listener->proto == proto || listener->proto == &auto_protocol))
            return listener;
    }
    return NULL;
}

/* False where there was none. */
static bool
handover_take(struct worker *w)
{
    uint8_t *rest = w->read_buf; /* WORKER_READ_SIZE is more than enough */
    struct worker_listener *listener = NULL;
    struct handover_packet packet;
    struct conn_moved moved;
    int fd = -1;
    size_t n = handover_receive(w->child->handover_fds[0], &packet, rest, &fd);

    static_assert(WORKER_READ_SIZE >= HANDOVER_REST_MAX, "one of them");
    if (fd >= 0 && handover_decode(&packet, rest, n, &moved))
        listener = handover_listener(w, &packet, moved.proto);
    if (listener != NULL && fd_set_nonblock(fd, 1) == 0)
        conn_adopt(listener, fd, &moved);
    else
        fd_close(&fd); /* the new configuration has no place for it, or it makes no sense */
    return n > 0;
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
    for (int i = 0; i < HANDOVER_BATCH; i++)
        if (!handover_take(w))
            return;
}

int
handover_start(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &w->handover_watch};

    if (w->child->handover_fds[0] < 0)
        return 0;
    w->handover_watch.ready = handover_ready;
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->child->handover_fds[0], &ev);
}

void
handover_stop(struct worker *w)
{
    if (w->child->handover_fds[0] >= 0)
        (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->child->handover_fds[0], NULL);
}
