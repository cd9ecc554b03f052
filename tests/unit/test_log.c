/* The log: one line an event, whatever is in it. */
#include "common/log.h"

#include "common/base.h"
#include "common/fd.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static char *dir;
static char path[4200];

static int
set_up(void **state)
{
    (void)state;
    dir = guard_tmpdir();
    snprintf(path, sizeof(path), "%s/log", dir);
    log_set_level(LOG_LEVEL_NOTICE);
    log_set_name("");
    return log_open(path);
}

static int
tear_down(void **state)
{
    int rc = log_open(NULL);

    (void)state;
    guard_tmpdir_remove(dir);
    return rc;
}

/* What is in the log now; the caller frees it. */
static char *
logged(size_t *len_out)
{
    char *text = NULL;

    assert_int_equal(fd_read_file(path, 1 << 20, &text, len_out), 0);
    return text;
}

static void
a_line_has_time_level_name_and_pid(void **state)
{
    char *text, expected[64];
    size_t n;

    (void)state;
    log_set_name("worker 0");
    log_line(LOG_ready, "ready: %d listeners", 2);
    text = logged(&n);
    snprintf(expected, sizeof(expected), " notice worker 0 [%d] ready: 2 listeners [ready]\n",
             (int)getpid());
    assert_true(n == CLOCK_RFC3339_LEN - 1 + strlen(expected));
    assert_string_equal(text + CLOCK_RFC3339_LEN - 1, expected);
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[26], 'Z');
    free(text);
}

static void
without_a_name_there_is_no_gap(void **state)
{
    char *text, expected[64];
    size_t n;

    (void)state;
    log_line(LOG_worker_died, "x");
    text = logged(&n);
    snprintf(expected, sizeof(expected), "Z error [%d] x [worker_died]\n", (int)getpid());
    assert_non_null(strstr(text, expected));
    free(text);
}

static void
a_peer_cannot_forge_a_line(void **state)
{
    char *text;
    size_t n;

    (void)state;
    log_line(LOG_no_descriptors, "peer said %s", "a\nb\r\x1b[2J\\");
    text = logged(&n);
    assert_non_null(strstr(text, "peer said a\\x0Ab\\x0D\\x1B[2J\\x5C [no_descriptors]\n"));
    assert_ptr_equal(strchr(text, '\n'), text + n - 1);
    free(text);
}

static void
a_line_has_at_most_2048_bytes(void **state)
{
    static char longer[5000];
    char *text;
    size_t n;

    (void)state;
    memset(longer, 'x', sizeof(longer) - 1);
    log_line(LOG_worker_died, "%s", longer);
    text = logged(&n);
    assert_int_equal(n, 2048);
    assert_int_equal(text[n - 1], '\n');
    free(text);
    memset(longer, '\n', sizeof(longer) - 1);
    log_line(LOG_worker_died, "%s", longer);
    text = logged(&n);
    assert_in_range(n - 2048, 2044, 2048);
    assert_memory_equal(text + n - 19, "\\x0A [worker_died]\n", 19);
    free(text);
}

static void
what_is_below_the_level_is_not_written(void **state)
{
    char *text;
    size_t n;

    (void)state;
    log_set_level(LOG_LEVEL_WARN);
    log_line(LOG_worker_died, "e");
    log_line(LOG_no_descriptors, "w");
    log_line(LOG_ready, "n");
    log_line(LOG_worker_ready, "i");
    log_line(LOG_worker_forked, "d");
    text = logged(&n);
    assert_non_null(strstr(text, " error ["));
    assert_non_null(strstr(text, " warn ["));
    assert_null(strstr(text, " notice ["));
    assert_null(strstr(text, " info ["));
    free(text);
    log_set_level(LOG_LEVEL_DEBUG);
    log_line(LOG_worker_forked, "d");
    text = logged(&n);
    assert_non_null(strstr(text, " debug ["));
    free(text);
}

