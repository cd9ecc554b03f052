/* Moves bytes between a transport and a protocol, in the client's role as a rule, and keeps
 * messages from the server until the program takes them. Invariant: the time here never goes back,
 * since a reply is known by when it began. */
#include "client/peer.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>

#define MEMORY_MAX  ((size_t)1 << 20)    /* bytes of one received message in memory */
#define MEMORY_ALL  ((uint64_t)16 << 20) /* of all of them */
#define INBOX_MAX   16384                /* messages, and bytes below: nothing more is read then */
#define INBOX_BYTES PEER_MESSAGE_MAX
#define NEVER_US    ((uint64_t)1 << 60)
#define PEER_PIECES 8        /* sent together */
#define KEEPALIVE   30000000 /* microseconds */

/* Received messages that are too large for memory. */
static int
peer_spill_open(void *arg)
{
    (void)arg;
    return fd_open_scratch();
}

struct peer *
peer_create(const struct proto_ops *ops, struct transport *transport, struct digester *digester)
{
    struct peer *p = ms_calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->in = ms_malloc(PEER_READ);
    if (p->in == NULL) {
        free(p);
        return NULL;
    }
    p->ops = ops;
    p->role = PROTO_CLIENT;
    p->transport = transport;
    p->limits = (struct proto_limits){
        .max_message_size = PEER_MESSAGE_MAX,
        .idle_timeout_us = NEVER_US,
        .keepalive_us = KEEPALIVE,
        .packet_size = 2048,
        .packet_size_max = 1 << 20,
        .window_size = 1,
        .reply = REPLY_NO,
    };
    p->store = (struct message_store){
        .digester = digester,
        .memory_max = MEMORY_MAX,
        .ledger.max = MEMORY_ALL,
        .spill_open = peer_spill_open,
    };
    answers_init(&p->answers, NULL);
    outbox_init(&p->outbox, NULL);
    buffer_init(&p->lookahead);
    return p;
}

static void
peer_drop_reply(struct peer *p)
{
    message_destroy(p->awaited);
    p->awaited = NULL;
    p->awaiting = false;
}

void
peer_close(struct peer *p)
{
    bool is_cut = p->limits.framing.kind == FRAMING_EOF && !chain_is_empty(&p->answers.ready);

    if (is_cut)
        transport_reset(p->transport);
    else
        transport_close(p->transport);
    if (p->ops->fini != NULL)
        p->ops->fini(&p->state);
    p->state = (union proto_state){0};
    p->body = (struct proto_body){0};
    answers_fini(&p->answers);
    outbox_fini(&p->outbox);
    buffer_fini(&p->lookahead);
    packet_window_destroy(p->window);
    p->window = NULL;
    message_destroy(p->building);
    p->building = NULL;
    p->in_head = p->in_len = 0;
}

void
peer_destroy(struct peer *p)
{
    struct message *m;

    if (p == NULL)
        return;
    peer_close(p);
    peer_drop_reply(p);
    while ((m = peer_take(p)) != NULL)
        message_destroy(m);
    free(p->in);
    free(p);
}

static uint64_t
peer_now(struct peer *p)
{
    uint64_t now = clock_mono_us();

    if (now > p->now_us)
        p->now_us = now;
    return p->now_us;
}

static struct proto_io
peer_io(struct peer *p)
{
    return (struct proto_io){
        .limits = &p->limits,
        .store = &p->store,
        .answers = &p->answers,
        .message = &p->building,
        .outbox = &p->outbox,
        .body = &p->body,
        .window = &p->window,
        .lookahead = &p->lookahead,
        .tally = &p->tally,
        .now_us = peer_now(p),
        .keep_max = UINT64_MAX,
    };
}

static enum peer_turn
peer_ended(struct peer *p, enum peer_end end)
{
    p->end = end;
    p->end_untold = true;
    peer_close(p);
    return PEER_ENDED;
}

void
peer_begin(struct peer *p)
{
    struct proto_begin begin = {.limits = &p->limits, .role = p->role, .now_us = peer_now(p)};
    struct proto_io io = peer_io(p);

    MS_ASSERT(peer_alive(p));
    ms_memory_forget();
    if (getrandom(&begin.nonce, sizeof(begin.nonce), 0) != (ssize_t)sizeof(begin.nonce))
        begin.nonce = begin.now_us; /* only the server's is ever a secret */
    peer_drop_reply(p);
    p->results = (struct outbox_results){.settled = p->results.settled,
                                         .settled_arg = p->results.settled_arg};
    p->outbox.results = &p->results;
    memset(&p->counted, 0, sizeof(p->counted));
    p->posted = p->flushed = 0;
    p->flushed_bytes = p->transport->bytes_out;
    p->shut = false;
    p->end_untold = false;
    p->ops->init(&p->state, &begin);
    if (p->ops->open != NULL && !ms_memory_failed())
        p->ops->open(&p->state, &io);
    if (ms_memory_failed())
        (void)peer_ended(p, PEER_STARVED);
}

