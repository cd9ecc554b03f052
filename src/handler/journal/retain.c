/* A body may be named by records of several segments, and a commit may use it again at any moment.
 * So it goes only when all other segments have been read, to their very ends, while no commit has
 * its name. Bodies go first, then their directories are made safe, then the segments go:
 * whatever stops a turn, the next one does the rest. */
#include "handler/journal/retain.h"

#include "common/digest.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RETAIN_SMALL  (64u << 20) /* so much of the rest of the journal is always read */
#define RETAIN_SHARE  8           /* else no more than so many times what is due */
#define RETAIN_BODIES 200000u     /* of a turn */
#define RETAIN_BATCH  64u         /* bodies whose names no commit gets meanwhile */
#define RETAIN_BLOCK  (256u << 10)

#define PATIENCE_US 500000 /* so long it waits until no commit has these names */
#define PAUSE_MS    1

struct retain_body {
    char *path;
    uint64_t size;
    char sha256[SHA256_HEX_LEN + 1];
    bool stays;
    ino_t inode; /* of what was found to be it, unchanged since: */
    struct timespec changed;
};

/* A segment that stays, and how far it was read. */
struct retain_other {
    char name[SEGMENT_NAME_LEN];
    uint64_t end;
    bool is_sealed;
};

struct retaining {
    const struct retain *retain;
    const struct file_ops *ops;
    struct retain_tally *tally;
    struct dir_syncs syncs;
    struct data_dirs dirs;
    struct digester *digester;
    size_t due; /* so many segments, the oldest */
    struct retain_body *bodies;
    size_t count, cap;
    struct retain_other *others, *other; /* other: that is being read */
    size_t other_count;
};

/* --- what is due --- */

static bool
retain_is_stopped(const struct retaining *r)
{
    errno = ECANCELED;
    return r->retain->stop != NULL && atomic_load(r->retain->stop);
}

/* Since the last write. Where that is still to come, the clock was ahead then, and the ids tell. */
static uint64_t
retain_age_us(const struct retaining *r, int fd, const struct stat *st)
{
    uint64_t written_us = (uint64_t)st->st_mtim.tv_sec * 1000000, now_us = clock_real_us();
    char id[ULID_LEN];
    uint64_t time_ms;

    if (written_us > now_us && newest_in_segment(fd, id, &time_ms)) {
        written_us = ulid_ms(id) * 1000;
        now_us = clock_id_us(r->retain->id_offset_us);
    }
    return now_us > written_us ? now_us - written_us : 0;
}

static bool
retain_is_due(const struct retaining *r, const struct finished_segment *segment)
{
    int fd = r->ops->open(r->dirs.journal, segment->name, SEGMENT_READ);
    bool is_due = false;
    struct stat st;

    if (fd >= 0 && r->ops->status(fd, &st) == 0 && S_ISREG(st.st_mode) && !file_is_locked(fd))
        is_due = (uint64_t)st.st_size == segment->bytes &&
                 retain_age_us(r, fd, &st) >= r->retain->min_age_us;
    fd_close(&fd);
    return is_due;
}

static void
retain_find_due(struct retaining *r)
{
    const struct follow_finished *finished = r->retain->finished;
    uint64_t due = 0, rest = finished->rest;

    while (r->due < finished->count && retain_is_due(r, &finished->segments[r->due]))
        due += finished->segments[r->due++].bytes;
    for (size_t i = r->due; i < finished->count; i++)
        rest += finished->segments[i].bytes;
    if (rest > RETAIN_SMALL && rest / RETAIN_SHARE > due)
        r->due = 0;
}

/* --- records --- */

static int
retain_compare(const void *a, const void *b)
{
    return strcmp(((const struct retain_body *)a)->path, ((const struct retain_body *)b)->path);
}

static const char *
retain_member(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text != NULL ? text : "";
}

/* The path of a record's body; "" where it is none of ours. */
static const char *
retain_path(const json_t *record)
{
    const char *path = retain_member(record, "file");

    if (path[0] == '\0')
        path = retain_member(record, "blob");
    return strncmp(path, "files/", 6) == 0 || strncmp(path, "blobs/", 6) == 0 ? path : "";
}

