#include "support/hex.h"

#include <stdio.h>

size_t
hex_read(const char *hex, uint8_t *out)
{
    size_t n = 0;
    int used;

    for (; sscanf(hex, " %2hhx%n", &out[n], &used) == 1; hex += used)
        n++;
    return n;
}
