/* Lays out packets field by field, as the tables of docs/protocol.md 1.1 give them. */
#include "wire.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static void
put(uint8_t *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

uint32_t
wire_crc(const void *data, size_t n)
{
    return n == 0 ? 0 : (uint32_t)crc32(0, data, (uInt)n);
}

void
wire_sha256(const void *data, size_t n, uint8_t out[32])
{
    SHA256(n > 0 ? data : "", n, out);
}

void
wire_hex(const uint8_t *data, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", data[i]);
}

void
wire_header(uint8_t out[WIRE_FIRST_HEADER], uint64_t size, const uint8_t *digest, uint32_t crc)
{
    put(out, size, 8);
    memcpy(out + 8, "\r\n", 2);
    memset(out + 10, 0, 32);
    if (digest != NULL)
        memcpy(out + 10, digest, 32);
    memcpy(out + 42, "\r\n", 2);
    put(out + 44, crc, 4);
    memcpy(out + 48, "\r\n", 2);
}

size_t
wire_first(uint8_t *out, const struct outgoing *m)
{
    size_t n = m->len < WIRE_FIRST_BODY ? m->len : WIRE_FIRST_BODY;
    bool late = (m->flags & WIRE_DIGEST) != 0;
    uint8_t digest[32];

    if (!late)
        wire_sha256(m->body, m->len, digest);
    wire_header(out, m->len, late ? NULL : digest, wire_crc(m->body, n));
    if (n > 0)
        memcpy(out + WIRE_FIRST_HEADER, m->body, n);
    return WIRE_FIRST_HEADER + n;
}

size_t
wire_next(uint8_t *out, const void *data, size_t n)
{
    put(out, wire_crc(data, n), 4);
    memcpy(out + 4, "\r\n", 2);
    memcpy(out + WIRE_NEXT_HEADER, data, n);
    return WIRE_NEXT_HEADER + n;
}

size_t
wire_trailer(uint8_t *out, const struct outgoing *m)
{
    size_t digest_len = (m->flags & WIRE_DIGEST) != 0 ? 32 : 0;
    size_t n = 10 + digest_len + m->value_len;

    memcpy(out + 4, "\r\n", 2);
    out[6] = (uint8_t)m->kind;
    out[7] = m->flags;
    put(out + 8, digest_len + m->value_len, 2);
    if (digest_len > 0)
        wire_sha256(m->body, m->len, out + 10);
    if (m->value_len > 0)
        memcpy(out + 10 + digest_len, m->value, m->value_len);
    put(out, wire_crc(out + 6, n - 6), 4);
    return n;
}

size_t
wire_ahead(uint8_t *out, const struct outgoing *m)
{
    size_t n = wire_first(out, m);

    return n + wire_trailer(out + n, m);
}
