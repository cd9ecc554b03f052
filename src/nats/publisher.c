/* A publisher's life, and what it is given. */
#include "nats/publisher_state.h"

#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define HEADERS_FIXED   12 /* "NATS/1.0", and the ends of lines around */
#define CONNECT_MAX_MS  5000
#define CLOSE_WAIT_MS   1000
#define HOLD_US         300
#define SAY_AGAIN_US    60000000
#define TOKEN_SLOT_BITS 16

static_assert(PUBLISHER_SLOTS <= 1u << TOKEN_SLOT_BITS, "a token has room for every slot");

/* --- publications --- */

size_t
publication_size(size_t headers_len, size_t len)
{
    return HEADERS_FIXED + headers_len + len;
}

struct publication *
publication_create(const char *subject, const char *headers, size_t headers_len, const void *data,
                   size_t len)
{
    size_t subject_size = strlen(subject) + 1;
    size_t cost = sizeof(struct publication) + subject_size + headers_len + 1 + len;
    struct publication *p = ms_malloc(cost);
    char *text = (char *)(p + 1), *lines = text + subject_size, *body = lines + headers_len + 1;

    *p = (struct publication){.message = {.references = 1,
                                          .subject = memcpy(text, subject, subject_size),
                                          .headers = memcpy(lines, headers, headers_len),
                                          .headers_len = (uint32_t)headers_len,
                                          .data = body,
                                          .len = (uint32_t)len},
                              .cost = cost};
    lines[headers_len] = '\0';
    if (data != NULL && len > 0)
        memcpy(body, data, len);
    return p;
}

char *
publication_data(struct publication *p)
{
    return (char *)(uintptr_t)p->message.data;
}

void
publication_destroy(struct publication *p)
{
    link_message_release(&p->message);
}

/* --- slots --- */

void
publisher_enter(struct publisher *p, struct publication *publication)
{
    uint16_t slot;

    MS_ASSERT(p->free_count > 0);
    slot = p->free_slots[--p->free_count];
    p->slots[slot].publication = publication;
    publication->message.token = (uint64_t)++p->slots[slot].generation << TOKEN_SLOT_BITS | slot;
}

void
publisher_leave(struct publisher *p, struct publication *publication)
{
    uint16_t slot = (uint16_t)publication->message.token;

    MS_ASSERT(p->slots[slot].publication == publication);
    p->slots[slot].publication = NULL;
    p->free_slots[p->free_count++] = slot;
}

struct publication *
publisher_find(struct publisher *p, uint64_t token)
{
    size_t slot = token & ((1u << TOKEN_SLOT_BITS) - 1);
    struct publication *publication = slot < PUBLISHER_SLOTS ? p->slots[slot].publication : NULL;

    return publication != NULL && publication->message.token == token ? publication : NULL;
}

/* --- what is given --- */

bool
publisher_is_ready(const struct publisher *p)
{
    return p->state == PUBLISHER_READY;
}

bool
publisher_has_room(const struct publisher *p)
{
    const struct ledger *l = p->config.ledger;

    return publisher_is_ready(p) && p->count < PUBLISHER_COUNT && p->bytes < PUBLISHER_BYTES &&
           (p->count == 0 || l == NULL || !ledger_is_scarce(l));
}

const struct stream_facts *
publisher_stream(const struct publisher *p)
{
    return &p->facts;
}

uint32_t
publisher_round(const struct publisher *p)
{
    return p->round;
}

void
publisher_ask_again(struct publisher *p)
{
    if (!publisher_is_ready(p) || p->question != NULL)
        return;
    p->now_us = p->heard_us = clock_mono_us();
    publisher_ask(p);
    publisher_arm(p);
}

size_t
publisher_payload_max(const struct publisher *p)
{
    int64_t max = p->server_max;

    if (p->facts.message_max >= 0 && p->facts.message_max < max)
        max = p->facts.message_max;
    return (size_t)max;
}

const char *
publisher_trouble(const struct publisher *p)
{
    return p->trouble;
}

void
publisher_send(struct publisher *p, struct publication *publication)
{
    bool there = p->link != NULL && p->plugin->give(p->link, p->epoch, &publication->message);

    publication->epoch = there ? p->epoch : 0;
    publication->again_us = p->now_us + p->config.timeout_us;
    publication->is_set_back = false;
    p->unkicked++;
}

void
publisher_give(struct publisher *p, struct publication *publication)
{
    p->now_us = clock_mono_us();
    publisher_enter(p, publication);
    publication->first_us = p->now_us;
    TAILQ_INSERT_TAIL(&p->under_way, publication, link);
    p->count++;
    p->bytes += publication->message.len;
    ledger_take(p->config.ledger, publication->cost);
    if (publisher_is_ready(p))
        publisher_send(p, publication);
    publisher_arm(p);
}

static void
publisher_remove(struct publisher *p, struct publication *publication)
{
    publisher_drop_look(p, publication);
    publisher_leave(p, publication);
    TAILQ_REMOVE(&p->under_way, publication, link);
    p->count--;
    p->bytes -= publication->message.len;
    ledger_give(p->config.ledger, publication->cost);
}

void
publisher_cancel(struct publisher *p, struct publication *publication)
{
    publisher_remove(p, publication);
    publication_destroy(publication);
}

