/* A msockd in front of a NATS server: what the tests of handler=nats have in common. The stream is
 * S, and functions that expect something end the test where it is not so. */
#ifndef SYSTEM_NATS_CASE_H
#define SYSTEM_NATS_CASE_H

#include "load.h"
#include "nats.h"

#define NATS_URL_SIZE 2048
#define NATS_KEEP     "stream_create=yes&nats_timeout=1s"

#define NATS_STORED "\"duplicate\":false,\"stored\":\"file\""
#define NATS_DOUBLE "\"duplicate\":true,\"stored\":\"file\""

/* A listener whose messages go to that server. Static, four at a time. */
const char *nats_url(const struct nats *n, const char *options);

/* A daemon with that listener. */
struct daemon *nats_daemon(const struct nats *n, const char *options, unsigned workers);

/* Sends one, and returns the receipt (the caller's), or NULL with the answer. */
char *nats_send_one(const struct daemon *d, const struct outgoing *m, struct answer *a);
char *nats_send_text(const struct daemon *d, const char *id, const char *text, struct answer *a);

/* Frees the receipt. */
void nats_expect_receipt(char *receipt, const struct answer *a, unsigned seq, const char *rest);

/* Sends "hello" and gets a line that begins so. */
void nats_expect_line(const struct daemon *d, const char *id, const char *line);

/* A socket that listens on a port of its own; whether anybody accepts there is the caller's. */
int nats_listen(unsigned *port_out);

/* A request to JetStream that succeeds. */
void nats_request_made(const struct nats *n, const char *subject, const char *body);

#endif
