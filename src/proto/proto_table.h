/* The table of wire protocols, and auto, which finds out what a peer speaks. */
#ifndef PROTO_PROTO_TABLE_H
#define PROTO_PROTO_TABLE_H

#include "proto/cnp/cnp.h"
#include "proto/frame.h"
#include "proto/msp/msp.h"
#include "proto/proto.h"
#include "proto/tinyproto.h"

/* --- auto.c --- */

/* Tells the protocols apart by a connection's first bytes (docs/protocol.md 5), and becomes the one
 * it finds. The first of these that holds:
 *
 *   FF first                                                     tinyproto
 *   CRLF at 8, 42 and 48                                         msp
 *   TYPE 01 at 4, LENGTH from 2 to 65535, a CHECKSUM that holds
 *   for a payload at 11 or 12, which begins with {               cnp
 *   a length within max_message_size                             frame, length32
 *   nothing of all that                                          PROTO_CLOSE, err counted
 *
 * It is found as soon as the bytes at hand exclude all others. Three cases need more than that, for
 * short frames after which their sender waits:
 *  - A whole frame is there and nothing more is waiting, it is no cnp, and as an msp it would
 *    announce more than max_message_size: a frame. (An msp of that size whose first 8 bytes do not
 *    come together is thus taken for a frame.)
 *  - All is silent for timeout_us, or the peer has shut down its writing side, and what is there
 *    ends with a whole frame: frames. So it goes with an empty frame, which is also how most msp
 *    begin, and with one that could be a cnp cut short.
 *  - The same, but what is there is no whole frame: PROTO_CLOSE, err counted where it was silence.
 *
 * Bytes that are not enough wait in io->lookahead, at most AUTO_LOOKAHEAD_MAX of them; where the
 * first chunk is enough, none is consumed. What is pushed waits in io->outbox for whoever it
 * becomes. No message is handed over and so none is settled. For servers only. */

#define AUTO_LOOKAHEAD_MAX (12 + 65535) /* the largest first packet of cnp, second dialect */

struct auto_detect {
    uint32_t have;     /* bytes in io->lookahead */
    uint64_t begun_us; /* the first of them, monotonic */
    uint64_t heard_us; /* the last of them */
};

extern const struct proto_ops auto_protocol;

/* --- proto_table.c --- */

/* A row a protocol: its struct proto_ops is NAME_protocol, its state in a connection struct STATE.
 * The rows are numbers in shared memory: a new one goes to the end. */
#define PROTOCOLS(X)        \
    X(auto, auto_detect)    \
    X(msp, msp)             \
    X(tinyproto, tinyproto) \
    X(cnp, cnp)             \
    X(frame, frame)

/* Room for the state of any of them. */
union proto_state {
#define X(name, state) struct state state;
    PROTOCOLS(X)
#undef X
    struct msp_client_state msp_client; /* of msp in the client's role */
};

/* The protocol of that name, or NULL. */
const struct proto_ops *proto_find(const char *name);

/* The protocol in that row of the table, or NULL behind its end; and the row of a protocol. */
const struct proto_ops *proto_at(size_t row);
size_t proto_row(const struct proto_ops *proto);

/* --- client_url.c --- */

/* The options of a client's URL, but key_file, pick and those of TLS: what it asks its protocol
 * for. */

#define CLIENT_REASON_LEN 256
#define CLIENT_WINDOW_MAX 1024 /* packets, as on the server's side */

struct client_url {
    struct framing framing;
    uint32_t window_size; /* cnp: 1 is step-by-step */
    enum proto_role role; /* tinyproto: on a connection that somebody else has made */
};

/* max_message_size bounds framing=fixed:N. Returns 0, or -1 with a sentence in reason. */
MS_MUST_CHECK int
client_url_read(const struct proto_ops *ops, const struct url *url, uint64_t max_message_size,
                struct client_url *asked_out, char reason[CLIENT_REASON_LEN]);

#endif
