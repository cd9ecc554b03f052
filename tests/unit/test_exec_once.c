#include "exec_fixture.h"

#include <sys/resource.h>

static char large[300000]; /* more than a pipe holds */

static void
the_output_of_a_child_that_ends_in_order_is_the_reply(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "cat; printf ' and more'");
    assert_verdict(exec_one(f, "hello", 5), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "hello and more");
    assert_int_equal(f->committed_messages, 1);
    assert_string_equal(exec_one(f, "", 0)->reply, " and more");
}

static void
no_output_is_no_reply_and_a_reply_that_nobody_wants_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "hello", 5);

    exec_start(f, "cat");
    assert_null(exec_one(f, "", 0)->reply);
    assert_int_equal(f->settled[0].outcome, PROTO_COMMITTED);
    m->wants_reply = false;
    exec_handler.submit(f->handler, m);
    exec_settle_all(f, 2);
    assert_null(f->settled[1].reply);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
}

static void
the_exit_status_decides(void **state)
{
    static const struct {
        const char *command;
        enum proto_outcome outcome;
        const char *text;
    } cases[] = {
        {"exit 0", PROTO_COMMITTED, ""},
        {"echo first >&2; echo not today >&2; exit 65", PROTO_REFUSED, "not today"},
        {"printf 'no end of line' >&2; exit 65", PROTO_REFUSED, "no end of line"},
        {"printf 'in DOS\\r\\n\\n\\n' >&2; exit 65", PROTO_REFUSED, "in DOS"},
        {"printf 'a\\000b' >&2; exit 65", PROTO_REFUSED, "a b"},
        {"exit 65", PROTO_REFUSED, "the command refused the message"},
        {"echo no >&2; exit 3", PROTO_FAILED, "the command ended with exit status 3"},
        {"exit 1", PROTO_FAILED, "the command ended with exit status 1"},
        {"kill -9 $$", PROTO_FAILED, "the command was ended by signal 9"},
        {"/no/such/program", PROTO_FAILED, "the command ended with exit status 127"},
        {"exec /", PROTO_FAILED, "the command ended with exit status 126"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        exec_start(f, cases[i].command);
        assert_verdict(exec_one(f, "hello", 5), cases[i].outcome, cases[i].text);
        exec_stop(f);
    }
}

static void
a_child_need_not_read(void **state)
{
    struct fixture *f = *state;

    f->store.memory_max = sizeof(large);
    exec_start(f, "echo done");
    assert_verdict(exec_one(f, large, sizeof(large)), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "done\n");
}

static void
a_body_in_memory_arrives_whole(void **state)
{
    struct fixture *f = *state;

    f->store.memory_max = sizeof(large);
    memset(large, 'x', sizeof(large));
    exec_start(f, "cat");
    assert_int_equal(exec_one(f, large, sizeof(large))->outcome, PROTO_COMMITTED);
    assert_int_equal(strlen(f->settled[0].reply), sizeof(large));
}

static void
a_body_in_a_file_arrives_whole(void **state)
{
    struct fixture *f = *state;
    struct message *m;

    memset(large, 'x', sizeof(large));
    m = fixture_message(f, MESSAGE_PLAIN, "", large, sizeof(large));
    assert_true(m->fd >= 0);
    exec_start(f, "tr -d x; test \"$MSOCK_SIZE\" = 300000 && echo whole");
    exec_handler.submit(f->handler, m);
    exec_settle_all(f, 1);
    assert_string_equal(f->settled[0].reply, "whole\n");
}

/* Whatever the command has read of it, and however it ends. */
static void
a_body_that_its_file_gives_back_changed_is_a_failure(void **state)
{
    static const char *const commands[] = {"cat >/dev/null",
                                           "cat",
                                           "head -c 1 >/dev/null",
                                           "exit 0",
                                           "exec <&-; exit 0",
                                           "exec <&- >&-",
                                           "exit 65",
                                           "echo done"};
    static const off_t places[] = {0, 150000, sizeof(large) - 1};
    struct fixture *f = *state;

    memset(large, 'x', sizeof(large));
    for (size_t i = 0; i < MS_ARRAY_LEN(commands) * MS_ARRAY_LEN(places); i++) {
        struct message *m = fixture_message(f, MESSAGE_PLAIN, "", large, sizeof(large));

        assert_int_equal(pwrite(m->fd, "y", 1, places[i % MS_ARRAY_LEN(places)]), 1);
        exec_start(f, commands[i / MS_ARRAY_LEN(places)]);
        exec_handler.submit(f->handler, m);
        exec_settle_all(f, (unsigned)i + 1);
        assert_verdict(&f->settled[i], PROTO_FAILED,
                       "the message cannot be read back: Bad message");
        exec_stop(f);
    }
    assert_int_equal(f->committed_messages, 0);
}

static void
a_child_need_not_read_a_body_in_a_file(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "exec <&-; echo done");
    assert_verdict(exec_one(f, large, sizeof(large)), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "done\n");
}

