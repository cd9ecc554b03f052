/* Messages that are sent behind each other: what becomes of each is reported in their order,
 * whatever the server and the network do. */
#include "byte_server.h"
#include "client_fixture.h"
#include "scripted_server.h"

#include <poll.h>

#define COUNT 100

struct fixture {
    struct server *server;
    msock *m;
    unsigned reported, ok, refused, given_up;
    char last_error[256], last_code[32];
};

static void
on_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct fixture *f = arg;

    assert_int_equal(number, f->reported++);
    f->ok += status == MSOCK_OK;
    f->refused += status == MSOCK_REFUSED;
    f->given_up += status == MSOCK_GIVEN_UP || status == MSOCK_UNREACHABLE;
    if (status == MSOCK_OK)
        return;
    snprintf(f->last_error, sizeof(f->last_error), "%s", msock_error(f->m));
    snprintf(f->last_code, sizeof(f->last_code), "%s", msock_error_code(f->m));
}

static void
fixture_start(struct fixture *f, const char *const *answers)
{
    *f = (struct fixture){.server = server_create()};
    f->server->answers = answers;
    server_start(f->server, AF_INET);
    f->m = msock_open(f->server->url);
    assert_non_null(f->m);
    msock_set_timeouts(f->m, 20000, 20000);
    msock_set_retries(f->m, 2, 1, 2);
    msock_set_settled(f->m, on_settled, f);
}

static void
send_all(struct fixture *f)
{
    for (unsigned i = 0; i < COUNT; i++) {
        char text[32];

        snprintf(text, sizeof(text), "message %u", i);
        assert_int_equal(msock_send_ahead(f->m, 'A', text, strlen(text)), MSOCK_OK);
    }
}

static struct server *
fixture_stop(struct fixture *f)
{
    msock_close(f->m);
    server_stop(f->server);
    assert_int_equal(f->server->wrong, 0);
    return f->server;
}

/* Every message is there, and the first copies of all are in order. */
static void
check_all_there(const struct server *s)
{
    unsigned next = 0;

    for (size_t i = 0; i < s->message_count; i++) {
        char text[32];
        int n = snprintf(text, sizeof(text), "message %u", next);

        if (s->messages[i].size == (size_t)n && memcmp(s->messages[i].body, text, (size_t)n) == 0)
            next++;
    }
    assert_int_equal(next, COUNT);
}

static void
a_burst_takes_one_connection_and_keeps_its_order(void **state)
{
    struct fixture f;
    struct msock_counts counts;
    struct server *s;

    (void)state;
    fixture_start(&f, NULL);
    send_all(&f);
    assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
    assert_int_equal(f.reported, COUNT);
    assert_int_equal(f.ok, COUNT);
    msock_get_counts(f.m, &counts);
    assert_int_equal(counts.connects, 1);
    assert_int_equal(counts.messages, COUNT);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, COUNT);
    check_all_there(s);
    server_destroy(s);
}

/* The one line that is refused is named, and the others go on. */
static void
a_refusal_concerns_one_message(void **state)
{
    static const char *const answers[] = {RIGHT, RIGHT, RIGHT, "REJ bad-json line 1", NULL};
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f, answers);
    send_all(&f);
    assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
    assert_int_equal(f.ok, COUNT - 1);
    assert_int_equal(f.refused, 1);
    assert_string_equal(f.last_code, "bad-json");
    assert_non_null(strstr(f.last_error, "refused the message: bad-json: line 1"));
    s = fixture_stop(&f);
    server_destroy(s);
}

