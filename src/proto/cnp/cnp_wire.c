/* Encodes and decodes packets of cnp, and takes their sums. Keeps no state of a connection. */
#include "proto/cnp/cnp_wire.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define TEXT_MAX 240 /* bytes of a text, before escaping */

static const uint8_t ack_sum[CNP_SUM_LEN] = {0x0f, 0xc4, 0x37, 0xbc}; /* of "ACK" */

/* The TYPE of each kind; 0: the dialect has none. */
static const uint8_t first_types[] = {
    [CNP_DATA] = 0x01,      [CNP_ACK] = 0x02,        [CNP_ERROR] = 0x03,
    [CNP_KEEPALIVE] = 0x04, [CNP_DISCONNECT] = 0x05, [CNP_FRAGMENT] = 0x06,
    [CNP_STEP] = 0,         [CNP_CHANNEL] = 0,       [CNP_UNKNOWN] = 0,
};
static const uint8_t second_types[] = {
    [CNP_ACK] = 0x02,      [CNP_STEP] = 0x03,   [CNP_DATA] = 0x04,
    [CNP_FRAGMENT] = 0x04, [CNP_ERROR] = 0x05,  [CNP_DISCONNECT] = 0x06,
    [CNP_CHANNEL] = 0x63,  [CNP_KEEPALIVE] = 0, [CNP_UNKNOWN] = 0,
};

void
cnp_header_decode(const uint8_t *in, bool second, struct cnp_header *header_out)
{
    *header_out = (struct cnp_header){
        .length = be32_load(in),
        .type = in[4],
        .sequence = be16_load(in + 5),
        .last = second && in[11] != 0,
    };
    memcpy(header_out->sum, in + 7, CNP_SUM_LEN);
}

size_t
cnp_header_encode(uint8_t out[CNP_HEADER_MAX], bool second, const struct cnp_header *header)
{
    be32_store(out, header->length);
    out[4] = header->type;
    be16_store(out + 5, header->sequence);
    memcpy(out + 7, header->sum, CNP_SUM_LEN);
    if (second)
        out[11] = header->last;
    return cnp_header_len(second);
}

uint8_t
cnp_type(enum cnp_kind kind, bool second)
{
    uint8_t type = second ? second_types[kind] : first_types[kind];

    MS_ASSERT(type != 0);
    return type;
}

enum cnp_kind
cnp_kind(const struct cnp_header *header, bool second)
{
    const uint8_t *types = second ? second_types : first_types;

    if (header->type == 0)
        return CNP_UNKNOWN;
    for (int kind = CNP_DATA; kind < CNP_UNKNOWN; kind++)
        if (types[kind] == header->type)
            return second && kind == CNP_DATA && !header->last ? CNP_FRAGMENT : (enum cnp_kind)kind;
    return CNP_UNKNOWN;
}

size_t
cnp_ack_encode(uint8_t out[CNP_ACK_MAX], bool second, uint16_t sequence)
{
    struct cnp_header header = {.length = 3, .type = 0x02, .sequence = sequence};
    size_t n;

    memcpy(header.sum, ack_sum, CNP_SUM_LEN);
    n = cnp_header_encode(out, second, &header);
    memcpy(out + n, "ACK", 3);
    return n + 3;
}

/* As much of the text as n bytes hold without cutting a character. */
static size_t
cnp_text_cut(const char *text, size_t n)
{
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

void
cnp_error_payload(struct buffer *out, const char *code, const char *text)
{
    char escaped[TEXT_MAX + 1];
    size_t begin = out->len, n = strlen(text);

    if (!text_is_utf8(text, n)) {
        n = text_escape(text, n, escaped, sizeof(escaped));
        text = escaped;
    }
    if (n > TEXT_MAX)
        n = cnp_text_cut(text, TEXT_MAX);
    for (;; n = cnp_text_cut(text, n / 2)) {
        buffer_printf(out, "{\"error\": \"%s\", \"message\": ", code);
        text_json_string(out, text, n);
        buffer_append(out, "}", 1);
        if (out->len - begin <= CNP_ERROR_MAX)
            return;
        buffer_unappend(out, out->len - begin);
    }
}

/* --- the sum of a packet --- */

/* Also where the system's default is FIPS: nothing is protected by this sum. */
#define MD5_PROPERTIES "-fips"
#define MD5_LEN        16

struct cnp_sum {
    EVP_MD *md;
    EVP_MD_CTX *running, *whole;
    bool is_good; /* running has begun; else libcrypto would crash */
};

struct cnp_sum *
cnp_sum_create(void)
{
    EVP_MD *md = EVP_MD_fetch(NULL, "MD5", MD5_PROPERTIES);
    struct cnp_sum *sum;

    if (md == NULL) {
        errno = ENOTSUP;
        return NULL;
    }
    sum = ms_calloc(1, sizeof(*sum));
    if (sum == NULL) {
        EVP_MD_free(md);
        return NULL;
    }
    sum->md = md;
    sum->running = EVP_MD_CTX_new();
    sum->whole = EVP_MD_CTX_new();
    if (sum->running != NULL && sum->whole != NULL)
        return sum;
    cnp_sum_destroy(sum);
    return ms_out_of_memory(0);
}

void
cnp_sum_destroy(struct cnp_sum *sum)
{
    if (sum == NULL)
        return;
    EVP_MD_CTX_free(sum->running);
    EVP_MD_CTX_free(sum->whole);
    EVP_MD_free(sum->md);
    free(sum);
}

/* Summing fails for want of memory alone. */
static bool
cnp_sum_did(bool done)
{
    if (!done)
        (void)ms_out_of_memory(0);
    return done;
}

static void
cnp_sum_end(EVP_MD_CTX *ctx, uint8_t out[CNP_SUM_LEN])
{
    uint8_t md5[MD5_LEN] = {0};

    (void)cnp_sum_did(EVP_DigestFinal_ex(ctx, md5, NULL) == 1);
    memcpy(out, md5, CNP_SUM_LEN);
}

void
cnp_sum_begin(struct cnp_sum *sum)
{
    sum->is_good = cnp_sum_did(EVP_DigestInit_ex2(sum->running, sum->md, NULL) == 1);
}

void
cnp_sum_update(struct cnp_sum *sum, const void *data, size_t n)
{
    if (sum->is_good)
        sum->is_good = cnp_sum_did(EVP_DigestUpdate(sum->running, data, n) == 1);
}

void
cnp_sum_finish(struct cnp_sum *sum, uint8_t out[CNP_SUM_LEN])
{
    memset(out, 0, CNP_SUM_LEN);
    if (sum->is_good)
        cnp_sum_end(sum->running, out);
}

void
cnp_sum_whole(struct cnp_sum *sum, const void *data, size_t n, uint8_t out[CNP_SUM_LEN])
{
    memset(out, 0, CNP_SUM_LEN);
    if (cnp_sum_did(EVP_DigestInit_ex2(sum->whole, sum->md, NULL) == 1 &&
                    EVP_DigestUpdate(sum->whole, data, n) == 1))
        cnp_sum_end(sum->whole, out);
}

void
cnp_sum_of(const void *data, size_t n, uint8_t out[CNP_SUM_LEN])
{
    uint8_t md5[MD5_LEN] = {0};

    (void)cnp_sum_did(EVP_Q_digest(NULL, "MD5", MD5_PROPERTIES, data, n, md5, NULL) == 1);
    memcpy(out, md5, CNP_SUM_LEN);
}
