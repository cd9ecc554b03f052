/* Headers of a proxy, read strictly: what is not exactly one is refused, since everything that
 * decides by an address believes it. */
#include "proto/proxy_header.h"

#include "common/text.h"

#include <arpa/inet.h>

#define V1_MAX       107 /* bytes of a line, CRLF with it */
#define V2_FIXED     16
#define V2_PROXY     0x21 /* version 2, command PROXY */
#define V2_LOCAL     0x20
#define V2_TCP4      0x11
#define V2_TCP6      0x21
#define V2_TLV_FIXED 3

static const uint8_t v1_mark[] = "PROXY ";
static const uint8_t v2_mark[] = "\r\n\r\n\0\r\nQUIT\n";

#define V1_MARK (sizeof(v1_mark) - 1)
#define V2_MARK (sizeof(v2_mark) - 1)

static enum proxy_verdict
proxy_bad(struct proxy_header *out, const char *why)
{
    out->why = why;
    return PROXY_BAD;
}

/* As far as they go, these bytes begin with that mark. */
static bool
proxy_begins(const uint8_t *data, size_t n, const uint8_t *mark, size_t len)
{
    return memcmp(data, mark, n < len ? n : len) == 0;
}

/* --- version 1: "PROXY TCP4 SOURCE DESTINATION PORT PORT" and CRLF --- */

/* The next word of a line; "" where there is none. */
static char *
proxy_word(char **line)
{
    char *word = *line, *end = strchr(word, ' ');

    *line = end != NULL ? end + 1 : word + strlen(word);
    if (end != NULL)
        *end = '\0';
    return word;
}

static bool
proxy_port(const char *word, uint16_t *port_out)
{
    uint64_t port;

    if ((word[0] == '0' && word[1] != '\0') || text_parse_number(word, 0, UINT16_MAX, &port) < 0)
        return false;
    *port_out = (uint16_t)port;
    return true;
}

/* Changes the line, which is without its CRLF. */
static enum proxy_verdict
proxy_v1_line(char *line, struct proxy_header *out)
{
    const char *kind = proxy_word(&line), *source = proxy_word(&line);
    const char *destination = proxy_word(&line), *source_port = proxy_word(&line);
    int family = strcmp(kind, "TCP6") == 0 ? AF_INET6 : AF_INET;
    uint8_t address[16], other[16];
    uint16_t port, other_port;

    if (family == AF_INET && strcmp(kind, "TCP4") != 0)
        return proxy_bad(out, "its PROXY header has no IPv4 or IPv6 address");
    if (inet_pton(family, source, address) != 1 || inet_pton(family, destination, other) != 1 ||
        !proxy_port(source_port, &port) || !proxy_port(line, &other_port))
        return proxy_bad(out, "its PROXY header makes no sense");
    out->peer = endpoint_make(family, address, port);
    return PROXY_GOOD;
}

static enum proxy_verdict
proxy_v1(const uint8_t *data, size_t n, struct proxy_header *out)
{
    size_t seen = n < V1_MAX ? n : V1_MAX;
    const uint8_t *end = memchr(data, '\n', seen);
    char line[V1_MAX];

    if (end == NULL)
        return n < V1_MAX ? PROXY_MORE : proxy_bad(out, "its PROXY header has no end");
    out->len = (size_t)(end - data) + 1;
    if (out->len < V1_MARK + 2 || end[-1] != '\r' || memchr(data, '\0', out->len) != NULL)
        return proxy_bad(out, "its PROXY header makes no sense");
    memcpy(line, data + V1_MARK, out->len - V1_MARK - 2);
    line[out->len - V1_MARK - 2] = '\0';
    return proxy_v1_line(line, out);
}

/* --- version 2: fixed part, addresses, TLVs --- */

/* They fill their place exactly. */
static bool
proxy_v2_tlvs(const uint8_t *tlvs, size_t n)
{
    while (n >= V2_TLV_FIXED) {
        size_t len = V2_TLV_FIXED + (size_t)be16_load(tlvs + 1);

        if (len > n)
            return false;
        tlvs += len;
        n -= len;
    }
    return n == 0;
}

static enum proxy_verdict
proxy_v2(const uint8_t *data, size_t n, struct proxy_header *out)
{
    size_t address, addresses;

    if (n < V2_FIXED)
        return PROXY_MORE;
    if (data[12] == V2_LOCAL)
        return proxy_bad(out, "its PROXY header says that it is the proxy's own");
    if (data[12] != V2_PROXY)
        return proxy_bad(out, "its PROXY header makes no sense");
    if (data[13] != V2_TCP4 && data[13] != V2_TCP6)
        return proxy_bad(out, "its PROXY header has no IPv4 or IPv6 address");
    address = data[13] == V2_TCP4 ? 4 : 16;
    addresses = 2 * address + 4;
    out->len = V2_FIXED + (size_t)be16_load(data + 14);
    if (out->len > PROXY_HEADER_MAX)
        return proxy_bad(out, "its PROXY header is too long");
    if (out->len < V2_FIXED + addresses)
        return proxy_bad(out, "its PROXY header makes no sense");
    if (n < out->len)
        return PROXY_MORE;
    if (!proxy_v2_tlvs(data + V2_FIXED + addresses, out->len - V2_FIXED - addresses))
        return proxy_bad(out, "its PROXY header makes no sense");
    out->peer = endpoint_make(address == 4 ? AF_INET : AF_INET6, data + V2_FIXED,
                              be16_load(data + V2_FIXED + 2 * address));
    return PROXY_GOOD;
}

bool
proxy_header_begins(const uint8_t *data, size_t n)
{
    return (n >= V1_MARK && proxy_begins(data, n, v1_mark, V1_MARK)) ||
           (n >= V2_MARK && proxy_begins(data, n, v2_mark, V2_MARK));
}

enum proxy_verdict
proxy_header_read(const uint8_t *data, size_t n, struct proxy_header *out)
{
    enum proxy_verdict verdict;

    *out = (struct proxy_header){.len = 0};
    if (n == 0)
        return PROXY_MORE;
    if (proxy_begins(data, n, v1_mark, V1_MARK))
        verdict = n < V1_MARK ? PROXY_MORE : proxy_v1(data, n, out);
    else if (proxy_begins(data, n, v2_mark, V2_MARK))
        verdict = proxy_v2(data, n, out);
    else
        return proxy_bad(out, "it does not begin with a PROXY header");
    if (verdict != PROXY_GOOD)
        return verdict;
    if (proxy_header_begins(data + out->len, n - out->len))
        return proxy_bad(out, "it has two PROXY headers");
    return PROXY_GOOD;
}
