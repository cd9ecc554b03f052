#include "proto_peer.h"

#include "proto/message.h"

#define PUSH_MAX   (1u << 30) /* bytes of what tests really push */
#define GUARD_ROOM ((size_t)1 << 20)

static int
peer_spill_open(void *arg)
{
    FILE *f = tmpfile();
    int fd;

    (void)arg;
    if (f == NULL)
        return -1;
    fd = dup(fileno(f));
    fclose(f);
    return fd;
}

void
proto_peer_init(struct proto_peer *p, const struct proto_ops *proto)
{
    *p = (struct proto_peer){.proto = proto, .keep_max = UINT64_MAX, .want_digest = true};
    p->limits = (struct proto_limits){
        .max_message_size = UINT32_MAX,
        .timeout_us = 2000000,
        .idle_timeout_us = 60000000,
        .min_rate = 1024,
        .rate_grace_us = 10000000,
        .max_json_size = 16 << 20,
        .keepalive_us = 30000000,
        .max_json_depth = 512,
        .max_json_values = 500000,
        .packet_size = 2048,
        .packet_size_max = 1048576,
        .nack_limit = 10,
        .reread_limit = 10,
        .window_size = 64,
        .retries = 5,
        .reply = REPLY_NO,
    };
    p->store = (struct message_store){
        .digester = digester_create(),
        .memory_max = 256 * 1024,
        .ledger.max = 64 << 20,
        .spill_open = peer_spill_open,
    };
    p->verdict = (struct verdict){.outcome = PROTO_COMMITTED};
    p->now_us = 1000000;
    p->guard = guard_create(GUARD_ROOM);
    answers_init(&p->answers, NULL);
    outbox_init(&p->outbox, NULL);
    p->outbox.results = &p->results;
    buffer_init(&p->lookahead);
    buffer_init(&p->said);
}

static uint64_t
peer_name(enum message_kind kind, const void *value, size_t n)
{
    return (uint64_t)kind << 48 | (uint64_t)n << 32 | digest_crc32(0, value, n);
}

static void
peer_foresee(void *arg, struct message *m, enum message_kind kind, const void *value, size_t n)
{
    const struct proto_peer *p = arg;

    assert_ptr_equal(m, p->message);
    m->name = peer_name(kind, value, n);
}

static struct proto_io
peer_io(struct proto_peer *p)
{
    return (struct proto_io){
        .limits = &p->limits,
        .store = &p->store,
        .answers = &p->answers,
        .message = &p->message,
        .outbox = &p->outbox,
        .body = &p->body,
        .window = &p->window,
        .lookahead = &p->lookahead,
        .tally = &p->tally,
        .now_us = p->now_us,
        .keep_max = p->keep_max,
        .memory_low = p->memory_low,
        .want_digest = p->want_digest,
        .seal = p->seal,
        .foresee = peer_foresee,
        .foresee_arg = p,
    };
}

static void
peer_say(struct proto_peer *p)
{
    struct chain *ready = &p->answers.ready;
    struct iovec iov[2];
    char scratch[100]; /* so that a file comes in pieces */
    int count;

    while ((count = chain_peek(ready, scratch, sizeof(scratch), iov, 2)) > 0)
        for (int i = 0; i < count; i++) {
            buffer_append(&p->said, iov[i].iov_base, iov[i].iov_len);
            chain_sent(ready, scratch, iov[i].iov_len);
        }
    assert_int_equal(count, 0);
    buffer_append(&p->said, p->body.data, p->body.len);
    p->body = (struct proto_body){0};
}

/* What is ready leaves, and with the last answer the connection ends. */
static void
peer_flush(struct proto_peer *p)
{
    struct proto_io io = peer_io(p);

    peer_say(p);
    while (p->role == PROTO_CLIENT && p->proto->work != NULL && !p->closed &&
           p->proto->work(&p->state, &io))
        peer_say(p);
    if (p->answers.ended)
        p->closed = true;
}

static void
peer_start(struct proto_peer *p)
{
    struct proto_begin begin = {
        .limits = &p->limits, .role = p->role, .nonce = 0x0123456789abcdef, .now_us = p->now_us};
    struct proto_io io = peer_io(p);

    memset(&p->state, 0xa5, sizeof(p->state)); /* init leaves nothing of it to chance */
    p->proto->init(&p->state, &begin);
    if (p->proto->open != NULL)
        p->proto->open(&p->state, &io);
    peer_flush(p);
}

