/* What a load is, and what it came to. Shared by the parts of `msock bench`. */
#ifndef MSOCK_BENCH_H
#define MSOCK_BENCH_H

#include "histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_CONNECTIONS_MAX 1000000u
#define BENCH_AHEAD_MAX       4096u
#define BENCH_SOURCES_MAX     60000u
#define BENCH_SIZE_MAX        ((uint64_t)16 << 30)

enum bench_kind { BENCH_PLAIN, BENCH_JSON, BENCH_FILE };

/* How frames are told apart (docs/protocol.md 4). */
enum bench_framing { FRAMING_LENGTH32, FRAMING_FIXED, FRAMING_DELIMITER, FRAMING_EOF };

#define BENCH_DELIMITER_MAX 8u

struct bench_protocol;

struct bench_options {
    const char *url;
    const struct bench_protocol *protocol;
    enum bench_framing framing;
    uint8_t delimiter[BENCH_DELIMITER_MAX];
    uint8_t delimiter_len;
    enum bench_kind kind;
    uint32_t connections;
    uint32_t
        ahead; /* messages in flight on a connection; msp, 0: wait for every answer; cnp: packets */
    uint32_t bind_from;         /* local addresses from 127.0.0.2 on; 0: leave it to the kernel */
    bool ahead_said, size_said; /* on the command line */
    uint64_t size;              /* bytes of a message */
    uint64_t messages;          /* in all; 0: for `seconds` */
    double seconds;
    double warmup_s;
    double timeout_s; /* longest silence before a connection counts as lost */
    bool ids;
    bool want_reply;
    bool late_digest;
    bool retry;
    bool raw;
    bool idle; /* one message a connection */
    bool hold; /* keep the connections open until standard input ends */
    bool json;
    bool per_connection;
};

/* What one connection, or all of them, saw: answers of msp as received, or what the protocol has in
 * their place; bytes as this side counts them. */
struct bench_counts {
    uint64_t acks, nack1, nack2, rej, err;
    uint64_t messages; /* that count: committed, answered or sent, see bench_counted */
    uint64_t bytes_in, bytes_out;
};

struct bench_connection {
    uint16_t port; /* of this side; 0 for a Unix socket */
    struct bench_counts counts;
};

struct bench_result {
    /* Of the time that is measured. */
    uint64_t messages;
    double seconds;
    double cpu; /* share of one core that the generator itself took */
    struct histogram latency_ns;
    /* Of the whole run, warm-up and drain included. */
    struct bench_counts total;
    uint64_t shutdowns; /* of total.err: ERR shutdown, which a reload explains */
    uint64_t lost; /* connections lost for good, or (bench_only_sends) with what was sent on them */
    uint64_t connect_failures; /* attempts, not connections */
    uint64_t bad_answers;      /* bytes that are no answer, or one out of place */
    uint64_t bad_replies; /* msp: whose sums do not hold (1.5); else: that are not the message */
    uint64_t unanswered;  /* messages begun that got no final answer */
    uint64_t retried;     /* messages begun again on a new connection (1.6, 1.7) */
    uint64_t reconnects;
    uint64_t connected; /* connections made, reconnects included */
    int connect_error;  /* errno of the last failure to connect */
    bool interrupted;
    struct bench_connection *connection; /* with per_connection: one a connection ever made */
    size_t connection_count;
};

/* A message counts when it was sent, and the server says nothing at all about it. (With eof it
 * closes.) */
bool bench_only_sends(const struct bench_options *options);

/* What is true of a message that counts: "committed", "answered", "sent". */
const char *bench_counted(const struct bench_options *options);

/* Prints the result on standard output as the options say. */
void bench_report(const struct bench_options *options, const struct bench_result *result);

/* What a script is told at the end: EX_OK, EX_DATAERR, EX_UNAVAILABLE, EX_TEMPFAIL. */
int bench_status(const struct bench_result *result);

#endif
