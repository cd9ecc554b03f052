/* Waiting for a condition with a deadline: looks again and again, never sleeps a fixed time. */
#ifndef SUPPORT_WAIT_H
#define SUPPORT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

/* Everything is slower under the sanitizers and valgrind; deadlines and volumes are scaled by
 * this. */
#if defined(MS_VALGRIND)
#define WAIT_SCALE 10
#elif defined(MS_SANITIZE)
#define WAIT_SCALE 4
#else
#define WAIT_SCALE 1
#endif

/* A deadline of WAIT_FOR is what a machine with nothing else to do may need. Where others have the
 * processor or the disk for seconds, it is this much longer: who waits loses nothing by it. */
#define WAIT_PATIENCE 4

struct waiting {
    uint64_t deadline_us, looked_us;
    uint64_t nap_us;
    bool over;
};

uint64_t now_us(void);

struct waiting waiting_begin(unsigned ms);

/* Lets a moment pass. False once the deadline is over, after one last look at the condition. */
bool waiting_more(struct waiting *w);

/* Ends the test where cond does not become true within ms milliseconds (times WAIT_PATIENCE and
 * WAIT_SCALE). Main thread only. */
#define WAIT_FOR(cond, ms)                                                                       \
    do {                                                                                         \
        struct waiting waiting_ = waiting_begin(WAIT_PATIENCE * (ms));                           \
        while (!(cond))                                                                          \
            if (!waiting_more(&waiting_))                                                        \
                fail_msg("%s:%d: not within %u ms: %s", __FILE__, __LINE__, WAIT_PATIENCE *(ms), \
                         #cond);                                                                 \
    } while (0)

#endif
