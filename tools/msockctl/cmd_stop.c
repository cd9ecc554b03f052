/* msockctl stop and quit: the two ways to end, told apart by the signal. */
#include "target.h"

#include <signal.h>
#include <sysexits.h>

static int
stop_wait(const struct ctl *ctl, struct target *target, int sig)
{
    int status = target_signal(ctl, target, sig);

    if (status != EX_OK)
        return status;
    if (target_wait(target, NULL, NULL) == TARGET_TIMEOUT) {
        ctl_error(ctl,
                  "msockd (process %d) has the signal and has not ended yet: wait longer with "
                  "--timeout%s",
                  (int)target->pid, sig == SIGQUIT ? ", or end it now with msockctl stop" : "");
        return EX_TEMPFAIL;
    }
    ctl_print("msockd (process %d) has ended", (int)target->pid);
    return ctl_finish(ctl, EX_OK);
}

static int
stop_fast(const struct ctl *ctl, struct target *target)
{
    return stop_wait(ctl, target, SIGTERM);
}

static int
stop_graceful(const struct ctl *ctl, struct target *target)
{
    return stop_wait(ctl, target, SIGQUIT);
}

static int
stop_run(struct ctl *ctl, int argc, char *argv[])
{
    return target_run(ctl, argc, argv, stop_fast);
}

static int
quit_run(struct ctl *ctl, int argc, char *argv[])
{
    return target_run(ctl, argc, argv, stop_graceful);
}

const struct ctl_command ctl_stop = {
    .name = "stop",
    .summary = "end at once; what is not acknowledged is not kept",
    .help = "usage: msockctl [-r DIR] stop [--timeout SECONDS]\n"
            "Ends msockd at once and waits until it is gone.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = stop_run,
};

const struct ctl_command ctl_quit = {
    .name = "quit",
    .summary = "end when the messages under way are done",
    .help = "usage: msockctl [-r DIR] quit [--timeout SECONDS]\n"
            "Has msockd stop accepting, finish the messages under way and end; waits until it is\n"
            "gone.\n\n"
            "  --timeout SECONDS  how long to wait (default: 60)\n",
    .run = quit_run,
};
