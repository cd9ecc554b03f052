/* The end of a turn of a connection, or of its time: ready bytes are sent, and the next phase
 * begins. */
#include "common/log.h"
#include "worker/conn.h"
#include "worker/worker_state.h"

#define MOVE_AGAIN_US 10000 /* how soon to try again to give a connection away */
/* for a peer to read all that waits for it, when memory is short */
#define EVICT_AFTER_US 2000000
#define EVICT_RATE     262144 /* bytes a second that it has to take then */
#define EVICT_SAY_US   10000000
#define FIRST_WORD_US  1000000 /* for a new connection to send something while we drain */
#define HOLD_US        5000    /* for answers to leave together */
#define HOLD_WAITING   8       /* while more messages of the connection wait than that, */
#define HOLD_SHARE     4       /* and so many times as many of all */

/* Nothing is under way in either direction; pushes may wait for a peer that has not sent a byte
 * yet. */
static bool
conn_at_rest(const struct conn *c)
{
    return c->waiting == 0 && c->unfed.len == 0 && answers_idle(&c->answers) &&
           c->outbox.reserved_first == NULL && packet_window_idle(c->window_held) &&
           c->proto->idle(&c->state);
}

static bool
conn_between_messages(const struct conn *c)
{
    return conn_at_rest(c) && outbox_idle(&c->outbox);
}

/* Connected just now and silent so far: its first message is on its way, most likely. */
static uint64_t
conn_first_word_until(const struct conn *c)
{
    bool silent = c->slot != NULL && atomic_load(&c->slot->counters.bytes_in) == 0;

    return silent ? c->slot->began_us + FIRST_WORD_US : 0;
}

bool
conn_awaits_move(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    return w->draining && c->phase == CONN_SERVING && !c->peer_done && c->unfed.len == 0 &&
           c->proto->idle(&c->state) && packet_window_idle(c->window_held) &&
           handover_wanted(c->listener, c->proto);
}

static enum stats_conn_state
conn_state(const struct conn *c)
{
    if (!conn_is_serving(c))
        return STATS_CONN_CLOSING;
    if (c->waiting > 0)
        return STATS_CONN_COMMITTING;
    return c->proto->idle(&c->state) ? STATS_CONN_IDLE : STATS_CONN_RECEIVING;
}

static void
conn_show_state(struct conn *c)
{
    const uint8_t state = (uint8_t)conn_state(c);

    if (state == atomic_load_explicit(&c->slot->state, memory_order_relaxed))
        return;
    atomic_store_explicit(&c->slot->state, state, memory_order_relaxed);
    conn_record(c, STATS_EVENT_state, state, NULL);
}

static uint64_t
conn_deadline(const struct conn *c)
{
    uint64_t first_word = conn_worker(c)->draining ? conn_first_word_until(c) : 0;

    if (c->send_end_us != 0)
        return c->send_end_us;
    if (c->hold_end_us != 0)
        return c->hold_end_us;
    if (!conn_is_serving(c))
        return c->phase_end_us;
    if (conn_awaits_move(c) && conn_at_rest(c))
        return conn_worker(c)->now_us + MOVE_AGAIN_US;
    /* Our own time, not the peer's: a commit under way, or answers that leave with this turn. */
    if (!chain_is_empty(&c->answers.ready) || c->read_paused || c->peer_done)
        return UINT64_MAX;
    if (c->waiting > 0 && c->proto->idle(&c->state))
        return UINT64_MAX;
    /* One that has moved here is silent so far as well, but it may have been asked for
     * something. */
    if (first_word != 0 && c->proto->idle(&c->state))
        return first_word;
    return c->proto->deadline(&c->state, &c->listener->limits);
}

/* The connection is between messages and is to end: it can be told to go elsewhere. */
static bool
conn_may_leave(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    if (!conn_is_reading(c))
        return false; /* it has left already, and its peer has only so long to close */
    if (c->phase == CONN_LEAVING)
        return conn_between_messages(c);
    return w->draining && conn_at_rest(c) && conn_first_word_until(c) <= w->now_us;
}

static void
conn_leave(struct conn *c)
{
    conn_shutdown(c);
    conn_write(c);
}

static bool
conn_is_discarding(const struct conn *c)
{
    return c->proto->discarding != NULL && c->proto->discarding(&c->state);
}

