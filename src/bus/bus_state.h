/* Shared by the files of the bus: bus.c (its life), bus_publish.c (the writer) and bus_read.c (the
 * reader). */
#ifndef BUS_BUS_STATE_H
#define BUS_BUS_STATE_H

#include "bus/bus.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>

/* The memory of the bus: one page for all, then for each ring a page of its worker's words and the
 * bytes. Every word has one writer, the ring's worker, but rings_used. */

#define BUS_PAGE         4096
#define BUS_CHANNEL_NONE UINT16_MAX /* of bytes that are no message */

struct bus_header {
    _Atomic uint32_t rings_used; /* rings at and above this were never written; only grows */
};

struct bus_words {
    /* As a writer. The bytes from head - ring size to reserve - ring size may be gone already. */
    _Atomic uint64_t head;    /* end of what is published; stored behind the bytes, with release */
    _Atomic uint64_t reserve; /* end of what is being written; stored before the bytes */
    _Atomic uint64_t count;   /* messages published */
    _Atomic uint32_t waiting; /* for readers that are behind: those ring when they have moved on */

    /* As a reader. */
    alignas(64) _Atomic uint32_t reading;
    alignas(64) _Atomic uint64_t read_to[BUS_RINGS]; /* of each ring */
};

/* Before each message, not aligned, in the byte order of the machine. */
struct bus_prefix {
    uint32_t len; /* of the message */
    uint16_t channel;
    uint16_t zero;
};

static_assert(sizeof(struct bus_header) <= BUS_PAGE, "the header is one page");
static_assert(sizeof(struct bus_words) <= BUS_PAGE, "a worker's words are one page");
static_assert(sizeof(struct bus_prefix) == 8, "no padding goes to other workers");

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
