/* The master becomes another version of its program, in its own place. Invariant: until the new one
 * commits, the one before can go on as if nothing had been. */
#include "master/inherited.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct upgrade {
    struct inherited in;
    int say_fd; /* of a trial; else -1 */
    int back;   /* enum upgrade_back: a new program has begun as the master, and failed; else 0 */
    const char *wrong;
};

/* --- before the exec --- */

/* Returns only where it fails, with errno. */
static void
program_execute(const struct master *m, const struct inherited *in, int say_fd, int back_fd)
{
    const uint64_t begin_us = m->current->config->ready_timeout_us;
    int fd = inherited_write(m, in);
    char value[64];
    int saved;

    snprintf(value, sizeof(value), "%d %d %d %u", fd, say_fd, back_fd,
             (unsigned)((begin_us + 999999) / 1000000));
    if (fd >= 0 && setenv(UPGRADE_VARIABLE, value, 1) == 0)
        (void)fexecve(m->next_program_fd, m->hooks->argv, environ);
    saved = errno;
    unsetenv(UPGRADE_VARIABLE);
    fd_close(&fd);
    errno = saved;
}

/* The path as it was typed, where it leads to what runs: a link may lead to another version next
 * time. */
void
upgrade_find_program(struct master *m)
{
    const char *typed = m->hooks->argv != NULL ? m->hooks->argv[0] : NULL;
    struct stat at_path, running;
    char cwd[PATH_MAX] = "";
    size_t n;

    if (typed != NULL && strchr(typed, '/') != NULL &&
        (typed[0] == '/' || getcwd(cwd, sizeof(cwd)))) {
        n = (size_t)snprintf(m->program_path, sizeof(m->program_path), "%s%s%s", cwd,
                             cwd[0] != '\0' ? "/" : "", typed);
        if (n < sizeof(m->program_path) && stat(m->program_path, &at_path) == 0 &&
            stat("/proc/self/exe", &running) == 0 && at_path.st_ino == running.st_ino &&
            at_path.st_dev == running.st_dev)
            return;
    }
    memset(m->program_path, 0, sizeof(m->program_path));
    if (readlink("/proc/self/exe", m->program_path, sizeof(m->program_path) - 1) < 0)
        m->program_path[0] = '\0'; /* no upgrade without /proc */
}

int
upgrade_begin(struct master *m, struct failure *why)
{
    if (m->hooks->argv == NULL || m->program_path[0] == '\0') {
        failure_set(why, EX_UNAVAILABLE,
                    "it is not known which file to execute: is /proc mounted?");
        return -1;
    }
    m->next_program_fd = open(m->program_path, O_PATH | O_CLOEXEC);
    if (m->next_program_fd >= 0)
        return 0;
    failure_set(why, EX_NOINPUT, "cannot open %s: %s", m->program_path, strerror(errno));
    return -1;
}

void
upgrade_end(struct master *m)
{
    m->upgrading = false;
    fd_close(&m->next_program_fd);
}

void
upgrade_read(struct master *m, int fd, int words_fd)
{
    static struct inherited in;
    int stderr_fd = dup(STDERR_FILENO);
    char text[FAILURE_TEXT_LEN];

    inherited_fill(m, &in);
    if (inherited_keep_memory(&in, true) == 0 && inherited_keep_one(fd, true) == 0 &&
        stderr_fd >= 0 && dup2(words_fd, STDERR_FILENO) >= 0)
        program_execute(m, &in, fd, stderr_fd);
    snprintf(text, sizeof(text), "%c%.400s cannot be executed: %s%s", READING_FAILED,
             m->program_path, strerror(errno), child_not_executed(errno));
    (void)!fd_write_all(fd, text, strlen(text));
    _exit(EX_OSERR);
}

void
upgrade_execute(struct master *m, struct failure *why)
{
    static struct inherited in;

    inherited_fill(m, &in);
    if (inherited_keep(&in, true) == 0)
        program_execute(m, &in, -1, m->program_fd);
    failure_set(why, EX_OSERR, "%.400s cannot be executed: %s", m->program_path, strerror(errno));
    (void)inherited_keep(&in, false);
}

/* --- after it --- */

struct upgrade *
upgrade_take(char *const *argv)
{
    static struct upgrade up;
    const char *value = getenv(UPGRADE_VARIABLE);
    int fd, back_fd, number;

    if (value == NULL || sscanf(value, "%d %d %d %d", &fd, &up.say_fd, &back_fd, &number) != 4)
        return NULL;
    unsetenv(UPGRADE_VARIABLE);
    if (up.say_fd >= 0) {
        (void)dup2(back_fd, STDERR_FILENO);
        fd_close(&back_fd);
    } else if (back_fd >= 0) {
        guard_arm(back_fd, fd, argv, (unsigned)number);
    } else {
        up.back = number;
    }
    up.wrong = inherited_read(fd, &up.in);
    if (back_fd < 0)
        fd_close(&fd);
    if (up.wrong != NULL)
        return &up;
    log_take(&up.in.log, up.in.master.log_file);
    if (up.in.log.syslog)
        log_without_stderr(LOG_SYSLOG_SOCKET);
    log_set_format(up.in.master.current->config->log_format, NULL);
    log_set_level(up.in.master.current->config->log_level);
    log_set_name("master");
    environment_take(&up.in.environment);
    return &up;
}

