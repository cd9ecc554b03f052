/* Checks of `msockctl doctor` that look at what the kernel says: it is written into files of the
 * test, right first and then wrong. */
#include "patient.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- files of the kernel --- */

static void
root_write(const char *root, const char *path, const char *text)
{
    char file[HARNESS_PATH_LEN], line[2 * HARNESS_PATH_LEN];

    snprintf(file, sizeof(file), "%s%s", root, path);
    snprintf(line, sizeof(line), "mkdir -p \"$(dirname '%s')\"", file);
    assert_int_equal(system(line), 0);
    harness_write_file(file, text, strlen(text));
}

struct kernel_row {
    const char *check, *path, *right, *wrong, *said;
};

#define IPV4  "/proc/sys/net/ipv4/"
#define MOUNT "1 0 8:1 / / rw - ext4 /dev/sda1 rw"

/* One file for each, beside those of kernel_world. */
static const struct kernel_row kernel_rows[] = {
    {"somaxconn", "/proc/sys/net/core/somaxconn", "4096\n", "128\n", "sysctl -w"},
    {"syn-backlog", IPV4 "tcp_max_syn_backlog", "4096\n", "64\n", "sysctl -w"},
    {"syncookies", IPV4 "tcp_syncookies", "1\n", "0\n", "flood"},
    {"abort-on-overflow", IPV4 "tcp_abort_on_overflow", "0\n", "1\n", "reset"},
    {"overflows", "/proc/net/netstat", "TcpExt: A ListenOverflows B\nTcpExt: 9 0 9\n",
     "TcpExt: A ListenOverflows B\nTcpExt: 0 500 0\n", "backlog="},
    {"port", IPV4 "ip_local_port_range", "32768 60999\n", "9000 60999\n", "9123"},
    {"port", IPV4 "ip_local_reserved_ports", "80,9000-9200\n", "80\n", "9123"},
    {"conntrack", "/proc/sys/net/netfilter/nf_conntrack_count", "10\n", "950\n", "dropped"},
    {"tcp-memory", "/proc/net/sockstat", "TCP: inuse 1 mem 3\n", "TCP: inuse 1 mem 300\n",
     "tcp_mem"},
    {"clock-source", "/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n",
     "hpet\n", "slow"},
    {"memory", "/proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
     "MemTotal: 8000000 kB\nMemAvailable: 700000 kB\n", "683 MiB"},
    {"memory-bound", "/proc/meminfo", "MemTotal: 800000 kB\n", "MemTotal: 200000 kB\n",
     "worker_memory_max"},
    {"overcommit", "/proc/sys/vm/overcommit_memory", "0\n", "2\n", "overcommit"},
    {"oom", "/proc/vmstat", "a 1\noom_kill 0\n", "a 1\noom_kill 2\n", "2 processes"},
    {"io-pressure", "/proc/pressure/io", "some avg10=90\nfull avg10=90.00 avg60=1.00 avg300=0\n",
     "some avg10=0\nfull avg10=0.00 avg60=55.50 avg300=0\n", "55.5 %"},
    {"memory-pressure", "/proc/pressure/memory", "full avg10=0.00 avg60=0.00\n",
     "full avg10=0.00 avg60=12.00\n", "12.0 %"},
    {"barriers", "/proc/self/mountinfo", MOUNT "\n", MOUNT ",nobarrier\n", "power cut"},
    {"barriers", "/proc/self/mountinfo",
     MOUNT ",barrier=0\n2 1 8:2 / /tmp rw - ext4 x rw,barrier=1\n",
     MOUNT "\n2 1 8:2 / /tmp rw - ext4 x barrier=0\n", "barrier=0"},
};

static void
kernel_world(const char *root)
{
    root_write(root, "/proc/net/snmp", "Tcp: X PassiveOpens\nTcp: 1 1000\n");
    root_write(root, "/proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
    root_write(root, IPV4 "tcp_mem", "100 200 300\n");
    root_write(root, IPV4 "ip_local_port_range", "9000 60999\n");
    root_write(root, IPV4 "ip_local_reserved_ports", "80\n");
}

static void
what_the_kernel_says_is_judged(void **state)
{
    char dir[HARNESS_PATH_LEN], config[HARNESS_PATH_LEN], root[HARNESS_PATH_LEN], text[1024];
    const struct patient p = {.config = config, .root = root};

    (void)state;
    harness_directory(dir);
    harness_directory(root);
    harness_join(config, dir, "msockd.conf");
    snprintf(text, sizeof(text),
             "workers = 2\ndata_dir = \"%s\"\nlisten = {\"msp://127.0.0.1:9123\"}\n", dir);
    harness_write_file(config, text, strlen(text));
    for (size_t i = 0; i < MS_ARRAY_LEN(kernel_rows); i++) {
        const struct kernel_row *row = &kernel_rows[i];

        kernel_world(root);
        root_write(root, row->path, row->right);
        patient_expect_fine(&p, row->check);
        root_write(root, row->path, row->wrong);
        patient_expect_wrong(&p, row->check, row->said);
    }
}

/* --- a process that runs --- */

struct process_row {
    const char *check, *path, *right, *wrong, *said; /* %s: the control group */
    bool worker;
};

#define LIMITS(soft) \
    "Limit  Soft Limit  Hard Limit  Units\nMax file size   " soft "\nMax processes  " soft "\n"

static const struct process_row process_rows[] = {
    {"file-size", "limits", LIMITS("unlimited"), LIMITS("1048576"), "LimitFSIZE", false},
    {"processes", "limits", LIMITS("unlimited"), LIMITS("20"), "LimitNPROC", false},
    {"swap", "status", "VmSwap:  0 kB\n", "VmSwap:  2097152 kB\n", "MemorySwapMax", true},
};

static void
what_the_kernel_says_of_the_processes_is_judged(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char root[HARNESS_PATH_LEN], path[128];
    const struct patient p = {.runtime_dir = d->runtime_dir, .root = root};
    struct proc_list workers;

    (void)state;
    harness_directory(root);
    daemon_workers(d, &workers);
    for (size_t i = 0; i < MS_ARRAY_LEN(process_rows); i++) {
        const struct process_row *row = &process_rows[i];

        snprintf(path, sizeof(path), "/proc/%d/%s",
                 (int)(row->worker ? workers.pid[0] : d->run.pid), row->path);
        root_write(root, path, row->right);
        patient_expect_fine(&p, row->check);
        root_write(root, path, row->wrong);
        patient_expect_wrong(&p, row->check, row->said);
    }
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)d->run.pid);
    root_write(root, path, "0::/msockd\n");
    root_write(root, "/sys/fs/cgroup/msockd/memory.max", "1000000\n");
    root_write(root, "/sys/fs/cgroup/msockd/memory.current", "500000\n");
    patient_expect_fine(&p, "group-memory");
    root_write(root, "/sys/fs/cgroup/msockd/memory.current", "950000\n");
    patient_expect_wrong(&p, "group-memory", "MemoryMax=2000000");
    root_write(root, "/sys/fs/cgroup/msockd/pids.max", "max\n");
    root_write(root, "/sys/fs/cgroup/msockd/pids.current", "95\n");
    patient_expect_fine(&p, "group-tasks");
    root_write(root, "/sys/fs/cgroup/msockd/pids.max", "100\n");
    patient_expect_wrong(&p, "group-tasks", "TasksMax=200");
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(what_the_kernel_says_is_judged),
        SYSTEM_TEST(what_the_kernel_says_of_the_processes_is_judged),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
