/* How long to wait before a worker that died is replaced. Pure: the time is an argument.
 *
 * The first replacement comes at once; one that keeps dying waits 10 ms, 20 ms, ... up to 10 s. A
 * worker that lived for BACKOFF_STABLE_US has earned a clean record. */
#ifndef MASTER_BACKOFF_H
#define MASTER_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_US  10000u
#define BACKOFF_MAX_US    10000000u
#define BACKOFF_STABLE_US 10000000u

struct backoff {
    uint64_t next_us; /* the delay of the next death in a row; 0: at once */
};

/* A worker that began at started_us died at now_us (same clock). Returns the delay in microseconds
 * until its replacement may be forked. */
uint64_t backoff_died(struct backoff *b, uint64_t started_us, uint64_t now_us);

#endif
