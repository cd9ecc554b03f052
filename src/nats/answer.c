/* The answer of a stream to a publication, and what it means. The numbers are the servers'
 * (server/errors.json of nats-server). */
#include "nats/publisher.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CODE_ACCOUNT_FULL = 10002,
    CODE_RESOURCES = 10023,
    CODE_MEMORY_FULL = 10028,
    CODE_STORAGE_FULL = 10047,
    CODE_MESSAGE_TOO_LARGE = 10054,
    CODE_OTHER_STREAM = 10060,
    CODE_STORE_FAILED = 10077,
    CODE_HEADERS_TOO_LARGE = 10097,
    CODE_SEALED = 10109,
};

static void
answer_copy(const json_t *object, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(out, size, "%s", text != NULL ? text : "");
}

/* Nearly every answer is {"stream":"S", "seq":42}, and to parse it as any JSON would be a good part
 * of the cost of a message. Returns false where it is another one. */
static bool
answer_parse_stored(const char *text, size_t n, struct stream_answer *out)
{
    static const char before[] = "{\"stream\":\"", between[] = "\", \"seq\":";
    const char *name = text + strlen(before), *number;
    char *end;
    size_t len;

    if (strncmp(text, before, strlen(before)) != 0)
        return false;
    len = strcspn(name, "\"\\");
    number = name + len + strlen(between);
    if (len == 0 || len >= sizeof(out->stream) ||
        strncmp(name + len, between, strlen(between)) != 0 || *number < '1' || *number > '9')
        return false;
    memcpy(out->stream, name, len);
    out->seq = strtoull(number, &end, 10);
    out->stored = true;
    return out->seq <= INT64_MAX && *end == '}' && end + 1 == text + n;
}

void
answer_parse(const char *text, size_t n, struct stream_answer *answer_out)
{
    const json_t *error;
    json_t *root;

    *answer_out = (struct stream_answer){0};
    if (answer_parse_stored(text, n, answer_out))
        return;
    *answer_out = (struct stream_answer){0};
    root = json_loadb(text, n, 0, NULL);
    error = json_object_get(root, "error");
    answer_copy(root, "stream", answer_out->stream, sizeof(answer_out->stream));
    if (json_is_object(error)) {
        answer_out->code = (int)json_integer_value(json_object_get(error, "err_code"));
        answer_copy(error, "description", answer_out->text, sizeof(answer_out->text));
    } else if (answer_out->stream[0] != '\0' && json_is_integer(json_object_get(root, "seq"))) {
        answer_out->seq = (uint64_t)json_integer_value(json_object_get(root, "seq"));
        answer_out->duplicate = json_is_true(json_object_get(root, "duplicate"));
        answer_out->stored = answer_out->seq != 0;
        snprintf(answer_out->text, sizeof(answer_out->text),
                 "the first copy of the message is not stored yet");
    } else {
        snprintf(answer_out->text, sizeof(answer_out->text), "the answer is no stream's");
    }
    json_decref(root);
}

/* Where the store itself fails, only the words tell whether it has reached a limit. */
static enum answer_meaning
answer_of_store(const char *text)
{
    return strncmp(text, "maximum ", 8) == 0 ? ANSWER_FULL : ANSWER_AGAIN;
}

enum answer_meaning
answer_means(const struct stream_answer *answer)
{
    if (answer->stored)
        return ANSWER_STORED;
    switch (answer->code) {
    case CODE_ACCOUNT_FULL:
    case CODE_RESOURCES:
    case CODE_MEMORY_FULL:
    case CODE_STORAGE_FULL:
        return ANSWER_FULL;
    case CODE_MESSAGE_TOO_LARGE:
    case CODE_HEADERS_TOO_LARGE:
        return ANSWER_TOO_LARGE;
    case CODE_STORE_FAILED:
        return answer_of_store(answer->text);
    case CODE_OTHER_STREAM:
        return ANSWER_MISSET;
    case CODE_SEALED:
        return ANSWER_REFUSED;
    default:
        return ANSWER_AGAIN;
    }
}
