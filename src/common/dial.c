/* Tries the addresses of a server: see the header. */
#include "common/dial.h"

#include "common/fd.h"
#include "common/lookup.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/time.h>
#include <unistd.h>

static int MS_PRINTF(2, 3) dial_fail(struct dialer *d, const char *fmt, ...)
{
    int error = errno;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d->error, sizeof(d->error), fmt, ap);
    va_end(ap);
    errno = error;
    return -1;
}

static int
dial_starved(struct dialer *d)
{
    errno = ENOMEM;
    return dial_fail(d, "there is no memory");
}

/* --- the list --- */

static void
dial_add(struct dialer *d, const struct endpoint *ep)
{
    for (unsigned i = 0; i < d->count; i++)
        if (endpoint_equal(&d->list[i].at, ep))
            return;
    if (d->count < DIAL_MAX)
        d->list[d->count++] = (struct dial_address){.at = *ep, .fd = -1};
}

/* Takes all addresses of the resolver in its order, but the families take turns. */
static void
dial_add_found(struct dialer *d, const struct addrinfo *found)
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
        dial_add(d, &ep);
    }
}

static void
dial_add_localhost(struct dialer *d)
{
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                                    .sin6_port = htons(d->url->port),
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr_in v4 = {.sin_family = AF_INET,
                                   .sin_port = htons(d->url->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct endpoint ep = {.len = sizeof(v6)};

    memcpy(&ep.addr, &v6, sizeof(v6));
    dial_add(d, &ep);
    ep = (struct endpoint){.len = sizeof(v4)};
    memcpy(&ep.addr, &v4, sizeof(v4));
    dial_add(d, &ep);
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

/* What an address has done before, it may do again: it takes its place by that. */
static void
dial_sort(struct dialer *d, const struct dial_address *known, unsigned known_count)
{
    for (unsigned i = 0; i < d->count; i++) {
        struct dial_address one = d->list[i];
        unsigned to = i;

        for (unsigned k = 0; k < known_count; k++)
            if (endpoint_equal(&known[k].at, &one.at))
                one.failed_us = known[k].failed_us;
        for (; to > 0 && d->list[to - 1].failed_us > one.failed_us; to--)
            d->list[to] = d->list[to - 1];
        d->list[to] = one;
    }
}

/* --- resolving --- */

static int
dial_fail_lookup(struct dialer *d, int rc, int error)
{
    char reason[128];

    if (rc == EAI_MEMORY || (rc == EAI_SYSTEM && error == ENOMEM))
        return dial_starved(d);
    errno = EHOSTUNREACH;
    return dial_fail(d, "cannot find the address of \"%s\": %s", d->url->host,
                     rc == EAI_SYSTEM ? strerror_r(error, reason, sizeof(reason))
                                      : gai_strerror(rc));
}

/* Has a lookup under way. */
static int
dial_ask(struct dialer *d)
{
    char reason[128];

    if (lookup_is_useful(d->lookup))
        return 0;
    lookup_leave(d->lookup);
    d->lookup = NULL;
    if (lookup_late_count() >= LOOKUPS_LATE_MAX) {
        errno = EAGAIN;
        return dial_fail(d,
                         "cannot find the address of \"%s\": the resolver has not answered %d"
                         " earlier questions yet",
                         d->url->host, LOOKUPS_LATE_MAX);
    }
    d->lookup = lookup_start(d->url);
    if (d->lookup != NULL)
        return 0;
    return errno == ENOMEM
               ? dial_starved(d)
               : dial_fail(d, "cannot find the address of \"%s\": no thread can be started: %s",
                           d->url->host, strerror_r(errno, reason, sizeof(reason)));
}

/* Looks a name up in a thread. */
static int
dial_look_up(struct dialer *d)
{
    const struct addrinfo *found;
    int rc, error;

    if (dial_ask(d) < 0)
        return -1;
    if (!lookup_wait(d->lookup, d->deadline_us)) {
        errno = ETIMEDOUT;
        return dial_fail(d,
                         "cannot find the address of \"%s\": the resolver has not answered within"
                         " %u ms",
                         d->url->host, d->ms);
    }
    found = lookup_answer(d->lookup, &rc, &error);
    if (rc != 0)
        rc = dial_fail_lookup(d, rc, error);
    else
        dial_add_found(d, found);
    lookup_leave(d->lookup);
    d->lookup = NULL;
    return rc;
}

/* What has a colon, or digits and dots only, is a literal or wrong. */
static bool
dial_may_be_name(const char *host)
{
    return strchr(host, ':') == NULL && host[strspn(host, "0123456789.")] != '\0';
}

/* Returns 1 where the host is a name. */
static int
dial_read_literal(struct dialer *d)
{
    struct addrinfo *found = NULL;
    char port[8];
    int rc;

    snprintf(port, sizeof(port), "%u", (unsigned)d->url->port);
    rc = lookup_ask(d->url->host, port, AI_NUMERICHOST, &found);
    if (rc == EAI_NONAME && dial_may_be_name(d->url->host))
        return 1;
    if (rc == EAI_NONAME) {
        errno = EINVAL;
        return dial_fail(d, "%s: %s", d->name,
                         strchr(d->url->host, '%') != NULL ? "this host has no such interface"
                                                           : "that is no address");
    }
    if (rc != 0)
        return dial_fail_lookup(d, rc, errno);
    dial_add_found(d, found);
    freeaddrinfo(found);
    return 0;
}

static int
dial_find(struct dialer *d)
{
    struct endpoint ep;
    int rc;

    if (d->url->path != NULL) {
        if (endpoint_resolve(d->url, &ep, d->error) < 0)
            return -1;
        dial_add(d, &ep);
        return 0;
    }
    if (dial_is_localhost(d->url->host)) {
        dial_add_localhost(d);
        return 0;
    }
    rc = dial_read_literal(d);
    return rc > 0 ? dial_look_up(d) : rc;
}

int
dial_resolve(struct dialer *d, unsigned ms)
{
    struct dial_address known[DIAL_MAX];
    unsigned known_count = d->count;

    memcpy(known, d->list, sizeof(known));
    d->ms = ms;
    d->deadline_us = clock_mono_us() + (uint64_t)ms * 1000;
    d->count = 0;
    if (dial_find(d) < 0) {
        memcpy(d->list, known, sizeof(known)); /* what is known of them still holds */
        d->count = known_count;
        return -1;
    }
    dial_sort(d, known, known_count);
    return 0;
}

/* --- connecting --- */

bool
dial_is_self(int fd)
{
    struct endpoint own = {.len = sizeof(own.addr)}, other = own;

    return getsockname(fd, (struct sockaddr *)&own.addr, &own.len) == 0 &&
           getpeername(fd, (struct sockaddr *)&other.addr, &other.len) == 0 &&
           own.addr.ss_family != AF_UNIX && endpoint_equal(&own, &other);
}

void
dial_reset(int *fd)
{
    const struct linger now = {.l_onoff = 1};

    if (*fd >= 0)
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    fd_close(fd);
}

/* Ends a try. It may be connected meanwhile: a server could take that for a message of no bytes. */
static void
dial_drop(struct dial_address *a, int error)
{
    dial_reset(&a->fd);
    a->error = error;
    a->failed_us = (int64_t)clock_mono_us();
}

static void
dial_begin(struct dial_address *a)
{
    int on = 1;

    a->fd = fd_above_standard(
        socket(a->at.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (a->fd >= 0 && setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
        (connect(a->fd, (const struct sockaddr *)&a->at.addr, a->at.len) == 0 ||
         errno == EINPROGRESS || errno == EINTR))
        return;
    dial_drop(a, errno);
}

/* Something has happened to a try. True where it is connected; otherwise it is ended. */
static bool
dial_has_won(struct dial_address *a)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0 && dial_is_self(a->fd))
        error = ECONNREFUSED;
    if (error != 0)
        dial_drop(a, error);
    return error == 0;
}

/* How long the newest try is left alone: where time is short, all get their turn. */
static uint64_t
dial_patience_us(const struct dialer *d, unsigned begun, uint64_t now_us)
{
    uint64_t left = d->deadline_us > now_us ? d->deadline_us - now_us : 0;
    uint64_t share = left / (d->count - begun + 1);

    return share < DIAL_STAGGER_US ? share : DIAL_STAGGER_US;
}

/* Waits until one of the tries is decided, or the time is until_us. *decided_out is how many
 * were. Returns the one that is connected, or NULL. */
static struct dial_address *
dial_watch(struct dialer *d, uint64_t until_us, unsigned *decided_out)
{
    struct pollfd watched[DIAL_MAX];
    uint64_t now = clock_mono_us(), left = now < until_us ? (until_us - now + 999) / 1000 : 0;
    struct dial_address *won = NULL;

    for (unsigned i = 0; i < d->count; i++)
        watched[i] = (struct pollfd){.fd = d->list[i].fd, .events = POLLOUT};
    *decided_out = 0;
    if (poll(watched, d->count, left > 3600000 ? 3600000 : (int)left) <= 0)
        return NULL;
    for (unsigned i = 0; i < d->count && won == NULL; i++) {
        if (watched[i].revents == 0)
            continue;
        ++*decided_out;
        won = dial_has_won(&d->list[i]) ? &d->list[i] : NULL;
    }
    return won;
}

/* Returns the address that connects first; NULL: none does in time. */
static struct dial_address *
dial_race(struct dialer *d)
{
    unsigned begun = 0, under_way = 0, decided;
    struct dial_address *won = NULL;
    uint64_t next_us = 0, now;

    while (won == NULL && (begun < d->count || under_way > 0)) {
        now = clock_mono_us();
        if (begun < d->count && now >= next_us) {
            dial_begin(&d->list[begun++]);
            if (d->list[begun - 1].fd < 0)
                continue;
            under_way++;
            next_us = now + dial_patience_us(d, begun, now);
        }
        won = dial_watch(d, begun < d->count ? next_us : d->deadline_us, &decided);
        under_way -= decided;
        if (decided > 0)
            next_us = 0;
        else if (begun == d->count && clock_mono_us() >= d->deadline_us)
            break;
    }
    return won;
}

/* A full backlog makes connect(2) on a non-blocking Unix socket fail with EAGAIN and nothing to
 * poll for, so there the kernel does the waiting. */
static struct dial_address *
dial_unix(struct dialer *d)
{
    struct dial_address *a = &d->list[0];
    const struct timeval limit = {.tv_sec = d->ms / 1000, .tv_usec = d->ms % 1000 * 1000};
    int rc = -1;

    a->fd = fd_above_standard(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (a->fd >= 0 && setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0)
        do {
            rc = connect(a->fd, (const struct sockaddr *)&a->at.addr, a->at.len);
        } while (rc < 0 && errno == EINTR && clock_mono_us() < d->deadline_us);
    if (rc == 0 && fd_set_nonblock(a->fd, 1) == 0)
        return a;
    dial_drop(a, errno == EAGAIN || errno == EINTR ? ETIMEDOUT : errno);
    return NULL;
}

/* --- what is said where no address connects --- */

static void MS_PRINTF(2, 3) dial_say(struct dialer *d, const char *fmt, ...)
{
    size_t len = strlen(d->error);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d->error + len, sizeof(d->error) - len, fmt, ap);
    va_end(ap);
}

static void
dial_say_reason(struct dialer *d, int error)
{
    char reason[128];

    switch (error) {
    case 0:
        dial_say(d, "not tried, no time was left");
        break;
    case ECONNREFUSED:
        dial_say(d, "connection refused");
        break;
    case ENOENT:
        dial_say(d, "there is no such socket");
        break;
    case ETIMEDOUT:
        dial_say(d, "no connection within %u ms", d->ms);
        break;
    case EADDRNOTAVAIL:
        dial_say(d, "no connection: this host has no free port or no address for it");
        break;
    default:
        dial_say(d, "no connection: %s", strerror_r(error, reason, sizeof(reason)));
        break;
    }
}

/* The name, each address where that is not the same, and the reasons. Sets errno. */
static int
dial_say_all(struct dialer *d)
{
    bool nobody_there = true;
    char text[ENDPOINT_TEXT_LEN];

    dial_fail(d, "%s: ", d->name);
    for (unsigned i = 0; i < d->count; i++) {
        int error = d->list[i].error;

        nobody_there &= error == ECONNREFUSED || error == ENOENT;
        endpoint_format(&d->list[i].at, text);
        if (i > 0)
            dial_say(d, "; ");
        if (d->count > 1 || (strcmp(text, d->name) != 0 && d->url->path == NULL))
            dial_say(d, "%s: ", text);
        dial_say_reason(d, error);
    }
    if (nobody_there)
        dial_say(d, " (is msockd running there?)");
    errno = d->list[0].error != 0 ? d->list[0].error : ETIMEDOUT;
    return -1;
}

int
dial_connect(struct dialer *d, int *fd_out)
{
    struct dial_address *won;

    for (unsigned i = 0; i < d->count; i++)
        d->list[i].error = 0;
    won = d->url->path != NULL ? dial_unix(d) : dial_race(d);
    if (won != NULL) {
        *fd_out = fd_steal(&won->fd);
        won->failed_us = DIAL_WORKED;
    }
    for (unsigned i = 0; i < d->count; i++)
        if (d->list[i].fd >= 0)
            dial_drop(&d->list[i], ETIMEDOUT);
    return won != NULL ? 0 : dial_say_all(d);
}

static const struct dial_address *
dial_last(const struct dialer *d)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->list[i].failed_us == DIAL_WORKED)
            return &d->list[i];
    return NULL;
}

void
dial_failed(struct dialer *d)
{
    for (unsigned i = 0; i < d->count; i++)
        if (d->list[i].failed_us == DIAL_WORKED)
            d->list[i].failed_us = (int64_t)clock_mono_us();
}

const struct endpoint *
dial_endpoint(const struct dialer *d)
{
    const struct dial_address *last = dial_last(d);

    return last != NULL ? &last->at : &d->list[0].at;
}

void
dialer_init(struct dialer *d, const struct url *url, const char *name)
{
    *d = (struct dialer){.url = url, .name = name};
}

void
dialer_fini(struct dialer *d)
{
    lookup_leave(d->lookup);
    d->lookup = NULL;
}
