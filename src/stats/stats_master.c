/* The master's half. Invariants: the copy of the folded totals that readers use is never written,
 * and a region belongs to one incarnation between claim and fold. Numbers from workers are added up
 * or shown. They decide only which row of a full table of listeners is used again first. They are
 * read with pread, because a worker can cut its file short, and reading a mapping would then raise
 * a signal. */
#include "stats/stats_master.h"

#include "common/fd.h"
#include "common/kernel.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Slots are looked at in steps of this many: 16 KiB. */
#define SLOTS_AT_ONCE 128
static_assert(STATS_SLOTS % SLOTS_AT_ONCE == 0, "the last step ends with the region");

/* The folded totals are copied and added as a row of cells. */
#define CELLS(bytes) ((bytes) / sizeof(_Atomic uint64_t))
static_assert(sizeof(struct stats_folded) ==
                  sizeof(struct stats_worker_counters) +
                      (STATS_HISTOGRAM + STATS_REGIONS) * sizeof(uint64_t),
              "nothing but cells in the folded totals");

static int
shm_file_adjust(int fd, uint64_t size, gid_t gid)
{
    if (gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) < 0)
        return -1;
    return fchmod(fd, 0640) < 0 || ftruncate(fd, (off_t)size) < 0 ? -1 : 0;
}

static int
shm_file_create(int dir_fd, const char *name, uint64_t size, gid_t gid, int *fd_out)
{
    int fd;

    if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
        return -1;
    fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (shm_file_adjust(fd, size, gid) < 0) {
        fd_close(&fd);
        return -1;
    }
    *fd_out = fd;
    return 0;
}