/* Whatever ends the connection in the middle: nothing is lost, and nothing is reported twice. */
static void
what_has_no_answer_is_sent_again(void **state)
{
    static const char *const troubles[][6] = {
        {RIGHT, RIGHT, RIGHT, HANGUP, NULL},  {RIGHT, RIGHT, RIGHT, RIGHT, HANGUP, NULL},
        {RIGHT, RIGHT, "NACK1", NULL},        {RIGHT, RIGHT, RIGHT, "NACK2", NULL},
        {RIGHT, RIGHT, "ERR shutdown", NULL}, {RIGHT, RIGHT, "nonsense", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        struct fixture f;
        struct server *s;

        fixture_start(&f, troubles[i]);
        send_all(&f);
        assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
        assert_int_equal(f.reported, COUNT);
        assert_int_equal(f.ok, COUNT);
        s = fixture_stop(&f);
        assert_int_equal(server_distinct(s), COUNT);
        check_all_there(s);
        server_destroy(s);
    }
}

static void
a_server_that_is_gone_ends_all_of_them_once(void **state)
{
    struct fixture f;
    enum msock_status status = MSOCK_OK;

    (void)state;
    fixture_start(&f, NULL);
    assert_int_equal(msock_send_ahead(f.m, 'A', "x", 1), MSOCK_OK);
    assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
    server_stop(f.server);
    for (unsigned i = 0; i < 10 && status == MSOCK_OK; i++)
        status = msock_send_ahead(f.m, 'A', "x", 1);
    if (status == MSOCK_OK)
        status = msock_flush(f.m, -1);
    assert_true(status == MSOCK_UNREACHABLE || status == MSOCK_GIVEN_UP);
    assert_true(f.given_up > 0);
    assert_int_equal(f.reported, 1 + f.given_up);
    assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
    msock_close(f.m);
    server_destroy(f.server);
}

/* A plain send behind them waits until they are reported. */
static void
nothing_overtakes_them(void **state)
{
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f, NULL);
    send_all(&f);
    assert_int_equal(msock_send(f.m, "last", 4), MSOCK_OK);
    assert_int_equal(f.reported, COUNT);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, COUNT + 1);
    assert_memory_equal(s->messages[COUNT].body, "last", 4);
    server_destroy(s);
}

/* An id is its bytes, also NUL, and belongs to one message. */
static void
each_has_its_own_id_or_none(void **state)
{
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f, NULL);
    msock_set_auto_id(f.m, 0);
    assert_int_equal(msock_set_id(f.m, "a\0b", 3), MSOCK_OK);
    assert_int_equal(msock_send_ahead(f.m, 'A', "x", 1), MSOCK_OK);
    assert_int_equal(msock_send_ahead(f.m, 'A', "y", 1), MSOCK_OK);
    msock_set_auto_id(f.m, 1);
    assert_int_equal(msock_send_ahead(f.m, 'A', "z", 1), MSOCK_OK);
    assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 3);
    assert_int_equal(s->messages[0].value_len, 3);
    assert_memory_equal(s->messages[0].value, "a\0b", 3);
    assert_int_equal(s->messages[1].value_len, 0);
    assert_int_equal(s->messages[2].value_len, 32);
    server_destroy(s);
}

static void
wrong_use_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    fixture_start(&f, NULL);
    assert_int_equal(msock_flush(f.m, -1), MSOCK_OK);
    assert_int_equal(msock_send_ahead(f.m, 'F', "x", 1), MSOCK_USAGE);
    assert_int_equal(msock_send_ahead(f.m, 'A', NULL, 1), MSOCK_USAGE);
    msock_set_want_reply(f.m, 1);
    assert_int_equal(msock_send_ahead(f.m, 'A', "x", 1), MSOCK_USAGE);
    assert_int_equal(f.reported, 0);
    server_destroy(fixture_stop(&f));
}

/* --- servers that are not msp's --- */

static msock *
open_at(const struct byte_server *s, const char *scheme, const char *query, struct fixture *f)
{
    *f = (struct fixture){.m = client_open("%s://%s%s", scheme, s->at, query)};
    msock_set_settled(f->m, on_settled, f);
    return f->m;
}

static void
serve_fixed(struct byte_server *s)
{
    EXPECT(s, "aaaaabbbbb");
    byte_expect_end(s);
}

