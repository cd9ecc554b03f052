/* The layout of what is known of the sources of connections: a row for each, one cache line, in
 * sets of a fixed size where a keyed hash of the source says. A worker has a table of its own, and
 * so has the master, in control. What holds for a source is the sum over the master and the workers
 * that live. */
#ifndef STATS_STATS_SOURCES_H
#define STATS_STATS_SOURCES_H

#include "common/source.h"

#include <assert.h>
#include <stdatomic.h>

#define STATS_SOURCE_WAYS        16
#define STATS_SOURCE_SETS        2048 /* of a worker */
#define STATS_SOURCE_MASTER_SETS 64   /* of the master */

/* The trouble that a source can make: X(name, words, milliseconds that it weighs). It fades at the
 * speed of time, and from SOURCES_BITES_MS on (sources.h) its source is turned away. */
#define STATS_BLAME_LIST(X)                        \
    X(header, "bad headers", 5000)                 \
    X(unknown, "no protocol that is known", 5000)  \
    X(http, "HTTP requests", 5000)                 \
    X(late, "too slow to send, or to read", 2000)  \
    X(handshake, "TLS handshakes that fail", 1000) \
    X(cut, "messages without an end", 1000)        \
    X(damaged, "damaged packets", 500)             \
    X(crash, "a worker that crashed", 0)

enum stats_blame {
    STATS_BLAME_NONE = 0,
#define X(name, words, weight_ms) STATS_BLAME_##name,
    STATS_BLAME_LIST(X)
#undef X
        STATS_BLAME_END
};

/* "bad headers"; "" of none, and of a number that is none. Static. */
const char *stats_blame_words(unsigned blame);

/* One writer, the worker or the master. Seconds are monotonic. */
struct stats_source {
    _Atomic uint64_t address;    /* the first 8 bytes of struct source: an IPv6 network /64 */
    _Atomic uint8_t kind;        /* enum source_kind; SOURCE_NONE: the row is free */
    _Atomic uint8_t reason;      /* enum stats_blame of the last penalty */
    _Atomic uint8_t times;       /* penalties in a row */
    _Atomic uint8_t crashes;     /* of these, for crashes: the master's */
    _Atomic uint32_t open;       /* connections now */
    _Atomic uint64_t unfinished; /* bytes on disk, or to come there, of bodies under way */
    _Atomic uint64_t bytes;      /* received */
    _Atomic uint64_t trouble_us; /* when its trouble has faded, monotonic */
    _Atomic uint32_t penalty_s;  /* it is turned away until then; 0: never was */
    _Atomic uint32_t seen_s;     /* when the row last changed */
    _Atomic uint32_t second;     /* when its last message came, */
    _Atomic uint32_t messages;   /* messages in that second */
    _Atomic uint32_t before;     /* and in the second before that one */
    uint32_t pad;
};
static_assert(sizeof(struct stats_source) == 64, "a cache line");

struct stats_source_set {
    struct stats_source way[STATS_SOURCE_WAYS];
};

#endif
