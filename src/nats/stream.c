/* What is asked about a stream before anything is published to it, and what the answer means. */
#include "nats/publisher.h"

#include <jansson.h>
#include <stdio.h>

enum {
    CODE_NO_STREAM = 10059,
    CODE_NAME_TAKEN = 10058,
    CODE_OVERLAPS = 10065,
    CODE_NO_PEERS = 10005, /* fewer servers than replicas, up to now */
    CODE_NOT_AVAILABLE = 10008,
    CODE_NOT_LEADER = 10009,
};

const char *
stream_stored(const struct stream_facts *facts)
{
    if (facts->replicas > 1)
        return "quorum";
    return facts->in_memory ? "memory" : "file";
}

static enum stream_state
stream_error(const json_t *error, const struct publisher_config *config, char text[NATS_ERROR_LEN])
{
    const char *why = json_string_value(json_object_get(error, "description"));
    int code = (int)json_integer_value(json_object_get(error, "err_code"));

    if (code == CODE_NO_STREAM) {
        snprintf(text, NATS_ERROR_LEN, "there is no stream %.128s; stream_create=yes makes it",
                 config->stream);
        return STREAM_MISSING;
    }
    snprintf(text, NATS_ERROR_LEN, "stream %.100s: %.100s", config->stream,
             why != NULL ? why : "the servers cannot say");
    if (code == CODE_NOT_AVAILABLE || code == CODE_NOT_LEADER || code == CODE_NAME_TAKEN ||
        code == CODE_NO_PEERS)
        return STREAM_UNSURE;
    return code == CODE_OVERLAPS ? STREAM_OVERLAPS : STREAM_DENIED;
}

static bool
stream_takes(const json_t *subjects, const char *wanted)
{
    const json_t *subject;
    size_t i;

    json_array_foreach(subjects, i, subject)
    {
        const char *pattern = json_string_value(subject);

        if (pattern != NULL && subject_covers(pattern, wanted))
            return true;
    }
    return false;
}

static enum stream_state
stream_facts(const json_t *stream, const struct publisher_config *config,
             struct stream_facts *facts_out, char text[NATS_ERROR_LEN])
{
    const char *storage = json_string_value(json_object_get(stream, "storage"));
    const json_t *max = json_object_get(stream, "max_msg_size");

    facts_out->replicas = (unsigned)json_integer_value(json_object_get(stream, "num_replicas"));
    facts_out->in_memory = storage != NULL && strcmp(storage, "memory") == 0;
    facts_out->message_max = json_is_integer(max) ? json_integer_value(max) : -1;
    facts_out->duplicates_us =
        (uint64_t)json_integer_value(json_object_get(stream, "duplicate_window")) / 1000;
    if (json_is_true(json_object_get(stream, "sealed"))) {
        snprintf(text, NATS_ERROR_LEN, "stream %.128s is sealed", config->stream);
        return STREAM_UNFIT;
    }
    if (!stream_takes(json_object_get(stream, "subjects"), config->subjects)) {
        snprintf(text, NATS_ERROR_LEN, "stream %.60s does not take all of %.128s", config->stream,
                 config->subjects);
        return STREAM_UNFIT;
    }
    return STREAM_THERE;
}

enum stream_state
stream_read(const char *answer, size_t n, const struct publisher_config *config,
            struct stream_facts *facts_out, char text[NATS_ERROR_LEN])
{
    json_t *root = json_loadb(answer, n, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    const json_t *stream = json_object_get(root, "config");
    enum stream_state state = STREAM_UNSURE;

    if (json_is_object(error))
        state = stream_error(error, config, text);
    else if (json_is_object(stream))
        state = stream_facts(stream, config, facts_out, text);
    else
        snprintf(text, NATS_ERROR_LEN, "stream %.100s: the servers' answer is none",
                 config->stream);
    json_decref(root);
    return state;
}

/* The window cannot be longer than the messages live. */
static uint64_t
stream_window_us(const struct publisher_config *config)
{
    return config->max_age_us != 0 && config->max_age_us < config->duplicates_us
               ? config->max_age_us
               : config->duplicates_us;
}

char *
stream_request(const struct publisher_config *config)
{
    json_t *root = json_pack(
        "{s:s, s:[s], s:s, s:s, s:s, s:i, s:I, s:I, s:i, s:i, s:i, s:i}", "name", config->stream,
        "subjects", config->subjects, "retention", "limits", "storage", "file", "discard", "old",
        "num_replicas", (int)config->replicas, "max_age", (json_int_t)config->max_age_us * 1000,
        "duplicate_window", (json_int_t)stream_window_us(config) * 1000, "max_msgs", -1,
        "max_bytes", -1, "max_msg_size", -1, "max_consumers", -1);
    char *text = json_dumps(root, JSON_COMPACT);

    json_decref(root);
    return text != NULL ? text : ms_out_of_memory(1);
}
