/* cnp (docs/protocol.md 3) on a bare socket, in both dialects. */
#ifndef SYSTEM_RAW_CNP_H
#define SYSTEM_RAW_CNP_H

#include "raw.h"

#define RAW_CNP_DATA       0x01 /* SYN while the handshake runs */
#define RAW_CNP_ACK        0x02
#define RAW_CNP_ERROR      0x03
#define RAW_CNP_KEEPALIVE  0x04
#define RAW_CNP_DISCONNECT 0x05
#define RAW_CNP_FRAGMENT   0x06

#define RAW_SECOND_SYN        0x01
#define RAW_SECOND_ACK        0x02
#define RAW_SECOND_STEP       0x03
#define RAW_SECOND_DATA       0x04
#define RAW_SECOND_NACK       0x05
#define RAW_SECOND_DISCONNECT 0x06
#define RAW_SECOND_CHANNEL    0x63

#define RAW_CNP_HEADER_MAX 12

struct raw_packet {
    uint8_t type;
    uint16_t sequence;
    bool last;     /* second dialect */
    char *payload; /* NUL-terminated; free it */
    uint32_t len;
    bool sound; /* its CHECKSUM holds */
};

/* Step by step, in bursts, as old clients do (SEQUENCE 0), and the second dialect (sr). All but the
 * old one agree on fragments. */
extern const struct raw_kind raw_cnp_step, raw_cnp_burst, raw_cnp_old, raw_cnp_second;

/* A packet of the connection's dialect with a CHECKSUM that holds. Returns its length; out has room
 * for RAW_CNP_HEADER_MAX + n bytes. */
size_t raw_cnp_encode(const struct raw *r, uint8_t *out, uint8_t type, uint16_t sequence,
                      const void *payload, size_t n);

/* The same, with LAST unset in the second dialect. */
size_t raw_cnp_encode_more(const struct raw *r, uint8_t *out, uint8_t type, uint16_t sequence,
                           const void *payload, size_t n);

/* Sends one. Returns 0, or -1. */
int raw_cnp_put(struct raw *r, uint8_t type, uint16_t sequence, const void *payload, size_t n);

/* The same with a text; ends the test where it fails. */
void raw_cnp_say(struct raw *r, uint8_t type, uint16_t sequence, const char *text);

/* Sends one with a CHECKSUM that does not hold. Returns 0, or -1. */
int
raw_cnp_put_damaged(struct raw *r, uint8_t type, uint16_t sequence, const void *payload, size_t n);

/* Reads one, whatever it is; counts ACKs and ERRORs. Returns 0, or -1 where none came whole. */
int raw_cnp_get(struct raw *r, struct raw_packet *packet_out);

/* The handshake with that SYN: the server's SYN-ACK must say ok, and its session is answered. */
int raw_cnp_shake(struct raw *r, const char *syn);

/* Ends the test where the next packet is not an ACK of that SEQUENCE. */
void raw_cnp_expect_ack(struct raw *r, uint16_t sequence);

/* Ends the test where the next packet is not an ERROR with that code and SEQUENCE. */
void raw_cnp_expect_error(struct raw *r, const char *code, uint16_t sequence);

/* A number of the JSON object in the text, or a word: "" where there is none. */
long long raw_cnp_number(const char *json, const char *name);
void raw_cnp_word(const char *json, const char *name, char out[64]);

/* End the test where it is another one. */
void raw_cnp_expect_word(const char *json, const char *name, const char *want);
void raw_cnp_expect_number(const char *json, const char *name, long long want);

#endif
