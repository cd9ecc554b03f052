/* Preloaded into the daemon by the system tests: makes calls fail on demand. The file named by
 * $MSOCK_FAULTS holds the rules, one a line, CALL ACTION WHERE EVERY, as tests/system/faults.h
 * says; it is read anew at each call, so that it can be changed while the daemon runs. One byte is
 * appended to the same name with ".log" for each strike. Both are opened at the start, since a
 * worker in its sandbox cannot open them. Invariant: without a rule that matches, a call is exactly
 * the real one. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES_LEN 1024
#define NAME_LEN  64

#define DELAY "delay-"

enum action { ACTION_NONE, ACTION_FAIL, ACTION_SHORT };

static unsigned calls_seen; /* by rules that match, in this process */

static int rules_fd = -1, strikes_fd = -1;

/* Above all numbers that anybody counts on. */
static int
open_high(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0666), high = fcntl(fd, F_DUPFD_CLOEXEC, 200);

    if (high < 0)
        return fd;
    close(fd);
    return high;
}

__attribute__((constructor)) static void
open_rules(void)
{
    const char *path = getenv("MSOCK_FAULTS");
    char strikes[4096];

    if (path == NULL)
        return;
    snprintf(strikes, sizeof(strikes), "%s.log", path);
    rules_fd = open_high(path, O_RDONLY);
    strikes_fd = open_high(strikes, O_WRONLY | O_CREAT | O_APPEND);
}

static bool
read_rules(char out[RULES_LEN])
{
    ssize_t n = pread(rules_fd, out, RULES_LEN - 1, 0);

    out[n > 0 ? n : 0] = '\0';
    return out[0] != '\0';
}

static void
note_strike(void)
{
    syscall(SYS_write, strikes_fd, ".", 1);
}

/* Returns what is to happen then: "" or an errno's name. */
static const char *
delay(const char *text)
{
    char *end;
    unsigned long ms = strtoul(text, &end, 10);
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    return *end == '-' ? end + 1 : end;
}

/* Until the rules are other ones. */
static void
hold(const char *rules)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    char now[RULES_LEN];

    while (read_rules(now) && strcmp(now, rules) == 0)
        nanosleep(&moment, NULL);
}

static enum action
strike(const char *action, const char *rules)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
                  {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE},
                  {"EINVAL", EINVAL}, {"EPERM", EPERM},   {"EOPNOTSUPP", EOPNOTSUPP},
                  {"ENOLCK", ENOLCK}};

    note_strike();
    if (strcmp(action, "abort") == 0)
        abort();
    if (strcmp(action, "exit") == 0)
        exit(0);
    if (strncmp(action, DELAY, sizeof(DELAY) - 1) == 0)
        action = delay(action + sizeof(DELAY) - 1);
    if (strcmp(action, "hold") == 0)
        hold(rules);
    if (strcmp(action, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(action, "short") == 0)
        return ACTION_SHORT;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(action, errors[i].name) == 0) {
            errno = errors[i].number;
            return ACTION_FAIL;
        }
    return ACTION_NONE;
}

