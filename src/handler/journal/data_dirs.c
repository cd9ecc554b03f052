/* The directories of a worker, opened again whenever they were taken away under it. Invariant: what
 * is open is what the master has prepared, or what was made in its place where no mount is missing.
 */
#include "handler/journal/data_dir.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For file systems that cannot open a file without a name. A file made here must be copied to get a
 * name. */
static int
data_dir_spill_named(const struct config *config)
{
    return fd_open_unlinked(config->data_dir, DATA_DIR_TEMP_PREFIX);
}

int
data_dir_spill_open(const struct config *config)
{
    char path[PATH_MAX];
    int dir_fd, fd;

    if (snprintf(path, sizeof(path), "%s/files", config->data_dir) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    dir_fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir_fd < 0)
        return errno == ENOENT ? data_dir_spill_named(config) : -1;
    fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
    fd_close(&dir_fd);
    /* Kernels and file systems without O_TMPFILE see a directory that is opened for writing. */
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT))
        fd = data_dir_spill_named(config);
    return fd;
}

static bool
data_dir_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* Is the open directory still the one of that name, and not one that was moved away or removed? */
static bool
data_dir_current(int fd, int at_fd, const char *name)
{
    struct stat open_one, named;

    return fd >= 0 && fstatat(at_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(fd, &open_one) == 0 && data_dir_same(&open_one, &named);
}

static int
data_dirs_open_part(struct data_dirs *dirs, const char *name, int *fd, const struct file_ops *ops,
                    const struct data_part *prepared, bool *made)
{
    struct data_part part;

    if (data_dir_current(*fd, dirs->root, name))
        return 0;
    fd_close(fd);
    dirs->opened++;
    /* What is wrong about it, open says better. */
    *made = !prepared->mounted && ops->make_dir(dirs->root, name) == 0;
    *fd = ops->open(dirs->root, name, DATA_DIR_PART);
    if (*fd < 0 || data_part_look(dirs->root, *fd, &part) < 0) {
        errno = errno == ENOENT && prepared->mounted ? ESTALE : errno;
        return -1;
    }
    if (data_part_is(prepared, &part))
        return 0;
    errno = ESTALE;
    return -1;
}

static int
data_dirs_open_parts(struct data_dirs *dirs, const struct config *config,
                     const struct file_ops *ops, bool made[DATA_PARTS])
{
    int *fds[DATA_PARTS] = {&dirs->journal, &dirs->files, &dirs->blobs};

    for (size_t i = 0; i < DATA_PARTS; i++)
        if (data_dirs_open_part(dirs, data_dir_parts[i], fds[i], ops, &config->data_parts[i],
                                &made[i]) < 0)
            return -1;
    return 0;
}

/* Nothing is safe in a directory whose own name is not. One that was made and could not be made
 * safe goes again: it will be made anew. */
static int
data_dirs_sync(const struct data_dirs *dirs, struct dir_syncs *syncs, const bool made[DATA_PARTS])
{
    int saved;

    if (dir_sync(syncs, dirs->root) == 0)
        return 0;
    saved = errno;
    for (size_t i = 0; i < DATA_PARTS; i++)
        if (made[i])
            (void)syncs->ops->remove_dir(dirs->root, data_dir_parts[i]);
    errno = saved;
    return -1;
}

/* The marker is read again only where something about it is new. */
static int
data_dirs_check_marker(struct data_dirs *dirs, const struct config *config)
{
    char id[DATA_ID_LEN + 1];
    struct stat st;

    if (fstatat(dirs->root, DATA_DIR_MARKER, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        errno = errno == ENOENT ? ESTALE : errno;
        return -1;
    }
    if (data_dir_same(&st, &dirs->marker_is) &&
        memcmp(&st.st_ctim, &dirs->marker_is.st_ctim, sizeof(st.st_ctim)) == 0)
        return 0;
    if (data_id_read(dirs->root, id) < 0)
        return -1;
    if (strcmp(id, config->data_id) != 0) {
        errno = ESTALE;
        return -1;
    }
    dirs->marker_is = st;
    return 0;
}

/* What stands under the name now must be what is open, and what was open first. */
static int
data_dirs_open_root(struct data_dirs *dirs, const struct config *config, const struct file_ops *ops)
{
    struct stat named, open_one;

    if (stat(config->data_dir, &named) < 0) {
        errno = errno == ENOENT ? ESTALE : errno;
        return -1;
    }
    if (named.st_dev != config->data_device || named.st_ino != config->data_inode) {
        errno = ESTALE; /* the sandbox would not let it be opened */
        return -1;
    }
    if (dirs->root < 0)
        dirs->root = ops->open(AT_FDCWD, config->data_dir, O_RDONLY | O_DIRECTORY);
    if (dirs->root < 0 || fstat(dirs->root, &open_one) < 0)
        return -1;
    if (!data_dir_same(&named, &open_one)) {
        errno = ESTALE;
        return -1;
    }
    return data_dirs_check_marker(dirs, config);
}

int
data_dirs_open(struct data_dirs *dirs, const struct config *config, struct dir_syncs *syncs)
{
    uint64_t before = dirs->opened;
    bool trimmed = dir_syncs_trim(syncs), made[DATA_PARTS] = {false};

    if (data_dirs_open_root(dirs, config, syncs->ops) < 0 ||
        data_dirs_open_parts(dirs, config, syncs->ops, made) < 0)
        goto fail;
    if (dirs->opened == before && !trimmed)
        return 0;
    if (data_dirs_sync(dirs, syncs, made) < 0)
        goto fail;
    dir_set_named(syncs, dirs->journal, dir_place(DIR_PLACE_ROOT, "journal", 7));
    dir_set_named(syncs, dirs->files, dir_place(DIR_PLACE_ROOT, "files", 5));
    dir_set_named(syncs, dirs->blobs, dir_place(DIR_PLACE_ROOT, "blobs", 5));
    return 0;
fail:
    data_dirs_close(dirs);
    return -1;
}

void
data_dirs_close(struct data_dirs *dirs)
{
    fd_close(&dirs->root);
    fd_close(&dirs->journal);
    fd_close(&dirs->files);
    fd_close(&dirs->blobs);
}

/* --- locks --- */

/* Commits have the bytes from the second one on, by the time; then come the names of each side, and
 * runs. */
#define NAMES_COMMITTED ((off_t)1 << 60)
#define NAMES_REMOVED   ((off_t)1 << 61)
#define NAMES_COUNT     ((off_t)1 << 60)
#define DATA_DIR_RUNS   ((off_t)1 << 62)

static int
data_dirs_lock(int root, short type, off_t at)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};

    return fcntl(root, F_OFD_SETLK, &lock);
}

