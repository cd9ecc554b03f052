/* A program that waits by itself (msock_set_wait) or connects by itself (msock_attach). */
#include "byte_server.h"
#include "msock.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define MESSAGE "hello"
#define FRAME   "\0\0\0\5hello"

#define LATE_S 60 /* longer than all time limits */

static time_t clock_ahead_s;

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += clock_ahead_s;
    return rc;
}

/* Waits as poll(2) does, but so many times at most, and with signals before. is_late: it gets no
 * processor for LATE_S behind that. */
struct waits {
    unsigned signals, most;
    bool is_late;
    unsigned asked, pauses;
};

static int
wait_for_it(void *arg, struct pollfd *fds, unsigned n, int timeout_ms)
{
    struct waits *w = arg;

    assert_int_not_equal(timeout_ms, 0);
    w->pauses += n == 0;
    if (w->asked++ < w->signals) {
        errno = EINTR;
        return -1;
    }
    if (w->asked <= w->most) {
        int ready = poll(fds, n, timeout_ms);

        clock_ahead_s += w->is_late ? LATE_S : 0;
        return ready;
    }
    errno = ETIME;
    return -1;
}

static msock *
client_open(const char *protocol, const char *at, struct waits *waits)
{
    char url[160];
    msock *m;

    snprintf(url, sizeof(url), "%s://%s", protocol, at);
    m = msock_open(url);
    assert_non_null(m);
    msock_set_timeouts(m, 20000, 20000);
    msock_set_retries(m, 2, 1, 2);
    msock_set_wait(m, wait_for_it, waits);
    return m;
}

static void
serve_silence(struct byte_server *s)
{
    (void)byte_until_end(s);
}

static void
serve_frames(struct byte_server *s)
{
    if (EXPECT(s, FRAME) && EXPECT(s, FRAME))
        SAY(s, FRAME);
    (void)byte_until_end(s);
}

static void
serve_frame(struct byte_server *s)
{
    if (EXPECT(s, FRAME))
        SAY(s, FRAME);
    (void)byte_until_end(s);
}

static void
a_call_ends_when_the_program_wants_it(void **state)
{
    struct byte_server s = {0};
    struct waits waits = {.signals = 3, .most = 5};
    msock *m;

    (void)state;
    byte_server_start(&s, serve_silence, NULL);
    m = client_open("msp", s.at, &waits);
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_CANCELLED);
    assert_int_equal(waits.asked, 6);
    assert_non_null(strstr(msock_error(m), "may have been committed"));
    assert_int_equal(msock_fd(m), -1);
    waits = (struct waits){0}; /* not even a connection */
    assert_int_equal(msock_connect(m), MSOCK_CANCELLED);
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_CANCELLED);
    assert_int_equal(waits.asked, 2);
    msock_close(m);
    byte_server_stop(&s);
}

static void
receiving_goes_on_after_it_was_ended(void **state)
{
    struct byte_server s = {0};
    struct waits waits = {.most = 1}; /* for the connection */
    const void *data;
    msock *m;
    size_t n;

    (void)state;
    byte_server_start(&s, serve_frames, NULL);
    m = client_open("frame", s.at, &waits);
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_OK);
    waits = (struct waits){0};
    assert_int_equal(msock_recv(m, -1, &data, &n), MSOCK_CANCELLED);
    assert_int_equal(waits.asked, 1);
    assert_true(msock_fd(m) >= 0);
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_OK);
    waits.most = UINT32_MAX;
    assert_int_equal(msock_recv(m, 20000, &data, &n), MSOCK_OK);
    assert_int_equal(n, 5);
    msock_close(m);
    byte_server_stop(&s);
}

static void
what_came_in_time_is_read_later_too(void **state)
{
    struct byte_server s = {0};
    struct waits waits = {.most = UINT32_MAX, .is_late = true};
    msock *m;

    (void)state;
    byte_server_start(&s, serve_frame, NULL);
    m = client_open("frame", s.at, &waits);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_OK);
    msock_close(m);
    byte_server_stop(&s);
}

static void
count_settled(void *arg, uint64_t number, enum msock_status status)
{
    (void)number;
    (void)status;
    ++*(unsigned *)arg;
}

static void
messages_sent_ahead_are_not_lost(void **state)
{
    struct byte_server s = {0};
    struct waits waits = {.most = 1};
    unsigned settled = 0, taken = 0;
    enum msock_status status;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_silence, NULL);
    m = client_open("msp", s.at, &waits);
    msock_set_settled(m, count_settled, &settled);
    while ((status = msock_send_ahead(m, 'A', MESSAGE, 5)) == MSOCK_OK)
        taken++;
    assert_int_equal(status, MSOCK_CANCELLED);
    assert_int_equal(taken, 1024);
    assert_int_equal(msock_flush(m, -1), MSOCK_CANCELLED);
    assert_int_equal(settled, 0);
    assert_true(msock_fd(m) >= 0);
    msock_close(m);
    byte_server_stop(&s);
}

static void
pauses_are_waits_too(void **state)
{
    struct waits waits = {.most = UINT32_MAX};
    msock *m = client_open("msp", "/nonexistent/msock.sock", &waits);

    (void)state;
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_UNREACHABLE);
    assert_int_equal(waits.pauses, 2);
    waits = (struct waits){.most = 1};
    assert_int_equal(msock_send(m, MESSAGE, 5), MSOCK_CANCELLED);
    assert_non_null(strstr(msock_error(m), "is not committed"));
    msock_close(m);
}

