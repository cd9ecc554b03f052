/* The supervisor: takes a configuration, forks workers that run it, replaces those that die,
 * changes to another configuration as a transaction, and stops. It handles no connection. The
 * worker's entry is a parameter, so that it can be run with a toy. */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "config/config.h"
#include "master/failure.h"
#include "worker/child.h"

struct master_hooks {
    /* Builds the configuration anew for a reload. Returns 0, or -1 with a sentence in error. */
    int (*build)(void *arg, struct config **config_out, char error[CONFIG_ERROR_LEN]);

    /* Makes ready what the workers will need (the data directory). Returns as build does. */
    int (*prepare)(void *arg, const struct config *config, char error[CONFIG_ERROR_LEN]);
    void *arg;

    child_main_fn entry;
    int verdict_fd; /* where a process that waits learns how the start went (daemonize.h), or -1;
                       the supervisor closes it */
};

/* Runs until it is told to stop. Takes config over in every case. Returns 0 after a clean stop, or
 * an exit status of sysexits.h where it could not start, with the reason in why. Signals, log and
 * children are the process's: one at a time, in a process without threads. */
MS_MUST_CHECK int
master_run(struct config *config, const struct master_hooks *hooks, struct failure *why);

#endif
