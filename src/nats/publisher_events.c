/* The connection and its answers. */
#include "nats/publisher_state.h"

#include <stdarg.h>
#include <stdio.h>

#define SETBACK_FIRST_US 20000
#define SETBACK_MAX_US   1000000
#define ASK_AGAIN_US     1000000 /* a cluster without a leader drops questions */
#define ASK_UNSURE_US    200000

static void publisher_trouble_is(struct publisher *p, enum publisher_state state, const char *fmt,
                                 ...) MS_PRINTF(3, 4);

static void
publisher_trouble_is(struct publisher *p, enum publisher_state state, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->trouble, sizeof(p->trouble), fmt, ap);
    va_end(ap);
    p->state = state;
}

/* --- the stream --- */

void
publisher_drop_question(struct publisher *p)
{
    if (p->question == NULL)
        return;
    publisher_leave(p, p->question);
    publication_destroy(p->question);
    p->question = NULL;
}

static void
publisher_answered(struct publisher *p, struct publication *asked, const struct link_event *e);

static void
publisher_make_question(struct publisher *p)
{
    char subject[NATS_NAME_MAX + 32];
    char *body = p->to_create ? stream_request(&p->config) : NULL;

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.%s.%.*s", p->to_create ? "CREATE" : "INFO",
             NATS_NAME_MAX, p->config.stream);
    p->question = publication_create(subject, "", 0, body, body != NULL ? strlen(body) : 0);
    p->question->answered = publisher_answered;
    publisher_enter(p, p->question);
    p->to_create = false;
    free(body);
}

/* The first answer to it counts, however often it was asked. */
void
publisher_ask(struct publisher *p)
{
    if (p->question == NULL)
        publisher_make_question(p);
    publisher_send(p, p->question);
    publisher_kick(p);
    p->ask_us =
        p->now_us + (p->config.timeout_us < ASK_AGAIN_US ? p->config.timeout_us : ASK_AGAIN_US);
}

/* No done of one that is bound takes another one back. */
static void
publisher_unbind(struct publisher *p)
{
    struct publication *publication, *next;

    for (publication = TAILQ_FIRST(&p->under_way); publication != NULL; publication = next) {
        next = TAILQ_NEXT(publication, link);
        if (publication->bound_round != 0 && publication->bound_round != p->round)
            publisher_finish(p, publication, PUBLISH_UNBOUND, &(struct stream_answer){0});
    }
}

/* Everything under way goes out, in its order: what an earlier connection has taken as well. */
static void
publisher_ready(struct publisher *p)
{
    struct publication *publication;

    p->state = PUBLISHER_READY;
    p->trouble[0] = '\0';
    for (publication = TAILQ_FIRST(&p->under_way); publication != NULL;
         publication = TAILQ_NEXT(publication, link))
        publisher_send(p, publication);
    publisher_kick(p);
}

static void
publisher_stream_is_there(struct publisher *p)
{
    if (!p->is_known)
        publisher_say(p, LOG_nats_connected, "connected to %s: stream %s, %u replica%s", p->server,
                      p->config.stream, p->facts.replicas, p->facts.replicas == 1 ? "" : "s");
    p->is_known = true;
    publisher_unbind(p);
    if (p->state != PUBLISHER_READY)
        publisher_ready(p);
}

/* A stream that was there once is not held to be gone because of another answer, nor to be unfit
 * because some of its subjects have gone: what is published decides. */
static void
publisher_stream_is_not(struct publisher *p, enum stream_state state, const char *text)
{
    if (p->is_known && state != STREAM_MISSING)
        return;
    publisher_trouble_is(p, state == STREAM_UNSURE ? PUBLISHER_AWAY : PUBLISHER_REFUSED, "%s",
                         text);
    publisher_say(p, state == STREAM_UNSURE ? LOG_nats_trouble : LOG_nats_stream_wrong, "%s", text);
    p->is_known = false;
}

