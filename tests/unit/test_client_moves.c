/* Lists of servers: what becomes of messages where one of them is busy, leaves, dies or is silent.
 */
#include "unit/byte_server.h"
#include "unit/fake/group.h"

#define ALL_THERE 100

static void
tiny_greet(struct byte_server *s)
{
    EXPECT(s, "\xff");
    SAY(s, "\xff");
}

static void
serve_nothing(struct byte_server *s)
{
    (void)s;
}

static void
serve_tiny(struct byte_server *s)
{
    tiny_greet(s);
    EXPECT(s, "\0\0\0\1");
    SAY(s, "\xff");
    EXPECT(s, "x");
    byte_expect_end(s);
}

/* Sends its argument, of one byte, unasked. */
static void
serve_push(struct byte_server *s)
{
    tiny_greet(s);
    SAY(s, "\0\0\0\1");
    EXPECT(s, "\xff");
    byte_say(s, s->arg, 1);
}

static msock *
open_tiny(const struct byte_server *a, const struct byte_server *b)
{
    char url[120];

    snprintf(url, sizeof(url), "tinyproto://%s,%s", a->at, b->at);
    return open_url(url);
}

/* --- servers that send us away --- */

/* Not even a retry is needed. */
static void
busy_and_shutdown_lead_to_the_next_server_at_once(void **state)
{
    static const char *const words[][2] = {{"ERR busy", NULL}, {"ERR shutdown bye", NULL}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct group g = group_create();
        msock *m;

        g.s[0]->answers = g.s[1]->answers = words[i];
        group_start(&g);
        m = group_open(&g, "");
        msock_set_retries(m, 0, NO_WAIT, NO_WAIT);
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        msock_close(m);
        group_stop(&g);
        expect_connections(&g, 1, 1, 1);
        assert_int_equal(g.s[2]->message_count, 1);
        group_destroy(&g);
    }
}

static void
where_all_are_busy_each_attempt_asks_each_once(void **state)
{
    static const char *const busy[] = {"ERR busy full", "ERR busy full", "ERR busy full",
                                       "ERR busy full", NULL};
    struct group g = group_create();
    char expected[400];
    msock *m;

    (void)state;
    for (unsigned i = 0; i < GROUP_COUNT; i++)
        g.s[i]->answers = busy;
    group_start(&g);
    m = group_open(&g, "");
    msock_set_retries(m, 2, 1, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_GIVEN_UP);
    assert_string_equal(msock_error_code(m), "busy");
    snprintf(expected, sizeof(expected),
             "127.0.0.1:%u ended the connection: busy: full; 127.0.0.1:%u ended the connection:"
             " busy: full; 127.0.0.1:%u ended the connection: busy: full (given up after 3"
             " attempts; ",
             g.port[0], g.port[1], g.port[2]);
    assert_memory_equal(msock_error(m), expected, strlen(expected));
    msock_close(m);
    group_stop(&g);
    expect_connections(&g, 3, 3, 3);
    group_destroy(&g);
}

/* What ends before a message has begun is no attempt to send one. */
static void
a_server_that_takes_connections_only_leads_to_the_next(void **state)
{
    struct byte_server a, b;

    (void)state;
    for (int sends = 0; sends < 2; sends++) {
        msock *m;

        byte_server_start(&a, serve_nothing, NULL);
        byte_server_start(&b, sends ? serve_tiny : serve_nothing, NULL);
        m = open_tiny(&a, &b);
        msock_set_retries(m, 0, NO_WAIT, NO_WAIT);
        if (sends)
            assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        else
            assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
        if (!sends) {
            assert_non_null(strstr(msock_error(m), a.at));
            assert_non_null(strstr(msock_error(m), b.at));
        }
        msock_close(m);
        byte_server_stop(&a);
        byte_server_stop(&b);
        assert_int_equal(a.connections, 1);
        assert_int_equal(b.connections, 1);
    }
}

static void
what_servers_send_by_themselves_comes_from_the_next_one(void **state)
{
    char texts[2] = {'a', 'b'};
    struct byte_server a, b;
    const void *data;
    size_t n;
    msock *m;

    (void)state;
    byte_server_start(&a, serve_push, &texts[0]);
    byte_server_start(&b, serve_push, &texts[1]);
    m = open_tiny(&a, &b);
    assert_int_equal(msock_recv(m, -1, &data, &n), MSOCK_OK);
    assert_memory_equal(data, "a", 1);
    byte_server_stop(&a);
    assert_int_equal(msock_recv(m, -1, &data, &n), MSOCK_UNREACHABLE);
    assert_int_equal(msock_recv(m, -1, &data, &n), MSOCK_OK);
    assert_memory_equal(data, "b", 1);
    msock_close(m);
    byte_server_stop(&b);
}

/* --- servers that fail with a message --- */

static void
a_message_in_doubt_moves_under_its_id(void **state)
{
    struct group g = {.s = {server_create(), server_create(), NULL}};
    struct msock_counts counts;
    msock *m;

    (void)state;
    g.s[0]->cut_write = 5; /* the ACK of the body leaves, that of the message does not */
    group_start(&g);
    m = group_open(&g, "");
    msock_set_retries(m, 1, NO_WAIT, NO_WAIT);
    assert_int_equal(msock_send(m, "once", 4), MSOCK_OK);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.retries, 1);
    msock_close(m);
    group_stop(&g);
    assert_int_equal(g.s[0]->message_count, 1);
    assert_int_equal(g.s[1]->message_count, 1);
    assert_int_equal(strlen(g.s[0]->messages[0].value), 32);
    assert_string_equal(g.s[0]->messages[0].value, g.s[1]->messages[0].value);
    group_destroy(&g);
}

