/* msock send --lines and send-json --lines: a stream of lines becomes messages, in order, over one
 * connection, and a line that is refused is named. */
#include "daemon.h"
#include "journal.h"
#include "schemes.h"
#include "stats.h"

#include "support/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Starts a program with a pipe as its standard input, and returns the other end. */
static int
start_piped(struct running *r, const char *const argv[])
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    run_start(r, argv, &(struct run_options){.input_fd = ends[0]});
    return ends[1];
}

/* Feeds text to the command's standard input and waits for its end. */
static struct run_result
feed(const char *url, const char *command, const char *extra, const char *text, size_t n)
{
    const char *argv[] = {harness_program("msock"), "-u", url, command, "--lines", extra, NULL};
    struct run_result result;
    struct running r;
    int in = start_piped(&r, argv);

    assert_int_equal(write(in, text, n), n);
    close(in);
    run_finish(&r, 20000, &result);
    return result;
}

static void
each_line_is_a_message_in_order(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    char text[20000];
    size_t n = 0;
    struct run_result result;
    struct journal j;

    (void)state;
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(text + n, "line %d\n", i);
    n += (size_t)sprintf(text + n, "\nwithout an end");
    result = feed(d->listeners[0].url, "send", NULL, text, n);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.err, "1002 lines committed"));
    run_result_free(&result);
    assert_int_equal(stats_total(d, "accepted"), 1);
    journal_load(d->data_dir, true, &j);
    journal_check(&j);
    assert_int_equal(j.count, 1002);
    for (int i = 0; i < 1000; i++) {
        char expected[32];

        sprintf(expected, "line %d", i);
        assert_string_equal(j.entries[i].body, expected);
    }
    assert_string_equal(j.entries[1000].body, "");
    assert_string_equal(j.entries[1001].body, "without an end");
    journal_free(&j);
    result = feed(d->listeners[0].url, "send", NULL, "one\n", 4);
    assert_non_null(strstr(result.err, " 1 line committed"));
    run_result_free(&result);
    daemon_stop(d);
}

static void
a_line_that_is_refused_is_named_and_the_others_go_on(void **state)
{
    static const char text[] = "{\"a\":1}\n\n  \n{\"a\":}\n[2]\n nul\n\"last\"";
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result =
        feed(d->listeners[0].url, "send-json", "--json", text, sizeof(text) - 1);

    (void)state;
    assert_int_equal(result.status, 65);
    assert_non_null(strstr(result.err, "line 4: "));
    assert_non_null(strstr(result.err, "line 6: "));
    assert_non_null(strstr(result.out, "\"lines\":7,\"committed\":3,\"refused\":2,\"failed\":0"));
    run_result_free(&result);
    assert_int_equal(stats_total(d, "messages"), 3);
    daemon_stop(d);
}

/* Each of these, with NULL at the end, has one entry. */
static void
assert_bodies(const struct daemon *d, const char *const *bodies)
{
    struct journal j;

    journal_load(d->data_dir, true, &j);
    journal_check(&j);
    for (; *bodies != NULL; bodies++) {
        size_t found = 0;

        for (size_t i = 0; i < j.count; i++)
            found += strcmp(j.entries[i].body, *bodies) == 0;
        assert_int_equal(found, 1);
    }
    journal_free(&j);
}

/* A line that the framing or the server's limit excludes harms none of the others. */
static void
a_line_that_cannot_be_carried_is_refused_alone(void **state)
{
    static const struct {
        const char *listener, *query, *text, *counts, *named, *bodies[4];
        unsigned taken;
    } cases[] = {
        {"frame://127.0.0.1:0?framing=fixed:5",
         "?framing=fixed:5",
         "aaaaa\nbb\nccccc\ndd\neeeee\n",
         "\"lines\":5,\"sent\":3,\"refused\":2,\"failed\":0",
         "line 4: frame cannot carry this message",
         {"aaaaa", "ccccc", "eeeee"},
         3},
        {"frame://127.0.0.1:0?framing=delimiter:;",
         "?framing=delimiter:;",
         "a\nb;c\nd\n",
         "\"lines\":3,\"sent\":2,\"refused\":1,\"failed\":0",
         "line 2: frame cannot carry this message",
         {"a", "d"},
         2},
        {"cnp://127.0.0.1:0?max_message_size=4",
         "?mode=burst",
         "a\nbbbbb\nc\nddddd\ne\n",
         "\"lines\":5,\"committed\":3,\"refused\":2,\"failed\":0",
         "refused the message: too-large",
         {"a", "c", "e"},
         3},
        {"tinyproto://127.0.0.1:0?max_message_size=4",
         "",
         "a\nbbbbb\nc\nddddd\ne\n",
         "\"lines\":5,\"sent\":3,\"refused\":2,\"failed\":0",
         "refused the message: GENERIC_ERROR",
         {"a", "c", "e"},
         3},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct daemon *d =
            daemon_start(&(struct daemon_options){.workers = 1, .listen = {cases[i].listener}});
        const char *listener = d->listeners[0].url;
        struct run_result result;
        char url[128];

        snprintf(url, sizeof(url), "%.*s%s", (int)strcspn(listener, "?"), listener, cases[i].query);
        result = feed(url, "send", "--json", cases[i].text, strlen(cases[i].text));
        assert_int_equal(result.status, 65);
        assert_non_null(strstr(result.err, cases[i].named));
        assert_non_null(strstr(result.out, cases[i].counts));
        run_result_free(&result);
        WAIT_FOR(stats_total(d, "messages") == cases[i].taken, 10000);
        assert_bodies(d, cases[i].bodies);
        daemon_stop(d);
    }
}

