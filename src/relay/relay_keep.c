/* What the relay keeps on disk, what it tells of itself, and what need not be kept any more. */
#include "relay/relay_state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SAVE_AGAIN_US 1000000 /* after a failure */
#define TELL_US       500000
#define RETAIN_US     2000000  /* between two turns */
#define BACKOFF_US    10000000 /* of the master, at most */

uint64_t
relay_needs_us(const struct config *config)
{
    return PUBLISHER_TRIES * config->relay.number[OPTION_NATS_TIMEOUT] + RELAY_SAVE_US +
           BACKOFF_US + config->ready_timeout_us;
}

void
relay_note_error(struct relay *r, const char *text)
{
    r->told.error_us = clock_real_us();
    snprintf(r->told.error, sizeof(r->told.error), "%s", text);
}

void
relay_complain(struct relay *r, const char *fmt, ...)
{
    char text[sizeof(r->told.error)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_line(LOG_relay_stalled, "%s", text);
    relay_note_error(r, text);
}

/* --- the position --- */

void
relay_save(struct relay *r)
{
    bool failed = follow_save(r->follow) < 0;

    if (failed && !r->is_unsaved)
        relay_complain(r, "the position cannot be saved, and the one before counts: %s",
                       strerror(errno));
    if (!failed && r->is_unsaved)
        log_line(LOG_position_saved, "the position is saved again");
    r->is_unsaved = failed;
    r->saved_us = clock_mono_us();
}

/* --- what it tells --- */

/* The stream may be changed by others at any time, and is looked at again with each connection. */
static void
relay_look_at_window(struct relay *r)
{
    uint64_t window_us = publisher_stream(r->publisher)->duplicates_us;

    if (!publisher_is_ready(r->publisher) || window_us == r->told.window_us)
        return;
    r->told.window_us = window_us;
    if (window_us < r->told.needs_us)
        log_line(LOG_window_too_short,
                 "stream %s remembers ids for %.3g s, and a restart at the worst moment takes "
                 "%.3g s: then it may have a record twice; give it a larger duplicate window",
                 r->target.config.stream, (double)window_us / 1e6, (double)r->told.needs_us / 1e6);
}

/* The time of ids as that of the wall clock, which may have been set since; 0 stays 0. */
static uint64_t
relay_wall_us(const struct relay *r, uint64_t id_us)
{
    uint64_t now_us = clock_id_us(r->child->id_offset_us), real_us = clock_real_us();
    uint64_t age_us = now_us > id_us ? now_us - id_us : 0;

    return id_us == 0 ? 0 : real_us > age_us ? real_us - age_us : 1;
}

static void
relay_tell(struct relay *r, uint64_t now_us)
{
    uint64_t relayed = atomic_load(&r->stats.block->counters.relayed);
    const char *trouble = publisher_trouble(r->publisher);
    struct follow_lag lag = {.counting = r->is_shut_out};

    if (r->follow != NULL)
        follow_lag(r->follow, &lag);
    memcpy(r->told.id, lag.newest, sizeof(lag.newest));
    r->told.records = lag.records;
    r->told.bytes = lag.bytes;
    r->told.oldest_us = relay_wall_us(r, lag.oldest_us);
    r->told.counting = lag.counting;
    r->told.lost_bytes = lag.lost_bytes;
    if (r->told_us != 0)
        r->told.rate = (relayed - r->told_relayed) * 1000000 / (now_us - r->told_us);
    if (trouble[0] != '\0' || r->stalls > 0)
        relay_note_error(r, trouble[0] != '\0' ? trouble : r->stalled_by);
    r->told_us = now_us;
    r->told_relayed = relayed;
    relay_look_at_window(r);
    stats_writer_relay(&r->stats, &r->told);
}

/* --- what is removed --- */

/* In the helper's thread. */
static void
relay_retain_run(struct helper_job *job)
{
    struct relay *r = job->arg;

    r->retain_error = retain_run(&r->retain, &r->tally) < 0 ? errno : 0;
}

static void
relay_retain_done(struct helper_job *job)
{
    struct relay *r = job->arg;

    r->is_retaining = false;
    free(r->finished.segments);
    if (r->tally.segments > 0)
        log_line(LOG_retained, "removed %llu relayed segments, %llu files and blobs: %llu bytes",
                 (unsigned long long)r->tally.segments, (unsigned long long)r->tally.bodies,
                 (unsigned long long)r->tally.bytes);
    if (r->retain_error != 0 && r->retain_error != EBUSY)
        relay_complain(r, "what was relayed cannot be removed: %s", strerror(r->retain_error));
}

static void
relay_retain(struct relay *r, uint64_t now_us)
{
    const struct config *config = r->config;

    if (!config->retain_relayed || r->is_retaining || r->is_leaving || now_us < r->retain_us)
        return;
    r->retain_us = now_us + RETAIN_US;
    follow_finished(r->follow, &r->finished);
    r->retain = (struct retain){
        .config = config,
        .ops = r->ops,
        .finished = &r->finished,
        .id_offset_us = r->child->id_offset_us,
        .min_age_us = config->retain_min_us > config->dedup_window_us ? config->retain_min_us
                                                                      : config->dedup_window_us,
        .stop = &r->retain_stop,
    };
    r->retain_job =
        (struct helper_job){.run = relay_retain_run, .done = relay_retain_done, .arg = r};
    r->is_retaining = helper_give(r->helper, &r->retain_job) == 0;
    if (!r->is_retaining) {
        relay_complain(r, "no thread can be started: %s", strerror(errno));
        free(r->finished.segments);
    }
}

void
relay_keep(struct relay *r, uint64_t now_us)
{
    if (r->follow != NULL) {
        if (r->saved_us + (r->is_unsaved ? SAVE_AGAIN_US : RELAY_SAVE_US) <= now_us)
            relay_save(r);
        relay_retain(r, now_us);
    }
    if (r->told_us + (r->told.counting ? RELAY_SAVE_US : TELL_US) <= now_us)
        relay_tell(r, now_us);
}

void
relay_keep_end(struct relay *r)
{
    atomic_store(&r->retain_stop, true);
    helper_destroy(r->helper);
    relay_tell(r, clock_mono_us());
}
