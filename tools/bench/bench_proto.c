/* msockd's protocols on a connection of the load, by their state machines in the client's role.
 * Every message is looked at, every reply is compared with what was sent. */
#include "bench/bench_load.h"
#include "common/base.h"
#include "common/fd.h"
#include "proto/limits.h"
#include "proto/msp/msp_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEAKER_VALUE     64         /* an id or a path, NUL included */
#define SPEAKER_MEMORY    (1u << 20) /* of a reply in memory, then a file */
#define SPEAKER_NACKS     10
#define SPEAKER_RESEND_US 2000000 /* as libmsock does */
#define SPEAKER_NEVER     ((uint64_t)1 << 60)
#define TRIES             5

/* What all connections of a load share. */
struct speech_shared {
    const struct proto_ops *ops;
    struct proto_limits limits;
    struct message_store store;
    uint8_t sha256[SHA256_LEN]; /* of the body */
};

/* A message on its way. */
struct speaker_slot {
    struct outgoing out;
    char value[SPEAKER_VALUE];
    bool settled, taken; /* the protocol's answer is there, also out of order */
    bool wrong;          /* its reply is not the message */
};

struct speaker {
    union proto_state state;
    struct answers answers;
    struct proto_body body;
    struct outbox outbox;
    struct outbox_results results;
    struct packet_window *window;
    struct buffer lookahead;
    struct message *building;
    struct proto_tally tally;
    struct bench_link *link;
    uint64_t first;    /* number of the first message on this connection */
    uint64_t flushed;  /* messages whose last byte has left */
    uint64_t finished; /* messages with the protocol's answer, in order */
    uint64_t replies;  /* messages, from first on, whose reply is no longer awaited */
    bool shut;         /* our side is shut down (frame, eof) */
    struct speaker_slot slots[];
};

static struct speaker *
speaker_of(const struct bench_link *link)
{
    return link->speech;
}

static const struct speech_shared *
shared_of(const struct bench_link *link)
{
    return link->load->shared;
}

static struct proto_io
speaker_io(struct bench_link *link)
{
    struct speaker *s = link->speech;
    struct speech_shared *shared = link->load->shared;

    return (struct proto_io){
        .limits = &shared->limits,
        .store = &shared->store,
        .answers = &s->answers,
        .message = &s->building,
        .outbox = &s->outbox,
        .body = &s->body,
        .window = &s->window,
        .lookahead = &s->lookahead,
        .tally = &s->tally,
        .now_us = link->load->now_ns / 1000,
        .keep_max = UINT64_MAX,
    };
}

/* --- options and what is shared --- */

static const char *
proto_complete_common(struct bench_options *options)
{
    if (options->ids || options->late_digest || options->kind == BENCH_FILE)
        return "only msp has ids, paths and digests: no --ids, --kind file or --late-digest";
    if (options->ahead == 0)
        return "--ahead 0 is about the trailer, which only msp has";
    return options->size > BENCH_MESSAGE_MAX ? "messages have up to 256M here: --size is too large"
                                             : NULL;
}

static const char *
msp_complete(struct bench_options *options)
{
    if (options->size > MSP_FIRST_BODY && options->ahead > 1)
        return "messages over 1998 bytes cannot be sent ahead: --ahead wants to be 0 or 1";
    if (options->late_digest && options->size == 0)
        return "an empty message has no late digest: --size wants to be at least 1";
    return NULL;
}

static const char *
tinyproto_complete(struct bench_options *options)
{
    if (options->asked.role == PROTO_SERVER)
        return "a load is a client: no role=server";
    return options->ahead > 1 ? BENCH_TINYPROTO_ASKS : proto_complete_common(options);
}

static const char *
cnp_complete(struct bench_options *options)
{
    bool burst = options->asked.window_size > 1;

    if (options->ahead > CLIENT_WINDOW_MAX)
        return "a window has up to 1024 packets: --ahead is too large";
    if (!burst && url_option(&options->url, "mode") != NULL && options->ahead > 1)
        return "step-by-step is one packet at a time: no --ahead";
    if (url_option(&options->url, "window_size") != NULL && options->ahead_said)
        return "--ahead and window_size are the same: leave one of them out";
    if (burst && !options->ahead_said)
        options->ahead = options->asked.window_size;
    options->window = options->ahead;
    return proto_complete_common(options);
}

