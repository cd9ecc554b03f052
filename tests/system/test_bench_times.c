/* The load generator beside what msockd is compared with, and the times that it measures. */
#include "bench.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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
    static const struct bench_kind none = {.listen = "canned", .options = ""};
    char url[BENCH_URL];
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
        {"post", "HTTP/1.1 204 No\r\nA: b\r\n\r\n", "POST /idle HTTP/1.1\r\nHost: x\r\n", 153},
        {"raw", "ACK\r\nACK\r\n", "", 160},
        {"mqtt", "\x40\2\1\1", "\x32\x69", 107},
    };

    json_t *value;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct canned c = {.request = rows[i].request, .reply = rows[i].reply};

        if (strcmp(rows[i].scheme, "mqtt") == 0) {
            c.hello = 14;
            c.welcome = "\x20\2\1\1";
        }
        value = canned_bench(&c, rows[i].scheme, BENCH_WORDS("-c", "1", "-n", "50", "-s", "100"));

        assert_int_equal(bench_number(value, NULL, "messages"), 50);
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
    json_t *closed = canned_bench(&c, "raw", BENCH_WORDS("-c", "1", "-n", "400", "-s", "100"));
    json_t *scheduled;

    (void)state;
    scheduled =
        canned_bench(&c, "raw", BENCH_WORDS("-c", "1", "-n", "400", "-s", "100", "--rate", "1000"));
    assert_int_equal(bench_number(scheduled, NULL, "messages"), 400);
    assert_true(latency_us(closed, "max") >= 300000);
    assert_true(latency_us(closed, "p99") < 300000);
    /* 300 of 400 were due in the pause or in the queue that it left */
    assert_true(latency_us(scheduled, "p50") > latency_us(closed, "p50"));
    assert_true(latency_us(scheduled, "p90") >= 150000);
    json_decref(closed);
    json_decref(scheduled);
}

/* The median wait of 50 messages that are due within 50 ms. */
static double
median_of_fifty(unsigned pause_ms)
{
    struct canned c = {
        .request = 160, .reply = "ACK\r\nACK\r\n", .pause_before = 1, .pause_ms = pause_ms};
    json_t *value =
        canned_bench(&c, "raw", BENCH_WORDS("-c", "1", "-n", "50", "-s", "100", "--rate", "1000"));
    double us = latency_us(value, "p50");

    json_decref(value);
    return us;
}

/* The generator does not hold up its own schedule: messages wait less than behind a server that
 * says nothing for 100 ms. It would each time; a busy machine does not. */
static void
a_schedule_begins_at_once(void **state)
{
    double paused = median_of_fifty(100);

    (void)state;
    WAIT_FOR(median_of_fifty(0) * 4 < paused, 5000);
}

/* Where nothing answers, the latency is the time until the system has a message. */
static void
what_is_only_sent_has_a_latency_too(void **state)
{
    static const struct bench_kind frame = {.listen = "frame://127.0.0.1:0", .options = ""};
    struct daemon *d = bench_daemon("discard", &frame);
    json_t *value = bench_run(d, &frame, BENCH_WORDS("-c", "1", "-n", "100"), 0);

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
        &c, "raw",
        BENCH_WORDS("-c", "1", "-d", "0.4", "--warmup", "0", "-s", "100", "--rate", "1000"));

    (void)state;
    assert_true(bench_number(value, NULL, "unsent") >= 100);
    assert_true(latency_us(value, "p90") >= 100000);
    json_decref(value);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(peers_are_spoken_to_in_their_words),
        SYSTEM_TEST(a_stall_shows_on_schedule_and_hides_in_a_closed_loop),
        SYSTEM_TEST(a_schedule_begins_at_once),
        SYSTEM_TEST(what_is_only_sent_has_a_latency_too),
        SYSTEM_TEST(what_was_due_and_not_sent_is_counted),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
