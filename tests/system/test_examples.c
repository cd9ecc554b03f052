/* The programs of examples/ do what their first lines say. (The chat is in test_module.c.) */
#include "harness.h"
#include "run.h"
#include "support/wait.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS_MAX 4
#define FILE_SIZE 3000000

/* One of the servers, running. */
struct server {
    struct running run;
    char dir[HARNESS_PATH_LEN];
    char log[HARNESS_PATH_LEN];
    unsigned count;
    unsigned ports[PORTS_MAX];
};

/* Reads the ports from its "listening on" lines; true when all are there. */
static bool
server_listens(struct server *s)
{
    char *log = harness_read_file(s->log, NULL);
    const char *at = log;
    unsigned found = 0;

    while (at != NULL && found < s->count && (at = strstr(at, "listening on 127.0.0.1:")) != NULL) {
        at += strlen("listening on 127.0.0.1:");
        if (strchr(at, '\n') != NULL)
            s->ports[found++] = (unsigned)strtoul(at, NULL, 10);
    }
    free(log);
    return found == s->count;
}

/* Starts argv[0] of the examples and waits until it listens on so many ports. */
static void
server_start(struct server *s, const char *argv[], unsigned count)
{
    struct run_options how = {.error_file = s->log};

    argv[0] = harness_program(argv[0]);
    s->count = count;
    harness_directory(s->dir);
    harness_join(s->log, s->dir, "log");
    run_start(&s->run, argv, &how);
    WAIT_FOR(server_listens(s), 10000);
}

/* Ends it in order; what it printed is the caller's. */
static struct run_result
server_stop(struct server *s)
{
    struct run_result result;

    signal_send(s->run.pid, SIGTERM);
    run_finish(&s->run, 10000, &result);
    if (result.status != 0)
        fail_msg("status %d: %s", result.status, harness_read_file(s->log, NULL));
    return result;
}

static void
expect(struct run_result result, int status, const char *out, const char *err)
{
    if (result.status != status || strstr(result.err, err) == NULL ||
        (out != NULL && strcmp(result.out, out) != 0))
        fail_msg("status %d: %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

static void
the_echo_comes_back_over_every_protocol(void **state)
{
    static const struct {
        unsigned port;
        const char *scheme, *options;
    } cases[] = {
        {0, "msp", ""},       {0, "tinyproto", ""},
        {0, "cnp", ""},       {1, "frame", "?framing=length32"},
        {1, "frame", ""},     {2, "frame", "?framing=delimiter&delimiter=%0A"},
        {3, "tinyproto", ""},
    };
    const char *argv[] = {"examples/echo_server",
                          "auto://127.0.0.1:0",
                          "frame://127.0.0.1:0?framing=length32",
                          "frame://127.0.0.1:0?framing=delimiter&delimiter=%0A",
                          "tinyproto://127.0.0.1:0",
                          NULL};
    struct server s;
    struct run_result result;

    (void)state;
    server_start(&s, argv, 4);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char url[160];

        snprintf(url, sizeof(url), "%s://127.0.0.1:%u%s", cases[i].scheme, s.ports[cases[i].port],
                 cases[i].options);
        expect(
            run_program(harness_program("examples/echo_client"), url, "hello", "hello again", NULL),
            0, "hello\nhello again\n", "");
    }
    result = server_stop(&s);
    run_result_free(&result);
}

static struct run_result
msock(const struct server *s, const char *command, const char *what, const char *as)
{
    char url[64];

    snprintf(url, sizeof(url), "msp://127.0.0.1:%u", s->ports[0]);
    return run_program(harness_program("msock"), "-u", url, command, what,
                       as != NULL ? "--as" : NULL, as, NULL);
}

static void
what_is_received_is_printed(void **state)
{
    const char *argv[] = {"examples/receive", "auto://127.0.0.1:0", NULL};
    struct server s;
    struct run_result result;

    (void)state;
    server_start(&s, argv, 1);
    expect(msock(&s, "send", "hello there", NULL), 0, NULL, "");
    result = server_stop(&s);
    assert_memory_equal(result.out, "A from 127.0.0.1:", 17);
    assert_non_null(strstr(result.out, " over msp, id '"));
    assert_non_null(strstr(result.out, "', 11 bytes: hello there\n"));
    run_result_free(&result);
}

static void
the_sink_takes_what_it_collects_and_refuses_the_rest(void **state)
{
    const char *argv[] = {"examples/sink", "auto://127.0.0.1:0", "event", NULL};
    struct server s;
    struct run_result result;

    (void)state;
    server_start(&s, argv, 1);
    expect(msock(&s, "send-json", "{\"event\": \"login\", \"user\": \"ann\"}", NULL), 0, NULL, "");
    expect(msock(&s, "send-json", "{\"user\": \"ann\"}", NULL), 65, NULL,
           "the document has not got what this sink collects");
    expect(msock(&s, "send", "no document", NULL), 65, NULL, "refused");
    expect(msock(&s, "send-json", "{\"event\": {\"kind\": 2}}", NULL), 0, NULL, "");
    result = server_stop(&s);
    assert_string_equal(result.out, "\"login\"\n{\"kind\":2}\n");
    run_result_free(&result);
}

static void
a_dropped_file_is_there_and_whole(void **state)
{
    char drop[HARNESS_PATH_LEN], from[HARNESS_PATH_LEN], to[HARNESS_PATH_LEN];
    const char *argv[] = {"examples/filedrop", "msp://127.0.0.1:0", drop, NULL};
    char *sent = malloc(FILE_SIZE), *stored;
    struct server s;
    struct run_result result;
    size_t n;

    (void)state;
    assert_non_null(sent);
    for (size_t i = 0; i < FILE_SIZE; i++)
        sent[i] = (char)(i * 7 + i / 251);
    harness_directory(drop);
    server_start(&s, argv, 1);
    harness_join(from, s.dir, "picture.png");
    harness_join(to, drop, "picture.png");
    harness_write_file(from, "an older one", 12);
    expect(msock(&s, "send-file", from, NULL), 0, NULL, "");
    harness_write_file(from, sent, FILE_SIZE);
    expect(msock(&s, "send-file", from, NULL), 0, NULL, "");
    stored = harness_read_file(to, &n);
    assert_non_null(stored);
    assert_int_equal(n, FILE_SIZE);
    assert_memory_equal(stored, sent, FILE_SIZE);
    expect(msock(&s, "send-file", from, "deeper/picture.png"), 65, NULL, "without directories");
    expect(msock(&s, "send-file", from, ".hidden"), 65, NULL, "without a dot in front");
    expect(msock(&s, "send", "no file", NULL), 65, NULL, "this server takes files only");
    result = server_stop(&s);
    run_result_free(&result);
    free(stored);
    free(sent);
    expect(run_program(harness_program("examples/filedrop"), "msp://127.0.0.1:0", to, NULL), 64, "",
           "picture.png: Not a directory");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_echo_comes_back_over_every_protocol),
        SYSTEM_TEST(what_is_received_is_printed),
        SYSTEM_TEST(the_sink_takes_what_it_collects_and_refuses_the_rest),
        SYSTEM_TEST(a_dropped_file_is_there_and_whole),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