static const char *
frame_complete(struct bench_options *options)
{
    const struct framing framing = options->asked.framing;

    if (framing.kind == FRAMING_FIXED && !options->size_said)
        options->size = framing.fixed_len;
    if (framing.kind == FRAMING_FIXED && options->size != framing.fixed_len)
        return "the frames have another size: --size";
    if (framing.kind != FRAMING_EOF)
        return proto_complete_common(options);
    if (options->ahead > 1)
        return "with framing=eof a connection has one message: no --ahead";
    if (options->hold)
        return "with framing=eof a connection ends with its message: no --hold, no --idle";
    return options->size == 0 ? "with framing=eof an empty message is none: --size"
                              : proto_complete_common(options);
}

/* A body without the delimiter's first byte has no delimiter in it, and none across its end. One of
 * so many letters is not in the delimiter. */
static void
frame_spare_delimiter(struct bench_load *load, const struct framing *framing)
{
    const char *other = "_.xyzXYZ0123456789abcdefghijklmnopqrstuvw";

    if (framing->kind != FRAMING_DELIMITER)
        return;
    while (memchr(framing->delimiter, *other, framing->delimiter_len) != NULL)
        other++;
    for (uint64_t i = 0; i < load->options->size; i++)
        if (load->body[i] == framing->delimiter[0])
            load->body[i] = (uint8_t)*other;
}

static int
proto_spill_open(void *arg)
{
    (void)arg;
    return fd_open_scratch();
}

/* After so long without an answer a packet is sent again, where the protocol does that, some time
 * before the connection counts as lost; else that is for the load to say. */
static uint64_t
speaker_timeout_us(const struct proto_ops *ops, const struct bench_options *options)
{
    uint64_t timeout_us = (uint64_t)(options->timeout_s * 1e6);

    return ops->resends && timeout_us > SPEAKER_RESEND_US ? SPEAKER_RESEND_US : timeout_us;
}

static int
proto_prepare(struct bench_load *load)
{
    const struct bench_options *options = load->options;
    struct speech_shared *shared = ms_calloc(1, sizeof(*shared));

    load->shared = shared;
    shared->ops = proto_find(options->speech->scheme);
    shared->limits = (struct proto_limits){
        .max_message_size = BENCH_MESSAGE_MAX,
        .timeout_us = speaker_timeout_us(shared->ops, options),
        .idle_timeout_us = SPEAKER_NEVER,
        .keepalive_us = SPEAKER_NEVER,
        .packet_size = 2048,
        .packet_size_max = 1 << 20,
        .nack_limit = SPEAKER_NACKS,
        .retries = TRIES,
        .window_size = options->window > 0 ? options->window : 1,
        .reply = REPLY_NO,
        .framing = options->asked.framing,
    };
    frame_spare_delimiter(load, &shared->limits.framing);
    shared->store = (struct message_store){
        .digester = digester_create(),
        .memory_max = SPEAKER_MEMORY,
        .ledger.max = UINT64_MAX,
        .spill_open = proto_spill_open,
    };
    if (shared->store.digester == NULL)
        return -1;
    digest_sha256(shared->store.digester, load->body, (size_t)options->size, shared->sha256);
    return 0;
}

static void
proto_release(struct bench_load *load)
{
    struct speech_shared *shared = load->shared;

    if (shared != NULL)
        digester_destroy(shared->store.digester);
    free(shared);
}

/* --- counting --- */

/* Answers that have come since the last call become the connection's counts. */
static void
speaker_count(struct bench_link *link)
{
    struct speaker *s = link->speech;
    struct bench_counts *counts = &link->counts;

    if (shared_of(link)->ops->repeatable) {
        counts->acks += s->tally.acks;
        counts->nack1 += s->tally.nack1;
        counts->nack2 += s->tally.nack2;
        counts->rej += s->tally.rej;
    } else {
        counts->acks += s->results.acks;
        counts->nack1 += s->results.damaged;
        s->results.acks = s->results.damaged = 0;
    }
    counts->err += s->tally.err;
    s->tally = (struct proto_tally){0};
}

