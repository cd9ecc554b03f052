/* What becomes of a message: a claim is published first, and then the claims of others are looked
 * for. So of two that publish the same name at the same moment at least one sees the other, and the
 * older worker's goes on. */
#include "dedup/table.h"

#include "common/siphash.h"

uint64_t
dedup_scope(const struct dedup *d, const char *listener, unsigned alike)
{
    struct siphash hash;

    siphash_begin(&hash, d->table->secret);
    siphash_update(&hash, &alike, sizeof(alike));
    siphash_update(&hash, listener, strlen(listener));
    return siphash_finish(&hash);
}

uint64_t
dedup_run(const struct dedup *d)
{
    return dedup_scope(d, "a run", 0);
}

uint64_t
dedup_name(const struct dedup *d, uint64_t scope, bool is_file, const char *identity,
           const void *value, size_t n)
{
    struct siphash hash;
    uint64_t name;

    scope += is_file;
    siphash_begin(&hash, d->table->secret);
    siphash_update(&hash, &scope, sizeof(scope));
    if (identity != NULL)
        siphash_update(&hash, identity, strlen(identity) + 1);
    siphash_update(&hash, value, n);
    name = siphash_finish(&hash);
    __builtin_prefetch(line_of(d, name), 1);
    return name != 0 ? name : 1;
}

/* --- looking --- */

/* What the others say of a claim's name. */
struct found {
    bool waits; /* for one that is under way */
    bool tied;  /* with a claim that has to give way */
    bool orphan;
    bool replaced;        /* the file, by other content before this one on its connection */
    bool committed, same; /* the last one, and its content */
    uint64_t ms;          /* of that */
    uint8_t memo[DEDUP_MEMO_LEN];
};

static void
found_committed(struct found *f, const struct dedup_seen *seen, uint64_t ms, bool same)
{
    if (f->committed && ms < f->ms)
        return;
    f->committed = true;
    f->same = same;
    f->ms = ms;
    memset(f->memo, 0, sizeof(f->memo));
    if (head_state(seen->head) == DEDUP_STATE_COMMITTED && (seen->head & HEAD_NO_MEMO) == 0)
        memcpy(f->memo, seen->memo, sizeof(f->memo));
}

static void
found_under_way(const struct dedup *d, const struct dedup_claim *claim,
                const struct dedup_seen *seen, bool same, struct found *f)
{
    enum dedup_state state = head_state(seen->head);
    uint32_t incarnation = (uint32_t)(seen->head >> HEAD_OWNER_BIT);
    bool before = (seen->head & HEAD_OWNER) == d->owner && seen->conn == claim->conn;

    /* Another connection may be at work on the same file, with other content; and a sender that
     * goes on with it on the same connection has not lost an answer. */
    f->replaced |= claim->is_file && !same && before;
    if (claim->is_file && (!same || before))
        return;
    if (!head_lives(d, seen->head)) {
        f->orphan |=
            claim->lasts && state == DEDUP_STATE_UNDER_WAY && (seen->head & HEAD_LASTS) != 0;
    } else if (state == DEDUP_STATE_CLAIMED &&
               (int32_t)(incarnation - (uint32_t)(d->owner >> HEAD_OWNER_BIT)) > 0) {
        f->tied = true;
    } else {
        f->waits = true;
    }
}

/* From now on it counts, for the window. */
static void
found_committed_by_the_dead(const struct dedup *d, uint32_t number, const struct dedup_seen *seen,
                            uint64_t now_ms, bool same, struct found *f)
{
    uint64_t was = seen->head, now = head_committed(was, now_ms) | HEAD_NO_MEMO;

    (void)atomic_compare_exchange_strong(&d->table->slots[number].head, &was, now);
    found_committed(f, seen, now_ms, same);
}

static void
found_slot(const struct dedup *d, const struct dedup_claim *claim, uint32_t number, uint64_t now_ms,
           struct found *f)
{
    struct dedup_seen seen;
    bool same;

    if (!slot_read(d, number, &seen)) {
        f->waits = true;
        return;
    }
    if (seen.name != claim->name)
        return;
    same = memcmp(seen.sha256, claim->sha256, sizeof(seen.sha256)) == 0;
    switch (head_state(seen.head)) {
    case DEDUP_STATE_CLAIMED:
    case DEDUP_STATE_UNDER_WAY:
        found_under_way(d, claim, &seen, same, f);
        break;
    case DEDUP_STATE_COMMITTING:
        if (head_lives(d, seen.head))
            f->waits = true;
        else
            found_committed_by_the_dead(d, number, &seen, now_ms, same, f);
        break;
    case DEDUP_STATE_COMMITTED:
        if (head_counts(seen.head, claim->window_ms, now_ms))
            found_committed(f, &seen, head_ms(seen.head), same);
        break;
    case DEDUP_STATE_FREE:
        break;
    }
}

static void
found_look(const struct dedup *d, const struct dedup_claim *claim, uint64_t now_ms, struct found *f)
{
    const struct dedup_line *line = line_of(d, claim->name);
    const uint32_t tag = word_tag(d, claim->name);

    *f = (struct found){.waits = false};
    for (unsigned way = 0; way < DEDUP_WAYS; way++) {
        /* In one order with the compare-and-swaps that link: of two claims that meet, either this
         * one sees the other's word, or the other way round. */
        uint32_t word = atomic_load(&line->word[way]);
        uint32_t number = word_slot(d, word, tag);

        if (number != DEDUP_NO_SLOT && number + 1 != claim->entry)
            found_slot(d, claim, number, now_ms, f);
    }
}

