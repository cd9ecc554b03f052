/* A recursive descent over the text. Each function takes the first byte of something and returns
 * the byte behind it, or NULL where it is not plain. */
#include "proto/json_plain.h"

#include "common/base.h"
#include "proto/json_keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REAL_DIGITS 308 /* whatever is below 1e308 fits a double */
#define REAL_SHORT  64  /* a longer number is copied to the heap */

struct scan {
    const char *end;
    const char *at;  /* the token that is looked at; where it stopped, what is wrong */
    const char *why; /* what is wrong there */
    size_t size;     /* of the whole document */
    unsigned depth;  /* levels still allowed */
    struct json_keys keys;
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
 * is a control byte, a quote, a backslash or no ASCII (or stands beside one; then they are looked
 * at one by one). */
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

/* \uXXXX; the second half of a pair only behind the first, and that one only with it. */
static const char *
scan_unicode(const struct scan *s, const char *p)
{
    int unit = s->end - p >= 6 ? json_hex4(p + 2) : -1;

    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return NULL;
    if (unit < 0xd800 || unit > 0xdbff)
        return p + 6;
    if (s->end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return NULL;
    unit = json_hex4(p + 8);
    return unit >= 0xdc00 && unit <= 0xdfff ? p + 12 : NULL;
}

static const char *
scan_escape(const struct scan *s, const char *p)
{
    if (s->end - p < 2)
        return NULL;
    if (p[1] == 'u')
        return scan_unicode(s, p);
    return memchr("\"\\/bfnrt", p[1], 8) != NULL ? p + 2 : NULL;
}

static const char *
scan_string(const struct scan *s, const char *p, bool *escaped)
{
    *escaped = false;
    p++;
    for (;;) {
        p = scan_ascii(s, p);
        if (p == s->end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            *escaped = true;
            p = scan_escape(s, p);
        } else {
            p = scan_utf8(s, p);
        }
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

/* How many places the exponent moves the point to the right; above REAL_DIGITS it does not
 * matter. */
static const char *
scan_exponent(const struct scan *s, const char *p, size_t *places)
{
    bool negative = p < s->end && *p == '-';
    const char *first;

    if (p < s->end && (*p == '+' || *p == '-'))
        p++;
    first = p;
    for (*places = 0; p < s->end && is_digit(*p); p++)
        if (*places <= REAL_DIGITS)
            *places = *places * 10 + (size_t)(*p - '0');
    if (negative)
        *places = 0;
    return p > first ? p : NULL;
}

static bool
real_fits(const char *p, size_t n)
{
    char brief[REAL_SHORT], *copy = n < REAL_SHORT ? brief : ms_malloc(n + 1);
    double value;

    memcpy(copy, p, n);
    copy[n] = '\0';
    value = strtod(copy, NULL);
    if (copy != brief)
        free(copy);
    return isfinite(value);
}

/* The rest of a number that has a fraction or an exponent, from behind its digits on. */
static const char *
scan_real(struct scan *s, const char *number, const char *p)
{
    size_t digits = (size_t)(p - number), places = 0;

    if (*p == '.') {
        const char *first = p + 1;

        p = scan_digits(s, first);
        if (p == first)
            return NULL;
    }
    if (p < s->end && (*p == 'e' || *p == 'E'))
        p = scan_exponent(s, p + 1, &places);
    if (p == NULL || digits + places <= REAL_DIGITS || real_fits(number, (size_t)(p - number)))
        return p;
    s->why = "real number overflow";
    return NULL;
}

static const char *
scan_number(struct scan *s, const char *p)
{
    const char *number = p, *first;

    if (*p == '-')
        p++;
    first = p;
    p = scan_digits(s, p);
    if (p == first || (*first == '0' && p - first > 1))
        return NULL;
    if (p < s->end && (*p == '.' || *p == 'e' || *p == 'E'))
        return scan_real(s, number, p);
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
    for (;;) {
        p = scan_value(s, p);
        if (p == NULL)
            return NULL;
        p = s->at = scan_blanks(s, p);
        if (p == s->end || (*p != ',' && *p != ']'))
            return NULL;
        if (*p == ']')
            return p + 1;
        p = scan_blanks(s, p + 1);
    }
}

/* "key" : value */
static const char *
scan_member(struct scan *s, const char *p)
{
    const char *key = p + 1;
    bool escaped;

    s->at = p;
    if (p == s->end || *p != '"')
        return NULL;
    p = scan_string(s, p, &escaped);
    if (p == NULL)
        return NULL;
    json_keys_add(&s->keys, key, (size_t)(p - 1 - key), escaped, s->size);
    p = s->at = scan_blanks(s, p);
    if (p == s->end || *p != ':')
        return NULL;
    return scan_value(s, scan_blanks(s, p + 1));
}

static const char *
scan_object_end(struct scan *s, const char *p, size_t first_key)
{
    if (!json_keys_differ(&s->keys, first_key)) {
        s->why = "the object that ends here has a key twice";
        return NULL;
    }
    s->keys.n = first_key;
    return p + 1;
}

static const char *
scan_object(struct scan *s, const char *p)
{
    size_t first_key = s->keys.n;

    p = scan_blanks(s, p + 1);
    if (p < s->end && *p == '}')
        return p + 1;
    for (;;) {
        p = scan_member(s, p);
        if (p == NULL)
            return NULL;
        p = s->at = scan_blanks(s, p);
        if (p == s->end || (*p != ',' && *p != '}'))
            return NULL;
        if (*p == '}')
            return scan_object_end(s, p, first_key);
        p = scan_blanks(s, p + 1);
    }
}

static const char *
scan_nested(struct scan *s, const char *p)
{
    if (s->depth == 0) {
        s->why = "nested too deep";
        return NULL;
    }
    s->depth--;
    p = *p == '{' ? scan_object(s, p) : scan_array(s, p);
    s->depth++;
    return p;
}

static const char *
scan_value(struct scan *s, const char *p)
{
    bool escaped;

    s->at = p;
    if (p == s->end)
        return NULL;
    switch (*p) {
    case '"':
        return scan_string(s, p, &escaped);
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
json_is_plain(const char *text, size_t n, unsigned max_depth, struct json_stop *stop)
{
    struct scan s;
    const char *p;

    s.end = text + n;
    s.why = "no JSON from here on";
    s.size = n;
    s.depth = max_depth;
    json_keys_init(&s.keys);
    p = scan_value(&s, scan_blanks(&s, text));
    if (p != NULL)
        p = s.at = scan_blanks(&s, p);
    json_keys_fini(&s.keys);
    stop->offset = (size_t)(s.at - text);
    stop->why = s.why;
    return p != NULL && p == s.end;
}
