/* Messages that come again: a copy waits for the outcome of the first one, or is answered by it
 * (docs/protocol.md 1.9). Nothing behind a copy that waits is read from its connection, so what the
 * handler sees keeps its order, and each connection makes the worker hold one copy. Invariant: a
 * copy that waits counts among the messages of its connection, but not of its handler. */
#include "worker/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define COPIES_LOOK_US 20000 /* how often to ask what became of the first copies */
#define COPIES_AT_ONCE 512   /* so many of them */

struct copy {
    TAILQ_ENTRY(copy) link;
    struct message *message;
    struct dedup_claim claim;
};

static bool
copies_want(const struct conn *c, const struct message *m)
{
    return m->value_len > 0 && m->has_sha256 && m->error == 0 && c->listener->dedup_window_ms > 0;
}

/* The time of ids, taken once a turn. */
static uint64_t
copies_now_ms(struct worker *w)
{
    if (w->id_us != w->now_us) {
        w->id_us = w->now_us;
        w->id_ms = clock_id_us(w->child->id_offset_us) / 1000;
    }
    return w->id_ms;
}

void
conn_end_claim(struct worker *w, uint32_t entry, const struct verdict *verdict)
{
    if (entry == 0)
        return;
    if (verdict->outcome == PROTO_COMMITTED)
        dedup_commit(w->dedup, entry, verdict->memo, copies_now_ms(w));
    else
        dedup_release(w->dedup, entry);
}

static enum dedup_answer
copies_ask(struct conn *c, struct dedup_claim *claim)
{
    struct worker *w = conn_worker(c);
    enum dedup_answer answer = dedup_ask(w->dedup, claim, copies_now_ms(w));
    uint64_t evicted = dedup_take_evicted(w->dedup);

    if (evicted > 0)
        stats_add(&w->stats.block->counters.evicted, evicted);
    if (answer == DEDUP_WAIT && claim->needs_recall)
        c->listener->handler->ops->recall(c->listener->handler->handler);
    return answer;
}

/* The receipt of the first copy again. */
static const void *
copies_receipt(const struct conn *c, const struct message *m, const uint8_t *memo, char out[256],
               size_t *n_out)
{
    static const uint8_t none[DEDUP_MEMO_LEN];
    const struct worker_handler *wh = c->listener->handler;
    char hex[SHA256_HEX_LEN + 1];

    if (wh->ops->again != NULL && memcmp(memo, none, sizeof(none)) != 0)
        return wh->ops->again(wh->handler, m, memo, n_out);
    digest_hex(m->sha256, SHA256_LEN, hex);
    *n_out = (size_t)snprintf(
        out, 256, "{\"size\":%" PRIu64 ",\"sha256\":\"%s\",\"duplicate\":true}", m->size, hex);
    return out;
}

static void
copies_answer(struct conn *c, struct message *m, const uint8_t memo[DEDUP_MEMO_LEN])
{
    struct verdict verdict = {.outcome = PROTO_COMMITTED};
    char receipt[256];

    CONN_ADD(c, duplicates, 1);
    if (c->listener->handler->ops->only_replies) {
        conn_give(c, m);
        return;
    }
    if (m->wants_reply)
        verdict.reply = copies_receipt(c, m, memo, receipt, &verdict.reply_len);
    conn_answer_here(c, m, &verdict);
}

static void
copies_refuse(struct conn *c, struct message *m)
{
    conn_answer_here(c, m,
                     &(struct verdict){.outcome = PROTO_REFUSED,
                                       .code = "id-reused",
                                       .text = "another message was committed under this id"});
}

/* Acts on an answer that is not DEDUP_WAIT. */
static void
copies_settle(struct conn *c, struct message *m, enum dedup_answer answer,
              const struct dedup_claim *claim)
{
    switch (answer) {
    case DEDUP_UNTRACKED:
        stats_add(&conn_worker(c)->stats.block->counters.untracked, 1);
        conn_give(c, m);
        break;
    case DEDUP_MINE:
        m->dedup = claim->entry;
        conn_give(c, m);
        break;
    case DEDUP_COMMITTED:
        copies_answer(c, m, claim->memo);
        break;
    case DEDUP_OTHER:
        copies_refuse(c, m);
        break;
    case DEDUP_WAIT:
        break;
    }
}

