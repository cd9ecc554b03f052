/* Who gets a signal. The pid stands in a file, so before it is used: somebody holds the lock, which
 * only a living master does; the process is older than the file, so it is no stranger that got the
 * pid of a master that died; and it belongs to whoever wrote the file, so that nobody can make
 * another user's msockctl signal a process of that user. */
#include "ctl.h"

#include "common/base.h"
#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_DEFAULT_US 60000000u
#define POLL_MIN_US        1000
#define POLL_MAX_US        20000

/* The 22nd field of /proc/PID/stat; the second ends with the bracket. */
#define STAT_BEGAN \
    ") %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu"
#define BEGAN_SLACK_US 20000 /* the kernel tells it in steps of 10 ms */

/* Name and effective uid of a process. Returns 0, or -1 with errno. */
static int
process_look(pid_t pid, char name[16], unsigned *uid_out)
{
    char path[64], *text, *uid_line;
    size_t len;
    int rc = -1;

    snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    if (fd_read_file(path, 65536, &text, &len) < 0)
        return -1;
    uid_line = strstr(text, "\nUid:");
    errno = EPROTO;
    if (sscanf(text, "Name:\t%15[^\n]", name) == 1 && uid_line != NULL &&
        sscanf(uid_line, "\nUid: %*u %u", uid_out) == 1)
        rc = 0;
    free(text);
    return rc;
}

static uint64_t
boot_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* When the process began, on the monotonic clock, as though the machine had never slept: at the
 * latest then. Returns 0, or -1 with errno. */
static int
process_began(pid_t pid, uint64_t *began_us_out)
{
    uint64_t awake_us = clock_mono_us(); /* read first: the difference is never below 0 */
    uint64_t slept_us = boot_us() - awake_us, began_us;
    unsigned long long ticks;
    char path[64], *text, *at;
    size_t len;
    int rc = -1;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    if (fd_read_file(path, 65536, &text, &len) < 0)
        return -1;
    at = strrchr(text, ')'); /* the name may hold anything, brackets too */
    errno = EPROTO;
    if (at != NULL && sscanf(at, STAT_BEGAN, &ticks) == 1) {
        began_us = (uint64_t)ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
        *began_us_out = began_us > slept_us ? began_us - slept_us : 0;
        rc = 0;
    }
    free(text);
    return rc;
}

static int
target_verify(const struct ctl *ctl, pid_t pid, uint64_t written_us)
{
    char path[PATH_MAX], name[16];
    uint64_t began_us;
    struct stat st;
    unsigned uid;

    snprintf(path, sizeof(path), "%s/%s", ctl->dir, STATS_CONTROL_FILE);
    if (pid < 1 || stat(path, &st) < 0) {
        ctl_error(ctl, "%s names no process that could be signalled", path);
        return EX_UNAVAILABLE;
    }
    if (process_look(pid, name, &uid) < 0 || process_began(pid, &began_us) < 0) {
        ctl_error(ctl,
                  "cannot look at process %d, which %s names as the master: %s; is msockd in "
                  "another container?",
                  (int)pid, path, strerror(errno));
        return EX_UNAVAILABLE;
    }
    /* msockd may be process 1 of a container; seen from outside, that number is init */
    if (uid != st.st_uid || (pid == 1 && strncmp(name, "msockd", 6) != 0)) {
        ctl_error(ctl,
                  "process %d (%s, uid %u) is not the msockd that wrote %s (uid %u): it gets "
                  "no signal",
                  (int)pid, name, uid, path, (unsigned)st.st_uid);
        return EX_NOPERM;
    }
    if (began_us > written_us + BEGAN_SLACK_US) {
        ctl_error(ctl,
                  "process %d (%s) is younger than %s, so it is not the msockd that wrote it: it "
                  "gets no signal",
                  (int)pid, name, path);
        return EX_UNAVAILABLE;
    }
    return EX_OK;
}

static int
target_check_lock(const struct ctl *ctl)
{
    int held = stats_reader_lock_held(ctl->dir);

    if (held > 0)
        return EX_OK;
    if (held == 0) {
        ctl_error(ctl,
                  "no msockd is running in %s (its last statistics can be read with msockctl "
                  "stats)",
                  ctl->dir);
        ctl_explain(ctl);
        return EX_UNAVAILABLE;
    }
    ctl_error(ctl,
              "cannot tell whether a msockd runs: %s/%s: %s; be its owner, root, or a member "
              "of its group",
              ctl->dir, STATS_LOCK_FILE, strerror(errno));
    return ctl_status(errno);
}

