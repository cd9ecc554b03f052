/* The sandbox of workers: that both parts are on, what they refuse to a module, and that all else
 * works beneath them. Where it cannot be, since a sanitizer is in the way or the kernel too old,
 * the tests are skipped. */
#include "daemon.h"
#include "peer.h"
#include "stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *
confined_listener(void)
{
    static char text[HARNESS_PATH_LEN + 100];

    snprintf(text, sizeof(text), "msp://127.0.0.1:0?handler=module&path=%s",
             harness_program("tests/modules/confined.so"));
    return text;
}

/* What the module says of the call: "" where it could be made, else the errno. Until the next
 * call. */
static const char *
try_call(struct peer *p, const char *call)
{
    static struct answer a;
    char *space;

    if (peer_send_plain(p, NULL, call, strlen(call), &a) == ANSWER_ACK)
        return "";
    space = strrchr(a.text, ' ');
    if (a.kind != ANSWER_REJ || space == NULL)
        fail_msg("%s: answer %d \"%s\"", call, (int)a.kind, a.text);
    return space + 1;
}

static const char *
try_path(struct peer *p, const char *call, const char *dir, const char *name)
{
    char text[2 * HARNESS_PATH_LEN + 32];

    snprintf(text, sizeof(text), "%s %s/%s", call, dir, name);
    return try_call(p, text);
}

static const char *
try_number(struct peer *p, const char *call, long number)
{
    char text[64];

    snprintf(text, sizeof(text), "%s %ld", call, number);
    return try_call(p, text);
}

static unsigned
count_in_log(const struct daemon *d, const char *text)
{
    char *log = daemon_log(d);
    unsigned n = 0;

    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        n++;
    free(log);
    return n;
}

static void
check_shown(const struct daemon *d, const char *wanted)
{
    json_t *rows = stats_read(d, "workers"), *row;
    size_t i;

    assert_true(json_array_size(rows) > 0);
    json_array_foreach(rows, i, row)
        assert_string_equal(json_string_value(json_object_get(row, "sandbox")), wanted);
    json_decref(rows);
}

static void
workers_have_both_parts_and_msockctl_shows_them(void **state)
{
    struct daemon *d;
    struct proc_list list;

    (void)state;
    harness_need_sandbox();
    d = daemon_start(&(struct daemon_options){.set = {"sandbox=require"}});
    daemon_workers(d, &list);
    for (size_t i = 0; i < list.count; i++) {
        assert_int_equal(proc_status(list.pid[i], "Seccomp:", 10), 2);
        assert_int_equal(proc_status(list.pid[i], "NoNewPrivs:", 10), 1);
    }
    check_shown(d, "landlock+seccomp");
    daemon_stop(d);
}

/* It starts without a server, and looks for one. */
static void
a_relay_has_them_too(void **state)
{
    struct daemon *d;

    (void)state;
    harness_need_sandbox();
    if (!harness_is_built("msockd_nats.so"))
        skip();
    d = daemon_start(&(struct daemon_options){
        .set = {"relay=nats://127.0.0.1:1?stream=S&subject=in", "sandbox=require"},
        .errors_expected = true});
    WAIT_FOR(daemon_logged(d, "[relay_begins_anew]"), 10000);
    check_shown(d, "landlock+seccomp");
    daemon_stop(d);
    assert_int_equal(count_in_log(d, "[call_refused]"), 0);
}

static void
without_it_nothing_is_on(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.set = {"sandbox=off"}, .listen = {confined_listener()}});
    struct proc_list list;
    struct peer p;

    (void)state;
    daemon_workers(d, &list);
    assert_int_equal(proc_status(list.pid[0], "Seccomp:", 10),
                     proc_status(getpid(), "Seccomp:", 10));
    check_shown(d, "none");
    peer_connect(&p, &d->listeners[0]);
    assert_string_equal(try_path(&p, "create", d->dir, "outside"), "");
    daemon_stop(d);
}

static void
files_outside_are_out_of_reach(void **state)
{
    char above[HARNESS_PATH_LEN], inside[HARNESS_PATH_LEN];
    struct daemon *d;
    struct peer p;

    (void)state;
    harness_need_sandbox();
    harness_directory(above);
    harness_join(inside, above, "secret");
    harness_write_file(inside, "s", 1);
    d = daemon_start(&(struct daemon_options){.listen = {confined_listener()}});
    peer_connect(&p, &d->listeners[0]);
    assert_string_equal(try_path(&p, "open", above, "secret"), "EACCES");
    assert_string_equal(try_path(&p, "create", d->dir, "outside"), "EACCES");
    assert_string_equal(try_path(&p, "open", d->runtime_dir, "lock"), "EACCES");
    assert_string_equal(try_path(&p, "create", d->data_dir, "blobs/inside"), "");
    assert_string_equal(try_call(&p, "open /etc/passwd"), "");
    daemon_stop(d);
}

