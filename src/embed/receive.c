/* The program's thread in the worker: waiting for messages, one at a time or with callbacks. */
#include "embed/server.h"

#include <errno.h>
#include <unistd.h>

#define KEEP_UP_US 10000 /* how long a program may live on its queues */
#define TICK_MS    1000

/* --- waiting --- */

struct server_wait
server_wait_for(int timeout_ms)
{
    return (struct server_wait){
        .until_us = timeout_ms < 0 ? SERVER_FOREVER : clock_mono_us() + (uint64_t)timeout_ms * 1000,
    };
}

static void
server_turn(struct msock_server *s, int timeout_ms)
{
    worker_turn(s->worker, timeout_ms);
    s->turned_us = clock_mono_us();
}

/* Until that time, rounded up, so that a turn is not made for nothing; -1 for ever. */
static int
server_left_ms(uint64_t until_us)
{
    uint64_t now_us = clock_mono_us(), left_ms;

    if (until_us == SERVER_FOREVER)
        return -1;
    left_ms = until_us > now_us ? (until_us - now_us + 999) / 1000 : 0;
    return left_ms < INT32_MAX ? (int)left_ms : INT32_MAX;
}

enum msock_status
server_wait(struct msock_server *s, struct server_wait *wait)
{
    int left_ms = server_left_ms(wait->until_us);

    if (s->is_stopped)
        return server_fail(s, MSOCK_CANCELLED, "the server was stopped");
    if (atomic_load(&s->stop)) {
        server_turn(s, 0);
        s->is_stopped = true;
        return MSOCK_OK;
    }
    if (left_ms == 0 && wait->turned)
        return server_fail(s, MSOCK_TIMEOUT, "nothing came in time");
    wait->turned = true;
    server_turn(s, left_ms);
    return MSOCK_OK;
}

void
server_keep_up(struct msock_server *s)
{
    if (s->worker != NULL && !s->is_stopped && clock_mono_us() >= s->turned_us + KEEP_UP_US)
        server_turn(s, 0);
}

