#include "dedup/table.h"

#include "common/fd.h"
#include "common/regions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LOOKS 256 /* at slots in a row that cannot be taken */
#define TRIES 8   /* to read a slot that changes */

#define CHUNK_MAX 64u

/* --- life --- */

static uint32_t
power_of_two(uint32_t least)
{
    uint32_t power = 1;

    while (power < least)
        power *= 2;
    return power;
}

/* So many lines that hardly any fills up: a fourth of their words is used. */
static uint32_t
table_lines(uint32_t max)
{
    return power_of_two(max / (DEDUP_WAYS / 4) + 1);
}

static struct dedup_table *
table_new(uint32_t max)
{
    const size_t lines = table_lines(max);
    struct dedup_table *table = ms_calloc(1, sizeof(*table));

    MS_ASSERT(max >= 1 && max <= DEDUP_MAX_LIMIT);
    if (table == NULL)
        return NULL;
    table->fd = -1;
    table->size = sizeof(struct dedup_ring) + max * sizeof(struct dedup_slot) +
                  lines * sizeof(struct dedup_line);
    table->slot_count = max;
    table->line_mask = (uint32_t)lines - 1;
    table->number_mask = power_of_two(max + 1) - 1;
    table->chunk = max / 1024 < CHUNK_MAX ? max / 1024 + 1 : CHUNK_MAX;
    ms_random(table->secret, sizeof(table->secret));
    return table;
}

/* Takes table over. memory NULL: there is none, with errno. */
static struct dedup_table *
table_with(struct dedup_table *table, void *memory)
{
    if (memory == NULL) {
        dedup_table_destroy(table);
        return NULL;
    }
    table->ring = memory;
    table->slots = (struct dedup_slot *)(void *)(table->ring + 1);
    table->lines = (struct dedup_line *)(void *)(table->slots + table->slot_count);
    return table;
}

struct dedup_table *
dedup_table_create(uint32_t max)
{
    struct dedup_table *table = table_new(max);

    return table_with(table, memory_create("msockd-dedup", table->size, &table->fd));
}

struct dedup_table *
dedup_table_create_private(uint32_t max)
{
    struct dedup_table *table = table_new(max);
    void *memory;

    if (table == NULL)
        return NULL;
    memory = mmap(NULL, table->size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return table_with(table, memory != MAP_FAILED ? memory : NULL);
}

void
dedup_table_place(const struct dedup_table *table, struct dedup_place *place_out)
{
    *place_out = (struct dedup_place){.fd = table->fd, .max = table->slot_count};
    memcpy(place_out->secret, table->secret, sizeof(table->secret));
}

struct dedup_table *
dedup_table_attach(struct dedup_place *place)
{
    struct dedup_table *table = table_new(place->max);
    void *memory = memory_attach(place->fd, table->size);

    fd_close(&place->fd);
    memcpy(table->secret, place->secret, sizeof(table->secret));
    return table_with(table, memory);
}

struct dedup_table *
dedup_table_resume(const struct dedup_place *place)
{
    struct dedup_place borrowed = {.fd = -1, .max = place->max};
    struct dedup_table *table;

    memcpy(borrowed.secret, place->secret, sizeof(borrowed.secret));
    borrowed.fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
    table = dedup_table_attach(&borrowed);
    if (table != NULL)
        table->fd = place->fd;
    return table;
}

void
dedup_table_destroy(struct dedup_table *table)
{
    int saved = errno;

    if (table == NULL)
        return;
    if (table->ring != NULL)
        munmap(table->ring, table->size);
    fd_close(&table->fd);
    free(table);
    errno = saved;
}

void *
dedup_table_memory(const struct dedup_table *table, size_t *size_out)
{
    *size_out = table->size;
    return table->ring;
}

struct dedup *
dedup_open(struct dedup_table *table, unsigned region, uint64_t incarnation,
           const struct stats_control *control, uint64_t window_ms)
{
    struct dedup *d = ms_calloc(1, sizeof(*d));

    if (d == NULL)
        return NULL;
    d->table = table;
    d->control = control;
    d->window_ms = window_ms;
    d->owner = (uint64_t)(region + 1) << HEAD_REGION_BIT | (uint64_t)(uint32_t)incarnation
                                                               << HEAD_OWNER_BIT;
    return d;
}

void
dedup_close(struct dedup *d)
{
    free(d);
}

uint64_t
dedup_take_evicted(struct dedup *d)
{
    uint64_t now = atomic_load_explicit(&d->claims.evicted, memory_order_relaxed) +
                   atomic_load_explicit(&d->records.evicted, memory_order_relaxed);
    uint64_t more = now - d->evicted;

    d->evicted = now;
    return more;
}

bool
head_lives(const struct dedup *d, uint64_t head)
{
    unsigned region = (unsigned)(head >> HEAD_REGION_BIT); /* + 1; 0: nobody's */

    return region > 0 && region <= STATS_REGIONS &&
           (uint32_t)atomic_load_explicit(&d->control->worker[region - 1].incarnation,
                                          memory_order_acquire) ==
               (uint32_t)(head >> HEAD_OWNER_BIT);
}

/* --- slots --- */

bool
slot_read(const struct dedup *d, uint32_t number, struct dedup_seen *out)
{
    const struct dedup_slot *slot = &d->table->slots[number];

    for (unsigned i = 0; i < TRIES; i++) {
        out->head = atomic_load_explicit(&slot->head, memory_order_acquire);
        out->name = atomic_load_explicit(&slot->name, memory_order_relaxed);
        memcpy(out->sha256, slot->sha256, sizeof(out->sha256));
        memcpy(out->memo, slot->memo, sizeof(out->memo));
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&slot->head, memory_order_relaxed) == out->head) {
            memcpy(&out->conn, out->memo, sizeof(out->conn));
            memcpy(&out->claimed_ms, out->memo + sizeof(out->conn), sizeof(out->claimed_ms));
            return true;
        }
    }
    return false;
}

