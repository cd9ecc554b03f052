/* Listening sockets: IPv4, IPv6 (never mapped IPv4: what listens on both has a socket for each),
 * Unix. A Unix socket's file is nobody's until its mode is as wanted, replaces only a socket that
 * nobody listens on, and is removed only by who made it. No process-wide state is touched, the
 * umask neither. */
#ifndef COMMON_LISTEN_H
#define COMMON_LISTEN_H

#include "common/url.h"

#define LISTEN_ADDRESSES_MAX 8   /* of one listener */
#define LISTEN_SOCKETS_MAX   256 /* of all listeners of a process */

struct listen_socket {
    int fd;                /* bound, non-blocking, close-on-exec; -1: there is none */
    int error;             /* errno: why there is none */
    struct endpoint bound; /* where it really is, port 0 resolved */
    dev_t dev;             /* of a Unix socket's file; */
    ino_t ino;             /* 0: there is none of ours */
};

/* The caller's own sockets, which a new one may have to stand beside: the kernel refuses a second
 * socket for a port where the address of one covers that of the other, so both get SO_REUSEPORT
 * for the moment, and no other program can use it. */
struct listen_beside {
    size_t n;
    const struct listen_socket *sockets[2 * LISTEN_SOCKETS_MAX];
};

struct listen_how {
    int backlog; /* 0: binds only, so that nobody can connect before listen_begin */
    mode_t mode; /* these two are for the file of a Unix socket */
    gid_t gid;   /* (gid_t)-1: as it is */
    const struct listen_beside *beside; /* NULL: none */
};

/* Opens a socket for each of n addresses that has none yet (sockets[i].fd is -1). Those with port 0
 * get one port together, that of a socket which is there already, where it can be had. An address
 * that this machine does not have (EADDRNOTAVAIL, EAFNOSUPPORT) is left out, with its error, as
 * long as another one can be had. Returns 0, or -1 with errno (EADDRINUSE: somebody listens there,
 * or another file is in the way), the index of the address in failed_out, and nothing left behind.
 */
MS_MUST_CHECK int listen_open(const struct endpoint *eps, size_t n, const struct listen_how *how,
                              struct listen_socket *sockets, size_t *failed_out);

/* Takes over a socket that another process has bound: makes it as those above are. Returns 0, or -1
 * with errno, and it is still the caller's: ENOTSOCK, EPROTOTYPE it is no stream, EINVAL it does
 * not listen. */
MS_MUST_CHECK int listen_adopt(int fd, struct listen_socket *socket_out);

/* Lets a bound socket listen; may be repeated for another backlog. Returns 0, or -1 with errno. */
MS_MUST_CHECK int
listen_begin(const struct listen_socket *s, int backlog, const struct listen_beside *beside);

/* Those that have connected can still be accepted, by all processes that hold the socket. Nobody
 * new can connect while they wait, and to a Unix socket not at all: its file is gone. Returns 0, or
 * -1 with errno where the kernel cannot do it. */
MS_MUST_CHECK int listen_retire(struct listen_socket *s);

/* True where that was done. */
bool listen_is_retired(int fd);

/* True where nobody can connect any more, as any process that holds the socket can bring about. */
bool listen_is_shut_down(int fd);

/* True where connections wait there that nobody has accepted yet. */
bool listen_has_backlog(const struct listen_socket *s);

/* Takes it back, for IPv4 and IPv6; listen_begin gives it its backlog again. */
void listen_revive(const struct listen_socket *s);

/* Ends a retired socket in all processes: accept fails there with EINVAL from now on. */
void listen_end(const struct listen_socket *s);

/* Closes, and removes the file of a Unix socket where it is still ours. */
void listen_close(struct listen_socket *s);

/* What is there where the file of a Unix socket was. */
enum listen_file { LISTEN_FILE_OURS, LISTEN_FILE_NONE, LISTEN_FILE_OTHER };

/* LISTEN_FILE_OURS for a socket that has no file, and where it cannot be told. */
enum listen_file listen_file(const struct listen_socket *s);

/* Changes the mode of the file, and its group unless that is (gid_t)-1. Returns 0, or -1 with errno
 * (ESTALE: another file has its name now, and is left alone). */
MS_MUST_CHECK int listen_allow(const struct listen_socket *s, mode_t mode, gid_t gid);

#endif
