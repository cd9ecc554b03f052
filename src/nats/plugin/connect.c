/* A connection with libnats. Invariant: of libnats' objects l->nc and l->answers are both there or
 * neither, and whatever libnats' threads may still call holds a reference to the link. */
#include "nats/plugin/plugin.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define TOKEN_MAX 24

/* --- what libnats calls --- */

/* A server that is gone without a word is found out within a minute, however silent we are. */
static void
connect_keep_alive(int fd)
{
    static const struct {
        int name, value;
    } options[] = {{TCP_KEEPIDLE, 30}, {TCP_KEEPINTVL, 10}, {TCP_KEEPCNT, 3}};
    int on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    for (size_t i = 0; i < MS_ARRAY_LEN(options); i++)
        (void)setsockopt(fd, IPPROTO_TCP, options[i].name, &options[i].value, sizeof(int));
}

static natsStatus
connect_attached(void **data, void *loop, natsConnection *nc, natsSock socket)
{
    struct link *l = loop;

    (void)nc;
    l->fd = socket;
    *data = l;
    connect_keep_alive(socket);
    return NATS_OK;
}

static natsStatus
connect_wants_read(void *data, bool add)
{
    struct link *l = data;

    if (add)
        return NATS_OK;
    /* Before it is closed: a child of somebody's may hold a copy, and then it would stay there. */
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    l->fd = -1;
    return NATS_OK;
}

static natsStatus
connect_wants_write(void *data, bool add)
{
    struct link *l = data;

    atomic_store(&l->wants_write, add);
    return NATS_OK;
}

static natsStatus
connect_detached(void *data)
{
    return connect_wants_read(data, false);
}

static void
connect_lame_duck(natsConnection *nc, void *arg)
{
    struct link *l = arg;

    (void)nc;
    atomic_store(&l->lame_duck, true);
    link_wake(l);
}

/* The server's word where it has said one: "Permissions Violation for Publish to ...". */
static void
connect_complaint(natsConnection *nc, natsSubscription *sub, natsStatus s, void *arg)
{
    struct link *l = arg;
    const char *text = NULL;

    (void)sub;
    if (natsConnection_GetLastError(nc, &text) == NATS_OK || text == NULL || text[0] == '\0')
        text = natsStatus_GetText(s);
    link_tell(l, LINK_NOTE, text);
}

/* The last call of libnats about a connection. */
static void
connect_closed(natsConnection *nc, void *arg)
{
    (void)nc;
    link_release(arg);
}

/* --- messages of libnats --- */

#define DEAD_BYTES (1u << 20)

void
link_bury(struct link *l)
{
    while (l->dead_count > 0)
        natsMsg_Destroy(l->dead[--l->dead_count]);
    l->dead_bytes = 0;
}

static void
connect_done_with(struct link *l, natsMsg *msg)
{
    l->dead[l->dead_count++] = msg;
    l->dead_bytes += (size_t)natsMsg_GetDataLength(msg);
    if (l->dead_count == LINK_DEAD_MAX || l->dead_bytes > DEAD_BYTES)
        link_bury(l);
}

/* --- answers --- */

/* Its subject is the inbox, a dot and the token. */
static void
connect_answered(struct link *l, natsMsg *msg)
{
    const char *subject = natsMsg_GetSubject(msg);
    size_t n = strlen(l->inbox);

    if (strlen(subject) > n)
        link_hear(l, LINK_ANSWER, strtoull(subject + n + 1, NULL, 10), natsMsg_GetData(msg),
                  (size_t)natsMsg_GetDataLength(msg));
}

/* libnats has what was read in a list, and gives it without a wait and without another thread. */
void
link_hear_answers(struct link *l)
{
    natsMsg *msg = NULL;
    natsStatus s;

    while ((s = natsSubscription_NextMsg(&msg, l->answers, 0)) == NATS_OK ||
           s == NATS_NO_RESPONDERS) {
        if (s == NATS_OK)
            connect_answered(l, msg);
        else
            link_hear(l, LINK_NOBODY, 0, NULL, 0);
        if (s == NATS_OK)
            connect_done_with(l, msg);
    }
}

/* --- connecting --- */

/* A server that closes without a word when we have said who we are does not want us: with TLS 1.3
 * that is what becomes of a missing certificate. */
