#include "bench_message.h"

#include "bench_document.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

#define FLAG_REPLY   0x01u
#define FLAG_DIGEST  0x02u
#define PREFIX_BLOCK 256u
#define ID_LEN       32u /* run 8, connection 8, number 16 hex digits */
#define PATH_LEN     32u /* bench/<run>/<connection>/<number>, as wide for every number */

static void
put_be(uint8_t *out, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) {
        out[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static void
put_digits(uint8_t *out, uint64_t value, unsigned width, unsigned base)
{
    while (width-- > 0) {
        out[width] = (uint8_t) "0123456789abcdef"[value % base];
        value /= base;
    }
}

static uint32_t
crc_bytes(uint32_t crc, const uint8_t *data, uint64_t n)
{
    return (uint32_t)crc32_z(crc, data, (size_t)n);
}

static int
message_prefix(struct bench_message *m)
{
    uint64_t blocks = m->size / PREFIX_BLOCK;

    m->prefix_crc = malloc((size_t)(blocks + 1) * sizeof(uint32_t));
    if (m->prefix_crc == NULL)
        return -1;
    m->prefix_crc[0] = 0;
    for (uint64_t i = 0; i < blocks; i++)
        m->prefix_crc[i + 1] =
            crc_bytes(m->prefix_crc[i], m->body + i * PREFIX_BLOCK, PREFIX_BLOCK);
    return 0;
}

/* The CRC-32 of the body's first n bytes. */
static uint32_t
message_crc_to(const struct bench_message *m, uint64_t n)
{
    uint64_t block = n / PREFIX_BLOCK;

    return crc_bytes(m->prefix_crc[block], m->body + block * PREFIX_BLOCK, n % PREFIX_BLOCK);
}

size_t
message_first_len(const struct bench_message *m)
{
    return m->size < MESSAGE_FIRST_BODY ? (size_t)m->size : MESSAGE_FIRST_BODY;
}

void
message_packet(const struct bench_message *m, uint64_t offset, size_t len,
               uint8_t out[MESSAGE_PACKET_HEADER])
{
    /* crc(A B) is a combination of crc(A), crc(B) and the length of B; solved for crc(B). */
    uint32_t crc = (uint32_t)crc32_combine(message_crc_to(m, offset),
                                           message_crc_to(m, offset + len), (z_off_t)len);

    put_be(out, crc, 4);
    memcpy(out + 4, "\r\n", 2);
}

static void
message_first(struct bench_message *m)
{
    put_be(m->first, m->size, 8);
    memcpy(m->first + 8, "\r\n", 2);
    if (!(m->flags & FLAG_DIGEST))
        memcpy(m->first + 10, m->digest, 32);
    memcpy(m->first + 42, "\r\n", 2);
    put_be(m->first + 44, crc_bytes(0, m->body, message_first_len(m)), 4);
    memcpy(m->first + 48, "\r\n", 2);
}

static size_t
message_value(const struct bench_message *m, uint32_t connection, uint64_t seq, uint8_t *out)
{
    if (!m->unique)
        return 0;
    if (m->kind != 'F') {
        put_digits(out, m->run, 8, 16);
        put_digits(out + 8, connection, 8, 16);
        put_digits(out + 16, seq, 16, 16);
        return ID_LEN;
    }
    memcpy(out, "bench/", 6);
    put_digits(out + 6, m->run, 8, 16);
    out[14] = '/';
    put_digits(out + 15, connection, 6, 10);
    out[21] = '/';
    put_digits(out + 22, seq, 10, 10);
    return PATH_LEN;
}

size_t
message_trailer(const struct bench_message *m, uint32_t connection, uint64_t seq,
                uint8_t out[MESSAGE_TRAILER_MAX])
{
    size_t n = 0;

    memcpy(out + 4, "\r\n", 2);
    out[6] = (uint8_t)m->kind;
    out[7] = m->flags;
    if (m->flags & FLAG_DIGEST) {
        memcpy(out + 10, m->digest, 32);
        n = 32;
    }
    n += message_value(m, connection, seq, out + 10 + n);
    put_be(out + 8, n, 2);
    put_be(out, crc_bytes(0, out + 6, 4 + n), 4);
    return 10 + n;
}

static int
message_build_burst(struct bench_message *m, uint32_t ahead)
{
    uint8_t trailer[MESSAGE_TRAILER_MAX];
    size_t trailer_len = message_trailer(m, 0, 0, trailer);

    if (m->size > MESSAGE_FIRST_BODY)
        return 0;
    m->burst_count = ahead > 0 ? ahead : 1;
    m->whole_len = MESSAGE_FIRST_HEADER + (size_t)m->size + trailer_len;
    m->burst = malloc(m->burst_count * m->whole_len);
    if (m->burst == NULL)
        return -1;
    for (size_t i = 0; i < m->burst_count; i++) {
        uint8_t *at = m->burst + i * m->whole_len;

        memcpy(at, m->first, MESSAGE_FIRST_HEADER);
        memcpy(at + MESSAGE_FIRST_HEADER, m->body, (size_t)m->size);
        memcpy(at + MESSAGE_FIRST_HEADER + m->size, trailer, trailer_len);
    }
    return 0;
}

size_t
message_burst(struct bench_message *m, uint32_t connection, uint64_t seq, uint32_t count,
              const uint8_t **data_out)
{
    if (m->unique)
        for (uint32_t i = 0; i < count; i++)
            message_trailer(m, connection, seq + i,
                            m->burst + i * m->whole_len + MESSAGE_FIRST_HEADER + m->size);
    *data_out = m->burst;
    return count * m->whole_len;
}

static void
message_fill(struct bench_message *m, enum bench_kind kind)
{
    switch (kind) {
    case BENCH_PLAIN:
        m->kind = 'A';
        document_text(m->body, (size_t)m->size);
        break;
    case BENCH_JSON:
        m->kind = 'J';
        document_json(m->body, (size_t)m->size);
        break;
    case BENCH_FILE:
        m->kind = 'F';
        document_binary(m->body, (size_t)m->size);
        break;
    }
}

int
message_init(struct bench_message *m, const struct bench_options *options)
{
    *m = (struct bench_message){.size = options->size};
    m->body = malloc((size_t)options->size + 1);
    if (m->body == NULL)
        return -1;
    message_fill(m, options->kind);
    m->flags = (uint8_t)((options->want_reply ? FLAG_REPLY : 0u) |
                         (options->late_digest ? FLAG_DIGEST : 0u));
    m->unique = options->ids || options->kind == BENCH_FILE;
    if (getrandom(&m->run, sizeof(m->run), 0) != (ssize_t)sizeof(m->run))
        return -1;
    if (EVP_Digest(m->body, (size_t)m->size, m->digest, NULL, EVP_sha256(), NULL) != 1)
        return -1;
    message_first(m);
    if (m->size > MESSAGE_FIRST_BODY && message_prefix(m) < 0)
        return -1;
    return message_build_burst(m, options->ahead);
}

void
message_fini(struct bench_message *m)
{
    free(m->body);
    free(m->prefix_crc);
    free(m->burst);
}
