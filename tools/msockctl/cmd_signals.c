/* msockctl reload, upgrade, reopen, stop and quit: each sends the master a signal and waits for
 * what comes of it. */
#include "ctl.h"

#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>

/* --- reload, and upgrade, which is one with another program --- */

/* Reloads are finished in the order in which they began, so ours is over when that many are. */
static bool
reload_done(const struct target *target, void *arg)
{
    const uint64_t *ours = arg;

    return atomic_load_explicit(&target->sr.control->reloads, memory_order_acquire) >= *ours;
}

static uint64_t
reload_next(const struct stats_control *c)
{
    uint64_t begun = atomic_load(&c->reload_requests), finished = atomic_load(&c->reloads);

    return (begun > finished ? begun : finished) + 1;
}

static int
reload_verdict(const struct ctl *ctl, const struct stats_control *c)
{
    char text[sizeof(c->reload_text)];

    field_copy(text, c->reload_text, sizeof(text));
    if (atomic_load(&c->reload_verdict) != STATS_VERDICT_OK) {
        ctl_error(ctl, "%s", text[0] != '\0' ? text : "failed; msockd goes on as before");
        return EX_CONFIG;
    }
    ctl_print("%s", text[0] != '\0' ? text : "reloaded");
    return ctl_finish(ctl, EX_OK);
}

static int
reload_act(const struct ctl *ctl, struct target *target)
{
    const struct stats_control *c = target->sr.control;
    uint64_t ours = reload_next(c);
    int status = target_signal(ctl, target);

    if (status != EX_OK)
        return status;
    switch (target_wait(target, reload_done, &ours)) {
    case TARGET_DONE:
        return reload_verdict(ctl, c);
    case TARGET_GONE:
        ctl_error(ctl, "msockd (process %d) ended before the %s was over: see its log",
                  (int)target->pid, ctl->command->name);
        return EX_UNAVAILABLE;
    case TARGET_TIMEOUT:
        ctl_error(ctl,
                  "msockd (process %d) has not finished the %s in time; it goes on with "
                  "it: see its log, or allow more with --timeout",
                  (int)target->pid, ctl->command->name);
    }
    return EX_TEMPFAIL;
}

const struct ctl_command ctl_reload = {
    .name = "reload",
    .summary = "read the configuration again; says what is wrong with it",
    .help = "usage: msockctl [-r DIR] reload [--timeout SECONDS]\n"
            "Has msockd read its configuration again and waits until new workers have taken over.\n"
            "Exit status 78 where the configuration is wrong or cannot be put into force: msockd\n"
            "then goes on as before.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = target_run,
    .signal = SIGHUP,
    .act = reload_act,
};

const struct ctl_command ctl_upgrade = {
    .name = "upgrade",
    .summary = "go on with the program that its file is now; nobody is disturbed",
    .help = "usage: msockctl [-r DIR] upgrade [--timeout SECONDS]\n"
            "Has msockd go on as the program that is in its file now, and waits until it does. It\n"
            "keeps its process id, its totals and its connections between messages. Exit status\n"
            "78 where that program does not start, cannot read the configuration, or is of a\n"
            "version for which msockd has to be restarted: msockd then goes on as before.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = target_run,
    .signal = SIGUSR2,
    .act = reload_act,
};

/* --- more and fewer workers --- */

static long workers_number; /* to come, to go (negative), or with workers_total: in all */
static bool workers_total;
static struct ctl_command workers_command; /* the value of its signal is known when it acts */

static int
workers_act(const struct ctl *ctl, struct target *target)
{
    const _Atomic uint32_t *workers = &target->sr.control->workers;
    long now = (long)atomic_load(workers);
    long wanted = workers_total ? workers_number : now + workers_number;
    int status;

    if (wanted == now) {
        ctl_print("%ld workers, as it is", now);
        return ctl_finish(ctl, EX_OK);
    }
    workers_command.signal_value = (int)wanted;
    status = reload_act(ctl, target);
    now = (long)atomic_load(workers);
    if (status == EX_OK && now != wanted) {
        ctl_error(ctl, "not %ld workers, but %ld: somebody else has changed that, too", wanted,
                  now);
        status = EX_TEMPFAIL;
    }
    return status;
}

int
workers_change(struct ctl *ctl, int argc, char *argv[])
{
    char *end;

    workers_total = argv[1][0] == '=';
    workers_number = strtol(argv[1] + workers_total, &end, 10);
    if (workers_number == 0 || labs(workers_number) > INT16_MAX || *end != '\0')
        return ctl_usage(ctl, "\"%s\" is no number of workers", argv[1]);
    workers_command = (struct ctl_command){.name = "workers",
                                           .help = ctl->command->help,
                                           .run = target_run,
                                           .signal = SIGTTIN,
                                           .act = workers_act};
    ctl->command = &workers_command;
    argv[1] = argv[0];
    return target_run(ctl, argc - 1, argv + 1);
}

/* --- reopen: the master and every ready worker open their log files again --- */

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
reopen_act(const struct ctl *ctl, struct target *target)
{
    struct reopening r = {.master = atomic_load(&target->sr.control->reopens),
                          .before = ms_calloc(STATS_REGIONS, sizeof(r.before[0])),
                          .now = ms_calloc(STATS_REGIONS, sizeof(r.now[0]))};
    enum target_event event = TARGET_TIMEOUT;
    int status;

    r.worker_count = stats_reader_workers(&target->sr, r.before, STATS_REGIONS);
    status = target_signal(ctl, target);
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

const struct ctl_command ctl_reopen = {
    .name = "reopen",
    .summary = "open the log again, after it was renamed, and begin new segments",
    .help =
        "usage: msockctl [-r DIR] reopen [--timeout SECONDS]\n"
        "Has the master and every worker open the log file again, after it was renamed, and begin\n"
        "new segments of the journal; waits until all have, so that the old ones can be packed.\n\n"
        "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = target_run,
    .signal = SIGUSR1,
    .act = reopen_act,
};

/* --- stop and quit: the two ways to end --- */

static int
stop_act(const struct ctl *ctl, struct target *target)
{
    int status = target_signal(ctl, target);

    if (status != EX_OK)
        return status;
    if (target_wait(target, NULL, NULL) == TARGET_TIMEOUT) {
        ctl_error(ctl,
                  "msockd (process %d) has the signal and has not ended yet: wait longer with "
                  "--timeout%s",
                  (int)target->pid,
                  ctl->command == &ctl_quit ? ", or end it now with msockctl stop" : "");
        return EX_TEMPFAIL;
    }
    ctl_print("msockd (process %d) has ended", (int)target->pid);
    return ctl_finish(ctl, EX_OK);
}

const struct ctl_command ctl_stop = {
    .name = "stop",
    .summary = "end at once; what is not acknowledged is not kept",
    .help = "usage: msockctl [-r DIR] stop [--timeout SECONDS]\n"
            "Ends msockd at once and waits until it is gone.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = target_run,
    .signal = SIGTERM,
    .act = stop_act,
};

const struct ctl_command ctl_quit = {
    .name = "quit",
    .summary = "end when the messages under way are done",
    .help = "usage: msockctl [-r DIR] quit [--timeout SECONDS]\n"
            "Has msockd stop accepting, finish the messages under way and end; waits until it is\n"
            "gone.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = target_run,
    .signal = SIGQUIT,
    .act = stop_act,
};
