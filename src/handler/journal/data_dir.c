/* Preparing is the master's, as root if need be; opening is each worker's own, again whenever the
 * directories were taken away under it. */
#include "handler/journal/data_dir.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA_DIR_MODE  0750
#define DATA_DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

static const char *const data_dir_parts[] = {"journal", "files", "blobs"};

/* --- in the master --- */

static bool
data_dir_given_away(const struct config *config)
{
    return geteuid() == 0 && config->user != NULL;
}

static bool
dir_is_empty(int fd)
{
    int copy = openat(fd, ".", DATA_DIR_FLAGS);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    bool empty = dir != NULL;

    if (dir == NULL) {
        fd_close(&copy);
        return false;
    }
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    return empty;
}

/* Gives away a directory made a moment ago. The workers' user may own what is above it and have put
 * another one of ours there meanwhile. Returns 0, or -1 with errno. */
static int
data_dir_give(const struct config *config, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || !dir_is_empty(fd)) {
        errno = EEXIST;
        return -1;
    }
    return fchown(fd, config->uid, config->gid);
}

/* Opens a directory beneath at_fd, creating it (and giving it to the workers' user) if it is
 * missing. Flags are O_NOFOLLOW or 0; a directory that was just made is no link in any case.
 * Returns its descriptor, or -1 with errno. */
static int
data_dir_make(const struct config *config, int at_fd, const char *path, int flags)
{
    bool created = mkdirat(at_fd, path, DATA_DIR_MODE) == 0;
    int mkdir_error = errno;
    int fd = openat(at_fd, path, DATA_DIR_FLAGS | (created ? O_NOFOLLOW : flags));

    /* If something else is in the way, the error of openat is more to the point. If nothing is
     * there, the error of mkdirat is. */
    if (fd < 0 && errno == ENOENT)
        errno = mkdir_error;
    if (fd < 0 || !created || !data_dir_given_away(config))
        return fd;
    if (data_dir_give(config, fd) < 0)
        fd_close(&fd);
    return fd;
}

/* mkdir -p for the parents of the data directory. A failure shows when they are used. */
static void
data_dir_make_parents(const char *path)
{
    char *copy = ms_strdup(path);

    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(copy, 0755);
        *slash = '/';
    }
    free(copy);
}

/* errno of the first directory that cannot be written, and its index in *part_out (-1: the data
 * directory itself); 0 where all can. */
