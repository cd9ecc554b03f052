#include "mend.h"

#include "common/base.h"
#include "common/digest.h"
#include "proto/cnp/cnp_wire.h"
#include "proto/msp/msp_wire.h"

#include <string.h>

#define GRANT_GROWTH 8
#define CRC_FROM     6 /* a trailer's CRC-32 covers all from here on */

static size_t
smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

static void
put_crlf(uint8_t *at)
{
    memcpy(at, "\r\n", 2);
}

/* --- msp --- */

struct mender {
    uint8_t *at;
    size_t left;
    size_t grant, grant_max;
    uint64_t size_max;
    struct digester *digester;
};

static uint8_t *
mender_take(struct mender *m, size_t n)
{
    uint8_t *at = m->at;

    if (n > m->left)
        return NULL;
    m->at += n;
    m->left -= n;
    return at;
}

/* The packets behind the first one. False where they are not all there. */
static bool
mend_further_packets(struct mender *m, uint64_t size, struct sha256 *sha)
{
    while (size > 0) {
        uint8_t *head;
        size_t n;

        m->grant = smaller(m->grant * GRANT_GROWTH, m->grant_max);
        n = smaller(size, m->grant - MSP_PACKET_HEADER);
        head = mender_take(m, MSP_PACKET_HEADER + n);
        if (head == NULL)
            return false;
        msp_packet_encode(head, digest_crc32(0, head + MSP_PACKET_HEADER, n));
        sha256_update(sha, head + MSP_PACKET_HEADER, n);
        size -= n;
    }
    return true;
}

static bool
mend_trailer(struct mender *m, const uint8_t *digest)
{
    uint8_t *head = mender_take(m, MSP_TRAILER_FIXED);
    size_t n;

    if (head == NULL)
        return false;
    n = be16_load(head + 8);
    if (mender_take(m, n) == NULL)
        return false;
    put_crlf(head + 4);
    if ((head[7] & MSP_FLAG_DIGEST) != 0 && n >= SHA256_LEN)
        memcpy(head + MSP_TRAILER_FIXED, digest, SHA256_LEN);
    be32_store(head, digest_crc32(0, head + CRC_FROM, MSP_TRAILER_FIXED - CRC_FROM + n));
    return true;
}

/* One message. False where it is not whole. */
static bool
mend_message(struct mender *m)
{
    static const uint8_t late[SHA256_LEN];
    uint8_t *head = mender_take(m, MSP_FIRST_HEADER), *body, digest[SHA256_LEN];
    struct sha256 *sha;
    uint64_t size;
    size_t n;
    bool whole;

    if (head == NULL)
        return false;
    size = be64_load(head);
    if (size == 0 || size > m->size_max) /* undetermined: ends with what is there */
        size = smaller(m->left, MSP_FIRST_BODY);
    n = smaller(size, MSP_FIRST_BODY);
    body = mender_take(m, n);
    if (body == NULL)
        return false;
    put_crlf(head + 8);
    put_crlf(head + 42);
    put_crlf(head + 48);
    be32_store(head + 44, digest_crc32(0, body, n));
    sha = sha256_begin(m->digester);
    sha256_update(sha, body, n);
    whole = mend_further_packets(m, size - n, sha);
    sha256_peek(m->digester, sha, digest);
    sha256_release(m->digester, sha);
    if (memcmp(head + 10, late, SHA256_LEN) != 0)
        memcpy(head + 10, digest, SHA256_LEN);
    return whole && mend_trailer(m, digest);
}

void
mend_msp(uint8_t *at, size_t n, const struct proto_limits *limits)
{
    struct mender m = {.at = at,
                       .left = n,
                       .grant = limits->packet_size,
                       .grant_max = limits->packet_size_max,
                       .size_max = limits->max_message_size,
                       .digester = digester_create()};

    while (mend_message(&m))
        continue;
    digester_destroy(m.digester);
}

void
mend_msp_reply(uint8_t *at, size_t n)
{
    struct digester *digester = digester_create();
    struct msp_first first;

    for (size_t i = 0; i + MSP_FIRST_HEADER <= n; i++) {
        const uint8_t *body = at + i + MSP_FIRST_HEADER;

        if (!msp_first_decode(at + i, &first) || first.size > n - i - MSP_FIRST_HEADER)
            continue;
        digest_sha256(digester, body, (size_t)first.size, first.sha256);
        first.crc = digest_crc32(0, body, (size_t)first.size);
        msp_first_encode(at + i, &first);
        i += MSP_FIRST_HEADER + (size_t)first.size - 1;
    }
    digester_destroy(digester);
}

/* --- cnp --- */

void
mend_cnp(uint8_t *at, size_t n)
{
    size_t head =
        n > CNP_HEADER_LEN && at[CNP_HEADER_LEN] != '{' ? CNP_SECOND_HEADER_LEN : CNP_HEADER_LEN;

    while (n >= head) {
        size_t len = be32_load(at);

        if (len > n - head)
            return;
        cnp_sum_of(at + head, len, at + CNP_HEADER_LEN - CNP_SUM_LEN);
        at += head + len;
        n -= head + len;
    }
}

void
mend_auto(uint8_t *at, size_t n, const struct proto_limits *limits)
{
    struct msp_first first;

    if (n >= MSP_FIRST_HEADER && msp_first_decode(at, &first))
        mend_msp(at, n, limits);
    else if (n > CNP_SECOND_HEADER_LEN && at[4] == CNP_STEP_SYN &&
             (at[CNP_HEADER_LEN] == '{' || at[CNP_SECOND_HEADER_LEN] == '{'))
        mend_cnp(at, n);
}