static int
control_create(struct stats_master *sm, gid_t gid)
{
    const char *name = STATS_CONTROL_FILE ".new";
    int rc = -1;
    int fd = -1;
    void *map = MAP_FAILED;

    if (shm_file_create(sm->dir_fd, name, sizeof(struct stats_control), gid, &fd) < 0 ||
        stats_space_reserve(fd, 0, sizeof(struct stats_control)) < 0)
        goto out;
    sm->control_ro_fd = openat(sm->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (sm->control_ro_fd < 0)
        goto out;
    map = mmap(NULL, sizeof(struct stats_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        goto out;
    sm->control = map;
    rc = 0;
out:
    fd_close(&fd);
    return rc;
}

/* Without our control file nobody can find our regions, and the directory may be another master's
 * by now: then a region has no name. */
static int
region_file(const struct stats_master *sm, unsigned region, int *fd_out)
{
    char name[STATS_REGION_NAME_LEN];

    stats_region_name(region, name);
    if (fd_is_named(sm->control_ro_fd, sm->dir_fd, STATS_CONTROL_FILE))
        return shm_file_create(sm->dir_fd, name, STATS_FILE_SIZE, sm->gid, fd_out);
    *fd_out = kernel_memory_file(name);
    return *fd_out < 0 ? -1 : shm_file_adjust(*fd_out, STATS_FILE_SIZE, sm->gid);
}

static int
region_create(struct stats_master *sm, unsigned region)
{
    int fd = -1;

    if (region_file(sm, region, &fd) < 0 || stats_space_reserve(fd, 0, STATS_BLOCK_SIZE) < 0 ||
        stats_space_reserve(fd, STATS_RECORDER_AT, sizeof(struct stats_recorder)) < 0) {
        fd_close(&fd);
        return -1;
    }
    sm->region_fds[region] = fd;
    return 0;
}

/* Its numbers have been added up. */
static void
region_remove(struct stats_master *sm, unsigned region)
{
    char name[STATS_REGION_NAME_LEN];

    stats_region_name(region, name);
    if (fd_is_named(sm->region_fds[region], sm->dir_fd, name))
        unlinkat(sm->dir_fd, name, 0);
    fd_close(&sm->region_fds[region]);
}

static void
regions_remove_old(struct stats_master *sm)
{
    char name[STATS_REGION_NAME_LEN];

    for (unsigned r = 0; r < STATS_REGIONS; r++) {
        stats_region_name(r, name);
        unlinkat(sm->dir_fd, name, 0);
    }
}

static void
control_begin(struct stats_control *c)
{
    ms_random(c->boot_id, sizeof(c->boot_id));
    c->magic = STATS_MAGIC;
    c->version = STATS_VERSION;
    c->size = sizeof(*c);
    c->started_real_us = clock_real_us();
    c->started_us = clock_mono_us();
    atomic_store_explicit(&c->master_pid, (int32_t)getpid(), memory_order_relaxed);
}

int
stats_master_open(struct stats_master *sm, int dir_fd, const char *dir, gid_t gid, char error[256])
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    const char *what = STATS_CONTROL_FILE;
    int saved;

    /* No incarnation is given twice, not even by another run: readers of that one would take our
     * regions for theirs. */
    *sm = (struct stats_master){.dir_fd = -1,
                                .control_ro_fd = -1,
                                .loads = REGIONS_NONE,
                                .gid = gid,
                                .next_incarnation = clock_real_us()};
    memset(sm->region_fds, 0xff, sizeof(sm->region_fds)); /* -1 */
    sm->dir_fd = dir_fd >= 0 ? openat(dir_fd, ".", flags) : open(dir, flags);
    if (sm->dir_fd < 0 || control_create(sm, gid) < 0)
        goto out;
    control_begin(sm->control);
    stats_master_version(sm);
    if (renameat(sm->dir_fd, STATS_CONTROL_FILE ".new", sm->dir_fd, STATS_CONTROL_FILE) < 0)
        goto out;
    what = "the memory for workers";
    if (regions_create("msockd-loads", STATS_REGIONS, sizeof(struct stats_load), &sm->loads) < 0)
        goto out;
    regions_remove_old(sm);
    return 0;
out:
    saved = errno;
    snprintf(error, 256, "cannot create %s in %.180s: %s", what, dir, strerror(saved));
    if (sm->dir_fd >= 0)
        unlinkat(sm->dir_fd, STATS_CONTROL_FILE ".new", 0);
    stats_master_close(sm);
    errno = saved;
    return -1;
}

int
stats_master_resume(struct stats_master *sm)
{
    char path[32];
    void *map = MAP_FAILED;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", sm->control_ro_fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        map = mmap(NULL, sizeof(struct stats_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fd_close(&fd);
    if (map == MAP_FAILED)
        return -1;
    sm->control = map;
    return regions_resume(&sm->loads);
}

void
stats_master_version(struct stats_master *sm)
{
    snprintf(sm->control->version_text, sizeof(sm->control->version_text), "%s",
             MSOCK_VERSION_TEXT);
}

void
stats_master_protocols(struct stats_master *sm, const char *const *names)
{
    char(*rows)[sizeof(sm->control->protocols[0])] = sm->control->protocols;

    for (size_t i = 0; names[i] != NULL; i++) {
        MS_ASSERT(i < STATS_PROTOCOLS);
        snprintf(rows[i], sizeof(rows[i]), "%s", names[i]);
    }
}

static void
control_unmap(struct stats_master *sm)
{
    if (sm->control != NULL)
        munmap(sm->control, sizeof(*sm->control));
    sm->control = NULL;
    fd_close(&sm->dir_fd);
}

void
stats_master_close(struct stats_master *sm)
{
    int saved = errno;

    control_unmap(sm);
    fd_close(&sm->control_ro_fd);
    for (unsigned r = 0; r < STATS_REGIONS; r++)
        fd_close(&sm->region_fds[r]);
    regions_close(&sm->loads);
    errno = saved;
}

void
stats_master_ready(struct stats_master *sm)
{
    atomic_store_explicit(&sm->control->master_pid, (int32_t)getpid(), memory_order_relaxed);
    atomic_store_explicit(&sm->control->ready, 1, memory_order_release);
}

/* --- workers --- */

/* Copies len bytes of a region. Returns 0, or -1 with errno where they cannot be had. */
static int
region_read(const struct stats_master *sm, unsigned region, uint64_t offset, void *out, size_t len)
{
    return fd_pread_all(sm->region_fds[region], out, len, (off_t)offset);
}

int
stats_master_claim(struct stats_master *sm, unsigned index, uint64_t generation,
                   struct stats_place *place_out)
{
    struct stats_control *c = sm->control;
    struct stats_worker *row;
    unsigned r = 0;

    while (r < STATS_REGIONS && atomic_load(&c->worker[r].incarnation) != 0)
        r++;
    if (r == STATS_REGIONS) {
        errno = EAGAIN;
        return -1;
    }
    if (region_create(sm, r) < 0)
        return -1;
    row = &c->worker[r];
    atomic_store(&row->state, STATS_WORKER_STARTING);
    atomic_store(&row->pid, 0);
    atomic_store(&row->index, index);
    atomic_store(&row->restarts, 0);
    atomic_store(&row->generation, generation);
    atomic_store(&row->started_us, clock_mono_us());
    if (r >= atomic_load(&c->regions_used))
        atomic_store(&c->regions_used, r + 1);
    atomic_store(&row->incarnation, sm->next_incarnation);
    *place_out = (struct stats_place){.control_fd = sm->control_ro_fd,
                                      .stats_fd = sm->region_fds[r],
                                      .loads = sm->loads,
                                      .region = r,
                                      .incarnation = sm->next_incarnation++};
    return 0;
}

static void
cells_copy(_Atomic uint64_t *to, const _Atomic uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&to[i], atomic_load_explicit(&from[i], memory_order_relaxed),
                              memory_order_relaxed);
}

static void
cells_add(_Atomic uint64_t *to, const _Atomic uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&to[i],
                              atomic_load_explicit(&to[i], memory_order_relaxed) +
                                  atomic_load_explicit(&from[i], memory_order_relaxed),
                              memory_order_relaxed);
}

