/* The addresses of a server: literal, of this host, or from the resolver. What is known of an
 * address stays with it when its name is looked up again. */
#include "common/dial_state.h"
#include "common/lookup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct dial_list {
    unsigned count;
    struct endpoint at[DIAL_MAX];
};

static void
dial_add(struct dial_list *list, const struct endpoint *ep)
{
    for (unsigned i = 0; i < list->count; i++)
        if (endpoint_equal(&list->at[i], ep))
            return;
    if (list->count < DIAL_MAX)
        list->at[list->count++] = *ep;
}

/* Takes all addresses of the resolver in its order, but the families take turns. */
static void
dial_add_found(struct dial_list *list, const struct addrinfo *found)
{
    const struct addrinfo *next[] = {found, found}; /* of the first one's family, and others */

    for (unsigned turn = 0; next[0] != NULL || next[1] != NULL; turn ^= 1) {
        const struct addrinfo *a = next[turn];
        struct endpoint ep = {.len = 0};

        while (a != NULL && (a->ai_family == found->ai_family) != (turn == 0))
            a = a->ai_next;
        next[turn] = a != NULL ? a->ai_next : NULL;
        if (a == NULL || (a->ai_family != AF_INET && a->ai_family != AF_INET6))
            continue;
        ep.len = a->ai_addrlen;
        memcpy(&ep.addr, a->ai_addr, a->ai_addrlen);
        endpoint_unmap(&ep);
        dial_add(list, &ep);
    }
}

static void
dial_add_localhost(struct dial_list *list, uint16_t port)
{
    const struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct endpoint ep = {.len = sizeof(v6)};

    memcpy(&ep.addr, &v6, sizeof(v6));
    dial_add(list, &ep);
    ep = (struct endpoint){.len = sizeof(v4)};
    memcpy(&ep.addr, &v4, sizeof(v4));
    dial_add(list, &ep);
}

/* These names are this host's, with or without a resolver that knows it (RFC 6761). */
static bool
dial_is_localhost(const char *host)
{
    static const char name[] = "localhost";
    size_t n = strlen(host), len = sizeof(name) - 1;

    n -= n > 0 && host[n - 1] == '.';
    return n >= len && strncasecmp(host + n - len, name, len) == 0 &&
           (n == len || host[n - len - 1] == '.');
}

/* --- what it means for the server --- */

static void
dial_unfound(struct dialer *d, struct dial_server *s)
{
    s->state = DIAL_UNFOUND;
    dial_record_failure(d, &s->record);
}

static int
dial_starved(struct dialer *d, struct dial_server *s)
{
    d->is_starved = true;
    dial_say_why(d, s, "there is no memory");
    return -1;
}

/* The list is the server's now. Returns 0, or -1. */
static int
dial_store(struct dialer *d, struct dial_server *s, const struct dial_list *found)
{
    struct dial_address *list = ms_calloc(DIAL_MAX, sizeof(*list));
    uint8_t order[DIAL_MAX];

    if (list == NULL)
        return dial_starved(d, s);
    dial_arrange_name(d, order, found->count);
    for (unsigned i = 0; i < found->count; i++) {
        list[i] = (struct dial_address){.at = found->at[order[i]], .fd = -1};
        for (unsigned k = 0; k < s->count; k++)
            if (endpoint_equal(&s->list[k].at, &list[i].at)) {
                list[i].record = s->list[k].record;
                list[i].worked = s->list[k].worked;
            }
    }
    free(s->list);
    s->list = list;
    s->count = found->count;
    s->state = DIAL_FOUND;
    s->record = (struct dial_record){.failures = 0};
    return 0;
}

/* --- resolving --- */

static int
dial_fail_lookup(struct dialer *d, struct dial_server *s, int rc, int error)
{
    char reason[128];

    if (rc == EAI_MEMORY || (rc == EAI_SYSTEM && error == ENOMEM))
        return dial_starved(d, s);
    dial_say_why(d, s, "cannot find the address of \"%s\": %s", s->at.host,
                 rc == EAI_SYSTEM ? strerror_r(error, reason, sizeof(reason)) : gai_strerror(rc));
    return -1;
}

