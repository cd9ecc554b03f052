/* What differs by protocol: the load and its connections know nothing else of what they carry. */
#ifndef MSOCK_BENCH_PROTOCOL_H
#define MSOCK_BENCH_PROTOCOL_H

#include "bench.h"

#include <stddef.h>

struct bench_message;
struct conn;

struct bench_protocol {
    const char *name;  /* the URL's scheme */
    bool acknowledges; /* the server says that it has taken a message: those that count are
                          committed */

    /* Completes the options by the URL's, which msock_url_error has accepted. NULL, or a sentence
     * that says which cannot be (static). */
    const char *(*complete)(struct bench_options *options);

    /* Makes message->wire, for all connections. 0, or -1 without memory (wire may be there). */
    int (*wire_create)(struct bench_message *message, const struct bench_options *options);
    void (*wire_destroy)(void *wire);

    /* A connection is there: puts what is said before any message. Its state is all zeroes.
     * conn_ready follows when the server has answered it, or at once. NULL: nothing is said, it is
     * ready. */
    void (*open)(struct conn *conn);

    /* Begins and sends what may be sent now; nothing is on its way out. */
    void (*send)(struct conn *conn);

    /* The kernel has all that was to be sent. May put more. True: go on when there is room. NULL:
     * nothing follows from it. */
    bool (*sent)(struct conn *conn);

    /* Takes bytes that came. Returns how many of the n were used: the rest is the beginning of
     * something, at most CONN_KEPT_MAX. The connection may be lost by it. */
    size_t (*feed)(struct conn *conn, const uint8_t *data, size_t n);

    /* The server has closed in good order. True: as it should; the connection is made anew for the
     * next message. False: it is lost. NULL: false. */
    bool (*ended)(struct conn *conn);
};

extern const struct bench_protocol bench_msp, bench_frame, bench_tinyproto, bench_cnp;

/* The protocol of a URL that msock_url_error has accepted. */
const struct bench_protocol *bench_protocol_of(const char *url);

/* The value of a URL's option, percent-decoded and NUL-terminated. false: it is not there, or does
 * not fit into n bytes. */
bool bench_url_option(const char *url, const char *name, char *out, size_t n);

#endif
