/* What the files of the bus share: bus.c (its life), bus_publish.c (the writer) and bus_read.c (the
 * reader). */
#ifndef BUS_BUS_STATE_H
#define BUS_BUS_STATE_H

#include "bus/bus_layout.h"

struct bus_subscriber {
    bus_heard_fn heard; /* NULL: none */
    void *arg;
};

struct bus {
    unsigned ring;
    uint64_t size;      /* of each ring */
    const uint8_t *all; /* everything, read-only */
    size_t all_len;
    struct bus_header *header;
    struct bus_words *own; /* the own words, and behind them the own ring, read-write */
    uint8_t *own_bytes;
    int bell_fd; /* the place's */
    bool bell_due;

    /* The writer. */
    uint64_t head, count;
    uint64_t room_to; /* up to here there is room, whatever the readers do */
    bool waiting;     /* as own->waiting */
    uint64_t waiting_since_us;

    /* The reader. */
    bool dispatching;
    unsigned first_ring; /* where the next dispatch begins, so that none is forgotten */
    size_t budget;       /* bytes left of this turn's */
    uint64_t read_to[BUS_RINGS];
    uint64_t seen[BUS_RINGS];           /* of the messages of each ring, lost ones included */
    uint8_t *copy;                      /* BUS_MESSAGE_MAX */
    struct bus_subscriber *subscribers; /* by channel */
    size_t subscribers_len, subscribed;
};

/* The words of any ring. */
static inline const struct bus_words *
bus_words(const struct bus *bus, unsigned ring)
{
    return (const struct bus_words *)(bus->all + BUS_PAGE + ring * (BUS_PAGE + bus->size));
}

/* Rings that have been written at any time. */
static inline unsigned
bus_rings_used(const struct bus *bus)
{
    uint32_t used = atomic_load_explicit(&bus->header->rings_used, memory_order_acquire);

    return used < BUS_RINGS ? used : BUS_RINGS;
}

/* In bus_publish.c: goes on where the ring's writer before has ended, or died. */
void bus_writer_begin(struct bus *bus);

#endif
