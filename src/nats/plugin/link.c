/* The thread of a connection: it connects, publishes what it is given, and tells what it hears.
 * Invariant: messages are in a queue only while there is a connection with an epoch, which changes
 * under the lock. */
#include "nats/plugin/plugin.h"

#include "common/fd.h"
#include "common/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LINK_BUFFER_MAX  (512 << 10) /* bytes in libnats' buffer: then the server is waited for */
#define LINK_HEARTBEAT   1000        /* ms */
#define LINK_WAIT_FIRST  50          /* ms between two rounds over the servers, and as much again */
#define LINK_WAIT_MOST   2000
#define LINK_WAIT_ROUNDS 5
#define LINK_LIVED_US    5000000 /* a connection that lived so long was a good one */

/* Publishes until libnats has enough to write. One that cannot be sent at all is told; what becomes
 * of the others on a lost connection, the publisher learns from that. */
static void
link_publish_all(struct link *l)
{
    struct link_message *m = NULL;
    natsStatus s;

    while (!(l->is_full = natsConnection_Buffered(l->nc) >= LINK_BUFFER_MAX) &&
           (m = link_next(&l->taken)) != NULL) {
        s = link_publish(l, m);
        if (s == NATS_MAX_PAYLOAD || s == NATS_INVALID_SUBJECT || s == NATS_INVALID_ARG ||
            s == NATS_NO_MEMORY)
            link_hear(l, LINK_UNSENT, m->token, natsStatus_GetText(s),
                      strlen(natsStatus_GetText(s)));
        link_message_done(m);
    }
}

/* --- the thread --- */

/* The one time in a turn at which the thread has the lock: what was heard goes out, and what was
 * given comes in. */
static bool
link_exchange(struct link *l, uint32_t *reset_out)
{
    bool closed;

    pthread_mutex_lock(&l->lock);
    link_post_heard(l);
    STAILQ_CONCAT(&l->taken, &l->messages);
    closed = l->is_closed;
    *reset_out = l->reset;
    pthread_mutex_unlock(&l->lock);
    return closed;
}

/* Ends the epoch: from here on nothing is given to this connection. */
static void
link_lose(struct link *l, const char *why)
{
    struct link_message *m;

    pthread_mutex_lock(&l->lock);
    link_post_heard(l);
    link_post(l, link_event_create(LINK_LOST, why, strlen(why)));
    l->epoch = 0;
    STAILQ_CONCAT(&l->taken, &l->messages);
    pthread_mutex_unlock(&l->lock);
    while ((m = link_next(&l->taken)) != NULL)
        link_message_done(m);
    link_disconnect(l);
}

static void
link_begin(struct link *l)
{
    char server[LINK_TEXT_MAX];
    struct link_event *e;

    link_server(l, server, sizeof(server));
    e = link_event_create(LINK_CONNECTED, server, strlen(server));
    e->size = natsConnection_GetMaxPayload(l->nc);
    pthread_mutex_lock(&l->lock);
    l->epoch = ++l->epochs;
    l->begun_us = clock_mono_us();
    link_post(l, e);
    pthread_mutex_unlock(&l->lock);
}

static void
link_why_closed(struct link *l, char why[LINK_TEXT_MAX])
{
    const char *text = NULL;
    natsStatus s = natsConnection_GetLastError(l->nc, &text);

    if (text == NULL || text[0] == '\0')
        text = s == NATS_OK ? "it was closed" : natsStatus_GetText(s);
    snprintf(why, LINK_TEXT_MAX, "%s", text);
}

/* Waits for bytes, for room to write, or for something to do. */
static void
link_wait(struct link *l)
{
    struct pollfd fds[2] = {{.fd = l->command_fd, .events = POLLIN}, {.fd = l->fd}};

    fds[1].events = (short)(POLLIN | (atomic_load(&l->wants_write) ? POLLOUT : 0));
    if (poll(fds, 2, l->is_full && !atomic_load(&l->wants_write) ? 0 : LINK_HEARTBEAT) == 0)
        link_bury(l);
    if ((fds[0].revents & POLLIN) != 0)
        link_clear(l->command_fd);
    if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        natsConnection_ProcessReadEvent(l->nc);
    link_hear_answers(l);
}

static bool
link_is_closed(struct link *l)
{
    bool closed;

    pthread_mutex_lock(&l->lock);
    closed = l->is_closed;
    pthread_mutex_unlock(&l->lock);
    return closed;
}

