/* files/<path>: the path is a sender's, and what stands in its way was put there by anyone. It was
 * checked when it came in (path_check), and nothing here relies on that. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- beneath a directory --- */

/* Directories named by a sender, opened beneath files/ and never anywhere else, whatever symbolic
 * links stand in the way and whoever renames directories meanwhile. openat2 resolves a whole path
 * in one call. Where it is not there, or directories are missing, the path is walked: each
 * component is opened relative to the one before without following a link, which cannot leave the
 * root either, since ".." is no component here. */

#define BENEATH_DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

static int
beneath_open_component(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, BENEATH_DIR_FLAGS | O_NOFOLLOW);
    struct stat st;

    /* O_DIRECTORY comes before O_NOFOLLOW: a link is ENOTDIR here as well. */
    if (fd < 0 && errno == ENOTDIR && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
    return fd;
}

static int
beneath_make_component(struct store *store, int dir_fd, const char *name)
{
    int fd = beneath_open_component(dir_fd, name);

    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(dir_fd, name, 0750) < 0 && errno != EEXIST)
        return -1;
    /* Also where another has just made it: it may not have synced it yet. */
    if (store_changed(store, dir_fd) < 0)
        return -1;
    return beneath_open_component(dir_fd, name);
}

static int
beneath_walk(struct store *store, const char *path)
{
    char name[NAME_MAX + 1];
    int fd = fcntl(store->dirs->files, F_DUPFD_CLOEXEC, 0);

    while (fd >= 0 && *path != '\0') {
        size_t n = strcspn(path, "/");
        int next;

        if (n == 0 || n > NAME_MAX || strncmp(path, "..", n) == 0) {
            errno = n > NAME_MAX ? ENAMETOOLONG : EINVAL;
            fd_close(&fd);
            return -1;
        }
        memcpy(name, path, n);
        name[n] = '\0';
        path += path[n] == '/' ? n + 1 : n;
        next = beneath_make_component(store, fd, name);
        fd_close(&fd);
        fd = next;
    }
    return fd;
}

/* "" is files/ itself. ELOOP or ENOTDIR where a symbolic link or something else that is no
 * directory is in the way. */
static int
beneath_open_dir(struct store *store, const char *path)
{
    int fd;

    if (*path == '\0')
        return fcntl(store->dirs->files, F_DUPFD_CLOEXEC, 0);
    fd = store->ops->open_beneath(store->dirs->files, path, BENEATH_DIR_FLAGS);
    /* EPERM: a seccomp filter that is older than the call. */
    if (fd >= 0 || (errno != ENOENT && errno != ENOSYS && errno != EPERM))
        return fd;
    return beneath_walk(store, path);
}

/* --- blobs/ --- */

/* blobs/<sha256>: the name says what is inside, so one that is there already, whole, is as good as
 * a new one. */

/* Only whole blobs ever get a name; another size is that of one which a power failure damaged while
 * sync was off. */
static bool
blob_is_there(struct store *store, const struct store_put *put, const char *name)
{
    struct stat st;

    return fstatat(store->dirs->blobs, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && (uint64_t)st.st_size == put->m->size;
}

/* Another worker may have linked it a moment ago and not made the directory safe yet: so we do. */
bool
blob_store_has(struct store *store, struct store_put *put)
{
    char name[STORE_NAME_LEN];

    put->stored = blob_is_there(store, put, store_name(put, name)) &&
                  store_changed(store, store->dirs->blobs) == 0;
    return put->stored;
}

static int
blob_link(struct store *store, struct store_put *put, const char *name)
{
    int dir_fd = store->dirs->blobs;

    if (store_link(store, put, dir_fd, name) == 0)
        return 0;
    if (errno != EEXIST)
        return -1;
    if (blob_is_there(store, put, name))
        return 0;
    return store_replace(store, put, dir_fd, name);
}

void
blob_store_link(struct store *store, struct store_put *put)
{
    char name[STORE_NAME_LEN];

    if (blob_link(store, put, store_name(put, name)) < 0)
        put->outcome = outcome_failed("the body cannot be stored as a blob", errno);
    else if (store_changed(store, store->dirs->blobs) < 0)
        put->outcome = outcome_failed("the directory of blobs cannot be made safe", errno);
    else
        put->stored = true;
}

/* --- files/ --- */

#define FILE_NUMBER_MAX 9999
#define FILE_BLOCK      (256u << 10)
#define FILE_TRIES      10 /* a name that comes and goes while we look */

static struct outcome
file_failed(int error)
{
    switch (error) {
    case ELOOP:
        return outcome_refused("bad-path", "a symbolic link is in the way of the path");
    case ENAMETOOLONG:
    case EINVAL:
    case EILSEQ:
        return outcome_refused("bad-path", "the file system cannot have such a name");
    default:
        return outcome_failed("the file cannot be stored", error);
    }
}

static struct outcome
file_dir_failed(int error)
{
    if (error == ENOTDIR || error == EXDEV)
        return outcome_refused("bad-path", "something that is no directory is in the way");
    return file_failed(error);
}

/* --- a file of that name is there --- */

static int
file_sha256(struct store *store, int fd, uint64_t size, uint8_t out[SHA256_LEN])
{
    struct sha256 *digest = sha256_begin(store->digester);
    char *block = ms_malloc(FILE_BLOCK);
    int rc = 0;

    for (uint64_t at = 0; at < size && rc == 0;) {
        size_t n = size - at < FILE_BLOCK ? (size_t)(size - at) : FILE_BLOCK;

        rc = fd_pread_all(fd, block, n, (off_t)at);
        if (rc == 0)
            sha256_update(digest, block, n);
        at += n;
    }
    sha256_finish(digest, out);
    sha256_release(store->digester, digest);
    free(block);
    return rc;
}

/* The same bytes, safe: a retry after a lost ACK must not fail. The writer of the file may not have
 * synced it yet. */
static bool
file_is_same(struct store *store, const struct store_put *put, int dir_fd, const char *name)
{
    uint8_t sha256[SHA256_LEN];
    bool same = false;
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != put->m->size)
        goto out;
    same = file_sha256(store, fd, put->m->size, sha256) == 0 &&
           memcmp(sha256, put->m->sha256, SHA256_LEN) == 0 && store->ops->sync_data(fd) == 0;
out:
    fd_close(&fd);
    return same;
}

