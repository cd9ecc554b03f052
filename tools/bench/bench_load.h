/* The load: connections in one epoll loop, each sending its next message when one is answered, or
 * (with a rate) when one is due. */
#ifndef BENCH_BENCH_LOAD_H
#define BENCH_BENCH_LOAD_H

#include "bench/bench.h"

#include <sys/uio.h>

struct bench_link;
struct bench_load;
struct block; /* bench_block.c */

/* What is spoken on the connections of the load, which know nothing else of what they carry. There
 * are two: bench_proto.c speaks msockd's protocols by their state machines, looks into every answer
 * and sends again what has to be; bench_block.c sends blocks of bytes made beforehand and only
 * counts answers, so that no server costs the generator more than another. */
struct speech_ops {
    /* Makes what all connections share. 0, or -1 with errno. */
    int (*prepare)(struct bench_load *load);
    void (*release)(struct bench_load *load);

    /* A connection is there: link->speech is NULL. It says what comes before any message;
     * bench_link_ready follows, at once or later. 0, or -1 without memory. */
    int (*open)(struct bench_link *link);
    void (*close)(struct bench_link *link); /* frees link->speech; NULL is fine */

    /* Begins messages (bench_link_begin) as far as that goes now. */
    void (*send)(struct bench_link *link);

    /* What is to be sent, at most two pieces; n bytes of it have left, or all. */
    int (*output)(struct bench_link *link, struct iovec out[2]);
    void (*sent)(struct bench_link *link, size_t n);

    /* Bytes that came; false: the connection was lost by them (bench_link_lose was called). */
    bool (*feed)(struct bench_link *link, const uint8_t *data, size_t n);

    /* The server has closed in good order. True: as it should. */
    bool (*ended)(struct bench_link *link);

    /* Time has passed; called about ten times a second. NULL: does not matter. */
    void (*tick)(struct bench_link *link);
};

struct bench_speech {
    const char *scheme;
    bool acknowledges; /* messages that count are committed */

    /* Completes the options by the URL's. NULL, or a sentence that says which cannot be (static).
     */
    const char *(*complete)(struct bench_options *options);
    const struct speech_ops *ops;
    void (*make)(struct block *block); /* of bench_block.c: makes a request */
};

#define BENCH_TINYPROTO_ASKS "tinyproto asks before each message: no --ahead"

/* The speech of a URL's scheme; NULL: there is none. The first knows msockd's own protocols only,
 * as bench_proto.c speaks them. */
const struct bench_speech *bench_proto_of(const char *scheme);
const struct bench_speech *bench_speech_of(const char *scheme, bool blocks);

/* One connection of the load: a client that never blocks. What it says and hears is its speech's
 * affair; how it is made, lost and made again is the same for all.
 *
 * Messages are numbered, and answered in order, so three numbers say everything: those below
 * done_seq are settled, those from there to next_seq are in flight, those from there to begun_seq
 * were in flight on a connection that was lost and are to be sent again. */
enum link_state {
    LINK_NEW,        /* never tried */
    LINK_CONNECTING, /* connect is under way */
    LINK_SHAKING,    /* connected; the handshake of TLS is under way */
    LINK_OPENING,    /* connected; what comes before any message is under way */
    LINK_UP,
    LINK_WAITING, /* lost or refused; tried again at retry_ns */
    LINK_DEAD,    /* given up, or no longer needed */
};
#define LINK_STATES 7

struct bench_link {
    struct bench_load *load;
    uint32_t index;
    int fd;
    struct tls_session *tls; /* NULL: there is none */
    uint8_t state;           /* enum link_state */
    bool want_out;           /* epoll watches for room to send */
    bool was_up;             /* has been connected before */
    bool renewed;            /* ended in good order and is made anew: no reconnect */
    uint16_t port;           /* this side's */
    uint32_t failures;       /* since the last message was answered, for the back-off */
    uint64_t done_seq, next_seq, begun_seq;
    uint64_t again_until; /* messages below were on a connection that was lost */
    uint64_t heard_ns;    /* last byte that came, or the beginning of waiting */
    uint64_t trouble_ns;  /* first failure since the last message was answered; 0: none */
    uint64_t retry_ns;
    uint64_t *stamps; /* by number modulo the messages in flight: when they were begun, or due */
    void *speech;     /* what its speech holds; NULL while there is no connection */
    struct bench_counts counts; /* since it was connected */
};

/* Begins to connect. */
void bench_link_open(struct bench_link *link);

/* What comes before any message is done. */
void bench_link_ready(struct bench_link *link);

/* Deals with what epoll said about it. */
void bench_link_event(struct bench_link *link, uint32_t events);

/* Begins and sends what may be sent now. */
void bench_link_send(struct bench_link *link);

/* Takes the connection as lost: what is in flight is sent again on a new one, or given up. counted:
 * the reason is in some other counter already. */
