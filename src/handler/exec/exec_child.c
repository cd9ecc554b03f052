/* One child process: its environment, its start, and its end. Invariant: a child that somebody
 * else has reaped gets no signal, since its number may be another process's. */
#include "handler/exec/exec.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
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

/* Of the message. */
static const char *const exec_env_names[] = {
    "MSOCK_PROTO", "MSOCK_PEER", "MSOCK_IDENTITY", "MSOCK_KIND",  "MSOCK_ID",
    "MSOCK_FILE",  "MSOCK_SIZE", "MSOCK_SHA256",   "MSOCK_REPLY", "MSOCK_TIME",
};

/* What is not about secrets and does not change what the command means. */
static const char *const exec_env_common[] = {
    "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME",
};

#define EXEC_ENV_LOCALE "LC_"
#define EXEC_ENV_PATH   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define EXEC_ENV_OWN    4 /* variables of exec_env_init */

static bool
exec_env_is_one_of(const char *var, const char *const *names, size_t count)
{
    size_t name_len = strcspn(var, "=");

    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == name_len && strncmp(var, names[i], name_len) == 0)
            return true;
    return false;
}

/* Is it in the option exec_env, names with commas between them? */
static bool
exec_env_is_named(const char *var, const char *list)
{
    size_t name_len = strcspn(var, "="), n;

    for (; *list != '\0'; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        if (n == name_len && strncmp(var, list, n) == 0)
            return true;
    }
    return false;
}

