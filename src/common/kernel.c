/* See the header. What was found out is one byte a call: several threads that try at once find the
 * same. */
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define ALL_FLAGS 0x7fffffffL /* no call knows them all */
#define MEMORY    0x7ffffffeL /* stands for the address of zeros */

static const struct {
    const char *name;
    long number, args[5];
} kernel_calls[KERNEL_CALLS] = {
    [KERNEL_OPENAT2] = {"openat2", SYS_openat2, {-1, MEMORY, MEMORY}},
    [KERNEL_RENAMEAT2] = {"renameat2", SYS_renameat2, {-1, MEMORY, -1, MEMORY, ALL_FLAGS}},
    [KERNEL_STATX] = {"statx", SYS_statx, {-1, MEMORY, ALL_FLAGS, 0, MEMORY}},
    [KERNEL_FACCESSAT2] = {"faccessat2", SYS_faccessat2, {-1, MEMORY, 0, ALL_FLAGS}},
    [KERNEL_CLOSE_RANGE] = {"close_range", SYS_close_range, {1, 0}},
    [KERNEL_PIDFD_OPEN] = {"pidfd_open", SYS_pidfd_open, {-1, ALL_FLAGS}},
    [KERNEL_PIDFD_SEND_SIGNAL] = {"pidfd_send_signal",
                                  SYS_pidfd_send_signal,
                                  {-1, 0, 0, ALL_FLAGS}},
    [KERNEL_EPOLL_PWAIT2] = {"epoll_pwait2", SYS_epoll_pwait2, {-1, MEMORY}},
    [KERNEL_IO_GETEVENTS] = {"io_getevents", SYS_io_getevents, {0}},
    [KERNEL_GETRANDOM] = {"getrandom", SYS_getrandom, {MEMORY, 0, ALL_FLAGS}},
    [KERNEL_MEMFD_CREATE] = {"memfd_create", SYS_memfd_create, {MEMORY, ALL_FLAGS}},
    [KERNEL_SIGNALFD4] = {"signalfd4", SYS_signalfd4, {-1, MEMORY, 0, ALL_FLAGS}},
    [KERNEL_EVENTFD2] = {"eventfd2", SYS_eventfd2, {0, ALL_FLAGS}},
    [KERNEL_EPOLL_CREATE1] = {"epoll_create1", SYS_epoll_create1, {ALL_FLAGS}},
    [KERNEL_TIMERFD_CREATE] = {"timerfd_create", SYS_timerfd_create, {-1, ALL_FLAGS}},
    [KERNEL_ACCEPT4] = {"accept4", SYS_accept4, {-1, 0, 0, ALL_FLAGS}},
    [KERNEL_PIPE2] = {"pipe2", SYS_pipe2, {MEMORY, ALL_FLAGS}},
    [KERNEL_DUP3] = {"dup3", SYS_dup3, {-1, -1, ALL_FLAGS}},
    [KERNEL_PPOLL] = {"ppoll", SYS_ppoll, {0, 0, MEMORY}}, /* no descriptors, and no time */
};

enum { KERNEL_UNKNOWN, KERNEL_THERE, KERNEL_MISSING };

static _Atomic unsigned char kernel_known[KERNEL_CALLS];

static bool
kernel_try(enum kernel_call call)
{
    static const uint64_t zeros[64]; /* larger than anything that a call would read */
    int saved = errno;
    long a[5];
    bool there;

    for (size_t i = 0; i < MS_ARRAY_LEN(a); i++) {
        a[i] = kernel_calls[call].args[i];
        if (a[i] == MEMORY)
            a[i] = (long)(intptr_t)zeros;
    }
    there = syscall(kernel_calls[call].number, a[0], a[1], a[2], a[3], a[4], 0) >= 0 ||
            errno == EINVAL || errno == EFAULT || errno == EBADF || errno == ENOENT;
    errno = saved;
    return there;
}

bool
kernel_has(enum kernel_call call)
{
    unsigned char known = atomic_load_explicit(&kernel_known[call], memory_order_relaxed);

    if (known == KERNEL_UNKNOWN) {
        known = kernel_try(call) ? KERNEL_THERE : KERNEL_MISSING;
        atomic_store_explicit(&kernel_known[call], known, memory_order_relaxed);
    }
    return known == KERNEL_THERE;
}

unsigned
kernel_refused(enum kernel_call first, enum kernel_call end, char out[KERNEL_LIST_LEN])
{
    unsigned count = 0;
    size_t len = 0;

    out[0] = '\0';
    for (enum kernel_call call = first; call < end; call++)
        if (!kernel_has(call) && len < KERNEL_LIST_LEN)
            len += (size_t)snprintf(out + len, KERNEL_LIST_LEN - len, "%s%s",
                                    count++ > 0 ? ", " : "", kernel_calls[call].name);
    return count;
}

/* --- calls with an older way to do the same --- */

int
kernel_epoll_wait_ns(int epoll_fd, struct epoll_event *events, int max, uint64_t ns)
{
    const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000),
                                .tv_nsec = (long)(ns % 1000000000)};
    struct pollfd ready = {.fd = epoll_fd, .events = POLLIN};

    if (kernel_has(KERNEL_EPOLL_PWAIT2))
        return epoll_pwait2(epoll_fd, events, max, &ts, NULL);
    if (ns > 0 && ppoll(&ready, 1, &ts, NULL) < 0)
        return -1;
    return epoll_wait(epoll_fd, events, max, 0);
}

/* The C library goes back to the older call after ENOSYS, but not after the EPERM of a sandbox. */
int
kernel_access(int dir_fd, const char *path, int mode)
{
    if (kernel_has(KERNEL_FACCESSAT2))
        return faccessat(dir_fd, path, mode, AT_EACCESS);
    return (int)syscall(SYS_faccessat, dir_fd, path, mode);
}

int
kernel_statx(int fd, unsigned mask, struct statx *out)
{
    struct stat st;

    if (kernel_has(KERNEL_STATX))
        return statx(fd, "", AT_EMPTY_PATH, mask, out);
    if (fstat(fd, &st) < 0)
        return -1;
    *out = (struct statx){.stx_mask = STATX_INO,
                          .stx_ino = st.st_ino,
                          .stx_dev_major = major(st.st_dev),
                          .stx_dev_minor = minor(st.st_dev)};
    return 0;
}

/* Where vm.memfd_noexec is 2, a file that could be executed is refused; kernels before 6.3 do not
 * know the flag that says so. */
int
kernel_memory_file(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}