/* What is to happen with this call on that path. */
static enum action
decide(const char *call, const char *path)
{
    char rules[RULES_LEN], lines[RULES_LEN], *save = NULL;
    int saved = errno;

    if (!read_rules(rules)) {
        errno = saved;
        return ACTION_NONE;
    }
    memcpy(lines, rules, sizeof(lines));
    for (char *line = strtok_r(lines, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char name[NAME_LEN], action[NAME_LEN], where[256];
        unsigned every = 1;

        if (sscanf(line, "%63s %63s %255s %u", name, action, where, &every) < 3)
            continue;
        if (strcmp(name, call) != 0 || (strcmp(where, "-") != 0 && strstr(path, where) == NULL))
            continue;
        if (every > 1 && __atomic_add_fetch(&calls_seen, 1, __ATOMIC_RELAXED) % every != 0)
            continue;
        errno = saved;
        return strike(action, rules);
    }
    errno = saved;
    return ACTION_NONE;
}

/* The same for a descriptor of that type of file; others are not struck. */
static enum action
decide_type(const char *call, int fd, mode_t type)
{
    char link[64], path[4096];
    struct stat st;
    ssize_t n;

    if (rules_fd < 0 || fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != type)
        return ACTION_NONE;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return ACTION_NONE;
    path[n] = '\0';
    return decide(call, path);
}

static enum action
decide_fd(const char *call, int fd)
{
    return decide_type(call, fd, S_IFREG);
}

/* The real function behind one of ours. */
#define REAL(type, name, ...)         \
    static type (*real)(__VA_ARGS__); \
    if (real == NULL)                 \
    *(void **)&real = dlsym(RTLD_NEXT, name)

ssize_t
write(int fd, const void *data, size_t n)
{
    enum action action = decide_fd("write", fd);

    REAL(ssize_t, "write", int, const void *, size_t);
    if (action == ACTION_FAIL)
        return -1;
    return real(fd, data, action == ACTION_SHORT && n > 1 ? n / 2 : n);
}

ssize_t
pwrite(int fd, const void *data, size_t n, off_t offset)
{
    enum action action = decide_fd("write", fd);

    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    if (action == ACTION_FAIL)
        return -1;
    return real(fd, data, action == ACTION_SHORT && n > 1 ? n / 2 : n, offset);
}

ssize_t
pwrite64(int fd, const void *data, size_t n, off_t offset)
{
    return pwrite(fd, data, n, offset);
}

ssize_t
writev(int fd, const struct iovec *iov, int count)
{
    enum action action = decide_fd("write", fd);

    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (action == ACTION_FAIL)
        return -1;
    if (action == ACTION_SHORT && count > 0) {
        struct iovec half = {iov[0].iov_base, (iov[0].iov_len + 1) / 2};

        return real(fd, &half, 1);
    }
    return real(fd, iov, count);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    enum action action = decide_fd("write", fd);

    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    if (action == ACTION_FAIL)
        return -1;
    if (action == ACTION_SHORT && count > 0) {
        struct iovec half = {iov[0].iov_base, (iov[0].iov_len + 1) / 2};

        return real(fd, &half, 1, offset);
    }
    return real(fd, iov, count, offset);
}

int
fsync(int fd)
{
    REAL(int, "fsync", int);
    if (decide_type("syncdir", fd, S_IFDIR) == ACTION_FAIL)
        return -1;
    return decide_fd("sync", fd) == ACTION_FAIL ? -1 : real(fd);
}

int
fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    return decide_fd("sync", fd) == ACTION_FAIL ? -1 : real(fd);
}

int
close(int fd)
{
    REAL(int, "close", int);
    enum action action = decide_fd("close", fd);
    int rc = real(fd);

    return action == ACTION_FAIL ? -1 : rc;
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    REAL(int, "linkat", int, const char *, int, const char *, int);
    return decide("link", to) == ACTION_FAIL ? -1 : real(from_dir, from, to_dir, to, flags);
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    if (flags != 0 && decide("noreplace", to) == ACTION_FAIL)
        return -1;
    return decide("rename", to) == ACTION_FAIL ? -1 : real(from_dir, from, to_dir, to, flags);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    REAL(int, "renameat", int, const char *, int, const char *);
    return decide("rename", to) == ACTION_FAIL ? -1 : real(from_dir, from, to_dir, to);
}

int
rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return decide("rename", to) == ACTION_FAIL ? -1 : real(from, to);
}

int
fchmod(int fd, mode_t mode)
{
    REAL(int, "fchmod", int, mode_t);
    return decide_fd("mode", fd) == ACTION_FAIL ? -1 : real(fd, mode);
}

int
fallocate(int fd, int mode, off_t offset, off_t n)
{
    REAL(int, "fallocate", int, int, off_t, off_t);
    return decide_fd("fallocate", fd) == ACTION_FAIL ? -1 : real(fd, mode, offset, n);
}

int
fcntl(int fd, int command, ...)
{
    REAL(int, "fcntl", int, int, void *);
    va_list more;
    void *argument;

    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    if (command == F_OFD_SETLK && decide_fd("lock", fd) == ACTION_FAIL)
        return -1;
    return real(fd, command, argument);
}

/* A fault of fork strikes in the child. Calls are counted by the parent, which makes several. */
pid_t
fork(void)
{
    REAL(pid_t, "fork", void);
    pid_t pid;

    __atomic_add_fetch(&calls_seen, 1, __ATOMIC_RELAXED);
    pid = real();

    if (pid == 0)
        decide("fork", "");
    return pid;
}

/* A program that begins as the master of another one sets it. */
unsigned
alarm(unsigned seconds)
{
    REAL(unsigned, "alarm", unsigned seconds);
    unsigned left = real(seconds);

    if (seconds > 0)
        decide("alarm", "");
    return left;
}
