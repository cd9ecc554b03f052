/* The segments are read first: they say which files and blobs there have to be. A message that is
 * being committed has its file before its record, so a file beside a running msockd is not judged
 * by what was read before: what no record explains is looked for once more in what was written
 * since, when all commits that had begun are over. No clock decides. */
#include "handler/journal/verifying.h"

#include "common/digest.h"
#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERIFY_BLOCK   (256u << 10)
#define VERIFY_WAIT_MS 10

const char *
verify_name(enum verify_what what)
{
    static const char *const names[] = {
        [VERIFY_DAMAGED] = "damaged",   [VERIFY_REPLACED] = "replaced",
        [VERIFY_TORN] = "torn",         [VERIFY_MISSING] = "missing",
        [VERIFY_WRONG] = "wrong",       [VERIFY_UNNAMED] = "unnamed",
        [VERIFY_LEFTOVER] = "leftover", [VERIFY_IRREGULAR] = "irregular",
        [VERIFY_UNREAD] = "unread",
    };

    return names[what];
}

void
verify_found(struct verifying *v, const struct verify_finding *finding)
{
    v->tally.findings++;
    v->verify->found(v->verify->arg, finding);
}

void
verify_say(struct verifying *v, enum verify_what what, const char *path, const char *record)
{
    struct verify_finding finding = {
        .what = what, .path = path, .record = record, .error = what == VERIFY_UNREAD ? errno : 0};

    verify_found(v, &finding);
}

void
verify_progress(struct verifying *v)
{
    if (v->verify->progress != NULL)
        v->verify->progress(v->verify->arg, &v->tally);
}

