/* Who the peer of a connection is (docs/protocol.md, Identity), and what follows from it for the
 * paths of its files. */
#include "worker/conn.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define DIRECTORY_MAX 256  /* bytes of the prefix, with its slash */
#define PREFIXED_MAX  2000 /* bytes of a path with its prefix */

void
conn_set_identity(struct conn *c, const char *kind, const char *name)
{
    size_t size = strlen(kind) + strlen(name) + 1;

    free(c->identity); /* a certificate goes before the user of a Unix socket */
    c->identity = ms_malloc(size);
    if (conn_is_starved(c))
        return;
    snprintf(c->identity, size, "%s%s", kind, name);
    stats_writer_identity(c->slot, c->identity);
}

/* The name of a user, or its number; looked up once for many connections of one. */
static const char *
worker_user(struct worker *w, uid_t uid)
{
    char space[4096];
    struct passwd pw, *found = NULL;

    if (w->user[0] != '\0' && w->uid == uid)
        return w->user;
    w->uid = uid;
    if (getpwuid_r(uid, &pw, space, sizeof(space), &found) == 0 && found != NULL)
        snprintf(w->user, sizeof(w->user), "%s", pw.pw_name);
    else
        snprintf(w->user, sizeof(w->user), "%u", (unsigned)uid);
    return w->user;
}

/* Who is at the other end, where it is a Unix socket. */
void
conn_note_user(struct conn *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (c->slot->family == STATS_FAMILY_UNIX &&
        getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
        stats_writer_peer_pid(c->slot, (uint32_t)cred.pid);
        conn_set_identity(c, "user:", worker_user(conn_worker(c), cred.uid));
    }
}

/* --- ?prefix=identity --- */

/* Is it of a character that could mean something in a path, or on a terminal? Some of the latter
 * have two bytes, U+0080 to U+009F. */
static bool
prefix_escapes(const unsigned char *p, unsigned char before)
{
    return *p < 0x20 || *p == 0x7f || *p == '/' || *p == '%' || *p == '\\' ||
           (*p == 0xc2 && p[1] < 0xa0) || (before == 0xc2 && *p < 0xa0);
}

/* A name of one directory, with such bytes as %XX. */
static size_t
prefix_write(const char *identity, char *out)
{
    unsigned char before = 0;
    size_t n = 0;

    for (const unsigned char *p = (const unsigned char *)identity; *p != '\0'; before = *p++)
        if (prefix_escapes(p, before))
            n += (size_t)sprintf(out + n, "%%%02X", *p);
        else
            out[n++] = (char)*p;
    out[n++] = '/';
    return n;
}

/* Returns why it cannot be, or NULL. */
static const char *
prefix_add(const char *identity, struct message *m)
{
    size_t room = 3 * strlen(identity) + 1 + m->value_len, prefix, n;
    char *path = ms_malloc(room + 1);
    const char *why = NULL;

    if (path == NULL)
        return "there is no memory for its path";
    prefix = prefix_write(identity, path);
    memcpy(path + prefix, m->value, m->value_len);
    n = prefix + m->value_len;
    if (prefix > DIRECTORY_MAX)
        why = "the name of the sender is too long for a directory";
    else
        why = n > PREFIXED_MAX ? "the path is too long" : path_check(path, n);
    if (why == NULL)
        message_set_value(m, path, n);
    free(path);
    return why;
}

void
conn_take_file(struct conn *c, struct message *m)
{
    const char *why = NULL;

    if (c->listener->child->config->number[OPTION_PREFIX] != 0)
        why = c->identity == NULL ? "the listener has no identity for it"
                                  : prefix_add(c->identity, m);
    if (why != NULL)
        conn_answer_here(
            c, m, &(struct verdict){.outcome = PROTO_REFUSED, .code = "bad-path", .text = why});
    else
        conn_take(c, m);
}
