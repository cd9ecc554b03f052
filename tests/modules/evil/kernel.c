/* The rest of the kernel: calls that a server never needs. Where one would do harm, its arguments
 * ask for what is so already, or for nothing. */
#include "evil.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/quota.h>
#include <sys/reboot.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static long
ring(const struct evil *e, const struct attempt *a)
{
    struct io_uring_params params = {0};

    (void)e;
    (void)a;
    return evil_close((int)syscall(SYS_io_uring_setup, 1, &params));
}

static long
berkeley_map(const struct evil *e, const struct attempt *a)
{
    union bpf_attr attr = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

    (void)e;
    (void)a;
    return evil_close((int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static long
count_events(pid_t pid)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .size = sizeof(attr),
                                   .config = PERF_COUNT_SW_TASK_CLOCK,
                                   .exclude_kernel = 1};

    return evil_close((int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, 0));
}

static long
count_own_events(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return count_events(0);
}

static long
count_events_of_master(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return count_events(e->master);
}

static long
page_faults(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return evil_close((int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1));
}

static long
set_name(const struct evil *e, const struct attempt *a)
{
    struct utsname now;

    (void)e;
    (void)a;
    (void)uname(&now);
    return sethostname(now.nodename, strlen(now.nodename));
}

static long
set_clock(const struct evil *e, const struct attempt *a)
{
    struct timespec now;

    (void)e;
    (void)a;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return clock_settime(CLOCK_REALTIME, &now);
}

static long
adjust_clock(const struct evil *e, const struct attempt *a)
{
    struct timex how = {.modes = ADJ_OFFSET_SINGLESHOT};

    (void)e;
    (void)a;
    return adjtimex(&how);
}

static long
descriptors_of_segments(const struct evil *e, const struct attempt *a)
{
    struct {
        unsigned entry, base, limit, flags;
    } segment = {0};

    (void)e;
    (void)a;
#ifdef SYS_modify_ldt
    return syscall(SYS_modify_ldt, 1, &segment, sizeof(segment));
#else
    (void)segment;
    errno = ENOSYS;
    return -1;
#endif
}

/* The calls of 32 bits have other numbers, which a filter may have forgotten. Number 20 is getpid
 * there. */
static long
call_of_32_bits(const struct evil *e, const struct attempt *a)
{
    long rc = -ENOSYS;

    (void)e;
    (void)a;
#ifdef __x86_64__
    __asm__ volatile("int $0x80" : "=a"(rc) : "0"(20L) : "memory", "cc");
#endif
    if (rc >= 0)
        return rc;
    errno = (int)-rc;
    return -1;
}

static long
call_of_x32(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return syscall(0x40000000L | SYS_getpid);
}

static long
shared_segment(const struct evil *e, const struct attempt *a)
{
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

    (void)e;
    (void)a;
    if (id >= 0)
        (void)shmctl(id, IPC_RMID, NULL);
    return id;
}

static long
queue(const struct evil *e, const struct attempt *a)
{
    long fd = syscall(SYS_mq_open, "msockd-evil", O_CREAT | O_RDWR, 0600, NULL);

    (void)e;
    (void)a;
    if (fd >= 0)
        (void)syscall(SYS_mq_unlink, "msockd-evil");
    return evil_close((int)fd);
}

static long
type_into_terminal(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static long
paste_into_console(const struct evil *e, const struct attempt *a)
{
    char how[] = {3};

    (void)e;
    (void)a;
    return ioctl(STDIN_FILENO, TIOCLINUX, how);
}

const struct attempt evil_kernel[] = {
    {.name = "add-key",
     .run = evil_call,
     .call = {SYS_add_key, (long)"user", (long)"evil", (long)"x", 1, KEY_SPEC_PROCESS_KEYRING}},
    {.name = "request-key",
     .run = evil_call,
     .call = {SYS_request_key, (long)"user", (long)"evil", 0, KEY_SPEC_PROCESS_KEYRING}},
    {.name = "read-keys",
     .run = evil_call,
     .call = {SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1}},
    {.name = "io-uring", .run = ring},
    {.name = "bpf", .run = berkeley_map},
    {.name = "count-own-events", .run = count_own_events},
    {.name = "count-events-of-master", .run = count_events_of_master},
    {.name = "handle-page-faults", .run = page_faults},
    {.name = "load-module", .run = evil_call, .call = {SYS_init_module, 0, 0, (long)""}},
    {.name = "load-kernel", .run = evil_call, .call = {SYS_kexec_load, 0, 0, 0, 0}},
    {.name = "reboot",
     .run = evil_call,
     .call = {SYS_reboot, 0xfee1dead, 672274793, RB_ENABLE_CAD}},
    {.name = "set-host-name", .run = set_name, .flags = 0},
    {.name = "set-clock", .run = set_clock},
    {.name = "adjust-clock", .run = adjust_clock},
    {.name = "swap-on", .run = evil_call, .call = {SYS_swapon, (long)"/no/such/file", 0}},
    {.name = "account", .run = evil_call, .call = {SYS_acct, 0}},
    {.name = "quota",
     .run = evil_call,
     .call = {SYS_quotactl, QCMD(Q_QUOTAOFF, USRQUOTA), (long)"/dev/null", 0, 0}},
    {.name = "modify-segments", .run = descriptors_of_segments},
    {.name = "fixed-addresses", .run = evil_call, .call = {SYS_personality, ADDR_NO_RANDOMIZE}},
#ifdef SYS_iopl
    {.name = "ports-of-devices", .run = evil_call, .call = {SYS_iopl, 3}},
#endif
    {.name = "read-kernel-log", .run = evil_call, .call = {SYS_syslog, 9, 0, 0}},
    {.name = "secret-memory", .run = evil_call, .call = {SYS_memfd_secret, 0}},
    {.name = "call-of-32-bits", .run = call_of_32_bits},
    {.name = "call-of-x32", .run = call_of_x32},
    {.name = "shared-segment", .run = shared_segment},
    {.name = "posix-queue", .run = queue},
    {.name = "type-into-terminal", .run = type_into_terminal},
    {.name = "paste-into-console", .run = paste_into_console},
    {.name = NULL},
};
