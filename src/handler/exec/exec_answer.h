/* What a child says on its standard output about one message. In a pool that is a length and so
 * many bytes, with the highest bit of the length for a refusal; else it is all that comes until it
 * ends. */
#ifndef HANDLER_EXEC_EXEC_ANSWER_H
#define HANDLER_EXEC_EXEC_ANSWER_H

#include "common/buffer.h"

#include <stdbool.h>

#define EXEC_ANSWER_REFUSED     UINT32_C(0x80000000)
#define EXEC_ANSWER_REFUSAL_MAX (64u << 10)

enum exec_answer_is {
    EXEC_ANSWER_MORE,  /* bytes are missing */
    EXEC_ANSWER_WHOLE, /* and the bytes behind it are not consumed */
    EXEC_ANSWER_BAD,   /* longer than allowed */
};

struct exec_answer {
    struct buffer bytes; /* of a reply only where it is wanted; of a refusal always */
    uint64_t len;        /* bytes so far, kept or not */
    uint8_t head[4];
    uint8_t head_len;
    bool wanted;
    bool framed;
    bool refused;
    uint32_t body_len; /* of a framed one; set once its head is there */
};

/* bytes must be initialised; what is in it is dropped. */
void exec_answer_init(struct exec_answer *answer, bool framed, bool wanted);
void exec_answer_fini(struct exec_answer *answer);

/* Not to be called again once it is whole or bad. One that is not framed is never whole by
 * itself. */
enum exec_answer_is
exec_answer_feed(struct exec_answer *answer, const void *data, size_t n, size_t *consumed_out);

#endif
