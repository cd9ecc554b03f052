/* The newer system calls. An old kernel does not have them (ENOSYS), and the seccomp profile of an
 * old sandbox refuses what it does not know, mostly with EPERM, which could be mistaken for a
 * permission of a file. So each is tried once with arguments that cannot be right: whoever has the
 * call says that they are wrong. */
#ifndef COMMON_KERNEL_H
#define COMMON_KERNEL_H

#include "common/base.h"

enum kernel_call {
    /* Without one of these an older call does the work. */
    KERNEL_OPENAT2,
    KERNEL_RENAMEAT2,
    KERNEL_STATX,
    KERNEL_FACCESSAT2,
    KERNEL_CLOSE_RANGE,
    KERNEL_PIDFD_OPEN,
    KERNEL_PIDFD_SEND_SIGNAL,
    KERNEL_EPOLL_PWAIT2,
    KERNEL_IO_GETEVENTS,
    KERNEL_GETRANDOM,

    /* A daemon cannot do without these. */
    KERNEL_MEMFD_CREATE,
    KERNEL_SIGNALFD4,
    KERNEL_EVENTFD2,
    KERNEL_EPOLL_CREATE1,
    KERNEL_TIMERFD_CREATE,
    KERNEL_ACCEPT4,
    KERNEL_PIPE2,
    KERNEL_DUP3,
    KERNEL_PPOLL,

    KERNEL_CALLS,
};
#define KERNEL_NEEDED KERNEL_MEMFD_CREATE /* the first of them */

/* May this process make the call? Tried by the first who asks, and known from then on, in children
 * too. Any thread. Leaves errno alone. */
bool kernel_has(enum kernel_call call);

/* The names of the calls from `first` to the one before `end` that are refused, with commas between
 * them. Returns how many there are. */
#define KERNEL_LIST_LEN 256
unsigned kernel_refused(enum kernel_call first, enum kernel_call end, char out[KERNEL_LIST_LEN]);

/* --- calls with an older way to do the same --- */

struct epoll_event;
struct statx;

/* epoll_wait for at most so many nanoseconds. */
int kernel_epoll_wait_ns(int epoll_fd, struct epoll_event *events, int max, uint64_t ns);

/* access(2) beneath an open directory, for a process whose effective user is the real one too. */
MS_MUST_CHECK int kernel_access(int dir_fd, const char *path, int mode);

/* statx of an open file. Without that call only device and inode are told, as stx_mask and
 * stx_attributes_mask say. Returns 0, or -1 with errno. */
MS_MUST_CHECK int kernel_statx(int fd, unsigned mask, struct statx *out);

/* A file in memory, with a size of 0, which can be sealed. Returns its descriptor, or -1 with
 * errno. */
MS_MUST_CHECK int kernel_memory_file(const char *name);

#endif
