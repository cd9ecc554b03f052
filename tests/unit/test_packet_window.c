/* The window of packets: order, doubles, memory counted on both sides, marks. */
#include "guard.h"

#include "proto/queues.h"

#include <errno.h>

static void
keep(struct packet_window *pw, uint64_t index, const char *text)
{
    packet_window_begin(pw, index, (uint16_t)index, true);
    packet_window_append(pw, text, strlen(text));
    packet_window_keep(pw);
}

/* The message whose packets are to be sent. */
static void
begin_message(struct packet_window *pw, const char *text)
{
    blob_reader_init(&pw->sending, blob_create(pw->store, text, strlen(text)));
}

static void
packets_come_out_by_index_however_they_came(void **state)
{
    static const uint64_t orders[][4] = {{1, 2, 3, 4}, {4, 3, 2, 1}, {2, 4, 1, 3}, {3, 1, 4, 2}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(orders); i++) {
        struct message_store store = {0};
        struct packet_window *pw = packet_window_create(&store);
        uint64_t empty = store.ledger.used;

        for (size_t k = 0; k < 4; k++)
            keep(pw, orders[i][k], "four");
        assert_int_equal(packet_window_bytes(pw), 16);
        assert_in_range(store.ledger.used, empty + 16, empty + 4096);
        assert_null(packet_window_kept(pw, 0));
        assert_null(packet_window_kept(pw, 5));
        for (uint64_t index = 1; index <= 4; index++) {
            struct packet *p;

            assert_false(packet_window_idle(pw));
            assert_int_equal(packet_window_kept(pw, index)->index, index);
            p = packet_window_take(pw);
            assert_int_equal(p->index, index);
            packet_destroy(p);
        }
        assert_true(packet_window_idle(pw));
        assert_int_equal(store.ledger.used, empty);
        packet_window_destroy(pw);
        assert_int_equal(store.ledger.used, 0);
    }
}

static void
memory_is_given_back_whatever_was_under_way(void **state)
{
    struct message_store store = {0};
    struct packet_window *pw = packet_window_create(&store);
    struct packet *p;

    (void)state;
    keep(pw, 7, "kept");
    packet_window_begin(pw, 9, 9, false);
    packet_window_append(pw, "damaged", 7);
    assert_int_equal(packet_window_bytes(pw), 11);
    packet_window_drop(pw);
    packet_window_drop(pw);
    assert_int_equal(packet_window_bytes(pw), 4);
    packet_window_begin(pw, 9, 9, false);
    packet_window_append(pw, "cut", 3);
    begin_message(pw, "bytes");
    p = packet_window_send(pw, 1, true, 5);
    buffer_append(&p->bytes, "header", 6);
    assert_int_equal(packet_window_bytes(pw), 12);
    packet_window_destroy(pw);
    assert_int_equal(store.ledger.used, 0);
}

static void
what_is_in_flight_is_found_oldest_first_and_taken_off_anywhere(void **state)
{
    static const uint16_t sequences[] = {0, 5, 0, 9};
    struct message_store store = {0};
    struct packet_window *pw = packet_window_create(&store);
    struct packet *sent[4];

    (void)state;
    begin_message(pw, "ab");
    for (size_t i = 0; i < 4; i++)
        sent[i] = packet_window_send(pw, sequences[i], false, 2);
    assert_ptr_equal(packet_window_in_flight(pw, 0), sent[0]);
    packet_window_arrived(pw, sent[0]);
    assert_ptr_equal(packet_window_in_flight(pw, 0), sent[2]);
    packet_window_arrived(pw, sent[3]);
    assert_null(packet_window_in_flight(pw, 9));
    assert_ptr_equal(pw->flight.last, sent[2]);
    packet_window_arrived(pw, sent[2]);
    packet_window_arrived(pw, sent[1]);
    assert_true(packet_window_idle(pw));
    assert_int_equal(packet_window_bytes(pw), 0);
    packet_window_destroy(pw);
    assert_int_equal(store.ledger.used, 0);
}

