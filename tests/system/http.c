/* A client as small as it can be. */
#include "http.h"

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX ((size_t)1 << 22)

BIO *
http_connect(BIO *bio, unsigned port)
{
    char address[32];

    snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    assert_non_null(bio);
    BIO_set_conn_hostname(bio, address);
    assert_int_equal(BIO_do_connect(bio), 1);
    return bio;
}

void
http_ask(BIO *bio, const char *method, const char *path, const char *headers)
{
    assert_true(
        BIO_printf(bio, "%s %s HTTP/1.0\r\nHost: localhost\r\n%s\r\n", method, path, headers) > 0);
}

struct http_reply
http_reply(BIO *bio)
{
    struct http_reply r = {.head = calloc(1, REPLY_MAX)};
    size_t n = 0;
    int got;

    assert_non_null(r.head);
    while (n < REPLY_MAX - 1 && (got = BIO_read(bio, r.head + n, (int)(REPLY_MAX - 1 - n))) > 0)
        n += (size_t)got;
    BIO_free_all(bio);
    r.body = strstr(r.head, "\r\n\r\n");
    if (r.body == NULL || sscanf(r.head, "HTTP/1.%*d %d", &r.status) != 1)
        fail_msg("this is no reply: %.200s", r.head);
    *r.body = '\0';
    r.body += 4;
    return r;
}

struct http_reply
http_request(unsigned port, const char *method, const char *path, const char *headers)
{
    BIO *bio = http_connect(BIO_new(BIO_s_connect()), port);

    http_ask(bio, method, path, headers);
    return http_reply(bio);
}