void
publisher_finish(struct publisher *p, struct publication *publication, enum publish_outcome outcome,
                 const struct stream_answer *answer)
{
    struct publish_result result = {.outcome = outcome,
                                    .seq = answer->seq,
                                    .duplicate = answer->duplicate,
                                    .text = answer->text};

    publisher_remove(p, publication);
    publication->done(publication, &result);
    publication_destroy(publication);
}

void
publisher_kick(struct publisher *p)
{
    if (p->unkicked > 0 && p->link != NULL)
        p->plugin->kick(p->link);
    p->unkicked = 0;
    p->kicked_us = p->now_us;
}

/* A few messages can wait for the answers to the many that are under way, since those bring more
 * messages: then more of them share the cost of a write, here and at the server. */
uint64_t
publisher_flush(struct publisher *p)
{
    if (p->unkicked == 0)
        return 0;
    p->now_us = clock_mono_us();
    if (2 * p->unkicked < p->count - p->unkicked && p->now_us < p->kicked_us + HOLD_US)
        return p->kicked_us + HOLD_US;
    publisher_kick(p);
    return 0;
}

void
publisher_say(struct publisher *p, enum log_kind kind, const char *fmt, ...)
{
    char text[sizeof(p->said)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (strcmp(text, p->said) == 0 && p->now_us < p->said_us + SAY_AGAIN_US)
        return;
    memcpy(p->said, text, sizeof(text));
    p->said_us = p->now_us;
    log_line(kind, "%s: %s", p->config.label, text);
}

/* --- the loop --- */

int
publisher_fd(const struct publisher *p)
{
    return p->epoll_fd;
}

void
publisher_turn(struct publisher *p)
{
    struct link_events events = STAILQ_HEAD_INITIALIZER(events);
    struct link_event *e;

    p->now_us = clock_mono_us();
    if (p->link != NULL)
        p->plugin->take(p->link, &events);
    while ((e = STAILQ_FIRST(&events)) != NULL) {
        STAILQ_REMOVE_HEAD(&events, next);
        publisher_event(p, e);
        free(e);
    }
    if (p->now_us >= p->armed_us) {
        publisher_tick(p);
        publisher_kick(p);
    }
    publisher_arm(p);
}

static bool
publisher_is_decided(const struct publisher *p)
{
    return p->state != PUBLISHER_AWAY || (p->has_failed && p->epoch == 0);
}

enum publisher_state
publisher_wait(struct publisher *p, uint64_t until_us, char error[NATS_ERROR_LEN])
{
    struct pollfd fd = {.fd = p->epoll_fd, .events = POLLIN};

    for (;;) {
        publisher_turn(p);
        if (publisher_is_decided(p) || p->now_us >= until_us)
            break;
        (void)poll(&fd, 1, (int)((until_us - p->now_us) / 1000 + 1));
    }
    snprintf(error, NATS_ERROR_LEN, "%s",
             p->trouble[0] != '\0' ? p->trouble : "no NATS server has answered yet");
    return p->state;
}

/* --- life --- */

static bool
publisher_watch(struct publisher *p, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};

    return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

/* A server gets the time of an answer to be connected to. */
static void
publisher_set_time(struct publisher *p)
{
    uint64_t ms = p->config.timeout_us / 1000;

    p->settings->link.connect_ms = (unsigned)(ms > CONNECT_MAX_MS ? CONNECT_MAX_MS : ms);
}

static bool
publisher_start(struct publisher *p)
{
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (p->epoll_fd < 0 || p->timer_fd < 0 || !publisher_watch(p, p->timer_fd))
        return false;
    p->link = p->plugin->open(&p->settings->link);
    return p->link != NULL && publisher_watch(p, p->plugin->fd(p->link));
}

struct publisher *
publisher_open(const struct publisher_config *config, char error[NATS_ERROR_LEN])
{
    struct publisher *p = ms_calloc(1, sizeof(*p));

    p->config = *config;
    p->epoll_fd = p->timer_fd = -1;
    p->armed_us = UINT64_MAX;
    p->state = PUBLISHER_AWAY;
    p->now_us = clock_mono_us();
    TAILQ_INIT(&p->under_way);
    for (unsigned i = 0; i < PUBLISHER_SLOTS; i++)
        p->free_slots[p->free_count++] = (uint16_t)i;
    p->settings = ms_calloc(1, sizeof(*p->settings));
    p->plugin = config->plugin != NULL ? config->plugin : nats_plugin_load(error);
    if (p->plugin != NULL && link_settings_read(config, p->settings, error) == 0) {
        publisher_set_time(p);
        if (publisher_start(p))
            return p;
        snprintf(error, NATS_ERROR_LEN, "the connection cannot begin: %s", strerror(errno));
    }
    publisher_close(p);
    return NULL;
}

static void
publisher_close_link(struct publisher *p)
{
    /* What the thread still uses stays. */
    if (p->link != NULL && !p->plugin->close(p->link, CLOSE_WAIT_MS))
        p->settings = NULL;
    p->link = NULL;
}

void
publisher_close(struct publisher *p)
{
    struct publication *publication;

    if (p == NULL)
        return;
    publisher_close_link(p);
    publisher_drop_question(p);
    while ((publication = TAILQ_FIRST(&p->under_way)) != NULL)
        publisher_cancel(p, publication);
    if (p->settings != NULL)
        link_settings_fini(p->settings);
    free(p->settings);
    fd_close(&p->timer_fd);
    fd_close(&p->epoll_fd);
    free(p);
}
