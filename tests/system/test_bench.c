/* The load generator over every protocol: what it counts is what the daemon counts, and what goes
 * wrong is told by its exit status. */
#include "faults.h"
#include "proxy.h"
#include "schemes.h"
#include "stats.h"
#include "target.h"

#include "support/signals.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define MESSAGES  600
#define WORDS_MAX 32
#define URL_SIZE  256

/* Everything that the load can speak: how a listener is told, how the load is. */
static const struct kind {
    const char *listen;
    const char *options; /* of the client's URL */
    const char *words[3];
    bool acknowledged; /* messages count as committed */

} kinds[] = {
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

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* One worker: which of several takes a connection does not matter here. */
static struct daemon *
start(const char *handler, const struct kind *kind)
{
    struct daemon_options options = {
        .workers = 1, .handler = handler, .listen = {kind->listen}, .errors_expected = true};

    return daemon_start(&options);
}

static void
bench_start(struct running *r, const char *server, const struct kind *kind,
            const char *const *words)
{
    const char *argv[WORDS_MAX] = {harness_program("msock"), "bench", "--json", "-u"};
    char url[URL_SIZE];
    size_t n = 5;

    snprintf(url, sizeof(url), "%s%s", server, kind->options);
    argv[4] = url;
    for (size_t i = 0; kind->words[i] != NULL; i++)
        argv[n++] = kind->words[i];
    while (n < WORDS_MAX - 1 && (argv[n] = *words++) != NULL)
        n++;
    run_start(r, argv, NULL);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Ends the test where it ends otherwise, or does not print one JSON object (none where it says
 * nothing at all). The caller owns it. */
static json_t *
bench_finish(struct running *r, const struct kind *kind, int status)
{
    struct run_result result;
    json_t *value;

    run_finish(r, 60000, &result);
    value = json_loads(result.out, 0, NULL);
    if (result.status != status || !json_is_object(value))
        fail_msg("%s%s: status %d, not %d; %s%s", kind->listen, kind->options, result.status,
                 status, result.out, result.err);
    run_result_free(&result);
    return value;
}

static json_t *
bench(const struct daemon *d, const struct kind *kind, const char *const *words, int status)
{
    struct running r;

    bench_start(&r, d->listeners[0].url, kind, words);
    return bench_finish(&r, kind, status);
}

static uint64_t
number(const json_t *value, const char *group, const char *name)
{
    const json_t *object = group != NULL ? json_object_get(value, group) : value;
    const json_t *member = json_object_get(object, name);

    if (!json_is_integer(member))
        fail_msg("there is no number %s", name);
    return (uint64_t)json_integer_value(member);
}

static void
expect_text(const json_t *value, const char *name, const char *text)
{
    assert_string_equal(json_string_value(json_object_get(value, name)), text);
}

/* Each side counts what the other does, byte for byte. */
static void
expect_same_counts(const struct daemon *d, const struct kind *kind, const json_t *value)
{
    static const char *const names[][2] = {
        {"acks", "acks"},          {"nack1", "nack1"},
        {"nack2", "nack2"},        {"rej", "rej"},
        {"messages", "messages"},  {"bytes_in", "bytes_out"},
        {"bytes_out", "bytes_in"},
    };

    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (number(value, "total", names[i][0]) != stats_total(d, names[i][1]))
            fail_msg("%s%s: %s is %llu here, %llu there", kind->listen, kind->options, names[i][0],
                     (unsigned long long)number(value, "total", names[i][0]),
                     (unsigned long long)stats_total(d, names[i][1]));
}

static void
expect_counts(const char *handler, const char *reply)
{
    bool answers = strcmp(reply, "on") == 0;

    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d = start(handler, &kinds[i]);
        json_t *value =
            bench(d, &kinds[i],
                  WORDS("-c", "5", "--messages", "600", "--reply", reply, "--timeout", "10"), 0);

        assert_int_equal(number(value, NULL, "messages"), MESSAGES);
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
        struct daemon *d = start("echo", &kinds[i]);

        json_decref(bench(d, &kinds[i], WORDS("-c", "5", "--messages", "600"), 0));
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
        d = start("echo", &kinds[i]);
        value = bench(d, &kinds[i],
                      WORDS("-c", "2", "--messages", "20", "--size", "2500000", "--reply", "on",
                            "--ahead", strstr(kinds[i].options, "burst") != NULL ? "64" : "1"),
                      0);
        assert_int_equal(number(value, NULL, "messages"), 20);
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
        struct daemon *d = start("discard", &kinds[i]);
        json_t *value =
            bench(d, &kinds[i], WORDS("-c", "3", "--seconds", "0.2", "--warmup", "0.1"), 0);
        const json_t *latency = json_object_get(value, "latency_us");

        assert_in_range(number(value, NULL, "messages"), 1, number(value, "total", "messages"));
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
        const struct kind *kind = &kinds[i / 2];
        struct daemon *d = start("echo", kind);
        struct running r;
        json_t *value;

        bench_start(
            &r, d->listeners[0].url, kind,
            WORDS("-c", "3", "--seconds", "600", "--timeout", "1", "--reply", replies[i % 2]));
        WAIT_FOR(stats_total(d, "messages") > 100, 20000);
        signal_send(d->run.pid, SIGTERM);
        value = bench_finish(&r, kind, EX_TEMPFAIL);
        daemon_finish(d, 10000);
        assert_true(number(value, "errors", "lost") + number(value, "errors", "unanswered") > 0);
        json_decref(value);
    }
}

static void
messages_that_are_answered_survive_reloads(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct daemon *d = start("echo", &kinds[i]);
        struct running r;
        json_t *value;

        bench_start(&r, d->listeners[0].url, &kinds[i],
                    WORDS("-c", "3", "--messages", "30000", "--reply", "on"));
        WAIT_FOR(stats_total(d, "messages") > 100, 20000);
        daemon_reload(d);
        value = bench_finish(&r, &kinds[i], 0);
        assert_int_equal(number(value, NULL, "messages"), 30000);
        json_decref(value);
        daemon_stop(d);
    }
}

