/* Sockets for the client. Everything waits by poll(2) against a deadline; EINTR never reaches the
 * caller, since a host program may use signals as it likes. */
#include "client/peer.h"

#include "common/fd.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

void
transport_init(struct transport *t)
{
    memset(t, 0, sizeof(*t));
    t->fd = -1;
}

void
transport_forget_others(struct transport *t)
{
    if (t->fd >= 0 && t->owner != getpid())
        fd_close(&t->fd);
}

static bool
poll_until(int fd, short events, uint64_t deadline_us)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = clock_mono_us();
        uint64_t left = now < deadline_us ? (deadline_us - now + 999) / 1000 : 0;
        int n = poll(&p, 1, left > 3600000 ? 3600000 : (int)left);

        if (n > 0 || (n < 0 && errno != EINTR))
            return true;
        if (n == 0 && clock_mono_us() >= deadline_us)
            return false;
    }
}

/* A full backlog makes connect(2) on a non-blocking Unix socket fail with EAGAIN and nothing to
 * poll for, so there the kernel does the waiting. */
static int
connect_unix(int fd, const struct endpoint *ep, unsigned timeout_ms)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    uint64_t deadline = clock_mono_us() + (uint64_t)timeout_ms * 1000;
    int rc;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return -1;
    do {
        rc = connect(fd, (const struct sockaddr *)&ep->addr, ep->len);
    } while (rc < 0 && errno == EINTR && clock_mono_us() < deadline);
    if (rc < 0 && (errno == EAGAIN || errno == EINTR))
        errno = ETIMEDOUT;
    return rc < 0 ? -1 : fd_set_nonblock(fd, 1);
}

static int
connect_inet(int fd, const struct endpoint *ep, unsigned timeout_ms)
{
    uint64_t deadline = clock_mono_us() + (uint64_t)timeout_ms * 1000;
    int on = 1, error = 0;
    socklen_t len = sizeof(error);

    if (fd_set_nonblock(fd, 1) < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&ep->addr, ep->len) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -1;
    if (!poll_until(fd, POLLOUT, deadline)) {
        errno = ETIMEDOUT;
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -1;
    errno = error;
    return error == 0 ? 0 : -1;
}

int
transport_open(struct transport *t, const struct endpoint *ep, unsigned timeout_ms)
{
    int rc = -1;
    int fd = fd_above_standard(socket(ep->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));

    MS_ASSERT(t->fd == -1);
    if (fd < 0)
        goto out;
    if (ep->addr.ss_family == AF_UNIX)
        rc = connect_unix(fd, ep, timeout_ms);
    else
        rc = connect_inet(fd, ep, timeout_ms);
    if (rc < 0)
        goto out;
    t->fd = fd_steal(&fd);
    t->owner = getpid();
    t->error = 0;
out:
    fd_close(&fd);
    return rc;
}

void
transport_close(struct transport *t)
{
    fd_close(&t->fd);
}

void
transport_reset(struct transport *t)
{
    struct linger now = {.l_onoff = 1};

    if (t->fd >= 0)
        (void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    transport_close(t);
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
    return TRANSPORT_LOST;
}

enum transport_io
transport_send(struct transport *t, struct iovec **iov, int *count)
{
    struct msghdr msg = {.msg_iov = *iov, .msg_iovlen = (size_t)*count};
    ssize_t n;

    do {
        n = sendmsg(t->fd, &msg, MSG_NOSIGNAL);
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

    do {
        got = recv(t->fd, buf, n, MSG_DONTWAIT);
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

bool
transport_wait(struct transport *t, short events, uint64_t deadline_us)
{
    return poll_until(t->fd, events, deadline_us);
}

unsigned
transport_unsent(const struct transport *t)
{
    int n = 0;

    if (ioctl(t->fd, SIOCOUTQ, &n) < 0 || n < 0)
        return 0;
    return (unsigned)n;
}