static void
marks_are_found_and_taken_off(void **state)
{
    struct message_store store = {0};
    struct packet_window *pw = packet_window_create(&store);

    (void)state;
    for (uint16_t i = 1; i <= 100; i++)
        packet_window_mark(pw, i);
    for (uint16_t i = 2; i <= 100; i = (uint16_t)(i + 2))
        packet_window_unmark(pw, packet_window_marked(pw, i));
    for (uint16_t i = 1; i <= 100; i++)
        assert_int_equal(packet_window_marked(pw, i) != NULL, i % 2);
    assert_true(packet_window_idle(pw));
    packet_window_destroy(pw);
}

static void
the_mark_of_a_refused_message_ends_when_its_number_comes_round(void **state)
{
    struct message_store store = {0};
    struct packet_window *pw = packet_window_create(&store);

    (void)state;
    packet_window_mark(pw, 1);
    packet_window_marked(pw, 1)->refused = true;
    packet_window_mark(pw, 2);
    packet_window_mark(pw, 1);
    assert_false(packet_window_marked(pw, 1)->refused);
    packet_window_unmark(pw, packet_window_marked(pw, 1));
    assert_null(packet_window_marked(pw, 1));
    assert_non_null(packet_window_marked(pw, 2));
    packet_window_destroy(pw);
}

static void
marks_move_to_the_next_process(void **state)
{
    static const uint32_t counts[] = {0, 1, 2, 17, 300};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(counts); i++) {
        struct message_store store = {0};
        struct packet_window *pw = packet_window_create(&store), *next;
        struct buffer saved = {0};

        for (uint16_t k = 1; k <= counts[i]; k++) {
            packet_window_mark(pw, k);
            packet_window_marked(pw, k)->refused = k % 3 != 0;
        }
        buffer_append(&saved, "what came before", 16);
        packet_window_save(pw, &saved);
        packet_window_destroy(pw);
        next =
            packet_window_restore(&store, (const char *)buffer_bytes(&saved) + 16, saved.len - 16);
        assert_non_null(next);
        assert_true(packet_window_idle(next));
        assert_int_equal(next->marks_len, counts[i]);
        for (uint16_t k = 1; k <= counts[i]; k++) {
            assert_non_null(packet_window_marked(next, k));
            assert_int_equal(packet_window_marked(next, k)->refused, k % 3 != 0);
        }
        assert_null(packet_window_marked(next, (uint16_t)(counts[i] + 1)));
        packet_window_destroy(next);
        buffer_fini(&saved);
    }
}

static void
what_no_window_has_saved_is_no_window(void **state)
{
    struct message_store store = {0};
    struct packet_window *pw = packet_window_create(&store);
    struct buffer saved = {0};
    struct guard guard;

    (void)state;
    packet_window_save(NULL, &saved);
    assert_int_equal(saved.len, 0);
    packet_window_mark(pw, 7);
    packet_window_mark(pw, 9);
    packet_window_save(pw, &saved);
    packet_window_destroy(pw);
    guard = guard_create(saved.len + 16);
    for (size_t n = 1; n < saved.len; n++) {
        if (n == saved.len / 2)
            continue;
        errno = 0;
        assert_null(packet_window_restore(&store, guard_copy(&guard, buffer_bytes(&saved), n), n));
        assert_int_equal(errno, EINVAL);
    }
    guard_destroy(&guard);
    buffer_fini(&saved);
}

static void
none_is_idle_and_empty(void **state)
{
    (void)state;
    assert_true(packet_window_idle(NULL));
    assert_int_equal(packet_window_bytes(NULL), 0);
    packet_window_destroy(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_come_out_by_index_however_they_came),
        cmocka_unit_test(memory_is_given_back_whatever_was_under_way),
        cmocka_unit_test(what_is_in_flight_is_found_oldest_first_and_taken_off_anywhere),
        cmocka_unit_test(marks_are_found_and_taken_off),
        cmocka_unit_test(the_mark_of_a_refused_message_ends_when_its_number_comes_round),
        cmocka_unit_test(marks_move_to_the_next_process),
        cmocka_unit_test(what_no_window_has_saved_is_no_window),
        cmocka_unit_test(none_is_idle_and_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
