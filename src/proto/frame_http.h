/* Whether a connection begins with the line of an HTTP request (docs/protocol.md 4): a web page can
 * make a browser send one to any port, and must not be able to speak to a frame listener with it.
 * Such a line is a method, a space, a target without spaces, a space, and "HTTP/1."; nothing else
 * is, so other first messages that begin with a method are let through. */
#ifndef PROTO_FRAME_HTTP_H
#define PROTO_FRAME_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HTTP_METHOD_MAX 7

enum frame_http_state {
    FRAME_HTTP_METHOD,  /* at the beginning, or inside what may be a method */
    FRAME_HTTP_TARGET,  /* behind the space behind it */
    FRAME_HTTP_VERSION, /* behind the space behind the target */
    FRAME_HTTP_YES,     /* it is one */
    FRAME_HTTP_NO,      /* it is none */
};

struct frame_http {
    uint8_t state; /* enum frame_http_state */
    uint8_t at;    /* bytes of the method, of the target (no more than 1), or of "HTTP/1." */
    char method[FRAME_HTTP_METHOD_MAX];
};

/* Looks at the bytes that come next, up to the one that decides. Returns how many it looked at. */
size_t frame_http_look(struct frame_http *http, const uint8_t *data, size_t n);

static inline bool
frame_http_decided(const struct frame_http *http)
{
    return http->state == FRAME_HTTP_YES || http->state == FRAME_HTTP_NO;
}

/* Whether this byte, not a space, can stand in a target. */
bool frame_http_in_target(uint8_t byte);

#endif
