/* Plain frames (docs/protocol.md 4), on either side of the connection: four framings
 * (limits->framing), and no checksum, no acknowledgement, no error answer.
 *
 * Errors: the peer cannot be told, so the connection ends, behind the replies before. err counts:
 *  - a length over max_message_size (before anything is allocated), and no delimiter or end within
 *    max_message_size
 *  - silence or too slow a pace inside a message
 *  - a body that cannot be stored, and a message that the handler could not take
 *  - a reply that the framing cannot carry: a fixed one of another size, a delimiter inside it, one
 *    over FRAME_SEND_MAX, a second one with eof
 *
 * A message that the handler refuses counts as rej. If a reply would have gone back for it, the
 * connection ends at that place: replies are matched to messages by their order alone, so none may
 * be missing. Otherwise nothing is sent, and the connection goes on. A message cut short by the end
 * of the stream is dropped and not counted here.
 *
 * There is no answer to a frame. So between messages a frame that leaves is a sign of life too: a
 * peer that reads need not send. The connection itself watches a peer that does not read.
 *
 * eof: one message in each direction, which ends with the stream. A server's connection ends behind
 * the reply. push takes the one message of this side; a client then shuts down its writing side. A
 * peer that closes without a byte has sent an empty message.
 *
 * HTTP: a server's connection that begins with the line of a request ends, err counts it, and
 * nothing of the line is handed on. If a message could end inside such a line (fixed, or a
 * delimiter of its characters), the first bytes are held in io->lookahead until they are known to
 * be something else, and then fed again (PROTO_BECOME). Silence inside them is no error: it ends
 * the waiting.
 *
 * Invariant: between two calls the struct holds everything the protocol knows about the connection,
 * apart from the body of the message being built (io->message). No pointers. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "proto/limits.h"
#include "proto/proto.h"

/* --- requests of HTTP (frame_scan.c) --- */

/* Whether a connection begins with the line of an HTTP request (docs/protocol.md 4): a web page can
 * make a browser send one to any port, and must not be able to speak to a frame listener with it.
 * Such a line is a method, a space, a target without spaces, a space, and "HTTP/1."; nothing else
 * is, so other first messages that begin with a method are let through. */

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

/* Goes on where another process stopped between two messages: moved may hold any bytes. False where
 * it cannot stand so there. */
bool frame_http_adopt(struct frame_http *http, const struct frame_http *moved);

/* Whether this byte, not a space, can stand in a target. */
bool frame_http_in_target(uint8_t byte);

/* --- delimiters (frame_scan.c) --- */

/* Looking for the delimiter of a framing (docs/protocol.md 4): in whole chunks, at their ends, and
 * in what is about to be sent. */

/* Where the first delimiter begins in n bytes (1 or more), or n: there is none. */
size_t delimiter_find(const struct framing *framing, const uint8_t *data, size_t n);

/* How many bytes at the end, in which there is no delimiter, may turn out to belong to one, with a
 * CR before it where that is dropped. At most FRAMING_DELIMITER_MAX. */
size_t delimiter_undecided(const struct framing *framing, const uint8_t *data, size_t n);

/* The peer would find a delimiter before the one behind this message: inside it, or beginning in it
 * and ending in the one behind. */
bool delimiter_inside(const struct framing *framing, const uint8_t *data, size_t n);

#define FRAME_HEADER   4                 /* of length32 */
#define FRAME_HOLD_MAX 65536             /* bytes held until it is known that they are no HTTP */
#define FRAME_SEND_MAX ((size_t)1 << 30) /* bytes of one message on its way out */

enum frame_state {
    FRAME_IDLE,   /* between messages; no byte of a next one has come */
    FRAME_LENGTH, /* inside the 4 bytes of a length */
    FRAME_BODY,   /* inside a body, or the delimiter behind it */
    FRAME_CLOSED, /* nothing is consumed any more */
};

struct frame {
    uint8_t state;                       /* enum frame_state */
    uint8_t role;                        /* enum proto_role */
    bool sent;                           /* eof: the one message of this side is on its way */
    uint8_t have;                        /* bytes of held[] that are there */
    uint8_t held[FRAMING_DELIMITER_MAX]; /* length32: the length; delimiter: what may be the
                                            beginning of one, and a CR before it */
    bool holding;                        /* the first bytes are in io->lookahead */
    struct frame_http http;              /* what they look like so far */
    uint32_t left;                       /* length32 and fixed: bytes of the body still to come */
    uint64_t begun_us;                   /* first byte of the message, monotonic */
    uint64_t heard_us;                   /* last byte, monotonic */
    uint64_t said_us;                    /* last message for the peer, monotonic; 0: none yet */
    uint64_t received;                   /* bytes since begun_us, for the minimal rate */
};

extern const struct proto_ops frame_protocol;

#endif
