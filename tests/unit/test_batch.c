#include "handler_fixture.h"

#include "handler/journal/journal.h"

static void
add(struct fixture *f, struct batch *batch, const char *line, bool put, const char *path)
{
    buffer_append_str(&batch->lines, line);
    batch_add(batch, fixture_message(f, MESSAGE_FILE, path, "x", 1), "01ARYZ6S410000000000000000",
              put);
}

static void
assert_joined(struct batch *batch, const char *expected)
{
    const struct buffer *joined = batch_join(batch);

    char text[512] = "", *crc;

    /* Its CRC-32 is what test_record looks at. */
    assert_true(joined->len < sizeof(text));
    memcpy(text, buffer_bytes(joined), joined->len);
    while ((crc = strstr(text, ",\"crc32\":\"")) != NULL)
        memmove(crc, crc + 19, strlen(crc + 19) + 1);
    assert_string_equal(text, expected);
}

/* As after settling: the messages are gone. */
static void
settle_and_reset(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        message_destroy(batch->entries[i].m);
    batch_reset(batch);
}

static void
lines_that_are_complete_are_not_copied(void **state)
{
    struct fixture *f = fixture_create();
    struct batch *batch = batch_create(NULL);

    (void)state;
    add(f, batch, "{1}\n", false, "");
    add(f, batch, "{2}\n", false, "");
    assert_joined(batch, "{1}\n{2}\n");
    assert_ptr_equal(batch_join(batch), &batch->lines);
    batch_destroy(batch);
    fixture_destroy(f);
}

static void
what_was_stored_is_named_and_what_was_not_has_no_line(void **state)
{
    struct fixture *f = fixture_create();
    struct batch *batch = batch_create(NULL);

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        add(f, batch, "{1}\n", false, "");
        add(f, batch, "{2", true, "a");
        add(f, batch, "{3", true, "b");
        add(f, batch, "{4}\n", false, "");
        add(f, batch, "{5", true, "c");
        batch->puts[0].outcome = outcome_committed();
        batch->puts[1].outcome = outcome_refused("exists", "it is there");
        batch->puts[2].outcome = outcome_committed();
        batch->puts[2].number = 7;
        assert_joined(batch, "{1}\n{2,\"file\":\"files/a\"}\n{4}\n"
                             "{5,\"file\":\"files/c.7\",\"path\":\"c\"}\n");

        batch->outcome = outcome_failed("disk", EIO);
        assert_int_equal(batch_outcome(batch, &batch->entries[0]).is, PROTO_FAILED);
        assert_int_equal(batch_outcome(batch, &batch->entries[1]).is, PROTO_FAILED);
        assert_int_equal(batch_outcome(batch, &batch->entries[2]).is, PROTO_REFUSED);
        batch->outcome = outcome_failed("disk", ENOSPC);
        assert_int_equal(batch_outcome(batch, &batch->entries[0]).is, PROTO_REFUSED);
        assert_int_equal(batch_outcome(batch, &batch->entries[1]).is, PROTO_FAILED);
        settle_and_reset(batch);
    }
    batch_destroy(batch);
    fixture_destroy(f);
}

static void
a_large_batch_gives_its_memory_back(void **state)
{
    struct fixture *f = fixture_create();
    struct batch *batch = batch_create(NULL);

    (void)state;
    for (unsigned i = 0; i < 10000; i++)
        add(f, batch, "{}\n", i % 2 == 0, "");
    memset(buffer_reserve(&batch->lines, 10u << 20), ' ', 10u << 20);
    assert_int_equal(batch->count, 10000);
    assert_int_equal(batch->put_count, 5000);
    settle_and_reset(batch);
    assert_int_equal(batch->cap, 0);
    assert_int_equal(batch->lines.cap, 0);
    add(f, batch, "{}\n", false, "");
    assert_joined(batch, "{}\n");
    batch_destroy(batch);
    fixture_destroy(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_that_are_complete_are_not_copied),
        cmocka_unit_test(what_was_stored_is_named_and_what_was_not_has_no_line),
        cmocka_unit_test(a_large_batch_gives_its_memory_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
