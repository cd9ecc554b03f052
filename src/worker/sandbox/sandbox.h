/* The sandbox of workers: what one that was taken over can still do. Landlock bounds the files and
 * the network; a seccomp filter bounds the system calls. The helpers of exec are outside of it. */
#ifndef WORKER_SANDBOX_SANDBOX_H
#define WORKER_SANDBOX_SANDBOX_H

#include "handler/handler.h"

#define SANDBOX_LACK_LEN 160

/* Has the kernel all of it? Else lack_out says what is missing. Changes nothing. */
bool sandbox_is_available(char lack_out[SANDBOX_LACK_LEN]);

/* The configuration in short: what this process comes to need. */
struct sandbox_needs {
    const struct config *config;
    bool system;       /* the files of the system's libraries: names of users and hosts, modules */
    bool connects;     /* out, to servers of NATS */
    bool children;     /* outside, which the kernel is to end with it */
    bool unix_sockets; /* of its own: to those who know the names of users */
    bool log_socket; /* datagrams to the system log; one that listens on a stream is not found again
                      */
};

/* Of a worker; of the relay. */
struct sandbox_needs sandbox_needs_of_worker(const struct config *config);
struct sandbox_needs sandbox_needs_of_relay(const struct config *config);

/* First Landlock, while this process has one thread and before it opens anything for a peer; then
 * the filter, when all is open and before it is ready. A part that the kernel does not have is left
 * out with sandbox=best. Both return 0, or -1 with a sentence: with sandbox=require a part is
 * missing. */
MS_MUST_CHECK int sandbox_begin(const struct sandbox_needs *needs, char error[HANDLER_ERROR_LEN]);
MS_MUST_CHECK int sandbox_finish(const struct sandbox_needs *needs, char error[HANDLER_ERROR_LEN]);

/* The parts that are on, as struct stats_block has them. */
uint32_t sandbox_parts(void);

/* Logs the calls that were refused since the last time, each once in the life of the process. */
void sandbox_say_refused(void);

/* --- between the files of the sandbox --- */

/* The ABI of the kernel's Landlock; 0 where it has none, or one that cannot rename from directory
 * to directory. */
unsigned landlock_abi(void);

/* Returns 0, or -1 with errno. */
MS_MUST_CHECK int landlock_confine(const struct sandbox_needs *needs);

/* Can the kernel filter calls, on a machine for which we know how to answer them? */
bool seccomp_is_available(void);

/* For all threads. Returns 0, or -1 with errno. */
MS_MUST_CHECK int seccomp_confine(const struct sandbox_needs *needs);

#endif
