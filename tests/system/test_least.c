/* Least privilege: what a worker is, has and may do. */
#include "daemon.h"
#include "raw_tiny.h"

#include "support/signals.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the program begins in the memory of that process. */
static uint64_t
program_address(pid_t pid)
{
    char path[64], *maps, *line;
    uint64_t address;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = harness_read_file(path, &(size_t){0});
    assert_non_null(maps);
    line = strstr(maps, "/msockd\n");
    assert_non_null(line);
    while (line > maps && line[-1] != '\n')
        line--;
    address = strtoull(line, NULL, 16);
    free(maps);
    return address;
}

static void
each_worker_has_a_layout_of_its_own(void **state)
{
    struct daemon *d;
    struct proc_list workers;
    uint64_t first, second;

    (void)state;
    harness_need_root();
    d = daemon_start(&(struct daemon_options){.workers = 2});
    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 2);
    first = program_address(workers.pid[0]);
    second = program_address(workers.pid[1]);
    assert_true(first != second);
    assert_true(program_address(d->run.pid) != first);
    assert_true(program_address(d->run.pid) != second);
    daemon_stop(d);
}

static void
a_worker_that_is_replaced_has_the_configuration_of_its_generation(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .config = "workers = 1\nlisten = {\"tinyproto://127.0.0.1:0?handler=echo\"}\n",
        .errors_expected = true});
    struct proc_list before;
    struct raw r;

    (void)state;
    daemon_workers(d, &before);
    daemon_configure(d, "this is no configuration\n");
    signal_send(before.pid[0], SIGKILL);
    WAIT_FOR(!proc_alive(before.pid[0]) && daemon_has_workers(d, 1), 10000);
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_echo(&r, 100, 1);
    raw_close(&r);
    daemon_stop(d);
}

static void
expect_status(pid_t pid, const char *file, const char *const *lines)
{
    char path[64], *text;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    text = harness_read_file(path, &(size_t){0});
    assert_non_null(text);
    for (; *lines != NULL; lines++)
        if (strstr(text, *lines) == NULL)
            fail_msg("%s has no \"%s\"", path, *lines);
    free(text);
}

static void
a_worker_has_no_privileges(void **state)
{
    static const char *const status[] = {"Umask:\t0027\n",
                                         "Groups:\t \n",
                                         "CapInh:\t0000000000000000\n",
                                         "CapPrm:\t0000000000000000\n",
                                         "CapEff:\t0000000000000000\n",
                                         "CapAmb:\t0000000000000000\n",
                                         "NoNewPrivs:\t1\n",
                                         NULL};
    static const char *const bounding[] = {"CapBnd:\t0000000000000000\n", NULL};
    static const char *const limits[] = {"Max core file size        0                    0 ", NULL};
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct proc_list workers;

    (void)state;
    daemon_workers(d, &workers);
    expect_status(workers.pid[0], "limits", limits);
    if (geteuid() == 0) {
        expect_status(workers.pid[0], "status", status);
        expect_status(workers.pid[0], "status", bounding);
    } else {
        expect_status(workers.pid[0], "status", status + 2);
    }
    daemon_stop(d);
}

/* Who may not dump a process does not own what /proc shows of it either. */
static void
workers_of_a_user_can_be_neither_dumped_nor_traced(void **state)
{
    struct daemon *d;
    struct proc_list workers;
    char path[64];
    struct stat st;

    (void)state;
    harness_need_root();
    d = daemon_start(&(struct daemon_options){.workers = 1, .set = {"user=nobody"}});
    daemon_workers(d, &workers);
    snprintf(path, sizeof(path), "/proc/%d", (int)workers.pid[0]);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_uid == 65534); /* the directory alone */
    strcat(path, "/mem");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_false(daemon_logged(d, "run as root"));
    daemon_stop(d);
}

static void
workers_that_are_root_are_warned_of_once(void **state)
{
    struct daemon *d;
    char *log, *first;

    (void)state;
    harness_need_root();
    d = daemon_start(&(struct daemon_options){.workers = 2});
    /* That line comes behind the one that says ready. */
    WAIT_FOR(daemon_logged(d, "run as root: set user="), 10000);
    log = daemon_log(d);
    first = strstr(log, "run as root: set user=");
    assert_null(strstr(first + 1, "run as root"));
    free(log);
    daemon_stop(d);
}

static void
give_capabilities_up(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ;
    (void)syscall(SYS_capset, &header, none);
}

/* As under the unit for systemd. */
static void
who_has_no_capabilities_need_not_be_able_to_give_them_up(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .child = give_capabilities_up,
        .refused = {.error = EPERM, .count = 2, .calls = {SYS_capset, SYS_setgroups}}});

    (void)state;
    daemon_stop(d);
}

static void
the_unit_for_systemd_is_exposed_no_more_than_1_5(void **state)
{
    static const char analyze[] = "/usr/bin/systemd-analyze";
    const char *argv[] = {analyze,      "security",       "--offline=true",
                          "--no-pager", "--threshold=15", harness_source("etc/msockd.service"),
                          NULL};
    struct run_result result;
    struct running r;

    (void)state;
    if (access(analyze, X_OK) < 0) {
        print_message("systemd-analyze is not installed\n");
        skip();
    }
    run_start(&r, argv, &(struct run_options){0});
    run_finish(&r, 30000, &result);
    if (result.status != 0)
        fail_msg("%s", result.out);
    run_result_free(&result);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_worker_has_a_layout_of_its_own),
        SYSTEM_TEST(a_worker_that_is_replaced_has_the_configuration_of_its_generation),
        SYSTEM_TEST(a_worker_has_no_privileges),
        SYSTEM_TEST(workers_of_a_user_can_be_neither_dumped_nor_traced),
        SYSTEM_TEST(workers_that_are_root_are_warned_of_once),
        SYSTEM_TEST(who_has_no_capabilities_need_not_be_able_to_give_them_up),
        SYSTEM_TEST(the_unit_for_systemd_is_exposed_no_more_than_1_5),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
