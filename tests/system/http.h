/* Requests of HTTP/1.0, one a connection, over whatever OpenSSL can connect with. */
#ifndef SYSTEM_HTTP_H
#define SYSTEM_HTTP_H

#include <openssl/bio.h>

struct http_reply {
    int status;
    char *head, *body; /* one piece of memory, at head */
};

/* Connects to a port of 127.0.0.1; ends the test where it cannot. bio: one that is not connected.
 */
BIO *http_connect(BIO *bio, unsigned port);

/* Asks; headers are whole lines with CRLF. Host is localhost. */
void http_ask(BIO *bio, const char *method, const char *path, const char *headers);

/* Reads the reply to its end and frees the connection. The caller frees head. */
struct http_reply http_reply(BIO *bio);

/* All of it, in plain text. */
struct http_reply
http_request(unsigned port, const char *method, const char *path, const char *headers);

#endif
