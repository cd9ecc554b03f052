/* What is torn behind the last whole line of a segment is cut off. A damaged stretch before a whole
 * line is copied to journal/damaged/, and one line of the same length takes its place, so that
 * readers go on. The copy is safe before the segment is changed, and the segment is sealed last:
 * whatever stops a recovery, the next one does the rest. */
#include "handler/journal/journal.h"

#include "common/fd.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RECOVERY_FLAGS (O_RDWR | O_NOFOLLOW | O_NONBLOCK)
#define RECOVERY_PATH  (SEGMENT_NAME_LEN + 96)
#define RECOVERY_DIR   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define RECOVERY_DEPTH 128 /* of directories; a sender's path has 32 */

struct recovery {
    const struct data_dirs *dirs;
    const struct file_ops *ops;
    const _Atomic bool *stop;
    struct temp_maker maker;
    struct recovery_tally tally;
    unsigned foreign; /* segments that this worker may not write to */
    struct leftover *leftovers;
    size_t leftover_count, leftover_cap;
};

/* A temporary name that was found. */
struct leftover {
    int dir_fd; /* borrowed */
    char name[NAME_MAX + 1];
    ino_t inode;
    unsigned names; /* that any file of this inode's number has in the data directory */
};

static bool
recovery_is_stopped(const struct recovery *r)
{
    return r->stop != NULL && atomic_load(r->stop);
}

/* What a scan has found so far: stretches that are not whole lines, the last of which may still
 * grow, and where the last whole line ends. */
struct stretch {
    uint64_t at, n;
};

struct recovery_map {
    struct stretch *stretches;
    size_t count, cap;
    uint64_t good; /* the end of the last whole line */
    bool no_end;   /* which has no newline */
    bool is_line;  /* bytes behind it hold a newline: they are not just torn */
    const _Atomic bool *stop;
};

/* --- what is wrong with a segment --- */

static int
recovery_note(struct recovery_map *map, uint64_t at, uint64_t n)
{
    struct stretch *last = map->count > 0 ? &map->stretches[map->count - 1] : NULL;

    if (last != NULL && last->at + last->n == at && last->n > 1) {
        last->n += n;
        return 0;
    }
    if (map->count == map->cap) {
        size_t cap = map->cap == 0 ? 16 : map->cap * 2;
        struct stretch *stretches = realloc(map->stretches, cap * sizeof(*stretches));

        if (stretches == NULL)
            return -1;
        map->stretches = stretches;
        map->cap = cap;
    }
    map->stretches[map->count++] = (struct stretch){at, n};
    return 0;
}

static int
recovery_see(void *arg, const struct segment_line *line)
{
    struct recovery_map *map = arg;

    if (map->stop != NULL && atomic_load(map->stop)) {
        errno = ECANCELED;
        return -1;
    }
    if (!line->whole) {
        map->is_line = map->is_line || memchr(line->text, '\n', line->n) != NULL;
        return recovery_note(map, line->at, line->n);
    }
    map->good = line->at + line->n;
    map->no_end = line->no_end;
    map->is_line = false;
    return line->bad_end && !line->no_end ? recovery_note(map, map->good - 1, 1) : 0;
}

/* --- mending --- */

