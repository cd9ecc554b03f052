/* msockctl stats: totals and workers, once or again and again. */
#include "baseline.h"
#include "common/base.h"
#include "ctl.h"
#include "json.h"
#include "prometheus.h"
#include "snapshot.h"
#include "stats_table.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

struct stats_command {
    bool json, prometheus;
    const char *watch, *since;
    uint64_t interval_us; /* 0: once */
    bool have_baseline;
    struct baseline baseline;
};

static void
print(const struct stats_command *cmd, const struct snapshot *s, const struct snapshot *before)
{
    const char *since = cmd->have_baseline ? cmd->baseline.time : NULL;
    const bool again = cmd->interval_us != 0;

    if (cmd->json) {
        json_print(json_snapshot(s, since), again);
    } else if (cmd->prometheus) {
        prometheus_print(s);
    } else {
        if (again && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        stats_table_print(s, before, since);
        if (again && !isatty(STDOUT_FILENO))
            putchar('\n');
    }
}

/* Takes a snapshot less the baseline. Returns EX_OK, or a status after an error message. */
static int
take(const struct ctl *ctl, struct stats_command *cmd, struct snapshot *out)
{
    char error[256];
    int status = EX_OK;

    if (snapshot_take(ctl->dir, out, error) < 0) {
        status = ctl_status(errno);
        ctl_error(ctl, "%s", error);
        return status;
    }
    if (cmd->since != NULL && !cmd->have_baseline) {
        status = baseline_open(ctl, cmd->since, out, &cmd->baseline);
        cmd->have_baseline = status == EX_OK;
    }
    if (cmd->have_baseline)
        baseline_subtract(&cmd->baseline, out);
    if (status != EX_OK)
        snapshot_fini(out);
    return status;
}

static void
sleep_until(uint64_t us)
{
    const struct timespec ts = {.tv_sec = (time_t)(us / 1000000),
                                .tv_nsec = (long)(us % 1000000) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

/* Goes on while msockd is away, since it may come back; a new one begins without rates. */
static int
watch(const struct ctl *ctl, struct stats_command *cmd, struct snapshot *first)
{
    struct snapshot before = *first, now = {0};
    uint64_t next_us = first->taken_us;

    while (ctl_finish(ctl, EX_OK) == EX_OK) {
        next_us += cmd->interval_us;
        if (next_us < clock_mono_us())
            next_us = clock_mono_us();
        sleep_until(next_us);
        if (take(ctl, cmd, &now) != EX_OK)
            continue;
        print(cmd, &now, strcmp(now.boot_id, before.boot_id) == 0 ? &before : NULL);
        snapshot_fini(&before);
        before = now;
    }
    snapshot_fini(&before);
    return EX_IOERR;
}

static int
run(const struct ctl *ctl, struct stats_command *cmd)
{
    struct snapshot s;
    int status = take(ctl, cmd, &s);

    if (status != EX_OK)
        return status;
    print(cmd, &s, NULL);
    if (cmd->interval_us != 0)
        return watch(ctl, cmd, &s);
    snapshot_fini(&s);
    return ctl_finish(ctl, EX_OK);
}

static int
stats_run(struct ctl *ctl, int argc, char *argv[])
{
    struct stats_command cmd = {0};
    const struct ctl_option options[] = {{"json", &cmd.json, NULL},
                                         {"prometheus", &cmd.prometheus, NULL},
                                         {"watch", NULL, &cmd.watch},
                                         {"since", NULL, &cmd.since}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));

    if (status != CTL_GO_ON)
        return status;
    if (cmd.json && cmd.prometheus)
        return ctl_usage(ctl, "--json and --prometheus exclude each other");
    if (cmd.prometheus && (cmd.watch != NULL || cmd.since != NULL))
        return ctl_usage(ctl, "--prometheus is for a scraper, which does what --watch and --since "
                              "do by itself");
    if (cmd.watch != NULL && ctl_seconds(ctl, "watch", cmd.watch, &cmd.interval_us) < 0)
        return EX_USAGE;
    status = run(ctl, &cmd);
    if (cmd.have_baseline)
        baseline_close(&cmd.baseline);
    return status;
}

const struct ctl_command ctl_stats = {
    .name = "stats",
    .summary = "totals and one row a worker, also of a msockd that is dead",
    .help = "usage: msockctl [-r DIR] stats [OPTION]...\n"
            "Totals over all workers there have been, and one row for each there is.\n\n"
            "  --json           one JSON document\n"
            "  --prometheus     the text format that Prometheus scrapes\n"
            "  --watch SECONDS  again and again, with rates; fractions are allowed; with\n"
            "                   --json one document a line\n"
            "  --since FILE     less the numbers in FILE, a baseline of this run; where FILE is\n"
            "                   missing it is created with the present numbers\n",
    .run = stats_run,
};
