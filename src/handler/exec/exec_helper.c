/* The process that starts the children of one listener, outside of the worker's sandbox. Invariant:
 * whatever a worker says, it starts the configured command and nothing else, with an environment
 * whose names it knows, and signals what it has started itself. Its children are the worker's own,
 * which waits for them as if it had made them. */
#include "handler/exec/exec.h"

#include "common/fd.h"
#include "common/kernel.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER_FD        3
#define HELPER_TEXT_MAX  (256u << 10)
#define HELPER_CHILDREN  512
#define HELPER_STANDARDS 3
#define HELPER_ANSWER_S  5    /* until one that does not answer is given up */
#define HELPER_END_MS    1000 /* until one that does not end is left to the end of the worker */

struct helper_request {
    pid_t pid; /* 0: a start, with three descriptors; the variables follow */
    int signo; /* for the group of pid */
};

struct helper_reply {
    pid_t pid; /* also where it has ended with the error already; 0: there is none */
    int error;
};

/* --- in the worker --- */

/* Inside its sandbox the worker cannot make another one. */
static int
helper_mourn(void)
{
    static bool done;

    if (!done) {
        log_line(LOG_exec_helper_gone, "the process that starts commands has died, or does not "
                                       "answer: this worker leaves, and another one takes its "
                                       "place");
        (void)kill(getpid(), SIGQUIT);
    }
    done = true;
    return EPIPE;
}

/* Returns 0 and what the helper answered, or an errno. */
static int
helper_ask(struct exec_helper *helper, struct msghdr *msg, struct helper_reply *reply)
{
    ssize_t n;

    while ((n = sendmsg(helper->fd, msg, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == EBADF))
        return helper_mourn();
    if (n < 0)
        return errno == EMSGSIZE ? E2BIG : errno;
    while ((n = recv(helper->fd, reply, sizeof(*reply), 0)) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t)sizeof(*reply))
        return 0;
    fd_close(&helper->fd); /* nobody waits for it again */
    return helper_mourn();
}

int
exec_helper_spawn(struct exec_helper *helper, const struct buffer *vars, const int fds[3],
                  pid_t *pid_out)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(HELPER_STANDARDS * sizeof(int))];
    } control = {.bytes = {0}};
    struct helper_request request = {0};
    struct helper_reply reply = {0};
    struct iovec parts[2] = {{&request, sizeof(request)},
                             {(void *)(uintptr_t)buffer_bytes(vars), vars->len}};
    struct msghdr msg = {.msg_iov = parts,
                         .msg_iovlen = 2,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    int error;

    control.header.cmsg_len = CMSG_LEN(HELPER_STANDARDS * sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), fds, HELPER_STANDARDS * sizeof(int));
    error = helper_ask(helper, &msg, &reply);
    if (error != 0)
        return error;
    if (reply.error != 0 && reply.pid > 0)
        while (waitpid(reply.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    if (reply.error == 0)
        *pid_out = reply.pid;
    return reply.error;
}

/* Waits for the answer: the caller may reap the child next, and then its group has no name. */
void
exec_helper_signal(struct exec_helper *helper, pid_t pid, int signo)
{
    struct helper_request request = {.pid = pid, .signo = signo};
    struct iovec part = {&request, sizeof(request)};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    struct helper_reply reply;

    (void)helper_ask(helper, &msg, &reply);
}

void
exec_helper_stop(struct exec_helper *helper)
{
    fd_close(&helper->fd);
    for (unsigned ms = 0; helper->pid > 0 && ms < HELPER_END_MS; ms++) {
        if (waitpid(helper->pid, NULL, WNOHANG) != 0)
            helper->pid = 0;
        else
            (void)poll(NULL, 0, 1);
    }
    helper->pid = 0;
}

/* --- in the helper --- */

struct helper_child {
    pid_t pid;
    int pid_fd; /* -1: the kernel has none */
};

static struct {
    const struct exec_place *place;
    size_t count;
    struct helper_child children[HELPER_CHILDREN];
} helper;

/* Not reaped yet, so its number is nobody else's. */
static bool
child_is_there(const struct helper_child *child)
{
    return child->pid_fd < 0 || syscall(SYS_pidfd_send_signal, child->pid_fd, 0, NULL, 0) == 0 ||
           errno != ESRCH;
}

static void
helper_forget(size_t i)
{
    fd_close(&helper.children[i].pid_fd);
    helper.children[i] = helper.children[--helper.count];
}

static void
helper_sweep(void)
{
    for (size_t i = helper.count; i-- > 0;)
        if (!child_is_there(&helper.children[i]))
            helper_forget(i);
}

static void
helper_note(pid_t pid)
{
    helper.children[helper.count++] = (struct helper_child){
        .pid = pid,
        .pid_fd = kernel_has(KERNEL_PIDFD_OPEN) ? (int)syscall(SYS_pidfd_open, pid, 0) : -1};
}

static void
helper_signal(const struct helper_request *request)
{
    for (size_t i = helper.count; i-- > 0;) {
        if (helper.children[i].pid != request->pid)
            continue;
        if (child_is_there(&helper.children[i]))
            (void)kill(-request->pid, request->signo);
        if (helper.children[i].pid_fd < 0 && request->signo == SIGKILL)
            helper_forget(i);
    }
}

static void
helper_start(const char *vars, size_t n, const int fds[3], struct helper_reply *reply)
{
    struct exec_env env;
    struct exec_spawn spawn = {.command = helper.place->command,
                               .in = fds[0],
                               .out = fds[1],
                               .err = fds[2],
                               .for_parent = true};

    helper_sweep();
    reply->error = EAGAIN;
    if (helper.count == HELPER_CHILDREN)
        return;
    reply->error = EINVAL;
    if (exec_env_init(&env, helper.place, vars, n) < 0)
        return;
    spawn.env = env.vars;
    reply->error = exec_spawn(&spawn, &reply->pid);
    exec_env_fini(&env);
    if (reply->error == 0)
        helper_note(reply->pid);
}

/* Returns how many descriptors came; the kernel leaves out those that are too many. */
static int
helper_descriptors(struct msghdr *msg, int fds[3])
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int n = 0;

    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return 0;
    n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
    return n;
}

