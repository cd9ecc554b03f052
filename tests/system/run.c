/* fork, exec and memory files, so that a program's output never blocks it. Between fork and exec
 * only async-signal-safe calls: other threads of the test may hold locks. */
#include "harness.h"

#include "support/signals.h"

#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64

static int
memory_file(const void *data, size_t n)
{
    int fd = memfd_create("msock-test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    if (n > 0) {
        assert_int_equal(write(fd, data, n), (ssize_t)n);
        lseek(fd, 0, SEEK_SET);
    }
    return fd;
}

static char **
environment(const struct run_options *options)
{
    size_t count = 0, used = 0;
    char **env;

    while (environ[count] != NULL)
        count++;
    env = calloc(count + RUN_ENV_MAX + 1, sizeof(char *));
    assert_non_null(env);
    for (size_t i = 0; i < RUN_ENV_MAX && options->env[i] != NULL; i++)
        env[used++] =
            (char *)(uintptr_t)options->env[i]; /* the first of a name is the one that counts */
    for (size_t i = 0; i < count; i++)
        env[used++] = environ[i];
    return env;
}

static _Noreturn void
become(const char *const argv[], const struct run_options *options, char *const env[], int in,
       int out, int err)
{
    struct rlimit limit = {.rlim_cur = options->files, .rlim_max = options->files};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    if (options->new_session)
        setsid();
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    if (options->cwd != NULL && chdir(options->cwd) < 0)
        _exit(126);
    if (options->files > 0 && setrlimit(RLIMIT_NOFILE, &limit) < 0)
        _exit(126);
    if (options->child != NULL)
        options->child();
    if (refused_apply(&options->refused) < 0)
        _exit(126);
    execve(argv[0], (char *const *)(uintptr_t)argv, env);
    _exit(127);
}

void
run_start(struct running *r, const char *const argv[], const struct run_options *options)
{
    static const struct run_options none;
    const struct run_options *o = options != NULL ? options : &none;
    char **env = environment(o);
    int in =
        o->input_fd > 0 ? o->input_fd : memory_file(o->input, o->input != NULL ? o->input_len : 0);
    int err;

    r->out = memory_file(NULL, 0);
    r->err = -1;
    if (o->error_file != NULL)
        err = open(o->error_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    else
        err = r->err = memory_file(NULL, 0);
    assert_true(err >= 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0)
        become(argv, o, env, in, r->out, err);
    r->pidfd = pidfd_open(r->pid, 0);
    assert_true(r->pidfd >= 0);
    close(in);
    if (o->error_file != NULL)
        close(err);
    free(env);
}

bool
run_ended(const struct running *r, unsigned timeout_ms)
{
    struct pollfd p = {.fd = r->pidfd, .events = POLLIN};
    int n;

    do
        n = poll(&p, 1, (int)(timeout_ms * WAIT_SCALE));
    while (n < 0 && errno == EINTR);
    return n == 1;
}

static char *
take_text(int *fd)
{
    off_t size = lseek(*fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    assert_non_null(text);
    assert_int_equal(pread(*fd, text, (size_t)size, 0), size);
    close(*fd);
    *fd = -1;
    return text;
}

void
run_finish(struct running *r, unsigned timeout_ms, struct run_result *result_out)
{
    bool in_time = run_ended(r, timeout_ms * WAIT_PATIENCE);
    int status = 0;

    if (!in_time)
        signal_send(r->pid, SIGKILL);
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    close(r->pidfd);
    r->pidfd = -1;
    result_out->status = WIFEXITED(status) ? WEXITSTATUS(status) : RUN_SIGNALED + WTERMSIG(status);
    result_out->out = take_text(&r->out);
    result_out->err = r->err >= 0 ? take_text(&r->err) : NULL;
    if (!in_time)
        fail_msg("a program did not end within %u ms; it said: %s%s", timeout_ms, result_out->out,
                 result_out->err != NULL ? result_out->err : "");
}

void
run_result_free(struct run_result *result)
{
    free(result->out);
    free(result->err);
    *result = (struct run_result){0};
}

struct run_result
run_program(const char *program, ...)
{
    const char *argv[ARGUMENTS_MAX] = {program};
    struct run_result result;
    struct running r;
    size_t n = 1;
    va_list ap;

    va_start(ap, program);
    while (n < ARGUMENTS_MAX - 1 && (argv[n] = va_arg(ap, const char *)) != NULL)
        n++;
    va_end(ap);
    run_start(&r, argv, NULL);
    run_finish(&r, 30000, &result);
    return result;
}
