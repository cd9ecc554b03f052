/* The layout of a worker's flight recorder: its last events, whose bytes it is looking at, and what
 * it has noted where it crashed. The worker alone writes it, with plain stores. The master copies
 * it, unread, when the worker has died. */
#ifndef STATS_STATS_RECORDER_H
#define STATS_STATS_RECORDER_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#define STATS_EVENTS 256
#define STATS_FRAMES 32 /* of a backtrace */

/* X(name, what its value is): the name is the one that is shown. A code is a word like "busy". */
#define STATS_EVENT_LIST(X)                                               \
    X(accepted, "")                                                       \
    X(adopted, "")                                                        \
    X(turned_away, "code: why the connection was not served")             \
    X(state, "enum stats_conn_state")                                     \
    X(committed, "messages in this commit of a handler")                  \
    X(refused, "code: the handler refused a message")                     \
    X(failed, "code: a message could not be handled")                     \
    X(answered, "packets or messages answered with the code, not an ACK") \
    X(penalty, "enum stats_blame: why the source is turned away")         \
    X(moved, "")                                                          \
    X(closed, "")                                                         \
    X(draining, "")

enum stats_event_kind {
    STATS_EVENT_NONE = 0,
#define X(name, value) STATS_EVENT_##name,
    STATS_EVENT_LIST(X)
#undef X
        STATS_EVENT_END
};

/* One cache line. The connection is described as in its slot; 0 where there is none. */
struct stats_event {
    _Atomic uint64_t number; /* from 1 on in the worker's life; 0 while the event is written */
    uint64_t time_us;        /* monotonic */
    uint64_t conn;           /* id of the connection */
    uint32_t value;
    uint16_t listener;
    uint8_t kind; /* enum stats_event_kind */
    uint8_t family;
    uint8_t address[16];
    uint16_t port;
    char code[14]; /* not ended where it is full; may come from a module */
};
static_assert(sizeof(struct stats_event) == 64, "an event is a cache line");

/* One function of a backtrace, innermost first. Names may lack their NUL. */
struct stats_frame {
    uint64_t at;     /* in the file of the module, as addr2line wants it */
    uint64_t offset; /* in the function */
    char function[64];
    char module[32]; /* name of that file */
};

#define STATS_NO_ADDRESS UINT64_MAX /* none is known */

/* Written by the signal handler of a worker. */
struct stats_crash_note {
    _Atomic uint32_t signal;      /* 0: it has not crashed */
    _Atomic uint32_t frame_count; /* frames that are whole */
    uint64_t address;             /* the one that could not be used, or STATS_NO_ADDRESS */
    struct stats_frame frames[STATS_FRAMES];
};

#define STATS_READING 2 /* the loop, and the thread beside it */

struct stats_recorder {
    struct stats_event events[STATS_EVENTS]; /* event n stands at (n - 1) % STATS_EVENTS */
    _Atomic uint32_t reading[STATS_READING]; /* whose bytes are looked at: slot + 1; 0: nobody's */
    struct stats_crash_note note;
    uint8_t pad[488];
};
static_assert(sizeof(struct stats_recorder) == 5 * 4096, "whole pages");

#endif
