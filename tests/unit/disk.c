#include "disk_notes.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct disk disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

void
disk_check(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "the recording disk: %s: %s\n", what, strerror(errno));
    abort();
}

static ino_t
disk_inode(int fd)
{
    struct stat st;

    disk_check(fstat(fd, &st) == 0, "fstat");
    return st.st_ino;
}

/* The youngest with that inode: a number is used again. */
static unsigned
disk_find(ino_t inode)
{
    for (unsigned i = disk.object_count; i-- > 0;)
        if (disk.objects[i].inode == inode)
            return i;
    disk_check(false, "a file that was never seen");
    return 0;
}

static unsigned
disk_new(ino_t inode, bool is_dir)
{
    struct object *o = &disk.objects[disk.object_count];

    disk_check(disk.object_count < DISK_OBJECTS, "too many files");
    *o = (struct object){.is_dir = is_dir, .inode = inode, .mode = is_dir ? 0750 : 0640};
    return disk.object_count++;
}

static struct note *
disk_note(enum note_kind kind, unsigned object)
{
    struct note *note = &disk.notes[disk.note_count++];

    disk_check(disk.note_count < DISK_NOTES, "too many notes");
    *note = (struct note){.kind = kind, .object = object};
    return note;
}

static void
disk_note_name(enum note_kind kind, int dir_fd, const char *name, unsigned entry)
{
    struct note *note = disk_note(kind, disk_find(disk_inode(dir_fd)));

    note->entry = entry;
    snprintf(note->name, sizeof(note->name), "%s", name);
}

static void
disk_note_bytes(unsigned object, const void *data, size_t n, uint64_t at)
{
    struct note *note = disk_note(NOTE_WRITE, object);

    note->at = at;
    note->n = n;
    note->data = ms_malloc(n > 0 ? n : 1);
    memcpy(note->data, data, n);
}

/* --- the calls --- */

static bool
disk_fails(const char *name)
{
    disk.calls++;
    if (disk.calls != disk.fail_at)
        return false;
    disk.failed = name;
    errno = disk.fail_error;
    return disk.fail_error != DISK_SHORT;
}

/* Each call is made and noted under the lock, so that the notes have the order of the calls. */
#define DISK_CALL(name, type, failure, body) \
    do {                                     \
        type rc_;                            \
        pthread_mutex_lock(&disk.lock);      \
        if (disk_fails(name)) {              \
            rc_ = (failure);                 \
        } else {                             \
            body                             \
        }                                    \
        pthread_mutex_unlock(&disk.lock);    \
        return rc_;                          \
    } while (0)

static int
disk_create_file(int dir_fd, const char *name)
{
    DISK_CALL("create", int, -1, {
        rc_ = file_ops_synced.create(dir_fd, name);
        if (rc_ >= 0)
            disk_note_name(NOTE_ADD, dir_fd, name, disk_new(disk_inode(rc_), false));
    });
}

static int
disk_make_dir(int dir_fd, const char *name)
{
    DISK_CALL("make_dir", int, -1, {
        rc_ = file_ops_synced.make_dir(dir_fd, name);
        if (rc_ == 0) {
            struct stat st;

            disk_check(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0, "fstatat");
            disk_note_name(NOTE_ADD, dir_fd, name, disk_new(st.st_ino, true));
        }
    });
}

static ssize_t
disk_write(int fd, const void *data, size_t n, off_t at)
{
    DISK_CALL("write", ssize_t, -1, {
        if (disk.calls == disk.fail_at && n > 1)
            n /= 2;
        rc_ = file_ops_synced.write(fd, data, n, at);
        if (rc_ > 0)
            disk_note_bytes(disk_find(disk_inode(fd)), data, (size_t)rc_, (uint64_t)at);
    });
}

static int
disk_truncate(int fd, off_t n)
{
    DISK_CALL("truncate", int, -1, {
        rc_ = file_ops_synced.truncate(fd, n);
        if (rc_ == 0)
            disk_note(NOTE_TRUNCATE, disk_find(disk_inode(fd)))->n = (uint64_t)n;
    });
}

