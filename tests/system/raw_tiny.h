/* tinyproto (docs/protocol.md 2) on a bare socket. */
#ifndef SYSTEM_RAW_TINY_H
#define SYSTEM_RAW_TINY_H

#include "raw.h"

#define RAW_TINY_ERROR    0x00
#define RAW_TINY_CONFLICT 0xfd
#define RAW_TINY_CONLIMIT 0xfe
#define RAW_TINY_OK       0xff

extern const struct raw_kind raw_tiny;

/* Says SIZE. */
int raw_tiny_ask(struct raw *r, uint32_t size);

/* Waits for the OK to our SIZE. A SIZE of the server that comes before it is held, to be answered
 * by the next receive. */
int raw_tiny_await_ok(struct raw *r);

/* The next byte, or -1. */
int raw_tiny_byte(struct raw *r);

/* The rest of a SIZE of the server whose first byte has come. */
int raw_tiny_size(struct raw *r, int first, uint32_t *size_out);

/* Says OK to it and reads the payload. Caller frees; NULL: it did not come whole. */
char *raw_tiny_payload(struct raw *r, uint32_t size);

#endif
