/* What frames look for in bytes: delimiters, and the line of an HTTP request. */
#include "proto/frame.h"

/* --- frame delimiter --- */

size_t
delimiter_find(const struct framing *framing, const uint8_t *data, size_t n)
{
    const uint8_t *at;

    if (framing->delimiter_len == 1)
        at = memchr(data, framing->delimiter[0], n);
    else
        at = memmem(data, n, framing->delimiter, framing->delimiter_len);
    return at != NULL ? (size_t)(at - data) : n;
}

size_t
delimiter_undecided(const struct framing *framing, const uint8_t *data, size_t n)
{
    size_t k = framing->delimiter_len - 1u;

    if (k > n)
        k = n;
    while (k > 0 && memcmp(data + n - k, framing->delimiter, k) != 0)
        k--;
    if (framing->drop_cr && k < n && data[n - k - 1] == '\r')
        k++;
    return k;
}

bool
delimiter_inside(const struct framing *framing, const uint8_t *data, size_t n)
{
    uint8_t end[2 * FRAMING_DELIMITER_MAX];
    size_t k = framing->delimiter_len - 1u;

    if (n == 0)
        return false;
    if (k > n)
        k = n;
    memcpy(end, data + n - k, k);
    memcpy(end + k, framing->delimiter, framing->delimiter_len);
    return delimiter_find(framing, data, n) < n ||
           delimiter_find(framing, end, k + framing->delimiter_len) < k;
}

/* --- frame http --- */

/* One byte at a time, so that it does not matter how the line is cut. */

/* RFC 9110 9.3, and RFC 5789. A browser asks before it sends any other (with OPTIONS). */
static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                      "CONNECT", "OPTIONS", "TRACE", "PATCH"};

static const char version[] = "HTTP/1.";

bool
frame_http_in_target(uint8_t byte)
{
    return byte > ' ' && byte != 0x7f;
}

static void
frame_http_become(struct frame_http *http, enum frame_http_state state)
{
    http->state = (uint8_t)state;
    http->at = 0;
}

/* whole: not the beginning of one alone. */
static bool
frame_http_is_method(const struct frame_http *http, bool whole)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(methods); i++)
        if (strncmp(methods[i], http->method, http->at) == 0 &&
            (!whole || methods[i][http->at] == '\0'))
            return true;
    return false;
}

static void
frame_http_method(struct frame_http *http, uint8_t byte)
{
    if (byte == ' ' && http->at > 0 && frame_http_is_method(http, true)) {
        frame_http_become(http, FRAME_HTTP_TARGET);
        return;
    }
    if (http->at < sizeof(http->method)) {
        http->method[http->at++] = (char)byte;
        if (byte != '\0' && frame_http_is_method(http, false))
            return;
    }
    frame_http_become(http, FRAME_HTTP_NO);
}

static void
frame_http_target(struct frame_http *http, uint8_t byte)
{
    if (frame_http_in_target(byte))
        http->at = 1;
    else
        frame_http_become(http, byte == ' ' && http->at > 0 ? FRAME_HTTP_VERSION : FRAME_HTTP_NO);
}

static void
frame_http_version(struct frame_http *http, uint8_t byte)
{
    if (byte != (uint8_t)version[http->at])
        frame_http_become(http, FRAME_HTTP_NO);
    else if (++http->at == sizeof(version) - 1)
        frame_http_become(http, FRAME_HTTP_YES);
}

size_t
frame_http_look(struct frame_http *http, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch ((enum frame_http_state)http->state) {
        case FRAME_HTTP_METHOD:
            frame_http_method(http, data[i]);
            break;
        case FRAME_HTTP_TARGET:
            frame_http_target(http, data[i]);
            break;
        case FRAME_HTTP_VERSION:
            frame_http_version(http, data[i]);
            break;
        case FRAME_HTTP_YES:
        case FRAME_HTTP_NO:
            return i;
        }
    }
    return n;
}

bool
frame_http_adopt(struct frame_http *http, const struct frame_http *moved)
{
    static const uint8_t at_max[] = {
        [FRAME_HTTP_METHOD] = 0, /* no length that is taken begins like a method */
        [FRAME_HTTP_TARGET] = 1, [FRAME_HTTP_VERSION] = sizeof(version) - 2,
        [FRAME_HTTP_YES] = 0,    [FRAME_HTTP_NO] = 0,
    };

    if (moved->state >= MS_ARRAY_LEN(at_max) || moved->state == FRAME_HTTP_YES ||
        moved->at > at_max[moved->state])
        return false;
    *http = (struct frame_http){.state = moved->state, .at = moved->at};
    return true;
}
