/* TLS of a handle: what its URL and its program ask for, and the handshake of each connection. */
#include "client/handle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int
secure_make(const struct tls_asked *asked, struct secure *out, char error[ADDRESS_ERROR_LEN])
{
    struct secure made = {.insecure = asked->insecure, .context = tls_asked_create(asked, error)};

    if (made.context == NULL)
        return -1;
    if (asked->name != NULL && (made.name = ms_strdup(asked->name)) == NULL) {
        snprintf(error, ADDRESS_ERROR_LEN, HANDLE_NO_MEMORY);
        secure_fini(&made);
        return -1;
    }
    *out = made;
    return 0;
}

void
secure_fini(struct secure *secure)
{
    tls_context_destroy(secure->context);
    free(secure->name);
    *secure = (struct secure){0};
}

bool
secure_is_untrusted(const struct msock *m)
{
    return strcmp(m->code, SECURE_UNTRUSTED) == 0;
}

void
secure_say(struct msock *m)
{
    handle_fail(m, MSOCK_OK, "%s: %s", m->address, m->transport.why);
    if (m->transport.is_untrusted)
        snprintf(m->code, sizeof(m->code), SECURE_UNTRUSTED);
}

static void
secure_fail(struct msock *m, int error)
{
    if (m->transport.why[0] != '\0') {
        secure_say(m);
    } else if (error == ENOMEM) {
        m->peer->end = PEER_STARVED;
        handle_fail(m, MSOCK_OK, HANDLE_NO_MEMORY);
    } else if (error == ETIMEDOUT) {
        handle_fail(m, MSOCK_OK, "%s: no TLS within %u ms (does it speak TLS?)", m->address,
                    m->answer_ms);
    } else {
        errno = error;
        handle_fail_errno(m, MSOCK_OK, "%s: the connection was lost before TLS had begun",
                          m->address);
    }
    dial_note(&m->dialer, m->error);
    connect_blame(m);
    transport_close(&m->transport);
}

int
secure_begin(struct msock *m, uint64_t deadline_us)
{
    const struct secure *secure = &m->at.secure;
    const char *name = secure->name;

    if (secure->context == NULL)
        return 0;
    if (name == NULL)
        name = m->dialer.servers[m->dialer.last].at.host;
    if (name == NULL && !secure->insecure) {
        handle_fail(m, MSOCK_OK, "%s has no host name: say which name its certificate has",
                    m->address);
        snprintf(m->code, sizeof(m->code), SECURE_UNTRUSTED);
        transport_close(&m->transport);
        return -1;
    }
    if (transport_secure(&m->transport, secure->context, name, deadline_us) == 0)
        return 0;
    secure_fail(m, errno);
    return -1;
}
