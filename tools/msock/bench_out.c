/* What goes out on a connection of the load. */
#include "bench_load.h"
#include "bench_protocol.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define OUT_SMALL 128u
#define OUT_KEEP  65536u /* a buffer above is not kept between two uses */

void
conn_watch(struct conn *conn, int how, bool out)
{
    struct epoll_event event = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = conn};

    epoll_ctl(conn->load->epoll, how, conn->fd, &event);
    conn->want_out = out;
}

void
conn_want_out(struct conn *conn, bool out)
{
    if (conn->want_out != out)
        conn_watch(conn, EPOLL_CTL_MOD, out);
}

bool
conn_quiet(const struct conn *conn)
{
    return conn->out.sent == conn->out.len + conn->out.data_len;
}

void
conn_out_drop(struct conn *conn)
{
    free(conn->out.buf);
    conn->out = (struct conn_out){.buf = NULL};
}

/* --- putting --- */

static void
out_begin(struct conn *conn)
{
    struct conn_out *out = &conn->out;

    if (conn_quiet(conn))
        out->len = out->data_len = out->sent = 0;
}

static bool
out_reserve(struct conn_out *out, size_t n)
{
    size_t cap = out->cap > 0 ? out->cap : OUT_SMALL;
    uint8_t *grown;

    if (n <= out->cap - out->len)
        return true;
    while (cap < out->len + n)
        cap *= 2;
    grown = realloc(out->buf, cap);
    if (grown == NULL)
        return false;
    out->buf = grown;
    out->cap = cap;
    return true;
}

void
conn_put(struct conn *conn, const void *data, size_t n)
{
    struct conn_out *out = &conn->out;

    out_begin(conn);
    assert(out->data_len == 0);
    if (!out_reserve(out, n)) {
        conn->no_memory = true;
        return;
    }
    memcpy(out->buf + out->len, data, n);
    out->len += n;
}

void
conn_put_data(struct conn *conn, const uint8_t *data, size_t n, bool shared)
{
    out_begin(conn);
    conn->out.data = data;
    conn->out.data_len = n;
    conn->out.shared = shared;
}

/* --- sending --- */

static ssize_t
out_write(struct conn *conn)
{
    struct conn_out *out = &conn->out;
    size_t in_data = out->sent > out->len ? out->sent - out->len : 0;
    size_t buf_sent = out->sent - in_data;
    struct iovec iov[2] = {{out->buf + buf_sent, out->len - buf_sent},
                           {(void *)(out->data + in_data), out->data_len - in_data}};
    struct msghdr header = {.msg_iov = iov, .msg_iovlen = 2};

    if (buf_sent == out->len)
        return send(conn->fd, iov[1].iov_base, iov[1].iov_len, MSG_NOSIGNAL);
    if (out->data_len == 0)
        return send(conn->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
    return sendmsg(conn->fd, &header, MSG_NOSIGNAL);
}

/* Bytes that another connection is about to change: what is left of them is copied. Nothing is put
 * in front of such. */
static bool
out_own(struct conn_out *out)
{
    size_t left = out->data_len - out->sent;

    if (!out->shared || out->data_len == 0)
        return true;
    if (!out_reserve(out, left))
        return false;
    memcpy(out->buf, out->data + out->sent, left);
    out->len = left;
    out->sent = out->data_len = 0;
    return true;
}

/* Returns 1 where all is sent, 0 where the socket takes no more, -1 where the connection is
 * lost. */
static int
out_flush(struct conn *conn)
{
    while (!conn_quiet(conn)) {
        ssize_t n = out_write(conn);

        if (n >= 0) {
            conn->out.sent += (size_t)n;
            conn->counts.bytes_out += (uint64_t)n;
        } else if (errno == EAGAIN && out_own(&conn->out)) {
            return 0;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    if (conn->out.cap > OUT_KEEP)
        conn_out_drop(conn);
    return 1;
}

void
conn_push(struct conn *conn)
{
    const struct bench_protocol *protocol = conn->load->options->protocol;
    bool more = false;
    int flushed;

    do {
        flushed = conn->no_memory ? -1 : out_flush(conn);
        if (flushed > 0 && protocol->sent != NULL)
            more = protocol->sent(conn);
    } while (flushed > 0 && !conn_quiet(conn));
    if (flushed < 0)
        conn_lose(conn, false);
    else
        conn_want_out(conn, flushed == 0 || more);
}

void
conn_push_again(struct conn *conn)
{
    conn->out.sent = 0;
    conn_push(conn);
}
