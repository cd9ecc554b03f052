/* The messages of a connection: to the handler and back, and what is counted on the way. */
#include "worker/conn_state.h"

#include "stats/stats_peer.h"

#include <stdlib.h>

/* --- counting --- */

/* The cells that a connection and its worker both count stand at the same offsets. */
#define X(name, help)                                               \
    static_assert(offsetof(struct stats_conn_counters, name) ==     \
                      offsetof(struct stats_worker_counters, name), \
                  "one offset for both");
STATS_CONN_COUNTERS(X)
#undef X

void
conn_add(struct conn *c, size_t cell, uint64_t n)
{
    struct stats_block *block = conn_worker(c)->stats.block;

    if (n == 0)
        return;
    stats_add((_Atomic uint64_t *)((char *)&block->counters + cell), n);
    if (c->slot != NULL)
        stats_add((_Atomic uint64_t *)((char *)&c->slot->counters + cell), n);
}

void
conn_count(struct conn *c, const struct proto_tally *tally)
{
#define CELL(name) conn_add(c, offsetof(struct stats_conn_counters, name), tally->name)
    CELL(acks);
    CELL(nack1);
    CELL(nack2);
    CELL(rej);
    CELL(err);
    CELL(messages);
    CELL(packets);
#undef CELL
}

struct proto_io
conn_io(struct conn *c, struct proto_tally *tally)
{
    struct worker *w = conn_worker(c);

    return (struct proto_io){
        .limits = &c->listener->limits,
        .store = &w->store,
        .answers = &c->answers,
        .message = &c->message,
        .tally = tally,
        .now_us = w->now_us,
        .keep_max = c->listener->handler->keep_max,
        .memory_low = w->store.memory_used > w->store.memory_limit / 2,
    };
}

/* --- to the handler and back --- */

void
conn_submit(struct conn *c, struct message *m)
{
    struct worker *w = conn_worker(c);
    struct worker_handler *wh = c->listener->handler;

    m->owner = c;
    m->place = NULL;
    c->waiting++;
    wh->submitted++;
    w->submitting = m;
    wh->ops->submit(wh->handler, m);
    if (w->submitting == m)
        m->place = answers_reserve(&c->answers, c->listener->proto->held_len);
    w->submitting = NULL;
}

static void
conn_note_latency(struct worker *w, uint64_t begun_us)
{
    if (w->settled_count == w->settled_cap) {
        w->settled_cap = w->settled_cap != 0 ? w->settled_cap * 2 : 256;
        w->settled_begun = realloc(w->settled_begun, w->settled_cap * sizeof(uint64_t));
        MS_ASSERT(w->settled_begun != NULL);
    }
    w->settled_begun[w->settled_count++] = begun_us;
}

void
conn_settle(struct worker *w, struct message *m, const struct verdict *verdict)
{
    struct conn *c = m->owner;
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    c->waiting--;
    c->listener->handler->submitted--;
    if (w->submitting == m)
        w->submitting = NULL;
    if (c->phase != CONN_DEAD)
        c->listener->proto->settle(&io, m->place, m, verdict);
    else
        tally.messages = verdict->outcome == PROTO_COMMITTED;
    conn_count(c, &tally);
    conn_note_latency(w, m->begun_us);
    message_destroy(m);
    conn_touch(c);
}

void
conn_origin(struct worker *w, const struct message *m, struct message_origin *origin_out)
{
    const struct conn *c = m->owner;
    const struct stats_slot *slot = c->slot;

    w->peer[0] = '\0';
    if (slot != NULL)
        stats_peer_format(slot->family, slot->address, slot->port, w->peer);
    *origin_out = (struct message_origin){
        .listener = c->listener->child->config->name,
        .proto = c->listener->proto->name,
        .peer = w->peer,
    };
}
