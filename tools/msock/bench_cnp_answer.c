/* What the server says over cnp, and what follows from it: the end of the handshake, ACKs and
 * ERRORs, and its replies, which are read as they come and acknowledged. A reply that is not the
 * message, packet by packet, is wrong; it is not asked for again. */
#include "bench_cnp.h"

#include "bench_load.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NACK_LIMIT 10u
#define NUMBERS    65535u

/* Of a packet of ours in flight. */
#define MARK_ACKED   1u
#define MARK_REPLIED 2u
#define MARK_REFUSED 4u

static uint8_t *
cnp_mark(const struct conn *conn, uint64_t packet)
{
    return &conn->marks[packet % conn->protocol.cnp.window];
}

/* --- messages --- */

static bool
cnp_ends(const struct conn *conn, uint64_t packet)
{
    const struct cnp_wire *w = conn->load->message->wire;

    return packet % w->packets == w->packets - 1;
}

static bool
cnp_settled(const struct conn *conn, uint64_t packet)
{
    bool replies = conn->load->options->want_reply && cnp_ends(conn, packet);
    uint8_t mark = *cnp_mark(conn, packet);

    if (mark & MARK_REFUSED)
        return true;
    return (mark & MARK_ACKED) && (!replies || (mark & MARK_REPLIED));
}

static void
cnp_slide(struct conn *conn)
{
    struct cnp_conn *c = &conn->protocol.cnp;

    while (c->base < c->sent && cnp_settled(conn, c->base)) {
        *cnp_mark(conn, c->base) = 0;
        if (cnp_ends(conn, c->base))
            conn_settle(conn);
        c->base++;
    }
}

/* A double is none of those in flight, and says nothing new. */
static void
cnp_acked(struct conn *conn, uint16_t sequence)
{
    const struct cnp_wire *w = conn->load->message->wire;
    struct cnp_conn *c = &conn->protocol.cnp;
    uint64_t packet;

    conn->counts.acks++;
    if (!cnp_in_flight(conn, sequence, &packet) || *cnp_mark(conn, packet) != 0)
        return;
    c->nacks = 0;
    *cnp_mark(conn, packet) = MARK_ACKED;
    if (cnp_ends(conn, packet) && !conn->load->options->want_reply)
        conn_count(conn, c->first + packet / w->packets);
    cnp_slide(conn);
}

/* --- ERROR --- */

static void
cnp_damaged(struct conn *conn, uint16_t sequence)
{
    uint64_t packet;

    conn->counts.nack1++;
    if (!cnp_in_flight(conn, sequence, &packet) || ++conn->protocol.cnp.nacks > NACK_LIMIT)
        conn_lose(conn, true);
    else
        cnp_put_packet(conn, packet);
}

static void
cnp_refused(struct conn *conn, uint16_t sequence)
{
    uint64_t packet;

    if (!cnp_in_flight(conn, sequence, &packet)) {
        conn_bad_answer(conn);
        return;
    }
    conn->counts.rej++;
    *cnp_mark(conn, packet) = MARK_REFUSED;
    cnp_slide(conn);
}

static void
cnp_failed(struct conn *conn, bool shutdown)
{
    conn->counts.err++;
    conn->load->result->shutdowns += shutdown;
    conn_lose(conn, true);
}

static void
cnp_error(struct conn *conn, uint16_t sequence, const uint8_t *text, size_t n)
{
    json_t *object = json_loadb((const char *)text, n, 0, NULL);
    const char *code = json_string_value(json_object_get(object, "error"));

    if (conn->state != CONN_UP || code == NULL)
        cnp_failed(conn, code != NULL && strcmp(code, "shutdown") == 0);
    else if (strcmp(code, "checksum") == 0)
        cnp_damaged(conn, sequence);
    else if (strcmp(code, "refused") == 0)
        cnp_refused(conn, sequence);
    else
        cnp_failed(conn, strcmp(code, "shutdown") == 0);
    json_decref(object);
}

/* --- the handshake --- */

static uint32_t
cnp_at_most(const json_t *answer, const char *name, uint64_t most)
{
    const json_t *member = json_object_get(answer, name);
    json_int_t n = json_integer_value(member);

    if (!json_is_integer(member))
        return (uint32_t)most;
    return n < 1 ? 1 : (uint64_t)n < most ? (uint32_t)n : (uint32_t)most;
}

