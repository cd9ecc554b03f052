/* msockctl health: one word and an exit status, for who restarts a container. */
#include "ctl.h"

#include <sysexits.h>

static int
health_run(struct ctl *ctl, int argc, char *argv[])
{
    struct snapshot now;
    const char *wrong;
    int status = ctl_options(ctl, argc, argv, NULL, 0);

    if (status != CTL_GO_ON)
        return status;
    if ((status = snapshot_take(ctl, &now)) != EX_OK)
        return status;
    wrong = snapshot_unhealthy(&now, true);
    if (wrong != NULL)
        ctl_error(ctl, "%s", wrong);
    else
        ctl_print("ok");
    snapshot_fini(&now);
    return ctl_finish(ctl, wrong != NULL ? EX_UNAVAILABLE : EX_OK);
}

const struct ctl_command ctl_health = {
    .name = "health",
    .summary = "whether msockd takes connections, by the exit status",
    .help =
        "usage: msockctl [-r DIR] health\n"
        "Says ok and exits 0 where msockd takes connections, else what is wrong, and exits 69.\n",
    .run = health_run,
};
