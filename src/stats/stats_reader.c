/* Opens and adds up. A total is consistent when the folded copy it began with was not replaced
 * while the live regions were added: a worker is then counted either there or here, never twice or
 * not at all. */
#include "stats/stats_reader.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_TRIES   5
#define TOTALS_TRIES 1000

static_assert(sizeof(struct stats_counts) == sizeof(struct stats_worker_counters),
              "the copy has the members of the original, in its order");

/* --- opening --- */

static int
stats_file_open(const char *dir, const char *name, int *fd_out, struct stat *st_out)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fstat(fd, st_out) < 0) {
        fd_close(&fd);
        return -1;
    }
    *fd_out = fd;
    return 0;
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
    errno = EPROTONOSUPPORT;
    if (version == 0) {
        snprintf(error, 256, "%.170s/%s is not a control file of msockd", dir, STATS_CONTROL_FILE);
        return -1;
    }
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

/* A mapping that goes beyond the end of its file kills who reads there. */
static int
regions_check(const struct stat *st, const char *dir, char error[256])
{
    if (S_ISREG(st->st_mode) && st->st_size == (off_t)STATS_FILE_SIZE)
        return 0;
    snprintf(error, 256,
             "%.120s/%s is damaged: it has not the %llu bytes that msockd gave it; the next start "
             "of a worker mends it",
             dir, STATS_STATS_FILE, (unsigned long long)STATS_FILE_SIZE);
    errno = EINVAL;
    return -1;
}

static void
open_error(const char *dir, const char *name, char error[256])
{
    int saved = errno;

    if (saved == ENOENT || saved == ENOTDIR)
        snprintf(error, 256,
                 "no msockd has run in %.170s (there is no %s): name its runtime "
                 "directory with -r",
                 dir, name);
    else if (saved == EACCES || saved == EPERM)
        snprintf(error, 256, "cannot read %.150s/%s: %s; be its owner or a member of its group",
                 dir, name, strerror(saved));
    else
        snprintf(error, 256, "cannot read %.170s/%s: %s", dir, name, strerror(saved));
    errno = saved;
}

