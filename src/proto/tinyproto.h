/* tinyproto (docs/protocol.md 2), on either side of the connection.
 *
 * This side begins a transmission only between those of the peer. If both begin at once, the server
 * answers the client's SIZE and keeps waiting for the OK to its own. The client keeps the server's
 * SIZE and answers it behind its own payload.
 *
 * Errors: every error has the same answer, GENERIC_ERROR. It ends the connection, and err counts:
 *  - a signal in a wrong place, and a SIZE over the limit
 *  - silence or too slow a pace inside a message, and silence in place of an OK
 *  - a body that cannot be stored, and a message that the handler could not take
 *  - a reply over TINYPROTO_SEND_MAX
 * If the message or its reply is at fault, and not the peer's bytes, the replies before still
 * leave.
 *
 * A message that the handler refuses counts as rej. If a reply would have gone back for it, the
 * connection ends at that place: replies are matched to messages by their order alone, so none may
 * be missing. Otherwise nothing is sent, and the connection goes on. A message cut short by the end
 * of the stream is dropped and not counted here. A connection that is idle for too long is closed
 * without a word.
 *
 * Invariant: while asking, the message whose SIZE is out is the first of io->outbox. No
 * pointers. */
#ifndef PROTO_TINYPROTO_H
#define PROTO_TINYPROTO_H

#include "proto/proto.h"

#define TINYPROTO_SIZE_LEN 4
#define TINYPROTO_SEND_MAX (UINT32_C(1) << 30) /* what the queue of answers takes in one piece */

/* Memory of messages that may wait for a peer that sends on without taking them; and where memory
 * is low. */
#define TINYPROTO_BACKLOG_MAX (UINT32_C(1) << 20)
#define TINYPROTO_BACKLOG_LOW (UINT32_C(16) << 10)

enum tinyproto_signal {
    TINYPROTO_GENERIC_ERROR = 0x00,
    TINYPROTO_CONFLICT = 0xfd,
    TINYPROTO_CONLIMIT = 0xfe,
    TINYPROTO_OK = 0xff,
};

enum tinyproto_state {
    TINYPROTO_OPENING, /* the peer's first OK has not come */
    TINYPROTO_BETWEEN, /* between the peer's messages */
    TINYPROTO_SIZE,    /* inside the 4 bytes of a SIZE */
    /* client: a SIZE that crossed ours is whole; it is answered behind our payload */
    TINYPROTO_HELD,
    TINYPROTO_PAYLOAD, /* inside the peer's payload */
    TINYPROTO_CLOSED,  /* nothing is consumed any more */
};

struct tinyproto {
    uint8_t state;                    /* enum tinyproto_state */
    uint8_t role;                     /* enum proto_role */
    uint8_t have;                     /* bytes of head[] that are there */
    bool asking;                      /* our SIZE is out, its OK has not come */
    bool passed;                      /* and the peer was let go first since */
    uint8_t head[TINYPROTO_SIZE_LEN]; /* the peer's SIZE under way */
    uint32_t left;                    /* bytes of the peer's payload still to come */
    uint64_t begun_us;                /* the peer's SIZE began, or its payload may, monotonic */
    uint64_t received;                /* bytes since begun_us, for the minimal rate */
    uint64_t heard_us;                /* last byte, monotonic */
    uint64_t asked_us;                /* our last SIZE, or a client's opening, monotonic */
};

extern const struct proto_ops tinyproto_protocol;

#endif
