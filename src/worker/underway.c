/* Layout of a region: words in buckets of one cache line, where a message is looked for by its
 * name, then the entries. A word holds the upper 48 bits of a name and the number of its entry.
 * Entries are taken one behind the other, in a ring that is as long as it has to be, so that they
 * stay in the cache. An entry's ticket is 0 while it changes, and never the same again: a reader
 * that finds it as before has read one message's entry. What a dead worker wrote stays until its
 * successor in the region needs the room: each entry says whose it is.
 *
 * States: CLAIMED -> UNDER_WAY -> COMMITTED, or gone at any time. Two claims of one name can meet;
 * one that meets a message under way always gives way. */
#include "worker/underway.h"

#include "common/siphash.h"
#include "worker/child.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS    4096u
#define WAYS       8u
#define ENTRIES    16384u
#define RING_FIRST 2048u /* entries of the ring at first */
#define LOOKS      16    /* at entries in a row that are under way, before the ring grows */
#define TRIES      4     /* to read an entry that changes */

#define NUMBER_MASK UINT64_C(0xffff)
static_assert(BUCKETS <= NUMBER_MASK + 1 && ENTRIES <= NUMBER_MASK, "room in a word");

enum underway_state { UNDERWAY_FREE, UNDERWAY_CLAIMED, UNDERWAY_UNDER_WAY, UNDERWAY_SETTLED };

struct entry {
    _Atomic uint64_t ticket;      /* 0 while the rest changes */
    _Atomic uint64_t incarnation; /* of its worker */
    _Atomic uint32_t state;       /* enum underway_state */
    _Atomic uint64_t name;
    _Atomic uint64_t settled_us; /* monotonic; stored before UNDERWAY_SETTLED */
    _Atomic uint64_t conn;       /* of its worker */
    uint8_t sha256[SHA256_LEN];
    char record[UNDERWAY_RECORD_LEN]; /* NUL bytes: none */
    uint8_t pad[22];
};
static_assert(sizeof(struct entry) == 128, "two cache lines");

struct region {
    _Atomic uint64_t words[BUCKETS][WAYS]; /* 0: free */
    struct entry entries[ENTRIES];
};
static_assert(sizeof(struct region) <= CHILD_UNDERWAY_SIZE, "the master makes room for it");
static_assert(WAYS * sizeof(uint64_t) == 64, "a bucket is a cache line");

struct underway {
    const struct regions *memory;
    const struct stats_control *control;
    const void *all; /* read-only */
    struct region *own;
    unsigned number; /* of the own region */
    uint64_t incarnation;
    uint64_t tickets;
    uint8_t secret[16];
    uint32_t head, ring;             /* the next entry to take; how many the ring has */
    _Atomic uint64_t *word[ENTRIES]; /* of each entry that was taken */
};

static const struct region *
underway_region(const struct underway *u, unsigned number)
{
    return (const struct region *)((const char *)u->all + number * u->memory->size);
}

/* The incarnation of a region's worker; 0: nobody has it. */
static uint64_t
underway_lives(const struct underway *u, unsigned number)
{
    return atomic_load_explicit(&u->control->worker[number].incarnation, memory_order_acquire);
}

struct underway *
underway_open(const struct regions *memory, const uint8_t secret[16], unsigned region,
              uint64_t incarnation, const struct stats_control *control)
{
    struct underway *u = ms_calloc(1, sizeof(*u));

    if (u == NULL)
        return NULL;
    MS_ASSERT(region < memory->n && memory->size >= sizeof(struct region));
    u->memory = memory;
    u->control = control;
    u->number = region;
    u->incarnation = incarnation;
    u->own = regions_own(memory, region);
    u->ring = RING_FIRST;
    memcpy(u->secret, secret, sizeof(u->secret));
    u->all = regions_map(memory);
    if (u->all == NULL) {
        free(u);
        return NULL;
    }
    return u;
}

void
underway_close(struct underway *u)
{
    if (u == NULL)
        return;
    regions_unmap(u->memory, u->all);
    free(u);
}

