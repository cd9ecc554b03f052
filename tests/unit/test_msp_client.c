/* msp in the client's role, without a socket: against the server's role, and against every answer
 * of docs/protocol.md 1.2 at every place of a message where it can come. */
#include "proto/msp/msp.h"
#include "proto_peer.h"

#include <errno.h>

#define LARGE 60000

static uint8_t body[LARGE];

static void
start(struct proto_peer *client, struct proto_peer *server)
{
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (uint8_t)(i * 2654435761u >> 11);
    proto_peer_init(client, &msp_protocol);
    proto_peer_begin(client, PROTO_CLIENT);
    if (server == NULL)
        return;
    proto_peer_init(server, &msp_protocol);
    proto_peer_begin(server, PROTO_SERVER);
}

static struct outgoing
message(size_t n, bool strict, bool wants_reply)
{
    return (struct outgoing){.kind = 'A',
                             .data = body,
                             .size = n,
                             .value = "id",
                             .value_len = 2,
                             .strict = strict,
                             .wants_reply = wants_reply};
}

static void
messages_of_all_sizes_arrive_whole_however_they_are_cut(void **state)
{
    static const size_t sizes[] = {0, 1, 1998, 1999, 2000, 4040, 4041, LARGE};
    static const size_t pieces[] = {1, 7, 4096, PEER_WHOLE};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes) * MS_ARRAY_LEN(pieces) * 4; i++) {
        size_t n = sizes[i / 4 / MS_ARRAY_LEN(pieces)];
        struct outgoing out = message(n, (i & 1) != 0, (i & 2) != 0);
        struct proto_peer client, server;

        start(&client, &server);
        server.echo = true;
        assert_int_equal(proto_peer_send(&client, &out), 0);
        proto_peer_talk(&client, &server, pieces[i / 4 % MS_ARRAY_LEN(pieces)]);
        proto_peer_expect_delivered(&server, 0, body, n);
        assert_int_equal(server.delivered[0].wants_reply, (i & 2) != 0);
        assert_int_equal(client.results.delivered, 1);
        assert_int_equal(client.results.left, 0);
        assert_int_equal(client.delivered_count, (i & 2) != 0);
        if ((i & 2) != 0)
            proto_peer_expect_delivered(&client, 0, body, n);
        assert_false(client.closed);
        proto_peer_fini(&client);
        proto_peer_fini(&server);
    }
}

static uint64_t settled[64];
static unsigned settled_count;

static void
note_settled(void *arg, uint64_t number, bool taken)
{
    (void)arg;
    assert_true(settled_count < 64);
    settled[settled_count++] = number * 2 + taken;
}

/* Small ones do not wait for each other, a large one does for those before, and all are settled in
 * order. */
static void
a_burst_is_settled_in_order(void **state)
{
    static const size_t sizes[] = {10, 1998, 0, LARGE, 5, 5000, 7};
    struct outgoing out[MS_ARRAY_LEN(sizes)];
    struct proto_peer client, server;

    (void)state;
    start(&client, &server);
    client.results.settled = note_settled;
    settled_count = 0;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        out[i] = message(sizes[i], false, false);
        assert_int_equal(proto_peer_send(&client, &out[i]), 0);
    }
    assert_int_equal(client.results.sent, 3);
    proto_peer_talk(&client, &server, 100);
    assert_int_equal(settled_count, MS_ARRAY_LEN(sizes));
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        assert_int_equal(settled[i], i * 2 + 1);
        proto_peer_expect_delivered(&server, i, body, sizes[i]);
    }
    proto_peer_fini(&client);
    proto_peer_fini(&server);
}

/* What a server says, and what a client makes of it. */
struct answer_case {
    size_t n;    /* bytes of the message */
    bool strict; /* as struct outgoing */
    bool reply;  /* wanted */
    const char *said;
    bool closes;
    const char *complaint; /* or NULL */
    const char *code;      /* "" */
    unsigned delivered, refused;
    unsigned sent; /* trailers laid out and not refused by a NACK */
};

#define SENSELESS "the answer makes no sense in msp"
#define DAMAGED   "the message arrived damaged"

static const struct answer_case cases[] = {
    {5, false, false, "ACK\r\nACK\r\n", false, NULL, "", 1, 0, 1},
    {5, false, false, "ACK\r\nREJ bad-json line 1\r\n", false, NULL, "bad-json", 0, 1, 1},
    {5, false, false, "REJ no-space\r\n", true, NULL, "no-space", 0, 1, 1},
    {5, false, false, "NACK1\r\n", true, DAMAGED, "", 0, 0, 1},
    {5, false, false, "ACK\r\nNACK2\r\n", true, DAMAGED, "", 0, 0, 1},
    {5, false, false, "ERR shutdown bye\r\n", true, NULL, "shutdown", 0, 0, 1},
    {5, false, false, "ACK 2048\r\n", true, SENSELESS, "", 0, 0, 1},
    {5, false, false, "ACK\r\nACK\r\nACK\r\n", true, SENSELESS, "", 1, 0, 1},
    {5, false, false, "HELLO\r\n", true, SENSELESS, "", 0, 0, 1},
    {5, false, false, "ACK\n", true, SENSELESS, "", 0, 0, 1},
    {5, true, false, "ACK\r\nACK\r\n", false, NULL, "", 1, 0, 1},
    {5, true, false, "NACK1\r\nACK\r\nNACK1\r\nACK\r\n", false, NULL, "", 1, 0, 1},
    {5, true, false, "ACK\r\nNACK2\r\nACK\r\nACK\r\n", false, NULL, "", 1, 0, 1},
    {5, true, false, "NACK1\r\nNACK1\r\nNACK1\r\n", true, "too many NACKs for one message", "", 0,
     0, 0},
    {5, true, false, "ACK\r\nACK 2048\r\n", true, SENSELESS, "", 0, 0, 1},
    {5, true, false, "ACK 2048\r\n", true, SENSELESS, "", 0, 0, 0},
    {5, true, false, "REJ too-large\r\n", false, NULL, "too-large", 0, 1, 0},
    {5, true, false, "ERR busy\r\n", true, NULL, "busy", 0, 0, 0},
    {5000, false, false, "ACK 64\r\nREJ refused no\r\n", false, NULL, "refused", 0, 1, 0},
    {5000, false, false, "ACK 100000\r\nACK\r\nACK\r\n", false, NULL, "", 1, 0, 1},
    {5000, false, false, "ACK\r\n", true, SENSELESS, "", 0, 0, 0},
    {5000, false, false, "ACK 63\r\n", true, SENSELESS, "", 0, 0, 0},
    {5000, false, false, "ACK 100000\r\nACK\r\nNACK2\r\n", false, NULL, "", 0, 0, 0},
};

