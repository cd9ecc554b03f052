/* The life of the bus: its memory, a worker's part in it, and the bell. A worker maps everything
 * read-only. It maps the header, and its own ring with its words, for writing too. */
#include "bus/bus_state.h"
#include "common/fd.h"
#include "common/kernel.h"
#include "common/regions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
bus_size_fits(uint64_t ring_size)
{
    return ring_size >= 2 * BUS_MESSAGE_MAX && (ring_size & (ring_size - 1)) == 0 &&
           ring_size <= UINT64_C(1) << 40;
}

int
bus_place_create(size_t ring_size, struct bus_place *place_out)
{
    int rc = -1;
    int memory_fd = -1, bell_fd = -1;

    if (!bus_size_fits(ring_size)) {
        errno = EINVAL;
        return -1;
    }
    memory_fd = kernel_memory_file("msockd-bus");
    if (memory_fd < 0)
        goto out;
    if (ftruncate(memory_fd, (off_t)(BUS_PAGE + BUS_RINGS * (BUS_PAGE + ring_size))) < 0)
        goto out;
    /* The size of the rings is known by that of the file, which no worker can change. */
    if (fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        goto out;
    bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell_fd < 0)
        goto out;
    place_out->read_fd = memory_reader(memory_fd);
    place_out->memory_fd = fd_steal(&memory_fd);
    place_out->bell_fd = fd_steal(&bell_fd);
    rc = 0;
out:
    fd_close(&memory_fd);
    fd_close(&bell_fd);
    return rc;
}

void
bus_place_close(struct bus_place *place)
{
    fd_close(&place->memory_fd);
    fd_close(&place->read_fd);
    fd_close(&place->bell_fd);
}

static int
bus_sizes(struct bus *bus, int memory_fd)
{
    struct stat st;

    if (fstat(memory_fd, &st) < 0)
        return -1;
    bus->all_len = (size_t)st.st_size;
    bus->size = (bus->all_len - BUS_PAGE) / BUS_RINGS - BUS_PAGE;
    if (bus->all_len == BUS_PAGE + BUS_RINGS * (BUS_PAGE + bus->size) && bus_size_fits(bus->size))
        return 0;
    errno = EINVAL;
    return -1;
}

static int
bus_map(struct bus *bus, const struct bus_place *place)
{
    off_t own = (off_t)(BUS_PAGE + bus->ring * (BUS_PAGE + bus->size));
    int memory_fd = place->memory_fd, read_fd = place->read_fd >= 0 ? place->read_fd : memory_fd;
    void *map = mmap(NULL, bus->all_len, PROT_READ, MAP_SHARED | MAP_NORESERVE, read_fd, 0);

    if (map == MAP_FAILED)
        return -1;
    bus->all = map;
    map = mmap(NULL, BUS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (map == MAP_FAILED)
        return -1;
    bus->header = map;
    map = mmap(NULL, BUS_PAGE + bus->size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, own);
    if (map == MAP_FAILED)
        return -1;
    bus->own = map;
    bus->own_bytes = (uint8_t *)map + BUS_PAGE;
    return 0;
}

static void
bus_free(struct bus *bus)
{
    if (bus->all != NULL)
        munmap((void *)(uintptr_t)bus->all, bus->all_len);
    if (bus->header != NULL)
        munmap(bus->header, BUS_PAGE);
    if (bus->own != NULL)
        munmap(bus->own, BUS_PAGE + bus->size);
    free(bus->copy);
    free(bus->subscribers);
    free(bus);
}

struct bus *
bus_open(const struct bus_place *place, unsigned ring)
{
    struct bus *bus = ms_calloc(1, sizeof(*bus));

    MS_ASSERT(ring < BUS_RINGS);
    if (bus == NULL)
        return NULL;
    bus->ring = ring;
    bus->bell_fd = place->bell_fd;
    bus->budget = BUS_TURN_BYTES;
    if (bus_sizes(bus, place->memory_fd) < 0 || bus_map(bus, place) < 0) {
        bus_free(bus);
        return NULL;
    }
    atomic_store(&bus->own->reading, 0);
    bus_writer_begin(bus);
    return bus;
}

void
bus_close(struct bus *bus)
{
    if (bus == NULL)
        return;
    if (bus->subscribed > 0)
        bus->bell_due = true; /* others may wait for what this worker has not read */
    atomic_store(&bus->own->reading, 0);
    bus_ring(bus);
    bus_free(bus);
}

int
bus_bell(const struct bus *bus)
{
    return bus->bell_fd;
}

void
bus_ring(struct bus *bus)
{
    bus->budget = BUS_TURN_BYTES;
    if (!bus->bell_due)
        return;
    bus->bell_due = false;
    fd_ring_bell(bus->bell_fd);
}
