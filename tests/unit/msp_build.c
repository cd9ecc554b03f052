#include "msp_build.h"

#include <string.h>

size_t
build_first(uint8_t *out, const void *body, size_t size, bool late, bool undetermined)
{
    struct digester *dg = digester_create();
    struct msp_first first = {.size = undetermined ? 0 : size};
    size_t n = size < MSP_FIRST_BODY ? size : MSP_FIRST_BODY;

    if (!late)
        digest_sha256(dg, body, size, first.sha256);
    first.crc = digest_crc32(0, body, n);
    msp_first_encode(out, &first);
    memcpy(out + MSP_FIRST_HEADER, body, n);
    digester_destroy(dg);
    return MSP_FIRST_HEADER + n;
}

size_t
build_packet(uint8_t *out, const void *body, size_t n)
{
    msp_packet_encode(out, digest_crc32(0, body, n));
    memcpy(out + MSP_PACKET_HEADER, body, n);
    return MSP_PACKET_HEADER + n;
}

size_t
build_trailer(uint8_t *out, char kind, uint8_t flags, const void *value, size_t n)
{
    return msp_trailer_encode(out, kind, flags, NULL, value, n);
}

size_t
build_message(uint8_t *out, char kind, const void *body, size_t n, const char *value)
{
    size_t k = build_first(out, body, n, false, n == 0);

    return k + build_trailer(out + k, kind, 0, value, value != NULL ? strlen(value) : 0);
}