enum link_failure
link_failure_of(natsStatus s, const char *text)
{
    if (s == NATS_CONNECTION_AUTH_FAILED || s == NATS_NOT_PERMITTED ||
        (s == NATS_PROTOCOL_ERROR && strstr(text, "'PONG', got ''") != NULL))
        return LINK_DENIED;
    if (s == NATS_PROTOCOL_ERROR || s == NATS_LINE_TOO_LONG || s == NATS_ERR ||
        s == NATS_NO_SERVER_SUPPORT)
        return LINK_FOREIGN;
    if (s == NATS_SSL_ERROR || s == NATS_SECURE_CONNECTION_WANTED ||
        s == NATS_SECURE_CONNECTION_REQUIRED)
        return LINK_INSECURE;
    if (s == NATS_INVALID_ARG || s == NATS_ADDRESS_MISSING || s == NATS_NOT_FOUND)
        return LINK_MISSET;
    return LINK_UNREACHABLE;
}

/* libnats puts the place in its source in front: "(conn.c:1234): what". */
static void
connect_say(natsStatus s, char text[LINK_TEXT_MAX])
{
    natsStatus last = NATS_OK;
    const char *said = nats_GetLastError(&last), *end;

    if (said == NULL || last != s)
        said = natsStatus_GetText(s);
    end = said[0] == '(' ? strstr(said, "): ") : NULL;
    snprintf(text, LINK_TEXT_MAX, "%s", end != NULL ? end + 3 : said);
}

static natsStatus
connect_set_credentials(natsOptions *o, const struct link_config *c)
{
    natsStatus s = NATS_OK;

    if (c->user != NULL)
        s = natsOptions_SetUserInfo(o, c->user, c->password != NULL ? c->password : "");
    if (s == NATS_OK && c->creds != NULL)
        s = natsOptions_SetUserCredentialsFromFiles(o, c->creds, NULL);
    if (s == NATS_OK && c->nkey != NULL)
        s = natsOptions_SetNKeyFromSeed(o, c->nkey_public, c->nkey);
    return s;
}

static natsStatus
connect_set_tls(natsOptions *o, const struct link_config *c)
{
    natsStatus s = NATS_OK;

    if (c->tls)
        s = natsOptions_SetSecure(o, true);
    if (s == NATS_OK && c->ca != NULL)
        s = natsOptions_LoadCATrustedCertificates(o, c->ca);
    if (s == NATS_OK && c->cert != NULL)
        s = natsOptions_LoadCertificatesChain(o, c->cert, c->key);
    return s;
}

/* No pings of libnats: its timer would close a connection under the hands of our thread. The
 * publisher notices a server that does not answer, and the kernel one that is gone. */
static natsStatus
connect_set_loop(natsOptions *o, struct link *l)
{
    natsStatus s = natsOptions_SetEventLoop(o, l, connect_attached, connect_wants_read,
                                            connect_wants_write, connect_detached);

    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(o, true);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(o, 0);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(o, false);
    if (s == NATS_OK)
        s = natsOptions_SetLameDuckModeCB(o, connect_lame_duck, l);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(o, connect_complaint, l);
    if (s == NATS_OK)
        s = natsOptions_SetClosedCB(o, connect_closed, l);
    return s;
}

static natsStatus
connect_set_servers(natsOptions *o, const struct link *l, const struct link_config *c)
{
    const char *servers[2 * LINK_SERVERS_MAX];
    int n = 0;

    for (size_t i = 0; i < c->server_count; i++)
        servers[n++] = c->servers[i];
    for (int i = 0; i < l->discovered_count; i++)
        servers[n++] = l->discovered[i];
    return natsOptions_SetServers(o, servers, n);
}

static natsStatus
connect_options(struct link *l, const struct link_config *c, natsOptions **options_out)
{
    natsStatus s = natsOptions_Create(options_out);

    if (s == NATS_OK)
        s = connect_set_servers(*options_out, l, c);
    if (s == NATS_OK)
        s = natsOptions_SetName(*options_out, c->name);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(*options_out, c->connect_ms);
    if (s == NATS_OK)
        s = connect_set_loop(*options_out, l);
    if (s == NATS_OK)
        s = connect_set_credentials(*options_out, c);
    if (s == NATS_OK)
        s = connect_set_tls(*options_out, c);
    return s;
}