void
msock_server_stop(msock_server *s)
{
    static const uint64_t one = 1;
    int saved = errno;

    atomic_store(&s->stop, true);
    while (write(s->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    errno = saved;
}

/* --- one at a time --- */

/* Each connection in turn. Within msock_server_run those without messages have something else to
 * say. */
static struct msock_message *
server_next_message(struct msock_server *s)
{
    struct msock_conn *c, *next;
    struct msock_message *m;

    for (c = TAILQ_FIRST(&s->ready); c != NULL; c = next) {
        next = TAILQ_NEXT(c, ready);
        if (TAILQ_EMPTY(&c->queue) && s->run != NULL)
            continue;
        server_conn_not_ready(c);
        if (TAILQ_EMPTY(&c->queue)) {
            server_conn_put(c);
            continue;
        }
        m = server_message_take(c);
        if (!TAILQ_EMPTY(&c->queue) || s->run != NULL)
            server_conn_ready(c);
        return m;
    }
    return NULL;
}

enum msock_status
msock_server_recv(msock_server *s, int timeout_ms, msock_message **message_out)
{
    struct server_wait wait = server_wait_for(timeout_ms);
    enum msock_status status = server_begin(s);
    struct msock_message *m = NULL;

    server_keep_up(s);
    while (status == MSOCK_OK && (m = server_next_message(s)) == NULL)
        status = server_wait(s, &wait);
    if (status == MSOCK_OK)
        *message_out = m;
    return status;
}

/* --- with callbacks --- */

/* The next thing that there is to say of this connection, in the order in which it happened.
 * Returns false where there was nothing. */
static bool
run_say(struct msock_server *s, struct msock_conn *c)
{
    const struct server_run *run = s->run;

    if (!c->said_opened) {
        c->said_opened = true;
        if (run->callbacks.opened != NULL)
            run->callbacks.opened(run->arg, s, c);
    } else if (!TAILQ_EMPTY(&c->queue)) {
        run->callbacks.message(run->arg, s, server_message_take(c));
    } else if (c->core == NULL && !c->said_closed) {
        c->said_closed = true;
        if (run->callbacks.closed != NULL)
            run->callbacks.closed(run->arg, s, c);
    } else {
        return false;
    }
    return true;
}

/* One callback. Returns false where there was nothing to say of any connection. */
static bool
run_step(struct msock_server *s)
{
    struct msock_conn *c = TAILQ_FIRST(&s->ready);

    if (c == NULL)
        return false;
    server_conn_not_ready(c);
    server_conn_ready(c); /* the last one now; a callback may ask for its messages */
    c->holds++;
    if (!run_say(s, c))
        server_conn_not_ready(c);
    c->holds--;
    server_conn_put(c);
    return true;
}

static void
run_tick(struct msock_server *s, struct server_run *run)
{
    uint64_t now_us = clock_mono_us();

    if (run->tick_us == 0 || now_us < run->next_tick_us)
        return;
    run->next_tick_us = now_us + run->tick_us;
    run->callbacks.tick(run->arg, s);
}

/* Until the next tick, or that time where it is sooner. */
static int
run_left_ms(const struct server_run *run, uint64_t until_us)
{
    if (run->tick_us != 0 && run->next_tick_us < until_us)
        until_us = run->next_tick_us;
    return server_left_ms(until_us);
}

static void
run_until_stopped(struct msock_server *s, struct server_run *run)
{
    while (!atomic_load(&s->stop)) {
        run_tick(s, run);
        if (run_step(s))
            server_keep_up(s);
        else
            server_turn(s, run_left_ms(run, SERVER_FOREVER));
    }
}

static void
run_drain(struct msock_server *s, struct server_run *run, int drain_ms)
{
    uint64_t until_us = server_wait_for(drain_ms > 0 ? drain_ms : 0).until_us;
    bool late = false;

    worker_drain(s->worker, "stopped");
    while (worker_connections(s->worker) > 0 && !late) {
        late = clock_mono_us() >= until_us;
        while (run_step(s))
            run_tick(s, run);
        server_turn(s, run_left_ms(run, until_us));
        run_tick(s, run);
    }
    while (run_step(s))
        ;
    s->is_stopped = true;
}

/* Connections that were there before. */
static void
run_announce(struct msock_server *s)
{
    struct msock_conn *c;

    for (c = TAILQ_FIRST(&s->fresh); c != NULL; c = TAILQ_NEXT(c, link))
        if (!c->said_opened && !c->is_dismissed)
            server_conn_ready(c);
}

static enum msock_status
run_check(struct msock_server *s, const struct msock_server_callbacks *callbacks)
{
    enum msock_status status = server_begin(s);

    if (status != MSOCK_OK)
        return status;
    if (s->is_running)
        return server_fail(s, MSOCK_USAGE, "the server is running already");
    if (callbacks == NULL || callbacks->message == NULL)
        return server_fail(s, MSOCK_USAGE, "there is no callback for messages");
    return MSOCK_OK;
}

enum msock_status
msock_server_run(msock_server *s, const struct msock_server_callbacks *callbacks, void *arg,
                 int drain_ms)
{
    enum msock_status status = run_check(s, callbacks);
    struct server_run run = {.arg = arg};
    int tick_ms;

    if (status != MSOCK_OK)
        return status;
    run.callbacks = *callbacks;
    tick_ms = callbacks->tick_ms > 0 ? callbacks->tick_ms : TICK_MS;
    run.tick_us = callbacks->tick != NULL ? (uint64_t)tick_ms * 1000 : 0;
    run.next_tick_us = clock_mono_us() + run.tick_us;
    s->run = &run;
    s->is_running = true;
    run_announce(s);
    run_until_stopped(s, &run);
    run_drain(s, &run, drain_ms);
    s->is_running = false;
    s->run = NULL;
    return MSOCK_OK;
}

/* --- in the program's event loop --- */

enum msock_status
msock_server_dispatch(msock_server *s, const struct msock_server_callbacks *callbacks, void *arg)
{
    enum msock_status status = run_check(s, callbacks);
    struct server_wait wait = server_wait_for(0);

    if (status != MSOCK_OK)
        return status;
    s->dispatch = (struct server_run){.callbacks = *callbacks, .arg = arg};
    if (s->run == NULL) {
        s->run = &s->dispatch;
        run_announce(s);
    }
    s->is_running = true;
    status = server_wait(s, &wait);
    while (run_step(s))
        ;
    s->is_running = false;
    return status;
}

int
msock_server_fd(msock_server *s)
{
    return server_begin(s) == MSOCK_OK ? worker_fd(s->worker) : -1;
}

int
msock_server_timeout(const msock_server *s)
{
    if (s->worker == NULL || atomic_load(&s->stop) || !TAILQ_EMPTY(&s->ready))
        return 0;
    return worker_left_ms(s->worker);
}
