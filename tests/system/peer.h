/* A client of msp on a bare socket, written from the protocol's text alone: it shares no code with
 * the daemon or the library, and it counts what it saw. Nothing here asserts unless it says so, so
 * threads may use it. */
#ifndef SYSTEM_PEER_H
#define SYSTEM_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "stats/stats_layout.h"
#include "wire.h"

struct target {
    struct sockaddr_storage addr;
    socklen_t len;
    char url[160]; /* as the daemon said it */
};

enum answer_kind {
    ANSWER_ACK,
    ANSWER_GRANT, /* ACK <N> */
    ANSWER_NACK1,
    ANSWER_NACK2,
    ANSWER_REJ,
    ANSWER_ERR,
    ANSWER_CLOSED, /* end of the stream, or a reset */
    ANSWER_SILENCE,
    ANSWER_BROKEN, /* a line that the protocol does not know */
};

struct answer {
    enum answer_kind kind;
    uint32_t grant;
    char code[32];
    char text[512]; /* the whole line without CRLF */
};

/* Every counter of a connection. */
struct peer_counts {
#define X(name, help) uint64_t name;
    STATS_CONN_COUNTERS(X)
#undef X
};

struct peer {
    int fd;
    char name[64];             /* our own address: "127.0.0.1:40001", "[::1]:40001" */
    unsigned answer_ms;        /* how long to wait for an answer; 30000 times WAIT_SCALE at first */
    unsigned spoil_crc;        /* so many of the next packets get a wrong CRC-32 */
    unsigned spoil_digest;     /* so many of the next messages get a wrong SHA-256 */
    unsigned answers;          /* to the message under way */
    struct peer_counts counts; /* as the server would count them: bytes_in is what we sent */
    size_t have;
    char in[4096];
};

/* Connects, from the given local IPv4 address where source is not NULL. Returns 0, or -1 with
 * errno. */
int peer_try_connect(struct peer *p, const struct target *target, const char *source);

/* The same; ends the test where it fails, and teardown closes it. Main thread only. */
void peer_connect(struct peer *p, const struct target *target);
void peer_connect_from(struct peer *p, const struct target *target, const char *source);
void peer_close(struct peer *p);
void peer_close_all(void);

/* Writes all of it. Returns 0, or -1 with errno. */
int peer_write(struct peer *p, const void *data, size_t n);

/* Writes a message of one packet and its trailer at once, and reads nothing. Ends the test where it
 * cannot. */
void peer_post(struct peer *p, const struct outgoing *m);

/* Reads exactly n bytes. Returns 0, or -1 at the end of the stream or of the time. */
int peer_read(struct peer *p, void *data, size_t n);

/* Bytes that are there, at most n, waiting for the first up to timeout_ms. 0 at the end of the
 * stream, -1 on silence, reset and the like. Not counted apart from bytes_out. */
ssize_t peer_read_some(struct peer *p, void *data, size_t n, unsigned timeout_ms);

/* The next line from the server, counted. */
enum answer_kind peer_answer(struct peer *p, struct answer *answer_out);

/* A reply block (1.5): checks both sums. Returns its body (caller frees), or NULL. */
char *peer_reply(struct peer *p, size_t *n_out);

/* Sends one message step by step and returns what became of it: ACK (committed), REJ, ERR, CLOSED,
 * SILENCE, BROKEN. NACKs are obeyed, up to 50. answer_out holds the last line. */
enum answer_kind peer_send(struct peer *p, const struct outgoing *m, struct answer *answer_out);

/* peer_send of a plain message; id may be NULL. */
enum answer_kind
peer_send_plain(struct peer *p, const char *id, const void *body, size_t n, struct answer *answer);

/* True once the server has closed: waits for it as WAIT_FOR does, dropping what still comes. */
bool peer_closed(struct peer *p, unsigned timeout_ms);

/* Makes close(2) send a reset. */
void peer_reset_on_close(struct peer *p);

#endif
