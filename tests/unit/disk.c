#include "disk.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

#define DISK_OBJECTS 4096
#define DISK_NOTES   65536
#define DISK_ENTRIES 64
#define DISK_PENDING 256
#define DISK_NAME    128
#define DISK_SECTOR  512u

/* --- what is noted --- */

enum note_kind { NOTE_WRITE, NOTE_TRUNCATE, NOTE_MODE, NOTE_ADD, NOTE_DROP, NOTE_SYNC };

struct note {
    enum note_kind kind;
    unsigned object; /* the file, or the directory */
    uint64_t at, n;  /* write: offset and bytes; truncate: the length; mode */
    void *data;
    unsigned entry; /* add: the object that gets the name */
    char name[DISK_NAME];
};

/* What is on the disk before the first note. */
struct object {
    bool is_dir;
    ino_t inode;
    char *data;
    size_t n;
    mode_t mode;
    struct {
        char name[DISK_NAME];
        unsigned object;
    } entries[DISK_ENTRIES];
    unsigned entry_count;
    bool there; /* was there at the beginning */
};

static struct {
    pthread_mutex_t lock;
    struct object objects[DISK_OBJECTS];
    unsigned object_count;
    struct note notes[DISK_NOTES];
    size_t note_count;
    size_t calls, fail_at;
    int fail_error;
    const char *failed;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
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

size_t
disk_calls(void)
{
    return disk.calls;
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

/* --- a cut --- */

static uint64_t
disk_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* How much of what is not safe came true: nothing, all, or each piece by chance. */
enum luck { LUCK_NONE, LUCK_ALL, LUCK_SOME };

static bool
disk_happens(enum luck luck, uint64_t *seed)
{
    return luck == LUCK_ALL || (luck == LUCK_SOME && (disk_random(seed) >> 20) % 2 == 0);
}

/* An object while its history is gone through: what is safe, and what is not yet. */
struct past {
    char *data;
    size_t n, cap;
    mode_t mode;
    unsigned names;     /* of a file, now */
    bool inode_is_safe; /* it was synced while it had a name, or was there at the beginning */
    struct {
        char name[DISK_NAME];
        unsigned object;
        bool gone;
    } entries[DISK_ENTRIES];
    unsigned entry_count;
    const struct note *pending[DISK_PENDING];
    unsigned pending_count;
    char *made; /* where it stands in the new tree */
};

static struct past pasts[DISK_OBJECTS];

static void
past_resize(struct past *p, size_t n)
{
    if (n > p->cap) {
        p->cap = n * 2;
        p->data = realloc(p->data, p->cap);
        disk_check(p->data != NULL, "memory");
    }
    if (n > p->n)
        memset(p->data + p->n, 0, n - p->n);
    p->n = n;
}

static void
past_write(struct past *p, const struct note *note, size_t from, size_t n)
{
    if (note->at + from + n > p->n)
        past_resize(p, note->at + from + n);
    memcpy(p->data + note->at + from, (char *)note->data + from, n);
}

static void
past_name(struct past *p, const struct note *note)
{
    unsigned i = 0;

    while (i < p->entry_count && strcmp(p->entries[i].name, note->name) != 0)
        i++;
    disk_check(i < DISK_ENTRIES, "too many names");
    if (i == p->entry_count)
        p->entry_count++;
    memcpy(p->entries[i].name, note->name, DISK_NAME);
    p->entries[i].object = note->entry;
    p->entries[i].gone = note->kind == NOTE_DROP;
}

static void
past_apply(struct past *p, const struct note *note)
{
    switch (note->kind) {
    case NOTE_WRITE:
        past_write(p, note, 0, note->n);
        break;
    case NOTE_TRUNCATE:
        past_resize(p, note->n);
        break;
    case NOTE_MODE:
        p->mode = (mode_t)note->n;
        break;
    case NOTE_ADD:
    case NOTE_DROP:
        past_name(p, note);
        break;
    case NOTE_SYNC:
        break;
    }
}

/* A write comes true sector by sector. Its length may be there without its bytes. */
static void
past_tear(struct past *p, const struct note *note, uint64_t *seed)
{
    if ((disk_random(seed) >> 20) % 2 == 0 && note->at + note->n > p->n)
        past_resize(p, note->at + note->n);
    for (size_t at = 0; at < note->n;) {
        size_t n = MIN(note->n - at, DISK_SECTOR - (note->at + at) % DISK_SECTOR);

        if (disk_happens(LUCK_SOME, seed))
            past_write(p, note, at, n);
        at += n;
    }
}

static void
past_sync(struct past *p)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < p->pending_count; i++) {
        /* fdatasync need not write a mode. */
        if (p->pending[i]->kind == NOTE_MODE)
            p->pending[kept++] = p->pending[i];
        else
            past_apply(p, p->pending[i]);
    }
    p->pending_count = kept;
    p->inode_is_safe = p->inode_is_safe || p->names > 0;
}

