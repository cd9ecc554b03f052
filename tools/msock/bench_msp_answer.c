/* What the server says, and what follows from it (docs/protocol.md 1.5 to 1.7). */
#include "bench_load.h"
#include "bench_msp.h"
#include "msock.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define ANSWER_NACK_LIMIT 10u
#define ANSWER_REPLY_MAX  ((uint64_t)16 << 20)
#define ANSWER_PAIR       "ACK\r\nACK\r\n" /* to a whole message that was sent ahead */
#define ANSWER_PAIR_LEN   (sizeof(ANSWER_PAIR) - 1)

/* The next answer is about the next message. */
static void
answer_next(struct conn *conn)
{
    conn->protocol.msp.phase = MSP_BODY;
    conn->protocol.msp.nacks = 0;
}

static void
answer_committed(struct conn *conn)
{
    conn_commit(conn);
    answer_next(conn);
}

static void
answer_ack(struct conn *conn, uint32_t grant)
{
    const struct msp_wire *wire = msp_wire(conn);
    bool more = msp_strict(conn) && conn->protocol.msp.phase == MSP_BODY &&
                conn->protocol.msp.offset + conn->protocol.msp.packet_len < wire->size;

    conn->counts.acks++;
    if (more != (grant > 0) || (grant > 0 && grant <= MSP_PACKET_HEADER))
        conn_bad_answer(conn);
    else if (more)
        msp_send_packet(conn, grant);
    else if (conn->protocol.msp.phase == MSP_FINAL && conn->load->options->want_reply)
        conn->protocol.msp.phase = MSP_HEADER;
    else if (conn->protocol.msp.phase == MSP_FINAL)
        answer_committed(conn);
    else if (msp_strict(conn))
        msp_send_trailer(conn);
    else
        conn->protocol.msp.phase = MSP_FINAL;
}

/* After a NACK the server has dropped what was sent ahead, so that has to begin anew (1.6). */
static void
answer_nack(struct conn *conn, bool from_start)
{
    conn->protocol.msp.nacks++;
    if (!msp_strict(conn) || conn->protocol.msp.nacks > ANSWER_NACK_LIMIT)
        conn_lose(conn, true);
    else if (from_start)
        msp_send_first(conn);
    else
        conn_push_again(conn);
}

static void
answer_err(struct conn *conn, const uint8_t *line, size_t n)
{
    static const char shutdown[] = "ERR shutdown";

    conn->counts.err++;
    if (n >= sizeof(shutdown) - 1 && memcmp(line, shutdown, sizeof(shutdown) - 1) == 0)
        conn->load->result->shutdowns++;
    conn_lose(conn, true);
}

static size_t
answer_line(struct conn *conn, const uint8_t *data, size_t n)
{
    enum msock_answer answer;
    uint32_t grant = 0;
    int used = msock_decode(data, n, &answer, &grant);

    if (used == 0)
        return 0;
    if (used < 0) {
        conn_bad_answer(conn);
        return n;
    }
    if (conn->next_seq == conn->done_seq && answer != MSOCK_ANSWER_ERR) {
        conn_bad_answer(conn); /* an answer to nothing */
        return n;
    }
    switch (answer) {
    case MSOCK_ANSWER_ACK:
        answer_ack(conn, grant);
        break;
    case MSOCK_ANSWER_NACK1:
        conn->counts.nack1++;
        answer_nack(conn, false);
        break;
    case MSOCK_ANSWER_NACK2:
        conn->counts.nack2++;
        answer_nack(conn, true);
        break;
    case MSOCK_ANSWER_REJ:
        conn->counts.rej++;
        conn_settle(conn);
        answer_next(conn);
        break;
    case MSOCK_ANSWER_ERR:
        answer_err(conn, data, (size_t)used);
        break;
    }
    return (size_t)used;
}

/* --- replies --- */

