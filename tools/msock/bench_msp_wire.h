/* The load's messages as bytes of msp (docs/protocol.md 1.1). What can be computed once is: the
 * digest, the first packet, whole messages to be sent ahead, and sums from which the CRC-32 of any
 * further packet follows without reading it again. */
#ifndef MSOCK_BENCH_MSP_WIRE_H
#define MSOCK_BENCH_MSP_WIRE_H

#include "bench_message.h"

#define MSP_FIRST_HEADER  50u
#define MSP_FIRST_BODY    1998u
#define MSP_PACKET_HEADER 6u
#define MSP_TRAILER_MAX   128u /* of those built here */

struct msp_wire {
    const uint8_t *body; /* the message's */
    uint64_t size;
    uint8_t digest[32];
    uint32_t *prefix_crc; /* of the first n blocks of the body */
    uint8_t first[MSP_FIRST_HEADER];
    char kind;      /* of the trailer: A, J, F */
    uint8_t flags;  /* of the trailer */
    bool unique;    /* trailers differ: they carry an id or a path */
    uint32_t run;   /* in ids and paths */
    uint8_t *burst; /* whole messages, one behind the other; NULL where one does not fit a packet */
    size_t burst_count; /* messages in it */
    size_t whole_len;   /* of one of them */
};

/* Makes message->wire. Returns 0, or -1 without memory. */
int msp_wire_create(struct bench_message *message, const struct bench_options *options);
void msp_wire_destroy(void *wire);

/* Body bytes of the first packet. */
size_t msp_first_len(const struct msp_wire *wire);

/* Writes the header of the further packet with the body bytes from offset on. */
void msp_packet(const struct msp_wire *wire, uint64_t offset, size_t len,
                uint8_t out[MSP_PACKET_HEADER]);

/* Writes the trailer of message number seq of a connection. Returns its length. */
size_t msp_trailer(const struct msp_wire *wire, uint32_t connection, uint64_t seq,
                   uint8_t out[MSP_TRAILER_MAX]);

/* Whole messages from number seq on, at most burst_count; the bytes are valid until the next call
 * where the messages are unique. Returns how many bytes that are. */
size_t msp_burst(const struct msp_wire *wire, uint32_t connection, uint64_t seq, uint32_t count,
                 const uint8_t **data_out);

#endif