static void
wrong_replies_are_counted_and_do_not_count(void **state)
{
    static const struct kind receipts[] = {
        {.listen = "frame://127.0.0.1:0?reply=yes", .options = ""},
        {.listen = "frame://127.0.0.1:0?reply=yes&framing=delimiter",
         .options = "?framing=delimiter"},
        {.listen = "frame://127.0.0.1:0?reply=yes&framing=eof", .options = "?framing=eof"},
        {.listen = "tinyproto://127.0.0.1:0?reply=yes", .options = ""},
        {.listen = "cnp://127.0.0.1:0?reply=yes", .options = "?mode=burst"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(receipts) / sizeof(receipts[0]); i++) {
        struct daemon *d = start("journal", &receipts[i]);
        json_t *value = bench(d, &receipts[i],
                              WORDS("-c", "2", "--messages", "50", "--reply", "on"), EX_TEMPFAIL);

        assert_int_equal(number(value, "errors", "bad_replies"), 50);
        assert_int_equal(number(value, NULL, "messages"), 0);
        json_decref(value);
        daemon_stop(d);
    }
}

static void
refused_messages_are_counted(void **state)
{
    static const struct kind refusing[] = {
        {.listen = "cnp://127.0.0.1:0?handler=exec&exec=once&command=exit%2065", .options = ""},
        {.listen = "cnp://127.0.0.1:0?handler=exec&exec=once&command=exit%2065",
         .options = "?mode=burst"},
    };
    static const char *const replies[] = {"off", "on"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct daemon *d = start(NULL, &refusing[i / 2]);
        json_t *value =
            bench(d, &refusing[i / 2],
                  WORDS("-c", "2", "--messages", "40", "--reply", replies[i % 2]), EX_DATAERR);

        assert_int_equal(number(value, "errors", "rej"), 40);
        assert_int_equal(number(value, NULL, "messages"), 0);
        json_decref(value);
        daemon_stop(d);
    }
}

/* Packets so large that hardly any damage is to a header, which would end the connection. */
static void
damaged_packets_of_cnp_are_sent_again(void **state)
{
    static const struct kind kind = {.listen = "cnp://127.0.0.1:0", .options = "?mode=burst"};
    struct daemon *d = start("discard", &kind);
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 7, .flip_every = 1500000});
    char url[64];
    struct running r;
    json_t *value;

    (void)state;
    snprintf(url, sizeof(url), "cnp://127.0.0.1:%u", target_port(&x->target));
    bench_start(&r, url, &kind,
                WORDS("-c", "2", "--messages", "200", "--size", "60000", "--retry", "off"));
    value = bench_finish(&r, &kind, 0);
    proxy_stop(x);
    assert_int_equal(number(value, NULL, "messages"), 200);
    assert_int_equal(number(value, NULL, "connected"), 2);
    assert_true(number(value, "errors", "nack1") > 0);
    expect_same_counts(d, &kind, value);
    json_decref(value);
    daemon_stop(d);
}

