/* The server's side of a port for all protocols: what the first bytes can be, and the change to
 * the protocol that they are. Invariant: a byte that was consumed is in io->lookahead until
 * then. */
#include "proto/proto_table.h"

#include <assert.h>

#define OPENING_OK      0xff
#define SYN_TYPE_AT     4
#define SYN_CHECKSUM_AT 7
#define SYN_PAYLOAD_AT  11 /* in the second dialect one further on (3.4) */
#define SYN_TYPE        1
#define SYN_MIN         2
#define SYN_MAX         65535

static_assert(AUTO_LOOKAHEAD_MAX == SYN_PAYLOAD_AT + 1 + SYN_MAX,
              "room for the largest first packet");

/* How bytes agree with a protocol. */
enum auto_match {
    AUTO_EXCLUDED, /* they are something else */
    AUTO_POSSIBLE, /* so far */
    AUTO_CERTAIN,  /* all that tells it from others is there */
};

enum auto_verdict {
    AUTO_UNDECIDED,
    AUTO_TINYPROTO,
    AUTO_MSP,
    AUTO_CNP,
    AUTO_FRAME,
    AUTO_NOTHING,
};

static void
auto_init(void *state, const struct proto_begin *begin)
{
    MS_ASSERT(begin->role == PROTO_SERVER);
    *(struct auto_detect *)state = (struct auto_detect){.heard_us = begin->now_us};
}

static bool
auto_adopt(void *state, const void *moved)
{
    const struct auto_detect *from = moved;
    struct auto_detect *a = state;

    a->heard_us = proto_moved_time(from->heard_us, a->heard_us);
    return from->have == 0;
}

/* --- what n bytes (1 or more) can be --- */

static enum auto_match
auto_match_msp(const uint8_t *at, size_t n)
{
    static const uint8_t crlf_at[] = {8, 42, 48};

    for (size_t i = 0; i < MS_ARRAY_LEN(crlf_at); i++) {
        size_t cr = crlf_at[i];

        if ((n > cr && at[cr] != '\r') || (n > cr + 1 && at[cr + 1] != '\n'))
            return AUTO_EXCLUDED;
    }
    return n >= MSP_FIRST_HEADER ? AUTO_CERTAIN : AUTO_POSSIBLE;
}

/* A SIZE that begins with these bytes is at least this. */
static uint64_t
auto_msp_size_min(const uint8_t *at, size_t n)
{
    uint8_t size[8] = {0};

    memcpy(size, at, n < sizeof(size) ? n : sizeof(size));
    return be64_load(size);
}

/* With the payload at that offset. */
static enum auto_match
auto_match_cnp_payload(const uint8_t *at, size_t n, size_t payload)
{
    size_t len = be32_load(at);
    uint8_t sum[CNP_SUM_LEN];

    if (n > payload && at[payload] != '{')
        return AUTO_EXCLUDED;
    if (n < payload + len)
        return AUTO_POSSIBLE;
    cnp_sum_of(at + payload, len, sum);
    return memcmp(sum, at + SYN_CHECKSUM_AT, sizeof(sum)) == 0 ? AUTO_CERTAIN : AUTO_EXCLUDED;
}

static enum auto_match
auto_match_cnp(const uint8_t *at, size_t n)
{
    enum auto_match first, second;

    if (at[0] != 0 || (n >= 2 && at[1] != 0))
        return AUTO_EXCLUDED;
    if (n < 4)
        return AUTO_POSSIBLE;
    if (be32_load(at) < SYN_MIN || (n > SYN_TYPE_AT && at[SYN_TYPE_AT] != SYN_TYPE))
        return AUTO_EXCLUDED;
    first = auto_match_cnp_payload(at, n, SYN_PAYLOAD_AT);
    second = auto_match_cnp_payload(at, n, SYN_PAYLOAD_AT + 1);
    return first > second ? first : second;
}

/* The verdict from the bytes alone. A whole cnp packet counts even if an msp could still begin with
 * these bytes: its checksum does not hold by chance. */
static enum auto_verdict
auto_judge(const uint8_t *at, size_t n, const struct proto_limits *limits)
{
    enum auto_match msp = auto_match_msp(at, n), cnp = auto_match_cnp(at, n);

    if (at[0] == OPENING_OK)
        return AUTO_TINYPROTO;
    if (msp == AUTO_CERTAIN)
        return AUTO_MSP;
    if (cnp == AUTO_CERTAIN)
        return AUTO_CNP;
    if (msp == AUTO_POSSIBLE || cnp == AUTO_POSSIBLE)
        return AUTO_UNDECIDED;
    return be32_load(at) <= limits->max_message_size ? AUTO_FRAME : AUTO_NOTHING;
}

/* The bytes of the first frame, its length included; 0: it is not whole, or too long. */
static size_t
auto_frame_len(const uint8_t *at, size_t n, const struct proto_limits *limits)
{
    size_t len;

    if (n < FRAME_HEADER)
        return 0;
    len = be32_load(at);
    return len <= limits->max_message_size && len <= n - FRAME_HEADER ? FRAME_HEADER + len : 0;
}

/* The verdict, if any, if nothing more comes. The last of several frames must be whole, too, so
 * that the beginning of an msp is not mistaken for an empty frame and more. */
static enum auto_verdict
auto_judge_late(const uint8_t *at, size_t n, const struct proto_limits *limits)
{
    enum auto_verdict verdict = AUTO_NOTHING;

    while (n > 0) {
        size_t len = auto_frame_len(at, n, limits);

        if (len == 0)
            return AUTO_NOTHING;
        verdict = AUTO_FRAME;
        at += len;
        n -= len;
    }
    return verdict;
}