/* As stats_reader_lock_held, of the lock that was there when the target was opened. */
static int
target_held(const struct target *target)
{
    return target->lock_fd >= 0 ? stats_lock_held(target->lock_fd)
                                : stats_reader_lock_held(target->dir);
}

/* The descriptor holds on to the process while its identity is looked at once more, so that a pid
 * that is given out again in this moment does no harm. */
static int
signal_send(const struct target *target, const struct ctl_command *command)
{
    const union sigval value = {.sival_int = command->signal_value};
    siginfo_t info = {.si_signo = command->signal, .si_code = SI_QUEUE};
    int fd, rc;

    if (!kernel_has(KERNEL_PIDFD_OPEN) || !kernel_has(KERNEL_PIDFD_SEND_SIGNAL))
        return sigqueue(target->pid, command->signal, value);
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value = value;
    fd = pidfd_open(target->pid, 0);
    if (fd < 0)
        return -1;
    if (target_held(target) > 0) {
        rc = pidfd_send_signal(fd, command->signal, &info, 0);
    } else {
        errno = ESRCH;
        rc = -1;
    }
    fd_close(&fd);
    return rc;
}

int
target_signal(const struct ctl *ctl, const struct target *target)
{
    if (signal_send(target, ctl->command) == 0)
        return EX_OK;
    if (errno == EPERM) {
        ctl_error(ctl, "may not signal msockd (process %d): be its user or root", (int)target->pid);
        return EX_NOPERM;
    }
    ctl_error(ctl, "cannot signal msockd (process %d): %s", (int)target->pid, strerror(errno));
    return EX_UNAVAILABLE;
}

/* The lock alone would not do: the next master may already hold it. */
static bool
target_gone(const struct target *target)
{
    return target_held(target) == 0 || (kill(target->pid, 0) < 0 && errno == ESRCH);
}

enum target_event
target_wait(struct target *target, bool (*done)(const struct target *target, void *arg), void *arg)
{
    long pause_us = POLL_MIN_US;

    for (;;) {
        const struct timespec ts = {.tv_nsec = pause_us * 1000};
        const bool gone = target_gone(target); /* first, so that its last word is not missed */

        if (done != NULL && done(target, arg))
            return TARGET_DONE;
        if (gone)
            return TARGET_GONE;
        if (clock_mono_us() >= target->deadline_us)
            return TARGET_TIMEOUT;
        nanosleep(&ts, NULL);
        if (pause_us < POLL_MAX_US)
            pause_us *= 2;
    }
}

static void
target_close(struct target *target)
{
    stats_reader_close(&target->sr);
    fd_close(&target->lock_fd);
}

/* Returns EX_OK, or a status after an error message. */
static int
target_open(const struct ctl *ctl, uint64_t timeout_us, struct target *out)
{
    int status = target_check_lock(ctl);

    *out = (struct target){.dir = ctl->dir, .lock_fd = -1};
    if (status == EX_OK)
        status = ctl_open(ctl, &out->sr);
    if (status != EX_OK)
        return status;
    out->lock_fd = stats_lock_open(out->sr.dir_fd);
    out->pid = atomic_load(&out->sr.control->master_pid);
    out->deadline_us = clock_mono_us() + timeout_us;
    status = target_verify(ctl, out->pid, out->sr.control->started_us);
    if (status != EX_OK)
        target_close(out);
    return status;
}

int
target_run(struct ctl *ctl, int argc, char *argv[])
{
    const char *timeout = NULL;
    const struct ctl_option options[] = {{"timeout", NULL, &timeout}};
    int status = ctl_options(ctl, argc, argv, options, MS_ARRAY_LEN(options));
    uint64_t timeout_us = TIMEOUT_DEFAULT_US;
    struct target target;

    if (status != CTL_GO_ON)
        return status;
    if (timeout != NULL && ctl_seconds(ctl, "timeout", timeout, &timeout_us) < 0)
        return EX_USAGE;
    status = target_open(ctl, timeout_us, &target);
    if (status != EX_OK)
        return status;
    status = ctl->command->act(ctl, &target);
    target_close(&target);
    return status;
}
