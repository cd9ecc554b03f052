#include "tinyproto_peer.h"

#include "support/hex.h"

struct tinyproto *
machine(struct proto_peer *p)
{
    return &p->state.tinyproto;
}

void
begin(struct proto_peer *p, enum proto_role role)
{
    proto_peer_init(p, &tinyproto_protocol);
    proto_peer_begin(p, role);
}

void
hears(struct proto_peer *p, const char *hex, size_t piece)
{
    uint8_t bytes[64];

    proto_peer_hear(p, bytes, hex_read(hex, bytes), piece, false);
}

void
says(struct proto_peer *p, const char *hex)
{
    uint8_t bytes[64];

    proto_peer_expect_said(p, bytes, hex_read(hex, bytes));
}

void
hears_and_says(struct proto_peer *p, const char *heard, const char *said)
{
    hears(p, heard, PEER_WHOLE);
    says(p, said);
}

void
begin_open(struct proto_peer *p)
{
    begin(p, PROTO_SERVER);
    hears_and_says(p, "ff", "ff");
}

void
expect_fault(struct proto_peer *p)
{
    says(p, "00");
    assert_true(p->closed);
    assert_true(p->answers.ended);
    assert_int_equal(p->tally.err, 1);
    assert_int_equal(machine(p)->state, TINYPROTO_CLOSED);
    assert_int_equal(proto_peer_patience(p), UINT64_MAX);
}
