/* A message as the bytes that a child reads: in a pool its length and its body, else the body
 * alone. Wherever the body is, at most one chunk of it is in memory for this. */
#ifndef HANDLER_EXEC_EXEC_FEED_H
#define HANDLER_EXEC_EXEC_FEED_H

#include "proto/message.h"

#include <stdbool.h>

#define EXEC_FEED_HEAD 4

struct exec_feed {
    const struct message *m; /* NULL: nothing */
    uint8_t head[EXEC_FEED_HEAD];
    size_t head_len; /* 0 where no length is sent */
    uint64_t at;     /* bytes taken so far, those of the head included */
};

/* framed: with a length in front, and then the body is at most UINT32_MAX bytes. The message stays
 * the caller's. */
void exec_feed_init(struct exec_feed *feed, const struct message *m, bool framed);

bool exec_feed_done(const struct exec_feed *feed);

/* The next bytes, more than none unless it is done: in the message or in chunk, valid until the
 * next call. Returns how many, or -1 with errno where the body cannot be read. Takes nothing. */
ssize_t
exec_feed_next(const struct exec_feed *feed, char *chunk, size_t chunk_size, const char **data_out);

/* n of these bytes are taken. */
void exec_feed_take(struct exec_feed *feed, size_t n);

#endif
