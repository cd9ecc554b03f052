/* Few keys are compared with each other, many are sorted: unlike a hash table, that needs no secret
 * to be safe from keys that were chosen to collide. */
#include "proto/json_keys.h"

#include "common/base.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_FEW  16
#define KEYS_TRIM 65536

void
json_keys_init(struct json_keys *keys)
{
    keys->at = keys->first;
    keys->n = 0;
    keys->cap = JSON_KEYS_FIRST;
    keys->decoded = NULL;
    keys->decoded_len = 0;
}

void
json_keys_fini(struct json_keys *keys)
{
    if (keys->at != keys->first)
        free(keys->at);
    free(keys->decoded);
    if (keys->cap > KEYS_TRIM)
        malloc_trim(0);
}

/* --- escapes --- */

static int
json_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
json_hex4(const char *s)
{
    int value = 0;

    for (int i = 0; i < 4; i++) {
        int digit = json_hex(s[i]);

        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static char *
put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
    }
    *out++ = (char)(0x80 | (c & 63));
    return out;
}

/* The escape at *p, which is moved behind it. */
static char *
put_escape(char *out, const char **p)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *letter, *s = *p;
    unsigned c;

    if (s[1] != 'u') {
        letter = strchr(letters, s[1]);
        *out++ = letter != NULL ? meant[letter - letters] : s[1];
        *p = s + 2;
        return out;
    }
    c = (unsigned)json_hex4(s + 2);
    *p = s + 6;
    if (c >= 0xd800 && c <= 0xdbff) {
        c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)json_hex4(s + 8) - 0xdc00);
        *p = s + 12;
    }
    return put_utf8(out, c);
}

/* No escape is shorter than what it means, so the size of the document is enough for all. */
static void
json_keys_decode(struct json_keys *keys, struct json_key *key, size_t document_size)
{
    const char *p = key->at, *end = p + key->len;
    char *begin, *out;

    if (keys->decoded == NULL)
        keys->decoded = ms_malloc(document_size);
    begin = out = keys->decoded + keys->decoded_len;
    while (p < end) {
        if (*p == '\\')
            out = put_escape(out, &p);
        else
            *out++ = *p++;
    }
    key->at = begin;
    key->len = (uint32_t)(out - begin);
    keys->decoded_len += key->len;
}

static void
json_keys_grow(struct json_keys *keys)
{
    struct json_key *own = keys->at == keys->first ? NULL : keys->at;
    struct json_key *grown = realloc(own, 2 * keys->cap * sizeof(*grown));

    MS_ASSERT(grown != NULL);
    if (own == NULL)
        memcpy(grown, keys->first, sizeof(keys->first));
    keys->at = grown;
    keys->cap *= 2;
}

void
json_keys_add(struct json_keys *keys, const char *text, size_t len, bool escaped,
              size_t document_size)
{
    struct json_key *key;

    if (keys->n == keys->cap)
        json_keys_grow(keys);
    key = &keys->at[keys->n++];
    key->at = text;
    key->len = (uint32_t)len;
    if (escaped)
        json_keys_decode(keys, key, document_size);
}

/* --- comparing --- */

static bool
few_differ(const struct json_key *keys, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (keys[i].len == keys[j].len && memcmp(keys[i].at, keys[j].at, keys[i].len) == 0)
                return false;
    return true;
}

/* Two keys can only be the same where their lengths and ends give the same bit. */
static bool
surely_differ(const struct json_key *keys, size_t n)
{
    uint64_t seen = 0;

    for (size_t i = 0; i < n; i++) {
        size_t len = keys[i].len;
        unsigned char first = len > 0 ? (unsigned char)keys[i].at[0] : 0;
        unsigned char last = len > 0 ? (unsigned char)keys[i].at[len - 1] : 0;
        uint64_t bit = (uint64_t)1 << ((len * 31 + first * 7u + last) % 64);

        if ((seen & bit) != 0)
            return false;
        seen |= bit;
    }
    return true;
}

/* FNV-1a: only to make most comparisons short. */
static uint32_t
key_hash(const struct json_key *key)
{
    uint32_t hash = 2166136261u;

    for (uint32_t i = 0; i < key->len; i++)
        hash = (hash ^ (unsigned char)key->at[i]) * 16777619u;
    return hash;
}

static int
key_compare(const void *left, const void *right)
{
    const struct json_key *a = left, *b = right;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return memcmp(a->at, b->at, a->len);
}

static bool
many_differ(struct json_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        keys[i].hash = key_hash(&keys[i]);
    qsort(keys, n, sizeof(*keys), key_compare);
    for (size_t i = 1; i < n; i++)
        if (key_compare(&keys[i - 1], &keys[i]) == 0)
            return false;
    return true;
}

bool
json_keys_differ(struct json_keys *keys, size_t first)
{
    struct json_key *at = keys->at + first;
    size_t n = keys->n - first;

    if (n > KEYS_FEW)
        return many_differ(at, n);
    return n < 2 || surely_differ(at, n) || few_differ(at, n);
}
