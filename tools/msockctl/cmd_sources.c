/* msockctl sources: who is connected or was lately, what each source has, and who is turned
 * away. */
#include "ctl.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define NAME_LEN 128

static const struct column source_columns[] = {
    {"source", NULL, COLUMN_TEXT},      {"open", NULL, COLUMN_COUNT},
    {"rate", "MSGS/S", COLUMN_COUNT},   {"bytes", NULL, COLUMN_BYTES},
    {"unfinished", NULL, COLUMN_BYTES}, {"penalty", NULL, COLUMN_COUNT},
    {"why", NULL, COLUMN_TEXT},
};

/* What a penalty was for; the number comes from shared memory. */
static const char *
reason_words(enum stats_blame reason)
{
    static const char *const words[] = {"",
#define X(name, text, weight_ms) text,
                                        STATS_BLAME_LIST(X)
#undef X
    };

    return (unsigned)reason < MS_ARRAY_LEN(words) ? words[reason] : "unknown";
}

/* "127.0.0.2", "2001:db8::/64", "user:app" */
static const char *
source_name(const struct source *source, char out[NAME_LEN])
{
    char text[INET6_ADDRSTRLEN] = "?";
    const struct passwd *pw;

    switch (source->kind) {
    case SOURCE_IPV4:
        inet_ntop(AF_INET, source->bytes, out, NAME_LEN);
        break;
    case SOURCE_IPV6:
        inet_ntop(AF_INET6, source->bytes, text, sizeof(text));
        snprintf(out, NAME_LEN, "%s/64", text);
        break;
    case SOURCE_USER:
        pw = getpwuid(be32_load(source->bytes));
        snprintf(out, NAME_LEN, "user:%u", be32_load(source->bytes));
        if (pw != NULL)
            snprintf(out, NAME_LEN, "user:%s", pw->pw_name);
        break;
    default: /* any number may stand there */
        snprintf(out, NAME_LEN, "kind %u", source->kind);
    }
    return out;
}

static json_t *
source_json(const struct stats_source_view *view)
{
    char name[NAME_LEN];
    json_t *row = json_object();

    json_put(row, "source", json_text(source_name(&view->source, name)));
    json_put(row, "open", json_count(view->open));
    json_put(row, "rate", json_count(view->rate));
    json_put(row, "bytes", json_count(view->bytes));
    json_put(row, "unfinished", json_count(view->unfinished));
    json_put(row, "penalty", json_count(view->penalty_s));
    json_put(row, "why", json_string(view->penalty_s > 0 ? reason_words(view->reason) : ""));
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
