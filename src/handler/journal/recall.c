/* Tells the other workers what the journal holds, so that nothing that is sent again gets a second
 * record: after a start all of the window, and after the death of a worker what it may have written
 * without saying so. Only what is safe is told. Needs no lock, and disturbs nobody who writes. */
#include "handler/journal/journal.h"

#include "common/fd.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#define RECALL_PAUSE_MS 10

/* What the journal wants to know again of a committed message. */
enum recall_where { RECALL_IN_LINE, RECALL_BLOB, RECALL_FILE };

struct recall_memo {
    uint8_t id[ULID_BYTES];
    uint8_t where; /* enum recall_where, and of a file its number */
    uint8_t number[3];
};
static_assert(sizeof(struct recall_memo) == DEDUP_MEMO_LEN, "a memo of dedup.h");

static void
memo_fill(struct recall_memo *memo, const char *id, enum recall_where where, unsigned long number)
{
    ulid_pack(id, memo->id);
    memo->where = (uint8_t)where;
    for (unsigned i = 0; i < sizeof(memo->number); i++)
        memo->number[i] = (uint8_t)(number >> 8 * i);
}

void
recall_memo(const char id[ULID_LEN], const struct store_put *put, uint8_t out[DEDUP_MEMO_LEN])
{
    struct recall_memo memo;

    if (put == NULL)
        memo_fill(&memo, id, RECALL_IN_LINE, 0);
    else
        memo_fill(&memo, id, put->blob ? RECALL_BLOB : RECALL_FILE, put->number);
    memcpy(out, &memo, sizeof(memo));
}

void
recall_receipt(struct buffer *out, const struct message *m, const uint8_t bytes[DEDUP_MEMO_LEN])
{
    struct store_put put = {.m = (struct message *)(uintptr_t)m};
    char name[STORE_NAME_LEN], id[ULID_LEN];
    struct recall_memo memo;
    struct record_place place;

    memcpy(&memo, bytes, sizeof(memo));
    ulid_unpack(memo.id, id);
    put.blob = memo.where == RECALL_BLOB;
    for (unsigned i = 0; i < sizeof(memo.number); i++)
        put.number |= (unsigned)memo.number[i] << 8 * i;
    place = batch_place(&put, name);
    record_receipt(out, id, m, memo.where == RECALL_IN_LINE ? NULL : &place, true);
}

/* --- records --- */

struct recall {
    const struct data_dirs *dirs;
    const struct file_ops *ops;
    const _Atomic bool *stop;
    struct dedup *dedup;
    uint64_t since_ms, now_ms; /* as ids */
    bool is_fill;              /* else for orphans */
    char listener[512];        /* the last one */
    uint64_t scope;            /* of that */
};

/* The id of a record, decoded: bytes and n, which *to_free holds. */
static const void *
recall_key(const json_t *record, size_t *n_out, void **to_free)
{
    const json_t *text = json_object_get(record, "key");
    const json_t *base64 = json_object_get(record, "key_base64");
    size_t n = json_string_length(base64);
    const char *from = json_string_value(base64);

    *to_free = NULL;
    *n_out = json_string_length(text);
    if (text != NULL || n == 0)
        return json_string_value(text);
    *to_free = ms_malloc(n);
    *n_out = text_unbase64(from, n, *to_free);
    return *n_out > 0 ? *to_free : NULL;
}

/* The path of a file as its sender gave it, and the number behind it; or NULL. */
static const char *
recall_path(const json_t *record, unsigned long *number_out)
{
    static const char files[] = "files/";
    const char *file = json_string_value(json_object_get(record, "file"));
    const char *path = json_string_value(json_object_get(record, "path"));

    *number_out = 0;
    if (file == NULL || strncmp(file, files, sizeof(files) - 1) != 0)
        return NULL;
    file += sizeof(files) - 1;
    if (path == NULL)
        return file;
    if (strncmp(file, path, strlen(path)) == 0 && file[strlen(path)] == '.')
        *number_out = strtoul(file + strlen(path) + 1, NULL, 10);
    return path;
}

