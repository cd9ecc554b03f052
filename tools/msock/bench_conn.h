/* One connection of the load: a client of msp that never blocks (docs/protocol.md 1.6, 1.7).
 *
 * Messages are numbered; answers come in order, so three numbers say everything: those below done_seq
 * are answered, those from there to next_seq are in flight, those from there to begun_seq were in
 * flight on a connection that was lost and are sent again, one at a time, waiting for every answer. */
#ifndef MSOCK_BENCH_CONN_H
#define MSOCK_BENCH_CONN_H

#include "bench_message.h"
#include "endpoint.h"

#include <openssl/evp.h>

#define CONN_KEPT_MAX 512u /* an answer line is at most this long */

struct load;

enum conn_state {
    CONN_NEW,        /* never tried */
    CONN_CONNECTING, /* connect is under way */
    CONN_UP,
    CONN_WAITING, /* lost or refused; tried again at retry_ns */
    CONN_DEAD,    /* given up */
};
#define CONN_STATES 5

/* What the oldest message in flight waits for. */
enum conn_phase {
    CONN_BODY,   /* the answer to a packet of its body */
    CONN_FINAL,  /* the answer to its trailer */
    CONN_HEADER, /* the 50 bytes in front of its reply */
    CONN_REPLY,  /* the reply */
};

/* What is on its way out: head, then data. */
struct conn_out {
    uint8_t head[MESSAGE_TRAILER_MAX];
    size_t head_len;
    const uint8_t *data;
    size_t data_len;
    size_t sent;    /* of both together; all of it: the connection is quiet */
    uint8_t *owned; /* data, where it had to be copied; NULL otherwise */
};

struct conn_reply {
    uint8_t header[MESSAGE_FIRST_HEADER];
    uint64_t left;
    uint32_t crc;
    EVP_MD_CTX *digest;
};

struct conn {
    struct load *load;
    uint32_t index;
    int fd;
    uint8_t state; /* enum conn_state; conn_set_state changes it */
    uint8_t phase; /* enum conn_phase */
    bool want_out; /* epoll watches for room to send */
    bool was_up;   /* has been connected before */
    uint16_t port; /* this side's */
    uint16_t kept_len;
    uint32_t nacks;    /* within the message under way */
    uint32_t failures; /* since the last message was answered, for the back-off */
    uint64_t done_seq;
    uint64_t next_seq;
    uint64_t begun_seq;
    uint64_t strict_until; /* messages below are sent again, waiting for every answer */
    uint64_t offset;       /* strict: body bytes that are acknowledged */
    size_t packet_len;     /* strict: body bytes of the packet in flight */
    uint64_t heard_ns;     /* last byte that came, or the beginning of waiting */
    uint64_t trouble_ns;   /* first failure since the last message was answered; 0: none */
    uint64_t retry_ns;
    uint64_t *stamps; /* by number modulo the messages in flight */
    uint8_t *kept;    /* CONN_KEPT_MAX bytes, made when first needed: the beginning of an answer */
    struct conn_reply *reply; /* made when first needed */
    struct conn_out out;
    struct bench_counts counts; /* since it was connected */
};

/* Begins to connect. */
void conn_open(struct conn *conn);

/* Deals with what epoll said about it. */
void conn_event(struct conn *conn, uint32_t events);

/* Makes epoll watch it (how: EPOLL_CTL_ADD or _MOD) for input, and for room to send where out is set. */
void conn_watch(struct conn *conn, int how, bool out);

/* Sends on what is on its way out, as far as the socket takes it. The connection may be lost by it. */
void conn_push(struct conn *conn);

/* Begins and sends what may be sent now. */
void conn_send(struct conn *conn);

/* Strict mode: the next packet of the message in flight, at most grant bytes long; its trailer; the same
 * packet again; the message from its beginning. */
void conn_send_packet(struct conn *conn, uint32_t grant);
void conn_send_trailer(struct conn *conn);
void conn_send_again(struct conn *conn);
void conn_send_first(struct conn *conn);

/* True where every answer is waited for before the next packet. */
bool conn_strict(const struct conn *conn);

/* Takes the connection as lost: what is in flight is sent again on a new one, or given up. counted: the
 * reason is in some other counter already. */
void conn_lose(struct conn *conn, bool counted);

/* It has been silent for too long while something was awaited from it. */
void conn_expire(struct conn *conn);

/* Hands its counts to the result, closes it and frees what it holds. */
void conn_fini(struct conn *conn);

/* bench_answer.c: consumes answers and replies; acts on each. Returns how many of the n bytes were used:
 * the rest is the beginning of an answer. The connection may be lost by it. */
size_t answer_feed(struct conn *conn, const uint8_t *data, size_t n);

#endif
