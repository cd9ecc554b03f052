/* The server's address for programs that open their sockets themselves. */
#ifndef MSOCK_ENDPOINT_H
#define MSOCK_ENDPOINT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct endpoint {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* Resolves "msp://host:port", "msp://[::1]:port" or "msp:///path" (may block on a name). Returns 0,
 * or -1 with a sentence in error (n bytes). */
int endpoint_from_url(const char *url, struct endpoint *ep_out, char *error, size_t n);

/* A loopback address with that port. */
struct endpoint endpoint_loopback(uint16_t port);

/* The port of a socket's own end in host order; 0 for a Unix socket. */
uint16_t endpoint_local_port(int fd);

#endif
