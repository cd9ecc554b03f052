/* Listener and server addresses: PROTOCOL://ADDRESS:PORT?option=value&...  With no address and a
 * path it is a Unix socket: msp:///run/msock.sock. IPv6 in brackets. Values are percent-decoded. */
#ifndef COMMON_URL_H
#define COMMON_URL_H

#include "common/base.h"

#include <sys/socket.h>
#include <sys/types.h>

#define URL_OPTIONS_MAX 32
#define URL_ERROR_LEN   192

struct url_option {
    char *name;
    char *value;
    size_t len; /* bytes of value, which has a NUL inside where %00 stood there */
};

struct url {
    char *scheme;  /* "msp" */
    char *host;    /* "127.0.0.1", "::1", "example.org"; NULL for a Unix socket */
    char *path;    /* the Unix socket's path; NULL otherwise */
    uint16_t port; /* 0 where none was given or 0 was */
    bool has_port;
    size_t option_count;
    struct url_option options[URL_OPTIONS_MAX];
};

/* Parses text. Returns 0, or -1 with a sentence in error (what is wrong and where). url_fini after
 * success only. */
MS_MUST_CHECK int url_parse(const char *text, struct url *url_out, char error[URL_ERROR_LEN]);
void url_fini(struct url *url);

/* The option of that name, or NULL. */
const struct url_option *url_option_find(const struct url *url, const char *name);

/* Its value, or NULL. */
const char *url_option(const struct url *url, const char *name);

struct endpoint {
    struct sockaddr_storage addr;
    socklen_t len;
};

#define ENDPOINT_TEXT_LEN 128

/* The first address of the URL's host (getaddrinfo; may block on a name), or its Unix path.
 * Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int
endpoint_resolve(const struct url *url, struct endpoint *ep_out, char error[URL_ERROR_LEN]);

/* "127.0.0.1:8000", "[::1]:8000", "unix:/run/x.sock", "unix:" for an unnamed peer. */
void endpoint_format(const struct endpoint *ep, char out[ENDPOINT_TEXT_LEN]);

/* --- listen.c --- */

/* Listening sockets: IPv4, IPv6 (never mapped IPv4), Unix. A Unix socket's file is nobody's until
 * its mode is as wanted, replaces only a socket that nobody listens on, and is removed only by who
 * made it. No process-wide state is touched, the umask neither. */

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

/* What is there where the file of a Unix socket was. */
enum listen_file { LISTEN_FILE_OURS, LISTEN_FILE_NONE, LISTEN_FILE_OTHER };

/* LISTEN_FILE_OURS for a socket that has no file, and where it cannot be told. */
enum listen_file listen_file(const struct listen_socket *s);

/* Changes the mode of the file. Returns 0, or -1 with errno (ESTALE: another file has its name now,
 * and is left alone). */
MS_MUST_CHECK int listen_chmod(const struct listen_socket *s, mode_t mode);

/* The path of a Unix endpoint, or NULL. Valid as long as ep. */
const char *endpoint_unix_path(const struct endpoint *ep);

#endif