static void
recall_scope(struct recall *r, const char *listener)
{
    if (r->listener[0] != '\0' && strcmp(r->listener, listener) == 0)
        return;
    r->scope = dedup_scope(r->dedup, listener, 0);
    snprintf(r->listener, sizeof(r->listener), "%s", listener);
    if (strlen(listener) >= sizeof(r->listener))
        r->listener[0] = '\0';
}

/* The time of an id whose record was written when the wall clock said wall_ms. An earlier daemon
 * whose clock was set forward gave ids that are older than that. */
static uint64_t
recall_ms(const struct recall *r, const char *id, uint64_t wall_ms)
{
    return r->is_fill && wall_ms > ulid_ms(id) && wall_ms <= r->now_ms ? wall_ms : ulid_ms(id);
}

static void
recall_note(struct recall *r, const char *id, uint64_t ms, const json_t *record)
{
    const char *listener = json_string_value(json_object_get(record, "listener"));
    const char *sha256 = json_string_value(json_object_get(record, "sha256"));
    const char *kind = json_string_value(json_object_get(record, "kind"));
    const char *identity = json_string_value(json_object_get(record, "identity"));
    struct dedup_record note = {.ms = ms};
    struct recall_memo memo;
    unsigned long number = 0;
    void *to_free = NULL;
    const void *value;
    size_t n;
    bool is_file;

    if (listener == NULL || sha256 == NULL || kind == NULL ||
        !digest_unhex(sha256, SHA256_LEN, note.sha256))
        return;
    is_file = strcmp(kind, message_kind_name(MESSAGE_FILE)) == 0;
    value = is_file ? recall_path(record, &number) : recall_key(record, &n, &to_free);
    if (is_file)
        n = value != NULL ? strlen(value) : 0;
    if (value != NULL && n > 0) {
        recall_scope(r, listener);
        note.name = dedup_name(r->dedup, r->scope, is_file, identity, value, n);
        memo_fill(&memo, id,
                  is_file                                   ? RECALL_FILE
                  : json_object_get(record, "blob") != NULL ? RECALL_BLOB
                                                            : RECALL_IN_LINE,
                  number);
        memcpy(note.memo, &memo, sizeof(memo));
        if (r->is_fill)
            dedup_note(r->dedup, &note);
        else
            dedup_settle_orphan(r->dedup, &note);
    }
    free(to_free);
}

static bool
recall_is_stopped(const struct recall *r)
{
    return r->stop != NULL && atomic_load(r->stop);
}

static int
recall_line(void *arg, const struct segment_line *line)
{
    struct recall *r = arg;
    char id[ULID_LEN];
    json_t *record;
    uint64_t ms;

    if (recall_is_stopped(r)) {
        errno = ECANCELED;
        return -1;
    }
    if (r->is_fill)
        dedup_fill_on(r->dedup);
    if (!line->whole || !record_id_at(line->text, line->n, id))
        return 0;
    ms = ulid_ms(id);
    if (ms < r->since_ms)
        ms = recall_ms(r, id, record_time_ms(line->text, line->n));
    if (ms < r->since_ms)
        return 0;
    record = record_members(line->text, line->n);
    if (record != NULL)
        recall_note(r, id, ms, record);
    json_decref(record);
    return 0;
}

/* --- segments --- */

/* What is written is not safe before it is synced, and what comes behind that is not told. Recovery
 * may cut off what is torn meanwhile. Returns 0, or -1 with errno. */
static int
recall_segment_open(struct recall *r, int fd)
{
    uint64_t size = UINT64_MAX, time_ms;
    char newest[ULID_LEN];
    struct stat st;
    int rc;

    do {
        if (r->ops->status(fd, &st) < 0)
            return -1;
        if (!S_ISREG(st.st_mode) || !newest_in_segment(fd, newest, &time_ms) ||
            recall_ms(r, newest, time_ms) < r->since_ms)
            return 0;
        errno = EIO;
        if ((uint64_t)st.st_size >= size) /* it has not become shorter */
            return -1;
        size = (uint64_t)st.st_size;
        if ((st.st_mode & 0777) != SEGMENT_SEALED && r->ops->sync_data(fd) < 0)
            return -1;
        rc = segment_scan(r->ops, fd, 0, size, recall_line, r);
    } while (rc < 0 && errno == EIO);
    return rc;
}

