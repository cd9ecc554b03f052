#include "proto/json_reduce.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The input that is left and the output so far. */
struct reducer {
    const char *at, *end;
    char *out;
};

static bool
is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
number_may_follow(char c)
{
    return is_blank(c) || c == '[' || c == ',' || c == ':';
}

/* Printable ASCII that stands for itself in a string. */
static bool
is_plain(char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static void
reduce_copy(struct reducer *r, const char *to)
{
    size_t n = (size_t)(to - r->at);

    memcpy(r->out, r->at, n);
    r->out += n;
    r->at = to;
}

/* Plain characters eight at a time: a byte's high bit is set in the sum where it is one of those that
 * is_plain refuses (or its neighbour is; then the bytes are looked at one by one). */
static const char *
skip_plain(const char *at, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, highs = ones * 0x80;
    uint64_t word, quote, slash;

    while (end - at >= 8) {
        memcpy(&word, at, sizeof(word));
        quote = word ^ ones * '"';
        slash = word ^ ones * '\\';
        if (((word | (word - ones * ' ') | (word + ones) | (quote - ones) | (slash - ones)) &
             highs) != 0)
            break;
        at += 8;
    }
    while (at < end && is_plain(*at))
        at++;
    return at;
}

/* A string, from its opening quote. One that has more than plain characters is copied as it is, to
 * its closing quote or the end of the document. */
static void
reduce_string(struct reducer *r)
{
    const char *close = skip_plain(r->at + 1, r->end);
    const char *behind;

    if (close == r->end || *close != '"') {
        while (close < r->end && *close != '"')
            close += *close == '\\' && r->end - close > 1 ? 2 : 1;
        reduce_copy(r, close < r->end ? close + 1 : r->end);
        return;
    }
    behind = close + 1;
    while (behind < r->end && is_blank(*behind))
        behind++;
    if (behind < r->end && *behind == ':') { /* a key: it must differ from the others */
        reduce_copy(r, close + 1);
        return;
    }
    *r->out++ = '"';
    *r->out++ = '"';
    r->at = close + 1;
}

/* A number, from its first character. Only an integer as JSON writes it becomes 0. */
static void
reduce_number(struct reducer *r)
{
    const char *first = r->at + (*r->at == '-');
    const char *p = first;

    while (p < r->end && is_digit(*p))
        p++;
    if (p == first || (*first == '0' && p > first + 1) ||
        (p < r->end && !is_blank(*p) && *p != ',' && *p != ']' && *p != '}')) {
        reduce_copy(r, p > r->at ? p : r->at + 1);
        return;
    }
    *r->out++ = '0';
    r->at = p;
}

static void
reduce_blanks(struct reducer *r)
{
    *r->out++ = ' ';
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
}

size_t
json_reduce(const char *text, size_t n, char *out)
{
    struct reducer r = {.at = text, .end = text + n, .out = out};

    while (r.at < r.end) {
        char before = r.at > text ? r.at[-1] : ' ';

        if (*r.at == '"')
            reduce_string(&r);
        else if (is_blank(*r.at))
            reduce_blanks(&r);
        else if ((is_digit(*r.at) || *r.at == '-') && number_may_follow(before))
            reduce_number(&r);
        else
            *r.out++ = *r.at++;
    }
    return (size_t)(r.out - out);
}
