/* msockctl verify: proves a journal with its files and blobs, beside a msockd or without one. */
#include "ctl.h"

#include "common/text.h"
#include "handler/journal/verify.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_US 200000

struct verifier {
    json_t *findings; /* NULL: they are printed */
    bool shows_progress;
    uint64_t shown_us;
};

/* --- findings --- */

static void
verifier_print(const struct verify_finding *f)
{
    switch (f->what) {
    case VERIFY_DAMAGED:
    case VERIFY_TORN:
        ctl_print("%s: %s, %" PRIu64 " bytes at %" PRIu64, f->path, verify_name(f->what), f->n,
                  f->at);
        break;
    case VERIFY_REPLACED:
        ctl_print("%s: %" PRIu64 " bytes at %" PRIu64
                  " were damaged; recovery has kept them in journal/damaged/",
                  f->path, f->n, f->at);
        break;
    case VERIFY_MISSING:
        ctl_print("%s: missing; record %s names it", f->path, f->record);
        break;
    case VERIFY_WRONG:
        ctl_print("%s: not what any record says it is; record %s names it", f->path, f->record);
        break;
    case VERIFY_UNNAMED:
        ctl_print("%s: no record names it", f->path);
        break;
    case VERIFY_LEFTOVER:
        ctl_print("%s: left behind by a crash; the next start removes it", f->path);
        break;
    case VERIFY_IRREGULAR:
        ctl_print("%s: not a regular file", f->path);
        break;
    case VERIFY_UNREAD:
        ctl_print("%s: cannot be read: %s", f->path, strerror(f->error));
        break;
    }
}

static void
verifier_put(json_t *findings, const struct verify_finding *f)
{
    json_t *row = json_object();

    json_put(row, "what", json_text(verify_name(f->what)));
    json_put(row, "path", json_text(f->path));
    if (f->n > 0) {
        json_put(row, "at", json_count(f->at));
        json_put(row, "bytes", json_count(f->n));
    }
    if (f->record != NULL)
        json_put(row, "record", json_text(f->record));
    if (f->error != 0)
        json_put(row, "error", json_text(strerror(f->error)));
    json_array_append_new(findings, row);
}

static void
verifier_clear_line(struct verifier *v)
{
    if (v->shows_progress && v->shown_us != 0)
        fputs("\r\033[K", stderr);
    v->shown_us = 0;
}

static void
verifier_found(void *arg, const struct verify_finding *finding)
{
    struct verifier *v = arg;

    verifier_clear_line(v);
    if (v->findings != NULL)
        verifier_put(v->findings, finding);
    else
        verifier_print(finding);
}

static void
verifier_progress(void *arg, const struct verify_tally *t)
{
    struct verifier *v = arg;
    uint64_t now_us;

    if (!v->shows_progress)
        return;
    now_us = clock_mono_us();
    if (now_us < v->shown_us + PROGRESS_US)
        return;
    v->shown_us = now_us;
    fprintf(stderr, "\r\033[K%" PRIu64 " records, %" PRIu64 " files and blobs, %" PRIu64 " MiB",
            t->records, t->files + t->blobs, (t->bytes + t->file_bytes) >> 20);
}

/* --- the command --- */

static void
verify_summary(const struct verify_tally *t)
{
    ctl_print("records %" PRIu64 ", segments %" PRIu64 " (being written: %" PRIu64
              "), files %" PRIu64 ", blobs %" PRIu64 ", bytes %" PRIu64,
              t->records, t->segments, t->open, t->files, t->blobs, t->bytes + t->file_bytes);
    if (t->findings == 0)
        ctl_print("all is sound");
    else
        ctl_print("%" PRIu64 " finding%s", t->findings, t->findings == 1 ? "" : "s");
}

static void
verify_document(const char *dir, const struct verify_tally *t, json_t *findings)
{
    json_t *document = json_object();

    json_put(document, "data_dir", json_text(dir));
    json_put(document, "sound", json_boolean(t->findings == 0));
    json_put(document, "segments", json_count(t->segments));
    json_put(document, "being_written", json_count(t->open));
    json_put(document, "records", json_count(t->records));
    json_put(document, "files", json_count(t->files));
    json_put(document, "blobs", json_count(t->blobs));
    json_put(document, "bytes", json_count(t->bytes + t->file_bytes));
    json_put(document, "findings", findings);
    json_print(document, false);
}

/* Whether text is a time as the records have it, or the beginning of one up to a whole field, and
 * is in the calendar. */
