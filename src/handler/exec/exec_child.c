/* One child process: its environment, its start, and its end. Invariant: a child that somebody
 * else has reaped gets no signal, since its number may be another process's. */
#include "handler/exec/exec.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- its environment --- */

static const char *const exec_env_names[] = {
    "MSOCK_LISTENER", "MSOCK_WORKER", "MSOCK_DATA_DIR", "MSOCK_PROTO",  "MSOCK_PEER",  "MSOCK_KIND",
    "MSOCK_ID",       "MSOCK_FILE",   "MSOCK_SIZE",     "MSOCK_SHA256", "MSOCK_REPLY", "MSOCK_TIME",
};

/* With these a shell that has started msockd would change what the command means: how its words are
 * split, what runs before it, which of its commands are functions. */
static const char *const exec_env_shell[] = {
    "IFS", "CDPATH", "ENV", "BASH_ENV", "BASHOPTS", "SHELLOPTS", "GLOBIGNORE", "PS4",
};

#define EXEC_ENV_FUNCTION "BASH_FUNC_"
#define EXEC_ENV_PATH     "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static bool
exec_env_is_one_of(const char *var, const char *const *names, size_t count)
{
    size_t name_len = strcspn(var, "=");

    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == name_len && strncmp(var, names[i], name_len) == 0)
            return true;
    return false;
}

/* True where the child gets this variable of ours. */
static bool
exec_env_passes(const char *var)
{
    return !exec_env_is_one_of(var, exec_env_names, MS_ARRAY_LEN(exec_env_names)) &&
           !exec_env_is_one_of(var, exec_env_shell, MS_ARRAY_LEN(exec_env_shell)) &&
           strncmp(var, EXEC_ENV_FUNCTION, strlen(EXEC_ENV_FUNCTION)) != 0 &&
           strcmp(var, "PATH=") != 0; /* an empty one means the current directory */
}

static void MS_PRINTF(2, 3) exec_env_add(struct exec_env *env, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vasprintf(&env->vars[env->owned], fmt, args);
    va_end(args);
    MS_ASSERT(n >= 0);
    env->owned++;
}

