/* cnp (docs/protocol.md 3) on a connection of the load: its handshake, and our packets. All
 * messages are of the same packets, so a packet's number says which part of which message it is,
 * and how far the connection has come are three numbers: packets below base are settled, those from
 * there to sent in flight. What comes is in bench_cnp_answer.c.
 *
 * A packet is sent again when the server says that it is damaged. One that is never answered makes
 * the connection a lost one: below there is TCP, which loses no single packet. */
#include "bench_cnp.h"

#include "bench_load.h"
#include "bench_protocol.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_MAX     1024u
#define WINDOW_DEFAULT 64u     /* of mode=burst */
#define BATCH_MAX      262144u /* bytes that are put at once; a single packet may be larger */

/* --- options --- */

static const char *
cnp_window_option(struct bench_options *options)
{
    char text[32];
    uint32_t window = WINDOW_DEFAULT;

    if (bench_url_option(options->url, "window_size", text, sizeof(text)))
        window = (uint32_t)strtoul(text, NULL, 10);
    if (options->ahead_said && options->ahead != window)
        return "--ahead and the URL's window say different things: give one of them";
    options->ahead = window;
    return NULL;
}

static const char *
cnp_complete(struct bench_options *options)
{
    char mode[32] = "";

    bench_url_option(options->url, "mode", mode, sizeof(mode));
    if (strcmp(mode, "burst") == 0)
        return cnp_window_option(options);
    if (mode[0] != '\0' && options->ahead > 1)
        return "step-by-step is one packet at a time: no --ahead";
    if (options->ahead > WINDOW_MAX)
        return "a window has up to 1024 packets: --ahead is too large";
    return NULL;
}

/* --- sums --- */

void
cnp_sum(const void *data, size_t n, uint8_t out[CNP_SUM_LEN])
{
    uint8_t sum[EVP_MAX_MD_SIZE] = {0};

    EVP_Digest(data, n, sum, NULL, EVP_md5(), NULL);
    memcpy(out, sum, CNP_SUM_LEN);
}

static int
cnp_wire_create(struct bench_message *message, const struct bench_options *options)
{
    struct cnp_wire *w = calloc(1, sizeof(*w));

    (void)options;
    message->wire = w;
    if (w == NULL)
        return -1;
    w->body = message->body;
    w->size = message->size;
    w->packets = 1;
    put_be(w->ack, 3, 4);
    w->ack[CNP_TYPE_AT] = CNP_ACK;
    memcpy(w->ack + CNP_HEADER, "ACK", 3);
    cnp_sum("ACK", 3, w->ack + CNP_SUM_AT);
    return 0;
}

static void
cnp_wire_destroy(void *wire)
{
    struct cnp_wire *w = wire;

    free(w->heads);
    free(w);
}

size_t
cnp_packet_len(const struct cnp_wire *w, uint64_t part)
{
    uint64_t left = w->size - part * w->packet_max;

    return left < w->packet_max ? (size_t)left : w->packet_max;
}

uint32_t
cnp_packet_wish(const struct cnp_wire *w)
{
    if (w->heads != NULL)
        return w->packet_max;
    return w->size < 1 ? 1 : w->size > UINT32_MAX ? UINT32_MAX : (uint32_t)w->size;
}

bool
cnp_wire_cut(struct cnp_wire *w, uint32_t packet_max)
{
    uint64_t packets = w->size == 0 ? 1 : (w->size - 1) / packet_max + 1;
    uint8_t *heads;

    if (w->heads != NULL)
        return true;
    heads = calloc((size_t)packets, CNP_HEADER);
    if (heads == NULL)
        return false;
    w->heads = heads;
    w->packet_max = packet_max;
    w->packets = packets;
    for (uint64_t i = 0; i < packets; i++, heads += CNP_HEADER) {
        size_t n = cnp_packet_len(w, i);

        put_be(heads, n, 4);
        heads[CNP_TYPE_AT] = i + 1 < packets ? CNP_FRAGMENT : CNP_DATA;
        cnp_sum(w->body + i * packet_max, n, heads + CNP_SUM_AT);
    }
    return true;
}

/* --- the handshake --- */

void
cnp_put(struct conn *conn, enum cnp_type type, uint16_t sequence, const char *text)
{
    uint8_t head[CNP_HEADER];

    put_be(head, strlen(text), 4);
    head[CNP_TYPE_AT] = (uint8_t)type;
    put_be(head + CNP_SEQUENCE_AT, sequence, 2);
    cnp_sum(text, strlen(text), head + CNP_SUM_AT);
    conn_put(conn, head, sizeof(head));
    conn_put(conn, text, strlen(text));
}

static void
cnp_open(struct conn *conn)
{
    const struct load *load = conn->load;
    uint32_t ahead = load->options->ahead;
    char text[160];

    snprintf(text, sizeof(text),
             "{\"operation_mode\": \"%s\", \"max_packet_size\": %u, \"window_size\": %u, "
             "\"fragments\": true}",
             ahead > 1 ? "burst" : "step-by-step", cnp_packet_wish(load->message->wire), ahead);
    cnp_put(conn, CNP_DATA, 0, text);
}

/* --- messages --- */

/* Numbers go 1, 2, ... 65535, 1, ... */
static uint16_t
cnp_sequence(uint64_t packet)
{
    return (uint16_t)(packet % 65535 + 1);
}

bool
cnp_in_flight(const struct conn *conn, uint16_t sequence, uint64_t *packet_out)
{
    const struct cnp_conn *c = &conn->protocol.cnp;
    uint64_t packet = c->base + (sequence + 65535u - cnp_sequence(c->base)) % 65535;

    if (sequence == 0 || packet >= c->sent)
        return false;
    *packet_out = packet;
    return true;
}

void
cnp_put_packet(struct conn *conn, uint64_t packet)
{
    const struct cnp_wire *w = conn->load->message->wire;
    uint64_t part = packet % w->packets;
    uint8_t head[CNP_HEADER];

    memcpy(head, w->heads + part * CNP_HEADER, CNP_HEADER);
    put_be(head + CNP_SEQUENCE_AT, cnp_sequence(packet), 2);
    conn_put(conn, head, sizeof(head));
    conn_put(conn, w->body + part * w->packet_max, cnp_packet_len(w, part));
}

static void
cnp_send(struct conn *conn)
{
    const struct cnp_wire *w = conn->load->message->wire;
    struct cnp_conn *c = &conn->protocol.cnp;
    size_t batch = 0;

    while (c->sent - c->base < c->window && batch < BATCH_MAX) {
        if (c->sent % w->packets == 0 && conn_begin(conn, 1) == 0)
            break;
        batch += cnp_packet_len(w, c->sent % w->packets);
        cnp_put_packet(conn, c->sent++);
    }
    if (batch > 0 || !conn_quiet(conn))
        conn_push(conn);
    else
        conn_want_out(conn, false);
}

/* A window may be more than a batch. */
static bool
cnp_sent(struct conn *conn)
{
    const struct cnp_conn *c = &conn->protocol.cnp;

    return conn->state == CONN_UP && c->sent - c->base < c->window;
}

const struct bench_protocol bench_cnp = {
    .name = "cnp",
    .acknowledges = true,
    .complete = cnp_complete,
    .wire_create = cnp_wire_create,
    .wire_destroy = cnp_wire_destroy,
    .open = cnp_open,
    .send = cnp_send,
    .sent = cnp_sent,
    .feed = cnp_feed,
};
