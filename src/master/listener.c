/* Listening sockets: bind, keep, close. */
#include "master/listener.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

static bool
endpoint_is_unix(const struct endpoint *ep)
{
    return ep->addr.ss_family == AF_UNIX;
}

static const char *
endpoint_path(const struct endpoint *ep)
{
    return ((const struct sockaddr_un *)&ep->addr)->sun_path;
}

static bool
endpoint_any_port(const struct endpoint *ep)
{
    if (ep->addr.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&ep->addr)->sin_port == 0;
    if (ep->addr.ss_family == AF_INET6)
        return ((const struct sockaddr_in6 *)&ep->addr)->sin6_port == 0;
    return false;
}

/* By meaning, not by bytes: padding and flow labels do not make another address. */
static bool
endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    const struct sockaddr_in *a4 = (const void *)&a->addr, *b4 = (const void *)&b->addr;
    const struct sockaddr_in6 *a6 = (const void *)&a->addr, *b6 = (const void *)&b->addr;

    if (a->addr.ss_family != b->addr.ss_family)
        return false;
    switch (a->addr.ss_family) {
    case AF_INET:
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    case AF_INET6:
        return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
               memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
    case AF_UNIX:
        return strcmp(endpoint_path(a), endpoint_path(b)) == 0;
    }
    return false;
}

static void
listener_explain(const struct listener_config *lc, int error, struct failure *why)
{
    const char *name = lc->name;

    if (error == EADDRINUSE)
        failure_set(why, EX_UNAVAILABLE,
                    "%s: address already in use (another program listens there; choose another "
                    "with -l or stop it)",
                    name);
    else if (error == EADDRNOTAVAIL)
        failure_set(why, EX_UNAVAILABLE, "%s: no such address on this machine", name);
    else if (error == EACCES || error == EPERM)
        failure_set(why, EX_NOPERM, "%s: no permission to listen there", name);
    else if (endpoint_is_unix(&lc->endpoint))
        failure_set(why, EX_CANTCREAT, "%s: %s", name, strerror(error));
    else
        failure_set(why, EX_OSERR, "%s: cannot listen: %s", name, strerror(error));
}

/* Returns 0 where the file that is in the way was a socket that nobody listens on, and is gone. */
static int
unix_remove_stale(const struct endpoint *ep)
{
    struct stat st;
    int probe = -1;
    int rc = -1;

    errno = EADDRINUSE;
    if (lstat(endpoint_path(ep), &st) < 0 || !S_ISSOCK(st.st_mode))
        goto out;
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        goto out;
    if (connect(probe, (const struct sockaddr *)&ep->addr, ep->len) == 0 || errno != ECONNREFUSED) {
        errno = EADDRINUSE;
        goto out;
    }
    rc = unlink(endpoint_path(ep));
out:
    fd_close(&probe);
    return rc;
}

static int
unix_bind(int fd, const struct endpoint *ep)
{
    /* Nobody may connect before the mode is as configured. */
    mode_t old = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)&ep->addr, ep->len);

    if (rc < 0 && errno == EADDRINUSE && unix_remove_stale(ep) == 0)
        rc = bind(fd, (const struct sockaddr *)&ep->addr, ep->len);
    umask(old);
    return rc;
}

/* The file that path names, even where it is a link. Returns a descriptor that can do nothing but
 * stand for it, or -1 with errno. */
static int
unix_file_open(const char *path, struct stat *st_out)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

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

/* True where this is the socket file that was just bound. Whoever owns the directory can put anything
 * there, but a file of ours with one name only by moving one that is there already. */
