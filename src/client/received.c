/* What a transform rejects is an error and never data. */
#include "client/received.h"

#include <stdlib.h>
#include <string.h>

static char *
received_bytes(struct msock *m, const void *data, size_t n, size_t *n_out)
{
    void *bytes;
    char *longer;

    if (transforms_receive(&m->transforms, data, n, &bytes, &n) < 0) {
        handle_fail(m, MSOCK_LOCAL,
                    "%s: what the server has sent cannot be opened with the key or transforms",
                    m->address);
        return NULL;
    }
    longer = realloc(bytes, n + 1);
    if (longer == NULL) {
        free(bytes);
        handle_fail(m, MSOCK_LOCAL, "there is no memory for what the server has sent");
        return NULL;
    }
    longer[n] = '\0';
    *n_out = n;
    return longer;
}

char *
received_message(struct msock *m, struct message *message, size_t *n_out)
{
    const char *body;
    char *bytes = NULL;

    if (message_body(message, &body) < 0) {
        handle_fail_errno(m, MSOCK_LOCAL, "what the server has sent cannot be read back");
    } else {
        bytes = received_bytes(m, body, message->size, n_out);
        message_body_release(message, body);
    }
    message_destroy(message);
    return bytes;
}