static void
exec_env_add_message(struct exec_env *env, const struct exec_facts *facts)
{
    const struct message *m = facts->m;
    char time[CLOCK_RFC3339_LEN], hex[2 * SHA256_LEN + 1];

    for (size_t i = 0; i < SHA256_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", m->sha256[i]);
    (void)clock_format(clock_real_us(), time);
    exec_env_add(env, "MSOCK_PROTO=%s", facts->proto);
    exec_env_add(env, "MSOCK_PEER=%s", facts->peer);
    exec_env_add(env, "MSOCK_KIND=%s", message_kind_name(m->kind));
    exec_env_add(env, "%s=%s", m->kind == MESSAGE_FILE ? "MSOCK_FILE" : "MSOCK_ID", m->value);
    exec_env_add(env, "MSOCK_SIZE=%llu", (unsigned long long)m->size);
    exec_env_add(env, "MSOCK_SHA256=%s", hex);
    exec_env_add(env, "MSOCK_REPLY=%d", m->wants_reply);
    exec_env_add(env, "MSOCK_TIME=%s", time);
}

void
exec_env_init(struct exec_env *env, const struct handler_host *host, const struct exec_facts *facts)
{
    const char *path = getenv("PATH");
    size_t inherited = 0, count;

    while (environ != NULL && environ[inherited] != NULL)
        inherited++;
    env->vars = ms_calloc(inherited + MS_ARRAY_LEN(exec_env_names) + 2, sizeof(*env->vars));
    env->owned = 0;
    exec_env_add(env, "MSOCK_LISTENER=%s", host->listener->name);
    exec_env_add(env, "MSOCK_WORKER=%u", host->worker);
    exec_env_add(env, "MSOCK_DATA_DIR=%s", host->config->data_dir);
    if (facts != NULL)
        exec_env_add_message(env, facts);
    if (path == NULL || path[0] == '\0')
        exec_env_add(env, "%s", EXEC_ENV_PATH);
    count = env->owned;
    for (size_t i = 0; i < inherited; i++)
        if (exec_env_passes(environ[i]))
            env->vars[count++] = environ[i];
}

void
exec_env_fini(struct exec_env *env)
{
    for (size_t i = 0; i < env->owned; i++)
        free(env->vars[i]);
    free(env->vars);
    *env = (struct exec_env){0};
}

const char *
exec_env_refuses(const struct message *m)
{
    if (memchr(m->value, '\0', m->value_len) == NULL)
        return NULL;
    return m->kind == MESSAGE_FILE
               ? "the path has a NUL byte in it, which the command cannot be given"
               : "the message id has a NUL byte in it, which the command cannot be given";
}

/* --- its beginning --- */

/* posix_spawn(3) cannot let a child die with its parent, and fork(2) copies the page tables of a
 * worker that holds many messages: so this is vfork(2). Invariant: until the shell runs, the child
 * shares the worker's memory. It makes nothing but calls that a signal handler may make, writes
 * nothing but its own frames and the error, and no signal handler of the worker's runs in it: all
 * signals are blocked until they have their defaults. */

#define EXEC_SPAWN_FAILED 127 /* as a shell says it */
#define EXEC_SPAWN_CLOSE  65536

/* A worker that ended before the call did gives the child no signal any more, but another
 * parent. */
static int
exec_spawn_follow(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    if (getppid() != parent)
        _exit(EXEC_SPAWN_FAILED);
    return 0;
}

/* What msockd opens itself closes on exec; a module or a library may have forgotten it. The C
 * library's closefrom aborts where there is neither the call nor /proc. */
static void
exec_spawn_close_others(void)
{
    if (close_range(3, ~0U, 0) == 0)
        return;
    if (access("/proc/self/fd/0", F_OK) == 0)
        closefrom(3);
    else
        for (int fd = 3; fd < EXEC_SPAWN_CLOSE; fd++)
            close(fd);
}

static int
exec_spawn_descriptors(const struct exec_spawn *spawn)
{
    if (dup2(spawn->in, 0) < 0 || dup2(spawn->out, 1) < 0 || dup2(spawn->err, 2) < 0)
        return -1;
    exec_spawn_close_others();
    return 0;
}

static _Noreturn void
exec_spawn_child(const struct exec_spawn *spawn, pid_t parent, volatile int *error)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)spawn->command, NULL};

    if (setpgid(0, 0) == 0 && exec_spawn_follow(parent) == 0 &&
        exec_spawn_descriptors(spawn) == 0) {
        /* The worker blocks signals and ignores some: none of that is the child's. */
        environment_become_program();
        execve("/bin/sh", argv, spawn->env);
    }
    *error = errno;
    _exit(EXEC_SPAWN_FAILED);
}

int
exec_spawn(const struct exec_spawn *spawn, pid_t *pid_out)
{
    volatile int error = 0;
    pid_t parent = getpid(), pid;
    sigset_t all, before;

    /* So none of the three is a place that the child gives to another. */
    MS_ASSERT(spawn->in > 2 && spawn->out > 2 && spawn->err > 2);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid = vfork();
    if (pid == 0)
        exec_spawn_child(spawn, parent, &error);
    if (pid < 0)
        error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && error != 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    else if (pid > 0)
        *pid_out = pid;
    return error;
}

/* --- its life --- */

/* The child's ends of the pipes. */
struct exec_child_ends {
    int in, out, err;
};

/* Only this side's end may be non-blocking: programs do not expect that of theirs. */
static int
exec_child_pipe(int *ours, int *theirs, bool we_write)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ours = ends[we_write ? 1 : 0];
    *theirs = ends[we_write ? 0 : 1];
    return fd_set_nonblock(*ours, 1);
}

static int
exec_child_pipes(struct exec_child *child, struct exec_child_ends *ends)
{
    if (exec_child_pipe(&child->in, &ends->in, true) < 0 ||
        exec_child_pipe(&child->out, &ends->out, false) < 0)
        return -1;
    return exec_child_pipe(&child->err, &ends->err, false);
}