const char *
upgrade_cwd(const struct upgrade *up)
{
    return up->in.has_cwd ? up->in.cwd : NULL;
}

void
upgrade_refuse(struct upgrade *up, const char *sentence)
{
    if (up->say_fd < 0)
        return;
    (void)!fd_write_all(up->say_fd, (const char[]){READING_FAILED}, 1);
    (void)!fd_write_all(up->say_fd, sentence, strlen(sentence));
    fd_close(&up->say_fd);
}

static int
upgrade_try(struct upgrade *up)
{
    struct buffer said;
    int rc;

    buffer_init(&said);
    reading_say(&up->in.master, &said);
    rc = fd_write_all(up->say_fd, buffer_bytes(&said), said.len);
    buffer_fini(&said);
    return rc == 0 ? EX_OK : EX_OSERR;
}

/* Signals that came meanwhile were blocked and wait; but of several children one may be told. */
static int
upgrade_signals(struct master *m)
{
    unsigned pending = m->signals.pending;

    if (signals_open(&m->signals) < 0)
        return -1;
    m->signals.pending |= pending;
    signals_note(&m->signals.pending, SIGCHLD);
    return 0;
}

static void
upgrade_say(struct master *m, bool connections_move)
{
    struct buffer text;

    buffer_init(&text);
    buffer_printf(&text, "version " MSOCK_VERSION_TEXT ", generation %llu: ",
                  (unsigned long long)m->current->number);
    reload_describe(m->current, &text);
    if (!connections_move)
        buffer_append_str(&text, "; open connections end between messages instead of moving to "
                                 "this version, which has another layout of them");
    log_line(LOG_upgraded, "upgraded: %s", buffer_cstr(&text));
    reload_verdict(m, true, buffer_cstr(&text));
    buffer_fini(&text);
}

/* This is the new program, and there is no way back any more. */
static void
upgrade_commit(struct master *m, bool connections_move)
{
    struct failure why;

    fd_close(&m->program_fd);
    m->program_fd = m->next_program_fd;
    m->next_program_fd = -1;
    if (reload_commit(m, &why) < 0) {
        reload_fail(m, &why);
        return;
    }
    upgrade_end(m);
    stats_master_version(&m->stats);
    stats_master_protocols(&m->stats, proto_names);
    upgrade_say(m, connections_move);
}

/* This is the program of before. */
static void
upgrade_came_back(struct master *m, int back)
{
    static const char *const words[] = {[UPGRADE_CRASHED] = "crashed",
                                        [UPGRADE_ENDED] = "ended",
                                        [UPGRADE_HUNG] = "was not ready within ready_timeout",
                                        [UPGRADE_DEAF] = "could not listen"};
    struct failure why;

    failure_set(&why, EX_SOFTWARE, "the new program %s when it was to go on as the master",
                back > 0 && back < (int)MS_ARRAY_LEN(words) ? words[back] : "failed");
    if (back == UPGRADE_DEAF)
        (void)!generation_begin(m->pending, m->current, m->retired, &why); /* says why */
    reload_fail(m, &why);
}

int
upgrade_run(struct upgrade *up, const struct master_hooks *hooks, struct failure *why)
{
    struct master *m = &up->in.master;

    m->hooks = hooks;
    if (up->wrong != NULL) {
        upgrade_refuse(up, up->wrong);
        failure_set(why, EX_SOFTWARE, "%s", up->wrong);
        return EX_SOFTWARE;
    }
    if (up->say_fd >= 0) {
        failure_set(why, EX_OSERR, "the master does not listen any more");
        return upgrade_try(up);
    }
    m->reading = (struct reading){.pid = m->reading.pid, .fd = -1, .words_fd = -1};
    if (upgrade_signals(m) < 0) {
        failure_set(why, EX_OSERR, "no descriptors: %s", strerror(errno));
        return EX_OSERR;
    }
    if (up->back == 0 && generation_begin(m->pending, m->current, m->retired, why) < 0)
        guard_go_back(UPGRADE_DEAF);
    guard_disarm();
    (void)inherited_keep(&up->in, false);
    if (up->back != 0)
        upgrade_came_back(m, up->back);
    else
        upgrade_commit(m, up->in.packet == handover_meaning(NULL));
    return master_go_on(m, why);
}
