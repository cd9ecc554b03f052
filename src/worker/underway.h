/* Which messages with an id are under way, in all workers of all generations, so that a copy that
 * is sent again meanwhile waits for the outcome of the first one (docs/protocol.md 1.9).
 *
 * Each worker has a region of its own and writes only that one; it reads those of the others. It
 * publishes an entry first, then looks at the others' regions, so of two workers that publish the
 * same message at the same moment at least one sees the other. Which of them goes on is decided by
 * their incarnations: the older worker. No locks, and nothing blocks.
 *
 * A committed entry stays until its room is needed. It answers copies that began to come while the
 * message was under way, or up to UNDERWAY_LATE_US after: their senders may have paused before they
 * sent it again, and the copies may have waited for a worker that stood still. This is no memory of
 * ids.
 *
 * Entries of a worker that has died count as released: the master's word says who lives. */
#ifndef WORKER_UNDERWAY_H
#define WORKER_UNDERWAY_H

#include "common/digest.h"
#include "common/regions.h"
#include "stats/stats_layout.h"

#define UNDERWAY_LATE_US    10000000
#define UNDERWAY_RECORD_LEN 26 /* characters of the id of a record */

struct underway;

/* One message, as long as it is not decided what becomes of it. */
struct underway_claim {
    uint64_t name; /* of listener, kind and id (or path); never 0 */
    bool is_file;  /* known by its path and content: other content is another file */
    uint64_t conn; /* of its connection, in this worker */
    uint8_t sha256[SHA256_LEN];
    uint64_t begun_us; /* when its first byte came, monotonic */
    uint32_t entry;    /* the own entry: its number + 1; or 0 */
    struct {
        uint64_t ticket; /* 0: none is waited for */
        uint64_t incarnation;
        uint32_t entry;
        unsigned region;
    } first;                              /* the copy that is waited for */
    char record[UNDERWAY_RECORD_LEN + 1]; /* of UNDERWAY_COMMITTED: its record; or "" */
    bool is_late;                         /* the same: it began to come after the commit */
};

enum underway_answer {
    UNDERWAY_MINE,      /* no other copy: it is to be handled; claim->entry until underway_end */
    UNDERWAY_UNTRACKED, /* there is no room for it: it is to be handled, and no copy sees it */
    UNDERWAY_WAIT,      /* another copy is under way: ask again soon */
    UNDERWAY_COMMITTED, /* another copy has just been committed */
    UNDERWAY_OTHER,     /* other content has just been committed under this id */
};

/* memory: CHILD_UNDERWAY_SIZE each; secret: 16 bytes, the same in all workers, which peers do not
 * know; region, incarnation and control: those of the statistics. All stay the caller's, and valid.
 * NULL with errno. */
MS_MUST_CHECK struct underway *
underway_open(const struct regions *memory, const uint8_t secret[16], unsigned region,
              uint64_t incarnation, const struct stats_control *control);
void underway_close(struct underway *u); /* NULL is fine */

/* Fills in claim->name; the caller fills in is_file, sha256 and begun_us, and the rest is 0. value:
 * the id or path. */
void underway_name(const struct underway *u, uint16_t listener, const void *value, size_t n,
                   struct underway_claim *claim);

/* What is to become of the message. After UNDERWAY_WAIT ask again with the same claim, or give it
 * up with underway_end. */
enum underway_answer underway_ask(struct underway *u, struct underway_claim *claim);

/* The message of that entry (claim->entry; 0 is fine) is committed, with that record (or NULL), or
 * it is not: then the next copy may be handled. */
void underway_end(struct underway *u, uint32_t entry, bool committed, const char *record,
                  uint64_t now_us);

#endif
