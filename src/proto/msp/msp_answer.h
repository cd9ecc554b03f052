/* What the server of msp says: the answer lines of docs/protocol.md 1.2, each with its counter. For
 * msp's own files. */
#ifndef PROTO_MSP_MSP_ANSWER_H
#define PROTO_MSP_MSP_ANSWER_H

#include "proto/msp/msp.h"

/* ACK without a number. */
void msp_say_ack(struct proto_io *io);

/* ACK <N>: chooses the grant (1.3) and lays out the next packet. */
void msp_say_grant(struct msp *msp, struct proto_io *io);

/* NACK1, and what has arrived is dropped; or ERR retries, where there were too many. The state that
 * follows NACK1 is the caller's to set. */
enum proto_event msp_say_nack1(struct msp *msp, struct proto_io *io);

/* NACK2 likewise: back between messages, with the NACKs so far remembered. */
enum proto_event msp_say_nack2(struct msp *msp, struct proto_io *io);

/* REJ: the message is dropped, the connection is between messages. Always PROTO_MORE. */
enum proto_event
msp_say_rej(struct msp *msp, struct proto_io *io, const char *code, const char *text);

/* ERR: the message is dropped, the connection ends. Always PROTO_CLOSE. */
enum proto_event
msp_say_err(struct msp *msp, struct proto_io *io, const char *code, const char *text);

/* REJ no-space or ERR internal, as errno error has it, for a message that could not be stored. */
enum proto_event msp_say_store_error(struct msp *msp, struct proto_io *io, int error);

/* Between messages: nothing of the last one is left. */
void msp_message_done(struct msp *msp, struct proto_io *io);

#endif
