/* What the parts of msockctl share: the directory they work on, options and endings, what the
 * shared memory said at one moment, and the two forms in which that is printed. */
#ifndef MSOCKCTL_CTL_H
#define MSOCKCTL_CTL_H

#include "common/base.h"
#include "common/text.h"
#include "stats/stats_reader.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct ctl_command;
struct target;

struct ctl {
    const char *dir;                   /* runtime directory of the msockd that is meant */
    const struct ctl_command *command; /* the subcommand; NULL before it is known */
    struct buffer *errors;             /* gets what ctl_error says, a line each; NULL: stderr */
};

/* What a column shows of each row. Words stand to the left, all else to the right. */
enum column_kind {
    COLUMN_TEXT,
    COLUMN_RIGHT, /* text, to the right */
    COLUMN_COUNT,
    COLUMN_BYTES,
    COLUMN_SECONDS,
    COLUMN_AGE,     /* of seconds */
    COLUMN_LATENCY, /* microseconds under "latency_us" */
    COLUMN_ACTIVE,  /* "yes", "draining" */
};

struct column {
    const char *key;
    const char *title; /* NULL: the key in capitals, without "bytes_" */
    enum column_kind kind;
};

struct ctl_command {
    const char *name;
    const char *summary; /* one line, for msockctl -h */
    const char *help;
    int (*run)(struct ctl *ctl, int argc, char *argv[]);      /* returns the exit status */
    int signal, signal_value;                                 /* what target_signal sends */
    int (*act)(const struct ctl *ctl, struct target *target); /* for target_run */

    /* Of a command that shows a table, so that others can show it too: makes an array of objects
     * and returns EX_OK, or a status after an error message. */
    int (*rows)(const struct ctl *ctl, json_t **rows_out);
    const struct column *columns;
    size_t column_count;
    const char *key;  /* the member by which a row is known again */
    const char *none; /* what is said in place of an empty table; or NULL */
};

/* All of them, NULL at the end. */
extern const struct ctl_command *const ctl_commands[];

extern const struct ctl_command ctl_stats, ctl_conns, ctl_workers, ctl_listeners, ctl_reload,
    ctl_upgrade, ctl_relay, ctl_stop, ctl_quit, ctl_reopen, ctl_verify, ctl_segments, ctl_doctor,
    ctl_sources, ctl_top, ctl_serve, ctl_events, ctl_crashes, ctl_health, ctl_wait, ctl_pki,
    ctl_explain_line;

/* --- options and endings (main.c) --- */

/* A long option: without a value where flag is set, else with one; or, called CTL_OPERAND, the one
 * word behind the options. */
#define CTL_OPERAND ""
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

/* Opens the shared memory of ctl->dir. Returns EX_OK, or a status after an error message. */
MS_MUST_CHECK int ctl_open(const struct ctl *ctl, struct stats_reader *sr_out);

/* The data directory of the msockd that runs in ctl->dir, or ran last. Returns EX_OK, or a status
 * after an error message. */
#define CTL_DATA_DIR_LEN sizeof(((struct stats_control *)0)->data_dir)
MS_MUST_CHECK int ctl_data_dir(const struct ctl *ctl, char out[CTL_DATA_DIR_LEN]);

/* Says so where the last reading lacks the numbers of a worker, and closes. */
void ctl_close(const struct ctl *ctl, struct stats_reader *sr);

/* Seconds with fractions, or with a unit, for option `name`: more than 0 and at most a year.
 * Returns 0, or -1 after an error message. */
MS_MUST_CHECK int
ctl_seconds(const struct ctl *ctl, const char *name, const char *text, uint64_t *us_out);

/* Flushes standard output. Returns status, or EX_IOERR after an error message where it was not
 * written. */
int ctl_finish(const struct ctl *ctl, int status);

/* The exit status for an errno of stats_reader_open or stats_reader_lock_held. */
int ctl_status(int err);

/* --- a msockd that is not found where it was (explain.c) --- */

/* Where no msockd is found in ctl->dir: says on standard error where one runs all the same, as far
 * as this user may see that. Returns the pid of the one that belongs there, or 0. */
long ctl_explain(const struct ctl *ctl);

/* --- what the shared memory says at one moment (snapshot.c) --- */

#define BOOT_ID_LEN 33 /* 32 hex digits and NUL */

enum snapshot_alive { SNAPSHOT_DEAD, SNAPSHOT_ALIVE, SNAPSHOT_UNKNOWN };

struct snapshot {
    enum snapshot_alive alive;
    int pid; /* of the master */
    char version[32], reload_text[512], config_file[256], data_dir[256], cwd[256];
    char boot_id[BOOT_ID_LEN];
    uint64_t taken_us, started_us; /* monotonic */
    uint64_t started_real_us;      /* since 1970 */
    uint64_t generation, reloads;
    enum stats_verdict verdict;
    struct stats_totals total;
    uint64_t sources, sources_penalized; /* that are known; of these, turned away */
    uint64_t certificate_until;          /* of the listeners, the first to end; 0: there is none */
    unsigned workers_wanted;             /* as configured */
    bool stopping;
    unsigned worker_count;
    struct stats_worker_view *workers; /* heap; the relay too */
    struct stats_relay *relays;        /* what each relay among them tells, by its row */
    const struct stats_relay *relay;   /* what the newest one tells; NULL: there is none */
};

/* Returns EX_OK, or a status after an error message. */
MS_MUST_CHECK int snapshot_take(const struct ctl *ctl, struct snapshot *out);
void snapshot_fini(struct snapshot *snapshot);

/* How many workers take connections. */
unsigned snapshot_ready(const struct snapshot *snapshot);