static int
data_dir_try(int root, int *part_out)
{
    *part_out = -1;
    if (faccessat(root, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return errno;
    for (int i = 0; i < (int)MS_ARRAY_LEN(data_dir_parts); i++) {
        *part_out = i;
        if (faccessat(root, data_dir_parts[i], R_OK | W_OK | X_OK, AT_EACCESS) < 0)
            return errno;
    }
    return 0;
}

/* In a child that has become the workers' user: its groups count, and only the kernel knows what
 * access lists say. Reports by exit status: errno in the low bits, the part above. */
_Noreturn static void
data_dir_try_as(const struct config *config, int root)
{
    int part = -1, error;

    if (initgroups(config->user, config->gid) < 0 ||
        setresgid(config->gid, config->gid, config->gid) < 0 ||
        setresuid(config->uid, config->uid, config->uid) < 0)
        _exit(255);
    error = data_dir_try(root, &part);
    _exit(error == 0 ? 0 : error == EROFS ? 8 + part + 1 : 16 + part + 1);
}

static int
data_dir_try_child(const struct config *config, int root, int *part_out)
{
    int status;
    pid_t pid = fork();

    *part_out = -1;
    if (pid < 0)
        return errno;
    if (pid == 0)
        data_dir_try_as(config, root);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return errno;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
        return EPERM;
    *part_out = WEXITSTATUS(status) % 8 - 1;
    return WEXITSTATUS(status) < 16 ? EROFS : EACCES;
}

static int
data_dir_refuse(const struct config *config, const char *part, int reason,
                char error[CONFIG_ERROR_LEN])
{
    snprintf(error, CONFIG_ERROR_LEN, "the data directory %s%s%s cannot be written%s%s: %s",
             config->data_dir, part != NULL ? "/" : "", part != NULL ? part : "",
             data_dir_given_away(config) ? " by user " : "",
             data_dir_given_away(config) ? config->user : "", strerror(reason));
    return -1;
}

static int
data_dir_check(const struct config *config, int root, char error[CONFIG_ERROR_LEN])
{
    int part, reason;

    if (data_dir_given_away(config))
        reason = data_dir_try_child(config, root, &part);
    else
        reason = data_dir_try(root, &part);
    if (reason == 0)
        return 0;
    return data_dir_refuse(config, part < 0 ? NULL : data_dir_parts[part], reason, error);
}

int
data_dir_prepare(const struct config *config, char error[CONFIG_ERROR_LEN])
{
    int rc = -1, root, fd = -1;

    data_dir_make_parents(config->data_dir);
    /* The administrator's name may be a link; the workers' user can put one only beneath it. */
    root = data_dir_make(config, AT_FDCWD, config->data_dir, 0);
    if (root < 0) {
        snprintf(error, CONFIG_ERROR_LEN, "the data directory %s cannot be created: %s",
                 config->data_dir, strerror(errno));
        goto out;
    }
    for (size_t i = 0; i < MS_ARRAY_LEN(data_dir_parts); i++) {
        fd = data_dir_make(config, root, data_dir_parts[i], O_NOFOLLOW);
        if (fd < 0) {
            (void)data_dir_refuse(config, data_dir_parts[i], errno, error);
            goto out;
        }
        fd_close(&fd);
    }
    rc = data_dir_check(config, root, error);
out:
    fd_close(&root);
    return rc;
}

/* --- in a worker --- */

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
    dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return errno == ENOENT ? data_dir_spill_named(config) : -1;
    fd = file_ops_synced.open_unnamed(dir_fd);
    fd_close(&dir_fd);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == ENOENT))
        fd = data_dir_spill_named(config);
    return fd;
}

/* Is the open directory still the one of that name, and not one that was moved away or removed? */
static bool
data_dir_current(int fd, int at_fd, const char *name)
{
    struct stat open_one, named;

    return fd >= 0 && fstatat(at_fd, name, &named, 0) == 0 && fstat(fd, &open_one) == 0 &&
           named.st_ino == open_one.st_ino && named.st_dev == open_one.st_dev;
}

static int
data_dirs_open_part(struct data_dirs *dirs, const char *name, int *fd)
{
    if (data_dir_current(*fd, dirs->root, name))
        return 0;
    fd_close(fd);
    dirs->opened++;
    (void)mkdirat(dirs->root, name, DATA_DIR_MODE); /* what is wrong about it, openat says better */
    *fd = openat(dirs->root, name, DATA_DIR_FLAGS);
    return *fd < 0 ? -1 : 0;
}

static int
data_dirs_open_parts(struct data_dirs *dirs)
{
    if (data_dirs_open_part(dirs, "journal", &dirs->journal) < 0 ||
        data_dirs_open_part(dirs, "files", &dirs->files) < 0)
        return -1;
    return data_dirs_open_part(dirs, "blobs", &dirs->blobs);
}

int
data_dirs_open(struct data_dirs *dirs, const char *data_dir, const struct file_ops *ops)
{
    uint64_t before = dirs->opened;

    if (!data_dir_current(dirs->root, AT_FDCWD, data_dir)) {
        data_dirs_close(dirs);
        dirs->root = open(data_dir, DATA_DIR_FLAGS);
        if (dirs->root < 0)
            return -1;
    }
    /* Nothing is safe in a directory whose own name is not. */
    if (data_dirs_open_parts(dirs) < 0 ||
        (dirs->opened != before && ops->sync_dir(dirs->root) < 0)) {
        data_dirs_close(dirs);
        return -1;
    }
    return 0;
}

void
data_dirs_close(struct data_dirs *dirs)
{
    fd_close(&dirs->root);
    fd_close(&dirs->journal);
    fd_close(&dirs->files);
    fd_close(&dirs->blobs);
}