/* Does another descriptor have a lock on any byte from `from` to `to`, that one not included? */
static bool
data_dirs_locked(int root, off_t from, off_t to)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = from, .l_len = to - from};

    return from < to && fcntl(root, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

void
data_dirs_begin_commit(const struct data_dirs *dirs)
{
    (void)data_dirs_lock(dirs->root, F_RDLCK, (off_t)clock_mono_us());
}

void
data_dirs_end_commit(const struct data_dirs *dirs)
{
    struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    (void)fcntl(dirs->root, F_OFD_SETLK, &all);
}

bool
data_dir_has_commit(int root, uint64_t until_us)
{
    return data_dirs_locked(root, 1, (off_t)until_us + 1);
}

static off_t
data_names_from(enum name_side side)
{
    return side == NAME_COMMITTED ? NAMES_COMMITTED : NAMES_REMOVED;
}

static off_t
data_name_byte(enum name_side side, uint64_t place)
{
    return data_names_from(side) + (off_t)(place % (uint64_t)NAMES_COUNT);
}

int
data_name_take(int root, enum name_side side, uint64_t place)
{
    return data_dirs_lock(root, F_RDLCK, data_name_byte(side, place));
}

void
data_names_give(int root, enum name_side side)
{
    struct flock names = {.l_type = F_UNLCK,
                          .l_whence = SEEK_SET,
                          .l_start = data_names_from(side),
                          .l_len = NAMES_COUNT};

    (void)fcntl(root, F_OFD_SETLK, &names);
}

bool
data_name_is_taken(int root, enum name_side side, uint64_t place)
{
    off_t byte = data_name_byte(side, place);

    return data_dirs_locked(root, byte, byte + 1);
}

/* Tries a byte that nobody uses. */
bool
data_dir_has_locks(int root)
{
    return data_dirs_lock(root, F_RDLCK, DATA_DIR_RUNS - 1) == 0 &&
           data_dirs_lock(root, F_UNLCK, DATA_DIR_RUNS - 1) == 0;
}

static off_t
data_dir_run(uint64_t run)
{
    return DATA_DIR_RUNS + (off_t)(run % (uint64_t)(DATA_DIR_RUNS - 1));
}

void
data_dir_hold(int root, uint64_t run)
{
    (void)data_dirs_lock(root, F_RDLCK, data_dir_run(run));
}

bool
data_dir_is_held(int root, uint64_t run)
{
    off_t own = data_dir_run(run);

    return data_dirs_locked(root, DATA_DIR_RUNS, own) || data_dirs_locked(root, own + 1, INT64_MAX);
}
