/* A new handler is one row in CONFIG_HANDLERS: here the configuration is compiled with a row more,
 * whose options are those of other handlers. */
#include "config/config_options.h"

#undef CONFIG_HANDLERS
#define CONFIG_HANDLERS(X)    \
    X(journal, NULL)          \
    X(module, "path", "args") \
    X(toy, "args", "path", "exec_timeout")

#include "config/config_options.c"
#include "config/listener_url.c"

#include <setjmp.h>

#include <cmocka.h>

static int
read_url(const char *url, struct listener_config *l, char error[CONFIG_ERROR_LEN])
{
    struct settings settings;
    int rc;

    settings_init(&settings, "/dir");
    rc = listener_config_read(url, "-l", &settings, l, error);
    settings_fini(&settings);
    return rc;
}

static void
a_new_handler_finds_the_values_of_its_options(void **state)
{
    struct listener_config l;
    char error[CONFIG_ERROR_LEN];

    (void)state;
    if (read_url("msp://127.0.0.1:1?handler=toy&args=a&path=x&exec_timeout=2s", &l, error) < 0)
        fail_msg("%s", error);
    assert_string_equal(l.handler, "toy");
    assert_string_equal(l.text[OPTION_ARGS], "a");
    assert_string_equal(l.text[OPTION_PATH], "/dir/x");
    assert_int_equal(l.number[OPTION_EXEC_TIMEOUT], 2000000);
    assert_null(l.text[OPTION_COMMAND]);
    listener_config_fini(&l);
}

static void
what_it_needs_and_what_is_not_its_own_is_said(void **state)
{
    struct listener_config l;
    char error[CONFIG_ERROR_LEN];

    (void)state;
    assert_int_equal(read_url("msp://127.0.0.1:1?handler=toy&path=x", &l, error), -1);
    assert_non_null(strstr(error, "handler=toy needs args=..."));
    assert_int_equal(read_url("msp://127.0.0.1:1?handler=module&path=x&exec_timeout=1s", &l, error),
                     -1);
    assert_non_null(strstr(error, "exec_timeout is for handler=toy only"));
    assert_int_equal(read_url("msp://127.0.0.1:1?path=x", &l, error), -1);
    assert_non_null(strstr(error, "path is for handler=module or handler=toy only"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_handler_finds_the_values_of_its_options),
        cmocka_unit_test(what_it_needs_and_what_is_not_its_own_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