static void
a_body_that_cannot_be_read_back_is_a_failure(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "x", 1);

    exec_start(f, "cat");
    m->error = EIO;
    exec_handler.submit(f->handler, m);
    assert_int_equal(f->settled_count, 1);
    assert_int_equal(f->settled[0].outcome, PROTO_FAILED);
}

static void
a_child_that_takes_too_long_is_ended_and_the_answer_does_not_wait_for_that(void **state)
{
    struct fixture *f = *state;
    pid_t group;

    exec_listener.number[OPTION_EXEC_TIMEOUT] = 200000;
    exec_start(f, "trap '' TERM; cd $MSOCK_DATA_DIR; echo $$ >new; mv new pid; sleep 1000; :");
    do /* a busy machine may not even begin it in time */
        assert_verdict(exec_one(f, "hello", 5), PROTO_FAILED,
                       "the command took longer than exec_timeout");
    while (!fixture_exists(f, "pid"));
    group = (pid_t)exec_number(f, "pid");
    assert_true(exec_group_runs(group)); /* SIGTERM is ignored, and the answer was there already */
    exec_turn_until_gone(f, group);      /* SIGKILL is not */
    assert_true(exec_group_is_gone(group));
}

static void
endless_output_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct rusage usage;

    exec_start(f, "exec cat /dev/zero");
    assert_verdict(exec_one(f, "hello", 5), PROTO_FAILED, "the command's answer is too long");
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
#ifndef MS_SANITIZE
    assert_true(usage.ru_maxrss < 256 << 10);
#endif
}

static void
a_reply_of_16_mib_is_no_byte_too_long(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "head -c 16777216 /dev/zero | tr '\\0' x");
    assert_int_equal(exec_one(f, "", 0)->outcome, PROTO_COMMITTED);
    assert_int_equal(strlen(f->settled[0].reply), PROTO_REPLY_MAX);
    exec_stop(f);
    exec_start(f, "head -c 16777217 /dev/zero");
    assert_int_equal(exec_one(f, "", 0)->outcome, PROTO_FAILED);
}

static void
of_a_flood_on_standard_error_the_last_line_is_kept(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "head -c 50000000 /dev/zero | tr '\\0' x >&2; yes | head -n 100000 >&2; "
                  "echo >&2; echo the last >&2; exit 65");
    assert_verdict(exec_one(f, "hello", 5), PROTO_REFUSED, "the last");
}

static size_t text_len;

static void
note_text_len(void *ctx, struct message *m, const struct verdict *verdict)
{
    text_len = strlen(verdict->text);
    fixture_settle(ctx, m, verdict);
}

static void
a_long_last_line_is_cut_to_400_bytes(void **state)
{
    struct fixture *f = *state;

    f->host.settle = note_text_len;
    exec_start(f, "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 65");
    assert_int_equal(exec_one(f, "hello", 5)->outcome, PROTO_REFUSED);
    assert_int_equal(text_len, 400);
    assert_int_equal(f->settled[0].text[0], 'x');
}

static void
grandchildren_that_keep_the_pipes_are_not_waited_for_and_are_ended(void **state)
{
    struct fixture *f = *state;

    exec_start(f, "echo $$ >$MSOCK_DATA_DIR/pid; sleep 1000 & yes >&2 & echo out; exit 0");
    assert_verdict(exec_one(f, "hello", 5), PROTO_COMMITTED, "");
    assert_string_equal(f->settled[0].reply, "out\n");
    assert_true(exec_group_is_gone((pid_t)exec_number(f, "pid")));
}

