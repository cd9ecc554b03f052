/* Which paths a sender may name. */
#include "proto/message.h"

#include "common/base.h"
#include "guard.h"

static const char *
check(struct guard *g, const char *path, size_t n)
{
    return path_check(guard_copy(g, path, n), n);
}

static void
relative_utf8_paths_are_taken(void **state)
{
    static const char *const good[] = {
        "a",
        "a/b",
        "a/b/c.txt",
        "...",
        ".a",
        "a.",
        "..a",
        "a..",
        ".hidden/x",
        "a b",
        "-rf",
        "\xc3\xa4/\xe2\x82\xac",
        "a\\b",
        "a\nb",
        ".msockd",
        ".msockd/-",
        "a.msockd-/x.msockd-",
        ".MSOCKD-",
    };
    struct guard g = guard_create(4096);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(good); i++)
        assert_null(check(&g, good[i], strlen(good[i])));
    guard_destroy(&g);
}

static void
paths_that_lead_elsewhere_or_nowhere_are_refused(void **state)
{
    static const struct {
        const char *path;
        size_t n;
    } bad[] = {
        {"", 0},
        {"/", 1},
        {"/a", 2},
        {"a/", 2},
        {"a//b", 4},
        {".", 1},
        {"..", 2},
        {"./a", 3},
        {"../a", 4},
        {"a/..", 4},
        {"a/.", 3},
        {"a/../b", 6},
        {"a/./b", 5},
        {"\0", 1},
        {"a\0b", 3},
        {"a\0", 2},
        {"\xff", 1},
        {"a/\xc3", 3},
        {"\xed\xa0\x80", 3},
        {"..//", 4},
        {"\xc0\xae\xc0\xae/a", 6},
        {".msockd-", 8},
        {".msockd-x", 9},
        {".msockd-x/a", 11},
        {"a/.msockd-/b", 12},
        {"a/b/.msockd-x", 13},
    };
    struct guard g = guard_create(4096);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++)
        if (check(&g, bad[i].path, bad[i].n) == NULL)
            fail_msg("taken: case %zu, %s", i, bad[i].path);
    guard_destroy(&g);
}

static void
a_component_has_at_most_255_bytes(void **state)
{
    struct guard g = guard_create(4096);
    char path[2038];

    (void)state;
    memset(path, 'n', sizeof(path));
    assert_null(check(&g, path, 255));
    assert_non_null(check(&g, path, 256));
    path[255] = '/';
    assert_null(check(&g, path, 256 + 255));
    assert_non_null(check(&g, path, 256 + 256));
    for (size_t i = 255; i < sizeof(path); i += 256)
        path[i] = '/';
    assert_null(check(&g, path, sizeof(path)));
    guard_destroy(&g);
}

static void
a_path_has_at_most_32_components(void **state)
{
    struct guard g = guard_create(4096);
    char path[66];

    (void)state;
    for (size_t i = 0; i < sizeof(path); i++)
        path[i] = i % 2 == 0 ? 'a' : '/';
    assert_null(check(&g, path, 2 * 32 - 1));
    assert_string_equal(check(&g, path, 2 * 33 - 1), "the path has more than 32 components");
    guard_destroy(&g);
}

static void
the_reason_says_what_is_wrong(void **state)
{
    (void)state;
    assert_string_equal(path_check("", 0), "the path is empty");
    assert_string_equal(path_check("/etc/passwd", 11), "the path is absolute");
    assert_string_equal(path_check("a/../b", 6), "the path has a component \"..\"");
    assert_string_equal(path_check("a//b", 4), "the path has an empty component");
    assert_string_equal(path_check("a/.msockd-x", 11),
                        "names that begin with .msockd- are the server's own");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relative_utf8_paths_are_taken),
        cmocka_unit_test(paths_that_lead_elsewhere_or_nowhere_are_refused),
        cmocka_unit_test(a_component_has_at_most_255_bytes),
        cmocka_unit_test(a_path_has_at_most_32_components),
        cmocka_unit_test(the_reason_says_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
