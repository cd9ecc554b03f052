/* Opens and adds up. A total is consistent when the folded copy it began with was not replaced
 * while the live regions were added: a worker is then counted either there or here, never twice or
 * not at all. */
#include "stats/stats_reader.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_TRIES   5
#define TOTALS_TRIES 1000
#define RELAY_TRIES  20

static_assert(sizeof(struct stats_counts) == sizeof(struct stats_worker_counters),
              "the copy has the members of the original, in its order");

struct stats_region_file {
    int fd;               /* -1: not open */
    uint64_t incarnation; /* for which it was opened */
};

/* --- opening --- */

/* Never waits, whatever stands there. */
static int
stats_open_at(int dir_fd, const char *name)
{
    return openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static int
stats_file_open(int dir_fd, const char *name, int *fd_out, struct stat *st_out)
{
    int fd = stats_open_at(dir_fd, name);

    if (fd < 0)
        return -1;
    if (fstat(fd, st_out) < 0) {
        fd_close(&fd);
        return -1;
    }
    *fd_out = fd;
    return 0;
}

static int
stats_dir_open(const char *dir)
{
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Magic, version and size stand at the same place in every layout. */
static int
control_check(int fd, const struct stat *st, const char *dir, char error[256])
{
    struct stats_control head;
    size_t len = offsetof(struct stats_control, ready);
    uint32_t version = 0;

    memset(&head, 0, sizeof(head));
    if (S_ISREG(st->st_mode) && fd_pread_all(fd, &head, len, 0) == 0 && head.magic == STATS_MAGIC)
        version = head.version;
    errno = EBADMSG;
    if (version == 0) {
        snprintf(error, 256, "%.170s/%s is not a control file of msockd", dir, STATS_CONTROL_FILE);
        return -1;
    }
    errno = EPROTONOSUPPORT;
    if (version != STATS_VERSION || head.size != sizeof(head) ||
        st->st_size < (off_t)sizeof(head)) {
        snprintf(error, 256,
                 "%.100s/%s has layout version %u and this program reads version %u: use the "
                 "msockctl that came with that msockd",
                 dir, STATS_CONTROL_FILE, version, STATS_VERSION);
        return -1;
    }
    return 0;
}

static void
open_error(const char *dir, const char *name, char error[256])
{
    int saved = errno;

    if (saved == ENOENT || saved == ENOTDIR)
        snprintf(error, 256,
                 "no msockd has run in %.160s (there is no %s): name its runtime "
                 "directory with -r",
                 dir, name);
    else if (saved == EACCES || saved == EPERM)
        snprintf(error, 256, "cannot read %.150s/%s: %s; be its owner or a member of its group",
                 dir, name, strerror(saved));
    else
        snprintf(error, 256, "cannot read %.170s/%s: %s", dir, name, strerror(saved));
    errno = saved;
}

/* True where dir is still that directory, and control in it the file that st is of. */
static bool
file_is_current(const char *dir, const struct stat *st)
{
    struct stat now;
    int dir_fd = stats_dir_open(dir);
    bool is = dir_fd >= 0 && fstatat(dir_fd, STATS_CONTROL_FILE, &now, 0) == 0 &&
              now.st_dev == st->st_dev && now.st_ino == st->st_ino;

    fd_close(&dir_fd);
    return is;
}

/* --- regions --- */

/* Makes the file of the region that of this incarnation's worker. Returns 0, or -1 with errno. */
static int
region_open(struct stats_reader *sr, unsigned region, uint64_t incarnation)
{
    struct stats_region_file *file = &sr->files[region];
    char name[STATS_REGION_NAME_LEN];

    if (file->fd >= 0 && file->incarnation == incarnation)
        return 0;
    fd_close(&file->fd);
    stats_region_name(region, name);
    file->fd = stats_open_at(sr->dir_fd, name);
    file->incarnation = incarnation;
    return file->fd < 0 ? -1 : 0;
}

bool
stats_reader_region(struct stats_reader *sr, unsigned region, uint64_t incarnation, uint64_t offset,
                    void *out, size_t len)
{
    const struct stats_worker *row = &sr->control->worker[region];

    if (region_open(sr, region, incarnation) == 0 &&
        fd_pread_all(sr->files[region].fd, out, len, (off_t)offset) == 0)
        return true;
    /* A worker that is gone by now has no file any more. */
    sr->unreadable += atomic_load(&row->incarnation) == incarnation;
    return false;
}

static int
reader_map(struct stats_reader *sr, int control_fd)
{
    void *map = mmap(NULL, sizeof(struct stats_control), PROT_READ, MAP_SHARED, control_fd, 0);

    if (map == MAP_FAILED)
        return -1;
    sr->control = map;
    sr->files = ms_calloc(STATS_REGIONS, sizeof(sr->files[0]));
    for (unsigned r = 0; r < STATS_REGIONS; r++)
        sr->files[r].fd = -1;
    sr->last_good = ms_calloc(1, sizeof(struct stats_totals));
    return 0;
}

/* Opens the regions that are somebody's. Returns 0, or -1 with errno where one may not be read. */
static int
reader_open_regions(struct stats_reader *sr, char name[STATS_REGION_NAME_LEN])
{
    for (unsigned r = 0; r < stats_regions_used(sr->control); r++) {
        uint64_t incarnation = atomic_load(&sr->control->worker[r].incarnation);

        stats_region_name(r, name);
        if (incarnation != 0 && region_open(sr, r, incarnation) < 0 && errno != ENOENT)
            return -1;
    }
    return 0;
}

/* Returns 0, -1 with errno and error, or 1 where a new master replaced the files meanwhile. */
static int
reader_try_open(struct stats_reader *sr, const char *dir, char error[256])
{
    char name[STATS_REGION_NAME_LEN] = STATS_CONTROL_FILE;
    struct stat st;
    int rc = -1;
    int control_fd = -1;

    sr->dir_fd = stats_dir_open(dir);
    if (sr->dir_fd < 0 || stats_file_open(sr->dir_fd, name, &control_fd, &st) < 0)
        goto unreadable;
    if (control_check(control_fd, &st, dir, error) < 0)
        goto out;
    if (reader_map(sr, control_fd) < 0 || reader_open_regions(sr, name) < 0)
        goto unreadable;
    rc = file_is_current(dir, &st) ? 0 : 1;
    goto out;
unreadable:
    open_error(dir, name, error);
out:
    fd_close(&control_fd);
    if (rc != 0)
        stats_reader_close(sr);
    return rc;
}

/* Nothing is shown yet. Where its lock is free, nothing will be. */
static void
open_not_ready(int dir_fd, const char *dir, char error[256])
{
    int lock_fd = stats_lock_open(dir_fd);
    bool gone = lock_fd >= 0 && stats_lock_held(lock_fd) == 0;

    fd_close(&lock_fd);
    snprintf(error, 256, "msockd in %.170s %s", dir,
             gone ? "ended before it was ready" : "is not ready yet: try again");
    errno = gone ? ESRCH : EAGAIN;
}

int
stats_reader_open(struct stats_reader *sr, const char *dir, char error[256])
{
    int rc = 1;

    *sr = (struct stats_reader){.dir_fd = -1};
    for (int i = 0; rc == 1 && i < OPEN_TRIES; i++)
        rc = reader_try_open(sr, dir, error);
    if (rc == 0 && atomic_load_explicit(&sr->control->ready, memory_order_acquire))
        return 0;
    if (rc >= 0)
        open_not_ready(sr->dir_fd, dir, error);
    stats_reader_close(sr);
    return -1;
}

void
stats_reader_close(struct stats_reader *sr)
{
    int saved = errno;

    if (sr->control != NULL)
        munmap((void *)(uintptr_t)sr->control, sizeof(struct stats_control));
    for (unsigned r = 0; sr->files != NULL && r < STATS_REGIONS; r++)
        fd_close(&sr->files[r].fd);
    free(sr->files);
    fd_close(&sr->dir_fd);
    free(sr->last_good);
    *sr = (struct stats_reader){.dir_fd = -1};
    errno = saved;
}

/* Only its owner may open the lock. For the others the process that the master's own file names
 * has to do; they may not signal it anyway. */
static int
master_is_alive(const char *dir)
{
    struct stats_reader sr;
    char ignored[256];
    pid_t pid;

    if (stats_reader_open(&sr, dir, ignored) < 0)
        return -1;
    pid = (pid_t)atomic_load(&sr.control->master_pid);
    stats_reader_close(&sr);
    return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

int
stats_lock_open(int dir_fd)
{
    return stats_open_at(dir_fd, STATS_LOCK_FILE);
}

int
stats_lock_held(int lock_fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(lock_fd, F_OFD_GETLK, &lock) < 0 ? -1 : lock.l_type != F_UNLCK;
}

int
stats_reader_lock_held(const char *dir)
{
    int dir_fd = stats_dir_open(dir), lock_fd = -1;
    int rc = -1;

    if (dir_fd >= 0)
        lock_fd = stats_lock_open(dir_fd);
    if (lock_fd >= 0)
        rc = stats_lock_held(lock_fd);
    else if (errno == EACCES)
        rc = master_is_alive(dir);
    else if (errno == ENOENT || errno == ENOTDIR)
        rc = 0;
    fd_close(&lock_fd);
    fd_close(&dir_fd);
    return rc;
}

/* --- totals --- */

static void
cells_sum(uint64_t *to, const _Atomic uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += atomic_load_explicit(&from[i], memory_order_relaxed);
}

static void
totals_add(struct stats_totals *totals, const struct stats_worker_counters *counters,
           const _Atomic uint64_t latency[STATS_HISTOGRAM])
{
    cells_sum((uint64_t *)&totals->counts, (const _Atomic uint64_t *)counters,
              sizeof(*counters) / sizeof(uint64_t));
    cells_sum(totals->latency, latency, STATS_HISTOGRAM);
}

/* Adds the numbers of the incarnation that has the region, unless they are folded already. Leaves
 * the block that it read in block_out, with incarnation 0 where there is none. */
static void
region_add(struct stats_reader *sr, unsigned region, uint64_t folded, struct stats_totals *totals,
           struct stats_block *block_out)
{
    const struct stats_worker *row = &sr->control->worker[region];
    uint64_t incarnation = atomic_load_explicit(&row->incarnation, memory_order_acquire);

    *block_out = (struct stats_block){.incarnation = 0};
    if (incarnation == 0 || incarnation <= folded)
        return;
    if (!stats_reader_region(sr, region, incarnation, 0, block_out, sizeof(*block_out)) ||
        atomic_load(&block_out->incarnation) != incarnation)
        return; /* or it has not begun */
    totals_add(totals, &block_out->counters, block_out->latency);
    totals->open += atomic_load_explicit(&block_out->open, memory_order_relaxed);
    totals->memory += atomic_load_explicit(&block_out->memory, memory_order_relaxed);
    totals->memory_max += atomic_load_explicit(&block_out->memory_max, memory_order_relaxed);
}

static bool
totals_try(struct stats_reader *sr, struct stats_totals *totals)
{
    const struct stats_control *c = sr->control;
    uint32_t folds = atomic_load_explicit(&c->current, memory_order_acquire);
    const struct stats_folded *folded = &c->folded[folds & 1];
    struct stats_block block;

    memset(totals, 0, sizeof(*totals));
    sr->unreadable = 0;
    totals_add(totals, &folded->counters, folded->latency);
    for (unsigned r = 0; r < stats_regions_used(sr->control); r++)
        region_add(sr, r, atomic_load_explicit(&folded->incarnation[r], memory_order_relaxed),
                   totals, &block);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&c->current, memory_order_relaxed) == folds;
}

void
stats_reader_totals(struct stats_reader *sr, struct stats_totals *totals_out)
{
    for (int i = 0; i < TOTALS_TRIES; i++) {
        if (totals_try(sr, totals_out)) {
            memcpy(sr->last_good, totals_out, sizeof(*totals_out));
            return;
        }
        sched_yield();
    }
    memcpy(totals_out, sr->last_good, sizeof(*totals_out));
}

/* --- workers --- */

/* False where the row is nobody's, or became somebody else's meanwhile. */
static bool
worker_view(struct stats_reader *sr, unsigned region, struct stats_worker_view *view)
{
    const struct stats_worker *row = &sr->control->worker[region];
    struct stats_block block;
    uint64_t incarnation = atomic_load_explicit(&row->incarnation, memory_order_acquire);

    if (incarnation == 0)
        return false;
    *view = (struct stats_worker_view){
        .region = region,
        .index = atomic_load(&row->index),
        .pid = atomic_load(&row->pid),
        .state = (enum stats_worker_state)atomic_load(&row->state),
        .restarts = atomic_load(&row->restarts),
        .generation = atomic_load(&row->generation),
        .started_us = atomic_load(&row->started_us),
        .incarnation = incarnation,
    };
    region_add(sr, region, 0, &view->totals, &block);
    view->reopened = atomic_load(&block.reopened);
    view->sandbox = atomic_load(&block.sandbox);
    return atomic_load(&row->incarnation) == incarnation;
}

static int
worker_compare(const void *a, const void *b)
{
    const struct stats_worker_view *x = a, *y = b;

    if (x->generation != y->generation)
        return x->generation < y->generation ? -1 : 1;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return x->region < y->region ? -1 : x->region > y->region;
}

unsigned
stats_reader_workers(struct stats_reader *sr, struct stats_worker_view *rows, unsigned max)
{
    struct stats_worker_view *all = ms_calloc(STATS_REGIONS, sizeof(*all));
    unsigned n = 0;

    sr->unreadable = 0;
    for (unsigned r = 0; r < stats_regions_used(sr->control); r++)
        if (worker_view(sr, r, &all[n]))
            n++;
    qsort(all, n, sizeof(*all), worker_compare);
    memcpy(rows, all, (n < max ? n : max) * sizeof(*rows));
    free(all);
    return n;
}

/* As with slots: what two readings found alike was not changed while the first was made. */
bool
stats_reader_relay(struct stats_reader *sr, const struct stats_worker_view *row,
                   struct stats_relay *relay_out)
{
    struct stats_relay before = {.seq = 1};

    for (int i = 0; i < RELAY_TRIES; i++) {
        if (!stats_reader_region(sr, row->region, row->incarnation, STATS_BLOCK_SIZE, relay_out,
                                 sizeof(*relay_out)))
            return false;
        relay_out->id[sizeof(relay_out->id) - 1] = '\0';
        relay_out->stream[sizeof(relay_out->stream) - 1] = '\0';
        relay_out->error[sizeof(relay_out->error) - 1] = '\0';
        if (atomic_load(&relay_out->seq) % 2 == 0 &&
            memcmp(&before, relay_out, sizeof(before)) == 0)
            return true;
        memcpy(&before, relay_out, sizeof(before));
        sched_yield();
    }
    return false;
}
