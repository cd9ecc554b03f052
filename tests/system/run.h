/* Runs a program to its end, with what it printed and how it ended. */
#ifndef SYSTEM_RUN_H
#define SYSTEM_RUN_H

#include "refused.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#define RUN_SIGNALED 1000 /* status of a program that was ended by signal n: this plus n */
#define RUN_ENV_MAX  8

struct run_options {
    const char *input; /* its standard input; NULL: nothing */
    size_t input_len;
    int input_fd;                 /* in place of input, and closed here; 0: there is none */
    const char *cwd;              /* NULL: ours */
    const char *error_file;       /* standard error is appended to it; NULL: kept for run_result */
    const char *env[RUN_ENV_MAX]; /* "NAME=value" on top of ours */
    rlim_t files;                 /* RLIMIT_NOFILE, soft and hard; 0: ours */
    bool new_session;
    struct refused refused;
    /* Called in the child, last before the exec: what a launcher may have done. Makes only calls
     * that a signal handler may make. */
    void (*child)(void);
};

struct running {
    pid_t pid;
    int pidfd;
    int out, err; /* memory files with what it printed; err is -1 with error_file */
};

struct run_result {
    int status; /* exit status, or RUN_SIGNALED + signal */
    char *out, *err;
};

/* Starts argv[0] (a path). The options may be NULL. Ends the test where it cannot. The child is
 * killed when we die. */
void run_start(struct running *r, const char *const argv[], const struct run_options *options);

/* True when it has ended; it stays to be waited for. */
bool run_ended(const struct running *r, unsigned timeout_ms);

/* Waits for the end, with the patience of WAIT_FOR; a program that does not end in time is killed
 * and the test ends. The texts are NUL-terminated; run_result_free frees them. */
void run_finish(struct running *r, unsigned timeout_ms, struct run_result *result_out);
void run_result_free(struct run_result *result);

/* Start and finish in one, 30 s at most; the arguments end with NULL. */
struct run_result run_program(const char *program, ...) __attribute__((sentinel));

#endif
