/* The filter reads the number of the call, and for fcntl its arguments. It is for the tests' own
 * programs, so it does not look at the architecture of the caller. */
#include "refused.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define LOW_HALF     (__BYTE_ORDER == __BIG_ENDIAN ? 4 : 0)
#define DATA_NUMBER  offsetof(struct seccomp_data, nr)
#define DATA_ARG(n)  (offsetof(struct seccomp_data, args) + 8 * (n) + LOW_HALF)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define LOAD(at)     BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)(at))

#define SEAL_STEPS 7

static size_t
add_seal(struct sock_filter *f)
{
    const struct sock_filter steps[SEAL_STEPS] = {
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 6),
        LOAD(DATA_ARG(1)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_ADD_SEALS, 0, 3),
        LOAD(DATA_ARG(2)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, F_SEAL_FUTURE_WRITE, 0, 1),
        RETURN(SECCOMP_RET_ERRNO | EINVAL),
        RETURN(SECCOMP_RET_ALLOW),
    };

    for (size_t i = 0; i < SEAL_STEPS; i++)
        f[i] = steps[i];
    return SEAL_STEPS;
}

int
refused_apply(const struct refused *refused)
{
    struct sock_filter filter[2 * REFUSED_MAX + SEAL_STEPS + 2];
    struct sock_fprog program = {.filter = filter};
    size_t n = 0;

    if (refused->error == 0)
        return 0;
    filter[n++] = (struct sock_filter)LOAD(DATA_NUMBER);
    for (size_t i = 0; i < refused->count; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                   (unsigned)refused->calls[i], 0, 1);
        filter[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ERRNO | (unsigned)refused->error);
    }
    if (refused->future_seal)
        n += add_seal(filter + n);
    filter[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    program.len = (unsigned short)n;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
