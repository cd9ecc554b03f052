/* files/<path>: the path is a sender's, and what stands in its way was put there by anyone. It was
 * checked when it came in (path_check), and nothing here relies on that. */
#include "handler/journal/journal.h"

#include "common/fd.h"
#include "common/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BENEATH_DIR_FLAGS (O_RDONLY | O_DIRECTORY)
#define BENEATH_PLACE     dir_place(DIR_PLACE_ROOT, "files", 5)
#define FILE_NUMBER_MAX   9999
#define FILE_NUMBER_GAP   32 /* so many free numbers in a row: none is looked for behind them */
#define FILE_TRIES        10 /* a name that comes and goes while we look */

/* --- directories beneath files/ --- */

/* Directories named by a sender, opened beneath files/ and never anywhere else, whatever symbolic
 * links stand in the way and whoever renames directories meanwhile. Where directories are missing
 * or not known to be safe, the path is walked, as file_walk_beneath does. */

static int
beneath_make_component(const struct file_ops *ops, int dir_fd, const char *name, bool *made_out)
{
    int fd = file_open_component(ops, dir_fd, name, BENEATH_DIR_FLAGS);

    *made_out = false;
    if (fd >= 0 || errno != ENOENT)
        return fd;
    *made_out = ops->make_dir(dir_fd, name) == 0;
    if (!*made_out && errno != EEXIST)
        return -1;
    return file_open_component(ops, dir_fd, name, BENEATH_DIR_FLAGS);
}

/* The directory `name` of another one, at its place. */
static struct store_dir
beneath_step(struct store *store, const struct store_dir *above, const char *name)
{
    struct store_dir dir = {.place = dir_place(above->place, name, strlen(name))};
    bool made;

    dir.fd = beneath_make_component(store->ops, above->fd, name, &made);
    if (dir.fd >= 0 && store_parent(store, above, &dir, name, made) < 0)
        fd_close(&dir.fd);
    return dir;
}

static int
beneath_walk(struct store *store, const char *path)
{
    char name[NAME_MAX + 1];
    struct store_dir dir = {fcntl(store->dirs->files, F_DUPFD_CLOEXEC, 0), BENEATH_PLACE};

    while (dir.fd >= 0 && *path != '\0') {
        struct store_dir next;

        thread_give_way(); /* a new one is a good deal of work for the file system */
        if (file_next_component(&path, name) < 0) {
            fd_close(&dir.fd);
            return -1;
        }
        next = beneath_step(store, &dir, name);
        fd_close(&dir.fd);
        dir = next;
    }
    return dir.fd;
}

/* Opens the directory `path` ("" for files/ itself), creating what is missing. Returns its
 * descriptor, or -1 with errno: ELOOP or ENOTDIR where a symbolic link or something else that is no
 * directory is in the way. Its place in *place_out. */
static int
beneath_open_dir(struct store *store, const char *path, uint64_t *place_out)
{
    int fd;

    *place_out = BENEATH_PLACE;
    if (*path == '\0')
        return fcntl(store->dirs->files, F_DUPFD_CLOEXEC, 0);
    *place_out = dir_place(BENEATH_PLACE, path, strlen(path));
    fd = store->ops->open_beneath(store->dirs->files, path, BENEATH_DIR_FLAGS);
    if (fd < 0 && errno != ENOENT)
        return -1;
    if (fd >= 0 && dir_is_named(store->syncs, fd, *place_out))
        return fd;
    fd_close(&fd);
    return beneath_walk(store, path);
}

/* --- blobs --- */

static struct store_blob *
blob_slot(struct store *store, const struct stat *st)
{
    if (store->blobs == NULL)
        store->blobs = ms_calloc(STORE_BLOBS_MAX, sizeof(*store->blobs));
    return &store->blobs[st->st_ino % STORE_BLOBS_MAX];
}

/* Known by its inode and the time of its last change, which nothing can set. */
static bool
blob_is_known(const struct store_blob *known, const struct stat *st)
{
    return known->inode == st->st_ino && known->changed.tv_sec == st->st_ctim.tv_sec &&
           known->changed.tv_nsec == st->st_ctim.tv_nsec;
}

/* Is it there, whole, under a name that an fsync makes safe? It is read by the first message of
 * this worker that would use it. */
