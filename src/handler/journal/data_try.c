/* Tries at the start what a commit will ask of the file system, since some of it is missing on
 * some: FUSE, SMB, NFS, vfat, shared folders of virtual machines. Invariant: what is made for it
 * has a temporary name, and is gone again. */
#include "handler/journal/journal.h"

#include "common/fd.h"
#include "common/kernel.h"
#include "common/log.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* What can be missing without breaking a promise. */
enum data_lack {
    LACKS_NOREPLACE = 1 << 0,
    LACKS_LINKS = 1 << 1,
    LACKS_MODES = 1 << 2,
    LACKS_CASE = 1 << 3,
    LACKS_UNLINKED = 1 << 4,
    LACKS_DIR_LOCKS = 1 << 5,
};

static const struct {
    enum data_lack lack;
    enum log_kind kind;
    const char *text;
} data_lacks[] = {
    {LACKS_NOREPLACE, LOG_fs_differs,
     "has no rename that replaces nothing: files get their names by a link"},
    {LACKS_LINKS, LOG_fs_lacks,
     "can neither rename without replacing nor link: files get their names under a lock, which "
     "another program that makes a file of the same name at that moment does not know"},
    {LACKS_MODES, LOG_fs_differs,
     "keeps no modes: segments are not marked as whole, so each start reads all of them"},
    {LACKS_CASE, LOG_fs_lacks,
     "does not tell upper case from lower case: paths that differ in it alone are one file, and "
     "on_conflict decides"},
    {LACKS_UNLINKED, LOG_fs_differs,
     "gives no name to a file that had none: large bodies are copied once more"},
    {LACKS_DIR_LOCKS, LOG_fs_differs,
     "has no locks on directories: msockctl verify beside workers may complain of a file whose "
     "record is still to come"},
};

struct trial {
    const struct file_ops *ops;
    struct temp_maker maker;
    int dir_fd;
    const char *path;
    struct temp_file file;
    unsigned lacks;
    char *error;
};

bool
data_cannot(int error)
{
    return error == EINVAL || error == EBADF || error == EOPNOTSUPP || error == ENOSYS ||
           error == ENOTTY || error == EROFS;
}

int
data_unsafe(const char *path, const char *call, int reason, char error[CONFIG_ERROR_LEN])
{
    snprintf(error, CONFIG_ERROR_LEN,
             "%s cannot be made safe (%s: %s), so what is acknowledged could be lost: choose "
             "another data_dir, or sync = no, with which an ACK means written and not safe",
             path, call, strerror(reason));
    errno = reason;
    return -1;
}

static int
trial_refuse(const struct trial *t, const char *what, int reason, const char *advice)
{
    snprintf(t->error, CONFIG_ERROR_LEN, "%s: %s%s%s%s%s", t->path, what, reason != 0 ? " (" : "",
             reason != 0 ? strerror(reason) : "", reason != 0 ? ")" : "", advice);
    errno = reason;
    return -1;
}

/* --- steps; each returns 0, or -1 with a sentence, which a disk without room takes back --- */

static int
trial_locks(struct trial *t)
{
    static const char advice[] = ", by which workers know whose files are in use: choose another "
                                 "data_dir; on NFS run its lock service, or mount with nolock";
    int other, rc;

    if (temp_file_create(&t->maker, t->dir_fd, &t->file) < 0 || file_mark(t->file.fd, 0) < 0)
        return data_cannot(errno) || errno == ENOLCK
                   ? trial_refuse(t, "its file system has no locks", errno, advice)
                   : trial_refuse(t, "no file can be made there", errno, "");
    other = t->ops->open(t->dir_fd, t->file.name, O_RDWR);
    if (other < 0)
        return trial_refuse(t, "a file cannot be opened again", errno, "");
    rc = t->ops->lock(other);
    fd_close(&other);
    return rc < 0 ? 0 : trial_refuse(t, "the locks of its file system hold nobody off", 0, advice);
}

static int
trial_sync(struct trial *t)
{
    if (fd_write_by(t->ops->write, t->file.fd, "x", 1, 0) < 0)
        return trial_refuse(t, "a file cannot be written", errno, "");
    if (t->ops->sync_data(t->file.fd) < 0)
        return data_unsafe(t->path, "fdatasync of a file", errno, t->error);
    if (t->ops->sync_dir(t->dir_fd) < 0)
        return data_unsafe(t->path, "fsync of the directory", errno, t->error);
    return 0;
}

