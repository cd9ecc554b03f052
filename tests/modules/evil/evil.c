#include "evil.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct attempt *const groups[] = {evil_files, evil_processes, evil_network,
                                               evil_kernel, evil_shared};

#define GROUPS (sizeof(groups) / sizeof(groups[0]))

/* --- what attempts have in common --- */

static void
path_add(const struct evil *e, char kind, char *out, size_t size)
{
    switch (kind) {
    case 'o':
        snprintf(out, size, "%s", e->outside);
        break;
    case 'd':
        snprintf(out, size, "%s", e->host->data_dir);
        break;
    case 'r':
        snprintf(out, size, "%s", e->runtime);
        break;
    case 'c':
        snprintf(out, size, "%s", e->config);
        break;
    case 'm':
        snprintf(out, size, "%d", (int)e->master);
        break;
    default:
        snprintf(out, size, "%d", (int)e->sibling);
    }
}

const char *
evil_path(const struct evil *e, const char *pattern)
{
    static char paths[4][EVIL_PATH_LEN];
    static unsigned next;
    char *path = paths[next++ % 4];
    size_t n = 0;

    for (; *pattern != '\0' && n < EVIL_PATH_LEN - 1; pattern++) {
        if (*pattern == '%')
            path_add(e, *++pattern, path + n, EVIL_PATH_LEN - n);
        else
            snprintf(path + n, EVIL_PATH_LEN - n, "%c", *pattern);
        n += strlen(path + n);
    }
    return path;
}

long
evil_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        close(fd);
    errno = saved;
    return fd;
}

long
evil_open(const struct evil *e, const struct attempt *a)
{
    return evil_close(open(evil_path(e, a->path), a->flags | O_CLOEXEC | O_NONBLOCK, 0600));
}

long
evil_call(const struct evil *e, const struct attempt *a)
{
    const long *c = a->call;

    (void)e;
    return syscall(c[0], c[1], c[2], c[3], c[4], c[5], c[6]);
}

long
evil_each(const struct evil *e, bool (*is)(int fd), long (*try)(const struct evil *e, int fd))
{
    long rc = -1;
    int last = EBADF;

    for (int fd = STDERR_FILENO + 1; fd < EVIL_FD_MAX && rc < 0; fd++) {
        if (!is(fd))
            continue;
        rc = try(e, fd);
        last = errno;
    }
    errno = last;
    return rc;
}

bool
evil_is_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) > 0;
}

static bool
socket_is(int fd, int option, int value)
{
    int now;
    socklen_t len = sizeof(now);

    return getsockopt(fd, SOL_SOCKET, option, &now, &len) == 0 && now == value;
}

bool
evil_is_listener(int fd)
{
    return socket_is(fd, SO_ACCEPTCONN, 1);
}

bool
evil_is_handover(int fd)
{
    return socket_is(fd, SO_TYPE, SOCK_SEQPACKET);
}

/* --- the module --- */

/* Says more to the master than a worker may before it is ready. */
static long
evil_say_ready(const struct evil *e, int fd)
{
    static const char lies[] = "RRRRGG\033[2J\001%s%n";
    char page[4096];

    (void)e;
    memset(page, 'R', sizeof(page));
    return send(fd, lies, sizeof(lies), MSG_DONTWAIT | MSG_NOSIGNAL) +
           send(fd, page, sizeof(page), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool
evil_is_stream(int fd)
{
    return socket_is(fd, SO_TYPE, SOCK_STREAM) && socket_is(fd, SO_DOMAIN, AF_UNIX) &&
           !evil_is_listener(fd);
}

static int
evil_start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    struct evil *e = calloc(1, sizeof(*e));

    (void)error;
    (void)error_len;
    if (e == NULL)
        return -1;
    e->host = host;
    if (strcmp(host->args, "lies") == 0)
        (void)evil_each(e, evil_is_stream, evil_say_ready);
    *state_out = e;
    return 0;
}

/* All names, a line each. */
static size_t
evil_names(char out[EVIL_TEXT_LEN])
{
    size_t n = 0;

    for (size_t g = 0; g < GROUPS; g++)
        for (const struct attempt *a = groups[g]; a->name != NULL; a++)
            n += (size_t)snprintf(out + n, EVIL_TEXT_LEN - n, "%s\n", a->name);
    return n;
}

static const struct attempt *
evil_find(const char *name)
{
    for (size_t g = 0; g < GROUPS; g++)
        for (const struct attempt *a = groups[g]; a->name != NULL; a++)
            if (strcmp(a->name, name) == 0)
                return a;
    return NULL;
}

/* "NAME\nMASTER\nSIBLING\nPORT\nOUTSIDE\nRUNTIME\nCONFIG\nMAPS" */
static const char *
evil_take(struct evil *e, char *text)
{
    char *rest = text, *words[7];

    for (size_t i = 0; i < 7; i++) {
        words[i] = strsep(&rest, "\n");
        if (words[i] == NULL)
            return text;
    }
    e->master = atoi(words[1]);
    e->sibling = atoi(words[2]);
    e->port = atoi(words[3]);
    e->outside = words[4];
    e->runtime = words[5];
    e->config = words[6];
    e->maps = rest != NULL ? rest : "";
    return words[0];
}

static size_t
evil_answer(struct evil *e, const char *name, char out[EVIL_TEXT_LEN])
{
    const struct attempt *a = evil_find(name);

    if (strcmp(name, "names") == 0)
        return evil_names(out);
    if (strcmp(name, "pid") == 0)
        return (size_t)snprintf(out, EVIL_TEXT_LEN, "%d", (int)getpid());
    if (a == NULL)
        return (size_t)snprintf(out, EVIL_TEXT_LEN, "no such attempt: %s", name);
    if (a->run(e, a) < 0)
        return (size_t)snprintf(out, EVIL_TEXT_LEN, "refused %s", strerrorname_np(errno));
    return (size_t)snprintf(out, EVIL_TEXT_LEN, "done");
}

static enum msock_module_result
evil_message(void *state, const struct msock_module_message *message)
{
    struct evil *e = state;
    static char text[EVIL_TEXT_LEN], reply[EVIL_TEXT_LEN];
    size_t n = message->size < sizeof(text) - 1 ? message->size : sizeof(text) - 1;

    memcpy(text, message->data, n);
    text[n] = '\0';
    n = evil_answer(e, evil_take(e, text), reply);
    e->host->reply(e->host->ctx, message->token, reply, n);
    return MSOCK_MODULE_COMMIT;
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "evil",
    .start = evil_start,
    .message = evil_message,
};
