/* What the files of the plugin share: link.c has the thread, queue.c what lies between it and the
 * publisher, connect.c makes a connection with libnats and publishes on it. libnats is used with an
 * event loop of our own: then it starts no threads that read and write, never waits in a publish,
 * and all messages of a moment leave with one write. Reconnecting is ours as well, since libnats
 * holds its lock while it connects.
 *
 * A connection without TLS is direct: the publisher's own calls read and write, which costs no
 * switch between threads, and the thread only makes and ends connections. With TLS libnats waits
 * for the rest of a record, and so the thread reads and writes. */
#ifndef NATS_PLUGIN_PLUGIN_H
#define NATS_PLUGIN_PLUGIN_H

#include "nats/link.h"

#include <nats/nats.h>
#include <pthread.h>

#define LINK_TEXT_MAX  256
#define LINK_INBOX_MAX 64
#define LINK_DEAD_MAX  1024

struct link {
    pthread_t thread;
    _Atomic unsigned references; /* the publisher's, the thread's, and those of libnats' threads */
    const struct link_config *config;
    int epoll_fd;   /* the publisher's: event_fd, and the connection while it is direct */
    int event_fd;   /* to the publisher */
    int command_fd; /* to the thread */
    _Atomic uint64_t turned_us;

    pthread_mutex_t lock; /* over all in this part */
    pthread_cond_t ended_cond;
    bool is_closed, has_ended;
    uint32_t epoch; /* of the connection there is, or 0 */
    uint32_t reset; /* the epoch to be given up */
    struct link_messages messages;
    struct link_events events;
    bool is_direct;   /* only the thread changes it */
    uint32_t watched; /* for these events of epoll, while it is direct */

    /* The thread's own; with the lock anybody's while the connection is direct. */
    uint32_t epochs;   /* connections made so far */
    unsigned rounds;   /* over the servers, without a good connection */
    uint64_t begun_us; /* the connection, monotonic */
    natsConnection *nc;
    natsSubscription *answers;
    char inbox[LINK_INBOX_MAX]; /* subjects of answers begin so */
    struct link_messages taken; /* messages, in this turn */
    struct link_events heard;   /* events of this turn */
    char *block;                /* for headers */
    size_t block_size;
    natsMsg *dead[LINK_DEAD_MAX]; /* to be given back, many at a time */
    unsigned dead_count;
    size_t dead_bytes;
    int fd;                             /* the connection's, -1: libnats has closed it */
    bool has_begun;                     /* something was read */
    _Atomic bool wants_write;           /* libnats has something to write */
    _Atomic bool lame_duck;             /* the server is about to leave */
    char *discovered[LINK_SERVERS_MAX]; /* servers that a server told of */
    int discovered_count;
};

/* --- queue.c --- */

struct link *link_hold(struct link *l);
void link_release(struct link *l);
void link_wake(struct link *l); /* any thread */
void link_clear(int fd);        /* of an eventfd */

struct link_event *link_event_create(enum link_event_kind kind, const void *text, size_t n);

/* With the lock: an event for the publisher, and all that was heard. */
void link_post(struct link *l, struct link_event *e);
void link_post_heard(struct link *l);

/* For the publisher at once, from any thread; and at the end of this turn, from our own. */
void link_tell(struct link *l, enum link_event_kind kind, const char *text);
void
link_hear(struct link *l, enum link_event_kind kind, uint64_t token, const void *text, size_t n);

/* Takes the first one off; NULL where there is none. */
struct link_message *link_next(struct link_messages *messages);

/* It is on its way, or will not be: it may be given again. */
void link_message_done(struct link_message *m);

/* struct nats_plugin give. */
bool link_give(struct link *l, uint32_t epoch, struct link_message *m);

/* --- connect.c --- */

/* Tries the servers once. Returns NATS_OK, or what failed, with a sentence in text. Blocks. */
natsStatus link_connect(struct link *l, const struct link_config *config, char text[LINK_TEXT_MAX]);
void link_disconnect(struct link *l);
enum link_failure link_failure_of(natsStatus s, const char *text);

/* Gives messages of libnats back, many at a time: each time wakes a thread of its own, which frees
 * them, and for that takes the processor and the allocator from us. */
void link_bury(struct link *l);

/* Hears the answers that were read. */
void link_hear_answers(struct link *l);

/* Publishes on the connection: into a buffer, without waiting. */
natsStatus link_publish(struct link *l, const struct link_message *m);

/* "127.0.0.1:4222" of the server that it is connected to. */
void link_server(struct link *l, char *out, size_t size);

#endif
