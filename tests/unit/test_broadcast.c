#include "fanout_fixture.h"
#include "handler_fixture.h"

static const struct handler_ops *broadcast;

/* The messages are those of the first worker, and what becomes of them is written down; other
 * workers only hear. */
struct chat {
    struct hall *hall;
    struct fixture *f;
    struct handler_host host;
    void *handler[HALL_WORKERS];
    struct conn *sender;
};

static struct chat *chat;

static void
chat_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    (void)ctx;
    fixture_settle(chat->f, m, verdict);
}

static void
chat_committed(void *ctx, unsigned messages)
{
    (void)ctx;
    fixture_committed(chat->f, messages);
}

static struct conn *
chat_sender(void *ctx, const struct message *m)
{
    (void)ctx;
    (void)m;
    return chat->sender;
}

static int
setup(void **state)
{
    char error[HANDLER_ERROR_LEN];

    chat = ms_calloc(1, sizeof(*chat));
    chat->hall = hall_create();
    chat->f = fixture_create();
    broadcast = handler_find("broadcast");
    assert_non_null(broadcast);
    for (unsigned i = 0; i < HALL_WORKERS; i++) {
        struct handler_host *host = &chat->hall->desk[i].host;

        host->settle = chat_settle;
        host->committed = chat_committed;
        host->sender = chat_sender;
        chat->handler[i] = broadcast->create(host, error);
        assert_non_null(chat->handler[i]);
    }
    chat->sender = &chat->hall->conn[0];
    *state = chat;
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HALL_WORKERS; i++)
        broadcast->destroy(chat->handler[i]);
    hall_destroy(chat->hall);
    fixture_destroy(chat->f);
    free(chat);
    return 0;
}

static void
submit(const void *body, size_t n)
{
    broadcast->submit(chat->handler[0], fixture_message(chat->f, MESSAGE_PLAIN, "", body, n));
}

static void
others_hear(void)
{
    for (unsigned i = 1; i < HALL_WORKERS; i++) {
        broadcast->heard(chat->handler[i]);
        bus_ring(chat->hall->desk[i].bus);
    }
}

/* Messages that the ring has no more room for, so that what comes next waits. */
static unsigned
submit_until_full(void)
{
    char *body = ms_calloc(1, 100000);
    unsigned count = 0;

    do {
        submit(body, 100000);
        count++;
    } while (chat->f->settled_count == count && count < 100);
    assert_in_range(count, 2, 99);
    free(body);
    return count;
}

static void
a_message_goes_to_all_others_and_is_committed(void **state)
{
    (void)state;
    submit("hello", 5);
    assert_int_equal(chat->f->settled_count, 1);
    assert_int_equal(chat->f->settled[0].outcome, PROTO_COMMITTED);
    assert_null(chat->f->settled[0].reply);
    assert_int_equal(chat->f->committed_calls, 1);
    assert_int_equal(chat->f->committed_messages, 1);
    others_hear();
    for (unsigned i = 0; i < HALL_CONNS; i++)
        assert_string_equal(chat->hall->conn[i].text, i == 0 ? "" : "hello,");
    assert_int_equal(broadcast->flush(chat->handler[0], 0), 0);
}

static void
the_message_of_a_sender_that_is_gone_goes_to_all(void **state)
{
    (void)state;
    chat->sender = NULL;
    submit("bye", 3);
    assert_string_equal(chat->hall->conn[0].text, "bye,");
}

static void
an_empty_message_is_one(void **state)
{
    (void)state;
    submit("", 0);
    others_hear();
    assert_string_equal(chat->hall->conn[5].text, ",");
}

static void
a_message_in_a_file_is_read(void **state)
{
    struct message *m;
    char body[20000];

    (void)state;
    memset(body, 'x', sizeof(body));
    m = fixture_message(chat->f, MESSAGE_PLAIN, "", body, sizeof(body));
    assert_true(m->fd >= 0);
    broadcast->submit(chat->handler[0], m);
    others_hear();
    assert_int_equal(chat->hall->conn[4].bytes, sizeof(body));
    assert_int_equal(chat->hall->conn[5].bytes, sizeof(body));
    assert_int_equal(chat->f->settled[0].outcome, PROTO_COMMITTED);
}

