#include "handler_fixture.h"

#include "config/config_options.h"
#include "proto/proto_table.h"

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
        assert_non_null(ops->submit);
        count++;
    }
    assert_int_equal(count, 6);
    free(names);
}

static void
what_the_configuration_takes_is_what_there_is(void **state)
{
    unsigned handlers = 0;

    (void)state;
    for (size_t i = 0; config_handlers[i] != NULL; i++, handlers++)
        assert_non_null(handler_find(config_handlers[i]));
    assert_int_equal(handlers, 6);
    for (size_t i = 0; config_protocols[i] != NULL; i++)
        assert_non_null(proto_find(config_protocols[i]));
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
        cmocka_unit_test(what_the_configuration_takes_is_what_there_is),
        cmocka_unit_test(other_names_are_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
