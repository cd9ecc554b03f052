#include "worker/worker_state.h"

#include "common/fd.h"
#include "worker/conn.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define HANDOVER_MARK_MAX 4096          /* bytes of a handler's own */
#define HANDOVER_REST_MAX (64u * 1024u) /* bytes behind the packet's fixed part */
#define HANDOVER_BATCH    64            /* connections taken in one turn */

/* One packet. Behind it come the handler's bytes, messages that wait for a peer that has not said a
 * word yet, and what the window remembers. Both ends are the same program. */
struct handover_packet {
    uint32_t size; /* of this struct: another build's is not understood */
    uint32_t proto;
    struct endpoint peer;
    uint32_t pid; /* of a peer at a Unix socket; 0: not known */
    uint32_t mark_len, outbox_len, window_len;
    uint32_t stats_id; /* of the listener: several may be called port 0 */
    uint64_t began_us;
    union proto_state state;
    char listener[256];
};

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
           proto->hand_over && (moves || !keeps);
}

/* --- giving --- */

static ssize_t
handover_send(int to, const struct handover_packet *packet, const struct buffer *rest, int fd)
{
    struct iovec iov[2] = {
        {.iov_base = (void *)(uintptr_t)packet, .iov_len = sizeof(*packet)},
        {.iov_base = (void *)(uintptr_t)buffer_bytes(rest), .iov_len = rest->len}};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = 2,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
handover_fill(const struct conn *c, struct handover_packet *packet)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    *packet = (struct handover_packet){
        .size = sizeof(*packet),
        .proto = (uint32_t)proto_row(c->proto),
        .began_us = c->slot->began_us,
        .stats_id = c->listener->child->stats_id,
    };
    packet->state = c->state;
    packet->peer.len = sizeof(packet->peer.addr);
    if (getpeername(c->fd, (struct sockaddr *)&packet->peer.addr, &packet->peer.len) < 0)
        packet->peer.len = 0;
    if (packet->peer.addr.ss_family == AF_UNIX &&
        getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
        packet->pid = (uint32_t)cred.pid;
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

static int
handover_fd(struct msghdr *msg)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(msg);
    int fd = -1;

    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

/* Returns false where there is none. */
static bool
handover_receive(int from, struct handover_packet *packet, uint8_t *rest, int *fd_out)
{
    struct iovec iov[2] = {{.iov_base = packet, .iov_len = sizeof(*packet)},
                           {.iov_base = rest, .iov_len = HANDOVER_REST_MAX}};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = 2,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n <= 0)
        return false;
    *fd_out = handover_fd(&msg);
    if ((size_t)n < sizeof(*packet) || packet->size != sizeof(*packet) ||
        (uint64_t)n !=
            (uint64_t)sizeof(*packet) + packet->mark_len + packet->outbox_len + packet->window_len)
        packet->size = 0;
    return true;
}

/* A row of the statistics may be another listener's by now, so the name has to fit as well. */
static struct worker_listener *
handover_listener(struct worker *w, const struct handover_packet *packet)
{
    for (size_t i = 0; i < w->listener_count; i++) {
        const struct child_listener *child = w->listeners[i].child;

        if (child->stats_id == packet->stats_id &&
            strncmp(child->config->name, packet->listener, sizeof(packet->listener)) == 0)
            return &w->listeners[i];
    }
    return NULL;
}

/* False where there was none. */
static bool
handover_take(struct worker *w)
{
    uint8_t *rest = w->read_buf; /* WORKER_READ_SIZE is more than enough */
    struct handover_packet packet = {0};
    struct worker_listener *listener = NULL;
    const struct proto_ops *proto = NULL;
    int fd = -1;

    static_assert(WORKER_READ_SIZE >= HANDOVER_REST_MAX, "one of them");
    if (!handover_receive(w->child->handover_fds[0], &packet, rest, &fd))
        return false;
    if (packet.size != 0) {
        listener = handover_listener(w, &packet);
        proto = proto_at(packet.proto);
    }
    if (fd >= 0 && listener != NULL && proto != NULL) {
        struct conn_moved moved = {.peer = packet.peer,
                                   .pid = packet.pid,
                                   .began_us = packet.began_us,
                                   .proto = proto,
                                   .state = &packet.state,
                                   .mark = rest,
                                   .mark_len = packet.mark_len,
                                   .outbox = rest + packet.mark_len,
                                   .outbox_len = packet.outbox_len,
                                   .window = rest + packet.mark_len + packet.outbox_len,
                                   .window_len = packet.window_len};

        conn_adopt(listener, fd, &moved);
    } else {
        fd_close(&fd); /* the new configuration has no place for it */
    }
    return true;
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