static void
processes_and_the_network_are_out_of_reach(void **state)
{
    /* Unix, IPv4 for datagrams and raw, netlink, packets. */
    static const char *const sockets[] = {"socket 1 1", "socket 2 2", "socket 2 3", "socket 16 3",
                                          "socket 17 3"};
    struct daemon *d;
    struct peer p;

    (void)state;
    harness_need_sandbox();
    d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {confined_listener()}});
    peer_connect(&p, &d->listeners[0]);
    assert_string_equal(try_number(&p, "kill", d->run.pid), "EPERM");
    assert_string_equal(try_number(&p, "trace", d->run.pid), "EPERM");
    assert_string_equal(try_number(&p, "connect", 1), "EPERM");
    for (size_t i = 0; i < MS_ARRAY_LEN(sockets); i++)
        assert_string_equal(try_call(&p, sockets[i]), "EPERM");
    assert_string_equal(try_call(&p, "execute /bin/true"), "EPERM");
    assert_string_equal(try_call(&p, "fork it"), "EPERM");
    assert_string_equal(try_call(&p, "map it"), "EPERM");
    daemon_stop(d);
}

static void
a_refused_call_is_logged_once(void **state)
{
    struct daemon *d;
    struct peer p;

    (void)state;
    harness_need_sandbox();
    d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {confined_listener()}});
    peer_connect(&p, &d->listeners[0]);
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(try_number(&p, "call", SYS_unshare), "EPERM");
        assert_string_equal(try_number(&p, "call", SYS_personality), "EPERM");
        assert_string_equal(try_number(&p, "call", 999), "ENOSYS");
        assert_string_equal(try_number(&p, "call", 5000), "ENOSYS");
    }
    daemon_stop(d);
    assert_int_equal(count_in_log(d, "refuses the system call unshare ("), 1);
    assert_int_equal(count_in_log(d, "refuses the system call without a name (999) with ENOSYS"),
                     1);
    assert_int_equal(count_in_log(d, "[call_refused]"), 3);
}

static const struct refused no_landlock = {
    .error = ENOSYS, .count = 1, .calls = {SYS_landlock_create_ruleset}};
static const struct refused landlock_refused = {
    .error = EPERM, .count = 1, .calls = {SYS_landlock_restrict_self}};
static const struct refused no_seccomp = {.error = ENOSYS, .count = 1, .calls = {SYS_seccomp}};

static void
check_required(const struct refused *refused, const char *lack)
{
    struct daemon *d = daemon_create(
        &(struct daemon_options){.set = {"sandbox=require"}, .refused = *refused, .more = {"-v"}});
    struct run_result result = daemon_fail(d);

    assert_int_equal(result.status, 78);
    if (strstr(result.err, "sandbox=require, and this kernel has ") == NULL ||
        strstr(result.err, lack) == NULL)
        fail_msg("\"%s\"", result.err);
    run_result_free(&result);
}

static void
a_start_that_requires_what_the_kernel_does_not_have_fails(void **state)
{
    (void)state;
    check_required(&no_landlock, "no Landlock");
    check_required(&no_seccomp, "no seccomp filters");
}

static void
a_test_and_a_reload_that_require_it_fail_too(void **state)
{
    struct daemon *d;
    const char *const argv[] = {harness_program("msockd"), "-t", "-o", "sandbox=require", NULL};
    struct run_options how = {.refused = no_landlock};
    struct run_result result;
    struct running r;

    (void)state;
    harness_need_sandbox();
    run_start(&r, argv, &how);
    run_finish(&r, 30000, &result);
    assert_int_equal(result.status, 78);
    assert_non_null(strstr(result.err, "sandbox=require, and this kernel has no Landlock"));
    run_result_free(&result);

    d = daemon_start(
        &(struct daemon_options){.config = "listen = {\"msp://127.0.0.1:0\"}\nsandbox = off\n",
                                 .refused = no_landlock,
                                 .errors_expected = true});
    daemon_configure(d, "listen = {\"msp://127.0.0.1:0\"}\nsandbox = require\n");
    result = daemon_control(d, "reload", NULL);
    assert_int_not_equal(result.status, 0);
    assert_non_null(strstr(result.err, "sandbox=require, and this kernel has no Landlock"));
    run_result_free(&result);
    daemon_stop(d);
}

/* Each of the two, where the other one is missing, or is there and cannot be used. */
static void
the_best_that_there_is(void **state)
{
    const struct {
        const struct refused *refused;
        const char *lack, *shown;
    } cases[] = {{&no_landlock, "there is no Landlock", "seccomp"},
                 {&landlock_refused, "Landlock cannot be switched on: Operation not", "seccomp"},
                 {&no_seccomp, "there is no seccomp filters", "landlock"}};

    (void)state;
    harness_need_sandbox();
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct daemon *d =
            daemon_start(&(struct daemon_options){.workers = 1, .refused = *cases[i].refused});

        assert_int_equal(count_in_log(d, cases[i].lack), 1);
        check_shown(d, cases[i].shown);
        daemon_stop(d);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(workers_have_both_parts_and_msockctl_shows_them),
        SYSTEM_TEST(a_relay_has_them_too),
        SYSTEM_TEST(without_it_nothing_is_on),
        SYSTEM_TEST(files_outside_are_out_of_reach),
        SYSTEM_TEST(processes_and_the_network_are_out_of_reach),
        SYSTEM_TEST(a_refused_call_is_logged_once),
        SYSTEM_TEST(a_start_that_requires_what_the_kernel_does_not_have_fails),
        SYSTEM_TEST(a_test_and_a_reload_that_require_it_fail_too),
        SYSTEM_TEST(the_best_that_there_is),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
