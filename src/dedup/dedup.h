/* Remembers the messages with an id: those under way, and those committed within the window, in all
 * workers of all generations (docs/protocol.md 1.9). A copy that comes again waits for the outcome
 * of the first one, or is answered by it. A file is known by its path and content.
 *
 * One table in memory that the master makes and all workers write. Nothing in it is locked, and
 * nobody waits for anybody: whoever dies or stops between any two stores leaves a table that the
 * others can use. The oldest go first where there is no more room. */
#ifndef DEDUP_DEDUP_H
#define DEDUP_DEDUP_H

#include "common/digest.h"
#include "stats/stats_layout.h"

#define DEDUP_MAX_LIMIT 67108863 /* ids */

/* What a handler wants to know again of a committed message, to write its receipt: its own to
 * define, zeros where it needs nothing. */
#define DEDUP_MEMO_LEN 20

struct dedup_table;

/* The table, for at most max messages (1 to DEDUP_MAX_LIMIT), about 80 bytes each, of which none
 * cost memory before they are used. NULL with errno. A private one is this process's alone, and no
 * file: a program may have a limit on the size of its files. */
MS_MUST_CHECK struct dedup_table *dedup_table_create(uint32_t max);
MS_MUST_CHECK struct dedup_table *dedup_table_create_private(uint32_t max);
void dedup_table_destroy(struct dedup_table *table); /* NULL is fine */

/* What a worker needs to have the same table. */
struct dedup_place {
    int fd; /* borrowed from the table */
    uint32_t max;
    uint8_t secret[16];
};
void dedup_table_place(const struct dedup_table *table, struct dedup_place *place_out);

/* In the worker: takes the descriptor over. NULL with errno. The other one is for a master that was
 * executed anew: its table keeps the descriptor, for workers to come. */
MS_MUST_CHECK struct dedup_table *dedup_table_attach(struct dedup_place *place);
MS_MUST_CHECK struct dedup_table *dedup_table_resume(const struct dedup_place *place);

/* The memory that the workers share, for tests that look at it or spoil it. */
void *dedup_table_memory(const struct dedup_table *table, size_t *size_out);

/* --- in a worker --- */

struct dedup;

/* region, incarnation: of the worker in the statistics; the master's word in control says who
 * lives. window_ms: the longest of all claims. table and control stay the caller's. NULL with
 * errno. */
MS_MUST_CHECK struct dedup *
dedup_open(struct dedup_table *table, unsigned region, uint64_t incarnation,
           const struct stats_control *control, uint64_t window_ms);
void dedup_close(struct dedup *d); /* NULL is fine */

/* A number that all workers with this table have, and no others. It gives nothing away. */
uint64_t dedup_run(const struct dedup *d);

/* One message, as long as it is not decided what becomes of it. The caller fills in all but the
 * last three. Times are those of ids, in milliseconds (clock_id_us), which no step of the clock
 * moves. */
struct dedup_claim {
    uint64_t name; /* dedup_name */
    uint8_t sha256[SHA256_LEN];
    uint64_t conn;      /* of its connection, in this worker */
    uint64_t window_ms; /* how long a committed one counts */
    bool is_file;
    bool lasts; /* its handler can tell later whether it was committed (its recall) */

    uint32_t entry;               /* its own, or 0: for dedup_commit and dedup_release */
    bool needs_recall;            /* with DEDUP_WAIT: nobody else will settle it */
    uint8_t memo[DEDUP_MEMO_LEN]; /* of DEDUP_COMMITTED */
};

/* The name of a message, never 0: peers cannot foresee it. scope: of its listener, by dedup_scope.
 * value: the id, or the path of a file. alike: so many listeners before it have the same name, as
 * those at port 0 do. */
uint64_t dedup_scope(const struct dedup *d, const char *listener, unsigned alike);
uint64_t dedup_name(const struct dedup *d, uint64_t scope, bool is_file, const char *identity,
                    const void *value, size_t n);

enum dedup_answer {
    DEDUP_MINE,      /* no other copy: handle it; claim->entry until it is settled */
    DEDUP_UNTRACKED, /* there is no room to remember it: handle it, and no copy sees it */
    DEDUP_WAIT,      /* another copy is under way: ask again soon */
    DEDUP_COMMITTED, /* another copy was committed: claim->memo */
    DEDUP_OTHER,     /* other content was committed under this id */
};

/* What is to become of the message. After DEDUP_WAIT ask again with the same claim, or give it up
 * with dedup_release. */
enum dedup_answer dedup_ask(struct dedup *d, struct dedup_claim *claim, uint64_t now_ms);

/* The message of that entry (0 is fine) is committed; memo may be NULL. */
void dedup_commit(struct dedup *d, uint32_t entry, const void *memo, uint64_t now_ms);

/* It is not, and the next copy may be handled. */
void dedup_release(struct dedup *d, uint32_t entry);

/* How many were forgotten before their time, since the last call. */
uint64_t dedup_take_evicted(struct dedup *d);

/* --- what the journal knows (note.c) --- */

/* After a start the table is empty, and after the death of a worker it does not tell what became of
 * its messages. The handler that keeps them looks, in a thread beside the worker's own; until then
 * messages that it could keep twice wait. */

/* True where they need not wait any more for what was committed before the start. */
bool dedup_is_filled(const struct dedup *d);

/* True where the caller has to give all records within the window to dedup_note: nobody else does,
 * or has gone on with it for some seconds. It says dedup_fill_on all the time, and then
 * dedup_fill_end: it has, or another one has to. */
MS_MUST_CHECK bool dedup_fill_begin(struct dedup *d);
void dedup_fill_on(struct dedup *d);
void dedup_fill_end(struct dedup *d, bool done);

/* The messages that were with such a handler when their worker died. */
struct dedup_orphan {
    uint32_t slot;
    uint64_t head;
};

struct dedup_orphans {
    size_t count;
    struct dedup_orphan *orphan;
    uint64_t since_ms; /* the first of them was claimed then: no record of theirs is older */
};

/* Finds them. Then give all records since since_ms to dedup_settle_orphan, and what is left was not
 * committed: dedup_orphans_release, or dedup_orphans_fini where they were not read. Returns 0, or
 * -1 with errno. */
MS_MUST_CHECK int dedup_orphans_find(const struct dedup *d, struct dedup_orphans *out);
void dedup_orphans_release(struct dedup *d, struct dedup_orphans *orphans);
void dedup_orphans_fini(struct dedup_orphans *orphans);

/* A message of that name was committed at ms. dedup_note adds it; dedup_settle_orphan only tells an
 * orphan so: what a worker that lives has written is not committed before it says so. */
struct dedup_record {
    uint64_t name, ms;
    uint8_t sha256[SHA256_LEN];
    uint8_t memo[DEDUP_MEMO_LEN];
};

void dedup_note(struct dedup *d, const struct dedup_record *record);
void dedup_settle_orphan(struct dedup *d, const struct dedup_record *record);

#endif
