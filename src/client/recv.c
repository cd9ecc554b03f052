/* msock_recv: what the server sends by itself; and every message of the server's as the program is
 * to see it. What a transform rejects is an error and never data. */
#include "client/handle.h"

#include <errno.h>
#include <stdlib.h>

static char *
received_bytes(struct msock *m, const void *data, size_t n, const struct outgoing *answers,
               size_t *n_out)
{
    const struct seal_about about = handle_about(m, answers);
    void *bytes;
    char *longer;

    errno = 0;
    if (transforms_receive(&m->transforms, &about, data, n, &bytes, &n) < 0) {
        handle_fail(m, MSOCK_LOCAL,
                    "%s: what the server has sent cannot be opened with the key or transforms",
                    m->address);
        return NULL;
    }
    longer = realloc(bytes, n + 1);
    if (longer == NULL) {
        free(bytes);
        handle_fail(m, MSOCK_LOCAL, "there is no memory for what the server has sent");
        errno = ENOMEM;
        return NULL;
    }
    longer[n] = '\0';
    *n_out = n;
    return longer;
}

char *
received_message(struct msock *m, struct message *message, const struct outgoing *answers,
                 size_t *n_out)
{
    const char *body;
    char *bytes = NULL;

    if (message_body(message, &body) < 0) {
        handle_fail_errno(m, MSOCK_LOCAL, "what the server has sent cannot be read back");
    } else {
        bytes = received_bytes(m, body, message->size, answers, n_out);
        message_body_release(message, body); /* errno stays */
    }
    return bytes;
}

#define RECV_TURNS 64 /* of up to PEER_READ bytes each, whatever the time */

static enum msock_status
recv_hand_out(struct msock *m, struct message *message, const void **data_out, size_t *n)
{
    size_t len;

    m->received = received_message(m, message, NULL, &len);
    if (m->received == NULL && errno == ENOMEM) {
        peer_put_back(m->peer, message);
        return MSOCK_LOCAL;
    }
    message_destroy(message);
    if (m->received == NULL)
        return MSOCK_LOCAL;
    *data_out = m->received;
    if (n != NULL)
        *n = len;
    return MSOCK_OK;
}

/* Turns the connection until there is a message. Returns NULL if the time is over, even while bytes
 * come that make no message, or if the connection ended. Without any time, it still looks at the
 * bytes that are there. */
static struct message *
recv_wait(struct peer *p, uint64_t deadline_us)
{
    struct message *message = peer_take(p);
    enum peer_turn turn = PEER_MOVED;

    for (unsigned turns = 0;
         message == NULL && turn == PEER_MOVED && !p->transport->waiter->is_ended; turns++) {
        if (turns >= RECV_TURNS && clock_mono_us() >= deadline_us)
            break;
        turn = peer_turn(p, deadline_us);
        if (!p->transport->waiter->is_ended) /* what came with the end is for the next call */
            message = peer_take(p);
    }
    return message;
}

enum msock_status
msock_recv(msock *m, int timeout_ms, const void **data_out, size_t *n)
{
    uint64_t deadline = transport_deadline(timeout_ms);
    struct message *message;

    handle_begin(m);
    m->waiter.is_ended = false;
    free(m->received);
    m->received = NULL;
    if (m->peer->ops->push == NULL)
        return handle_fail(m, MSOCK_USAGE, "over %s a server sends nothing by itself",
                           m->peer->ops->name);
    if (data_out == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no place for a message");
    message = peer_take(m->peer);
    if (message == NULL && !m->peer->end_untold) {
        dial_begin_call(&m->dialer);
        if (!peer_alive(m->peer) && attempt_connect(m) < 0)
            return m->waiter.is_ended      ? handle_fail_ended(m)
                   : attempt_is_starved(m) ? MSOCK_LOCAL
                                           : MSOCK_UNREACHABLE;
        message = recv_wait(m->peer, deadline);
    }
    attempt_count(m);
    if (message != NULL)
        return recv_hand_out(m, message, data_out, n);
    if (m->waiter.is_ended)
        return handle_fail_ended(m);
    if (peer_alive(m->peer))
        return handle_fail(m, MSOCK_TIMEOUT, "no message within %d ms", timeout_ms);
    attempt_say_end(m);
    if (m->code[0] != '\0') /* the server has sent us away */
        connect_blame(m);
    return attempt_is_starved(m) ? MSOCK_LOCAL : MSOCK_UNREACHABLE;
}

int
msock_fd(const msock *m)
{
    return m->transport.fd;
}
