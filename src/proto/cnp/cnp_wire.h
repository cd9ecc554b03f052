/* The packets of cnp as bytes (docs/protocol.md 3.1, 3.4): headers of both dialects, the ACK, and
 * the payload of an ERROR. */
#ifndef PROTO_CNP_CNP_WIRE_H
#define PROTO_CNP_CNP_WIRE_H

#include "common/text.h"

/* --- the checksum (cnp_wire.c) --- */

/* The checksum of cnp: the first 4 bytes of MD5 over a payload (docs/protocol.md 3.1). It finds
 * damage, not forgery. A struct cnp_sum fetches the algorithm once and keeps its contexts: one of
 * them runs over a packet that arrives in pieces, the other sums what is there in one piece
 * meanwhile. */

#define CNP_SUM_LEN 4

struct cnp_sum;

/* NULL with errno ENOTSUP: this libcrypto has no MD5. */
MS_MUST_CHECK struct cnp_sum *cnp_sum_create(void);
void cnp_sum_destroy(struct cnp_sum *sum); /* NULL is fine */

/* The running sum: begun anew, continued, and ended. */
void cnp_sum_begin(struct cnp_sum *sum);
void cnp_sum_update(struct cnp_sum *sum, const void *data, size_t n);
void cnp_sum_finish(struct cnp_sum *sum, uint8_t out[CNP_SUM_LEN]);

/* The sum of n bytes in one piece. Leaves the running one alone. */
void cnp_sum_whole(struct cnp_sum *sum, const void *data, size_t n, uint8_t out[CNP_SUM_LEN]);

/* The same for those who keep no struct cnp_sum. Fetches the algorithm each time. Zeros where this
 * libcrypto has no MD5. */
void cnp_sum_of(const void *data, size_t n, uint8_t out[CNP_SUM_LEN]);

#define CNP_HEADER_LEN        11
#define CNP_SECOND_HEADER_LEN 12 /* with LAST */
#define CNP_HEADER_MAX        CNP_SECOND_HEADER_LEN
#define CNP_ACK_MAX           (CNP_HEADER_MAX + 3)
#define CNP_SEQUENCES         65535 /* 1, 2, ... 65535, 1, ...; 0 is not one of them */
#define CNP_ERROR_MAX         400   /* bytes of the payload of an ERROR of ours */

/* The kinds of packets, the same for both dialects. In the handshake all but the SYN are CNP_ACK or
 * CNP_STEP. */
enum cnp_kind {
    CNP_DATA,       /* ends its message */
    CNP_FRAGMENT,   /* more of its message follows */
    CNP_ACK,        /* of the packet with that SEQUENCE */
    CNP_ERROR,      /* about the packet with that SEQUENCE; NACK in the second dialect */
    CNP_KEEPALIVE,  /* first dialect only */
    CNP_DISCONNECT, /* the sender is about to leave */
    CNP_STEP,       /* second dialect: HANDSHAKE-ACK */
    CNP_CHANNEL,    /* second dialect: channel configuration, ignored */
    CNP_UNKNOWN,
};

#define CNP_STEP_SYN     0x01 /* in either dialect */
#define CNP_STEP_SYN_ACK 0x02
#define CNP_STEP_OLD     0x03 /* the client's last handshake step, from old clients */

struct cnp_header {
    uint32_t length; /* of the payload */
    uint16_t sequence;
    uint8_t type; /* as on the wire */
    bool last;    /* second dialect: LAST is not 0 */
    uint8_t sum[CNP_SUM_LEN];
};

static inline size_t
cnp_header_len(bool second)
{
    return second ? CNP_SECOND_HEADER_LEN : CNP_HEADER_LEN;
}

void cnp_header_decode(const uint8_t *in, bool second, struct cnp_header *header_out);

/* Returns the length, 11 or 12. */
size_t cnp_header_encode(uint8_t out[CNP_HEADER_MAX], bool second, const struct cnp_header *header);

/* The kind of a packet after the handshake, and the TYPE of a kind. cnp_type is for kinds that the
 * dialect has. */
enum cnp_kind cnp_kind(const struct cnp_header *header, bool second);
uint8_t cnp_type(enum cnp_kind kind, bool second);

/* A whole ACK. Returns its length. */
size_t cnp_ack_encode(uint8_t out[CNP_ACK_MAX], bool second, uint16_t sequence);

/* Appends {"error": code, "message": text}, at most CNP_ERROR_MAX bytes; a text that is no UTF-8 is
 * escaped, a long one is cut. code is a word of ours. */
void cnp_error_payload(struct buffer *out, const char *code, const char *text);

#endif