/* --- messages from the server --- */

/* So many messages of ours on this connection may the server have answered. */
static uint64_t
peer_answerable(const struct peer *p)
{
    return p->ops->acknowledges ? p->results.answered : p->flushed;
}

/* Nothing that has begun to come before this call began in the same microsecond as what follows. */
static void
peer_expect_reply(struct peer *p)
{
    if (p->awaiting && p->reply_from_us == UINT64_MAX && peer_answerable(p) > p->asked)
        p->reply_from_us = ++p->now_us;
}

static bool
peer_is_reply(const struct peer *p, const struct message *m)
{
    return p->awaiting && p->awaited == NULL && m->begun_us >= p->reply_from_us;
}

uint64_t
peer_reply_bytes(const struct peer *p)
{
    return p->building != NULL && peer_is_reply(p, p->building) ? p->building->size : 0;
}

bool
peer_full(const struct peer *p)
{
    return p->inbox_count >= INBOX_MAX || p->inbox_bytes >= INBOX_BYTES;
}

/* Takes a message, which the server may then forget. */
static void
peer_receive(struct peer *p, struct proto_io *io, struct message *m)
{
    static const struct verdict taken = {.outcome = PROTO_COMMITTED};

    p->ops->settle(&p->state, io, NULL, m, &taken);
    m->next = NULL;
    p->has_heard = true;
    if (peer_is_reply(p, m)) {
        p->awaited = m;
        return;
    }
    if (p->inbox_last != NULL)
        p->inbox_last->next = m;
    else
        p->inbox_first = m;
    p->inbox_last = m;
    p->inbox_count++;
    p->inbox_bytes += m->size;
}

struct message *
peer_take(struct peer *p)
{
    struct message *m = p->inbox_first;

    if (m == NULL)
        return NULL;
    p->inbox_first = m->next;
    if (p->inbox_first == NULL)
        p->inbox_last = NULL;
    p->inbox_count--;
    p->inbox_bytes -= m->size;
    return m;
}

void
peer_put_back(struct peer *p, struct message *m)
{
    m->next = p->inbox_first;
    p->inbox_first = m;
    if (p->inbox_last == NULL)
        p->inbox_last = m;
    p->inbox_count++;
    p->inbox_bytes += m->size;
}

struct message *
peer_reply(struct peer *p)
{
    struct message *m = p->awaited;

    if (m == NULL)
        return NULL;
    p->awaited = NULL;
    p->awaiting = false;
    return m;
}

/* --- bytes --- */

uint64_t
peer_to_send(const struct peer *p)
{
    return chain_len(&p->answers.ready) + p->body.len;
}

/* n bytes have left. */
static void
peer_sent(struct peer *p, size_t n)
{
    uint64_t ready = chain_len(&p->answers.ready);
    size_t first = n < ready ? n : (size_t)ready;

    chain_sent(&p->answers.ready, NULL, first);
    p->body.data += n - first;
    p->body.len -= n - first;
}

static void
peer_note_flushed(struct peer *p)
{
    p->flushed = p->results.sent;
    p->flushed_bytes = p->transport->bytes_out;
    peer_expect_reply(p);
}

/* False where the connection is lost. Nothing leaves that was made without memory. */
static bool
peer_send(struct peer *p, bool *moved)
{
    if (ms_memory_failed())
        return true;
    while (peer_to_send(p) > 0) {
        struct iovec pieces[PEER_PIECES + 1], *iov = pieces;
        uint64_t before = p->transport->bytes_out;
        int count = chain_peek(&p->answers.ready, NULL, 0, pieces, PEER_PIECES);

        /* The body is a message's of msp, which puts no blob before it. */
        if (p->body.len > 0)
            pieces[count++] = (struct iovec){(void *)(uintptr_t)p->body.data, p->body.len};
        switch (transport_send(p->transport, &iov, &count)) {
        case TRANSPORT_DONE:
            peer_sent(p, (size_t)(p->transport->bytes_out - before));
            *moved = true;
            break;
        case TRANSPORT_WAIT:
            return true;
        case TRANSPORT_LOST:
            return false;
        }
    }
    chain_fini(&p->answers.ready);
    peer_note_flushed(p);
    return true;
}

