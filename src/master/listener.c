/* Listening sockets of the master: kept over reloads, explained where they cannot be bound. */
#include "master/state.h"

#include "common/fd.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static bool
endpoint_any_port(const struct endpoint *ep)
{
    if (ep->addr.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&ep->addr)->sin_port == 0;
    if (ep->addr.ss_family == AF_INET6)
        return ((const struct sockaddr_in6 *)&ep->addr)->sin6_port == 0;
    return false;
}

/* By meaning, not by bytes: padding and flow labels do not make another address. */
static bool
endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    const struct sockaddr_in *a4 = (const void *)&a->addr, *b4 = (const void *)&b->addr;
    const struct sockaddr_in6 *a6 = (const void *)&a->addr, *b6 = (const void *)&b->addr;

    if (a->addr.ss_family != b->addr.ss_family)
        return false;
    switch (a->addr.ss_family) {
    case AF_INET:
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    case AF_INET6:
        return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
               memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
    case AF_UNIX:
        return strcmp(endpoint_unix_path(a), endpoint_unix_path(b)) == 0;
    }
    return false;
}

static void
listener_explain(const struct listener_config *lc, int error, struct failure *why)
{
    const char *name = lc->name;

    if (error == EADDRINUSE)
        failure_set(why, EX_UNAVAILABLE,
                    "%s: address already in use (another program listens there; choose another "
                    "with -l or stop it)",
                    name);
    else if (error == EADDRNOTAVAIL)
        failure_set(why, EX_UNAVAILABLE, "%s: no such address on this machine", name);
    else if (error == EACCES || error == EPERM)
        failure_set(why, EX_NOPERM, "%s: no permission to listen there", name);
    else if (endpoint_unix_path(&lc->endpoint) != NULL)
        failure_set(why, EX_CANTCREAT, "%s: %s", name, strerror(error));
    else
        failure_set(why, EX_OSERR, "%s: cannot listen: %s", name, strerror(error));
}

struct listener *
listener_open(const struct listener_config *lc, gid_t gid, struct failure *why)
{
    struct listener *l = ms_calloc(1, sizeof(*l));

    l->refs = 1;
    if (listen_open(&lc->endpoint, (int)lc->number[OPTION_BACKLOG], (mode_t)lc->number[OPTION_MODE],
                    gid, &l->socket) < 0) {
        listener_explain(lc, errno, why);
        free(l);
        return NULL;
    }
    l->name = ms_strdup(lc->name);
    l->any_port = endpoint_any_port(&lc->endpoint);
    return l;
}

struct listener *
listener_ref(struct listener *l)
{
    l->refs++;
    return l;
}

void
listener_unref(struct listener *l)
{
    MS_ASSERT(l->refs > 0);
    if (--l->refs > 0)
        return;
    listen_close(&l->socket);
    free(l->name);
    free(l);
}

void
listener_forget(struct listener *l)
{
    fd_close(&l->socket.fd);
}

bool
listener_serves(const struct listener *l, const struct listener_config *lc)
{
    if (endpoint_any_port(&lc->endpoint))
        return l->any_port && strcmp(l->name, lc->name) == 0;
    return endpoint_equal(&l->socket.bound, &lc->endpoint) &&
           listen_file(&l->socket) != LISTEN_FILE_NONE;
}

void
listener_look(struct listener *l)
{
    enum listen_file now = listen_file(&l->socket);

    if (now == l->file)
        return;
    l->file = now;
    switch (now) {
    case LISTEN_FILE_OURS:
        log_notice("%s: the socket's file is there again", l->name);
        break;
    case LISTEN_FILE_NONE:
        log_warn("%s: the socket's file was removed: nobody can connect until msockctl reload "
                 "makes it anew",
                 l->name);
        break;
    case LISTEN_FILE_OTHER:
        log_warn("%s: another file has taken the socket's name: nobody can connect", l->name);
        break;
    }
}

void
listener_apply(const struct listener *l, const struct listener_config *lc)
{
    if (listen(l->socket.fd, (int)lc->number[OPTION_BACKLOG]) < 0)
        log_warn("%s: cannot change the backlog: %s", lc->name, strerror(errno));
    if (endpoint_unix_path(&l->socket.bound) == NULL ||
        listen_chmod(&l->socket, (mode_t)lc->number[OPTION_MODE]) == 0)
        return;
    if (errno == ESTALE)
        log_warn("%s: another file has taken the socket's name: left alone, and nobody can connect",
                 lc->name);
    else
        log_warn("%s: cannot change the mode: %s", lc->name, strerror(errno));
}

void
listener_text(const struct listener *l, const struct listener_config *lc,
              char out[LISTENER_TEXT_LEN])
{
    char address[ENDPOINT_TEXT_LEN];
    const char *end = strstr(lc->name, "://");
    int scheme_len = end != NULL ? (int)(end - lc->name) : 0;

    if (endpoint_unix_path(&l->socket.bound) != NULL)
        snprintf(address, sizeof(address), "%s", endpoint_unix_path(&l->socket.bound));
    else
        endpoint_format(&l->socket.bound, address);
    snprintf(out, LISTENER_TEXT_LEN, "%.*s://%s", scheme_len < 20 ? scheme_len : 20, lc->name,
             address);
}
