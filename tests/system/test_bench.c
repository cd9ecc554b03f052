/* The load generator over every protocol: what it counts is what the daemon counts, and what goes
 * wrong is told by its exit status. */
#include "bench.h"
#include "faults.h"
#include "proxy.h"
#include "schemes.h"
#include "stats.h"
#include "target.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define MESSAGES 600

/* Everything that the load can speak: how a listener is told, how the load is. */
static const struct bench_kind kinds[] = {
    {.listen = "msp://127.0.0.1:0", .options = "", .acknowledged = true},
    {.listen = "frame://127.0.0.1:0", .options = ""},
    {.listen = "frame://127.0.0.1:0", .options = "", .words = {"--ahead", "16"}},
    {.listen = "frame://127.0.0.1:0?framing=fixed:700", .options = "?framing=fixed:700"},
    {.listen = "frame://127.0.0.1:0?framing=delimiter", .options = "?framing=delimiter"},
    {.listen = "frame://127.0.0.1:0?framing=delimiter:%5Cx00valve", /* words of the messages */
     .options = "?framing=delimiter&delimiter=%5C0valve",
     .words = {"--ahead", "3"}},
    {.listen = "frame://127.0.0.1:0?framing=eof", .options = "?framing=eof"},
    {.listen = "tinyproto://127.0.0.1:0", .options = ""},
    {.listen = "cnp://127.0.0.1:0", .options = "", .acknowledged = true},
    {.listen = "cnp://127.0.0.1:0", .options = "?mode=burst", .acknowledged = true},
    {.listen =
         /* five fragments each */
     "cnp://127.0.0.1:0?packet_size=64&packet_size_max=64&window_size=4",
     .options = "",
     .words = {"--ahead", "16"},
     .acknowledged = true},
};

#define KINDS (MS_ARRAY_LEN(kinds))

static void
expect_text(const json_t *value, const char *name, const char *text)
{
    assert_string_equal(json_string_value(json_object_get(value, name)), text);
}

/* Each side counts what the other does, byte for byte. */
static void
expect_same_counts(const struct daemon *d, const struct bench_kind *kind, const json_t *value)
{
    static const char *const names[][2] = {
        {"acks", "acks"},          {"nack1", "nack1"},
        {"nack2", "nack2"},        {"rej", "rej"},
        {"messages", "messages"},  {"bytes_in", "bytes_out"},
        {"bytes_out", "bytes_in"},
    };

    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++)
        if (bench_number(value, "total", names[i][0]) != stats_total(d, names[i][1]))
            fail_msg("%s%s: %s is %llu here, %llu there", kind->listen, kind->options, names[i][0],
                     (unsigned long long)bench_number(value, "total", names[i][0]),
                     (unsigned long long)stats_total(d, names[i][1]));
}

static void
expect_counts(const char *handler, const char *reply)
{
    bool answers = strcmp(reply, "on") == 0;

    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d = bench_daemon(handler, &kinds[i]);
        json_t *value = bench_run(
            d, &kinds[i],
            BENCH_WORDS("-c", "5", "--messages", "600", "--reply", reply, "--timeout", "10"), 0);

        assert_int_equal(bench_number(value, NULL, "messages"), MESSAGES);
        expect_text(value, "counted",
                    kinds[i].acknowledged ? "committed"
                    : answers             ? "answered"
                                          : "sent");
        expect_same_counts(d, &kinds[i], value);
        json_decref(value);
        daemon_stop(d);
    }
}

static void
messages_that_are_discarded_are_counted_on_both_sides(void **state)
{
    (void)state;
    expect_counts("discard", "off");
}

static void
messages_that_come_back_are_counted_on_both_sides(void **state)
{
    (void)state;
    expect_counts("echo", "on");
}

static void
messages_that_are_kept_are_counted_on_both_sides(void **state)
{
    (void)state;
    expect_counts("journal", "off");
}

static void
replies_that_nobody_wants_hold_nothing_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d = bench_daemon("echo", &kinds[i]);

        json_decref(bench_run(d, &kinds[i], BENCH_WORDS("-c", "5", "--messages", "600"), 0));
        WAIT_FOR(stats_total(d, "messages") == MESSAGES, 5000);
        daemon_stop(d);
    }
}

