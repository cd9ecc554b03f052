/* One connection to a server: a non-blocking socket and the counts of bytes. Nothing here knows
 * what the bytes mean, and nothing raises a signal. Invariant: fd is -1 where there is no
 * connection. */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include "common/base.h"
#include "common/url.h"

#include <stdbool.h>
#include <sys/uio.h>

enum transport_io {
    TRANSPORT_DONE, /* something was moved */
    TRANSPORT_WAIT, /* nothing can be moved now */
    TRANSPORT_LOST, /* the connection has ended; error says how */
};

struct transport {
    int fd;
    int error;                    /* errno of the loss; 0: the server closed in order */
    uint64_t bytes_in, bytes_out; /* over all connections */
};

void transport_init(struct transport *t);

/* Connects within timeout_ms; an older connection must be closed. Returns 0, or -1 with errno
 * (ETIMEDOUT where the time is over). */
MS_MUST_CHECK int
transport_open(struct transport *t, const struct endpoint *ep, unsigned timeout_ms);

/* Closes, if open. */
void transport_close(struct transport *t);

/* The same by a reset, so that the other side does not take what it has got for all there is. */
void transport_reset(struct transport *t);

/* Sends what the kernel takes of *count pieces at *iov, and moves both on (the pieces are written
 * to). TRANSPORT_DONE where at least one byte went out. */
enum transport_io transport_send(struct transport *t, struct iovec **iov, int *count);

/* Reads up to n bytes to buf without waiting; *got_out is how many. */
enum transport_io transport_read(struct transport *t, void *buf, size_t n, size_t *got_out);

/* Waits until one of the poll(2) events is there or the monotonic time is deadline_us; false
 * where the time is over. An error on the socket counts as an event. */
bool transport_wait(struct transport *t, short events, uint64_t deadline_us);

/* Bytes sent that the other side has not taken yet, as far as the kernel knows. */
unsigned transport_unsent(const struct transport *t);

#endif
