/* The bytes of a connection: from its socket to its protocol, and answers back. */
#include "worker/conn.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READ_SHARE   (1024 * 1024) /* bytes of a turn, from all connections that send many */
#define READ_FULL    4096          /* bytes read at once, beyond a body, while memory is low */
#define FEED_MOST    1024          /* messages of one connection in one turn */
#define FEED_LEAST   128           /* the same where the turn has had so many of all: */
#define FEED_TURN    4096
#define FEED_PUSHES  16            /* to other connections; they count as one more */
#define FEED_ANSWERS 4             /* to what is no message; they cost as much as one */
#define WRITE_SHARE  (1024 * 1024) /* the same */
#define WRITE_PIECES 16
#define WAITING_MAX  1024         /* messages of one connection with their handler */
#define FILES_MAX    32           /* of these, in files: each takes a descriptor */
#define READY_MAX    (256 * 1024) /* bytes of answers a peer may leave unread */

/* --- sending --- */

void
conn_watch_write(struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             .data.ptr = &c->watch};

    if (c->watches_write)
        return;
    c->watches_write = true;
    if (epoll_ctl(conn_worker(c)->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
        conn_close(c);
}

/* The peer leaves its answers unread; from here its time runs. */
static void
conn_blocked(struct conn *c)
{
    uint64_t patience = conn_is_reading(c) ? CONN_SEND_TIMEOUT_US : CONN_LINGER_US;

    if (c->send_end_us == 0)
        c->send_end_us = conn_worker(c)->now_us + patience;
    conn_watch_write(c);
}

/* One piece, as it nearly always is, costs the kernel less by send. */
static ssize_t
conn_send(const struct conn *c, struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t n;

    if (c->tls != NULL)
        return tls_writev(c->tls, iov, count);
    do {
        n = count == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                       : sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Sends some of what is ready. Returns how much; -1 with errno; or -2 with errno where it cannot be
 * read back. */
static ssize_t
conn_send_some(struct conn *c)
{
    struct worker *w = conn_worker(c);
    struct iovec iov[WRITE_PIECES];
    int count = chain_peek(&c->answers.ready, w->send_buf, WORKER_SEND_SIZE, iov, WRITE_PIECES);
    ssize_t n = count < 0 ? -2 : conn_send(c, iov, count);

    if (n < 0)
        return n;
    chain_sent(&c->answers.ready, w->send_buf, (size_t)n);
    CONN_ADD(c, bytes_out, (uint64_t)n);
    c->blocked_sent += (uint64_t)n;
    return n;
}

void
conn_write_early(struct conn *c)
{
    while (!chain_is_empty(&c->answers.ready) && conn_send_some(c) >= 0)
        continue;
}

/* Returns how much was sent, or -1 where no more can be sent now: blocked, or the connection is
 * closed. */
static ssize_t
conn_write_some(struct conn *c)
{
    ssize_t n = conn_send_some(c);

    if (n >= 0)
        return n;
    if (n == -2) {
        conn_end_unreadable(c);
        return -1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        conn_blocked(c);
        return -1;
    }
    conn_note_cut(c);
    conn_close(c);
    return -1;
}

void
conn_write(struct conn *c)
{
    size_t share = WRITE_SHARE;

    c->hold_end_us = 0;
    if (conn_is_starved(c)) {
        conn_touch(c);
        return;
    }
    while (!chain_is_empty(&c->answers.ready)) {
        ssize_t n = conn_write_some(c);

        if (n < 0)
            return;
        c->send_end_us = 0;
        if ((size_t)n >= share) {
            conn_read_later(c); /* the others first; then it is written to as well */
            return;
        }
        share -= (size_t)n;
    }
    chain_fini(&c->answers.ready);
}

/* --- receiving --- */

/* The rule of admission. While memory is scarce, a connection with messages at the handler or with
 * answers that its peer has not read waits: the last quarter is for those of whom nothing is held.
 * While it is full, a connection between messages waits (conn_begins). The others finish what they
 * have begun: their bodies grow in files, each makes one message of it, and then it waits too.
 *
 * That ends. What fills the memory is with a handler, which settles it; or it waits for a peer,
 * which reads, or sends the consent that is still read, or has its time limit, and the slowest are
 * closed; or it is a message on its way, which is read on or has its time limit; or it has been
 * received and not fed, and is fed as soon as nothing of its connection is under way. The
 * connections themselves are a half at most (conn_admit). */
static bool
conn_waits_for_memory(const struct conn *c)
{
    return ledger_is_scarce(&conn_worker(c)->store.ledger) &&
           (c->waiting > 0 || !chain_is_empty(&c->answers.ready));
}

/* The same while descriptors are out, for a body that cannot grow in memory. The file that it gets
 * is that of a message which is settled, or late, or of a reply that its peer has read. */
static bool
conn_waits_for_file(const struct conn *c)
{
    if (!ledger_is_out_of_files(&conn_worker(c)->store.ledger))
        return false;
    return c->waiting > 0 || !chain_is_empty(&c->answers.ready) ||
           (c->message != NULL && message_needs_file(c->message, READ_FULL));
}

/* Between messages, more bytes would begin a new one. */
static bool
conn_begins(const struct conn *c)
{
    return c->unfed.len == 0 && c->proto->idle(&c->state);
}

/* There is room for the messages that more bytes may bring, and for the answers to them. */
static bool
conn_has_room(const struct conn *c)
{
    const struct worker *w = conn_worker(c);
    uint32_t files_max = ledger_is_crowded(&w->store.ledger) ? 1 : FILES_MAX;

    return !c->is_held && !c->is_throttled && c->waiting < WAITING_MAX &&
           c->waiting_files < files_max && chain_len(&c->answers.ready) < READY_MAX &&
           !conn_waits_for_memory(c) && !conn_waits_for_file(c);
}

/* What is received and cannot be fed at once has to be kept. The rest of a body can be fed, as far
 * as it is known. */
static size_t
conn_read_size(const struct conn *c)
{
    const struct ledger *l = &conn_worker(c)->store.ledger;
    const struct message *m = c->message;
    uint64_t size = READ_FULL;

    if (!ledger_is_low(l) && !ledger_is_out_of_files(l))
        return c->read_size;
    if (m != NULL && m->announced > m->size)
        size += m->announced - m->size;
    return size < c->read_size ? (size_t)size : c->read_size;
}

/* It is read after all others, so that nobody with a small message waits for it. */
static bool
conn_sends_much(const struct conn *c)
{
    return c->read_size > CONN_READ_FIRST;
}

static bool
conn_has_share(const struct conn *c)
{
    return c->fed < FEED_LEAST || (c->fed < FEED_MOST && conn_worker(c)->fed < FEED_TURN);
}

/* After a read of so many bytes. Thousands of tiny messages fit into one read, and those that the
 * turn has no time for are kept. */
static void
conn_learn_read_size(struct conn *c, size_t n)
{
    if (!conn_has_share(c) && c->read_size > READ_FULL)
        c->read_size /= 2;
    else if (n >= c->read_size && c->read_size < WORKER_READ_SIZE)
        c->read_size *= 2;
}

/* Whether the present message is its last one. A connection that another worker takes over goes on
 * as long as there are bytes here already; the rest is left for that worker. */
static bool
conn_ends(const struct conn *c)
{
    const struct worker *w = conn_worker(c);

    if (c->phase == CONN_LEAVING)
        return true;
    return w->draining && !handover_wanted(c->listener, c->proto);
}

/* The present message was its last one. If the peer can be told and knows what was taken, it sends
 * later messages elsewhere. Else the connection ends when everything under way is done, replies
 * that need its consent too. */
static void
conn_end_here(struct conn *c)
{
    if (c->proto->repeatable)
        conn_shutdown(c);
    else
        conn_disconnect(c);
}

static void conn_feed(struct conn *c, const uint8_t *data, size_t n);

/* A push cannot be sent. */
static void
conn_drop_pushes(struct conn *c)
{
    struct stats_worker_counters *counters = &conn_worker(c)->stats.block->counters;

    for (; c->outbox.first != NULL; outbox_pop(&c->outbox))
        stats_add(&counters->lost, 1);
}

/* It is known now what the connection speaks; that one gets the bytes from the first on. */
static void
conn_become(struct conn *c, const struct proto_ops *proto)
{
    struct buffer held = buffer_steal(&c->lookahead);

    if (proto != c->proto)
        conn_begin(c, proto);
    if (proto->push == NULL)
        conn_drop_pushes(c);
    if (c->phase == CONN_TURNED_AWAY)
        conn_turn_away(c);
    else if (held.len > 0)
        conn_feed(c, (const uint8_t *)buffer_bytes(&held), held.len);
    buffer_fini(&held);
}

void
conn_happened(struct conn *c, enum proto_event event, const struct proto_io *io)
{
    if (event == PROTO_CLOSE)
        conn_begin_closing(c);
    else if (event == PROTO_BECOME)
        conn_become(c, io->become);
}

/* One that is sent on to many costs its turn as much as several. */
static void
conn_feed_message(struct conn *c, struct message *m)
{
    struct worker *w = conn_worker(c);
    uint32_t cost = w->pushed;

    conn_submit(c, m);
    cost = 1 + (w->pushed - cost) / FEED_PUSHES;
    c->fed += cost;
    w->fed += cost;
}

/* A message has two answers at most. What is answered beside them costs its turn as well. */
static void
conn_feed_answers(struct conn *c, const struct proto_tally *tally, uint32_t messages)
{
    uint32_t answers = tally->acks + tally->nack1 + tally->rej, cost;

    if (answers <= 2 * messages)
        return;
    cost = (answers - 2 * messages) / FEED_ANSWERS;
    c->fed += cost;
    conn_worker(c)->fed += cost;
}

static void
conn_feed(struct conn *c, const uint8_t *data, size_t n)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);
    uint32_t messages = 0;

    while (n > 0 && conn_is_reading(c) && c->unfed.len == 0 && conn_has_room(c) &&
           conn_has_share(c)) {
        struct message *m = NULL;
        size_t used = 0;
        enum proto_event event;
        bool had_window = c->window_held != NULL;

        if (!conn_may_send(c))
            break;
        event = c->proto->feed(&c->state, &io, data, n, &used, &m);
        if (conn_is_starved(c)) {
            message_destroy(m);
            break;
        }
        data += used;
        n -= used;
        switch (event) {
        case PROTO_MORE:
            break;
        case PROTO_FLUSH:
            conn_write(c);
            break;
        case PROTO_MESSAGE:
            messages++;
            conn_feed_message(c, m);
            break;
        case PROTO_CLOSE:
        case PROTO_BECOME:
            conn_happened(c, event, &io);
            break;
        }
        if (!had_window && c->window_held != NULL)
            conn_admit_window(c);
        if (c->answers.ended)
            conn_begin_closing(c);
        else if (event == PROTO_MESSAGE && conn_is_serving(c) && conn_ends(c))
            conn_end_here(c);
    }
    conn_feed_answers(c, &tally, messages);
    conn_count(c, &tally);
    conn_set_unknown(c, c->lookahead.len > 0);
    if (n > 0 && conn_is_reading(c) && !c->is_starved)
        buffer_append(&c->unfed, data, n);
    (void)conn_is_starved(c);
}

static void
conn_drained(struct conn *c)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    if (conn_is_reading(c) && c->proto->drained != NULL)
        conn_happened(c, c->proto->drained(&c->state, &io), &io);
    conn_count(c, &tally);
}

