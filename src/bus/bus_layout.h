/* The memory of the bus: one page for all, then for each ring a page of its worker's words and the
 * bytes. Every word has one writer, the ring's worker, but rings_used. */
#ifndef BUS_BUS_LAYOUT_H
#define BUS_BUS_LAYOUT_H

#include "bus/bus.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>

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

#endif