void
proto_peer_begin(struct proto_peer *p, enum proto_role role)
{
    p->role = role;
    peer_start(p);
}

void
proto_peer_fini(struct proto_peer *p)
{
    for (size_t i = 0; i < p->delivered_count; i++) {
        free(p->delivered[i].body);
        free(p->delivered[i].value);
    }
    for (size_t i = 0; i < p->held_count; i++)
        message_destroy(p->held[i].message);
    free(p->delivered);
    free(p->held);
    if (p->proto->fini != NULL)
        p->proto->fini(&p->state);
    message_destroy(p->message);
    answers_fini(&p->answers);
    outbox_fini(&p->outbox);
    packet_window_destroy(p->window);
    buffer_fini(&p->lookahead);
    buffer_fini(&p->said);
    assert_int_equal(p->store.ledger.used, 0);
    digester_destroy(p->store.digester);
    guard_destroy(&p->guard);
}

/* --- the handler --- */

/* An array of count items with room for one more: it doubles when it is full. */
static void *
grown(void *items, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return items;
    items = realloc(items, (count == 0 ? 1 : 2 * count) * size);
    assert_non_null(items);
    return items;
}

static const struct peer_delivered *
peer_note(struct proto_peer *p, struct message *m)
{
    struct peer_delivered *d;
    const char *body;

    p->delivered = grown(p->delivered, p->delivered_count, sizeof(*p->delivered));
    d = &p->delivered[p->delivered_count++];
    *d = (struct peer_delivered){.size = (size_t)m->size,
                                 .kind = (char)m->kind,
                                 .value_len = m->value_len,
                                 .tag = m->tag,
                                 .wants_reply = m->wants_reply};
    assert_int_equal(m->error, 0);
    assert_non_null(m->value);
    d->value = ms_malloc(m->value_len + 1u);
    memcpy(d->value, m->value, m->value_len + 1u);
    if (m->name != 0)
        assert_true(m->name == peer_name(m->kind, m->value, m->value_len));
    p->foreseen_count += m->name != 0;
    assert_null(m->digest); /* finished */
    if (m->body_dropped)
        return d;
    assert_int_equal(message_body(m, &body), 0);
    d->body = ms_calloc(1, d->size + 1);
    memcpy(d->body, body, d->size);
    message_body_release(m, body);
    return d;
}

static void
peer_hold(struct proto_peer *p, struct message *m)
{
    struct proto_io io = peer_io(p);

    p->held = grown(p->held, p->held_count, sizeof(*p->held));
    assert_non_null(p->held);
    p->held[p->held_count++] = (struct peer_held){
        .message = m,
        .place = p->proto->reserve(&p->state, &io, m),
    };
}

/* True where the message is a document that is none, and was refused. */
static bool
peer_refuse_json(struct proto_peer *p, struct message *m)
{
    char error[JSON_ERROR_LEN];
    struct verdict no = {.outcome = PROTO_REFUSED, .code = "bad-json", .text = error};
    struct proto_io io = peer_io(p);
    uint64_t cost;

    if (m->kind != MESSAGE_JSON ||
        json_parse_message(m, &p->limits, false, &cost, error) == JSON_GOOD)
        return false;
    p->proto->settle(&p->state, &io, NULL, m, &no);
    message_destroy(m);
    return true;
}

/* True where the message was sealed and is refused; else it is opened. */
static bool
peer_refuse_sealed(struct proto_peer *p, struct message **m)
{
    const struct verdict no = {.outcome = PROTO_REFUSED, .code = "refused", .text = "not opened"};
    struct proto_io io = peer_io(p);
    struct message *plain;
    bool opened = (*m)->opening == NULL || opening_finish(*m, &plain) == 0;

    if (!opened)
        p->proto->settle(&p->state, &io, NULL, *m, &no);
    if (!opened || (*m)->opening != NULL)
        message_destroy(*m);
    else
        return false;
    if (opened)
        *m = plain;
    return !opened;
}

