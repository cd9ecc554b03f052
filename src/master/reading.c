/* The child that reads the next configuration.
 *
 * A host name may have a server that does not answer, a file may be on a disk that hangs. So a
 * child reads the configuration and makes the data directory ready, and the master goes on with
 * what is its own. It has ready_timeout, as new workers have. */
#include "master/state.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define READING_BURY_MS   1000
#define READING_WORDS_LEN 400

void
reading_say(const struct master *m, struct buffer *said)
{
    char error[CONFIG_ERROR_LEN];
    struct config *config = NULL;

    if (m->hooks->build(m->hooks->arg, &config, error) == 0 &&
        m->hooks->prepare(m->hooks->arg, config, m->current->config, error) == 0) {
        buffer_append(said, (const char[]){READING_DONE}, 1);
        config_pack(config, said);
    } else {
        buffer_append(said, (const char[]){READING_FAILED}, 1);
        buffer_append_str(said, error);
    }
    config_destroy(config);
}

static _Noreturn void
reading_child(struct master *m, int fd, int words_fd, pid_t master)
{
    struct buffer said;

    (void)setpgid(0, 0); /* of an upgrade: what another program may have started ends with it */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(EX_OSERR);
    /* What would keep a lock or a port, or hide the master's death from the workers. */
    signals_reset_child(&m->signals);
    run_dir_forget(&m->run);
    fd_close(&m->death_fds[1]);
    if (m->upgrading)
        upgrade_read(m, fd, words_fd);
    buffer_init(&said);
    reading_say(m, &said);
    _exit(fd_write_all(fd, buffer_bytes(&said), said.len) == 0 ? EX_OK : EX_OSERR);
}

static int
reading_pipe(int fds[2])
{
    return pipe2(fds, O_CLOEXEC) < 0 ? -1 : fd_set_nonblock(fds[0]);
}

int
reading_begin(struct master *m, struct failure *why)
{
    struct reading *r = &m->reading;
    int fds[2] = {-1, -1}, words[2] = {-1, -1};
    pid_t master = getpid();

    if (reading_pipe(fds) == 0 && reading_pipe(words) == 0)
        r->pid = fork();
    else
        r->pid = -1;
    if (r->pid == 0)
        reading_child(m, fds[1], words[1], master);
    fd_close(&fds[1]);
    fd_close(&words[1]);
    if (r->pid < 0) {
        failure_set(why, EX_OSERR, "no process can be made to read the configuration: %s",
                    strerror(errno));
        fd_close(&fds[0]);
        fd_close(&words[0]);
        r->pid = 0;
        return -1;
    }
    (void)setpgid(r->pid, r->pid);
    r->fd = fds[0];
    r->words_fd = words[0];
    r->until_us = clock_mono_us() + m->current->config->ready_timeout_us;
    buffer_init(&r->said);
    return 0;
}

int
reading_bury(struct master *m)
{
    int status = -1;

    for (unsigned ms = 0; m->reading.pid > 0 && ms < READING_BURY_MS; ms++) {
        if (waitpid(m->reading.pid, &status, WNOHANG) != 0)
            m->reading.pid = 0;
        else
            (void)poll(NULL, 0, 1);
    }
    return m->reading.pid == 0 ? status : -1;
}

/* ": its words", as of a loader that misses a library; "": there are none. */
static void
reading_words(const struct master *m, char out[READING_WORDS_LEN])
{
    char words[READING_WORDS_LEN / 2];
    ssize_t n = fd_read(m->reading.words_fd, words, sizeof(words));

    while (n > 0 && words[n - 1] == '\n')
        n--;
    for (ssize_t i = 0; i < n; i++)
        words[i] = words[i] == '\n' ? ' ' : words[i];
    snprintf(out, READING_WORDS_LEN, n > 0 ? ": " : "");
    if (n > 0)
        text_escape(words, (size_t)n, out + 2, READING_WORDS_LEN - 2);
}

/* It has ended without a configuration, and without a sentence. */
static void
reading_say_end(struct master *m, struct failure *why)
{
    const char *who =
        m->upgrading ? "the new program" : "the process that was to read the configuration";
    int status = reading_bury(m);
    char words[READING_WORDS_LEN];

    reading_words(m, words);
    if (status >= 0 && WIFSIGNALED(status))
        failure_set(why, EX_SOFTWARE, "%s was ended by signal %d (%s)%s", who, WTERMSIG(status),
                    strsignal(WTERMSIG(status)), words);
    else if (status >= 0 && words[0] != '\0')
        failure_set(why, EX_SOFTWARE, "%s ended with status %d%s", who, WEXITSTATUS(status), words);
    else if (status >= 0)
        failure_set(why, EX_SOFTWARE, "%s ended with status %d and without a word%s", who,
                    WEXITSTATUS(status),
                    m->upgrading ? ": is it an msockd that can be upgraded to?" : "");
    else
        failure_set(why, EX_SOFTWARE, "%s ended without a word", who);
}

/* Takes what the child has said, which has ended. */
static void
reading_done(struct master *m)
{
    struct buffer said = m->reading.said;
    const char *bytes = buffer_bytes(&said);
    struct config *config = NULL;
    struct failure why;

    fd_close(&m->reading.fd);
    m->reading.until_us = 0;
    if (said.len > 0 && bytes[0] == READING_DONE)
        config = config_unpack(bytes + 1, said.len - 1);
    if (said.len > 0 && bytes[0] == READING_FAILED)
        failure_set(&why, EX_CONFIG, "%.*s", (int)said.len - 1, bytes + 1);
    else if (config == NULL)
        reading_say_end(m, &why);
    buffer_fini(&said);
    fd_close(&m->reading.words_fd);
    if (m->phase != MASTER_RUNNING)
        config_destroy(config);
    else if (config == NULL || reload_begin(m, config, &why) < 0)
        reload_refuse(m, &why);
}

bool
reading_is_on(const struct master *m)
{
    return m->reading.fd >= 0;
}

void
reading_hear(struct master *m)
{
    ssize_t n;

    if (!reading_is_on(m))
        return;
    do {
        n = fd_read(m->reading.fd, buffer_reserve(&m->reading.said, 4096), 4096);
        if (n > 0)
            buffer_added(&m->reading.said, (size_t)n);
    } while (n > 0);
    if (n == 0 || errno != EAGAIN)
        reading_done(m);
}

void
reading_give_up(struct master *m, const char *reason)
{
    struct failure why;

    if (!reading_is_on(m))
        return;
    if (m->reading.pid > 0)
        (void)kill(-m->reading.pid, SIGKILL);
    buffer_fini(&m->reading.said);
    fd_close(&m->reading.fd);
    fd_close(&m->reading.words_fd);
    m->reading.until_us = 0;
    failure_set(&why, EX_TEMPFAIL, "%s", reason);
    reload_refuse(m, &why);
}

void
reading_timers(struct master *m, uint64_t now_us)
{
    char reason[FAILURE_TEXT_LEN];

    if (!reading_is_on(m) || now_us < m->reading.until_us)
        return;
    snprintf(reason, sizeof(reason),
             m->upgrading
                 ? "the new program could not read the configuration within ready_timeout, which "
                   "is %.3g s now"
                 : "the configuration could not be read within ready_timeout, which is %.3g s now: "
                   "perhaps the server of a host name, or a disk, does not answer",
             (double)m->current->config->ready_timeout_us / 1e6);
    reading_give_up(m, reason);
}
