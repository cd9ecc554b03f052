/* Senders that work while something happens to the daemon: threads of raw peers that remember what
 * was acknowledged, and behave as docs/protocol.md 1.6 and 1.7 tell a client to. Over the other
 * protocols the same: a message that was not answered for is sent again on a new connection; where
 * none is ever answered for (struct way), a message counts as acknowledged once it has left. */
#ifndef SYSTEM_LOAD_H
#define SYSTEM_LOAD_H

#include "journal.h"
#include "ways.h"

#include <stdatomic.h>

#define LOAD_THREADS_MAX 32

/* An option for daemons that many senders share a small machine with: one that gets no processor
 * for a while in the middle of a message is not late. */
#define LOAD_PATIENCE "timeout=30s"

struct load_thread;

struct load {
    const struct way *way;
    struct target target;
    size_t body_max;           /* bodies are of 1 to so many bytes */
    _Atomic unsigned pause_ms; /* of a sender behind each message; 0: none */
    unsigned thread_count;
    struct load_thread *threads;
    _Atomic bool stop;
    _Atomic uint64_t acked;            /* messages with their final ACK, or what stands for it */
    _Atomic uint64_t connects;         /* connections made */
    _Atomic uint64_t refused_connects; /* connections that could not be made, tried again */
    _Atomic uint64_t repeated;         /* messages begun again after ERR or a lost connection */
    _Atomic uint64_t cut;      /* of these: lost after the server had answered a packet of it */
    _Atomic uint64_t rejected; /* REJ */
    _Atomic uint64_t errors;   /* ERR other than shutdown */
    _Atomic uint64_t spoiled;  /* receipts of another body than was sent; then sent again */
    _Atomic uint64_t broken;   /* answers outside the protocol, or none in time */
    char complaint[160];       /* the first of rejected, errors and broken */
    char lost[64];             /* whose connection ended last without the answer */
    struct load *next;
};

/* Starts the senders over msp. tag goes into every id, so that several loads of a test stay apart.
 * Teardown stops them and frees. */
struct load *
load_start(const struct target *target, const char *tag, unsigned threads, size_t body_max);

/* The same over another protocol. The ids stand at the beginning of the bodies. */
struct load *load_start_way(const struct way *way, const struct target *target, const char *tag,
                            unsigned threads, size_t body_max);

/* Lets every sender finish its message and waits for them. The struct stays until teardown. */
void load_stop(struct load *l);

/* Waits until that many messages more were acknowledged than at this call. */
void load_advance(struct load *l, uint64_t messages, unsigned timeout_ms);

/* Every acknowledged message is in the journal, with its body, no refused one is, and nothing that
 * a sender has not sent so. Ends the test otherwise. Returns how many entries were doubles of
 * another. */
uint64_t load_check_journal(const struct load *l, const struct journal *j);
uint64_t load_check_stored(const struct load *l, const char *data_dir);

/* Only this: every acknowledged message is in the journal, with its body. For a network that
 * changes bodies on their way, and protocols that cannot notice. */
void load_check_acked(const struct load *l, const struct journal *j);

void load_end_all(void);

#endif
