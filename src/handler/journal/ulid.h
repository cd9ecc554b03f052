/* ULIDs: 48 bits of milliseconds and 80 random bits as 26 characters that sort like the time. A
 * generator never gives the same or a smaller one again, also where the clock is set back. */
#ifndef HANDLER_JOURNAL_ULID_H
#define HANDLER_JOURNAL_ULID_H

#include "common/base.h"

#include <sys/types.h>

#define ULID_LEN 26 /* without NUL */

/* One thread uses it at a time. */
struct ulid_source {
    uint64_t ms;              /* of the last one */
    uint16_t high;            /* the random bits of the last one: 16 */
    uint64_t low;             /* and 64 */
    char text[ULID_LEN];      /* the last one; its first ten characters are those of ms */
    unsigned char pool[1000]; /* random bytes, fetched many at a time */
    size_t pool_left;
    /* Fills n random bytes; NULL: getrandom(2). Tests set another. */
    void (*random)(void *out, size_t n);
};

void ulid_init(struct ulid_source *source);

/* The next one for the time real_us (microseconds since 1970), or just above the last one where
 * that is of the same millisecond or later. Writes ULID_LEN characters and no NUL. */
void ulid_next(struct ulid_source *source, uint64_t real_us, char out[ULID_LEN]);

#endif