void
underway_name(const struct underway *u, uint16_t listener, const void *value, size_t n,
              struct underway_claim *claim)
{
    uint8_t about[3];
    struct siphash hash;

    be16_store(about, listener);
    about[2] = claim->is_file;
    siphash_begin(&hash, u->secret);
    siphash_update(&hash, about, sizeof(about));
    siphash_update(&hash, value, n);
    claim->name = siphash_finish(&hash);
    claim->name |= claim->name <= NUMBER_MASK ? NUMBER_MASK + 1 : 0;
}

/* --- reading --- */

struct seen {
    uint64_t ticket, incarnation, settled_us, conn;
    uint32_t state; /* enum underway_state; UNDERWAY_FREE: no such message any more */
    bool same;      /* the same content */
    char record[UNDERWAY_RECORD_LEN];
};

static bool
entry_read_once(const struct region *r, uint32_t number, const struct underway_claim *claim,
                struct seen *out)
{
    const struct entry *e = &r->entries[number];

    out->ticket = atomic_load_explicit(&e->ticket, memory_order_acquire);
    out->incarnation = atomic_load_explicit(&e->incarnation, memory_order_relaxed);
    out->state = atomic_load_explicit(&e->state, memory_order_acquire);
    out->settled_us = atomic_load_explicit(&e->settled_us, memory_order_relaxed);
    out->conn = atomic_load_explicit(&e->conn, memory_order_relaxed);
    out->same = memcmp(e->sha256, claim->sha256, SHA256_LEN) == 0;
    memcpy(out->record, e->record, sizeof(out->record));
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&e->name, memory_order_relaxed) != claim->name)
        out->state = UNDERWAY_FREE;
    return out->ticket != 0 &&
           atomic_load_explicit(&e->ticket, memory_order_relaxed) == out->ticket;
}

/* An entry that changes all the time, or whose writer stands still, is that of a message under
 * way. */
static void
entry_read(const struct region *r, uint32_t number, const struct underway_claim *claim,
           struct seen *out)
{
    for (unsigned i = 0; i < TRIES; i++)
        if (entry_read_once(r, number, claim, out))
            return;
    if (out->state != UNDERWAY_FREE)
        *out = (struct seen){
            .incarnation = out->incarnation, .state = UNDERWAY_UNDER_WAY, .same = true};
}

/* What is known of a name after a look at all regions. */
struct found {
    bool waits;        /* for claim->first */
    bool tied;         /* with a claim that has to give way */
    uint64_t last_us;  /* when the last copy was committed; 0: none was */
    bool last_is_same; /* content */
    char record[UNDERWAY_RECORD_LEN];
};

static void
found_settled(struct found *f, const struct seen *s)
{
    if (s->settled_us < f->last_us)
        return;
    f->last_us = s->settled_us;
    f->last_is_same = s->same;
    memcpy(f->record, s->record, sizeof(f->record));
}

static void
found_entry(const struct underway *u, struct underway_claim *claim, unsigned region,
            uint64_t incarnation, uint32_t number, struct found *f)
{
    struct seen s;

    entry_read(underway_region(u, region), number, claim, &s);
    if (s.incarnation != incarnation && s.state != UNDERWAY_SETTLED)
        return; /* under way in a worker that is gone */
    if (claim->is_file && region == u->number && s.conn == claim->conn)
        return; /* a sender that goes on with other files has not lost the answer */
    if (s.state == UNDERWAY_SETTLED) {
        found_settled(f, &s);
    } else if (s.state != UNDERWAY_FREE && (s.same || !claim->is_file)) {
        if (s.state == UNDERWAY_CLAIMED && incarnation > u->incarnation) {
            f->tied = true;
            return;
        }
        f->waits = true;
        claim->first.ticket = s.ticket;
        claim->first.incarnation = incarnation;
        claim->first.region = region;
        claim->first.entry = number;
    }
}

