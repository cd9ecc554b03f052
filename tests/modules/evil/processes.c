/* Other processes, above all the master and a sibling, which may have the same user; and rights
 * that a worker has given up. */
#include "evil.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

/* Ignored by a process that does not ask for it. */
#define HARMLESS SIGURG

/* --- to look into --- */

static long
trace_attach(const struct evil *e, const struct attempt *a)
{
    long rc = ptrace(PTRACE_ATTACH, e->master, NULL, NULL);

    (void)a;
    if (rc == 0 && waitpid(e->master, NULL, __WALL) > 0)
        (void)ptrace(PTRACE_DETACH, e->master, NULL, NULL);
    return rc;
}

static long
trace_seize(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return ptrace(PTRACE_SEIZE, e->sibling, NULL, NULL);
}

static long
memory_read(const struct evil *e, const struct attempt *a)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)&evil_processes, 1};

    (void)a;
    return process_vm_readv(e->master, &here, 1, &there, 1, 0);
}

static long
memory_write(const struct evil *e, const struct attempt *a)
{
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)&evil_processes, 1};

    (void)a;
    return process_vm_writev(e->sibling, &here, 1, &there, 1, 0);
}

static long
memory_move(const struct evil *e, const struct attempt *a)
{
    unsigned long nodes = 1;

    (void)a;
    return syscall(SYS_migrate_pages, e->master, 2, &nodes, &nodes);
}

static long
descriptor_steal(pid_t from)
{
    int fd = (int)syscall(SYS_pidfd_open, from, 0);
    long rc = fd < 0 ? -1 : evil_close((int)syscall(SYS_pidfd_getfd, fd, 0, 0));

    (void)evil_close(fd);
    return rc;
}

static long
descriptor_of_master(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return descriptor_steal(e->master);
}

static long
descriptor_of_sibling(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return descriptor_steal(e->sibling);
}

/* --- signals --- */

static long
signal_master(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return syscall(SYS_kill, e->master, HARMLESS);
}

static long
signal_sibling(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return syscall(SYS_kill, e->sibling, HARMLESS);
}

static long
signal_group(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return syscall(SYS_kill, 0, HARMLESS);
}

/* Signal 0 only asks whether it could be sent. */
static long
signal_all(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return syscall(SYS_kill, -1, 0);
}

static long
signal_thread(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return syscall(SYS_tgkill, e->sibling, e->sibling, HARMLESS);
}

static long
signal_queue(const struct evil *e, const struct attempt *a)
{
    siginfo_t info = {.si_signo = HARMLESS, .si_code = SI_QUEUE};

    (void)a;
    return syscall(SYS_rt_sigqueueinfo, e->master, HARMLESS, &info);
}

static long
signal_by_pidfd(const struct evil *e, const struct attempt *a)
{
    int fd = (int)syscall(SYS_pidfd_open, e->master, 0);
    long rc = fd < 0 ? -1 : syscall(SYS_pidfd_send_signal, fd, HARMLESS, NULL, 0);

    (void)a;
    (void)evil_close(fd);
    return rc;
}

/* The kernel then sends one on our behalf, whenever something can be read. */
static long
signal_by_owner(const struct evil *e, const struct attempt *a)
{
    int ends[2];
    long rc = -1;

    (void)a;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    if (fcntl(ends[0], F_SETSIG, HARMLESS) == 0 && fcntl(ends[0], F_SETOWN, e->master) == 0)
        rc = fcntl(ends[0], F_SETFL, O_ASYNC);
    (void)evil_close(ends[0]);
    (void)evil_close(ends[1]);
    return rc;
}

/* --- what the scheduler and the limits hold --- */

static long
priority_of_master(const struct evil *e, const struct attempt *a)
{
    (void)a;
    return setpriority(PRIO_PROCESS, (id_t)e->master, 1);
}

static long
affinity_of_master(const struct evil *e, const struct attempt *a)
{
    cpu_set_t set;

    (void)a;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        CPU_SET(0, &set);
    return sched_setaffinity(e->master, sizeof(set), &set);
}

static long
real_time(const struct evil *e, const struct attempt *a)
{
    const struct sched_param param = {.sched_priority = 1};

    (void)e;
    (void)a;
    return sched_setscheduler(0, SCHED_FIFO, &param);
}

static long
limit_of_master(const struct evil *e, const struct attempt *a)
{
    struct rlimit same;

    (void)a;
    if (prlimit(e->master, RLIMIT_NOFILE, NULL, &same) < 0)
        return -1;
    return prlimit(e->master, RLIMIT_NOFILE, &same, NULL);
}

static long
limit_up(const struct evil *e, const struct attempt *a)
{
    const struct rlimit cores = {1 << 20, 1 << 20};

    (void)e;
    (void)a;
    return setrlimit(RLIMIT_CORE, &cores);
}

/* --- rights --- */

static long
become_user(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return setresuid(1, 1, 1);
}

static long
become_group(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return setresgid(1, 1, 1);
}

