/* include: which files are read after the one of -c, in which order, and which are refused. */
#include "guard.h"

#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAIN "timeout = 3s\nlisten = 'msp://127.0.0.1:1'\ninclude = 'conf.d/*.conf'\n"

static char directory[256];
static const char *const names[] = {"main.conf", "conf.d/10.conf", "conf.d/9.conf", "conf.d/x.old"};

static void
path_of(const char *name, char path[300])
{
    snprintf(path, 300, "%s/%s", directory, name);
}

static int
set_up(void **state)
{
    char path[300];

    (void)state;
    guard_directory(directory, sizeof(directory));
    path_of("conf.d", path);
    return mkdir(path, 0755);
}

static int
tear_down(void **state)
{
    char path[300];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        path_of(names[i], path);
        unlink(path);
    }
    path_of("conf.d", path);
    rmdir(path);
    return rmdir(directory);
}

static void
write_file(const char *name, const char *text)
{
    char path[300];
    FILE *f;

    path_of(name, path);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int
build(struct config **config_out, char error[CONFIG_ERROR_LEN])
{
    const struct config_args args = {.config_file = names[0]};

    return config_build(&args, directory, config_out, error);
}

static void
assert_refused(const char *place, const char *reason)
{
    char error[CONFIG_ERROR_LEN] = "", wanted[CONFIG_ERROR_LEN];
    struct config *config;

    snprintf(wanted, sizeof(wanted), "%s%s", place, reason);
    assert_int_equal(build(&config, error), -1);
    assert_string_equal(error, wanted);
}

static void
a_later_file_wins_and_listeners_add_up(void **state)
{
    char error[CONFIG_ERROR_LEN];
    struct config *config;

    (void)state;
    write_file("main.conf", MAIN);
    write_file("conf.d/10.conf", "timeout = 4s\nlisten = 'msp://127.0.0.1:2'\nworkers = 2");
    write_file("conf.d/9.conf", "timeout = 5s\nlisten = 'msp://127.0.0.1:3'\n");
    write_file("conf.d/x.old", "this is not read");
    assert_int_equal(build(&config, error), 0);
    assert_int_equal(config->workers, 2);
    assert_int_equal(config->listener_count, 3);
    assert_string_equal(config->listeners[1].name, "msp://127.0.0.1:2");
    assert_string_equal(config->listeners[2].name, "msp://127.0.0.1:3");
    assert_int_equal(config->listeners[0].limits.timeout_us, 5000000);
    config_destroy(config);
}

static void
a_folder_that_is_not_there_includes_nothing(void **state)
{
    char error[CONFIG_ERROR_LEN];
    struct config *config;

    (void)state;
    write_file("main.conf", "include = '/nowhere/conf.d/*.conf'");
    assert_int_equal(build(&config, error), 0);
    assert_int_equal(config->listener_count, 1);
    config_destroy(config);
}

static void
a_wrong_line_is_told_with_its_file(void **state)
{
    char place[300];

    (void)state;
    write_file("main.conf", MAIN);
    path_of("conf.d/9.conf", place);
    write_file("conf.d/9.conf", "\ntiemout = 1s");
    assert_refused(place, ":2: unknown option \"tiemout\"; did you mean \"timeout\"?");
    write_file("conf.d/9.conf", "include = x");
    assert_refused(place, ":1: include = \"x\": this file is included itself");
}

static void
a_folder_that_cannot_be_read_is_refused(void **state)
{
    bool root = geteuid() == 0;
    char path[300];

    (void)state;
    write_file("main.conf", MAIN);
    path_of("conf.d", path);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(directory, 0755), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    assert_refused("main.conf:3: include = \"conf.d/*.conf\"", ": the folder cannot be read");
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static void
the_command_line_includes_nothing(void **state)
{
    const struct config_args args = {.set_count = 1, .set = {"include=x"}};
    char error[CONFIG_ERROR_LEN];
    struct config *config;

    (void)state;
    assert_int_equal(config_build(&args, directory, &config, error), -1);
    assert_string_equal(error, "-o include=x: only the file of -c includes others");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_later_file_wins_and_listeners_add_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_includes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_line_is_told_with_its_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_read_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_command_line_includes_nothing, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
