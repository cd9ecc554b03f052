/* Whether the body of a message is JSON as docs/protocol.md 1.3 has it, for everyone who takes
 * documents. */
#ifndef PROTO_JSON_MESSAGE_H
#define PROTO_JSON_MESSAGE_H

#include "proto/json_check.h"
#include "proto/message.h"

enum json_message {
    JSON_MESSAGE_GOOD = 0,
    JSON_MESSAGE_BAD,        /* error says where and why */
    JSON_MESSAGE_UNREADABLE, /* our side: the body cannot be read back */
};

enum json_message message_check_json(struct message *m, uint64_t max_size, unsigned max_depth,
                                     char error[JSON_ERROR_LEN]);

#endif