/* The peer sends no more, which for some protocols is the end of a message. */
static void
conn_eof(struct conn *c)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);
    enum proto_event event = PROTO_MESSAGE;

    while (conn_is_reading(c) && event != PROTO_CLOSE) {
        struct message *m = NULL;

        event = c->proto->eof != NULL ? c->proto->eof(&c->state, &io, &m) : PROTO_CLOSE;
        if (conn_is_starved(c)) {
            message_destroy(m);
            break;
        }
        if (event == PROTO_MESSAGE)
            conn_submit(c, m);
        else if (event == PROTO_BECOME)
            conn_become(c, io.become);
        else
            event = PROTO_CLOSE;
    }
    conn_count(c, &tally);
}

/* The peer sends no more: its unfinished message is dropped, those being committed are answered. */
static void
conn_peer_done(struct conn *c)
{
    if (c->phase == CONN_LINGERING || (c->waiting == 0 && chain_is_empty(&c->answers.ready))) {
        conn_close_in_order(c);
        return;
    }
    c->peer_done = true;
    message_destroy(c->message);
    c->message = NULL;
}

static void
conn_mark_busy(struct conn *c)
{
    struct worker *w = conn_worker(c);

    if (c->window == w->window)
        return;
    c->window = w->window;
    w->busy_now++;
}

