/* The header of the PROXY protocol, version 1 or 2, with which a proxy begins a connection and says
 * whose it is (docs/protocol.md 8). Pure: bytes in, an address out. */
#ifndef PROTO_PROXY_HEADER_H
#define PROTO_PROXY_HEADER_H

#include "common/url.h"

#define PROXY_HEADER_MAX 4096 /* bytes of a header, those of its TLVs with it */

enum proxy_verdict {
    PROXY_MORE, /* so far it may be one */
    PROXY_GOOD,
    PROXY_BAD,
};

struct proxy_header {
    size_t len; /* bytes of it; what follows is the connection's */
    struct endpoint peer;
    const char *why; /* of PROXY_BAD: half a sentence, static */
};

/* Do these bytes begin with the whole mark of a header? */
bool proxy_header_begins(const uint8_t *data, size_t n);

/* Looks at the first n bytes of a connection. Nothing but an IPv4 or IPv6 address of a stream is
 * good, and no second header right behind the first one. */
enum proxy_verdict proxy_header_read(const uint8_t *data, size_t n, struct proxy_header *out);

#endif
