/* The fast way is one connection, with messages posted to its protocol as they come. Whatever goes
 * wrong there ends the connection, and each message without an answer is then delivered alone, with
 * all retries, before the fast way begins again. */
#include "client/handle.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define AHEAD_MAX       1024              /* messages without a report */
#define AHEAD_BYTES     ((size_t)4 << 20) /* of them */
#define AHEAD_BATCH     32768             /* bytes that are gathered before the socket is tried */
#define AHEAD_ITEM_COST 256               /* bytes that a message needs besides its own */

struct ahead_item {
    struct ahead_item *next;
    struct outgoing out;
    char *bytes;      /* what out.data points to */
    char *id;         /* what out.value points to */
    uint64_t ordinal; /* on its connection */
    bool settled, taken;
    char *code, *text; /* of a refusal; or NULL */
};

struct ahead {
    struct ahead_item *first, *last;
    struct ahead_item *expected; /* behind the one that got the last answer; NULL: first */
    unsigned count;
    size_t bytes;         /* of all items, with their cost */
    size_t gathered;      /* bytes posted since the socket was tried, with their cost */
    uint64_t next_report; /* the number of first */
    uint64_t deadline_us; /* for the server to make progress */
    uint64_t sent;        /* bytes of the transport at the last look */
    msock_settled_fn fn;
    void *arg;
};

struct ahead *
ahead_create(void)
{
    return ms_calloc(1, sizeof(struct ahead));
}

static void
ahead_item_destroy(struct ahead_item *item)
{
    free(item->bytes);
    free(item->id);
    free(item->code);
    free(item->text);
    free(item);
}

void
ahead_destroy(struct ahead *ahead)
{
    struct ahead_item *next;

    if (ahead == NULL)
        return;
    for (struct ahead_item *item = ahead->first; item != NULL; item = next) {
        next = item->next;
        ahead_item_destroy(item);
    }
    free(ahead);
}

/* --- reports --- */

static size_t
ahead_item_bytes(const struct ahead_item *item)
{
    return AHEAD_ITEM_COST + (size_t)item->out.size;
}

/* Reports the result of the first message, and forgets it. The sentence is in the handle. */
static void
ahead_report(struct msock *m, enum msock_status status)
{
    struct ahead *ahead = m->ahead;
    struct ahead_item *item = ahead->first;
    uint64_t number = ahead->next_report++;

    ahead->first = item->next;
    if (ahead->first == NULL)
        ahead->last = NULL;
    if (ahead->expected == item)
        ahead->expected = NULL;
    ahead->count--;
    ahead->bytes -= ahead_item_bytes(item);
    ahead_item_destroy(item);
    if (ahead->fn != NULL)
        ahead->fn(ahead->arg, number, status);
}

static void
ahead_report_settled(struct msock *m)
{
    struct ahead *ahead = m->ahead;

    while (ahead->first != NULL && ahead->first->settled) {
        const struct ahead_item *item = ahead->first;

        handle_begin(m);
        if (item->taken) {
            m->counts.messages++;
            ahead_report(m, MSOCK_OK);
        } else {
            handle_fail_refused(m, item->code, item->text);
            ahead_report(m, MSOCK_REFUSED);
        }
    }
}

/* Answers nearly always come in order: the search begins where the last one was found. */
static struct ahead_item *
ahead_find(const struct ahead *ahead, uint64_t number)
{
    struct ahead_item *item;

    for (item = ahead->expected; item != NULL; item = item->next)
        if (item->ordinal == number)
            return item;
    for (item = ahead->first; item != ahead->expected; item = item->next)
        if (item->ordinal == number)
            return item;
    return NULL;
}

/* The protocol has a final answer; not always in order. */
static void
ahead_settled(void *arg, uint64_t number, bool taken)
{
    struct msock *m = arg;
    const struct outbox_results *results = &m->peer->results;
    struct ahead_item *item = ahead_find(m->ahead, number);

    if (item == NULL)
        return;
    m->ahead->expected = item->next;
    item->settled = true;
    item->taken = taken;
    if (!taken) {
        item->code = strdup(results->code);
        item->text = strdup(results->refusal);
    }
}

/* Where the protocol has no answers, a message that has left is done. */
static void
ahead_settle_flushed(struct msock *m)
{
    if (m->peer->ops->acknowledges)
        return;
    for (struct ahead_item *item = m->ahead->first; item != NULL; item = item->next)
        if (item->ordinal < m->peer->flushed)
            item->settled = item->taken = true;
}

/* --- when the connection is lost --- */

/* The server may have it, and could not tell that a second one is the same. */
static bool
ahead_is_in_doubt(const struct msock *m, const struct ahead_item *item, uint64_t sent)
{
    return !m->peer->ops->repeatable && item->ordinal < sent;
}

