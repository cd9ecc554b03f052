#include "guard.h"

#include "handler/exec/exec.h"
#include "proto/msp/msp_wire.h"

#define ANSWER_SIZE 16

struct answer_case {
    const char *bytes;
    size_t n;
    enum exec_answer_is is;
    size_t consumed;
    const char *body;
    bool refused;
};

static const struct answer_case cases[] = {
    {"\0\0\0\2ok", 6, EXEC_ANSWER_WHOLE, 6, "ok", false},
    {"\0\0\0\2okmore", 10, EXEC_ANSWER_WHOLE, 6, "ok", false},
    {"\0\0\0\0", 4, EXEC_ANSWER_WHOLE, 4, "", false},
    {"\0\0\0\0\0", 5, EXEC_ANSWER_WHOLE, 4, "", false},
    {"\x80\0\0\2no", 6, EXEC_ANSWER_WHOLE, 6, "no", true},
    {"\x80\0\0\0", 4, EXEC_ANSWER_WHOLE, 4, "", true},
    {"\0\0\0\3ok", 6, EXEC_ANSWER_MORE, 6, "ok", false},
    {"\0\0\0", 3, EXEC_ANSWER_MORE, 3, "", false},
    {"\1\0\0\0x", 5, EXEC_ANSWER_MORE, 5, "x", false},
    {"\1\0\0\1", 4, EXEC_ANSWER_BAD, 4, "", false},
    {"\x80\1\0\0x", 5, EXEC_ANSWER_MORE, 5, "x", true},
    {"\x80\1\0\1", 4, EXEC_ANSWER_BAD, 4, "", true},
    {"\x7f\xff\xff\xff", 4, EXEC_ANSWER_BAD, 4, "", false},
    {"\xff\xff\xff\xff", 4, EXEC_ANSWER_BAD, 4, "", true},
};

/* Feeds the bytes in pieces that end at the places given; returns how many were consumed. */
static size_t
feed(struct exec_answer *answer, struct guard *g, const struct answer_case *c, size_t piece,
     size_t first, enum exec_answer_is *is_out)
{
    size_t at = 0, n = first;

    *is_out = EXEC_ANSWER_MORE;
    while (at < c->n && *is_out == EXEC_ANSWER_MORE) {
        size_t consumed = 99;

        if (n > c->n - at)
            n = c->n - at;
        *is_out = exec_answer_feed(answer, guard_copy(g, c->bytes + at, n), n, &consumed);
        assert_true(consumed <= n);
        if (*is_out == EXEC_ANSWER_MORE)
            assert_int_equal(consumed, n);
        at += consumed;
        n = piece;
    }
    return at;
}

static void
check(struct guard *g, const struct answer_case *c, size_t piece, size_t first, bool wanted)
{
    struct exec_answer answer = {0};
    enum exec_answer_is is;

    exec_answer_init(&answer, true, wanted);
    assert_int_equal(feed(&answer, g, c, piece, first, &is), c->consumed);
    assert_int_equal(is, c->is);
    if (is != EXEC_ANSWER_BAD)
        assert_int_equal(answer.len, strlen(c->body));
    assert_int_equal(answer.refused, c->refused);
    if (wanted || c->refused)
        assert_string_equal(buffer_cstr(&answer.bytes), c->body);
    else
        assert_int_equal(answer.bytes.len, 0);
    buffer_fini(&answer.bytes);
}

static void
an_answer_is_the_same_in_whatever_pieces_it_comes(void **state)
{
    struct guard g = guard_create(ANSWER_SIZE);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        check(&g, &cases[i], 1, 1, true);
        for (size_t first = 1; first <= cases[i].n; first++) {
            check(&g, &cases[i], cases[i].n, first, true);
            check(&g, &cases[i], cases[i].n, first, false);
        }
    }
    guard_destroy(&g);
}

static void
without_a_length_it_ends_with_the_output_and_at_16_mib(void **state)
{
    struct exec_answer answer = {0};
    char *block = ms_calloc(1, PROTO_REPLY_MAX);
    size_t consumed;

    (void)state;
    exec_answer_init(&answer, false, true);
    assert_int_equal(exec_answer_feed(&answer, block, PROTO_REPLY_MAX, &consumed),
                     EXEC_ANSWER_MORE);
    assert_int_equal(consumed, PROTO_REPLY_MAX);
    assert_int_equal(answer.bytes.len, PROTO_REPLY_MAX);
    assert_int_equal(exec_answer_feed(&answer, block, 1, &consumed), EXEC_ANSWER_BAD);
    exec_answer_init(&answer, false, false);
    assert_int_equal(answer.bytes.cap, 0); /* that much memory is not kept */
    assert_int_equal(exec_answer_feed(&answer, block, PROTO_REPLY_MAX, &consumed),
                     EXEC_ANSWER_MORE);
    assert_int_equal(answer.bytes.cap, 0);
    assert_int_equal(exec_answer_feed(&answer, block, 1, &consumed), EXEC_ANSWER_BAD);
    buffer_fini(&answer.bytes);
    free(block);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_same_in_whatever_pieces_it_comes),
        cmocka_unit_test(without_a_length_it_ends_with_the_output_and_at_16_mib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
