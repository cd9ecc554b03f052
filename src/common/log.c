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
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

static struct {
    int fd;
    char *path;         /* NULL: standard error, or syslog */
    const char *syslog; /* its socket, where there is no standard error; or NULL */
    enum log_format format;
    char name[32];
    _Atomic unsigned lost; /* lines, since the last one that was written */
    _Atomic int why;       /* errno of the last of them */
    _Atomic bool torn;     /* the last one was written in part */
} log_state = {.fd = STDERR_FILENO};

static void log_write(void *arg, const struct log_record *record);

static struct log_sink log_daemon = {.level = LOG_LEVEL_NOTICE}; /* no write: not begun yet */
static _Thread_local const struct log_sink *log_thread;

static const struct {
    const char *name;
    enum log_level level;
    const char *message_id;
} log_kinds[] = {
#define X(name, level, message_id, means, remedy) {#name, LOG_LEVEL_##level, message_id},
    LOG_KINDS(X)
#undef X
};

static const char *const log_level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

#define LOG_OPEN (O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

/* The controlling terminal can be opened also where the terminal's own name belongs to another
 * user, as it does after su. Returns -1 where standard error is another terminal. */
static int
log_open_terminal(void)
{
    unsigned wanted, found;
    int fd = open("/dev/tty", LOG_OPEN);

    if (fd >= 0 && (ioctl(STDERR_FILENO, TIOCGDEV, &wanted) < 0 ||
                    ioctl(fd, TIOCGDEV, &found) < 0 || found != wanted))
        fd_close(&fd);
    return fd;
}

/* Standard error as a descriptor of our own that never waits. The flag is that of an open file,
 * which the caller may share, so a pipe or a terminal is opened once more. Returns standard error
 * itself where that cannot be done, or need not. */
static int
log_open_stderr(void)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    struct stat st;
    int fd = -1;

    if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || terminal))
        fd = open("/proc/self/fd/2", LOG_OPEN);
    if (fd < 0 && terminal)
        fd = log_open_terminal();
    return fd < 0 ? STDERR_FILENO : fd;
}

/* Opens the file at path, or standard error, which is never closed. The owner of the directory may
 * have put a link there, or a FIFO that nobody reads: the link is not followed, the FIFO not waited
 * for. */
