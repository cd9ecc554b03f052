/* The thread of a connection, which makes and ends it, and what reads and writes: the thread, or
 * the publisher's calls while the connection is direct. Invariant: messages are in a queue only
 * while there is a connection with an epoch, which changes under the lock, as is_direct does. */
#include "nats/plugin/plugin.h"

#include "common/fd.h"
#include "common/thread.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_BUFFER_MAX  (512 << 10) /* bytes in libnats' buffer: then the server is waited for */
#define LINK_HEARTBEAT   1000        /* ms */
#define LINK_WAIT_FIRST  50          /* ms between two rounds over the servers, and as much again */
#define LINK_WAIT_MOST   2000
#define LINK_WAIT_ROUNDS 5
#define LINK_LIVED_US    5000000 /* a connection that lived so long was a good one */

/* Publishes until libnats has enough to write; returns whether that was all. One that cannot be
 * sent at all is told; what becomes of the others on a lost connection, the publisher learns from
 * that. */
static bool
link_publish_taken(struct link *l)
{
    struct link_message *m = NULL;
    natsStatus s;

    while (natsConnection_Buffered(l->nc) < LINK_BUFFER_MAX && (m = link_next(&l->taken)) != NULL) {
        s = link_publish(l, m);
        if (s == NATS_MAX_PAYLOAD || s == NATS_INVALID_SUBJECT || s == NATS_INVALID_ARG ||
            s == NATS_NO_MEMORY)
            link_hear(l, LINK_UNSENT, m->token, natsStatus_GetText(s),
                      strlen(natsStatus_GetText(s)));
        link_message_done(m);
    }
    return STAILQ_EMPTY(&l->taken);
}

/* All, or as much as the socket takes: then libnats wants to write. */
static void
link_write(struct link *l)
{
    bool was_all;

    do {
        was_all = link_publish_taken(l);
        if (atomic_load(&l->wants_write))
            natsConnection_ProcessWriteEvent(l->nc);
    } while (!was_all && !atomic_load(&l->wants_write));
}

static void
link_read(struct link *l)
{
    natsConnection_ProcessReadEvent(l->nc);
    l->has_begun = true;
}

/* --- a direct connection: all with the lock --- */

static void
link_watch(struct link *l)
{
    uint32_t wanted = EPOLLIN | (atomic_load(&l->wants_write) ? EPOLLOUT : 0);
    struct epoll_event event = {.events = wanted};

    if (l->fd < 0)
        link_wake(l); /* libnats has closed it */
    else if (wanted != l->watched)
        MS_ASSERT(epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, l->fd, &event) == 0);
    l->watched = wanted;
}

static void
link_write_given(struct link *l)
{
    STAILQ_CONCAT(&l->taken, &l->messages);
    link_write(l);
    link_post_heard(l);
    link_watch(l);
}

static void
link_begin_direct(struct link *l)
{
    struct epoll_event event = {.events = EPOLLIN};

    pthread_mutex_lock(&l->lock);
    l->watched = event.events;
    l->is_direct = epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->fd, &event) == 0;
    if (l->is_direct)
        link_write_given(l);
    pthread_mutex_unlock(&l->lock);
}

static void
link_end_direct(struct link *l)
{
    if (l->is_direct && l->fd >= 0)
        (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    l->is_direct = false;
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
    link_end_direct(l);
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
    l->has_begun = false;
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

/* libnats does not say whether it uses TLS. A record of TLS begins with a byte that no line of the
 * protocol begins with. */
static bool
link_is_plain(const struct link *l)
{
    char first = 0;

    return recv(l->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && first >= ' ';
}

/* Waits for bytes, for room to write, or for something to do. */
static void
link_wait(struct link *l)
{
    struct pollfd fds[2] = {{.fd = l->command_fd, .events = POLLIN}, {.fd = l->fd}};
    bool is_plain = false;

    fds[1].events = (short)(POLLIN | (atomic_load(&l->wants_write) ? POLLOUT : 0));
    if (poll(fds, 2, LINK_HEARTBEAT) == 0)
        link_bury(l);
    if ((fds[0].revents & POLLIN) != 0)
        link_clear(l->command_fd);
    if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        is_plain = !l->has_begun && link_is_plain(l);
        link_read(l);
    }
    link_hear_answers(l);
    if (is_plain)
        link_begin_direct(l);
}

/* While others read and write. */
static void
link_rest(struct link *l)
{
    struct pollfd command = {.fd = l->command_fd, .events = POLLIN};

    if (poll(&command, 1, LINK_HEARTBEAT) == 0) {
        pthread_mutex_lock(&l->lock);
        link_bury(l);
        pthread_mutex_unlock(&l->lock);
    }
    link_clear(l->command_fd);
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

    if (!l->is_direct)
        link_write(l);
    if (!natsConnection_IsClosed(l->nc) && reset != l->epochs) {
        if (l->is_direct)
            link_rest(l);
        else
            link_wait(l);
    }
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
    struct epoll_event event = {.events = EPOLLIN};

    l->references = 1;
    l->config = config;
    l->fd = -1;
    STAILQ_INIT(&l->messages);
    STAILQ_INIT(&l->events);
    STAILQ_INIT(&l->taken);
    STAILQ_INIT(&l->heard);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->ended_cond, NULL);
    l->epoll_fd = fd_above_standard(epoll_create1(EPOLL_CLOEXEC));
    l->event_fd = fd_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    l->command_fd = fd_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (l->epoll_fd < 0 || l->event_fd < 0 || l->command_fd < 0 ||
        epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->event_fd, &event) < 0 ||
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
    return l->epoll_fd;
}

static void
plugin_take(struct link *l, struct link_events *events)
{
    pthread_mutex_lock(&l->lock);
    if (!STAILQ_EMPTY(&l->events))
        link_clear(l->event_fd);
    STAILQ_CONCAT(events, &l->events);
    if (l->is_direct) {
        link_read(l);
        link_hear_answers(l);
        STAILQ_CONCAT(events, &l->heard);
        if (atomic_load(&l->wants_write) || l->fd < 0)
            link_write_given(l);
    }
    pthread_mutex_unlock(&l->lock);
}

static void
plugin_kick(struct link *l)
{
    bool is_direct;

    pthread_mutex_lock(&l->lock);
    is_direct = l->is_direct;
    if (is_direct)
        link_write_given(l);
    pthread_mutex_unlock(&l->lock);
    if (!is_direct)
        link_wake(l);
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
    .take = plugin_take,
    .give = link_give,
    .kick = plugin_kick,
    .reset = plugin_reset,
    .turned_us = plugin_turned_us,
};
