/* The writer's half. The writer first raises reserve over the bytes that it will overwrite, then
 * copies the message, and then raises head. So a reader that looks at reserve after it has copied
 * knows whether its copy is whole. A writer that dies at any instruction leaves a ring that can be
 * read and continued. */
#include "bus/bus_state.h"

#include <errno.h>

static void
bus_write_at(struct bus *bus, uint64_t position, const void *data, size_t n)
{
    size_t at = (size_t)(position & (bus->size - 1));
    size_t first = n < bus->size - at ? n : (size_t)bus->size - at;

    if (n == 0)
        return;
    memcpy(bus->own_bytes + at, data, first);
    memcpy(bus->own_bytes, (const uint8_t *)data + first, n - first);
}

/* Makes the bytes from head to head + sizeof(struct bus_prefix) + len a message. */
static void
bus_commit(struct bus *bus, uint16_t channel, size_t len)
{
    struct bus_prefix prefix = {.len = (uint32_t)len, .channel = channel};

    bus_write_at(bus, bus->head, &prefix, sizeof(prefix));
    bus->head += sizeof(prefix) + len;
    atomic_store_explicit(&bus->own->count, ++bus->count, memory_order_relaxed);
    atomic_store_explicit(&bus->own->head, bus->head, memory_order_release);
}

void
bus_writer_begin(struct bus *bus)
{
    uint64_t torn;
    uint32_t used = atomic_load(&bus->header->rings_used);

    bus->head = atomic_load(&bus->own->head);
    bus->count = atomic_load(&bus->own->count);
    torn = atomic_load(&bus->own->reserve) - bus->head;
    /* The worker before died while it wrote. The bytes that it overwrote are lost: a message for
     * nobody covers them. */
    if (torn >= sizeof(struct bus_prefix) && torn <= sizeof(struct bus_prefix) + BUS_MESSAGE_MAX)
        bus_commit(bus, BUS_CHANNEL_NONE, torn - sizeof(struct bus_prefix));
    bus->room_to = bus->head;
    atomic_store(&bus->own->reserve, bus->head);
    atomic_store(&bus->own->waiting, 0);
    while (used <= bus->ring &&
           !atomic_compare_exchange_weak(&bus->header->rings_used, &used, bus->ring + 1))
        ;
}

/* How many bytes can be written before a reader has something overwritten that it has not read.
 * With `overwrite`, readers that leave no room for `need` bytes do not count. One that was
 * overwritten, so that its position is no place in the ring any more, does not either, until it has
 * moved on. */
static uint64_t
bus_room(const struct bus *bus, uint64_t need, bool overwrite)
{
    unsigned used = bus_rings_used(bus);
    uint64_t room = bus->size;

    for (unsigned i = 0; i < used; i++) {
        const struct bus_words *words = bus_words(bus, i);
        uint64_t behind;

        if (i == bus->ring || atomic_load_explicit(&words->reading, memory_order_acquire) == 0)
            continue;
        behind = bus->head - atomic_load_explicit(&words->read_to[bus->ring], memory_order_acquire);
        if (behind > bus->size || (overwrite && need > bus->size - behind))
            continue;
        if (room > bus->size - behind)
            room = bus->size - behind;
    }
    return room;
}

/* From now on readers that move on say so. */
static void
bus_begin_waiting(struct bus *bus, uint64_t now_us)
{
    bus->waiting = true;
    bus->waiting_since_us = now_us;
    atomic_store_explicit(&bus->own->waiting, 1, memory_order_relaxed);
    /* Either a reader sees the flag, or the next look here sees that the reader has moved. */
    atomic_thread_fence(memory_order_seq_cst);
}

static void
bus_end_waiting(struct bus *bus)
{
    bus->waiting = false;
    atomic_store_explicit(&bus->own->waiting, 0, memory_order_relaxed);
}

/* True when there is room for need bytes, be it because patience has ended. */
static bool
bus_make_room(struct bus *bus, uint64_t need, uint64_t now_us)
{
    uint64_t room = bus->room_to - bus->head;

    if (need > room)
        room =
            bus_room(bus, need, bus->waiting && now_us - bus->waiting_since_us >= BUS_PATIENCE_US);
    if (need > room && !bus->waiting) {
        bus_begin_waiting(bus, now_us);
        room = bus_room(bus, need, false);
    }
    bus->room_to = bus->head + room;
    if (need > room)
        return false;
    if (bus->waiting)
        bus_end_waiting(bus);
    return true;
}

int
bus_publish(struct bus *bus, uint16_t channel, const void *head, size_t head_len, const void *data,
            size_t n, uint64_t now_us)
{
    uint64_t begin = bus->head + sizeof(struct bus_prefix);

    MS_ASSERT(channel != BUS_CHANNEL_NONE);
    if (head_len > BUS_MESSAGE_MAX || n > BUS_MESSAGE_MAX - head_len) {
        errno = EMSGSIZE;
        return -1;
    }
    if (!bus_make_room(bus, sizeof(struct bus_prefix) + head_len + n, now_us)) {
        errno = EAGAIN;
        return -1;
    }
    atomic_store_explicit(&bus->own->reserve, begin + head_len + n, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    bus_write_at(bus, begin, head, head_len);
    bus_write_at(bus, begin + head_len, data, n);
    bus_commit(bus, channel, head_len + n);
    bus->bell_due = true;
    return 0;
}
