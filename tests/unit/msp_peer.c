#include "msp_peer.h"

#include "proto/json.h"

#include "common/be.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD_ROOM (1u << 21)

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
msp_peer_init(struct msp_peer *p)
{
    memset(p, 0, sizeof(*p));
    p->limits = (struct proto_limits){
        .max_message_size = 4294967295u,
        .timeout_us = 2000000,
        .idle_timeout_us = 60000000,
        .min_rate = 1024,
        .rate_grace_us = 10000000,
        .max_json_size = 16 << 20,
        .max_json_depth = 512,
        .max_json_values = 500000,
        .packet_size = 2048,
        .packet_size_max = 1048576,
        .nack_limit = 10,
        .reread_limit = 10,
    };
    p->store = (struct message_store){
        .digester = digester_create(),
        .memory_max = 256 * 1024,
        .memory_limit = 64 << 20,
        .spill_open = peer_spill_open,
    };
    p->keep_max = UINT64_MAX;
    p->now_us = 1000000;
    p->guard =
        mmap(NULL, GUARD_ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(p->guard != MAP_FAILED);
    assert(mprotect(p->guard + GUARD_ROOM, 4096, PROT_NONE) == 0);
    answers_init(&p->answers);
    buffer_init(&p->said);
    msp_init(&p->msp, &p->limits, p->now_us);
}

void
msp_peer_fini(struct msp_peer *p)
{
    for (unsigned i = 0; i < p->delivered_count; i++) {
        free(p->delivered[i].value);
        free(p->delivered[i].body);
    }
    for (unsigned i = 0; i < p->held_count; i++)
        message_destroy(p->held[i]);
    message_destroy(p->message);
    answers_fini(&p->answers);
    buffer_fini(&p->said);
    digester_destroy(p->store.digester);
    munmap(p->guard, GUARD_ROOM + 4096);
}

static struct proto_io
peer_io(struct msp_peer *p)
{
    return (struct proto_io){
        .limits = &p->limits,
        .store = &p->store,
        .answers = &p->answers,
        .message = &p->message,
        .tally = &p->tally,
        .now_us = p->now_us,
        .keep_max = p->keep_max,
    };
}

static void
peer_flush(struct msp_peer *p)
{
    if (p->answers.ready.len > 0)
        buffer_append(&p->said, buffer_bytes(&p->answers.ready), p->answers.ready.len);
    buffer_consume(&p->answers.ready, p->answers.ready.len);
}

/* As a worker does it. True where the message was refused. */
static bool
peer_refuse_json(struct msp_peer *p, struct message *m)
{
    char error[JSON_ERROR_LEN];
    struct verdict no = {.outcome = PROTO_REFUSED, .code = "bad-json", .text = error};
    struct proto_io io = peer_io(p);

    if (m->kind != MESSAGE_JSON || json_parse_message(m, &p->limits, false, error) == JSON_GOOD)
        return false;
    msp_settle(&io, NULL, m, &no);
    message_destroy(m);
    return true;
}

static void
peer_take(struct msp_peer *p, struct message *m)
{
    struct verdict yes = {.outcome = PROTO_COMMITTED};
    struct proto_io io = peer_io(p);
    struct delivered *d;
    const char *body;

    if (peer_refuse_json(p, m))
        return;
    d = &p->delivered[p->delivered_count++];
    assert(p->delivered_count <= 16);
    d->kind = (char)m->kind;
    d->value_len = m->value_len;
    d->value = ms_malloc(m->value_len + 1u);
    memcpy(d->value, m->value, m->value_len + 1u);
    d->size = m->size;
    if (!m->body_dropped) {
        assert(message_body(m, &body) == 0);
        d->body = ms_malloc(m->size + 1);
        memcpy(d->body, body, m->size);
        message_body_release(m, body);
    }
    if (p->hold) {
        p->places[p->held_count] = answers_reserve(&p->answers, MSP_HELD_ACK_LEN);
        p->held[p->held_count++] = m;
        return;
    }
    msp_settle(&io, NULL, m, &yes);
    message_destroy(m);
}

void
msp_peer_settle(struct msp_peer *p, unsigned held, const struct verdict *verdict)
{
    struct proto_io io = peer_io(p);

    msp_settle(&io, p->places[held], p->held[held], verdict);
    message_destroy(p->held[held]);
    p->held[held] = NULL;
    peer_flush(p);
}

static void
peer_feed(struct msp_peer *p, const uint8_t *data, size_t n)
{
    uint8_t *at = p->guard + GUARD_ROOM - n;
    struct proto_io io = peer_io(p);

    assert(n <= GUARD_ROOM);
    memcpy(at, data, n);
    while (n > 0 && !p->closed) {
        struct message *m = NULL;
        size_t used = 0;
        enum proto_event event = msp_feed(&p->msp, &io, at, n, &used, &m);

        assert(used <= n);
        at += used;
        n -= used;
        if (event == PROTO_FLUSH)
            peer_flush(p);
        if (event == PROTO_MESSAGE)
            peer_take(p, m);
        if (event == PROTO_CLOSE)
            p->closed = true;
        assert(event != PROTO_MORE || n == 0);
    }
}

static void
peer_drain(struct msp_peer *p)
{
    struct proto_io io = peer_io(p);

    if (msp_drained(&p->msp, &io) == PROTO_CLOSE)
        p->closed = true;
    peer_flush(p);
}

void
msp_peer_hear(struct msp_peer *p, const void *data, size_t n, size_t piece, bool together)
{
    const uint8_t *at = data;

    while (n > 0) {
        size_t k = n < piece ? n : piece;

        peer_feed(p, at, k);
        at += k;
        n -= k;
        if (!together || n == 0)
            peer_drain(p);
    }
}

void
msp_peer_wait(struct msp_peer *p, uint64_t us)
{
    struct proto_io io;

    p->now_us += us;
    io = peer_io(p);
    if (p->closed || msp_deadline(&p->msp, &p->limits) > p->now_us)
        return;
    if (msp_expire(&p->msp, &io) == PROTO_CLOSE)
        p->closed = true;
    peer_flush(p);
}

const char *
msp_peer_said(struct msp_peer *p)
{
    static char text[4096];
    size_t n = p->said.len < sizeof(text) ? p->said.len : sizeof(text) - 1;

    if (n > 0)
        memcpy(text, buffer_bytes(&p->said), n);
    text[n] = '\0';
    buffer_consume(&p->said, p->said.len);
    return text;
}

size_t
build_first(uint8_t *out, const void *body, size_t size, bool late, bool undetermined)
{
    struct digester *dg = digester_create();
    struct msp_first first = {.size = undetermined ? 0 : size};
    size_t n = size < MSP_FIRST_BODY ? size : MSP_FIRST_BODY;

    if (!late)
        digest_sha256(dg, body, size, first.sha256);
    first.crc = digest_crc32(0, body, n);
    msp_first_encode(out, &first);
    memcpy(out + MSP_FIRST_HEADER, body, n);
    digester_destroy(dg);
    return MSP_FIRST_HEADER + n;
}

size_t
build_packet(uint8_t *out, const void *body, size_t n)
{
    msp_packet_encode(out, digest_crc32(0, body, n));
    memcpy(out + MSP_PACKET_HEADER, body, n);
    return MSP_PACKET_HEADER + n;
}

size_t
build_trailer(uint8_t *out, char kind, uint8_t flags, const void *value, size_t n)
{
    return msp_trailer_encode(out, kind, flags, NULL, value, n);
}

size_t
build_message(uint8_t *out, char kind, const void *body, size_t n, const char *value)
{
    size_t k = build_first(out, body, n, false, n == 0);

    return k + build_trailer(out + k, kind, 0, value, value != NULL ? strlen(value) : 0);
}
