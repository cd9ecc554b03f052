/* A timing wheel for very many deadlines that are nearly always pushed back before they come. A
 * timer is only ever moved when it fires or when its deadline comes nearer; pushing one back costs
 * nothing: the owner finds, when it fires early, that it has time left, and sets it again.
 * Invariant: a timer that is set fires at or after its deadline, at most one tick late, or
 * early. */
#ifndef WORKER_TIMER_H
#define WORKER_TIMER_H

#include "common/base.h"

#include <stdbool.h>

#define TIMER_TICK_US 10000
#define TIMER_SLOTS   4096 /* about 41 s; a later deadline fires early, then again */

struct timer {
    struct timer *next, **link; /* link: what points here; NULL while not set */
    uint64_t tick;              /* when it fires */
};

struct timer_wheel {
    uint64_t tick;                   /* all before it have fired */
    uint64_t used[TIMER_SLOTS / 64]; /* a bit for each slot that is not empty */
    struct timer *slots[TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_us);

/* Fires at deadline_us, unless it is set to fire before that already. */
void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_us);
void timer_cancel(struct timer_wheel *wheel, struct timer *timer);

/* Takes one timer that is due off the wheel; NULL: no more. */
struct timer *timer_due(struct timer_wheel *wheel, uint64_t now_us);

/* Milliseconds until the next one may be due, at most max_ms. For epoll_wait. */
int timer_wait_ms(const struct timer_wheel *wheel, uint64_t now_us, int max_ms);

#endif
