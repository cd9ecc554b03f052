#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "handler/module/module.h"

#define NODES 1000

static void
an_empty_table_has_nothing(void **state)
{
    struct module_table t = {0};

    (void)state;
    assert_null(module_table_find(&t, 0));
    assert_null(module_table_find(&t, 1));
    module_table_fini(&t);
}

/* Keys that count, addresses that are far apart, and keys that share their low bits. */
static void
what_was_added_is_found_until_it_is_removed(void **state)
{
    static const uintptr_t strides[] = {1, 64, 4096, (uintptr_t)1 << 32};

    (void)state;
    for (size_t s = 0; s < MS_ARRAY_LEN(strides); s++) {
        static struct module_node nodes[NODES];
        struct module_table t = {0};

        for (size_t i = 0; i < NODES; i++) {
            nodes[i].key = (i + 1) * strides[s];
            assert_null(module_table_find(&t, nodes[i].key));
            module_table_add(&t, &nodes[i]);
        }
        assert_int_equal(t.count, NODES);
        for (size_t i = 0; i < NODES; i += 3)
            module_table_remove(&t, &nodes[i]);
        for (size_t i = 0; i < NODES; i++)
            assert_ptr_equal(module_table_find(&t, nodes[i].key), i % 3 == 0 ? NULL : &nodes[i]);
        module_table_fini(&t);
        assert_null(module_table_find(&t, nodes[1].key));
    }
}

static void
a_key_can_come_back(void **state)
{
    struct module_table t = {0};
    struct module_node node = {.key = 7}, again = {.key = 7};

    (void)state;
    module_table_add(&t, &node);
    module_table_remove(&t, &node);
    module_table_add(&t, &again);
    assert_ptr_equal(module_table_find(&t, 7), &again);
    module_table_fini(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_has_nothing),
        cmocka_unit_test(what_was_added_is_found_until_it_is_removed),
        cmocka_unit_test(a_key_can_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