/* True where path is still the file that st is of. */
static bool
file_is_current(const char *dir, const char *name, const struct stat *st)
{
    struct stat now;
    int fd = -1;

    if (stats_file_open(dir, name, &fd, &now) < 0)
        return false;
    fd_close(&fd);
    return now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

static int
reader_map(struct stats_reader *sr, int control_fd, int stats_fd)
{
    void *map = mmap(NULL, sizeof(struct stats_control), PROT_READ, MAP_SHARED, control_fd, 0);

    if (map == MAP_FAILED)
        return -1;
    sr->control = map;
    map = mmap(NULL, STATS_FILE_SIZE, PROT_READ, MAP_SHARED, stats_fd, 0);
    if (map == MAP_FAILED)
        return -1;
    sr->regions = map;
    sr->last_good = ms_calloc(1, sizeof(struct stats_totals));
    return 0;
}

/* Returns 0, -1 with errno and error, or 1 where a new master replaced the files meanwhile. */
static int
reader_try_open(struct stats_reader *sr, const char *dir, char error[256])
{
    struct stat control_st, stats_st;
    const char *name = STATS_CONTROL_FILE;
    int rc = -1;
    int control_fd = -1, stats_fd = -1;

    if (stats_file_open(dir, name, &control_fd, &control_st) < 0)
        goto unreadable;
    if (control_check(control_fd, &control_st, dir, error) < 0)
        goto out;
    name = STATS_STATS_FILE;
    if (stats_file_open(dir, name, &stats_fd, &stats_st) < 0)
        goto unreadable;
    rc = 1;
    if (!file_is_current(dir, STATS_CONTROL_FILE, &control_st))
        goto out;
    rc = -1;
    if (regions_check(&stats_st, dir, error) < 0)
        goto out;
    rc = reader_map(sr, control_fd, stats_fd);
    if (rc == 0)
        goto out;
unreadable:
    open_error(dir, name, error);
out:
    fd_close(&control_fd);
    fd_close(&stats_fd);
    return rc;
}

int
stats_reader_open(struct stats_reader *sr, const char *dir, char error[256])
{
    int rc = 1;

    *sr = (struct stats_reader){0};
    for (int i = 0; rc == 1 && i < OPEN_TRIES; i++)
        rc = reader_try_open(sr, dir, error);
    if (rc == 0 && atomic_load_explicit(&sr->control->ready, memory_order_acquire))
        return 0;
    if (rc >= 0) {
        errno = EAGAIN;
        snprintf(error, 256, "msockd in %.170s is not ready yet: try again", dir);
    }
    stats_reader_close(sr);
    return -1;
}

void
stats_reader_close(struct stats_reader *sr)
{
    int saved = errno;

    if (sr->control != NULL)
        munmap((void *)(uintptr_t)sr->control, sizeof(struct stats_control));
    if (sr->regions != NULL)
        munmap((void *)(uintptr_t)sr->regions, STATS_FILE_SIZE);
    free(sr->last_good);
    *sr = (struct stats_reader){0};
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
stats_reader_lock_held(const char *dir)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st;
    int fd = -1;
    int rc;

    if (stats_file_open(dir, STATS_LOCK_FILE, &fd, &st) < 0 && errno == EACCES)
        return master_is_alive(dir);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    rc = fcntl(fd, F_OFD_GETLK, &lock);
    fd_close(&fd);
    return rc < 0 ? -1 : lock.l_type != F_UNLCK;
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

static const struct stats_block *
region_block(const struct stats_reader *sr, unsigned region)
{
    return (const void *)(sr->regions + region * STATS_REGION_SIZE);
}

/* Adds the numbers of the incarnation that has the region, unless they are folded already. False
 * where the region changed hands meanwhile. */
static bool
region_add(const struct stats_reader *sr, unsigned region, uint64_t folded,
           struct stats_totals *totals)
{
    const struct stats_worker *row = &sr->control->worker[region];
    const struct stats_block *block = region_block(sr, region);
    uint64_t incarnation = atomic_load_explicit(&row->incarnation, memory_order_acquire);

    if (incarnation == 0 || incarnation <= folded ||
        atomic_load_explicit(&block->incarnation, memory_order_acquire) != incarnation)
        return true;
    totals_add(totals, &block->counters, block->latency);
    totals->open += atomic_load_explicit(&block->open, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&block->incarnation, memory_order_relaxed) == incarnation;
}

static bool
totals_try(const struct stats_reader *sr, struct stats_totals *totals)
{
    const struct stats_control *c = sr->control;
    uint32_t folds = atomic_load_explicit(&c->current, memory_order_acquire);
    const struct stats_folded *folded = &c->folded[folds & 1];
    bool ok = true;

    memset(totals, 0, sizeof(*totals));
    totals_add(totals, &folded->counters, folded->latency);
    for (unsigned r = 0; ok && r < stats_regions_used(sr->control); r++)
        ok = region_add(sr, r, atomic_load_explicit(&folded->incarnation[r], memory_order_relaxed),
                        totals);
    atomic_thread_fence(memory_order_acquire);
    return ok && atomic_load_explicit(&c->current, memory_order_relaxed) == folds;
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
worker_view(const struct stats_reader *sr, unsigned region, struct stats_worker_view *view)
{
    const struct stats_worker *row = &sr->control->worker[region];
    const struct stats_block *block = region_block(sr, region);
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
    if (atomic_load_explicit(&block->incarnation, memory_order_acquire) == incarnation)
        view->reopened = atomic_load(&block->reopened);
    if (!region_add(sr, region, 0, &view->totals))
        return false;
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

    for (unsigned r = 0; r < stats_regions_used(sr->control); r++)
        if (worker_view(sr, r, &all[n]))
            n++;
    qsort(all, n, sizeof(*all), worker_compare);
    memcpy(rows, all, (n < max ? n : max) * sizeof(*rows));
    free(all);
    return n;
}