static void
what_is_over_a_mebibyte_is_refused(void **state)
{
    struct message *m = fixture_message(chat->f, MESSAGE_PLAIN, "", "", 0);
    char *body = ms_calloc(1, BUS_MESSAGE_MAX);

    (void)state;
    m->size = BUS_MESSAGE_MAX + 1;
    m->body_dropped = true;
    broadcast->submit(chat->handler[0], m);
    assert_int_equal(chat->f->settled[0].outcome, PROTO_REFUSED);
    assert_string_equal(chat->f->settled[0].code, "refused");
    assert_string_equal(chat->f->settled[0].text, "the message is over 1 MiB");
    submit(body, BUS_MESSAGE_MAX);
    assert_int_equal(chat->f->settled[1].outcome, PROTO_COMMITTED);
    assert_int_equal(chat->hall->conn[4].bytes, BUS_MESSAGE_MAX);
    assert_int_equal(chat->f->committed_messages, 1);
    free(body);
}

static void
a_body_that_could_not_be_kept_is_sent_to_nobody(void **state)
{
    struct message *m = fixture_message(chat->f, MESSAGE_PLAIN, "", "x", 1);

    (void)state;
    m->error = EIO;
    broadcast->submit(chat->handler[0], m);
    assert_int_equal(chat->f->settled[0].outcome, PROTO_FAILED);
    assert_int_equal(chat->hall->conn[4].pushes, 0);
    assert_int_equal(chat->f->committed_calls, 0);
}

static void
while_others_are_behind_messages_wait_in_order(void **state)
{
    unsigned count;
    struct conn *c = &chat->hall->conn[4];

    (void)state;
    count = submit_until_full();
    submit("a", 1); /* there is room for these, but not before the other */
    submit("b", 1);
    assert_int_equal(chat->f->settled_count, count - 1);
    assert_int_not_equal(broadcast->flush(chat->handler[0], 0), 0);
    broadcast->heard(chat->handler[0]);
    assert_int_equal(chat->f->settled_count, count - 1);
    assert_string_equal(c->text, "");
    others_hear();
    assert_int_equal(broadcast->flush(chat->handler[0], 0), 0);
    assert_int_equal(chat->f->settled_count, count + 2);
    submit("c", 1);
    for (unsigned i = 0; i < count + 3; i++)
        assert_int_equal(chat->f->settled[i].number, i);
    for (unsigned i = 0; i < 100; i++)
        others_hear();
    assert_string_equal(c->text, "a,b,c,");
    assert_string_equal(chat->hall->conn[5].text, "a,b,c,");
    assert_int_equal(chat->hall->conn[5].pushes, count + 3);
}

static void
the_bell_is_a_reason_to_try_again(void **state)
{
    unsigned count = submit_until_full();

    (void)state;
    others_hear();
    broadcast->heard(chat->handler[0]);
    assert_int_equal(chat->f->settled_count, count);
}

static void
a_worker_that_leaves_sends_what_still_waits(void **state)
{
    unsigned count = submit_until_full();

    (void)state;
    submit("last", 4);
    broadcast->finish(chat->handler[0]); /* the others never hear: patience ends */
    assert_int_equal(chat->f->settled_count, count + 1);
    for (unsigned i = 0; i <= count; i++)
        assert_int_equal(chat->f->settled[i].outcome, PROTO_COMMITTED);
    assert_string_equal(chat->hall->conn[4].text, "last,");
}

static void
who_moves_takes_along_what_it_has_heard(void **state)
{
    struct conn *c = &chat->hall->conn[1];
    char mark[BUS_MARK_MAX];
    size_t n;

    (void)state;
    submit("one", 3);
    others_hear();
    n = broadcast->conn_moving(chat->handler[1], c, mark, sizeof(mark));
    c->desk = NULL;
    submit("two", 3);
    others_hear();
    c->desk = &chat->hall->desk[2];
    broadcast->conn_adopted(chat->handler[2], c, mark, n);
    submit("three", 5);
    others_hear();
    assert_string_equal(c->text, "one,two,three,");
}

static void
it_keeps_what_it_can_send(void **state)
{
    (void)state;
    assert_int_equal(broadcast->keep_max, BUS_MESSAGE_MAX + 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_goes_to_all_others_and_is_committed),
        TEST(the_message_of_a_sender_that_is_gone_goes_to_all),
        TEST(an_empty_message_is_one),
        TEST(a_message_in_a_file_is_read),
        TEST(what_is_over_a_mebibyte_is_refused),
        TEST(a_body_that_could_not_be_kept_is_sent_to_nobody),
        TEST(while_others_are_behind_messages_wait_in_order),
        TEST(the_bell_is_a_reason_to_try_again),
        TEST(a_worker_that_leaves_sends_what_still_waits),
        TEST(who_moves_takes_along_what_it_has_heard),
        TEST(it_keeps_what_it_can_send),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