/* The verdict if nothing more is waiting and their sender may wait for an answer. */
static enum auto_verdict
auto_judge_drained(const uint8_t *at, size_t n, const struct proto_limits *limits)
{
    /* Where the first line end of an msp begins, a frame and half of another are unlikely. */
    bool whole =
        n < 9 ? auto_frame_len(at, n, limits) > 0 : auto_judge_late(at, n, limits) == AUTO_FRAME;

    if (!whole || auto_match_cnp(at, n) != AUTO_EXCLUDED)
        return AUTO_UNDECIDED;
    return auto_msp_size_min(at, n) > limits->max_message_size ? AUTO_FRAME : AUTO_UNDECIDED;
}

static enum proto_event
auto_become(struct proto_io *io, const char *name)
{
    io->become = proto_find(name);
    return PROTO_BECOME;
}

static enum proto_event
auto_act(struct proto_io *io, enum auto_verdict verdict)
{
    switch (verdict) {
    case AUTO_UNDECIDED:
        return PROTO_MORE;
    case AUTO_TINYPROTO:
        return auto_become(io, "tinyproto");
    case AUTO_MSP:
        return auto_become(io, "msp");
    case AUTO_CNP:
        return auto_become(io, "cnp");
    case AUTO_FRAME:
        return auto_become(io, "frame");
    case AUTO_NOTHING:
        io->tally->err++;
        io->tally->unknown++;
        return PROTO_CLOSE;
    }
    MS_ASSERT(!"a verdict of auto");
}

/* --- the connection --- */

static enum auto_verdict
auto_look_first(struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out)
{
    enum auto_verdict verdict = auto_judge(data, n, io->limits);

    *consumed_out = 0;
    if (verdict == AUTO_UNDECIDED) {
        MS_ASSERT(n < AUTO_LOOKAHEAD_MAX);
        buffer_append(io->lookahead, data, n);
        *consumed_out = n;
    }
    return verdict;
}

static enum auto_verdict
auto_look_again(struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out)
{
    struct buffer *seen = io->lookahead;
    size_t room = AUTO_LOOKAHEAD_MAX - seen->len;

    MS_ASSERT(room > 0);
    *consumed_out = n < room ? n : room;
    buffer_append(seen, data, *consumed_out);
    return auto_judge((const uint8_t *)buffer_bytes(seen), seen->len, io->limits);
}

static enum proto_event
auto_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
          struct message **message_out)
{
    struct auto_detect *a = state;
    enum auto_verdict verdict;

    (void)message_out;
    a->heard_us = io->now_us;
    if (a->have == 0) {
        a->begun_us = io->now_us;
        verdict = auto_look_first(io, data, n, consumed_out);
    } else {
        verdict = auto_look_again(io, data, n, consumed_out);
    }
    a->have = io->lookahead->len;
    return auto_act(io, verdict);
}

static enum proto_event
auto_drained(void *state, struct proto_io *io)
{
    const struct buffer *seen = io->lookahead;

    (void)state;
    if (seen->len == 0)
        return PROTO_MORE;
    return auto_act(io,
                    auto_judge_drained((const uint8_t *)buffer_bytes(seen), seen->len, io->limits));
}

static enum proto_event
auto_eof(void *state, struct proto_io *io, struct message **message_out)
{
    const struct buffer *seen = io->lookahead;
    enum auto_verdict verdict =
        auto_judge_late((const uint8_t *)buffer_bytes(seen), seen->len, io->limits);

    (void)state;
    (void)message_out;
    /* A peer that goes away has made no error. */
    return verdict == AUTO_NOTHING ? PROTO_CLOSE : auto_act(io, verdict);
}

static uint64_t
auto_deadline(const void *state, const struct proto_limits *limits)
{
    const struct auto_detect *a = state;

    if (a->have == 0)
        return a->heard_us + limits->idle_timeout_us;
    return limits_progress_deadline(limits, a->heard_us, a->begun_us, a->have);
}

static enum proto_event
auto_expire(void *state, struct proto_io *io)
{
    const struct auto_detect *a = state;
    const struct buffer *seen = io->lookahead;

    if (a->have == 0)
        return PROTO_CLOSE;
    return auto_act(io,
                    auto_judge_late((const uint8_t *)buffer_bytes(seen), seen->len, io->limits));
}

static enum proto_event
auto_shutdown(void *state, struct proto_io *io)
{
    (void)state;
    (void)io;
    return PROTO_CLOSE;
}

static bool
auto_idle(const void *state)
{
    const struct auto_detect *a = state;

    return a->have == 0;
}

static void *
auto_reserve(void *state, struct proto_io *io, const struct message *m)
{
    (void)state;
    (void)io;
    (void)m;
    MS_ASSERT(!"a message of auto");
}

static void
auto_settle(void *state, struct proto_io *io, void *place, const struct message *m,
            const struct verdict *verdict)
{
    (void)state;
    (void)io;
    (void)place;
    (void)m;
    (void)verdict;
    MS_ASSERT(!"a message of auto");
}

static int
auto_push(void *state, struct proto_io *io, struct blob *blob)
{
    (void)state;
    outbox_push(io->outbox, blob_ref(blob));
    return 0;
}

const struct proto_ops auto_protocol = {
    .name = "auto",
    .only_listens = true,
    .init = auto_init,
    .adopt = auto_adopt,
    .feed = auto_feed,
    .drained = auto_drained,
    .eof = auto_eof,
    .deadline = auto_deadline,
    .expire = auto_expire,
    .shutdown = auto_shutdown,
    .idle = auto_idle,
    .reserve = auto_reserve,
    .settle = auto_settle,
    .push = auto_push,
};
