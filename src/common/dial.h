/* From the URL of a server to a connected socket, within one time limit. A name is looked up anew
 * for each connection, and all its addresses are tried in turn (RFC 8305): the next one begins when
 * one fails, or after a quarter of a second without an answer, and the first that connects wins.
 * Invariant: of each address a dialer knows whether it was the last one to work, or when it failed.
 */
#ifndef COMMON_DIAL_H
#define COMMON_DIAL_H

#include "common/url.h"

#define DIAL_MAX        16   /* addresses of one name that are tried */
#define DIAL_ERROR_LEN  1024 /* bytes of the sentence about a failure */
#define DIAL_STAGGER_US 250000

struct lookup; /* common/lookup.h */

struct dial_address {
    struct endpoint at;
    int64_t failed_us; /* the monotonic time; 0: it has not; DIAL_WORKED: it connected last */
    int fd;            /* while it is tried; -1 */
    int error;         /* errno of this try; 0: none */
};

#define DIAL_WORKED (-1)

struct dialer {
    const struct url *url; /* both are the caller's, and stay as long as the dialer */
    const char *name;      /* for sentences: "example.org:8000" */
    unsigned ms;           /* for one connection, and when that time is over */
    uint64_t deadline_us;
    unsigned count; /* addresses, in the order in which they are tried */
    struct dial_address list[DIAL_MAX];
    struct lookup *lookup; /* one whose time was over before its answer; or NULL */
    char error[DIAL_ERROR_LEN];
};

void dialer_init(struct dialer *d, const struct url *url, const char *name);

/* Waits for nothing: a lookup that is under way ends by itself. */
void dialer_fini(struct dialer *d);

/* Begins a connection that may take ms milliseconds in all, and finds the addresses. Literal
 * addresses, Unix sockets and localhost ask nobody. Any other name is looked up in a thread of its
 * own, which is left behind when the time is over; the next call waits on for the same answer.
 *
 * The order is that of getaddrinfo(3), with the families taking turns; but the address that worked
 * last comes first, and those that failed come last, the most recent one at the end.
 *
 * Returns 0, or -1 with a sentence in error and errno (ENOMEM: this side has no memory). */
MS_MUST_CHECK int dial_resolve(struct dialer *d, unsigned ms);

/* Tries the addresses that dial_resolve found, in what is left of its time. Returns 0 and a
 * non-blocking, close-on-exec socket (TCP_NODELAY), the caller's; or -1 as above. */
MS_MUST_CHECK int dial_connect(struct dialer *d, int *fd_out);

/* The connection that was made has ended in a failure: its address is tried last the next time. */
void dial_failed(struct dialer *d);

/* The address that worked last, or else the first one; dial_resolve has found some. */
const struct endpoint *dial_endpoint(const struct dialer *d);

/* Has a connection to a port of this host that nobody listens on got its own port, so that both its
 * ends are one? */
bool dial_is_self(int fd);

/* Closes *fd by a reset, so that the other side does not take what it has got for all there is, and
 * stores -1 there. */
void dial_reset(int *fd);

#endif
