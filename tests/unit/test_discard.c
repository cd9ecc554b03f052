#include "handler_fixture.h"

static void
a_message_is_settled_at_once_without_a_reply(void **state)
{
    const struct handler_ops *discard = handler_find("discard");
    struct fixture *f = fixture_create();
    char error[HANDLER_ERROR_LEN];
    void *h = discard->create(&f->host, error);

    (void)state;
    assert_non_null(h);
    discard->submit(h, fixture_message(f, MESSAGE_PLAIN, "", "hello", 5));
    assert_int_equal(f->settled_count, 1);
    assert_int_equal(f->settled[0].outcome, PROTO_COMMITTED);
    assert_null(f->settled[0].reply);
    discard->destroy(h);
    fixture_destroy(f);
}

static void
no_body_is_kept(void **state)
{
    (void)state;
    assert_int_equal(handler_find("discard")->keep_max, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_settled_at_once_without_a_reply),
        cmocka_unit_test(no_body_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
