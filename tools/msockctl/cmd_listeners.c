/* msockctl listeners: where msockd listens, with the ports the kernel chose. */
#include "conns.h"
#include "json.h"
#include "table.h"

#include <inttypes.h>
#include <sysexits.h>

/* A listener of an earlier configuration is shown as long as it has connections. */
static bool
listener_shown(const struct stats_listener_view *listener, uint64_t open)
{
    return listener->url[0] != '\0' && (listener->active || open > 0);
}

static void
listeners_json(const struct conns *conns, const uint64_t open[STATS_LISTENERS])
{
    json_t *rows = json_array();

    for (unsigned i = 0; i < STATS_LISTENERS; i++) {
        const struct stats_listener_view *listener = &conns->listeners[i];
        json_t *row;

        if (!listener_shown(listener, open[i]))
            continue;
        row = json_object();
        json_put(row, "url", json_text(listener->url));
        json_put(row, "address", json_text(listener->address));
        json_put(row, "proto", json_text(listener->proto));
        json_put(row, "handler", json_text(listener->handler));
        json_put(row, "active", json_boolean(listener->active));
        json_put(row, "open", json_count(open[i]));
        json_array_append_new(rows, row);
    }
    json_print(rows, false);
}

static void
listeners_table(const struct conns *conns, const uint64_t open[STATS_LISTENERS])
{
    static const struct table_column columns[] = {{"URL", 0},     {"ADDRESS", 0}, {"PROTO", 0},
                                                  {"HANDLER", 0}, {"ACTIVE", 0},  {"OPEN", 1}};
    struct table *table = table_create(columns, MS_ARRAY_LEN(columns));

    for (unsigned i = 0; i < STATS_LISTENERS; i++) {
        const struct stats_listener_view *listener = &conns->listeners[i];

        if (!listener_shown(listener, open[i]))
            continue;
        table_add(table, "%s", listener->url);
        table_add(table, "%s", listener->address);
        table_add(table, "%s", listener->proto);
        table_add(table, "%s", listener->handler);
        table_add(table, "%s", listener->active ? "yes" : "draining");
        table_add(table, "%" PRIu64, open[i]);
    }
    table_print(table, stdout);
    table_destroy(table);
}

static int
listeners_run(struct ctl *ctl, int argc, char *argv[])
{
    bool json = false;
    const struct ctl_option options[] = {{"json", &json, NULL}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    uint64_t open[STATS_LISTENERS] = {0};
    struct conns conns;

    if (status != CTL_GO_ON)
        return status;
    status = conns_take(ctl, &conns);
    if (status != EX_OK)
        return status;
    for (size_t i = 0; i < conns.n; i++)
        if (conns.rows[i].listener < STATS_LISTENERS)
            open[conns.rows[i].listener]++;
    if (json) {
        listeners_json(&conns, open);
    } else {
        listeners_table(&conns, open);
        ctl_note_dead(ctl);
    }
    conns_fini(&conns);
    return ctl_finish(ctl, EX_OK);
}

const struct ctl_command ctl_listeners = {
    .name = "listeners",
    .summary = "where msockd listens, with the real ports",
    .help = "usage: msockctl [-r DIR] listeners [--json]\n"
            "The listeners of the present configuration, and those of an earlier one that still\n"
            "have connections.\n\n"
            "  --json  an array of objects: url, address, proto, handler, active, open\n",
    .run = listeners_run,
};
