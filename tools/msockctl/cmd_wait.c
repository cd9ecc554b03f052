/* msockctl wait: until a generation runs and the ones before it are gone, for scripts that roll an
 * upgrade out. */
#include "ctl.h"

#include <errno.h>
#include <sysexits.h>
#include <time.h>

#define WAIT_PAUSE_NS   50000000
#define WAIT_DEFAULT_US 60000000u

struct wait {
    uint64_t generation; /* 0: any */
    bool drained;
    bool seen;       /* it has run meanwhile: where it does not any more, nothing comes */
    uint64_t end_us; /* monotonic */
};

/* What is not yet as it was asked for; NULL: nothing. */
static const char *
wait_missing(const struct wait *w, const struct snapshot *now)
{
    if (now->generation < w->generation)
        return "the generation does not run yet";
    for (unsigned i = 0; w->drained && i < now->worker_count; i++)
        if (now->workers[i].state == STATS_WORKER_DRAINING)
            return "workers of an earlier generation still finish their messages";
    return snapshot_ready(now) > 0 ? NULL : "no worker is ready";
}

/* It shows nothing yet, or does not hold its lock yet; or somebody has removed what it shows. */
static bool
wait_is_starting(const struct ctl *ctl)
{
    struct stats_reader sr;
    char why[256];

    if (stats_reader_lock_held(ctl->dir) == 0)
        return true; /* what is shown is of one that has died */
    if (stats_reader_open(&sr, ctl->dir, why) < 0)
        return errno == EAGAIN || errno == ENOENT;
    stats_reader_close(&sr);
    return false;
}

static int
wait_look(const struct ctl *ctl, struct wait *w, bool *done_out)
{
    struct snapshot now;
    const char *missing;
    int status;

    *done_out = clock_mono_us() >= w->end_us || w->seen || !wait_is_starting(ctl);
    if (!*done_out)
        return EX_TEMPFAIL;
    status = snapshot_take(ctl, &now);
    if (status != EX_OK)
        return status;
    w->seen = true;
    missing = wait_missing(w, &now);
    if (now.alive == SNAPSHOT_DEAD) {
        ctl_error(ctl, "msockd does not run");
        status = EX_UNAVAILABLE;
    } else if (missing == NULL) {
        ctl_print("generation %llu", (unsigned long long)now.generation);
    } else if (clock_mono_us() < w->end_us) {
        *done_out = false;
    } else {
        ctl_error(ctl, "the time is over: %s", missing);
        status = EX_TEMPFAIL;
    }
    snapshot_fini(&now);
    return status;
}

static int
wait_for(const struct ctl *ctl, struct wait *w)
{
    const struct timespec pause = {.tv_nsec = WAIT_PAUSE_NS};
    bool done;
    int status = wait_look(ctl, w, &done);

    while (!done) {
        nanosleep(&pause, NULL);
        status = wait_look(ctl, w, &done);
    }
    return ctl_finish(ctl, status);
}

static int
wait_run(struct ctl *ctl, int argc, char *argv[])
{
    const char *generation = NULL, *timeout = NULL;
    struct wait w = {.generation = 0};
    const struct ctl_option options[] = {{"generation", NULL, &generation},
                                         {"drained", &w.drained, NULL},
                                         {"timeout", NULL, &timeout}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    uint64_t timeout_us = WAIT_DEFAULT_US;

    if (status != CTL_GO_ON)
        return status;
    if (generation != NULL && text_parse_number(generation, 1, UINT64_MAX, &w.generation) < 0)
        return ctl_usage(ctl, "--generation: \"%s\" is no number of a generation", generation);
    if (timeout != NULL && ctl_seconds(ctl, "timeout", timeout, &timeout_us) < 0)
        return EX_USAGE;
    w.end_us = clock_mono_us() + timeout_us;
    return wait_for(ctl, &w);
}

const struct ctl_command ctl_wait = {
    .name = "wait",
    .summary = "wait for a generation, and for the end of those before it",
    .help = "usage: msockctl [-r DIR] wait [--generation N] [--drained] [--timeout SECONDS]\n"
            "Waits until a worker takes connections. Exit status 75 where the time is over.\n\n"
            "  --generation N     until generation N, or a later one, runs\n"
            "  --drained          until no worker of an earlier generation is left\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = wait_run,
};
