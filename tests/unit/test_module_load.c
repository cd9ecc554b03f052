#include "module_fixture.h"

#include <sys/stat.h>

static int
setup(void **state)
{
    *state = module_test_create();
    return 0;
}

static int
teardown(void **state)
{
    module_test_destroy(*state);
    return 0;
}

static void
what_does_not_fit_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *module, *args, *sentence;
    } cases[] = {
        {"other_abi", "",
         "made for ABI 3, this msockd has 2; build it again with its msock_module.h"},
        {"other_size", "", "; build it again with its msock_module.h"},
        {"no_symbol", "", "it does not define msock_module, so it is no module"},
        {"no_name", "", "its msock_module has no name"},
        {"no_start", "", "its msock_module has no start callback"},
        {"no_message", "", "its msock_module has no message callback"},
        {"unresolved", "", "undefined symbol: nobody_has_this"},
        {"start_fails", "there is no database", ".so: there is no database"},
        {"start_fails", "", "its start failed and said nothing"},
        {"start_fails", "long", ".so: xxxxxxxx"},
        {"nothing_of_that_name", "", "No such file or directory"},
    };
    struct module_test *t = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char name[64], error[HANDLER_ERROR_LEN] = "";

        snprintf(name, sizeof(name), "tests/modules/%s", cases[i].module);
        module_test_set_args(t, cases[i].args);
        assert_false(module_test_start(t, name, error));
        if (strstr(error, cases[i].sentence) == NULL)
            fail_msg("%s: %s", cases[i].module, error);
        assert_non_null(strstr(error, cases[i].module));
        assert_true(strlen(error) < sizeof(error));
    }
}

static void
a_path_that_is_too_long_leaves_room_for_the_reason(void **state)
{
    struct module_test *t = *state;
    char error[HANDLER_ERROR_LEN];

    memset(t->path, '/', 400);
    memcpy(t->path + 400, "missing.so", sizeof("missing.so"));
    t->f->handler = module_handler.create(&t->f->host, error);
    assert_null(t->f->handler);
    assert_non_null(strstr(error, "missing.so: No such file or directory"));
    assert_memory_equal(error, ".../", 4);
}

static void
what_is_no_object_or_no_file_is_refused(void **state)
{
    struct module_test *t = *state;
    char error[HANDLER_ERROR_LEN];

    fixture_write(t->f, "text.so", "hello", 5);
    snprintf(t->path, sizeof(t->path), "%s", fixture_path(t->f, "text.so"));
    assert_null(module_handler.create(&t->f->host, error));
    assert_non_null(strstr(error, "text.so: "));

    snprintf(t->path, sizeof(t->path), "%s", fixture_path(t->f, "fifo"));
    assert_int_equal(mkfifo(t->path, 0600), 0);
    assert_null(module_handler.create(&t->f->host, error));
    assert_non_null(strstr(error, "fifo: not a regular file"));

    snprintf(t->path, sizeof(t->path), "%s", t->f->dir);
    assert_null(module_handler.create(&t->f->host, error));
    assert_non_null(strstr(error, "not a regular file"));
}

static void
copy_module(struct module_test *t, const char *name, const char *to)
{
    char *data;
    size_t n;

    module_path(t, name);
    assert_int_equal(fd_read_file(t->path, 1 << 26, &data, &n), 0);
    fixture_write(t->f, to, data, n);
    free(data);
    snprintf(t->path, sizeof(t->path), "%s", fixture_path(t->f, to));
}

static void
what_everybody_may_write_to_is_refused(void **state)
{
    struct module_test *t = *state;
    char error[HANDLER_ERROR_LEN];

    copy_module(t, "tests/modules/least", "open.so");
    assert_int_equal(chmod(t->path, 0646), 0);
    assert_null(module_handler.create(&t->f->host, error));
    assert_non_null(strstr(error, "open.so: everybody may write to it (mode 0646); chmod o-w"));
    assert_int_equal(chmod(t->path, 0644), 0);
    t->f->handler = module_handler.create(&t->f->host, error);
    assert_non_null(t->f->handler);
    module_handler.destroy(t->f->handler);
}

static void
a_module_need_not_have_more_than_it_must(void **state)
{
    struct module_test *t = *state;
    char error[HANDLER_ERROR_LEN];
    struct conn *c;

    assert_true(module_test_start(t, "tests/modules/least", error));
    assert_false(module_handler.moves(t->f->handler));
    c = module_test_open(t, 0);
    module_handler.tick(t->f->handler, 1000000);
    assert_int_equal(module_test_send(t, c, "x")->outcome, PROTO_COMMITTED);
    assert_null(t->f->settled[0].reply);
    module_test_close(t, c, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_with_a_sentence, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_path_that_is_too_long_leaves_room_for_the_reason, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_object_or_no_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_everybody_may_write_to_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_module_need_not_have_more_than_it_must, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
