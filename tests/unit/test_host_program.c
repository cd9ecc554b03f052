/* libmsock in a program that is set up in ways of its own: signals, limits, closed descriptors, a
 * locale, forks. Each host is a process that the test forks. */
#include "guard.h"
#include "server_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <langinfo.h>
#include <locale.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#define SPILLED ((size_t)3 << 20) /* bytes of a message that goes to a file */

/* In a host, where an assertion of the test's would go on in the wrong process. */
#define HOST_ASSERT(x)                                              \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            _exit(1);                                               \
        }                                                           \
    } while (0)

static char body[SPILLED];

static void
expect_host(void (*host)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(120);
        host();
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    if (status != 0)
        fail_msg("the host ended with %s %d", WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static msock_server *
host_server(void)
{
    msock_server *s = msock_server_create();

    HOST_ASSERT(s != NULL);
    HOST_ASSERT(msock_server_add_listener(s, "auto://127.0.0.1:0") == MSOCK_OK);
    return s;
}

/* Receives and takes one message of n bytes. */
static void
host_take(msock_server *s, size_t n)
{
    msock_message *m;
    size_t got;

    HOST_ASSERT(msock_server_recv(s, PATIENCE_MS, &m) == MSOCK_OK);
    HOST_ASSERT(msock_message_data(m, &got) != NULL && got == n);
    msock_message_commit(m, NULL, 0);
}

/* Sends n bytes to s from another thread; they must arrive. */
static void
host_exchange(msock_server *s, size_t n)
{
    struct client c = {.size = n, .kind = 'A', .retries = 2};

    client_start(&c, s, body);
    host_take(s, n);
    for (msock_message *m; msock_server_recv(s, 1, &m) == MSOCK_OK;)
        HOST_ASSERT(false);
    client_join(&c);
    HOST_ASSERT(c.status == MSOCK_OK);
}

/* --- signals --- */

static void
on_alarm(int signo)
{
    (void)signo;
}

static void
host_interrupted(void)
{
    const struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    const struct itimerval often = {{.tv_usec = 500}, {.tv_usec = 500}}, never = {{0}, {0}};
    msock_server *s;

    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    s = host_server();
    for (unsigned i = 0; i < 20; i++)
        host_exchange(s, SPILLED);
    setitimer(ITIMER_REAL, &never, NULL);
    msock_server_destroy(s);
}

static void
host_blocking_all_signals(void)
{
    sigset_t all, after;
    msock_server *s;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    s = host_server();
    host_exchange(s, SPILLED);
    msock_server_destroy(s);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signo = 1; signo < NSIG; signo++)
        HOST_ASSERT(sigismember(&all, signo) != 1 || signo == SIGKILL || signo == SIGSTOP ||
                    sigismember(&after, signo) == 1);
    sigpending(&after);
    HOST_ASSERT(sigismember(&after, SIGPIPE) == 0);
}

static void
signals_of_the_host_are_no_trouble(void **state)
{
    (void)state;
    expect_host(host_interrupted);
    expect_host(host_blocking_all_signals);
}

/* --- limits --- */

/* What cannot be stored fails, and the rest goes on. */
static void
host_with_small_files(void)
{
    const struct rlimit small = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY};
    struct client c = {.size = SPILLED, .kind = 'A'};
    msock_server *s;
    msock_message *m;
    msock *sender;
    int ends[2];

    setrlimit(RLIMIT_FSIZE, &small);
    s = host_server();
    host_exchange(s, 50000);
    client_start(&c, s, body);
    HOST_ASSERT(msock_server_recv(s, 3000, &m) != MSOCK_OK);
    host_exchange(s, 50000);
    client_join(&c);
    HOST_ASSERT(c.status != MSOCK_OK);
    sender = msock_open(c.url);
    HOST_ASSERT(sender != NULL && pipe(ends) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 1 << 18) > 0);
    HOST_ASSERT(write(ends[1], body, 200000) == 200000 && close(ends[1]) == 0);
    HOST_ASSERT(msock_send_fd(sender, ends[0], "x") == MSOCK_LOCAL);
    msock_close(sender);
    msock_server_destroy(s);
}

static void
a_limit_on_files_ends_no_host(void **state)
{
    (void)state;
    expect_host(host_with_small_files);
}

/* --- descriptors --- */

static bool
standard_is_closed(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return false;
    return true;
}

static void
host_without_standard(void)
{
    struct client c = {.size = SPILLED, .kind = 'A'};
    msock_server *s;
    msock_message *m;
    msock *sender;

    for (int fd = 0; fd <= 2; fd++)
        close(fd);
    s = host_server();
    client_start(&c, s, body);
    HOST_ASSERT(msock_server_recv(s, PATIENCE_MS, &m) == MSOCK_OK);
    HOST_ASSERT(standard_is_closed());
    msock_message_commit(m, NULL, 0);
    HOST_ASSERT(msock_server_recv(s, 10, &m) != MSOCK_OK);
    client_join(&c);
    sender = msock_open(c.url);
    HOST_ASSERT(sender != NULL && msock_connect(sender) == MSOCK_OK && standard_is_closed());
    msock_close(sender);
    msock_server_destroy(s);
    _exit(0);
}

