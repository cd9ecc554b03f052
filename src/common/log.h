/* The log: one line an event. Control bytes in it are escaped, so that a peer cannot forge a line.
 * Where the lines go is a sink. The daemon's is standard error or a file that is opened with
 * O_APPEND, one write(2) a line; or syslog, with the facility daemon, where there is neither:
 *
 *     2026-11-21T10:11:12.123456Z notice worker 0 [4711] ready
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

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

/* There is no standard error from now on: its lines go to the system log behind this Unix socket,
 * LOG_SYSLOG but in tests. It need not be there (yet), and may be started again. */
void log_without_stderr(const char *syslog);

#define LOG_SYSLOG "/dev/log"

#define LOG_LINE_MAX 2048 /* bytes of a line, its end included */

struct log_sink {
    enum log_level level; /* lines above it are dropped */

    /* Gets n bytes of a line before they are escaped. They may hold bytes from a peer, so escape
     * them when writing. NULL: all lines are dropped. */
    void (*write)(void *arg, enum log_level level, const char *text, size_t n);
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

void log_line(enum log_level level, const char *fmt, ...) MS_PRINTF(2, 3);

#define log_error(...)  log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)   log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)   log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)  log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* --- syslog.c --- */

/* Lines go to this socket from now on: a datagram each, or ended by NUL where it is a stream. Makes
 * no connection yet. */
void syslog_open(const char *path);

/* Sends a line as syslog(3) does, with the facility daemon and one of its levels. The text has no
 * control bytes. Never waits. Returns 0, or errno: EAGAIN where nobody reads, ENOENT or
 * ECONNREFUSED where there is no system log now. */
MS_MUST_CHECK int syslog_put(int priority, const char *text);

#endif
