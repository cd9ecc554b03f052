/* The layout of the files in the runtime directory. Fixed-width types, no pointers; every cell has
 * one writer. A reader that finds another version stops.
 *
 *   control  written by the master alone: who runs, with what, what the last reload said, and the
 *            totals of the workers that are gone. Workers and readers map it.
 *   stats.N  the region of one worker: a block, a slot for each connection, its flight recorder.
 *            Only that worker maps it and can write it. Others read it with pread, so whatever a
 * worker does to its file, nobody else is hurt. The master makes it for a new worker and removes it
 * when it has added up its numbers.
 *
 * Beside the files there is a page of memory for each worker, its load, which the workers map to
 * compare themselves with each other. */
#ifndef STATS_STATS_LAYOUT_H
#define STATS_STATS_LAYOUT_H

#include "common/histogram.h"
#include "common/url.h"
#include "stats/stats_recorder.h"
#include "stats/stats_sources.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>

#define STATS_CONTROL_FILE "control"
#define STATS_LOCK_FILE    "lock"
#define STATS_MAGIC        0x6d736f636b646331ull /* "msockdc1" */
#define STATS_VERSION      16u

#define STATS_REGIONS          384   /* workers alive at one time, draining ones included */
#define STATS_RELAY            255u  /* in place of a worker's index: it is the relay */
#define STATS_SLOTS            32768 /* connections of one worker */
#define STATS_PROTOCOLS        16
#define STATS_LISTENERS        128 /* two configurations, while a reload lasts */
#define STATS_HISTOGRAM_GROUPS 28  /* powers of two above the exact part */
#define STATS_HISTOGRAM_SUB    16  /* steps in each, so a value is known to 6 % */
#define STATS_HISTOGRAM        (STATS_HISTOGRAM_GROUPS * STATS_HISTOGRAM_SUB)

/* New counters stand at the ends of their lists: programs of different versions share the totals in
 * an upgrade, and one that does not know a counter passes it on.
 *
 * Counted for every connection and in total: X(name, help), N or B; the name is the JSON key.
 * Totals have 64 bits each. A connection's own cell has 64 bits (X, and B where it counts bytes),
 * or 32 bits (N) where one connection counts seldom: such a cell stays at its largest value. */
#define STATS_CONN_LIST(X, N, B)                                         \
    X(acks, "packets and messages acknowledged")                         \
    N(nack1, "packets refused: CRC-32 mismatch")                         \
    N(nack2, "messages refused: SHA-256 mismatch")                       \
    N(rej, "messages refused by a check or by the handler")              \
    N(err, "ERR answers: connections ended by the server")               \
    N(duplicates, "messages answered by the outcome of an earlier copy") \
    X(messages, "messages committed")                                    \
    B(bytes_in, "bytes received")                                        \
    B(bytes_out, "bytes sent")                                           \
    X(packets, "packets accepted, trailers included")                    \
    N(cut, "messages dropped because their end did not come")
#define STATS_CONN_COUNTERS(X) STATS_CONN_LIST(X, X, X)

/* Counted for every worker and in total, besides the above. */
#define STATS_WORKER_COUNTERS(X)                                                        \
    X(accepted, "connections accepted")                                                 \
    X(refused, "connections turned away, for whatever reason")                          \
    X(denied, "of these: no rule allows their source, or one denies it")                \
    X(crowded, "of these: their source has source_connections")                         \
    X(unplaced, "of these: there is no room to know their source")                      \
    X(penalized, "of these: their source has made trouble")                             \
    X(penalties, "times that a source began to be turned away for trouble")             \
    X(turns, "turns of the event loop")                                                 \
    X(commits, "commits by a handler, each of one or more messages")                    \
    X(committed, "messages in those commits")                                           \
    X(adopted, "connections taken over from a worker that left")                        \
    X(lost, "deliveries not made: the peer did not read")                               \
    X(untracked, "messages with an id that there was no room for")                      \
    X(evicted, "ids forgotten before their time: dedup_max")                            \
    X(throttled, "times that a connection was not read: source_rate")                   \
    X(held_back, "bodies refused before they were stored: source_unfinished, min_free") \
    X(forgotten, "sources without connections that made room for others")               \
    X(handshakes, "TLS handshakes")                                                     \
    X(resumed, "of these: with a ticket of an earlier one")                             \
    X(handshakes_failed, "TLS handshakes that failed, or did not end in time")          \
    X(relayed, "records that the relay's stream has confirmed")                         \
    X(missing, "records passed over by the relay: no body any more")

