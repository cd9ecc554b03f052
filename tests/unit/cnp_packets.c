#include "cnp_packets.h"

#include "proto/cnp/cnp_wire.h"

void
put_packet(struct buffer *out, int type, unsigned seq, int last, const void *payload, size_t n)
{
    uint8_t head[12] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16),  (uint8_t)(n >> 8), (uint8_t)n,
                        (uint8_t)type,      (uint8_t)(seq >> 8), (uint8_t)seq};

    cnp_sum_of(payload, n, head + 7);
    head[11] = (uint8_t)last;
    buffer_append(out, head, last < 0 ? 11 : 12);
    buffer_append(out, payload, n);
}

void
put(struct buffer *out, int type, unsigned seq, const char *text)
{
    put_packet(out, type, seq, -1, text, strlen(text));
}

void
put_second(struct buffer *out, int type, unsigned seq, int last, const char *text)
{
    put_packet(out, type, seq, last, text, strlen(text));
}

void
put_damaged(struct buffer *out, int type, unsigned seq, const char *text)
{
    put(out, type, seq, text);
    out->data[out->head + out->len - 1] ^= 0x20;
}

void
hear(struct proto_peer *p, struct buffer *wire)
{
    proto_peer_hear(p, buffer_bytes(wire), wire->len, PEER_WHOLE, true);
    buffer_fini(wire);
}

void
hear_one(struct proto_peer *p, int type, unsigned seq, const char *text)
{
    struct buffer wire = {0};

    put(&wire, type, seq, text);
    hear(p, &wire);
}

void
expect_packet(struct proto_peer *p, int type, unsigned seq, int last, const char *part)
{
    const uint8_t *at = (const uint8_t *)buffer_bytes(&p->said);
    size_t head = last < 0 ? 11 : 12, n;
    uint8_t sum[4];
    char *payload;

    if (p->said.len < head)
        fail_msg("expected TYPE %d SEQUENCE %u, and nothing was said", type, seq);
    n = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
    assert_true(p->said.len >= head + n);
    payload = ms_calloc(1, n + 1);
    memcpy(payload, at + head, n);
    if (at[4] != type || (at[5] << 8 | at[6]) != (int)seq || strstr(payload, part) == NULL)
        fail_msg("expected TYPE %d SEQUENCE %u with \"%s\", got TYPE %d SEQUENCE %d with \"%s\"",
                 type, seq, part, at[4], at[5] << 8 | at[6], payload);
    if (last >= 0)
        assert_int_equal(at[11], last);
    cnp_sum_of(payload, n, sum);
    assert_memory_equal(at + 7, sum, 4);
    free(payload);
    buffer_consume(&p->said, head + n);
}

void
expect(struct proto_peer *p, int type, unsigned seq, const char *part)
{
    expect_packet(p, type, seq, -1, part);
}

void
expect_ack(struct proto_peer *p, unsigned seq)
{
    expect(p, T_ACK, seq, "ACK");
}

void
expect_silence(struct proto_peer *p)
{
    proto_peer_expect_said(p, "", 0);
}

void
put_handshake(struct buffer *out, const char *syn)
{
    put(out, T_DATA, 0, syn);
    put(out, T_ACK, 0, PEER_SESSION);
}

void
peer_ready(struct proto_peer *p, const char *syn)
{
    struct buffer wire = {0};

    proto_peer_begin(p, PROTO_SERVER);
    put_handshake(&wire, syn);
    hear(p, &wire);
    expect(p, T_ACK, 0, "\"ok\"");
    assert_false(p->closed);
}

void
begin_ready(struct proto_peer *p, const char *syn)
{
    proto_peer_init(p, &cnp_protocol);
    peer_ready(p, syn);
}

void
expect_bodies(const struct proto_peer *p, const char *const *bodies, size_t n)
{
    assert_int_equal(p->delivered_count, n);
    for (size_t i = 0; i < n; i++)
        proto_peer_expect_delivered(p, i, bodies[i], strlen(bodies[i]));
}