static void
retain_add(struct retaining *r, const json_t *record)
{
    struct retain_body *body;

    if (retain_path(record)[0] == '\0')
        return;
    if (r->count == r->cap) {
        r->cap = r->cap == 0 ? 256 : r->cap * 2;
        r->bodies = realloc(r->bodies, r->cap * sizeof(*r->bodies));
        MS_ASSERT(r->bodies != NULL);
    }
    body = &r->bodies[r->count++];
    *body =
        (struct retain_body){.path = ms_strdup(retain_path(record)),
                             .size = (uint64_t)json_integer_value(json_object_get(record, "size"))};
    snprintf(body->sha256, sizeof(body->sha256), "%s", retain_member(record, "sha256"));
}

/* A segment that stays names it. Several records of what is due may name the same. */
static void
retain_keep(struct retaining *r, const json_t *record)
{
    struct retain_body key = {.path = (char *)(uintptr_t)retain_path(record)};
    struct retain_body *body =
        bsearch(&key, r->bodies, r->count, sizeof(*r->bodies), retain_compare);

    if (body == NULL)
        return;
    while (body > r->bodies && retain_compare(body - 1, &key) == 0)
        body--;
    for (; body < r->bodies + r->count && retain_compare(body, &key) == 0; body++)
        body->stays = true;
}

static int
retain_see(void *arg, const struct segment_line *line)
{
    struct retaining *r = arg;
    json_t *record;

    if (retain_is_stopped(r))
        return -1;
    if (line->whole && r->other != NULL)
        r->other->end = line->at + line->n;
    if (!line->whole || !record_has_place(line->text, line->n))
        return 0;
    record = record_members(line->text, line->n);
    if (r->other != NULL)
        retain_keep(r, record);
    else
        retain_add(r, record);
    json_decref(record);
    return 0;
}

static int
retain_scan(struct retaining *r, const char *name, uint64_t from, bool *is_sealed_out)
{
    int fd = r->ops->open(r->dirs.journal, name, SEGMENT_READ), rc = -1;
    struct stat st;

    if (fd < 0) /* somebody has taken it, or it is none of ours */
        return errno == ENOENT || errno == ELOOP || errno == ENXIO ? 0 : -1;
    if (r->ops->status(fd, &st) == 0) {
        rc = S_ISREG(st.st_mode) && (uint64_t)st.st_size > from
                 ? segment_scan(r->ops, fd, from, (uint64_t)st.st_size, retain_see, r)
                 : 0;
        *is_sealed_out = (st.st_mode & 0777) == SEGMENT_SEALED;
    }
    fd_close(&fd);
    return rc;
}

static int
retain_read_due(struct retaining *r)
{
    bool is_sealed;

    for (size_t i = 0; i < r->due; i++) {
        if (retain_scan(r, r->retain->finished->segments[i].name, 0, &is_sealed) < 0)
            return -1;
        if (r->count > RETAIN_BODIES)
            r->due = i + 1;
    }
    if (r->count > 0)
        qsort(r->bodies, r->count, sizeof(*r->bodies), retain_compare);
    return 0;
}

/* Reads what has come to the others since they were read last. names are sorted, and so is all
 * else. */
static int
retain_read_names(struct retaining *r, struct dirent **names, int count)
{
    const struct finished_segment *due = r->retain->finished->segments, *due_end = due + r->due;
    const struct retain_other *old = r->others, *old_end = old + r->other_count;
    struct retain_other *others = ms_calloc((size_t)count + 1, sizeof(*others));
    int rc = 0;

    r->other = others;
    for (int i = 0; i < count && rc == 0; i++) {
        const char *name = names[i]->d_name;

        while (due < due_end && strcmp(due->name, name) < 0)
            due++;
        while (old < old_end && strcmp(old->name, name) < 0)
            old++;
        if (due < due_end && strcmp(due->name, name) == 0)
            continue;
        if (old < old_end && strcmp(old->name, name) == 0)
            *r->other = *old;
        else
            memcpy(r->other->name, name, strlen(name) + 1);
        if (!r->other->is_sealed)
            rc = retain_scan(r, name, r->other->end, &r->other->is_sealed);
        r->other++;
    }
    free(r->others);
    r->others = others;
    r->other_count = (size_t)(r->other - others);
    return rc;
}

static int
retain_read_others(struct retaining *r)
{
    struct dirent **names;
    int count = segment_names(r->dirs.journal, &names), rc;

    if (count < 0)
        return -1;
    rc = retain_read_names(r, names, count);
    segment_names_free(names, count);
    return rc;
}

/* --- bodies --- */

