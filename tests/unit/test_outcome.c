#include "handler_fixture.h"

#include "handler/handler.h"

static void
no_room_is_refused_and_any_other_error_is_a_failure(void **state)
{
    static const struct {
        int error;
        enum proto_outcome is;
        const char *code, *text;
    } cases[] = {
        {ENOSPC, PROTO_REFUSED, "no-space", "it failed: No space left on device"},
        {EDQUOT, PROTO_REFUSED, "no-space", "it failed: Disk quota exceeded"},
        {EIO, PROTO_FAILED, NULL, "it failed: Input/output error"},
        {EROFS, PROTO_FAILED, NULL, "it failed: Read-only file system"},
        {ENOENT, PROTO_FAILED, NULL, "it failed: No such file or directory"},
        {123456, PROTO_FAILED, NULL, "it failed"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct outcome outcome = outcome_failed("it failed", cases[i].error);
        char text[OUTCOME_TEXT_LEN];
        struct verdict verdict = outcome_verdict(&outcome, text);

        assert_int_equal(verdict.outcome, cases[i].is);
        if (cases[i].code != NULL)
            assert_string_equal(verdict.code, cases[i].code);
        else
            assert_null(verdict.code);
        assert_string_equal(verdict.text, cases[i].text);
    }
}

static void
a_refusal_keeps_its_words(void **state)
{
    struct outcome outcome = outcome_refused("exists", "it is there");
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = outcome_verdict(&outcome, text);

    (void)state;
    assert_int_equal(verdict.outcome, PROTO_REFUSED);
    assert_string_equal(verdict.code, "exists");
    assert_string_equal(verdict.text, "it is there");
    outcome = outcome_committed();
    assert_int_equal(outcome_verdict(&outcome, text).outcome, PROTO_COMMITTED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_room_is_refused_and_any_other_error_is_a_failure),
        cmocka_unit_test(a_refusal_keeps_its_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
