/* The bytes of msp (docs/protocol.md 1.1), laid out a second time and independently of src/proto,
 * with zlib and libcrypto directly. */
#ifndef SYSTEM_WIRE_H
#define SYSTEM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_FIRST_HEADER 50
#define WIRE_FIRST_BODY   1998
#define WIRE_FIRST_MAX    2048
#define WIRE_NEXT_HEADER  6
#define WIRE_TRAILER_MAX  2048

#define WIRE_REPLY  1 /* FLAGS */
#define WIRE_DIGEST 2

struct outgoing {
    char kind; /* 'A', 'J', 'F' */
    uint8_t flags;
    const void *value; /* id or path */
    size_t value_len;
    const void *body;
    size_t len;
};

uint32_t wire_crc(const void *data, size_t n);
void wire_sha256(const void *data, size_t n, uint8_t out[32]);
void wire_hex(const uint8_t *data, size_t n, char *out);

/* The 50 bytes. digest NULL: 32 zero bytes. */
void
wire_header(uint8_t out[WIRE_FIRST_HEADER], uint64_t size, const uint8_t *digest, uint32_t crc);

/* The first packet of m, at most WIRE_FIRST_MAX bytes. With WIRE_DIGEST in the flags its digest is
 * left to the trailer. Returns its length. */
size_t wire_first(uint8_t *out, const struct outgoing *m);

/* A further packet with the n bytes at data. Returns its length, WIRE_NEXT_HEADER + n. */
size_t wire_next(uint8_t *out, const void *data, size_t n);

/* The trailer of m. Returns its length. */
size_t wire_trailer(uint8_t *out, const struct outgoing *m);

/* First packet and trailer of a message that fits into one packet (1.6). Returns the length, at
 * most WIRE_FIRST_MAX + WIRE_TRAILER_MAX. */
size_t wire_ahead(uint8_t *out, const struct outgoing *m);

#endif
