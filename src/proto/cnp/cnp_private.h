/* What the files of cnp share. */
#ifndef PROTO_CNP_CNP_PRIVATE_H
#define PROTO_CNP_CNP_PRIVATE_H

#include "proto/cnp/cnp.h"

/* --- cnp_answer.c --- */

/* What either side of cnp says about the other's packets, each with its counter. For cnp's own
 * files. */

/* Appends a whole packet: header has its type, sequence and LAST, the rest follows from the
 * payload. */
void cnp_packet(const struct cnp *cnp, const struct proto_io *io, struct buffer *out,
                struct cnp_header *header, const void *payload, size_t n);

/* A packet of control: type is the one on the wire. last: as in cnp_farewell. */
void cnp_say(struct cnp *cnp, struct proto_io *io, uint8_t type, uint16_t sequence,
             const void *payload, size_t n, bool last);

void cnp_say_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* ERROR, with which the connection goes on; counted by the caller. */
void cnp_say_error(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
                   const char *text);

/* ERROR `checksum`, counted. */
void cnp_say_damaged(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* ERROR with which the connection ends, counted. Always PROTO_CLOSE. */
enum proto_event cnp_say_close(struct cnp *cnp, struct proto_io *io, uint16_t sequence,
                               const char *code, const char *text);

/* The connection ends with these bytes, behind the answers to messages that are with their handler.
 * Where it ends already they are dropped. Always PROTO_CLOSE. */
enum proto_event cnp_farewell(struct cnp *cnp, struct proto_io *io, const void *data, size_t n);

/* A message was settled: the farewell may have its time. */
void cnp_farewell_due(struct cnp *cnp, struct proto_io *io);

/* The connection ends without a word. Always PROTO_CLOSE. */
enum proto_event cnp_end(struct cnp *cnp);

/* --- cnp_send.c --- */

/* Messages of ours on their way to the peer of cnp: cut into packets, kept until their ACK, and
 * sent again (docs/protocol.md 3.3). For cnp's own files. */

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

/* --- cnp_receive.c --- */

/* The peer's DATA and FRAGMENTs, put in order and into messages (docs/protocol.md 3.3, 3.4). For
 * cnp's own files. */

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

/* --- cnp_handshake.c --- */

/* The handshake of cnp (docs/protocol.md 3.2 and, with the dialect told from the SYN, 3.4). For
 * cnp's own files. */

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
