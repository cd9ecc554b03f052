/* msockctl workers: who they are. */
#include "ctl.h"
#include "json.h"
#include "snapshot.h"
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <sysexits.h>

static void
workers_json(const struct snapshot *s)
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < s->worker_count; i++)
        json_array_append_new(rows, json_worker(&s->workers[i], s->taken_us));
    json_print(rows, false);
}

static void
workers_table(const struct snapshot *s)
{
    static const struct table_column columns[] = {
        {"WORKER", 1},   {"PID", 1},      {"STATE", 0}, {"GENERATION", 1},
        {"RESTARTS", 1}, {"AGE", 1},      {"OPEN", 1},  {"ACCEPTED", 1},
        {"REFUSED", 1},  {"MESSAGES", 1}, {"TURNS", 1}, {"COMMITS", 1}};
    struct table *table = table_create(columns, MS_ARRAY_LEN(columns));
    char age[UNIT_LEN];

    for (unsigned i = 0; i < s->worker_count; i++) {
        const struct stats_worker_view *w = &s->workers[i];

        table_add(table, "%u", w->index);
        table_add(table, "%d", w->pid);
        table_add(table, "%s", worker_state_name(w->state));
        table_add(table, "%" PRIu64, w->generation);
        table_add(table, "%u", w->restarts);
        table_add(table, "%s",
                  unit_age(s->taken_us > w->started_us ? s->taken_us - w->started_us : 0, age));
        table_add(table, "%" PRIu64, w->totals.open);
        table_add(table, "%" PRIu64, w->totals.counts.accepted);
        table_add(table, "%" PRIu64, w->totals.counts.refused);
        table_add(table, "%" PRIu64, w->totals.counts.messages);
        table_add(table, "%" PRIu64, w->totals.counts.turns);
        table_add(table, "%" PRIu64, w->totals.counts.commits);
    }
    table_print(table, stdout);
    table_destroy(table);
}

static int
workers_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const struct ctl_option options[] = {{"json", &json, NULL}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    struct snapshot s;
    char error[256];

    if (status != CTL_GO_ON)
        return status;
    if (snapshot_take(ctl->dir, &s, error) < 0) {
        status = ctl_status(errno);
        ctl_error(ctl, "%s", error);
        return status;
    }
    if (json) {
        workers_json(&s);
    } else {
        workers_table(&s);
        ctl_note_dead(ctl);
    }
    snapshot_fini(&s);
    return ctl_finish(ctl, EX_OK);
}

const struct ctl_command ctl_workers = {
    .name = "workers",
    .summary = "the worker processes",
    .help = "usage: msockctl [-r DIR] workers [--json]\n"
            "The worker processes, by generation: after a reload those of the generation before\n"
            "stay as draining until their connections are done.\n\n"
            "  --json  an array of objects, as under \"workers\" in stats --json\n",
    .run = workers_run,
};
