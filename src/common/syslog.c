/* The way to the system log, and to the journal: what syslog(3) or sd_journal_send(3) would send,
 * by a socket that never waits. A datagram carries its address, so a system log that was started
 * again gets the next one. */
#include "common/log.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static struct {
    struct sockaddr_un to;
    int fd;
    _Atomic bool stream; /* some system logs listen on a stream */
} syslog_state = {.fd = -1};

static int
syslog_connect(bool stream)
{
    const struct sockaddr *to = (const struct sockaddr *)&syslog_state.to;
    int type = stream ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && stream && connect(fd, to, sizeof(syslog_state.to)) < 0)
        fd_close(&fd);
    return fd;
}

/* Makes a socket of the kind that is wanted there. Another thread may be writing: the number that
 * it uses must never be nobody's. Returns 0, or -1 with errno. */
static int
syslog_begin(bool stream)
{
    int fd = syslog_connect(stream);
    int rc = 0;

    if (fd < 0 && stream && errno == EPROTOTYPE) {
        stream = false;
        fd = syslog_connect(stream);
    }
    if (fd < 0)
        return -1;
    if (syslog_state.fd < 0)
        syslog_state.fd = fd_steal(&fd);
    else if (dup3(fd, syslog_state.fd, O_CLOEXEC) < 0)
        rc = -1;
    fd_close(&fd);
    atomic_store(&syslog_state.stream, stream);
    return rc;
}

void
syslog_open(const char *path)
{
    syslog_state.to.sun_family = AF_UNIX;
    snprintf(syslog_state.to.sun_path, sizeof(syslog_state.to.sun_path), "%s", path);
    if (syslog_begin(false) < 0) {
        /* The first line tries again. */
    }
}

/* In a stream the NUL behind the line is its end. */
static ssize_t
syslog_send(const char *line, size_t n)
{
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

    if (atomic_load(&syslog_state.stream))
        return send(syslog_state.fd, line, n + 1, flags);
    return sendto(syslog_state.fd, line, n, flags, (const struct sockaddr *)&syslog_state.to,
                  sizeof(syslog_state.to));
}

/* Is this the error of a socket that has to be made anew? */
static bool
syslog_is_over(int error)
{
    return error == EBADF || error == EPROTOTYPE || error == EPIPE || error == ECONNRESET ||
           error == ENOTCONN;
}

/* Makes the socket anew where it has come to an end. Returns 0, or errno. */
static int
syslog_deliver(const char *bytes, size_t n)
{
    if (syslog_send(bytes, n) >= 0)
        return 0;
    if (!syslog_is_over(errno))
        return errno;
    if (syslog_begin(atomic_load(&syslog_state.stream) != (errno == EPROTOTYPE)) < 0)
        return errno;
    return syslog_send(bytes, n) < 0 ? errno : 0;
}

int
syslog_put(int priority, const char *text)
{
    char line[2 * LOG_LINE_MAX + 512], when[32];
    time_t now = (time_t)(clock_real_us() / 1000000);
    struct tm tm;
    int n;

    if (localtime_r(&now, &tm) == NULL || strftime(when, sizeof(when), "%b %e %T", &tm) == 0)
        return EOVERFLOW;
    n = snprintf(line, sizeof(line), "<%d>%s msockd[%d]: %s", LOG_DAEMON | priority, when,
                 (int)getpid(), text);
    if (n < 0 || (size_t)n >= sizeof(line))
        n = sizeof(line) - 1;
    return syslog_deliver(line, (size_t)n);
}

int
journal_put(const char *fields)
{
    return syslog_deliver(fields, strlen(fields));
}
