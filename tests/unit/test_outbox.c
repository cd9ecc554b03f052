/* The outbox: replies in the order of their places, pushes as they come, and what all that
 * weighs. */
#include "proto/queues.h"

#include "guard.h"

#define PLACES 4

/* Takes all complete messages off; the text of each with a comma behind it, "!" for an end. */
static void
assert_leaves(struct outbox *ob, const char *expected)
{
    char text[256];
    size_t at = 0;

    for (struct outbox_item *item; (item = ob->first) != NULL; outbox_pop(ob)) {
        size_t n = item->blob != NULL ? (size_t)item->blob->len : 0;

        assert_true(at + n + 2 < sizeof(text));
        if (n > 0)
            memcpy(text + at, item->blob->mem, n);
        at += n;
        text[at++] = item->ends ? '!' : ',';
    }
    text[at] = '\0';
    assert_string_equal(text, expected);
}

static void
push(struct outbox *ob, const char *text)
{
    outbox_push(ob, blob_create(NULL, text, strlen(text)));
}

static void
fill(struct outbox *ob, struct outbox_item *place, const char *text)
{
    outbox_fill(ob, place, blob_create(NULL, text, strlen(text)));
}

static void
an_empty_one_owns_no_memory(void **state)
{
    static const struct outbox zero;
    struct outbox ob;

    (void)state;
    memset(&ob, 0xa5, sizeof(ob));
    outbox_init(&ob, NULL);
    assert_memory_equal(&ob, &zero, sizeof(ob));
    assert_true(outbox_idle(&ob));
    assert_null(ob.first);
    outbox_fini(&ob);
}

static void
pushes_leave_as_they_came(void **state)
{
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    push(&ob, "one");
    push(&ob, "");
    push(&ob, "three");
    assert_false(outbox_idle(&ob));
    assert_leaves(&ob, "one,,three,");
    assert_true(outbox_idle(&ob));
    push(&ob, "four");
    assert_leaves(&ob, "four,");
    outbox_fini(&ob);
}

static void
a_message_for_many_is_kept_once_until_the_last_has_it(void **state)
{
    struct message_store store = {0};
    struct blob *blob = blob_create(&store, "for all", 7);
    uint64_t once = store.ledger.used;
    struct outbox boxes[3];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(boxes); i++) {
        outbox_init(&boxes[i], NULL);
        outbox_push(&boxes[i], blob_ref(blob));
    }
    blob_unref(blob);
    assert_leaves(&boxes[0], "for all,");
    outbox_fini(&boxes[1]);
    assert_int_equal(store.ledger.used, once);
    assert_leaves(&boxes[2], "for all,");
    assert_int_equal(store.ledger.used, 0);
}

/* What has become of a place. */
enum fate {
    FILLED,
    CANCELLED,
    ENDED,
    FATES,
};

static void
decide(struct outbox *ob, struct outbox_item *place, unsigned nth, enum fate fate)
{
    switch (fate) {
    case FILLED:
        outbox_fill(ob, place, blob_create(NULL, &(char){(char)('0' + nth)}, 1));
        return;
    case CANCELLED:
        outbox_cancel(ob, place);
        return;
    case ENDED:
        outbox_end(ob, place);
        return;
    case FATES:
        return;
    }
}

/* What may leave while those places are decided. */
static void
expected_of(const bool decided[PLACES], const enum fate fates[PLACES], char expected[64])
{
    size_t at = 0;

    for (unsigned i = 0; i < PLACES && decided[i]; i++) {
        if (fates[i] == FILLED)
            expected[at++] = (char)('0' + i);
        if (fates[i] != CANCELLED)
            expected[at++] = fates[i] == ENDED ? '!' : ',';
    }
    expected[at] = '\0';
}

/* order: which place is decided first, second, and so on. After steps of them all that is in order
 * leaves, and after the rest the rest does. */
static void
run_order(const unsigned order[PLACES], const enum fate fates[PLACES], unsigned steps)
{
    struct outbox_item *places[PLACES];
    bool decided[PLACES] = {false};
    char before[64], all[64];
    struct outbox ob;

    outbox_init(&ob, NULL);
    for (unsigned i = 0; i < PLACES; i++)
        places[i] = outbox_reserve(&ob);
    for (unsigned i = 0; i < steps; i++) {
        decide(&ob, places[order[i]], order[i], fates[order[i]]);
        decided[order[i]] = true;
    }
    expected_of(decided, fates, before);
    assert_leaves(&ob, before);
    assert_int_equal(outbox_idle(&ob), steps == PLACES);
    for (unsigned i = steps; i < PLACES; i++) {
        decide(&ob, places[order[i]], order[i], fates[order[i]]);
        decided[order[i]] = true;
    }
    expected_of(decided, fates, all);
    assert_leaves(&ob, all + strlen(before));
    assert_true(outbox_idle(&ob));
    assert_int_equal(ob.bytes, 0);
    outbox_fini(&ob);
}

