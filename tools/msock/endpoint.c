#include "endpoint.h"

#include "msock.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define DEFAULT_PORT "8000"

static int
endpoint_unix(const char *path, size_t len, struct endpoint *ep, char *error, size_t n)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&ep->addr;

    if (len >= sizeof(un->sun_path)) {
        snprintf(error, n, "the path of the Unix socket is too long");
        return -1;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len);
    un->sun_path[len] = '\0';
    ep->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

static int
endpoint_inet(const char *host, const char *port, struct endpoint *ep, char *error, size_t n)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int rc = getaddrinfo(host, port, &hints, &list);

    if (rc != 0) {
        snprintf(error, n, "cannot resolve %s: %s", host, gai_strerror(rc));
        return -1;
    }
    memcpy(&ep->addr, list->ai_addr, list->ai_addrlen);
    ep->len = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

int
endpoint_from_url(const char *url, struct endpoint *ep_out, char *error, size_t n)
{
    struct endpoint ep = {.len = 0};
    const char *at, *port = DEFAULT_PORT;
    char host[256], *colon;
    size_t len;

    if (msock_url_error(url, error, n) != MSOCK_OK)
        return -1;
    at = strstr(url, "://");
    at = at != NULL ? at + 3 : url;
    len = strcspn(at, *at == '/' ? "?" : "/?");
    if (*at == '/') {
        if (endpoint_unix(at, len, &ep, error, n) < 0)
            return -1;
        *ep_out = ep;
        return 0;
    }
    snprintf(host, sizeof(host), "%.*s", (int)len, at);
    colon = strrchr(host, ':');
    if (colon != NULL && strchr(colon, ']') == NULL) {
        *colon = '\0';
        port = colon + 1;
    }
    at = host;
    if (host[0] == '[') {
        host[strcspn(host, "]")] = '\0';
        at = host + 1;
    }
    if (endpoint_inet(at, port, &ep, error, n) < 0)
        return -1;
    *ep_out = ep;
    return 0;
}

struct endpoint
endpoint_loopback(uint16_t port)
{
    struct endpoint ep = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&ep.addr;

    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ep;
}

uint16_t
endpoint_local_port(int fd)
{
    struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(addr);

    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return 0;
    if (addr.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&addr)->sin_port);
    if (addr.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
    return 0;
}