static void
copies_hold(struct conn *c, struct message *m, const struct dedup_claim *claim)
{
    struct worker *w = conn_worker(c);
    struct copy *copy = ms_calloc(1, sizeof(*copy));

    if (copy == NULL) {
        ms_memory_forget();
        dedup_release(w->dedup, claim->entry);
        conn_answer_here(c, m,
                         &(struct verdict){.outcome = PROTO_FAILED,
                                           .text = "there is no memory for a second copy"});
        return;
    }
    m->owner = c;
    copy->message = m;
    copy->claim = *claim;
    c->is_held = true;
    c->waiting++;
    TAILQ_INSERT_TAIL(&w->copies, copy, link);
    timer_set(&w->wheel, &w->copies_timer, w->now_us + COPIES_LOOK_US);
}

static uint64_t
copies_name(const struct conn *c, bool is_file, const void *value, size_t n)
{
    return dedup_name(conn_worker(c)->dedup, c->listener->dedup_scope, is_file, c->identity, value,
                      n);
}

void
conn_foresee(void *arg, struct message *m, enum message_kind kind, const void *value, size_t n)
{
    m->name = copies_name(arg, kind == MESSAGE_FILE, value, n);
}

void
conn_take(struct conn *c, struct message *m)
{
    struct dedup_claim claim = {
        .conn = (uintptr_t)c,
        .window_ms = c->listener->dedup_window_ms,
        .is_file = m->kind == MESSAGE_FILE,
        .lasts = c->listener->handler->ops->recall != NULL,
    };
    enum dedup_answer answer;

    if (!copies_want(c, m)) {
        conn_give(c, m);
        return;
    }
    claim.name = m->name != 0 ? m->name : copies_name(c, claim.is_file, m->value, m->value_len);
    memcpy(claim.sha256, m->sha256, SHA256_LEN);
    answer = copies_ask(c, &claim);
    if (answer == DEDUP_WAIT)
        copies_hold(c, m, &claim);
    else
        copies_settle(c, m, answer, &claim);
}

/* It waits no longer. Returns its message; the claim stays in *claim_out. */
static struct message *
copies_release(struct worker *w, struct copy *copy, struct dedup_claim *claim_out)
{
    struct message *m = copy->message;
    struct conn *c = m->owner;

    *claim_out = copy->claim;
    TAILQ_REMOVE(&w->copies, copy, link);
    free(copy);
    c->is_held = false;
    c->waiting--;
    conn_touch(c);
    return m;
}

/* A sender that has gone meanwhile got no final answer, so it sends the message again. */
static void
copies_drop(struct worker *w, struct copy *copy)
{
    struct dedup_claim claim;
    struct message *m = copies_release(w, copy, &claim);

    dedup_release(w->dedup, claim.entry);
    message_destroy(m);
}

/* Asks again about one copy. */
static void
copies_look(struct worker *w, struct copy *copy)
{
    struct dedup_claim claim;
    struct message *m = copy->message;
    enum dedup_answer answer = copies_ask(m->owner, &copy->claim);

    if (answer == DEDUP_WAIT) {
        TAILQ_REMOVE(&w->copies, copy, link);
        TAILQ_INSERT_TAIL(&w->copies, copy, link);
        return;
    }
    m = copies_release(w, copy, &claim);
    copies_settle(m->owner, m, answer, &claim);
}

void
conn_look_at_copies(struct worker *w)
{
    struct copy *copy, *last = TAILQ_LAST(&w->copies, copies);

    for (unsigned i = 0; i < COPIES_AT_ONCE && (copy = TAILQ_FIRST(&w->copies)) != NULL; i++) {
        bool is_last = copy == last;

        if (((struct conn *)copy->message->owner)->phase == CONN_DEAD)
            copies_drop(w, copy);
        else
            copies_look(w, copy);
        if (is_last)
            break;
    }
    if (!TAILQ_EMPTY(&w->copies))
        timer_set(&w->wheel, &w->copies_timer, w->now_us + COPIES_LOOK_US);
}

void
conn_end_copies(struct worker *w)
{
    struct copy *copy;

    while ((copy = TAILQ_FIRST(&w->copies)) != NULL) {
        struct dedup_claim claim;
        struct message *m = copies_release(w, copy, &claim);
        enum dedup_answer answer = copies_ask(m->owner, &claim);

        if (answer == DEDUP_COMMITTED) {
            copies_answer(m->owner, m, claim.memo);
            continue;
        }
        dedup_release(w->dedup, claim.entry);
        conn_answer_here(m->owner, m,
                         &(struct verdict){.outcome = PROTO_FAILED,
                                           .text = "the server leaves: send the message again"});
    }
}
