/* The filter of system calls. A call that is not on the list raises SIGSYS, whose handler notes it
 * and has the call fail: with EPERM where it is known to be a way out, else with ENOSYS, as on a
 * kernel without it. Invariant: no thread of ours blocks SIGSYS (common/thread.c); the kernel ends
 * a process that is refused a call meanwhile. */
#include "worker/sandbox/sandbox.h"

#include "common/log.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CALLS          1024                             /* numbers of calls are below */
#define FLAGS_OF_FILES (O_DIRECT | O_ASYNC | O_NOATIME) /* none of a worker's business */
#define CODE_SECCOMP   1 /* SYS_SECCOMP of the kernel's asm-generic/siginfo.h */

/* --- the lists --- */

static const int calls_allowed[] = {
    /* files, beneath what Landlock leaves */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
    SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2),
    SCMP_SYS(dup3), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat),
    SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(open), SCMP_SYS(openat),
    SCMP_SYS(openat2), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
    SCMP_SYS(getdents64), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename),
    SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(linkat), SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range),
    SCMP_SYS(syncfs), SCMP_SYS(fadvise64), SCMP_SYS(flock), SCMP_SYS(copy_file_range),
    SCMP_SYS(sendfile), SCMP_SYS(splice), SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(memfd_create),
    SCMP_SYS(getcwd), SCMP_SYS(umask), SCMP_SYS(io_setup), SCMP_SYS(io_submit),
    SCMP_SYS(io_getevents), SCMP_SYS(io_pgetevents), SCMP_SYS(io_cancel), SCMP_SYS(io_destroy),
    /* memory; mmap and mprotect stand below */
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(msync),
    SCMP_SYS(membarrier),
    /* connections that somebody else has made; socket, connect, shutdown and setsockopt stand
     * below */
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg),
    SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
    /* events and time */
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
    SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime), SCMP_SYS(signalfd4), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(times), SCMP_SYS(alarm), SCMP_SYS(setitimer), SCMP_SYS(getrusage),
    /* threads, and what a process may know of itself; clone, kill and tgkill stand below */
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(set_tid_address),
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(rt_sigsuspend),
    SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(pause), SCMP_SYS(wait4),
    SCMP_SYS(waitid), SCMP_SYS(pidfd_open), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getppid),
    SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getgroups),
    SCMP_SYS(getresuid), SCMP_SYS(getresgid), SCMP_SYS(getpgrp), SCMP_SYS(getpgid),
    SCMP_SYS(getsid), SCMP_SYS(getrlimit), SCMP_SYS(getcpu), SCMP_SYS(getrandom), SCMP_SYS(uname),
    SCMP_SYS(sysinfo)};

