/* Addresses that a socket can be bound or connected to: from a URL, beside each other, and as text.
 * Invariant: none that comes from a URL is a mapped IPv4 address. */
#include "common/text.h"
#include "common/url.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

static int
endpoint_unix(const char *path, struct endpoint *ep_out, char error[URL_ERROR_LEN])
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof(un.sun_path)) {
        snprintf(error, URL_ERROR_LEN, "the path of a Unix socket has 1 to %zu bytes",
                 sizeof(un.sun_path) - 1);
        return -1;
    }
    memcpy(un.sun_path, path, n + 1);
    *ep_out = (struct endpoint){.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1)};
    memcpy(&ep_out->addr, &un, sizeof(un));
    return 0;
}

struct endpoint
endpoint_make(int family, const void *address, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct endpoint ep = {.len = family == AF_INET ? sizeof(v4) : sizeof(v6)};

    if (family == AF_INET) {
        memcpy(&v4.sin_addr, address, sizeof(v4.sin_addr));
        memcpy(&ep.addr, &v4, sizeof(v4));
    } else {
        memcpy(&v6.sin6_addr, address, sizeof(v6.sin6_addr));
        memcpy(&ep.addr, &v6, sizeof(v6));
    }
    endpoint_unmap(&ep);
    return ep;
}

void
endpoint_unmap(struct endpoint *ep)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ep->addr;
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    if (ep->addr.ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return;
    v4.sin_port = v6->sin6_port;
    memcpy(&v4.sin_addr, v6->sin6_addr.s6_addr + 12, sizeof(v4.sin_addr));
    *ep = (struct endpoint){.len = sizeof(v4)};
    memcpy(&ep->addr, &v4, sizeof(v4));
}

/* Each address once. */
static int
endpoint_collect(const struct addrinfo *found, struct endpoint *eps_out, size_t max)
{
    size_t n = 0;

    for (; found != NULL; found = found->ai_next) {
        struct endpoint ep = {.len = found->ai_addrlen};
        bool is_new = true;

        memcpy(&ep.addr, found->ai_addr, found->ai_addrlen);
        endpoint_unmap(&ep);
        for (size_t i = 0; i < n && i < max; i++)
            is_new = is_new && !endpoint_equal(&eps_out[i], &ep);
        if (is_new && n < max)
            eps_out[n] = ep;
        n += is_new;
    }
    return (int)n;
}

int
endpoint_resolve_all(const struct url *url, struct endpoint *eps_out, size_t max,
                     char error[URL_ERROR_LEN])
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int rc;

    if (url->path != NULL)
        return endpoint_unix(url->path, eps_out, error) < 0 ? -1 : 1;
    snprintf(port, sizeof(port), "%u", (unsigned)url->port);
    rc = getaddrinfo(url->host, port, &hints, &found);
    if (rc == EAI_NONAME) {
        hints.ai_flags = AI_NUMERICSERV;
        rc = getaddrinfo(url->host, port, &hints, &found);
    }
    if (rc != 0) {
        snprintf(error, URL_ERROR_LEN, "cannot find the address of \"%.80s\": %s", url->host,
                 rc == EAI_SYSTEM ? "a system error" : gai_strerror(rc));
        return -1;
    }
    rc = endpoint_collect(found, eps_out, max);
    freeaddrinfo(found);
    return rc;
}

int
endpoint_resolve(const struct url *url, struct endpoint *ep_out, char error[URL_ERROR_LEN])
{
    return endpoint_resolve_all(url, ep_out, 1, error) < 0 ? -1 : 0;
}

uint16_t
endpoint_port(const struct endpoint *ep)
{
    if (ep->addr.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&ep->addr)->sin_port);
    if (ep->addr.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&ep->addr)->sin6_port);
    return 0;
}

