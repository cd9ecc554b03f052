#include "handler_fixture.h"

#include "config/config_options.h"
#include "proto/proto_table.h"

static void
every_row_has_its_handler(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_HANDLER_COUNT; i++) {
        const struct handler_ops *ops = handler_find(config_handlers[i].name);

        assert_non_null(ops);
        assert_string_equal(ops->name, config_handlers[i].name);
        assert_non_null(ops->create);
        assert_non_null(ops->destroy);
        assert_non_null(ops->submit);
        if (config_handlers[i].options[0] != NULL)
            assert_true(ops->per_listener); /* else the host has no listener to read them from */
    }
}

/* What belongs to one handler or protocol can be given in a listener's URL. */
static void
every_option_of_a_row_is_one_of_the_listeners(void **state)
{
    const struct proto_ops *proto;

    (void)state;
    for (size_t i = 0; i < CONFIG_HANDLER_COUNT; i++)
        for (size_t j = 0; config_handlers[i].options[j] != NULL; j++)
            assert_non_null(config_option_find(config_handlers[i].options[j], OPTION_IN_URL));
    for (size_t row = 0; (proto = proto_at(row)) != NULL; row++)
        for (size_t j = 0; proto->listener_options[j] != NULL; j++)
            assert_non_null(config_option_find(proto->listener_options[j], OPTION_IN_URL));
}

static void
every_protocol_has_the_name_of_its_row(void **state)
{
    size_t row = 0;

    (void)state;
    for (; proto_names[row] != NULL; row++)
        assert_string_equal(proto_at(row)->name, proto_names[row]);
    assert_null(proto_at(row));
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
        cmocka_unit_test(every_row_has_its_handler),
        cmocka_unit_test(every_option_of_a_row_is_one_of_the_listeners),
        cmocka_unit_test(every_protocol_has_the_name_of_its_row),
        cmocka_unit_test(other_names_are_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
