/* Descriptors. */
#include "common/fd.h"

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

static char *dir;

static int
set_up(void **state)
{
    (void)state;
    dir = guard_tmpdir();
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    guard_tmpdir_remove(dir);
    return 0;
}

static const char *
in_dir(const char *name)
{
    static char path[4200];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void
closing_stores_minus_one_and_keeps_errno(void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = fd, none = -1, stolen;

    (void)state;
    errno = ENOSPC;
    fd_close(&none);
    stolen = fd_steal(&fd);
    assert_int_equal(fd, -1);
    assert_int_equal(stolen, copy);
    fd_close(&fd);
    assert_int_equal(fcntl(copy, F_GETFD), FD_CLOEXEC);
    errno = ENOSPC;
    fd_close(&stolen);
    assert_int_equal(stolen, -1);
    stolen = 99999; /* close fails with EBADF */
    fd_close(&stolen);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
}

static void
on_alarm(int signo)
{
    (void)signo;
}

static void *
drain_slowly(void *arg)
{
    static char got[4096];
    size_t total = 0;
    ssize_t n;

    while ((n = fd_read(*(int *)arg, got, sizeof(got))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (got[i] != (char)((total + (size_t)i) * 13 >> 3))
                return NULL;
        total += (size_t)n;
    }
    return (void *)total;
}

/* A megabyte through a pipe, with a timer that interrupts the calls all the time. */
static void
everything_is_written_in_spite_of_signals(void **state)
{
    static char data[1 << 20];
    struct sigaction act = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    int pipe_fds[2];
    pthread_t reader;
    void *total;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 13 >> 3);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(sigaction(SIGALRM, &act, NULL), 0);
    assert_int_equal(pthread_create(&reader, NULL, drain_slowly, &pipe_fds[0]), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_int_equal(fd_write_all(pipe_fds[1], data, sizeof(data)), 0);
    fd_close(&pipe_fds[1]);
    assert_int_equal(pthread_join(reader, &total), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    act.sa_handler = SIG_IGN; /* one more may be pending */
    assert_int_equal(sigaction(SIGALRM, &act, NULL), 0);
    assert_int_equal((size_t)total, sizeof(data));
    fd_close(&pipe_fds[0]);
}

static void
writing_nothing_succeeds_and_a_full_disk_does_not(void **state)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(full >= 0);
    assert_int_equal(fd_write_all(full, NULL, 0), 0);
    assert_int_equal(fd_write_all(full, "x", 1), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(fd_pwrite_all(full, "x", 1, 0), -1);
    assert_int_equal(errno, ENOSPC);
    fd_close(&full);
}

static void
offsets_leave_the_position_alone(void **state)
{
    int fd = open(in_dir("f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char got[8];

    (void)state;
    assert_int_equal(fd_pwrite_all(fd, "hello", 5, 10), 0);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    errno = 0;
    assert_int_equal(fd_pwrite_all(fd, "hello", 5, -1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(fd_pread_all(fd, got, 5, 10), 0);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    assert_int_equal(fd_pread_all(fd, got, 6, 10), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(fd_pread_all(fd, got, 0, 100), 0);
    fd_close(&fd);
    assert_int_equal(fd_pread_all(fd, got, 1, 0), -1);
    assert_int_equal(errno, EBADF);
}

static void
write_file(const char *name, const char *data, size_t n)
{
    int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, n), 0);
    fd_close(&fd);
}

static void
a_file_is_read_whole(void **state)
{
    static char big[10000];
    char *data;
    size_t n;

    (void)state;
    memset(big, 'b', sizeof(big));
    write_file("empty", "", 0);
    assert_int_equal(fd_read_file(in_dir("empty"), 0, &data, &n), 0);
    assert_int_equal(n, 0);
    assert_string_equal(data, "");
    free(data);
    write_file("big", big, sizeof(big));
    assert_int_equal(fd_read_file(in_dir("big"), sizeof(big), &data, &n), 0);
    assert_int_equal(n, sizeof(big));
    assert_memory_equal(data, big, n);
    assert_int_equal(data[n], '\0');
    free(data);
    assert_int_equal(fd_read_file("/proc/self/status", 1 << 20, &data, &n), 0); /* says size 0 */
    assert_true(n > 100);
    assert_int_equal(strlen(data), n);
    free(data);
}

static void
what_is_too_large_or_no_file_is_refused(void **state)
{
    char *data = NULL;
    size_t n;

    (void)state;
    write_file("six", "123456", 6);
    assert_int_equal(fd_read_file(in_dir("six"), 5, &data, &n), -1);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(fd_read_file("/proc/self/status", 10, &data, &n), -1);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(fd_read_file(in_dir("none"), 5, &data, &n), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(fd_read_file(dir, 5, &data, &n), -1);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(fd_read_file(in_dir("fifo"), 5, &data, &n), -1);
    assert_int_equal(errno, EINVAL);
    assert_null(data);
}

static void
a_descriptor_is_made_nonblocking(void **state)
{
    int pipe_fds[2];
    char byte;

    (void)state;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblock(pipe_fds[0]), 0);
    assert_int_equal(fd_read(pipe_fds[0], &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    fd_close(&pipe_fds[0]);
    fd_close(&pipe_fds[1]);
    assert_int_equal(fd_set_nonblock(-1), -1);
}

static void
a_bell_whose_counter_is_full_rings(void **state)
{
    const uint64_t most = UINT64_MAX - 1;
    int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), watcher = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};

    (void)state;
    assert_int_equal(epoll_ctl(watcher, EPOLL_CTL_ADD, bell, &event), 0);
    assert_int_equal(write(bell, &most, sizeof(most)), sizeof(most));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(epoll_wait(watcher, &event, 1, 0), 1);
        assert_int_equal(epoll_wait(watcher, &event, 1, 0), 0);
        fd_ring_bell(bell);
    }
    fd_close(&watcher);
    fd_close(&bell);
}

static void
the_limit_of_descriptors_is_raised_to_the_hard_one(void **state)
{
    struct rlimit limit;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(fd_raise_limit() == limit.rlim_max);
    assert_true(fd_raise_limit() == limit.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_cur == limit.rlim_max);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_stores_minus_one_and_keeps_errno),
        cmocka_unit_test(everything_is_written_in_spite_of_signals),
        cmocka_unit_test(writing_nothing_succeeds_and_a_full_disk_does_not),
        cmocka_unit_test(offsets_leave_the_position_alone),
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(what_is_too_large_or_no_file_is_refused),
        cmocka_unit_test(a_descriptor_is_made_nonblocking),
        cmocka_unit_test(a_bell_whose_counter_is_full_rings),
        cmocka_unit_test(the_limit_of_descriptors_is_raised_to_the_hard_one),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