/* --- the own entry --- */

static void
claim_publish(struct dedup *d, struct dedup_claim *claim, uint64_t now_ms)
{
    uint64_t head;
    uint32_t number = slot_take(d, &d->claims, UINT64_MAX, now_ms, &head);
    struct dedup_slot *slot = &d->table->slots[number];

    if (number == DEDUP_NO_SLOT)
        return;
    atomic_store_explicit(&slot->name, claim->name, memory_order_relaxed);
    memcpy(slot->sha256, claim->sha256, sizeof(slot->sha256));
    memcpy(slot->conn, &claim->conn, sizeof(slot->conn));
    memcpy(slot->claimed_ms, &now_ms, sizeof(slot->claimed_ms));
    head = head_with(head, d->owner, DEDUP_STATE_CLAIMED) | (claim->lasts ? HEAD_LASTS : 0) |
           (claim->is_file ? HEAD_FILE : 0);
    atomic_store_explicit(&slot->head, head, memory_order_release);
    if (slot_link(d, &d->claims, number, claim->name, now_ms))
        claim->entry = number + 1;
    else
        slot_drop(d, number, head);
}

static void
claim_withdraw(struct dedup *d, struct dedup_claim *claim)
{
    dedup_release(d, claim->entry);
    claim->entry = 0;
}

/* Before the own file is committed: what was committed under its path before counts no longer. */
static void
forget_earlier(struct dedup *d, uint32_t own)
{
    uint64_t name = atomic_load_explicit(&d->table->slots[own].name, memory_order_relaxed);
    const struct dedup_line *line = line_of(d, name);
    const uint32_t tag = word_tag(d, name);

    for (unsigned way = 0; way < DEDUP_WAYS; way++) {
        uint32_t word = atomic_load_explicit(&line->word[way], memory_order_acquire);
        uint32_t number = word_slot(d, word, tag);
        struct dedup_seen seen;

        if (number != DEDUP_NO_SLOT && number != own && slot_read(d, number, &seen) &&
            seen.name == name && head_state(seen.head) == DEDUP_STATE_COMMITTED)
            slot_drop(d, number, seen.head);
    }
}

void
dedup_commit(struct dedup *d, uint32_t entry, const void *memo, uint64_t now_ms)
{
    struct dedup_slot *slot;
    uint64_t head;

    if (entry == 0)
        return;
    slot = &d->table->slots[entry - 1];
    head = atomic_load_explicit(&slot->head, memory_order_relaxed);
    if ((head & HEAD_FILE) != 0)
        forget_earlier(d, entry - 1);
    atomic_store_explicit(&slot->head, head_with(head, d->owner, DEDUP_STATE_COMMITTING),
                          memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    if (memo != NULL)
        memcpy(slot->memo, memo, sizeof(slot->memo));
    else
        memset(slot->memo, 0, sizeof(slot->memo));
    atomic_store_explicit(&slot->head, head_committed(head, now_ms), memory_order_release);
}

void
dedup_release(struct dedup *d, uint32_t entry)
{
    if (entry != 0)
        slot_drop(d, entry - 1,
                  atomic_load_explicit(&d->table->slots[entry - 1].head, memory_order_relaxed));
}

/* --- asking --- */

static enum dedup_answer
found_answer(const struct found *f, struct dedup_claim *claim)
{
    claim->needs_recall = f->orphan && !f->waits;
    if (f->waits || f->orphan)
        return DEDUP_WAIT;
    if (!f->committed || (claim->is_file && (!f->same || f->replaced)))
        return DEDUP_MINE;
    memcpy(claim->memo, f->memo, sizeof(claim->memo));
    return f->same ? DEDUP_COMMITTED : DEDUP_OTHER;
}

enum dedup_answer
dedup_ask(struct dedup *d, struct dedup_claim *claim, uint64_t now_ms)
{
    enum dedup_answer answer;
    struct dedup_slot *slot;
    struct found f;

    if (claim->lasts && !dedup_is_filled(d)) {
        claim->needs_recall = true;
        return DEDUP_WAIT;
    }
    found_look(d, claim, now_ms, &f);
    answer = found_answer(&f, claim);
    if (answer == DEDUP_MINE && claim->entry == 0) {
        claim_publish(d, claim, now_ms);
        if (claim->entry == 0)
            return DEDUP_UNTRACKED;
        found_look(d, claim, now_ms, &f);
        answer = found_answer(&f, claim);
    }
    if (answer != DEDUP_MINE) {
        claim_withdraw(d, claim);
        return answer;
    }
    if (f.tied)
        return DEDUP_WAIT;
    slot = &d->table->slots[claim->entry - 1];
    atomic_store_explicit(&slot->head,
                          head_with(atomic_load_explicit(&slot->head, memory_order_relaxed),
                                    d->owner, DEDUP_STATE_UNDER_WAY),
                          memory_order_release);
    return DEDUP_MINE;
}
