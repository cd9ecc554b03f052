/* What either side of cnp says about the other's packets, each with its counter. For cnp's own
 * files. */
#ifndef PROTO_CNP_CNP_ANSWER_H
#define PROTO_CNP_CNP_ANSWER_H

#include "proto/cnp/cnp.h"

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

#endif
