/* A connection as a packet. Invariant: no length in a packet is used before it was compared with
 * the packet's own. */
#include "worker/handover_packet.h"

#include "common/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HANDOVER_FDS 2 /* room for one that should not be there */

int
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
    return sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

/* The one descriptor that a packet has; -1 where it has none, or more, which are closed. */
static int
handover_fd(struct msghdr *msg)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(msg);
    int fds[HANDOVER_FDS];
    size_t n;

    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -1;
    n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    MS_ASSERT(n <= HANDOVER_FDS); /* the kernel gives no more than there is room for */
    memcpy(fds, CMSG_DATA(header), n * sizeof(int));
    if (n == 1)
        return fds[0];
    for (size_t i = 0; i < n; i++)
        fd_close(&fds[i]);
    return -1;
}

ssize_t
handover_receive(int from, struct handover_packet *packet, uint8_t *rest, int *fd_out)
{
    struct iovec iov[2] = {{.iov_base = packet, .iov_len = sizeof(*packet)},
                           {.iov_base = rest, .iov_len = HANDOVER_REST_MAX}};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(HANDOVER_FDS * sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = 2,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n < 0)
        return -1;
    *fd_out = handover_fd(&msg);
    if (n > 0 || *fd_out >= 0 || !fd_is_shut(from))
        return n;
    errno = EPIPE;
    return -1;
}

/* Any bytes may stand there: whatever they are, they are some address. */
static struct endpoint
handover_peer(const struct handover_packet *packet)
{
    return endpoint_make(packet->peer_family == STATS_FAMILY_IPV6 ? AF_INET6 : AF_INET,
                         packet->peer_address, packet->peer_port);
}

bool
handover_decode(const struct handover_packet *packet, const uint8_t *rest, size_t n,
                struct conn_moved *moved_out)
{
    const struct proto_ops *proto;

    if (n < sizeof(*packet) || n > sizeof(*packet) + HANDOVER_REST_MAX ||
        packet->size != sizeof(*packet) ||
        n - sizeof(*packet) != (uint64_t)packet->mark_len + packet->outbox_len + packet->window_len)
        return false;
    proto = proto_at(packet->proto);
    if (proto == NULL || proto->adopt == NULL)
        return false;
    *moved_out = (struct conn_moved){.began_us = packet->began_us,
                                     .peer = handover_peer(packet),
                                     .proto = proto,
                                     .state = &packet->state,
                                     .mark = rest,
                                     .mark_len = packet->mark_len,
                                     .outbox = rest + packet->mark_len,
                                     .outbox_len = packet->outbox_len,
                                     .window = rest + packet->mark_len + packet->outbox_len,
                                     .window_len = packet->window_len};
    return true;
}

uint32_t
handover_meaning(const struct listener_config *listener)
{
    uint32_t meaning = listener != NULL ? listener_meaning(listener) : 0;
    char packet[32];

    snprintf(packet, sizeof(packet), HANDOVER_VERSION " %zu", sizeof(struct handover_packet));
    return digest_crc32(meaning, packet, strlen(packet));
}

bool
handover_is_of(const struct handover_packet *packet, uint32_t stats_id, uint32_t meaning,
               const char *name)
{
    return packet->stats_id == stats_id && packet->meaning == meaning &&
           strncmp(name, packet->listener, sizeof(packet->listener)) == 0;
}