static void
nobody_there_is_told(void **state)
{
    const char *scheme;
    char url[URL_SIZE];

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
    static const struct kind speaks = {.listen = "msp://127.0.0.1:0", .options = ""};
    static const char *const schemes[] = {"tinyproto", "cnp"};
    struct daemon *d = start("discard", &speaks);
    char url[URL_SIZE];

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
        {"auto://127.0.0.1:8000", {NULL}, "auto is for servers"},
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
        {"tinyproto://127.0.0.1:8000", {"--size", "4G"}, "--size"},
        {"cnp://127.0.0.1:8000", {"--ahead", "1025"}, "1024"},
        {"redis://127.0.0.1:6379", {"--reply", "on"}, "--reply"},
        {"frame://127.0.0.1:8000", {"--blocks", "--ids"}, "--ids"},
        {"msp://127.0.0.1:8000", {"--rate", "0"}, "--rate"},
        {"msp://127.0.0.1:8000", {"--members", "3"}, "--members"},
        {"msp://127.0.0.1:8000", {"--pong", "80"}, "--pong"},
        {"cnp://127.0.0.1:8000?mode=burst&window_size=9", {"--ahead", "8"}, "--ahead"},
        {"cnp://127.0.0.1:8000?mode=step-by-step", {"--ahead", "2"}, "--ahead"},
        {"msp://127.0.0.1:8000", {"--size", "1999", "--ahead"}, "--ahead"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *last = i + 1 == sizeof(rows) / sizeof(rows[0]) ? "2" : NULL;
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
        struct kind kind;
        const char *handler, *ahead;
    } rows[] = {
        {{.listen = "msp://127.0.0.1:0", .options = ""}, "discard", "16"},
        {{.listen = "cnp://127.0.0.1:0", .options = ""}, "discard", "1"},
        {{.listen = "cnp://127.0.0.1:0", .options = "?mode=burst"}, "discard", "64"},
        {{.listen = "frame://127.0.0.1:0", .options = ""}, "echo", "16"},
        {{.listen = "tinyproto://127.0.0.1:0", .options = ""}, "echo", "1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct daemon *d = start(rows[i].handler, &rows[i].kind);
        json_t *value =
            bench(d, &rows[i].kind,
                  WORDS("--blocks", "-c", "5", "--messages", "600", "--ahead", rows[i].ahead), 0);

        assert_int_equal(number(value, NULL, "messages"), MESSAGES);
        WAIT_FOR(stats_total(d, "open") == 0, 5000);
        assert_int_equal(stats_total(d, "messages"), MESSAGES);
        assert_int_equal(stats_total(d, "bytes_in"), number(value, "total", "bytes_out"));
        assert_int_equal(stats_total(d, "bytes_out"), number(value, "total", "bytes_in"));
        json_decref(value);
        daemon_stop(d);
    }
}

/* A server that answers n requests of `request` bytes each with `reply`, and is silent for pause_ms
 * before one of them. */
struct canned {
    size_t hello; /* bytes before the first request; 0: none */
    const char *welcome;
    int listener;
    size_t request;
    const char *reply;
    unsigned pause_before, pause_ms;
    char seen[512]; /* the first request */
    pthread_t thread;
    uint16_t port;
};

static void *
canned_main(void *arg)
{
    struct canned *c = arg;
    char buffer[4096];
    unsigned answered = 0;
    size_t have = 0;
    ssize_t n;
    int fd = accept(c->listener, NULL, NULL);

    if (c->hello > 0 && recv(fd, buffer, c->hello, MSG_WAITALL) == (ssize_t)c->hello)
        (void)send(fd, c->welcome, strlen(c->welcome), MSG_NOSIGNAL);
    while ((n = recv(fd, buffer + have, sizeof(buffer) - have, 0)) > 0) {
        have += (size_t)n;
        for (; have >= c->request; have -= c->request) {
            if (answered == 0)
                memcpy(c->seen, buffer, c->request < 511 ? c->request : 511);
            if (++answered == c->pause_before) {
                struct timespec pause = {.tv_nsec = (long)c->pause_ms * 1000000};

                nanosleep(&pause, NULL);
            }
            if (send(fd, c->reply, strlen(c->reply), MSG_NOSIGNAL) < 0)
                break;
            memmove(buffer, buffer + c->request, have - c->request);
        }
    }
    close(fd);
    return NULL;
}

static void
canned_start(struct canned *c)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(c->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(c->listener, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(listen(c->listener, 8), 0);
    c->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&c->thread, NULL, canned_main, c), 0);
}