static int
retain_digest(const struct retaining *r, uint64_t size, int fd, char hex_out[SHA256_HEX_LEN + 1])
{
    struct sha256 *digest = sha256_begin(r->digester);
    char *block = ms_malloc(RETAIN_BLOCK);
    uint8_t sha256[SHA256_LEN];
    int rc = 0;

    for (uint64_t at = 0; at < size && rc == 0; at += RETAIN_BLOCK) {
        size_t n = size - at < RETAIN_BLOCK ? (size_t)(size - at) : RETAIN_BLOCK;

        rc = retain_is_stopped(r) ? -1 : fd_read_by(r->ops->read, fd, block, n, (off_t)at);
        if (rc == 0)
            sha256_update(digest, block, n);
        thread_give_way();
    }
    sha256_finish(digest, sha256);
    sha256_release(r->digester, digest);
    free(block);
    digest_hex(sha256, SHA256_LEN, hex_out);
    return rc;
}

/* Is the file what the record says, and the stream has got? Somebody may have moved another one of
 * that size here, with an old time. Returns 0, or -1 with errno. */
static int
retain_compare_body(const struct retaining *r, struct retain_body *body, int fd)
{
    char hex[SHA256_HEX_LEN + 1];
    struct stat st;

    if (r->ops->status(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != body->size)
        return 0;
    if (retain_digest(r, body->size, fd, hex) < 0)
        return -1;
    body->stays = strcmp(hex, body->sha256) != 0;
    body->inode = st.st_ino;
    body->changed = st.st_ctim;
    return 0;
}

static const char *
retain_name(const struct retain_body *body)
{
    return strrchr(body->path, '/') + 1;
}

/* Is there no such thing, or something else in its place? */
static bool
retain_is_none(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENXIO;
}

/* May take long, so commits do not wait for it. Returns 0, or -1 with errno. */
static int
retain_look_at(const struct retaining *r, struct retain_body *body, int dir_fd)
{
    int fd, rc;

    if (body->stays)
        return 0;
    fd = r->ops->open(dir_fd, retain_name(body), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    body->stays = true;
    if (fd < 0)
        return retain_is_none(errno) ? 0 : -1;
    rc = retain_compare_body(r, body, fd);
    fd_close(&fd);
    return rc;
}

/* Returns 0 also where it is gone, or something else by now. */
static int
retain_remove_body(const struct retaining *r, const struct retain_body *body, int dir_fd)
{
    struct stat st;

    if (body->stays || fstatat(dir_fd, retain_name(body), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_ino != body->inode || memcmp(&st.st_ctim, &body->changed, sizeof(st.st_ctim)) != 0)
        return 0;
    if (r->ops->remove(dir_fd, retain_name(body)) < 0) {
        log_line(LOG_body_not_removed, "retain: %s cannot be removed: %s", body->path,
                 strerror(errno));
        return -1;
    }
    r->tally->bodies++;
    r->tally->bytes += body->size;
    return 0;
}

/* So many of the bodies from here on are in one directory. */
static size_t
retain_batch(const struct retaining *r, size_t from)
{
    const struct retain_body *first = &r->bodies[from];
    size_t dir_len = (size_t)(retain_name(first) - first->path), n = 1;

    while (n < RETAIN_BATCH && from + n < r->count &&
           (size_t)(retain_name(first + n) - first[n].path) == dir_len &&
           memcmp(first->path, first[n].path, dir_len) == 0)
        n++;
    return n;
}

/* A commit that gives a file a number has its name without one: "a" for "a.1". */
static size_t
retain_unnumbered(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot != NULL && strspn(dot + 1, "0123456789") == strlen(dot + 1) ? (size_t)(dot - path)
                                                                           : strlen(path);
}

/* What is it to the commits that may use the body: its name with and without a number. */
static void
retain_places(const struct retain_body *body, uint64_t places_out[2])
{
    places_out[0] = dir_place(DIR_PLACE_ROOT, body->path, strlen(body->path));
    places_out[1] = dir_place(DIR_PLACE_ROOT, body->path, retain_unnumbered(body->path));
}

static bool
retain_is_used(const struct retaining *r, const struct retain_body *bodies, size_t count)
{
    uint64_t places[2];

    for (size_t i = 0; i < count; i++) {
        retain_places(&bodies[i], places);
        if (data_name_is_taken(r->dirs.root, NAME_COMMITTED, places[0]) ||
            data_name_is_taken(r->dirs.root, NAME_COMMITTED, places[1]))
            return true;
    }
    return false;
}

/* No commit uses these names any more, or begins to, until they are given back. Returns 0, or -1
 * with errno. */
static int
retain_take_names(const struct retaining *r, const struct retain_body *bodies, size_t count)
{
    uint64_t until_us = clock_mono_us() + PATIENCE_US, places[2];

    for (size_t i = 0; i < count; i++) {
        retain_places(&bodies[i], places);
        if (data_name_take(r->dirs.root, NAME_REMOVED, places[0]) < 0 ||
            data_name_take(r->dirs.root, NAME_REMOVED, places[1]) < 0)
            return -1;
    }
    while (retain_is_used(r, bodies, count)) {
        if (clock_mono_us() > until_us) {
            errno = EBUSY;
            return -1;
        }
        (void)poll(NULL, 0, PAUSE_MS);
    }
    return 0;
}

/* Bodies of one directory. Commits wait a moment for their names. */
static int
retain_remove_batch(struct retaining *r, struct retain_body *bodies, size_t count, int dir_fd)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = retain_look_at(r, &bodies[i], dir_fd);
    if (rc == 0)
        rc = retain_take_names(r, bodies, count);
    if (rc == 0)
        rc = retain_read_others(r);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = retain_remove_body(r, &bodies[i], dir_fd);
    data_names_give(r->dirs.root, NAME_REMOVED);
    return rc < 0 ? -1 : r->ops->sync_dir(dir_fd);
}

static int
retain_remove_bodies(struct retaining *r)
{
    char dir[PATH_MAX];
    int rc = 0;

    for (size_t at = 0, n; at < r->count && rc == 0; at += n) {
        struct retain_body *first = &r->bodies[at];
        int dir_fd;

        n = retain_batch(r, at);
        snprintf(dir, sizeof(dir), "%.*s", (int)(retain_name(first) - first->path - 1),
                 first->path);
        dir_fd = r->ops->open_beneath(r->dirs.root, dir, O_RDONLY | O_DIRECTORY);
        if (dir_fd < 0)
            rc = retain_is_none(errno) ? 0 : -1;
        else
            rc = retain_is_stopped(r) ? -1 : retain_remove_batch(r, first, n, dir_fd);
        fd_close(&dir_fd);
    }
    return rc;
}

/* --- all of it --- */

static int
retain_remove_segments(struct retaining *r)
{
    for (size_t i = 0; i < r->due; i++) {
        const struct finished_segment *segment = &r->retain->finished->segments[i];

        if (!retain_is_due(r, segment))
            continue; /* somebody else's now */
        if (r->ops->remove(r->dirs.journal, segment->name) < 0)
            return -1;
        r->tally->segments++;
        r->tally->bytes += segment->bytes;
    }
    return 0;
}

/* As a commit does, it lets others know that what a record names may not be there. */
static int
retain_remove(struct retaining *r)
{
    int rc;

    data_dirs_begin_commit(&r->dirs);
    rc = retain_remove_bodies(r) < 0 ? -1 : retain_remove_segments(r);
    data_dirs_end_commit(&r->dirs);
    return rc;
}

int
retain_run(const struct retain *retain, struct retain_tally *tally_out)
{
    struct retaining r = {.retain = retain, .ops = retain->ops, .tally = tally_out};
    int rc = -1, saved;

    *tally_out = (struct retain_tally){0};
    r.dirs = DATA_DIRS_CLOSED;
    dir_syncs_init(&r.syncs, r.ops);
    r.digester = digester_create();
    if (r.digester == NULL || data_dirs_open(&r.dirs, retain->config, &r.syncs) < 0)
        goto out;
    retain_find_due(&r);
    rc = r.due == 0 ? 0 : retain_read_due(&r);
    if (rc == 0 && r.count > 0)
        rc = retain_read_others(&r);
    if (rc == 0 && r.due > 0)
        rc = retain_remove(&r);
out:
    saved = errno;
    for (size_t i = 0; i < r.count; i++)
        free(r.bodies[i].path);
    free(r.bodies);
    free(r.others);
    digester_destroy(r.digester);
    data_dirs_close(&r.dirs);
    dir_syncs_fini(&r.syncs);
    errno = saved;
    return rc;
}

int
retain_check(const struct config *config, char error[CONFIG_ERROR_LEN])
{
    int root = open(config->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = root >= 0 && data_dir_has_locks(root) ? 0 : -1;

    if (rc < 0)
        snprintf(error, CONFIG_ERROR_LEN,
                 "retain = relayed needs locks of the directory %s, by which commits are kept off "
                 "while files are removed: %s",
                 config->data_dir, strerror(errno));
    fd_close(&root);
    return rc;
}