static void
folded_add(struct stats_folded *folded, const struct stats_block *block)
{
    cells_add((_Atomic uint64_t *)&folded->counters, (const _Atomic uint64_t *)&block->counters,
              CELLS(sizeof(block->counters)));
    cells_add(folded->latency, block->latency, STATS_HISTOGRAM);
}

void
stats_master_fold(struct stats_master *sm, const struct stats_place *place)
{
    struct stats_control *c = sm->control;
    struct stats_worker *row = &c->worker[place->region];
    uint32_t folds = atomic_load(&c->current);
    struct stats_folded *next = &c->folded[(folds + 1) & 1];
    struct stats_block block;
    bool counted;

    if (atomic_load(&row->incarnation) != place->incarnation)
        return;
    counted = region_read(sm, place->region, 0, &block, sizeof(block)) == 0;
    if (!counted)
        log_line(LOG_statistics_lost,
                 "cannot read the statistics of worker %u (%s): its numbers are lost",
                 atomic_load(&row->index), strerror(errno));
    else if (atomic_load(&block.incarnation) != place->incarnation)
        counted = false; /* it has not begun */
    /* A reader that sees one of the following stores must see the last store to current as well. */
    atomic_thread_fence(memory_order_release);
    cells_copy((_Atomic uint64_t *)next, (const _Atomic uint64_t *)&c->folded[folds & 1],
               CELLS(sizeof(*next)));
    if (counted)
        folded_add(next, &block);
    atomic_store_explicit(&next->incarnation[place->region], place->incarnation,
                          memory_order_relaxed);
    atomic_store_explicit(&c->current, folds + 1, memory_order_release);

    atomic_store(&row->state, STATS_WORKER_NONE);
    atomic_store(&row->pid, 0);
    atomic_store(&row->incarnation, 0);
    region_remove(sm, place->region);
}

/* The slot of that number, where it can be one and is read. */
static void
crash_reading(const struct stats_master *sm, unsigned region, uint32_t number,
              struct stats_slot *slot_out)
{
    memset(slot_out, 0, sizeof(*slot_out));
    if (number != 0 && number <= STATS_SLOTS &&
        region_read(sm, region, STATS_BLOCK_SIZE + (number - 1) * sizeof(*slot_out), slot_out,
                    sizeof(*slot_out)) < 0)
        memset(slot_out, 0, sizeof(*slot_out));
}