static void
the_facts_are_in_the_environment(void **state)
{
    static const char expected[] =
        "MSOCK_ID=order "
        "17\nMSOCK_IDENTITY=-\nMSOCK_KIND=json\nMSOCK_LISTENER=msp://127.0.0.1:8000\n"
        "MSOCK_PEER=127.0.0.1:50412\nMSOCK_PROTO=msp\nMSOCK_REPLY=1\n"
        "MSOCK_SHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n"
        "MSOCK_SIZE=2\nMSOCK_WORKER=3\n";
    struct fixture *f = *state;

    setenv("MSOCK_OTHER", "inherited", 1);
    setenv("MSOCK_FILE", "of somebody else", 1);
    /* _BUILD and _SOURCE are the test runner's. */
    exec_start(f, "env | grep '^MSOCK_' | grep -v -e _DATA_DIR= -e _TIME= -e _BUILD= -e _SOURCE= | "
                  "LC_ALL=C sort");
    exec_handler.submit(f->handler, fixture_message(f, MESSAGE_JSON, "order 17", "{}", 2));
    exec_settle_all(f, 1);
    assert_string_equal(f->settled[0].reply, expected);
    exec_stop(f);

    exec_start(f, "echo \"$MSOCK_KIND $MSOCK_FILE ${MSOCK_ID-unset}\"; "
                  "test \"$MSOCK_TIME\" \\> 2020 && test -d \"$MSOCK_DATA_DIR\"");
    exec_handler.submit(f->handler, fixture_message(f, MESSAGE_FILE, "a/b", "", 0));
    exec_settle_all(f, 2);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_string_equal(f->settled[1].reply, "file a/b unset\n");
    unsetenv("MSOCK_OTHER");
    unsetenv("MSOCK_FILE");
}

/* With a shell as the launcher, its variables and functions would change what a command means. */
static void
the_shell_that_started_msockd_changes_no_command(void **state)
{
    struct fixture *f = *state;
    char *path = strdup(getenv("PATH"));

    setenv("SECRET", "of the launcher", 1);
    setenv("WANTED", "1", 1);
    setenv("WANTED_TOO", "2", 1);
    exec_listener.text[OPTION_EXEC_ENV] = (char *)"NONE,WANTED,WANTED_TOO";
    setenv("IFS", "x", 1);
    setenv("BASH_ENV", "/no/such/file", 1);
    setenv("BASH_FUNC_env%%", "() { echo a function; }", 1);
    setenv("PATH", "", 1);
    exec_start(
        f, "env | grep -c -e ^IFS= -e ^BASH -e ^SECRET; env | grep -e ^PATH= -e ^WANTED | sort");
    exec_handler.submit(f->handler, fixture_message(f, MESSAGE_PLAIN, "id", "", 0));
    exec_settle_all(f, 1);
    assert_string_equal(f->settled[0].reply,
                        "0\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                        "WANTED=1\nWANTED_TOO=2\n");
    unsetenv("SECRET");
    unsetenv("WANTED");
    unsetenv("WANTED_TOO");
    setenv("PATH", path, 1);
    unsetenv("IFS");
    unsetenv("BASH_ENV");
    unsetenv("BASH_FUNC_env%%");
    free(path);
}

static void
what_a_peer_says_is_not_run(void **state)
{
    static const char id[] = "$(touch $MSOCK_DATA_DIR/run); `touch run` ' \" \n & | MSOCK_KIND=x";
    struct fixture *f = *state;

    exec_start(f, "printf '%s' \"$MSOCK_ID\"");
    exec_handler.submit(f->handler, fixture_message(f, MESSAGE_PLAIN, id, "", 0));
    exec_settle_all(f, 1);
    assert_string_equal(f->settled[0].reply, id);
    assert_false(fixture_exists(f, "run"));
}

static void
an_id_with_a_nul_byte_is_refused(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "", 0);

    exec_start(f, "cat");
    message_set_value(m, "a\0b", 3);
    exec_handler.submit(f->handler, m);
    assert_int_equal(f->settled_count, 1);
    assert_verdict(&f->settled[0], PROTO_REFUSED,
                   "the message id has a NUL byte in it, which the command cannot be given");
}

