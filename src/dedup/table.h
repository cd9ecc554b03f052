/* The table's layout, and its steps. Slots are taken one behind the other, in a ring, so the oldest
 * ones make room. Lines of words, one cache line each, are where a message is looked for by its
 * name: a word holds a slot's number + 1, and above it some bits of the name.
 *
 * A slot's head decides everything about it, in one store. It counts its turns, so a reader that
 * finds the same head before and after has read one message, and a compare-and-swap on it fails
 * where somebody else has taken the slot. */
#ifndef DEDUP_TABLE_H
#define DEDUP_TABLE_H

#include "dedup/dedup.h"

#include <stdalign.h>
#include <stdatomic.h>

#define DEDUP_VERSION 2u /* raise it where the layout changes, or what it means */

#define DEDUP_WAYS    16u
#define DEDUP_SHA_LEN 28 /* as many bytes of the SHA-256 as are compared */

/* FREE -> CLAIMED -> UNDER_WAY -> COMMITTING -> COMMITTED, or FREE again at any time. A slot that
 * is FREE and has an owner is being filled. */
enum dedup_state {
    DEDUP_STATE_FREE,
    DEDUP_STATE_CLAIMED,    /* two claims of one name can meet: the older worker's goes on */
    DEDUP_STATE_UNDER_WAY,  /* a claim that meets this one gives way */
    DEDUP_STATE_COMMITTING, /* committed, and the memo is written */
    DEDUP_STATE_COMMITTED,
};

/* A head: 42 bits of an owner (a region + 1, and its incarnation), or of the milliseconds of a
 * commit; 17 of the turn; two about the message: the handler can tell what became of it, and it is
 * a file; and the state. */
#define HEAD_STATE      UINT64_C(7)
#define HEAD_LASTS      UINT64_C(8)
#define HEAD_NO_MEMO    HEAD_LASTS /* of a committed one: its worker died while it wrote the memo */
#define HEAD_FILE       UINT64_C(16)
#define HEAD_TURN       (UINT64_C(1) << 5)
#define HEAD_TURNS      (((UINT64_C(1) << 17) - 1) << 5)
#define HEAD_OWNER_BIT  22
#define HEAD_OWNER      (UINT64_MAX << HEAD_OWNER_BIT)
#define HEAD_REGION_BIT 54

struct dedup_slot {
    _Atomic uint64_t head;
    _Atomic uint64_t name;
    uint8_t sha256[DEDUP_SHA_LEN];
    union {
        uint8_t memo[DEDUP_MEMO_LEN]; /* COMMITTED */
        struct {                      /* CLAIMED, UNDER_WAY */
            uint8_t conn[8];
            uint8_t claimed_ms[8];
        };
    };
};
static_assert(sizeof(struct dedup_slot) == 64, "a cache line");

struct dedup_line {
    _Atomic uint32_t word[DEDUP_WAYS];
};

/* At the beginning of the memory that workers share; the slots follow, and then the lines. */
struct dedup_ring {
    /* Of who fills the table: its owner bits; DEDUP_FILLED; or 0 */
    alignas(64) _Atomic uint64_t fill;
    _Atomic uint64_t fill_said_us;     /* when that one last said that it goes on, monotonic */
    alignas(64) _Atomic uint64_t next; /* slots that were given out, never taken modulo */
};

/* What no worker can change for another one: each has its own copy. */
struct dedup_table {
    int fd;                  /* of what is shared; -1: private */
    struct dedup_ring *ring; /* shared */
    struct dedup_slot *slots;
    struct dedup_line *lines;
    size_t size; /* bytes of all that */
    uint32_t slot_count;
    uint32_t line_mask;   /* lines - 1, a power of two of them */
    uint32_t number_mask; /* of a slot's number + 1, in a word */
    uint32_t chunk;       /* slots that a worker takes from the ring at once */
    uint8_t secret[16];
};

#define DEDUP_FILLED UINT64_C(1)

/* Where a thread takes slots. */
struct dedup_cursor {
    uint64_t next, end;
    uint32_t number;          /* of the slot at next */
    _Atomic uint64_t evicted; /* written by this thread only */
};