static void
peer_take(struct proto_peer *p, struct message *m)
{
    const struct peer_delivered *d;
    struct verdict verdict = p->verdict;
    struct proto_io io = peer_io(p);

    if (peer_refuse_sealed(p, &m))
        return;
    if (peer_refuse_json(p, m))
        return;
    d = peer_note(p, m);
    if (p->hold) {
        peer_hold(p, m);
        return;
    }
    if (p->echo)
        verdict =
            (struct verdict){.outcome = PROTO_COMMITTED, .reply = d->body, .reply_len = d->size};
    p->proto->settle(&p->state, &io, NULL, m, &verdict);
    message_destroy(m);
}

void
proto_peer_settle(struct proto_peer *p, size_t i, const struct verdict *verdict)
{
    struct proto_io io = peer_io(p);

    assert_true(i < p->held_count);
    assert_non_null(p->held[i].message);
    p->proto->settle(&p->state, &io, p->held[i].place, p->held[i].message, verdict);
    message_destroy(p->held[i].message);
    p->held[i].message = NULL;
    peer_flush(p);
}

int
proto_peer_push(struct proto_peer *p, const void *data, size_t n)
{
    struct proto_io io = peer_io(p);
    struct blob none = {.refs = 1, .len = n, .fd = -1}; /* too long for anybody: it stays here */
    struct blob *blob = n < PUSH_MAX ? blob_create(&p->store, data, n) : &none;
    int rc = p->proto->push(&p->state, &io, blob);

    if (blob != &none)
        blob_unref(blob);
    peer_flush(p);
    return rc;
}

int
proto_peer_send(struct proto_peer *p, struct outgoing *out)
{
    struct proto_io io = peer_io(p);
    int rc = proto_send(p->proto, &p->state, &io, out);

    peer_flush(p);
    return rc;
}

/* --- the connection --- */

static void peer_feed(struct proto_peer *p, const uint8_t *at, size_t n);

static void
peer_become(struct proto_peer *p, const struct proto_ops *proto)
{
    struct buffer seen = p->lookahead;
    struct guard guard = guard_create(seen.len);

    assert_non_null(proto);
    buffer_init(&p->lookahead);
    if (p->proto != proto) {
        p->proto = proto;
        peer_start(p);
    }
    peer_feed(p, (const uint8_t *)guard_copy(&guard, buffer_bytes(&seen), seen.len), seen.len);
    guard_destroy(&guard);
    buffer_fini(&seen);
}

static void
peer_happened(struct proto_peer *p, enum proto_event event, const struct proto_io *io)
{
    if (event == PROTO_CLOSE)
        p->closed = true;
    else if (event == PROTO_BECOME)
        peer_become(p, io->become);
}

static void
peer_feed(struct proto_peer *p, const uint8_t *at, size_t n)
{
    while (n > 0 && !p->closed) {
        struct proto_io io = peer_io(p);
        struct message *m = NULL;
        size_t used = 0;
        enum proto_event event = p->proto->feed(&p->state, &io, at, n, &used, &m);

        assert_true(used <= n);
        at += used;
        n -= used;
        assert_true(event != PROTO_MORE || n == 0);
        if (event == PROTO_FLUSH)
            peer_flush(p);
        else if (event == PROTO_MESSAGE)
            peer_take(p, m);
        else
            peer_happened(p, event, &io);
        if (p->answers.ended)
            p->closed = true;
    }
}

static void
peer_drain(struct proto_peer *p)
{
    struct proto_io io = peer_io(p);

    if (!p->closed && p->proto->drained != NULL)
        peer_happened(p, p->proto->drained(&p->state, &io), &io);
    peer_flush(p);
}

/* Nobody knows yet whether more is waiting. */
static void
peer_arrive(struct proto_peer *p, const uint8_t *data, size_t n)
{
    peer_feed(p, (const uint8_t *)guard_copy(&p->guard, data, n), n);
}

void
proto_peer_hear(struct proto_peer *p, const void *data, size_t n, size_t piece, bool together)
{
    const uint8_t *at = data;

    while (n > 0) {
        size_t k = n < piece ? n : piece;

        peer_arrive(p, at, k);
        at += k;
        n -= k;
        if (!together || n == 0)
            peer_drain(p);
    }
}

void
proto_peer_eof(struct proto_peer *p)
{
    peer_drain(p);
    while (!p->closed) {
        struct proto_io io = peer_io(p);
        struct message *m = NULL;
        enum proto_event event =
            p->proto->eof != NULL ? p->proto->eof(&p->state, &io, &m) : PROTO_CLOSE;

        if (event == PROTO_MESSAGE)
            peer_take(p, m);
        else
            peer_happened(p, event == PROTO_BECOME ? event : PROTO_CLOSE, &io);
    }
    peer_flush(p);
}