static int
recovery_open_damaged(struct recovery *r)
{
    if (r->ops->make_dir(r->dirs->journal, DAMAGED_DIR) < 0 && errno != EEXIST)
        return -1;
    if (r->ops->sync_dir(r->dirs->journal) < 0)
        return -1;
    return r->ops->open(r->dirs->journal, DAMAGED_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

static int
recovery_write_copy(struct recovery *r, int dir_fd, const char *name, const char *data, size_t n)
{
    struct temp_file temp;
    int rc = -1;

    if (temp_file_create(&r->maker, dir_fd, &temp) < 0)
        return -1;
    if (fd_write_by(r->ops->write, temp.fd, data, n, 0) == 0 && r->ops->sync_data(temp.fd) == 0 &&
        (temp_file_rename(&r->maker, &temp, dir_fd, name, false) == 0 || errno == EEXIST) &&
        r->ops->sync_dir(dir_fd) == 0)
        rc = 0;
    temp_file_close(&r->maker, &temp);
    return rc;
}

/* Keeps the first copy of a stretch: a later recovery may find it half replaced. */
static int
recovery_copy(struct recovery *r, const char *name, const char *data, size_t n)
{
    int dir_fd = recovery_open_damaged(r), rc;

    if (dir_fd < 0)
        return -1;
    rc = recovery_write_copy(r, dir_fd, name, data, n);
    fd_close(&dir_fd);
    return rc;
}

/* Keeps a stretch's bytes, which are in data, under a name that tells where they stood. The path
 * beneath the data directory in path_out. */
static int
recovery_keep(struct recovery *r, const char *segment, const struct stretch *stretch,
              const char *data, char path_out[RECOVERY_PATH])
{
    char copy[RECOVERY_PATH - 32];

    snprintf(copy, sizeof(copy), "%s-%llu-%llu", segment, (unsigned long long)stretch->at,
             (unsigned long long)stretch->n);
    snprintf(path_out, RECOVERY_PATH, "journal/" DAMAGED_DIR "/%s", copy);
    return recovery_copy(r, copy, data, (size_t)stretch->n);
}

/* A single byte is the newline of a whole record, and needs no copy. */
static int
recovery_replace(struct recovery *r, int fd, const char *segment, const struct stretch *stretch)
{
    size_t n = (size_t)stretch->n;
    char path[RECOVERY_PATH] = "";
    char *data = malloc(n);
    int rc = -1;

    if (data == NULL || fd_read_by(r->ops->read, fd, data, n, (off_t)stretch->at) < 0 ||
        (n > 1 && recovery_keep(r, segment, stretch, data, path) < 0))
        goto out;
    record_damage(data, n, path);
    rc = fd_write_by(r->ops->write, fd, data, n, (off_t)stretch->at);
    if (rc == 0) {
        r->tally.damaged++;
        log_line(
            LOG_journal_damaged, "journal/%s: %zu damaged bytes at %llu; whole lines follow, so %s",
            segment, n, (unsigned long long)stretch->at,
            n > 1 ? "the bytes are kept in journal/" DAMAGED_DIR "/" : "it is a newline again");
    }
out:
    free(data);
    return rc;
}

/* Cuts off what is behind the last whole line. A line that ended there was damaged rather than
 * torn, and is kept. */
static int
recovery_cut(struct recovery *r, int fd, const char *name, uint64_t size,
             const struct recovery_map *map)
{
    struct stretch tail = {map->good, size - map->good};
    char *data = map->is_line ? malloc((size_t)tail.n) : NULL;
    char path[RECOVERY_PATH];
    int rc = -1;

    if (map->is_line &&
        (data == NULL || fd_read_by(r->ops->read, fd, data, (size_t)tail.n, (off_t)tail.at) < 0 ||
         recovery_keep(r, name, &tail, data, path) < 0))
        goto out;
    rc = r->ops->truncate(fd, (off_t)map->good);
    if (rc == 0) {
        r->tally.cut++;
        log_line(LOG_journal_torn, "journal/%s: %llu bytes cut off behind its last whole line%s",
                 name, (unsigned long long)tail.n,
                 map->is_line ? "; they are kept in journal/" DAMAGED_DIR "/" : "");
    }
out:
    free(data);
    return rc;
}

static int
recovery_mend(struct recovery *r, int fd, const char *name, uint64_t size,
              const struct recovery_map *map)
{
    for (size_t i = 0; i < map->count && map->stretches[i].at < map->good; i++)
        if (recovery_replace(r, fd, name, &map->stretches[i]) < 0)
            return -1;
    if (map->no_end) {
        if (fd_write_by(r->ops->write, fd, "\n", 1, (off_t)map->good) < 0)
            return -1;
        r->tally.damaged++;
        return 0;
    }
    return map->good < size ? recovery_cut(r, fd, name, size, map) : 0;
}

/* --- segments --- */

static int
recovery_remove(struct recovery *r, int dir_fd, const char *name, unsigned *count)
{
    if (r->ops->remove(dir_fd, name) < 0)
        return errno == ENOENT ? 0 : -1; /* somebody was faster */
    ++*count;
    return 0;
}

/* Where the file system keeps no modes (vfat), the next start looks at it again. */
static int
recovery_seal(const struct recovery *r, int fd)
{
    if (r->ops->set_mode(fd, SEGMENT_SEALED) == 0 || errno == EPERM || data_cannot(errno))
        return 0;
    return -1;
}

/* Returns 0, or -1 with errno. */
static int
recovery_segment_locked(struct recovery *r, int fd, const char *name, uint64_t size)
{
    struct recovery_map map = {.stop = r->stop};
    int rc = -1;

    if (size == 0)
        return recovery_remove(r, r->dirs->journal, name, &r->tally.emptied);
    if (segment_scan(r->ops, fd, 0, size, recovery_see, &map) < 0 ||
        recovery_mend(r, fd, name, size, &map) < 0)
        goto out;
    if (map.good == 0)
        rc = recovery_remove(r, r->dirs->journal, name, &r->tally.emptied);
    else if (!r->ops->waits)
        rc = 0;
    else if (r->ops->sync_data(fd) == 0)
        rc = recovery_seal(r, fd);
out:
    free(map.stretches);
    return rc;
}

static void
recovery_segment(struct recovery *r, int dir_fd, const struct dirent *entry)
{
    const char *name = entry->d_name;
    struct stat st;
    int fd, rc = 0;

    if (!segment_is_name(name) || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || (st.st_mode & 0777) == SEGMENT_SEALED)
        return;
    fd = r->ops->open(dir_fd, name, RECOVERY_FLAGS);
    if (fd < 0) {
        if (errno == ENOENT)
            return; /* gone meanwhile */
        rc = errno == EACCES || errno == EPERM ? 0 : -1;
        r->foreign += rc == 0;
    } else if (r->ops->lock(fd) < 0) {
        rc = errno == EAGAIN || errno == EACCES ? 0 : -1;
    } else if (r->ops->status(fd, &st) < 0) {
        rc = -1;
    } else if (S_ISREG(st.st_mode) && fd_is_named(fd, dir_fd, name)) {
        /* What somebody has moved away since it was opened is his. */
        rc = recovery_segment_locked(r, fd, name, (uint64_t)st.st_size);
    }
    if (rc < 0 && errno != ECANCELED) {
        log_line(LOG_journal_not_recovered, "journal/%s cannot be recovered: %s", name,
                 strerror(errno));
        r->tally.failed++;
    }
    fd_close(&fd);
}

/* --- leftovers --- */

/* A rename that a power cut has halved leaves both names where the file system has no journal, and
 * says that the file has one: to remove the temporary name would free what the other stands for. So
 * the names of what is to be removed are counted first, in all of the data directory. */

typedef void (*recovery_entry_fn)(struct recovery *r, int dir_fd, const struct dirent *entry);

static void
recovery_each(struct recovery *r, int dir_fd, recovery_entry_fn fn)
{
    int fd = r->ops->open(dir_fd, ".", O_RDONLY | O_DIRECTORY);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (dir == NULL) {
        log_line(LOG_journal_not_recovered,
                 "a directory cannot be searched for what a crash left: %s", strerror(errno));
        r->tally.failed++;
        fd_close(&fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL && !recovery_is_stopped(r))
        fn(r, dir_fd, entry);
    closedir(dir);
}

/* Opens and locks a file that nobody holds. Returns its descriptor, or -1. */
static int
recovery_seize(struct recovery *r, int dir_fd, const char *name, struct stat *st_out)
{
    int fd = r->ops->open(dir_fd, name, RECOVERY_FLAGS);

    if (fd >= 0 &&
        (r->ops->status(fd, st_out) < 0 || !S_ISREG(st_out->st_mode) || r->ops->lock(fd) < 0))
        fd_close(&fd);
    return fd;
}

static void
recovery_leftover(struct recovery *r, int dir_fd, const struct dirent *entry)
{
    struct leftover *left;
    struct stat st;
    int fd = -1;

    if (temp_file_is_reserved(entry->d_name))
        fd = recovery_seize(r, dir_fd, entry->d_name, &st);
    if (fd < 0)
        return;
    fd_close(&fd);
    if (r->leftover_count == r->leftover_cap) {
        r->leftover_cap = r->leftover_cap == 0 ? 16 : r->leftover_cap * 2;
        r->leftovers = realloc(r->leftovers, r->leftover_cap * sizeof(*r->leftovers));
        MS_ASSERT(r->leftovers != NULL);
    }
    left = &r->leftovers[r->leftover_count++];
    *left = (struct leftover){.dir_fd = dir_fd, .inode = entry->d_ino};
    snprintf(left->name, sizeof(left->name), "%s", entry->d_name);
}

/* Where others give names too. */
static void
recovery_own_leftover(struct recovery *r, int dir_fd, const struct dirent *entry)
{
    if (temp_file_is_name(entry->d_name))
        recovery_leftover(r, dir_fd, entry);
}

static int recovery_count_names(struct recovery *r, int fd, unsigned depth);

static int
recovery_count_name(struct recovery *r, int dir_fd, const struct dirent *entry, unsigned depth)
{
    struct stat st;
    bool is_dir = entry->d_type == DT_DIR;
    int fd;

    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
        return 0;
    if (entry->d_type == DT_UNKNOWN &&
        fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        is_dir = S_ISDIR(st.st_mode);
    for (size_t i = 0; i < r->leftover_count; i++)
        r->leftovers[i].names += r->leftovers[i].inode == entry->d_ino;
    if (!is_dir)
        return 0;
    fd = openat(dir_fd, entry->d_name, RECOVERY_DIR);
    /* Nothing of ours is where we may not look, such as lost+found. */
    if (fd < 0)
        return errno == ENOENT || errno == EACCES ? 0 : -1;
    return recovery_count_names(r, fd, depth + 1);
}

/* In an open directory, which it closes, and all beneath. Returns 0, or -1 where it has not seen
 * all. */
static int
recovery_count_names(struct recovery *r, int fd, unsigned depth)
{
    DIR *dir = fd >= 0 && depth < RECOVERY_DEPTH ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        fd_close(&fd);
        return -1;
    }
    while (rc == 0 && (entry = fd_read_dir(dir)) != NULL)
        rc = recovery_is_stopped(r) ? -1 : recovery_count_name(r, fd, entry, depth);
    if (rc == 0 && errno != 0)
        rc = -1;
    closedir(dir);
    return rc;
}

static void
recovery_remove_leftover(struct recovery *r, const struct leftover *left)
{
    struct stat st;
    int fd = recovery_seize(r, left->dir_fd, left->name, &st);

    if (fd < 0)
        return;
    if (st.st_nlink < left->names)
        r->tally.shared++;
    else if (recovery_remove(r, left->dir_fd, left->name, &r->tally.leftovers) < 0)
        r->tally.failed++;
    fd_close(&fd);
}

static void
recovery_remove_leftovers(struct recovery *r)
{
    int fd = r->leftover_count > 0 ? openat(r->dirs->root, ".", RECOVERY_DIR) : -1;

    if (r->leftover_count > 0 && recovery_count_names(r, fd, 0) == 0)
        for (size_t i = 0; i < r->leftover_count; i++)
            recovery_remove_leftover(r, &r->leftovers[i]);
    free(r->leftovers);
    if (r->tally.leftovers > 0)
        log_line(LOG_leftovers_removed, "%u temporary files of a crashed worker removed",
                 r->tally.leftovers);
    if (r->tally.shared > 0)
        log_line(LOG_leftovers_kept,
                 "%u temporary files are kept, since they have other names that the file system "
                 "does not count: it must be checked (fsck)",
                 r->tally.shared);
}

void
recovery_run(const struct data_dirs *dirs, const struct file_ops *ops, const _Atomic bool *stop,
             struct recovery_tally *tally_out)
{
    struct recovery r = {.dirs = dirs, .ops = ops, .stop = stop};
    int damaged;

    temp_maker_init(&r.maker, ops);
    recovery_each(&r, dirs->journal, recovery_segment);
    if (r.foreign > 0)
        log_line(LOG_segments_foreign,
                 "segments that are not looked at, since this worker may not write to them: %u",
                 r.foreign);
    recovery_each(&r, dirs->root, recovery_leftover);
    recovery_each(&r, dirs->journal, recovery_leftover);
    recovery_each(&r, dirs->files, recovery_own_leftover);
    recovery_each(&r, dirs->blobs, recovery_leftover);
    damaged = ops->open(dirs->journal, DAMAGED_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (damaged >= 0)
        recovery_each(&r, damaged, recovery_leftover);
    recovery_remove_leftovers(&r);
    fd_close(&damaged);
    *tally_out = r.tally;
}