static void
a_full_unix_socket_is_waited_for(void **state)
{
    char dir[] = "/tmp/msock-wait.XXXXXX";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct waits waits = {.most = 5};
    int listener, fds[2];
    msock *m;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/full", dir);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&at, sizeof(at)), -1);
    m = client_open("msp", at.sun_path, &waits);
    assert_int_equal(msock_connect(m), MSOCK_CANCELLED);
    assert_int_equal(waits.pauses, 6);
    msock_close(m);
    close(fds[0]);
    close(fds[1]);
    close(listener);
    unlink(at.sun_path);
    rmdir(dir);
}

static void
a_pipe_that_nobody_writes_to_is_not_waited_for(void **state)
{
    char dir[] = "/tmp/msock-wait.XXXXXX", path[64];
    struct waits waits = {.signals = 1};
    msock *m = client_open("msp", "/nonexistent/msock.sock", &waits);
    int fds[2];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(msock_send_file(m, path, NULL), MSOCK_CANCELLED);
    assert_int_equal(waits.asked, 2);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(msock_send_fd(m, fds[0], "name"), MSOCK_CANCELLED);
    assert_int_equal(waits.asked, 3);
    msock_close(m);
    close(fds[0]);
    close(fds[1]);
    unlink(path);
    rmdir(dir);
}

/* --- connections of the program's --- */

static msock *
attached(const char *url, int fd)
{
    msock *m = msock_open(url);

    assert_non_null(m);
    assert_int_equal(msock_attach(m, fd), MSOCK_OK);
    return m;
}

static void
both_ends_of_a_connection_can_be_handles(void **state)
{
    struct waits waits = {.most = UINT32_MAX};
    const void *data;
    int fds[2];
    msock *a, *b;
    size_t n;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    a = attached("frame://nobody.invalid:1", fds[0]);
    b = attached("frame://nobody.invalid:1", fds[1]);
    assert_int_equal(msock_send(a, MESSAGE, 5), MSOCK_OK);
    assert_int_equal(msock_recv(b, 20000, &data, &n), MSOCK_OK);
    assert_memory_equal(data, MESSAGE, 5);
    assert_int_equal(msock_send(b, "", 0), MSOCK_OK);
    assert_int_equal(msock_recv(a, 20000, &data, &n), MSOCK_OK);
    assert_int_equal(n, 0);
    msock_set_timeouts(a, 1, 0); /* nobody reads at the other end meanwhile */
    msock_close(a);
    assert_int_equal(msock_recv(b, 20000, &data, &n), MSOCK_UNREACHABLE);
    assert_int_equal(msock_recv(b, 20000, &data, &n), MSOCK_UNREACHABLE); /* and stays so */
    msock_set_wait(b, wait_for_it, &waits);
    assert_int_equal(msock_send(b, MESSAGE, 5), MSOCK_UNREACHABLE);
    assert_int_equal(waits.asked, 0); /* nothing to try again */
    assert_non_null(strstr(msock_error(b), "the connection has ended"));
    msock_close(b);
}

/* Its SIZE crosses that of the client, which is let go first. */
static void
a_handle_in_the_role_of_the_server_yields(void **state)
{
    static const char said[] = "\xff\0\0\0\1\xff"
                               "b";
    const void *data;
    char got[16], error[256];
    int fds[2];
    msock *m;
    size_t n;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    m = attached("tinyproto://nobody.invalid?role=server", fds[0]);
    assert_int_equal(write(fds[1], "\xff", 1), 1);
    assert_int_equal(msock_send_ahead(m, 'A', "b", 1), MSOCK_OK);
    assert_int_equal(msock_flush(m, 0), MSOCK_TIMEOUT);
    assert_int_equal(write(fds[1], "\0\0\0\1a", 5), 5);
    assert_int_equal(msock_recv(m, 20000, &data, &n), MSOCK_OK);
    assert_memory_equal(data, "a", n);
    assert_int_equal(write(fds[1], "\xff", 1), 1);
    assert_int_equal(msock_flush(m, 20000), MSOCK_OK);
    assert_int_equal(read(fds[1], got, sizeof(got)), sizeof(said) - 1);
    assert_memory_equal(got, said, sizeof(said) - 1);
    close(fds[1]);
    msock_close(m);
    assert_int_equal(msock_url_error("tinyproto://a?role=x", error, sizeof(error)), MSOCK_USAGE);
    assert_non_null(strstr(error, "role is client or server"));
    assert_int_equal(msock_url_error("frame://a?role=server", error, sizeof(error)), MSOCK_USAGE);
}

static void
what_is_no_connection_is_not_attached(void **state)
{
    msock *m = msock_open("frame://127.0.0.1");
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(msock_attach(m, fds[0]), MSOCK_USAGE);
    assert_int_equal(msock_attach(m, fds[0]), MSOCK_USAGE); /* it was closed */
    close(fds[1]);
    assert_int_equal(msock_attach(m, socket(AF_INET, SOCK_STREAM, 0)), MSOCK_USAGE);
    msock_close(m);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    m = attached("frame://nobody.invalid:1", fds[0]);
    assert_int_equal(msock_attach(m, dup(fds[1])), MSOCK_USAGE); /* it has one */
    close(fds[1]);
    msock_close(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_ends_when_the_program_wants_it),
        cmocka_unit_test(receiving_goes_on_after_it_was_ended),
        cmocka_unit_test(what_came_in_time_is_read_later_too),
        cmocka_unit_test(messages_sent_ahead_are_not_lost),
        cmocka_unit_test(pauses_are_waits_too),
        cmocka_unit_test(a_full_unix_socket_is_waited_for),
        cmocka_unit_test(a_pipe_that_nobody_writes_to_is_not_waited_for),
        cmocka_unit_test(both_ends_of_a_connection_can_be_handles),
        cmocka_unit_test(a_handle_in_the_role_of_the_server_yields),
        cmocka_unit_test(what_is_no_connection_is_not_attached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
