/* Least privilege: what a worker is, has and may do. */
#include "daemon.h"
#include "raw_tiny.h"
#include "target.h"

#include "support/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct proc_list workers;
    uint64_t first, second;

    (void)state;
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_worker_has_a_layout_of_its_own),
        SYSTEM_TEST(a_worker_that_is_replaced_has_the_configuration_of_its_generation),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
