#include "bus_fixture.h"

#include "support/signals.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

/* --- several processes --- */

#define PROCESSES 4
#define PUBLISHED 20000

struct check {
    uint32_t next[PROCESSES];
    unsigned wrong;
};

struct numbered {
    uint32_t process, number, seed;
};

static void
check_hear(void *arg, const void *data, size_t n)
{
    struct check *check = arg;
    const uint8_t *bytes = data;
    struct numbered head;

    if (n < sizeof(head)) {
        check->wrong++;
        return;
    }
    memcpy(&head, data, sizeof(head));
    if (head.process >= PROCESSES || head.number != check->next[head.process])
        check->wrong++;
    else
        check->next[head.process]++;
    for (size_t i = sizeof(head); i < n; i++)
        if (bytes[i] != (uint8_t)(head.seed + i))
            check->wrong++;
}

/* Mostly short ones, and now and then a long one. */
static size_t
process_make(uint8_t *body, uint32_t process, uint32_t number, uint32_t *seed)
{
    struct numbered head = {process, number, *seed = *seed * 1103515245u + 12345};
    size_t n = sizeof(head) + (*seed >> 8) % (number % 500 == 0 ? 100000 : 200);

    for (size_t i = sizeof(head); i < n; i++)
        body[i] = (uint8_t)(head.seed + i);
    memcpy(body, &head, sizeof(head));
    return n;
}

static bool
check_done(const struct check *check, uint32_t own)
{
    for (uint32_t i = 0; i < PROCESSES; i++)
        if (i != own && check->next[i] != PUBLISHED)
            return false;
    return true;
}

static void
process_wait_bell(int epoll_fd)
{
    struct epoll_event event;

    (void)epoll_wait(epoll_fd, &event, 1, 5);
}

/* Exit status 0: all was heard, once and in order. */
static int
process_main(const struct table *t, uint32_t own, int ready_fd, int go_fd)
{
    struct bus *bus = bus_open(&t->place, 10 + own);
    struct check check = {.wrong = 0};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    uint8_t *body = ms_malloc(200000);
    uint32_t published = 0, seed = own;
    size_t n = 0;
    char byte = 0;

    if (bus == NULL || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bus_bell(bus), &event) < 0)
        return 2;
    bus_subscribe(bus, CHANNEL, check_hear, &check);
    if (write(ready_fd, &byte, 1) != 1 || read(go_fd, &byte, 1) != 0)
        return 3;
    while (published < PUBLISHED || !check_done(&check, own)) {
        bool stuck = published == PUBLISHED;

        for (unsigned i = 0; i < 64 && published < PUBLISHED && !stuck; i++) {
            if (n == 0)
                n = process_make(body, own, published, &seed);
            /* Time stands still: nobody is ever overwritten. */
            stuck = bus_publish(bus, CHANNEL, body, n / 2, body + n / 2, n - n / 2, 0) < 0;
            published += !stuck;
            n = stuck ? n : 0;
        }
        if (bus_dispatch(bus, false) != 0 || check.wrong != 0)
            return 4;
        bus_ring(bus);
        if (stuck)
            process_wait_bell(epoll_fd);
    }
    bus_close(bus);
    free(body);
    return 0;
}

/* Forks a process that calls run; it is killed when the test takes too long. */
static pid_t
start(int (*run)(const struct table *, uint32_t, int, int), const struct table *t, uint32_t own,
      const int ready[2], const int go[2])
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    alarm(240);
    close(ready[0]);
    close(go[1]);
    _exit(run(t, own, ready[1], go[0]));
}

static void
await_ready(int fd, unsigned count)
{
    char byte;

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fd_read(fd, &byte, 1), 1);
}

static void
processes_hear_each_other_in_order_and_once(void **state)
{
    struct table *t = *state;
    pid_t pids[PROCESSES];
    int ready[2], go[2];

    for (unsigned i = 0; i < 4; i++) {
        bus_close(t->bus[i]);
        t->bus[i] = NULL;
    }
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    for (uint32_t i = 0; i < PROCESSES; i++)
        pids[i] = start(process_main, t, i, ready, go);
    close(ready[1]);
    close(go[0]);
    await_ready(ready[0], PROCESSES);
    close(go[1]);
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    close(ready[0]);
}

static int
process_listen(const struct table *t, uint32_t own, int ready_fd, int go_fd)
{
    struct bus *bus = bus_open(&t->place, own);
    struct ear ear = {.count = 0};
    char byte = 0;

    if (bus == NULL)
        return 2;
    bus_subscribe(bus, CHANNEL, ear_hear, &ear);
    if (write(ready_fd, &byte, 1) != 1)
        return 3;
    return (int)fd_read(go_fd, &byte, 1); /* killed here */
}

static void
a_reader_that_was_killed_holds_the_others_up_for_a_moment_only(void **state)
{
    struct table *t = *state;
    int ready[2], go[2];
    unsigned count;
    pid_t pid;

    leave_two(t);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid = start(process_listen, t, 30, ready, go);
    await_ready(ready[0], 1);
    assert_int_equal(signal_send(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    count = fill(t);
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    assert_int_equal(fill(t), 0); /* it cannot be known yet that it is gone */
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US),
                         0);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    }
    assert_int_equal(t->ear[1].count, count + 100);
    for (unsigned i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

static int
process_publish(const struct table *t, uint32_t own, int ready_fd, int go_fd)
{
    struct bus *bus = bus_open(&t->place, own);
    uint8_t *body = ms_malloc(200000);
    uint32_t seed = own, number = 0;
    char byte = 0;

    (void)go_fd;
    if (bus == NULL || write(ready_fd, &byte, 1) != 1)
        return 2;
    for (;; number++) {
        size_t n = process_make(body, 0, number, &seed);

        while (bus_publish(bus, CHANNEL, body, n, NULL, 0, 0) < 0)
            sched_yield();
    }
}

/* Each time it dies somewhere else; whoever takes the ring over begins to count anew. */
static void
a_writer_that_was_killed_leaves_whole_messages(void **state)
{
    struct table *t = *state;
    struct check check;

    leave_two(t);
    bus_unsubscribe(t->bus[0], CHANNEL);
    bus_unsubscribe(t->bus[1], CHANNEL);
    bus_subscribe(t->bus[1], CHANNEL, check_hear, &check);
    for (unsigned round = 0; round < 20; round++) {
        int ready[2], go[2];
        pid_t pid;

        check = (struct check){.wrong = 0};
        assert_int_equal(pipe(ready), 0);
        assert_int_equal(pipe(go), 0);
        pid = start(process_publish, t, 30, ready, go);
        await_ready(ready[0], 1);
        while (check.next[0] < 1000 + round * 37) {
            assert_int_equal(bus_dispatch(t->bus[1], true), 0);
            assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        }
        assert_int_equal(signal_send(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
        assert_int_equal(check.wrong, 0);
        for (unsigned i = 0; i < 2; i++) {
            close(ready[i]);
            close(go[i]);
        }
    }
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(processes_hear_each_other_in_order_and_once),
        TEST(a_reader_that_was_killed_holds_the_others_up_for_a_moment_only),
        TEST(a_writer_that_was_killed_leaves_whole_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