/* No name leads to it any more. */
static void
slot_unlink(const struct dedup *d, uint32_t number)
{
    uint64_t name = atomic_load_explicit(&d->table->slots[number].name, memory_order_relaxed);
    uint32_t word = word_tag(d, name) | (number + 1);
    struct dedup_line *line = line_of(d, name);

    for (unsigned i = 0; i < DEDUP_WAYS; i++) {
        unsigned way = (word_way(name) + i) % DEDUP_WAYS;
        uint32_t was = word;

        if (atomic_load_explicit(&line->word[way], memory_order_relaxed) == word &&
            atomic_compare_exchange_strong(&line->word[way], &was, 0))
            return;
    }
}

void
slot_drop(struct dedup *d, uint32_t number, uint64_t head)
{
    uint64_t held = head_with(head, d->owner, DEDUP_STATE_FREE);

    if (!atomic_compare_exchange_strong(&d->table->slots[number].head, &head, held))
        return;
    slot_unlink(d, number);
    atomic_store_explicit(&d->table->slots[number].head, held & HEAD_TURNS, memory_order_release);
}

/* May what has this head give way to another message? */
static bool
slot_may_go(const struct dedup *d, uint64_t head, uint64_t newer_ms, uint64_t now_ms)
{
    switch (head_state(head)) {
    case DEDUP_STATE_COMMITTED:
        return newer_ms == UINT64_MAX || head_age(head, newer_ms) >= 0 ||
               !head_counts(head, d->window_ms, now_ms);
    case DEDUP_STATE_UNDER_WAY:
        return (head & HEAD_LASTS) == 0 && !head_lives(d, head);
    case DEDUP_STATE_FREE:
    case DEDUP_STATE_CLAIMED:
    case DEDUP_STATE_COMMITTING:
        break;
    }
    return !head_lives(d, head);
}

static uint32_t
number_after(const struct dedup *d, uint32_t number)
{
    return number + 1 < d->table->slot_count ? number + 1 : 0;
}

/* The lines that lead to what its slots hold are all over the memory: asked for together, they come
 * together. */
static void
cursor_take_chunk(const struct dedup *d, struct dedup_cursor *cursor)
{
    const struct dedup_table *table = d->table;
    uint32_t number;

    cursor->next =
        atomic_fetch_add_explicit(&table->ring->next, table->chunk, memory_order_relaxed);
    cursor->end = cursor->next + table->chunk;
    number = cursor->number = (uint32_t)(cursor->next % table->slot_count);
    for (uint32_t i = 0; i < table->chunk; i++, number = number_after(d, number))
        __builtin_prefetch(
            line_of(d, atomic_load_explicit(&table->slots[number].name, memory_order_relaxed)), 1);
}

/* A chunk that was left behind by the others is as good as used. */
static uint32_t
cursor_next(const struct dedup *d, struct dedup_cursor *cursor)
{
    uint64_t ahead = atomic_load_explicit(&d->table->ring->next, memory_order_relaxed);
    uint32_t number;

    if (cursor->next == cursor->end || ahead - cursor->next > d->table->slot_count / 4 + 1)
        cursor_take_chunk(d, cursor);
    number = cursor->number;
    cursor->next++;
    cursor->number = number_after(d, number);
    return number;
}

