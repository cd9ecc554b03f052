/* Messages that come again while their first copy is under way: the copy waits for that outcome
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
    struct underway_claim claim;
};

static bool
copies_want(const struct conn *c, const struct message *m)
{
    return m->value_len > 0 && m->has_sha256 && m->error == 0 &&
           !c->listener->handler->ops->keeps_nothing;
}

/* The receipt of the first copy, as far as it is known here. */
static size_t
copies_receipt(const struct message *m, const char *record, char out[256])
{
    char hex[SHA256_HEX_LEN + 1], id[64] = "";

    for (const char *p = record; *p != '\0'; p++)
        if (!((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z')))
            record = "";
    if (*record != '\0')
        snprintf(id, sizeof(id), "\"id\":\"%s\",", record);
    digest_hex(m->sha256, SHA256_LEN, hex);
    return (size_t)snprintf(out, 256,
                            "{%s\"size\":%" PRIu64 ",\"sha256\":\"%s\",\"duplicate\":true}", id,
                            m->size, hex);
}

static void
copies_answer(struct conn *c, struct message *m, const char *record)
{
    char receipt[256];
    struct verdict verdict = {
        .outcome = PROTO_COMMITTED,
        .reply = receipt,
        .reply_len = copies_receipt(m, record, receipt),
        .record = *record != '\0' ? record : NULL,
    };

    stats_add(&conn_worker(c)->stats.block->counters.duplicates, 1);
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

/* Acts on an answer that is not UNDERWAY_WAIT. */
static void
copies_settle(struct conn *c, struct message *m, enum underway_answer answer,
              const struct underway_claim *claim)
{
    switch (answer) {
    case UNDERWAY_UNTRACKED:
        stats_add(&conn_worker(c)->stats.block->counters.untracked, 1);
        conn_give(c, m);
        break;
    case UNDERWAY_MINE:
        m->underway = claim->entry;
        conn_give(c, m);
        break;
    case UNDERWAY_COMMITTED:
        copies_answer(c, m, claim->record);
        break;
    case UNDERWAY_OTHER:
        copies_refuse(c, m);
        break;
    case UNDERWAY_WAIT:
        break;
    }
}

static void
copies_hold(struct conn *c, struct message *m, const struct underway_claim *claim)
{
    struct worker *w = conn_worker(c);
    struct copy *copy = ms_calloc(1, sizeof(*copy));

    if (copy == NULL) {
        ms_memory_forget();
        underway_end(w->underway, claim->entry, false, NULL, 0);
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

void
conn_take(struct conn *c, struct message *m)
{
    struct underway_claim claim = {
        .is_file = m->kind == MESSAGE_FILE,
        .conn = (uintptr_t)c,
        .begun_us = m->begun_us,
    };
    enum underway_answer answer;

    if (!copies_want(c, m)) {
        conn_give(c, m);
        return;
    }
    memcpy(claim.sha256, m->sha256, SHA256_LEN);
    underway_name(conn_worker(c)->underway, c->listener->child->stats_id, m->value, m->value_len,
                  &claim);
    answer = underway_ask(conn_worker(c)->underway, &claim);
    if (answer == UNDERWAY_WAIT)
        copies_hold(c, m, &claim);
    else
        copies_settle(c, m, answer, &claim);
}

/* It waits no longer. Returns its message; the claim stays in *claim_out. */
static struct message *
copies_release(struct worker *w, struct copy *copy, struct underway_claim *claim_out)
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
    struct underway_claim claim;
    struct message *m = copies_release(w, copy, &claim);

    underway_end(w->underway, claim.entry, false, NULL, 0);
    message_destroy(m);
}

/* Asks again about one copy. */
static void
copies_look(struct worker *w, struct copy *copy)
{
    struct underway_claim claim;
    struct message *m = copy->message;
    enum underway_answer answer = underway_ask(w->underway, &copy->claim);

    if (answer == UNDERWAY_WAIT) {
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
        struct underway_claim claim;
        struct message *m = copies_release(w, copy, &claim);
        enum underway_answer answer = underway_ask(w->underway, &claim);

        if (answer == UNDERWAY_COMMITTED) {
            copies_answer(m->owner, m, claim.record);
            continue;
        }
        underway_end(w->underway, claim.entry, false, NULL, 0);
        conn_answer_here(m->owner, m,
                         &(struct verdict){.outcome = PROTO_FAILED,
                                           .text = "the server leaves: send the message again"});
    }
}
