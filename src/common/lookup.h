/* Looks a host name up in a thread of its own, so that nobody has to wait longer than he wants: the
 * thread is left behind then, with all signals blocked, and ends by itself. */
#ifndef COMMON_LOOKUP_H
#define COMMON_LOOKUP_H

#include "common/url.h"

#include <netdb.h>

#define LOOKUPS_LATE_MAX 16 /* threads of one process that nobody waits for: more are not begun */

struct lookup;

/* getaddrinfo for a stream at a numeric port. Blocks, unless flags has AI_NUMERICHOST. */
int lookup_ask(const char *host, const char *port, int flags, struct addrinfo **found_out);

/* Begins to look up a host, for that port; the name need not stay. NULL with errno. */
MS_MUST_CHECK struct lookup *lookup_start(const char *host, uint16_t port);

/* A descriptor that can be read (poll(2)) once the answer is there. */
int lookup_fd(const struct lookup *l);

/* The answer, once it is there: what getaddrinfo returned, with errno, and its list (NULL where it
 * failed), which goes with lookup_leave. */
const struct addrinfo *lookup_answer(const struct lookup *l, int *rc_out, int *error_out);

/* Nobody waits for it any more: until it has ended it counts as late. */
void lookup_give_up(struct lookup *l);

/* Is an earlier one (or NULL) still of use? It is under way, or has just ended with addresses. */
bool lookup_is_useful(struct lookup *l);

/* Lets go of it, whether it has ended or not. NULL is fine. */
void lookup_leave(struct lookup *l);

/* How many lookups of this process are late. */
unsigned lookup_late_count(void);

#endif
