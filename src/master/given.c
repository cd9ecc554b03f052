/* Sockets from the service manager, as sd_listen_fds(3) and sd_pid_notify_with_fds(3) describe:
 * those of a socket unit, and those that it kept for us over a restart. Invariant: what is given
 * stays the manager's. */
#include "master/state.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GIVEN_FIRST    (STDERR_FILENO + 1)
#define GIVEN_UNNAMED  "unknown" /* as systemd calls those without a name */
#define GIVEN_NAME_LEN 256       /* with NUL; of a descriptor, for systemd */

void
given_take(struct given *out)
{
    static const char *const variables[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
                                            "LISTEN_PIDFDID"};
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    uint64_t whose, count;

    *out = (struct given){.names = ""};
    if (pid != NULL && text_parse_number(pid, 0, INT32_MAX, &whose) == 0 &&
        whose == (uint64_t)getpid() && fds != NULL &&
        text_parse_number(fds, 0, INT32_MAX, &count) == 0) {
        while (out->count < count && out->count < LISTEN_SOCKETS_MAX &&
               fcntl(GIVEN_FIRST + (int)out->count, F_GETFD) >= 0)
            out->count++;
        out->left_out = (unsigned)count - out->count;
        if (names != NULL)
            out->names = names;
    }
    for (size_t i = 0; i < MS_ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
}

/* The name under which the manager keeps a socket: its address, without the colons that no such
 * name has. */
static void
stored_name(const struct listen_socket *s, char out[ENDPOINT_TEXT_LEN])
{
    endpoint_format(&s->bound, out);
    for (char *c = out; *c != '\0'; c++)
        if (*c == ':')
            *c = ';';
}

/* The next name of names, moved on behind it. */
static void
given_name(const char **names, char out[GIVEN_NAME_LEN])
{
    size_t n = strcspn(*names, ":");

    if (n > 0)
        snprintf(out, GIVEN_NAME_LEN, "%.*s", (int)n, *names);
    else
        snprintf(out, GIVEN_NAME_LEN, GIVEN_UNNAMED);
    *names += n + ((*names)[n] == ':');
}

static const char *
given_unfit(int error)
{
    if (error == ENOTSOCK)
        return "is no socket";
    if (error == EPROTOTYPE)
        return "is no stream socket (ListenStream=)";
    return "does not listen: a connection is given with Accept=yes";
}

static void
given_add(struct master *m, int fd, const char *name)
{
    struct listener *l = ms_calloc(1, sizeof(*l));
    char own[ENDPOINT_TEXT_LEN];

    if (listen_adopt(fd, &l->socket) < 0) {
        log_line(LOG_given_unfit, "left out: descriptor %d from the service manager (%s) %s", fd,
                 name, given_unfit(errno));
        fd_close(&fd);
        free(l);
        return;
    }
    stored_name(&l->socket, own);
    l->refs = 1;
    l->name = ms_strdup(name);
    l->stored = strcmp(name, own) == 0;
    l->given = !l->stored;
    l->listens = true;
    l->end_us = UINT64_MAX;
    l->next = m->retired;
    m->retired = l;
}

/* A name too many or too few, such as one with a colon, may have moved all that follow. */
static void
given_mind_names(const struct given *given)
{
    unsigned count = 1, all = given->count + given->left_out;

    if (all == 0 || given->names[0] == '\0')
        return;
    for (const char *c = given->names; *c != '\0'; c++)
        count += *c == ':';
    if (count != all)
        log_line(LOG_given_names,
                 "the service manager has given %u descriptors and %u names (LISTEN_FDNAMES): what "
                 "has no name is called " GIVEN_UNNAMED,
                 all, count);
}

void
given_open(struct master *m, const struct given *given)
{
    const char *names = given->names;
    char name[GIVEN_NAME_LEN];

    given_mind_names(given);

    for (unsigned i = 0; i < given->count; i++) {
        given_name(&names, name);
        given_add(m, GIVEN_FIRST + (int)i, name);
    }
    if (given->left_out > 0)
        log_line(LOG_given_unfit,
                 "left out: %u descriptors from the service manager behind the first %u, which "
                 "are all that %s",
                 given->left_out, given->count,
                 given->count < LISTEN_SOCKETS_MAX ? "are open" : "msockd can use");
}

/* Those that no listener has. */
static void
given_mind(const struct master *m)
{
    struct buffer names;

    buffer_init(&names);
    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        if (l->given)
            buffer_printf(&names, "%ssystemd:%s", names.len > 0 ? ", " : "", l->name);
    if (names.len > 0)
        log_line(LOG_given_unused, "no listener has these sockets of the service manager: %s",
                 buffer_cstr(&names));
    buffer_fini(&names);
}

/* Those that are retired are forgotten first: one that follows may have the same name. */
void
given_tell(struct master *m)
{
    char name[ENDPOINT_TEXT_LEN];

    for (struct listener *l = m->retired; l != NULL; l = l->next) {
        if (!l->stored)
            continue;
        stored_name(&l->socket, name);
        notify_forget(&m->notify, name);
        l->stored = false;
        if (l->end_us == UINT64_MAX)
            l->end_us = 0;
    }
    for (size_t k = 0; m->notify.len > 0 && k < m->current->socket_count; k++) {
        struct listener *l = m->current->sockets[k].socket;

        if (l->given || l->any_port)
            continue;
        stored_name(&l->socket, name);
        notify_store(&m->notify, name, l->socket.fd);
        l->stored = true;
    }
    given_mind(m);
}
