/* What msockd is given is at the same time in a table of descriptors, far above those that the
 * child gets, and in variables of our environment. The child only copies descriptors and fills in
 * its process id. */
#include "manager.h"

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKETS_MAX 64
#define FIRST_ABOVE 200 /* descriptors of the manager are from here on */

static struct manager {
    int fd; /* -1: there is none */
    unsigned count;
    struct {
        char name[256];
        int fd;
        bool is_stored;
    } sockets[SOCKETS_MAX];
} manager = {.fd = -1};

static char listen_pid[] = "LISTEN_PID=0000000000";

void
manager_open(bool abstract)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char name[sizeof(to.sun_path)], dir[HARNESS_PATH_LEN];

    manager_close();
    manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    harness_directory(dir);
    snprintf(name, sizeof(name), "%c%.80s/notify", abstract ? '@' : '/', dir + 1);
    memcpy(to.sun_path, name, strlen(name));
    if (abstract)
        to.sun_path[0] = '\0';
    assert_true(manager.fd >= 0);
    assert_int_equal(bind(manager.fd, (struct sockaddr *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void
sockets_remove(unsigned i)
{
    close(manager.sockets[i].fd);
    manager.sockets[i] = manager.sockets[--manager.count];
}

void
manager_close(void)
{
    static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_PID",
                                        "LISTEN_FDS", "LISTEN_FDNAMES"};

    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    while (manager.count > 0)
        sockets_remove(0);
    if (manager.fd >= 0)
        close(manager.fd);
    manager.fd = -1;
}

/* --- what it is told --- */

static bool
same_socket(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino;
}

static void
sockets_add(const char *name, int fd, bool is_stored)
{
    int above = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_ABOVE);

    assert_true(above >= 0);
    close(fd);
    assert_true(manager.count < SOCKETS_MAX);
    snprintf(manager.sockets[manager.count].name, sizeof(manager.sockets[0].name), "%s", name);
    manager.sockets[manager.count].fd = above;
    manager.sockets[manager.count++].is_stored = is_stored;
}

/* As systemd does: one that is there already is left out, and names are kept to the letter. */
static void
store(const char *name, int fd)
{
    assert_true(fd >= 0);
    assert_true(name[0] != '\0' && strlen(name) < 256 && strpbrk(name, ":\n") == NULL);
    for (unsigned i = 0; i < manager.count; i++)
        if (same_socket(manager.sockets[i].fd, fd)) {
            close(fd);
            return;
        }
    sockets_add(name, fd, true);
}

static void
forget(const char *name)
{
    for (unsigned i = manager.count; i-- > 0;)
        if (manager.sockets[i].is_stored && strcmp(manager.sockets[i].name, name) == 0)
            sockets_remove(i);
}

/* Reads one datagram. Returns false where it was about the store. */
static bool
manager_read(char text_out[MANAGER_TEXT_LEN])
{
    static const char add[] = "FDSTORE=1\nFDNAME=", drop[] = "FDSTOREREMOVE=1\nFDNAME=";
    struct iovec bytes = {.iov_base = text_out, .iov_len = MANAGER_TEXT_LEN - 1};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct msghdr m = {.msg_iov = &bytes,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(manager.fd, &m, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = CMSG_FIRSTHDR(&m);
    int fd = -1;

    assert_true(n > 0);
    text_out[n] = '\0';
    if (header != NULL)
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    if (strncmp(text_out, add, strlen(add)) == 0)
        store(text_out + strlen(add), fd);
    else if (strncmp(text_out, drop, strlen(drop)) == 0)
        forget(text_out + strlen(drop));
    else
        return true;
    return false;
}

static bool
manager_waits(int timeout_ms)
{
    struct pollfd event = {.fd = manager.fd, .events = POLLIN};

    return poll(&event, 1, timeout_ms) == 1;
}

void
manager_expect(const char *begin, char text_out[MANAGER_TEXT_LEN])
{
    do
        if (!manager_waits(15000 * WAIT_SCALE))
            fail_msg("nothing came in place of %s", begin);
    while (!manager_read(text_out));
    if (strncmp(text_out, begin, strlen(begin)) != 0)
        fail_msg("not \"%s\", but \"%s\"", begin, text_out);
}

static void
manager_hear(void)
{
    char text[MANAGER_TEXT_LEN];

    while (manager.fd >= 0 && manager_waits(0))
        (void)manager_read(text);
}

unsigned
manager_stored(void)
{
    unsigned n = 0;

    manager_hear();
    for (unsigned i = 0; i < manager.count; i++)
        n += manager.sockets[i].is_stored;
    return n;
}

bool
manager_stores(const struct target *target)
{
    manager_hear();
    for (unsigned i = 0; i < manager.count; i++) {
        struct sockaddr_storage addr = {0};
        socklen_t len = sizeof(addr);

        if (manager.sockets[i].is_stored &&
            getsockname(manager.sockets[i].fd, (struct sockaddr *)&addr, &len) == 0 &&
            memcmp(&addr, &target->addr, sizeof(addr)) == 0)
            return true;
    }
    return false;
}

/* --- what it gives --- */

void
manager_give(const char *name, int fd)
{
    sockets_add(name, fd, false);
}

void
manager_listen(const char *name, const char *url, struct target *target_out)
{
    struct target t;
    int fd;

    target_from_url(url, &t);
    fd = socket(t.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&t.addr, t.len) < 0 || listen(fd, 64) < 0)
        fail_msg("%s: %s", url, strerror(errno));
    t.len = sizeof(t.addr);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&t.addr, &t.len), 0);
    manager_give(name, fd);
    *target_out = t;
}

void
manager_arm(void)
{
    char number[16], names[SOCKETS_MAX * 256] = "";

    manager_hear();
    for (unsigned i = 0; i < manager.count; i++) {
        strcat(names, i > 0 ? ":" : "");
        strcat(names, manager.sockets[i].name);
    }
    snprintf(number, sizeof(number), "%u", manager.count);
    assert_int_equal(setenv("LISTEN_FDS", number, 1), 0);
    assert_int_equal(setenv("LISTEN_FDNAMES", names, 1), 0);
    assert_int_equal(putenv(listen_pid), 0);
}

static void
child_get(pid_t pid)
{
    char *digit = listen_pid + sizeof(listen_pid) - 1;

    for (; *--digit != '='; pid /= 10)
        *digit = (char)('0' + pid % 10);
    for (unsigned i = 0; i < manager.count; i++)
        if (dup2(manager.sockets[i].fd, STDERR_FILENO + 1 + (int)i) < 0)
            _exit(126);
}

void
manager_child(void)
{
    child_get(getpid());
}

void
manager_child_of_another(void)
{
    child_get(getppid());
}
