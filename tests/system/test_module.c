/* Modules in a running msockd: one that crashes, one that does not fit, and the chat of the
 * examples. */
#include "daemon.h"
#include "peer.h"
#include "stats.h"
#include "support/wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEERS   8
#define MEMBERS 6

/* A listener with the module that is called so below the build directory. Static until the next
 * call. */
static const char *
module_listener(const char *url, const char *module)
{
    static char text[HARNESS_PATH_LEN + 200];

    snprintf(text, sizeof(text), "%s%chandler=module&path=%s", url,
             strchr(url, '?') != NULL ? '&' : '?', harness_program(module));
    return text;
}

static const char *
module_config(const char *module)
{
    static char text[HARNESS_PATH_LEN + 300];

    snprintf(text, sizeof(text), "workers = 2\nlisten = {\"%s\"}\n",
             module_listener("msp://127.0.0.1:0", module));
    return text;
}

static void
a_module_that_crashes_takes_its_worker_and_nobody_else(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {module_listener("msp://127.0.0.1:0", "tests/modules/crash.so")},
        .errors_expected = true});
    struct proc_list before, after;
    struct peer peers[PEERS];
    struct answer a;
    unsigned survivors = 0;

    (void)state;
    daemon_workers(d, &before);
    for (unsigned i = 0; i < PEERS; i++) {
        peer_connect(&peers[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&peers[i], NULL, "a", 1, &a), ANSWER_ACK);
    }
    assert_int_equal(peer_send_plain(&peers[0], NULL, "crash", 5, &a), ANSWER_CLOSED);
    WAIT_FOR((daemon_workers(d, &after), after.count == 2 && !proc_list_equal(&before, &after)),
             5000);
    assert_true(proc_list_has(&after, before.pid[0]) || proc_list_has(&after, before.pid[1]));
    WAIT_FOR(stats_workers_sum(d, "restarts") == 1, 5000);
    for (unsigned i = 1; i < PEERS; i++)
        survivors += peer_send_plain(&peers[i], NULL, "b", 1, &a) == ANSWER_ACK;
    assert_in_range(survivors, 0, PEERS - 1);
    peer_connect(&peers[0], &d->listeners[0]);
    assert_int_equal(peer_send_plain(&peers[0], NULL, "again", 5, &a), ANSWER_ACK);
    WAIT_FOR(stats_total(d, "messages") == PEERS + survivors + 1, 5000);
    daemon_stop(d);
}

static void
a_module_of_another_abi_is_refused_at_the_start(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){
        .listen = {module_listener("msp://127.0.0.1:0", "tests/modules/other_abi.so")}});
    struct run_result result = daemon_fail(d);

    (void)state;
    assert_int_not_equal(result.status, 0);
    assert_non_null(strstr(result.err, "other_abi.so: made for ABI 3, this msockd has 2"));
    run_result_free(&result);
}

static void
a_module_that_does_not_fit_leaves_all_as_it_was_at_a_reload(void **state)
{
    static const struct {
        const char *module, *reason;
    } cases[] = {
        {"tests/modules/other_abi.so", "made for ABI 3, this msockd has 2"},
        {"tests/modules/start_fails.so", "its start failed"},
        {"tests/modules/unresolved.so", "undefined symbol"},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){
        .config = module_config("tests/modules/least.so"), .errors_expected = true});
    struct proc_list before, after;
    struct peer p;
    struct answer a;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    daemon_workers(d, &before);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct run_result result;

        daemon_configure(d, module_config(cases[i].module));
        result = daemon_control(d, "reload", NULL);
        assert_int_not_equal(result.status, 0);
        if (strstr(result.err, cases[i].reason) == NULL)
            fail_msg("%s: %s", cases[i].module, result.err);
        run_result_free(&result);
        WAIT_FOR((daemon_workers(d, &after), proc_list_equal(&before, &after)), 5000);
        assert_int_equal(peer_send_plain(&p, NULL, "still here", 10, &a), ANSWER_ACK);
    }
    daemon_stop(d);
}

/* --- the chat --- */

