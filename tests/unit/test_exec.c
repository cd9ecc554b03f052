/* A pool of children, fed one message after the other. Messages here have five bytes, so that `head
 * -c 9` takes exactly one of them. */
#include "exec_fixture.h"

static char large[300000]; /* more than a pipe holds */

static void
a_child_that_copies_is_an_echo(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "cat");
    assert_verdict(exec_one(f, "hello", 5), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "hello");
    assert_null(exec_one(f, "", 0)->reply);
    assert_string_equal(exec_one(f, "again", 5)->reply, "again");
    assert_int_equal(f->committed_messages, 3);
}

static void
a_reply_that_nobody_wants_is_read_and_dropped(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "hello", 5);

    exec_start(f, "cat");
    m->wants_reply = false;
    exec_handler.submit(f->handler, m);
    exec_settle_all(f, 1);
    assert_null(f->settled[0].reply);
    assert_string_equal(exec_one(f, "again", 5)->reply, "again");
}

static void
long_bodies_pass_in_pieces_from_memory_and_from_a_file(void **state)
{
    struct fixture *f = *state;

    memset(large, 'x', sizeof(large));
    exec_start(f, "cat");
    exec_give(f, large, sizeof(large));
    f->store.memory_max = sizeof(large);
    exec_give(f, large, sizeof(large));
    exec_settle_all(f, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(f->settled[i].outcome, PROTO_COMMITTED);
        assert_int_equal(strlen(f->settled[i].reply), sizeof(large));
    }
}

/* Whether the child reads it to its end before it answers, or closes its input, or its output
 * too. */
static void
a_body_that_its_file_gives_back_changed_is_a_failure(void **state)
{
    static const char *const commands[] = {"cat", "printf '\\0\\0\\0\\0'; exec <&-; sleep 100",
                                           "printf '\\0\\0\\0\\0'; exec <&- >&-; sleep 100",
                                           "printf '\\0\\0\\0\\0'; exit 0"};
    struct fixture *f = *state;

    memset(large, 'x', sizeof(large));
    for (unsigned i = 0; i < 2 * MS_ARRAY_LEN(commands); i++) {
        struct message *m = fixture_message(f, MESSAGE_PLAIN, "", large, sizeof(large));

        if (i % 2 == 0)
            assert_int_equal(pwrite(m->fd, "y", 1, sizeof(large) - 1), 1);
        exec_start(f, commands[i / 2]);
        exec_handler.submit(f->handler, m);
        exec_settle_all(f, i + 1);
        assert_verdict(&f->settled[i], i % 2 == 0 ? PROTO_FAILED : PROTO_COMMITTED,
                       i % 2 == 0 ? "the message cannot be read back: Bad message" : "");
        exec_stop(f);
    }
}

static void
a_hundred_messages_share_three_children(void **state)
{
    struct fixture *f = *state;
    bool seen[100] = {false};
    char text[8];

    exec_listener.number[OPTION_EXEC_CHILDREN] = 3;
    exec_start(f, "echo $$ >>$MSOCK_DATA_DIR/pids; exec cat");
    for (unsigned i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%05u", i);
        exec_give(f, text, 5);
    }
    exec_settle_all(f, 100);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%05u", f->settled[i].number);
        assert_string_equal(f->settled[i].reply, text);
        assert_false(seen[f->settled[i].number]);
        seen[f->settled[i].number] = true;
    }
    exec_stop(f);
    exec_start(f, "test $(wc -l <$MSOCK_DATA_DIR/pids) -eq 3 && exec cat");
    assert_int_equal(exec_one(f, "hello", 5)->outcome, PROTO_COMMITTED);
}

