/* Opens listening sockets, for the daemon and for the library. Invariant: a file is removed or
 * changed only where it is the socket that was bound here, or a socket at which nobody listens. */
#include "common/listen.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNSENT_MAX (256 * 1024) /* bytes that the kernel keeps for a peer that does not read */

const char *
endpoint_unix_path(const struct endpoint *ep)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&ep->addr;

    return un->sun_family == AF_UNIX && un->sun_path[0] != '\0' ? un->sun_path : NULL;
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
unix_file_allow(int fd, mode_t mode, gid_t gid)
{
    char path[32];

    if (gid != (gid_t)-1 && fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
        return -1;
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
    rc = unix_file_allow(fd, mode, gid);
    if (rc < 0 && errno == ENOENT)
        rc = 0; /* without /proc it stays as it was bound: its owner's alone */
out:
    fd_close(&fd);
    return rc;
}

/* --- beside our own sockets --- */

/* A program of the same user could join a port whenever the kernel finds SO_REUSEPORT on a socket
 * there. So it is on only while one of our calls runs. Beyond that the kernel remembers the address
 * of the last socket that joined, and lets others join there unseen. A third one makes it remember
 * an address at which nobody lives: one for documents. */

static void
reuseport_set(const struct listen_beside *beside, uint16_t port, int fd, int on)
{
    for (size_t i = 0; i < beside->n; i++)
        if (endpoint_port(&beside->sockets[i]->bound) == port)
            (void)setsockopt(beside->sockets[i]->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
}

/* Returns 0 where the kernel has taken that address. */
static int
reuseport_forget(sa_family_t family, uint16_t port)
{
    static const uint8_t nobody_v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v6 = family == AF_INET6;
    int fd = fd_above_standard(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int on = 1, rc = -1;

    v4.sin_port = htons(port);
    memcpy(&v6.sin6_addr, nobody_v6, sizeof(nobody_v6));
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        goto out;
    if (is_v6 && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0 ||
                  setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)) < 0))
        goto out;
    if (!is_v6 && setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) < 0)
        goto out;
    rc = is_v6 ? bind(fd, (const struct sockaddr *)&v6, sizeof(v6))
               : bind(fd, (const struct sockaddr *)&v4, sizeof(v4));
out:
    fd_close(&fd);
    return rc;
}

static void
reuseport_end(const struct listen_beside *beside, const struct endpoint *ep, int fd)
{
    bool is_v6 = ep->addr.ss_family == AF_INET6;
    int saved = errno;

    /* An address of the other family never counts as all addresses of this one. */
    if (reuseport_forget(is_v6 ? AF_INET : AF_INET6, endpoint_port(ep)) < 0)
        (void)reuseport_forget(ep->addr.ss_family, endpoint_port(ep));
    reuseport_set(beside, endpoint_port(ep), fd, 0);
    errno = saved;
}

/* True where one of ours would keep a socket away from ep. */
static bool
beside_any(const struct listen_beside *beside, const struct endpoint *ep, int fd)
{
    for (size_t i = 0; beside != NULL && i < beside->n; i++)
        if (beside->sockets[i]->fd >= 0 && beside->sockets[i]->fd != fd && endpoint_port(ep) != 0 &&
            endpoint_overlaps(&beside->sockets[i]->bound, ep))
            return true;
    return false;
}

/* --- open --- */

