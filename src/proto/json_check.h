/* Is this JSON, as docs/protocol.md 1.3 wants it? What is, is recognised. Of what is not jansson
 * says why; what it cannot represent but RFC 8259 allows (integers of any size, NUL in keys) is
 * taken out of its way first. A document with so many values that it would cost jansson over 100 MB
 * it never sees. */
#ifndef PROTO_JSON_CHECK_H
#define PROTO_JSON_CHECK_H

#include "common/base.h"

#include <stdbool.h>

#define JSON_ERROR_LEN       200
#define JSON_DEPTH_MAX_LIMIT 2000 /* jansson itself stops at 2048 */

/* Any value at the top, no duplicate keys, nesting at most max_depth, UTF-8. Returns true, or false
 * with "line L column C: reason" in error, which may hold bytes of the document as they are,
 * control bytes too: whoever shows it escapes it. Nothing of the document is kept. */
bool json_check(const char *text, size_t n, unsigned max_depth, char error[JSON_ERROR_LEN]);

/* Seeds jansson's hash tables from getrandom(2). Once in each process, after the fork. */
void json_seed(void);

#endif
