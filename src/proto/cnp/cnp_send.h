/* Messages of ours on their way to the peer of cnp: cut into packets, kept until their ACK, and
 * sent again (docs/protocol.md 3.3). For cnp's own files. */
#ifndef PROTO_CNP_CNP_SEND_H
#define PROTO_CNP_CNP_SEND_H

#include "proto/cnp/cnp.h"

/* Sends what the window allows. PROTO_MORE, or PROTO_CLOSE where a message that was pushed before
 * the handshake turns out not to fit. */
enum proto_event cnp_pump(struct cnp *cnp, struct proto_io *io);

/* Whether a message of n bytes can go to this peer. The handshake is complete. */
bool cnp_fits(const struct cnp *cnp, size_t n);

/* The peer has the packet; more may leave. PROTO_FLUSH where it was the last one of a message of a
 * client's. */
enum proto_event cnp_acknowledged(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* An ACK that does not have its checksum, and hence takes nothing off. PROTO_MORE, or PROTO_FLUSH
 * as above. */
enum proto_event cnp_damaged_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* ERROR, or NACK, whose payload is in the window's control buffer. */
enum proto_event cnp_heard_error(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* Keeps the text of an ERROR or of a refused handshake, for a client that asks. */
void cnp_note_refusal(struct proto_io *io, const char *text);

/* Sends again what is due. */
enum proto_event cnp_resend_due(struct cnp *cnp, struct proto_io *io);

#endif