static enum msock_status
ahead_deliver(struct msock *m, struct ahead_item *item, uint64_t sent)
{
    if (!ahead_is_in_doubt(m, item, sent))
        return deliver(m, &item->out);
    return handle_fail(m, MSOCK_GIVEN_UP,
                       "%s: the connection was lost; the message may have arrived", m->address);
}

static bool
ahead_is_fatal(enum msock_status status)
{
    return status != MSOCK_OK && status != MSOCK_REFUSED && status != MSOCK_USAGE;
}

/* So many messages of this connection may have arrived without an answer. Those that waited to
 * leave together have not, if no byte has left since the kernel had everything. */
static uint64_t
ahead_left(const struct msock *m)
{
    const struct peer *p = m->peer;

    if (p->results.rest_untaken)
        return 0;
    return m->transport.bytes_out == p->flushed_bytes ? p->flushed : p->results.sent;
}

/* Delivers the messages without an answer one by one. If one is given up, so are those behind it.
 * Returns MSOCK_OK, or the status that ended them. */
static enum msock_status
ahead_recover(struct msock *m)
{
    struct ahead *ahead = m->ahead;
    uint64_t sent = ahead_left(m);
    enum msock_status one, fatal = MSOCK_OK;
    char error[HANDLE_ERROR_LEN], code[HANDLE_CODE_LEN];

    attempt_count(m);
    m->peer->results.settled = NULL;
    if (peer_alive(m->peer) ||
        m->peer->results.code[0] != '\0') /* silent, or it has sent us away */
        connect_blame(m);
    peer_close(m->peer);
    for (;;) {
        ahead_report_settled(m);
        if (ahead->first == NULL)
            return fatal;
        if (fatal != MSOCK_OK) {
            snprintf(m->error, sizeof(m->error), "%s", error);
            snprintf(m->code, sizeof(m->code), "%s", code);
            ahead_report(m, fatal);
            continue;
        }
        one = ahead_deliver(m, ahead->first, sent);
        if (ahead_is_fatal(one)) {
            fatal = one;
            snprintf(error, sizeof(error), "%s", m->error);
            snprintf(code, sizeof(code), "%s", m->code);
        }
        ahead_report(m, one);
    }
}

/* --- the fast way --- */

static void
ahead_renew(struct msock *m)
{
    m->ahead->deadline_us = clock_mono_us() + (uint64_t)m->commit_ms * 1000;
    m->ahead->sent = m->transport.bytes_out;
}

/* One turn of the connection, until deadline_us where nothing moves. MSOCK_OK, or what has ended
 * all messages. */
static enum msock_status
ahead_turn(struct msock *m, uint64_t deadline_us, bool *moved)
{
    struct ahead *ahead = m->ahead;
    unsigned before = ahead->count;
    enum peer_turn turn;

    if (deadline_us > ahead->deadline_us)
        deadline_us = ahead->deadline_us;
    turn = peer_turn(m->peer, deadline_us);
    ahead->gathered = 0;
    *moved = turn == PEER_MOVED;
    if (turn == PEER_ENDED)
        return ahead_recover(m);
    ahead_settle_flushed(m);
    attempt_count(m);
    ahead_report_settled(m);
    if (ahead->count < before || m->transport.bytes_out > ahead->sent)
        ahead_renew(m);
    if (ahead->count > 0 && clock_mono_us() >= ahead->deadline_us)
        return ahead_recover(m);
    return MSOCK_OK;
}

/* Turns until no more than that many messages and bytes have no report, or the time is over. */
static enum msock_status
ahead_wait(struct msock *m, unsigned count, size_t bytes, uint64_t deadline_us)
{
    struct ahead *ahead = m->ahead;
    enum msock_status status = MSOCK_OK;
    bool moved = true;

    while (status == MSOCK_OK && peer_alive(m->peer)) {
        if (ahead->count <= count && ahead->bytes <= bytes)
            return MSOCK_OK;
        if (m->waiter.is_ended)
            return handle_fail_ended(m);
        if (!moved && clock_mono_us() >= deadline_us)
            return MSOCK_TIMEOUT;
        status = ahead_turn(m, deadline_us, &moved);
    }
    return status;
}

/* Has a connection that reports to us. Returns 0, or -1. */
static int
ahead_connect(struct msock *m)
{
    if (m->ahead->count == 0)
        attempt_check(m); /* nobody has waited, so nobody has seen yet that the server left */
    if (!peer_alive(m->peer)) {
        dial_begin_call(&m->dialer);
        if (attempt_connect(m) < 0)
            return -1;
        ahead_renew(m);
    }
    m->peer->results.settled = ahead_settled;
    m->peer->results.settled_arg = m;
    return 0;
}

static void
ahead_append(struct ahead *ahead, struct ahead_item *item)
{
    if (ahead->last != NULL)
        ahead->last->next = item;
    else
        ahead->first = item;
    ahead->last = item;
    ahead->count++;
    ahead->bytes += ahead_item_bytes(item);
}

