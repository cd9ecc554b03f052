/* The handshake of a connection with TLS, before its protocol hears of it. Invariant: a connection
 * is in the list of handshakes as long as it is in the phase of that name. */
#include "worker/conn.h"

#include "proto/proxy_header.h"

#include <errno.h>
#include <stdio.h>

#define HANDSHAKES_MAX 512 /* of a worker at one time; one more ends the oldest */
#define TLS_HANDSHAKE  22  /* the first byte of whoever speaks TLS, */
#define TLS_MAJOR      3   /* and the second */

static void
handshake_leave(struct conn *c)
{
    struct worker *w = conn_worker(c);

    TAILQ_REMOVE(&w->handshakes, c, shaking);
    w->handshake_count--;
}

/* The reason is OpenSSL's, or ours. What the peer still sends is read, so that it gets the alert.
 */
static void
handshake_fail(struct conn *c, const char *reason)
{
    char what[TLS_ERROR_LEN + 32];

    stats_add(&conn_worker(c)->stats.block->counters.handshakes_failed, 1);
    snprintf(what, sizeof(what), "fails: %s", reason);
    conn_say(c, LOG_tls_handshake, "a TLS handshake", what);
    conn_blame(c, STATS_BLAME_handshake, 1);
    handshake_leave(c);
    conn_end_tls(c);
    conn_linger(c);
}

/* Whoever has had the most time is the least likely to end well. */
static void
handshake_make_room(struct worker *w)
{
    struct conn *oldest = TAILQ_FIRST(&w->handshakes);

    if (w->handshake_count < HANDSHAKES_MAX)
        return;
    conn_blame(oldest, STATS_BLAME_handshake, 1);
    stats_add(&w->stats.block->counters.handshakes_failed, 1);
    conn_close(oldest);
}

int
conn_begin_tls(struct conn *c)
{
    struct worker *w = conn_worker(c);

    handshake_make_room(w);
    c->tls = tls_session_create(c->listener->tls, c->fd, NULL);
    ms_memory_forget();
    if (c->tls == NULL)
        return -1;
    ledger_take_standing(&w->store.ledger, TLS_SESSION_COST);
    conn_enter(c, CONN_HANDSHAKING);
    TAILQ_INSERT_TAIL(&w->handshakes, c, shaking);
    w->handshake_count++;
    return 0;
}

void
conn_end_tls(struct conn *c)
{
    if (c->tls == NULL)
        return;
    tls_session_destroy(c->tls);
    c->tls = NULL;
    ledger_give_standing(&conn_worker(c)->store.ledger, TLS_SESSION_COST);
}

void
conn_leave_tls(struct conn *c)
{
    if (c->phase == CONN_HANDSHAKING)
        handshake_leave(c);
}

void
conn_handshake_late(struct conn *c)
{
    handshake_fail(c, "it takes too long");
}

void
conn_shake(struct conn *c)
{
    const struct conn_refusal *why;
    char name[TLS_IDENTITY_LEN];

    if (tls_handshake(c->tls) < 0) {
        if (errno != EAGAIN)
            handshake_fail(c, tls_error(c->tls));
        else if (tls_wants_write(c->tls))
            conn_watch_write(c);
        return;
    }
    if (tls_identity(c->tls, name) < 0) {
        handshake_fail(c, tls_error(c->tls));
        return;
    }
    handshake_leave(c);
    stats_add(&conn_worker(c)->stats.block->counters.handshakes, 1);
    stats_add(&conn_worker(c)->stats.block->counters.resumed, tls_is_resumed(c->tls));
    conn_enter(c, CONN_SERVING);
    if (name[0] != '\0')
        conn_set_identity(c, "cert:", name);
    why = conn_admit_name(c);
    conn_start(c);
    if (why != NULL)
        conn_expel(c, why, c->source.wait_s);
}

void
conn_note_broken_tls(struct conn *c)
{
    char what[TLS_ERROR_LEN + 32];

    if (c->tls == NULL || errno != EPROTO)
        return;
    snprintf(what, sizeof(what), "ends: %s", tls_error(c->tls));
    conn_say(c, LOG_tls_broken, "a connection", what);
    conn_blame(c, STATS_BLAME_damaged, 1);
}

void
conn_note_foreign(const struct conn *c, const uint8_t *data, size_t n)
{
    const struct listener_config *config = c->listener->child->config;

    if (c->slot == NULL ||
        atomic_load_explicit(&c->slot->counters.bytes_in, memory_order_relaxed) != 0)
        return;
    if (c->listener->tls == NULL && n > 1 && data[0] == TLS_HANDSHAKE && data[1] == TLS_MAJOR)
        conn_say(c, LOG_tls_not_spoken, "a connection",
                 "seems to speak TLS, and this listener does not: tls=required");
    else if (proxy_header_begins(data, n))
        conn_say(c, LOG_proxy_not_expected, "a connection",
                 listener_is_proxied(config)
                     ? "has a second PROXY header, which is not looked at"
                     : "has a PROXY header, and this listener expects none: proxy=required");
}
