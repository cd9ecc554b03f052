/* Disk for bodies that arrive. Invariant: what was promised to messages under way fits above
 * min_free, so each of them can be finished, and a source has its share of the rest. How much is
 * free is asked for at most every FREE_US, and before anything is refused; what all workers have
 * set aside since is taken off. */
#include "common/fd.h"
#include "worker/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#define FREE_US      100000
#define MIN_FREE_MAX (UINT64_C(1) << 30)

/* Of the file system beneath a part of the data directory, or beneath the directory itself where
 * it has no such part. */
static int
disk_stat(const char *data_dir, const char *part, struct statvfs *fs_out)
{
    char path[PATH_MAX];
    int fd, rc;

    if (snprintf(path, sizeof(path), "%s/%s", data_dir, part) >= (int)sizeof(path))
        return -1;
    fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return statvfs(data_dir, fs_out);
    rc = fstatvfs(fd, fs_out);
    fd_close(&fd);
    return rc;
}

/* What is free there above min_free. */
static int64_t
disk_spare(const struct statvfs *fs, uint64_t least)
{
    uint64_t total = fs->f_blocks * (uint64_t)fs->f_frsize;

    if (least == 0)
        least = total / 20 < MIN_FREE_MAX ? total / 20 : MIN_FREE_MAX;
    return (int64_t)(fs->f_bavail * (uint64_t)fs->f_frsize) - (int64_t)least;
}

/* What is free above min_free and beside what is promised: on the fullest, where the parts of the
 * data directory are file systems of their own. A body comes beneath files/, and what is kept of it
 * may go to each. */
static void
disk_look(struct worker *w)
{
    static const char *const parts[] = {"files", "blobs", "journal"};
    const struct sources_disk disk = sources_disk(w->sources);
    struct statvfs fs;

    w->disk_looked_us = w->now_us;
    w->disk_reserved = disk.reserved;
    w->disk_free = INT64_MAX; /* where nobody knows, writing will tell */
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++)
        if (disk_stat(w->config->data_dir, parts[i], &fs) == 0 &&
            disk_spare(&fs, w->config->min_free) < w->disk_free)
            w->disk_free = disk_spare(&fs, w->config->min_free);
    if (w->disk_free != INT64_MAX)
        w->disk_free -= (int64_t)disk.promised;
}

/* What of that is left now. */
static uint64_t
disk_left(const struct worker *w)
{
    uint64_t since = sources_disk(w->sources).reserved;

    since = since > w->disk_reserved ? since - w->disk_reserved : 0;
    return w->disk_free > 0 && (uint64_t)w->disk_free > since ? (uint64_t)w->disk_free - since : 0;
}

/* Returns 0, or the error of a message that is to have so many bytes more. */
static int
disk_refusal(struct worker *w, const struct message *m, uint64_t more)
{
    struct sources_sum sum = {0};
    uint64_t share = w->config->source_unfinished, left;

    if (w->disk_looked_us == 0 || w->now_us >= w->disk_looked_us + FREE_US || more > disk_left(w))
        disk_look(w); /* nobody is refused for what was long ago */
    left = disk_left(w);
    if (more > left)
        return ENOSPC;
    if (m->source == 0)
        return 0;
    sources_look(w->sources, m->source, &sum);
    if (share == 0)
        share = (left + sum.unfinished) / 2;
    if (sum.unfinished + more <= share)
        return 0;
    return m->disk + more > share ? ENOSPC : EBUSY; /* alone it would never fit */
}

int
disk_reserve(void *arg, struct message *m, uint64_t bytes)
{
    struct worker *w = arg;
    uint64_t more = bytes - m->disk;
    const struct conn *c = w->reading;
    int error;

    if (m->disk == 0 && c != NULL && !c->source.is_exempt)
        m->source = c->source.row;
    error = disk_refusal(w, m, more);
    if (error != 0) {
        stats_add(&w->stats.block->counters.held_back, 1);
        if (c != NULL)
            conn_say(c, LOG_message_not_stored, "a message",
                     "is refused: the disk has no room for it, or its source none left");
        return error;
    }
    if (m->source != 0)
        sources_add_unfinished(w->sources, m->source, (int64_t)more);
    m->disk = bytes;
    w->store.disk_promised += more;
    sources_reserve(w->sources, more);
    sources_promise(w->sources, w->store.disk_promised);
    return 0;
}

void
disk_release(void *arg, struct message *m)
{
    const struct worker *w = arg;

    if (m->source != 0)
        sources_add_unfinished(w->sources, m->source, -(int64_t)m->disk);
    sources_promise(w->sources, w->store.disk_promised);
}

/* --- files that nobody needs any more --- */

struct closing {
    struct helper_job job;
    int fd;
};

static void
closing_run(struct helper_job *job)
{
    struct closing *c = (struct closing *)job;

    fd_close(&c->fd);
}

static void
closing_done(struct helper_job *job)
{
    struct worker *w = job->arg;

    ledger_give_descriptor(&w->store.ledger);
    free(job);
}

/* Its blocks are freed before close(2) returns. */
void
disk_close(void *arg, int fd)
{
    struct worker *w = arg;
    struct helper *h = worker_helper(w);
    struct closing *c = malloc(sizeof(*c));

    if (c != NULL) {
        *c = (struct closing){.job = {.run = closing_run,
                                      .done = closing_done,
                                      .arg = w,
                                      .cost = HELPER_LARGE + 1}, /* documents take turns with it */
                              .fd = fd};
        if (h != NULL && helper_give(h, &c->job) == 0)
            return;
    }
    free(c);
    fd_close(&fd);
    ledger_give_descriptor(&w->store.ledger);
}
