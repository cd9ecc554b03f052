/* Decides after each attempt whether there is another one, on which connection, how the message is
 * laid out then, and how long to wait before it. */
#include "client/deliver.h"

#include "client/post.h"

#include <stdio.h>
#include <string.h>

/* A server that takes a size as undetermined gives up after so many full packets (1.4); what is
 * larger is not worth reading twice. */
#define DELIVER_UNDETERMINED_MAX (10ull * MSP_GRANT_MAX)

struct delivery {
    struct msock *m;
    struct outgoing *out;
    enum session_mode mode;
    enum msock_status status; /* once it is decided */
    unsigned attempts;        /* made, connecting included */
    unsigned waits;           /* made between them */
    bool begun;               /* bytes of the message went out at least once */
    bool reused;              /* this attempt's connection is older than the attempt */
    bool hurried;             /* the one retry without a wait is used up */
    bool hopeless;            /* an ERR that will hardly change was seen */
    bool fell_back;           /* from the late digest; refusal says why */
    char refusal[HANDLE_ERROR_LEN];
    char refusal_code[HANDLE_CODE_LEN];
};

/* Drops a connection on which the server has closed or spoken while nobody listened. */
static void
connection_check(struct msock *m)
{
    struct transport *t = &m->transport;
    struct msp_answer answer;

    if (m->peer != NULL)
        post_check(m);
    if (m->peer != NULL || t->fd < 0 || transport_quiet(t))
        return;
    if (msp_answer_decode(transport_bytes(t), t->in_len, &answer) > 0 &&
        answer.kind == MSP_ANSWER_ERR)
        m->counts.err++;
    transport_close(t);
}

int
deliver_connect_once(struct msock *m)
{
    if (handle_connect_once(m) < 0)
        return -1;
    return m->peer != NULL ? post_open(m) : 0;
}

enum msock_status
msock_connect(msock *m)
{
    handle_begin(m);
    connection_check(m);
    for (unsigned nth = 0; m->transport.fd < 0 && deliver_connect_once(m) < 0; nth++) {
        if (nth >= m->retries)
            return MSOCK_UNREACHABLE;
        handle_back_off(m, nth);
    }
    handle_begin(m);
    return MSOCK_OK;
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
    size_t len = strlen(m->error);

    if (!d->begun)
        return delivery_decided(d, MSOCK_UNREACHABLE);
    snprintf(m->error + len, sizeof(m->error) - len, " (given up after %u attempt%s; %s)",
             d->attempts, d->attempts == 1 ? "" : "s",
             d->out->in_doubt ? "the message may have been committed"
                              : "the message is not committed");
    return delivery_decided(d, MSOCK_GIVEN_UP);
}

/* ERR codes that say that the server will not take this, now or later: tried once more only, in
 * case the connection and not the message was to blame. */
static bool
code_hopeless(const char *code)
{
    return strcmp(code, "bad-header") == 0 || strcmp(code, "too-long") == 0 ||
           strcmp(code, "denied") == 0;
}

/* Prepares another attempt. True where there is none, and the status is decided. */
static bool
delivery_again(struct delivery *d)
{
    struct msock *m = d->m;
    bool hopeless = code_hopeless(m->code);

    if (d->fell_back && strcmp(m->code, "too-long") == 0) {
        snprintf(m->error, sizeof(m->error), "%s", d->refusal);
        snprintf(m->code, sizeof(m->code), "%s", d->refusal_code);
        return delivery_decided(d, MSOCK_REFUSED);
    }
    if (d->attempts > m->retries || (hopeless && d->hopeless) ||
        (m->peer != NULL && d->out->in_doubt)) /* no id goes with it that would show a double */
        return delivery_give_up(d);
    d->hopeless |= hopeless;
    /* An idle connection that the server has just closed says nothing about the next one. */
    if (d->reused && !d->hurried && (m->code[0] == '\0' || strcmp(m->code, "shutdown") == 0))
        d->hurried = true;
    else
        handle_back_off(m, d->waits++);
    return false;
}

/* REJ. One case deserves another try: a server to which the size is undetermined cannot take a late
 * digest (1.8). */
static bool
delivery_refused(struct delivery *d)
{
    struct msock *m = d->m;

    if (m->peer != NULL || d->mode != SESSION_LATE ||
        d->out->source.size > DELIVER_UNDETERMINED_MAX || strcmp(m->code, "bad-flags") != 0)
        return delivery_decided(d, MSOCK_REFUSED);
    snprintf(d->refusal, sizeof(d->refusal), "%s", m->error);
    snprintf(d->refusal_code, sizeof(d->refusal_code), "%s", m->code);
    d->fell_back = true;
    d->mode = SESSION_STRICT;
    d->attempts--;
    transport_close(&m->transport);
    return false;
}

static bool
delivery_connect(struct delivery *d)
{
    struct msock *m = d->m;

    connection_check(m);
    d->reused = m->transport.fd >= 0;
    if (!d->reused && deliver_connect_once(m) < 0)
        return false;
    m->counts.retries += d->begun;
    d->begun = true;
    return true;
}

/* One attempt. True where the status is decided. */
static bool
delivery_attempt(struct delivery *d)
{
    enum session_mode mode = d->mode;

    d->attempts++;
    if (!delivery_connect(d))
        return delivery_again(d);
    if (mode == SESSION_AHEAD)
        d->mode = SESSION_STRICT;
    switch (d->m->peer != NULL ? post_run(d->m, d->out) : session_run(d->m, d->out, mode)) {
    case SESSION_COMMITTED:
        return delivery_decided(d, MSOCK_OK);
    case SESSION_REFUSED:
        return delivery_refused(d);
    case SESSION_ENDED:
    case SESSION_LOST:
        return delivery_again(d);
    case SESSION_NACKED:
        /* Not an attempt of its own: the protocol's way to answer a NACK to what was sent ahead. */
        d->attempts--;
        return false;
    case SESSION_LOCAL:
        return delivery_decided(d, MSOCK_LOCAL);
    case SESSION_CANCELLED:
        return delivery_decided(d, MSOCK_CANCELLED);
    case SESSION_UNFIT:
        return delivery_decided(d, MSOCK_USAGE);
    case SESSION_UNANSWERED:
        return delivery_decided(d, MSOCK_TIMEOUT);
    }
    return delivery_decided(d, MSOCK_LOCAL);
}

enum msock_status
deliver(struct msock *m, struct outgoing *out)
{
    struct delivery d = {
        .m = m,
        .out = out,
        .mode = out->source.size <= MSP_FIRST_BODY ? SESSION_AHEAD : SESSION_LATE,
    };

    while (!delivery_attempt(&d))
        continue;
    if (d.status == MSOCK_OK)
        handle_begin(m);
    return d.status;
}