/* Known to be ways out, or to do harm outside. Some of them are allowed with some arguments. */
static const int calls_bad[] = {
    /* other processes, and what is not ours to set */
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp),
    SCMP_SYS(process_madvise), SCMP_SYS(process_mrelease), SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal), SCMP_SYS(kill), SCMP_SYS(tkill), SCMP_SYS(tgkill),
    SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(clone), SCMP_SYS(fork),
    SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(prctl), SCMP_SYS(seccomp),
    SCMP_SYS(prlimit64), SCMP_SYS(setrlimit), SCMP_SYS(setpriority), SCMP_SYS(sched_setscheduler),
    SCMP_SYS(sched_setparam), SCMP_SYS(sched_setattr), SCMP_SYS(sched_setaffinity),
    SCMP_SYS(ioprio_set), SCMP_SYS(setpgid), SCMP_SYS(setsid), SCMP_SYS(personality),
    SCMP_SYS(mmap), SCMP_SYS(mprotect), SCMP_SYS(pkey_mprotect), SCMP_SYS(remap_file_pages),
    SCMP_SYS(mlock), SCMP_SYS(mlock2), SCMP_SYS(mlockall), SCMP_SYS(mbind), SCMP_SYS(set_mempolicy),
    SCMP_SYS(migrate_pages), SCMP_SYS(move_pages), SCMP_SYS(memfd_secret), SCMP_SYS(userfaultfd),
    SCMP_SYS(modify_ldt), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(fcntl), SCMP_SYS(ioctl),
    SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(shutdown),
    SCMP_SYS(setsockopt),

    /* the system */
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsmount),
    SCMP_SYS(fsconfig), SCMP_SYS(fspick), SCMP_SYS(mount_setattr), SCMP_SYS(unshare),
    SCMP_SYS(setns), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(keyctl), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(swapon),
    SCMP_SYS(swapoff), SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex), SCMP_SYS(acct),
    SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd), SCMP_SYS(syslog), SCMP_SYS(vhangup),
    SCMP_SYS(name_to_handle_at), SCMP_SYS(open_by_handle_at), SCMP_SYS(fanotify_init),
    SCMP_SYS(fanotify_mark), SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(symlink),
    SCMP_SYS(symlinkat), SCMP_SYS(link), SCMP_SYS(truncate), SCMP_SYS(chmod), SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(lchown), SCMP_SYS(fchown), SCMP_SYS(fchownat),
    SCMP_SYS(setxattr), SCMP_SYS(lsetxattr), SCMP_SYS(fsetxattr), SCMP_SYS(chdir), SCMP_SYS(fchdir),
    SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
    SCMP_SYS(setresgid), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(setgroups),
    SCMP_SYS(capset), SCMP_SYS(shmget), SCMP_SYS(shmat), SCMP_SYS(shmctl), SCMP_SYS(msgget),
    SCMP_SYS(semget), SCMP_SYS(mq_open), SCMP_SYS(landlock_restrict_self)};

/* Those of an argument that are allowed. */
static const unsigned fcntl_commands[] = {
    F_DUPFD,      F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,      F_GETFL,
    F_GETLK,      F_SETLK,         F_SETLKW,    F_OFD_GETLK,  F_OFD_SETLK,
    F_OFD_SETLKW, F_ADD_SEALS,     F_GET_SEALS, F_SETPIPE_SZ, F_GETPIPE_SZ,
};
static const unsigned ioctl_commands[] = {TCGETS, FIONREAD, FS_IOC_GETVERSION};
static const unsigned tcp_options[] = {TCP_NODELAY, TCP_ULP};
static const unsigned prctl_options[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG};
static const unsigned mmap_protections[] = {0, PROT_WRITE, PROT_EXEC};

/* --- what is refused --- */

static bool calls_are_bad[CALLS];
static _Atomic bool calls_refused[CALLS];
static _Atomic bool calls_are_new; /* one is refused that sandbox_say_refused has not seen */

#if defined(__x86_64__)
static void
context_set_result(ucontext_t *context, long result)
{
    context->uc_mcontext.gregs[REG_RAX] = result;
}
#elif defined(__aarch64__)
static void
context_set_result(ucontext_t *context, long result)
{
    context->uc_mcontext.regs[0] = (unsigned long long)result;
}
#else
#define CONTEXT_IS_UNKNOWN 1
static void
context_set_result(ucontext_t *context, long result)
{
    (void)context;
    (void)result;
}
#endif

static struct sigaction calls_otherwise; /* a SIGSYS that is not of a filter */

static void
calls_caught(int signo, siginfo_t *info, void *context)
{
    unsigned call = (unsigned)info->si_syscall;

    if (info->si_code != CODE_SECCOMP) {
        (void)sigaction(signo, &calls_otherwise, NULL);
        (void)raise(signo);
        return;
    }
    if (call < CALLS && !atomic_exchange(&calls_refused[call], true))
        atomic_store(&calls_are_new, true);
    context_set_result(context, call < CALLS && calls_are_bad[call] ? -EPERM : -ENOSYS);
}

static int
calls_catch(void)
{
    struct sigaction action = {.sa_sigaction = calls_caught,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

    for (size_t i = 0; i < MS_ARRAY_LEN(calls_bad); i++)
        if (calls_bad[i] >= 0 && calls_bad[i] < CALLS)
            calls_are_bad[calls_bad[i]] = true;
    return sigaction(SIGSYS, &action, &calls_otherwise);
}

static void
calls_say(unsigned call)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)call);

    log_line(LOG_call_refused, "the sandbox refuses the system call %s (%u) with %s",
             name != NULL ? name : "without a name", call,
             calls_are_bad[call] ? "EPERM" : "ENOSYS");
    free(name);
}