/* It is to end, and nothing that is on its way needs a word of the peer's. */
static bool
conn_awaits_end(const struct conn *c)
{
    return c->phase == CONN_LEAVING && c->unfed.len == 0 && c->proto->idle(&c->state) &&
           c->outbox.first == NULL && packet_window_idle(c->window_held);
}

bool
conn_wants_bytes(const struct conn *c)
{
    if (c->phase == CONN_LINGERING)
        return true;
    if (ledger_is_full(&conn_worker(c)->store.ledger) && conn_begins(c))
        return false;
    return conn_is_reading(c) && !c->peer_done && !c->is_starved && conn_has_room(c) &&
           !conn_awaits_move(c) && !conn_awaits_end(c);
}

/* Bytes that were received before and had to wait. */
static void
conn_feed_rest(struct conn *c)
{
    struct buffer rest;

    if (c->unfed.len == 0 || !conn_wants_bytes(c))
        return;
    rest = buffer_steal(&c->unfed);
    conn_feed(c, (const uint8_t *)buffer_bytes(&rest), rest.len);
    buffer_fini(&rest);
}

static ssize_t
conn_receive(struct conn *c, void *data, size_t size)
{
    if (c->tls != NULL)
        return tls_read(c->tls, data, size);
    return recv(c->fd, data, size, 0);
}