static void
logging_keeps_errno_and_can_say_it(void **state)
{
    char *text;
    size_t n;

    (void)state;
    errno = ENOSPC;
    log_line(LOG_worker_died, "cannot write: %m");
    assert_int_equal(errno, ENOSPC);
    text = logged(&n);
    assert_non_null(strstr(text, "No space left on device"));
    free(text);
}

static void
reopening_follows_a_rotation(void **state)
{
    char rotated[4210], *text;
    struct stat st;
    size_t n;

    (void)state;
    log_line(LOG_ready, "first");
    snprintf(rotated, sizeof(rotated), "%s.1", path);
    assert_int_equal(rename(path, rotated), 0);
    log_line(LOG_ready, "second");
    assert_int_equal(log_reopen(), 0);
    log_line(LOG_ready, "third");
    text = logged(&n);
    assert_null(strstr(text, "second"));
    assert_non_null(strstr(text, "third"));
    free(text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
}

static void
a_log_that_cannot_be_opened_leaves_the_old_one(void **state)
{
    char wrong[4210], *text;
    size_t n;

    (void)state;
    snprintf(wrong, sizeof(wrong), "%s/none/log", dir);
    assert_int_equal(log_open(wrong), -1);
    assert_int_equal(errno, ENOENT);
    log_line(LOG_ready, "still here");
    assert_int_equal(log_reopen(), 0);
    log_line(LOG_ready, "and here");
    text = logged(&n);
    assert_non_null(strstr(text, "still here"));
    assert_non_null(strstr(text, "and here"));
    free(text);
}

static void
a_link_in_the_place_of_the_log_is_not_followed(void **state)
{
    char other[4210], *text;
    size_t n;
    int fd;

    (void)state;
    snprintf(other, sizeof(other), "%s.other", path);
    fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    fd_close(&fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(log_reopen(), -1);
    assert_int_equal(errno, ELOOP);
    log_line(LOG_ready, "to the old one");
    text = logged(&n);
    assert_int_equal(n, 0);
    free(text);
    /* Nor is a file made where a link points to none. */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(log_open(path), -1);
    assert_int_equal(access(other, F_OK), -1);
}

static void
a_fifo_that_nobody_reads_is_not_waited_for(void **state)
{
    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(log_reopen(), -1);
    assert_int_equal(errno, ENXIO);
}

/* --- the system log --- */

/* A process has only one log: the body runs in a child, which leaves with 0. */
static void
in_a_child(void (*body)(void))
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* In the child, where cmocka's assertions would run the tear-down. */
#define CHECK(x)                                                           \
    do {                                                                   \
        if (!(x)) {                                                        \
            dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            _exit(1);                                                      \
        }                                                                  \
    } while (0)

/* A system log, in the place of the log file. */
static int
syslog_begin(int type)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%.100s", path);
    unlink(path);
    CHECK(fd >= 0 && bind(fd, (void *)&at, sizeof(at)) == 0);
    CHECK(type != SOCK_STREAM || listen(fd, 5) == 0);
    return fd;
}

static void
syslog_daemon(void)
{
    log_without_stderr(path);
    CHECK(log_open(NULL) == 0);
    log_set_name("worker 3");
    log_set_level(LOG_LEVEL_WARN);
}

/* The next line is text; "" where there is none. */
static void
check_received(int fd, const char *wanted)
{
    char text[512] = "";
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    if (wanted[0] == '\0' ? n >= 0 : strstr(text, wanted) == NULL) {
        dprintf(STDERR_FILENO, "\"%s\", not \"%s\"\n", text, wanted);
        _exit(1);
    }
}

static void
syslog_line_body(void)
{
    char text[512] = "", wanted[128];
    struct tm tm = {0};
    int fd = syslog_begin(SOCK_DGRAM);

    syslog_daemon();
    log_line(LOG_ready, "not this one");
    log_line(LOG_no_descriptors, "a line\nand %s", "no other");
    CHECK(recv(fd, text, sizeof(text) - 1, 0) > 0);
    CHECK(strncmp(text, "<28>", 4) == 0); /* facility daemon, level warning */
    CHECK(strptime(text + 4, "%b %e %T", &tm) == text + 4 + strlen("Nov  9 10:11:12"));
    snprintf(wanted, sizeof(wanted),
             " msockd[%d]: worker 3: a line\\x0Aand no other [no_descriptors]", (int)getpid());
    CHECK(strcmp(text + 4 + strlen("Nov  9 10:11:12"), wanted) == 0);
}

static void
without_standard_error_the_log_goes_to_syslog(void **state)
{
    (void)state;
    in_a_child(syslog_line_body);
}

static void
syslog_hangs_body(void)
{
    int fd = syslog_begin(SOCK_DGRAM);
    char text[512];

    syslog_daemon();
    for (int i = 0; i < 5000; i++)
        log_line(LOG_no_descriptors, "line %d", i);
    check_received(fd, ": line 0");
    while (recv(fd, text, sizeof(text), 0) > 0)
        CHECK(strstr(text, "line 4999") == NULL);
    log_line(LOG_no_descriptors, "and on");
    check_received(fd, " lines are lost: nobody read them");
    check_received(fd, ": and on");
    check_received(fd, "");
}

static void
nobody_waits_for_a_system_log_that_hangs(void **state)
{
    (void)state;
    in_a_child(syslog_hangs_body);
}

static void
syslog_restarts_body(void)
{
    int fd;

    unlink(path);
    syslog_daemon();
    log_line(LOG_no_descriptors, "before there is one");
    fd = syslog_begin(SOCK_DGRAM);
    log_line(LOG_no_descriptors, "first");
    check_received(fd, ": 1 line is lost: No such file");
    check_received(fd, ": first");
    fd_close(&fd);
    log_line(LOG_no_descriptors, "nobody");
    log_line(LOG_no_descriptors, "there");
    fd = syslog_begin(SOCK_DGRAM);
    log_line(LOG_no_descriptors, "second");
    check_received(fd, ": 2 lines are lost: Connection refused");
    check_received(fd, ": second");
}

static void
a_system_log_may_begin_late_and_again(void **state)
{
    (void)state;
    in_a_child(syslog_restarts_body);
}

static void
syslog_stream_body(void)
{
    int fd = syslog_begin(SOCK_STREAM), from;
    char text[512] = "";

    syslog_daemon();
    log_line(LOG_no_descriptors, "first");
    from = accept(fd, NULL, NULL);
    CHECK(recv(from, text, sizeof(text) - 1, 0) == (ssize_t)strlen(text) + 1);
    CHECK(strstr(text, ": first") != NULL);
    for (int i = 0; i < 5000; i++)
        log_line(LOG_no_descriptors, "line %d", i);
    fd_close(&from);
    fd_close(&fd);
    fd = syslog_begin(SOCK_STREAM);
    log_line(LOG_no_descriptors, "second");
    from = accept(fd, NULL, NULL);
    check_received(from, " lines are lost: nobody read them");
    fd_close(&from);
    fd_close(&fd);
    fd = syslog_begin(SOCK_DGRAM); /* the next one is of the other kind */
    log_line(LOG_no_descriptors, "third");
    check_received(fd, ": third");
}

static void
a_system_log_may_have_a_stream(void **state)
{
    (void)state;
    in_a_child(syslog_stream_body);
}

/* --- the other formats --- */

static void
as_json_a_line_is_an_object(void **state)
{
    char *text, expected[200];
    size_t n;

    (void)state;
    log_set_format(LOG_FORMAT_JSON, NULL);
    log_set_name("worker 0");
    log_line(LOG_worker_died, "he said \"no\"\n\\");
    log_set_format(LOG_FORMAT_TEXT, NULL);
    text = logged(&n);
    snprintf(expected, sizeof(expected),
             "\",\"level\":\"error\",\"id\":\"worker_died\",\"process\":\"worker 0\",\"pid\":%d,"
             "\"text\":\"he said \\\"no\\\"\\\\x0A\\\\x5C\"}\n",
             (int)getpid());
    assert_memory_equal(text, "{\"time\":\"2", 10);
    assert_string_equal(text + 9 + CLOCK_RFC3339_LEN - 1, expected);
    free(text);
}

static void
as_json_a_line_of_quotes_has_its_end(void **state)
{
    static char longer[5000];
    char *text;
    size_t n;

    (void)state;
    memset(longer, '"', sizeof(longer) - 1);
    log_set_format(LOG_FORMAT_JSON, NULL);
    log_line(LOG_worker_died, "%s", longer);
    log_set_format(LOG_FORMAT_TEXT, NULL);
    text = logged(&n);
    assert_memory_equal(text + n - 5, "\\\"\"}\n", 5);
    free(text);
}

static void
journal_body(void)
{
    char text[1024] = "";
    int fd = syslog_begin(SOCK_DGRAM);

    log_set_name("worker 3");
    log_set_format(LOG_FORMAT_JOURNAL, path);
    log_line(LOG_no_descriptors, "a line\nPRIORITY=0");
    CHECK(recv(fd, text, sizeof(text) - 1, 0) > 0);
    CHECK(strstr(text, "MESSAGE=worker 3: a line\\x0APRIORITY=0 [no_descriptors]\n") == text);
    CHECK(strstr(text, "\nMESSAGE_ID=") != NULL);
    CHECK(strspn(strstr(text, "_ID=") + 4, "0123456789abcdef") == 32);
    CHECK(strstr(text, "\nPRIORITY=4\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=msockd\n") != NULL);
    CHECK(strstr(text, "\nMSOCKD_ID=no_descriptors\nMSOCKD_PROCESS=worker 3\n") != NULL);
    fd_close(&fd);
    log_line(LOG_no_descriptors, "nobody there");
    fd = syslog_begin(SOCK_DGRAM); /* the journal was started again */
    log_line(LOG_no_descriptors, "second");
    check_received(fd, "MESSAGE=worker 3: 1 line is lost");
    check_received(fd, "MESSAGE=worker 3: second");
}

static void
the_journal_gets_fields(void **state)
{
    (void)state;
    in_a_child(journal_body);
}

static void
syslog_as_asked_body(void)
{
    int fd = syslog_begin(SOCK_DGRAM);

    log_set_format(LOG_FORMAT_SYSLOG, path);
    log_line(LOG_no_descriptors, "first");
    check_received(fd, ": first [no_descriptors]");
    log_set_format(LOG_FORMAT_TEXT, NULL); /* there is a standard error */
    log_line(LOG_no_descriptors, "second");
    check_received(fd, "");
}

static void
syslog_gets_lines_where_it_was_asked_for(void **state)
{
    (void)state;
    in_a_child(syslog_as_asked_body);
}

static void
every_kind_has_an_id_of_its_own_and_says_what_to_do(void **state)
{
    static const struct {
        const char *name, *id, *means, *remedy;
    } kinds[] = {
#define X(name, level, id, means, remedy) {#name, id, means, remedy},
        LOG_KINDS(X)
#undef X
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(kinds); i++) {
        assert_int_equal(strspn(kinds[i].id, "0123456789abcdef"), 32);
        assert_int_equal(strlen(kinds[i].id), 32);
        assert_int_equal(kinds[i].means[strlen(kinds[i].means) - 1], '.');
        assert_true(kinds[i].remedy[0] != 0);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(kinds[i].name, kinds[k].name);
            assert_string_not_equal(kinds[i].id, kinds[k].id);
        }
    }
}

