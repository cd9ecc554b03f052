/* Packets of cnp written and read by hand, for its tests: from docs/protocol.md 3, not with the
 * code that is tested (but for MD5). */
#ifndef TESTS_UNIT_CNP_PACKETS_H
#define TESTS_UNIT_CNP_PACKETS_H

#include "proto_peer.h"

enum {
    T_DATA = 1,
    T_ACK = 2,
    T_ERROR = 3,
    T_KEEPALIVE = 4,
    T_DISCONNECT = 5,
    T_FRAGMENT = 6,
};

/* The session's id that proto_peer's nonce makes. */
#define PEER_SESSION "{\"session_id\": \"0123456789abcdef\"}"

/* Appends a packet; last is -1 for the first dialect, else the byte LAST. */
void
put_packet(struct buffer *out, int type, unsigned seq, int last, const void *payload, size_t n);

/* Appends a packet of the first dialect. */
void put(struct buffer *out, int type, unsigned seq, const char *text);

/* Appends a packet of the second dialect. */
void put_second(struct buffer *out, int type, unsigned seq, int last, const char *text);

/* The same with a payload that does not have its checksum. text is not empty. */
void put_damaged(struct buffer *out, int type, unsigned seq, const char *text);

/* The peer hears what was put, and the buffer is empty again. */
void hear(struct proto_peer *p, struct buffer *wire);

/* The peer hears one packet of the first dialect. */
void hear_one(struct proto_peer *p, int type, unsigned seq, const char *text);

/* The next packet that it has said is this one, checksum included; part is in its payload. */
void expect_packet(struct proto_peer *p, int type, unsigned seq, int last, const char *part);

/* The same for the first dialect. */
void expect(struct proto_peer *p, int type, unsigned seq, const char *part);

/* The next packet is the ACK of seq. */
void expect_ack(struct proto_peer *p, unsigned seq);

/* It has said nothing more. */
void expect_silence(struct proto_peer *p);

/* The handshake of the first dialect as far as the peer's last step. */
void put_handshake(struct buffer *out, const char *syn);

/* A server whose handshake is done and whose SYN-ACK was looked at. */
void peer_ready(struct proto_peer *p, const char *syn);

/* The same of a peer that was not initialised, with default limits. */
void begin_ready(struct proto_peer *p, const char *syn);

/* These messages were handed over, and no more. */
void expect_bodies(const struct proto_peer *p, const char *const *bodies, size_t n);

#define BURST      "{\"operation_mode\": \"burst\"}"
#define BURST_OF_4 "{\"operation_mode\": \"burst\", \"window_size\": 4}"
#define FRAGMENTS                                                                   \
    "{\"operation_mode\": \"burst\", \"fragments\": true, \"max_packet_size\": 8, " \
    "\"window_size\": 4}"

#endif
