/* The queue of answers: whatever is settled when, it leaves in the order of the places. */
#include "proto/queues.h"

#include "guard.h"

#define PLACES 5

static void
assert_ready(struct answers *a, const char *text)
{
    assert_int_equal(a->ready.bytes.len, strlen(text));
    assert_string_equal(buffer_cstr(&a->ready.bytes), text);
}

static void
what_is_known_at_once_is_ready_at_once(void **state)
{
    struct answers a;

    (void)state;
    answers_init(&a, NULL);
    assert_true(answers_idle(&a));
    answers_append(&a, "one", 3, false);
    answers_append(&a, "two", 3, false);
    assert_ready(&a, "onetwo");
    assert_false(answers_idle(&a));
    assert_false(a.ended);
    buffer_consume(&a.ready.bytes, 6);
    assert_true(answers_idle(&a));
    answers_fini(&a);
}

static void
what_comes_behind_an_open_place_waits(void **state)
{
    struct answers a;
    struct answer *place;

    (void)state;
    answers_init(&a, NULL);
    answers_append(&a, "1", 1, false);
    place = answers_reserve(&a, 0);
    answers_append(&a, "3", 1, false);
    assert_ready(&a, "1");
    assert_int_equal(a.waiting, 1);
    buffer_consume(&a.ready.bytes, 1);
    assert_false(answers_idle(&a));
    answers_settle(&a, place, "2", 1, false);
    assert_ready(&a, "23");
    assert_int_equal(a.waiting, 0);
    assert_null(a.first);
    assert_null(a.last);
    answers_fini(&a);
}

/* Five places p0 .. p4, each with a prefix and with text behind it, settled in the order given.
 * After each settling, what is ready must be all up to the first place that is still open. */
static void
settle_in_order(const unsigned order[PLACES])
{
    struct answers a;
    struct answer *places[PLACES];
    bool settled[PLACES] = {false};
    char expected[128];

    answers_init(&a, NULL);
    answers_append(&a, "begin", 5, false);
    for (unsigned i = 0; i < PLACES; i++) {
        answers_append(&a, (char[]){'[', (char)('0' + i)}, 2, false);
        places[i] = answers_reserve(&a, 2);
        if (i % 2 == 0)
            answers_append(&a, "+", 1, false);
    }
    for (unsigned step = 0; step < PLACES; step++) {
        unsigned open = 0;
        int n = snprintf(expected, sizeof(expected), "begin");

        answers_settle(&a, places[order[step]], (char[]){(char)('a' + order[step]), ']'}, 2, false);
        settled[order[step]] = true;
        for (; open < PLACES && settled[open]; open++)
            n += snprintf(expected + n, sizeof(expected) - (size_t)n, "[%u%c]%s", open, 'a' + open,
                          open % 2 == 0 ? "+" : "");
        assert_ready(&a, expected);
        assert_int_equal(a.waiting, PLACES - 1 - step);
    }
    assert_string_equal(expected, "begin[0a]+[1b][2c]+[3d][4e]+");
    answers_fini(&a);
}

static void
permute(unsigned order[PLACES], unsigned from, void (*use)(const unsigned order[PLACES]))
{
    if (from == PLACES) {
        use(order);
        return;
    }
    for (unsigned i = from; i < PLACES; i++) {
        unsigned kept = order[from];

        order[from] = order[i];
        order[i] = kept;
        permute(order, from + 1, use);
        order[i] = order[from];
        order[from] = kept;
    }
}

static void
places_settled_in_any_order_leave_in_order(void **state)
{
    unsigned order[PLACES] = {0, 1, 2, 3, 4};

    (void)state;
    permute(order, 0, settle_in_order);
}