static int
exec_child_watch(const struct exec_child *child, int fd, enum exec_child_part part, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u64 = child->key | part};

    return epoll_ctl(child->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static int
exec_child_watch_all(struct exec_child *child)
{
    if (kernel_has(KERNEL_PIDFD_OPEN)) {
        child->pid_fd = (int)syscall(SYS_pidfd_open, child->pid, 0); /* is CLOEXEC by itself */
        if (child->pid_fd < 0 ||
            exec_child_watch(child, child->pid_fd, EXEC_CHILD_EXIT, EPOLLIN) < 0)
            return -1;
    }
    if (exec_child_watch(child, child->out, EXEC_CHILD_OUT, EPOLLIN) < 0 ||
        exec_child_watch(child, child->err, EXEC_CHILD_ERR, EPOLLIN) < 0)
        return -1;
    return 0;
}

int
exec_child_start(struct exec_child *child, const struct exec_child_setup *setup)
{
    struct exec_child_ends ends = {-1, -1, -1};
    struct exec_spawn spawn;
    int rc = -1, error;

    *child = EXEC_CHILD_NONE;
    child->epoll_fd = setup->epoll_fd;
    child->key = setup->key;
    if (exec_child_pipes(child, &ends) < 0)
        goto out;
    spawn = (struct exec_spawn){.command = setup->command,
                                .env = setup->env,
                                .in = ends.in,
                                .out = ends.out,
                                .err = ends.err};
    error = exec_spawn(&spawn, &child->pid);
    if (error != 0) {
        errno = error;
        goto out;
    }
    rc = exec_child_watch_all(child);
out:
    fd_close(&ends.in);
    fd_close(&ends.out);
    fd_close(&ends.err);
    if (rc < 0) {
        error = errno;
        exec_child_signal(child, SIGKILL);
        (void)exec_child_reap(child);
        errno = error;
    }
    return rc;
}

/* The registration belongs to the open file, which the child of another worker may hold for a
 * moment longer: so closing alone would not end it. */
void
exec_child_close(struct exec_child *child, int *fd)
{
    if (*fd < 0)
        return;
    if (fd != &child->in || child->in_watched)
        (void)epoll_ctl(child->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
    if (fd == &child->in)
        child->in_watched = false;
    fd_close(fd);
}

void
exec_child_watch_in(struct exec_child *child, bool on)
{
    if (child->in < 0 || child->in_watched == on)
        return;
    if (!on)
        (void)epoll_ctl(child->epoll_fd, EPOLL_CTL_DEL, child->in, NULL);
    else if (exec_child_watch(child, child->in, EXEC_CHILD_IN, EPOLLOUT) < 0)
        return; /* without memory for that the time limit ends it */
    child->in_watched = on;
}

void
exec_child_signal(const struct exec_child *child, int signo)
{
    if (child->pid > 0 && !child->is_lost)
        (void)kill(-child->pid, signo);
}

bool
exec_child_has_ended(struct exec_child *child)
{
    siginfo_t info = {0};

    if (child->pid == 0)
        return false;
    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        child->is_lost = errno == ECHILD;
    return child->is_lost || info.si_pid != 0;
}

/* The group's number is nobody else's as long as its leader is not reaped. */
int
exec_child_reap(struct exec_child *child)
{
    pid_t reaped = -1;
    int status = -1;

    exec_child_signal(child, SIGKILL);
    exec_child_close(child, &child->in);
    exec_child_close(child, &child->out);
    exec_child_close(child, &child->err);
    exec_child_close(child, &child->pid_fd);
    while (child->pid > 0 && (reaped = waitpid(child->pid, &status, 0)) < 0 && errno == EINTR)
        ;
    *child = EXEC_CHILD_NONE;
    return reaped > 0 ? status : -1;
}

size_t
exec_child_pending(int fd)
{
    int n = 0;

    if (fd < 0 || ioctl(fd, FIONREAD, &n) < 0 || n < 0)
        return 0;
    return (size_t)n;
}
