/* Two machines of tinyproto, client and server, back to back: whatever is said when, and however
 * its bytes are cut and delayed, every message arrives once, whole and in order. */
#include "proto_peer.h"

#define BODY_MAX 48

/* What one side has on its way to the other, as numbers of messages. */
struct line {
    struct proto_peer *from, *to;
    unsigned sent, replied;
};

struct pair {
    struct proto_peer client, server;
    struct line up, down;
    size_t settled;
    unsigned held_back, yielded; /* crossings, as each side saw them */
};

static void
pair_begin(struct pair *pr)
{
    *pr = (struct pair){0};
    proto_peer_init(&pr->client, &tinyproto_protocol);
    proto_peer_init(&pr->server, &tinyproto_protocol);
    pr->server.limits.reply = REPLY_YES;
    pr->server.hold = true;
    pr->up = (struct line){.from = &pr->client, .to = &pr->server};
    pr->down = (struct line){.from = &pr->server, .to = &pr->client};
    proto_peer_begin(&pr->client, PROTO_CLIENT);
    proto_peer_begin(&pr->server, PROTO_SERVER);
}

/* The message with that number: what kind it is, its number, and a length of its own. */
static size_t
body_of(char kind, unsigned number, char body[BODY_MAX])
{
    size_t n = (number * 7 + (unsigned char)kind) % 5 == 0 ? 0 : number * 13 % (BODY_MAX - 12) + 12;

    memset(body, kind, BODY_MAX);
    snprintf(body, BODY_MAX, "%c%010u", kind, number);
    return n;
}

static void
send_next(struct line *l, char kind)
{
    char body[BODY_MAX];
    size_t n = body_of(kind, l->sent++, body);

    assert_int_equal(proto_peer_push(l->from, body, n), 0);
}

/* The handler of the server settles the message with that number; its reply has the same one. */
static void
settle(struct pair *pr, size_t i)
{
    char body[BODY_MAX];
    size_t n = body_of('r', (unsigned)i, body);
    struct verdict yes = {.outcome = PROTO_COMMITTED, .reply = body, .reply_len = n};

    proto_peer_settle(&pr->server, i, &yes);
    pr->settled++;
}

/* The next n bytes of a line arrive, in one piece. */
static void
arrive(struct pair *pr, struct line *l, size_t n)
{
    struct buffer *said = &l->from->said;
    bool was_held = pr->client.state.tinyproto.state == TINYPROTO_HELD;
    bool had_passed = pr->server.state.tinyproto.passed;
    uint8_t bytes[4096];

    if (n > said->len)
        n = said->len;
    if (n > sizeof(bytes))
        n = sizeof(bytes);
    if (n == 0)
        return;
    memcpy(bytes, buffer_bytes(said), n);
    buffer_consume(said, n);
    proto_peer_hear(l->to, bytes, n, n, false);
    pr->held_back += !was_held && pr->client.state.tinyproto.state == TINYPROTO_HELD;
    pr->yielded += !had_passed && pr->server.state.tinyproto.passed;
}

static void
pair_talk_to_the_end(struct pair *pr)
{
    do {
        arrive(pr, &pr->up, SIZE_MAX);
        arrive(pr, &pr->down, SIZE_MAX);
        for (size_t i = 0; i < pr->server.held_count; i++)
            if (pr->server.held[i].message != NULL)
                settle(pr, i);
    } while (pr->client.said.len > 0 || pr->server.said.len > 0);
}

static void
expect_body(const struct peer_delivered *d, char kind, unsigned number)
{
    char body[BODY_MAX];
    size_t n = body_of(kind, number, body);

    assert_int_equal(d->size, n);
    assert_memory_equal(d->body, body, n);
}

/* Replies and pushes each come in order; which of the two an empty one is, its place tells. */
static void
expect_at_client(const struct pair *pr)
{
    const struct proto_peer *client = &pr->client;
    unsigned empty = 0, pushes = 0, replies = 0;
    char body[BODY_MAX];

    for (size_t i = 0; i < client->delivered_count; i++) {
        const struct peer_delivered *d = &client->delivered[i];

        while (d->size > 0 && d->body[0] == 's' && body_of('s', pushes, body) == 0)
            pushes++;
        while (d->size > 0 && d->body[0] == 'r' && body_of('r', replies, body) == 0)
            replies++;
        if (d->size == 0)
            empty++;
        else if (d->body[0] == 's')
            expect_body(d, 's', pushes++);
        else
            expect_body(d, 'r', replies++);
    }
    for (unsigned i = 0; i < pr->down.sent; i++)
        empty -= body_of('s', i, body) == 0;
    for (unsigned i = 0; i < pr->up.sent; i++)
        empty -= body_of('r', i, body) == 0;
    assert_int_equal(empty, 0);
    assert_int_equal(client->delivered_count, pr->down.sent + pr->up.sent);
}

