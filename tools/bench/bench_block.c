/* Requests that are blocks of bytes made beforehand, and answers that are counted by their lines or
 * lengths. No server costs the generator a copy, a sum or a parser that another does not. A wrong
 * answer ends the load's connection. */
#include "bench/bench_block.h"
#include "common/base.h"
#include "proto/msp/msp_wire.h"
#include "proto/proto_table.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HANDSHAKE_MS 5000 /* for the server to answer */

struct block_link {
    uint32_t unsent, at; /* bytes to be sent, from this offset of the block */
    uint32_t step;       /* the trip that was begun last */
    uint32_t line;       /* of the answer under way */
    uint32_t got;        /* bytes of that line, of the answer or of the trip */
    bool opened;
    uint64_t sequence; /* of the last packet */
    uint8_t *own;      /* where the block is numbered */
};

static struct block *
block_of(const struct bench_link *link)
{
    return link->load->shared;
}

/* --- what is shared --- */

static const char *
block_complete(struct bench_options *options)
{
    void (*make)(struct block * b) = options->speech->make;

    if (options->ids || options->late_digest || options->kind == BENCH_FILE || options->want_reply)
        return "blocks are all the same: no --ids, --late-digest, --kind file or --reply on";
    if (options->ahead == 0)
        return "blocks are sent ahead: --ahead is 1 at least";
    if (make == block_cnp && options->url.is_tls)
        return "the handshake of cnp is spoken before blocks, without TLS: no --blocks";
    if (make == block_tinyproto && options->ahead > 1)
        return BENCH_TINYPROTO_ASKS;
    if ((make == block_msp || make == block_raw) && options->size > MSP_FIRST_BODY)
        return "a block is one packet: --size goes up to 1998";
    options->window = options->ahead;
    return options->size > 64u << 20 ? "a block has up to 64M: --size is too large" : NULL;
}

static int
block_prepare(struct bench_load *load)
{
    const struct bench_options *options = load->options;
    struct block *b = ms_calloc(1, sizeof(*b));

    load->shared = b;
    b->body = load->body;
    b->size = (size_t)options->size;
    b->kind = options->kind == BENCH_JSON ? 'J' : 'A';
    b->data = malloc((b->size + BLOCK_AROUND) * (load->slots + 1));
    if (b->data == NULL)
        return -1;
    options->speech->make(b);
    if (b->len == 0)
        return -1;
    for (size_t i = 1; i <= load->slots; i++)
        memcpy(b->data + i * b->len, b->data, b->len);
    return 0;
}

static void
block_release(struct bench_load *load)
{
    struct block *b = load->shared;

    if (b != NULL)
        free(b->data);
    free(b);
}

/* --- cnp: its handshake is spoken by its state machine, then there are blocks --- */

/* Sends what the handshake has to say and feeds it what comes. 1 when it is complete, 0 before, -1
 * where it failed. */
static int
handshake_turn(struct bench_link *link, void *state, struct proto_io *io)
{
    struct buffer *ready = &io->answers->ready.bytes;
    struct pollfd p = {.fd = link->fd, .events = POLLIN};
    struct message *m = NULL;
    uint8_t data[2048];
    size_t used;
    ssize_t n;

    if (ready->len > 0) {
        n = send(link->fd, buffer_bytes(ready), ready->len, MSG_NOSIGNAL);
        if (n < 0)
            return -1;
        link->counts.bytes_out += (uint64_t)n;
        buffer_consume(ready, (size_t)n);
    }
    if (cnp_protocol.idle(state))
        return ready->len == 0;
    if (poll(&p, 1, HANDSHAKE_MS) <= 0 || (n = recv(link->fd, data, sizeof(data), 0)) <= 0)
        return -1;
    link->counts.bytes_in += (uint64_t)n;
    return cnp_protocol.feed(state, io, data, (size_t)n, &used, &m) == PROTO_CLOSE ? -1 : 0;
}