void
endpoint_set_port(struct endpoint *ep, uint16_t port)
{
    if (ep->addr.ss_family == AF_INET)
        ((struct sockaddr_in *)&ep->addr)->sin_port = htons(port);
    else if (ep->addr.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&ep->addr)->sin6_port = htons(port);
}

bool
endpoint_is_any(const struct endpoint *ep)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ep->addr;

    if (ep->addr.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&ep->addr)->sin_addr.s_addr == htonl(INADDR_ANY);
    return ep->addr.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
}

bool
endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    const struct sockaddr_in *a4 = (const void *)&a->addr, *b4 = (const void *)&b->addr;
    const struct sockaddr_in6 *a6 = (const void *)&a->addr, *b6 = (const void *)&b->addr;
    const char *a_path = endpoint_unix_path(a), *b_path = endpoint_unix_path(b);

    if (a->addr.ss_family != b->addr.ss_family || endpoint_port(a) != endpoint_port(b))
        return false;
    switch (a->addr.ss_family) {
    case AF_INET:
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    case AF_INET6:
        return a6->sin6_scope_id == b6->sin6_scope_id &&
               memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
    case AF_UNIX:
        return a_path != NULL && b_path != NULL && strcmp(a_path, b_path) == 0;
    }
    return false;
}

bool
endpoint_covers(const struct endpoint *wide, const struct endpoint *narrow)
{
    bool same_port = wide->addr.ss_family == narrow->addr.ss_family &&
                     endpoint_port(wide) == endpoint_port(narrow);

    return (same_port && endpoint_is_any(wide)) || endpoint_equal(wide, narrow);
}

bool
endpoint_overlaps(const struct endpoint *a, const struct endpoint *b)
{
    return endpoint_covers(a, b) || endpoint_covers(b, a);
}

bool
endpoint_is_told(const struct endpoint *eps, size_t n, size_t i)
{
    for (size_t j = 0; j < n; j++) {
        bool both = endpoint_is_any(&eps[j]) && endpoint_is_any(&eps[i]) &&
                    eps[j].addr.ss_family == AF_INET6 &&
                    endpoint_port(&eps[j]) == endpoint_port(&eps[i]);

        if (j != i && (both || endpoint_covers(&eps[j], &eps[i])))
            return false;
    }
    return true;
}

static void
endpoint_format_unix(const struct endpoint *ep, char *out)
{
    const size_t begin = offsetof(struct sockaddr_un, sun_path);
    const struct sockaddr_un *un = (const struct sockaddr_un *)&ep->addr;
    size_t n = ep->len > begin ? ep->len - begin : 0;
    const char *path = un->sun_path;

    memcpy(out, "unix:", 6);
    if (n > sizeof(un->sun_path))
        n = sizeof(un->sun_path);
    if (n == 0)
        return;
    if (path[0] != '\0')
        n = strnlen(path, n);
    text_escape(path, n, out + 5, ENDPOINT_TEXT_LEN - 5);
}

static void
endpoint_format_v6(const struct endpoint *ep, char *out)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ep->addr;
    char text[INET6_ADDRSTRLEN], zone[16] = "";

    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
    if (v6->sin6_scope_id != 0)
        snprintf(zone, sizeof(zone), "%%%u", v6->sin6_scope_id);
    snprintf(out, ENDPOINT_TEXT_LEN, "[%s%s]:%u", text, zone, ntohs(v6->sin6_port));
}

void
endpoint_format(const struct endpoint *ep, char out[ENDPOINT_TEXT_LEN])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&ep->addr;
    char text[INET_ADDRSTRLEN];

    switch (ep->addr.ss_family) {
    case AF_INET:
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
        snprintf(out, ENDPOINT_TEXT_LEN, "%s:%u", text, ntohs(v4->sin_port));
        break;
    case AF_INET6:
        endpoint_format_v6(ep, out);
        break;
    case AF_UNIX:
        endpoint_format_unix(ep, out);
        break;
    default:
        snprintf(out, ENDPOINT_TEXT_LEN, "unknown");
        break;
    }
}
