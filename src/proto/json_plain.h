/* Recognises plain JSON documents, which are nearly all there are, many times faster than a parser
 * that builds them can: what is plain is JSON. What is not plain may be JSON all the same; jansson
 * judges it, and says what is wrong. */
#ifndef PROTO_JSON_PLAIN_H
#define PROTO_JSON_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_PLAIN_KEYS  64 /* members of one object */
#define JSON_PLAIN_DEPTH 32

/* True for a document of RFC 8259 in UTF-8 whose objects have no key twice, as far as that is plain to
 * see: at most JSON_PLAIN_KEYS members in an object, keys without escapes, no \u in strings, numbers
 * that surely fit a double, nesting at most JSON_PLAIN_DEPTH and max_depth. */
bool json_is_plain(const char *text, size_t n, unsigned max_depth);

#endif
