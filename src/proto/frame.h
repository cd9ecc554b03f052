/* Plain frames (docs/protocol.md 4), on either side of the connection: four ways to tell messages
 * apart, limits->framing, and nothing else: no checksum, no acknowledgement, no word for an error.
 *
 * What cannot be said is done: wherever the peer would have to be told, the connection ends. It
 * ends, with err counted, on a length over max_message_size (before anything is allocated), where
 * no delimiter and no end comes within max_message_size, on silence or too slow a pace inside a
 * message, on a body that cannot be stored, on a message that the handler could not take, and on a
 * reply that the framing cannot carry (a fixed one of another size, a delimiter inside it, over
 * FRAME_SEND_MAX, a second one where there is only one, see below). A message that the handler
 * refuses counts as rej. If a reply would have gone back for it, the connection ends at that place:
 * replies are matched to messages by their order alone, so none may be left out. Otherwise nothing
 * is sent and the connection goes on. A message cut short by the end of the stream is dropped
 * without being counted. In all these cases the replies before still leave.
 *
 * Nothing answers a frame, so between messages one that leaves is a sign of life too: a peer that
 * takes what it is sent need not speak. One that takes nothing is the connection's business.
 *
 * eof: one message in each direction, which ends with the stream. A server's connection ends behind
 * the reply. What push takes is the one message of this side; a client then shuts down its writing
 * side. A peer that closes without a word has sent an empty message.
 *
 * A server's connection that begins with the line of an HTTP request ends, with err counted, and
 * nothing of that line is handed on. Where a message could end inside such a line (fixed, or a
 * delimiter of the characters in it), the first bytes are held in io->lookahead until they are
 * known to be something else, and then fed again (PROTO_BECOME); so silence inside of them is no
 * error, but the end of the waiting.
 *
 * Invariant: between two calls the struct holds everything the protocol knows about the connection,
 * apart from the body of the message being built (io->message). No pointers. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "proto/frame_http.h"
#include "proto/proto.h"

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
