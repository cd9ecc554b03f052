/* The default runtime directory by environment and user. */
#include "common/fd.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void
set_or_unset(const char *name, const char *value)
{
    if (value != NULL)
        assert_int_equal(setenv(name, value, 1), 0);
    else
        assert_int_equal(unsetenv(name), 0);
}

static void
the_environment_is_asked_in_order(void **state)
{
    static const struct {
        const char *runtime, *xdg, *want; /* want NULL: what the user alone decides */
    } cases[] = {
        {"/run/a", "/run/user/1", "/run/a"},
        {"/run/a:/run/b", NULL, "/run/a"},
        {NULL, "/run/user/1", "/run/user/1/msockd"},
        {"", "/run/user/1", "/run/user/1/msockd"},
        {"relative", "/run/user/1", "/run/user/1/msockd"},
        {NULL, "relative", NULL},
        {NULL, "", NULL},
        {NULL, NULL, NULL},
    };
    char user[64];

    (void)state;
    snprintf(user, sizeof(user), "/tmp/msockd-%lu", (unsigned long)geteuid());
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char *dir;

        set_or_unset("RUNTIME_DIRECTORY", cases[i].runtime);
        set_or_unset("XDG_RUNTIME_DIR", cases[i].xdg);
        dir = runtime_dir_default();
        if (cases[i].want != NULL)
            assert_string_equal(dir, cases[i].want);
        else
            assert_string_equal(dir, geteuid() == 0 ? "/run/msockd" : user);
        free(dir);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_environment_is_asked_in_order)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