void
proto_peer_shutdown(struct proto_peer *p)
{
    struct proto_io io = peer_io(p);

    assert_int_equal(p->proto->shutdown(&p->state, &io), PROTO_CLOSE);
    peer_flush(p);
    p->closed = true;
}

void
proto_peer_wait(struct proto_peer *p, uint64_t us)
{
    struct proto_io io;

    p->now_us += us;
    io = peer_io(p);
    if (p->closed || p->proto->deadline(&p->state, &p->limits) > p->now_us)
        return;
    peer_happened(p, p->proto->expire(&p->state, &io), &io);
    peer_flush(p);
}

uint64_t
proto_peer_patience(const struct proto_peer *p)
{
    uint64_t at = p->proto->deadline(&p->state, &p->limits);

    if (at == UINT64_MAX)
        return at;
    return at > p->now_us ? at - p->now_us : 0;
}

/* --- looking at it --- */

const char *
proto_peer_said(struct proto_peer *p)
{
    static char text[4096];
    size_t n = p->said.len;

    assert_true(n < sizeof(text));
    if (n > 0)
        memcpy(text, buffer_bytes(&p->said), n);
    text[n] = '\0';
    buffer_consume(&p->said, n);
    return text;
}

void
proto_peer_expect_said(struct proto_peer *p, const void *data, size_t n)
{
    peer_flush(p);
    assert_int_equal(p->said.len, n);
    if (n > 0)
        assert_memory_equal(buffer_bytes(&p->said), data, n);
    buffer_consume(&p->said, n);
}

void
proto_peer_expect_delivered(const struct proto_peer *p, size_t i, const void *body, size_t n)
{
    assert_true(i < p->delivered_count);
    assert_int_equal(p->delivered[i].size, n);
    assert_non_null(p->delivered[i].body);
    if (n > 0)
        assert_memory_equal(p->delivered[i].body, body, n);
}

static bool
peer_pass_on(struct proto_peer *from, struct proto_peer *to, size_t piece)
{
    struct buffer said = from->said;

    buffer_init(&from->said);
    if (said.len > 0)
        proto_peer_hear(to, buffer_bytes(&said), said.len, piece, false);
    buffer_fini(&said);
    return from->said.len > 0 || to->said.len > 0;
}

void
proto_peer_talk(struct proto_peer *a, struct proto_peer *b, size_t piece)
{
    bool more;

    peer_flush(a);
    peer_flush(b);
    do {
        more = peer_pass_on(a, b, piece);
        more = peer_pass_on(b, a, piece) || more;
    } while (more);
}

static void
peer_case_begin(const struct peer_case *c, struct proto_peer *p)
{
    proto_peer_init(p, c->proto);
    if (c->prepare != NULL)
        c->prepare(p, c->arg);
    proto_peer_begin(p, PROTO_SERVER);
}

static void
peer_case_end(const struct peer_case *c, struct proto_peer *p)
{
    c->check(p, c->arg);
    proto_peer_fini(p);
}

void
peer_case_run(const struct peer_case *c)
{
    static const size_t pieces[] = {PEER_WHOLE, 1, 2, 3, 7};
    const uint8_t *data = c->data;
    struct proto_peer p;

    for (size_t i = 0; i < MS_ARRAY_LEN(pieces); i++)
        for (int together = 0; together < 2; together++) {
            peer_case_begin(c, &p);
            proto_peer_hear(&p, data, c->n, pieces[i], together != 0);
            peer_case_end(c, &p);
        }
    for (size_t cut = 1; cut < c->n; cut++)
        for (int together = 0; together < 2; together++) {
            peer_case_begin(c, &p);
            peer_arrive(&p, data, cut);
            if (together == 0)
                peer_drain(&p);
            proto_peer_hear(&p, data + cut, c->n - cut, PEER_WHOLE, true);
            peer_case_end(c, &p);
        }
}

void
proto_peer_expect_idle_end(struct proto_peer *p)
{
    proto_peer_wait(p, p->limits.idle_timeout_us - 1);
    assert_false(p->closed);
    proto_peer_wait(p, 1);
    assert_true(p->closed);
    assert_int_equal(p->tally.err, 0);
}