/* The same with place 2 as the last answer of the connection. */
static void
settle_third_as_last(const unsigned order[PLACES])
{
    struct answers a;
    struct answer *places[PLACES];
    bool settled[PLACES] = {false};

    answers_init(&a, NULL);
    for (unsigned i = 0; i < PLACES; i++) {
        places[i] = answers_reserve(&a, 0);
        answers_append(&a, ",", 1, false);
    }
    for (unsigned step = 0; step < PLACES; step++) {
        unsigned i = order[step];

        answers_settle(&a, places[i], (char[]){(char)('a' + i)}, 1, i == 2);
        settled[i] = true;
        assert_int_equal(a.ended, settled[0] && settled[1] && settled[2]);
        if (a.ended)
            assert_ready(&a, "a,b,c");
        answers_append(&a, a.closing ? "lost" : "", a.closing ? 4 : 0, false);
    }
    assert_ready(&a, "a,b,c");
    assert_null(a.first);
    assert_int_equal(a.waiting, 0);
    answers_fini(&a);
}

static void
the_last_answer_ends_the_queue_whenever_it_is_settled(void **state)
{
    unsigned order[PLACES] = {0, 1, 2, 3, 4};

    (void)state;
    permute(order, 0, settle_third_as_last);
}

static void
a_last_answer_known_at_once_ends_it_behind_open_places(void **state)
{
    struct answers a;
    struct answer *place, *late;

    (void)state;
    answers_init(&a, NULL);
    place = answers_reserve(&a, 0);
    answers_append(&a, "ERR", 3, true);
    assert_false(a.ended);
    answers_append(&a, "dropped", 7, false);
    late = answers_reserve(&a, 3);
    assert_int_equal(a.waiting, 1);
    answers_settle(&a, place, "ACK ", 4, false);
    assert_true(a.ended);
    assert_ready(&a, "ACK ERR");
    buffer_consume(&a.ready.bytes, 7);
    assert_true(answers_idle(&a));
    answers_settle(&a, late, "dropped", 7, false);
    assert_true(answers_idle(&a));
    answers_fini(&a);

    answers_append(&a, "ERR", 3, true);
    assert_true(a.ended);
    assert_ready(&a, "ERR");
    answers_fini(&a);
}

static void
a_prefix_leaves_together_with_the_answer(void **state)
{
    struct answers a;
    struct answer *place;

    (void)state;
    answers_init(&a, NULL);
    answers_append(&a, "xACK\r\n", 6, false);
    place = answers_reserve(&a, 5);
    assert_ready(&a, "x");
    answers_settle(&a, place, "ACK\r\n", 5, false);
    assert_ready(&a, "xACK\r\nACK\r\n");
    answers_fini(&a);
}

static void
a_prefix_that_was_partly_sent_stays_where_it_is(void **state)
{
    struct answers a;
    struct answer *place;

    (void)state;
    answers_init(&a, NULL);
    answers_append(&a, "ACK\r\n", 5, false);
    buffer_consume(&a.ready.bytes, 2);
    place = answers_reserve(&a, 5);
    assert_ready(&a, "K\r\n");
    answers_settle(&a, place, "!", 1, false);
    assert_ready(&a, "K\r\n!");
    answers_fini(&a);
}

static void
open_places_are_freed_with_the_queue(void **state)
{
    struct answers a;

    (void)state;
    answers_init(&a, NULL);
    answers_append(&a, "12345", 5, false);
    assert_non_null(answers_reserve(&a, 5));
    answers_append(&a, "more", 4, false);
    assert_non_null(answers_reserve(&a, 0));
    answers_append(&a, "end", 3, true);
    assert_non_null(answers_reserve(&a, 0));
    answers_fini(&a);
    assert_true(answers_idle(&a));
    assert_false(a.closing);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_known_at_once_is_ready_at_once),
        cmocka_unit_test(what_comes_behind_an_open_place_waits),
        cmocka_unit_test(places_settled_in_any_order_leave_in_order),
        cmocka_unit_test(the_last_answer_ends_the_queue_whenever_it_is_settled),
        cmocka_unit_test(a_last_answer_known_at_once_ends_it_behind_open_places),
        cmocka_unit_test(a_prefix_leaves_together_with_the_answer),
        cmocka_unit_test(a_prefix_that_was_partly_sent_stays_where_it_is),
        cmocka_unit_test(open_places_are_freed_with_the_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
