/* The segments are read first: they say which files and blobs there have to be. Where several
 * records name one path, the youngest says what it holds. */
#include "handler/journal/verify.h"

#include "common/digest.h"
#include "common/fd.h"
#include "handler/journal/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERIFY_BLOCK    (256u << 10)
#define VERIFY_DIR      (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define VERIFY_YOUNG_US 60000000 /* a file without a record may still get one */

/* A file or blob that a record names. */
struct named {
    char *path; /* "files/..." or "blobs/..." */
    char id[ULID_LEN + 1], sha256[SHA256_HEX_LEN + 1];
    uint64_t size;
    bool wanted; /* since does not leave it out */
};

struct verifying {
    const struct verify *verify;
    struct verify_tally tally;
    struct digester *digester;
    char *block;
    int root;
    void *named; /* of tsearch, by path */
    /* the segment that is being read */
    const char *segment;
    bool is_open;
    struct verify_finding run; /* a stretch of it that may go on; n 0: none */
};

const char *
verify_name(enum verify_what what)
{
    static const char *const names[] = {
        [VERIFY_DAMAGED] = "damaged", [VERIFY_REPLACED] = "replaced", [VERIFY_TORN] = "torn",
        [VERIFY_MISSING] = "missing", [VERIFY_WRONG] = "wrong",       [VERIFY_UNNAMED] = "unnamed",
        [VERIFY_UNREAD] = "unread",
    };

    return names[what];
}

static void
verify_found(struct verifying *v, const struct verify_finding *finding)
{
    v->tally.findings++;
    v->verify->found(v->verify->arg, finding);
}

static void
verify_say(struct verifying *v, enum verify_what what, const char *path, const char *record)
{
    struct verify_finding finding = {
        .what = what, .path = path, .record = record, .error = what == VERIFY_UNREAD ? errno : 0};

    verify_found(v, &finding);
}

static void
verify_progress(struct verifying *v)
{
    if (v->verify->progress != NULL)
        v->verify->progress(v->verify->arg, &v->tally);
}

/* --- records --- */

static int
named_compare(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->path, ((const struct named *)b)->path);
}

static void
named_free(void *entry)
{
    free(((struct named *)entry)->path);
    free(entry);
}

static const char *
record_member(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text != NULL ? text : "";
}

/* The youngest record of a path counts. ULIDs sort like the time. */
static void
verify_name_file(struct verifying *v, const json_t *record, const char *path)
{
    struct named *entry = ms_calloc(1, sizeof(*entry));
    struct named **found;

    entry->path = ms_strdup(path);
    found = tsearch(entry, &v->named, named_compare);
    MS_ASSERT(found != NULL);
    if (*found != entry) {
        named_free(entry);
        entry = *found;
        if (strcmp(record_member(record, "id"), entry->id) < 0)
            return;
    }
    snprintf(entry->id, sizeof(entry->id), "%s", record_member(record, "id"));
    snprintf(entry->sha256, sizeof(entry->sha256), "%s", record_member(record, "sha256"));
    entry->size = (uint64_t)json_integer_value(json_object_get(record, "size"));
    entry->wanted =
        v->verify->since == NULL || strcmp(record_member(record, "time"), v->verify->since) >= 0;
}

static void
verify_record(struct verifying *v, const struct segment_line *line)
{
    json_t *record = json_loadb(line->text, line->n - 1, JSON_ALLOW_NUL, NULL);
    const char *path = record_member(record, "file");

    v->tally.records++;
    if (path[0] == '\0')
        path = record_member(record, "blob");
    if (path[0] != '\0')
        verify_name_file(v, record, path);
    json_decref(record);
}

/* --- segments --- */

/* What was not whole up to here. At the end of a segment that is being written it is the next batch
 * on its way. */
static void
verify_end_run(struct verifying *v, bool at_end)
{
    if (v->run.n == 0)
        return;
    if (at_end)
        v->run.what = VERIFY_TORN;
    if (!at_end || !v->is_open)
        verify_found(v, &v->run);
    v->run.n = 0;
}

static int
verify_line(void *arg, const struct segment_line *line)
{
    struct verifying *v = arg;
    /* At the end of a segment that is being written, the newline is on its way. */
    bool bad = !line->whole || (line->bad_end && !(line->no_end && v->is_open));
    bool replaced = line->whole && record_is_damage(line->text, line->n - 1);

    if (line->whole)
        verify_end_run(v, false);
    if (bad && v->run.n == 0)
        v->run = (struct verify_finding){
            .what = VERIFY_DAMAGED, .path = v->segment, .at = line->at, .n = line->n};
    else if (bad)
        v->run.n += line->n;
    if (bad && line->whole)
        verify_end_run(v, false);
    if (replaced)
        verify_found(
            v, &(struct verify_finding){
                   .what = VERIFY_REPLACED, .path = v->segment, .at = line->at, .n = line->n});
    else if (line->whole && record_trimmed(line->text, line->n - 1) > 0)
        verify_record(v, line);
    v->tally.bytes += line->n;
    verify_progress(v);
    return 0;
}

