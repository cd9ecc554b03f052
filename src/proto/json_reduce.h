/* A document without what cannot make it invalid: jansson spends its time on each byte of a string
 * and each digit, so it is given a shorter document that is JSON only if the whole one is. */
#ifndef PROTO_JSON_REDUCE_H
#define PROTO_JSON_REDUCE_H

#include <stddef.h>

/* Writes at most n bytes to out and returns how many. In the reduced document every string value of
 * printable ASCII without escapes is empty, every integer is 0, and runs of blanks are one blank; all
 * else is as it was: keys, escapes, other characters, reals, and whatever is no JSON. So it has the
 * same nesting, the same keys and the same faults. */
size_t json_reduce(const char *text, size_t n, char *out);

#endif
