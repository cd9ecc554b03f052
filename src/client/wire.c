/* msp's bytes for programs with an event loop of their own: no handle, no socket, no state. */
#include "msock.h"
#include "proto/msp/msp_wire.h"

static const size_t encode_fixed = MSP_FIRST_HEADER + MSP_TRAILER_FIXED;

size_t
msock_encode(char kind, int want_reply, const void *data, size_t n, const void *value,
             size_t value_len, void *out, size_t out_size)
{
    struct msp_first first = {.size = n};
    struct digester *dg;
    uint8_t *p = out;

    if (n > MSP_FIRST_BODY || value_len > MSP_VALUE_MAX)
        return 0;
    if (out == NULL || out_size < encode_fixed + n + value_len)
        return encode_fixed + n + value_len;
    dg = digester_create();
    if (dg == NULL)
        return 0;
    ms_memory_forget();
    if (n > 0) {
        first.crc = digest_crc32(0, data, n);
        memcpy(p + MSP_FIRST_HEADER, data, n);
    }
    digest_sha256(dg, data, n, first.sha256);
    digester_destroy(dg);
    if (ms_memory_failed())
        return 0;
    msp_first_encode(p, &first);
    msp_trailer_encode(p + MSP_FIRST_HEADER + n, kind, want_reply ? MSP_FLAG_REPLY : 0, NULL, value,
                       value_len);
    return encode_fixed + n + value_len;
}

int
msock_decode(const void *data, size_t n, enum msock_answer *answer_out, uint32_t *grant_out)
{
    static const enum msock_answer names[] = {
        [MSP_ANSWER_GRANT] = MSOCK_ANSWER_ACK,   [MSP_ANSWER_ACK] = MSOCK_ANSWER_ACK,
        [MSP_ANSWER_NACK1] = MSOCK_ANSWER_NACK1, [MSP_ANSWER_NACK2] = MSOCK_ANSWER_NACK2,
        [MSP_ANSWER_REJ] = MSOCK_ANSWER_REJ,     [MSP_ANSWER_ERR] = MSOCK_ANSWER_ERR,
    };
    struct msp_answer answer;
    int len = msp_answer_decode(data, n, &answer);

    if (len <= 0)
        return len;
    if (answer_out != NULL)
        *answer_out = names[answer.kind];
    if (grant_out != NULL)
        *grant_out = answer.kind == MSP_ANSWER_GRANT ? answer.grant : 0;
    return len;
}