void
sandbox_say_refused(void)
{
    static bool said[CALLS];

    if (!atomic_load_explicit(&calls_are_new, memory_order_relaxed))
        return;
    atomic_store(&calls_are_new, false);
    for (unsigned i = 0; i < CALLS; i++) {
        if (said[i] || !atomic_load(&calls_refused[i]))
            continue;
        said[i] = true;
        calls_say(i);
    }
}

/* --- the filter --- */

static int
filter_allow(scmp_filter_ctx f, int call)
{
    return seccomp_rule_add(f, SCMP_ACT_ALLOW, call, 0);
}

/* The calls whose argument, but for the bits outside of the mask, is one of these values. */
static int
filter_allow_values(scmp_filter_ctx f, int call, unsigned argument, uint64_t mask,
                    const unsigned *values, size_t count)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, call, 1,
                              SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, mask, values[i]));
    return rc;
}

static int
filter_allow_value(scmp_filter_ctx f, int call, unsigned argument, uint64_t mask, unsigned value)
{
    return filter_allow_values(f, call, argument, mask, &value, 1);
}

/* A thread, but no process. glibc makes both with all signals blocked, so the refusal comes from
 * the kernel, which logs nothing. Of clone3 the filter does not see what is asked: glibc goes back
 * to clone. */
static int
filter_threads(scmp_filter_ctx f)
{
    const uint64_t new_ones = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                              CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    int rc = filter_allow_value(f, SCMP_SYS(clone), 0, CLONE_THREAD | new_ones, CLONE_THREAD);

    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    return rc == 0 ? seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) : rc;
}

/* Signals for itself: raise, and the crash recorder. Limits are read, not set. */
static int
filter_itself(scmp_filter_ctx f)
{
    const uint64_t all = UINT64_MAX;
    int rc = filter_allow_value(f, SCMP_SYS(kill), 0, UINT32_MAX, (unsigned)getpid());

    if (rc == 0)
        rc = filter_allow_value(f, SCMP_SYS(tgkill), 0, UINT32_MAX, (unsigned)getpid());
    if (rc == 0)
        rc = filter_allow_values(f, SCMP_SYS(prctl), 0, UINT32_MAX, prctl_options,
                                 MS_ARRAY_LEN(prctl_options));
    return rc == 0 ? filter_allow_value(f, SCMP_SYS(prlimit64), 2, all, 0) : rc;
}

/* Nothing that can be written is executed. */
static int
filter_memory(scmp_filter_ctx f)
{
    int rc = filter_allow_values(f, SCMP_SYS(mmap), 2, PROT_WRITE | PROT_EXEC, mmap_protections,
                                 MS_ARRAY_LEN(mmap_protections));

    return rc == 0 ? filter_allow_value(f, SCMP_SYS(mprotect), 2, PROT_EXEC, 0) : rc;
}

/* All workers share the listeners, with their flags and options: one that waits in accept, is shut
 * down, or whose connections wake nobody would be lost to all. So does nobody but libnats, which
 * has sockets of its own, take O_NONBLOCK away, shut more than the sending half, or set options but
 * those of an answer's delay and of TLS in the kernel. */
static int
filter_shared(scmp_filter_ctx f)
{
    int rc = seccomp_rule_add(
        f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2,
        SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, UINT32_MAX, F_SETFL),
        SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, O_NONBLOCK | FLAGS_OF_FILES, O_NONBLOCK));

    if (rc == 0)
        rc = filter_allow_value(f, SCMP_SYS(shutdown), 1, UINT32_MAX, SHUT_WR);
    if (rc == 0)
        rc = filter_allow_value(f, SCMP_SYS(setsockopt), 1, UINT32_MAX, SOL_TLS);
    for (size_t i = 0; i < MS_ARRAY_LEN(tcp_options) && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
                              SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, UINT32_MAX, IPPROTO_TCP),
                              SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, UINT32_MAX, tcp_options[i]));
    return rc;
}

