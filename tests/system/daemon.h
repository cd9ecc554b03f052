/* One msockd with directories of its own: started, watched by its log, stopped. */
#ifndef SYSTEM_DAEMON_H
#define SYSTEM_DAEMON_H

#include "harness.h"
#include "peer.h"
#include "proc.h"
#include "run.h"

#define DAEMON_LISTEN_MAX 20
#define DAEMON_WORDS_MAX  16

struct daemon_options {
    unsigned workers;                      /* 0: 2 */
    const char *handler;                   /* NULL: the daemon's default */
    const char *listen[DAEMON_LISTEN_MAX]; /* none: one on msp://127.0.0.1:0 */
    const char *set[DAEMON_WORDS_MAX];     /* "option=value" */
    const char *more[DAEMON_WORDS_MAX];    /* further words of the command line */
    /* Text of the configuration file. With it, workers, handler and listen are not put on the
     * command line, so that the file decides. */
    const char *config;
    const char *program;    /* another file of msockd; NULL: the one that was built */
    const char *data_dir;   /* NULL: "data" in the daemon's directory */
    bool faults;            /* with the fault library preloaded; see faults.h */
    bool clock;             /* with the clock library preloaded: its wall clock can be set */
    const char *hosts;      /* file of names for tests/preload/hosts.c; NULL: none */
    rlim_t files;           /* limit of descriptors; 0: ours */
    void (*child)(void);    /* see run.h */
    struct refused refused; /* system calls that it does not get */
    bool errors_expected;   /* lines at error level in the log are no failure */
};

struct daemon {
    struct daemon_options options;
    char dir[HARNESS_PATH_LEN]; /* holds all the rest */
    char data_dir[HARNESS_PATH_LEN];
    char runtime_dir[HARNESS_PATH_LEN];
    char log_path[HARNESS_PATH_LEN];
    char config_path[HARNESS_PATH_LEN];
    char faults_path[HARNESS_PATH_LEN];
    char clock_path[HARNESS_PATH_LEN];
    struct running run;
    bool running;
    size_t log_from; /* where the log of the present start begins */
    size_t listener_count;
    struct target listeners[DAEMON_LISTEN_MAX];
    bool keeps_ports;
    int held[DAEMON_LISTEN_MAX]; /* sockets of these ports after its end; 0: none */
    struct daemon *next;
};

/* Makes the directories and the configuration file, and starts nothing. Teardown frees. */
struct daemon *daemon_create(const struct daemon_options *options);

/* Starts it and waits for its "ready:" line. */
void daemon_launch(struct daemon *d);

/* Both. */
struct daemon *daemon_start(const struct daemon_options *options);

/* Starts it with -D, on a Unix socket: the process that was started has ended when it is ready. */
void daemon_launch_behind(struct daemon *d, struct target *target_out);

/* Starts it where it is expected to fail: waits for its end and returns what it said on standard
 * error (as .err) and its exit status. */
struct run_result daemon_fail(struct daemon *d);

/* TERM, and the end: exit status 0, no worker left, nothing in the log that should not be there. */
void daemon_stop(struct daemon *d);

/* Waits for the end of a master that was told to leave; checks as daemon_stop does. */
void daemon_finish(struct daemon *d, unsigned timeout_ms);

/* kill -9 of the master; the other one also waits until its workers have left. */
void daemon_kill_master(struct daemon *d);
void daemon_kill(struct daemon *d);

/* Writes the configuration file anew. */
void daemon_configure(struct daemon *d, const char *text);

/* Sets the wall clock of a daemon with clock so many seconds before or after ours. */
void daemon_shift_clock(struct daemon *d, int64_t seconds);

/* HUP by way of `msockctl reload`; ends the test where that fails. */
void daemon_reload(struct daemon *d);

/* msockctl -r DIR WORD...; the words end with NULL. */
struct run_result daemon_control(const struct daemon *d, ...) __attribute__((sentinel));

/* The workers, by pid, and whether there are count of them. */
void daemon_workers(const struct daemon *d, struct proc_list *list_out);
bool daemon_has_workers(const struct daemon *d, size_t count);

/* Waits until the workers are two others than before. */
void daemon_expect_new_workers(const struct daemon *d, const struct proc_list *before);

/* The log since the last start; caller frees. */
char *daemon_log(const struct daemon *d);
bool daemon_logged(const struct daemon *d, const char *text);

/* Ends the test where a sanitizer, an assertion or (unless expected) an error spoke in the log. */
void daemon_check_log(const struct daemon *d);

/* Takes the last ports over into the options, so that the next launch listens on them again. From
 * its next end on nobody else gets them. */
void daemon_keep_ports(struct daemon *d);

void daemon_report_unfinished(void);
void daemon_forget_all(void);

#endif
