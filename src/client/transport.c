/* Sockets for the client. Everything waits against a deadline; EINTR never reaches the caller,
 * since a host program may use signals as it likes. */
#include "client/peer.h"

#include "common/dial.h"
#include "common/fd.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHUT_US 2000000 /* for the end to be said */

void
transport_init(struct transport *t, struct waiter *waiter)
{
    memset(t, 0, sizeof(*t));
    t->fd = -1;
    t->waiter = waiter;
}

static void
transport_end_tls(struct transport *t)
{
    tls_session_destroy(t->tls);
    t->tls = NULL;
}

void
transport_forget_others(struct transport *t)
{
    if (t->fd >= 0 && t->owner != getpid()) {
        transport_end_tls(t);
        fd_close(&t->fd);
    }
}

/* --- a peer whose machine is gone, and cannot say so --- */

/* While nothing is on its way, only probes find it out: the connection ends after 10 s and 6 of
 * them, 40 s in all. Not TCP_USER_TIMEOUT: that would also end a connection whose peer lives and
 * does not read. */
static void
keep_alive(int fd)
{
    static const int on = 1, idle_s = 10, every_s = 5, probes = 6;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

/* What is on its way has been sent again so often without an answer of the other kernel: for about
 * half a minute. There are no probes then, and TCP itself would try for a quarter of an hour. */
#define GONE_TRIES   7
#define GONE_LOOK_US 5000000

static bool
transport_is_gone(const struct transport *t)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    return getsockopt(t->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_unacked > 0 &&
           info.tcpi_retransmits >= GONE_TRIES;
}

void
transport_take(struct transport *t, int fd)
{
    MS_ASSERT(t->fd == -1);
    t->fd = fd;
    t->owner = getpid();
    t->error = 0;
    t->why[0] = '\0';
    t->is_untrusted = false;
    t->is_gone = false;
    keep_alive(fd);
}

void
transport_close(struct transport *t)
{
    if (t->tls != NULL)
        tls_shutdown(t->tls);
    transport_end_tls(t);
    fd_close(&t->fd);
}

void
transport_reset(struct transport *t)
{
    transport_end_tls(t);
    dial_reset(&t->fd);
}

/* The word of TLS for the end needs room in the kernel: without it the server would have to take
 * the end for a cut. */
void
transport_shut(struct transport *t)
{
    if (t->tls != NULL) {
        (void)transport_wait(t, POLLOUT, clock_mono_us() + SHUT_US);
        tls_shutdown(t->tls);
    }
    (void)shutdown(t->fd, SHUT_WR);
}

static void
iov_advance(struct iovec **iov, int *count, size_t n)
{
    while (*count > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

static enum transport_io
transport_failed(struct transport *t)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return TRANSPORT_WAIT;
    t->error = errno;
    if (t->tls != NULL && errno == EPROTO) {
        snprintf(t->why, sizeof(t->why), "%s", tls_error(t->tls));
        t->is_untrusted = tls_is_untrusted(t->tls);
    }
    return TRANSPORT_LOST;
}

int
transport_secure(struct transport *t, const struct tls_context *context, const char *name,
                 uint64_t deadline_us)
{
    t->tls = tls_session_create(context, t->fd, name);
    if (t->tls == NULL) {
        errno = ENOMEM;
        return -1;
    }
    while (tls_handshake(t->tls) < 0) {
        if (transport_failed(t) == TRANSPORT_LOST)
            return -1;
        if (!transport_wait(t, tls_wants_write(t->tls) ? POLLOUT : POLLIN, deadline_us)) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (t->waiter->is_ended) {
            errno = ECANCELED;
            return -1;
        }
    }
    return 0;
}

enum transport_io
transport_send(struct transport *t, struct iovec **iov, int *count)
{
    struct msghdr msg = {.msg_iov = *iov, .msg_iovlen = (size_t)*count};
    ssize_t n;

    do {
        n = t->tls != NULL ? tls_writev(t->tls, *iov, *count) : sendmsg(t->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return transport_failed(t);
    t->bytes_out += (uint64_t)n;
    iov_advance(iov, count, (size_t)n);
    return TRANSPORT_DONE;
}

enum transport_io
transport_read(struct transport *t, void *buf, size_t n, size_t *got_out)
{
    ssize_t got;

    if (t->is_gone || t->why[0] != '\0') {
        t->error = t->is_gone ? ETIMEDOUT : EPROTO;
        return TRANSPORT_LOST;
    }
    do {
        got = t->tls != NULL ? tls_read(t->tls, buf, n) : recv(t->fd, buf, n, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return transport_failed(t);
    if (got == 0) {
        t->error = 0;
        return TRANSPORT_LOST;
    }
    t->bytes_in += (uint64_t)got;
    *got_out = (size_t)got;
    return TRANSPORT_DONE;
}

uint64_t
transport_deadline(int timeout_ms)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    return timeout_ms > 0 ? clock_mono_us() + (uint64_t)timeout_ms * 1000 : 0;
}

bool
transport_wait(struct transport *t, short events, uint64_t deadline_us)
{
    for (;;) {
        uint64_t look_us = clock_mono_us() + GONE_LOOK_US;

        if (look_us >= deadline_us)
            return wait_until(t->waiter, t->fd, events, deadline_us);
        if (wait_until(t->waiter, t->fd, events, look_us))
            return true;
        t->is_gone = transport_is_gone(t);
        if (t->is_gone)
            return true;
    }
}

unsigned
transport_unsent(const struct transport *t)
{
    int n = 0;

    if (ioctl(t->fd, SIOCOUTQ, &n) < 0 || n < 0)
        return 0;
    return (unsigned)n;
}
