/* Programs with libmsock that know several servers by one URL, and remember what was acknowledged:
 * threads that send until they are told to stop. The name of a message is its id, or its path, and
 * its body begins with it. */
#ifndef SYSTEM_SENDERS_H
#define SYSTEM_SENDERS_H

#include "harness.h"
#include "journal.h"
#include "msock.h"

#include <pthread.h>

#define SENDER_SENT_MAX 20000
#define SENDER_BODY_MAX 200000

enum sender_way {
    SENDER_STRICT, /* one message after the other */
    SENDER_AHEAD,  /* bursts */
    SENDER_FILES,
    SENDER_CNP, /* which may give a message up that is in doubt */
};

struct sender {
    /* The test's. */
    enum sender_way way;
    unsigned retries; /* of a message; 0: the library's default */
    size_t large;     /* bytes of every 25th message */
    unsigned pace_ms; /* a pause behind each message, or behind a burst of 16; 0: none */
    /* Was an acknowledged message lost by others than msockd? NULL: none ever is. */
    bool (*was_lost)(const char *name);

    unsigned index;
    char url[200];
    msock *m;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t acked;
    uint64_t sent;
    bool is_acked[SENDER_SENT_MAX];
    char complaint[600]; /* what it could not send */
    char body[SENDER_BODY_MAX + 1];
};

void sender_start(struct sender *s, unsigned index, const char *url);

/* Messages that were acknowledged. Ends the test where a sender complains. */
uint64_t senders_acked(const struct sender *senders, size_t count);

/* Waits until each sender has got so many more messages acknowledged. */
void senders_advance(const struct sender *senders, size_t count, unsigned messages);

/* Lets each finish what it has begun, and waits for them. Ends the test where one complains. */
void senders_stop(struct sender *senders, size_t count);

/* Each acknowledged message is in one of the journals, as it was sent, and nothing that was not
 * sent. Ends the test otherwise. Returns how many entries were doubles of another. */
size_t senders_check(struct sender *senders, size_t count, const struct journal *journals,
                     size_t journal_count);

#endif