static struct speaker_slot *
speaker_slot(const struct bench_link *link, uint64_t seq)
{
    return &speaker_of(link)->slots[seq % link->load->slots];
}

/* Settles from the oldest on what has all that it waits for. */
static void
speaker_settle(struct bench_link *link)
{
    struct speaker *s = link->speech;

    while (link->done_seq < link->next_seq) {
        struct speaker_slot *slot = speaker_slot(link, link->done_seq);

        if (!slot->settled)
            return;
        if (slot->taken && link->load->options->want_reply &&
            s->replies <= link->done_seq - s->first)
            return;
        if (!slot->taken && !shared_of(link)->ops->repeatable)
            link->counts.rej++;
        if (!slot->taken && s->replies == link->done_seq - s->first)
            s->replies++; /* there is none for it */
        slot->settled = false;
        bench_link_settle(link, slot->taken && !slot->wrong);
    }
}

/* The protocol's answer to a message. A refused one gets no reply. */
static void
speaker_settled(void *arg, uint64_t number, bool taken)
{
    struct bench_link *link = arg;
    struct speaker_slot *slot = speaker_slot(link, speaker_of(link)->first + number);

    slot->settled = true;
    slot->taken = taken;
}

/* Where the protocol has no answer, a message is done when it has left; with eof, when the server
 * has closed. */
static void
speaker_settle_flushed(struct bench_link *link)
{
    struct speaker *s = link->speech;
    const struct speech_shared *shared = shared_of(link);

    if (shared->ops->acknowledges)
        return;
    if (shared->limits.framing.kind == FRAMING_EOF) {
        if (s->flushed > 0 && !s->shut) {
            s->shut = true;
            bench_link_leave(link);
        }
        return;
    }
    for (; s->finished < s->flushed; s->finished++)
        speaker_settled(link, s->finished, true);
}

/* --- the connection --- */

static int
proto_open(struct bench_link *link)
{
    size_t slots = link->load->slots;
    struct speaker *s = calloc(1, sizeof(*s) + slots * sizeof(s->slots[0]));
    const struct speech_shared *shared = shared_of(link);
    struct proto_begin begin = {.limits = &shared->limits,
                                .role = PROTO_CLIENT,
                                .nonce = link->index,
                                .now_us = link->load->now_ns / 1000};
    struct proto_io io;

    if (s == NULL)
        return -1;
    link->speech = s;
    s->link = link;
    s->first = link->next_seq;
    s->outbox.results = &s->results;
    s->results.settled = speaker_settled;
    s->results.settled_arg = link;
    answers_init(&s->answers, NULL);
    buffer_init(&s->lookahead);
    io = speaker_io(link);
    shared->ops->init(&s->state, &begin);
    if (shared->ops->open != NULL)
        shared->ops->open(&s->state, &io);
    if (shared->ops->idle(&s->state))
        bench_link_ready(link);
    return 0;
}

static void
proto_close(struct bench_link *link)
{
    struct speaker *s = link->speech;

    if (s == NULL)
        return;
    speaker_count(link);
    if (shared_of(link)->ops->fini != NULL)
        shared_of(link)->ops->fini(&s->state);
    answers_fini(&s->answers);
    outbox_fini(&s->outbox);
    packet_window_destroy(s->window);
    buffer_fini(&s->lookahead);
    message_destroy(s->building);
    free(s);
}

static void
speaker_value(const struct bench_link *link, uint64_t seq, struct speaker_slot *slot)
{
    const struct bench_options *options = link->load->options;
    uint32_t run = link->load->run;

    slot->value[0] = '\0';
    if (options->kind == BENCH_FILE)
        snprintf(slot->value, sizeof(slot->value), "bench/%08x/%06u/%010llu", run, link->index,
                 (unsigned long long)seq);
    else if (options->ids)
        snprintf(slot->value, sizeof(slot->value), "%08x%08x%016llx", run, link->index,
                 (unsigned long long)seq);
    slot->out.value = slot->value;
    slot->out.value_len = strlen(slot->value);
}