static void
answer_reply_end(struct conn *conn)
{
    struct msp_reply *reply = conn->reply;
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (EVP_DigestFinal_ex(reply->digest, digest, NULL) != 1 ||
        memcmp(digest, reply->header + 10, 32) != 0 ||
        reply->crc != (uint32_t)get_be(reply->header + 44, 4))
        conn->load->result->bad_replies++;
    answer_committed(conn);
}

static struct msp_reply *
answer_reply(struct conn *conn)
{
    struct msp_reply *reply = conn->reply;

    if (reply != NULL)
        return reply;
    reply = calloc(1, sizeof(*reply));
    if (reply == NULL)
        return NULL;
    reply->digest = EVP_MD_CTX_new();
    conn->reply = reply;
    return reply;
}

void
msp_reply_destroy(struct msp_reply *reply)
{
    if (reply != NULL)
        EVP_MD_CTX_free(reply->digest);
    free(reply);
}

static size_t
answer_reply_header(struct conn *conn, const uint8_t *data, size_t n)
{
    struct msp_reply *reply;

    if (n < MSP_FIRST_HEADER)
        return 0;
    reply = answer_reply(conn);
    if (reply == NULL || reply->digest == NULL ||
        EVP_DigestInit_ex(reply->digest, EVP_sha256(), NULL) != 1 ||
        memcmp(data + 8, "\r\n", 2) != 0 || memcmp(data + 42, "\r\n", 2) != 0 ||
        memcmp(data + 48, "\r\n", 2) != 0 || get_be(data, 8) > ANSWER_REPLY_MAX) {
        conn_bad_answer(conn);
        return n;
    }
    memcpy(reply->header, data, MSP_FIRST_HEADER);
    reply->left = get_be(data, 8);
    reply->crc = 0;
    conn->protocol.msp.phase = MSP_REPLY;
    if (reply->left == 0)
        answer_reply_end(conn);
    return MSP_FIRST_HEADER;
}

static size_t
answer_reply_body(struct conn *conn, const uint8_t *data, size_t n)
{
    struct msp_reply *reply = conn->reply;

    if (n > reply->left)
        n = (size_t)reply->left;
    reply->crc = (uint32_t)crc32_z(reply->crc, data, n);
    EVP_DigestUpdate(reply->digest, data, n);
    reply->left -= n;
    if (reply->left == 0)
        answer_reply_end(conn);
    return n;
}

/* --- all --- */

/* The usual case first: whole messages, sent ahead, committed. */
static size_t
answer_pairs(struct conn *conn, const uint8_t *data, size_t n)
{
    size_t used = 0;

    if (conn->protocol.msp.phase != MSP_BODY || conn->load->options->want_reply || msp_strict(conn))
        return 0;
    while (n - used >= ANSWER_PAIR_LEN && conn->done_seq < conn->next_seq &&
           memcmp(data + used, ANSWER_PAIR, ANSWER_PAIR_LEN) == 0) {
        conn->counts.acks += 2;
        answer_committed(conn);
        used += ANSWER_PAIR_LEN;
    }
    return used;
}

static size_t
answer_step(struct conn *conn, const uint8_t *data, size_t n)
{
    switch ((enum msp_phase)conn->protocol.msp.phase) {
    case MSP_HEADER:
        return answer_reply_header(conn, data, n);
    case MSP_REPLY:
        return answer_reply_body(conn, data, n);
    case MSP_BODY:
    case MSP_FINAL:
        break;
    }
    return answer_line(conn, data, n);
}

size_t
msp_answer_feed(struct conn *conn, const uint8_t *data, size_t n)
{
    size_t used = answer_pairs(conn, data, n);

    while (used < n && conn->state == CONN_UP) {
        size_t step = answer_step(conn, data + used, n - used);

        if (step == 0)
            break;
        used += step;
        if (conn->state == CONN_UP)
            used += answer_pairs(conn, data + used, n - used);
    }
    return used;
}
