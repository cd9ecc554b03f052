#include "say.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How many bytes follow the first one of a character; *bits_out are the bits that the first one
 * gives. */
static size_t
utf8_more(unsigned char c, uint32_t *bits_out)
{
    size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;

    *bits_out = more == 0 ? c : c & (0x3fu >> more);
    return more;
}

/* Decodes a character; returns its bytes, 0 where it is none. */
static size_t
utf8_decode(const char *text, size_t n, uint32_t *character_out)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)*text;
    uint32_t character;
    size_t more = utf8_more(first, &character);

    if ((first >= 0x80 && first < 0xc0) || first >= 0xf8 || more >= n)
        return 0;
    for (size_t i = 1; i <= more; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (c & 0x3f);
    }
    if (character < least[more] || character > 0x10ffff ||
        (character >= 0xd800 && character < 0xe000))
        return 0;
    *character_out = character;
    return more + 1;
}

size_t
say_harmless(const char *text, size_t n)
{
    uint32_t c;
    size_t len = utf8_decode(text, n, &c);

    if (len == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
        (c >= 0x2066 && c <= 0x2069))
        return 0;
    return len;
}

void
say_clean_bytes(const char *text, size_t len, char *out)
{
    for (size_t i = 0; i < len;) {
        size_t n = say_harmless(text + i, len - i);

        if (n == 0) {
            out[i++] = '?';
            continue;
        }
        memcpy(out + i, text + i, n);
        i += n;
    }
    out[len] = '\0';
}

void
say_clean(const char *text, char *out, size_t n)
{
    if (n > 0)
        say_clean_bytes(text, strnlen(text, n - 1), out);
}

void
say_error(const char *format, ...)
{
    char text[2048], clean[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    say_clean(text, clean, sizeof(clean));
    fflush(stdout);
    fprintf(stderr, "msock: %s\n", clean);
}

void
say_hint(const char *command)
{
    say_error("see `%s`", command);
}
