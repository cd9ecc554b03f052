/* The reading half: maps control, reads the files of the workers, takes no lock, and works while
 * the daemon hangs and after it died. Nothing that a worker does to its file hurts a reader. Text
 * in what it returns comes from shared memory: escape it before printing. */
#ifndef STATS_STATS_READER_H
#define STATS_STATS_READER_H

#include "common/url.h"
#include "stats/stats_layout.h"

/* A copy of counters, plain numbers. */
struct stats_counts {
    union {
#define X(name, help) uint64_t name;
        struct {
            STATS_CONN_COUNTERS(X)
        };
        uint64_t conn_cells[STATS_CONN_CELLS];
    };
    union {
        struct {
            STATS_WORKER_COUNTERS(X)
        };
#undef X
        uint64_t worker_cells[STATS_WORKER_CELLS];
    };
};

struct stats_totals {
    struct stats_counts counts;
    uint64_t open;               /* connections now */
    uint64_t memory, memory_max; /* bytes held for peers now, and their bound */
    uint64_t latency[STATS_HISTOGRAM];
};

struct stats_reader {
    const struct stats_control *control;
    struct stats_region_file *files; /* of the regions, as they were last opened */
    int dir_fd;
    unsigned unreadable; /* workers whose numbers the last call could not read: cut short */
    void *last_good;     /* struct stats_totals of the last consistent reading */
};

/* Returns 0, or -1 with a sentence in error and errno: ENOENT nobody ran here, EACCES not readable,
 * EPROTONOSUPPORT another layout version, EAGAIN not ready yet, ESRCH gone before
 * it was ready, else as open and mmap. */
MS_MUST_CHECK int stats_reader_open(struct stats_reader *sr, const char *dir, char error[256]);
void stats_reader_close(struct stats_reader *sr);

/* Whether a master holds the lock in dir: 1 yes, 0 no, -1 with errno where that cannot be told
 * (EACCES: the lock file is not readable). */
int stats_reader_lock_held(const char *dir);

/* The same of a lock file that stays open, so that it is that master's whatever becomes of the
 * directory. stats_lock_open returns its descriptor, or -1 with errno. */
MS_MUST_CHECK int stats_lock_open(int dir_fd);
int stats_lock_held(int lock_fd);

/* Totals over all workers so far. Never less than an earlier call on the same files, where no
 * worker is unreadable. */
void stats_reader_totals(struct stats_reader *sr, struct stats_totals *totals_out);

struct stats_worker_view {
    unsigned region, index;
    int pid;
    enum stats_worker_state state;
    unsigned restarts;
    unsigned reopened; /* USR1s done by it */
    uint32_t sandbox;  /* as in struct stats_block */
    uint64_t generation, started_us, incarnation;
    struct stats_totals totals;
};

/* Fills at most max rows, by generation and index. Returns how many there are. */
unsigned
stats_reader_workers(struct stats_reader *sr, struct stats_worker_view *rows, unsigned max);

/* What the relay with that row tells of itself. False where that cannot be read. */
bool stats_reader_relay(struct stats_reader *sr, const struct stats_worker_view *row,
                        struct stats_relay *relay_out);

struct stats_conn_view {
    unsigned worker_index;
    int worker_pid;
    uint64_t id;
    enum stats_conn_state state;
    uint16_t listener;
    char proto[16];                    /* the protocol it speaks now; "auto" until that is known */
    char peer[ENDPOINT_TEXT_LEN];      /* "127.0.0.1:50412", "unix:pid 4711" */
    char identity[STATS_IDENTITY_LEN]; /* "cert:NAME", "user:NAME"; "": none */
    uint64_t began_us, active_us;
    struct stats_counts counts; /* the worker's own counters are 0 here */
};

/* Copies len bytes of the file of a region. False where this is not (any more, or yet) the region
 * of that incarnation, or the file is too short. */
bool stats_reader_region(struct stats_reader *sr, unsigned region, uint64_t incarnation,
                         uint64_t offset, void *out, size_t len);

/* Calls fn for each open connection that could be read consistently. */
void stats_reader_conns(struct stats_reader *sr,
                        void (*fn)(void *arg, const struct stats_conn_view *conn), void *arg);

/* An event of a worker's flight recorder, also of one that has died. */
struct stats_event_view {
    unsigned worker_index;
    int worker_pid;
    uint64_t number;
    uint64_t time_us, conn;
    uint32_t value;
    uint8_t kind;
    uint16_t listener;
    char peer[ENDPOINT_TEXT_LEN]; /* "": no connection */
    char code[sizeof(((struct stats_event *)NULL)->code) + 1];
};

/* Calls fn for each event that could be read consistently, worker by worker. */
void stats_reader_events(struct stats_reader *sr,
                         void (*fn)(void *arg, const struct stats_event_view *event), void *arg);

/* One of the crashes that are kept (i < STATS_CRASHES). False where there is none. */
bool stats_reader_crash(const struct stats_reader *sr, unsigned i, struct stats_crash *crash_out);

/* A source, over all workers and the master. */
struct stats_source_view {
    struct source source; /* of an IPv6 network its first 8 bytes */
    uint64_t open, unfinished, bytes;
    uint64_t rate;      /* messages in the last second */
    uint32_t penalty_s; /* seconds for which it is turned away still; 0: it is not */
    enum stats_blame reason;
};

/* All sources that are remembered, in the order of kind and address; the caller frees views_out.
 * Returns how many. */
size_t stats_reader_sources(struct stats_reader *sr, uint64_t now_us,
                            struct stats_source_view **views_out);

struct stats_listener_view {
    bool active;
    char url[256], address[512], proto[16], handler[16];
    uint64_t certificate_until; /* seconds since 1970; 0: without TLS */
};

/* A row of the table of listeners (id < STATS_LISTENERS). False where it was never used. */
bool stats_reader_listener(const struct stats_reader *sr, unsigned id,
                           struct stats_listener_view *view_out);

#endif
