/* One attempt to send one message over one connection: the client's side of docs/protocol.md 1.1 to
 * 1.8 as a state machine. Reconnecting and trying again is deliver.h. */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "client/handle.h"
#include "client/source.h"

/* One message, the same for all attempts. */
struct outgoing {
    char kind; /* 'A', 'J' or 'F' */
    const void *value;
    size_t value_len; /* at most HANDLE_VALUE_MAX */
    struct source source;
    bool in_doubt;   /* a trailer went out and no word came back: it may be committed (1.7) */
    bool has_digest; /* sha256 is that of the whole source */
    uint8_t sha256[SHA256_LEN];
};

/* How the message is laid out. */
enum session_mode {
    SESSION_AHEAD,  /* one packet, digest in its header, trailer right behind it (1.6) */
    SESSION_STRICT, /* digest in the first header, every answer waited for */
    SESSION_LATE,   /* digest with the trailer (1.8), so that the source is read once */
};

/* All but SESSION_COMMITTED leave a sentence in the handle. */
enum session_end {
    SESSION_COMMITTED, /* final ACK, and the reply where one was wanted */
    SESSION_REFUSED,   /* REJ */
    SESSION_ENDED,     /* ERR, with its code in the handle; the connection is closed */
    SESSION_LOST,      /* lost, silent, senseless or too many NACKs; the connection is closed */
    SESSION_NACKED,    /* only SESSION_AHEAD: to be sent again strictly; the connection is closed */
    SESSION_LOCAL,     /* our own side; the connection is closed */
    SESSION_CANCELLED, /* by the progress callback; the connection is closed */
    SESSION_UNANSWERED, /* taken, but the reply did not come; the connection is closed */
    SESSION_UNFIT, /* only of post_run: the protocol cannot carry this message; nothing was sent */
};

/* The handle must be connected. Does not return before the outcome is clear or the time is over. */
MS_MUST_CHECK enum session_end
session_run(struct msock *m, struct outgoing *out, enum session_mode mode);

#endif
