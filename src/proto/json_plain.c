/* A recursive descent over the text. Each function takes the first byte of something and returns the
 * byte behind it, or NULL where it is not plain. */
#include "proto/json_plain.h"

#include <stdint.h>
#include <string.h>

#define INTEGER_DIGITS  18 /* any such integer fits 64 bits */
#define EXPONENT_DIGITS 2  /* with INTEGER_DIGITS in front: far below the largest double */

struct scan {
    const char *end;
    unsigned depth; /* levels still allowed */
};

struct key {
    const char *at;
    size_t len;
};

static const char *scan_value(struct scan *s, const char *p);

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *
scan_blanks(const struct scan *s, const char *p)
{
    while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* --- strings --- */

static bool
is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* A character of two to four bytes (RFC 3629). */
static const char *
scan_utf8(const struct scan *s, const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t left = (size_t)(s->end - p);

    if (u[0] >= 0xc2 && u[0] <= 0xdf)
        return left >= 2 && is_tail(u[1]) ? p + 2 : NULL;
    if (u[0] >= 0xe0 && u[0] <= 0xef) {
        if (left < 3 || !is_tail(u[1]) || !is_tail(u[2]) || (u[0] == 0xe0 && u[1] < 0xa0) ||
            (u[0] == 0xed && u[1] > 0x9f))
            return NULL;
        return p + 3;
    }
    if (u[0] >= 0xf0 && u[0] <= 0xf4) {
        if (left < 4 || !is_tail(u[1]) || !is_tail(u[2]) || !is_tail(u[3]) ||
            (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
            return NULL;
        return p + 4;
    }
    return NULL;
}

/* ASCII that stands for itself, eight bytes at a time: a high bit in the sum tells that one of them
 * is a control byte, a quote, a backslash or no ASCII (or stands beside one; then they are looked at
 * one by one). */
static const char *
scan_ascii(const struct scan *s, const char *p)
{
    const uint64_t ones = 0x0101010101010101u, highs = ones * 0x80;
    uint64_t word, quote, slash;

    while (s->end - p >= 8) {
        memcpy(&word, p, sizeof(word));
        quote = word ^ ones * '"';
        slash = word ^ ones * '\\';
        if (((word | (word - ones * ' ') | (quote - ones) | (slash - ones)) & highs) != 0)
            break;
        p += 8;
    }
    while (p < s->end && (unsigned char)*p >= ' ' && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    return p;
}

static const char *
scan_escape(const struct scan *s, const char *p)
{
    if (s->end - p < 2 || memchr("\"\\/bfnrt", p[1], 8) == NULL)
        return NULL;
    return p + 2;
}

static const char *
scan_string(const struct scan *s, const char *p, bool is_key)
{
    p++;
    for (;;) {
        p = scan_ascii(s, p);
        if (p == s->end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if (*p == '\\')
            p = is_key ? NULL : scan_escape(s, p);
        else
            p = scan_utf8(s, p);
        if (p == NULL)
            return NULL;
    }
}

/* --- numbers and words --- */

static const char *
scan_digits(const struct scan *s, const char *p)
{
    while (p < s->end && is_digit(*p))
        p++;
    return p;
}

static const char *
scan_exponent(const struct scan *s, const char *p)
{
    const char *first;

    if (p < s->end && (*p == '+' || *p == '-'))
        p++;
    first = p;
    p = scan_digits(s, p);
    return p > first && p - first <= EXPONENT_DIGITS ? p : NULL;
}

static const char *
scan_number(const struct scan *s, const char *p)
{
    const char *first;

    if (*p == '-')
        p++;
    first = p;
    p = scan_digits(s, p);
    if (p == first || p - first > INTEGER_DIGITS || (*first == '0' && p - first > 1))
        return NULL;
    if (p < s->end && *p == '.') {
        first = p + 1;
        p = scan_digits(s, first);
        if (p == first)
            return NULL;
    }
    if (p < s->end && (*p == 'e' || *p == 'E'))
        return scan_exponent(s, p + 1);
    return p;
}

static const char *
scan_word(const struct scan *s, const char *p, const char *word, size_t n)
{
    return (size_t)(s->end - p) >= n && memcmp(p, word, n) == 0 ? p + n : NULL;
}

/* --- arrays and objects --- */

static const char *
scan_array(struct scan *s, const char *p)
{
    p = scan_blanks(s, p + 1);
    if (p < s->end && *p == ']')
        return p + 1;
    while (p < s->end) {
        p = scan_value(s, p);
        if (p == NULL)
            return NULL;
        p = scan_blanks(s, p);
        if (p == s->end || (*p != ',' && *p != ']'))
            return NULL;
        if (*p == ']')
            return p + 1;
        p = scan_blanks(s, p + 1);
    }
    return NULL;
}

/* Two keys can only be the same where their lengths and ends give the same bit. */
static bool
keys_differ(const struct key *keys, unsigned n)
{
    uint64_t seen = 0;
    bool may_meet = false;

    for (unsigned i = 0; i < n; i++) {
        size_t len = keys[i].len;
        unsigned char first = (unsigned char)keys[i].at[0];
        unsigned char last = len > 0 ? (unsigned char)keys[i].at[len - 1] : 0;
        uint64_t bit = (uint64_t)1 << ((len * 31 + first * 7u + last) % 64);

        may_meet = may_meet || (seen & bit) != 0;
        seen |= bit;
    }
    for (unsigned i = 1; may_meet && i < n; i++)
        for (unsigned j = 0; j < i; j++)
            if (keys[i].len == keys[j].len && memcmp(keys[i].at, keys[j].at, keys[i].len) == 0)
                return false;
    return true;
}

/* "key" : value */
static const char *
scan_member(struct scan *s, const char *p, struct key *key)
{
    key->at = p + 1;
    p = scan_string(s, p, true);
    if (p == NULL)
        return NULL;
    key->len = (size_t)(p - 1 - key->at);
    p = scan_blanks(s, p);
    if (p == s->end || *p != ':')
        return NULL;
    return scan_value(s, scan_blanks(s, p + 1));
}

static const char *
scan_object(struct scan *s, const char *p)
{
    struct key keys[JSON_PLAIN_KEYS];
    unsigned n = 0;

    p = scan_blanks(s, p + 1);
    if (p < s->end && *p == '}')
        return p + 1;
    while (p < s->end && *p == '"' && n < JSON_PLAIN_KEYS) {
        p = scan_member(s, p, &keys[n++]);
        if (p == NULL)
            return NULL;
        p = scan_blanks(s, p);
        if (p == s->end || (*p != ',' && *p != '}'))
            return NULL;
        if (*p == '}')
            return keys_differ(keys, n) ? p + 1 : NULL;
        p = scan_blanks(s, p + 1);
    }
    return NULL;
}

static const char *
scan_nested(struct scan *s, const char *p)
{
    if (s->depth == 0)
        return NULL;
    s->depth--;
    p = *p == '{' ? scan_object(s, p) : scan_array(s, p);
    s->depth++;
    return p;
}

static const char *
scan_value(struct scan *s, const char *p)
{
    if (p == s->end)
        return NULL;
    switch (*p) {
    case '"':
        return scan_string(s, p, false);
    case '{':
    case '[':
        return scan_nested(s, p);
    case 't':
        return scan_word(s, p, "true", 4);
    case 'f':
        return scan_word(s, p, "false", 5);
    case 'n':
        return scan_word(s, p, "null", 4);
    default:
        return scan_number(s, p);
    }
}

bool
json_is_plain(const char *text, size_t n, unsigned max_depth)
{
    struct scan s = {.end = text + n,
                     .depth = max_depth < JSON_PLAIN_DEPTH ? max_depth : JSON_PLAIN_DEPTH};
    const char *p = scan_value(&s, scan_blanks(&s, text));

    return p != NULL && scan_blanks(&s, p) == s.end;
}
