/* msockctl relay: how far the relay is, and what keeps it. */
#include "ctl.h"

#include <sysexits.h>

static json_t *
relay_time(uint64_t real_us)
{
    char text[CLOCK_RFC3339_LEN];

    if (real_us == 0)
        return json_null();
    clock_format(real_us, text);
    return json_string(text);
}

static json_t *
relay_row(const struct snapshot *s, const struct stats_worker_view *w, const struct stats_relay *r)
{
    json_t *row = json_object();

    json_put_worker(row, s, w);
    json_put(row, "stream", json_text(r->stream));
    json_put(row, "position", json_text(r->id));
    json_put(row, "lag_records", json_count(r->records));
    json_put(row, "lag_bytes", json_count(r->bytes));
    json_put(row, "lag_seconds",
             json_seconds(r->oldest_us != 0 ? r->oldest_us : UINT64_MAX, clock_real_us()));
    json_put(row, "lag_is_more", json_boolean(r->counting));
    json_put(row, "rate", json_count(r->rate));
    json_put(row, "relayed", json_count(w->totals.counts.relayed));
    json_put(row, "missing", json_count(w->totals.counts.missing));
    json_put(row, "lost_bytes", json_count(r->lost_bytes));
    json_put(row, "window_seconds", json_seconds(0, r->window_us));
    json_put(row, "window_needed_seconds", json_seconds(0, r->needs_us));
    json_put(row, "error", json_text(r->error));
    json_put(row, "error_time", relay_time(r->error_us));
    return row;
}

static const struct column relay_columns[] = {
    {"stream", NULL, COLUMN_TEXT},        {"state", NULL, COLUMN_TEXT},
    {"pid", NULL, COLUMN_COUNT},          {"restarts", NULL, COLUMN_COUNT},
    {"position", NULL, COLUMN_TEXT},      {"lag_records", "LAG", COLUMN_COUNT},
    {"lag_bytes", "BYTES", COLUMN_BYTES}, {"lag_seconds", "SECONDS", COLUMN_SECONDS},
    {"rate", "RECORDS/S", COLUMN_COUNT},  {"relayed", NULL, COLUMN_COUNT},
    {"missing", NULL, COLUMN_COUNT},      {"error", "LAST ERROR", COLUMN_TEXT},
};

static int
relay_rows(const struct ctl *ctl, json_t **rows_out)
{
    struct snapshot s;
    int status = snapshot_take(ctl, &s);

    if (status != EX_OK)
        return status;
    *rows_out = json_array();
    for (unsigned i = 0; i < s.worker_count; i++)
        if (s.workers[i].index == STATS_RELAY)
            json_array_append_new(*rows_out, relay_row(&s, &s.workers[i], &s.relays[i]));
    snapshot_fini(&s);
    return EX_OK;
}

const struct ctl_command ctl_relay = {
    .name = "relay",
    .summary = "how far the relay is behind the journal, and why",
    .help = "usage: msockctl [-r DIR] relay [--json]\n"
            "The relay, which publishes the journal's records to a stream of NATS: the record up\n"
            "to which the stream has them, what is still to come, the records of the last second,\n"
            "and the last error. For a moment after a reload there may be two; what each has\n"
            "relayed is counted from its start.\n\n"
            "  --json  an array of objects\n",
    .run = table_run,
    .rows = relay_rows,
    .columns = relay_columns,
    .column_count = MS_ARRAY_LEN(relay_columns),
    .key = "pid",
    .none = "there is no relay: the option relay is not set",
};