/* What all connections send is cut for one size, so another one later is of no use. */
static bool
cnp_agree(struct conn *conn, const json_t *answer)
{
    struct cnp_wire *w = conn->load->message->wire;
    struct cnp_conn *c = &conn->protocol.cnp;
    uint32_t packet_max = cnp_at_most(answer, "max_packet_size", cnp_packet_wish(w));

    c->window = cnp_at_most(answer, "window_size", conn->load->options->ahead);
    c->first = conn->done_seq;
    if (w->heads != NULL && packet_max != w->packet_max)
        return false;
    if (w->size > packet_max && !json_is_true(json_object_get(answer, "fragments")))
        return false;
    return cnp_wire_cut(w, packet_max);
}

static void
cnp_syn_ack(struct conn *conn, uint16_t sequence, const uint8_t *text, size_t n)
{
    json_t *answer = json_loadb((const char *)text, n, 0, NULL), *step = NULL;
    const char *status = json_string_value(json_object_get(answer, "status"));
    const char *id = json_string_value(json_object_get(answer, "session_id"));
    char *said = NULL;

    if (status == NULL || strcmp(status, "ok") != 0) {
        cnp_failed(conn, false);
    } else if (id == NULL || !cnp_agree(conn, answer) ||
               (step = json_pack("{s:s}", "session_id", id)) == NULL ||
               (said = json_dumps(step, 0)) == NULL) {
        conn_bad_answer(conn);
    } else {
        cnp_put(conn, CNP_ACK, sequence, said);
        conn_ready(conn);
    }
    free(said);
    json_decref(step);
    json_decref(answer);
}

/* --- replies --- */

/* A refused message has none. */
static bool
cnp_has_no_reply(const struct conn *conn, uint64_t end)
{
    const struct cnp_conn *c = &conn->protocol.cnp;

    return end < c->base || (end < c->sent && (*cnp_mark(conn, end) & MARK_REFUSED));
}

static void
cnp_replied(struct conn *conn)
{
    const struct cnp_wire *w = conn->load->message->wire;
    struct cnp_conn *c = &conn->protocol.cnp;
    bool right = !c->wrong && c->at == w->size;
    uint64_t end = c->reply * w->packets + w->packets - 1;

    for (; cnp_has_no_reply(conn, end); end += w->packets)
        c->reply++;
    if (end >= c->sent || !(*cnp_mark(conn, end) & MARK_ACKED)) {
        conn_bad_answer(conn); /* a reply to nothing */
        return;
    }
    *cnp_mark(conn, end) |= MARK_REPLIED;
    if (right)
        conn_count(conn, c->first + c->reply);
    else
        conn->load->result->bad_replies++;
    c->reply++;
    cnp_slide(conn);
}

static void
cnp_data_end(struct conn *conn)
{
    const struct cnp_wire *w = conn->load->message->wire;
    struct cnp_conn *c = &conn->protocol.cnp;
    uint8_t ack[CNP_ACK_LEN];

    memcpy(ack, w->ack, sizeof(ack));
    put_be(ack + CNP_SEQUENCE_AT, c->sequence, 2);
    conn_put(conn, ack, sizeof(ack));
    c->in_payload = false;
    if (c->again)
        return;
    if (c->sequence != 0)
        c->turn = c->sequence;
    if (c->type != CNP_DATA)
        return;
    if (conn->load->options->want_reply)
        cnp_replied(conn);
    c->at = 0;
    c->wrong = false;
}

static size_t
cnp_data(struct conn *conn, const uint8_t *data, size_t n)
{
    struct cnp_conn *c = &conn->protocol.cnp;

    n = n < c->left ? n : c->left;
    c->left -= (uint32_t)n;
    if (!c->again && conn->load->options->want_reply) {
        c->wrong = c->wrong || !message_has(conn->load->message, c->at, data, n);
        c->at += n;
    }
    if (c->left == 0)
        cnp_data_end(conn);
    return n;
}

/* The packets of a right reply have the heads of our own, but for the number. */
static bool
cnp_is_ours(const struct cnp_wire *w, uint64_t at, const uint8_t *head)
{
    const uint8_t *own = w->heads + at / w->packet_max * CNP_HEADER;

    return at / w->packet_max < w->packets && memcmp(own, head, CNP_SEQUENCE_AT) == 0 &&
           memcmp(own + CNP_SUM_AT, head + CNP_SUM_AT, CNP_SUM_LEN) == 0;
}

