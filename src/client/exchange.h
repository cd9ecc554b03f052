/* One question and its answer: a packet goes out, an answer line comes back, and while the socket
 * is busy the caller's own work gets done. */
#ifndef CLIENT_EXCHANGE_H
#define CLIENT_EXCHANGE_H

#include "client/transport.h"
#include "proto/msp/msp_wire.h"

enum exchange_end {
    EXCHANGE_ANSWER,    /* a whole answer line */
    EXCHANGE_MALFORMED, /* something that is no answer */
    EXCHANGE_LOST,      /* the connection has ended; transport.error says how */
    EXCHANGE_TIMEOUT,   /* no progress within timeout_ms */
};

struct exchange {
    struct transport *transport;
    struct iovec *iov;       /* what to send; moves on */
    int iov_count;           /* not 0 afterwards: the answer came before everything was sent */
    unsigned timeout_ms;     /* for each step of sending, and for the answer once all is sent */
    bool (*work)(void *arg); /* a bite of work (at most about a millisecond); false: none left */
    void *arg;
};

/* Sends and waits for the next answer line. Bytes on their way count as progress also when the
 * kernel has already taken them from us. */
MS_MUST_CHECK enum exchange_end exchange_run(struct exchange *x, struct msp_answer *answer_out);

#endif
