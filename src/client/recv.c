/* msock_recv: what the server sends by itself. */
#include "client/attempt.h"
#include "client/received.h"
#include "common/clock.h"

#include <stdlib.h>

#define RECV_TURNS 64 /* of up to PEER_READ bytes each, whatever the time */

static enum msock_status
recv_hand_out(struct msock *m, struct message *message, const void **data_out, size_t *n)
{
    size_t len;

    m->received = received_message(m, message, &len);
    if (m->received == NULL)
        return MSOCK_LOCAL;
    *data_out = m->received;
    if (n != NULL)
        *n = len;
    return MSOCK_OK;
}

/* Turns the connection until there is a message. NULL where the time is over, also while bytes keep
 * coming that make none, or the connection ended. Without any time, what is there is still looked
 * at. */
static struct message *
recv_wait(struct peer *p, uint64_t deadline_us)
{
    struct message *message = peer_take(p);
    enum peer_turn turn = PEER_MOVED;

    for (unsigned turns = 0; message == NULL && turn == PEER_MOVED; turns++) {
        if (turns >= RECV_TURNS && clock_mono_us() >= deadline_us)
            break;
        turn = peer_turn(p, deadline_us);
        message = peer_take(p);
    }
    return message;
}

enum msock_status
msock_recv(msock *m, int timeout_ms, const void **data_out, size_t *n)
{
    uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_mono_us() + (uint64_t)timeout_ms * 1000;
    struct message *message;

    handle_begin(m);
    free(m->received);
    m->received = NULL;
    if (m->peer->ops->push == NULL)
        return handle_fail(m, MSOCK_USAGE, "over %s a server sends nothing by itself",
                           m->peer->ops->name);
    if (data_out == NULL)
        return handle_fail(m, MSOCK_USAGE, "there is no place for a message");
    message = peer_take(m->peer);
    if (message == NULL && !m->peer->end_untold) {
        if (!peer_alive(m->peer) && attempt_connect(m) < 0)
            return MSOCK_UNREACHABLE;
        message = recv_wait(m->peer, deadline);
    }
    attempt_count(m);
    if (message != NULL)
        return recv_hand_out(m, message, data_out, n);
    if (peer_alive(m->peer))
        return handle_fail(m, MSOCK_TIMEOUT, "no message within %d ms", timeout_ms);
    attempt_say_end(m);
    return MSOCK_UNREACHABLE;
}

int
msock_fd(const msock *m)
{
    return m->transport.fd;
}
