/* Any bytes as the beginning of a proxy's connection. Invariant: what is good is good however much
 * of what follows is there, ends within it, and names an address; what is bad stays bad. */
#include "proto/proxy_header.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(const struct proxy_header *header, enum proxy_verdict verdict, size_t n)
{
    char text[ENDPOINT_TEXT_LEN];

    if ((verdict == PROXY_BAD) != (header->why != NULL))
        abort();
    if (verdict != PROXY_GOOD)
        return;
    endpoint_format(&header->peer, text);
    if (header->len == 0 || header->len > n || text[0] == '\0')
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum proxy_verdict before = PROXY_MORE;

    for (size_t i = 0; i <= n && i <= PROXY_HEADER_MAX; i++) {
        uint8_t *exact = malloc(i > 0 ? i : 1); /* with nothing behind it */
        struct proxy_header header;
        enum proxy_verdict verdict;

        if (i > 0)
            memcpy(exact, data, i);
        verdict = proxy_header_read(exact, i, &header);
        check(&header, verdict, i);
        if (before == PROXY_BAD && verdict != PROXY_BAD)
            abort();
        if (before == PROXY_GOOD && verdict == PROXY_MORE)
            abort();
        before = verdict;
        free(exact);
    }
    return 0;
}
