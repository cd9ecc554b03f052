/* Listening sockets: IPv4, IPv6 (never mapped IPv4), Unix. A Unix socket's file is nobody's until
 * its mode is as wanted, replaces only a socket that nobody listens on, and is removed only by who
 * made it. No process-wide state is touched, the umask neither. */
#ifndef COMMON_LISTEN_H
#define COMMON_LISTEN_H

#include "common/url.h"

#include <sys/types.h>

struct listen_socket {
    int fd;                /* listening, non-blocking, close-on-exec */
    struct endpoint bound; /* where it really is, port 0 resolved */
    dev_t dev;             /* of a Unix socket's file; */
    ino_t ino;             /* 0: there is none of ours */
};

/* Binds and listens. mode and gid ((gid_t)-1: as it is) are for the file of a Unix socket. Returns
 * 0, or -1 with errno (EADDRINUSE: somebody listens there, or another file is in the way) and
 * nothing left behind. */
MS_MUST_CHECK int listen_open(const struct endpoint *ep, int backlog, mode_t mode, gid_t gid,
                              struct listen_socket *socket_out);

/* Closes, and removes the file of a Unix socket where it is still ours. */
void listen_close(struct listen_socket *s);

/* Changes the mode of the file. Returns 0, or -1 with errno (ESTALE: another file has its name now,
 * and is left alone). */
MS_MUST_CHECK int listen_chmod(const struct listen_socket *s, mode_t mode);

/* The path of a Unix endpoint, or NULL. Valid as long as ep. */
const char *endpoint_unix_path(const struct endpoint *ep);

#endif
