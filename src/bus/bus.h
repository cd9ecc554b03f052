/* The bus between the workers. A message that one worker publishes reaches all others, once, in the
 * order of its publisher. Each worker has one ring in shared memory: it alone writes the ring, and
 * the others read it. A bell (one eventfd that all watch, edge-triggered) tells that there is
 * something new.
 *
 * The master makes the rings once, and they live as long as the master, so that workers of an old
 * and a new generation hear each other. Positions in a ring count bytes from its beginning. They
 * never go back, even when another worker takes the ring over. So one number for each ring says how
 * far a reader has read, and a connection that moves to another worker takes these numbers with it.
 *
 * A writer waits up to BUS_PATIENCE_US for readers that are behind. Then it overwrites, and the
 * reader, if it is alive, finds out how much it lost. A reader trusts nothing in another worker's
 * ring: an impossible length is the end of that ring. The master only makes the memory. */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include "common/base.h"

#define BUS_VERSION     1u  /* raise it where the memory changes, or what is in it means */
#define BUS_RINGS       384 /* as many as STATS_REGIONS: a worker's ring is that of its region */
#define BUS_MESSAGE_MAX (1 << 20) /* bytes of one message */
#define BUS_PATIENCE_US 1000000
#define BUS_TURN_BYTES \
    (64 << 10) /* read in one turn, so that the connections are written to between */

/* The part of the bus that a worker inherits. */
struct bus_place {
    int memory_fd; /* a memfd with all rings; sparse, its size is sealed */
    int read_fd;   /* the same memory read-only; -1: none, where /proc is not mounted */
    int bell_fd;   /* eventfd, non-blocking */
};

/* In the master, once. ring_size: bytes of each ring, a power of two, at least 2 * BUS_MESSAGE_MAX.
 * Returns 0, or -1 with errno. */
MS_MUST_CHECK int bus_place_create(size_t ring_size, struct bus_place *place_out);
void bus_place_close(struct bus_place *place);

struct bus;

/* In a worker: takes ring `ring` for writing (its writer before must be gone). The bell stays open
 * as long as the bus is used; whoever has the other descriptors can write into all rings. NULL with
 * errno. */
MS_MUST_CHECK struct bus *bus_open(const struct bus_place *place, unsigned ring);
void bus_close(struct bus *bus); /* NULL is fine; others stop waiting for this reader */

/* The descriptor to watch with EPOLLIN | EPOLLET; it is never read. */
int bus_bell(const struct bus *bus);

/* Publishes a message of head_len + n bytes (at most BUS_MESSAGE_MAX; in two parts, to save a copy)
 * on a channel. Returns 0, or -1 with errno EAGAIN: readers are behind, try again when the bell
 * rings or after a millisecond; or EMSGSIZE. now_us: monotonic. */
MS_MUST_CHECK int bus_publish(struct bus *bus, uint16_t channel, const void *head, size_t head_len,
                              const void *data, size_t n, uint64_t now_us);

/* Rings the bell if, since the last call, this worker published a message, read one whose writer
 * waited, or left some for the next turn in bus_dispatch. Call it once a turn, at its end. */
void bus_ring(struct bus *bus);

/* --- hearing --- */

/* A message that another worker has published; data (a copy, not aligned) is valid during the call.
 * It may publish; bus_dispatch and bus_replay do nothing within it. */
typedef void (*bus_heard_fn)(void *arg, const void *data, size_t n);

/* Hears a channel (not UINT16_MAX, and without a subscriber yet) from here on. A worker that hears
 * another channel already also gets the messages that it has not read yet. The others wait for a
 * worker that is behind only while it hears a channel. */
void bus_subscribe(struct bus *bus, uint16_t channel, bus_heard_fn heard, void *arg);
void bus_unsubscribe(struct bus *bus, uint16_t channel);

/* Reads the messages that the others have published so far, and calls the subscribers of their
 * channels. With `all` it reads everything; otherwise about BUS_TURN_BYTES between two calls of
 * bus_ring, which then wakes this worker again for the rest. Calling it again is cheap. Returns
 * about how many messages, of any channel, were overwritten before they were read; never 0 if there
 * was one. */
uint64_t bus_dispatch(struct bus *bus, bool all);

/* --- where a reader is, to be taken along --- */

#define BUS_MARK_MAX (2 + BUS_RINGS * 8)

/* Writes the position up to which each ring was read (the own ring: published). Returns how many
 * bytes it wrote, at most BUS_MARK_MAX; 0 if they do not fit. */
size_t bus_mark(const struct bus *bus, void *out, size_t size);

/* Calls each for every message on the channel between the mark, which another reader made, and this
 * reader's present position, messages of its own ring included. bus_dispatch must have read all
 * before. Returns 0, or -1 if some messages are overwritten or the mark makes no sense; each was
 * called for those that can be read. */
MS_MUST_CHECK int bus_replay(struct bus *bus, uint16_t channel, const void *mark, size_t mark_len,
                             bus_heard_fn each, void *arg);

#endif