static void
a_child_has_three_descriptors_default_signals_and_a_group_of_its_own(void **state)
{
    struct fixture *f = *state;
    int open_fd = dup(STDERR_FILENO); /* not close-on-exec */
    sigset_t set, old;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    exec_start(f, "ls /proc/$$/fd; while read name mask; do case $name in SigBlk:|SigIgn:) "
                  "echo $name $((0x$mask & 0x7fffffff));; esac; done </proc/$$/status; "
                  "cut -d' ' -f5 /proc/$$/stat | grep -qx $$ && echo leader");
    assert_string_equal(exec_one(f, "", 0)->reply, "0\n1\n2\nSigBlk: 0\nSigIgn: 0\nleader\n");
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(open_fd);
}

static void
no_more_children_run_than_allowed(void **state)
{
    struct fixture *f = *state;

    exec_listener.number[OPTION_EXEC_CHILDREN] = 3;
    exec_start(f, "cd $MSOCK_DATA_DIR; for n in 1 2 3; do mkdir run$n 2>&- && break; n=none; done; "
                  "echo $n; cat; rmdir run$n");
    for (unsigned i = 0; i < 30; i++)
        exec_give(f, "x", 1);
    exec_settle_all(f, 30);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(f->settled[i].outcome, PROTO_COMMITTED);
        assert_string_not_equal(f->settled[i].reply, "none\nx");
    }
}

static void
a_message_waits_while_no_child_can_be_started(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, few;

    exec_start(f, "cat");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    few.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    exec_give(f, "hello", 5);
    exec_turn(f); /* tries again, in vain */
    assert_int_equal(f->settled_count, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    exec_settle_all(f, 1);
    assert_string_equal(f->settled[0].reply, "hello");

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    exec_stop(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    exec_listener.number[OPTION_EXEC_TIMEOUT] = 50000;
    exec_start(f, "cat");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_verdict(exec_one(f, "hello", 5), PROTO_FAILED,
                   "the command was not ready for the message within exec_timeout");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void
without_a_command_it_does_not_begin(void **state)
{
    struct fixture *f = *state;
    char error[HANDLER_ERROR_LEN] = "";

    assert_null(exec_handler.create(&f->host, error));
    assert_string_equal(error, "handler=exec needs command=...");
    exec_listener.text[OPTION_COMMAND] = (char *)"";
    assert_null(exec_handler.create(&f->host, error));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, exec_setup_once, exec_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_output_of_a_child_that_ends_in_order_is_the_reply),
        TEST(no_output_is_no_reply_and_a_reply_that_nobody_wants_is_dropped),
        TEST(the_exit_status_decides),
        TEST(a_child_need_not_read),
        TEST(a_body_in_memory_arrives_whole),
        TEST(a_body_in_a_file_arrives_whole),
        TEST(a_body_that_its_file_gives_back_changed_is_a_failure),
        TEST(a_child_need_not_read_a_body_in_a_file),
        TEST(a_body_that_cannot_be_read_back_is_a_failure),
        TEST(a_child_that_takes_too_long_is_ended_and_the_answer_does_not_wait_for_that),
        TEST(endless_output_is_cut_off),
        TEST(a_reply_of_16_mib_is_no_byte_too_long),
        TEST(of_a_flood_on_standard_error_the_last_line_is_kept),
        TEST(a_long_last_line_is_cut_to_400_bytes),
        TEST(grandchildren_that_keep_the_pipes_are_not_waited_for_and_are_ended),
        TEST(the_facts_are_in_the_environment),
        TEST(the_shell_that_started_msockd_changes_no_command),
        TEST(what_a_peer_says_is_not_run),
        TEST(an_id_with_a_nul_byte_is_refused),
        TEST(a_child_has_three_descriptors_default_signals_and_a_group_of_its_own),
        TEST(no_more_children_run_than_allowed),
        TEST(a_message_waits_while_no_child_can_be_started),
        TEST(without_a_command_it_does_not_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
