/* One connection to a NATS server at a time, which is made, kept, and made anew: what the plugin
 * beside the binary does for the publisher (publisher.h), in a thread of its own where libnats may
 * wait. The plugin alone calls libnats, so only who uses it loads libnats. Nothing here waits:
 * messages go in, events come out, and a descriptor says when. All functions are for the one thread
 * of the publisher.
 *
 * Invariant: an event of a connection carries its epoch, and no message is given to a connection of
 * another epoch. So whoever has seen LINK_LOST knows that nothing of before is still on its way out
 * of this process. */
#ifndef NATS_LINK_H
#define NATS_LINK_H

#include "common/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

#define LINK_ABI    2
#define LINK_SYMBOL "msockd_nats_plugin"

struct link; /* the plugin's */

/* A message to publish. Its memory is one piece, which free() gives back with the last reference;
 * nothing in it changes while somebody else has one. */
struct link_message {
    STAILQ_ENTRY(link_message) next; /* the link's */
    _Atomic bool is_queued;          /* the link's: it is on its way to the server already */
    _Atomic unsigned references;
    uint64_t token; /* the answer carries it */
    const char *subject;
    const char *headers; /* "Name: value\r\n" for each, or "" */
    uint32_t headers_len;
    uint32_t len;
    const char *data;
};

STAILQ_HEAD(link_messages, link_message);

static inline void
link_message_release(struct link_message *m)
{
    if (atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1)
        free(m);
}

enum link_event_kind {
    LINK_CONNECTED, /* text: the server, "127.0.0.1:4222"; size: its max_payload */
    LINK_LOST,      /* text: why */
    LINK_FAILED,    /* no server of the list could be connected to; text: why */
    LINK_ANSWER,    /* to the message with the token; text: its bytes */
    LINK_NOBODY,    /* nobody takes the subject of some message; libnats does not say which one */
    LINK_UNSENT,    /* the message with the token cannot be sent so; text: why */
    LINK_NOTE,      /* the server complains; text: about what */
};

/* Why no server could be connected to. */
enum link_failure {
    LINK_UNREACHABLE, /* nobody listens there, or nobody answers: it may pass */
    LINK_DENIED,      /* the server does not take the credentials */
    LINK_FOREIGN,     /* it does not speak the protocol of NATS */
    LINK_INSECURE,    /* TLS failed, or is there on one side only */
    LINK_MISSET,      /* a file or a URL of the configuration cannot be used */
};

struct link_event {
    STAILQ_ENTRY(link_event) next;
    enum link_event_kind kind;
    enum link_failure failure; /* of LINK_FAILED */
    uint32_t epoch;            /* of the connection, counted from 1 */
    uint64_t token;
    int64_t size;
    size_t len;
    char text[]; /* len bytes and a NUL */
};

STAILQ_HEAD(link_events, link_event);

#define LINK_SERVERS_MAX 32

/* NULL and 0: not given. */
struct link_config {
    const char *servers[LINK_SERVERS_MAX]; /* "nats://host:port", perhaps with user and password */
    size_t server_count;
    const char *name; /* the server shows it among its connections */
    const char *user, *password;
    const char *creds;              /* file with a JWT and a seed */
    const char *nkey_public, *nkey; /* the public key, and the file with its seed */
    bool tls;                       /* also without a server that demands it */
    const char *ca, *cert, *key;    /* files */
    unsigned connect_ms;            /* for one server */
};

/* What the plugin defines under LINK_SYMBOL. */
struct nats_plugin {
    uint32_t abi, size;
    const char *(*version)(void); /* libnats' */

    /* Starts the thread, which connects. NULL with errno. */
    struct link *(*open)(const struct link_config *config);

    /* Ends the connection. Waits up to wait_ms for the thread. Returns false where that is still
     * busy, with a name that is looked up, say: then it ends by itself, and what config points to
     * has to stay. */
    bool (*close)(struct link *link, unsigned wait_ms);

    int (*fd)(const struct link *link); /* readable when there are events */

    /* Moves all events to the end of the list; free() each. Clears the descriptor. */
    void (*take)(struct link *link, struct link_events *events);

    /* Gives a message to the connection of that epoch; the link takes a reference. One that is on
     * its way out already is not given twice. Returns false where that connection is gone. */
    bool (*give)(struct link *link, uint32_t epoch, struct link_message *message);

    void (*kick)(struct link *link);                  /* what was given is to leave now */
    void (*reset)(struct link *link, uint32_t epoch); /* gives that connection up for a new one */

    /* When the thread last came round, monotonic microseconds; 0: not yet. */
    uint64_t (*turned_us)(const struct link *link);
};

#endif