static char
speaker_kind(enum bench_kind kind)
{
    return kind == BENCH_JSON ? 'J' : kind == BENCH_FILE ? 'F' : 'A';
}

/* False where the protocol cannot carry it. */
static bool
speaker_post(struct bench_link *link, uint64_t seq)
{
    const struct bench_options *options = link->load->options;
    struct speaker *s = link->speech;
    struct speaker_slot *slot = speaker_slot(link, seq);
    struct proto_io io = speaker_io(link);

    slot->settled = slot->wrong = false;
    slot->out = (struct outgoing){
        .kind = speaker_kind(options->kind),
        .wants_reply = options->want_reply,
        .size = options->size,
        .data = link->load->body,
        .has_digest = true,
        .late = options->late_digest,
        .strict = !options->late_digest && (options->ahead == 0 || options->size > MSP_FIRST_BODY ||
                                            seq < link->again_until),
    };
    memcpy(slot->out.sha256, shared_of(link)->sha256, SHA256_LEN);
    speaker_value(link, seq, slot);
    return proto_send(shared_of(link)->ops, &s->state, &io, &slot->out) == 0;
}

/* What was sent on a connection that was lost goes alone, until it is settled. */
static uint32_t
speaker_room(const struct bench_link *link)
{
    uint32_t slots = (uint32_t)link->load->slots, in_flight = bench_link_in_flight(link);

    if (link->next_seq < link->again_until && shared_of(link)->ops->repeatable)
        slots = 1;
    if (shared_of(link)->limits.framing.kind == FRAMING_EOF && speaker_of(link)->results.sent > 0)
        return 0;
    /* One refill for half of what is in flight costs fewer calls than one for each answer. */
    return in_flight <= slots / 2 ? slots - in_flight : 0;
}

static void
proto_send_more(struct bench_link *link)
{
    uint32_t n = bench_link_begin(link, speaker_room(link));

    for (uint64_t seq = link->next_seq - n; seq < link->next_seq; seq++)
        if (!speaker_post(link, seq)) {
            link->load->result->bad_answers++;
            bench_link_lose(link, true);
            return;
        }
}

static int
proto_output(struct bench_link *link, struct iovec out[2])
{
    const struct proto_ops *ops = shared_of(link)->ops;
    struct speaker *s = link->speech;
    struct proto_io io = speaker_io(link);
    int n;

    while (chain_is_empty(&s->answers.ready) && s->body.len == 0 && ops->work != NULL &&
           ops->work(&s->state, &io))
        continue;
    n = chain_peek(&s->answers.ready, NULL, 0, out, 2);
    if (s->body.len > 0) /* of msp, which puts no blob before it */
        out[n++] = (struct iovec){(void *)(uintptr_t)s->body.data, s->body.len};
    if (n == 0) {
        s->flushed = s->results.sent;
        speaker_settle_flushed(link);
        speaker_settle(link);
    }
    return n;
}

static void
proto_sent(struct bench_link *link, size_t n)
{
    struct speaker *s = link->speech;
    uint64_t ready = chain_len(&s->answers.ready);
    size_t first = n < ready ? n : (size_t)ready;

    chain_sent(&s->answers.ready, NULL, first);
    s->body.data += n - first;
    s->body.len -= n - first;
}

/* --- what comes --- */

/* msp's own sums hold; another protocol's reply has to be the message. */
static bool
reply_is_right(const struct bench_link *link, struct message *m)
{
    const char *body;
    bool right;

    if (shared_of(link)->ops->repeatable)
        return true;
    if (m->size != link->load->options->size || message_body(m, &body) < 0)
        return false;
    right = memcmp(body, link->load->body, (size_t)m->size) == 0;
    message_body_release(m, body);
    return right;
}

/* A message of the server's: the reply to the oldest one without, or of no interest. */
static void
speaker_message(struct bench_link *link, struct proto_io *io, struct message *m)
{
    static const struct verdict taken = {.outcome = PROTO_COMMITTED};
    struct speaker *s = link->speech;
    uint64_t seq;

    speaker_settle(link);
    seq = s->first + s->replies;
    shared_of(link)->ops->settle(&s->state, io, NULL, m, &taken);
    if (link->load->options->want_reply && seq < link->next_seq) {
        speaker_slot(link, seq)->wrong = !reply_is_right(link, m);
        link->load->result->bad_replies += speaker_slot(link, seq)->wrong;
        s->replies++;
    }
    message_destroy(m);
}

