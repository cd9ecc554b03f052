/* The load's messages as bytes on the wire (docs/protocol.md 1.1). All have the same body, so what can
 * be computed once is: the digest, the first packet, whole messages to be sent ahead, and sums from
 * which the CRC-32 of any further packet follows without reading it again. */
#ifndef MSOCK_BENCH_MESSAGE_H
#define MSOCK_BENCH_MESSAGE_H

#include "bench.h"

#define MESSAGE_FIRST_HEADER  50u
#define MESSAGE_FIRST_BODY    1998u
#define MESSAGE_PACKET_HEADER 6u
#define MESSAGE_TRAILER_MAX   128u /* of those built here */

struct bench_message {
    uint8_t *body;
    uint64_t size;
    uint8_t digest[32];
    uint32_t *prefix_crc; /* of the first n blocks of the body */
    uint8_t first[MESSAGE_FIRST_HEADER];
    char kind;      /* of the trailer: A, J, F */
    uint8_t flags;  /* of the trailer */
    bool unique;    /* trailers differ: they carry an id or a path */
    uint32_t run;   /* in ids and paths, so that two runs do not share any */
    uint8_t *burst; /* whole messages, one behind the other; NULL where one does not fit a packet */
    size_t burst_count; /* messages in it */
    size_t whole_len;   /* of one of them */
};

/* Builds it. Returns 0, or -1 without memory. message_fini in both cases. */
int message_init(struct bench_message *message, const struct bench_options *options);
void message_fini(struct bench_message *message);

/* Body bytes of the first packet. */
size_t message_first_len(const struct bench_message *message);

/* Writes the header of the further packet with the body bytes from offset on. */
void message_packet(const struct bench_message *message, uint64_t offset, size_t len,
                    uint8_t out[MESSAGE_PACKET_HEADER]);

/* Writes the trailer of message number seq of a connection. Returns its length. */
size_t message_trailer(const struct bench_message *message, uint32_t connection, uint64_t seq,
                       uint8_t out[MESSAGE_TRAILER_MAX]);

/* Whole messages from number seq on, at most burst_count; the bytes are valid until the next call where
 * the messages are unique. Returns how many bytes that are. */
size_t message_burst(struct bench_message *message, uint32_t connection, uint64_t seq,
                     uint32_t count, const uint8_t **data_out);

#endif
