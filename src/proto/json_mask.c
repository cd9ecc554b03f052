/* The rewriting of what jansson does not take: see the header. The text may be no JSON at all; then
 * jansson, which reads the result, must refuse it as it would have refused the original. */
#include "proto/json_mask.h"

#include "common/base.h"
#include "proto/json_keys.h"

#include <string.h>

#define MASK_DIGITS 16 /* shorter integers fit into 64 bits */

/* The end of the string that begins with the quote at i, or n. */
static size_t
json_mask_string_end(const char *text, size_t i, size_t n)
{
    for (i++; i < n && text[i] != '"'; i++)
        if (text[i] == '\\')
            i++;
    return i < n ? i + 1 : n;
}

static bool
json_mask_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Any byte that a number may have: so the digits of an exponent are never taken for an integer. */
static bool
json_mask_is_numeric(char c)
{
    return json_mask_is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static void
json_mask_number(char *s, size_t n)
{
    size_t i = 0;

    if (s[0] == '-') {
        s++;
        n--;
    }
    if (n < MASK_DIGITS || s[0] == '0')
        return;
    while (i < n && json_mask_is_digit(s[i]))
        i++;
    if (i == n)
        memset(s + 1, ' ', n - 1);
}

void
json_mask_integers(char *text, size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t begin = i;

        if (text[i] == '"') {
            i = json_mask_string_end(text, i, n);
            continue;
        }
        while (i < n && json_mask_is_numeric(text[i]))
            i++;
        if (i > begin)
            json_mask_number(text + begin, i - begin);
        else
            i++;
    }
}

struct json_seen {
    uint8_t bits[65536 / 8]; /* of the basic plane: which characters the document has */
};

static void
json_seen_add(struct json_seen *seen, unsigned c)
{
    seen->bits[c >> 3] |= (uint8_t)(1u << (c & 7));
}

/* Notes every character of three bytes and every escape. Too many do no harm, so strings, and what
 * only looks like an escape, need no care here. */
static void
json_seen_fill(struct json_seen *seen, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0xe0 && c <= 0xef && n - i >= 3) {
            json_seen_add(seen, (c & 15u) << 12 | ((unsigned char)text[i + 1] & 63u) << 6 |
                                    ((unsigned char)text[i + 2] & 63u));
        } else if (c == '\\' && n - i >= 6 && text[i + 1] == 'u') {
            int value = json_hex4(text + i + 2);

            if (value >= 0)
                json_seen_add(seen, (unsigned)value);
        }
    }
}

/* A character in [from, to] that the document does not have, or 0. */
static unsigned
json_seen_absent(const struct json_seen *seen, unsigned from, unsigned to)
{
    for (unsigned c = from; c <= to; c++)
        if ((seen->bits[c >> 3] >> (c & 7) & 1) == 0)
            return c;
    return 0;
}

static void
json_mask_replace_nul(char *text, size_t n, unsigned stand_in)
{
    static const char hex[] = "0123456789abcdef";
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            in_string = !in_string;
        if (!in_string || text[i] != '\\')
            continue;
        if (n - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0)
            for (unsigned k = 0; k < 4; k++)
                text[i + 2 + k] = hex[stand_in >> (12 - 4 * k) & 15];
        i++;
    }
}

bool
json_mask_nul(char *text, size_t n)
{
    struct json_seen seen = {{0}};
    unsigned stand_in;

    json_seen_fill(&seen, text, n);
    stand_in = json_seen_absent(&seen, 0xe000, 0xf8ff); /* private use */
    if (stand_in == 0)
        stand_in = json_seen_absent(&seen, 0x0800, 0xd7ff);
    if (stand_in == 0)
        return false;
    json_mask_replace_nul(text, n, stand_in);
    return true;
}
