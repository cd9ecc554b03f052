#include "proto/json_message.h"

#include <stdio.h>

enum json_message
message_check_json(struct message *m, uint64_t max_size, unsigned max_depth,
                   char error[JSON_ERROR_LEN])
{
    const char *body;
    bool good;

    if (m->body_dropped || m->size > max_size) {
        snprintf(error, JSON_ERROR_LEN, "a document of over %llu bytes is not taken",
                 (unsigned long long)max_size);
        return JSON_MESSAGE_BAD;
    }
    if (message_body(m, &body) < 0) {
        snprintf(error, JSON_ERROR_LEN, "the server cannot read the message");
        return JSON_MESSAGE_UNREADABLE;
    }
    good = json_check(body, m->size, max_depth, error);
    message_body_release(m, body);
    return good ? JSON_MESSAGE_GOOD : JSON_MESSAGE_BAD;
}