static int
handshake_run(struct bench_link *link)
{
    struct proto_limits limits = {.timeout_us = 2000000,
                                  .packet_size = (uint32_t)link->load->options->size,
                                  .packet_size_max = (uint32_t)link->load->options->size,
                                  .window_size = link->load->options->window,
                                  .retries = 1,
                                  .nack_limit = 1};
    struct proto_begin begin = {.limits = &limits, .role = PROTO_CLIENT};
    struct message_store store = {.digester = NULL};
    struct packet_window *window = NULL;
    struct proto_tally tally = {0};
    struct answers answers;
    struct outbox outbox;
    struct buffer lookahead;
    struct message *building = NULL;
    struct proto_io io = {.limits = &limits,
                          .store = &store,
                          .answers = &answers,
                          .message = &building,
                          .outbox = &outbox,
                          .window = &window,
                          .lookahead = &lookahead,
                          .tally = &tally};
    union proto_state state;
    int done = 0;

    answers_init(&answers, NULL);
    outbox_init(&outbox, NULL);
    buffer_init(&lookahead);
    cnp_protocol.init(&state, &begin);
    cnp_protocol.open(&state, &io);
    while (done == 0)
        done = handshake_turn(link, &state, &io);
    answers_fini(&answers);
    outbox_fini(&outbox);
    buffer_fini(&lookahead);
    packet_window_destroy(window);
    return done > 0 ? 0 : -1;
}

/* --- the connection --- */

static int
block_open(struct bench_link *link)
{
    const struct block *b = block_of(link);
    struct block_link *l = ms_calloc(1, sizeof(*l));

    link->speech = l;
    l->opened = b->opening == NULL;
    if (b->has_handshake && handshake_run(link) < 0)
        return -1;
    if (b->number_at > 0) {
        l->own = malloc(b->len * (link->load->slots + 1));
        if (l->own == NULL)
            return -1;
        memcpy(l->own, b->data, b->len * (link->load->slots + 1));
    }
    if (l->opened)
        bench_link_ready(link);
    return 0;
}

static void
block_close(struct bench_link *link)
{
    struct block_link *l = link->speech;

    if (l != NULL)
        free(l->own);
    free(l);
}

/* In a block of its own a place is used again only when its request was answered, so nothing in it
 * is on its way while its number changes. */
static void
block_number(const struct bench_link *link, struct block_link *l, uint64_t seq)
{
    uint8_t *packet = l->own + seq % link->load->slots * block_of(link)->len;

    l->sequence = l->sequence % CNP_SEQUENCES + 1;
    be16_store(packet + block_of(link)->number_at, (uint16_t)l->sequence);
}

/* Fills up to the number in flight, in one write, when half of it was answered. */
static void
block_send(struct bench_link *link)
{
    const struct block *b = block_of(link);
    struct block_link *l = link->speech;
    uint32_t slots = (uint32_t)link->load->slots, in_flight = bench_link_in_flight(link), n;

    if (in_flight > slots / 2 || l->unsent > 0)
        return;
    n = bench_link_begin(link, slots - in_flight);
    l->unsent += n * (b->steps > 0 ? b->step[0].len : (uint32_t)b->len);
    for (uint64_t seq = link->next_seq - n; b->number_at > 0 && seq < link->next_seq; seq++)
        block_number(link, l, seq);
}

static int
block_output(struct bench_link *link, struct iovec out[2])
{
    const struct block *b = block_of(link);
    struct block_link *l = link->speech;
    size_t ring = b->len * link->load->slots;

    if (!l->opened && l->at < b->opening_len) {
        out[0] = (struct iovec){(void *)(uintptr_t)(b->opening + l->at), b->opening_len - l->at};
        return 1;
    }
    if (l->unsent == 0)
        return 0;
    if (l->own == NULL) {
        out[0] = (struct iovec){b->data + l->at, l->unsent};
        return 1;
    }
    out[0] = (struct iovec){l->own + l->at, l->unsent < ring - l->at ? l->unsent : ring - l->at};
    return 1;
}

static void
block_sent(struct bench_link *link, size_t n)
{
    const struct block *b = block_of(link);
    struct block_link *l = link->speech;
    size_t round = l->own != NULL ? b->len * link->load->slots : b->len;

    if (!l->opened) {
        l->at += (uint32_t)n; /* until the server's welcome is here */
        return;
    }
    l->unsent -= (uint32_t)n;
    l->at = (uint32_t)((l->at + n) % round);
}

/* --- answers: how many were completed by these bytes; -1: they are none --- */

