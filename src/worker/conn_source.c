/* A connection and its source: who is let in, and what is counted for whom. A worker in another
 * program has no table of sources; there only the rules decide. */
#include "worker/conn.h"

#include <stdio.h>

static const struct conn_refusal too_many = {
    .code = "busy",
    .text = "too many connections; try again later",
};
static const struct conn_refusal not_allowed = {
    .code = "denied",
    .text = "you may not connect from where you are",
};
static const struct conn_refusal no_room = {
    .code = "busy",
    .text = "too many others are connected; try again later",
};
static const struct conn_refusal no_descriptor = {
    .code = "busy",
    .text = "the server is out of descriptors; try again later",
};
static const struct conn_refusal share_is_used = {
    .code = "busy",
    .text = "too many connections from where you are; close some, or try again later",
};

static const struct conn_refusal trouble = {
    .code = "busy",
    .text = "you have made trouble here; you may connect again",
};

/* Do the listener's rules let it in? */
static bool
source_is_allowed(const struct listener_config *config, const struct source *source)
{
    if (source_rules_match(&config->deny, source))
        return false;
    return config->allow.count == 0 || source_rules_match(&config->allow, source) ||
           source_rules_have_names(&config->allow); /* decided when it has said who it is */
}

static bool
source_is_exempt(const struct worker *w, const struct source *source)
{
    return w->sources == NULL || source->kind == SOURCE_NONE ||
           source_rules_match(&w->config->exempt, source);
}

bool
conn_source_begin(struct worker *w, const struct source *source, struct conn_source *out)
{
    *out = (struct conn_source){.is_exempt = source_is_exempt(w, source)};
    if (w->sources == NULL)
        return true;
    out->row = sources_enter(w->sources, source);
    stats_add(&w->stats.block->counters.forgotten, sources_take_forgotten(w->sources));
    return out->row != 0 || out->is_exempt;
}

void
conn_source_end(struct worker *w, struct conn_source *source)
{
    if (source->row != 0)
        sources_leave(w->sources, source->row);
    source->row = 0;
}

/* More than source_connections, or a quarter of all while connections hold much memory. */
static bool
source_has_its_share(const struct worker *w, uint64_t open)
{
    return open > w->config->source_connections ||
           (ledger_is_occupied(&w->store.ledger) && open > stats_writer_open_total(&w->stats) / 4);
}

/* Why its source, which has this connection already, keeps it out; NULL: it does not. */
static const struct conn_refusal *
source_refusal(const struct worker *w, struct conn_source *source)
{
    struct stats_worker_counters *counters = &w->stats.block->counters;
    struct sources_sum sum;

    if (source->is_exempt)
        return NULL;
    sources_look(w->sources, source->row, &sum);
    source->wait_s = sum.wait_s;
    if (sum.wait_s > 0) {
        stats_add(&counters->penalized, 1);
        return &trouble;
    }
    if (!source_has_its_share(w, sum.open))
        return NULL;
    stats_add(&counters->crowded, 1);
    return &share_is_used;
}

const struct conn_refusal *
conn_admit(const struct worker_listener *l, const struct source *source, struct conn_source *out)
{
    struct worker *w = l->worker;
    const struct conn_refusal *why;

    if (!source_is_allowed(l->child->config, source)) {
        stats_add(&w->stats.block->counters.denied, 1);
        return &not_allowed;
    }
    /* Whoever is connected holds memory and a descriptor until it leaves: messages need the
     * rest. */
    if (stats_writer_open_total(&w->stats) >= w->config->max_connections ||
        ledger_is_fully_occupied(&w->store.ledger))
        return &too_many;
    if (ledger_is_crowded(&w->store.ledger)) {
        accept_say_full(w);
        return &no_descriptor;
    }
    if (!conn_source_begin(w, source, out)) {
        stats_add(&w->stats.block->counters.unplaced, 1);
        return &no_room;
    }
    out->is_allowed =
        l->child->config->allow.count == 0 || source_rules_match(&l->child->config->allow, source);
    why = source_refusal(w, out);
    if (why != NULL)
        conn_source_end(w, out);
    return why;
}