/* Is it something that may have passed when somebody looks again? */
static bool
recall_may_pass(int error)
{
    return error == ECANCELED || error == EMFILE || error == ENFILE || error == ENOMEM;
}

/* Returns 0, or -1 where this has to be done again. */
static int
recall_segment(struct recall *r, const char *name)
{
    int fd = r->ops->open(r->dirs->journal, name, SEGMENT_READ);
    int rc = 0;

    if (fd < 0)
        rc = errno == ENOENT ? 0 : -1; /* somebody has taken it */
    else
        rc = recall_segment_open(r, fd);
    if (rc < 0 && !recall_may_pass(errno)) {
        log_line(LOG_recall_gap,
                 "journal/%s cannot be read, so a message in it that is sent again gets a second "
                 "record: %s",
                 name, strerror(errno));
        rc = 0;
    }
    fd_close(&fd);
    return rc;
}

/* All records since since_ms, the oldest segment first. Returns 0, or -1 where this has to be done
 * again. */
static int
recall_all(struct recall *r, uint64_t since_ms)
{
    struct dirent **names;
    int count = segment_names(r->dirs->journal, &names), rc = 0;

    r->since_ms = since_ms;
    if (count < 0 && recall_may_pass(errno))
        return -1;
    if (count < 0) {
        log_line(LOG_recall_gap,
                 "the journal cannot be searched for messages that are sent again: %s",
                 strerror(errno));
        return 0;
    }
    for (int i = 0; i < count && rc == 0; i++)
        rc = recall_segment(r, names[i]->d_name);
    segment_names_free(names, count);
    return rc;
}

static void
recall_orphans(struct recall *r)
{
    struct dedup_orphans orphans;

    if (dedup_orphans_find(r->dedup, &orphans) < 0 || orphans.count == 0)
        return;
    if (recall_all(r, orphans.since_ms) == 0)
        dedup_orphans_release(r->dedup, &orphans);
    else
        dedup_orphans_fini(&orphans);
}

/* --- an earlier daemon --- */

void
recall_hold(const struct data_dirs *dirs, const struct dedup *dedup)
{
    data_dir_hold(dirs->root, dedup_run(dedup));
}

/* What its workers commit yet has to be in the journal before that is read. False where it is
 * stopped before they have left. */
static bool
recall_await_earlier(const struct recall *r, uint64_t patience_us)
{
    uint64_t until_us = clock_mono_us() + patience_us;
    uint64_t run = dedup_run(r->dedup);

    if (!data_dir_is_held(r->dirs->root, run))
        return true;
    log_line(LOG_recall_waits,
             "workers of an earlier msockd, or of another one with this data_dir, still use the "
             "journal: messages with ids wait for them to leave");
    do {
        if (clock_mono_us() > until_us) {
            log_line(LOG_recall_gap,
                     "workers of an earlier msockd, or of another one with this data_dir, still "
                     "use the journal: a message that they have under way and that is sent again "
                     "gets a second record");
            return true;
        }
        dedup_fill_on(r->dedup);
        poll(NULL, 0, RECALL_PAUSE_MS);
        if (recall_is_stopped(r))
            return false;
    } while (data_dir_is_held(r->dirs->root, run));
    return true;
}

static void
recall_fill(struct recall *r, const struct handler_host *host)
{
    uint64_t window_ms = host->config->dedup_window_us / 1000;
    bool done;

    r->is_fill = true;
    done = recall_await_earlier(r, host->config->drain_timeout_us);
    r->now_ms = clock_id_us(host->id_offset_us) / 1000;
    done = done && recall_all(r, r->now_ms - window_ms) == 0;
    dedup_fill_end(r->dedup, done);
    r->is_fill = false;
}

void
recall_run(const struct handler_host *host, const struct data_dirs *dirs,
           const struct file_ops *ops, const _Atomic bool *stop)
{
    struct recall r = {.dirs = dirs, .ops = ops, .stop = stop, .dedup = host->dedup};

    if (dedup_fill_begin(r.dedup))
        recall_fill(&r, host);
    if (dedup_is_filled(r.dedup))
        recall_orphans(&r);
}
