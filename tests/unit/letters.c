#include "letters.h"

#include <stdlib.h>
#include <string.h>

int
letter_put(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    char *made = malloc(n + 1);

    made[0] = *(const char *)arg;
    if (n > 0)
        memcpy(made + 1, in, n);
    *out = made;
    *out_len = n + 1;
    return 0;
}

int
letter_take(void *arg, const void *in, size_t n, void **out, size_t *out_len)
{
    if (n == 0 || *(const char *)in != *(const char *)arg)
        return 1;
    *out = malloc(n);
    memcpy(*out, (const char *)in + 1, n - 1);
    *out_len = n - 1;
    return 0;
}
