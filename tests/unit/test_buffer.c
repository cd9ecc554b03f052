/* The growable buffer. */
#include "common/text.h"

#include "guard.h"

static void
an_empty_buffer_owns_no_memory(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b);
    assert_null(b.data);
    assert_null(buffer_bytes(&b));
    buffer_append(&b, "", 0);
    buffer_append(&b, NULL, 0);
    buffer_append_str(&b, "");
    assert_null(b.data);
    buffer_fini(&b);
}

static void
bytes_come_out_in_the_order_they_went_in(void **state)
{
    struct buffer b;
    unsigned in = 0, out = 0;

    (void)state;
    buffer_init(&b);
    srand(7);
    for (int round = 0; round < 20000; round++) {
        unsigned add = (unsigned)rand() % 40, take = (unsigned)rand() % 41;

        for (; add > 0; add--, in++)
            buffer_append(&b, &(unsigned char){(unsigned char)(in * 7)}, 1);
        for (; take > 0 && b.len > 0; take--, out++) {
            assert_int_equal((unsigned char)*buffer_bytes(&b), (unsigned char)(out * 7));
            buffer_consume(&b, 1);
        }
        assert_int_equal(b.len, in - out);
        assert_true(b.head + b.len <= b.cap);
    }
    buffer_fini(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
}

static void
the_first_allocation_is_small_and_then_it_doubles(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b);
    buffer_append(&b, "x", 1);
    assert_int_equal(b.cap, 64);
    for (int i = 0; i < 64; i++)
        buffer_append(&b, "y", 1);
    assert_int_equal(b.cap, 128);
    assert_non_null(buffer_reserve(&b, 1000));
    assert_true(b.cap - b.len >= 1000);
    assert_int_equal(b.cap, 2048);
    buffer_fini(&b);
}

static void
consumed_room_is_used_again(void **state)
{
    struct buffer b;
    char block[64];

    (void)state;
    memset(block, 'a', sizeof(block));
    buffer_init(&b);
    buffer_append(&b, block, 64);
    buffer_consume(&b, 60);
    buffer_append(&b, "0123456789", 10);
    assert_int_equal(b.cap, 64);
    assert_int_equal(b.head, 0);
    assert_memory_equal(buffer_bytes(&b), "aaaa0123456789", 14);
    buffer_consume(&b, b.len);
    assert_int_equal(b.head, 0);
    buffer_fini(&b);
}

static void
taking_a_byte_at_a_time_does_not_grow_it_without_bound(void **state)
{
    struct buffer b;
    char block[10000];

    (void)state;
    memset(block, 'q', sizeof(block));
    buffer_init(&b);
    buffer_append(&b, block, sizeof(block));
    for (int i = 0; i < 200000; i++) {
        buffer_consume(&b, 1);
        buffer_append(&b, "q", 1);
    }
    assert_int_equal(b.len, sizeof(block));
    assert_true(b.cap <= 4 * sizeof(block));
    buffer_fini(&b);
}

static void
printf_appends_whatever_its_length(void **state)
{
    struct buffer b;

    (void)state;
    for (int width = 0; width < 300; width++) {
        buffer_init(&b);
        buffer_append_str(&b, "begin ");
        buffer_printf(&b, "%*d|%s", width, 7, "end");
        assert_int_equal(b.len, 6 + (width > 1 ? width : 1) + 4);
        assert_memory_equal(buffer_bytes(&b) + b.len - 5, "7|end", 5);
        buffer_fini(&b);
    }
}

static void
bytes_can_be_taken_back_from_the_end(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b);
    buffer_append_str(&b, "hello world");
    buffer_unappend(&b, 6);
    assert_string_equal(buffer_cstr(&b), "hello");
    buffer_consume(&b, 2);
    buffer_unappend(&b, 3);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.head, 0);
    buffer_fini(&b);
}

static void
clear_keeps_the_memory(void **state)
{
    struct buffer b;
    const char *data;

    (void)state;
    buffer_init(&b);
    buffer_append_str(&b, "hello");
    data = b.data;
    buffer_clear(&b);
    assert_int_equal(b.len, 0);
    assert_ptr_equal(b.data, data);
    buffer_fini(&b);
}

static void
the_string_ends_with_a_nul_that_does_not_count(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b);
    assert_string_equal(buffer_cstr(&b), "");
    for (int i = 0; i < 200; i++) {
        buffer_append(&b, "z", 1);
        assert_int_equal(strlen(buffer_cstr(&b)), (size_t)i + 1);
        assert_int_equal(b.len, i + 1);
    }
    buffer_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_owns_no_memory),
        cmocka_unit_test(bytes_come_out_in_the_order_they_went_in),
        cmocka_unit_test(the_first_allocation_is_small_and_then_it_doubles),
        cmocka_unit_test(consumed_room_is_used_again),
        cmocka_unit_test(taking_a_byte_at_a_time_does_not_grow_it_without_bound),
        cmocka_unit_test(printf_appends_whatever_its_length),
        cmocka_unit_test(bytes_can_be_taken_back_from_the_end),
        cmocka_unit_test(clear_keeps_the_memory),
        cmocka_unit_test(the_string_ends_with_a_nul_that_does_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
