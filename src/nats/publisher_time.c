/* What happens because nothing has happened: publications are given again, and fail in the end; a
 * connection that does not answer is given up, and so is a thread that does not come back. */
#include "nats/publisher_state.h"

#include "common/fd.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define TICK_MAX_US 100000
#define TICK_MIN_US 5000
#define STUCK_US    60000000 /* for the thread, besides the time to connect to all servers */

static bool
publisher_needs_time(const struct publisher *p)
{
    return p->count > 0 || p->question != NULL || p->epoch == 0 || p->state != PUBLISHER_READY;
}

void
publisher_arm(struct publisher *p)
{
    uint64_t tick_us = p->config.timeout_us / 8;
    struct itimerspec at = {.it_value.tv_sec = 0};

    if (p->armed_us != UINT64_MAX || !publisher_needs_time(p))
        return;
    if (tick_us > TICK_MAX_US)
        tick_us = TICK_MAX_US;
    if (tick_us < TICK_MIN_US)
        tick_us = TICK_MIN_US;
    p->armed_us = p->now_us + tick_us;
    at.it_value.tv_sec = (time_t)(p->armed_us / 1000000);
    at.it_value.tv_nsec = (long)(p->armed_us % 1000000) * 1000;
    MS_ASSERT(timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

/* The oldest stands first. */
static void
publisher_expire(struct publisher *p)
{
    struct publication *publication;

    while ((publication = TAILQ_FIRST(&p->under_way)) != NULL &&
           publication->first_us + PUBLISHER_TRIES * p->config.timeout_us <= p->now_us) {
        struct stream_answer answer = {0};

        if (p->trouble[0] != '\0')
            snprintf(answer.text, sizeof(answer.text), "%.250s", p->trouble);
        else if (publication->setbacks > 0)
            snprintf(answer.text, sizeof(answer.text), "%.250s", p->setback);
        else
            snprintf(answer.text, sizeof(answer.text), "stream %.100s does not answer",
                     p->config.stream);
        publisher_say(p, LOG_nats_trouble, "messages are not confirmed in time: %s", answer.text);
        publisher_finish(p, publication, PUBLISH_BUSY, &answer);
    }
}

/* A server that says nothing at all while it is asked is no server. */
static bool
publisher_is_silent(const struct publisher *p)
{
    return p->heard_us + p->config.timeout_us <= p->now_us;
}

static void
publisher_repeat(struct publisher *p)
{
    struct publication *publication;

    for (publication = TAILQ_FIRST(&p->under_way); publication != NULL;
         publication = TAILQ_NEXT(publication, link)) {
        if (publication->again_us > p->now_us)
            continue;
        if (publication->setbacks == 0 && publisher_is_silent(p)) {
            p->plugin->reset(p->link, p->epoch);
            return;
        }
        publisher_send(p, publication);
    }
}

static void
publisher_leave_link(struct publisher *p)
{
    if (p->link == NULL)
        return;
    (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->plugin->fd(p->link), NULL);
    (void)p->plugin->close(p->link, 0);
    p->link = NULL;
    p->epoch = 0;
    p->state = PUBLISHER_AWAY;
    publisher_drop_question(p);
}

/* The thread is in a call that does not end, a handshake with a server that has stopped, say: it is
 * left behind, with the settings that it uses. */
static void
publisher_replace_link(struct publisher *p)
{
    struct link_settings *settings = ms_calloc(1, sizeof(*settings));
    struct epoll_event ev = {.events = EPOLLIN};

    publisher_leave_link(p);
    if (link_settings_read(&p->config, settings, p->trouble) < 0) {
        link_settings_fini(settings);
        free(settings);
        return; /* a file cannot be read now: again with the next tick */
    }
    settings->link.connect_ms = p->settings->link.connect_ms;
    p->settings = settings;
    p->link = p->plugin->open(&settings->link);
    if (p->link != NULL)
        (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->plugin->fd(p->link), &ev);
}

static bool
publisher_is_stuck(const struct publisher *p)
{
    uint64_t connect_us = (uint64_t)p->settings->link.connect_ms * 1000;
    uint64_t since_us = p->plugin->turned_us(p->link);

    return since_us != 0 && since_us + STUCK_US + 2 * LINK_SERVERS_MAX * connect_us <= p->now_us;
}

void
publisher_tick(struct publisher *p)
{
    uint64_t times;

    (void)fd_read(p->timer_fd, &times, sizeof(times));
    p->armed_us = UINT64_MAX;
    publisher_expire(p);
    if (p->link == NULL || publisher_is_stuck(p))
        publisher_replace_link(p);
    if (p->epoch != 0 && p->state == PUBLISHER_READY)
        publisher_repeat(p);
    if (p->epoch == 0 || p->ask_us > p->now_us)
        return;
    if (p->question != NULL && publisher_is_silent(p))
        p->plugin->reset(p->link, p->epoch);
    publisher_ask(p);
}
