/* The bus between the workers: what one publishes, all others see, in the order of each publisher,
 * each message once. One ring in shared memory a worker, written by that worker alone; the others read
 * it. A bell (one eventfd that all watch, edge-triggered) says that there is something new.
 *
 * The rings are made once by the master and live as long as it does, so that workers of an old and a
 * new generation hear each other. Positions in a ring count bytes from its beginning and never go
 * back, also when another worker takes the ring over: what was read is known by one number a ring,
 * and a connection that moves to another worker takes these numbers with it.
 *
 * A writer waits for readers that are alive and behind, for BUS_PATIENCE_US; then it overwrites, and
 * the reader finds out how much it lost. Nothing that stands in another worker's ring is trusted: a
 * length that cannot be is the end of that ring. The master only makes the memory. */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include "common/base.h"

#include <stdbool.h>

#define BUS_RINGS       256 /* as many as STATS_REGIONS: a worker's ring is that of its region */
#define BUS_MESSAGE_MAX (1 << 20) /* bytes of one message */
#define BUS_RING_SIZE   (4 << 20) /* bytes, what msockd uses */
#define BUS_PATIENCE_US 1000000

/* What a worker inherits. */
struct bus_place {
    int memory_fd; /* a memfd with all rings; sparse */
    int bell_fd;   /* eventfd, non-blocking */
};

/* In the master, once. ring_size: bytes of each ring, a power of two, at least 2 * BUS_MESSAGE_MAX.
 * Returns 0, or -1 with errno. */
MS_MUST_CHECK int bus_place_create(size_t ring_size, struct bus_place *place_out);
void bus_place_close(struct bus_place *place);

struct bus;

/* In a worker: takes ring `ring` for writing (its writer before must be gone), and begins to read all
 * others from where they are now. NULL with errno. */
MS_MUST_CHECK struct bus *bus_open(const struct bus_place *place, unsigned ring);
void bus_close(struct bus *bus); /* NULL is fine; others stop waiting for this reader */

/* The descriptor to watch with EPOLLIN | EPOLLET; it is never read. */
int bus_bell(const struct bus *bus);

/* Publishes n bytes (at most BUS_MESSAGE_MAX, in two parts, to save a copy) on a channel. Returns 0, or
 * -1 with errno EAGAIN: readers are behind, try again when the bell rings or after a millisecond; or
 * EMSGSIZE. */
MS_MUST_CHECK int bus_publish(struct bus *bus, uint16_t channel, const void *head, size_t head_len,
                              const void *data, size_t n, uint64_t now_us);

/* Rings the bell, where something was published, or read while a writer waits, since the last call.
 * Once a turn. */
void bus_ring(struct bus *bus);

/* One message of another worker. */
struct bus_message {
    unsigned ring;
    uint16_t channel;
    const void *data; /* a copy of the reader's: valid until the next call */
    size_t len;
};

/* The next message of any other worker; false: none is left. *lost_out is how many bytes were
 * overwritten before they were read (0: none), and is to be looked at also where it returns false. */
bool bus_next(struct bus *bus, struct bus_message *message_out, uint64_t *lost_out);

/* --- where a reader is, to be taken along --- */

/* Writes the positions up to which all rings (the own one: what is published) have been seen; returns
 * bytes, at most BUS_MARK_MAX. */
#define BUS_MARK_MAX (BUS_RINGS * 10)
size_t bus_mark(const struct bus *bus, void *out, size_t size);

/* Calls each for every message on the channel between the mark, which another reader made, and where
 * this reader is now; the caller must have read everything (bus_next returned false) before. Returns 0,
 * or -1: some of it is overwritten, or the mark makes no sense. */
typedef void (*bus_each_fn)(void *arg, const void *data, size_t n);
MS_MUST_CHECK int bus_replay(struct bus *bus, uint16_t channel, const void *mark, size_t mark_len,
                             bus_each_fn each, void *arg);

#endif
