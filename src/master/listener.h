/* A listening socket: bound once, shared by all workers of all generations that listen there,
 * closed when the last generation has let go of it. Only the master binds and closes; IPv4, IPv6
 * (never mapped IPv4), Unix. */
#ifndef MASTER_LISTENER_H
#define MASTER_LISTENER_H

#include "common/listen.h"
#include "config/config.h"
#include "master/failure.h"

#include <stdbool.h>

struct listener {
    unsigned refs;
    struct listen_socket socket;
    char *name;    /* of the configuration that bound it */
    bool any_port; /* the kernel chose the port */
};

/* Binds and listens; a Unix socket's file gets lc->mode and group gid unless that is (gid_t)-1, and
 * a stale file is removed once a connect has shown that nobody listens. Returns one reference, or
 * NULL with the reason. */
MS_MUST_CHECK struct listener *
listener_open(const struct listener_config *lc, gid_t gid, struct failure *why);

struct listener *listener_ref(struct listener *l);

/* The last one closes, and removes the file of a Unix socket. */
void listener_unref(struct listener *l);

/* In a child: closes the descriptor and leaves everything else to the master. */
void listener_forget(struct listener *l);

/* True where this socket is the one that lc asks for: same address, or port 0 under the same
 * name. */
bool listener_serves(const struct listener *l, const struct listener_config *lc);

/* Applies what can change on a bound socket: the backlog, and a Unix socket's mode. A failure is
 * logged; the socket goes on as it was. What has taken the name of a Unix socket's file is not
 * touched. */
void listener_apply(const struct listener *l, const struct listener_config *lc);

#define LISTENER_TEXT_LEN (ENDPOINT_TEXT_LEN + 32)

/* "msp://127.0.0.1:43117", "msp:///run/msock.sock": the URL with the real address. */
void listener_text(const struct listener *l, const struct listener_config *lc,
                   char out[LISTENER_TEXT_LEN]);

#endif
