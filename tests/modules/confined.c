/* Makes the call that a message names, "CALL ARGUMENT", and refuses the message with the errno of
 * one that fails. */
#include <msock_module.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct msock_module_host *confined_host;

static int
confined_start(const struct msock_module_host *host, void **state_out, char *error,
               size_t error_len)
{
    (void)error;
    (void)error_len;
    confined_host = host;
    *state_out = NULL;
    return 0;
}

static long
confined_open(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC);
}

static long
confined_create(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

/* To a port of this machine. The descriptor is kept. */
static long
confined_connect(const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* Of a family, with that type: "1 1". */
static long
confined_socket(const char *text)
{
    char *end;
    int family = (int)strtol(text, &end, 10);

    return socket(family, atoi(end), 0);
}

static long
confined_kill(const char *pid)
{
    return syscall(SYS_kill, atoi(pid), 0);
}

static long
confined_trace(const char *pid)
{
    return ptrace(PTRACE_ATTACH, atoi(pid), NULL, NULL);
}

static long
confined_execute(const char *path)
{
    char *const argv[] = {(char *)(uintptr_t)path, NULL};

    return execve(path, argv, environ);
}

static long
confined_fork(const char *unused)
{
    pid_t pid = fork();

    (void)unused;
    if (pid == 0)
        _exit(0);
    return pid;
}

static long
confined_map(const char *unused)
{
    (void)unused;
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) == MAP_FAILED
               ? -1
               : 0;
}

/* Any number: of a call that nobody has, too. */
static long
confined_call(const char *number)
{
    return syscall(atol(number), 0L, 0L, 0L, 0L, 0L, 0L);
}

static const struct {
    const char *name;
    long (*make)(const char *argument);
} confined_calls[] = {
    {"open", confined_open},       {"create", confined_create}, {"connect", confined_connect},
    {"socket", confined_socket},   {"kill", confined_kill},     {"trace", confined_trace},
    {"execute", confined_execute}, {"fork", confined_fork},     {"map", confined_map},
    {"call", confined_call},
};

static enum msock_module_result
confined_message(void *state, const struct msock_module_message *message)
{
    char text[512], *argument;
    size_t n = message->size < sizeof(text) - 1 ? message->size : sizeof(text) - 1;

    (void)state;
    memcpy(text, message->data, n);
    text[n] = '\0';
    argument = strchr(text, ' ');
    if (argument == NULL)
        return MSOCK_MODULE_FAIL;
    *argument++ = '\0';
    for (size_t i = 0; i < sizeof(confined_calls) / sizeof(confined_calls[0]); i++) {
        if (strcmp(confined_calls[i].name, text) != 0)
            continue;
        if (confined_calls[i].make(argument) >= 0)
            return MSOCK_MODULE_COMMIT;
        confined_host->why(confined_host->ctx, message->token, strerrorname_np(errno));
        return MSOCK_MODULE_REFUSE;
    }
    return MSOCK_MODULE_FAIL;
}

#define NAME    "confined"
#define START   confined_start
#define MESSAGE confined_message
#include "least.h"