static bool
blob_is_there(struct store *store, const struct store_put *put, const char *name)
{
    struct store_blob *known;
    struct stat st;

    if (fstatat(put->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != put->m->size || dir_is_doubted(store->syncs, put->dir_fd))
        return false;
    known = blob_slot(store, &st);
    if (blob_is_known(known, &st))
        return true;
    if (store_is_same(store, put, name) != STORE_SAME)
        return false;
    *known = (struct store_blob){st.st_ino, st.st_ctim};
    return true;
}

/* Its name is made safe with the others of the group: whoever made it may not have come as far as
 * that. */
bool
blob_store_has(struct store *store, struct store_put *put)
{
    char name[STORE_NAME_LEN];

    put->stored = put->found = blob_is_there(store, put, store_name(put, name));
    return put->stored;
}

static int
blob_place(struct store *store, struct store_put *put, const char *name)
{
    if (store_rename(store, put, name, false) == 0)
        return 0;
    if (errno != EEXIST)
        return -1;
    put->found = blob_is_there(store, put, name);
    return put->found ? 0 : store_rename(store, put, name, true);
}

void
blob_store_place(struct store *store, struct store_put *put)
{
    char name[STORE_NAME_LEN];

    put->stored = blob_place(store, put, store_name(put, name)) == 0;
    if (!put->stored)
        put->outcome = outcome_failed("the body cannot be stored as a blob", errno);
}

/* --- files --- */

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

/* The same path with the same content is the same file: a retry after a lost ACK must neither fail
 * nor make another. Returns true where the put has come to an end. */
static bool
file_take_same(struct store *store, struct store_put *put, const char *name, unsigned number)
{
    switch (store_is_same(store, put, name)) {
    case STORE_OTHER:
        return false;
    case STORE_SAME:
        if (dir_is_doubted(store->syncs, put->dir_fd) && store_rename(store, put, name, true) < 0) {
            put->outcome = file_failed(errno);
            break;
        }
        put->stored = put->found = put->duplicate = true;
        put->number = number;
        break;
    case STORE_UNREAD:
        put->outcome = outcome_failed("the file of this name cannot be compared", errno);
        break;
    }
    return true;
}

static void
file_replace(struct store *store, struct store_put *put, const char *name)
{
    if (store_rename(store, put, name, true) == 0)
        put->stored = true;
    else if (errno == EISDIR || errno == ENOTEMPTY)
        put->outcome = outcome_refused("exists", "a directory has this name");
    else
        put->outcome = file_failed(errno);
}

/* The name itself for 0. Returns false where the file system cannot have it. */
static bool
file_numbered(const char *name, unsigned number, char out[NAME_MAX + 1])
{
    int n = number == 0 ? snprintf(out, NAME_MAX + 1, "%s", name)
                        : snprintf(out, NAME_MAX + 1, "%s.%u", name, number);

    return n <= NAME_MAX;
}

/* Looks whether the same file is there under any number: a consumer may have taken lower ones, or
 * the name itself. Only files of its size are read. Returns true where the put has come to an end;
 * else the first free number in *free_out. */
static bool
file_take_any_number(struct store *store, struct store_put *put, const char *name,
                     unsigned *free_out)
{
    unsigned number, gap = 0, first = UINT_MAX;
    char numbered[NAME_MAX + 1];
    struct stat st;

    for (number = 0; number <= FILE_NUMBER_MAX && gap < FILE_NUMBER_GAP; number++) {
        if (!file_numbered(name, number, numbered))
            break;
        if (fstatat(put->dir_fd, numbered, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            first = number < first ? number : first;
            gap++;
            continue;
        }
        gap = 0;
        if (number == 0 && S_ISLNK(st.st_mode)) {
            put->outcome = file_failed(ELOOP);
            return true;
        }
        if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == put->m->size &&
            file_take_same(store, put, numbered, number))
            return true;
    }
    *free_out = number < first ? number : first;
    return false;
}

/* Returns false where the name is taken. */
static bool
file_take_name(struct store *store, struct store_put *put, const char *name)
{
    put->stored = store_rename(store, put, name, false) == 0;
    if (!put->stored && errno == EEXIST)
        return false;
    if (!put->stored)
        put->outcome = file_failed(errno);
    return true;
}

static void
file_number(struct store *store, struct store_put *put, const char *name)
{
    char numbered[NAME_MAX + 1];
    unsigned number;

    if (file_take_any_number(store, put, name, &number))
        return;
    for (; number <= FILE_NUMBER_MAX; number++) {
        if (!file_numbered(name, number, numbered)) {
            put->outcome = file_failed(ENAMETOOLONG);
            return;
        }
        if (file_take_name(store, put, numbered)) {
            put->number = number;
            return;
        }
        if (file_take_same(store, put, numbered, number))
            return;
    }
    put->outcome = outcome_refused("exists", "all numbers of this name are taken");
}

/* With keep or replace. Returns false where the name is gone again. */
static bool
file_conflict(struct store *store, struct store_put *put, const char *name)
{
    struct stat st;

    if (fstatat(put->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        put->outcome = file_failed(errno);
        return errno != ENOENT;
    }
    if (S_ISLNK(st.st_mode)) {
        put->outcome = file_failed(ELOOP);
        return true;
    }
    if (file_take_same(store, put, name, 0))
        return true;
    if (store->on_conflict == ON_CONFLICT_REPLACE)
        file_replace(store, put, name);
    else
        put->outcome = outcome_refused("exists", "a file of this name is there already");
    return true;
}

/* --- the way there --- */

void
file_store_open(struct store *store, struct store_put *put)
{
    const char *path = put->m->value, *slash = strrchr(path, '/');
    const char *reason = path_check(path, put->m->value_len);
    size_t n = slash != NULL ? (size_t)(slash - path) : 0;
    char dir[STORE_NAME_LEN];

    if (reason != NULL) {
        put->outcome = outcome_refused("bad-path", reason);
        return;
    }
    MS_ASSERT(n < sizeof(dir));
    memcpy(dir, path, n);
    dir[n] = '\0';
    put->dir_fd = beneath_open_dir(store, dir, &put->dir_place);
    if (put->dir_fd < 0)
        put->outcome = file_dir_failed(errno);
}

void
file_store_place(struct store *store, struct store_put *put)
{
    const char *slash = strrchr(put->m->value, '/');
    const char *name = slash != NULL ? slash + 1 : put->m->value;

    if (store->on_conflict == ON_CONFLICT_NUMBER) {
        file_number(store, put, name);
        return;
    }
    for (unsigned tries = 0; tries < FILE_TRIES; tries++) {
        put->outcome = outcome_committed();
        if (file_take_name(store, put, name) || file_conflict(store, put, name))
            return;
    }
}