static long
join_groups(const struct evil *e, const struct attempt *a)
{
    const gid_t groups[] = {0, 1};

    (void)e;
    (void)a;
    return setgroups(2, groups);
}

static long
gain_capabilities(const struct evil *e, const struct attempt *a)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[_LINUX_CAPABILITY_U32S_3] = {{~0u, ~0u, 0}, {~0u, ~0u, 0}};

    (void)e;
    (void)a;
    return syscall(SYS_capset, &header, all);
}

/* --- new processes --- */

/* In the child, if there is one: nothing. */
static long
process_end(long pid)
{
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        (void)waitpid((pid_t)pid, NULL, __WALL);
    return pid;
}

static long
process_fork(const struct evil *e, const struct attempt *a)
{
    (void)e;
    (void)a;
    return process_end(fork());
}

static long
process_clone(const struct evil *e, const struct attempt *a)
{
    (void)e;
    return process_end(syscall(SYS_clone, a->flags | SIGCHLD, 0, 0, 0, 0));
}

static long
process_clone3(const struct evil *e, const struct attempt *a)
{
    uint64_t args[8] = {0, 0, 0, 0, SIGCHLD};

    (void)e;
    (void)a;
    return process_end(syscall(SYS_clone3, args, sizeof(args)));
}

/* Each child makes further ones, as long as there are not too many for a test. */
static long
process_bomb(const struct evil *e, const struct attempt *a)
{
    long rc = -1;

    (void)e;
    (void)a;
    for (int i = 0; i < 8; i++) {
        long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

        rc = pid >= 0 ? pid : rc;
        (void)process_end(pid);
    }
    return rc;
}

static long
join_namespaces(const struct evil *e, const struct attempt *a)
{
    int fd = open(evil_path(e, "/proc/%m/ns/net"), O_RDONLY | O_CLOEXEC);
    long rc = setns(fd, CLONE_NEWNET);

    (void)a;
    (void)evil_close(fd);
    return rc;
}

const struct attempt evil_processes[] = {
    {.name = "trace-master", .run = trace_attach},
    {.name = "trace-sibling", .run = trace_seize},
    {.name = "ask-to-be-traced", .run = evil_call, .call = {SYS_ptrace, PTRACE_TRACEME}},
    {.name = "read-memory-of-master", .run = memory_read},
    {.name = "write-memory-of-sibling", .run = memory_write},
    {.name = "move-memory-of-master", .run = memory_move},
    {.name = "steal-descriptor-of-master", .run = descriptor_of_master},
    {.name = "steal-descriptor-of-sibling", .run = descriptor_of_sibling},
    {.name = "signal-master", .run = signal_master},
    {.name = "signal-sibling", .run = signal_sibling},
    {.name = "signal-group", .run = signal_group},
    {.name = "signal-everybody", .run = signal_all},
    {.name = "signal-thread-of-sibling", .run = signal_thread},
    {.name = "queue-signal-to-master", .run = signal_queue},
    {.name = "signal-by-pidfd", .run = signal_by_pidfd},
    {.name = "signal-by-owner", .run = signal_by_owner},
    {.name = "slow-master-down", .run = priority_of_master},
    {.name = "bind-master-to-processor", .run = affinity_of_master},
    {.name = "real-time", .run = real_time},
    {.name = "limit-master", .run = limit_of_master},
    {.name = "raise-limit", .run = limit_up},
    {.name = "become-user", .run = become_user},
    {.name = "become-group", .run = become_group},
    {.name = "join-groups", .run = join_groups},
    {.name = "gain-capabilities", .run = gain_capabilities},
    {.name = "keep-capabilities",
     .run = evil_call,
     .call = {SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN}},
    {.name = "become-dumpable", .run = evil_call, .call = {SYS_prctl, PR_SET_DUMPABLE, 1}},
    {.name = "let-anybody-trace", .run = evil_call, .call = {SYS_prctl, PR_SET_PTRACER, -1}},
    {.name = "adopt-orphans", .run = evil_call, .call = {SYS_prctl, PR_SET_CHILD_SUBREAPER, 1}},
    {.name = "change-own-memory-map",
     .run = evil_call,
     .call = {SYS_prctl, PR_SET_MM, PR_SET_MM_START_CODE, 4096}},
    {.name = "fork", .run = process_fork},
    {.name = "vfork", .run = process_clone, .flags = CLONE_VM | CLONE_VFORK},
    {.name = "clone-anew", .run = process_clone3},
    {.name = "fork-bomb", .run = process_bomb},
    {.name = "clone-user-namespace", .run = process_clone, .flags = CLONE_NEWUSER},
    {.name = "new-user-namespace", .run = evil_call, .call = {SYS_unshare, CLONE_NEWUSER}},
    {.name = "new-mount-namespace", .run = evil_call, .call = {SYS_unshare, CLONE_NEWNS}},
    {.name = "join-namespace-of-master", .run = join_namespaces},
    {.name = NULL},
};
