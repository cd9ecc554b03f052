/* Recognises JSON documents many times faster, and in far less memory, than a parser that builds
 * them can. */
#ifndef PROTO_JSON_PLAIN_H
#define PROTO_JSON_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

struct json_stop {
    size_t offset;   /* of the token that is wrong; n where one is missing */
    const char *why; /* a constant */
};

/* True for a document of RFC 8259 in UTF-8 whose objects have no key twice, whose numbers with a
 * fraction or an exponent fit a double, and which nests at most max_depth (which may be
 * JSON_DEPTH_MAX_LIMIT: it recurses). Else stop says where and why not, roughly. Needs memory only
 * for the keys of the objects that are open: 16 bytes each, twice while they are compared, and once
 * the size of the document where keys have escapes. */
bool json_is_plain(const char *text, size_t n, unsigned max_depth, struct json_stop *stop);

#endif