struct stats_conn_counters {
#define X(name, help) _Atomic uint64_t name;
#define N(name, help) _Atomic uint32_t name;
    STATS_CONN_LIST(X, N, X)
#undef N
#undef X
};

/* Cells in the totals, with those for counters to come. */
#define STATS_CONN_CELLS   16
#define STATS_WORKER_CELLS 40

struct stats_worker_counters {
    union {
#define X(name, help) _Atomic uint64_t name;
        struct {
            STATS_CONN_COUNTERS(X)
        };
        _Atomic uint64_t conn_cells[STATS_CONN_CELLS];
    };
    union {
        struct {
            STATS_WORKER_COUNTERS(X)
        };
#undef X
        _Atomic uint64_t worker_cells[STATS_WORKER_CELLS];
    };
};
static_assert(sizeof(struct stats_worker_counters) ==
                  (STATS_CONN_CELLS + STATS_WORKER_CELLS) * sizeof(uint64_t),
              "no list is longer than its cells");

enum stats_conn_state {
    STATS_CONN_FREE = 0, /* nobody's slot */
    STATS_CONN_IDLE,     /* between messages */
    STATS_CONN_RECEIVING,
    STATS_CONN_COMMITTING, /* a message is with its handler */
    STATS_CONN_CLOSING,    /* the last answer is on its way */
};

enum stats_family { STATS_FAMILY_UNIX = 0, STATS_FAMILY_IPV4 = 4, STATS_FAMILY_IPV6 = 6 };

#define STATS_IDENTITY_LEN 64 /* with NUL */

/* One connection. seq is odd while the identity changes; counters and state change under an even
 * seq, one atomic store each. */
struct stats_slot {
    _Atomic uint32_t seq;
    _Atomic uint8_t state; /* enum stats_conn_state */
    uint8_t family;        /* enum stats_family */
    uint16_t listener;     /* row in control.listeners */
    uint8_t address[16]; /* network order; IPv4 in the first 4; Unix: the peer's pid in the first 4,
                            network order */
    uint16_t port;       /* host order */
    _Atomic uint8_t proto; /* row in control.protocols */
    uint8_t pad8;
    uint32_t pad32;
    uint64_t began_us;          /* monotonic */
    _Atomic uint64_t active_us; /* last byte in or out, monotonic */
    uint64_t id;                /* unique in the worker's life */
    struct stats_conn_counters counters;
    uint8_t free[72 - sizeof(struct stats_conn_counters)]; /* for counters to come */
    char identity[STATS_IDENTITY_LEN];                     /* its beginning; "": it has none */
};
static_assert(sizeof(struct stats_slot) == 192, "a slot is three cache lines");
static_assert(offsetof(struct stats_slot, counters) == 56, "layout of a slot");

/* The parts of a worker's sandbox. */
enum stats_sandbox { STATS_SANDBOX_LANDLOCK = 1, STATS_SANDBOX_SECCOMP = 2 };

struct stats_block {
    _Atomic uint64_t incarnation;        /* whose numbers these are; 0 until it has begun */
    _Atomic uint32_t open;               /* connections open now */
    _Atomic uint32_t slots_used;         /* slots at and above this have never been used */
    _Atomic uint32_t reopened;           /* USR1s done */
    _Atomic uint32_t sandbox;            /* enum stats_sandbox, ored */
    _Atomic uint64_t memory, memory_max; /* bytes held for peers, worker_memory_max; once a turn */
    uint8_t pad[24];
    struct stats_worker_counters counters;
    _Atomic uint64_t latency[STATS_HISTOGRAM]; /* first byte to final answer, microseconds */
};
static_assert(offsetof(struct stats_block, counters) == 64, "layout of a block");

#define STATS_BLOCK_SIZE  4096
#define STATS_RECORDER_AT (STATS_BLOCK_SIZE + (uint64_t)STATS_SLOTS * sizeof(struct stats_slot))
#define STATS_REGION_SIZE (STATS_RECORDER_AT + sizeof(struct stats_recorder))

/* Behind that, which the worker maps, it writes its table of sources about once a second. */
#define STATS_SOURCES_AT STATS_REGION_SIZE
#define STATS_FILE_SIZE  (STATS_SOURCES_AT + STATS_SOURCE_SETS * sizeof(struct stats_source_set))
static_assert(sizeof(struct stats_block) <= STATS_BLOCK_SIZE, "a block has one page");

