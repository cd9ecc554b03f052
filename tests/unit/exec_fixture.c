#include "exec_fixture.h"

#include "support/signals.h"

#include "handler/exec/exec.h"

#include <dirent.h>
#include <sched.h>

#define EXEC_FIXTURE_WAIT_US (EXEC_FIXTURE_WAIT_MS * 1000)

struct listener_config exec_listener;

static struct fixture *
exec_fixture_create(void)
{
    struct fixture *f = fixture_create();

    signal(SIGPIPE, SIG_IGN);
    exec_listener = (struct listener_config){.name = (char *)"msp://127.0.0.1:8000"};
    exec_listener.number[OPTION_EXEC_CHILDREN] = 1;
    exec_listener.number[OPTION_EXEC_TIMEOUT] = EXEC_FIXTURE_WAIT_US;
    f->host.listener = &exec_listener;
    return f;
}

int
exec_setup_pool(void **state)
{
    *state = exec_fixture_create();
    return 0;
}

int
exec_setup_once(void **state)
{
    *state = exec_fixture_create();
    exec_listener.number[OPTION_EXEC] = 1;
    return 0;
}

void
exec_start(struct fixture *f, const char *command)
{
    char error[HANDLER_ERROR_LEN];

    exec_listener.text[OPTION_COMMAND] = (char *)command;
    f->handler = exec_handler.create(&f->host, error);
    assert_non_null(f->handler);
}

void
exec_stop(struct fixture *f)
{
    exec_handler.destroy(f->handler);
    f->handler = NULL;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int
exec_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->handler != NULL)
        exec_stop(f);
    fixture_destroy(f);
    return 0;
}

void
exec_give(struct fixture *f, const void *body, size_t n)
{
    exec_handler.submit(f->handler, fixture_message(f, MESSAGE_PLAIN, "", body, n));
}

void
exec_turn(struct fixture *f)
{
    struct pollfd event = {.fd = exec_handler.event_fd(f->handler), .events = POLLIN};

    assert_true(poll(&event, 1, EXEC_FIXTURE_WAIT_US / 1000) > 0);
    exec_handler.complete(f->handler);
}

unsigned
exec_children(const struct fixture *f)
{
    const struct exec *h = f->handler;
    unsigned n = 0;

    for (unsigned i = 0; i < h->config.children; i++)
        n += h->slots[i].child.pid != 0;
    return n;
}

void
exec_reap_all(struct fixture *f)
{
    uint64_t until_us = clock_mono_us() + EXEC_FIXTURE_WAIT_US;

    while (exec_children(f) > 0) {
        assert_true(clock_mono_us() < until_us);
        exec_turn(f);
    }
}

void
exec_turn_until_gone(struct fixture *f, pid_t pid)
{
    uint64_t until_us = clock_mono_us() + EXEC_FIXTURE_WAIT_US;

    while (signal_send(pid, 0) == 0) {
        assert_true(clock_mono_us() < until_us);
        exec_turn(f);
    }
}

void
exec_settle_all(struct fixture *f, unsigned count)
{
    uint64_t until_us = clock_mono_us() + EXEC_FIXTURE_WAIT_US;

    while (f->settled_count < count) {
        assert_true(clock_mono_us() < until_us);
        exec_turn(f);
    }
    assert_int_equal(f->settled_count, count);
}

const struct settled *
exec_one(struct fixture *f, const void *body, size_t n)
{
    exec_give(f, body, n);
    exec_settle_all(f, f->settled_count + 1);
    return &f->settled[f->settled_count - 1];
}

void
assert_verdict(const struct settled *s, enum proto_outcome outcome, const char *text)
{
    assert_string_equal(s->text, text);
    assert_int_equal(s->outcome, outcome);
    assert_string_equal(s->code, outcome == PROTO_REFUSED ? "refused" : "");
}

long
exec_number(struct fixture *f, const char *name)
{
    uint64_t until_us = clock_mono_us() + EXEC_FIXTURE_WAIT_US;
    char *text = NULL;
    long number = 0;

    while (number == 0) {
        assert_true(clock_mono_us() < until_us);
        sched_yield();
        text = fixture_read(f, name, NULL);
        if (text != NULL && strchr(text, '\n') != NULL)
            number = strtol(text, NULL, 10);
        free(text);
    }
    return number;
}

bool
exec_group_runs(pid_t group)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    bool runs = false;

    assert_non_null(dir);
    while (!runs && (entry = readdir(dir)) != NULL) {
        char path[300], state = 'X', *text = NULL;
        int of = 0;
        size_t n;

        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            fd_read_file(path, 4096, &text, &n) < 0)
            continue;
        if (strrchr(text, ')') != NULL)
            (void)sscanf(strrchr(text, ')'), ") %c %*d %d", &state, &of);
        free(text);
        runs = of == group && state != 'Z' && state != 'X';
    }
    closedir(dir);
    return runs;
}

bool
exec_group_is_gone(pid_t group)
{
    uint64_t until_us = clock_mono_us() + EXEC_FIXTURE_WAIT_US;

    while (exec_group_runs(group) && clock_mono_us() < until_us)
        sched_yield(); /* SIGKILL was sent, and takes a moment */
    return !exec_group_runs(group);
}