static void
read_line(struct peer *p, char line_out[256])
{
    size_t n = 0;

    do {
        assert_true(n < 255);
        if (peer_read(p, &line_out[n], 1) < 0)
            fail_msg("%s hears nothing more", p->name);
    } while (line_out[n++] != '\n');
    line_out[n - 1] = '\0';
}

static void
expect_line(struct peer *p, const char *line)
{
    char got[256];

    read_line(p, got);
    assert_string_equal(got, line);
}

/* Everybody but `from` hears that line next: so nothing came before it that should not. */
static void
expect_line_at_all(struct peer *members, int count, int from, const char *line)
{
    for (int i = 0; i < count; i++)
        if (i != from)
            expect_line(&members[i], line);
}

static void
say(struct peer *members, int from, const char *line)
{
    char text[256];

    snprintf(text, sizeof(text), "%s\n", line);
    assert_int_equal(peer_write(&members[from], text, strlen(text)), 0);
}

static void
everybody_says_something(struct peer *members, int round)
{
    for (int i = 0; i < MEMBERS; i++) {
        char line[64], heard[128];

        snprintf(line, sizeof(line), "line %d", round);
        snprintf(heard, sizeof(heard), "member-%d: line %d", i, round);
        say(members, i, line);
        expect_line_at_all(members, MEMBERS, i, heard);
    }
}

/* Who has come to which worker when, nobody knows; but what one says comes in its order, so when p
 * has heard this of all others, it has heard all that was before. */
static void
wait_for_all_to_be_there(struct peer *p, int own)
{
    bool there[MEMBERS] = {false};
    int count = 1;

    there[own] = true;
    while (count < MEMBERS) {
        char line[256];
        int who, n = 0;

        read_line(p, line);
        if (sscanf(line, "member-%d: is there%n", &who, &n) != 1 || n == 0)
            continue;
        assert_in_range(who, 0, MEMBERS - 1);
        assert_false(there[who]);
        there[who] = true;
        count++;
    }
}

static void
everybody_joins(struct daemon *d, struct peer *members)
{
    for (int i = 0; i < MEMBERS; i++) {
        char line[64];

        peer_connect(&members[i], &d->listeners[0]);
        snprintf(line, sizeof(line), "/nick member-%d", i);
        say(members, i, line);
    }
    WAIT_FOR(stats_total(d, "messages") == MEMBERS, 5000);
    for (int i = 0; i < MEMBERS; i++)
        say(members, i, "is there");
    for (int i = 0; i < MEMBERS; i++)
        wait_for_all_to_be_there(&members[i], i);
}

static void
a_chat_goes_on_over_a_reload_and_nobody_notices(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 4,
        .listen = {module_listener("frame://127.0.0.1:0?framing=delimiter&delimiter=%0A",
                                   "examples/chat.so")}});
    struct peer members[MEMBERS];

    (void)state;
    everybody_joins(d, members);
    for (int round = 0; round < 3; round++) {
        everybody_says_something(members, round);
        daemon_reload(d);
    }
    everybody_says_something(members, 3);
    peer_close(&members[0]);
    expect_line_at_all(members, MEMBERS, 0, "member-0 left");
    daemon_stop(d);
}

static void
what_waits_behind_an_unsettled_message_is_bounded(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {module_listener("frame://127.0.0.1:0?framing=delimiter&delimiter=%0A&reply=yes",
                                   "tests/modules/flood.so")}});
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    say(&p, 0, "first\nsecond");
    assert_true(peer_closed(&p, 5000 * WAIT_SCALE));
    WAIT_FOR(stats_total(d, "lost") > 0, 5000);
    peer_close(&p);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_module_that_crashes_takes_its_worker_and_nobody_else),
        SYSTEM_TEST(a_module_of_another_abi_is_refused_at_the_start),
        SYSTEM_TEST(a_module_that_does_not_fit_leaves_all_as_it_was_at_a_reload),
        SYSTEM_TEST(a_chat_goes_on_over_a_reload_and_nobody_notices),
        SYSTEM_TEST(what_waits_behind_an_unsettled_message_is_bounded),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