/* The name of a region's file in the runtime directory. */
#define STATS_REGION_NAME_LEN 16
static inline void
stats_region_name(unsigned region, char out[STATS_REGION_NAME_LEN])
{
    snprintf(out, STATS_REGION_NAME_LEN, "stats.%u", region);
}

/* What a worker tells the other workers, in a page of its own (common/regions.h). */
struct stats_load {
    _Atomic uint64_t incarnation;
    _Atomic uint32_t open;      /* connections open now */
    _Atomic uint32_t accepting; /* 1: takes new connections; 0: draining or not ready */
    uint8_t pad[4096 - 16];
};
static_assert(sizeof(struct stats_load) == 4096, "a page, so that it can be mapped alone");

/* What the relay tells of itself, in place of the slots of connections. seq is odd while anything
 * changes. */
struct stats_relay {
    _Atomic uint32_t seq;
    uint32_t counting;   /* 1: the lag is more, not all was counted yet */
    uint64_t records;    /* the lag: what is in the journal and not relayed */
    uint64_t bytes;      /* of their lines */
    uint64_t oldest_us;  /* since 1970: when the oldest of them was written; 0: there is none */
    uint64_t rate;       /* records in the last second */
    uint64_t error_us;   /* since 1970: when the last error was; 0: there was none */
    uint64_t window_us;  /* the stream remembers ids so long; 0: not known yet */
    uint64_t needs_us;   /* and should so long */
    uint64_t lost_bytes; /* of segments that were taken away before they were relayed */
    char id[32];         /* of the record that was confirmed last */
    char stream[128];
    char error[256];
};

enum stats_worker_state {
    STATS_WORKER_NONE = 0,
    STATS_WORKER_STARTING,
    STATS_WORKER_READY,
    STATS_WORKER_DRAINING,
    STATS_WORKER_WAITING, /* keeps dying: replaced after a delay */
};

/* A row of the control file's table, one a region. */
struct stats_worker {
    _Atomic uint32_t state; /* enum stats_worker_state */
    _Atomic int32_t pid;
    _Atomic uint32_t index;    /* 0 .. workers - 1 within its generation, or STATS_RELAY */
    _Atomic uint32_t restarts; /* of this index, since the generation began */
    _Atomic uint64_t generation;
    _Atomic uint64_t incarnation;
    _Atomic uint64_t started_us; /* monotonic */
};

struct stats_listener {
    _Atomic uint32_t active;  /* 1: in the present configuration */
    _Atomic uint32_t meaning; /* handover_meaning of that configuration */
    char url[256];            /* without options */
    char address[512];        /* where it is really bound: "127.0.0.1:43117, [::1]:43117" */
    char proto[16];
    char handler[16];
    _Atomic uint64_t certificate_until; /* seconds since 1970; 0: without TLS */
};

/* Totals of workers that are gone. Kept twice; the master writes the copy that is not current, then
 * makes it current, so a reader always finds a whole one, even after the master died meanwhile.
 * Every member is one cell of 64 bits. */
struct stats_folded {
    struct stats_worker_counters counters;
    _Atomic uint64_t latency[STATS_HISTOGRAM];
    /* for each region, the newest incarnation that is in these totals */
    _Atomic uint64_t incarnation[STATS_REGIONS];
};

/* A worker that has died, as the master found it. What the worker had written is a copy, and is
 * believed by nobody. */
struct stats_crash {
    _Atomic uint64_t number; /* from 1 on in the master's life; 0: none, or it is being written */
    uint64_t time_us;        /* monotonic */
    uint64_t generation;
    uint32_t index; /* of the worker, or STATS_RELAY */
    int32_t pid;
    int32_t status; /* as wait(2) says */
    uint32_t pad32;
    struct stats_slot reading[STATS_READING]; /* the connections that it was reading; id 0: none */
    struct stats_recorder recorder;
};

#define STATS_CRASHES 8 /* are kept; crash n stands at (n - 1) % STATS_CRASHES */

enum stats_verdict { STATS_VERDICT_NONE = 0, STATS_VERDICT_OK, STATS_VERDICT_FAILED };

