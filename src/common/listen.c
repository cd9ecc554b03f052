/* Opens listening sockets, for the daemon and for the library. Invariant: a file is removed or
 * changed only where it is the socket that was bound here, or a socket at which nobody listens. */
#include "common/url.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

const char *
endpoint_unix_path(const struct endpoint *ep)
{
    return ep->addr.ss_family == AF_UNIX ? ((const struct sockaddr_un *)&ep->addr)->sun_path : NULL;
}

/* Returns 0 where the file that is in the way was a socket that nobody listens on, and is gone. */
static int
unix_remove_stale(const struct endpoint *ep)
{
    const char *path = endpoint_unix_path(ep);
    struct stat st;
    int probe = -1;
    int rc = -1;

    errno = EADDRINUSE;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        goto out;
    probe = fd_above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (probe < 0)
        goto out;
    if (connect(probe, (const struct sockaddr *)&ep->addr, ep->len) == 0 || errno != ECONNREFUSED) {
        errno = EADDRINUSE;
        goto out;
    }
    rc = unlink(path);
out:
    fd_close(&probe);
    return rc;
}

static int
unix_bind(int fd, const struct endpoint *ep)
{
    /* Nobody may connect before the mode is as configured: the file gets that of the socket. */
    int rc = fchmod(fd, 0600);

    if (rc == 0)
        rc = bind(fd, (const struct sockaddr *)&ep->addr, ep->len);
    if (rc < 0 && errno == EADDRINUSE && unix_remove_stale(ep) == 0)
        rc = bind(fd, (const struct sockaddr *)&ep->addr, ep->len);
    return rc;
}

/* The file that path names, even where it is a link. Returns a descriptor that can do nothing but
 * stand for it, or -1 with errno. */
static int
unix_file_open(const char *path, struct stat *st_out)
{
    int fd = fd_above_standard(open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC));

    if (fd >= 0 && fstat(fd, st_out) < 0)
        fd_close(&fd);
    return fd;
}

/* chmod by name would follow a link put there meanwhile, and fchmod refuses such a descriptor. */
static int
unix_file_chmod(int fd, mode_t mode)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return chmod(path, mode);
}

/* True where this is the socket file that was just bound. Whoever owns the directory can put
 * anything there, but a file of ours with one name only by moving one that is there already. */
static bool
unix_file_is_new(const struct stat *st)
{
    return S_ISSOCK(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

static int
unix_own(struct listen_socket *s, mode_t mode, gid_t gid)
{
    struct stat st;
    int rc = -1;
    int fd = unix_file_open(endpoint_unix_path(&s->bound), &st);

    if (fd < 0)
        goto out;
    errno = EEXIST;
    if (!unix_file_is_new(&st))
        goto out;
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    if (gid != (gid_t)-1 && fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
        goto out;
    rc = unix_file_chmod(fd, mode);
out:
    fd_close(&fd);
    return rc;
}

static int
inet_bind(int fd, const struct endpoint *ep)
{
    int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -1;
    if (ep->addr.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -1;
    return bind(fd, (const struct sockaddr *)&ep->addr, ep->len);
}

static int
listen_bind(struct listen_socket *s, const struct endpoint *ep, mode_t mode, gid_t gid)
{
    if (ep->addr.ss_family == AF_UNIX) {
        if (unix_bind(s->fd, ep) < 0)
            return -1;
        s->bound = *ep;
        return unix_own(s, mode, gid);
    }
    if (inet_bind(s->fd, ep) < 0)
        return -1;
    s->bound.len = sizeof(s->bound.addr);
    return getsockname(s->fd, (struct sockaddr *)&s->bound.addr, &s->bound.len);
}

int
listen_open(const struct endpoint *ep, int backlog, mode_t mode, gid_t gid,
            struct listen_socket *socket_out)
{
    struct listen_socket s = {
        .fd = fd_above_standard(
            socket(ep->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
    };

    if (s.fd < 0)
        return -1;
    if (listen_bind(&s, ep, mode, gid) < 0 || listen(s.fd, backlog) < 0) {
        listen_close(&s);
        return -1;
    }
    *socket_out = s;
    return 0;
}

enum listen_file
listen_file(const struct listen_socket *s)
{
    const char *path = endpoint_unix_path(&s->bound);
    struct stat st;

    if (path == NULL)
        return LISTEN_FILE_OURS;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? LISTEN_FILE_NONE : LISTEN_FILE_OURS;
    return st.st_dev == s->dev && st.st_ino == s->ino ? LISTEN_FILE_OURS : LISTEN_FILE_OTHER;
}

void
listen_close(struct listen_socket *s)
{
    const char *path = endpoint_unix_path(&s->bound);
    int saved = errno;
    struct stat st;

    if (path != NULL && s->ino != 0 && lstat(path, &st) == 0 && st.st_dev == s->dev &&
        st.st_ino == s->ino)
        unlink(path);
    s->ino = 0;
    errno = saved;
    fd_close(&s->fd);
}

int
listen_chmod(const struct listen_socket *s, mode_t mode)
{
    struct stat st;
    int fd = unix_file_open(endpoint_unix_path(&s->bound), &st);
    int rc = -1;

    if (fd < 0)
        return -1;
    errno = ESTALE;
    if (st.st_dev == s->dev && st.st_ino == s->ino)
        rc = unix_file_chmod(fd, mode);
    fd_close(&fd);
    return rc;
}