/* Answers come one at a time, each in pieces: a server says the next one when it has got more. */
static void
hear_lines(struct proto_peer *client, const char *said, size_t piece)
{
    while (*said != '\0') {
        const char *end = strchr(said, '\n') + 1;

        proto_peer_hear(client, said, (size_t)(end - said), piece, true);
        said = end;
    }
}

static void
check_case(const struct answer_case *c, size_t piece)
{
    struct outgoing out = message(c->n, c->strict, c->reply);
    struct proto_peer client;

    start(&client, NULL);
    client.limits.nack_limit = 2;
    assert_int_equal(proto_peer_send(&client, &out), 0);
    hear_lines(&client, c->said, piece);
    assert_int_equal(client.closed, c->closes);
    if (c->complaint == NULL)
        assert_null(client.results.complaint);
    else
        assert_string_equal(client.results.complaint, c->complaint);
    assert_string_equal(client.results.code, c->code);
    assert_int_equal(client.results.delivered, c->delivered);
    assert_int_equal(client.results.refused, c->refused);
    assert_int_equal(client.results.sent, c->sent);
    proto_peer_fini(&client);
}

static void
every_answer_is_followed_or_ends_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece <= 40; piece++)
            check_case(&cases[i], piece);
}

/* A block of 3 bytes with one byte changed, at every place of header and body. */
static void
a_damaged_reply_is_not_handed_over(void **state)
{
    struct proto_peer client, server;
    struct outgoing out = message(3, false, true);
    char said[200];
    size_t n;

    (void)state;
    start(&client, &server);
    server.echo = true;
    assert_int_equal(proto_peer_send(&client, &out), 0);
    proto_peer_hear(&server, buffer_bytes(&client.said), client.said.len, PEER_WHOLE, true);
    n = server.said.len;
    assert_int_equal(n, 10 + 50 + 3);
    memcpy(said, buffer_bytes(&server.said), n);
    proto_peer_fini(&client);
    proto_peer_fini(&server);
    for (size_t at = 10; at < n; at++) {
        start(&client, NULL);
        assert_int_equal(proto_peer_send(&client, &out), 0);
        said[at] ^= 1;
        proto_peer_hear(&client, said, n, PEER_WHOLE, true);
        said[at] ^= 1;
        assert_int_equal(client.delivered_count, 0);
        assert_int_equal(client.results.delivered, 1);
        /* A larger SIZE waits for bytes that do not come; the caller's patience ends that. */
        assert_true(client.closed || at < 18);
        proto_peer_fini(&client);
    }
}

static int
read_fails(void *arg, void *buf, size_t n, uint64_t offset)
{
    (void)buf;
    if (offset + n <= *(uint64_t *)arg)
        return 0;
    errno = EBUSY;
    return -1;
}

static int
has_changed(void *arg)
{
    (void)arg;
    errno = EBUSY;
    return -1;
}

static void
a_message_that_cannot_be_read_is_not_committed(void **state)
{
    static const char said[] = "ACK 2048\r\nACK 2048\r\nACK\r\nACK\r\n";
    static const uint64_t readable[] = {0, 1998, 4040, 5000};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(readable) * 2; i++) {
        uint64_t until = readable[i / 2];
        struct outgoing out = message(5000, i % 2 == 1, false);
        struct proto_peer client;

        start(&client, NULL);
        out.data = NULL;
        out.read = read_fails;
        out.unchanged = has_changed;
        out.arg = &until;
        assert_int_equal(proto_peer_send(&client, &out), 0);
        hear_lines(&client, said, PEER_WHOLE);
        assert_int_equal(client.results.error, EBUSY);
        assert_int_equal(client.results.sent, 0);
        assert_int_equal(client.results.delivered, 0);
        proto_peer_fini(&client);
    }
}

static void
a_value_that_leaves_no_room_for_a_digest_is_not_taken(void **state)
{
    struct outgoing out = message(1, false, false);
    struct proto_peer client;

    (void)state;
    start(&client, NULL);
    out.value_len = 2007;
    errno = 0;
    assert_int_equal(proto_peer_send(&client, &out), -1);
    assert_int_equal(errno, EMSGSIZE);
    proto_peer_expect_said(&client, "", 0);
    proto_peer_fini(&client);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_all_sizes_arrive_whole_however_they_are_cut),
        cmocka_unit_test(a_burst_is_settled_in_order),
        cmocka_unit_test(every_answer_is_followed_or_ends_the_connection),
        cmocka_unit_test(a_damaged_reply_is_not_handed_over),
        cmocka_unit_test(a_message_that_cannot_be_read_is_not_committed),
        cmocka_unit_test(a_value_that_leaves_no_room_for_a_digest_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
