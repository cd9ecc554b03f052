/* What the server says, and what follows from it (docs/protocol.md 1.5 to 1.7). */
#include "bench_load.h"
#include "msock.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define ANSWER_NACK_LIMIT 10u
#define ANSWER_REPLY_MAX  ((uint64_t)16 << 20)
#define ANSWER_PAIR       "ACK\r\nACK\r\n" /* to a whole message that was sent ahead */
#define ANSWER_PAIR_LEN   (sizeof(ANSWER_PAIR) - 1)

/* The oldest message in flight has its final answer. */
static void
answer_done(struct conn *conn)
{
    conn->done_seq++;
    conn->load->open_messages--;
    conn->phase = CONN_BODY;
    conn->nacks = 0;
    conn->failures = 0;
    conn->trouble_ns = 0;
}

static void
answer_committed(struct conn *conn)
{
    struct load *load = conn->load;
    uint32_t ahead = load->options->ahead;

    conn->counts.messages++;
    if (load->phase == LOAD_MEASURE) {
        load->result->messages++;
        histogram_add(&load->result->latency_ns,
                      load->now_ns - conn->stamps[conn->done_seq % (ahead > 0 ? ahead : 1)]);
    }
    answer_done(conn);
}

static void
answer_bad(struct conn *conn)
{
    conn->load->result->bad_answers++;
    conn_lose(conn, true);
}

static void
answer_ack(struct conn *conn, uint32_t grant)
{
    const struct bench_message *message = conn->load->message;
    bool more = conn_strict(conn) && conn->phase == CONN_BODY &&
                conn->offset + conn->packet_len < message->size;

    conn->counts.acks++;
    if (more != (grant > 0) || (grant > 0 && grant <= MESSAGE_PACKET_HEADER))
        answer_bad(conn);
    else if (more)
        conn_send_packet(conn, grant);
    else if (conn->phase == CONN_FINAL && conn->load->options->want_reply)
        conn->phase = CONN_HEADER;
    else if (conn->phase == CONN_FINAL)
        answer_committed(conn);
    else if (conn_strict(conn))
        conn_send_trailer(conn);
    else
        conn->phase = CONN_FINAL;
}

/* After a NACK the server has dropped what was sent ahead, so that has to begin anew (1.6). */
static void
answer_nack(struct conn *conn, bool from_start)
{
    conn->nacks++;
    if (!conn_strict(conn) || conn->nacks > ANSWER_NACK_LIMIT)
        conn_lose(conn, true);
    else if (from_start)
        conn_send_first(conn);
    else
        conn_send_again(conn);
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
        answer_bad(conn);
        return n;
    }
    if (conn->next_seq == conn->done_seq && answer != MSOCK_ANSWER_ERR) {
        answer_bad(conn); /* an answer to nothing */
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
        answer_done(conn);
        break;
    case MSOCK_ANSWER_ERR:
        answer_err(conn, data, (size_t)used);
        break;
    }
    return (size_t)used;
}

/* --- replies --- */

static uint64_t
answer_be(const uint8_t *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

static void
answer_reply_end(struct conn *conn)
{
    struct conn_reply *reply = conn->reply;
    uint8_t digest[EVP_MAX_MD_SIZE];

    if (EVP_DigestFinal_ex(reply->digest, digest, NULL) != 1 ||
        memcmp(digest, reply->header + 10, 32) != 0 ||
        reply->crc != (uint32_t)answer_be(reply->header + 44, 4))
        conn->load->result->bad_replies++;
    answer_committed(conn);
}

static struct conn_reply *
answer_reply(struct conn *conn)
{
    struct conn_reply *reply = conn->reply;

    if (reply != NULL)
        return reply;
    reply = calloc(1, sizeof(*reply));
    if (reply == NULL)
        return NULL;
    reply->digest = EVP_MD_CTX_new();
    conn->reply = reply;
    return reply;
}

static size_t
answer_reply_header(struct conn *conn, const uint8_t *data, size_t n)
{
    struct conn_reply *reply;

    if (n < MESSAGE_FIRST_HEADER)
        return 0;
    reply = answer_reply(conn);
    if (reply == NULL || reply->digest == NULL ||
        EVP_DigestInit_ex(reply->digest, EVP_sha256(), NULL) != 1 ||
        memcmp(data + 8, "\r\n", 2) != 0 || memcmp(data + 42, "\r\n", 2) != 0 ||
        memcmp(data + 48, "\r\n", 2) != 0 || answer_be(data, 8) > ANSWER_REPLY_MAX) {
        answer_bad(conn);
        return n;
    }
    memcpy(reply->header, data, MESSAGE_FIRST_HEADER);
    reply->left = answer_be(data, 8);
    reply->crc = 0;
    conn->phase = CONN_REPLY;
    if (reply->left == 0)
        answer_reply_end(conn);
    return MESSAGE_FIRST_HEADER;
}

static size_t
answer_reply_body(struct conn *conn, const uint8_t *data, size_t n)
{
    struct conn_reply *reply = conn->reply;

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

    if (conn->phase != CONN_BODY || conn->load->options->want_reply || conn_strict(conn))
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
    switch ((enum conn_phase)conn->phase) {
    case CONN_HEADER:
        return answer_reply_header(conn, data, n);
    case CONN_REPLY:
        return answer_reply_body(conn, data, n);
    case CONN_BODY:
    case CONN_FINAL:
        break;
    }
    return answer_line(conn, data, n);
}

size_t
answer_feed(struct conn *conn, const uint8_t *data, size_t n)
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
