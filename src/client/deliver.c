/* Decides after each attempt whether there is another one, on which connection, how the message
 * travels then, and how long to wait before it. */
#include "client/handle.h"

#include "common/fd.h"

#include <stdio.h>

struct delivery {
    struct msock *m;
    struct outgoing *out;
    enum msock_status status; /* once it is decided */
    unsigned attempts;        /* made, connecting included */
    struct pauses pauses;     /* made between them */
    bool in_doubt;            /* the server may have the message */
    bool begun;               /* bytes of the message went out at least once */
    bool reused;              /* this attempt's connection is older than the attempt */
    bool connected;           /* this attempt has come so far that the message could begin */
    bool hurried;             /* the one retry without a wait is used up */
    bool hopeless;            /* an ERR that will hardly change was seen */
    bool fell_back;           /* from the late digest; refusal says why */
    char refusal[HANDLE_ERROR_LEN];
    char refusal_code[HANDLE_CODE_LEN];
};

enum msock_status
msock_connect(msock *m)
{
    struct pauses pauses = {.waits = 0};
    unsigned retries = 0;

    handle_begin(m);
    m->waiter.is_ended = false;
    attempt_check(m);
    dial_begin_call(&m->dialer);
    while (m->transport.fd < 0 && attempt_connect(m) < 0) {
        if (m->waiter.is_ended)
            return handle_fail_ended(m);
        if (attempt_is_starved(m))
            return MSOCK_LOCAL;
        if (connect_moves_on(m, &pauses))
            continue;
        if (retries++ >= m->retries || m->is_attached || secure_is_untrusted(m)) {
            connect_say_all(m);
            return MSOCK_UNREACHABLE;
        }
        connect_pause(m, &pauses);
    }
    handle_begin(m);
    return MSOCK_OK;
}

enum msock_status
msock_attach(msock *m, int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);
    struct sockaddr_storage other;
    socklen_t other_len = sizeof(other);

    handle_begin(m);
    m->waiter.is_ended = false;
    if (m->counts.connects > 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        type != SOCK_STREAM || getpeername(fd, (struct sockaddr *)&other, &other_len) < 0 ||
        fd_set_nonblock(fd) < 0) {
        fd_close(&fd);
        return handle_fail(m, MSOCK_USAGE, "this is no socket that a new handle can use");
    }
    if (connect_attach(m, fd_above_standard(fd)) == 0 && attempt_open(m) == 0)
        return MSOCK_OK;
    return m->waiter.is_ended ? handle_fail_ended(m) : MSOCK_UNREACHABLE;
}

static bool
delivery_decided(struct delivery *d, enum msock_status status)
{
    d->status = status;
    return true;
}

static bool
delivery_give_up(struct delivery *d)
{
    struct msock *m = d->m;
    size_t len;

    connect_say_all(m);
    if (!d->begun)
        return delivery_decided(d, MSOCK_UNREACHABLE);
    len = strlen(m->error);
    snprintf(m->error + len, sizeof(m->error) - len, " (given up after %u attempt%s; %s)",
             d->attempts, d->attempts == 1 ? "" : "s",
             d->in_doubt ? "the message may have been committed" : "the message is not committed");
    return delivery_decided(d, MSOCK_GIVEN_UP);
}

/* Codes that say that the server will not take this, or we not the server, now or later: tried once
 * more only, in case the connection and not the message was to blame. */
static bool
code_hopeless(const char *code)
{
    return strcmp(code, "bad-header") == 0 || strcmp(code, "too-long") == 0 ||
           strcmp(code, "denied") == 0 || strcmp(code, SECURE_UNTRUSTED) == 0;
}

/* The program waits no more. */
static bool
delivery_ended(struct delivery *d)
{
    handle_fail(d->m, MSOCK_OK, "the program has ended the wait; the message %s",
                d->in_doubt ? "may have been committed" : "is not committed");
    return delivery_decided(d, MSOCK_CANCELLED);
}