static void
found_region(const struct underway *u, struct underway_claim *claim, unsigned region,
             uint64_t incarnation, struct found *f)
{
    unsigned bucket = (unsigned)(claim->name % BUCKETS);
    const _Atomic uint64_t *words = underway_region(u, region)->words[bucket];

    for (unsigned way = 0; way < WAYS; way++) {
        uint64_t word = atomic_load_explicit(&words[way], memory_order_acquire);
        uint32_t number = (uint32_t)(word & NUMBER_MASK);

        if ((word ^ claim->name) > NUMBER_MASK || number >= ENTRIES)
            continue;
        if (region != u->number || number + 1 != claim->entry)
            found_entry(u, claim, region, incarnation, number, f);
    }
}

static void
found_others(const struct underway *u, struct underway_claim *claim, struct found *f)
{
    unsigned used = stats_regions_used(u->control);

    for (unsigned r = 0; r < used && r < u->memory->n; r++) {
        if (r != u->number)
            found_region(u, claim, r, underway_lives(u, r), f);
    }
}

/* --- the own entries --- */

static bool
entry_is_under_way(const struct underway *u, uint32_t number)
{
    const struct entry *e;
    uint32_t state;

    if (number >= ENTRIES)
        return false; /* what a worker before this one wrote */
    e = &u->own->entries[number];
    state = atomic_load_explicit(&e->state, memory_order_relaxed);
    return (state == UNDERWAY_CLAIMED || state == UNDERWAY_UNDER_WAY) &&
           atomic_load_explicit(&e->incarnation, memory_order_relaxed) == u->incarnation;
}

/* The next entry whose room may be taken; ENTRIES: there is none. */
static uint32_t
underway_next(struct underway *u)
{
    for (unsigned i = 0; i < LOOKS; i++) {
        uint32_t number = u->head;

        u->head = (u->head + 1) % u->ring;
        if (!entry_is_under_way(u, number))
            return number;
    }
    if (u->ring == ENTRIES)
        return ENTRIES;
    u->head = u->ring + 1;
    u->ring *= 2;
    return u->head - 1;
}

/* A word of the bucket that is free, or whose message is not under way; or NULL. */
static _Atomic uint64_t *
underway_word(const struct underway *u, unsigned bucket)
{
    _Atomic uint64_t *words = u->own->words[bucket], *settled = NULL;

    for (unsigned way = 0; way < WAYS; way++) {
        uint64_t word = atomic_load_explicit(&words[way], memory_order_relaxed);

        if (word == 0)
            return &words[way];
        if (settled == NULL && !entry_is_under_way(u, (uint32_t)(word & NUMBER_MASK)))
            settled = &words[way];
    }
    return settled;
}

/* What the entry held is forgotten. */
static void
underway_free(struct underway *u, uint32_t number)
{
    _Atomic uint64_t *word = u->word[number];

    if (word != NULL && (atomic_load_explicit(word, memory_order_relaxed) & NUMBER_MASK) == number)
        atomic_store_explicit(word, 0, memory_order_relaxed);
}