static enum msock_status
ahead_post(struct msock *m, struct ahead_item *item)
{
    struct ahead *ahead = m->ahead;
    bool moved;

    if (!attempt_may_carry(m, &item->out)) {
        ahead_item_destroy(item);
        return attempt_say_unfit(m);
    }
    if (m->at.framing.kind == FRAMING_EOF || ahead_connect(m) < 0) {
        ahead_append(ahead, item);
        return ahead_recover(m);
    }
    if (ahead->count == 0)
        ahead_renew(m);
    item->ordinal = m->peer->posted;
    if (peer_post(m->peer, &item->out, false) < 0 && errno != ENOMEM) {
        ahead_item_destroy(item);
        return attempt_say_unfit(m);
    }
    ahead_append(ahead, item);
    if (!peer_alive(m->peer))
        return ahead_recover(m);
    ahead->gathered += ahead_item_bytes(item);
    return ahead->gathered < AHEAD_BATCH ? MSOCK_OK : ahead_turn(m, 0, &moved);
}

static struct ahead_item *
ahead_item_create(struct msock *m, char kind, const void *data, size_t n)
{
    struct ahead_item *item = calloc(1, sizeof(*item));
    void *bytes = NULL;

    if (item == NULL)
        return NULL;
    if (m->transforms.count > 0) {
        const struct seal_about about = handle_about(
            m, &(struct outgoing){.kind = kind, .value = m->last_id, .value_len = m->last_id_len});

        if (transforms_send(&m->transforms, &about, data, n, &bytes, &n) < 0)
            goto failed;
    } else {
        bytes = malloc(n > 0 ? n : 1);
        if (bytes == NULL)
            goto failed;
        if (n > 0)
            memcpy(bytes, data, n);
    }
    item->bytes = bytes;
    item->ordinal = UINT64_MAX; /* not posted */
    item->id = malloc(m->last_id_len + 1);
    if (item->id == NULL)
        goto failed;
    memcpy(item->id, m->last_id, m->last_id_len);
    item->out = (struct outgoing){.kind = kind,
                                  .data = n > 0 ? bytes : (const void *)"",
                                  .size = n,
                                  .value = item->id,
                                  .value_len = m->last_id_len};
    return item;
failed:
    ahead_item_destroy(item);
    return NULL;
}

void
msock_set_settled(msock *m, msock_settled_fn fn, void *arg)
{
    struct ahead *ahead = m->ahead;

    ahead->fn = fn;
    ahead->arg = arg;
}

enum msock_status
msock_send_ahead(msock *m, char kind, const void *data, size_t n)
{
    struct ahead *ahead = m->ahead;
    struct ahead_item *item;
    enum msock_status status = MSOCK_OK;

    handle_begin(m);
    m->waiter.is_ended = false;
    if ((data == NULL && n > 0) || (kind != 'A' && kind != 'J'))
        return handle_fail(m, MSOCK_USAGE, "what is sent ahead is a message or a document");
    if (m->want_reply)
        return handle_fail(m, MSOCK_USAGE, "what is sent ahead cannot want a reply");
    if (n > PEER_MESSAGE_MAX)
        return handle_fail(m, MSOCK_USAGE, "what is sent ahead has at most %d MiB",
                           (int)(PEER_MESSAGE_MAX >> 20));
    handle_choose_id(m);
    item = ahead_item_create(m, kind, data, n);
    if (item == NULL)
        return handle_fail(m, MSOCK_LOCAL, "a transform has failed, or there is no memory");
    /* Wait until half is free: with room for one at a time each message would cost system calls. */
    if (ahead->count >= AHEAD_MAX || ahead->bytes > AHEAD_BYTES)
        status = ahead_wait(m, AHEAD_MAX / 2, AHEAD_BYTES / 2, UINT64_MAX);
    if (status == MSOCK_OK)
        return ahead_post(m, item);
    if (status == MSOCK_CANCELLED && ahead->count > 0) { /* the messages before it are under way */
        ahead_item_destroy(item);
        return status;
    }
    ahead_append(ahead, item); /* it ends as those before it do */
    ahead_report(m, status);
    return status;
}

enum msock_status
msock_flush(msock *m, int timeout_ms)
{
    uint64_t deadline = transport_deadline(timeout_ms);
    enum msock_status status;

    handle_begin(m);
    m->waiter.is_ended = false;
    if (m->ahead->count == 0)
        return MSOCK_OK;
    status = ahead_wait(m, 0, 0, deadline);
    if (status == MSOCK_TIMEOUT)
        return handle_fail(m, MSOCK_TIMEOUT, "%u messages have no answer yet", m->ahead->count);
    if (status == MSOCK_OK)
        handle_begin(m);
    return status;
}

enum msock_status
ahead_finish(struct msock *m)
{
    return msock_flush(m, -1);
}

short
msock_events(const msock *m)
{
    return peer_to_send(m->peer) > 0 ? POLLIN | POLLOUT : POLLIN;
}
