/* What goes out on a connection of the load: messages ahead, or packet by packet. */
#include "bench_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>

bool
conn_strict(const struct conn *conn)
{
    return conn->load->options->ahead == 0 || conn->load->message->burst == NULL ||
           conn->done_seq < conn->strict_until;
}

static uint64_t *
conn_stamp(const struct conn *conn, uint64_t seq)
{
    uint32_t ahead = conn->load->options->ahead;

    return &conn->stamps[seq % (ahead > 0 ? ahead : 1)];
}

static ssize_t
conn_out_write(struct conn *conn)
{
    struct conn_out *out = &conn->out;
    size_t in_data = out->sent > out->head_len ? out->sent - out->head_len : 0;
    size_t head_sent = out->sent - in_data;
    struct iovec iov[2] = {{out->head + head_sent, out->head_len - head_sent},
                           {(void *)(out->data + in_data), out->data_len - in_data}};
    struct msghdr header = {.msg_iov = iov, .msg_iovlen = 2};

    if (head_sent == out->head_len)
        return send(conn->fd, iov[1].iov_base, iov[1].iov_len, MSG_NOSIGNAL);
    return sendmsg(conn->fd, &header, MSG_NOSIGNAL);
}

/* Messages that differ are built in one place for all connections, so what is left is copied. */
static int
conn_out_own(struct conn *conn)
{
    struct conn_out *out = &conn->out;

    if (out->owned != NULL || out->head_len > 0 || !conn->load->message->unique)
        return 0;
    out->owned = malloc(out->data_len);
    if (out->owned == NULL)
        return -1;
    memcpy(out->owned, out->data, out->data_len);
    out->data = out->owned;
    return 0;
}

void
conn_push(struct conn *conn)
{
    struct conn_out *out = &conn->out;

    while (out->sent < out->head_len + out->data_len) {
        ssize_t n = conn_out_write(conn);

        if (n >= 0) {
            out->sent += (size_t)n;
            conn->counts.bytes_out += (uint64_t)n;
        } else if (errno == EAGAIN && conn_out_own(conn) == 0) {
            if (!conn->want_out)
                conn_watch(conn, EPOLL_CTL_MOD, true);
            return;
        } else if (errno != EINTR) {
            conn_lose(conn, false);
            return;
        }
    }
    free(out->owned);
    out->owned = NULL;
    if (conn->want_out)
        conn_watch(conn, EPOLL_CTL_MOD, false);
}

static void
conn_out_set(struct conn *conn, size_t head_len, const uint8_t *data, size_t data_len)
{
    conn->out.head_len = head_len;
    conn->out.data = data;
    conn->out.data_len = data_len;
    conn->out.sent = 0;
}

void
conn_send_first(struct conn *conn)
{
    const struct bench_message *message = conn->load->message;

    conn->phase = CONN_BODY;
    conn->offset = 0;
    conn->packet_len = message_first_len(message);
    memcpy(conn->out.head, message->first, MESSAGE_FIRST_HEADER);
    conn_out_set(conn, MESSAGE_FIRST_HEADER, message->body, conn->packet_len);
    conn_push(conn);
}

void
conn_send_packet(struct conn *conn, uint32_t grant)
{
    const struct bench_message *message = conn->load->message;
    uint64_t left;

    conn->offset += conn->packet_len;
    left = message->size - conn->offset;
    conn->packet_len = grant - MESSAGE_PACKET_HEADER;
    if (left < conn->packet_len)
        conn->packet_len = (size_t)left;
    message_packet(message, conn->offset, conn->packet_len, conn->out.head);
    conn_out_set(conn, MESSAGE_PACKET_HEADER, message->body + conn->offset, conn->packet_len);
    conn_push(conn);
}

void
conn_send_trailer(struct conn *conn)
{
    size_t n = message_trailer(conn->load->message, conn->index, conn->done_seq, conn->out.head);

    conn->phase = CONN_FINAL;
    conn_out_set(conn, n, NULL, 0);
    conn_push(conn);
}

void
conn_send_again(struct conn *conn)
{
    conn->out.sent = 0;
    conn_push(conn);
}

static void
conn_send_strict(struct conn *conn)
{
    struct load *load = conn->load;

    if (conn->next_seq != conn->done_seq)
        return;
    if (conn->next_seq == conn->begun_seq) {
        if (load_take(load, conn, 1) == 0)
            return;
        *conn_stamp(conn, conn->begun_seq++) = load->now_ns;
    }
    conn->next_seq++;
    conn->heard_ns = load->now_ns;
    conn_send_first(conn);
}

static void
conn_send_burst(struct conn *conn)
{
    struct load *load = conn->load;
    uint32_t in_flight = (uint32_t)(conn->next_seq - conn->done_seq);
    uint32_t count = load_take(load, conn, load->options->ahead - in_flight);
    const uint8_t *data;
    size_t n;

    if (count == 0)
        return;
    if (in_flight == 0)
        conn->heard_ns = load->now_ns;
    n = message_burst(load->message, conn->index, conn->next_seq, count, &data);
    for (uint32_t i = 0; i < count; i++)
        *conn_stamp(conn, conn->next_seq + i) = load->now_ns;
    conn->next_seq += count;
    conn->begun_seq = conn->next_seq;
    conn_out_set(conn, 0, data, n);
    conn_push(conn);
}

void
conn_send(struct conn *conn)
{
    if (conn->state != CONN_UP || conn->out.sent < conn->out.head_len + conn->out.data_len ||
        conn->load->phase == LOAD_CONNECT)
        return;
    if (conn_strict(conn))
        conn_send_strict(conn);
    else
        conn_send_burst(conn);
}
