#include "listen_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";

char *
listen_url_with_key(const char *url, const char *key)
{
    size_t size = strlen(url) + (key != NULL ? 3 * strlen(key) : 0) + sizeof("?key_file="), len;
    char *out = malloc(size);

    if (out == NULL)
        return NULL;
    len = (size_t)snprintf(out, size, "%s", url);
    if (key == NULL)
        return out;
    len += (size_t)snprintf(out + len, size - len,
                            "%ckey_file=", strchr(url, '?') != NULL ? '&' : '?');
    for (; *key != '\0'; key++)
        len += (size_t)snprintf(out + len, size - len,
                                strchr(plain, *key) != NULL ? "%c" : "%%%02X", (unsigned char)*key);
    return out;
}
