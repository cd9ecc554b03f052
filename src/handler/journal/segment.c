/* Bytes are only ever added behind what is known to be good, and a segment in which that went wrong
 * once is never written again. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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
    return digits > 0 && strcmp(name + digits, SEGMENT_SUFFIX) == 0;
}

static void
segment_leave(struct segment *segment)
{
    fd_close(&segment->fd);
    fd_close(&segment->dir_fd);
    segment->good = 0;
}

/* The recovery of another worker may find a new segment before it is locked, take it for one that
 * nobody writes and remove it: then another name is tried. */
static int
segment_create(struct segment *segment)
{
    char id[ULID_LEN];
    int error = 0;

    for (unsigned tries = 0; tries < SEGMENT_TRIES; tries++) {
        ulid_next(&segment->ids, clock_real_us(), id);
        snprintf(segment->name, sizeof(segment->name), "%.*s-w%u%s", ULID_LEN, id, segment->worker,
                 SEGMENT_SUFFIX);
        segment->fd = segment->ops->create(segment->dir_fd, segment->name);
        if (segment->fd < 0)
            return -1;
        error = EBUSY;
        if (segment->ops->lock(segment->fd) < 0)
            error = errno;
        else if (segment_is_there(segment))
            return 0;
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

bool
segment_is_there(const struct segment *segment)
{
    struct stat st;

    return segment->ops->status(segment->fd, &st) == 0 && st.st_nlink > 0 &&
           (uint64_t)st.st_size == segment->good;
}

/* Removes lines of messages that are not acknowledged. If even that fails, they stay in the journal
 * although their senders will send them again. */
static void
segment_abandon(struct segment *segment)
{
    if (segment->ops->truncate(segment->fd, (off_t)segment->good) == 0 &&
        segment->ops->sync_data(segment->fd) == 0) {
        segment_close(segment);
        return;
    }
    memcpy(segment->uncut, segment->name, sizeof(segment->uncut));
    segment_leave(segment); /* unsealed: recovery looks at it */
}

int
segment_append(struct segment *segment, const void *lines, size_t n)
{
    int saved;

    MS_ASSERT(segment_is_open(segment));
    if (file_write_all(segment->ops, segment->fd, lines, n, (off_t)segment->good) == 0 &&
        segment->ops->sync_data(segment->fd) == 0) {
        segment->good += n;
        return 0;
    }
    saved = errno;
    segment_abandon(segment);
    errno = saved;
    return -1;
}

/* Without sync nothing tells when all of it is on the disk, so it stays unsealed. */
void
segment_close(struct segment *segment)
{
    struct stat st;

    if (!segment_is_open(segment))
        return;
    if (segment->good == 0 && segment->ops->status(segment->fd, &st) == 0 && st.st_size == 0)
        (void)segment->ops->remove(segment->dir_fd, segment->name);
    else if (segment->good > 0 && segment->ops->waits && segment_is_there(segment))
        (void)segment->ops->set_mode(segment->fd, SEGMENT_SEALED);
    segment_leave(segment);
}