/* Sends the last answers, as far as they go out at once, and ends. */
static enum peer_turn
peer_finish(struct peer *p, enum peer_end end)
{
    bool moved;

    (void)peer_send(p, &moved);
    return peer_ended(p, ms_memory_failed() ? PEER_STARVED : end);
}

/* Feeds the bytes that were read, as long as there is room for messages. */
static enum peer_turn
peer_feed(struct peer *p, bool *moved)
{
    while (p->in_len > 0 && !peer_full(p)) {
        struct proto_io io = peer_io(p);
        struct message *m = NULL;
        size_t used = 0;
        enum proto_event event =
            p->ops->feed(&p->state, &io, p->in + p->in_head, p->in_len, &used, &m);

        if (ms_memory_failed()) {
            message_destroy(m);
            return peer_ended(p, PEER_STARVED);
        }
        *moved = true;
        p->in_head += used;
        p->in_len -= used;
        switch (event) {
        case PROTO_MORE:
            break;
        case PROTO_FLUSH: /* what is ready leaves with this turn */
            if (peer_to_send(p) == 0)
                peer_note_flushed(p);
            else
                peer_expect_reply(p);
            break;
        case PROTO_MESSAGE:
            peer_receive(p, &io, m);
            break;
        case PROTO_CLOSE:
        case PROTO_BECOME: /* a client knows what it speaks */
            return peer_finish(p, PEER_FINISHED);
        }
        if (p->answers.ended)
            return peer_finish(p, PEER_FINISHED);
    }
    return PEER_MOVED;
}

/* The server sends no more, which for some protocols is the end of a message. */
static enum peer_turn
peer_at_eof(struct peer *p)
{
    enum proto_event event = PROTO_MESSAGE;

    while (event == PROTO_MESSAGE && p->ops->eof != NULL) {
        struct proto_io io = peer_io(p);
        struct message *m = NULL;

        event = p->ops->eof(&p->state, &io, &m);
        if (ms_memory_failed())
            message_destroy(m);
        else if (event == PROTO_MESSAGE)
            peer_receive(p, &io, m);
        if (ms_memory_failed())
            break;
    }
    return peer_finish(p, PEER_CLOSED);
}

static enum peer_turn
peer_drained(struct peer *p)
{
    struct proto_io io = peer_io(p);

    if (p->ops->drained == NULL || p->ops->drained(&p->state, &io) == PROTO_MORE)
        return PEER_MOVED;
    return peer_finish(p, PEER_FINISHED);
}

static enum peer_turn
peer_read(struct peer *p, bool *moved)
{
    size_t got = 0;

    if (p->in_len > 0 || peer_full(p))
        return PEER_MOVED;
    p->in_head = 0;
    switch (transport_read(p->transport, p->in, PEER_READ, &got)) {
    case TRANSPORT_DONE:
        p->in_len = got;
        return peer_feed(p, moved);
    case TRANSPORT_WAIT:
        return peer_drained(p);
    case TRANSPORT_LOST:
        return p->transport->error == 0 ? peer_at_eof(p) : peer_ended(p, PEER_LOST);
    }
    return PEER_MOVED;
}

static enum peer_turn
peer_expire(struct peer *p, bool *moved)
{
    struct proto_io io = peer_io(p);

    /* While we do not read, the silence is ours. */
    if (p->in_len > 0 || p->ops->deadline(&p->state, &p->limits) > io.now_us)
        return PEER_MOVED;
    *moved = true;
    if (p->ops->expire(&p->state, &io) == PROTO_CLOSE)
        return peer_finish(p, PEER_EXPIRED);
    return PEER_MOVED;
}

/* Nothing more can be sent, but the server's last words may still be there to read. */
static enum peer_turn
peer_last_words(struct peer *p)
{
    uint64_t deadline = clock_mono_us() + p->limits.timeout_us;
    int error = p->transport->error;
    bool moved;

    do {
        moved = false;
        if (peer_feed(p, &moved) == PEER_ENDED || peer_read(p, &moved) == PEER_ENDED)
            return PEER_ENDED;
    } while (moved && clock_mono_us() < deadline);
    p->transport->error = error;
    return peer_ended(p, PEER_LOST);
}

/* Does what the protocol has to do for the messages that it was given. False: nothing. */
static bool
peer_work(struct peer *p)
{
    struct proto_io io = peer_io(p);

    return p->ops->work != NULL && p->ops->work(&p->state, &io);
}

