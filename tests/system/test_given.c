/* Sockets that come from a service manager: those of its socket units, and those that it keeps over
 * a restart. Nobody who connects meanwhile is turned away. */
#include "journal.h"
#include "load.h"
#include "manager.h"
#include "program.h"

#include "support/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void
launch(struct daemon *d)
{
    manager_arm();
    daemon_launch(d);
}

static struct daemon *
start(struct daemon_options options)
{
    struct daemon *d;

    options.child = manager_child;
    d = daemon_create(&options);
    launch(d);
    return d;
}

static void
send_one(const struct target *target, const char *body)
{
    struct answer a;
    struct peer p;

    peer_connect(&p, target);
    if (peer_send_plain(&p, NULL, body, strlen(body), &a) != ANSWER_ACK)
        fail_msg("%s: %s", body, a.text);
    peer_close(&p);
}

/* A plain message of one packet, whole, and no answer is waited for. */
static void
begin_one(struct peer *p, const struct target *target)
{
    peer_connect(p, target);
    p->answer_ms = 20000 * WAIT_SCALE;
}

static void
finish_one(struct peer *p)
{
    struct answer a;

    assert_int_equal(peer_send_plain(p, NULL, "early", 5, &a), ANSWER_ACK);
    peer_close(p);
}

static void
all_sockets_of_a_name_are_used_and_stay_the_managers(void **state)
{
    static const char config[] = "workers = 2\n"
                                 "listen = {\"msp+systemd:web?timeout=30s\", \"systemd:more\"}\n";
    char dir[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 16];
    const char *path = url + strlen("msp://");
    struct target web[3], more;
    struct peer early[3];
    struct daemon *d;
    struct stat before, after;

    (void)state;
    manager_close();
    harness_directory(dir);
    snprintf(url, sizeof(url), "msp://%s/s", dir);
    manager_listen("web", "msp://127.0.0.1:0", &web[0]);
    manager_listen("web", "msp://[::1]:0", &web[1]);
    manager_listen("more", "msp://127.0.0.1:0", &more);
    manager_listen("web", url, &web[2]);
    assert_int_equal(lstat(path, &before), 0);
    for (unsigned i = 0; i < 3; i++)
        begin_one(&early[i], &web[i]); /* nothing runs yet */
    d = start((struct daemon_options){.config = config});
    assert_int_equal(d->listener_count, 4);
    for (unsigned i = 0; i < 3; i++)
        finish_one(&early[i]);
    send_one(&more, "msp by auto");
    daemon_reload(d);
    for (unsigned i = 0; i < 3; i++)
        send_one(&web[i], "after a reload");
    daemon_stop(d);
    assert_int_equal(lstat(path, &after), 0);
    assert_true(after.st_ino == before.st_ino && after.st_mode == before.st_mode);
    for (unsigned i = 0; i < 3; i++)
        begin_one(&early[i], &web[i]);
    launch(d);
    for (unsigned i = 0; i < 3; i++)
        finish_one(&early[i]);
    daemon_stop(d);
    manager_close();
}

static void
an_upgrade_and_the_background_keep_them(void **state)
{
    char log[HARNESS_PATH_LEN];
    struct target web;
    struct run_result result;
    struct daemon *d;

    (void)state;
    manager_close();
    manager_listen("web", "msp://127.0.0.1:0", &web);
    d = start((struct daemon_options){.listen = {"msp+systemd:web"}, .program = program_begin()});
    for (unsigned i = 0; i < 2; i++) {
        result = daemon_control(d, "upgrade", NULL);
        assert_int_equal(result.status, 0);
        run_result_free(&result);
        send_one(&web, "after an upgrade");
        daemon_reload(d);
        send_one(&web, "after a reload");
    }
    daemon_stop(d);

    /* With -D another process than the one that was given them goes on. */
    d->options.more[0] = "-D";
    snprintf(log, sizeof(log), "log_file=%.80s/background", d->dir);
    d->options.set[0] = log;
    manager_arm();
    result = daemon_fail(d);
    if (result.status != 0)
        fail_msg("%d: %s", result.status, result.err);
    run_result_free(&result);
    send_one(&web, "in the background");
    result = daemon_control(d, "stop", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    manager_close();
}

/* A reload may let a name go and take it again: who connects meanwhile waits. */
static void
a_name_that_no_listener_has_waits_and_is_warned_of(void **state)
{
    static const char with[] = "workers = 1\nlisten = {\"msp+systemd:a\", \"msp+systemd:b\"}\n";
    static const char without[] = "workers = 1\nlisten = {\"msp+systemd:a\"}\n";
    struct target a, b;
    struct daemon *d;
    struct peer p;

    (void)state;
    manager_close();
    manager_listen("a", "msp://127.0.0.1:0", &a);
    manager_listen("b", "msp://127.0.0.1:0", &b);
    d = start((struct daemon_options){.config = without});
    assert_true(
        daemon_logged(d, "no listener has these sockets of the service manager: systemd:b"));
    daemon_configure(d, with);
    daemon_reload(d);
    send_one(&b, "taken");
    daemon_configure(d, without);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 1), 10000);
    begin_one(&p, &b);
    send_one(&a, "goes on");
    daemon_configure(d, with);
    daemon_reload(d);
    finish_one(&p);
    daemon_stop(d);
    manager_close();
}

