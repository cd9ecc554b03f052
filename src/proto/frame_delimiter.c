#include "proto/frame_delimiter.h"

#include <string.h>

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
