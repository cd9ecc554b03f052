/* Receiving from the command line, and the programs' own test of themselves. */
#include "harness.h"
#include "run.h"
#include "schemes.h"

#include "support/signals.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct listening {
    char err[HARNESS_PATH_LEN], url[128];
    struct run_options how;
    struct running running;
};

/* The first URL of the line `msock: ready URL...`. */
static bool
listen_ready(struct listening *l)
{
    char *said = harness_read_file(l->err, NULL), *end;
    bool ready = said != NULL && strncmp(said, "msock: ready ", 13) == 0;

    end = ready ? strchr(said, '\n') : NULL;
    if (end != NULL)
        snprintf(l->url, sizeof(l->url), "%.*s", (int)strcspn(said + 13, " \n"), said + 13);
    free(said);
    return end != NULL;
}

static void
listen_start(struct listening *l, const char *option, const char *value)
{
    const char *argv[] = {
        harness_program("msock"), "listen", "-l", "msp://127.0.0.1:0", option, value, NULL};
    char dir[HARNESS_PATH_LEN];

    harness_directory(dir);
    harness_join(l->err, dir, "err");
    l->how = (struct run_options){.error_file = l->err};
    run_start(&l->running, argv, &l->how);
    WAIT_FOR(listen_ready(l), 10000);
}

static int
send_one(const struct listening *l, const char *id, const char *body)
{
    struct run_result result = run_program(harness_program("msock"), "-u", l->url, "send", "-r",
                                           "0", "--id", id, body, NULL);
    int status = result.status;

    run_result_free(&result);
    return status;
}

/* Ended by ^C where signal is not 0. The text is the caller's. */
static char *
listen_finish(struct listening *l, int signal)
{
    struct run_result result;
    char *out;

    if (signal != 0)
        assert_int_equal(signal_send(l->running.pid, signal), 0);
    run_finish(&l->running, 30000, &result);
    assert_int_equal(result.status, 0);
    out = strdup(result.out);
    run_result_free(&result);
    return out;
}

static void
messages_are_printed_before_they_are_taken(void **state)
{
    struct listening l;
    char *out;

    (void)state;
    listen_start(&l, NULL, NULL);
    assert_int_equal(send_one(&l, "a", "one"), 0);
    assert_int_equal(send_one(&l, "b", "two"), 0);
    out = listen_finish(&l, SIGINT);
    assert_string_equal(out, "one\ntwo\n");
    free(out);
}

static void
a_count_ends_it_and_json_tells_all(void **state)
{
    const char *id, *proto, *kind, *text, *sha256;
    json_int_t size;
    json_t *line;
    struct listening l;
    char *out;

    (void)state;
    listen_start(&l, "--json", "--count=1");
    assert_int_equal(send_one(&l, "boot-42", "abc"), 0);
    out = listen_finish(&l, 0);
    line = json_loads(out, 0, NULL);
    assert_int_equal(json_unpack(line, "{s:s, s:s, s:s, s:I, s:s, s:s}", "id", &id, "proto", &proto,
                                 "kind", &kind, "size", &size, "sha256", &sha256, "text", &text),
                     0);
    assert_string_equal(id, "boot-42");
    assert_string_equal(proto, "msp");
    assert_string_equal(kind, "plain");
    assert_string_equal(text, "abc");
    assert_int_equal(size, 3);
    assert_int_equal(strncmp(sha256, "ba7816bf", 8), 0);
    json_decref(line);
    free(out);
}

static void
a_command_decides_what_becomes_of_a_message(void **state)
{
    struct listening l;
    char *out;

    (void)state;
    listen_start(&l, "--exec",
                 "case $MSOCK_ID in no) exit 65;; broken) exit 1;; esac; "
                 "echo \"$MSOCK_KIND $MSOCK_PROTO $MSOCK_SIZE $(cat)\"");
    assert_int_equal(send_one(&l, "yes", "hello"), 0);
    assert_int_equal(send_one(&l, "no", "hello"), 65);
    assert_int_equal(send_one(&l, "broken", "hello"), 75);
    out = listen_finish(&l, SIGTERM);
    assert_string_equal(out, "plain msp 5 hello\n");
    free(out);
}

