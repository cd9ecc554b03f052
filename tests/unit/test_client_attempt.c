/* What becomes of a message over a protocol that acknowledges, with a protocol of the test's own:
 * bytes of the server's are its events, one each. */
#include "byte_server.h"
#include "client/handle.h"
#include "client_fixture.h"
#include "common/base.h"

#include <assert.h>

/* --- the protocol --- */

struct toy {
    bool greeted; /* 'G' has come */
    bool body;    /* 'm' has come; its byte has not */
    unsigned expired;
};

static_assert(sizeof(struct toy) <= sizeof(union proto_state), "room for its state");

static uint64_t toy_deadline_us; /* UINT64_MAX: never; set before the first message */
static unsigned toy_expiries;    /* at the last of so many the connection ends */

static void
toy_init(void *state, const struct proto_begin *begin)
{
    assert_int_equal(begin->role, PROTO_CLIENT);
    *(struct toy *)state = (struct toy){0};
}

static void
toy_open(void *state, struct proto_io *io)
{
    (void)state;
    answers_append(io->answers, "hi", 2, false);
}

static struct message *
toy_message(struct proto_io *io, uint8_t byte)
{
    struct message *m = message_create(io->store, 1, io->keep_max, io->now_us);

    message_append(m, &byte, 1);
    message_finish(m);
    message_set_value(m, "", 0);
    return m;
}

static enum proto_event
toy_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
         struct message **message_out)
{
    struct toy *t = state;

    (void)n;
    *consumed_out = 1;
    if (t->body) {
        t->body = false;
        *message_out = toy_message(io, data[0]);
        return PROTO_MESSAGE;
    }
    switch (data[0]) {
    case 'G':
        t->greeted = true;
        break;
    case 'm':
        t->body = true;
        break;
    case 'A':
        io->outbox->results->delivered++;
        io->outbox->results->answered++;
        return PROTO_FLUSH;
    case 'R':
        io->outbox->results->refused++;
        snprintf(io->outbox->results->refusal, 256, "not \\x1B today");
        break;
    case 'N':
        io->outbox->results->damaged++;
        return PROTO_FLUSH;
    case 'X':
        io->tally->err++;
        snprintf(io->outbox->results->refusal, 256, "bad-session");
        return PROTO_CLOSE;
    case 'L':
        answers_append(io->answers, "bye", 3, true);
        break;
    default:
        return PROTO_CLOSE;
    }
    return PROTO_MORE;
}

static uint64_t
toy_deadline(const void *state, const struct proto_limits *limits)
{
    (void)state;
    (void)limits;
    return toy_deadline_us;
}

static enum proto_event
toy_expire(void *state, struct proto_io *io)
{
    struct toy *t = state;

    answers_append(io->answers, "?", 1, false);
    toy_deadline_us = io->now_us + 1000;
    return ++t->expired < toy_expiries ? PROTO_MORE : PROTO_CLOSE;
}

static enum proto_event
toy_shutdown(void *state, struct proto_io *io)
{
    (void)state;
    answers_append(io->answers, ".", 1, true);
    return PROTO_CLOSE;
}

static bool
toy_idle(const void *state)
{
    return ((const struct toy *)state)->greeted;
}

static void
toy_settle(void *state, struct proto_io *io, void *place, const struct message *m,
           const struct verdict *verdict)
{
    (void)state;
    (void)m;
    assert_null(place);
    assert_int_equal(verdict->outcome, PROTO_COMMITTED);
    answers_append(io->answers, "!", 1, false);
}

static int
toy_push(void *state, struct proto_io *io, struct blob *blob)
{
    assert_true(toy_idle(state));
    answers_append(io->answers, blob->mem, (size_t)blob->len, false);
    io->outbox->results->sent++;
    return 0;
}

static const struct proto_ops toy_protocol = {
    .name = "toy",
    .acknowledges = true,
    .init = toy_init,
    .open = toy_open,
    .feed = toy_feed,
    .deadline = toy_deadline,
    .expire = toy_expire,
    .shutdown = toy_shutdown,
    .idle = toy_idle,
    .settle = toy_settle,
    .push = toy_push,
};

static msock *
open_toy(const struct byte_server *s)
{
    msock *m = client_open("frame://%s", s->at);

    m->peer->ops = m->at.ops = &toy_protocol;
    toy_deadline_us = UINT64_MAX;
    toy_expiries = 3;
    return m;
}

