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
    return ep->addr.ss_family != AF_UNIX && endpoint_port(ep) == 0;
}

#define NO_PORT                                                                       \
    "no permission to listen there (a port under 1024 is for root, or for a program " \
    "with CAP_NET_BIND_SERVICE)"

void
listener_explain(const struct listener_config *lc, const struct endpoint *ep, int error,
                 struct failure *why)
{
    char text[ENDPOINT_TEXT_LEN], name[FAILURE_TEXT_LEN / 2];
    uint16_t port = endpoint_port(ep);

    endpoint_format(ep, text);
    snprintf(name, sizeof(name), "%s%s%s", lc->name, lc->endpoint_count > 1 ? ": " : "",
             lc->endpoint_count > 1 ? text : "");
    if (error == EADDRINUSE)
        failure_set(why, EX_UNAVAILABLE,
                    "%s: address already in use (another program listens there; choose another "
                    "with -l or stop it)",
                    name);
    else if (error == EADDRNOTAVAIL)
        failure_set(why, EX_UNAVAILABLE,
                    "%s: no such address on this machine (0.0.0.0 and [::] stand for all)", name);
    else if (error == EAFNOSUPPORT)
        failure_set(why, EX_UNAVAILABLE, "%s: this machine has no IPv%c", name,
                    ep->addr.ss_family == AF_INET6 ? '6' : '4');
    else if ((error == EACCES || error == EPERM) && port > 0 && port < 1024)
        failure_set(why, EX_NOPERM, "%s: " NO_PORT, name);
    else if (error == EACCES || error == EPERM)
        failure_set(why, EX_NOPERM, "%s: no permission to listen there", name);
    else if (endpoint_unix_path(ep) != NULL)
        failure_set(why, EX_CANTCREAT, "%s: %s", name, strerror(error));
    else
        failure_set(why, EX_OSERR, "%s: cannot listen: %s", name, strerror(error));
}

struct listener *
listener_create(const struct listener_config *lc, const struct endpoint *ep,
                const struct listen_socket *socket)
{
    struct listener *l = ms_calloc(1, sizeof(*l));

    l->refs = 1;
    l->socket = *socket;
    l->name = ms_strdup(lc->name);
    l->any_port = endpoint_any_port(ep);
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
    if (l->given || l->stored)
        l->socket.ino = 0; /* the file goes on */
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
listener_serves(const struct listener *l, const struct listener_config *lc,
                const struct endpoint *ep)
{
    struct endpoint wanted = *ep;

    if (l->listens && listen_is_shut_down(l->socket.fd))
        return false;
    if (!endpoint_any_port(ep))
        return endpoint_equal(&l->socket.bound, ep) && listen_file(&l->socket) != LISTEN_FILE_NONE;
    endpoint_set_port(&wanted, endpoint_port(&l->socket.bound));
    return l->any_port && strcmp(l->name, lc->name) == 0 &&
           endpoint_equal(&l->socket.bound, &wanted);
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
        log_line(LOG_socket_file_back, "%s: the socket's file is there again", l->name);
        break;
    case LISTEN_FILE_NONE:
        log_line(LOG_socket_file_gone,
                 "%s: the socket's file was removed: nobody can connect until msockctl reload "
                 "makes it anew",
                 l->name);
        break;
    case LISTEN_FILE_OTHER:
        log_line(LOG_socket_file_gone,
                 "%s: another file has taken the socket's name: nobody can connect", l->name);
        break;
    }
}

void
listener_apply(const struct listener *l, const struct listener_config *lc, gid_t gid)
{
    /* A worker can have changed it for all that share the socket. */
    if (fd_set_nonblock(l->socket.fd) < 0)
        log_line(LOG_listener_unchanged, "%s: cannot make the socket non-blocking: %s", lc->name,
                 strerror(errno));
    if (listen_begin(&l->socket, (int)lc->number[OPTION_BACKLOG], NULL) < 0)
        log_line(LOG_listener_unchanged, "%s: cannot change the backlog: %s", lc->name,
                 strerror(errno));
    if (endpoint_unix_path(&l->socket.bound) == NULL || l->given ||
        listen_allow(&l->socket, (mode_t)lc->number[OPTION_MODE], gid) == 0)
        return;
    if (errno == ESTALE)
        log_line(LOG_socket_file_gone,
                 "%s: another file has taken the socket's name: left alone, and nobody can connect",
                 lc->name);
    else
        log_line(LOG_listener_unchanged, "%s: cannot change the mode or the group: %s", lc->name,
                 strerror(errno));
}
