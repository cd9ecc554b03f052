/* Parses the few forms of a URL that the daemon says about itself. */
#include "harness.h"

#include "target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static bool
set_unix(const char *path, struct target *t)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&t->addr;

    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof(un->sun_path), "%s", path);
    t->len = sizeof(*un);
    return true;
}

static bool
set_inet(const char *text, struct target *t)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&t->addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&t->addr;
    char host[64] = "";
    unsigned port = 0;

    if (sscanf(text, "[%63[^]]]:%u", host, &port) == 2) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        t->len = sizeof(*in6);
        return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1;
    }
    if (sscanf(text, "%63[^:]:%u", host, &port) == 2) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        t->len = sizeof(*in);
        return inet_pton(AF_INET, host, &in->sin_addr) == 1;
    }
    return false;
}

void
target_from_url(const char *url, struct target *target_out)
{
    const char *rest = strstr(url, "://");
    bool good = false;

    memset(target_out, 0, sizeof(*target_out));
    snprintf(target_out->url, sizeof(target_out->url), "%s", url);
    if (rest != NULL)
        good = rest[3] == '/' ? set_unix(rest + 3, target_out) : set_inet(rest + 3, target_out);
    if (!good)
        fail_msg("no address in %s", url);
}

void
target_local(unsigned port, struct target *target_out)
{
    char url[64];

    snprintf(url, sizeof(url), "msp://127.0.0.1:%u", port);
    target_from_url(url, target_out);
}

unsigned
target_port(const struct target *target)
{
    if (target->addr.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&target->addr)->sin6_port);
    assert_int_equal(target->addr.ss_family, AF_INET);
    return ntohs(((const struct sockaddr_in *)&target->addr)->sin_port);
}
