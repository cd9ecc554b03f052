/* msockctl reopen: has the log files opened again, by the master and by every ready worker. */
#include "target.h"

#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>

struct reopening {
    uint32_t master; /* reopens before the signal */
    unsigned worker_count;
    struct stats_worker_view *before; /* heap */
    struct stats_worker_view *now;    /* heap */
};

/* Workers that have begun since opened their files anew anyway. */
static bool
worker_reopened(const struct reopening *r, const struct stats_worker_view *worker)
{
    if (worker->state != STATS_WORKER_READY)
        return true;
    for (unsigned i = 0; i < r->worker_count; i++)
        if (r->before[i].incarnation == worker->incarnation)
            return r->before[i].reopened != worker->reopened;
    return true;
}

static bool
reopen_done(const struct target *target, void *arg)
{
    struct reopening *r = arg;
    struct stats_reader sr = target->sr;
    unsigned n;

    if (atomic_load(&sr.control->reopens) == r->master)
        return false;
    n = stats_reader_workers(&sr, r->now, STATS_REGIONS);
    for (unsigned i = 0; i < n; i++)
        if (!worker_reopened(r, &r->now[i]))
            return false;
    return true;
}

static int
reopen_wait(const struct ctl *ctl, struct target *target)
{
    struct reopening r = {.master = atomic_load(&target->sr.control->reopens),
                          .before = ms_calloc(STATS_REGIONS, sizeof(r.before[0])),
                          .now = ms_calloc(STATS_REGIONS, sizeof(r.now[0]))};
    enum target_event event = TARGET_TIMEOUT;
    int status;

    r.worker_count = stats_reader_workers(&target->sr, r.before, STATS_REGIONS);
    status = target_signal(ctl, target, SIGUSR1);
    if (status == EX_OK)
        event = target_wait(target, reopen_done, &r);
    free(r.before);
    free(r.now);
    if (status != EX_OK)
        return status;
    switch (event) {
    case TARGET_DONE:
        ctl_print("msockd (process %d) and its workers have opened their logs again",
                  (int)target->pid);
        return ctl_finish(ctl, EX_OK);
    case TARGET_GONE:
        ctl_error(ctl, "msockd (process %d) ended meanwhile: see its log", (int)target->pid);
        return EX_UNAVAILABLE;
    case TARGET_TIMEOUT:
        ctl_error(ctl,
                  "not every process of msockd (process %d) has opened its log again in time: "
                  "leave the old file where it is and see the log",
                  (int)target->pid);
    }
    return EX_TEMPFAIL;
}

static int
reopen_run(struct ctl *ctl, int argc, char *argv[])
{
    return target_run(ctl, argc, argv, reopen_wait);
}

const struct ctl_command ctl_reopen = {
    .name = "reopen",
    .summary = "open the log file again, after it was renamed",
    .help =
        "usage: msockctl [-r DIR] reopen [--timeout SECONDS]\n"
        "Has the master and every worker open the log file again, for its rotation; waits until\n"
        "all have, so that the old one can be packed.\n\n"
        "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = reopen_run,
};