/* Longer each time; jitter keeps many workers from coming back at the same moment. */
static void
link_pause(struct link *l)
{
    struct pollfd fd = {.fd = l->command_fd, .events = POLLIN};
    uint64_t ms = LINK_WAIT_MOST, until_us, now_us = clock_mono_us();
    unsigned random;

    if (l->rounds < LINK_WAIT_ROUNDS)
        ms = (uint64_t)LINK_WAIT_FIRST << l->rounds;
    l->rounds++;
    ms_random(&random, sizeof(random));
    for (until_us = now_us + (ms + random % ms) * 1000; now_us < until_us && !link_is_closed(l);
         now_us = clock_mono_us()) {
        (void)poll(&fd, 1, (int)((until_us - now_us) / 1000 + 1));
        link_clear(l->command_fd);
    }
}

static void
link_turn(struct link *l, uint32_t reset)
{
    char why[LINK_TEXT_MAX] = "";

    link_publish_all(l);
    if (atomic_load(&l->wants_write))
        natsConnection_ProcessWriteEvent(l->nc);
    if (!natsConnection_IsClosed(l->nc) && reset != l->epochs)
        link_wait(l);
    if (natsConnection_IsClosed(l->nc))
        link_why_closed(l, why);
    else if (atomic_load(&l->lame_duck))
        snprintf(why, sizeof(why), "the server is leaving");
    else if (reset == l->epochs)
        snprintf(why, sizeof(why), "it does not answer");
    if (why[0] == '\0')
        return;
    link_lose(l, why);
    if (l->begun_us + LINK_LIVED_US <= clock_mono_us())
        l->rounds = 0;
    link_pause(l);
}

static void
link_try(struct link *l)
{
    char text[LINK_TEXT_MAX] = "";
    natsStatus s = link_connect(l, l->config, text);
    struct link_event *e;

    if (s == NATS_OK) {
        link_begin(l);
        return;
    }
    e = link_event_create(LINK_FAILED, text, strlen(text));
    e->failure = link_failure_of(s, text);
    pthread_mutex_lock(&l->lock);
    link_post(l, e);
    pthread_mutex_unlock(&l->lock);
    link_pause(l);
}

static void *
link_run(void *arg)
{
    struct link *l = arg;
    uint32_t reset;

    (void)pthread_setname_np(pthread_self(), "msockd-nats");
    while (!link_exchange(l, &reset)) {
        atomic_store_explicit(&l->turned_us, clock_mono_us(), memory_order_relaxed);
        if (l->nc == NULL)
            link_try(l);
        else
            link_turn(l, reset);
    }
    if (l->nc != NULL)
        link_lose(l, "");
    nats_ReleaseThreadMemory();
    pthread_mutex_lock(&l->lock);
    l->has_ended = true;
    pthread_cond_signal(&l->ended_cond);
    pthread_mutex_unlock(&l->lock);
    link_release(l);
    return NULL;
}

/* --- what the publisher calls --- */

static struct link *
plugin_open(const struct link_config *config)
{
    struct link *l = ms_calloc(1, sizeof(*l));

    l->references = 1;
    l->config = config;
    l->fd = -1;
    STAILQ_INIT(&l->messages);
    STAILQ_INIT(&l->events);
    STAILQ_INIT(&l->taken);
    STAILQ_INIT(&l->heard);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->ended_cond, NULL);
    l->event_fd = fd_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    l->command_fd = fd_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (l->event_fd < 0 || l->command_fd < 0 ||
        thread_start(&l->thread, link_run, link_hold(l)) < 0) {
        l->references = 1;
        link_release(l);
        return NULL;
    }
    return l;
}

static bool
plugin_close(struct link *l, unsigned wait_ms)
{
    struct timespec until;
    bool ended;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&l->lock);
    l->is_closed = true;
    link_wake(l);
    while (!l->has_ended && pthread_cond_timedwait(&l->ended_cond, &l->lock, &until) == 0)
        ;
    ended = l->has_ended;
    pthread_mutex_unlock(&l->lock);
    (void)(ended ? pthread_join(l->thread, NULL) : pthread_detach(l->thread));
    link_release(l);
    return ended;
}

static int
plugin_fd(const struct link *l)
{
    return l->event_fd;
}

static void
plugin_reset(struct link *l, uint32_t epoch)
{
    pthread_mutex_lock(&l->lock);
    l->reset = epoch;
    pthread_mutex_unlock(&l->lock);
    link_wake(l);
}

static uint64_t
plugin_turned_us(const struct link *l)
{
    return atomic_load_explicit(&l->turned_us, memory_order_relaxed);
}

extern const struct nats_plugin msockd_nats_plugin __attribute__((visibility("default")));

const struct nats_plugin msockd_nats_plugin = {
    .abi = LINK_ABI,
    .size = sizeof(msockd_nats_plugin),
    .version = nats_GetVersion,
    .open = plugin_open,
    .close = plugin_close,
    .fd = plugin_fd,
    .take = link_take,
    .give = link_give,
    .kick = link_wake,
    .reset = plugin_reset,
    .turned_us = plugin_turned_us,
};