/* Which way a new name takes here: file_ops does the same, and says nothing. */
static void
trial_ways(struct trial *t, const char *name)
{
    if (kernel_has(KERNEL_RENAMEAT2) &&
        renameat2(t->dir_fd, t->file.name, t->dir_fd, name, RENAME_NOREPLACE) == 0)
        memcpy(t->file.name, name, sizeof(t->file.name));
    else
        t->lacks |= linkat(t->dir_fd, t->file.name, t->dir_fd, name, 0) == 0 ? LACKS_NOREPLACE
                                                                             : LACKS_LINKS;
    if ((t->lacks & LACKS_NOREPLACE) != 0)
        (void)unlinkat(t->dir_fd, name, 0);
}

static int
trial_names(struct trial *t)
{
    static const char advice[] = ": choose another data_dir";
    struct temp_file other;
    int rc, reason;

    temp_file_name(&t->maker, other.name);
    trial_ways(t, other.name);
    if (temp_file_create(&t->maker, t->dir_fd, &other) < 0)
        return trial_refuse(t, "no file can be made there", errno, "");
    rc = t->ops->rename(t->dir_fd, t->file.name, t->dir_fd, other.name, false);
    reason = errno;
    if (rc == 0) {
        t->file.name[0] = '\0';
        rc = trial_refuse(t, "a rename there replaces a file that it must not", 0, advice);
    } else if (reason != EEXIST) {
        rc = trial_refuse(t, "no file can get its name there without replacing another one", reason,
                          advice);
    } else if ((rc = t->ops->remove(t->dir_fd, other.name)) == 0) {
        rc = t->ops->rename(t->dir_fd, t->file.name, t->dir_fd, other.name, false);
        if (rc < 0)
            rc = trial_refuse(t, "no file can get its name there", errno, advice);
        else
            t->file.name[0] = '\0'; /* it is that of the other now */
    } else {
        rc = trial_refuse(t, "a file cannot be removed there", errno, "");
    }
    temp_file_close(&t->maker, &other);
    return rc;
}

/* --- what may be missing --- */

static void
trial_modes(struct trial *t)
{
    struct stat st;

    if (t->ops->set_mode(t->file.fd, SEGMENT_SEALED) < 0 || t->ops->status(t->file.fd, &st) < 0 ||
        (st.st_mode & 0777) != SEGMENT_SEALED)
        t->lacks |= LACKS_MODES;
}

static void
trial_case(struct trial *t)
{
    char other[TEMP_NAME_LEN];
    struct stat st;

    memcpy(other, t->file.name, sizeof(other));
    for (char *c = other; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    if (fstatat(t->dir_fd, other, &st, AT_SYMLINK_NOFOLLOW) == 0)
        t->lacks |= LACKS_CASE;
}

static void
trial_unlinked(struct trial *t)
{
    struct temp_file named = TEMP_FILE_NONE;
    int fd = openat(t->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);

    if (fd < 0 || temp_file_adopt(&t->maker, fd, t->dir_fd, &named) < 0)
        t->lacks |= LACKS_UNLINKED;
    temp_file_close(&t->maker, &named);
    fd_close(&fd);
}

static void
trial_say(const struct trial *t, unsigned *told)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(data_lacks); i++)
        if ((t->lacks & ~*told & data_lacks[i].lack) != 0)
            log_line(data_lacks[i].kind, "the file system of %s %s", t->path, data_lacks[i].text);
    *told |= t->lacks;
}

int
data_try(int dir_fd, const char *path, const struct file_ops *ops, unsigned *told,
         char error[CONFIG_ERROR_LEN])
{
    struct trial t = {
        .ops = ops, .dir_fd = dir_fd, .path = path, .file = TEMP_FILE_NONE, .error = error};
    int rc = -1;

    temp_maker_init(&t.maker, ops);
    errno = 0;
    if (trial_locks(&t) == 0 && trial_sync(&t) == 0) {
        trial_modes(&t);
        trial_case(&t);
        trial_unlinked(&t);
        t.lacks |= data_dir_has_locks(dir_fd) ? 0 : LACKS_DIR_LOCKS;
        rc = trial_names(&t);
    }
    if (rc < 0 && message_found_no_room(errno)) {
        log_line(LOG_fs_not_tried, "%s: there is no room to try what its file system can do", path);
        rc = 0;
    }
    temp_file_close(&t.maker, &t.file);
    trial_say(&t, told);
    return rc;
}