static int
count_steps(const struct block *b, struct block_link *l, size_t n)
{
    l->got += (uint32_t)n;
    if (l->got < b->step[l->step].reply_len)
        return 0;
    if (l->got > b->step[l->step].reply_len)
        return -1;
    l->got = 0;
    l->step = (l->step + 1) % b->steps;
    if (l->step > 0)
        l->unsent += b->step[l->step].len;
    return l->step == 0;
}

static bool
line_begins(const struct block *b, const struct block_link *l, uint8_t byte)
{
    if (l->got > 0 || l->line >= strlen(b->initial))
        return true;
    return b->initial[l->line] == '*' || b->initial[l->line] == (char)byte;
}

/* The line is complete, its length with CRLF in got: is the answer? */
static bool
line_ends(const struct block *b, struct block_link *l)
{
    bool last = b->lines == 0 ? l->got <= 2 : l->line + 1 == b->lines;

    l->got = 0;
    l->line = last ? 0 : l->line + 1;
    return last;
}

static int
count_lines(const struct block *b, struct block_link *l, const uint8_t *data, size_t n)
{
    const uint8_t *end = data + n;
    int answers = 0;

    while (data < end) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *next = newline == NULL ? end : newline + 1;

        if (!line_begins(b, l, *data))
            return -1;
        l->got += (uint32_t)(next - data);
        if (newline != NULL)
            answers += line_ends(b, l);
        data = next;
    }
    return answers;
}

static int
count_answers(const struct block *b, struct block_link *l, const uint8_t *data, size_t n)
{
    size_t bytes = l->got + n;

    if (b->steps > 0)
        return count_steps(b, l, n);
    if (b->reply_len == 0)
        return count_lines(b, l, data, n);
    if (b->mark != 0 && l->got == 0 && n > b->mark_at && data[b->mark_at] != b->mark)
        return -1;
    l->got = (uint32_t)(bytes % b->reply_len);
    return (int)(bytes / b->reply_len);
}

static bool
block_feed(struct bench_link *link, const uint8_t *data, size_t n)
{
    const struct block *b = block_of(link);
    struct block_link *l = link->speech;
    int answers;

    if (!l->opened) {
        l->opened = true;
        l->at = 0;
        if (data[0] == (uint8_t)b->welcome[0] && n == b->welcome_len) {
            bench_link_ready(link);
            return true;
        }
    }
    answers = link->state == LINK_UP ? count_answers(b, l, data, n) : -1;
    if (answers < 0 || (uint32_t)answers > bench_link_in_flight(link)) {
        link->load->result->bad_answers++;
        bench_link_lose(link, true);
        return false;
    }
    if (b->lines == 2 && b->initial[0] == 'A')
        link->counts.acks += (uint64_t)answers * 2;
    while (answers-- > 0)
        bench_link_settle(link, true);
    return true;
}

static bool
block_ended(struct bench_link *link)
{
    (void)link;
    return false;
}

static const struct speech_ops block_speech = {.prepare = block_prepare,
                                               .release = block_release,
                                               .open = block_open,
                                               .close = block_close,
                                               .send = block_send,
                                               .output = block_output,
                                               .sent = block_sent,
                                               .feed = block_feed,
                                               .ended = block_ended};

const struct bench_speech *
bench_speech_of(const char *scheme, bool blocks)
{
    static const struct bench_speech made[] = {
        {"msp", true, block_complete, &block_speech, block_msp},
        {"tinyproto", true, block_complete, &block_speech, block_tinyproto},
        {"cnp", true, block_complete, &block_speech, block_cnp},
        {"frame", true, block_complete, &block_speech, block_frame},
        {"raw", true, block_complete, &block_speech, block_raw},
        {"redis", true, block_complete, &block_speech, block_redis},
        {"beanstalkd", true, block_complete, &block_speech, block_beanstalkd},
        {"http", true, block_complete, &block_speech, block_http},
        {"post", true, block_complete, &block_speech, block_post},
        {"mqtt", true, block_complete, &block_speech, block_mqtt},
    };
    const struct bench_speech *spoken = bench_proto_of(scheme);

    if (spoken != NULL && !blocks)
        return spoken;
    for (size_t i = 0; i < MS_ARRAY_LEN(made); i++)
        if (strcmp(made[i].scheme, scheme) == 0)
            return &made[i];
    return NULL;
}
