/* The reading half: maps both files read-only, takes no lock, and works while the daemon hangs and
 * after it died. */
#ifndef STATS_STATS_READER_H
#define STATS_STATS_READER_H

#include "common/url.h"
#include "stats/stats_layout.h"

#include <stdbool.h>

/* A copy of counters, plain numbers. */
struct stats_counts {
#define X(name, help) uint64_t name;
    STATS_CONN_COUNTERS(X)
    STATS_WORKER_COUNTERS(X)
#undef X
};

struct stats_totals {
    struct stats_counts counts;
    uint64_t open; /* connections now */
    uint64_t latency[STATS_HISTOGRAM];
};

struct stats_reader {
    const struct stats_control *control;
    const uint8_t *regions;
    void *last_good; /* struct stats_totals of the last consistent reading */
};

/* Returns 0, or -1 with a sentence in error: no such directory, not readable, another version, not
 * ready. */
MS_MUST_CHECK int stats_reader_open(struct stats_reader *sr, const char *dir, char error[256]);
void stats_reader_close(struct stats_reader *sr);

/* True while the master that wrote the files lives (it holds the lock in dir). */
bool stats_reader_alive(const char *dir);

/* Totals over all workers there have been. Never less than an earlier call on the same files. */
void stats_reader_totals(struct stats_reader *sr, struct stats_totals *totals_out);

struct stats_worker_view {
    unsigned region, index;
    int pid;
    enum stats_worker_state state;
    unsigned restarts;
    uint64_t generation, started_us;
    struct stats_totals totals;
};

/* Fills at most max rows, by generation and index. Returns how many there are. */
unsigned
stats_reader_workers(struct stats_reader *sr, struct stats_worker_view *rows, unsigned max);

struct stats_conn_view {
    unsigned worker_index;
    int worker_pid;
    uint64_t id;
    enum stats_conn_state state;
    uint16_t listener;
    char peer[ENDPOINT_TEXT_LEN]; /* "127.0.0.1:50412", "unix:pid 4711" */
    uint64_t began_us, active_us;
    struct stats_counts counts; /* the worker's own counters are 0 here */
};

/* Calls fn for each open connection that could be read consistently. */
void stats_reader_conns(struct stats_reader *sr,
                        void (*fn)(void *arg, const struct stats_conn_view *conn), void *arg);

/* The value below which a part p (0 to 1) of the durations lie, microseconds; 0 where there are none. */
uint64_t stats_percentile(const uint64_t latency[STATS_HISTOGRAM], double p);
uint64_t stats_latency_max(const uint64_t latency[STATS_HISTOGRAM]);

#endif
