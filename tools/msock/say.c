#include "say.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

size_t
say_harmless(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t len = text_utf8_length(text, n);

    if (len == 1 && (p[0] < ' ' || p[0] == 0x7f))
        return 0;
    if (len == 2 && p[0] == 0xc2 && p[1] < 0xa0)
        return 0; /* U+0080 to U+009F */
    if (len == 3 && p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae)
        return 0; /* U+202A to U+202E */
    if (len == 3 && p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9)
        return 0; /* U+2066 to U+2069 */
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
