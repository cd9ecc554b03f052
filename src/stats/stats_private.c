#include "stats/stats_master.h"

#include "common/fd.h"

#include <sys/mman.h>
#include <unistd.h>

#define PRIVATE_INCARNATION 1

/* Nothing beyond the first region is ever looked at, so the file ends there. */
static int
private_file(const char *name, uint64_t size, int *fd_out)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)size) < 0)
        fd_close(&fd);
    if (fd < 0)
        return -1;
    *fd_out = fd;
    return 0;
}

/* The worker counts itself among the live ones. */
static int
private_control(int fd)
{
    struct stats_control *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (c == MAP_FAILED)
        return -1;
    c->magic = STATS_MAGIC;
    c->version = STATS_VERSION;
    c->size = sizeof(*c);
    atomic_store(&c->generation, 1);
    atomic_store(&c->worker[0].generation, 1);
    atomic_store(&c->worker[0].state, STATS_WORKER_READY);
    atomic_store(&c->worker[0].incarnation, PRIVATE_INCARNATION);
    atomic_store(&c->regions_used, 1);
    return munmap(c, sizeof(*c));
}

int
stats_private_open(struct stats_place *place_out)
{
    struct stats_place place = {
        .control_fd = -1, .stats_fd = -1, .incarnation = PRIVATE_INCARNATION};

    if (private_file("msock-control", sizeof(struct stats_control), &place.control_fd) < 0 ||
        private_file("msock-stats", STATS_REGION_SIZE, &place.stats_fd) < 0 ||
        private_control(place.control_fd) < 0) {
        stats_private_close(&place);
        return -1;
    }
    *place_out = place;
    return 0;
}

void
stats_private_close(struct stats_place *place)
{
    fd_close(&place->control_fd);
    fd_close(&place->stats_fd);
}
