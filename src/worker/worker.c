/* The loop of a worker. A turn deals with events, then with timers, then with what handlers
 * hold, and then answers leave. */
#include "worker/worker.h"

#include "common/kernel.h"
#include "worker/conn.h"
#include "worker/worker_state.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define WORKER_WINDOW_US 10000 /* how far back "busy" looks */
#define WORKER_WAIT_MS   60000
#define TRIM_SHARE       8 /* an eighth of the memory, once it is free, goes back to the kernel */

#define SAY_US  10000000 /* in so long a time */
#define SAY_MAX 10       /* so many lines are written about what others do */

bool
worker_may_say(struct worker *w, char more_out[WORKER_MORE_LEN])
{
    more_out[0] = '\0';
    if (w->now_us >= w->said_us + SAY_US) {
        w->said_us = w->now_us;
        w->said = 0;
    }
    if (w->said == SAY_MAX) {
        w->unsaid++;
        return false;
    }
    w->said++;
    if (w->unsaid > 0)
        snprintf(more_out, WORKER_MORE_LEN, "; %" PRIu64 " more were not logged", w->unsaid);
    w->unsaid = 0;
    return true;
}

void
worker_drain(struct worker *w, const char *why)
{
    if (w->draining)
        return;
    log_to(w->setup->log);
    log_line(LOG_draining, "draining %u connections: %s", w->conn_count, why);
    stats_record(&w->stats, STATS_EVENT_draining, NULL, w->now_us, 0, NULL);
    w->draining = true;
    w->drain_end_us = w->now_us + w->config->drain_timeout_us;
    accept_stop(w);
    handover_stop(w);
    conn_drain_all(w, false);
}

/* --- the loop --- */

void
worker_mind_clock(struct worker *w)
{
    if (w->clock_is_old)
        w->now_us = clock_mono_us();
    w->clock_is_old = false;
}

static void
worker_advance_clock(struct worker *w)
{
    w->clock_is_old = true;
    worker_mind_clock(w);
    if (w->sources != NULL)
        sources_set_time(w->sources, w->now_us);
    if (w->now_us < w->window_end_us)
        return;
    w->window++;
    w->window_end_us = w->now_us + WORKER_WINDOW_US;
    w->busy_before = w->busy_now;
    w->busy_now = 0;
}

/* Gives memory back that was used a while ago: what peers held between other things would stay with
 * this process for as long as it lives. It takes a millisecond for each 10 MiB or so. */
static void
worker_trim(struct worker *w)
{
    if (w->memory_lately + w->store.ledger.max / TRIM_SHARE < w->memory_peak) {
        malloc_trim(0);
        w->memory_peak = 0;
    }
    if (w->memory_peak < w->memory_lately)
        w->memory_peak = w->memory_lately;
    w->memory_lately = 0;
}

static void
worker_tick(struct worker *w)
{
    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->tick != NULL)
            w->handlers[i].ops->tick(w->handlers[i].handler, w->now_us);
    if (w->sources != NULL)
        sources_publish(w->sources);
    worker_trim(w);
    accept_look(w);
    timer_set(&w->wheel, &w->tick_timer, w->now_us + WORKER_TICK_US);
}

static void
worker_timers(struct worker *w)
{
    struct timer *timer;

    while ((timer = timer_due(&w->wheel, w->now_us)) != NULL) {
        if (timer == &w->park_timer) {
            accept_unpark(w);
        } else if (timer == &w->handover_timer) {
            handover_again(w);
        } else if (timer == &w->rate_timer) {
            conn_send_again(w);
        } else if (timer == &w->copies_timer) {
            conn_look_at_copies(w);
        } else if (timer == &w->proxied_timer) {
            proxied_expire(w, false);
        } else if (timer == &w->tick_timer) {
            worker_tick(w);
        } else {
            conn_timer(w, timer);
        }
    }
}

static void
worker_flush_handlers(struct worker *w)
{
    unsigned busy = w->busy_now > w->busy_before ? w->busy_now : w->busy_before;

    w->flush_us = 0;
    for (unsigned i = 0; i < w->handler_count; i++) {
        struct worker_handler *wh = &w->handlers[i];
        uint64_t again_us;

        if (wh->submitted == 0 || wh->ops->flush == NULL)
            continue;
        w->clock_is_old = true;
        again_us = wh->ops->flush(wh->handler, busy > wh->submitted ? busy - wh->submitted : 0);
        if (again_us != 0 && (w->flush_us == 0 || again_us < w->flush_us))
            w->flush_us = again_us;
    }
}