static void
expect_refused(struct daemon *d, const char *said)
{
    struct run_result result = daemon_fail(d);

    if (result.status != 78 || strstr(result.err, said) == NULL)
        fail_msg("status %d, no \"%s\" in %s", result.status, said, result.err);
    run_result_free(&result);
}

static void
a_name_that_is_not_there_is_refused(void **state)
{
    static const char missing[] = "workers = 1\nlisten = {\"systemd:web\", \"systemd:nowhere\"}\n";
    static const char good[] = "workers = 1\nlisten = {\"msp+systemd:web\"}\n";
    struct run_result result;
    struct target web;
    struct daemon *d = daemon_create(&(struct daemon_options){
        .config = missing, .child = manager_child, .errors_expected = true});

    (void)state;
    manager_close();
    expect_refused(d, "systemd:web: the service manager has given no socket of that name");
    manager_listen("web", "msp://127.0.0.1:0", &web);
    manager_arm();
    expect_refused(d, "systemd:nowhere: the service manager has given no socket of that name");
    d->options.child = manager_child_of_another;
    daemon_configure(d, good);
    expect_refused(d, "systemd:web: the service manager has given no socket of that name");
    d->options.child = manager_child;
    launch(d);
    daemon_configure(d, missing);
    result = daemon_control(d, "reload", NULL);
    assert_int_equal(result.status, 78);
    assert_non_null(strstr(result.err, "systemd:nowhere: the service manager"));
    run_result_free(&result);
    send_one(&web, "as before");
    daemon_stop(d);
    result = run_program(harness_program("msockd"), "-t", "-l", "systemd:web", NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.err, "systemd:web: only a start shows"));
    run_result_free(&result);
    manager_close();
}