/* --- nobody is waited for --- */

static void
what_a_full_disk_takes_is_counted_and_ends_its_line(void **state)
{
    struct rlimit was, small;
    char *text;
    size_t n;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 100;
    signal(SIGXFSZ, SIG_IGN);
    log_line(LOG_ready, "this is here");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    log_line(LOG_ready,
             "of this a part, which ends at byte 100 of the file since there is no more room");
    log_line(LOG_ready, "of this nothing");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    log_line(LOG_ready, "and this");
    text = logged(&n);
    assert_null(strstr(text, "of this nothing"));
    assert_int_equal(text[100], '\n');
    assert_non_null(strstr(text + 101, " 2 lines are lost: File too large [lines_lost]\n"));
    assert_non_null(strstr(text + 101, " and this ["));
    free(text);
}

/* A service manager gives a socket, with its own flags. */
static void
nobody_waits_for_a_socket_as_standard_error(void **state)
{
    int fds[2], old_stderr = dup(STDERR_FILENO), flags;
    static char text[1 << 21];
    ssize_t n;

    (void)state;
    alarm(60);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(log_open(NULL), 0);
    for (int i = 0; i < 10000; i++)
        log_line(LOG_ready, "line %d of ten thousand", i);
    flags = fcntl(fds[1], F_GETFL);
    n = recv(fds[0], text, sizeof(text), MSG_DONTWAIT);
    assert_true(n > 0);
    log_line(LOG_ready, "and on");
    while ((n = recv(fds[0], text, sizeof(text) - 1, MSG_DONTWAIT)) > 0)
        text[n] = '\0';
    dup2(old_stderr, STDERR_FILENO);
    assert_int_equal(log_open(NULL), 0);
    close(old_stderr);
    close(fds[0]);
    close(fds[1]);
    alarm(0);
    assert_int_equal(flags & O_NONBLOCK, 0);
    assert_non_null(strstr(text, " lines are lost: nobody read them [lines_lost]\n"));
    assert_non_null(strstr(text, " and on ["));
}

