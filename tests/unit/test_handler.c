#include "handler_fixture.h"

static void
every_handler_that_is_named_is_found(void **state)
{
    char *names = ms_strdup(handler_names()), *rest = NULL;
    unsigned count = 0;

    (void)state;
    for (char *name = strtok_r(names, ", ", &rest); name != NULL;
         name = strtok_r(NULL, ", ", &rest)) {
        const struct handler_ops *ops = handler_find(name);

        assert_non_null(ops);
        assert_string_equal(ops->name, name);
        assert_non_null(ops->create);
        assert_non_null(ops->destroy);
        assert_non_null(ops->keep_max);
        assert_non_null(ops->submit);
        count++;
    }
    assert_int_equal(count, 3);
    free(names);
}

static void
other_names_are_not_found(void **state)
{
    (void)state;
    assert_null(handler_find(""));
    assert_null(handler_find("journa"));
    assert_null(handler_find("journal "));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_handler_that_is_named_is_found),
        cmocka_unit_test(other_names_are_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
