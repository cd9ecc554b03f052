/* Bytes are only ever added behind what is known to be good, and a segment in which that went wrong
 * once is never written again. Its descriptor appends: where somebody has cut the file short since
 * we looked, a write at an offset would make a hole of NUL bytes. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SEGMENT_TRIES 10

void
segment_init(struct segment *segment, struct dir_syncs *syncs, unsigned worker)
{
    *segment = (struct segment){
        .ops = syncs->ops, .syncs = syncs, .worker = worker, .dir_fd = -1, .fd = -1};
    ulid_init(&segment->ids);
}

bool
segment_is_name(const char *name)
{
    size_t digits;

    if (!ulid_begins(name) || strncmp(name + ULID_LEN, "-w", 2) != 0)
        return false;
    name += ULID_LEN + 2;
    digits = strspn(name, "0123456789");
    return digits > 0 && digits < SEGMENT_NAME_LEN - ULID_LEN - 2 - (sizeof(SEGMENT_SUFFIX) - 1) &&
           strcmp(name + digits, SEGMENT_SUFFIX) == 0;
}

static int
segment_by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int
segment_is_entry(const struct dirent *entry)
{
    return segment_is_name(entry->d_name);
}

int
segment_names(int dir_fd, struct dirent ***names_out)
{
    return scandirat(dir_fd, ".", names_out, segment_is_entry, segment_by_name);
}

void
segment_names_free(struct dirent **names, int count)
{
    for (int i = 0; i < count; i++)
        free(names[i]);
    if (count >= 0)
        free(names);
}

static void
segment_leave(struct segment *segment)
{
    fd_close(&segment->fd);
    fd_close(&segment->dir_fd);
    segment->good = 0;
}

static void
segment_note(struct segment *segment, enum segment_state state)
{
    if (segment->left.state != SEGMENT_SOUND)
        return;
    segment->left.state = state;
    memcpy(segment->left.name, segment->name, sizeof(segment->left.name));
}

/* Its inode's number is not used again while it is open. */
enum segment_state
segment_look(const struct segment *segment, const char *path)
{
    struct stat st;

    if (fstatat(path == NULL ? segment->dir_fd : AT_FDCWD, path == NULL ? segment->name : path, &st,
                AT_SYMLINK_NOFOLLOW) < 0)
        return SEGMENT_GONE;
    if (st.st_ino != segment->inode || st.st_dev != segment->device)
        return SEGMENT_REPLACED;
    if ((uint64_t)st.st_size != segment->good)
        return (uint64_t)st.st_size < segment->good ? SEGMENT_SHORTER : SEGMENT_LONGER;
    return (st.st_mode & S_IWUSR) != 0 ? SEGMENT_SOUND : SEGMENT_READ_ONLY;
}

/* Locked, and known by its inode from now on. False with errno, EBUSY where others were faster. */
static bool
segment_take(struct segment *segment)
{
    struct stat st;

    if (segment->ops->lock(segment->fd) < 0 || segment->ops->status(segment->fd, &st) < 0 ||
        fcntl(segment->fd, F_SETFL, O_APPEND | O_NONBLOCK) < 0) /* as the sandbox wants it */
        return false;
    segment->device = st.st_dev;
    segment->inode = st.st_ino;
    errno = EBUSY;
    return segment_look(segment, NULL) == SEGMENT_SOUND;
}

/* The recovery of another worker may find a new segment before it is locked, take it for one that
 * nobody writes and remove it: then another name is tried. */
static int
segment_create(struct segment *segment)
{
    char id[ULID_LEN];
    int error = 0;

    for (unsigned tries = 0; tries < SEGMENT_TRIES; tries++) {
        ulid_next(&segment->ids, clock_id_us(segment->id_offset_us), id);
        snprintf(segment->name, sizeof(segment->name), "%.*s-w%u%s", ULID_LEN, id, segment->worker,
                 SEGMENT_SUFFIX);
        segment->fd = segment->ops->create(segment->dir_fd, segment->name);
        if (segment->fd < 0)
            return -1;
        if (segment_take(segment))
            return 0;
        error = errno;
        fd_close(&segment->fd);
    }
    errno = error;
    return -1;
}

int
segment_open(struct segment *segment, int dir_fd)
{
    MS_ASSERT(!segment_is_open(segment));
    if (dir_check(segment->syncs, dir_fd) < 0)
        return -1;
    segment->good = 0;
    segment->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    if (segment->dir_fd < 0 || segment_create(segment) < 0) {
        segment_leave(segment);
        return -1;
    }
    segment->opened_us = clock_mono_us();
    if (dir_sync(segment->syncs, segment->dir_fd) < 0) {
        int saved = errno;

        segment_close(segment);
        errno = saved;
        return -1;
    }
    return 0;
}

/* Cuts back to what was good what is our own file, where nobody but us has made it longer: never
 * longer, and never what others have made of it. Returns 0, or -1. */
static int
segment_cut(struct segment *segment, size_t n)
{
    uint64_t good = segment->good;
    struct stat st;

    if (segment->ops->status(segment->fd, &st) < 0 || (uint64_t)st.st_size > good + n)
        return -1;
    switch (segment_look(segment, NULL)) {
    case SEGMENT_SOUND:
        break;
    case SEGMENT_LONGER:
        if (segment->ops->truncate(segment->fd, (off_t)good) < 0)
            return -1;
        break;
    case SEGMENT_GONE:
    case SEGMENT_REPLACED:
    case SEGMENT_SHORTER:
    case SEGMENT_READ_ONLY:
    case SEGMENT_UNCUT:
        return -1;
    }
    return segment->ops->sync_data(segment->fd);
}

/* Removes lines of messages that are not acknowledged. If even that fails, they stay in the journal
 * although their senders will send them again. */
static void
segment_abandon(struct segment *segment, size_t n)
{
    if (segment_cut(segment, n) == 0) {
        segment_close(segment);
        return;
    }
    segment_note(segment, SEGMENT_UNCUT);
    segment_leave(segment); /* unsealed: recovery looks at it */
}

int
segment_append(struct segment *segment, const void *lines, size_t n)
{
    int saved;

    MS_ASSERT(segment_is_open(segment));
    if (file_mark(segment->fd, segment->good) == 0 &&
        fd_write_by(segment->ops->write, segment->fd, lines, n, (off_t)segment->good) == 0 &&
        segment->ops->sync_data(segment->fd) == 0) {
        segment->good += n;
        return 0;
    }
    saved = errno;
    if (saved == EPERM)
        segment_lose(segment, SEGMENT_READ_ONLY);
    else
        segment_abandon(segment, n);
    errno = saved;
    return -1;
}

/* Without sync nothing tells when all of it is on the disk, so it stays unsealed. */
void
segment_close(struct segment *segment)
{
    if (!segment_is_open(segment))
        return;
    if (segment_look(segment, NULL) != SEGMENT_SOUND)
        ; /* somebody else's now, or recovery's */
    else if (segment->good == 0)
        (void)segment->ops->remove(segment->dir_fd, segment->name);
    else if (segment->ops->waits)
        (void)segment->ops->set_mode(segment->fd, SEGMENT_SEALED);
    segment_leave(segment);
}

void
segment_lose(struct segment *segment, enum segment_state state)
{
    segment_note(segment, state);
    segment_close(segment);
}

void
segment_take_back(struct segment *segment, enum segment_state state, size_t n)
{
    segment_note(segment, state);
    segment->good -= n;
    segment_abandon(segment, n);
}
