/* What the raw peers of all protocols share: a connection whose bytes go out in a chosen manner,
 * and a table of the protocols, for tests that are the same for each. They are written from the
 * protocols' text alone and share no code with the daemon or the library. */
#ifndef SYSTEM_RAW_H
#define SYSTEM_RAW_H

#include "daemon.h"

/* How bytes are given to the kernel. */
enum raw_manner {
    RAW_WHOLE,
    RAW_BYTES,  /* one at a time */
    RAW_PIECES, /* of 1 to 1500 bytes */
};

struct raw;

/* One way to talk. What returns an int returns 0, or -1 where the answer was another one. */
struct raw_kind {
    const char *name;
    const char *proto;   /* the scheme of its listener, and what the daemon calls the connection */
    const char *options; /* of its listener's URL, "" or "framing=..." */
    bool once;           /* one message a connection, and its end is the end of what we send */
    bool receipts;       /* a journal's receipt goes back where nothing is said about it */

    int (*open)(struct raw *r);

    /* Sends one message, up to the point where the server has said everything about it but a
     * reply. */
    int (*send)(struct raw *r, const void *data, size_t n);

    /* The next message from the server. Caller frees; NULL: none came, the connection is closed. */
    char *(*receive)(struct raw *r, size_t *n_out);

    /* Says that nothing more comes. */
    void (*finish)(struct raw *r);
};

/* Every protocol and framing. The first RAW_FOUND are those that auto finds out. */
#define RAW_FOUND 5
#define RAW_KINDS 8
extern const struct raw_kind *const raw_kinds[RAW_KINDS];

/* A message from the server that came while something else was waited for. */
struct raw_message {
    char *data;
    size_t len;
    struct raw_message *next;
};

struct raw {
    struct peer peer;
    enum raw_manner manner;
    uint64_t seed;
    const struct raw_kind *kind;

    struct raw_message *first, *last;

    /* tinyproto */
    bool held; /* a SIZE of the server has come that we have not answered */
    uint32_t held_size;

    /* cnp */
    uint16_t sequence;    /* of the next packet of ours; 0: not sequenced */
    uint16_t expected;    /* of the next packet of the server */
    uint32_t packet_size; /* of ours, payload */
    char session[64];
    char *part; /* fragments so far */
    size_t part_len;
};

/* One worker, in which no timeout passes unless the URL has one. */
struct daemon *raw_daemon(const char *url, const char *handler);

/* Connects and says nothing; what is said later is said whole. */
void raw_begin(struct raw *r, const struct raw_kind *kind, const struct target *target);

/* Connects and opens; ends the test where that fails. Main thread only. Teardown of the test closes
 * the socket; raw_close frees the rest. */
void raw_connect(struct raw *r, const struct raw_kind *kind, const struct target *target,
                 enum raw_manner manner);
void raw_close(struct raw *r);

/* Writes all of it in the connection's manner. Returns 0, or -1 with errno. */
int raw_write(struct raw *r, const void *data, size_t n);

/* The same; ends the test where it fails. */
void raw_say(struct raw *r, const void *data, size_t n);

/* The daemon has read all that was sent: what is sent next comes to it in a read of its own. */
bool raw_was_read(const struct daemon *d, const struct raw *r);

/* Keeps a message that came; takes the data over. raw_take gives the oldest one, or NULL. */
void raw_keep(struct raw *r, char *data, size_t n);
char *raw_take(struct raw *r, size_t *n_out);

/* n bytes that begin with a number of their own and hold no control characters. Caller frees. */
char *raw_body(size_t n, unsigned number);

/* Sends a body and waits until it has come back, both of that size; ends the test where it does
 * not. */
void raw_echo(struct raw *r, size_t n, unsigned number);

/* Ends the test where the next message from the server is another one. */
void raw_expect(struct raw *r, const char *text, size_t n);

/* Ends the test where anything but the end of the connection comes, or nothing; closes it. */
void raw_expect_end(struct raw *r);

/* Ends the test where the daemon does not come to these totals. */
void raw_expect_counts(const struct daemon *d, uint64_t messages, uint64_t rej, uint64_t nack1,
                       uint64_t err);

/* A packet of tests/vectors/packets.json, to be freed. Ends the test where there is none. */
uint8_t *raw_vector(const char *protocol, const char *name, size_t *n_out);

/* Sends it. */
void raw_say_vector(struct raw *r, const char *protocol, const char *name);

#endif