static bool
is_an_order(const unsigned order[PLACES])
{
    unsigned seen = 0;

    for (unsigned i = 0; i < PLACES; i++)
        seen |= 1u << order[i];
    return seen == (1u << PLACES) - 1;
}

static void
run_all_fates(const unsigned order[PLACES])
{
    for (unsigned mix = 0; mix < 3 * 3 * 3 * 3; mix++) {
        enum fate fates[PLACES];
        unsigned digits = mix;

        for (unsigned i = 0; i < PLACES; i++, digits /= FATES)
            fates[i] = (enum fate)(digits % FATES);
        for (unsigned steps = 0; steps <= PLACES; steps++)
            run_order(order, fates, steps);
    }
}

static void
replies_leave_in_the_order_of_their_places_in_whatever_order_they_come(void **state)
{
    (void)state;
    for (unsigned all = 0; all < 4 * 4 * 4 * 4; all++) {
        unsigned order[PLACES], digits = all;

        for (unsigned i = 0; i < PLACES; i++, digits /= PLACES)
            order[i] = digits % PLACES;
        if (is_an_order(order))
            run_all_fates(order);
    }
}

static void
places_can_be_taken_when_all_others_are_gone(void **state)
{
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    for (unsigned i = 0; i < 3; i++) {
        fill(&ob, outbox_reserve(&ob), "reply");
        outbox_cancel(&ob, outbox_reserve(&ob));
        assert_leaves(&ob, "reply,");
        assert_true(outbox_idle(&ob));
    }
    outbox_fini(&ob);
}

static void
a_push_waits_for_no_place(void **state)
{
    struct outbox_item *place;
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    place = outbox_reserve(&ob);
    assert_null(ob.first);
    assert_false(outbox_idle(&ob));
    push(&ob, "push");
    fill(&ob, place, "reply");
    push(&ob, "another");
    assert_leaves(&ob, "push,reply,another,");
    outbox_fini(&ob);
}

static void
the_first_stays_the_first_until_it_is_taken_off(void **state)
{
    struct outbox_item *place, *first;
    const uint8_t *data;
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    place = outbox_reserve(&ob);
    push(&ob, "first");
    first = ob.first;
    data = first->blob->mem;
    fill(&ob, place, "reply");
    push(&ob, "push");
    assert_ptr_equal(ob.first, first);
    assert_ptr_equal(first->blob->mem, data);
    assert_int_equal(first->blob->len, 5);
    assert_memory_equal(data, "first", 5);
    assert_leaves(&ob, "first,reply,push,");
    outbox_fini(&ob);
}

static void
what_waits_is_weighed_also_where_it_is_empty(void **state)
{
    struct outbox_item *first, *second;
    struct outbox ob;
    size_t empty;

    (void)state;
    outbox_init(&ob, NULL);
    push(&ob, "");
    empty = ob.bytes;
    assert_true(empty > 0);
    push(&ob, "abc");
    assert_int_equal(ob.bytes, 2 * empty + 3);
    first = outbox_reserve(&ob);
    second = outbox_reserve(&ob);
    assert_int_equal(ob.bytes, 2 * empty + 3);
    assert_int_equal(ob.held, 0);
    fill(&ob, second, "reply"); /* it waits for the first, and is there all the same */
    assert_int_equal(ob.bytes, 3 * empty + 8);
    assert_int_equal(ob.held, empty + 5);
    outbox_cancel(&ob, first);
    assert_int_equal(ob.bytes, 3 * empty + 8);
    assert_int_equal(ob.held, 0);
    outbox_pop(&ob);
    assert_int_equal(ob.bytes, 2 * empty + 8);
    assert_leaves(&ob, "abc,reply,");
    assert_int_equal(ob.bytes, 0);
    outbox_fini(&ob);
}

static void
all_of_it_can_be_dropped_at_any_time(void **state)
{
    struct outbox_results results = {.sent = 7};
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    ob.results = &results;
    push(&ob, "push");
    outbox_reserve(&ob);
    fill(&ob, outbox_reserve(&ob), "behind an open place");
    outbox_cancel(&ob, outbox_reserve(&ob));
    outbox_fini(&ob);
    assert_true(outbox_idle(&ob));
    assert_int_equal(ob.bytes, 0);
    assert_ptr_equal(ob.results, &results);
    assert_int_equal(results.sent, 7);
    push(&ob, "it can be used again");
    assert_leaves(&ob, "it can be used again,");
    outbox_fini(&ob);
}

