/* See the header. A line is put together in one place and leaves in one write, so that lines of
 * many processes in one file opened for appending do not mix. */
#include "common/log.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

static struct {
    int fd;
    char *path;  /* NULL: standard error, or syslog */
    bool syslog; /* there is no standard error */
    char name[32];
} log_state = {.fd = STDERR_FILENO};

static void log_write(void *arg, enum log_level level, const char *text, size_t n);

static struct log_sink log_daemon = {.level = LOG_LEVEL_NOTICE}; /* no write: not begun yet */
static _Thread_local const struct log_sink *log_thread;

static const char *const log_level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

/* Opens the file at path, or standard error, which is never closed. The owner of the directory may
 * have put a link there, or a FIFO that nobody reads: the link is not followed, the FIFO not waited
 * for. */
static int
log_attach(const char *path)
{
    int fd = STDERR_FILENO;

    if (path != NULL) {
        fd = open(path,
                  O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
                  0640);
        if (fd < 0)
            return -1;
    }
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

static void
log_write(void *arg, enum log_level level, const char *text, size_t n)
{
    char line[LOG_LINE_MAX];
    size_t len;

    (void)arg;
    if (log_state.syslog && log_state.path == NULL) {
        log_send(level, text, n);
        return;
    }
    len = log_prefix(level, line, sizeof(line));
    len += text_escape(text, n, line + len, sizeof(line) - len);
    line[len++] = '\n';
    while (write(log_state.fd, line, len) < 0 && errno == EINTR)
        ;
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
