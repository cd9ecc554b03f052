/* tinyproto (docs/protocol.md 2): a message takes a trip for the consent to its SIZE, and with a
 * reply two more. The server's own messages are taken whether they are of interest or not: one that
 * waits for its consent holds up others. */
#include "bench_load.h"
#include "bench_protocol.h"
#include "numbers.h"

#include <stdlib.h>

#define TINY_OK       0xffu
#define TINY_ERROR    0x00u /* GENERIC_ERROR */
#define TINY_SIZE_LEN 4u
#define TINY_SIZE_MAX 0xf0ffffffu

static const uint8_t tiny_ok[1] = {TINY_OK};

static const char *
tiny_complete(struct bench_options *options)
{
    if (options->ahead > 1)
        return "tinyproto asks before each message: no --ahead";
    if (options->size > TINY_SIZE_MAX)
        return "messages of tinyproto have up to 4043309055 bytes: --size is too large";
    return NULL;
}

static int
tiny_wire_create(struct bench_message *message, const struct bench_options *options)
{
    uint8_t *size = malloc(TINY_SIZE_LEN);

    (void)options;
    message->wire = size;
    if (size == NULL)
        return -1;
    put_be(size, message->size, TINY_SIZE_LEN);
    return 0;
}

static void
tiny_open(struct conn *conn)
{
    conn_put(conn, tiny_ok, sizeof(tiny_ok));
}

/* --- our messages --- */

static void
tiny_send(struct conn *conn)
{
    if (conn->next_seq > conn->done_seq || conn_begin(conn, 1) == 0)
        return;
    conn->protocol.tinyproto.asking = true;
    conn_put(conn, conn->load->message->wire, TINY_SIZE_LEN);
    conn_push(conn);
}

static bool
tiny_sent(struct conn *conn)
{
    struct tinyproto_conn *t = &conn->protocol.tinyproto;

    if (!t->sending)
        return false;
    t->sending = false;
    if (!conn->load->options->want_reply) {
        conn->load->now_ns = number_now_ns();
        conn_commit(conn);
    }
    if (t->held) {
        t->held = false;
        t->receiving = t->left > 0;
        conn_put(conn, tiny_ok, sizeof(tiny_ok));
    }
    return false;
}

static void
tiny_consent(struct conn *conn)
{
    const struct bench_message *message = conn->load->message;
    struct tinyproto_conn *t = &conn->protocol.tinyproto;

    conn->counts.acks++;
    t->asking = false;
    t->sending = true;
    conn_put_data(conn, message->body, (size_t)message->size, false);
    conn_push(conn);
}

/* CONLIMIT and CONFLICT come in place of the first OK; GENERIC_ERROR, of any. */
static void
tiny_refused(struct conn *conn)
{
    conn->counts.err++;
    conn_lose(conn, true);
}

static void
tiny_signal(struct conn *conn, uint8_t signal)
{
    if (conn->state == CONN_OPENING && signal == TINY_OK)
        conn_ready(conn);
    else if (conn->state == CONN_OPENING)
        tiny_refused(conn);
    else if (signal == TINY_OK && conn->protocol.tinyproto.asking)
        tiny_consent(conn);
    else
        conn_bad_answer(conn);
}

/* --- the server's --- */

static void
tiny_reply_end(struct conn *conn)
{
    struct tinyproto_conn *t = &conn->protocol.tinyproto;
    bool right = !t->wrong && t->at == conn->load->message->size;

    t->receiving = t->wrong = false;
    if (conn->load->options->want_reply)
        conn_replied(conn, right);
}

/* Where it crosses a SIZE of ours, ours goes first. */
static void
tiny_size(struct conn *conn, uint64_t size)
{
    struct tinyproto_conn *t = &conn->protocol.tinyproto;
    bool busy = t->asking || t->sending;

    if (t->held ||
        (conn->load->options->want_reply && (busy || conn->next_seq == conn->done_seq))) {
        conn_bad_answer(conn); /* a reply to nothing */
        return;
    }
    t->at = 0;
    t->left = size;
    t->held = busy;
    t->receiving = !busy;
    if (busy)
        return;
    conn_put(conn, tiny_ok, sizeof(tiny_ok));
    if (size == 0)
        tiny_reply_end(conn);
}

static size_t
tiny_payload(struct conn *conn, const uint8_t *data, size_t n)
{
    struct tinyproto_conn *t = &conn->protocol.tinyproto;

    n = n < t->left ? n : (size_t)t->left;
    if (conn->load->options->want_reply && !t->wrong)
        t->wrong = !message_has(conn->load->message, t->at, data, n);
    t->at += n;
    t->left -= n;
    if (t->left == 0)
        tiny_reply_end(conn);
    return n;
}

static size_t
tiny_step(struct conn *conn, const uint8_t *data, size_t n)
{
    if (conn->protocol.tinyproto.receiving)
        return tiny_payload(conn, data, n);
    if (conn->state == CONN_OPENING || data[0] > TINY_SIZE_MAX >> 24) {
        tiny_signal(conn, data[0]);
        return 1;
    }
    if (n < TINY_SIZE_LEN)
        return 0;
    tiny_size(conn, get_be(data, TINY_SIZE_LEN));
    return TINY_SIZE_LEN;
}

static size_t
tiny_feed(struct conn *conn, const uint8_t *data, size_t n)
{
    size_t used = 0, step = 1;

    while (used < n && step > 0 && (conn->state == CONN_OPENING || conn->state == CONN_UP)) {
        step = tiny_step(conn, data + used, n - used);
        used += step;
    }
    return used;
}

/* A GENERIC_ERROR looks like the beginning of a SIZE until the server has closed. */
static bool
tiny_ended(struct conn *conn)
{
    if (conn->kept_len == 1 && conn->kept[0] == TINY_ERROR)
        tiny_refused(conn);
    return false;
}

const struct bench_protocol bench_tinyproto = {
    .name = "tinyproto",
    .complete = tiny_complete,
    .wire_create = tiny_wire_create,
    .wire_destroy = free,
    .open = tiny_open,
    .send = tiny_send,
    .sent = tiny_sent,
    .feed = tiny_feed,
    .ended = tiny_ended,
};
