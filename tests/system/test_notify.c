/* The service manager is told how msockd goes (sd_notify(3)). */
#include "daemon.h"
#include "manager.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char good[] = "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\n";

/* systemd takes no answer for that of a reload that is older than its signal. */
static void
expect_reload(struct daemon *d, int signo, const char *status)
{
    uint64_t before = now_us(), said = 0;
    char text[MANAGER_TEXT_LEN], *at;

    signal_send(d->run.pid, signo);
    manager_expect("RELOADING=1\n", text);
    at = strstr(text, "MONOTONIC_USEC=");
    assert_non_null(at);
    said = strtoull(at + strlen("MONOTONIC_USEC="), NULL, 10);
    assert_true(said >= before && said <= now_us());
    manager_expect("READY=1\nSTATUS=", text);
    if (strstr(text, status) == NULL)
        fail_msg("no \"%s\" in %s", status, text);
}

static void
start_reloads_upgrade_and_stop_are_told(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct daemon *d;
        char text[MANAGER_TEXT_LEN];

        manager_open(i == 1);
        d = daemon_start(&(struct daemon_options){.config = good, .errors_expected = true});

        manager_expect("READY=1\nSTATUS=2 workers, listening on msp://127.0.0.1:", text);
        expect_reload(d, SIGHUP, "generation 2");
        daemon_configure(d, "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nno_such_option = 1\n");
        expect_reload(d, SIGHUP, "refused, and nothing has changed: ");
        daemon_configure(d, good);
        expect_reload(d, SIGUSR2, "version "); /* the same process id: no MAINPID */
        expect_reload(d, SIGHUP, "generation 4");
        daemon_stop(d);
        manager_expect("STOPPING=1\n", text);
        manager_close();
    }
}

static void
signs_of_life_come_as_often_as_they_are_wanted(void **state)
{
    struct daemon *d;
    char text[MANAGER_TEXT_LEN];

    (void)state;
    manager_open(false);
    assert_int_equal(setenv("WATCHDOG_USEC", "200000", 1), 0);
    d = daemon_start(&(struct daemon_options){.config = good});
    do
        manager_expect("", text);
    while (strncmp(text, "READY=1", 7) != 0); /* it lives before it is ready */
    for (unsigned i = 0; i < 3; i++)
        manager_expect("WATCHDOG=1", text);
    daemon_stop(d);
    manager_close();
}

static void
a_manager_that_is_gone_disturbs_nothing(void **state)
{
    struct daemon *d;
    char name[HARNESS_PATH_LEN];

    (void)state;
    manager_open(false);
    snprintf(name, sizeof(name), "%s", getenv("NOTIFY_SOCKET"));
    manager_close();
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
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
