#include "handler_fixture.h"

static const struct handler_ops *echo;

static int
setup(void **state)
{
    struct fixture *f = fixture_create();
    char error[HANDLER_ERROR_LEN];

    echo = handler_find("echo");
    f->handler = echo->create(&f->host, error);
    *state = f;
    return f->handler != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    echo->destroy(f->handler);
    fixture_destroy(f);
    return 0;
}

static void
a_message_in_memory_comes_back(void **state)
{
    struct fixture *f = *state;

    echo->submit(f->handler, fixture_message(f, MESSAGE_PLAIN, "", "hello", 5));
    assert_int_equal(f->settled_count, 1);
    assert_int_equal(f->settled[0].outcome, PROTO_COMMITTED);
    assert_string_equal(f->settled[0].reply, "hello");
}

static void
an_empty_message_comes_back_empty(void **state)
{
    struct fixture *f = *state;

    echo->submit(f->handler, fixture_message(f, MESSAGE_PLAIN, "", "", 0));
    assert_string_equal(f->settled[0].reply, "");
}

static void
a_message_in_a_file_comes_back(void **state)
{
    struct fixture *f = *state;
    char body[20000];
    struct message *m;

    memset(body, 'x', sizeof(body));
    m = fixture_message(f, MESSAGE_PLAIN, "", body, sizeof(body));
    assert_true(m->fd >= 0);
    echo->submit(f->handler, m);
    assert_int_equal(strlen(f->settled[0].reply), sizeof(body));
}

static void
what_is_too_long_to_come_back_is_refused_unless_no_reply_is_wanted(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "", 0);

    m->size = PROTO_REPLY_MAX + 1;
    m->body_dropped = true;
    echo->submit(f->handler, m);
    assert_int_equal(f->settled[0].outcome, PROTO_REFUSED);
    assert_string_equal(f->settled[0].code, "refused");
    assert_string_equal(f->settled[0].text, "the reply would be over 16 MiB");

    m = fixture_message(f, MESSAGE_PLAIN, "", "", 0);
    m->size = PROTO_REPLY_MAX + 1;
    m->body_dropped = true;
    m->wants_reply = false;
    echo->submit(f->handler, m);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_null(f->settled[1].reply);
}

static void
a_body_that_could_not_be_kept_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "x", 1);

    m->error = EIO;
    echo->submit(f->handler, m);
    assert_int_equal(f->settled[0].outcome, PROTO_FAILED);
}

static void
it_keeps_what_it_can_send(void **state)
{
    (void)state;
    assert_int_equal(echo->keep_max, PROTO_REPLY_MAX + 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_in_memory_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_message_comes_back_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_in_a_file_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_is_too_long_to_come_back_is_refused_unless_no_reply_is_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_could_not_be_kept_is_not_acknowledged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_keeps_what_it_can_send, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
