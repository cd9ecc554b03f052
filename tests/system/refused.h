/* System calls that a program of the tests does not get, as in an old sandbox or on an old kernel.
 * Needs no privilege: a seccomp filter, which the program and its children keep. */
#ifndef SYSTEM_REFUSED_H
#define SYSTEM_REFUSED_H

#include <stdbool.h>
#include <stddef.h>

#define REFUSED_MAX 32

struct refused {
    int error; /* what the calls return; 0: nothing is refused */
    size_t count;
    long calls[REFUSED_MAX]; /* SYS_... */
    bool future_seal;        /* the memory seal of Linux 5.1 too: EINVAL, as before */
};

/* Between fork and exec: nothing but system calls. Returns 0, or -1. */
int refused_apply(const struct refused *refused);

#endif
