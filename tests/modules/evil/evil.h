/* A module that tries to get out of its worker. A message names an attempt and says whom and what
 * it is about; the reply is "done", or "refused" and the errno. docs/threat-model.md has a row for
 * each. No attempt may do lasting harm to the machine where it succeeds. */
#ifndef TESTS_MODULES_EVIL_H
#define TESTS_MODULES_EVIL_H

#include <msock_module.h>

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define EVIL_ARGS     6
#define EVIL_FD_MAX   512
#define EVIL_PATH_LEN 1024
#define EVIL_TEXT_LEN 32768

struct evil {
    const struct msock_module_host *host;
    /* of the message */
    pid_t master, sibling;
    int port; /* of 127.0.0.1: the test listens there */
    const char *outside, *runtime, *config;
    /* Lines of /proc/PID/maps: a worker may not read them, but would find what it looks for in its
     * own memory. "" where the test may not read them either. */
    const char *maps;
};

struct attempt {
    const char *name;
    /* Returns -1 with errno, which the kernel or the sandbox has chosen, or what else comes to
     * pass: then the attempt is done. */
    long (*run)(const struct evil *e, const struct attempt *a);
    const char *path; /* for evil_path */
    int flags;
    long call[1 + EVIL_ARGS]; /* a system call and its arguments */
};

/* Each ends with a row without a name. */
extern const struct attempt evil_files[], evil_processes[], evil_network[], evil_kernel[],
    evil_shared[];

/* %o: the directory outside, %d: the data directory, %r: the runtime directory, %c: the
 * configuration, %m and %s: pid of the master and of a sibling. Four at a time. */
const char *evil_path(const struct evil *e, const char *pattern);

/* Two attempts that are a row alone: opens a->path with a->flags; makes the call of a->call. */
long evil_open(const struct evil *e, const struct attempt *a);
long evil_call(const struct evil *e, const struct attempt *a);

/* Closes what was opened. Returns fd, errno as it was. */
long evil_close(int fd);

/* Calls try for each descriptor that is such a one, until one call succeeds. Returns that, or -1
 * with the errno of the last call; EBADF where there is no such descriptor. */
long evil_each(const struct evil *e, bool (*is)(int fd), long (*try)(const struct evil *e, int fd));

/* Is it a file in memory, a listening socket, an end of the hand-over? */
bool evil_is_memory(int fd);
bool evil_is_listener(int fd);
bool evil_is_handover(int fd);

#endif