/* Has a lookup under way. */
static int
dial_ask(struct dialer *d, struct dial_server *s)
{
    char reason[128];

    if (!lookup_is_useful(s->lookup)) {
        lookup_leave(s->lookup);
        s->lookup = NULL;
        if (lookup_late_count() >= LOOKUPS_LATE_MAX) {
            dial_say_why(d, s,
                         "cannot find the address of \"%s\": the resolver has not answered %d"
                         " earlier questions yet",
                         s->at.host, LOOKUPS_LATE_MAX);
            return -1;
        }
        s->lookup = lookup_start(s->at.host, s->at.port);
    }
    if (s->lookup == NULL && errno == ENOMEM)
        return dial_starved(d, s);
    if (s->lookup == NULL) {
        dial_say_why(d, s,
                     "cannot find the address of \"%s\": no thread can be started, or there is no"
                     " descriptor: %s",
                     s->at.host, strerror_r(errno, reason, sizeof(reason)));
        return -1;
    }
    s->state = DIAL_ASKING;
    s->begun = ++d->begun;
    return 0;
}

/* What has a colon, or digits and dots only, is a literal or wrong. */
static bool
dial_may_be_name(const char *host)
{
    return strchr(host, ':') == NULL && host[strspn(host, "0123456789.")] != '\0';
}

/* Returns 1 where the host is a name. */
static int
dial_read_literal(struct dialer *d, struct dial_server *s, struct dial_list *list)
{
    struct addrinfo *found = NULL;
    char port[8];
    int rc;

    snprintf(port, sizeof(port), "%u", (unsigned)s->at.port);
    rc = lookup_ask(s->at.host, port, AI_NUMERICHOST, &found);
    if (rc == EAI_NONAME && dial_may_be_name(s->at.host))
        return 1;
    if (rc == EAI_NONAME) {
        dial_say_why(d, s, "%s: %s", s->name,
                     strchr(s->at.host, '%') != NULL ? "this host has no such interface"
                                                     : "that is no address");
        return -1;
    }
    if (rc != 0)
        return dial_fail_lookup(d, s, rc, errno);
    dial_add_found(list, found);
    freeaddrinfo(found);
    return 0;
}

static int
dial_read_unix(struct dialer *d, struct dial_server *s, struct dial_list *list)
{
    char error[URL_ERROR_LEN];
    struct endpoint ep;

    if (endpoint_resolve(d->url, &ep, error) < 0) {
        dial_say_why(d, s, "%s", error);
        return -1;
    }
    dial_add(list, &ep);
    return 0;
}

/* Without asking anybody. Returns 1 where the host is a name. */
static int
dial_read(struct dialer *d, struct dial_server *s)
{
    struct dial_list list = {.count = 0};
    int rc = 0;

    if (d->url->path != NULL)
        rc = dial_read_unix(d, s, &list);
    else if (dial_is_localhost(s->at.host))
        dial_add_localhost(&list, s->at.port);
    else
        rc = dial_read_literal(d, s, &list);
    return rc == 0 ? dial_store(d, s, &list) : rc;
}

void
dial_find(struct dialer *d, struct dial_server *s)
{
    int rc = dial_read(d, s);

    if (rc < 0 || (rc > 0 && dial_ask(d, s) < 0))
        dial_unfound(d, s);
}

void
dial_found(struct dialer *d, struct dial_server *s)
{
    struct dial_list list = {.count = 0};
    int error, rc;
    const struct addrinfo *found = lookup_answer(s->lookup, &rc, &error);

    if (rc == 0)
        dial_add_found(&list, found);
    if (rc == 0 && list.count == 0)
        rc = EAI_NONAME;
    rc = rc != 0 ? dial_fail_lookup(d, s, rc, error) : dial_store(d, s, &list);
    if (rc < 0)
        dial_unfound(d, s);
    lookup_leave(s->lookup);
    s->lookup = NULL;
}

void
dial_find_ended(struct dialer *d, struct dial_server *s)
{
    lookup_give_up(s->lookup);
    dial_say_why(d, s,
                 "cannot find the address of \"%s\": the resolver has not answered within %u ms",
                 s->at.host, d->ms);
    dial_unfound(d, s);
}

const struct endpoint *
dial_only(struct dialer *d)
{
    struct dial_server *s = &d->servers[0];

    return d->count == 1 && dial_read(d, s) == 0 && s->count == 1 ? &s->list[0].at : NULL;
}
