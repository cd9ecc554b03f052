#include "nats_case.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *
nats_url(const struct nats *n, const char *options)
{
    static char urls[4][NATS_URL_SIZE];
    static unsigned turn;
    char *url = urls[turn++ % 4];

    snprintf(url, NATS_URL_SIZE,
             "msp://127.0.0.1:0?handler=nats&stream=S&servers=nats://127.0.0.1:%u%s%s", n->port,
             options[0] != '\0' ? "&" : "", options);
    return url;
}

struct daemon *
nats_daemon(const struct nats *n, const char *options, unsigned workers)
{
    return daemon_start(&(struct daemon_options){
        .workers = workers, .listen = {nats_url(n, options)}, .set = {LOAD_PATIENCE}});
}

char *
nats_send_one(const struct daemon *d, const struct outgoing *m, struct answer *a)
{
    struct peer p;
    char *reply = NULL;
    size_t n;

    peer_connect(&p, &d->listeners[0]);
    p.answer_ms = 30000 * WAIT_SCALE;
    if (peer_send(&p, m, a) == ANSWER_ACK)
        reply = peer_reply(&p, &n);
    peer_close(&p);
    return reply;
}

char *
nats_send_text(const struct daemon *d, const char *id, const char *text, struct answer *a)
{
    const struct outgoing m = {.kind = 'A',
                               .flags = WIRE_REPLY,
                               .value = id,
                               .value_len = strlen(id),
                               .body = text,
                               .len = strlen(text)};

    return nats_send_one(d, &m, a);
}

void
nats_expect_receipt(char *receipt, const struct answer *a, unsigned seq, const char *rest)
{
    char wanted[128];

    snprintf(wanted, sizeof(wanted), "{\"stream\":\"S\",\"seq\":%u,%s}", seq, rest);
    if (receipt == NULL)
        fail_msg("%s", a->text);
    assert_string_equal(receipt, wanted);
    free(receipt);
}

void
nats_expect_line(const struct daemon *d, const char *id, const char *line)
{
    struct answer a;
    char *receipt = nats_send_text(d, id, "hello", &a);

    free(receipt);
    if (strncmp(a.text, line, strlen(line)) != 0)
        fail_msg("\"%s\" and not \"%s\"", a.text, line);
}

void
nats_request_made(const struct nats *n, const char *subject, const char *body)
{
    struct nats_client c;
    char *answer;

    assert_true(nats_open(&c, n));
    answer = nats_request(&c, subject, body);
    if (answer == NULL || strstr(answer, "\"error\"") != NULL)
        fail_msg("%s: %s", subject, answer != NULL ? answer : "no answer");
    free(answer);
    nats_close(&c);
}

int
nats_listen(unsigned *port_out)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port_out = ntohs(addr.sin_port);
    return fd;
}