static int
disk_set_mode(int fd, mode_t mode)
{
    DISK_CALL("set_mode", int, -1, {
        rc_ = file_ops_synced.set_mode(fd, mode);
        if (rc_ == 0)
            disk_note(NOTE_MODE, disk_find(disk_inode(fd)))->n = mode;
    });
}

/* The file was made and written by other means: all of it is new, and nothing of it is safe. */
static void
disk_note_adopted(int fd, int dir_fd, const char *name)
{
    unsigned object = disk_new(disk_inode(fd), false);
    struct stat st;
    char *data;

    disk_check(fstat(fd, &st) == 0, "fstat");
    data = ms_malloc((size_t)st.st_size + 1);
    disk_check(fd_pread_all(fd, data, (size_t)st.st_size, 0) == 0, "pread");
    disk_note_bytes(object, data, (size_t)st.st_size, 0);
    disk_note_name(NOTE_ADD, dir_fd, name, object);
    free(data);
}

static int
disk_link_fd(int fd, int dir_fd, const char *name)
{
    DISK_CALL("link_fd", int, -1, {
        rc_ = file_ops_synced.link_fd(fd, dir_fd, name);
        if (rc_ == 0)
            disk_note_adopted(fd, dir_fd, name);
    });
}

static int
disk_rename(int from_fd, const char *from, int to_fd, const char *to, bool replace)
{
    DISK_CALL("rename", int, -1, {
        struct stat st;

        disk_check(fstatat(from_fd, from, &st, AT_SYMLINK_NOFOLLOW) == 0, "fstatat");
        rc_ = file_ops_synced.rename(from_fd, from, to_fd, to, replace);
        if (rc_ == 0) {
            disk_note_name(NOTE_ADD, to_fd, to, disk_find(st.st_ino));
            disk_note_name(NOTE_DROP, from_fd, from, 0);
        }
    });
}

static int
disk_remove(int dir_fd, const char *name)
{
    DISK_CALL("remove", int, -1, {
        rc_ = file_ops_synced.remove(dir_fd, name);
        if (rc_ == 0)
            disk_note_name(NOTE_DROP, dir_fd, name, 0);
    });
}

static int
disk_remove_dir(int dir_fd, const char *name)
{
    DISK_CALL("remove_dir", int, -1, {
        rc_ = file_ops_synced.remove_dir(dir_fd, name);
        if (rc_ == 0)
            disk_note_name(NOTE_DROP, dir_fd, name, 0);
    });
}

static int
disk_sync(int fd)
{
    disk_note(NOTE_SYNC, disk_find(disk_inode(fd)));
    return 0;
}

static int
disk_sync_data(int fd)
{
    DISK_CALL("sync_data", int, -1, { rc_ = disk_sync(fd); });
}

static int
disk_sync_dir(int fd)
{
    DISK_CALL("sync_dir", int, -1, { rc_ = disk_sync(fd); });
}

static void
disk_start_writeback(int fd)
{
    (void)fd;
}

static int
disk_open(int dir_fd, const char *name, int flags)
{
    DISK_CALL("open", int, -1, { rc_ = file_ops_synced.open(dir_fd, name, flags); });
}

static int
disk_open_beneath(int dir_fd, const char *path, int flags)
{
    DISK_CALL("open_beneath", int, -1,
              { rc_ = file_ops_synced.open_beneath(dir_fd, path, flags); });
}

static ssize_t
disk_read(int fd, void *data, size_t n, off_t at)
{
    DISK_CALL("read", ssize_t, -1, { rc_ = file_ops_synced.read(fd, data, n, at); });
}

static int
disk_status(int fd, struct stat *out)
{
    DISK_CALL("status", int, -1, { rc_ = file_ops_synced.status(fd, out); });
}

static int
disk_lock(int fd)
{
    DISK_CALL("lock", int, -1, { rc_ = file_ops_synced.lock(fd); });
}