static void
large_messages_are_cut_and_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d;
        json_t *value;

        if (strstr(kinds[i].options, "fixed") != NULL || strstr(kinds[i].listen, "_max=64") != NULL)
            continue;
        d = bench_daemon("echo", &kinds[i]);
        value = bench_run(d, &kinds[i],
                          BENCH_WORDS("-c", "2", "--messages", "20", "--size", "2500000", "--reply",
                                      "on", "--ahead",
                                      strstr(kinds[i].options, "burst") != NULL ? "64" : "1"),
                          0);
        assert_int_equal(bench_number(value, NULL, "messages"), 20);
        expect_same_counts(d, &kinds[i], value);
        json_decref(value);
        daemon_stop(d);
    }
}

static void
a_load_for_some_time_counts_all_of_its_phases(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d = bench_daemon("discard", &kinds[i]);
        json_t *value = bench_run(d, &kinds[i],
                                  BENCH_WORDS("-c", "3", "--seconds", "0.2", "--warmup", "0.1"), 0);
        const json_t *latency = json_object_get(value, "latency_us");

        assert_in_range(bench_number(value, NULL, "messages"), 1,
                        bench_number(value, "total", "messages"));
        assert_true(json_real_value(json_object_get(value, "messages_per_second")) > 0);
        assert_true(json_real_value(json_object_get(value, "mb_per_second")) > 0);
        assert_true(json_real_value(json_object_get(latency, "p50")) <=
                    json_real_value(json_object_get(latency, "max")));
        expect_same_counts(d, &kinds[i], value);
        json_decref(value);
        daemon_stop(d);
    }
}

/* --- what goes wrong --- */

static void
a_daemon_that_leaves_for_good_is_told_by_the_exit_status(void **state)
{
    static const char *const replies[] = {"off", "on"};

    (void)state;
    for (size_t i = 0; i<2 * KINDS; i += WAIT_SCALE> 1 ? 3 : 1) {
        const struct bench_kind *kind = &kinds[i / 2];
        struct daemon *d = bench_daemon("echo", kind);
        struct running r;
        json_t *value;

        bench_start(&r, d->listeners[0].url, kind,
                    BENCH_WORDS("-c", "3", "--seconds", "600", "--timeout", "1", "--reply",
                                replies[i % 2]));
        WAIT_FOR(stats_total(d, "messages") > 100, 20000);
        signal_send(d->run.pid, SIGTERM);
        value = bench_finish(&r, kind, EX_TEMPFAIL);
        daemon_finish(d, 10000);
        assert_true(bench_number(value, "errors", "lost") +
                        bench_number(value, "errors", "unanswered") >
                    0);
        json_decref(value);
    }
}

static void
messages_that_are_answered_survive_reloads(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d = bench_daemon("echo", &kinds[i]);
        struct running r;
        json_t *value;

        bench_start(&r, d->listeners[0].url, &kinds[i],
                    BENCH_WORDS("-c", "3", "--messages", "30000", "--reply", "on"));
        WAIT_FOR(stats_total(d, "messages") > 100, 20000);
        daemon_reload(d);
        value = bench_finish(&r, &kinds[i], 0);
        assert_int_equal(bench_number(value, NULL, "messages"), 30000);
        json_decref(value);
        daemon_stop(d);
    }
}