static bool
name_is_allowed(const struct conn *c)
{
    const struct listener_config *config = c->listener->child->config;

    if (c->identity == NULL)
        return c->source.is_allowed;
    return !source_rules_match_name(&config->deny, c->identity) &&
           (c->source.is_allowed || source_rules_match_name(&config->allow, c->identity));
}

/* One that has no room in the table goes on counting for its address. */
const struct conn_refusal *
conn_admit_name(struct conn *c)
{
    struct worker *w = conn_worker(c);
    struct conn_source named;
    struct source source;

    if (!name_is_allowed(c)) {
        stats_add(&w->stats.block->counters.denied, 1);
        return &not_allowed;
    }
    if (c->identity == NULL)
        return NULL;
    source = source_of_name(c->identity);
    if (!conn_source_begin(w, &source, &named))
        return NULL;
    named.is_exempt |=
        c->source.is_exempt || source_rules_match_name(&w->config->exempt, c->identity);
    conn_source_end(w, &c->source);
    c->source = named;
    return source_refusal(w, &c->source);
}

void
conn_admit_window(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (!conn_is_serving(c) || !ledger_is_fully_occupied(&w->store.ledger))
        return;
    stats_add(&w->stats.block->counters.refused, 1);
    conn_expel(c, &too_many, 0);
}

/* --- how fast --- */

/* A message that has begun goes on, or its time would run out. */
bool
conn_may_send(struct conn *c)
{
    struct worker *w = conn_worker(c);
    uint32_t rate = w->config->source_rate;

    if (rate == 0 || c->source.row == 0 || c->source.is_exempt || !c->proto->idle(&c->state) ||
        sources_may_send(w->sources, c->source.row, rate))
        return true;
    c->is_throttled = true;
    stats_add(&w->stats.block->counters.throttled, 1);
    timer_set(&w->wheel, &w->rate_timer, (w->now_us / 1000000 + 1) * 1000000);
    return false;
}

void
conn_send_again(struct worker *w)
{
    struct conn *c = TAILQ_FIRST(&w->paused);

    /* Another one is the first each time, so that each connection of a source has its turn. */
    if (c != NULL) {
        TAILQ_REMOVE(&w->paused, c, paused);
        TAILQ_INSERT_TAIL(&w->paused, c, paused);
    }
    for (c = w->conns; c != NULL; c = c->next)
        c->is_throttled = false;
    for (c = TAILQ_FIRST(&w->paused); c != NULL; c = TAILQ_NEXT(c, paused))
        conn_touch(c);
}

/* --- trouble --- */

void
conn_blame(struct conn *c, enum stats_blame what, unsigned n)
{
    struct worker *w = conn_worker(c);
    char text[128];

    if (n == 0 || c->source.row == 0 || c->source.is_exempt ||
        !sources_blame(w->sources, c->source.row, what, n))
        return;
    stats_add(&w->stats.block->counters.penalties, 1);
    conn_record(c, STATS_EVENT_penalty, what, NULL);
    snprintf(text, sizeof(text), "is turned away for a while: %s", stats_blame_words(what));
    conn_say(c, LOG_source_penalty, "the source of a connection", text);
}

uint32_t
conn_note(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    stats_reading(&w->stats, 0, c->slot);
    if (w->sources == NULL)
        return 0;
    return sources_note(w->sources, 0, c->source.is_exempt ? 0 : c->source.row);
}

void
conn_unnote(const struct worker *w, uint32_t before)
{
    stats_reading(&w->stats, 0, w->reading != NULL ? w->reading->slot : NULL);
    if (w->sources != NULL)
        (void)sources_note(w->sources, 0, before);
}

/* Only of sources that are connected elsewhere as well: the connection that did it died with its
 * worker. */
void
conn_mind_crashes(struct worker *w)
{
    uint32_t crashes = sources_crashes(w->sources);

    if (crashes == w->crashes)
        return;
    w->crashes = crashes;
    for (struct conn *c = w->conns; c != NULL; c = c->next) {
        uint32_t wait_s = 0;

        if (c->source.row != 0 && !c->source.is_exempt && conn_is_serving(c))
            wait_s = sources_crash_wait(w->sources, c->source.row);
        if (wait_s > 0)
            conn_expel(c, &trouble, wait_s);
    }
}
