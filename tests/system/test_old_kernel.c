/* Kernels that do not have the newer system calls, and sandboxes that refuse them: the older ones
 * do the same work, and where there is none the start says what is missing. */
#include "load.h"
#include "msock.h"

#include "support/signals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIG (1u << 20) /* does not stay in memory */

/* Those without which another call does the work. */
static const struct {
    const char *name;
    long number;
    bool silent; /* it does not matter enough to be named at the start */
} newer[] = {
    {"openat2", SYS_openat2, false},
    {"renameat2", SYS_renameat2, false},
    {"statx", SYS_statx, false},
    {"faccessat2", SYS_faccessat2, false},
    {"close_range", SYS_close_range, false},
    {"pidfd_open", SYS_pidfd_open, false},
    {"pidfd_send_signal", SYS_pidfd_send_signal, false},
    {"epoll_pwait2", SYS_epoll_pwait2, false},
    {"io_getevents", SYS_io_getevents, false},
    {"getrandom", SYS_getrandom, false},
    {"io_setup", SYS_io_setup, true},
    {"io_submit", SYS_io_submit, true},
    {"fallocate", SYS_fallocate, true},
    {"sync_file_range", SYS_sync_file_range, true},
    {"linkat", SYS_linkat, true},
#ifndef MS_SANITIZE /* which cannot start a thread without it */
    {"sched_getaffinity", SYS_sched_getaffinity, true},
#endif
};

#define NEWER (MS_ARRAY_LEN(newer))

static struct daemon *
start_refused(const struct refused *refused)
{
    struct daemon_options options = {
        .workers = 2,
        .listen = {"msp://127.0.0.1:0", "msp://127.0.0.1:0?handler=exec&exec=once&command=cat",
                   "msp://127.0.0.1:0?handler=broadcast"},
        .set = {LOAD_PATIENCE},
        .more = {"-v"},
        .refused = *refused,
        .errors_expected = true, /* a worker is killed */
    };

    return daemon_start(&options);
}

static void
send_to(const struct daemon *d, size_t listener, const char *id, const char *body, size_t n)
{
    struct answer a;
    struct peer p;

    peer_connect(&p, &d->listeners[listener]);
    p.answer_ms = 60000;
    if (peer_send_plain(&p, id, body, n, &a) != ANSWER_ACK)
        fail_msg("listener %zu, message of %zu bytes: \"%s\"", listener, n, a.text);
    peer_close(&p);
}

/* A file in memory and one that is not, in a directory that is made for them. */
static void
send_files(const struct daemon *d, const char *round, const char *body)
{
    const size_t sizes[] = {5000, BIG};
    char source[HARNESS_PATH_LEN], path[64];
    msock *m = msock_open(d->listeners[0].url);

    assert_non_null(m);
    harness_join(source, d->dir, "source");
    for (size_t i = 0; i < 2; i++) {
        harness_write_file(source, body, sizes[i]);
        snprintf(path, sizeof(path), "%s/deeper/%zu", round, i);
        if (msock_send_file(m, source, path) != MSOCK_OK)
            fail_msg("%s: %s", path, msock_error(m));
    }
    msock_close(m);
}

static void
send_all_kinds(const struct daemon *d, const char *round)
{
    char *body = malloc(BIG), id[32];

    assert_non_null(body);
    memset(body, 'b', BIG);
    memcpy(body, round, strlen(round));
    snprintf(id, sizeof(id), "%s-big", round);
    send_to(d, 0, id, body, BIG); /* a blob */
    send_files(d, round, body);
    send_to(d, 1, NULL, body, 300);
    send_to(d, 2, NULL, body, 300);
    free(body);
}

static void
kill_a_worker(const struct daemon *d)
{
    struct proc_list before, now;

    daemon_workers(d, &before);
    assert_int_equal(before.count, 2);
    assert_int_equal(signal_send(before.pid[0], SIGKILL), 0);
    for (struct waiting w = waiting_begin(30000);;) {
        daemon_workers(d, &now);
        if (now.count == 2 && !proc_list_has(&now, before.pid[0]))
            break;
        if (!waiting_more(&w))
            fail_msg("the worker is not replaced");
    }
}

static void
verify_without(const struct daemon *d, const struct refused *refused)
{
    const char *const argv[] = {harness_program("msockctl"), "verify", d->data_dir, NULL};
    struct run_options how = {.refused = *refused};
    struct run_result result;
    struct running r;

    run_start(&r, argv, &how);
    run_finish(&r, 60000, &result);
    if (result.status != 0)
        fail_msg("verify: status %d: %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

/* Everything that a daemon does, while senders send bodies that are lines and blobs. */
static struct daemon *
work_without(const struct refused *refused)
{
    struct daemon *d = start_refused(refused);
    struct load *load = load_start(&d->listeners[0], "r", 4, 90000);
    struct journal j;

    load_advance(load, 20, 60000);
    send_all_kinds(d, "first");
    kill_a_worker(d);
    send_all_kinds(d, "second");
    daemon_reload(d);
    send_all_kinds(d, "third");
    load_advance(load, 20, 60000);
    load_stop(load);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    load_check_acked(load, &j);
    journal_free(&j);
    verify_without(d, refused);
    return d;
}

static void
each_newer_call_has_an_older_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < NEWER; i++) {
        struct refused refused = {.error = EPERM, .count = 1, .calls = {newer[i].number}};
        struct daemon *d;
        char said[64];

        print_message("without %s\n", newer[i].name);
        d = work_without(&refused);
        snprintf(said, sizeof(said), "refuses %s: older calls", newer[i].name);
        if (!newer[i].silent && !daemon_logged(d, said))
            fail_msg("the log does not say \"%s\"", said);
    }
}

static void
refuse_all(struct refused *refused, int error)
{
    *refused = (struct refused){.error = error, .future_seal = true};
    for (size_t i = 0; i < NEWER; i++)
        refused->calls[refused->count++] = newer[i].number;
}

static void
a_daemon_without_any_newer_call_does_all_it_should(void **state)
{
    struct refused refused;

    (void)state;
    refuse_all(&refused, EPERM);
    work_without(&refused);
    refuse_all(&refused, ENOSYS);
    work_without(&refused);
}

static void
a_call_that_is_needed_is_named_at_the_start(void **state)
{
    static const struct {
        const char *name;
        long number;
    } needed[] = {
        {"memfd_create", SYS_memfd_create},
        {"signalfd4", SYS_signalfd4},
        {"eventfd2", SYS_eventfd2},
        {"epoll_create1", SYS_epoll_create1},
        {"accept4", SYS_accept4},
        {"pipe2", SYS_pipe2},
        {"ppoll", SYS_ppoll},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(needed); i++) {
        struct refused refused = {.error = i % 2 == 0 ? EPERM : ENOSYS, .count = 1};
        struct run_result result;
        struct daemon *d;
        char said[64];

        refused.calls[0] = needed[i].number;
        d = daemon_create(&(struct daemon_options){.refused = refused});
        result = daemon_fail(d);
        snprintf(said, sizeof(said), "refuses %s, without which", needed[i].name);
        assert_int_equal(result.status, 71);
        if (strstr(result.err, said) == NULL)
            fail_msg("%s: \"%s\"", needed[i].name, result.err);
        run_result_free(&result);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_newer_call_has_an_older_way),
        SYSTEM_TEST(a_daemon_without_any_newer_call_does_all_it_should),
        SYSTEM_TEST(a_call_that_is_needed_is_named_at_the_start),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
