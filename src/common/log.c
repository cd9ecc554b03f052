/* See the header. A line is put together in one place and leaves in one write, so that lines of
 * many processes in one file opened for appending do not mix. */
#include "common/log.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

static struct {
    int fd;
    char *path;  /* NULL: standard error, or syslog */
    bool syslog; /* there is no standard error */
    char name[32];
    _Atomic unsigned lost; /* lines, since the last one that was written */
} log_state = {.fd = STDERR_FILENO};

static void log_write(void *arg, enum log_level level, const char *text, size_t n);

static struct log_sink log_daemon = {.level = LOG_LEVEL_NOTICE}; /* no write: not begun yet */
static _Thread_local const struct log_sink *log_thread;

static const char *const log_level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

/* Standard error as a descriptor of our own that never waits. The flag is that of an open file,
 * which the caller may share, so a pipe or a terminal is opened once more. Returns standard error
 * itself where that cannot be done, or need not. */
static int
log_open_stderr(void)
{
    struct stat st;
    int fd = -1;

    if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO)))
        fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? STDERR_FILENO : fd;
}

/* Opens the file at path, or standard error, which is never closed. The owner of the directory may
 * have put a link there, or a FIFO that nobody reads: the link is not followed, the FIFO not waited
 * for. */
static int
log_attach(const char *path)
{
    int fd =
        path == NULL
            ? log_open_stderr()
            : open(path,
                   O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
                   0640);

    if (fd < 0)
        return -1;
    /* Another thread may be writing: the number that it uses must never be nobody's. */
    if (fd != STDERR_FILENO && log_state.fd != STDERR_FILENO) {
        int rc = dup3(fd, log_state.fd, O_CLOEXEC);

        fd_close(&fd);
        return rc < 0 ? -1 : 0;
    }
    if (log_state.fd != STDERR_FILENO)
        fd_close(&log_state.fd);
    log_state.fd = fd;
    return 0;
}

void
log_without_stderr(void)
{
    log_state.syslog = true;
    if (log_state.path == NULL && log_state.fd != STDERR_FILENO) {
        fd_close(&log_state.fd);
        log_state.fd = STDERR_FILENO;
    }
    openlog("msockd", LOG_PID, LOG_DAEMON);
}

void
log_to(const struct log_sink *sink)
{
    log_thread = sink;
}

int
log_open(const char *path)
{
    char *copy = path == NULL ? NULL : ms_strdup(path);

    if (log_attach(path) < 0) {
        free(copy);
        return -1;
    }
    free(log_state.path);
    log_state.path = copy;
    log_daemon.write = log_write;
    return 0;
}

int
log_reopen(void)
{
    return log_attach(log_state.path);
}

void
log_set_level(enum log_level level)
{
    log_daemon.level = level;
    log_daemon.write = log_write;
}

void
log_set_name(const char *name)
{
    snprintf(log_state.name, sizeof(log_state.name), "%s", name);
    log_daemon.write = log_write;
}

/* "2026-11-21T10:11:12.123456Z notice worker 0 [4711] "; returns its length. */
static size_t
log_prefix(enum log_level level, char *out, size_t out_size)
{
    char time[CLOCK_RFC3339_LEN];
    int n;

    clock_format(clock_real_us(), time);
    n = snprintf(out, out_size, "%s %s %s%s[%d] ", time, log_level_names[level], log_state.name,
                 log_state.name[0] != '\0' ? " " : "", (int)getpid());
    return n < 0 ? 0 : (size_t)n;
}

/* A syslog has its own time, level and process id. */
static void
log_send(enum log_level level, const char *text, size_t n)
{
    static const int priorities[] = {
        [LOG_LEVEL_ERROR] = LOG_ERR,     [LOG_LEVEL_WARN] = LOG_WARNING,
        [LOG_LEVEL_NOTICE] = LOG_NOTICE, [LOG_LEVEL_INFO] = LOG_INFO,
        [LOG_LEVEL_DEBUG] = LOG_DEBUG,
    };
    char line[LOG_LINE_MAX];

    text_escape(text, n, line, sizeof(line));
    syslog(priorities[level], "%s%s%s", log_state.name, log_state.name[0] != '\0' ? ": " : "",
           line);
}

/* False where nobody reads what is there: a pipe or a terminal is full. Any other failure has no
 * remedy, and nobody to be told. */
static bool
log_put(enum log_level level, const char *text, size_t n)
{
    struct pollfd room = {.fd = log_state.fd, .events = POLLOUT};
    char line[LOG_LINE_MAX];
    size_t len = log_prefix(level, line, sizeof(line));
    ssize_t put;

    len += text_escape(text, n, line + len, sizeof(line) - len);
    line[len++] = '\n';
    if (log_state.fd == STDERR_FILENO && poll(&room, 1, 0) == 0)
        return false;
    do
        put = write(log_state.fd, line, len);
    while (put < 0 && errno == EINTR);
    return put >= 0 || errno != EAGAIN;
}

/* Nothing waits for whoever reads the log. What he has missed he is told when he goes on. */
static void
log_write(void *arg, enum log_level level, const char *text, size_t n)
{
    unsigned lost = atomic_exchange(&log_state.lost, 0);
    char missed[64];
    int len;

    (void)arg;
    if (log_state.syslog && log_state.path == NULL) {
        log_send(level, text, n);
        return;
    }
    if (lost > 0) {
        len = snprintf(missed, sizeof(missed), "%u lines are lost: nobody read them", lost);
        if (log_put(LOG_LEVEL_WARN, missed, (size_t)len))
            lost = 0;
    }
    if (lost > 0 || !log_put(level, text, n))
        atomic_fetch_add(&log_state.lost, lost + 1);
}

void
log_line(enum log_level level, const char *fmt, ...)
{
    const struct log_sink *sink = log_thread != NULL ? log_thread : &log_daemon;
    char text[LOG_LINE_MAX];
    int saved = errno;
    va_list ap;
    int n;

    if (sink->write == NULL || level > sink->level)
        return;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof(text))
        n = sizeof(text) - 1;
    sink->write(sink->arg, level, text, (size_t)n);
    errno = saved; /* callers log first and return their errno after */
}