static json_t *
canned_bench(struct canned *c, const char *scheme, const char *const *words)
{
    static const struct kind none = {.listen = "canned", .options = ""};
    char url[URL_SIZE];
    struct running r;
    json_t *value;

    canned_start(c);
    snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, c->port);
    bench_start(&r, url, &none, words);
    value = bench_finish(&r, &none, 0);
    pthread_join(c->thread, NULL);
    close(c->listener);
    return value;
}

/* What stands beside msockd in a comparison gets what it understands. */
static void
peers_are_spoken_to_in_their_words(void **state)
{
    static const struct {
        const char *scheme, *reply, *begins;
        size_t request;
    } rows[] = {
        {"redis", "$3\r\n1-0\r\n", "*5\r\n$4\r\nXADD\r\n$2\r\nst\r\n$1\r\n*\r\n$1\r\nm\r\n$100\r\n",
         144},
        {"beanstalkd", "INSERTED 1\r\n", "put 0 0 60 100\r\n", 118},
        {"http", "HTTP/1.1 404 No\r\nA: b\r\n\r\n", "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n", 31},
        {"raw", "ACK\r\nACK\r\n", "", 160},
        {"mqtt", "\x40\2\1\1", "\x32\x69", 107},
    };

    json_t *value;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct canned c = {.request = rows[i].request, .reply = rows[i].reply};

        if (strcmp(rows[i].scheme, "mqtt") == 0) {
            c.hello = 14;
            c.welcome = "\x20\2\1\1";
        }
        value = canned_bench(&c, rows[i].scheme, WORDS("-c", "1", "-n", "50", "-s", "100"));

        assert_int_equal(number(value, NULL, "messages"), 50);
        if (memcmp(c.seen, rows[i].begins, strlen(rows[i].begins)) != 0)
            fail_msg("%s: %s", rows[i].scheme, c.seen);
        json_decref(value);
    }
}

