/* Prepares the data directory, as root if need be. Invariant: a directory with another marker, or
 * without the mounts of the workers that use it, is left as it is. */
#include "handler/journal/data_dir.h"

#include "common/fd.h"
#include "common/kernel.h"

#include <ctype.h>
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

const char *const data_dir_parts[DATA_PARTS] = {"journal", "files", "blobs"};

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
    while (empty && (entry = fd_read_dir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    empty = empty && errno == 0;
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
    if (S_ISDIR(st.st_mode) && st.st_uid == config->uid)
        return 0; /* the mount decides whose all is */
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

/* --- safe names --- */

bool
data_dir_has_journal(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (strcmp(config->listeners[i].handler, "journal") == 0)
            return true;
    return false;
}

/* Is anything promised that the disk must keep? */
static bool
data_dir_must_keep(const struct config *config)
{
    return config->sync && data_dir_has_journal(config);
}

/* A small file of ours in the data directory. What the file system cannot do at all is found when
 * it is tried. */
static int
data_dir_sync_file(const struct config *config, int fd)
{
    return !data_dir_must_keep(config) || fsync(fd) == 0 || data_cannot(errno) ? 0 : -1;
}

/* Makes the names in a directory safe. One that may not be read, or whose file system has no such
 * call, is left to the kernel where it was there before us. Returns 0, or -1 with a sentence. */
static int
data_dir_sync_names(const struct config *config, const char *path, bool made,
                    char error[CONFIG_ERROR_LEN])
{
    int fd, rc = -1;

    if (!data_dir_must_keep(config))
        return 0;
    fd = open(path, DATA_DIR_FLAGS);
    if (fd >= 0)
        rc = fsync(fd);
    if (rc < 0 && !made && (errno == EACCES || data_cannot(errno)))
        rc = 0;
    fd_close(&fd);
    return rc == 0 ? 0 : data_unsafe(path, "fsync of the directory", errno, error);
}

/* mkdir -p for what is above the data directory, and its own name made safe there: a master that
 * was killed may have made it and not come as far as that. What cannot be made shows when it is
 * used. */
static int
data_dir_make_parents(const struct config *config, char error[CONFIG_ERROR_LEN])
{
    char *copy = ms_strdup(config->data_dir);
    int rc = 0;

    for (char *slash = strchr(copy + 1, '/'); slash != NULL && rc == 0;
         slash = strchr(slash + 1, '/')) {
        char *above;
        bool made;

        *slash = '\0';
        made = mkdir(copy, 0755) == 0;
        above = strrchr(copy, '/');
        if (made) {
            *above = '\0';
            rc = data_dir_sync_names(config, above == copy ? "/" : copy, true, error);
            *above = '/';
        }
        *slash = '/';
    }
    free(copy);
    return rc;
}

/* The directory above, of a path without a slash at its end. */
static int
data_dir_sync_parent(const struct config *config, bool made, char error[CONFIG_ERROR_LEN])
{
    char *copy = ms_strdup(config->data_dir), *slash = strrchr(copy, '/');
    int rc;

    if (slash != NULL)
        *slash = '\0';
    rc = data_dir_sync_names(config, slash == NULL ? "." : slash == copy ? "/" : copy, made, error);
    free(copy);
    return rc;
}

static int
data_dir_refuse(const struct config *config, const char *part, int reason,
                char error[CONFIG_ERROR_LEN])
{
    snprintf(error, CONFIG_ERROR_LEN, "the data directory %s%s%s cannot be written%s%s: %s",
             config->data_dir, part != NULL ? "/" : "", part != NULL ? part : "",
             config->user != NULL ? " by user " : "", config->user != NULL ? config->user : "",
             strerror(reason));
    return -1;
}

/* --- the marker --- */

static bool
data_id_is_valid(const char *text, size_t n)
{
    if (n != DATA_ID_LEN + 1 || text[DATA_ID_LEN] != '\n')
        return false;
    for (size_t i = 0; i < DATA_ID_LEN; i++)
        if (text[i] != '-' && !isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

int
data_id_read(int root, char id_out[DATA_ID_LEN + 1])
{
    int fd = openat(root, DATA_DIR_MARKER, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc = -1;
    char text[DATA_ID_LEN + 2];
    ssize_t n = fd < 0 ? -1 : fd_read(fd, text, sizeof(text));

    if (n >= 0 && !data_id_is_valid(text, (size_t)n))
        errno = EBADMSG;
    else if (n >= 0)
        rc = 0;
    if (rc == 0) {
        memcpy(id_out, text, DATA_ID_LEN);
        id_out[DATA_ID_LEN] = '\0';
    }
    fd_close(&fd);
    return rc;
}

/* A random UUID, of version 4. */
static void
data_id_new(char id_out[DATA_ID_LEN + 1])
{
    uint8_t b[16];

    ms_random(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(id_out, DATA_ID_LEN + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

/* A marker is whole before it has its name. */
static int
data_id_write(const struct config *config, int root, char id_out[DATA_ID_LEN + 1])
{
    static const char temp[] = DATA_DIR_TEMP_PREFIX "id";
    char text[DATA_ID_LEN + 2];
    int fd, rc = -1;

    data_id_new(id_out);
    snprintf(text, sizeof(text), "%s\n", id_out);
    (void)unlinkat(root, temp, 0);
    fd = openat(root, temp, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    (void)fchmod(fd, 0644); /* vfat has no modes; there its mount decides */
    if (fd_write_all(fd, text, DATA_ID_LEN + 1) == 0 && data_dir_sync_file(config, fd) == 0 &&
        file_ops_synced.rename(root, temp, root, DATA_DIR_MARKER, false) == 0)
        rc = 0;
    fd_close(&fd);
    return rc;
}

static bool
data_dir_is_of(const struct config *config, const char *id, const struct stat *st)
{
    return strcmp(id, config->data_id) == 0 && st->st_dev == config->data_device &&
           st->st_ino == config->data_inode;
}

static int
data_dir_mark(struct config *config, int root, const struct config *now,
              char error[CONFIG_ERROR_LEN])
{
    char id[DATA_ID_LEN + 1] = "";
    int rc = data_id_read(root, id);
    struct stat st;

    if (rc < 0 && errno == ENOENT && now == NULL)
        rc = data_id_write(config, root, id);
    if (fstat(root, &st) < 0)
        return data_dir_refuse(config, NULL, errno, error);
    if (now != NULL && !data_dir_is_of(now, id, &st)) {
        const char *what = rc < 0                          ? "has no readable " DATA_DIR_MARKER
                           : strcmp(id, now->data_id) == 0 ? "is a copy of it"
                                                           : "has another " DATA_DIR_MARKER;

        snprintf(error, CONFIG_ERROR_LEN,
                 "the data directory %s is not the one in use: it %s; is its file system mounted? "
                 "A restart takes the directory as it is",
                 config->data_dir, what);
        return -1;
    }
    if (rc < 0) {
        snprintf(error, CONFIG_ERROR_LEN, "%s/" DATA_DIR_MARKER " cannot be used: %s",
                 config->data_dir, errno == EBADMSG ? "it holds no UUID" : strerror(errno));
        return -1;
    }
    memcpy(config->data_id, id, sizeof(id));
    config->data_device = st.st_dev;
    config->data_inode = st.st_ino;
    return 0;
}

/* --- the parts --- */

/* Kernels before 5.8 do not say where a mount is, but show another device. */
int
data_part_look(int root, int fd, struct data_part *part_out)
{
    struct stat root_is, st;
    struct statx more;

    if (fstat(root, &root_is) < 0 || fstat(fd, &st) < 0 || kernel_statx(fd, STATX_INO, &more) < 0)
        return -1;
    *part_out = (struct data_part){.device = st.st_dev,
                                   .inode = st.st_ino,
                                   .mounted = (more.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
                                                  ? (more.stx_attributes & STATX_ATTR_MOUNT_ROOT)
                                                  : st.st_dev != root_is.st_dev};
    return 0;
}

bool
data_part_is(const struct data_part *now, const struct data_part *part)
{
    return (now->device == part->device && now->inode == part->inode) ||
           (!now->mounted && !part->mounted);
}

/* Returns 0, or -1 with a sentence. */
static int
data_part_note(const struct config *config, int root, size_t i, char error[CONFIG_ERROR_LEN])
{
    const struct data_part *part = &config->data_parts[i];
    char note[64];
    int fd, rc;

    snprintf(note, sizeof(note), DATA_DIR_MOUNTED "%s", data_dir_parts[i]);
    fd = openat(root, note, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && !part->mounted)
        return 0;
    if (fd >= 0 && !part->mounted) {
        fd_close(&fd);
        snprintf(error, CONFIG_ERROR_LEN,
                 "%s/%s was a file system of its own, and none is mounted there: mount it, or "
                 "remove %s/%s to use the directory as it is",
                 config->data_dir, data_dir_parts[i], config->data_dir, note);
        return -1;
    }
    if (fd < 0)
        fd = openat(root, note, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
    rc = fd < 0 || data_dir_sync_file(config, fd) < 0 ? data_dir_refuse(config, note, errno, error)
                                                      : 0;
    fd_close(&fd);
    return rc;
}

/* --- can the workers write there? --- */

/* errno of the first directory that cannot be written, and its index in *part_out (-1: the data
 * directory itself); 0 where all can. */
static int
data_dir_try(int root, int *part_out)
{
    *part_out = -1;
    if (kernel_access(root, ".", W_OK | X_OK) < 0)
        return errno;
    for (int i = 0; i < DATA_PARTS; i++) {
        *part_out = i;
        if (kernel_access(root, data_dir_parts[i], R_OK | W_OK | X_OK) < 0)
            return errno;
    }
    return 0;
}

/* journal/, files/ and blobs/ may be file systems of their own, and files/ alone may be told not to
 * look at upper and lower case. */
static int
data_dir_try_parts(const struct config *config, int root, const struct file_ops *ops,
                   char error[CONFIG_ERROR_LEN])
{
    char path[PATH_MAX];
    unsigned told = 0;
    int rc = data_try(root, config->data_dir, ops, &told, error);

    for (size_t i = 0; i < DATA_PARTS && rc == 0; i++) {
        int fd = openat(root, data_dir_parts[i], DATA_DIR_FLAGS | O_NOFOLLOW);

        snprintf(path, sizeof(path), "%s/%s", config->data_dir, data_dir_parts[i]);
        if (fd < 0)
            rc = data_dir_refuse(config, data_dir_parts[i], errno, error);
        else
            rc = data_try(fd, path, ops, &told, error);
        fd_close(&fd);
    }
    return rc;
}

/* Workers that run already ask no less of it. A reload need not wait for a busy disk to say so
 * again. */
static bool
data_dir_was_tried(const struct config *config, const struct config *now)
{
    return now != NULL && data_dir_has_journal(now) && (now->sync || !config->sync);
}

/* As the user that the process is. */
static int
data_dir_check_here(const struct config *config, int root, const struct config *now,
                    char error[CONFIG_ERROR_LEN])
{
    int part, reason = data_dir_try(root, &part);

    if (reason != 0)
        return data_dir_refuse(config, part < 0 ? NULL : data_dir_parts[part], reason, error);
    if (!data_dir_has_journal(config) || data_dir_was_tried(config, now))
        return 0;
    return data_dir_try_parts(config, root, config->sync ? &file_ops_synced : &file_ops_unsynced,
                              error);
}

/* In a child that becomes the workers' user: its groups count, and only the kernel knows what
 * access lists say. It says the sentence, or nothing. */
_Noreturn static void
data_dir_check_as(const struct config *config, int root, const struct config *now, int say_fd)
{
    char error[CONFIG_ERROR_LEN] = "";
    int rc = -1;

    if (initgroups(config->user, config->gid) < 0 ||
        setresgid(config->gid, config->gid, config->gid) < 0 ||
        setresuid(config->uid, config->uid, config->uid) < 0)
        (void)data_dir_refuse(config, NULL, errno, error);
    else
        rc = data_dir_check_here(config, root, now, error);
    if (rc < 0 && fd_write_all(say_fd, error, strlen(error)) < 0)
        _exit(2);
    _exit(rc < 0 ? 1 : 0);
}

static int
data_dir_check_child(const struct config *config, int root, const struct config *now,
                     char error[CONFIG_ERROR_LEN])
{
    int ends[2] = {-1, -1}, status = 0;
    pid_t pid = pipe2(ends, O_CLOEXEC) == 0 ? fork() : -1;
    ssize_t n;

    if (pid == 0)
        data_dir_check_as(config, root, now, ends[1]);
    fd_close(&ends[1]);
    if (pid < 0) {
        n = data_dir_refuse(config, NULL, errno, error);
        fd_close(&ends[0]);
        return (int)n;
    }
    n = fd_read(ends[0], error, CONFIG_ERROR_LEN - 1);
    error[n > 0 ? n : 0] = '\0';
    fd_close(&ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (n == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return n > 0 ? -1 : data_dir_refuse(config, NULL, ECHILD, error);
}

static int
data_dir_check(const struct config *config, int root, const struct config *now,
               char error[CONFIG_ERROR_LEN])
{
    return data_dir_given_away(config) ? data_dir_check_child(config, root, now, error)
                                       : data_dir_check_here(config, root, now, error);
}

static int
data_dir_make_part(struct config *config, int root, size_t i, const struct config *now,
                   char error[CONFIG_ERROR_LEN])
{
    int fd = data_dir_make(config, root, data_dir_parts[i], O_NOFOLLOW);
    int rc = fd < 0 ? -1 : data_part_look(root, fd, &config->data_parts[i]);

    if (rc < 0)
        rc = data_dir_refuse(config, data_dir_parts[i], errno, error);
    fd_close(&fd);
    if (rc < 0)
        return -1;
    if (now == NULL || data_part_is(&now->data_parts[i], &config->data_parts[i]))
        return data_part_note(config, root, i, error);
    snprintf(error, CONFIG_ERROR_LEN,
             "the data directory's part %s/%s is not the one in use; is its file system mounted?",
             config->data_dir, data_dir_parts[i]);
    return -1;
}

static int
data_dir_make_parts(struct config *config, int root, const struct config *now,
                    char error[CONFIG_ERROR_LEN])
{
    for (size_t i = 0; i < DATA_PARTS; i++)
        if (data_dir_make_part(config, root, i, now, error) < 0)
            return -1;
    return 0;
}

int
data_dir_prepare(struct config *config, const struct config *now, char error[CONFIG_ERROR_LEN])
{
    bool there = access(config->data_dir, F_OK) == 0;
    int rc = -1, root = -1;

    /* The administrator's name may be a link; the workers' user can put one only beneath it. */
    if (data_dir_make_parents(config, error) < 0)
        goto out;
    root = data_dir_make(config, AT_FDCWD, config->data_dir, 0);
    if (root < 0) {
        snprintf(error, CONFIG_ERROR_LEN, "the data directory %s cannot be created: %s",
                 config->data_dir, strerror(errno));
        goto out;
    }
    /* The marker first: in a directory that is not ours nothing is made. */
    if (data_dir_trust(config, error) < 0 || data_dir_mark(config, root, now, error) < 0 ||
        data_dir_make_parts(config, root, now, error) < 0 ||
        data_dir_check(config, root, now, error) < 0 ||
        data_dir_sync_parent(config, !there, error) < 0)
        goto out;
    rc = data_dir_must_keep(config) && fsync(root) < 0
             ? data_unsafe(config->data_dir, "fsync of the directory", errno, error)
             : 0;
out:
    fd_close(&root);
    return rc;
}
