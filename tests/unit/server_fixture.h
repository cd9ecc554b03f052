/* For the tests of the receiving half of libmsock: a server in the test's own thread, and peers
 * beside it, some of them written from the protocols' text alone. */
#ifndef TESTS_SERVER_FIXTURE_H
#define TESTS_SERVER_FIXTURE_H

#include "msock_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000 /* for what must come */

/* A server that listens at url. */
msock_server *fixture_server(const char *url);

/* The port that the listener got. */
unsigned short fixture_port(const msock_server *s, unsigned listener);

/* The next message, which must come. */
msock_message *fixture_recv(msock_server *s);

/* The message's bytes are this text. */
void fixture_expect(msock_message *m, const char *text);

/* --- a client of libmsock in a thread of its own --- */

struct client {
    pthread_t thread;
    char url[192];
    const char *body;
    size_t size;
    char kind;            /* 'A', 'J' */
    const char *id, *key; /* key: a file */
    bool want_reply;
    unsigned retries;
    enum msock_status status;
    char error[256], code[32], reply[256];
    size_t reply_len;
};

/* Starts the thread, which sends body to the first listener. */
void client_start(struct client *c, const msock_server *s, const char *body);

/* Waits for its end; what came of it may be read now. */
void client_join(struct client *c);

/* --- a raw socket --- */

/* A connection to the listener, for the caller to close. */
int raw_connect(const msock_server *s, unsigned listener);

/* Sends n bytes, which must go out. */
void raw_send(int fd, const void *data, size_t n);

/* A frame of length32. */
void frame_send(int fd, const char *text);

/* Reads exactly n bytes; false at the end of the connection. */
bool raw_read(int fd, void *out, size_t n);

/* The next frame has that text. */
void frame_expect(int fd, const char *text);

/* The peer has ended the connection. The server is turned meanwhile. */
void raw_expect_end(msock_server *s, int fd);

#endif
