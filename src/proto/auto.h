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
#ifndef PROTO_AUTO_H
#define PROTO_AUTO_H

#include "proto/proto.h"

#define AUTO_LOOKAHEAD_MAX (12 + 65535) /* the largest first packet of cnp, second dialect */

struct auto_detect {
    uint32_t have;     /* bytes in io->lookahead */
    uint64_t begun_us; /* the first of them, monotonic */
    uint64_t heard_us; /* the last of them */
};

extern const struct proto_ops auto_protocol;

#endif
