/* TLS of the load: what was asked for, and the bytes of a connection with it or without. */
#include "bench/bench_load.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

/* The options, the URL, then the environment, as of all commands that send. */
static int
secure_read(struct bench_options *o, char error[TLS_ERROR_LEN])
{
    struct session_tls said = session_complete_tls(&o->tls_said, &o->url);
    const struct tls_asked first = {said.ca, said.cert, said.key_file, said.server_name,
                                    said.insecure};
    struct tls_asked asked;

    if (tls_asked_read(&o->url, &asked, error) < 0)
        return -1;
    tls_asked_prefer(&asked, &first);
    o->server_name = asked.name;
    if (asked.name == NULL && o->url.host == NULL && !asked.insecure) {
        snprintf(error, TLS_ERROR_LEN, "%.80s has no host name: say which name its certificate has",
                 o->url_text);
        return -1;
    }
    o->tls = tls_asked_create(&asked, error);
    return o->tls != NULL ? 0 : -1;
}

int
bench_secure(struct bench_options *o, char error[TLS_ERROR_LEN])
{
    if (o->url.is_tls && o->members == 0)
        return secure_read(o, error);
    if (!o->url.is_tls && !session_asks_tls(&o->tls_said))
        return 0;
    snprintf(error, TLS_ERROR_LEN, o->url.is_tls ? "--members speak no TLS" : SESSION_TLS_WANTS,
             o->url.scheme);
    return -1;
}

/* --- a connection --- */

/* What TLS says of its failure is kept: the first that is about a certificate, else the last. */
static void
secure_note(struct bench_link *link)
{
    struct bench_result *result = link->load->result;

    if (link->tls == NULL || errno != EPROTO || result->untrusted)
        return;
    snprintf(result->why, sizeof(result->why), "%s", tls_error(link->tls));
    result->untrusted = tls_is_untrusted(link->tls);
}

int
bench_link_shake(struct bench_link *link)
{
    const struct bench_options *options = link->load->options;

    if (link->tls == NULL)
        link->tls = tls_session_create(options->tls, link->fd, options->server_name);
    if (link->tls == NULL) {
        errno = ENOMEM;
        return -1;
    }
    if (tls_handshake(link->tls) == 0)
        return 0;
    secure_note(link);
    return -1;
}

/* One piece, as it nearly always is, costs the kernel less by send. */
ssize_t
bench_link_write(struct bench_link *link, struct iovec *iov, int count)
{
    struct msghdr header = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t n;

    if (link->tls == NULL)
        return count == 1 ? send(link->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                          : sendmsg(link->fd, &header, MSG_NOSIGNAL);
    n = tls_writev(link->tls, iov, count);
    if (n < 0)
        secure_note(link);
    return n;
}

ssize_t
bench_link_read(struct bench_link *link, void *data, size_t size)
{
    ssize_t n;

    if (link->tls == NULL)
        return recv(link->fd, data, size, 0);
    n = tls_read(link->tls, data, size);
    if (n < 0)
        secure_note(link);
    return n;
}

void
bench_link_end_tls(struct bench_link *link)
{
    if (link->tls != NULL)
        tls_shutdown(link->tls);
    tls_session_destroy(link->tls);
    link->tls = NULL;
}