/* Prepares another attempt. True where there is none, and the status is decided. */
static bool
delivery_again(struct delivery *d)
{
    struct msock *m = d->m;
    bool hopeless = code_hopeless(m->code);

    if (m->waiter.is_ended)
        return delivery_ended(d);
    if (d->fell_back && strcmp(m->code, "too-long") == 0) {
        snprintf(m->error, sizeof(m->error), "%s", d->refusal);
        snprintf(m->code, sizeof(m->code), "%s", d->refusal_code);
        return delivery_decided(d, MSOCK_REFUSED);
    }
    if ((hopeless && d->hopeless) || (d->in_doubt && !m->peer->ops->repeatable))
        return delivery_give_up(d);
    if ((!d->connected || connect_is_sent_away(m)) && connect_moves_on(m, &d->pauses)) {
        d->attempts--; /* this one goes on with another server */
        return false;
    }
    if (d->attempts > m->retries || m->is_attached) /* there is no other connection */
        return delivery_give_up(d);
    d->hopeless |= hopeless;
    /* An idle connection that the server has just closed says nothing about the next one. */
    if (d->reused && !d->hurried && (m->code[0] == '\0' || strcmp(m->code, "shutdown") == 0))
        d->hurried = true;
    else
        connect_pause(m, &d->pauses);
    return false;
}

/* REJ. One case deserves another try: a server to which the size is undetermined cannot take a late
 * digest (1.8). What is too large for that is not worth reading twice. */
static bool
delivery_refused(struct delivery *d)
{
    struct msock *m = d->m;

    if (d->out->strict || d->out->size > m->peer->ops->reread_max ||
        strcmp(m->code, "bad-flags") != 0)
        return delivery_decided(d, MSOCK_REFUSED);
    snprintf(d->refusal, sizeof(d->refusal), "%s", m->error);
    snprintf(d->refusal_code, sizeof(d->refusal_code), "%s", m->code);
    d->fell_back = true;
    d->out->strict = true;
    d->attempts--;
    peer_close(m->peer);
    return false;
}

static bool
delivery_connect(struct delivery *d)
{
    struct msock *m = d->m;

    attempt_check(m);
    d->reused = m->transport.fd >= 0;
    d->connected = d->reused || attempt_connect(m) == 0;
    if (!d->connected)
        return false;
    m->counts.retries += d->begun;
    d->begun = true;
    return true;
}

/* One attempt. True where the status is decided. */
static bool
delivery_attempt(struct delivery *d)
{
    enum attempt_end end;

    d->attempts++;
    if (!delivery_connect(d))
        return attempt_is_starved(d->m) ? delivery_decided(d, MSOCK_LOCAL) : delivery_again(d);
    end = attempt_run(d->m, d->out, &d->in_doubt);
    switch (end) {
    case ATTEMPT_TAKEN:
        return delivery_decided(d, MSOCK_OK);
    case ATTEMPT_REFUSED:
        return delivery_refused(d);
    case ATTEMPT_LOST:
    case ATTEMPT_SILENT:
        /* What was sent ahead and lost is sent again with each answer waited for (1.6). */
        d->out->strict |= d->out->size <= d->m->peer->ops->ahead_max;
        if (!d->reused || d->m->code[0] != '\0' || end == ATTEMPT_SILENT)
            connect_blame(d->m);
        return delivery_again(d);
    case ATTEMPT_NACKED:
        /* Not another attempt: the protocol wants this after a NACK to what was sent ahead. */
        d->out->strict = true;
        d->attempts--;
        return false;
    case ATTEMPT_LOCAL:
        return delivery_decided(d, MSOCK_LOCAL);
    case ATTEMPT_CANCELLED:
        return delivery_decided(d, MSOCK_CANCELLED);
    case ATTEMPT_UNFIT:
        return delivery_decided(d, MSOCK_USAGE);
    case ATTEMPT_UNANSWERED:
        return delivery_decided(d, MSOCK_TIMEOUT);
    }
    return delivery_decided(d, MSOCK_LOCAL);
}

enum msock_status
deliver(struct msock *m, struct outgoing *out)
{
    struct delivery d = {.m = m, .out = out};

    if (m->waiter.is_ended)
        return handle_fail_ended(m);
    if (!attempt_may_carry(m, out))
        return attempt_say_unfit(m);
    dial_begin_call(&m->dialer);
    while (!delivery_attempt(&d))
        continue;
    if (d.status == MSOCK_OK)
        handle_begin(m);
    return d.status;
}
