/* A msockd with a relay to a NATS server: what the tests of the relay have in common. The stream is
 * S, and its subjects are in.{kind}. */
#ifndef SYSTEM_RELAY_CASE_H
#define SYSTEM_RELAY_CASE_H

#include "nats_case.h"

#include <jansson.h>

#define RELAY_URL_SIZE 256

/* "relay=..." for -o. Static, two at a time. */
const char *relay_option(const struct nats *n, const char *options);

/* One worker, so that the order of the records is that of the messages. */
struct daemon *relay_daemon(const struct nats *n, const char *options, const char *set);

/* Sends a message, which must be committed. */
void relay_send(const struct daemon *d, char kind, const char *value, const void *body, size_t n);
void relay_send_text(const struct daemon *d, const char *text);

/* What the newest relay tells; NULL for the moment in which one that died is replaced. */
json_t *relay_row(const struct daemon *d);
json_int_t relay_number(const struct daemon *d, const char *name);
double relay_seconds(const struct daemon *d, const char *name);
bool relay_error_has(const struct daemon *d, const char *text);

/* Of the relay with that pid; -1: there is none. */
json_int_t relay_number_of(const struct daemon *d, json_int_t pid, const char *name);

/* Waits until all is relayed that is in the journal now: the stream has each record once, with its
 * body, and nothing else. */
void relay_check_stream(const struct daemon *d, const struct nats *n);

/* How many messages a stream has, put together from their chunks. */
size_t relay_stream_count(const struct nats *n, const char *name);

/* Kills the newest one, and waits until another one is there. */
void relay_kill(const struct daemon *d);

#endif
