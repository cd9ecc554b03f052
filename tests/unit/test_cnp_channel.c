/* A client and a server of cnp talk over a channel that damages payloads, doubles packets, swaps
 * them and, in one test, loses them: every message arrives once, whole and in order, both ways. The
 * same seeds each time. */
#include "cnp_packets.h"

struct channel {
    uint64_t random;
    unsigned damage, twice, swap, lose; /* of 1000 packets each */
    struct buffer held;                 /* a packet that the next one overtakes */
};

static unsigned
channel_random(struct channel *ch, unsigned below)
{
    ch->random = ch->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(ch->random >> 33) % below;
}

static bool
channel_chance(struct channel *ch, unsigned of_1000)
{
    return channel_random(ch, 1000) < of_1000;
}

static size_t
packet_len(const struct buffer *b)
{
    const uint8_t *at = (const uint8_t *)buffer_bytes(b);

    assert_true(b->len >= 11);
    return 11 + ((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]);
}

/* DATA and FRAGMENTs, but not the SYN. */
static bool
is_data(const uint8_t *packet)
{
    return (packet[4] == T_DATA || packet[4] == T_FRAGMENT) && (packet[5] != 0 || packet[6] != 0);
}

static void
channel_pass(struct channel *ch, uint8_t *packet, size_t n, struct buffer *out)
{
    if (is_data(packet) && channel_chance(ch, ch->lose))
        return;
    if (n > 11 && channel_chance(ch, ch->damage)) {
        packet[11 + channel_random(ch, (unsigned)n - 11)] ^= (uint8_t)(1 + channel_random(ch, 255));
    }
    if (is_data(packet) && ch->held.len == 0 && channel_chance(ch, ch->swap)) {
        buffer_append(&ch->held, packet, n);
        return;
    }
    buffer_append(out, packet, n);
    if (is_data(packet) && channel_chance(ch, ch->twice))
        buffer_append(out, packet, n);
    buffer_append(out, buffer_bytes(&ch->held), ch->held.len);
    buffer_clear(&ch->held);
}

/* What a has said, on its way to b. */
static bool
channel_carry(struct channel *ch, struct proto_peer *a, struct proto_peer *b)
{
    struct buffer said = a->said, out = {0};

    buffer_init(&a->said);
    while (said.len > 0) {
        size_t n = packet_len(&said);

        assert_true(n <= said.len);
        channel_pass(ch, (uint8_t *)said.data + said.head, n, &out);
        buffer_consume(&said, n);
    }
    buffer_append(&out, buffer_bytes(&ch->held), ch->held.len);
    buffer_clear(&ch->held);
    if (out.len > 0)
        proto_peer_hear(b, buffer_bytes(&out), out.len, 1 + channel_random(ch, 4000), false);
    buffer_fini(&said);
    buffer_fini(&out);
    return a->said.len > 0 || b->said.len > 0;
}

/* The i-th message of a side; its length and bytes follow from i. */
static size_t
message_of(unsigned i, uint8_t *out)
{
    size_t n = (i * 7919u) % 700;

    for (size_t k = 0; k < n; k++)
        out[k] = (uint8_t)(i * 31 + k * 7);
    return n;
}

static void
expect_messages(const struct proto_peer *p, unsigned count)
{
    uint8_t body[700];

    assert_int_equal(p->delivered_count, count);
    for (unsigned i = 0; i < count; i++) {
        size_t n = message_of(i, body);

        proto_peer_expect_delivered(p, i, body, n);
    }
}

/* Time passes on both sides, where something is due. */
static void
both_wait(struct proto_peer *a, struct proto_peer *b)
{
    uint64_t us = proto_peer_patience(a), other = proto_peer_patience(b);

    if (other < us)
        us = other;
    proto_peer_wait(a, us);
    proto_peer_wait(b, us);
}

struct run {
    uint64_t seed;
    uint32_t window, packet_max;
    unsigned damage, twice, swap, lose;
};

