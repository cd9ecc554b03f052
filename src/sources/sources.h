/* The share of each source: an IPv4 address, an IPv6 network /64, or the user of a Unix socket. How
 * many connections it has, how fast it sends, how much of the disk its unfinished messages take,
 * and for how long it is turned away for the trouble it has made: over all workers of all
 * generations.
 *
 * Each worker has a table in shared memory that it alone writes, and reads those of all others. The
 * master has one in control. A worker that has died counts no more: the master takes over what
 * stands against its sources, and what they had is free again. Nothing is locked. Numbers of a
 * worker that went wrong are wrong for its sources, and nothing worse. */
#ifndef SOURCES_SOURCES_H
#define SOURCES_SOURCES_H

#include "common/regions.h"
#include "stats/stats_layout.h"

#define SOURCES_BITES_MS    10000 /* so much trouble is tolerated */
#define SOURCES_PENALTY_S   10 /* the first penalty; each further one in a row is twice as long */
#define SOURCES_PENALTY_MAX 3600
#define SOURCES_FORGET_S    3600  /* so long after a penalty the next one is a first one again */
#define SOURCES_DAY_S       86400 /* the longest penalty for crashes, and how long they count */

struct sources_table;

/* The memory, for all workers. NULL with errno. */
MS_MUST_CHECK struct sources_table *sources_table_create(void);
void sources_table_destroy(struct sources_table *table); /* NULL is fine */

/* What a worker needs to have the same table. */
struct sources_place {
    struct regions regions; /* its descriptors are borrowed from the table */
    uint8_t secret[16];
};
void sources_table_place(const struct sources_table *table, struct sources_place *place_out);

/* In the worker of that region: takes the descriptors over. NULL with errno. */
MS_MUST_CHECK struct sources_table *
sources_table_attach(const struct sources_place *place, unsigned region);

/* In a master that was executed anew: the descriptors become the table's. NULL with errno. */
MS_MUST_CHECK struct sources_table *sources_table_resume(const struct sources_place *place);

/* In the master, when a worker is gone: takes over the penalties of its sources. crashed: the
 * source that it was reading gets one: a minute, then an hour, then a day. Returns true for such a
 * one, with the source in source_out. */
bool sources_bury(const struct sources_table *table, struct stats_control *control, unsigned region,
                  uint64_t incarnation, bool crashed, uint64_t now_us, struct source *source_out);

/* --- in a worker --- */

struct sources;

/* region and incarnation: of the worker in the statistics. stats_fd: its file, in which msockctl
 * finds the table; -1: none. table and control stay the caller's. NULL with errno. */
MS_MUST_CHECK struct sources *
sources_open(const struct sources_table *table, unsigned region, uint64_t incarnation,
             const struct stats_control *control, int stats_fd, uint64_t now_us);
void sources_close(struct sources *s); /* NULL is fine */

/* Call it once a turn, and sources_publish about once a second. */
void sources_set_time(struct sources *s, uint64_t now_us);
void sources_publish(struct sources *s);

/* A connection begins. Returns the number of the source's row, which stays its own until as many
 * have ended and nothing of it is unfinished; 0: there is no room. */
uint32_t sources_enter(struct sources *s, const struct source *source);
void sources_leave(struct sources *s, uint32_t row);

/* What holds for the source of a row now, over all tables. */
struct sources_sum {
    uint64_t open, unfinished;
    uint64_t messages; /* in this second */
    uint64_t trouble_us;
    uint32_t penalty_s; /* as in struct stats_source */
    uint8_t times;
    uint8_t reason;
    uint32_t wait_s; /* seconds of its penalty to come, 0: none */
};
void sources_look(const struct sources *s, uint32_t row, struct sources_sum *sum_out);

/* It has sent so many bytes; a message of it has come. */
void sources_add_bytes(struct sources *s, uint32_t row, uint64_t n);
void sources_add_message(struct sources *s, uint32_t row);

/* May it send another message in this second, of so many that it may send in all? */
bool sources_may_send(struct sources *s, uint32_t row, uint32_t rate);

/* More (or, below 0, less) of its bodies is unfinished. */
void sources_add_unfinished(struct sources *s, uint32_t row, int64_t bytes);

/* Bytes of disk: those that this worker has set aside and not written yet; and so many more are set
 * aside. */
void sources_promise(struct sources *s, uint64_t promised);
void sources_reserve(struct sources *s, uint64_t bytes);

/* The same over all workers: not written yet, and ever set aside. */
struct sources_disk {
    uint64_t promised, reserved;
};
struct sources_disk sources_disk(const struct sources *s);

/* It has made trouble, n times. True where a penalty begins. */
bool sources_blame(struct sources *s, uint32_t row, enum stats_blame what, unsigned n);

/* The penalties for crashes so far: where the number is another one, ask for how many seconds a
 * source has one still. 0: it has none. */
uint32_t sources_crashes(const struct sources *s);
uint32_t sources_crash_wait(const struct sources *s, uint32_t row);

/* Notes whose bytes are being read, in case this worker dies of them; 0: nobody's. by: 0 in the
 * loop, 1 in the thread beside it. Returns what was noted before. */
uint32_t sources_note(struct sources *s, unsigned by, uint32_t row);

/* Rows that made room for others since the last call. */
uint64_t sources_take_forgotten(struct sources *s);

#endif
