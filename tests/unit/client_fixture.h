/* What tests of the client share, whatever server they have. */
#ifndef TESTS_UNIT_CLIENT_FIXTURE_H
#define TESTS_UNIT_CLIENT_FIXTURE_H

#include "msock.h"

/* Opens a URL, with 5 s for everything and two retries that come at once. */
__attribute__((format(printf, 1, 2))) msock *client_open(const char *format, ...);

/* The reply to the last message, and the next message of the server. */
void client_expect_reply(const msock *m, const char *expected);
void client_expect_received(msock *m, const char *expected);

/* Writes a whole file, anew. */
void client_write_file(const char *path, const void *data, size_t n);

#endif
