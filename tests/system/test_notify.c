/* A service manager of our own: the socket on which msockd says how it goes (sd_notify(3)). */
#include "daemon.h"

#include "support/signals.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char good[] = "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\n";

/* The manager's end, and its name in msockd's environment. */
static int
manager_open(bool abstract)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char name[sizeof(to.sun_path)], dir[HARNESS_PATH_LEN];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    harness_directory(dir);
    snprintf(name, sizeof(name), "%c%.80s/notify", abstract ? '@' : '/', dir + 1);
    memcpy(to.sun_path, name, strlen(name));
    if (abstract)
        to.sun_path[0] = '\0';
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static void
manager_close(int fd)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    close(fd);
}

/* The next datagram, which begins so. */
static void
manager_expect(int fd, const char *begin, char text_out[2048])
{
    struct pollfd event = {.fd = fd, .events = POLLIN};
    ssize_t n;

    if (poll(&event, 1, 15000 * WAIT_SCALE) != 1)
        fail_msg("nothing came in place of %s", begin);
    n = recv(fd, text_out, 2047, 0);
    assert_true(n > 0);
    text_out[n] = '\0';
    if (strncmp(text_out, begin, strlen(begin)) != 0)
        fail_msg("not \"%s\", but \"%s\"", begin, text_out);
}

/* systemd takes no answer for that of a reload that is older than its signal. */
static void
expect_reload(struct daemon *d, int fd, int signo, const char *status)
{
    uint64_t before = now_us(), said = 0;
    char text[2048], *at;

    signal_send(d->run.pid, signo);
    manager_expect(fd, "RELOADING=1\n", text);
    at = strstr(text, "MONOTONIC_USEC=");
    assert_non_null(at);
    said = strtoull(at + strlen("MONOTONIC_USEC="), NULL, 10);
    assert_true(said >= before && said <= now_us());
    manager_expect(fd, "READY=1\nSTATUS=", text);
    if (strstr(text, status) == NULL)
        fail_msg("no \"%s\" in %s", status, text);
}

static void
start_reloads_upgrade_and_stop_are_told(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        int fd = manager_open(i == 1);
        struct daemon *d =
            daemon_start(&(struct daemon_options){.config = good, .errors_expected = true});
        char text[2048];

        manager_expect(fd, "READY=1\nSTATUS=2 workers, listening on msp://127.0.0.1:", text);
        expect_reload(d, fd, SIGHUP, "generation 2");
        daemon_configure(d, "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nno_such_option = 1\n");
        expect_reload(d, fd, SIGHUP, "refused, and nothing has changed: ");
        daemon_configure(d, good);
        expect_reload(d, fd, SIGUSR2, "version "); /* the same process id: no MAINPID */
        expect_reload(d, fd, SIGHUP, "generation 4");
        daemon_stop(d);
        manager_expect(fd, "STOPPING=1\n", text);
        manager_close(fd);
    }
}

static void
signs_of_life_come_as_often_as_they_are_wanted(void **state)
{
    int fd = manager_open(false);
    struct daemon *d;
    char text[2048];

    (void)state;
    assert_int_equal(setenv("WATCHDOG_USEC", "200000", 1), 0);
    d = daemon_start(&(struct daemon_options){.config = good});
    do
        manager_expect(fd, "", text);
    while (strncmp(text, "READY=1", 7) != 0); /* it lives before it is ready */
    for (unsigned i = 0; i < 3; i++)
        manager_expect(fd, "WATCHDOG=1", text);
    daemon_stop(d);
    manager_close(fd);
}

static void
a_manager_that_is_gone_disturbs_nothing(void **state)
{
    int fd = manager_open(false);
    struct daemon *d;

    (void)state;
    close(fd);
    d = daemon_start(&(struct daemon_options){.config = good});
    unsetenv("NOTIFY_SOCKET");
    daemon_reload(d);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(start_reloads_upgrade_and_stop_are_told),
        SYSTEM_TEST(signs_of_life_come_as_often_as_they_are_wanted),
        SYSTEM_TEST(a_manager_that_is_gone_disturbs_nothing),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
