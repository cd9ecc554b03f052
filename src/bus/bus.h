/* The bus between the workers: what one publishes, all others see, in the order of each publisher,
 * each message once. One ring in shared memory a worker, written by that worker alone; the others
 * read it. A bell (one eventfd that all watch, edge-triggered) says that there is something new.
 *
 * The rings are made once by the master and live as long as it does, so that workers of an old and
 * a new generation hear each other. Positions in a ring count bytes from its beginning and never go
 * back, also when another worker takes the ring over: what was read is known by one number a ring,
 * and a connection that moves to another worker takes these numbers with it.
 *
 * A writer waits for readers that are behind, for BUS_PATIENCE_US; then it overwrites, and the
 * reader, where it is still there, finds out how much it lost. Nothing that stands in another
 * worker's ring is trusted: a length that cannot be is the end of that ring. The master only makes
 * the memory. */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include "common/base.h"

#define BUS_RINGS       256 /* as many as STATS_REGIONS: a worker's ring is that of its region */
#define BUS_MESSAGE_MAX (1 << 20) /* bytes of one message */
#define BUS_PATIENCE_US 1000000
#define BUS_TURN_BYTES \
    (64 << 10) /* read in one turn, so that the connections are written to between */

/* What a worker inherits. */
struct bus_place {
    int memory_fd; /* a memfd with all rings; sparse, its size is sealed */
    int bell_fd;   /* eventfd, non-blocking */
};

/* In the master, once. ring_size: bytes of each ring, a power of two, at least 2 * BUS_MESSAGE_MAX.
 * Returns 0, or -1 with errno. */
MS_MUST_CHECK int bus_place_create(size_t ring_size, struct bus_place *place_out);
void bus_place_close(struct bus_place *place);

struct bus;

/* In a worker: takes ring `ring` for writing (its writer before must be gone). The descriptors of
 * place stay open as long as the bus is used. NULL with errno. */
MS_MUST_CHECK struct bus *bus_open(const struct bus_place *place, unsigned ring);
void bus_close(struct bus *bus); /* NULL is fine; others stop waiting for this reader */

/* The descriptor to watch with EPOLLIN | EPOLLET; it is never read. */
int bus_bell(const struct bus *bus);

/* Publishes a message of head_len + n bytes (at most BUS_MESSAGE_MAX; in two parts, to save a copy)
 * on a channel. Returns 0, or -1 with errno EAGAIN: readers are behind, try again when the bell
 * rings or after a millisecond; or EMSGSIZE. now_us: monotonic. */
MS_MUST_CHECK int bus_publish(struct bus *bus, uint16_t channel, const void *head, size_t head_len,
                              const void *data, size_t n, uint64_t now_us);

/* Rings the bell where, since the last call, something was published, or read while its writer
 * waited, or bus_dispatch left something for the next turn. Once a turn, at its end. */
void bus_ring(struct bus *bus);

/* --- hearing --- */

/* A message that another worker has published; data (a copy, not aligned) is valid during the call.
 * It may publish; bus_dispatch and bus_replay do nothing within it. */
typedef void (*bus_heard_fn)(void *arg, const void *data, size_t n);

/* Hears a channel (not UINT16_MAX, and nobody's yet) from here on; of a worker that hears another
 * channel already, what it has not read yet included. The others wait for this worker when it is
 * behind only as long as it hears any channel. */
void bus_subscribe(struct bus *bus, uint16_t channel, bus_heard_fn heard, void *arg);
void bus_unsubscribe(struct bus *bus, uint16_t channel);

/* Reads what the others had published when it was called and calls the subscribers of its channels.
 * With `all` everything; otherwise about BUS_TURN_BYTES between two calls of bus_ring, which then
 * wakes this worker again for the rest. Calling it again is cheap. Returns how many messages, of
 * any channel, were overwritten before they were read: about the number, never 0 where there was
 * one. */
uint64_t bus_dispatch(struct bus *bus, bool all);

/* --- where a reader is, to be taken along --- */

#define BUS_MARK_MAX (2 + BUS_RINGS * 8)

/* Writes the positions up to which all rings were read (the own one: published). Returns how many
 * bytes it wrote, at most BUS_MARK_MAX; 0 where they do not fit. */
size_t bus_mark(const struct bus *bus, void *out, size_t size);

/* Calls each for every message on the channel between the mark, which another reader made, and
 * where this reader is now, the messages of its own ring included. Before, bus_dispatch must have
 * read all. Returns 0, or -1: some of it is overwritten, or the mark makes no sense; what can be
 * read was given. */
MS_MUST_CHECK int bus_replay(struct bus *bus, uint16_t channel, const void *mark, size_t mark_len,
                             bus_heard_fn each, void *arg);

#endif