/* A line leaves when it is there, not when more have come. */
static void
a_slow_stream_is_not_held_back(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const char *argv[] = {
        harness_program("msock"), "-u", d->listeners[0].url, "send", "--lines", NULL};
    struct run_result result;
    struct running r;
    int in = start_piped(&r, argv);

    (void)state;
    for (uint64_t i = 1; i <= 5; i++) {
        assert_int_equal(write(in, "half", 4), 4);
        assert_int_equal(write(in, " a line\n", 8), 8);
        WAIT_FOR(stats_total(d, "messages") == i, 10000);
    }
    signal_send(r.pid, SIGTERM); /* ends it in order */
    close(in);
    run_finish(&r, 10000, &result);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.err, "5 lines committed"));
    run_result_free(&result);
    daemon_stop(d);
}

static void
every_protocol_takes_lines(void **state)
{
    const char *scheme;
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .listen = {"auto://127.0.0.1:0"}});
    const char *at = strstr(d->listeners[0].url, "://");
    char text[6000];
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 300; i++)
        n += (size_t)sprintf(text + n, "line %d\n", i);
    for (size_t i = 0; (scheme = scheme_at(i, false)) != NULL; i++) {
        struct run_result result;
        char url[128];

        snprintf(url, sizeof(url), "%s%s", scheme, at);
        result = feed(url, "send", "-q", text, n);
        assert_int_equal(result.status, 0);
        assert_string_equal(result.err, "");
        run_result_free(&result);
        WAIT_FOR(stats_total(d, "messages") == 300 * (i + 1), 10000);
    }
    daemon_stop(d);
}

/* A server that ends an idle connection between two lines costs none of them. (cnp's goes on.) */
static void
lines_go_on_after_an_idle_connection_has_ended(void **state)
{
    static const char *const urls[] = {"msp://127.0.0.1:0?idle_timeout=200ms",
                                       "tinyproto://127.0.0.1:0?idle_timeout=200ms",
                                       "frame://127.0.0.1:0?idle_timeout=200ms"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct daemon *d =
            daemon_start(&(struct daemon_options){.workers = 1, .listen = {urls[i]}});
        const char *argv[] = {
            harness_program("msock"), "-u", d->listeners[0].url, "send", "--lines", NULL};
        struct run_result result;
        struct running r;
        int in = start_piped(&r, argv);

        for (uint64_t line = 1; line <= 3; line++) {
            assert_int_equal(write(in, "line\n", 5), 5);
            WAIT_FOR(stats_total(d, "messages") == line, 10000);
            WAIT_FOR(stats_total(d, "open") == 0, 10000);
        }
        close(in);
        run_finish(&r, 20000, &result);
        if (result.status != 0)
            fail_msg("%s: status %d: %s", urls[i], result.status, result.err);
        run_result_free(&result);
        daemon_stop(d);
    }
}

/* What was acknowledged before a crash is there, and what was not is sent again. */
static void
lines_survive_the_crash_of_a_worker(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .errors_expected = true});
    const char *argv[] = {
        harness_program("msock"), "-u", d->listeners[0].url, "send", "--lines", NULL};
    struct run_result result;
    struct running r;
    struct journal j;
    size_t found = 0;
    int in = start_piped(&r, argv);

    (void)state;
    for (int i = 0; i < 2000; i++) {
        char line[32];
        int n = sprintf(line, "line %d\n", i);

        assert_int_equal(write(in, line, (size_t)n), n);
        if (i == 700 || i == 1400) {
            struct proc_list workers;

            WAIT_FOR(daemon_has_workers(d, 1), 10000);
            daemon_workers(d, &workers);
            assert_true(workers.pid[0] > 1);
            signal_send(workers.pid[0], SIGKILL);
        }
    }
    close(in);
    run_finish(&r, 30000, &result);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.err, "2000 lines committed"));
    run_result_free(&result);
    journal_load(d->data_dir, true, &j);
    for (size_t i = 0; i < j.count; i++) {
        const struct entry *one = NULL;

        found += journal_find_key(&j, j.entries[i].key, &one) == 1 || one == &j.entries[i];
    }
    assert_int_equal(found, 2000); /* by their ids, each once */
    journal_free(&j);
    daemon_stop(d);
}

static void
what_cannot_be_is_said(void **state)
{
    static const char *const words[][4] = {
        {"send", "--lines", "--reply", NULL},   {"send", "--lines", "--id", "x"},
        {"send", "--lines", "a message", NULL}, {"send-file", "-", NULL, NULL},
        {"send-file", "--as", "backup/", "-"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(words); i++) {
        struct run_result result = run_program(harness_program("msock"), words[i][0], words[i][1],
                                               words[i][2], words[i][3], NULL);

        if (result.status != 64)
            fail_msg("%s %s: %d %s", words[i][0], words[i][1], result.status, result.err);
        run_result_free(&result);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_line_is_a_message_in_order),
        SYSTEM_TEST(a_line_that_is_refused_is_named_and_the_others_go_on),
        SYSTEM_TEST(a_line_that_cannot_be_carried_is_refused_alone),
        SYSTEM_TEST(a_slow_stream_is_not_held_back),
        SYSTEM_TEST(every_protocol_takes_lines),
        SYSTEM_TEST(lines_go_on_after_an_idle_connection_has_ended),
        SYSTEM_TEST(lines_survive_the_crash_of_a_worker),
        SYSTEM_TEST(what_cannot_be_is_said),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
