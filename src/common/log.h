/* The daemon's log: one line an event, one write(2) a line, to standard error or to a file opened
 * with O_APPEND; or to syslog, with the facility daemon, where there is neither. Control bytes in
 * what is logged are escaped, so a peer cannot forge a line. The only process-wide state of the
 * daemon; libmsock does not use it.
 *
 *     2026-11-21T10:11:12.123456Z notice worker 0 [4711] ready
 */
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

/* There is no standard error from now on: what would go there goes to syslog. */
void log_without_stderr(void);

/* Opens path for appending (NULL: standard error) and logs there from now on. Returns 0, or -1 with
 * errno (ELOOP: a symbolic link, ENXIO: a FIFO that nobody reads) and the log as it was. */
MS_MUST_CHECK int log_open(const char *path);

/* Opens the same path again (after a rotation). Returns as log_open. */
MS_MUST_CHECK int log_reopen(void);

void log_set_level(enum log_level level);

/* Who speaks: "master", "worker 3". Copied. */
void log_set_name(const char *name);

/* "error", "warn", "notice", "info", "debug". Returns 0 or -1. */
MS_MUST_CHECK int log_parse_level(const char *text, enum log_level *level_out);

void log_error(const char *fmt, ...) MS_PRINTF(1, 2);
void log_warn(const char *fmt, ...) MS_PRINTF(1, 2);
void log_notice(const char *fmt, ...) MS_PRINTF(1, 2);
void log_info(const char *fmt, ...) MS_PRINTF(1, 2);
void log_debug(const char *fmt, ...) MS_PRINTF(1, 2);

#endif
