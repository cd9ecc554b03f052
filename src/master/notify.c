/* Tells the service manager how it goes, as sd_notify(3) describes: a datagram of lines. Invariant:
 * nothing waits for the manager, and nothing depends on it. */
#include "master/state.h"

#include "common/fd.h"
#include "common/text.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOTIFY_MAX 1024 /* bytes of a datagram */

/* Takes a variable out of the environment, which commands of handlers inherit. NULL: it is not
 * there, or meant for another process. */
static const char *
notify_variable(const char *name, char *out, size_t size)
{
    const char *value = getenv(name);

    snprintf(out, size, "%s", value != NULL ? value : "");
    unsetenv(name);
    return out[0] != '\0' ? out : NULL;
}

static void
notify_open_watchdog(struct notify *n)
{
    char text[32], pid[32];
    const char *usec = notify_variable("WATCHDOG_USEC", text, sizeof(text));
    const char *whose = notify_variable("WATCHDOG_PID", pid, sizeof(pid));

    if (usec == NULL || (whose != NULL && strtol(whose, NULL, 10) != getpid()))
        return;
    n->watchdog_us = strtoull(usec, NULL, 10) / 2;
}

void
notify_open(struct notify *n)
{
    char path[sizeof(n->to.sun_path)];
    const char *name = notify_variable("NOTIFY_SOCKET", path, sizeof(path));

    *n = (struct notify){.to = {.sun_family = AF_UNIX}};
    notify_open_watchdog(n);
    if (name == NULL || (name[0] != '/' && name[0] != '@'))
        return;
    n->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    memcpy(n->to.sun_path, name, strlen(name));
    if (name[0] == '@')
        n->to.sun_path[0] = '\0';
}

/* With a copy of the descriptor, unless that is -1. */
static void
notify_send(const struct notify *n, char *text, int copy)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(copy))] = {0};
    struct iovec bytes = {.iov_base = text, .iov_len = strlen(text)};
    struct sockaddr_un to = n->to;
    struct msghdr message = {
        .msg_name = &to, .msg_namelen = n->len, .msg_iov = &bytes, .msg_iovlen = 1};
    int fd;

    if (n->len == 0)
        return;
    if (copy >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(copy)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &copy, sizeof(copy));
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        (void)sendmsg(fd, &message, MSG_NOSIGNAL);
    fd_close(&fd);
}

void
notify_say(const struct notify *n, const char *fmt, ...)
{
    char text[NOTIFY_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    notify_send(n, text, -1);
}

void
notify_store(const struct notify *n, const char *name, int fd)
{
    char text[NOTIFY_MAX];

    snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
    notify_send(n, text, fd);
}

void
notify_forget(const struct notify *n, const char *name)
{
    notify_say(n, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

void
notify_reloading(const struct notify *n, const char *what)
{
    notify_say(n, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=%s",
               (unsigned long long)clock_mono_us(), what);
}

void
notify_ready(const struct notify *n, const char *prefix, const char *text)
{
    char line[NOTIFY_MAX / 2];

    text_escape(text, strlen(text), line, sizeof(line)); /* a line of its own */
    notify_say(n, "READY=1\nSTATUS=%s%s", prefix, line);
}

uint64_t
notify_wake_us(const struct notify *n)
{
    return n->len != 0 && n->watchdog_us != 0 ? n->next_us : UINT64_MAX;
}

void
notify_timer(struct notify *n, uint64_t now_us)
{
    if (notify_wake_us(n) > now_us)
        return;
    notify_say(n, "WATCHDOG=1");
    n->next_us = now_us + n->watchdog_us;
}
