/* What the tests share that hold a worker to its ledger: a daemon with one worker, many peers, and
 * looks at its memory. */
#ifndef SYSTEM_LEDGER_CASE_H
#define SYSTEM_LEDGER_CASE_H

#include "daemon.h"

#define MIB            ((size_t)1 << 20)
#define LEDGER_MAX     (64 * MIB) /* worker_memory_max */
#define LEDGER_SLACK   (32 * MIB) /* what it may have beside that */
#define LEDGER_PEERS   2000
#define LEDGER_PATIENT 60000

extern struct peer ledger_peers[LEDGER_PEERS];
extern char ledger_gate[HARNESS_PATH_LEN]; /* a file: the gate is open when it is there */

/* A daemon with one worker. The first listener is a Unix socket, whose queues are short; the second
 * one, for ledger_expect_good, is msp's unless the options say so. */
struct daemon *ledger_begin(struct daemon_options *options, const char *proto, const char *more);

/* By proc_memory or proc_memory_peak; 0 under the sanitizers, which keep what was freed. */
uint64_t ledger_memory(const struct daemon *d, uint64_t (*by)(pid_t));

/* Ends the test where the worker has more memory than it may. Always true. */
bool ledger_look(const struct daemon *d);

/* The first so many of ledger_peers, to the first listener. */
void ledger_connect(const struct daemon *d, unsigned count);
void ledger_close(unsigned count);

/* Writes all of it, looking at the worker with each MiB. */
void ledger_write_all(const struct daemon *d, struct peer *p, const void *data, size_t n);

/* Writes as much of what is left of n bytes, which repeat, as the worker takes. Returns how much is
 * left. */
size_t ledger_write_some(struct peer *p, const char *data, size_t n, size_t left);

/* A frame of n bytes, which the caller frees. */
char *ledger_frame(size_t n);

/* Somebody who behaves gets what he wants, on the second listener. */
void ledger_expect_good(const struct daemon *d);

/* The first so many senders send their messages of n bytes, of which left[i] bytes are left, until
 * nothing more is taken for a while. */
void ledger_send_until_calm(const struct daemon *d, unsigned senders, const char *message, size_t n,
                            size_t *left, struct waiting *w);

/* As ledger_begin, for a listener whose child reads nothing until the gate is open, and answers
 * each message with so many bytes. */
struct daemon *
ledger_begin_behind_gate(struct daemon_options *options, const char *more, unsigned reply);
void ledger_open_gate(struct daemon *d);

#endif
