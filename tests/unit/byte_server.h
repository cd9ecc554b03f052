/* A server of bytes for the client's tests: it accepts on loopback, one connection at a time, in a
 * thread, and a function of the test's says and expects on each. It knows no protocol and none of
 * the project's code. What it saw may be read after byte_server_stop. */
#ifndef TESTS_BYTE_SERVER_H
#define TESTS_BYTE_SERVER_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct byte_server {
    void (*serve)(struct byte_server *s); /* one connection; it is closed afterwards */
    void *arg;                            /* the test's */

    int connections; /* before the one that is being served */
    unsigned wrong;  /* expectations that were not met; why is the first of them */
    const char *why;
    unsigned resets; /* connections that the client did not end in order */

    int fd;
    int listener, stop[2];
    char at[40]; /* "127.0.0.1:43117" */
    pthread_t thread;
};

/* Notes that an expectation was not met. */
void byte_wrong(struct byte_server *s, const char *why);

/* Reads exactly n bytes; false at the end. */
bool byte_read(struct byte_server *s, void *buf, size_t n);

/* Reads n bytes, which must be these. */
bool byte_expect(struct byte_server *s, const void *bytes, size_t n);

#define EXPECT(s, literal) byte_expect(s, literal, sizeof(literal) - 1)

/* Sends n bytes, unless the client is gone. */
void byte_say(struct byte_server *s, const void *bytes, size_t n);

#define SAY(s, literal) byte_say(s, literal, sizeof(literal) - 1)

/* Reads until the client ends, and returns how many bytes that were. */
size_t byte_until_end(struct byte_server *s);

/* Nothing more is to come but the end, and that in order. */
void byte_expect_end(struct byte_server *s);

/* Waits for an event on the connection, at most ms. */
bool byte_wait(struct byte_server *s, short events, int ms);

/* The connection is to end with a reset. */
void byte_reset(struct byte_server *s);

/* Listens and starts the thread; s->at says where. */
void byte_server_start(struct byte_server *s, void (*serve)(struct byte_server *), void *arg);

/* Waits until all connections are served; fails where one of them went wrong. */
void byte_server_stop(struct byte_server *s);

#endif