static void
what_the_protocol_cannot_carry_harms_no_other(void **state)
{
    struct byte_server s;
    struct fixture f;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_fixed, NULL);
    m = open_at(&s, "frame", "?framing=fixed:5", &f);
    assert_int_equal(msock_send_ahead(m, 'A', "aaaaa", 5), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'A', "cc", 2), MSOCK_USAGE);
    assert_non_null(strstr(msock_error(m), "frame cannot carry this message"));
    assert_int_equal(msock_send_ahead(m, 'A', "bbbbb", 5), MSOCK_OK);
    assert_int_equal(msock_flush(m, -1), MSOCK_OK);
    assert_int_equal(f.reported, 2);
    assert_int_equal(f.ok, 2);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 1);
}

/* The first connection ends by a reset when the test says so. */
static void
serve_reset(struct byte_server *s)
{
    const int *said = s->arg;
    char byte;

    if (s->connections == 0) {
        EXPECT(s, "\0\0\0\1a");
        if (read(said[0], &byte, 1) != 1)
            byte_wrong(s, "the test's word");
        byte_reset(s);
        return;
    }
    EXPECT(s, "\0\0\0\1b\0\0\0\1c");
    byte_expect_end(s);
}

static void
what_has_not_left_is_not_in_doubt(void **state)
{
    struct byte_server s;
    struct fixture f;
    struct pollfd end;
    int word[2];
    msock *m;

    (void)state;
    assert_int_equal(pipe(word), 0);
    byte_server_start(&s, serve_reset, word);
    m = open_at(&s, "frame", "", &f);
    assert_int_equal(msock_send_ahead(m, 'A', "a", 1), MSOCK_OK);
    assert_int_equal(msock_flush(m, -1), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'A', "b", 1), MSOCK_OK);
    assert_int_equal(msock_send_ahead(m, 'A', "c", 1), MSOCK_OK);
    end = (struct pollfd){.fd = msock_fd(m)};
    assert_int_equal(write(word[1], "!", 1), 1);
    assert_int_equal(poll(&end, 1, 10000), 1);
    assert_int_equal(msock_flush(m, -1), MSOCK_OK);
    assert_int_equal(f.ok, 3);
    msock_close(m);
    byte_server_stop(&s);
    close(word[0]);
    close(word[1]);
}

static void
serve_silence(struct byte_server *s)
{
    (void)byte_until_end(s);
}

/* The message that waits for room when all of them end is one of them. */
static void
each_message_is_reported_whatever_ends_them(void **state)
{
    struct byte_server s;
    struct fixture f;
    enum msock_status status = MSOCK_OK;
    unsigned sent = 0;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_silence, NULL);
    m = open_at(&s, "msp", "", &f);
    msock_set_timeouts(m, 20000, 20000);
    msock_set_retries(m, 0, 1, 2);
    while (status == MSOCK_OK && sent < 5000) {
        if (sent == 1000) /* soon there is no room */
            msock_set_timeouts(m, 100, 100);
        status = msock_send_ahead(m, 'A', "x", 1);
        sent++;
    }
    assert_int_equal(status, MSOCK_GIVEN_UP);
    assert_true(sent > 1001);
    assert_int_equal(f.given_up, sent);
    assert_int_equal(f.reported, sent);
    msock_close(m);
    byte_server_stop(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_takes_one_connection_and_keeps_its_order),
        cmocka_unit_test(a_refusal_concerns_one_message),
        cmocka_unit_test(what_has_no_answer_is_sent_again),
        cmocka_unit_test(a_server_that_is_gone_ends_all_of_them_once),
        cmocka_unit_test(nothing_overtakes_them),
        cmocka_unit_test(each_has_its_own_id_or_none),
        cmocka_unit_test(wrong_use_is_refused),
        cmocka_unit_test(what_the_protocol_cannot_carry_harms_no_other),
        cmocka_unit_test(what_has_not_left_is_not_in_doubt),
        cmocka_unit_test(each_message_is_reported_whatever_ends_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
