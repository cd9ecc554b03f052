/* The timing wheel: a list of timers for each tick. Invariant: a bit of used is set where its
 * slot has a timer, and only there. */
#include "worker/worker_state.h"

static unsigned
timer_slot(uint64_t tick)
{
    return (unsigned)(tick % TIMER_SLOTS);
}

void
timer_wheel_init(struct timer_wheel *wheel, uint64_t now_us)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->tick = now_us / TIMER_TICK_US;
}

void
timer_cancel(struct timer_wheel *wheel, struct timer *timer)
{
    unsigned slot = timer_slot(timer->tick);

    if (timer->link == NULL)
        return;
    *timer->link = timer->next;
    if (timer->next != NULL)
        timer->next->link = timer->link;
    timer->link = NULL;
    if (wheel->slots[slot] == NULL)
        wheel->used[slot / 64] &= ~(1ull << (slot % 64));
}

void
timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_us)
{
    uint64_t tick = deadline_us / TIMER_TICK_US + 1;
    unsigned slot;

    if (tick > wheel->tick + TIMER_SLOTS - 1)
        tick = wheel->tick + TIMER_SLOTS - 1;
    if (tick < wheel->tick)
        tick = wheel->tick;
    if (timer->link != NULL && timer->tick <= tick)
        return;
    timer_cancel(wheel, timer);
    slot = timer_slot(tick);
    timer->tick = tick;
    timer->next = wheel->slots[slot];
    timer->link = &wheel->slots[slot];
    if (timer->next != NULL)
        timer->next->link = &timer->next;
    wheel->slots[slot] = timer;
    wheel->used[slot / 64] |= 1ull << (slot % 64);
}

/* Ticks from wheel->tick to the first slot in use; TIMER_SLOTS where all are empty. */
static unsigned
timer_next_slot(const struct timer_wheel *wheel)
{
    unsigned start = timer_slot(wheel->tick);
    unsigned word = start / 64;
    uint64_t bits = wheel->used[word] & (~0ull << (start % 64));

    for (unsigned i = 0; i <= TIMER_SLOTS / 64; i++) {
        if (bits != 0) {
            unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);

            return (slot - start) % TIMER_SLOTS;
        }
        word = (word + 1) % (TIMER_SLOTS / 64);
        bits = wheel->used[word];
    }
    return TIMER_SLOTS;
}

struct timer *
timer_due(struct timer_wheel *wheel, uint64_t now_us)
{
    uint64_t now = now_us / TIMER_TICK_US;
    unsigned ahead = timer_next_slot(wheel);
    struct timer *timer;

    if (ahead == TIMER_SLOTS || wheel->tick + ahead > now) {
        if (wheel->tick < now)
            wheel->tick = now;
        return NULL;
    }
    wheel->tick += ahead;
    timer = wheel->slots[timer_slot(wheel->tick)];
    timer_cancel(wheel, timer);
    return timer;
}

int
timer_wait_ms(const struct timer_wheel *wheel, uint64_t now_us, int max_ms)
{
    unsigned ahead = timer_next_slot(wheel);
    uint64_t at = (wheel->tick + ahead) * TIMER_TICK_US;
    uint64_t ms;

    if (ahead == TIMER_SLOTS)
        return max_ms;
    ms = at > now_us ? (at - now_us + 999) / 1000 : 0;
    return ms < (uint64_t)max_ms ? (int)ms : max_ms;
}
