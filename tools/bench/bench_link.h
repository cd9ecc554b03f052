/* One connection of the load: a client that never blocks. What it says and hears is its speech's
 * affair (bench_speech.h); how it is made, lost and made again is the same for all.
 *
 * Messages are numbered, and answered in order, so three numbers say everything: those below
 * done_seq are settled, those from there to next_seq are in flight, those from there to begun_seq
 * were in flight on a connection that was lost and are to be sent again. */
#ifndef BENCH_BENCH_LINK_H
#define BENCH_BENCH_LINK_H

#include "bench/bench.h"

struct bench_load;

enum link_state {
    LINK_NEW,        /* never tried */
    LINK_CONNECTING, /* connect is under way */
    LINK_OPENING,    /* connected; what comes before any message is under way */
    LINK_UP,
    LINK_WAITING, /* lost or refused; tried again at retry_ns */
    LINK_DEAD,    /* given up, or no longer needed */
};
#define LINK_STATES 6

struct bench_link {
    struct bench_load *load;
    uint32_t index;
    int fd;
    uint8_t state;     /* enum link_state */
    bool want_out;     /* epoll watches for room to send */
    bool was_up;       /* has been connected before */
    bool renewed;      /* ended in good order and is made anew: no reconnect */
    uint16_t port;     /* this side's */
    uint32_t failures; /* since the last message was answered, for the back-off */
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

/* Hands its counts to the result, closes it and frees what it holds. */
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

/* A blocking connection to an address, with a local address from 127.0.0.2 on where source is not
 * 0. -1 with errno. */
int bench_connect(const struct endpoint *ep, uint32_t source);

#endif