static void
what_a_child_says_and_ends_with_decides(void **state)
{
    static const struct {
        const char *command;
        enum proto_outcome outcome;
        const char *text, *reply;
    } cases[] = {
        {"head -c 9 >&2; printf '\\0\\0\\0\\2ok'; cat >&2", PROTO_COMMITTED, "", "ok"},
        {"printf '\\0\\0'; head -c 9 >&2; printf '\\0\\2o'; sleep 0.01; printf k; cat >&2",
         PROTO_COMMITTED, "", "ok"},
        {"head -c 9 >&2; printf '\\0\\0\\0\\2ok'; exit 3", PROTO_COMMITTED, "", "ok"},
        {"printf '\\0\\0\\0\\2ok'", PROTO_COMMITTED, "", "ok"},
        {"head -c 9 >&2; printf '\\0\\0\\0\\2oktoo'; cat >&2", PROTO_COMMITTED, "", "ok"},
        {"head -c 9 >&2; printf '\\200\\0\\0\\2no'; cat >&2", PROTO_REFUSED, "no", NULL},
        {"printf '\\200\\0\\0\\0'; cat >&2", PROTO_REFUSED, "the command refused the message",
         NULL},
        {"printf '\\200\\0\\0\\2no' && exec >&-; cat >&2", PROTO_REFUSED, "no", NULL},
        {"printf '\\200\\1\\0\\1'; cat >&2", PROTO_FAILED, "the command's answer is too long",
         NULL},
        {"printf '\\1\\0\\0\\1'; cat >&2", PROTO_FAILED, "the command's answer is too long", NULL},
        {"head -c 9 >&2; echo first >&2; echo not today >&2; exit 65", PROTO_REFUSED, "not today",
         NULL},
        {"head -c 9 >/dev/null; exec >&-; echo not today >&2; exit 65", PROTO_REFUSED, "not today",
         NULL},
        {"exit 65", PROTO_REFUSED, "the command refused the message", NULL},
        {"head -c 9 >&2; exit 3", PROTO_FAILED, "the command ended with exit status 3", NULL},
        {"head -c 9 >&2; kill -9 $$", PROTO_FAILED, "the command was ended by signal 9", NULL},
        {"/no/such/program", PROTO_FAILED, "the command ended with exit status 127", NULL},
        {"head -c 9 >&2; printf '\\0\\0\\0\\2o'; exit 1", PROTO_FAILED,
         "the command ended with exit status 1", NULL},
        {"exit 0", PROTO_FAILED, "the command ends without an answer again and again", NULL},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        const struct settled *s;

        exec_start(f, cases[i].command);
        s = exec_one(f, "hello", 5);
        assert_verdict(s, cases[i].outcome, cases[i].text);
        assert_int_equal(s->reply != NULL, cases[i].reply != NULL);
        if (s->reply != NULL)
            assert_string_equal(s->reply, cases[i].reply);
        exec_stop(f);
    }
}

static void
a_child_that_speaks_unasked_is_replaced(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "cd $MSOCK_DATA_DIR; mkdir once || exec cat; head -c 9; until test -e go; do "
                  "sleep 0.01; done; "
                  "printf x; cat >&2");
    assert_string_equal(exec_one(f, "hello", 5)->reply, "hello");
    fixture_write(f, "go", "", 0);
    exec_turn(f); /* it says something */
    assert_string_equal(exec_one(f, "again", 5)->reply, "again");
}

/* The first child does that with its first message; every later one copies. */
static void
a_child_that_says_too_much_or_no_more_is_replaced(void **state)
{
    static const char *const commands[] = {
        "mkdir once || exec cat; head -c 9 >&2; printf '\\0\\0\\0\\2ok\\0\\0\\0\\1x'; cat >&2",
        "mkdir once || exec cat; head -c 9 >&2; printf '\\0\\0\\0\\2ok'; exec >&-; cat >&2",
        "mkdir once || exec cat; head -c 9 >&2; exec <&-; printf '\\0\\0\\0\\2ok'; exit 3",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        char command[256];

        snprintf(command, sizeof(command), "cd $MSOCK_DATA_DIR; %s", commands[i]);
        exec_start(f, command);
        assert_string_equal(exec_one(f, "hello", 5)->reply, "ok");
        exec_reap_all(f);
        assert_string_equal(exec_one(f, "again", 5)->reply, "again");
        exec_stop(f);
        assert_int_equal(rmdir(fixture_path(f, "once")), 0);
    }
}

static void
an_answer_counts_also_where_the_child_ends_without_reading(void **state)
{
    struct fixture *f = *state;

    f->store.memory_max = sizeof(large);
    exec_start(f, "printf '\\0\\0\\0\\2ok'");
    assert_verdict(exec_one(f, large, sizeof(large)), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "ok");
}

static void
an_early_answer_waits_until_its_message_is_read(void **state)
{
    struct fixture *f = *state;

    f->store.memory_max = sizeof(large);
    exec_start(
        f, "printf '\\0\\0\\0\\2ok'; echo >$MSOCK_DATA_DIR/said; "
           "until test -e $MSOCK_DATA_DIR/go; do sleep 0.01; done; head -c 300004 >&2; exec cat");
    exec_give(f, large, sizeof(large));
    WAIT_FOR(fixture_exists(f, "said"), EXEC_FIXTURE_WAIT_MS);
    exec_turn(f);
    assert_int_equal(f->settled_count, 0);
    fixture_write(f, "go", "", 0);
    exec_settle_all(f, 1);
    assert_string_equal(f->settled[0].reply, "ok");
    assert_string_equal(exec_one(f, "again", 5)->reply, "again");
}