static natsStatus
connect_subscribe(struct link *l)
{
    char subject[LINK_INBOX_MAX + 2];
    natsInbox *inbox = NULL;
    natsStatus s = natsInbox_Create(&inbox);

    if (s != NATS_OK)
        return s;
    snprintf(l->inbox, sizeof(l->inbox), "%s", (const char *)inbox);
    natsInbox_Destroy(inbox);
    snprintf(subject, sizeof(subject), "%s.*", l->inbox);
    s = natsConnection_SubscribeSync(&l->answers, l->nc, subject);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(l->answers, -1, -1);
    return s;
}

/* What a server says about the others of its cluster is worth keeping for the day it dies. */
static void
connect_note_servers(struct link *l)
{
    char **servers = NULL;
    int n = 0;

    if (natsConnection_GetDiscoveredServers(l->nc, &servers, &n) != NATS_OK)
        return;
    for (int i = 0; n > 0 && i < l->discovered_count; i++)
        free(l->discovered[i]);
    l->discovered_count = n > 0 ? 0 : l->discovered_count;
    for (int i = 0; i < n; i++)
        if (i < LINK_SERVERS_MAX)
            l->discovered[l->discovered_count++] = servers[i];
        else
            free(servers[i]);
    free(servers);
}

natsStatus
link_connect(struct link *l, const struct link_config *config, char text[LINK_TEXT_MAX])
{
    natsOptions *options = NULL;
    natsStatus s = connect_options(l, config, &options);

    atomic_store(&l->lame_duck, false);
    atomic_store(&l->wants_write, false);
    if (s == NATS_OK)
        s = natsConnection_Connect(&l->nc, options);
    if (s != NATS_OK)
        connect_say(s, text);
    natsOptions_Destroy(options);
    if (s != NATS_OK) {
        l->nc = NULL;
        return s;
    }
    (void)link_hold(l); /* until connect_closed */
    s = natsConnection_HasHeaderSupport(l->nc);
    if (s == NATS_OK)
        s = connect_subscribe(l);
    if (s == NATS_OK) {
        connect_note_servers(l);
        return NATS_OK;
    }
    connect_say(s, text);
    link_disconnect(l);
    return s;
}

void
link_disconnect(struct link *l)
{
    link_bury(l);
    natsSubscription_Destroy(l->answers);
    natsConnection_Destroy(l->nc);
    l->answers = NULL;
    l->nc = NULL;
    l->fd = -1;
}

void
link_server(struct link *l, char *out, size_t size)
{
    char url[LINK_TEXT_MAX] = "";
    const char *at;

    (void)natsConnection_GetConnectedUrl(l->nc, url, sizeof(url));
    at = strrchr(url, '@');
    if (at == NULL && (at = strstr(url, "://")) != NULL)
        at += 2;
    snprintf(out, size, "%s", at != NULL ? at + 1 : url);
}

/* --- publishing --- */

/* libnats makes five pieces of memory of each header, which another thread frees: that was half of
 * the cost of a message. It writes a name as it stands, and so one name can hold all the lines
 * before the last value. */
static natsStatus
connect_set_headers(struct link *l, natsMsg *msg, const struct link_message *m)
{
    char *line, *value;

    if (l->block_size <= m->headers_len) {
        free(l->block);
        l->block_size = 2 * m->headers_len;
        l->block = ms_malloc(l->block_size);
    }
    memcpy(l->block, m->headers, m->headers_len);
    l->block[m->headers_len - 2] = '\0';
    line = strrchr(l->block, '\n');
    value = strchr(line != NULL ? line : l->block, ':');
    *value = '\0';
    return natsMsgHeader_Set(msg, l->block, value + 2);
}

natsStatus
link_publish(struct link *l, const struct link_message *m)
{
    char reply[LINK_INBOX_MAX + TOKEN_MAX];
    natsMsg *msg = NULL;
    natsStatus s;

    snprintf(reply, sizeof(reply), "%s.%llu", l->inbox, (unsigned long long)m->token);
    s = natsMsg_Create(&msg, m->subject, reply, m->data, (int)m->len);
    if (s == NATS_OK && m->headers_len > 0)
        s = connect_set_headers(l, msg, m);
    if (s == NATS_OK)
        s = natsConnection_PublishMsg(l->nc, msg);
    if (msg == NULL)
        return s;
    /* Most of its memory is free again here, and at once used for the next one. */
    if (m->headers_len > 0)
        (void)natsMsgHeader_Delete(msg, l->block);
    connect_done_with(l, msg);
    return s;
}
