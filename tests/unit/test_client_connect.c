/* Connections: refused, lost at every byte, idle ones that have gone stale, addresses of each
 * kind. */
#include "client_fixture.h"
#include "scripted_server.h"

#include "support/wait.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/time.h>

static void
dead_url(char *out, size_t n)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    snprintf(out, n, "msp://127.0.0.1:%d", ntohs(sa.sin_port));
}

static void
a_refused_connection_is_unreachable(void **state)
{
    struct msock_counts counts;
    char url[64], expected[128];
    msock *m;

    (void)state;
    dead_url(url, sizeof(url));
    m = client_open("%s", url);
    snprintf(expected, sizeof(expected), "%s: connection refused (is msockd running there?)",
             url + 6);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_string_equal(msock_error(m), expected);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    assert_string_equal(msock_error(m), expected);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.connects, 0);
    assert_int_equal(counts.retries, 0);
    msock_close(m);
}

static void
a_missing_socket_and_a_bad_name_are_unreachable(void **state)
{
    msock *m = client_open("msp:///nonexistent/msock.sock");

    (void)state;
    msock_set_retries(m, 0, 1, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    assert_non_null(
        strstr(msock_error(m), "unix:/nonexistent/msock.sock: there is no such socket"));
    msock_close(m);
    m = client_open("msp://host.invalid:8000");
    msock_set_retries(m, 0, 1, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "host.invalid"));
    msock_close(m);
}

static volatile sig_atomic_t ticks;

/* A call that never comes back must not hold the test up. */
static void
tick(int number)
{
    (void)number;
    if (++ticks > 2000)
        abort();
}

/* Every so many microseconds; 0: no more. */
static void
interrupt_every(suseconds_t us)
{
    const struct sigaction action = {.sa_handler = tick};
    const struct itimerval often = {{.tv_usec = us}, {.tv_usec = us}};

    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

/* A listener whose backlog is full and that nobody accepts from. */
static void
a_connection_that_takes_too_long_is_given_up_also_between_signals(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/msockXXXXXX", url[128];
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int filler = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    msock *m;

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", directory);
    assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(connect(filler, (struct sockaddr *)&un, sizeof(un)), 0);
    snprintf(url, sizeof(url), "msp://%s", un.sun_path);
    m = client_open("%s", url);
    msock_set_timeouts(m, 50, 50);
    for (suseconds_t us = 5000;; us = 0) {
        interrupt_every(us);
        assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
        assert_non_null(strstr(msock_error(m), "no connection within 50 ms"));
        if (us == 0)
            break;
    }
    msock_close(m);
    close(filler);
    close(listener);
    unlink(un.sun_path);
    rmdir(directory);
}

static void
every_kind_of_address_is_reached(void **state)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    uint8_t *data = test_bytes(300000);
    static const uint32_t grants[] = {100000, 0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct server *s = server_create();
        msock *m;

        s->grants = grants;
        server_start(s, families[i]);
        m = client_open("%s", s->url);
        assert_int_equal(msock_connect(m), MSOCK_OK);
        assert_int_equal(msock_connect(m), MSOCK_OK);
        assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
        assert_int_equal(msock_send(m, data, 300000), MSOCK_OK);
        msock_close(m);
        server_stop(s);
        assert_int_equal(s->connections, 1);
        assert_int_equal(s->message_count, 2);
        assert_memory_equal(s->messages[1].body, data, 300000);
        server_destroy(s);
    }
    free(data);
}

