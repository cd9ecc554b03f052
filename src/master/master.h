/* The supervisor: takes a configuration, forks workers that run it, replaces those that die,
 * changes to another configuration as a transaction, and stops. It handles no connection. The
 * worker's entry is a parameter, so that it can be run with a toy. */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "config/config.h"
#include "worker/child.h"

/* --- failure (daemonize.c) --- */

/* Why something could not be done: a sentence for people and the exit status that goes with it. */

#define FAILURE_TEXT_LEN 512

struct failure {
    int code; /* of sysexits.h */
    char text[FAILURE_TEXT_LEN];
};

/* Fills in both; a text that is too long is cut. */
void failure_set(struct failure *f, int code, const char *fmt, ...) MS_PRINTF(3, 4);

/* --- daemonize.c --- */

/* To the background: the process that was started waits until the daemon has said how its start
 * went, and leaves with that verdict. */

enum daemonize_side {
    DAEMONIZE_ERROR,  /* could not fork; the reason is in the verdict */
    DAEMONIZE_DAEMON, /* the daemon: verdict_fd_out is its own */
    /* the process that was started: the verdict is complete, code 0 means ready */
    DAEMONIZE_WAITER,
};

/* Forks. The daemon has a session of its own, / as its directory, /dev/null as standard input,
 * output and error, and of other descriptors the first few. The waiter blocks until the daemon has
 * told. */
enum daemonize_side daemonize(unsigned few, int *verdict_fd_out, struct failure *verdict_out);

/* Tells the waiter, once, and closes; does nothing where *verdict_fd is -1. */
void daemonize_tell(int *verdict_fd, int code, const char *text);

/* --- given.c --- */

/* Descriptors from the service manager: 3 and those that follow. */
struct given {
    unsigned count, left_out;
    const char *names; /* of each, with colons between; as long as the process */
};

/* Early in main, before any process is forked. Takes the manager's variables out of the
 * environment. */
void given_take(struct given *out);

struct master_hooks {
    /* Builds the configuration anew for a reload. Returns 0, or -1 with a sentence in error. */
    int (*build)(void *arg, struct config **config_out, char error[CONFIG_ERROR_LEN]);

    /* Makes ready what the workers will need (the data directory). now is the configuration that
     * runs, NULL at the start. Returns as build does. */
    int (*prepare)(void *arg, struct config *config, const struct config *now,
                   char error[CONFIG_ERROR_LEN]);
    void *arg;

    child_main_fn entry; /* also of the relay */

    /* For an upgrade: the words of the command line (NULL: there is no upgrade), and the directory
     * in which msockd was started, NULL where it was removed. */
    char *const *argv;
    const char *cwd;
    struct given given;
    int verdict_fd; /* where a process that waits learns how the start went (daemonize), or -1;
                       the supervisor closes it */
};

/* Runs until it is told to stop. Takes config over in every case. Returns 0 after a clean stop, or
 * an exit status of sysexits.h where it could not start, with the reason in why. Signals, log and
 * children are the process's: one at a time, in a process without threads. */
MS_MUST_CHECK int
master_run(struct config *config, const struct master_hooks *hooks, struct failure *why);

/* --- upgrade.c --- */

struct upgrade;

/* Early in main, in place of environment_make: was this process executed by a master of another
 * version that is to be upgraded, or tried? Returns NULL where it was not. argv must stay. */
struct upgrade *upgrade_take(char *const *argv);

/* The directory in which that one was started; NULL: it was removed. */
const char *upgrade_cwd(const struct upgrade *up);

/* The command line makes no sense any more: tells that one so. */
void upgrade_refuse(struct upgrade *up, const char *sentence);

/* Goes on in its place, and returns as master_run; or, where this is a trial, says how it went and
 * returns at once. */
MS_MUST_CHECK int
upgrade_run(struct upgrade *up, const struct master_hooks *hooks, struct failure *why);

#endif