static void
publisher_answered(struct publisher *p, struct publication *asked, const struct link_event *e)
{
    struct stream_facts facts = {0};
    char text[NATS_ERROR_LEN] = "";
    enum stream_state state;

    MS_ASSERT(asked == p->question);
    publisher_drop_question(p);
    p->ask_us = p->now_us + SETBACK_MAX_US;
    state = stream_read(e->text, e->len, &p->config, &facts, text);
    p->round += state == STREAM_MISSING;
    if (state == STREAM_THERE ||
        (state == STREAM_MISSING && p->config.create && p->config.only_looks)) {
        p->facts = facts;
        p->has_overlapped = false;
        p->ask_us = UINT64_MAX;
        publisher_stream_is_there(p);
    } else if (state == STREAM_MISSING && p->config.create) {
        p->to_create = true;
        publisher_ask(p);
    } else if (state == STREAM_OVERLAPS && !p->has_overlapped) {
        /* What overlaps may be the same stream, which somebody makes at this moment. */
        p->has_overlapped = true;
        p->ask_us = p->now_us + ASK_UNSURE_US;
    } else {
        if (state == STREAM_UNSURE) /* another one may be making it, or there is no leader */
            p->ask_us = p->now_us + ASK_UNSURE_US;
        publisher_stream_is_not(p, state, text);
    }
}

/* --- answers to publications --- */

/* Is given again soon, and later each time. */
static void
publisher_set_back(struct publisher *p, struct publication *publication, const char *why)
{
    uint64_t wait_us = SETBACK_MAX_US;

    if (publication->setbacks < 6)
        wait_us = (uint64_t)SETBACK_FIRST_US << publication->setbacks;
    publication->setbacks++;
    publication->is_set_back = true;
    publication->again_us = p->now_us + wait_us;
    if (why != p->setback)
        snprintf(p->setback, sizeof(p->setback), "%s", why);
}

static void
publisher_decide(struct publisher *p, struct publication *publication,
                 const struct stream_answer *answer)
{
    static const enum publish_outcome outcomes[] = {
        [ANSWER_STORED] = PUBLISH_STORED,   [ANSWER_AGAIN] = PUBLISH_BUSY,
        [ANSWER_FULL] = PUBLISH_FULL,       [ANSWER_TOO_LARGE] = PUBLISH_TOO_LARGE,
        [ANSWER_REFUSED] = PUBLISH_REFUSED, [ANSWER_MISSET] = PUBLISH_MISSET,
    };
    enum answer_meaning meaning = answer_means(answer);

    if (meaning == ANSWER_AGAIN) {
        publisher_set_back(p, publication, answer->text);
        return;
    }
    if (meaning != ANSWER_STORED)
        publisher_say(p, LOG_nats_trouble, "stream %s does not take a message: %s",
                      p->config.stream, answer->text);
    if (answer->duplicate && publication->same != NULL) {
        publisher_look(p, publication, answer->seq);
        return;
    }
    publisher_finish(p, publication, outcomes[meaning], answer);
}

/* Somebody's subject has nobody who takes it: the question's, where one is on its way and the
 * stream is not known, and then no server has JetStream. Else the stream has no leader now, or has
 * lost the subject, or is gone. Whose it was is not known, and what was stored is not stored twice:
 * so all are given again. A server that has the stream without replicas may have died, while ours
 * lives. */
static void
publisher_nobody(struct publisher *p)
{
    struct publication *publication;

    if (!p->is_known && p->question != NULL) {
        publisher_drop_question(p);
        p->ask_us = p->now_us + SETBACK_MAX_US;
        publisher_stream_is_not(p, STREAM_DENIED, "JetStream is not enabled on the servers");
        return;
    }
    snprintf(p->setback, sizeof(p->setback), "no stream takes %.150s, or it has no leader now",
             p->config.subjects);
    for (publication = TAILQ_FIRST(&p->under_way); publication != NULL;
         publication = TAILQ_NEXT(publication, link))
        if (publication->epoch == p->epoch && !publication->is_set_back)
            publisher_set_back(p, publication, p->setback);
    p->round++;
    publisher_unbind(p);
}