static void
worker_record_latencies(struct worker *w)
{
    uint64_t now;

    if (w->settled_count == 0)
        return;
    now = clock_mono_us();
    for (size_t i = 0; i < w->settled_count; i++)
        stats_latency(w->stats.block, now - w->settled_begun[i]);
    w->settled_count = 0;
}

/* Waits for events; to the microsecond where a handler holds messages back. */
static int
worker_wait(struct worker *w, struct epoll_event events[WORKER_EVENTS], int timeout_ms)
{
    int most_ms = timeout_ms < 0 || timeout_ms > WORKER_WAIT_MS ? WORKER_WAIT_MS : timeout_ms;
    uint64_t now_us;

    if (!TAILQ_EMPTY(&w->unread) || !STAILQ_EMPTY(&w->touched))
        return epoll_wait(w->epoll_fd, events, WORKER_EVENTS, 0);
    now_us = clock_mono_us();
    if (w->flush_us == 0 || w->flush_us >= now_us + (uint64_t)most_ms * 1000)
        return epoll_wait(w->epoll_fd, events, WORKER_EVENTS,
                          timer_wait_ms(&w->wheel, now_us, most_ms));
    return kernel_epoll_wait_ns(w->epoll_fd, events, WORKER_EVENTS,
                                w->flush_us > now_us ? (w->flush_us - now_us) * 1000 : 0);
}

int
worker_fd(const struct worker *w)
{
    return w->epoll_fd;
}

int
worker_left_ms(const struct worker *w)
{
    uint64_t now_us = clock_mono_us(), flush_ms;
    int left_ms = timer_wait_ms(&w->wheel, now_us, WORKER_WAIT_MS);

    if (!TAILQ_EMPTY(&w->unread) || !STAILQ_EMPTY(&w->touched))
        return 0;
    if (w->flush_us == 0)
        return left_ms;
    flush_ms = w->flush_us > now_us ? (w->flush_us - now_us + 999) / 1000 : 0;
    return flush_ms < (uint64_t)left_ms ? (int)flush_ms : left_ms;
}

const struct stats_block *
worker_stats(const struct worker *w)
{
    return w->stats.block;
}

static void
worker_record_memory(struct worker *w)
{
    struct stats_block *block = w->stats.block;

    if (w->memory_lately < w->store.ledger.used)
        w->memory_lately = w->store.ledger.used;
    atomic_store_explicit(&block->memory, w->store.ledger.used, memory_order_relaxed);
    atomic_store_explicit(&block->memory_max, w->store.ledger.max, memory_order_relaxed);
}

void
worker_turn(struct worker *w, int timeout_ms)
{
    struct epoll_event events[WORKER_EVENTS];
    int n = worker_wait(w, events, timeout_ms);

    log_to(w->setup->log);
    MS_ASSERT(n >= 0 || errno == EINTR);
    worker_advance_clock(w);
    if (w->sources != NULL)
        conn_mind_crashes(w);
    for (int i = 0; i < n; i++) {
        struct watch *watch = events[i].data.ptr;

        watch->ready(watch, events[i].events);
    }
    conn_read_unread(w);
    worker_timers(w);
    worker_flush_handlers(w);
    conn_finish_turn(w);
    conn_mind_memory(w);
    accept_reconsider(w);
    if (w->bus != NULL)
        bus_ring(w->bus);
    worker_record_latencies(w);
    worker_record_memory(w);
    if (w->sources != NULL)
        sources_promise(w->sources, w->store.disk_promised);
    stats_add(&w->stats.block->counters.turns, 1);
    w->clock_is_old = true;
}

void
worker_send(struct worker *w)
{
    log_to(w->setup->log);
    worker_advance_clock(w);
    conn_finish_turn(w);
    conn_mind_memory(w);
    if (w->bus != NULL)
        bus_ring(w->bus);
    worker_record_latencies(w);
    worker_record_memory(w);
    w->clock_is_old = true;
}

struct worker *
worker_create(const struct child *child, const struct worker_setup *setup,
              char error[HANDLER_ERROR_LEN])
{
    struct worker *w = ms_calloc(1, sizeof(*w));

    if (w == NULL) {
        snprintf(error, HANDLER_ERROR_LEN, "there is no memory");
        return NULL;
    }
    log_to(setup->log);
    if (worker_open(w, child, setup, NULL, error) == 0)
        return w;
    worker_close(w);
    free(w);
    return NULL;
}

void
worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    log_to(w->setup->log);
    worker_close(w);
    free(w);
    log_to(NULL);
}

unsigned
worker_connections(const struct worker *w)
{
    return w->conn_count;
}
