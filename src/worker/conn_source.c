/* A connection and its source: who is let in, and what is counted for whom. A worker in another
 * program has no table of sources; there only the rules decide. */
#include "worker/conn.h"

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
static const struct conn_refusal share_is_used = {
    .code = "busy",
    .text = "too many connections from where you are; close some, or try again later",
};

/* Do the listener's rules let it in? */
static bool
source_is_allowed(const struct listener_config *config, const struct source *source)
{
    if (source_rules_match(&config->deny, source))
        return false;
    return config->allow.count == 0 || source_rules_match(&config->allow, source);
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

/* Why its source, which has this connection already, keeps it out; NULL: it does not. */
static const struct conn_refusal *
source_refusal(const struct worker *w, const struct conn_source *source)
{
    struct stats_worker_counters *counters = &w->stats.block->counters;
    struct sources_sum sum;

    if (source->is_exempt)
        return NULL;
    sources_look_at(w->sources, source->row, &sum);
    if (sum.open <= w->config->source_connections)
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
    if (stats_writer_open_total(&w->stats) >= w->config->max_connections)
        return &too_many;
    if (!conn_source_begin(w, source, out)) {
        stats_add(&w->stats.block->counters.unplaced, 1);
        return &no_room;
    }
    why = source_refusal(w, out);
    if (why != NULL)
        conn_source_end(w, out);
    return why;
}
