/* The peer's DATA and FRAGMENTs, put in order and into messages (docs/protocol.md 3.3, 3.4). For
 * cnp's own files. */
#ifndef PROTO_CNP_CNP_RECEIVE_H
#define PROTO_CNP_CNP_RECEIVE_H

#include "proto/cnp/cnp.h"

/* Its header is in cnp->header: says in cnp->into where the payload goes. PROTO_CLOSE where it may
 * not come at all. */
enum proto_event cnp_data_begin(struct cnp *cnp, struct proto_io *io);

/* Its payload is whole, and has its checksum. */
enum proto_event cnp_data_end(struct cnp *cnp, struct proto_io *io, struct message **message_out);

/* Its payload is damaged: as if it had not come. */
void cnp_data_damaged(struct cnp *cnp, struct proto_io *io);

/* A kept packet has its turn. */
bool cnp_has_turn(const struct cnp *cnp, const struct proto_io *io);

/* Puts kept packets into their message while they have their turn: PROTO_MESSAGE for each message
 * that becomes whole; PROTO_MORE when there are no more. */
enum proto_event cnp_release(struct cnp *cnp, struct proto_io *io, struct message **message_out);

/* The ACK of that packet got lost, if there was one. */
void cnp_repeat_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

#endif
