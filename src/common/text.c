/* Escaping on the way out, units on the way in: see the header. */
#include "common/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static const char text_hex[] = "0123456789ABCDEF";

static bool
text_is_plain(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '\\';
}

size_t
text_escape(const void *data, size_t n, char *out, size_t out_size)
{
    const unsigned char *p = data;
    size_t len = 0;

    MS_ASSERT(out_size > 0);
    for (size_t i = 0; i < n; i++) {
        size_t width = text_is_plain(p[i]) ? 1 : 4;

        if (width > out_size - 1 - len)
            break;
        if (width == 1) {
            out[len] = (char)p[i];
        } else {
            out[len] = '\\';
            out[len + 1] = 'x';
            out[len + 2] = text_hex[p[i] >> 4];
            out[len + 3] = text_hex[p[i] & 15];
        }
        len += width;
    }
    out[len] = '\0';
    return len;
}

/* RFC 3629, section 4: the second byte decides about overlong forms, surrogates and what is beyond
 * U+10FFFF. */
size_t
text_utf8_length(const void *data, size_t n)
{
    const unsigned char *p = data;
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0)
        low = 0xa0;
    if (p[0] == 0xed)
        high = 0x9f;
    if (p[0] == 0xf0)
        low = 0x90;
    if (p[0] == 0xf4)
        high = 0x8f;
    if (n < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool
text_is_utf8(const void *data, size_t n)
{
    const unsigned char *p = data;
    size_t i = 0;

    while (i < n) {
        uint64_t eight;
        size_t len;

        if (n - i >= sizeof(eight)) {
            memcpy(&eight, p + i, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof(eight);
                continue;
            }
        }
        len = text_utf8_length(p + i, n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

/* Bytes with which a character may begin that text_json_special knows. */
static const bool text_json_marked[256] = {
    [0 ... 0x1f] = true, ['"'] = true, ['\\'] = true, [0x7f] = true, [0xc2] = true, [0xe2] = true};

/* How long is the character at the beginning, where it must be escaped? Else 0. Besides what RFC
 * 8259 says, these are all control characters, and U+2028 and U+2029, at which some readers end a
 * line. */
static size_t
text_json_special(const unsigned char *p, size_t n, unsigned *code_out)
{
    *code_out = p[0];
    if (p[0] < 0x80)
        return 1;
    if (p[0] == 0xc2 && n >= 2 && p[1] < 0xa0) {
        *code_out = p[1];
        return 2;
    }
    if (p[0] == 0xe2 && n >= 3 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
        *code_out = 0x2000u | (p[2] & 0x3fu);
        return 3;
    }
    return 0;
}

static void
text_json_escape(struct buffer *out, unsigned code)
{
    static const char shorthand[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    char escape[6] = {'\\',
                      'u',
                      text_hex[code >> 12],
                      text_hex[code >> 8 & 15],
                      text_hex[code >> 4 & 15],
                      text_hex[code & 15]};

    for (size_t i = 0; i < sizeof(shorthand) - 1; i += 2) {
        if ((unsigned char)shorthand[i] == code) {
            escape[1] = shorthand[i + 1];
            buffer_append(out, escape, 2);
            return;
        }
    }
    buffer_append(out, escape, sizeof(escape));
}

/* is_document: it was written as JSON already, and what that demands is escaped. */
static void
text_json_append(struct buffer *out, const void *data, size_t n, bool is_document)
{
    const unsigned char *p = data;
    size_t begin = 0, len;
    unsigned code;

    for (size_t i = 0; i < n;) {
        len = text_json_marked[p[i]] ? text_json_special(p + i, n - i, &code) : 0;
        if (len == 0 || (is_document && p[i] < 0x7f)) {
            i++;
            continue;
        }
        buffer_append(out, p + begin, i - begin);
        text_json_escape(out, code);
        begin = i += len;
    }
    if (n > begin)
        buffer_append(out, p + begin, n - begin);
}

void
text_json_string(struct buffer *out, const void *data, size_t n)
{
    buffer_append(out, "\"", 1);
    text_json_append(out, data, n, false);
    buffer_append(out, "\"", 1);
}

int
text_json_write(const char *part, size_t n, void *file)
{
    struct buffer safe;
    bool written;

    buffer_init(&safe);
    text_json_append(&safe, part, n, true);
    written = fwrite(buffer_bytes(&safe), 1, safe.len, file) == safe.len;
    buffer_fini(&safe);
    return written ? 0 : -1;
}

void
text_base64(struct buffer *out, const void *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    size_t len = (n + 2) / 3 * 4;
    char *to = buffer_reserve(out, len);

    for (; n > 0; p += 3, to += 4) {
        unsigned second = n > 1 ? p[1] : 0, third = n > 2 ? p[2] : 0;

        to[0] = digits[p[0] >> 2];
        to[1] = digits[(p[0] & 3) << 4 | second >> 4];
        to[2] = n > 1 ? digits[(second & 15) << 2 | third >> 6] : '=';
        to[3] = n > 2 ? digits[third & 63] : '=';
        n -= n < 3 ? n : 3;
    }
    buffer_added(out, len);
}

static int
text_base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (text_is_lower(c))
        return c - 'a' + 26;
    if (text_is_alnum(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t
text_unbase64(const char *text, size_t n, void *out)
{
    unsigned char *to = out;
    unsigned bits = 0;
    size_t len = 0;

    if (n % 4 != 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        int digit = text_base64_digit(text[i]);

        if (text[i] == '=' && i + 2 >= n)
            break;
        if (digit < 0)
            return 0;
        bits = bits << 6 | (unsigned)digit;
        if (i % 4 != 0)
            to[len++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    return len;
}

const char *
text_bytes(double bytes, char out[TEXT_BYTES_LEN])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < MS_ARRAY_LEN(units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, TEXT_BYTES_LEN, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return out;
}

/* Reads the digits at *s and moves *s behind them. */
static int
text_digits(const char **s, uint64_t *out)
{
    uint64_t value = 0;

    if (!isdigit((unsigned char)**s)) {
        errno = EINVAL;
        return -1;
    }
    for (; isdigit((unsigned char)**s); ++*s) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(**s - '0'), &value)) {
            errno = ERANGE;
            return -1;
        }
    }
    *out = value;
    return 0;
}

/* The power of two that a unit stands for, or -1. */
static int
text_size_shift(const char *unit)
{
    static const char prefixes[] = "KMGTkmgt";
    const char *prefix;
    int shift = 0;

    if (*unit != '\0' && (prefix = strchr(prefixes, *unit)) != NULL) {
        shift = 10 * (int)((prefix - prefixes) % 4 + 1);
        unit++;
        if (*unit == 'i')
            return strcmp(unit, "iB") == 0 ? shift : -1;
    }
    return *unit == '\0' || strcmp(unit, "B") == 0 ? shift : -1;
}

int
text_parse_size(const char *s, uint64_t *bytes_out)
{
    uint64_t value;
    int shift;

    if (text_digits(&s, &value) < 0)
        return -1;
    shift = text_size_shift(s);
    if (shift < 0) {
        errno = EINVAL;
        return -1;
    }
    if (value > UINT64_MAX >> shift) {
        errno = ERANGE;
        return -1;
    }
    *bytes_out = value << shift;
    return 0;
}

/* Microseconds in a unit, or 0 for none that we know. */
static uint64_t
text_duration_unit(const char *unit)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {
        {"", 1000000},   {"us", 1},         {"ms", 1000},       {"s", 1000000},
        {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000},
    };

    for (size_t i = 0; i < MS_ARRAY_LEN(units); i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].us;
    return 0;
}

/* Reads ".5" at *s, where there is a point, as digits / scale; digits past the eighth do not matter
 * to a microsecond of a day and would overflow. */
static int
text_fraction(const char **s, uint64_t *digits, uint64_t *scale)
{
    *digits = 0;
    *scale = 1;
    if (**s != '.')
        return 0;
    ++*s;
    if (!isdigit((unsigned char)**s)) {
        errno = EINVAL;
        return -1;
    }
    for (; isdigit((unsigned char)**s); ++*s) {
        if (*scale == 100000000)
            continue;
        *digits = *digits * 10 + (uint64_t)(**s - '0');
        *scale *= 10;
    }
    return 0;
}

int
text_parse_duration(const char *s, uint64_t *us_out)
{
    uint64_t whole, digits, scale, unit;

    if (text_digits(&s, &whole) < 0 || text_fraction(&s, &digits, &scale) < 0)
        return -1;
    unit = text_duration_unit(s);
    if (unit == 0) {
        errno = EINVAL;
        return -1;
    }
    if (__builtin_mul_overflow(whole, unit, &whole) ||
        __builtin_add_overflow(whole, digits * unit / scale, &whole)) {
        errno = ERANGE;
        return -1;
    }
    *us_out = whole;
    return 0;
}

int
text_parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t value;

    if (text_digits(&s, &value) < 0)
        return -1;
    if (*s != '\0') {
        errno = EINVAL;
        return -1;
    }
    if (value < min || value > max) {
        errno = ERANGE;
        return -1;
    }
    *out = value;
    return 0;
}

void
text_list(const char *const *names, char *out, size_t size)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL && len < size; i++) {
        const char *before = i == 0 ? "" : names[i + 1] == NULL ? " or " : ", ";

        len += (size_t)snprintf(out + len, size - len, "%s%s", before, names[i]);
    }
}