static void
wrong_replies_are_counted_and_do_not_count(void **state)
{
    static const struct bench_kind receipts[] = {
        {.listen = "frame://127.0.0.1:0?reply=yes", .options = ""},
        {.listen = "frame://127.0.0.1:0?reply=yes&framing=delimiter",
         .options = "?framing=delimiter"},
        {.listen = "frame://127.0.0.1:0?reply=yes&framing=eof", .options = "?framing=eof"},
        {.listen = "tinyproto://127.0.0.1:0?reply=yes", .options = ""},
        {.listen = "cnp://127.0.0.1:0?reply=yes", .options = "?mode=burst"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(receipts); i++) {
        struct daemon *d = bench_daemon("journal", &receipts[i]);
        json_t *value =
            bench_run(d, &receipts[i], BENCH_WORDS("-c", "2", "--messages", "50", "--reply", "on"),
                      EX_TEMPFAIL);

        assert_int_equal(bench_number(value, "errors", "bad_replies"), 50);
        assert_int_equal(bench_number(value, NULL, "messages"), 0);
        json_decref(value);
        daemon_stop(d);
    }
}

static void
refused_messages_are_counted(void **state)
{
    static const struct bench_kind refusing[] = {
        {.listen = "cnp://127.0.0.1:0?handler=exec&exec=once&command=exit%2065", .options = ""},
        {.listen = "cnp://127.0.0.1:0?handler=exec&exec=once&command=exit%2065",
         .options = "?mode=burst"},
    };
    static const char *const replies[] = {"off", "on"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct daemon *d = bench_daemon(NULL, &refusing[i / 2]);
        json_t *value = bench_run(
            d, &refusing[i / 2],
            BENCH_WORDS("-c", "2", "--messages", "40", "--reply", replies[i % 2]), EX_DATAERR);

        assert_int_equal(bench_number(value, "errors", "rej"), 40);
        assert_int_equal(bench_number(value, NULL, "messages"), 0);
        json_decref(value);
        daemon_stop(d);
    }
}

/* So are their answers. Where that to a damaged packet is damaged, only time tells. */
static void
damaged_packets_of_cnp_are_sent_again(void **state)
{
    static const struct bench_kind kind = {.listen = "cnp://127.0.0.1:0", .options = "?mode=burst"};
    struct daemon *d = bench_daemon("discard", &kind);
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 7, .spoil_every = 40});
    char url[64];
    struct running r;
    json_t *value;

    (void)state;
    snprintf(url, sizeof(url), "cnp://127.0.0.1:%u", target_port(&x->target));
    bench_start(&r, url, &kind,
                BENCH_WORDS("-c", "2", "--messages", "1000", "--size", "600", "--retry", "off"));
    value = bench_finish(&r, &kind, 0);
    proxy_stop(x);
    assert_int_equal(bench_number(value, NULL, "messages"), 1000);
    assert_int_equal(bench_number(value, NULL, "connected"), 2);
    assert_true(bench_number(value, "errors", "nack1") > 0);
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    assert_int_equal(stats_total(d, "messages"), 1000);
    assert_int_equal(stats_total(d, "nack1"), x->spoiled_up);
    json_decref(value);
    daemon_stop(d);
}

static void
nobody_there_is_told(void **state)
{
    const char *scheme;
    char url[BENCH_URL];

    (void)state;
    for (size_t i = 0; (scheme = scheme_at(i, false)) != NULL; i++) {
        struct run_result result;

        snprintf(url, sizeof(url), "%s:///nowhere/at/all", scheme);
        result = run_program(harness_program("msock"), "bench", "-u", url, "-c", "2", "-n", "2",
                             "--retry", "off", NULL);
        assert_int_equal(result.status, EX_UNAVAILABLE);
        run_result_free(&result);
    }
}

/* A server that speaks something else never makes a good load. */
static void
another_protocol_is_no_success(void **state)
{
    static const struct bench_kind speaks = {.listen = "msp://127.0.0.1:0", .options = ""};
    static const char *const schemes[] = {"tinyproto", "cnp"};
    struct daemon *d = bench_daemon("discard", &speaks);
    char url[BENCH_URL];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct run_result result;

        snprintf(url, sizeof(url), "%s://127.0.0.1:%u", schemes[i], target_port(&d->listeners[0]));
        result = run_program(harness_program("msock"), "bench", "-u", url, "-c", "2", "-n", "2",
                             "--timeout", "0.3", NULL);
        if (result.status != EX_TEMPFAIL)
            fail_msg("%s: status %d, %s%s", url, result.status, result.out, result.err);
        run_result_free(&result);
    }
    daemon_stop(d);
}