/* The protocol ends the connection. */
static void
speaker_closed(struct bench_link *link)
{
    struct speaker *s = link->speech;
    const struct outbox_results *results = &s->results;
    bool counted = results->nacked || results->code[0] != '\0';

    speaker_settle(link);
    link->load->result->shutdowns += strcmp(results->code, "shutdown") == 0;
    if (results->complaint != NULL && strstr(results->complaint, "reply") != NULL) {
        link->load->result->bad_replies++;
        counted = true;
    } else if (!counted) {
        link->load->result->bad_answers++;
        counted = true;
    }
    bench_link_lose(link, counted);
}

static bool
proto_feed(struct bench_link *link, const uint8_t *data, size_t n)
{
    const struct proto_ops *ops = shared_of(link)->ops;
    struct speaker *s = link->speech;

    while (n > 0) {
        struct proto_io io = speaker_io(link);
        struct message *m = NULL;
        size_t used = 0;
        enum proto_event event = ops->feed(&s->state, &io, data, n, &used, &m);

        data += used;
        n -= used;
        if (event == PROTO_MESSAGE)
            speaker_message(link, &io, m);
        if (event == PROTO_CLOSE || event == PROTO_BECOME || s->answers.ended) {
            speaker_closed(link);
            return false;
        }
        if (event == PROTO_FLUSH || event == PROTO_MESSAGE)
            speaker_settle(link);
    }
    speaker_settle(link);
    speaker_count(link);
    if (link->state == LINK_OPENING && (ops->idle(&s->state) || s->building != NULL))
        bench_link_ready(link);
    return true;
}

/* With eof the end is the answer. */
static bool
proto_ended(struct bench_link *link)
{
    const struct proto_ops *ops = shared_of(link)->ops;
    struct speaker *s = link->speech;
    enum proto_event event = PROTO_MESSAGE;

    if (shared_of(link)->limits.framing.kind != FRAMING_EOF || !s->shut)
        return false;
    while (event == PROTO_MESSAGE && ops->eof != NULL) {
        struct proto_io io = speaker_io(link);
        struct message *m = NULL;

        event = ops->eof(&s->state, &io, &m);
        if (event == PROTO_MESSAGE)
            speaker_message(link, &io, m);
    }
    speaker_settled(link, 0, true);
    if (s->replies == 0 && link->load->options->want_reply)
        return false;
    speaker_settle(link);
    return link->done_seq == link->next_seq;
}

/* cnp sends again what has no ACK. */
static void
proto_tick(struct bench_link *link)
{
    const struct proto_ops *ops = shared_of(link)->ops;
    struct speaker *s = link->speech;
    struct proto_io io = speaker_io(link);

    if (ops->deadline(&s->state, io.limits) > io.now_us)
        return;
    if (ops->expire(&s->state, &io) == PROTO_CLOSE || s->answers.ended)
        speaker_closed(link);
    else
        bench_link_push(link);
}

static const struct speech_ops proto_speech = {.prepare = proto_prepare,
                                               .release = proto_release,
                                               .open = proto_open,
                                               .close = proto_close,
                                               .send = proto_send_more,
                                               .output = proto_output,
                                               .sent = proto_sent,
                                               .feed = proto_feed,
                                               .ended = proto_ended,
                                               .tick = proto_tick};

const struct bench_speech *
bench_proto_of(const char *scheme)
{
    static const struct bench_speech spoken[] = {
        {"msp", true, msp_complete, &proto_speech, NULL},
        {"tinyproto", false, tinyproto_complete, &proto_speech, NULL},
        {"cnp", true, cnp_complete, &proto_speech, NULL},
        {"frame", false, frame_complete, &proto_speech, NULL},
    };

    for (size_t i = 0; i < MS_ARRAY_LEN(spoken); i++)
        if (strcmp(spoken[i].scheme, scheme) == 0)
            return &spoken[i];
    return NULL;
}