static struct suspect *
verify_suspect(struct verifying *v, enum verify_what what, const char *path)
{
    struct suspect *s = ms_calloc(1, sizeof(*s));

    s->what = what;
    s->path = ms_strdup(path);
    STAILQ_INSERT_TAIL(&v->suspects, s, link);
    return s;
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
verify_content(struct verifying *v, const struct named_path *entry, int fd)
{
    char sha256[SHA256_HEX_LEN + 1] = "";
    struct suspect *s;
    struct stat st;

    if (fstat(fd, &st) < 0 ||
        (S_ISREG(st.st_mode) && verify_digest(v, fd, (uint64_t)st.st_size, sha256) < 0)) {
        verify_say(v, VERIFY_UNREAD, entry->path, entry->id);
        return;
    }
    if (named_is(entry, (uint64_t)st.st_size, sha256))
        return;
    s = verify_suspect(v, VERIFY_WRONG, entry->path);
    s->size = (uint64_t)st.st_size;
    memcpy(s->sha256, sha256, sizeof(sha256));
}

static void
verify_named(struct verifying *v, const struct named_path *entry)
{
    int fd;

    if (!entry->wanted)
        return;
    if (strncmp(entry->path, "blobs/", 6) == 0)
        v->tally.blobs++;
    else
        v->tally.files++;
    fd = file_ops_synced.open_beneath(v->root, entry->path, VERIFY_FILE);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        (void)verify_suspect(v, VERIFY_MISSING, entry->path);
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
        verify_named(arg, *(const struct named_path *const *)node);
}

/* --- what no record names --- */

typedef void (*verify_entry_fn)(struct verifying *v, int dir_fd, const char *path, const char *name,
                                const struct stat *st);

/* Calls fn for all that is in a directory; its path is "" for the data directory itself. */
static void
verify_each(struct verifying *v, int fd, const char *dir_path, verify_entry_fn fn)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    char path[PATH_MAX];
    struct stat st;

    if (dir == NULL) {
        verify_say(v, VERIFY_UNREAD, dir_path, NULL);
        fd_close(&fd);
        return;
    }
    while ((entry = fd_read_dir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            snprintf(path, sizeof(path), "%s%s%s", dir_path, dir_path[0] == '\0' ? "" : "/",
                     entry->d_name) < (int)sizeof(path) &&
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            fn(v, fd, path, entry->d_name, &st);
    if (errno != 0)
        verify_say(v, VERIFY_UNREAD, dir_path, NULL);
    closedir(dir);
}

/* In files/ and blobs/. Beneath these a sender may have given any name. */
static void
verify_entry(struct verifying *v, int dir_fd, const char *path, const char *name,
             const struct stat *st)
{
    bool is_top = strchr(path, '/') == strrchr(path, '/');

    if (S_ISDIR(st->st_mode))
        verify_each(v, openat(dir_fd, name, VERIFY_DIR), path, verify_entry);
    else if (is_top && S_ISREG(st->st_mode) && temp_file_is_name(name))
        (void)verify_suspect(v, VERIFY_LEFTOVER, path);
    else if (named_find(&v->named, path) == NULL)
        (void)verify_suspect(v, VERIFY_UNNAMED, path);
}

/* Where all such names are the server's. */
static void
verify_temp(struct verifying *v, int dir_fd, const char *path, const char *name,
            const struct stat *st)
{
    (void)dir_fd;
    if (S_ISREG(st->st_mode) && temp_file_is_reserved(name))
        (void)verify_suspect(v, VERIFY_LEFTOVER, path);
}

/* There is no such directory until recovery has found damage. */
static void
verify_damaged(struct verifying *v)
{
    int fd = openat(v->root, "journal/" DAMAGED_DIR, VERIFY_DIR);

    if (fd >= 0 || errno != ENOENT)
        verify_each(v, fd, "journal/" DAMAGED_DIR, verify_temp);
}

static void
verify_unnamed(struct verifying *v)
{
    verify_each(v, openat(v->root, "files", VERIFY_DIR), "files", verify_entry);
    verify_each(v, openat(v->root, "blobs", VERIFY_DIR), "blobs", verify_entry);
    verify_each(v, openat(v->root, ".", VERIFY_DIR), "", verify_temp);
    verify_damaged(v);
}

/* --- what nothing explains --- */

/* Is it gone, or somebody's who writes it now? */
static bool
verify_is_in_use(struct verifying *v, const char *path)
{
    int fd = file_ops_synced.open_beneath(v->root, path, VERIFY_FILE);
    bool in_use = fd < 0 ? errno == ENOENT : file_is_locked(fd);

    fd_close(&fd);
    return in_use;
}

/* Has retain removed a body, and then the segments whose records named it? It begins with the
 * oldest segment, and others wait for it as for a commit. */
static bool
verify_is_removed(struct verifying *v, const struct named_path *entry)
{
    char path[sizeof("journal/") + NAME_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "journal/%s", entry->segment);
    return fstatat(v->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static bool
verify_is_explained(struct verifying *v, const struct suspect *s, const struct named_path *entry)
{
    if (s->what == VERIFY_WRONG)
        return entry != NULL && named_is(entry, s->size, s->sha256);
    if (s->what == VERIFY_MISSING)
        return verify_is_removed(v, entry);
    if (s->what == VERIFY_LEFTOVER)
        return verify_is_in_use(v, s->path);
    return entry != NULL;
}

/* The commits that had begun when the last suspect was seen are over when this returns. */
static void
verify_await_commits(struct verifying *v)
{
    uint64_t now_us = clock_mono_us();

    while (data_dir_has_commit(v->root, now_us)) {
        verify_progress(v);
        (void)poll(NULL, 0, VERIFY_WAIT_MS);
    }
}

/* Of a path that is replaced again and again, the record of what was seen may not be the last of
 * its segment any more. */
static void
verify_look_again(struct verifying *v)
{
    verify_await_commits(v);
    v->named.keep_all = true;
    if (verify_segments(v) < 0)
        verify_say(v, VERIFY_UNREAD, "journal", NULL);
}

static void
verify_suspects(struct verifying *v)
{
    if (!STAILQ_EMPTY(&v->suspects))
        verify_look_again(v);
    for (const struct suspect *s = STAILQ_FIRST(&v->suspects); s != NULL;
         s = STAILQ_NEXT(s, link)) {
        const struct named_path *entry = named_find(&v->named, s->path);

        if (!verify_is_explained(v, s, entry))
            verify_say(v, s->what, s->path, entry != NULL ? entry->id : NULL);
    }
}

/* --- all of it --- */

static void
verify_fini(struct verifying *v)
{
    struct suspect *s;

    while ((s = STAILQ_FIRST(&v->suspects)) != NULL) {
        STAILQ_REMOVE_HEAD(&v->suspects, link);
        free(s->path);
        free(s);
    }
    verify_segments_fini(v);
    named_fini(&v->named);
    fd_close(&v->root);
    free(v->block);
    digester_destroy(v->digester);
}

int
verify_run(const struct verify *verify, struct verify_tally *tally_out)
{
    struct verifying v = {.verify = verify, .root = -1};
    int rc = -1;

    STAILQ_INIT(&v.suspects);
    v.digester = digester_create();
    v.block = ms_malloc(VERIFY_BLOCK);
    v.root = open(verify->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v.digester == NULL || v.root < 0 || verify_segments(&v) < 0)
        goto out;
    twalk_r(v.named.tree, verify_visit, &v);
    if (verify->since == NULL)
        verify_unnamed(&v);
    verify_suspects(&v);
    verify_count_open(&v);
    *tally_out = v.tally;
    rc = 0;
out:
    verify_fini(&v);
    return rc;
}