/* Each answer would be a write of its own, which many senders at a time pay for. One with so many
 * messages here does not miss one answer, and others follow soon. */
static bool
conn_holds_answers(struct conn *c)
{
    const struct worker_handler *wh = c->listener->handler;
    uint64_t now_us = conn_worker(c)->now_us;

    if (!wh->ops->one_by_one || c->waiting <= HOLD_WAITING ||
        wh->submitted < HOLD_SHARE * c->waiting || c->phase != CONN_SERVING || c->answers.ended)
        return false;
    if (c->hold_end_us == 0)
        c->hold_end_us = now_us + HOLD_US;
    return now_us < c->hold_end_us;
}

/* Sends what is ready and goes on to the phase that follows from it. */
static void
conn_advance(struct conn *c)
{
    if (c->phase == CONN_OVERRUN) {
        conn_close(c);
        return;
    }
    /* A NACK leaves when all that it drops has been read, or it would drop the answer to it. */
    if (!chain_is_empty(&c->answers.ready) && !(c->is_unread && conn_is_discarding(c)) &&
        !conn_holds_answers(c))
        conn_write(c);
    if (c->answers.ended)
        conn_begin_closing(c);
    if (conn_awaits_move(c) && conn_at_rest(c))
        conn_move(c);
    else if (conn_may_leave(c))
        conn_leave(c);
    if (c->phase == CONN_DEAD || !chain_is_empty(&c->answers.ready))
        return;
    /* Also where nothing was said last: a close over bytes that nobody has read would destroy what
     * came before. */
    if (c->phase == CONN_CLOSING && (c->answers.ended || c->waiting == 0))
        conn_linger(c);
    else if (conn_is_reading(c) && c->peer_done && c->waiting == 0)
        conn_close_in_order(c);
    if (conn_is_reading(c) && c->read_paused && conn_wants_bytes(c)) {
        conn_resume(c);
        conn_read_later(c);
    }
}

/* What is ready has been written, as far as the peer takes it. */
static void
conn_note_blocked(struct conn *c)
{
    if (conn_queued(c) == 0) {
        c->blocked_us = 0;
    } else if (c->blocked_us == 0) {
        c->blocked_us = conn_worker(c)->now_us;
        c->blocked_sent = 0;
    }
}

static void
conn_finish(struct conn *c)
{
    uint64_t deadline;

    c->fed = 0;
    if (c->phase != CONN_DEAD && conn_is_starved(c))
        conn_end_starved(c);
    if (c->phase != CONN_DEAD)
        conn_advance(c);
    if (c->phase == CONN_DEAD) {
        if (c->waiting == 0 && !c->is_unread && !c->is_touched)
            conn_free(c);
        return;
    }
    conn_note_blocked(c);
    if (c->slot != NULL)
        conn_show_state(c);
    deadline = conn_deadline(c);
    if (deadline != UINT64_MAX)
        timer_set(&conn_worker(c)->wheel, &c->timer, deadline);
}

void
conn_finish_turn(struct worker *w)
{
    struct conn *c;

    while ((c = STAILQ_FIRST(&w->touched)) != NULL) {
        STAILQ_REMOVE_HEAD(&w->touched, touched);
        c->is_touched = false;
        conn_finish(c);
    }
    w->fed = 0;
    w->read = 0;
}

void
conn_timer(struct worker *w, struct timer *timer)
{
    struct conn *c = (struct conn *)((char *)timer - offsetof(struct conn, timer));
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    conn_touch(c);
    if (c->hold_end_us != 0)
        return; /* conn_finish sends them */
    /* Bytes that came while this worker was held up are not late. */
    if (conn_is_reading(c) && conn_deadline(c) <= w->now_us)
        conn_read(c, true);
    if (c->phase == CONN_DEAD || conn_deadline(c) > w->now_us || conn_may_leave(c))
        return; /* pushed back since, or for conn_finish to deal with */
    if (c->phase == CONN_HANDSHAKING) {
        conn_handshake_late(c);
    } else if (!conn_is_serving(c) || c->send_end_us != 0) {
        conn_close(c);
    } else {
        bool receiving = conn_is_receiving(c);
        enum proto_event event = c->proto->expire(&c->state, &io);

        if (receiving && (event == PROTO_CLOSE || c->answers.ended))
            conn_note_late(c);
        else if (tally.err > 0 && tally.unknown == 0)
            conn_blame(c, STATS_BLAME_late, 1);
        conn_happened(c, event, &io);
    }
    conn_count(c, &tally);
}

