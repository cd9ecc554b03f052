/* One child process: /bin/sh -c COMMAND with its three pipes, as the leader of a process group of
 * its own, watched by an epoll descriptor of the caller's. Nothing here waits for it. Its end is
 * known by a pidfd, so no SIGCHLD is needed and nobody else's children are touched; it is killed
 * when the thread that started it ends. */
#ifndef HANDLER_EXEC_EXEC_CHILD_H
#define HANDLER_EXEC_EXEC_CHILD_H

#include "common/base.h"

#include <stdbool.h>
#include <sys/types.h>

/* What of a child is ready: the lowest two bits of an event's data.u64; the others are its key. */
enum exec_child_part {
    EXEC_CHILD_IN,
    EXEC_CHILD_OUT,
    EXEC_CHILD_ERR,
    EXEC_CHILD_EXIT,
};

#define EXEC_CHILD_KEY(n) ((uint64_t)(n) << 2)

struct exec_child {
    pid_t pid; /* 0: there is none */
    int pid_fd;
    int in, out, err; /* this side's ends, non-blocking; -1: closed, in also where it is a file */
    bool in_watched;
    bool is_lost; /* somebody else has reaped it, so its number may be another's */
    int epoll_fd;
    uint64_t key;
};

#define EXEC_CHILD_NONE ((struct exec_child){.pid_fd = -1, .in = -1, .out = -1, .err = -1})

struct exec_child_setup {
    const char *command;
    char *const *env;
    int input; /* what it reads, or -1: a pipe; stays the caller's */
    int epoll_fd;
    uint64_t key; /* EXEC_CHILD_KEY */
};

/* Returns 0, or -1 with errno and no child. */
MS_MUST_CHECK int exec_child_start(struct exec_child *child, const struct exec_child_setup *setup);

/* Stops watching one of its descriptors, and closes it. */
void exec_child_close(struct exec_child *child, int *fd);

/* Whether EXEC_CHILD_IN is to be told. */
void exec_child_watch_in(struct exec_child *child, bool on);

/* To the whole group. */
void exec_child_signal(const struct exec_child *child, int signo);

/* True where the process has ended; it is not reaped yet. */
bool exec_child_has_ended(struct exec_child *child);

/* Of a child that has ended: ends what is left of its group, closes everything and forgets it.
 * Returns its wait status, or -1 where somebody else has taken that. */
int exec_child_reap(struct exec_child *child);

/* Bytes that wait to be read. */
size_t exec_child_pending(int fd);

#endif