static void
pair_end(struct pair *pr)
{
    pair_talk_to_the_end(pr);
    assert_false(pr->client.closed);
    assert_false(pr->server.closed);
    assert_true(tinyproto_protocol.idle(&pr->client.state));
    assert_true(tinyproto_protocol.idle(&pr->server.state));
    assert_true(outbox_idle(&pr->client.outbox));
    assert_true(outbox_idle(&pr->server.outbox));
    assert_int_equal(pr->client.outbox.bytes, 0);
    assert_int_equal(pr->server.outbox.bytes, 0);
    assert_int_equal(pr->server.delivered_count, pr->up.sent);
    for (unsigned i = 0; i < pr->up.sent; i++)
        expect_body(&pr->server.delivered[i], 'c', i);
    expect_at_client(pr);
    assert_int_equal(pr->client.results.sent, pr->up.sent);
    assert_int_equal(pr->server.results.sent, pr->client.delivered_count);
    assert_int_equal(pr->server.tally.acks, pr->up.sent);
    proto_peer_fini(&pr->client);
    proto_peer_fini(&pr->server);
}

/* --- by chance, from a fixed seed --- */

static uint32_t
chance(uint32_t *seed, uint32_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed % below;
}

static void
settle_any(struct pair *pr, uint32_t *seed)
{
    size_t open = 0, nth;

    for (size_t i = 0; i < pr->server.held_count; i++)
        open += pr->server.held[i].message != NULL;
    if (open == 0)
        return;
    nth = chance(seed, (uint32_t)open);
    for (size_t i = 0;; i++)
        if (pr->server.held[i].message != NULL && nth-- == 0) {
            settle(pr, i);
            return;
        }
}

static void
act_by_chance(struct pair *pr, uint32_t *seed, uint32_t talkative)
{
    uint32_t act = chance(seed, 100);

    if (act < talkative)
        send_next(&pr->up, 'c');
    else if (act < 2 * talkative)
        send_next(&pr->down, 's');
    else if (act < 2 * talkative + 10)
        settle_any(pr, seed);
    else if (act % 2 == 0)
        arrive(pr, &pr->up, 1 + chance(seed, 12));
    else
        arrive(pr, &pr->down, 1 + chance(seed, 12));
}

static void
every_message_arrives_once_and_in_order_whatever_the_bytes_do(void **state)
{
    unsigned held_back = 0, yielded = 0, messages = 0;

    (void)state;
    for (uint32_t round = 1; round <= 3000; round++) {
        uint32_t seed = round * 2654435761u;
        struct pair pr;

        pair_begin(&pr);
        for (unsigned i = 0; i < 200; i++)
            act_by_chance(&pr, &seed, 1 + round % 12);
        pair_end(&pr);
        held_back += pr.held_back;
        yielded += pr.yielded;
        messages += pr.up.sent + pr.down.sent;
    }
    print_message("%u messages, crossed %u times\n", messages, held_back);
    assert_true(held_back > 1000);
    assert_true(yielded > 1000);
}

/* --- every order there is --- */

enum act {
    CLIENT_SENDS,
    SERVER_SENDS,
    ALL_UP,
    ALL_DOWN,
    ONE_BYTE_UP,
    ONE_BYTE_DOWN,
    ACTS,
};

static void
act(struct pair *pr, enum act what)
{
    switch (what) {
    case CLIENT_SENDS:
        send_next(&pr->up, 'c');
        return;
    case SERVER_SENDS:
        send_next(&pr->down, 's');
        return;
    case ALL_UP:
        arrive(pr, &pr->up, SIZE_MAX);
        return;
    case ALL_DOWN:
        arrive(pr, &pr->down, SIZE_MAX);
        return;
    case ONE_BYTE_UP:
        arrive(pr, &pr->up, 1);
        return;
    case ONE_BYTE_DOWN:
        arrive(pr, &pr->down, 1);
        return;
    case ACTS:
        return;
    }
}

/* Each of the orders of so many acts, as the digits of a number, from a connection that is open and
 * on which both sides have begun at once, or none has. */
static void
every_order_of_what_can_happen_ends_well(void **state)
{
    const unsigned acts = 5, orders = 6 * 6 * 6 * 6 * 6;

    (void)state;
    assert_int_equal(ACTS, 6);
    for (unsigned order = 0; order < 2 * orders; order++) {
        struct pair pr;
        unsigned digits = order % orders;

        pair_begin(&pr);
        arrive(&pr, &pr.up, SIZE_MAX);
        arrive(&pr, &pr.down, SIZE_MAX);
        if (order >= orders) {
            act(&pr, CLIENT_SENDS);
            act(&pr, SERVER_SENDS);
        }
        for (unsigned i = 0; i < acts; i++, digits /= ACTS)
            act(&pr, (enum act)(digits % ACTS));
        pair_end(&pr);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_once_and_in_order_whatever_the_bytes_do),
        cmocka_unit_test(every_order_of_what_can_happen_ends_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
