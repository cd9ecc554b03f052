#include "bench_msp_wire.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define FLAG_REPLY   0x01u
#define FLAG_DIGEST  0x02u
#define PREFIX_BLOCK 256u
#define ID_LEN       32u /* run 8, connection 8, number 16 hex digits */
#define PATH_LEN     32u /* bench/<run>/<connection>/<number>, as wide for every number */

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
msp_prefix(struct msp_wire *w)
{
    uint64_t blocks = w->size / PREFIX_BLOCK;

    w->prefix_crc = malloc((size_t)(blocks + 1) * sizeof(uint32_t));
    if (w->prefix_crc == NULL)
        return -1;
    w->prefix_crc[0] = 0;
    for (uint64_t i = 0; i < blocks; i++)
        w->prefix_crc[i + 1] =
            crc_bytes(w->prefix_crc[i], w->body + i * PREFIX_BLOCK, PREFIX_BLOCK);
    return 0;
}

/* The CRC-32 of the body's first n bytes. */
static uint32_t
msp_crc_to(const struct msp_wire *w, uint64_t n)
{
    uint64_t block = n / PREFIX_BLOCK;

    return crc_bytes(w->prefix_crc[block], w->body + block * PREFIX_BLOCK, n % PREFIX_BLOCK);
}

size_t
msp_first_len(const struct msp_wire *w)
{
    return w->size < MSP_FIRST_BODY ? (size_t)w->size : MSP_FIRST_BODY;
}

void
msp_packet(const struct msp_wire *w, uint64_t offset, size_t len, uint8_t out[MSP_PACKET_HEADER])
{
    /* crc(A B) is a combination of crc(A), crc(B) and the length of B; solved for crc(B). */
    uint32_t crc =
        (uint32_t)crc32_combine(msp_crc_to(w, offset), msp_crc_to(w, offset + len), (z_off_t)len);

    put_be(out, crc, 4);
    memcpy(out + 4, "\r\n", 2);
}

static void
msp_first(struct msp_wire *w)
{
    put_be(w->first, w->size, 8);
    memcpy(w->first + 8, "\r\n", 2);
    if (!(w->flags & FLAG_DIGEST))
        memcpy(w->first + 10, w->digest, 32);
    memcpy(w->first + 42, "\r\n", 2);
    put_be(w->first + 44, crc_bytes(0, w->body, msp_first_len(w)), 4);
    memcpy(w->first + 48, "\r\n", 2);
}

static size_t
msp_value(const struct msp_wire *w, uint32_t connection, uint64_t seq, uint8_t *out)
{
    if (!w->unique)
        return 0;
    if (w->kind != 'F') {
        put_digits(out, w->run, 8, 16);
        put_digits(out + 8, connection, 8, 16);
        put_digits(out + 16, seq, 16, 16);
        return ID_LEN;
    }
    memcpy(out, "bench/", 6);
    put_digits(out + 6, w->run, 8, 16);
    out[14] = '/';
    put_digits(out + 15, connection, 6, 10);
    out[21] = '/';
    put_digits(out + 22, seq, 10, 10);
    return PATH_LEN;
}

size_t
msp_trailer(const struct msp_wire *w, uint32_t connection, uint64_t seq,
            uint8_t out[MSP_TRAILER_MAX])
{
    size_t n = 0;

    memcpy(out + 4, "\r\n", 2);
    out[6] = (uint8_t)w->kind;
    out[7] = w->flags;
    if (w->flags & FLAG_DIGEST) {
        memcpy(out + 10, w->digest, 32);
        n = 32;
    }
    n += msp_value(w, connection, seq, out + 10 + n);
    put_be(out + 8, n, 2);
    put_be(out, crc_bytes(0, out + 6, 4 + n), 4);
    return 10 + n;
}

static int
msp_build_burst(struct msp_wire *w, uint32_t ahead)
{
    uint8_t trailer[MSP_TRAILER_MAX];
    size_t trailer_len = msp_trailer(w, 0, 0, trailer);

    if (w->size > MSP_FIRST_BODY)
        return 0;
    w->burst_count = ahead > 0 ? ahead : 1;
    w->whole_len = MSP_FIRST_HEADER + (size_t)w->size + trailer_len;
    w->burst = malloc(w->burst_count * w->whole_len);
    if (w->burst == NULL)
        return -1;
    for (size_t i = 0; i < w->burst_count; i++) {
        uint8_t *at = w->burst + i * w->whole_len;

        memcpy(at, w->first, MSP_FIRST_HEADER);
        memcpy(at + MSP_FIRST_HEADER, w->body, (size_t)w->size);
        memcpy(at + MSP_FIRST_HEADER + w->size, trailer, trailer_len);
    }
    return 0;
}

size_t
msp_burst(const struct msp_wire *w, uint32_t connection, uint64_t seq, uint32_t count,
          const uint8_t **data_out)
{
    if (w->unique)
        for (uint32_t i = 0; i < count; i++)
            msp_trailer(w, connection, seq + i,
                        w->burst + i * w->whole_len + MSP_FIRST_HEADER + w->size);
    *data_out = w->burst;
    return count * w->whole_len;
}

static char
msp_kind(enum bench_kind kind)
{
    switch (kind) {
    case BENCH_PLAIN:
        return 'A';
    case BENCH_JSON:
        return 'J';
    case BENCH_FILE:
        return 'F';
    }
    return '\0';
}

int
msp_wire_create(struct bench_message *message, const struct bench_options *options)
{
    struct msp_wire *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return -1;
    message->wire = w;
    w->body = message->body;
    w->size = message->size;
    w->run = message->run;
    w->kind = msp_kind(options->kind);
    w->flags = (uint8_t)((options->want_reply ? FLAG_REPLY : 0u) |
                         (options->late_digest ? FLAG_DIGEST : 0u));
    w->unique = options->ids || options->kind == BENCH_FILE;
    if (EVP_Digest(w->body, (size_t)w->size, w->digest, NULL, EVP_sha256(), NULL) != 1)
        return -1;
    msp_first(w);
    if (w->size > MSP_FIRST_BODY && msp_prefix(w) < 0)
        return -1;
    return msp_build_burst(w, options->ahead);
}

void
msp_wire_destroy(void *wire)
{
    struct msp_wire *w = wire;

    free(w->prefix_crc);
    free(w->burst);
    free(w);
}
