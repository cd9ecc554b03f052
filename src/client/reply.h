/* The reply block behind a final ACK (docs/protocol.md 1.5). */
#ifndef CLIENT_REPLY_H
#define CLIENT_REPLY_H

#include "client/handle.h"

enum reply_end {
    REPLY_READ, /* whole, both sums hold; it is the handle's now */
    REPLY_BAD,  /* lost, late, too large or damaged: the sentence is set */
    REPLY_LOCAL /* no memory, or transforms that reject it: the sentence is set */
};

MS_MUST_CHECK enum reply_end reply_read(struct msock *m);

#endif