static enum peer_turn
peer_move(struct peer *p, bool *moved)
{
    if (!peer_send(p, moved))
        return peer_last_words(p);
    if (p->results.error != 0)
        return peer_ended(p, PEER_UNREADABLE);
    if (peer_feed(p, moved) == PEER_ENDED || peer_read(p, moved) == PEER_ENDED ||
        peer_expire(p, moved) == PEER_ENDED)
        return PEER_ENDED;
    if (ms_memory_failed())
        return peer_ended(p, PEER_STARVED);
    return peer_send(p, moved) ? PEER_MOVED : peer_last_words(p);
}

static enum peer_turn
peer_step(struct peer *p)
{
    bool moved;

    ms_memory_forget();
    moved = peer_work(p); /* a message that was just given leaves with this turn */
    if (peer_move(p, &moved) == PEER_ENDED)
        return PEER_ENDED;
    moved |= peer_work(p);
    if (ms_memory_failed())
        return peer_ended(p, PEER_STARVED);
    return moved ? PEER_MOVED : PEER_QUIET;
}

/* What was waited for is read before the caller looks at the time: a process that had to wait for
 * a processor has not waited for the server. */
enum peer_turn
peer_turn(struct peer *p, uint64_t deadline_us)
{
    enum peer_turn turn;
    uint64_t due;
    short events = 0;

    if (!peer_alive(p))
        return PEER_ENDED;
    turn = peer_step(p);
    if (turn != PEER_QUIET)
        return turn;
    if (!peer_full(p))
        events |= POLLIN;
    if (peer_to_send(p) > 0)
        events |= POLLOUT;
    if (events == 0 || deadline_us == 0)
        return PEER_QUIET;
    due = p->in_len > 0 ? UINT64_MAX : p->ops->deadline(&p->state, &p->limits);
    if (transport_wait(p->transport, events, due < deadline_us ? due : deadline_us))
        turn = peer_step(p);
    else if (due >= deadline_us)
        return PEER_QUIET;
    return turn == PEER_ENDED ? PEER_ENDED : PEER_MOVED;
}

bool
peer_catch_up(struct peer *p, uint64_t deadline_us)
{
    enum peer_turn turn;

    do {
        turn = peer_turn(p, 0);
    } while (turn == PEER_MOVED && !peer_full(p) && clock_mono_us() < deadline_us);
    return turn != PEER_ENDED;
}

/* --- sending --- */

bool
peer_ready(const struct peer *p)
{
    return peer_alive(p) && (p->ops->idle(&p->state) || p->building != NULL);
}

int
peer_post(struct peer *p, struct outgoing *out, bool reply)
{
    struct proto_io io = peer_io(p);

    out->wants_reply = reply;
    ms_memory_forget();
    if (proto_send(p->ops, &p->state, &io, out) < 0)
        return -1;
    if (ms_memory_failed()) {
        (void)peer_ended(p, PEER_STARVED);
        errno = ENOMEM;
        return -1;
    }
    p->posted++;
    peer_drop_reply(p);
    p->awaiting = reply;
    p->asked = peer_answerable(p);
    p->reply_from_us = UINT64_MAX;
    return 0;
}

void
peer_shut(struct peer *p)
{
    if (!p->shut)
        transport_shut(p->transport);
    p->shut = true;
}

uint64_t
peer_unsent(const struct peer *p)
{
    return peer_to_send(p) + p->results.left + p->outbox.bytes + packet_window_bytes(p->window);
}

uint64_t
peer_undone(const struct peer *p)
{
    return p->ops->send != NULL ? p->results.left : peer_unsent(p);
}

static void
peer_drain(struct peer *p, uint64_t deadline_us)
{
    size_t got;

    for (;;) {
        switch (transport_read(p->transport, p->in, PEER_READ, &got)) {
        case TRANSPORT_DONE:
            if (clock_mono_us() >= deadline_us)
                return;
            break;
        case TRANSPORT_WAIT:
            if (!transport_wait(p->transport, POLLIN, deadline_us) ||
                p->transport->waiter->is_ended)
                return;
            break;
        case TRANSPORT_LOST:
            return;
        }
    }
}

void
peer_leave(struct peer *p, unsigned ms)
{
    struct proto_io io = peer_io(p);
    bool moved;

    if (!peer_alive(p))
        return;
    ms_memory_forget();
    (void)p->ops->shutdown(&p->state, &io);
    if (peer_send(p, &moved) && p->posted > 0 && !p->ops->repeatable) {
        peer_shut(p);
        peer_drain(p, clock_mono_us() + (uint64_t)ms * 1000);
    }
    peer_close(p);
}