static double
latency_us(const json_t *value, const char *name)
{
    return json_real_value(json_object_get(json_object_get(value, "latency_us"), name));
}

/* A server that says nothing for 300 ms: in a closed loop one message in 400 has waited, on
 * schedule all those that were due meanwhile have. */
static void
a_stall_shows_on_schedule_and_hides_in_a_closed_loop(void **state)
{
    struct canned c = {
        .request = 160, .reply = "ACK\r\nACK\r\n", .pause_before = 200, .pause_ms = 300};
    json_t *closed = canned_bench(&c, "raw", WORDS("-c", "1", "-n", "400", "-s", "100"));
    json_t *scheduled;

    (void)state;
    scheduled =
        canned_bench(&c, "raw", WORDS("-c", "1", "-n", "400", "-s", "100", "--rate", "1000"));
    assert_int_equal(number(scheduled, NULL, "messages"), 400);
    assert_true(latency_us(closed, "max") >= 300000);
    assert_true(latency_us(closed, "p99") < 300000);
    /* 300 of 400 were due in the pause or in the queue that it left */
    assert_true(latency_us(scheduled, "p50") > latency_us(closed, "p50"));
    assert_true(latency_us(scheduled, "p90") >= 150000);
    json_decref(closed);
    json_decref(scheduled);
}

/* The generator does not hold up its own schedule: messages that are due within 50 ms wait less
 * than behind a server that says nothing for 100 ms. */
static void
a_schedule_begins_at_once(void **state)
{
    const char *const *words = WORDS("-c", "1", "-n", "50", "-s", "100", "--rate", "1000");
    struct canned prompt = {.request = 160, .reply = "ACK\r\nACK\r\n"};
    struct canned late = {
        .request = 160, .reply = "ACK\r\nACK\r\n", .pause_before = 1, .pause_ms = 100};
    json_t *at_once = canned_bench(&prompt, "raw", words);
    json_t *paused = canned_bench(&late, "raw", words);

    (void)state;
    assert_true(latency_us(at_once, "p50") * 4 < latency_us(paused, "p50"));
    json_decref(at_once);
    json_decref(paused);
}

/* Where nothing answers, the latency is the time until the system has a message. */
static void
what_is_only_sent_has_a_latency_too(void **state)
{
    static const struct kind frame = {.listen = "frame://127.0.0.1:0", .options = ""};
    struct daemon *d = start("discard", &frame);
    json_t *value = bench(d, &frame, WORDS("-c", "1", "-n", "100"), 0);

    (void)state;
    assert_true(latency_us(value, "p50") > 0);
    json_decref(value);
    daemon_stop(d);
}

/* What is due and cannot even be begun is not forgotten at the end. */
static void
what_was_due_and_not_sent_is_counted(void **state)
{
    struct canned c = {
        .request = 160, .reply = "ACK\r\nACK\r\n", .pause_before = 100, .pause_ms = 700};
    json_t *value = canned_bench(
        &c, "raw", WORDS("-c", "1", "-d", "0.4", "--warmup", "0", "-s", "100", "--rate", "1000"));

    (void)state;
    assert_true(number(value, NULL, "unsent") >= 100);
    assert_true(latency_us(value, "p90") >= 100000);
    json_decref(value);
}

/* Broadcast to members, and connections beside the load: the daemon sees them. */
static void
members_and_connections_beside_the_load_are_there(void **state)
{
    static const struct kind frame = {.listen = "frame://127.0.0.1:0", .options = ""};
    static const struct kind msp = {.listen = "msp://127.0.0.1:0", .options = ""};
    struct daemon *d = start("broadcast", &frame);
    json_t *value = bench(d, &frame, WORDS("--members", "20", "--ahead", "8", "-d", "0.2"), 0);

    (void)state;
    assert_true(number(value, NULL, "messages_per_second") > 0);
    assert_int_equal(stats_total(d, "accepted"), 21);
    assert_int_equal(stats_total(d, "lost"), 0);
    json_decref(value);
    daemon_stop(d);
    d = start("discard", &msp);
    value = bench(d, &msp, WORDS("-c", "2", "-n", "100", "--beside", "30", "--blocks"), 0);
    assert_int_equal(number(value, NULL, "messages"), 100);
    assert_int_equal(stats_total(d, "accepted"), 32);
    assert_int_equal(stats_total(d, "messages"), 130);
    json_decref(value);
    daemon_stop(d);
}