static void
what_cannot_be_is_said(void **state)
{
    static const struct {
        const char *url, *words[3], *says;
    } rows[] = {
        {"gopher://127.0.0.1:8000", {NULL}, "what can be spoken is"},
        {"frame://127.0.0.1:8000?framing=lines", {NULL}, "framing"},
        {"frame://127.0.0.1:8000?mode=burst", {NULL}, "has no option"},
        {"frame://127.0.0.1:8000?foo=1", {NULL}, "frame has no option \"foo\""},
        {"redis://127.0.0.1:8000?foo=1", {NULL}, "redis has no option \"foo\""},
        {"cnp://127.0.0.1:8000?mode=fast", {NULL}, "mode is"},
        {"cnp://127.0.0.1:8000?window_size=5", {NULL}, "mode=burst only"},
        {"frame://127.0.0.1:8000?key_file=/dev/null", {NULL}, "key"},
        {"frame://127.0.0.1:8000?framing=fixed:9", {"--size", "10"}, "--size"},
        {"frame://127.0.0.1:8000?framing=eof", {"--ahead", "2"}, "--ahead"},
        {"frame://127.0.0.1:8000?framing=eof", {"--idle"}, "--hold"},
        {"frame://127.0.0.1:8000?framing=eof", {"--size", "0"}, "--size"},
        {"frame://127.0.0.1:8000", {"--size", "4G"}, "--size"},
        {"frame://127.0.0.1:8000", {"--ahead", "0"}, "--ahead"},
        {"frame://127.0.0.1:8000", {"--ids"}, "only msp"},
        {"cnp://127.0.0.1:8000", {"--late-digest"}, "only msp"},
        {"tinyproto://127.0.0.1:8000", {"--kind", "file"}, "only msp"},
        {"tinyproto://127.0.0.1:8000", {"--ahead", "2"}, "--ahead"},
        {"tinyproto://127.0.0.1:8000?role=server", {"-c", "2"}, "no role=server"},
        {"tinyproto://127.0.0.1:8000", {"--size", "4G"}, "--size"},
        {"cnp://127.0.0.1:8000", {"--ahead", "1025"}, "1024"},
        {"redis://127.0.0.1:6379", {"--reply", "on"}, "--reply"},
        {"frame://127.0.0.1:8000", {"--blocks", "--ids"}, "--ids"},
        {"msp://127.0.0.1:8000", {"--rate", "0"}, "--rate"},
        {"msp://127.0.0.1:8000", {"--members", "3"}, "--members"},
        {"msp://127.0.0.1:8000", {"--pong", "80"}, "--pong"},
        {"msp://127.0.0.1:8000", {"--insecure"}, "begins with msp+tls://"},
        {"frame+tls://127.0.0.1:8000", {"--members", "3"}, "speak no TLS"},
        {"cnp+tls://127.0.0.1:8000", {"--blocks"}, "--blocks"},
        {"msp+tls://127.0.0.1:8000?tls_verify=no", {NULL}, "tls_verify"},
        {"msp+tls:///run/none/x.sock", {NULL}, "has no host name"},
        {"cnp://127.0.0.1:8000?mode=burst&window_size=9", {"--ahead", "8"}, "--ahead"},
        {"cnp://127.0.0.1:8000?mode=step-by-step", {"--ahead", "2"}, "--ahead"},
        {"msp://127.0.0.1:8000", {"--size", "1999", "--ahead"}, "--ahead"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        const char *last = i + 1 == MS_ARRAY_LEN(rows) ? "2" : NULL;
        struct run_result result =
            run_program(harness_program("msock"), "bench", "-u", rows[i].url, rows[i].words[0],
                        rows[i].words[1], rows[i].words[2], last, NULL);

        if (result.status != EX_USAGE || strstr(result.err, rows[i].says) == NULL)
            fail_msg("%s %s: status %d, %s", rows[i].url, rows[i].words[0], result.status,
                     result.err);
        run_result_free(&result);
    }
}

/* Blocks made beforehand are the same messages. */
static void
blocks_are_counted_on_both_sides(void **state)
{
    static const struct {
        struct bench_kind kind;
        const char *handler, *ahead;
    } rows[] = {
        {{.listen = "msp://127.0.0.1:0", .options = ""}, "discard", "16"},
        {{.listen = "cnp://127.0.0.1:0", .options = ""}, "discard", "1"},
        {{.listen = "cnp://127.0.0.1:0", .options = "?mode=burst"}, "discard", "64"},
        {{.listen = "frame://127.0.0.1:0", .options = ""}, "echo", "16"},
        {{.listen = "tinyproto://127.0.0.1:0", .options = ""}, "echo", "1"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = bench_daemon(rows[i].handler, &rows[i].kind);
        json_t *value = bench_run(
            d, &rows[i].kind,
            BENCH_WORDS("--blocks", "-c", "5", "--messages", "600", "--ahead", rows[i].ahead), 0);

        assert_int_equal(bench_number(value, NULL, "messages"), MESSAGES);
        WAIT_FOR(stats_total(d, "open") == 0, 5000);
        assert_int_equal(stats_total(d, "messages"), MESSAGES);
        assert_int_equal(stats_total(d, "bytes_in"), bench_number(value, "total", "bytes_out"));
        assert_int_equal(stats_total(d, "bytes_out"), bench_number(value, "total", "bytes_in"));
        json_decref(value);
        daemon_stop(d);
    }
}

/* Broadcast to members, and connections beside the load: the daemon sees them. */
static void
members_and_connections_beside_the_load_are_there(void **state)
{
    static const struct bench_kind frame = {.listen = "frame://127.0.0.1:0", .options = ""};
    static const struct bench_kind msp = {.listen = "msp://127.0.0.1:0", .options = ""};
    struct daemon *d = bench_daemon("broadcast", &frame);
    json_t *value =
        bench_run(d, &frame, BENCH_WORDS("--members", "20", "--ahead", "8", "-d", "0.2"), 0);

    (void)state;
    assert_true(bench_number(value, NULL, "messages_per_second") > 0);
    assert_int_equal(stats_total(d, "accepted"), 21);
    assert_int_equal(stats_total(d, "lost"), 0);
    json_decref(value);
    daemon_stop(d);
    d = bench_daemon("discard", &msp);
    value =
        bench_run(d, &msp, BENCH_WORDS("-c", "2", "-n", "100", "--beside", "30", "--blocks"), 0);
    assert_int_equal(bench_number(value, NULL, "messages"), 100);
    assert_int_equal(stats_total(d, "accepted"), 32);
    assert_int_equal(stats_total(d, "messages"), 130);
    json_decref(value);
    daemon_stop(d);
}

/* A reply that never comes, while the protocol's signs of life go on. */
static void
replies_that_never_come_end_it_in_time(void **state)
{
    static const struct bench_kind cnp = {.listen = "cnp://127.0.0.1:0", .options = ""};
    struct daemon *d = bench_daemon("discard", &cnp);
    json_t *value = bench_run(
        d, &cnp,
        BENCH_WORDS("-c", "2", "-n", "20", "--ahead", "4", "--reply", "on", "--timeout", "1"), 75);

    (void)state;
    assert_int_equal(bench_number(value, NULL, "messages"), 0);
    json_decref(value);
    daemon_stop(d);
}

/* The answers are awaited for a minute; a signal ends that at once. */
static void
a_signal_ends_the_wait_for_replies_that_never_come(void **state)
{
    static const struct bench_kind cnp = {.listen = "cnp://127.0.0.1:0", .options = ""};
    struct daemon *d = bench_daemon("discard", &cnp);
    struct running r;
    json_t *value;

    (void)state;
    bench_start(&r, d->listeners[0].url, &cnp,
                BENCH_WORDS("-c", "2", "--ahead", "4", "--seconds", "1", "--reply", "on",
                            "--timeout", "60"));
    WAIT_FOR(stats_total(d, "messages") == 8, 10000);
    assert_false(run_ended(&r, 2500));
    assert_int_equal(signal_send(r.pid, SIGINT), 0);
    if (!run_ended(&r, 20000 * WAIT_SCALE))
        fail_msg("the signal has not ended it");
    value = bench_finish(&r, &cnp, 75);
    assert_int_equal(bench_number(value, NULL, "messages"), 0);
    json_decref(value);
    daemon_stop(d);
}

/* The daemon has one of the two addresses. The connection that finds out which is no message, also
 * where the end of a connection is the end of one. */
static void
a_name_with_several_addresses_is_loaded_where_it_answers(void **state)
{
    static const struct bench_kind two[] = {
        {.listen = "msp://127.0.0.1:0", .options = "", .acknowledged = true},
        {.listen = "frame://127.0.0.1:0?framing=eof", .options = "?framing=eof"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = bench_daemon("discard", &two[i]);
        char server[BENCH_URL];
        struct running r;
        json_t *value;

        snprintf(server, sizeof(server), "%.*s://two.localhost%s", (int)strcspn(two[i].listen, ":"),
                 two[i].listen, strrchr(d->listeners[0].url, ':'));
        bench_start(&r, server, &two[i], BENCH_WORDS("-c", "2", "-n", "40"));
        value = bench_finish(&r, &two[i], 0);
        assert_int_equal(bench_number(value, NULL, "messages"), 40);
        WAIT_FOR(stats_total(d, "messages") == 40, 5000); /* one that is only sent is on its way */
        json_decref(value);
        daemon_stop(d);
    }
}

static void
a_resolver_that_never_answers_is_told(void **state)
{
    static const char names[] = "silent.test never\n";
    char dir[HARNESS_PATH_LEN], hosts[HARNESS_PATH_LEN];
    char preload[HARNESS_PATH_LEN + 16], control[HARNESS_PATH_LEN + 16];
    const char *scheme;

    (void)state;
    faults_need();
    harness_directory(dir);
    harness_join(hosts, dir, "hosts");
    harness_write_file(hosts, names, strlen(names));
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", harness_program("tests/hosts.so"));
    snprintf(control, sizeof(control), "MSOCK_HOSTS=%s", hosts);
    for (size_t i = 0; (scheme = scheme_at(i, false)) != NULL; i++) {
        char url[BENCH_URL];
        const char *const argv[] = {
            harness_program("msock"), "bench", "-u", url, "-n", "2", "--timeout", "0.3", NULL};
        struct run_options how = {.env = {preload, control}};
        struct run_result result;
        struct running r;

        snprintf(url, sizeof(url), "%s://silent.test:8000", scheme);
        run_start(&r, argv, &how);
        run_finish(&r, 30000, &result);
        assert_int_equal(result.status, EX_UNAVAILABLE);
        if (strstr(result.err, "the resolver has not answered within") == NULL)
            fail_msg("%s: \"%s\"", url, result.err);
        run_result_free(&result);
    }
}

static void
processes_that_are_not_there_have_no_cpu_time(void **state)
{
    struct daemon *d = bench_daemon("discard", &kinds[0]);
    char both[64], none[64];
    const struct {
        const char *pids;
        bool told;
    } cases[] = {{both, true}, {none, false}, {"x", false}};

    (void)state;
    snprintf(both, sizeof(both), "%d,%d", (int)getpid(), (int)getppid());
    snprintf(none, sizeof(none), "%d,4194305", (int)getpid()); /* over the largest pid */
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        json_t *value = bench_run(
            d, &kinds[0], BENCH_WORDS("--messages", "10", "--cpu-of", cases[i].pids), EX_OK);

        assert_int_equal(json_object_get(value, "server_cpu") != NULL, cases[i].told);
        json_decref(value);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_name_with_several_addresses_is_loaded_where_it_answers),
        SYSTEM_TEST(a_resolver_that_never_answers_is_told),
        SYSTEM_TEST(messages_that_are_discarded_are_counted_on_both_sides),
        SYSTEM_TEST(messages_that_come_back_are_counted_on_both_sides),
        SYSTEM_TEST(messages_that_are_kept_are_counted_on_both_sides),
        SYSTEM_TEST(replies_that_nobody_wants_hold_nothing_up),
        SYSTEM_TEST(large_messages_are_cut_and_come_back),
        SYSTEM_TEST(a_load_for_some_time_counts_all_of_its_phases),
        SYSTEM_TEST(a_daemon_that_leaves_for_good_is_told_by_the_exit_status),
        SYSTEM_TEST(messages_that_are_answered_survive_reloads),
        SYSTEM_TEST(wrong_replies_are_counted_and_do_not_count),
        SYSTEM_TEST(refused_messages_are_counted),
        SYSTEM_TEST(damaged_packets_of_cnp_are_sent_again),
        SYSTEM_TEST(nobody_there_is_told),
        SYSTEM_TEST(another_protocol_is_no_success),
        SYSTEM_TEST(what_cannot_be_is_said),
        SYSTEM_TEST(blocks_are_counted_on_both_sides),
        SYSTEM_TEST(replies_that_never_come_end_it_in_time),
        SYSTEM_TEST(a_signal_ends_the_wait_for_replies_that_never_come),
        SYSTEM_TEST(members_and_connections_beside_the_load_are_there),
        SYSTEM_TEST(processes_that_are_not_there_have_no_cpu_time),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
