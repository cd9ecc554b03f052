/* msockctl sources: who is connected or was lately, what each source has, and who is turned
 * away. */
#include "ctl.h"

#include "common/text.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct column source_columns[] = {
    {"source", NULL, COLUMN_TEXT},      {"open", NULL, COLUMN_COUNT},
    {"rate", "MSGS/S", COLUMN_COUNT},   {"bytes", NULL, COLUMN_BYTES},
    {"unfinished", NULL, COLUMN_BYTES}, {"penalty", NULL, COLUMN_COUNT},
    {"why", NULL, COLUMN_TEXT},
};

/* Users by name where they have one. */
static json_t *
source_text(const struct source *source)
{
    char name[SOURCE_NAME_LEN], user[512];
    const struct passwd *pw =
        source->kind == SOURCE_USER ? getpwuid(be32_load(source->bytes)) : NULL;

    if (pw == NULL)
        return json_text(source_name(source, name));
    snprintf(user, sizeof(user), "user:%s", pw->pw_name);
    return json_text(user);
}

static json_t *
source_json(const struct stats_source_view *view)
{
    json_t *row = json_object();

    json_put(row, "source", source_text(&view->source));
    json_put(row, "open", json_count(view->open));
    json_put(row, "rate", json_count(view->rate));
    json_put(row, "bytes", json_count(view->bytes));
    json_put(row, "unfinished", json_count(view->unfinished));
    json_put(row, "penalty", json_count(view->penalty_s));
    json_put(row, "why", json_string(view->penalty_s > 0 ? stats_blame_words(view->reason) : ""));
    return row;
}

/* Those that are turned away first, then those with the most connections and bytes. */
static int
source_compare(const void *a, const void *b)
{
    const struct stats_source_view *x = a, *y = b;

    if (x->penalty_s != y->penalty_s)
        return x->penalty_s > y->penalty_s ? -1 : 1;
    if (x->open != y->open)
        return x->open > y->open ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return memcmp(&x->source, &y->source, sizeof(x->source));
}

static int
sources_rows(const struct ctl *ctl, json_t **rows_out)
{
    struct stats_source_view *views;
    struct stats_reader sr;
    int status = ctl_open(ctl, &sr);
    size_t n;

    if (status != EX_OK)
        return status;
    n = stats_reader_sources(&sr, clock_mono_us(), &views);
    ctl_close(ctl, &sr);
    if (n > 0)
        qsort(views, n, sizeof(views[0]), source_compare);
    *rows_out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(*rows_out, source_json(&views[i]));
    free(views);
    return EX_OK;
}

const struct ctl_command ctl_sources = {
    .name = "sources",
    .summary = "each source: connections, rate, bytes, penalty",
    .help = "usage: msockctl [-r DIR] sources [--json]\n"
            "The sources of connections: IPv4 addresses, IPv6 networks /64, and users of Unix\n"
            "sockets; also those without a connection that are remembered. UNFINISHED is what\n"
            "their messages under way have on disk, PENALTY the seconds for which they are turned\n"
            "away, WHY what for. Up to a second old.\n\n"
            "  --json  an array of objects: source, open, rate, bytes, unfinished, penalty, why\n",
    .run = table_run,
    .rows = sources_rows,
    .columns = source_columns,
    .column_count = MS_ARRAY_LEN(source_columns),
    .key = "source",
};