/* Nor are the variables there for what msockd executes. */
static void
what_is_no_listening_socket_is_left_out(void **state)
{
    struct target web;
    struct daemon *d;
    int fds[2];

    (void)state;
    manager_close();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    manager_give("web", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    manager_give("web", fds[0]);
    manager_listen("web", "msp://127.0.0.1:0", &web);
    manager_give("", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    manager_give("", open("/dev/null", O_RDONLY | O_CLOEXEC));
    d = start((struct daemon_options){
        .listen = {"msp+systemd:web?handler=exec&exec=once&exec_env=LISTEN_FDS,LISTEN_FDNAMES"
                   "&command=test%20-z%20$LISTEN_FDS$LISTEN_FDNAMES"}});
    assert_true(
        daemon_logged(d, "descriptor 3 from the service manager (web) is no stream socket"));
    assert_true(daemon_logged(d, "descriptor 4 from the service manager (web) does not listen"));
    assert_false(daemon_logged(d, "descriptor 5 from"));
    assert_true(
        daemon_logged(d, "descriptor 6 from the service manager (unknown) does not listen"));
    assert_true(daemon_logged(d, "descriptor 7 from the service manager (unknown) is no socket"));
    assert_false(daemon_logged(d, "LISTEN_FDNAMES"));
    send_one(&web, "served");
    daemon_stop(d);
    close(fds[1]);
    manager_close();
}

static void
more_than_there_can_be_are_left_out_aloud(void **state)
{
    struct daemon *d = daemon_create(
        &(struct daemon_options){.listen = {"msp+systemd:web"}, .child = manager_child});
    struct target web;

    (void)state;
    manager_close();
    manager_listen("web", "msp://127.0.0.1:0", &web);
    manager_arm();
    assert_int_equal(setenv("LISTEN_FDS", "300", 1), 0);
    daemon_launch(d);
    assert_true(daemon_logged(d, "left out: 299 descriptors from the service manager"));
    send_one(&web, "served");
    daemon_stop(d);
    manager_close();
}

static void
names_that_are_not_as_many_as_descriptors_are_said(void **state)
{
    static const char *const names[] = {"web", "web:a\\:b:c", "web::"};
    struct daemon *d = daemon_create(
        &(struct daemon_options){.listen = {"msp+systemd:web"}, .child = manager_child});
    struct target web, other;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        manager_close();
        manager_listen("web", "msp://127.0.0.1:0", &web);
        manager_listen("b", "msp://127.0.0.1:0", &other);
        manager_arm();
        assert_int_equal(setenv("LISTEN_FDNAMES", names[i], 1), 0);
        daemon_launch(d);
        assert_true(daemon_logged(d, "has given 2 descriptors and "));
        send_one(&web, "served");
        daemon_stop(d);
    }
    manager_close();
}

/* A unit's [::] takes IPv4 as well; msockd's own sockets never do. */
static void
peers_of_ipv4_at_a_socket_of_ipv6_have_their_address(void **state)
{
    const struct entry *first;
    struct target any, v4;
    struct daemon *d;
    struct journal j;
    struct answer a;
    struct peer p;

    (void)state;
    manager_close();
    manager_listen("web", "msp://[::]:0", &any);
    target_local(target_port(&any), &v4);
    d = start((struct daemon_options){.listen = {"msp+systemd:web?allow=127.0.0.1"}});
    peer_connect(&p, &v4);
    assert_int_equal(peer_send_plain(&p, "k", "x", 1, &a), ANSWER_ACK);
    daemon_reload(d); /* also where it moves to another worker */
    assert_int_equal(peer_send_plain(&p, "l", "y", 1, &a), ANSWER_ACK);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(journal_find_peer(&j, p.name, &first), 2);
    journal_free(&j);
    manager_close();
}

/* --- the store --- */

/* A daemon that listens on a port of its own choice and on a Unix socket, both stored. */
static struct daemon *
start_stored(struct daemon_options options)
{
    static char url[HARNESS_PATH_LEN + 32];
    struct daemon *d;

    manager_open(false);
    options.child = manager_child;
    d = daemon_create(&options);
    snprintf(url, sizeof(url), "msp://%.80s/s", d->dir);
    d->options.listen[1] = d->options.listen[0] != NULL ? NULL : url;
    d->options.listen[0] =
        d->options.listen[0] != NULL ? d->options.listen[0] : "msp://127.0.0.1:0";
    launch(d);
    daemon_keep_ports(d);
    daemon_stop(d);
    launch(d);
    for (size_t i = 0; i < d->listener_count; i++)
        WAIT_FOR(manager_stores(&d->listeners[i]), 5000);
    return d;
}

static void
who_connects_while_nothing_runs_is_served_by_the_next(void **state)
{
    struct daemon *d = start_stored((struct daemon_options){.workers = 2});
    struct peer early[2];

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        daemon_stop(d);
        for (unsigned i = 0; i < 2; i++)
            begin_one(&early[i], &d->listeners[i]);
        launch(d);
        for (unsigned i = 0; i < 2; i++)
            finish_one(&early[i]);
        assert_int_equal(manager_stored(), 2);
    }
    daemon_stop(d);
    manager_close();
}

static void
restarts_under_load_refuse_nobody(void **state)
{
    struct daemon *d = start_stored((struct daemon_options){.workers = 2, .set = {LOAD_PATIENCE}});
    struct load *load[2];
    struct journal j;

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        load[i] = load_start(&d->listeners[i], i == 0 ? "tcp" : "unix", 2, 6000);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 2; i++)
            load_advance(load[i], 20, 20000);
        signal_send(d->run.pid, round % 2 == 0 ? SIGQUIT : SIGTERM);
        daemon_finish(d, 20000);
        launch(d);
    }
    for (unsigned i = 0; i < 2; i++) {
        load_advance(load[i], 20, 20000);
        load_stop(load[i]);
        if (load[i]->refused_connects + load[i]->broken + load[i]->errors != 0)
            fail_msg("%llu refused, %s", (unsigned long long)load[i]->refused_connects,
                     load[i]->complaint);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    for (unsigned i = 0; i < 2; i++)
        load_check_acked(load[i], &j);
    journal_free(&j);
    manager_close();
}

/* --- */