static void
helper_answer(struct helper_request *request, size_t n, const int fds[3], int fd_count)
{
    const char *vars = (const char *)(request + 1);
    struct helper_reply reply = {.error = EINVAL};

    if (n >= sizeof(*request) && request->pid != 0)
        helper_signal(request);
    else if (n >= sizeof(*request) && fd_count == HELPER_STANDARDS)
        helper_start(vars, n - sizeof(*request), fds, &reply);
    (void)send(HELPER_FD, &reply, sizeof(reply), MSG_NOSIGNAL);
}

/* One request. Returns false where the worker is gone. */
static bool
helper_turn(void *bytes)
{
    int fds[HELPER_STANDARDS] = {-1, -1, -1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(fds))];
    } control;
    struct iovec part = {bytes, HELPER_TEXT_MAX};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_LEN(sizeof(fds))}; /* the union has room for more */
    int count;
    ssize_t n = recvmsg(HELPER_FD, &msg, MSG_CMSG_CLOEXEC);

    if (n <= 0)
        return n < 0 && errno == EINTR;
    count = helper_descriptors(&msg, fds);
    helper_answer(bytes, (size_t)n, fds, count);
    for (int i = 0; i < count; i++)
        fd_close(&fds[i]);
    return true;
}

static _Noreturn void
helper_run(int fd, const struct exec_place *place, pid_t worker)
{
    void *bytes = ms_malloc(HELPER_TEXT_MAX);

    /* Whoever waits for the end of the worker must not wait for this copy of its descriptors. */
    if (dup2(fd, HELPER_FD) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != worker)
        _exit(1);
    exec_spawn_close_others(HELPER_FD + 1);
    (void)prctl(PR_SET_NAME, "msockd-exec");
    helper.place = place;
    while (helper_turn(bytes))
        ;
    _exit(0);
}

int
exec_helper_start(struct exec_helper *out, const struct exec_place *place)
{
    const struct timeval patience = {.tv_sec = HELPER_ANSWER_S};
    pid_t worker = getpid();
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    (void)setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    *out = (struct exec_helper){.pid = fork(), .fd = fds[0]};
    if (out->pid == 0)
        helper_run(fds[1], place, worker);
    fd_close(&fds[1]);
    if (out->pid < 0)
        fd_close(&out->fd);
    return out->pid < 0 ? -1 : 0;
}
