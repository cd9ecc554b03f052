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

/* Names of certificates: a source has a digest of its own only, and its connections have it. */
struct names {
    struct buffer list; /* of STATS_IDENTITY_LEN each */
};

static void
names_add(void *arg, const struct stats_conn_view *conn)
{
    struct names *names = arg;

    if (strncmp(conn->identity, "cert:", 5) == 0)
        buffer_append(&names->list, conn->identity, sizeof(conn->identity));
}

/* NULL: none of its connections is open, or its name is too long for them. */
static const char *
names_find(const struct names *names, const struct source *source)
{
    for (size_t at = 0; at < names->list.len; at += STATS_IDENTITY_LEN) {
        const char *name = buffer_bytes(&names->list) + at;
        const struct source is = source_of_name(name);

        if (memcmp(is.bytes, source->bytes, 8) == 0)
            return name;
    }
    return NULL;
}

/* Users and certificates by name where they have one. */
static json_t *
source_text(const struct source *source, const struct names *names)
{
    const char *cert = source->kind == SOURCE_CERT ? names_find(names, source) : NULL;
    char name[SOURCE_NAME_LEN], user[512];
    const struct passwd *pw =
        source->kind == SOURCE_USER ? getpwuid(be32_load(source->bytes)) : NULL;

    if (cert != NULL)
        return json_text(cert);
    if (pw == NULL)
        return json_text(source_name(source, name));
    snprintf(user, sizeof(user), "user:%s", pw->pw_name);
    return json_text(user);
}

static json_t *
source_json(const struct stats_source_view *view, const struct names *names)
{
    json_t *row = json_object();

    json_put(row, "source", source_text(&view->source, names));
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
    struct names names;
    int status = ctl_open(ctl, &sr);
    size_t n;

    if (status != EX_OK)
        return status;
    buffer_init(&names.list);
    n = stats_reader_sources(&sr, clock_mono_us(), &views);
    stats_reader_conns(&sr, names_add, &names);
    ctl_close(ctl, &sr);
    if (n > 0)
        qsort(views, n, sizeof(views[0]), source_compare);
    *rows_out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(*rows_out, source_json(&views[i], &names));
    free(views);
    buffer_fini(&names.list);
    return EX_OK;
}

const struct ctl_command ctl_sources = {
    .name = "sources",
    .summary = "each source: connections, rate, bytes, penalty",
    .help = "usage: msockctl [-r DIR] sources [--json]\n"
            "The sources of connections: IPv4 addresses, IPv6 networks /64, names of certificates\n"
            "(cert:#DIGEST without a connection), and users of Unix sockets; also those without a\n"
            "connection that are remembered. UNFINISHED is what their messages under way have on\n"
            "disk, PENALTY the seconds for which they are turned away, WHY what for. Up to a\n"
            "second old.\n\n"
            "  --json  an array of objects: source, open, rate, bytes, unfinished, penalty, why\n",
    .run = table_run,
    .rows = sources_rows,
    .columns = source_columns,
    .column_count = MS_ARRAY_LEN(source_columns),
    .key = "source",
};