/* What is wrong where this msockd does not live or, with `ready`, takes no connections; else NULL.
 */
const char *snapshot_unhealthy(const struct snapshot *snapshot, bool ready);

const char *verdict_name(enum stats_verdict verdict);

/* A state comes from shared memory, so a number may have no name: "unknown". (cmd_conns.c) */
const char *conn_state_name(enum stats_conn_state state);

/* How the n bytes of a text field in shared memory begin; they may lack the NUL. */
void field_copy(char *out, const char *field, size_t n);

/* For every counter there is. */
#define COUNTERS(X)        \
    STATS_CONN_COUNTERS(X) \
    STATS_WORKER_COUNTERS(X)

/* --- JSON, whose keys of counters are the names in stats_layout.h (snapshot.c) --- */

/* The functions that build a document abort when memory is out and return a new reference. */

/* Text as it is where it is UTF-8, else escaped. */
json_t *json_text(const char *text);
json_t *json_count(uint64_t n);

/* From one moment to another, 0 where it is before: in seconds. */
json_t *json_seconds(uint64_t from_us, uint64_t to_us);

/* Sets a key to a value whose reference it takes. */
void json_put(json_t *object, const char *key, json_t *value);

void json_put_counters(json_t *object, const struct stats_counts *counts);

/* The document of `stats --json`; since: the time of the baseline, or NULL. */
json_t *json_snapshot(const struct snapshot *snapshot, const char *since);

/* What all processes have: kind, worker, pid, state, generation, restarts and age. */
void json_put_worker(json_t *object, const struct snapshot *snapshot,
                     const struct stats_worker_view *worker);

/* Its workers: an array of objects with worker, pid, state, ..., the counters and the latency. */
json_t *json_workers(const struct snapshot *snapshot);

/* Writes document and a line feed to standard output and gives up the reference; indented unless
 * compact. */
void json_print(json_t *document, bool compact);

/* --- tables (table.c) --- */

/* The text of a column's cell in a row, escaped, and its length. A title needs no escape. */
#define TABLE_CELL_MAX 4096
size_t table_cell(const json_t *row, const struct column *column, char out[TABLE_CELL_MAX]);
const char *table_title(const struct column *column, char out[TABLE_CELL_MAX]);

/* Do its cells stand to the left? */
bool table_is_left(const struct column *column);

/* Runs a command whose only option is --json and that has rows. */
int table_run(struct ctl *ctl, int argc, char *argv[]);

/* Prints an array of objects as a table, each column as wide as its widest cell. Text is escaped,
 * so it may come from anywhere. */
void table_print(const json_t *rows, const struct column *columns, size_t n);

/* Prints rows as JSON, or as a table, which says on standard error where the msockd whose figures
 * it shows is gone. Gives up the reference. Returns the exit status. */
int
rows_print(const struct ctl *ctl, json_t *rows, bool json, const struct column *columns, size_t n);

#define UNIT_LEN 32

/* "250 us", "1.5 ms", "2.3 s" */
const char *unit_duration(uint64_t us, char out[UNIT_LEN]);
/* "3d 04:05:06", "04:05:06" */
const char *unit_age(uint64_t us, char out[UNIT_LEN]);

/* --- stats (prometheus.c, baseline.c) --- */

/* Prints the text exposition format of Prometheus, version 0.0.4, or OpenMetrics 1.0 without its
 * last line; and one gauge more, without "msockd_" in its name. */
void prometheus_print(FILE *out, const struct snapshot *snapshot, bool openmetrics);
void prometheus_gauge(FILE *out, const char *name, const char *help, uint64_t value);

/* The baseline of `stats --since FILE`: the numbers at one moment, kept by the reader, so that
 * nobody ever has to set the daemon's counters back. Reads FILE, or creates it from the snapshot
 * where it is missing. Returns EX_OK with a document (json_decref), or a status after an error
 * message. */
MS_MUST_CHECK int baseline_open(const struct ctl *ctl, const char *path,
                                const struct snapshot *snapshot, json_t **baseline_out);

/* When it was made, RFC 3339; valid as long as the baseline. */
const char *baseline_time(const json_t *baseline);

/* Subtracts from the totals and from each worker what they had at the baseline. Of another run of
 * msockd nothing is subtracted: all that this one counted came after. */
void baseline_subtract(const json_t *baseline, struct snapshot *snapshot);

/* --- a master that lives and may be signalled (target.c) --- */

struct target {
    struct stats_reader sr;
    const char *dir;
    int lock_fd; /* of dir, as it was found; -1: not readable */
    pid_t pid;
    uint64_t deadline_us; /* monotonic; target_wait gives up then */
};

/* Runs a subcommand whose only option is --timeout: finds the master of ctl->dir and makes sure
 * that it is one (the lock is held, and the process with the pid in control belongs to the owner of
 * control); then calls command->act. Returns what that returned, or the status of what went wrong
 * before. */
int target_run(struct ctl *ctl, int argc, char *argv[]);

/* workers +N, -N and =N, which argv[1] is (cmd_signals.c). */
int workers_change(struct ctl *ctl, int argc, char *argv[]);

/* Sends it command->signal. Returns EX_OK, or a status after an error message. */
MS_MUST_CHECK int target_signal(const struct ctl *ctl, const struct target *target);

enum target_event { TARGET_DONE, TARGET_GONE, TARGET_TIMEOUT };

/* Waits until done returns true, the master is gone, or the time is over. done NULL: for the
 * master's end only. */
enum target_event
target_wait(struct target *target, bool (*done)(const struct target *target, void *arg), void *arg);

#endif