static void
a_message_that_a_child_left_behind_goes_to_another(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "for n in 1 2 3; do mkdir $MSOCK_DATA_DIR/$n && exit 0; done; exec cat");
    assert_verdict(exec_one(f, "hello", 5), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "hello");
}

static void
children_may_end_after_every_message(void **state)
{
    struct fixture *f = *state;

    exec_listener.number[OPTION_EXEC_CHILDREN] = 4;
    exec_start(f, "head -c 9");
    for (unsigned i = 0; i < 40; i++)
        exec_give(f, "hello", 5);
    exec_settle_all(f, 40);
    for (unsigned i = 0; i < 40; i++)
        assert_string_equal(f->settled[i].reply, "hello");
}

static void
a_child_that_ends_between_messages_is_reaped_and_replaced(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "head -c 9");
    assert_string_equal(exec_one(f, "hello", 5)->reply, "hello");
    exec_reap_all(f);
    assert_string_equal(exec_one(f, "again", 5)->reply, "again");
}

static void
a_command_that_dies_at_once_is_started_less_and_less_often(void **state)
{
    struct fixture *f = *state;
    uint64_t begun_us = clock_mono_us();

    exec_start(f, "exit 3");
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(exec_one(f, "hello", 5)->outcome, PROTO_FAILED);
    exec_give(f, "hello", 5);
    assert_int_equal(exec_children(f), 0);
    assert_int_equal(f->settled_count, 7);
    exec_settle_all(f, 8);
    assert_int_equal(f->settled[7].outcome, PROTO_FAILED);
    /* 10, 20, 40 ... 640 ms: at least, however slow the machine is */
    assert_true(clock_mono_us() - begun_us >= 1270000);
}

static void
what_waits_fails_once_nobody_was_served_for_the_time_of_a_message(void **state)
{
    struct fixture *f = *state;

    exec_listener.number[OPTION_EXEC_TIMEOUT] = 200000;
    exec_start(f, "trap '' TERM; sleep 1000; sleep 1000");
    exec_give(f, "first", 5);
    exec_give(f, "other", 5);
    exec_settle_all(f, 2);
    assert_verdict(&f->settled[0], PROTO_FAILED, "the command took longer than exec_timeout");
    assert_verdict(&f->settled[1], PROTO_FAILED,
                   "the command was not ready for the message within exec_timeout");
}

static void
a_long_queue_is_no_failure_while_messages_are_served(void **state)
{
    struct fixture *f = *state;

    exec_listener.number[OPTION_EXEC_TIMEOUT] = 2000000;
    exec_start(f, "while head -c 9; do sleep 0.05; done");
    for (unsigned i = 0; i < 60; i++) /* three seconds in all */
        exec_give(f, "hello", 5);
    exec_settle_all(f, 60);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(f->settled[i].outcome, PROTO_COMMITTED);
}

static void
children_that_are_in_time_are_not_ended(void **state)
{
    struct fixture *f = *state;

    exec_listener.number[OPTION_EXEC_CHILDREN] = 2;
    exec_listener.number[OPTION_EXEC_TIMEOUT] = 2000000;
    exec_start(f, "cd $MSOCK_DATA_DIR; mkdir once && exec sleep 1000; exec cat");
    exec_give(f, "first", 5);
    WAIT_FOR(fixture_exists(f, "once"), EXEC_FIXTURE_WAIT_MS);
    for (unsigned i = 0; i < 20; i++)
        exec_give(f, "other", 5);
    exec_settle_all(f, 21);
    for (unsigned i = 0; i < 21; i++)
        assert_int_equal(f->settled[i].outcome,
                         f->settled[i].number == 0 ? PROTO_FAILED : PROTO_COMMITTED);
}

static void
messages_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "", 0);

    exec_start(f, "cat");
    m->size = UINT32_MAX / 2 + 1;
    exec_handler.submit(f->handler, m);
    assert_int_equal(f->settled_count, 1);
    assert_verdict(&f->settled[0], PROTO_REFUSED, "the message is too long for exec=pool");
}