/* What has this head is forgotten. */
static void
cursor_evicts(const struct dedup *d, struct dedup_cursor *cursor, uint64_t head, uint64_t now_ms)
{
    if (head_counts(head, d->window_ms, now_ms))
        atomic_store_explicit(&cursor->evicted,
                              atomic_load_explicit(&cursor->evicted, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

uint32_t
slot_take(struct dedup *d, struct dedup_cursor *cursor, uint64_t newer_ms, uint64_t now_ms,
          uint64_t *head_out)
{
    for (unsigned i = 0; i < LOOKS && i < d->table->slot_count; i++) {
        uint32_t number = cursor_next(d, cursor);
        struct dedup_slot *slot = &d->table->slots[number];
        uint64_t head = atomic_load_explicit(&slot->head, memory_order_relaxed), was = head;

        *head_out = d->owner | ((head + HEAD_TURN) & HEAD_TURNS) | DEDUP_STATE_FREE;
        if (!slot_may_go(d, head, newer_ms, now_ms) ||
            !atomic_compare_exchange_strong(&slot->head, &was, *head_out))
            continue;
        cursor_evicts(d, cursor, head, now_ms);
        if (head != 0)
            slot_unlink(d, number);
        /* Nobody may see what is written now under the head before. */
        atomic_thread_fence(memory_order_release);
        return number;
    }
    return DEDUP_NO_SLOT;
}

/* --- lines --- */

/* What is to give way in a line: the word, and where it leads to a message, that. */
struct line_choice {
    unsigned way; /* DEDUP_WAYS: all are under way */
    uint32_t word;
    uint32_t number; /* DEDUP_NO_SLOT: it leads to nothing */
    uint64_t head;
};

/* Does a word of this line lead to its message still? */
static bool
word_is_true(const struct dedup *d, const struct dedup_line *line, uint32_t word, uint32_t number)
{
    uint64_t name = atomic_load_explicit(&d->table->slots[number].name, memory_order_acquire);

    return line_of(d, name) == line && word_tag(d, name) == (word & ~d->table->number_mask);
}

/* The oldest that is committed, or a word that leads to nothing. */
static struct line_choice
line_oldest(const struct dedup *d, const struct dedup_line *line, uint64_t now_ms)
{
    struct line_choice found = {.way = DEDUP_WAYS};
    int64_t oldest = INT64_MIN;

    for (unsigned way = 0; way < DEDUP_WAYS; way++) {
        uint32_t word = atomic_load_explicit(&line->word[way], memory_order_acquire);
        uint32_t number = word_slot(d, word, word & ~d->table->number_mask);
        uint64_t head;
        int64_t age;

        if (number == DEDUP_NO_SLOT || !word_is_true(d, line, word, number))
            return (struct line_choice){.way = way, .word = word, .number = DEDUP_NO_SLOT};
        head = atomic_load(&d->table->slots[number].head);
        age = head_state(head) == DEDUP_STATE_COMMITTED ? head_age(head, now_ms) : INT64_MAX;
        if (slot_may_go(d, head, UINT64_MAX, now_ms) && age > oldest) {
            oldest = age;
            found = (struct line_choice){way, word, number, head};
        }
    }
    return found;
}

bool
slot_link(struct dedup *d, struct dedup_cursor *cursor, uint32_t number, uint64_t name,
          uint64_t now_ms)
{
    const uint32_t word = word_tag(d, name) | (number + 1);
    struct dedup_line *line = line_of(d, name);

    for (unsigned i = 0; i < DEDUP_WAYS; i++) {
        unsigned way = (word_way(name) + i) % DEDUP_WAYS;
        uint32_t none = 0;

        if (atomic_load_explicit(&line->word[way], memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&line->word[way], &none, word))
            return true;
    }
    for (unsigned i = 0; i < TRIES; i++) {
        struct line_choice old = line_oldest(d, line, now_ms);

        if (old.way == DEDUP_WAYS)
            return false;
        if (old.number != DEDUP_NO_SLOT) {
            cursor_evicts(d, cursor, old.head, now_ms);
            slot_drop(d, old.number, old.head);
            old.word = 0;
        }
        if (atomic_compare_exchange_strong(&line->word[old.way], &old.word, word))
            return true;
    }
    return false;
}
