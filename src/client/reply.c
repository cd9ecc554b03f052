/* Receiving a reply: its size is checked before memory is taken, its sums before it is shown. */
#include "client/reply.h"

#include "client/received.h"
#include "common/clock.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* Fills n bytes; every byte that arrives renews the patience. */
static enum reply_end
reply_fill(struct msock *m, void *buf, size_t n)
{
    struct transport *t = &m->transport;
    uint64_t wait_us = (uint64_t)m->answer_ms * 1000;
    uint64_t deadline = clock_mono_us() + wait_us;
    char *p = buf;

    while (n > 0) {
        size_t got = 0;

        switch (transport_read(t, p, n, &got)) {
        case TRANSPORT_DONE:
            p += got;
            n -= got;
            deadline = clock_mono_us() + wait_us;
            break;
        case TRANSPORT_WAIT:
            if (transport_wait(t, POLLIN, deadline))
                break;
            handle_fail(m, MSOCK_OK, "%s: the reply did not come within %u ms", m->address,
                        m->answer_ms);
            return REPLY_BAD;
        case TRANSPORT_LOST:
            handle_fail(m, MSOCK_OK, "%s: the connection was lost in the reply", m->address);
            return REPLY_BAD;
        }
    }
    return REPLY_READ;
}

static bool
reply_holds(struct msock *m, const struct msp_first *first, const char *body)
{
    uint8_t sha256[SHA256_LEN];

    if (digest_crc32(0, body, first->size) != first->crc)
        return false;
    digest_sha256(m->digester, body, first->size, sha256);
    return memcmp(sha256, first->sha256, SHA256_LEN) == 0;
}

/* The reply as the program sees it. Where there are transforms no bytes are no reply, since what a
 * handler has said would not arrive empty. */
static enum reply_end
reply_keep(struct msock *m, char **body, size_t n)
{
    char *opened;
    size_t len;

    handle_drop_reply(m);
    if (m->transforms.count > 0 && n == 0)
        return REPLY_READ;
    if (m->transforms.count > 0) {
        opened = received_bytes(m, *body, n, &len);
        if (opened == NULL)
            return REPLY_LOCAL;
        free(*body);
        *body = opened;
        n = len;
    }
    m->reply = *body;
    m->reply[n] = '\0';
    m->reply_len = n;
    *body = NULL;
    return REPLY_READ;
}

enum reply_end
reply_read(struct msock *m)
{
    uint8_t header[MSP_FIRST_HEADER];
    struct msp_first first;
    enum reply_end end = reply_fill(m, header, sizeof(header));
    char *body = NULL;

    if (end != REPLY_READ)
        goto out;
    end = REPLY_BAD;
    if (!msp_first_decode(header, &first) || first.size > MSP_REPLY_MAX) {
        handle_fail(m, MSOCK_OK, "%s: the reply's header is damaged", m->address);
        goto out;
    }
    body = malloc(first.size + 1);
    if (body == NULL) {
        handle_fail(m, MSOCK_OK, "the message is committed, but there is no memory for its reply");
        end = REPLY_LOCAL;
        goto out;
    }
    end = reply_fill(m, body, first.size);
    if (end != REPLY_READ)
        goto out;
    if (!reply_holds(m, &first, body)) {
        handle_fail(m, MSOCK_OK, "%s: the reply is damaged", m->address);
        end = REPLY_BAD;
        goto out;
    }
    end = reply_keep(m, &body, first.size);
out:
    free(body);
    return end;
}