/* --- what becomes of a message --- */

static void
serve_words(struct byte_server *s)
{
    SAY(s, "G");
    EXPECT(s, "hione");
    SAY(s, "NA");
    EXPECT(s, "two");
    SAY(s, "R");
    EXPECT(s, "three");
    SAY(s, "A");
    EXPECT(s, ".");
    byte_expect_end(s);
}

static void
it_is_taken_or_refused_as_the_server_says(void **state)
{
    struct msock_counts counts;
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_words, NULL);
    m = open_toy(&s);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    assert_int_equal(msock_send(m, "two", 3), MSOCK_REFUSED);
    assert_string_equal(msock_error_code(m), "refused");
    assert_non_null(strstr(msock_error(m), " refused the message: not \\x1B today"));
    assert_int_equal(msock_send(m, "three", 5), MSOCK_OK);
    assert_string_equal(msock_error(m), "");
    assert_string_equal(msock_error_code(m), "");
    msock_get_counts(m, &counts);
    assert_int_equal(counts.acks, 2);
    assert_int_equal(counts.rej, 1);
    assert_int_equal(counts.nack1, 1);
    assert_int_equal(counts.messages, 2);
    assert_int_equal(counts.connects, 1);
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_no_word(struct byte_server *s)
{
    SAY(s, "G");
    EXPECT(s, "hione");
    if (s->arg != NULL)
        byte_say(s, s->arg, strlen(s->arg));
    else
        byte_until_end(s);
}

static void
without_a_word_it_is_in_doubt_and_not_sent_again(void **state)
{
    static const struct {
        const char *end; /* what the server says before it closes; NULL: it does not close */
        const char *sentence;
    } cases[] = {
        {NULL, "no answer within 40 ms"},
        {"", "the server closed the connection"},
        {"X", "bad-session"},
        {"L", "ended in toy"},
        {"z", "ended in toy"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct msock_counts counts;
        struct byte_server s;
        msock *m;

        byte_server_start(&s, serve_no_word, (void *)(uintptr_t)cases[i].end);
        m = open_toy(&s);
        if (cases[i].end == NULL)
            msock_set_timeouts(m, 5000, 40);
        assert_int_equal(msock_send(m, "one", 3), MSOCK_GIVEN_UP);
        assert_non_null(strstr(msock_error(m), cases[i].sentence));
        assert_non_null(strstr(msock_error(m), "may have been committed"));
        msock_get_counts(m, &counts);
        assert_int_equal(counts.messages, 0);
        assert_int_equal(counts.err, cases[i].end != NULL && cases[i].end[0] == 'X');
        msock_close(m);
        byte_server_stop(&s);
        assert_int_equal(s.connections, 1);
    }
}

static void
serve_unanswered(struct byte_server *s)
{
    SAY(s, "G");
    EXPECT(s, "hione");
    SAY(s, "A");
    if (s->connections == 0)
        return;
    if (s->connections == 1)
        byte_until_end(s);
    else
        SAY(s, "mr");
}

static void
taken_but_without_its_reply_it_is_not_in_doubt(void **state)
{
    struct msock_counts counts;
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_unanswered, NULL);
    m = open_toy(&s);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_TIMEOUT);
    assert_non_null(strstr(msock_error(m), "the message was taken"));
    msock_set_timeouts(m, 5000, 1000); /* enough for the word */
    assert_int_equal(msock_send(m, "one", 3), MSOCK_TIMEOUT);
    assert_null(msock_reply(m, NULL));
    msock_set_timeouts(m, 5000, 5000);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "r");
    msock_get_counts(m, &counts);
    assert_int_equal(counts.messages, 3);
    assert_int_equal(counts.connects, 3);
    assert_int_equal(counts.retries, 0);
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_news_before_the_word(struct byte_server *s)
{
    SAY(s, "G");
    EXPECT(s, "hione");
    SAY(s, "mnAmr");
    EXPECT(s, "!!two");
    SAY(s, "mxA");
    byte_until_end(s);
}

