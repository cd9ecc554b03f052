/* msockctl reload: signals, and waits for the verdict. */
#include "snapshot.h"
#include "target.h"

#include <signal.h>
#include <sysexits.h>

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
reload_wait(const struct ctl *ctl, struct target *target)
{
    const struct stats_control *c = target->sr.control;
    uint64_t ours = reload_next(c);
    int status = target_signal(ctl, target, SIGHUP);

    if (status != EX_OK)
        return status;
    switch (target_wait(target, reload_done, &ours)) {
    case TARGET_DONE:
        return reload_verdict(ctl, c);
    case TARGET_GONE:
        ctl_error(ctl, "msockd (process %d) ended before the reload was over: see its log",
                  (int)target->pid);
        return EX_UNAVAILABLE;
    case TARGET_TIMEOUT:
        ctl_error(ctl,
                  "msockd (process %d) has not finished the reload in time; it goes on with "
                  "it: see its log, or allow more with --timeout",
                  (int)target->pid);
    }
    return EX_TEMPFAIL;
}

static int
reload_run(struct ctl *ctl, int argc, char *argv[])
{
    return target_run(ctl, argc, argv, reload_wait);
}

const struct ctl_command ctl_reload = {
    .name = "reload",
    .summary = "read the configuration again; says what is wrong with it",
    .help = "usage: msockctl [-r DIR] reload [--timeout SECONDS]\n"
            "Has msockd read its configuration again and waits until new workers have taken over.\n"
            "Exit status 78 where the configuration is wrong or cannot be put into force: msockd\n"
            "then goes on as before.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = reload_run,
};