const struct file_ops *
disk_ops(void)
{
    static const struct file_ops ops = {
        .create = disk_create_file,
        .make_dir = disk_make_dir,
        .write = disk_write,
        .truncate = disk_truncate,
        .set_mode = disk_set_mode,
        .link_fd = disk_link_fd,
        .rename = disk_rename,
        .remove = disk_remove,
        .remove_dir = disk_remove_dir,
        .sync_data = disk_sync_data,
        .sync_dir = disk_sync_dir,
        .start_writeback = disk_start_writeback,
        .open = disk_open,
        .open_beneath = disk_open_beneath,
        .read = disk_read,
        .status = disk_status,
        .lock = disk_lock,
        .waits = true,
    };

    return &ops;
}

static int
uncounted_status(int fd, struct stat *out)
{
    int rc = file_ops_synced.status(fd, out);

    if (rc == 0 && !S_ISDIR(out->st_mode) && out->st_nlink > 1)
        out->st_nlink = 1;
    return rc;
}

static int
uncounted_remove(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

    disk_check(fd < 0 || ftruncate(fd, 0) == 0, name);
    fd_close(&fd);
    return file_ops_synced.remove(dir_fd, name);
}

const struct file_ops *
disk_uncounted_ops(void)
{
    static struct file_ops ops;

    ops = file_ops_synced;
    ops.status = uncounted_status;
    ops.remove = uncounted_remove;
    return &ops;
}

size_t
disk_count(void)
{
    size_t count;

    pthread_mutex_lock(&disk.lock);
    count = disk.note_count;
    pthread_mutex_unlock(&disk.lock);
    return count;
}

void
disk_fail(size_t call, int error)
{
    disk.calls = 0;
    disk.fail_at = call;
    disk.fail_error = error;
    disk.failed = NULL;
}

const char *
disk_failed(void)
{
    return disk.failed;
}

/* --- what is there at the beginning --- */

static void
disk_take_file(unsigned object, int dir_fd, const char *name)
{
    struct object *o = &disk.objects[object];
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    struct stat st;

    disk_check(fd >= 0 && fstat(fd, &st) == 0, name);
    o->n = (size_t)st.st_size;
    o->mode = st.st_mode & 0777;
    o->data = ms_malloc(o->n + 1);
    disk_check(fd_pread_all(fd, o->data, o->n, 0) == 0, name);
    fd_close(&fd);
}

static void
disk_take_dir(unsigned object, int fd)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;

    disk_check(dir != NULL, "opendir");
    while ((entry = readdir(dir)) != NULL) {
        struct object *o = &disk.objects[object];
        unsigned child;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        child = disk_new(entry->d_ino, entry->d_type == DT_DIR);
        disk.objects[child].there = true;
        disk_check(o->entry_count < DISK_ENTRIES, "too many names");
        o->entries[o->entry_count].object = child;
        disk_check(strlen(entry->d_name) < DISK_NAME, entry->d_name);
        strcpy(o->entries[o->entry_count++].name, entry->d_name);
        if (entry->d_type == DT_DIR)
            disk_take_dir(child, openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        else
            disk_take_file(child, fd, entry->d_name);
    }
    closedir(dir);
}

void
disk_begin(const char *root)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    disk_check(fd >= 0, root);
    disk_end();
    disk.objects[disk_new(disk_inode(fd), true)].there = true;
    disk_take_dir(0, fd);
    disk_fail(0, 0);
}

void
disk_end(void)
{
    for (unsigned i = 0; i < disk.object_count; i++)
        free(disk.objects[i].data);
    for (size_t i = 0; i < disk.note_count; i++)
        free(disk.notes[i].data);
    disk.object_count = 0;
    disk.note_count = 0;
}

/* --- a damaged directory --- */

static ino_t damaged_dir;

void
disk_damage_dir(const char *path)
{
    struct stat st = {0};

    MS_ASSERT(path == NULL || stat(path, &st) == 0);
    damaged_dir = st.st_ino;
}

/* In the place of the C library's. */
struct dirent *
readdir(DIR *dir)
{
    struct stat st;

    if (damaged_dir == 0 || fstat(dirfd(dir), &st) < 0 || st.st_ino != damaged_dir)
        return (struct dirent *)readdir64(dir);
    errno = EIO;
    return NULL;
}