/* A server may tell in the middle of a connection that it takes less now; a new connection tells
 * how much. */
static void
publisher_learn_payload(struct publisher *p, const struct publication *publication)
{
    const struct link_message *m = &publication->message;

    if ((int64_t)publication_size(m->headers_len, m->len) <= p->server_max)
        p->plugin->reset(p->link, p->epoch);
}

static void
publisher_answer(struct publisher *p, const struct link_event *e)
{
    struct publication *publication = publisher_find(p, e->token);
    struct stream_answer answer = {0};

    p->heard_us = p->now_us;
    if (e->kind == LINK_NOBODY) {
        publisher_nobody(p);
        return;
    }
    if (publication == NULL)
        return; /* an answer to a copy, and the first one has decided */
    if (publication->answered != NULL) {
        publication->answered(p, publication, e);
    } else if (e->kind == LINK_UNSENT) {
        publisher_learn_payload(p, publication);
        snprintf(answer.text, sizeof(answer.text), "it cannot be sent: %.100s", e->text);
        publisher_finish(p, publication, PUBLISH_BUSY, &answer);
    } else {
        answer_parse(e->text, e->len, &answer);
        publisher_decide(p, publication, &answer);
    }
}

/* --- the connection --- */

static void
publisher_connected(struct publisher *p, const struct link_event *e)
{
    p->epoch = e->epoch;
    p->round++;
    p->server_max = e->size;
    p->heard_us = p->now_us;
    snprintf(p->server, sizeof(p->server), "%s", e->text);
    publisher_trouble_is(p, PUBLISHER_AWAY, "stream %.100s: no answer about it yet",
                         p->config.stream);
    if (p->is_known) {
        publisher_say(p, LOG_nats_connected, "connected again, to %s; %u messages wait", p->server,
                      p->count);
        publisher_unbind(p);
        publisher_ready(p);
    }
    publisher_ask(p);
}

static void
publisher_lost(struct publisher *p, const struct link_event *e)
{
    if (p->epoch == 0 || e->epoch != p->epoch)
        return;
    publisher_trouble_is(p, PUBLISHER_AWAY, "the connection to NATS at %.60s is lost: %.100s",
                         p->server, e->text);
    publisher_say(p, LOG_nats_trouble, "%s", p->trouble);
    p->epoch = 0;
    publisher_drop_question(p);
}

static void
publisher_failed(struct publisher *p, const struct link_event *e)
{
    static const char *const causes[] = {
        [LINK_UNREACHABLE] = "no NATS server can be reached",
        [LINK_DENIED] = "the NATS server does not take the credentials",
        [LINK_FOREIGN] = "the server is none of NATS, or of a kind that is not known",
        [LINK_INSECURE] = "there is no TLS connection to the NATS server",
        [LINK_MISSET] = "the connection to NATS cannot be set up",
    };

    p->has_failed = true;
    publisher_trouble_is(p, e->failure == LINK_UNREACHABLE ? PUBLISHER_AWAY : PUBLISHER_REFUSED,
                         "%s: %.150s", causes[e->failure], e->text);
    publisher_say(p, LOG_nats_trouble, "%s", p->trouble);
}

void
publisher_event(struct publisher *p, const struct link_event *e)
{
    switch (e->kind) {
    case LINK_CONNECTED:
        publisher_connected(p, e);
        break;
    case LINK_LOST:
        publisher_lost(p, e);
        break;
    case LINK_FAILED:
        publisher_failed(p, e);
        break;
    case LINK_ANSWER:
    case LINK_NOBODY:
    case LINK_UNSENT:
        publisher_answer(p, e);
        break;
    case LINK_NOTE:
        publisher_say(p, LOG_nats_trouble, "the server says: %.200s", e->text);
        break;
    }
}