const struct stats_crash *
stats_master_crashed(struct stats_master *sm, const struct stats_place *place, int status)
{
    struct stats_control *c = sm->control;
    const struct stats_worker *row = &c->worker[place->region];
    struct stats_crash *crash = &c->crash[sm->crashes % STATS_CRASHES];

    atomic_store_explicit(&crash->number, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    crash->time_us = clock_mono_us();
    crash->generation = atomic_load(&row->generation);
    crash->index = atomic_load(&row->index);
    crash->pid = atomic_load(&row->pid);
    crash->status = status;
    if (region_read(sm, place->region, STATS_RECORDER_AT, &crash->recorder,
                    sizeof(crash->recorder)) < 0)
        memset(&crash->recorder, 0, sizeof(crash->recorder));
    for (unsigned i = 0; i < STATS_READING; i++)
        crash_reading(sm, place->region, atomic_load(&crash->recorder.reading[i]),
                      &crash->reading[i]);
    atomic_store_explicit(&crash->number, ++sm->crashes, memory_order_release);
    return crash;
}

struct stats_worker *
stats_master_worker(struct stats_master *sm, const struct stats_place *place)
{
    return &sm->control->worker[place->region];
}

/* --- listeners --- */

static void
slots_mark_listeners(const struct stats_slot *slots, size_t n, bool shown[STATS_LISTENERS])
{
    for (size_t i = 0; i < n; i++)
        if (atomic_load(&slots[i].state) != STATS_CONN_FREE && slots[i].listener < STATS_LISTENERS)
            shown[slots[i].listener] = true;
}

/* Which listeners the slots of this region show; nothing that a worker wrote is trusted. */
static void
region_mark_listeners(struct stats_master *sm, unsigned region, bool shown[STATS_LISTENERS])
{
    struct stats_slot slots[SLOTS_AT_ONCE];
    uint32_t used;

    if (region_read(sm, region, offsetof(struct stats_block, slots_used), &used, sizeof(used)) < 0)
        return;
    for (uint32_t i = 0; i < used && i < STATS_SLOTS; i += SLOTS_AT_ONCE) {
        uint32_t n = used - i < SLOTS_AT_ONCE ? used - i : SLOTS_AT_ONCE;

        if (region_read(sm, region, STATS_BLOCK_SIZE + i * sizeof(slots[0]), slots,
                        n * sizeof(slots[0])) < 0)
            return;
        slots_mark_listeners(slots, n, shown);
    }
}

static void
listeners_shown(struct stats_master *sm, bool shown[STATS_LISTENERS])
{
    memset(shown, 0, STATS_LISTENERS * sizeof(shown[0]));
    for (unsigned r = 0; r < atomic_load(&sm->control->regions_used); r++)
        if (atomic_load(&sm->control->worker[r].incarnation) != 0)
            region_mark_listeners(sm, r, shown);
}

/* A row that is not in use, best first. A worker that lies about its connections can make a row be
 * passed over here, but cannot make the table look full. */
static int
listener_free_row(struct stats_master *sm)
{
    const struct stats_listener *rows = sm->control->listener;
    bool shown[STATS_LISTENERS];
    int found = -1;

    for (int i = 0; i < STATS_LISTENERS; i++)
        if (rows[i].url[0] == '\0')
            return i;
    listeners_shown(sm, shown);
    for (int i = 0; i < STATS_LISTENERS; i++) {
        if (atomic_load(&rows[i].active))
            continue;
        if (!shown[i])
            return i;
        if (found < 0)
            found = i;
    }
    return found;
}

/* An active row is preferred to one left by an earlier configuration. */
static int
listener_same_row(const struct stats_master *sm, const char *url, const char *address)
{
    const struct stats_listener *rows = sm->control->listener;
    int found = -1;

    for (int i = 0; i < STATS_LISTENERS; i++) {
        if (strncmp(rows[i].url, url, sizeof(rows[i].url) - 1) != 0 ||
            strncmp(rows[i].address, address, sizeof(rows[i].address) - 1) != 0)
            continue;
        if (atomic_load(&rows[i].active))
            return i;
        if (found < 0)
            found = i;
    }
    return found;
}

int
stats_master_listener(struct stats_master *sm, int wanted, const char *url, const char *address,
                      const char *proto, const char *handler)
{
    int id = wanted >= 0 ? wanted : listener_same_row(sm, url, address);
    struct stats_listener *row;

    if (id < 0)
        id = listener_free_row(sm);
    if (id < 0)
        return -1;
    row = &sm->control->listener[id];
    snprintf(row->url, sizeof(row->url), "%s", url);
    snprintf(row->address, sizeof(row->address), "%s", address);
    snprintf(row->proto, sizeof(row->proto), "%s", proto);
    snprintf(row->handler, sizeof(row->handler), "%s", handler);
    atomic_store_explicit(&row->active, 1, memory_order_release);
    return id;
}

void
stats_master_listener_meaning(struct stats_master *sm, unsigned id, uint32_t meaning)
{
    MS_ASSERT(id < STATS_LISTENERS);
    atomic_store_explicit(&sm->control->listener[id].meaning, meaning, memory_order_relaxed);
}

void
stats_master_listener_until(struct stats_master *sm, unsigned id, uint64_t until)
{
    MS_ASSERT(id < STATS_LISTENERS);
    atomic_store_explicit(&sm->control->listener[id].certificate_until, until,
                          memory_order_relaxed);
}

void
stats_master_listener_inactive(struct stats_master *sm, unsigned id)
{
    MS_ASSERT(id < STATS_LISTENERS);
    atomic_store_explicit(&sm->control->listener[id].active, 0, memory_order_release);
}

/* --- reload --- */

void
stats_master_reload(struct stats_master *sm)
{
    atomic_fetch_add(&sm->control->reload_requests, 1);
}

void
stats_master_verdict(struct stats_master *sm, bool ok, const char *text)
{
    struct stats_control *c = sm->control;

    snprintf(c->reload_text, sizeof(c->reload_text), "%s", text);
    atomic_store(&c->reload_verdict, ok ? STATS_VERDICT_OK : STATS_VERDICT_FAILED);
    atomic_store_explicit(&c->reloads, atomic_load(&c->reloads) + 1, memory_order_release);
}
