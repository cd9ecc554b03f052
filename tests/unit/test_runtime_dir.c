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
    char own[] = "/tmp/test_runtime_dir.XXXXXX", below[64], user[64];
    const char *strange = geteuid() == 0 ? "/proc/self/fd/0/none" : "/";
    const struct {
        const char *runtime, *xdg, *want; /* want NULL: what the user alone decides */
    } cases[] = {
        {"/run/a", own, "/run/a"}, {"/run/a:/run/b", NULL, "/run/a"},
        {NULL, own, below},        {"", own, below},
        {"relative", own, below},  {NULL, strange, NULL},
        {NULL, "relative", NULL},  {NULL, "", NULL},
        {NULL, NULL, NULL},
    };

    (void)state;
    assert_non_null(mkdtemp(own));
    snprintf(below, sizeof(below), "%s/msockd", own);
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
    assert_int_equal(rmdir(own), 0);
}

/* As after `sudo -E`: root must leave nothing in the directory of another user. */
static void
the_directory_of_another_user_is_not_taken(void **state)
{
    char other[] = "/tmp/test_runtime_dir.XXXXXX";
    char *dir;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(other));
    assert_int_equal(chown(other, 1, 1), 0);
    set_or_unset("RUNTIME_DIRECTORY", NULL);
    set_or_unset("XDG_RUNTIME_DIR", other);
    dir = runtime_dir_default();
    assert_string_equal(dir, "/run/msockd");
    free(dir);
    assert_int_equal(rmdir(other), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_asked_in_order),
        cmocka_unit_test(the_directory_of_another_user_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
