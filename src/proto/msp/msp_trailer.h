/* The trailer of msp (docs/protocol.md 1.1, 1.3 TRAILER, 1.8): what a whole message turns out to
 * be. For msp's own files. */
#ifndef PROTO_MSP_MSP_TRAILER_H
#define PROTO_MSP_MSP_TRAILER_H

#include "proto/msp/msp.h"

/* The fixed part is in head[]. Takes room for VALUE. */
enum proto_event msp_trailer_begin(struct msp *msp, struct proto_io *io);

/* VALUE is whole: checks everything and hands the message over, or answers. */
enum proto_event
msp_trailer_end(struct msp *msp, struct proto_io *io, struct message **message_out);

#endif