/* The first server goes after k bytes of the client's, or of its own. */
static bool
move_at(size_t size, size_t k, bool reading)
{
    static const uint32_t grants[] = {500, 0};
    struct group g = {.s = {server_create(), server_create(), NULL}};
    uint8_t *data = test_bytes(size);
    size_t taken;
    bool moved;
    msock *m;

    if (k == 0)
        g.s[0]->cut_at_zero = true;
    else
        *(reading ? &g.s[0]->cut_read : &g.s[0]->cut_write) = k;
    g.s[0]->grants = g.s[1]->grants = grants;
    group_start(&g);
    m = group_open(&g, "");
    msock_set_retries(m, 1, NO_WAIT, NO_WAIT);
    assert_int_equal(msock_set_id(m, "the same", 8), MSOCK_OK);
    assert_int_equal(msock_send(m, data, size), MSOCK_OK);
    msock_close(m);
    group_stop(&g);
    moved = g.s[1]->connections == 1;
    taken = g.s[0]->message_count;
    assert_int_equal(g.s[0]->connections, 1);
    assert_int_equal(g.s[1]->message_count, moved);
    assert_in_range(taken, !moved, 1);
    for (unsigned i = 0; i < 2; i++)
        for (size_t n = 0; n < g.s[i]->message_count; n++) {
            assert_string_equal(g.s[i]->messages[n].value, "the same");
            assert_memory_equal(g.s[i]->messages[n].body, data, size);
        }
    group_destroy(&g);
    free(data);
    return moved;
}

static void
a_message_moves_from_any_place_within_it(void **state)
{
    (void)state;
    for (int reading = 0; reading < 2; reading++) {
        size_t k = 0;

        while (move_at(8, k, reading))
            k++;
        assert_int_equal(k, reading ? 50 + 8 + 10 + 8 + 1 : 10);
    }
    for (size_t k = 0; k < 3000; k += 211)
        move_at(3000, k, true);
    for (size_t k = 0; k < 20; k += 3)
        move_at(3000, k, false);
}

static void
a_silent_server_is_left_for_the_next_one(void **state)
{
    static const char *const silent[] = {SILENT, NULL};
    static const char *const later[] = {RIGHT, RIGHT, SILENT, NULL};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct group g = {.s = {server_create(), server_create(), NULL}};
        msock *m;

        g.s[0]->answers = i == 0 ? silent : later;
        group_start(&g);
        m = group_open(&g, "");
        msock_set_retries(m, 1, NO_WAIT, NO_WAIT);
        msock_set_timeouts(m, 1000, 1000);
        for (int k = 0; k <= i; k++)
            assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        msock_close(m);
        group_stop(&g);
        expect_connections(&g, 1, 1, 0);
        assert_int_equal(g.s[1]->message_count, 1);
        group_destroy(&g);
    }
}

struct report {
    unsigned count, ok;
};

static void
on_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct report *r = arg;

    assert_int_equal(number, r->count++);
    r->ok += status == MSOCK_OK;
}

/* Whatever the first one does in the middle of a burst, all are taken, and the second one gets in
 * order what the first one has not answered. A lost connection alone says nothing against a server:
 * it is asked once more. */
static void
a_burst_goes_on_with_the_next_server(void **state)
{
    static const struct {
        const char *answers[6];
        int connections;
    } troubles[] = {
        {{RIGHT, RIGHT, RIGHT, HANGUP, HANGUP, NULL}, 2},
        {{RIGHT, RIGHT, RIGHT, "nonsense", "nonsense", NULL}, 2},
        {{RIGHT, RIGHT, "ERR shutdown", NULL}, 1},
        {{"ERR busy", NULL}, 1},
        {{RIGHT, RIGHT, RIGHT, SILENT, NULL}, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        struct group g = {.s = {server_create(), server_create(), NULL}};
        struct report r = {.count = 0};
        unsigned number, before;
        char text[32];
        msock *m;

        g.s[0]->answers = troubles[i].answers;
        group_start(&g);
        m = group_open(&g, "");
        msock_set_retries(m, 1, NO_WAIT, NO_WAIT);
        msock_set_timeouts(m, 1000, 1000);
        msock_set_settled(m, on_settled, &r);
        for (unsigned k = 0; k < ALL_THERE; k++) {
            snprintf(text, sizeof(text), "message %u", k);
            assert_int_equal(msock_send_ahead(m, 'A', text, strlen(text)), MSOCK_OK);
        }
        assert_int_equal(msock_flush(m, -1), MSOCK_OK);
        assert_int_equal(r.ok, ALL_THERE);
        msock_close(m);
        group_stop(&g);
        expect_connections(&g, troubles[i].connections, 1, 0);
        before = (unsigned)g.s[0]->message_count;
        assert_int_equal(before + g.s[1]->message_count, ALL_THERE);
        for (size_t k = 0; k < g.s[1]->message_count; k++) {
            char body[32] = "";

            memcpy(body, g.s[1]->messages[k].body, g.s[1]->messages[k].size);
            assert_int_equal(sscanf(body, "message %u", &number), 1);
            assert_int_equal(number, before + k);
        }
        group_destroy(&g);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(busy_and_shutdown_lead_to_the_next_server_at_once),
        NET_TEST(where_all_are_busy_each_attempt_asks_each_once),
        NET_TEST(a_server_that_takes_connections_only_leads_to_the_next),
        NET_TEST(what_servers_send_by_themselves_comes_from_the_next_one),
        NET_TEST(a_message_in_doubt_moves_under_its_id),
        NET_TEST(a_message_moves_from_any_place_within_it),
        NET_TEST(a_silent_server_is_left_for_the_next_one),
        NET_TEST(a_burst_goes_on_with_the_next_server),
    };

    if (net_begin() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
