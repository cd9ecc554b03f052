/* A stream knows ids, not contents: of two messages under one id it drops the second one and says
 * "duplicate". So where the giver wants it, the first one is fetched, and a header of both has to
 * be the same. Where the first one is gone, or may not be fetched, the stream is believed. */
#include "nats/publisher_state.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>

/* The line with that header, or NULL. */
static const char *
look_line(const char *lines, const char *name)
{
    size_t n = strlen(name);

    while (lines != NULL && (strncmp(lines, name, n) != 0 || lines[n] != ':')) {
        lines = strchr(lines, '\n');
        lines = lines != NULL ? lines + 1 : NULL;
    }
    return lines;
}

static bool
look_has(const char *headers, const char *name, const char *lines)
{
    const char *has = look_line(headers, name), *wanted = look_line(lines, name);

    return has != NULL && wanted != NULL && strncmp(has, wanted, strcspn(wanted, "\n") + 1) == 0;
}

/* The answer to "$JS.API.STREAM.MSG.GET.S": does the message have that header as it stands in
 * lines? True where there is no such message. */
static bool
look_is_same(const char *answer, size_t n, const char *name, const char *lines)
{
    json_t *root = json_loadb(answer, n, 0, NULL);
    const json_t *message = json_object_get(root, "message");
    const char *coded = json_string_value(json_object_get(message, "hdrs"));
    size_t len = coded != NULL ? strlen(coded) : 0;
    char *headers = ms_calloc(1, len + 1);
    bool same = !json_is_object(message);

    if (!same && len > 0 &&
        EVP_DecodeBlock((unsigned char *)headers, (const unsigned char *)coded, (int)len) > 0)
        same = look_has(headers, name, lines);
    free(headers);
    json_decref(root);
    return same;
}

void
publisher_drop_look(struct publisher *p, struct publication *publication)
{
    if (publication->look == NULL)
        return;
    publisher_leave(p, publication->look);
    publication_destroy(publication->look);
    publication->look = NULL;
}

static void
look_answered(struct publisher *p, struct publication *look, const struct link_event *e)
{
    struct publication *publication = look->arg;
    struct stream_answer answer = {.stored = true, .duplicate = true, .seq = publication->seq};
    bool same = e->kind != LINK_ANSWER ||
                look_is_same(e->text, e->len, publication->same, publication->message.headers);

    if (!same)
        snprintf(answer.text, sizeof(answer.text),
                 "another message has this id, at %" PRIu64 " in the stream", publication->seq);
    publisher_finish(p, publication, same ? PUBLISH_STORED : PUBLISH_REUSED, &answer);
}

void
publisher_look(struct publisher *p, struct publication *publication, uint64_t seq)
{
    char subject[NATS_NAME_MAX + 32], body[32];
    int n = snprintf(body, sizeof(body), "{\"seq\":%" PRIu64 "}", seq);

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.MSG.GET.%.*s", NATS_NAME_MAX,
             p->config.stream);
    publisher_drop_look(p, publication);
    publication->seq = seq;
    publication->again_us = p->now_us + p->config.timeout_us;
    publication->look = publication_create(subject, "", 0, body, (size_t)n);
    publication->look->arg = publication;
    publication->look->answered = look_answered;
    publisher_enter(p, publication->look);
    publisher_send(p, publication->look);
    publisher_kick(p);
}
