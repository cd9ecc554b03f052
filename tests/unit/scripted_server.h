/* A server of msp for the client's tests, written from the protocol's text and from none of the
 * project's code: zlib and libcrypto check what arrives. It answers what is right, unless its
 * script says otherwise, and writes down everything that it saw. One connection at a time, in a
 * thread; what it saw may be read after server_stop. */
#ifndef TESTS_SCRIPTED_SERVER_H
#define TESTS_SCRIPTED_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVER_UNITS    8192
#define SERVER_MESSAGES 256

/* What the script may say in place of an answer line; a line without CRLF is sent with one. */
#define RIGHT  ""  /* the right answer */
#define HANGUP "!" /* close the connection */
#define SILENT "?" /* nothing, until the client goes */

struct server_unit {
    int connection; /* counted from 0 */
    char what;      /* 'H' first packet, 'P' further packet, 'T' trailer */
    size_t body;    /* bytes of body or VALUE */
};

struct server_message {
    char kind;
    unsigned flags;
    size_t size;
    uint8_t *body;
    char value[2100]; /* without the digest */
    size_t value_len;
    bool late; /* the digest came with the trailer */
};

struct server {
    /* the script, set before server_start */
    const char *const
        *answers;           /* nth answer over all connections; NULL: the right ones from here */
    const uint32_t *grants; /* nth grant over all connections; ends with 0, the last one stays */
    size_t cut_read;        /* close the first connection after so many bytes read; 0: never */
    size_t cut_write;       /* the same for bytes written; 0: never */
    bool cut_at_zero;       /* close the first connection at once */
    bool slow;              /* write a byte at a time */
    const char *farewell;   /* said unasked after each committed message */
    bool leave;             /* close after each committed message */
    const char *reply;
    unsigned bad_replies;     /* so many replies are damaged first */
    uint16_t port;            /* 0: the kernel chooses, and it is here afterwards */
    uint64_t late_size_limit; /* larger sizes are undetermined: a late digest is refused; 0: none */

    /* what it saw */
    int connections;
    unsigned wrong; /* what a client must never do; why is the last of it */
    const char *why;
    size_t unit_count, message_count;
    struct server_unit units[SERVER_UNITS];
    struct server_message messages[SERVER_MESSAGES];

    /* its own */
    int listener, fd;
    int stop[2]; /* a pipe; closed for writing: end when nobody is waiting any more */
    char url[160], directory[64], path[100];
    size_t read_total, written_total;
    pthread_t thread;
};

/* Listens on a port or path of its own; s->url says where. */
void server_start(struct server *s, int family);

/* Ends the server after the client has closed; what it saw may be read now. */
void server_stop(struct server *s);

/* A server with an empty script: set it, then server_start. */
struct server *server_create(void);

/* Frees it with the messages that it has kept. */
void server_destroy(struct server *s);

/* How many committed messages have different ids: what is left after doubles were dropped. */
size_t server_distinct(const struct server *s);

/* The number in n bytes, the highest first. */
uint64_t server_number(const uint8_t *p, size_t n);

/* n bytes that do not repeat soon and are the same each time. Free them. */
uint8_t *test_bytes(size_t n);

/* The ith message that it has got. */
void server_expect_message(const struct server *s, size_t i, char kind, const char *body);

#endif
