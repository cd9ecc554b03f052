/* The log: one line an event. Control bytes in it are escaped, so that a peer cannot forge a line.
 * Where the lines go is a sink. The daemon's is standard error or a file that is opened with
 * O_APPEND, one write(2) a line; or syslog, with the facility daemon, where there is neither:
 *
 *     2026-11-21T10:11:12.123456Z notice master [4711] ready: 8 workers [ready]
 *
 * The word at the end is the id of its kind: log_kinds.h has them all.
 *
 * A line that would have to wait, since nobody reads the pipe, the terminal or the system log, or
 * that cannot be written, is dropped and counted. The next one that can be written is told the
 * count first.
 *
 * It is there from the first call of log_open, log_set_level or log_set_name on, and is the only
 * process-wide state of the daemon. In libmsock nobody calls these: a line goes to the sink of the
 * calling thread, or nowhere. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/base.h"
#include "common/log_kinds.h"

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

/* There is no standard error from now on: its lines go to the system log behind this Unix socket,
 * LOG_SYSLOG_SOCKET but in tests. It need not be there (yet), and may be started again. */
void log_without_stderr(const char *syslog);

#define LOG_SYSLOG_SOCKET "/dev/log"

#define LOG_LINE_MAX 2048 /* bytes of a line of text, its end included */

enum log_format {
    LOG_FORMAT_TEXT,
    LOG_FORMAT_JSON,    /* an object a line: time, level, id, process, pid, text */
    LOG_FORMAT_SYSLOG,  /* to the system log, whatever else there is */
    LOG_FORMAT_JOURNAL, /* to the journal of systemd, with its fields */
};

/* How lines are written from now on. socket: of the system log or the journal; NULL: the usual
 * one. It need not be there (yet). */
void log_set_format(enum log_format format, const char *socket);

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

struct log_record {
    enum log_kind kind;
    enum log_level level;
    const char *text; /* not escaped: it may hold bytes from a peer */
    size_t n;
};

struct log_sink {
    enum log_level level; /* lines above it are dropped */

    /* NULL: all lines are dropped. */
    void (*write)(void *arg, const struct log_record *record);
    void *arg;
};

/* Where this thread's lines go from here on; it has to stay valid meanwhile. NULL: to the
 * daemon's. */
void log_to(const struct log_sink *sink);

/* Opens path for appending (NULL: standard error) and logs there from now on. Returns 0, or -1 with
 * errno (ELOOP: a symbolic link, ENXIO: a FIFO that nobody reads) and the log as it was. */
MS_MUST_CHECK int log_open(const char *path);

/* Opens the same path again (after a rotation); nothing to do where the log has none. Returns as
 * log_open. */
MS_MUST_CHECK int log_reopen(void);

/* Where the daemon's log goes, for a process that is executed anew and that log_take begins. The
 * descriptor stays the log's. */
struct log_place {
    int fd;
    bool syslog; /* there is no standard error: log_without_stderr follows log_take */
};
void log_tell(struct log_place *out);

/* Takes the descriptor over; path is what log_open had. */
void log_take(const struct log_place *place, const char *path);

void log_set_level(enum log_level level);

/* Sets the name in front of each line: "master", "worker 3". Copied. A process that was forked
 * calls this before its first line. */
void log_set_name(const char *name);

/* A line of that kind, at the level that log_kinds.h gives it; or at another one. */
void log_line(enum log_kind kind, const char *fmt, ...) MS_PRINTF(2, 3);
void log_line_at(enum log_kind kind, enum log_level level, const char *fmt, ...) MS_PRINTF(3, 4);

const char *log_level_name(enum log_level level);

/* --- syslog.c --- */

/* Bytes go to this socket from now on: a datagram each, or ended by NUL where it is a stream. Makes
 * no connection yet. */
void syslog_open(const char *path);

/* Sends a line as syslog(3) does, with the facility daemon and one of its levels. The text has no
 * control bytes. Never waits. Returns 0, or errno: EAGAIN where nobody reads, ENOENT or
 * ECONNREFUSED where there is no system log now. */
MS_MUST_CHECK int syslog_put(int priority, const char *text);

/* The same for the journal: fields, a line each. */
MS_MUST_CHECK int journal_put(const char *fields);

#endif