/* --- all of them --- */

/* Something has been waiting for a while, and the peer takes little of it. */
static bool
conn_reads_slowly(const struct conn *c)
{
    uint64_t since_us = conn_worker(c)->now_us - c->blocked_us;

    return c->blocked_us != 0 && since_us >= EVICT_AFTER_US &&
           c->blocked_sent < since_us / 1000000 * EVICT_RATE;
}

/* Memory that it holds for its peer: what that has not read, and what it has sent behind it. */
static size_t
conn_held(const struct conn *c)
{
    return conn_queued(c) - (size_t)c->answers.ready.filed + c->unfed.cap;
}

/* Of the peers that read slowly, or have sent more than source_rate lets be looked at now, or
 * (hard) of all, the one for which the most is held. */
static struct conn *
conn_slowest(struct worker *w, bool hard)
{
    struct conn *slowest = NULL;

    for (struct conn *c = w->conns; c != NULL; c = c->next) {
        if (c->phase == CONN_DEAD || conn_held(c) == 0 ||
            !(hard || conn_reads_slowly(c) || c->is_throttled))
            continue;
        if (slowest == NULL || conn_held(c) > conn_held(slowest))
            slowest = c;
    }
    return slowest;
}

static void
conn_say_evicted(struct worker *w, const char *who)
{
    if (w->evicted_said_us != 0 && w->now_us < w->evicted_said_us + EVICT_SAY_US)
        return;
    w->evicted_said_us = w->now_us;
    log_line(LOG_memory_full, "worker_memory_max is reached: %s are closed", who);
}

static void
conn_evict(struct worker *w)
{
    const struct ledger *l = &w->store.ledger;
    struct conn *c;

    /* With room for what the next turn brings, or those who wait to be read would find none. */
    while (l->used > l->max / 16 * 15 && (c = TAILQ_FIRST(&w->unknown)) != NULL) {
        conn_say_evicted(w, "connections that do not say what they speak");
        stats_add(&w->stats.block->counters.refused, 1);
        CONN_ADD(c, err, 1);
        conn_set_unknown(c, false);
        conn_begin_closing(c);
    }
    while (ledger_is_full(l) && (c = conn_slowest(w, l->used > l->max + l->max / 4)) != NULL) {
        conn_say_evicted(w, "peers that leave the most unread");
        CONN_ADD(c, err, 1);
        conn_blame(c, STATS_BLAME_late, conn_reads_slowly(c));
        conn_close(c);
    }
    conn_finish_turn(w);
}

void
conn_mind_memory(struct worker *w)
{
    const struct ledger *l = &w->store.ledger;
    struct conn *c;

    if (ledger_is_full(l))
        conn_evict(w);
    if (!(w->paused_by_memory && !ledger_is_full(l)) &&
        !(w->paused_by_scarcity && !ledger_is_scarce(l)) &&
        !(w->paused_by_files && !ledger_is_out_of_files(l)))
        return;
    w->paused_by_memory = w->paused_by_scarcity = w->paused_by_files = false;
    for (c = TAILQ_FIRST(&w->paused); c != NULL; c = TAILQ_NEXT(c, paused))
        conn_touch(c); /* all of them: who comes to wait again does so behind the others */
    conn_finish_turn(w);
}

void
conn_drain_all(struct worker *w, bool force)
{
    for (struct conn *c = w->conns; c != NULL; c = c->next) {
        if (!conn_is_reading(c))
            continue;
        if (force)
            conn_shutdown(c);
        else
            conn_read(c, true); /* a message that is here already is taken */
        conn_touch(c);
    }
}

void
conn_close_all(struct worker *w)
{
    TAILQ_INIT(&w->unread); /* nothing is read any more */
    for (struct conn *c = w->conns; c != NULL; c = c->next) {
        c->is_unread = false;
        if (c->phase != CONN_DEAD)
            conn_close(c);
        conn_touch(c);
    }
}