struct stats_control {
    uint64_t magic;
    uint32_t version;
    uint32_t size;             /* of this struct */
    _Atomic uint32_t ready;    /* stored last, with release, when all the rest is in place */
    _Atomic uint32_t stopping; /* 0, or the signal that stops: SIGTERM, SIGQUIT */
    _Atomic int32_t master_pid;
    _Atomic uint32_t workers; /* configured */
    uint64_t started_real_us; /* since 1970 */
    uint64_t started_us;      /* monotonic */
    uint64_t boot_id[2];      /* of this run: random, tells a baseline of another run */
    _Atomic uint64_t generation;
    _Atomic uint64_t
        reloads; /* finished, successful or not; changes after the verdict is in place */
    _Atomic uint64_t reload_requests; /* reloads begun; each of them is finished once */
    _Atomic uint32_t reload_verdict;  /* enum stats_verdict of the last one */
    _Atomic uint32_t reopens;         /* USR1s done by the master */
    char reload_text[512];
    char config_file[256];
    char data_dir[256];
    char cwd[256]; /* where relative paths of its command line begin; empty: not known */
    char version_text[32];
    _Atomic uint32_t current;            /* workers folded so far; folded[current & 1] is valid */
    _Atomic uint32_t regions_used;       /* regions at and above this have never been used */
    char protocols[STATS_PROTOCOLS][16]; /* their names */
    _Atomic uint32_t crashes;            /* penalties for crashes so far */
    uint32_t pad;
    struct stats_source_set sources[STATS_SOURCE_MASTER_SETS]; /* penalties that outlive workers */
    struct stats_folded folded[2];
    struct stats_worker worker[STATS_REGIONS];
    struct stats_listener listener[STATS_LISTENERS];
    struct stats_crash crash[STATS_CRASHES];
};

/* Regions that were ever taken. The value may be damaged, so it is bounded. */
static inline unsigned
stats_regions_used(const struct stats_control *control)
{
    uint32_t used = atomic_load_explicit(&control->regions_used, memory_order_acquire);

    return used < STATS_REGIONS ? used : STATS_REGIONS;
}

/* Room in the sparse files. A store into a hole of a mapped file on a full file system kills with
 * SIGBUS, so reserve a part before touching it for the first time. */

/* Gives [offset, offset + len) blocks of its own; bytes that were a hole read as 0. Returns 0 (also
 * where the file system cannot do this), or -1 with errno (ENOSPC, EDQUOT). */
MS_MUST_CHECK int stats_space_reserve(int fd, uint64_t offset, uint64_t len);

/* The peer of a connection, from the bytes of its slot to text. */

/* "127.0.0.1:50412", "[::1]:50412", "unix:pid 4711", or "unix:" where the pid is not known. family,
 * address and port as in struct stats_slot. */
void stats_peer_format(uint8_t family, const uint8_t address[16], uint16_t port,
                       char out[ENDPOINT_TEXT_LEN]);

/* "conn_feed+0x1f (msockd+0x4f123)", "msockd+0x4f123" without the name of a function. Returns its
 * length. Names are as they stand in the frame: escape them. */
#define STATS_FRAME_LEN 160
size_t stats_frame_format(const struct stats_frame *frame, char out[STATS_FRAME_LEN]);

/* --- histograms --- */

/* The histogram of durations in the statistics: common/histogram.h with 16 steps in each power of
 * two, so a value is known to 6.25 %. Durations of 2^31 microseconds (36 minutes) and more share
 * the last bucket. */

#define STATS_HISTOGRAM_BITS 4
static_assert(STATS_HISTOGRAM_SUB == 1 << STATS_HISTOGRAM_BITS, "steps in each power of two");

/* Bucket of a duration, microseconds. */
static inline unsigned
stats_histogram_index(uint64_t us)
{
    unsigned index = histogram_index(us, STATS_HISTOGRAM_BITS);

    return index < STATS_HISTOGRAM ? index : STATS_HISTOGRAM - 1;
}

/* The lowest duration of a bucket, and the middle of its range, microseconds. */
static inline uint64_t
stats_histogram_low(unsigned index)
{
    return histogram_low(index, STATS_HISTOGRAM_BITS);
}

static inline uint64_t
stats_histogram_value(unsigned index)
{
    return histogram_middle(index, STATS_HISTOGRAM_BITS);
}

/* The value below which a part p (0 to 1) of the durations lie, microseconds; 0 where there are
 * none. Within half a bucket, 3.2 %, of the truth. */
static inline uint64_t
stats_percentile(const uint64_t latency[STATS_HISTOGRAM], double p)
{
    return histogram_quantile(latency, STATS_HISTOGRAM, STATS_HISTOGRAM_BITS, p);
}

/* The longest duration, as the middle of its bucket; 0 where there are none. */
static inline uint64_t
stats_latency_max(const uint64_t latency[STATS_HISTOGRAM])
{
    return stats_percentile(latency, 1.0);
}

#endif
