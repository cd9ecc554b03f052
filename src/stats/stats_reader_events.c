/* The flight recorders: of the workers that live, and those that the master has kept. An event is
 * shown when it was read twice alike: its number was there before the second reading began, and
 * after the first one was done, and no number comes again. */
#include "stats/stats_reader.h"

static void
event_show(const struct stats_event *e, struct stats_event_view *view,
           void (*fn)(void *arg, const struct stats_event_view *event), void *arg)
{
    view->number = atomic_load(&e->number);
    view->time_us = e->time_us;
    view->conn = e->conn;
    view->value = e->value;
    view->kind = e->kind;
    view->listener = e->listener;
    memcpy(view->code, e->code, sizeof(e->code));
    view->peer[0] = '\0';
    if (e->conn != 0 || e->family != STATS_FAMILY_UNIX)
        stats_peer_format(e->family, e->address, e->port, view->peer);
    fn(arg, view);
}

static bool
event_same(const struct stats_event *a, const struct stats_event *b)
{
    return atomic_load(&a->number) != 0 && memcmp(a, b, sizeof(*a)) == 0;
}

static void
events_of_worker(struct stats_reader *sr, unsigned region,
                 void (*fn)(void *arg, const struct stats_event_view *event), void *arg)
{
    const struct stats_worker *row = &sr->control->worker[region];
    uint64_t incarnation = atomic_load_explicit(&row->incarnation, memory_order_acquire);
    struct stats_event_view view = {.worker_index = atomic_load(&row->index),
                                    .worker_pid = atomic_load(&row->pid)};
    struct stats_event events[2][STATS_EVENTS];

    for (unsigned i = 0; i < 2; i++)
        if (incarnation == 0 || !stats_reader_region(sr, region, incarnation, STATS_RECORDER_AT,
                                                     events[i], sizeof(events[i])))
            return;
    for (unsigned i = 0; i < STATS_EVENTS; i++)
        if (event_same(&events[0][i], &events[1][i]))
            event_show(&events[1][i], &view, fn, arg);
}

static void
events_of_crash(const struct stats_crash *crash,
                void (*fn)(void *arg, const struct stats_event_view *event), void *arg)
{
    struct stats_event_view view = {.worker_index = crash->index, .worker_pid = crash->pid};

    for (unsigned i = 0; i < STATS_EVENTS; i++)
        if (atomic_load(&crash->recorder.events[i].number) != 0)
            event_show(&crash->recorder.events[i], &view, fn, arg);
}

void
stats_reader_events(struct stats_reader *sr,
                    void (*fn)(void *arg, const struct stats_event_view *event), void *arg)
{
    struct stats_crash crash;

    sr->unreadable = 0;
    for (unsigned i = 0; i < STATS_CRASHES; i++)
        if (stats_reader_crash(sr, i, &crash))
            events_of_crash(&crash, fn, arg);
    for (unsigned r = 0; r < stats_regions_used(sr->control); r++)
        events_of_worker(sr, r, fn, arg);
}

bool
stats_reader_crash(const struct stats_reader *sr, unsigned i, struct stats_crash *crash_out)
{
    const struct stats_crash *kept = &sr->control->crash[i];
    uint64_t number = atomic_load_explicit(&kept->number, memory_order_acquire);

    memcpy(crash_out, kept, sizeof(*crash_out));
    atomic_thread_fence(memory_order_acquire);
    return number != 0 && atomic_load_explicit(&kept->number, memory_order_relaxed) == number;
}