static void
no_descriptor_of_the_library_is_a_standard_one(void **state)
{
    (void)state;
    expect_host(host_without_standard);
}

/* --- a locale --- */

static char locale_dir[128];

static void
host_in_turkish(void)
{
    char error[256];
    msock_server *s;
    struct client c = {.kind = 'J'};
    msock_message *m;

    setenv("LOCPATH", locale_dir, 1);
    HOST_ASSERT(setlocale(LC_ALL, "tr") != NULL);
    HOST_ASSERT(strcmp(nl_langinfo(RADIXCHAR), ",") == 0);
    /* A letter there, and no character of a host's name. */
    HOST_ASSERT(msock_url_error("msp://h\xf6st:8000", error, sizeof(error)) == MSOCK_USAGE);
    HOST_ASSERT(msock_url_error("frame://I:1?FRAMING=DELIMITER", error, sizeof(error)) ==
                MSOCK_USAGE);
    s = msock_server_create();
    HOST_ASSERT(s != NULL);
    HOST_ASSERT(msock_server_add_listener(
                    s, "auto://127.0.0.1:0?timeout=2.5s&max_message_size=1MiB") == MSOCK_OK);
    client_start(&c, s, "{\"I\":1.5}");
    HOST_ASSERT(msock_server_recv(s, PATIENCE_MS, &m) == MSOCK_OK);
    HOST_ASSERT(json_real_value(json_object_get(msock_message_json(m), "I")) == 1.5);
    msock_message_commit(m, NULL, 0);
    HOST_ASSERT(msock_server_recv(s, 10, &m) != MSOCK_OK);
    client_join(&c);
    HOST_ASSERT(c.status == MSOCK_OK);
    msock_server_destroy(s);
    HOST_ASSERT(strcmp(setlocale(LC_ALL, NULL), "tr") == 0);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st;
    (void)type;
    (void)place;
    return remove(path);
}

static void
the_locale_of_the_host_changes_nothing(void **state)
{
    char command[320];
    bool built;

    (void)state;
    guard_directory(locale_dir, sizeof(locale_dir));
    snprintf(command, sizeof(command), "localedef -i tr_TR -f ISO-8859-9 '%s/tr' >/dev/null 2>&1",
             locale_dir);
    built = system(command) == 0;
    if (built)
        expect_host(host_in_turkish);
    nftw(locale_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    if (!built) {
        print_message("localedef cannot make a Turkish locale here\n");
        skip();
    }
}

/* --- forks --- */

/* A child that leaves as programs do, with all that it has closed. */
static void
host_fork_closing(msock *m, msock_server *s)
{
    int status;
    pid_t pid = fork();

    HOST_ASSERT(pid >= 0);
    if (pid == 0) {
        msock_close(m);
        msock_server_destroy(s);
        _exit(0);
    }
    HOST_ASSERT(waitpid(pid, &status, 0) == pid && status == 0);
}

static void *
fork_serve(void *arg)
{
    for (int i = 0; i < 2; i++)
        host_take(arg, 5);
    for (msock_message *m; msock_server_recv(arg, -1, &m) == MSOCK_OK;)
        HOST_ASSERT(false);
    return NULL;
}

static void
host_with_forks(void)
{
    static const char *const protocols[] = {"msp", "cnp", "frame"};
    char url[64];

    for (size_t i = 0; i < 3; i++) {
        msock_server *s = host_server();
        pthread_t thread;
        msock *m;

        snprintf(url, sizeof(url), "%s://127.0.0.1:%u", protocols[i], fixture_port(s, 0));
        m = msock_open(url);
        HOST_ASSERT(m != NULL);
        msock_set_retries(m, 0, 1, 1);
        HOST_ASSERT(pthread_create(&thread, NULL, fork_serve, s) == 0);
        HOST_ASSERT(msock_send(m, "hello", 5) == MSOCK_OK);
        host_fork_closing(m, s);
        HOST_ASSERT(msock_send(m, "again", 5) == MSOCK_OK);
        msock_close(m);
        msock_server_stop(s);
        HOST_ASSERT(pthread_join(thread, NULL) == 0);
        msock_server_destroy(s);
    }
}

static void
a_child_of_the_host_leaves_connections_alone(void **state)
{
    (void)state;
    expect_host(host_with_forks);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_of_the_host_are_no_trouble),
        cmocka_unit_test(a_limit_on_files_ends_no_host),
        cmocka_unit_test(no_descriptor_of_the_library_is_a_standard_one),
        cmocka_unit_test(the_locale_of_the_host_changes_nothing),
        cmocka_unit_test(a_child_of_the_host_leaves_connections_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