/* A worker holds a lock on what it writes to. Asking for it by another open file takes none. */
static bool
segment_is_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void
verify_segment(struct verifying *v, int dir_fd, const char *name)
{
    char path[sizeof("journal/") + NAME_MAX];
    struct stat st;
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    snprintf(path, sizeof(path), "journal/%s", name);
    v->segment = path;
    v->is_open = false;
    if (fd < 0 && errno == ENOENT)
        return; /* one that held nothing and was removed meanwhile */
    if (fd >= 0)
        v->is_open = segment_is_locked(fd);
    if (fd < 0 || fstat(fd, &st) < 0 ||
        segment_scan(&file_ops_synced, fd, (uint64_t)st.st_size, verify_line, v) < 0)
        verify_say(v, VERIFY_UNREAD, path, NULL);
    verify_end_run(v, true);
    v->tally.segments++;
    v->tally.open += v->is_open;
    fd_close(&fd);
}

static int
verify_by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int
verify_wants_segment(const struct dirent *entry)
{
    return segment_is_name(entry->d_name);
}

static int
verify_segments(struct verifying *v)
{
    int fd = openat(v->root, "journal", VERIFY_DIR);
    struct dirent **names;
    int count = fd < 0 ? -1 : scandirat(fd, ".", &names, verify_wants_segment, verify_by_name);

    for (int i = 0; i < count; i++) {
        verify_segment(v, fd, names[i]->d_name);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    fd_close(&fd);
    return count < 0 ? -1 : 0;
}

/* --- files and blobs --- */

static int
verify_digest(struct verifying *v, int fd, uint64_t size, char hex_out[SHA256_HEX_LEN + 1])
{
    struct sha256 *digest = sha256_begin(v->digester);
    uint8_t sha256[SHA256_LEN];
    int rc = 0;

    for (uint64_t at = 0; at < size && rc == 0;) {
        size_t n = size - at < VERIFY_BLOCK ? (size_t)(size - at) : VERIFY_BLOCK;

        rc = fd_pread_all(fd, v->block, n, (off_t)at);
        if (rc == 0)
            sha256_update(digest, v->block, n);
        at += n;
        v->tally.file_bytes += n;
        verify_progress(v);
    }
    sha256_finish(digest, sha256);
    sha256_release(v->digester, digest);
    digest_hex(sha256, SHA256_LEN, hex_out);
    return rc;
}

static void
verify_content(struct verifying *v, const struct named *entry, int fd)
{
    char hex[SHA256_HEX_LEN + 1];
    struct stat st;

    if (fstat(fd, &st) < 0)
        verify_say(v, VERIFY_UNREAD, entry->path, entry->id);
    else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != entry->size)
        verify_say(v, VERIFY_WRONG, entry->path, entry->id);
    else if (verify_digest(v, fd, entry->size, hex) < 0)
        verify_say(v, VERIFY_UNREAD, entry->path, entry->id);
    else if (strcmp(hex, entry->sha256) != 0)
        verify_say(v, VERIFY_WRONG, entry->path, entry->id);
}

static void
verify_named(struct verifying *v, const struct named *entry)
{
    int fd;

    if (!entry->wanted)
        return;
    if (strncmp(entry->path, "blobs/", 6) == 0)
        v->tally.blobs++;
    else
        v->tally.files++;
    fd = file_ops_synced.open_beneath(v->root, entry->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        verify_say(v, VERIFY_MISSING, entry->path, entry->id);
    else if (fd < 0)
        verify_say(v, VERIFY_UNREAD, entry->path, entry->id);
    else
        verify_content(v, entry, fd);
    fd_close(&fd);
    verify_progress(v);
}

static void
verify_visit(const void *node, VISIT when, void *arg)
{
    if (when == postorder || when == leaf)
        verify_named(arg, *(const struct named *const *)node);
}

/* --- what no record names --- */

/* A message that is being committed has its file before its record. */
static bool
verify_may_be_under_way(const struct verifying *v, const struct stat *st)
{
    return v->tally.open > 0 &&
           (uint64_t)st->st_ctim.tv_sec * 1000000 + VERIFY_YOUNG_US > clock_real_us();
}

static void verify_walk(struct verifying *v, int fd, const char *path);

static void
verify_entry(struct verifying *v, int dir_fd, const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct named key = {.path = path};
    struct stat st;

    if (temp_file_is_name(name) ||
        snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
        fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (S_ISDIR(st.st_mode))
        verify_walk(v, openat(dir_fd, name, VERIFY_DIR), path);
    else if (tfind(&key, &v->named, named_compare) == NULL && !verify_may_be_under_way(v, &st))
        verify_say(v, VERIFY_UNNAMED, path, NULL);
}

static void
verify_walk(struct verifying *v, int fd, const char *path)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL) {
        verify_say(v, VERIFY_UNREAD, path, NULL);
        fd_close(&fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            verify_entry(v, fd, path, entry->d_name);
    closedir(dir);
}

/* --- all of it --- */

int
verify_run(const struct verify *verify, struct verify_tally *tally_out)
{
    struct verifying v = {.verify = verify, .root = -1};
    int rc = -1;

    v.digester = digester_create();
    v.block = ms_malloc(VERIFY_BLOCK);
    v.root = open(verify->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v.digester == NULL || v.root < 0 || verify_segments(&v) < 0)
        goto out;
    twalk_r(v.named, verify_visit, &v);
    if (verify->since == NULL) {
        verify_walk(&v, openat(v.root, "files", VERIFY_DIR), "files");
        verify_walk(&v, openat(v.root, "blobs", VERIFY_DIR), "blobs");
    }
    *tally_out = v.tally;
    rc = 0;
out:
    tdestroy(v.named, named_free);
    fd_close(&v.root);
    free(v.block);
    digester_destroy(v.digester);
    return rc;
}
