/* Bytes are only ever added behind what is known to be good, and a segment in which that went wrong
 * once is never written again. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_TRIES 10

void
segment_init(struct segment *segment, const struct file_ops *ops, unsigned worker)
{
    *segment = (struct segment){.ops = ops, .worker = worker, .dir_fd = -1, .fd = -1};
    ulid_init(&segment->ids);
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

    for (unsigned tries = 0; tries < SEGMENT_TRIES; tries++) {
        ulid_next(&segment->ids, clock_real_us(), id);
        snprintf(segment->name, sizeof(segment->name), "%.*s-w%u%s", ULID_LEN, id, segment->worker,
                 SEGMENT_SUFFIX);
        segment->fd = openat(segment->dir_fd, segment->name,
                             O_CREAT | O_EXCL | O_WRONLY | O_APPEND | O_CLOEXEC, 0640);
        if (segment->fd < 0)
            return -1;
        if (temp_file_lock(segment->fd) == 0 && segment_is_there(segment))
            return 0;
        fd_close(&segment->fd);
    }
    errno = EBUSY;
    return -1;
}

int
segment_open(struct segment *segment, int dir_fd)
{
    MS_ASSERT(!segment_is_open(segment));
    segment->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    if (segment->dir_fd < 0 || segment_create(segment) < 0) {
        segment_leave(segment);
        return -1;
    }
    segment->good = 0;
    segment->opened_us = clock_mono_us();
    if (segment->ops->sync_dir(segment->dir_fd) < 0) {
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

    return fstat(segment->fd, &st) == 0 && st.st_nlink > 0;
}

/* Removes lines of messages that are not acknowledged. If even that fails, they stay in the journal
 * although their senders will send them again. */
static void
segment_abandon(struct segment *segment)
{
    if (segment->ops->truncate(segment->fd, (off_t)segment->good) < 0 ||
        segment->ops->sync_data(segment->fd) < 0)
        memcpy(segment->uncut, segment->name, sizeof(segment->uncut));
    segment_close(segment);
}

int
segment_append(struct segment *segment, const void *lines, size_t n)
{
    int saved;

    MS_ASSERT(segment_is_open(segment));
    if (segment->ops->write_all(segment->fd, lines, n) == 0 &&
        segment->ops->sync_data(segment->fd) == 0) {
        segment->good += n;
        return 0;
    }
    saved = errno;
    segment_abandon(segment);
    errno = saved;
    return -1;
}

void
segment_close(struct segment *segment)
{
    struct stat st;

    if (segment_is_open(segment) && segment->good == 0 && fstat(segment->fd, &st) == 0 &&
        st.st_size == 0)
        (void)unlinkat(segment->dir_fd, segment->name, 0);
    segment_leave(segment);
}