static void
the_store_follows_reloads_and_restarts(void **state)
{
    struct daemon *d = start_stored((struct daemon_options){.workers = 1});
    char config[3 * HARNESS_PATH_LEN], other[HARNESS_PATH_LEN], bad[sizeof(config)];
    struct target tcp = d->listeners[0], unix_one = d->listeners[1];
    struct run_result result;
    struct peer p;

    (void)state;
    snprintf(other, sizeof(other), "msp://%.80s/other", d->dir);
    snprintf(config, sizeof(config), "workers = 1\nlisten = {\"%s\", \"%s\"}\n", tcp.url, other);
    d->options.config = config;
    daemon_stop(d);
    daemon_configure(d, config);
    launch(d); /* unix_one is in the store, and not wanted */
    WAIT_FOR(!manager_stores(&unix_one) && manager_stores(&d->listeners[1]), 5000);
    assert_int_equal(manager_stored(), 2);
    assert_int_equal(peer_try_connect(&p, &unix_one, NULL), -1);

    snprintf(bad, sizeof(bad), "workers = 1\nlisten = {\"%s\", \"systemd:nowhere\"}\n", tcp.url);
    daemon_configure(d, bad);
    result = daemon_control(d, "reload", NULL);
    assert_int_equal(result.status, 78);
    run_result_free(&result);
    d->options.errors_expected = true;
    daemon_stop(d);
    begin_one(&p, &tcp);
    manager_arm();
    expect_refused(d, "systemd:nowhere"); /* a start that fails takes nothing away */
    snprintf(config, sizeof(config), "workers = 1\nlisten = {\"%s\"}\n", tcp.url);
    daemon_configure(d, config);
    launch(d);
    finish_one(&p);
    WAIT_FOR(manager_stored() == 1, 5000);

    snprintf(config, sizeof(config), "workers = 1\nlisten = {\"%s\"}\n", other);
    daemon_configure(d, config);
    daemon_reload(d);
    WAIT_FOR(manager_stored() == 1 && !manager_stores(&tcp), 5000);
    WAIT_FOR(peer_try_connect(&p, &tcp, NULL) < 0, 5000);
    daemon_stop(d);
    manager_close();
}

/* --- the real one --- */

/* Without systemd as the first process there is this much of it: it binds, and executes msockd when
 * somebody connects. */
static void
systemd_itself_can_give_them(void **state)
{
    static const char activate[] = "/usr/bin/systemd-socket-activate";
    char dir[HARNESS_PATH_LEN], run[HARNESS_PATH_LEN], data[HARNESS_PATH_LEN],
        path[HARNESS_PATH_LEN];
    const char *argv[] = {
        activate, "-l", path, "--fdname=web", harness_program("msockd"), "-r", run, "-d",
        data,     "-w", "1",  "-l",           "msp+systemd:web",         NULL};
    char url[HARNESS_PATH_LEN + 32];
    struct run_result result;
    struct running r;
    struct target target;

    (void)state;
    if (access(activate, X_OK) < 0) {
        print_message("systemd-socket-activate is not installed\n");
        skip();
    }
    manager_close();
    harness_directory(dir);
    harness_join(run, dir, "run");
    harness_join(data, dir, "data");
    harness_join(path, dir, "s");
    snprintf(url, sizeof(url), "msp://%s", path);
    target_from_url(url, &target);
    run_start(&r, argv, NULL);
    WAIT_FOR(access(path, F_OK) == 0, 10000);
    send_one(&target, "from systemd");
    signal_send(r.pid, SIGTERM);
    run_finish(&r, 20000, &result);
    if (result.status != 0)
        fail_msg("%d: %s", result.status, result.err);
    run_result_free(&result);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(all_sockets_of_a_name_are_used_and_stay_the_managers),
        SYSTEM_TEST(an_upgrade_and_the_background_keep_them),
        SYSTEM_TEST(a_name_that_no_listener_has_waits_and_is_warned_of),
        SYSTEM_TEST(a_name_that_is_not_there_is_refused),
        SYSTEM_TEST(what_is_no_listening_socket_is_left_out),
        SYSTEM_TEST(more_than_there_can_be_are_left_out_aloud),
        SYSTEM_TEST(names_that_are_not_as_many_as_descriptors_are_said),
        SYSTEM_TEST(peers_of_ipv4_at_a_socket_of_ipv6_have_their_address),
        SYSTEM_TEST(who_connects_while_nothing_runs_is_served_by_the_next),
        SYSTEM_TEST(restarts_under_load_refuse_nobody),
        SYSTEM_TEST(the_store_follows_reloads_and_restarts),
        SYSTEM_TEST(systemd_itself_can_give_them),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