static int
log_attach(const char *path)
{
    int fd = path == NULL ? log_open_stderr() : open(path, LOG_OPEN | O_CREAT | O_NOFOLLOW, 0640);

    if (fd < 0)
        return -1;
    /* Another thread may be writing to that descriptor: its number must stay open all the time. */
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
log_without_stderr(const char *syslog)
{
    log_state.syslog = syslog;
    if (log_state.path == NULL && log_state.fd != STDERR_FILENO) {
        fd_close(&log_state.fd);
        log_state.fd = STDERR_FILENO;
    }
    syslog_open(syslog);
}

void
log_set_format(enum log_format format, const char *socket)
{
    log_state.format = format;
    if (format == LOG_FORMAT_SYSLOG)
        syslog_open(socket != NULL ? socket : LOG_SYSLOG_SOCKET);
    else if (format == LOG_FORMAT_JOURNAL)
        syslog_open(socket != NULL ? socket : LOG_JOURNAL_SOCKET);
    else if (log_state.syslog != NULL)
        syslog_open(log_state.syslog);
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

/* Standard error is none that was rotated, and a worker of another user could not open it again. */
int
log_reopen(void)
{
    return log_state.path == NULL ? 0 : log_attach(log_state.path);
}

void
log_tell(struct log_place *out)
{
    *out = (struct log_place){.fd = log_state.fd, .syslog = log_state.syslog != NULL};
}

void
log_take(const struct log_place *place, const char *path)
{
    log_state.fd = place->fd;
    log_state.path = path == NULL ? NULL : ms_strdup(path);
    log_daemon.write = log_write;
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
    atomic_store(&log_state.lost, 0); /* before a fork: the other process will say it */
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

/* The text, escaped, and the id of its kind, which is never cut off: "stopped [stopped]". Returns
 * its length. */
static size_t
log_body(const struct log_record *record, char *out, size_t out_size)
{
    const char *id = log_kinds[record->kind].name;
    size_t len = text_escape(record->text, record->n, out, out_size - strlen(id) - 3);

    return len + (size_t)snprintf(out + len, out_size - len, " [%s]", id);
}

/* A system log has its own time, level and process id. */
static void
log_named(const struct log_record *record, char line[LOG_LINE_MAX])
{
    int len =
        snprintf(line, LOG_LINE_MAX, "%s%s", log_state.name, log_state.name[0] != '\0' ? ": " : "");

    (void)log_body(record, line + len, LOG_LINE_MAX - (size_t)len);
}

/* --- the formats --- */

#define LOG_JSON_MAX (2 * LOG_LINE_MAX + 256) /* the text twice, and the rest */

static const int log_priorities[] = {
    [LOG_LEVEL_ERROR] = LOG_ERR, [LOG_LEVEL_WARN] = LOG_WARNING, [LOG_LEVEL_NOTICE] = LOG_NOTICE,
    [LOG_LEVEL_INFO] = LOG_INFO, [LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

/* Returns its length, without an end of line. */
static size_t
log_json(const struct log_record *record, char out[LOG_JSON_MAX])
{
    char time[CLOCK_RFC3339_LEN], text[LOG_LINE_MAX];
    size_t n = text_escape(record->text, record->n, text, sizeof(text)), len;

    clock_format(clock_real_us(), time);
    len = (size_t)snprintf(
        out, LOG_JSON_MAX,
        "{\"time\":\"%s\",\"level\":\"%s\",\"id\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"text\":\"",
        time, log_level_names[record->level], log_kinds[record->kind].name, log_state.name,
        (int)getpid());
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"' || text[i] == '\\')
            out[len++] = '\\';
        out[len++] = text[i];
    }
    memcpy(out + len, "\"}", 3);
    return len + 2;
}

static int
log_put_journal(const struct log_record *record)
{
    char message[LOG_LINE_MAX], fields[LOG_LINE_MAX + 512];

    log_named(record, message);
    snprintf(fields, sizeof(fields),
             "MESSAGE=%s\nMESSAGE_ID=%s\nPRIORITY=%d\nSYSLOG_FACILITY=%d\n"
             "SYSLOG_IDENTIFIER=msockd\nMSOCKD_ID=%s\nMSOCKD_PROCESS=%s\n",
             message, log_kinds[record->kind].message_id, log_priorities[record->level],
             LOG_DAEMON >> 3, log_kinds[record->kind].name, log_state.name);
    return journal_put(fields);
}

static int
log_put_syslog(const struct log_record *record)
{
    char line[LOG_JSON_MAX];

    if (log_state.format == LOG_FORMAT_JSON)
        (void)log_json(record, line);
    else
        log_named(record, line);
    return syslog_put(log_priorities[record->level], line);
}

/* Writes what there is room for. Standard error may be the open file of others, who want to wait:
 * its flags stay as they are. */
static ssize_t
log_write_some(const char *bytes, size_t n)
{
    struct pollfd room = {.fd = log_state.fd, .events = POLLOUT};
    ssize_t put;

    if (log_state.fd == STDERR_FILENO) {
        put = send(STDERR_FILENO, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put >= 0 || errno != ENOTSOCK)
            return put;
        errno = EAGAIN;
        if (poll(&room, 1, 0) == 0)
            return -1;
    }
    return write(log_state.fd, bytes, n);
}

/* Returns 0, or errno; some bytes may be out. */
static int
log_write_all(const char *bytes, size_t n, size_t *done_out)
{
    for (*done_out = 0; *done_out < n;) {
        ssize_t put = log_write_some(bytes + *done_out, n - *done_out);

        if (put > 0)
            *done_out += (size_t)put;
        else if (put == 0 || errno != EINTR)
            return put == 0 ? EIO : errno;
    }
    return 0;
}

/* A line of which only a part could be written is ended before the next one. */
static int
log_put_file(const struct log_record *record)
{
    bool torn = atomic_exchange(&log_state.torn, false);
    char bytes[1 + LOG_JSON_MAX] = "\n", *line = bytes + 1;
    size_t len, done;
    int error;

    if (log_state.format == LOG_FORMAT_JSON) {
        len = log_json(record, line);
    } else {
        len = log_prefix(record->level, line, LOG_LINE_MAX);
        len += log_body(record, line + len, LOG_LINE_MAX - len);
    }
    line[len++] = '\n';
    error = torn ? log_write_all(bytes, len + 1, &done) : log_write_all(line, len, &done);
    if (error != 0 && (torn ? done != 1 : done > 0))
        atomic_store(&log_state.torn, true);
    return error;
}

/* Returns 0, or errno: EAGAIN where nobody reads what is there. */
static int
log_put(const struct log_record *record)
{
    switch (log_state.format) {
    case LOG_FORMAT_SYSLOG:
        return log_put_syslog(record);
    case LOG_FORMAT_JOURNAL:
        return log_put_journal(record);
    case LOG_FORMAT_TEXT:
    case LOG_FORMAT_JSON:
        break;
    }
    return log_state.syslog != NULL && log_state.path == NULL ? log_put_syslog(record)
                                                              : log_put_file(record);
}

/* Returns 0, or errno. */
static int
log_tell_lost(unsigned lost)
{
    int why = atomic_load(&log_state.why);
    char text[128];
    int n = snprintf(text, sizeof(text), "%u line%s lost: %s", lost, lost == 1 ? " is" : "s are",
                     why == EAGAIN ? "nobody read them" : strerror(why));

    return log_put(&(struct log_record){LOG_lines_lost, LOG_LEVEL_WARN, text, (size_t)n});
}

/* Nothing waits for whoever reads the log. What he has missed he is told when he goes on. */
static void
log_write(void *arg, const struct log_record *record)
{
    unsigned lost = atomic_exchange(&log_state.lost, 0);
    int error = lost > 0 ? log_tell_lost(lost) : 0;

    (void)arg;
    if (error == 0) {
        lost = 0;
        error = log_put(record);
    }
    if (error == 0)
        return;
    atomic_store(&log_state.why, error);
    atomic_fetch_add(&log_state.lost, lost + 1);
}

static void MS_PRINTF(3, 0)
    log_format(enum log_kind kind, enum log_level level, const char *fmt, va_list ap)
{
    const struct log_sink *sink = log_thread != NULL ? log_thread : &log_daemon;
    char text[LOG_LINE_MAX];
    int saved = errno;
    int n;

    if (sink->write == NULL || level > sink->level)
        return;
    n = vsnprintf(text, sizeof(text), fmt, ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof(text))
        n = sizeof(text) - 1;
    sink->write(sink->arg, &(struct log_record){kind, level, text, (size_t)n});
    errno = saved; /* callers log first and return their errno after */
}

void
log_line(enum log_kind kind, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_format(kind, log_kinds[kind].level, fmt, ap);
    va_end(ap);
}

void
log_line_at(enum log_kind kind, enum log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_format(kind, level, fmt, ap);
    va_end(ap);
}

const char *
log_level_name(enum log_level level)
{
    return log_level_names[level];
}