/* A server whose machine is gone is noticed, however long the final answer may take. */
static void
a_silent_connection_is_probed(void **state)
{
    struct server *s = server_create();
    int on = 0, idle_s = 0;
    socklen_t len = sizeof(on);
    msock *m;

    (void)state;
    server_start(s, AF_INET);
    m = client_open("%s", s->url);
    assert_int_equal(msock_connect(m), MSOCK_OK);
    assert_int_equal(getsockopt(msock_fd(m), SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_int_equal(getsockopt(msock_fd(m), IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, &len), 0);
    assert_int_equal(on, 1);
    assert_int_equal(idle_s, 10);
    msock_close(m);
    server_stop(s);
    server_destroy(s);
}

static void
a_name_is_resolved(void **state)
{
    struct server *s = server_create();
    char url[64];
    msock *m;

    (void)state;
    server_start(s, AF_INET);
    snprintf(url, sizeof(url), "msp://localhost%s", strrchr(s->url, ':'));
    m = client_open("%s", url);
    if (msock_connect(m) == MSOCK_OK)
        assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    else /* localhost may mean ::1 first, where this server does not listen */
        assert_non_null(strstr(msock_error(m), "localhost"));
    msock_close(m);
    server_stop(s);
    server_destroy(s);
}

/* The conversation of one message, cut after k bytes from the client or from the server. */
static bool
cut_once(size_t size, size_t k, bool reading)
{
    static const uint32_t grants[] = {500, 0};
    struct server *s = server_create();
    uint8_t *data = test_bytes(size);
    struct msock_counts counts;
    bool was_cut;
    msock *m;

    s->grants = grants;
    if (k == 0)
        s->cut_at_zero = true;
    else if (reading)
        s->cut_read = k;
    else
        s->cut_write = k;
    server_start(s, AF_INET);
    m = client_open("%s", s->url);
    assert_int_equal(msock_send(m, data, size), MSOCK_OK);
    msock_get_counts(m, &counts);
    was_cut = counts.connects == 2;
    assert_int_equal(counts.retries, was_cut);
    assert_int_equal(counts.messages, 1);
    msock_close(m);
    server_stop(s);
    assert_int_equal(server_distinct(s), 1);
    for (size_t i = 0; i < s->message_count; i++)
        assert_memory_equal(s->messages[i].body, data, size);
    server_destroy(s);
    free(data);
    return was_cut;
}

static void
a_connection_lost_at_any_byte_ends_in_one_success(void **state)
{
    (void)state;
    for (int reading = 0; reading < 2; reading++) {
        size_t k = 0;

        while (cut_once(8, k, reading))
            k++;
        /* 50 + 8 and a trailer of 10 + 32; two times "ACK" with CRLF. */
        assert_int_equal(k, reading ? 101 : 10);
    }
    for (size_t k = 0; k < 2700; k += k < 80 || k > 2500 ? 1 : 97)
        cut_once(2100, k, true);
    for (size_t k = 0; k < 20; k++)
        cut_once(2100, k, false);
}

static void
a_connection_closed_while_idle_is_replaced_in_silence(void **state)
{
    static const char *const farewells[] = {NULL, "ERR shutdown bye", "whatever"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct server *s = server_create();
        struct msock_counts counts;
        msock *m;

        s->leave = true;
        s->farewell = farewells[i];
        server_start(s, AF_INET);
        m = client_open("%s", s->url);
        msock_set_retries(m, 1, 2000, 2000); /* a wait would be noticed */
        for (int k = 0; k < 5; k++)
            assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
        msock_get_counts(m, &counts);
        assert_int_equal(counts.messages, 5);
        assert_int_equal(counts.connects, 5);
        msock_close(m);
        server_stop(s);
        assert_int_equal(s->message_count, 5);
        server_destroy(s);
    }
}

static void
the_first_retry_after_a_shutdown_does_not_wait(void **state)
{
    static const char *const answers[] = {RIGHT, RIGHT, "ERR shutdown bye", NULL};
    struct server *s = server_create();
    struct msock_counts counts;
    uint64_t begun;
    msock *m;

    (void)state;
    s->answers = answers;
    server_start(s, AF_INET);
    m = client_open("%s", s->url);
    msock_set_retries(m, 1, 20000, 20000);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    begun = now_us() / 1000;
    assert_int_equal(msock_send(m, "two", 3), MSOCK_OK);
    assert_true(now_us() / 1000 - begun < 5000);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.retries, 1);
    assert_int_equal(counts.err, 1);
    msock_close(m);
    server_stop(s);
    server_destroy(s);
}

static void
a_server_that_comes_back_gets_the_message(void **state)
{
    struct server *s = server_create();
    struct msock_counts counts;
    msock *m;

    (void)state;
    s->cut_at_zero = true;
    server_start(s, AF_INET);
    m = client_open("%s", s->url);
    msock_set_retries(m, 1, 1, 1);
    assert_int_equal(msock_connect(m), MSOCK_OK);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_OK);
    msock_get_counts(m, &counts);
    assert_int_equal(counts.connects, 2);
    msock_close(m);
    server_stop(s);
    assert_int_equal(s->message_count, 1);
    server_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_connection_is_unreachable),
        cmocka_unit_test(a_missing_socket_and_a_bad_name_are_unreachable),
        cmocka_unit_test(a_connection_that_takes_too_long_is_given_up_also_between_signals),
        cmocka_unit_test(every_kind_of_address_is_reached),
        cmocka_unit_test(a_silent_connection_is_probed),
        cmocka_unit_test(a_name_is_resolved),
        cmocka_unit_test(a_connection_lost_at_any_byte_ends_in_one_success),
        cmocka_unit_test(a_connection_closed_while_idle_is_replaced_in_silence),
        cmocka_unit_test(the_first_retry_after_a_shutdown_does_not_wait),
        cmocka_unit_test(a_server_that_comes_back_gets_the_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