static int
filter_own_sockets(scmp_filter_ctx f)
{
    int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2,
                              SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, UINT32_MAX, F_SETFL),
                              SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, FLAGS_OF_FILES, 0));

    if (rc == 0)
        rc = filter_allow_value(f, SCMP_SYS(ioctl), 1, UINT32_MAX, FIONBIO);
    if (rc == 0)
        rc = filter_allow(f, SCMP_SYS(shutdown));
    return rc == 0 ? filter_allow(f, SCMP_SYS(setsockopt)) : rc;
}

static int
filter_descriptors(scmp_filter_ctx f, const struct sandbox_needs *needs)
{
    int rc = filter_allow_values(f, SCMP_SYS(fcntl), 1, UINT32_MAX, fcntl_commands,
                                 MS_ARRAY_LEN(fcntl_commands));

    if (rc == 0)
        rc = filter_allow_values(f, SCMP_SYS(ioctl), 1, UINT32_MAX, ioctl_commands,
                                 MS_ARRAY_LEN(ioctl_commands));
    if (rc == 0)
        rc = needs->connects ? filter_own_sockets(f) : filter_shared(f);
    return rc;
}

static int
filter_socket(scmp_filter_ctx f, int call, unsigned family, unsigned type)
{
    return seccomp_rule_add(
        f, SCMP_ACT_ALLOW, call, 2, SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, UINT32_MAX, family),
        SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK), type));
}

/* Streams and datagrams of one family: not raw ones. */
static int
filter_family(scmp_filter_ctx f, int call, unsigned family)
{
    int rc = filter_socket(f, call, family, SOCK_STREAM);

    return rc == 0 ? filter_socket(f, call, family, SOCK_DGRAM) : rc;
}

static int
filter_sockets(scmp_filter_ctx f, const struct sandbox_needs *needs)
{
    int rc = filter_socket(f, SCMP_SYS(socketpair), AF_UNIX, SOCK_STREAM);

    if (rc == 0 && needs->connects)
        rc = filter_family(f, SCMP_SYS(socket), AF_INET);
    if (rc == 0 && needs->connects)
        rc = filter_family(f, SCMP_SYS(socket), AF_INET6);
    if (rc == 0 && needs->unix_sockets)
        rc = filter_family(f, SCMP_SYS(socket), AF_UNIX);
    else if (rc == 0 && needs->log_socket)
        rc = filter_socket(f, SCMP_SYS(socket), AF_UNIX, SOCK_DGRAM);
    if (rc == 0 && (needs->connects || needs->unix_sockets))
        rc = filter_allow(f, SCMP_SYS(connect));
    return rc;
}

static int
filter_fill(scmp_filter_ctx f, const struct sandbox_needs *needs)
{
    int rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);

    if (rc == 0)
        rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
    for (size_t i = 0; i < MS_ARRAY_LEN(calls_allowed) && rc == 0; i++)
        rc = filter_allow(f, calls_allowed[i]);
    if (rc == 0)
        rc = filter_threads(f);
    if (rc == 0)
        rc = filter_itself(f);
    if (rc == 0)
        rc = filter_memory(f);
    if (rc == 0)
        rc = filter_descriptors(f, needs);
    return rc == 0 ? filter_sockets(f, needs) : rc;
}

bool
seccomp_is_available(void)
{
#ifdef CONTEXT_IS_UNKNOWN
    return false;
#else
    uint32_t action = SCMP_ACT_TRAP;

    return syscall(SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, &action) == 0;
#endif
}

int
seccomp_confine(const struct sandbox_needs *needs)
{
    scmp_filter_ctx f;
    int rc = -ENOMEM;

    if (!seccomp_is_available()) {
        errno = ENOSYS;
        return -1;
    }
    f = seccomp_init(SCMP_ACT_TRAP);
    if (f != NULL && (rc = filter_fill(f, needs)) == 0 &&
        (rc = calls_catch() < 0 ? -errno : 0) == 0)
        rc = seccomp_load(f);
    seccomp_release(f);
    errno = -rc;
    return rc == 0 ? 0 : -1;
}
