/* A toy worker, and a master that runs it in a process of its own, for the tests of src/master.
 * What the toy does is told in memory shared with the test, which also learns there what
 * happened. */
#ifndef TESTS_MASTER_TOY_H
#define TESTS_MASTER_TOY_H

#include "common/base.h"
#include "common/fd.h"
#include "config/config.h"
#include "master/master.h"
#include "stats/stats_reader.h"

#include "support/signals.h"
#include "support/wait.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum toy_mode {
    TOY_GOOD,   /* ready at once, leaves when told */
    TOY_SILENT, /* never says that it is ready */
    TOY_REFUSE, /* says why it cannot start */
    TOY_DIE,    /* ends at once, without a word */
    TOY_CRASH,  /* is ready, then ends */
    TOY_STAY,   /* ready, finishes nothing on QUIT, leaves on TERM */
    TOY_DEAF,   /* ready, leaves on no signal that can be caught */
};

struct toy {
    _Atomic int mode;       /* of workers with mode_index */
    _Atomic int mode_index; /* -1: all */
    _Atomic int forks, eofs, reopened, quits, terms;
    _Atomic int pid[CONFIG_WORKERS_MAX];
    _Atomic uint64_t forked_us[64]; /* when the first 64 began */
    /* the configuration of the next build */
    char url[4][160];
    int url_count, workers;
    char runtime_dir[128];
    char wrong[128]; /* the sentence with which the next build fails */
    bool hangs;      /* the next build never ends */
    char ready_timeout[16], drain_timeout[16];
};

struct bench {
    char dir[64], run[80], log[80];
    struct toy *toy;
    pid_t master;
    struct failure *why; /* shared; what master_run said */
    struct stats_reader reader;
    bool reading;
};

#define TOY_WAIT_MS 10000 /* for what must come */

/* Runs the master in this process, and does not return. It ends with exit, so that a checker for
 * leaks sees the end. */
void bench_master(struct bench *b);

/* Forks the master. */
void bench_start(struct bench *b);

/* True where the master has published its files, which are mapped then. */
bool bench_is_ready(struct bench *b);

/* Forks the master and waits until it is ready. */
void bench_start_ready(struct bench *b);

/* Waits for the master's end and returns its exit status, 1000 + n where signal n ended it. */
int bench_end(struct bench *b);

/* Sends the signal and waits for the end; as bench_end. */
int bench_stop(struct bench *b, int signo);

/* Asks for a reload and waits for its end. Returns true where the verdict is OK. */
bool bench_reload(struct bench *b);

/* True where the log has that text. */
bool bench_logged(const struct bench *b, const char *text);

/* How many descriptors the master has open. */
unsigned bench_fds(const struct bench *b);

/* Rows of the table of workers that are taken. */
unsigned bench_rows(const struct bench *b);

/* A directory, and a toy of two workers and one listener; nothing runs. */
int bench_setup(void **state);

/* Kills the master where it still runs, and removes the directory. */
int bench_teardown(void **state);

#endif