static void
a_body_that_cannot_be_read_back_is_a_failure_and_the_child_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", large, sizeof(large));

    exec_start(f, "cat");
    assert_int_equal(ftruncate(m->fd, 100000), 0);
    exec_handler.submit(f->handler, m);
    exec_settle_all(f, 1);
    assert_verdict(&f->settled[0], PROTO_FAILED,
                   "the message cannot be read back: Input/output error");
    assert_string_equal(exec_one(f, "hello", 5)->reply, "hello");
}

static void
the_facts_about_one_message_are_not_for_children_that_get_many(void **state)
{
    struct fixture *f = *state;

    setenv("MSOCK_ID", "of somebody else", 1);
    exec_start(f, "test -d \"$MSOCK_DATA_DIR\" && test $MSOCK_WORKER = 3 && "
                  "test $MSOCK_LISTENER = msp://127.0.0.1:8000 && test -z \"${MSOCK_ID+set}\" && "
                  "exec cat");
    assert_int_equal(exec_one(f, "hello", 5)->outcome, PROTO_COMMITTED);
    unsetenv("MSOCK_ID");
}

static void
a_worker_that_leaves_waits_for_what_is_under_way(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "while head -c 9; do sleep 0.05; done");
    for (unsigned i = 0; i < 5; i++)
        exec_give(f, "hello", 5);
    exec_handler.finish(f->handler);
    assert_int_equal(f->settled_count, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(f->settled[i].outcome, PROTO_COMMITTED);
}

static void
a_worker_that_leaves_does_not_wait_for_ever(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "sleep 1000; sleep 1000");
    exec_give(f, "first", 5);
    exec_give(f, "other", 5);
    exec_handler.finish(f->handler);
    exec_give(f, "later", 5);
    assert_int_equal(f->settled_count, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_verdict(&f->settled[i], PROTO_FAILED,
                       "the server leaves before the command has answered");
}

static void
no_process_is_left_behind(void **state)
{
    static const char *const commands[] = {
        "echo $$ >$MSOCK_DATA_DIR/pid; sleep 1000; sleep 1000",
        "trap '' TERM; echo $$ >$MSOCK_DATA_DIR/pid; sleep 1000; sleep 1000",
        "sleep 1000 & echo $$ >$MSOCK_DATA_DIR/pid; exec cat",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        pid_t group;

        exec_start(f, commands[i]);
        exec_give(f, "first", 5);
        exec_give(f, "other", 5);
        group = (pid_t)exec_number(f, "pid");
        assert_true(exec_group_runs(group));
        exec_stop(f);
        assert_true(exec_group_is_gone(group));
        assert_int_equal(unlink(fixture_path(f, "pid")), 0);
    }
}

static void
an_idle_child_leaves_when_its_input_ends(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "head -c 9; cat >&2; echo bye >$MSOCK_DATA_DIR/bye");
    assert_string_equal(exec_one(f, "hello", 5)->reply, "hello");
    exec_stop(f);
    assert_true(fixture_exists(f, "bye"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, exec_setup_pool, exec_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_child_that_copies_is_an_echo),
        TEST(a_reply_that_nobody_wants_is_read_and_dropped),
        TEST(long_bodies_pass_in_pieces_from_memory_and_from_a_file),
        TEST(a_body_that_its_file_gives_back_changed_is_a_failure),
        TEST(a_hundred_messages_share_three_children),
        TEST(what_a_child_says_and_ends_with_decides),
        TEST(a_child_that_speaks_unasked_is_replaced),
        TEST(a_child_that_says_too_much_or_no_more_is_replaced),
        TEST(an_answer_counts_also_where_the_child_ends_without_reading),
        TEST(an_early_answer_waits_until_its_message_is_read),
        TEST(a_message_that_a_child_left_behind_goes_to_another),
        TEST(children_may_end_after_every_message),
        TEST(a_child_that_ends_between_messages_is_reaped_and_replaced),
        TEST(a_command_that_dies_at_once_is_started_less_and_less_often),
        TEST(what_waits_fails_once_nobody_was_served_for_the_time_of_a_message),
        TEST(a_long_queue_is_no_failure_while_messages_are_served),
        TEST(children_that_are_in_time_are_not_ended),
        TEST(messages_that_do_not_fit_are_refused),
        TEST(a_body_that_cannot_be_read_back_is_a_failure_and_the_child_is_replaced),
        TEST(the_facts_about_one_message_are_not_for_children_that_get_many),
        TEST(a_worker_that_leaves_waits_for_what_is_under_way),
        TEST(a_worker_that_leaves_does_not_wait_for_ever),
        TEST(no_process_is_left_behind),
        TEST(an_idle_child_leaves_when_its_input_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