/* -u and $MSOCK_URL name a place to listen on, and -l adds more. */
static void
it_listens_where_the_url_says(void **state)
{
    static const struct {
        const char *env, *words[6];
        const char *first; /* of the places it tells */
        unsigned places;
    } cases[] = {
        {NULL, {"-u", "cnp://127.0.0.1:0", "listen"}, "cnp://", 1},
        {NULL, {"listen", "-u", "cnp://127.0.0.1:0"}, "cnp://", 1},
        {"MSOCK_URL=cnp://127.0.0.1:0", {"listen"}, "cnp://", 1},
        {"MSOCK_URL=cnp://127.0.0.1:0", {"-u", "msp://127.0.0.1:0", "listen"}, "msp://", 1},
        {NULL, {"-u", "cnp://127.0.0.1:0", "listen", "-l", "msp://127.0.0.1:0"}, "cnp://", 2}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *argv[8] = {harness_program("msock")};
        char dir[HARNESS_PATH_LEN], *said;
        unsigned places = 0;
        struct listening l;

        harness_directory(dir);
        harness_join(l.err, dir, "err");
        l.how = (struct run_options){.error_file = l.err, .env = {cases[i].env}};
        memcpy(argv + 1, cases[i].words, sizeof(cases[i].words));
        run_start(&l.running, argv, &l.how);
        WAIT_FOR(listen_ready(&l), 10000);
        assert_int_equal(strncmp(l.url, cases[i].first, strlen(cases[i].first)), 0);
        said = harness_read_file(l.err, NULL);
        for (const char *at = said; (at = strstr(at, "://")) != NULL; at++)
            places++;
        free(said);
        assert_int_equal(places, cases[i].places);
        free(listen_finish(&l, SIGTERM));
    }
}

static void
what_cannot_be_listened_on_is_said(void **state)
{
    static const struct {
        const char *url;
        int status;
    } cases[] = {
        {"nonsense", 64}, {"msp://127.0.0.1:0?handler=echo", 64}, {"msp:///no/such/dir/s", 71}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run_result result =
            run_program(harness_program("msock"), "listen", "-l", cases[i].url, NULL);

        assert_int_equal(result.status, cases[i].status);
        assert_int_equal(strncmp(result.err, "msock: ", 7), 0);
        run_result_free(&result);
    }
}

static void
the_selftest_finds_every_protocol_working(void **state)
{
    static const char *const names[] = {"msp",          "tinyproto",       "cnp step-by-step",
                                        "cnp burst",    "frame length32",  "frame fixed:1024",
                                        "frame eof",    "auto cnp",        "frame delimiter",
                                        "frame sealed", "tinyproto sealed"};
    struct run_result result = run_program(harness_program("msock"), "selftest", NULL);
    const char *scheme;

    (void)state;
    if (result.status != 0)
        fail_msg("status %d; it said: %s%s", result.status, result.out, result.err);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char line[64];

        snprintf(line, sizeof(line), "ok   %s ", names[i]);
        assert_non_null(strstr(result.out, line));
    }
    for (size_t i = 0; (scheme = scheme_at(i, false)) != NULL; i++)
        assert_non_null(strstr(result.out, scheme));
    run_result_free(&result);
}

static bool
file_says(const char *path, const char *text)
{
    char *said = harness_read_file(path, NULL);
    bool same = said != NULL && strcmp(said, text) == 0;

    free(said);
    return same;
}

static void
a_reader_that_has_left_ends_it_with_74(void **state)
{
    static const char script[] = "{ \"$0\" listen -l msp://127.0.0.1:0; echo $? > \"$1\"; } | :";
    char dir[HARNESS_PATH_LEN], status[HARNESS_PATH_LEN];
    const char *argv[] = {"/bin/sh", "-c", script, harness_program("msock"), status, NULL};
    struct listening l = {0};
    struct run_result result;
    char *said;

    (void)state;
    harness_directory(dir);
    harness_join(l.err, dir, "err");
    harness_join(status, dir, "status");
    l.how = (struct run_options){.error_file = l.err};
    run_start(&l.running, argv, &l.how);
    WAIT_FOR(listen_ready(&l), 10000);
    assert_int_not_equal(send_one(&l, "1", "x"), 0);
    WAIT_FOR(file_says(status, "74\n"), 10000);
    run_finish(&l.running, 10000, &result);
    run_result_free(&result);
    said = harness_read_file(l.err, NULL);
    assert_non_null(strstr(said, "cannot write"));
    assert_null(strstr(strstr(said, "cannot write") + 1, "cannot write"));
    free(said);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_are_printed_before_they_are_taken),
        SYSTEM_TEST(a_count_ends_it_and_json_tells_all),
        SYSTEM_TEST(a_command_decides_what_becomes_of_a_message),
        SYSTEM_TEST(it_listens_where_the_url_says),
        SYSTEM_TEST(what_cannot_be_listened_on_is_said),
        SYSTEM_TEST(the_selftest_finds_every_protocol_working),
        SYSTEM_TEST(a_reader_that_has_left_ends_it_with_74),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
