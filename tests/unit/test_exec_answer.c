#include "guard.h"

#include "common/fd.h"
#include "handler/exec/exec.h"

#include <errno.h>

#define ANSWER_SIZE 16

static int
spill_open(void *arg)
{
    (void)arg;
    return fd_open_scratch();
}

static struct message_store store = {
    .memory_max = 4096, .ledger.max = 1 << 20, .spill_open = spill_open};

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
expect_reply(struct exec_answer *answer, const char *body, size_t n)
{
    struct blob *reply = exec_answer_reply(answer);
    const uint8_t *bytes;

    assert_int_equal(errno, 0);
    assert_int_equal(reply != NULL, n > 0);
    if (reply == NULL)
        return;
    assert_int_equal(reply->len, n);
    assert_int_equal(blob_bytes(reply, &bytes), 0);
    assert_memory_equal(bytes, body, n);
    blob_release(reply, bytes);
    blob_unref(reply);
}

static void
check(struct guard *g, const struct answer_case *c, size_t piece, size_t first, bool wanted)
{
    struct exec_answer answer;
    enum exec_answer_is is;
    size_t len = strlen(c->body);

    exec_answer_init(&answer, true, wanted ? &store : NULL);
    assert_int_equal(feed(&answer, g, c, piece, first, &is), c->consumed);
    assert_int_equal(is, c->is);
    if (is != EXEC_ANSWER_BAD)
        assert_int_equal(answer.len, len);
    assert_int_equal(answer.refused, c->refused);
    if (c->refused)
        assert_memory_equal(answer.text, c->body, len);
    else
        expect_reply(&answer, c->body, wanted ? len : 0);
    exec_answer_fini(&answer);
    assert_int_equal(store.ledger.used, 0);
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
    struct exec_answer answer;
    char *block = ms_calloc(1, PROTO_REPLY_MAX);
    size_t consumed;

    (void)state;
    exec_answer_init(&answer, false, &store);
    assert_int_equal(exec_answer_feed(&answer, block, PROTO_REPLY_MAX, &consumed),
                     EXEC_ANSWER_MORE);
    assert_int_equal(consumed, PROTO_REPLY_MAX);
    assert_in_range(store.ledger.used, 0, store.memory_max); /* the rest is in a file */
    expect_reply(&answer, block, PROTO_REPLY_MAX);
    assert_int_equal(exec_answer_feed(&answer, block, 1, &consumed), EXEC_ANSWER_BAD);
    exec_answer_fini(&answer);
    exec_answer_init(&answer, false, NULL);
    assert_int_equal(exec_answer_feed(&answer, block, PROTO_REPLY_MAX, &consumed),
                     EXEC_ANSWER_MORE);
    assert_int_equal(store.ledger.used, 0);
    assert_int_equal(exec_answer_feed(&answer, block, 1, &consumed), EXEC_ANSWER_BAD);
    free(block);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_same_in_whatever_pieces_it_comes),
        cmocka_unit_test(without_a_length_it_ends_with_the_output_and_at_16_mib),
    };
    int failed;

    store.digester = digester_create();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    digester_destroy(store.digester);
    return failed;
}
