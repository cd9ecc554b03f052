/* The two halves of cnp on a connection of the load (docs/protocol.md 3). */
#ifndef MSOCK_BENCH_CNP_H
#define MSOCK_BENCH_CNP_H

#include "bench_conn.h"

#define CNP_HEADER      11u
#define CNP_TYPE_AT     4u
#define CNP_SEQUENCE_AT 5u
#define CNP_SUM_AT      7u
#define CNP_SUM_LEN     4u
#define CNP_ACK_LEN     14u

enum cnp_type {
    CNP_DATA = 1, /* and SYN */
    CNP_ACK = 2,  /* and SYN-ACK, and the client's last step */
    CNP_ERROR = 3,
    CNP_KEEPALIVE = 4,
    CNP_DISCONNECT = 5,
    CNP_FRAGMENT = 6,
};

/* The message as packets of the size that was agreed: from one server it is the same each time. */
struct cnp_wire {
    const uint8_t *body; /* the message's */
    uint64_t size;
    uint32_t packet_max;
    uint64_t packets;         /* of a message */
    uint8_t *heads;           /* of these; SEQUENCE is 0 */
    uint8_t ack[CNP_ACK_LEN]; /* SEQUENCE is 0 */
};

/* --- bench_cnp.c --- */

/* The largest packet that is of use: of the whole message, or what it is cut for already. */
uint32_t cnp_packet_wish(const struct cnp_wire *w);

/* Cuts the message for that size, the first time. False: no memory. */
bool cnp_wire_cut(struct cnp_wire *w, uint32_t packet_max);

/* Bytes of the part-th packet of a message. */
size_t cnp_packet_len(const struct cnp_wire *w, uint64_t part);

void cnp_sum(const void *data, size_t n, uint8_t out[CNP_SUM_LEN]);

/* Puts a packet of control. */
void cnp_put(struct conn *conn, enum cnp_type type, uint16_t sequence, const char *text);

/* Puts that packet of ours, counted from 0 since the connection was opened. */
void cnp_put_packet(struct conn *conn, uint64_t packet);

/* Which of our packets in flight has that SEQUENCE. False: none. */
bool cnp_in_flight(const struct conn *conn, uint16_t sequence, uint64_t *packet_out);

/* --- bench_cnp_answer.c --- */

/* As feed of struct bench_protocol. */
size_t cnp_feed(struct conn *conn, const uint8_t *data, size_t n);

#endif
