/* What the shared memory says at one moment, in plain memory. */
#ifndef MSOCKCTL_SNAPSHOT_H
#define MSOCKCTL_SNAPSHOT_H

#include "stats/stats_reader.h"

#define BOOT_ID_LEN 33 /* 32 hex digits and NUL */

enum snapshot_alive { SNAPSHOT_DEAD, SNAPSHOT_ALIVE, SNAPSHOT_UNKNOWN };

struct snapshot {
    enum snapshot_alive alive;
    int pid; /* of the master */
    char version[32], reload_text[512];
    char boot_id[BOOT_ID_LEN];
    uint64_t taken_us, started_us; /* monotonic */
    uint64_t started_real_us;      /* since 1970 */
    uint64_t generation, reloads;
    enum stats_verdict verdict;
    struct stats_totals total;
    unsigned worker_count;
    struct stats_worker_view *workers; /* heap */
};

/* Returns 0, or -1 with errno and a sentence in error, as stats_reader_open. */
MS_MUST_CHECK int snapshot_take(const char *dir, struct snapshot *out, char error[256]);
void snapshot_fini(struct snapshot *snapshot);

/* now - before for everything that only grows, never below 0; `open` stays as it is now. */
void totals_subtract(struct stats_totals *now, const struct stats_totals *before);

const char *worker_state_name(enum stats_worker_state state);
const char *conn_state_name(enum stats_conn_state state);
const char *verdict_name(enum stats_verdict verdict);

/* How the n bytes of a text field in shared memory begin; they may lack the NUL. */
void field_copy(char *out, const char *field, size_t n);

#endif