/* --- from one process to the next --- */

static void
what_waits_moves_to_the_next_process(void **state)
{
    char large[70000];
    struct outbox ob, next;
    struct buffer saved = {0};
    struct outbox_item *item;

    (void)state;
    memset(large, 'l', sizeof(large));
    outbox_init(&ob, NULL);
    outbox_init(&next, NULL);
    push(&ob, "one");
    push(&ob, "");
    fill(&ob, outbox_reserve(&ob), "reply");
    outbox_push(&ob, blob_create(NULL, "a\0b", 3));
    outbox_push(&ob, blob_create(NULL, large, sizeof(large)));
    buffer_append(&saved, "before", 6);
    assert_int_equal(outbox_save(&ob, &saved), 0);
    assert_int_equal(
        outbox_restore(&next, NULL, (const char *)buffer_bytes(&saved) + 6, saved.len - 6), 0);
    assert_int_equal(next.bytes, ob.bytes);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const texts[] = {"one", "", "reply"};

        item = next.first;
        assert_int_equal(item->blob->len, strlen(texts[i]));
        assert_memory_equal(item->blob->mem, texts[i], item->blob->len);
        outbox_pop(&next);
    }
    item = next.first;
    assert_int_equal(item->blob->len, 3);
    assert_memory_equal(item->blob->mem, "a\0b", 3);
    outbox_pop(&next);
    item = next.first;
    assert_int_equal(item->blob->len, sizeof(large));
    assert_memory_equal(item->blob->mem, large, sizeof(large));
    outbox_pop(&next);
    assert_true(outbox_idle(&next));
    outbox_fini(&ob);
    outbox_fini(&next);
    buffer_fini(&saved);
}

static void
an_empty_one_moves_as_nothing(void **state)
{
    struct buffer saved = {0};
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    assert_int_equal(outbox_save(&ob, &saved), 0);
    assert_int_equal(saved.len, 0);
    assert_int_equal(outbox_restore(&ob, NULL, "", 0), 0);
    assert_true(outbox_idle(&ob));
    buffer_fini(&saved);
}

/* Cut anywhere but between two messages, or with a length that no message can have. */
static void
what_was_not_saved_so_is_said_to_be_wrong(void **state)
{
    static const uint64_t lengths[] = {4, 1 << 20, UINT64_MAX - 7, UINT64_MAX};
    struct buffer saved = {0};
    struct guard guard;
    struct outbox ob;

    (void)state;
    outbox_init(&ob, NULL);
    push(&ob, "one");
    push(&ob, "three");
    assert_int_equal(outbox_save(&ob, &saved), 0);
    outbox_fini(&ob);
    guard = guard_create(saved.len + 16);
    for (size_t n = 0; n <= saved.len; n++) {
        bool whole = n == 0 || n == 8 + 3 || n == saved.len;

        assert_int_equal(outbox_restore(&ob, NULL, guard_copy(&guard, buffer_bytes(&saved), n), n),
                         whole ? 0 : -1);
        outbox_fini(&ob);
    }
    for (size_t i = 0; i < MS_ARRAY_LEN(lengths); i++) {
        uint8_t bytes[8 + 3] = {0};

        memcpy(bytes, &lengths[i], 8);
        assert_int_equal(
            outbox_restore(&ob, NULL, guard_copy(&guard, bytes, sizeof(bytes)), sizeof(bytes)), -1);
        assert_true(outbox_idle(&ob));
    }
    guard_destroy(&guard);
    buffer_fini(&saved);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_owns_no_memory),
        cmocka_unit_test(pushes_leave_as_they_came),
        cmocka_unit_test(a_message_for_many_is_kept_once_until_the_last_has_it),
        cmocka_unit_test(replies_leave_in_the_order_of_their_places_in_whatever_order_they_come),
        cmocka_unit_test(places_can_be_taken_when_all_others_are_gone),
        cmocka_unit_test(a_push_waits_for_no_place),
        cmocka_unit_test(the_first_stays_the_first_until_it_is_taken_off),
        cmocka_unit_test(what_waits_is_weighed_also_where_it_is_empty),
        cmocka_unit_test(all_of_it_can_be_dropped_at_any_time),
        cmocka_unit_test(what_waits_moves_to_the_next_process),
        cmocka_unit_test(an_empty_one_moves_as_nothing),
        cmocka_unit_test(what_was_not_saved_so_is_said_to_be_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
