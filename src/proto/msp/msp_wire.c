/* The layout of msp's packets and the grammar of its answers: see the header. */
#include "proto/msp/msp_wire.h"

#include <stdio.h>

#define MSP_CRC_COVERED 6 /* the trailer's CRC-32 begins behind itself and its CRLF */

static bool
msp_is_crlf(const uint8_t *p)
{
    return p[0] == '\r' && p[1] == '\n';
}

static void
msp_put_crlf(uint8_t *p)
{
    p[0] = '\r';
    p[1] = '\n';
}

void
msp_first_encode(uint8_t out[MSP_FIRST_HEADER], const struct msp_first *first)
{
    be64_store(out, first->size);
    msp_put_crlf(out + 8);
    memcpy(out + 10, first->sha256, SHA256_LEN);
    msp_put_crlf(out + 42);
    be32_store(out + 44, first->crc);
    msp_put_crlf(out + 48);
}

bool
msp_first_decode(const uint8_t in[MSP_FIRST_HEADER], struct msp_first *first_out)
{
    if (!msp_is_crlf(in + 8) || !msp_is_crlf(in + 42) || !msp_is_crlf(in + 48))
        return false;
    first_out->size = be64_load(in);
    memcpy(first_out->sha256, in + 10, SHA256_LEN);
    first_out->crc = be32_load(in + 44);
    return true;
}

void
msp_packet_encode(uint8_t out[MSP_PACKET_HEADER], uint32_t crc)
{
    be32_store(out, crc);
    msp_put_crlf(out + 4);
}

size_t
msp_trailer_encode(uint8_t *out, char kind, uint8_t flags, const uint8_t *digest, const void *value,
                   size_t value_len)
{
    size_t digest_len = digest == NULL ? 0 : SHA256_LEN, len = digest_len + value_len;

    MS_ASSERT(value_len <= MSP_VALUE_MAX && len <= MSP_VALUE_MAX);
    msp_put_crlf(out + 4);
    out[6] = (uint8_t)kind;
    out[7] = digest == NULL ? flags : flags | MSP_FLAG_DIGEST;
    be16_store(out + 8, (uint16_t)len);
    if (digest != NULL)
        memcpy(out + MSP_TRAILER_FIXED, digest, SHA256_LEN);
    if (value_len > 0)
        memcpy(out + MSP_TRAILER_FIXED + digest_len, value, value_len);
    len += MSP_TRAILER_FIXED;
    be32_store(out, digest_crc32(0, out + MSP_CRC_COVERED, len - MSP_CRC_COVERED));
    return len;
}

/* The length of the line at data without its CRLF, -1 where it cannot be an answer, -2 where its
 * end has not come yet. */
static int
msp_line_len(const char *data, size_t n)
{
    size_t end = n < MSP_LINE_MAX ? n : MSP_LINE_MAX, i = 0;

    while (i < end && data[i] >= 0x20 && data[i] <= 0x7e)
        i++;
    if (i + 1 < end)
        return data[i] == '\r' && data[i + 1] == '\n' ? (int)i : -1;
    if (end == MSP_LINE_MAX || (i < end && data[i] != '\r'))
        return -1;
    return -2;
}

static bool
msp_line_is(const char *line, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(line, word, n) == 0;
}

/* N of "ACK <N>": decimal, no leading zero, within the protocol's bounds. */
static bool
msp_decode_grant(const char *digits, size_t n, uint32_t *grant_out)
{
    uint32_t grant = 0;

    if (n == 0 || n > 8 || digits[0] == '0')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        grant = grant * 10 + (uint32_t)(digits[i] - '0');
    }
    if (grant < MSP_GRANT_MIN || grant > MSP_GRANT_MAX)
        return false;
    *grant_out = grant;
    return true;
}

static bool
msp_is_code_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* "<code> <text>"; a refusal that says nothing more to people is understood too. A code that no
 * server of ours knows may be of any length, and is cut. */
static bool
msp_decode_code(const char *s, size_t n, struct msp_answer *answer)
{
    size_t len = 0, text;

    while (len < n && msp_is_code_byte(s[len]))
        len++;
    if (len == 0 || (len < n && s[len] != ' '))
        return false;
    text = len < n ? len + 1 : n;
    snprintf(answer->code, sizeof(answer->code), "%.*s", (int)len, s);
    memcpy(answer->text, s + text, n - text);
    answer->text[n - text] = '\0';
    return true;
}

static bool
msp_decode_line(const char *line, size_t n, struct msp_answer *answer)
{
    answer->grant = 0;
    answer->code[0] = '\0';
    answer->text[0] = '\0';
    if (msp_line_is(line, n, "ACK")) {
        answer->kind = MSP_ANSWER_ACK;
        return true;
    }
    if (msp_line_is(line, n, "NACK1") || msp_line_is(line, n, "NACK2")) {
        answer->kind = line[4] == '1' ? MSP_ANSWER_NACK1 : MSP_ANSWER_NACK2;
        return true;
    }
    if (n < 4)
        return false;
    if (memcmp(line, "ACK ", 4) == 0) {
        answer->kind = MSP_ANSWER_GRANT;
        return msp_decode_grant(line + 4, n - 4, &answer->grant);
    }
    if (memcmp(line, "REJ ", 4) != 0 && memcmp(line, "ERR ", 4) != 0)
        return false;
    answer->kind = line[0] == 'R' ? MSP_ANSWER_REJ : MSP_ANSWER_ERR;
    return msp_decode_code(line + 4, n - 4, answer);
}

int
msp_answer_decode(const void *data, size_t n, struct msp_answer *answer_out)
{
    struct msp_answer answer;
    int len = msp_line_len(data, n);

    if (len == -2)
        return 0;
    if (len < 0 || !msp_decode_line(data, (size_t)len, &answer))
        return -1;
    *answer_out = answer;
    return len + 2;
}