/* True where the child gets this variable of ours. */
static bool
exec_env_passes(const char *var, const struct exec_place *place)
{
    if (strcmp(var, "PATH=") == 0 || strncmp(var, "MSOCK_", strlen("MSOCK_")) == 0)
        return false; /* an empty PATH means the current directory */
    return exec_env_is_one_of(var, exec_env_common, MS_ARRAY_LEN(exec_env_common)) ||
           strncmp(var, EXEC_ENV_LOCALE, strlen(EXEC_ENV_LOCALE)) == 0 ||
           (place->env != NULL && exec_env_is_named(var, place->env));
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

static void MS_PRINTF(2, 3) exec_vars_add(struct buffer *out, const char *fmt, ...)
{
    va_list args;
    char *text;
    int n;

    va_start(args, fmt);
    n = vasprintf(&text, fmt, args);
    va_end(args);
    MS_ASSERT(n >= 0);
    buffer_append(out, text, (size_t)n + 1);
    free(text);
}

void
exec_vars_pack(const struct exec_facts *facts, struct buffer *out)
{
    const struct message *m = facts->m;
    char time[CLOCK_RFC3339_LEN], hex[2 * SHA256_LEN + 1];

    for (size_t i = 0; i < SHA256_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", m->sha256[i]);
    (void)clock_format(clock_real_us(), time);
    exec_vars_add(out, "MSOCK_PROTO=%s", facts->proto);
    exec_vars_add(out, "MSOCK_PEER=%s", facts->peer);
    exec_vars_add(out, "MSOCK_IDENTITY=%s", facts->identity);
    exec_vars_add(out, "MSOCK_KIND=%s", message_kind_name(m->kind));
    exec_vars_add(out, "%s=%s", m->kind == MESSAGE_FILE ? "MSOCK_FILE" : "MSOCK_ID", m->value);
    exec_vars_add(out, "MSOCK_SIZE=%llu", (unsigned long long)m->size);
    exec_vars_add(out, "MSOCK_SHA256=%s", hex);
    exec_vars_add(out, "MSOCK_REPLY=%d", m->wants_reply);
    exec_vars_add(out, "MSOCK_TIME=%s", time);
}

/* Returns how many there are, or -1 where one is none of a message's. */
static int
exec_vars_unpack(const char *vars, size_t n, const char *out[MS_ARRAY_LEN(exec_env_names)])
{
    int count = 0;

    for (const char *end = vars + n; vars < end; vars += strlen(vars) + 1) {
        if (end[-1] != '\0' || strchr(vars, '=') == NULL ||
            count == (int)MS_ARRAY_LEN(exec_env_names) ||
            !exec_env_is_one_of(vars, exec_env_names, MS_ARRAY_LEN(exec_env_names)))
            return -1;
        out[count++] = vars;
    }
    return count;
}

int
exec_env_init(struct exec_env *env, const struct exec_place *place, const char *vars, size_t n)
{
    const char *path = getenv("PATH"), *given[MS_ARRAY_LEN(exec_env_names)];
    int given_count = exec_vars_unpack(vars, n, given);
    size_t inherited = 0, count;

    if (given_count < 0)
        return -1;
    while (environ != NULL && environ[inherited] != NULL)
        inherited++;
    env->vars = ms_calloc(inherited + MS_ARRAY_LEN(given) + EXEC_ENV_OWN + 1, sizeof(*env->vars));
    env->owned = 0;
    exec_env_add(env, "MSOCK_LISTENER=%s", place->listener);
    exec_env_add(env, "MSOCK_WORKER=%u", place->worker);
    exec_env_add(env, "MSOCK_DATA_DIR=%s", place->data_dir);
    if (path == NULL || path[0] == '\0')
        exec_env_add(env, "%s", EXEC_ENV_PATH);
    count = env->owned;
    for (int i = 0; i < given_count; i++)
        env->vars[count++] = (char *)(uintptr_t)given[i];
    for (size_t i = 0; i < inherited; i++)
        if (exec_env_passes(environ[i], place))
            env->vars[count++] = environ[i];
    return 0;
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

/* posix_spawn(3) cannot let a child die with its parent, nor make it the parent's of this process,
 * and fork(2) copies the page tables: so this is what vfork(2) does. Invariant: until the shell
 * runs, the child shares the memory of this process. It makes nothing but calls that a signal
 * handler may make, writes nothing but its own stack and the error, and no signal handler runs in
 * it: all signals are blocked until they have their defaults. */

#define EXEC_SPAWN_FAILED 127 /* as a shell says it */
#define EXEC_SPAWN_CLOSE  65536
#define EXEC_SPAWN_STACK  65536

struct exec_spawn_begun {
    const struct exec_spawn *spawn;
    pid_t parent;
    volatile int error;
};

/* A parent that ended before the call did gives the child no signal any more, and it has another
 * one. */
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
void
exec_spawn_close_others(int first)
{
    if (close_range((unsigned)first, ~0U, 0) == 0)
        return;
    if (access("/proc/self/fd/0", F_OK) == 0)
        closefrom(first);
    else
        for (int fd = first; fd < EXEC_SPAWN_CLOSE; fd++)
            close(fd);
}

static int
exec_spawn_descriptors(const struct exec_spawn *spawn)
{
    if (dup2(spawn->in, 0) < 0 || dup2(spawn->out, 1) < 0 || dup2(spawn->err, 2) < 0)
        return -1;
    exec_spawn_close_others(3);
    return 0;
}

static int
exec_spawn_child(void *arg)
{
    struct exec_spawn_begun *begun = arg;
    const struct exec_spawn *spawn = begun->spawn;
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)spawn->command, NULL};

    if (setpgid(0, 0) == 0 && exec_spawn_follow(begun->parent) == 0 &&
        exec_spawn_descriptors(spawn) == 0) {
        /* This process blocks signals and ignores some: none of that is the child's. */
        environment_become_program();
        execve("/bin/sh", argv, spawn->env);
    }
    begun->error = errno;
    _exit(EXEC_SPAWN_FAILED);
}

int
exec_spawn(const struct exec_spawn *spawn, pid_t *pid_out)
{
    static _Alignas(16) char stack[EXEC_SPAWN_STACK];
    struct exec_spawn_begun begun = {.spawn = spawn,
                                     .parent = spawn->for_parent ? getppid() : getpid()};
    int flags = CLONE_VM | CLONE_VFORK | SIGCHLD | (spawn->for_parent ? CLONE_PARENT : 0);
    sigset_t all, before;
    pid_t pid;

    /* So none of the three is a place that the child gives to another. */
    MS_ASSERT(spawn->in > 2 && spawn->out > 2 && spawn->err > 2);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid = clone(exec_spawn_child, stack + sizeof(stack), flags, &begun);
    if (pid < 0)
        begun.error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && begun.error != 0 && !spawn->for_parent)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    if (pid > 0 && (begun.error == 0 || spawn->for_parent))
        *pid_out = pid;
    return begun.error;
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
    return fd_set_nonblock(*ours);
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
    int rc = -1, error;

    *child = EXEC_CHILD_NONE;
    child->helper = setup->helper;
    child->epoll_fd = setup->epoll_fd;
    child->key = setup->key;
    if (exec_child_pipes(child, &ends) < 0)
        goto out;
    error = exec_helper_spawn(setup->helper, setup->vars, (int[]){ends.in, ends.out, ends.err},
                              &child->pid);
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
        exec_helper_signal(child->helper, child->pid, signo);
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