static void
file_keep(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    if (file_is_same(store, put, dir_fd, name)) {
        put->stored = true;
        put->duplicate = true;
    } else {
        put->outcome = outcome_refused("exists", "a file of this name is there already");
    }
}

static void
file_replace(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    if (store_replace(store, put, dir_fd, name) == 0)
        put->stored = true;
    else if (errno == EISDIR || errno == ENOTEMPTY)
        put->outcome = outcome_refused("exists", "a directory has this name");
    else
        put->outcome = file_failed(errno);
}

static void
file_number(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    char numbered[NAME_MAX + 1];

    for (unsigned number = 1; number <= FILE_NUMBER_MAX; number++) {
        if (snprintf(numbered, sizeof(numbered), "%s.%u", name, number) > NAME_MAX) {
            put->outcome = file_failed(ENAMETOOLONG);
            return;
        }
        if (store_link(store, put, dir_fd, numbered) == 0) {
            put->number = number;
            put->stored = true;
            return;
        }
        if (errno != EEXIST) {
            put->outcome = file_failed(errno);
            return;
        }
    }
    put->outcome = outcome_refused("exists", "all numbers of this name are taken");
}

/* Returns false where the name is gone again. */
static bool
file_conflict(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        put->outcome = file_failed(errno);
        return errno != ENOENT;
    }
    if (S_ISLNK(st.st_mode)) {
        put->outcome = file_failed(ELOOP);
        return true;
    }
    switch (store->on_conflict) {
    case ON_CONFLICT_KEEP:
        file_keep(store, put, dir_fd, name);
        break;
    case ON_CONFLICT_REPLACE:
        file_replace(store, put, dir_fd, name);
        break;
    case ON_CONFLICT_NUMBER:
        file_number(store, put, dir_fd, name);
        break;
    }
    return true;
}

/* --- the way there --- */

static void
file_place(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    for (unsigned tries = 0; tries < FILE_TRIES; tries++) {
        put->outcome = outcome_committed();
        if (store_link(store, put, dir_fd, name) == 0) {
            put->stored = true;
            return;
        }
        if (errno != EEXIST) {
            put->outcome = file_failed(errno);
            return;
        }
        if (file_conflict(store, put, dir_fd, name))
            return;
    }
}

static int
file_open_dir(struct store *store, const char *path, size_t n)
{
    char dir[STORE_NAME_LEN];

    MS_ASSERT(n < sizeof(dir));
    memcpy(dir, path, n);
    dir[n] = '\0';
    return beneath_open_dir(store, dir);
}

void
file_store_link(struct store *store, struct store_put *put)
{
    const char *path = put->m->value, *slash = strrchr(path, '/');
    const char *reason = path_check(path, put->m->value_len);
    int dir_fd;

    if (reason != NULL) {
        put->outcome = outcome_refused("bad-path", reason);
        return;
    }
    dir_fd = file_open_dir(store, path, slash != NULL ? (size_t)(slash - path) : 0);
    if (dir_fd < 0) {
        put->outcome = file_dir_failed(errno);
        return;
    }
    file_place(store, put, dir_fd, slash != NULL ? slash + 1 : path);
    if (put->stored && store_changed(store, dir_fd) < 0)
        put->outcome = outcome_failed("the directory cannot be made safe", errno);
    fd_close(&dir_fd);
}