void bench_link_lose(struct bench_link *link, bool counted);

/* It has been silent for too long while something was awaited from it. */
void bench_link_expire(struct bench_link *link);

/* True while something is awaited from it. */
bool bench_link_awaits(const struct bench_link *link);

/* Says that nothing more will be sent; the server closes when it has read everything. */
void bench_link_leave(struct bench_link *link);

/* Ends the TCP connection and what belongs to it alone; its counts go to the result. */
void bench_link_fini(struct bench_link *link);

/* Puts messages in flight, at most so many, those of a connection that was lost first: numbers from
 * next_seq - (what it returns) on. */
uint32_t bench_link_begin(struct bench_link *link, uint32_t wanted);

/* Messages in flight. */
static inline uint32_t
bench_link_in_flight(const struct bench_link *link)
{
    return (uint32_t)(link->next_seq - link->done_seq);
}

/* The oldest message in flight is settled; counts: it is what was wanted. */
void bench_link_settle(struct bench_link *link, bool counts);

/* Sends again what the speech has put out. */
void bench_link_push(struct bench_link *link);

/* --- bench_secure.c: the bytes of a connection; errno is as in tls/tls.h --- */

/* Goes on with the handshake. 0: it is done. */
int bench_link_shake(struct bench_link *link);
ssize_t bench_link_write(struct bench_link *link, struct iovec *iov, int count);
ssize_t bench_link_read(struct bench_link *link, void *data, size_t size);

/* Says the end of TLS, where there is any, and frees it. */
void bench_link_end_tls(struct bench_link *link);

/* A blocking connection to an address. -1 with errno. */
int bench_connect(const struct endpoint *ep);

enum load_phase {
    LOAD_CONNECT, /* connections are being made; only those beside the load send */
    LOAD_WARMUP,  /* sending, not measured */
    LOAD_MEASURE, /* sending, measured */
    LOAD_DRAIN,   /* nothing new is begun, answers are awaited */
    LOAD_HOLD,    /* all are answered, and connections stay open */
    LOAD_LEAVE,   /* all is sent, and the server closes when it has read it */
    LOAD_DONE,
};

#define LOAD_INPUT          65536u
#define LOAD_BESIDE_SOURCES 8u /* 127.0.0.2 and on, for connections beside the load */

struct bench_load {
    const struct bench_options *options;
    const struct endpoint *endpoint;
    struct bench_result *result;
    enum load_phase phase;
    int epoll;
    uint32_t links_count; /* those beside the load come last */
    struct bench_link *links;
    uint64_t *stamps;            /* of all connections */
    size_t slots;                /* messages in flight on each, at least 1 */
    uint8_t *body;               /* of every message, size bytes */
    void *shared;                /* of the speech, for all connections */
    bool only_sends;             /* bench_only_sends */
    uint32_t run;                /* random: tells this run's ids and paths */
    uint64_t left;               /* messages that may still be begun */
    uint64_t open_messages;      /* begun, on connections that live, and without a final answer */
    uint32_t count[LINK_STATES]; /* connections in each state */
    uint32_t next_new;           /* connections from here on were never tried */
    uint32_t next_due;           /* with a rate, or idle: the connection that is asked first */
    uint64_t scheduled;          /* with a rate: messages begun so far */
    uint64_t schedule_ns;        /* and when the first one was due */
    uint64_t now_ns;             /* since the last wake-up */
    uint64_t sent_ns;            /* only_sends: when the kernel took bytes last */
    uint64_t phase_ns;           /* when the phase began */
    uint64_t retry_ns;           /* the earliest of the connections that wait */
    uint64_t scan_ns;            /* when silent connections are looked for again */
    uint64_t cpu_ns;             /* taken by this process when measuring began */
    double server_cpu;           /* the same of the processes named, seconds */
    int64_t flushes;
    uint32_t random;
    uint8_t input[LOAD_INPUT];
};

/* Runs the load; the counts are in result, also after a failure. Returns 0, or -1 with errno where
 * it could not even begin. result->connection is the caller's to free. */
int bench_load_run(const struct bench_options *options, const struct endpoint *endpoint,
                   struct bench_result *result);

/* It is time to begin messages. */
static inline bool
bench_load_sends(const struct bench_load *load)
{
    return load->phase == LOAD_WARMUP || load->phase == LOAD_MEASURE;
}

/* How many messages a connection may begin now, of at most wanted; they count as begun. */
uint32_t bench_load_take(struct bench_load *load, const struct bench_link *link, uint32_t wanted);

/* From when the latency of the message that is begun next counts. */
uint64_t bench_load_stamp(struct bench_load *load);

/* A message that was begun, or due, at began_ns counts now. */
void bench_load_count(struct bench_load *load, uint64_t began_ns);

#endif
