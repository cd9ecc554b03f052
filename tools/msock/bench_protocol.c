#include "bench_protocol.h"

#include <stdlib.h>
#include <string.h>

const struct bench_protocol *
bench_protocol_of(const char *url)
{
    static const struct bench_protocol *const all[] = {&bench_frame, &bench_tinyproto, &bench_cnp};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t n = strlen(all[i]->name);

        if (strncmp(url, all[i]->name, n) == 0 && strncmp(url + n, "://", 3) == 0)
            return all[i];
    }
    return &bench_msp;
}

/* The URL was found in order, so two hexadecimal digits follow each %. */
static bool
bench_url_decode(const char *text, size_t len, char *out, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            char digits[3] = {text[i + 1], text[i + 2], '\0'};

            c = (char)strtoul(digits, NULL, 16);
            i += 2;
        }
        if (at + 1 >= n)
            return false;
        out[at++] = c;
    }
    out[at] = '\0';
    return true;
}

bool
bench_url_option(const char *url, const char *name, char *out, size_t n)
{
    const char *at = strchr(url, '?');
    size_t name_len = strlen(name);

    while (at != NULL && *at != '\0') {
        size_t len = strcspn(++at, "&");

        if (strncmp(at, name, name_len) == 0 && at[name_len] == '=')
            return bench_url_decode(at + name_len + 1, len - name_len - 1, out, n);
        at += len;
    }
    return false;
}
