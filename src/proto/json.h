/* JSON documents as docs/protocol.md 1.3 wants them: parsed once, by jansson, and handed on with
 * the message. Before that one pass over the bytes bounds what the tree can cost. */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "common/base.h"
#include "proto/limits.h"
#include "proto/message.h"

#include <jansson.h>

#define JSON_ERROR_LEN       256
#define JSON_DEPTH_MAX_LIMIT 2000 /* jansson itself stops at 2048 */

/* Any value at the top, no duplicate keys, UTF-8, within max_json_size, max_json_depth and
 * max_json_values. Integers that do not fit into 64 bits become reals. Returns the value, the
 * caller's (json_decref), or NULL with "line L column C: reason" in error, which may hold bytes of
 * the document as they are, control bytes too: whoever shows it escapes it. */
json_t *json_parse(const char *text, size_t n, const struct proto_limits *limits,
                   char error[JSON_ERROR_LEN]);

enum json_verdict {
    JSON_GOOD,
    JSON_BAD,        /* error says where and why */
    JSON_UNREADABLE, /* our side: the body cannot be read back */
};

/* Parses the body of a message. It gets the value (message->json) where that is wanted. May be
 * called in any thread, as long as nobody else uses the message. */
enum json_verdict json_parse_message(struct message *m, const struct proto_limits *limits,
                                     bool wanted, char error[JSON_ERROR_LEN]);

/* Seeds jansson's hash tables from getrandom(2). Once in each process, after the fork. */
void json_seed(void);

#endif