/* The entry's number + 1; 0: there is no room. */
static uint32_t
underway_publish(struct underway *u, const struct underway_claim *claim)
{
    _Atomic uint64_t *word = underway_word(u, (unsigned)(claim->name % BUCKETS));
    uint32_t number = word != NULL ? underway_next(u) : ENTRIES;
    struct entry *e;

    if (number == ENTRIES)
        return 0;
    underway_free(u, number);
    e = &u->own->entries[number];
    u->word[number] = word;
    atomic_store_explicit(&e->ticket, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy(e->sha256, claim->sha256, SHA256_LEN);
    memset(e->record, 0, sizeof(e->record));
    atomic_store_explicit(&e->name, claim->name, memory_order_relaxed);
    atomic_store_explicit(&e->incarnation, u->incarnation, memory_order_relaxed);
    atomic_store_explicit(&e->conn, claim->conn, memory_order_relaxed);
    atomic_store_explicit(&e->state, UNDERWAY_CLAIMED, memory_order_relaxed);
    atomic_store_explicit(&e->ticket, ++u->tickets, memory_order_release);
    atomic_store_explicit(word, (claim->name & ~NUMBER_MASK) | number, memory_order_release);
    /* Either the other worker sees this word, or this one sees the other's. */
    atomic_thread_fence(memory_order_seq_cst);
    return number + 1;
}

static void
underway_withdraw(struct underway *u, struct underway_claim *claim)
{
    underway_end(u, claim->entry, false, NULL, 0);
    claim->entry = 0;
}

void
underway_end(struct underway *u, uint32_t entry, bool committed, const char *record,
             uint64_t now_us)
{
    struct entry *e;

    if (entry == 0)
        return;
    entry--;
    e = &u->own->entries[entry];
    if (!committed) {
        underway_free(u, entry);
        atomic_store_explicit(&e->state, UNDERWAY_FREE, memory_order_release);
        return;
    }
    if (record != NULL)
        memcpy(e->record, record, sizeof(e->record));
    atomic_store_explicit(&e->settled_us, now_us, memory_order_relaxed);
    atomic_store_explicit(&e->state, UNDERWAY_SETTLED, memory_order_release);
}

/* --- asking --- */

/* An id may be used again for something else: only the same message is a late copy. */
static enum underway_answer
underway_settled(const struct found *f, struct underway_claim *claim)
{
    claim->is_late = claim->begun_us > f->last_us;
    if (claim->is_late && (!f->last_is_same || claim->begun_us - f->last_us > UNDERWAY_LATE_US))
        return UNDERWAY_MINE;
    if (!f->last_is_same)
        return claim->is_file ? UNDERWAY_MINE : UNDERWAY_OTHER;
    memcpy(claim->record, f->record, sizeof(f->record));
    return UNDERWAY_COMMITTED;
}

/* The copy that was waited for: also where its worker has left since, after its commit. */
static enum underway_answer
underway_ask_first(struct underway *u, struct underway_claim *claim)
{
    unsigned region = claim->first.region;
    struct found f = {.waits = false};
    struct seen s;

    if (claim->first.ticket == 0)
        return UNDERWAY_MINE;
    entry_read(underway_region(u, region), claim->first.entry, claim, &s);
    if (s.ticket == claim->first.ticket && s.incarnation == claim->first.incarnation) {
        found_settled(&f, &s);
        if (s.state == UNDERWAY_SETTLED)
            return underway_settled(&f, claim);
        if (s.state != UNDERWAY_FREE && underway_lives(u, region) == s.incarnation)
            return UNDERWAY_WAIT;
    }
    claim->first.ticket = 0;
    return UNDERWAY_MINE;
}

/* Of what was found. The own claim stays where it may still be the one that goes on. A file whose
 * first copy is committed may have been replaced or taken away since, so the handler looks. */
static enum underway_answer
underway_judge(struct underway *u, struct underway_claim *claim, const struct found *f)
{
    enum underway_answer answer = UNDERWAY_MINE;

    if (f->waits)
        answer = UNDERWAY_WAIT;
    else if (f->last_us != 0 && !claim->is_file)
        answer = underway_settled(f, claim);
    if (answer != UNDERWAY_MINE) {
        underway_withdraw(u, claim);
        return answer;
    }
    if (f->tied)
        return UNDERWAY_WAIT;
    if (claim->entry == 0)
        return UNDERWAY_UNTRACKED;
    atomic_store_explicit(&u->own->entries[claim->entry - 1].state, UNDERWAY_UNDER_WAY,
                          memory_order_release);
    return UNDERWAY_MINE;
}

enum underway_answer
underway_ask(struct underway *u, struct underway_claim *claim)
{
    enum underway_answer first = underway_ask_first(u, claim);
    struct found f = {.waits = false};

    if (first != UNDERWAY_MINE)
        return first;
    found_region(u, claim, u->number, u->incarnation, &f);
    if (!f.waits && claim->entry == 0)
        claim->entry = underway_publish(u, claim);
    found_others(u, claim, &f);
    return underway_judge(u, claim, &f);
}
