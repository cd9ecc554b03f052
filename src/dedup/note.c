/* What the journal knows: of the time before the start, and of workers that have died. */
#include "dedup/table.h"

#include <stdlib.h>

#define FILL_STUCK_US 5000000 /* who fills the table and says nothing for so long was stopped */

bool
dedup_is_filled(const struct dedup *d)
{
    return atomic_load_explicit(&d->table->ring->fill, memory_order_acquire) == DEDUP_FILLED;
}

bool
dedup_fill_begin(struct dedup *d)
{
    struct dedup_ring *ring = d->table->ring;
    uint64_t by = atomic_load(&ring->fill);
    uint64_t said_us = atomic_load(&ring->fill_said_us);

    if (by == DEDUP_FILLED || by == d->owner ||
        (head_lives(d, by) && clock_mono_us() - said_us < FILL_STUCK_US) ||
        !atomic_compare_exchange_strong(&ring->fill, &by, d->owner))
        return false;
    dedup_fill_on(d);
    return true;
}

void
dedup_fill_on(struct dedup *d)
{
    atomic_store_explicit(&d->table->ring->fill_said_us, clock_mono_us(), memory_order_relaxed);
}

/* One that was taken for stuck and has done it all the same has done it. */
void
dedup_fill_end(struct dedup *d, bool done)
{
    uint64_t own = d->owner;

    if (done)
        atomic_store_explicit(&d->table->ring->fill, DEDUP_FILLED, memory_order_release);
    else
        (void)atomic_compare_exchange_strong(&d->table->ring->fill, &own, 0);
}

/* --- workers that have died --- */

static int
orphans_add(struct dedup_orphans *out, size_t *cap, uint32_t slot, uint64_t head)
{
    if (out->count == *cap) {
        struct dedup_orphan *more;

        *cap = *cap == 0 ? 64 : *cap * 2;
        more = realloc(out->orphan, *cap * sizeof(*more));
        if (more == NULL)
            return -1;
        out->orphan = more;
    }
    out->orphan[out->count++] = (struct dedup_orphan){slot, head};
    return 0;
}

int
dedup_orphans_find(const struct dedup *d, struct dedup_orphans *out)
{
    uint64_t taken = atomic_load(&d->table->ring->next);
    uint32_t used = taken < d->table->slot_count ? (uint32_t)taken : d->table->slot_count;
    size_t cap = 0;

    *out = (struct dedup_orphans){.since_ms = UINT64_MAX};
    for (uint32_t i = 0; i < used; i++) {
        struct dedup_seen seen;
        uint64_t head = atomic_load_explicit(&d->table->slots[i].head, memory_order_relaxed);

        if (head_state(head) != DEDUP_STATE_UNDER_WAY || (head & HEAD_LASTS) == 0 ||
            head_lives(d, head) || !slot_read(d, i, &seen) || seen.head != head)
            continue;
        if (orphans_add(out, &cap, i, head) < 0) {
            dedup_orphans_fini(out);
            return -1;
        }
        if (seen.claimed_ms < out->since_ms)
            out->since_ms = seen.claimed_ms;
    }
    return 0;
}

void
dedup_orphans_release(struct dedup *d, struct dedup_orphans *orphans)
{
    for (size_t i = 0; i < orphans->count; i++)
        slot_drop(d, orphans->orphan[i].slot, orphans->orphan[i].head);
    dedup_orphans_fini(orphans);
}

void
dedup_orphans_fini(struct dedup_orphans *orphans)
{
    free(orphans->orphan);
    *orphans = (struct dedup_orphans){.count = 0};
}

/* --- records --- */

/* The slot's message is committed as the record says: its head is `head`, and ours. */
static void
note_write(struct dedup *d, uint32_t number, uint64_t head, const struct dedup_record *record)
{
    struct dedup_slot *slot = &d->table->slots[number];

    memcpy(slot->memo, record->memo, sizeof(slot->memo));
    atomic_store_explicit(&slot->head, head_committed(head, record->ms), memory_order_release);
}

/* One whose worker has died learns that it is committed. */
static void
note_orphan(struct dedup *d, uint32_t number, const struct dedup_record *record)
{
    struct dedup_seen seen;
    uint64_t head;

    if (!slot_read(d, number, &seen) || seen.name != record->name ||
        head_state(seen.head) != DEDUP_STATE_UNDER_WAY || head_lives(d, seen.head) ||
        memcmp(seen.sha256, record->sha256, sizeof(seen.sha256)) != 0)
        return;
    head = head_with(seen.head, d->owner, DEDUP_STATE_COMMITTING);
    if (atomic_compare_exchange_strong(&d->table->slots[number].head, &seen.head, head))
        note_write(d, number, head, record);
}

/* Is there an entry that says it, or says more? An older one goes. */
static bool
note_is_known(struct dedup *d, uint32_t number, const struct dedup_record *record)
{
    struct dedup_seen seen;

    note_orphan(d, number, record);
    if (!slot_read(d, number, &seen))
        return true;
    if (seen.name != record->name)
        return false;
    switch (head_state(seen.head)) {
    case DEDUP_STATE_COMMITTED:
        if (head_age(seen.head, record->ms) <= 0)
            return true;
        slot_drop(d, number, seen.head);
        return false;
    case DEDUP_STATE_UNDER_WAY:
        return memcmp(seen.sha256, record->sha256, sizeof(seen.sha256)) == 0;
    case DEDUP_STATE_COMMITTING:
        return true;
    case DEDUP_STATE_FREE:
    case DEDUP_STATE_CLAIMED:
        break;
    }
    return false;
}

void
dedup_settle_orphan(struct dedup *d, const struct dedup_record *record)
{
    const struct dedup_line *line = line_of(d, record->name);
    const uint32_t tag = word_tag(d, record->name);

    for (unsigned way = 0; way < DEDUP_WAYS; way++) {
        uint32_t word = atomic_load_explicit(&line->word[way], memory_order_acquire);
        uint32_t number = word_slot(d, word, tag);

        if (number != DEDUP_NO_SLOT)
            note_orphan(d, number, record);
    }
}

void
dedup_note(struct dedup *d, const struct dedup_record *record)
{
    const struct dedup_line *line = line_of(d, record->name);
    const uint32_t tag = word_tag(d, record->name);
    struct dedup_slot *slot;
    uint32_t number;
    uint64_t head;

    for (unsigned way = 0; way < DEDUP_WAYS; way++) {
        uint32_t word = atomic_load_explicit(&line->word[way], memory_order_acquire);

        number = word_slot(d, word, tag);
        if (number != DEDUP_NO_SLOT && note_is_known(d, number, record))
            return;
    }
    number = slot_take(d, &d->records, record->ms, record->ms, &head);
    if (number == DEDUP_NO_SLOT)
        return;
    slot = &d->table->slots[number];
    atomic_store_explicit(&slot->name, record->name, memory_order_relaxed);
    memcpy(slot->sha256, record->sha256, sizeof(slot->sha256));
    if (slot_link(d, &d->records, number, record->name, record->ms))
        note_write(d, number, head, record);
    else
        slot_drop(d, number, head);
}