struct dedup {
    struct dedup_table *table;
    const struct stats_control *control;
    uint64_t owner;              /* HEAD_OWNER bits */
    struct dedup_cursor claims;  /* of the worker's thread */
    struct dedup_cursor records; /* of the thread that notes records */
    uint64_t window_ms;          /* the longest that was asked for */
    uint64_t evicted;            /* of both, as it was told */
};

#define DEDUP_NO_SLOT UINT32_MAX

static inline enum dedup_state
head_state(uint64_t head)
{
    return (enum dedup_state)(head & HEAD_STATE);
}

static inline uint64_t
head_ms(uint64_t head)
{
    return head >> HEAD_OWNER_BIT;
}

/* The same turn with another owner or time, and state. */
static inline uint64_t
head_with(uint64_t head, uint64_t owner, enum dedup_state state)
{
    return owner | (head & (HEAD_TURNS | HEAD_LASTS | HEAD_FILE)) | state;
}

/* Does the worker that owns this head live? */
bool head_lives(const struct dedup *d, uint64_t head);

/* The milliseconds from the time of this head until now_ms, both modulo 2^42; less than 0: it is
 * later. */
static inline int64_t
head_age(uint64_t head, uint64_t now_ms)
{
    return (int64_t)((now_ms - head_ms(head)) << HEAD_OWNER_BIT) >> HEAD_OWNER_BIT;
}

/* Is it committed, and in the window? */
static inline bool
head_counts(uint64_t head, uint64_t window_ms, uint64_t now_ms)
{
    return head_state(head) == DEDUP_STATE_COMMITTED &&
           head_age(head, now_ms) <= (int64_t)window_ms;
}

/* The head of this turn, committed at ms. */
static inline uint64_t
head_committed(uint64_t head, uint64_t ms)
{
    return ms << HEAD_OWNER_BIT | (head & (HEAD_TURNS | HEAD_FILE)) | DEDUP_STATE_COMMITTED;
}

static inline struct dedup_line *
line_of(const struct dedup *d, uint64_t name)
{
    return &d->table->lines[(uint32_t)name & d->table->line_mask];
}

/* The way where a word of this name is put, if it is free, and looked for first. */
static inline unsigned
word_way(uint64_t name)
{
    return (unsigned)(name >> 32) % DEDUP_WAYS;
}

/* The upper bits of a word. */
static inline uint32_t
word_tag(const struct dedup *d, uint64_t name)
{
    return (uint32_t)(name >> 32) & ~d->table->number_mask;
}

/* The slot of a word that may be this name's, or DEDUP_NO_SLOT. */
static inline uint32_t
word_slot(const struct dedup *d, uint32_t word, uint32_t tag)
{
    uint32_t number;

    if (((word ^ tag) & ~d->table->number_mask) != 0)
        return DEDUP_NO_SLOT;
    number = word & d->table->number_mask;
    return number - 1 < d->table->slot_count ? number - 1 : DEDUP_NO_SLOT;
}

/* What a slot held when it was read. */
struct dedup_seen {
    uint64_t head, name, conn, claimed_ms;
    uint8_t sha256[DEDUP_SHA_LEN];
    uint8_t memo[DEDUP_MEMO_LEN];
};

/* False where it changes all the time. */
bool slot_read(const struct dedup *d, uint32_t number, struct dedup_seen *out);

/* Takes the next slot that may be used again and makes it FREE and the caller's, with a new turn:
 * its head in head_out. An entry that counts gives way where it is not newer than newer_ms.
 * DEDUP_NO_SLOT: there is none. */
uint32_t slot_take(struct dedup *d, struct dedup_cursor *cursor, uint64_t newer_ms, uint64_t now_ms,
                   uint64_t *head_out);

/* Lets a slot of the cursor's thread be found by its name. False where its line is full of messages
 * under way. */
bool slot_link(struct dedup *d, struct dedup_cursor *cursor, uint32_t number, uint64_t name,
               uint64_t now_ms);

/* Makes it FREE, where its head is still this one. */
void slot_drop(struct dedup *d, uint32_t number, uint64_t head);

#endif