static void
pasts_begin(void)
{
    for (unsigned i = 0; i < disk.object_count; i++) {
        const struct object *o = &disk.objects[i];
        struct past *p = &pasts[i];

        p->n = p->pending_count = 0;
        past_resize(p, o->n);
        memcpy(p->data != NULL ? p->data : (char *)p, o->data != NULL ? o->data : (char *)o, o->n);
        p->mode = o->mode;
        p->names = o->there;
        p->inode_is_safe = o->there;
        p->entry_count = o->entry_count;
        for (unsigned e = 0; e < o->entry_count; e++) {
            memcpy(p->entries[e].name, o->entries[e].name, DISK_NAME);
            p->entries[e].object = o->entries[e].object;
            p->entries[e].gone = false;
        }
        free(p->made);
        p->made = NULL;
    }
}

static void
pasts_go(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct note *note = &disk.notes[i];
        struct past *p = &pasts[note->object];

        if (note->kind == NOTE_SYNC) {
            past_sync(p);
            continue;
        }
        if (note->kind == NOTE_ADD)
            pasts[note->entry].names++;
        disk_check(p->pending_count < DISK_PENDING, "too much that was never synced");
        p->pending[p->pending_count++] = note;
    }
}

/* What happened to be written before the power went. */
static void
past_cut(struct past *p, uint64_t *seed)
{
    enum luck luck = (enum luck)((disk_random(seed) >> 20) % 3);

    for (unsigned i = 0; i < p->pending_count; i++) {
        const struct note *note = p->pending[i];

        if (note->kind == NOTE_WRITE && luck == LUCK_SOME)
            past_tear(p, note, seed);
        else if (disk_happens(luck, seed))
            past_apply(p, note);
    }
}

static void
past_make_file(struct past *p, const char *path)
{
    int fd;

    if (p->made != NULL) {
        disk_check(link(p->made, path) == 0, path);
        return;
    }
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0640);
    disk_check(fd >= 0 && fd_write_all(fd, p->data, p->n) == 0 && fchmod(fd, p->mode) == 0, path);
    fd_close(&fd);
    p->made = ms_strdup(path);
}

/* A name whose inode never reached the disk leads nowhere, and a check of the file system drops
 * it. */
static void
past_make_dir(unsigned object, const char *path, uint64_t *seed)
{
    struct past *p = &pasts[object];
    char child[512];

    for (unsigned i = 0; i < p->entry_count; i++) {
        unsigned entry = p->entries[i].object;

        if (p->entries[i].gone || (!disk.objects[entry].is_dir && !pasts[entry].inode_is_safe &&
                                   disk_happens(LUCK_SOME, seed)))
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, p->entries[i].name);
        if (!disk.objects[entry].is_dir) {
            past_make_file(&pasts[entry], child);
        } else {
            disk_check(mkdir(child, 0750) == 0, child);
            past_make_dir(entry, child, seed);
        }
    }
}

void
disk_cut(size_t count, uint64_t seed, const char *to)
{
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    pasts_begin();
    pasts_go(count);
    for (unsigned i = 0; i < disk.object_count; i++)
        past_cut(&pasts[i], &random);
    past_make_dir(0, to, &random);
}
