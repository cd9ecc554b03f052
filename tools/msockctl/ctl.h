/* What all subcommands share: the directory they work on, their options, how they end. */
#ifndef MSOCKCTL_CTL_H
#define MSOCKCTL_CTL_H

#include "common/base.h"

#include <stdbool.h>
#include <stdio.h>

struct ctl {
    const char *dir;     /* runtime directory of the msockd that is meant */
    const char *command; /* name of the subcommand, for its error messages */
    const char *help;    /* what its -h prints */
};

/* A subcommand: argv[0] is its name. Returns the exit status. */
typedef int (*ctl_command_fn)(struct ctl *ctl, int argc, char *argv[]);

struct ctl_command {
    const char *name;
    const char *summary; /* one line, for msockctl -h */
    const char *help;
    ctl_command_fn run;
};

extern const struct ctl_command ctl_stats, ctl_conns, ctl_workers, ctl_listeners, ctl_reload,
    ctl_stop, ctl_quit, ctl_reopen;

/* A long option: without a value where flag is set, else with one. */
struct ctl_option {
    const char *name;
    bool *flag;
    const char **value;
};

#define CTL_GO_ON (-1)

/* Reads a subcommand's options; -h and -r work in each. Returns CTL_GO_ON, or the status to exit
 * with (help was printed, or a usage error). */
MS_MUST_CHECK int
ctl_options(struct ctl *ctl, int argc, char *argv[], const struct ctl_option *options, size_t n);

/* Print one sentence on standard error, escaped and with the command's name in front. ctl_usage
 * points to -h and returns EX_USAGE. */
void ctl_error(const struct ctl *ctl, const char *fmt, ...) MS_PRINTF(2, 3);
int ctl_usage(const struct ctl *ctl, const char *fmt, ...) MS_PRINTF(2, 3);

/* Prints a line on standard output, escaped. */
void ctl_print(const char *fmt, ...) MS_PRINTF(1, 2);

/* For a table: says on standard error where the msockd whose figures it shows is gone. */
void ctl_note_dead(const struct ctl *ctl);

/* The exit status for an errno of stats_reader_open. */
int ctl_status(int err);

/* Seconds with fractions, or with a unit, for option `name`: more than 0 and at most a year.
 * Returns 0, or -1 after an error message. */
MS_MUST_CHECK int
ctl_seconds(const struct ctl *ctl, const char *name, const char *text, uint64_t *us_out);

/* Flushes standard output. Returns status, or EX_IOERR after an error message where it was not
 * written. */
int ctl_finish(const struct ctl *ctl, int status);

#endif
