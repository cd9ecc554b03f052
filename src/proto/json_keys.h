/* The keys of all objects that are open while a document is read, the innermost object's last; and
 * are they different? */
#ifndef PROTO_JSON_KEYS_H
#define PROTO_JSON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_KEYS_FIRST 64 /* so many need no heap */

struct json_key {
    const char *at; /* UTF-8 without escapes: in the document, or in decoded */
    uint32_t len;
    uint32_t hash; /* only of many keys */
};

struct json_keys {
    struct json_key *at; /* owned, or first */
    size_t n, cap;
    char *decoded; /* owned; keys that had escapes. It never moves */
    size_t decoded_len;
    struct json_key first[JSON_KEYS_FIRST];
};

void json_keys_init(struct json_keys *keys);
void json_keys_fini(struct json_keys *keys);

/* A key of len bytes at text, which stays; its escapes, if any, were found to be valid.
 * document_size is what all keys of the document have together, at most. */
void json_keys_add(struct json_keys *keys, const char *text, size_t len, bool escaped,
                   size_t document_size);

/* False where two of the keys from index first on are the same. Changes their order. */
bool json_keys_differ(struct json_keys *keys, size_t first);

/* The value of the four hexadecimal digits at s, or -1. */
int json_hex4(const char *s);

#endif