static bool
verify_is_time(const char *text)
{
    char full[] = "0000-01-01T00:00:00.000000Z";
    size_t n = strlen(text);
    struct tm given = {0}, real;

    if (n < 4 || n >= sizeof(full) || (n < 20 && isdigit((unsigned char)full[n])))
        return false;
    for (size_t i = 0; i < n; i++)
        if (isdigit((unsigned char)full[i]) ? !isdigit((unsigned char)text[i]) : text[i] != full[i])
            return false;
    memcpy(full, text, n);
    if (sscanf(full, "%4d-%2d-%2dT%2d:%2d:%2d", &given.tm_year, &given.tm_mon, &given.tm_mday,
               &given.tm_hour, &given.tm_min, &given.tm_sec) != 6)
        return false;
    given.tm_year -= 1900;
    given.tm_mon -= 1;
    real = given;
    (void)timegm(&real); /* makes another time of one that is in no calendar */
    return real.tm_mon == given.tm_mon && real.tm_mday == given.tm_mday &&
           real.tm_hour == given.tm_hour && real.tm_min == given.tm_min &&
           real.tm_sec == given.tm_sec;
}

/* "36h" before now, or a time. Returns false after an error message. */
static bool
verify_since(const struct ctl *ctl, const char *text, char out[CLOCK_RFC3339_LEN])
{
    uint64_t us;

    if (verify_is_time(text)) {
        snprintf(out, CLOCK_RFC3339_LEN, "%s", text);
        return true;
    }
    if (text_parse_duration(text, &us) == 0 && us < clock_real_us()) {
        clock_format(clock_real_us() - us, out);
        return true;
    }
    (void)ctl_usage(ctl,
                    "--since takes a time such as 2026-11-28T15:00 or a duration such as 36h, "
                    "not \"%s\"",
                    text);
    return false;
}

static int
verify_dir(struct ctl *ctl, const char *dir, const char *since, bool json)
{
    struct verifier v = {.findings = json ? json_array() : NULL,
                         .shows_progress = isatty(STDERR_FILENO) == 1};
    struct verify verify = {.data_dir = dir,
                            .since = since,
                            .found = verifier_found,
                            .progress = verifier_progress,
                            .arg = &v};
    struct verify_tally tally;

    if (verify_run(&verify, &tally) < 0) {
        int error = errno;

        verifier_clear_line(&v);
        json_decref(v.findings);
        ctl_error(ctl, "%s cannot be verified: %s", dir, strerror(error));
        return EX_NOINPUT;
    }
    verifier_clear_line(&v);
    if (json)
        verify_document(dir, &tally, v.findings);
    else
        verify_summary(&tally);
    return ctl_finish(ctl, tally.findings == 0 ? EX_OK : EX_DATAERR);
}

static int
verify_command(struct ctl *ctl, int argc, char *argv[])
{
    char since[CLOCK_RFC3339_LEN], running[CTL_DATA_DIR_LEN];
    const char *since_text = NULL, *dir = NULL;
    bool json = false;
    const struct ctl_option options[] = {
        {"json", &json, NULL}, {"since", NULL, &since_text}, {CTL_OPERAND, NULL, &dir}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));

    if (status != CTL_GO_ON)
        return status;
    if (since_text != NULL && !verify_since(ctl, since_text, since))
        return EX_USAGE;
    since_text = since_text != NULL ? since : NULL;
    if (dir == NULL && (status = ctl_data_dir(ctl, running)) != EX_OK)
        return status;
    return verify_dir(ctl, dir != NULL ? dir : running, since_text, json);
}

const struct ctl_command ctl_verify = {
    .name = "verify",
    .summary = "prove the journal, its files and its blobs",
    .help =
        "usage: msockctl [-r DIR] verify [--json] [--since TIME] [DATA_DIR]\n"
        "Reads the journal and all it names, and says what is not as it was written: records by\n"
        "their CRC-32, files and blobs by size and SHA-256, torn ends, files that no record\n"
        "names. Changes nothing, follows no link, and works beside a running msockd. Without\n"
        "DATA_DIR: that of the msockd that runs, or ran last. Exits with 0 where all is sound,\n"
        "with 65 where something was found.\n\n"
        "  --json        one document for programs\n"
        "  --since TIME  of records: read only files and blobs that are younger, and do not look\n"
        "                for those that no record names; 2026-11-28T15:00 (UTC), or 36h ago\n",
    .run = verify_command,
};