static bool
unix_file_is_new(const struct stat *st)
{
    return S_ISSOCK(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

static int
unix_own(struct listener *l, const struct listener_config *lc, gid_t gid)
{
    struct stat st;
    int rc = -1;
    int fd = unix_file_open(endpoint_path(&lc->endpoint), &st);

    if (fd < 0)
        goto out;
    errno = EEXIST;
    if (!unix_file_is_new(&st))
        goto out;
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if (gid != (gid_t)-1 && fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
        goto out;
    rc = unix_file_chmod(fd, lc->mode);
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
listener_bind(struct listener *l, const struct listener_config *lc, gid_t gid)
{
    const struct endpoint *ep = &lc->endpoint;

    l->fd = socket(ep->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return -1;
    if (endpoint_is_unix(ep)) {
        if (unix_bind(l->fd, ep) < 0)
            return -1;
        l->bound = *ep;
        if (unix_own(l, lc, gid) < 0)
            return -1;
    } else {
        if (inet_bind(l->fd, ep) < 0)
            return -1;
        l->bound.len = sizeof(l->bound.addr);
        if (getsockname(l->fd, (struct sockaddr *)&l->bound.addr, &l->bound.len) < 0)
            return -1;
    }
    return listen(l->fd, lc->backlog);
}

struct listener *
listener_open(const struct listener_config *lc, gid_t gid, struct failure *why)
{
    struct listener *l = ms_calloc(1, sizeof(*l));

    l->refs = 1;
    l->fd = -1;
    l->name = ms_strdup(lc->name);
    l->any_port = endpoint_any_port(&lc->endpoint);
    if (listener_bind(l, lc, gid) < 0) {
        listener_explain(lc, errno, why);
        listener_unref(l);
        return NULL;
    }
    return l;
}

struct listener *
listener_ref(struct listener *l)
{
    l->refs++;
    return l;
}

static void
unix_remove_own(const struct listener *l)
{
    const char *path = endpoint_path(&l->bound);
    struct stat st;

    if (l->ino != 0 && lstat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(path);
}

void
listener_unref(struct listener *l)
{
    MS_ASSERT(l->refs > 0);
    if (--l->refs > 0)
        return;
    if (endpoint_is_unix(&l->bound))
        unix_remove_own(l);
    fd_close(&l->fd);
    free(l->name);
    free(l);
}

void
listener_forget(struct listener *l)
{
    fd_close(&l->fd);
}

bool
listener_serves(const struct listener *l, const struct listener_config *lc)
{
    if (endpoint_any_port(&lc->endpoint))
        return l->any_port && strcmp(l->name, lc->name) == 0;
    return endpoint_equal(&l->bound, &lc->endpoint);
}

static void
unix_apply_mode(const struct listener *l, const struct listener_config *lc)
{
    struct stat st;
    int fd = unix_file_open(endpoint_path(&l->bound), &st);

    if (fd >= 0 && (st.st_dev != l->dev || st.st_ino != l->ino))
        log_warn("%s: another file has taken the socket's name: left alone, and nobody can connect",
                 lc->name);
    else if (fd < 0 || unix_file_chmod(fd, lc->mode) < 0)
        log_warn("%s: cannot change the mode: %s", lc->name, strerror(errno));
    fd_close(&fd);
}

void
listener_apply(const struct listener *l, const struct listener_config *lc)
{
    if (listen(l->fd, lc->backlog) < 0)
        log_warn("%s: cannot change the backlog: %s", lc->name, strerror(errno));
    if (endpoint_is_unix(&l->bound))
        unix_apply_mode(l, lc);
}

void
listener_text(const struct listener *l, const struct listener_config *lc,
              char out[LISTENER_TEXT_LEN])
{
    char address[ENDPOINT_TEXT_LEN];
    const char *end = strstr(lc->name, "://");
    int scheme_len = end != NULL ? (int)(end - lc->name) : 0;

    if (endpoint_is_unix(&l->bound))
        snprintf(address, sizeof(address), "%s", endpoint_path(&l->bound));
    else
        endpoint_format(&l->bound, address);
    snprintf(out, LISTENER_TEXT_LEN, "%.*s://%s", scheme_len < 20 ? scheme_len : 20, lc->name,
             address);
}