static void
what_came_before_the_word_is_no_reply(void **state)
{
    struct byte_server s;
    const void *data;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_news_before_the_word, NULL);
    m = open_toy(&s);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    assert_string_equal(msock_reply(m, NULL), "r");
    msock_set_timeouts(m, 5000, 1000);
    assert_int_equal(msock_send(m, "two", 3), MSOCK_TIMEOUT);
    assert_null(msock_reply(m, NULL));
    for (const char *c = "nx"; *c != '\0'; c++) {
        assert_int_equal(msock_recv(m, 5000, &data, NULL), MSOCK_OK);
        assert_int_equal(*(const char *)data, *c);
    }
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_refused_opening(struct byte_server *s)
{
    EXPECT(s, "hi");
    SAY(s, "X");
    byte_until_end(s);
}

static void
an_opening_that_is_refused_says_why(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_refused_opening, NULL);
    m = open_toy(&s);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "bad-session"));
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 3);
}

static void
serve_slowly(struct byte_server *s)
{
    SAY(s, "G");
    EXPECT(s, "hione??");
    SAY(s, "A");
    byte_until_end(s);
}

static void
what_is_due_is_done_while_waiting(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_slowly, NULL);
    m = open_toy(&s);
    toy_expiries = UINT32_MAX;
    assert_int_equal(msock_connect(m), MSOCK_OK);
    toy_deadline_us = clock_mono_us() + 20000;
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    toy_deadline_us = UINT64_MAX;
    msock_close(m);
    byte_server_stop(&s);
}

static void
a_silence_that_the_protocol_ends_is_said(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_no_word, NULL);
    m = open_toy(&s);
    assert_int_equal(msock_connect(m), MSOCK_OK);
    toy_deadline_us = clock_mono_us() + 5000;
    assert_int_equal(msock_send(m, "one", 3), MSOCK_GIVEN_UP);
    assert_non_null(strstr(msock_error(m), "silent where toy wants an answer"));
    msock_close(m);
    byte_server_stop(&s);
}

/* --- messages of the server's --- */

#define FLOOD 20000

static void
serve_flood(struct byte_server *s)
{
    char *flood = malloc(2 * FLOOD);

    for (int i = 0; i < FLOOD; i++) {
        flood[2 * i] = 'm';
        flood[2 * i + 1] = (char)('a' + i % 26);
    }
    SAY(s, "G");
    EXPECT(s, "hione");
    byte_say(s, flood, 2 * FLOOD);
    byte_until_end(s);
    free(flood);
}

static void
a_flood_is_not_kept_without_end(void **state)
{
    struct byte_server s;
    const void *data;
    unsigned got = 0;
    msock *m;
    size_t n;

    (void)state;
    byte_server_start(&s, serve_flood, NULL);
    m = open_toy(&s);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_GIVEN_UP);
    assert_non_null(strstr(msock_error(m), "wait for msock_recv"));
    byte_server_stop(&s); /* what has come is there without a connection, too */
    while (m->peer->inbox_count > 0) {
        assert_int_equal(msock_recv(m, 0, &data, &n), MSOCK_OK);
        assert_int_equal(n, 1);
        assert_int_equal(*(const char *)data, 'a' + got++ % 26);
    }
    assert_in_range(got, 1000, FLOOD - 1);
    msock_close(m);
}

static void
serve_news(struct byte_server *s)
{
    SAY(s, "Gmamb");
    EXPECT(s, "hi!!");
    SAY(s, "mcX");
    byte_until_end(s);
}

static void
what_is_received_is_acknowledged(void **state)
{
    struct byte_server s;
    const void *data;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_news, NULL);
    m = open_toy(&s);
    for (const char *c = "abc"; *c != '\0'; c++) {
        assert_int_equal(msock_recv(m, 5000, &data, NULL), MSOCK_OK);
        assert_int_equal(*(const char *)data, *c);
    }
    assert_int_equal(msock_recv(m, 5000, &data, NULL), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "bad-session"));
    msock_close(m);
    byte_server_stop(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_taken_or_refused_as_the_server_says),
        cmocka_unit_test(without_a_word_it_is_in_doubt_and_not_sent_again),
        cmocka_unit_test(taken_but_without_its_reply_it_is_not_in_doubt),
        cmocka_unit_test(what_came_before_the_word_is_no_reply),
        cmocka_unit_test(an_opening_that_is_refused_says_why),
        cmocka_unit_test(what_is_due_is_done_while_waiting),
        cmocka_unit_test(a_silence_that_the_protocol_ends_is_said),
        cmocka_unit_test(a_flood_is_not_kept_without_end),
        cmocka_unit_test(what_is_received_is_acknowledged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