/* A reply that never comes, while the protocol's signs of life go on. */
static void
replies_that_never_come_end_it_in_time(void **state)
{
    static const struct kind cnp = {.listen = "cnp://127.0.0.1:0", .options = ""};
    struct daemon *d = start("discard", &cnp);
    json_t *value =
        bench(d, &cnp,
              WORDS("-c", "2", "-n", "20", "--ahead", "4", "--reply", "on", "--timeout", "1"), 75);

    (void)state;
    assert_int_equal(number(value, NULL, "messages"), 0);
    json_decref(value);
    daemon_stop(d);
}

/* The answers are awaited for a minute; a signal ends that at once. */
static void
a_signal_ends_the_wait_for_replies_that_never_come(void **state)
{
    static const struct kind cnp = {.listen = "cnp://127.0.0.1:0", .options = ""};
    struct daemon *d = start("discard", &cnp);
    struct running r;
    json_t *value;

    (void)state;
    bench_start(
        &r, d->listeners[0].url, &cnp,
        WORDS("-c", "2", "--ahead", "4", "--seconds", "1", "--reply", "on", "--timeout", "60"));
    WAIT_FOR(stats_total(d, "messages") == 8, 10000);
    assert_false(run_ended(&r, 2500));
    assert_int_equal(signal_send(r.pid, SIGINT), 0);
    if (!run_ended(&r, 20000 * WAIT_SCALE))
        fail_msg("the signal has not ended it");
    value = bench_finish(&r, &cnp, 75);
    assert_int_equal(number(value, NULL, "messages"), 0);
    json_decref(value);
    daemon_stop(d);
}

/* The daemon has one of the two addresses. The connection that finds out which is no message, also
 * where the end of a connection is the end of one. */
static void
a_name_with_several_addresses_is_loaded_where_it_answers(void **state)
{
    static const struct kind two[] = {
        {.listen = "msp://127.0.0.1:0", .options = "", .acknowledged = true},
        {.listen = "frame://127.0.0.1:0?framing=eof", .options = "?framing=eof"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = start("discard", &two[i]);
        char server[URL_SIZE];
        struct running r;
        json_t *value;

        snprintf(server, sizeof(server), "%.*s://two.localhost%s", (int)strcspn(two[i].listen, ":"),
                 two[i].listen, strrchr(d->listeners[0].url, ':'));
        bench_start(&r, server, &two[i], WORDS("-c", "2", "-n", "40"));
        value = bench_finish(&r, &two[i], 0);
        assert_int_equal(number(value, NULL, "messages"), 40);
        assert_int_equal(stats_total(d, "messages"), 40);
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
        char url[URL_SIZE];
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
        SYSTEM_TEST(peers_are_spoken_to_in_their_words),
        SYSTEM_TEST(a_stall_shows_on_schedule_and_hides_in_a_closed_loop),
        SYSTEM_TEST(a_schedule_begins_at_once),
        SYSTEM_TEST(what_is_only_sent_has_a_latency_too),
        SYSTEM_TEST(what_was_due_and_not_sent_is_counted),
        SYSTEM_TEST(replies_that_never_come_end_it_in_time),
        SYSTEM_TEST(a_signal_ends_the_wait_for_replies_that_never_come),
        SYSTEM_TEST(members_and_connections_beside_the_load_are_there),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
