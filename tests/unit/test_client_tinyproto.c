/* The client over tinyproto: the opening, consent, crossing transmissions, and servers that say
 * no. */
#include "byte_server.h"
#include "client_fixture.h"

#define SEND(s, payload)                                   \
    do {                                                   \
        uint8_t size_[4] = {0, 0, 0, sizeof(payload) - 1}; \
        byte_say(s, size_, 4);                             \
        EXPECT(s, "\xff");                                 \
        SAY(s, payload);                                   \
    } while (0)

static void
greet(struct byte_server *s)
{
    SAY(s, "\xff");
    EXPECT(s, "\xff");
}

static void
serve_echo(struct byte_server *s)
{
    greet(s);
    EXPECT(s, "\0\0\0\5");
    SAY(s, "\xff");
    EXPECT(s, "hello");
    SEND(s, "you");
    EXPECT(s, "\0\0\0\0");
    SAY(s, "\xff");
    SEND(s, "");
    EXPECT(s, "\0\0\0\0");
    SAY(s, "\xff\0\0\0\3");
    EXPECT(s, "\xff");
    SAY(s, "too");
    byte_expect_end(s);
}

static void
messages_and_replies_have_consent(void **state)
{
    struct msock_counts counts;
    struct byte_server s;
    msock *m;
    size_t n;

    (void)state;
    byte_server_start(&s, serve_echo, NULL);
    m = client_open("tinyproto://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "hello", 5), MSOCK_OK);
    assert_string_equal(msock_reply(m, &n), "you");
    assert_int_equal(n, 3);
    assert_int_equal(msock_send(m, NULL, 0), MSOCK_OK);
    assert_string_equal(msock_reply(m, &n), "");
    assert_int_equal(n, 0);
    assert_int_equal(msock_send(m, NULL, 0), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "too");
    msock_get_counts(m, &counts);
    assert_int_equal(counts.messages, 3);
    assert_int_equal(counts.connects, 1);
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_the_other_way_round(struct byte_server *s)
{
    SAY(s, "\xff");
    EXPECT(s, "\xff\0\0\0\0");
    SAY(s, "\xff\0\0\0\3");
    EXPECT(s, "\xff");
    SAY(s, "you");
    byte_expect_end(s);
}

static void
an_empty_message_has_a_reply_in_either_role(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_the_other_way_round, NULL);
    m = client_open("tinyproto://%s?role=server", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, NULL, 0), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "you");
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_crossing(struct byte_server *s)
{
    greet(s);
    EXPECT(s, "\0\0\0\5");
    SAY(s, "\0\0\0\4\xff"); /* a SIZE that crossed the client's, and then consent to that one */
    EXPECT(s, "hello\xff");
    SAY(s, "news");
    SEND(s, "reply");
    byte_expect_end(s);
}

static void
where_both_begin_the_server_yields(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_crossing, NULL);
    m = client_open("tinyproto://%s", s.at);
    assert_int_equal(msock_send(m, "hello", 5), MSOCK_OK);
    client_expect_received(m, "news");
    client_expect_received(m, "reply");
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_crossings(struct byte_server *s)
{
    greet(s);
    EXPECT(s, "\0\0\0\5");
    SAY(s, "\0\0\0\4\xff");
    EXPECT(s, "hello\xff");
    SAY(s, "news");
    SEND(s, "reply");
    EXPECT(s, "\0\0\0\5");
    SAY(s, "\xff\0\0\0\4"); /* the same, but behind the consent */
    EXPECT(s, "again\xff");
    SAY(s, "more");
    SEND(s, "and its reply");
    byte_expect_end(s);
}

static void
what_crosses_a_message_is_no_reply_to_it(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_crossings, NULL);
    m = client_open("tinyproto://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "hello", 5), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "reply");
    assert_int_equal(msock_send(m, "again", 5), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "and its reply");
    client_expect_received(m, "news");
    client_expect_received(m, "more");
    msock_close(m);
    byte_server_stop(&s);
}

/* What the nth connection hears in place of the first OK; after them all is well. */
struct opening {
    const char *signals[4];
    size_t count;
};

static void
serve_opening(struct byte_server *s)
{
    const struct opening *o = s->arg;

    if ((size_t)s->connections < o->count) {
        byte_say(s, o->signals[s->connections], strlen(o->signals[s->connections]));
        if (o->signals[s->connections][0] != '\0')
            byte_until_end(s);
        return;
    }
    greet(s);
    EXPECT(s, "\0\0\0\1");
    SAY(s, "\xff");
    EXPECT(s, "x");
    byte_expect_end(s);
}

static void
a_server_that_is_full_is_asked_again(void **state)
{
    static const struct opening some = {{"\xfe", "", "\xfd"}, 2},
                                all = {{"\xfe", "\xfe", "\xfe"}, 3};
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_opening, (void *)(uintptr_t)&some);
    m = client_open("tinyproto://%s", s.at);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 3);

    byte_server_start(&s, serve_opening, (void *)(uintptr_t)&all);
    m = client_open("tinyproto://%s", s.at);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    assert_string_equal(msock_error_code(m), "busy");
    assert_non_null(strstr(msock_error(m), "ended the connection: busy"));
    assert_int_equal(msock_connect(m), MSOCK_OK);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 4);
}

