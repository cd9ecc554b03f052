/* A message on its way to the peer, described by the side that sends it. The protocol decides how
 * it travels; the bytes stay where they are. */
#ifndef PROTO_OUTGOING_H
#define PROTO_OUTGOING_H

#include "common/digest.h"

#include <stdbool.h>

struct outgoing {
    uint64_t size;       /* bytes of the body */
    const uint8_t *data; /* all of them; NULL: read gets them piece by piece */

    /* Reads n bytes at offset. unchanged tells, once all were read, whether they still are the
     * whole. Both return 0, or -1 with errno (EBUSY: the size has changed). Used where data is
     * NULL. */
    int (*read)(void *arg, void *buf, size_t n, uint64_t offset);
    int (*unchanged)(void *arg);
    void *arg;

    /* msp alone carries the rest. */
    char kind;         /* 'A', 'J' or 'F' */
    bool wants_reply;  /* a reply block is to follow the final ACK (1.5) */
    bool strict;       /* nothing is sent ahead, and the digest stands in the first packet */
    bool late;         /* nothing is sent ahead, and the digest goes with the trailer (1.8) */
    const char *value; /* the id, or the path of a file */
    size_t value_len;
    bool has_digest;            /* sha256 is known; set by the protocol where it had to read */
    uint8_t sha256[SHA256_LEN]; /* of the body */
    struct outgoing *next;      /* the protocol's */
};

#endif
