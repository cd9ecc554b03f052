/* One attempt to send one message over one connection, and what was said on it. Connecting and
 * trying again is deliver.h. */
#ifndef CLIENT_ATTEMPT_H
#define CLIENT_ATTEMPT_H

#include "client/handle.h"

enum attempt_end {
    ATTEMPT_TAKEN,   /* committed, or sent where the protocol has no answer for it */
    ATTEMPT_REFUSED, /* by the server; nothing of it is kept */
    ATTEMPT_LOST,    /* the connection, its sense or our patience; the message may be begun again */
    ATTEMPT_NACKED,  /* what was sent ahead was damaged: again, without sending ahead (1.6) */
    ATTEMPT_LOCAL,   /* this side failed */
    ATTEMPT_CANCELLED,  /* by the progress callback */
    ATTEMPT_UNFIT,      /* the protocol cannot carry this message */
    ATTEMPT_UNANSWERED, /* taken, but the reply that was wanted did not come */
};

/* Connects, and begins the protocol, without trying again. Returns 0, or -1 with the sentence
 * set. */
MS_MUST_CHECK int attempt_connect(struct msock *m);

/* Reads what the server has said meanwhile; afterwards a connection that has ended is closed. */
void attempt_check(struct msock *m);

/* The handle must be connected. Sets *in_doubt where the last byte of the message has left. The
 * sentence is set where the message was not taken. */
MS_MUST_CHECK enum attempt_end attempt_run(struct msock *m, struct outgoing *out, bool *in_doubt);

/* Adds what the protocol has counted. */
void attempt_count(struct msock *m);

/* Sets the sentence that says how the connection has ended. */
void attempt_say_end(struct msock *m);

#endif
