#include "say.h"

#include <stdarg.h>
#include <stdio.h>

void
say_clean(const char *text, char *out, size_t n)
{
    size_t i = 0;

    for (; i + 1 < n && text[i] != '\0'; i++) {
        unsigned char c = (unsigned char)text[i];

        out[i] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
    }
    out[i] = '\0';
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