/* A worker that runs as another user could not open the pipe again. */
static void
reopening_leaves_standard_error_as_it_is(void **state)
{
    int fds[2], old_stderr = dup(STDERR_FILENO);
    char text[512] = "";

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(log_open(NULL), 0);
    dup2(old_stderr, STDERR_FILENO);
    close(old_stderr);
    assert_int_equal(log_reopen(), 0);
    log_line(LOG_ready, "to the pipe");
    close(fds[1]);
    assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
    close(fds[0]);
    assert_int_equal(log_open(NULL), 0);
    assert_non_null(strstr(text, " to the pipe ["));
}

/* Standard error is a pipe that nobody reads for a while. */
static void
nobody_waits_for_who_reads_the_log(void **state)
{
    int fds[2], old_stderr = dup(STDERR_FILENO), flags;
    static char text[1 << 16];
    ssize_t n;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 4096) >= 4096);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(log_open(NULL), 0);
    for (int i = 0; i < 500; i++)
        log_line(LOG_ready, "line %d of five hundred", i);
    flags = fcntl(fds[1], F_GETFL); /* of the caller, who may want to wait */
    n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    assert_non_null(strstr(text, " line 0 of"));
    assert_null(strstr(text, " line 499 of"));
    log_line(LOG_ready, "and on");
    n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    dup2(old_stderr, STDERR_FILENO);
    assert_int_equal(log_open(NULL), 0);
    close(old_stderr);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(flags & O_NONBLOCK, 0);
    assert_non_null(strstr(text, " lines are lost: nobody read them [lines_lost]\n"));
    assert_non_null(strstr(text, " and on ["));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_name_and_pid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_name_there_is_no_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_cannot_forge_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_has_at_most_2048_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_below_the_level_is_not_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(logging_keeps_errno_and_can_say_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_standard_error_the_log_goes_to_syslog, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reopening_follows_a_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_cannot_be_opened_leaves_the_old_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_link_in_the_place_of_the_log_is_not_followed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_fifo_that_nobody_reads_is_not_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_system_log_that_hangs, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_system_log_may_begin_late_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_system_log_may_have_a_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_json_a_line_is_an_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_json_a_line_of_quotes_has_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_journal_gets_fields, set_up, tear_down),
        cmocka_unit_test_setup_teardown(syslog_gets_lines_where_it_was_asked_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_kind_has_an_id_of_its_own_and_says_what_to_do, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_a_full_disk_takes_is_counted_and_ends_its_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_socket_as_standard_error, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reopening_leaves_standard_error_as_it_is, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_for_who_reads_the_log, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