static void
conn_read_some(struct conn *c, bool to_end)
{
    struct worker *w = conn_worker(c);
    size_t share = to_end ? READ_SHARE : conn_sends_much(c) ? WORKER_READ_SIZE : CONN_READ_FIRST;

    conn_feed_rest(c);
    while (conn_wants_bytes(c) && c->unfed.len == 0) {
        size_t size = conn_read_size(c), cost;
        ssize_t n = conn_receive(c, w->read_buf, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            conn_drained(c);
            return;
        }
        if (n < 0) {
            conn_note_broken_tls(c);
            conn_note_cut(c);
            conn_close(c);
            return;
        }
        if (n == 0) {
            conn_drained(c);
            conn_eof(c);
            conn_note_cut(c);
            if (c->phase != CONN_DEAD)
                conn_peer_done(c);
            return;
        }
        cost = c->tls != NULL ? tls_read_cost(c->tls) : (size_t)n;
        w->read += cost;
        conn_mark_busy(c);
        conn_note_foreign(c, w->read_buf, (size_t)n);
        CONN_ADD(c, bytes_in, (uint64_t)n);
        if (c->source.row != 0)
            sources_add_bytes(w->sources, c->source.row, (uint64_t)n);
        if (c->slot != NULL)
            atomic_store_explicit(&c->slot->active_us, w->now_us, memory_order_relaxed);
        conn_feed(c, w->read_buf, (size_t)n);
        conn_learn_read_size(c, (size_t)n);
        if ((size_t)n < size && !to_end && c->unfed.len == 0 &&
            (c->tls == NULL || tls_is_drained(c->tls))) {
            conn_drained(c);
            return;
        }
        share -= cost < share ? cost : share;
        if (share == 0) {
            conn_read_later(c);
            return;
        }
    }
    /* Left unread on purpose: conn_finish_turn comes back to it when there is room again. */
    if (conn_is_reading(c) && !c->peer_done)
        conn_pause(c);
}

void
conn_read(struct conn *c, bool to_end)
{
    struct worker *w = conn_worker(c);
    uint32_t noted = conn_note(c);

    conn_touch(c);
    w->reading = c;
    conn_read_some(c, to_end);
    w->reading = NULL;
    conn_unnote(w, noted);
}

/* Answers leave at the end of the turn, all together: a sender on this machine is woken once for
 * many of them, and not for each. */
void
conn_ready(struct watch *watch, uint32_t events)
{
    struct conn *c = (struct conn *)watch;

    if (c->phase == CONN_DEAD)
        return;
    conn_touch(c);
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        c->is_ending = true;
    if (c->phase == CONN_HANDSHAKING) {
        conn_shake(c);
        if (c->phase == CONN_SERVING)
            conn_read(c, true); /* what came with it, no event tells of */
        return;
    }
    if ((events & EPOLLOUT) != 0)
        conn_write(c);
    if (c->phase == CONN_DEAD || (events & ~(uint32_t)EPOLLOUT) == 0)
        return;
    if (conn_sends_much(c) || c->is_ending)
        conn_read_later(c);
    else
        conn_read(c, false);
}

void
conn_read_unread(struct worker *w)
{
    struct conn *c;

    while ((c = TAILQ_FIRST(&w->unread)) != NULL) {
        TAILQ_REMOVE(&w->unread, c, unread);
        c->is_unread = false;
        conn_touch(c);
        if (c->phase != CONN_DEAD)
            conn_read(c, c->is_ending);
        if (w->read >= READ_SHARE)
            break;
    }
}
