/* Listener and server addresses: PROTOCOL://ADDRESS:PORT?option=value&...  With no address and a
 * path it is a Unix socket: msp:///run/msock.sock. IPv6 in brackets. Values are percent-decoded. A
 * sender may give a list of servers, PROTOCOL://ADDRESS:PORT,ADDRESS:PORT, and ask for TLS:
 * PROTOCOL+tls://ADDRESS; its auto is msp. A listener may name sockets that the service manager
 * gives: PROTOCOL+systemd:NAME, or systemd:NAME for the protocol auto. */
#ifndef COMMON_URL_H
#define COMMON_URL_H

#include "common/base.h"

#include <sys/socket.h>

#define URL_OPTIONS_MAX 32
#define URL_SERVERS_MAX 16
#define URL_ERROR_LEN   192

struct url_option {
    char *name;
    char *value;
    size_t len; /* bytes of value, which has a NUL inside where %00 stood there */
};

struct url_server {
    char *host;
    uint16_t port;
    bool has_port;
};

struct url {
    char *scheme;  /* "msp" */
    bool is_tls;   /* "+tls" stood behind it */
    char *host;    /* "127.0.0.1", "::1", "example.org"; NULL for a Unix socket */
    char *path;    /* the Unix socket's path; NULL otherwise */
    char *given;   /* the name of given sockets, with neither host nor path; NULL otherwise */
    uint16_t port; /* 0 where none was given or 0 was */
    bool has_port;
    size_t more_count; /* servers of a list behind that one */
    struct url_server more[URL_SERVERS_MAX - 1];
    size_t option_count;
    struct url_option options[URL_OPTIONS_MAX];
};

/* Parses text with one address. Returns 0, or -1 with a sentence in error (what is wrong and
 * where). url_fini after success only. */
MS_MUST_CHECK int url_parse(const char *text, struct url *url_out, char error[URL_ERROR_LEN]);

/* The same for a sender: there may be "+tls", and a list of servers, none of them twice. Those
 * without a port get default_port. */
MS_MUST_CHECK int url_parse_servers(const char *text, uint16_t default_port, struct url *url_out,
                                    char error[URL_ERROR_LEN]);

/* The i-th server of 1 + more_count; its host is the URL's. Not for a Unix socket. */
struct url_server url_server_at(const struct url *url, size_t i);

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

/* The addresses of the URL's host (getaddrinfo; may block on a name), each once and in the order of
 * the resolver, or its Unix path. A mapped IPv4 address (::ffff:127.0.0.1) becomes that IPv4
 * address. Writes at most max. Returns how many there are, or -1 with a sentence in error. */
MS_MUST_CHECK int endpoint_resolve_all(const struct url *url, struct endpoint *eps_out, size_t max,
                                       char error[URL_ERROR_LEN]);

/* The first of them. Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int
endpoint_resolve(const struct url *url, struct endpoint *ep_out, char error[URL_ERROR_LEN]);

/* The port of an IPv4 or IPv6 endpoint; 0 for a Unix one, which has none to set. */
uint16_t endpoint_port(const struct endpoint *ep);
void endpoint_set_port(struct endpoint *ep, uint16_t port);

/* That address, in network order, of AF_INET or AF_INET6, a mapped one as the IPv4 address it is.
 */
struct endpoint endpoint_make(int family, const void *address, uint16_t port);

/* A mapped IPv4 address (::ffff:127.0.0.1) becomes that IPv4 address: it needs no IPv6 on this
 * host, and has no socket of its own. */
void endpoint_unmap(struct endpoint *ep);

/* True for 0.0.0.0 and [::]. */
bool endpoint_is_any(const struct endpoint *ep);

/* True where a socket at wide gets what comes for narrow: the same family and port, and the same
 * address or all of that family. By meaning, not by bytes: padding and flow labels do not make
 * another address. */
bool endpoint_covers(const struct endpoint *wide, const struct endpoint *narrow);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
bool endpoint_overlaps(const struct endpoint *a, const struct endpoint *b);

/* True where the i-th of one listener's n addresses is worth telling: no other one covers it. [::]
 * stands for the 0.0.0.0 of the same listener and port as well. */
bool endpoint_is_told(const struct endpoint *eps, size_t n, size_t i);

/* "127.0.0.1:8000", "[::1]:8000", "unix:/run/x.sock", "unix:" for an unnamed peer. */
void endpoint_format(const struct endpoint *ep, char out[ENDPOINT_TEXT_LEN]);

/* The path of a Unix endpoint, or NULL, as for one whose name is abstract. Valid as long as ep. */
const char *endpoint_unix_path(const struct endpoint *ep);

#endif