static void
cnp_data_begin(struct conn *conn, const uint8_t *head)
{
    struct cnp_conn *c = &conn->protocol.cnp;
    uint32_t ahead;

    c->type = head[CNP_TYPE_AT];
    c->sequence = (uint16_t)get_be(head + CNP_SEQUENCE_AT, 2);
    c->left = (uint32_t)get_be(head, 4);
    /* how far it is ahead of the one whose turn it is, going round */
    ahead = (c->sequence + NUMBERS - (c->turn % NUMBERS + 1)) % NUMBERS;
    c->again = c->sequence != 0 && ahead > NUMBERS / 2;
    if (c->sequence != 0 && ahead > 0 && !c->again) {
        conn_bad_answer(conn); /* beyond a gap: nothing of ours made one */
        return;
    }
    if (!c->again)
        c->wrong = c->wrong || !cnp_is_ours(conn->load->message->wire, c->at, head);
    c->in_payload = true;
    if (c->left == 0)
        cnp_data_end(conn);
}

/* --- all --- */

static void
cnp_control(struct conn *conn, const uint8_t *packet, size_t n)
{
    const uint8_t *text = packet + CNP_HEADER;
    uint16_t sequence = (uint16_t)get_be(packet + CNP_SEQUENCE_AT, 2);
    uint8_t sum[CNP_SUM_LEN];

    cnp_sum(text, n, sum);
    if (memcmp(sum, packet + CNP_SUM_AT, CNP_SUM_LEN) != 0)
        conn_bad_answer(conn);
    else if (packet[CNP_TYPE_AT] == CNP_ERROR)
        cnp_error(conn, sequence, text, n);
    else if (packet[CNP_TYPE_AT] == CNP_ACK && conn->state == CONN_OPENING)
        cnp_syn_ack(conn, sequence, text, n);
    else if (packet[CNP_TYPE_AT] == CNP_ACK)
        cnp_acked(conn, sequence);
    else if (conn->state == CONN_UP &&
             (packet[CNP_TYPE_AT] == CNP_KEEPALIVE || packet[CNP_TYPE_AT] == CNP_DISCONNECT))
        cnp_put(conn, CNP_ACK, sequence, "ACK");
    else
        conn_bad_answer(conn);
}

/* The usual case first: an ACK as we would write it. */
static bool
cnp_is_ack(const struct conn *conn, const uint8_t *data, size_t n)
{
    const struct cnp_wire *w = conn->load->message->wire;

    return n >= CNP_ACK_LEN && conn->state == CONN_UP &&
           memcmp(data, w->ack, CNP_SEQUENCE_AT) == 0 &&
           memcmp(data + CNP_SUM_AT, w->ack + CNP_SUM_AT, CNP_ACK_LEN - CNP_SUM_AT) == 0;
}

static size_t
cnp_step(struct conn *conn, const uint8_t *data, size_t n)
{
    uint64_t len;

    if (conn->protocol.cnp.in_payload)
        return cnp_data(conn, data, n);
    if (cnp_is_ack(conn, data, n)) {
        cnp_acked(conn, (uint16_t)get_be(data + CNP_SEQUENCE_AT, 2));
        return CNP_ACK_LEN;
    }
    if (n < CNP_HEADER)
        return 0;
    if (conn->state == CONN_UP &&
        (data[CNP_TYPE_AT] == CNP_DATA || data[CNP_TYPE_AT] == CNP_FRAGMENT)) {
        cnp_data_begin(conn, data);
        return CNP_HEADER;
    }
    len = get_be(data, 4);
    if (len > CONN_KEPT_MAX - CNP_HEADER) {
        conn_bad_answer(conn);
        return n;
    }
    if (n < CNP_HEADER + len)
        return 0;
    cnp_control(conn, data, (size_t)len);
    return CNP_HEADER + (size_t)len;
}

size_t
cnp_feed(struct conn *conn, const uint8_t *data, size_t n)
{
    size_t used = 0, step = 1;

    while (used < n && step > 0 && (conn->state == CONN_OPENING || conn->state == CONN_UP)) {
        step = cnp_step(conn, data + used, n - used);
        used += step;
    }
    return used;
}
