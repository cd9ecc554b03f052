/* The handshake of cnp (docs/protocol.md 3.2 and, with the dialect told from the SYN, 3.4). For
 * cnp's own files. */
#ifndef PROTO_CNP_CNP_HANDSHAKE_H
#define PROTO_CNP_CNP_HANDSHAKE_H

#include "proto/cnp/cnp.h"

/* Server: some bytes of the SYN, header and payload. */
enum proto_event
cnp_syn_feed(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used);

/* Client: says SYN. */
void cnp_say_syn(struct cnp *cnp, struct proto_io *io);

/* A header is whole in CNP_SESSION or CNP_ASKED: PROTO_CLOSE where no such packet may come now. */
enum proto_event cnp_step_begin(struct cnp *cnp, struct proto_io *io);

/* Its payload is whole, in the window's control buffer, and has its checksum. */
enum proto_event cnp_step_end(struct cnp *cnp, struct proto_io *io);

/* It is damaged: said so and waited for again, or, after too many of them, PROTO_CLOSE. */
enum proto_event cnp_step_damaged(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

#endif