static void
the_signal_in_place_of_the_greeting_is_named(void **state)
{
    static const struct {
        struct opening opening;
        const char *named;
    } cases[] = {{{{"\xfd"}, 1}, "CONFLICT"},
                 {{{"\xfc"}, 1}, "a signal that cannot come"},
                 {{{"\xff\xfe"}, 1}, "a signal that cannot come"},
                 {{{"\xff\xf0\xff\xff\xff"}, 1}, "too large"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct byte_server s;
        msock *m;

        byte_server_start(&s, serve_opening, (void *)(uintptr_t)&cases[i].opening);
        m = client_open("tinyproto://%s", s.at);
        msock_set_retries(m, 0, 1, 2);
        assert_int_not_equal(msock_send(m, "x", 1), MSOCK_OK);
        assert_non_null(strstr(msock_error(m), cases[i].named));
        msock_close(m);
        byte_server_stop(&s);
    }
}

static void
serve_silence(struct byte_server *s)
{
    byte_until_end(s);
}

static void
a_server_that_never_greets_is_unreachable(void **state)
{
    struct byte_server s;
    const void *data;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_silence, NULL);
    m = client_open("tinyproto://%s", s.at);
    msock_set_timeouts(m, 30, 30);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    assert_int_equal(msock_recv(m, 5000, &data, NULL), MSOCK_UNREACHABLE);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 4);
}

static void
serve_loss_before_consent(struct byte_server *s)
{
    greet(s);
    EXPECT(s, "\0\0\0\1");
    if (s->connections < 2)
        return;
    SAY(s, "\xff");
    EXPECT(s, "x");
    byte_expect_end(s);
}

static void
what_nobody_has_consented_to_is_offered_again(void **state)
{
    struct msock_counts counts;
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_loss_before_consent, NULL);
    m = client_open("tinyproto://%s", s.at);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.connects, 3);
    assert_int_equal(counts.retries, 2);
    assert_int_equal(counts.messages, 1);
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_size_refused(struct byte_server *s)
{
    greet(s);
    if (s->connections == 0) {
        EXPECT(s, "\0\0\0\1");
        SAY(s, "\xff");
        EXPECT(s, "x");
    }
    EXPECT(s, "\0\0\0\7");
    SAY(s, "\0"); /* GENERIC_ERROR */
}

/* In place of the first consent of a connection it is about that message, and final. */
static void
a_size_that_is_refused_is_not_offered_for_ever(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_size_refused, NULL);
    m = client_open("tinyproto://%s", s.at);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    assert_int_equal(msock_send(m, "toolong", 7), MSOCK_REFUSED);
    assert_non_null(strstr(msock_error(m), "GENERIC_ERROR"));
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 2);
}

static void
serve_loss_after_payload(struct byte_server *s)
{
    greet(s);
    EXPECT(s, "\0\0\0\1");
    SAY(s, "\xff");
    EXPECT(s, "x");
    SAY(s, "\0\0\0\5");
    EXPECT(s, "\xff");
    SAY(s, "rep");
}

static void
what_has_left_is_not_sent_again(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_loss_after_payload, NULL);
    m = client_open("tinyproto://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_GIVEN_UP);
    assert_non_null(strstr(msock_error(m), "may have been committed"));
    assert_null(msock_reply(m, NULL));
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 1);
}

#define LARGE (32u << 20)

static void
serve_loss_in_payload(struct byte_server *s)
{
    char some[1000];

    greet(s);
    EXPECT(s, "\2\0\0\0");
    SAY(s, "\xff");
    byte_read(s, some, sizeof(some));
}

static void
what_has_left_in_part_is_sent_again(void **state)
{
    char *data = calloc(1, LARGE);
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_loss_in_payload, NULL);
    m = client_open("tinyproto://%s", s.at);
    assert_int_equal(msock_send(m, data, LARGE), MSOCK_GIVEN_UP);
    assert_non_null(strstr(msock_error(m), "is not committed"));
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 3);
    free(data);
}

static void
serve_unwilling(struct byte_server *s)
{
    greet(s);
    EXPECT(s, "\0\0\0\1");
    byte_until_end(s);
}

static void
a_server_that_never_consents_is_given_up(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_unwilling, NULL);
    m = client_open("tinyproto://%s", s.at);
    msock_set_retries(m, 0, 1, 2);
    for (int i = 0; i < 3; i++) {
        msock_set_timeouts(m, 20000, 20000);
        assert_int_equal(msock_connect(m), MSOCK_OK); /* it greets */
        msock_set_timeouts(m, 50, 50);
        assert_int_equal(msock_send(m, "x", 1), MSOCK_GIVEN_UP);
        assert_non_null(strstr(msock_error(m), "is not committed"));
    }
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_and_replies_have_consent),
        cmocka_unit_test(an_empty_message_has_a_reply_in_either_role),
        cmocka_unit_test(where_both_begin_the_server_yields),
        cmocka_unit_test(what_crosses_a_message_is_no_reply_to_it),
        cmocka_unit_test(a_server_that_is_full_is_asked_again),
        cmocka_unit_test(the_signal_in_place_of_the_greeting_is_named),
        cmocka_unit_test(a_server_that_never_greets_is_unreachable),
        cmocka_unit_test(what_nobody_has_consented_to_is_offered_again),
        cmocka_unit_test(a_size_that_is_refused_is_not_offered_for_ever),
        cmocka_unit_test(what_has_left_is_not_sent_again),
        cmocka_unit_test(what_has_left_in_part_is_sent_again),
        cmocka_unit_test(a_server_that_never_consents_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
