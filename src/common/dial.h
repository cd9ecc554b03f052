/* From the URL of a server, or of a list of servers, to a connected socket within one time limit.
 * All addresses of all names are tried (RFC 8305): the next one begins when one fails, or after a
 * quarter of a second without an answer, and the first that connects wins. A name is looked up when
 * its turn comes, anew for each connection.
 *
 * An address that fails is left alone for a while, twice as long each time: until then those that
 * do not rest come before it. Nothing ever waits for a rest to end: where all rest, the one with
 * the shortest rest left comes first.
 *
 * Invariant: of each address a dialer knows whether it was the last one to connect, and how often
 * it has failed since it was of use. */
#ifndef COMMON_DIAL_H
#define COMMON_DIAL_H

#include "common/url.h"
#include "common/wait.h"

#define DIAL_MAX             16 /* addresses of one name that are tried */
#define DIAL_NAME_LEN        272
#define DIAL_WHY_LEN         384  /* bytes of the sentence about a server of a list */
#define DIAL_ERROR_LEN       1900 /* and about all of them */
#define DIAL_STAGGER_US      250000
#define DIAL_REST_STAGGER_US 1000000 /* before one that rests */
#define DIAL_REST_MS         500     /* after the first failure; then it doubles */
#define DIAL_REST_MAX_MS     30000

struct lookup; /* common/lookup.h */

/* Which server comes first. Within a name it is the one of its addresses that connected last. */
enum dial_pick {
    DIAL_FIRST,  /* the earliest of the URL that does not rest */
    DIAL_RANDOM, /* the one that connected last; in an order by chance */
    DIAL_SPREAD, /* the same; each choice of a process begins at another one */
};

/* The failures of an address, or of the lookup of a name. */
struct dial_record {
    unsigned failures; /* since it was of use */
    uint64_t rest_us;  /* the monotonic time until which it rests */
    uint64_t round;    /* in which it failed last; 0: it has not */
};

struct dial_address {
    struct endpoint at;
    struct dial_record record;
    bool worked;    /* it is the one that connected last */
    bool tried;     /* in this race */
    unsigned begun; /* its number in this race, from 1 on */
    int fd;         /* while it is tried; -1 */
    int error;      /* errno of this try; 0: none */
};

enum dial_state {
    DIAL_NEW,     /* its turn has not come */
    DIAL_ASKING,  /* its name is being looked up */
    DIAL_FOUND,   /* the list below is of this race */
    DIAL_UNFOUND, /* there is no address */
};

struct dial_server {
    struct url_server at;
    char name[DIAL_NAME_LEN]; /* "example.org:8000", "unix:/run/x.sock" */
    enum dial_state state;
    unsigned begun;            /* as of an address: the lookup */
    struct dial_record record; /* of its lookup */
    struct lookup *lookup;     /* under way, or one whose answer nobody has waited for; or NULL */
    unsigned count;            /* addresses that are known */
    struct dial_address *list;
    char why[DIAL_WHY_LEN]; /* how it has failed in this call; "" */
    bool nobody;            /* and that tells that nobody listens there */
};

struct dialer {
    const struct url *url; /* the caller's, and stays as long as the dialer */
    struct waiter *waiter; /* the caller's; NULL: none */
    enum dial_pick pick;
    unsigned count;
    struct dial_server *servers; /* in the order of the URL */
    unsigned last;               /* the one that connected last; 0 at first */
    uint8_t order[URL_SERVERS_MAX];
    uint32_t turn; /* spread: where the order begins */
    uint64_t round;
    bool has_failed; /* some why is set */
    bool is_starved; /* this side has no memory */
    unsigned begun;  /* tries of this race */
    unsigned ms;     /* for one connection, and when that time is over */
    uint64_t deadline_us;
    char error[DIAL_ERROR_LEN];
};

/* Reads ?pick=, which is first where it does not stand there. Returns 0, or -1 for another word. */
MS_MUST_CHECK int dial_read_pick(const struct url *url, enum dial_pick *pick_out);

/* Returns 0, or -1 without memory. dialer_fini in either case. */
MS_MUST_CHECK int dialer_init(struct dialer *d, const struct url *url, enum dial_pick pick);

/* Waits for nothing: a lookup that is under way ends by itself. */
void dialer_fini(struct dialer *d);

/* Connects, in ms milliseconds at most. Literal addresses, Unix sockets and localhost ask nobody.
 * Any other name is looked up in a thread of its own, which is left behind when the time is over;
 * the next call waits on for the same answer. The order of a name's addresses is that of
 * getaddrinfo(3), with the families taking turns.
 *
 * Returns 0 and a non-blocking, close-on-exec socket (TCP_NODELAY), the caller's; or -1 with a
 * sentence in error and errno (ECANCELED: the waiter has ended; ENOMEM: this side has no memory;
 * ENXIO: no server has an address; EHOSTUNREACH: none connects). */
MS_MUST_CHECK int dial_connect(struct dialer *d, unsigned ms, int *fd_out);

/* The only address that there can be, without asking or connecting; NULL: there may be several, or
 * none. */
const struct endpoint *dial_only(struct dialer *d);

/* Name and address of the server that was connected to last; before, the first name and NULL. */
const char *dial_name(const struct dialer *d);
const struct endpoint *dial_endpoint(const struct dialer *d);

/* --- what becomes of a connection --- */

/* The connection that was made last has been of use: its address has a clean record. */
void dial_proved(struct dialer *d);

/* It has ended in a failure: its address rests. */
void dial_failed(struct dialer *d);

/* --- calls and rounds: a call of the program's may take several connections. In a round each
 * address has its turn before any has its second one. --- */

/* A call begins, and with it a round: what has failed before is not told any more. */
void dial_begin_call(struct dialer *d);
void dial_begin_round(struct dialer *d);

/* Some address has not failed in this round. */
bool dial_has_other(const struct dialer *d);

/* What is to be told of the server that was connected to last, if the call fails. */
void dial_note(struct dialer *d, const char *sentence);

/* What is to be told of a list of servers: how each has failed in this call. NULL: the URL has one
 * server, or none has failed. In error, until the next call of a function. */
const char *dial_failures(struct dialer *d);

/* --- sockets --- */

/* Has a connection to a port of this host that nobody listens on got its own port, so that both its
 * ends are one? */
bool dial_is_self(int fd);

/* Closes *fd by a reset, so that the other side does not take what it has got for all there is, and
 * stores -1 there. */
void dial_reset(int *fd);

#endif
