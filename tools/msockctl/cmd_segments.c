/* msockctl segments: what a consumer may take from a journal, beside a msockd or without one. */
#include "ctl.h"

#include "handler/journal/segment_list.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define REAL_US_MAX UINT64_C(253402300800000000) /* the year 10000 */

struct lister {
    const struct ctl *ctl;
    json_t *rows;
    bool finished_only;
    int status;
};

static const struct column segment_columns[] = {
    {"name", NULL, COLUMN_TEXT},   {"state", NULL, COLUMN_TEXT}, {"worker", NULL, COLUMN_COUNT},
    {"bytes", NULL, COLUMN_BYTES}, {"begun", NULL, COLUMN_TEXT}, {"written", NULL, COLUMN_TEXT},
};

static json_t *
segment_time(uint64_t real_us)
{
    char text[CLOCK_RFC3339_LEN];

    if (real_us >= REAL_US_MAX)
        return json_string("-");
    clock_format(real_us, text);
    return json_string(text);
}

static void
lister_found(void *arg, const struct listed_segment *segment)
{
    struct lister *l = arg;
    json_t *row;

    if (l->finished_only && segment->state != LISTED_FINISHED)
        return;
    row = json_object();
    json_put(row, "name", json_text(segment->name));
    json_put(row, "state", json_text(listed_state_name(segment->state)));
    json_put(row, "worker", json_count(segment->worker));
    json_put(row, "bytes", json_count(segment->bytes));
    json_put(row, "begun", segment_time(segment->begun_us));
    json_put(row, "written", segment_time(segment->written_us));
    json_array_append_new(l->rows, row);
}

static void
lister_unread(void *arg, const char *name, int error)
{
    struct lister *l = arg;

    ctl_error(l->ctl, "journal/%s cannot be read: %s", name, strerror(error));
    l->status = error == EACCES ? EX_NOPERM : EX_IOERR;
}

/* For a shell: whole paths, as they are. */
static void
segments_print_paths(const char *dir, const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++)
        printf("%s/journal/%s\n", dir,
               json_string_value(json_object_get(json_array_get(rows, i), "name")));
}

static json_t *
segments_document(const char *dir, json_t *rows)
{
    json_t *document = json_object();

    json_put(document, "data_dir", json_text(dir));
    json_put(document, "segments", rows);
    return document;
}

static int
segments_dir(struct ctl *ctl, const char *dir, bool finished_only, bool json)
{
    struct lister l = {.ctl = ctl, .finished_only = finished_only};
    struct segment_list list = {
        .found = lister_found, .unread = lister_unread, .arg = &l, .data_dir = dir};
    char whole[PATH_MAX];

    l.rows = json_array();
    if (realpath(dir, whole) == NULL || segment_list_run(&list) < 0) {
        int error = errno;

        ctl_error(ctl, "the journal in %s cannot be read: %s", dir, strerror(error));
        json_decref(l.rows);
        return error == EACCES ? EX_NOPERM : EX_NOINPUT;
    }
    if (json) {
        json_print(segments_document(whole, l.rows), false);
        return ctl_finish(ctl, l.status);
    }
    if (finished_only)
        segments_print_paths(whole, l.rows);
    else
        table_print(l.rows, segment_columns, MS_ARRAY_LEN(segment_columns));
    json_decref(l.rows);
    return ctl_finish(ctl, l.status);
}

static int
segments_command(struct ctl *ctl, int argc, char *argv[])
{
    char running[CTL_DATA_DIR_LEN];
    const char *dir = NULL;
    bool json = false, finished = false;
    const struct ctl_option options[] = {
        {"json", &json, NULL}, {"finished", &finished, NULL}, {CTL_OPERAND, NULL, &dir}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));

    if (status != CTL_GO_ON)
        return status;
    if (dir == NULL && (status = ctl_data_dir(ctl, running)) != EX_OK)
        return status;
    return segments_dir(ctl, dir != NULL ? dir : running, finished, json);
}

const struct ctl_command ctl_segments = {
    .name = "segments",
    .summary = "list the journal's segments, and which may be taken",
    .help =
        "usage: msockctl [-r DIR] segments [--finished] [--json] [DATA_DIR]\n"
        "Lists the segments of the journal. One that is finished is never written to again,\n"
        "nor mended, so it may be moved, compressed or removed. Takes no lock, and works\n"
        "beside a running msockd. Without DATA_DIR: that of the msockd that runs, or ran last.\n\n"
        "  --finished  print only the paths of those that are finished, one a line\n"
        "  --json      one document for programs\n",
    .run = segments_command,
};