static void
talk_until_done(struct channel *ch, struct proto_peer *client, struct proto_peer *server,
                unsigned count)
{
    unsigned waits = 0;

    while (client->delivered_count < count || !cnp_protocol.idle(&client->state) ||
           !cnp_protocol.idle(&server->state)) {
        bool more = channel_carry(ch, client, server);

        more = channel_carry(ch, server, client) || more;
        assert_false(client->closed);
        assert_false(server->closed);
        if (more)
            continue;
        assert_true(++waits < 20 * count);
        both_wait(client, server);
    }
}

static void
every_message_arrives(const struct run *r, unsigned count)
{
    struct channel ch = {.random = r->seed,
                         .damage = r->damage,
                         .twice = r->twice,
                         .swap = r->swap,
                         .lose = r->lose};
    struct proto_peer client, server;
    uint8_t body[700];

    proto_peer_init(&client, &cnp_protocol);
    proto_peer_init(&server, &cnp_protocol);
    client.limits.window_size = r->window;
    client.limits.packet_size_max = r->packet_max;
    client.limits.retries = server.limits.retries = 20;
    server.limits.reply = REPLY_YES;
    server.limits.min_rate = client.limits.min_rate = 0;
    server.echo = true;
    proto_peer_begin(&server, PROTO_SERVER);
    proto_peer_begin(&client, PROTO_CLIENT);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(proto_peer_push(&client, body, message_of(i, body)), 0);
    talk_until_done(&ch, &client, &server, count);
    expect_messages(&server, count);
    expect_messages(&client, count);
    assert_int_equal(client.results.delivered, count);
    assert_int_equal(server.tally.messages, count);
    assert_int_equal(server.results.delivered, count);
    if (r->damage > 0)
        assert_true(server.tally.nack1 + client.tally.nack1 > count / 200);
    buffer_fini(&ch.held);
    proto_peer_fini(&client);
    proto_peer_fini(&server);
}

static void
a_clean_channel_carries_all(void **state)
{
    static const struct run runs[] = {
        {1, 64, 1000, 0, 0, 0, 0},
        {1, 1, 1000, 0, 0, 0, 0},
        {1, 7, 100, 0, 0, 0, 0}, /* fragments */
        {1, 1, 9, 0, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(runs); i++)
        every_message_arrives(&runs[i], 200);
}

static void
ten_thousand_packets_arrive_though_one_in_a_hundred_is_damaged(void **state)
{
    static const struct run burst = {7, 64, 1000, 10, 0, 0, 0};

    (void)state;
    every_message_arrives(&burst, 10000);
}

static void
damage_doubles_and_disorder_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        const struct run runs[] = {
            {seed, 64, 1000, 100, 0, 0, 0},   {seed, 64, 1000, 50, 100, 300, 0},
            {seed, 4, 1000, 50, 100, 300, 0}, {seed, 16, 64, 30, 100, 300, 0},
            {seed, 1, 1000, 50, 100, 0, 0},   {seed, 1, 64, 30, 100, 0, 0},
        };

        for (size_t i = 0; i < MS_ARRAY_LEN(runs); i++)
            every_message_arrives(&runs[i], 100);
    }
}

static void
lost_packets_are_brought_by_time(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const struct run runs[] = {
            {seed, 64, 1000, 0, 50, 200, 100},
            {seed, 8, 100, 20, 50, 200, 50},
            {seed, 1, 1000, 20, 50, 0, 100},
        };

        for (size_t i = 0; i < MS_ARRAY_LEN(runs); i++)
            every_message_arrives(&runs[i], 100);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_channel_carries_all),
        cmocka_unit_test(ten_thousand_packets_arrive_though_one_in_a_hundred_is_damaged),
        cmocka_unit_test(damage_doubles_and_disorder_change_nothing),
        cmocka_unit_test(lost_packets_are_brought_by_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
