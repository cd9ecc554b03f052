/* The bytes of msp (docs/protocol.md 1), for both sides: packets are laid out and answer lines are
 * read here and nowhere else. */
#ifndef PROTO_MSP_MSP_WIRE_H
#define PROTO_MSP_MSP_WIRE_H

#include "common/digest.h"

#define MSP_FIRST_HEADER  50   /* SIZE CRLF SHA256 CRLF CRC32 CRLF */
#define MSP_FIRST_PACKET  2048 /* a first packet is at most this long */
#define MSP_FIRST_BODY    (MSP_FIRST_PACKET - MSP_FIRST_HEADER)
#define MSP_PACKET_HEADER 6  /* CRC32 CRLF */
#define MSP_TRAILER_FIXED 10 /* CRC32 CRLF KIND FLAGS LENGTH */
#define MSP_VALUE_MAX     2038
#define MSP_LINE_MAX      512 /* an answer, CRLF included */
#define MSP_GRANT_MIN     64
#define MSP_GRANT_MAX     16777216

#define MSP_FLAG_REPLY  0x01 /* the sender wants the handler's reply (1.5) */
#define MSP_FLAG_DIGEST 0x02 /* VALUE begins with the message's SHA-256 (1.8) */

struct msp_first {
    uint64_t size;
    uint8_t sha256[SHA256_LEN];
    uint32_t crc;
};

/* Writes the first packet's header (also the header of a reply block, 1.5). */
void msp_first_encode(uint8_t out[MSP_FIRST_HEADER], const struct msp_first *first);

/* Reads one. Returns false where a CRLF is not in its place. */
bool msp_first_decode(const uint8_t in[MSP_FIRST_HEADER], struct msp_first *first_out);

/* Writes the header of a further packet with that body CRC. */
void msp_packet_encode(uint8_t out[MSP_PACKET_HEADER], uint32_t crc);

/* Writes a whole trailer to out (at least MSP_TRAILER_FIXED + 32 + value_len bytes). digest may be
 * NULL; given, it stands in front of the value and MSP_FLAG_DIGEST is set. The lengths must fit
 * MSP_VALUE_MAX. Returns the trailer's length. */
size_t msp_trailer_encode(uint8_t *out, char kind, uint8_t flags, const uint8_t *digest,
                          const void *value, size_t value_len);

enum msp_answer_kind {
    MSP_ANSWER_GRANT, /* ACK <N> */
    MSP_ANSWER_ACK,
    MSP_ANSWER_NACK1,
    MSP_ANSWER_NACK2,
    MSP_ANSWER_REJ,
    MSP_ANSWER_ERR,
};

struct msp_answer {
    enum msp_answer_kind kind;
    uint32_t grant; /* of MSP_ANSWER_GRANT */
    char code[32];  /* of REJ and ERR; a longer one is cut */
    char text[MSP_LINE_MAX];
};

/* Reads one answer line from n bytes. Returns its length with CRLF, 0 where it is not complete yet,
 * or -1 where it is none (too long, unknown word, a grant out of range). */
int msp_answer_decode(const void *data, size_t n, struct msp_answer *answer_out);

#endif
