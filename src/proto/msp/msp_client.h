/* The client's side of msp (docs/protocol.md 1.1, 1.5 to 1.8): lays out packets and trailers,
 * follows the server's answers, and reads reply blocks. For msp_ops.c.
 *
 * What fits into one packet is sent ahead, any number of messages behind each other. A larger
 * message begins when all before it are settled; it goes packet by packet, and its digest with the
 * trailer. A strict message waits for each answer, and its digest stands in its first packet.
 * Nothing is laid out but by msp_client_work, so that the caller can stop between two packets.
 *
 * What ends the connection: an answer that makes no sense here, a NACK to what was sent ahead, too
 * many NACKs, a damaged reply, a message that cannot be read. results->complaint names it, or
 * results->error.
 *
 * Invariant: the messages from first up to unsent, which is left out, wait for their final answer,
 * in this order. */
#ifndef PROTO_MSP_MSP_CLIENT_H
#define PROTO_MSP_MSP_CLIENT_H

#include "proto/msp/msp_wire.h"
#include "proto/proto.h"

struct msp_client;

struct msp_client *msp_client_create(void);
void msp_client_destroy(struct msp_client *c); /* NULL is fine */

/* See struct proto_ops. */
int msp_client_send(struct msp_client *c, struct outgoing *out);
bool msp_client_work(struct msp_client *c, struct proto_io *io);
enum proto_event msp_client_feed(struct msp_client *c, struct proto_io *io, const uint8_t *data,
                                 size_t n, size_t *consumed_out, struct message **message_out);

/* No message waits for its final answer. */
bool msp_client_idle(const struct msp_client *c);

#endif