static int
inet_bind(int fd, const struct endpoint *ep, const struct listen_beside *beside)
{
    bool joins = beside_any(beside, ep, fd);
    int on = 1, rc;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -1;
    if (ep->addr.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -1;
    if (joins)
        reuseport_set(beside, endpoint_port(ep), fd, 1);
    rc = bind(fd, (const struct sockaddr *)&ep->addr, ep->len);
    if (joins)
        reuseport_end(beside, ep, fd);
    return rc;
}

static int
listen_bind(struct listen_socket *s, const struct endpoint *ep, const struct listen_how *how)
{
    if (ep->addr.ss_family == AF_UNIX) {
        if (unix_bind(s->fd, ep) < 0)
            return -1;
        s->bound = *ep;
        return unix_own(s, how->mode, how->gid);
    }
    if (inet_bind(s->fd, ep, how->beside) < 0)
        return -1;
    s->bound.len = sizeof(s->bound.addr);
    return getsockname(s->fd, (struct sockaddr *)&s->bound.addr, &s->bound.len);
}

static int
listen_open_one(const struct endpoint *ep, const struct listen_how *how,
                struct listen_socket *socket_out)
{
    struct listen_socket s = {
        .fd = fd_above_standard(
            socket(ep->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
    };

    if (s.fd < 0)
        return -1;
    if (listen_bind(&s, ep, how) < 0 ||
        (how->backlog > 0 && listen_begin(&s, how->backlog, how->beside) < 0)) {
        listen_close(&s);
        return -1;
    }
    *socket_out = s;
    return 0;
}

static bool
socket_is(int fd, int option, int wanted)
{
    socklen_t len = sizeof(int);
    int value = 0;

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == wanted;
}

/* Accepted sockets inherit them, if the connection was made behind this. Unix sockets have none,
 * and need none. What a peer does not read stays with us, where it counts: the kernel would keep
 * MiBs of it. */
static void
listen_tune(int fd)
{
    int on = 1, unsent = UNSENT_MAX;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

int
listen_adopt(int fd, struct listen_socket *socket_out)
{
    struct listen_socket s = {.fd = fd, .bound = {.len = sizeof(s.bound.addr)}};
    const char *path;
    struct stat st;

    if (getsockname(fd, (struct sockaddr *)&s.bound.addr, &s.bound.len) < 0)
        return -1;
    errno = EPROTOTYPE;
    if (!socket_is(fd, SO_TYPE, SOCK_STREAM))
        return -1;
    errno = EINVAL;
    if (!socket_is(fd, SO_ACCEPTCONN, 1) ||
        (s.bound.addr.ss_family != AF_UNIX && endpoint_port(&s.bound) == 0))
        return -1;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fd_set_nonblock(fd) < 0)
        return -1;
    path = endpoint_unix_path(&s.bound);
    if (path != NULL && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        s.dev = st.st_dev;
        s.ino = st.st_ino;
    }
    listen_tune(fd);
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

int
listen_begin(const struct listen_socket *s, int backlog, const struct listen_beside *beside)
{
    bool joins = beside_any(beside, &s->bound, s->fd);
    int rc;

    listen_tune(s->fd);
    if (joins)
        reuseport_set(beside, endpoint_port(&s->bound), s->fd, 1);
    rc = listen(s->fd, backlog);
    if (joins)
        reuseport_end(beside, &s->bound, s->fd);
    return rc;
}

#define SHARED_PORT_TRIES 16 /* for a port of the kernel's choice that all addresses have free */

/* What listen_open is at. */
struct listen_opening {
    const struct endpoint *eps;
    size_t n;
    const struct listen_how *how;
    struct listen_socket *sockets;
    bool is_new[LISTEN_ADDRESSES_MAX];
};

/* The port of a socket that is there for an address with port 0; 0: there is none. */
static uint16_t
opening_port(const struct listen_opening *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->sockets[i].fd >= 0 && endpoint_port(&o->eps[i]) == 0)
            return endpoint_port(&o->sockets[i].bound);
    return 0;
}

static void
opening_undo(const struct listen_opening *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->is_new[i])
            listen_close(&o->sockets[i]);
}

/* Returns the index of the address that cannot be had, with errno, or n. */
static size_t
opening_try(struct listen_opening *o, bool share)
{
    struct listen_how how = *o->how;
    struct listen_beside beside = {0};

    if (how.beside != NULL)
        beside = *how.beside;
    how.beside = &beside;
    for (size_t i = 0; i < o->n; i++) {
        struct endpoint ep = o->eps[i];

        if (o->sockets[i].fd >= 0)
            continue;
        if (share && endpoint_port(&ep) == 0)
            endpoint_set_port(&ep, opening_port(o));
        if (listen_open_one(&ep, &how, &o->sockets[i]) < 0) {
            o->sockets[i] = (struct listen_socket){.fd = -1, .error = errno};
            if (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT)
                return i;
            continue;
        }
        o->is_new[i] = true;
        if (beside.n < MS_ARRAY_LEN(beside.sockets))
            beside.sockets[beside.n++] = &o->sockets[i];
    }
    return o->n;
}

/* Returns n where there is one socket at least, else the address whose error counts. */
static size_t
opening_result(const struct listen_opening *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->sockets[i].fd >= 0)
            return o->n;
    errno = o->sockets[0].error;
    return 0;
}

int
listen_open(const struct endpoint *eps, size_t n, const struct listen_how *how,
            struct listen_socket *sockets, size_t *failed_out)
{
    struct listen_opening o = {.eps = eps, .n = n, .how = how, .sockets = sockets};
    size_t failed = n;

    MS_ASSERT(n > 0 && n <= LISTEN_ADDRESSES_MAX);
    for (int tries = 0; tries < SHARED_PORT_TRIES; tries++) {
        failed = opening_try(&o, tries < SHARED_PORT_TRIES - 1);
        if (failed == n || errno != EADDRINUSE || endpoint_port(&eps[failed]) != 0 ||
            eps[failed].addr.ss_family == AF_UNIX)
            break;
        opening_undo(&o);
        memset(o.is_new, 0, sizeof(o.is_new));
    }
    if (failed == n)
        failed = opening_result(&o);
    if (failed == n)
        return 0;
    opening_undo(&o);
    *failed_out = failed;
    return -1;
}

/* --- retire --- */

/* The mark is one that every process reads which holds the socket, and needs no privilege: its
 * priority, of which nothing depends any more. */
static int
retired_mark(const struct listen_socket *s, int mark)
{
    return setsockopt(s->fd, SOL_SOCKET, SO_PRIORITY, &mark, sizeof(mark));
}

static void
listen_unname(struct listen_socket *s)
{
    int saved = errno;

    if (s->ino != 0 && listen_file(s) == LISTEN_FILE_OURS)
        unlink(endpoint_unix_path(&s->bound));
    s->ino = 0;
    errno = saved;
}

/* With room for nobody, what waits stays, and the kernel lets nobody new in behind it. */
int
listen_retire(struct listen_socket *s)
{
    listen_unname(s);
    return retired_mark(s, 1) < 0 || listen(s->fd, 0) < 0 ? -1 : 0;
}

bool
listen_is_retired(int fd)
{
    socklen_t len = sizeof(int);
    int mark = 0;

    return getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &mark, &len) == 0 && mark != 0;
}

/* Of a Unix socket SO_ACCEPTCONN does not tell it. */
bool
listen_is_shut_down(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP)) != 0;
}

bool
listen_has_backlog(const struct listen_socket *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

void
listen_revive(const struct listen_socket *s)
{
    (void)retired_mark(s, 0);
}

void
listen_end(const struct listen_socket *s)
{
    (void)shutdown(s->fd, SHUT_RD);
}

void
listen_close(struct listen_socket *s)
{
    listen_unname(s);
    fd_close(&s->fd);
}

int
listen_allow(const struct listen_socket *s, mode_t mode, gid_t gid)
{
    struct stat st;
    int fd = unix_file_open(endpoint_unix_path(&s->bound), &st);
    int rc = -1;

    if (fd < 0)
        return -1;
    errno = ESTALE;
    if (st.st_dev == s->dev && st.st_ino == s->ino)
        rc = unix_file_allow(fd, mode, gid);
    fd_close(&fd);
    return rc;
}
