/* One packet of the hand-over socket: a connection on its way to another worker, as bytes. Who
 * reads it trusts nothing of it. Both ends have the same structs, as handover_meaning says, so
 * numbers and structs stand in it as they are in memory. */
#ifndef WORKER_HANDOVER_PACKET_H
#define WORKER_HANDOVER_PACKET_H

#include "proto/proto_table.h"
#include "worker/conn.h"

#define HANDOVER_VERSION  "handover 1"  /* raise it where bytes of a packet get another meaning */
#define HANDOVER_REST_MAX (64u * 1024u) /* bytes behind the packet's fixed part */

/* The fixed part. One of another size is not understood. Behind it come the handler's bytes,
 * messages that wait for a peer that has not said a word yet, and what the window remembers. */
struct handover_packet {
    uint32_t size; /* of this struct: another build's is not understood */
    uint32_t proto;
    uint32_t mark_len, outbox_len, window_len;
    uint32_t stats_id; /* of the listener: several may be called port 0 */
    uint32_t meaning;  /* handover_meaning of where it comes from */
    uint64_t began_us;
    uint8_t peer_address[16]; /* as in the statistics, and so are the next two */
    uint16_t peer_port;
    uint8_t peer_family;
    union proto_state state;
    char listener[256];
};

/* Puts a packet, what stands behind it, and the connection's descriptor into the socket. Returns 0,
 * or -1 with errno as sendmsg. Does not block. */
MS_MUST_CHECK int
handover_send(int to, const struct handover_packet *packet, const struct buffer *rest, int fd);

/* Takes one out: fills packet, and rest, which has room for HANDOVER_REST_MAX bytes, as far as it
 * goes. Returns its length, or -1 with errno where there is none: EPIPE where there will be none
 * any more, since somebody has shut the socket down. *fd_out is the caller's, or -1 where it did
 * not have exactly one descriptor. Does not block. */
ssize_t handover_receive(int from, struct handover_packet *packet, uint8_t *rest, int *fd_out);

/* Reads a packet of n bytes in all, of which those behind the fixed part are at rest; packet itself
 * may be filled in part. moved_out then points into both. Whether the state makes sense is for the
 * protocol to say. False where it is no packet. */
MS_MUST_CHECK bool handover_decode(const struct handover_packet *packet, const uint8_t *rest,
                                   size_t n, struct conn_moved *moved_out);

/* It is of the listener with that row, that name and that meaning. A row of the statistics may be
 * another listener's by now, so all have to fit. */
bool handover_is_of(const struct handover_packet *packet, uint32_t stats_id, uint32_t meaning,
                    const char *name);

#endif
